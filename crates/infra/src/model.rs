//! What a deployment is: typed intent, from which both the templates and the local runs are made.

use serde_json::json;

use crate::config::{ApplicationUser, CaSource, Config};
use crate::image::ImageReference;
use crate::server::{self, Member, REPLICATION_PORT};
use crate::values::{BuiltInUser, DeploymentName, FargateSize, Namespace, RotationPeriod, ServerLine};

/// The value of an environment variable. What only CloudFormation knows is a reference, never a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Literal(String),
    /// The region of the stack.
    Region,
    /// The ARN of a user's secret.
    Secret(BuiltInUser),
    /// The ARN of the secret with the certificate authority.
    CaSecret,
    /// The id of the Cloud Map service that clients look up.
    ClientService,
}

/// A volume of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// The node's certificates; local to the task.
    Certs,
    /// `/tmp`, because root file systems are read-only; local to the task.
    Tmp,
    /// What the containers tell each other; local to the task.
    Run,
    /// The ephemeral certificate authority; local to the task, not mounted by the server.
    CaState,
    /// The database, on EFS behind the node's access point.
    Data,
}

impl Volume {
    /// The volume's name in the task definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certs => "certs",
            Self::Tmp => "tmp",
            Self::Run => "run",
            Self::CaState => "ca-state",
            Self::Data => "data",
        }
    }
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Which volume.
    pub volume: Volume,
    /// Where it is in the container.
    pub path: &'static str,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// A container of the task; each stands there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerName {
    /// The init container.
    Certgen,
    /// The database under guard.
    EventStore,
    /// The sidecar.
    Bootstrap,
}

impl ContainerName {
    /// The name in the task definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certgen => "certgen",
            Self::EventStore => "eventstore",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// When a container may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The other has started.
    Start,
    /// The other has ended with exit code 0; it must not be essential.
    Success,
}

/// Asked by ECS inside the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Program and arguments, without a shell.
    pub command: Vec<String>,
    /// Seconds between two checks.
    pub interval: u16,
    /// Seconds a check may take.
    pub timeout: u16,
    /// Failures in a row that make a container unhealthy.
    pub retries: u16,
    /// Seconds at the start in which failures do not count.
    pub start_period: u16,
}

/// The image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Given in the configuration, or the vendor's.
    Reference(ImageReference),
    /// `eventstore-fargate/<program>:<version>` in the account's own registry.
    OwnRegistry(&'static str),
}

/// A container of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// Its image.
    pub image: Image,
    /// Whether the task ends with it.
    pub essential: bool,
    /// uid and gid.
    pub user: u32,
    /// Replaces the image's entry point.
    pub entry_point: Option<Vec<String>>,
    /// Arguments.
    pub command: Vec<String>,
    /// Variables, in the order in which they are explained to people.
    pub environment: Vec<(String, Value)>,
    /// Variables that ECS sets to the password in a user's secret when it starts the task.
    pub passwords: Vec<(String, BuiltInUser)>,
    /// Volumes.
    pub mounts: Vec<Mount>,
    /// What must have happened before it starts.
    pub depends_on: Vec<(ContainerName, Condition)>,
    /// How ECS learns whether it is healthy.
    pub health_check: Option<HealthCheck>,
    /// Seconds after which ECS gives up waiting for it, 2 to 120.
    pub start_timeout: Option<u16>,
    /// Seconds between SIGTERM and SIGKILL, 2 to 120.
    pub stop_timeout: Option<u16>,
    /// TCP ports it listens on.
    pub ports: Vec<u16>,
}

/// The task of one node. Containers stand in an order in which they can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// CPU and memory.
    pub size: FargateSize,
    /// The containers.
    pub containers: Vec<Container>,
}

/// One node of the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: String,
    host: String,
    task: Task,
}

impl Node {
    /// `node-1`: the instance id in Cloud Map, and the node's directory on the file system.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's own DNS name, which it advertises.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What runs it.
    pub fn task(&self) -> &Task {
        &self.task
    }
}

/// A whole deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    config: Config,
    nodes: Vec<Node>,
}

impl Deployment {
    /// The deployment that a configuration describes.
    pub fn new(config: Config) -> Self {
        let names: Vec<_> = config.nodes.numbers().map(|number| format!("node-{number}")).collect();
        let hosts: Vec<_> = names.iter().map(|name| format!("{}-{name}.{}", config.name, config.namespace)).collect();
        let nodes = names.into_iter().zip(&hosts).map(|(name, host)| {
            let others: Vec<_> = hosts.iter().filter(|other| *other != host).cloned().collect();
            let task = Task { size: config.size, containers: containers(&config, &name, host, &others) };
            Node { name, host: host.clone(), task }
        });
        Self { nodes: nodes.collect(), config }
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
        client_host(&self.config)
    }

    /// The port for HTTP and gRPC.
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// The server line.
    pub fn line(&self) -> ServerLine {
        self.config.line
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The users of applications.
    pub fn users(&self) -> &[ApplicationUser] {
        &self.config.users
    }

    /// The login names that have a secret: the built-in users and those of applications.
    pub fn logins(&self) -> impl Iterator<Item = &str> {
        let built_in = BuiltInUser::ALL.iter().map(|user| user.as_str());
        built_in.chain(self.config.users.iter().map(|user| user.login().as_str()))
    }

    /// The name of a user's secret.
    pub fn secret_name(&self, login: &str) -> String {
        secret_name(&self.config, login)
    }

    /// The name of the secret in which the tasks keep their certificate authority, if they share one. It is made empty; the
    /// first task fills it.
    pub fn ca_secret_name(&self) -> Option<String> {
        (self.config.ca == CaSource::Secret).then(|| secret_name(&self.config, "ca"))
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

const HEALTH_FILE: &str = "/run/task/bootstrap.json";
const STATUS_FILE: &str = "/run/task/bootstrap-status.json";
const GUARD_STATUS_FILE: &str = "/run/task/guard.json";

fn secret_name(config: &Config, login: &str) -> String {
    format!("{}/{login}", config.name)
}

fn client_host(config: &Config) -> String {
    format!("{}.{}", config.name, config.namespace)
}

fn containers(config: &Config, node: &str, host: &str, others: &[String]) -> Vec<Container> {
    vec![
        certgen(config, host),
        eventstore(config, &Member { host, port: config.port, others }),
        bootstrap(config, node, host, others),
    ]
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn variables(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Vec<(String, Value)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::Literal(value))).collect()
}

fn mount(volume: Volume, path: &'static str) -> Mount {
    Mount { volume, path, read_only: false }
}

/// The volumes of certgen and bootstrap.
fn own_mounts(config: &Config) -> Vec<Mount> {
    let mut mounts = vec![mount(Volume::Certs, "/certs"), mount(Volume::Tmp, "/tmp"), mount(Volume::Run, "/run/task")];
    if config.ca == CaSource::Ephemeral {
        mounts.push(mount(Volume::CaState, "/ca-state"));
    }
    mounts
}

fn own_image(given: Option<&ImageReference>, program: &'static str) -> Image {
    given.map_or(Image::OwnRegistry(program), |image| Image::Reference(image.clone()))
}

/// What certgen publishes and bootstrap renews. Both read it with certgen's parser, for two opinions would replace each
/// other's certificates.
fn certificates(config: &Config, host: &str) -> Vec<(String, Value)> {
    let mut environment = match &config.ca {
        CaSource::Secret => {
            let mut environment = variables([("CERTGEN_CA_SOURCE", "secret".to_owned())]);
            environment.push(("CERTGEN_CA_SECRET".to_owned(), Value::CaSecret));
            environment
        }
        CaSource::Ephemeral => {
            variables([("CERTGEN_CA_SOURCE", "ephemeral".to_owned()), ("CERTGEN_CA_STATE", "/ca-state".to_owned())])
        }
        CaSource::Files { certificate, key } => variables([
            ("CERTGEN_CA_SOURCE", "files".to_owned()),
            ("CERTGEN_CA_CERTIFICATE", certificate.to_string()),
            ("CERTGEN_CA_KEY", key.to_string()),
        ]),
    };
    environment.extend(variables([
        ("CERTGEN_DNS_NAMES", format!("{host},{}", client_host(config))),
        ("CERTGEN_SERVER_LINE", config.line.as_str().to_owned()),
    ]));
    environment
}

fn certgen(config: &Config, host: &str) -> Container {
    let mut environment = certificates(config, host);
    if config.ca == CaSource::Secret {
        environment.push(("AWS_REGION".to_owned(), Value::Region));
    }
    Container {
        name: ContainerName::Certgen,
        image: own_image(config.certgen_image.as_ref(), "certgen"),
        essential: false,
        user: server::uid(config.line),
        entry_point: None,
        command: texts(&["--out", "/certs", "--guard", "/guard"]),
        environment,
        passwords: Vec::new(),
        // Its image declares these volumes, and the first container to mount one decides whom it belongs to.
        mounts: own_mounts(config),
        depends_on: Vec::new(),
        health_check: None,
        start_timeout: Some(120),
        stop_timeout: None,
        ports: Vec::new(),
    }
}

fn eventstore(config: &Config, member: &Member<'_>) -> Container {
    let mut environment =
        variables([("GUARD_DATA_DIR", server::DATA.to_owned()), ("GUARD_STATUS_FILE", GUARD_STATUS_FILE.to_owned())]);
    environment.extend(
        server::environment(config.line, member).into_iter().map(|(name, value)| (name, Value::Literal(value))),
    );
    let mut ports = vec![config.port];
    if !member.others.is_empty() {
        ports.push(REPLICATION_PORT);
    }
    let image =
        config.server_image.clone().unwrap_or_else(|| ImageReference::new_unchecked(server::image(config.line)));
    Container {
        name: ContainerName::EventStore,
        image: Image::Reference(image),
        essential: true,
        user: server::uid(config.line),
        entry_point: Some(texts(&["/certs/guard", "run", "--", server::PROGRAM])),
        command: Vec::new(),
        environment,
        // A new database never has a default password; guard takes these from a server that has one.
        passwords: server::first_passwords(config.line),
        mounts: vec![
            mount(Volume::Data, server::DATA),
            Mount { volume: Volume::Certs, path: "/certs", read_only: true },
            mount(Volume::Tmp, "/tmp"),
            mount(Volume::Run, "/run/task"),
        ],
        depends_on: vec![(ContainerName::Certgen, Condition::Success)],
        health_check: None,
        start_timeout: None,
        stop_timeout: Some(120),
        ports,
    }
}

/// The users of applications as bootstrap reads them.
fn application_users(config: &Config) -> String {
    let users = config.users.iter().map(|user| {
        let mut entry = json!({
            "login": user.login.as_str(),
            "secret": secret_name(config, user.login.as_str()),
            "groups": user.groups,
            "fullName": user.full_name,
        });
        if user.alternates {
            entry["alternate"] = json!(user.login.alternate().as_str());
        }
        entry
    });
    users.collect::<serde_json::Value>().to_string()
}

fn bootstrap(config: &Config, node: &str, host: &str, others: &[String]) -> Container {
    let mut environment = variables([
        ("BOOTSTRAP_NODE_NAME", node.to_owned()),
        ("BOOTSTRAP_SERVER", format!("127.0.0.1:{}", config.port)),
        ("BOOTSTRAP_SERVER_NAME", "localhost".to_owned()),
        ("BOOTSTRAP_CERTS", "/certs".to_owned()),
        ("BOOTSTRAP_CLIENT_HOST", client_host(config)),
        ("BOOTSTRAP_CLIENT_PORT", config.port.to_string()),
        ("BOOTSTRAP_HEALTH_FILE", HEALTH_FILE.to_owned()),
        ("BOOTSTRAP_STATUS_FILE", STATUS_FILE.to_owned()),
        ("BOOTSTRAP_GUARD_STATUS_FILE", GUARD_STATUS_FILE.to_owned()),
    ]);
    if config.nodes.is_cluster() {
        environment.extend(variables([
            ("BOOTSTRAP_CLUSTER_SIZE", config.nodes.to_string()),
            ("BOOTSTRAP_PEERS", others.join(",")),
        ]));
    }
    if let RotationPeriod::Days(days) = config.rotate_every {
        environment.extend(variables([("BOOTSTRAP_ROTATE_EVERY", format!("{days}d"))]));
    }
    if config.recover_with_node_certificate {
        environment.extend(variables([("BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE", "true".to_owned())]));
    }
    if !config.users.is_empty() {
        environment.extend(variables([("BOOTSTRAP_USERS", application_users(config))]));
    }
    environment.extend([
        ("BOOTSTRAP_ADMIN_SECRET".to_owned(), Value::Secret(BuiltInUser::Admin)),
        ("BOOTSTRAP_OPS_SECRET".to_owned(), Value::Secret(BuiltInUser::Ops)),
        ("BOOTSTRAP_CLOUD_MAP_SERVICE".to_owned(), Value::ClientService),
        ("AWS_REGION".to_owned(), Value::Region),
    ]);
    // The files of an authority are in certgen's image alone.
    if !matches!(config.ca, CaSource::Files { .. }) {
        environment.extend(certificates(config, host));
    }
    Container {
        name: ContainerName::Bootstrap,
        image: own_image(config.bootstrap_image.as_ref(), "bootstrap"),
        essential: true,
        user: server::uid(config.line),
        entry_point: None,
        command: texts(&["run"]),
        environment,
        passwords: Vec::new(),
        mounts: own_mounts(config),
        // Not HEALTHY: a cluster member is not healthy before there is a quorum.
        depends_on: vec![(ContainerName::EventStore, Condition::Start)],
        health_check: Some(HealthCheck {
            command: texts(&["/bootstrap", "healthcheck"]),
            interval: 10,
            timeout: 5,
            retries: 10,
            start_period: 300,
        }),
        start_timeout: None,
        stop_timeout: Some(30),
        ports: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_ours_has_a_name_that_the_server_would_refuse() {
        let cluster = "name = \"es\"\ncluster.nodes = 3\n[certificates]\nca = \"files\"\nca_certificate = \"/c\"\nca_key = \"/k\"";
        let deployments = ["name = \"es\"", cluster].map(|text| Deployment::new(Config::parse(text).unwrap()));
        let tasks = deployments.iter().flat_map(Deployment::nodes).map(Node::task);
        for container in tasks.flat_map(|task| &task.containers) {
            for (name, _) in &container.environment {
                let ours =
                    ["CERTGEN_", "BOOTSTRAP_", "GUARD_", "AWS_REGION"].iter().any(|prefix| name.starts_with(prefix));
                let servers = name.starts_with("EVENTSTORE_") && container.name == ContainerName::EventStore;
                assert!(ours || servers, "{name} in {}", container.name.as_str());
            }
        }
    }

    #[test]
    fn containers_stand_in_an_order_in_which_they_can_start() {
        let deployment = Deployment::new(Config::parse("name = \"es\"").unwrap());
        let containers = &deployment.nodes()[0].task().containers;
        for (index, container) in containers.iter().enumerate() {
            for (dependency, condition) in &container.depends_on {
                let found = containers[..index].iter().find(|earlier| earlier.name == *dependency);
                let found = found.unwrap_or_else(|| panic!("{} comes too late", dependency.as_str()));
                assert!(*condition != Condition::Success || !found.essential, "SUCCESS of an essential container");
            }
        }
    }
}
