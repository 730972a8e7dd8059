//! What can go wrong, how it is said, and with which code the program ends.

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fmt, io};

use crate::issue::IssueError;
use crate::publish::PublishError;

/// Why no certificate was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program to install as `guard` could not be read.
    #[error("could not read `{path}`, the program to install as guard")]
    ReadGuard {
        /// The path given with `--guard`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A key could not be made or a certificate not signed.
    #[error("could not issue the certificate")]
    Issue(#[source] IssueError),
    /// The volume did not take the files.
    #[error("could not publish in `{out}`")]
    Publish {
        /// The directory given with `--out`, or the one given with `--ca-state`.
        out: PathBuf,
        /// Which step failed.
        #[source]
        source: PublishError,
    },
}

impl Error {
    /// What the operator can do about it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ReadGuard { .. } => {
                Some("in the certgen image the program is at /guard; leave --guard out to install none")
            }
            Self::Issue(source) => source.hint(),
            Self::Publish { source, .. } => source.hint(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::ReadGuard { .. } => 74,
            Self::Issue(source) => source.exit_code(),
            Self::Publish { source, .. } => source.exit_code(),
        }
    }

    /// Prints the chain of causes on one line, then the remedy, and gives the program's exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", OneLine(self));
        if let Some(hint) = self.hint() {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.exit_code())
    }
}

struct OneLine<'a>(&'a Error);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
