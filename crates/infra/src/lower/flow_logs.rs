//! What the traffic in a new VPC was: flow logs, and who writes them.

use serde_json::{Value, json};

use super::{Statement, because, document, encryption, name_tag, policy};
use crate::cfn::{LogicalId, Resource, Template};
use crate::model::{Deployment, FlowLogs};

/// Seconds over which a connection is one record: the longer of the two that there are, which makes fewer of them.
const AGGREGATION: u32 = 600;

pub(super) fn lower(template: &mut Template, deployment: &Deployment, vpc: &LogicalId, flow_logs: FlowLogs) {
    let traffic = match flow_logs {
        FlowLogs::Rejected => "REJECT",
        FlowLogs::All => "ALL",
        FlowLogs::Off => return,
    };
    let logs = &deployment.config().logs;
    let mut properties = json!({"RetentionInDays": logs.retention_days});
    if let Some(key) = encryption::key(&logs.encryption) {
        properties["KmsKeyId"] = key;
    }
    // It goes with its VPC: what it tells of is gone then, and nobody would look for it.
    let group = template.add("FlowLogGroup", Resource::new("AWS::Logs::LogGroup", properties));
    let role = role(template, deployment, &group);
    let properties = json!({
        "ResourceId": vpc.reference(),
        "ResourceType": "VPC",
        "TrafficType": traffic,
        "LogDestinationType": "cloud-watch-logs",
        "LogGroupName": group.reference(),
        "DeliverLogsPermissionArn": role.attribute("Arn"),
        "MaxAggregationInterval": AGGREGATION,
        "Tags": name_tag(deployment, "flow"),
    });
    template.add("FlowLog", Resource::new("AWS::EC2::FlowLog", properties));
}

/// AWS asks for the creation and description of any group as well ("IAM role for publishing flow logs to CloudWatch Logs"); this
/// group is there, and a role that may make it would make it anew after the stack.
fn role(template: &mut Template, deployment: &Deployment, group: &LogicalId) -> LogicalId {
    let write = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"];
    let arn: Value = group.attribute("Arn");
    let trust = [Statement::trust("vpc-flow-logs.amazonaws.com", "the VPC writes its flow logs, network.flow_logs")];
    let statements =
        [Statement::allow("WriteFlowLogs", &write, &arn, "VPC flow logs: a record is written every ten minutes")];
    let properties = json!({
        "Description": format!("{}: writes the flow logs of the VPC", deployment.name()),
        "AssumeRolePolicyDocument": document(&trust),
        "Policies": [policy("write", &statements)],
    });
    let role = Resource::new("AWS::IAM::Role", properties);
    template.add("FlowLogRole", because(role, trust.iter().chain(&statements)))
}
