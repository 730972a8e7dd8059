//! Where the nodes are in a network.

use super::endpoints::WayOut;
use super::flow_logs::FlowLogs;
use crate::values::{AdminCidr, Cidr, HostedZoneId, NamespaceId, SubnetId, VpcId};

/// The network and who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) vpc: Vpc,
    /// Where the nodes' HTTPS may go.
    pub(crate) way_out: WayOut,
    /// From where people reach the server's port.
    pub(crate) admin: Option<AdminCidr>,
}

/// The VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vpc {
    /// Of the deployment.
    New { cidr: Cidr, zones: u8, egress: Egress, flow_logs: FlowLogs },
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
    /// From private subnets through endpoints in the VPC; the internet is not reached.
    Endpoints,
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

    /// What of a VPC of somebody else must hold and cannot be seen in a configuration.
    pub(crate) fn unseen(&self) -> Option<&'static str> {
        match (&self.vpc, &self.way_out) {
            (Vpc::New { .. }, _) => None,
            (Vpc::Existing { .. }, WayOut::Everywhere) => Some(
                "look whether it has DNS support and DNS host names, and its subnets a way to AWS and to the registries of all \
                 images (docs/network.md); without them no task starts",
            ),
            (Vpc::Existing { .. }, WayOut::Endpoints { .. }) => Some(
                "look whether it has DNS support and DNS host names, the gateway endpoint of S3 in the subnets' route tables, and \
                 all interface endpoints with private DNS (docs/network.md); without them no task starts",
            ),
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
