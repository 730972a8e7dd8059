//! Everything that is longer than a cargo flag: `cargo xtask demo`, `test`, `bench`, `size`, `images`, `dist`, `package`,
//! `manuals` and `contract`.

mod bench;
mod build;
mod demo;
mod deny;
mod dist;
#[cfg(test)]
mod features;
mod images;
mod manuals;
mod packages;
mod provision;
mod sbom;
mod size;
mod test;
mod timeline;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the eventstore-fargate workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the main job end to end with a stand-in for the server and a double of AWS.
    Demo(demo::Options),
    /// Provision what the tests need, then run every check and every test.
    Test(test::Options),
    /// Measure, as ratios within one run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Build the static release binaries and print their sizes, raw and compressed.
    Size,
    /// Pack the static binaries for images, build these if a Docker engine answers, and write what is in them beside.
    Images(images::Options),
    /// Build and pack a release: programs, images, bills of materials, notes and checksums, the same bytes every time.
    ///
    /// The images are archives that need no engine to be made: `docker load --input`, `skopeo copy oci-archive:FILE docker://…`
    /// (with `--preserve-digests` the registry has the digest of IMAGE-DIGESTS) and `crane push FILE …` take them. The same commit
    /// gives the same bytes wherever it lies, given the same compilers and C library: BUILT-WITH names them.
    Dist(dist::Options),
    /// Pack what is published and build it from what was packed, as a registry would get it; nothing is published.
    Package,
    /// Write manuals and shell completions of certgen, bootstrap and infra.
    Manuals(manuals::Options),
    /// Build the contract suite as one static binary, to be run against real servers on another machine.
    Contract,
}

fn main() -> ExitCode {
    let root = workspace();
    let done = match Cli::parse().task {
        Task::Demo(options) => demo::run(&root, &options),
        Task::Test(options) => test::run(&root, &options),
        Task::Bench(bench) => bench::run(&root, &bench),
        Task::Size => size::run(&root),
        Task::Images(options) => images::run(&root, &options),
        Task::Dist(options) => dist::run(&root, &options),
        Task::Package => packages::verify(&root),
        Task::Manuals(options) => manuals::run(&root, &options),
        Task::Contract => contract(&root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn contract(root: &Path) -> Result<(), Failure> {
    let path = build::static_binary(root, "testkit", "contract", "release")?;
    eprintln!("{}\nsee `{} --help`", path.display(), path.display());
    Ok(())
}

/// The directory of the workspace: the parent of this crate's, which cargo names to what it runs.
fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// The version of everything that is published.
fn workspace_version(root: &Path) -> Result<String, Failure> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).map_err(Failure::io("read Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse().map_err(|error| Failure::new(format!("Cargo.toml: {error}")))?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    version.map(str::to_owned).ok_or_else(|| Failure::new("Cargo.toml has no version"))
}

/// Why a task failed.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    fn io(action: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(format!("could not {action}: {error}"))
    }
}

/// Rows of equal column widths, the first column left, the others right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<width$}", width = widths[column]),
            _ => format!("{cell:>width$}", width = widths[column]),
        });
        let line: Vec<_> = cells.collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}", line.join("  "));
    }
    text
}
