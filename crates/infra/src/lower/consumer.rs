//! A consumer's service → resources of its own stack.

use serde_json::{Value, json};

use super::network::imported_subnets;
use super::security::{egress, group_rule, ingress};
use super::{Statement, because, document, encryption, endpoints, policy, pull_through, roles, task};
use crate::cfn::{LogicalId, Resource, Template};
use crate::consumer::FargateService;
use crate::exports::Export;

pub(crate) fn consumer(template: &mut Template, stack: &str, service: &FargateService<'_>) {
    Consumer { stack, service }.lower(template);
}

struct Consumer<'a> {
    stack: &'a str,
    service: &'a FargateService<'a>,
}

impl Consumer<'_> {
    fn id(&self, what: &str) -> String {
        format!("{}{what}", self.service.id)
    }

    fn lower(&self, template: &mut Template) {
        let deployment = self.service.deployment;
        let group = self.group(template);
        let mut rules = self.ways(template, &group);
        rules.extend(endpoints::from_consumer(template, deployment, &self.id("IntoEndpoints"), &group));
        let logs = self.log_group(template);
        let role = self.execution_role(template, &logs);
        let definition = self.definition(&logs, &role);
        let definition = template.add(self.id("Task"), definition);
        let network = &deployment.config().network;
        let service = Resource::new(
            "AWS::ECS::Service",
            json!({
                "Cluster": deployment.import(&Export::ClusterName),
                "TaskDefinition": definition.reference(),
                "LaunchType": "FARGATE",
                "PlatformVersion": deployment.config().deploy.platform_version.as_str(),
                "DesiredCount": self.service.desired_count,
                "DeploymentConfiguration": {"DeploymentCircuitBreaker": {"Enable": true, "Rollback": true}},
                "NetworkConfiguration": {
                    "AwsvpcConfiguration": {
                        "AssignPublicIp": if network.public_ip() { "ENABLED" } else { "DISABLED" },
                        "SecurityGroups": [group],
                        "Subnets": imported_subnets(deployment),
                    },
                },
            }),
        );
        // Its first task would not reach the database.
        let service = rules.iter().fold(service, Resource::after);
        template.add(self.id("Service"), service);
    }

    fn group(&self, template: &mut Template) -> Value {
        let properties = json!({
            "GroupDescription": format!("{} of {}", self.service.id, self.stack),
            "VpcId": self.service.deployment.import(&Export::VpcId),
            "SecurityGroupEgress": endpoints::consumer_egress(self.service.deployment),
        });
        template
            .add(self.id("SecurityGroup"), Resource::new("AWS::EC2::SecurityGroup", properties))
            .attribute("GroupId")
    }

    /// Out of the own group and into that of the nodes.
    fn ways(&self, template: &mut Template, group: &Value) -> Vec<LogicalId> {
        let nodes = self.service.deployment.import(&Export::NodeSecurityGroupId);
        let (to, from) = (group_rule(&nodes, "Destination"), group_rule(group, "Source"));
        let mut rules = Vec::new();
        for port in self.service.ways.iter().map(|port| port.number()) {
            let (out, into) = (self.id(&format!("ToNode{port}")), self.id(&format!("IntoNode{port}")));
            rules.push(egress(template, &out, group, &to, "EventStoreDB", port));
            let description = format!("EventStoreDB from {} of {}", self.service.id, self.stack);
            rules.push(ingress(template, &into, &nodes, &from, &description, port));
        }
        rules
    }

    fn log_group(&self, template: &mut Template) -> LogicalId {
        let logs = &self.service.deployment.config().logs;
        let mut properties = json!({"RetentionInDays": logs.retention_days});
        if let Some(key) = encryption::imported_key(self.service.deployment, &logs.encryption) {
            properties["KmsKeyId"] = key;
        }
        template.add(self.id("Logs"), Resource::new("AWS::Logs::LogGroup", properties))
    }

    /// What ECS itself needs to start a task.
    fn execution_role(&self, template: &mut Template, logs: &LogicalId) -> LogicalId {
        let deployment = self.service.deployment;
        let write = ["logs:CreateLogStream", "logs:PutLogEvents"];
        let mut statements = vec![Statement::allow(
            "WriteLogs",
            &write,
            &logs.attribute("Arn"),
            "ECS: the container starts and writes a line",
        )];
        if let Some(repository) = task::reference_arn(&self.service.image) {
            statements.extend(roles::pull(&json!([repository])));
        }
        statements.extend(pull_through::fill(deployment, [&self.service.image]));
        let mut secrets: Vec<_> = self.service.secrets.iter().map(|(_, secret, _)| secret).collect();
        secrets.sort();
        secrets.dedup();
        if !secrets.is_empty() {
            let arns: Vec<_> = secrets.into_iter().map(|secret| deployment.import(secret)).collect();
            statements.push(Statement::allow(
                "ReadSecrets",
                &["secretsmanager:GetSecretValue"],
                &json!(arns),
                "ECS: the container starts",
            ));
            let decrypt = |key: &_| {
                Statement::allow("UseKeyOfSecrets", &["kms:Decrypt"], key, "Secrets Manager: such a secret is read")
            };
            statements.extend(roles::use_key_of_secrets(deployment, decrypt));
        }
        let trust = [Statement::trust("ecs-tasks.amazonaws.com", "ECS starts the task")];
        let properties = json!({
            "Description": format!("{}: starts tasks of {}", self.stack, self.service.id),
            "AssumeRolePolicyDocument": document(&trust),
            "Policies": [policy("start", &statements)],
        });
        let role = Resource::new("AWS::IAM::Role", properties);
        template.add(self.id("ExecutionRole"), because(role, trust.iter().chain(&statements)))
    }

    fn definition(&self, logs: &LogicalId, role: &LogicalId) -> Resource {
        let service = self.service;
        let mut container = json!({
            "Name": service.id.to_string(),
            "Image": service.image.as_str(),
            "Essential": true,
            "LogConfiguration": task::log_configuration(logs),
        });
        if !service.variables.is_empty() {
            let variables = service.variables.iter().map(|(name, value)| json!({"Name": name, "Value": value}));
            container["Environment"] = variables.collect();
        }
        if !service.secrets.is_empty() {
            let secrets = service.secrets.iter().map(|(name, secret, field)| {
                let arn = service.deployment.import(secret);
                json!({"Name": name, "ValueFrom": task::secret_value(&arn, field.as_str())})
            });
            container["Secrets"] = secrets.collect();
        }
        Resource::new(
            "AWS::ECS::TaskDefinition",
            json!({
                "Family": format!("{}-{}", self.stack, service.id),
                "RequiresCompatibilities": ["FARGATE"],
                "NetworkMode": "awsvpc",
                "RuntimePlatform": {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"},
                "Cpu": service.size.cpu().to_string(),
                "Memory": service.size.memory_mib().to_string(),
                "ExecutionRoleArn": role.attribute("Arn"),
                "ContainerDefinitions": [container],
            }),
        )
    }
}
