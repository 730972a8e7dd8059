//! The double of AWS for containers on one machine: what it is told to make, what of it outlives its process, and what it serves
//! of tasks.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use testkit::consumer::{aws, discover, read_secret};
use testkit::local::{Local, Stack};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

fn stack() -> Stack {
    let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
    Stack {
        services: vec![pair("srv-es", "es.db.internal")],
        secrets: vec![pair("admin", "es/admin")],
        empty_secrets: vec!["es/ca".to_owned()],
        tasks: vec![pair("node-1", "localhost"), pair("node-2", "nobody.invalid")],
    }
}

struct Running {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(state: &Path) -> Self {
        let local = Local::open("127.0.0.1:0".parse().unwrap(), state, &stack()).await.unwrap();
        let address = local.address().unwrap();
        Self { address, server: tokio::spawn(local.serve()) }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "").await
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let reply = sender.send_request(request).await.unwrap();
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn register(endpoint: &str) {
    let attributes = json!({"AWS_INSTANCE_IPV4": "10.0.0.7", "AWS_INSTANCE_PORT": "2113"});
    let input =
        json!({"ServiceId": "srv-es", "InstanceId": "node-1", "CreatorRequestId": "a", "Attributes": attributes});
    aws(endpoint, "Route53AutoNaming_v20170314.RegisterInstance", &input).await.unwrap();
    while discover(endpoint, "db.internal", "es").await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_it_holds_outlives_its_process() {
    let state = tempfile::tempdir().unwrap();
    let first = Running::start(state.path()).await;
    let admin = read_secret(&first.endpoint(), "es/admin").await.unwrap();
    assert_eq!((admin["username"].as_str(), admin["password"].as_str().map(str::len)), (Some("admin"), Some(40)));
    assert!(read_secret(&first.endpoint(), "es/ca").await.is_err(), "it has no value");
    let put = json!({"SecretId": "es/ca", "ClientRequestToken": "0".repeat(32), "SecretString": "{\"a\":1}"});
    aws(&first.endpoint(), "secretsmanager.PutSecretValue", &put).await.unwrap();
    register(&first.endpoint()).await;
    drop(first);

    let second = Running::start(state.path()).await;
    assert_eq!(read_secret(&second.endpoint(), "es/admin").await.unwrap(), admin, "it is not generated anew");
    assert_eq!(read_secret(&second.endpoint(), "es/ca").await.unwrap(), json!({"a": 1}));
    let addresses = discover(&second.endpoint(), "db.internal", "es").await.unwrap();
    assert_eq!(addresses, ["10.0.0.7:2113".parse().unwrap()]);
}

#[tokio::test]
async fn a_state_that_is_not_its_own_is_refused_and_left() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("account.json");
    std::fs::write(&file, "{").unwrap();
    assert!(Local::open("127.0.0.1:0".parse().unwrap(), state.path(), &stack()).await.is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "{");
}

#[tokio::test]
async fn a_task_has_metadata_credentials_and_protection_under_its_name() {
    let state = tempfile::tempdir().unwrap();
    let local = Running::start(state.path()).await;
    let (status, task) = local.get("/v4/node-1/task").await;
    assert_eq!(status, 200);
    let arn = task["TaskARN"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:ecs:eu-west-1:123456789012:task/local/"), "{arn}");
    assert_eq!(local.get("/v4/node-1").await.1["Networks"][0]["IPv4Addresses"], json!(["127.0.0.1"]));
    assert_eq!(local.get("/v4/node-1/task").await.1["TaskARN"], arn, "it stays the same while its address does");
    let credentials = local.get("/v2/credentials/node-1").await.1;
    assert!(credentials["AccessKeyId"].is_string() && credentials["Expiration"].is_string(), "{credentials}");
    let protect = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":10}"#;
    let (status, protection) = local.ask(Method::PUT, "/api/node-1/task-protection/v1/state", protect).await;
    assert_eq!((status, &protection["protection"]["ProtectionEnabled"]), (200, &json!(true)));

    let (status, early) = local.get("/v4/node-2").await;
    assert!(status == 200 && early["Networks"].is_null(), "its network has no address yet: {early}");
    for nowhere in ["/v4/node-3", "/v2/credentials/node-3", "/", "/v4"] {
        assert_eq!(local.get(nowhere).await.0, 404, "{nowhere}");
    }
}
