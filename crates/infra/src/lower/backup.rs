//! The daily backup: vault, role, and who begins it. AWS Backup's own plan does if nothing is stopped; otherwise `stop` does.

use serde_json::{Value, json};

use super::{Statement, because, document, encryption, export, file_system_arn, policy, sub};
use crate::cfn::{Remark, Resource, Template};
use crate::exports::Export;
use crate::model::{Backup, BackupMode, Deployment, Vault};

pub(super) fn lower(template: &mut Template, deployment: &Deployment, file_system: &Value) {
    let Some(backup) = &deployment.config().backup else { return };
    let name = deployment.name().as_str();
    let (vault, key) = vault(template, deployment, backup);
    let trust = Statement::trust("backup.amazonaws.com", "AWS Backup makes the daily recovery point, and copies it");
    let managed = sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup");
    let mut statements = Vec::new();
    let mut role = json!({
        "Description": format!("{name}: backs up the file system"),
        "AssumeRolePolicyDocument": document(std::slice::from_ref(&trust)),
        "ManagedPolicyArns": [managed],
    });
    if let Some(key) = key {
        let actions = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"];
        let reason = "AWS Backup: a recovery point is written to the vault, which is encrypted with backup.kms_key";
        statements.push(Statement::allow("EncryptRecoveryPoints", &actions, &key, reason));
        role["Policies"] = json!([policy("encrypt", &statements)]);
    }
    statements.push(trust);
    let role = because(Resource::new("AWS::IAM::Role", role), &statements).remark(Remark {
        on: managed,
        of: None,
        says: "what AWS Backup needs to back up and to copy; AWS keeps it up to date".to_owned(),
    });
    let role = template.add("BackupRole", role).attribute("Arn");
    match backup.mode {
        BackupMode::Stop => export(template, deployment, &Export::BackupRoleArn, role),
        BackupMode::Online => plan(template, deployment, backup, file_system, &vault, &role),
    }
}

fn plan(
    template: &mut Template,
    deployment: &Deployment,
    backup: &Backup,
    file_system: &Value,
    vault: &Value,
    role: &Value,
) {
    let name = deployment.name().as_str();
    let mut daily = json!({
        "RuleName": "daily",
        "TargetBackupVault": vault,
        "ScheduleExpression": backup.daily_at.daily(),
        "StartWindowMinutes": backup.start_window,
        "CompletionWindowMinutes": backup.completion_window,
        "Lifecycle": lifecycle(backup),
    });
    if let Some(copies) = &backup.copy_to {
        daily["CopyActions"] = json!([{"DestinationBackupVaultArn": copies.as_str(), "Lifecycle": lifecycle(backup)}]);
    }
    let plan = template.add(
        "BackupPlan",
        Resource::new(
            "AWS::Backup::BackupPlan",
            json!({"BackupPlan": {"BackupPlanName": name, "BackupPlanRule": [daily]}}),
        ),
    );
    // Without a selection a plan backs nothing up (production-review row 18).
    let selection = json!({
        "SelectionName": name,
        "IamRoleArn": role,
        "Resources": [file_system_arn(file_system)],
    });
    let properties = json!({"BackupPlanId": plan.reference(), "BackupSelection": selection});
    template.add("BackupSelection", Resource::new("AWS::Backup::BackupSelection", properties));
}

/// How long a recovery point is kept.
pub(super) fn lifecycle(backup: &Backup) -> Value {
    json!({"DeleteAfterDays": backup.delete_after})
}

/// The name of the vault.
pub(crate) fn vault_name(deployment: &Deployment, vault: &Vault) -> String {
    match vault {
        Vault::Existing(name) => name.as_str().to_owned(),
        // A name of one letter would be too short for a vault.
        Vault::New { .. } => format!("{}-backup", deployment.name()),
    }
}

/// A reference to the vault, and the key of a new one.
fn vault(template: &mut Template, deployment: &Deployment, backup: &Backup) -> (Value, Option<Value>) {
    let name = vault_name(deployment, &backup.vault);
    let Vault::New { encryption, lock } = &backup.vault else { return (json!(name), None) };
    let mut properties = json!({"BackupVaultName": name});
    let key = encryption::key(encryption);
    if let Some(key) = &key {
        properties["EncryptionKeyArn"] = key.clone();
    }
    if let Some(days) = lock {
        // With ChangeableForDays nobody could ever take it off again, not even AWS (AWS Backup, "Vault lock").
        properties["LockConfiguration"] = json!({"MinRetentionDays": days});
    }
    let vault = Resource::new("AWS::Backup::BackupVault", properties).retained();
    (template.add("BackupVault", vault).reference(), key)
}
