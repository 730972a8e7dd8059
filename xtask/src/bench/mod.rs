//! `cargo xtask bench`: figures as ratios within one run, because machines differ and are noisy. It measures and never
//! fails on a figure.

mod bootstrap;
mod certgen;
mod infra;
mod mean;
mod process;

use std::path::Path;

use clap::Subcommand;

use crate::Failure;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Keys and certificates beside `openssl genrsa 2048`.
    Certgen(certgen::Options),
    /// From a ready server to a secured and registered node, beside a straightforward script; `--faults` breaks both.
    Bootstrap(bootstrap::Options),
    /// Synthesis beside an equivalent app of the AWS CDK.
    Infra(infra::Options),
    /// Run one program, and print what it cost.
    #[command(hide = true)]
    Process(process::Options),
}

/// Measures.
pub(crate) fn run(root: &Path, bench: &Bench) -> Result<(), Failure> {
    match bench {
        Bench::Certgen(options) => certgen::run(root, options),
        Bench::Bootstrap(options) => bootstrap::run(root, options),
        Bench::Infra(options) => infra::run(root, options),
        Bench::Process(options) => process::run(options),
    }
}
