//! What a task is told of itself.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::State;
use super::protection::date;

impl State {
    pub(super) fn describe_task(&mut self) -> Value {
        let networks = self.networks();
        let containers: Vec<_> =
            self.containers.iter().map(|container| self.container(container, networks.as_ref())).collect();
        json!({
            "Cluster": "testkit",
            "TaskARN": self.identity.task_arn,
            "Family": self.identity.family,
            "Revision": "1",
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "LaunchType": "FARGATE",
            "AvailabilityZone": "eu-west-1a",
            "Containers": containers,
        })
    }

    pub(super) fn describe(&mut self, container: &str) -> Value {
        let networks = self.networks();
        self.container(container, networks.as_ref())
    }

    /// Each time others, so that a test sees whether they were fetched again.
    pub(super) fn credentials(&mut self) -> Value {
        self.credentials_given += 1;
        json!({
            "RoleArn": "arn:aws:iam::123456789012:role/testkit",
            "AccessKeyId": format!("ASIATESTKIT{}", self.credentials_given),
            "SecretAccessKey": "not-a-secret",
            "Token": "not-a-token",
            "Expiration": date(OffsetDateTime::now_utc() + self.credentials_last),
        })
    }

    /// All containers of a task share one address.
    fn networks(&mut self) -> Option<Value> {
        if self.without_networks > 0 {
            self.without_networks -= 1;
            return None;
        }
        Some(json!([{"NetworkMode": "awsvpc", "IPv4Addresses": [self.identity.address.to_string()]}]))
    }

    fn container(&self, name: &str, networks: Option<&Value>) -> Value {
        let mut container = json!({
            "DockerId": format!("{}-{name}", self.identity.id()),
            "Name": name,
            "Type": "NORMAL",
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
        });
        if let Some(networks) = networks {
            container["Networks"] = networks.clone();
        }
        container
    }
}
