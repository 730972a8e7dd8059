//! `infra policies`: nothing is allowed or refused in a template without a reason, and the page of the nodes' permissions says the
//! same.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use infra::{Policies, privileges};
use serde_json::Value;

use support::{SCENARIOS, deployment, golden, is_update, templates, text_of};

/// Every statement in a template, and every policy of AWS's, however deep.
fn statements<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            // A rule of a network and an assumption about a role have other words for it.
            if members.contains_key("Effect") {
                found.push(value);
            }
            found.extend(members.get("ManagedPolicyArns").and_then(Value::as_array).into_iter().flatten());
            members.values().for_each(|member| statements(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| statements(item, found)),
        _ => {}
    }
}

fn actions(statement: &Value) -> BTreeSet<&str> {
    match &statement["Action"] {
        Value::Array(actions) => actions.iter().filter_map(Value::as_str).collect(),
        action => action.as_str().into_iter().collect(),
    }
}

#[test]
fn every_statement_of_every_template_has_its_reason() {
    for scenario in SCENARIOS {
        let text = text_of(scenario);
        let shown = Policies::new(&deployment(&text)).to_json();
        let shown = shown.as_array().unwrap();
        for (stack, template) in ["StatefulResources", "EventStore"].iter().zip(templates(&text)) {
            let mut in_stack = 0;
            for (id, resource) in template["Resources"].as_object().unwrap() {
                let mut found = Vec::new();
                statements(resource, &mut found);
                let of_resource: Vec<_> = shown
                    .iter()
                    .filter(|entry| {
                        entry["resource"] == id.as_str() && entry["stack"].as_str().unwrap().ends_with(stack)
                    })
                    .collect();
                assert_eq!(found.len(), of_resource.len(), "{scenario} {id}");
                in_stack += found.len();
                for statement in found {
                    let entry = of_resource.iter().find(|entry| entry["statement"] == *statement);
                    let entry = entry.unwrap_or_else(|| panic!("{scenario} {id}: {statement}"));
                    explained(entry, &format!("{scenario} {id}"));
                }
            }
            assert!(in_stack > 0, "{scenario} {stack}");
        }
    }
}

/// Of all of it, or of each of its actions.
fn explained(entry: &Value, context: &str) {
    let reasons = entry["reasons"].as_array().unwrap();
    let long_enough = |reason: &Value| reason["reason"].as_str().unwrap().split(' ').count() >= 3;
    assert!(!reasons.is_empty() && reasons.iter().all(long_enough), "{context}: {entry}");
    let of_actions: Vec<_> = reasons.iter().filter_map(|reason| reason["action"].as_str()).collect();
    if !of_actions.is_empty() {
        let once: BTreeSet<_> = of_actions.iter().copied().collect();
        assert_eq!((once.len(), &once), (of_actions.len(), &actions(&entry["statement"])), "{context}: {entry}");
    }
}

/// `docs/permissions.md` is made of that table.
#[test]
fn what_is_said_of_nodes_is_what_the_page_says() {
    let mut met = BTreeSet::new();
    for scenario in SCENARIOS {
        let shown = Policies::new(&deployment(&text_of(scenario))).to_json();
        for entry in shown.as_array().unwrap() {
            let resource = entry["resource"].as_str().unwrap();
            let (Some(sid), true) = (entry["statement"]["Sid"].as_str(), resource.ends_with("Role")) else { continue };
            let granted = actions(&entry["statement"]);
            let told = privileges().iter().find(|one| {
                let asked: BTreeSet<_> = one.grants.iter().map(|grant| grant.action).collect();
                one.sid == sid && asked == granted
            });
            let Some(told) = told else { continue };
            met.insert((told.role, told.sid));
            for grant in told.grants {
                let says = |reason: &&Value| reason["action"] == grant.action;
                let reason = entry["reasons"].as_array().unwrap().iter().find(says).unwrap();
                assert_eq!(reason["reason"], format!("{}: {}", grant.caller, grant.reason));
            }
        }
    }
    let all: BTreeSet<_> = privileges().iter().map(|one| (one.role, one.sid)).collect();
    assert_eq!(met, all, "every privilege of the table is in some scenario");
}

#[test]
fn the_text_is_the_checked_in_one_every_time() {
    for scenario in ["everything", "replicas", "backup-everything", "alarms", "endpoints", "encrypted", "containers"] {
        let config = golden(&format!("{scenario}/eventstore.toml"));
        let run = |arguments: &[&str]| {
            let infra = env!("CARGO_BIN_EXE_infra");
            let output = Command::new(infra).env_clear().args(arguments).arg("--config").arg(&config).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let text = run(&["policies"]);
        let path = golden(&format!("policies/{scenario}.txt"));
        if is_update() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == text, "{}: UPDATE_GOLDEN=1 rewrites it", path.display());
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
        let json: Value = serde_json::from_str(&run(&["policies", "--json"])).unwrap();
        assert_eq!(json, Policies::new(&deployment(&text_of(scenario))).to_json());
    }
}

/// Where CloudFormation knows more, the text says what it puts in; no JSON is left.
#[test]
fn values_are_shown_in_words() {
    for scenario in SCENARIOS {
        let text = Policies::new(&deployment(&text_of(scenario))).to_string();
        for sign in ["Fn::", "{\"", "${"] {
            assert!(!text.contains(sign), "{scenario}: {sign}\n{text}");
        }
    }
}
