//! Beside other kinds of nodes: one without TLS and users, and read-only replicas.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{DEADLINE, HOST, Place, Sidecar, TASK, deploy, password};
use serde_json::json;
use testkit::aws::{Aws, RegisteredInstance};
use testkit::consumer;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity};
use testkit::node::{DatabaseCluster, DatabaseNode};
use tokio::task::block_in_place;

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn registered(aws: &Aws, service: &str) -> Vec<RegisteredInstance> {
    aws.cloud_map(|cloud_map| cloud_map.instances(service))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insecure_node_is_registered_as_one_and_nobody_asks_for_secrets() {
    let aws = Aws::start().await.unwrap();
    let service = deploy(&aws);
    let mut node = DatabaseNode::start_insecure(0.1);
    let place = Place { name: "node-1", server: node.address(), certs: "/nowhere".as_ref() };
    let arguments = ["--insecure", "--registration-interval=1s", "--poll-interval=300ms"];
    let nobody = [("BOOTSTRAP_ADMIN_SECRET", ""), ("BOOTSTRAP_OPS_SECRET", "")];
    let mut sidecar = Sidecar::start_with(&place, &aws.endpoint(), &service, &arguments, &nobody);
    block_in_place(|| sidecar.wait_for("registered"));
    assert_eq!(sidecar.healthcheck(), 0);
    let right = registered(&aws, &service);
    let attributes = &right[0].attributes;
    assert_eq!((right.len(), attributes["TLS"].as_str(), attributes["TASK_ARN"].as_str()), (1, "false", TASK));
    assert!(!attributes.keys().any(|name| name.ends_with("_SHA256")), "{attributes:?}");

    assert!(Command::new("/bin/kill").arg(node.process_id().to_string()).status().unwrap().success());
    node.wait_for_end();
    block_in_place(|| sidecar.wait_for("the server is gone"));
    until("it is withdrawn", async || registered(&aws, &service).is_empty()).await;
    node.restart();
    block_in_place(|| sidecar.wait_for("registered again"));
    assert_eq!(registered(&aws, &service), right);
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(registered(&aws, &service), []);
    let secrets = aws.calls().into_iter().filter(|call| call.operation.contains("Secret")).count();
    assert_eq!(secrets, 0, "there is nobody whose they would be");
}

/// The members of a cluster of three and a replica, with a name server for all.
struct Scene {
    aws: Aws,
    dns: DnsServer,
    cluster: DatabaseCluster,
    replica: usize,
    tasks: Vec<TaskEndpoints>,
}

impl Scene {
    async fn start() -> Self {
        let aws = Aws::start().await.unwrap();
        let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, 0.1);
        let replica = cluster.add_read_only_replica();
        for node in 0..=replica {
            aws.give_name(cluster.name(node), cluster.address(node).ip());
        }
        for node in 0..replica {
            cluster.start_node(node);
        }
        let dns = DnsServer::start(&aws).await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..=replica {
            let (task_arn, family) = (TASK.to_owned(), "node".to_owned());
            let identity = TaskIdentity { task_arn, family, address: "127.0.0.1".parse().unwrap() };
            tasks.push(TaskEndpoints::start(identity).await.unwrap());
        }
        Self { aws, dns, cluster, replica, tasks }
    }

    fn sidecar(&self, node: usize, service: &str, arguments: &[&str]) -> Sidecar {
        let given = self.tasks[node].environment();
        let (_, agent) = given.iter().find(|(name, _)| name == "ECS_AGENT_URI").unwrap();
        let others: Vec<_> =
            (0..self.replica).filter(|other| *other != node).map(|other| self.cluster.name(other)).collect();
        let own = [
            "--cluster-size=3".to_owned(),
            format!("--peers={}", others.join(",")),
            format!("--dns={}", self.dns.address()),
            format!("--agent-uri={agent}"),
            "--time-scale=0.04".to_owned(),
            "--registration-interval=1s".to_owned(),
            "--poll-interval=500ms".to_owned(),
        ];
        let arguments: Vec<_> = own.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let certs = self.cluster.path_of(node).join("certs");
        let name = self.cluster.name(node).split_once('.').unwrap().0;
        let place = Place { name, server: self.cluster.address(node), certs: &certs };
        Sidecar::start_beside(&place, &self.aws.endpoint(), service, &arguments)
    }

    fn protection_asked(&self, node: usize) -> usize {
        self.tasks[node].seen().iter().filter(|seen| seen.endpoint == Some(Endpoint::TaskProtection)).count()
    }
}

/// It catches up for long, twice: in a new task, and again in one that was healthy. It is registered where it is told to be, and
/// only while it is up to date.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_is_registered_apart_when_it_has_caught_up_and_has_no_vote() {
    let mut scene = Scene::start().await;
    let service = deploy(&scene.aws);
    let apart = scene.aws.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es-replicas"));
    let mut voters: Vec<_> = (0..scene.replica).map(|node| scene.sidecar(node, &service, &[])).collect();
    scene.cluster.wait_until_formed().await;
    for voter in &mut voters {
        block_in_place(|| voter.wait_for("registered"));
    }

    // Seconds that are a tenth as long: longer than a server may be away here.
    scene.cluster.argument("--catch-up=80");
    let replica = scene.replica;
    scene.cluster.start_node(replica);
    scene.cluster.wait_for_state(replica, "prereadonlyreplica").await;
    let mut sidecar = scene.sidecar(replica, &apart, &["--read-only-replica"]);
    block_in_place(|| sidecar.wait_for("not ready yet"));
    assert_eq!(sidecar.healthcheck(), 1, "the grace period of the service is for that");
    assert_eq!(registered(&scene.aws, &apart), []);
    block_in_place(|| sidecar.wait_for("registered"));
    assert_eq!(scene.cluster.state(replica).await.as_deref(), Some("readonlyreplica"));
    assert_eq!(sidecar.healthcheck(), 0);
    let names = |service: &str| registered(&scene.aws, service).into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(names(&apart), ["replica-1"]);
    assert_eq!(names(&service), ["node-1", "node-2", "node-3"]);
    let admin = password(&scene.aws, "admin");
    for (password, status) in [(admin.as_str(), 200), ("changeit", 401)] {
        assert_eq!(scene.cluster.status(replica, "/ping", Some(("admin", password))).await, Some(status));
    }
    assert!(!sidecar.log.contains("setting the password"), "{}", sidecar.log);

    // It is there again at once, and not up to date for long.
    scene.cluster.restart(replica);
    block_in_place(|| sidecar.wait_for("the server is gone"));
    until("it is withdrawn", async || registered(&scene.aws, &apart).is_empty()).await;
    assert_eq!(sidecar.healthcheck(), 0);
    block_in_place(|| sidecar.wait_for("registered again"));
    assert_eq!(sidecar.healthcheck(), 0);
    assert!(!sidecar.log.contains("is not healthy any more"), "{}", sidecar.log);

    // With one of the voters away the other two are needed, and the replica is not one of them.
    drop(voters.pop());
    scene.cluster.kill(2);
    until("both are protected", async || scene.tasks[..2].iter().all(|task| task.protection().enabled)).await;
    assert_eq!(scene.protection_asked(replica), 0);
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(registered(&scene.aws, &apart), []);
    for voter in &mut voters {
        assert_eq!(voter.terminate(), 0, "{}", voter.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_without_a_service_is_secured_and_not_registered() {
    let mut scene = Scene::start().await;
    let service = deploy(&scene.aws);
    let mut voters: Vec<_> = (0..scene.replica).map(|node| scene.sidecar(node, &service, &[])).collect();
    let replica = scene.replica;
    scene.cluster.start_node(replica);
    let mut sidecar = scene.sidecar(replica, "", &["--read-only-replica"]);
    scene.cluster.wait_until_formed().await;
    for voter in &mut voters {
        block_in_place(|| voter.wait_for("registered"));
    }
    block_in_place(|| sidecar.wait_for("it is not to be registered"));
    assert_eq!(sidecar.healthcheck(), 0);
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert!(registered(&scene.aws, &service).iter().all(|one| one.id.starts_with("node-")));
    let secret = consumer::read_secret(&scene.aws.endpoint(), "es/admin").await.unwrap();
    assert_eq!(secret["host"], json!(HOST));
}
