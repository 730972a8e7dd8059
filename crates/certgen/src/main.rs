//! Wiring only: command line → plan → certificates on the volume → exit code; or `inspect`, `ca`, `verify`; or a command of
//! es-gencert-cli.

use std::env;
use std::ffi::OsString;
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
    if arguments.get(1).is_some_and(|command| command == "ca") {
        return certgen::ca::run(arguments.into_iter().skip(1), now);
    }
    if arguments.get(1).is_some_and(|command| command == "verify") {
        return verify(arguments, now);
    }
    match gencert::recognise(&arguments, certgen::cli::is_option, certgen::cli::is_configured(env::vars_os())) {
        Invocation::Node(arguments) => {
            let plan = match certgen::cli::parse(arguments) {
                Ok(plan) => plan,
                Err(exit) => return exit,
            };
            match certgen::run(&plan, now) {
                Ok(report) => {
                    for reason in report.reasons() {
                        eprintln!("certgen: due: {reason}");
                    }
                    eprintln!("certgen: {report}");
                    ExitCode::SUCCESS
                }
                Err(errors) => errors.report(),
            }
        }
        Invocation::Replacement(replacement) => replacement.run(now),
    }
}

#[cfg(feature = "verify")]
fn verify(arguments: Vec<OsString>, now: OffsetDateTime) -> ExitCode {
    certgen::verify::run(arguments.into_iter().skip(1), now)
}

#[cfg(not(feature = "verify"))]
fn verify(_: Vec<OsString>, _: OffsetDateTime) -> ExitCode {
    eprintln!("error: this certgen was built without the feature `verify`");
    ExitCode::from(78)
}
