//! `<name>-EventStore`: cluster, discovery, roles, tasks and services. Nothing in it holds state; only what the servers
//! said is kept.

use serde_json::{Value, json};

use super::network::imported_subnets;
use super::{BuiltImages, alarms, encryption, export, roles, stop, task};
use crate::cfn::{LogicalId, Resource, Template};
use crate::config::Update;
use crate::exports::Export;
use crate::model::{ContainerName, Deployment, Discovery, Node, NodeId};
use crate::server::EXTERNAL_TCP_PORT;

/// How long a client may remember an address, in seconds.
const DNS_TTL: u32 = 10;
/// How long a resolver may remember that a name does not exist, in seconds (the namespace's SOA record).
const NEGATIVE_DNS_TTL: u32 = 5;

/// What all nodes share.
pub(super) struct Shared<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) built: &'a BuiltImages,
    pub(super) cluster: LogicalId,
    /// The id of the namespace.
    pub(super) namespace: Value,
    /// The id of its hosted zone.
    pub(super) hosted_zone: Value,
    pub(super) client_service: LogicalId,
}

pub(super) fn lower(deployment: &Deployment, built: &BuiltImages) -> Template {
    let mut template = Template::new(format!("{}: EventStoreDB on ECS Fargate", deployment.name()));
    let shared = Shared::new(&mut template, deployment, built);
    let mut before = None;
    for node in deployment.members() {
        let service = shared.node(&mut template, node, before.as_ref());
        before = (deployment.config().deploy.update == Update::NodeByNode).then_some(service);
    }
    stop::lower(&mut template, &shared);
    alarms::lower(&mut template, &shared);
    shared.exports(&mut template);
    template
}

impl<'a> Shared<'a> {
    fn new(template: &mut Template, deployment: &'a Deployment, built: &'a BuiltImages) -> Self {
        let cluster = template.add(
            "Cluster",
            Resource::new(
                "AWS::ECS::Cluster",
                json!({"ClusterSettings": [{"Name": "containerInsights", "Value": "enabled"}]}),
            ),
        );
        let (namespace, hosted_zone) = match &deployment.config().discovery {
            Discovery::New => {
                let namespace = template.add(
                    "Namespace",
                    Resource::new(
                        "AWS::ServiceDiscovery::PrivateDnsNamespace",
                        json!({
                            "Name": deployment.namespace().as_str(),
                            "Vpc": deployment.import(&Export::VpcId),
                            "Properties": {"DnsProperties": {"SOA": {"TTL": NEGATIVE_DNS_TTL}}},
                        }),
                    ),
                );
                (namespace.attribute("Id"), namespace.attribute("HostedZoneId"))
            }
            Discovery::Existing { namespace, hosted_zone } => (json!(namespace.as_str()), json!(hosted_zone.as_str())),
        };
        let client_service = discovery(template, "ClientService", &namespace, deployment.name().as_str());
        Self { deployment, built, cluster, namespace, hosted_zone, client_service }
    }

    /// The ARN of every task in the cluster: that of a single one is known only once it runs.
    pub(super) fn tasks(&self) -> Value {
        json!({"Fn::Sub": [
            "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Cluster}/*",
            {"Cluster": self.cluster.reference()},
        ]})
    }

    fn node(&self, template: &mut Template, node: &Node, before: Option<&LogicalId>) -> LogicalId {
        let id = |what: &str| format!("{}{what}", node.id());
        let name = format!("{}-{}", self.deployment.name(), node.name());
        let registry = discovery(template, &id("Discovery"), &self.namespace, &name);
        let containers = &node.task().containers;
        let mut groups: Vec<_> =
            containers.iter().map(|container| self.log_group(template, node.id(), container.name)).collect();
        groups.extend(
            node.task()
                .extra
                .containers
                .iter()
                .map(|container| template.add(id(&format!("{}ContainerLogs", container.name.logical())), self.logs())),
        );
        let execution_role = match &self.deployment.config().deploy.execution_role {
            Some(arn) => json!(arn.as_str()),
            None => roles::execution(self, template, &id("ExecutionRole"), node.task(), &groups).attribute("Arn"),
        };
        let task_role = roles::task(self, template, &id("TaskRole"), node.id()).attribute("Arn");
        let definition = task::definition(self, node, &groups, &execution_role, &task_role);
        let task = template.add(id("Task"), definition);
        let config = self.deployment.config();
        let service = Resource::new(
            "AWS::ECS::Service",
            json!({
                "Cluster": self.cluster.reference(),
                "TaskDefinition": task.reference(),
                "LaunchType": "FARGATE",
                "PlatformVersion": config.deploy.platform_version.as_str(),
                "DesiredCount": self.deployment.desired_count(node),
                // One writer per data directory: the old task ends before the new one starts, and no task is
                // started elsewhere only to balance zones. `Rollback` is ECS's own: without it CloudFormation still rolls the stack
                // back when the service fails (aws/containers-roadmap#1205), and guard refuses an old server on newer data.
                "DeploymentConfiguration": {
                    "MinimumHealthyPercent": 0,
                    "MaximumPercent": 100,
                    "DeploymentCircuitBreaker": {"Enable": true, "Rollback": config.may_be_rolled_back()},
                },
                "AvailabilityZoneRebalancing": "DISABLED",
                "HealthCheckGracePeriodSeconds": config.deploy.max_catch_up.seconds(),
                "EnableECSManagedTags": true,
                "EnableExecuteCommand": false,
                "PropagateTags": "SERVICE",
                "NetworkConfiguration": {
                    "AwsvpcConfiguration": {
                        "AssignPublicIp": if config.network.public_ip() { "ENABLED" } else { "DISABLED" },
                        "SecurityGroups": [self.deployment.import(&Export::NodeSecurityGroupId)],
                        "Subnets": self.subnets(node.id()),
                    },
                },
                "ServiceRegistries": [{"RegistryArn": registry.attribute("Arn")}],
            }),
        );
        // CloudFormation makes and updates a service when the one that it depends on is stable, and deletes them in reverse. That
        // is at least a task that runs; with a minimum of 0 % it may be no more than that (aws-cloudformation/
        // cloudformation-coverage-roadmap#619). It is enough for an update that goes node by node, because by then the sidecars of
        // the others have their tasks protected until the one that was replaced has caught up (`bootstrap::protection`).
        // And should health be waited for, a new cluster still comes up: its first nodes are healthy while there cannot be one
        // yet (`bootstrap::health`), and the one that makes the quorum finds those before it by name.
        template.add(id("Service"), before.into_iter().fold(service, Resource::after))
    }

    fn subnets(&self, node: NodeId) -> Vec<Value> {
        let subnets = imported_subnets(self.deployment);
        self.deployment.subnets_of(node).map(|index| subnets[index].clone()).collect()
    }

    fn log_group(&self, template: &mut Template, node: NodeId, name: ContainerName) -> LogicalId {
        let title = match name {
            ContainerName::Certgen => "Certgen",
            ContainerName::Guard => "Guard",
            ContainerName::EventStore => "EventStore",
            ContainerName::Bootstrap => "Bootstrap",
        };
        let group = self.logs();
        // What the database said is wanted most after somebody took it away (production-review row 13).
        let group = if name == ContainerName::EventStore { group.retained() } else { group };
        template.add(format!("{node}{title}Logs"), group)
    }

    fn logs(&self) -> Resource {
        let logs = &self.deployment.config().logs;
        let mut properties = json!({"RetentionInDays": logs.retention_days});
        if let Some(key) = encryption::imported_key(self.deployment, &logs.encryption) {
            properties["KmsKeyId"] = key;
        }
        Resource::new("AWS::Logs::LogGroup", properties)
    }

    /// For consumers in other stacks.
    fn exports(&self, template: &mut Template) {
        let port = |port: u16| json!(port.to_string());
        let mut values = vec![
            (Export::Host, json!(self.deployment.client_host())),
            (Export::Port, port(self.deployment.port())),
            (Export::ClusterName, self.cluster.reference()),
            (Export::NamespaceId, self.namespace.clone()),
            (Export::ClientServiceId, self.client_service.attribute("Id")),
            (Export::ClientServiceArn, self.client_service.attribute("Arn")),
        ];
        if self.deployment.config().server.external_tcp {
            values.push((Export::ExternalTcpPort, port(EXTERNAL_TCP_PORT)));
        }
        for (value, is) in values {
            export(template, self.deployment, &value, is);
        }
    }
}

/// A service in the namespace that answers with A records. Health is not left to Cloud Map: a node is listed or it is not.
fn discovery(template: &mut Template, id: &str, namespace: &Value, name: &str) -> LogicalId {
    template.add(
        id,
        Resource::new(
            "AWS::ServiceDiscovery::Service",
            json!({
                "Name": name,
                "NamespaceId": namespace,
                "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": DNS_TTL}], "RoutingPolicy": "MULTIVALUE"},
            }),
        ),
    )
}
