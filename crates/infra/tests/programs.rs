//! What the model says to our programs is read by their own parsers.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::ffi::OsString;

use certgen::{CaSource, Plan};
use infra::{Config, Container, ContainerName, Deployment, Value};

/// A container of the first node.
fn container(configuration: &str, name: ContainerName) -> Container {
    let deployment = Deployment::new(Config::parse(configuration).unwrap());
    let mut containers = deployment.nodes()[0].task().containers.clone().into_iter();
    containers.find(|container| container.name == name).unwrap()
}

/// certgen's plan for the first node. Variables are given as the flags they stand for: `CERTGEN_A_B` is `--a-b`.
fn certgen_of(configuration: &str) -> Plan {
    let certgen = container(configuration, ContainerName::Certgen);
    let mut arguments = vec![OsString::from("certgen")];
    arguments.extend(certgen.command.iter().map(OsString::from));
    for (name, value) in certgen.environment.iter().filter(|(name, _)| name != "AWS_REGION") {
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
