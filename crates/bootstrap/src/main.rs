//! Wiring only: command line → settings → the sidecar's life → exit code.

use std::env;
use std::process::ExitCode;
use std::time::SystemTime;

use bootstrap::cli::Command;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    match bootstrap::cli::parse(env::args_os()) {
        Err(exit) => exit,
        Ok(Command::Healthcheck(file)) => match bootstrap::check_health(&file, SystemTime::now()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Run(settings)) => {
            log_to_stderr();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a process that has just started can have a runtime");
            match runtime.block_on(bootstrap::run(*settings)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    eprintln!("error: {}", failure.one_line());
                    if let Some(hint) = failure.hint() {
                        eprintln!("hint: {hint}");
                    }
                    failure.exit_code()
                }
            }
        }
    }
}

/// Only our own events: what libraries log may hold requests.
fn log_to_stderr() {
    let ours = Targets::new().with_target("bootstrap", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(ours)).init();
}
