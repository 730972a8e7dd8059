//! The JSON Schema and the parser are made from one table; here a validator of somebody else's judges.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};

use support::{SCENARIOS, golden, is_update, text_of};

fn validator() -> Validator {
    let schema = infra::schema();
    assert!(jsonschema::meta::is_valid(&schema), "it is no schema of 2020-12");
    jsonschema::validator_for(&schema).unwrap()
}

fn json_of(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

fn mistakes(validator: &Validator, text: &str) -> Vec<String> {
    let instance = json_of(text);
    validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_the_checked_in_one() {
    let text = format!("{:#}\n", infra::schema());
    let path = golden("schema.json");
    if is_update() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == text, "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn every_configuration_that_is_right_is_valid() {
    let validator = validator();
    for scenario in SCENARIOS.into_iter().chain(["build"]) {
        assert_eq!(mistakes(&validator, &text_of(scenario)), [] as [&str; 0], "{scenario}");
    }
    // With the examples too, each of which its comment says is allowed.
    let examples: Vec<_> = infra::reference()
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|line| is_key_or_section(line)).unwrap_or(line).to_owned())
        .collect();
    assert_eq!(mistakes(&validator, &examples.join("\n")), [] as [&str; 0]);
}

fn is_key_or_section(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap();
    let word = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (line.contains(" = ") && word(key)) || (line.starts_with("[[") && line.ends_with("]]"))
}

/// What the parser refuses of a single key the schema refuses as well; what does not go together is the parser's to find.
#[test]
fn values_that_are_wrong_by_themselves_are_invalid() {
    let validator = validator();
    for text in [
        "",
        "name = \"Orders\"",
        "name = 1",
        "name = \"a\"\ncolour = 1",
        "name = \"a\"\n[server]\nline = \"20.6\"",
        "name = \"a\"\n[server]\nport = 80",
        "name = \"a\"\n[server]\ncpu = 1000",
        "name = \"a\"\n[server.options]\nNODE_PORT = 1",
        "name = \"a\"\n[server.options]\nRUN_PROJECTIONS = \"Some\"",
        "name = \"a\"\n[cluster]\nnodes = 4",
        "name = \"a\"\n[credentials]\nadmin_secret = \"orders/admin\"",
        "name = \"a\"\n[network]\nsubnets = [\"a\"]",
        "name = \"a\"\n[data]\nperformance_mode = \"maxIO\"",
        "name = \"a\"\n[backup]\ndaily_at = \"2 AM\"",
        "name = \"a\"\n[logs]\nretention_days = 31",
        "name = \"a\"\n[[users]]\nfull_name = \"A\"",
    ] {
        assert!(!mistakes(&validator, text).is_empty(), "{text}");
        assert!(infra::Config::parse(text).is_err(), "{text}");
    }
}

/// The properties of a schema with their paths, as they stand in a file.
fn paths(schema: &Value, prefix: &str, found: &mut Vec<(String, Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let inner = if property["items"]["properties"].is_object() { &property["items"] } else { property };
        if inner["properties"].is_object() {
            paths(inner, &format!("{path}."), found);
        } else {
            found.push((path, property.clone()));
        }
    }
}

/// Each key of the schema is one that the parser knows: with something that no key holds it is the type that is wrong.
#[test]
fn the_parser_knows_every_key_of_the_schema_and_no_other() {
    let schema = infra::schema();
    let mut keys = Vec::new();
    paths(&schema, "", &mut keys);
    assert!(keys.len() > 60, "{}", keys.len());
    for (path, _) in &keys {
        let mut instance = json!({"a": {"b": 1}});
        for name in path.rsplit('.') {
            let list = ["users", "containers", "volumes", "mounts"].contains(&name);
            instance = if list { json!({name: [instance]}) } else { json!({name: instance}) };
        }
        if path != "name" {
            instance["name"] = json!("a");
        }
        let text = toml::to_string(&instance).unwrap();
        let found = infra::Config::parse(&text).unwrap_err().to_string();
        assert!(!found.contains("not a known key"), "{path}: {found}");
        assert!(found.contains(path.rsplit('.').next().unwrap()), "{path}: {found}");
    }
    // And the other way round: what the parser calls allowed is in the schema.
    let sections = schema["properties"].as_object().unwrap();
    for (name, section) in sections.iter().filter(|(_, section)| section["properties"].is_object()) {
        let found = infra::Config::parse(&format!("name = \"a\"\n[{name}]\nqqq = 1")).unwrap_err().to_string();
        let allowed = found.split("allowed here are ").nth(1).unwrap().split('\n').next().unwrap();
        let allowed: Vec<_> = allowed.split(", ").flat_map(|words| words.split(" and ")).collect();
        let mut known: Vec<_> = section["properties"].as_object().unwrap().keys().collect();
        known.sort();
        assert_eq!(allowed, known, "[{name}]");
    }
}
