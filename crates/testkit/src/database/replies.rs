//! Bodies of replies: JSON indented by two spaces, keys in the order of the real server (observed §2).

use bytes::Bytes;
use serde::Serialize;

use super::users::User;

/// The version the stand-in pretends to be.
const VERSION: &str = "24.10.4.0";

fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec_pretty(value).expect("texts, numbers and lists always serialise"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    es_version: &'a str,
    state: &'a str,
    features: Features,
    authentication: Authentication<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    projections: bool,
    user_management: bool,
    atom_pub: bool,
}

#[derive(Serialize)]
struct Authentication<'a> {
    r#type: &'a str,
    properties: [&'a str; 0],
}

pub(super) fn info(state: &str) -> Bytes {
    json(&Info {
        es_version: VERSION,
        state,
        features: Features { projections: false, user_management: true, atom_pub: false },
        authentication: Authentication { r#type: "internal", properties: [] },
    })
}

#[derive(Serialize)]
struct Ping<'a> {
    text: &'a str,
    label: &'a str,
}

pub(super) fn ping() -> Bytes {
    json(&Ping { text: "Ping request successfully handled", label: "Http" })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gossip<'a> {
    members: [Member<'a>; 1],
    server_ip: &'a str,
    server_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member<'a> {
    instance_id: &'a str,
    time_stamp: &'a str,
    state: &'a str,
    is_alive: bool,
    internal_tcp_ip: &'a str,
    internal_tcp_port: u16,
    internal_secure_tcp_port: u16,
    external_tcp_ip: &'a str,
    external_tcp_port: u16,
    external_secure_tcp_port: u16,
    internal_http_end_point_ip: &'a str,
    internal_http_end_point_port: u16,
    http_end_point_ip: &'a str,
    http_end_point_port: u16,
    last_commit_position: i64,
    writer_checkpoint: i64,
    chaser_checkpoint: i64,
    epoch_position: i64,
    epoch_number: i64,
    epoch_id: &'a str,
    node_priority: i64,
    is_read_only_replica: bool,
    es_version: &'a str,
}

pub(super) struct Itself<'a> {
    pub(super) instance_id: &'a str,
    pub(super) time_stamp: &'a str,
    pub(super) state: &'a str,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

pub(super) fn gossip(node: &Itself<'_>) -> Bytes {
    let (host, port) = (node.host, node.port);
    json(&Gossip {
        members: [Member {
            instance_id: node.instance_id,
            time_stamp: node.time_stamp,
            state: node.state,
            is_alive: true,
            internal_tcp_ip: host,
            internal_tcp_port: 0,
            internal_secure_tcp_port: 1112,
            external_tcp_ip: host,
            external_tcp_port: 0,
            external_secure_tcp_port: 0,
            internal_http_end_point_ip: host,
            internal_http_end_point_port: port,
            http_end_point_ip: host,
            http_end_point_port: port,
            last_commit_position: 0,
            writer_checkpoint: 0,
            chaser_checkpoint: 0,
            epoch_position: 0,
            epoch_number: 0,
            epoch_id: node.instance_id,
            node_priority: 0,
            is_read_only_replica: false,
            es_version: VERSION,
        }],
        server_ip: host,
        server_port: port,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Update<'a> {
    login_name: &'a str,
    success: bool,
    error: &'a str,
    label: &'a str,
}

/// The reply to create, update, delete, enable, disable, reset and change.
pub(super) fn update(login: &str, error: &str) -> Bytes {
    json(&Update { login_name: login, success: error == "Success", error, label: "Other" })
}

#[derive(Serialize)]
struct Detail<T: Serialize> {
    data: Option<T>,
    success: bool,
    error: &'static str,
    label: &'static str,
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

pub(super) fn current_user(user: &User) -> Bytes {
    let data = CurrentUser {
        login_name: &user.login,
        full_name: &user.full_name,
        groups: &user.groups,
        date_last_updated: &user.updated,
        disabled: user.disabled,
    };
    json(&Detail { data: Some(data), success: true, error: "Success", label: "Other" })
}

pub(super) fn not_found() -> Bytes {
    json(&Detail::<()> { data: None, success: false, error: "NotFound", label: "Other" })
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

pub(super) fn user(user: &User, base: &str) -> Bytes {
    json(&Detail { data: Some(linked(user, base)), success: true, error: "Success", label: "Other" })
}

pub(super) fn user_list<'a>(users: impl Iterator<Item = &'a User>, base: &str) -> Bytes {
    let data: Vec<_> = users.map(|user| linked(user, base)).collect();
    json(&Detail { data: Some(data), success: true, error: "Success", label: "Other" })
}

/// `/admin/login` has no `error`.
#[derive(Serialize)]
struct LoginReply<'a> {
    data: LoginData<'a>,
    success: bool,
    label: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoginData<'a> {
    login_name: &'a str,
    full_name: &'a str,
    groups: &'a [String],
    date_last_updated: &'a str,
}

pub(super) fn login(name: &str, groups: &[String], time: &str) -> Bytes {
    let data = LoginData { login_name: name, full_name: name, groups, date_last_updated: time };
    json(&LoginReply { data, success: true, label: "Other" })
}
