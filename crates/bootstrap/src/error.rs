//! What can be in the way, how it is said, and with which exit code a program that cannot wait for it ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::password::NoRandomness;
use crate::ports::{AwsError, AwsErrorKind, ServerError};
use crate::secret::NotCredentials;
use crate::trust::TrustError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates of the task cannot be used.
    #[error("the certificates in `{certs}` cannot be used")]
    Trust {
        /// The directory given with `--certs`.
        certs: PathBuf,
        /// What is wrong with them.
        #[source]
        source: TrustError,
    },
    /// The server was not ready before the deadline.
    #[error("the server at {address} was not ready within {seconds} s: {last}")]
    NotReady {
        /// Its address.
        address: String,
        /// How long it was waited for, in seconds.
        seconds: u64,
        /// What it said last.
        last: String,
    },
    /// The server shows a certificate of somebody else.
    #[error("the server at {address} is not trusted")]
    Untrusted {
        /// Its address.
        address: String,
        /// What was refused.
        #[source]
        source: ServerError,
    },
    /// A secret holds something else than credentials.
    #[error("the secret `{secret}` does not hold the credentials of `{user}`")]
    NotCredentials {
        /// The secret's name or ARN.
        secret: String,
        /// The user it was given for.
        user: String,
        /// What it holds instead.
        #[source]
        source: NotCredentials,
    },
    /// There is no secret to rotate.
    #[error("there is no secret `{secret}` for `{user}`")]
    NoSecret {
        /// The user.
        user: String,
        /// The secret's name or ARN.
        secret: String,
    },
    /// Another change of the secret is under way.
    #[error("another change of the secret `{secret}` of `{user}` is under way")]
    Busy {
        /// The user.
        user: String,
        /// The secret's name or ARN.
        secret: String,
    },
    /// No known password opens the database.
    #[error(
        "no version of the secret `{secret}`, and not the factory default, logs `{user}` in at {address} within {seconds} s"
    )]
    LockedOut {
        /// The secret's name or ARN.
        secret: String,
        /// The user.
        user: String,
        /// The server's address.
        address: String,
        /// How long it was tried, in seconds.
        seconds: u64,
    },
    /// The credentials were not in order before the deadline.
    #[error("the credentials of `{user}` were not in order within {seconds} s: {last}")]
    NotConverged {
        /// The user.
        user: String,
        /// How long it was tried, in seconds.
        seconds: u64,
        /// What stood in the way last.
        last: String,
    },
    /// An AWS call failed for good, or until the deadline.
    #[error("could not {action}")]
    Aws {
        /// What it was good for.
        action: &'static str,
        /// What AWS said.
        #[source]
        source: AwsError,
    },
    /// The task does not know its own address or ARN.
    #[error("could not learn this task's address and ARN from `{uri}`: {reason}")]
    Metadata {
        /// The metadata endpoint.
        uri: String,
        /// What went wrong.
        reason: String,
    },
    /// A system facility that is always there was not.
    #[error("could not {action}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// See [`NoRandomness`].
    #[error(transparent)]
    NoRandomness(NoRandomness),
}

impl Error {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Trust { .. } => Some("certgen writes them; is its volume mounted here, and did it end with 0?"),
            Self::NotReady { .. } => {
                Some("read the log of the eventstore container; a large database may need a longer --ready-timeout")
            }
            Self::Untrusted { .. } => Some(
                "the server must run with the certificates that certgen wrote to --certs, and these must contain --server-name",
            ),
            Self::NotCredentials { .. } => Some(
                "store {\"username\": …, \"password\": …} with the password that the database has, or name another secret; nothing was overwritten",
            ),
            Self::LockedOut { .. } => Some(
                "put the password that the database has into the secret as a new version; no node is registered before it opens the database",
            ),
            Self::NoSecret { .. } => Some("name an existing secret; in a new deployment the first sidecar creates it"),
            Self::Busy { .. } => Some("the leader's sidecar finishes it at its next poll; ask again after that"),
            Self::NotConverged { .. } => {
                Some("no node is registered before its credentials are in order; bootstrap goes on where it was")
            }
            Self::Aws { source, .. } => source.hint(),
            Self::Metadata { .. } => Some("outside of ECS, give --address and --task-arn"),
            Self::System { .. } | Self::NoRandomness(_) => None,
        }
    }

    /// The code the program ends with; see the crate's documentation. A sidecar that runs ends with none of these: it tells
    /// what is wrong and tries again.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Busy { .. } | Self::NotReady { .. } | Self::NotConverged { .. } | Self::Metadata { .. } => 69,
            Self::System { .. } | Self::NoRandomness(_) => 70,
            Self::LockedOut { .. } => 77,
            Self::NotCredentials { .. } | Self::NoSecret { .. } | Self::Trust { .. } | Self::Untrusted { .. } => 78,
            Self::Aws { source, .. } => match source.kind {
                AwsErrorKind::Unavailable | AwsErrorKind::Changed => 69,
                AwsErrorKind::Denied => 77,
                AwsErrorKind::Invalid => 78,
            },
        })
    }

    /// The error with its causes, and with its hint or what is done about it without one, on one line.
    pub(crate) fn with_hint(&self, otherwise: &str) -> String {
        format!("{} ({})", self.one_line(), self.hint().unwrap_or(otherwise))
    }

    /// The error and its causes on one line.
    pub fn one_line(&self) -> String {
        certgen::one_line(self)
    }
}
