//! A proxy that does harm to chosen calls: to AWS over plain HTTP, or to a database server over TLS.
//!
//! It speaks HTTP/1.1 on both sides. A request is read to its end, forwarded on a connection of its own, and its reply
//! read to its end before anything is answered, so that a fault hits a whole call. What was chunked stays chunked, what
//! had a length keeps it. A request that has arrived is forwarded even if the client has gone.

mod forward;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::forward::Route;
pub use self::tls::TlsFiles;
use crate::net::own_loopback;

/// A running proxy. Ends when dropped, and with it all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no effect: the connection is closed and nothing is forwarded.
    Before,
    /// It has its effect, and the reply is lost: the connection is closed instead.
    After,
    /// It has its effect twice, one after the other; the second reply is answered.
    Twice,
    /// It waits before it is forwarded.
    Delay(Duration),
    /// It has no effect and is never answered.
    BlackHole,
    /// It has its effect and is never answered.
    Unanswered,
    /// It has no effect and gets this answer.
    Answer(Answer),
}

/// An answer of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// A status and an empty body.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a test answers with a status that exists");
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// A refusal in the way of AWS, for example `ThrottlingException` with status 400.
    pub fn aws(code: &str, status: u16) -> Self {
        let content = "application/x-amz-json-1.1".to_owned();
        Self {
            headers: vec![("content-type", content), ("x-amzn-errortype", code.to_owned())],
            body: json!({"__type": code, "Message": "refused by the proxy"}).to_string(),
            ..Self::status(status)
        }
    }
}

/// Which of the calls that a [`Filter`] lets through, counted from 1 since the fault was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This one only.
    Nth(usize),
    /// This one and all that follow.
    From(usize),
}

/// Which calls are counted.
#[derive(Clone)]
pub struct Filter(Arc<dyn Fn(&Call) -> bool + Send + Sync>);

impl Filter {
    /// Every call.
    pub fn any() -> Self {
        Self::by(|_| true)
    }

    /// Calls of an operation of AWS, for example `PutSecretValue`.
    pub fn operation(operation: &str) -> Self {
        let operation = operation.to_owned();
        Self::by(move |call| call.operation.as_deref() == Some(&operation))
    }

    /// Requests with a method for a path, without its query.
    pub fn request(method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self::by(move |call| call.method == method && call.path.split('?').next() == Some(&path))
    }

    /// Whatever a test wants to tell apart.
    pub fn by(matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(matches))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

/// One call as the proxy saw it. Never holds a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number, from 1 on, in the order of arrival.
    pub number: usize,
    /// When it had arrived.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The operation of AWS, if it is a call of AWS.
    pub operation: Option<String>,
    /// The secret, instance or service that a call of AWS is about.
    pub subject: Option<String>,
    /// The fault it met, if it met one.
    pub fault: Option<Fault>,
    /// How often it was forwarded and answered.
    pub effects: usize,
    /// What the client was answered; none if it was not, or not yet.
    pub answered: Option<StatusCode>,
}

/// A fault that was set up.
#[derive(Clone, Debug)]
pub struct Injection(Arc<AtomicBool>);

impl Injection {
    /// Whether a call has met it. A loop over the calls of a run ends with the first run that has not met its fault.
    pub fn was_met(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Where calls are forwarded to.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Plain HTTP.
    Plain(SocketAddr),
    /// TLS on both sides, with the same certificate.
    Tls(SocketAddr, TlsFiles),
}

impl Upstream {
    /// The server behind `http://ADDR:PORT`, as the double and moto give it.
    pub fn endpoint(endpoint: &str) -> Self {
        let address = endpoint.strip_prefix("http://").and_then(|address| address.parse().ok());
        Self::Plain(address.expect("an endpoint of a double is http://ADDR:PORT"))
    }
}

type Hook = Arc<Mutex<dyn FnMut() + Send>>;

struct Rule {
    filter: Filter,
    when: When,
    fault: Fault,
    hook: Hook,
    seen: usize,
    met: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
}

impl FaultProxy {
    /// Starts on a loopback address of its own.
    pub async fn start(upstream: Upstream) -> io::Result<Self> {
        Self::start_on(own_loopback()?, upstream).await
    }

    /// Starts at `listen`.
    ///
    /// # Panics
    ///
    /// If the files for TLS do not hold what they should.
    pub async fn start_on(listen: SocketAddr, upstream: Upstream) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(forward::serve(listener, Route::to(&upstream), Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `AWS_ENDPOINT_URL` is set to, in front of AWS.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets up a fault. Of several that fit a call, the one that was set up first is met.
    pub fn inject(&self, filter: Filter, when: When, fault: Fault) -> Injection {
        self.inject_with(filter, when, fault, || {})
    }

    /// The same, and `hook` is called when the fault is met: with [`Fault::After`], [`Fault::Twice`] and
    /// [`Fault::Unanswered`] after the effect, else before. For tests that kill whoever calls.
    pub fn inject_with(
        &self,
        filter: Filter,
        when: When,
        fault: Fault,
        hook: impl FnMut() + Send + 'static,
    ) -> Injection {
        let met = Arc::new(AtomicBool::new(false));
        let rule = Rule { filter, when, fault, hook: Arc::new(Mutex::new(hook)), seen: 0, met: Arc::clone(&met) };
        self.shared.rules().push(rule);
        Injection(met)
    }

    /// Does no more harm. Calls that are held back stay so.
    pub fn heal(&self) {
        self.shared.rules().clear();
    }

    /// All calls so far, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Notes a call. Gives its number, and the fault that it meets with the hook to call.
    fn arrive(&self, mut call: Call) -> (usize, Option<(Fault, Hook)>) {
        // Held together, so that calls are counted in the order in which they are noted.
        let (mut calls, mut rules) = (self.calls(), self.rules());
        call.number = calls.len() + 1;
        let mut met = None;
        for rule in rules.iter_mut().filter(|rule| rule.filter.0(&call)) {
            rule.seen += 1;
            if met.is_none() && rule.applies() {
                rule.met.store(true, Ordering::SeqCst);
                met = Some((rule.fault.clone(), Arc::clone(&rule.hook)));
            }
        }
        call.fault = met.as_ref().map(|(fault, _)| fault.clone());
        calls.push(call);
        (calls.len(), met)
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Call)) {
        note(&mut self.calls()[number - 1]);
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("no filter panics")
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().expect("no filter panics")
    }
}

impl Rule {
    fn applies(&self) -> bool {
        match self.when {
            When::Nth(number) => self.seen == number,
            When::From(number) => self.seen >= number,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("calls", &self.calls().len()).finish_non_exhaustive()
    }
}
