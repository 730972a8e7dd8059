//! AWS as a rule sees it: an endpoint, whoever is behind it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::consumer::aws;
use tokio::time::sleep;
use uuid::Uuid;

/// The outcome of a call: what it gave, or AWS's error code.
pub(crate) type Outcome = Result<Value, String>;

/// What was seen instead of what a rule says.
pub(crate) type Check = Result<(), String>;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct Client {
    endpoint: String,
}

impl Client {
    pub(crate) fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into() }
    }

    pub(crate) async fn secrets(&self, operation: &str, input: Value) -> Outcome {
        self.call(&format!("secretsmanager.{operation}"), &input).await
    }

    pub(crate) async fn cloud_map(&self, operation: &str, input: Value) -> Outcome {
        self.call(&format!("Route53AutoNaming_v20170314.{operation}"), &input).await
    }

    async fn call(&self, target: &str, input: &Value) -> Outcome {
        let code = |error: String| error.rsplit(": ").next().unwrap_or_default().trim_matches('"').to_owned();
        aws(&self.endpoint, target, input).await.map_err(|error| code(error.to_string()))
    }

    /// A new secret and its first version.
    pub(crate) async fn create(&self, text: &str) -> (String, String) {
        let (name, token) = (name(), token());
        let input = json!({"Name": name, "ClientRequestToken": token, "SecretString": text});
        self.secrets("CreateSecret", input).await.unwrap();
        (name, token)
    }

    pub(crate) async fn put(&self, id: &str, token: &str, text: &str, labels: &[&str]) -> Outcome {
        let input = json!({"SecretId": id, "ClientRequestToken": token, "SecretString": text, "VersionStages": labels});
        self.secrets("PutSecretValue", input).await
    }

    pub(crate) async fn move_label(&self, id: &str, label: &str, to: Option<&str>, from: Option<&str>) -> Outcome {
        let mut input = json!({"SecretId": id, "VersionStage": label});
        for (key, version) in [("MoveToVersionId", to), ("RemoveFromVersionId", from)] {
            if let Some(version) = version {
                input[key] = json!(version);
            }
        }
        self.secrets("UpdateSecretVersionStage", input).await
    }

    /// The text of what a read without version gives.
    pub(crate) async fn current(&self, id: &str) -> Result<String, String> {
        let output = self.secrets("GetSecretValue", json!({"SecretId": id})).await?;
        Ok(output["SecretString"].as_str().unwrap_or_default().to_owned())
    }

    /// The labels of a version, sorted; none if it is not described.
    pub(crate) async fn labels(&self, id: &str, version: &str) -> Option<Vec<String>> {
        let output = self.secrets("DescribeSecret", json!({"SecretId": id})).await.unwrap();
        let labels = output["VersionIdsToStages"].get(version)?.as_array().unwrap();
        let mut labels: Vec<_> = labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect();
        labels.sort();
        Some(labels)
    }

    /// A new namespace in a VPC of its own.
    pub(crate) async fn namespace(&self) -> String {
        self.namespace_in(&format!("vpc-{}", Uuid::new_v4().simple()), &format!("{}.internal", token())).await.unwrap()
    }

    pub(crate) async fn namespace_in(&self, vpc: &str, name: &str) -> Result<String, String> {
        let input = json!({"Name": name, "Vpc": vpc, "CreatorRequestId": token()});
        let output = self.cloud_map("CreatePrivateDnsNamespace", input).await?;
        let operation = self.ended(&output).await;
        Ok(operation["Targets"]["NAMESPACE"].as_str().unwrap().to_owned())
    }

    /// A new service in a new namespace.
    pub(crate) async fn service(&self) -> String {
        self.service_in(&self.namespace().await, "es").await.unwrap()
    }

    pub(crate) async fn service_in(&self, namespace: &str, name: &str) -> Result<String, String> {
        let records = json!({"DnsRecords": [{"Type": "A", "TTL": 10}]});
        let input = json!({"Name": name, "NamespaceId": namespace, "DnsConfig": records});
        let output = self.cloud_map("CreateService", input).await?;
        Ok(output["Service"]["Id"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn register(&self, service: &str, instance: &str, attributes: &Value) -> Outcome {
        let input = json!({"ServiceId": service, "InstanceId": instance, "Attributes": attributes, "CreatorRequestId": token()});
        self.cloud_map("RegisterInstance", input).await
    }

    pub(crate) async fn registered(&self, service: &str, instance: &str, task: &str) {
        let output = self.register(service, instance, &attributes(task)).await.unwrap();
        assert_eq!(self.ended(&output).await["Status"], "SUCCESS");
    }

    pub(crate) async fn deregister(&self, service: &str, instance: &str) -> Outcome {
        self.cloud_map("DeregisterInstance", json!({"ServiceId": service, "InstanceId": instance})).await
    }

    /// The task of an instance.
    pub(crate) async fn owner(&self, service: &str, instance: &str) -> Result<String, String> {
        let input = json!({"ServiceId": service, "InstanceId": instance});
        let output = self.cloud_map("GetInstance", input).await?;
        Ok(output["Instance"]["Attributes"]["TASK_ARN"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn instances(&self, service: &str) -> Vec<Value> {
        let output = self.cloud_map("ListInstances", json!({"ServiceId": service})).await.unwrap();
        output["Instances"].as_array().unwrap().clone()
    }

    /// The operation that an answer names.
    pub(crate) async fn operation(&self, output: &Value) -> Value {
        let input = json!({"OperationId": output["OperationId"]});
        self.cloud_map("GetOperation", input).await.unwrap()["Operation"].clone()
    }

    /// The same, when it has ended.
    pub(crate) async fn ended(&self, output: &Value) -> Value {
        let started = Instant::now();
        loop {
            let operation = self.operation(output).await;
            if matches!(operation["Status"].as_str(), Some("SUCCESS" | "FAIL")) {
                return operation;
            }
            assert!(started.elapsed() < PATIENCE, "{operation} does not end");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn attributes(task: &str) -> Value {
    json!({"AWS_INSTANCE_IPV4": "10.0.0.7", "AWS_INSTANCE_PORT": "2113", "TASK_ARN": task})
}

pub(crate) fn token() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn name() -> String {
    format!("test/{}", token())
}

/// `seen` is `wanted`, or the check fails with what was seen.
pub(crate) fn same<T: PartialEq<U> + Debug, U>(what: &str, seen: &T, wanted: &U) -> Check {
    if seen == wanted { Ok(()) } else { Err(format!("{what}: {seen:?}")) }
}

/// The call is refused with this code.
pub(crate) fn refused(what: &str, outcome: Outcome, code: &str) -> Check {
    match outcome {
        Err(seen) if seen == code => Ok(()),
        Err(seen) => Err(format!("{what}: {seen}")),
        Ok(_) => Err(format!("{what}: accepted")),
    }
}

/// The call is refused.
pub(crate) fn refused_somehow(what: &str, outcome: &Outcome) -> Check {
    if outcome.is_err() { Ok(()) } else { Err(format!("{what}: accepted")) }
}
