//! The adapter to the servers of the database: the node's own, and its peers. Names reqwest, as `ecs.rs` does.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use certgen::root_cause;
use reqwest::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::password::Password;
use crate::ports::{AccountRecord, Login, Members, Membership, Requester, Server, ServerError};
use crate::resolver::Resolver;
use crate::rotation::Role;
use crate::trust::{NodeIdentity, Trust, TrustError, sha256};
use crate::user::{ADMIN, OPS};

/// The server has no time-outs of its own: a request it cannot finish is never answered (observed §3).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP API of one node over TLS. Clones, and the peers it finds, follow when the roots change.
#[derive(Clone, Debug)]
pub struct HttpServer {
    node: Arc<OwnNode>,
    /// The same for all nodes: they show certificates of the same roots.
    clients: Arc<RwLock<Clients>>,
    authority: String,
    /// Whether it is the own node, and not a peer of it.
    is_own: bool,
}

/// Where the own node is, and who knows the names of others.
struct OwnNode {
    /// Whether it speaks TLS.
    is_secure: bool,
    address: SocketAddr,
    name: String,
    resolver: Resolver,
}

impl fmt::Debug for OwnNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnNode").field("address", &self.address).field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Clients {
    client: Client,
    /// The same, but it shows the node's certificate; only if that was asked for.
    of_node: Option<Client>,
}

impl OwnNode {
    fn clients(&self, trust: &Trust, identity: Option<NodeIdentity>) -> Result<Clients, ServerError> {
        let client = self.builder(trust.client_config(&self.name).map_err(unusable)?, self.resolver.clone());
        // Only the own node is asked in this way: through a follower the certificate counts for nothing (observed §4).
        let of_node = identity.map(|identity| {
            build(self.builder(trust.client_config_of(identity, &self.name).map_err(unusable)?, Resolver::nobody()))
        });
        Ok(Clients { client: build(client)?, of_node: of_node.transpose()? })
    }

    fn builder(&self, tls: rustls::ClientConfig, resolver: Resolver) -> ClientBuilder {
        Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(resolver))
            .resolve(&self.name, self.address)
            .no_proxy()
            .redirect(Policy::none())
            .http1_only()
            .https_only(self.is_secure)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
    }
}

fn build(client: ClientBuilder) -> Result<Client, ServerError> {
    client.build().map_err(|error| ServerError::Certificate(root_cause(&error)))
}

#[expect(clippy::needless_pass_by_value, reason = "it is an argument of `map_err`")]
fn unusable(error: TrustError) -> ServerError {
    ServerError::Certificate(error.to_string())
}

impl HttpServer {
    /// A client for the own node at `address` that trusts nothing but `trust` and expects `name` in the certificate.
    /// Peers are looked up with `resolver` and must show the name that they advertise.
    ///
    /// # Errors
    ///
    /// [`ServerError::Certificate`] if the roots cannot be used.
    pub fn new(address: SocketAddr, name: &str, trust: &Trust, resolver: Resolver) -> Result<Self, ServerError> {
        let node = OwnNode { is_secure: true, address, name: name.to_owned(), resolver };
        let clients = node.clients(trust, None)?;
        Ok(Self::of(node, clients, format!("{name}:{}", address.port())))
    }

    /// A client for the own node at `address`, an address of loopback, that runs without TLS and authentication.
    ///
    /// # Errors
    ///
    /// [`ServerError::Certificate`] if no client can be made.
    pub(crate) fn insecure(address: SocketAddr) -> Result<Self, ServerError> {
        let node = OwnNode { is_secure: false, address, name: "localhost".to_owned(), resolver: Resolver::nobody() };
        let client =
            build(node.builder(Trust::nobody().client_config("localhost").map_err(unusable)?, Resolver::nobody()))?;
        Ok(Self::of(node, Clients { client, of_node: None }, address.to_string()))
    }

    fn of(node: OwnNode, clients: Clients, authority: String) -> Self {
        Self { node: Arc::new(node), clients: Arc::new(RwLock::new(clients)), authority, is_own: true }
    }

    /// From now on trusts nothing but `trust`, and is able to ask in the name of the node if there is an `identity`. So do
    /// all clones.
    ///
    /// # Errors
    ///
    /// [`ServerError::Certificate`] if the roots or the identity cannot be used; then it goes on as before.
    pub fn trust(&self, trust: &Trust, identity: Option<NodeIdentity>) -> Result<(), ServerError> {
        let clients = self.node.clients(trust, identity)?;
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    /// The SHA-256 of the certificate that the own node shows in a new handshake, in hexadecimal, if one of the roots in
    /// `trust` signed it.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if there is no handshake, or no answer.
    pub async fn served_certificate(&self, trust: &Trust) -> Result<String, ServerError> {
        let tls = trust.client_config(&self.node.name).map_err(unusable)?;
        // A client of its own has no connection yet.
        let client = build(self.node.builder(tls, Resolver::nobody()).tls_info(true))?;
        let answer = client.get(self.url("/health/live")).send().await.map_err(|error| failure(&error))?;
        let certificate = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        certificate.map(sha256).ok_or_else(|| ServerError::Answer("without a certificate".to_owned()))
    }

    /// Has the node read its certificates again. Its yes says nothing about whether it could use them (observed §7).
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it did not say yes.
    pub async fn reload(&self, admin: &Password) -> Result<(), ServerError> {
        let call = self.as_admin(Method::POST, "/admin/reloadconfig", admin).body(Vec::new());
        let answer = call.send().await.map_err(|error| failure(&error))?;
        if answer.status() == StatusCode::UNAUTHORIZED && challenges_login(&answer) {
            return Err(ServerError::Refused("the reload".to_owned()));
        }
        if !answer.status().is_success() {
            return Err(ServerError::Answer(format!("{} to the reload", answer.status())));
        }
        Ok(())
    }

    /// All members as the node's gossip has them.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not say.
    pub(crate) async fn roster(&self) -> Result<Roster, ServerError> {
        Ok(self.get_json::<Gossip>("/gossip").await?.roster())
    }

    /// Begins a scavenge on this node, with one thread. Gives the server's id of it.
    ///
    /// # Errors
    ///
    /// [`ServerError::Unreachable`] if there was no answer: it may have begun. With any other error it has not; one that
    /// runs already is answered with 400.
    pub(crate) async fn begin_scavenge(&self, ops: &Password) -> Result<String, ServerError> {
        let call = self.as_ops(Method::POST, "/admin/scavenge?threads=1", ops).body(Vec::new());
        let answer = operated(call, "the scavenge").await?;
        // It has begun, whatever follows.
        answer.json::<Scavenge>().await.map(|begun| begun.scavenge_id).map_err(|error| silence(&error))
    }

    /// The id of the scavenge that runs on this node, if one does.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not say.
    pub(crate) async fn current_scavenge(&self, ops: &Password) -> Result<Option<String>, ServerError> {
        let call = self.as_ops(Method::GET, "/admin/scavenge/current", ops);
        let answer = operated(call, "the question for the scavenge").await?;
        let current: Scavenge = answer.json().await.map_err(|error| failure(&error))?;
        Ok(Some(current.scavenge_id).filter(|id| !id.is_empty()))
    }

    /// Stops the scavenge with this id, which the next one then goes on with.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it did not say yes.
    pub(crate) async fn stop_scavenge(&self, ops: &Password, id: &str) -> Result<(), ServerError> {
        let call = self.as_ops(Method::DELETE, &format!("/admin/scavenge/{id}"), ops);
        operated(call, "the end of the scavenge").await.map(drop)
    }

    fn as_ops(&self, method: Method, path: &str, ops: &Password) -> RequestBuilder {
        self.client().request(method, self.url(path)).basic_auth(OPS, Some(ops.expose()))
    }

    fn client(&self) -> Client {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    fn client_of_node(&self) -> Option<Client> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.of_node.clone().filter(|_| self.is_own)
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.node.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority)
    }

    async fn get(&self, path: &str) -> Result<Response, ServerError> {
        self.client().get(self.url(path)).send().await.map_err(|error| failure(&error))
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ServerError> {
        let answer = self.get(path).await?;
        if !answer.status().is_success() {
            return Err(ServerError::Answer(format!("{} to GET {path}", answer.status())));
        }
        answer.json().await.map_err(|error| failure(&error))
    }

    /// The voting members as the node's gossip has them.
    pub(crate) async fn census(&self) -> Result<Census, ServerError> {
        Ok(self.get_json::<Gossip>("/gossip").await?.census())
    }

    /// A change of users, or a question about them.
    async fn user_call(&self, call: RequestBuilder, body: Option<&impl Serialize>) -> Result<Reply, ServerError> {
        let mut call = call;
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map(Zeroizing::new);
            let body = body.map_err(|error| ServerError::Answer(error.to_string()))?;
            // A body of known length: a chunked one is refused by a follower (observed §4).
            call = call.header(CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        let answer = call.send().await.map_err(|error| failure(&error))?;
        let (status, is_refused) = (answer.status(), challenges_login(&answer));
        if status == StatusCode::UNAUTHORIZED && is_refused {
            return Err(ServerError::Refused(format!("{status}, X-Basic")));
        }
        // 200 with an empty body means that nothing was changed (observed §2).
        let said = answer.json::<Reply>().await.unwrap_or_default();
        Ok(Reply { status, ..said })
    }

    fn as_admin(&self, method: Method, path: &str, admin: &Password) -> RequestBuilder {
        self.client().request(method, self.url(path)).basic_auth(ADMIN, Some(admin.expose()))
    }
}

/// Sends what only operators may ask for.
async fn operated(call: RequestBuilder, what: &str) -> Result<Response, ServerError> {
    let answer = call.send().await.map_err(|error| failure(&error))?;
    if answer.status() == StatusCode::UNAUTHORIZED && challenges_login(&answer) {
        return Err(ServerError::Refused(what.to_owned()));
    }
    if !answer.status().is_success() {
        return Err(ServerError::Answer(format!("{} to {what}", answer.status())));
    }
    Ok(answer)
}

/// An answer that was lost on its way.
fn silence(error: &reqwest::Error) -> ServerError {
    ServerError::Unreachable(root_cause(error))
}

/// Where none runs the id is empty (contract only: `AdminController`, 23.10 to 25.0).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scavenge {
    #[serde(default)]
    scavenge_id: String,
}

#[derive(Deserialize)]
struct Info {
    state: String,
}

/// Members are known by the name and port that they advertise to clients (observed §1, contract §3.2).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gossip {
    members: Vec<Member>,
    server_ip: String,
    server_port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(default)]
    state: String,
    is_alive: bool,
    #[serde(default)]
    is_read_only_replica: bool,
    http_end_point_ip: String,
    http_end_point_port: u16,
}

/// Who of the voting members is alive and up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// So many are alive, and lead or follow. Who copies what it lacks is neither yet.
    pub(crate) caught_up: usize,
    /// Whether the node that was asked is one of them.
    pub(crate) own_among_them: bool,
    /// Whether one of them leads.
    pub(crate) has_leader: bool,
}

/// The members of a cluster with what scavenges depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roster {
    /// The member that was asked, as `host:port` that it advertises to clients.
    pub(crate) own: String,
    members: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    is_alive: bool,
    leads: bool,
    votes: bool,
}

impl Roster {
    /// The names of all members, in the order of names.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn voters_alive(&self) -> usize {
        self.members.iter().filter(|member| member.votes && member.is_alive).count()
    }

    pub(crate) fn someone_is_dead(&self) -> bool {
        self.members.iter().any(|member| !member.is_alive)
    }

    /// Whether the member that was asked leads.
    pub(crate) fn own_leads(&self) -> bool {
        self.members.iter().any(|member| member.leads && member.name == self.own)
    }
}

impl Gossip {
    fn roster(self) -> Roster {
        let own = format!("{}:{}", self.server_ip, self.server_port);
        let listed = |member: Member| Listed {
            name: format!("{}:{}", member.http_end_point_ip, member.http_end_point_port),
            is_alive: member.is_alive,
            leads: matches!(member.state.as_str(), "Leader" | "PreLeader" | "ResigningLeader"),
            votes: !member.is_read_only_replica,
        };
        Roster { own, members: self.members.into_iter().map(listed).collect() }
    }

    fn census(&self) -> Census {
        let is_voter = |member: &&Member| member.is_alive && !member.is_read_only_replica;
        let in_state = |state: &'static str| move |member: &Member| member.state == state;
        let (leads, follows) = (in_state("Leader"), in_state("Follower"));
        let caught_up: Vec<_> =
            self.members.iter().filter(is_voter).filter(|member| leads(member) || follows(member)).collect();
        let is_own = |member: &Member| {
            (member.http_end_point_ip.as_str(), member.http_end_point_port) == (&self.server_ip, self.server_port)
        };
        Census {
            caught_up: caught_up.len(),
            own_among_them: caught_up.iter().any(|member| is_own(member)),
            has_leader: caught_up.iter().any(|member| leads(member)),
        }
    }

    /// A cut-off leader says for another 3.2 s that it leads (observed §5); the dead stay in its list.
    fn require_majority(&self) -> Result<(), ServerError> {
        let voting = || self.members.iter().filter(|member| !member.is_read_only_replica);
        let (alive, all) = (voting().filter(|member| member.is_alive).count(), voting().count());
        if alive * 2 > all {
            return Ok(());
        }
        Err(ServerError::Answer(format!("that {alive} of {all} members are alive, which is no majority")))
    }

    fn members(self) -> Members {
        let own = format!("{}:{}", self.server_ip, self.server_port);
        let alive = self.members.into_iter().filter(|member| member.is_alive);
        let alive: Vec<_> = alive
            .map(|member| {
                (format!("{}:{}", member.http_end_point_ip, member.http_end_point_port), member.state == "Leader")
            })
            .collect();
        let leads = alive.iter().any(|(name, leads)| *leads && *name == own);
        Members { own, leads, alive: alive.into_iter().map(|(name, _)| name).collect() }
    }

    /// Host and port of the living members but for the one that was asked.
    fn others(self) -> impl Iterator<Item = String> {
        let own = (self.server_ip, self.server_port);
        let members = self.members.into_iter().filter(|member| member.is_alive);
        let endpoints = members.map(|member| (member.http_end_point_ip, member.http_end_point_port));
        endpoints.filter(move |endpoint| *endpoint != own).map(|(host, port)| format!("{host}:{port}"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewPassword<'a> {
    new_password: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount<'a> {
    login_name: &'a str,
    full_name: &'a str,
    groups: &'a [String],
    password: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangedAccount<'a> {
    full_name: &'a str,
    groups: &'a [String],
}

/// The keys of a reply differ by server line; these are in all of them where they have a meaning.
#[derive(Default, Deserialize)]
struct Reply {
    #[serde(skip)]
    status: StatusCode,
    #[serde(default)]
    success: bool,
    #[serde(default)]
    data: Option<FoundAccount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundAccount {
    login_name: String,
    #[serde(default)]
    full_name: Option<String>,
    #[serde(default)]
    groups: Option<Vec<String>>,
}

impl Reply {
    /// Success in words, or what was said instead to `what`.
    fn confirm(self, what: &str) -> Result<Self, ServerError> {
        if self.status.is_success() && self.success {
            return Ok(self);
        }
        Err(ServerError::Answer(format!("{} to {what}, without success", self.status)))
    }
}

impl Server for HttpServer {
    async fn is_live(&self) -> Result<bool, ServerError> {
        // Without credentials: from 25.1 on a wrong login would be answered before the health check.
        Ok(self.get("/health/live").await?.status().is_success())
    }

    async fn role(&self) -> Result<Role, ServerError> {
        let info: Info = self.get_json("/info").await?;
        Ok(if info.state == "leader" { Role::Leader } else { Role::Replica })
    }

    async fn peers(&self) -> Result<Vec<Self>, ServerError> {
        let gossip: Gossip = self.get_json("/gossip").await?;
        gossip.require_majority()?;
        Ok(gossip.others().map(|authority| Self { authority, is_own: false, ..self.clone() }).collect())
    }

    async fn login(&self, user: &str, password: &Password) -> Login {
        let ping = self.client().get(self.url("/ping")).basic_auth(user, Some(password.expose()));
        match ping.send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Login::Accepted,
            // There are other 401s; this one is about the password (contract §1.4).
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && challenges_login(&answer) => Login::Refused,
            _ => Login::Unclear,
        }
    }

    async fn reset_password(&self, by: Requester<'_>, user: &str, new: &Password) -> Result<(), ServerError> {
        let path = format!("/users/{user}/command/reset-password");
        let call = match (by, self.client_of_node()) {
            (Requester::Admin(password), _) => self.as_admin(Method::POST, &path, password),
            // A login beside the certificate would count instead of it (observed §2).
            (Requester::NodeCertificate, Some(client)) => client.post(self.url(&path)),
            (Requester::NodeCertificate, None) => {
                return Err(ServerError::Answer("nothing: the node's certificate was not read".to_owned()));
            }
        };
        let reply = self.user_call(call, Some(&NewPassword { new_password: new.expose() })).await?;
        reply.confirm(&format!("the password reset of `{user}`")).map(drop)
    }

    async fn account(&self, admin: &Password, login: &str) -> Result<Option<AccountRecord>, ServerError> {
        let call = self.as_admin(Method::GET, &format!("/users/{login}"), admin);
        let reply = self.user_call(call, None::<&()>).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let found = reply.confirm(&format!("the question for the user `{login}`"))?.data;
        let found = found.ok_or_else(|| ServerError::Answer(format!("without the user `{login}`")))?;
        let (full_name, groups) = (found.full_name.unwrap_or_default(), found.groups.unwrap_or_default());
        Ok(Some(AccountRecord { login: found.login_name, full_name, groups }))
    }

    async fn create_account(
        &self,
        admin: &Password,
        account: &AccountRecord,
        password: &Password,
    ) -> Result<(), ServerError> {
        let AccountRecord { login, full_name, groups } = account;
        let body = NewAccount { login_name: login, full_name, groups, password: password.expose() };
        let reply = self.user_call(self.as_admin(Method::POST, "/users/", admin), Some(&body)).await?;
        reply.confirm(&format!("the creation of `{login}`")).map(drop)
    }

    async fn update_account(&self, admin: &Password, account: &AccountRecord) -> Result<(), ServerError> {
        let AccountRecord { login, full_name, groups } = account;
        let call = self.as_admin(Method::PUT, &format!("/users/{login}"), admin);
        let reply = self.user_call(call, Some(&ChangedAccount { full_name, groups })).await?;
        reply.confirm(&format!("the change of `{login}`")).map(drop)
    }

    fn address(&self) -> &str {
        &self.authority
    }
}

impl Membership for HttpServer {
    async fn members(&self) -> Result<Members, ServerError> {
        let gossip: Gossip = self.get_json("/gossip").await?;
        gossip.require_majority()?;
        Ok(gossip.members())
    }
}

fn challenges_login(answer: &Response) -> bool {
    header(answer, &WWW_AUTHENTICATE).is_some_and(|challenge| challenge.starts_with("X-Basic"))
}

fn header<'a>(answer: &'a Response, name: &HeaderName) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

fn failure(error: &reqwest::Error) -> ServerError {
    if let Some(certificate) = certificate_error(error) {
        return ServerError::Certificate(certificate);
    }
    if error.is_timeout() {
        return ServerError::Unreachable("no answer in time".to_owned());
    }
    ServerError::Unreachable(root_cause(error))
}

/// What rustls said, if it refused the server's certificate. An I/O error does not name what it carries as its source,
/// so it is opened.
fn certificate_error(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(refused)) = error.downcast_ref() {
            return Some(refused.to_string());
        }
        let carried = error.downcast_ref().and_then(io::Error::get_ref);
        cause = carried.map_or_else(|| error.source(), |carried| Some(carried));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a 24.10 node writes it (observed §2), with fewer keys.
    const GOSSIP: &str = r#"{"members":[
        {"state":"Leader","isAlive":true,"httpEndPointIp":"es-node-1.db.internal","httpEndPointPort":2113,"isReadOnlyReplica":false},
        {"state":"Follower","isAlive":true,"httpEndPointIp":"es-node-2.db.internal","httpEndPointPort":2113,"esVersion":"24.10.4.0"},
        {"state":"Unknown","isAlive":false,"httpEndPointIp":"es-node-3.db.internal","httpEndPointPort":2113}],
        "serverIp":"es-node-2.db.internal","serverPort":2113}"#;

    #[test]
    fn peers_are_the_living_members_but_for_oneself() {
        let gossip: Gossip = serde_json::from_str(GOSSIP).unwrap();
        gossip.require_majority().unwrap();
        assert_eq!(gossip.others().collect::<Vec<_>>(), ["es-node-1.db.internal:2113"]);
    }

    #[test]
    fn the_census_counts_voters_that_lead_or_follow() {
        let census = |changes: &[(&str, &str)]| {
            let text = changes.iter().fold(GOSSIP.to_owned(), |text, (from, to)| text.replace(from, to));
            let Census { caught_up, own_among_them, has_leader } =
                serde_json::from_str::<Gossip>(&text).unwrap().census();
            (caught_up, own_among_them, has_leader)
        };
        assert_eq!(census(&[]), (2, true, true));
        assert_eq!(census(&[("Follower", "CatchingUp")]), (1, false, true));
        assert_eq!(census(&[(r#""Leader","isAlive":true"#, r#""Unknown","isAlive":false"#)]), (1, true, false));
        assert_eq!(census(&[(r#""Unknown","isAlive":false"#, r#""Follower","isAlive":true"#)]), (3, true, true));
        let replica = (r#""isReadOnlyReplica":false"#, r#""isReadOnlyReplica":true"#);
        assert_eq!(census(&[replica, ("Leader", "ReadOnlyReplica")]), (1, true, false));
    }

    #[test]
    fn the_member_that_was_asked_says_whether_it_leads() {
        let members = |text: &str| serde_json::from_str::<Gossip>(text).unwrap().members();
        let alive = ["es-node-1.db.internal:2113", "es-node-2.db.internal:2113"].map(str::to_owned).to_vec();
        let expected = Members { own: alive[1].clone(), leads: false, alive };
        assert_eq!(members(GOSSIP), expected);
        let asked = GOSSIP.replace(r#""serverIp":"es-node-2"#, r#""serverIp":"es-node-1"#);
        assert_eq!(members(&asked), Members { own: expected.alive[0].clone(), leads: true, ..expected });
    }

    #[test]
    fn a_node_that_sees_no_majority_knows_no_peers() {
        let cut_off = GOSSIP.replace(r#""Leader","isAlive":true"#, r#""Unknown","isAlive":false"#);
        let gossip: Gossip = serde_json::from_str(&cut_off).unwrap();
        let error = gossip.require_majority().unwrap_err().to_string();
        assert_eq!(error, "it answered that 1 of 3 members are alive, which is no majority");
    }
}
