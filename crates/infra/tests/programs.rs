//! What the model says to our programs is read by their own parsers.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::ffi::OsString;

use certgen::{CaSource, Plan};
use infra::{Config, ContainerName, Deployment, Value};

/// certgen's plan for the first node. Variables are given as the flags they stand for: `CERTGEN_A_B` is `--a-b`.
fn certgen_of(configuration: &str) -> Plan {
    let deployment = Deployment::new(Config::parse(configuration).unwrap());
    let task = deployment.nodes()[0].task();
    let certgen = task.containers.iter().find(|container| container.name == ContainerName::Certgen).unwrap();
    let mut arguments = vec![OsString::from("certgen")];
    arguments.extend(certgen.command.iter().map(OsString::from));
    for (name, value) in &certgen.environment {
        let name = name.strip_prefix("CERTGEN_").unwrap().to_ascii_lowercase().replace('_', "-");
        let Value::Literal(value) = value else { panic!("--{name} is not known before the deployment") };
        arguments.push(format!("--{name}={value}").into());
    }
    certgen::cli::parse(arguments).unwrap()
}

#[test]
fn certgen_understands_its_container() {
    let plan = certgen_of(infra::TEMPLATE);
    assert_eq!(plan.ca, CaSource::Ephemeral { state: Some("/ca-state".into()) });
    assert_eq!(plan.server_line.map(certgen::inspect::Line::as_str), Some("24.10"));
    assert_eq!(plan.out.to_str(), Some("/certs"));
    assert!(plan.owner.is_none(), "the container runs as the server's uid");

    let plan = certgen_of(include_str!("golden/cluster/eventstore.toml"));
    assert!(matches!(plan.ca, CaSource::Files { .. }));
    assert!(plan.names.dns().len() > 2, "the node's name, the clients' name and localhost: {}", plan.names);
    certgen_of(include_str!("golden/everything/eventstore.toml"));
}
