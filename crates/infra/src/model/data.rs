//! Where the database is kept.

use super::encryption::Encryption;
use crate::values::{DataRoot, FileSystemId, RecoveryPointArn, RegionName, ResourceName, SecurityGroupId};

/// The file system with the nodes' directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) file_system: FileSystem,
    /// What the nodes' directories are under.
    pub(crate) root: DataRoot,
    /// Whether file system and access points are kept when the stack is deleted.
    pub(crate) retain: bool,
    /// What the nodes' directories were restored from.
    pub(crate) restored: Option<RecoveryPointArn>,
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
    /// Where EFS keeps a read-only copy of it up to date.
    pub(crate) replicate_to: Option<RegionName>,
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
