//! The values of a configuration as types: each can only be made from text or numbers that are allowed.

use std::fmt;
use std::net::Ipv4Addr;

/// The prefix of everything a deployment owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentName(String);

/// A private DNS namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

macro_rules! checked_text {
    ($($type:ty),*) => {$(
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_text!(DeploymentName, Namespace, Login);

/// Where a file is in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerPath(String);

/// How many nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterSize(u8);

impl ClusterSize {
    pub(crate) fn new(nodes: i64) -> Result<Self, String> {
        match u8::try_from(nodes) {
            Ok(nodes @ (1 | 3 | 5 | 7)) => Ok(Self(nodes)),
            Ok(nodes @ (2 | 4 | 6)) => Err(format!(
                "`{nodes}` is an even number: more than half of the nodes must live, so the last one adds cost and no \
                 safety; allowed are 1, 3, 5 and 7"
            )),
            _ => Err(format!("`{nodes}` is not a size of a cluster; allowed are 1, 3, 5 and 7")),
        }
    }

    /// Whether there are nodes that must find each other.
    pub(crate) fn is_cluster(self) -> bool {
        self.0 > 1
    }

    /// The number of each node, from 1.
    pub(crate) fn numbers(self) -> impl Iterator<Item = u8> {
        1..=self.0
    }
}

impl fmt::Display for ClusterSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A user that every server is born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltInUser {
    /// `admin`, in the group `$admins`.
    Admin,
    /// `ops`, in the group `$ops`.
    Ops,
}

impl BuiltInUser {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Admin, Self::Ops];

    /// The login name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }
}

/// A login name in the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Login(String);

/// How old a password may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RotationPeriod {
    /// It is replaced on demand alone.
    Never,
    /// It is replaced at this age.
    Days(u16),
}

/// A private IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// The `index`th of the 2^`bits` equal parts of the range.
    pub(crate) fn part(self, bits: u8, index: u8) -> Self {
        debug_assert!(u32::from(index) < 1 << bits, "a part of this range");
        let prefix = self.prefix + bits;
        let offset = u32::from(index) << (32 - prefix);
        Self { address: Ipv4Addr::from(u32::from(self.address) + offset), prefix }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A line of server releases that share their options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLine {
    /// EventStoreDB 23.10.
    V23_10,
    /// EventStoreDB 24.10.
    V24_10,
}

impl ServerLine {
    /// All lines that can be deployed.
    pub const ALL: [Self; 2] = [Self::V23_10, Self::V24_10];

    /// The line as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V23_10 => "23.10",
            Self::V24_10 => "24.10",
        }
    }
}

/// CPU units and memory of a task: a pair that Fargate offers (AWS, "Task size"), with enough memory for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FargateSize {
    cpu: u32,
    memory_mib: u32,
}

/// CPU units that Fargate offers, with the memory it gives with them, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FargateCpu {
    units: u32,
    least: u32,
    most: u32,
    step: u32,
}

const fn offer(units: u32, least: u32, most: u32, step: u32) -> FargateCpu {
    FargateCpu { units, least, most, step }
}

/// AWS, "Amazon ECS task definition parameters for Fargate", task size.
const FARGATE: [FargateCpu; 7] = [
    offer(256, 512, 2048, 512), // of 512, 1024 and 2048 only the last is enough for the server
    offer(512, 1024, 4096, 1024),
    offer(1024, 2048, 8192, 1024),
    offer(2048, 4096, 16_384, 1024),
    offer(4096, 8192, 30_720, 1024),
    offer(8192, 16_384, 61_440, 4096),
    offer(16_384, 32_768, 122_880, 8192),
];

/// The chunk cache alone takes 512 MiB, the heap grows with the number of streams (production-review row 40).
const LEAST_MEMORY_MIB: u32 = 2048;

impl FargateCpu {
    pub(crate) fn new(units: i64) -> Result<Self, String> {
        FARGATE.into_iter().find(|cpu| i64::from(cpu.units) == units).ok_or_else(|| {
            let allowed: Vec<_> = FARGATE.iter().map(|cpu| cpu.units.to_string()).collect();
            format!("`{units}` CPU units are not offered by Fargate; allowed are {}", allowed.join(", "))
        })
    }
}

impl FargateSize {
    pub(crate) fn new(cpu: FargateCpu, memory: i64) -> Result<Self, String> {
        let FargateCpu { units, least, most, step } = cpu;
        let least = least.max(LEAST_MEMORY_MIB);
        match u32::try_from(memory) {
            Ok(memory_mib) if (least..=most).contains(&memory_mib) && memory_mib.is_multiple_of(step) => {
                Ok(Self { cpu: units, memory_mib })
            }
            _ if least == most => Err(format!("`{memory}` MiB do not go with {units} CPU units; allowed are {least}")),
            _ => Err(format!(
                "`{memory}` MiB do not go with {units} CPU units; allowed are {least} to {most} in steps of {step}"
            )),
        }
    }

    /// CPU units; 1024 are one vCPU.
    pub fn cpu(self) -> u32 {
        self.cpu
    }

    /// Memory in MiB.
    pub fn memory_mib(self) -> u32 {
        self.memory_mib
    }
}

impl DeploymentName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=32).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(inner);
        if !good {
            return Err(format!(
                "`{text}` is not allowed; allowed are 1 to 32 lower-case letters, digits and inner hyphens, starting with a letter"
            ));
        }
        // In one namespace the clients' name of `orders-node-1` would be the first node's name of `orders`.
        let number = text.rsplit_once("-node-").map(|(_, number)| number);
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(format!("`{text}` ends like the name of a node; allowed is any end but `-node-` and a number"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Namespace {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 200 && text.contains('.') && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` is not a private DNS name; allowed are at least two lower-case labels, for example db.internal"
        ))
    }
}

impl ServerLine {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|line| line.as_str() == text).ok_or_else(|| {
            let allowed: Vec<_> = Self::ALL.iter().map(|line| line.as_str()).collect();
            format!("`{text}` is not a supported server line; allowed are {}", allowed.join(", "))
        })
    }
}

impl Login {
    /// Characters that need no escaping in a URL, a connection string or the name of a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let good = (1..=62).contains(&text.len()) && text.bytes().all(known) && !text.starts_with('.');
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!(
                "`{text}` is not a login name; allowed are 1 to 62 letters, digits and `_.-`, not starting with a dot"
            )
        })
    }

    /// The second login of a pair that takes turns.
    pub(crate) fn alternate(&self) -> Self {
        Self(format!("{}-b", self.0))
    }
}

impl RotationPeriod {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| (1..=3650).contains(days));
        match (text, days) {
            ("never", _) => Ok(Self::Never),
            (_, Some(days)) => Ok(Self::Days(days)),
            _ => Err(format!("`{text}` is not a period; allowed are 1d to 3650d, and never")),
        }
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ContainerPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a file in a container; allowed is a path that starts with /"))
    }
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not allowed; allowed is a private range (RFC 1918) of /16 to /24, for example 10.20.0.0/16"
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !address.is_private() || !(16..=24).contains(&prefix) {
            return Err(wrong());
        }
        if u32::from(address) << prefix != 0 {
            return Err(format!("`{text}` has bits set behind the prefix; give the first address of the range"));
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_that_fargate_offers_exist() {
        let size = |cpu, memory| FargateCpu::new(cpu).and_then(|cpu| FargateSize::new(cpu, memory));
        for (cpu, memory) in [(256, 2048), (512, 4096), (8192, 20_480), (16_384, 122_880)] {
            let size = size(cpu, memory).unwrap();
            assert_eq!((i64::from(size.cpu()), i64::from(size.memory_mib())), (cpu, memory));
        }
        for (cpu, memory) in [(256, 512), (256, 4096), (1024, 2500), (1024, 9216), (8192, 18_432), (3, 4096), (-1, -1)]
        {
            assert!(size(cpu, memory).is_err(), "{cpu}/{memory}");
        }
    }

    #[test]
    fn a_name_is_a_dns_label_that_no_node_has() {
        for good in ["a", "orders", "orders-2", "orders-node", "orders-node-a", "node-1", &"a".repeat(32)] {
            assert!(DeploymentName::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "Orders", "2orders", "orders-", "or_ders", "or.ders", "örders", "orders-node-1", &"a".repeat(33)]
        {
            assert!(DeploymentName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_has_two_labels_or_more() {
        for good in ["db.internal", "a.b", "prod.db-1.internal"] {
            assert!(Namespace::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "internal", "db.", ".internal", "db..internal", "Db.internal", "-db.internal", "db_1.internal"]
        {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
        let label = "a".repeat(63);
        assert!(Namespace::parse(&format!("{label}.internal")).is_ok());
        assert!(Namespace::parse(&format!("{label}a.internal")).is_err());
        assert!(Namespace::parse(&format!("{label}.{label}.{label}.{label}")).is_err());
    }

    #[test]
    fn a_range_is_private_and_starts_at_its_first_address() {
        for good in ["10.0.0.0/16", "172.16.0.0/20", "192.168.4.0/24"] {
            assert_eq!(Cidr::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.0/8", "10.0.0.0/25", "10.0.1.0/16", "20.10.0.0/16", "172.32.0.0/16", "::/16"]
        {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_has_equal_parts() {
        let range = Cidr::parse("10.20.0.0/16").unwrap();
        let quarters: Vec<_> = (0..4).map(|index| range.part(2, index).to_string()).collect();
        assert_eq!(quarters, ["10.20.0.0/18", "10.20.64.0/18", "10.20.128.0/18", "10.20.192.0/18"]);
        // The smallest part of the smallest range is larger than the smallest subnet of AWS, /28.
        assert_eq!(Cidr::parse("10.20.1.0/24").unwrap().part(3, 7).to_string(), "10.20.1.224/27");
    }

    #[test]
    fn a_login_needs_no_escaping_and_leaves_room_for_its_alternate() {
        for good in ["a", "orders", "Orders.v2_x-1", &"a".repeat(62)] {
            assert!(Login::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a/b", "a b", "a@b", "ä", "a:b", &"a".repeat(63)] {
            assert!(Login::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_period_is_in_days_or_never() {
        for (text, days) in [("1d", Some(1)), ("90d", Some(90)), ("3650d", Some(3650)), ("never", None)] {
            let expected = days.map_or(RotationPeriod::Never, RotationPeriod::Days);
            assert_eq!(RotationPeriod::parse(text), Ok(expected), "{text}");
        }
        for bad in ["", "0d", "3651d", "90", "12h", "-1d", "d", "Never"] {
            assert!(RotationPeriod::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cluster_has_an_odd_number_of_nodes() {
        for good in [1, 3, 5, 7] {
            let numbers: Vec<_> = ClusterSize::new(good).unwrap().numbers().map(i64::from).collect();
            assert_eq!(numbers, (1..=good).collect::<Vec<_>>());
        }
        for bad in [-1, 0, 2, 4, 6, 8, 9, 259] {
            let message = ClusterSize::new(bad).unwrap_err();
            assert!(
                message.contains(&format!("`{bad}`")) && message.ends_with("allowed are 1, 3, 5 and 7"),
                "{message}"
            );
            assert_eq!(message.contains("even"), [2, 4, 6].contains(&bad), "{message}");
        }
    }
}
