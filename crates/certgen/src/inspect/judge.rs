//! What servers would refuse of what was found. The rows themselves, with their lines and sources, are in `rules.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::certificate::Kind;
use super::chain::{RootsDirectory, Trust, Way, too_long_for};
use super::contents::{Contents, Pair};
use super::key::{Family, Format, broken_shape};
use super::report::Report;
use super::rules::{self, Rule};
use crate::issue::NODE_COMMON_NAME;

/// The server warns from this many days before the end on (contract §4.5).
const EXPIRES_SOON: i64 = 30;

/// Smaller keys are refused by TLS libraries, not by the server's own checks (contract §4.1).
const SMALLEST_RSA: usize = 2048;

pub(super) struct Judge<'a> {
    pub(super) contents: &'a Contents<'a>,
    pub(super) trust: &'a Trust,
    pub(super) now: OffsetDateTime,
    pub(super) report: &'a mut Report,
}

impl Judge<'_> {
    pub(super) fn everything(&mut self) {
        if self.contents.certificates.is_empty() && self.contents.keys.is_empty() {
            let text = "no certificate and no private key is here; a server needs both, or is told to be insecure";
            self.report.refuse(&rules::NOTHING_FOUND, Vec::new(), text.to_owned());
        }
        for directory in &self.trust.directories {
            self.roots_directory(directory);
        }
        let nodes = self.contents.first_of_kind(Kind::Node);
        for node in &nodes {
            self.node(*node);
        }
        self.leaves_behind_authorities();
        self.names_of_a_cluster(&nodes);
        self.hosts(&nodes);
        for user in self.contents.first_of_kind(Kind::User) {
            self.user(user);
        }
        self.keys_alone();
        self.authorities_out_of_date();
        self.modes();
        for (file, reason) in &self.contents.problems {
            let shown = self.contents.files[*file].shown();
            self.report.note("not-read", Some(shown), reason.clone());
        }
    }

    fn refuse(&mut self, rule: &Rule, certificate: usize, message: String) {
        let place = self.contents.place(certificate);
        self.report.refuse(rule, vec![place], message);
    }

    fn note(&mut self, code: &'static str, certificate: usize, message: String) {
        let place = self.contents.place(certificate);
        self.report.note(code, Some(place), message);
    }

    fn roots_directory(&mut self, directory: &RootsDirectory) {
        let shown = shown_directory(directory);
        let places =
            |certificates: &[usize]| certificates.iter().map(|at| self.contents.place(*at)).collect::<Vec<_>>();
        let (others, not_read) = (places(&directory.others), places(&directory.not_read));
        for other in others {
            let text = format!(
                "it is not self-signed, and it is in `{shown}` with the roots: a server that takes its roots from there wants \
                 nothing else in it"
            );
            self.report.refuse(&rules::NOT_SELF_SIGNED_AMONG_ROOTS, vec![other], text);
        }
        for file in &directory.unreadable {
            let file = self.contents.files[*file].shown();
            let text =
                format!("it holds no certificate, and it is in `{shown}` with the roots under a name that is read");
            self.report.refuse(&rules::ROOT_UNREADABLE, vec![file], text);
        }
        if directory.roots.is_empty() {
            let text = "no root is in it that a server reads: files end in .crt, .cert, .cer, .pem or .der, in lower case, and \
                        of each the first certificate counts";
            self.report.refuse(&rules::NO_USABLE_ROOT, vec![shown.clone()], text.to_owned());
        }
        for place in not_read {
            let text = "no server reads this root: of each file the first certificate counts, and its name must end in .crt, \
                        .cert, .cer, .pem or .der, in lower case [contract §4.1]";
            self.report.note("ignored-root", Some(place), text.to_owned());
        }
        for root in &directory.roots {
            let in_directory =
                |key: &usize| self.contents.files[self.contents.keys[*key].file].directory() == directory.path;
            let key = (0..self.contents.keys.len())
                .find(|key| in_directory(key) && self.contents.matches(*root, *key))
                .map(|key| self.contents.files[self.contents.keys[key].file].shown());
            if let Some(key) = key {
                let text = "the private key of the CA lies with the roots; servers start [observed §7], but whoever reads it \
                            can sign nodes: keep it away from them";
                self.report.note("ca-key-beside-root", Some(key), text.to_owned());
            }
        }
    }

    fn node(&mut self, node: usize) {
        let facts = self.contents.facts(node);
        self.validity(node, None);
        self.chain(node);
        self.key_of(node);
        for other in self.contents.following(node).collect::<Vec<_>>() {
            if self.contents.facts(other).is_self_issued() {
                let text =
                    "it follows a node certificate in its file and is self-signed; only intermediates may follow";
                self.refuse(&rules::INTERMEDIATE_SELF_SIGNED, other, text.to_owned());
            }
        }
        let common_name = facts.common_name.as_deref().unwrap_or_default();
        if common_name != NODE_COMMON_NAME {
            let text = format!(
                "its CN is `{common_name}`; these lines expect `{NODE_COMMON_NAME}` of nodes unless \
                 CERTIFICATE_RESERVED_NODE_COMMON_NAME says `{common_name}`"
            );
            self.refuse(&rules::OTHER_COMMON_NAME, node, text);
        }
        if !facts.has_names() {
            let text =
                "it has no DNS name and no IP address among its subject alternative names; nodes want at least one";
            self.refuse(&rules::NO_NAMES, node, text.to_owned());
        }
        match &facts.key_usage {
            None => {
                let text = "it has no key usage; nodes want digitalSignature and keyEncipherment";
                self.refuse(&rules::KEY_USAGE, node, text.to_owned());
            }
            Some(usage) if !usage.digital_signature || !usage.key_exchange => {
                let text = format!(
                    "its key usage is {}; nodes want digitalSignature, and keyEncipherment or keyAgreement",
                    listed(&usage.names)
                );
                self.refuse(&rules::KEY_USAGE, node, text);
            }
            Some(_) => {}
        }
        // Without the extension every use is allowed (observed-25 §E).
        if let Some(usage) = facts.extended.as_ref().filter(|usage| !usage.server || !usage.client) {
            let names = listed(&usage.names);
            let text =
                format!("its extended key usage is {names}; nodes want both serverAuth and clientAuth, or none at all");
            self.refuse(&rules::EXTENDED_KEY_USAGE, node, text);
        }
        if let Some(bits) = facts.algorithm.bits.filter(|bits| facts.algorithm.name == "RSA" && *bits < SMALLEST_RSA) {
            let text =
                format!("its RSA key has {bits} bits; TLS libraries refuse less than {SMALLEST_RSA} [contract §4.1]");
            self.note("small-key", node, text);
        }
    }

    /// Whether it is valid now; `below` is the certificate whose chain it is in.
    fn validity(&mut self, certificate: usize, below: Option<usize>) {
        let facts = self.contents.facts(certificate);
        let chain = below.map(|below| format!(", and the chain of `{}` goes through it", self.contents.place(below)));
        let chain = chain.unwrap_or_default();
        if self.now < facts.not_before {
            let text = format!("it is not valid before {}{chain}", day(facts.not_before));
            self.refuse(&rules::NOT_YET_VALID, certificate, text);
        } else if self.now > facts.not_after {
            self.refuse(&rules::EXPIRED, certificate, format!("it has expired on {}{chain}", day(facts.not_after)));
        } else if days_left(facts.not_after, self.now) <= EXPIRES_SOON {
            let text = format!("it expires on {}; servers warn from {EXPIRES_SOON} days before", day(facts.not_after));
            self.note("expires-soon", certificate, format!("{text} [contract §4.5]"));
        }
    }

    fn chain(&mut self, node: usize) {
        if self.trust.roots.is_empty() && self.trust.directories.is_empty() {
            let text = "whether it has a root was not judged: none is among these files";
            return self.note("chain-not-judged", node, text.to_owned());
        }
        match self.trust.way(self.contents, node) {
            Way::Complete { links, is_verified } => self.links(node, &links, is_verified),
            Way::RootNotRead(root) => {
                let root = self.contents.place(root);
                let text = format!("it is signed by `{root}`, which a server does not read as a root from where it is");
                self.refuse(&rules::ROOT_NOT_READ, node, text);
            }
            Way::IntermediateElsewhere { below, signer } => {
                let who = if below == node { "it".to_owned() } else { format!("`{}`", self.contents.place(below)) };
                let signer = self.contents.place(signer);
                let text =
                    format!("{who} is signed by the intermediate `{signer}`, which must follow it in the same file");
                self.refuse(&rules::INTERMEDIATE_MISSING, node, text);
            }
            Way::OtherKey(namesake) => {
                let namesake = self.contents.place(namesake);
                let text = format!("its issuer has the name of `{namesake}`, but the signature is not by that key");
                self.refuse(&rules::UNKNOWN_ROOT, node, text);
            }
            Way::Unknown => {
                let text =
                    format!("none of the roots here signed it; its issuer is `{}`", self.contents.facts(node).issuer);
                self.refuse(&rules::UNKNOWN_ROOT, node, text);
            }
        }
    }

    fn links(&mut self, node: usize, links: &[usize], is_verified: bool) {
        for authority in links.iter().skip(1).copied() {
            self.validity(authority, Some(node));
            let facts = self.contents.facts(authority);
            if !facts.is_ca {
                let text = "it signs others, and its basic constraints do not say CA:TRUE";
                self.refuse(&rules::SIGNER_NOT_CA, authority, text.to_owned());
            } else if facts.key_usage.as_ref().is_some_and(|usage| !usage.key_cert_sign) {
                let text = "it signs others, and its key usage lacks keyCertSign";
                self.refuse(&rules::SIGNER_NOT_CA, authority, text.to_owned());
            }
        }
        if let Some(authority) = too_long_for(self.contents, links) {
            let place = self.contents.place(authority);
            let text = format!("`{place}` allows fewer intermediates below it (its path length) than there are");
            self.refuse(&rules::PATH_TOO_LONG, node, text);
        }
        if links.len() > 2 {
            let text = "an intermediate CA is between it and the root: not every server sends it, and who trusts only the root \
                        may refuse; better sign nodes with a root [contract §4.1]";
            self.note("intermediate-in-chain", node, text.to_owned());
        }
        if !is_verified {
            let text = "certgen does not know an algorithm in its chain: names agree, signatures were not verified";
            self.note("not-verified", node, text.to_owned());
        }
    }

    fn key_of(&mut self, node: usize) {
        let pair = self.contents.pair(node);
        if !self.public_key_is_rsa(node) {
            let name = &self.contents.facts(node).algorithm.name;
            self.refuse(&rules::KEY_NOT_RSA, node, format!("its key is {name}; servers read only RSA keys of nodes"));
        }
        let Some(key) = pair.key() else {
            return self.note("no-key", node, "its private key is not among these files".to_owned());
        };
        if let Pair::Differs(_) = pair {
            let file = self.key_file(key);
            let right = (0..self.contents.keys.len()).find(|other| self.contents.matches(node, *other));
            let right = right.map(|right| format!("; its key is in `{}`", self.key_file(right))).unwrap_or_default();
            let text = format!("`{file}` is the key of another certificate{right}");
            let files = vec![self.contents.place(node), file];
            self.report.refuse(&rules::KEY_MISMATCH, files, text);
        }
        self.key_as_of_a_node(key);
    }

    fn public_key_is_rsa(&self, node: usize) -> bool {
        self.contents.facts(node).algorithm.name == "RSA"
    }

    fn key_file(&self, key: usize) -> String {
        self.contents.files[self.contents.keys[key].file].shown()
    }

    /// Whether servers read the file of this key as that of a node.
    fn key_as_of_a_node(&mut self, index: usize) {
        let (at, file) = (&self.contents.keys[index], self.key_file(index));
        let decodes = |text: &str| {
            let text = text.replace(|letter: char| letter.is_ascii_whitespace(), "");
            STANDARD.decode(&text).is_ok_and(|mut key| {
                zeroize::Zeroize::zeroize(&mut key);
                true
            })
        };
        let mut refuse = |rule, message| self.report.refuse(rule, vec![file.clone()], message);
        if let Some(reason) = broken_shape(&self.contents.files[at.file].bytes, decodes) {
            refuse(
                &rules::KEY_SHAPE,
                format!("{reason}; servers want a key file to be one PEM block from its first line to its last"),
            );
        }
        let family = at.key.family.filter(|family| *family != Family::Rsa);
        if let Some(family) = family {
            refuse(&rules::KEY_NOT_RSA, format!("it is {}; servers read only RSA keys of nodes", family.describe()));
        }
        match (at.key.format, at.key.family, &at.key.public_half) {
            (Format::Pkcs8, ..) => {
                refuse(&rules::KEY_PKCS8, "it is PKCS#8; these lines read only PKCS#1 (`RSA PRIVATE KEY`)".to_owned());
            }
            (Format::EncryptedPkcs8, ..) => {
                refuse(
                    &rules::KEY_ENCRYPTED,
                    "it is encrypted; these lines have no option for its password".to_owned(),
                );
                let text = "it is encrypted; these lines need CERTIFICATE_PRIVATE_KEY_PASSWORD with it";
                refuse(&rules::KEY_NEEDS_PASSWORD, text.to_owned());
            }
            (Format::Other, ..) => {
                let text = "its header is none that servers know; allowed is RSA PRIVATE KEY";
                refuse(&rules::KEY_UNREADABLE, text.to_owned());
            }
            _ => {}
        }
        if at.key.public_half.is_none() && !at.key.format.is_encrypted() && family.is_none() {
            let text = "certgen cannot read this key: it is damaged, or RSA of less than 2048 bits";
            self.report.note("key-not-read", Some(file), text.to_owned());
        }
    }

    /// A key file that was given without any certificate can only be meant for a node.
    fn keys_alone(&mut self) {
        if self.contents.certificates.is_empty() {
            for key in 0..self.contents.keys.len() {
                self.key_as_of_a_node(key);
            }
        }
    }

    fn leaves_behind_authorities(&mut self) {
        for index in 0..self.contents.certificates.len() {
            let at = &self.contents.certificates[index];
            let first = self.contents.certificates.iter().find(|first| first.file == at.file && first.position == 0);
            let is_behind = first.is_some_and(|first| first.facts.is_ca && !first.facts.is_self_issued());
            if at.position > 0 && at.facts.kind == Kind::Node && is_behind {
                let text =
                    "an authority stands before it in its file; a server takes the first certificate for its own";
                self.refuse(&rules::LEAF_NOT_FIRST, index, text.to_owned());
            }
        }
    }

    fn names_of_a_cluster(&mut self, nodes: &[usize]) {
        let mut names: Vec<&str> = Vec::new();
        for node in nodes {
            let name = self.contents.facts(*node).common_name.as_deref().unwrap_or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > 1 {
            let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let text = format!(
                "the nodes have different CNs: {}; unless CERTIFICATE_RESERVED_NODE_COMMON_NAME is a pattern for all of them \
                 (`*.domain`, 23.10 and newer), each refuses the others",
                quoted.join(", ")
            );
            let files = nodes.iter().map(|node| self.contents.place(*node)).collect();
            self.report.refuse(&rules::DIFFERENT_COMMON_NAMES, files, text);
        }
    }

    /// Every name must be in the certificate of a node, and every node must have one of the names.
    fn hosts(&mut self, nodes: &[usize]) {
        let hosts = self.report.hosts.clone();
        let rule = if self.report.cluster { &rules::HOST_MISSING_FOR_NODES } else { &rules::HOST_MISSING_FOR_CLIENTS };
        for host in &hosts {
            if !nodes.is_empty() && nodes.iter().all(|node| !self.contents.facts(*node).covers(host)) {
                let files = nodes.iter().map(|node| self.contents.place(*node)).collect();
                self.report.refuse(rule, files, format!("no subject alternative name stands for `{host}`"));
            }
        }
        let some_are_covered = |node: &usize| hosts.iter().any(|host| self.contents.facts(*node).covers(host));
        let strangers: Vec<_> = nodes.iter().copied().filter(|node| !some_are_covered(node)).collect();
        if nodes.len() > 1 && !hosts.is_empty() && strangers.len() < nodes.len() {
            for node in strangers {
                let text = format!("no subject alternative name stands for any of {}", listed(&hosts));
                self.refuse(rule, node, text);
            }
        }
    }

    fn user(&mut self, user: usize) {
        let facts = self.contents.facts(user);
        let text = "servers take certificates of users from 24.2 on, with a licence [contract §4.5]";
        self.note("user-certificate", user, text.to_owned());
        if self.now < facts.not_before {
            self.refuse(&rules::USER_OUT_OF_DATE, user, format!("it is not valid before {}", day(facts.not_before)));
        } else if self.now > facts.not_after {
            self.refuse(&rules::USER_OUT_OF_DATE, user, format!("it has expired on {}", day(facts.not_after)));
        }
        if self.trust.roots.is_empty() {
            return self.note("chain-not-judged", user, "whether it has a root was not judged".to_owned());
        }
        if !matches!(self.trust.way(self.contents, user), Way::Complete { .. }) {
            let text = format!("none of the roots here signed it; its issuer is `{}`", facts.issuer);
            self.refuse(&rules::USER_UNKNOWN_ROOT, user, text);
        }
    }

    /// Those of chains that were judged are refused there.
    fn authorities_out_of_date(&mut self) {
        for index in 0..self.contents.certificates.len() {
            let facts = self.contents.facts(index);
            let is_out = self.now < facts.not_before || self.now > facts.not_after;
            let place = self.contents.place(index);
            let is_told = self.report.findings.iter().any(|finding| finding.files.contains(&place));
            if facts.is_ca && is_out && !is_told {
                let (from, until) = (day(facts.not_before), day(facts.not_after));
                let text = format!("it is valid from {from} until {until}; what it signed is refused outside of that");
                self.note("authority-out-of-date", index, text);
            }
        }
    }

    fn modes(&mut self) {
        for (index, file) in self.contents.files.iter().enumerate() {
            let Some(mode) = file.mode else { continue };
            let has_key = self.contents.keys.iter().any(|key| key.file == index);
            let has_certificate = self.contents.certificates.iter().any(|certificate| certificate.file == index);
            let who = |bits: u32| match (mode & bits & 0o070 != 0, mode & bits & 0o007 != 0) {
                (_, true) => Some("everybody"),
                (true, false) => Some("its group"),
                (false, false) => None,
            };
            if has_key && let Some(who) = who(0o044) {
                let text = format!("{who} can read this private key (mode {mode:04o}); 0400 is enough");
                self.report.note("key-readable", Some(file.shown()), text);
            }
            if (has_key || has_certificate)
                && let Some(who) = who(0o022)
            {
                let text = format!("{who} can replace its content (mode {mode:04o})");
                self.report.note("writable", Some(file.shown()), text);
            }
        }
    }
}

fn shown_directory(directory: &RootsDirectory) -> String {
    let shown = directory.path.display().to_string();
    if shown.is_empty() { ".".to_owned() } else { shown }
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "empty".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

fn day(time: OffsetDateTime) -> String {
    time.date().to_string()
}

/// Whole days; a day that has begun does not count.
pub(super) fn days_left(until: OffsetDateTime, now: OffsetDateTime) -> i64 {
    (until.unix_timestamp() - now.unix_timestamp()).div_euclid(86_400)
}
