//! Task scale-in protection through the agent's endpoint: `PUT` and `GET` of `task-protection/v1/state`.
//!
//! Format by the developer guide ("Amazon ECS task scale-in protection endpoint") and the agent's source
//! (amazon-ecs-agent, `ecs-agent/tmds/handlers/taskprotection/v1`): a `protection`, a `failure` with status 200, or an
//! `error`.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// AWS's default and limit, in minutes.
const DEFAULT_MINUTES: u32 = 120;
const MOST_MINUTES: u32 = 2880;

/// Whether ECS leaves a task running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// False from the end on.
    pub enabled: bool,
    /// When the protection ends by itself.
    pub ends: Option<Instant>,
}

/// A granted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectionRequest {
    /// When it came.
    pub at: Instant,
    /// What was asked for.
    pub enabled: bool,
    /// `ExpiresInMinutes`, if it was given.
    pub minutes: Option<u32>,
}

#[derive(Debug)]
pub(super) struct State {
    /// How long a minute lasts.
    pub(super) minute: Duration,
    pub(super) history: Vec<ProtectionRequest>,
    ends: Option<(Instant, OffsetDateTime)>,
}

/// The agent refuses members that it does not know.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Request {
    protection_enabled: Option<bool>,
    expires_in_minutes: Option<u32>,
}

impl Default for State {
    fn default() -> Self {
        Self { minute: Duration::from_mins(1), history: Vec::new(), ends: None }
    }
}

impl State {
    pub(super) fn now(&self) -> Protection {
        let ends = self.ends.map(|(end, _)| end).filter(|end| Instant::now() < *end);
        Protection { enabled: ends.is_some(), ends }
    }

    pub(super) fn answer(&mut self, task_arn: &str, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        match *method {
            Method::GET => (StatusCode::OK, self.view(task_arn)),
            Method::PUT => match self.set(body) {
                Ok(()) => (StatusCode::OK, self.view(task_arn)),
                Err(message) => (StatusCode::BAD_REQUEST, error(task_arn, "InvalidParameterException", message)),
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, Value::Null),
        }
    }

    /// Asking again begins the time anew.
    fn set(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let request: Request =
            serde_json::from_slice(body).map_err(|_| "UpdateTaskProtection: failed to decode request")?;
        let enabled =
            request.protection_enabled.ok_or("Invalid request: does not contain 'ProtectionEnabled' field")?;
        let minutes = request.expires_in_minutes;
        if minutes.is_some_and(|minutes| !(1..=MOST_MINUTES).contains(&minutes)) {
            return Err("expiresInMinutes must be between 1 and 2880");
        }
        let time = self.minute * minutes.unwrap_or(DEFAULT_MINUTES);
        self.ends = enabled.then(|| (Instant::now() + time, OffsetDateTime::now_utc() + time));
        self.history.push(ProtectionRequest { at: Instant::now(), enabled, minutes });
        Ok(())
    }

    fn view(&self, task_arn: &str) -> Value {
        let enabled = self.now().enabled;
        let ends = self.ends.filter(|_| enabled).map(|(_, end)| date(end));
        json!({"protection": {"ExpirationDate": ends, "ProtectionEnabled": enabled, "TaskArn": task_arn}})
    }
}

pub(super) fn error(task_arn: &str, code: &str, message: &str) -> Value {
    json!({"error": {"Arn": task_arn, "Code": code, "Message": message}})
}

pub(super) fn date(date: OffsetDateTime) -> String {
    date.format(&Rfc3339).expect("the dates of tests have four-digit years")
}
