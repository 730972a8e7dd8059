//! Read-only replicas: nodes of their own in everything, which find the voters and count for none of what a majority decides.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use infra::{Container, ContainerName, Deployment, Node, Value as Setting};
use serde_json::{Value, json};

use support::{deployment, of_type, template};

const TEXT: &str =
    "name = \"es\"\n[cluster]\nnodes = 3\nread_only_replicas = 4\n[server]\nport = 3000\nlog_volume = true\n";

fn without() -> String {
    TEXT.replace("read_only_replicas = 4\n", "")
}

fn replicas(deployment: &Deployment) -> Vec<&Node> {
    deployment.members().filter(|node| node.is_read_only_replica()).collect()
}

fn container(node: &Node, name: ContainerName) -> &Container {
    node.task().containers.iter().find(|container| container.name == name).unwrap()
}

fn variable<'a>(node: &'a Node, name: ContainerName, variable: &str) -> Option<&'a Setting> {
    container(node, name).variables().find(|(found, _)| *found == variable).map(|(_, value)| value)
}

fn text(text: &str) -> Setting {
    Setting::Literal(text.to_owned())
}

#[test]
fn a_replica_is_told_of_all_voters_and_nobody_of_it() {
    let deployment = deployment(TEXT);
    let names: Vec<_> = deployment.members().map(Node::name).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "replica-1", "replica-2", "replica-3", "replica-4"]);
    assert_eq!(deployment.nodes().len(), 3);
    let voters = ["es-node-1.db.internal", "es-node-2.db.internal", "es-node-3.db.internal"];
    let seeds = voters.map(|voter| format!("{voter}:3000")).join(",");
    for node in replicas(&deployment) {
        let host = format!("es-{}.db.internal", node.name());
        assert_eq!(node.host(), host);
        let server = |name: &str| variable(node, ContainerName::EventStore, &format!("EVENTSTORE_{name}")).cloned();
        assert_eq!(server("READ_ONLY_REPLICA"), Some(text("true")));
        assert_eq!(server("CLUSTER_SIZE"), Some(text("3")), "those that vote");
        assert_eq!(server("DISCOVER_VIA_DNS"), Some(text("false")));
        assert_eq!(server("GOSSIP_SEED"), Some(text(&seeds)));
        assert_eq!(server("NODE_HOST_ADVERTISE_AS"), Some(text(&host)));
        assert_eq!(container(node, ContainerName::EventStore).ports, [3000, 1112]);
        let sidecar = |name: &str| variable(node, ContainerName::Bootstrap, &format!("BOOTSTRAP_{name}")).cloned();
        assert_eq!(sidecar("READ_ONLY_REPLICA"), Some(text("true")));
        assert_eq!(sidecar("NODE_NAME"), Some(text(node.name())));
        assert_eq!(sidecar("CLUSTER_SIZE"), Some(text("3")));
        assert_eq!(sidecar("PEERS"), Some(text(&voters.join(","))));
        assert_eq!(sidecar("CLOUD_MAP_SERVICE"), None, "clients look up nodes that vote");
        for program in [ContainerName::Certgen, ContainerName::Bootstrap] {
            assert_eq!(variable(node, program, "CERTGEN_DNS_NAMES").cloned(), Some(text(&host)));
        }
    }
    let without = support::deployment(&without());
    assert_eq!(deployment.nodes(), without.nodes(), "for those that vote nothing changes");
}

/// A renamed logical id replaces a live resource, and so does a changed one.
#[test]
fn what_is_there_without_replicas_stays_as_it_is() {
    for stack in ["StatefulResources", "EventStore"] {
        let (with, without) = (template(TEXT, stack), template(&without(), stack));
        for (id, resource) in without["Resources"].as_object().unwrap() {
            assert_eq!(with["Resources"][id], *resource, "{id}");
        }
        for (id, output) in without["Outputs"].as_object().unwrap() {
            assert_eq!(with["Outputs"][id], *output, "{id}");
        }
        let more = with["Resources"].as_object().unwrap().keys();
        for id in more.filter(|id| without["Resources"][id.as_str()].is_null()) {
            assert!(id.starts_with("Replica"), "{id}");
        }
    }
}

#[test]
fn a_replica_has_its_own_of_everything_that_is_its_own() {
    let (stateful, service) = (template(TEXT, "StatefulResources"), template(TEXT, "EventStore"));
    let distinct = |values: Vec<String>, count: usize| {
        let set: BTreeSet<_> = values.iter().cloned().collect();
        assert_eq!((values.len(), set.len()), (count, count), "{values:?}");
    };
    let points = of_type(&stateful, "AWS::EFS::AccessPoint");
    distinct(points.iter().map(|(_, point)| point["Properties"]["RootDirectory"]["Path"].to_string()).collect(), 14);
    for number in 1..=4 {
        for (purpose, directory) in [("Data", "data"), ("Logs", "logs")] {
            let point = &stateful["Resources"][format!("Replica{number}{purpose}AccessPoint")];
            assert_eq!(point["Properties"]["RootDirectory"]["Path"], format!("/replica-{number}/{directory}"));
            assert_eq!(point["DeletionPolicy"], "RetainExceptOnCreate");
        }
        let resource = |what: &str| &service["Resources"][format!("Replica{number}{what}")]["Properties"];
        assert_eq!(resource("Discovery")["Name"], format!("es-replica-{number}"));
        let own = resource("Service");
        assert_eq!(own["TaskDefinition"], json!({"Ref": format!("Replica{number}Task")}));
        assert_eq!(own["DesiredCount"], 1);
        assert_eq!(own["DeploymentConfiguration"]["MaximumPercent"], 100, "one writer");
        let subnets = own["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"].as_array().unwrap();
        let zone = (number - 1) % 3 + 1;
        assert_eq!(*subnets, [json!({"Fn::ImportValue": format!("es:PrivateSubnet{zone}Id")})]);
        let task = resource("Task");
        assert_eq!(task["Family"], format!("es-replica-{number}"));
        let volumes = task["Volumes"].to_string();
        assert!(volumes.contains(&format!("es:Replica{number}DataAccessPointId")), "{volumes}");
        for group in task["ContainerDefinitions"].as_array().unwrap() {
            let group = group["LogConfiguration"]["Options"]["awslogs-group"]["Ref"].as_str().unwrap();
            assert!(
                group.starts_with(&format!("Replica{number}")) && !service["Resources"][group].is_null(),
                "{group}"
            );
        }
        let logs = &service["Resources"][format!("Replica{number}EventStoreLogs")];
        assert_eq!(logs["DeletionPolicy"], "RetainExceptOnCreate");
    }
    let tasks = of_type(&service, "AWS::ECS::TaskDefinition");
    for property in ["Family", "TaskRoleArn", "ExecutionRoleArn", "Volumes"] {
        distinct(tasks.iter().map(|(_, task)| task["Properties"][property].to_string()).collect(), 7);
    }
}

/// Its sidecar lists nobody for clients, protects no task and changes no password.
#[test]
fn a_replica_may_do_what_it_does_and_no_more() {
    let template = template(TEXT, "EventStore");
    let actions = |role: &str| -> BTreeSet<String> {
        let policy = &template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
        let statements = policy.as_array().unwrap().iter();
        // All tasks share the authority: whichever starts first makes it.
        let own = statements.filter(|statement| statement["Sid"] != "ShareAuthority");
        let actions = own.flat_map(|statement| statement["Action"].as_array().unwrap());
        actions.map(|action| action.as_str().unwrap().to_owned()).collect()
    };
    let expected = [
        "elasticfilesystem:ClientMount",
        "elasticfilesystem:ClientWrite",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:ListSecretVersionIds",
    ];
    for number in 1..=4 {
        assert_eq!(actions(&format!("Replica{number}TaskRole")), expected.map(str::to_owned).into());
    }
    assert!(actions("Node1TaskRole").contains("servicediscovery:RegisterInstance"));
    let mount =
        &template["Resources"]["Replica2TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0];
    let condition: &Value = &mount["Condition"];
    assert!(condition.to_string().contains("es:Replica2DataAccessPointId"), "{condition}");
    assert!(!condition.to_string().contains("es:Node"), "{condition}");
}
