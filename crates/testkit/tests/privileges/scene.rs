//! A deployment that goes through all that its programs do, and what AWS was asked for meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use infra::{Assembly, Config, ContainerName, Deployment, Node};
use serde_json::Value;
use testkit::aws::{ACCOUNT, Asked, Aws, REGION, service_arn};
use testkit::cluster::{Cluster, Ground};
use testkit::net::own_loopback;
use testkit::programs::Programs;
use testkit::task::{Event, What};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::policy::{Statement, statements};

/// For each step; a machine may be slow.
const DEADLINE: Duration = Duration::from_mins(4);
const LOOK: Duration = Duration::from_millis(50);
const KEPT_LINES: usize = 2000;
/// Who signs the calls of a read-only replica.
const REPLICA: &str = "replica";
/// The name of the harness's ECS cluster.
const CLUSTER: &str = "testkit";

/// Who asked for what: `certgen`, `bootstrap`, `agent`, or the command of an operator.
pub(crate) type Record = BTreeSet<(String, Asked)>;

/// What a scene has shown.
pub(crate) struct Shown {
    /// What containers asked for.
    pub(crate) tasks: Record,
    /// What commands of operators asked for.
    pub(crate) operators: Record,
    /// The task roles of all nodes.
    pub(crate) task_roles: Vec<Vec<Statement>>,
    /// The execution roles of all nodes.
    pub(crate) execution_roles: Vec<Vec<Statement>>,
}

pub(crate) struct Scene<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) aws: &'a Aws,
    pub(crate) cluster: Cluster<'a>,
    events: UnboundedReceiver<Event>,
    lines: VecDeque<String>,
    /// What agents asked ECS for in tasks that have ended.
    protected: Record,
}

/// The deployment of a configuration, on a port of its own.
pub(crate) fn deployment(text: &str) -> Deployment {
    Deployment::new(Config::parse(text).unwrap().with_port(own_loopback().unwrap().port()))
}

fn environment(root: &Path, aws: &Aws) -> Vec<(String, String)> {
    let pairs = [
        ("BOOTSTRAP_POLL_INTERVAL", "1s".to_owned()),
        ("BOOTSTRAP_REGISTRATION_INTERVAL", "1s".to_owned()),
        ("BOOTSTRAP_TIME_SCALE", "0.05".to_owned()),
        ("BOOTSTRAP_SCAVENGE_WINDOW", "12h".to_owned()),
        ("GUARD_HEARTBEAT_INTERVAL", "500ms".to_owned()),
        ("GUARD_HEARTBEAT_TIMEOUT", "10s".to_owned()),
        ("GUARD_TAKEOVER_AFTER", "11s".to_owned()),
        ("STANDIN_TIME_SCALE", "0.1".to_owned()),
        ("STANDIN_TMP", root.join("tmp").to_string_lossy().into_owned()),
        ("AWS_ENDPOINT_URL", aws.endpoint()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true".to_owned()),
        ("CERTGEN_ALLOW_HTTP_ENDPOINT", "true".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

impl<'a> Scene<'a> {
    /// What the stacks make, and no task yet. Every container signs its calls with its own name, those of read-only replicas with
    /// [`REPLICA`].
    pub(crate) async fn set(
        deployment: &'a Deployment,
        aws: &'a Aws,
        programs: &'a Programs,
        root: &'a Path,
        scavenge_at: Option<&str>,
    ) -> Self {
        let (events, received) = unbounded_channel();
        let names = [ContainerName::Certgen, ContainerName::Guard, ContainerName::EventStore, ContainerName::Bootstrap];
        let key = |name: ContainerName| (name, "AWS_ACCESS_KEY_ID".to_owned(), name.as_str().to_owned());
        let replicas: Vec<_> = deployment.members().filter(|node| node.is_read_only_replica()).collect();
        let mut environment_of: Vec<_> = if replicas.is_empty() { names.map(key).into() } else { Vec::new() };
        // bootstrap wants the model's validity, so that what the init container issued is due at once.
        environment_of.push((ContainerName::Certgen, "CERTGEN_VALIDITY".to_owned(), "1h".to_owned()));
        let mut environment = environment(root, aws);
        if let Some(time) = scavenge_at {
            environment.push(("BOOTSTRAP_SCAVENGE_AT".to_owned(), time.to_owned()));
        }
        let ground = Ground { deployment, aws, programs, root, environment, environment_of, events };
        let mut cluster = Cluster::deploy(ground).await.unwrap();
        if !replicas.is_empty() {
            // Beside replicas nobody asks which container of another node it was.
            for node in deployment.members() {
                let name = if node.is_read_only_replica() { REPLICA } else { ContainerName::Bootstrap.as_str() };
                cluster.set(node.name(), "AWS_ACCESS_KEY_ID", name);
            }
        }
        Self { deployment, aws, cluster, events: received, lines: VecDeque::new(), protected: Record::new() }
    }

    /// Starts tasks of all nodes and waits until clients find them, with all that is stored in order.
    pub(crate) async fn start_all(&mut self) {
        for node in self.cluster.names() {
            self.start(node).await;
        }
        self.settle().await;
    }

    pub(crate) async fn start(&mut self, node: &str) {
        if let Err(error) = self.cluster.start(node).await {
            self.fail(&format!("{node}: {error}"));
        }
    }

    /// Waits until all is in order.
    pub(crate) async fn settle(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while let Some(finding) = self.finding() {
            self.go_on(deadline, &finding).await;
        }
    }

    /// The first thing that is not as it is to be.
    fn finding(&self) -> Option<String> {
        let voters: Vec<_> = self.deployment.nodes().iter().map(Node::name).collect();
        let expected: Vec<_> = voters.into_iter().filter(|node| self.cluster.has_task(node)).collect();
        let found = self.registered();
        if found != expected {
            return Some(format!("registered are {found:?} instead of {expected:?}"));
        }
        for login in self.deployment.logins() {
            let versions = self.aws.secrets(|secrets| secrets.versions(&self.deployment.secret_name(login)));
            let has = |label: &str| versions.iter().any(|version| version.labels.iter().any(|found| found == label));
            if has("AWSPENDING") || !has("AWSCURRENT") {
                return Some(format!("{login} is on its way"));
            }
        }
        let name = self.deployment.ca_secret_name()?;
        let document: Value = serde_json::from_str(&self.current(&name)).unwrap_or_default();
        (document["phase"] != "steady").then(|| format!("the authority is in {}", document["phase"]))
    }

    /// The nodes that clients find.
    pub(crate) fn registered(&self) -> Vec<String> {
        let service = self.cluster.deployed().client_service();
        let entries = self.aws.cloud_map(|cloud_map| cloud_map.instances(service));
        entries.into_iter().map(|entry| entry.id).collect()
    }

    pub(crate) fn current(&self, secret: &str) -> String {
        self.aws.secrets(|secrets| secrets.current(secret)).unwrap_or_default()
    }

    /// The password in a secret.
    pub(crate) fn password(&self, secret: &str) -> Value {
        let text: Value = serde_json::from_str(&self.current(secret)).unwrap_or_default();
        text["password"].clone()
    }

    /// Waits until something holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            self.go_on(deadline, what).await;
        }
    }

    /// Waits until a container has printed a text.
    pub(crate) async fn until_printed(&mut self, text: &str) {
        self.until(text, |scene| scene.lines.iter().any(|line| line.contains(text))).await;
    }

    async fn go_on(&mut self, deadline: Instant, missing: &str) {
        if let Err(error) = self.cluster.check_essential() {
            self.fail(&error.to_string());
        }
        if Instant::now() >= deadline {
            self.fail(&format!("after {} s: {missing}", DEADLINE.as_secs()));
        }
        self.listen();
        sleep(LOOK).await;
    }

    fn listen(&mut self) {
        while let Ok(Event { node, container, what }) = self.events.try_recv() {
            let line = match what {
                What::Line(line) => line,
                other => format!("{other:?}"),
            };
            if self.lines.len() == KEPT_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{node} {}: {line}", container.as_str()));
        }
    }

    fn fail(&mut self, finding: &str) -> ! {
        self.listen();
        let lines: Vec<_> = self.lines.iter().map(String::as_str).collect();
        panic!("{finding}\n{}", lines.join("\n"));
    }

    /// Stops a node's task in order.
    pub(crate) async fn stop(&mut self, node: &str) {
        self.note_protection(node);
        for container in [ContainerName::Bootstrap, ContainerName::EventStore] {
            if let Err(error) = self.cluster.stop(node, container).await {
                self.fail(&format!("{node}: {error}"));
            }
        }
    }

    /// Takes a node's task away without notice.
    pub(crate) async fn lose(&mut self, node: &str) {
        self.note_protection(node);
        self.cluster.kill(node).await.unwrap();
    }

    /// What the first read-only replica asked for so far, and what its role lets it do.
    pub(crate) fn replica(&self) -> (Vec<Asked>, Vec<Statement>) {
        let calls = self.aws.calls().into_iter().filter(|call| call.access_key.as_deref() == Some(REPLICA));
        let template = template(self.deployment);
        let role = statements(&template["Resources"]["Replica1TaskRole"], &|name| self.value(name));
        (calls.map(|call| call.asked).collect(), role)
    }

    /// Whether an operation was called so far by a container.
    pub(crate) fn was_asked(&self, operation: &str) -> bool {
        let is =
            |call: &testkit::aws::Call| call.operation == operation && call.access_key.as_deref() == Some("bootstrap");
        self.aws.calls().iter().any(is)
    }

    /// Whether the task of a node was protected or released so far.
    pub(crate) fn protection_was_asked_for(&self, node: &str) -> bool {
        !self.cluster.task(node).endpoints().protection_history().is_empty()
    }

    /// The agent passes on what its endpoint is asked, with the role and the ARN of the task.
    fn note_protection(&mut self, node: &str) {
        if !self.protection_was_asked_for(node) {
            return;
        }
        let resource = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{CLUSTER}/0123456789abcdef0123456789abcdef");
        let action = "ecs:UpdateTaskProtection".to_owned();
        self.protected.insert(("agent".to_owned(), Asked { action, resource, context: Vec::new() }));
    }

    /// Runs a command as an operator does, with credentials of their own; again if something else is under way.
    pub(crate) async fn operate(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut command = Command::new(program);
            command.args(arguments).env_clear().kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::piped());
            command.envs([("AWS_REGION", REGION), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_ACCESS_KEY_ID", name)]);
            command.env("AWS_ENDPOINT_URL", self.aws.endpoint());
            command.env("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true").env("CERTGEN_ALLOW_HTTP_ENDPOINT", "true");
            let output =
                timeout(DEADLINE, command.output()).await.expect("a command ends by its own deadlines").unwrap();
            if output.status.success() {
                return;
            }
            self.go_on(deadline, &format!("{name}: {}", String::from_utf8_lossy(&output.stderr))).await;
        }
    }

    /// Stops what still runs, and tells what was asked for.
    pub(crate) async fn end(mut self) -> Shown {
        for node in self.cluster.names() {
            if self.cluster.has_task(node) {
                self.stop(node).await;
            }
        }
        let containers =
            [ContainerName::Certgen, ContainerName::Guard, ContainerName::EventStore, ContainerName::Bootstrap];
        let (mut tasks, mut operators) = (self.protected.clone(), Record::new());
        for call in self.aws.calls() {
            let caller = call.access_key.expect("every call is signed");
            let is_container = containers.iter().any(|container| container.as_str() == caller);
            if is_container { &mut tasks } else { &mut operators }.insert((caller, call.asked));
        }
        let template = template(self.deployment);
        let roles = |kind: &str| {
            let nodes = (1..=self.deployment.nodes().len()).map(|number| format!("Node{number}{kind}"));
            nodes.map(|id| statements(&template["Resources"][id], &|name| self.value(name))).collect()
        };
        Shown { tasks, operators, task_roles: roles("TaskRole"), execution_roles: roles("ExecutionRole") }
    }

    /// What a reference of the second stack stands for here.
    fn value(&self, name: &str) -> String {
        let deployed = self.cluster.deployed();
        let known = match name {
            "AWS::Partition" => "aws",
            "AWS::Region" => REGION,
            "AWS::AccountId" => ACCOUNT,
            "AWS::URLSuffix" => "amazonaws.com",
            "Cluster" => CLUSTER,
            "ClientService.Arn" => return service_arn(deployed.client_service()),
            _ => "",
        };
        if !known.is_empty() {
            return known.to_owned();
        }
        let deployment = self.deployment.name();
        for login in self.deployment.logins() {
            if self.deployment.secret(login).is_some_and(|export| export.name(deployment) == name) {
                return deployed.secret_arn(login).to_owned();
            }
        }
        if infra::Export::CaSecretArn.name(deployment) == name {
            return deployed.ca_secret_arn().expect("what is imported is there").to_owned();
        }
        // Of no service that the double plays: it is the same wherever it stands.
        format!("<{name}>")
    }
}

/// The second stack as it is deployed.
pub(crate) fn template(deployment: &Deployment) -> Value {
    let assembly = Assembly::new(deployment).unwrap();
    let (_, text) = assembly.files().find(|(name, _)| name.ends_with("-EventStore.template.json")).unwrap();
    serde_json::from_str(text).unwrap()
}
