//! Wiring only: command line → plan → certificates on the volume → exit code.

use std::env;
use std::process::ExitCode;

use time::OffsetDateTime;

fn main() -> ExitCode {
    let plan = match certgen::cli::parse(env::args_os()) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    match certgen::run(&plan, OffsetDateTime::now_utc()) {
        Ok(report) => {
            eprintln!("certgen: {report}");
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}
