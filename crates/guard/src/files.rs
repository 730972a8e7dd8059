//! Files of guard in the data directory, replaced durably.
//!
//! The name of a temporary file is never used twice and ends in [`TEMPORARY`]. On NFS a rename that a killed guard sent can still take
//! effect much later, and it needs its source: the fence of the next guard removes every file with such a name before it starts a
//! server, so a late rename fails with ENOENT.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the names of temporary files end, those of the server as well.
pub(crate) const TEMPORARY: &str = ".tmp";
const MODE: u32 = 0o600;

/// Creates a temporary file beside `path`.
///
/// # Errors
///
/// Those of `open`.
pub(crate) fn create_temporary(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(path.file_name().unwrap_or(OsStr::new("file")));
    // In a container the process id is always the same: the time tells two guards apart.
    name.push(format!(".{nanoseconds:x}-{}-{counter}.guard{TEMPORARY}", std::process::id()));
    let temporary = path.with_file_name(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    Ok((temporary, file))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Replaces a file: afterwards it holds all of `content`, durably, or what it held before.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = create_temporary(path, MODE)?;
    let replaced = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The file system may be gone; the fence of the next guard removes what stays.
        let _ = fs::remove_file(&temporary);
    }
    replaced?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".guard.test");
        for content in [&b"one"[..], b"two"] {
            replace(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("none/file"), b"").is_err());
    }

    #[test]
    fn temporary_names_are_unique_and_recognised() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("writer.chk");
        let names: Vec<_> = (0..100).map(|_| create_temporary(&path, MODE).unwrap().0).collect();
        assert!(names.iter().all(|name| name.to_string_lossy().ends_with(TEMPORARY)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), names.len());
    }
}
