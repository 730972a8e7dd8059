//! The task of a node: containers in an order in which they can be started.

use serde_json::json;

use super::{Access, ApplicationUser, CaSource, Extra, Influence, NodeId, Origin, Secret, Secured};
use crate::config::{Config, License, OwnImages};
use crate::image::ImageReference;
use crate::server::{self, EXTERNAL_TCP_PORT, Member, REPLICATION_PORT};
use crate::values::{BuiltInUser, ContainerPath, FargateSize, GroupName, RotationPeriod};

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

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: Value,
    /// Where that comes from.
    pub origin: Origin,
}

impl Variable {
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>, origin: Origin) -> Self {
        Self { name: name.into(), value: Value::Literal(value.into()), origin }
    }
}

/// An environment variable that ECS sets to the password in a user's secret when it starts the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The variable's name.
    pub name: String,
    /// Whose password it is.
    pub user: BuiltInUser,
    /// Where the choice of the secret comes from.
    pub origin: Origin,
}

/// An environment variable that ECS sets to the key of the vendor's licence when it starts the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseKey {
    /// The variable's name.
    pub name: String,
    /// Where the key is.
    pub(crate) license: License,
    /// Where that comes from.
    pub origin: Origin,
}

/// Where a container's properties come from that differ between deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    /// Of its image.
    pub image: Origin,
    /// Of its uid and gid.
    pub user: Origin,
    /// Of entry point and arguments.
    pub command: Origin,
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
    /// The server's log files, on EFS behind an access point of their own.
    Logs,
}

impl Volume {
    /// All of them, as the task lists them.
    pub(crate) const ALL: [Self; 6] = [Self::Certs, Self::Tmp, Self::Run, Self::CaState, Self::Data, Self::Logs];

    /// The volume's name in the task definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certs => "certs",
            Self::Tmp => "tmp",
            Self::Run => "run",
            Self::CaState => "ca-state",
            Self::Data => "data",
            Self::Logs => "logs",
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
    /// The init container of an insecure server: it installs guard and nothing else.
    Guard,
    /// The database under guard.
    EventStore,
    /// The sidecar.
    Bootstrap,
}

impl ContainerName {
    /// All of them; no task has both of the init containers.
    pub(crate) const ALL: [Self; 4] = [Self::Certgen, Self::Guard, Self::EventStore, Self::Bootstrap];

    /// The name in the task definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certgen => "certgen",
            Self::Guard => "guard",
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

/// One of our programs that has an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// With guard inside.
    Certgen,
    /// The sidecar.
    Bootstrap,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Certgen, Self::Bootstrap];

    /// The name of the program, its repository and its Dockerfile.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certgen => "certgen",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// The image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Given in the configuration, or the vendor's.
    Reference(ImageReference),
    /// `eventstore-fargate/<program>:<version>` in the account's own registry.
    OwnRegistry(Program),
    /// Built by whoever deploys, from the directory that the configuration names.
    Built(Program),
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
    pub environment: Vec<Variable>,
    /// Variables with passwords.
    pub passwords: Vec<Password>,
    /// The variable with the key of a licence.
    pub license: Option<LicenseKey>,
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
    /// Where image, user and command line come from.
    pub origins: Origins,
}

impl Container {
    /// The variables with their values.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.environment.iter().map(|variable| (variable.name.as_str(), &variable.value))
    }
}

/// The task of one node. Containers stand in an order in which they can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// CPU and memory.
    pub size: FargateSize,
    /// The containers.
    pub containers: Vec<Container>,
    /// Containers and volumes of the user's own.
    pub extra: Extra,
}

/// What makes a name in DNS.
const HOST: [&str; 2] = ["name", "namespace"];
const CA: &str = "certificates.ca";
const INSECURE: &str = "server.insecure";
const NODES: &str = "cluster.nodes";

const HEALTH_FILE: &str = "/run/task/bootstrap.json";
const STATUS_FILE: &str = "/run/task/bootstrap-status.json";
const GUARD_STATUS_FILE: &str = "/run/task/guard.json";
/// What guard has the directory begin from; there is no such directory but on EFS.
pub(crate) const RESTORED: &str = "GUARD_RESTORED";

/// The name of a secret of the deployment, or the ARN of one that is there already.
pub(super) fn secret_name(config: &Config, name: &str, secret: &Secret) -> String {
    match secret {
        Secret::New => format!("{}/{name}", config.name),
        Secret::Existing(arn) => arn.to_string(),
    }
}

pub(super) fn client_host(config: &Config) -> String {
    format!("{}.{}", config.name, config.namespace)
}

/// The task of a node; `others` are the names of all other nodes that vote.
pub(super) fn task(config: &Config, node: NodeId, host: &str, others: &[String]) -> Task {
    let mut containers = match &config.access {
        Access::Secured(secured) => vec![
            certgen(config, secured, node, host),
            eventstore(config, node, host, others),
            bootstrap(config, node, host, others),
        ],
        Access::Insecure => {
            vec![guard(config), eventstore(config, node, host, others), bootstrap(config, node, host, others)]
        }
    };
    // The directory of the last one is the one that a backup promises to open.
    let is_last = config.nodes.numbers().map(NodeId::Voter).last() == Some(node);
    if let Some(recovery_point) = config.data.restored.as_ref().filter(|_| is_last) {
        for server in containers.iter_mut().filter(|container| container.name == ContainerName::EventStore) {
            let origin = Origin::key("data.restored").and(Influence::Place).only_by("cluster.nodes");
            server.environment.push(Variable::new(RESTORED, recovery_point.as_str(), origin));
        }
    }
    Task { size: config.server.size, containers, extra: config.extra.clone() }
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

/// A variable with a reference that CloudFormation resolves.
fn reference(name: &str, value: Value, origin: Origin) -> Variable {
    Variable { name: name.to_owned(), value, origin }
}

fn region() -> Variable {
    reference("AWS_REGION", Value::Region, Origin::cloud_formation("the region of the stack"))
}

/// The same variables, which are there only by leave of a key.
fn only_by(key: &'static str, variables: impl IntoIterator<Item = Variable>) -> Vec<Variable> {
    let only = |variable: Variable| Variable { origin: variable.origin.only_by(key), ..variable };
    variables.into_iter().map(only).collect()
}

/// The origin of a secret's ARN; `key` names one that is there already.
fn secret_origin(secret: &Secret, key: &'static str) -> Origin {
    match secret {
        Secret::New => Origin::keys(&[key, "name"]).and(Influence::CloudFormation("the ARN of the secret")),
        Secret::Existing(_) => Origin::key(key),
    }
}

/// Which secret is a built-in user's.
fn built_in_origin(secured: &Secured, user: BuiltInUser) -> Origin {
    let key = match user {
        BuiltInUser::Admin => "credentials.admin_secret",
        BuiltInUser::Ops => "credentials.ops_secret",
    };
    secret_origin(secured.built_in(user), key)
}

fn mount(volume: Volume, path: &'static str) -> Mount {
    Mount { volume, path, read_only: false }
}

/// The volumes of our own programs.
fn own_mounts(config: &Config) -> Vec<Mount> {
    let mut mounts = vec![mount(Volume::Certs, "/certs"), mount(Volume::Tmp, "/tmp"), mount(Volume::Run, "/run/task")];
    if matches!(&config.access, Access::Secured(Secured { ca: CaSource::Ephemeral, .. })) {
        mounts.push(mount(Volume::CaState, "/ca-state"));
    }
    mounts
}

fn own_image(config: &Config, program: Program) -> Image {
    let given = match (&config.images.own, program) {
        (OwnImages::Built(_), program) => return Image::Built(program),
        (OwnImages::Pulled { certgen, .. }, Program::Certgen) => certgen,
        (OwnImages::Pulled { bootstrap, .. }, Program::Bootstrap) => bootstrap,
    };
    given.as_ref().map_or(Image::OwnRegistry(program), |image| Image::Reference(image.clone()))
}

/// Where it comes from; what is not set is looked for in the account's own registry.
fn own_image_origin(config: &Config, program: Program) -> Origin {
    let key = match (&config.images.own, program) {
        (OwnImages::Built(_), _) => "images.build",
        (OwnImages::Pulled { .. }, Program::Certgen) => "images.certgen",
        (OwnImages::Pulled { .. }, Program::Bootstrap) => "images.bootstrap",
    };
    let origin = Origin::key(key);
    if let Image::Reference(_) = own_image(config, program) {
        return origin;
    }
    origin.and(Influence::CloudFormation("account and region of the stack"))
}

/// All containers of a task run as the server.
fn user_origin() -> Origin {
    Origin::key("server.uid").and(Influence::Line)
}

/// What certgen publishes and bootstrap renews. Both read it with certgen's parser, for two opinions would replace each
/// other's certificates.
fn certificates(config: &Config, secured: &Secured, node: NodeId, host: &str) -> Vec<Variable> {
    let source = |word: &str| Variable::new("CERTGEN_CA_SOURCE", word, Origin::key(CA));
    let mut environment = match &secured.ca {
        CaSource::Secret(secret) => {
            let origin = secret_origin(secret, "certificates.ca_secret").only_by(CA);
            vec![source("secret"), reference("CERTGEN_CA_SECRET", Value::CaSecret, origin)]
        }
        CaSource::Ephemeral => {
            let origin = Origin::fixed("a volume that lives as long as the task").only_by(CA);
            vec![source("ephemeral"), Variable::new("CERTGEN_CA_STATE", "/ca-state", origin)]
        }
        CaSource::Files { certificate, key } => {
            let file = |name: &str, path: &ContainerPath, of: &'static str| {
                Variable::new(name, path.to_string(), Origin::key(of).only_by(CA))
            };
            vec![
                source("files"),
                file("CERTGEN_CA_CERTIFICATE", certificate, "certificates.ca_certificate"),
                file("CERTGEN_CA_KEY", key, "certificates.ca_key"),
            ]
        }
    };
    let names = match node {
        NodeId::Voter(_) => format!("{host},{}", client_host(config)),
        // Clients do not find it under their name.
        NodeId::Replica(_) => host.to_owned(),
    };
    environment.extend([
        Variable::new("CERTGEN_DNS_NAMES", names, Origin::keys(&HOST).and(Influence::Place)),
        Variable::new("CERTGEN_SERVER_LINE", config.server.line.as_str(), Origin::key("server.line")),
    ]);
    environment
}

fn certgen(config: &Config, secured: &Secured, node: NodeId, host: &str) -> Container {
    let mut environment = certificates(config, secured, node, host);
    if matches!(secured.ca, CaSource::Secret(_)) {
        environment.extend(only_by(CA, [region()]));
    }
    Container {
        command: texts(&["--out", "/certs", "--guard", "/guard"]),
        environment,
        ..init(config, ContainerName::Certgen)
    }
}

/// Without certificates there is still one writer per data directory.
fn guard(config: &Config) -> Container {
    Container {
        entry_point: Some(texts(&["/guard"])),
        command: texts(&["install", "/certs/guard"]),
        ..init(config, ContainerName::Guard)
    }
}

fn init(config: &Config, name: ContainerName) -> Container {
    Container {
        name,
        image: own_image(config, Program::Certgen),
        essential: false,
        user: config.server.uid,
        entry_point: None,
        command: Vec::new(),
        environment: Vec::new(),
        passwords: Vec::new(),
        license: None,
        // Its image declares these volumes, and the first container to mount one decides whom it belongs to.
        mounts: own_mounts(config),
        depends_on: Vec::new(),
        health_check: None,
        start_timeout: Some(120),
        stop_timeout: None,
        ports: Vec::new(),
        origins: Origins {
            image: own_image_origin(config, Program::Certgen),
            user: user_origin(),
            command: Origin::fixed("certificates and guard are put on the volume that the others mount"),
        },
    }
}

/// The version of the server, which guard records in the data directory, and the other versions whose data the server may open.
/// guard refuses a server that is not declared to open what a newer one wrote, also when a rollback starts it.
fn versions(config: &Config) -> Vec<Variable> {
    let server = &config.server;
    let mut variables = vec![Variable::new("GUARD_SERVER_VERSION", server::data_version(server.line), Origin::line())];
    let from = server.upgrade.as_ref().map(|upgrade| upgrade.from);
    let opens = server::opens_data_of(server.line, from, config.nodes.is_cluster());
    if !opens.is_empty() {
        let opens: Vec<_> = opens.into_iter().map(server::data_version).collect();
        let origin = Origin::line().and(Influence::Key(NODES.into())).and(Influence::Key("server.upgrade_from".into()));
        variables.push(Variable::new("GUARD_OPENS_DATA_OF", opens.join(","), origin));
    }
    variables
}

fn eventstore(config: &Config, node: NodeId, host: &str, others: &[String]) -> Container {
    let server = &config.server;
    let insecure = config.access == Access::Insecure;
    let built = server::image(server.line);
    let mut environment = vec![
        Variable::new("GUARD_DATA_DIR", built.data, Origin::line()),
        Variable::new("GUARD_STATUS_FILE", GUARD_STATUS_FILE, Origin::fixed("guard tells bootstrap there")),
    ];
    environment.extend(versions(config));
    let member = Member {
        host,
        port: server.port,
        voters: config.nodes.count(),
        seeds: others,
        is_read_only_replica: matches!(node, NodeId::Replica(_)),
        insecure,
        external_tcp: server.external_tcp,
        log_files: server.log_volume,
        options: &server.options,
    };
    environment.extend(server::environment(server.line, &member));
    let mut ports = vec![server.port];
    if server.external_tcp {
        ports.push(EXTERNAL_TCP_PORT);
    }
    if !others.is_empty() {
        ports.push(REPLICATION_PORT);
    }
    let mut mounts = vec![mount(Volume::Data, built.data)];
    if server.log_volume {
        mounts.push(mount(Volume::Logs, built.logs));
    }
    mounts.extend([
        Mount { volume: Volume::Certs, path: "/certs", read_only: true },
        mount(Volume::Tmp, "/tmp"),
        mount(Volume::Run, "/run/task"),
    ]);
    let image = config.images.server.clone().unwrap_or_else(|| ImageReference::new_unchecked(built.reference));
    Container {
        name: ContainerName::EventStore,
        image: Image::Reference(image),
        essential: true,
        user: server.uid,
        entry_point: Some(texts(&["/certs/guard", "run", "--", built.program])),
        command: Vec::new(),
        environment,
        // A new database never has a default password. A server whose users exist ignores these variables (seen with 24.10.13
        // and 26.0.3); an insecure server exits over them.
        passwords: first_passwords(config),
        license: license_key(config),
        mounts,
        depends_on: vec![(if insecure { ContainerName::Guard } else { ContainerName::Certgen }, Condition::Success)],
        // A task is UNKNOWN, never HEALTHY, while one of its essential containers has no health check (AWS, ECS API, `Task`:
        // healthStatus). Whether the node serves is what bootstrap's check says; this one fails only if guard has ended or has never started,
        // so it has the largest limits that ECS takes.
        health_check: Some(HealthCheck {
            command: texts(&["/certs/guard", "healthcheck"]),
            interval: 30,
            timeout: 10,
            retries: 10,
            start_period: 300,
        }),
        start_timeout: None,
        stop_timeout: Some(120),
        ports,
        origins: Origins {
            image: Origin::key("images.server").and(Influence::Line),
            user: user_origin(),
            command: Origin::line().and(Influence::Fixed("guard is the server's parent: one writer for a directory")),
        },
    }
}

fn license_key(config: &Config) -> Option<LicenseKey> {
    let license = config.server.license.clone()?;
    let origin = Origin::keys(&["server.license_secret", "server.license_json_key"]).and(Influence::Named);
    Some(LicenseKey { name: server::license_variable(config.server.line)?, license, origin })
}

/// None, if the server is insecure.
fn first_passwords(config: &Config) -> Vec<Password> {
    let Access::Secured(secured) = &config.access else { return Vec::new() };
    let password = |(name, user)| {
        let origin = built_in_origin(secured, user).and(Influence::Named).only_by(INSECURE);
        Password { name, user, origin }
    };
    server::first_passwords(config.server.line).into_iter().map(password).collect()
}

/// The users of applications as bootstrap reads them.
fn application_users(config: &Config, users: &[ApplicationUser]) -> String {
    let users = users.iter().map(|user| {
        let mut entry = json!({
            "login": user.login.as_str(),
            "secret": secret_name(config, user.login.as_str(), &user.secret),
            "groups": user.groups.iter().map(GroupName::as_str).collect::<Vec<_>>(),
            "fullName": user.full_name.as_str(),
        });
        if user.alternates {
            entry["alternate"] = json!(user.login.alternate().as_str());
        }
        entry
    });
    users.collect::<serde_json::Value>().to_string()
}

/// What bootstrap is told about passwords.
fn credentials(config: &Config, secured: &Secured) -> Vec<Variable> {
    let mut environment = Vec::new();
    if let RotationPeriod::Days(days) = secured.rotate_every {
        let origin = Origin::key("credentials.rotate_every");
        environment.push(Variable::new("BOOTSTRAP_ROTATE_EVERY", format!("{days}d"), origin));
    }
    // The passwords in a backup may be older than any that the secrets remember.
    if secured.recover_with_node_certificate || config.data.restored.is_some() {
        let origin = Origin::keys(&["credentials.recover_with_node_certificate", "data.restored"]);
        environment.push(Variable::new("BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE", "true", origin));
    }
    if !secured.users.is_empty() {
        let has_new = secured.users.iter().any(|user| user.secret == Secret::New);
        let origin = Origin::keys(if has_new { &["users", "name"] } else { &["users"] });
        environment.push(Variable::new("BOOTSTRAP_USERS", application_users(config, &secured.users), origin));
    }
    let secret = |name, user| reference(name, Value::Secret(user), built_in_origin(secured, user));
    environment.extend([
        secret("BOOTSTRAP_ADMIN_SECRET", BuiltInUser::Admin),
        secret("BOOTSTRAP_OPS_SECRET", BuiltInUser::Ops),
    ]);
    only_by(INSECURE, environment)
}

fn bootstrap(config: &Config, node: NodeId, host: &str, others: &[String]) -> Container {
    let port = config.server.port;
    let told =
        |name, path| Variable::new(name, path, Origin::fixed("on the volume that containers tell each other by"));
    let mut environment = vec![
        Variable::new("BOOTSTRAP_NODE_NAME", node.name(), Origin::place()),
        Variable::new("BOOTSTRAP_SERVER", format!("127.0.0.1:{port}"), Origin::key("server.port")),
    ];
    match &config.access {
        Access::Secured(_) => {
            let named = Origin::fixed("every node's certificate has this name");
            let certs = Origin::fixed("where certgen publishes");
            let both = [
                Variable::new("BOOTSTRAP_SERVER_NAME", "localhost", named),
                Variable::new("BOOTSTRAP_CERTS", "/certs", certs),
            ];
            environment.extend(only_by(INSECURE, both));
        }
        Access::Insecure => environment.push(Variable::new("BOOTSTRAP_INSECURE", "true", Origin::key(INSECURE))),
    }
    environment.extend([
        Variable::new("BOOTSTRAP_CLIENT_HOST", client_host(config), Origin::keys(&HOST)),
        Variable::new("BOOTSTRAP_CLIENT_PORT", port.to_string(), Origin::key("server.port")),
        told("BOOTSTRAP_HEALTH_FILE", HEALTH_FILE),
        told("BOOTSTRAP_STATUS_FILE", STATUS_FILE),
        told("BOOTSTRAP_GUARD_STATUS_FILE", GUARD_STATUS_FILE),
    ]);
    if config.nodes.is_cluster() {
        let peers = Origin::keys(&HOST).and(Influence::Key(NODES.into())).and(Influence::Place);
        environment.extend([
            Variable::new("BOOTSTRAP_CLUSTER_SIZE", config.nodes.to_string(), Origin::key(NODES)),
            Variable::new("BOOTSTRAP_PEERS", others.join(","), peers),
        ]);
    }
    if let NodeId::Replica(_) = node {
        environment.push(Variable::new("BOOTSTRAP_READ_ONLY_REPLICA", "true", Origin::place()));
    }
    if let Access::Secured(secured) = &config.access {
        environment.extend(credentials(config, secured));
    }
    if let Some(scavenge) = &config.scavenge {
        let (at, window) = (Origin::key("scavenge.at"), Origin::key("scavenge.window").only_by("scavenge.at"));
        environment.extend([
            Variable::new("BOOTSTRAP_SCAVENGE_AT", scavenge.at.to_string(), at),
            Variable::new("BOOTSTRAP_SCAVENGE_WINDOW", scavenge.window.to_string(), window),
        ]);
    }
    if let NodeId::Voter(_) = node {
        let id = "the id of the Cloud Map service that clients look up";
        let origin = Origin::cloud_formation(id).and(Influence::Place);
        environment.push(reference("BOOTSTRAP_CLOUD_MAP_SERVICE", Value::ClientService, origin));
    }
    environment.push(region());
    if let Access::Secured(secured) = &config.access
        // The files of an authority are in certgen's image alone.
        && !matches!(secured.ca, CaSource::Files { .. })
    {
        environment.extend(only_by(CA, only_by(INSECURE, certificates(config, secured, node, host))));
    }
    Container {
        name: ContainerName::Bootstrap,
        image: own_image(config, Program::Bootstrap),
        essential: true,
        user: config.server.uid,
        entry_point: None,
        command: texts(&["run"]),
        environment,
        passwords: Vec::new(),
        license: None,
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
        origins: Origins {
            image: own_image_origin(config, Program::Bootstrap),
            user: user_origin(),
            command: Origin::fixed("all that it does is in its variables"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Deployment, Node};

    #[test]
    fn nothing_of_ours_has_a_name_that_the_server_would_refuse() {
        let cluster = "name = \"es\"\ncluster.nodes = 3\n[certificates]\nca = \"files\"\nca_certificate = \"/c\"\nca_key = \"/k\"";
        let deployments = ["name = \"es\"", cluster].map(|text| Deployment::new(Config::parse(text).unwrap()));
        let tasks = deployments.iter().flat_map(Deployment::nodes).map(Node::task);
        for container in tasks.flat_map(|task| &task.containers) {
            for (name, _) in container.variables() {
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
