//! The sidecar's life: wait for the server, secure it, register it, stay, withdraw.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use certgen::Plan;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::aws::{self, CloudMap, SecretsManager};
use crate::cli::RunSettings;
use crate::converge::World;
use crate::ecs::{self, Task};
use crate::error::Error;
use crate::health::Health;
use crate::ports::{AwsError, AwsErrorKind, Instance, Registry, Server, ServerError};
use crate::renewal::{Renewal, Shown};
use crate::resolver::Resolver;
use crate::rotation::Forwards;
use crate::secret::Details;
use crate::server::HttpServer;
use crate::trust::Trust;

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// ECS kills the container 30 s after SIGTERM; the database is not stopped before this program has ended.
const WITHDRAWAL_BUDGET: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT, or until something can never work.
///
/// # Errors
///
/// [`Error`]; see the crate's documentation for the exit codes.
pub async fn run(settings: RunSettings) -> Result<(), Error> {
    let signals = |source| Error::System { action: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let health = Health::new(settings.health_file.clone())?;
    let configuration = aws::configuration().await;
    let life = Life {
        health: &health,
        secrets: SecretsManager::new(&configuration),
        registry: CloudMap::new(&configuration, &settings.cloud_map_service),
        registered: Cell::new(None),
        configuration: &configuration,
        settings,
    };
    info!(region = aws::region(&configuration).unwrap_or("none"), "{}", life.settings);

    let ended = tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = life.work() => Err(error),
        never = health.keep_fresh() => match never {},
    };
    if let Ok(signal) = &ended {
        info!("{signal}: leaving");
    }
    life.withdraw().await;
    ended.map(drop)
}

/// What holds once the node is secured and registered.
struct Standing {
    world: World<SecretsManager, HttpServer, Forwards>,
    trust: Trust,
    /// As it is registered.
    instance: Instance,
}

struct Life<'a> {
    settings: RunSettings,
    configuration: &'a SdkConfig,
    health: &'a Health,
    secrets: SecretsManager,
    registry: CloudMap,
    /// The ARN of this task, from the moment at which an entry of ours may exist.
    registered: Cell<Option<String>>,
}

impl Life<'_> {
    /// Ends only with an error, and after it was once secured and registered not at all.
    async fn work(&self) -> Error {
        match self.secure_and_register().await {
            Ok(standing) => match self.keep_in_order(standing).await {},
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
            is_rotating: Cell::new(false),
        };
        loop {
            sleep(self.poll_pause()).await;
            // First, so that the secrets never get roots that are older than what this node shows.
            if let Some(plan) = &self.settings.certificates {
                self.follow(&renewal, plan, &mut standing).await;
            }
            let world = &standing.world;
            if let Err(error) = world.secure(&self.settings.admin, &self.settings.others).await {
                let hint = error.hint().unwrap_or("it is looked at again at the next poll");
                warn!("the credentials are not in order: {} ({hint})", error.one_line());
            }
            if let Some(plan) = &self.settings.certificates {
                renewal.advance(plan, &world.server).await;
            }
        }
    }

    async fn follow(&self, renewal: &Renewal<'_, SecretsManager>, plan: &Arc<Plan>, standing: &mut Standing) {
        let Standing { world, trust, instance } = standing;
        let Some(followed) = renewal.follow(plan, &world.server, trust).await else { return };
        world.details.ca_certificate = followed.trust.bundle();
        *trust = followed.trust;
        let Some(shown) = followed.shown else { return };
        let renewed = shown.on(instance);
        if renewed == *instance {
            return;
        }
        match self.register(&renewed).await {
            Ok(()) => {
                info!(node = renewed.node, "registered with its new certificates");
                *instance = renewed;
            }
            Err(error) => warn!("the entry in Cloud Map tells old certificates: {}", error.one_line()),
        }
    }

    /// Up to a quarter longer than asked for, so that the sidecars of a cluster do not ask AWS in step.
    fn poll_pause(&self) -> Duration {
        let mut random = [0_u8; 1];
        // Without random numbers they ask in step, which does no harm.
        let _ = aws_lc_rs::rand::fill(&mut random);
        self.settings.poll_interval + self.settings.poll_interval / 1024 * u32::from(random[0])
    }

    async fn secure_and_register(&self) -> Result<Standing, Error> {
        let settings = &self.settings;
        let started = Instant::now();
        let untrusted = |source| Error::Trust { certs: settings.certs.clone(), source };
        let trust = Trust::read(&settings.certs).map_err(untrusted)?;
        let server = self.server(&trust)?;
        self.wait_until_live(&server).await?;
        self.health.ready();
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
        world.secure(&settings.admin, &settings.others).await?;
        info!(users = settings.logins(), "the passwords in Secrets Manager are the only ones the server accepts");

        let task = self.task().await?;
        let instance = Instance {
            node: settings.node_name.clone(),
            address: task.address,
            port: settings.client_port,
            task_arn: task.arn,
            certificate_sha256: shown.certificate,
            roots_sha256: shown.roots,
            signer_sha256: shown.signer,
        };
        self.register(&instance).await?;
        info!(node = instance.node, address = %instance.address, after_ms = started.elapsed().as_millis(), "registered");
        Ok(Standing { world, trust, instance })
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

    async fn register(&self, instance: &Instance) -> Result<(), Error> {
        self.registered.set(Some(instance.task_arn.clone()));
        let deadline = Instant::now() + self.settings.policy.timeout;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Err(source) = self.registry.register(instance).await else { return Ok(()) };
            if source.kind == AwsErrorKind::Invalid || Instant::now() >= deadline {
                return Err(Error::Aws { action: "register the node in Cloud Map", source });
            }
            warn!("will be tried again: {source}");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes this task's entry out of the registry, and no other: a successor may have replaced it already.
    async fn withdraw(&self) {
        let Some(task_arn) = self.registered.take() else { return };
        let node = &self.settings.node_name;
        let withdrawal = async {
            match self.registry.owner(node).await? {
                Some(owner) if owner == task_arn => self.registry.withdraw(node).await.map(|()| "withdrawn"),
                Some(_) => Ok("the entry belongs to another task by now"),
                None => Ok("there was no entry"),
            }
        };
        match timeout(WITHDRAWAL_BUDGET, withdrawal).await {
            Ok(Ok(outcome)) => info!(node, "{outcome}"),
            Ok(Err::<_, AwsError>(error)) => warn!(node, "the entry may remain: {error}"),
            Err(_) => warn!(node, "the entry may remain: not withdrawn within {} s", WITHDRAWAL_BUDGET.as_secs()),
        }
    }
}
