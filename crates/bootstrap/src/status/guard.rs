//! What guard writes of the server it started (`GUARD_STATUS_FILE`). It is read, never written.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// guard's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GuardState {
    /// What guard is doing, for example `running`.
    pub(crate) state: String,
    /// How often it has started the server again.
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<LastExit>,
    /// Since when it has held the lock of the data directory.
    pub(crate) lock_since: Option<u64>,
    /// Who holds that lock, as far as guard knows.
    pub(crate) holder: String,
    /// How often a heartbeat on that lock took longer than its interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) slow_heartbeats: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_slow_heartbeat: Option<SlowHeartbeat>,
}

/// How many seconds the last slow heartbeat took, and when that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlowHeartbeat {
    pub(crate) seconds: u64,
    pub(crate) at: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How the server ended last: with a code or by a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastExit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<String>,
    pub(crate) at: u64,
}

impl GuardState {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        read(path)
    }
}

/// A JSON file of ours.
pub(super) fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("could not read `{}`: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("`{}` is damaged: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are those of guard's own test of what it writes.
    #[test]
    fn what_guard_writes_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guard.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            GuardState::read(&path)
        };
        let waiting =
            r#"{"schema":1,"state":"waiting-for-lock","restarts":0,"lastExit":null,"lockSince":null,"holder":""}"#;
        let waiting = read(waiting).unwrap();
        assert_eq!((waiting.state.as_str(), waiting.last_exit, waiting.lock_since), ("waiting-for-lock", None, None));
        let running =
            r#"{"schema":1,"state":"running","restarts":2,"lastExit":{"code":0,"at":9},"lockSince":7,"holder":"a"}"#;
        let running = read(running).unwrap();
        assert_eq!(running.last_exit, Some(LastExit { code: Some(0), signal: None, at: 9 }));
        let slow = r#"{"schema":1,"state":"running","restarts":0,"lastExit":null,"lockSince":7,"holder":"a","slowHeartbeats":1,"lastSlowHeartbeat":{"seconds":12,"at":8}}"#;
        let slow = read(slow).unwrap();
        assert_eq!((slow.slow_heartbeats, slow.last_slow_heartbeat), (1, Some(SlowHeartbeat { seconds: 12, at: 8 })));
        let killed = r#"{"schema":1,"state":"ended","restarts":0,"lastExit":{"signal":"SIGKILL","at":9},"lockSince":7,"holder":"a"}"#;
        assert_eq!(read(killed).unwrap().last_exit.unwrap().signal.as_deref(), Some("SIGKILL"));
        assert!(read("{").unwrap_err().contains("is damaged"));
        fs::remove_file(&path).unwrap();
        assert!(GuardState::read(&path).unwrap_err().contains("could not read"));
    }
}
