//! The endpoints of a task, in the words of ECS.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task/testkit/158d1c8083dd49d6b527399fd6414f5c";
const PATIENCE: Duration = Duration::from_secs(10);

struct Task {
    endpoints: TaskEndpoints,
    environment: BTreeMap<String, String>,
}

impl Task {
    async fn start() -> Self {
        let identity = TaskIdentity {
            task_arn: ARN.to_owned(),
            family: "es-node-1".to_owned(),
            address: "127.0.0.2".parse().unwrap(),
        };
        assert_eq!(identity.id(), "158d1c8083dd49d6b527399fd6414f5c");
        let endpoints = TaskEndpoints::start(identity).await.unwrap();
        let environment = endpoints.environment().into_iter().collect();
        Self { endpoints, environment }
    }

    async fn get(&self, variable: &str, path: &str) -> (u16, Value) {
        ask(Method::GET, &format!("{}{path}", self.environment[variable]), "").await
    }

    async fn protection(&self) -> (u16, Value) {
        self.get("ECS_AGENT_URI", "/task-protection/v1/state").await
    }

    async fn protect(&self, body: &Value) -> (u16, Value) {
        let uri = format!("{}/task-protection/v1/state", self.environment["ECS_AGENT_URI"]);
        ask(Method::PUT, &uri, &body.to_string()).await
    }
}

async fn ask(method: Method, uri: &str, body: &str) -> (u16, Value) {
    let (address, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(format!("/{path}")).header("host", address);
    let reply = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn seconds_until(date: &Value) -> f64 {
    let date = OffsetDateTime::parse(date.as_str().unwrap(), &Rfc3339).unwrap();
    (date - OffsetDateTime::now_utc()).as_seconds_f64()
}

#[tokio::test]
async fn every_container_has_its_own_address_and_all_share_the_tasks() {
    let task = Task::start().await;
    let database: BTreeMap<_, _> = task.endpoints.environment_of("eventstore").into_iter().collect();
    let (status, own) = ask(Method::GET, &database["ECS_CONTAINER_METADATA_URI_V4"], "").await;
    assert_eq!((status, &own["Name"]), (200, &json!("eventstore")));
    let (_, whole) = task.get("ECS_CONTAINER_METADATA_URI_V4", "/task").await;
    assert_eq!(whole["TaskARN"], ARN);
    let names: Vec<_> = whole["Containers"].as_array().unwrap().iter().map(|container| &container["Name"]).collect();
    assert_eq!(names, ["bootstrap", "eventstore"]);
    for container in whole["Containers"].as_array().unwrap() {
        assert_eq!(container["Networks"][0]["IPv4Addresses"], json!(["127.0.0.2"]));
    }
    let stranger = database["ECS_CONTAINER_METADATA_URI_V4"].replace("eventstore", "stranger");
    assert_eq!(ask(Method::GET, &stranger, "").await.0, 404);
}

#[tokio::test]
async fn networks_may_come_late() {
    let task = Task::start().await;
    task.endpoints.hide_networks(1);
    let (_, early) = task.get("ECS_CONTAINER_METADATA_URI_V4", "/task").await;
    assert!(early["Containers"][0]["Networks"].is_null());
    let (_, late) = task.get("ECS_CONTAINER_METADATA_URI_V4", "/task").await;
    assert_eq!(late["Containers"][0]["Networks"][0]["IPv4Addresses"], json!(["127.0.0.2"]));
}

#[tokio::test]
async fn credentials_end_and_are_others_each_time() {
    let task = Task::start().await;
    task.endpoints.set_credentials_last(Duration::from_secs(90));
    let (_, first) = task.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "").await;
    let (_, second) = task.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "").await;
    assert_ne!(first["AccessKeyId"], second["AccessKeyId"]);
    let left = seconds_until(&second["Expiration"]);
    assert!((30.0..=90.0).contains(&left), "{left}");
}

#[tokio::test]
async fn protection_is_granted_renewed_given_up_and_ends() {
    let task = Task::start().await;
    let nothing = json!({"protection": {"ExpirationDate": null, "ProtectionEnabled": false, "TaskArn": ARN}});
    assert_eq!(task.protection().await, (200, nothing.clone()));
    assert!(!task.endpoints.protection().enabled);

    let (status, granted) = task.protect(&json!({"ProtectionEnabled": true, "ExpiresInMinutes": 10})).await;
    assert_eq!((status, &granted["protection"]["ProtectionEnabled"]), (200, &json!(true)));
    let left = seconds_until(&granted["protection"]["ExpirationDate"]);
    assert!((540.0..=600.0).contains(&left), "{left}");
    assert_eq!(task.protection().await.1["protection"]["TaskArn"], ARN);
    let first = task.endpoints.protection().ends.unwrap();
    task.protect(&json!({"ProtectionEnabled": true, "ExpiresInMinutes": 10})).await;
    assert!(task.endpoints.protection().ends.unwrap() > first, "asking again begins the time anew");

    assert_eq!(task.protect(&json!({"ProtectionEnabled": false})).await, (200, nothing.clone()));
    assert!(!task.endpoints.protection().enabled);
    let history: Vec<_> =
        task.endpoints.protection_history().iter().map(|request| (request.enabled, request.minutes)).collect();
    assert_eq!(history, [(true, Some(10)), (true, Some(10)), (false, None)]);

    task.endpoints.set_minute(Duration::from_millis(20));
    task.protect(&json!({"ProtectionEnabled": true, "ExpiresInMinutes": 1})).await;
    let started = Instant::now();
    while task.endpoints.protection().enabled {
        assert!(started.elapsed() < PATIENCE, "it did not end");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(task.protection().await, (200, nothing));
}

#[tokio::test]
async fn the_default_is_two_hours() {
    let task = Task::start().await;
    let (_, granted) = task.protect(&json!({"ProtectionEnabled": true})).await;
    let left = seconds_until(&granted["protection"]["ExpirationDate"]);
    assert!((7140.0..=7200.0).contains(&left), "{left}");
}

#[tokio::test]
async fn what_the_agent_does_not_understand_changes_nothing() {
    let task = Task::start().await;
    let wrong = [
        json!({}),
        json!({"ProtectionEnabled": "yes"}),
        json!({"ProtectionEnabled": true, "ExpiresInMinutes": 0}),
        json!({"ProtectionEnabled": true, "ExpiresInMinutes": 2881}),
        json!({"ProtectionEnabled": true, "Unknown": 1}),
    ];
    for body in wrong {
        let (status, answer) = task.protect(&body).await;
        assert_eq!((status, &answer["error"]["Code"]), (400, &json!("InvalidParameterException")), "{body}");
    }
    assert_eq!(task.endpoints.protection_history(), []);
}

#[tokio::test]
async fn trouble_has_no_effect_and_ends() {
    let task = Task::start().await;
    let protect = json!({"ProtectionEnabled": true});
    let troubles = [
        (Trouble::Status(503), 503, Value::Null),
        (Trouble::Status(429), 429, Value::Null),
        (
            Trouble::Error(400, "ThrottlingException"),
            400,
            json!({"error": {"Arn": ARN, "Code": "ThrottlingException", "Message": "by the test"}}),
        ),
        (
            Trouble::Failure("DEPLOYMENT_BLOCKED"),
            200,
            json!({"failure": {"Arn": ARN, "Detail": null, "Reason": "DEPLOYMENT_BLOCKED"}}),
        ),
    ];
    for (trouble, status, body) in troubles {
        task.endpoints.disturb(Endpoint::TaskProtection, trouble);
        assert_eq!(task.protect(&protect).await, (status, body));
    }
    task.endpoints.disturb(Endpoint::TaskProtection, Trouble::Hang);
    assert!(timeout(Duration::from_millis(100), task.protect(&protect)).await.is_err());
    assert_eq!(task.get("ECS_CONTAINER_METADATA_URI_V4", "/task").await.0, 200, "the others go on");
    assert!(!task.endpoints.protection().enabled);
    task.endpoints.heal(Endpoint::TaskProtection);
    assert_eq!(task.protect(&protect).await.0, 200);
    assert!(task.endpoints.protection().enabled);
    let protections =
        task.endpoints.seen().iter().filter(|seen| seen.endpoint == Some(Endpoint::TaskProtection)).count();
    assert_eq!(protections, 6);
}
