//! What `bootstrap healthcheck` says while clusters form, lose their quorum, AWS or DNS, and while servers die; and which
//! tasks are protected from scale-in meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, HOST, Place, Scene, Sidecar, TASK, deploy};
use testkit::aws::{Aws, Refusal};
use testkit::database::Line;
use testkit::dns::{Disturbance, DnsServer};
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};
use testkit::node::{DatabaseCluster, DatabaseNode};

const SCALE: f64 = 0.1;
/// A look every 100 ms, a server may be away for 2.4 s, and protection is renewed after 6 s.
const FAST: &str = "--time-scale=0.02";
/// What the sidecar logs when the verdict turns: two health checks alone would miss what was between them.
const NO_LONGER: &str = "is not healthy any more";

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The nodes of a cluster, started by and by as ECS does: the name first, then the server, then the sidecar.
struct Nodes {
    cluster: DatabaseCluster,
    aws: Aws,
    dns: DnsServer,
    client_service: String,
    sidecars: Vec<Option<Sidecar>>,
    endpoints: Vec<TaskEndpoints>,
}

impl Nodes {
    async fn prepare(size: usize) -> Self {
        let aws = Aws::start().await.unwrap();
        let client_service = deploy(&aws);
        let cluster = DatabaseCluster::prepare(Line::V24_10, size, SCALE);
        let dns = DnsServer::start(&aws).await.unwrap();
        let mut endpoints = Vec::new();
        for node in 0..size {
            // The service, and with it the zone, is there before any task.
            let (name, namespace) = cluster.name(node).split_once('.').unwrap();
            aws.cloud_map(|cloud_map| cloud_map.create_service(namespace, name));
            endpoints.push(task_endpoints().await);
        }
        let sidecars = (0..size).map(|_| None).collect();
        Self { cluster, aws, dns, client_service, sidecars, endpoints }
    }

    async fn started(size: usize, arguments: &[&str]) -> Self {
        let mut nodes = Self::prepare(size).await;
        (0..size).for_each(|node| nodes.give_name(node));
        nodes.cluster.start_all();
        (0..size).for_each(|node| nodes.start_sidecar(node, arguments));
        nodes.cluster.wait_until_formed().await;
        for sidecar in nodes.sidecars.iter_mut().flatten() {
            tokio::task::block_in_place(|| sidecar.wait_for("registered"));
        }
        nodes
    }

    fn give_name(&self, node: usize) {
        self.aws.give_name(self.cluster.name(node), self.cluster.address(node).ip());
    }

    fn start_sidecar(&mut self, node: usize, arguments: &[&str]) {
        let others: Vec<_> =
            (0..self.cluster.size()).filter(|other| *other != node).map(|other| self.cluster.name(other)).collect();
        let given = [
            format!("--cluster-size={}", self.cluster.size()),
            format!("--peers={}", others.join(",")),
            format!("--dns={}", self.dns.address()),
            agent(&self.endpoints[node]),
        ];
        let arguments: Vec<_> = given.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let certs = self.cluster.path_of(node).join("certs");
        let name = self.cluster.name(node).split_once('.').unwrap().0;
        let place = Place { name, server: self.cluster.address(node), certs: &certs };
        let sidecar = Sidecar::start_beside(&place, &self.aws.endpoint(), &self.client_service, &arguments);
        self.sidecars[node] = Some(sidecar);
    }

    fn is_healthy(&self, node: usize) -> bool {
        self.sidecars[node].as_ref().unwrap().healthcheck() == 0
    }

    /// Requests that reached a member, by its own journal.
    fn requests(&self, node: usize, path: &str) -> usize {
        fs::read_to_string(self.cluster.path_of(node).join("journal.jsonl")).unwrap().matches(path).count()
    }

    async fn until_asked(&self, node: usize, path: &str, times: usize) {
        let before = self.requests(node, path);
        until("further looks", async || self.requests(node, path) >= before + times).await;
    }

    /// None of the sidecars ended, nor called its task unhealthy after it had called it healthy.
    fn assert_never_unhealthy(mut self) {
        for sidecar in self.sidecars.iter_mut().flatten() {
            assert_eq!(sidecar.healthcheck(), 0, "{}", sidecar.log);
            assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
            assert!(sidecar.log.contains("the task is healthy"), "{}", sidecar.log);
            assert!(!sidecar.log.contains(NO_LONGER), "{}", sidecar.log);
        }
    }
}

async fn task_endpoints() -> TaskEndpoints {
    let address = "127.0.0.1".parse().unwrap();
    let identity = TaskIdentity { task_arn: TASK.to_owned(), family: "node".to_owned(), address };
    TaskEndpoints::start(identity).await.unwrap()
}

fn agent(endpoints: &TaskEndpoints) -> String {
    let environment = endpoints.environment();
    let (_, uri) = environment.iter().find(|(name, _)| name == "ECS_AGENT_URI").unwrap();
    format!("--agent-uri={uri}")
}

/// An orchestrator that waits for the health of each node before it starts the next one always gets on.
async fn start_one_after_the_other(order: &[usize]) {
    let mut nodes = Nodes::prepare(order.len()).await;
    for (number, &node) in order.iter().enumerate() {
        nodes.give_name(node);
        // The name is there before the server is: those that wait have seen it.
        let (name, waiting) = (nodes.cluster.name(node).to_owned(), number < order.len() / 2 + 1);
        if let Some(&first) = order[..number].first().filter(|_| waiting) {
            until("the name is seen", async || {
                let seen = |question: &testkit::dns::Question| {
                    question.name == name && question.answer.as_deref() == Some("NoError")
                };
                nodes.dns.questions().iter().filter(|question| seen(question)).count() > 2 * number
            })
            .await;
            assert!(nodes.is_healthy(first));
        }
        nodes.cluster.start_node(node);
        nodes.start_sidecar(node, &["--time-scale=0.05"]);
        until("the node is healthy", async || {
            nodes.cluster.tend();
            nodes.is_healthy(node)
        })
        .await;
        for earlier in &order[..number] {
            assert!(nodes.is_healthy(*earlier), "{earlier} after {node}");
        }
    }
    nodes.cluster.wait_until_formed().await;
    for sidecar in nodes.sidecars.iter_mut().flatten() {
        tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    }
    nodes.assert_never_unhealthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_come_up_one_after_the_other() {
    start_one_after_the_other(&[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_come_up_in_reverse() {
    start_one_after_the_other(&[2, 1, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_come_up_in_any_order() {
    start_one_after_the_other(&[3, 0, 4, 2, 1]).await;
}

/// The survivor of a zone failure, without AWS and without DNS.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_own_server_makes_a_task_unhealthy() {
    let mut nodes = Nodes::started(3, &[FAST, "--poll-interval=200ms"]).await;
    for operation in ["DescribeSecret", "GetSecretValue", "RegisterInstance", "GetInstance", "GetOperation"] {
        nodes.aws.refuse(operation, Refusal::DENIED, 100_000);
    }
    nodes.dns.disturb_all(Disturbance::Silence);
    for node in [1, 2] {
        nodes.sidecars[node] = None;
        nodes.cluster.kill(node);
    }
    nodes.cluster.wait_for_state(0, "unknown").await;
    let calls = nodes.aws.calls().len();
    // More than a server may be away.
    nodes.until_asked(0, "/health/live", 40).await;
    assert!(nodes.aws.calls().len() > calls, "AWS was asked");
    until("it is protected", async || nodes.endpoints[0].protection().enabled).await;
    nodes.assert_never_unhealthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_makes_its_task_unhealthy_and_a_restarted_one_does_not() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, SCALE)).await;
    let endpoints = task_endpoints().await;
    let mut sidecar = scene.start(&[FAST, &agent(&endpoints)]);
    tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    assert_eq!(sidecar.healthcheck(), 0);
    scene.node.restart();
    scene.node.wait_until_ready().await;
    assert_eq!(sidecar.healthcheck(), 0);

    let id = scene.node.process_id().to_string();
    assert!(Command::new("/bin/kill").args(["-KILL", &id]).status().unwrap().success());
    tokio::task::block_in_place(|| sidecar.wait_for(NO_LONGER));
    assert_eq!(sidecar.healthcheck(), 1);
    assert_eq!(sidecar.log.matches(NO_LONGER).count(), 1, "not when it was restarted: {}", sidecar.log);
    scene.node.restart();
    tokio::task::block_in_place(|| sidecar.wait_for("the task is healthy"));
    assert_eq!(sidecar.healthcheck(), 0);
    assert_eq!(endpoints.seen(), [], "a single node needs no protection from its peers");
}

/// A server that accepts connections and answers nothing is slow, not gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_there() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, SCALE)).await;
    let mut sidecar = scene.start(&[FAST]);
    tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    let id = scene.node.process_id().to_string();
    assert!(Command::new("/bin/kill").args(["-KILL", &id]).status().unwrap().success());
    scene.node.wait_for_end();
    let silent = TcpListener::bind(scene.node.address()).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    thread::spawn(move || {
        let mut connections = Vec::new();
        for stream in silent.incoming() {
            connections.push(stream);
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    // Two each look, and a look lasts longer than a server may be away.
    until("looks at a silent server", async || accepted.load(Ordering::SeqCst) >= 5).await;
    assert_eq!(sidecar.healthcheck(), 0);
    assert_eq!(sidecar.terminate(), 0);
    assert!(!sidecar.log.contains(NO_LONGER), "{}", sidecar.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_needed_for_the_quorum_are_protected_as_long_as_that_is_so() {
    let mut nodes = Nodes::started(3, &[FAST]).await;
    for endpoints in &nodes.endpoints {
        // Ten of these pass by in twice the time after which protection is renewed here.
        endpoints.set_minute(Duration::from_millis(1200));
    }
    nodes.until_asked(0, "/gossip", 20).await;
    for endpoints in &nodes.endpoints {
        assert!(!endpoints.protection().enabled, "each of three is dispensable");
    }

    nodes.endpoints[1].disturb(Endpoint::TaskProtection, Trouble::Failure("DEPLOYMENT_BLOCKED"));
    nodes.cluster.kill(2);
    until("0 is protected", async || nodes.endpoints[0].protection().enabled).await;
    let refused = nodes.sidecars[1].as_mut().unwrap();
    tokio::task::block_in_place(|| refused.wait_for("DEPLOYMENT_BLOCKED"));
    nodes.until_asked(1, "/gossip", 5).await;
    nodes.endpoints[1].heal(Endpoint::TaskProtection);
    until("1 is protected", async || nodes.endpoints[1].protection().enabled).await;
    until("0 is protected anew", async || {
        assert!(nodes.endpoints[0].protection().enabled, "without a gap");
        nodes.endpoints[0].protection_history().iter().filter(|request| request.enabled).count() >= 2
    })
    .await;
    for request in nodes.endpoints[0].protection_history().iter().filter(|request| request.enabled) {
        assert_eq!(request.minutes, Some(10));
    }

    nodes.cluster.start_node(2);
    nodes.cluster.wait_until_formed().await;
    for node in [0, 1] {
        until("they are not protected any more", async || !nodes.endpoints[node].protection().enabled).await;
        let last = nodes.endpoints[node].protection_history().pop().unwrap();
        assert!(!last.enabled, "taken off, not expired");
        let sidecar = nodes.sidecars[node].as_mut().unwrap();
        assert_eq!(sidecar.terminate(), 0);
        assert!(!sidecar.log.contains(NO_LONGER), "{}", sidecar.log);
        let told = sidecar.log.matches("DEPLOYMENT_BLOCKED").count();
        assert_eq!(told, node, "once where it happened: {}", sidecar.log);
    }
}
