//! What an application would do and see, and what an intruder would try.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::StatusCode;
use infra::{BuiltInUser, Deployment};
use serde_json::Value;
use testkit::aws::{Aws, RegisteredInstance};
use testkit::cluster::Cluster;
use testkit::consumer;
use tokio::time::sleep;

use super::{failed, require};
use crate::Failure;
use crate::timeline::Timeline;

const WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

/// A client of the database that knows the deployment's names and nothing else.
pub(crate) struct Client<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) aws: &'a Aws,
    /// The id of the service that clients look up, for looking at it without a call.
    pub(crate) service: String,
    pub(crate) timeline: Timeline,
}

/// What a client needs of a user's secret.
pub(crate) struct Secret {
    host: String,
    ca: String,
    username: String,
    password: String,
    connection: String,
}

impl Secret {
    /// The connection string, with or without the password.
    pub(crate) fn connection(&self, show: bool) -> String {
        if show { self.connection.clone() } else { self.connection.replace(&self.password, "********") }
    }
}

impl Client<'_> {
    fn registered(&self) -> Vec<RegisteredInstance> {
        self.aws.cloud_map(|cloud_map| cloud_map.instances(&self.service))
    }

    /// Whether the node is registered at this address.
    pub(crate) fn is_registered(&self, node: &str, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let is = |instance: &RegisteredInstance, key: &str, value: &str| {
            instance.attributes.get(key).is_some_and(|found| found == value)
        };
        self.registered().iter().any(|instance| {
            instance.id == node && is(instance, "AWS_INSTANCE_IPV4", &ip) && is(instance, "AWS_INSTANCE_PORT", &port)
        })
    }

    /// Waits until every node is registered at its task's address.
    pub(crate) async fn wait_until_registered(&self, cluster: &mut Cluster<'_>) -> Result<(), Failure> {
        let step = "wait until the nodes are registered";
        let places: Vec<_> = cluster.names().into_iter().map(|name| (name, cluster.address(name))).collect();
        let deadline = Instant::now() + WITHIN;
        while !places.iter().all(|(name, address)| self.is_registered(name, *address)) {
            cluster.check_essential().map_err(failed(step))?;
            require(step, Instant::now() < deadline, format!("not within {} s", WITHIN.as_secs()))?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Finds `count` nodes and logs in to each with the password of each user's secret, and not with the factory default. Gives admin's secret.
    pub(crate) async fn prove(&self, count: usize) -> Result<Secret, Failure> {
        let (namespace, service) = (self.deployment.namespace().as_str(), self.deployment.name().as_str());
        let step = "find the registered nodes";
        let found = consumer::discover(&self.aws.endpoint(), namespace, service).await.map_err(failed(step))?;
        require(step, found.len() == count, format!("{} addresses instead of {count}", found.len()))?;
        let places: Vec<_> = found.iter().map(ToString::to_string).collect();
        self.timeline.line("consumer", &format!("{} is at {}", self.deployment.client_host(), places.join(", ")));
        for login in self.deployment.logins() {
            let secret = self.secret(login).await?;
            for address in &found {
                self.log_in(*address, &secret).await?;
            }
            let (user, name) = (&secret.username, self.deployment.secret_name(login));
            let everywhere = if count > 1 { " on every node" } else { "" };
            let what = format!("✓ {user} logs in{everywhere} with the password from {name}, and not with changeit");
            self.timeline.line("consumer", &what);
        }
        self.admin().await
    }

    async fn log_in(&self, address: SocketAddr, secret: &Secret) -> Result<(), Failure> {
        for (step, password, expected) in [
            ("log in with the password from the secret", secret.password.as_str(), StatusCode::OK),
            ("be refused with the default password", "changeit", StatusCode::UNAUTHORIZED),
        ] {
            let login = Some((secret.username.as_str(), password));
            let answer =
                consumer::get(address, &secret.host, &secret.ca, "/ping", login).await.map_err(failed(step))?;
            require(step, answer.0 == expected, format!("{} at {address}: {}", secret.username, answer.0))?;
        }
        Ok(())
    }

    /// The stored passwords open the node.
    pub(crate) async fn prove_at(&self, address: SocketAddr) -> Result<(), Failure> {
        for login in self.deployment.logins() {
            self.log_in(address, &self.secret(login).await?).await?;
        }
        Ok(())
    }

    /// Waits until one of the nodes that have a task says that it leads. Gives its name.
    pub(crate) async fn wait_for_leader<'n>(&self, places: &[(&'n str, SocketAddr)]) -> Result<&'n str, Failure> {
        let step = "find the leader";
        let secret = self.admin().await?;
        let deadline = Instant::now() + WITHIN;
        loop {
            for (name, address) in places {
                let answer = consumer::get(*address, &secret.host, &secret.ca, "/info", None).await;
                let info = answer.ok().and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok());
                if info.is_some_and(|info| info["state"] == "leader") {
                    return Ok(name);
                }
            }
            require(step, Instant::now() < deadline, format!("nobody leads after {} s", WITHIN.as_secs()))?;
            sleep(POLL).await;
        }
    }

    /// Whether a database answers there.
    pub(crate) async fn answers(&self, address: SocketAddr) -> Result<bool, Failure> {
        let secret = self.admin().await?;
        let answer = consumer::get(address, &secret.host, &secret.ca, "/info", None).await;
        Ok(answer.is_ok_and(|(status, _)| status == StatusCode::OK))
    }

    async fn admin(&self) -> Result<Secret, Failure> {
        self.secret(BuiltInUser::Admin.as_str()).await
    }

    async fn secret(&self, login: &str) -> Result<Secret, Failure> {
        let (step, name) = ("read the secret", self.deployment.secret_name(login));
        let secret = consumer::read_secret(&self.aws.endpoint(), &name).await.map_err(failed(step))?;
        let text = |key: &str| {
            let text = secret[key].as_str().map(str::to_owned);
            text.ok_or_else(|| failed(step)(format!("no `{key}` in {name}")))
        };
        let (host, ca, username, password) =
            (text("host")?, text("caCertificate")?, text("username")?, text("password")?);
        require(step, host == self.deployment.client_host(), format!("the host is {host}"))?;
        Ok(Secret { host, ca, username, password, connection: text("connectionString")? })
    }
}
