//! What can go wrong, how it is said, and with which code the program ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fmt, io};

use crate::authority::AuthorityError;
use crate::ca::CaError;
use crate::issue::IssueError;
use crate::publish::PublishError;

/// A file of a given authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaFile {
    /// The one named with `--ca-certificate`.
    Certificate,
    /// The one named with `--ca-key`.
    Key,
}

impl fmt::Display for CaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

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
    /// A file of the given authority could not be read.
    #[error("could not read `{path}`, the {file} of the certificate authority")]
    ReadAuthority {
        /// Which of the two.
        file: CaFile,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the given authority does not hold what it should.
    #[error("could not use `{path}` as the {file} of the certificate authority")]
    GivenAuthority {
        /// Which of the two.
        file: CaFile,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: AuthorityError,
    },
    /// The authority in AWS Secrets Manager cannot be had.
    #[error("could not use the certificate authority in the secret `{id}`")]
    SecretAuthority {
        /// The secret's name or ARN.
        id: String,
        /// What is in the way.
        #[source]
        source: CaError,
    },
    /// The authority that was kept by an earlier run cannot be used.
    #[error("the stored certificate authority is damaged")]
    KeptAuthority(#[source] AuthorityError),
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
            Self::ReadAuthority { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("let the uid that this program runs as read the file")
            }
            Self::ReadAuthority { .. } => {
                Some("--ca-certificate and --ca-key name files in this container: an image or a volume must hold them")
            }
            Self::GivenAuthority { source, .. } => source.hint(),
            Self::SecretAuthority { source, .. } => source.hint(),
            Self::KeptAuthority(_) => {
                Some("remove ca.pem from the --ca-state directory: a new authority is made, which nobody trusts yet")
            }
            Self::Issue(source) => source.hint(),
            Self::Publish { source, .. } => source.hint(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::ReadAuthority { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::ReadGuard { .. } | Self::ReadAuthority { .. } => 74,
            Self::GivenAuthority { .. } | Self::KeptAuthority(_) => 78,
            Self::SecretAuthority { source, .. } => source.exit_code(),
            Self::Issue(source) => source.exit_code(),
            Self::Publish { source, .. } => source.exit_code(),
        }
    }

    /// Prints the chain of causes on one line, then the remedy, and gives the program's exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", one_line(self));
        if let Some(hint) = self.hint() {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.exit_code())
    }
}

/// The chain of causes on one line.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
