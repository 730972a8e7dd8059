//! What can go wrong on demand, in a cluster (observed §1, §4).

use std::fs;
use std::time::{Duration, Instant};

use testkit::database::Line;
use testkit::node::DatabaseCluster;

use super::wire::{DEFAULT, OPS, Target, reset_request};

const SCALE: f64 = 0.05;

/// observed §4, the trap: all nodes accept only the old password for as long as they run, and after a restart only the
/// new one. Repeating the reset with the same value heals it.
#[tokio::test]
async fn a_lost_reply_leaves_all_caches_on_the_old_password() {
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, SCALE);
    cluster.argument("--lose-reset-replies=1");
    cluster.start_all();
    let leader = cluster.wait_until_formed().await;
    for node in 0..3 {
        cluster.wait_for_status(node, "/ping", Some(OPS), 200).await;
    }
    let at = Target::member(&cluster, leader);
    assert_eq!(at.exchange(at.client(), &reset_request(DEFAULT, "ops", "new")), "", "no reply");
    tokio::time::sleep(Duration::from_millis(250)).await;
    for node in 0..3 {
        assert_eq!(cluster.status(node, "/ping", Some(OPS)).await, Some(200), "five polls later");
        assert_eq!(cluster.status(node, "/ping", Some(("ops", "new"))).await, Some(401));
    }
    let restarted = (leader + 1) % 3;
    cluster.restart(restarted);
    assert_eq!(cluster.wait_until_formed().await, leader);
    assert_eq!(cluster.status(restarted, "/ping", Some(("ops", "new"))).await, Some(200));
    assert_eq!(cluster.status(restarted, "/ping", Some(OPS)).await, Some(401));

    assert_eq!(at.reset(DEFAULT, "ops", "new").code(), 200);
    for node in 0..3 {
        cluster.wait_for_status(node, "/ping", Some(("ops", "new")), 200).await;
        assert_eq!(cluster.status(node, "/ping", Some(OPS)).await, Some(401));
    }
}

/// observed §1: a member may end twice with code 0 before it stays; the cluster forms all the same if it is started again.
#[tokio::test]
async fn members_may_end_on_their_first_boot() {
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, SCALE);
    (0..2).for_each(|node| cluster.start_node(node));
    cluster.argument("--first-boot-exits=2");
    cluster.start_node(2);
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.tend() < 2 {
        assert!(Instant::now() < deadline, "it did not end twice");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.wait_until_formed().await;
    let log = cluster.log(2);
    assert!(
        log.contains("ONLINE TRUNCATION IS NEEDED") && log.contains("Truncation successful. Shutting down."),
        "{log}"
    );
}

/// contract §6: a leader that dies with a record which nobody else has ends when it comes back, and once more after it has
/// truncated its log.
#[tokio::test]
async fn a_deposed_leader_truncates_its_log() {
    let mut cluster = DatabaseCluster::start(Line::V24_10, 3, SCALE);
    let leader = cluster.wait_until_formed().await;
    cluster.wait_for_status(leader, "/ping", Some(OPS), 200).await;
    cluster.kill(leader);
    let log = cluster.path_of(leader).join("data/standin-users.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let last = text.lines().last().unwrap();
    fs::write(&log, format!("{text}{last}\n")).unwrap();
    let next = cluster.wait_until_formed().await;
    assert_eq!(Target::member(&cluster, next).reset(DEFAULT, "ops", "new").code(), 200);
    cluster.start_node(leader);
    for said in ["ONLINE TRUNCATION IS NEEDED", "Truncation successful"] {
        assert_eq!(cluster.wait_for_end(leader).code(), Some(0));
        assert!(cluster.log(leader).contains(said));
        cluster.start_node(leader);
    }
    cluster.wait_until_formed().await;
    assert_eq!(cluster.status(leader, "/ping", Some(("ops", "new"))).await, Some(200));
}

/// Whoever kills the leader in the middle of a reset gets one of three outcomes, and all nodes the same one (observed §4).
#[tokio::test]
async fn a_leader_killed_in_the_middle_of_a_reset_leaves_one_password() {
    let mut cluster = DatabaseCluster::start(Line::V24_10, 3, SCALE);
    cluster.wait_until_formed().await;
    let (mut stored, mut old) = ("changeit".to_owned(), "changeit".to_owned());
    for (round, delay) in [3, 12].into_iter().enumerate() {
        let leader = cluster.leader().await.unwrap();
        for node in 0..3 {
            cluster.wait_for_status(node, "/ping", Some(("ops", &stored)), 200).await;
        }
        let new = format!("new{round}");
        let at = Target::member(&cluster, leader);
        let text = reset_request(DEFAULT, "ops", &new);
        std::thread::scope(|scope| {
            scope.spawn(|| at.exchange(at.client(), &text));
            // The request takes a while itself.
            std::thread::sleep(Duration::from_millis(delay));
            cluster.kill(leader);
        });
        cluster.wait_until_formed().await;
        cluster.start_node(leader);
        cluster.wait_until_formed().await;
        for node in 0..3 {
            cluster.restart(node);
            cluster.wait_until_formed().await;
        }
        old.clone_from(&stored);
        let mut accepted = Vec::new();
        for node in 0..3 {
            let with_new = cluster.status(node, "/ping", Some(("ops", &new))).await == Some(200);
            let with_old = cluster.status(node, "/ping", Some(("ops", &old))).await == Some(200);
            assert_ne!(with_new, with_old, "one password works");
            accepted.push(with_new);
        }
        assert!(accepted.iter().all(|with_new| *with_new == accepted[0]), "all nodes agree: {accepted:?}");
        if accepted[0] {
            stored = new;
        }
    }
}
