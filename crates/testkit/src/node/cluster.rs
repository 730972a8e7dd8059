//! Several stand-ins that find each other by name: each on a loopback address of its own, all on one port, with
//! certificates of one authority.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use certgen::{Authority, DnsName, Names, RsaBits, Validity, issue_authority, issue_node};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::options_of;
use crate::consumer;
use crate::database::Line;
use crate::net::own_loopback;
use crate::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(15);

/// A cluster of stand-ins. What still runs when it is dropped is killed.
#[derive(Debug)]
pub struct DatabaseCluster {
    programs: Programs,
    root: TempDir,
    time_scale: f64,
    arguments: Vec<String>,
    options: Vec<(String, String)>,
    authority: Box<Authority>,
    nodes: Vec<Slot>,
}

/// A member, and its process if one runs.
#[derive(Debug)]
struct Slot {
    name: String,
    line: Line,
    address: SocketAddr,
    child: Option<Child>,
    has_vote: bool,
    /// How often it ended by itself with code 0 and was started again.
    ended: usize,
}

impl DatabaseCluster {
    /// Issues certificates and starts all members.
    pub fn start(line: Line, size: usize, time_scale: f64) -> Self {
        let mut cluster = Self::prepare(line, size, time_scale);
        cluster.start_all();
        cluster
    }

    /// Members `node-1.test` and so on, which get their certificates when they are started; none is yet.
    ///
    /// # Panics
    ///
    /// If a file cannot be written or a certificate cannot be made.
    pub fn prepare(line: Line, size: usize, time_scale: f64) -> Self {
        Self::prepare_with(Programs::beside_this_test(), line, size, time_scale)
    }

    /// The same with programs from elsewhere.
    ///
    /// # Panics
    ///
    /// If a file cannot be written or a certificate cannot be made.
    pub fn prepare_with(programs: Programs, line: Line, size: usize, time_scale: f64) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let first = own_loopback().expect("a free port");
        let mut cluster = Self {
            programs,
            root,
            time_scale,
            arguments: Vec::new(),
            options: Vec::new(),
            authority: Box::new(issue_authority(days("2d"), OffsetDateTime::now_utc()).expect("an authority is made")),
            nodes: Vec::new(),
        };
        for number in 1..=size {
            let address = if number == 1 { first } else { on_port(first.port()) };
            let name = format!("node-{number}.test");
            cluster.nodes.push(Slot { name, line, address, child: None, has_vote: true, ended: 0 });
        }
        cluster.write_hosts();
        cluster
    }

    /// A further member, `replica-1.test` and so on, that has no vote; it is to be started. Gives its number.
    pub fn add_read_only_replica(&mut self) -> usize {
        let number = self.nodes.iter().filter(|slot| !slot.has_vote).count() + 1;
        let (line, address) = (self.nodes[0].line, on_port(self.nodes[0].address.port()));
        let name = format!("replica-{number}.test");
        self.nodes.push(Slot { name, line, address, child: None, has_vote: false, ended: 0 });
        self.write_hosts();
        self.nodes.len() - 1
    }

    /// Gives a member a certificate of the cluster's authority, if it has none yet.
    fn issue_certificate(&self, node: usize) {
        if self.path_of(node).join("certs").exists() {
            return;
        }
        let name = self.name(node).parse::<DnsName>().expect("a DNS name");
        let names = Names::with_loopback([name], []);
        let issued = issue_node(&self.authority, &names, days("1d"), RsaBits::B2048, OffsetDateTime::now_utc());
        let issued = issued.expect("a certificate is made");
        self.give_files(node, &issued.certificate, &issued.key, self.authority.certificate());
    }

    /// Writes a member's certificate, key and root; it reads them when it starts or reloads.
    ///
    /// # Panics
    ///
    /// If they cannot be written.
    pub fn give_files(&self, node: usize, certificate: &str, key: &str, root: &str) {
        let certs = self.path_of(node).join("certs");
        fs::create_dir_all(certs.join("ca")).expect("create a directory");
        for (name, text) in [("node.crt", certificate), ("node.key", key), ("ca/ca.crt", root)] {
            fs::write(certs.join(name), text).expect("write a certificate");
        }
    }

    /// Gives all members that are started from now on an argument of the stand-in.
    pub fn argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Gives all members that are started from now on an option of the server, with its whole name.
    pub fn option(&mut self, name: &str, value: &str) {
        self.options.push((name.to_owned(), value.to_owned()));
    }

    /// The process id of a member, if it runs.
    pub fn process_id(&self, node: usize) -> Option<u32> {
        self.nodes[node].child.as_ref().map(Child::id)
    }

    /// How many members there are, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The name under which a member is known.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Where a member listens.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    /// A member's own directory, with `certs`, `data`, `journal.jsonl` and `log`.
    pub fn path_of(&self, node: usize) -> PathBuf {
        self.root.path().join(&self.nodes[node].name)
    }

    /// A file with an address and a name on each line, for whoever has to know where the members are.
    pub fn hosts_file(&self) -> PathBuf {
        self.root.path().join("hosts")
    }

    /// The trusted roots of a member, PEM; nothing before its first start.
    pub fn ca(&self, node: usize) -> String {
        let roots = fs::read_dir(self.path_of(node).join("certs/ca")).into_iter().flatten().flatten();
        roots.filter_map(|root| fs::read_to_string(root.path()).ok()).collect()
    }

    /// What a member has printed so far.
    pub fn log(&self, node: usize) -> String {
        let mut text = String::new();
        // It may not have been started yet.
        let _ = File::open(self.path_of(node).join("log")).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    /// Starts every member that does not run.
    pub fn start_all(&mut self) {
        let stopped = |slot: &Slot| slot.child.is_none();
        let all: Vec<_> = (0..self.nodes.len()).filter(|node| stopped(&self.nodes[*node])).collect();
        // Making a key takes long, and they are to start at the same time.
        for node in &all {
            self.issue_certificate(*node);
        }
        for node in all {
            self.start_node(node);
        }
    }

    /// Starts a member that does not run.
    ///
    /// # Panics
    ///
    /// If the process cannot be started.
    pub fn start_node(&mut self, node: usize) {
        self.issue_certificate(node);
        let path = self.path_of(node);
        fs::create_dir_all(path.join("tmp")).expect("create a directory");
        let slot = &self.nodes[node];
        let log = File::options().create(true).append(true).open(path.join("log")).expect("open the log");
        let child = Command::new(self.programs.standin())
            .env_clear()
            .args(["--line", &slot.line.to_string(), "--time-scale", &self.time_scale.to_string()])
            .args(["--tmp".as_ref(), path.join("tmp").as_os_str()])
            .args(["--journal".as_ref(), path.join("journal.jsonl").as_os_str()])
            .args(["--hosts-file".as_ref(), self.hosts_file().as_os_str()])
            .args(&self.arguments)
            .envs(options_of(slot.line, &path, slot.address))
            .envs(self.member_options(node))
            .envs(self.options.iter().cloned())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("start the stand-in");
        self.nodes[node].child = Some(child);
    }

    fn member_options(&self, node: usize) -> Vec<(&'static str, String)> {
        let slot = &self.nodes[node];
        let (advertise, replicate) = if slot.line < Line::V23_10 {
            ("EVENTSTORE_EXT_HOST_ADVERTISE_AS", "EVENTSTORE_INT_HOST_ADVERTISE_AS")
        } else {
            ("EVENTSTORE_NODE_HOST_ADVERTISE_AS", "EVENTSTORE_REPLICATION_HOST_ADVERTISE_AS")
        };
        let port = slot.address.port();
        let others = self.nodes.iter().filter(|other| other.has_vote && other.name != slot.name);
        let seeds: Vec<_> = others.map(|other| format!("{}:{port}", other.name)).collect();
        vec![
            ("EVENTSTORE_CLUSTER_SIZE", self.nodes.iter().filter(|slot| slot.has_vote).count().to_string()),
            ("EVENTSTORE_READ_ONLY_REPLICA", (!slot.has_vote).to_string()),
            ("EVENTSTORE_DISCOVER_VIA_DNS", "false".to_owned()),
            ("EVENTSTORE_GOSSIP_SEED", seeds.join(",")),
            (advertise, slot.name.clone()),
            (replicate, slot.name.clone()),
        ]
    }

    /// Kills a member with SIGKILL.
    ///
    /// # Panics
    ///
    /// If the process cannot be waited for.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().expect("wait for the stand-in");
        }
    }

    /// Sends SIGTERM to a member; it still runs.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node].child.as_ref().expect("the member runs");
        let id = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("send a signal");
    }

    /// Ends a member with SIGTERM, and tells how it ended.
    pub fn terminate(&mut self, node: usize) -> ExitStatus {
        self.signal(node, Signal::SIGTERM);
        self.wait_for_end(node)
    }

    /// Waits for a member to end.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn wait_for_end(&mut self, node: usize) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let child = self.nodes[node].child.as_mut().expect("the member runs");
            if let Some(status) = child.try_wait().expect("look at the stand-in") {
                self.nodes[node].child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end", self.name(node));
            std::thread::sleep(POLL);
        }
    }

    /// Kills a member if it runs, and starts it again on its data.
    pub fn restart(&mut self, node: usize) {
        self.kill(node);
        self.start_node(node);
    }

    /// Gives a member that does not run another address under the same name.
    pub fn move_away(&mut self, node: usize) {
        self.nodes[node].address = on_port(self.nodes[node].address.port());
        self.write_hosts();
    }

    /// Makes a member that does not run one of another line.
    pub fn become_line(&mut self, node: usize, line: Line) {
        self.nodes[node].line = line;
    }

    /// Starts members again that have ended by themselves with code 0, as whoever runs such a server must
    /// (observed §1); how often that was so far.
    ///
    /// # Panics
    ///
    /// If one has ended with another code.
    pub fn tend(&mut self) -> usize {
        for node in 0..self.nodes.len() {
            let Some(child) = self.nodes[node].child.as_mut() else { continue };
            if let Some(status) = child.try_wait().expect("look at the stand-in") {
                assert!(status.success(), "{} ended with {status}: {}", self.name(node), self.log(node));
                self.nodes[node].ended += 1;
                self.start_node(node);
            }
        }
        self.nodes.iter().map(|slot| slot.ended).sum()
    }

    /// A request to a member without a body: status and body, or `None` if there is no answer.
    pub async fn get(&self, node: usize, path: &str, login: Option<(&str, &str)>) -> Option<(u16, String)> {
        let ca = self.ca(node);
        let answer = consumer::get(self.address(node), "localhost", &ca, path, login);
        let (status, body) = tokio::time::timeout(Duration::from_secs(5), answer).await.ok()?.ok()?;
        Some((status.as_u16(), body))
    }

    /// The status of such a request.
    pub async fn status(&self, node: usize, path: &str, login: Option<(&str, &str)>) -> Option<u16> {
        self.get(node, path, login).await.map(|(status, _)| status)
    }

    /// The state that a member gives itself in `/info`.
    pub async fn state(&self, node: usize) -> Option<String> {
        let (_, body) = self.get(node, "/info", None).await?;
        let info: Value = serde_json::from_str(&body).ok()?;
        Some(info["state"].as_str()?.to_owned())
    }

    /// All states, in the order of the members; `-` for one that does not answer.
    pub async fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        for node in 0..self.nodes.len() {
            states.push(self.state(node).await.unwrap_or_else(|| "-".to_owned()));
        }
        states
    }

    /// A member that says it leads.
    pub async fn leader(&self) -> Option<usize> {
        self.states().await.iter().position(|state| state == "leader")
    }

    /// A member that follows.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn follower(&self) -> usize {
        self.states().await.iter().position(|state| state == "follower").expect("there is a follower")
    }

    /// Waits until there is one leader, all others that run follow it, and all that run are ready; gives the leader.
    ///
    /// # Panics
    ///
    /// If that does not come about.
    pub async fn wait_until_formed(&mut self) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.tend();
            let states = self.states().await;
            let running = self.nodes.iter().filter(|slot| slot.child.is_some() && slot.has_vote).count();
            let count = |wanted: &str| states.iter().filter(|state| *state == wanted).count();
            if count("leader") == 1 && count("follower") + 1 == running && self.all_are_ready().await {
                return states.iter().position(|state| state == "leader").expect("one leads");
            }
            assert!(Instant::now() < deadline, "no cluster: {states:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn all_are_ready(&self) -> bool {
        for node in 0..self.nodes.len() {
            if self.nodes[node].child.is_some() && self.status(node, "/health/live", None).await != Some(204) {
                return false;
            }
        }
        true
    }

    /// Waits until a request to a member gets a status.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn wait_for_status(&self, node: usize, path: &str, login: Option<(&str, &str)>, status: u16) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.status(node, path, login).await;
            if found == Some(status) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} on {} stays {found:?}", self.name(node));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a member is in a state.
    ///
    /// # Panics
    ///
    /// If it does not come to it.
    pub async fn wait_for_state(&self, node: usize, state: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.state(node).await;
            if found.as_deref() == Some(state) {
                return;
            }
            assert!(Instant::now() < deadline, "{} stays {found:?}", self.name(node));
            tokio::time::sleep(POLL).await;
        }
    }

    fn write_hosts(&self) {
        let mut text = String::new();
        for slot in &self.nodes {
            writeln!(text, "{} {}", slot.address.ip(), slot.name).expect("text can be written to");
        }
        replace(&self.hosts_file(), &text).expect("write the hosts file");
    }
}

impl Drop for DatabaseCluster {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}

fn days(text: &str) -> Validity {
    text.parse().expect("a number of days")
}

/// Readers see the old text or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// An own loopback address on which this port is free.
fn on_port(port: u16) -> SocketAddr {
    loop {
        let ip: IpAddr = own_loopback().expect("a loopback address").ip();
        if TcpListener::bind((ip, port)).is_ok() {
            return SocketAddr::new(ip, port);
        }
    }
}
