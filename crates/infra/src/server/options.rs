//! Every option of the server that infra knows of (contract §5.2, lines §F): which lines know it, and whether the
//! configuration may set it. What a line does not know ends it with exit code 1, and so does a value that it cannot read.

use crate::config::nearest;
use crate::values::ServerLine;

use ServerLine::{V21_10, V22_10, V23_10, V24_10, V25_0, V26};
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

/// The first and the last line that knows an option. What only some releases of a line know is not known to the line:
/// `DISABLE_CLIENT_AUTH_EKU_VALIDATION` is in no row, for it came with 24.10.12 and 26.0.2 (contract §5.2).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lines(ServerLine, ServerLine);

const ALL: Lines = Lines(V21_10, V26);
const UNTIL_22_10: Lines = Lines(V21_10, V22_10);
const UNTIL_23_10: Lines = Lines(V21_10, V23_10);
const ONLY_23_10: Lines = Lines(V23_10, V23_10);
const SINCE_23_10: Lines = Lines(V23_10, V26);
const UNTIL_24_10: Lines = Lines(V21_10, V24_10);
const SINCE_24_10: Lines = Lines(V24_10, V26);
const UNTIL_25_0: Lines = Lines(V21_10, V25_0);

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
const NO_EFFECT: Use = Refused("it has no effect; take it out");
const SAFETY: Use = Refused("it puts the database at risk; take it out");
const LOGS: Use = Refused("infra sets it from server.log_volume; set that");

/// All of them.
pub(crate) static KNOWN: &[Known] = &[
    option("ADVERTISE_HOST_TO_CLIENT_AS", ALL, ADDRESS),
    option("ADVERTISE_HTTP_PORT_TO_CLIENT_AS", UNTIL_24_10, ADDRESS),
    option("ADVERTISE_NODE_PORT_TO_CLIENT_AS", SINCE_23_10, ADDRESS),
    option("ADVERTISE_TCP_PORT_TO_CLIENT_AS", UNTIL_23_10, TCP),
    option("ALLOW_ANONYMOUS_ENDPOINT_ACCESS", SINCE_23_10, Flag),
    option("ALLOW_ANONYMOUS_STREAM_ACCESS", SINCE_23_10, Flag),
    option("ALLOW_UNKNOWN_OPTIONS", ALL, Refused("what a line does not know is a mistake; take it out")),
    option("ALWAYS_KEEP_SCAVENGED", UNTIL_24_10, Flag),
    option("CACHED_CHUNKS", ALL, Number),
    option("CERTIFICATE_FILE", ALL, CERTIFICATE),
    option("CERTIFICATE_PASSWORD", ALL, SECRET),
    option("CERTIFICATE_PRIVATE_KEY_FILE", ALL, CERTIFICATE),
    option("CERTIFICATE_PRIVATE_KEY_PASSWORD", SINCE_23_10, SECRET),
    option("CERTIFICATE_RESERVED_NODE_COMMON_NAME", ALL, CERTIFICATE),
    option("CHUNKS_CACHE_SIZE", ALL, Number),
    option("CHUNK_INITIAL_READER_COUNT", ALL, Number),
    option("CLUSTER_DNS", ALL, DISCOVERY),
    option("CLUSTER_GOSSIP_PORT", ALL, DISCOVERY),
    option("CLUSTER_SIZE", ALL, DISCOVERY),
    option("COMMIT_COUNT", UNTIL_22_10, NO_EFFECT),
    option("COMMIT_TIMEOUT_MS", ALL, Number),
    option("CONFIG", ALL, Refused("options are in this file; take it out")),
    option("DB", ALL, PLACE),
    option("DEAD_MEMBER_REMOVAL_PERIOD_SEC", ALL, Number),
    option(
        "DEFAULT_ADMIN_PASSWORD",
        SINCE_23_10,
        Refused("ECS sets it from the secret of admin; see the section credentials"),
    ),
    option(
        "DEFAULT_OPS_PASSWORD",
        SINCE_23_10,
        Refused("ECS sets it from the secret of ops; see the section credentials"),
    ),
    option("DEV", ALL, OPEN_DOOR),
    option("DISABLE_ADMIN_UI", ALL, SIDECAR),
    option("DISABLE_EXTERNAL_TCP_TLS", UNTIL_23_10, OPEN_DOOR),
    option("DISABLE_FIRST_LEVEL_HTTP_AUTHORIZATION", UNTIL_25_0, OPEN_DOOR),
    option("DISABLE_GOSSIP_ON_HTTP", ALL, SIDECAR),
    option("DISABLE_INTERNAL_TCP_TLS", UNTIL_24_10, OPEN_DOOR),
    option("DISABLE_LOG_FILE", ALL, LOGS),
    option("DISABLE_STATS_ON_HTTP", ALL, Flag),
    option("DISCOVER_VIA_DNS", ALL, DISCOVERY),
    option("ENABLE_ATOM_PUB_OVER_HTTP", ALL, Flag),
    option("ENABLE_EXTERNAL_TCP", UNTIL_23_10, TCP),
    option("ENABLE_TRUSTED_AUTH", ALL, OPEN_DOOR),
    option("ENABLE_UNIX_SOCKET", SINCE_23_10, OPEN_DOOR),
    option("EXT_HOST_ADVERTISE_AS", UNTIL_23_10, ADDRESS),
    option("EXT_IP", UNTIL_24_10, ADDRESS),
    option("EXT_TCP_HEARTBEAT_INTERVAL", UNTIL_23_10, Number),
    option("EXT_TCP_HEARTBEAT_TIMEOUT", UNTIL_23_10, Number),
    option("EXT_TCP_PORT", UNTIL_23_10, TCP),
    option("EXT_TCP_PORT_ADVERTISE_AS", UNTIL_23_10, TCP),
    option("GOSSIP_ALLOWED_DIFFERENCE_MS", ALL, Number),
    option("GOSSIP_INTERVAL_MS", ALL, Number),
    option("GOSSIP_ON_SINGLE_NODE", UNTIL_24_10, DISCOVERY),
    option("GOSSIP_SEED", ALL, DISCOVERY),
    option("GOSSIP_TIMEOUT_MS", ALL, Number),
    option("HTTP_PORT", UNTIL_24_10, PORT),
    option("HTTP_PORT_ADVERTISE_AS", UNTIL_24_10, PORT),
    option("INDEX", ALL, PLACE),
    option("INITIALIZATION_THREADS", ALL, Number),
    option("INSECURE", ALL, Refused("infra sets it from server.insecure; set that")),
    option("INT_HOST_ADVERTISE_AS", UNTIL_24_10, ADDRESS),
    option("INT_IP", UNTIL_24_10, ADDRESS),
    option("INT_TCP_HEARTBEAT_INTERVAL", UNTIL_24_10, Number),
    option("INT_TCP_HEARTBEAT_TIMEOUT", UNTIL_24_10, Number),
    option("INT_TCP_PORT", UNTIL_24_10, REPLICATION),
    option("INT_TCP_PORT_ADVERTISE_AS", UNTIL_24_10, REPLICATION),
    option("LEADER_ELECTION_TIMEOUT_MS", ALL, Number),
    option(
        "LICENSING__LICENSE_KEY",
        SINCE_24_10,
        Refused("its value would be readable in the task definition; set server.license_secret"),
    ),
    option("LOG", ALL, LOGS),
    option("LOG_CONSOLE_FORMAT", ALL, Refused("what the server prints is JSON; take it out")),
    option("LOG_FAILED_AUTHENTICATION_ATTEMPTS", ALL, Flag),
    option("LOG_FILE_INTERVAL", ALL, Choice(&["Minute", "Hour", "Day", "Week", "Month", "Year"])),
    option("LOG_FILE_RETENTION_COUNT", ALL, Number),
    option("LOG_FILE_SIZE", ALL, Number),
    option("LOG_HTTP_REQUESTS", ALL, Refused("passwords would be in the log; take it out")),
    option("LOG_LEVEL", ALL, Choice(&["Default", "Verbose", "Debug", "Information", "Warning", "Error", "Fatal"])),
    option("MAX_TRUNCATION", ALL, Number),
    option("MEM_DB", ALL, SAFETY),
    option("MIN_FLUSH_DELAY_MS", ALL, Number),
    option("NODE_HEARTBEAT_INTERVAL", ONLY_23_10, Number),
    option("NODE_HEARTBEAT_TIMEOUT", ONLY_23_10, Number),
    option("NODE_HOST_ADVERTISE_AS", SINCE_23_10, ADDRESS),
    option("NODE_IP", SINCE_23_10, ADDRESS),
    option("NODE_PORT", SINCE_23_10, PORT),
    option("NODE_PORT_ADVERTISE_AS", SINCE_23_10, PORT),
    option("NODE_PRIORITY", ALL, Number),
    option("NODE_TCP_PORT", ONLY_23_10, TCP),
    option("OPTIMIZE_INDEX_MERGE", UNTIL_24_10, Flag),
    option("OVERRIDE_ANONYMOUS_ENDPOINT_ACCESS_FOR_GOSSIP", SINCE_23_10, SIDECAR),
    option("PREPARE_COUNT", UNTIL_22_10, NO_EFFECT),
    option("PREPARE_TIMEOUT_MS", ALL, Number),
    option("READER_THREADS_COUNT", ALL, Number),
    option("READ_ONLY_REPLICA", ALL, DISCOVERY),
    option("REDUCE_FILE_CACHE_PRESSURE", ALL, Flag),
    option("REMOVE_DEV_CERTS", ALL, OPEN_DOOR),
    option("REPLICATION_HEARTBEAT_INTERVAL", SINCE_23_10, Number),
    option("REPLICATION_HEARTBEAT_TIMEOUT", SINCE_23_10, Number),
    option("REPLICATION_HOST_ADVERTISE_AS", SINCE_23_10, ADDRESS),
    option("REPLICATION_IP", SINCE_23_10, ADDRESS),
    option("REPLICATION_PORT", SINCE_23_10, REPLICATION),
    option("REPLICATION_TCP_PORT_ADVERTISE_AS", SINCE_23_10, REPLICATION),
    option("RUN_PROJECTIONS", ALL, Choice(&["None", "System", "All"])),
    option("SKIP_DB_VERIFY", ALL, Flag),
    option("SKIP_INDEX_VERIFY", ALL, Flag),
    option("START_STANDARD_PROJECTIONS", ALL, Flag),
    option("STREAM_EXISTENCE_FILTER_SIZE", ALL, Number),
    option("STREAM_INFO_CACHE_CAPACITY", ALL, Number),
    option("TELEMETRY_OPTOUT", SINCE_23_10, Refused("infra sets it; take it out")),
    option("TRUSTED_ROOT_CERTIFICATES_PATH", ALL, CERTIFICATE),
    option("UNBUFFERED", ALL, Flag),
    option("UNSAFE_ALLOW_SURPLUS_NODES", ALL, SAFETY),
    option("UNSAFE_DISABLE_FLUSH_TO_DISK", ALL, SAFETY),
    option("WHAT_IF", ALL, Refused("the server would print its options and end; take it out")),
    option("WORKER_THREADS", ALL, Number),
    option("WRITE_THROUGH", ALL, Flag),
    option("WRITE_TIMEOUT_MS", ALL, Number),
];

impl Known {
    pub(super) fn is_known_to(&self, line: ServerLine) -> bool {
        let Lines(first, last) = self.lines;
        (first..=last).contains(&line)
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
            assert_eq!(parse(V24_10, name, value).map(|option| option.value).as_deref(), Ok(value), "{name}");
        }
        assert!(parse(V23_10, "EXT_TCP_HEARTBEAT_TIMEOUT", "1500").is_ok());
        for (name, value, says) in [
            ("LICENSING__LICENSE_KEY", "x", "server.license_secret"),
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
            let message = parse(V24_10, name, value).unwrap_err();
            assert!(message.contains(says), "{name}: {message}");
        }
    }
}
