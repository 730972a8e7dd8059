//! What the certificate authority needs of AWS Secrets Manager: only the calls it makes, with only the outcomes it tells apart.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use uuid::Uuid;
use zeroize::Zeroizing;

/// The namespace of the ids of versions; no other program derives ids in it.
const SLOTS: Uuid = Uuid::from_u128(0x8d0f_3a54_61c7_4f2b_9a3e_c0de_ca11_ed01);

/// The id of one version of the secret; it was the client request token of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionId(pub String);

/// The one version id that may follow `current`, or the first of all. Whoever wants to change the secret derives the same,
/// so the first writer wins and everybody reads what was written (aws-contract §2.2).
pub fn slot(arn: &str, current: Option<&VersionId>) -> VersionId {
    let current = current.map_or("first", |version| &version.0);
    VersionId(Uuid::new_v5(&SLOTS, format!("{arn}\u{1f}{current}").as_bytes()).to_string())
}

/// What a version of the secret holds. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<Zeroizing<String>> for SecretText {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The version labelled `AWSCURRENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The secret's ARN.
    pub arn: String,
    /// The version's id.
    pub version: VersionId,
    /// What it holds.
    pub text: SecretText,
    /// Whether it is labelled `AWSPENDING` as well, as a version is that its writer has not tidied up after.
    pub is_pending: bool,
}

/// The secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its ARN.
    pub arn: String,
    /// Whether a version is labelled `AWSCURRENT`.
    pub has_current: bool,
}

/// One secret of AWS Secrets Manager. Readers may be late: what was written a moment ago may not be there yet.
pub trait Store {
    /// The version labelled `AWSCURRENT`; `None` if there is no such version, or no such secret.
    fn current(&self) -> impl Future<Output = Result<Option<Current>, StoreError>>;

    /// The secret, `None` if there is none.
    fn described(&self) -> impl Future<Output = Result<Option<Described>, StoreError>>;

    /// One version, or `None` if it is not there.
    fn version(&self, version: &VersionId) -> impl Future<Output = Result<Option<SecretText>, StoreError>>;

    /// Creates the secret with a first value. Somebody else having been first is a success: what counts is read afterwards.
    fn create(&self, text: &SecretText) -> impl Future<Output = Result<(), StoreError>>;

    /// Stores a version with the label `AWSPENDING`; as first version of all it becomes `AWSCURRENT` too. The id being taken is
    /// a success, and changes nothing: what counts is read afterwards.
    fn put(&self, version: &VersionId, text: &SecretText) -> impl Future<Output = Result<(), StoreError>>;

    /// Moves `AWSCURRENT` to `to`; [`StoreErrorKind::Changed`] if it is not on `from`, or not nowhere.
    fn promote(&self, from: Option<&VersionId>, to: &VersionId) -> impl Future<Output = Result<(), StoreError>>;

    /// Takes `AWSPENDING` off a version.
    fn drop_pending(&self, from: &VersionId) -> impl Future<Output = Result<(), StoreError>>;

    /// Waits about this long; `false` without having waited if the time for the whole task is over.
    fn pause(&self, pause: Duration) -> impl Future<Output = bool>;
}

/// Why a call did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct StoreError {
    /// The API operation.
    pub operation: &'static str,
    /// AWS's error code and message, or what the network said; never a request.
    pub message: String,
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
}

/// What a caller does differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No answer, throttled or a fault of the service: again later.
    Unavailable,
    /// The role may not do this.
    Denied,
    /// The key that encrypts the secret cannot be used.
    Encryption,
    /// The secret is scheduled for deletion.
    Deleted,
    /// There is no such secret or version.
    Missing,
    /// A label is not where it was when somebody looked: look again.
    Changed,
    /// It cannot work however often it is tried.
    Refused,
}

/// Growing pauses between one look and the next, until the store says that the time is over.
#[derive(Debug, Default)]
pub(super) struct Pauses(u32);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// `false` if the time is over. The first look again is at once: what was written is mostly there already.
    pub(super) async fn next(&mut self, store: &impl Store) -> bool {
        let pause = match self.0 {
            0 => Duration::ZERO,
            count => (Self::FIRST * 2_u32.saturating_pow(count - 1)).min(Self::LONGEST),
        };
        // The doubling has long reached the longest pause.
        self.0 = (self.0 + 1).min(16);
        store.pause(pause).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_depends_on_the_secret_and_its_current_version_alone() {
        let (one, two) = (VersionId("1".to_owned()), VersionId("2".to_owned()));
        assert_eq!(slot("arn:a", Some(&one)), slot("arn:a", Some(&one)));
        let all =
            [slot("arn:a", None), slot("arn:a", Some(&one)), slot("arn:a", Some(&two)), slot("arn:b", Some(&one))];
        for (index, slot) in all.iter().enumerate() {
            assert!(!all[..index].contains(slot));
            assert_eq!(slot.0.len(), 36, "AWS takes tokens of 32 to 64 characters");
        }
    }

    #[test]
    fn a_text_is_not_shown() {
        assert_eq!(format!("{:?}", SecretText::from("hunter2".to_owned())), "[redacted]");
    }
}
