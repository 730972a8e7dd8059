//! The servers under test, and how they are asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use uuid::Uuid;

use super::line::Line;
use super::tls::Trust;
use super::wire::{Answer, Broken, Connection, Login, Reply, Request, Stop, interrupted};

/// Every user that a run creates is called so. No real user is.
pub(super) const SCRATCH: &str = "contract-suite-";
/// Between two looks at a state that is awaited.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) call_timeout: Duration,
    /// Whether users may be changed. Without, nothing but GET, HEAD and OPTIONS leaves the process.
    pub(super) consent: bool,
    pub(super) stop: Stop,
    pub(super) trust: Arc<Trust>,
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Host and port as given.
    pub(super) authority: String,
    pub(super) name: ServerName<'static>,
    pub(super) address: SocketAddr,
    pub(super) state: String,
    pub(super) shared: Arc<Shared>,
}

impl Node {
    pub(super) fn is_leader(&self) -> bool {
        self.state == "leader"
    }

    pub(super) fn open(&self, tls: &Arc<ClientConfig>) -> Result<Connection, Broken> {
        let patience = self.shared.call_timeout;
        Connection::open(self.address, &self.name, &self.authority, Arc::clone(tls), patience)
            .map_err(|error| Broken::new(&self.authority, error))
    }

    /// Asks and takes whatever comes.
    pub(super) fn answer_over(
        &self,
        tls: &Arc<ClientConfig>,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, Broken> {
        self.may_send(request)?;
        let deadline = Instant::now() + patience;
        let mut connection = self.open(tls)?;
        connection.send(request);
        connection.receive(deadline, &self.shared.stop)
    }

    /// Asks for what must be replied to.
    pub(super) fn ask(&self, request: &Request) -> Result<Reply, Broken> {
        self.ask_over(&self.shared.trust.anonymous, request)
    }

    pub(super) fn ask_over(&self, tls: &Arc<ClientConfig>, request: &Request) -> Result<Reply, Broken> {
        match self.answer_over(tls, request, self.shared.call_timeout)? {
            Answer::Reply(reply) => Ok(reply),
            other => Err(Broken::new(request.to_string(), other)),
        }
    }

    pub(super) fn may_send(&self, request: &Request) -> Result<(), Broken> {
        if self.shared.consent || request.only_reads() {
            return Ok(());
        }
        Err(Broken::new(request.to_string(), "not sent: there is no consent"))
    }

    /// Whether this node, by itself, accepts a password. `/ping` is answered locally (contract §1.6).
    pub(super) fn accepts(&self, login: &Login) -> Result<bool, Broken> {
        let request = Request::get("/ping").by(login);
        let reply = self.ask(&request)?;
        match reply.status {
            200 => Ok(true),
            401 => Ok(false),
            status => Err(Broken::new(request.to_string(), format!("{status} {}", reply.reason))),
        }
    }

    /// The state in `/info`.
    pub(super) fn state_now(&self) -> Result<String, Broken> {
        let request = Request::get("/info");
        let reply = self.ask(&request)?;
        let info: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let state = info.as_ref().and_then(|info| info["state"].as_str());
        state.map(str::to_owned).ok_or_else(|| Broken::new(request.to_string(), "no state in the reply"))
    }
}

/// All that checks need.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) line: Line,
    pub(super) nodes: Vec<Node>,
    pub(super) admin: Login,
    pub(super) ops: Login,
    run: String,
    created: AtomicUsize,
}

impl Suite {
    pub(super) fn new(line: Line, nodes: Vec<Node>, admin: Login, ops: Login) -> Self {
        let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self { line, nodes, admin, ops, run, created: AtomicUsize::new(0) }
    }

    /// Leadership may move during a run. A server that does not answer now is asked again by the next check.
    pub(super) fn look_who_leads(&mut self) {
        for node in &mut self.nodes {
            if let Ok(state) = node.state_now() {
                node.state = state;
            }
        }
    }

    pub(super) fn leader(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_leader())
    }

    pub(super) fn followers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state == "follower")
    }

    /// A name that no user has, with a password that nobody can guess.
    pub(super) fn new_login(&self) -> Login {
        let number = self.created.fetch_add(1, Ordering::Relaxed) + 1;
        Login::new(format!("{SCRATCH}{}-{number}", self.run), random_password())
    }

    /// The request that creates a user without groups.
    pub(super) fn creation(&self, login: &Login) -> Request {
        self.creation_at("/users", login)
    }

    pub(super) fn creation_at(&self, path: &str, login: &Login) -> Request {
        let body = serde_json::json!({
            "loginName": login.name, "fullName": "Contract suite", "groups": [], "password": login.password,
        });
        Request::post(path).by(&self.admin).json(body.to_string())
    }

    /// A new user of the run. Its login is in no cache.
    pub(super) fn scratch(&self, node: &Node) -> Result<Login, Broken> {
        let login = self.new_login();
        let request = self.creation(&login);
        let reply = node.ask(&request)?;
        if reply.status == 201 { Ok(login) } else { Err(Broken::new(request.to_string(), reply.status)) }
    }

    /// The request that sets another user's password.
    pub(super) fn reset(&self, login: &str, new: &str) -> Request {
        let body = serde_json::json!({"newPassword": new}).to_string();
        Request::post(format!("/users/{login}/command/reset-password")).by(&self.admin).json(body)
    }
}

pub(super) fn random_password() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Waits for a state. `Ok(false)` if it did not come in time.
pub(super) fn await_state(
    node: &Node,
    bound: Duration,
    mut state: impl FnMut() -> Result<bool, Broken>,
) -> Result<bool, Broken> {
    let deadline = Instant::now() + bound;
    loop {
        if state()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        pause(node, POLL)?;
    }
}

/// Lets time pass, unless the run is told to stop.
pub(super) fn pause(node: &Node, time: Duration) -> Result<(), Broken> {
    let deadline = Instant::now() + time;
    loop {
        if node.shared.stop.signal().is_some() {
            return Err(interrupted());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}
