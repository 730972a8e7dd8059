//! What is recorded of the traffic in a VPC of the deployment, and by whom.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use infra::Config;
use serde_json::json;

use support::{of_type, only, template, text_of};

#[test]
fn refused_connections_are_recorded_unless_somebody_says_otherwise() {
    for (keys, expected) in [("", "REJECT"), ("flow_logs = \"rejected\"\n", "REJECT"), ("flow_logs = \"all\"\n", "ALL")]
    {
        let template =
            template(&format!("name = \"es\"\n[network]\n{keys}[logs]\nretention_days = 7\n"), "StatefulResources");
        let flow_log = only(&template, "AWS::EC2::FlowLog");
        assert_eq!((&flow_log["TrafficType"], &flow_log["ResourceId"]), (&json!(expected), &json!({"Ref": "Vpc"})));
        assert_eq!(flow_log["LogGroupName"], json!({"Ref": "FlowLogGroup"}));
        assert_eq!(only(&template, "AWS::Logs::LogGroup")["RetentionInDays"], 7);
    }
    for text in ["name = \"es\"\nnetwork.flow_logs = \"none\"", &text_of("existing")] {
        let template = template(text, "StatefulResources");
        for kind in ["AWS::EC2::FlowLog", "AWS::Logs::LogGroup"] {
            assert!(of_type(&template, kind).is_empty(), "{kind}");
        }
    }
}

#[test]
fn who_writes_them_may_write_into_their_group_alone() {
    let template = template("name = \"es\"", "StatefulResources");
    let role = only(&template, "AWS::IAM::Role");
    let trust = &role["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(trust["Principal"], json!({"Service": "vpc-flow-logs.amazonaws.com"}));
    assert_eq!(trust["Condition"]["StringEquals"]["aws:SourceAccount"], json!({"Ref": "AWS::AccountId"}));
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Resource"], json!({"Fn::GetAtt": ["FlowLogGroup", "Arn"]}));
    let actions = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"];
    assert_eq!(statements[0]["Action"], json!(actions));
}

#[test]
fn they_are_encrypted_like_the_other_logs() {
    let template = template("name = \"es\"\nlogs.kms_key = \"own\"", "StatefulResources");
    assert_eq!(only(&template, "AWS::Logs::LogGroup")["KmsKeyId"], json!({"Fn::GetAtt": ["Key", "Arn"]}));
}

#[test]
fn a_vpc_of_somebody_else_is_not_ours_to_record() {
    let text =
        "name = \"es\"\n[network]\nvpc = \"vpc-01234567\"\nsubnets = [\"subnet-01234567\"]\nflow_logs = \"all\"\n";
    let errors = Config::parse(text).unwrap_err();
    assert_eq!(errors.0.iter().map(|mistake| mistake.key.as_str()).collect::<Vec<_>>(), ["network.flow_logs"]);
}
