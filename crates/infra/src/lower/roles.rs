//! What tasks may do.

use serde_json::{Value, json};

use super::service::Shared;
use super::{elastic_file_system_arn, encryption, file_system_arn, license, policy, secret_arn, statement, trust};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, NodeId, Task, Volume};

/// What ECS itself needs to start the task.
pub(super) fn execution(
    shared: &Shared<'_>,
    template: &mut Template,
    id: &str,
    task: &Task,
    log_groups: &[LogicalId],
) -> LogicalId {
    let groups: Vec<_> = log_groups.iter().map(|group| group.attribute("Arn")).collect();
    let mut statements = vec![statement("WriteLogs", &["logs:CreateLogStream", "logs:PutLogEvents"], &json!(groups))];
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
        statements.push(statement("ReadFirstPasswords", &["secretsmanager:GetSecretValue"], &json!(secrets)));
        statements.extend(use_key_of_secrets(shared.deployment, &["kms:Decrypt"]));
    }
    statements.extend(license::statements(shared.deployment));
    role(shared, template, id, "starts the task", "start", &statements)
}

/// What ECS needs to pull images from repositories of ECR.
pub(super) fn pull(repositories: &Value) -> [Value; 2] {
    let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
    [
        statement("PullImages", &pull, repositories),
        // It takes no resource.
        statement("LogInToRegistry", &["ecr:GetAuthorizationToken"], &json!("*")),
    ]
}

/// What the programs in the task call. One role serves all containers of a task.
pub(super) fn task(shared: &Shared<'_>, template: &mut Template, id: &str, node: NodeId) -> LogicalId {
    let deployment = shared.deployment;
    let mut statements = vec![mount(shared, node)];
    let secrets: Vec<_> = deployment.logins().map(|login| secret_arn(deployment, login)).collect();
    let has_vote = matches!(node, NodeId::Voter(_));
    if !secrets.is_empty() {
        let (look, change) = (
            ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:ListSecretVersionIds"],
            ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"],
        );
        // Beside a read-only replica nobody leads, and only the leader's sidecar changes a password.
        statements.push(if has_vote {
            statement("KeepCredentials", &[look.as_slice(), &change].concat(), &json!(secrets))
        } else {
            statement("LookAtCredentials", &look, &json!(secrets))
        });
    }
    if has_vote {
        statements.extend(of_a_voter(shared));
    }
    if deployment.ca_secret_name().is_some() {
        statements.push(statement(
            "ShareAuthority",
            &[
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
                "secretsmanager:UpdateSecretVersionStage",
            ],
            &deployment.import(&Export::CaSecretArn),
        ));
    }
    statements.extend(use_key_of_secrets(shared.deployment, &["kms:Decrypt", "kms:GenerateDataKey"]));
    role(shared, template, id, "what the node's containers call", "node", &statements)
}

/// What the sidecar of a node that votes does for it: it lists it for clients, and keeps ECS from stopping it at a bad time.
fn of_a_voter(shared: &Shared<'_>) -> Vec<Value> {
    let zone = json!({"Fn::Sub": [
        "arn:${AWS::Partition}:route53:::hostedzone/${Zone}",
        {"Zone": shared.hosted_zone},
    ]});
    let mut statements = vec![
        statement(
            "RegisterNode",
            &[
                "servicediscovery:DeregisterInstance",
                "servicediscovery:GetInstance",
                "servicediscovery:ListInstances",
                "servicediscovery:RegisterInstance",
            ],
            &shared.client_service.attribute("Arn"),
        ),
        // Operations have no ARN.
        statement("FollowRegistration", &["servicediscovery:GetOperation"], &json!("*")),
        // Cloud Map writes the records with the rights of its caller (aws-contract §3.2).
        statement("WriteDnsRecords", &["route53:ChangeResourceRecordSets", "route53:GetHostedZone"], &zone),
        statement("FindHostedZone", &["route53:ListHostedZonesByName"], &json!("*")),
    ];
    if shared.deployment.nodes().len() > 1 {
        // The agent asks ECS with this role. A task's own ARN is known only once it runs.
        let tasks = json!({"Fn::Sub": [
            "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Cluster}/*",
            {"Cluster": shared.cluster.reference()},
        ]});
        statements.push(statement("ProtectTask", &["ecs:UpdateTaskProtection"], &tasks));
    }
    statements
}

/// Through its own access points, and not as root.
fn mount(shared: &Shared<'_>, node: NodeId) -> Value {
    let deployment = shared.deployment;
    let access_point = |volume: Volume| {
        elastic_file_system_arn("access-point", &deployment.import(&Export::access_point_id(node, volume)))
    };
    let access_points = if deployment.config().server.log_volume {
        json!([access_point(Volume::Data), access_point(Volume::Logs)])
    } else {
        access_point(Volume::Data)
    };
    let mut mount = statement(
        "MountOwnData",
        &["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
        &file_system_arn(&deployment.import(&Export::FileSystemId)),
    );
    mount["Condition"] = json!({"StringEquals": {"elasticfilesystem:AccessPointArn": access_points}});
    mount
}

/// Secrets Manager asks KMS in the name of its caller; the account's own key for it needs no grant.
pub(super) fn use_key_of_secrets(deployment: &Deployment, actions: &[&str]) -> Option<Value> {
    let secured = deployment.secured()?;
    let key = encryption::imported_key(deployment, &secured.encryption)?;
    let mut statement = statement("UseKeyOfSecrets", actions, &key);
    let service = json!({"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"});
    statement["Condition"] = json!({"StringEquals": {"kms:ViaService": service}});
    Some(statement)
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
