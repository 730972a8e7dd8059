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

/// What is said of a configuration that is allowed stands before the error.
fn without_warnings(output: &Output) -> String {
    let said = stderr(output);
    let lines: Vec<_> = said.lines().skip_while(|line| line.starts_with("warning: ")).collect();
    lines.join("\n")
}

#[track_caller]
fn refused(output: &Output, code: i32, error: &str, hint: &str) {
    let said = without_warnings(output);
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
fn init_writes_what_its_flags_say() {
    let directory = tempfile::tempdir().unwrap();
    let flags =
        ["--nodes", "3", "--line", "24.10", "--set", "backup.mode=stop", "--set", "users=[{ login = \"app\" }]"];
    let output = infra(directory.path(), &[&["init", "--stdout"][..], &flags].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "it was printed only");
    assert!(infra(directory.path(), &[&["init"][..], &flags].concat()).status.success());
    let written = fs::read(directory.path().join("eventstore.toml")).unwrap();
    assert!(written == output.stdout);
    let written = String::from_utf8(written).unwrap();
    for line in ["nodes = 3", "mode = \"stop\"", "[[users]]\nlogin = \"app\"", "port = 2113"] {
        assert!(written.contains(&format!("\n{line}\n")), "{line}");
    }
    let output = infra(directory.path(), &["synth"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn init_tells_every_mistake_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = infra(
        directory.path(),
        &["init", "--nodes", "2", "--set", "cluster.nodes=3", "--set", "server.memroy=1", "--set", "backup"],
    );
    refused(&output, 78, "--set backup: it is not KEY=VALUE", "infra init --stdout");
    for said in [
        "error: --nodes: cluster.nodes: `2` is an even number",
        "error: --set cluster.nodes: `--nodes: cluster.nodes` says it already",
        "error: --set server.memroy: it is not a known key; did you mean `memory`?",
    ] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
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
    refused(
        &infra(directory.path(), &["synth", "--out", "out"]),
        77,
        "not a cloud assembly of infra (it has no manifest.json)",
        "--out",
    );
    assert_eq!(fs::read_dir(directory.path().join("out")).unwrap().count(), 1);

    assert!(infra(directory.path(), &["synth"]).status.success());
    fs::write(directory.path().join("cdk.out/read.1.1.lock"), "").unwrap();
    assert!(infra(directory.path(), &["synth"]).status.success());
    assert!(!directory.path().join("cdk.out/read.1.1.lock").exists());
}

/// A process of its own has hash seeds, a clock and a directory of its own; the bytes are the checked-in ones anyway.
#[test]
fn the_program_writes_the_checked_in_bytes() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/everything");
    let config = golden.join("eventstore.toml");
    let directory = tempfile::tempdir().unwrap();
    for out in ["one", "two"] {
        let output = infra(directory.path(), &["synth", "--config", config.to_str().unwrap(), "--out", out]);
        assert!(output.status.success(), "{}", stderr(&output));
        for entry in fs::read_dir(golden.join("cdk.out")).unwrap() {
            let name = entry.unwrap().file_name();
            let expected = fs::read(golden.join("cdk.out").join(&name)).unwrap();
            assert!(fs::read(directory.path().join(out).join(&name)).unwrap() == expected, "{name:?} differs");
        }
    }
}

#[test]
fn every_flag_has_a_variable_and_gives_way_to_the_flag() {
    let directory = tempfile::tempdir().unwrap();
    let infra = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_infra"))
            .env_clear()
            .envs([("INFRA_CONFIG", "a.toml"), ("INFRA_NAME", "orders"), ("INFRA_OUT", "a.out")])
            .current_dir(directory.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    infra(&["init"]);
    infra(&["synth"]);
    infra(&["synth", "--out", "b.out"]);
    for out in ["a.out", "b.out"] {
        assert!(directory.path().join(out).join("orders-EventStore.template.json").is_file(), "{out}");
    }
    infra(&["init", "--config", "b.toml", "--name", "bills"]);
    assert!(fs::read_to_string(directory.path().join("b.toml")).unwrap().contains("\nname = \"bills\"\n"));
}

/// The last cause is what a person can act on.
#[test]
fn an_error_is_told_with_all_its_causes_on_one_line() {
    let directory = tempfile::tempdir().unwrap();
    assert!(infra(directory.path(), &["init"]).status.success());
    let output = infra(directory.path(), &["synth", "--out", "none/cdk.out"]);
    assert_eq!(output.status.code(), Some(74));
    let said = without_warnings(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: could not write the assembly to `none/cdk.out`: could not create"), "{said}");
    assert!(said.contains("No such file or directory"), "{said}");
}

#[test]
fn compose_prints_the_checked_in_file_and_nothing_else() {
    let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker");
    let directory = tempfile::tempdir().unwrap();
    let config = docker.join("eventstore.toml");
    let output = infra(directory.path(), &["compose", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout == fs::read(docker.join("compose.yaml")).unwrap(), "it differs from the checked-in file");
    fs::write(directory.path().join("eventstore.toml"), "name = \"A\"\n").unwrap();
    let output = infra(directory.path(), &["compose"]);
    refused(&output, 78, "name: `A`", "infra init");
    assert!(output.stdout.is_empty(), "half a file would be taken for a whole one");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_unknown_option_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(infra(directory.path(), &["synth", "--colour"]).status.code(), Some(2));
    assert_eq!(infra(directory.path(), &[]).status.code(), Some(2));
}

#[test]
fn validate_tells_what_two_deployments_both_take() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let shared = "data.file_system = \"fs-01234567\"\ndata.security_group = \"sg-01234567\"\n";
    write("a.toml", &format!("name = \"a\"\n{shared}"));
    write("b.toml", &format!("name = \"b\"\n{shared}"));
    write("c.toml", &format!("name = \"c\"\n{shared}data.root = \"/c\"\n"));
    write("bad.toml", "name = \"A\"");
    write("worse.toml", "name = \"B\"");
    let output = infra(directory.path(), &["validate", "a.toml", "bad.toml", "b.toml", "c.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    let collision = "error: a.toml and b.toml: data.root: on `fs-01234567` both have a node in `/node-1/data`";
    assert!(said.contains(collision), "{said}");
    assert!(said.contains("error: bad.toml: name: `A`"), "{said}");
    assert!(said.contains("infra: b.toml: a valid configuration; 1 collision, 2 warnings\n"), "{said}");
    assert!(said.contains("infra: bad.toml: not a valid configuration; 1 mistake\n"), "{said}");
    let output = infra(directory.path(), &["validate", "a.toml", "b.toml", "c.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).lines().last().unwrap().contains("docs/several-deployments.md"), "{}", stderr(&output));
    let output = infra(directory.path(), &["validate", "a.toml", "c.toml"]);
    assert!(output.status.success() && stderr(&output).contains("2 deployments can stand"), "{}", stderr(&output));
    let output = infra(directory.path(), &["validate", "bad.toml", "a.toml", "worse.toml"]);
    refused(&output, 78, "bad.toml: name: `A`", "infra init");
    assert!(stderr(&output).contains("error: worse.toml: name: `B`"), "{}", stderr(&output));
}

#[test]
fn validate_looks_at_the_usual_file_and_judges_warnings_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    refused(&infra(directory.path(), &["validate"]), 74, "could not read `./eventstore.toml`", "infra init");
    assert!(infra(directory.path(), &["init"]).status.success());
    let output = infra(directory.path(), &["validate"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    let (last, warnings) =
        said.lines().collect::<Vec<_>>().split_last().map(|(last, rest)| (*last, rest.len())).unwrap();
    assert!(warnings > 0 && said.lines().take(warnings).all(|line| line.starts_with("warning: ./eventstore.toml: ")));
    let plural = if warnings == 1 { "" } else { "s" };
    assert_eq!(last, format!("infra: ./eventstore.toml: a valid configuration; {warnings} warning{plural}"));
    let output = infra(directory.path(), &["validate", "--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("hint: warnings are failures, because of --strict\n"), "{}", stderr(&output));
    fs::write(directory.path().join("quiet.toml"), "name = \"a\"\ncluster.nodes = 3\nalarms.enabled = false\n")
        .unwrap();
    assert!(infra(directory.path(), &["validate", "--strict", "quiet.toml"]).status.success());
    let output = Command::new(env!("CARGO_BIN_EXE_infra"))
        .env_clear()
        .envs([("INFRA_CONFIG", "quiet.toml"), ("INFRA_STRICT", "true")])
        .current_dir(directory.path())
        .arg("validate")
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "infra: quiet.toml: a valid configuration\n");
}

#[test]
fn validate_prints_json_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("a.toml", "name = \"a\"\n");
    write("b.toml", "name = \"a\"\ncluster.nodes = 3\nalarms.enabled = false\n");
    write("c.toml", "name = \"c\"\nserver.prot = 1\n");
    let output = infra(directory.path(), &["validate", "--json", "a.toml", "b.toml", "c.toml", "d.toml"]);
    assert_eq!(output.status.code(), Some(74));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |file: usize, kind: &str| {
        let entries = found[file][kind].as_array().unwrap().iter();
        entries.map(|entry| entry["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (keys(0, "mistakes"), keys(0, "warnings")),
        (vec![], vec!["alarms.topic".to_owned(), "backup.enabled".to_owned()])
    );
    assert_eq!((keys(1, "mistakes"), keys(1, "warnings")), (vec!["name".to_owned()], vec![]));
    assert!(found[1]["mistakes"][0]["message"].as_str().unwrap().starts_with("together with a.toml: both are named"));
    assert_eq!(keys(2, "mistakes"), ["server.prot"]);
    assert!(found[3]["mistakes"][0]["message"].as_str().unwrap().starts_with("could not be read: "));
    let files: Vec<_> = found.as_array().unwrap().iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["a.toml", "b.toml", "c.toml", "d.toml"]);
    assert!(!stderr(&output).contains("error: "), "what is said twice is read twice");
}
