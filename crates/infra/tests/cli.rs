//! The program as its users meet it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn infra(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().current_dir(directory).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, error: &str, hint: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: ") && said.contains(error), "{said}");
    assert!(said.lines().last().unwrap().starts_with("hint: ") && said.contains(hint), "{said}");
}

#[test]
fn from_nothing_to_an_assembly_in_two_commands() {
    let directory = tempfile::tempdir().unwrap();
    let output = infra(directory.path(), &["init", "--name", "orders"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = infra(directory.path(), &["synth"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("orders-StatefulResources"), "{}", stderr(&output));
    let mut files: Vec<_> = fs::read_dir(directory.path().join("cdk.out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["manifest.json", "orders-EventStore.template.json", "orders-StatefulResources.template.json"]);
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "nothing but the configuration and the assembly is left behind");
}

#[test]
fn init_does_not_overwrite_and_refuses_a_bad_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("eventstore.toml"), "mine").unwrap();
    refused(&infra(directory.path(), &["init"]), 77, "`./eventstore.toml` exists", "--config");
    assert_eq!(fs::read_to_string(directory.path().join("eventstore.toml")).unwrap(), "mine");
    refused(&infra(directory.path(), &["init", "--config", "new.toml", "--name", "A b"]), 78, "name: `A b`", "");
    assert!(!directory.path().join("new.toml").exists());
}

#[test]
fn a_missing_configuration_names_the_command_that_writes_one() {
    let directory = tempfile::tempdir().unwrap();
    refused(&infra(directory.path(), &["synth"]), 74, "could not read `./eventstore.toml`", "infra init");
    assert!(!directory.path().join("cdk.out").exists());
}

#[test]
fn every_mistake_is_an_error_of_its_own_and_the_old_assembly_stays() {
    let directory = tempfile::tempdir().unwrap();
    assert!(infra(directory.path(), &["init"]).status.success());
    assert!(infra(directory.path(), &["synth"]).status.success());
    let manifest = directory.path().join("cdk.out/manifest.json");
    let before = fs::read(&manifest).unwrap();
    fs::write(directory.path().join("eventstore.toml"), "name = \"A\"\n[server]\nport = 1\nlin = \"24.10\"\n").unwrap();
    let output = infra(directory.path(), &["synth"]);
    refused(&output, 78, "eventstore.toml: server.port: `1`", "infra init");
    assert_eq!(stderr(&output).matches("error: ").count(), 3, "{}", stderr(&output));
    assert_eq!(fs::read(&manifest).unwrap(), before);
}

#[test]
fn a_foreign_directory_is_left_alone_and_an_own_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    assert!(infra(directory.path(), &["init"]).status.success());
    fs::create_dir(directory.path().join("out")).unwrap();
    fs::write(directory.path().join("out/thesis.txt"), "mine").unwrap();
    refused(&infra(directory.path(), &["synth", "--out", "out"]), 77, "not a cloud assembly", "--out");
    assert_eq!(fs::read_dir(directory.path().join("out")).unwrap().count(), 1);

    assert!(infra(directory.path(), &["synth"]).status.success());
    fs::write(directory.path().join("cdk.out/read.1.1.lock"), "").unwrap();
    assert!(infra(directory.path(), &["synth"]).status.success());
    assert!(!directory.path().join("cdk.out/read.1.1.lock").exists());
}

#[test]
fn an_unknown_option_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(infra(directory.path(), &["synth", "--colour"]).status.code(), Some(2));
    assert_eq!(infra(directory.path(), &[]).status.code(), Some(2));
}
