//! Whether several deployments can stand beside each other in one account and region. What AWS would refuse is found as well as
//! what it would not: two databases in one directory, two programs that replace the passwords of one secret.

use std::fmt;

use crate::model::{Deployment, Discovery, FileSystem, Secret, Secured, Volume, Vpc};

/// Something that two deployments both take for their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Which of the deployments, by their order.
    pub between: [usize; 2],
    /// The key of the configuration that one of both has to change.
    pub key: &'static str,
    /// What both take, what comes of it, and what to change.
    pub message: String,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Everything that two of the deployments both take for their own, for deployments of one account and region.
pub fn collisions(deployments: &[Deployment]) -> Vec<Collision> {
    let mut found = Vec::new();
    for (second, two) in deployments.iter().enumerate() {
        for (first, one) in deployments[..second].iter().enumerate() {
            let mut add = |key, message| found.push(Collision { between: [first, second], key, message });
            if one.name() == two.name() {
                add(
                    "name",
                    format!("both are named `{}`, and so their stacks; every deployment needs a name", one.name()),
                );
                // All else is the same too.
                continue;
            }
            if let Some(message) = same_directory(one, two) {
                add("data.root", message);
            }
            if let Some(message) = same_names(one, two) {
                add("discovery.namespace_id", message);
            }
            for (key, arn) in same_secrets(one, two) {
                add(
                    key,
                    format!(
                        "both keep their password in `{arn}`, and each would replace the other's; name a secret for each, or none"
                    ),
                );
            }
        }
    }
    found
}

/// The directories of the nodes on a file system that is there already.
fn directories(deployment: &Deployment) -> Option<(&str, Vec<String>)> {
    let FileSystem::Existing { id, .. } = &deployment.config().data.file_system else { return None };
    let root = &deployment.config().data.root;
    let volumes = [Volume::Data, Volume::Logs];
    let below = |node: &str| volumes.map(|volume| root.join(&format!("{node}/{}", volume.as_str())));
    Some((id.as_str(), deployment.members().flat_map(|node| below(node.name())).collect()))
}

fn same_directory(one: &Deployment, two: &Deployment) -> Option<String> {
    let ((id, mine), (other, theirs)) = (directories(one)?, directories(two)?);
    let is_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let shared = mine.iter().find(|a| theirs.iter().any(|b| is_in(a, b) || is_in(b, a)))?;
    (id == other).then(|| {
        format!(
            "on `{id}` both have a node in `{shared}`: one database would be that of both, or one could not start; choose a \
             directory for each, for example /{}",
            two.name()
        )
    })
}

/// In one VPC a DNS name leads to one place.
fn same_names(one: &Deployment, two: &Deployment) -> Option<String> {
    let (one, two) = (one.config(), two.config());
    let (Vpc::Existing { id, .. }, Vpc::Existing { id: other, .. }) = (&one.network.vpc, &two.network.vpc) else {
        return None;
    };
    let one_is_new = one.discovery == Discovery::New || two.discovery == Discovery::New;
    (id == other && one.namespace == two.namespace && one_is_new).then(|| {
        format!(
            "both are in `{id}` and at least one makes the namespace `{}` there, of which a VPC can have one only; let one make it, \
             and name it in the other, or take another namespace",
            one.namespace
        )
    })
}

/// Secrets that both write to. One authority for both is fine: certgen of each reads it, and only changes it on demand.
fn same_secrets<'a>(one: &'a Deployment, two: &'a Deployment) -> Vec<(&'static str, &'a str)> {
    let mine = one.secured().into_iter().flat_map(named);
    let shared = mine.filter_map(|(_, arn)| {
        let theirs = two.secured().into_iter().flat_map(named);
        theirs.into_iter().find(|(_, other)| *other == arn)
    });
    shared.collect()
}

fn named(secured: &Secured) -> impl Iterator<Item = (&'static str, &str)> {
    secured.secrets().filter_map(|(login, secret)| match secret {
        Secret::New => None,
        Secret::Existing(arn) => {
            let key = match login {
                "admin" => "credentials.admin_secret",
                "ops" => "credentials.ops_secret",
                _ => "users.secret",
            };
            Some((key, arn.as_str()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn found(one: &str, two: &str) -> Vec<&'static str> {
        let deployment = |text: &str| Deployment::new(Config::parse(text).unwrap());
        let found = collisions(&[deployment(one), deployment(two)]);
        found.into_iter().map(|collision| collision.key).collect()
    }

    #[test]
    fn one_directory_belongs_to_one_node() {
        let on = |name: &str, root: &str| {
            format!(
                "name = \"{name}\"\ndata.file_system = \"fs-01234567\"\ndata.security_group = \"sg-01234567\"\ndata.root = \"{root}\""
            )
        };
        for (one, two, collide) in [
            ("/", "/", true),
            ("/a", "/a", true),
            ("/", "/node-1/data", true),
            ("/node-1/logs", "/", true),
            ("/", "/a", false),
            ("/a", "/b", false),
            ("/a", "/ab", false),
            ("/a", "/a/b", false),
            ("/", "/node-2/data", false),
        ] {
            let expected: &[&str] = if collide { &["data.root"] } else { &[] };
            assert_eq!(found(&on("a", one), &on("b", two)), expected, "{one} {two}");
        }
        let replica = format!("{}\ncluster.nodes = 3\ncluster.read_only_replicas = 1", on("a", "/"));
        assert_eq!(found(&replica, &on("b", "/replica-1/data")), ["data.root"], "a replica has a directory too");
        let other = on("b", "/").replace("fs-01234567", "fs-01234568");
        assert!(found(&on("a", "/"), &other).is_empty(), "another file system");
        assert!(found("name = \"a\"", "name = \"b\"").is_empty(), "one for each");
        assert_eq!(found(&on("a", "/"), &on("a", "/")), ["name"]);
    }

    #[test]
    fn one_vpc_has_one_namespace_of_a_name() {
        let vpc = "[network]\nvpc = \"vpc-01234567\"\nsubnets = [\"subnet-01234567\"]\n";
        let known = "[discovery]\nnamespace_id = \"ns-0123456789abcdef\"\nhosted_zone_id = \"Z0123456789ABCDEFGHIJ\"\n";
        let (a, b) = (format!("name = \"a\"\n{vpc}"), format!("name = \"b\"\n{vpc}"));
        assert_eq!(found(&a, &b), ["discovery.namespace_id"]);
        assert_eq!(found(&a, &format!("{b}{known}")), ["discovery.namespace_id"], "it may be the one that `a` makes");
        assert!(found(&format!("{a}{known}"), &format!("{b}{known}")).is_empty());
        assert!(found(&a, &b.replace("name = \"b\"", "name = \"b\"\nnamespace = \"b.internal\"")).is_empty());
        assert!(found(&a, &b.replace("vpc-01234567", "vpc-01234568")).is_empty());
    }

    #[test]
    fn one_password_is_that_of_one_database() {
        let arn = |name: &str| format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}-AbCdEf");
        let with = |name: &str, rest: &str| format!("name = \"{name}\"\n{rest}");
        let admin = format!("credentials.admin_secret = \"{}\"", arn("x"));
        assert_eq!(found(&with("a", &admin), &with("b", &admin)), ["credentials.admin_secret"]);
        let user = format!("[[users]]\nlogin = \"app\"\nsecret = \"{}\"", arn("x"));
        assert_eq!(found(&with("a", &admin), &with("b", &user)), ["users.secret"]);
        assert!(found(&with("a", &admin), &with("b", &admin.replace("x-Ab", "y-Ab"))).is_empty());
        let authority = format!("certificates.ca_secret = \"{}\"", arn("ca"));
        assert!(found(&with("a", &authority), &with("b", &authority)).is_empty());
    }
}
