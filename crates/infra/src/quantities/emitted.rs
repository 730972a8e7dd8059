//! What the templates of a deployment make, as they are emitted: counts are taken from here, so that they are those of what is
//! deployed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::lower::{self, BuiltImages};
use crate::model::{Deployment, Program};

/// Types of resources that cost something, and those that do not, each with why. One that is in neither is told.
pub(super) const COUNTED: [&str; 20] = [
    "AWS::Backup::BackupPlan",
    "AWS::Backup::BackupVault",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::EIP",
    "AWS::EC2::FlowLog",
    "AWS::EC2::NatGateway",
    "AWS::EC2::VPCEndpoint",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::EFS::FileSystem",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    "AWS::ServiceDiscovery::Service",
    "AWS::StepFunctions::StateMachine",
];
/// What exists without a charge of its own: networks, rules, policies; events of AWS services (AWS, "Amazon `EventBridge` pricing").
pub(super) const FREE: [&str; 16] = [
    "AWS::Backup::BackupSelection",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EFS::AccessPoint",
    "AWS::EFS::MountTarget",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::SNS::TopicPolicy",
];

/// GiB of ephemeral storage that belong to a task (AWS, "Fargate task ephemeral storage").
const OWN_EPHEMERAL_GIB: u32 = 20;

/// The resources of both templates.
pub(super) struct Emitted {
    resources: Vec<Resource>,
}

struct Resource {
    id: String,
    kind: String,
    properties: Value,
}

/// Tasks that ECS runs for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tasks {
    pub(super) is_replica: bool,
    pub(super) count: u32,
    /// CPU units, 1024 to a vCPU.
    pub(super) cpu: u32,
    pub(super) memory_mib: u32,
    /// GiB of ephemeral storage above what belongs to a task.
    pub(super) more_ephemeral_gib: u32,
    pub(super) has_public_ip: bool,
    /// Secrets that ECS reads when it starts one.
    pub(super) secrets: u32,
    /// Registrations in Cloud Map: by ECS, and by its sidecar.
    pub(super) registered: [u32; 2],
    pub(super) pulls_from_ecr: bool,
}

impl Emitted {
    /// # Panics
    ///
    /// Never: the templates of a deployment hold together.
    pub(super) fn new(deployment: &Deployment) -> Self {
        // What an image is tagged with has no bearing on what is consumed.
        let built: BuiltImages = match deployment.build_directory() {
            Some(_) => Program::ALL.into_iter().map(|program| (program, "built".to_owned())).collect(),
            None => BuiltImages::new(),
        };
        let mut exported = BTreeSet::new();
        let mut resources = Vec::new();
        for template in lower::stacks(deployment, &built) {
            let rendered = template.render(&exported).expect("the templates of a deployment hold together");
            exported.extend(template.exports().map(str::to_owned));
            let Value::Object(found) = &rendered["Resources"] else { continue };
            resources.extend(found.iter().map(|(id, resource)| Resource {
                id: id.clone(),
                kind: resource["Type"].as_str().unwrap_or_default().to_owned(),
                properties: resource["Properties"].clone(),
            }));
        }
        Self { resources }
    }

    fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }

    /// How many there are of a type that costs something.
    pub(super) fn count(&self, kind: &'static str) -> usize {
        debug_assert!(COUNTED.contains(&kind), "{kind} is not among what is counted");
        self.all(kind).count()
    }

    /// The properties of all of a type.
    pub(super) fn of(&self, kind: &'static str) -> Vec<&Value> {
        debug_assert!(COUNTED.contains(&kind), "{kind} is not among what is counted");
        self.all(kind).map(|resource| &resource.properties).collect()
    }

    /// Types of which nobody here knows what they cost, and how often they are there.
    pub(super) fn unknown(&self) -> Vec<(&str, usize)> {
        let kinds: BTreeSet<_> = self.resources.iter().map(|resource| resource.kind.as_str()).collect();
        let unknown = kinds.into_iter().filter(|kind| !COUNTED.contains(kind) && !FREE.contains(kind));
        unknown.map(|kind| (kind, self.all(kind).count())).collect()
    }

    /// The tasks of every service.
    pub(super) fn tasks(&self) -> Vec<Tasks> {
        let definition = |service: &Value| {
            let id = service["TaskDefinition"]["Ref"].as_str()?;
            self.resources.iter().find(|resource| resource.id == id).map(|resource| &resource.properties)
        };
        let services = self.all("AWS::ECS::Service");
        let tasks = services.map(|resource| {
            let service = &resource.properties;
            let nothing = Value::Null;
            let task = definition(service).unwrap_or(&nothing);
            let containers = || task["ContainerDefinitions"].as_array().into_iter().flatten();
            let secrets = containers().filter_map(|container| container["Secrets"].as_array()).map(Vec::len);
            let registers = containers()
                .filter_map(|container| container["Environment"].as_array())
                .flatten()
                .filter(|variable| variable["Name"] == "BOOTSTRAP_CLOUD_MAP_SERVICE");
            let registries = service["ServiceRegistries"].as_array().map_or(0, Vec::len);
            let ephemeral = number(&task["EphemeralStorage"]["SizeInGiB"]);
            Tasks {
                is_replica: resource.id.starts_with("Replica"),
                count: number(&service["DesiredCount"]),
                cpu: number(&task["Cpu"]),
                memory_mib: number(&task["Memory"]),
                more_ephemeral_gib: ephemeral.saturating_sub(OWN_EPHEMERAL_GIB),
                has_public_ip: service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "ENABLED",
                secrets: small(secrets.sum()),
                registered: [small(registries), small(registers.count())],
                pulls_from_ecr: containers().any(|container| container["Image"].to_string().contains(".dkr.ecr.")),
            }
        });
        tasks.collect()
    }

    /// Interface endpoints, counted once for each zone.
    pub(super) fn endpoints(&self) -> (usize, usize) {
        let all = self.of("AWS::EC2::VPCEndpoint");
        let interfaces: Vec<_> = all.iter().filter(|endpoint| endpoint["VpcEndpointType"] == "Interface").collect();
        let zones = interfaces.iter().filter_map(|endpoint| endpoint["SubnetIds"].as_array()).map(Vec::len).sum();
        (interfaces.len(), zones)
    }

    /// Schedules that are not switched off; each is a daily one.
    pub(super) fn schedules(&self) -> usize {
        self.of("AWS::Scheduler::Schedule").iter().filter(|schedule| schedule["State"] != "DISABLED").count()
    }

    /// The definition of the machine that stops a node for its backup, if something begins it.
    pub(super) fn backup_machine(&self) -> Option<&Value> {
        let machine = self.of("AWS::StepFunctions::StateMachine").first().map(|machine| &machine["Definition"]);
        machine.filter(|_| self.schedules() > 0)
    }

    /// Whether Container Insights watches the ECS cluster.
    pub(super) fn has_insights(&self) -> bool {
        let clusters = self.of("AWS::ECS::Cluster");
        let mut settings = clusters.iter().filter_map(|cluster| cluster["ClusterSettings"].as_array()).flatten();
        settings.any(|setting| setting["Name"] == "containerInsights" && setting["Value"] != "disabled")
    }

    /// Metrics in alarms: an alarm on an expression has several.
    pub(super) fn metrics_in_alarms(&self) -> usize {
        let metrics = |alarm: &&Value| match alarm["Metrics"].as_array() {
            Some(terms) => terms.iter().filter(|term| term.get("MetricStat").is_some()).count(),
            None => 1,
        };
        self.of("AWS::CloudWatch::Alarm").iter().map(metrics).sum()
    }
}

/// A number, or one in a text, as ECS wants some.
fn number(value: &Value) -> u32 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_u64().and_then(|number| u32::try_from(number).ok())).unwrap_or(0)
}

/// A number of things in a template.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
