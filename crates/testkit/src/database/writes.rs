//! Everything that changes users (contract §1.5, observed §2, §3, §4).

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{LOCATION, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::answers::{Reply, empty, json, not_in_time, with_header};
use super::http_api::{Api, ReplyLost};
use super::node::{Caller, Node, Unwritten};
use super::replies;
use super::routes::{Command, Resource};
use super::users::{Event, User};

/// A user is read, and written so much later; two writes of the same user at the same time conflict. Killing a leader
/// 14 to 40 ms after a reset was sent hit it before, between and after the two records (observed §4).
const READ_TO_WRITE: Duration = Duration::from_millis(20);
const WRITE_TO_NOTICE: Duration = Duration::from_millis(12);

/// What came with a request.
struct Body(Map<String, Value>);

impl Body {
    /// A number is taken for its text (lines §B).
    fn text(&self, key: &str) -> Option<String> {
        let found = self.0.get(key).or_else(|| {
            // Names are compared without case (contract §1.1).
            self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
        });
        match found {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    fn groups(&self) -> Option<Vec<String>> {
        let groups = self.0.get("groups").and_then(Value::as_array)?;
        Some(groups.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// Changes users as a request wants it, or does not answer.
pub(super) async fn write(
    api: &Api,
    request: Request<Incoming>,
    resource: &Resource,
    caller: &Caller,
    worker: u64,
    base: &str,
) -> Reply {
    let (node, method) = (&api.node, request.method().clone());
    let takes_body = resource.takes_body(&method);
    // Framing that is broken ends like a body that is not JSON (lines §G).
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = match serde_json::from_slice(&body) {
        _ if !takes_body => Body(Map::new()),
        Ok(Value::Object(body)) => Body(body),
        // Malformed or empty: an answer that looks like success, and nothing is changed.
        _ => return empty(StatusCode::OK),
    };
    let login = match resource {
        Resource::User(login) | Resource::Command(login, _) => login.clone(),
        _ => body.text("loginName").unwrap_or_default(),
    };
    let is_self_service = matches!(resource, Resource::Command(_, Command::ChangePassword));
    if !caller.is_admin() && !is_self_service {
        // `admin` without its group (contract §1.1).
        return json(StatusCode::UNAUTHORIZED, replies::update(node.line(), &login, "Unauthorized"));
    }
    let password = body.text(if *resource == Resource::Users { "password" } else { "newPassword" });
    if takes_body && password.is_none() && method != Method::PUT {
        // No password at all cannot be hashed, and nobody says so.
        return never(node, worker).await;
    }
    let password = password.unwrap_or_default();
    let written = if *resource == Resource::Users {
        create(node, &body, &login, &password, base).await
    } else {
        let change = Change { api, resource, method: &method, body: &body, login: &login, password: &password };
        change.make().await
    };
    match written {
        Ok(reply) => reply,
        Err(Unwritten::Conflict) => json(StatusCode::CONFLICT, replies::update(node.line(), &login, "Conflict")),
        Err(Unwritten::Never) => never(node, worker).await,
    }
}

/// No answer, until a 408 is due.
pub(super) async fn never(node: &Node, worker: u64) -> Reply {
    node.never_answer(worker).await;
    not_in_time()
}

async fn create(node: &Node, body: &Body, login: &str, password: &str, base: &str) -> Result<Reply, Unwritten> {
    let line = node.line();
    let existing = node.with(|inner| inner.users.get(login).map(|user| user.password.matches(password)));
    match existing {
        Some(false) => return Err(Unwritten::Conflict),
        // The same again is fine, whatever else differs.
        Some(true) => {}
        None => {
            let version = node.with(|inner| inner.users.version(login));
            node.pause(READ_TO_WRITE).await;
            let full_name = body.text("fullName").unwrap_or_default();
            let user = User::new(login, &full_name, body.groups(), password);
            node.write(Event::User(user), Some((login, version))).await?;
        }
    }
    let reply = json(StatusCode::CREATED, replies::update(line, login, "Success"));
    Ok(with_header(reply, LOCATION, &format!("{base}/users/{login}")))
}

/// A change of a user that exists.
struct Change<'a> {
    api: &'a Api,
    resource: &'a Resource,
    method: &'a Method,
    body: &'a Body,
    login: &'a str,
    password: &'a str,
}

impl Change<'_> {
    async fn make(&self) -> Result<Reply, Unwritten> {
        let (node, login) = (&self.api.node, self.login);
        let line = node.line();
        let found = node.with(|inner| Some((inner.users.get(login)?.clone(), inner.users.version(login))));
        let Some((user, version)) = found else {
            return Ok(json(StatusCode::NOT_FOUND, replies::update(line, login, "NotFound")));
        };
        let current = self.body.text("currentPassword").unwrap_or_default();
        // The stored password decides, not the cache (observed §4).
        if self.is(Command::ChangePassword) && !user.password.matches(&current) {
            let reply = json(StatusCode::UNAUTHORIZED, replies::update(line, login, "Unauthorized"));
            let challenges = line.wrong_current_password().iter();
            return Ok(challenges.fold(reply, |reply, value| with_header(reply, WWW_AUTHENTICATE, value)));
        }
        node.pause(READ_TO_WRITE).await;
        node.write(self.event(user), Some((login, version))).await?;
        if self.is(Command::ResetPassword) && self.is_to_be_lost() {
            let mut reply = empty(StatusCode::OK);
            reply.extensions_mut().insert(ReplyLost);
            return Ok(reply);
        }
        if !self.is(Command::Enable) {
            node.pause(WRITE_TO_NOTICE).await;
            node.write(Event::PasswordChanged(login.to_owned()), None).await?;
        }
        Ok(json(StatusCode::OK, replies::update(line, login, "Success")))
    }

    fn is(&self, command: Command) -> bool {
        matches!(self.resource, Resource::Command(_, asked) if *asked == command)
    }

    fn is_to_be_lost(&self) -> bool {
        let left = &self.api.resets_to_lose;
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn event(&self, user: User) -> Event {
        if *self.method == Method::DELETE {
            return Event::Deleted(self.login.to_owned());
        }
        Event::User(user.changed(|user| match self.resource {
            Resource::Command(_, Command::Enable) => user.disabled = false,
            Resource::Command(_, Command::Disable) => user.disabled = true,
            Resource::Command(..) => user.set_password(self.password),
            // What is left out becomes null (contract §1.1).
            _ => {
                user.full_name = self.body.text("fullName").unwrap_or_default();
                user.groups = self.body.groups();
            }
        }))
    }
}
