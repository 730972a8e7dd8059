//! What the CDK command line takes without a word and does wrong (cloud-assembly §1 to §4): the emitted assemblies keep
//! every rule, and every rule is shown an assembly that breaks it. Last the command line itself.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use infra::{Assembly, BuildContext};
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::directory::{Directory, broken, here, text};
use support::{SCENARIOS, golden, text_of};

fn built() -> Assembly {
    let context = BuildContext::read(&golden("build/docker")).unwrap();
    Assembly::with_context(&support::deployment(&text_of("build")), context).unwrap()
}

#[test]
fn the_emitted_assemblies_keep_every_rule() {
    for scenario in SCENARIOS {
        assert_eq!(broken(&Directory::of(&support::assembly(&text_of(scenario)))), BTreeSet::new(), "{scenario}");
    }
    assert_eq!(broken(&Directory::of(&built())), BTreeSet::new());
}

#[test]
fn every_rule_is_seen_to_be_broken() {
    let whole = Directory::of(&built());
    let stack = "/artifacts/orders-EventStore";
    let assets = "orders-EventStore.assets.json";
    let image = whole.files[assets]["dockerImages"].as_object().unwrap().keys().next().unwrap();
    let in_image = |key: &str| format!("/dockerImages/{image}/{key}");
    let manifest = "manifest.json";
    let template = "orders-EventStore.template.json";
    for (file, path, value, rule) in [
        (manifest, "/version".to_owned(), json!("37.0.0"), "a version that old command lines read"),
        (manifest, "/version".to_owned(), json!("36"), "a version that old command lines read"),
        (assets, "/version".to_owned(), Value::Null, "a version that old command lines read"),
        (manifest, "/artifacts".to_owned(), json!({}), "there are stacks"),
        (manifest, format!("{stack}/type"), json!("cdk:tree"), "only artifacts of a type that old command lines know"),
        (manifest, format!("{stack}/dependencies"), json!(["none"]), "depends on what is there"),
        (
            manifest,
            "/artifacts/orders-StatefulResources/dependencies".to_owned(),
            json!(["orders-EventStore"]),
            "stands behind what it depends on",
        ),
        (manifest, format!("{stack}/environment"), json!("aws://unknown"), "says where it belongs"),
        (manifest, format!("{stack}/properties/parameters"), json!({"A": "b"}), "no parameters, which are ignored"),
        (manifest, format!("{stack}/displayName"), json!("Prod/EventStore"), "no other name to select it by"),
        (manifest, format!("{stack}/properties/templateFile"), json!("none.json"), "its template is there"),
        (
            template,
            "/Parameters".to_owned(),
            json!({"BootstrapVersion": {}}),
            "no check of the bootstrap stack in a template",
        ),
        (
            manifest,
            format!("{stack}/dependencies"),
            json!(["orders-StatefulResources"]),
            "a stack with images depends on them",
        ),
        (
            manifest,
            "/artifacts/orders-EventStore.assets/properties/file".to_owned(),
            json!("none.json"),
            "its list of images is there",
        ),
        (assets, in_image("source/directory"), json!("docker"), "what it is built from is there"),
        (assets, in_image("destinations/current/imageTag"), Value::Null, "says where it is pushed to"),
        (template, "/Description".to_owned(), json!(format!("made in {}", here())), "nothing of this machine"),
    ] {
        let mut directory = whole.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        directory.files.get_mut(file).unwrap().pointer_mut(parent).unwrap()[key] = value;
        assert!(broken(&directory).contains(rule), "{path}: {:?}", broken(&directory));
    }
    let mut directory = whole.clone();
    directory.files.insert("tree.json".to_owned(), json!({}));
    assert_eq!(broken(&directory), ["no files that nobody reads"].into());
}

/// Beyond 50 KiB CloudFormation takes a template from a bucket only, and beyond 1 MB not at all (AWS, "CloudFormation quotas").
#[test]
fn templates_are_compact() {
    for scenario in SCENARIOS {
        for (name, text) in support::assembly(&text_of(scenario)).files() {
            let most = if support::deployment(&text_of(scenario)).nodes().len() == 1 { 51_200 } else { 1_000_000 };
            assert!(text.len() <= most, "{scenario}: {name} has {} bytes", text.len());
            assert!(!name.ends_with(".template.json") || text.lines().count() == 1, "{scenario}: {name}");
        }
    }
}

/// The environment of a command line that talks to nobody.
fn cdk(cdk: &Path, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(cdk);
    command.args(arguments).args(["--app", "cdk.out", "--no-notices"]).current_dir(directory);
    command.env("HOME", directory).env("CI", "true").env("CDK_DISABLE_CLI_TELEMETRY", "true");
    command.output().unwrap()
}

/// Without an account, as far as it goes: what is there, in which order, that it can be read, and what differs.
#[test]
fn the_cdk_command_line_takes_every_assembly() {
    let Some(program) = tool::find(Tool::Cdk, "the_cdk_command_line_takes_every_assembly") else { return };
    for scenario in ["everything", "build"] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        if scenario == "build" { built() } else { support::assembly(&text_of(scenario)) }.write(&out).unwrap();
        let name = if scenario == "build" { "orders" } else { "orders-2" };
        let run = |arguments: &[&str]| {
            let output = cdk(&program, directory.path(), arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{scenario}: {arguments:?}: {said}");
            (String::from_utf8_lossy(&output.stdout).into_owned(), said)
        };
        let (stateful, service) = (format!("{name}-StatefulResources"), format!("{name}-EventStore"));
        let (listed, _) = run(&["ls", "--show-dependencies", "--json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let ids: Vec<_> = listed.as_array().unwrap().iter().map(|stack| text(stack, "/id")).collect();
        assert_eq!(ids, [&stateful, &service], "in the order in which they are deployed");
        assert_eq!(listed[1]["dependencies"][0]["id"], stateful.as_str());

        // What should be known reaches whoever uses nothing but the command line.
        let expected = scenario == "everything";
        let (_, said) = run(&["synth", "--quiet"]);
        assert_eq!(said.contains("data.retain"), expected, "{said}");
        if scenario == "build" {
            continue;
        }
        let (yaml, _) = run(&["synth", &service]);
        assert!(yaml.contains("Node1Service:"), "{yaml}");
        let old = out.join(format!("{service}.template.json"));
        let changed = fs::read_to_string(&old).unwrap().replace("\"RetentionInDays\":", "\"RetentionInDays\":1");
        fs::write(directory.path().join("old.json"), changed).unwrap();
        let (shown, said) = run(&["diff", &service, "--exclusively", "--template", "old.json"]);
        assert!(format!("{shown}{said}").contains("RetentionInDays"), "{shown}{said}");
        let same = run(&["diff", &service, "--exclusively", "--template", old.to_str().unwrap()]);
        assert!(format!("{}{}", same.0, same.1).contains("no differences"), "{same:?}");
    }
}
