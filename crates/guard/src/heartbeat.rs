//! The heartbeat: a record that the holder of the lock writes through the locked descriptor.
//!
//! A lock on NFS excludes, but it is no fence: a holder that is cut off from the file system loses it without notice. So the holder
//! writes a heartbeat. If that fails for too long, or the file is not the lock file any more, the holder kills its server; and the guard
//! that takes over first sees the heartbeat stop for longer than that takes.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::{IdentityError, LockError, LockFile, is_loss};
use crate::record::Record;

/// A held lock. Everything that is written through it is written by one thread, so that the sign-off is the last; and by a thread of its
/// own, because a write to a file system that is gone may block.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    lock: LockFile,
    state: Mutex<HeartbeatState>,
    /// Signalled for everything in the state that is waited for.
    changed: Condvar,
}

#[derive(Debug)]
struct HeartbeatState {
    record: Record,
    /// When the last attempt that succeeded began: from then on the next guard may have seen it.
    last: Instant,
    /// When the attempt that is under way began.
    attempt: Option<Instant>,
    /// Whether the next attempt shall begin at once.
    is_urgent: bool,
    /// Why the lock is lost for good.
    lost: Option<String>,
    is_ending: bool,
    signed_off: Option<io::Result<()>>,
}

/// Why the lock may be lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is lost: the file system said so.
    Certain(String),
    /// No heartbeat succeeded for this long.
    TimedOut(Duration),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certain(why) => f.write_str(why),
            Self::TimedOut(time) => write!(f, "no heartbeat succeeded for {} s", time.as_secs()),
        }
    }
}

impl Heartbeat {
    /// Writes the first record and starts the thread.
    ///
    /// # Errors
    ///
    /// [`LockError`] if the record cannot be written.
    pub(crate) fn start(
        lock: LockFile,
        record: Record,
        interval: Duration,
        timeout: Duration,
    ) -> Result<Self, LockError> {
        let last = Instant::now();
        lock.write(&record).map_err(|source| lock.error(source))?;
        let state = HeartbeatState {
            record,
            last,
            attempt: None,
            is_urgent: false,
            lost: None,
            is_ending: false,
            signed_off: None,
        };
        let shared = Arc::new(Shared { lock, state: Mutex::new(state), changed: Condvar::new() });
        let beating = Arc::clone(&shared);
        let started = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || beat(&beating, interval));
        started.map_err(|source| shared.lock.error(source))?;
        Ok(Self { shared, timeout })
    }

    /// Why the lock may be lost, if it may be.
    pub(crate) fn loss(&self) -> Option<Loss> {
        let state = self.shared.state();
        if let Some(why) = &state.lost {
            return Some(Loss::Certain(why.clone()));
        }
        let age = state.last.elapsed();
        (age >= self.timeout).then_some(Loss::TimedOut(age))
    }

    /// How long the server may run if no further heartbeat succeeds.
    pub(crate) fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.shared.state().last.elapsed())
    }

    /// For how long the attempt that is under way has not been answered.
    pub(crate) fn unanswered_for(&self) -> Option<Duration> {
        self.shared.state().attempt.map(|began| began.elapsed())
    }

    /// Attempts a heartbeat at once, and waits for one that begins from now on to succeed. False if the lock is lost or `patience` is over.
    pub(crate) fn attempt(&self, patience: Duration) -> bool {
        let asked = Instant::now();
        let mut state = self.shared.state();
        state.is_urgent = true;
        self.shared.changed.notify_all();
        let is_open = |state: &mut HeartbeatState| state.lost.is_none() && state.last < asked;
        let waited = self.shared.changed.wait_timeout_while(state, patience, is_open);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.lost.is_none() && state.last >= asked
    }

    /// Records for the next holder that no server runs any more. A file system that does not answer is not waited for longer than
    /// `patience`; the next holder then waits as if guard had been killed.
    ///
    /// # Errors
    ///
    /// That of the write, or `TimedOut`.
    pub(crate) fn sign_off(&self, patience: Duration) -> io::Result<()> {
        let mut state = self.shared.state();
        state.is_ending = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, patience, |state| state.signed_off.is_none());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.signed_off.take().unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, HeartbeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of an attempt.
enum Attempt {
    Succeeded,
    /// To be repeated until the time is over.
    Failed(io::Error),
    Lost(String),
}

fn attempt(lock: &LockFile, record: &Record) -> Attempt {
    match lock.write(record) {
        Ok(()) => {}
        Err(error) if is_loss(&error) => return Attempt::Lost(format!("the heartbeat cannot be written: {error}")),
        Err(error) => return Attempt::Failed(error),
    }
    match lock.check_identity() {
        Ok(()) => Attempt::Succeeded,
        Err(IdentityError::Lost(why)) => Attempt::Lost(why),
        Err(IdentityError::Unknown(error)) => Attempt::Failed(error),
    }
}

/// Writes a record at every interval; the last one signs off.
fn beat(shared: &Shared, interval: Duration) {
    loop {
        let is_idle = |state: &mut HeartbeatState| !state.is_ending && !state.is_urgent;
        let waited = shared.changed.wait_timeout_while(shared.state(), interval, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        state.is_urgent = false;
        state.attempt = Some(began);
        state.record.counter = state.record.counter.wrapping_add(1);
        state.record.signed_off = state.is_ending;
        let record = state.record.clone();
        drop(state);

        // Not while holding the mutex: this may block.
        let attempted = attempt(&shared.lock, &record);

        let mut state = shared.state();
        state.attempt = None;
        let result = match attempted {
            Attempt::Succeeded => {
                state.last = began;
                Ok(())
            }
            Attempt::Failed(error) => Err(error),
            Attempt::Lost(why) => {
                state.lost = Some(why.clone());
                Err(io::Error::other(why))
            }
        };
        if record.signed_off {
            state.signed_off = Some(result);
        }
        shared.changed.notify_all();
        if record.signed_off {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn record() -> Record {
        Record { signed_off: false, counter: 1, since: 2, holder: "me".to_owned() }
    }

    #[test]
    fn heartbeat_counts_and_signs_off() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::open(directory.path()).unwrap();
        let reader = LockFile::open(directory.path()).unwrap();
        assert!(lock.try_lock().unwrap());
        let heartbeat = Heartbeat::start(lock, record(), Duration::from_millis(5), Duration::from_mins(1)).unwrap();
        let read = || Record::decode(&reader.read().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while read().is_none_or(|record| record.counter < 4) {
            assert!(Instant::now() < deadline, "the counter does not grow");
        }
        assert_eq!(heartbeat.loss(), None);
        let counted = read().unwrap().counter;
        heartbeat.sign_off(PATIENCE).unwrap();
        let last = read().unwrap();
        assert!(last.signed_off && last.counter > counted, "{last:?}");
    }

    #[test]
    fn urgent_attempt_succeeds_only_with_the_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::open(directory.path()).unwrap();
        let heartbeat = Heartbeat::start(lock, record(), Duration::from_hours(1), Duration::from_hours(2)).unwrap();
        assert!(heartbeat.attempt(PATIENCE));
        assert_eq!(heartbeat.loss(), None);
        std::fs::remove_file(directory.path().join(".guard.lock")).unwrap();
        assert!(!heartbeat.attempt(PATIENCE));
        assert!(matches!(heartbeat.loss(), Some(Loss::Certain(_))));
        assert!(heartbeat.sign_off(PATIENCE).is_err());
    }

    /// A heartbeat after the sign-off would make the next guard wait as after a kill. In memory, where writing is so fast that the two
    /// often meet.
    #[test]
    fn nothing_is_written_after_the_sign_off() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let reader = LockFile::open(directory.path()).unwrap();
        for _ in 0..5000 {
            let lock = LockFile::open(directory.path()).unwrap();
            let heartbeat = Heartbeat::start(lock, record(), Duration::from_nanos(1), Duration::from_mins(1)).unwrap();
            heartbeat.sign_off(PATIENCE).unwrap();
            let shared = Arc::downgrade(&heartbeat.shared);
            drop(heartbeat);
            let deadline = Instant::now() + PATIENCE;
            while shared.strong_count() > 0 {
                assert!(Instant::now() < deadline, "the thread does not end");
                thread::yield_now();
            }
            assert!(Record::decode(&reader.read().unwrap()).unwrap().signed_off);
        }
    }
}
