//! Where the nodes are in a network.

use crate::values::{AdminCidr, Cidr, HostedZoneId, NamespaceId, SubnetId, VpcId};

/// The network and who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) vpc: Vpc,
    /// From where people reach the server's port.
    pub(crate) admin: Option<AdminCidr>,
}

/// The VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vpc {
    /// Of the deployment.
    New { cidr: Cidr, zones: u8, egress: Egress },
    /// Of somebody else; its subnets are never empty.
    Existing { id: VpcId, subnets: Vec<SubnetId>, public_ip: bool },
}

/// How tasks in a new VPC reach AWS and image registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Egress {
    /// From private subnets through one NAT gateway for all zones.
    OneNat,
    /// From private subnets through a NAT gateway in each zone.
    NatPerZone,
    /// From public subnets with a public address of their own.
    PublicIp,
}

/// The namespace in which nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// Of the deployment.
    New,
    /// Of somebody else, with its hosted zone, whose records Cloud Map changes in the name of its caller.
    Existing { namespace: NamespaceId, hosted_zone: HostedZoneId },
}

impl Network {
    /// Whether a task gets a public address.
    pub(crate) fn public_ip(&self) -> bool {
        match &self.vpc {
            Vpc::New { egress, .. } => *egress == Egress::PublicIp,
            Vpc::Existing { public_ip, .. } => *public_ip,
        }
    }

    /// How many subnets nodes may be in; each is in a zone of its own.
    pub(crate) fn subnets(&self) -> usize {
        match &self.vpc {
            Vpc::New { zones, .. } => usize::from(*zones),
            Vpc::Existing { subnets, .. } => subnets.len(),
        }
    }
}
