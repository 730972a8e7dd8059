//! A node's entry in the registry: what it is to say, and what it says.

use std::collections::BTreeMap;
use std::net::IpAddr;

const TASK_ARN: &str = "TASK_ARN";
const SINCE: &str = "SINCE_MS";
const MEMBER: &str = "MEMBER";
/// `false` of a server without TLS, as in a connection string; else it is not there.
const TLS: &str = "TLS";
/// All attributes that bootstrap writes. Others are somebody else's and are not looked at.
const OURS: [&str; 11] = [
    "AWS_INSTANCE_IPV4",
    "AWS_INSTANCE_IPV6",
    "AWS_INSTANCE_PORT",
    TASK_ARN,
    "STATE",
    SINCE,
    MEMBER,
    TLS,
    "CERTIFICATE_SHA256",
    "ROOTS_SHA256",
    "SIGNER_SHA256",
];

/// A node as it is to stand in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The instance id: the node's name, so that a successor replaces its predecessor's entry.
    pub node: String,
    /// Where clients connect to.
    pub address: IpAddr,
    /// The port for HTTP and gRPC.
    pub port: u16,
    /// The task that registered it.
    pub task_arn: String,
    /// `host:port` under which gossip knows the node, if that is known.
    pub member: Option<String>,
    /// The SHA-256 of the served certificate, in hexadecimal; `None` without TLS.
    pub certificate_sha256: Option<String>,
    /// The SHA-256 of the trusted roots, in hexadecimal; `None` without TLS.
    pub roots_sha256: Option<String>,
    /// The SHA-256 of the root that signed the served certificate, in hexadecimal, if a root did.
    pub signer_sha256: Option<String>,
    /// When the task registered first, in milliseconds since 1970, and later than the entry it then found: of two tasks
    /// of one node the younger has the greater.
    pub since: u64,
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The instance id.
    pub node: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Instance {
    /// The attributes that say this.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let address = if self.address.is_ipv6() { "AWS_INSTANCE_IPV6" } else { "AWS_INSTANCE_IPV4" };
        let mut attributes: BTreeMap<_, _> = [
            (address, self.address.to_string()),
            ("AWS_INSTANCE_PORT", self.port.to_string()),
            (TASK_ARN, self.task_arn.clone()),
            ("STATE", "READY".to_owned()),
            (SINCE, self.since.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let tls = self.certificate_sha256.is_none().then(|| "false".to_owned());
        let known = [
            (MEMBER, &self.member),
            (TLS, &tls),
            ("CERTIFICATE_SHA256", &self.certificate_sha256),
            ("ROOTS_SHA256", &self.roots_sha256),
            ("SIGNER_SHA256", &self.signer_sha256),
        ];
        attributes.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
        attributes
    }
}

impl Entry {
    /// The task that it belongs to; empty if somebody else than bootstrap wrote it.
    pub fn task_arn(&self) -> &str {
        self.attributes.get(TASK_ARN).map_or("", String::as_str)
    }

    /// [`Instance::since`]; 0 if it says nothing of the kind.
    pub fn since(&self) -> u64 {
        self.attributes.get(SINCE).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// [`Instance::member`].
    pub fn member(&self) -> Option<&str> {
        self.attributes.get(MEMBER).map(String::as_str)
    }

    /// Whether it says of `wanted` what it is to say.
    pub fn shows(&self, wanted: &Instance) -> bool {
        let wanted = wanted.attributes();
        OURS.iter().all(|name| self.attributes.get(*name) == wanted.get(*name))
    }
}
