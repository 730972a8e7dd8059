//! A sidecar as a process, for the tests beside this directory.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]
#![allow(dead_code, reason = "not every test uses everything")]

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::aws::Aws;
use testkit::node::DatabaseNode;

pub(crate) const HOST: &str = "es.db.internal";
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const TASK: &str = "arn:aws:ecs:eu-west-1:123456789012:task/testkit/0001";

/// A running sidecar. Killed when dropped.
pub(crate) struct Sidecar {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) log: String,
    /// What it prints on stdout: metrics.
    pub(crate) metrics: Receiver<String>,
    pub(crate) run: TempDir,
}

pub(crate) struct Settings<'a> {
    pub(crate) node: &'a DatabaseNode,
    pub(crate) endpoint: &'a str,
    pub(crate) service: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

/// The node that a sidecar stands beside.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) server: SocketAddr,
    pub(crate) certs: &'a Path,
}

impl Sidecar {
    pub(crate) fn start(settings: &Settings<'_>) -> Self {
        let &Settings { node, endpoint, service, arguments } = settings;
        Self::start_beside(
            &Place { name: "node-1", server: node.address(), certs: &node.certs() },
            endpoint,
            service,
            arguments,
        )
    }

    pub(crate) fn start_beside(place: &Place<'_>, endpoint: &str, service: &str, arguments: &[&str]) -> Self {
        Self::start_with(place, endpoint, service, arguments, &[])
    }

    /// The same with further variables. One that is empty is not set at all.
    pub(crate) fn start_with(
        place: &Place<'_>,
        endpoint: &str,
        service: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let run = tempfile::tempdir().unwrap();
        let port = place.server.port().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command
            .env_clear()
            .arg("run")
            .args(arguments)
            .envs([
                ("AWS_ENDPOINT_URL", endpoint),
                ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("BOOTSTRAP_NODE_NAME", place.name),
                ("BOOTSTRAP_SERVER", &place.server.to_string()),
                ("BOOTSTRAP_ADMIN_SECRET", "es/admin"),
                ("BOOTSTRAP_OPS_SECRET", "es/ops"),
                ("BOOTSTRAP_CLOUD_MAP_SERVICE", service),
                ("BOOTSTRAP_CLIENT_HOST", HOST),
                ("BOOTSTRAP_CLIENT_PORT", &port),
                ("BOOTSTRAP_ADDRESS", "127.0.0.1"),
                ("BOOTSTRAP_TASK_ARN", TASK),
            ])
            .env("BOOTSTRAP_CERTS", place.certs)
            .env("BOOTSTRAP_HEALTH_FILE", run.path().join("health.json"))
            .env("BOOTSTRAP_STATUS_FILE", run.path().join("status.json"))
            .env("BOOTSTRAP_GUARD_STATUS_FILE", run.path().join("guard.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in variables {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let mut child = command.spawn().unwrap();
        let (lines, metrics) = (follow(child.stderr.take().unwrap()), follow(child.stdout.take().unwrap()));
        Self { child, lines, log: String::new(), metrics, run }
    }

    /// Reads the log until a line contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_for_any(&[text]);
    }

    /// Reads the log until a line contains one of the texts, and gives that.
    pub(crate) fn wait_for_any<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {texts:?} in:\n{}", self.log) };
            self.log += &(line + "\n");
            let last = self.log.lines().last().unwrap();
            if let Some(text) = texts.iter().find(|text| last.contains(**text)) {
                return text;
            }
        }
    }

    /// Reads the log until a line contains `text` (false), or the process has been killed (true).
    pub(crate) fn was_killed_before(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return false,
                Ok(line) => self.log += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => {
                    assert_eq!(self.child.wait().unwrap().signal(), Some(9), "{}", self.log);
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => panic!("neither killed nor `{text}`:\n{}", self.log),
            }
        }
    }

    /// Waits for the end. Gives the exit code; the log is complete then.
    pub(crate) fn wait_for_end(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end:\n{}", self.log);
            thread::sleep(Duration::from_millis(10));
        };
        self.log.extend(self.lines.iter().map(|line| line + "\n"));
        status.code().unwrap()
    }

    pub(crate) fn terminate(&mut self) -> i32 {
        let id = self.child.id().to_string();
        assert!(Command::new("/bin/kill").args(["-TERM", &id]).status().unwrap().success());
        self.wait_for_end()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn healthcheck(&self) -> i32 {
        let file = self.run.path().join("health.json");
        let mut check = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        check.env_clear().arg("healthcheck").arg("--health-file").arg(file).stderr(Stdio::null());
        check.status().unwrap().code().unwrap()
    }

    /// It tells an error with its remedy in one line, and goes on.
    #[track_caller]
    pub(crate) fn assert_told(&mut self, error: &str, hint: &str) {
        self.wait_for(error);
        // While it waits it says so in lines of their own.
        while !self.log.lines().last().unwrap().contains("ERROR") {
            self.wait_for(error);
        }
        let said = self.log.lines().last().unwrap();
        assert!(said.contains(hint), "{said}");
        assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.log);
    }
}

/// What comes out of a pipe, line by line. It is read to its end whether anybody wants it or not.
fn follow(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (line, lines) = channel();
    thread::spawn(move || {
        for text in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    lines
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What CloudFormation has made when the first task starts. Gives the id of the service.
pub(crate) fn deploy(aws: &Aws) -> String {
    generate_secrets(aws);
    aws.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"))
}

pub(crate) fn generate_secrets(aws: &Aws) {
    for user in ["admin", "ops"] {
        let template = format!("{{\"username\":\"{user}\"}}");
        aws.secrets(|secrets| secrets.generate(&format!("es/{user}"), &template, "password", 40));
    }
}

pub(crate) fn password(aws: &Aws, user: &str) -> String {
    let text = aws.secrets(|secrets| secrets.current(&format!("es/{user}"))).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["password"].as_str().unwrap().to_owned()
}

/// A database and an AWS as a first task finds them, in which sidecars are started.
pub(crate) struct Scene {
    pub(crate) node: DatabaseNode,
    pub(crate) aws: Aws,
    pub(crate) endpoint: String,
    pub(crate) service: String,
}

impl Scene {
    pub(crate) async fn with(node: DatabaseNode) -> Self {
        let aws = Aws::start().await.unwrap();
        let service = deploy(&aws);
        Self { node, endpoint: aws.endpoint(), aws, service }
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Sidecar {
        Sidecar::start(&Settings { node: &self.node, endpoint: &self.endpoint, service: &self.service, arguments })
    }
}

/// The calls whose rounds run at the same time; they mostly wait.
const AT_ONCE: usize = 6;

/// Plays rounds at one call to AWS after the other, until a batch of them is over before it comes to its calls. `rounds_at`
/// gives those of a call, each of which tells whether it came so far; `least` have to.
pub(crate) async fn at_every_call<R: Future<Output = bool> + Send + 'static>(
    most_calls: usize,
    least: usize,
    rounds_at: impl Fn(usize) -> Vec<R>,
) {
    let mut rounds = 0;
    for first in (1..=most_calls).step_by(AT_ONCE) {
        let batch: Vec<_> = (first..first + AT_ONCE).flat_map(&rounds_at).map(tokio::spawn).collect();
        let mut met = 0;
        for round in batch {
            met += usize::from(round.await.unwrap());
        }
        rounds += met;
        if met == 0 {
            assert!(rounds > least, "the loop ended after {rounds} rounds: does it still do anything?");
            return;
        }
    }
    panic!("after {most_calls} calls there was no end in sight");
}
