//! Every option of the server that infra knows of (contract §5.2, lines §F): which lines know it, and whether the
//! configuration may set it. What a line does not know ends it with exit code 1, and so does a value that it cannot read.

use crate::config::nearest;
use crate::values::ServerLine;

use Lines::{All, Only23_10};
use Use::{Choice, Flag, Number, Refused};

/// An option of the configuration, which the line knows, with a value that it can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerOption {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// An option as the server's documentation names it, in capitals and without prefix.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    lines: Lines,
    pub(crate) usage: Use,
}

/// The lines that know an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    All,
    Only23_10,
}

/// What the configuration may do with an option.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Flag,
    /// A whole number; its unit is in the option's name.
    Number,
    Choice(&'static [&'static str]),
    /// Nothing, and what to do instead.
    Refused(&'static str),
}

const fn option(name: &'static str, lines: Lines, usage: Use) -> Known {
    Known { name, lines, usage }
}

const ADDRESS: Use = Refused("infra gives the server its addresses and names; take it out");
const PORT: Use = Refused("infra sets it from server.port; set that");
const REPLICATION: Use = Refused("the replication port is 1112; take it out");
const TCP: Use = Refused("infra sets it from server.external_tcp; set that");
const DISCOVERY: Use = Refused("infra tells the nodes about each other, from cluster.nodes; set that");
const CERTIFICATE: Use = Refused("the node's certificate is what certgen publishes; see the section certificates");
const SECRET: Use = Refused("its value would be readable in the task definition; take it out");
const OPEN_DOOR: Use = Refused("it lets people in without a password; take it out");
const PLACE: Use = Refused("the database is on the file system of the section data; take it out");
const SIDECAR: Use = Refused("bootstrap asks the server there; take it out");
const SAFETY: Use = Refused("it puts the database at risk; take it out");
const LOGS: Use = Refused("infra sets it from server.log_volume; set that");

/// All of them.
pub(crate) static KNOWN: &[Known] = &[
    option("ADVERTISE_HOST_TO_CLIENT_AS", All, ADDRESS),
    option("ADVERTISE_HTTP_PORT_TO_CLIENT_AS", All, ADDRESS),
    option("ADVERTISE_NODE_PORT_TO_CLIENT_AS", All, ADDRESS),
    option("ADVERTISE_TCP_PORT_TO_CLIENT_AS", Only23_10, TCP),
    option("ALLOW_ANONYMOUS_ENDPOINT_ACCESS", All, Flag),
    option("ALLOW_ANONYMOUS_STREAM_ACCESS", All, Flag),
    option("ALLOW_UNKNOWN_OPTIONS", All, Refused("what a line does not know is a mistake; take it out")),
    option("ALWAYS_KEEP_SCAVENGED", All, Flag),
    option("CACHED_CHUNKS", All, Number),
    option("CERTIFICATE_FILE", All, CERTIFICATE),
    option("CERTIFICATE_PASSWORD", All, SECRET),
    option("CERTIFICATE_PRIVATE_KEY_FILE", All, CERTIFICATE),
    option("CERTIFICATE_PRIVATE_KEY_PASSWORD", All, SECRET),
    option("CERTIFICATE_RESERVED_NODE_COMMON_NAME", All, CERTIFICATE),
    option("CHUNKS_CACHE_SIZE", All, Number),
    option("CHUNK_INITIAL_READER_COUNT", All, Number),
    option("CLUSTER_DNS", All, DISCOVERY),
    option("CLUSTER_GOSSIP_PORT", All, DISCOVERY),
    option("CLUSTER_SIZE", All, DISCOVERY),
    option("COMMIT_TIMEOUT_MS", All, Number),
    option("CONFIG", All, Refused("options are in this file; take it out")),
    option("DB", All, PLACE),
    option("DEAD_MEMBER_REMOVAL_PERIOD_SEC", All, Number),
    option("DEFAULT_ADMIN_PASSWORD", All, Refused("ECS sets it from the secret of admin; see the section credentials")),
    option("DEFAULT_OPS_PASSWORD", All, Refused("ECS sets it from the secret of ops; see the section credentials")),
    option("DEV", All, OPEN_DOOR),
    option("DISABLE_ADMIN_UI", All, SIDECAR),
    option("DISABLE_EXTERNAL_TCP_TLS", Only23_10, OPEN_DOOR),
    option("DISABLE_FIRST_LEVEL_HTTP_AUTHORIZATION", All, OPEN_DOOR),
    option("DISABLE_GOSSIP_ON_HTTP", All, SIDECAR),
    option("DISABLE_INTERNAL_TCP_TLS", All, OPEN_DOOR),
    option("DISABLE_LOG_FILE", All, LOGS),
    option("DISABLE_STATS_ON_HTTP", All, Flag),
    option("DISCOVER_VIA_DNS", All, DISCOVERY),
    option("ENABLE_ATOM_PUB_OVER_HTTP", All, Flag),
    option("ENABLE_EXTERNAL_TCP", Only23_10, TCP),
    option("ENABLE_TRUSTED_AUTH", All, OPEN_DOOR),
    option("ENABLE_UNIX_SOCKET", All, OPEN_DOOR),
    option("EXT_HOST_ADVERTISE_AS", Only23_10, ADDRESS),
    option("EXT_IP", All, ADDRESS),
    option("EXT_TCP_HEARTBEAT_INTERVAL", Only23_10, Number),
    option("EXT_TCP_HEARTBEAT_TIMEOUT", Only23_10, Number),
    option("EXT_TCP_PORT", Only23_10, TCP),
    option("EXT_TCP_PORT_ADVERTISE_AS", Only23_10, TCP),
    option("GOSSIP_ALLOWED_DIFFERENCE_MS", All, Number),
    option("GOSSIP_INTERVAL_MS", All, Number),
    option("GOSSIP_ON_SINGLE_NODE", All, DISCOVERY),
    option("GOSSIP_SEED", All, DISCOVERY),
    option("GOSSIP_TIMEOUT_MS", All, Number),
    option("HTTP_PORT", All, PORT),
    option("HTTP_PORT_ADVERTISE_AS", All, PORT),
    option("INDEX", All, PLACE),
    option("INITIALIZATION_THREADS", All, Number),
    option("INSECURE", All, Refused("infra sets it from server.insecure; set that")),
    option("INT_HOST_ADVERTISE_AS", All, ADDRESS),
    option("INT_IP", All, ADDRESS),
    option("INT_TCP_HEARTBEAT_INTERVAL", All, Number),
    option("INT_TCP_HEARTBEAT_TIMEOUT", All, Number),
    option("INT_TCP_PORT", All, REPLICATION),
    option("INT_TCP_PORT_ADVERTISE_AS", All, REPLICATION),
    option("LEADER_ELECTION_TIMEOUT_MS", All, Number),
    option("LOG", All, LOGS),
    option("LOG_CONSOLE_FORMAT", All, Refused("what the server prints is JSON; take it out")),
    option("LOG_FAILED_AUTHENTICATION_ATTEMPTS", All, Flag),
    option("LOG_FILE_INTERVAL", All, Choice(&["Minute", "Hour", "Day", "Week", "Month", "Year"])),
    option("LOG_FILE_RETENTION_COUNT", All, Number),
    option("LOG_FILE_SIZE", All, Number),
    option("LOG_HTTP_REQUESTS", All, Refused("passwords would be in the log; take it out")),
    option("LOG_LEVEL", All, Choice(&["Default", "Verbose", "Debug", "Information", "Warning", "Error", "Fatal"])),
    option("MAX_TRUNCATION", All, Number),
    option("MEM_DB", All, SAFETY),
    option("MIN_FLUSH_DELAY_MS", All, Number),
    option("NODE_HOST_ADVERTISE_AS", All, ADDRESS),
    option("NODE_IP", All, ADDRESS),
    option("NODE_PORT", All, PORT),
    option("NODE_PORT_ADVERTISE_AS", All, PORT),
    option("NODE_PRIORITY", All, Number),
    option("NODE_TCP_PORT", Only23_10, TCP),
    option("OPTIMIZE_INDEX_MERGE", All, Flag),
    option("OVERRIDE_ANONYMOUS_ENDPOINT_ACCESS_FOR_GOSSIP", All, SIDECAR),
    option("PREPARE_TIMEOUT_MS", All, Number),
    option("READER_THREADS_COUNT", All, Number),
    option("READ_ONLY_REPLICA", All, DISCOVERY),
    option("REDUCE_FILE_CACHE_PRESSURE", All, Flag),
    option("REMOVE_DEV_CERTS", All, OPEN_DOOR),
    option("REPLICATION_HEARTBEAT_INTERVAL", All, Number),
    option("REPLICATION_HEARTBEAT_TIMEOUT", All, Number),
    option("REPLICATION_HOST_ADVERTISE_AS", All, ADDRESS),
    option("REPLICATION_IP", All, ADDRESS),
    option("REPLICATION_PORT", All, REPLICATION),
    option("REPLICATION_TCP_PORT_ADVERTISE_AS", All, REPLICATION),
    option("RUN_PROJECTIONS", All, Choice(&["None", "System", "All"])),
    option("SKIP_DB_VERIFY", All, Flag),
    option("SKIP_INDEX_VERIFY", All, Flag),
    option("START_STANDARD_PROJECTIONS", All, Flag),
    option("STREAM_EXISTENCE_FILTER_SIZE", All, Number),
    option("STREAM_INFO_CACHE_CAPACITY", All, Number),
    option("TELEMETRY_OPTOUT", All, Refused("infra sets it; take it out")),
    option("TRUSTED_ROOT_CERTIFICATES_PATH", All, CERTIFICATE),
    option("UNBUFFERED", All, Flag),
    option("UNSAFE_ALLOW_SURPLUS_NODES", All, SAFETY),
    option("UNSAFE_DISABLE_FLUSH_TO_DISK", All, SAFETY),
    option("WHAT_IF", All, Refused("the server would print its options and end; take it out")),
    option("WORKER_THREADS", All, Number),
    option("WRITE_THROUGH", All, Flag),
    option("WRITE_TIMEOUT_MS", All, Number),
];

impl Known {
    pub(super) fn is_known_to(&self, line: ServerLine) -> bool {
        match self.lines {
            All => true,
            Only23_10 => line == ServerLine::V23_10,
        }
    }

    fn may_be_set(&self, line: Option<ServerLine>) -> bool {
        !matches!(self.usage, Refused(_)) && line.is_none_or(|line| self.is_known_to(line))
    }
}

impl ServerOption {
    /// An option of the configuration. Without a line, because that is wrong itself, only what none knows is refused.
    pub(crate) fn parse(line: Option<ServerLine>, name: &str, value: String) -> Result<Self, String> {
        for prefix in ["EVENTSTORE_", "KURRENTDB_"] {
            if let Some(rest) = name.strip_prefix(prefix) {
                return Err(format!("it has the prefix {prefix}; write {rest}"));
            }
        }
        let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
            let allowed: Vec<_> = KNOWN.iter().filter(|known| known.may_be_set(line)).map(|known| known.name).collect();
            return Err(format!("it is not an option that infra knows; {}", nearest(name, &allowed)));
        };
        if let Some(line) = line.filter(|line| !known.is_known_to(*line)) {
            return Err(format!("{} does not know it and would not start; take it out", line.as_str()));
        }
        let allowed = match known.usage {
            Refused(instead) => return Err(instead.to_owned()),
            Flag if ["true", "false"].contains(&value.as_str()) => None,
            Flag => Some("true and false".to_owned()),
            Number if is_number(&value) => None,
            Number => Some("whole numbers from -1".to_owned()),
            Choice(words) if words.contains(&value.as_str()) => None,
            Choice(words) => Some(words.join(", ")),
        };
        match allowed {
            None => Ok(Self { name: known.name, value }),
            Some(allowed) => Err(format!("`{value}` is not allowed; allowed are {allowed}")),
        }
    }
}

/// All that the lines take fits into a signed 64-bit integer; -1 is "no limit" for some.
fn is_number(value: &str) -> bool {
    value == "-1" || (value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_stands_there_once_and_in_order() {
        assert!(KNOWN.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn only_what_the_line_knows_and_infra_does_not_set_is_taken() {
        let parse = |line, name: &str, value: &str| ServerOption::parse(Some(line), name, value.to_owned());
        for (name, value) in [
            ("RUN_PROJECTIONS", "All"),
            ("START_STANDARD_PROJECTIONS", "true"),
            ("MAX_TRUNCATION", "-1"),
            ("CHUNKS_CACHE_SIZE", "1073741824"),
        ] {
            assert_eq!(
                parse(ServerLine::V24_10, name, value).map(|option| option.value).as_deref(),
                Ok(value),
                "{name}"
            );
        }
        assert!(parse(ServerLine::V23_10, "EXT_TCP_HEARTBEAT_TIMEOUT", "1500").is_ok());
        for (name, value, says) in [
            ("EXT_TCP_HEARTBEAT_TIMEOUT", "1500", "24.10 does not know it"),
            ("EVENTSTORE_RUN_PROJECTIONS", "All", "write RUN_PROJECTIONS"),
            ("RUN_PROJECTION", "All", "did you mean `RUN_PROJECTIONS`?"),
            ("RUN_PROJECTIONS", "all", "allowed are None, System, All"),
            ("SKIP_DB_VERIFY", "1", "allowed are true and false"),
            ("NODE_PRIORITY", "high", "whole numbers"),
            ("NODE_PORT", "2113", "server.port"),
            ("DEFAULT_ADMIN_PASSWORD", "x", "credentials"),
            ("ALLOW_UNKNOWN_OPTIONS", "true", "take it out"),
        ] {
            let message = parse(ServerLine::V24_10, name, value).unwrap_err();
            assert!(message.contains(says), "{name}: {message}");
        }
    }
}
