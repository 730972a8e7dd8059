//! guard's state as a JSON file for bootstrap and for people. A file that cannot be written is a warning, no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::End;

/// What guard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    WaitingForLock,
    WaitingForHeartbeat,
    Running,
    Stopping,
    Ended,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForLock => "waiting-for-lock",
            Self::WaitingForHeartbeat => "waiting-for-heartbeat",
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
        }
    }

    /// Waiting for somebody else. Said again and again, it is written once.
    pub(crate) fn waiting(&mut self, state: State, holder: &str) {
        if (self.state, self.holder.as_str()) == (state, holder) {
            return;
        }
        (self.state, self.holder) = (state, holder.to_owned());
        self.write();
    }

    /// The lock is ours.
    pub(crate) fn locked(&mut self, since: u64, holder: &str) {
        (self.lock_since, self.holder) = (Some(since), holder.to_owned());
    }

    pub(crate) fn enter(&mut self, state: State) {
        self.state = state;
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
            crate::say!("guard: could not write `{}`: {error}", path.display());
        }
    }

    fn to_json(&self) -> String {
        let last_exit = self.last_exit.map_or("null".to_owned(), |(end, at)| match end {
            End::Code(code) => format!("{{\"code\":{code},\"at\":{at}}}"),
            End::Signal(signal) => format!("{{\"signal\":\"{signal}\",\"at\":{at}}}"),
        });
        let since = self.lock_since.map_or("null".to_owned(), |since| since.to_string());
        let (state, restarts, holder) = (self.state.as_str(), self.restarts, escape(&self.holder));
        format!(
            "{{\"schema\":1,\"state\":\"{state}\",\"restarts\":{restarts},\"lastExit\":{last_exit},\"lockSince\":{since},\"holder\":\"{holder}\"}}\n"
        )
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
    fn the_json_is_what_is_documented() {
        let mut status = Status::new(None);
        assert_eq!(
            status.to_json(),
            "{\"schema\":1,\"state\":\"waiting-for-lock\",\"restarts\":0,\"lastExit\":null,\"lockSince\":null,\"holder\":\"\"}\n"
        );
        status.locked(7, "a \"b\" \\ c\n");
        status.state = State::Running;
        status.restarts = 2;
        status.last_exit = Some((End::Code(0), 9));
        assert_eq!(
            status.to_json(),
            "{\"schema\":1,\"state\":\"running\",\"restarts\":2,\"lastExit\":{\"code\":0,\"at\":9},\"lockSince\":7,\"holder\":\"a \\\"b\\\" \\\\ c \"}\n"
        );
    }
}
