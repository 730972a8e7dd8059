//! Every row of the observed tables (observed §7, lines §E, observed-25 §E) that can be seen in files: what `inspect` says of it,
//! for which lines, and that it says nothing else.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::path::PathBuf;
use std::sync::OnceLock;

use certgen::inspect::{Effect, File, Found, Line, Question, Report, inspect};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

const ALL: &str = "21.10 22.10 23.10 24.10 25 26";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// One RSA key is enough: it takes long to find.
fn rsa() -> KeyPair {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let der =
        KEY.get_or_init(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_der());
    KeyPair::try_from(der.as_slice()).unwrap()
}

fn another_rsa() -> KeyPair {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let der =
        KEY.get_or_init(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_der());
    KeyPair::try_from(der.as_slice()).unwrap()
}

fn ec() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn pkcs1(key: &KeyPair) -> String {
    let pkcs8 = key.serialize_der();
    let info = pkcs8::PrivateKeyInfo::try_from(pkcs8.as_slice()).unwrap();
    encode("RSA PRIVATE KEY", info.private_key)
}

fn encode(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), config)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    (params.not_before, params.not_after) = (now() - Duration::HOUR, now() + Duration::days(365));
    params
}

/// An authority.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    let pem = encode("CERTIFICATE", params.self_signed(&key).unwrap().der());
    Ca { pem, issuer: Issuer::new(params, key) }
}

impl Ca {
    fn good() -> Self {
        authority("CA", ec(), |_| {})
    }

    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = ec();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let pem = encode("CERTIFICATE", params.signed_by(&key, &self.issuer).unwrap().der());
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn node(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        self.node_with(&rsa(), change)
    }

    fn node_with(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = named("eventstoredb-node");
        params.subject_alt_names = vec![SanType::DnsName("node-1.db".try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        encode("CERTIFICATE", params.signed_by(key, &self.issuer).unwrap().der())
    }
}

fn same(_: &mut CertificateParams) {}

fn common_name(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let subject = named(name).distinguished_name;
    move |params| params.distinguished_name = subject
}

/// Files of a directory, without a file system.
#[derive(Default)]
struct Tree(Found);

impl Tree {
    fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = PathBuf::from(path);
        let directory = path.parent().unwrap().to_owned();
        if !self.0.directories.contains(&directory) {
            self.0.directories.push(directory);
        }
        let mode = Some(if path.extension().is_some_and(|extension| extension == "key") { 0o400 } else { 0o444 });
        self.0.files.push(File { path, mode, bytes: Zeroizing::new(content.as_ref().to_vec()), is_named: false });
        self
    }

    fn with_ca(ca: &Ca) -> Self {
        Self::default().file("ca/ca.crt", &ca.pem)
    }

    /// The usual three files, with this certificate and this key.
    fn usual(ca: &Ca, certificate: &str, key: &str) -> Self {
        Self::with_ca(ca).file("node.crt", certificate).file("node.key", key)
    }

    fn report(&self, question: &Question) -> Report {
        inspect(&self.0, question, now())
    }

    /// Exactly these findings, each as `code: lines`, of a server alone, and these more in a cluster.
    #[track_caller]
    fn refused(&self, alone: &[&str], cluster: &[&str]) {
        let question = Question::default();
        let report = self.report(&question);
        assert_eq!(told(&report), alone, "{report}");
        assert_eq!(report.more_in_cluster, cluster.len(), "{report}");
        let both = self.report(&Question { cluster: true, ..question });
        let in_cluster: Vec<_> = both.findings.iter().filter(|finding| finding.effect == Effect::Cluster).collect();
        assert_eq!(in_cluster.iter().map(|finding| one(finding)).collect::<Vec<_>>(), cluster, "{both}");
        assert_eq!(both.findings.len(), alone.len() + cluster.len(), "{both}");
        for line in Line::ALL {
            let of_line = self.report(&Question { lines: vec![line], cluster: true, hosts: Vec::new() });
            let expected = both.findings.iter().filter(|finding| finding.refused_by.contains(&line)).count();
            assert_eq!(of_line.findings.len(), expected, "{line}: {of_line}");
        }
    }

    #[track_caller]
    fn accepted(&self) {
        self.refused(&[], &[]);
    }

    #[track_caller]
    fn notes(&self, codes: &[&str]) {
        let report = self.report(&Question::default());
        assert_eq!(report.notes.iter().map(|note| note.code).collect::<Vec<_>>(), codes, "{report}");
    }
}

fn one(finding: &certgen::inspect::Finding) -> String {
    let lines: Vec<_> = finding.refused_by.iter().map(|line| line.as_str()).collect();
    format!("{}: {}", finding.code, lines.join(" "))
}

fn told(report: &Report) -> Vec<String> {
    report.findings.iter().map(one).collect()
}

fn all(code: &str) -> String {
    format!("{code}: {ALL}")
}

#[test]
fn what_servers_take_is_not_refused() {
    let ca = Ca::good();
    let (certificate, key) = (ca.node(same), pkcs1(&rsa()));
    Tree::usual(&ca, &certificate, &key).accepted();
    // CRLF, no final newline.
    Tree::usual(&ca, &certificate.replace('\n', "\r\n"), &key.replace('\n', "\r\n")).accepted();
    Tree::usual(&ca, certificate.trim_end(), key.trim_end()).accepted();
    // Roots of two authorities; an RSA authority; text around certificates.
    let other = authority("other", rsa(), same);
    Tree::usual(&ca, &certificate, &key).file("ca/other.pem", &other.pem).accepted();
    Tree::usual(&other, &other.node(same), &key).accepted();
    Tree::usual(&ca, &format!("subject=x\n{certificate}\n\n"), &key).accepted();
    // The key of the CA beside it; the extensions in DER.
    let tree = Tree::usual(&ca, &certificate, &key).file("ca/ca.key", ca.issuer.key().serialize_pem());
    tree.accepted();
    tree.notes(&["ca-key-beside-root"]);
    let der = pem::parse(&ca.pem).unwrap().into_contents();
    Tree::default().file("ca/ca.der", der).file("node.crt", &certificate).file("node.key", &key).accepted();
    // Key usage without any extended key usage forms a cluster.
    let no_extended = ca.node(|params| params.extended_key_usages.clear());
    Tree::usual(&ca, &no_extended, &key).accepted();
}

#[test]
fn keys_that_no_server_or_only_new_ones_read() {
    let ca = Ca::good();
    let (certificate, key) = (ca.node(same), pkcs1(&rsa()));
    let of_node = |key: &str| Tree::usual(&ca, &certificate, key);
    of_node(&rsa().serialize_pem()).refused(&["key-pkcs8: 21.10 22.10"], &[]);
    for shape in [format!("{key}\n"), format!("Bag Attributes\n{key}"), format!("{key}{key}")] {
        of_node(&shape).refused(&[&all("key-shape")], &[]);
    }
    let sealed = encode("ENCRYPTED PRIVATE KEY", b"sealed");
    of_node(&sealed).refused(&["key-encrypted: 21.10 22.10", "key-needs-password: 23.10 24.10 25 26"], &[]);
    let traditional = key.replace("KEY-----\nM", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nM");
    assert_ne!(traditional, key);
    of_node(&traditional).refused(&[&all("key-shape")], &[]);
    for key in [ec(), KeyPair::generate_for(&PKCS_ED25519).unwrap()] {
        let certificate = ca.node_with(&key, same);
        let tree = Tree::usual(&ca, &certificate, &key.serialize_pem());
        // The certificate and its key.
        tree.refused(&[&all("key-not-rsa"), &all("key-not-rsa"), "key-pkcs8: 21.10 22.10"], &[]);
    }
    of_node(&pkcs1(&another_rsa())).refused(&[&all("key-mismatch")], &[]);
    Tree::default().file("node.key", rsa().serialize_pem()).refused(&["key-pkcs8: 21.10 22.10"], &[]);
    Tree::default().refused(&[&all("nothing-found")], &[]);
}

#[test]
fn the_key_of_the_same_name_is_the_one_that_counts() {
    let ca = Ca::good();
    let certificate = ca.node(same);
    let (own, other) = (pkcs1(&rsa()), pkcs1(&another_rsa()));
    Tree::with_ca(&ca).file("n/node.crt", &certificate).file("n/tls.key", &own).accepted();
    Tree::with_ca(&ca).file("n/node.crt", &certificate).file("n/tls.key", &other).refused(&[&all("key-mismatch")], &[]);
    let swapped =
        Tree::with_ca(&ca).file("a/node.crt", &certificate).file("a/node.key", &other).file("b/node.key", &own);
    swapped.refused(&[&all("key-mismatch")], &[]);
    assert!(swapped.report(&Question::default()).findings[0].message.contains("its key is in `b/node.key`"));
    let without = Tree::with_ca(&ca).file("node.crt", &certificate);
    without.accepted();
    without.notes(&["no-key"]);
}

#[test]
fn times_and_signatures() {
    let ca = Ca::good();
    let key = pkcs1(&rsa());
    let early = ca.node(|params| params.not_before = now() + Duration::MINUTE);
    Tree::usual(&ca, &early, &key).refused(&[&all("not-yet-valid")], &[]);
    let late = ca.node(|params| params.not_after = now() - Duration::MINUTE);
    Tree::usual(&ca, &late, &key).refused(&[&all("expired")], &[]);
    let soon = ca.node(|params| params.not_after = now() + Duration::days(29));
    Tree::usual(&ca, &soon, &key).notes(&["expires-soon"]);
    let dead = authority("CA", ec(), |params| params.not_after = now() - Duration::DAY);
    Tree::usual(&dead, &dead.node(same), &key).refused(&[&all("expired")], &[]);
    // A root that nothing goes through harms nobody.
    let tree = Tree::usual(&ca, &ca.node(same), &key).file("ca/old.crt", &dead.pem);
    tree.accepted();
    tree.notes(&["authority-out-of-date"]);
    let (stranger, namesake) = (authority("stranger", ec(), same), Ca::good());
    Tree::usual(&ca, &stranger.node(same), &key).refused(&[&all("unknown-root")], &[]);
    let tree = Tree::usual(&ca, &namesake.node(same), &key);
    tree.refused(&[&all("unknown-root")], &[]);
    let finding = &tree.report(&Question::default()).findings[0].message;
    assert!(finding.contains("has the name of `ca/ca.crt`, but the signature is not by that key"), "{finding}");
    let no_ca = authority("CA", ec(), |params| params.is_ca = IsCa::ExplicitNoCa);
    Tree::usual(&no_ca, &no_ca.node(same), &key).refused(&[&all("signer-not-ca")], &[]);
    let may_not = authority("CA", ec(), |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    Tree::usual(&may_not, &may_not.node(same), &key).refused(&[&all("signer-not-ca")], &[]);
}

#[test]
fn the_directory_of_roots_holds_roots_and_nothing_else_that_is_read() {
    let ca = Ca::good();
    let (certificate, key) = (ca.node(same), pkcs1(&rsa()));
    let nodes = |tree: Tree| tree.file("n/node.crt", &certificate).file("n/node.key", &key);
    let flat = Tree::default().file("ca.crt", &ca.pem).file("node.crt", &certificate).file("node.key", &key);
    flat.refused(&[&all("not-self-signed-among-roots")], &[]);
    nodes(Tree::default().file("roots/ca.crt", &ca.pem).file("roots/below.crt", ca.below("below", same).pem))
        .refused(&[&all("not-self-signed-among-roots")], &[]);
    nodes(Tree::default().file("roots/ca.crt", &ca.pem).file("roots/broken.pem", "nothing"))
        .refused(&[&all("root-unreadable")], &[]);
    let capitals = nodes(Tree::default().file("roots/ca.CRT", &ca.pem));
    capitals.refused(&[&all("no-usable-root"), &all("root-not-read")], &[]);
    capitals.notes(&["ignored-root"]);
    let other = authority("other", ec(), same);
    nodes(Tree::default().file("roots/all.crt", format!("{}{}", other.pem, ca.pem)))
        .refused(&[&all("root-not-read")], &[]);
    let mut empty = nodes(Tree::default());
    empty.notes(&["chain-not-judged"]);
    empty.0.directories.push("ca".into());
    empty.refused(&[&all("no-usable-root"), &all("unknown-root")], &[]);
    // A directory a server can use makes up for one it cannot.
    Tree::default()
        .file("ca.crt", &ca.pem)
        .file("node.crt", &certificate)
        .file("node.key", &key)
        .file("ca/ca.crt", &ca.pem)
        .accepted();
}

#[test]
fn intermediates_follow_the_node_in_its_file() {
    let ca = Ca::good();
    let below = ca.below("below", same);
    let key = pkcs1(&rsa());
    let certificate = below.node(same);
    let bundle = format!("{certificate}{}", below.pem);
    let tree = Tree::usual(&ca, &bundle, &key);
    tree.accepted();
    tree.notes(&["intermediate-in-chain"]);
    let apart = Tree::usual(&ca, &certificate, &key).file("below/below.crt", &below.pem);
    apart.refused(&[&all("intermediate-missing")], &[]);
    Tree::usual(&ca, &format!("{bundle}{}", ca.pem), &key).refused(&[&all("intermediate-self-signed")], &[]);
    Tree::usual(&ca, &format!("{}{certificate}", below.pem), &key).refused(&[&all("leaf-not-first")], &[]);
    let narrow = authority("CA", ec(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = narrow.below("below", same);
    let bundle = format!("{}{}", below.node(same), below.pem);
    Tree::usual(&narrow, &bundle, &key).refused(&[&all("path-too-long")], &[]);
}

#[test]
fn nodes_of_a_cluster_look_at_each_other() {
    let ca = Ca::good();
    let key = pkcs1(&rsa());
    let usual = |certificate: &str| Tree::usual(&ca, certificate, &key);
    usual(&ca.node(common_name("other-cn"))).refused(&[], &["other-common-name: 21.10 22.10"]);
    usual(&ca.node(|params| params.key_usages.clear())).refused(&[], &["key-usage: 24.10 25 26"]);
    usual(&ca.node(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]))
        .refused(&[], &["key-usage: 24.10 25 26"]);
    usual(&ca.node(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]))
        .refused(&[], &["key-usage: 24.10 25 26"]);
    let agreement = [KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    usual(&ca.node(|params| params.key_usages = agreement.to_vec())).accepted();
    for only in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Any]
    {
        usual(&ca.node(|params| params.extended_key_usages = vec![only]))
            .refused(&[], &["extended-key-usage: 24.10 25 26"]);
    }
    usual(&ca.node(|params| params.subject_alt_names.clear())).refused(&[], &[&all("no-names")]);
    let two = |name: &str| {
        let other = ca.node(common_name(name));
        usual(&ca.node(same)).file("two/node.crt", other).file("two/node.key", &key)
    };
    two("eventstoredb-node").accepted();
    two("node-2").refused(&[], &["other-common-name: 21.10 22.10", &all("different-common-names")]);
}

#[test]
fn a_host_must_be_in_a_certificate() {
    let ca = Ca::good();
    let key = pkcs1(&rsa());
    let names = |names: &'static [&str]| {
        move |params: &mut CertificateParams| {
            let name = |name: &&str| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            };
            params.subject_alt_names = names.iter().map(name).collect();
        }
    };
    let ask = |tree: &Tree, hosts: &[&str], cluster| {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let report = tree.report(&Question { hosts, cluster, ..Question::default() });
        report.findings.iter().map(|finding| (finding.code, finding.effect)).collect::<Vec<_>>()
    };
    let tree = Tree::usual(&ca, &ca.node(names(&["*.db", "10.0.0.1"])), &key);
    assert_eq!(ask(&tree, &["node-1.db", "NODE-2.db", "10.0.0.1"], true), []);
    assert_eq!(ask(&tree, &["a.b.db"], true), [("host-missing", Effect::Cluster)]);
    assert_eq!(ask(&tree, &["10.0.0.2"], false), [("host-missing", Effect::Dial)]);
    // Without any names the common name counts, for servers.
    let bare = Tree::usual(&ca, &ca.node(names(&[])), &key);
    assert_eq!(ask(&bare, &["eventstoredb-node"], false), []);
    // Of several nodes each has a name of its own.
    let second = ca.node(names(&["node-2"]));
    let two = Tree::usual(&ca, &ca.node(names(&["node-1"])), &key).file("2/node.crt", second).file("2/node.key", &key);
    assert_eq!(ask(&two, &["node-1", "node-2"], true), []);
    assert_eq!(ask(&two, &["node-1"], true), [("host-missing", Effect::Cluster)]);
    assert_eq!(ask(&two, &["node-1", "node-2", "node-3"], true), [("host-missing", Effect::Cluster)]);
}

#[test]
fn users_need_a_root_and_time() {
    let ca = Ca::good();
    let user = |ca: &Ca, change: &dyn Fn(&mut CertificateParams)| {
        let user = |params: &mut CertificateParams| {
            common_name("ann")(params);
            params.subject_alt_names.clear();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        };
        ca.node(user)
    };
    let given =
        |certificate: String| Tree::with_ca(&ca).file("ann.crt", certificate).file("ann.key", rsa().serialize_pem());
    let good = given(user(&ca, &|_| {}));
    good.accepted();
    good.notes(&["user-certificate"]);
    let report = given(user(&authority("x", ec(), same), &|_| {})).report(&Question::default());
    assert_eq!(told(&report), [all("user-unknown-root")]);
    assert_eq!(report.findings[0].effect, Effect::Login);
    given(user(&ca, &|params| params.not_after = now() - Duration::DAY)).refused(&[&all("user-out-of-date")], &[]);
}

#[test]
fn modes_that_let_others_in_are_told() {
    let ca = Ca::good();
    let mut tree = Tree::usual(&ca, &ca.node(same), &pkcs1(&rsa()));
    let told = |tree: &Tree| {
        let notes = tree.report(&Question::default()).notes;
        notes.iter().map(|note| format!("{}: {}", note.code, note.message)).collect::<Vec<_>>().join("\n")
    };
    let mut with = |mode: u32| {
        tree.0.files[2].mode = Some(mode);
        told(&tree)
    };
    for fine in [0o400, 0o600, 0o700] {
        assert_eq!(with(fine), "", "{fine:o}");
    }
    assert!(with(0o440).starts_with("key-readable: its group can read this private key (mode 0440)"));
    assert!(with(0o644).starts_with("key-readable: everybody can read"));
    assert!(with(0o620).starts_with("writable: its group can replace"));
    with(0o400);
    tree.0.files[1].mode = Some(0o666);
    assert!(told(&tree).starts_with("writable: everybody can replace its content (mode 0666)"));
}

/// Certificates whose extensions do not parse are told for what they are, and nothing panics.
#[test]
fn an_extension_that_does_not_parse_counts_as_missing() {
    let ca = Ca::good();
    let broken = ca.node(|params| {
        params.key_usages.clear();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![0xff])];
    });
    Tree::usual(&ca, &broken, &pkcs1(&rsa())).refused(&[], &["key-usage: 24.10 25 26"]);
}
