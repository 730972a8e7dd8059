//! Containers and volumes of the user's own → parts of the task definition, of the roles and of the security groups.

use serde_json::{Map, Value, json};

use super::security::{NFS, egress, group_rule, ingress};
use super::task::{VERSION_CONSISTENCY, condition, health_check, log_configuration};
use super::{Statement, elastic_file_system_arn, file_system_arn, through_secrets_manager};
use crate::cfn::{LogicalId, Template};
use crate::model::{Capability, Efs, Extra, ExtraContainer, ExtraVolume, Place, Source};

/// The container definition.
pub(super) fn container(container: &ExtraContainer, log_group: &LogicalId) -> Value {
    let mut definition = Map::new();
    let mut set = |key: &str, value: Value| {
        let is_nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !is_nothing {
            definition.insert(key.to_owned(), value);
        }
    };
    let mounts = container.mounts.iter().map(|mount| {
        let (volume, read_only) = match &mount.source {
            Source::Ours(volume) => (volume.as_str(), true),
            Source::Theirs { volume, read_only } => (volume.as_str(), *read_only),
        };
        json!({"SourceVolume": volume, "ContainerPath": mount.path.as_str(), "ReadOnly": read_only})
    });
    let environment = container.environment.iter().map(|(name, value)| json!({"Name": name.as_str(), "Value": value}));
    let secrets =
        container.secrets.iter().map(|(name, secret)| json!({"Name": name.as_str(), "ValueFrom": secret.as_str()}));
    let depends_on = container.depends_on.iter().map(|(peer, until)| condition(peer.as_str(), until.as_str()));
    let mut capabilities = json!({"Drop": ["ALL"]});
    if !container.capabilities.is_empty() {
        capabilities["Add"] = container.capabilities.iter().map(|&capability| Capability::as_str(capability)).collect();
    }
    set("Name", json!(container.name.as_str()));
    set("Image", json!(container.image.as_str()));
    set("VersionConsistency", json!(VERSION_CONSISTENCY));
    set("Essential", json!(container.essential));
    set("User", json!(container.user.map(|user| user.to_string())));
    set("EntryPoint", json!(container.entry_point));
    set("Command", json!(container.command));
    set("Environment", environment.collect());
    set("Secrets", secrets.collect());
    set("MountPoints", mounts.collect());
    set("DependsOn", depends_on.collect());
    set("HealthCheck", json!(container.health_check.as_ref().map(health_check)));
    set("StartTimeout", json!(container.start_timeout));
    set("StopTimeout", json!(container.stop_timeout));
    set("Cpu", json!(container.cpu));
    set("Memory", json!(container.memory));
    set("MemoryReservation", json!(container.memory_reservation));
    set("ReadonlyRootFilesystem", json!(container.read_only_root));
    set("LinuxParameters", json!({"Capabilities": capabilities}));
    set("LogConfiguration", log_configuration(log_group));
    Value::Object(definition)
}

/// The volumes as the task declares them.
pub(super) fn volumes(extra: &Extra) -> impl Iterator<Item = Value> {
    extra.volumes.iter().map(|volume| {
        let mut declared = json!({"Name": volume.name.as_str()});
        if let Some(efs) = &volume.efs {
            declared["EFSVolumeConfiguration"] = configuration(efs);
        }
        declared
    })
}

fn configuration(efs: &Efs) -> Value {
    let mut configuration = json!({"FilesystemId": efs.file_system.as_str(), "TransitEncryption": "ENABLED"});
    let mut authorization = json!({"IAM": if efs.iam { "ENABLED" } else { "DISABLED" }});
    match &efs.at {
        Place::AccessPoint(id) => authorization["AccessPointId"] = json!(id.as_str()),
        Place::Directory(Some(directory)) => configuration["RootDirectory"] = json!(directory.as_str()),
        Place::Directory(None) => {}
    }
    configuration["AuthorizationConfig"] = authorization;
    configuration
}

/// Where the init container mounts the volumes, so that every uid may write to them.
pub(super) fn prepared(extra: &Extra) -> impl Iterator<Item = Value> {
    extra
        .prepared()
        .map(|(volume, path)| json!({"SourceVolume": volume.as_str(), "ContainerPath": path, "ReadOnly": false}))
}

/// What ECS reads for the containers when it starts the task.
pub(super) fn read_secrets(extra: &Extra) -> Vec<Statement> {
    let arns: Vec<_> = extra.secrets().into_iter().map(|arn| json!(arn.as_str())).collect();
    let keys: Vec<_> = extra.keys().into_iter().map(|key| json!(key.as_str())).collect();
    let mut statements = Vec::new();
    if !arns.is_empty() {
        let reason = "ECS: a container of [[containers]] starts, with `secrets`";
        let actions = ["secretsmanager:GetSecretValue"];
        statements.push(Statement::allow("ReadContainerSecrets", &actions, &json!(arns), reason));
    }
    if !keys.is_empty() {
        let reason = "Secrets Manager: such a secret is read, which is encrypted with `secrets_kms_key`";
        let use_keys = Statement::allow("UseKeyOfContainerSecrets", &["kms:Decrypt"], &json!(keys), reason);
        statements.push(through_secrets_manager(use_keys));
    }
    statements
}

/// The volumes that are mounted with the task's role: at their access point alone, where they have one.
pub(super) fn mount(extra: &Extra) -> impl Iterator<Item = Statement> {
    on_file_systems(extra).filter(|(_, efs)| efs.iam).map(|(volume, efs)| {
        let mount = Statement::allow(
            &format!("Mount{}", volume.name.logical()),
            &["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            &file_system_arn(&json!(efs.file_system.as_str())),
            format!(
                "EFS: the task starts and mounts the volume {} of [[volumes]], and containers write to it",
                volume.name
            ),
        );
        let Place::AccessPoint(id) = &efs.at else { return mount };
        let access_point = elastic_file_system_arn("access-point", &json!(id.as_str()));
        mount.when("elasticfilesystem:AccessPointArn", &access_point)
    })
}

fn on_file_systems(extra: &Extra) -> impl Iterator<Item = (&ExtraVolume, &Efs)> {
    extra.volumes.iter().filter_map(|volume| Some((volume, volume.efs.as_ref()?)))
}

/// The way from the nodes to the file systems; several volumes may lie behind one group.
pub(super) fn ways(template: &mut Template, extra: &Extra, node: &Value) {
    let mut opened = Vec::new();
    for (volume, efs) in on_file_systems(extra) {
        if opened.contains(&&efs.security_group) {
            continue;
        }
        opened.push(&efs.security_group);
        let id = volume.name.logical();
        let group = json!(efs.security_group.as_str());
        egress(
            template,
            &format!("NodeTo{id}Volume"),
            node,
            &group_rule(&group, "Destination"),
            &format!("NFS to volume {}", volume.name),
            NFS,
        );
        let from = group_rule(node, "Source");
        ingress(template, &format!("{id}VolumeFromNode"), &group, &from, "NFS from the nodes", NFS);
    }
}
