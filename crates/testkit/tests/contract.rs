//! The contract suite against the stand-in: what the documents say of real servers holds of the one that stands in for
//! them, the suite can fail, and it leaves users as it found them.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::consumer;
use testkit::node::DatabaseNode;
use tokio::runtime::Runtime;

const ADMIN: (&str, &str) = ("admin", "changeit");
const CONSENT: &str = "--i-consent-to-changing-users";
const DEADLINE: Duration = Duration::from_mins(1);
/// Ten times as fast as a real server: none of the suite's bounds is short of that.
const SCALE: f64 = 0.1;

fn single(line: &str) -> Servers {
    Servers::of(vec![DatabaseNode::start_with("node-1.test", SCALE, &[&format!("--line={line}")])])
}

/// Servers to point the suite at: one node, or the nodes of a cluster.
struct Servers {
    nodes: Vec<DatabaseNode>,
    runtime: Runtime,
}

impl Servers {
    fn of(nodes: Vec<DatabaseNode>) -> Self {
        let runtime = Runtime::new().unwrap();
        for node in &nodes {
            runtime.block_on(node.wait_until_ready());
        }
        Self { nodes, runtime }
    }

    fn contract(&self, line: &str, further: &[&str]) -> Command {
        let certs = self.nodes[0].certs();
        let mut command = contract();
        command.args(["--line", line, "--json"]).arg("--ca").arg(certs.join("ca/ca.crt"));
        for (index, node) in self.nodes.iter().enumerate() {
            let name = if index == 0 { "localhost".to_owned() } else { format!("node-{}.test", index + 1) };
            command.arg("--server").arg(format!("https://{name}:{}", node.address().port()));
            command.arg("--resolve").arg(format!("{name}={}", node.address().ip()));
        }
        command.args(further);
        command
    }

    fn with_node_certificate(&self, mut command: Command) -> Command {
        let certs = self.nodes[0].certs();
        let pair: [PathBuf; 2] = [certs.join("node.crt"), certs.join("node.key")];
        command.arg("--node-certificate").arg(&pair[0]).arg("--node-key").arg(&pair[1]);
        command
    }

    fn get(&self, path: &str, login: (&str, &str)) -> (u16, String) {
        let (node, ca) = (&self.nodes[0], self.nodes[0].ca());
        let asked = consumer::get(node.address(), "localhost", &ca, path, Some(login));
        let (status, body) = self.runtime.block_on(asked).unwrap();
        (status.as_u16(), body)
    }

    fn post(&self, path: &str, body: &Value) -> u16 {
        let (node, ca) = (&self.nodes[0], self.nodes[0].ca());
        let asked = consumer::post(node.address(), "localhost", &ca, path, ADMIN, body);
        self.runtime.block_on(asked).unwrap().as_u16()
    }

    fn create(&self, login: &str) {
        let user = json!({"loginName": login, "fullName": "x", "groups": [], "password": "x"});
        assert_eq!(self.post("/users", &user), 201);
    }

    fn users(&self) -> String {
        self.get("/users", ADMIN).1
    }

    fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.nodes[0].journal()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn contract() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contract"));
    command.env_clear();
    command
}

/// The results by id.
fn records(output: &Output) -> BTreeMap<String, Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(record).map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One row for each kind of servers: all that is made with them holds, and everything that can be is made.
fn the_contract_holds(line: &str, servers: &Servers) {
    let before = servers.users();
    let output = servers.with_node_certificate(servers.contract(line, &[CONSENT])).output().unwrap();
    let records = records(&output);
    let not_ok: Vec<_> = records
        .values()
        .filter(|record| matches!(record["outcome"].as_str(), Some("failed" | "refuted")))
        .map(|record| format!("{record:#}"))
        .collect();
    assert!(not_ok.is_empty(), "{}", not_ok.join("\n"));
    let is_cluster = servers.nodes.len() > 1;
    for record in records.values().filter(|record| record["outcome"] == "not_run") {
        let reason = record["reason"].as_str().unwrap();
        let expected = reason.starts_with("does not apply") || (!is_cluster && reason.contains("cluster"));
        assert!(expected, "{record:#}");
    }
    assert_eq!(records["run.restored"]["outcome"], "ok");
    assert_eq!(servers.users(), before);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8(all).unwrap().contains(ADMIN.1), "a password is in the output");
}

#[test]
fn a_single_node_of_24_10_keeps_the_contract() {
    the_contract_holds("24.10", &single("24.10"));
}

#[test]
fn without_consent_nothing_is_written() {
    let servers = single("24.10");
    let output = servers.with_node_certificate(servers.contract("24.10", &[])).output().unwrap();
    let records = records(&output);
    let journal = servers.journal();
    assert!(journal.len() > 100, "it did ask");
    let may_write = |entry: &&Value| !matches!(entry["method"].as_str(), Some("GET" | "HEAD" | "OPTIONS"));
    assert_eq!(journal.iter().find(may_write), None);
    for id in ["users.create", "reset.success", "cache.flip", "reload.reply", "silence.unfinished"] {
        assert_eq!(records[id]["outcome"], "not_run", "{id}");
        assert_eq!(records[id]["reason"], "needs --i-consent-to-changing-users", "{id}");
    }
    assert_eq!(records["info.body"]["outcome"], "ok");
    assert_eq!(records["certificate.users"]["outcome"], "ok");
}

/// The suite can fail, and tells what a real server was seen to do from what was only read or taken over.
#[test]
fn a_wrong_line_is_noticed() {
    let servers = single("24.10");
    for (line, outcome, ids) in [
        ("22.10", "failed", &["info.body", "info.version", "ping.body", "gossip.body", "login.current"][..]),
        ("23.10", "failed", &["info.body", "info.version", "ping.body", "gossip.body", "login.current"]),
        ("25.0", "failed", &["info.body", "info.version", "root.redirect", "cors.kurrent"]),
        (
            "26",
            "refuted",
            &["info.body", "info.version", "root.redirect", "health.authenticates", "refused.not-base64"],
        ),
    ] {
        let output = servers.contract(line, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        let records = records(&output);
        for id in ids {
            assert_eq!(records[*id]["outcome"], outcome, "{line} {id}");
            let difference = &records[*id]["differences"][0];
            assert!(difference["expected"] != difference["found"], "{difference}");
        }
    }
}

#[test]
fn what_an_earlier_run_left_goes_and_what_is_another_s_stays() {
    let servers = single("24.10");
    servers.create("somebody-else");
    let before = servers.users();
    for left in ["contract-suite-00000000-1", "contract-suite-00000000-2"] {
        servers.create(left);
    }
    let output = servers.contract("24.10", &[CONSENT, "--filter", "users."]).output().unwrap();
    assert!(stderr(&output).contains("removed 2 users"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(records(&output)["users.delete"]["outcome"], "ok");
    assert_eq!(servers.users(), before);
}

/// A run in the middle of a check that takes long; its users are there.
fn in_the_middle(servers: &Servers) -> Running {
    let mut command = servers.contract("24.10", &[CONSENT, "--filter", "silence."]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while servers.users().matches("\"contract-suite-").count() < 2 {
        assert!(Instant::now() < deadline, "it creates no users");
        std::thread::sleep(Duration::from_millis(10));
    }
    Running(Some(child))
}

/// Killed when dropped.
struct Running(Option<Child>);

impl Running {
    fn end_by(mut self, signal: Signal) -> Output {
        let child = self.0.take().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_signal_in_the_middle_leaves_no_user_behind() {
    let servers = single("24.10");
    let before = servers.users();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let output = in_the_middle(&servers).end_by(signal);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let records = records(&output);
        assert_eq!(records["silence.unfinished"]["reason"], "the run was told to stop");
        assert_eq!(records["run.restored"]["outcome"], "ok");
        assert_eq!(servers.users(), before);
    }
}

/// No check changes ops; if its password is another one at the end, it is set back, and that is a finding.
#[test]
fn the_password_of_ops_is_set_back() {
    let servers = single("24.10");
    let running = in_the_middle(&servers);
    assert_eq!(servers.post("/users/ops/command/reset-password", &json!({"newPassword": "changed"})), 200);
    let deadline = Instant::now() + DEADLINE;
    while servers.get("/ping", ("ops", "changed")).0 != 200 {
        assert!(Instant::now() < deadline, "the stand-in does not flip");
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = running.end_by(Signal::SIGINT);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let restored = &records(&output)["run.restored"];
    assert_eq!(restored["outcome"], "failed");
    assert_eq!(restored["differences"][0]["of"], "the password of ops");
    assert_eq!(servers.get("/ping", ("ops", "changeit")).0, 200);
}

#[test]
fn every_mistake_is_told_in_one_run() {
    let output = contract()
        .args(["--server", "http://node-1:2113", "--line", "20.10", "--ca", "/nowhere/ca.crt", "--node-key", "x"])
        .args(["--resolve", "node-1", "--call-timeout", "15", "--admin-password-file", "/nowhere/password"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let told = stderr(&output);
    let mut flags: Vec<_> =
        told.lines().map(|line| line.strip_prefix("error: ").unwrap().split(':').next().unwrap()).collect();
    flags.sort_unstable();
    assert_eq!(
        flags,
        ["--admin-password-file", "--ca", "--call-timeout", "--line", "--node-certificate", "--resolve", "--server"]
    );
}

#[test]
fn a_server_that_is_not_there_or_refuses_the_password_ends_the_run_at_once() {
    let servers = single("24.10");
    let ca = servers.nodes[0].certs().join("ca/ca.crt");
    let ask = |server: &str, password: &str| {
        let mut command = contract();
        command.args(["--line", "24.10", "--server", server, "--ca"]).arg(&ca).arg("--resolve");
        command.arg(format!("localhost={}", servers.nodes[0].address().ip()));
        command.env("CONTRACT_ADMIN_PASSWORD", password).output().unwrap()
    };
    let port = servers.nodes[0].address().port();
    let nobody = ask("https://localhost:1", "changeit");
    assert_eq!(nobody.status.code(), Some(69), "{}", stderr(&nobody));
    // The certificate is for other names.
    let other = ask(&format!("https://{}:{port}", servers.nodes[0].address().ip()), "changeit");
    assert_eq!(other.status.code(), Some(69), "{}", stderr(&other));
    let refused = ask(&format!("https://localhost:{port}"), "not-the-password");
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(!stderr(&refused).contains("not-the-password") && refused.stdout.is_empty());
}

#[test]
fn checks_can_be_listed_without_a_server() {
    let output = contract().args(["--list", "--json", "--filter", "follower."]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let listed = records(&output);
    assert!(listed.len() > 5 && listed.keys().all(|id| id.contains("follower.")), "{listed:?}");
    assert_eq!(listed["follower.chunked"]["needs"], json!(["consent", "cluster"]));
}
