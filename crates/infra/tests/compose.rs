//! The compose file: as checked in, the same tasks as in the templates, and read by our programs' own parsers.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use infra::{Condition, Container, ContainerName, Deployment, Node, Value as Setting};
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::{SCENARIOS, deployment, golden, is_update, template, text_of, yaml};

/// The configurations in `docker/` with the compose files that are rendered from them.
const CHECKED_IN: [(&str, &str); 2] =
    [("eventstore.toml", "compose.yaml"), ("eventstore.single.toml", "compose.single.yaml")];

/// What certgen's image declares.
fn volumes() -> Vec<Value> {
    let dockerfile = fs::read_to_string(docker("certgen.Dockerfile")).unwrap();
    serde_json::from_str(dockerfile.lines().find_map(|line| line.strip_prefix("VOLUME ")).unwrap()).unwrap()
}

fn docker(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker")).join(file)
}

fn text(config: &str) -> String {
    fs::read_to_string(docker(config)).unwrap()
}

/// Every configuration there is.
fn all() -> Vec<(String, String)> {
    let scenarios = SCENARIOS.into_iter().map(|scenario| (scenario.to_owned(), text_of(scenario)));
    let insecure = "name = \"es\"\nserver.insecure = true\n".to_owned();
    let own = CHECKED_IN.into_iter().map(|(config, _)| (config.to_owned(), text(config)));
    scenarios.chain(own).chain([("insecure".to_owned(), insecure)]).collect()
}

/// What compose makes of a text: variables have their defaults, `$$` is `$` (Compose Specification, "Interpolation").
fn interpolated(text: &str) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            done.push('$');
            after
        } else {
            let (variable, after) = after.strip_prefix('{').unwrap().split_once('}').unwrap();
            done.push_str(variable.split_once(":-").unwrap().1);
            after
        };
    }
    done + rest
}

fn interpolate(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(interpolated(text)),
        Value::Array(items) => items.iter().map(interpolate).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| (key.clone(), interpolate(member)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn file(deployment: &Deployment) -> Value {
    interpolate(&yaml::read(&infra::compose(deployment)))
}

fn services(file: &Value) -> impl Iterator<Item = (&str, &Value)> {
    file["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

fn service<'a>(file: &'a Value, node: &Node, container: &Container) -> &'a Value {
    &file["services"][format!("{}-{}", node.name(), container.name.as_str())]
}

#[test]
fn the_compose_files_are_the_checked_in_ones() {
    for (config, name) in CHECKED_IN {
        let rendered = infra::compose(&deployment(&text(config)));
        let path = docker(name);
        if is_update() {
            fs::write(&path, &rendered).unwrap();
        }
        assert!(fs::read_to_string(path).unwrap() == rendered, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
    }
}

/// What CloudFormation would put in the place of a reference.
fn resolved(deployment: &Deployment, value: &Setting) -> String {
    match value {
        Setting::Literal(text) => text.clone(),
        Setting::Region => "eu-west-1".to_owned(),
        Setting::Secret(user) => deployment.secret_name(user.as_str()),
        Setting::CaSecret => deployment.ca_secret_name().unwrap(),
        Setting::ClientService => format!("srv-{}", deployment.name()),
    }
}

/// The logical id of a node's task definition.
fn task_id(node: &Node) -> String {
    let (kind, number) = node.name().split_once('-').unwrap();
    format!("{}{number}Task", if kind == "node" { "Node" } else { "Replica" })
}

/// The container of the task definition that is in the template.
fn definition(template: &Value, node: &Node, name: &str) -> Value {
    let task = &template["Resources"][task_id(node)]["Properties"];
    let containers = task["ContainerDefinitions"].as_array().unwrap();
    containers.iter().find(|container| container["Name"] == name).unwrap().clone()
}

fn seconds(value: &Value) -> Value {
    value.as_u64().map_or(Value::Null, |seconds| json!(format!("{seconds}s")))
}

#[test]
fn services_are_the_containers_of_the_task_definitions() {
    for (name, text) in all() {
        let deployment = deployment(&text);
        let (file, template) = (file(&deployment), template(&text, "EventStore"));
        let mut expected = BTreeSet::from(["aws".to_owned()]);
        for node in deployment.members() {
            expected.insert(node.name().to_owned());
            // `tests/containers.rs` looks into them.
            expected.extend(node.task().extra.containers().map(|container| format!("{}-{container}", node.name())));
            for container in &node.task().containers {
                expected.insert(format!("{}-{}", node.name(), container.name.as_str()));
                let (service, emitted) =
                    (service(&file, node, container), definition(&template, node, container.name.as_str()));
                let place = format!("{name}: {} of {}", container.name.as_str(), node.name());
                assert_eq!(service["command"], emitted["Command"], "{place}");
                assert_eq!(service["entrypoint"], emitted["EntryPoint"], "{place}");
                assert_eq!(service["user"], emitted["User"], "{place}");
                assert_eq!(service["read_only"], emitted["ReadonlyRootFilesystem"], "{place}");
                assert_eq!(service["cap_drop"], emitted["LinuxParameters"]["Capabilities"]["Drop"], "{place}");
                assert_eq!(service["stop_grace_period"], seconds(&emitted["StopTimeout"]), "{place}");
                let memory = &template["Resources"][task_id(node)]["Properties"]["Memory"];
                assert_eq!(service["mem_limit"], format!("{}m", memory.as_str().unwrap()), "{place}");
                let restart = if emitted["Essential"] == true { "unless-stopped" } else { "no" };
                assert_eq!(service["restart"], restart, "{place}");
                let mounts: Vec<_> = emitted["MountPoints"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|mount| {
                        let source = format!("{}-{}", node.name(), mount["SourceVolume"].as_str().unwrap());
                        assert!(file["volumes"].as_object().unwrap().contains_key(&source), "{place}: {source}");
                        let mut expected =
                            json!({"type": "volume", "source": source, "target": mount["ContainerPath"]});
                        if mount["ReadOnly"] == true {
                            expected["read_only"] = json!(true);
                        }
                        expected
                    })
                    .collect();
                assert_eq!(service["volumes"], json!(mounts), "{place}");
                let check = &emitted["HealthCheck"];
                if check.is_null() {
                    assert!(service["healthcheck"].is_null(), "{place}");
                } else {
                    let expected = json!({
                        "test": check["Command"], "interval": seconds(&check["Interval"]), "timeout": seconds(&check["Timeout"]),
                        "retries": check["Retries"], "start_period": seconds(&check["StartPeriod"]),
                    });
                    assert_eq!(service["healthcheck"], expected, "{place}");
                }
            }
        }
        let found: BTreeSet<_> = services(&file).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// Where AWS and the endpoints of ECS are. What ECS sets from a secret is the one thing that compose cannot set.
#[test]
fn variables_are_those_of_the_model_and_where_aws_is() {
    for (name, text) in all() {
        let deployment = deployment(&text);
        let file = file(&deployment);
        for node in deployment.members() {
            for container in &node.task().containers {
                let place = format!("{name}: {} of {}", container.name.as_str(), node.name());
                let mut left = service(&file, node, container)["environment"].as_object().unwrap().clone();
                // A volume of compose begins empty, whatever a file system was restored from.
                for (variable, value) in container.variables().filter(|(name, _)| *name != "GUARD_RESTORED") {
                    let found = left.remove(variable).unwrap_or_else(|| panic!("{place}: no {variable}"));
                    assert_eq!(found, resolved(&deployment, value), "{place}: {variable}");
                }
                let endpoint = |path: &str| json!(format!("http://169.254.170.2/{path}/{}", node.name()));
                let mut expected = json!({
                    "ECS_CONTAINER_METADATA_URI_V4": endpoint("v4"),
                    "ECS_AGENT_URI": endpoint("api"),
                    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": format!("/v2/credentials/{}", node.name()),
                });
                if container.name == ContainerName::EventStore {
                    // The lock of a killed guard is released at once on a local disk.
                    expected["GUARD_HEARTBEAT_INTERVAL"] = json!("1s");
                    expected["GUARD_HEARTBEAT_TIMEOUT"] = json!("10s");
                    expected["GUARD_TAKEOVER_AFTER"] = json!("12s");
                }
                if container.variables().any(|(_, value)| *value == Setting::Region) {
                    expected["AWS_ENDPOINT_URL"] = json!("http://169.254.170.2");
                    let program = container.name.as_str().to_uppercase();
                    expected[format!("{program}_ALLOW_HTTP_ENDPOINT")] = json!("true");
                    if program == "BOOTSTRAP" {
                        expected["BOOTSTRAP_POLL_INTERVAL"] = json!("20s");
                    }
                }
                assert_eq!(Value::Object(left), expected, "{place}");
            }
        }
        assert!(!infra::compose(&deployment).contains("PASSWORD"), "{name}: no secret is in the file");
    }
}

/// Every container waits for what its task definition says, for its network, and for AWS if it asks there; whoever shares a
/// network declares none.
#[test]
fn a_task_is_a_network_that_its_containers_join() {
    for (name, text) in all() {
        let deployment = deployment(&text);
        let file = file(&deployment);
        for node in deployment.members() {
            let pause = &file["services"][node.name()];
            assert_eq!((&pause["entrypoint"], &pause["command"]), (&json!(["/guard"]), &json!(["pause"])), "{name}");
            // Docker would make a volume without a name of each that is declared and not mounted.
            assert_eq!(pause["tmpfs"], json!(volumes()), "{name}");
            let aliases = &pause["networks"]["cluster"]["aliases"];
            let client_host = (!node.is_read_only_replica()).then(|| deployment.client_host());
            let names: Vec<_> = [node.host().to_owned()].into_iter().chain(client_host).collect();
            assert_eq!(*aliases, json!(names), "{name}");
            assert!(pause["networks"]["ecs"].is_object() && pause["depends_on"].is_null(), "{name}");
            for container in &node.task().containers {
                let service = service(&file, node, container);
                let place = format!("{name}: {} of {}", container.name.as_str(), node.name());
                assert_eq!(service["network_mode"], format!("service:{}", node.name()), "{place}");
                assert!(service["networks"].is_null() && service["ports"].is_null(), "{place}");
                let mut expected = BTreeMap::from([(node.name().to_owned(), "service_started")]);
                if !service["environment"]["AWS_ENDPOINT_URL"].is_null() {
                    expected.insert("aws".to_owned(), "service_started");
                }
                for (other, condition) in &container.depends_on {
                    let condition = match condition {
                        Condition::Start => "service_started",
                        Condition::Success => "service_completed_successfully",
                    };
                    expected.insert(format!("{}-{}", node.name(), other.as_str()), condition);
                }
                let expected: serde_json::Map<_, _> =
                    expected.into_iter().map(|(name, condition)| (name, json!({"condition": condition}))).collect();
                assert_eq!(service["depends_on"], Value::Object(expected), "{place}");
            }
        }
        let aws = &file["services"]["aws"];
        assert_eq!(aws["networks"]["ecs"]["ipv4_address"], "169.254.170.2", "{name}");
        for (service, found) in services(&file) {
            let says_so = service == "node-1-log-shipper";
            assert_eq!(found["read_only"], if says_so { Value::Null } else { json!(true) }, "{name}: {service}");
            assert_eq!(found["cap_drop"], json!(["ALL"]), "{name}: {service}");
            assert_eq!(found["security_opt"], json!(["no-new-privileges:true"]), "{name}: {service}");
        }
        let data = file["volumes"].as_object().unwrap().keys().filter(|volume| volume.ends_with("-data")).count();
        assert_eq!(data, deployment.members().count(), "{name}: one writer each");
    }
}

/// Images come from variables; without one the database is the real one.
#[test]
fn images_are_variables_with_the_templates_images_as_defaults() {
    let given = "name = \"es\"\n[images]\nserver = \"r/s:1\"\ncertgen = \"r/c:1\"\nbootstrap = \"r/b:2\"";
    for (text, certgen, server) in [
        (
            text("eventstore.toml"),
            "eventstore-fargate/certgen:",
            "docker.eventstore.com/eventstore/eventstoredb-ee:24.10",
        ),
        (given.to_owned(), "r/c:1", "r/s:1"),
        (fs::read_to_string(golden("build/eventstore.toml")).unwrap(), "eventstore-fargate/certgen:", ""),
    ] {
        let rendered = yaml::read(&infra::compose(&deployment(&text)));
        for (name, service) in services(&rendered) {
            let image = service["image"].as_str().unwrap();
            let (variable, default) = image.strip_prefix("${").unwrap().split_once(":-").unwrap();
            let (expected, starts) = match name.rsplit('-').next().unwrap() {
                "aws" => ("IMAGE_AWS", "eventstore-fargate/aws-double:"),
                "eventstore" => ("IMAGE_SERVER", server),
                "bootstrap" => ("IMAGE_BOOTSTRAP", ""),
                _ => ("IMAGE_CERTGEN", certgen),
            };
            assert_eq!(variable, expected, "{name}");
            assert!(default.starts_with(starts), "{name}: {default}");
        }
    }
}

/// Variables as the flags they stand for.
fn arguments(program: &str, service: &Value) -> Vec<OsString> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut arguments = vec![program.to_owned()];
    arguments.extend(texts(&service["command"]));
    let prefix = format!("{}_", program.to_uppercase());
    for (name, value) in service["environment"].as_object().unwrap() {
        let (flag, value) = match (name.strip_prefix(&prefix), name.as_str(), value.as_str().unwrap()) {
            (Some(flag), _, value) => (flag.to_ascii_lowercase().replace('_', "-"), value),
            (None, "ECS_CONTAINER_METADATA_URI_V4", value) => ("metadata-uri".to_owned(), value),
            (None, "ECS_AGENT_URI", value) if program == "bootstrap" => ("agent-uri".to_owned(), value),
            _ => continue,
        };
        arguments.push(if value == "true" { format!("--{flag}") } else { format!("--{flag}={value}") });
    }
    arguments.into_iter().map(OsString::from).collect()
}

#[test]
fn our_programs_understand_every_variable() {
    let (mut certgens, mut bootstraps) = (0, 0);
    for (name, text) in all() {
        let deployment = deployment(&text);
        let file = file(&deployment);
        for node in deployment.members() {
            for container in &node.task().containers {
                let service = service(&file, node, container);
                match container.name {
                    ContainerName::Certgen => {
                        let plan = certgen::cli::parse(arguments("certgen", service));
                        let plan = plan.unwrap_or_else(|code| panic!("{name}: {code:?}"));
                        assert!(plan.names.to_string().contains(node.host()), "{name}: {}", plan.names);
                        certgens += 1;
                    }
                    ContainerName::Bootstrap => {
                        let arguments = arguments("bootstrap", service);
                        assert!(bootstrap::cli::parse(arguments.clone()).is_ok(), "{name}: {arguments:?}");
                        bootstraps += 1;
                    }
                    ContainerName::EventStore | ContainerName::Guard => {}
                }
            }
        }
    }
    assert!(certgens > 8 && bootstraps > certgens, "{certgens} and {bootstraps}");
}

/// docker compose v1.29 reads every file and finds no fault in it.
#[test]
fn docker_compose_accepts_the_files() {
    let Some(docker_compose) = tool::find(Tool::DockerCompose, "docker_compose_accepts_the_files") else { return };
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in all() {
        let deployment = deployment(&text);
        let path = directory.path().join(format!("{name}.yaml"));
        fs::write(&path, infra::compose(&deployment)).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&docker_compose);
            command
                .arg("--file")
                .arg(&path)
                .args(arguments)
                .current_dir(directory.path())
                .env("HOME", directory.path());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{name}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed: BTreeSet<_> = run(&["config", "--services"]).lines().map(str::to_owned).collect();
        let file = file(&deployment);
        assert_eq!(listed, services(&file).map(|(name, _)| name.to_owned()).collect(), "{name}");
    }
}

/// The ports on this machine, on loopback alone, are apart, whatever port the server has.
#[test]
fn every_node_has_a_port_of_this_machine() {
    for port in [2113_u16, 65_534, 65_535] {
        let deployment = deployment(&format!(
            "name = \"es\"\ncluster.nodes = 7\ncluster.read_only_replicas = 8\nserver.port = {port}"
        ));
        let file = file(&deployment);
        let published = deployment.members().map(|node| {
            let published = file["services"][node.name()]["ports"][0].as_str().unwrap();
            let (place, inner) = published.rsplit_once(':').unwrap();
            assert_eq!(inner, port.to_string());
            place.strip_prefix("127.0.0.1:").unwrap().parse::<u16>().unwrap()
        });
        let published: BTreeSet<_> = published.collect();
        assert!(published.len() == 15 && !published.contains(&0), "{published:?}");
    }
}

/// On one machine too: the volume of the single node is there, those of others are empty.
#[test]
fn what_waits_while_a_cluster_grows_is_not_there() {
    let config = infra::Config::parse("name = \"orders\"\n[cluster]\nnodes = 3\ngrow_from = 1\n").unwrap();
    let text = infra::compose(&Deployment::new(config));
    assert!(text.contains("\n  node-2-eventstore:\n") && !text.contains("\n  node-3-eventstore:\n"));
}
