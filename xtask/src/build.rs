//! Builds the programs with cargo.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// What static binaries are built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds all programs of the workspace in the development profile and gives the directory they are in.
pub(crate) fn programs(root: &Path) -> Result<PathBuf, Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--bins"]);
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
    let mut cargo = static_build(root, profile)?;
    cargo.args(["-p", package, "--bin", binary]).args(arguments);
    run(&mut cargo, "cargo build")?;
    Ok(static_directory(root, profile).join(binary))
}

/// Builds all programs by one call in the development profile, so that they share what they depend on, and always the same
/// packages, whose features another choice would change. A release builds one by one: each with the features that it needs itself.
pub(crate) fn static_programs(root: &Path) -> Result<PathBuf, Failure> {
    let mut cargo = static_build(root, "dev")?;
    cargo.args([
        "--bins",
        "-p",
        "certgen",
        "-p",
        "guard",
        "-p",
        "bootstrap",
        "-p",
        "infra",
        "-p",
        "testkit",
        "-p",
        "consumer",
    ]);
    run(&mut cargo, "cargo build")?;
    Ok(static_directory(root, "dev"))
}

/// Where static binaries of a profile are.
pub(crate) fn static_directory(root: &Path, profile: &str) -> PathBuf {
    // The profile `dev` is the one whose directory has another name.
    let built = if profile == "dev" { "debug" } else { profile };
    target(root).join("dist").join(TARGET).join(built)
}

fn static_build(root: &Path, profile: &str) -> Result<Command, Failure> {
    let places = Places::here(root)?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--profile", profile, "--target", TARGET]);
    cargo.arg("--target-dir").arg(target(root).join("dist")).current_dir(root);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", places.rust_flags());
    cargo.env("AWS_LC_SYS_CFLAGS", places.c_flags(&c_flags(root)?));
    Ok(cargo)
}

/// That nothing in these binaries tells where they were built.
///
/// # Errors
///
/// The place, and which of them name it.
pub(crate) fn refuse_paths_of_this_machine(root: &Path, binaries: &[PathBuf]) -> Result<(), Failure> {
    for (place, _) in Places::here(root)?.0 {
        // `/src` and `/usr` are in paths of others too.
        if place.components().count() < 3 {
            continue;
        }
        let mut grep = Command::new("grep");
        grep.args(["--files-with-matches", "--extended-regexp", "--text", "-e"]);
        grep.arg(beginning_with(&place.to_string_lossy())).arg("--").args(binaries);
        let found = grep.env("LC_ALL", "C").output().map_err(Failure::io("run grep"))?;
        match found.status.code() {
            Some(1) => {}
            Some(0) => {
                let files = String::from_utf8_lossy(&found.stdout).trim_end().replace('\n', ", ");
                return Err(Failure::new(format!("{} is written in {files}", place.display())));
            }
            _ => return Err(Failure::new(format!("grep: {}", String::from_utf8_lossy(&found.stderr).trim_end()))),
        }
    }
    Ok(())
}

/// An extended regular expression for paths below `place`, and not for those in which it stands further on.
fn beginning_with(place: &str) -> String {
    let literal: String = place
        .chars()
        .flat_map(|letter| {
            (!letter.is_ascii_alphanumeric() && letter.is_ascii()).then_some('\\').into_iter().chain([letter])
        })
        .collect();
    format!("(^|[^A-Za-z0-9_./-]){literal}/")
}

/// What C code is compiled with everywhere.
fn c_flags(root: &Path) -> Result<String, Failure> {
    let config = fs::read_to_string(root.join(".cargo/config.toml")).map_err(Failure::io("read .cargo/config.toml"))?;
    let config: toml::Table = config.parse().map_err(|error| Failure::new(format!(".cargo/config.toml: {error}")))?;
    let flags = config.get("env").and_then(|env| env.get("AWS_LC_SYS_CFLAGS")).and_then(toml::Value::as_str);
    flags.map(str::to_owned).ok_or_else(|| Failure::new(".cargo/config.toml does not set AWS_LC_SYS_CFLAGS"))
}

/// Directories of this machine that compilers would write into binaries, and what they write instead: the same sources give
/// the same bytes wherever they lie.
struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    fn here(root: &Path) -> Result<Self, Failure> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let home = home.ok_or_else(|| Failure::new("neither CARGO_HOME nor HOME is set"))?;
        let rustc = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root).output();
        let sysroot = rustc.map_err(Failure::io("run rustc"))?.stdout;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
        let mut places = vec![
            (root.to_owned(), "/eventstore-fargate"),
            (target(root), "/eventstore-fargate/target"),
            (home, "/cargo"),
            (sysroot, "/rust"),
        ];
        // Of several that fit compilers take the last: the one that says most.
        places.sort_by_key(|(path, _)| path.components().count());
        Ok(Self(places))
    }

    /// As `CARGO_ENCODED_RUSTFLAGS` has them.
    fn rust_flags(&self) -> OsString {
        let mut flags = OsString::from("-Ctarget-feature=+crt-static");
        for (from, to) in &self.0 {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        }
        flags
    }

    /// aws-lc-sys maps what it knows of itself.
    fn c_flags(&self, before: &str) -> OsString {
        let mut flags = OsString::from(before);
        for (from, to) in &self.0 {
            flags.push(" -ffile-prefix-map=");
            flags.push(from);
            flags.push(format!("={to}"));
        }
        flags
    }
}

/// All files in a directory and those below it.
pub(crate) fn files_below(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let failed = || format!("read {}", directory.display());
    for entry in fs::read_dir(directory).map_err(Failure::io(&failed()))? {
        let path = entry.map_err(Failure::io(&failed()))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_what_to_write_for_each_place() {
        let places = Places(vec![("/home/a/src".into(), "/eventstore-fargate"), ("/home/a/.cargo".into(), "/cargo")]);
        assert_eq!(
            places.rust_flags(),
            "-Ctarget-feature=+crt-static\x1f--remap-path-prefix=/home/a/src=/eventstore-fargate\x1f\
             --remap-path-prefix=/home/a/.cargo=/cargo"
        );
        assert_eq!(
            places.c_flags("-O2"),
            "-O2 -ffile-prefix-map=/home/a/src=/eventstore-fargate -ffile-prefix-map=/home/a/.cargo=/cargo"
        );
        let here = Places::here(&crate::workspace()).map(|places| places.0).unwrap_or_default();
        let of = |name| here.iter().position(|(_, to)| *to == name);
        assert!(of("/eventstore-fargate") < of("/eventstore-fargate/target"), "{here:?}");
        assert!(of("/cargo").is_some() && of("/rust").is_some(), "{here:?}");
    }

    #[test]
    fn a_place_is_found_where_a_path_begins() {
        let directory = tempfile::tempdir().unwrap();
        for (text, is_found) in [
            ("\0/work/main/crates/x.rs\0", true),
            ("at /work/main/x", true),
            ("/worker/main/x", false),
            ("/cargo/work/main/x", false),
            ("/work/mainly/x", false),
        ] {
            let file = directory.path().join("binary");
            fs::write(&file, text).unwrap();
            let mut grep = Command::new("grep");
            grep.args(["--quiet", "--extended-regexp", "--text", "-e", &beginning_with("/work/main")]).arg(&file);
            assert_eq!(grep.status().unwrap().success(), is_found, "{text}");
        }
    }
}
