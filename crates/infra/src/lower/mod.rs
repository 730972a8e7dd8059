//! Deployment → templates; pure.

mod alarms;
mod backup;
mod consumer;
mod data;
mod encryption;
mod endpoints;
mod extra;
mod flow_logs;
mod license;
mod network;
mod notifications;
mod privileges;
mod pull_through;
mod repositories;
mod roles;
mod secrets;
mod security;
mod service;
mod statement;
mod stop;
mod task;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cfn::{Template, sub};
use crate::exports::Export;
use crate::model::{Deployment, Program};
use crate::values::Login;

use self::statement::{Statement, because, document, policy};

pub(crate) use self::backup::vault_name;
pub(crate) use self::consumer::consumer;
pub use self::privileges::{Grant, Privilege, Role, privileges};
pub(crate) use self::repositories::{repositories, repositories_stack};
pub(crate) use self::task::{OWN_REPOSITORIES, built_repository};

/// The tags of images that whoever deploys builds.
pub(crate) type BuiltImages = BTreeMap<Program, String>;

/// The names of a deployment's stacks in the order in which they are deployed.
pub(crate) fn stack_names(deployment: &Deployment) -> [String; 2] {
    ["StatefulResources", "EventStore"].map(|stack| format!("{}-{stack}", deployment.name()))
}

/// Their templates.
pub(crate) fn stacks(deployment: &Deployment, built: &BuiltImages) -> [Template; 2] {
    [stateful(deployment), service::lower(deployment, built)]
}

/// Network, file system, backup and secrets. What holds state is retained.
fn stateful(deployment: &Deployment) -> Template {
    let description = format!("{}: network, file system and secrets of EventStoreDB", deployment.name());
    let mut template = Template::new(description);
    encryption::lower(&mut template, deployment);
    let network = network::lower(&mut template, deployment);
    let group = security::lower(&mut template, deployment, &network);
    let file_system = data::lower(&mut template, deployment, &network, &group);
    backup::lower(&mut template, deployment, &file_system);
    secrets::lower(&mut template, deployment);
    template
}

/// Exports a value for the other stack and for consumers.
fn export(template: &mut Template, deployment: &Deployment, export: &Export, is: Value) {
    template.export(&export.to_string(), export.description(), is, export.name(deployment.name()));
}

/// The ARN of a user's secret, in the second stack.
fn secret_arn(deployment: &Deployment, login: &str) -> Value {
    deployment.import(&Export::SecretArn(Login::known(login)))
}

/// The ARN of a file system.
fn file_system_arn(id: &Value) -> Value {
    elastic_file_system_arn("file-system", id)
}

fn elastic_file_system_arn(kind: &str, id: &Value) -> Value {
    json!({"Fn::Sub": [
        format!("arn:${{AWS::Partition}}:elasticfilesystem:${{AWS::Region}}:${{AWS::AccountId}}:{kind}/${{Id}}"),
        {"Id": id},
    ]})
}

/// To use a key, but only through Secrets Manager, which asks KMS in the name of its caller.
fn through_secrets_manager(statement: Statement) -> Statement {
    let service = sub("secretsmanager.${AWS::Region}.${AWS::URLSuffix}");
    statement.when("kms:ViaService", &service)
}

fn name_tag(deployment: &Deployment, what: &str) -> Value {
    json!([{"Key": "Name", "Value": format!("{}-{what}", deployment.name())}])
}
