//! The HTTP API: authentication, routing, content negotiation, authorisation, forwarding, handlers, in the server's order
//! (contract §1.4), with the replies of observed §2 and what lines §A and observed-25 §A say of other lines.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::answers::{
    Reply, compressed, empty, from_bridge, from_controller, json, now, reason, redirect, text, with_header,
};
use super::forward::{FORWARDED_HOST, forward};
use super::journal::Journal;
use super::members::{Info, Member, State};
use super::node::{Caller, Node, Verdict};
use super::routes::{AdminOrder, Format, Resource, accepts, format_in, is_readable};
use super::{life, protocol, replies, scavenges, writes};

const CHALLENGE: &str = "X-Basic realm=\"ESDB\"";

/// What all connections share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) node: Arc<Node>,
    pub(super) journal: Journal,
    /// So many resets are stored and not announced, and their replies are lost (observed §4, the trap).
    pub(super) resets_to_lose: AtomicUsize,
    /// Tells the listener to reload, and the process to end.
    pub(super) orders: mpsc::UnboundedSender<Order>,
}

/// What a request can make the process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Reload,
    ShutDown,
}

/// Who is at the other end of a connection, by its client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Anybody,
    Node,
    /// It has a certificate of the cluster, and is not taken for a node for this reason.
    NoNode(String),
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
        self.0.node.leave_request();
    }
}

/// Answers one request.
pub(super) async fn answer(api: Arc<Api>, request: Request<Incoming>, peer: Peer) -> Result<Reply, ReplyLost> {
    if request.uri().path().starts_with("/standin/") {
        return Ok(answer_node(&api, request, &peer).await);
    }
    api.node.enter_request();
    let in_flight = InFlight(Arc::clone(&api));
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let (user, reply) = respond(&api, request, peer == Peer::Node).await;
    api.journal.note(&method, &path, &user, reply.status().as_u16());
    drop(in_flight);
    if reply.extensions().get::<ReplyLost>().is_some() { Err(ReplyLost) } else { Ok(reply) }
}

/// What nodes say to each other is not for others: for them the path does not exist.
async fn answer_node(api: &Api, request: Request<Incoming>, peer: &Peer) -> Reply {
    let node = &api.node;
    match peer {
        Peer::Node => {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
            let answer = protocol::answer(node, &path, &body);
            return answer.map_or_else(|| unknown_path(node), |body| json(StatusCode::OK, body));
        }
        Peer::NoNode(why) if node.line().checks_usages() => {
            node.say_once(&format!("Connection from node: unknown was denied because {why}"));
        }
        // Older lines do not say why (lines §E).
        Peer::NoNode(_) => {
            node.say_once("Failed authorization check for \"(anonymous)\" in node/gossip : update Deny");
        }
        Peer::Anybody => {}
    }
    unknown_path(node)
}

async fn respond(api: &Api, request: Request<Incoming>, is_node: bool) -> (String, Reply) {
    let node = &api.node;
    let is_health = request.uri().path() == "/health/live";
    if is_health && !node.line().authenticates_health() {
        return (String::new(), health(node, &request));
    }
    let worker = node.arrived();
    let caller = match authenticate(node, request.headers(), is_node) {
        Ok(caller) => caller,
        Err(reply) => return (String::new(), *reply),
    };
    let name = caller.name().to_owned();
    let reply = if is_health { health(node, &request) } else { serve(api, request, &caller, worker).await };
    (name, reply)
}

fn health(node: &Node, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let asked = request.uri().query().and_then(|query| query.strip_prefix("liveCode="));
    let asked = asked.filter(|_| node.line().honours_live_code()).and_then(|code| code.parse().ok());
    let ready = asked.and_then(|code| StatusCode::from_u16(code).ok());
    if node.with(|inner| inner.live) {
        empty(ready.unwrap_or(StatusCode::NO_CONTENT))
    } else {
        empty(StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// Every path asks who it is, also the public ones. What is not a Basic header counts as no header.
fn authenticate(node: &Node, headers: &HeaderMap, is_node: bool) -> Result<Caller, Box<Reply>> {
    if node.options.is_insecure {
        return Ok(Caller::System);
    }
    let line = node.line();
    let unknown = || if is_node { Caller::System } else { Caller::Anonymous };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let basic = match (given.next(), given.next()) {
        (Some(header), None) => header.to_str().ok().and_then(|header| {
            let bearer = || header.strip_prefix("Bearer ").filter(|_| line.forgives_credentials());
            header.strip_prefix("Basic ").or_else(bearer)
        }),
        _ => None,
    };
    let Some(basic) = basic else { return Ok(unknown()) };
    let Ok(mut decoded) = STANDARD.decode(basic) else {
        return if line.forgives_credentials() {
            Ok(unknown())
        } else {
            Err(Box::new(empty(StatusCode::INTERNAL_SERVER_ERROR)))
        };
    };
    if line.reads_credentials_as_ascii() {
        decoded.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
    }
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    let Some((login, password)) = decoded.split_once(':') else { return Ok(unknown()) };
    match node.log_in(login, password) {
        Verdict::Accepted(caller) => Ok(caller),
        Verdict::Refused => Err(Box::new(with_header(empty(StatusCode::UNAUTHORIZED), WWW_AUTHENTICATE, CHALLENGE))),
        Verdict::NotReady => Err(Box::new(with_header(empty(StatusCode::SERVICE_UNAVAILABLE), RETRY_AFTER, "5"))),
    }
}

fn unknown_path(node: &Node) -> Reply {
    let reply = empty(StatusCode::NOT_FOUND);
    if node.line().routes_unknown_paths() { reply } else { from_bridge(node.line(), reply) }
}

fn wrong_method(line: super::line::Line, resource: &Resource, method: &Method) -> Reply {
    let reply = empty(StatusCode::METHOD_NOT_ALLOWED);
    if line.routes_wrong_methods() && method != Method::HEAD {
        let allow = ["OPTIONS"].into_iter().chain(resource.methods().iter().copied()).collect::<Vec<_>>().join(", ");
        return with_header(reply, ALLOW, &allow);
    }
    from_controller(line, reply, &resource.allowed())
}

async fn serve(api: &Api, request: Request<Incoming>, caller: &Caller, worker: u64) -> Reply {
    let (node, line) = (&api.node, api.node.line());
    // Without the internal authentication there is nobody who answers for users (contract §1).
    let resource = Resource::of(line, request.uri().path())
        .filter(|resource| !(node.options.is_insecure && resource.is_about_users()));
    let Some(resource) = resource else { return unknown_path(node) };
    let method = request.method().clone();
    let allowed = resource.allowed();
    if method == Method::OPTIONS {
        return from_controller(line, empty(StatusCode::OK), &allowed);
    }
    if !resource.methods().contains(&method.as_str()) {
        return wrong_method(line, &resource, &method);
    }
    if resource.takes_body(&method) && !is_readable(request.headers().get(CONTENT_TYPE)) {
        return from_bridge(line, reason(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Invalid or missing Content-Type"));
    }
    let Ok(named) = format_in(request.uri().query()) else { return empty(StatusCode::INTERNAL_SERVER_ERROR) };
    let Some(format) = named.or_else(|| accepts(request.headers())) else {
        let phrase = "Requested URI is not available in requested format";
        return from_bridge(line, reason(StatusCode::NOT_ACCEPTABLE, phrase));
    };
    if !resource.is_open_to(line, caller) {
        return from_controller(line, empty(StatusCode::UNAUTHORIZED), &allowed);
    }
    let base = base_url(node, &request);
    let coding = request.headers().get(ACCEPT_ENCODING).cloned();
    if resource.is_the_leaders() {
        let leader = node.with(|inner| inner.leader.clone().filter(|_| inner.state.is_replica()));
        if let Some(leader) = leader {
            return forward(node, request, &leader, &base, worker).await;
        }
    }
    let reply = match resource {
        Resource::Root => return redirect(&format!("{base}{}", line.first_page())),
        Resource::Web => return redirect(&format!("{base}/web/index.html")),
        Resource::WebPage => return empty(StatusCode::OK),
        Resource::Info => {
            let state = node.with(|inner| inner.state).lower_case();
            json(StatusCode::OK, replies::info(line, &state, node.options.is_insecure))
        }
        Resource::Ping => json(StatusCode::OK, replies::ping(line)),
        Resource::Gossip => gossip(node),
        Resource::InfoOptions => json(StatusCode::OK, replies::options(line, &node.options.shown)),
        Resource::Stats => {
            json(StatusCode::OK, replies::stats(std::process::id(), node.with(|inner| inner.users.bytes())))
        }
        Resource::Metrics => text(replies::metrics(line, node.with(|inner| inner.state))),
        Resource::AdminLogin => admin_login(line, caller),
        Resource::AdminOrder(order) => admin_order(api, order),
        Resource::Scavenges => scavenges::answer(node, &method, None, request.uri().query()),
        Resource::Scavenge(which) => scavenges::answer(node, &method, Some(&which), None),
        _ if method == Method::GET => read_users(node, &resource, caller, worker, &base).await,
        resource => writes::write(api, request, &resource, caller, worker, &base).await,
    };
    let reply = if format == Format::Json { compressed(reply, coding.as_ref()) } else { empty(reply.status()) };
    from_controller(line, reply, &allowed)
}

/// How clients reach this node: as whoever forwards says, as the options say, or as the client did (contract §1.3).
fn base_url(node: &Node, request: &Request<Incoming>) -> String {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let advertised = (node.options.advertises || node.options.for_clients != node.options.own_name)
        .then(|| node.options.for_clients.to_string());
    let host = header(FORWARDED_HOST).map(str::to_owned).or(advertised);
    let asked =
        || request.uri().authority().map(ToString::to_string).or_else(|| header(HOST.as_str()).map(str::to_owned));
    let host = host.or_else(asked).unwrap_or_else(|| node.options.for_clients.to_string());
    format!("{}://{host}", if node.options.is_insecure { "http" } else { "https" })
}

async fn read_users(node: &Node, resource: &Resource, caller: &Caller, worker: u64, base: &str) -> Reply {
    let line = node.line();
    if *resource == Resource::Users {
        let list = node.with(|inner| {
            let any = inner.users.all().next().is_some();
            any.then(|| replies::user_list(line, inner.users.all(), base))
        });
        return match list {
            Some(list) => json(StatusCode::OK, list),
            // There is no list to read yet (contract §1.5).
            None => writes::never(node, worker).await,
        };
    }
    let found = node.with(|inner| match resource {
        Resource::User(login) => inner.users.get(login).map(|user| replies::user(line, user, base)),
        _ => inner.users.get(caller.name()).map(|user| replies::current_user(line, user)),
    });
    found.map_or_else(|| json(StatusCode::NOT_FOUND, replies::not_found(line)), |body| json(StatusCode::OK, body))
}

fn admin_login(line: super::line::Line, caller: &Caller) -> Reply {
    let (name, groups) = match caller {
        Caller::Anonymous => return empty(StatusCode::UNAUTHORIZED),
        Caller::System => ("system", vec!["system".to_owned(), "$admins".to_owned()]),
        Caller::User { login, groups } => (login.as_str(), groups.clone()),
    };
    json(StatusCode::OK, replies::login(line, name, &groups, &now()))
}

fn admin_order(api: &Api, order: AdminOrder) -> Reply {
    let order = match order {
        AdminOrder::Reload => Some(Order::Reload),
        AdminOrder::ShutDown => Some(Order::ShutDown),
        AdminOrder::Resign => {
            life::resign(&api.node);
            None
        }
    };
    if let Some(order) = order {
        // The listener ends with the process.
        let _ = api.orders.send(order);
    }
    empty(StatusCode::OK)
}

fn gossip(node: &Node) -> Reply {
    let members = node.with(|inner| {
        let own = shown(node, &node.info(inner), inner.state, true);
        let others = inner.members.iter().map(|(name, member)| match (&member.info, member.is_alive()) {
            (Some(info), true) => shown(node, info, info.state, true),
            (Some(info), false) => shown(node, info, State::Unknown, false),
            (None, _) => not_contacted(node, name, member),
        });
        [own].into_iter().chain(others).collect::<Vec<_>>()
    });
    let clients = &node.options.for_clients;
    let reply = json(StatusCode::OK, replies::gossip(members, &clients.host, clients.port));
    let reply = with_header(reply, CACHE_CONTROL, "max-age=0, no-cache, must-revalidate");
    with_header(reply, VARY, "Accept")
}

fn shown(node: &Node, info: &Info, state: State, is_alive: bool) -> replies::Member {
    let line = node.line();
    replies::Member {
        instance_id: info.instance_id.clone(),
        time_stamp: now(),
        state: format!("{state:?}"),
        is_alive,
        internal_tcp_ip: info.replication.host.clone(),
        internal_tcp_port: if node.options.is_insecure { info.replication.port } else { 0 },
        internal_secure_tcp_port: if node.options.is_insecure { 0 } else { info.replication.port },
        external_tcp_ip: info.name.host.clone(),
        external_tcp_port: 0,
        external_secure_tcp_port: 0,
        internal_http_end_point_ip: line.gossips_internal_http().then(|| info.name.host.clone()),
        internal_http_end_point_port: line.gossips_internal_http().then_some(info.name.port),
        http_end_point_ip: info.for_clients.host.clone(),
        http_end_point_port: info.for_clients.port,
        last_commit_position: info.bytes,
        writer_checkpoint: info.bytes,
        chaser_checkpoint: info.bytes,
        epoch_position: 0,
        epoch_number: info.epoch,
        epoch_id: info.instance_id.clone(),
        node_priority: info.priority,
        is_read_only_replica: !info.has_vote,
        es_version: line.gossips_versions().then(|| info.version.clone()),
    }
}

/// A seed that has not answered yet is a `Manager`, and alive until it was called in vain (contract §3.2).
fn not_contacted(node: &Node, name: &super::members::Endpoint, member: &Member) -> replies::Member {
    let info = Info {
        name: name.clone(),
        for_clients: name.clone(),
        replication: name.clone(),
        instance_id: uuid::Uuid::nil().to_string(),
        version: "0.0.0.0".to_owned(),
        state: State::Unknown,
        epoch: 0,
        stored: super::users::Position::default(),
        bytes: 0,
        priority: 0,
        has_vote: true,
        has_resigned: false,
    };
    let mut shown = shown(node, &info, State::Unknown, !member.missed);
    if !member.missed {
        "Manager".clone_into(&mut shown.state);
    }
    shown
}
