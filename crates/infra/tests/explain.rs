//! `infra explain`: it says what the templates have, neither more nor less, and no value of a secret.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;
use std::process::{Command, Output};

use infra::{Explanation, Stated};
use serde_json::{Value, json};

use support::{SCENARIOS, deployment, golden, is_update, template, text_of};

fn infra(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().args(arguments).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_text_is_the_checked_in_one_every_time() {
    for (scenario, node) in [
        ("default", None),
        ("replicas", Some("node-2")),
        ("replicas", Some("replica-1")),
        ("everything", None),
        ("containers", None),
        ("article", None),
    ] {
        let (text, name) = (text_of(scenario), node.unwrap_or("node-1"));
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("eventstore.toml");
        fs::write(&config, text).unwrap();
        let mut arguments = vec!["explain", "--config", config.to_str().unwrap()];
        arguments.extend(node);
        let (code, text, report) = said(&infra(&arguments));
        assert_eq!(code, Some(0), "{report}");
        let path = golden(&format!("explain/{scenario}-{name}.txt"));
        if is_update() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == text, "{}: UPDATE_GOLDEN=1 rewrites it", path.display());
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    }
}

/// What the explanation says of a container, in the template's words.
fn expected(container: &Value) -> Value {
    let of = |list: &str, name: &str, entry: &dyn Fn(&Value) -> Value| -> Value {
        let items = container[list].as_array().unwrap().iter();
        items.map(|item| json!([item[name], entry(item)])).collect()
    };
    json!({
        "Name": container["name"],
        "Essential": container["essential"],
        "EntryPoint": container["entry_point"],
        "Command": container["command"],
        "User": container["user"]["value"],
        "Environment": of("environment", "name", &|item| item["value"].clone()),
        "Secrets": of("secrets", "name", &|_| Value::Null),
        "MountPoints": of("mounts", "volume", &|item| json!([item["path"], item["read_only"]])),
        "DependsOn": of("waits_for", "container", &|item| item["condition"].clone()),
        "StartTimeout": container["start_timeout"],
        "StopTimeout": container["stop_timeout"],
        "HealthCheck": container["health_check"]["interval"],
    })
}

/// The same of the template.
fn found(container: &Value) -> Value {
    let of = |list: &str, name: &str, entry: &dyn Fn(&Value) -> Value| -> Value {
        let items = container[list].as_array().into_iter().flatten();
        items.map(|item| json!([item[name], entry(item)])).collect()
    };
    let words = |key: &str| container.get(key).cloned().unwrap_or(json!([]));
    json!({
        "Name": container["Name"],
        "Essential": container["Essential"],
        "EntryPoint": words("EntryPoint"),
        "Command": words("Command"),
        "User": container["User"],
        // A reference has no value here.
        "Environment": of("Environment", "Name", &|item| if item["Value"].is_string() { item["Value"].clone() } else { Value::Null }),
        "Secrets": of("Secrets", "Name", &|_| Value::Null),
        "MountPoints": of("MountPoints", "SourceVolume", &|item| json!([item["ContainerPath"], item["ReadOnly"]])),
        "DependsOn": of("DependsOn", "ContainerName", &|item| item["Condition"].clone()),
        "StartTimeout": container["StartTimeout"],
        "StopTimeout": container["StopTimeout"],
        "HealthCheck": container["HealthCheck"]["Interval"],
    })
}

/// The ARN of a secret that is there already stands in the configuration, and the other stack exports it.
fn without_known_arns(mut container: Value) -> Value {
    for variable in container["Environment"].as_array_mut().unwrap() {
        if variable[0].as_str().is_some_and(|name| name.starts_with("BOOTSTRAP_") || name.starts_with("CERTGEN_"))
            && variable[1].as_str().is_some_and(|value| value.starts_with("arn:"))
        {
            variable[1] = Value::Null;
        }
    }
    container
}

#[test]
fn what_is_explained_is_what_the_template_has() {
    for scenario in SCENARIOS {
        let text = text_of(scenario);
        let (deployment, stack) = (deployment(&text), template(&text, "EventStore"));
        for node in deployment.members() {
            let explained = Explanation::new(&deployment, node, &Stated::in_text(&text)).to_json();
            let id = node.name().replace("node-", "Node").replace("replica-", "Replica");
            let task = &stack["Resources"][format!("{id}Task")]["Properties"];
            assert_eq!(explained["cpu"].to_string(), task["Cpu"].as_str().unwrap());
            assert_eq!(explained["memory_mib"].to_string(), task["Memory"].as_str().unwrap());
            let [said, there] =
                [&explained["containers"], &task["ContainerDefinitions"]].map(|all| all.as_array().unwrap());
            assert_eq!(said.len(), there.len());
            for (said, there) in said.iter().zip(there) {
                assert_eq!(without_known_arns(expected(said)), found(there), "{scenario} {}", node.name());
                if let Some(image) = there["Image"].as_str() {
                    assert_eq!(said["image"]["value"], image);
                }
                let all = said["environment"].as_array().unwrap().iter().chain(said["secrets"].as_array().unwrap());
                for setting in all.chain([&said["image"], &said["user"]]) {
                    let from = setting["from"].as_array().unwrap();
                    assert!(!from.is_empty(), "{setting}");
                    for influence in from.iter().filter(|influence| !influence["key"].is_null()) {
                        assert!(
                            ["set", "default", "not set"].contains(&influence["state"].as_str().unwrap()),
                            "{setting}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_secret_is_named_and_never_shown_with_a_value() {
    let text = text_of("containers");
    let deployment = deployment(&text);
    let explained = Explanation::new(&deployment, &deployment.nodes()[0], &Stated::in_text(&text)).to_json();
    let containers = explained["containers"].as_array().unwrap();
    let secrets: Vec<_> = containers.iter().flat_map(|container| container["secrets"].as_array().unwrap()).collect();
    assert!(secrets.iter().all(|secret| secret.get("value").is_none() && secret["secret"].is_string()), "{secrets:?}");
    let of = |name: &str| *secrets.iter().find(|secret| secret["name"] == name).unwrap();
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/api-AbCdEf";
    assert_eq!((&of("API_KEY")["secret"], &of("API_KEY")["key"]), (&json!(arn), &json!("apiKey")));
    assert_eq!(of("TOKEN")["key"], Value::Null, "all of it");
    let password = of("EVENTSTORE_DEFAULT_ADMIN_PASSWORD");
    assert_eq!((&password["secret"], &password["key"]), (&json!("orders/admin"), &json!("password")));
}

#[test]
fn a_node_that_is_not_there_is_a_wrong_command_line() {
    let config = golden("replicas/eventstore.toml");
    let config = config.to_str().unwrap();
    let (code, text, report) = said(&infra(&["explain", "nod-2", "--config", config]));
    assert_eq!((code, text.as_str()), (Some(2), ""));
    let there =
        "`nod-2` is no node of orders; did you mean `node-2`? allowed here are node-1, node-2, node-3 and replica-1";
    assert_eq!(report, format!("error: {there}\n"));
    let (code, text, _) = said(&infra(&["explain", "--json", "replica-1", "--config", config]));
    let explained: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &explained["node"]), (Some(0), &json!("replica-1")));
}

/// As `| head` does.
#[test]
fn whoever_has_seen_enough_may_go() {
    let config = golden("everything/eventstore.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
    command.env_clear().args(["explain", "--config", config.to_str().unwrap()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
