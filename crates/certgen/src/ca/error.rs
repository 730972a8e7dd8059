//! Why there is no certificate authority, and what the operator can do about it.

use std::io;

use super::document::{ContentsError, DocumentError, Phase};
use super::store::{StoreError, StoreErrorKind, VersionId};
use crate::authority::AuthorityError;

/// Why the certificate authority of a secret could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A call was refused, or not answered until the time was over.
    #[error("could not {action}")]
    Store {
        /// What was being done.
        action: &'static str,
        /// What came back.
        #[source]
        source: StoreError,
    },
    /// What was written is not seen by whoever reads it, or calls are too slow, until the time was over.
    #[error("Secrets Manager did not answer in time, or did not show what was written to the secret")]
    NotVisible,
    /// There is nothing to rotate.
    #[error("the secret holds no certificate authority yet")]
    NoAuthority,
    /// The value is something else.
    #[error("the secret cannot be used")]
    Contents(#[source] ContentsError),
    /// Somebody stored something else where the next version belongs.
    #[error(
        "version {version} of the secret is where the next one belongs, and it is not what follows the phase {phase}"
    )]
    Slot {
        /// The version.
        version: String,
        /// The phase of the current version.
        phase: Phase,
    },
    /// The root that signs cannot sign now.
    #[error("the certificate authority cannot sign")]
    Authority(#[source] AuthorityError),
    /// This certgen cannot speak to AWS.
    #[error("this certgen was built without AWS")]
    WithoutAws,
    /// The system did not give what calls over the network need; not expected to happen.
    #[error("calls to AWS cannot be made")]
    Runtime(#[source] io::Error),
    /// A new one could not be made; not expected to happen.
    #[error("no new certificate authority could be made")]
    Make(#[source] DocumentError),
}

impl CaError {
    /// For `map_err`.
    pub(super) fn store(action: &'static str) -> impl Fn(StoreError) -> Self {
        move |source| Self::Store { action, source }
    }

    pub(super) fn slot(version: &VersionId, phase: Phase) -> Self {
        Self::Slot { version: version.0.clone(), phase }
    }

    /// Whether looking again may help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.kind == StoreErrorKind::Unavailable)
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store { source, .. } => match source.kind {
                StoreErrorKind::Denied => Some(
                    "allow the role secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and UpdateSecretVersionStage of \
                     this secret, and CreateSecret if certgen is to create it; `certgen ca` also servicediscovery:ListInstances and \
                     GetSecretValue of the users' secrets; and kms:Decrypt and kms:GenerateDataKey if the key is your own",
                ),
                StoreErrorKind::Deleted => Some(
                    "`aws secretsmanager restore-secret` brings it back with its authority; a new one would be trusted by nobody",
                ),
                StoreErrorKind::Missing => {
                    Some("create the secret, empty, or give a name instead of an ARN: certgen then creates it")
                }
                StoreErrorKind::Encryption => Some(
                    "allow the role kms:Decrypt and kms:GenerateDataKey of the secret's key, and look whether the key is enabled",
                ),
                StoreErrorKind::Unavailable => Some(
                    "Secrets Manager did not answer or limits its callers: look at the subnet's route or VPC endpoint, then run again",
                ),
                StoreErrorKind::Changed => Some("somebody else changes the secret: run again"),
                StoreErrorKind::Refused => None,
            },
            Self::NotVisible => Some("run again"),
            Self::NoAuthority => Some("the first `certgen --ca-source secret` makes one"),
            Self::Contents(source) => Some(source.hint()),
            Self::Slot { .. } => Some(
                "somebody else writes to this secret; take AWSPENDING and AWSCURRENT off versions that are not certgen's, and give \
                 the secret to nobody else",
            ),
            Self::Authority(AuthorityError::Expired(_)) => {
                Some("`certgen ca rotate` brings a new root; or look at this machine's clock")
            }
            Self::Authority(_) => Some("look at this machine's clock"),
            Self::WithoutAws => Some("use a certgen with the feature `aws`, or --ca-source files"),
            Self::Make(_) | Self::Runtime(_) => None,
        }
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store { source, .. } => match source.kind {
                StoreErrorKind::Unavailable | StoreErrorKind::Changed => 69,
                StoreErrorKind::Denied => 77,
                StoreErrorKind::Encryption
                | StoreErrorKind::Deleted
                | StoreErrorKind::Missing
                | StoreErrorKind::Refused => 78,
            },
            Self::NotVisible => 69,
            Self::NoAuthority | Self::Contents(_) | Self::Slot { .. } | Self::Authority(_) | Self::WithoutAws => 78,
            Self::Make(_) | Self::Runtime(_) => 70,
        }
    }
}
