//! What tasks may do.

use serde_json::{Value, json};

use super::privileges as may;
use super::service::Shared;
use super::task::reference_arn;
use super::{
    Statement, because, document, elastic_file_system_arn, encryption, extra, file_system_arn, license, policy,
    pull_through, secret_arn, sub, through_secrets_manager,
};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, Image, NodeId, Task, Volume};

/// Who assumes the roles of a task.
const ECS_TASKS: &str = "ecs-tasks.amazonaws.com";

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
    let ours = task.containers.iter().filter_map(|container| shared.repository_arn(&container.image));
    let theirs = task.extra.containers.iter().filter_map(|container| reference_arn(&container.image));
    let mut repositories = Vec::new();
    for repository in ours.chain(theirs) {
        // Several containers may be of one image.
        if !repositories.contains(&repository) {
            repositories.push(repository);
        }
    }
    if !repositories.is_empty() {
        statements.extend(pull(&json!(repositories)));
    }
    let ours = task.containers.iter().filter_map(|container| match &container.image {
        Image::Reference(reference) => Some(reference),
        Image::OwnRegistry(_) | Image::Built(_) => None,
    });
    let theirs = task.extra.containers.iter().map(|container| &container.image);
    statements.extend(pull_through::fill(shared.deployment, ours.chain(theirs)));
    let passwords = task.containers.iter().flat_map(|container| &container.passwords);
    let secrets: Vec<_> = passwords.map(|given| secret_arn(shared.deployment, given.user.as_str())).collect();
    if !secrets.is_empty() {
        statements.push(may::READ_FIRST_PASSWORDS.on(&json!(secrets)));
        statements.extend(use_key_of_secrets(shared.deployment, |key| may::DECRYPT_FIRST_PASSWORDS.on(key)));
    }
    statements.extend(license::statements(shared.deployment));
    statements.extend(extra::read_secrets(&task.extra));
    let trust = Statement::trust(ECS_TASKS, "ECS starts the task");
    role(shared, template, id, "starts the task", ("start", &trust), &statements)
}

/// What ECS needs to pull images from repositories of ECR.
pub(super) fn pull(repositories: &Value) -> [Statement; 2] {
    [may::PULL_IMAGES.on(repositories), may::LOG_IN_TO_REGISTRY.on(&json!("*"))]
}

/// What the programs in the task call. One role serves all containers of a task.
pub(super) fn task(shared: &Shared<'_>, template: &mut Template, id: &str, node: NodeId) -> LogicalId {
    let deployment = shared.deployment;
    let mut statements = vec![mount(shared, node)];
    statements.extend(extra::mount(&deployment.config().extra));
    let secrets: Vec<_> = deployment.logins().map(|login| secret_arn(deployment, login)).collect();
    let has_vote = matches!(node, NodeId::Voter(_));
    if !secrets.is_empty() {
        // Beside a read-only replica nobody leads, and only the leader's sidecar changes a password.
        let may = if has_vote { may::KEEP_CREDENTIALS } else { may::LOOK_AT_CREDENTIALS };
        statements.push(may.on(&json!(secrets)));
    }
    if has_vote {
        statements.extend(of_a_voter(shared));
    }
    if deployment.ca_secret_name().is_some() {
        statements.push(may::SHARE_AUTHORITY.on(&deployment.import(&Export::CaSecretArn)));
    }
    statements.extend(use_key_of_secrets(shared.deployment, |key| may::USE_KEY_OF_SECRETS.on(key)));
    role(shared, template, id, "what the node's containers call", ("node", &trust_of_tasks()), &statements)
}

/// What the sidecar of a node that votes does for it: it lists it for clients, and keeps ECS from stopping it at a bad time.
fn of_a_voter(shared: &Shared<'_>) -> Vec<Statement> {
    let zone = json!({"Fn::Sub": [
        "arn:${AWS::Partition}:route53:::hostedzone/${Zone}",
        {"Zone": shared.hosted_zone},
    ]});
    let client_service = shared.client_service.attribute("Arn");
    let mut statements = vec![
        may::REGISTER_NODE.on(&client_service),
        may::LOOK_AT_REGISTRATIONS.on(&json!("*")).when("servicediscovery:ServiceArn", &client_service),
        may::FOLLOW_REGISTRATION.on(&json!("*")),
        may::WRITE_DNS_RECORDS.on(&zone),
        may::FIND_HOSTED_ZONE.on(&json!("*")),
    ];
    if shared.deployment.nodes().len() > 1 {
        statements.push(may::PROTECT_TASK.on(&shared.tasks()));
    }
    statements
}

/// Through its own access points, and not as root.
fn mount(shared: &Shared<'_>, node: NodeId) -> Statement {
    let deployment = shared.deployment;
    let access_point = |volume: Volume| {
        elastic_file_system_arn("access-point", &deployment.import(&Export::access_point_id(node, volume)))
    };
    let access_points = if deployment.config().server.log_volume {
        json!([access_point(Volume::Data), access_point(Volume::Logs)])
    } else {
        access_point(Volume::Data)
    };
    let mount = may::MOUNT_OWN_DATA.on(&file_system_arn(&deployment.import(&Export::FileSystemId)));
    mount.when("elasticfilesystem:AccessPointArn", &access_points)
}

/// Secrets Manager asks KMS in the name of its caller; the account's own key for it needs no grant.
pub(super) fn use_key_of_secrets(
    deployment: &Deployment,
    statement: impl Fn(&Value) -> Statement,
) -> Option<Statement> {
    let secured = deployment.secured()?;
    let key = encryption::imported_key(deployment, &secured.encryption)?;
    Some(through_secrets_manager(statement(&key)))
}

/// On behalf of ECS in this region of this account, as AWS has it in "Amazon ECS task IAM role". It names the key for this role
/// alone: not for the one that starts tasks, nor for that of a backup ("Cross-service confused deputy prevention" of AWS Backup speaks
/// of topics), and a condition on a key that is not sent lets nobody in.
fn trust_of_tasks() -> Statement {
    let ecs = sub("arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:*");
    Statement::trust(ECS_TASKS, "the containers of the task call AWS with it").on_condition(
        "ArnLike",
        "aws:SourceArn",
        &ecs,
    )
}

pub(super) fn role(
    shared: &Shared<'_>,
    template: &mut Template,
    id: &str,
    purpose: &str,
    (name, trust): (&str, &Statement),
    statements: &[Statement],
) -> LogicalId {
    let properties = json!({
        "Description": format!("{}: {purpose}", shared.deployment.name()),
        "AssumeRolePolicyDocument": document(std::slice::from_ref(trust)),
        "Policies": [policy(name, statements)],
    });
    let role = Resource::new("AWS::IAM::Role", properties);
    template.add(id, because(role, statements.iter().chain([trust])))
}
