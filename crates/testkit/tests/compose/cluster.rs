//! A compose project, and what it shows to somebody outside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use testkit::consumer;
use tokio::time::sleep;

/// Where the double of AWS is for containers, and for the machine that they run on.
pub(crate) const AWS: &str = "http://169.254.170.2:80";
const HOST: &str = "eventstore.db.internal";
/// A poll of 5 min, a heartbeat that must have stopped for 12 s, and a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(7);

/// Everything of it goes when it is dropped.
pub(crate) struct Cluster {
    compose: PathBuf,
    pub(crate) project: String,
    files: Vec<PathBuf>,
    pub(crate) nodes: Vec<String>,
    started: Instant,
}

impl Cluster {
    pub(crate) fn new(compose: PathBuf, project: &str, files: &[&str], nodes: usize) -> Self {
        let docker = directory();
        Self {
            compose,
            project: format!("{project}-{}", std::process::id()),
            files: files.iter().map(|file| docker.join(file)).collect(),
            nodes: (1..=nodes).map(|node| format!("node-{node}")).collect(),
            started: Instant::now(),
        }
    }

    /// Says what begins, and when.
    pub(crate) fn chapter(&self, title: &str) {
        eprintln!("{:>6.1} s  {title}", self.started.elapsed().as_secs_f64());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.compose);
        command.args(["--project-name", &self.project, "--env-file"]).arg(directory().join("offline.env"));
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        // Any free ports: others may have clusters too.
        command.args(arguments).envs((1..=7).map(|node| (format!("PORT_NODE_{node}"), "0"))).stdin(Stdio::null());
        command
    }

    /// Runs a command of docker compose, which must succeed.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// The id of a service's container.
    pub(crate) fn id(&self, service: &str) -> String {
        let id = self.compose(&["ps", "--quiet", service]).trim().to_owned();
        assert!(!id.is_empty() && !id.contains('\n'), "one container of {service}: `{id}`");
        id
    }

    /// All services with the ids of their containers and when these were started.
    pub(crate) fn running(&self) -> BTreeMap<String, (String, String)> {
        let services = self.compose(&["config", "--services"]);
        let state = |service: &str| {
            let id = self.id(service);
            let started = inspect(&id, "{{.State.StartedAt}}");
            (service.to_owned(), (id, started))
        };
        services.lines().map(state).collect()
    }

    /// The first process of a service's container, as this machine knows it.
    pub(crate) fn process(&self, service: &str) -> i32 {
        inspect(&self.id(service), "{{.State.Pid}}").parse().expect("a running container has a process")
    }

    /// What a service has said so far.
    pub(crate) fn logs(&self, service: &str) -> String {
        let mut docker = Command::new("docker");
        let output = docker.args(["logs", &self.id(service)]).output().expect("docker runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Waits until `good` says nothing is missing.
    pub(crate) async fn until<F: Future<Output = Result<(), String>>>(&self, what: &str, mut good: impl FnMut() -> F) {
        let begun = Instant::now();
        loop {
            match good().await {
                Ok(()) => return,
                Err(missing) if begun.elapsed() > PATIENCE => {
                    let services = self.command(&["ps"]).output().expect("compose runs");
                    let logs = self.command(&["logs", "--tail=20"]).output().expect("compose runs");
                    panic!("{what}: {missing}\n{}\n{}", text(&services), text(&logs));
                }
                Err(_) => sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// Waits until the cluster is what it promises to be: all nodes registered, each with the password of the secret and without the
    /// default one, and every task healthy.
    pub(crate) async fn until_in_order(&self) {
        self.until("the cluster is not in order", || self.in_order()).await;
    }

    pub(crate) async fn in_order(&self) -> Result<(), String> {
        let addresses = registered().await?;
        if addresses.len() != self.nodes.len() {
            return Err(format!("{} nodes are registered", addresses.len()));
        }
        for address in addresses {
            node_in_order(address).await?;
        }
        for node in &self.nodes {
            let health = inspect(&self.id(&format!("{node}-bootstrap")), "{{.State.Health.Status}}");
            if health != "healthy" {
                return Err(format!("the task of {node} is {health}"));
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever happened; the test itself looks whether anything is left.
        let _ = self.command(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]).output();
    }
}

/// `docker/` of the checkout.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker"))
}

/// The addresses that clients are given.
pub(crate) async fn registered() -> Result<Vec<SocketAddr>, String> {
    consumer::discover(AWS, "db.internal", "eventstore").await.map_err(|error| error.to_string())
}

pub(crate) async fn secret(name: &str) -> Result<Value, String> {
    consumer::read_secret(AWS, name).await.map_err(|error| error.to_string())
}

/// A member of a secret that is a text.
pub(crate) fn member<'a>(secret: &'a Value, key: &str) -> Result<&'a str, String> {
    secret[key].as_str().ok_or_else(|| format!("the secret has no {key} yet"))
}

/// What a node answers to a login.
pub(crate) async fn login(address: SocketAddr, ca: &str, user: &str, password: &str) -> Result<StatusCode, String> {
    let answer = consumer::get(address, HOST, ca, "/users/$current", Some((user, password))).await;
    answer.map(|(status, _)| status).map_err(|error| error.to_string())
}

async fn node_in_order(address: SocketAddr) -> Result<(), String> {
    for name in ["admin", "ops", "orders"] {
        let secret = secret(&format!("eventstore/{name}")).await?;
        let ca = member(&secret, "caCertificate")?;
        let (user, password) = (member(&secret, "username")?, member(&secret, "password")?);
        let with_the_secret = login(address, ca, user, password).await?;
        let with_the_default = login(address, ca, user, "changeit").await?;
        if (with_the_secret, with_the_default) != (StatusCode::OK, StatusCode::UNAUTHORIZED) {
            return Err(format!("{address} answers {user} {with_the_secret} and changeit {with_the_default}"));
        }
    }
    Ok(())
}

/// The node whose own `/gossip` entry says that it leads.
pub(crate) async fn leader() -> Result<SocketAddr, String> {
    let ca = secret("eventstore/admin").await?;
    for address in registered().await? {
        let answer = consumer::get(address, HOST, member(&ca, "caCertificate")?, "/info", None).await;
        let (_, body) = answer.map_err(|error| error.to_string())?;
        let info: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        if info["state"] == "leader" {
            return Ok(address);
        }
    }
    Err("nobody leads".to_owned())
}

/// One value of what Docker knows of a container.
pub(crate) fn inspect(container: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, container]).trim().to_owned()
}

/// Runs a command of docker, which must succeed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    succeed(Command::new("docker").args(arguments))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("docker is there");
    assert!(output.status.success(), "{command:?} ended with {}\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
