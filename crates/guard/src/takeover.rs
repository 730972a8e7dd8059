//! From the start of guard to a directory that a server may be started on: the lock, the last holder, the fence.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::LockSettings;
use crate::failure::Failure;
use crate::fence::{self, FenceError, mebibytes};
use crate::heartbeat::Heartbeat;
use crate::lock::{IdentityError, LockFile};
use crate::record::Record;
use crate::signals::{Signals, requests_end};
use crate::status::{State, Status, now};
use crate::utc::Utc;

const LOCK_RETRY: Duration = Duration::from_secs(1);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Whom the lock was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Predecessor {
    /// Nobody, or a holder that recorded that its server had ended.
    SignedOff,
    /// A holder that was killed or cut off, or one whose record is gone.
    Lost,
}

/// What came of the wait for the lock.
enum Locked {
    Held(LockFile, Predecessor),
    /// The lock file was moved or replaced while guard waited: to be opened again.
    Stale(String),
    /// SIGTERM came first.
    Interrupted,
}

/// Waits for the lock, without a deadline, and for the heartbeat of a holder that did not sign off to stop; then fences the directory. `None`
/// if SIGTERM came first: nothing was started, and a fence that was not finished is the next guard's.
///
/// `admit` is called as soon as the lock is held, and may refuse the directory before anything in it is changed.
///
/// # Errors
///
/// [`Failure`]: the directory may not be used. It is not signed off unless nothing was changed.
pub(crate) fn take(
    settings: &LockSettings,
    name: &str,
    signals: &Signals,
    status: &mut Status,
    admit: impl Fn(&Path) -> Result<(), Failure>,
) -> Result<Option<Heartbeat>, Failure> {
    let mut log = Throttled::default();
    let (file, predecessor) = loop {
        match lock(settings, signals, status, &mut log, &admit)? {
            Locked::Held(file, predecessor) => break (file, predecessor),
            Locked::Stale(why) => log!("guard: {why} while guard waited for its lock; opening it again"),
            Locked::Interrupted => return Ok(None),
        }
    };
    let last = Record::decode(&file.read()?);
    let counter = last.map_or(1, |record| record.counter.wrapping_add(1));
    let record = Record { signed_off: false, counter, since: now(), holder: name.to_owned() };
    status.locked(record.since, name);
    let heartbeat = Heartbeat::start(file, record, settings.heartbeat_interval, settings.heartbeat_timeout)?;
    if predecessor == Predecessor::Lost && !fence(settings, &heartbeat, signals, status)? {
        return Ok(None);
    }
    Ok(Some(heartbeat))
}

fn lock(
    settings: &LockSettings,
    signals: &Signals,
    status: &mut Status,
    log: &mut Throttled,
    admit: &impl Fn(&Path) -> Result<(), Failure>,
) -> Result<Locked, Failure> {
    let file = LockFile::open(&settings.data_dir)?;
    while !file.try_lock()? {
        if let Err(IdentityError::Lost(why)) = file.check_identity() {
            return Ok(Locked::Stale(why));
        }
        let holder = describe(&file.read()?);
        status.waiting(State::WaitingForLock, &holder);
        log.line(Instant::now(), || {
            log!("guard: waiting for the lock on {}, held by {holder}", settings.data_dir.display());
        });
        if signals.next(Some(LOCK_RETRY))?.is_some_and(requests_end) {
            return Ok(Locked::Interrupted);
        }
    }
    if let Err(IdentityError::Lost(why)) = file.check_identity() {
        return Ok(Locked::Stale(why));
    }
    // At once: a server that may not open the data need not wait for it.
    admit(&settings.data_dir)?;
    wait_for_silence(file, settings, signals, status, log)
}

/// A holder that was cut off may run its server until its own time-out; it has ended when its heartbeat has stopped for longer.
fn wait_for_silence(
    file: LockFile,
    settings: &LockSettings,
    signals: &Signals,
    status: &mut Status,
    log: &mut Throttled,
) -> Result<Locked, Failure> {
    let mut last = file.read()?;
    if last.is_empty() && !file.is_beside_data()? {
        // A new directory: whoever created the lock file never started a server.
        return Ok(Locked::Held(file, Predecessor::SignedOff));
    }
    let mut silent_since = Instant::now();
    loop {
        if Record::decode(&last).is_some_and(|record| record.signed_off) {
            return Ok(Locked::Held(file, Predecessor::SignedOff));
        }
        if silent_since.elapsed() >= settings.takeover_after {
            return Ok(Locked::Held(file, Predecessor::Lost));
        }
        let (holder, seconds) = (describe(&last), settings.takeover_after.as_secs());
        status.waiting(State::WaitingForHeartbeat, &holder);
        log.line(Instant::now(), || {
            if last.is_empty() {
                log!(
                    "guard: the lock file is new and the directory is not: a holder may have lost it. Waiting {seconds} s for its \
                     server to end"
                );
            } else {
                log!("guard: the last holder did not sign off, waiting until its heartbeat has stopped for {seconds} s: {holder}");
            }
        });
        let left = settings.takeover_after.saturating_sub(silent_since.elapsed());
        if signals.next(Some(LOCK_RETRY.min(left)))?.is_some_and(requests_end) {
            return Ok(Locked::Interrupted);
        }
        if let Err(IdentityError::Lost(why)) = file.check_identity() {
            return Ok(Locked::Stale(why));
        }
        let found = file.read()?;
        if found != last {
            (last, silent_since) = (found, Instant::now());
        }
    }
}

/// False if SIGTERM came first.
fn fence(
    settings: &LockSettings,
    heartbeat: &Heartbeat,
    signals: &Signals,
    status: &mut Status,
) -> Result<bool, Failure> {
    status.enter(State::Fencing);
    let data_dir = &settings.data_dir;
    log!(
        "guard: the last holder did not sign off: replacing the files in {} that its server may still write",
        data_dir.display()
    );
    let started = Instant::now();
    let mut loss = None;
    let fenced = fence::fence(data_dir, || {
        loss = loss.take().or_else(|| heartbeat.loss());
        loss.is_some() || signals.next(Some(Duration::ZERO)).ok().flatten().is_some_and(requests_end)
    });
    match (fenced, loss) {
        (_, Some(loss)) => Err(Failure::LockLost(data_dir.clone(), loss)),
        (Err(FenceError::Interrupted), None) => Ok(false),
        (Err(error), None) => Err(Failure::Fence(error)),
        (Ok(fenced), None) => {
            // The copying may have taken longer than the lock held.
            if let Some(loss) = heartbeat.loss() {
                return Err(Failure::LockLost(data_dir.clone(), loss));
            }
            log!(
                "guard: replaced {} files of {} MiB and removed {} temporary files in {:.1} s",
                fenced.replaced,
                mebibytes(fenced.bytes),
                fenced.removed,
                started.elapsed().as_secs_f64()
            );
            Ok(true)
        }
    }
}

fn describe(record: &[u8]) -> String {
    Record::decode(record).map_or_else(
        || "a holder that has not recorded its name yet".to_owned(),
        |record| format!("{} since {}", record.holder, Utc(record.since)),
    )
}

/// A log line every ten seconds.
#[derive(Debug, Default)]
struct Throttled(Option<Instant>);

impl Throttled {
    fn line(&mut self, now: Instant, print: impl FnOnce()) {
        if self.0.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL) {
            print();
            self.0 = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_logged_at_once_and_every_ten_seconds() {
        let start = Instant::now();
        let mut log = Throttled::default();
        let mut logged = Vec::new();
        for second in 0..=25 {
            log.line(start + Duration::from_secs(second), || logged.push(second));
        }
        assert_eq!(logged, [0, 10, 20]);
    }
}
