//! The step that a restored database needs before its server starts: `truncate.chk` becomes what `chaser.chk` is, so that the
//! server cuts off what was written but not finished when the copy was made (EventStoreDB, "Restore a
//! database"; production-review row 19). Once for each recovery point: later the same step would cut off what was written since.
//!
//! The server then ends itself once with code 0 (observed §9), and guard starts it again like any other that does.
//!
//! Everything is made beside its place, made durable, and becomes visible by one rename; that it was done is remembered last.
//! Whenever guard is killed, the next one does all of it again, or nothing. A server never starts in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How far the server has read what it wrote.
const FROM: &str = "chaser.chk";
/// Where the server cuts off at its next start.
const TO: &str = "truncate.chk";
/// The recovery point for which it was done.
const DONE: &str = ".guard.restored";
const MODE: u32 = 0o600;

/// What could not be done to which file.
#[derive(Debug)]
pub(crate) struct RestoreError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl RestoreError {
    /// What the operator can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let missing = self.source.kind() == ErrorKind::NotFound && self.path.ends_with(FROM);
        missing.then_some(
            "there is no database in the directory: look where the recovery point was restored to, or leave --restored away \
             for a directory that is to begin empty",
        )
    }
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "could not {} `{}`: {}", self.what, self.path.display(), self.source)
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Prepares the directory, if it was not for this recovery point; tells whether. Only with the lock held.
pub(crate) fn prepare(data_dir: &Path, recovery_point: &str) -> Result<bool, RestoreError> {
    let done = data_dir.join(DONE);
    match fs::read(&done) {
        Ok(last) if last.strip_suffix(b"\n") == Some(recovery_point.as_bytes()) => return Ok(false),
        // Of a restore before this one, which was backed up with everything else.
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(RestoreError { what: "read", path: done, source }),
    }
    let from = data_dir.join(FROM);
    let checkpoint = fs::read(&from).map_err(|source| RestoreError { what: "read", path: from, source })?;
    replace(data_dir, TO, &checkpoint)?;
    replace(data_dir, DONE, format!("{recovery_point}\n").as_bytes())?;
    Ok(true)
}

/// All of it, durably, or nothing.
fn replace(directory: &Path, name: &str, content: &[u8]) -> Result<(), RestoreError> {
    let path = directory.join(name);
    let new = directory.join(format!("{}.guard-new", name.trim_start_matches('.')));
    let write = || {
        // Left by a guard that was killed.
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| RestoreError { what: "write", path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn it_is_done_once_for_each_recovery_point() {
        let data = tempfile::tempdir().unwrap();
        let chaser = data.path().join(FROM);
        fs::write(&chaser, [1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(prepare(data.path(), "one").unwrap());
        assert_eq!(fs::read(data.path().join(TO)).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0]);
        // The server has cut off and gone on.
        fs::remove_file(data.path().join(TO)).unwrap();
        fs::write(&chaser, [2, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(!prepare(data.path(), "one").unwrap());
        assert!(!data.path().join(TO).exists(), "what was written since would be cut off");
        assert!(prepare(data.path(), "two").unwrap());
        assert_eq!(fs::read(data.path().join(TO)).unwrap(), [2, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Every state that a guard can leave which is killed between two of its calls.
    #[test]
    fn whatever_a_killed_guard_has_left_the_next_one_ends_in_the_same() {
        let complete = tempfile::tempdir().unwrap();
        fs::write(complete.path().join(FROM), b"checkpoint").unwrap();
        prepare(complete.path(), "point").unwrap();
        let expected = files(complete.path());
        assert_eq!(expected.len(), 3, "nothing is left beside: {expected:?}");
        for left in [
            &[][..],
            &[("truncate.chk.guard-new", &b""[..])],
            &[("truncate.chk.guard-new", b"check")],
            &[("truncate.chk.guard-new", b"checkpoint")],
            &[(TO, b"checkpoint")],
            &[(TO, b"checkpoint"), ("guard.restored.guard-new", b"po")],
            &[(TO, b"checkpoint"), ("guard.restored.guard-new", b"point\n")],
            &[(TO, b"checkpoint"), (DONE, b"point\n")],
            // Torn by a file system that does not keep its promises.
            &[(TO, b"checkpoint"), (DONE, b"")],
        ] {
            let data = tempfile::tempdir().unwrap();
            fs::write(data.path().join(FROM), b"checkpoint").unwrap();
            for (name, content) in left {
                fs::write(data.path().join(name), content).unwrap();
            }
            prepare(data.path(), "point").unwrap();
            assert_eq!(files(data.path()), expected, "{left:?}");
        }
    }

    #[test]
    fn a_directory_without_a_database_is_one_clear_mistake() {
        let data = tempfile::tempdir().unwrap();
        let error = prepare(data.path(), "point").unwrap_err();
        assert!(error.to_string().contains(FROM) && error.hint().unwrap().contains("no database"), "{error}");
        assert_eq!(files(data.path()), [], "nothing is remembered of it");
        let error = prepare(&data.path().join("none"), "point").unwrap_err();
        assert!(error.to_string().contains("none/chaser.chk"), "{error}");
    }
}
