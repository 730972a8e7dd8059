//! The command line of `certgen verify`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser};
use rustls::pki_types::ServerName;
use time::OffsetDateTime;

use super::{Roots, Target, judge, present};
use crate::console;
use crate::error::one_line;
use crate::inspect::Line;

const REFUSED: u8 = 1;
const NOT_READY: u8 = 69;
const UNREADABLE: u8 = 74;

/// Shakes hands with a live server and tells whether clients and other nodes would take what it presents.
///
/// Exit codes: 0 if all would, 1 if somebody would not, 2 for a wrong command line, 69 if there was no handshake before the
/// deadline, 74 if the roots could not be read.
#[derive(Debug, Parser)]
#[command(name = "certgen verify", bin_name = "certgen verify", version, max_term_width = 120)]
struct Cli {
    /// Name or address that clients dial: it must be in the certificate.
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    host: (String, ServerName<'static>),

    /// Port of the server.
    #[arg(long, value_name = "PORT", default_value_t = 2113, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Trusted roots: a directory as the server reads it, or a file with one or more.
    #[arg(long, value_name = "PATH")]
    ca: Option<PathBuf>,

    /// Address to connect to; not given, what the name resolves to.
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<IpAddr>,

    /// Lines of the server to judge for as another node, separated by commas; not given, all.
    #[arg(long, value_name = "LINE", value_enum, value_delimiter = ',')]
    server_line: Vec<Line>,

    /// How long resolving, connecting and the handshake may take together (10s, 500ms).
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn server_name(text: &str) -> Result<(String, ServerName<'static>), String> {
    let name = ServerName::try_from(text.to_owned());
    name.map(|name| (text.to_owned(), name)).map_err(|_| "allowed are a DNS name or an IP address".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = if let Some(number) = text.strip_suffix("ms") {
        number.parse().ok().map(Duration::from_millis)
    } else {
        text.strip_suffix('s').and_then(|number| number.parse().ok()).map(Duration::from_secs)
    };
    let allowed = Duration::from_millis(1)..=Duration::from_hours(1);
    parsed.filter(|time| allowed.contains(time)).ok_or_else(|| "allowed are 1ms to 3600s, for example 10s".to_owned())
}

/// This command line as data.
pub(crate) fn command() -> clap::Command {
    Cli::command().name("verify")
}

/// Reads the arguments after the program's name, which begin with `verify`, shakes hands, tells, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, now: OffsetDateTime) -> ExitCode {
    let cli: Cli = match console::parse(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let roots = match cli.ca.as_deref().map(Roots::read).transpose() {
        Ok(roots) => roots.unwrap_or_default(),
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            eprintln!("hint: {}", error.hint());
            return ExitCode::from(UNREADABLE);
        }
    };
    let (host, name) = cli.host;
    let target = Target { host, name, port: cli.port, connect: cli.connect };
    match present(&target, cli.timeout) {
        Ok(presented) => {
            let verdict = judge(&target, &presented, &roots, cli.server_line, now);
            console::print(&verdict, cli.json);
            ExitCode::from(if verdict.is_good() { 0 } else { REFUSED })
        }
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            eprintln!("hint: {}", error.hint());
            ExitCode::from(NOT_READY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_timeout_needs_a_unit_and_has_bounds() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["10", "0s", "3601s", "s", "-1s", "1h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
