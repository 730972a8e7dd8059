//! Keeps the node's certificate and its trusted roots what they should be while the server runs, and takes a rotation of the
//! certificate authority further. [`step`] decides and does nothing else.
//!
//! Whatever goes wrong here is said and looked at again at the next poll: a server with an old certificate is better than
//! none.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use certgen::ca::{self, Begin, Document, Evidence, Outcome, Phase};
use certgen::{CaSource, Plan, one_line};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::current::current_password;
use crate::ports::{Instance, SecretStore, Server as _, ServerError};
use crate::rotation::Role;
use crate::server::HttpServer;
use crate::settings::{RunSettings, Users};
use crate::status::{Area, Report, authority_kind};
use crate::trust::{Trust, TrustError, node_certificate_fingerprint};

/// The server serves a new certificate within 0.1 s of the reload (observed §7).
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For how long a server that keeps its old certificate is told again, at one poll.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between calls of AWS end then.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is published and what clients are shown, each by its SHA-256.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    published: &'a str,
    /// `None` if there was no handshake.
    served: Option<&'a str>,
    /// Whether a root signed what is published that consumers have known since the last poll.
    is_known: bool,
    /// Whether the time for one poll is over.
    is_late: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The server serves what is published, so it trusts the published roots as well: it loads all or nothing.
    Settle,
    /// Give consumers the new root, and time to read it, before the server shows a certificate of it.
    Announce,
    /// Tell the server to load what is published.
    Reload,
    /// Look again in a moment.
    Wait,
    /// Tell people that the server keeps what it had.
    Alarm,
    /// Nobody shows a certificate that is trusted; only a new start of the server can help.
    Leave,
}

/// The one decision after certgen has published, or found nothing due.
fn step(seen: Seen<'_>) -> Step {
    match (seen.served, seen.is_late) {
        (Some(served), _) if served == seen.published => Step::Settle,
        (Some(_), _) if !seen.is_known => Step::Announce,
        (Some(_), false) => Step::Reload,
        (Some(_), true) => Step::Alarm,
        (None, false) => Step::Wait,
        (None, true) => Step::Leave,
    }
}

/// What holds after a poll.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The roots that this program and consumers are to trust.
    pub trust: Trust,
    /// What the node shows, once it is proven.
    pub shown: Option<Shown>,
}

/// What a node shows of its certificates, as it stands in the registry: each by its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub certificate: String,
    pub roots: String,
    pub signer: Option<String>,
}

impl Shown {
    /// What is published in `certs` together with the roots `trust`.
    pub(crate) fn published(settings: &RunSettings, trust: &Trust) -> Result<Self, TrustError> {
        Ok(Self {
            certificate: node_certificate_fingerprint(&settings.certs)?,
            roots: trust.fingerprint(),
            signer: trust.signer_of_node(&settings.certs)?,
        })
    }

    /// An entry of the registry that shows this.
    pub(crate) fn on(self, instance: &Instance) -> Instance {
        let (certificate_sha256, roots_sha256) = (Some(self.certificate), Some(self.roots));
        let signer_sha256 = self.signer;
        Instance { certificate_sha256, roots_sha256, signer_sha256, ..instance.clone() }
    }
}

/// What it needs of the world.
#[derive(Debug)]
pub(crate) struct Renewal<'a, S> {
    pub settings: &'a RunSettings,
    pub users: &'a Users,
    pub configuration: &'a SdkConfig,
    pub secrets: &'a S,
    pub report: &'a Report,
    /// Whether a rotation of the authority was under way when it was last read.
    pub is_rotating: Cell<bool>,
}

impl<S: SecretStore> Renewal<'_, S> {
    /// Issues and publishes what is due, and has the server show it; without a plan, only looks at what others have published
    /// and the server shows. `server` trusts the old and the new roots from before the reload on, and the new ones alone after
    /// its proof. `None`: nothing is published that can be read.
    pub(crate) async fn follow(&self, server: &HttpServer, trusted: &Trust) -> Option<Followed> {
        if let Some(plan) = &self.settings.certificates {
            self.publish(plan).await;
        }
        let published =
            Trust::read(&self.settings.certs).and_then(|trust| Ok((Shown::published(self.settings, &trust)?, trust)));
        let (shown, roots) = match published {
            Ok(published) => published,
            Err(source) => {
                warn!("the certificates cannot be used: {}", one_line(&source));
                self.failed("certificates-unusable");
                return None;
            }
        };
        let both = trusted.with(&roots);
        if both != *trusted && !self.trust(server, &both) {
            return None;
        }
        let is_shown = match &self.settings.certificates {
            Some(_) => match trusted.signer_of_node(&self.settings.certs) {
                Ok(signer) => self.show(server, &both, &shown.certificate, signer.is_some()).await,
                Err(source) => {
                    warn!("the certificates cannot be used: {}", one_line(&source));
                    return None;
                }
            },
            // Whoever published it has the server load it.
            None => server.served_certificate(&both).await.is_ok_and(|served| served == shown.certificate),
        };
        if !is_shown {
            return Some(Followed { trust: both, shown: None });
        }
        if both != roots && !self.trust(server, &roots) {
            return None;
        }
        Some(Followed { trust: roots, shown: Some(shown) })
    }

    async fn publish(&self, plan: &Arc<Plan>) {
        let document = match self.document(plan).await {
            Ok(document) => document,
            Err(error) => {
                let hint = error.hint().unwrap_or("it is looked at again at the next poll");
                warn!("the certificate authority cannot be read: {} ({hint})", one_line(&error));
                self.failed(authority_kind(&error));
                return;
            }
        };
        let plan = Arc::clone(plan);
        // To find a key takes long, and a disk may be slow.
        let issued = spawn_blocking(move || certgen::renew(&plan, document.as_ref(), OffsetDateTime::now_utc())).await;
        match issued {
            Ok(Ok(report)) if report.is_kept() => {}
            Ok(Ok(report)) => {
                let reasons: Vec<_> = report.reasons().iter().map(ToString::to_string).collect();
                info!("{report}; due: {}", reasons.join("; "));
            }
            Ok(Err(errors)) => {
                for error in errors.iter() {
                    warn!("no certificate was published: {}", one_line(error));
                }
                self.failed("not-published");
            }
            Err(_) => {
                error!("no certificate was published: the thread that issues it ended early");
                self.failed("not-published");
            }
        }
    }

    fn failed(&self, kind: &str) {
        self.report.failed(Area::Certificates, kind);
    }

    /// What the secret of the authority holds, if there is one.
    async fn document(&self, plan: &Plan) -> Result<Option<Document>, ca::CaError> {
        let CaSource::Secret { id } = &plan.ca else { return Ok(None) };
        let document = ca::read(&certgen::aws::Secret::new(self.configuration, id, AUTHORITY_TIMEOUT)).await?;
        self.is_rotating.set(document.phase() != Phase::Steady);
        self.report.authority(document.phase().as_str());
        Ok(Some(document))
    }

    fn trust(&self, server: &HttpServer, trust: &Trust) -> bool {
        let identity = self.settings.node_identity();
        let done = identity
            .map_err(|error| one_line(&error))
            .and_then(|identity| server.trust(trust, identity).map_err(|error| one_line(&error)));
        if let Err(error) = &done {
            warn!("the published roots cannot be trusted: {error}");
            self.failed("certificates-unusable");
        }
        done.is_ok()
    }

    /// Whether the server shows the published certificate in a new handshake, in the end.
    async fn show(&self, node: &HttpServer, trust: &Trust, published: &str, is_known: bool) -> bool {
        let deadline = Instant::now() + RELOAD_TIMEOUT.min(self.settings.poll_interval);
        let mut pause = SHORTEST_PAUSE;
        let mut reloads = 0;
        loop {
            let shown = node.served_certificate(trust).await;
            let is_late = Instant::now() >= deadline;
            match step(Seen { published, served: shown.as_deref().ok(), is_known, is_late }) {
                Step::Settle if reloads > 0 => {
                    info!(certificate = published, reloads, "the server serves the new certificate");
                    return true;
                }
                Step::Settle => return true,
                Step::Announce => {
                    info!(
                        "another root signed the new certificate: it is published now, and the server reloads at the next poll"
                    );
                    return false;
                }
                Step::Reload => {
                    reloads += 1;
                    if let Err(error) = self.reload(node).await {
                        warn!("the server was not told to reload: {error}");
                    }
                }
                Step::Wait => {}
                Step::Alarm => {
                    let served = shown.unwrap_or_default();
                    error!(
                        published,
                        served,
                        reloads,
                        "the server keeps its old certificate: what it says about the reload is in its log; it is told \
                         again at the next poll"
                    );
                    self.failed("old-certificate-served");
                    return false;
                }
                Step::Leave => {
                    match shown {
                        // Nobody can ask for a reload any more.
                        Err(error @ ServerError::Certificate(_)) => {
                            error!("the server is not trusted any more: {error}");
                            self.failed("server-not-trusted");
                        }
                        Err(error) => {
                            warn!("the server shows no certificate: {error}");
                            self.failed("server-silent");
                        }
                        Ok(_) => {}
                    }
                    return false;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn reload(&self, server: &HttpServer) -> Result<(), String> {
        let password = current_password(self.secrets, &self.users.admin).await?;
        server.reload(&password).await.map_err(|error| error.to_string())
    }

    /// Beside the leader: takes a rotation of the authority that is under way one phase further, if everybody shows the
    /// present one.
    pub(crate) async fn advance(&self, server: &HttpServer) {
        let Some(CaSource::Secret { id }) = self.settings.certificates.as_ref().map(|plan| &plan.ca) else { return };
        if let Err(error) = self.try_to_advance(id, server).await {
            let hint = error.hint().unwrap_or("it is looked at again at the next poll");
            warn!("the rotation of the certificate authority was not looked at: {} ({hint})", one_line(&error));
            self.failed(authority_kind(&error));
        }
    }

    async fn try_to_advance(&self, id: &str, server: &HttpServer) -> Result<(), ca::CaError> {
        if !self.is_rotating.get() || !matches!(server.role().await, Ok(Role::Leader)) {
            return Ok(());
        }
        // Who leads is registered, and so are those that it looks at.
        let Some(service) = &self.settings.cloud_map_service else { return Ok(()) };
        let evidence = self.evidence(service).await?;
        let secret = certgen::aws::Secret::new(self.configuration, id, AUTHORITY_TIMEOUT);
        match ca::advance(&secret, &evidence, Begin::No, OffsetDateTime::now_utc()).await? {
            Outcome::Advanced { from, document } => {
                info!("the rotation of the certificate authority went from {from} to {}", document.phase());
                self.report.authority(document.phase().as_str());
            }
            Outcome::Blocked { document, by } => {
                let by: Vec<_> = by.iter().map(ToString::to_string).collect();
                info!("the rotation of the certificate authority stays in {}: {}", document.phase(), by.join("; "));
            }
            Outcome::Steady(_) => {}
        }
        Ok(())
    }

    async fn evidence(&self, service: &str) -> Result<Evidence, ca::CaError> {
        let failed = |action| move |source| ca::CaError::Store { action, source };
        let RunSettings { cluster_size, .. } = self.settings;
        let registered = certgen::aws::registered_nodes(self.configuration, service).await;
        let secrets: Vec<_> = self.users.all().map(|user| user.secret.0.clone()).collect();
        let published = certgen::aws::published_roots(self.configuration, &secrets).await;
        Ok(Evidence {
            expected_nodes: Some(*cluster_size),
            nodes: Some(registered.map_err(failed("look at the registered nodes"))?),
            published: Some(published.map_err(failed("look at the secrets of users"))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_handshake_tells_what_is_to_be_done() {
        for (served, is_known, is_late, expected) in [
            (Some("new"), true, false, Step::Settle),
            (Some("new"), true, true, Step::Settle),
            (Some("new"), false, false, Step::Settle),
            (Some("old"), true, false, Step::Reload),
            (Some("old"), true, true, Step::Alarm),
            (Some("old"), false, false, Step::Announce),
            (Some("old"), false, true, Step::Announce),
            (None, true, false, Step::Wait),
            (None, false, false, Step::Wait),
            (None, true, true, Step::Leave),
            (None, false, true, Step::Leave),
        ] {
            let seen = Seen { published: "new", served, is_known, is_late };
            assert_eq!(step(seen), expected, "{seen:?}");
        }
    }
}
