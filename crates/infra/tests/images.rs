//! Images that whoever deploys builds: in a checkout, from a directory that the configuration names.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use infra::{Assembly, AssemblyError, BuildContext};
use serde_json::{Value, json};

use support::{container, golden, is_update, text_of};

fn assembly() -> Assembly {
    let context = BuildContext::read(&golden("build/docker")).unwrap();
    Assembly::with_context(&support::deployment(&text_of("build")), context).unwrap()
}

fn file(assembly: &Assembly, name: &str) -> Value {
    let (_, text) = assembly.files().find(|(file, _)| *file == name).unwrap();
    serde_json::from_str(text).unwrap()
}

/// Every file below a directory, with whether it may be executed.
fn tree(directory: &Path) -> BTreeMap<String, (bool, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = tree(&entry.path()).into_iter();
            found.extend(below.map(|(inner, file)| (format!("{name}/{inner}"), file)));
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            found.insert(name, (executable, fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[test]
fn the_context_is_in_the_checked_in_assembly() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("cdk.out");
    assembly().write(&out).unwrap();
    let golden = golden("build/cdk.out");
    if is_update() {
        assembly().write(&golden).unwrap();
    }
    assert!(tree(&out) == tree(&golden), "UPDATE_GOLDEN=1 rewrites it");
    let copied = tree(&out).into_iter().filter_map(|(name, file)| {
        let (asset, inner) = name.split_once('/')?;
        asset.starts_with("asset.").then(|| (inner.to_owned(), file))
    });
    assert!(copied.collect::<BTreeMap<_, _>>() == tree(&support::golden("build/docker")));
}

/// Nothing that is not listed is built, and nothing is built that no task runs.
#[test]
fn what_is_built_is_what_the_tasks_run() {
    let assembly = assembly();
    let assets = file(&assembly, "orders-EventStore.assets.json");
    let images = assets["dockerImages"].as_object().unwrap();
    assert_eq!(images.len(), 2);
    let template = file(&assembly, "orders-EventStore.template.json");
    for program in ["certgen", "bootstrap"] {
        let (tag, image) = images.iter().find(|(_, image)| image["displayName"] == program).unwrap();
        assert_eq!(image["source"]["dockerFile"], format!("{program}.Dockerfile"));
        assert_eq!(image["source"]["platform"], "linux/amd64");
        let destination = &image["destinations"]["current"];
        let repository = "cdk-platform1-container-assets-${AWS::AccountId}-${AWS::Region}";
        assert_eq!((&destination["repositoryName"], &destination["imageTag"]), (&json!(repository), &json!(tag)));
        let registry = "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}";
        let run = json!({"Fn::Sub": format!("{registry}/{repository}:{tag}")});
        assert_eq!(container(&template, program)["Image"], run, "{program}");
    }
    let role = template["Resources"]["Node1ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"].to_string();
    assert!(role.contains("repository/cdk-platform1-container-assets-"), "ECS may pull them: {role}");
}

/// Without the dependency `cdk deploy` succeeds, and builds nothing.
#[test]
fn the_stack_depends_on_its_images() {
    let manifest = file(&assembly(), "manifest.json");
    let stack = &manifest["artifacts"]["orders-EventStore"];
    assert_eq!(stack["dependencies"], json!(["orders-StatefulResources", "orders-EventStore.assets"]));
    let assets = &manifest["artifacts"]["orders-EventStore.assets"];
    assert_eq!(assets["type"], "cdk:asset-manifest");
    assert_eq!(assets["properties"]["file"], "orders-EventStore.assets.json");
    assert_eq!(assets["properties"]["bootstrapStackVersionSsmParameter"], "/cdk-bootstrap/platform1/version");
}

#[test]
fn without_a_context_there_is_no_assembly() {
    let error = Assembly::new(&support::deployment(&text_of("build"))).unwrap_err();
    assert!(matches!(error, AssemblyError::NoContext(_)), "{error}");
}

fn infra(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().current_dir(directory).args(arguments).output().unwrap()
}

/// The directory is seen from the configuration, not from where the program runs.
#[test]
fn the_program_writes_the_checked_in_assembly_from_anywhere() {
    let config = golden("build/eventstore.toml");
    for _ in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        for _again in 0..2 {
            let output = infra(directory.path(), &["synth", "--config", config.to_str().unwrap()]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(tree(&directory.path().join("cdk.out")) == tree(&golden("build/cdk.out")));
        }
    }
}

#[test]
fn a_directory_that_is_missing_or_incomplete_is_a_mistake_in_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("eventstore.toml"), "name = \"es\"\n[images]\nbuild = \"docker\"\n").unwrap();
    let refused = |says: &[&str]| {
        let output = infra(directory.path(), &["synth"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for what in says {
            assert!(said.contains(what) && said.contains("images.build: "), "{what}: {said}");
        }
        assert!(!directory.path().join("cdk.out").exists());
    };
    refused(&["could not read `./docker`: No such file"]);
    fs::create_dir(directory.path().join("docker")).unwrap();
    refused(&["`./docker/certgen.Dockerfile` is missing", "`./docker/bootstrap.Dockerfile` is missing"]);
    let text = "name = \"es\"\n[images]\nbuild = \".\"\n";
    fs::write(directory.path().join("eventstore.toml"), text).unwrap();
    refused(&["`.` holds the assembly"]);
}

/// What somebody put into the context would be gone without a word.
#[test]
fn a_context_that_somebody_changed_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("cdk.out");
    assembly().write(&out).unwrap();
    assembly().write(&out).unwrap();
    let asset = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    fs::write(asset.join("notes.txt"), "mine").unwrap();
    let error = assembly().write(&out).unwrap_err();
    assert!(matches!(error, AssemblyError::Foreign { .. }), "{error}");
    assert!(asset.join("notes.txt").is_file());
}
