//! Tags: on every stack, and from there on resources and tasks; and how the stacks lean on each other.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use infra::Config;
use serde_json::{Value, json};

use support::{SCENARIOS, of_type, templates, text_of};

fn stacks(text: &str) -> Vec<Value> {
    let assembly = support::assembly(text);
    let (_, manifest) = assembly.files().find(|(name, _)| *name == "manifest.json").unwrap();
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    let artifacts = manifest["artifacts"].as_object().unwrap().values();
    let stacks = artifacts.filter(|artifact| artifact["type"] == "aws:cloudformation:stack");
    stacks.map(|artifact| artifact["properties"].clone()).collect()
}

#[test]
fn every_stack_has_the_tags_of_the_configuration_and_the_name_of_the_deployment() {
    for stack in stacks(&text_of("everything")) {
        let expected = json!({
            "eventstore-fargate:deployment": "orders-2", "cost_centre": "4711", "team:owner": "Orders and Bills",
        });
        assert_eq!(stack["tags"], expected);
    }
    for stack in stacks("name = \"a\"") {
        assert_eq!(stack["tags"], json!({"eventstore-fargate:deployment": "a"}));
    }
}

#[test]
fn there_are_not_more_tags_than_aws_takes() {
    let with = |count: usize| {
        let tags: Vec<_> = (0..count).map(|number| format!("t{number} = {number}")).collect();
        Config::parse(&format!("name = \"a\"\n[tags]\n{}", tags.join("\n")))
    };
    assert!(with(40).is_ok());
    let errors = with(41).unwrap_err().to_string();
    assert_eq!(errors, "tags: there are 41; allowed are at most 40");
}

/// CloudFormation tags the services as their stack is, and ECS the tasks as their service.
#[test]
fn tags_arrive_on_the_tasks() {
    for scenario in SCENARIOS {
        let [_, service] = templates(&text_of(scenario));
        let services = of_type(&service, "AWS::ECS::Service");
        assert!(!services.is_empty(), "{scenario}");
        for (id, service) in services {
            assert_eq!(service["Properties"]["PropagateTags"], "SERVICE", "{scenario}: {id}");
            assert_eq!(service["Properties"]["EnableECSManagedTags"], true, "{scenario}: {id}");
        }
    }
}

/// Whoever deletes the stack with the data must take the protection away before.
#[test]
fn the_stack_with_state_is_protected_from_deletion_and_no_other_is() {
    for scenario in SCENARIOS {
        for stack in stacks(&text_of(scenario)) {
            let name = stack["stackName"].as_str().unwrap();
            assert_eq!(stack["terminationProtection"], name.ends_with("-StatefulResources"), "{scenario}: {name}");
        }
    }
}

fn imports(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| imports(item, found)),
        Value::Object(members) => {
            if let Some(name) = members.get("Fn::ImportValue") {
                found.insert(name.as_str().unwrap().to_owned());
            }
            members.values().for_each(|member| imports(member, found));
        }
        _ => {}
    }
}

/// What holds state leans on nothing; the services lean on it by name, so that CloudFormation keeps what they need.
#[test]
fn state_never_depends_on_the_services() {
    for scenario in SCENARIOS {
        let [state, service] = templates(&text_of(scenario));
        let mut found = BTreeSet::new();
        imports(&state, &mut found);
        assert_eq!(found, BTreeSet::new(), "{scenario}");
        imports(&service, &mut found);
        let exports = state["Outputs"].as_object().unwrap().values();
        let exports: BTreeSet<_> = exports.map(|output| output["Export"]["Name"].as_str().unwrap()).collect();
        assert!(!found.is_empty() && found.iter().all(|name| exports.contains(name.as_str())), "{scenario}: {found:?}");
    }
}

/// In other partitions ARNs and hosts are others.
#[test]
fn no_template_names_a_partition() {
    for scenario in SCENARIOS {
        let written = text_of(scenario);
        let written: Vec<_> = written.split('"').filter(|text| text.starts_with("arn:")).collect();
        // Of a secret that is named in the configuration ECS is told the key as well.
        let is_written = |text: &str| written.iter().any(|arn| text.starts_with(arn) || arn.starts_with(text));
        for template in templates(&text_of(scenario)) {
            let mut texts = Vec::new();
            all_texts(&template["Resources"], &mut texts);
            for text in texts.iter().filter(|text| text.starts_with("arn:") && !is_written(text)) {
                assert!(text.starts_with("arn:${AWS::Partition}:"), "{scenario}: {text}");
            }
        }
    }
}

fn all_texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| all_texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| all_texts(member, found)),
        _ => {}
    }
}
