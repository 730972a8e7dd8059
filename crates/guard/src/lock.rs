//! The lock on the data directory.
//!
//! It excludes as long as the file system keeps it; it is not a fence against a holder that has lost its connection to
//! the file system and does not know it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = ".guard.lock";
/// A holder's line is short; more is not read from a file that somebody else may have written.
const LONGEST_LINE: u64 = 512;

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

    /// Takes the lock if it is free; otherwise tells who holds it.
    pub(crate) fn try_lock(&mut self) -> Result<Result<(), String>, LockError> {
        match self.file.try_lock() {
            Ok(()) => self.write_holder().map(Ok).map_err(|source| self.error(source)),
            Err(TryLockError::WouldBlock) => Ok(Err(self.holder())),
            Err(TryLockError::Error(source)) => Err(self.error(source)),
        }
    }

    fn error(&self, source: io::Error) -> LockError {
        LockError { path: self.path.clone(), source }
    }

    fn write_holder(&mut self) -> io::Result<()> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "host {} pid {} since {since}", host.trim(), std::process::id())?;
        self.file.sync_data()
    }

    /// Whatever the holder wrote; it may be about to write it.
    fn holder(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.file.rewind().and_then(|()| (&self.file).take(LONGEST_LINE).read_to_end(&mut line));
        match String::from_utf8_lossy(&line).lines().next() {
            Some(line) if read.is_ok() && !line.is_empty() => line.to_owned(),
            _ => "somebody who has not written a name yet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_holds_it_and_gets_it_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = LockFile::open(directory.path()).unwrap();
        let mut second = LockFile::open(directory.path()).unwrap();
        assert_eq!(first.try_lock().unwrap(), Ok(()));
        let holder = second.try_lock().unwrap().unwrap_err();
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
        drop(first);
        assert_eq!(second.try_lock().unwrap(), Ok(()));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = LockFile::open(Path::new("/nowhere/data")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/data/.guard.lock") && error.contains("No such file"), "{error}");
    }
}
