//! What each server line is given. An option that a line does not know ends it with exit code 1 (observed §8), so the
//! environment comes from here alone.

use crate::values::{BuiltInUser, ServerLine};

/// The server's program in its image (contract §7.2).
pub(crate) const PROGRAM: &str = "/opt/eventstore/EventStore.ClusterNode";
/// Where the database is in the container (contract §7.2).
pub(crate) const DATA: &str = "/var/lib/eventstore";

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

/// A node and those it finds its cluster by.
pub(crate) struct Member<'a> {
    /// The name it is reached by.
    pub(crate) host: &'a str,
    /// The port for HTTP and gRPC, the same on all nodes.
    pub(crate) port: u16,
    /// The names of the other nodes; empty for a single node.
    pub(crate) others: &'a [String],
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
    let prefix = prefix(line);
    let index = format!("{DATA}/index");
    let (host, port) = (member.host, member.port.to_string());
    let size = (member.others.len() + 1).to_string();
    let seeds: Vec<_> = member.others.iter().map(|other| format!("{other}:{port}")).collect();
    let seeds = seeds.join(",");
    // With its default, true, seeds are ignored, and a name is resolved once in the life of a process (contract §6).
    let discovery = [("DISCOVER_VIA_DNS", "false"), ("GOSSIP_SEED", &seeds)];
    let discovery = discovery.into_iter().filter(|_| !member.others.is_empty());
    let variables = [
        ("NODE_IP", "0.0.0.0"),
        ("REPLICATION_IP", "0.0.0.0"),
        ("NODE_PORT", &port),
        // Bound to 0.0.0.0 a single node would tell clients to connect to 127.0.0.1, and a member of a cluster others to
        // the first address it finds, which on Fargate is not the task's (contract §6).
        ("NODE_HOST_ADVERTISE_AS", host),
        ("REPLICATION_HOST_ADVERTISE_AS", host),
        // Always set: a default that changes between lines would silently start an empty database.
        ("DB", DATA),
        ("INDEX", &index),
        ("LOG", "/tmp/log"),
        ("CERTIFICATE_FILE", "/certs/node.crt"),
        ("CERTIFICATE_PRIVATE_KEY_FILE", "/certs/node.key"),
        ("TRUSTED_ROOT_CERTIFICATES_PATH", "/certs/ca"),
        ("DISABLE_LOG_FILE", "true"),
        ("LOG_CONSOLE_FORMAT", "Json"),
        ("TELEMETRY_OPTOUT", "true"),
    ];
    let all = [("CLUSTER_SIZE", size.as_str())].into_iter().chain(discovery).chain(variables);
    all.map(|(name, value)| (format!("{prefix}{name}"), value.to_owned())).collect()
}
