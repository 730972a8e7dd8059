//! The loop that looks at the task's own server; what it finds decides on the health of the task and on whether the node may be
//! registered. It depends on nothing else that the sidecar does: neither AWS nor credentials have a say in it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::health::Observation;
use crate::ports::{Members, Membership, Server as _, ServerError};
use crate::registration::LOOKS;
use crate::resolver::Resolver;
use crate::server::{Census, HttpServer};
use crate::settings::RunSettings;
use crate::trust::Trust;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A name server that says nothing for this long has not said that there is no such name.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);

/// The node's own server, as the watcher asks it.
#[derive(Debug)]
pub(crate) struct OwnServer {
    address: SocketAddr,
    client: RefCell<Option<HttpServer>>,
    settings: RunSettings,
}

impl OwnServer {
    pub(crate) fn new(settings: &RunSettings) -> Self {
        Self { address: settings.server, client: RefCell::new(None), settings: settings.clone() }
    }

    pub(crate) fn settings(&self) -> &RunSettings {
        &self.settings
    }

    /// A client that trusts the roots on the volume; nobody while these cannot be read.
    fn client(&self) -> Option<HttpServer> {
        if let Some(client) = &*self.client.borrow() {
            return Some(client.clone());
        }
        let RunSettings { server, server_name, certs, users, .. } = &self.settings;
        let client = match users {
            Some(_) => {
                let trust = Trust::read(certs).ok()?;
                HttpServer::new(*server, server_name, &trust, Resolver::nobody()).ok()?
            }
            None => HttpServer::insecure(*server).ok()?,
        };
        self.client.replace(Some(client.clone()));
        Some(client)
    }

    /// After a certificate was refused the roots are read again: they may have been replaced.
    fn note(&self, error: &ServerError) {
        if matches!(error, ServerError::Certificate(_)) {
            self.client.replace(None);
        }
    }

    /// The voting members as the server has them, if it says.
    pub(crate) async fn census(&self) -> Option<Census> {
        let census = self.client()?.census().await;
        census.inspect_err(|error| self.note(error)).ok()
    }

    async fn listens(&self) -> bool {
        matches!(timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await, Ok(Ok(_)))
    }
}

impl Membership for OwnServer {
    async fn members(&self) -> Result<Members, ServerError> {
        let unreadable = || ServerError::Certificate("the roots cannot be read".to_owned());
        let members = self.client().ok_or_else(unreadable)?.members().await;
        members.inspect_err(|error| self.note(error))
    }
}

/// Looks at the server as long as the sidecar lives, and tells each time what was found.
pub(crate) async fn watch(server: &OwnServer, found: impl Fn(Observation)) -> Infallible {
    let RunSettings { dns, peers, registration_interval, .. } = server.settings();
    let resolver = Resolver::new(*dns);
    let mut ticks = interval(server.settings.scaled(LOOK).min(*registration_interval / LOOKS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        found(look(server, &resolver, peers).await);
    }
}

async fn look(server: &OwnServer, resolver: &Resolver, peers: &[String]) -> Observation {
    let mut there = Observation::Untrusted;
    if let Some(client) = server.client() {
        match client.is_live().await {
            Ok(true) => return Observation::Ready,
            // Without names of peers nobody can say that there is no cluster yet.
            Ok(false) if !peers.is_empty() && client.role().await.is_ok() => {
                return Observation::Waiting { peers: may_be_there(resolver, peers).await };
            }
            Ok(false) => return Observation::Present,
            Err(error @ ServerError::Certificate(_)) => server.note(&error),
            Err(_) => there = Observation::Present,
        }
    }
    // A bad answer, or none, comes from somebody; only who accepts no connection is not there.
    if server.listens().await { there } else { Observation::Absent }
}

/// How many of the names have an address, or may have one for all that is known.
async fn may_be_there(resolver: &Resolver, peers: &[String]) -> usize {
    let answers = join_all(peers.iter().map(async |name| timeout(NAME_TIMEOUT, resolver.lacks(name)).await));
    answers.await.into_iter().filter(|lacks| !matches!(lacks, Ok(true))).count()
}
