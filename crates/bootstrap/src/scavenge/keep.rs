//! The part of the sidecar that looks again and again whether a scavenge is due.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Looked, Scavenger};
use crate::backoff::jittered;
use crate::current::current_password;
use crate::password::Password;
use crate::ports::SecretStore;
use crate::resolver::Resolver;
use crate::server::HttpServer;
use crate::settings::{RunSettings, Users};
use crate::status::{Area, Report};
use crate::trust::Trust;

/// Between two looks. Outside of a window a look is one at the clock.
const LOOK: Duration = Duration::from_secs(30);

/// Looks as long as the sidecar lives, if there is a schedule.
pub(crate) async fn keep(settings: &RunSettings, secrets: &impl SecretStore, report: &Report) -> Infallible {
    let ops = settings.users.as_ref().and_then(Users::ops);
    let Some(((schedule, window), ops)) = settings.scavenge.zip(ops) else { return std::future::pending().await };
    let scavenger = Scavenger::new(schedule, window, settings.cluster_size, settings.time_scale);
    info!("the server is scavenged at {schedule} UTC, beginning within {} min", window.as_secs() / 60);
    let known = RefCell::new(None::<(Password, Instant)>);
    let password = async || {
        let fresh = |known: &(Password, Instant)| known.1.elapsed() < settings.poll_interval;
        if let Some((password, _)) = known.borrow().as_ref().filter(|known| fresh(known)) {
            return Ok(password.clone());
        }
        let password = current_password(secrets, ops).await?;
        known.replace(Some((password.clone(), Instant::now())));
        Ok(password)
    };
    let mut said = String::new();
    loop {
        sleep(jittered(settings.scaled(LOOK))).await;
        let is_secured =
            report.read(|document| document.users.iter().any(|user| user.login == ops.login && user.proven.is_some()));
        if !is_secured {
            continue;
        }
        let mut begun = report.read(|document| document.scavenge.clone());
        if !scavenger.is_wanted(begun.as_ref(), SystemTime::now()) {
            said.clear();
            continue;
        }
        let Some(server) = client(settings) else { continue };
        let save = |begun: Option<&super::Begun>| report.scavenge(begun);
        let looked = scavenger.look(&server, &mut begun, save, password, SystemTime::now()).await;
        let text = match &looked {
            Looked::Nothing => String::new(),
            Looked::Waits(reason) => format!("a scavenge is due and waits: {reason}"),
            Looked::Began => "the server scavenges".to_owned(),
            Looked::Stopped => "the node has become the leader: its scavenge was stopped".to_owned(),
            Looked::Failed(reason) => format!("no scavenge in this window: the answer to its begin was lost: {reason}"),
        };
        if text != said && !text.is_empty() {
            if let Looked::Failed(_) = &looked {
                report.failed(Area::Scavenging, "server-silent");
                warn!("{text}");
            } else {
                info!("{text}");
            }
        }
        said = text;
    }
}

/// A client with the roots that are published now; without any there is nobody to ask.
fn client(settings: &RunSettings) -> Option<HttpServer> {
    let trust = Trust::read(&settings.certs).ok()?;
    HttpServer::new(settings.server, &settings.server_name, &trust, Resolver::new(settings.dns)).ok()
}
