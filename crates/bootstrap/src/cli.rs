//! The command line and its `BOOTSTRAP_*` twins become settings, or a list of all that is wrong with them.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certgen::MetadataUri;
use certgen::aws::endpoint_mistakes;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::converge::Policy;
use crate::ecs::Task;
use crate::ports::SecretId;
use crate::scavenge::Schedule;
use crate::secret::Scheme;
use crate::status::{StatusPlace, StatusSettings};
use crate::trust::{NodeIdentity, TrustError};
use crate::user::{ADMIN, OPS, User, parse_users};

/// Sidecar of an EventStoreDB node on ECS.
///
/// Moves the built-in users off their default passwords into AWS Secrets Manager, registers the ready node in AWS
/// Cloud Map and withdraws it on SIGTERM, which alone ends it. Every option has a BOOTSTRAP_* variable; the command line
/// wins. Given the CERTGEN_* variables of the init container too, it renews what that published.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run as sidecar until SIGTERM.
    Run(Box<RunArgs>),
    /// Have passwords replaced: store new ones as pending versions, which the leader's sidecar finishes at its next poll.
    /// Needs AWS credentials alone and runs anywhere.
    Rotate(RotateArgs),
    /// Tell what is known of the node, and exit 0 if all is in order, else 1. With --status-file, inside the task, from
    /// what the sidecar and guard write there; else from Secrets Manager and Cloud Map, without reading a password.
    Status(StatusArgs),
    /// Exit 0 if the running sidecar calls the task healthy, else 1; for the health check of the container.
    Healthcheck {
        /// The file that the running sidecar keeps.
        #[arg(long, env = "BOOTSTRAP_HEALTH_FILE", value_name = "FILE")]
        health_file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Name of this node; the id of its entry in Cloud Map.
    #[arg(long, env = "BOOTSTRAP_NODE_NAME", value_name = "NAME")]
    node_name: String,

    /// File in which the verdict for `bootstrap healthcheck` is kept.
    #[arg(long, env = "BOOTSTRAP_HEALTH_FILE", value_name = "FILE")]
    health_file: PathBuf,

    /// File in which what is known of the node is kept for `bootstrap status`; not given, it is kept nowhere.
    #[arg(long, env = "BOOTSTRAP_STATUS_FILE", value_name = "FILE")]
    status_file: Option<PathBuf>,

    /// File in which guard keeps its state; not given, nothing is known of restarts of the server.
    #[arg(long, env = "BOOTSTRAP_GUARD_STATUS_FILE", value_name = "FILE")]
    guard_status_file: Option<PathBuf>,

    /// Address of the node's own server.
    #[arg(long, env = "BOOTSTRAP_SERVER", value_name = "IP:PORT", help_heading = "Server")]
    server: String,

    /// The server runs without TLS and authentication: nobody's credentials are cared for, and no certificates; the node is
    /// registered as one without TLS. The server's address must be one of loopback.
    #[arg(long, env = "BOOTSTRAP_INSECURE", help_heading = "Server")]
    insecure: bool,

    /// The node is a read-only replica: it has no vote, so its task is never protected, and it is registered only where
    /// --cloud-map-service says, which is not the service of the other nodes.
    #[arg(long, env = "BOOTSTRAP_READ_ONLY_REPLICA", help_heading = "Server")]
    read_only_replica: bool,

    /// Name that must be in the server's certificate.
    #[arg(
        long,
        env = "BOOTSTRAP_SERVER_NAME",
        value_name = "NAME",
        default_value = "localhost",
        help_heading = "Server"
    )]
    server_name: String,

    /// Nodes of the cluster, 1 to 7; read-only replicas do not count.
    #[arg(long, env = "BOOTSTRAP_CLUSTER_SIZE", value_name = "COUNT", default_value = "1", help_heading = "Server")]
    cluster_size: String,

    /// Names of the other nodes of the cluster, separated by commas. While too few of them have an address for a cluster
    /// to form, a server that waits for them counts as healthy; not given, only a ready one does.
    #[arg(long, env = "BOOTSTRAP_PEERS", value_name = "NAMES", help_heading = "Server")]
    peers: Option<String>,

    /// Name server that knows the names of the other nodes; not given, the system's are asked.
    #[arg(long, env = "BOOTSTRAP_DNS", value_name = "IP:PORT", help_heading = "Server")]
    dns: Option<String>,

    /// Directory that certgen wrote: node.crt and the trusted roots in ca/.
    #[arg(long, env = "BOOTSTRAP_CERTS", value_name = "DIR", default_value = "/certs", help_heading = "Server")]
    certs: PathBuf,

    /// How long the server may take until it is ready, for example 3h; then that is told, and the server waited for again.
    #[arg(long, env = "BOOTSTRAP_READY_TIMEOUT", value_name = "TIME", default_value = "3h", help_heading = "Server")]
    ready_timeout: String,

    #[command(flatten)]
    users: UserArgs,

    /// How long each user's credentials may take; then that is told, and after a pause tried again.
    #[arg(
        long,
        env = "BOOTSTRAP_CONVERGE_TIMEOUT",
        value_name = "TIME",
        default_value = "10m",
        help_heading = "Credentials"
    )]
    converge_timeout: String,

    /// How often the credentials are looked at again, plus up to a quarter.
    #[arg(
        long,
        env = "BOOTSTRAP_POLL_INTERVAL",
        value_name = "TIME",
        default_value = "5m",
        help_heading = "Credentials"
    )]
    poll_interval: String,

    /// Age at which passwords are replaced, for example 30d: those of admin, ops and of users that alternate.
    #[arg(long, env = "BOOTSTRAP_ROTATE_EVERY", value_name = "TIME", help_heading = "Credentials")]
    rotate_every: Option<String>,

    /// If no password opens the database until the converge timeout, set admin's with the node's certificate.
    #[arg(long, env = "BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE", help_heading = "Credentials")]
    recover_with_node_certificate: bool,

    /// Id of the Cloud Map service that clients look up (srv-…). Only a read-only replica may have none: it is then not
    /// registered.
    #[arg(long, env = "BOOTSTRAP_CLOUD_MAP_SERVICE", value_name = "ID", help_heading = "Discovery")]
    cloud_map_service: Option<String>,

    /// Name under which clients find the database; published in the secrets.
    #[arg(long, env = "BOOTSTRAP_CLIENT_HOST", value_name = "NAME", help_heading = "Discovery")]
    client_host: String,

    /// How often the node's entry in Cloud Map is looked at and put right, plus up to a quarter.
    #[arg(
        long,
        env = "BOOTSTRAP_REGISTRATION_INTERVAL",
        value_name = "TIME",
        default_value = "30s",
        help_heading = "Discovery"
    )]
    registration_interval: String,

    /// Port that clients connect to.
    #[arg(
        long,
        env = "BOOTSTRAP_CLIENT_PORT",
        value_name = "PORT",
        default_value = "2113",
        help_heading = "Discovery"
    )]
    client_port: String,

    /// Address of this task; not given, the ECS metadata endpoint is asked.
    #[arg(long, env = "BOOTSTRAP_ADDRESS", value_name = "IP", requires = "task_arn", help_heading = "Discovery")]
    address: Option<String>,

    /// ARN of this task; not given, the ECS metadata endpoint is asked.
    #[arg(long, env = "BOOTSTRAP_TASK_ARN", value_name = "ARN", requires = "address", help_heading = "Discovery")]
    task_arn: Option<String>,

    /// The task metadata endpoint; ECS sets the variable.
    #[arg(long, env = "ECS_CONTAINER_METADATA_URI_V4", value_name = "URI", help_heading = "Discovery")]
    metadata_uri: Option<String>,

    /// The endpoint of the ECS agent, at which a task of a cluster is protected from scale-in while the others would be
    /// no quorum; ECS sets the variable. Not given, the task is not protected.
    #[arg(long, env = "ECS_AGENT_URI", value_name = "URI", help_heading = "Server")]
    agent_uri: Option<String>,

    /// When the node's database is scavenged, in UTC: every day, for example 03:00, or one day of the week, Sun 03:00. In a
    /// cluster one node at a time begins, and the leader not at all. Not given, never.
    #[arg(long, env = "BOOTSTRAP_SCAVENGE_AT", value_name = "TIME", help_heading = "Maintenance")]
    scavenge_at: Option<String>,

    /// How long after that time a node may still begin; then it waits for the next time.
    #[arg(
        long,
        env = "BOOTSTRAP_SCAVENGE_WINDOW",
        value_name = "TIME",
        default_value = "8h",
        help_heading = "Maintenance"
    )]
    scavenge_window: String,

    /// How metrics are printed on stdout: as lines in CloudWatch's embedded metric format every five minutes and when the
    /// node's registration changes, or not at all.
    #[arg(long, env = "BOOTSTRAP_METRICS", value_name = "HOW", default_value = "emf", help_heading = "Metrics")]
    metrics: MetricsFormat,

    /// Address at which a Prometheus finds them: GET /metrics over plain HTTP. Not given, nobody listens.
    #[arg(long, env = "BOOTSTRAP_METRICS_ADDRESS", value_name = "IP:PORT", help_heading = "Metrics")]
    metrics_address: Option<String>,
    #[command(flatten)]
    aws: AwsArgs,

    /// Stretches how often and for how long the own server is looked at, for tests: 0.1 is ten times as fast.
    #[arg(long, env = "BOOTSTRAP_TIME_SCALE", value_name = "FACTOR", default_value = "1", hide = true)]
    time_scale: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MetricsFormat {
    Emf,
    None,
}

#[derive(Debug, Args)]
struct AwsArgs {
    /// Let AWS be asked over plain HTTP where an endpoint variable of AWS says so; for tests and local clusters.
    #[arg(long, env = ALLOW_HTTP_ENDPOINT)]
    allow_http_endpoint: bool,
}

const ALLOW_HTTP_ENDPOINT: &str = "BOOTSTRAP_ALLOW_HTTP_ENDPOINT";

#[derive(Debug, Args)]
struct UserArgs {
    /// Secret of the user admin, name or ARN.
    #[arg(long, env = "BOOTSTRAP_ADMIN_SECRET", value_name = "ID", help_heading = "Credentials")]
    admin_secret: Option<String>,

    /// Secret of the user ops, name or ARN.
    #[arg(long, env = "BOOTSTRAP_OPS_SECRET", value_name = "ID", help_heading = "Credentials")]
    ops_secret: Option<String>,

    /// Application users: a JSON array of {"login", "secret", "groups", "fullName"?, "alternate"?}.
    #[arg(
        long,
        env = "BOOTSTRAP_USERS",
        value_name = "JSON",
        conflicts_with = "users_file",
        help_heading = "Credentials"
    )]
    users: Option<String>,

    /// The same in a file.
    #[arg(long, env = "BOOTSTRAP_USERS_FILE", value_name = "FILE", help_heading = "Credentials")]
    users_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    users: UserArgs,

    #[command(flatten)]
    aws: AwsArgs,

    /// Only this user, by login; may be given again. Not given, all users.
    #[arg(long, value_name = "LOGIN", help_heading = "Credentials")]
    user: Vec<String>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,

    /// The file that the running sidecar keeps.
    #[arg(long, env = "BOOTSTRAP_STATUS_FILE", value_name = "FILE", help_heading = "Inside the task")]
    status_file: Option<PathBuf>,

    /// The file that guard keeps.
    #[arg(long, env = "BOOTSTRAP_GUARD_STATUS_FILE", value_name = "FILE", help_heading = "Inside the task")]
    guard_status_file: Option<PathBuf>,

    /// The file that the health check reads.
    #[arg(long, env = "BOOTSTRAP_HEALTH_FILE", value_name = "FILE", help_heading = "Inside the task")]
    health_file: Option<PathBuf>,

    #[command(flatten)]
    users: UserArgs,

    #[command(flatten)]
    aws: AwsArgs,

    /// Id of the Cloud Map service that clients look up (srv-…).
    #[arg(long, env = "BOOTSTRAP_CLOUD_MAP_SERVICE", value_name = "ID", help_heading = "From AWS")]
    cloud_map_service: Option<String>,

    /// Nodes that are to be registered; not given, one is enough.
    #[arg(long, env = "BOOTSTRAP_CLUSTER_SIZE", value_name = "COUNT", help_heading = "From AWS")]
    cluster_size: Option<String>,
}

/// What the program is to do.
#[derive(Debug)]
pub enum Command {
    /// `bootstrap run`.
    Run(Box<RunSettings>),
    /// `bootstrap rotate`, with the users whose passwords are to be replaced.
    Rotate(Vec<User>),
    /// `bootstrap status`.
    Status(StatusSettings),
    /// `bootstrap healthcheck`, with the file to read.
    Healthcheck(PathBuf),
}

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

/// Reads the command line and the environment.
///
/// # Errors
///
/// The exit code of a program that has already said everything: 0 after `--help` and `--version`, 2 after a mistake.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let cli = Cli::try_parse_from(args).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        // There is nobody left to tell if this cannot be printed.
        let _ = error.print();
        ExitCode::from(code)
    })?;
    match cli.command {
        CliCommand::Healthcheck { health_file } => Ok(Command::Healthcheck(health_file)),
        CliCommand::Run(args) => settings(*args).map(|settings| Command::Run(Box::new(settings))).map_err(tell),
        CliCommand::Rotate(args) => chosen(args).map(Command::Rotate).map_err(tell),
        CliCommand::Status(args) => place(args).map(Command::Status).map_err(tell),
    }
}

fn tell(mistakes: Vec<String>) -> ExitCode {
    for mistake in mistakes {
        eprintln!("error: {mistake}");
    }
    ExitCode::from(2)
}

/// The users that are to be rotated.
fn chosen(args: RotateArgs) -> Result<Vec<User>, Vec<String>> {
    let mut mistakes = Mistakes::in_environment(&args.aws);
    let users = mistakes.users(args.users);
    let all: Vec<_> = users.iter().flat_map(Users::all).cloned().collect();
    for login in &args.user {
        let is_known = all.iter().any(|user| user.login == *login);
        let known: Vec<_> = all.iter().map(|user| user.login.as_str()).collect();
        mistakes.check("--user", is_known, &format!("there is no `{login}`; known are {}", known.join(", ")));
    }
    if !mistakes.0.is_empty() {
        return Err(mistakes.0);
    }
    Ok(all.into_iter().filter(|user| args.user.is_empty() || args.user.contains(&user.login)).collect())
}

/// Where the status is to be looked for.
fn place(args: StatusArgs) -> Result<StatusSettings, Vec<String>> {
    if let Some(status_file) = args.status_file {
        let (guard_status_file, health_file) = (args.guard_status_file, args.health_file);
        let place = StatusPlace::Task { status_file, guard_status_file, health_file };
        return Ok(StatusSettings { json: args.json, place });
    }
    let mut mistakes = Mistakes::in_environment(&args.aws);
    mistakes.check("--status-file", args.users.admin_secret.is_some(), "not given; without it AWS is asked");
    let nodes = args.cluster_size.as_deref().filter(|text| !text.is_empty());
    let nodes = nodes.and_then(|text| mistakes.parse("--cluster-size", text, "a number of nodes from 1 to 7"));
    let users = mistakes.users(args.users);
    if !mistakes.0.is_empty() {
        return Err(mistakes.0);
    }
    let users = users.iter().flat_map(Users::all).cloned().collect();
    let cloud_map_service = args.cloud_map_service.filter(|service| !service.is_empty());
    Ok(StatusSettings { json: args.json, place: StatusPlace::Aws { users, cloud_map_service, nodes } })
}

fn settings(args: RunArgs) -> Result<RunSettings, Vec<String>> {
    let mut mistakes = Mistakes::in_environment(&args.aws);
    let server = mistakes.parse("--server", &args.server, "an IP address and a port, for example 127.0.0.1:2113");
    let dns = args.dns.as_deref().filter(|dns| !dns.is_empty());
    let dns = dns.and_then(|dns| mistakes.parse("--dns", dns, "an IP address and a port, for example 10.0.0.2:53"));
    let cluster_size = mistakes.parse::<usize>("--cluster-size", &args.cluster_size, "a number of nodes from 1 to 7");
    let cluster_size = cluster_size.filter(|size| {
        mistakes.check("--cluster-size", (1..=7).contains(size), &format!("`{size}` nodes; allowed are 1 to 7"))
    });
    let scavenge = mistakes.scavenge(&args);
    let metrics_address = args.metrics_address.as_deref().filter(|text| !text.is_empty());
    let address = "an IP address and a port, for example 127.0.0.1:9113";
    let metrics_address = metrics_address.and_then(|text| mistakes.parse("--metrics-address", text, address));
    let voters = cluster_size.map(|size| if args.read_only_replica { size } else { size - 1 });
    let peers = mistakes.peers(args.peers.as_deref().unwrap_or_default(), voters);
    mistakes.check(
        "--read-only-replica",
        !args.read_only_replica || cluster_size != Some(1),
        "a single node has none; --cluster-size is the number of nodes that vote",
    );
    let time_scale = args.time_scale;
    let is_factor = time_scale.is_finite() && time_scale > 0.0 && time_scale <= 1.0;
    mistakes.check("--time-scale", is_factor, &format!("`{time_scale}` is not a factor above 0 and up to 1"));
    let certificates = certgen::cli::from_environment(&args.certs).unwrap_or_else(|wrong| {
        mistakes.0.extend(wrong.into_iter().map(|mistake| format!("CERTGEN_*: {mistake}")));
        None
    });
    let client_port = mistakes
        .parse("--client-port", &args.client_port, "a port from 1 to 65535")
        .filter(|port| mistakes.check("--client-port", *port != 0, "`0` is not a port that clients can connect to"));
    let ready_timeout = mistakes.duration("--ready-timeout", &args.ready_timeout);
    let converge_timeout = mistakes.duration("--converge-timeout", &args.converge_timeout);
    let poll_interval = mistakes.duration("--poll-interval", &args.poll_interval);
    let registration_interval = mistakes.duration("--registration-interval", &args.registration_interval);
    let rotate_every = args.rotate_every.as_deref().filter(|text| !text.is_empty());
    let rotate_every = rotate_every.and_then(|text| mistakes.days("--rotate-every", text));
    let users = if args.insecure {
        mistakes.insecure(&args, server, certificates.is_some());
        None
    } else {
        mistakes.users(args.users)
    };
    for (flag, value) in [("--node-name", &args.node_name), ("--client-host", &args.client_host)] {
        mistakes.check(flag, !value.is_empty(), "it is empty");
    }
    let cloud_map_service = args.cloud_map_service.filter(|service| !service.is_empty());
    let is_registered = cloud_map_service.is_some() || args.read_only_replica;
    mistakes.check("--cloud-map-service", is_registered, "not given; only a read-only replica may be without");
    let task = mistakes.task(args.address, args.task_arn, args.metadata_uri);
    let agent_uri = args.agent_uri.filter(|uri| !uri.is_empty());
    let agent_uri = agent_uri.and_then(|uri| mistakes.ecs("ECS_AGENT_URI", &uri));
    let times = ready_timeout.zip(converge_timeout).zip(poll_interval.zip(registration_interval));
    match (server, cluster_size, client_port, times, task) {
        (
            Some(server),
            Some(cluster_size),
            Some(client_port),
            Some(((ready_timeout, timeout), (poll_interval, registration_interval))),
            Some(task),
        ) if mistakes.0.is_empty() => {
            let recover_with_node_certificate = args.recover_with_node_certificate;
            Ok(RunSettings {
                node_name: args.node_name,
                health_file: args.health_file,
                status_file: args.status_file,
                guard_status_file: args.guard_status_file,
                server,
                server_name: args.server_name,
                cluster_size,
                peers,
                dns,
                certs: args.certs,
                ready_timeout,
                users,
                is_read_only_replica: args.read_only_replica,
                policy: Policy { timeout, rotate_every, recover_with_node_certificate, now: SystemTime::now },
                poll_interval,
                cloud_map_service,
                registration_interval,
                scheme: if cluster_size > 1 { Scheme::Discover } else { Scheme::Direct },
                client_host: args.client_host,
                client_port,
                task,
                scavenge,
                emits_metrics: args.metrics == MetricsFormat::Emf,
                metrics_address,
                agent_uri,
                time_scale,
                certificates: certificates.map(Arc::new),
            })
        }
        _ => Err(mistakes.0),
    }
}

/// All that is wrong, so that one run tells everything.
struct Mistakes(Vec<String>);

impl Mistakes {
    /// What is wrong with the places where AWS would be asked.
    fn in_environment(aws: &AwsArgs) -> Self {
        Self(endpoint_mistakes(env::vars_os(), aws.allow_http_endpoint, ALLOW_HTTP_ENDPOINT))
    }

    fn check(&mut self, flag: &str, holds: bool, mistake: &str) -> bool {
        if !holds {
            self.0.push(format!("{flag}: {mistake}"));
        }
        holds
    }

    fn parse<T: FromStr>(&mut self, flag: &str, text: &str, allowed: &str) -> Option<T> {
        let value = text.parse().ok();
        self.check(flag, value.is_some(), &format!("`{text}` is not {allowed}"));
        value
    }

    /// Who the task is, or where that can be learned.
    fn task(&mut self, address: Option<String>, arn: Option<String>, uri: Option<String>) -> Option<TaskSource> {
        match (address, arn, uri) {
            (Some(address), Some(arn), _) => self
                .parse::<IpAddr>("--address", &address, "an IP address")
                .map(|address| TaskSource::Given(Task { arn, address })),
            (_, _, Some(uri)) => self.ecs("ECS_CONTAINER_METADATA_URI_V4", &uri).map(TaskSource::Metadata),
            (_, _, None) => {
                let missing =
                    "not given, and there is no ECS_CONTAINER_METADATA_URI_V4 to ask; give --address and --task-arn";
                self.check("--address", false, missing);
                None
            }
        }
    }

    fn ecs(&mut self, name: &str, text: &str) -> Option<String> {
        let uri = text.parse::<MetadataUri>().map_err(|mistake| self.check(name, false, &mistake));
        Some(uri.ok()?.as_str().to_owned())
    }

    /// The other nodes that vote; none if nothing was given.
    fn peers(&mut self, text: &str, others: Option<usize>) -> Vec<String> {
        if text.is_empty() {
            return Vec::new();
        }
        let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        let is_name = |name: &String| {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            !name.is_empty() && name.len() <= 253 && name.chars().all(allowed)
        };
        for (number, name) in names.iter().enumerate() {
            self.check("--peers", is_name(name), &format!("`{name}` is not a host name; ports are left out"));
            self.check("--peers", !names[..number].contains(name), &format!("`{name}` stands there twice"));
        }
        if let Some(others) = others {
            let mistake = format!("{} names; the other nodes of the cluster that vote are {others}", names.len());
            self.check("--peers", names.len() == others, &mistake);
        }
        names
    }

    /// What goes with users, or with TLS, does not go with a server that has neither.
    fn insecure(&mut self, args: &RunArgs, server: Option<SocketAddr>, has_certificates: bool) {
        let UserArgs { admin_secret, ops_secret, users, users_file } = &args.users;
        let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let given = [
            ("--admin-secret", is_given(admin_secret)),
            ("--ops-secret", is_given(ops_secret)),
            ("--users", is_given(users)),
            ("--users-file", users_file.is_some()),
            ("--rotate-every", is_given(&args.rotate_every)),
            ("--recover-with-node-certificate", args.recover_with_node_certificate),
            ("--scavenge-at", is_given(&args.scavenge_at)),
        ];
        for (flag, is_given) in given {
            self.check(flag, !is_given, "it does not go with --insecure: such a server has no users");
        }
        self.check("CERTGEN_*", !has_certificates, "they do not go with --insecure: such a server has no certificates");
        if let Some(server) = server {
            let mistake = format!("`{server}` is not an address of loopback, which --insecure needs");
            self.check("--server", server.ip().is_loopback(), &mistake);
        }
    }

    /// The built-in users and those of applications, each with a secret of its own. `None` only with a mistake.
    fn users(&mut self, args: UserArgs) -> Option<Users> {
        let [admin_secret, ops_secret] = [("--admin-secret", args.admin_secret), ("--ops-secret", args.ops_secret)]
            .map(|(flag, secret)| {
                let secret = secret.filter(|secret| !secret.is_empty());
                self.check(flag, secret.is_some(), "not given; each of the built-in users needs a secret");
                secret
            });
        if admin_secret.is_some() && admin_secret == ops_secret {
            self.check("--ops-secret", false, "it is the secret of admin; each user needs one of its own");
        }
        let (flag, text) = match (args.users, args.users_file) {
            (Some(text), _) => ("--users", Ok(text)),
            (None, Some(file)) => (
                "--users-file",
                fs::read_to_string(&file).map_err(|error| format!("could not read `{}`: {error}", file.display())),
            ),
            (None, None) => ("--users", Ok(String::new())),
        };
        let parsed = match text {
            Ok(text) if text.is_empty() => Ok(Vec::new()),
            Ok(text) => parse_users(&text),
            Err(mistake) => Err(vec![mistake]),
        };
        let mut others = vec![User::built_in(OPS, SecretId(ops_secret?))];
        match parsed {
            Ok(users) => others.extend(users),
            Err(mistakes) => self.0.extend(mistakes.into_iter().map(|mistake| format!("{flag}: {mistake}"))),
        }
        let admin = User::built_in(ADMIN, SecretId(admin_secret?));
        for (number, user) in others.iter().enumerate().skip(1) {
            let is_taken = std::iter::once(&admin).chain(&others[..number]).any(|other| other.secret == user.secret);
            let mistake = format!("the secret of `{}` is another user's; each needs one of its own", user.login);
            self.check(flag, !is_taken, &mistake);
        }
        Some(Users { admin, others })
    }

    fn scavenge(&mut self, args: &RunArgs) -> Option<(Schedule, Duration)> {
        let flag = "--scavenge-at";
        let window = self.duration("--scavenge-window", &args.scavenge_window);
        let text = args.scavenge_at.as_deref().filter(|text| !text.is_empty())?;
        let schedule: Option<Schedule> = self.parse(flag, text, "a time of UTC, for example 03:00 or Sun 03:00");
        let is_shorter = schedule.zip(window).is_none_or(|(schedule, window)| window < schedule.period());
        self.check("--scavenge-window", is_shorter, "it is not shorter than the time from one scavenge to the next");
        let is_remembered = args.status_file.is_some();
        self.check(flag, is_remembered, "it needs --status-file, where it is remembered that a scavenge was begun");
        schedule.zip(window)
    }

    fn days(&mut self, flag: &str, text: &str) -> Option<Duration> {
        let unit = match text.chars().last() {
            Some('d') => 24,
            Some('h') => 1,
            _ => 0,
        };
        let count: Option<u32> = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse().ok());
        let value = count.map(|count| Duration::from_hours(u64::from(count) * unit));
        let value = value.filter(|value| (Duration::from_hours(1)..=Duration::from_hours(3650 * 24)).contains(value));
        self.check(flag, value.is_some(), &format!("`{text}` is not a time of 1h to 3650d, for example 12h, 30d"));
        value
    }

    fn duration(&mut self, flag: &str, text: &str) -> Option<Duration> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_mins(1)),
            "h" => Some(Duration::from_hours(1)),
            _ => None,
        };
        let value = digits.parse::<u32>().ok().zip(unit).map(|(count, unit)| unit * count);
        let value = value.filter(|value| !value.is_zero() && *value <= Duration::from_hours(7 * 24));
        self.check(
            flag,
            value.is_some(),
            &format!("`{text}` is not a time of 1ms to 168h, for example 500ms, 30s, 10m, 3h"),
        );
        value
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const GOOD: [(&str, &str); 9] = [
        ("--node-name", "node-1"),
        ("--health-file", "/run/task/bootstrap.json"),
        ("--server", "127.0.0.1:2113"),
        ("--admin-secret", "es/admin"),
        ("--ops-secret", "es/ops"),
        ("--cloud-map-service", "srv-1"),
        ("--client-host", "es.db.internal"),
        ("--address", "10.0.0.7"),
        ("--task-arn", "arn:aws:ecs:eu-west-1:1:task/x"),
    ];

    fn parse(changes: &[(&str, &str)]) -> Result<RunSettings, Vec<String>> {
        parse_with(changes, &[])
    }

    fn parse_with(changes: &[(&str, &str)], switches: &[&'static str]) -> Result<RunSettings, Vec<String>> {
        let mut args = vec!["bootstrap", "run"];
        args.extend(switches);
        for (flag, value) in GOOD {
            let value = changes.iter().find(|(changed, _)| *changed == flag).map_or(value, |(_, value)| value);
            args.extend([flag, value]);
        }
        let added = changes.iter().filter(|(flag, _)| GOOD.iter().all(|(good, _)| good != flag));
        args.extend(added.flat_map(|(flag, value)| [*flag, *value]));
        match Cli::try_parse_from(args).unwrap().command {
            CliCommand::Run(args) => settings(*args),
            _ => unreachable!("`run` was given"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.client_port, 2113);
        assert_eq!(settings.server_name, "localhost");
        assert_eq!(settings.ready_timeout, Duration::from_hours(3));
        assert_eq!(settings.policy.timeout, Duration::from_mins(10));
        assert_eq!(settings.poll_interval, Duration::from_mins(5));
        assert_eq!(settings.registration_interval, Duration::from_secs(30));
        assert_eq!((settings.policy.rotate_every, settings.policy.recover_with_node_certificate), (None, false));
        assert_eq!((settings.scheme, settings.dns), (Scheme::Direct, None));
        assert_eq!((settings.emits_metrics, settings.metrics_address), (true, None));
    }

    #[test]
    fn clients_of_a_cluster_discover_its_members() {
        assert_eq!(parse(&[("--cluster-size", "3")]).unwrap().scheme, Scheme::Discover);
    }

    #[test]
    fn peers_are_the_names_of_all_other_nodes() {
        let peers = |size: &str, names: &str| parse(&[("--cluster-size", size), ("--peers", names)]);
        assert_eq!(
            peers("3", "n-2.db.internal,N-3.db.internal").unwrap().peers,
            ["n-2.db.internal", "n-3.db.internal"]
        );
        assert!(peers("3", "").unwrap().peers.is_empty());
        for (size, names, mistake) in [
            ("1", "n-2", "--peers: 1 names; the other nodes of the cluster that vote are 0"),
            ("3", "n-2", "--peers: 1 names; the other nodes of the cluster that vote are 2"),
            ("3", "n-2,n-2", "--peers: `n-2` stands there twice"),
            ("3", "n-2:2113,n-3", "--peers: `n-2:2113` is not a host name; ports are left out"),
            ("3", "n-2,", "--peers: `` is not a host name; ports are left out"),
        ] {
            assert_eq!(peers(size, names).unwrap_err(), [mistake], "{names}");
        }
    }

    /// `parse` gives what a secure node needs; an empty value is not given.
    #[test]
    fn an_insecure_server_has_no_users_no_certificates_and_nobody_on_the_way() {
        let nobody = [("--admin-secret", ""), ("--ops-secret", "")];
        let settings = parse_with(&nobody, &["--insecure"]).unwrap();
        assert!(settings.users.is_none());
        assert!(settings.to_string().contains("users=insecure"), "{settings}");
        let both = parse_with(&[("--server", "10.0.0.7:2113"), ("--rotate-every", "30d")], &["--insecure"]);
        let flags: Vec<_> =
            both.unwrap_err().iter().map(|mistake| mistake.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(flags, ["--admin-secret", "--ops-secret", "--rotate-every", "--server"]);
        assert_eq!(parse(&nobody).unwrap_err().len(), 2, "nobody is insecure without saying so");
    }

    #[test]
    fn a_read_only_replica_has_all_voters_as_peers_and_may_stay_unregistered() {
        let replica = |changes: &[(&str, &str)]| parse_with(changes, &["--read-only-replica"]);
        let peers = ("--peers", "n-1,n-2,n-3");
        let settings = replica(&[("--cluster-size", "3"), peers, ("--cloud-map-service", "")]).unwrap();
        assert_eq!((settings.peers.len(), settings.cloud_map_service), (3, None));
        let own = replica(&[("--cluster-size", "3"), peers]).unwrap().cloud_map_service;
        assert_eq!(own.as_deref(), Some("srv-1"));
        assert!(replica(&[]).unwrap_err()[0].starts_with("--read-only-replica: a single node has none"));
        let unregistered = parse(&[("--cloud-map-service", "")]).unwrap_err();
        assert_eq!(unregistered, ["--cloud-map-service: not given; only a read-only replica may be without"]);
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(parse(&[("--ready-timeout", "500ms")]).unwrap().ready_timeout, Duration::from_millis(500));
        for bad in ["30", "0s", "1d", "-1s", "s", "169h", "99999999999s", "1.5h"] {
            let arg = format!("--ready-timeout={bad}");
            let mistakes = Mistakes(Vec::new()).duration("--ready-timeout", bad);
            assert_eq!(mistakes, None, "{arg}");
        }
    }

    #[test]
    fn ages_are_given_in_hours_and_days() {
        let age = |text: &str| Mistakes(Vec::new()).days("--rotate-every", text);
        assert_eq!(age("30d"), Some(Duration::from_hours(720)));
        assert_eq!(age("1h"), Some(Duration::from_hours(1)));
        for bad in ["", "d", "0d", "30", "5m", "-1d", "4000d", "é"] {
            assert_eq!(age(bad), None, "{bad}");
        }
    }

    #[test]
    fn application_users_come_after_ops_with_secrets_of_their_own() {
        let users = |text: &str| parse(&[("--users", text)]);
        let settings = users(r#"[{"login":"orders","secret":"es/orders","groups":[]}]"#).unwrap();
        assert_eq!(settings.logins(), "admin,ops,orders");
        let mistakes = users(r#"[{"login":"orders","secret":"es/ops","groups":[]}]"#).unwrap_err();
        assert!(mistakes[0].starts_with("--users: the secret of `orders` is another user's"), "{mistakes:?}");
        assert!(users("{").unwrap_err()[0].starts_with("--users: "));
    }

    #[test]
    fn scavenges_need_a_time_a_window_that_ends_before_the_next_and_a_memory() {
        let scavenge = |at: &str, window: &str, file: &str| {
            let all = [("--scavenge-at", at), ("--scavenge-window", window), ("--status-file", file)];
            let settings = parse(if file.is_empty() { &all[..2] } else { &all });
            settings.map(|settings| settings.scavenge)
        };
        assert_eq!(parse(&[]).unwrap().scavenge, None);
        let schedule = "sun 03:00".parse().unwrap();
        assert_eq!(scavenge("Sun 03:00", "48h", "/s"), Ok(Some((schedule, Duration::from_hours(48)))));
        assert_eq!(scavenge("", "8h", "/s"), Ok(None));
        for (at, window, file, flag) in [
            ("03:00", "24h", "/s", "--scavenge-window: "),
            ("03:00", "8", "/s", "--scavenge-window: "),
            ("3:00", "8h", "/s", "--scavenge-at: `3:00` is not a time of UTC"),
            ("03:00", "8h", "", "--scavenge-at: it needs --status-file"),
        ] {
            let mistakes = scavenge(at, window, file).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(flag), "{mistakes:?}");
        }
    }

    #[test]
    fn only_known_users_are_rotated() {
        let rotate = |users: &[&str]| {
            let secrets = ["bootstrap", "rotate", "--admin-secret=a", "--ops-secret=o"];
            let args = secrets.into_iter().chain(users.iter().flat_map(|user| ["--user", *user]));
            match Cli::try_parse_from(args).unwrap().command {
                CliCommand::Rotate(args) => chosen(args),
                _ => unreachable!("`rotate` was given"),
            }
        };
        assert_eq!(rotate(&[]).unwrap().len(), 2);
        assert_eq!(rotate(&["ops"]).unwrap()[0].login, "ops");
        assert_eq!(rotate(&["op"]).unwrap_err(), ["--user: there is no `op`; known are admin, ops"]);
    }

    #[test]
    fn the_status_is_looked_for_in_the_task_if_there_is_a_file_and_else_in_aws() {
        let status = |args: &[&str]| {
            let args = ["bootstrap", "status"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(args).unwrap().command {
                CliCommand::Status(args) => place(args),
                _ => unreachable!("`status` was given"),
            }
        };
        let task = status(&["--status-file=/run/s.json", "--admin-secret=a", "--json"]).unwrap();
        assert!(task.json && matches!(task.place, StatusPlace::Task { .. }), "{task:?}");
        let aws = status(&["--admin-secret=a", "--ops-secret=o", "--cluster-size=3"]).unwrap();
        assert!(matches!(aws.place, StatusPlace::Aws { nodes: Some(3), ref users, .. } if users.len() == 2), "{aws:?}");
        let mistakes = status(&["--cluster-size=x"]).unwrap_err();
        let flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
        assert_eq!(flags, ["--status-file", "--cluster-size", "--admin-secret", "--ops-secret"]);
    }

    #[test]
    fn every_mistake_is_told_in_one_run() {
        let mistakes = parse(&[
            ("--node-name", ""),
            ("--server", "localhost:2113"),
            ("--ops-secret", "es/admin"),
            ("--address", "here"),
            ("--client-port", "0"),
            ("--converge-timeout", "10"),
            ("--dns", "resolver"),
            ("--cluster-size", "8"),
            ("--metrics-address", "localhost:9113"),
            ("--scavenge-at", "3 o'clock"),
        ])
        .unwrap_err();
        let mut flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
        flags.sort_unstable();
        assert_eq!(
            flags,
            [
                "--address",
                "--client-port",
                "--cluster-size",
                "--converge-timeout",
                "--dns",
                "--metrics-address",
                "--node-name",
                "--ops-secret",
                "--scavenge-at",
                "--scavenge-at",
                "--server"
            ]
        );
    }
}
