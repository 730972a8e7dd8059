//! Numbers for alarms, made of what the [`Report`] knows: as log lines that CloudWatch Logs turns into metrics ([`emf`]), and
//! for a Prometheus that asks ([`prometheus`]).

mod emf;
mod listen;
pub mod names;
mod prometheus;

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use crate::backoff::jittered;
use crate::settings::RunSettings;
use crate::status::document::{Document, ErrorState, Registered, seconds};
use crate::status::{GuardState, Report};
pub(crate) use listen::serve;

/// Between two lines at most; with an alarm's usual period of five minutes none of these goes without.
const INTERVAL: Duration = Duration::from_mins(5);
const DAY: f64 = 86_400.0;

/// The numbers at one time. What is not known is left out.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    deployment: String,
    node: String,
    /// `None` if it is not to be.
    registered: Option<bool>,
    /// Negative after its end.
    certificate_days_left: Option<f64>,
    /// How old the current password is, in seconds, by login.
    rotation_ages: Vec<(String, u64)>,
    /// How often guard has started the server again.
    server_restarts: Option<u64>,
    /// Errors since the sidecar began.
    errors: u64,
    last_error: Option<ErrorState>,
}

impl Sample {
    fn of(document: &Document, guard: Option<&GuardState>, now: u64) -> Self {
        let age = |created: u64| now.saturating_sub(created);
        let rotation_ages = document.users.iter().filter_map(|user| {
            let created = user.current.as_ref()?.created?;
            Some((user.login.clone(), age(created)))
        });
        #[expect(clippy::cast_precision_loss, reason = "times are far below the numbers that a double has exactly")]
        let days_left = |not_after: u64| ((not_after as f64 - now as f64) / DAY * 100.0).round() / 100.0;
        Self {
            deployment: document.deployment.clone(),
            node: document.node.clone(),
            registered: match document.registration.state {
                Registered::NotWanted => None,
                state => Some(state == Registered::Yes),
            },
            certificate_days_left: document.certificate.as_ref().map(|certificate| days_left(certificate.not_after)),
            rotation_ages: rotation_ages.collect(),
            server_restarts: guard.map(|guard| guard.restarts),
            errors: document.errors,
            last_error: document.last_error.clone(),
        }
    }

    fn now(report: &Report, guard_status_file: Option<&Path>) -> Self {
        // Whatever is wrong with guard's file is told by `bootstrap status`.
        let guard = guard_status_file.and_then(|file| GuardState::read(file).ok());
        report.read(|document| Self::of(document, guard.as_ref(), seconds(SystemTime::now())))
    }
}

/// Prints the numbers every four to five minutes, and at once when the node has been registered or is so no more.
#[derive(Debug)]
pub(crate) struct Emitter {
    report: Rc<Report>,
    is_wanted: bool,
    guard_status_file: Option<PathBuf>,
    interval: Duration,
    /// How many errors had been told with the lines before.
    errors_told: Cell<u64>,
}

impl Emitter {
    pub(crate) fn new(report: &Rc<Report>, settings: &RunSettings) -> Self {
        Self {
            report: Rc::clone(report),
            is_wanted: settings.emits_metrics,
            guard_status_file: settings.guard_status_file.clone(),
            interval: settings.scaled(INTERVAL),
            errors_told: Cell::new(0),
        }
    }

    /// Never ends.
    pub(crate) async fn run(&self) -> Infallible {
        loop {
            self.emit();
            tokio::select! {
                () = sleep(jittered(self.interval * 4 / 5)) => {}
                () = self.report.registered_changed() => {}
            }
        }
    }

    /// Prints them now, if they are wanted.
    pub(crate) fn emit(&self) {
        if !self.is_wanted {
            return;
        }
        let sample = Sample::now(&self.report, self.guard_status_file.as_deref());
        let new_errors = sample.errors - self.errors_told.replace(sample.errors);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let lines = emf::lines(&sample, new_errors, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        // A log that takes nothing is no reason to do anything else differently.
        let _ = io::stdout().lock().write_all(lines.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::document::{Area, CertificateState, VersionState};

    const NOW: u64 = 1_795_651_200;

    pub(super) fn sample() -> Sample {
        let users = [("admin", "es/admin"), ("ops", "es/ops"), ("new", "es/new")];
        let mut document = Document::new("node-1", "es.db.internal", users, NOW);
        for (user, age) in document.users.iter_mut().zip([10, 20]) {
            user.current = Some(VersionState { id: "v".to_owned(), created: Some(NOW - age) });
        }
        document.registration.turn(Registered::Yes, NOW);
        document.certificate = Some(CertificateState {
            sha256: "ab".to_owned(),
            not_after: NOW + 129_600,
            validity: None,
            roots_sha256: "cd".to_owned(),
            served: true,
        });
        document.errors = 5;
        document.last_error = Some(ErrorState { area: Area::Credentials, kind: "aws-denied".to_owned(), at: NOW - 3 });
        let guard = GuardState {
            state: "running".to_owned(),
            restarts: 2,
            last_exit: None,
            lock_since: None,
            holder: String::new(),
            slow_heartbeats: 0,
            last_slow_heartbeat: None,
        };
        Sample::of(&document, Some(&guard), NOW)
    }

    /// A sidecar that has just begun.
    pub(super) fn first_sample() -> Sample {
        Sample::of(&Document::new("node-1", "es.db.internal", [("admin", "es/admin")], NOW), None, NOW)
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        let sample = sample();
        assert_eq!(sample.rotation_ages, [("admin".to_owned(), 10), ("ops".to_owned(), 20)]);
        assert_eq!(
            (sample.registered, sample.certificate_days_left, sample.server_restarts),
            (Some(true), Some(1.5), Some(2))
        );
        let first = first_sample();
        assert_eq!((first.registered, first.certificate_days_left, first.server_restarts), (Some(false), None, None));
        assert_eq!(first.rotation_ages, []);
    }
}
