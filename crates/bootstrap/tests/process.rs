//! The real binary beside a database stand-in: what it promises, what it refuses, and what it never shows.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{DEADLINE, HOST, Place, Scene, Settings, Sidecar, TASK, generate_secrets, password};
use serde_json::{Value, json};
use testkit::aws::{Lag, Refusal};
use testkit::consumer;
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};
use testkit::moto::Moto;
use testkit::node::DatabaseNode;
use testkit::proxy::{Fault, FaultProxy, Filter, Upstream, When};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_secured_registered_and_withdrawn() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let generated = password(&scene.aws, "admin");
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    assert_eq!(sidecar.healthcheck(), 0);

    assert_eq!(password(&scene.aws, "admin"), generated, "what CloudFormation generated becomes the password");
    for user in ["admin", "ops"] {
        let password = password(&scene.aws, user);
        assert_eq!(scene.node.status("/ping", Some((user, &password))).await, Some(200));
        assert_eq!(scene.node.status("/ping", Some((user, "changeit"))).await, Some(401));
        let versions = scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
        let labels: Vec<_> = versions.into_iter().map(|version| version.labels).collect();
        assert_eq!(labels, [vec!["AWSPREVIOUS".to_owned()], vec!["AWSCURRENT".to_owned()]]);
    }
    let secret = consumer::read_secret(&scene.endpoint, "es/admin").await.unwrap();
    assert_eq!((&secret["host"], &secret["caCertificate"]), (&json!(HOST), &json!(scene.node.ca())));
    let instances = scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service));
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0].id, "node-1");
    assert_eq!(instances[0].attributes["AWS_INSTANCE_IPV4"], "127.0.0.1");
    assert_eq!(instances[0].attributes["TASK_ARN"], TASK);
    let root = pem::parse(scene.node.ca()).unwrap();
    let root = certgen::ca::roots_fingerprint([root.contents()]);
    let attributes = &instances[0].attributes;
    assert_eq!(
        (&attributes["ROOTS_SHA256"], &attributes["SIGNER_SHA256"]),
        (&root, &root),
        "as `certgen ca` reads them"
    );

    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
    assert_eq!(scene.node.status("/ping", None).await, Some(200), "the database is not its affair");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_it_changes_nothing_that_is_right() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    sidecar.kill();
    let before = scene.aws.secrets(|secrets| (secrets.versions("es/admin"), secrets.versions("es/ops")));
    let calls = scene.aws.calls().len();
    scene.node.restart();
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    assert_eq!(scene.aws.secrets(|secrets| (secrets.versions("es/admin"), secrets.versions("es/ops"))), before);
    let writes: Vec<_> = scene.aws.calls()[calls..]
        .iter()
        .map(|call| call.operation.clone())
        .filter(|operation| {
            !["DescribeSecret", "GetSecretValue", "GetInstance", "ListInstances"].contains(&operation.as_str())
        })
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
    let journal = fs::read_to_string(scene.node.journal()).unwrap();
    let resets = journal.matches("reset-password").count();
    assert_eq!(resets, 4, "each password is set once, and once more before the version with the details is promoted");
}

/// Killed at any of its calls, it goes on when started again: here after the password was stored and before it was set.
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_version_is_finished_by_the_next_run() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    scene.aws.refuse("UpdateSecretVersionStage", Refusal::DENIED, 1000);
    let mut sidecar = scene.start(&["--converge-timeout=1s"]);
    sidecar.assert_told("UpdateSecretVersionStage", "task role");
    sidecar.kill();
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), [], "nothing is registered");
    let admin = password(&scene.aws, "admin");
    assert_eq!(
        scene.node.status("/ping", Some(("admin", &admin))).await,
        Some(200),
        "a stored password opens the database"
    );
    scene.aws.allow_all();
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    let versions = scene.aws.secrets(|secrets| secrets.versions("es/admin"));
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1].labels, ["AWSCURRENT"]);
}

/// The trap that locks people out (observed §4): the reset is stored, its reply is lost, and the node's cache goes on
/// accepting only the old password. The same value is sent again until the server says success, which heals the cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_reply_is_lost_is_repeated_with_the_same_password() {
    let mut scene = Scene::with(DatabaseNode::start_with(HOST, 0.1, &["--lose-reset-replies=2"])).await;
    let generated = [password(&scene.aws, "admin"), password(&scene.aws, "ops")];
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    assert_eq!(sidecar.log.matches("it will be set again").count(), 2, "{}", sidecar.log);
    assert_eq!([password(&scene.aws, "admin"), password(&scene.aws, "ops")], generated);
    let journal = fs::read_to_string(scene.node.journal()).unwrap();
    // Each was lost once and then confirmed, and confirmed again before the version with the details was promoted.
    assert_eq!(journal.matches("reset-password").count(), 6);
    // Not from the cache: the stored passwords are the right ones too.
    scene.node.restart();
    scene.node.wait_until_ready().await;
    for (user, password) in ["admin", "ops"].into_iter().zip(&generated) {
        assert_eq!(scene.node.status("/ping", Some((user, password))).await, Some(200));
        assert_eq!(scene.node.status("/ping", Some((user, "changeit"))).await, Some(401));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_secrets_it_creates_them_against_moto() {
    let Some(moto) = Moto::start("without_secrets_it_creates_them_against_moto") else { return };
    let node = DatabaseNode::start(HOST, 0.1);
    let call = |operation: &str, input| {
        let (endpoint, target) = (moto.endpoint().to_owned(), format!("Route53AutoNaming_v20170314.{operation}"));
        async move { consumer::aws(&endpoint, &target, &input).await.unwrap() }
    };
    call("CreatePrivateDnsNamespace", json!({"Name": "db.internal", "Vpc": "vpc-1"})).await;
    let namespaces = call("ListNamespaces", json!({})).await;
    let records = json!([{"Type": "A", "TTL": 10}]);
    let service =
        json!({"Name": "es", "NamespaceId": namespaces["Namespaces"][0]["Id"], "DnsConfig": {"DnsRecords": records}});
    let service = call("CreateService", service).await["Service"]["Id"].as_str().unwrap().to_owned();

    let settings = Settings { node: &node, endpoint: moto.endpoint(), service: &service, arguments: &[] };
    let mut sidecar = Sidecar::start(&settings);
    sidecar.wait_for("registered");
    for user in ["admin", "ops"] {
        let secret = consumer::read_secret(moto.endpoint(), &format!("es/{user}")).await.unwrap();
        let password = secret["password"].as_str().unwrap();
        assert_eq!(password.len(), 40);
        assert_eq!(node.status("/ping", Some((user, password))).await, Some(200));
        assert_eq!(node.status("/ping", Some((user, "changeit"))).await, Some(401));
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    let left = call("ListInstances", json!({"ServiceId": service})).await;
    assert_eq!(left["Instances"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_task_is_not_withdrawn() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    let attributes = json!({"AWS_INSTANCE_IPV4": "127.0.0.2", "TASK_ARN": "arn:successor"});
    let input = json!({"ServiceId": scene.service, "InstanceId": "node-1", "Attributes": attributes});
    consumer::aws(&scene.endpoint, "Route53AutoNaming_v20170314.RegisterInstance", &input).await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    while scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service))[0].attributes["TASK_ARN"]
        != "arn:successor"
    {
        assert!(Instant::now() < deadline, "the successor was not registered");
    }
    assert_eq!(sidecar.terminate(), 0);
    assert!(sidecar.log.contains("belongs to another task"), "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)).len(), 1);
}

/// Somebody removes the entry by hand; the next look puts it back. What is right is written once.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_somebody_removed_or_changed_is_put_right() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&["--registration-interval=300ms"]);
    sidecar.wait_for("registered");
    let entries = || scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service));
    let right = entries();
    let input = json!({"ServiceId": scene.service, "InstanceId": "node-1"});
    consumer::aws(&scene.endpoint, "Route53AutoNaming_v20170314.DeregisterInstance", &input).await.unwrap();
    sidecar.wait_for("registering the node again");
    let deadline = Instant::now() + DEADLINE;
    while entries() != right {
        assert!(Instant::now() < deadline, "{:?}", entries());
    }
    scene.aws.cloud_map(|cloud_map| {
        cloud_map.register(&scene.service, "node-1", &[("AWS_INSTANCE_IPV4", "127.0.0.9"), ("TASK_ARN", TASK)]);
    });
    sidecar.wait_for("registering the node again");
    while entries() != right {
        assert!(Instant::now() < deadline, "{:?}", entries());
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(entries(), []);
    let writes = scene.aws.calls().iter().filter(|call| call.operation == "RegisterInstance").count();
    assert_eq!(writes, 3, "{}", sidecar.log);
}

/// SIGTERM while the registration is under way, and while readers do not see it yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_not_seen_yet_is_withdrawn() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let time = Duration::from_millis(700);
    scene.aws.set_operation_time(time);
    scene.aws.cloud_map(|cloud_map| cloud_map.set_read_lag(Lag::Time(time)));
    let mut sidecar = scene.start(&[]);
    let deadline = Instant::now() + DEADLINE;
    while scene.aws.calls().iter().all(|call| call.operation != "RegisterInstance") {
        assert!(Instant::now() < deadline, "nothing is registered");
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert!(sidecar.log.contains("withdrawn"), "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
}

/// Clients do not find a node whose server is gone; it comes back with its credentials looked at first.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_server_is_gone_is_withdrawn_until_it_is_back() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&["--registration-interval=1s"]);
    sidecar.wait_for("registered");
    let right = scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service));
    assert!(Command::new("/bin/kill").arg(scene.node.process_id().to_string()).status().unwrap().success());
    scene.node.wait_for_end();
    sidecar.wait_for("the server is gone");
    let deadline = Instant::now() + DEADLINE;
    while !scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)).is_empty() {
        assert!(Instant::now() < deadline, "it is still registered");
    }
    scene.node.restart();
    sidecar.wait_for("registering the node again");
    while scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)) != right {
        assert!(Instant::now() < deadline, "it is not registered");
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_ever_shown() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    let process = format!("/proc/{}", sidecar.child.id());
    let seen: Vec<_> =
        // Only root sees the environment of a process that nobody may look into.
        ["cmdline", "environ"].map(|file| fs::read_to_string(format!("{process}/{file}")).unwrap_or_default()).into();
    assert!(seen[0].contains("run"), "its arguments can be read");
    let health = fs::read_to_string(sidecar.run.path().join("health.json")).unwrap();
    assert_eq!(sidecar.terminate(), 0);
    let shown = [sidecar.log.as_str(), &seen[0], &seen[1], &health, &fs::read_to_string(scene.node.journal()).unwrap()]
        .concat();
    let versions = scene.aws.secrets(|secrets| [secrets.versions("es/admin"), secrets.versions("es/ops")].concat());
    assert_eq!(versions.len(), 4);
    for version in versions {
        let secret: Value = serde_json::from_str(&version.text).unwrap();
        assert!(!shown.contains(secret["password"].as_str().unwrap()));
    }
    assert!(!shown.contains("changeit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_json_is_named_and_left() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    scene.aws.secrets(|secrets| secrets.put("es/admin", "hunter2"));
    let mut sidecar = scene.start(&[]);
    sidecar.assert_told(
        "`es/admin` does not hold the credentials of `admin`: its value is not a JSON object",
        "nothing was overwritten",
    );
    assert!(!sidecar.log.contains("hunter2"));
    assert_eq!(scene.aws.secrets(|secrets| secrets.current("es/admin")).as_deref(), Some("hunter2"));
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
    assert_eq!(
        scene.node.status("/ping", Some(("admin", "changeit"))).await,
        Some(200),
        "the database was not touched"
    );
    // Whoever put it there puts it right; nothing is started again.
    scene.aws.secrets(|secrets| secrets.put("es/admin", r#"{"username":"admin","password":"changeit"}"#));
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_nobody_knows_is_reported_and_nothing_is_registered() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let arguments = &["--converge-timeout=1s", "--poll-interval=1s"];
    let mut sidecar = scene.start(&[]);
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0);
    let lost = password(&scene.aws, "admin");
    // The secrets are lost with all their versions, the database is not.
    for user in ["admin", "ops"] {
        let input = json!({"SecretId": format!("es/{user}"), "ForceDeleteWithoutRecovery": true});
        consumer::aws(&scene.endpoint, "secretsmanager.DeleteSecret", &input).await.unwrap();
    }
    generate_secrets(&scene.aws);
    let mut sidecar = scene.start(arguments);
    for _ in 0..2 {
        sidecar.assert_told("no version of the secret `es/admin`", "as a new version; no node is registered");
    }
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
    assert_eq!(sidecar.healthcheck(), 0, "a database that works is not stopped for it");
    scene.aws.secrets(|secrets| {
        secrets.put("es/admin", &json!({"username": "admin", "password": lost}).to_string());
    });
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
}

/// Neither AWS nor the database are there; they come one after the other, and nothing is started again for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_named_after_each_deadline_and_waited_for() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let proxy = FaultProxy::start(Upstream::endpoint(&scene.endpoint)).await.unwrap();
    scene.endpoint = proxy.endpoint();
    let away = proxy.inject(Filter::any(), When::From(1), Fault::Before);
    assert!(Command::new("/bin/kill").arg(scene.node.process_id().to_string()).status().unwrap().success());
    scene.node.wait_for_end();
    let arguments = ["--ready-timeout=300ms", "--converge-timeout=1s", "--poll-interval=1s"];
    let mut sidecar = scene.start(&arguments);
    let not_ready = format!("the server at {} was not ready", scene.node.address());
    for _ in 0..2 {
        sidecar.assert_told(&not_ready, "--ready-timeout");
    }
    assert!(sidecar.log.contains("Connection refused"), "{}", sidecar.log);
    assert_eq!(sidecar.healthcheck(), 1);

    scene.node.restart();
    for _ in 0..2 {
        sidecar.assert_told("DescribeSecret of `es/admin` failed", "NAT gateway");
    }
    assert!(away.was_met());
    assert_eq!(sidecar.healthcheck(), 0);

    proxy.heal();
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
}

/// The certificates come late, are at first those of another authority, and the server gets the right ones in the end.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_missing_or_of_another_authority_are_waited_for() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let other = DatabaseNode::start(HOST, 0.1);
    scene.node.wait_until_ready().await;
    let volume = tempfile::tempdir().unwrap();
    let certs = volume.path().join("certs");
    let certs_argument = format!("--certs={}", certs.display());
    let mut sidecar = scene.start(&[&certs_argument, "--poll-interval=200ms"]);
    let error = format!("the certificates in `{0}` cannot be used: could not read `{0}/ca`", certs.display());
    sidecar.assert_told(&error, "certgen writes them");
    std::os::unix::fs::symlink(other.certs(), &certs).unwrap();
    sidecar.assert_told("is not trusted: its certificate was refused", "certificates that certgen wrote");
    fs::remove_file(&certs).unwrap();
    std::os::unix::fs::symlink(scene.node.certs(), &certs).unwrap();
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
}

/// The endpoint that gives a task its credentials is away, and so is the one that tells its address; then the credentials
/// expire while there are no new ones, and AWS calls those expired that it gets.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_missing_and_credentials_that_expire_are_survived() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let (task_arn, family) = (TASK.to_owned(), "node".to_owned());
    let identity = TaskIdentity { task_arn, family, address: "127.0.0.1".parse().unwrap() };
    let endpoints = TaskEndpoints::start(identity).await.unwrap();
    endpoints.set_credentials_last(Duration::from_secs(1));
    endpoints.disturb(Endpoint::Metadata, Trouble::Status(500));
    endpoints.disturb(Endpoint::Credentials, Trouble::Status(500));
    let given = endpoints.environment();
    let mut variables: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let own = ["BOOTSTRAP_ADDRESS", "BOOTSTRAP_TASK_ARN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    variables.extend(own.map(|name| (name, "")));
    let certs = scene.node.certs();
    let place = Place { name: "node-1", server: scene.node.address(), certs: &certs };
    let arguments =
        ["--converge-timeout=1s", "--poll-interval=300ms", "--registration-interval=300ms", "--time-scale=0.02"];
    let mut sidecar = Sidecar::start_with(&place, &scene.endpoint, &scene.service, &arguments, &variables);

    sidecar.assert_told("DescribeSecret of `es/admin` failed", "NAT gateway");
    endpoints.heal(Endpoint::Credentials);
    sidecar.assert_told("could not learn this task's address and ARN", "outside of ECS");
    endpoints.hide_networks(3);
    endpoints.heal(Endpoint::Metadata);
    sidecar.wait_for("registered");

    endpoints.disturb(Endpoint::Credentials, Trouble::Status(500));
    sidecar.wait_for("the registration is looked at again: GetInstance");
    sidecar.assert_told("DescribeSecret of `es/admin` failed", "NAT gateway");
    let expired = Refusal { code: "ExpiredTokenException", status: 400 };
    scene.aws.refuse("GetInstance", expired, 1000);
    endpoints.heal(Endpoint::Credentials);
    sidecar.wait_for("ExpiredTokenException");
    scene.aws.allow_all();
    let input = json!({"ServiceId": scene.service, "InstanceId": "node-1"});
    consumer::aws(&scene.endpoint, "Route53AutoNaming_v20170314.DeregisterInstance", &input).await.unwrap();
    sidecar.wait_for("registered again");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), []);
}

/// ECS does not get the verdict then, and calls the task unhealthy; that is its affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_file_that_cannot_be_written_is_told_and_ends_nothing() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&["--health-file=/nowhere/health.json"]);
    sidecar.assert_told("could not write `/nowhere/health.json`", "the directory must exist");
    sidecar.wait_for("registered");
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(sidecar.log.matches("/nowhere/").count(), 1, "{}", sidecar.log);
}

/// Credentials and secrets would go over the wire in the clear.
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_but_where_it_is_allowed_by_name() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let certs = scene.node.certs();
    let place = Place { name: "node-1", server: scene.node.address(), certs: &certs };
    let variables = [
        ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", ""),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://vpce.example"),
        ("ECS_AGENT_URI", "http://10.0.0.1/api/x"),
    ];
    let mut sidecar = Sidecar::start_with(&place, &scene.endpoint, &scene.service, &[], &variables);
    assert_eq!(sidecar.wait_for_end(), 2);
    assert_eq!(sidecar.log.lines().count(), 2, "{}", sidecar.log);
    let endpoint = format!("error: AWS_ENDPOINT_URL: `{}` is not an https address", scene.endpoint);
    let agent = "error: ECS_AGENT_URI: `http://10.0.0.1/api/x` is not where ECS answers a task";
    assert!(sidecar.log.contains(&endpoint) && sidecar.log.contains(agent), "{}", sidecar.log);

    let rotate = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .env("AWS_ENDPOINT_URL", &scene.endpoint)
        .args(["rotate", "--admin-secret=es/admin", "--ops-secret=es/ops"])
        .output()
        .unwrap();
    assert_eq!(rotate.status.code(), Some(2));
    assert!(String::from_utf8(rotate.stderr).unwrap().contains(&endpoint));
    assert!(scene.aws.calls().is_empty(), "{:?}", scene.aws.calls());
}

#[test]
fn mistakes_are_a_usage_error_with_all_of_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .args(["run", "--node-name=n", "--health-file=h", "--server=here", "--admin-secret=a", "--ops-secret=a"])
        .args(["--cloud-map-service=s", "--client-host=c", "--converge-timeout=10"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 4, "{said}");
    for flag in ["--server", "--ops-secret", "--converge-timeout", "--address"] {
        assert!(said.contains(&format!("error: {flag}: ")), "{said}");
    }
}
