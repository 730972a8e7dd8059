//! What paths stand for, which methods they take, what they read and write, and for whom.

use http::header::HeaderValue;
use http::{HeaderMap, Method};

use super::line::Line;
use super::node::Caller;

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Root,
    /// The old user interface, which all lines have (observed-25 §A).
    Web,
    WebPage,
    Info,
    InfoOptions,
    Ping,
    Gossip,
    Stats,
    Metrics,
    AdminLogin,
    AdminOrder(AdminOrder),
    /// Scavenges, and one of them: its id, `current` or `last`.
    Scavenges,
    Scavenge(String),
    Users,
    Current,
    User(String),
    Command(String, Command),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminOrder {
    Reload,
    ShutDown,
    Resign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    ResetPassword,
    ChangePassword,
    Enable,
    Disable,
}

impl Resource {
    pub(super) fn of(line: Line, path: &str) -> Option<Self> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        Some(match parts.as_slice() {
            [""] => Self::Root,
            ["web"] => Self::Web,
            ["web", "index.html"] => Self::WebPage,
            ["info"] => Self::Info,
            ["info", "options"] => Self::InfoOptions,
            ["ping"] => Self::Ping,
            ["gossip"] => Self::Gossip,
            ["stats"] => Self::Stats,
            ["metrics"] if line.has_metrics() => Self::Metrics,
            ["admin", "login"] => Self::AdminLogin,
            ["admin", "reloadconfig"] => Self::AdminOrder(AdminOrder::Reload),
            ["admin", "shutdown"] => Self::AdminOrder(AdminOrder::ShutDown),
            ["admin", "node", "resign"] => Self::AdminOrder(AdminOrder::Resign),
            ["admin", "scavenge"] => Self::Scavenges,
            ["admin", "scavenge", which] => Self::Scavenge((*which).to_owned()),
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

    pub(super) fn is_about_users(&self) -> bool {
        matches!(self, Self::Users | Self::Current | Self::User(_) | Self::Command(..))
    }

    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Users => &["GET", "POST"],
            Self::User(_) => &["GET", "PUT", "DELETE"],
            Self::AdminOrder(_) | Self::Command(..) | Self::Scavenges => &["POST"],
            Self::Scavenge(which) if which == "current" || which == "last" => &["DELETE", "GET"],
            Self::Scavenge(_) => &["DELETE"],
            _ => &["GET"],
        }
    }

    /// The server lists the methods of every route that matches; `$current` is also a login name.
    pub(super) fn allowed(&self) -> String {
        let methods = if *self == Self::Current { &["GET", "PUT", "DELETE", "GET"] } else { self.methods() };
        format!("{}, OPTIONS", methods.join(", "))
    }

    /// Whether there must be a `Content-Type`.
    pub(super) fn takes_body(&self, method: &Method) -> bool {
        match self {
            Self::Users => *method == Method::POST,
            Self::User(_) => *method == Method::PUT,
            Self::Command(_, command) => matches!(command, Command::ResetPassword | Command::ChangePassword),
            _ => false,
        }
    }

    /// Only the users API is passed on to the leader (contract §1.6).
    pub(super) fn is_the_leaders(&self) -> bool {
        matches!(self, Self::Users | Self::Current | Self::User(_) | Self::Command(..))
    }

    pub(super) fn is_open_to(&self, line: Line, caller: &Caller) -> bool {
        match self {
            Self::Root | Self::Web | Self::WebPage | Self::Info | Self::Ping | Self::Gossip => true,
            Self::Stats if line.has_open_stats() => true,
            Self::Stats | Self::Metrics | Self::AdminLogin | Self::Current => *caller != Caller::Anonymous,
            Self::AdminOrder(_) | Self::InfoOptions | Self::Scavenges | Self::Scavenge(_) => caller.is_operator(),
            // Everybody may change the own password, and nobody another's.
            Self::Command(login, Command::ChangePassword) => caller.name() == login,
            // The user `admin` passes here without its group, and is refused later (contract §1.1).
            Self::Users | Self::User(_) | Self::Command(..) => caller.is_admin() || caller.name() == "admin",
        }
    }
}

/// `application/json` and `text/xml`, with UTF-8 if a charset is named at all (contract §1.2).
pub(super) fn is_readable(header: Option<&HeaderValue>) -> bool {
    let Some(text) = header.and_then(|header| header.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = matches!(parts.next(), Some("application/json" | "text/xml"));
    kind && parts.all(|part| part.eq_ignore_ascii_case("charset=utf-8"))
}

/// What a reply is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    /// It is offered, and comes out empty (lines §B).
    Xml,
}

/// What `?format=` names, which comes before `Accept`; `Err` if there is no such format (contract §1.2).
pub(super) fn format_in(query: Option<&str>) -> Result<Option<Format>, ()> {
    let named = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("format=")));
    match named {
        None => Ok(None),
        Some("json") => Ok(Some(Format::Json)),
        Some("xml" | "text") => Ok(Some(Format::Xml)),
        Some(_) => Err(()),
    }
}

/// What `Accept` asks for; `None` if it cannot be had.
pub(super) fn accepts(headers: &HeaderMap) -> Option<Format> {
    let Some(header) = headers.get(http::header::ACCEPT) else { return Some(Format::Json) };
    let kinds: Vec<_> =
        header.to_str().ok()?.split(',').map(|part| part.split(';').next().unwrap_or(part).trim()).collect();
    if kinds.iter().any(|kind| matches!(*kind, "*/*" | "application/json" | "application/*")) {
        Some(Format::Json)
    } else {
        kinds.contains(&"text/xml").then_some(Format::Xml)
    }
}
