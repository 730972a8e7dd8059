//! Secrets Manager's operations over the wire. What our programs and operators do not use is refused.

use serde_json::{Map, Value, json};

use super::secret::{CURRENT, Secret, Version, check_token};
use super::{Secrets, now};
use crate::aws::wire::{Members, page};
use crate::aws::{ACCOUNT, ApiError, REGION};

const DAY_SECONDS: f64 = 86_400.0;

impl Secrets {
    pub(in crate::aws) fn call(&mut self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        let members = Members::of(input);
        match operation {
            "CreateSecret" => self.create_over_the_wire(members),
            "PutSecretValue" => self.put_secret_value(members),
            "GetSecretValue" => self.get_secret_value(members),
            "DescribeSecret" => self.describe_secret(members),
            "ListSecretVersionIds" => self.list_secret_version_ids(members),
            "UpdateSecretVersionStage" => self.update_secret_version_stage(members),
            "DeleteSecret" => self.delete_secret(members),
            "RestoreSecret" => self.restore_secret(members),
            // It needs a Lambda function, which no secret here has.
            "RotateSecret" => {
                let message = "You must specify a Lambda rotation function ARN to enable rotation.";
                Err(ApiError::new("InvalidRequestException", message))
            }
            _ => Err(ApiError::new("UnknownOperationException", format!("`{operation}` is not implemented"))),
        }
    }

    fn create_over_the_wire(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (name, token) = (members.required("Name")?, members.required("ClientRequestToken")?);
        let text = members.text("SecretString");
        for ignored in ["Description", "Tags", "KmsKeyId"] {
            members.value(ignored);
        }
        members.done()?;
        let mut output = who(self.create_secret(name, token, text)?);
        output["VersionId"] = json!(text.map(|_| token));
        Ok(output)
    }

    fn put_secret_value(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (id, token) = (members.required("SecretId")?, members.required("ClientRequestToken")?);
        let text = members.required("SecretString")?;
        let labels = match members.value("VersionStages") {
            Value::Null => vec![CURRENT],
            labels => labels.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        };
        members.done()?;
        check_token(token)?;
        let quota = self.version_quota;
        self.change(id, |secret| {
            secret.in_use()?;
            secret.put(token, text, &labels, quota)?;
            let mut output = who(secret);
            output["VersionId"] = json!(token);
            output["VersionStages"] = json!(secret.version(token).map(|version| &version.labels));
            Ok(output)
        })
    }

    fn get_secret_value(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        let (version_id, label) = (members.text("VersionId"), members.text("VersionStage"));
        members.done()?;
        let secret = self.read(id)?.in_use()?;
        let version = choose(secret, version_id, label)?;
        let mut output = who(secret);
        output["VersionId"] = json!(version.id);
        output["SecretString"] = json!(version.text.as_deref().ok_or_else(|| no_value(&version.id))?);
        output["VersionStages"] = json!(version.labels);
        output["CreatedDate"] = json!(version.created);
        Ok(output)
    }

    fn describe_secret(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        members.done()?;
        let secret = self.read(id)?;
        // Versions without a label are deprecated and not listed.
        let labelled = secret.versions.iter().filter(|version| !version.labels.is_empty());
        let stages: Map<_, _> = labelled.map(|version| (version.id.clone(), json!(version.labels))).collect();
        let mut output = who(secret);
        output["VersionIdsToStages"] = json!(stages);
        if let Some(deleted) = secret.deleted {
            output["DeletedDate"] = json!(deleted);
        }
        Ok(output)
    }

    fn list_secret_version_ids(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        let deprecated = members.value("IncludeDeprecated").as_bool().unwrap_or(false);
        let (size, next) = (members.value("MaxResults").as_u64(), members.text("NextToken"));
        members.done()?;
        let secret = self.read(id)?;
        let listed = secret.versions.iter().filter(|version| deprecated || !version.labels.is_empty());
        let view = |version: &Version| json!({"VersionId": version.id, "VersionStages": version.labels, "CreatedDate": version.created});
        let mut output = page("Versions", listed.map(view).collect(), size, next)?;
        (output["ARN"], output["Name"]) = (json!(secret.arn), json!(secret.name));
        Ok(output)
    }

    fn update_secret_version_stage(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (id, label) = (members.required("SecretId")?, members.required("VersionStage")?);
        let (to, from) = (members.text("MoveToVersionId"), members.text("RemoveFromVersionId"));
        members.done()?;
        self.change(id, |secret| {
            secret.in_use()?;
            secret.move_label(label, to, from)?;
            Ok(who(secret))
        })
    }

    fn delete_secret(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        let force = members.value("ForceDeleteWithoutRecovery").as_bool().unwrap_or(false);
        let days = members.value("RecoveryWindowInDays").as_u64();
        members.done()?;
        let days = match days {
            Some(_) if force => return Err(invalid("a recovery window does not go with ForceDeleteWithoutRecovery")),
            None => 30,
            Some(days) => u8::try_from(days)
                .ok()
                .filter(|days| (7..=30).contains(days))
                .ok_or_else(|| invalid("RecoveryWindowInDays must be between 7 and 30 days"))?,
        };
        if force {
            return Ok(self.forget(id));
        }
        let date = now() + f64::from(days) * DAY_SECONDS;
        self.change(id, |secret| {
            secret.in_use()?;
            secret.deleted = Some(date);
            let mut output = who(secret);
            output["DeletionDate"] = json!(date);
            Ok(output)
        })
    }

    /// Never says that there is no such secret.
    fn forget(&mut self, id: &str) -> Value {
        let lag = self.read_lag;
        let known = self.entry(id).ok().and_then(|entry| {
            let known = entry.truth().as_ref().map(who);
            entry.set(None, lag);
            known
        });
        let mut output = known.unwrap_or_else(
            || json!({"ARN": format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{id}"), "Name": id}),
        );
        output["DeletionDate"] = json!(now());
        output
    }

    fn restore_secret(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("SecretId")?;
        members.done()?;
        self.change(id, |secret| {
            secret.deleted = None;
            Ok(who(secret))
        })
    }
}

fn who(secret: &Secret) -> Value {
    json!({"ARN": secret.arn, "Name": secret.name})
}

/// By id, by label, or by both, which must agree; else the current one.
fn choose<'a>(secret: &'a Secret, id: Option<&str>, label: Option<&str>) -> Result<&'a Version, ApiError> {
    let Some(id) = id else {
        let label = label.unwrap_or(CURRENT);
        let found = secret.versions.iter().find(|version| version.labels.contains(label));
        return found.ok_or_else(|| no_value(label));
    };
    let version = secret.version(id).ok_or_else(|| no_value(id))?;
    if label.is_none_or(|label| version.labels.contains(label)) {
        return Ok(version);
    }
    let message = "You provided a VersionStage that is not associated to the provided VersionId.";
    Err(ApiError::new("InvalidRequestException", message))
}

fn no_value(wanted: &str) -> ApiError {
    let message = format!("Secrets Manager can't find the specified secret value for {wanted}");
    ApiError::new("ResourceNotFoundException", message)
}

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}
