//! Wiring only.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    infra::cli::run(env::args_os())
}
