//! What tasks may do.

use serde_json::{Value, json};

use super::privileges::{self as may, when};
use super::service::Shared;
use super::{elastic_file_system_arn, encryption, file_system_arn, policy, secret_arn, trust};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, Task, Volume};

/// What ECS itself needs to start the task.
pub(super) fn execution(
    shared: &Shared<'_>,
    template: &mut Template,
    id: &str,
    task: &Task,
    log_groups: &[LogicalId],
) -> LogicalId {
    let groups: Vec<_> = log_groups.iter().map(|group| group.attribute("Arn")).collect();
    let mut statements = vec![may::WRITE_LOGS.on(&json!(groups))];
    // Two containers may be of one image.
    let mut repositories: Vec<_> =
        task.containers.iter().filter_map(|container| shared.repository_arn(&container.image)).collect();
    repositories.dedup();
    if !repositories.is_empty() {
        statements.extend(pull(&json!(repositories)));
    }
    let passwords = task.containers.iter().flat_map(|container| &container.passwords);
    let secrets: Vec<_> = passwords.map(|(_, user)| secret_arn(shared.deployment, user.as_str())).collect();
    if !secrets.is_empty() {
        statements.push(may::READ_FIRST_PASSWORDS.on(&json!(secrets)));
        statements.extend(use_key_of_secrets(shared.deployment, &may::DECRYPT_FIRST_PASSWORDS.actions()));
    }
    role(shared, template, id, "starts the task", "start", &statements)
}

/// What ECS needs to pull images from repositories of ECR.
pub(super) fn pull(repositories: &Value) -> [Value; 2] {
    [may::PULL_IMAGES.on(repositories), may::LOG_IN_TO_REGISTRY.on(&json!("*"))]
}

/// What the programs in the task call. One role serves all containers of a task.
pub(super) fn task(shared: &Shared<'_>, template: &mut Template, id: &str, number: usize) -> LogicalId {
    let deployment = shared.deployment;
    let mut statements = vec![mount(shared, number)];
    let secrets: Vec<_> = deployment.logins().map(|login| secret_arn(deployment, login)).collect();
    if !secrets.is_empty() {
        statements.push(may::KEEP_CREDENTIALS.on(&json!(secrets)));
    }
    let zone = json!({"Fn::Sub": [
        "arn:${AWS::Partition}:route53:::hostedzone/${Zone}",
        {"Zone": shared.hosted_zone},
    ]});
    let client_service = shared.client_service.attribute("Arn");
    statements.extend([
        may::REGISTER_NODE.on(&client_service),
        when(may::LOOK_AT_REGISTRATIONS.on(&json!("*")), "servicediscovery:ServiceArn", &client_service),
        may::FOLLOW_REGISTRATION.on(&json!("*")),
        may::WRITE_DNS_RECORDS.on(&zone),
        may::FIND_HOSTED_ZONE.on(&json!("*")),
    ]);
    if deployment.nodes().len() > 1 {
        let tasks = json!({"Fn::Sub": [
            "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Cluster}/*",
            {"Cluster": shared.cluster.reference()},
        ]});
        statements.push(may::PROTECT_TASK.on(&tasks));
    }
    if deployment.ca_secret_name().is_some() {
        statements.push(may::SHARE_AUTHORITY.on(&deployment.import(&Export::CaSecretArn)));
    }
    statements.extend(use_key_of_secrets(shared.deployment, &may::USE_KEY_OF_SECRETS.actions()));
    role(shared, template, id, "what the node's containers call", "node", &statements)
}

/// Through its own access points, and not as root.
fn mount(shared: &Shared<'_>, number: usize) -> Value {
    let deployment = shared.deployment;
    let access_point = |volume: Volume| {
        elastic_file_system_arn("access-point", &deployment.import(&Export::access_point_id(number, volume)))
    };
    let access_points = if deployment.config().server.log_volume {
        json!([access_point(Volume::Data), access_point(Volume::Logs)])
    } else {
        access_point(Volume::Data)
    };
    let mount = may::MOUNT_OWN_DATA.on(&file_system_arn(&deployment.import(&Export::FileSystemId)));
    when(mount, "elasticfilesystem:AccessPointArn", &access_points)
}

/// Secrets Manager asks KMS in the name of its caller; the account's own key for it needs no grant.
pub(super) fn use_key_of_secrets(deployment: &Deployment, actions: &[&str]) -> Option<Value> {
    let secured = deployment.secured()?;
    let key = encryption::imported_key(deployment, &secured.encryption)?;
    let statement = super::statement(may::USE_KEY_OF_SECRETS.sid, actions, &key);
    let service = json!({"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"});
    Some(when(statement, "kms:ViaService", &service))
}

fn role(
    shared: &Shared<'_>,
    template: &mut Template,
    id: &str,
    purpose: &str,
    name: &str,
    statements: &[Value],
) -> LogicalId {
    let properties = json!({
        "Description": format!("{}: {purpose}", shared.deployment.name()),
        "AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com"),
        "Policies": [policy(name, statements)],
    });
    template.add(id, Resource::new("AWS::IAM::Role", properties))
}
