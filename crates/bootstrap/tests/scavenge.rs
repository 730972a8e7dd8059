//! Scavenges on a schedule, beside three members of a cluster and beside a single node: one at a time, never on the leader,
//! once in a window. The clock of the cluster's test is its own, and a scavenge lasts until the test ends it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bootstrap::{Begun, HttpServer, Looked, Password, Resolver, Scavenger, Trust};
use common::{DEADLINE, HOST, Place, Scene, Sidecar, password};
use serde_json::{Value, json};
use testkit::aws::Aws;
use testkit::consumer;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::node::{DatabaseCluster, DatabaseNode};

const OPS: (&str, &str) = ("ops", "changeit");
/// 2026-11-26T03:00:00Z, when the window of the schedule `03:00` begins.
const WINDOW: u64 = 1_795_651_200 + 3 * 3600;
const TURN: u64 = 300;

fn waits(reason: &str) -> Looked {
    Looked::Waits(reason.to_owned())
}

/// Three members with what a sidecar beside each of them would remember.
struct Members {
    cluster: DatabaseCluster,
    scavenger: Scavenger,
    servers: Vec<HttpServer>,
    begun: Vec<Option<Begun>>,
    /// The turn that comes next.
    turn: u64,
    _names: DnsServer,
    _aws: Aws,
}

impl Members {
    async fn start() -> Self {
        let aws = Aws::start().await.unwrap();
        let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, 0.1);
        // No scavenge ends by itself while a test runs.
        cluster.argument("--scavenge-seconds=1000000");
        for node in 0..cluster.size() {
            aws.give_name(cluster.name(node), cluster.address(node).ip());
        }
        cluster.start_all();
        let names = DnsServer::start(&aws).await.unwrap();
        let server = |node| {
            let trust = Trust::read(&cluster.path_of(node).join("certs")).unwrap();
            HttpServer::new(cluster.address(node), "localhost", &trust, Resolver::new(Some(names.address()))).unwrap()
        };
        let servers = (0..cluster.size()).map(server).collect();
        let scavenger = Scavenger::new("03:00".parse().unwrap(), Duration::from_hours(8), cluster.size(), 1.0);
        Self { cluster, scavenger, servers, begun: vec![None; 3], turn: 0, _names: names, _aws: aws }
    }

    /// Looks in the next turn of `node`.
    async fn look_in_turn(&mut self, node: usize) -> Looked {
        while self.turn % 3 != node as u64 {
            self.turn += 1;
        }
        self.look(node).await
    }

    /// Looks in the middle of the turn that it is. Whoever begins is the only one then, and no leader.
    async fn look(&mut self, node: usize) -> Looked {
        let now = UNIX_EPOCH + Duration::from_secs(WINDOW + self.turn * TURN + TURN / 2);
        let (looked, saved) = self.look_at(node, now).await;
        if looked == Looked::Began {
            assert_eq!(self.running().await, [node]);
            assert_ne!(self.cluster.state(node).await.as_deref(), Some("leader"));
            let before = saved.first().unwrap().as_ref().unwrap();
            assert_eq!((before.window, &before.id), (WINDOW, &None), "it was written before it was begun");
        }
        looked
    }

    async fn look_at(&mut self, node: usize, now: SystemTime) -> (Looked, Vec<Option<Begun>>) {
        let saved = std::cell::RefCell::new(Vec::new());
        let save = |begun: Option<&Begun>| saved.borrow_mut().push(begun.cloned());
        let password = async || Ok(Password::from(OPS.1.to_owned()));
        let looked = self.scavenger.look(&self.servers[node], &mut self.begun[node], save, password, now).await;
        (looked, saved.into_inner())
    }

    /// The members that scavenge.
    async fn running(&self) -> Vec<usize> {
        let mut running = Vec::new();
        for node in 0..self.cluster.size() {
            if self.current(node).await.is_some() {
                running.push(node);
            }
        }
        running
    }

    /// The id of a member's scavenge. One that does not run has none.
    async fn current(&self, node: usize) -> Option<String> {
        let (status, body) = self.cluster.get(node, "/admin/scavenge/current", Some(OPS)).await?;
        assert_eq!(status, 200);
        let body: Value = serde_json::from_str(&body).unwrap();
        Some(body["scavengeId"].as_str().unwrap().to_owned()).filter(|id| !id.is_empty())
    }

    /// Ends a member's scavenge as if it were done.
    async fn finish(&self, node: usize) {
        let (address, ca) = (self.cluster.address(node), self.cluster.ca(node));
        let path = "/admin/scavenge/current";
        assert_eq!(consumer::delete(address, "localhost", &ca, path, OPS).await.unwrap(), 200);
    }

    /// Has the leader resign; gives the one that leads then.
    async fn resign(&mut self, leader: usize) -> usize {
        let (address, ca) = (self.cluster.address(leader), self.cluster.ca(leader));
        let path = "/admin/node/resign";
        assert_eq!(consumer::post(address, "localhost", &ca, path, OPS, &json!({})).await.unwrap(), 200);
        let deadline = Instant::now() + DEADLINE;
        while self.cluster.state(leader).await.as_deref() == Some("leader") {
            assert!(Instant::now() < deadline, "it still leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.cluster.wait_until_formed().await
    }

    /// All members see each other alive, and nobody leads but `leader`, so that looks depend on nothing else.
    async fn agree_on(&self, leader: usize) {
        let deadline = Instant::now() + DEADLINE;
        for node in 0..3 {
            loop {
                let gossip = self.cluster.get(node, "/gossip", None).await;
                let gossip: Value = gossip.map_or(Value::Null, |(_, body)| serde_json::from_str(&body).unwrap());
                let members = gossip["members"].as_array().cloned().unwrap_or_default();
                let leads = |member: &Value| member["state"] == "Leader";
                let port = json!(self.cluster.address(leader).port());
                let host = json!(self.cluster.name(leader));
                let is_it = |member: &Value| {
                    leads(member) == (member["httpEndPointIp"] == host && member["httpEndPointPort"] == port)
                };
                if members.len() == 3 && members.iter().all(|member| member["isAlive"] == true && is_it(member)) {
                    break;
                }
                assert!(Instant::now() < deadline, "{node} sees {gossip}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_follower_after_the_other_scavenges_once_and_never_the_leader() {
    let mut members = Members::start().await;
    let first_leader = members.cluster.wait_until_formed().await;
    members.agree_on(first_leader).await;
    assert_eq!(members.look_in_turn(first_leader).await, waits("the node leads"));

    // It followed when the window began, and leads when its turn comes.
    let leader = members.resign(first_leader).await;
    assert_ne!(leader, first_leader);
    members.agree_on(leader).await;
    assert_eq!(members.look_in_turn(leader).await, waits("the node leads"));

    let (one, other) = (first_leader, 3 - first_leader - leader);
    assert_eq!(members.look_in_turn(one).await, Looked::Began);
    assert_eq!(members.look(other).await, waits("it is not this node's turn"));
    assert_eq!(members.look_in_turn(other).await, waits("another member scavenges"));
    assert_eq!(members.look_in_turn(one).await, Looked::Nothing, "it runs");
    assert_eq!(members.running().await, [one]);

    members.finish(one).await;
    assert_eq!(members.look_in_turn(one).await, Looked::Nothing, "it was its turn in this window");
    assert_eq!(members.look_in_turn(one).await, Looked::Nothing);
    assert_eq!(members.running().await, [0_usize; 0]);
    assert_eq!(members.look_in_turn(other).await, Looked::Began);
    assert_eq!(members.look_in_turn(leader).await, waits("the node leads"));

    // Outside of the window nothing is begun, and in the next one everybody may again.
    members.finish(other).await;
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(members.look_at(one, at(WINDOW + 9 * 3600)).await.0, Looked::Nothing);
    let turn = WINDOW + 24 * 3600 + one as u64 * TURN + TURN / 2;
    assert_eq!(members.look_at(one, at(turn)).await.0, Looked::Began);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_becomes_the_leader_stops_its_scavenge_and_one_that_is_dead_holds_off_all() {
    let mut members = Members::start().await;
    let leader = members.cluster.wait_until_formed().await;
    members.agree_on(leader).await;
    let scavenged = (leader + 1) % 3;
    assert_eq!(members.look_in_turn(scavenged).await, Looked::Began);

    // Of the two that are left the one that resigns does not lead again at once.
    members.cluster.kill(leader);
    let deadline = Instant::now() + DEADLINE;
    let mut leads = members.cluster.wait_until_formed().await;
    while leads != scavenged {
        assert!(Instant::now() < deadline, "the other always leads");
        leads = members.resign(leads).await;
    }
    assert_eq!(members.look(scavenged).await, Looked::Stopped);
    assert_eq!(members.running().await, [0_usize; 0]);

    // Who is away may scavenge, for all that is known.
    let follower = 3 - leader - scavenged;
    assert_eq!(members.look_in_turn(follower).await, waits("not all members of the cluster are alive"));
}

fn posts(scene: &Scene) -> usize {
    let journal = fs::read_to_string(scene.node.journal()).unwrap();
    journal.lines().filter(|line| line.contains("\"POST\"") && line.contains("/admin/scavenge")).count()
}

/// The time of day in so many seconds.
fn soon(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    format!("{:02}:{:02}:{:02}", now / 3600 % 24, now / 60 % 60, now % 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_is_scavenged_at_its_time_and_a_restart_does_not_begin_again() {
    let scene = Scene::with(DatabaseNode::start_with(HOST, 0.1, &["--scavenge-seconds=1000000"])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("status.json");
    let schedule = format!("--scavenge-at={}", soon(1));
    let certs = scene.node.certs();
    let start = || {
        let place = Place { name: "node-1", server: scene.node.address(), certs: &certs };
        let variables = [("BOOTSTRAP_STATUS_FILE", file.to_str().unwrap())];
        let arguments = [schedule.as_str(), "--scavenge-window=12h", "--time-scale=0.02"];
        Sidecar::start_with(&place, &scene.endpoint, &scene.service, &arguments, &variables)
    };
    let id = || serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap()["scavenge"]["id"].clone();
    let mut sidecar = start();
    sidecar.wait_for("the server scavenges");
    assert_eq!(posts(&scene), 1);
    sidecar.kill();
    assert!(id().is_string(), "{}", id());

    // It watches what its predecessor has begun, sees it end, and leaves it at that.
    let mut sidecar = start();
    sidecar.wait_for("registered");
    let ops = password(&scene.aws, "ops");
    let (address, ca, path) = (scene.node.address(), scene.node.ca(), "/admin/scavenge/current");
    assert_eq!(consumer::delete(address, "localhost", &ca, path, ("ops", &ops)).await.unwrap(), 200);
    let deadline = Instant::now() + DEADLINE;
    while !id().is_null() {
        assert!(Instant::now() < deadline, "its end was not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(posts(&scene), 1);
    assert!(!sidecar.log.contains("the server scavenges"), "{}", sidecar.log);
}
