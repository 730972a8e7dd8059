//! What is to be made: pure data, valid by construction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use nix::unistd::geteuid;
use time::Duration;

use crate::inspect::Line;

/// Everything one run needs to know.
#[derive(Debug)]
pub struct Plan {
    /// The directory that gets the certificates; it must exist.
    pub out: PathBuf,
    /// A program to install as `<out>/guard`, if any.
    pub guard: Option<PathBuf>,
    /// Who signs the node's certificate.
    pub ca: CaSource,
    /// The names the node answers to.
    pub names: Names,
    /// How long the node's certificate is valid.
    pub validity: Validity,
    /// The size of the node's RSA key.
    pub key_size: RsaBits,
    /// How long before its end a certificate is replaced.
    pub renew_before: RenewBefore,
    /// The server line that reads what is published; none is all of them.
    pub server_line: Option<Line>,
    /// Whom the files belong to; none is whoever runs this.
    pub owner: Option<Owner>,
    /// The key of an authority that is made here.
    pub ca_key_algorithm: CaKeyAlgorithm,
    /// The ECS metadata endpoint of this container, to ask for the task's address.
    pub task_metadata: Option<MetadataUri>,
    /// Whether to look and say only.
    pub dry_run: bool,
}

/// Where the certificate authority comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// An authority of this task alone. With a state directory it survives a second run in the same task, so that a
    /// renewed certificate is still trusted by whoever trusted the first one; without, every run makes a new one.
    Ephemeral {
        /// A directory that only certgen and bootstrap mount.
        state: Option<PathBuf>,
    },
    /// The authority of somebody who keeps it: one root, PEM, and its key, which may be in the same file.
    Files {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the private key.
        key: PathBuf,
    },
    /// The authority of a deployment in AWS Secrets Manager; the first task that finds the secret absent or empty makes it.
    Secret {
        /// The secret's name or ARN.
        id: String,
    },
}

/// The subject alternative names of a node certificate, without repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    dns: Vec<DnsName>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// The names everybody on the node itself uses (`localhost` and both loopback addresses), then the given ones.
    ///
    /// Clients of the database do not look at the common name, so a name that is not listed here cannot be used.
    pub fn with_loopback(dns: impl IntoIterator<Item = DnsName>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut names = Self {
            dns: vec![DnsName("localhost".to_owned())],
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        for name in dns {
            if !names.dns.contains(&name) {
                names.dns.push(name);
            }
        }
        addresses.into_iter().fold(names, Self::with_address)
    }

    /// The same names and this address.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        // Who dials an IPv4 address that is written as an IPv6 one compares it as IPv4.
        let address = address.to_canonical();
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
        self
    }

    /// The DNS names, in the order in which they appear in the certificate.
    pub fn dns(&self) -> &[DnsName] {
        &self.dns
    }

    /// The IP addresses, in the order in which they appear in the certificate, after the DNS names.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dns = self.dns.iter().map(ToString::to_string);
        let all: Vec<_> = dns.chain(self.addresses.iter().map(ToString::to_string)).collect();
        f.write_str(&all.join(", "))
    }
}

/// A host name as it may stand in a certificate: letters, digits and hyphens in labels of 1 to 63 characters, 253 in all
/// (RFC 1123 §2.1), the last one not a number, with `*` allowed as the whole first label before at least two others
/// (RFC 6125 §6.4.3). Kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(String);

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DnsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("`{text}` is an IP address; give it with --ip-addresses"));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let domain = text.strip_prefix("*.");
        let host = domain.unwrap_or(text);
        if text.len() > 253 || !host.split('.').all(label) {
            return Err(format!(
                "`{text}` is not a DNS name; allowed are labels of 1 to 63 letters, digits and inner hyphens, joined by dots"
            ));
        }
        // Nobody resolves it (RFC 1123 §2.1), and rustls refuses to dial it.
        if host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(format!("`{text}` is neither a DNS name, for its last label is a number, nor an IP address"));
        }
        if domain.is_some_and(|domain| !domain.contains('.')) {
            return Err(format!(
                "`{text}` stands for no name: OpenSSL takes `*.` only before two labels; give the names"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// How long a certificate is valid: 1 to 3650 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity(Duration);

impl Validity {
    /// The same default as es-gencert-cli's for nodes: one year.
    pub const NODE: Self = Self(Duration::days(365));
    /// The same default as es-gencert-cli's for authorities: five years.
    pub const AUTHORITY: Self = Self(Duration::days(5 * 365));

    /// The length of time.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// If a certificate is valid for exactly that long.
    pub fn of(duration: Duration) -> Option<Self> {
        let hours = duration.whole_hours();
        ((1..=MOST_HOURS).contains(&hours) && duration == Duration::hours(hours)).then_some(Self(duration))
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.whole_hours() % 24 == 0 {
            write!(f, "{}d", self.0.whole_days())
        } else {
            write!(f, "{}h", self.0.whole_hours())
        }
    }
}

impl FromStr for Validity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match hours(text) {
            Some(hours) => Ok(Self(hours)),
            None => {
                Err(format!("`{text}` is not a validity; allowed are 1h to 87600h or 1d to 3650d, for example 90d"))
            }
        }
    }
}

const MOST_HOURS: i64 = 87_600;

/// A time of 1 to [`MOST_HOURS`] hours that is written in days or hours.
fn hours(text: &str) -> Option<Duration> {
    let hours = if let Some(days) = text.strip_suffix('d') {
        days.parse::<u32>().ok()?.checked_mul(24)?
    } else {
        text.strip_suffix('h')?.parse().ok()?
    };
    let hours = i64::from(hours);
    (1..=MOST_HOURS).contains(&hours).then_some(Duration::hours(hours))
}

/// How long before its end a certificate is replaced; always less than its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewBefore(Duration);

impl RenewBefore {
    /// A third of the validity: two thirds are used, and what fails can be repeated for a long time.
    pub fn third_of(validity: Validity) -> Self {
        Self(validity.0 / 3)
    }

    /// Reads a time like `30d` or `12h`.
    ///
    /// # Errors
    ///
    /// What is wrong with it: its form, or that it is not less than `validity`, so that a certificate would be due as soon as
    /// it is made.
    pub fn parse(text: &str, validity: Validity) -> Result<Self, String> {
        let Some(time) = hours(text) else {
            return Err(format!(
                "`{text}` is not a time; allowed are hours (12h) and days (30d), less than --validity"
            ));
        };
        if time >= validity.0 {
            return Err(format!(
                "`{text}` is not less than the validity, {validity}: a certificate would be due as soon as it is made"
            ));
        }
        Ok(Self(time))
    }

    /// The length of time.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for RenewBefore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes) = (self.0.whole_days(), self.0.whole_hours() % 24, self.0.whole_minutes() % 60);
        let parts = [(days, 'd'), (hours, 'h'), (minutes, 'm')];
        parts.into_iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The uid.
    pub user: u32,
    /// The gid; none is whatever the system gives a new file, which in some directories is the directory's.
    pub group: Option<u32>,
}

impl Owner {
    /// Whoever runs this, with whatever group.
    pub fn of_process() -> Self {
        Self { user: geteuid().as_raw(), group: None }
    }

    /// Whether a file of this uid and gid is theirs.
    pub(crate) fn has(self, user: u32, group: u32) -> bool {
        self.user == user && self.group.is_none_or(|own| own == group)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => write!(f, "{}", self.user),
        }
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The largest number means "leave it as it is" to the kernel.
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        let (user, group) = match text.split_once(':') {
            None => (number(text), Some(None)),
            Some((user, group)) => (number(user), number(group).map(Some)),
        };
        user.zip(group).map(|(user, group)| Self { user, group }).ok_or_else(|| {
            format!("`{text}` is not an owner; allowed are numbers, UID or UID:GID, for example 1000 or 1000:1000")
        })
    }
}

/// Where a container asks ECS, as `ECS_CONTAINER_METADATA_URI_V4` and `ECS_AGENT_URI` say (aws-contract §4.1): plain HTTP to
/// 169.254.170.2, which never leaves the machine, or to an address of loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataUri(String);

/// The link-local address of the endpoints that ECS gives every task.
const TASK_ENDPOINTS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2));

impl MetadataUri {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MetadataUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MetadataUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()));
        let authority = rest.and_then(|rest| rest.split('/').next());
        let address = authority.and_then(|authority| {
            let with_port = authority.parse::<SocketAddr>().map(|address| address.ip());
            with_port.ok().or_else(|| authority.trim_matches(['[', ']']).parse::<IpAddr>().ok())
        });
        match address {
            Some(address) if address == TASK_ENDPOINTS || address.is_loopback() => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "`{text}` is not where ECS answers a task; allowed is http://{TASK_ENDPOINTS}/PATH, and http with an address \
                 of loopback"
            )),
        }
    }
}

/// The size of an RSA key. Every server line accepts these three (contract §4.1); smaller keys are refused by TLS
/// libraries, larger ones take minutes to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RsaBits {
    /// 2048 bits.
    #[value(name = "2048")]
    B2048,
    /// 3072 bits.
    #[value(name = "3072")]
    B3072,
    /// 4096 bits.
    #[value(name = "4096")]
    B4096,
}

impl RsaBits {
    /// The size as a number.
    pub fn bits(self) -> usize {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }
}

/// The key of an authority that certgen makes. A real cluster accepts both kinds (observed §7); P-256 saves the second RSA
/// key, RSA is what es-gencert-cli makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CaKeyAlgorithm {
    /// EC on P-256.
    #[default]
    P256,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// An authority that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAuthority {
    /// Its key.
    pub key_algorithm: CaKeyAlgorithm,
    /// How long it is valid.
    pub validity: Validity,
}

impl Default for NewAuthority {
    fn default() -> Self {
        Self { key_algorithm: CaKeyAlgorithm::default(), validity: Validity::AUTHORITY }
    }
}

impl CaKeyAlgorithm {
    /// The kind that is nearest to RSA keys of this size.
    pub(crate) fn of_rsa(bits: usize) -> Self {
        match bits {
            ..2049 => Self::Rsa2048,
            2049..3073 => Self::Rsa3072,
            _ => Self::Rsa4096,
        }
    }

    /// The size of an RSA key.
    pub(crate) fn rsa(self) -> Option<RsaBits> {
        match self {
            Self::P256 => None,
            Self::Rsa2048 => Some(RsaBits::B2048),
            Self::Rsa3072 => Some(RsaBits::B3072),
            Self::Rsa4096 => Some(RsaBits::B4096),
        }
    }
}

impl fmt::Display for CaKeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rsa() {
            None => f.write_str("p256"),
            Some(size) => write!(f, "rsa{}", size.bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_start_with_loopback_and_do_not_repeat() {
        let names = Names::with_loopback(
            ["node-1.example", "LOCALHOST", "node-1.example"].map(|name| name.parse().unwrap()),
            ["127.0.0.1", "10.0.0.7"].map(|address| address.parse().unwrap()),
        );
        assert_eq!(names.to_string(), "localhost, node-1.example, 127.0.0.1, ::1, 10.0.0.7");
    }

    #[test]
    fn a_dns_name_is_checked_and_lower_cased() {
        for good in ["a", "node-1.db.internal", "*.db.internal", "xn--mller-kva.de"] {
            assert!(good.parse::<DnsName>().is_ok(), "{good}");
        }
        assert_eq!("Node.DB".parse::<DnsName>().unwrap().as_str(), "node.db");
        let label = "a".repeat(64);
        for bad in [
            "",
            " b",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "https://x",
            "müller.de",
            "*",
            "a.*.b",
            "10.0.0.1",
            "10.0.0.300",
            "::1",
            "*.internal",
            &label,
        ] {
            assert!(bad.parse::<DnsName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_validity_needs_a_unit_and_has_bounds() {
        assert_eq!("90d".parse::<Validity>().unwrap().to_string(), "90d");
        assert_eq!("36h".parse::<Validity>().unwrap().to_string(), "36h");
        for bad in ["90", "0d", "0h", "3651d", "d", "-1d", "1w", "99999999999d"] {
            assert!(bad.parse::<Validity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_time_to_renew_is_less_than_the_validity() {
        let validity: Validity = "10d".parse().unwrap();
        assert_eq!(RenewBefore::third_of(validity).to_string(), "3d8h");
        assert_eq!(RenewBefore::third_of("1h".parse().unwrap()).to_string(), "20m");
        assert_eq!(RenewBefore::parse("239h", validity).unwrap().to_string(), "9d23h");
        for (bad, reason) in [("10d", "not less than the validity, 10d"), ("5", "not a time"), ("0h", "not a time")] {
            assert!(RenewBefore::parse(bad, validity).unwrap_err().contains(reason), "{bad}");
        }
    }

    #[test]
    fn an_owner_is_one_number_or_two() {
        assert_eq!("1000".parse(), Ok(Owner { user: 1000, group: None }));
        assert_eq!("1000:0".parse(), Ok(Owner { user: 1000, group: Some(0) }));
        for bad in ["", "es", "1000:", ":1", "1:2:3", "-1", "4294967295", "1:4294967295"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_metadata_endpoint_is_plain_http() {
        for good in ["http://169.254.170.2/v4/158d-2495", "http://127.0.0.1:80/v4/a", "http://[::1]:1/v4"] {
            assert!(good.parse::<MetadataUri>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "169.254.170.2",
            "https://169.254.170.2/v4",
            "http://",
            "http:///v4",
            "http://a b",
            "http://10.0.0.1/v4",
            "http://169.254.170.2.example/v4",
            "http://127.0.0.1@example/v4",
        ] {
            assert!(bad.parse::<MetadataUri>().is_err(), "{bad}");
        }
    }
}
