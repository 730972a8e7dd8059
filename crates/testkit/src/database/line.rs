//! Everything that differs between server lines, so that the rest asks the line instead of knowing them all.
//!
//! 22.10, 23.10, 24.10 and 25.0 were watched (`lines` = `eventstore-observed-lines.md`, `observed-25`); what is said of
//! 21.10, 25.1 and 26.1 alone comes from the table of contract §0, and their figures are those of the nearest line that
//! was watched.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

/// A line of server versions, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Line {
    /// EventStoreDB 21.10.11.
    #[value(name = "21.10")]
    V21_10,
    /// EventStoreDB 22.10.5.
    #[value(name = "22.10")]
    V22_10,
    /// EventStoreDB 23.10.6.
    #[value(name = "23.10")]
    V23_10,
    /// EventStoreDB 24.10.4.
    #[value(name = "24.10")]
    V24_10,
    /// `KurrentDB` 25.0.1.
    #[value(name = "25.0")]
    V25_0,
    /// `KurrentDB` 25.1.4.
    #[value(name = "25", alias = "25.1")]
    V25_1,
    /// `KurrentDB` 26.1.0.
    #[value(name = "26", alias = "26.1")]
    V26_1,
}

/// What a reply is about; the old message type ids depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Ping,
    User,
}

/// What happens after `POST /admin/node/resign` (observed §5, lines §G, observed-25 §F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resignation {
    /// The same node leads again and its followers stay followers.
    Undisturbed,
    /// There is an election, which the same node wins.
    SameAgain,
    /// There is an election, which another node wins.
    Another,
}

/// How long a line takes for what, at time scale 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timings {
    /// From the start of the process until it listens, as a single node and in a cluster.
    pub(super) start_alone: Duration,
    pub(super) start_in_cluster: Duration,
    /// A single node on empty data: from listening to leader, to the first users, to the first 204.
    pub(super) alone_leader: Duration,
    pub(super) alone_users: Duration,
    pub(super) alone_ready: Duration,
    /// From the loss of a leader to the vote.
    pub(super) election: Duration,
    /// From the vote to the leader, and from finding a leader to the follower.
    pub(super) pre_leader: Duration,
    pub(super) pre_replica: Duration,
    /// How long a leader without a quorum goes on calling itself leader.
    pub(super) lone_leader: Duration,
    /// From SIGTERM to the end with a request that was not answered.
    pub(super) stop_busy: Duration,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// As on the command line of the stand-in.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Line {
    /// What the line is called.
    pub fn product(self) -> &'static str {
        match self {
            Self::V21_10 => "EventStoreDB 21.10",
            Self::V22_10 => "EventStoreDB 22.10",
            Self::V23_10 => "EventStoreDB 23.10",
            Self::V24_10 => "EventStoreDB 24.10",
            Self::V25_0 => "KurrentDB 25.0",
            Self::V25_1 => "KurrentDB 25.1",
            Self::V26_1 => "KurrentDB 26.1",
        }
    }

    pub(super) fn is_kurrent(self) -> bool {
        self >= Self::V25_0
    }

    /// The version in replies; all its four parts were seen on the watched lines.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::V21_10 => "21.10.11.0",
            Self::V22_10 => "22.10.5.0",
            Self::V23_10 => "23.10.6.0",
            Self::V24_10 => "24.10.4.0",
            Self::V25_0 => "25.0.1.0",
            Self::V25_1 => "25.1.4.0",
            Self::V26_1 => "26.1.0.0",
        }
    }

    pub(super) fn timings(self) -> Timings {
        match self {
            // lines §C, §D, §G. 21.10 was not watched.
            Self::V21_10 | Self::V22_10 => Timings {
                start_alone: ms(1500),
                start_in_cluster: ms(2300),
                alone_leader: ms(50),
                alone_users: ms(185),
                alone_ready: ms(160),
                election: ms(500),
                pre_leader: ms(150),
                pre_replica: ms(400),
                lone_leader: ms(3400),
                // 31.2 s (lines §A); the host of 21.10 waits 5 s instead of 30 (contract §8).
                stop_busy: if matches!(self, Self::V22_10) { ms(31_200) } else { ms(6_100) },
            },
            // lines §C, §D, §G.
            Self::V23_10 => Timings {
                start_alone: ms(1500),
                start_in_cluster: ms(2600),
                alone_leader: ms(100),
                alone_users: ms(150),
                alone_ready: ms(130),
                election: ms(100),
                pre_leader: ms(200),
                pre_replica: ms(50),
                lone_leader: ms(3500),
                stop_busy: ms(6_100),
            },
            // observed §1, §4, §5.
            Self::V24_10 => Timings {
                start_alone: ms(2500),
                start_in_cluster: ms(3400),
                alone_leader: ms(60),
                alone_users: ms(60),
                alone_ready: ms(80),
                election: ms(50),
                pre_leader: ms(220),
                pre_replica: ms(50),
                lone_leader: ms(3200),
                stop_busy: ms(6_100),
            },
            // observed-25 §A, §D, §F. 25.1 and 26.1 were not watched.
            Self::V25_0 | Self::V25_1 | Self::V26_1 => Timings {
                start_alone: ms(2800),
                start_in_cluster: ms(3400),
                alone_leader: ms(0),
                alone_users: ms(0),
                alone_ready: ms(40),
                election: ms(700),
                pre_leader: ms(350),
                pre_replica: ms(50),
                lone_leader: ms(3500),
                stop_busy: ms(8_200),
            },
        }
    }

    pub(super) fn resignation(self) -> Resignation {
        match self {
            Self::V21_10 | Self::V22_10 => Resignation::SameAgain,
            Self::V23_10 => Resignation::Undisturbed,
            _ => Resignation::Another,
        }
    }

    /// A node that has truncated its log ends once more (contract §6).
    pub(super) fn ends_after_truncation(self) -> bool {
        self >= Self::V24_10
    }

    /// `msgTypeId`, which was taken out in 24.10; the values of users and of 21.10 were not noted (contract §0, lines §A).
    pub(super) fn message_type(self, subject: Subject) -> Option<u32> {
        match (self, subject) {
            (Self::V21_10 | Self::V22_10, Subject::Ping) => Some(113),
            (Self::V21_10 | Self::V22_10, Subject::User) => Some(96),
            (Self::V23_10, Subject::Ping) => Some(123),
            (Self::V23_10, Subject::User) => Some(106),
            _ => None,
        }
    }

    pub(super) fn has_label(self) -> bool {
        self >= Self::V23_10
    }

    /// `properties` of `/info`: null before 24.10, then an empty list.
    pub(super) fn lists_properties(self) -> bool {
        self >= Self::V24_10
    }

    pub(super) fn gossips_versions(self) -> bool {
        self >= Self::V23_10
    }

    pub(super) fn gossips_internal_http(self) -> bool {
        self >= Self::V24_10
    }

    /// `/stats` needs no login (contract §0), and there is no `/metrics`.
    pub(super) fn has_open_stats(self) -> bool {
        self <= Self::V22_10
    }

    pub(super) fn has_metrics(self) -> bool {
        self >= Self::V23_10
    }

    pub(super) fn honours_live_code(self) -> bool {
        self >= Self::V24_10
    }

    /// Wrong credentials are a 401 on `/health/live` too (contract §3.1).
    pub(super) fn authenticates_health(self) -> bool {
        self >= Self::V25_1
    }

    pub(super) fn reads_credentials_as_ascii(self) -> bool {
        self <= Self::V22_10
    }

    /// What is not base64 is anonymous, not a 500, and `Bearer` is taken for `Basic` (contract §1.4).
    pub(super) fn forgives_credentials(self) -> bool {
        self >= Self::V26_1
    }

    /// Logins are 503 also while there is not a leader yet (lines §A; contract §0 for 21.10).
    pub(super) fn refuses_logins_before_leader(self) -> bool {
        self <= Self::V22_10
    }

    /// Unknown paths and methods are refused by the routing, without CORS headers, and not by the API (contract §1.2).
    pub(super) fn routes_unknown_paths(self) -> bool {
        self == Self::V24_10 || self >= Self::V26_1
    }

    /// A wrong method is refused by the routing, which says `Allow` (observed §2).
    pub(super) fn routes_wrong_methods(self) -> bool {
        self == Self::V24_10
    }

    /// An API refusal carries `Access-Control-Allow-Methods` with nothing in it (lines §A).
    pub(super) fn refuses_with_empty_methods(self) -> bool {
        self <= Self::V22_10
    }

    pub(super) fn first_page(self) -> &'static str {
        if self.is_kurrent() { "/ui/cluster" } else { "/web/index.html" }
    }

    pub(super) fn wrong_current_password(self) -> &'static [&'static str] {
        if self.is_kurrent() {
            &["BasicCustom realm=\"Kurrent\"", "BasicCustom realm=\"ES\""]
        } else {
            &["BasicCustom realm=\"ES\""]
        }
    }

    /// CORS lists: the names that clients may send, and those that they may read (observed-25 §A, contract §1.3).
    pub(super) fn cors_lists(self) -> (&'static str, &'static str) {
        if self.is_kurrent() {
            (
                "Content-Type, X-Requested-With, X-Forwarded-Host, X-Forwarded-Prefix, X-PINGOTHER, Authorization, Kurrent-LongPoll, Kurrent-ExpectedVersion, Kurrent-EventId, Kurrent-EventType, Kurrent-RequireLeader, Kurrent-HardDelete, Kurrent-ResolveLinkTos, ES-LongPoll, ES-ExpectedVersion, ES-EventId, ES-EventType, ES-RequireMaster, ES-RequireLeader, ES-HardDelete, ES-ResolveLinkTos",
                "Location, Kurrent-Position, Kurrent-CurrentVersion, ES-Position, ES-CurrentVersion, ",
            )
        } else {
            (
                "Content-Type, X-Requested-With, X-Forwarded-Host, X-Forwarded-Prefix, X-PINGOTHER, Authorization, ES-LongPoll, ES-ExpectedVersion, ES-EventId, ES-EventType, ES-RequireMaster, ES-RequireLeader, ES-HardDelete, ES-ResolveLinkTos",
                "Location, ES-Position, ES-CurrentVersion",
            )
        }
    }

    /// Full names of `admin` and `ops` in a new database.
    pub(super) fn first_full_names(self) -> [&'static str; 2] {
        if self.is_kurrent() {
            ["KurrentDB Administrator", "KurrentDB Operations"]
        } else {
            ["Event Store Administrator", "Event Store Operations"]
        }
    }

    /// Only PKCS#1 is read, whatever the header says (lines §E).
    pub(super) fn reads_pkcs1_alone(self) -> bool {
        self <= Self::V22_10
    }

    /// The common name that nodes must have if nobody says otherwise; later lines take that of their own certificate.
    pub(super) fn reserved_common_name(self) -> Option<&'static str> {
        (self <= Self::V22_10).then_some("eventstoredb-node")
    }

    /// A reserved name may have a wildcard, and the node's own certificate must have the name (lines §E).
    pub(super) fn checks_own_common_name(self) -> bool {
        self >= Self::V23_10
    }

    /// A node that connects must have key usages (observed §7; contract §4.4: since 24.2).
    pub(super) fn checks_usages(self) -> bool {
        self >= Self::V24_10
    }

    /// Where roots are if nobody says: nowhere at first, then with the system's.
    pub(super) fn default_roots(self) -> Option<&'static str> {
        (self >= Self::V23_10).then_some("/etc/ssl/certs")
    }

    /// `EVENTSTORE_` counts in any case, and names with `__` belong to sections and are never unknown (observed §8).
    pub(super) fn reads_prefix_in_any_case(self) -> bool {
        self >= Self::V24_10
    }

    pub(super) fn hints_at_options(self) -> bool {
        self >= Self::V23_10
    }

    /// How a server ends whose `CONFIG` names no file; `None` if it starts (lines §F, observed §8).
    pub(super) fn without_config_file(self) -> Option<MissingConfig> {
        match self {
            Self::V21_10 | Self::V22_10 => None,
            Self::V23_10 => Some(MissingConfig::Exit),
            _ => Some(MissingConfig::Abort),
        }
    }

    /// Default places: data, configuration; those of older lines come second (observed-25 §C).
    pub(super) fn default_places(self) -> &'static [Places] {
        if self.is_kurrent() { &[KURRENT, EVENT_STORE] } else { &[EVENT_STORE] }
    }
}

/// The end of a server without its configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingConfig {
    Exit,
    Abort,
}

/// Where a line keeps things if nobody says.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) data: &'static str,
    pub(super) config: &'static str,
}

const EVENT_STORE: Places = Places { data: "var/lib/eventstore", config: "etc/eventstore/eventstore.conf" };
const KURRENT: Places = Places { data: "var/lib/kurrentdb", config: "etc/kurrentdb/kurrentdb.conf" };
