//! The lock on the data directory, with signs of life.
//!
//! A lock on NFS excludes, but it is no fence: a holder that is cut off from the file system loses it without knowing. So
//! the holder writes a heartbeat through the locked descriptor. If that fails, its server is killed before anybody else
//! may start one; and whoever takes the lock of a holder that did not sign off first sees the heartbeat stand still for
//! longer than that takes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
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

/// A held lock whose heartbeat is written by a thread of its own: a write to a file system that is gone may hang.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    lock: Arc<LockFile>,
    pulse: Arc<Mutex<Pulse>>,
    timeout: Duration,
}

#[derive(Debug)]
struct Pulse {
    record: Record,
    last: Instant,
    /// An error that will not go away.
    broken: Option<String>,
    stopped: bool,
}

impl Heartbeat {
    /// Writes the first record and starts the thread.
    pub(crate) fn start(
        lock: LockFile,
        record: Record,
        interval: Duration,
        timeout: Duration,
    ) -> Result<Self, LockError> {
        lock.write(&record).map_err(|source| lock.error(source))?;
        let lock = Arc::new(lock);
        let pulse = Arc::new(Mutex::new(Pulse { record, last: Instant::now(), broken: None, stopped: false }));
        let beat = {
            let (lock, pulse) = (Arc::clone(&lock), Arc::clone(&pulse));
            move || beat(&lock, &pulse, interval)
        };
        let started = thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
        started.map_err(|source| lock.error(source))?;
        Ok(Self { lock, pulse, timeout })
    }

    /// Why the lock may be lost, if it may be.
    pub(crate) fn loss(&self) -> Option<String> {
        let pulse = lock_pulse(&self.pulse);
        let silent = pulse.last.elapsed();
        if let Some(error) = &pulse.broken {
            return Some(format!("the heartbeat cannot be written: {error}"));
        }
        (silent >= self.timeout).then(|| format!("no heartbeat could be written for {} s", silent.as_secs()))
    }

    /// Tells the next holder that no server runs any more. A heartbeat that is being written at this moment may hide it;
    /// the next holder then waits as if guard had been killed, which is only slow.
    pub(crate) fn sign_off(&self) -> io::Result<()> {
        let record = {
            let mut pulse = lock_pulse(&self.pulse);
            pulse.stopped = true;
            Record { signed_off: true, counter: pulse.record.counter + 1, ..pulse.record.clone() }
        };
        self.lock.write(&record)
    }
}

fn beat(lock: &LockFile, pulse: &Mutex<Pulse>, interval: Duration) {
    loop {
        thread::sleep(interval);
        let record = {
            let mut pulse = lock_pulse(pulse);
            if pulse.stopped {
                return;
            }
            pulse.record.counter += 1;
            pulse.record.clone()
        };
        // Not while holding the mutex: this may hang.
        let written = lock.write(&record);
        let mut pulse = lock_pulse(pulse);
        match written {
            Ok(()) => pulse.last = Instant::now(),
            // The file system is gone (or the lock's lease with it); everything else is tried again until the time is up.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => pulse.broken = Some(error.to_string()),
            Err(_) => {}
        }
    }
}

fn lock_pulse(pulse: &Mutex<Pulse>) -> std::sync::MutexGuard<'_, Pulse> {
    pulse.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        heartbeat.sign_off().unwrap();
        assert!(read().unwrap().signed_off);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = LockFile::open(Path::new("/nowhere/data")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/data/.guard.lock") && error.contains("No such file"), "{error}");
    }
}
