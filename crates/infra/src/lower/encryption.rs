//! The deployment's own key, if anything is encrypted with it.

use serde_json::{Value, json};

use super::{Statement, because, document, export, name_tag, sub};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, Encryption};

const KEY: &str = "Key";

/// The ARN of the key, in the first stack; none if AWS keeps it.
pub(super) fn key(encryption: &Encryption) -> Option<Value> {
    match encryption {
        Encryption::Aws => None,
        Encryption::Own => Some(LogicalId::new(KEY).attribute("Arn")),
        Encryption::Existing(arn) => Some(json!(arn.as_str())),
    }
}

/// The ARN of the key, in the second stack.
pub(super) fn imported_key(deployment: &Deployment, encryption: &Encryption) -> Option<Value> {
    match encryption {
        Encryption::Own => Some(deployment.import(&Export::KeyArn)),
        Encryption::Aws | Encryption::Existing(_) => key(encryption),
    }
}

/// Everything that is encrypted.
fn encrypted(deployment: &Deployment) -> impl Iterator<Item = &Encryption> {
    deployment.encrypted_besides_secrets().chain(deployment.secured().map(|secured| &secured.encryption))
}

pub(super) fn lower(template: &mut Template, deployment: &Deployment) {
    if !encrypted(deployment).any(|encryption| *encryption == Encryption::Own) {
        return;
    }
    let account = json!({
        "Sid": "AccountDecides",
        "Effect": "Allow",
        "Principal": {"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
        "Action": "kms:*",
        "Resource": "*",
    });
    let reason = "the account's own policies decide who uses the key; without this nobody could ever manage it";
    let mut statements = vec![Statement::from_json(account, reason)];
    if deployment.config().logs.encryption == Encryption::Own {
        // AWS, "Encrypt log data in CloudWatch Logs using AWS Key Management Service".
        let group = sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:*");
        let logs = json!({
            "Sid": "LogsEncrypt",
            "Effect": "Allow",
            "Principal": {"Service": sub("logs.${AWS::Region}.${AWS::URLSuffix}")},
            "Action": ["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": group}},
        });
        let reason = "CloudWatch Logs: log events are written and read, logs.kms_key = \"own\"";
        statements.push(Statement::from_json(logs, reason));
    }
    let properties = json!({
        "Description": format!("{}: data of EventStoreDB", deployment.name()),
        "EnableKeyRotation": true,
        "KeyPolicy": document(&statements),
        "Tags": name_tag(deployment, "key"),
    });
    let key = template.add(KEY, because(Resource::new("AWS::KMS::Key", properties), &statements).retained());
    export(template, deployment, &Export::KeyArn, key.attribute("Arn"));
}
