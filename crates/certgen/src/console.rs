//! How the commands talk to whoever started them.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

/// Reads a command line, the program's name first.
///
/// # Errors
///
/// The exit code of a program that has already said everything: 0 after `--help` and `--version`, 2 after a mistake.
pub(crate) fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, ExitCode> {
    C::try_parse_from(arguments).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        // There is nobody left to tell if this cannot be printed.
        let _ = error.print();
        ExitCode::from(code)
    })
}

/// Prints a report on stdout. A closed or full stdout is not what was asked about.
pub(crate) fn print(report: &(impl Display + Serialize), as_json: bool) {
    let mut stdout = io::stdout().lock();
    let _ = if as_json {
        serde_json::to_writer_pretty(&mut stdout, report).map_err(io::Error::from).and_then(|()| writeln!(stdout))
    } else {
        write!(stdout, "{report}")
    };
}
