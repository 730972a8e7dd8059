//! Where HTTPS is let out to: everywhere, or to endpoints in the VPC and to S3 alone. The resolver of the VPC is reached in
//! any case; security groups do not filter it (AWS, "Amazon DNS server").

use serde_json::{Value, json};

use super::network::{Network, PRIVATE_ROUTE_TABLE};
use super::security::{egress, group, group_rule, ingress};
use super::{Statement, because, document, export, name_tag, sub};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, EndpointGroup, WayOut};

const HTTPS: u16 = 443;
const TO_AWS: &str = "HTTPS to AWS and to image registries";
const TO_ENDPOINTS: &str = "HTTPS to the endpoints for AWS";
const TO_S3: &str = "HTTPS to S3, where the layers of images are";

/// What tasks on Fargate 1.4.0 and our programs call, by logical id, service, and whether a policy is known to be understood.
///
/// ECR has two, one to ask and one to pull (AWS, "Amazon ECR interface VPC endpoints"). Our programs use only the control plane
/// of Cloud Map; `DiscoverInstances` alone has another endpoint (AWS, "Access AWS Cloud Map using an interface endpoint"). Cloud
/// Map itself calls Route 53, and Secrets Manager KMS. Credentials, metadata and task protection come from Fargate's agent at
/// 169.254.170.2, and mount targets are in the VPC.
const SERVICES: [(&str, &str, Policy); 5] = [
    ("EcrApiEndpoint", "ecr.api", Policy::OwnAccount),
    ("EcrDkrEndpoint", "ecr.dkr", Policy::OwnAccount),
    ("LogsEndpoint", "logs", Policy::OwnAccount),
    ("SecretsManagerEndpoint", "secretsmanager", Policy::OwnAccount),
    ("ServiceDiscoveryEndpoint", "servicediscovery", Policy::None),
];
/// What Fargate needs besides in regions opened since 2023-12-23 (AWS, "Amazon ECS interface VPC endpoints").
const ECS_SERVICES: [(&str, &str, Policy); 3] = [
    ("EcsEndpoint", "ecs", Policy::None),
    ("EcsAgentEndpoint", "ecs-agent", Policy::None),
    ("EcsTelemetryEndpoint", "ecs-telemetry", Policy::None),
];

#[derive(Clone, Copy)]
enum Policy {
    /// Callers of this account alone.
    OwnAccount,
    /// The service does not say that it understands one, or its callers are AWS's own.
    None,
}

/// The rules by which the nodes reach AWS, and what is needed for that.
pub(super) fn way_out(template: &mut Template, deployment: &Deployment, network: &Network, node: &Value) {
    let (endpoints, s3) = match &deployment.config().network.way_out {
        WayOut::Everywhere => {
            egress(template, "NodeToAws", node, &json!({"CidrIp": "0.0.0.0/0"}), TO_AWS, HTTPS);
            return;
        }
        WayOut::Endpoints { group: EndpointGroup::Existing(id), s3 } => (json!(id.as_str()), s3),
        WayOut::Endpoints { group: EndpointGroup::New { ecs }, s3 } => (new(template, deployment, network, *ecs), s3),
    };
    egress(template, "NodeToEndpoints", node, &group_rule(&endpoints, "Destination"), TO_ENDPOINTS, HTTPS);
    ingress(template, "EndpointsFromNode", &endpoints, &group_rule(node, "Source"), "HTTPS from the nodes", HTTPS);
    egress(template, "NodeToS3", node, &prefix_list(&json!(s3.as_str())), TO_S3, HTTPS);
    export(template, deployment, &Export::EndpointSecurityGroupId, endpoints);
    export(template, deployment, &Export::S3PrefixListId, json!(s3.as_str()));
}

fn prefix_list(id: &Value) -> Value {
    json!({"DestinationPrefixListId": id})
}

/// The endpoints in a new VPC; gives the id of their security group.
fn new(template: &mut Template, deployment: &Deployment, network: &Network, ecs: bool) -> Value {
    let group = group(template, deployment, network, "Endpoint", "endpoints for AWS");
    let services = SERVICES.iter().chain(ECS_SERVICES.iter().filter(|_| ecs));
    for (id, service, policy) in services {
        let mut properties = json!({
            "VpcEndpointType": "Interface",
            "VpcId": network.vpc,
            "ServiceName": sub(format!("com.amazonaws.${{AWS::Region}}.{service}")),
            // In every zone: a node must not depend on another's.
            "SubnetIds": network.subnets,
            "SecurityGroupIds": [group],
            "PrivateDnsEnabled": true,
            "Tags": name_tag(deployment, service),
        });
        let mut statements = Vec::new();
        if let Policy::OwnAccount = policy {
            statements.push(own_account("*"));
            properties["PolicyDocument"] = document(&statements);
        }
        template.add(*id, because(Resource::new("AWS::EC2::VPCEndpoint", properties), &statements));
    }
    let statements = [layers(), own_account("s3:*")];
    let properties = json!({
        "VpcEndpointType": "Gateway",
        "VpcId": network.vpc,
        "ServiceName": sub("com.amazonaws.${AWS::Region}.s3"),
        "RouteTableIds": [LogicalId::new(PRIVATE_ROUTE_TABLE).reference()],
        "PolicyDocument": document(&statements),
        "Tags": name_tag(deployment, "s3"),
    });
    template.add("S3Endpoint", because(Resource::new("AWS::EC2::VPCEndpoint", properties), &statements));
    group
}

/// Whoever belongs to the account may do here what its own policies allow.
fn own_account(action: &str) -> Statement {
    let json = json!({
        "Sid": "OwnAccount",
        "Effect": "Allow",
        "Principal": "*",
        "Action": action,
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}},
    });
    Statement::from_json(
        json,
        "whoever belongs to the account may do here what its own policies allow, and nobody else",
    )
}

/// ECR keeps layers in a bucket of its own and signs their addresses (AWS, "Minimum Amazon S3 Bucket Permissions for Amazon
/// ECR").
fn layers() -> Statement {
    let json = json!({
        "Sid": "LayersOfImages",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": sub("arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket/*"),
    });
    Statement::from_json(
        json,
        "ECS: an image is pulled; ECR keeps layers in a bucket of its own and signs their addresses",
    )
}

/// The way out of a consumer, in its group.
pub(super) fn consumer_egress(deployment: &Deployment) -> Value {
    let rule = |to: Value, description: &str| {
        let mut rule = to;
        for (key, value) in [
            ("Description", json!(description)),
            ("IpProtocol", json!("tcp")),
            ("FromPort", json!(HTTPS)),
            ("ToPort", json!(HTTPS)),
        ] {
            rule[key] = value;
        }
        rule
    };
    match &deployment.config().network.way_out {
        WayOut::Everywhere => json!([rule(json!({"CidrIp": "0.0.0.0/0"}), TO_AWS)]),
        WayOut::Endpoints { .. } => {
            let endpoints = deployment.import(&Export::EndpointSecurityGroupId);
            json!([
                rule(group_rule(&endpoints, "Destination"), TO_ENDPOINTS),
                rule(prefix_list(&deployment.import(&Export::S3PrefixListId)), TO_S3),
            ])
        }
    }
}

/// The rule by which the endpoints let a consumer in, if there are any, in the consumer's stack.
pub(super) fn from_consumer(
    template: &mut Template,
    deployment: &Deployment,
    id: &str,
    group: &Value,
) -> Option<LogicalId> {
    let WayOut::Endpoints { .. } = &deployment.config().network.way_out else { return None };
    let endpoints = deployment.import(&Export::EndpointSecurityGroupId);
    Some(ingress(template, id, &endpoints, &group_rule(group, "Source"), "HTTPS from a consumer", HTTPS))
}
