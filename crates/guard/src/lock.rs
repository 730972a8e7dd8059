//! The lock on the data directory, with a heartbeat.
//!
//! A lock on NFS excludes, but it is no fence: a holder that is cut off from the file system loses it without knowing. So
//! the holder writes a heartbeat through the locked descriptor. If that fails, its server is killed before anybody else
//! may start one; and whoever takes the lock of a holder that did not sign off first sees the heartbeat stand still for
//! longer than that takes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::record::{LENGTH, Record};

const NAME: &str = ".guard.lock";

/// Why the directory cannot be locked.
#[derive(Debug)]
pub(crate) struct LockError {
    path: PathBuf,
    source: io::Error,
}

impl LockError {
    /// What the operator can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.source.raw_os_error().map(Errno::from_raw)? {
            Errno::ENOENT => Some("mount the volume of the database there"),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                Some("the directory must be writable for the uid that this program runs as: look at the access point")
            }
            Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP => {
                Some("this file system cannot lock, so nothing would keep a second server away: use another")
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "could not lock `{}`: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The lock file, open but not necessarily locked.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Opens or creates the file. Read-write: on NFS an exclusive lock is a byte-range lock and needs that.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(NAME);
        match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(LockError { path, source }),
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> Result<bool, LockError> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(self.error(source)),
        }
    }

    /// The bytes that the last holder wrote, however many there are.
    pub(crate) fn read(&self) -> Result<Vec<u8>, LockError> {
        let mut bytes = vec![0; LENGTH];
        let length = self.file.read_at(&mut bytes, 0).map_err(|source| self.error(source))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Replaces the record, durably.
    fn write(&self, record: &Record) -> io::Result<()> {
        self.file.write_all_at(&record.encode(), 0)?;
        self.file.sync_data()
    }

    fn error(&self, source: io::Error) -> LockError {
        LockError { path: self.path.clone(), source }
    }
}

/// A held lock. All that is written through it is written by one thread, so that the sign-off is the last; and by a thread
/// of its own, because a write to a file system that is gone may hang.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    lock: LockFile,
    pulse: Mutex<Pulse>,
    /// Something in the pulse that somebody waits for: the wish to end, or the sign-off.
    changed: Condvar,
}

#[derive(Debug)]
struct Pulse {
    record: Record,
    /// When the last write that succeeded began: from then on the next guard may have seen it.
    last: Instant,
    /// An error that will not go away.
    broken: Option<String>,
    ending: bool,
    signed_off: Option<io::Result<()>>,
}

impl Heartbeat {
    /// Writes the first record and starts the thread.
    pub(crate) fn start(
        lock: LockFile,
        record: Record,
        interval: Duration,
        timeout: Duration,
    ) -> Result<Self, LockError> {
        let last = Instant::now();
        lock.write(&record).map_err(|source| lock.error(source))?;
        let pulse = Mutex::new(Pulse { record, last, broken: None, ending: false, signed_off: None });
        let shared = Arc::new(Shared { lock, pulse, changed: Condvar::new() });
        let beating = Arc::clone(&shared);
        let started = thread::Builder::new().name("heartbeat".to_owned()).spawn(move || beat(&beating, interval));
        started.map_err(|source| shared.lock.error(source))?;
        Ok(Self { shared, timeout })
    }

    /// Why the lock may be lost, if it may be.
    pub(crate) fn loss(&self) -> Option<String> {
        let pulse = self.shared.pulse();
        let silent = pulse.last.elapsed();
        if let Some(error) = &pulse.broken {
            return Some(format!("the heartbeat cannot be written: {error}"));
        }
        (silent >= self.timeout).then(|| format!("no heartbeat could be written for {} s", silent.as_secs()))
    }

    /// How long the server may run if no further heartbeat can be written.
    pub(crate) fn time_left(&self) -> Duration {
        self.timeout.saturating_sub(self.shared.pulse().last.elapsed())
    }

    /// Tells the next holder that no server runs any more. A file system that does not answer is not waited for longer than
    /// `patience`; the next holder then waits as if guard had been killed.
    pub(crate) fn sign_off(&self, patience: Duration) -> io::Result<()> {
        let mut pulse = self.shared.pulse();
        pulse.ending = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(pulse, patience, |pulse| pulse.signed_off.is_none());
        let (mut pulse, _) = waited.unwrap_or_else(PoisonError::into_inner);
        pulse.signed_off.take().unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }
}

impl Shared {
    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a record at every interval; the last one signs off.
fn beat(shared: &Shared, interval: Duration) {
    loop {
        let waited = shared.changed.wait_timeout_while(shared.pulse(), interval, |pulse| !pulse.ending);
        let (mut pulse, _) = waited.unwrap_or_else(PoisonError::into_inner);
        pulse.record.counter = pulse.record.counter.wrapping_add(1);
        pulse.record.signed_off = pulse.ending;
        let record = pulse.record.clone();
        drop(pulse);

        // Not while holding the mutex: this may hang.
        let began = Instant::now();
        let written = shared.lock.write(&record);

        let mut pulse = shared.pulse();
        match &written {
            Ok(()) => pulse.last = began,
            // The file system is gone (or the lock's lease with it); everything else is tried again until the time is up.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => pulse.broken = Some(error.to_string()),
            Err(_) => {}
        }
        if record.signed_off {
            pulse.signed_off = Some(written);
            shared.changed.notify_all();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_does_not_get_it_before_the_first_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (LockFile::open(directory.path()).unwrap(), LockFile::open(directory.path()).unwrap());
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn a_heartbeat_counts_and_signs_off() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::open(directory.path()).unwrap();
        let reader = LockFile::open(directory.path()).unwrap();
        assert!(lock.try_lock().unwrap());
        let record = Record { signed_off: false, counter: 1, since: 2, holder: "me".to_owned() };
        let heartbeat = Heartbeat::start(lock, record, Duration::from_millis(5), Duration::from_mins(1)).unwrap();
        let read = || Record::decode(&reader.read().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while read().is_none_or(|record| record.counter < 4) {
            assert!(Instant::now() < deadline, "the counter does not grow");
        }
        assert_eq!(heartbeat.loss(), None);
        let counted = read().unwrap().counter;
        heartbeat.sign_off(Duration::from_secs(20)).unwrap();
        let last = read().unwrap();
        assert!(last.signed_off && last.counter > counted, "{last:?}");
    }

    /// A heartbeat that came after it would make the next guard wait as after a kill. In memory, where writing takes so
    /// little that the two meet often.
    #[test]
    fn nothing_is_written_after_the_sign_off() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let reader = LockFile::open(directory.path()).unwrap();
        for _ in 0..5000 {
            let record = Record { signed_off: false, counter: 1, since: 2, holder: "me".to_owned() };
            let lock = LockFile::open(directory.path()).unwrap();
            let interval = Duration::from_nanos(1);
            let heartbeat = Heartbeat::start(lock, record, interval, Duration::from_mins(1)).unwrap();
            heartbeat.sign_off(Duration::from_secs(20)).unwrap();
            let shared = Arc::downgrade(&heartbeat.shared);
            drop(heartbeat);
            let deadline = Instant::now() + Duration::from_secs(20);
            while shared.strong_count() > 0 {
                assert!(Instant::now() < deadline, "the thread lives on");
                thread::yield_now();
            }
            assert!(Record::decode(&reader.read().unwrap()).unwrap().signed_off);
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = LockFile::open(Path::new("/nowhere/data")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/data/.guard.lock") && error.contains("No such file"), "{error}");
    }
}
