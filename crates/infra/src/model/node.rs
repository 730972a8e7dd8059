//! A node of the deployment: one that votes, or one that only copies.

use std::fmt;

use super::task::Task;

/// Which node. Its text is what logical ids begin with: `Node1`, `Replica1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeId {
    /// One of those whose majority decides, from 1.
    Voter(u8),
    /// A read-only replica, from 1.
    Replica(u8),
}

impl NodeId {
    /// Its number among those of its kind, from 1.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Voter(number) | Self::Replica(number) => number.into(),
        }
    }

    /// What it is called: in DNS, in Cloud Map, and its directory.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Voter(number) => format!("node-{number}"),
            Self::Replica(number) => format!("replica-{number}"),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voter(number) => write!(f, "Node{number}"),
            Self::Replica(number) => write!(f, "Replica{number}"),
        }
    }
}

/// One node of the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) task: Task,
}

impl Node {
    /// `node-1`: the instance id in Cloud Map, and the node's directory on the file system. A read-only replica is
    /// `replica-1`, and not in Cloud Map.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's own DNS name, which it advertises.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What runs it.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Whether it copies the database for readers and has no vote.
    pub fn is_read_only_replica(&self) -> bool {
        matches!(self.id, NodeId::Replica(_))
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }
}
