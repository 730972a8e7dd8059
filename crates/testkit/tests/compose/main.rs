//! The local cluster of `docker/`, with the stand-in in place of the server, on a real Docker engine: it comes up secured, and
//! whatever ends is back in order without anybody doing anything.
//!
//! The images are those of `cargo xtask images`, which `cargo xtask test` makes before.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod cluster;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use infra::{Config, Deployment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::tool::{self, Tool};

use cluster::{Cluster, docker, inspect, leader, login, member, registered, secret};

/// The secret of each user, and the certificates that all of them trust.
async fn credentials() -> (Vec<String>, String) {
    let mut passwords = Vec::new();
    let mut ca = String::new();
    for name in ["admin", "ops", "orders"] {
        let secret = secret(&format!("eventstore/{name}")).await.unwrap();
        passwords.push(member(&secret, "password").unwrap().to_owned());
        member(&secret, "caCertificate").unwrap().clone_into(&mut ca);
    }
    (passwords, ca)
}

/// Ends a process of a container from outside, as a machine that runs out of memory does: Docker starts the container again, which it
/// does not after `docker kill`.
fn kill_process(process: i32) {
    kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
}

/// The process that guard runs in a node's container.
fn server(cluster: &Cluster, node: &str) -> i32 {
    let guard = cluster.process(&format!("{node}-eventstore"));
    let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// One after the other: on one machine there can be one 169.254.170.2.
#[tokio::test]
async fn what_is_in_docker_secures_itself_and_comes_back_from_whatever_ends() {
    let name = "what_is_in_docker_secures_itself_and_comes_back_from_whatever_ends";
    let Some(compose) = tool::find(Tool::DockerCompose, name).filter(|_| tool::find_engine(name)) else { return };
    single_node(compose.clone()).await;
    another_line_and_user(compose.clone()).await;
    three_nodes(compose).await;
}

async fn single_node(compose: PathBuf) {
    let cluster = Cluster::new(compose, "esf-single", &["compose.single.yaml"], 1);
    cluster.chapter("one node: up");
    cluster.compose(&["up", "--detach"]);
    cluster.until_in_order().await;
    let before = credentials().await;
    cluster.chapter("one node: down and up again");
    cluster.compose(&["down"]);
    cluster.compose(&["up", "--detach"]);
    cluster.until_in_order().await;
    assert!(credentials().await == before, "passwords or authority changed");
}

/// The newest line has another prefix, other places and another uid. Its file is not checked in: it is rendered here.
async fn another_line_and_user(compose: PathBuf) {
    let text = fs::read_to_string(cluster::directory().join("eventstore.single.toml")).unwrap();
    let text = text.replace("[server]\n", "[server]\nline = \"26\"\n");
    let deployment = Deployment::new(Config::parse(&text).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (file, line) = (directory.path().join("compose.yaml"), directory.path().join("line.yaml"));
    fs::write(&file, infra::compose(&deployment)).unwrap();
    // The stand-in is told which server it stands in for.
    fs::write(&line, "services: {node-1-eventstore: {environment: {STANDIN_LINE: \"26\"}}}\n").unwrap();
    let files = [file.to_str().unwrap(), line.to_str().unwrap()];
    let cluster = Cluster::new(compose, "esf-line", &files, 1);
    cluster.chapter("one node of line 26: up");
    cluster.compose(&["up", "--detach"]);
    cluster.until_in_order().await;
    for container in ["eventstore", "bootstrap"] {
        let id = cluster.id(&format!("node-1-{container}"));
        assert_eq!(inspect(&id, "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}"), "1001:1001 true", "{container}");
    }
    cluster.chapter("one node of line 26: killed");
    kill_process(server(&cluster, "node-1"));
    cluster.until_in_order().await;
}

async fn three_nodes(compose: PathBuf) {
    let cluster = Cluster::new(compose, "esf-cluster", &["compose.yaml", "compose.consumer.yaml"], 3);
    cluster.chapter("three nodes: up");
    cluster.compose(&["up", "--detach"]);
    cluster.until_in_order().await;
    let (passwords, ca) = credentials().await;
    consumer_is_logged_in(&cluster).await;
    nobody_may_more_than_in_a_task(&cluster);
    up_again_changes_nothing(&cluster).await;
    killed_in_turn(&cluster).await;
    rotated_while_the_leader_dies(&cluster, &passwords[0]).await;
    a_whole_task_is_replaced(&cluster).await;
    a_node_is_cut_off(&cluster).await;
    second_writer(&cluster).await;
    restarted_and_down_and_up(&cluster).await;
    assert!(credentials().await.1 == ca, "the authority changed");
    let address = registered().await.unwrap()[0];
    assert_eq!(login(address, &ca, "admin", &passwords[0]).await.unwrap(), 401, "the password before the rotation");
    consumer_is_logged_in(&cluster).await;
    nothing_is_left(&cluster);
}

/// The last thing that it said; it says every change.
async fn consumer_is_logged_in(cluster: &Cluster) {
    cluster
        .until("the consumer is not logged in", || async {
            let said = cluster.logs("consumer");
            let last = said.lines().last().unwrap_or_default();
            last.contains("logged in as orders").then_some(()).ok_or(said)
        })
        .await;
}

fn nobody_may_more_than_in_a_task(cluster: &Cluster) {
    for node in &cluster.nodes {
        for container in ["eventstore", "bootstrap"] {
            let id = cluster.id(&format!("{node}-{container}"));
            let found =
                "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}} {{.HostConfig.Memory}}";
            assert_eq!(inspect(&id, found), format!("true [ALL] 1000:1000 {}", 2048_u64 << 20), "{node}-{container}");
        }
        // The engine runs the check every 30 s only.
        docker(&["exec", &cluster.id(&format!("{node}-eventstore")), "/certs/guard", "healthcheck"]);
        // What has no name is left behind.
        for container in ["", "-certgen", "-eventstore", "-bootstrap"] {
            let mounted = inspect(&cluster.id(&format!("{node}{container}")), "{{range .Mounts}}{{.Name}} {{end}}");
            let nameless = mounted.split_whitespace().find(|name| !name.starts_with(&cluster.project));
            assert_eq!(nameless, None, "{node}{container}");
        }
    }
}

async fn up_again_changes_nothing(cluster: &Cluster) {
    cluster.chapter("up again");
    let before = cluster.running();
    cluster.compose(&["up", "--detach"]);
    // Those of certgen have ended, run again and find nothing to do.
    for (service, state) in cluster.running().iter().filter(|(service, _)| !service.ends_with("-certgen")) {
        assert_eq!(before[service], *state, "{service}");
    }
    cluster.until_in_order().await;
}

async fn killed_in_turn(cluster: &Cluster) {
    cluster.chapter("guard, a server and every sidecar are killed");
    for node in &cluster.nodes {
        // A killed guard has not signed off: the next one waits until the heartbeat has stopped for 12 s (GUARD_TAKEOVER_AFTER).
        let process = if node == "node-1" { cluster.process("node-1-eventstore") } else { server(cluster, node) };
        kill_process(process);
        cluster.until_in_order().await;
        kill_process(cluster.process(&format!("{node}-bootstrap")));
        cluster.until_in_order().await;
    }
}

async fn rotated_while_the_leader_dies(cluster: &Cluster, password: &str) {
    cluster.chapter("the leader is killed during a rotation");
    let lead = leader().await.unwrap().ip().to_string();
    let is_leader = |node: &&String| {
        let addresses = inspect(&cluster.id(node), "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}");
        addresses.split_whitespace().any(|address| address == lead)
    };
    let node = cluster.nodes.iter().find(is_leader).unwrap();
    let sidecar = format!("{node}-bootstrap");
    docker(&["exec", &cluster.id(&sidecar), "/bootstrap", "rotate"]);
    // A sidecar that starts does not wait for its next poll.
    cluster.compose(&["restart", &sidecar]);
    kill_process(server(cluster, node));
    cluster.until_in_order().await;
    cluster
        .until("the password was not replaced", || async {
            let (rotated, _) = credentials().await;
            (rotated[0] != password).then_some(()).ok_or_else(String::new)
        })
        .await;
    cluster.until_in_order().await;
}

async fn a_whole_task_is_replaced(cluster: &Cluster) {
    cluster.chapter("a whole task is killed and created anew");
    let services = ["node-2", "node-2-eventstore", "node-2-bootstrap"];
    for service in services {
        docker(&["kill", &cluster.id(service)]);
    }
    cluster.compose(&[&["up", "--detach", "--force-recreate"], &services[..]].concat());
    cluster.until_in_order().await;
}

async fn a_node_is_cut_off(cluster: &Cluster) {
    cluster.chapter("a node is cut off and comes back");
    let (network, task) = (format!("{}_cluster", cluster.project), cluster.id("node-3"));
    docker(&["network", "disconnect", &network, &task]);
    cluster
        .until("the node that is cut off is still given to clients", || async {
            let there = registered().await?.len();
            (there == 2).then_some(()).ok_or_else(|| format!("{there} nodes"))
        })
        .await;
    let names = ["--alias", "eventstore-node-3.db.internal", "--alias", "eventstore.db.internal"];
    docker(&[&["network", "connect"], &names[..], &[&network, &task]].concat());
    cluster.until_in_order().await;
}

async fn restarted_and_down_and_up(cluster: &Cluster) {
    cluster.chapter("restart, down and up again");
    cluster.compose(&["restart", "node-1-eventstore", "node-1-bootstrap", "aws"]);
    cluster.until_in_order().await;
    let before = credentials().await;
    cluster.compose(&["down"]);
    cluster.compose(&["up", "--detach"]);
    cluster.until_in_order().await;
    assert!(credentials().await == before, "passwords or authority changed");
}

fn nothing_is_left(cluster: &Cluster) {
    cluster.chapter("memory of every container, and down");
    eprintln!("{}", docker(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.Name}}"]));
    cluster.compose(&["down", "--volumes"]);
    let filter = format!("label=com.docker.compose.project={}", cluster.project);
    for list in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
        assert_eq!(docker(&[list, &["--quiet", "--filter", &filter]].concat()), "", "{list:?}");
    }
}

/// A container of another task on the data of node-3.
async fn second_writer(cluster: &Cluster) {
    cluster.chapter("another container on the data of a node");
    let holder = cluster.id("node-3-eventstore");
    let volume = |destination: &str| {
        let named = format!(
            "{{{{range .Mounts}}}}{{{{if eq .Destination \"{destination}\"}}}}{{{{.Name}}}}{{{{end}}}}{{{{end}}}}"
        );
        inspect(&holder, &named)
    };
    let (data, certs) = (volume("/var/lib/eventstore"), volume("/certs"));
    let (data, certs) = (format!("{data}:/var/lib/eventstore"), format!("{certs}:/certs:ro"));
    let image = inspect(&holder, "{{.Config.Image}}");
    let hardened = ["--user", "1000:1000", "--read-only", "--cap-drop", "ALL", "--network", "none", "--tmpfs", "/tmp"];
    let guard = ["--volume", &data, "--volume", &certs, "--env", "GUARD_DATA_DIR=/var/lib/eventstore"];
    // guard refuses a server of an unknown version on a directory with a recorded one.
    let version = ["--env", "GUARD_SERVER_VERSION=24.10"];
    // What the server is does not matter here, but that it is not started too early.
    let server =
        ["--entrypoint", "/certs/guard", &image, "run", "--", "/opt/eventstore/EventStore.ClusterNode", "--version"];
    let second = docker(&[&["run", "--detach"], &hardened[..], &guard, &version, &server].concat()).trim().to_owned();
    let said = || {
        let output = Command::new("docker").args(["logs", &second]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    cluster
        .until("the second container does not say who holds the data", || async {
            let said = said();
            said.contains("arn:aws:ecs:eu-west-1:123456789012:task/local/").then_some(()).ok_or(said)
        })
        .await;
    assert_eq!(inspect(&second, "{{.State.Running}}"), "true", "it waits");
    cluster.compose(&["stop", "node-3-eventstore"]);
    cluster
        .until("the second container does not take over", || async {
            let ended = inspect(&second, "{{.State.Running}}");
            (ended == "false").then_some(()).ok_or_else(said)
        })
        .await;
    docker(&["rm", "--force", "--volumes", &second]);
    cluster.compose(&["start", "node-3-eventstore"]);
    cluster.until_in_order().await;
}
