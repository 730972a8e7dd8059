//! What a command or an entry of a file asks for, with es-gencert-cli's defaults and refusals (contract §2–§4). Nothing is
//! looked at here but the text that was given.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::PathBuf;

use time::{Date, Duration, Month, OffsetDateTime};

use super::flags::{Command, Fields};

/// One certificate that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) subject: Subject,
    /// The files of who signs; only a root has none.
    pub(crate) signer: Option<SignerFiles>,
    pub(crate) lifetime: Lifetime,
    pub(crate) directory: Directory,
    pub(crate) name: BaseName,
}

/// Whom the certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A root, or an intermediate if somebody signs it.
    Authority,
    Node {
        common_name: String,
        names: Names,
    },
    User {
        name: String,
    },
}

/// Subject alternative names, in their order; repetitions are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) dns: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The files of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SignerFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The directory of the two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    Given(PathBuf),
    /// The first of node1, node2, … that does not exist.
    FreeNode,
}

/// The name of the two files, without `.crt` and `.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BaseName {
    Given(OsString),
    /// The last component of the directory.
    OfDirectory,
}

/// How long the certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Days(i64),
    /// Calendar years.
    Years(i32),
}

impl Lifetime {
    /// The end of a life that begins at `now`; `None` after the year 9999, which a certificate cannot say.
    ///
    /// A year after the 29th of February ends on the 1st of March, as in Go's calendar (contract §7).
    pub(crate) fn end(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Days(days) => now.date().checked_add(days.checked_mul(86_400).map(Duration::seconds)?),
            Self::Years(years) => {
                let year = now.year().checked_add(years).filter(|year| *year <= 9999)?;
                now.date().replace_year(year).ok().or_else(|| Date::from_calendar_date(year, Month::March, 1).ok())
            }
        }
        .map(|date| now.replace_date(date))
    }
}

/// A request, or all that is wrong with it; and what was accepted but may not be what was meant.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) request: Result<Request, Vec<String>>,
    pub(crate) warnings: Vec<String>,
}

/// Reads what was given for a certificate. `command` is not `create-certs`.
pub(crate) fn check(command: Command, fields: &Fields) -> Checked {
    let mut check = Check { fields, warnings: Vec::new(), mistakes: Vec::new() };
    let request = check.request(command);
    let Check { warnings, mistakes, .. } = check;
    Checked { request: if mistakes.is_empty() { Ok(request) } else { Err(mistakes) }, warnings }
}

struct Check<'a> {
    fields: &'a Fields,
    warnings: Vec<String>,
    mistakes: Vec<String>,
}

impl Check<'_> {
    /// The request is used only if there is no mistake.
    fn request(&mut self, command: Command) -> Request {
        let subject = match command {
            Command::Ca | Command::Certs => Subject::Authority,
            Command::Node => Subject::Node {
                common_name: self.text("common-name").unwrap_or_else(|| "eventstoredb-node".to_owned()),
                names: self.names(),
            },
            Command::User => Subject::User { name: self.user() },
        };
        let signer = if subject == Subject::Authority { self.parent() } else { Some(self.signer()) };
        let (directory, name) = match &subject {
            Subject::Authority => (
                // `-out ""` is the working directory (1.3.0; the newest source wrote to the root of the file system).
                Directory::Given(self.given("out").map_or_else(|| "./ca".into(), PathBuf::from)),
                BaseName::Given(self.nonempty("name").unwrap_or_else(|| "ca".into())),
            ),
            Subject::Node { .. } => match self.nonempty("out") {
                Some(out) => (Directory::Given(out.into()), self.name("node")),
                None => (Directory::FreeNode, self.nonempty("name").map_or(BaseName::OfDirectory, BaseName::Given)),
            },
            Subject::User { name } => {
                let default = format!("user-{name}");
                let out = self.nonempty("out").map_or_else(|| default.clone().into(), PathBuf::from);
                let base = self.nonempty("name").unwrap_or_else(|| default.into());
                (Directory::Given(out), BaseName::Given(base))
            }
        };
        let years = if subject == Subject::Authority { 5 } else { 1 };
        let lifetime = match self.fields.days {
            0 => Lifetime::Years(years),
            days => Lifetime::Days(days),
        };
        if self.fields.days < 0 {
            self.mistake(
                "days",
                &format!("`{}` is negative; allowed are 0, which is the default, and more", self.fields.days),
            );
        }
        Request { subject, signer, lifetime, directory, name }
    }

    fn mistake(&mut self, flag: &str, reason: &str) {
        self.mistakes.push(format!("-{flag}: {reason}"));
    }

    fn given(&self, flag: &str) -> Option<&OsStr> {
        self.fields.get(flag)
    }

    fn nonempty(&self, flag: &str) -> Option<OsString> {
        self.given(flag).filter(|value| !value.is_empty()).map(OsStr::to_owned)
    }

    fn text(&mut self, flag: &str) -> Option<String> {
        let value = self.given(flag)?;
        let text = value.to_str().map(str::to_owned);
        if text.is_none() {
            self.mistake(flag, "it is not UTF-8 text");
        }
        text
    }

    /// An empty name is the directory's.
    fn name(&self, default: &str) -> BaseName {
        match self.given("name") {
            None => BaseName::Given(default.into()),
            Some(name) if name.is_empty() => BaseName::OfDirectory,
            Some(name) => BaseName::Given(name.to_owned()),
        }
    }

    fn parent(&mut self) -> Option<SignerFiles> {
        match (self.nonempty("ca-certificate"), self.nonempty("ca-key")) {
            (Some(certificate), Some(key)) => Some(SignerFiles { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => {
                self.mistake(
                    "ca-key",
                    "it is missing; an intermediate CA needs -ca-certificate and -ca-key, a root neither",
                );
                None
            }
            (None, Some(_)) => {
                self.mistake(
                    "ca-certificate",
                    "it is missing; an intermediate CA needs -ca-certificate and -ca-key, a root neither",
                );
                None
            }
        }
    }

    fn signer(&mut self) -> SignerFiles {
        let mut file = |flag, default: &str| {
            let path = self.given(flag).map_or_else(|| default.into(), PathBuf::from);
            if path.as_os_str().is_empty() {
                self.mistake(flag, "it is empty; name the file of the CA that signs");
            }
            path
        };
        SignerFiles { certificate: file("ca-certificate", "./ca/ca.crt"), key: file("ca-key", "./ca/ca.key") }
    }

    fn user(&mut self) -> String {
        let name = self.text("username").unwrap_or_default();
        if name.is_empty() && self.given("username").is_none_or(OsStr::is_empty) {
            self.mistake("username", "it is missing; name a user of the database");
        }
        let files_have_names = self.nonempty("out").is_some() && self.nonempty("name").is_some();
        if name.contains('/') && !files_have_names {
            self.mistake("username", &format!("`{name}` contains `/` and cannot name files; give -out and -name too"));
        }
        name
    }

    fn names(&mut self) -> Names {
        let mut names = Names::default();
        for item in self.text("dns-names").iter().flat_map(|list| list.split(',')) {
            self.dns_name(item.trim(), &mut names);
        }
        let list = self.text("ip-addresses").filter(|list| !list.is_empty());
        let mut addresses = Vec::new();
        for item in list.iter().flat_map(|list| list.split(',')) {
            match item.trim().parse::<IpAddr>() {
                // As Go does: an IPv4 address in IPv6 notation is an IPv4 address.
                Ok(address) => addresses.push(address.to_canonical()),
                Err(_) => self.mistake(
                    "ip-addresses",
                    &format!(
                        "`{}` is not an IP address; allowed are IPv4 and IPv6 addresses without port, zone or prefix length",
                        item.trim()
                    ),
                ),
            }
        }
        let none_given = list.is_none() && names.dns.is_empty() && names.addresses.is_empty();
        if none_given && self.mistakes.iter().all(|mistake| !mistake.starts_with("-dns-names")) {
            self.mistakes.push("-ip-addresses or -dns-names: at least one IP address or DNS name is needed".to_owned());
        }
        names.addresses.splice(0..0, addresses);
        names
    }

    /// What no client can ever find is accepted, for it does no harm beside others, and said. Names with `_` are in use.
    fn dns_name(&mut self, name: &str, names: &mut Names) {
        if name.is_empty() {
            if self.given("dns-names").is_some_and(|list| !list.is_empty()) {
                self.warnings.push("-dns-names: an empty name is left out".to_owned());
            }
        } else if let Ok(address) = name.parse::<IpAddr>() {
            self.warnings.push(format!(
                "-dns-names: `{name}` is an IP address and is treated as one: nobody looks for it among names"
            ));
            names.addresses.push(address.to_canonical());
        } else if !name.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            self.mistake(
                "dns-names",
                &format!("{name:?} is not ASCII; write it as clients do, `müller.de` is `xn--mller-kva.de`"),
            );
        } else {
            match name.strip_suffix('.') {
                // Go compares it as it stands, webpki takes the dot from the name that is dialled and not from this one.
                Some(relative) if is_host_name(relative) => self.warnings.push(format!(
                    "-dns-names: `{name}` ends with a dot: many clients never find it; write `{relative}`"
                )),
                _ if !is_host_name(name) => {
                    self.warnings.push(format!("-dns-names: `{name}` is not a host name: no client will find it"));
                }
                _ => (),
            }
            names.dns.push(name.to_owned());
        }
    }
}

/// Whether a client can dial it: labels of letters, digits, hyphens and, as in Docker, underscores; `*` as a whole first label.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::gencert::flags;

    fn checked(command: Command, line: &[&str]) -> Checked {
        let parsed = flags::parse(command, &line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!((parsed.mistakes, parsed.warnings), (vec![], vec![]), "{line:?}");
        check(command, &parsed.fields)
    }

    fn request(command: Command, line: &[&str]) -> Request {
        let checked = checked(command, line);
        checked.request.unwrap_or_else(|mistakes| panic!("{line:?}: {mistakes:?}"))
    }

    fn mistakes(command: Command, line: &[&str]) -> Vec<String> {
        checked(command, line).request.expect_err("a mistake")
    }

    /// Directory and name, `?` for what is decided later.
    fn files(command: Command, line: &[&str]) -> String {
        let Request { directory, name, .. } = request(command, line);
        let directory = match directory {
            Directory::Given(path) => path.display().to_string(),
            Directory::FreeNode => "?".to_owned(),
        };
        let name = match name {
            BaseName::Given(name) => name.display().to_string(),
            BaseName::OfDirectory => "?".to_owned(),
        };
        format!("{directory} {name}")
    }

    #[test]
    fn files_have_the_places_of_1_3_0() {
        let node = ["-ip-addresses", "127.0.0.1"];
        let user = ["-username", "ann"];
        for (command, required, line, expected) in [
            (Command::Ca, &[][..], &[][..], "./ca ca"),
            (Command::Ca, &[], &["-out", "o/"], "o/ ca"),
            (Command::Ca, &[], &["-out", ""], " ca"),
            (Command::Ca, &[], &["-name", "sub/x"], "./ca sub/x"),
            (Command::Ca, &[], &["-name", "foo.crt"], "./ca foo.crt"),
            (Command::Ca, &[], &["-name", ""], "./ca ca"),
            (Command::Node, &node, &[], "? ?"),
            (Command::Node, &node, &["-out", ""], "? ?"),
            (Command::Node, &node, &["-out", "n"], "n node"),
            (Command::Node, &node, &["-name", "x"], "? x"),
            (Command::Node, &node, &["-out", "n/m", "-name", ""], "n/m ?"),
            (Command::User, &user, &[], "user-ann user-ann"),
            (Command::User, &user, &["-out", "u"], "u user-ann"),
            (Command::User, &user, &["-name", "x"], "user-ann x"),
            (Command::User, &user, &["-name", ""], "user-ann user-ann"),
        ] {
            assert_eq!(files(command, &[required, line].concat()), expected, "{line:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_old_tool() {
        let ca = request(Command::Ca, &[]);
        assert_eq!((ca.signer, ca.lifetime), (None, Lifetime::Years(5)));
        let node = request(Command::Node, &["-dns-names", "a"]);
        let Subject::Node { common_name, .. } = node.subject else { panic!("a node") };
        assert_eq!((common_name.as_str(), node.lifetime), ("eventstoredb-node", Lifetime::Years(1)));
        let files = SignerFiles { certificate: "./ca/ca.crt".into(), key: "./ca/ca.key".into() };
        assert_eq!(node.signer, Some(files.clone()));
        let user = request(Command::User, &["-username", "a", "-days", "3"]);
        assert_eq!((user.signer, user.lifetime), (Some(files), Lifetime::Days(3)));
        assert_eq!(request(Command::Ca, &["-days", "0"]).lifetime, Lifetime::Years(5));
    }

    #[test]
    fn refusals_name_the_flag_and_all_come_at_once() {
        for (command, line, expected) in [
            (Command::Ca, &["-days", "-1", "-ca-key", "k"][..], &["-ca-certificate: ", "-days: `-1`"][..]),
            (Command::Ca, &["-ca-certificate", "c"], &["-ca-key: it is missing"]),
            (
                Command::Node,
                &["-ca-certificate", "", "-ca-key", "", "-days=-3"],
                &[
                    "-ip-addresses or -dns-names: at least one",
                    "-ca-certificate: it is empty",
                    "-ca-key: it is empty",
                    "-days",
                ],
            ),
            (Command::Node, &["-dns-names", " , "], &["-ip-addresses or -dns-names"]),
            (Command::Node, &["-dns-names", "müller.de"], &["-dns-names: \"müller.de\" is not ASCII"]),
            (Command::User, &["-days", "-1"], &["-username: it is missing", "-days"]),
            (Command::User, &["-username", ""], &["-username: it is missing"]),
            (Command::User, &["-username", "../../x"], &["-username: `../../x` contains `/`"]),
            (Command::User, &["-username", "a/b", "-out", "x"], &["-username"]),
        ] {
            let told = mistakes(command, line);
            assert_eq!(told.len(), expected.len(), "{line:?}: {told:?}");
            for (told, expected) in told.iter().zip(expected) {
                assert!(told.starts_with(expected), "{line:?}: {told}");
            }
        }
        request(Command::User, &["-username", "a/b", "-out", "x", "-name", "y"]);
    }

    fn names(line: &[&str]) -> (Vec<String>, Vec<String>, usize) {
        let checked = checked(Command::Node, line);
        let Subject::Node { names, .. } = checked.request.unwrap().subject else { panic!("a node") };
        (names.dns, names.addresses.iter().map(ToString::to_string).collect(), checked.warnings.len())
    }

    #[test]
    fn addresses_are_plain_literals() {
        let list = "127.0.0.1, ::1 ,::ffff:1.2.3.4,127.0.0.1";
        assert_eq!(names(&["-ip-addresses", list]).1, ["127.0.0.1", "::1", "1.2.3.4", "127.0.0.1"]);
        for bad in ["10.0.0.01", "10.0.0.0/8", "fe80::1%eth0", "10.0.0.1:80", "a", "10.0.0.1,", " "] {
            let told = mistakes(Command::Node, &["-ip-addresses", bad]);
            assert!(told.len() == 1 && told[0].contains("is not an IP address"), "{bad}: {told:?}");
        }
    }

    #[test]
    fn dns_names_are_trimmed_and_odd_ones_are_said() {
        for (list, dns, addresses, warnings) in [
            ("a, b", &["a", "b"][..], &[][..], 0),
            ("Eventstore.Test,*.db.test,a_b,a,a", &["Eventstore.Test", "*.db.test", "a_b", "a", "a"], &[], 0),
            ("x.", &["x."], &[], 1),
            ("a,", &["a"], &[], 1),
            ("https://x:2113", &["https://x:2113"], &[], 1),
            ("a b", &["a b"], &[], 1),
            ("a,10.0.0.1", &["a"], &["10.0.0.1"], 1),
        ] {
            let found = names(&["-dns-names", list]);
            let found =
                (found.0.iter().map(String::as_str).collect(), found.1.iter().map(String::as_str).collect(), found.2);
            assert_eq!(found, (dns.to_vec(), addresses.to_vec(), warnings), "{list}");
        }
        let both = names(&["-dns-names", "10.0.0.2,a", "-ip-addresses", "10.0.0.1"]);
        assert_eq!(both.1, ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn a_life_ends_by_the_calendar() {
        let leap = datetime!(2028-02-29 12:00 UTC);
        assert_eq!(Lifetime::Years(1).end(leap), Some(datetime!(2029-03-01 12:00 UTC)));
        assert_eq!(Lifetime::Years(5).end(datetime!(2026-11-25 1:02:03 UTC)), Some(datetime!(2031-11-25 1:02:03 UTC)));
        assert_eq!(Lifetime::Days(1).end(leap), Some(datetime!(2028-03-01 12:00 UTC)));
        for days in [3_000_000, i64::MAX, i64::MAX / 86_400, 1 << 62] {
            assert_eq!(Lifetime::Days(days).end(leap), None, "{days}");
        }
    }
}
