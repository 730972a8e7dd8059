//! Who this task is: its ARN and its address, from the ECS task metadata endpoint (version 4).

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::error::{Error, root_cause};
use crate::trust::Trust;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Early in a task's life its networks may be missing from the answer (aws-contract §4.1).
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

/// A task's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The task's ARN.
    pub arn: String,
    /// The address that all its containers share.
    pub address: IpAddr,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskMetadata {
    #[serde(rename = "TaskARN")]
    task_arn: String,
    #[serde(default)]
    containers: Vec<ContainerMetadata>,
}

/// AWS adds fields and leaves fields out; nothing unknown is an error.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerMetadata {
    #[serde(rename = "Type", default)]
    kind: Option<String>,
    #[serde(default)]
    networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "IPv4Addresses", default)]
    ipv4: Vec<IpAddr>,
}

impl TaskMetadata {
    /// All containers of a task share one network interface; a container of another type is ECS's own.
    fn address(&self) -> Option<IpAddr> {
        let normal = |container: &&ContainerMetadata| container.kind.as_deref().is_none_or(|kind| kind == "NORMAL");
        let networks = self.containers.iter().filter(normal).flat_map(|container| &container.networks);
        networks.flat_map(|network| &network.ipv4).copied().next()
    }
}

/// Asks the endpoint that `ECS_CONTAINER_METADATA_URI_V4` names, until it tells ARN and address.
///
/// # Errors
///
/// [`Error::Metadata`] after 30 s, with the last reason.
pub(crate) async fn task(uri: &str) -> Result<Task, Error> {
    let failed = |reason: String| Error::Metadata { uri: uri.to_owned(), reason };
    // The endpoint speaks plain HTTP on a link-local address.
    let tls = Trust::nobody().client_config().map_err(|error| failed(error.to_string()))?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(Policy::none())
        .timeout(CALL_TIMEOUT)
        .build()
        .map_err(|error| failed(root_cause(&error)))?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let reason = match ask(&client, uri).await {
            Ok(metadata) => match metadata.address() {
                Some(address) => return Ok(Task { arn: metadata.task_arn, address }),
                None => "no container has an IPv4 address yet".to_owned(),
            },
            Err(error) => root_cause(&error),
        };
        if Instant::now() >= deadline {
            return Err(failed(reason));
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: &Client, uri: &str) -> Result<TaskMetadata, reqwest::Error> {
    client.get(format!("{uri}/task")).send().await?.error_for_status()?.json().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(json: &str) -> Option<IpAddr> {
        serde_json::from_str::<TaskMetadata>(json).unwrap().address()
    }

    #[test]
    fn the_first_address_of_a_normal_container_is_the_tasks() {
        let json = r#"{"TaskARN":"arn:t","New":1,"Containers":[
            {"Type":"CNI_PAUSE","Networks":[{"IPv4Addresses":["10.0.0.1"]}]},
            {"Type":"NORMAL"},
            {"Type":"NORMAL","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.0.7"]}]}]}"#;
        assert_eq!(address(json), Some("10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn networks_may_be_missing() {
        assert_eq!(address(r#"{"TaskARN":"arn:t"}"#), None);
        assert_eq!(address(r#"{"TaskARN":"arn:t","Containers":[{}]}"#), None);
    }
}
