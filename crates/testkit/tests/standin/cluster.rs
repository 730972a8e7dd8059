//! Three nodes: formation, forwarding, caches, leaving and dying, losing and regaining the quorum (observed §1, §4, §5,
//! lines §G, observed-25 §F).

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::database::Line;
use testkit::node::DatabaseCluster;

use super::wire::{DEFAULT, JSON, OPS, Target, request, reset_request};

const SCALE: f64 = 0.05;

async fn formed(line: Line, size: usize) -> (DatabaseCluster, usize) {
    let mut cluster = DatabaseCluster::start(line, size, SCALE);
    let leader = cluster.wait_until_formed().await;
    for node in 0..size {
        cluster.wait_for_status(node, "/ping", Some(OPS), 200).await;
    }
    (cluster, leader)
}

async fn gossip(cluster: &DatabaseCluster, node: usize) -> Vec<Value> {
    let (_, body) = cluster.get(node, "/gossip", None).await.unwrap();
    let gossip: Value = serde_json::from_str(&body).unwrap();
    gossip["members"].as_array().unwrap().clone()
}

/// The new password works and the old one does not, on every node that runs.
async fn wait_until_changed(cluster: &DatabaseCluster, nodes: &[usize], user: &str, old: &str, new: &str) {
    for &node in nodes {
        cluster.wait_for_status(node, "/ping", Some((user, new)), 200).await;
        assert_eq!(cluster.status(node, "/ping", Some((user, old))).await, Some(401));
    }
}

async fn forms_and_changes_passwords(line: Line) {
    let (cluster, leader) = formed(line, 3).await;
    let follower = cluster.follower().await;
    for node in 0..3 {
        let members = gossip(&cluster, node).await;
        let names: Vec<_> = members.iter().map(|member| member["httpEndPointIp"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(members.iter().all(|member| member["isAlive"] == true), "{members:?}");
        let leading: Vec<_> = members.iter().filter(|member| member["state"] == "Leader").collect();
        assert_eq!(leading.len(), 1);
        assert_eq!(leading[0]["httpEndPointIp"], cluster.name(leader));
    }
    // Caches are warm; the reset goes through a follower.
    let reset = Target::member(&cluster, follower).reset(DEFAULT, "ops", "new");
    assert_eq!((reset.code(), reset.header("Content-Type")), (200, Some("application/json")), "{line}");
    assert!(reset.body.contains("\"success\": true"));
    wait_until_changed(&cluster, &[0, 1, 2], "ops", "changeit", "new").await;
    // Both caches must agree.
    cluster.wait_for_status(follower, "/users/$current", Some(("ops", "new")), 200).await;
}

#[tokio::test]
async fn the_older_lines_form() {
    let check = forms_and_changes_passwords;
    tokio::join!(check(Line::V21_10), check(Line::V22_10), check(Line::V23_10));
}

#[tokio::test]
async fn the_newer_lines_form() {
    let check = forms_and_changes_passwords;
    tokio::join!(check(Line::V24_10), check(Line::V25_1), check(Line::V26_1));
}

#[tokio::test]
async fn five_form_and_two_are_no_quorum() {
    let (mut cluster, leader) = formed(Line::V24_10, 5).await;
    let others: Vec<_> = (0..5).filter(|node| *node != leader).collect();
    for node in &others[..3] {
        cluster.kill(*node);
    }
    cluster.wait_for_state(leader, "unknown").await;
    cluster.wait_for_state(others[3], "unknown").await;
    cluster.start_all();
    cluster.wait_until_formed().await;
}

/// observed §1, observed-25 §F: 204 on a follower proves nothing about users. At nearly real time, to be seen.
#[tokio::test]
async fn a_follower_is_ready_before_there_are_users() {
    let mut cluster = DatabaseCluster::prepare(Line::V25_1, 3, 0.8);
    cluster.start_all();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for node in 0..3 {
            let ready = cluster.status(node, "/health/live", None).await == Some(204);
            if ready && cluster.status(node, "/ping", Some(DEFAULT)).await == Some(401) {
                assert_eq!(cluster.state(node).await.as_deref(), Some("follower"));
                cluster.wait_for_status(node, "/ping", Some(DEFAULT), 200).await;
                return;
            }
        }
        assert!(Instant::now() < deadline, "no follower was ready too early");
    }
}

/// observed §4 and lines §G, what happens to a request that is not for the leader.
#[tokio::test]
async fn followers_pass_users_on() {
    let (cluster, leader) = formed(Line::V24_10, 3).await;
    let follower = cluster.follower().await;
    let at = Target::member(&cluster, follower);
    let path = "/users/ops/command/reset-password";

    let malformed = at.ask(&request("POST", path, Some(DEFAULT), &[JSON], Some("not json")));
    assert_eq!((malformed.code(), malformed.body.as_str()), (200, ""));
    let chunked = format!(
        "{}16\r\n{{\"newPassword\":\"lost\"}}\r\n0\r\n\r\n",
        request("POST", path, Some(DEFAULT), &[JSON, "Transfer-Encoding: chunked"], None)
    );
    assert_eq!(at.ask(&chunked).status, "500 Error while forwarding request");
    assert_eq!(Target::member(&cluster, leader).ask(&chunked).code(), 200);
    let user = "{\"loginName\":\"app\",\"fullName\":\"App\",\"groups\":[],\"password\":\"p\"}";
    let created = at.ask(&request("POST", "/users", Some(DEFAULT), &[JSON], Some(user)));
    assert_eq!(created.code(), 201);
    let own = format!("https://{}:{}/users/app", cluster.name(follower), at.address.port());
    assert_eq!(created.header("Location"), Some(own.as_str()));
    for node in 0..3 {
        cluster.wait_for_status(node, "/ping", Some(("app", "p")), 200).await;
    }

    // The certificate stays behind; what is local is answered.
    let as_node = |path: &str| at.as_node(&request("GET", path, None, &[], None));
    let users = as_node("/users");
    assert_eq!((users.code(), users.body.as_str(), users.header("WWW-Authenticate")), (401, "", None));
    assert!(as_node("/admin/login").body.contains("\"loginName\": \"system\""));
    let on_leader = Target::member(&cluster, leader);
    assert_eq!(on_leader.as_node(&request("GET", "/users", None, &[], None)).code(), 200);
}

/// lines §B: also through a follower there is no answer, until later requests to the follower bring it.
#[tokio::test]
async fn a_follower_does_not_answer_what_the_leader_does_not() {
    let (cluster, _) = formed(Line::V23_10, 3).await;
    let at = Target::member(&cluster, cluster.follower().await);
    let text = request("POST", "/users/ops/command/reset-password", Some(DEFAULT), &[JSON], Some("{}"));
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| done.send(at.ask(&text).status).unwrap());
        assert!(finished.recv_timeout(Duration::from_millis(600)).is_err(), "nothing comes by itself");
        for later in 0.. {
            assert!(later < 40, "later requests did not bring the 408");
            at.get("/ping", None);
            if let Ok(status) = finished.recv_timeout(Duration::from_millis(20)) {
                assert_eq!(status, "408 Server was unable to handle request in time");
                break;
            }
        }
    });
}

#[tokio::test]
async fn the_death_of_a_leader_makes_another() {
    let (mut cluster, leader) = formed(Line::V24_10, 3).await;
    cluster.kill(leader);
    let next = cluster.wait_until_formed().await;
    assert_ne!(next, leader);
    let members = gossip(&cluster, next).await;
    let dead: Vec<_> = members.iter().filter(|member| member["isAlive"] == false).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0]["state"], &dead[0]["httpEndPointIp"]), (&"Unknown".into(), &cluster.name(leader).into()));
    assert_eq!(Target::member(&cluster, next).reset(DEFAULT, "ops", "new").code(), 200);

    // It comes back as a follower and has what it missed.
    cluster.start_node(leader);
    assert_eq!(cluster.wait_until_formed().await, next);
    assert_eq!(cluster.status(leader, "/ping", Some(("ops", "new"))).await, Some(200));
    assert_eq!(cluster.terminate(next).code(), Some(0));
    assert_ne!(cluster.wait_until_formed().await, next);
}

/// observed §1, last: another address under the same name is the same member.
#[tokio::test]
async fn a_member_may_come_back_with_another_address() {
    let (mut cluster, leader) = formed(Line::V24_10, 3).await;
    for node in [cluster.follower().await, leader] {
        cluster.kill(node);
        cluster.move_away(node);
        cluster.start_node(node);
        cluster.wait_until_formed().await;
    }
    for node in 0..3 {
        let members = gossip(&cluster, node).await;
        assert_eq!(members.len(), 3, "no ghost");
        assert!(members.iter().all(|member| member["isAlive"] == true));
    }
}

/// observed §5, lines §G, observed-25 §F: who leads after a resignation, and that everybody stays ready.
async fn resigns(line: Line, same: bool, passes_through: &[&str]) {
    let mut cluster = DatabaseCluster::start(line, 3, 0.5);
    let leader = cluster.wait_until_formed().await;
    cluster.wait_for_status(leader, "/ping", Some(OPS), 200).await;
    let resign = request("POST", "/admin/node/resign", Some(OPS), &[], Some(""));
    let reply = Target::member(&cluster, leader).ask(&resign);
    assert_eq!((reply.code(), reply.body.as_str()), (200, ""));
    // Only the one that resigns is watched: others would take too much of the time in which it can be seen.
    let (mut seen, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    let settled = |state: &String| state == "leader" || state == "follower";
    while seen.iter().all(settled) || !seen.last().is_some_and(settled) {
        assert_eq!(cluster.status(leader, "/health/live", None).await, Some(204));
        seen.extend(cluster.state(leader).await);
        assert!(Instant::now() < deadline, "{line}: {seen:?}");
    }
    for state in passes_through {
        assert!(seen.iter().any(|found| found == state), "{line} is never {state}: {seen:?}");
    }
    let now = cluster.wait_until_formed().await;
    assert_eq!(now == leader, same, "{line}: {leader} then {now}");
}

#[tokio::test]
async fn on_22_10_the_same_node_is_elected_again() {
    resigns(Line::V22_10, true, &["resigningleader", "unknown"]).await;
}

#[tokio::test]
async fn on_23_10_the_same_node_leads_again_at_once() {
    resigns(Line::V23_10, true, &["resigningleader"]).await;
}

#[tokio::test]
async fn on_24_10_another_node_leads_after_a_resignation() {
    resigns(Line::V24_10, false, &["resigningleader", "prereplica"]).await;
}

/// observed §5, "quorum lost" and "quorum back".
#[tokio::test]
async fn without_a_quorum_nothing_is_written() {
    let (mut cluster, leader) = formed(Line::V24_10, 3).await;
    let others: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    for node in &others {
        cluster.kill(*node);
    }
    let lost = Instant::now();
    assert_eq!(cluster.state(leader).await.as_deref(), Some("leader"), "it calls itself leader for a while");
    cluster.wait_for_state(leader, "unknown").await;
    assert!(lost.elapsed() >= Duration::from_millis(150), "{:?}", lost.elapsed());
    assert_eq!(cluster.status(leader, "/health/live", None).await, Some(204));
    assert_eq!(cluster.status(leader, "/ping", Some(DEFAULT)).await, Some(200), "not cached");
    assert_eq!(cluster.status(leader, "/users/$current", Some(OPS)).await, Some(200));
    assert_eq!(cluster.status(leader, "/ping", Some(("ops", "wrong"))).await, Some(401));

    let at = Target::member(&cluster, leader);
    let waiting = tokio::task::spawn_blocking(move || at.exchange(at.client(), &reset_request(DEFAULT, "ops", "new")));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "it is not answered");
    for node in &others {
        cluster.start_node(*node);
    }
    cluster.wait_until_formed().await;
    // Nor is it now, but that later requests may have brought a 408; whoever still waits gives up with the process.
    cluster.kill(leader);
    let answer = waiting.await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    cluster.start_node(leader);
    cluster.wait_until_formed().await;
    for node in 0..3 {
        assert_eq!(cluster.status(node, "/ping", Some(OPS)).await, Some(200), "nor was it applied");
    }
}

/// observed §5: a fourth node in a cluster of three ends by itself.
#[tokio::test]
async fn one_too_many_ends() {
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 4, SCALE);
    cluster.option("EVENTSTORE_CLUSTER_SIZE", "3");
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_formed().await;
    cluster.start_node(3);
    assert_eq!(cluster.wait_for_end(3).code(), Some(0));
    assert!(cluster.log(3).contains("SURPLUS OF NODES IN THE CLUSTER, SHUTTING DOWN"));
    cluster.wait_until_formed().await;
}

/// observed-25 §H: nodes of two lines work together, in either direction.
#[tokio::test]
async fn lines_can_be_rolled() {
    let (mut cluster, leader) = formed(Line::V23_10, 3).await;
    let order: Vec<_> = (0..3).filter(|node| *node != leader).chain([leader]).collect();
    for (step, node) in order.into_iter().enumerate() {
        assert_eq!(cluster.terminate(node).code(), Some(0));
        cluster.become_line(node, Line::V25_1);
        cluster.start_node(node);
        cluster.wait_until_formed().await;
        let (old, new) = (step.to_string(), (step + 1).to_string());
        let old = if step == 0 { "changeit" } else { &old };
        let at = Target::member(&cluster, cluster.follower().await);
        cluster.wait_for_status(cluster.follower().await, "/users/$current", Some(("ops", old)), 200).await;
        assert_eq!(at.reset(DEFAULT, "ops", &new).code(), 200);
        wait_until_changed(&cluster, &[0, 1, 2], "ops", old, &new).await;
    }
    let members = gossip(&cluster, 0).await;
    assert!(members.iter().all(|member| member["esVersion"] == "25.1.4.0"), "{members:?}");
}

#[tokio::test]
async fn a_signal_reloads_certificates_of_a_member() {
    let (cluster, leader) = formed(Line::V24_10, 3).await;
    let certs =
        |node: usize, name: &str| std::fs::read_to_string(cluster.path_of(node).join("certs").join(name)).unwrap();
    let other = (leader + 1) % 3;
    // A key that does not belong to the certificate: the old pair stays.
    let (own, foreign) = (certs(leader, "node.crt"), certs(other, "node.key"));
    let good_key = certs(leader, "node.key");
    cluster.give_files(leader, &own, &foreign, &cluster.ca(leader));
    let reload = request("POST", "/admin/reloadconfig", Some(OPS), &[], Some(""));
    assert_eq!(Target::member(&cluster, leader).ask(&reload).code(), 200, "the answer does not tell");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !cluster.log(leader).contains("does not match the public key") {
        assert!(Instant::now() < deadline, "the log does not tell either");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cluster.status(leader, "/health/live", None).await, Some(204));
    cluster.give_files(leader, &own, &good_key, &cluster.ca(leader));
    cluster.signal(leader, Signal::SIGHUP);
    while !cluster.log(leader).contains("successfully reloaded") {
        assert!(Instant::now() < deadline, "SIGHUP does not reload");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// contract §3.2, §6; not observed.
#[tokio::test]
async fn a_read_only_replica_follows_without_a_vote() {
    let (mut cluster, leader) = formed(Line::V24_10, 3).await;
    let replica = cluster.add_read_only_replica();
    cluster.start_node(replica);
    cluster.wait_for_state(replica, "readonlyreplica").await;
    cluster.wait_for_status(replica, "/health/live", None, 204).await;
    let members = gossip(&cluster, leader).await;
    let replicas: Vec<_> = members.iter().filter(|member| member["isReadOnlyReplica"] == true).collect();
    assert_eq!((members.len(), replicas.len()), (4, 1), "{members:?}");
    assert_eq!((&replicas[0]["state"], &replicas[0]["isAlive"]), (&"ReadOnlyReplica".into(), &true.into()));

    // It passes on what is about users, and learns of it.
    let reset = Target::member(&cluster, replica).reset(DEFAULT, "ops", "new");
    assert_eq!(reset.code(), 200, "{}", reset.body);
    wait_until_changed(&cluster, &[0, 1, 2, replica], "ops", "changeit", "new").await;

    // One voter and the replica are no majority, and the replica stays ready.
    for node in (0..3).filter(|node| *node != leader) {
        cluster.kill(node);
    }
    cluster.wait_for_state(leader, "unknown").await;
    cluster.wait_for_state(replica, "readonlyleaderless").await;
    assert_eq!(cluster.status(replica, "/health/live", None).await, Some(204));
    cluster.start_all();
    cluster.wait_until_formed().await;
    cluster.wait_for_state(replica, "readonlyreplica").await;
}

/// Another member that takes long to catch up is not ready until it has.
#[tokio::test]
async fn a_node_that_catches_up_is_not_ready() {
    let (mut cluster, leader) = formed(Line::V24_10, 3).await;
    let follower = (0..3).find(|node| *node != leader).unwrap();
    cluster.argument("--catch-up=60");
    cluster.restart(follower);
    cluster.wait_for_state(follower, "catchingup").await;
    assert_eq!(cluster.status(follower, "/health/live", None).await, Some(503));
    cluster.wait_for_state(follower, "follower").await;
    cluster.wait_for_status(follower, "/health/live", None, 204).await;
}
