//! The certificate authority of a deployment, in a secret of AWS Secrets Manager, and its rotation.
//!
//! [`obtain()`] is what a task does when it starts: however many do it at once, they agree on one authority. [`advance`] takes
//! a rotation one phase further; [`next`] is the rule, without any call. Both run on any [`Store`]; the one of AWS is in
//! `aws/`, behind the feature `aws`.
//!
//! `certgen ca status` tells where a rotation stands, `certgen ca rotate` begins one or takes it further.
//!
//! # Exit codes of the commands
//!
//! 0 told, or taken further; 1 the phase is not over, and every reason was told; 2 the command line is wrong; 69 AWS did not
//! answer in time; 70 a bug; 77 AWS denies it; 78 the secret is not there or holds something else.
//!
//! A leader's sidecar polls like this:
//!
//! ```
//! # use certgen::ca::{Begin, CaError, Evidence, Outcome, Store, advance};
//! # use time::OffsetDateTime;
//! async fn poll(store: &impl Store, evidence: &Evidence, now: OffsetDateTime) -> Result<(), CaError> {
//!     let document = match advance(store, evidence, Begin::No, now).await? {
//!         Outcome::Advanced { document, .. } | Outcome::Blocked { document, .. } | Outcome::Steady(document) => document,
//!     };
//!     // Every root into a file of its own, and a new certificate if another root signs now; then reload.
//!     let _roots: Vec<_> = document.roots().iter().map(|root| &root.pem).collect();
//!     let _signed_by = document.authority(now).map_err(CaError::Authority)?;
//!     Ok(())
//! }
//! ```

mod cli;
mod document;
mod error;
mod fingerprint;
mod obtain;
mod rotate;
mod rotation;
mod source;
mod status;
mod store;

pub(crate) use cli::command;
pub use cli::run;
pub use document::{ContentsError, Document, DocumentError, Phase, TrustedRoot};
pub use error::CaError;
pub use fingerprint::{roots_fingerprint, signer_fingerprint};
pub use obtain::obtain;
pub use rotate::{Begin, Outcome, advance, read};
pub use rotation::{Blocker, Evidence, Next, NodeEvidence, PublishedRoots, next};
pub use source::{look_into_secret, obtain_from_secret};
pub use status::{RootStatus, Status};
pub use store::{Current, Described, SecretText, Store, StoreError, StoreErrorKind, VersionId, slot};
