//! Where rounds are played: a cluster and an account, with a proxy between any two that talk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::aws::{Aws, Lag};
use testkit::consumer;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::moto::Moto;
use testkit::net::loopback_with;
use testkit::node::DatabaseCluster;
use testkit::proxy::{FaultProxy, Filter, Injection, TlsFiles, Upstream, When};

use crate::eye::Eye;
use crate::plan::{Calls, Strike, Then};
use crate::process::{Prey, Process};

pub(crate) const NODES: usize = 3;
/// What runs `bootstrap rotate`, beside the sidecars.
const ROTATE: usize = NODES;
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
pub(crate) const POLL: Duration = Duration::from_millis(40);
const SCALE: f64 = 0.1;
/// Less than a cluster of this scale takes to form; asking it all the while would cost more than all else.
const FORMATION: Duration = Duration::from_millis(500);
const DEFAULT: &str = "changeit";

/// A user of the deployment.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) login: &'static str,
    pub(crate) alternate: Option<&'static str>,
    pub(crate) secret: String,
    pub(crate) is_built_in: bool,
}

/// A version of a secret.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) login: String,
    pub(crate) password: String,
    pub(crate) labels: Vec<String>,
}

impl Version {
    pub(crate) fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|found| found == label)
    }
}

/// Which AWS.
pub(crate) enum Account {
    Double,
    Moto(Arc<Moto>),
}

/// Faults with what they meet, for the tally.
pub(crate) type Armed = Vec<(Strike, Injections)>;
pub(crate) type Injections = Vec<Injection>;

pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) cluster: DatabaseCluster,
    account: Account,
    /// The double; beside moto it is only the name server's.
    double: Aws,
    dns: DnsServer,
    service: String,
    pub(crate) users: Vec<User>,
    users_json: String,
    pub(crate) client_host: String,
    /// In front of AWS: one for each sidecar, and one for `bootstrap rotate`.
    aws: Vec<FaultProxy>,
    /// In front of each node, for all sidecars.
    database: Vec<FaultProxy>,
    pub(crate) sidecars: Vec<Option<Process>>,
    /// Sidecars, and servers from 100 on.
    pub(crate) prey: Prey,
    /// What a fault wants of the driver.
    pub(crate) wishes: Arc<Mutex<Vec<(usize, Then)>>>,
    run: TempDir,
    pub(crate) eye: Arc<Eye>,
    pub(crate) leader: usize,
}

/// What a running sidecar tells a Prometheus; nothing if it runs no more.
fn ask_for_metrics(sidecar: &mut Process) -> Option<String> {
    if sidecar.look().is_some() {
        return None;
    }
    let address = sidecar.log.split("metrics are at http://").nth(1)?.split("/metrics").next()?.to_owned();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn server(node: usize) -> usize {
    100 + node
}

impl Stage {
    /// An account as it is before the first task, and a cluster that has just come up.
    pub(crate) async fn set(number: usize, seed: u64, account: Account, eye: &Arc<Eye>) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_add(number as u64));
        let line = if rng.bool() { Line::V24_10 } else { Line::V22_10 };
        let double = Aws::start().await.unwrap();
        let mut cluster = DatabaseCluster::prepare(line, NODES, SCALE);
        // Every server loses the announcement of its first reset in half of the stages: the trap of observed §4.
        let loses_replies = rng.bool();
        if loses_replies {
            cluster.argument("--lose-reset-replies=1");
        }
        if line == Line::V22_10 && rng.u8(..4) == 0 {
            cluster.argument("--lose-first-poll");
        }
        cluster.start_all();
        let (mut aws, mut database) = (Vec::new(), Vec::new());
        let endpoint = match &account {
            Account::Double => double.endpoint(),
            Account::Moto(moto) => moto.endpoint().to_owned(),
        };
        for _ in 0..=NODES {
            aws.push(FaultProxy::start(Upstream::endpoint(&endpoint)).await.unwrap());
        }
        for node in 0..NODES {
            let certs = cluster.path_of(node).join("certs");
            let files = TlsFiles {
                certificate: certs.join("node.crt"),
                key: certs.join("node.key"),
                roots: certs.join("ca/ca.crt"),
                server_name: "localhost".to_owned(),
            };
            let listen = loopback_with(cluster.address(node).port()).unwrap();
            let proxy = FaultProxy::start_on(listen, Upstream::Tls(cluster.address(node), files)).await.unwrap();
            double.give_name(cluster.name(node), proxy.address().ip());
            database.push(proxy);
        }
        let dns = DnsServer::start(&double).await.unwrap();
        let name = format!("stage-{number}");
        let has_applications = number % 2 == 1;
        let users = users(&name, has_applications);
        let users_json = users_json(&users);
        // Half of the deployments come from CloudFormation, which makes the secrets of the built-in users.
        if matches!(account, Account::Double) && rng.bool() {
            for user in users.iter().filter(|user| user.is_built_in) {
                let template = json!({"username": user.login}).to_string();
                double.secrets(|secrets| secrets.generate(&user.secret, &template, "password", 40));
            }
        }
        let service = service(&account, &double, &name).await;
        eye.note("stage", &format!("{name}: {line:?}, loses replies: {loses_replies}"));
        let mut stage = Self {
            client_host: format!("{name}.db.internal"),
            name,
            cluster,
            account,
            double,
            dns,
            service,
            users,
            users_json,
            aws,
            database,
            sidecars: (0..NODES).map(|_| None).collect(),
            prey: Prey::default(),
            wishes: Arc::default(),
            run: tempfile::tempdir().unwrap(),
            eye: Arc::clone(eye),
            leader: 0,
        };
        stage.note_servers();
        stage.leader = stage.cluster.wait_until_formed().await;
        stage
    }

    fn note_servers(&self) {
        for node in 0..NODES {
            if let Some(id) = self.cluster.process_id(node) {
                self.prey.set(server(node), id);
            }
        }
    }

    /// Kills a server if it runs, and starts it again on its data.
    pub(crate) fn restart_server(&mut self, node: usize) {
        self.prey.remove(server(node));
        self.cluster.restart(node);
        self.note_servers();
    }

    /// All caches are lost.
    pub(crate) async fn restart_all_servers(&mut self) {
        for node in 0..NODES {
            self.prey.remove(server(node));
            self.cluster.kill(node);
        }
        self.cluster.start_all();
        self.note_servers();
        tokio::time::sleep(FORMATION).await;
        self.leader = self.cluster.wait_until_formed().await;
        // One may have ended with 0 and been started again on the way.
        self.note_servers();
    }

    fn command(&self, verb: &str, aws: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command.env_clear().arg(verb).envs([
            ("AWS_ENDPOINT_URL", self.aws[aws].endpoint().as_str()),
            ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("BOOTSTRAP_ADMIN_SECRET", &self.users[0].secret),
            ("BOOTSTRAP_OPS_SECRET", &self.users[1].secret),
            ("BOOTSTRAP_USERS", &self.users_json),
        ]);
        command
    }

    pub(crate) fn start_sidecar(&mut self, node: usize) {
        self.stop_sidecar(node);
        let name = self.cluster.name(node).split_once('.').unwrap().0;
        let address = self.database[node].address();
        let mut command = self.command("run", node);
        command
            .args(["--cluster-size=3", "--poll-interval=600ms", "--rotate-every=1h", "--address=127.0.0.1"])
            .args(["--node-name", name, "--server", &address.to_string(), "--dns", &self.dns.address().to_string()])
            .args(["--cloud-map-service", &self.service, "--client-host", &self.client_host])
            .args([
                "--client-port",
                &address.port().to_string(),
                "--task-arn",
                &format!("arn:task/{}/{name}", self.name),
            ])
            .arg("--certs")
            .arg(self.cluster.path_of(node).join("certs"))
            .arg("--health-file")
            .arg(self.run.path().join(name))
            .arg("--status-file")
            .arg(self.status_file(node))
            .arg("--metrics-address=127.0.0.1:0");
        let sidecar = Process::start("bootstrap run".to_owned(), &mut command, &self.eye);
        self.prey.set(node, sidecar.id());
        self.sidecars[node] = Some(sidecar);
    }

    /// Kills a sidecar if there is one. Gives its log.
    pub(crate) fn stop_sidecar(&mut self, node: usize) -> String {
        self.prey.remove(node);
        self.sidecars[node].take().map_or_else(String::new, |sidecar| sidecar.end().1)
    }

    pub(crate) fn rotate(&self, user: Option<&User>) -> Process {
        let mut command = self.command("rotate", ROTATE);
        command.args(user.map(|user| format!("--user={}", user.login)));
        let rotate = Process::start("bootstrap rotate".to_owned(), &mut command, &self.eye);
        self.prey.set(ROTATE, rotate.id());
        rotate
    }

    fn status_file(&self, node: usize) -> PathBuf {
        self.run.path().join(format!("status-{node}.json"))
    }

    /// What `bootstrap status` shows, in the tasks and outside, the file it reads, and what a Prometheus is told.
    pub(crate) fn check_status(&mut self) {
        let mut commands = vec![self.command("status", ROTATE)];
        commands[0].args(["--cloud-map-service", &self.service]);
        for node in 0..NODES {
            let file = self.status_file(node);
            if let Ok(status) = fs::read_to_string(&file) {
                self.eye.note("status file", &status);
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
            command.env_clear().arg("status").arg("--status-file").arg(&file);
            commands.push(command);
            if let Some(text) = self.sidecars[node].as_mut().and_then(ask_for_metrics) {
                self.eye.note("metrics for Prometheus", &text);
            }
        }
        for (mut command, json) in commands.into_iter().zip([false, true, false, true]) {
            let output = command.args(json.then_some("--json")).output().unwrap();
            assert!(!output.stdout.is_empty(), "{output:?}");
            for text in [output.stdout, output.stderr] {
                self.eye.note("bootstrap status", &String::from_utf8_lossy(&text));
            }
        }
    }

    /// What a task's health check shows, and the file it reads.
    pub(crate) fn check_health(&self) {
        for node in 0..NODES {
            let file = self.run.path().join(self.cluster.name(node).split_once('.').unwrap().0);
            let Ok(status) = fs::read_to_string(&file) else { continue };
            self.eye.note("health file", &status);
            let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
            command.env_clear().args(["healthcheck", "--health-file"]).arg(&file);
            let output = command.output().unwrap();
            for text in [output.stdout, output.stderr] {
                self.eye.note("bootstrap healthcheck", &String::from_utf8_lossy(&text));
            }
        }
    }

    /// Sets up the faults of a round.
    pub(crate) fn arm(&self, strikes: &[Strike], lag: Duration) -> Armed {
        let lag = if lag.is_zero() { Lag::None } else { Lag::Time(lag) };
        self.double.secrets(|secrets| secrets.set_read_lag(lag));
        strikes.iter().map(|strike| (strike.clone(), self.arm_one(strike))).collect()
    }

    fn arm_one(&self, strike: &Strike) -> Injections {
        let proxies = match strike.calls {
            Calls::Aws => std::slice::from_ref(&self.aws[self.leader]),
            Calls::AwsOfRotate => std::slice::from_ref(&self.aws[ROTATE]),
            Calls::Database | Calls::Resets => &self.database[..],
        };
        let caller = if strike.calls == Calls::AwsOfRotate { ROTATE } else { self.leader };
        // Counted over all nodes together.
        let seen = Arc::new(AtomicUsize::new(0));
        let inject = |proxy: &FaultProxy| {
            let (seen, nth, only_resets) = (Arc::clone(&seen), strike.nth, strike.calls == Calls::Resets);
            let filter = Filter::by(move |call| {
                (!only_resets || call.path.ends_with("reset-password"))
                    && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth
            });
            let (prey, wishes, leader) = (self.prey.clone(), Arc::clone(&self.wishes), self.leader);
            let then = strike.then;
            proxy.inject_with(filter, When::From(1), strike.fault.clone(), move || {
                match then {
                    Then::Nothing | Then::Resign => {}
                    Then::KillCaller => drop(prey.signal(caller, Signal::SIGKILL)),
                    Then::KillAll => prey.kill_all(..ROTATE),
                    Then::KillLeader(after) => {
                        std::thread::sleep(after);
                        prey.signal(server(leader), Signal::SIGKILL);
                    }
                    Then::TerminateLeader => drop(prey.signal(server(leader), Signal::SIGTERM)),
                }
                wishes.lock().unwrap().push((leader, then));
            })
        };
        proxies.iter().map(inject).collect()
    }

    pub(crate) fn heal(&self) {
        self.aws.iter().chain(&self.database).for_each(FaultProxy::heal);
        self.double.secrets(|secrets| secrets.set_read_lag(Lag::None));
        self.wishes.lock().unwrap().clear();
    }

    /// Makes all versions older than the sidecars let them become.
    pub(crate) fn age(&self) {
        for user in &self.users {
            // A secret that nobody has made yet does not age.
            if self.double.secrets(|secrets| secrets.current(&user.secret)).is_some() {
                self.double.secrets(|secrets| secrets.age(&user.secret, Duration::from_hours(2)));
            }
        }
    }

    /// The double lets versions become older, and lists them in the order in which they were stored.
    pub(crate) fn is_double(&self) -> bool {
        matches!(self.account, Account::Double)
    }

    /// Password resets that came through the proxies so far.
    pub(crate) fn resets(&self) -> usize {
        let calls = self.database.iter().flat_map(FaultProxy::calls);
        calls.filter(|call| call.path.ends_with("reset-password")).count()
    }

    /// All versions that hold credentials, whatever readers see; oldest first in the double.
    pub(crate) async fn versions(&self, user: &User) -> Vec<Version> {
        let found = match &self.account {
            Account::Double => {
                let versions = self.double.secrets(|secrets| secrets.versions(&user.secret));
                versions.into_iter().map(|version| (version.id, version.text, version.labels)).collect()
            }
            Account::Moto(moto) => versions_in_moto(moto, &user.secret).await,
        };
        let version = |(id, text, labels): (String, String, Vec<String>)| {
            let text: Value = serde_json::from_str(&text).ok()?;
            let login = text["username"].as_str().unwrap_or(user.login).to_owned();
            Some(Version { id, login, password: text["password"].as_str()?.to_owned(), labels })
        };
        let versions: Vec<_> = found.into_iter().filter_map(version).collect();
        for version in &versions {
            self.eye.learn(&version.login, &version.password);
        }
        versions
    }

    pub(crate) async fn current(&self, user: &User) -> Option<Version> {
        self.versions(user).await.into_iter().find(|version| version.has("AWSCURRENT"))
    }

    /// Whether a node accepts the password.
    pub(crate) async fn opens(&self, node: usize, login: &str, password: &str) -> bool {
        self.cluster.status(node, "/ping", Some((login, password))).await == Some(200)
    }

    pub(crate) async fn opens_by_default(&self, node: usize, login: &str) -> bool {
        self.opens(node, login, DEFAULT).await
    }

    /// Waits until a node accepts the password, or not any more.
    pub(crate) async fn wait_until(&self, accepts: bool, node: usize, login: &str, password: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.opens(node, login, password).await != accepts {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Sends a request of an operator to a node, past the proxy.
    pub(crate) async fn post(&self, node: usize, path: &str, login: (&str, &str), body: &Value) -> Option<u16> {
        let ca = self.cluster.ca(node);
        let answer = consumer::post(self.cluster.address(node), "localhost", &ca, path, login, body);
        let answer = tokio::time::timeout(Duration::from_secs(3), answer).await.ok()?;
        answer.ok().map(|status| status.as_u16())
    }

    /// The ids of the nodes that clients find.
    pub(crate) async fn registered(&self) -> Vec<String> {
        let mut ids: Vec<_> = match &self.account {
            Account::Double => {
                let instances = self.double.cloud_map(|cloud_map| cloud_map.instances(&self.service));
                instances.into_iter().map(|instance| instance.id).collect()
            }
            Account::Moto(moto) => {
                let found =
                    call_moto(moto, "Route53AutoNaming_v20170314.ListInstances", json!({"ServiceId": self.service}));
                let found = found.await.unwrap();
                let instances = found["Instances"].as_array().cloned().unwrap_or_default();
                instances.iter().filter_map(|instance| Some(instance["Id"].as_str()?.to_owned())).collect()
            }
        };
        ids.sort();
        ids
    }

    /// What the stand-ins have printed and noted.
    pub(crate) fn show_servers(&self) {
        for node in 0..NODES {
            self.eye.note("server log", &self.cluster.log(node));
            let journal = fs::read_to_string(self.cluster.path_of(node).join("journal.jsonl"));
            self.eye.note("server journal", &journal.unwrap_or_default());
        }
    }
}

fn users(stage: &str, has_applications: bool) -> Vec<User> {
    let user =
        |login, alternate, is_built_in| User { login, alternate, secret: format!("{stage}/{login}"), is_built_in };
    let mut users = vec![user("admin", None, true), user("ops", None, true)];
    if has_applications {
        users.extend([user("orders", None, false), user("shop", Some("shop-b"), false)]);
    }
    users
}

fn users_json(users: &[User]) -> String {
    let entry = |user: &User| {
        let mut entry = json!({"login": user.login, "secret": user.secret, "groups": ["$ops"]});
        if let Some(alternate) = user.alternate {
            entry["alternate"] = json!(alternate);
        }
        entry
    };
    Value::Array(users.iter().filter(|user| !user.is_built_in).map(entry).collect()).to_string()
}

/// The service that clients look up.
async fn service(account: &Account, double: &Aws, name: &str) -> String {
    let Account::Moto(moto) = account else {
        return double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", name));
    };
    let call = |operation, input| {
        let target = format!("Route53AutoNaming_v20170314.{operation}");
        async move { call_moto(moto, &target, input).await.unwrap() }
    };
    let namespace = format!("{name}.internal");
    call("CreatePrivateDnsNamespace", json!({"Name": namespace, "Vpc": format!("vpc-{name}")})).await;
    let namespaces = call("ListNamespaces", json!({})).await;
    let found = namespaces["Namespaces"].as_array().unwrap().iter().find(|found| found["Name"] == json!(namespace));
    let records = json!([{"Type": "A", "TTL": 10}]);
    let input = json!({"Name": "es", "NamespaceId": found.unwrap()["Id"], "DnsConfig": {"DnsRecords": records}});
    call("CreateService", input).await["Service"]["Id"].as_str().unwrap().to_owned()
}

async fn versions_in_moto(moto: &Moto, secret: &str) -> Vec<(String, String, Vec<String>)> {
    let Ok(described) = call_moto(moto, "secretsmanager.DescribeSecret", json!({"SecretId": secret})).await else {
        return Vec::new();
    };
    let stages: BTreeMap<String, Vec<String>> =
        serde_json::from_value(described["VersionIdsToStages"].clone()).unwrap_or_default();
    let mut versions = Vec::new();
    for (id, labels) in stages {
        let input = json!({"SecretId": secret, "VersionId": id});
        let value = call_moto(moto, "secretsmanager.GetSecretValue", input).await;
        let text = value.ok().and_then(|value| Some(value["SecretString"].as_str()?.to_owned()));
        versions.push((id, text.unwrap_or_default(), labels));
    }
    versions
}

async fn call_moto(moto: &Moto, target: &str, input: Value) -> Result<Value, String> {
    consumer::aws(moto.endpoint(), target, &input).await.map_err(|error| error.to_string())
}
