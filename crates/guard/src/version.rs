//! Which server versions opened a data directory.
//!
//! Before guard starts a server it records the server's version in the directory, durably. It refuses a version that is not declared to
//! open what the recorded ones wrote: CloudFormation rolls a failed stack back to the old task definition on every node, and nothing
//! else stands between an old server and data that a newer one has changed.
//!
//! Two versions are recorded. `last` opened the data last, `newest` is the newest that ever did: 26.0 → 24.10 → 22.10 is refused at
//! its last step unless 22.10 is declared to open data of 26.0 as well, because 24.10 does not undo what 26.0 changed.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::files;

const FILE: &str = ".guard.version";
const FORMAT: &str = "guard1";

/// Year and month of a server's release, for example 24.10. Patch levels share their data format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u16,
    minor: u16,
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| match text.parse() {
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(()),
        };
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A server's version, and the other versions whose data it is declared to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerVersion {
    pub(crate) version: Version,
    pub(crate) opens: Vec<Version>,
}

/// What `.guard.version` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionRecord {
    last: Version,
    newest: Version,
}

/// Why a server may not open the directory.
#[derive(Debug)]
pub(crate) enum VersionError {
    /// The record cannot be read or written.
    Io(&'static str, PathBuf, io::Error),
    /// The record is not one of guard's.
    Damaged(PathBuf),
    /// The directory has a record, and the version of the server is not known.
    Unknown(PathBuf, VersionRecord),
    /// The server is not declared to open data of a recorded version.
    Undeclared(PathBuf, ServerVersion, VersionRecord),
}

impl VersionError {
    /// What an operator can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Io(..) => None,
            Self::Damaged(path) => Some(format!(
                "find out which server version opened the data last, and remove `{}` only if this server may follow it",
                path.display()
            )),
            Self::Unknown(..) => {
                Some("set --server-version or GUARD_SERVER_VERSION to the version of the server's image".to_owned())
            }
            Self::Undeclared(_, server, record) => Some(format!(
                "deploy a server of {} again, or restore a recovery point from before it. If {} is known to open this data, declare it: \
                 server.upgrade_from in eventstore.toml, or --opens-data-of",
                record.newest, server.version
            )),
        }
    }

    /// Whether the server was refused, rather than the record unreadable.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Io(..))
    }
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, path, source) => write!(f, "could not {what} `{}`: {source}", path.display()),
            Self::Damaged(path) => write!(f, "`{}` is not a record of server versions", path.display()),
            Self::Unknown(path, record) => {
                write!(
                    f,
                    "the version of the server is required: the data was opened by {record} (`{}`)",
                    path.display()
                )
            }
            Self::Undeclared(path, server, record) => {
                write!(
                    f,
                    "server version {} is not declared to open data of {record} (`{}`); the data is unchanged",
                    server.version,
                    path.display()
                )
            }
        }
    }
}

impl fmt::Display for VersionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, newest } = self;
        if last == newest { write!(f, "{last}") } else { write!(f, "{newest} and last of {last}") }
    }
}

impl VersionRecord {
    /// Reads the record of a directory; none if no version was ever recorded.
    ///
    /// # Errors
    ///
    /// [`VersionError::Io`], [`VersionError::Damaged`].
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Self>, VersionError> {
        let path = data_dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or(VersionError::Damaged(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(VersionError::Damaged(path)),
            Err(error) => Err(VersionError::Io("read", path, error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let format = words.next()?;
        let mut version = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
        let record = Self { last: version("last")?, newest: version("newest")? };
        (format == FORMAT && words.next().is_none() && record.last <= record.newest).then_some(record)
    }

    fn to_text(self) -> String {
        format!("{FORMAT} last={} newest={}\n", self.last, self.newest)
    }
}

/// Refuses a server that is not declared to open what was recorded. Changes nothing.
///
/// # Errors
///
/// [`VersionError`].
pub(crate) fn check(data_dir: &Path, server: Option<&ServerVersion>) -> Result<(), VersionError> {
    let Some(record) = VersionRecord::read(data_dir)? else { return Ok(()) };
    let path = || data_dir.join(FILE);
    let Some(server) = server else { return Err(VersionError::Unknown(path(), record)) };
    let is_declared = |version: Version| version == server.version || server.opens.contains(&version);
    if is_declared(record.last) && is_declared(record.newest) {
        return Ok(());
    }
    Err(VersionError::Undeclared(path(), server.clone(), record))
}

/// Records that a server opens the directory, durably. Only with the lock held, and before the server starts.
///
/// # Errors
///
/// [`VersionError`]; the record is then the one from before.
pub(crate) fn record(data_dir: &Path, server: &ServerVersion) -> Result<(), VersionError> {
    let before = VersionRecord::read(data_dir)?;
    let last = server.version;
    let after = VersionRecord { last, newest: before.map_or(last, |before| before.newest.max(last)) };
    if before == Some(after) {
        return Ok(());
    }
    let path = data_dir.join(FILE);
    files::replace(&path, after.to_text().as_bytes()).map_err(|error| VersionError::Io("write", path, error))
}

/// Replaces the record by this server's version, or removes it if its version is not known: the directory was restored, and what a backup
/// holds of the record says nothing about who opened the restored data. Gives what was recorded.
///
/// # Errors
///
/// [`VersionError::Io`]; the record is then the one from before.
pub(crate) fn reset(data_dir: &Path, server: Option<&ServerVersion>) -> Result<Option<String>, VersionError> {
    let path = data_dir.join(FILE);
    let before = match VersionRecord::read(data_dir) {
        Ok(record) => record.map(|record| record.to_string()),
        Err(VersionError::Damaged(_)) => Some("unreadable".to_owned()),
        Err(error) => return Err(error),
    };
    let written = match server {
        Some(ServerVersion { version, .. }) => {
            let fresh = VersionRecord { last: *version, newest: *version };
            files::replace(&path, fresh.to_text().as_bytes())
        }
        None if before.is_none() => Ok(()),
        None => fs::remove_file(&path).and_then(|()| files::sync_directory(data_dir)),
    };
    written.map_err(|error| VersionError::Io("reset", path, error))?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, opens: &[&str]) -> ServerVersion {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        ServerVersion { version: parse(version), opens: opens.iter().map(|text| parse(text)).collect() }
    }

    #[test]
    fn versions_are_two_numbers() {
        assert!("24.10".parse::<Version>().unwrap() > "24.2".parse().unwrap());
        for text in ["", "24", "24.", ".10", "24.10.1", "v24.10", "+24.10", "24.10 "] {
            assert_eq!(text.parse::<Version>(), Err(()), "{text}");
        }
    }

    #[test]
    fn only_declared_versions_open_recorded_data() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let (old, new) = (server("24.10", &[]), server("26.0", &["24.10"]));
        check(data, None).unwrap();
        check(data, Some(&old)).unwrap();
        record(data, &old).unwrap();
        check(data, Some(&old)).unwrap();
        check(data, Some(&new)).unwrap();
        record(data, &new).unwrap();
        let error = check(data, Some(&old)).unwrap_err();
        assert!(
            error.is_refusal() && error.to_string().contains("24.10 is not declared to open data of 26.0"),
            "{error}"
        );
        assert!(error.hint().unwrap().starts_with("deploy a server of 26.0 again"), "{:?}", error.hint());
        let unknown = check(data, None).unwrap_err();
        assert!(unknown.is_refusal() && unknown.to_string().contains("26.0"), "{unknown}");
        check(data, Some(&server("24.10", &["26.0"]))).unwrap();
    }

    /// 24.10 does not undo what 26.0 changed.
    #[test]
    fn going_back_twice_needs_both_declarations() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        for server in [server("26.0", &[]), server("24.10", &["26.0"])] {
            check(data, Some(&server)).unwrap();
            record(data, &server).unwrap();
        }
        let error = check(data, Some(&server("22.10", &["24.10"]))).unwrap_err().to_string();
        assert!(error.contains("22.10 is not declared to open data of 26.0 and last of 24.10"), "{error}");
        check(data, Some(&server("26.1", &["26.0"]))).unwrap_err();
        check(data, Some(&server("26.0", &["24.10"]))).unwrap();
        check(data, Some(&server("22.10", &["24.10", "26.0"]))).unwrap();
    }

    #[test]
    fn damaged_record_is_a_refusal() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        for text in
            ["", "24.10\n", "guard1 last=24.10\n", "guard1 last=26.0 newest=24.10\n", "guard2 last=1.0 newest=1.0\n"]
        {
            fs::write(&path, text).unwrap();
            let error = check(data.path(), Some(&server("24.10", &[]))).unwrap_err();
            assert!(error.is_refusal() && error.hint().unwrap().contains(".guard.version"), "{text}: {error}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(check(data.path(), None).unwrap_err().is_refusal());
    }

    #[test]
    fn reset_replaces_any_record() {
        let data = tempfile::tempdir().unwrap();
        let old = server("24.10", &[]);
        assert_eq!(reset(data.path(), None).unwrap(), None);
        record(data.path(), &server("26.0", &[])).unwrap();
        assert_eq!(reset(data.path(), Some(&old)).unwrap().as_deref(), Some("26.0"));
        check(data.path(), Some(&old)).unwrap();
        fs::write(data.path().join(FILE), "x").unwrap();
        assert_eq!(reset(data.path(), None).unwrap().as_deref(), Some("unreadable"));
        check(data.path(), None).unwrap();
    }
}
