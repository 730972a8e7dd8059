//! The file system, and in it a directory of its own for every node and purpose.

use serde_json::{Value, json};

use super::network::Network;
use super::{Statement, because, document, encryption, export, name_tag};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{
    DATA_UID, Deployment, FileSystem, InfrequentAccess, NewFileSystem, Node, NodeId, Throughput, Volume,
};

/// Gives the file system's id.
pub(super) fn lower(template: &mut Template, deployment: &Deployment, network: &Network, group: &Value) -> Value {
    let data = &deployment.config().data;
    let file_system = match &data.file_system {
        FileSystem::New(new) => {
            let id = file_system(template, deployment, new).reference();
            mount_targets(template, &id, network, group);
            id
        }
        FileSystem::Existing { id, .. } => json!(id.as_str()),
    };
    export(template, deployment, &Export::FileSystemId, file_system.clone());
    for node in deployment.members() {
        access_point(template, deployment, &file_system, node, Volume::Data);
        if deployment.config().server.log_volume {
            access_point(template, deployment, &file_system, node, Volume::Logs);
        }
    }
    file_system
}

fn access_point_name(node: NodeId, volume: Volume) -> String {
    let purpose = if volume == Volume::Logs { "Logs" } else { "Data" };
    format!("{node}{purpose}AccessPoint")
}

fn file_system(template: &mut Template, deployment: &Deployment, new: &NewFileSystem) -> LogicalId {
    let name = new.name.as_ref().map_or_else(|| format!("{}-data", deployment.name()), ToString::to_string);
    // A policy ends anonymous access; task roles allow what they need (production-review row 12).
    let denied = [
        deny("DenyWithoutTls", "*", "files are not read off the network").on_condition(
            "Bool",
            "aws:SecureTransport",
            &json!("false"),
        ),
        deny("DenyRoot", "elasticfilesystem:ClientRootAccess", "nobody is root there; no node needs to be"),
    ];
    let mut properties = json!({
        "Encrypted": true,
        "PerformanceMode": "generalPurpose",
        "BackupPolicy": {"Status": if new.automatic_backups { "ENABLED" } else { "DISABLED" }},
        "FileSystemPolicy": document(&denied),
        "FileSystemTags": [{"Key": "Name", "Value": name}],
    });
    let mut set = |key: &str, value: Value| properties[key] = value;
    match new.throughput {
        Throughput::Elastic => set("ThroughputMode", json!("elastic")),
        Throughput::Bursting => set("ThroughputMode", json!("bursting")),
        Throughput::Provisioned(mibps) => {
            set("ThroughputMode", json!("provisioned"));
            set("ProvisionedThroughputInMibps", json!(mibps));
        }
    }
    if let InfrequentAccess::AfterDays(days) = new.infrequent_access {
        let after = if days == 1 { "AFTER_1_DAY".to_owned() } else { format!("AFTER_{days}_DAYS") };
        // What is read once is read again (production-review row 15).
        let back = json!({"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"});
        set("LifecyclePolicies", json!([{"TransitionToIA": after}, back]));
    }
    if let Some(key) = encryption::key(&new.encryption) {
        set("KmsKeyId", key);
    }
    if let Some(region) = &new.replicate_to {
        set("ReplicationConfiguration", json!({"Destinations": [{"Region": region.as_str()}]}));
    }
    template.add("FileSystem", kept(deployment, because(Resource::new("AWS::EFS::FileSystem", properties), &denied)))
}

/// What the configuration says of file system and access points.
fn kept(deployment: &Deployment, resource: Resource) -> Resource {
    if deployment.config().data.retain { resource.retained() } else { resource }
}

fn mount_targets(template: &mut Template, file_system: &Value, network: &Network, group: &Value) {
    for (number, subnet) in (1..).zip(&network.subnets) {
        template.add(
            format!("MountTarget{number}"),
            Resource::new(
                "AWS::EFS::MountTarget",
                json!({"FileSystemId": file_system, "SubnetId": subnet, "SecurityGroups": [group]}),
            ),
        );
    }
}

fn access_point(template: &mut Template, deployment: &Deployment, file_system: &Value, node: &Node, volume: Volume) {
    let (id, node) = (node.id(), node.name());
    let uid = DATA_UID.to_string();
    let tag = if volume == Volume::Logs { format!("{node}-logs") } else { node.to_owned() };
    let directory = format!("{node}/{}", volume.as_str());
    let access_point = Resource::new(
        "AWS::EFS::AccessPoint",
        json!({
            "FileSystemId": file_system,
            "PosixUser": {"Uid": uid, "Gid": uid},
            "RootDirectory": {
                "Path": deployment.config().data.root.join(&directory),
                "CreationInfo": {"OwnerUid": uid, "OwnerGid": uid, "Permissions": "0700"},
            },
            "AccessPointTags": name_tag(deployment, &tag),
        }),
    );
    let point = template.add(access_point_name(id, volume), kept(deployment, access_point));
    export(template, deployment, &Export::access_point_id(id, volume), point.reference());
}

fn deny(sid: &str, action: &str, reason: &str) -> Statement {
    let json = json!({"Sid": sid, "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": action});
    Statement::from_json(json, reason)
}
