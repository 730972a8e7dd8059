//! The certificate authority of a secret for a program that does nothing else meanwhile.

use time::OffsetDateTime;

use super::document::Document;
use super::error::CaError;
use crate::plan::NewAuthority;

/// [`super::obtain()`] from the secret with this name or ARN, with the credentials and the region of the environment. Ends
/// within two minutes, whatever AWS does: an ECS task has so long to start (`startTimeout`).
///
/// # Errors
///
/// [`CaError`]; [`CaError::WithoutAws`] if certgen was built without the feature `aws`.
pub fn obtain_from_secret(id: &str, new: NewAuthority, now: OffsetDateTime) -> Result<Document, CaError> {
    #[cfg(feature = "aws")]
    return with_aws::obtain(id, new, now);
    #[cfg(not(feature = "aws"))]
    {
        let _ = (id, new, now);
        Err(CaError::WithoutAws)
    }
}

/// The same without writing anything: if the secret is absent or empty, an authority like the one that would be made.
///
/// # Errors
///
/// As [`obtain_from_secret`].
pub fn look_into_secret(id: &str, new: NewAuthority, now: OffsetDateTime) -> Result<Document, CaError> {
    #[cfg(feature = "aws")]
    return with_aws::look(id, new, now);
    #[cfg(not(feature = "aws"))]
    {
        let _ = (id, new, now);
        Err(CaError::WithoutAws)
    }
}

#[cfg(feature = "aws")]
mod with_aws {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{CaError, Document, NewAuthority, OffsetDateTime};
    use crate::aws::{Secret, block_on, configuration};
    use crate::ca::obtain::obtain as obtain_from;
    use crate::ca::rotate::read;

    /// Pauses end then.
    const TIME: Duration = Duration::from_mins(1);
    /// Calls that are slow, and answered all the same, end then.
    const LONGEST: Duration = Duration::from_secs(110);

    pub(super) fn obtain(id: &str, new: NewAuthority, now: OffsetDateTime) -> Result<Document, CaError> {
        with_secret(id, async |secret| obtain_from(&secret, new, now).await)
    }

    pub(super) fn look(id: &str, new: NewAuthority, now: OffsetDateTime) -> Result<Document, CaError> {
        match with_secret(id, async |secret| read(&secret).await) {
            Err(CaError::NoAuthority) => Document::new(new, now).map_err(CaError::Make),
            found => found,
        }
    }

    fn with_secret(id: &str, work: impl AsyncFnOnce(Secret) -> Result<Document, CaError>) -> Result<Document, CaError> {
        let done = block_on(async {
            let all = async {
                let configuration = configuration().await.map_err(CaError::store("set up AWS"))?;
                work(Secret::new(&configuration, id, TIME)).await
            };
            timeout(LONGEST, all).await.unwrap_or(Err(CaError::NotVisible))
        });
        done.map_err(CaError::Runtime)?
    }
}
