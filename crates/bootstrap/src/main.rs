//! Wiring only: command line → settings → the sidecar's life → exit code.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::SystemTime;

use bootstrap::cli::Command;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    // Passwords pass through this process: no other process of its user may look into it, and no core is written.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("error: could not make the process unreadable to others: {error}");
        return ExitCode::from(70);
    }
    match bootstrap::cli::parse(env::args_os()) {
        Err(exit) => exit,
        Ok(Command::Healthcheck(file)) => match bootstrap::check_health(&file, SystemTime::now()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Status(settings)) => {
            let (text, is_in_order) = runtime().block_on(bootstrap::status(&settings));
            print(&text);
            if is_in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Command::Run(settings)) => run(bootstrap::run(*settings)),
        Ok(Command::Rotate(users)) => run(bootstrap::rotate(&users)),
    }
}

/// Ends when `work` has, whatever its threads still wait for: a name that nobody resolves, for example.
fn run(work: impl Future<Output = Result<(), bootstrap::Error>>) -> ExitCode {
    log_to_stderr();
    bootstrap::hide_panic_payloads();
    let runtime = runtime();
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => tell(&failure),
        Err(_) => ExitCode::from(70),
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a process that has just started can have a runtime")
}

#[expect(clippy::print_stdout, reason = "the status is this program's data")]
fn print(text: &str) {
    print!("{text}");
}

fn tell(failure: &bootstrap::Error) -> ExitCode {
    eprintln!("error: {}", failure.one_line());
    if let Some(hint) = failure.hint() {
        eprintln!("hint: {hint}");
    }
    failure.exit_code()
}

/// Only our own events: what libraries log may hold requests.
fn log_to_stderr() {
    let ours = Targets::new().with_target("bootstrap", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(ours)).init();
}
