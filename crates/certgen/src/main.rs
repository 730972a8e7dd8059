//! Wiring only: command line → plan → certificates on the volume → exit code; or `inspect`; or a command of
//! es-gencert-cli.

use std::env;
use std::process::ExitCode;

use certgen::gencert::{self, Invocation};
use time::OffsetDateTime;

fn main() -> ExitCode {
    // Keys pass through this process: no other process of its user may look into it, and no core is written.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("error: could not make the process unreadable to others: {error}");
        return ExitCode::from(70);
    }
    let arguments: Vec<_> = env::args_os().collect();
    let now = OffsetDateTime::now_utc();
    if arguments.get(1).is_some_and(|command| command == "inspect") {
        return certgen::inspect::run(arguments.into_iter().skip(1), now);
    }
    match gencert::recognise(&arguments, certgen::cli::is_option, certgen::cli::is_configured(env::vars_os())) {
        Invocation::Node(arguments) => {
            let plan = match certgen::cli::parse(arguments) {
                Ok(plan) => plan,
                Err(exit) => return exit,
            };
            match certgen::run(&plan, now) {
                Ok(report) => {
                    eprintln!("certgen: {report}");
                    ExitCode::SUCCESS
                }
                Err(error) => error.report(),
            }
        }
        Invocation::Replacement(replacement) => replacement.run(now),
    }
}
