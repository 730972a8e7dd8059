//! Where the database is kept, and how it is backed up.

use super::encryption::Encryption;
use crate::values::{DataRoot, FileSystemId, ResourceName, SecurityGroupId, TimeOfDay, VaultName};

/// The file system with the nodes' directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) file_system: FileSystem,
    /// What the nodes' directories are under.
    pub(crate) root: DataRoot,
    /// Whether file system and access points are kept when the stack is deleted.
    pub(crate) retain: bool,
}

/// The file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// Of the deployment.
    New(NewFileSystem),
    /// Of somebody else, with the security group of its mount targets.
    Existing { id: FileSystemId, security_group: SecurityGroupId },
}

/// A file system of the deployment; general purpose, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewFileSystem {
    pub(crate) name: Option<ResourceName>,
    pub(crate) throughput: Throughput,
    pub(crate) infrequent_access: InfrequentAccess,
    pub(crate) automatic_backups: bool,
    pub(crate) encryption: Encryption,
}

/// How fast a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throughput {
    Elastic,
    Bursting,
    /// MiB/s.
    Provisioned(u16),
}

/// When files move to the class with slower, paid reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InfrequentAccess {
    Never,
    /// After so many days without access.
    AfterDays(u16),
}

/// A daily backup of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) vault: Vault,
    pub(crate) daily_at: TimeOfDay,
    /// Minutes in which it must have begun.
    pub(crate) start_window: u16,
    /// Minutes in which it must be complete; more than those to begin.
    pub(crate) completion_window: u16,
    /// Days after which a recovery point is deleted.
    pub(crate) delete_after: u16,
}

/// Where recovery points are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vault {
    New(Encryption),
    Existing(VaultName),
}
