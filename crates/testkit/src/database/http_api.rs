//! The HTTP API: authentication, routing, content negotiation, authorisation, handlers, in the server's order
//! (contract §1.4), with the replies of observed §2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::journal::Journal;
use super::node::{Caller, Node, State, Verdict};
use super::replies::{self, Itself};

/// A write takes this long; two of the same user at the same time conflict.
const WRITE_TIME: Duration = Duration::from_millis(2);

const CHALLENGE: &str = "X-Basic realm=\"ESDB\"";
const WRONG_CURRENT_PASSWORD: &str = "BasicCustom realm=\"ES\"";

type Reply = Response<Full<Bytes>>;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) node: Node,
    pub(super) journal: Journal,
    /// So many resets are stored and not announced, and their replies are lost (observed §4, the trap).
    pub(super) resets_to_lose: AtomicUsize,
    pub(super) instance_id: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Tells the listener to reload, and the process to end.
    pub(super) orders: mpsc::UnboundedSender<Order>,
}

/// What a request can make the process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Reload,
    ShutDown,
}

/// The connection is closed instead of a reply being sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyLost;

impl std::fmt::Display for ReplyLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reply is lost")
    }
}

impl std::error::Error for ReplyLost {}

/// Notes that a request is over, also when its client goes away.
struct InFlight(Arc<Api>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.node.leave();
    }
}

/// Answers one request; `system` if the connection came with a node certificate.
pub(super) async fn answer(api: Arc<Api>, request: Request<Incoming>, system: bool) -> Result<Reply, ReplyLost> {
    api.node.enter();
    let in_flight = InFlight(Arc::clone(&api));
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let (user, reply) = respond(&api, request, system).await;
    api.journal.note(&method, &path, &user, reply.status().as_u16());
    drop(in_flight);
    if reply.extensions().get::<ReplyLost>().is_some() { Err(ReplyLost) } else { Ok(reply) }
}

async fn respond(api: &Arc<Api>, request: Request<Incoming>, system: bool) -> (String, Reply) {
    // Health comes before authentication: wrong credentials are ignored.
    if request.uri().path() == "/health/live" {
        return (String::new(), health(api, &request));
    }
    let worker = api.node.arrived();
    let caller = match authenticate(api, request.headers(), system) {
        Ok(caller) => caller,
        Err(reply) => return (String::new(), *reply),
    };
    let name = caller.name().to_owned();
    (name, serve(api, request, &caller, worker).await)
}

fn health(api: &Api, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let asked = request.uri().query().and_then(|query| query.strip_prefix("liveCode="));
    let ready = asked.and_then(|code| code.parse().ok()).and_then(|code| StatusCode::from_u16(code).ok());
    match api.node.state() {
        (_, true) => empty(ready.unwrap_or(StatusCode::NO_CONTENT)),
        (_, false) => empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Every path asks who it is, also the public ones. What is not a Basic header counts as no header.
fn authenticate(api: &Api, headers: &HeaderMap, system: bool) -> Result<Caller, Box<Reply>> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let basic = match (given.next(), given.next()) {
        (Some(header), None) => header.to_str().ok().and_then(|header| header.strip_prefix("Basic ")),
        _ => None,
    };
    let Some(basic) = basic else {
        return Ok(if system { Caller::System } else { Caller::Anonymous });
    };
    let Ok(decoded) = STANDARD.decode(basic) else {
        return Err(Box::new(empty(StatusCode::INTERNAL_SERVER_ERROR)));
    };
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    let Some((login, password)) = decoded.split_once(':') else { return Ok(Caller::Anonymous) };
    match api.node.log_in(login, password) {
        Verdict::Accepted(caller) => Ok(caller),
        Verdict::Refused => Err(Box::new(with_header(empty(StatusCode::UNAUTHORIZED), WWW_AUTHENTICATE, CHALLENGE))),
        Verdict::NotReady => Err(Box::new(with_header(empty(StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER, "5"))),
    }
}

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Root,
    Info,
    Ping,
    Gossip,
    Stats,
    AdminLogin,
    AdminOrder(AdminOrder),
    Users,
    Current,
    User(String),
    Command(String, Command),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminOrder {
    Reload,
    ShutDown,
    Resign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    ResetPassword,
    ChangePassword,
    Enable,
    Disable,
}

impl Resource {
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        Some(match parts.as_slice() {
            [""] => Self::Root,
            ["info"] => Self::Info,
            ["ping"] => Self::Ping,
            ["gossip"] => Self::Gossip,
            ["stats" | "metrics"] => Self::Stats,
            ["admin", "login"] => Self::AdminLogin,
            ["admin", "reloadconfig"] => Self::AdminOrder(AdminOrder::Reload),
            ["admin", "shutdown"] => Self::AdminOrder(AdminOrder::ShutDown),
            ["admin", "node", "resign"] => Self::AdminOrder(AdminOrder::Resign),
            ["users"] | ["users", ""] => Self::Users,
            ["users", "$current"] => Self::Current,
            ["users", login] => Self::User((*login).to_owned()),
            ["users", login, "command", command] => {
                let command = match *command {
                    "reset-password" => Command::ResetPassword,
                    "change-password" => Command::ChangePassword,
                    "enable" => Command::Enable,
                    "disable" => Command::Disable,
                    _ => return None,
                };
                Self::Command((*login).to_owned(), command)
            }
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Users => &["GET", "POST"],
            Self::User(_) => &["GET", "PUT", "DELETE"],
            Self::AdminOrder(_) | Self::Command(..) => &["POST"],
            _ => &["GET"],
        }
    }

    /// The server lists the methods of every route that matches; `$current` is also a login name.
    fn allowed(&self) -> String {
        let methods = if *self == Self::Current { &["GET", "PUT", "DELETE", "GET"] } else { self.methods() };
        format!("{}, OPTIONS", methods.join(", "))
    }

    fn takes_body(&self, method: &Method) -> bool {
        match self {
            Self::Users => *method == Method::POST,
            Self::User(_) => *method == Method::PUT,
            Self::Command(_, command) => matches!(command, Command::ResetPassword | Command::ChangePassword),
            _ => false,
        }
    }
}

async fn serve(api: &Arc<Api>, request: Request<Incoming>, caller: &Caller, worker: u64) -> Reply {
    let Some(resource) = Resource::of(request.uri().path()) else { return empty(StatusCode::NOT_FOUND) };
    let allowed = resource.allowed();
    let controller = |reply| controller_headers(reply, &allowed);
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return controller(empty(StatusCode::OK));
    }
    if !resource.methods().contains(&method.as_str()) {
        let allow = ["OPTIONS"].into_iter().chain(resource.methods().iter().copied()).collect::<Vec<_>>().join(", ");
        let reply = empty(StatusCode::METHOD_NOT_ALLOWED);
        return if method == Method::HEAD { reply } else { with_header(reply, ALLOW, &allow) };
    }
    if resource.takes_body(&method) && !is_readable(request.headers().get(CONTENT_TYPE)) {
        return reason(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Invalid or missing Content-Type");
    }
    let Some(as_json) = accepts(request.headers().get(ACCEPT)) else {
        return reason(StatusCode::NOT_ACCEPTABLE, "Requested URI is not available in requested format");
    };
    if !is_authorised(&resource, caller) {
        return controller(empty(StatusCode::UNAUTHORIZED));
    }
    let base = format!("https://{}:{}", api.host, api.port);
    let reply = match resource {
        Resource::Root => return redirect(&format!("{base}/web/index.html")),
        Resource::Info => json(StatusCode::OK, replies::info(state_name(api.node.state().0))),
        Resource::Ping => json(StatusCode::OK, replies::ping()),
        Resource::Gossip => gossip(api),
        Resource::Stats => json(StatusCode::OK, Bytes::from_static(b"{}")),
        Resource::AdminLogin => admin_login(caller),
        Resource::AdminOrder(order) => admin_order(api, order),
        Resource::Users if method == Method::GET => {
            json(StatusCode::OK, api.node.users(|users| replies::user_list(users.all(), &base)))
        }
        Resource::Current => {
            let found = api.node.users(|users| users.get(caller.name()).map(replies::current_user));
            found.map_or_else(|| json(StatusCode::NOT_FOUND, replies::not_found()), |body| json(StatusCode::OK, body))
        }
        Resource::User(login) if method == Method::GET => {
            let found = api.node.users(|users| users.get(&login).map(|user| replies::user(user, &base)));
            found.map_or_else(|| json(StatusCode::NOT_FOUND, replies::not_found()), |body| json(StatusCode::OK, body))
        }
        resource => write(api, request, &resource, caller, worker, &base).await,
    };
    // XML is offered and comes out empty.
    controller(if as_json { reply } else { empty(reply.status()) })
}

fn is_authorised(resource: &Resource, caller: &Caller) -> bool {
    match resource {
        Resource::Root | Resource::Info | Resource::Ping | Resource::Gossip => true,
        Resource::Stats | Resource::AdminLogin | Resource::Current => *caller != Caller::Anonymous,
        Resource::AdminOrder(_) => caller.is_operator(),
        // Everybody may change the own password, and nobody another's.
        Resource::Command(login, Command::ChangePassword) => caller.name() == login,
        Resource::Users | Resource::User(_) | Resource::Command(..) => caller.is_admin(),
    }
}

fn admin_login(caller: &Caller) -> Reply {
    let (name, groups) = match caller {
        Caller::Anonymous => return empty(StatusCode::UNAUTHORIZED),
        Caller::System => ("system", vec!["system".to_owned(), "$admins".to_owned()]),
        Caller::User { login, groups } => (login.as_str(), groups.clone()),
    };
    json(StatusCode::OK, replies::login(name, &groups, &now()))
}

fn admin_order(api: &Api, order: AdminOrder) -> Reply {
    let order = match order {
        AdminOrder::Reload => Some(Order::Reload),
        AdminOrder::ShutDown => Some(Order::ShutDown),
        // A single node has nobody to resign to.
        AdminOrder::Resign => None,
    };
    if let Some(order) = order {
        // The listener ends with the process.
        let _ = api.orders.send(order);
    }
    empty(StatusCode::OK)
}

fn gossip(api: &Api) -> Reply {
    let state = match api.node.state().0 {
        State::PreLeader => "PreLeader",
        State::Leader => "Leader",
        State::ShuttingDown => "ShuttingDown",
    };
    let (time_stamp, host) = (now(), api.host.as_str());
    let itself = Itself { instance_id: &api.instance_id, time_stamp: &time_stamp, state, host, port: api.port };
    let reply = json(StatusCode::OK, replies::gossip(&itself));
    let reply = with_header(reply, CACHE_CONTROL, "max-age=0, no-cache, must-revalidate");
    with_header(reply, VARY, "Accept")
}

/// Everything that changes users.
async fn write(
    api: &Arc<Api>,
    request: Request<Incoming>,
    resource: &Resource,
    caller: &Caller,
    worker: u64,
    base: &str,
) -> Reply {
    let takes_body = resource.takes_body(request.method());
    let method = request.method().clone();
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body: Map<String, Value> = match serde_json::from_slice(&body) {
        _ if !takes_body => Map::new(),
        // Malformed or empty: an answer that looks like success, and nothing is changed.
        Err(_) | Ok(Value::Null | Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            return empty(StatusCode::OK);
        }
        Ok(Value::Object(body)) => body,
    };
    // A number is taken for its text.
    let text = |key: &str| match body.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let groups = body
        .get("groups")
        .and_then(Value::as_array)
        .map(|groups| groups.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>());
    let login = match resource {
        Resource::Users => text("loginName").unwrap_or_default(),
        Resource::User(login) | Resource::Command(login, _) => login.clone(),
        _ => caller.name().to_owned(),
    };
    let password = match resource {
        Resource::Users => text("password"),
        _ => text("newPassword"),
    };
    if takes_body && password.is_none() && method != Method::PUT {
        // No password at all cannot be hashed, and nobody says so.
        api.node.never_answer(worker).await;
        return reason(StatusCode::REQUEST_TIMEOUT, "Server was unable to handle request in time");
    }
    let password = password.unwrap_or_default();

    if *resource == Resource::Users {
        let existing = api.node.users(|users| users.get(&login).map(|user| user.password.matches(&password)));
        return match existing {
            Some(false) => json(StatusCode::CONFLICT, replies::update(&login, "Conflict")),
            Some(true) => created(&login, base),
            None => {
                let full_name = text("fullName").unwrap_or_default();
                stored(api.node.users(|users| users.create(&login, &full_name, groups, &password)));
                created(&login, base)
            }
        };
    }
    let Some(version) = api.node.users(|users| users.version(&login)) else {
        return json(StatusCode::NOT_FOUND, replies::update(&login, "NotFound"));
    };
    if let Resource::Command(_, Command::ChangePassword) = resource {
        let current = text("currentPassword").unwrap_or_default();
        // The stored password decides, not the cache.
        if !api.node.users(|users| users.get(&login).is_some_and(|user| user.password.matches(&current))) {
            let reply = json(StatusCode::UNAUTHORIZED, replies::update(&login, "Unauthorized"));
            return with_header(reply, WWW_AUTHENTICATE, WRONG_CURRENT_PASSWORD);
        }
    }
    tokio::time::sleep(api.node.scaled(WRITE_TIME)).await;
    if let Resource::Command(_, Command::ResetPassword) = resource {
        let lose = api.resets_to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lose.is_ok() {
            stored(api.node.users(|users| users.update(&login, false, |user| user.set_password(&password))));
            let mut reply = empty(StatusCode::OK);
            reply.extensions_mut().insert(ReplyLost);
            return reply;
        }
    }
    api.node.users(|users| {
        if users.version(&login) != Some(version) {
            return json(StatusCode::CONFLICT, replies::update(&login, "Conflict"));
        }
        stored(match resource {
            Resource::Command(_, Command::Enable) => users.update(&login, false, |user| user.disabled = false),
            Resource::Command(_, Command::Disable) => users.update(&login, true, |user| user.disabled = true),
            Resource::Command(..) => users.update(&login, true, |user| user.set_password(&password)),
            _ if method == Method::DELETE => users.delete(&login),
            _ => users.update(&login, true, |user| {
                user.full_name = text("fullName").unwrap_or_default();
                user.groups = groups;
            }),
        });
        json(StatusCode::OK, replies::update(&login, "Success"))
    })
}

/// A real server ends when its storage fails, and so does this one.
fn stored(result: std::io::Result<()>) {
    if let Err(error) = result {
        eprintln!("Unexpected error in StorageWriterService. Terminating the process... {error}");
        std::process::exit(1);
    }
}

fn created(login: &str, base: &str) -> Reply {
    let reply = json(StatusCode::CREATED, replies::update(login, "Success"));
    with_header(reply, LOCATION, &format!("{base}/users/{login}"))
}

fn state_name(state: State) -> &'static str {
    match state {
        State::PreLeader => "preleader",
        State::Leader => "leader",
        State::ShuttingDown => "shuttingdown",
    }
}

/// `application/json` and `text/xml`, with UTF-8 if a charset is named at all (contract §1.2).
fn is_readable(header: Option<&HeaderValue>) -> bool {
    let Some(text) = header.and_then(|header| header.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = matches!(parts.next(), Some("application/json" | "text/xml"));
    kind && parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8"))
}

/// Whether the reply is JSON (true) or XML (false), or cannot be what is asked for.
fn accepts(header: Option<&HeaderValue>) -> Option<bool> {
    let Some(header) = header else { return Some(true) };
    let kinds: Vec<_> =
        header.to_str().ok()?.split(',').map(|part| part.split(';').next().unwrap_or(part).trim()).collect();
    if kinds.iter().any(|kind| matches!(*kind, "*/*" | "application/json" | "application/*")) {
        Some(true)
    } else {
        kinds.contains(&"text/xml").then_some(false)
    }
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    with_header(reply, http::header::SERVER, "Kestrel")
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = with_header(empty(status), CONTENT_TYPE, "application/json; charset=utf-8");
    *reply.body_mut() = Full::new(body);
    reply
}

fn reason(status: StatusCode, phrase: &'static str) -> Reply {
    let mut reply = empty(status);
    reply.extensions_mut().insert(ReasonPhrase::from_static(phrase.as_bytes()));
    reply
}

fn redirect(to: &str) -> Reply {
    let mut reply = with_header(empty(StatusCode::FOUND), LOCATION, to);
    *reply.body_mut() = Full::new(Bytes::from_static(b"Moved"));
    reply
}

fn controller_headers(mut reply: Reply, allowed: &str) -> Reply {
    for (name, value) in [
        ("access-control-allow-methods", allowed),
        (
            "access-control-allow-headers",
            "Content-Type, X-Requested-With, X-Forwarded-Host, X-Forwarded-Prefix, X-PINGOTHER, Authorization, ES-LongPoll, ES-ExpectedVersion, ES-EventId, ES-EventType, ES-RequireMaster, ES-RequireLeader, ES-HardDelete, ES-ResolveLinkTos",
        ),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "Location, ES-Position, ES-CurrentVersion"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

fn with_header(mut reply: Reply, name: http::HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
