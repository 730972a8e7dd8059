//! Builds the programs with cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// What static binaries are built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds all programs of the workspace in the development profile and gives the directory they are in.
pub(crate) fn programs(root: &Path) -> Result<PathBuf, Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--bins"]);
    cargo.args(["-p", "certgen", "-p", "bootstrap", "-p", "guard", "-p", "testkit"]);
    run(cargo.current_dir(root), "cargo build")?;
    Ok(target(root).join("debug"))
}

/// Builds one static binary, in a target directory of its own because its flags are others. Gives its path.
pub(crate) fn static_binary(root: &Path, package: &str, binary: &str, profile: &str) -> Result<PathBuf, Failure> {
    static_binary_with(root, package, binary, profile, &[])
}

/// The same with further arguments for cargo. The next build of the same binary takes its place.
pub(crate) fn static_binary_with(
    root: &Path,
    package: &str,
    binary: &str,
    profile: &str,
    arguments: &[&str],
) -> Result<PathBuf, Failure> {
    let directory = target(root).join("dist");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--profile", profile, "--target", TARGET, "-p", package, "--bin", binary]);
    cargo.args(arguments).arg("--target-dir").arg(&directory).env("RUSTFLAGS", "-C target-feature=+crt-static");
    run(cargo.current_dir(root), "cargo build")?;
    // The profile `dev` is the one whose directory has another name.
    let built = if profile == "dev" { "debug" } else { profile };
    Ok(directory.join(TARGET).join(built).join(binary))
}

/// The workspace's target directory.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

/// Runs a command to its end with our own output.
pub(crate) fn run(command: &mut Command, name: &str) -> Result<(), Failure> {
    let status = command.status().map_err(Failure::io(&format!("run {name}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{name} ended with {status}"))) }
}
