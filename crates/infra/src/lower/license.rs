//! The key of the vendor's licence: what the server is given, and what ECS needs to read it.

use serde_json::{Value, json};

use super::{statement, task, use_key_of_secrets};
use crate::config::License;
use crate::model::{Deployment, LicenseKey};

/// The server's variable and where ECS reads its value.
pub(super) fn variable(key: &LicenseKey) -> Value {
    let LicenseKey { name, license: License { secret, json_key, .. }, .. } = key;
    let from = match json_key {
        Some(key) => json!(format!("{secret}{}", task::value_of(key.as_str()))),
        None => json!(secret.as_str()),
    };
    json!({"Name": name, "ValueFrom": from})
}

/// To read that secret and no other.
pub(super) fn statements(deployment: &Deployment) -> Vec<Value> {
    let Some(License { secret, kms_key, .. }) = &deployment.config().server.license else { return Vec::new() };
    let mut statements = vec![statement("ReadLicense", &["secretsmanager:GetSecretValue"], &json!(secret.as_str()))];
    if let Some(key) = kms_key {
        statements.push(use_key_of_secrets("UseKeyOfLicense", &["kms:Decrypt"], &json!(key.as_str())));
    }
    statements
}
