//! Security groups, and every way that is open, by name. Consumers open theirs in their own stacks.

use serde_json::{Value, json};

use super::endpoints;
use super::network::Network;
use super::{export, extra, name_tag};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, FileSystem};
use crate::server::REPLICATION_PORT;

pub(super) const NFS: u16 = 2049;

/// Gives the id of the group of the mount targets.
pub(super) fn lower(template: &mut Template, deployment: &Deployment, network: &Network) -> Value {
    let config = deployment.config();
    let node = group(template, deployment, network, "Node", "EventStoreDB nodes");
    let file_system = match &config.data.file_system {
        FileSystem::New(_) => group(template, deployment, network, "FileSystem", "mount targets of the file system"),
        FileSystem::Existing { security_group, .. } => json!(security_group.as_str()),
    };
    egress(
        template,
        "NodeToFileSystem",
        &node,
        &group_rule(&file_system, "Destination"),
        "NFS to the file system",
        NFS,
    );
    ingress(template, "FileSystemFromNode", &file_system, &group_rule(&node, "Source"), "NFS from the nodes", NFS);
    endpoints::way_out(template, deployment, network, &node);
    if config.nodes.is_cluster() {
        between_nodes(template, &node, config.server.port);
    }
    if let Some(admin) = config.network.admin {
        let from = json!({"CidrIp": admin.to_string()});
        ingress(template, "NodeFromAdmin", &node, &from, "admin UI, HTTP and gRPC from people", config.server.port);
    }
    extra::ways(template, &config.extra, &node);
    export(template, deployment, &Export::NodeSecurityGroupId, node);
    file_system
}

/// Gossip, elections and forwarded requests go to the same port as clients'.
fn between_nodes(template: &mut Template, node: &Value, port: u16) {
    let (to, from) = (group_rule(node, "Destination"), group_rule(node, "Source"));
    egress(template, "NodeToNode", node, &to, "HTTP and gRPC to the other nodes", port);
    ingress(template, "NodeFromNode", node, &from, "HTTP and gRPC from the other nodes", port);
    egress(template, "ReplicationToNode", node, &to, "replication to the other nodes", REPLICATION_PORT);
    ingress(template, "ReplicationFromNode", node, &from, "replication from the other nodes", REPLICATION_PORT);
}

pub(super) fn group(
    template: &mut Template,
    deployment: &Deployment,
    network: &Network,
    kind: &str,
    description: &str,
) -> Value {
    let properties = json!({
        "GroupDescription": description,
        "VpcId": network.vpc,
        // Without any rule of its own a group lets everything out; this one matches nothing that exists.
        "SecurityGroupEgress": [{
            "CidrIp": "255.255.255.255/32",
            "Description": "nothing but the rules that are resources of their own",
            "IpProtocol": "icmp",
            "FromPort": 252,
            "ToPort": 86,
        }],
        "Tags": name_tag(deployment, &kind.to_lowercase()),
    });
    let group = Resource::new("AWS::EC2::SecurityGroup", properties);
    template.add(format!("{kind}SecurityGroup"), group).attribute("GroupId")
}

/// The other end of a rule, where it is a group.
pub(super) fn group_rule(group: &Value, end: &str) -> Value {
    json!({format!("{end}SecurityGroupId"): group})
}

pub(super) fn egress(
    template: &mut Template,
    id: &str,
    group: &Value,
    to: &Value,
    description: &str,
    port: u16,
) -> LogicalId {
    rule(template, id, "AWS::EC2::SecurityGroupEgress", group, to, description, port)
}

pub(super) fn ingress(
    template: &mut Template,
    id: &str,
    group: &Value,
    from: &Value,
    description: &str,
    port: u16,
) -> LogicalId {
    rule(template, id, "AWS::EC2::SecurityGroupIngress", group, from, description, port)
}

fn rule(
    template: &mut Template,
    id: &str,
    kind: &'static str,
    group: &Value,
    other: &Value,
    description: &str,
    port: u16,
) -> LogicalId {
    let mut properties = other.clone();
    for (key, value) in [
        ("GroupId", group.clone()),
        ("Description", json!(description)),
        ("IpProtocol", json!("tcp")),
        ("FromPort", json!(port)),
        ("ToPort", json!(port)),
    ] {
        properties[key] = value;
    }
    template.add(id, Resource::new(kind, properties))
}
