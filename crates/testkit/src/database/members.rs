//! Who is in the cluster, as one node sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::links::Link;
use super::users::Position;

/// A host and a port. Nodes are known by those that they advertise: a node that comes back with another address under the
/// same name is the same member (observed §1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where in its life a node is (contract §3.2; the read-only states are from there alone). `Clone` does not occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    DiscoverLeader,
    Unknown,
    PreReplica,
    CatchingUp,
    Follower,
    PreLeader,
    Leader,
    ResigningLeader,
    ReadOnlyLeaderless,
    PreReadOnlyReplica,
    ReadOnlyReplica,
    ShuttingDown,
}

impl State {
    /// As in `/info`; `/gossip` has the same word as it is written here.
    pub(super) fn lower_case(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }

    pub(super) fn is_replica(self) -> bool {
        matches!(
            self,
            Self::PreReplica | Self::CatchingUp | Self::Follower | Self::PreReadOnlyReplica | Self::ReadOnlyReplica
        )
    }

    pub(super) fn leads(self) -> bool {
        matches!(self, Self::PreLeader | Self::Leader)
    }
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Info {
    pub(super) name: Endpoint,
    pub(super) for_clients: Endpoint,
    pub(super) replication: Endpoint,
    pub(super) instance_id: String,
    pub(super) version: String,
    pub(super) state: State,
    pub(super) epoch: u64,
    pub(super) stored: Position,
    pub(super) bytes: u64,
    pub(super) priority: i64,
    /// Whether it counts for a majority; a read-only replica does not.
    pub(super) has_vote: bool,
    /// It has given up leading; until there is a new leader.
    pub(super) has_resigned: bool,
}

/// Another node.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// What it said last, if ever.
    pub(super) info: Option<Info>,
    /// The connection to it.
    pub(super) link: Option<Link>,
    /// Whether connecting has failed since it was last alive.
    pub(super) missed: bool,
    /// When it last called; forgotten as soon as the connection to it breaks.
    pub(super) heard: Option<Instant>,
    /// For a leader: how many records are known to be stored there.
    pub(super) stored: Option<usize>,
}

/// A node that has not called for this long, and to which there is no connection, is dead.
const SILENCE: Duration = Duration::from_secs(2);

impl Member {
    pub(super) fn is_alive(&self) -> bool {
        self.link.is_some() || self.heard.is_some_and(|heard| heard.elapsed() < SILENCE)
    }

    pub(super) fn has_vote(&self) -> bool {
        self.info.as_ref().is_none_or(|info| info.has_vote)
    }
}

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<Endpoint, Member>);

impl Members {
    pub(super) fn get(&self, name: &Endpoint) -> Option<&Member> {
        self.0.get(name)
    }

    pub(super) fn entry(&mut self, name: &Endpoint) -> &mut Member {
        self.0.entry(name.clone()).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Endpoint, &Member)> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.0.values_mut()
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = &Member> {
        self.0.values().filter(|member| member.is_alive())
    }

    /// Those that count for a majority.
    pub(super) fn alive_voters(&self) -> impl Iterator<Item = &Member> {
        self.alive().filter(|member| member.has_vote())
    }

    pub(super) fn is_alive(&self, name: &Endpoint) -> bool {
        self.get(name).is_some_and(Member::is_alive)
    }

    /// A member that leads, as far as is known.
    pub(super) fn leader(&self) -> Option<&Info> {
        let leading = self.alive().filter_map(|member| member.info.as_ref()).filter(|info| info.state.leads());
        leading.max_by_key(|info| info.epoch)
    }

    /// Takes in what a node says about itself.
    pub(super) fn note(&mut self, info: Info) {
        let member = self.entry(&info.name);
        if member.info.as_ref().is_some_and(|known| known.instance_id != info.instance_id) {
            // It was started anew: a connection to the process before is none.
            member.link = None;
            member.stored = None;
        }
        member.info = Some(info);
        member.missed = false;
    }
}
