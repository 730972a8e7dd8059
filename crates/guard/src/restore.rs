//! The step that a restored database needs before its server starts: `truncate.chk` becomes a copy of `chaser.chk`, so that the server
//! removes what was written but not finished when the backup was made (EventStoreDB documentation, "Restoring a database"). It is done
//! once for each recovery point: later the same step would remove what was written since. The recorded server versions are reset.
//!
//! The server then ends itself once with code 0, and guard starts it again as after any other such end.
//!
//! Each file is replaced durably by one rename, and the recovery point is recorded last. If guard is killed, the next guard does all of
//! it again, or nothing. A server never starts in between.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::files;

/// How far the server has read what it wrote.
const FROM: &str = "chaser.chk";
/// Where the server truncates its data at its next start.
const TO: &str = "truncate.chk";
/// The recovery point for which it was done.
const DONE: &str = ".guard.restored";

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
            "there is no database in the directory: check where the recovery point was restored to, or omit --restored for a \
             directory that starts empty",
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

/// Whether the directory has not been prepared for this recovery point yet.
///
/// # Errors
///
/// [`RestoreError`] if that cannot be read.
pub(crate) fn is_due(data_dir: &Path, recovery_point: &str) -> Result<bool, RestoreError> {
    let done = data_dir.join(DONE);
    match fs::read(&done) {
        // Another recovery point is one of an earlier restore, which was backed up with everything else.
        Ok(last) => Ok(last.strip_suffix(b"\n") != Some(recovery_point.as_bytes())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(source) => Err(RestoreError { what: "read", path: done, source }),
    }
}

/// Has the server truncate at `chaser.chk`. Only with the lock held; [`finish`] follows.
///
/// # Errors
///
/// [`RestoreError`] if a file cannot be read or replaced, for example because there is no database.
pub(crate) fn begin(data_dir: &Path) -> Result<(), RestoreError> {
    let from = data_dir.join(FROM);
    let checkpoint = fs::read(&from).map_err(|source| RestoreError { what: "read", path: from, source })?;
    replace(data_dir, TO, &checkpoint)
}

/// Records that the directory is prepared.
///
/// # Errors
///
/// [`RestoreError`] if the record cannot be written.
pub(crate) fn finish(data_dir: &Path, recovery_point: &str) -> Result<(), RestoreError> {
    replace(data_dir, DONE, format!("{recovery_point}\n").as_bytes())
}

fn replace(data_dir: &Path, name: &str, content: &[u8]) -> Result<(), RestoreError> {
    let path = data_dir.join(name);
    files::replace(&path, content).map_err(|source| RestoreError { what: "write", path, source })
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

    fn prepare(data_dir: &Path, recovery_point: &str) -> Result<bool, RestoreError> {
        let is_due = is_due(data_dir, recovery_point)?;
        if is_due {
            begin(data_dir)?;
            finish(data_dir, recovery_point)?;
        }
        Ok(is_due)
    }

    #[test]
    fn directory_is_prepared_once_for_each_recovery_point() {
        let data = tempfile::tempdir().unwrap();
        let chaser = data.path().join(FROM);
        fs::write(&chaser, [1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(prepare(data.path(), "one").unwrap());
        assert_eq!(fs::read(data.path().join(TO)).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0]);
        // The server has truncated and gone on.
        fs::remove_file(data.path().join(TO)).unwrap();
        fs::write(&chaser, [2, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(!prepare(data.path(), "one").unwrap());
        assert!(!data.path().join(TO).exists(), "what was written since would be removed");
        assert!(prepare(data.path(), "two").unwrap());
        assert_eq!(fs::read(data.path().join(TO)).unwrap(), [2, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Every state between two calls of a killed guard; what is left of temporary files is the fence's.
    #[test]
    fn interrupted_preparation_is_repeated() {
        let complete = tempfile::tempdir().unwrap();
        fs::write(complete.path().join(FROM), b"checkpoint").unwrap();
        prepare(complete.path(), "point").unwrap();
        let expected = files(complete.path());
        assert_eq!(expected.len(), 3, "nothing is left beside: {expected:?}");
        for left in [
            &[][..],
            &[(TO, &b"checkpoint"[..])],
            &[(TO, b"checkpoint"), (DONE, b"point\n")],
            // Torn by a file system that does not keep what was synced.
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
    fn directory_without_a_database_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let error = prepare(data.path(), "point").unwrap_err();
        assert!(error.to_string().contains(FROM) && error.hint().unwrap().contains("no database"), "{error}");
        assert_eq!(files(data.path()), [], "nothing is recorded");
        let error = prepare(&data.path().join("none"), "point").unwrap_err();
        assert!(error.to_string().contains("none/chaser.chk"), "{error}");
    }
}
