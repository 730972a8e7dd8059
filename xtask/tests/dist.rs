//! A release, packed of programs that are there already.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::programs::Programs;
use testkit::tool;

fn dist(programs: &Path, out: &Path, more: &[&str]) -> Output {
    let mut dist = Command::new(env!("CARGO_BIN_EXE_xtask"));
    dist.args(["dist", "--allow-dirty", "--allow-unreleased", "--programs"]).arg(programs).arg("--out").arg(out);
    dist.args(more).output().unwrap()
}

fn released(programs: &Path, out: &Path, more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let output = dist(programs, out, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = fs::read_dir(out).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

/// A directory with four programs, each of these bytes and its name.
fn programs(directory: &Path, bytes: &[u8]) -> PathBuf {
    let programs = directory.join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["certgen", "guard", "bootstrap", "infra"] {
        fs::write(programs.join(name), bytes).unwrap();
    }
    programs
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let programs = programs(place.path(), b"#!/bin/true\n");
    let (one, other) = (place.path().join("one"), place.path().join("two/deeper"));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    let first = released(&programs, &one, &[]);
    // In the place of an older release, too.
    fs::create_dir(&other).unwrap();
    fs::write(other.join("SHA256SUMS"), "").unwrap();
    fs::write(other.join("old"), "").unwrap();
    let second = released(&programs, &other, &[]);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        assert!(second[name] == *bytes, "{name} differs");
    }
    let checked =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&one).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(String::from_utf8_lossy(&first["SHA256SUMS"]).lines().count(), first.len() - 1);
    let version = infra::VERSION;
    let archive = one.join(format!("eventstore-fargate-{version}-x86_64-linux.tar.gz"));
    let listed = Command::new("tar").arg("--list").arg("--file").arg(archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for part in [
        "bin/certgen",
        "bin/guard",
        "bin/bootstrap",
        "bin/infra",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "THIRD-PARTY-LICENCES",
        "docs/TROUBLESHOOTING.md",
        "man/man1/certgen-ca-rotate.1",
        "completions/bash/infra",
    ] {
        let path = format!("eventstore-fargate-{version}-x86_64-linux/{part}");
        assert!(listed.lines().any(|line| line == path), "no {path} in {listed}");
    }
}

#[test]
fn nothing_but_a_release_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let programs = programs(place.path(), b"");
    let output = dist(&programs, &programs, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("holds something else than a release"));
    assert!(programs.join("certgen").exists());
}

#[test]
fn an_engine_loads_and_runs_the_image() {
    if !tool::find_engine("an_engine_loads_and_runs_the_image") {
        return;
    }
    // Static, and built with the images for tests.
    let target = Programs::beside_this_test().certgen().parent().and_then(Path::parent).unwrap().to_owned();
    let guard = fs::read(target.join("dist/x86_64-unknown-linux-gnu/debug/guard")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (programs, out) = (programs(place.path(), &guard), place.path().join("out"));
    // A name of its own: other tests run the images that are called as a release is.
    let registry = format!("dist-test-{}", std::process::id());
    let files = released(&programs, &out, &["--registry", &registry]);
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).current_dir(&out).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let archive = files.keys().find(|name| name.contains("certgen") && name.ends_with(".image.tar")).unwrap();
    let image = format!("{registry}/certgen:{}", infra::VERSION);
    assert!(docker(&["load", "--input", archive]).contains(&image));
    let said = docker(&["run", "--rm", "--network", "none", "--read-only", &image, "--version"]);
    let settings = docker(&["image", "inspect", "--format", "{{json .Config}}", &image]);
    docker(&["image", "rm", &image]);
    assert_eq!(said.trim(), format!("guard {}", infra::VERSION));
    for part in [
        "\"User\":\"1000:1000\"",
        "\"Entrypoint\":[\"/certgen\"]",
        "\"/ca-state\":{}",
        "org.opencontainers.image.title",
    ] {
        assert!(settings.contains(part), "no {part} in {settings}");
    }
}
