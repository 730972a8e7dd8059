//! The lock on the data directory: an exclusive lock on `.guard.lock`, which is the same file as long as the lock is held.
//!
//! A lock protects nothing if the next guard locks another file of the same name. So descriptor and path are compared: device, inode and
//! link count must agree, as the file system has them and not as a cache does.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::record::{LENGTH, Record};

const NAME: &str = ".guard.lock";
/// What files of guard in the data directory begin with.
pub(crate) const PREFIX: &str = ".guard.";

/// Why the directory cannot be locked.
#[derive(Debug)]
pub(crate) struct LockError {
    path: PathBuf,
    source: io::Error,
}

impl LockError {
    /// What an operator can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.source.raw_os_error().map(Errno::from_raw)? {
            Errno::ENOENT => Some("mount the volume of the database there"),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                Some("the directory must be writable for the uid that this program runs as: check the access point")
            }
            Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP => {
                Some("this file system has no locks, so nothing would keep a second server away: use another one")
            }
            _ => None,
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not lock `{}`: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What the file system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    links: u32,
}

impl Identity {
    /// Asks the server of a network file system rather than the cache.
    fn of(file: impl AsFd, path: &Path) -> io::Result<Self> {
        let flags = if path.as_os_str().is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        let wanted = StatxFlags::INO | StatxFlags::NLINK;
        let found = statx(file, path, flags | AtFlags::STATX_FORCE_SYNC, wanted)?;
        Ok(Self { device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino, links: found.stx_nlink })
    }
}

/// Whether the locked file still is the lock file.
#[derive(Debug)]
pub(crate) enum IdentityError {
    /// It is not: it was removed, moved or replaced.
    Lost(String),
    /// The file system did not say.
    Unknown(io::Error),
}

/// Whether an error on the lock file means that the lock is gone, rather than that the file system is slow or full: the file was removed
/// (ENOENT; ESTALE by another NFS client), or the NFS client has lost its lease (EIO).
pub(crate) fn is_loss(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::ESTALE | Errno::ENOENT))
}

/// The lock file, open but not necessarily locked.
#[derive(Debug)]
pub(crate) struct LockFile {
    data_dir: PathBuf,
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Opens or creates the file. Read-write: on NFS an exclusive lock is a byte-range lock and needs that.
    ///
    /// # Errors
    ///
    /// [`LockError`] if that fails.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(NAME);
        match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
            Ok(file) => Ok(Self { data_dir: data_dir.to_owned(), path, file }),
            Err(source) => Err(LockError { path, source }),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`LockError`] if the file system has no locks or does not answer.
    pub(crate) fn try_lock(&self) -> Result<bool, LockError> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(self.error(source)),
        }
    }

    /// Compares the open file with what is at its path.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub(crate) fn check_identity(&self) -> Result<(), IdentityError> {
        let name = self.path.display();
        // A name that another NFS client moved is found in the cache until the directory is known to have changed.
        let at_path = Identity::of(CWD, &self.data_dir).and_then(|_| Identity::of(CWD, &self.path));
        let open = Identity::of(&self.file, Path::new(""));
        match (open, at_path) {
            (Ok(open), Ok(at_path)) if open == at_path && open.links > 0 => Ok(()),
            (Ok(_), Ok(_)) => Err(IdentityError::Lost(format!("`{name}` was replaced"))),
            (_, Err(error)) if is_loss(&error) => {
                Err(IdentityError::Lost(format!("`{name}` was moved or removed: {error}")))
            }
            (Err(error), _) if is_loss(&error) => Err(IdentityError::Lost(format!("`{name}` was removed: {error}"))),
            (Err(error), _) | (_, Err(error)) => Err(IdentityError::Unknown(error)),
        }
    }

    /// The bytes that the last holder wrote, however many there are.
    ///
    /// # Errors
    ///
    /// [`LockError`] if the file cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<u8>, LockError> {
        let mut bytes = vec![0; LENGTH];
        let length = self.file.read_at(&mut bytes, 0).map_err(|source| self.error(source))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Replaces the record, durably.
    ///
    /// # Errors
    ///
    /// Those of `pwrite` and `fdatasync`.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        self.file.write_all_at(&record.encode(), 0)?;
        self.file.sync_data()
    }

    /// Whether the directory holds anything but files of guard.
    ///
    /// # Errors
    ///
    /// [`LockError`] if the directory cannot be listed.
    pub(crate) fn is_beside_data(&self) -> Result<bool, LockError> {
        let is_data = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| !entry.file_name().to_string_lossy().starts_with(PREFIX))
        };
        let found = fs::read_dir(&self.data_dir)
            .and_then(|mut entries| entries.try_fold(false, |any, entry| Ok(any || is_data(entry)?)));
        found.map_err(|source| LockError { path: self.data_dir.clone(), source })
    }

    pub(crate) fn error(&self, source: io::Error) -> LockError {
        LockError { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_waits_for_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (LockFile::open(directory.path()).unwrap(), LockFile::open(directory.path()).unwrap());
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn moved_removed_or_replaced_lock_file_is_lost() {
        let change = |what: fn(&Path)| {
            let directory = tempfile::tempdir().unwrap();
            let lock = LockFile::open(directory.path()).unwrap();
            lock.check_identity().unwrap();
            what(&directory.path().join(NAME));
            match lock.check_identity() {
                Err(IdentityError::Lost(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(change(|path| fs::remove_file(path).unwrap()).contains("moved or removed"));
        assert!(change(|path| fs::rename(path, path.with_extension("old")).unwrap()).contains("moved or removed"));
        assert!(change(|path| fs::remove_dir_all(path.parent().unwrap()).unwrap()).contains("moved or removed"));
        let replaced = |path: &Path| {
            fs::write(path.with_extension("new"), "").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        };
        assert!(change(replaced).contains("was replaced"));
    }

    #[test]
    fn files_of_guard_are_not_data() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::open(directory.path()).unwrap();
        fs::write(directory.path().join(".guard.version"), "").unwrap();
        assert!(!lock.is_beside_data().unwrap());
        fs::create_dir(directory.path().join("index")).unwrap();
        assert!(lock.is_beside_data().unwrap());
    }

    #[test]
    fn missing_directory_is_named() {
        let error = LockFile::open(Path::new("/nowhere/data")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/data/.guard.lock") && error.contains("No such file"), "{error}");
    }
}
