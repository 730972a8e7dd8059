//! `bootstrap status` looks: at the files of the task it runs in, or at Secrets Manager and Cloud Map. Of secrets it reads
//! labels and dates, never a value.

use std::path::PathBuf;
use std::time::SystemTime;

use super::document::{Document, SCHEMA, UserState, VersionState, seconds};
use super::guard::{GuardState, read};
use super::view::{Health, InTask, OutsideTask, Status};
use crate::aws::{self, CloudMap, SecretsManager};
use crate::health;
use crate::ports::{AwsError, Registry as _, SecretStore as _, VersionId};
use crate::user::User;

/// What `bootstrap status` is to look at.
#[derive(Debug)]
pub struct StatusSettings {
    /// Whether it answers in JSON.
    pub json: bool,
    /// Where it looks.
    pub place: StatusPlace,
}

/// Where `bootstrap status` looks.
#[derive(Debug)]
pub enum StatusPlace {
    /// At the files of the task.
    Task {
        /// What the sidecar writes.
        status_file: PathBuf,
        /// What guard writes.
        guard_status_file: Option<PathBuf>,
        /// What the health check reads.
        health_file: Option<PathBuf>,
    },
    /// At AWS.
    Aws {
        /// Whose secrets.
        users: Vec<User>,
        /// The Cloud Map service.
        cloud_map_service: Option<String>,
        /// How many nodes there are to be.
        nodes: Option<usize>,
    },
}

/// Looks. Gives what is to be printed, and whether all is in order.
pub async fn status(settings: &StatusSettings) -> (String, bool) {
    let now = seconds(SystemTime::now());
    let status = match &settings.place {
        StatusPlace::Task { status_file, guard_status_file, health_file } => {
            let health = health_file.as_deref().map(|file| match health::check(file, SystemTime::now()) {
                Ok(reason) => Health { healthy: true, reason },
                Err(reason) => Health { healthy: false, reason },
            });
            let document = read::<Document>(status_file).and_then(|found| match found.schema {
                SCHEMA => Ok(found),
                other => Err(format!("`{}` has the layout {other}, not {SCHEMA}", status_file.display())),
            });
            let guard = guard_status_file.as_deref().map(GuardState::read);
            Status::in_task(InTask { document, health, guard }, now)
        }
        StatusPlace::Aws { users, cloud_map_service, nodes } => {
            let configuration = aws::configuration().await;
            let secrets = SecretsManager::new(&configuration);
            let mut found = Vec::new();
            for user in users {
                found.push(of_user(&secrets, user).await.map_err(|error| error.to_string()));
            }
            let entries = match cloud_map_service {
                Some(service) => {
                    let entries = CloudMap::new(&configuration, service).entries().await;
                    Some(entries.map_err(|error| error.to_string()))
                }
                None => None,
            };
            Status::outside(OutsideTask { users: found, entries, nodes: *nodes }, now)
        }
    };
    let text = if settings.json { status.to_json() } else { status.to_text(now) };
    (text, status.is_in_order())
}

async fn of_user(secrets: &SecretsManager, user: &User) -> Result<UserState, AwsError> {
    let (login, secret) = (user.login.clone(), user.secret.0.clone());
    let labels = secrets.labels(&user.secret).await?;
    let mut state = UserState { login, secret, current: None, pending: None, proven: None };
    let Some(labels) = labels else { return Ok(state) };
    let dates = secrets.dates(&user.secret).await?;
    let version = |id: &VersionId| {
        let created = dates.iter().find(|(version, _)| version == id).map(|(_, created)| seconds(*created));
        VersionState { id: id.0.clone(), created }
    };
    state.current = labels.current.as_ref().map(version);
    state.pending = labels.waiting().map(version);
    Ok(state)
}
