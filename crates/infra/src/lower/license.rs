//! The key of the vendor's licence: what the server is given, and what ECS needs to read it.

use serde_json::{Value, json};

use super::{Statement, task, through_secrets_manager};
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
pub(super) fn statements(deployment: &Deployment) -> Vec<Statement> {
    let Some(License { secret, kms_key, .. }) = &deployment.config().server.license else { return Vec::new() };
    let reason = "ECS: the server's container starts and is given the licence, server.license_secret";
    let read = Statement::allow("ReadLicense", &["secretsmanager:GetSecretValue"], &json!(secret.as_str()), reason);
    let mut statements = vec![read];
    if let Some(key) = kms_key {
        let reason = "Secrets Manager: the licence is read, which is encrypted with server.license_kms_key";
        let use_key = Statement::allow("UseKeyOfLicense", &["kms:Decrypt"], &json!(key.as_str()), reason);
        statements.push(through_secrets_manager(use_key));
    }
    statements
}
