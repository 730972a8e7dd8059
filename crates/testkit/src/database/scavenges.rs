//! Scavenges of the own node, over HTTP. Contract only, nothing of it was observed: `AdminController` and `StorageScavenger`
//! of 23.10, 24.10 and 25.0. A node that runs no scavenge says so with empty texts; a second one is refused with 400 and a
//! sentence, and to stop another one than the current is 404. What a scavenge does to a database is not there: it takes its
//! time, and ends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::answers::{Reply, json as json_reply, plain, reason};
use super::node::Node;

/// A scavenge that was begun.
#[derive(Clone, Debug)]
pub(super) struct Scavenge {
    id: String,
    ends: Instant,
    was_stopped: bool,
}

impl Scavenge {
    fn runs(&self) -> bool {
        !self.was_stopped && Instant::now() < self.ends
    }
}

/// Answers a request about `/admin/scavenge`, or about what stands behind it.
pub(super) fn answer(node: &Node, method: &Method, which: Option<&str>, query: Option<&str>) -> Reply {
    match (method.as_str(), which) {
        ("POST", None) => begin(node, query.unwrap_or_default()),
        ("GET", Some("current")) => {
            let id = current(node).unwrap_or_default();
            let link = if id.is_empty() { String::new() } else { format!("/admin/scavenge/{id}") };
            shown(&json!({"scavengeId": id, "scavengeLink": link}))
        }
        ("GET", Some(_)) => last(node),
        (_, which) => stop(node, which.unwrap_or_default()),
    }
}

fn shown(body: &serde_json::Value) -> Reply {
    json_reply(StatusCode::OK, Bytes::from(format!("{body:#}")))
}

fn current(node: &Node) -> Option<String> {
    node.with(|inner| inner.scavenge.as_ref().filter(|scavenge| scavenge.runs()).map(|scavenge| scavenge.id.clone()))
}

fn begin(node: &Node, query: &str) -> Reply {
    if let Some(mistake) = mistake(query) {
        return reason(StatusCode::BAD_REQUEST, mistake);
    }
    let ends = Instant::now() + node.scaled(Duration::from_secs(node.scavenge_seconds));
    let id = uuid::Uuid::new_v4().to_string();
    let begun = node.with(|inner| {
        if inner.scavenge.as_ref().is_some_and(Scavenge::runs) {
            return false;
        }
        inner.scavenge = Some(Scavenge { id: id.clone(), ends, was_stopped: false });
        true
    });
    if !begun {
        return plain(StatusCode::BAD_REQUEST, "Scavenge is already running");
    }
    eprintln!("SCAVENGING: Started {id}");
    shown(&json!({"scavengeId": id}))
}

/// What is wrong with the parameters.
fn mistake(query: &str) -> Option<&'static str> {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |text: &str| text.parse::<i32>().ok();
    let threads = value("threads").map_or(Some(1), number).filter(|threads| *threads >= 1);
    let Some(threads) = threads else { return Some("threads must be a 1 or above") };
    if value("startFromChunk").is_some_and(|text| number(text).is_none_or(|chunk| chunk < 0)) {
        return Some("startFromChunk must be a positive integer");
    }
    if value("threshold").is_some_and(|text| number(text).is_none()) {
        return Some("threshold must be an integer");
    }
    if let Some(percent) = value("throttlePercent") {
        let Some(percent) = number(percent).filter(|percent| (1..=100).contains(percent)) else {
            return Some("throttlePercent must be between 1 and 100 inclusive");
        };
        if percent != 100 && threads > 1 {
            return Some("throttlePercent must be 100 for a multi-threaded scavenge");
        }
    }
    let is_boolean = |text: &str| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
    value("syncOnly").is_some_and(|text| !is_boolean(text)).then_some("syncOnly must be a boolean")
}

fn last(node: &Node) -> Reply {
    let last = node.with(|inner| inner.scavenge.clone());
    let (id, result) = match &last {
        None => (String::new(), "Unknown"),
        Some(scavenge) if scavenge.runs() => (scavenge.id.clone(), "InProgress"),
        Some(scavenge) if scavenge.was_stopped => (scavenge.id.clone(), "Stopped"),
        Some(scavenge) => (scavenge.id.clone(), "Success"),
    };
    let link = if id.is_empty() { String::new() } else { format!("/admin/scavenge/{id}") };
    shown(&json!({"scavengeId": id, "scavengeLink": link, "scavengeResult": result}))
}

fn stop(node: &Node, which: &str) -> Reply {
    let stopped = node.with(|inner| {
        let scavenge = inner.scavenge.as_mut().filter(|scavenge| scavenge.runs())?;
        (which == "current" || which == scavenge.id).then(|| {
            scavenge.was_stopped = true;
            scavenge.id.clone()
        })
    });
    match stopped {
        Some(id) => {
            eprintln!("SCAVENGING: Stopped {id}");
            shown(&json!(id))
        }
        None => plain(StatusCode::NOT_FOUND, "Scavenge Id does not exist"),
    }
}
