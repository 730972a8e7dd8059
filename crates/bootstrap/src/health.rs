//! The verdict that ECS asks for with `bootstrap healthcheck`: a file that the running sidecar keeps fresh.
//!
//! The gate opens once the server has answered `/health/live` with 2xx; from then on the task stays healthy: neither a
//! lost quorum nor AWS being away may make an orchestrator stop a database.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::interval;

use crate::error::Error;

const REFRESH: Duration = Duration::from_secs(10);
/// Six refreshes may be missed before the sidecar is taken for dead.
const STALE: Duration = Duration::from_mins(1);

#[derive(Serialize, Deserialize)]
struct Verdict {
    healthy: bool,
    reason: String,
}

/// The running sidecar's side.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    ready: Cell<bool>,
}

impl Health {
    /// Writes the first verdict: not ready yet.
    ///
    /// # Errors
    ///
    /// [`Error::HealthFile`] if the file cannot be written.
    pub(crate) fn new(path: PathBuf) -> Result<Self, Error> {
        let health = Self { path, ready: Cell::new(false) };
        health.write().map_err(|source| Error::HealthFile { path: health.path.clone(), source })?;
        Ok(health)
    }

    /// Opens the gate.
    pub(crate) fn ready(&self) {
        self.ready.set(true);
        self.refresh();
    }

    /// Keeps the verdict fresh. Never ends.
    pub(crate) async fn keep_fresh(&self) -> Infallible {
        let mut ticks = interval(REFRESH);
        loop {
            ticks.tick().await;
            self.refresh();
        }
    }

    fn refresh(&self) {
        if let Err(error) = self.write() {
            tracing::warn!("could not write `{}`: {error}", self.path.display());
        }
    }

    fn write(&self) -> io::Result<()> {
        let healthy = self.ready.get();
        let reason = if healthy { "the server has been ready" } else { "the server is not ready yet" };
        let text = serde_json::to_string(&Verdict { healthy, reason: reason.to_owned() })?;
        let temporary = self.path.with_extension("tmp");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &self.path)
    }
}

/// What `bootstrap healthcheck` reports: `Ok` and `Err` both carry the reason.
///
/// # Errors
///
/// The task is not healthy, or nobody keeps the file fresh.
pub fn check(path: &Path, now: SystemTime) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("could not read `{}`: {error}", path.display());
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let written = fs::metadata(path).and_then(|found| found.modified()).map_err(unreadable)?;
    let age = now.duration_since(written).unwrap_or_default();
    if age > STALE {
        return Err(format!("`{}` is {} s old: bootstrap does not run any more", path.display(), age.as_secs()));
    }
    let verdict: Verdict =
        serde_json::from_str(&text).map_err(|error| format!("`{}` is damaged: {error}", path.display()))?;
    if verdict.healthy { Ok(verdict.reason) } else { Err(verdict.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_once_ready_and_only_while_fresh() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health.json");
        assert!(check(&path, SystemTime::now()).unwrap_err().contains("could not read"));
        let health = Health::new(path.clone()).unwrap();
        assert_eq!(check(&path, SystemTime::now()).unwrap_err(), "the server is not ready yet");
        health.ready();
        assert_eq!(check(&path, SystemTime::now()).unwrap(), "the server has been ready");
        let later = SystemTime::now() + STALE + Duration::from_secs(2);
        assert!(check(&path, later).unwrap_err().contains("does not run any more"));
    }

    #[test]
    fn a_clock_that_went_back_is_not_staleness() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health.json");
        Health::new(path.clone()).unwrap().ready();
        assert!(check(&path, SystemTime::now() - Duration::from_hours(1)).is_ok());
    }
}
