//! What each server line is given. An option that a line does not know ends it with exit code 1 (observed §8), so the
//! environment comes from here alone.

mod line;
mod options;
mod upgrade;

use crate::model::{Influence, Origin, Variable};
use crate::values::{BuiltInUser, ServerLine};

pub(crate) use self::line::{Image, image, was_watched};
pub(crate) use self::options::{KNOWN, ServerOption, Use};
pub(crate) use self::upgrade::{Jump, data_version, jump, opens_data_of};

/// Where the server would write log files if it did: the default is on the root file system, which is read-only.
const NO_LOGS: &str = "/tmp/log";

/// The port on which nodes replicate, the server's default (contract §5.2).
pub(crate) const REPLICATION_PORT: u16 = 1112;

/// The port for the old TCP protocol, the server's default (contract §5.2).
pub(crate) const EXTERNAL_TCP_PORT: u16 = 1113;

/// A node, how it serves, and those it finds its cluster by.
#[expect(clippy::struct_excessive_bools, reason = "they are options that are true or false")]
pub(crate) struct Member<'a> {
    /// The name it is reached by.
    pub(crate) host: &'a str,
    /// The port for HTTP and gRPC, the same on all nodes.
    pub(crate) port: u16,
    /// How many nodes vote, this one included if it does.
    pub(crate) voters: usize,
    /// The names of the other nodes that vote; empty for a single node.
    pub(crate) seeds: &'a [String],
    /// Whether it copies the database and does not vote.
    pub(crate) is_read_only_replica: bool,
    /// Whether it serves without TLS and passwords.
    pub(crate) insecure: bool,
    /// Whether it listens for the old TCP protocol.
    pub(crate) external_tcp: bool,
    /// Whether it writes log files.
    pub(crate) log_files: bool,
    /// What the configuration says besides.
    pub(crate) options: &'a [ServerOption],
}

/// The variables that give a new database its first passwords; since 23.6, from the environment alone (contract §5.2). On
/// the lines before, every new database has the default passwords until bootstrap has replaced them.
pub(crate) fn first_passwords(line: ServerLine) -> Vec<(String, BuiltInUser)> {
    if !has_first_passwords(line) {
        return Vec::new();
    }
    let prefix = image(line).prefix;
    let variable = |user| match user {
        BuiltInUser::Admin => format!("{prefix}DEFAULT_ADMIN_PASSWORD"),
        BuiltInUser::Ops => format!("{prefix}DEFAULT_OPS_PASSWORD"),
    };
    BuiltInUser::ALL.into_iter().map(|user| (variable(user), user)).collect()
}

/// Whether a new database of the line can be born with other passwords than the default ones.
pub(crate) fn has_first_passwords(line: ServerLine) -> bool {
    knows(line, "DEFAULT_ADMIN_PASSWORD")
}

/// The variable with the key of the vendor's licence, if the line asks for one.
pub(crate) fn license_variable(line: ServerLine) -> Option<String> {
    let name = "LICENSING__LICENSE_KEY";
    knows(line, name).then(|| format!("{}{name}", image(line).prefix))
}

/// Whether the line can be asked to listen for the old TCP protocol.
pub(crate) fn knows_external_tcp(line: ServerLine) -> bool {
    knows(line, "ENABLE_EXTERNAL_TCP")
}

fn knows(line: ServerLine, name: &str) -> bool {
    KNOWN.iter().any(|known| known.name == name && known.is_known_to(line))
}

/// What 23.10 calls an option; where a line does not know the new name, the old one.
const RENAMED: [(&str, &str); 5] = [
    ("NODE_IP", "EXT_IP"),
    ("REPLICATION_IP", "INT_IP"),
    ("NODE_PORT", "HTTP_PORT"),
    ("NODE_HOST_ADVERTISE_AS", "EXT_HOST_ADVERTISE_AS"),
    ("REPLICATION_HOST_ADVERTISE_AS", "INT_HOST_ADVERTISE_AS"),
];

fn name_on(line: ServerLine, name: &'static str) -> &'static str {
    let old = RENAMED.iter().find(|(new, _)| *new == name).map(|(_, old)| *old);
    // The images of 23.10 and 24.10 bind by the new names, which win over the old ones (contract §5.2).
    old.filter(|_| !knows(line, name)).unwrap_or(name)
}

/// The server's variables for one node (contract §5.2; lines §F, §G; observed-25 §C).
pub(crate) fn environment(line: ServerLine, member: &Member<'_>) -> Vec<Variable> {
    let Image { prefix, data, logs, .. } = *image(line);
    let index = format!("{data}/index");
    let port = member.port.to_string();
    let size = member.voters.to_string();
    let seeds: Vec<_> = member.seeds.iter().map(|seed| format!("{seed}:{port}")).collect();
    let seeds = seeds.join(",");
    let nodes = || Origin::key("cluster.nodes");
    let own_name = || Origin::keys(&["name", "namespace"]).and(Influence::Place);
    let mut all = vec![("CLUSTER_SIZE", size.as_str(), nodes())];
    if !member.seeds.is_empty() {
        // With its default, true, seeds are ignored, and a name is resolved once in the life of a process (contract §6).
        let no_dns = Origin::fixed("with true the seeds are ignored").only_by("cluster.nodes");
        let all_names =
            own_name().and(Influence::Key("cluster.nodes".into())).and(Influence::Key("server.port".into()));
        all.extend([("DISCOVER_VIA_DNS", "false", no_dns), ("GOSSIP_SEED", &seeds, all_names)]);
    }
    if member.is_read_only_replica {
        all.push(("READ_ONLY_REPLICA", "true", Origin::place()));
    }
    let any = || Origin::fixed("a task's address is known only when it runs");
    all.extend([
        ("NODE_IP", "0.0.0.0", any()),
        ("REPLICATION_IP", "0.0.0.0", any()),
        ("NODE_PORT", &port, Origin::key("server.port")),
        // Bound to 0.0.0.0 a single node would tell clients to connect to 127.0.0.1, and a member of a cluster others to
        // the first address it finds, which on Fargate is not the task's (contract §6).
        ("NODE_HOST_ADVERTISE_AS", member.host, own_name()),
        ("REPLICATION_HOST_ADVERTISE_AS", member.host, own_name()),
        // Always set: a default that changes between lines would silently start an empty database (observed-25 §C).
        ("DB", data, Origin::line()),
        ("INDEX", &index, Origin::line()),
    ]);
    let log_volume = || Origin::key("server.log_volume");
    all.push(if member.log_files {
        ("LOG", logs, log_volume().and(Influence::Line))
    } else {
        ("LOG", NO_LOGS, log_volume().and(Influence::Fixed("the default is on a root file system that is read-only")))
    });
    if member.insecure {
        all.push(("INSECURE", "true", Origin::key("server.insecure")));
    } else {
        let published = || Origin::fixed("where certgen publishes").only_by("server.insecure");
        all.extend([
            ("CERTIFICATE_FILE", "/certs/node.crt", published()),
            ("CERTIFICATE_PRIVATE_KEY_FILE", "/certs/node.key", published()),
            ("TRUSTED_ROOT_CERTIFICATES_PATH", "/certs/ca", published()),
        ]);
    }
    all.extend([
        ("DISABLE_LOG_FILE", if member.log_files { "false" } else { "true" }, log_volume()),
        ("LOG_CONSOLE_FORMAT", "Json", Origin::fixed("CloudWatch Logs takes JSON apart")),
    ]);
    if knows(line, "TELEMETRY_OPTOUT") {
        all.push(("TELEMETRY_OPTOUT", "true", Origin::fixed("a database does not call home")));
    }
    if member.external_tcp {
        all.push(("ENABLE_EXTERNAL_TCP", "true", Origin::key("server.external_tcp")));
    }
    all.extend(member.options.iter().map(|option| {
        let origin = Origin::key(format!("server.options.{}", option.name));
        (option.name, option.value.as_str(), origin)
    }));
    let variable = |(name, value, origin): (&'static str, &str, Origin)| {
        Variable::new(format!("{prefix}{}", name_on(line, name)), value, origin.and(Influence::Named))
    };
    all.into_iter().map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way in which a node can be asked to serve on a line.
    fn members(line: ServerLine, others: &[String]) -> Vec<Member<'_>> {
        let mut members = Vec::new();
        for seeds in [&[], others] {
            for flags in 0..16_u8 {
                let [insecure, log_files, external_tcp, is_read_only_replica] =
                    [1, 2, 4, 8].map(|flag| flags & flag != 0);
                if !external_tcp || knows_external_tcp(line) {
                    let voters = seeds.len() + 1;
                    let member = Member {
                        host: "a",
                        port: 2113,
                        voters,
                        seeds,
                        is_read_only_replica,
                        insecure,
                        external_tcp,
                        log_files,
                        options: &[],
                    };
                    members.push(member);
                }
            }
        }
        members
    }

    /// What infra sets itself nobody else may set.
    #[test]
    fn every_line_knows_what_it_is_given_and_nobody_overrides_it() {
        let others = ["b".to_owned(), "c".to_owned()];
        for line in ServerLine::ALL {
            for member in members(line, &others) {
                let environment = environment(line, &member).into_iter().map(|variable| variable.name);
                let passwords = first_passwords(line).into_iter().map(|(variable, _)| variable);
                let mut seen = std::collections::BTreeSet::new();
                for variable in environment.chain(passwords) {
                    let name = variable.strip_prefix(image(line).prefix).unwrap();
                    let known = KNOWN.iter().find(|known| known.name == name).unwrap_or_else(|| panic!("{name}"));
                    assert!(known.is_known_to(line), "{name} would end {}", line.as_str());
                    assert!(matches!(known.usage, Use::Refused(_)), "{name} could be set twice");
                    assert!(seen.insert(name.to_owned()), "{name} stands there twice");
                }
            }
        }
    }
}
