//! What a deployment is: typed intent, from which both the templates and the local runs are made.

mod access;
mod alarms;
mod backup;
mod data;
mod encryption;
mod endpoints;
mod extra;
mod flow_logs;
mod network;
mod node;
mod origin;
mod task;

use crate::config::{Config, Mistake, OwnImages};
use crate::values::{DeploymentName, Namespace, ServerLine};

pub use self::access::ApplicationUser;
pub(crate) use self::access::{Access, CaSource, Secret, Secured};
pub(crate) use self::alarms::{Alarms, Notify, Watch};
pub(crate) use self::backup::{Backup, BackupMode, BackupPause, LATE, SLACK, STOP_DEADLINE, Scavenge, Vault};
pub(crate) use self::data::{Data, FileSystem, InfrequentAccess, NewFileSystem, Throughput};
pub(crate) use self::encryption::Encryption;
pub(crate) use self::endpoints::{EndpointGroup, WayOut};
pub use self::extra::Extra;
pub(crate) use self::extra::{
    Capability, Efs, ExtraContainer, ExtraMount, ExtraVolume, PREPARED, Peer, Place, Readable, Source, Until,
};
pub(crate) use self::flow_logs::FlowLogs;
pub(crate) use self::network::{Discovery, Egress, Network, Vpc};
pub use self::node::Node;
pub(crate) use self::node::NodeId;
pub use self::origin::{Influence, Origin};
pub(crate) use self::task::RESTORED;
pub use self::task::{
    Condition, Container, ContainerName, HealthCheck, Image, LicenseKey, Mount, Origins, Password, Program, Task,
    Value, Variable, Volume,
};

/// A whole deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    config: Config,
    nodes: Vec<Node>,
    replicas: Vec<Node>,
}

impl Deployment {
    /// The deployment that a configuration describes.
    pub fn new(config: Config) -> Self {
        let host = |id: NodeId| format!("{}-{}.{}", config.name, id.name(), config.namespace);
        let voters: Vec<_> = config.nodes.numbers().map(NodeId::Voter).collect();
        let node = |id: NodeId| {
            // What everybody is told of: those that vote.
            let others: Vec<_> = voters.iter().filter(|other| **other != id).map(|other| host(*other)).collect();
            let task = task::task(&config, id, &host(id), &others);
            Node { id, name: id.name(), host: host(id), task }
        };
        let nodes = voters.iter().copied().map(node).collect();
        let replicas = (1..=config.read_only_replicas).map(NodeId::Replica).map(node).collect();
        Self { config, nodes, replicas }
    }

    /// The prefix of everything.
    pub fn name(&self) -> &DeploymentName {
        &self.config.name
    }

    /// Where DNS names are.
    pub fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    /// The DNS name that clients connect to.
    pub fn client_host(&self) -> String {
        task::client_host(&self.config)
    }

    /// The port for HTTP and gRPC.
    pub fn port(&self) -> u16 {
        self.config.server.port
    }

    /// The server line.
    pub fn line(&self) -> ServerLine {
        self.config.server.line
    }

    /// uid and gid of every container.
    pub(crate) fn uid(&self) -> u32 {
        self.config.server.uid
    }

    /// The nodes that vote, which are all but read-only replicas.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, and after them the read-only replicas: everything that has a task.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(&self.replicas)
    }

    /// Which of the subnets a node may be in, from 0. A single node may run wherever there is one; each node of a cluster stays
    /// in its zone, so that no zone can get the majority.
    pub(crate) fn subnets_of(&self, node: NodeId) -> impl Iterator<Item = usize> {
        let all = self.config.network.subnets();
        let (own, is_cluster) = ((node.number() - 1) % all, self.config.nodes.is_cluster());
        (0..all).filter(move |subnet| !is_cluster || *subnet == own)
    }

    /// The users of applications.
    pub fn users(&self) -> &[ApplicationUser] {
        self.secured().map_or(&[], |secured| &secured.users)
    }

    /// The login names that have a secret: the built-in users and those of applications. None if the server is insecure.
    pub fn logins(&self) -> impl Iterator<Item = &str> {
        self.secured().into_iter().flat_map(Secured::secrets).map(|(login, _)| login)
    }

    /// The name of a user's secret, or the ARN of one that is there already.
    pub fn secret_name(&self, login: &str) -> String {
        let secrets = self.secured().into_iter().flat_map(Secured::secrets);
        let secret = secrets.into_iter().find(|(of, _)| *of == login).map(|(_, secret)| secret);
        task::secret_name(&self.config, login, secret.unwrap_or(&Secret::New))
    }

    /// The name of the secret in which the tasks keep their certificate authority, if they share one, or the ARN of one that
    /// is there already. A new one is made empty; the first task fills it.
    pub fn ca_secret_name(&self) -> Option<String> {
        match &self.secured()?.ca {
            CaSource::Secret(secret) => Some(task::secret_name(&self.config, "ca", secret)),
            CaSource::Ephemeral | CaSource::Files { .. } => None,
        }
    }

    /// What is allowed and yet should be known, each with its key in the configuration.
    pub fn warnings(&self) -> Vec<Mistake> {
        self.config.warnings()
    }

    /// The directory that images are built from, as the configuration names it, if whoever deploys builds them.
    pub fn build_directory(&self) -> Option<&str> {
        match &self.config.images.own {
            OwnImages::Built(directory) => Some(directory.as_str()),
            OwnImages::Pulled { .. } => None,
        }
    }

    /// Certificates and passwords, if there are any.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        match &self.config.access {
            Access::Secured(secured) => Some(secured),
            Access::Insecure => None,
        }
    }

    /// What CloudFormation generates a user's first password into (`AWS::SecretsManager::Secret`): template and key.
    pub fn secret_template(login: &str) -> (String, &'static str) {
        (format!(r#"{{"username":"{login}"}}"#), PASSWORD_KEY)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

/// The key of the password in a secret.
pub(crate) const PASSWORD_KEY: &str = "password";

/// Characters of a generated password (design §6).
pub const PASSWORD_LENGTH: usize = 40;

/// uid and gid that own the data on EFS, whatever the container runs as; create-only, so it is fixed for all lines.
pub(crate) const DATA_UID: u32 = 1000;
