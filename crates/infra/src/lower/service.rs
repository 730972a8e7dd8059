//! `<name>-EventStore`: cluster, discovery, roles, tasks and services. Nothing in it holds state; only what the servers
//! said is kept.

use serde_json::{Value, json};

use super::{CA_SECRET_ARN, export_name, policy, secret_id, statement, trust, zones};
use crate::cfn::{LogicalId, Resource, Template, import, sub};
use crate::image::EcrRepository;
use crate::model::{
    Condition, Container, ContainerName, Deployment, Image, Node, PASSWORD_KEY, Task, Value as Setting, Volume,
};
use crate::values::BuiltInUser;

/// How long a client may remember an address, in seconds.
const DNS_TTL: u32 = 10;
/// How long a resolver may remember that a name does not exist, in seconds (the namespace's SOA record).
const NEGATIVE_DNS_TTL: u32 = 5;
/// How long a large database may take to catch up before ECS judges the task's health, in seconds: 3 h.
const MAX_CATCH_UP: u32 = 3 * 3600;

pub(crate) fn lower(deployment: &Deployment) -> Template {
    let mut template = Template::new(format!("{}: EventStoreDB on ECS Fargate", deployment.name()));
    let lowering = Lowering::new(&mut template, deployment);
    for (index, node) in deployment.nodes().iter().enumerate() {
        lowering.node(&mut template, index + 1, node);
    }
    lowering.exports(&mut template);
    template
}

/// What all nodes share.
struct Lowering<'a> {
    deployment: &'a Deployment,
    cluster: LogicalId,
    namespace: LogicalId,
    client_service: LogicalId,
}

impl<'a> Lowering<'a> {
    fn new(template: &mut Template, deployment: &'a Deployment) -> Self {
        let cluster = template.add(
            "Cluster",
            Resource::new(
                "AWS::ECS::Cluster",
                json!({"ClusterSettings": [{"Name": "containerInsights", "Value": "enabled"}]}),
            ),
        );
        let namespace = template.add(
            "Namespace",
            Resource::new(
                "AWS::ServiceDiscovery::PrivateDnsNamespace",
                json!({
                    "Name": deployment.namespace().as_str(),
                    "Vpc": import(export_name(deployment, "VpcId")),
                    "Properties": {"DnsProperties": {"SOA": {"TTL": NEGATIVE_DNS_TTL}}},
                }),
            ),
        );
        let client_service = discovery(template, "ClientService", &namespace, deployment.name().as_str());
        Self { deployment, cluster, namespace, client_service }
    }

    fn import(&self, value: &str) -> Value {
        import(export_name(self.deployment, value))
    }

    fn secret_arn(&self, login: &str) -> Value {
        self.import(&format!("{}Arn", secret_id(login)))
    }

    /// What ECS reads of a user's secret (AWS, "Pass Secrets Manager secrets through environment variables").
    fn password(&self, user: BuiltInUser) -> Value {
        let arn = self.secret_arn(user.as_str());
        json!({"Fn::Join": ["", [arn, format!(":{PASSWORD_KEY}::")]]})
    }

    fn node(&self, template: &mut Template, number: usize, node: &Node) {
        let id = |what: &str| format!("Node{number}{what}");
        let registry = discovery(
            template,
            &id("Discovery"),
            &self.namespace,
            &format!("{}-{}", self.deployment.name(), node.name()),
        );
        let groups: Vec<_> = node
            .task()
            .containers
            .iter()
            .map(|container| (container.name, self.log_group(template, number, container.name)))
            .collect();
        let log_group = |name| &groups.iter().find(|(of, _)| *of == name).expect("every container has a log group").1;

        let groups_of_all = groups.iter().map(|(_, group)| group);
        let execution_role = self.execution_role(template, &id("ExecutionRole"), node.task(), groups_of_all);
        let task_role = self.task_role(template, &id("TaskRole"), number);
        let containers: Vec<_> = node
            .task()
            .containers
            .iter()
            .map(|container| self.container(container, log_group(container.name)))
            .collect();
        let task = template.add(
            id("Task"),
            Resource::new(
                "AWS::ECS::TaskDefinition",
                json!({
                    "Family": format!("{}-{}", self.deployment.name(), node.name()),
                    "RequiresCompatibilities": ["FARGATE"],
                    "NetworkMode": "awsvpc",
                    "RuntimePlatform": {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"},
                    "Cpu": node.task().size.cpu().to_string(),
                    "Memory": node.task().size.memory_mib().to_string(),
                    "ExecutionRoleArn": execution_role.attribute("Arn"),
                    "TaskRoleArn": task_role.attribute("Arn"),
                    "Volumes": self.volumes(number, node.task()),
                    "ContainerDefinitions": containers,
                }),
            ),
        );
        // No service waits for another. So an update replaces all tasks at once, which costs a cluster the time of a restart
        // and no data: each node keeps its directory, and guard keeps it to one writer. Health would allow a chain: the
        // first nodes of a new cluster are healthy while there cannot be one yet.
        template.add(
            id("Service"),
            Resource::new(
                "AWS::ECS::Service",
                json!({
                    "Cluster": self.cluster.reference(),
                    "TaskDefinition": task.reference(),
                    "LaunchType": "FARGATE",
                    "PlatformVersion": "1.4.0",
                    "DesiredCount": 1,
                    // One writer per data directory: the old task ends before the new one starts, and no task is
                    // started elsewhere only to balance zones.
                    "DeploymentConfiguration": {
                        "MinimumHealthyPercent": 0,
                        "MaximumPercent": 100,
                        "DeploymentCircuitBreaker": {"Enable": true, "Rollback": true},
                    },
                    "AvailabilityZoneRebalancing": "DISABLED",
                    "HealthCheckGracePeriodSeconds": MAX_CATCH_UP,
                    "EnableECSManagedTags": true,
                    "EnableExecuteCommand": false,
                    "PropagateTags": "SERVICE",
                    "NetworkConfiguration": {
                        "AwsvpcConfiguration": {
                            "AssignPublicIp": "DISABLED",
                            "SecurityGroups": [self.import("NodeSecurityGroupId")],
                            "Subnets": self.subnets(number),
                        },
                    },
                    "ServiceRegistries": [{"RegistryArn": registry.attribute("Arn")}],
                }),
            ),
        );
    }

    /// A single node may run wherever there is a subnet; each node of a cluster stays in its zone, so that no zone can get
    /// the majority.
    fn subnets(&self, number: usize) -> Vec<Value> {
        let config = self.deployment.config();
        let zones = usize::from(zones(config));
        let all = 1..=zones;
        let own = (number - 1) % zones + 1;
        all.filter(|zone| !config.nodes.is_cluster() || *zone == own)
            .map(|zone| self.import(&format!("PrivateSubnet{zone}Id")))
            .collect()
    }

    fn log_group(&self, template: &mut Template, number: usize, name: ContainerName) -> LogicalId {
        let title = match name {
            ContainerName::Certgen => "Certgen",
            ContainerName::EventStore => "EventStore",
            ContainerName::Bootstrap => "Bootstrap",
        };
        let retention = self.deployment.config().log_retention_days;
        let group = Resource::new("AWS::Logs::LogGroup", json!({"RetentionInDays": retention}));
        // What the database said is wanted most after somebody took it away (production-review row 13).
        let group = if name == ContainerName::EventStore { group.retained() } else { group };
        template.add(format!("Node{number}{title}Logs"), group)
    }

    /// What ECS itself needs to start the task.
    fn execution_role<'b>(
        &self,
        template: &mut Template,
        id: &str,
        task: &Task,
        groups: impl Iterator<Item = &'b LogicalId>,
    ) -> LogicalId {
        let groups: Vec<_> = groups.map(|group| group.attribute("Arn")).collect();
        let mut statements =
            vec![statement("WriteLogs", &["logs:CreateLogStream", "logs:PutLogEvents"], &json!(groups))];
        let repositories: Vec<_> =
            task.containers.iter().filter_map(|container| repository_arn(&container.image)).collect();
        if !repositories.is_empty() {
            let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
            statements.push(statement("PullImages", &pull, &json!(repositories)));
            // It takes no resource.
            statements.push(statement("LogInToRegistry", &["ecr:GetAuthorizationToken"], &json!("*")));
        }
        let passwords = task.containers.iter().flat_map(|container| &container.passwords);
        let secrets: Vec<_> = passwords.map(|(_, user)| self.secret_arn(user.as_str())).collect();
        if !secrets.is_empty() {
            statements.push(statement("ReadFirstPasswords", &["secretsmanager:GetSecretValue"], &json!(secrets)));
        }
        template.add(
            id,
            Resource::new(
                "AWS::IAM::Role",
                json!({
                    "Description": format!("{}: starts the task", self.deployment.name()),
                    "AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com"),
                    "Policies": [policy("start", &statements)],
                }),
            ),
        )
    }

    /// What the programs in the task call. One role serves all containers of a task.
    fn task_role(&self, template: &mut Template, id: &str, number: usize) -> LogicalId {
        let secrets: Vec<_> = self.deployment.logins().map(|login| self.secret_arn(login)).collect();
        let zone = json!({"Fn::Sub": [
            "arn:${AWS::Partition}:route53:::hostedzone/${Zone}",
            {"Zone": self.namespace.attribute("HostedZoneId")},
        ]});
        let file_system = json!({"Fn::Sub": [
            "arn:${AWS::Partition}:elasticfilesystem:${AWS::Region}:${AWS::AccountId}:file-system/${FileSystem}",
            {"FileSystem": self.import("FileSystemId")},
        ]});
        let access_point = json!({"Fn::Sub": [
            "arn:${AWS::Partition}:elasticfilesystem:${AWS::Region}:${AWS::AccountId}:access-point/${AccessPoint}",
            {"AccessPoint": self.import(&format!("Node{number}DataAccessPointId"))},
        ]});
        let mut mount = statement(
            "MountOwnData",
            &["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            &file_system,
        );
        mount["Condition"] = json!({"StringEquals": {"elasticfilesystem:AccessPointArn": access_point}});
        let mut statements = vec![
            mount,
            statement(
                "KeepCredentials",
                &[
                    "secretsmanager:DescribeSecret",
                    "secretsmanager:GetSecretValue",
                    "secretsmanager:ListSecretVersionIds",
                    "secretsmanager:PutSecretValue",
                    "secretsmanager:UpdateSecretVersionStage",
                ],
                &json!(secrets),
            ),
            statement(
                "RegisterNode",
                &[
                    "servicediscovery:DeregisterInstance",
                    "servicediscovery:GetInstance",
                    "servicediscovery:ListInstances",
                    "servicediscovery:RegisterInstance",
                ],
                &self.client_service.attribute("Arn"),
            ),
            // Operations have no ARN.
            statement("FollowRegistration", &["servicediscovery:GetOperation"], &json!("*")),
            // Cloud Map writes the records with the rights of its caller (aws-contract §3.2).
            statement("WriteDnsRecords", &["route53:ChangeResourceRecordSets", "route53:GetHostedZone"], &zone),
            statement("FindHostedZone", &["route53:ListHostedZonesByName"], &json!("*")),
        ];
        if self.deployment.nodes().len() > 1 {
            // The agent asks ECS with this role. A task's own ARN is known only once it runs.
            let tasks = json!({"Fn::Sub": [
                "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Cluster}/*",
                {"Cluster": self.cluster.reference()},
            ]});
            statements.push(statement("ProtectTask", &["ecs:UpdateTaskProtection"], &tasks));
        }
        if self.deployment.ca_secret_name().is_some() {
            statements.push(statement(
                "ShareAuthority",
                &[
                    "secretsmanager:DescribeSecret",
                    "secretsmanager:GetSecretValue",
                    "secretsmanager:PutSecretValue",
                    "secretsmanager:UpdateSecretVersionStage",
                ],
                &self.import(CA_SECRET_ARN),
            ));
        }
        template.add(
            id,
            Resource::new(
                "AWS::IAM::Role",
                json!({
                    "Description": format!("{}: what the node's containers call", self.deployment.name()),
                    "AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com"),
                    "Policies": [policy("node", &statements)],
                }),
            ),
        )
    }

    fn volumes(&self, number: usize, task: &Task) -> Value {
        let mounted = |volume: &Volume| {
            task.containers.iter().flat_map(|container| &container.mounts).any(|mount| mount.volume == *volume)
        };
        let local = [Volume::Certs, Volume::Tmp, Volume::Run, Volume::CaState].into_iter().filter(mounted);
        let local = local.map(|volume| json!({"Name": volume.as_str()}));
        let data = json!({
            "Name": Volume::Data.as_str(),
            "EFSVolumeConfiguration": {
                "FilesystemId": self.import("FileSystemId"),
                "TransitEncryption": "ENABLED",
                "AuthorizationConfig": {
                    "AccessPointId": self.import(&format!("Node{number}DataAccessPointId")),
                    "IAM": "ENABLED",
                },
            },
        });
        Value::Array(local.chain([data]).collect())
    }

    fn container(&self, container: &Container, log_group: &LogicalId) -> Value {
        let environment =
            container.environment.iter().map(|(name, value)| json!({"Name": name, "Value": self.setting(value)}));
        let mounts = container.mounts.iter().map(|mount| {
            json!({"SourceVolume": mount.volume.as_str(), "ContainerPath": mount.path, "ReadOnly": mount.read_only})
        });
        let depends_on = container.depends_on.iter().map(|(name, condition)| {
            let condition = match condition {
                Condition::Start => "START",
                Condition::Success => "SUCCESS",
            };
            json!({"ContainerName": name.as_str(), "Condition": condition})
        });
        let mut definition = json!({
            "Name": container.name.as_str(),
            "Image": image(&container.image),
            "Essential": container.essential,
            "User": format!("{0}:{0}", container.user),
            "Environment": environment.collect::<Vec<_>>(),
            "MountPoints": mounts.collect::<Vec<_>>(),
            "ReadonlyRootFilesystem": true,
            "LinuxParameters": {"Capabilities": {"Drop": ["ALL"]}},
            "LogConfiguration": {
                "LogDriver": "awslogs",
                "Options": {
                    "awslogs-group": log_group.reference(),
                    "awslogs-region": {"Ref": "AWS::Region"},
                    "awslogs-stream-prefix": "task",
                    "mode": "non-blocking",
                    "max-buffer-size": "10m",
                },
            },
        });
        let mut set = |key: &str, value: Value| definition[key] = value;
        if !container.depends_on.is_empty() {
            set("DependsOn", Value::Array(depends_on.collect()));
        }
        if let Some(entry_point) = &container.entry_point {
            set("EntryPoint", json!(entry_point));
        }
        if !container.command.is_empty() {
            set("Command", json!(container.command));
        }
        if !container.passwords.is_empty() {
            let passwords =
                container.passwords.iter().map(|(name, user)| json!({"Name": name, "ValueFrom": self.password(*user)}));
            set("Secrets", Value::Array(passwords.collect()));
        }
        if !container.ports.is_empty() {
            let ports = container.ports.iter().map(|port| json!({"ContainerPort": port, "Protocol": "tcp"}));
            set("PortMappings", Value::Array(ports.collect()));
        }
        if let Some(seconds) = container.start_timeout {
            set("StartTimeout", json!(seconds));
        }
        if let Some(seconds) = container.stop_timeout {
            set("StopTimeout", json!(seconds));
        }
        if let Some(check) = &container.health_check {
            let command: Vec<_> = ["CMD"].into_iter().chain(check.command.iter().map(String::as_str)).collect();
            let check = json!({
                "Command": command,
                "Interval": check.interval,
                "Timeout": check.timeout,
                "Retries": check.retries,
                "StartPeriod": check.start_period,
            });
            set("HealthCheck", check);
        }
        if container.name == ContainerName::EventStore {
            set("Ulimits", json!([{"Name": "nofile", "SoftLimit": 65535, "HardLimit": 65535}]));
        }
        definition
    }

    fn setting(&self, value: &Setting) -> Value {
        match value {
            Setting::Literal(text) => json!(text),
            Setting::Region => json!({"Ref": "AWS::Region"}),
            Setting::Secret(user) => self.secret_arn(user.as_str()),
            Setting::CaSecret => self.import(CA_SECRET_ARN),
            Setting::ClientService => self.client_service.attribute("Id"),
        }
    }

    /// For consumers in other stacks; a stable interface.
    fn exports(&self, template: &mut Template) {
        let name = |value: &str| export_name(self.deployment, value);
        let port = self.deployment.port().to_string();
        template.export("Host", "Name that clients connect to", json!(self.deployment.client_host()), name("Host"));
        template.export("Port", "Port for HTTP and gRPC", json!(port), name("Port"));
        template.export("NamespaceId", "Cloud Map namespace", self.namespace.attribute("Id"), name("NamespaceId"));
    }
}

/// A service in the namespace that answers with A records. Health is not left to Cloud Map: a node is listed or it is not.
fn discovery(template: &mut Template, id: &str, namespace: &LogicalId, name: &str) -> LogicalId {
    template.add(
        id,
        Resource::new(
            "AWS::ServiceDiscovery::Service",
            json!({
                "Name": name,
                "NamespaceId": namespace.attribute("Id"),
                "DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": DNS_TTL}], "RoutingPolicy": "MULTIVALUE"},
            }),
        ),
    )
}

/// Where our own images are, in the account and region of the stack.
const OWN_REPOSITORIES: &str = "eventstore-fargate";

fn image(image: &Image) -> Value {
    match image {
        Image::Reference(reference) => json!(reference.as_str()),
        Image::OwnRegistry(program) => sub(format!(
            "${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/{OWN_REPOSITORIES}/{program}:{}",
            env!("CARGO_PKG_VERSION")
        )),
    }
}

/// The repository that the execution role must be allowed to read; other registries than ECR do not ask AWS.
fn repository_arn(image: &Image) -> Option<Value> {
    let arn = match image {
        Image::Reference(reference) => {
            let EcrRepository { account, region, name } = reference.ecr_repository()?;
            format!("arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{name}")
        }
        Image::OwnRegistry(program) => format!(
            "arn:${{AWS::Partition}}:ecr:${{AWS::Region}}:${{AWS::AccountId}}:repository/{OWN_REPOSITORIES}/{program}"
        ),
    };
    Some(sub(arn))
}
