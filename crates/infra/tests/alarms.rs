//! What people hear of: that there is an alarm for it, on a number that is really told, and that it reaches somebody.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bootstrap::metric_names;
use serde_json::{Value, json};

use support::{SCENARIOS, deployment, of_type, only, template, text_of};

/// The alarms of a configuration, by id.
fn alarms(text: &str) -> BTreeMap<String, Value> {
    let template = template(text, "EventStore");
    let found = of_type(&template, "AWS::CloudWatch::Alarm").into_iter();
    found.map(|(id, alarm)| (id.to_owned(), alarm["Properties"].clone())).collect()
}

fn ids(text: &str) -> Vec<String> {
    alarms(text).into_keys().collect()
}

fn named(rest: &str) -> String {
    format!("name = \"es\"\n{rest}")
}

/// The metrics of an alarm, those of its expression too.
fn metrics(alarm: &Value) -> Vec<&Value> {
    match alarm["Metrics"].as_array() {
        None => vec![alarm],
        Some(all) => {
            all.iter().filter(|one| one["MetricStat"].is_object()).map(|one| &one["MetricStat"]["Metric"]).collect()
        }
    }
}

fn dimensions(metric: &Value) -> BTreeMap<&str, &Value> {
    let all = metric["Dimensions"].as_array().unwrap().iter();
    all.map(|dimension| (dimension["Name"].as_str().unwrap(), &dimension["Value"])).collect()
}

#[test]
fn by_default_every_node_password_and_file_system_is_watched() {
    let of_node =
        |number: u8| ["Certificate", "Memory", "Registered", "Running"].map(|what| format!("Node{number}{what}Alarm"));
    let built_in = ["AdminSecretAgeAlarm", "OpsSecretAgeAlarm", "ThroughputAlarm"].map(str::to_owned);
    for nodes in [1, 3] {
        let mut expected: Vec<_> = (1..=nodes).flat_map(of_node).chain(built_in.clone()).collect();
        // A cluster is backed up by default, and one of its nodes is stopped for that.
        expected.extend((nodes > 1).then(|| "BackupMachineAlarm".to_owned()));
        expected.sort();
        assert_eq!(ids(&named(&format!("cluster.nodes = {nodes}"))), expected);
    }
}

/// An alarm on a number that nobody tells is silent for ever, or never silent.
#[test]
fn the_numbers_of_bootstrap_are_called_as_bootstrap_calls_them() {
    let node =
        BTreeMap::from([(metric_names::DEPLOYMENT, json!("es.db.internal")), (metric_names::NODE, json!("node-1"))]);
    let user = |login: &str| {
        BTreeMap::from([(metric_names::DEPLOYMENT, json!("es.db.internal")), (metric_names::USER, json!(login))])
    };
    let expected = BTreeMap::from([
        ("AdminSecretAgeAlarm", (metric_names::ROTATION_AGE, user("admin"))),
        ("Node1CertificateAlarm", (metric_names::CERTIFICATE_DAYS_LEFT, node.clone())),
        ("Node1RegisteredAlarm", (metric_names::REGISTERED, node)),
        ("OpsSecretAgeAlarm", (metric_names::ROTATION_AGE, user("ops"))),
    ]);
    let alarms = alarms(&named(""));
    let found: BTreeMap<_, _> = alarms
        .iter()
        .filter(|(_, alarm)| alarm["Namespace"] == metric_names::NAMESPACE)
        .map(|(id, alarm)| {
            let dimensions = dimensions(alarm).into_iter().map(|(name, value)| (name, value.clone())).collect();
            (id.as_str(), (alarm["MetricName"].as_str().unwrap(), dimensions))
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn where_nothing_is_secured_nobody_waits_for_certificates_and_passwords() {
    let insecure = ids(&named("server.insecure = true"));
    assert_eq!(insecure, ["Node1MemoryAlarm", "Node1RegisteredAlarm", "Node1RunningAlarm", "ThroughputAlarm"]);
}

#[test]
fn only_passwords_that_are_replaced_by_age_are_watched_and_a_day_later() {
    let users = "[[users]]\nlogin = \"shop\"\n[[users]]\nlogin = \"report\"\nalternate = false\n";
    let ages = |rotate: &str| -> Vec<(String, u64)> {
        let alarms = alarms(&named(&format!("[credentials]\nrotate_every = \"{rotate}\"\n{users}")));
        let ages = alarms.into_iter().filter(|(_, alarm)| alarm["MetricName"] == metric_names::ROTATION_AGE);
        ages.map(|(id, alarm)| (id, alarm["Threshold"].as_u64().unwrap())).collect()
    };
    let watched = ["AdminSecretAgeAlarm", "OpsSecretAgeAlarm", "UserSecretshopAgeAlarm"];
    assert_eq!(ages("30d"), watched.map(|id| (id.to_owned(), 31 * 86_400)));
    assert_eq!(ages("3650d"), watched.map(|id| (id.to_owned(), 3651 * 86_400)));
    assert_eq!(ages("never"), []);
}

#[test]
fn the_file_system_is_watched_for_what_its_mode_can_run_out_of() {
    let of_file_system = |text: &str| -> Vec<(String, Vec<String>)> {
        let alarms = alarms(text);
        let name = |metric: &Value| metric["MetricName"].as_str().unwrap().to_owned();
        let found = alarms.iter().map(|(id, alarm)| (id, metrics(alarm)));
        let found = found.filter(|(_, metrics)| metrics[0]["Namespace"] == "AWS/EFS");
        found.map(|(id, metrics)| (id.clone(), metrics.into_iter().map(name).collect())).collect()
    };
    let alarm = |id: &str, metrics: &[&str]| (id.to_owned(), metrics.iter().map(|name| (*name).to_owned()).collect());
    let throughput: (String, Vec<String>) = alarm("ThroughputAlarm", &["MeteredIOBytes", "PermittedThroughput"]);
    let operations = alarm("IoLimitAlarm", &["PercentIOLimit"]);
    let credits = alarm("BurstCreditAlarm", &["BurstCreditBalance"]);
    assert_eq!(of_file_system(&named("")), std::slice::from_ref(&throughput));
    assert_eq!(
        of_file_system(&named("data.throughput = \"bursting\"")),
        [credits, operations.clone(), throughput.clone()]
    );
    let provisioned = "[data]\nthroughput = \"provisioned\"\nprovisioned_mibps = 8\n";
    assert_eq!(of_file_system(&named(provisioned)), [operations.clone(), throughput.clone()]);
    assert_eq!(of_file_system(&text_of("existing")), [operations, throughput], "its mode is not known");
}

/// What says nothing when nothing runs must not pass for good, and what another alarm tells is not told twice.
#[test]
fn a_node_that_tells_nothing_is_told_of() {
    for (id, alarm) in alarms(&named("")) {
        let silent = ["Node1RegisteredAlarm", "Node1RunningAlarm"].contains(&id.as_str());
        assert_eq!(alarm["TreatMissingData"], if silent { "breaching" } else { "notBreaching" }, "{id}");
    }
}

/// Every number would be missing, and the first thing that people hear of a new deployment would be an alarm.
#[test]
fn no_node_is_missed_before_it_is_there() {
    let template = template(&named(""), "EventStore");
    assert_eq!(template["Resources"]["Node1RegisteredAlarm"]["DependsOn"], json!(["Node1Service"]));
    let running = &template["Resources"]["Node1RunningAlarm"];
    assert!(running.to_string().contains(r#"{"Fn::GetAtt":["Node1Service","Name"]}"#), "it refers to the service");
}

/// A service that is scaled to none on purpose is not down.
#[test]
fn a_task_is_missed_where_ecs_should_run_it() {
    let alarms = alarms(&named("alarms.down_minutes = 7"));
    let running = &alarms["Node1RunningAlarm"];
    assert_eq!(running["Metrics"][0]["Expression"], "desired-running");
    assert_eq!((&running["Threshold"], &running["ComparisonOperator"]), (&json!(0), &json!("GreaterThanThreshold")));
    assert_eq!(running["EvaluationPeriods"], 7);
    for (metric, name) in metrics(running).into_iter().zip(["DesiredTaskCount", "RunningTaskCount"]) {
        assert_eq!((&metric["Namespace"], &metric["MetricName"]), (&json!("ECS/ContainerInsights"), &json!(name)));
        let (cluster, service) = (json!({"Ref": "Cluster"}), json!({"Fn::GetAtt": ["Node1Service", "Name"]}));
        assert_eq!(dimensions(metric), [("ClusterName", &cluster), ("ServiceName", &service)].into());
    }
    let template = template(&named(""), "EventStore");
    let settings = &only(&template, "AWS::ECS::Cluster")["ClusterSettings"];
    assert_eq!(*settings, json!([{"Name": "containerInsights", "Value": "enabled"}]), "nobody else tells it");
}

/// CloudWatch refuses more than a day of periods shorter than an hour (AWS, `PutMetricAlarm`).
#[test]
fn no_alarm_looks_back_further_than_cloudwatch_allows() {
    for alarms in [alarms(&named("")), alarms(&named("[alarms]\ndown_minutes = 1440\nunregistered_minutes = 1440\n"))] {
        for (id, alarm) in alarms {
            let period = alarm["Period"].as_u64().or(alarm["Metrics"][1]["MetricStat"]["Period"].as_u64()).unwrap();
            assert!(alarm["EvaluationPeriods"].as_u64().unwrap() * period <= 86_400, "{id}");
        }
    }
}

#[test]
fn the_numbers_of_the_configuration_are_those_of_the_alarms() {
    let alarms = alarms(&text_of("everything"));
    let number = |id: &str, key: &str| alarms[id][key].as_u64().unwrap();
    assert_eq!(number("Node1RunningAlarm", "EvaluationPeriods"), 5);
    assert_eq!(number("Node1RegisteredAlarm", "EvaluationPeriods"), 36);
    assert_eq!(number("Node1MemoryAlarm", "Threshold"), 80);
    assert_eq!(number("Node1CertificateAlarm", "Threshold"), 60);
    assert_eq!(number("ThroughputAlarm", "Threshold"), 75);
    assert_eq!(number("IoLimitAlarm", "Threshold"), 75);
    assert_eq!(number("BurstCreditAlarm", "Threshold"), 1000 << 30);
}

#[test]
fn without_anybody_to_hear_there_are_alarms_and_a_warning() {
    let heard_by_nobody = |text: &str| deployment(text).warnings().iter().any(|warning| warning.key == "alarms.topic");
    let template = template(&named(""), "EventStore");
    for kind in ["AWS::SNS::Topic", "AWS::Events::Rule"] {
        assert!(of_type(&template, kind).is_empty(), "{kind}");
    }
    assert!(alarms(&named("")).values().all(|alarm| alarm["AlarmActions"].is_null()));
    assert!(heard_by_nobody(&named("")));
    assert!(!heard_by_nobody(&named("alarms.enabled = false")));
    assert!(!heard_by_nobody(&text_of("everything")) && !heard_by_nobody(&text_of("alarms")));
    assert_eq!(ids(&named("alarms.enabled = false")), [] as [&str; 0]);
}

#[test]
fn every_alarm_and_every_event_goes_to_the_topic() {
    for (scenario, topic) in [
        ("alarms", json!({"Ref": "AlarmTopic"})),
        ("everything", json!("arn:aws:sns:eu-west-1:123456789012:operations")),
    ] {
        for (id, alarm) in alarms(&text_of(scenario)) {
            assert_eq!((&alarm["AlarmActions"], &alarm["OKActions"]), (&json!([topic]), &json!([topic])), "{id}");
        }
        let template = template(&text_of(scenario), "EventStore");
        let rules = of_type(&template, "AWS::Events::Rule");
        let ids: Vec<_> = rules.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, ["BackupFailedRule", "DeploymentFailedRule", "TaskRetirementRule"], "{scenario}");
        for (id, rule) in rules {
            assert_eq!(rule["Properties"]["Targets"], json!([{"Id": "topic", "Arn": topic}]), "{id}");
            assert_eq!(rule["Properties"]["State"], "ENABLED");
        }
    }
    let own = template(&named("alarms.emails = [\"a@b\"]"), "EventStore");
    let rules: Vec<_> = of_type(&own, "AWS::Events::Rule").into_iter().map(|(id, _)| id).collect();
    assert_eq!(rules, ["DeploymentFailedRule", "TaskRetirementRule"], "nothing is backed up");
}

/// What AWS sends, as its documentation shows it, and whether a rule takes it.
#[test]
fn the_rules_take_the_events_that_aws_sends() {
    let template = template(&text_of("alarms"), "EventStore");
    let pattern = |id: &str| template["Resources"][id]["Properties"]["EventPattern"].clone();
    let deployment = |name: &str, cluster: &str| {
        json!({
            "detail-type": "ECS Deployment State Change", "source": "aws.ecs",
            "resources": [format!("arn:aws:ecs:us-west-2:111122223333:service/{cluster}/orders-Node1Service")],
            "detail": {"eventType": "ERROR", "eventName": name, "deploymentId": "ecs-svc/123"},
        })
    };
    let retirement = |code: &str| {
        json!({
            "detail-type": "AWS Health Event", "source": "aws.health", "resources": ["cluster|service"],
            "detail": {"service": "ECS", "eventTypeCode": code, "eventTypeCategory": "scheduledChange"},
        })
    };
    let backup = |state: &str, id: &str| {
        let arn = format!("arn:aws:elasticfilesystem:us-west-2:111122223333:file-system/{id}");
        json!({
            "detail-type": "Backup Job State Change", "source": "aws.backup",
            "detail": {"state": state, "resourceArn": arn, "resourceType": "EFS"},
        })
    };
    for (rule, event, taken) in [
        ("DeploymentFailedRule", deployment("SERVICE_DEPLOYMENT_FAILED", "ours"), true),
        ("DeploymentFailedRule", deployment("SERVICE_DEPLOYMENT_COMPLETED", "ours"), false),
        ("DeploymentFailedRule", deployment("SERVICE_DEPLOYMENT_FAILED", "theirs"), false),
        ("TaskRetirementRule", retirement("AWS_ECS_TASK_PATCHING_RETIREMENT"), true),
        ("TaskRetirementRule", retirement("AWS_ECS_OPERATIONAL_ISSUE"), false),
        ("BackupFailedRule", backup("FAILED", "fs-ours"), true),
        ("BackupFailedRule", backup("EXPIRED", "fs-ours"), true),
        ("BackupFailedRule", backup("ABORTED", "fs-ours"), true),
        ("BackupFailedRule", backup("COMPLETED", "fs-ours"), false),
        ("BackupFailedRule", backup("FAILED", "fs-theirs"), false),
        ("BackupFailedRule", deployment("SERVICE_DEPLOYMENT_FAILED", "ours"), false),
    ] {
        assert_eq!(takes(&resolved(&pattern(rule)), &event), taken, "{rule}: {event}");
    }
}

/// A pattern as CloudFormation would make it.
fn resolved(pattern: &Value) -> Value {
    match pattern {
        Value::Object(members) if members.contains_key("Fn::Sub") => {
            let text = members["Fn::Sub"].as_str().or(members["Fn::Sub"][0].as_str()).unwrap();
            let values = [
                ("AWS::Partition", "aws"),
                ("AWS::Region", "us-west-2"),
                ("AWS::AccountId", "111122223333"),
                ("Cluster", "ours"),
                ("Id", "fs-ours"),
            ];
            let text =
                values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
            assert!(!text.contains('$'), "{text}");
            json!(text)
        }
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| (key.clone(), resolved(member)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(resolved).collect(),
        other => other.clone(),
    }
}

/// Whether a pattern takes an event (AWS, "Creating event patterns"), as far as ours go.
fn takes(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.iter().all(|(key, member)| takes(member, &event[key])),
        Value::Array(allowed) => {
            let one = |value: &Value| {
                allowed.iter().any(|allowed| match allowed["prefix"].as_str() {
                    Some(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
                    None => allowed == value,
                })
            };
            event.as_array().map_or_else(|| one(event), |values| values.iter().any(one))
        }
        other => panic!("{other} in a pattern"),
    }
}

#[test]
fn each_address_is_asked_once_whoever_comes_or_goes() {
    let subscriptions = |emails: &str| -> BTreeSet<(String, String)> {
        let template = template(&named(&format!("alarms.emails = [{emails}]")), "EventStore");
        let found = of_type(&template, "AWS::SNS::Subscription").into_iter();
        found.map(|(id, it)| (id.to_owned(), it["Properties"]["Endpoint"].to_string())).collect()
    };
    let (both, other_way_round) = (subscriptions("\"a@b\", \"c@d\""), subscriptions("\"c@d\", \"a@b\""));
    assert_eq!(both, other_way_round);
    assert_eq!(both.len(), 2);
    assert!(subscriptions("\"c@d\"").is_subset(&both));
    // As long as an address can be.
    let long = format!("\"{}@{}\"", "a".repeat(64), "-".repeat(189));
    assert_eq!(subscriptions(&long).len(), 1);
}

#[test]
fn cloudwatch_and_eventbridge_may_publish_and_nobody_else() {
    let template = template(&text_of("alarms"), "EventStore");
    let policy = only(&template, "AWS::SNS::TopicPolicy");
    let statements = policy["PolicyDocument"]["Statement"].as_array().unwrap();
    let services: Vec<_> =
        statements.iter().map(|statement| statement["Principal"]["Service"].as_str().unwrap()).collect();
    assert_eq!(services, ["cloudwatch.amazonaws.com", "events.amazonaws.com"]);
    assert!(statements.iter().all(|statement| statement["Action"] == "sns:Publish"));
    assert_eq!(statements[0]["Condition"]["StringEquals"]["aws:SourceAccount"], json!({"Ref": "AWS::AccountId"}));
    assert!(statements[1]["Condition"].is_null(), "EventBridge takes none there");
    for (_, rule) in of_type(&template, "AWS::Events::Rule") {
        assert_eq!(rule["DependsOn"], json!(["AlarmTopicPolicy"]));
    }
    let key = "arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";
    let text = named(&format!("[alarms]\nemails = [\"a@b\"]\nkms_key = \"{key}\"\n"));
    assert_eq!(only(&support::template(&text, "EventStore"), "AWS::SNS::Topic")["KmsMasterKeyId"], key);
}

/// State does not depend on who hears of it.
#[test]
fn alarms_are_in_the_stack_of_the_services() {
    let stateful = template(&text_of("alarms"), "StatefulResources");
    for kind in ["AWS::CloudWatch::Alarm", "AWS::SNS::Topic", "AWS::Events::Rule"] {
        assert!(of_type(&stateful, kind).is_empty(), "{kind}");
    }
}

#[test]
fn the_page_lists_every_alarm_and_every_rule() {
    let page = include_str!("../../../docs/alarms.md");
    for scenario in SCENARIOS {
        let template = template(&text_of(scenario), "EventStore");
        for kind in ["AWS::CloudWatch::Alarm", "AWS::Events::Rule"] {
            for (id, _) in of_type(&template, kind) {
                let node = id.strip_prefix("Node").or_else(|| id.strip_prefix("Replica"));
                let node = node.and_then(|rest| rest.split_at_checked(1));
                let user = id.strip_prefix("UserSecret").map(|_| "UserSecret<login>AgeAlarm".to_owned());
                let listed = user.or(node.map(|(_, what)| format!("Node<n>{what}"))).unwrap_or(id.to_owned());
                assert!(page.contains(&format!("`{listed}`")), "{scenario}: {id}");
            }
        }
    }
}
