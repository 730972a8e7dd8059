//! The command line as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sidecar of an EventStoreDB node on ECS.
///
/// Moves the built-in users off their default passwords into AWS Secrets Manager, registers the ready node in AWS
/// Cloud Map and withdraws it on SIGTERM, which alone ends it. Every option has a BOOTSTRAP_* variable; the command line
/// wins. Given the CERTGEN_* variables of the init container too, it renews what that published.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version, max_term_width = 120)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
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
pub(super) struct RunArgs {
    /// Name of this node; the id of its entry in Cloud Map.
    #[arg(long, env = "BOOTSTRAP_NODE_NAME", value_name = "NAME")]
    pub(super) node_name: String,

    /// File in which the verdict for `bootstrap healthcheck` is kept.
    #[arg(long, env = "BOOTSTRAP_HEALTH_FILE", value_name = "FILE")]
    pub(super) health_file: PathBuf,

    /// File in which what is known of the node is kept for `bootstrap status`; not given, it is kept nowhere.
    #[arg(long, env = "BOOTSTRAP_STATUS_FILE", value_name = "FILE")]
    pub(super) status_file: Option<PathBuf>,

    /// File in which guard keeps its state; not given, nothing is known of restarts of the server.
    #[arg(long, env = "BOOTSTRAP_GUARD_STATUS_FILE", value_name = "FILE")]
    pub(super) guard_status_file: Option<PathBuf>,

    /// Address of the node's own server.
    #[arg(long, env = "BOOTSTRAP_SERVER", value_name = "IP:PORT", help_heading = "Server")]
    pub(super) server: String,

    /// The server runs without TLS and authentication: nobody's credentials are cared for, and no certificates; the node is
    /// registered as one without TLS. The server's address must be one of loopback.
    #[arg(long, env = "BOOTSTRAP_INSECURE", help_heading = "Server")]
    pub(super) insecure: bool,

    /// The node is a read-only replica: it has no vote, so its task is never protected, and it is registered only where
    /// --cloud-map-service says, which is not the service of the other nodes.
    #[arg(long, env = "BOOTSTRAP_READ_ONLY_REPLICA", help_heading = "Server")]
    pub(super) read_only_replica: bool,

    /// Name that must be in the server's certificate.
    #[arg(
        long,
        env = "BOOTSTRAP_SERVER_NAME",
        value_name = "NAME",
        default_value = "localhost",
        help_heading = "Server"
    )]
    pub(super) server_name: String,

    /// Nodes of the cluster, 1 to 7; read-only replicas do not count.
    #[arg(long, env = "BOOTSTRAP_CLUSTER_SIZE", value_name = "COUNT", default_value = "1", help_heading = "Server")]
    pub(super) cluster_size: String,

    /// Names of the other nodes of the cluster, separated by commas. While too few of them have an address for a cluster
    /// to form, a server that waits for them counts as healthy; not given, only a ready one does.
    #[arg(long, env = "BOOTSTRAP_PEERS", value_name = "NAMES", help_heading = "Server")]
    pub(super) peers: Option<String>,

    /// Name server that knows the names of the other nodes; not given, the system's are asked.
    #[arg(long, env = "BOOTSTRAP_DNS", value_name = "IP:PORT", help_heading = "Server")]
    pub(super) dns: Option<String>,

    /// Directory that certgen wrote: node.crt and the trusted roots in ca/.
    #[arg(long, env = "BOOTSTRAP_CERTS", value_name = "DIR", default_value = "/certs", help_heading = "Server")]
    pub(super) certs: PathBuf,

    /// How long the server may take until it is ready, for example 3h; then that is told, and the server waited for again.
    #[arg(long, env = "BOOTSTRAP_READY_TIMEOUT", value_name = "TIME", default_value = "3h", help_heading = "Server")]
    pub(super) ready_timeout: String,

    #[command(flatten)]
    pub(super) users: UserArgs,

    /// How long each user's credentials may take; then that is told, and after a pause tried again.
    #[arg(
        long,
        env = "BOOTSTRAP_CONVERGE_TIMEOUT",
        value_name = "TIME",
        default_value = "10m",
        help_heading = "Credentials"
    )]
    pub(super) converge_timeout: String,

    /// How often the credentials are looked at again, plus up to a quarter.
    #[arg(
        long,
        env = "BOOTSTRAP_POLL_INTERVAL",
        value_name = "TIME",
        default_value = "5m",
        help_heading = "Credentials"
    )]
    pub(super) poll_interval: String,

    /// Age at which passwords are replaced, for example 30d: those of admin, ops and of users that alternate.
    #[arg(long, env = "BOOTSTRAP_ROTATE_EVERY", value_name = "TIME", help_heading = "Credentials")]
    pub(super) rotate_every: Option<String>,

    /// If no password opens the database until the converge timeout, set admin's with the node's certificate.
    #[arg(long, env = "BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE", help_heading = "Credentials")]
    pub(super) recover_with_node_certificate: bool,

    /// Id of the Cloud Map service that clients look up (srv-…). Only a read-only replica may have none: it is then not
    /// registered.
    #[arg(long, env = "BOOTSTRAP_CLOUD_MAP_SERVICE", value_name = "ID", help_heading = "Discovery")]
    pub(super) cloud_map_service: Option<String>,

    /// Name under which clients find the database; published in the secrets.
    #[arg(long, env = "BOOTSTRAP_CLIENT_HOST", value_name = "NAME", help_heading = "Discovery")]
    pub(super) client_host: String,

    /// How often the node's entry in Cloud Map is looked at and put right, plus up to a quarter.
    #[arg(
        long,
        env = "BOOTSTRAP_REGISTRATION_INTERVAL",
        value_name = "TIME",
        default_value = "30s",
        help_heading = "Discovery"
    )]
    pub(super) registration_interval: String,

    /// Port that clients connect to.
    #[arg(
        long,
        env = "BOOTSTRAP_CLIENT_PORT",
        value_name = "PORT",
        default_value = "2113",
        help_heading = "Discovery"
    )]
    pub(super) client_port: String,

    /// Address of this task; not given, the ECS metadata endpoint is asked.
    #[arg(long, env = "BOOTSTRAP_ADDRESS", value_name = "IP", requires = "task_arn", help_heading = "Discovery")]
    pub(super) address: Option<String>,

    /// ARN of this task; not given, the ECS metadata endpoint is asked.
    #[arg(long, env = "BOOTSTRAP_TASK_ARN", value_name = "ARN", requires = "address", help_heading = "Discovery")]
    pub(super) task_arn: Option<String>,

    /// The task metadata endpoint; ECS sets the variable.
    #[arg(long, env = "ECS_CONTAINER_METADATA_URI_V4", value_name = "URI", help_heading = "Discovery")]
    pub(super) metadata_uri: Option<String>,

    /// The endpoint of the ECS agent, at which a task of a cluster is protected from scale-in while the others would be
    /// no quorum; ECS sets the variable. Not given, the task is not protected.
    #[arg(long, env = "ECS_AGENT_URI", value_name = "URI", help_heading = "Server")]
    pub(super) agent_uri: Option<String>,

    /// When the node's database is scavenged, in UTC: every day, for example 03:00, or one day of the week, Sun 03:00. In a
    /// cluster one node at a time begins, and the leader not at all. Not given, never.
    #[arg(long, env = "BOOTSTRAP_SCAVENGE_AT", value_name = "TIME", help_heading = "Maintenance")]
    pub(super) scavenge_at: Option<String>,

    /// How long after that time a node may still begin; then it waits for the next time.
    #[arg(
        long,
        env = "BOOTSTRAP_SCAVENGE_WINDOW",
        value_name = "TIME",
        default_value = "8h",
        help_heading = "Maintenance"
    )]
    pub(super) scavenge_window: String,

    /// How metrics are printed on stdout: as lines in CloudWatch's embedded metric format every five minutes and when the
    /// node's registration changes, or not at all.
    #[arg(long, env = "BOOTSTRAP_METRICS", value_name = "HOW", default_value = "emf", help_heading = "Metrics")]
    pub(super) metrics: MetricsFormat,

    /// Address at which a Prometheus finds them: GET /metrics over plain HTTP. Not given, nobody listens.
    #[arg(long, env = "BOOTSTRAP_METRICS_ADDRESS", value_name = "IP:PORT", help_heading = "Metrics")]
    pub(super) metrics_address: Option<String>,
    #[command(flatten)]
    pub(super) aws: AwsArgs,

    /// Stretches how often and for how long the own server is looked at, for tests: 0.1 is ten times as fast.
    #[arg(long, env = "BOOTSTRAP_TIME_SCALE", value_name = "FACTOR", default_value = "1", hide = true)]
    pub(super) time_scale: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricsFormat {
    Emf,
    None,
}

#[derive(Debug, Args)]
pub(super) struct AwsArgs {
    /// Let AWS be asked over plain HTTP where an endpoint variable of AWS says so; for tests and local clusters.
    #[arg(long, env = ALLOW_HTTP_ENDPOINT)]
    pub(super) allow_http_endpoint: bool,
}

pub(super) const ALLOW_HTTP_ENDPOINT: &str = "BOOTSTRAP_ALLOW_HTTP_ENDPOINT";

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// Secret of the user admin, name or ARN.
    #[arg(long, env = "BOOTSTRAP_ADMIN_SECRET", value_name = "ID", help_heading = "Credentials")]
    pub(super) admin_secret: Option<String>,

    /// Secret of the user ops, name or ARN.
    #[arg(long, env = "BOOTSTRAP_OPS_SECRET", value_name = "ID", help_heading = "Credentials")]
    pub(super) ops_secret: Option<String>,

    /// Application users: a JSON array of {"login", "secret", "groups", "fullName"?, "alternate"?}.
    #[arg(
        long,
        env = "BOOTSTRAP_USERS",
        value_name = "JSON",
        conflicts_with = "users_file",
        help_heading = "Credentials"
    )]
    pub(super) users: Option<String>,

    /// The same in a file.
    #[arg(long, env = "BOOTSTRAP_USERS_FILE", value_name = "FILE", help_heading = "Credentials")]
    pub(super) users_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    pub(super) users: UserArgs,

    #[command(flatten)]
    pub(super) aws: AwsArgs,

    /// Only this user, by login; may be given again. Not given, all users.
    #[arg(long, value_name = "LOGIN", help_heading = "Credentials")]
    pub(super) user: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Answer in JSON.
    #[arg(long)]
    pub(super) json: bool,

    /// The file that the running sidecar keeps.
    #[arg(long, env = "BOOTSTRAP_STATUS_FILE", value_name = "FILE", help_heading = "Inside the task")]
    pub(super) status_file: Option<PathBuf>,

    /// The file that guard keeps.
    #[arg(long, env = "BOOTSTRAP_GUARD_STATUS_FILE", value_name = "FILE", help_heading = "Inside the task")]
    pub(super) guard_status_file: Option<PathBuf>,

    /// The file that the health check reads.
    #[arg(long, env = "BOOTSTRAP_HEALTH_FILE", value_name = "FILE", help_heading = "Inside the task")]
    pub(super) health_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) users: UserArgs,

    #[command(flatten)]
    pub(super) aws: AwsArgs,

    /// Id of the Cloud Map service that clients look up (srv-…).
    #[arg(long, env = "BOOTSTRAP_CLOUD_MAP_SERVICE", value_name = "ID", help_heading = "From AWS")]
    pub(super) cloud_map_service: Option<String>,

    /// Nodes that are to be registered; not given, one is enough.
    #[arg(long, env = "BOOTSTRAP_CLUSTER_SIZE", value_name = "COUNT", help_heading = "From AWS")]
    pub(super) cluster_size: Option<String>,
}
