//! The contract suite: asks running servers over plain HTTP and TLS whether they do what the documents say.
//!
//! It asserts the documents and not the stand-in: `observed` is `eventstore-observed.md`, `lines` and `observed-25` are
//! its sequels, `contract` is `eventstore-contract.md`. An assertion that was watched on a real server of the line in
//! question *fails* if it does not hold; one that only the contract makes, or another line, is *refuted*. Both make the
//! program exit with 1.
//!
//! What one process outside the servers cannot do is not here: kill, signals to the server, other files.
//!
//! `checks/` holds the assertions. `keeper.rs` is why it may be pointed at a server that is in use.

mod check;
mod checks;
mod cli;
mod found;
mod keeper;
mod line;
mod report;
mod run;
mod shape;
mod suite;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use cli::{Command, Wrong};

/// Runs the program with its arguments and environment.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: &BTreeMap<String, String>) -> ExitCode {
    match cli::parse(arguments, environment) {
        Ok(Command::List { filter, json }) => run::list_checks(&filter, json),
        Ok(Command::Run(settings)) => run::run(*settings),
        Err(Wrong::Clap(error)) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody is left to tell if this does not work.
            let _ = error.print();
            ExitCode::from(code)
        }
        Err(Wrong::Mistakes(mistakes)) => {
            for mistake in mistakes {
                eprintln!("error: {mistake}");
            }
            ExitCode::from(2)
        }
    }
}
