//! What the model says to our programs is read by their own parsers.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::ffi::OsString;
use std::process::Command;

use certgen::{CaSource, Plan};
use infra::{BuiltInUser, Container, ContainerName, Value};
use testkit::programs::Programs;

use support::{SCENARIOS, text_of};

/// A container of the first node.
fn container(configuration: &str, name: ContainerName) -> Container {
    let deployment = support::deployment(configuration);
    let mut containers = deployment.nodes()[0].task().containers.clone().into_iter();
    containers.find(|container| container.name == name).unwrap()
}

/// The same of every node and of every read-only replica.
fn containers(configuration: &str, name: ContainerName) -> Vec<Container> {
    let deployment = support::deployment(configuration);
    let all = deployment.members().flat_map(|node| node.task().containers.clone());
    all.filter(|container| container.name == name).collect()
}

/// certgen's plan for the first node. Variables are given as the flags they stand for: `CERTGEN_A_B` is `--a-b`.
fn certgen_of(configuration: &str) -> Plan {
    let certgen = container(configuration, ContainerName::Certgen);
    let mut arguments = vec![OsString::from("certgen")];
    arguments.extend(certgen.command.iter().map(OsString::from));
    for (name, value) in certgen.variables().filter(|(name, _)| *name != "AWS_REGION") {
        let name = name.strip_prefix("CERTGEN_").unwrap().to_ascii_lowercase().replace('_', "-");
        let value = match value {
            Value::Literal(value) => value,
            Value::CaSecret => "arn:aws:secretsmanager:eu-west-1:123456789012:secret:eventstore/ca-abcdef",
            other => panic!("{other:?} for --{name}"),
        };
        arguments.push(format!("--{name}={value}").into());
    }
    certgen::cli::parse(arguments).unwrap()
}

#[test]
fn certgen_understands_its_container() {
    let plan = certgen_of(infra::TEMPLATE);
    assert!(matches!(plan.ca, CaSource::Secret { .. }), "{:?}", plan.ca);
    assert_eq!(plan.server_line.map(certgen::inspect::Line::as_str), Some("24.10"));
    assert_eq!(plan.out.to_str(), Some("/certs"));
    assert!(plan.owner.is_none(), "the container runs as the server's uid");

    let plan = certgen_of(include_str!("golden/cluster/eventstore.toml"));
    assert!(matches!(plan.ca, CaSource::Files { .. }));
    assert!(plan.names.dns().len() > 2, "the node's name, the clients' name and localhost: {}", plan.names);
    let plan = certgen_of(include_str!("golden/everything/eventstore.toml"));
    assert_eq!(plan.ca, CaSource::Ephemeral { state: Some("/ca-state".into()) });
}

/// Two opinions would replace each other's certificates.
#[test]
fn bootstrap_renews_what_certgen_publishes() {
    let certificates = |configuration: &str, name| {
        let all = container(configuration, name).environment.into_iter();
        let all = all.map(|variable| (variable.name, variable.value));
        all.filter(|(name, _)| name.starts_with("CERTGEN_")).collect::<Vec<_>>()
    };
    for configuration in [infra::TEMPLATE, include_str!("golden/everything/eventstore.toml")] {
        let published = certificates(configuration, ContainerName::Certgen);
        assert!(!published.is_empty());
        assert_eq!(certificates(configuration, ContainerName::Bootstrap), published);
    }
    let files = certificates(include_str!("golden/cluster/eventstore.toml"), ContainerName::Bootstrap);
    assert_eq!(files, [], "the authority's files are in certgen's image alone");
}

/// What bootstrap beside the first node is told.
fn bootstrap_of(configuration: &str) -> Result<bootstrap::cli::Command, std::process::ExitCode> {
    told(&container(configuration, ContainerName::Bootstrap))
}

fn told(container: &Container) -> Result<bootstrap::cli::Command, std::process::ExitCode> {
    bootstrap::cli::parse(arguments(container))
}

/// What bootstrap is told. Variables are given as the flags they stand for; the address and the name of the task come from ECS.
fn arguments(container: &Container) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("bootstrap")];
    arguments.extend(container.command.iter().map(OsString::from));
    for (name, value) in container.variables() {
        // Those of certgen are read by certgen's parser, which the test above holds to be the same.
        let Some(flag) = name.strip_prefix("BOOTSTRAP_") else { continue };
        let flag = flag.to_ascii_lowercase().replace('_', "-");
        let value = match value {
            Value::Literal(value) => value.as_str(),
            Value::Secret(BuiltInUser::Admin) => "arn:aws:secretsmanager:eu-west-1:123456789012:secret:es/admin-abcdef",
            Value::Secret(BuiltInUser::Ops) => "arn:aws:secretsmanager:eu-west-1:123456789012:secret:es/ops-abcdef",
            Value::ClientService => "srv-0123456789abcdef",
            other => panic!("{other:?} for --{flag}"),
        };
        match value {
            "true" => arguments.push(format!("--{flag}").into()),
            value => arguments.push(format!("--{flag}={value}").into()),
        }
    }
    arguments.extend(
        ["--address=10.20.0.7", "--task-arn=arn:aws:ecs:eu-west-1:123456789012:task/es/0a"].map(OsString::from),
    );
    arguments
}

#[test]
fn bootstrap_understands_its_container() {
    for scenario in SCENARIOS {
        for container in containers(&text_of(scenario), ContainerName::Bootstrap) {
            assert!(told(&container).is_ok(), "{scenario}");
        }
    }
    for nodes in [1, 3] {
        let open = format!("name = \"es\"\n[server]\ninsecure = true\n[cluster]\nnodes = {nodes}");
        assert!(bootstrap_of(&open).is_ok(), "an insecure server among {nodes}");
    }
    let health = container(infra::TEMPLATE, ContainerName::Bootstrap).health_check.unwrap();
    assert_eq!(health.command, ["/bootstrap", "healthcheck"]);
    let file = "--health-file=/run/task/bootstrap.json";
    let asked = ["bootstrap", "healthcheck", file].map(OsString::from);
    assert!(bootstrap::cli::parse(asked).is_ok());
}

/// What guard says of a command line with the variables of a container: its exit code, and one line for each thing that is wrong.
fn guard(container: &Container, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let literal = |(name, value): (&str, &Value)| match value {
        Value::Literal(text) if name.starts_with("GUARD_") => Some((name.to_owned(), text.clone())),
        _ => None,
    };
    let mut guard = Command::new(Programs::beside_this_test().guard());
    let output = guard.args(arguments).env_clear().envs(container.variables().filter_map(literal)).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect())
}

/// Needs guard's `healthcheck` and its versions. guard reports everything that is wrong, so that one wrong option keeps it from
/// locking anything.
#[test]
fn guard_understands_its_container() {
    for scenario in SCENARIOS {
        for mut container in containers(&text_of(scenario), ContainerName::EventStore) {
            let (code, errors) = guard(&container, &["run", "--not-an-option=x", "--", "server"]);
            assert!(
                code == Some(2) && errors.len() == 1 && errors[0].contains("--not-an-option"),
                "{scenario}: {errors:?}"
            );
            let health = container.health_check.clone().unwrap();
            let [program, arguments @ ..] = health.command.as_slice() else { panic!("{health:?}") };
            assert_eq!(program, "/certs/guard");
            // No guard runs here.
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            assert_eq!(guard(&container, &arguments).0, Some(1), "{scenario}");
            let version = container.environment.iter_mut().find(|variable| variable.name == "GUARD_SERVER_VERSION");
            version.unwrap().value = Value::Literal("26".to_owned());
            let (_, errors) = guard(&container, &["run", "--not-an-option=x", "--", "server"]);
            assert!(
                errors.iter().any(|error| error.contains("--server-version")),
                "a wrong version is found: {errors:?}"
            );
        }
    }
}

/// Every time and window that one of both takes, the other takes too.
#[test]
fn bootstrap_scavenges_when_it_is_said() {
    let times =
        ["03:00", "03:00:30", "Sun 03:00", "wed  23:59:59", "3:00", "24:00", "Sunday 03:00", "03:00:00:00", "Sun", ""];
    let windows = ["8h", "500ms", "1439m", "24h", "168h", "0s", "8", "8d", "-1h", "4294967296ms"];
    let infra = |at: &str, window: &str| {
        // Without a backup, which a window would meet.
        let text = format!(
            "name = \"es\"\ncluster.nodes = 3\nbackup.enabled = false\n[scavenge]\nat = \"{at}\"\nwindow = \"{window}\""
        );
        infra::Config::parse(&text).is_ok().then_some(text)
    };
    let told = |at: &str, window: &str| {
        // Empty means never there, and nothing here.
        let wanted = [&format!("--scavenge-at={at}"), &format!("--scavenge-window={window}")].map(OsString::from);
        let mut all = arguments(&container(infra::TEMPLATE, ContainerName::Bootstrap));
        all.extend(wanted);
        !at.is_empty() && bootstrap::cli::parse(all).is_ok()
    };
    let mut taken = 0;
    for (at, window) in times.iter().flat_map(|at| windows.iter().map(move |window| (*at, *window))) {
        let text = infra(at, window);
        assert_eq!(text.is_some(), told(at, window), "{at} {window}");
        if let Some(text) = text {
            taken += 1;
            assert!(bootstrap_of(&text).is_ok(), "{at} {window}");
        }
    }
    assert!(taken > 8, "{taken}");
}
