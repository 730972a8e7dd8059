//! How the file system is backed up, when it is restored, and when nodes are scavenged.

use super::encryption::Encryption;
use super::{Deployment, Node, NodeId};
use crate::values::{ScavengeTime, ScavengeWindow, TimeOfDay, VaultArn, VaultName};

/// A daily backup of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) mode: BackupMode,
    pub(crate) vault: Vault,
    pub(crate) daily_at: TimeOfDay,
    /// Minutes in which it must have begun.
    pub(crate) start_window: u16,
    /// Minutes in which it must be complete; more than those to begin.
    pub(crate) completion_window: u16,
    /// Days after which a recovery point is deleted.
    pub(crate) delete_after: u16,
    /// Where every recovery point is copied to.
    pub(crate) copy_to: Option<VaultArn>,
}

/// Whether a node stands still while its files are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupMode {
    /// One does: its directory is consistent, that of no other node is promised to be.
    Stop,
    /// None does: of copies of a running node in arbitrary order 3 of 8 opened (observed §9).
    Online,
}

/// Where recovery points are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vault {
    New {
        encryption: Encryption,
        /// Days before which no recovery point may be deleted, except by who may take the lock off.
        lock: Option<u16>,
    },
    Existing(VaultName),
}

/// Minutes for a task to end: a backup of a node that is not down by then is not begun.
pub(crate) const STOP_DEADLINE: u16 = 10;
/// Minutes by which the schedule may begin it too late.
pub(crate) const LATE: u16 = 5;
/// Minutes after everything should be over: it may begin late, and calls take time.
pub(crate) const SLACK: u16 = LATE + 5;

/// When a node is down for its backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackupPause {
    /// The node, from 1. It is always the same one.
    pub(crate) node: usize,
    /// Every day, UTC.
    pub(crate) from: TimeOfDay,
    /// How many minutes later it is started again at the latest.
    pub(crate) minutes: u32,
}

impl Backup {
    /// The minutes that a node may be down, if one is.
    pub(crate) fn pause_minutes(&self) -> Option<u32> {
        let minutes = u32::from(self.completion_window) + u32::from(STOP_DEADLINE + SLACK);
        (self.mode == BackupMode::Stop).then_some(minutes)
    }
}

/// When nodes are scavenged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scavenge {
    pub(crate) at: ScavengeTime,
    pub(crate) window: ScavengeWindow,
}

impl Deployment {
    /// The node that is down every day for its backup, and when: the last one. While a single node becomes a cluster nothing
    /// stops one, and with that nothing starts one that does not run yet.
    pub(crate) fn backup_pause(&self) -> Option<BackupPause> {
        let backup = self.config().backup.as_ref().filter(|_| !self.config().grows)?;
        let minutes = backup.pause_minutes()?;
        Some(BackupPause { node: self.nodes().len(), from: backup.daily_at, minutes })
    }

    /// The node whose directory alone holds the data, while a cluster begins with it: the last one if it was restored, the
    /// first one if a single node becomes a cluster.
    fn holder(&self) -> Option<usize> {
        let restored = self.config().data.restored.as_ref().map(|_| self.nodes().len());
        restored.or(self.config().grows.then_some(1))
    }

    /// How many tasks the service of a node is to have. In a cluster that begins with one directory that holds the data, as
    /// many as its majority: each majority then has that node in it. Two nodes with empty directories that found each other
    /// first would elect one of them, and the one with the data would throw away what they do not have.
    pub fn desired_count(&self, node: &Node) -> u8 {
        let (Some(holder), NodeId::Voter(_)) = (self.holder(), node.id()) else { return 1 };
        let (number, others) = (node.id().number(), self.nodes().len() / 2);
        let place_among_others = number - usize::from(number > holder);
        u8::from(number == holder || place_among_others <= others)
    }
}
