//! The command line and its `BOOTSTRAP_*` twins become settings, or a list of all that is wrong with them.

mod args;
mod mistakes;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Cli, CliCommand, MetricsFormat, RotateArgs, RunArgs, StatusArgs};
use self::mistakes::Mistakes;
use crate::converge::Policy;
use crate::secret::Scheme;
use crate::settings::{RunSettings, Users};
use crate::status::{StatusPlace, StatusSettings};
use crate::user::User;

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

/// The command line as it is read, for what is made of it.
pub fn command() -> clap::Command {
    Cli::command()
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
