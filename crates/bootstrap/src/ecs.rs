//! The endpoints that ECS gives a task. The metadata endpoint (version 4) tells who it is, the agent's protects it from
//! scale-in.

use std::net::IpAddr;
use std::time::Duration;

use certgen::{TaskNetwork, root_cause};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::trust::Trust;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Early in a task's life its networks may be missing from the answer (aws-contract §4.1); after this time that is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The agent gives ECS 4 s for each of its tries (amazon-ecs-agent, task protection handlers).
const AGENT_TIMEOUT: Duration = Duration::from_secs(10);
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
struct TaskMetadata {
    #[serde(rename = "TaskARN")]
    task_arn: String,
    #[serde(flatten)]
    network: TaskNetwork,
}

/// Asks the endpoint that `ECS_CONTAINER_METADATA_URI_V4` names, until it tells ARN and address.
///
/// # Errors
///
/// [`Error::Metadata`] when `patience` is over, with the last reason.
pub(crate) async fn task(uri: &str, patience: Duration) -> Result<Task, Error> {
    let failed = |reason: String| Error::Metadata { uri: uri.to_owned(), reason };
    let client = client(CALL_TIMEOUT).map_err(failed)?;
    let deadline = Instant::now() + patience;
    loop {
        let reason = match ask(&client, uri).await {
            Ok(metadata) => match metadata.network.address() {
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

/// The endpoints speak plain HTTP on a link-local address.
fn client(call_timeout: Duration) -> Result<Client, String> {
    let tls = Trust::nobody().client_config().map_err(|error| error.to_string())?;
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().redirect(Policy::none());
    client.timeout(call_timeout).build().map_err(|error| root_cause(&error))
}

async fn ask(client: &Client, uri: &str) -> Result<TaskMetadata, reqwest::Error> {
    client.get(format!("{uri}/task")).send().await?.error_for_status()?.json().await
}

/// The agent's endpoint for task scale-in protection. The agent asks ECS with the role of the task, which must be allowed
/// `ecs:UpdateTaskProtection` (ECS developer guide, "Task scale-in protection endpoint").
#[derive(Debug)]
pub(crate) struct Agent {
    client: Client,
    url: String,
}

/// Why ECS did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprotected {
    /// It said no, and changed nothing.
    #[error("{0}")]
    Refused(String),
    /// Nobody said whether it was done.
    #[error("{0}")]
    NoAnswer(String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    protection_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_minutes: Option<u16>,
}

/// One of these is there; with status 200 also a `failure`.
#[derive(Default, Deserialize)]
struct Answer {
    protection: Option<Protection>,
    failure: Option<Failure>,
    error: Option<AgentError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Protection {
    protection_enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    reason: String,
    #[serde(default)]
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentError {
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl Agent {
    /// The agent that `ECS_AGENT_URI` names.
    ///
    /// # Errors
    ///
    /// Why no client can be made.
    pub(crate) fn new(uri: &str) -> Result<Self, String> {
        Ok(Self { client: client(AGENT_TIMEOUT)?, url: format!("{uri}/task-protection/v1/state") })
    }

    /// Protects this task for so many minutes from now on, or not any more.
    ///
    /// # Errors
    ///
    /// [`Unprotected`] with ECS's word for it.
    pub(crate) async fn protect(&self, minutes: Option<u16>) -> Result<(), Unprotected> {
        let wanted = Wanted { protection_enabled: minutes.is_some(), expires_in_minutes: minutes };
        let answer = self.client.put(&self.url).json(&wanted).send().await;
        let answer = answer.map_err(|error| Unprotected::NoAnswer(silence(&error)))?;
        let status = answer.status();
        let body: Answer = answer.json().await.unwrap_or_default();
        let told = |code: String, more: Option<String>| match more.filter(|more| !more.is_empty()) {
            Some(more) => format!("{code}: {more}"),
            None => code,
        };
        let said = match body {
            Answer { protection: Some(found), failure: None, error: None } if status.is_success() => {
                if found.protection_enabled == wanted.protection_enabled {
                    return Ok(());
                }
                "ECS left it as it was".to_owned()
            }
            Answer { failure: Some(Failure { reason, detail }), .. } => told(reason, detail),
            Answer { error: Some(AgentError { code, message }), .. } => told(code, message),
            Answer { .. } => format!("the agent answered {status}"),
        };
        // Behind a fault of the agent the request may have reached ECS.
        if status.is_server_error() { Err(Unprotected::NoAnswer(said)) } else { Err(Unprotected::Refused(said)) }
    }
}

fn silence(error: &reqwest::Error) -> String {
    if error.is_timeout() { "the agent did not answer in time".to_owned() } else { root_cause(error) }
}

#[cfg(test)]
mod tests {
    use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};

    use super::*;

    async fn agent() -> (TaskEndpoints, Agent) {
        let (task_arn, family) = ("arn:aws:ecs:eu-west-1:1:task/x".to_owned(), "node-1".to_owned());
        let identity = TaskIdentity { task_arn, family, address: "127.0.0.1".parse().unwrap() };
        let endpoints = TaskEndpoints::start(identity).await.unwrap();
        let environment = endpoints.environment();
        let (_, uri) = environment.iter().find(|(name, _)| name == "ECS_AGENT_URI").unwrap();
        let agent = Agent::new(uri).unwrap();
        (endpoints, agent)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_is_protected_for_a_time_and_released() {
        let (endpoints, agent) = agent().await;
        agent.protect(Some(10)).await.unwrap();
        assert!(endpoints.protection().enabled);
        agent.protect(None).await.unwrap();
        assert!(!endpoints.protection().enabled);
        let asked: Vec<_> =
            endpoints.protection_history().into_iter().map(|request| (request.enabled, request.minutes)).collect();
        assert_eq!(asked, [(true, Some(10)), (false, None)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_of_saying_no_is_told_in_its_own_words() {
        let (endpoints, agent) = agent().await;
        for (trouble, is_clear, said) in [
            (Trouble::Failure("DEPLOYMENT_BLOCKED"), true, "DEPLOYMENT_BLOCKED"),
            (Trouble::Failure("TASK_NOT_VALID"), true, "TASK_NOT_VALID"),
            (Trouble::Error(400, "AccessDeniedException"), true, "AccessDeniedException: by the test"),
            (Trouble::Error(400, "ThrottlingException"), true, "ThrottlingException: by the test"),
            (Trouble::Error(504, "RequestCanceled"), false, "RequestCanceled: by the test"),
            (Trouble::Status(429), true, "the agent answered 429 Too Many Requests"),
            (Trouble::Status(503), false, "the agent answered 503 Service Unavailable"),
            (Trouble::Status(200), true, "the agent answered 200 OK"),
        ] {
            endpoints.disturb(Endpoint::TaskProtection, trouble.clone());
            let error = agent.protect(Some(10)).await.unwrap_err();
            assert_eq!(error.to_string(), said, "{trouble:?}");
            assert_eq!(matches!(error, Unprotected::Refused(_)), is_clear, "{trouble:?}");
        }
        assert_eq!(endpoints.protection_history(), []);
        let nobody = Agent::new("http://127.0.0.1:1").unwrap();
        let error = nobody.protect(None).await.unwrap_err();
        assert!(matches!(error, Unprotected::NoAnswer(_)), "{error:?}");
    }

    fn address(json: &str) -> Option<IpAddr> {
        serde_json::from_str::<TaskMetadata>(json).unwrap().network.address()
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
