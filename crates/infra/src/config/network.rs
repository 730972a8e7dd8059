//! The network and the names in it.

use super::endpoints;
use super::section::{Choice, Section};
use super::server::Insecure;
use crate::model::{Discovery, Egress, FlowLogs, Network, Vpc};
use crate::values::{AdminCidr, Cidr, ClusterSize, HostedZoneId, NamespaceId, SubnetId, VpcId};

impl Choice for Egress {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("one-nat", Self::OneNat),
        ("nat-per-zone", Self::NatPerZone),
        ("public-ip", Self::PublicIp),
        ("endpoints", Self::Endpoints),
    ];
}

impl Choice for FlowLogs {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rejected", Self::Rejected), ("all", Self::All), ("none", Self::Off)];
}

/// The keys that only make sense for a new VPC, and for one that is there.
const NEW_VPC: [&str; 5] = ["cidr", "zones", "egress", "ecs_endpoints", "flow_logs"];
const EXISTING_VPC: [&str; 3] = ["subnets", "public_ip", "endpoint_security_group"];
/// With fewer, the loss of one may be the loss of the majority.
const ZONES_OF_A_CLUSTER: usize = 3;

/// Reads the section `network`.
pub(super) fn read(section: &Section<'_>, nodes: Option<ClusterSize>) -> Option<Network> {
    let cidr = section.text("cidr", Cidr::parse);
    let zones = section.number::<u8>("zones");
    let egress = section.choice("egress");
    let id = section.text("vpc", VpcId::parse);
    let subnets = section.texts("subnets", SubnetId::parse);
    let public_ip = section.flag("public_ip");
    let fewer = section.flag("allow_fewer_zones");
    let admin = section.text("admin_cidr", AdminCidr::parse);
    let flow_logs = section.choice("flow_logs");
    let way_out = endpoints::read(section);

    let existing = section.has("vpc");
    for key in NEW_VPC.iter().filter(|key| existing && section.says(key)) {
        section.mistake(key, "it is for a new VPC and does not go with `vpc`; take out one of both");
    }
    for key in EXISTING_VPC.iter().filter(|key| !existing && section.says(key)) {
        section.mistake(key, "it is for an existing VPC; add `vpc`, or take it out");
    }
    let cluster = nodes.is_some_and(ClusterSize::is_cluster);
    let vpc = if existing {
        let subnets = subnets?;
        if subnets.is_empty() {
            section.mistake("subnets", "it is missing or empty; `vpc` needs the subnets of the nodes");
            return None;
        }
        Vpc::Existing { id: id?, subnets, public_ip: public_ip? }
    } else {
        Vpc::New { cidr: cidr?, zones: zones?, egress: egress?, flow_logs: flow_logs? }
    };
    let network = Network { vpc, way_out: way_out?, admin };
    if cluster && network.subnets() < ZONES_OF_A_CLUSTER && !fewer? {
        let key = if existing { "subnets" } else { "zones" };
        section.mistake(
            key,
            format!(
                "{} does not go with a cluster: the loss of one zone could be the loss of the majority; allowed are \
                 {ZONES_OF_A_CLUSTER} and more, or allow_fewer_zones = true",
                network.subnets()
            ),
        );
    }
    Some(network)
}

/// An open server at an address that others reach is asked for twice.
pub(super) fn exposed(root: &Section<'_>, insecure: Option<Insecure>, network: Option<&Network>) {
    let (Some(Insecure { wanted: true, exposed }), Some(network)) = (insecure, network) else { return };
    let ways = [("network.admin_cidr", network.admin.is_some()), ("a public address", network.public_ip())];
    let ways: Vec<_> = ways.into_iter().filter(|(_, open)| *open).map(|(way, _)| way).collect();
    match (exposed, ways.as_slice()) {
        (false, [_, ..]) => root.mistake(
            "server.insecure",
            format!(
                "`true` does not go with {}: everybody there could do everything; take out one of them, or set \
                 server.insecure_exposed = true",
                ways.join(" and ")
            ),
        ),
        (true, []) => root.mistake(
            "server.insecure_exposed",
            "`true` says nothing without network.admin_cidr or a public address; take it out",
        ),
        _ => {}
    }
}

/// Reads the section `discovery`.
pub(super) fn discovery(section: &Section<'_>) -> Option<Discovery> {
    let namespace = section.text("namespace_id", NamespaceId::parse);
    let zone = section.text("hosted_zone_id", HostedZoneId::parse);
    for (given, other) in [("namespace_id", "hosted_zone_id"), ("hosted_zone_id", "namespace_id")] {
        if section.has(given) && !section.has(other) {
            section.mistake(other, format!("it is missing; {given} needs it"));
        }
    }
    if section.has("namespace_id") || section.has("hosted_zone_id") {
        return Some(Discovery::Existing { namespace: namespace?, hosted_zone: zone? });
    }
    Some(Discovery::New)
}
