//! Takes a rotation one phase further, safe to be killed at any call and to run in two places at once.
//!
//! The next version goes into the slot of the current one with the label `AWSPENDING`, and counts only once `AWSCURRENT` has
//! moved to it from the version that was looked at. Whoever comes later finds the slot filled and moves the label.

use time::OffsetDateTime;

use super::document::{Contents, Document, Phase};
use super::error::CaError;
use super::obtain::{promote, tidy};
use super::rotation::{Blocker, Evidence, Next, next};
use super::store::{Current, Pauses, Store, VersionId, slot};
use crate::plan::Validity;

/// Whether a rotation may be begun, or only one that is under way taken further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With a new root that is valid for this time.
    Yes(Validity),
    /// No.
    No,
}

/// What came of it. The document is the current one now.
#[derive(Debug)]
pub enum Outcome {
    /// It has come from a phase to the next, by this call or by somebody else's at the same time.
    Advanced {
        /// The phase before.
        from: Phase,
        /// What holds now.
        document: Box<Document>,
    },
    /// The phase is not over.
    Blocked {
        /// What holds.
        document: Box<Document>,
        /// What is missing, each by name.
        by: Vec<Blocker>,
    },
    /// No rotation is under way, and none was to begin.
    Steady(Box<Document>),
}

/// The document of the secret, without making one.
///
/// # Errors
///
/// [`CaError::NoAuthority`] if there is none; else what is in the way.
pub async fn read(store: &impl Store) -> Result<Document, CaError> {
    let mut pauses = Pauses::default();
    loop {
        match look(store).await {
            Err(error) if error.is_passing() && pauses.next(store).await => {}
            other => return other.map(|(document, _)| document),
        }
    }
}

/// Takes the rotation one phase further if `evidence`, seen at the time `now`, says that the current one is over.
///
/// # Errors
///
/// [`CaError`]: nothing was changed, or what was begun is finished by the next call.
pub async fn advance(
    store: &impl Store,
    evidence: &Evidence,
    begin: Begin,
    now: OffsetDateTime,
) -> Result<Outcome, CaError> {
    let mut pauses = Pauses::default();
    let mut plan = None;
    loop {
        let passing = match step(store, evidence, begin, now, &mut plan).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => CaError::NotVisible,
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        if !pauses.next(store).await {
            return Err(passing);
        }
    }
}

const READ: &str = "read the certificate authority";

async fn look(store: &impl Store) -> Result<(Document, Current), CaError> {
    let current = store.current().await.map_err(CaError::store(READ))?.ok_or(CaError::NoAuthority)?;
    match Document::read(&current.text).map_err(CaError::Contents)? {
        Contents::Authority(document) => Ok((*document, current)),
        Contents::Empty => Err(CaError::NoAuthority),
    }
}

/// What a call set out to do.
struct Plan {
    /// The version that was current.
    version: VersionId,
    before: Document,
    /// What it would put into the slot of that version.
    following: Document,
}

async fn step(
    store: &impl Store,
    evidence: &Evidence,
    begin: Begin,
    now: OffsetDateTime,
    plan: &mut Option<Plan>,
) -> Result<Option<Outcome>, CaError> {
    let (document, current) = look(store).await?;
    if let Some(Plan { version, before, .. }) = plan
        && current.version == slot(&current.arn, Some(version))
    {
        tidy(store, &current).await;
        return Ok(Some(Outcome::Advanced { from: before.phase(), document: Box::new(document) }));
    }
    // Another version than before is one of a late reader, or somebody else has gone on: it is looked at as if for the first
    // time.
    let plan = match plan {
        Some(plan) if plan.version == current.version => &*plan,
        _ => {
            let following = match (next(&document, evidence, now), begin) {
                (Next::Blocked(by), _) => return Ok(Some(Outcome::Blocked { document: Box::new(document), by })),
                (Next::MayBegin, Begin::No) => return Ok(Some(Outcome::Steady(Box::new(document)))),
                (Next::MayBegin, Begin::Yes(validity)) => {
                    document.trusting_a_new_root(validity, now).map_err(CaError::Make)?
                }
                (Next::Advance(following), _) => *following,
            };
            plan.insert(Plan { version: current.version.clone(), before: document, following })
        }
    };
    let slot = slot(&current.arn, Some(&current.version));
    match store.version(&slot).await.map_err(CaError::store(READ))? {
        None => store.put(&slot, &plan.following.to_text()).await.map_err(CaError::store("store the next version"))?,
        Some(stored) => match Document::read(&stored) {
            Ok(Contents::Authority(stored)) if plan.before.may_be_followed_by(&stored) => {
                promote(store, Some(&current.version), &slot).await?;
            }
            _ => return Err(CaError::slot(&slot, plan.before.phase())),
        },
    }
    Ok(None)
}
