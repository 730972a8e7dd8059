//! The file system.

use super::backup;
use super::section::{Choice, Section};
use crate::model::{Backup, Data, Encryption, FileSystem, InfrequentAccess, NewFileSystem, Throughput};
use crate::values::{ClusterSize, DataRoot, FileSystemId, RecoveryPointArn, RegionName, ResourceName, SecurityGroupId};

#[derive(Clone, Copy, PartialEq, Eq)]
enum ThroughputMode {
    Elastic,
    Bursting,
    Provisioned,
}

impl Choice for ThroughputMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("elastic", Self::Elastic), ("bursting", Self::Bursting), ("provisioned", Self::Provisioned)];
}

/// The periods that `AWS::EFS::FileSystem` knows.
impl Choice for InfrequentAccess {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("never", Self::Never),
        ("1d", Self::AfterDays(1)),
        ("7d", Self::AfterDays(7)),
        ("14d", Self::AfterDays(14)),
        ("30d", Self::AfterDays(30)),
        ("60d", Self::AfterDays(60)),
        ("90d", Self::AfterDays(90)),
        ("180d", Self::AfterDays(180)),
        ("270d", Self::AfterDays(270)),
        ("365d", Self::AfterDays(365)),
    ];
}

/// What a file system that is there has already.
const NEW_ONLY: [&str; 8] = [
    "name",
    "performance_mode",
    "throughput",
    "provisioned_mibps",
    "infrequent_access",
    "automatic_backups",
    "kms_key",
    "replicate_to",
];

/// Reads the sections `data` and `backup`.
pub(super) fn read(root: &Section<'_>, nodes: Option<ClusterSize>) -> Option<(Data, Option<Backup>)> {
    let (data, automatic) = root.section("data", |section| (data(section), section.flag("automatic_backups")));
    let (backup, own) =
        root.section("backup", |section| (backup::read(section, nodes, automatic), section.flag("enabled")));
    if let (Some(true), Some(true)) = (automatic, own) {
        root.mistake("data.automatic_backups", "`true` does not go with backup.enabled; choose one of both");
    }
    Some((data?, backup.ok()?))
}

fn data(section: &Section<'_>) -> Option<Data> {
    let existing = section.has("file_system");
    let id = section.text("file_system", FileSystemId::parse);
    let security_group = section.text("security_group", SecurityGroupId::parse);
    let root = section.text("root", DataRoot::parse);
    let retain = section.flag("retain");
    let restored = section.text("restored", RecoveryPointArn::parse);
    let new = new_file_system(section);
    if section.has("restored") && !existing {
        section.mistake(
            "restored",
            "it does not go with a new file system, which is empty; add `file_system`, the one that AWS Backup restored to",
        );
    }
    if existing != section.has("security_group") {
        let (missing, given) =
            if existing { ("security_group", "file_system") } else { ("file_system", "security_group") };
        section.mistake(missing, format!("it is missing; {given} needs it"));
    }
    for key in NEW_ONLY.into_iter().filter(|key| existing && section.says(key)) {
        section.mistake(key, "it is for a new file system and does not go with `file_system`; take out one of both");
    }
    let file_system = if existing {
        FileSystem::Existing { id: id?, security_group: security_group? }
    } else {
        FileSystem::New(new?)
    };
    Some(Data { file_system, root: root?, retain: retain?, restored })
}

fn new_file_system(section: &Section<'_>) -> Option<NewFileSystem> {
    let name = section.text("name", ResourceName::parse);
    // There is one answer only; it is asked for so that nobody looks for the key in vain.
    let mode = section.choice::<GeneralPurpose>("performance_mode");
    let throughput = throughput(section);
    let infrequent_access = section.choice("infrequent_access");
    let automatic_backups = section.flag("automatic_backups");
    let encryption = section.text("kms_key", Encryption::parse);
    let replicate_to = section.text("replicate_to", RegionName::parse);
    mode?;
    Some(NewFileSystem {
        name,
        throughput: throughput?,
        infrequent_access: infrequent_access?,
        automatic_backups: automatic_backups?,
        encryption: encryption?,
        replicate_to,
    })
}

#[derive(Clone, Copy)]
struct GeneralPurpose;

impl Choice for GeneralPurpose {
    const WORDS: &'static [(&'static str, Self)] = &[("generalPurpose", Self)];
}

fn throughput(section: &Section<'_>) -> Option<Throughput> {
    let mode = section.choice::<ThroughputMode>("throughput");
    let provisioned = section.number("provisioned_mibps");
    match (mode?, section.has("provisioned_mibps")) {
        (ThroughputMode::Provisioned, false) => {
            section.mistake("provisioned_mibps", "it is missing; throughput = \"provisioned\" needs it");
            None
        }
        (ThroughputMode::Provisioned, true) => provisioned.map(Throughput::Provisioned),
        (ThroughputMode::Elastic | ThroughputMode::Bursting, true) => {
            section.mistake("provisioned_mibps", "it belongs to throughput = \"provisioned\" only; take it out");
            None
        }
        (ThroughputMode::Elastic, false) => Some(Throughput::Elastic),
        (ThroughputMode::Bursting, false) => Some(Throughput::Bursting),
    }
}
