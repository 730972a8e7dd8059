//! The values of a configuration as types: each can only be made from text or numbers that are allowed.

mod aws;
mod cidr;
mod container;
mod duration;
mod fargate;
mod scavenge;
mod time;

use std::fmt;

pub(crate) use self::aws::{
    EmailAddress, FileSystemId, HostedZoneId, KeyArn, NamespaceId, PrefixListId, RecoveryPointArn, RegionName,
    RepositoryPrefix, RoleArn, SecretArn, SecurityGroupId, SubnetId, TopicArn, VaultArn, VaultName, VpcId,
};
pub(crate) use self::cidr::AdminCidr;
pub(crate) use self::cidr::Cidr;
pub(crate) use self::container::{
    AccessPointId, MountPath, PartName, SecretReference, UserId, VariableName, has_password_in_url,
};
pub(crate) use self::duration::CatchUp;
pub use self::fargate::FargateSize;
pub(crate) use self::fargate::{CPU_UNITS, FargateCpu, LEAST_MEMORY_MIB, MOST_MEMORY_MIB};
pub(crate) use self::scavenge::{ScavengeTime, ScavengeWindow};
pub(crate) use self::time::{MINUTES_OF_DAY, TimeOfDay};

/// A text or number that is not allowed, with what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

/// The prefix of everything a deployment owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentName(String);

/// A private DNS namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

macro_rules! checked_text {
    ($visible:vis $($type:ty),*) => {$(
        impl $type {
            /// The text.
            $visible fn as_str(&self) -> &str {
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

checked_text!(pub DeploymentName, Namespace, Login);
checked_text!(pub(crate) FullName, GroupName, BuildDirectory);

/// How people call a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FullName(String);

/// A group of users in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupName(String);

/// A directory of the file system; `/` or without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataRoot(String);

/// What a resource is called in the console, in its tag `Name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceName(String);

/// What tells the resources of one `cdk bootstrap` from those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Qualifier(String);

/// Where images are built from, seen from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildDirectory(String);

/// Where a file is in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerPath(String);

/// The name of a value in a secret that is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonKey(String);

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

    /// How many nodes that is.
    pub(crate) fn count(self) -> usize {
        self.0.into()
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

/// A line of server releases that share their options, oldest first. 25.0 and 25.1 are two: what was seen of upgrades and of
/// rolling back was seen of 25.0 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerLine {
    /// EventStoreDB 21.10.
    V21_10,
    /// EventStoreDB 22.10.
    V22_10,
    /// EventStoreDB 23.10.
    V23_10,
    /// EventStoreDB 24.10.
    V24_10,
    /// `KurrentDB` 25.0.
    V25_0,
    /// `KurrentDB` 25.1.
    V25_1,
    /// `KurrentDB` 26.
    V26,
}

impl ServerLine {
    /// All lines that can be deployed.
    pub const ALL: [Self; 7] =
        [Self::V21_10, Self::V22_10, Self::V23_10, Self::V24_10, Self::V25_0, Self::V25_1, Self::V26];

    /// The line as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V21_10 => "21.10",
            Self::V22_10 => "22.10",
            Self::V23_10 => "23.10",
            Self::V24_10 => "24.10",
            Self::V25_0 => "25.0",
            Self::V25_1 => "25.1",
            Self::V26 => "26",
        }
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
        for kind in ["-node-", "-replica-"] {
            let number = text.rsplit_once(kind).map(|(_, number)| number);
            if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                return Err(format!(
                    "`{text}` ends like the name of a node; allowed is any end but `{kind}` and a number"
                ));
            }
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

    /// For a login that was checked already, or is the server's own.
    pub(crate) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The second login of a pair that takes turns.
    pub(crate) fn alternate(&self) -> Self {
        Self(format!("{}-b", self.0))
    }
}

impl FullName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=256).contains(&text.len()) && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a name; allowed are 1 to 256 bytes without control characters"))
    }
}

impl FullName {
    /// A user who is called like their login.
    pub(crate) fn of(login: &Login) -> Self {
        Self(login.0.clone())
    }
}

impl GroupName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=64).contains(&text.len()) && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is not the name of a group; allowed are 1 to 64 bytes, for example $admins")
        })
    }
}

impl DataRoot {
    /// With a node's two directories below it a path of at most four, the deepest that an access point makes (AWS,
    /// "Working with Amazon EFS access points").
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let directory = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            (1..=64).contains(&name.len()) && name.bytes().all(known) && !name.starts_with(['.', '-'])
        };
        let below = text.strip_prefix('/');
        let good = below.is_some_and(|below| {
            below.is_empty() || (below.split('/').count() <= 2 && below.split('/').all(directory))
        });
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is not a directory for the nodes' directories; allowed are / and one or two names, for example /eventstore/orders")
        })
    }

    /// A directory below it.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0.trim_end_matches('/'))
    }
}

impl ResourceName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b" +=._:/@-".contains(&byte);
        let good = (1..=256).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is not a name for a tag; allowed are 1 to 256 letters, digits, spaces and `+-=._:/@`")
        })
    }
}

impl Qualifier {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = (1..=10).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a qualifier; allowed are 1 to 10 lower-case letters and digits"))
    }
}

impl BuildDirectory {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=1024).contains(&text.len()) && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a directory; allowed is a path, for example docker"))
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

macro_rules! shown_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

shown_text!(ContainerPath, ResourceName, Qualifier, JsonKey);

impl JsonKey {
    /// ECS separates the parts of a reference with colons (AWS, "Pass Secrets Manager secrets through environment variables").
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let good = (1..=128).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a key in a secret; allowed are 1 to 128 letters, digits and `_.-`"))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContainerPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let good = text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{text}` is not a file in a container; allowed is a path that starts with /"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_that_no_node_has() {
        for good in [
            "a",
            "orders",
            "orders-2",
            "orders-node",
            "orders-node-a",
            "node-1",
            "orders-replica",
            "replica-1",
            &"a".repeat(32),
        ] {
            assert!(DeploymentName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Orders",
            "2orders",
            "orders-",
            "or_ders",
            "or.ders",
            "örders",
            "orders-node-1",
            "orders-replica-12",
            &"a".repeat(33),
        ] {
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
    fn a_login_needs_no_escaping_and_leaves_room_for_its_alternate() {
        for good in ["a", "orders", "Orders.v2_x-1", &"a".repeat(62)] {
            assert!(Login::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a/b", "a b", "a@b", "ä", "a:b", &"a".repeat(63)] {
            assert!(Login::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nodes_directories_are_at_most_four_deep() {
        for (good, data) in [("/", "/node-1/data"), ("/es", "/es/node-1/data"), ("/a/b_c.d", "/a/b_c.d/node-1/data")] {
            assert_eq!(DataRoot::parse(good).unwrap().join("node-1/data"), data);
        }
        for bad in ["", "es", "/es/", "/a/b/c", "//", "/..", "/a/../b", "/a b"] {
            assert!(DataRoot::parse(bad).is_err(), "{bad}");
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
    fn a_key_in_a_secret_has_no_colon() {
        for good in ["key", "license.key_1-x", &"a".repeat(128)] {
            assert!(JsonKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a:b", "a b", "ä", &"a".repeat(129)] {
            assert!(JsonKey::parse(bad).is_err(), "{bad}");
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
