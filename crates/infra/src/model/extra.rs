//! Containers and volumes of the user's own in the task of every node: agents that read what the database leaves, and send it
//! elsewhere.

use super::{ContainerName, HealthCheck};
use crate::image::ImageReference;
use crate::values::{
    AccessPointId, FileSystemId, KeyArn, MountPath, PartName, SecretArn, SecretReference, SecurityGroupId, UserId,
    VariableName,
};

/// What a task has besides the containers and volumes of its own.
///
/// The containers stand in an order in which they can be started. None of ours waits for one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    pub(crate) containers: Vec<ExtraContainer>,
    pub(crate) volumes: Vec<ExtraVolume>,
}

impl Extra {
    /// The names of the containers.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|container| container.name.as_str())
    }

    /// The secrets that ECS reads for them, each once.
    pub(crate) fn secrets(&self) -> Vec<&SecretArn> {
        let mut secrets: Vec<_> =
            self.containers.iter().flat_map(|container| &container.secrets).map(|(_, secret)| secret.arn()).collect();
        secrets.sort();
        secrets.dedup();
        secrets
    }

    /// The keys that these are encrypted with, each once, where they are not the account's own.
    pub(crate) fn keys(&self) -> Vec<&KeyArn> {
        let mut keys: Vec<_> = self.containers.iter().filter_map(|container| container.secrets_key.as_ref()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The volumes that live as long as the task, each with the path at which the init container mounts it first.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = (&PartName, &'static str)> {
        let local = self.volumes.iter().filter(|volume| volume.efs.is_none()).map(|volume| &volume.name);
        local.zip(PREPARED)
    }
}

/// A volume of the task belongs to root, 0755, unless the first container that mounts it has an image that declares a
/// `VOLUME` at that path (aws-contract §4.3). Agents' images do not know where they are mounted, so certgen's image declares
/// these paths, open to all, and its container mounts the volumes there.
pub(crate) const PREPARED: [&str; 8] =
    ["/volumes/1", "/volumes/2", "/volumes/3", "/volumes/4", "/volumes/5", "/volumes/6", "/volumes/7", "/volumes/8"];

/// A container of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraContainer {
    /// Its place in the configuration, from 0.
    pub(crate) place: usize,
    pub(crate) name: PartName,
    pub(crate) image: ImageReference,
    /// Whether the task ends with it.
    pub(crate) essential: bool,
    /// Otherwise the image's.
    pub(crate) user: Option<UserId>,
    /// Otherwise the image's.
    pub(crate) entry_point: Vec<String>,
    /// Otherwise the image's.
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(VariableName, String)>,
    pub(crate) secrets: Vec<(VariableName, SecretReference)>,
    /// The key that the secrets are encrypted with, if it is not the account's own.
    pub(crate) secrets_key: Option<KeyArn>,
    pub(crate) mounts: Vec<ExtraMount>,
    pub(crate) depends_on: Vec<(Peer, Until)>,
    pub(crate) health_check: Option<HealthCheck>,
    /// Seconds, 2 to 120.
    pub(crate) start_timeout: Option<u16>,
    /// Seconds, 2 to 120.
    pub(crate) stop_timeout: Option<u16>,
    pub(crate) read_only_root: bool,
    pub(crate) capabilities: Vec<Capability>,
    /// CPU units.
    pub(crate) cpu: Option<u32>,
    /// MiB that it may not exceed.
    pub(crate) memory: Option<u32>,
    /// MiB that are kept for it.
    pub(crate) memory_reservation: Option<u32>,
}

impl ExtraContainer {
    /// MiB that the others cannot count on.
    pub(crate) fn reserved_mib(&self) -> u32 {
        self.memory_reservation.or(self.memory).unwrap_or(0)
    }
}

/// A volume in such a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraMount {
    pub(crate) source: Source,
    pub(crate) path: MountPath,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of ours, to read only.
    Ours(Readable),
    /// One of the user's.
    Theirs { volume: PartName, read_only: bool },
}

/// Our volumes that others may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    /// Certificates.
    Certs,
    /// What the containers tell each other.
    Run,
    /// The server's log files.
    Logs,
}

impl Readable {
    pub(crate) const ALL: [Self; 3] = [Self::Certs, Self::Run, Self::Logs];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Certs => "certs",
            Self::Run => "run",
            Self::Logs => "logs",
        }
    }
}

/// A volume of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraVolume {
    pub(crate) name: PartName,
    /// Otherwise it lives as long as the task.
    pub(crate) efs: Option<Efs>,
}

/// A place on a file system that is not the database's; always encrypted in transit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Efs {
    pub(crate) file_system: FileSystemId,
    pub(crate) security_group: SecurityGroupId,
    pub(crate) at: Place,
    /// Whether the file system asks IAM for leave.
    pub(crate) iam: bool,
}

/// Where on the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the access point says.
    AccessPoint(AccessPointId),
    /// In this directory; at the root if there is none.
    Directory(Option<MountPath>),
}

/// Another container of the same task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Ours(ContainerName),
    Theirs(PartName),
}

impl Peer {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Ours(name) => name.as_str(),
            Self::Theirs(name) => name.as_str(),
        }
    }
}

/// What must have become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Start,
    Complete,
    Success,
    Healthy,
}

impl Until {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }
}

/// What may be added to a container on Fargate (AWS, `KernelCapabilities`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    SysPtrace,
}

impl Capability {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SysPtrace => "SYS_PTRACE",
        }
    }
}
