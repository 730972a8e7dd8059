//! The sidecar's life: wait for the server, secure it, register it, stay, withdraw. Nothing in the surroundings ends it but a
//! signal.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use aws_config::SdkConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::aws::{self, CloudMap, SecretsManager};
use crate::backoff::{Backoff, jittered};
use crate::converge::World;
use crate::ecs::{self, Task};
use crate::error::Error;
use crate::health::{Health, Observation, PATIENCE, Rules};
use crate::metrics::{self, Emitter};
use crate::ports::{Instance, Membership as _, Server as _, ServerError};
use crate::protection::protect;
use crate::registration::Registration;
use crate::renewal::{Renewal, Shown};
use crate::resolver::Resolver;
use crate::rotation::Forwards;
use crate::scavenge;
use crate::secret::Details;
use crate::server::HttpServer;
use crate::settings::{RunSettings, TaskSource, Users};
use crate::status::{Noting, Report};
use crate::supervise::supervise;
use crate::trust::Trust;
use crate::user::User;
use crate::watch::{OwnServer, watch};

/// Between two questions whether the server is ready.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// After something did not work; the longest pause is the interval of polls.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, and then withdraws the node. A second signal changes nothing.
///
/// # Errors
///
/// [`Error::System`] if signals cannot be listened for.
pub async fn run(settings: RunSettings) -> Result<(), Error> {
    let signals = |source| Error::System { action: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(signalled);

    let life = tokio::select! {
        biased;
        signal = &mut signalled => {
            info!("{signal}: leaving");
            return Ok(());
        }
        life = Life::begin(settings) => life,
    };
    let signal = tokio::select! {
        biased;
        signal = &mut signalled => signal,
        never = life.live() => match never {},
    };
    info!("{signal}: leaving");
    life.registration.withdraw().await;
    life.metrics.emit();
    Ok(())
}

/// What the parts of the sidecar share.
struct Life {
    settings: RunSettings,
    configuration: SdkConfig,
    health: Health,
    server: OwnServer,
    secrets: Noting<SecretsManager>,
    registration: Registration<Noting<CloudMap>>,
    report: Rc<Report>,
    metrics: Emitter,
}

/// The own server, once it could be asked, and what is known about it.
struct Standing {
    world: World<Noting<SecretsManager>, HttpServer, Forwards>,
    trust: Trust,
    /// What the registered entry says of the certificates.
    shown: Shown,
    is_registered: bool,
}

impl Life {
    async fn begin(settings: RunSettings) -> Self {
        info!("{settings}");
        let has_vote = !settings.is_read_only_replica;
        let rules = Rules { quorum: settings.quorum(), has_vote, patience: settings.scaled(PATIENCE) };
        let health = Health::new(settings.health_file.clone(), rules);
        // The region may have to be asked for.
        let configuration = aws::configuration().await;
        info!("region={}", aws::region(&configuration).unwrap_or("none"));
        let report = Rc::new(Report::new(&settings));
        let cloud_map = CloudMap::new(&configuration, settings.cloud_map_service.as_deref().unwrap_or_default());
        let cloud_map = Noting::new(cloud_map, &report);
        Self {
            health,
            server: OwnServer::new(&settings),
            secrets: Noting::new(SecretsManager::new(&configuration), &report),
            registration: Registration::new(cloud_map, &settings.node_name, settings.registration_interval),
            metrics: Emitter::new(&report, &settings),
            report,
            configuration,
            settings,
        }
    }

    async fn live(&self) -> Infallible {
        tokio::select! {
            never = supervise("the look at the own server", || watch(&self.server, |seen| self.see(seen))) => never,
            never = supervise("the protection of the task", || protect(&self.server, &self.report)) => never,
            never = supervise("the metrics", || self.metrics.run()) => never,
            never = supervise("the answer to who asks for metrics", || metrics::serve(&self.report, &self.settings)) => never,
            never = supervise("the scavenge", || scavenge::keep(&self.settings, &self.secrets, &self.report)) => never,
            never = supervise("the registration", || self.registration.keep(&self.server)) => never,
            never = supervise("the care for credentials and certificates", || self.keep_in_order()) => never,
        }
    }

    fn see(&self, seen: Observation) {
        self.health.observe(seen);
        self.registration.observe(seen.is_ready());
    }

    /// What was begun by others is finished, what is due is begun, and what somebody changed by hand is put right. A
    /// database that works is not stopped because this fails.
    async fn keep_in_order(&self) -> Infallible {
        let Some(users) = &self.settings.users else { return self.keep_insecure().await };
        let renewal = Renewal {
            settings: &self.settings,
            users,
            configuration: &self.configuration,
            secrets: &self.secrets,
            report: &self.report,
            is_rotating: Cell::new(false),
        };
        let mut standing = self.reach(|| self.try_to_reach()).await;
        let mut backoff = self.backoff();
        loop {
            let pause = match self.put_in_order(users, &mut standing).await {
                Ok(()) => {
                    backoff.reset();
                    jittered(self.settings.poll_interval)
                }
                Err(error) => {
                    let pause = backoff.pause();
                    self.report.stopped_by(&error);
                    tell("the node is not in order", &error, pause);
                    pause
                }
            };
            renewal.advance(&standing.world.server).await;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.registration.returned() => {}
            }
            // First, so that the secrets never get roots that are older than what this node shows.
            self.follow(&renewal, &mut standing).await;
        }
    }

    /// The credentials; and once they are in order, the node may be registered.
    async fn put_in_order(&self, users: &Users, standing: &mut Standing) -> Result<(), Error> {
        let Standing { world, trust, shown, is_registered } = standing;
        self.report.certificates(&self.settings, trust, &shown.certificate);
        let tell = |user: &User, outcome: Result<(), &Error>| self.report.converged(user, outcome);
        world.secure_telling(&users.admin, &users.others, tell).await?;
        if *is_registered {
            self.registration.secured();
            return Ok(());
        }
        let users = self.settings.logins();
        info!(users, "the passwords in Secrets Manager are the only ones the server accepts");
        self.register(&world.server, Some(shown)).await?;
        *is_registered = true;
        Ok(())
    }

    /// Has the node registered, if it is to be.
    async fn register(&self, server: &HttpServer, shown: Option<&Shown>) -> Result<(), Error> {
        if self.settings.cloud_map_service.is_none() {
            info!(node = self.settings.node_name, "in order; it is not to be registered");
            return Ok(());
        }
        let task = self.task().await?;
        self.report.is_task(&task.arn);
        let instance = Instance {
            node: self.settings.node_name.clone(),
            address: task.address,
            port: self.settings.client_port,
            task_arn: task.arn,
            member: server.members().await.ok().map(|members| members.own),
            since: 0,
            certificate_sha256: None,
            roots_sha256: None,
            signer_sha256: None,
        };
        self.registration.register(match shown {
            Some(shown) => shown.clone().on(&instance),
            None => instance,
        });
        Ok(())
    }

    /// Beside a server without users and certificates: it is registered while it is ready.
    async fn keep_insecure(&self) -> Infallible {
        let server = self.reach(|| self.try_to_reach_insecure()).await;
        let mut backoff = self.backoff();
        while let Err(error) = self.register(&server, None).await {
            let pause = backoff.pause();
            self.report.stopped_by(&error);
            tell("the node cannot be registered", &error, pause);
            sleep(pause).await;
        }
        loop {
            self.registration.returned().await;
            self.registration.secured();
        }
    }

    async fn try_to_reach_insecure(&self) -> Result<HttpServer, Error> {
        let address = self.settings.server;
        let unusable = |source| Error::Untrusted { address: address.to_string(), source };
        let server = HttpServer::insecure(address).map_err(unusable)?;
        self.wait_until_live(&server).await?;
        Ok(server)
    }

    async fn follow(&self, renewal: &Renewal<'_, Noting<SecretsManager>>, standing: &mut Standing) {
        let Standing { world, trust, shown, .. } = standing;
        let Some(followed) = renewal.follow(&world.server, trust).await else { return };
        world.details.ca_certificate = followed.trust.bundle();
        *trust = followed.trust;
        let Some(renewed) = followed.shown.filter(|renewed| renewed != shown) else { return };
        *shown = renewed.clone();
        self.registration.update(|instance| *instance = renewed.on(instance));
    }

    /// Waits for certificates, and for the server to be ready. It may take as long as it does; from time to time that is told.
    async fn reach<T, F: Future<Output = Result<T, Error>>>(&self, try_to_reach: impl Fn() -> F) -> T {
        let started = Instant::now();
        let mut backoff = self.backoff();
        loop {
            let error = match try_to_reach().await {
                Ok(reached) => {
                    self.see(Observation::Ready);
                    info!(after_ms = started.elapsed().as_millis(), "the server is ready");
                    return reached;
                }
                Err(error) => error,
            };
            // That wait was long enough.
            let pause = if matches!(error, Error::NotReady { .. }) { Duration::ZERO } else { backoff.pause() };
            self.report.stopped_by(&error);
            tell("the server cannot be asked", &error, pause);
            sleep(pause).await;
        }
    }

    async fn try_to_reach(&self) -> Result<Standing, Error> {
        let settings = &self.settings;
        let untrusted = |source| Error::Trust { certs: settings.certs.clone(), source };
        let trust = Trust::read(&settings.certs).map_err(untrusted)?;
        let shown = Shown::published(settings, &trust).map_err(untrusted)?;
        let server = self.client(&trust)?;
        self.wait_until_live(&server).await?;
        let details = Details {
            scheme: settings.scheme,
            host: settings.client_host.clone(),
            port: settings.client_port,
            ca_certificate: trust.bundle(),
        };
        let (secrets, policy) = (self.secrets.clone(), settings.policy.clone());
        let world = World { secrets, server, protocol: Forwards, details, policy };
        Ok(Standing { world, trust, shown, is_registered: false })
    }

    fn client(&self, trust: &Trust) -> Result<HttpServer, Error> {
        let RunSettings { server: address, server_name: name, certs, dns, .. } = &self.settings;
        let unusable = |source| Error::Untrusted { address: address.to_string(), source };
        let identity = self.settings.node_identity();
        let identity = identity.map_err(|source| Error::Trust { certs: certs.clone(), source })?;
        let server = HttpServer::new(*address, name, trust, Resolver::new(*dns)).map_err(unusable)?;
        if identity.is_some() {
            server.trust(trust, identity).map_err(unusable)?;
        }
        Ok(server)
    }

    /// A 204 from the leader says that both built-in users exist; from a replica it does not (observed §1).
    async fn wait_until_live(&self, server: &HttpServer) -> Result<(), Error> {
        let address = self.settings.server.to_string();
        let deadline = Instant::now() + self.settings.ready_timeout;
        let mut backoff = Backoff::new(SHORTEST_WAIT, LONGEST_WAIT);
        let mut last = String::new();
        loop {
            let said = match server.is_live().await {
                Ok(true) => return Ok(()),
                Ok(false) => "not ready yet".to_owned(),
                Err(source @ ServerError::Certificate(_)) => return Err(Error::Untrusted { address, source }),
                Err(error) => error.to_string(),
            };
            if said != last {
                info!("waiting for the server at {address}: {said}");
                last = said;
                backoff.reset();
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady { address, seconds: self.settings.ready_timeout.as_secs(), last });
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn task(&self) -> Result<Task, Error> {
        match &self.settings.task {
            TaskSource::Given(task) => Ok(task.clone()),
            TaskSource::Metadata(uri) => ecs::task(uri, self.settings.scaled(ecs::PATIENCE)).await,
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(SHORTEST_PAUSE, self.settings.poll_interval)
    }
}

fn tell(what: &str, error: &Error, pause: Duration) {
    let otherwise = "it is looked at again, as often as it takes";
    error!(again_after_ms = pause.as_millis(), "{what}: {}", error.with_hint(otherwise));
}
