//! Deployment → templates; pure.

mod backup;
mod data;
mod encryption;
mod network;
mod roles;
mod secrets;
mod security;
mod service;
mod task;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cfn::{Template, import, sub};
use crate::model::{Deployment, Program};

pub(crate) use self::task::built_repository;

/// The tags of images that whoever deploys builds.
pub(crate) type BuiltImages = BTreeMap<Program, String>;

/// The templates of a deployment in the order in which they are deployed, with their stack names.
pub(crate) fn stacks(deployment: &Deployment, built: &BuiltImages) -> [(String, Template); 2] {
    let name = deployment.name();
    [
        (format!("{name}-StatefulResources"), stateful(deployment)),
        (format!("{name}-EventStore"), service::lower(deployment, built)),
    ]
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

/// The logical id of a user's secret: the same for a login as long as it is there, or its password would be generated anew.
/// What an id may not hold is `Z` and two hexadecimal digits, and so is `Z` itself.
fn secret_id(login: &str) -> String {
    match login {
        "admin" => return "AdminSecret".to_owned(),
        "ops" => return "OpsSecret".to_owned(),
        _ => {}
    }
    let escaped = login.bytes().map(|byte| match byte {
        b'Z' => "Z5A".to_owned(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("Z{byte:02X}"),
    });
    format!("UserSecret{}", escaped.collect::<String>())
}

/// The output with the ARN of the secret of the certificate authority.
pub(super) const CA_SECRET_ARN: &str = "CaSecretArn";

/// The export name of a value that crosses from one stack to another. A stable interface.
fn export_name(deployment: &Deployment, value: &str) -> String {
    format!("{}:{value}", deployment.name())
}

/// Exports a value of the first stack, for the second and for consumers.
fn export(template: &mut Template, deployment: &Deployment, value: &str, description: &str, is: Value) {
    template.export(value, description, is, export_name(deployment, value));
}

/// A value that the first stack exports.
fn imported(deployment: &Deployment, value: &str) -> Value {
    import(export_name(deployment, value))
}

/// The ARN of a user's secret, in the second stack.
fn secret_arn(deployment: &Deployment, login: &str) -> Value {
    imported(deployment, &format!("{}Arn", secret_id(login)))
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

/// Who may assume a role: one AWS service, on behalf of this account alone.
fn trust(service: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            },
        }],
    })
}

fn statement(sid: &str, actions: &[&str], resource: &Value) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource})
}

fn policy(name: &str, statements: &[Value]) -> Value {
    json!({"PolicyName": name, "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}})
}

fn name_tag(deployment: &Deployment, what: &str) -> Value {
    json!([{"Key": "Name", "Value": format!("{}-{what}", deployment.name())}])
}
