//! What AWS would have to allow before it answers a call.

use serde_json::Value;

use super::wire::{CLOUD_MAP, SECRETS_MANAGER};
use super::{ACCOUNT, REGION, World};

/// What a policy is asked (Service Authorization Reference of the two services).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The action, for example `secretsmanager:GetSecretValue`.
    pub action: String,
    /// The ARN of what it is done to; `*` where the action takes no resource.
    pub resource: String,
    /// The condition keys of the service that the call sets.
    pub context: Vec<(&'static str, String)>,
}

impl World {
    /// Nothing for a call that the double does not know.
    pub(super) fn asked(&self, target: &str, input: &Value) -> Asked {
        let operation = target.rsplit('.').next().unwrap_or_default();
        let text = |key: &str| input[key].as_str();
        if target.starts_with(SECRETS_MANAGER) {
            let secret = text("SecretId").or(text("Name")).map(|id| self.secrets.arn(id));
            let resource = secret.unwrap_or_else(|| "*".to_owned());
            return Asked { action: format!("secretsmanager:{operation}"), resource, context: Vec::new() };
        }
        if !target.starts_with(CLOUD_MAP) {
            return Asked::default();
        }
        let service = text("ServiceId").map(service_arn);
        let context = service.iter().map(|arn| ("servicediscovery:ServiceArn", arn.clone())).collect();
        // Of those that are about a service, only these take it as their resource; the others know it as a condition key.
        let takes_service = ["RegisterInstance", "DeregisterInstance"].contains(&operation);
        let resource = service.filter(|_| takes_service).unwrap_or_else(|| "*".to_owned());
        Asked { action: format!("servicediscovery:{operation}"), resource, context }
    }
}

/// The ARN of a service of Cloud Map.
pub fn service_arn(id: &str) -> String {
    format!("arn:aws:servicediscovery:{REGION}:{ACCOUNT}:service/{id}")
}
