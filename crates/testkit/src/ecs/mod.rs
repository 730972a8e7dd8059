//! The endpoints that ECS gives a task: metadata (version 4), credentials and the agent's (aws-contract §1.5, §4.1).
//!
//! Every container has a metadata address of its own. Credentials have a full address: the relative one is fixed to
//! 169.254.170.2, which nobody can bind here.

mod metadata;
mod protection;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use protection::{Protection, ProtectionRequest};

/// Who the task is.
#[derive(Clone, Debug)]
pub struct TaskIdentity {
    /// The task's ARN.
    pub task_arn: String,
    /// The family of its definition.
    pub family: String,
    /// Its address.
    pub address: IpAddr,
}

impl TaskIdentity {
    /// The last part of the ARN.
    pub fn id(&self) -> &str {
        self.task_arn.rsplit('/').next().unwrap_or_default()
    }
}

/// Running endpoints. End when dropped.
#[derive(Debug)]
pub struct TaskEndpoints {
    port: u16,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

/// What can be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `ECS_CONTAINER_METADATA_URI_V4`.
    Metadata,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    Credentials,
    /// `ECS_AGENT_URI`, task protection.
    TaskProtection,
}

/// How an endpoint is in trouble. Nothing of it has an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It accepts and never answers.
    Hang,
    /// A status with an empty body, for example 429 of the agent's own limit, or 503.
    Status(u16),
    /// An error in the agent's words, for example 400 with `ThrottlingException` or `AccessDeniedException` of the API
    /// behind it, or 504 with `RequestCanceled`.
    Error(u16, &'static str),
    /// A refusal of ECS, which the agent passes on with status 200: `DEPLOYMENT_BLOCKED`, `TASK_NOT_VALID`.
    Failure(&'static str),
}

/// A request as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// What it was for; none if the path leads nowhere.
    pub endpoint: Option<Endpoint>,
    /// The path.
    pub path: String,
}

/// One task for a server that stands before several, in which each has one set of paths.
#[derive(Debug)]
pub(crate) struct OneOfSeveral(State);

impl OneOfSeveral {
    /// A task that is known as `container` in paths.
    pub(crate) fn new(container: &str, identity: TaskIdentity) -> Self {
        let mut state = State::new(identity);
        state.containers.insert(container.to_owned());
        Self(state)
    }

    /// The task has this identity from now on; without one it has no network yet.
    pub(crate) fn is(&mut self, identity: Option<TaskIdentity>) {
        match identity {
            Some(identity) => (self.0.identity, self.0.without_networks) = (identity, 0),
            None => self.0.without_networks = usize::MAX,
        }
    }

    /// The answer to a request; credentials are at `/credentials`.
    pub(crate) fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        // What is seen is for tests, which ask the endpoints of a single task.
        self.0.seen.clear();
        let answer = self.0.answer(method, path, body);
        let (status, body) = answer.expect("nobody disturbs the endpoints of several tasks");
        reply(status, &body)
    }
}

#[derive(Debug)]
struct State {
    identity: TaskIdentity,
    containers: BTreeSet<String>,
    /// So many answers of the metadata endpoint leave out the networks.
    without_networks: usize,
    credentials_last: Duration,
    credentials_given: usize,
    protection: protection::State,
    trouble: BTreeMap<Endpoint, Trouble>,
    seen: Vec<Seen>,
}

impl TaskEndpoints {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(identity: TaskIdentity) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State::new(identity)));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { port, state, server })
    }

    /// The variables that ECS sets in the container `bootstrap`.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_of("bootstrap")
    }

    /// The variables that ECS sets in a container. From now on the task has this container.
    pub fn environment_of(&self, container: &str) -> Vec<(String, String)> {
        self.state().containers.insert(container.to_owned());
        let base = format!("http://127.0.0.1:{}", self.port);
        vec![
            ("ECS_CONTAINER_METADATA_URI_V4".to_owned(), format!("{base}/v4/{container}")),
            ("ECS_AGENT_URI".to_owned(), format!("{base}/api/{container}")),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), format!("{base}/credentials")),
        ]
    }

    /// The next `times` answers about the task or a container leave out its networks, as early in a task's life.
    pub fn hide_networks(&self, times: usize) {
        self.state().without_networks = times;
    }

    /// How long credentials that are given out from now on are valid. Each are others.
    pub fn set_credentials_last(&self, time: Duration) {
        self.state().credentials_last = time;
    }

    /// How long a minute of protection lasts, for tests that wait for its end.
    pub fn set_minute(&self, minute: Duration) {
        self.state().protection.minute = minute;
    }

    /// Whether ECS would leave the task running now.
    pub fn protection(&self) -> Protection {
        self.state().protection.now()
    }

    /// The requests to protect the task or not that were granted, oldest first.
    pub fn protection_history(&self) -> Vec<ProtectionRequest> {
        self.state().protection.history.clone()
    }

    /// Puts an endpoint into trouble until it is [healed](Self::heal).
    pub fn disturb(&self, endpoint: Endpoint, trouble: Trouble) {
        self.state().trouble.insert(endpoint, trouble);
    }

    /// Ends the trouble of an endpoint. Requests that hang go on hanging.
    pub fn heal(&self, endpoint: Endpoint) {
        self.state().trouble.remove(&endpoint);
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request panics while it holds the state")
    }
}

impl Drop for TaskEndpoints {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // They end with the endpoints, those that hang too.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        connections.spawn(async move {
            // A client that goes away in the middle is its own affair.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let answer =
        state.lock().expect("no request panics while it holds the state").answer(&head.method, head.uri.path(), &body);
    match answer {
        Some((status, body)) => Ok(reply(status, &body)),
        None => pending().await,
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let reply = Response::builder().status(status).header("content-type", "application/json");
    reply.body(Full::new(body)).expect("a fixed header and a valid status make a response")
}

impl State {
    fn new(identity: TaskIdentity) -> Self {
        Self {
            identity,
            containers: BTreeSet::new(),
            without_networks: 0,
            credentials_last: Duration::from_hours(6),
            credentials_given: 0,
            protection: protection::State::default(),
            trouble: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    /// None is silence.
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Option<(StatusCode, Value)> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let endpoint = match parts[..] {
            ["v4", ..] => Some(Endpoint::Metadata),
            ["credentials"] => Some(Endpoint::Credentials),
            ["api", _, "task-protection", "v1", "state"] => Some(Endpoint::TaskProtection),
            _ => None,
        };
        self.seen.push(Seen { at: Instant::now(), endpoint, path: path.to_owned() });
        if let Some(trouble) = endpoint.and_then(|endpoint| self.trouble.get(&endpoint)) {
            return trouble.answer(&self.identity.task_arn);
        }
        Some(match parts[..] {
            ["v4", container] if self.containers.contains(container) => (StatusCode::OK, self.describe(container)),
            ["v4", container, "task"] if self.containers.contains(container) => (StatusCode::OK, self.describe_task()),
            ["credentials"] => (StatusCode::OK, self.credentials()),
            ["api", container, ..] if endpoint.is_some() && self.containers.contains(container) => {
                self.protection.answer(&self.identity.task_arn, method, body)
            }
            ["api", ..] if endpoint.is_some() => {
                let message = "Failed to find a task for the request";
                (StatusCode::NOT_FOUND, protection::error("", "ResourceNotFoundException", message))
            }
            _ => (StatusCode::NOT_FOUND, Value::Null),
        })
    }
}

impl Trouble {
    fn answer(&self, task_arn: &str) -> Option<(StatusCode, Value)> {
        let status = |status| StatusCode::from_u16(status).expect("a test answers with a status that exists");
        match self {
            Trouble::Hang => None,
            Trouble::Status(code) => Some((status(*code), Value::Null)),
            Trouble::Error(code, name) => Some((status(*code), protection::error(task_arn, name, "by the test"))),
            Trouble::Failure(reason) => {
                let failure = json!({"Arn": task_arn, "Detail": null, "Reason": reason});
                Some((StatusCode::OK, json!({"failure": failure})))
            }
        }
    }
}
