//! AWS for the containers of a compose file: one address has Secrets Manager, Cloud Map, and of every task what ECS gives its
//! containers, at the paths that `infra compose` names: `/v4/<task>`, `/v2/credentials/<task>` and `/api/<task>`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use infra::{Deployment, PASSWORD_LENGTH};
use tokio::net::{TcpListener, lookup_host};
use tokio::time::timeout;
use uuid::Uuid;

use crate::aws::{ACCOUNT, Account, REGION};
use crate::ecs::{OneOfSeveral, TaskIdentity};

/// How long a task's name may take to resolve; the network's own resolver is on this machine.
const LOOK_UP: Duration = Duration::from_secs(2);

/// What CloudFormation would have made.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Ids of Cloud Map services with the DNS names that they stand for, `service.namespace`.
    pub services: Vec<(String, String)>,
    /// Logins with the names of the secrets that a first password is generated into.
    pub secrets: Vec<(String, String)>,
    /// Names of secrets without a value.
    pub empty_secrets: Vec<String>,
    /// Tasks with the DNS names under which their network is found.
    pub tasks: Vec<(String, String)>,
}

/// A server that listens, with what it keeps.
pub struct Local {
    listener: TcpListener,
    world: Arc<Served>,
}

struct Served {
    account: Account,
    tasks: BTreeMap<String, Task>,
}

struct Task {
    host: String,
    answers: Mutex<OneOfSeveral>,
}

impl Local {
    /// Listens, reads the directory `state` and adds to it what the stack has and it has not.
    ///
    /// # Errors
    ///
    /// Of the system, among them [`io::ErrorKind::InvalidData`] if the directory holds something else.
    pub async fn open(listen: SocketAddr, state: &Path, stack: &Stack) -> io::Result<Self> {
        let account = Account::open(state, |secrets, cloud_map| {
            for (id, name) in &stack.services {
                let (service, namespace) = name.split_once('.').unwrap_or((name, "local"));
                cloud_map.create_service_as(id, namespace, service);
            }
            for (login, name) in &stack.secrets {
                if !secrets.has(name) {
                    let (template, key) = Deployment::secret_template(login);
                    secrets.generate(name, &template, key, PASSWORD_LENGTH);
                }
            }
            for name in &stack.empty_secrets {
                if !secrets.has(name) {
                    secrets.create(name, None);
                }
            }
        })?;
        let task = |(name, host): &(String, String)| {
            let answers = OneOfSeveral::new(name, identity(name, IpAddr::from([0, 0, 0, 0])));
            (name.clone(), Task { host: host.clone(), answers: Mutex::new(answers) })
        };
        let tasks = stack.tasks.iter().map(task).collect();
        let listener = TcpListener::bind(listen).await?;
        Ok(Self { listener, world: Arc::new(Served { account, tasks }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve(self) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Too many are open; some will end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let world = Arc::clone(&self.world);
            let service = service_fn(move |request| {
                let world = Arc::clone(&world);
                async move { world.answer(request).await }
            });
            tokio::spawn(async move {
                // A client that goes away in the middle is its own affair.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        if request.method() == Method::POST && request.uri().path() == "/" {
            return self.account.answer(request).await;
        }
        let path = request.uri().path().to_owned();
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let (name, path) = match parts[..] {
            ["v4" | "api", name, ..] => (name, path.as_str()),
            ["v2", "credentials", name] => (name, "/credentials"),
            _ => return Ok(nowhere()),
        };
        let Some(task) = self.tasks.get(name) else { return Ok(nowhere()) };
        let (method, path) = (request.method().clone(), path.to_owned());
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let now = task.identity(name).await;
        let mut answers = task.answers.lock().expect("no request panics while it holds the task");
        answers.is(now);
        Ok(answers.answer(&method, &path, &body))
    }
}

impl Task {
    /// None while its network has no address.
    async fn identity(&self, name: &str) -> Option<TaskIdentity> {
        let found = timeout(LOOK_UP, lookup_host((self.host.as_str(), 0))).await.ok()?.ok()?;
        let address = found.map(|address| address.ip()).find(IpAddr::is_ipv4)?;
        Some(identity(name, address))
    }
}

/// A task that is created anew is another one as soon as it has another address.
fn identity(name: &str, address: IpAddr) -> TaskIdentity {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("{name} {address}").as_bytes()).simple();
    TaskIdentity {
        task_arn: format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/local/{id}"),
        family: name.to_owned(),
        address,
    }
}

fn nowhere() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
