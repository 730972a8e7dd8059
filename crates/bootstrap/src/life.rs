//! The sidecar's life: wait for the server, secure it, register it, stay, withdraw.

use std::convert::Infallible;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::aws::{self, CloudMap, SecretsManager};
use crate::cli::RunSettings;
use crate::converge::World;
use crate::ecs::{self, Task};
use crate::error::Error;
use crate::health::{Health, Observation, PATIENCE, Rules};
use crate::ports::{Instance, Membership as _, Server, ServerError};
use crate::protection::protect;
use crate::registration::{Registration, jittered};
use crate::resolver::Resolver;
use crate::rotation::Forwards;
use crate::secret::Details;
use crate::server::HttpServer;
use crate::trust::{NodeIdentity, Trust, node_certificate_fingerprint};
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
    let server = OwnServer::new(&settings);
    let configuration = aws::configuration().await;
    let life = Life {
        health: &health,
        secrets: SecretsManager::new(&configuration),
        registration: Registration::new(
            CloudMap::new(&configuration, &settings.cloud_map_service),
            &settings.node_name,
            settings.registration_interval,
        ),
        settings,
    };
    info!(region = aws::region(&configuration).unwrap_or("none"), "{}", life.settings);

    let ended = tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = life.work() => Err(error),
        never = watch(&server, &health) => match never {},
        never = protect(&server) => match never {},
    };
    if let Ok(signal) = &ended {
        info!("{signal}: leaving");
    }
    life.registration.withdraw().await;
    ended.map(drop)
}

type Secured = World<SecretsManager, HttpServer, Forwards>;

struct Life<'a> {
    settings: RunSettings,
    health: &'a Health,
    secrets: SecretsManager,
    registration: Registration<CloudMap>,
}

impl Life<'_> {
    /// Ends only with an error, and after it was once secured and registered not at all.
    async fn work(&self) -> Error {
        match self.secure_and_register().await {
            Ok(world) => tokio::select! {
                never = self.keep_secured(&world) => match never {},
                never = self.registration.keep(&world.server) => match never {},
            },
            Err(error) => error,
        }
    }

    /// What was begun by others is finished, what is due is begun, and what somebody changed by hand is put right. A
    /// database that works is not stopped because this fails.
    async fn keep_secured(&self, world: &Secured) -> Infallible {
        loop {
            tokio::select! {
                () = sleep(jittered(self.settings.poll_interval)) => {}
                () = self.registration.returned() => {}
            }
            match world.secure(&self.settings.admin, &self.settings.others).await {
                Ok(()) => self.registration.secured(),
                Err(error) => {
                    let hint = error.hint().unwrap_or("it is looked at again at the next poll");
                    warn!("the credentials are not in order: {} ({hint})", error.one_line());
                }
            }
        }
    }

    async fn secure_and_register(&self) -> Result<Secured, Error> {
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
        let world = World { secrets, server, protocol: Forwards, details, policy };
        world.secure(&settings.admin, &settings.others).await?;
        info!(users = settings.logins(), "the passwords in Secrets Manager are the only ones the server accepts");

        let task = self.task().await?;
        let instance = Instance {
            node: settings.node_name.clone(),
            address: task.address,
            port: settings.client_port,
            task_arn: task.arn,
            member: world.server.members().await.ok().map(|members| members.own),
            since: 0,
            certificate_sha256: node_certificate_fingerprint(&settings.certs).map_err(untrusted)?,
            roots_sha256: trust.fingerprint(),
            signer_sha256: trust.signer_of_node(&settings.certs).map_err(untrusted)?,
        };
        let (node, address) = (instance.node.clone(), instance.address);
        let unregistered = |source| Error::Aws { action: "register the node in Cloud Map", source };
        self.registration.register(instance, &world.server, settings.policy.timeout).await.map_err(unregistered)?;
        info!(node, %address, after_ms = started.elapsed().as_millis(), "registered");
        Ok(world)
    }

    fn server(&self, trust: &Trust) -> Result<HttpServer, Error> {
        let RunSettings { server: address, server_name: name, certs, dns, .. } = &self.settings;
        let unusable = |source| Error::Untrusted { address: address.to_string(), source };
        let server = HttpServer::new(*address, name, trust, Resolver::new(*dns)).map_err(unusable)?;
        if !self.settings.policy.recover_with_node_certificate {
            return Ok(server);
        }
        let identity = NodeIdentity::read(certs).map_err(|source| Error::Trust { certs: certs.clone(), source })?;
        server.with_identity(*address, name, trust, identity).map_err(unusable)
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
