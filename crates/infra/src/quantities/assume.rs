//! What depends on use and no configuration says: numbers that somebody assumes, each with its key.

use super::exact::Exact;
use crate::config::{Mistake, nearest};
use crate::model::{Deployment, FlowLogs, Vpc};

/// Something that is assumed.
#[derive(Debug)]
pub(super) struct Assumption {
    pub(super) key: &'static str,
    default: &'static str,
    most: u32,
    pub(super) doc: &'static str,
}

const fn assumed(key: &'static str, default: &'static str, most: u32, doc: &'static str) -> Assumption {
    Assumption { key, default, most, doc }
}

/// More than anybody has, and what sums of these can be made of.
const LARGE: u32 = 999_999_999;

/// All of them, in the order in which they are told. "A node" is every task: read-only replicas too.
pub(super) const ASSUMPTIONS: [Assumption; 23] = [
    assumed("data_gib", "100", LARGE, "GiB of the database on each node; every node has all of it"),
    assumed("log_volume_gib", "2", LARGE, "GiB of log files on the file system, each node, with server.log_volume"),
    assumed(
        "infrequent_percent",
        "50",
        100,
        "percent of the database in Infrequent Access, with data.infrequent_access",
    ),
    assumed("read_gib", "50", LARGE, "GiB that each node reads from the file system in the month"),
    assumed("written_gib", "50", LARGE, "GiB that each node writes to it: events, index, merges, scavenges"),
    assumed("infrequent_read_gib", "5", LARGE, "of what each node reads, GiB in Infrequent Access"),
    assumed(
        "backup_changed_gib",
        "2",
        LARGE,
        "GiB of each node in files that are not as they were in the backup of the day before",
    ),
    assumed("backup_minutes", "30", 1440, "minutes that a backup job takes"),
    assumed("stop_minutes", "2", 1440, "minutes until the node's task has ended, before its backup"),
    assumed("log_gib", "1", LARGE, "GiB that the containers of each node print in the month"),
    assumed("flow_log_gib", "0.2", LARGE, "GiB of flow logs in the month; 10 for all traffic"),
    assumed(
        "log_stored_percent",
        "15",
        100,
        "percent of what was ingested that CloudWatch Logs stores, after compression",
    ),
    assumed(
        "insights_log_gib",
        "0.3",
        LARGE,
        "GiB that Container Insights writes to CloudWatch Logs for each node in the month",
    ),
    assumed("insights_cluster_metrics", "13", 9999, "metrics of Container Insights for the ECS cluster"),
    assumed("insights_node_metrics", "25", 9999, "metrics of Container Insights for each service and its task family"),
    assumed(
        "task_starts",
        "4",
        9999,
        "starts of each node's task in the month: updates, retirements; those after a backup are added",
    ),
    assumed("image_gib", "0.4", LARGE, "GiB of images that one start pulls, compressed"),
    assumed("ecr_gib", "0.5", LARGE, "GiB of images kept in ECR, compressed"),
    assumed(
        "between_zones_gib",
        "50",
        LARGE,
        "GiB that each node of a cluster takes from other zones in the month: replication, clients",
    ),
    assumed("endpoint_gib", "1", LARGE, "GiB that each node moves through interface endpoints besides its logs"),
    assumed("dns_queries", "1000000", LARGE, "DNS queries for names in the namespace in the month"),
    assumed(
        "kms_requests",
        "1000",
        LARGE,
        "requests of other services than Secrets Manager to keys that are not AWS's own",
    ),
    assumed("notifications", "20", LARGE, "alarms and events told in the month"),
];

/// What is assumed for one deployment.
#[derive(Debug)]
pub(super) struct Assumed {
    values: Vec<(&'static Assumption, Exact, bool)>,
}

impl Assumed {
    /// The defaults for this deployment, and instead of them what is given as `KEY=VALUE`.
    pub(super) fn new(deployment: Option<&Deployment>, given: &[String]) -> Result<Self, Vec<Mistake>> {
        let mut values: Vec<_> =
            ASSUMPTIONS.iter().map(|assumption| (assumption, assumption.default(deployment), false)).collect();
        let mut mistakes = Vec::new();
        for text in given {
            let mut wrong = |message: String| mistakes.push(Mistake { key: format!("--assume {text}"), message });
            let Some((key, value)) = text.split_once('=') else {
                wrong("it is not KEY=VALUE, for example data_gib=200".to_owned());
                continue;
            };
            let Some((assumption, own, is_given)) = values.iter_mut().find(|(known, ..)| known.key == key.trim())
            else {
                let known: Vec<_> = ASSUMPTIONS.iter().map(|assumption| assumption.key).collect();
                wrong(format!("it is not known; {}", nearest(key, &known)));
                continue;
            };
            match Exact::parse(value.trim(), 9, 3) {
                _ if *is_given => wrong(format!("`{}` is given twice; take out one of both", assumption.key)),
                Ok(value) if value > Exact::from(assumption.most) => {
                    wrong(format!("it is too much; allowed are 0 to {}", assumption.most));
                }
                Ok(value) => (*own, *is_given) = (value, true),
                Err(message) => wrong(message),
            }
        }
        if mistakes.is_empty() { Ok(Self { values }) } else { Err(mistakes) }
    }

    /// # Panics
    ///
    /// If there is no such key; it stands in the source.
    pub(super) fn get(&self, key: &str) -> Exact {
        let found = self.values.iter().find(|(assumption, ..)| assumption.key == key);
        found.map_or_else(|| panic!("`{key}` is assumed nowhere"), |(_, value, _)| *value)
    }

    /// Each with its value and whether somebody gave it.
    pub(super) fn all(&self) -> &[(&'static Assumption, Exact, bool)] {
        &self.values
    }
}

impl Assumption {
    fn default(&self, deployment: Option<&Deployment>) -> Exact {
        let vpc = deployment.map(|deployment| &deployment.config().network.vpc);
        let default = match (self.key, vpc) {
            ("flow_log_gib", Some(Vpc::New { flow_logs: FlowLogs::All, .. })) => "10",
            _ => self.default,
        };
        Exact::parse(default, 9, 3).expect("a number of the source")
    }
}
