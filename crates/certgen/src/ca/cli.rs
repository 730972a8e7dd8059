//! The command line of `certgen ca`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use time::OffsetDateTime;

use super::error::CaError;
use super::status::Status;
use crate::cli::ALLOW_HTTP_ENDPOINT;
use crate::console;
use crate::error::one_line;
use crate::plan::Validity;

const BLOCKED: u8 = 1;

/// The certificate authority of a deployment, in a secret of AWS Secrets Manager.
///
/// A rotation goes through the phases trust-both, sign-new and drop-old. A phase ends only when every node and every secret
/// of a user shows it. Killed at any moment and run again, also in two places at once, it does no harm.
///
/// Exit codes: 0 told or taken further, 1 blocked, 2 wrong command line, 69 AWS did not answer, 77 denied, 78 the secret is
/// not there or holds something else.
#[derive(Debug, Parser)]
#[command(name = "certgen ca", bin_name = "certgen ca", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells the phase, the roots, and what blocks the next phase. Changes nothing.
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Begins a rotation, or takes one that is under way to its next phase, or tells what blocks it.
    Rotate {
        #[command(flatten)]
        place: Place,
        /// Begin no rotation, only take one further that is under way.
        #[arg(long = "continue")]
        only_continue: bool,
        /// Validity of a new root in days (1825d) or hours.
        #[arg(long, env = "CERTGEN_CA_VALIDITY", value_name = "TIME", default_value = "1825d")]
        validity: Validity,
    },
}

/// Where to look.
#[derive(Debug, Args)]
struct Place {
    /// Name or ARN of the secret with the authority.
    #[arg(long, env = "CERTGEN_CA_SECRET", value_name = "ID")]
    secret: String,
    /// Id of the Cloud Map service in which nodes register (srv-…); not given, the nodes are not looked at.
    #[arg(long, env = "CERTGEN_CLOUD_MAP_SERVICE", value_name = "ID")]
    service: Option<String>,
    /// How many nodes there are.
    #[arg(long, env = "CERTGEN_NODES", value_name = "COUNT")]
    nodes: Option<usize>,
    /// Names or ARNs of the secrets of all users, separated by commas: consumers find the roots in them.
    #[arg(long, env = "CERTGEN_USER_SECRETS", value_name = "IDS", value_delimiter = ',')]
    user_secrets: Vec<String>,
    /// Let AWS be asked over plain HTTP where an endpoint variable of AWS says so; for tests and local clusters.
    #[arg(long, env = ALLOW_HTTP_ENDPOINT)]
    allow_http_endpoint: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The command line as it is read.
pub(crate) fn command() -> clap::Command {
    Cli::command().name("ca")
}

/// Reads the arguments after the program's name, which begin with `ca`, does it, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, now: OffsetDateTime) -> ExitCode {
    let cli: Cli = match console::parse(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let (place, is_rotation) = match &cli.command {
        Command::Status { place } => (place, false),
        Command::Rotate { place, .. } => (place, true),
    };
    let mistakes = endpoint_mistakes(place);
    if !mistakes.is_empty() {
        for mistake in mistakes {
            eprintln!("error: {mistake}");
        }
        return ExitCode::from(2);
    }
    match act(&cli.command, place, now) {
        Ok(status) => {
            if let Some(from) = status.advanced_from {
                eprintln!("certgen: the authority in `{}` went from {from} to {}", place.secret, status.phase);
            }
            console::print(&status, place.json);
            let is_blocked = is_rotation && status.advanced_from.is_none() && !status.blocked_by.is_empty();
            ExitCode::from(if is_blocked { BLOCKED } else { 0 })
        }
        Err(error) => {
            eprintln!("error: the authority in `{}`: {}", place.secret, one_line(&error));
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(not(feature = "aws"))]
fn endpoint_mistakes(_: &Place) -> Vec<String> {
    Vec::new()
}

#[cfg(feature = "aws")]
fn endpoint_mistakes(place: &Place) -> Vec<String> {
    crate::aws::endpoint_mistakes(std::env::vars_os(), place.allow_http_endpoint, ALLOW_HTTP_ENDPOINT)
}

#[cfg(not(feature = "aws"))]
fn act(_: &Command, _: &Place, _: OffsetDateTime) -> Result<Status, CaError> {
    Err(CaError::WithoutAws)
}

#[cfg(feature = "aws")]
fn act(command: &Command, place: &Place, now: OffsetDateTime) -> Result<Status, CaError> {
    use crate::aws::block_on;
    block_on(with_aws::act(command, place, now)).map_err(CaError::Runtime)?
}

#[cfg(feature = "aws")]
mod with_aws {
    use std::time::Duration;

    use aws_config::SdkConfig;

    use super::{CaError, Command, OffsetDateTime, Place, Status};
    use crate::aws::{Secret, configuration, published_roots, registered_nodes};
    use crate::ca::rotate::{Begin, Outcome, advance, read};
    use crate::ca::rotation::Evidence;

    /// Pauses end then; a call that is under way ends within 30 s.
    const TIME: Duration = Duration::from_mins(1);

    pub(super) async fn act(command: &Command, place: &Place, now: OffsetDateTime) -> Result<Status, CaError> {
        let configuration = configuration().await.map_err(CaError::store("set up AWS"))?;
        let evidence = evidence(&configuration, place).await?;
        let secret = Secret::new(&configuration, &place.secret, TIME);
        let status = |document| Status::of(&place.secret, document, &evidence, now);
        let begin = match command {
            Command::Status { .. } => return Ok(status(&read(&secret).await?)),
            Command::Rotate { only_continue: true, .. } => Begin::No,
            Command::Rotate { validity, .. } => Begin::Yes(*validity),
        };
        Ok(match advance(&secret, &evidence, begin, now).await? {
            Outcome::Advanced { from, document } => Status { advanced_from: Some(from), ..status(&document) },
            Outcome::Blocked { document, .. } | Outcome::Steady(document) => status(&document),
        })
    }

    async fn evidence(configuration: &SdkConfig, place: &Place) -> Result<Evidence, CaError> {
        // Empty is not given: that is what an unset variable of a template becomes.
        let nodes = match place.service.as_deref().filter(|service| !service.is_empty()) {
            Some(service) => {
                let nodes = registered_nodes(configuration, service).await;
                Some(nodes.map_err(CaError::store("look at the registered nodes"))?)
            }
            None => None,
        };
        let secrets: Vec<_> = place.user_secrets.iter().filter(|secret| !secret.is_empty()).cloned().collect();
        let published = if secrets.is_empty() {
            None
        } else {
            let published = published_roots(configuration, &secrets).await;
            Some(published.map_err(CaError::store("look at the secrets of users"))?)
        };
        Ok(Evidence { expected_nodes: place.nodes, nodes, published })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
