//! One secret: its versions and their labels.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::now;
use crate::aws::{ACCOUNT, ApiError, REGION};

pub(super) const CURRENT: &str = "AWSCURRENT";
pub(super) const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";
const MAX_VALUE_BYTES: usize = 65_536;
/// The most labels in one request.
const MAX_LABELS: usize = 20;
const DAY_SECONDS: f64 = 86_400.0;

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    /// In the order in which they were made.
    pub(super) versions: Vec<Version>,
    /// When it will be gone, if it is scheduled for deletion.
    pub(super) deleted: Option<f64>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: String,
    /// None while a rotation has not filled it.
    pub(super) text: Option<String>,
    pub(super) labels: BTreeSet<String>,
    pub(super) created: f64,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("arn", &self.arn).field("versions", &self.versions.len()).finish_non_exhaustive()
    }
}

impl Secret {
    pub(super) fn empty(name: &str, suffix: &str) -> Self {
        let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{suffix}");
        Self { name: name.to_owned(), arn, versions: Vec::new(), deleted: None }
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// The same creation again changes nothing; any other is refused.
    pub(super) fn refuse_other_creation(&self, token: &str, text: Option<&str>) -> Result<(), ApiError> {
        if self.deleted.is_some() {
            let message =
                "You can't create this secret because a secret with this name is already scheduled for deletion.";
            return Err(ApiError::new("InvalidRequestException", message));
        }
        let stored = self.version(token).and_then(|version| version.text.as_deref());
        if stored.is_some() && stored == text {
            return Ok(());
        }
        let message = format!("A resource with the ID {} already exists.", self.name);
        Err(ApiError::new("ResourceExistsException", message))
    }

    /// Refused when the secret is scheduled for deletion.
    pub(super) fn in_use(&self) -> Result<&Self, ApiError> {
        if self.deleted.is_none() {
            return Ok(self);
        }
        let message = "You can't perform this operation on the secret because it was marked for deletion.";
        Err(ApiError::new("InvalidRequestException", message))
    }

    /// A repeated token with the same value changes nothing, not even labels; with another value it is refused.
    pub(super) fn put(&mut self, token: &str, text: &str, labels: &[&str], quota: usize) -> Result<(), ApiError> {
        if text.is_empty() || text.len() > MAX_VALUE_BYTES {
            let message = format!("The secret value has {} bytes; allowed are 1 to {MAX_VALUE_BYTES}.", text.len());
            return Err(ApiError::new("ValidationException", message));
        }
        if labels.is_empty() || labels.len() > MAX_LABELS {
            let message = format!("VersionStages has {} labels; allowed are 1 to {MAX_LABELS}.", labels.len());
            return Err(ApiError::new("ValidationException", message));
        }
        let first = self.versions.is_empty();
        match self.versions.iter_mut().find(|version| version.id == token) {
            Some(existing) if existing.text.as_deref() == Some(text) => return Ok(()),
            Some(existing) if existing.text.is_some() => {
                let message = format!(
                    "You can't use ClientRequestToken {token} because that value is already in use for a version of secret {}.",
                    self.arn
                );
                return Err(ApiError::new("ResourceExistsException", message));
            }
            // A rotation holds the place for this value.
            Some(existing) => existing.text = Some(text.to_owned()),
            None => {
                self.make_room(quota)?;
                self.add(token, Some(text));
            }
        }
        for label in labels {
            self.attach(label, token);
        }
        if first {
            self.attach(CURRENT, token);
        }
        Ok(())
    }

    /// Adds a version that has a label and no value.
    pub(super) fn hold_place(&mut self, token: &str, label: &str) {
        self.add(token, None);
        self.attach(label, token);
    }

    pub(super) fn age(&mut self, seconds: f64) {
        for version in &mut self.versions {
            version.created -= seconds;
        }
    }

    pub(super) fn move_label(&mut self, label: &str, to: Option<&str>, from: Option<&str>) -> Result<(), ApiError> {
        let invalid = |message: String| ApiError::new("InvalidParameterException", message);
        for id in [to, from].into_iter().flatten() {
            if self.version(id).is_none() {
                return Err(ApiError::new("ResourceNotFoundException", format!("version {id} does not exist")));
            }
        }
        let holder =
            self.versions.iter().find(|version| version.labels.contains(label)).map(|version| version.id.clone());
        match (&holder, from) {
            (Some(holder), Some(from)) if holder != from => {
                return Err(invalid(format!(
                    "The staging label {label} is attached to version {holder}, not to {from}."
                )));
            }
            (None, Some(from)) => {
                return Err(invalid(format!("The staging label {label} isn't currently attached to version {from}.")));
            }
            (Some(holder), None) if to != Some(holder) => {
                return Err(invalid(format!(
                    "The staging label {label} is currently attached to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
                )));
            }
            _ => {}
        }
        match to {
            Some(to) => self.attach(label, to),
            None if label == CURRENT => {
                return Err(invalid(format!("You can only move staging label {label} to another version.")));
            }
            None => {
                self.detach(label);
            }
        }
        Ok(())
    }

    fn add(&mut self, token: &str, text: Option<&str>) {
        self.versions.push(Version {
            id: token.to_owned(),
            text: text.map(str::to_owned),
            labels: BTreeSet::new(),
            created: now(),
        });
    }

    /// Versions without a label go when they are older than a day and there are too many.
    fn make_room(&mut self, quota: usize) -> Result<(), ApiError> {
        let old = |version: &Version| version.labels.is_empty() && now() - version.created > DAY_SECONDS;
        while self.versions.len() >= quota {
            let Some(oldest) = self.versions.iter().position(old) else {
                let message = format!("The secret has {} versions, none of which can go.", self.versions.len());
                return Err(ApiError::new("LimitExceededException", message));
            };
            self.versions.remove(oldest);
        }
        Ok(())
    }

    /// Takes `label` away from whoever has it and gives it to `to`. `AWSCURRENT` leaves `AWSPREVIOUS` behind.
    fn attach(&mut self, label: &str, to: &str) {
        let holder = self.detach(label);
        let target =
            self.versions.iter_mut().find(|version| version.id == to).expect("callers name an existing version");
        target.labels.insert(label.to_owned());
        if let Some(holder) = holder.filter(|holder| label == CURRENT && holder != to) {
            self.attach(PREVIOUS, &holder);
        }
    }

    fn detach(&mut self, label: &str) -> Option<String> {
        let holder = self.versions.iter_mut().find(|version| version.labels.contains(label))?;
        holder.labels.remove(label);
        Some(holder.id.clone())
    }
}

pub(super) fn unknown() -> ApiError {
    ApiError::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

/// Tokens become version ids: 32 to 64 characters.
pub(super) fn check_token(token: &str) -> Result<(), ApiError> {
    if (32..=64).contains(&token.len()) {
        return Ok(());
    }
    Err(ApiError::new("InvalidParameterException", "ClientRequestToken must have 32 to 64 characters."))
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    if (1..=512).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    ))
}
