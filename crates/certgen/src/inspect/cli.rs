//! The command line of `certgen inspect`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use time::OffsetDateTime;

use super::files;
use super::line::Line;
use super::{Question, Report, inspect};
use crate::console;

const REFUSED: u8 = 1;
const UNREADABLE: u8 = 74;

/// Tells what certificates and keys are there, who signed them, how long they are valid, and what servers would refuse.
///
/// Nothing is written, and no key is shown. Exit codes: 0 if nothing would be refused, 1 if something would be, 2 for a
/// wrong command line, 74 if something could not be read; what could be read is told.
#[derive(Debug, Parser)]
#[command(name = "certgen inspect", bin_name = "certgen inspect", version, max_term_width = 120)]
struct Cli {
    /// Files, and directories with those below them.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// Lines of the server to judge for, separated by commas; not given, all.
    #[arg(long, value_name = "LINE", value_enum, value_delimiter = ',')]
    line: Vec<Line>,

    /// Judge for nodes of a cluster, which look at each other's certificates, and not for a server alone.
    #[arg(long)]
    cluster: bool,

    /// Names and addresses that clients or nodes dial, separated by commas: each must be in the certificate of a node.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    host: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The command line as it is read.
pub(crate) fn command() -> clap::Command {
    Cli::command().name("inspect")
}

/// Reads the arguments after the program's name, which begin with `inspect`, looks, tells, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, now: OffsetDateTime) -> ExitCode {
    let cli: Cli = match console::parse(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let found = files::read(&cli.paths);
    let question = Question { lines: cli.line, cluster: cli.cluster, hosts: cli.host };
    let report = inspect(&found, &question, now);
    console::print(&report, cli.json);
    for unreadable in &report.unreadable {
        eprintln!("error: could not read `{}`: {}", unreadable.file, unreadable.reason);
    }
    ExitCode::from(exit_code(&report))
}

/// What could not be read may be what would be refused, so that it counts more.
fn exit_code(report: &Report) -> u8 {
    match (report.unreadable.is_empty(), report.findings.is_empty()) {
        (false, _) => UNREADABLE,
        (true, false) => REFUSED,
        (true, true) => 0,
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
