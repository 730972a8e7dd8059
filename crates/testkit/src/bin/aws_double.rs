//! The double of AWS as a program, for the containers of a compose file.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use testkit::aws::REGION;
use testkit::local::{Local, Stack};
use tokio::signal::unix::{SignalKind, signal};

/// Double of AWS Secrets Manager, AWS Cloud Map and of what ECS gives the containers of a task. It is none of them: whoever reaches
/// it may read every secret.
#[derive(Parser)]
struct Cli {
    /// Address to serve on, over HTTP.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Directory in which secrets and services outlive this process.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Region that it stands in.
    #[arg(long, default_value = REGION, value_parser = [REGION])]
    region: String,
    /// Cloud Map service that is there from the start.
    #[arg(long = "service", value_name = "ID=DNS-NAME", value_parser = pair)]
    services: Vec<(String, String)>,
    /// Secret with a generated first password.
    #[arg(long = "secret", value_name = "LOGIN=NAME", value_parser = pair)]
    secrets: Vec<(String, String)>,
    /// Secret without a value.
    #[arg(long = "empty-secret", value_name = "NAME")]
    empty_secrets: Vec<String>,
    /// Task that is served its metadata, its credentials and the agent's endpoint, and the name of its network.
    #[arg(long = "task", value_name = "TASK=DNS-NAME", value_parser = pair)]
    tasks: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    pair.map(|(left, right)| (left.to_owned(), right.to_owned())).ok_or_else(|| "allowed is A=B".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aws-double: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let Cli { services, secrets, empty_secrets, tasks, .. } = cli;
    let stack = Stack { services, secrets, empty_secrets, tasks };
    let local = Local::open(cli.listen, &cli.state, &stack).await?;
    eprintln!("aws-double: a double of AWS for {}, not AWS, serves on {}", cli.region, local.address()?);
    tokio::select! {
        () = local.serve() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
