//! Which key encrypts something.

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
