//! Three sidecars beside three members: one writes, all prove, each registers its own.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{DEADLINE, Place, Sidecar, deploy, password};
use testkit::aws::Aws;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::node::DatabaseCluster;

const SCALE: f64 = 0.1;
const USERS: [&str; 2] = ["admin", "ops"];

/// A cluster whose members' names are known to a name server, in an account with its secrets and the clients' service.
struct Scene {
    cluster: DatabaseCluster,
    aws: Aws,
    dns: DnsServer,
    service: String,
}

impl Scene {
    async fn start(arguments: &[&str]) -> Self {
        let aws = Aws::start().await.unwrap();
        let service = deploy(&aws);
        let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, SCALE);
        for argument in arguments {
            cluster.argument(argument);
        }
        for node in 0..cluster.size() {
            aws.give_name(cluster.name(node), cluster.address(node).ip());
        }
        cluster.start_all();
        let dns = DnsServer::start(&aws).await.unwrap();
        Self { cluster, aws, dns, service }
    }

    fn sidecar(&self, node: usize) -> Sidecar {
        self.sidecar_with(node, &[])
    }

    fn sidecar_with(&self, node: usize, arguments: &[&str]) -> Sidecar {
        let certs = self.cluster.path_of(node).join("certs");
        let name = self.cluster.name(node).split_once('.').unwrap().0;
        let place = Place { name, server: self.cluster.address(node), certs: &certs };
        let dns = format!("--dns={}", self.dns.address());
        let arguments = [&["--cluster-size=3", &dns], arguments].concat();
        Sidecar::start_beside(&place, &self.aws.endpoint(), &self.service, &arguments)
    }

    /// On each of these nodes the stored passwords are the only ones that log in.
    async fn assert_secured(&self, nodes: &[usize]) {
        for user in USERS {
            let current = password(&self.aws, user);
            for node in nodes {
                let status = async |password: &str| self.cluster.status(*node, "/ping", Some((user, password))).await;
                assert_eq!(
                    (status(&current).await, status("changeit").await),
                    (Some(200), Some(401)),
                    "{user} on {node}"
                );
            }
        }
    }

    fn registered(&self) -> Vec<String> {
        let instances = self.aws.cloud_map(|cloud_map| cloud_map.instances(&self.service));
        instances.into_iter().map(|instance| instance.id).collect()
    }

    /// Requests that reached a member, by its own journal.
    fn requests(&self, node: usize, text: &str) -> usize {
        fs::read_to_string(self.cluster.path_of(node).join("journal.jsonl")).unwrap().matches(text).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_beside_the_leader_writes_and_each_registers_its_own_node() {
    let mut scene = Scene::start(&[]).await;
    let mut sidecars: Vec<_> = (0..3).map(|node| scene.sidecar(node)).collect();
    let leader = scene.cluster.wait_until_formed().await;
    for sidecar in &mut sidecars {
        tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    }
    for (node, sidecar) in sidecars.iter().enumerate() {
        let (writes, resets) =
            (sidecar.log.matches("setting the password").count(), scene.requests(node, "reset-password"));
        assert_eq!(
            (writes > 0, resets > 0),
            (node == leader, node == leader),
            "{node}, {leader} leads: {}",
            sidecar.log
        );
    }
    scene.assert_secured(&[0, 1, 2]).await;
    assert_eq!(scene.registered(), ["node-1", "node-2", "node-3"]);
    for user in USERS {
        assert_eq!(scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}"))).len(), 2);
    }
}

/// observed §4, the trap: the reset is stored, no member is told, and all go on with the old password from their caches.
#[tokio::test(flavor = "multi_thread")]
async fn caches_that_stick_to_the_old_password_on_every_member_are_healed() {
    let mut scene = Scene::start(&["--lose-reset-replies=2"]).await;
    let leader = scene.cluster.wait_until_formed().await;
    for node in 0..3 {
        // The old password is in everybody's cache.
        scene.cluster.wait_for_status(node, "/ping", Some(("admin", "changeit")), 200).await;
    }
    let mut sidecars: Vec<_> = (0..3).map(|node| scene.sidecar(node)).collect();
    for sidecar in &mut sidecars {
        tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    }
    assert_eq!(sidecars[leader].log.matches("it will be set again").count(), 2, "{}", sidecars[leader].log);
    scene.assert_secured(&[0, 1, 2]).await;
    for node in 0..3 {
        scene.cluster.restart(node);
    }
    scene.cluster.wait_until_formed().await;
    scene.assert_secured(&[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_leaders_sidecar_began_is_finished_beside_the_next() {
    let mut scene = Scene::start(&[]).await;
    let leader = scene.cluster.wait_until_formed().await;
    let mut sidecars: Vec<_> = (0..3).map(|node| scene.sidecar(node)).collect();
    let is_pending = |scene: &Scene| {
        let versions = scene.aws.secrets(|secrets| secrets.versions("es/admin"));
        versions.iter().any(|version| version.labels.iter().any(|label| label == "AWSPENDING"))
    };
    let deadline = Instant::now() + DEADLINE;
    while !is_pending(&scene) {
        assert!(Instant::now() < deadline, "nothing is pending");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sidecars[leader].kill();
    scene.cluster.kill(leader);

    let left: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    for node in &left {
        tokio::task::block_in_place(|| sidecars[*node].wait_for("registered"));
    }
    scene.assert_secured(&left).await;
    let deadline = Instant::now() + DEADLINE;
    // Both may have been registered before, with nothing left to do but what the secrets say of connections.
    for user in USERS {
        let labels = || {
            let versions = scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
            versions.into_iter().map(|version| version.labels).collect::<Vec<_>>()
        };
        while labels() != [["AWSPREVIOUS"], ["AWSCURRENT"]] {
            assert!(Instant::now() < deadline, "{user}: {:?}", labels());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A task that was killed withdraws nothing; the sidecar beside the leader does, and the node comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_entry_of_a_killed_task_is_removed_beside_the_leader() {
    let mut scene = Scene::start(&[]).await;
    let arguments = &["--registration-interval=1s"];
    let mut sidecars: Vec<_> = (0..3).map(|node| scene.sidecar_with(node, arguments)).collect();
    scene.cluster.wait_until_formed().await;
    for sidecar in &mut sidecars {
        tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    }
    let killed = scene.cluster.follower().await;
    sidecars[killed].kill();
    scene.cluster.kill(killed);
    let left: Vec<_> = (0..3).filter(|node| *node != killed).map(|node| format!("node-{}", node + 1)).collect();
    let deadline = Instant::now() + DEADLINE;
    while scene.registered() != left {
        assert!(Instant::now() < deadline, "{:?}", scene.registered());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.cluster.restart(killed);
    let mut successor = scene.sidecar_with(killed, arguments);
    tokio::task::block_in_place(|| successor.wait_for("registered"));
    assert_eq!(scene.registered(), ["node-1", "node-2", "node-3"]);
}
