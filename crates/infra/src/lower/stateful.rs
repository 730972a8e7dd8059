//! `<name>-StatefulResources`: network, file system and secrets. What holds state is retained.

use serde_json::{Value, json};

use super::{export_name, name_tag};
use crate::cfn::{LogicalId, Resource, Template};
use crate::model::{BuiltInUser, DATA_UID, Deployment, PASSWORD_LENGTH};

/// Zones that a single node may run in.
const ZONES: u8 = 2;

pub(crate) fn lower(deployment: &Deployment) -> Template {
    let description = format!("{}: network, file system and secrets of EventStoreDB", deployment.name());
    let mut template = Template::new(description);
    let network = network(&mut template, deployment);
    file_system(&mut template, deployment, &network);
    secrets(&mut template, deployment);
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
    let public_subnets = subnets(template, deployment, &vpc, &public_table, "Public", 0);

    // One gateway for both zones: a single node runs in one of them at a time.
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
    let private_subnets = subnets(template, deployment, &vpc, &private_table, "Private", ZONES);

    let node_group = security_group(template, deployment, &vpc, "Node", "EventStoreDB nodes");
    let file_system_group =
        security_group(template, deployment, &vpc, "FileSystem", "mount targets of the file system");
    rules(template, &node_group, &file_system_group);

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
    first_quarter: u8,
) -> Vec<LogicalId> {
    let mut ids = Vec::new();
    for zone in 0..ZONES {
        let number = zone + 1;
        let id = template.add(
            format!("{kind}Subnet{number}"),
            Resource::new(
                "AWS::EC2::Subnet",
                json!({
                    "VpcId": vpc.reference(),
                    "CidrBlock": deployment.config().cidr.quarter(first_quarter + zone).to_string(),
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
    template.add(
        "NodeToFileSystem",
        Resource::new(
            "AWS::EC2::SecurityGroupEgress",
            json!({
                "GroupId": node.attribute("GroupId"),
                "DestinationSecurityGroupId": file_system.attribute("GroupId"),
                "Description": "NFS to the file system",
                "IpProtocol": "tcp",
                "FromPort": 2049,
                "ToPort": 2049,
            }),
        ),
    );
    template.add(
        "FileSystemFromNode",
        Resource::new(
            "AWS::EC2::SecurityGroupIngress",
            json!({
                "GroupId": file_system.attribute("GroupId"),
                "SourceSecurityGroupId": node.attribute("GroupId"),
                "Description": "NFS from the nodes",
                "IpProtocol": "tcp",
                "FromPort": 2049,
                "ToPort": 2049,
            }),
        ),
    );
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
    for user in BuiltInUser::ALL {
        let (text, key) = Deployment::secret_template(user);
        let (id, title) = match user {
            BuiltInUser::Admin => ("AdminSecret", "Secret with the credentials of admin"),
            BuiltInUser::Ops => ("OpsSecret", "Secret with the credentials of ops"),
        };
        let secret = template.add(
            id,
            Resource::new(
                "AWS::SecretsManager::Secret",
                json!({
                    "Name": deployment.secret_name(user),
                    "Description": format!("Credentials of {} in EventStoreDB, kept by bootstrap", user.as_str()),
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
        template.export(&value, title, secret.reference(), export);
    }
}
