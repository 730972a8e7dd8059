//! What the tests of the templates share.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part; one that panics has found something")]

pub(crate) mod directory;
pub(crate) mod tasks;

pub(crate) mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use infra::{Assembly, Config, Deployment};
use serde_json::Value;

/// The file as `infra init` writes it, one with every key set to something else, clusters, what is there already, containers of
/// the user's own, the set-up that everybody knows, closed networks, alarms, backups and what they are for, server lines with
/// options, paths and uids of their own, and read-only replicas.
pub(crate) const SCENARIOS: [&str; 16] = [
    "default",
    "everything",
    "cluster",
    "existing",
    "encrypted",
    "containers",
    "article",
    "endpoints",
    "alarms",
    "backup-stop",
    "backup-everything",
    "restore",
    "line-22.10",
    "line-25.0",
    "line-26",
    "replicas",
];

/// A file or directory of the goldens.
pub(crate) fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// `UPDATE_GOLDEN=1` rewrites what is checked in; a reviewer reads the difference.
pub(crate) fn is_update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// The configuration of a scenario.
pub(crate) fn text_of(scenario: &str) -> String {
    // Not the checked-in copies, which another test may be about to rewrite.
    match scenario {
        "default" => infra::TEMPLATE.to_owned(),
        "article" => include_str!("../../examples/article.toml").to_owned(),
        other => fs::read_to_string(golden(&format!("{other}/eventstore.toml"))).unwrap(),
    }
}

#[track_caller]
pub(crate) fn deployment(text: &str) -> Deployment {
    Deployment::new(Config::parse(text).unwrap_or_else(|errors| panic!("{errors}")))
}

#[track_caller]
pub(crate) fn assembly(text: &str) -> Assembly {
    Assembly::new(&deployment(text)).unwrap()
}

/// A template of a configuration; `stack` is the name without the deployment's.
#[track_caller]
pub(crate) fn template(text: &str, stack: &str) -> Value {
    let assembly = assembly(text);
    let (_, text) = assembly.files().find(|(file, _)| file.ends_with(&format!("-{stack}.template.json"))).unwrap();
    serde_json::from_str(text).unwrap()
}

/// Both templates of a configuration.
#[track_caller]
pub(crate) fn templates(text: &str) -> [Value; 2] {
    ["StatefulResources", "EventStore"].map(|stack| template(text, stack))
}

/// The template of the repositories of our own images.
pub(crate) fn repositories() -> Value {
    let assembly = Assembly::repositories("aws").unwrap();
    let (_, text) = assembly.files().find(|(file, _)| file.ends_with(".template.json")).unwrap();
    serde_json::from_str(text).unwrap()
}

/// The resources of one type with their ids, in the order of these.
pub(crate) fn of_type<'a>(template: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let resources = template["Resources"].as_object().unwrap().iter();
    let found = resources.filter(|(_, resource)| resource["Type"] == kind);
    found.map(|(id, resource)| (id.as_str(), resource)).collect()
}

/// The properties of the only resource of its type.
#[track_caller]
pub(crate) fn only<'a>(template: &'a Value, kind: &str) -> &'a Value {
    match of_type(template, kind).as_slice() {
        [(_, resource)] => &resource["Properties"],
        other => panic!("{} resources of type {kind}", other.len()),
    }
}

/// A container of the first node's task.
#[track_caller]
pub(crate) fn container<'a>(template: &'a Value, name: &str) -> &'a Value {
    let containers = template["Resources"]["Node1Task"]["Properties"]["ContainerDefinitions"].as_array().unwrap();
    containers.iter().find(|container| container["Name"] == name).unwrap_or_else(|| panic!("no container {name}"))
}

/// The text of a variable of a container.
pub(crate) fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let variables = container["Environment"].as_array()?;
    variables.iter().find(|variable| variable["Name"] == name)?["Value"].as_str()
}
