//! guard's state as a JSON file for bootstrap and for people. A file that cannot be written is a warning, no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::run::End;

/// What guard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    WaitingForLock,
    WaitingForHeartbeat,
    Fencing,
    Running,
    Stopping,
    Ended,
}

impl State {
    const ALL: [Self; 6] =
        [Self::WaitingForLock, Self::WaitingForHeartbeat, Self::Fencing, Self::Running, Self::Stopping, Self::Ended];

    fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForLock => "waiting-for-lock",
            Self::WaitingForHeartbeat => "waiting-for-heartbeat",
            Self::Fencing => "fencing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

/// The state and where it is kept.
#[derive(Debug)]
pub(crate) struct Status {
    path: Option<PathBuf>,
    state: State,
    restarts: u32,
    last_exit: Option<(End, u64)>,
    lock_since: Option<u64>,
    holder: String,
    slow_heartbeats: u32,
    /// How many seconds the last slow heartbeat has taken so far, and when that was written.
    last_slow_heartbeat: Option<(u64, u64)>,
}

impl Status {
    pub(crate) fn new(path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
            state: State::WaitingForLock,
            restarts: 0,
            last_exit: None,
            lock_since: None,
            holder: String::new(),
            slow_heartbeats: 0,
            last_slow_heartbeat: None,
        }
    }

    /// Waiting for another holder. The same state is written once.
    pub(crate) fn waiting(&mut self, state: State, holder: &str) {
        if (self.state, self.holder.as_str()) == (state, holder) {
            return;
        }
        (self.state, self.holder) = (state, holder.to_owned());
        self.write();
    }

    /// This guard holds the lock.
    pub(crate) fn locked(&mut self, since: u64, holder: &str) {
        (self.lock_since, self.holder) = (Some(since), holder.to_owned());
    }

    pub(crate) fn enter(&mut self, state: State) {
        self.state = state;
        self.write();
    }

    /// A heartbeat has not been answered for an interval.
    pub(crate) fn heartbeat_is_slow(&mut self, time: Duration) {
        self.slow_heartbeats += 1;
        self.heartbeat_was_slow(time);
    }

    /// It was answered.
    pub(crate) fn heartbeat_was_slow(&mut self, time: Duration) {
        self.last_slow_heartbeat = Some((time.as_secs(), now()));
        self.write();
    }

    /// Written with the state that follows: between two servers none is running.
    pub(crate) fn server_ended(&mut self, end: End, restarted: bool) {
        self.last_exit = Some((end, now()));
        self.restarts += u32::from(restarted);
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        let temporary = path.with_extension("tmp");
        if let Err(error) = fs::write(&temporary, self.to_json()).and_then(|()| fs::rename(&temporary, path)) {
            crate::log!("guard: could not write `{}`: {error}", path.display());
        }
    }

    fn to_json(&self) -> String {
        let last_exit = self.last_exit.map_or("null".to_owned(), |(end, at)| match end {
            End::Code(code) => format!("{{\"code\":{code},\"at\":{at}}}"),
            End::Signal(signal) => format!("{{\"signal\":\"{signal}\",\"at\":{at}}}"),
        });
        let since = self.lock_since.map_or("null".to_owned(), |since| since.to_string());
        let slow = self.last_slow_heartbeat;
        let slow = slow.map_or("null".to_owned(), |(seconds, at)| format!("{{\"seconds\":{seconds},\"at\":{at}}}"));
        let (state, restarts, holder) = (self.state.as_str(), self.restarts, escape(&self.holder));
        let slow_heartbeats = self.slow_heartbeats;
        format!(
            "{{\"schema\":1,\"state\":\"{state}\",\"restarts\":{restarts},\"lastExit\":{last_exit},\"lockSince\":{since},\
             \"holder\":\"{holder}\",\"slowHeartbeats\":{slow_heartbeats},\"lastSlowHeartbeat\":{slow}}}\n"
        )
    }
}

/// Whether the status file says that guard runs a server or is on its way to it. An error names what else is there.
///
/// # Errors
///
/// The state, or why it cannot be read.
pub(crate) fn check_health(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("could not read `{}`: {error}", file.display()))?;
    let state = State::ALL.into_iter().find(|state| text.contains(&format!("\"state\":\"{}\"", state.as_str())));
    match state {
        Some(State::Ended) => Err("guard has ended".to_owned()),
        Some(_) => Ok(()),
        None => Err(format!("`{}` is not a status file of guard", file.display())),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_documented() {
        let mut status = Status::new(None);
        assert_eq!(
            status.to_json(),
            "{\"schema\":1,\"state\":\"waiting-for-lock\",\"restarts\":0,\"lastExit\":null,\"lockSince\":null,\"holder\":\"\",\
             \"slowHeartbeats\":0,\"lastSlowHeartbeat\":null}\n"
        );
        status.locked(7, "a \"b\" \\ c\n");
        status.state = State::Running;
        status.restarts = 2;
        status.last_exit = Some((End::Code(0), 9));
        status.slow_heartbeats = 1;
        status.last_slow_heartbeat = Some((12, 8));
        assert_eq!(
            status.to_json(),
            "{\"schema\":1,\"state\":\"running\",\"restarts\":2,\"lastExit\":{\"code\":0,\"at\":9},\"lockSince\":7,\
             \"holder\":\"a \\\"b\\\" \\\\ c \",\"slowHeartbeats\":1,\"lastSlowHeartbeat\":{\"seconds\":12,\"at\":8}}\n"
        );
    }

    #[test]
    fn every_state_but_the_last_is_healthy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guard.json");
        let mut status = Status::new(Some(&path));
        assert!(check_health(&path).unwrap_err().contains("could not read"));
        for state in State::ALL {
            status.enter(state);
            assert_eq!(check_health(&path).is_ok(), state != State::Ended, "{state:?}");
        }
        fs::write(&path, "{}").unwrap();
        assert!(check_health(&path).unwrap_err().contains("not a status file"));
    }
}
