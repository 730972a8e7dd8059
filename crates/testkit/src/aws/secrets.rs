//! AWS Secrets Manager: versions are immutable, labels move (aws-contract §2.1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::wire::Members;
use super::{ACCOUNT, ApiError, REGION};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const MAX_VALUE_BYTES: usize = 65_536;
const DELETION_WINDOW_SECONDS: f64 = 30.0 * 86_400.0;

/// All secrets of the account, by name.
#[derive(Debug, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
}

struct Secret {
    arn: String,
    /// In the order in which they were made.
    versions: Vec<Version>,
    deleted: Option<f64>,
}

struct Version {
    id: String,
    text: String,
    labels: BTreeSet<String>,
    created: f64,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("arn", &self.arn).field("versions", &self.versions.len()).finish_non_exhaustive()
    }
}

/// One version as a test sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionView {
    /// The version's id: the client request token it was made with.
    pub id: String,
    /// Its value.
    pub text: String,
    /// Its staging labels, sorted.
    pub labels: Vec<String>,
}

impl fmt::Debug for VersionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionView").field("id", &self.id).field("labels", &self.labels).finish_non_exhaustive()
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
        self.create_secret(name, &token, text).expect("a test creates only what can be created");
        self.by_name[name].arn.clone()
    }

    /// Stores a new current version, as an operator would with the console.
    pub fn put(&mut self, name: &str, text: &str) {
        let token = Uuid::new_v4().to_string();
        self.find(name)
            .and_then(|secret| secret.put(&token, text, &[CURRENT]))
            .expect("a test puts only what can be put");
    }

    /// All versions of a secret, oldest first; none if there is no such secret.
    pub fn versions(&self, name: &str) -> Vec<VersionView> {
        let versions = self.by_name.get(name).into_iter().flat_map(|secret| &secret.versions);
        let view = |version: &Version| VersionView {
            id: version.id.clone(),
            text: version.text.clone(),
            labels: version.labels.iter().cloned().collect(),
        };
        versions.map(view).collect()
    }

    /// The value labelled `AWSCURRENT`.
    pub fn current(&self, name: &str) -> Option<String> {
        let versions = self.versions(name);
        versions
            .into_iter()
            .find(|version| version.labels.iter().any(|label| label == CURRENT))
            .map(|version| version.text)
    }

    pub(super) fn call(&mut self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        let mut members = Members::of(input);
        match operation {
            "CreateSecret" => {
                let name = members.required("Name")?;
                let token = members.required("ClientRequestToken")?;
                let text = members.text("SecretString");
                for ignored in ["Description", "Tags", "KmsKeyId"] {
                    members.value(ignored);
                }
                members.done()?;
                self.create_secret(name, token, text)?;
                let secret = &self.by_name[name];
                let version = text.map(|_| token);
                Ok(json!({"ARN": secret.arn, "Name": name, "VersionId": version}))
            }
            "PutSecretValue" => {
                let (id, token) = (members.required("SecretId")?, members.required("ClientRequestToken")?);
                let text = members.required("SecretString")?;
                let labels = match members.value("VersionStages") {
                    Value::Null => vec![CURRENT],
                    labels => labels.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
                };
                members.done()?;
                check_token(token)?;
                let (arn, name) = (self.find(id)?.arn.clone(), self.name_of(id)?);
                let secret = self.usable(id)?;
                secret.put(token, text, &labels)?;
                let version = secret.version(token).expect("it was put just now");
                Ok(json!({"ARN": arn, "Name": name, "VersionId": token, "VersionStages": version.labels}))
            }
            "GetSecretValue" => self.get_secret_value(members),
            "DescribeSecret" => {
                let id = members.required("SecretId")?;
                members.done()?;
                let name = self.name_of(id)?;
                let secret = self.find(id)?;
                // Versions without a label are deprecated and not listed.
                let labelled = secret.versions.iter().filter(|version| !version.labels.is_empty());
                let stages: Map<_, _> = labelled.map(|version| (version.id.clone(), json!(version.labels))).collect();
                let mut output = json!({"ARN": secret.arn, "Name": name, "VersionIdsToStages": stages});
                if let Some(deleted) = secret.deleted {
                    output["DeletedDate"] = json!(deleted);
                }
                Ok(output)
            }
            "ListSecretVersionIds" => {
                let id = members.required("SecretId")?;
                let deprecated = members.value("IncludeDeprecated").as_bool().unwrap_or(false);
                members.value("MaxResults");
                members.done()?;
                let name = self.name_of(id)?;
                let secret = self.find(id)?;
                let listed = secret.versions.iter().filter(|version| deprecated || !version.labels.is_empty());
                let view = |version: &Version| json!({"VersionId": version.id, "VersionStages": version.labels, "CreatedDate": version.created});
                Ok(json!({"ARN": secret.arn, "Name": name, "Versions": listed.map(view).collect::<Vec<_>>()}))
            }
            "UpdateSecretVersionStage" => {
                let (id, label) = (members.required("SecretId")?, members.required("VersionStage")?);
                let (to, from) = (members.text("MoveToVersionId"), members.text("RemoveFromVersionId"));
                members.done()?;
                let name = self.name_of(id)?;
                let secret = self.usable(id)?;
                secret.move_label(label, to, from)?;
                Ok(json!({"ARN": secret.arn, "Name": name}))
            }
            "DeleteSecret" => {
                let id = members.required("SecretId")?;
                let force = members.value("ForceDeleteWithoutRecovery").as_bool().unwrap_or(false);
                members.value("RecoveryWindowInDays");
                members.done()?;
                let name = self.name_of(id)?;
                let date = now() + DELETION_WINDOW_SECONDS;
                let secret = self.usable(id)?;
                secret.deleted = Some(date);
                let arn = secret.arn.clone();
                if force {
                    self.by_name.remove(&name);
                }
                Ok(json!({"ARN": arn, "Name": name, "DeletionDate": date}))
            }
            "RestoreSecret" => {
                let id = members.required("SecretId")?;
                members.done()?;
                let name = self.name_of(id)?;
                let secret = self.find(id)?;
                secret.deleted = None;
                Ok(json!({"ARN": secret.arn, "Name": name}))
            }
            _ => Err(ApiError::new("UnknownOperationException", format!("`{operation}` is not implemented"))),
        }
    }

    fn create_secret(&mut self, name: &str, token: &str, text: Option<&str>) -> Result<(), ApiError> {
        check_token(token)?;
        check_name(name)?;
        if let Some(existing) = self.by_name.get(name) {
            if existing.deleted.is_some() {
                let message =
                    "You can't create this secret because a secret with this name is already scheduled for deletion.";
                return Err(ApiError::new("InvalidRequestException", message));
            }
            let same = existing.version(token).zip(text).is_some_and(|(version, text)| version.text == text);
            let exists =
                || ApiError::new("ResourceExistsException", format!("A resource with the ID {name} already exists."));
            return if same { Ok(()) } else { Err(exists()) };
        }
        let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{}", random_text(6));
        let mut secret = Secret { arn, versions: Vec::new(), deleted: None };
        if let Some(text) = text {
            secret.put(token, text, &[CURRENT])?;
        }
        self.by_name.insert(name.to_owned(), secret);
        Ok(())
    }

    fn get_secret_value(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        let (version_id, label) = (members.text("VersionId"), members.text("VersionStage"));
        members.done()?;
        let name = self.name_of(id)?;
        let secret = self.usable(id)?;
        let label = label.or(if version_id.is_none() { Some(CURRENT) } else { None });
        let found = secret.versions.iter().find(|version| {
            version_id.is_none_or(|id| version.id == id) && label.is_none_or(|label| version.labels.contains(label))
        });
        let Some(version) = found else {
            let wanted = version_id.or(label).unwrap_or_default();
            let message = format!("Secrets Manager can't find the specified secret value for {wanted}");
            return Err(ApiError::new("ResourceNotFoundException", message));
        };
        Ok(json!({
            "ARN": secret.arn, "Name": name, "VersionId": version.id, "SecretString": version.text,
            "VersionStages": version.labels, "CreatedDate": version.created,
        }))
    }

    /// A secret by name or ARN.
    fn find(&mut self, id: &str) -> Result<&mut Secret, ApiError> {
        let name = self.name_of(id)?;
        Ok(self.by_name.get_mut(&name).expect("the name was found just now"))
    }

    fn name_of(&self, id: &str) -> Result<String, ApiError> {
        let found = self.by_name.iter().find(|(name, secret)| *name == id || secret.arn == id);
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            ApiError::new("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        })
    }

    /// A secret that is not scheduled for deletion.
    fn usable(&mut self, id: &str) -> Result<&mut Secret, ApiError> {
        let secret = self.find(id)?;
        if secret.deleted.is_some() {
            let message = "You can't perform this operation on the secret because it was marked for deletion.";
            return Err(ApiError::new("InvalidRequestException", message));
        }
        Ok(secret)
    }
}

impl Secret {
    fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// A repeated token with the same value changes nothing, not even labels; with another value it is refused.
    fn put(&mut self, token: &str, text: &str, labels: &[&str]) -> Result<(), ApiError> {
        if text.is_empty() || text.len() > MAX_VALUE_BYTES {
            let message = format!("The secret value has {} bytes; allowed are 1 to {MAX_VALUE_BYTES}.", text.len());
            return Err(ApiError::new("ValidationException", message));
        }
        if let Some(existing) = self.version(token) {
            if existing.text == text {
                return Ok(());
            }
            let message = format!(
                "You can't use ClientRequestToken {token} because that value is already in use for a version of secret {}.",
                self.arn
            );
            return Err(ApiError::new("ResourceExistsException", message));
        }
        let first = self.versions.is_empty();
        self.versions.push(Version {
            id: token.to_owned(),
            text: text.to_owned(),
            labels: BTreeSet::new(),
            created: now(),
        });
        for label in labels {
            self.attach(label, token);
        }
        if first {
            self.attach(CURRENT, token);
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

    fn move_label(&mut self, label: &str, to: Option<&str>, from: Option<&str>) -> Result<(), ApiError> {
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
}

/// Tokens become version ids: 32 to 64 characters.
fn check_token(token: &str) -> Result<(), ApiError> {
    if (32..=64).contains(&token.len()) {
        return Ok(());
    }
    Err(ApiError::new("InvalidParameterException", "ClientRequestToken must have 32 to 64 characters."))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    if (1..=512).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    ))
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
