//! Parent of an EventStoreDB process: one writer per data directory, restarts in place.
//!
//! `guard run -- PROGRAM ARGS…` takes an exclusive lock on the data directory, waiting for it as long as it takes, then
//! runs the server as its child: forwards signals, reaps, and starts a server again that ended itself with code 0. It
//! writes a heartbeat through the lock; when that fails, it kills the server before anybody else may start one. Whether time
//! is up is measured with a clock that only runs forward; the date is for people.
//! Two servers on one directory both become leader, both accept writes, and the database never opens again (observed
//! §6); ECS overlaps tasks.
//!
//! With `--restored` the directory is one that a backup was restored to: before the server starts, and once for each recovery
//! point, `truncate.chk` becomes a copy of `chaser.chk`. `.guard.restored` in the directory remembers for which it was done.
//!
//! The AWS credentials of the task are taken out of the server's environment. That is hardening, not a wall: the server
//! can still reach the endpoint that gives them out.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | the server ended with 0 after a signal, or a signal came while guard waited for the lock |
//! | 2 | the command line or a `GUARD_*` variable is wrong |
//! | 74 | the data directory cannot be locked, or the lock cannot be kept: the server was killed; a restored directory cannot be prepared; `install` could not write |
//! | 75 | the server ended itself with 0 more than 5 times in 10 minutes |
//! | 126, 127 | the server's program cannot be executed, does not exist |
//! | 128+n | the server died of signal n |
//! | other | the server's own code |

/// Prints one line with one write: the server writes to the same stream.
macro_rules! say {
    ($($format:tt)*) => {{
        let line = format!($($format)*) + "\n";
        // There is nobody left to tell if this cannot be printed.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}
pub(crate) use say;

mod child;
mod cli;
mod environment;
mod identity;
mod install;
mod lock;
mod record;
mod restarts;
mod restore;
mod run;
mod signals;
mod status;
mod utc;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(cli::Command::Run(settings)) => {
            // What is withheld from the server stands in guard's own environment, which the server's user could read. The
            // server itself is as readable as ever: what it executes begins anew.
            if let Err(error) = nix::sys::prctl::set_dumpable(false) {
                say!("guard: the server may read what is withheld from it: {error}");
            }
            run::run(&settings)
        }
        Ok(cli::Command::Pause) => run::pause(),
        Ok(cli::Command::Install { file }) => match install::install(&file) {
            Ok(()) => {
                say!("guard: installed as {}", file.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                say!("error: could not install guard as `{}`: {error}", file.display());
                ExitCode::from(74)
            }
        },
        Ok(cli::Command::Exec { parent, program }) => child::execute(parent, &program),
        Ok(cli::Command::Print(text)) => {
            eprint!("{text}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            say!("error: {mistake}");
            ExitCode::from(2)
        }
    }
}
