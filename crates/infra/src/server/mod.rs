//! What each server line is given. An option that a line does not know ends it with exit code 1 (observed §8), so the
//! environment comes from here alone.

mod options;

use crate::values::{BuiltInUser, ServerLine};

pub(crate) use self::options::{KNOWN, ServerOption, Use};

/// The server's program in its image (contract §7.2).
pub(crate) const PROGRAM: &str = "/opt/eventstore/EventStore.ClusterNode";
/// Where the database is in the container (contract §7.2).
pub(crate) const DATA: &str = "/var/lib/eventstore";
/// Where the server writes log files, if it writes any.
pub(crate) const LOGS: &str = "/var/log/eventstore";
/// Where it would write them if it did: the default is on the root file system, which is read-only.
const NO_LOGS: &str = "/tmp/log";

/// The uid and gid of the server in its image (contract §7.2).
pub(crate) fn uid(line: ServerLine) -> u32 {
    match line {
        ServerLine::V23_10 | ServerLine::V24_10 => 1000,
    }
}

/// The vendor's image (contract §7.2).
pub(crate) fn image(line: ServerLine) -> &'static str {
    match line {
        ServerLine::V23_10 => "eventstore/eventstore:23.10.6-bookworm-slim",
        ServerLine::V24_10 => "docker.eventstore.com/eventstore/eventstoredb-ee:24.10",
    }
}

/// The port on which nodes replicate, the server's default (contract §5.2).
pub(crate) const REPLICATION_PORT: u16 = 1112;

/// The port for the old TCP protocol, the server's default (contract §5.2).
pub(crate) const EXTERNAL_TCP_PORT: u16 = 1113;

/// Whether the line can be asked to listen for the old TCP protocol.
pub(crate) fn knows_external_tcp(line: ServerLine) -> bool {
    KNOWN.iter().any(|known| known.name == "ENABLE_EXTERNAL_TCP" && known.is_known_to(line))
}

/// A node, how it serves, and those it finds its cluster by.
pub(crate) struct Member<'a> {
    /// The name it is reached by.
    pub(crate) host: &'a str,
    /// The port for HTTP and gRPC, the same on all nodes.
    pub(crate) port: u16,
    /// The names of the other nodes; empty for a single node.
    pub(crate) others: &'a [String],
    /// Whether it serves without TLS and passwords.
    pub(crate) insecure: bool,
    /// Whether it listens for the old TCP protocol.
    pub(crate) external_tcp: bool,
    /// Whether it writes log files.
    pub(crate) log_files: bool,
    /// What the configuration says besides.
    pub(crate) options: &'a [ServerOption],
}

/// The variables that give a new database its first passwords; since 23.6, from the environment alone (contract §5.2).
pub(crate) fn first_passwords(line: ServerLine) -> Vec<(String, BuiltInUser)> {
    let prefix = prefix(line);
    let variable = |user| match user {
        BuiltInUser::Admin => format!("{prefix}DEFAULT_ADMIN_PASSWORD"),
        BuiltInUser::Ops => format!("{prefix}DEFAULT_OPS_PASSWORD"),
    };
    BuiltInUser::ALL.into_iter().map(|user| (variable(user), user)).collect()
}

fn prefix(line: ServerLine) -> &'static str {
    match line {
        ServerLine::V23_10 | ServerLine::V24_10 => "EVENTSTORE_",
    }
}

/// The server's variables for one node. All options below are known to 23.10 and later (contract §5.2, lines §F, §G).
pub(crate) fn environment(line: ServerLine, member: &Member<'_>) -> Vec<(String, String)> {
    let index = format!("{DATA}/index");
    let port = member.port.to_string();
    let size = (member.others.len() + 1).to_string();
    let seeds: Vec<_> = member.others.iter().map(|other| format!("{other}:{port}")).collect();
    let seeds = seeds.join(",");
    let mut all = vec![("CLUSTER_SIZE", size.as_str())];
    if !member.others.is_empty() {
        // With its default, true, seeds are ignored, and a name is resolved once in the life of a process (contract §6).
        all.extend([("DISCOVER_VIA_DNS", "false"), ("GOSSIP_SEED", &seeds)]);
    }
    all.extend([
        ("NODE_IP", "0.0.0.0"),
        ("REPLICATION_IP", "0.0.0.0"),
        ("NODE_PORT", &port),
        // Bound to 0.0.0.0 a single node would tell clients to connect to 127.0.0.1, and a member of a cluster others to
        // the first address it finds, which on Fargate is not the task's (contract §6).
        ("NODE_HOST_ADVERTISE_AS", member.host),
        ("REPLICATION_HOST_ADVERTISE_AS", member.host),
        // Always set: a default that changes between lines would silently start an empty database.
        ("DB", DATA),
        ("INDEX", &index),
        ("LOG", if member.log_files { LOGS } else { NO_LOGS }),
    ]);
    if member.insecure {
        all.push(("INSECURE", "true"));
    } else {
        all.extend([
            ("CERTIFICATE_FILE", "/certs/node.crt"),
            ("CERTIFICATE_PRIVATE_KEY_FILE", "/certs/node.key"),
            ("TRUSTED_ROOT_CERTIFICATES_PATH", "/certs/ca"),
        ]);
    }
    all.extend([
        ("DISABLE_LOG_FILE", if member.log_files { "false" } else { "true" }),
        ("LOG_CONSOLE_FORMAT", "Json"),
        ("TELEMETRY_OPTOUT", "true"),
    ]);
    if member.external_tcp {
        all.push(("ENABLE_EXTERNAL_TCP", "true"));
    }
    all.extend(member.options.iter().map(|option| (option.name, option.value.as_str())));
    let prefix = prefix(line);
    all.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The strongest that infra can ask for; what it sets itself nobody else may set.
    #[test]
    fn every_line_knows_what_it_is_given_and_nobody_overrides_it() {
        let others = ["b".to_owned(), "c".to_owned()];
        for line in ServerLine::ALL {
            for (insecure, log_files) in [(false, false), (true, true)] {
                let external_tcp = knows_external_tcp(line);
                let member =
                    Member { host: "a", port: 2113, others: &others, insecure, external_tcp, log_files, options: &[] };
                for (variable, _) in environment(line, &member) {
                    let name = variable.strip_prefix(prefix(line)).unwrap();
                    let known = KNOWN.iter().find(|known| known.name == name).unwrap_or_else(|| panic!("{name}"));
                    assert!(known.is_known_to(line), "{name} would end {}", line.as_str());
                    assert!(matches!(known.usage, Use::Refused(_)), "{name} could be set twice");
                }
            }
        }
    }
}
