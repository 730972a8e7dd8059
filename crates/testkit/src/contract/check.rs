//! What a check is.

use std::fmt;

use super::found::Found;
use super::line::{Line, WATCHED};
use super::suite::{Node, Suite};
use super::wire::Broken;

/// Asks a server and notes what is not as documented.
pub(super) type Run = fn(&Suite, &Node, &mut Found) -> Result<(), Broken>;

/// An assertion of the documents, and how it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    /// The section that says so.
    pub(super) source: &'static str,
    /// The lines on which a real server was seen to do so; on the others the contract alone says it.
    watched: &'static [Line],
    applies: fn(Line) -> bool,
    pub(super) scope: Scope,
    pub(super) needs_consent: bool,
    pub(super) needs_node_certificate: bool,
    pub(super) run: Run,
}

/// Which servers a check is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Each by itself.
    EachNode,
    /// The leader; a single node is one.
    Leader,
    /// A follower, once for each.
    EachFollower,
    /// All together, once; handed the leader.
    Cluster,
}

/// What an assertion stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// A real server of this line was watched.
    Watched,
    /// Source was read, or another line was watched: a real server may refute it.
    ContractOnly,
}

impl Check {
    /// A check with each node that reads only, of something that was watched on every line that was run.
    pub(super) fn new(id: &'static str, what: &'static str, source: &'static str, run: Run) -> Self {
        Self {
            id,
            what,
            source,
            watched: WATCHED,
            applies: |_| true,
            scope: Scope::EachNode,
            needs_consent: false,
            needs_node_certificate: false,
            run,
        }
    }

    /// Only the contract says so.
    pub(super) fn contract_only(self) -> Self {
        self.watched_on(&[])
    }

    pub(super) fn watched_on(self, watched: &'static [Line]) -> Self {
        Self { watched, ..self }
    }

    pub(super) fn on(self, applies: fn(Line) -> bool) -> Self {
        Self { applies, ..self }
    }

    pub(super) fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    pub(super) fn consent(self) -> Self {
        Self { needs_consent: true, ..self }
    }

    pub(super) fn node_certificate(self) -> Self {
        Self { needs_node_certificate: true, ..self }
    }

    pub(super) fn backing(&self, line: Line) -> Backing {
        if self.watched.contains(&line) { Backing::Watched } else { Backing::ContractOnly }
    }

    /// Why it cannot be made here, if it cannot.
    pub(super) fn obstacle(&self, suite: &Suite) -> Option<String> {
        let shared = &suite.nodes.first()?.shared;
        let is_cluster = suite.nodes.len() > 1;
        if !(self.applies)(suite.line) {
            return Some(format!("does not apply to line {}", suite.line));
        }
        if self.needs_consent && !shared.consent {
            return Some("needs --i-consent-to-changing-users".to_owned());
        }
        if self.needs_node_certificate && shared.trust.node.is_none() {
            return Some("needs --node-certificate and --node-key".to_owned());
        }
        match self.scope {
            Scope::EachNode => None,
            Scope::Cluster | Scope::EachFollower if !is_cluster => Some("needs the servers of a cluster".to_owned()),
            Scope::EachFollower if suite.followers().next().is_none() => {
                Some("none of the servers is a follower".to_owned())
            }
            _ if suite.leader().is_none() => Some("none of the servers is the leader".to_owned()),
            _ => None,
        }
    }

    /// The servers it is made with.
    pub(super) fn nodes<'a>(&self, suite: &'a Suite) -> Vec<&'a Node> {
        match self.scope {
            Scope::EachNode => suite.nodes.iter().collect(),
            Scope::EachFollower => suite.followers().collect(),
            Scope::Leader | Scope::Cluster => suite.leader().into_iter().collect(),
        }
    }
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watched => "watched",
            Self::ContractOnly => "contract only",
        })
    }
}
