//! Parent of an EventStoreDB process: one writer per data directory, restarts in place.
//!
//! `guard run -- PROGRAM ARGS…` takes an exclusive lock on the data directory, waiting for it without a deadline, then runs the
//! server as its child: it forwards signals, reaps, and starts a server again that ended itself with code 0. It writes a heartbeat
//! through the lock; when that fails, it kills the server before another guard may start one. Time-outs are measured with a clock that
//! only runs forward; dates are for people. Two servers on one directory both become leader, both accept writes, and the database
//! never opens again (seen on 24.10.4); ECS overlaps tasks.
//!
//! | module | rule |
//! |---|---|
//! | `lock`, `heartbeat`, `record` | the lock file is the same file as long as the lock is held, and its holder shows that it runs |
//! | `takeover`, `fence` | after a holder that did not sign off, nothing that its server writes late reaches the next server |
//! | `version` | no server opens data of a version that it is not declared to follow |
//! | `restore` | a restored directory is truncated once |
//! | `run`, `child`, `signals`, `restarts` | the parent of the server |
//! | `status` | the state for bootstrap, health checks and people |
//!
//! The AWS credentials of the task are removed from the server's environment. That is hardening, not a wall: the server can still reach
//! the endpoint that provides them.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | the server ended with 0 after a signal, or a signal came while guard waited |
//! | 1 | `healthcheck`: not healthy |
//! | 2 | the command line or a `GUARD_*` variable is wrong |
//! | 74 | the data directory cannot be locked, fenced or prepared, or the lock was lost and the server killed; `install` could not write |
//! | 75 | the server ended itself with 0 more than 5 times in 10 minutes |
//! | 76 | the data was opened by a server version that this one is not declared to follow; it is unchanged |
//! | 126, 127 | the server's program cannot be executed, does not exist |
//! | 128+n | the server was ended by signal n |
//! | other | the server's own code |

/// Prints one line with one write: the server writes to the same stream.
macro_rules! log {
    ($($format:tt)*) => {{
        let line = format!($($format)*) + "\n";
        // There is no other place to report that this cannot be printed.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}
pub(crate) use log;

mod child;
mod cli;
mod environment;
mod failure;
mod fence;
mod files;
mod heartbeat;
mod identity;
mod install;
mod lock;
mod record;
mod restarts;
mod restore;
mod run;
mod signals;
mod status;
mod takeover;
mod utc;
mod version;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(cli::Command::Run(settings)) => {
            hide_environment();
            run::run(&settings)
        }
        Ok(cli::Command::Exec(settings, program)) => {
            hide_environment();
            run::exec(&settings, &program)
        }
        Ok(cli::Command::Healthcheck { status_file }) => match status::check_health(&status_file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                log!("error: {why}");
                ExitCode::FAILURE
            }
        },
        Ok(cli::Command::Pause) => run::pause(),
        Ok(cli::Command::Install { file }) => match install::install(&file) {
            Ok(()) => {
                log!("guard: installed as {}", file.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                log!("error: could not install guard as `{}`: {error}", file.display());
                ExitCode::from(74)
            }
        },
        Ok(cli::Command::Become { parent, program }) => child::execute(parent, &program),
        Ok(cli::Command::Print(text)) => {
            eprint!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// What is withheld from the server is in guard's own environment, which the server's user could read. The server itself stays readable:
/// a program that is executed begins with the default.
fn hide_environment() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        log!("guard: the server may read what is withheld from it: {error}");
    }
}
