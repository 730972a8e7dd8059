//! In-process double of AWS Secrets Manager and AWS Cloud Map over the real wire protocol (AWS JSON 1.1).
//!
//! It behaves as AWS documents it (aws-contract §2, §3.1), not as moto does: versions are immutable, labels move by AWS's
//! rules, `RegisterInstance` is an upsert, and Cloud Map's operations take their time. What it does not implement is
//! refused loudly. Signatures are not checked.

mod account;
mod asked;
mod cloud_map;
mod lag;
mod secrets;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub(crate) use account::Account;
pub use asked::{Asked, service_arn};
pub(crate) use cloud_map::Resolution;
pub use cloud_map::{CloudMap, RegisteredInstance};
pub use lag::Lag;
pub use secrets::{Secrets, VersionView};

/// The account that owns everything in the double.
pub const ACCOUNT: &str = "123456789012";
/// The region of what is created in process; requests name theirs in the credential scope, which is not looked at.
pub const REGION: &str = "eu-west-1";

/// A running double. Ends when dropped.
#[derive(Debug)]
pub struct Aws {
    port: u16,
    world: Arc<Mutex<World>>,
    server: JoinHandle<()>,
}

/// The hosted zones of Cloud Map's namespaces.
#[derive(Debug)]
pub(crate) struct Zones(Arc<Mutex<World>>);

impl Zones {
    /// What is known of a name without a trailing dot, in lower case.
    pub(crate) fn resolve(&self, name: &str) -> Resolution {
        self.0.lock().expect("no call panics while it holds the world").cloud_map.resolve(name)
    }
}

/// One call, as it was answered. Never holds a secret value.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was answered.
    pub at: Instant,
    /// The operation, for example `PutSecretValue`.
    pub operation: String,
    /// The secret, instance or operation it was about.
    pub subject: String,
    /// What the caller must be allowed for it.
    pub asked: Asked,
    /// The id of the access key that signed it.
    pub access_key: Option<String>,
    /// AWS's error code, if it was refused.
    pub error: Option<&'static str>,
}

/// A refusal, in AWS's terms.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The error code, for example `ThrottlingException`.
    pub code: &'static str,
    /// The HTTP status: 400, or 500 for a fault of the service.
    pub status: u16,
}

impl Refusal {
    /// The caller is too fast; both services answer with status 400.
    pub const THROTTLED: Self = Self { code: "ThrottlingException", status: 400 };
    /// The role may not do this.
    pub const DENIED: Self = Self { code: "AccessDeniedException", status: 400 };
    /// Cloud Map's own word for too fast.
    pub const REQUEST_LIMIT: Self = Self { code: "RequestLimitExceeded", status: 400 };
    /// The credentials have ended.
    pub const EXPIRED: Self = Self { code: "ExpiredTokenException", status: 400 };
    /// The key of the secret cannot be used to read.
    pub const DECRYPTION: Self = Self { code: "DecryptionFailure", status: 400 };
    /// The key of the secret cannot be used to write.
    pub const ENCRYPTION: Self = Self { code: "EncryptionFailure", status: 400 };
    /// The service itself failed.
    pub const FAULT: Self = Self { code: "InternalServiceError", status: 500 };
}

/// When a watcher is told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call has arrived and has had no effect.
    BeforeEffect,
    /// The call has had its effect, and the reply is not sent.
    AfterEffect,
}

/// Is told of every call, with its number from 1 on.
type Watcher = Box<dyn FnMut(usize, Moment) + Send>;

#[derive(Default)]
struct World {
    secrets: Secrets,
    cloud_map: CloudMap,
    calls: Vec<Call>,
    refusals: VecDeque<(String, Refusal)>,
    rates: Vec<Rate>,
    watcher: Option<Watcher>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

/// The most calls of an operation in a time.
struct Rate {
    operation: String,
    calls: usize,
    time: Duration,
    let_through: VecDeque<Instant>,
}

impl Rate {
    fn lets_through(&mut self, operation: &str) -> bool {
        if self.operation != operation {
            return true;
        }
        while self.let_through.front().is_some_and(|call| call.elapsed() >= self.time) {
            self.let_through.pop_front();
        }
        let room = self.let_through.len() < self.calls;
        if room {
            self.let_through.push_back(Instant::now());
        }
        room
    }
}

/// Why a call was refused.
#[derive(Debug)]
struct ApiError {
    code: &'static str,
    message: String,
    status: u16,
    /// A further member of the answer.
    member: Option<(&'static str, String)>,
}

impl ApiError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: 400, member: None }
    }

    fn with(self, key: &'static str, value: &str) -> Self {
        Self { member: Some((key, value.to_owned())), ..self }
    }

    fn body(&self) -> Value {
        let mut body = json!({"__type": self.code, "Message": self.message, "message": self.message});
        if let Some((key, value)) = &self.member {
            body[key] = json!(value);
        }
        body
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, ..Self::new(refusal.code, "refused by the test") }
    }
}

impl Aws {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        let world = Arc::new(Mutex::new(World::default()));
        let (port, server) = wire::serve(Arc::clone(&world)).await?;
        Ok(Self { port, world, server })
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Looks at Secrets Manager, or plays CloudFormation in it.
    pub fn secrets<T>(&self, look: impl FnOnce(&mut Secrets) -> T) -> T {
        look(&mut self.lock().secrets)
    }

    /// Looks at Cloud Map, or plays CloudFormation in it.
    pub fn cloud_map<T>(&self, look: impl FnOnce(&mut CloudMap) -> T) -> T {
        look(&mut self.lock().cloud_map)
    }

    /// Gives a name of the form `node.namespace` an address, as ECS does in the service of a node whose task it starts.
    ///
    /// # Panics
    ///
    /// If the name has no namespace.
    pub fn give_name(&self, name: &str, address: IpAddr) {
        let (node, namespace) = name.split_once('.').expect("a name in a namespace");
        self.cloud_map(|cloud_map| {
            let service = cloud_map.create_service(namespace, node);
            cloud_map.register(&service, node, &[("AWS_INSTANCE_IPV4", &address.to_string())]);
        });
    }

    /// All calls over the wire so far, in the order in which they were answered.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Refuses the next `times` calls of `operation`, before they have any effect.
    pub fn refuse(&self, operation: &str, refusal: Refusal, times: usize) {
        let mut world = self.lock();
        world.refusals.extend((0..times).map(|_| (operation.to_owned(), refusal)));
    }

    /// From now on throttles `operation` when it is called more than `calls` times in `time`.
    pub fn limit_rate(&self, operation: &str, calls: usize, time: Duration) {
        let rate = Rate { operation: operation.to_owned(), calls, time, let_through: VecDeque::new() };
        self.lock().rates.push(rate);
    }

    /// Has `watcher` told of every call, for tests that kill the caller at a certain one.
    pub fn watch(&self, watcher: impl FnMut(usize, Moment) + Send + 'static) {
        self.lock().watcher = Some(Box::new(watcher));
    }

    /// Forgets all refusals that are still to come, and all limits of rates.
    pub fn allow_all(&self) {
        let mut world = self.lock();
        world.refusals.clear();
        world.rates.clear();
    }

    /// How long Cloud Map's operations take from now on.
    pub fn set_operation_time(&self, time: Duration) {
        self.lock().cloud_map.set_operation_time(time);
    }

    /// The hosted zones of Cloud Map's namespaces, for a name server.
    pub(crate) fn zones(&self) -> Zones {
        Zones(Arc::clone(&self.world))
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no call panics while it holds the world")
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.server.abort();
    }
}
