//! The daily backup: vault, plan, and what it is a plan for.

use serde_json::{Value, json};

use super::{encryption, file_system_arn, policy, statement, sub, trust};
use crate::cfn::{Resource, Template};
use crate::model::{Backup, Deployment, Vault};

pub(super) fn lower(template: &mut Template, deployment: &Deployment, file_system: &Value) {
    let Some(backup) = &deployment.config().backup else { return };
    let name = deployment.name().as_str();
    let (vault, key) = vault(template, deployment, backup);
    let daily = json!({
        "RuleName": "daily",
        "TargetBackupVault": vault,
        "ScheduleExpression": backup.daily_at.daily(),
        "StartWindowMinutes": backup.start_window,
        "CompletionWindowMinutes": backup.completion_window,
        "Lifecycle": {"DeleteAfterDays": backup.delete_after},
    });
    let plan = template.add(
        "BackupPlan",
        Resource::new(
            "AWS::Backup::BackupPlan",
            json!({"BackupPlan": {"BackupPlanName": name, "BackupPlanRule": [daily]}}),
        ),
    );
    let mut role = json!({
        "Description": format!("{name}: backs up the file system"),
        "AssumeRolePolicyDocument": trust("backup.amazonaws.com"),
        "ManagedPolicyArns":
            [sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup")],
    });
    if let Some(key) = key {
        let actions = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"];
        role["Policies"] = json!([policy("encrypt", &[statement("EncryptRecoveryPoints", &actions, &key)])]);
    }
    let role = template.add("BackupRole", Resource::new("AWS::IAM::Role", role));
    // Without a selection a plan backs nothing up (production-review row 18).
    let selection = json!({
        "SelectionName": name,
        "IamRoleArn": role.attribute("Arn"),
        "Resources": [file_system_arn(file_system)],
    });
    let properties = json!({"BackupPlanId": plan.reference(), "BackupSelection": selection});
    template.add("BackupSelection", Resource::new("AWS::Backup::BackupSelection", properties));
}

/// The vault's name, and the key of a new one.
fn vault(template: &mut Template, deployment: &Deployment, backup: &Backup) -> (Value, Option<Value>) {
    match &backup.vault {
        Vault::Existing(name) => (json!(name.as_str()), None),
        Vault::New(encryption) => {
            // A name of one letter would be too short for a vault.
            let mut properties = json!({"BackupVaultName": format!("{}-backup", deployment.name())});
            let key = encryption::key(encryption);
            if let Some(key) = &key {
                properties["EncryptionKeyArn"] = key.clone();
            }
            let vault = Resource::new("AWS::Backup::BackupVault", properties).retained();
            (template.add("BackupVault", vault).reference(), key)
        }
    }
}
