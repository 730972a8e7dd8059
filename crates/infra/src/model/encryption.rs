//! Which key encrypts something.

use super::{Deployment, FileSystem, Vault};
use crate::values::KeyArn;

/// Who keeps the key that encrypts something at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// AWS, with the account's key for the service.
    Aws,
    /// The deployment, in its one key.
    Own,
    /// Somebody else in the account.
    Existing(KeyArn),
}

impl Encryption {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "aws" => Ok(Self::Aws),
            "own" => Ok(Self::Own),
            arn => KeyArn::parse(arn).map(Self::Existing).map_err(|message| format!("{message}; or aws, or own")),
        }
    }
}

impl Deployment {
    /// Keys of what infra makes: of the file system, the vault and the logs. That of the secrets is of [`Secured`](super::Secured).
    pub(crate) fn encrypted_besides_secrets(&self) -> impl Iterator<Item = &Encryption> {
        let config = self.config();
        let file_system = match &config.data.file_system {
            FileSystem::New(new) => Some(&new.encryption),
            FileSystem::Existing { .. } => None,
        };
        let vault = config.backup.as_ref().and_then(|backup| match &backup.vault {
            Vault::New { encryption, .. } => Some(encryption),
            Vault::Existing(_) => None,
        });
        [file_system, vault, Some(&config.logs.encryption)].into_iter().flatten()
    }
}
