//! The VPC: a new one with its subnets and ways out, or one that is there.

use serde_json::{Value, json};

use super::{export, flow_logs, name_tag};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Deployment, Egress, FlowLogs, Vpc};
use crate::values::Cidr;

/// The route table of private subnets that share one.
pub(super) const PRIVATE_ROUTE_TABLE: &str = "PrivateRouteTable";

/// What others need of the network.
pub(super) struct Network {
    pub(super) vpc: Value,
    /// The subnets of the nodes, one per zone.
    pub(super) subnets: Vec<Value>,
}

pub(super) fn lower(template: &mut Template, deployment: &Deployment) -> Network {
    let network = match &deployment.config().network.vpc {
        Vpc::New { cidr, zones, egress, flow_logs } => {
            new(&mut New { template, deployment, cidr: *cidr, zones: *zones }, *egress, *flow_logs)
        }
        Vpc::Existing { id, subnets, .. } => {
            Network { vpc: json!(id.as_str()), subnets: subnets.iter().map(|subnet| json!(subnet.as_str())).collect() }
        }
    };
    export(template, deployment, &Export::VpcId, network.vpc.clone());
    network
}

/// The subnets of the nodes, one per zone, for other stacks than the first.
pub(super) fn imported_subnets(deployment: &Deployment) -> Vec<Value> {
    let network = &deployment.config().network;
    match &network.vpc {
        Vpc::New { egress, .. } => {
            (0..network.subnets()).map(|zone| deployment.import(&node_subnet(*egress, zone))).collect()
        }
        Vpc::Existing { subnets, .. } => subnets.iter().map(|subnet| json!(subnet.as_str())).collect(),
    }
}

/// The export of a subnet of a new VPC that nodes are in, by its zone from 0.
fn node_subnet(egress: Egress, zone: usize) -> Export {
    match egress {
        Egress::OneNat | Egress::NatPerZone | Egress::Endpoints => Export::PrivateSubnetId(zone + 1),
        Egress::PublicIp => Export::PublicSubnetId(zone + 1),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Private => "Private",
        }
    }
}

fn subnet_id(kind: Kind, zone: usize) -> String {
    format!("{}Subnet{}", kind.as_str(), zone + 1)
}

fn default_route(table: &LogicalId, (target, id): (&str, Value)) -> Resource {
    let mut properties = json!({"RouteTableId": table.reference(), "DestinationCidrBlock": "0.0.0.0/0"});
    properties[target] = id;
    Resource::new("AWS::EC2::Route", properties)
}

/// A new VPC under construction.
struct New<'a> {
    template: &'a mut Template,
    deployment: &'a Deployment,
    cidr: Cidr,
    zones: u8,
}

fn new(new: &mut New<'_>, egress: Egress, flow_logs: FlowLogs) -> Network {
    let vpc = new.tagged(
        "Vpc",
        "AWS::EC2::VPC",
        "vpc",
        json!({
            "CidrBlock": new.cidr.to_string(),
            // A private DNS namespace needs both.
            "EnableDnsSupport": true,
            "EnableDnsHostnames": true,
        }),
    );
    flow_logs::lower(new.template, new.deployment, &vpc, flow_logs);
    let nodes = match egress {
        Egress::Endpoints => new.closed(&vpc),
        Egress::PublicIp => new.public(&vpc).0,
        // One gateway for all zones. A single node runs in one of them at a time. A cluster goes on without it: its nodes
        // reach each other, but one that starts anew while the gateway's zone is away finds neither its image nor AWS.
        Egress::OneNat => {
            let (public, attachment) = new.public(&vpc);
            let table = new.behind_nat(&vpc, &attachment, &public[0], "", "");
            new.subnets(&vpc, &vec![table; usize::from(new.zones)], Kind::Private)
        }
        Egress::NatPerZone => {
            let (public, attachment) = new.public(&vpc);
            let mut tables = Vec::new();
            for (zone, subnet) in (1..).zip(&public) {
                tables.push(new.behind_nat(&vpc, &attachment, subnet, &zone.to_string(), &format!("-{zone}")));
            }
            new.subnets(&vpc, &tables, Kind::Private)
        }
    };
    for (zone, subnet) in nodes.iter().enumerate() {
        export(new.template, new.deployment, &node_subnet(egress, zone), subnet.reference());
    }
    Network { vpc: vpc.reference(), subnets: nodes.iter().map(LogicalId::reference).collect() }
}

impl New<'_> {
    /// Private subnets without a way to the internet. They and their table are called like those behind one NAT gateway, so
    /// that a change from one to the other moves no node.
    fn closed(&mut self, vpc: &LogicalId) -> Vec<LogicalId> {
        let table = self.route_table(vpc, PRIVATE_ROUTE_TABLE, "private");
        self.subnets(vpc, &vec![table; usize::from(self.zones)], Kind::Private)
    }

    /// Public subnets, and the attachment of the internet gateway to which they lead.
    fn public(&mut self, vpc: &LogicalId) -> (Vec<LogicalId>, LogicalId) {
        let gateway = self.tagged("InternetGateway", "AWS::EC2::InternetGateway", "internet", json!({}));
        let attachment = self.template.add(
            "InternetGatewayAttachment",
            Resource::new(
                "AWS::EC2::VPCGatewayAttachment",
                json!({"VpcId": vpc.reference(), "InternetGatewayId": gateway.reference()}),
            ),
        );
        let table = self.route_table(vpc, "PublicRouteTable", "public");
        let route = default_route(&table, ("GatewayId", gateway.reference())).after(&attachment);
        self.template.add("PublicDefaultRoute", route);
        let tables = vec![table; usize::from(self.zones)];
        let public = self.subnets(vpc, &tables, Kind::Public);
        (public, attachment)
    }

    fn tagged(&mut self, id: &str, kind: &'static str, tag: &str, mut properties: Value) -> LogicalId {
        properties["Tags"] = name_tag(self.deployment, tag);
        self.template.add(id, Resource::new(kind, properties))
    }

    fn route_table(&mut self, vpc: &LogicalId, id: &str, tag: &str) -> LogicalId {
        self.tagged(id, "AWS::EC2::RouteTable", tag, json!({"VpcId": vpc.reference()}))
    }

    /// The route table of private subnets, with a NAT gateway in a public one.
    fn behind_nat(
        &mut self,
        vpc: &LogicalId,
        attachment: &LogicalId,
        public: &LogicalId,
        number: &str,
        tag: &str,
    ) -> LogicalId {
        let tags = name_tag(self.deployment, &format!("nat{tag}"));
        let address = Resource::new("AWS::EC2::EIP", json!({"Domain": "vpc", "Tags": tags})).after(attachment);
        let address = self.template.add(format!("NatAddress{number}"), address);
        let properties = json!({"AllocationId": address.attribute("AllocationId"), "SubnetId": public.reference()});
        let nat = self.tagged(&format!("NatGateway{number}"), "AWS::EC2::NatGateway", &format!("nat{tag}"), properties);
        let id = |what: &str| format!("Private{what}{number}");
        let table = self.route_table(vpc, &id("RouteTable"), &format!("private{tag}"));
        let route = default_route(&table, ("NatGatewayId", nat.reference()));
        self.template.add(id("DefaultRoute"), route);
        table
    }

    /// One subnet per zone, each with the route table of its zone.
    fn subnets(&mut self, vpc: &LogicalId, tables: &[LogicalId], kind: Kind) -> Vec<LogicalId> {
        // The lower half of the range is public, the upper half private; two zones halve each, three take three of its
        // quarters.
        let bits = if self.zones > 2 { 3 } else { 2 };
        let first = if kind == Kind::Private { 1 << (bits - 1) } else { 0 };
        let mut ids = Vec::new();
        for (zone, table) in (0..self.zones).zip(tables) {
            let id = subnet_id(kind, zone.into());
            let properties = json!({
                "VpcId": vpc.reference(),
                "CidrBlock": self.cidr.part(bits, first + zone).to_string(),
                "AvailabilityZone": {"Fn::Select": [zone, {"Fn::GetAZs": ""}]},
            });
            let tag = format!("{}-{}", kind.as_str().to_lowercase(), zone + 1);
            let subnet = self.tagged(&id, "AWS::EC2::Subnet", &tag, properties);
            self.template.add(
                format!("{id}Routes"),
                Resource::new(
                    "AWS::EC2::SubnetRouteTableAssociation",
                    json!({"SubnetId": subnet.reference(), "RouteTableId": table.reference()}),
                ),
            );
            ids.push(subnet);
        }
        ids
    }
}
