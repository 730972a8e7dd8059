//! Bodies of replies: JSON indented by two spaces, keys in the order of the real server (observed §2, lines §A).

use bytes::Bytes;
use serde::Serialize;

use super::line::{Line, Subject};
use super::members::State;
use super::users::User;

fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec_pretty(value).expect("texts, numbers and lists always serialise"))
}

/// What lines put at the end of a reply about themselves.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tail {
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_type_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
}

impl Tail {
    fn of(line: Line) -> Self {
        Self { msg_type_id: line.message_type(Subject::User), label: line.has_label().then_some("Other") }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    db_version: Option<&'a str>,
    es_version: &'a str,
    state: &'a str,
    features: Features,
    authentication: Authentication,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    projections: bool,
    user_management: bool,
    atom_pub: bool,
}

#[derive(Serialize)]
struct Authentication {
    r#type: &'static str,
    properties: Option<[&'static str; 0]>,
}

/// In insecure mode as contract §3.2 has it; not observed.
pub(super) fn info(line: Line, state: &str, is_insecure: bool) -> Bytes {
    json(&Info {
        db_version: line.is_kurrent().then_some(line.version()),
        es_version: line.version(),
        state,
        features: Features { projections: false, user_management: !is_insecure, atom_pub: false },
        authentication: Authentication {
            r#type: if is_insecure { "insecure" } else { "internal" },
            properties: line.lists_properties().then_some([]),
        },
    })
}

/// The oldest lines put the type id first.
#[derive(Serialize)]
struct Ping {
    #[serde(rename = "msgTypeId", skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
    text: &'static str,
    #[serde(rename = "msgTypeId", skip_serializing_if = "Option::is_none")]
    second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
}

pub(super) fn ping(line: Line) -> Bytes {
    let (id, label) = (line.message_type(Subject::Ping), line.has_label().then_some("Http"));
    let (first, second) = if label.is_none() { (id, None) } else { (None, id) };
    json(&Ping { first, text: "Ping request successfully handled", second, label })
}

/// An option as `/info/options` shows it (contract §3.2); `()` is null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOption<'a> {
    name: &'a str,
    description: &'static str,
    group: &'static str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    possible_values: Option<[&'static str; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecation_message: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<()>,
}

pub(super) fn options(line: Line, given: &[(String, String)]) -> Bytes {
    let is_new = line.describes_option_sources();
    let shown = given.iter().map(|(name, value)| ShownOption {
        name,
        description: "",
        group: "Options",
        value,
        possible_values: (!is_new).then_some([]),
        configuration_source: is_new.then_some("Environment Variables"),
        deprecation_message: is_new.then_some(()),
        schema: is_new.then_some(()),
    });
    json(&shown.collect::<Vec<_>>())
}

/// A few of the figures that a server has.
pub(super) fn stats(process_id: u32, bytes: u64) -> Bytes {
    json(&serde_json::json!({
        "proc": { "id": process_id },
        "es": { "checksum": bytes, "checksumNonFlushed": bytes },
    }))
}

/// One of the figures that a server has, under the name that the line gives it (observed-25 §A).
pub(super) fn metrics(line: Line, state: State) -> String {
    let prefix = if line.is_kurrent() { "kurrentdb" } else { "eventstore" };
    format!("# TYPE {prefix}_statuses gauge\n{prefix}_statuses{{name=\"Node\",status=\"{state:?}\"}} 1\n")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gossip<'a> {
    members: Vec<Member>,
    server_ip: &'a str,
    server_port: u16,
}

/// A member as `/gossip` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) instance_id: String,
    pub(super) time_stamp: String,
    pub(super) state: String,
    pub(super) is_alive: bool,
    pub(super) internal_tcp_ip: String,
    pub(super) internal_tcp_port: u16,
    pub(super) internal_secure_tcp_port: u16,
    pub(super) external_tcp_ip: String,
    pub(super) external_tcp_port: u16,
    pub(super) external_secure_tcp_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) internal_http_end_point_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) internal_http_end_point_port: Option<u16>,
    pub(super) http_end_point_ip: String,
    pub(super) http_end_point_port: u16,
    pub(super) last_commit_position: u64,
    pub(super) writer_checkpoint: u64,
    pub(super) chaser_checkpoint: u64,
    pub(super) epoch_position: u64,
    pub(super) epoch_number: u64,
    pub(super) epoch_id: String,
    pub(super) node_priority: i64,
    pub(super) is_read_only_replica: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) es_version: Option<String>,
}

pub(super) fn gossip(members: Vec<Member>, server_ip: &str, server_port: u16) -> Bytes {
    json(&Gossip { members, server_ip, server_port })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Update<'a> {
    login_name: &'a str,
    success: bool,
    error: &'a str,
    #[serde(flatten)]
    tail: Tail,
}

/// The reply to create, update, delete, enable, disable, reset and change.
pub(super) fn update(line: Line, login: &str, error: &str) -> Bytes {
    json(&Update { login_name: login, success: error == "Success", error, tail: Tail::of(line) })
}

#[derive(Serialize)]
struct Detail<T: Serialize> {
    data: Option<T>,
    success: bool,
    error: &'static str,
    #[serde(flatten)]
    tail: Tail,
}

fn detail(line: Line, data: impl Serialize) -> Bytes {
    json(&Detail { data: Some(data), success: true, error: "Success", tail: Tail::of(line) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CurrentUser<'a> {
    login_name: &'a str,
    full_name: &'a str,
    groups: &'a Option<Vec<String>>,
    date_last_updated: &'a str,
    disabled: bool,
}

pub(super) fn current_user(line: Line, user: &User) -> Bytes {
    detail(
        line,
        CurrentUser {
            login_name: &user.login,
            full_name: &user.full_name,
            groups: &user.groups,
            date_last_updated: &user.updated,
            disabled: user.disabled,
        },
    )
}

pub(super) fn not_found(line: Line) -> Bytes {
    json(&Detail::<()> { data: None, success: false, error: "NotFound", tail: Tail::of(line) })
}

/// A user in a list or read by an administrator: no date, but links (contract §1.3).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkedUser<'a> {
    login_name: &'a str,
    full_name: &'a str,
    groups: &'a Option<Vec<String>>,
    date_last_updated: Option<&'a str>,
    disabled: bool,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    href: String,
    rel: &'static str,
}

fn linked<'a>(user: &'a User, base: &str) -> LinkedUser<'a> {
    let login = &user.login;
    let command = |name: &'static str| Link { href: format!("{base}/users/{login}/command/{name}"), rel: name };
    let own = |rel| Link { href: format!("{base}/users/{login}"), rel };
    let switch = if user.disabled { "enable" } else { "disable" };
    LinkedUser {
        login_name: login,
        full_name: &user.full_name,
        groups: &user.groups,
        date_last_updated: None,
        disabled: user.disabled,
        links: vec![command("reset-password"), command("change-password"), own("edit"), own("delete"), command(switch)],
    }
}

pub(super) fn user(line: Line, user: &User, base: &str) -> Bytes {
    detail(line, linked(user, base))
}

pub(super) fn user_list<'a>(line: Line, users: impl Iterator<Item = &'a User>, base: &str) -> Bytes {
    detail(line, users.map(|user| linked(user, base)).collect::<Vec<_>>())
}

/// `/admin/login` has no `error`.
#[derive(Serialize)]
struct LoginReply<'a> {
    data: LoginData<'a>,
    success: bool,
    #[serde(flatten)]
    tail: Tail,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoginData<'a> {
    login_name: &'a str,
    full_name: &'a str,
    groups: &'a [String],
    date_last_updated: &'a str,
}

pub(super) fn login(line: Line, name: &str, groups: &[String], time: &str) -> Bytes {
    let data = LoginData { login_name: name, full_name: name, groups, date_last_updated: time };
    json(&LoginReply { data, success: true, tail: Tail::of(line) })
}
