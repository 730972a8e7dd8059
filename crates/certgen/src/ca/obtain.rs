//! However many tasks start at once, and whether the secret is absent or empty: they agree on one authority.
//!
//! The first writer wins, and everybody uses what is read, never what was sent. An absent secret is created with its value,
//! which only one can do. An empty one has a slot for its first version, whose id everybody derives from the ARN, and AWS
//! keeps the first value that is stored under an id. Nothing that anybody wrote loses its label, but for an empty object.

use time::OffsetDateTime;

use super::document::{Contents, Document};
use super::error::CaError;
use super::store::{Current, Pauses, Store, StoreErrorKind, VersionId, slot};
use crate::plan::NewAuthority;

/// What came of one look.
enum Look {
    Found(Box<Document>, Current),
    /// Something was written, or somebody else was faster.
    Again,
}

/// The certificate authority of the secret; a new one like `new`, valid from `now` on, if the secret is absent or empty.
///
/// A secret without any value, and one whose value is blank or the JSON object `{}`, is empty. Safe to run again, and to be
/// killed, at any moment.
///
/// # Errors
///
/// [`CaError`] says what is in the way. Then nothing of what was found has been changed.
pub async fn obtain(store: &impl Store, new: NewAuthority, now: OffsetDateTime) -> Result<Document, CaError> {
    let mut pauses = Pauses::default();
    let mut made = None;
    loop {
        let passing = match look(store, &mut made, new, now).await {
            Ok(Look::Found(document, current)) => {
                if made.is_some() {
                    tidy(store, &current).await;
                }
                return Ok(*document);
            }
            Ok(Look::Again) => CaError::NotVisible,
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        if !pauses.next(store).await {
            return Err(passing);
        }
    }
}

async fn look(
    store: &impl Store,
    made: &mut Option<Document>,
    new: NewAuthority,
    now: OffsetDateTime,
) -> Result<Look, CaError> {
    const READ: &str = "read the certificate authority";
    const KEEP: &str = "store a new certificate authority";
    let (arn, current) = match store.current().await.map_err(CaError::store(READ))? {
        Some(current) => match Document::read(&current.text).map_err(CaError::Contents)? {
            Contents::Authority(document) => return Ok(Look::Found(document, current)),
            Contents::Empty => (Some(current.arn), Some(current.version)),
        },
        None => match store.described().await.map_err(CaError::store(READ))? {
            // The value was not seen a moment ago.
            Some(described) if described.has_current => return Ok(Look::Again),
            found => (found.map(|found| found.arn), None),
        },
    };
    // Made once: who looks again stores the same.
    let document = match made {
        Some(document) => document,
        None => made.insert(Document::new(new, now).map_err(CaError::Make)?),
    };
    let Some(arn) = arn else {
        store
            .create(&document.to_text())
            .await
            .map_err(CaError::store("create the secret of the certificate authority"))?;
        return Ok(Look::Again);
    };
    let first = slot(&arn, current.as_ref());
    match store.version(&first).await.map_err(CaError::store(READ))? {
        None => store.put(&first, &document.to_text()).await.map_err(CaError::store(KEEP))?,
        Some(stored) => match Document::read(&stored).map_err(CaError::Contents)? {
            Contents::Authority(_) => promote(store, current.as_ref(), &first).await?,
            Contents::Empty => return Err(CaError::slot(&first, super::Phase::Steady)),
        },
    }
    Ok(Look::Again)
}

/// Moves `AWSCURRENT`, unless somebody else has.
pub(super) async fn promote(store: &impl Store, from: Option<&VersionId>, to: &VersionId) -> Result<(), CaError> {
    match store.promote(from, to).await {
        Err(error) if error.kind != StoreErrorKind::Changed => {
            Err(CaError::store("make the new version the current one")(error))
        }
        _ => Ok(()),
    }
}

/// The label of a version that is current is of no use to anybody; if it stays, the next version takes it.
pub(super) async fn tidy(store: &impl Store, current: &Current) {
    if current.is_pending {
        let _ = store.drop_pending(&current.version).await;
    }
}
