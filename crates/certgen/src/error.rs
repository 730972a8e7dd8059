//! What can go wrong, how it is said, and with which code the program ends.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fmt, io};

use crate::authority::AuthorityError;
use crate::ca::CaError;
use crate::issue::IssueError;
use crate::plan::{MetadataUri, Owner};
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
    /// The authority that was kept by an earlier run is not valid now.
    #[error("the stored certificate authority cannot sign now")]
    KeptAuthorityTime(#[source] AuthorityError),
    /// A key could not be made or a certificate not signed.
    #[error("could not issue the certificate")]
    Issue(#[source] IssueError),
    /// The files shall belong to somebody to whom this user cannot give them.
    #[error("--owner: `{owner}` is not who runs this, `{process}`, and only root can give files to somebody else")]
    Owner {
        /// Whom they shall belong to.
        owner: Owner,
        /// Who runs this.
        process: Owner,
    },
    /// ECS did not tell the task's address.
    #[error("could not learn the task's address from `{uri}` within 5 s: {reason}")]
    Metadata {
        /// What `ECS_CONTAINER_METADATA_URI_V4` says.
        uri: MetadataUri,
        /// The last reason.
        reason: String,
    },
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
            Self::KeptAuthorityTime(_) => Some(
                "look at this machine's clock; if it is right, remove ca.pem from the --ca-state directory: a new authority is made, which nobody trusts yet",
            ),
            Self::Issue(source) => source.hint(),
            Self::Owner { .. } => Some("run this as that user, as a container's user, or leave --owner out"),
            Self::Metadata { .. } => Some(
                "is this container on ECS? else unset the variable; --task-address off leaves the address out, names are enough for servers that advertise names",
            ),
            Self::Publish { source, .. } => source.hint(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::ReadAuthority { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::ReadGuard { .. } | Self::ReadAuthority { .. } => 74,
            Self::GivenAuthority { .. } | Self::KeptAuthority(_) | Self::KeptAuthorityTime(_) => 78,
            Self::SecretAuthority { source, .. } => source.exit_code(),
            Self::Issue(source) => source.exit_code(),
            Self::Owner { .. } => 77,
            Self::Metadata { .. } => 69,
            Self::Publish { source, .. } => source.exit_code(),
        }
    }
}

/// Everything that was in the way of one run; never empty.
#[derive(Debug)]
pub struct Errors(pub(crate) Vec<Error>);

impl Errors {
    /// Those that were collected, if any were.
    pub(crate) fn check(errors: Vec<Error>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    /// Prints each with its chain of causes on one line, then its remedy, and gives the program's exit code, which is that of
    /// the first.
    pub fn report(&self) -> ExitCode {
        for error in &self.0 {
            eprintln!("error: {}", one_line(error));
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
        }
        ExitCode::from(self.0.first().map_or(70, Error::exit_code))
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// The innermost cause. Of errors of HTTP libraries it is the one that says what happened ("connection refused"); the
/// outer ones say only that something did.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The error and its causes on one line.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
