//! Who hears of alarms, and of events that are no number: a topic, and rules that send to it.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::service::Shared;
use super::{Statement, because, document, file_system_arn, sub};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{FileSystem, NewFileSystem, Notify, Watch};

/// Gives the ARN of the topic; none if nobody is to hear.
pub(super) fn lower(template: &mut Template, shared: &Shared<'_>, watch: &Watch) -> Option<Value> {
    let (topic, policy) = match &watch.notify {
        Notify::Nobody => return None,
        Notify::Topic(arn) => (json!(arn.as_str()), None),
        Notify::Emails { addresses, key } => {
            let mut properties = json!({"DisplayName": shared.deployment.name().as_str()});
            if let Some(key) = key {
                properties["KmsMasterKeyId"] = json!(key.as_str());
            }
            let topic = template.add("AlarmTopic", Resource::new("AWS::SNS::Topic", properties));
            for address in addresses {
                let properties =
                    json!({"TopicArn": topic.reference(), "Protocol": "email", "Endpoint": address.as_str()});
                // By the address, so that it is not asked again when another comes or goes.
                let id = format!("AlarmEmail{}", short(address.as_str()));
                template.add(id, Resource::new("AWS::SNS::Subscription", properties));
            }
            (topic.reference(), Some(policy(template, &topic)))
        }
    };
    let rules = Rules { topic: &topic, policy };
    // The cluster's: of the nodes, and of consumers that run beside them.
    let services = sub("arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:service/${Cluster}/");
    rules.add(
        template,
        "DeploymentFailedRule",
        "ECS gave up an update and went back",
        &json!({
            "source": ["aws.ecs"],
            "detail-type": ["ECS Deployment State Change"],
            "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
            "resources": [{"prefix": services}],
        }),
    );
    // AWS names services there in a form of its own, so it is the account's: better one too many than none.
    rules.add(
        template,
        "TaskRetirementRule",
        "AWS will stop tasks to replace what they run on",
        &json!({
            "source": ["aws.health"],
            "detail-type": ["AWS Health Event"],
            "detail": {"service": ["ECS"], "eventTypeCode": ["AWS_ECS_TASK_PATCHING_RETIREMENT"]},
        }),
    );
    let config = shared.deployment.config();
    let automatic = matches!(&config.data.file_system, FileSystem::New(NewFileSystem { automatic_backups: true, .. }));
    if config.backup.is_some() || automatic {
        let file_system = file_system_arn(&shared.deployment.import(&Export::FileSystemId));
        rules.add(
            template,
            "BackupFailedRule",
            "a backup of the file system was not made",
            &json!({
                "source": ["aws.backup"],
                "detail-type": ["Backup Job State Change"],
                "detail": {"state": ["ABORTED", "EXPIRED", "FAILED"], "resourceArn": [file_system]},
            }),
        );
    }
    Some(topic)
}

/// A text of any length as a part of a logical id.
fn short(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref()[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Lets CloudWatch and `EventBridge` publish. Of the former only this account's alarms; `EventBridge` takes no conditions there
/// (AWS, "Using resource-based policies for Amazon EventBridge": Amazon SNS permissions).
fn policy(template: &mut Template, topic: &LogicalId) -> LogicalId {
    let allow = |sid: &str, service: &str, reason: &str| {
        let json = json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sns:Publish",
            "Resource": topic.reference(),
        });
        Statement::from_json(json, reason)
    };
    let alarms = allow("Alarms", "cloudwatch.amazonaws.com", "CloudWatch: an alarm goes off or ends")
        .when("aws:SourceAccount", &json!({"Ref": "AWS::AccountId"}));
    let events = allow(
        "Events",
        "events.amazonaws.com",
        "EventBridge: a backup or deployment has failed, or tasks are to be retired; it takes no conditions there",
    );
    let statements = [alarms, events];
    let properties = json!({
        "Topics": [topic.reference()],
        "PolicyDocument": document(&statements),
    });
    template.add("AlarmTopicPolicy", because(Resource::new("AWS::SNS::TopicPolicy", properties), &statements))
}

struct Rules<'a> {
    topic: &'a Value,
    /// What lets them publish, where it is the deployment's.
    policy: Option<LogicalId>,
}

impl Rules<'_> {
    fn add(&self, template: &mut Template, id: &str, description: &str, pattern: &Value) {
        let properties = json!({
            "Description": description,
            "EventPattern": pattern,
            "State": "ENABLED",
            "Targets": [{"Id": "topic", "Arn": self.topic}],
        });
        let rule = Resource::new("AWS::Events::Rule", properties);
        template.add(id, self.policy.iter().fold(rule, Resource::after));
    }
}
