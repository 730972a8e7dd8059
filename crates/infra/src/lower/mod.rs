//! Deployment → templates; pure.

mod service;
mod stateful;

use serde_json::{Value, json};

use crate::cfn::Template;
use crate::config::Config;
use crate::model::Deployment;

pub(crate) use service::lower as service;
pub(crate) use stateful::lower as stateful;

/// The templates of a deployment in the order in which they are deployed, with their stack names.
pub(crate) fn stacks(deployment: &Deployment) -> [(String, Template); 2] {
    let name = deployment.name();
    [(format!("{name}-StatefulResources"), stateful(deployment)), (format!("{name}-EventStore"), service(deployment))]
}

/// The zones, and so the subnets of a kind: a single node may run in either of two, a cluster stands in three, or the loss
/// of one zone could be the loss of the majority.
fn zones(config: &Config) -> u8 {
    if config.nodes.is_cluster() { 3 } else { 2 }
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
const CA_SECRET_ARN: &str = "CaSecretArn";

/// The export name of a value that crosses from one stack to another. A stable interface.
fn export_name(deployment: &Deployment, value: &str) -> String {
    format!("{}:{value}", deployment.name())
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
