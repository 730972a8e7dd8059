//! What is to be made: pure data, valid by construction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use time::Duration;

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
        for address in addresses {
            if !names.addresses.contains(&address) {
                names.addresses.push(address);
            }
        }
        names
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
/// (RFC 1123 §2.1), with `*` allowed as the whole first label (RFC 6125 §6.4.3). Kept in lower case.
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
        let host = text.strip_prefix("*.").unwrap_or(text);
        if text.len() > 253 || !host.split('.').all(label) {
            return Err(format!(
                "`{text}` is not a DNS name; allowed are labels of 1 to 63 letters, digits and inner hyphens, joined by dots"
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
        let hours = if let Some(days) = text.strip_suffix('d') {
            days.parse::<u32>().ok().and_then(|days| days.checked_mul(24))
        } else if let Some(hours) = text.strip_suffix('h') {
            hours.parse().ok()
        } else {
            None
        };
        match hours {
            Some(hours @ 1..=87_600) => Ok(Self(Duration::hours(hours.into()))),
            _ => Err(format!("`{text}` is not a validity; allowed are 1h to 87600h or 1d to 3650d, for example 90d")),
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
            "::1",
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
}
