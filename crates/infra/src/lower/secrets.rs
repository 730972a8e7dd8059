//! The secrets of users and of the certificate authority.

use serde_json::{Value, json};

use super::{encryption, export};
use crate::cfn::{Resource, Template};
use crate::exports::{Export, secret_id};
use crate::model::{CaSource, Deployment, PASSWORD_LENGTH, Secret};
use crate::values::Login;

/// CloudFormation generates a password anew whenever the text of its template changes, so it is frozen by a golden file.
pub(super) fn lower(template: &mut Template, deployment: &Deployment) {
    let Some(secured) = deployment.secured() else { return };
    let encrypted = |mut properties: Value| {
        if let Some(key) = encryption::key(&secured.encryption) {
            properties["KmsKeyId"] = key;
        }
        Resource::new("AWS::SecretsManager::Secret", properties).retained()
    };
    for (login, secret) in secured.secrets() {
        let id = secret_id(login);
        let arn = match secret {
            Secret::Existing(arn) => json!(arn.as_str()),
            Secret::New => {
                let (text, key) = Deployment::secret_template(login);
                let properties = json!({
                    "Name": deployment.secret_name(login),
                    "Description": format!("Credentials of {login} in EventStoreDB, kept by bootstrap"),
                    "GenerateSecretString": {
                        "SecretStringTemplate": text,
                        "GenerateStringKey": key,
                        "PasswordLength": PASSWORD_LENGTH,
                        "ExcludePunctuation": true,
                        "IncludeSpace": false,
                    },
                });
                template.add(&id, encrypted(properties)).reference()
            }
        };
        export(template, deployment, &Export::SecretArn(Login::known(login)), arn);
    }
    let arn = match &secured.ca {
        CaSource::Secret(Secret::New) => {
            // Made without a value: certgen makes the authority, so that its key is nowhere else.
            let properties = json!({
                "Name": deployment.ca_secret_name(),
                "Description": "Certificate authority of the nodes of EventStoreDB, kept by certgen",
            });
            template.add("CaSecret", encrypted(properties)).reference()
        }
        CaSource::Secret(Secret::Existing(arn)) => json!(arn.as_str()),
        CaSource::Ephemeral | CaSource::Files { .. } => return,
    };
    export(template, deployment, &Export::CaSecretArn, arn);
}
