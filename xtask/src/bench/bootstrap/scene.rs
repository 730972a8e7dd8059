//! A cluster and an account as a first task finds them, and a program beside each node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::aws::Aws;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::node::DatabaseCluster;
use testkit::programs::Programs;

use crate::Failure;

const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(2);
pub(super) const USERS: [&str; 2] = ["admin", "ops"];
const HOST: &str = "es.db.internal";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Bootstrap,
    Script,
}

/// Where both are.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    pub(super) programs: Programs,
    pub(super) bootstrap: PathBuf,
    pub(super) python: PathBuf,
    pub(super) script: PathBuf,
}

/// A running program. Killed when dropped.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct Scene {
    subjects: Subjects,
    pub(super) cluster: DatabaseCluster,
    pub(super) aws: Aws,
    dns: DnsServer,
    service: String,
    run: TempDir,
}

/// How a program reaches what it works with.
pub(super) struct Way<'a> {
    pub(super) node: usize,
    /// Where AWS and the node's server are: themselves, or a proxy.
    pub(super) aws: &'a str,
    pub(super) server: &'a str,
}

impl Scene {
    /// Starts the servers; they are not ready yet.
    pub(super) async fn start(
        subjects: &Subjects,
        nodes: usize,
        scale: f64,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let aws = Aws::start().await.map_err(Failure::io("start the AWS double"))?;
        let mut cluster = DatabaseCluster::prepare_with(subjects.programs.clone(), Line::V24_10, nodes, scale);
        for argument in arguments {
            cluster.argument(argument);
        }
        for node in 0..nodes {
            let (name, namespace) = cluster.name(node).split_once('.').unwrap_or_default();
            let address = cluster.address(node).ip().to_string();
            aws.cloud_map(|cloud_map| {
                let service = cloud_map.create_service(namespace, name);
                cloud_map.register(&service, name, &[("AWS_INSTANCE_IPV4", &address)]);
            });
        }
        for user in USERS {
            let template = json!({"username": user}).to_string();
            aws.secrets(|secrets| secrets.generate(&secret(user), &template, "password", 40));
        }
        let service = aws.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
        let dns = DnsServer::start(&aws).await.map_err(Failure::io("start the name server"))?;
        cluster.start_all();
        let run = tempfile::tempdir().map_err(Failure::io("create a directory"))?;
        Ok(Self { subjects: subjects.clone(), cluster, aws, dns, service, run })
    }

    /// The program with the settings that both understand, and its verb.
    fn command(&self, subject: Subject, verb: &str, way: &Way<'_>) -> Command {
        let node = way.node;
        let name = self.cluster.name(node).split('.').next().unwrap_or_default();
        let mut command = match subject {
            Subject::Bootstrap => Command::new(&self.subjects.bootstrap),
            Subject::Script => {
                let mut command = Command::new(&self.subjects.python);
                command.arg(&self.subjects.script);
                command
            }
        };
        command
            .arg(verb)
            .env_clear()
            .envs([
                ("AWS_ENDPOINT_URL", way.aws),
                ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_DEFAULT_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("BOOTSTRAP_NODE_NAME", name),
                ("BOOTSTRAP_SERVER", way.server),
                ("BOOTSTRAP_CLUSTER_SIZE", &self.cluster.size().to_string()),
                ("BOOTSTRAP_DNS", &self.dns.address().to_string()),
                ("BOOTSTRAP_ADMIN_SECRET", &secret("admin")),
                ("BOOTSTRAP_OPS_SECRET", &secret("ops")),
                ("BOOTSTRAP_CLOUD_MAP_SERVICE", &self.service),
                ("BOOTSTRAP_CLIENT_HOST", HOST),
                ("BOOTSTRAP_CLIENT_PORT", "2113"),
                ("BOOTSTRAP_ADDRESS", "127.0.0.1"),
                ("BOOTSTRAP_TASK_ARN", "arn:aws:ecs:eu-west-1:123456789012:task/bench/1"),
            ])
            .env("BOOTSTRAP_CERTS", self.certs(node))
            .env("BOOTSTRAP_HEALTH_FILE", self.run.path().join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(super) fn launch(&self, subject: Subject, verb: &str, way: &Way<'_>) -> Result<Running, Failure> {
        let child = self.command(subject, verb, way).spawn();
        child.map(Running).map_err(Failure::io("start a program to measure"))
    }

    pub(super) fn certs(&self, node: usize) -> PathBuf {
        self.cluster.path_of(node).join("certs")
    }

    pub(super) fn registered(&self) -> usize {
        self.aws.cloud_map(|cloud_map| cloud_map.instances(&self.service)).len()
    }

    /// Waits until all nodes are registered.
    pub(super) async fn wait_until_registered(&self, programs: &mut [Running]) -> Result<(), Failure> {
        let deadline = Instant::now() + DEADLINE;
        while self.registered() < self.cluster.size() {
            for program in &mut *programs {
                if let Ok(Some(status)) = program.0.try_wait() {
                    return Err(Failure::new(format!("a program to measure ended with {status}")));
                }
            }
            if Instant::now() >= deadline {
                return Err(Failure::new("a program to measure has not registered its node within a minute"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Requests to all servers so far.
    pub(super) fn requests(&self) -> usize {
        let journal = |node| fs::read_to_string(self.cluster.path_of(node).join("journal.jsonl")).unwrap_or_default();
        (0..self.cluster.size()).map(|node| journal(node).lines().count()).sum()
    }

    /// The password that consumers find.
    pub(super) fn stored(&self, user: &str) -> Option<String> {
        let text = self.aws.secrets(|secrets| secrets.current(&secret(user)))?;
        let value: Value = serde_json::from_str(&text).ok()?;
        Some(value["password"].as_str()?.to_owned())
    }

    /// A secret as either program leaves it.
    pub(super) fn publish(&self, user: &str, password: &str) {
        let text = json!({
            "engine": "eventstoredb", "host": HOST, "port": 2113, "username": user, "password": password,
            "connectionString": format!("esdb://{user}:{password}@{HOST}:2113?tls=true"),
            "caCertificate": self.cluster.ca(0),
        });
        self.aws.secrets(|secrets| secrets.put(&secret(user), &text.to_string()));
    }
}

fn secret(user: &str) -> String {
    format!("es/{user}")
}

/// Resident memory of a process and the anonymous part of it, in KiB.
pub(super) fn memory(id: u32) -> Result<(u64, u64), Failure> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(Path::new(&path)).map_err(Failure::io("look at a program's memory"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    field("VmRSS:").zip(field("RssAnon:")).ok_or_else(|| Failure::new(format!("`{path}` does not name the memory")))
}
