//! `bootstrap status`: what is known, whether it is in order, and how that is said. [`Status::judge`] decides; the layout of
//! `--json` is that of [`Status`] and documented in docs/status.md.

use std::fmt::{self, Write as _};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::{CertificateState, Document, ErrorState, Registered, RegistrationState, UserState};
use super::guard::GuardState;
use crate::ports::Entry;
use crate::scavenge::Begun;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Certificates are renewed long before; one with less time left was not. Of short-lived ones it is a twelfth.
const LEAST_TIME_LEFT: u64 = 2 * DAY;

/// All that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    schema: u32,
    source: Source,
    in_order: bool,
    /// What is not in order, in words.
    findings: Vec<String>,
    /// What could not be learned here, in words.
    missing: Vec<&'static str>,
    node: Option<String>,
    deployment: Option<String>,
    sidecar: Option<Sidecar>,
    health: Option<Health>,
    users: Vec<UserState>,
    /// The node's own entry in Cloud Map, as its sidecar knows it.
    registration: Option<RegistrationState>,
    /// All entries, as Cloud Map has them.
    nodes: Option<Vec<Node>>,
    certificate: Option<CertificateState>,
    authority_phase: Option<String>,
    protected_until: Option<u64>,
    /// What guard says of the server.
    server: Option<GuardState>,
    last_error: Option<ErrorState>,
    scavenge: Option<Begun>,
}

/// Where it was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Source {
    /// From the files of the task.
    Task,
    /// From Secrets Manager and Cloud Map.
    Aws,
}

/// The sidecar itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sidecar {
    version: String,
    started: u64,
    written: u64,
    /// Whether its server has TLS and users.
    secure: bool,
    errors: u64,
}

/// The verdict of `bootstrap healthcheck`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    pub(super) healthy: bool,
    pub(super) reason: String,
}

/// A node's entry in Cloud Map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    instance_id: String,
    address: Option<String>,
    port: Option<String>,
    task_arn: Option<String>,
    state: Option<String>,
    /// When its task registered first.
    since: Option<u64>,
    certificate_sha256: Option<String>,
    roots_sha256: Option<String>,
}

/// What the files of a task say.
#[derive(Debug)]
pub(super) struct InTask {
    pub(super) document: Result<Document, String>,
    /// `None` if nobody said where the file is.
    pub(super) health: Option<Health>,
    /// The same.
    pub(super) guard: Option<Result<GuardState, String>>,
}

/// What AWS says.
#[derive(Debug)]
pub(super) struct OutsideTask {
    pub(super) users: Vec<Result<UserState, String>>,
    /// `None` if nobody said which service it is.
    pub(super) entries: Option<Result<Vec<Entry>, String>>,
    /// How many nodes there are to be, if that is known.
    pub(super) nodes: Option<usize>,
}

impl Status {
    fn new(source: Source) -> Self {
        Self {
            schema: super::document::SCHEMA,
            source,
            in_order: false,
            findings: Vec::new(),
            missing: Vec::new(),
            node: None,
            deployment: None,
            sidecar: None,
            health: None,
            users: Vec::new(),
            registration: None,
            nodes: None,
            certificate: None,
            authority_phase: None,
            protected_until: None,
            server: None,
            last_error: None,
            scavenge: None,
        }
    }

    /// As it is known inside a task at the time `now`.
    pub(super) fn in_task(seen: InTask, now: u64) -> Self {
        let mut status = Self::new(Source::Task);
        match seen.document {
            Ok(found) => {
                let Document { version, started, written, is_secure: secure, errors, .. } = found;
                status.sidecar = Some(Sidecar { version, started, written, secure, errors });
                (status.node, status.deployment) = (Some(found.node), Some(found.deployment));
                (status.users, status.registration) = (found.users, Some(found.registration));
                (status.certificate, status.authority_phase) = (found.certificate, found.authority_phase);
                status.protected_until = found.protected_until.filter(|until| *until > now);
                (status.last_error, status.scavenge) = (found.last_error, found.scavenge);
            }
            Err(mistake) => status.findings.push(mistake),
        }
        match seen.guard {
            Some(Ok(guard)) => status.server = Some(guard),
            Some(Err(mistake)) => status.findings.push(mistake),
            None => status.missing.push("restarts of the server: give --guard-status-file"),
        }
        match seen.health {
            Some(health) => status.health = Some(health),
            None => status.missing.push("the health of the task: give --health-file"),
        }
        status.judge(now)
    }

    /// As it is known with credentials of AWS alone at the time `now`.
    pub(super) fn outside(seen: OutsideTask, now: u64) -> Self {
        let mut status = Self::new(Source::Aws);
        for user in seen.users {
            match user {
                Ok(user) => status.users.push(user),
                Err(mistake) => status.findings.push(mistake),
            }
        }
        match seen.entries {
            Some(Ok(entries)) => {
                let expected = seen.nodes.unwrap_or(1);
                if entries.len() < expected {
                    status.findings.push(format!("{} of {expected} nodes are registered", entries.len()));
                }
                status.nodes = Some(entries.iter().map(Node::of).collect());
            }
            Some(Err(mistake)) => status.findings.push(mistake),
            None => status.missing.push("the registered nodes: give --cloud-map-service"),
        }
        status.missing.extend([
            "only the task knows whether its passwords are proven",
            "only the task knows when its certificate expires",
            "only the task knows its health, its protection, the restarts of its server and its last error",
        ]);
        status.judge(now)
    }

    /// Whether nothing was found that is not in order.
    pub(super) fn is_in_order(&self) -> bool {
        self.in_order
    }

    fn judge(mut self, now: u64) -> Self {
        let mut findings = std::mem::take(&mut self.findings);
        if let Some(health) = self.health.as_ref().filter(|health| !health.healthy) {
            findings.push(format!("the task is not healthy: {}", health.reason));
        }
        for user in &self.users {
            let login = &user.login;
            if user.current.is_none() {
                findings.push(format!("the secret `{}` of `{login}` has no current version", user.secret));
            } else if user.pending.is_some() {
                findings.push(format!("the password of `{login}` is being changed: a version is pending"));
            } else if self.source == Source::Task && user.proven.is_none() {
                findings.push(format!("the current password of `{login}` is not proven yet"));
            }
        }
        match self.registration.as_ref().map(|registration| registration.state) {
            Some(Registered::Unknown | Registered::No) => findings.push("the node is not registered".to_owned()),
            Some(Registered::AnotherTask) => {
                findings.push("another task is registered in the name of the node".to_owned());
            }
            Some(Registered::Yes | Registered::NotWanted) | None => {}
        }
        if let Some(certificate) = &self.certificate {
            let least = certificate.validity.map_or(LEAST_TIME_LEFT, |validity| LEAST_TIME_LEFT.min(validity / 12));
            if certificate.not_after <= now {
                findings.push("the certificate has expired".to_owned());
            } else if certificate.not_after - now < least {
                let left = Span(certificate.not_after - now);
                findings.push(format!("the certificate expires in {left} and was not renewed"));
            }
            if !certificate.served {
                findings.push("the server presents another certificate than the published one".to_owned());
            }
        } else if self.sidecar.as_ref().is_some_and(|sidecar| sidecar.secure) {
            findings.push("no certificate was seen on the volume yet".to_owned());
        }
        if let Some(server) = self.server.as_ref().filter(|server| server.state != "running") {
            findings.push(format!("guard is in the state `{}`", server.state));
        }
        self.in_order = findings.is_empty();
        self.findings = findings;
        self
    }

    /// For programs.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers under names are JSON") + "\n"
    }

    /// For people: one line for each thing, in columns.
    pub(super) fn to_text(&self, now: u64) -> String {
        let mut lines = Lines::default();
        let verdict = if self.in_order { "in order" } else { "NOT in order" };
        if let (Some(node), Some(deployment)) = (&self.node, &self.deployment) {
            lines.add("node", format!("{node} of {deployment}: {verdict}"));
        } else {
            let limit = if self.source == Source::Aws { ", as far as AWS knows" } else { "" };
            lines.add("status", format!("{verdict}{limit}"));
        }
        for finding in &self.findings {
            lines.add("finding", finding.clone());
        }
        if let Some(sidecar) = &self.sidecar {
            let (started, written) = (Ago(sidecar.started, now), Ago(sidecar.written, now));
            lines.add("sidecar", format!("bootstrap {}, started {started}, last news {written}", sidecar.version));
        }
        if let Some(health) = &self.health {
            let verdict = if health.healthy { "healthy" } else { "not healthy" };
            lines.add("health", format!("{verdict}: {}", health.reason));
        }
        for user in &self.users {
            lines.add(&format!("user {}", user.login), self.user(user, now));
        }
        if let Some(registration) = &self.registration {
            let state = match registration.state {
                Registered::NotWanted => "not to be registered",
                Registered::Unknown => "not looked at yet",
                Registered::No => "not registered",
                Registered::Yes => "registered",
                Registered::AnotherTask => "another task's",
            };
            let since = registration.since.map(|since| format!(" since {}", At(since))).unwrap_or_default();
            lines.add("registration", format!("{} {state}{since}", registration.instance_id));
        }
        for node in self.nodes.iter().flatten() {
            lines.add(&format!("node {}", node.instance_id), node.to_text());
        }
        if let Some(certificate) = &self.certificate {
            let left = match certificate.not_after.checked_sub(now) {
                Some(left) => format!("{} left", Span(left)),
                None => "expired".to_owned(),
            };
            let served = if certificate.served { "served" } else { "not served" };
            let (until, sha256) = (At(certificate.not_after), &certificate.sha256);
            lines.add("certificate", format!("until {until}, {left}, {served}, SHA-256 {sha256}"));
            lines.add("roots", format!("SHA-256 {}", certificate.roots_sha256));
        }
        if let Some(phase) = &self.authority_phase {
            lines.add("authority", phase.clone());
        }
        if self.source == Source::Task {
            let protection = self.protected_until.map_or("none".to_owned(), |until| format!("until {}", At(until)));
            lines.add("protection", protection);
        }
        if let Some(server) = &self.server {
            let exit = server.last_exit.as_ref().map_or("none".to_owned(), |exit| {
                let code = exit.code.map(|code| format!("code {code}"));
                let how = code.or_else(|| exit.signal.clone()).unwrap_or_default();
                format!("{how}, {}", Ago(exit.at, now))
            });
            lines.add("server", format!("{}, {} restarts, last exit {exit}", server.state, server.restarts));
        }
        if self.source == Source::Task {
            let error = self.last_error.as_ref().map_or("none".to_owned(), |error| {
                format!("{} ({}) {}", error.kind, error.area.as_str(), Ago(error.at, now))
            });
            lines.add("last error", error);
        }
        if let Some(scavenge) = &self.scavenge {
            let running = if scavenge.id.is_some() { ", running when last looked at" } else { "" };
            lines.add("scavenge", format!("last begun {}{running}", At(scavenge.at)));
        }
        for missing in &self.missing {
            lines.add("missing", (*missing).to_owned());
        }
        lines.to_text()
    }

    fn user(&self, user: &UserState, now: u64) -> String {
        let Some(current) = &user.current else { return format!("no current version of `{}`", user.secret) };
        let mut text = format!("version {}", current.id);
        if let Some(created) = current.created {
            let _ = write!(text, " since {} ({})", At(created), Span(now.saturating_sub(created)));
        }
        if let Some(pending) = &user.pending {
            let _ = write!(text, ", pending {}", pending.id);
        }
        if self.source == Source::Task {
            text += &user.proven.map_or(", not proven".to_owned(), |at| format!(", proven {}", Ago(at, now)));
        }
        text
    }
}

impl Node {
    fn of(entry: &Entry) -> Self {
        let attribute = |name: &str| entry.attributes.get(name).cloned();
        let task_arn = Some(entry.task_arn().to_owned()).filter(|arn| !arn.is_empty());
        Self {
            instance_id: entry.node.clone(),
            address: attribute("AWS_INSTANCE_IPV4").or_else(|| attribute("AWS_INSTANCE_IPV6")),
            port: attribute("AWS_INSTANCE_PORT"),
            state: attribute("STATE"),
            since: task_arn.is_some().then(|| entry.since() / 1000),
            task_arn,
            certificate_sha256: attribute("CERTIFICATE_SHA256"),
            roots_sha256: attribute("ROOTS_SHA256"),
        }
    }

    fn to_text(&self) -> String {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let since = self.since.map(|since| format!(" since {}", At(since))).unwrap_or_default();
        format!(
            "{}:{} {}{since}, {}",
            shown(&self.address),
            shown(&self.port),
            shown(&self.state),
            shown(&self.task_arn)
        )
    }
}

/// A label and what stands beside it.
#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, label: &str, text: String) {
        self.0.push((label.to_owned(), text));
    }

    /// Others write to Cloud Map too: nothing of theirs moves a cursor.
    fn to_text(&self) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
        let line =
            |(label, text): &(String, String)| format!("{label:<width$}  {text}").replace(char::is_control, " ") + "\n";
        self.0.iter().map(line).collect()
    }
}

/// A time, as RFC 3339 has it.
struct At(u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
        f.write_str(&time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| self.0.to_string()))
    }
}

/// A time and how long ago that is.
struct Ago(u64, u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ago", Span(self.1.saturating_sub(self.0)))
    }
}

/// A length of time, in its largest whole unit.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 2 * MINUTE => write!(f, "{seconds} s"),
            seconds if seconds < 2 * HOUR => write!(f, "{} min", seconds / MINUTE),
            seconds if seconds < 2 * DAY => write!(f, "{} h", seconds / HOUR),
            seconds => write!(f, "{} d", seconds / DAY),
        }
    }
}

#[cfg(test)]
mod tests;
