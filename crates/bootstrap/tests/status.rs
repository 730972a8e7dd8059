//! What `bootstrap status` and the metrics of a running sidecar say of a real task, and what they never say.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::mpsc::RecvTimeoutError;

use common::{DEADLINE, HOST, Scene, Sidecar, password};
use serde_json::{Value, json};
use testkit::aws::Refusal;
use testkit::node::DatabaseNode;

/// Runs `bootstrap status` inside the task of the sidecar.
fn status_in_task(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    let run = sidecar.run.path();
    let mut status = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    status
        .env_clear()
        .env("BOOTSTRAP_STATUS_FILE", run.join("status.json"))
        .env("BOOTSTRAP_HEALTH_FILE", run.join("health.json"))
        .env("BOOTSTRAP_GUARD_STATUS_FILE", run.join("guard.json"));
    status.arg("status").args(arguments).output().unwrap()
}

/// Runs it where there is nothing but credentials of AWS.
fn status_outside(scene: &Scene, arguments: &[&str]) -> Output {
    let mut status = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    status
        .env_clear()
        .env("AWS_ENDPOINT_URL", &scene.endpoint)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    status.args(["status", "--admin-secret=es/admin", "--ops-secret=es/ops", "--allow-http-endpoint"]);
    status.arg(format!("--cloud-map-service={}", scene.service)).args(arguments).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_the_task_it_tells_what_the_sidecar_knows() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    let guard = r#"{"schema":1,"state":"running","restarts":1,"lastExit":{"code":0,"at":9},"lockSince":7,"holder":""}"#;
    fs::write(sidecar.run.path().join("guard.json"), guard).unwrap();

    let output = status_in_task(&sidecar, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = json_of(&output);
    assert_eq!((&said["source"], &said["inOrder"], &said["findings"]), (&json!("task"), &json!(true), &json!([])));
    for (number, user) in ["admin", "ops"].into_iter().enumerate() {
        let versions = scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
        let current = versions.iter().find(|version| version.labels == ["AWSCURRENT"]).unwrap();
        let told = &said["users"][number];
        assert_eq!((&told["login"], &told["current"]["id"]), (&json!(user), &json!(current.id)));
        assert!(told["current"]["created"].is_u64() && told["proven"].is_u64() && told["pending"].is_null(), "{told}");
    }
    let instances = scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service));
    let attribute = |name: &str| json!(instances[0].attributes[name]);
    assert_eq!(said["registration"]["state"], "registered");
    assert_eq!(said["certificate"]["sha256"], attribute("CERTIFICATE_SHA256"));
    assert_eq!(said["certificate"]["rootsSha256"], attribute("ROOTS_SHA256"));
    assert_eq!((&said["certificate"]["served"], &said["server"]["restarts"]), (&json!(true), &json!(1)));
    assert!(text_of(&status_in_task(&sidecar, &[])).starts_with("node          node-1 of es.db.internal: in order\n"));

    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    let output = status_in_task(&sidecar, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("finding       the node is not registered\n"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_denies_is_told_as_the_last_error() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    scene.aws.refuse("DescribeSecret", Refusal::DENIED, 1_000_000);
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("waiting: DescribeSecret");
    let output = status_in_task(&sidecar, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said = json_of(&output);
    assert_eq!((&said["lastError"]["area"], &said["lastError"]["kind"]), (&json!("credentials"), &json!("aws-denied")));
    assert!(said["sidecar"]["errors"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["registration"]["state"], "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_task_it_reads_no_password_and_says_what_it_does_not_know() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    // Whatever a secret holds, nothing of it is shown.
    scene.aws.secrets(|secrets| secrets.create("es/orders", Some("hunter2 is no JSON")));
    let users = r#"--users=[{"login":"orders","secret":"es/orders","groups":[]}]"#;
    let before = scene.aws.calls().len();
    for (arguments, code) in [(&[users][..], 0), (&[users, "--json"], 0), (&[users, "--cluster-size=3"], 1)] {
        let output = status_outside(&scene, arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let shown = format!("{}{}", text_of(&output), String::from_utf8_lossy(&output.stderr));
        for secret in ["hunter2".to_owned(), password(&scene.aws, "admin"), password(&scene.aws, "ops")] {
            assert!(!shown.contains(&secret), "{shown}");
        }
    }
    let asked: Vec<_> = scene.aws.calls()[before..].iter().map(|call| call.operation.clone()).collect();
    let allowed = ["DescribeSecret", "ListSecretVersionIds", "ListInstances", "GetInstance"];
    assert!(asked.iter().all(|call| allowed.contains(&call.as_str())), "{asked:?}");

    let said = json_of(&status_outside(&scene, &["--json"]));
    assert_eq!((&said["source"], &said["nodes"][0]["instanceId"]), (&json!("aws"), &json!("node-1")));
    assert!(said["users"][0]["current"]["created"].is_u64(), "{said}");
    assert_eq!(said["missing"].as_array().unwrap().len(), 3, "{said}");

    // What cannot be looked at is not in order.
    scene.aws.secrets(|secrets| secrets.begin_rotation("es/ops"));
    scene.aws.refuse("ListInstances", Refusal::DENIED, 1_000_000);
    let output = status_outside(&scene, &["--json"]);
    let findings = json_of(&output)["findings"].to_string();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        findings.contains("the password of `ops` is being changed") && findings.contains("ListInstances"),
        "{findings}"
    );
}

#[test]
fn without_a_place_to_look_it_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap")).env_clear().arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("error: --admin-secret: ") && said.contains("--status-file"), "{said}");
}

/// The lines that a sidecar has printed on stdout until its node turned `registered`, or no more.
fn lines_until(sidecar: &Sidecar, registered: u8) -> Vec<Value> {
    let mut lines = Vec::new();
    loop {
        let line = sidecar.metrics.recv_timeout(DEADLINE).expect("a line comes at once when the registration changes");
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"].is_string(), "{line}");
        let is_it = line["Registered"] == registered;
        lines.push(line);
        if is_it {
            return lines;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_printed_when_the_registration_changes() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    let first = lines_until(&sidecar, 0).remove(0);
    assert_eq!((&first["Node"], &first["Deployment"]), (&json!("node-1"), &json!(HOST)));
    let registered = lines_until(&sidecar, 1).pop().unwrap();
    assert!(registered["CertificateDaysLeft"].as_f64().unwrap() > 300.0, "{registered}");
    assert!(registered["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    let ages: Vec<_> = (0..2).map(|_| sidecar.metrics.recv_timeout(DEADLINE).unwrap()).collect();
    for (age, user) in ages.iter().zip(["admin", "ops"]) {
        let age: Value = serde_json::from_str(age).unwrap();
        assert_eq!(age["User"], user);
        assert!(age["RotationAge"].is_u64(), "{age}");
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    lines_until(&sidecar, 0);

    let mut sidecar = scene.start(&["--metrics=none"]);
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(sidecar.metrics.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_finds_them_at_the_address_that_was_given() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&["--metrics-address=127.0.0.1:0"]);
    sidecar.wait_for("metrics are at http://");
    let line = sidecar.log.lines().last().unwrap();
    let address = line.split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    sidecar.wait_for("registered");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    let labels = format!("{{deployment=\"{HOST}\",node=\"node-1\"}}");
    assert!(reply.contains(&format!("\nbootstrap_registered{labels} 1\n")), "{reply}");
    assert!(reply.contains("\nbootstrap_rotation_age_seconds{"), "{reply}");
}
