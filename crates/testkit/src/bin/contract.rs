//! The contract suite as a program.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A variable that is not text is none of ours.
    let environment = env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    testkit::contract::main(env::args_os(), &environment.collect())
}
