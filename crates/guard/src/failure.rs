//! Why guard ends without a server, with the exit code and the hint for an operator.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::fence::FenceError;
use crate::heartbeat::Loss;
use crate::lock::LockError;
use crate::restore::RestoreError;
use crate::version::VersionError;

/// The directory cannot be used (`EX_IOERR`).
const CANNOT_USE: u8 = 74;
/// The server may not open the data.
const REFUSED: u8 = 76;

/// Why guard ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The directory cannot be locked.
    Lock(LockError),
    /// The lock may be lost; a server that ran was killed.
    LockLost(PathBuf, Loss),
    /// What an earlier server may still write could not be kept away.
    Fence(FenceError),
    /// A restored directory cannot be prepared.
    Restore(RestoreError),
    /// The data is of another server version.
    Version(VersionError),
    /// The system refused something.
    System(io::Error),
}

impl Failure {
    /// What an operator can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Lock(error) => error.hint().map(str::to_owned),
            Self::Fence(error) => error.hint().map(str::to_owned),
            Self::Restore(error) => error.hint().map(str::to_owned),
            Self::Version(error) => error.hint(),
            Self::LockLost(..) | Self::System(_) => None,
        }
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Version(error) if error.is_refusal() => REFUSED,
            _ => CANNOT_USE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(f),
            Self::LockLost(data_dir, loss) => {
                write!(f, "the lock on `{}` may be lost, no server runs any more: {loss}", data_dir.display())
            }
            Self::Fence(error) => error.fmt(f),
            Self::Restore(error) => error.fmt(f),
            Self::Version(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

impl From<VersionError> for Failure {
    fn from(error: VersionError) -> Self {
        Self::Version(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
