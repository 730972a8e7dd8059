//! `<name>-StatefulResources`: network, file system and secrets. What holds state is retained.

use serde_json::{Value, json};

use super::{CA_SECRET_ARN, export_name, name_tag, secret_id, zones};
use crate::cfn::{LogicalId, Resource, Template};
use crate::model::{DATA_UID, Deployment, PASSWORD_LENGTH};
use crate::server::REPLICATION_PORT;

pub(crate) fn lower(deployment: &Deployment) -> Template {
    let description = format!("{}: network, file system and secrets of EventStoreDB", deployment.name());
    let mut template = Template::new(description);
    let network = network(&mut template, deployment);
    file_system(&mut template, deployment, &network);
    secrets(&mut template, deployment);
    ca_secret(&mut template, deployment);
    template
}

struct Network {
    private_subnets: Vec<LogicalId>,
    file_system_group: LogicalId,
}

fn network(template: &mut Template, deployment: &Deployment) -> Network {
    let cidr = deployment.config().cidr;
    let vpc = template.add(
        "Vpc",
        Resource::new(
            "AWS::EC2::VPC",
            json!({
                "CidrBlock": cidr.to_string(),
                // A private DNS namespace needs both.
                "EnableDnsSupport": true,
                "EnableDnsHostnames": true,
                "Tags": name_tag(deployment, "vpc"),
            }),
        ),
    );
    let gateway = template.add(
        "InternetGateway",
        Resource::new("AWS::EC2::InternetGateway", json!({"Tags": name_tag(deployment, "internet")})),
    );
    let attachment = template.add(
        "InternetGatewayAttachment",
        Resource::new(
            "AWS::EC2::VPCGatewayAttachment",
            json!({"VpcId": vpc.reference(), "InternetGatewayId": gateway.reference()}),
        ),
    );

    let public_table = route_table(template, deployment, &vpc, "Public");
    template.add(
        "PublicDefaultRoute",
        Resource::new(
            "AWS::EC2::Route",
            json!({
                "RouteTableId": public_table.reference(),
                "DestinationCidrBlock": "0.0.0.0/0",
                "GatewayId": gateway.reference(),
            }),
        )
        .after(&attachment),
    );
    let public_subnets = subnets(template, deployment, &vpc, &public_table, "Public");

    // One gateway for all zones. A single node runs in one of them at a time. A cluster goes on without it: its nodes reach
    // each other, but one that starts anew while the gateway's zone is away finds neither its image nor AWS.
    let address = template.add(
        "NatAddress",
        Resource::new("AWS::EC2::EIP", json!({"Domain": "vpc", "Tags": name_tag(deployment, "nat")}))
            .after(&attachment),
    );
    let nat = template.add(
        "NatGateway",
        Resource::new(
            "AWS::EC2::NatGateway",
            json!({
                "AllocationId": address.attribute("AllocationId"),
                "SubnetId": public_subnets[0].reference(),
                "Tags": name_tag(deployment, "nat"),
            }),
        ),
    );
    let private_table = route_table(template, deployment, &vpc, "Private");
    template.add(
        "PrivateDefaultRoute",
        Resource::new(
            "AWS::EC2::Route",
            json!({
                "RouteTableId": private_table.reference(),
                "DestinationCidrBlock": "0.0.0.0/0",
                "NatGatewayId": nat.reference(),
            }),
        ),
    );
    let private_subnets = subnets(template, deployment, &vpc, &private_table, "Private");

    let node_group = security_group(template, deployment, &vpc, "Node", "EventStoreDB nodes");
    let file_system_group =
        security_group(template, deployment, &vpc, "FileSystem", "mount targets of the file system");
    rules(template, &node_group, &file_system_group);
    if deployment.config().nodes.is_cluster() {
        rules_between_nodes(template, &node_group, deployment.port());
    }

    template.export("VpcId", "VPC of the deployment", vpc.reference(), export_name(deployment, "VpcId"));
    template.export(
        "NodeSecurityGroupId",
        "Security group of the nodes",
        node_group.attribute("GroupId"),
        export_name(deployment, "NodeSecurityGroupId"),
    );
    for (index, subnet) in private_subnets.iter().enumerate() {
        let value = format!("PrivateSubnet{}Id", index + 1);
        let export = export_name(deployment, &value);
        template.export(&value, "Private subnet", subnet.reference(), export);
    }
    Network { private_subnets, file_system_group }
}

fn route_table(template: &mut Template, deployment: &Deployment, vpc: &LogicalId, kind: &str) -> LogicalId {
    let tags = name_tag(deployment, &kind.to_lowercase());
    template.add(
        format!("{kind}RouteTable"),
        Resource::new("AWS::EC2::RouteTable", json!({"VpcId": vpc.reference(), "Tags": tags})),
    )
}

fn subnets(
    template: &mut Template,
    deployment: &Deployment,
    vpc: &LogicalId,
    table: &LogicalId,
    kind: &str,
) -> Vec<LogicalId> {
    let config = deployment.config();
    let zones = zones(config);
    // The lower half of the range is public, the upper half private; two zones halve each, three take three of its quarters.
    let bits = if zones > 2 { 3 } else { 2 };
    let first = if kind == "Private" { 1 << (bits - 1) } else { 0 };
    let mut ids = Vec::new();
    for zone in 0..zones {
        let number = zone + 1;
        let id = template.add(
            format!("{kind}Subnet{number}"),
            Resource::new(
                "AWS::EC2::Subnet",
                json!({
                    "VpcId": vpc.reference(),
                    "CidrBlock": config.cidr.part(bits, first + zone).to_string(),
                    "AvailabilityZone": {"Fn::Select": [zone, {"Fn::GetAZs": ""}]},
                    "Tags": name_tag(deployment, &format!("{}-{number}", kind.to_lowercase())),
                }),
            ),
        );
        template.add(
            format!("{kind}Subnet{number}Routes"),
            Resource::new(
                "AWS::EC2::SubnetRouteTableAssociation",
                json!({"SubnetId": id.reference(), "RouteTableId": table.reference()}),
            ),
        );
        ids.push(id);
    }
    ids
}

fn security_group(
    template: &mut Template,
    deployment: &Deployment,
    vpc: &LogicalId,
    kind: &str,
    description: &str,
) -> LogicalId {
    template.add(
        format!("{kind}SecurityGroup"),
        Resource::new(
            "AWS::EC2::SecurityGroup",
            json!({
                "GroupDescription": description,
                "VpcId": vpc.reference(),
                // Without any rule of its own a group lets everything out; this one matches nothing that exists.
                "SecurityGroupEgress": [{
                    "CidrIp": "255.255.255.255/32",
                    "Description": "nothing but the rules that are resources of their own",
                    "IpProtocol": "icmp",
                    "FromPort": 252,
                    "ToPort": 86,
                }],
                "Tags": name_tag(deployment, &kind.to_lowercase()),
            }),
        ),
    )
}

/// Every way that is open, by name. Consumers open theirs in their own stacks.
fn rules(template: &mut Template, node: &LogicalId, file_system: &LogicalId) {
    egress(template, "NodeToFileSystem", node, file_system, "NFS to the file system", 2049);
    ingress(template, "FileSystemFromNode", file_system, node, "NFS from the nodes", 2049);
    template.add(
        "NodeToAws",
        Resource::new(
            "AWS::EC2::SecurityGroupEgress",
            json!({
                "GroupId": node.attribute("GroupId"),
                "CidrIp": "0.0.0.0/0",
                "Description": "HTTPS to AWS and to image registries",
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
            }),
        ),
    );
}

/// Gossip, elections and forwarded requests go to the same port as clients'.
fn rules_between_nodes(template: &mut Template, node: &LogicalId, port: u16) {
    egress(template, "NodeToNode", node, node, "HTTP and gRPC to the other nodes", port);
    ingress(template, "NodeFromNode", node, node, "HTTP and gRPC from the other nodes", port);
    egress(template, "ReplicationToNode", node, node, "replication to the other nodes", REPLICATION_PORT);
    ingress(template, "ReplicationFromNode", node, node, "replication from the other nodes", REPLICATION_PORT);
}

fn egress(template: &mut Template, id: &str, group: &LogicalId, to: &LogicalId, description: &str, port: u16) {
    let properties = json!({
        "GroupId": group.attribute("GroupId"),
        "DestinationSecurityGroupId": to.attribute("GroupId"),
        "Description": description,
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
    });
    template.add(id, Resource::new("AWS::EC2::SecurityGroupEgress", properties));
}

fn ingress(template: &mut Template, id: &str, group: &LogicalId, from: &LogicalId, description: &str, port: u16) {
    let properties = json!({
        "GroupId": group.attribute("GroupId"),
        "SourceSecurityGroupId": from.attribute("GroupId"),
        "Description": description,
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
    });
    template.add(id, Resource::new("AWS::EC2::SecurityGroupIngress", properties));
}

fn file_system(template: &mut Template, deployment: &Deployment, network: &Network) {
    let file_system = template.add(
        "FileSystem",
        Resource::new(
            "AWS::EFS::FileSystem",
            json!({
                "Encrypted": true,
                "PerformanceMode": "generalPurpose",
                // Bursting throughput grows with the size, so a young database would live on credits.
                "ThroughputMode": "elastic",
                "BackupPolicy": {"Status": "DISABLED"},
                "FileSystemPolicy": {
                    "Version": "2012-10-17",
                    // A policy ends anonymous access; task roles allow what they need (production-review row 12).
                    "Statement": [
                        deny("DenyWithoutTls", &json!("*"), Some(json!({"Bool": {"aws:SecureTransport": "false"}}))),
                        deny("DenyRoot", &json!("elasticfilesystem:ClientRootAccess"), None),
                    ],
                },
                "FileSystemTags": name_tag(deployment, "data"),
            }),
        )
        .retained(),
    );
    for (index, subnet) in network.private_subnets.iter().enumerate() {
        template.add(
            format!("MountTarget{}", index + 1),
            Resource::new(
                "AWS::EFS::MountTarget",
                json!({
                    "FileSystemId": file_system.reference(),
                    "SubnetId": subnet.reference(),
                    "SecurityGroups": [network.file_system_group.attribute("GroupId")],
                }),
            ),
        );
    }
    template.export(
        "FileSystemId",
        "File system with the database",
        file_system.reference(),
        export_name(deployment, "FileSystemId"),
    );
    for (index, node) in deployment.nodes().iter().enumerate() {
        let uid = DATA_UID.to_string();
        let access_point = template.add(
            format!("Node{}DataAccessPoint", index + 1),
            Resource::new(
                "AWS::EFS::AccessPoint",
                json!({
                    "FileSystemId": file_system.reference(),
                    "PosixUser": {"Uid": uid, "Gid": uid},
                    "RootDirectory": {
                        "Path": format!("/{}/data", node.name()),
                        "CreationInfo": {"OwnerUid": uid, "OwnerGid": uid, "Permissions": "0700"},
                    },
                    "AccessPointTags": name_tag(deployment, node.name()),
                }),
            )
            .retained(),
        );
        let value = format!("Node{}DataAccessPointId", index + 1);
        let export = export_name(deployment, &value);
        template.export(&value, "Access point of the node's data", access_point.reference(), export);
    }
}

fn deny(sid: &str, action: &Value, condition: Option<Value>) -> Value {
    let mut statement = json!({"Sid": sid, "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": action});
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

/// CloudFormation generates a password anew whenever this text changes, so it is frozen by a golden file.
fn secrets(template: &mut Template, deployment: &Deployment) {
    for login in deployment.logins() {
        let (text, key) = Deployment::secret_template(login);
        let id = secret_id(login);
        let secret = template.add(
            &id,
            Resource::new(
                "AWS::SecretsManager::Secret",
                json!({
                    "Name": deployment.secret_name(login),
                    "Description": format!("Credentials of {login} in EventStoreDB, kept by bootstrap"),
                    "GenerateSecretString": {
                        "SecretStringTemplate": text,
                        "GenerateStringKey": key,
                        "PasswordLength": PASSWORD_LENGTH,
                        "ExcludePunctuation": true,
                        "IncludeSpace": false,
                    },
                }),
            )
            .retained(),
        );
        let value = format!("{id}Arn");
        let export = export_name(deployment, &value);
        template.export(&value, format!("Secret with the credentials of {login}"), secret.reference(), export);
    }
}

/// Made without a value: certgen makes the authority, so that its key is nowhere else.
fn ca_secret(template: &mut Template, deployment: &Deployment) {
    let Some(name) = deployment.ca_secret_name() else { return };
    let properties = json!({
        "Name": name,
        "Description": "Certificate authority of the nodes of EventStoreDB, kept by certgen",
    });
    let secret = template.add("CaSecret", Resource::new("AWS::SecretsManager::Secret", properties).retained());
    let export = export_name(deployment, CA_SECRET_ARN);
    template.export(CA_SECRET_ARN, "Secret with the certificate authority", secret.reference(), export);
}
