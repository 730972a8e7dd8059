//! Wiring only: command line → plan → certificates on the volume → exit code; or `inspect`, `ca`; or a command of
//! es-gencert-cli.

use std::env;
use std::process::ExitCode;

use certgen::gencert::{self, Invocation};
use time::OffsetDateTime;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    let now = OffsetDateTime::now_utc();
    if arguments.get(1).is_some_and(|command| command == "inspect") {
        return certgen::inspect::run(arguments.into_iter().skip(1), now);
    }
    if arguments.get(1).is_some_and(|command| command == "ca") {
        return certgen::ca::run(arguments.into_iter().skip(1), now);
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
