//! A service of somebody else that uses the database, as intent: it opens its own way, in its own stack.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::cfn::LogicalId;
use crate::exports::Export;
use crate::image::ImageReference;
use crate::model::Deployment;
use crate::server::EXTERNAL_TCP_PORT;
use crate::values::FargateSize;

/// A port over which one thing reaches another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// A key of a user's secret. All are there once bootstrap has secured the database; a task that is started earlier fails, and ECS
/// starts it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretField {
    /// `username`; of a user that takes turns, the one whose turn it is.
    Username,
    /// `password`.
    Password,
    /// `connectionString`, with user and password in it.
    ConnectionString,
    /// `caCertificate`: the roots to trust, in PEM.
    CaCertificate,
}

impl SecretField {
    /// The key.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Password => "password",
            Self::ConnectionString => "connectionString",
            Self::CaCertificate => "caCertificate",
        }
    }
}

/// What a consumer wants and the deployment does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// Nothing would answer there.
    #[error(
        "`{deployment}` does not listen for clients on port {port}; allowed are {open} (`server.external_tcp` adds 1113 where the line has it)"
    )]
    NotOpen {
        /// The deployment.
        deployment: String,
        /// The port that was asked for.
        port: u16,
        /// The ports that clients reach.
        open: String,
    },
    /// A service is beside one deployment and uses that.
    #[error("`{service}` is beside the deployment `{own}` and cannot be connected to `{other}`")]
    OtherDeployment {
        /// The logical id of the service.
        service: String,
        /// The deployment it was made for.
        own: String,
        /// The deployment it should be connected to.
        other: String,
    },
    /// Nobody with this login has a secret.
    #[error("`{deployment}` has no secret of a user `{login}`; there are {known}")]
    NoUser {
        /// The deployment.
        deployment: String,
        /// The login that was asked for.
        login: String,
        /// The logins that have one.
        known: String,
    },
}

fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The deployment as something that others connect to: its nodes' security group and the ports behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    deployment: String,
    open: BTreeSet<Port>,
}

impl Deployment {
    /// What consumers connect to.
    pub fn connections(&self) -> Destination {
        let external = self.config().server.external_tcp.then_some(EXTERNAL_TCP_PORT);
        let open = [self.port()].into_iter().chain(external).map(Port::tcp).collect();
        Destination { deployment: self.name().to_string(), open }
    }
}

/// A Fargate service in a stack of its own that uses the database of a deployment: in its VPC and in its cluster, with a
/// security group, a log group and an execution role of its own.
///
/// Its group lets out HTTPS, to AWS and to image registries, and what [`FargateService::connections`] opens. Where the
/// deployment's nodes reach AWS through endpoints alone, so does it: its image must then be in ECR, in the region of the stack
/// and in no pull-through cache, and AWS services without an endpoint in the VPC are not reached. What the image may write, and
/// as whom it runs, is its own matter.
#[derive(Clone, Debug)]
pub struct FargateService<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) id: LogicalId,
    pub(crate) image: ImageReference,
    pub(crate) size: FargateSize,
    pub(crate) desired_count: u16,
    pub(crate) variables: Vec<(String, Value)>,
    pub(crate) secrets: Vec<(String, Export, SecretField)>,
    pub(crate) ways: BTreeSet<Port>,
}

impl<'a> FargateService<'a> {
    /// One task of `image` beside `deployment`. The logical ids of its resources begin with `id`, which is the name of the
    /// container too.
    ///
    /// # Panics
    ///
    /// If `id` is not of letters and digits; ids are written in the source.
    pub fn new(deployment: &'a Deployment, id: &str, image: ImageReference, size: FargateSize) -> Self {
        let (variables, secrets, ways) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { deployment, id: LogicalId::new(id), image, size, desired_count: 1, variables, secrets, ways }
    }

    /// How many tasks there are; 1 if this is not called.
    pub fn desired_count(&mut self, tasks: u16) -> &mut Self {
        self.desired_count = tasks;
        self
    }

    /// Sets a variable to a text, which is readable in the console: not for secrets.
    pub fn variable(&mut self, name: &str, text: &str) -> &mut Self {
        self.variables.push((name.to_owned(), json!(text)));
        self
    }

    /// Sets a variable to what the deployment exports.
    pub fn import(&mut self, name: &str, export: &Export) -> &mut Self {
        self.variables.push((name.to_owned(), self.deployment.import(export)));
        self
    }

    /// Has ECS set a variable from the secret of a user when it starts a task; it is not read again while that runs.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::NoUser`]: nobody with this login has a secret.
    pub fn secret(&mut self, name: &str, login: &str, field: SecretField) -> Result<&mut Self, ConsumerError> {
        let secret = self.deployment.secret(login).ok_or_else(|| ConsumerError::NoUser {
            deployment: self.deployment.name().to_string(),
            login: login.to_owned(),
            known: listed(self.deployment.logins()),
        })?;
        self.secrets.push((name.to_owned(), secret, field));
        Ok(self)
    }

    /// What opens ways for the service.
    pub fn connections(&mut self) -> Connections<'_, 'a> {
        Connections { service: self }
    }
}

/// The ways from a service.
#[derive(Debug)]
pub struct Connections<'s, 'a> {
    service: &'s mut FargateService<'a>,
}

impl Connections<'_, '_> {
    /// Opens a port of `to` for the service. Both rules, out of its group and into that of the nodes, are resources of the
    /// service's stack: the deployment's stacks do not know of it, so that no circle of stacks can arise.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`]: nothing listens on the port, or `to` is of another deployment.
    pub fn allow_to(&mut self, to: &Destination, port: Port) -> Result<(), ConsumerError> {
        let own = self.service.deployment.name().to_string();
        if to.deployment != own {
            let (service, other) = (self.service.id.to_string(), to.deployment.clone());
            return Err(ConsumerError::OtherDeployment { service, own, other });
        }
        if !to.open.contains(&port) {
            let open = listed(to.open.iter().map(|port| port.number()));
            return Err(ConsumerError::NotOpen { deployment: own, port: port.number(), open });
        }
        self.service.ways.insert(port);
        Ok(())
    }
}
