//! The daily backup, and when nodes are scavenged.

use super::section::{Choice, Mistakes, Section};
use super::server::Insecure;
use super::{Config, Mistake};
use crate::model::{Backup, BackupMode, Encryption, FileSystem, SLACK, STOP_DEADLINE, Scavenge, Vault};
use crate::values::{ClusterSize, MINUTES_OF_DAY, ScavengeTime, ScavengeWindow, TimeOfDay, VaultArn, VaultName};

impl Choice for BackupMode {
    const WORDS: &'static [(&'static str, Self)] = &[("stop", Self::Stop), ("online", Self::Online)];
}

/// Everything else says how it is done.
const ENABLED: &str = "enabled";

/// What was wrong was told.
pub(super) struct Told;

/// Reads the section `backup`. `automatic` is whether AWS makes backups of its own.
pub(super) fn read(
    section: &Section<'_>,
    nodes: Option<ClusterSize>,
    automatic: Option<bool>,
) -> Result<Option<Backup>, Told> {
    let cluster = nodes.map(ClusterSize::is_cluster);
    let given = section.flag(ENABLED);
    let mode = section.choice::<BackupMode>("mode");
    let vault = section.text("vault", VaultName::parse);
    let encryption = section.text("kms_key", Encryption::parse);
    let lock = section.number::<u16>("vault_lock_days");
    let copy_to = section.text("copy_to", VaultArn::parse);
    let daily_at = section.text("daily_at", TimeOfDay::parse);
    let start_window = section.number::<u16>("start_window_minutes");
    let completion_window = section.number::<u16>("completion_window_minutes");
    let delete_after = section.number::<u16>("delete_after_days");
    if let (Some(start), Some(completion)) = (start_window, completion_window)
        && completion <= start
    {
        section.mistake(
            "completion_window_minutes",
            format!(
                "`{completion}` is not more than the {start} minutes of start_window_minutes; allowed are {} and more",
                start + 1
            ),
        );
    }
    if section.says("vault") {
        for key in ["kms_key", "vault_lock_days"].into_iter().filter(|key| section.says(key)) {
            section.mistake(key, "it is for a new vault and does not go with `vault`; take out one of both");
        }
    }
    if let (Some(lock), Some(delete)) = (lock, delete_after)
        && lock > delete
    {
        section.mistake(
            "vault_lock_days",
            format!(
                "`{lock}` is more than the {delete} days of delete_after_days, so that no backup would be taken; allowed are 1 \
                 to {delete}"
            ),
        );
    }
    let enabled = if section.has(ENABLED) {
        given.ok_or(Told)?
    } else {
        // Two daily backups would be paid for twice.
        cluster.ok_or(Told)? && automatic != Some(true)
    };
    if !enabled {
        section.refuse_all_but(ENABLED, "it says nothing without enabled = true; set that, or take it out");
        return Ok(None);
    }
    let mode = if section.has("mode") { mode } else { default_mode(section, cluster) };
    if let (Some(BackupMode::Stop), Some(completion)) = (mode, completion_window) {
        let most = MINUTES_OF_DAY - STOP_DEADLINE - SLACK;
        if completion >= most {
            section.mistake(
                "completion_window_minutes",
                format!(
                    "`{completion}` does not go with mode = \"stop\": the node must be back before the next day's backup; allowed \
                     are at most {}",
                    most - 1
                ),
            );
        }
    }
    let backup = || {
        let new = |encryption| Vault::New { encryption, lock: lock.filter(|_| section.has("vault_lock_days")) };
        let vault = if section.has("vault") { Vault::Existing(vault?) } else { new(encryption?) };
        Some(Backup {
            mode: mode?,
            vault,
            daily_at: daily_at?,
            start_window: start_window?,
            completion_window: completion_window?,
            delete_after: delete_after?,
            copy_to,
        })
    };
    backup().map(Some).ok_or(Told)
}

/// A cluster goes on while one node stands still. A single node would be away, so that somebody must decide.
fn default_mode(section: &Section<'_>, cluster: Option<bool>) -> Option<BackupMode> {
    if cluster? {
        return Some(BackupMode::Stop);
    }
    section.mistake(
        "mode",
        "it is missing, and a single node has no default; allowed are \"stop\": the database is away every day while its files \
         are copied, and every copy opens; and \"online\": it stays, and not every copy opens (3 of 8 did)",
    );
    None
}

/// Reads the section `scavenge`, which an insecure server does not have.
pub(super) fn scavenge(section: &Section<'_>, insecure: Option<Insecure>) -> Option<Scavenge> {
    if insecure.is_some_and(|insecure| insecure.wanted) {
        section.refuse_all("an insecure server has no user to scavenge as; take it out, or server.insecure");
    }
    let at = section.text("at", ScavengeTime::parse);
    let window = section.text("window", ScavengeWindow::parse);
    if !section.has("at") && section.says("window") {
        section.mistake("window", "it says nothing without `at`; add that, or take it out");
    }
    let (at, window) = (at?, window?);
    if window.seconds() >= at.period() {
        section.mistake(
            "window",
            format!(
                "`{window}` is not shorter than the time from one scavenge to the next, {} h; allowed is less",
                at.period() / 3600
            ),
        );
        return None;
    }
    Some(Scavenge { at, window })
}

/// A node that is stopped for its backup while it scavenges does all of it again another time, and its files change while
/// they are copied on the others.
pub(super) fn overlap(mistakes: &Mistakes, backup: Option<&Backup>, scavenge: Option<&Scavenge>) {
    let (Some(backup), Some(scavenge)) = (backup, scavenge) else { return };
    let Some(minutes) = backup.pause_minutes() else { return };
    if scavenge.at.meets(&scavenge.window, backup.daily_at.minute_of_day(), minutes) {
        let message = format!(
            "`{}` and the {} after it meet the {minutes} minutes from backup.daily_at, {}, in which a node may be down; choose \
             another time, or a shorter window",
            scavenge.at, scavenge.window, backup.daily_at,
        );
        mistakes.borrow_mut().push(Mistake { key: "scavenge.at".to_owned(), message });
    }
}

/// What should be known of a configuration's backup.
pub(super) fn warnings(config: &Config, mut warn: impl FnMut(&str, &str)) {
    let automatic = match &config.data.file_system {
        FileSystem::New(new) => new.automatic_backups,
        FileSystem::Existing { .. } => false,
    };
    match config.backup.as_ref().map(|backup| backup.mode) {
        Some(BackupMode::Online) => warn(
            "backup.mode",
            "a recovery point is a copy of running nodes, of which not every one can be opened: 3 of 8 did",
        ),
        Some(BackupMode::Stop) if !config.nodes.is_cluster() => {
            warn("backup.mode", "the database is away every day while its files are copied");
        }
        Some(BackupMode::Stop) => {}
        None if automatic => {}
        None => warn("backup.enabled", "nothing is backed up"),
    }
}
