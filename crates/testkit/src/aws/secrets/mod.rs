//! AWS Secrets Manager: versions are immutable, labels move (aws-contract §2.1).

mod api;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use uuid::Uuid;

use self::secret::{CURRENT, PENDING, Secret, Version};
use super::lag::{Lag, Lagging};
use super::{ACCOUNT, ApiError, REGION};

/// Versions of a secret that AWS keeps (aws-contract §2.2).
const VERSION_QUOTA: usize = 100;

/// All secrets of the account, by name.
#[derive(Debug)]
pub struct Secrets {
    /// None is a name that is free again.
    by_name: BTreeMap<String, Lagging<Option<Secret>>>,
    read_lag: Lag,
    version_quota: usize,
}

/// One version as a test sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionView {
    /// The version's id: the client request token it was made with.
    pub id: String,
    /// Its value; empty if it has none yet.
    pub text: String,
    /// Its staging labels, sorted.
    pub labels: Vec<String>,
}

impl fmt::Debug for VersionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionView").field("id", &self.id).field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), read_lag: Lag::None, version_quota: VERSION_QUOTA }
    }
}

impl Secrets {
    /// Creates a secret as CloudFormation's `GenerateSecretString` does: `template`, a JSON object, with a random
    /// password of `length` letters and digits under `key`. Gives the ARN.
    pub fn generate(&mut self, name: &str, template: &str, key: &str, length: usize) -> String {
        let mut value: Map<String, Value> = serde_json::from_str(template).expect("the template is a JSON object");
        value.insert(key.to_owned(), Value::String(random_text(length)));
        self.create(name, Some(&Value::Object(value).to_string()))
    }

    /// Creates a secret, with a first value or empty. Gives the ARN.
    pub fn create(&mut self, name: &str, text: Option<&str>) -> String {
        let token = Uuid::new_v4().to_string();
        let secret = self.create_secret(name, &token, text).expect("a test creates only what can be created");
        secret.arn.clone()
    }

    /// Whether there is a secret of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|entry| entry.truth().is_some())
    }

    /// Stores a new current version, as an operator would with the console.
    pub fn put(&mut self, name: &str, text: &str) {
        let (token, quota) = (Uuid::new_v4().to_string(), self.version_quota);
        self.change(name, |secret| secret.put(&token, text, &[CURRENT], quota))
            .expect("a test puts only what can be put");
    }

    /// Begins a rotation as `RotateSecret` with a Lambda function does: a version with the label `AWSPENDING` and no
    /// value, which whoever knows its id fills. Gives the id.
    pub fn begin_rotation(&mut self, name: &str) -> String {
        let token = Uuid::new_v4().to_string();
        self.change(name, |secret| {
            secret.hold_place(&token, PENDING);
            Ok(())
        })
        .expect("a test rotates only what exists");
        token
    }

    /// Makes all versions of a secret older. AWS keeps versions of the last day, whatever the quota.
    pub fn age(&mut self, name: &str, by: Duration) {
        self.change(name, |secret| {
            secret.age(by.as_secs_f64());
            Ok(())
        })
        .expect("a test ages only what exists");
    }

    /// How late readers see from now on what was written to a secret, its creation included (aws-contract §2.2).
    pub fn set_read_lag(&mut self, lag: Lag) {
        self.read_lag = lag;
    }

    /// How many versions a secret may have: with more, new ones are answered with `LimitExceededException`, unless old
    /// ones without a label can go.
    pub fn set_version_quota(&mut self, versions: usize) {
        self.version_quota = versions;
    }

    /// All versions of a secret, oldest first, whatever readers see; none if there is no such secret.
    pub fn versions(&self, name: &str) -> Vec<VersionView> {
        let secret = self.by_name.get(name).and_then(|entry| entry.truth().as_ref());
        let view = |version: &Version| VersionView {
            id: version.id.clone(),
            text: version.text.clone().unwrap_or_default(),
            labels: version.labels.iter().cloned().collect(),
        };
        secret.into_iter().flat_map(|secret| &secret.versions).map(view).collect()
    }

    /// The value labelled `AWSCURRENT`, whatever readers see.
    pub fn current(&self, name: &str) -> Option<String> {
        let versions = self.versions(name);
        versions
            .into_iter()
            .find(|version| version.labels.iter().any(|label| label == CURRENT))
            .map(|version| version.text)
    }

    /// Everything, for a double that outlives its process; passwords are in it.
    pub(in crate::aws) fn kept(&self) -> Value {
        let secrets: Vec<_> = self.by_name.values().filter_map(|entry| entry.truth().as_ref()).collect();
        serde_json::to_value(secrets).expect("secrets hold texts and numbers")
    }

    /// What [`Self::kept`] gave.
    pub(in crate::aws) fn restore(&mut self, kept: Value) -> serde_json::Result<()> {
        let secrets: Vec<Secret> = serde_json::from_value(kept)?;
        self.by_name = secrets.into_iter().map(|secret| (secret.name.clone(), Lagging::new(Some(secret)))).collect();
        Ok(())
    }

    /// The ARN of a secret, by name or ARN; that of one that does not exist ends as a policy would have to say it.
    pub fn arn(&self, id: &str) -> String {
        let mut secrets = self.by_name.iter().filter_map(|(name, entry)| Some((name, entry.truth().as_ref()?)));
        let found = secrets.find(|(name, secret)| *name == id || secret.arn == id);
        match found {
            Some((_, secret)) => secret.arn.clone(),
            None if id.starts_with("arn:") => id.to_owned(),
            None => format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{id}-??????"),
        }
    }

    fn create_secret(&mut self, name: &str, token: &str, text: Option<&str>) -> Result<&Secret, ApiError> {
        secret::check_token(token)?;
        secret::check_name(name)?;
        let entry = self.by_name.entry(name.to_owned()).or_insert_with(|| Lagging::new(None));
        if let Some(existing) = entry.truth() {
            existing.refuse_other_creation(token, text)?;
        } else {
            let mut secret = Secret::empty(name, &random_text(6));
            if let Some(text) = text {
                secret.put(token, text, &[CURRENT], self.version_quota)?;
            }
            entry.set(Some(secret), self.read_lag);
        }
        Ok(entry.truth().as_ref().expect("it exists since just now at the latest"))
    }

    /// Changes a secret, as a whole or not at all.
    fn change<T>(&mut self, id: &str, change: impl FnOnce(&mut Secret) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let lag = self.read_lag;
        let entry = self.entry(id)?;
        let mut secret = entry.truth().clone().ok_or_else(secret::unknown)?;
        let output = change(&mut secret)?;
        if entry.truth().as_ref() != Some(&secret) {
            entry.set(Some(secret), lag);
        }
        Ok(output)
    }

    /// As readers see it.
    fn read(&mut self, id: &str) -> Result<&Secret, ApiError> {
        self.entry(id)?.read().as_ref().ok_or_else(secret::unknown)
    }

    /// By name or ARN.
    fn entry(&mut self, id: &str) -> Result<&mut Lagging<Option<Secret>>, ApiError> {
        let known = |(name, entry): &(&String, &mut Lagging<Option<Secret>>)| {
            *name == id || entry.truth().as_ref().is_some_and(|secret| secret.arn == id)
        };
        self.by_name.iter_mut().find(known).map(|(_, entry)| entry).ok_or_else(secret::unknown)
    }
}

/// Random letters and digits, from the hexadecimal digits of random UUIDs.
fn random_text(length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&Uuid::new_v4().simple().to_string());
    }
    text.truncate(length);
    text
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64())
}
