//! Task → task definition.

use serde_json::{Value, json};

use super::service::Shared;
use super::{extra, license, secret_arn, sub};
use crate::cfn::{LogicalId, Resource};
use crate::exports::Export;
use crate::image::{EcrRepository, ImageReference};
use crate::model::{
    Condition, Container, ContainerName, HealthCheck, Image, Node, NodeId, PASSWORD_KEY, Task, Value as Setting, Volume,
};
use crate::values::{BuiltInUser, Qualifier};

/// A node's task definition; `log_groups` are those of its containers, in their order.
pub(super) fn definition(
    shared: &Shared<'_>,
    node: &Node,
    log_groups: &[LogicalId],
    execution_role: &Value,
    task_role: &Value,
) -> Resource {
    let task = node.task();
    let (own_groups, extra_groups) = log_groups.split_at(task.containers.len());
    let mut containers: Vec<_> =
        task.containers.iter().zip(own_groups).map(|(container, group)| shared.container(container, group)).collect();
    let extras = task.extra.containers.iter().zip(extra_groups);
    containers.extend(extras.map(|(container, group)| extra::container(container, group)));
    // The first container is the init container.
    if let Some(Value::Array(mounts)) = containers.first_mut().map(|init| &mut init["MountPoints"]) {
        mounts.extend(extra::prepared(&task.extra));
    }
    Resource::new(
        "AWS::ECS::TaskDefinition",
        json!({
            "Family": format!("{}-{}", shared.deployment.name(), node.name()),
            "RequiresCompatibilities": ["FARGATE"],
            "NetworkMode": "awsvpc",
            "RuntimePlatform": {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"},
            "Cpu": task.size.cpu().to_string(),
            "Memory": task.size.memory_mib().to_string(),
            "ExecutionRoleArn": execution_role,
            "TaskRoleArn": task_role,
            "Volumes": shared.volumes(node.id(), task),
            "ContainerDefinitions": containers,
        }),
    )
}

impl Shared<'_> {
    fn volumes(&self, node: NodeId, task: &Task) -> Value {
        let mounted = |volume: &Volume| {
            task.containers.iter().flat_map(|container| &container.mounts).any(|mount| mount.volume == *volume)
        };
        let volume = |volume: Volume| {
            let mut declared = json!({"Name": volume.as_str()});
            if matches!(volume, Volume::Data | Volume::Logs) {
                declared["EFSVolumeConfiguration"] = json!({
                    "FilesystemId": self.deployment.import(&Export::FileSystemId),
                    "TransitEncryption": "ENABLED",
                    "AuthorizationConfig": {
                        "AccessPointId": self.deployment.import(&Export::access_point_id(node, volume)),
                        "IAM": "ENABLED",
                    },
                });
            }
            declared
        };
        Volume::ALL.into_iter().filter(mounted).map(volume).chain(extra::volumes(&task.extra)).collect()
    }

    fn container(&self, container: &Container, log_group: &LogicalId) -> Value {
        let environment =
            container.variables().map(|(name, value)| json!({"Name": name, "Value": self.setting(value)}));
        let mounts = container.mounts.iter().map(|mount| {
            json!({"SourceVolume": mount.volume.as_str(), "ContainerPath": mount.path, "ReadOnly": mount.read_only})
        });
        let depends_on = container.depends_on.iter().map(|(name, condition)| {
            let until = match condition {
                Condition::Start => "START",
                Condition::Success => "SUCCESS",
            };
            self::condition(name.as_str(), until)
        });
        let mut definition = json!({
            "Name": container.name.as_str(),
            "Image": self.image(&container.image),
            // A tag is looked up once for each deployment of the service, so that a task which is replaced runs the same image.
            "VersionConsistency": VERSION_CONSISTENCY,
            "Essential": container.essential,
            "User": format!("{0}:{0}", container.user),
            "Environment": environment.collect::<Vec<_>>(),
            "MountPoints": mounts.collect::<Vec<_>>(),
            "ReadonlyRootFilesystem": true,
            // No InitProcessEnabled: guard is the server's parent and reaps all that it leaves, the others have no children.
            "LinuxParameters": {"Capabilities": {"Drop": ["ALL"]}},
            "LogConfiguration": log_configuration(log_group),
        });
        let mut set = |key: &str, value: Value| definition[key] = value;
        if !container.depends_on.is_empty() {
            set("DependsOn", Value::Array(depends_on.collect()));
        }
        if let Some(entry_point) = &container.entry_point {
            set("EntryPoint", json!(entry_point));
        }
        if !container.command.is_empty() {
            set("Command", json!(container.command));
        }
        let passwords =
            container.passwords.iter().map(|given| json!({"Name": given.name, "ValueFrom": self.password(given.user)}));
        let license = container.license.as_ref().map(license::variable);
        let secrets: Vec<_> = passwords.chain(license).collect();
        if !secrets.is_empty() {
            set("Secrets", Value::Array(secrets));
        }
        if !container.ports.is_empty() {
            let ports = container.ports.iter().map(|port| json!({"ContainerPort": port, "Protocol": "tcp"}));
            set("PortMappings", Value::Array(ports.collect()));
        }
        if let Some(seconds) = container.start_timeout {
            set("StartTimeout", json!(seconds));
        }
        if let Some(seconds) = container.stop_timeout {
            set("StopTimeout", json!(seconds));
        }
        if let Some(check) = &container.health_check {
            set("HealthCheck", health_check(check));
        }
        if container.name == ContainerName::EventStore {
            set("Ulimits", json!([{"Name": "nofile", "SoftLimit": 65535, "HardLimit": 65535}]));
        }
        definition
    }

    /// What ECS reads of a user's secret.
    fn password(&self, user: BuiltInUser) -> Value {
        secret_value(&secret_arn(self.deployment, user.as_str()), PASSWORD_KEY)
    }

    fn setting(&self, value: &Setting) -> Value {
        match value {
            Setting::Literal(text) => json!(text),
            Setting::Region => json!({"Ref": "AWS::Region"}),
            Setting::Secret(user) => secret_arn(self.deployment, user.as_str()),
            Setting::CaSecret => self.deployment.import(&Export::CaSecretArn),
            Setting::ClientService => self.client_service.attribute("Id"),
        }
    }

    fn image(&self, image: &Image) -> Value {
        match image {
            Image::Reference(reference) => json!(reference.as_str()),
            Image::OwnRegistry(_) | Image::Built(_) => {
                let tag = match image {
                    Image::Built(program) => &self.built[program],
                    _ => env!("CARGO_PKG_VERSION"),
                };
                let repository = self.repository(image);
                sub(format!("${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/{repository}:{tag}"))
            }
        }
    }

    /// The name of a repository in the account's own registry.
    fn repository(&self, image: &Image) -> String {
        match image {
            Image::Reference(reference) => reference.as_str().to_owned(),
            Image::OwnRegistry(program) => format!("{OWN_REPOSITORIES}/{}", program.as_str()),
            Image::Built(_) => built_repository(&self.deployment.config().deploy.cdk_qualifier),
        }
    }

    /// The repository that the execution role must be allowed to read; other registries than ECR do not ask AWS.
    pub(super) fn repository_arn(&self, image: &Image) -> Option<Value> {
        if let Image::Reference(reference) = image {
            return reference_arn(reference);
        }
        let name = self.repository(image);
        Some(sub(format!("arn:${{AWS::Partition}}:ecr:${{AWS::Region}}:${{AWS::AccountId}}:repository/{name}")))
    }
}

/// A dependency on another container of the task.
pub(super) fn condition(container: &str, until: &str) -> Value {
    json!({"ContainerName": container, "Condition": until})
}

pub(super) fn health_check(check: &HealthCheck) -> Value {
    let command: Vec<_> = ["CMD"].into_iter().chain(check.command.iter().map(String::as_str)).collect();
    json!({
        "Command": command,
        "Interval": check.interval,
        "Timeout": check.timeout,
        "Retries": check.retries,
        "StartPeriod": check.start_period,
    })
}

/// The repository of an image, if it is in ECR.
pub(super) fn reference_arn(image: &ImageReference) -> Option<Value> {
    let EcrRepository { account, region, name } = image.ecr_repository()?;
    Some(sub(format!("arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{name}")))
}

/// One value of a secret that is JSON, for ECS (AWS, "Pass Secrets Manager secrets through environment variables").
pub(super) fn secret_value(arn: &Value, key: &str) -> Value {
    json!({"Fn::Join": ["", [arn, value_of(key)]]})
}

/// What follows the ARN of the secret.
pub(super) fn value_of(key: &str) -> String {
    format!(":{key}::")
}

/// It is ECS's default, and a change of that would change what runs.
pub(super) const VERSION_CONSISTENCY: &str = "enabled";

/// A container does not wait for its log; under pressure lines may be lost.
pub(super) fn log_configuration(group: &LogicalId) -> Value {
    json!({
        "LogDriver": "awslogs",
        "Options": {
            "awslogs-group": group.reference(),
            "awslogs-region": {"Ref": "AWS::Region"},
            "awslogs-stream-prefix": "task",
            "mode": "non-blocking",
            "max-buffer-size": "10m",
        },
    })
}

/// Where our own images are, in the account and region of the stack.
pub(crate) const OWN_REPOSITORIES: &str = "eventstore-fargate";

/// Where `cdk bootstrap` has images pushed that whoever deploys builds (cloud-assembly §4).
pub(crate) fn built_repository(qualifier: &Qualifier) -> String {
    format!("cdk-{qualifier}-container-assets-${{AWS::AccountId}}-${{AWS::Region}}")
}
