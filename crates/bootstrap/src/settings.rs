//! What `bootstrap run` goes by, once the command line has been found good.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::converge::Policy;
use crate::ecs::Task;
use crate::scavenge::Schedule;
use crate::secret::Scheme;
use crate::trust::{NodeIdentity, TrustError};
use crate::user::User;

/// Where the task's ARN and address come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// From the command line.
    Given(Task),
    /// From the metadata endpoint with this base address.
    Metadata(String),
}

/// The users of a server.
#[derive(Clone, Debug)]
pub struct Users {
    /// The user `admin`.
    pub admin: User,
    /// The user `ops`, and those of applications.
    pub others: Vec<User>,
}

impl Users {
    /// The user `ops`, which comes before those of applications.
    pub(crate) fn ops(&self) -> Option<&User> {
        self.others.first()
    }

    /// All of them, the administrator first.
    pub fn all(&self) -> impl Iterator<Item = &User> {
        std::iter::once(&self.admin).chain(&self.others)
    }
}

/// The settings of `bootstrap run`. None of them is a secret.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The node's name.
    pub node_name: String,
    /// Where the health verdict is kept.
    pub health_file: PathBuf,
    /// Where it is written what the sidecar knows, if anywhere.
    pub status_file: Option<PathBuf>,
    /// Where guard writes its state, if it is known.
    pub guard_status_file: Option<PathBuf>,
    /// The server's address.
    pub server: SocketAddr,
    /// The name in the server's certificate.
    pub server_name: String,
    /// Nodes of the cluster, this one included; 1 is a single node.
    pub cluster_size: usize,
    /// The names of the other nodes, if they are known.
    pub peers: Vec<String>,
    /// The name server to ask for peers, instead of the system's.
    pub dns: Option<SocketAddr>,
    /// What certgen wrote.
    pub certs: PathBuf,
    /// How long the server may take until it is ready.
    pub ready_timeout: Duration,
    /// Whose credentials are cared for; `None` beside a server without TLS and authentication.
    pub users: Option<Users>,
    /// Whether the node has no vote.
    pub is_read_only_replica: bool,
    /// How long each user may take, and what else is wanted of passwords.
    pub policy: Policy,
    /// How often the credentials are looked at again.
    pub poll_interval: Duration,
    /// The Cloud Map service; `None` if the node is not to be registered.
    pub cloud_map_service: Option<String>,
    /// How often the node's entry in it is looked at.
    pub registration_interval: Duration,
    /// How clients find a node.
    pub scheme: Scheme,
    /// The name clients use.
    pub client_host: String,
    /// The port clients use.
    pub client_port: u16,
    /// Where the task's identity comes from.
    pub task: TaskSource,
    /// The base address of the ECS agent's endpoint, on ECS.
    pub agent_uri: Option<String>,
    /// When the database is scavenged, if at all, and how long after that it may begin.
    pub scavenge: Option<(Schedule, Duration)>,
    /// Whether metrics are printed.
    pub emits_metrics: bool,
    /// Where a Prometheus finds them, if anywhere.
    pub metrics_address: Option<SocketAddr>,
    /// Stretches the times of health, protection and metrics; 1 but in tests.
    pub time_scale: f64,
    /// What certgen was asked for, which is renewed; `None` if nobody said.
    pub certificates: Option<Arc<certgen::Plan>>,
}

impl RunSettings {
    /// The node's certificate with its key, if it may be used to ask in the name of the node.
    pub(crate) fn node_identity(&self) -> Result<Option<NodeIdentity>, TrustError> {
        self.policy.recover_with_node_certificate.then(|| NodeIdentity::read(&self.certs)).transpose()
    }

    /// All users, for messages.
    pub(crate) fn logins(&self) -> String {
        let logins: Vec<_> = self.users.iter().flat_map(Users::all).map(|user| user.login.as_str()).collect();
        logins.join(",")
    }

    /// How many nodes are a majority.
    pub(crate) fn quorum(&self) -> usize {
        self.cluster_size / 2 + 1
    }

    /// A time of health or protection, as it is for this run.
    pub(crate) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.time_scale)
    }
}

impl fmt::Display for RunSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "bootstrap {}: node={} server={} certs={} users={} cloud-map-service={} client={}:{}",
            env!("CARGO_PKG_VERSION"),
            self.node_name,
            self.server,
            self.certs.display(),
            if self.users.is_some() { self.logins() } else { "insecure".to_owned() },
            self.cloud_map_service.as_deref().unwrap_or("none"),
            self.client_host,
            self.client_port,
        )?;
        f.write_str(match &self.certificates {
            Some(_) => " certificates=renewed",
            None => " certificates=not-renewed",
        })
    }
}
