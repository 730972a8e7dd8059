//! The contract suite against the stand-in: what the documents say of real servers holds of the one that stands in for
//! them, the suite can fail, and it leaves users as it found them.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use testkit::consumer;
use testkit::database::Line;
use testkit::net::own_loopback;
use testkit::node::{DatabaseCluster, DatabaseNode, issue_certificates};
use testkit::programs::Programs;
use tokio::runtime::Runtime;

const ADMIN: (&str, &str) = ("admin", "changeit");
const CONSENT: &str = "--i-consent-to-changing-users";
const DEADLINE: Duration = Duration::from_mins(1);
/// As fast as a real server: a lag of a second is long enough to be looked at.
const REAL: f64 = 1.0;
/// Ten times as fast, for what does not look at times.
const FAST: f64 = 0.1;

fn single(line: Line, scale: f64) -> Servers {
    let node = DatabaseNode::start_of(line, "node-1.test", scale, &[]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(node.wait_until_ready());
    Servers { line, stage: Stage::Single(node), runtime }
}

fn cluster(line: Line) -> Servers {
    let mut cluster = DatabaseCluster::start(line, 3, REAL);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(cluster.wait_until_formed());
    Servers { line, stage: Stage::Cluster(Box::new(cluster)), runtime }
}

/// Servers to point the suite at.
struct Servers {
    line: Line,
    stage: Stage,
    runtime: Runtime,
}

enum Stage {
    Single(DatabaseNode),
    Cluster(Box<DatabaseCluster>),
}

impl Servers {
    /// Names in the certificates and addresses.
    fn endpoints(&self) -> Vec<(String, SocketAddr)> {
        match &self.stage {
            Stage::Single(node) => vec![("localhost".to_owned(), node.address())],
            Stage::Cluster(cluster) => {
                (0..cluster.size()).map(|node| (cluster.name(node).to_owned(), cluster.address(node))).collect()
            }
        }
    }

    /// What the first server has its certificate from.
    fn certs(&self) -> PathBuf {
        match &self.stage {
            Stage::Single(node) => node.certs(),
            Stage::Cluster(cluster) => cluster.path_of(0).join("certs"),
        }
    }

    fn is_cluster(&self) -> bool {
        matches!(self.stage, Stage::Cluster(_))
    }

    fn contract(&self, further: &[&str]) -> Command {
        self.contract_of(&self.line.to_string(), further)
    }

    fn contract_of(&self, line: &str, further: &[&str]) -> Command {
        let mut command = contract();
        command.args(["--line", line, "--json"]).arg("--ca").arg(self.certs().join("ca/ca.crt"));
        for (name, address) in self.endpoints() {
            command.arg("--server").arg(format!("https://{name}:{}", address.port()));
            command.arg("--resolve").arg(format!("{name}={}", address.ip()));
        }
        command.args(further);
        command
    }

    fn with_node_certificate(&self, mut command: Command) -> Command {
        let pair: [PathBuf; 2] = [self.certs().join("node.crt"), self.certs().join("node.key")];
        command.arg("--node-certificate").arg(&pair[0]).arg("--node-key").arg(&pair[1]);
        command
    }

    fn address(&self) -> SocketAddr {
        self.endpoints()[0].1
    }

    fn ca(&self) -> String {
        fs::read_to_string(self.certs().join("ca/ca.crt")).unwrap()
    }

    fn get(&self, path: &str, login: (&str, &str)) -> (u16, String) {
        let ca = self.ca();
        let asked = consumer::get(self.address(), "localhost", &ca, path, Some(login));
        let (status, body) = self.runtime.block_on(asked).unwrap();
        (status.as_u16(), body)
    }

    fn post(&self, path: &str, body: &Value) -> u16 {
        let ca = self.ca();
        let asked = consumer::post(self.address(), "localhost", &ca, path, ADMIN, body);
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
        let Stage::Single(node) = &self.stage else { panic!("a single node has one journal") };
        let text = fs::read_to_string(node.journal()).unwrap();
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
fn the_contract_holds(servers: &Servers) {
    let before = servers.users();
    let output = servers.with_node_certificate(servers.contract(&[CONSENT])).output().unwrap();
    let records = records(&output);
    let not_ok: Vec<_> = records
        .values()
        .filter(|record| matches!(record["outcome"].as_str(), Some("failed" | "refuted")))
        .map(|record| format!("{record:#}"))
        .collect();
    assert!(not_ok.is_empty(), "{}", not_ok.join("\n"));
    for record in records.values().filter(|record| record["outcome"] == "not_run") {
        let reason = record["reason"].as_str().unwrap();
        let expected = reason.starts_with("does not apply") || (!servers.is_cluster() && reason.contains("cluster"));
        assert!(expected, "{record:#}");
    }
    assert_eq!(records["run.restored"]["outcome"], "ok");
    assert_eq!(servers.users(), before);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8(all).unwrap().contains(ADMIN.1), "a password is in the output");
}

/// The suite mostly waits for servers that do not answer, so all lines are asked at the same time.
fn the_contract_holds_on_every_line(start: fn(Line) -> Servers) {
    thread::scope(|scope| {
        let all = Line::value_variants().iter();
        let asked: Vec<_> = all.map(|line| (line, scope.spawn(|| the_contract_holds(&start(*line))))).collect();
        for (line, asked) in asked {
            assert!(asked.join().is_ok(), "{line}: see above");
        }
    });
}

#[test]
fn a_single_node_keeps_the_contract() {
    the_contract_holds_on_every_line(|line| single(line, REAL));
}

#[test]
fn a_cluster_keeps_the_contract() {
    the_contract_holds_on_every_line(cluster);
}

#[test]
fn without_consent_nothing_is_written() {
    let servers = single(Line::V24_10, FAST);
    let output = servers.with_node_certificate(servers.contract(&[])).output().unwrap();
    let records = records(&output);
    let journal = servers.journal();
    assert!(journal.len() > 50, "it did ask: {}", journal.len());
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
    let servers = single(Line::V24_10, FAST);
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
        let output = servers.contract_of(line, &[]).output().unwrap();
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
    let servers = single(Line::V24_10, FAST);
    servers.create("somebody-else");
    let before = servers.users();
    for left in ["contract-suite-00000000-1", "contract-suite-00000000-2"] {
        servers.create(left);
    }
    let output = servers.contract(&[CONSENT, "--filter", "users."]).output().unwrap();
    assert!(stderr(&output).contains("removed 2 users"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(records(&output)["users.delete"]["outcome"], "ok");
    assert_eq!(servers.users(), before);
}

/// Says yes to everything, with JSON that says nothing, to whoever comes by TLS.
struct YesSayer {
    certs: tempfile::TempDir,
    address: SocketAddr,
}

impl YesSayer {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("certs")).unwrap();
        issue_certificates(&Programs::beside_this_test(), root.path(), "node-1.test");
        let chain = vec![CertificateDer::from_pem_file(root.path().join("certs/node.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(root.path().join("certs/node.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind(own_loopback().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the test's process.
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                thread::spawn(move || Self::say_yes(StreamOwned::new(session, socket)));
            }
        });
        Self { certs: root, address }
    }

    fn say_yes(mut stream: StreamOwned<ServerConnection, TcpStream>) -> Option<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            request.extend_from_slice(&piece[..count]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let mut words = request.split(' ');
        let (status, body) = match (words.next()?, words.next()?) {
            ("GET", "/info") => ("200 OK", r#"{"state":"leader"}"#),
            ("GET", "/users") => ("200 OK", r#"{"data":[]}"#),
            ("POST", "/users") => ("201 Created", "{}"),
            _ => ("200 OK", "{}"),
        };
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(reply.as_bytes()).ok()
    }
}

/// Checks assert something: a server that says yes to all of them holds what yes is the answer to, and no more.
#[test]
fn a_server_that_says_yes_to_everything_does_not_pass() {
    let server = YesSayer::start();
    let certs = server.certs.path().join("certs");
    let output = contract()
        .args(["--line", "24.10", "--json", "--call-timeout", "5s", CONSENT])
        .arg(format!("--server=https://localhost:{}", server.address.port()))
        .arg(format!("--resolve=localhost={}", server.address.ip()))
        .arg("--ca")
        .arg(certs.join("ca/ca.crt"))
        .arg("--node-certificate")
        .arg(certs.join("node.crt"))
        .arg("--node-key")
        .arg(certs.join("node.key"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let records = records(&output);
    let ok = records.iter().filter(|(_, record)| record["outcome"] == "ok").map(|(id, _)| id.as_str());
    let yes = ["login.ping", "metrics.login", "refused.bearer", "reload.certificate", "run.restored", "tls.versions"];
    assert_eq!(ok.collect::<Vec<_>>(), yes);
}

/// A run in the middle of a check that takes long; its users are there.
fn in_the_middle(servers: &Servers) -> Running {
    let mut command = servers.contract(&[CONSENT, "--filter", "silence."]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while servers.users().matches("\"contract-suite-").count() < 2 {
        assert!(Instant::now() < deadline, "it creates no users");
        thread::sleep(Duration::from_millis(10));
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
    let servers = single(Line::V24_10, FAST);
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
    let servers = single(Line::V24_10, FAST);
    let running = in_the_middle(&servers);
    assert_eq!(servers.post("/users/ops/command/reset-password", &json!({"newPassword": "changed"})), 200);
    let deadline = Instant::now() + DEADLINE;
    while servers.get("/ping", ("ops", "changed")).0 != 200 {
        assert!(Instant::now() < deadline, "the stand-in does not flip");
        thread::sleep(Duration::from_millis(10));
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
    let servers = single(Line::V24_10, FAST);
    let ca = servers.certs().join("ca/ca.crt");
    let ask = |server: &str, password: &str| {
        let mut command = contract();
        command.args(["--line", "24.10", "--server", server, "--ca"]).arg(&ca).arg("--resolve");
        command.arg(format!("localhost={}", servers.address().ip()));
        command.env("CONTRACT_ADMIN_PASSWORD", password).output().unwrap()
    };
    let port = servers.address().port();
    let nobody = ask("https://localhost:1", "changeit");
    assert_eq!(nobody.status.code(), Some(69), "{}", stderr(&nobody));
    // The certificate is for other names.
    let other = ask(&format!("https://{}:{port}", servers.address().ip()), "changeit");
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
