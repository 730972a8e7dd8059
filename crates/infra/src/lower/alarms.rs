//! Alarms of CloudWatch; who hears of them is in [`notifications`].

use serde_json::{Value, json};

use super::service::Shared;
use super::{notifications, stop};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::{Export, secret_id};
use crate::model::{Alarms, Deployment, FileSystem, NewFileSystem, Node, Throughput, Watch};
use crate::values::RotationPeriod;

/// Where bootstrap's numbers are (docs/status.md); a test holds the names against bootstrap's.
const BOOTSTRAP: &str = "eventstore-fargate";
const CONTAINER_INSIGHTS: &str = "ECS/ContainerInsights";
const ECS: &str = "AWS/ECS";
const EFS: &str = "AWS/EFS";
const STATES: &str = "AWS/States";

const MINUTE: u32 = 60;
/// bootstrap tells its numbers at least so often, in seconds.
const TOLD_EVERY: u32 = 300;
const HOUR: u32 = 3600;
const DAY: u32 = 86_400;
const GIB: u64 = 1 << 30;

pub(super) fn lower(template: &mut Template, shared: &Shared<'_>) {
    let Alarms::On(watch) = &shared.deployment.config().alarms else { return };
    let topic = notifications::lower(template, shared, watch);
    let mut made = Made { template, shared, watch, topic };
    for node in shared.deployment.members() {
        made.node(node);
    }
    made.passwords();
    made.file_system();
    made.backup();
}

/// How a number becomes an alarm.
struct When {
    comparison: &'static str,
    threshold: Value,
    /// Seconds.
    period: u32,
    /// How many after each other.
    periods: u32,
    /// What a period without a number is.
    missing: &'static str,
}

const ABOVE: &str = "GreaterThanThreshold";
const BELOW: &str = "LessThanThreshold";
/// Nobody tells anything when nothing runs.
const BREACHING: &str = "breaching";
/// Another alarm tells that nothing runs.
const FINE: &str = "notBreaching";

struct Metric<'a> {
    namespace: &'a str,
    name: &'a str,
    dimensions: Value,
}

impl Metric<'_> {
    fn to_value(&self) -> Value {
        json!({"Namespace": self.namespace, "MetricName": self.name, "Dimensions": self.dimensions})
    }

    /// As a part of an expression.
    fn term(&self, id: &str, statistic: &str, period: u32) -> Value {
        let metric = json!({"Metric": self.to_value(), "Period": period, "Stat": statistic});
        json!({"Id": id, "MetricStat": metric, "ReturnData": false})
    }
}

fn dimensions(all: &[(&str, Value)]) -> Value {
    all.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect()
}

struct Made<'a> {
    template: &'a mut Template,
    shared: &'a Shared<'a>,
    watch: &'a Watch,
    topic: Option<Value>,
}

impl Made<'_> {
    fn deployment(&self) -> &Deployment {
        self.shared.deployment
    }

    fn alarm(&self, description: &str, number: Value, when: &When) -> Resource {
        let mut properties = number;
        let mut set = |key: &str, value: Value| properties[key] = value;
        set("AlarmDescription", json!(format!("{}: {description}", self.shared.deployment.name())));
        set("ComparisonOperator", json!(when.comparison));
        set("Threshold", when.threshold.clone());
        set("EvaluationPeriods", json!(when.periods));
        set("TreatMissingData", json!(when.missing));
        if let Some(topic) = &self.topic {
            set("AlarmActions", json!([topic]));
            set("OKActions", json!([topic]));
        }
        Resource::new("AWS::CloudWatch::Alarm", properties)
    }

    fn on(&self, description: &str, metric: &Metric<'_>, statistic: &str, when: &When) -> Resource {
        let mut number = metric.to_value();
        number["Statistic"] = json!(statistic);
        number["Period"] = json!(when.period);
        self.alarm(description, number, when)
    }

    /// On an expression of two metrics, each under its id with its statistic.
    fn on_expression(
        &self,
        description: &str,
        expression: &str,
        terms: [(&str, &Metric<'_>, &str); 2],
        when: &When,
    ) -> Resource {
        let mut metrics = vec![json!({"Id": "number", "Expression": expression})];
        metrics.extend(terms.map(|(id, metric, statistic)| metric.term(id, statistic, when.period)));
        self.alarm(description, json!({"Metrics": metrics}), when)
    }

    fn node(&mut self, node: &Node) {
        let (node_id, name) = (node.id(), node.name());
        let id = |what: &str| format!("{node_id}{what}Alarm");
        let watch = self.watch;
        let service = LogicalId::new(format!("{node_id}Service"));
        let of_service =
            dimensions(&[("ClusterName", self.shared.cluster.reference()), ("ServiceName", service.attribute("Name"))]);
        let insights = |name| Metric { namespace: CONTAINER_INSIGHTS, name, dimensions: of_service.clone() };
        // A service that is scaled to none on purpose, for a backup, misses nothing; that its node does not come back
        // `Registered` tells.
        let alarm = self.on_expression(
            &format!("ECS does not run the task of {name}"),
            "desired-running",
            [
                ("desired", &insights("DesiredTaskCount"), "Average"),
                ("running", &insights("RunningTaskCount"), "Average"),
            ],
            &When {
                comparison: ABOVE,
                threshold: json!(0),
                period: MINUTE,
                periods: watch.down_minutes.into(),
                missing: BREACHING,
            },
        );
        self.template.add(id("Running"), alarm);
        let alarm = self.on(
            &format!("little memory is left to {name}"),
            &Metric { namespace: ECS, name: "MemoryUtilization", dimensions: of_service.clone() },
            "Average",
            &When {
                comparison: ABOVE,
                threshold: json!(watch.memory_percent),
                period: MINUTE,
                periods: 15,
                missing: FINE,
            },
        );
        self.template.add(id("Memory"), alarm);
        let of_node = dimensions(&[("Deployment", json!(self.deployment().client_host())), ("Node", json!(name))]);
        let bootstrap = |name| Metric { namespace: BOOTSTRAP, name, dimensions: of_node.clone() };
        self.found(node, &bootstrap("Registered"), &service);
        if self.deployment().secured().is_none() {
            return;
        }
        let alarm = self.on(
            &format!("the certificate of {name} is not renewed"),
            &bootstrap("CertificateDaysLeft"),
            "Minimum",
            &When {
                comparison: BELOW,
                threshold: json!(watch.certificate_days),
                period: HOUR,
                periods: 1,
                missing: FINE,
            },
        );
        self.template.add(id("Certificate"), alarm);
    }

    /// Whether clients find the node; they are not told of read-only replicas.
    fn found(&mut self, node: &Node, registered: &Metric<'_>, service: &LogicalId) {
        if node.is_read_only_replica() {
            return;
        }
        // One that stands still for its backup is missed when it should be back.
        let pause = self.deployment().backup_pause().filter(|pause| node.id().number() == pause.node);
        let pause = pause.map_or(0, |pause| pause.minutes);
        let minutes = (u32::from(self.watch.unregistered_minutes) + pause).min(DAY / MINUTE);
        let alarm = self.on(
            &format!("clients do not find {}", node.name()),
            registered,
            "Maximum",
            &When {
                comparison: BELOW,
                threshold: json!(1),
                period: TOLD_EVERY,
                periods: minutes.div_ceil(TOLD_EVERY / MINUTE),
                missing: BREACHING,
            },
        );
        // Before the service there would be nothing but missing numbers: an alarm at once.
        self.template.add(format!("{}RegisteredAlarm", node.id()), alarm.after(service));
    }

    /// Whether the machine that stops a node for its backup came to a good end.
    fn backup(&mut self) {
        if self.deployment().backup_pause().is_none() {
            return;
        }
        let machine = LogicalId::new(stop::MACHINE);
        let of_machine = dimensions(&[("StateMachineArn", machine.reference())]);
        let states = |name| Metric { namespace: STATES, name, dimensions: of_machine.clone() };
        let alarm = self.on_expression(
            "a node was stopped for its backup, and something did not go as it should",
            "failed+stopped",
            [("failed", &states("ExecutionsFailed"), "Sum"), ("stopped", &states("ExecutionsTimedOut"), "Sum")],
            &When { comparison: ABOVE, threshold: json!(0), period: HOUR, periods: 1, missing: FINE },
        );
        self.template.add("BackupMachineAlarm", alarm);
    }

    /// Of users whose passwords bootstrap replaces by age, a day after that.
    fn passwords(&mut self) {
        let Some(secured) = self.shared.deployment.secured() else { return };
        let RotationPeriod::Days(days) = secured.rotate_every else { return };
        let users = secured.users.iter().filter(|user| user.alternates).map(|user| user.login().as_str());
        for login in ["admin", "ops"].into_iter().chain(users) {
            let of_user = dimensions(&[("Deployment", json!(self.deployment().client_host())), ("User", json!(login))]);
            let alarm = self.on(
                &format!("the password of {login} is not replaced"),
                &Metric { namespace: BOOTSTRAP, name: "RotationAge", dimensions: of_user },
                "Maximum",
                &When {
                    comparison: ABOVE,
                    threshold: json!((u32::from(days) + 1) * DAY),
                    period: HOUR,
                    periods: 1,
                    missing: FINE,
                },
            );
            self.template.add(format!("{}AgeAlarm", secret_id(login)), alarm);
        }
    }

    fn file_system(&mut self) {
        let file_system = dimensions(&[("FileSystemId", self.deployment().import(&Export::FileSystemId))]);
        let efs = |name| Metric { namespace: EFS, name, dimensions: file_system.clone() };
        let throughput = match &self.deployment().config().data.file_system {
            FileSystem::New(NewFileSystem { throughput, .. }) => Some(*throughput),
            FileSystem::Existing { .. } => None,
        };
        let busy = When {
            comparison: ABOVE,
            threshold: json!(self.watch.file_system_percent),
            period: MINUTE,
            periods: 15,
            missing: FINE,
        };
        // AWS, "Using CloudWatch metrics to monitor Amazon EFS": throughput utilization.
        let alarm = self.on_expression(
            "the file system moves nearly all that it can",
            "100*moved/PERIOD(moved)/permitted",
            [("moved", &efs("MeteredIOBytes"), "Sum"), ("permitted", &efs("PermittedThroughput"), "Average")],
            &busy,
        );
        self.template.add("ThroughputAlarm", alarm);
        if throughput != Some(Throughput::Elastic) {
            let metric = efs("PercentIOLimit");
            let alarm = self.on("the file system does nearly all operations that it can", &metric, "Average", &busy);
            self.template.add("IoLimitAlarm", alarm);
        }
        if throughput == Some(Throughput::Bursting) {
            let alarm = self.on(
                "the file system will be slow when its credits are gone",
                &efs("BurstCreditBalance"),
                "Minimum",
                &When {
                    comparison: BELOW,
                    threshold: json!(u64::from(self.watch.burst_credit_gib) * GIB),
                    period: TOLD_EVERY,
                    periods: 3,
                    missing: FINE,
                },
            );
            self.template.add("BurstCreditAlarm", alarm);
        }
    }
}
