//! The sidecar's life: wait for the server, secure it, register it, stay, withdraw.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use certgen::Plan;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::aws::{self, CloudMap, SecretsManager};
use crate::cli::RunSettings;
use crate::converge::World;
use crate::ecs::{self, Task};
use crate::error::Error;
use crate::health::{Health, Observation, PATIENCE, Rules};
use crate::metrics::{self, Emitter};
use crate::ports::{Instance, Membership as _, Server, ServerError};
use crate::protection::protect;
use crate::registration::{Registration, jittered};
use crate::renewal::{Renewal, Shown};
use crate::resolver::Resolver;
use crate::rotation::Forwards;
use crate::secret::Details;
use crate::server::HttpServer;
use crate::status::{Noting, Report};
use crate::trust::Trust;
use crate::watch::{OwnServer, watch};

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Runs until SIGTERM or SIGINT, or until something can never work.
///
/// # Errors
///
/// [`Error`]; see the crate's documentation for the exit codes.
pub async fn run(settings: RunSettings) -> Result<(), Error> {
    let signals = |source| Error::System { action: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let rules = Rules { quorum: settings.quorum(), patience: settings.scaled(PATIENCE) };
    let health = Health::new(settings.health_file.clone(), rules)?;
    let report = Rc::new(Report::new(&settings));
    let server = OwnServer::new(&settings);
    let metrics = Emitter::new(&report, server.settings());
    let configuration = aws::configuration().await;
    let life = Life {
        health: &health,
        secrets: Noting::new(SecretsManager::new(&configuration), &report),
        registration: Registration::new(
            Noting::new(CloudMap::new(&configuration, &settings.cloud_map_service), &report),
            &settings.node_name,
            settings.registration_interval,
        ),
        configuration: &configuration,
        report: &report,
        settings,
    };
    info!(region = aws::region(&configuration).unwrap_or("none"), "{}", life.settings);

    let ended = tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = life.work() => Err(error),
        never = watch(&server, &health) => match never {},
        never = protect(&server, &report) => match never {},
        never = metrics.run() => match never {},
        never = metrics::serve(&report, server.settings()) => match never {},
    };
    if let Ok(signal) = &ended {
        info!("{signal}: leaving");
    }
    life.registration.withdraw().await;
    metrics.emit();
    ended.map(drop)
}

/// What holds once the node is secured and registered.
struct Standing {
    world: World<Noting<SecretsManager>, HttpServer, Forwards>,
    trust: Trust,
    /// What the registered entry says of the certificates.
    shown: Shown,
}

struct Life<'a> {
    settings: RunSettings,
    configuration: &'a SdkConfig,
    health: &'a Health,
    report: &'a Report,
    secrets: Noting<SecretsManager>,
    registration: Registration<Noting<CloudMap>>,
}

impl Life<'_> {
    /// Ends only with an error, and after it was once secured and registered not at all.
    async fn work(&self) -> Error {
        match self.secure_and_register().await {
            Ok(standing) => {
                let server = standing.world.server.clone();
                tokio::select! {
                    never = self.keep_in_order(standing) => match never {},
                    never = self.registration.keep(&server) => match never {},
                }
            }
            Err(error) => error,
        }
    }

    /// What was begun by others is finished, what is due is begun, and what somebody changed by hand is put right. A
    /// database that works is not stopped because this fails.
    async fn keep_in_order(&self, mut standing: Standing) -> Infallible {
        let renewal = Renewal {
            settings: &self.settings,
            configuration: self.configuration,
            secrets: &self.secrets,
            report: self.report,
            is_rotating: Cell::new(false),
        };
        loop {
            tokio::select! {
                () = sleep(jittered(self.settings.poll_interval)) => {}
                () = self.registration.returned() => {}
            }
            // First, so that the secrets never get roots that are older than what this node shows.
            if let Some(plan) = &self.settings.certificates {
                self.follow(&renewal, plan, &mut standing).await;
            }
            self.report.certificates(&self.settings, &standing.trust, &standing.shown.certificate);
            match self.secure(&standing.world).await {
                Ok(()) => self.registration.secured(),
                Err(error) => {
                    let hint = error.hint().unwrap_or("it is looked at again at the next poll");
                    warn!("the credentials are not in order: {} ({hint})", error.one_line());
                }
            }
            if let Some(plan) = &self.settings.certificates {
                renewal.advance(plan, &standing.world.server).await;
            }
        }
    }

    async fn follow(&self, renewal: &Renewal<'_, Noting<SecretsManager>>, plan: &Arc<Plan>, standing: &mut Standing) {
        let Standing { world, trust, shown } = standing;
        let Some(followed) = renewal.follow(plan, &world.server, trust).await else { return };
        world.details.ca_certificate = followed.trust.bundle();
        *trust = followed.trust;
        let Some(renewed) = followed.shown.filter(|renewed| renewed != shown) else { return };
        *shown = renewed.clone();
        self.registration.update(|instance| *instance = renewed.on(instance));
    }

    async fn secure(&self, world: &World<Noting<SecretsManager>, HttpServer, Forwards>) -> Result<(), Error> {
        let RunSettings { admin, others, .. } = &self.settings;
        world.secure_telling(admin, others, |user, outcome| self.report.converged(user, outcome)).await
    }

    async fn secure_and_register(&self) -> Result<Standing, Error> {
        let settings = &self.settings;
        let started = Instant::now();
        let untrusted = |source| Error::Trust { certs: settings.certs.clone(), source };
        let trust = Trust::read(&settings.certs).map_err(untrusted)?;
        let server = self.server(&trust)?;
        self.wait_until_live(&server).await?;
        self.health.observe(Observation::Ready);
        info!(after_ms = started.elapsed().as_millis(), "the server is ready");

        let details = Details {
            scheme: settings.scheme,
            host: settings.client_host.clone(),
            port: settings.client_port,
            ca_certificate: trust.bundle(),
        };
        let (secrets, policy) = (self.secrets.clone(), settings.policy.clone());
        let shown = Shown::published(settings, &trust).map_err(untrusted)?;
        let world = World { secrets, server, protocol: Forwards, details, policy };
        self.report.certificates(settings, &trust, &shown.certificate);
        self.secure(&world).await?;
        info!(users = settings.logins(), "the passwords in Secrets Manager are the only ones the server accepts");

        let task = self.task().await?;
        self.report.is_task(&task.arn);
        let instance = Instance {
            node: settings.node_name.clone(),
            address: task.address,
            port: settings.client_port,
            task_arn: task.arn,
            member: world.server.members().await.ok().map(|members| members.own),
            since: 0,
            certificate_sha256: shown.certificate.clone(),
            roots_sha256: shown.roots.clone(),
            signer_sha256: shown.signer.clone(),
        };
        let (node, address) = (instance.node.clone(), instance.address);
        let unregistered = |source| Error::Aws { action: "register the node in Cloud Map", source };
        self.registration.register(instance, &world.server, settings.policy.timeout).await.map_err(unregistered)?;
        info!(node, %address, after_ms = started.elapsed().as_millis(), "registered");
        Ok(Standing { world, trust, shown })
    }

    fn server(&self, trust: &Trust) -> Result<HttpServer, Error> {
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
        let mut pause = SHORTEST_PAUSE;
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
                (last, pause) = (said, SHORTEST_PAUSE);
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady { address, seconds: self.settings.ready_timeout.as_secs(), last });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn task(&self) -> Result<Task, Error> {
        match &self.settings.task {
            crate::cli::TaskSource::Given(task) => Ok(task.clone()),
            crate::cli::TaskSource::Metadata(uri) => ecs::task(uri).await,
        }
    }
}
