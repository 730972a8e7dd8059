//! What must hold for the nodes of a cluster together: each finds the others, none shares what is another's, and no zone
//! holds the majority.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeSet;

use infra::{Assembly, Config, ContainerName, Deployment, Node, Value as Setting};
use serde_json::{Value, json};

fn deployment(nodes: u8, line: &str) -> Deployment {
    let text = format!(
        "name = \"es\"\n[server]\nline = \"{line}\"\nport = 3000\n[cluster]\nnodes = {nodes}\n[certificates]\nca = \"files\"\n\
         ca_certificate = \"/ca/ca.crt\"\nca_key = \"/ca/ca.key\""
    );
    Deployment::new(Config::parse(&text).unwrap())
}

fn variables(node: &Node, name: ContainerName) -> Vec<(&str, &str)> {
    let container = node.task().containers.iter().find(|container| container.name == name).unwrap();
    let literals = container.variables().filter_map(|(name, value)| match value {
        Setting::Literal(text) => Some((name, text.as_str())),
        _ => None,
    });
    literals.collect()
}

fn variable<'a>(node: &'a Node, container: ContainerName, name: &str) -> Option<&'a str> {
    variables(node, container).into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn template(deployment: &Deployment, stack: &str) -> Value {
    let assembly = Assembly::new(deployment).unwrap();
    let (_, text) = assembly.files().find(|(file, _)| file.ends_with(&format!("-{stack}.template.json"))).unwrap();
    serde_json::from_str(text).unwrap()
}

/// The properties of the resources of one type, in the order of their ids.
fn of_type<'a>(template: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let resources = template["Resources"].as_object().unwrap().iter();
    let found = resources.filter(|(_, resource)| resource["Type"] == kind);
    found.map(|(id, resource)| (id.as_str(), &resource["Properties"])).collect()
}

#[test]
fn every_node_is_told_its_own_name_and_where_the_others_are() {
    for (nodes, line) in [(3, "23.10"), (3, "24.10"), (5, "24.10"), (7, "24.10")] {
        let deployment = deployment(nodes, line);
        let hosts: Vec<_> = (1..=nodes).map(|number| format!("es-node-{number}.db.internal")).collect();
        assert_eq!(deployment.nodes().iter().map(Node::host).collect::<Vec<_>>(), hosts);
        for (node, host) in deployment.nodes().iter().zip(&hosts) {
            let server = |name: &str| variable(node, ContainerName::EventStore, &format!("EVENTSTORE_{name}"));
            assert_eq!(server("CLUSTER_SIZE"), Some(nodes.to_string().as_str()));
            assert_eq!(server("DISCOVER_VIA_DNS"), Some("false"), "seeds are ignored while it is true");
            let others: Vec<_> =
                hosts.iter().filter(|other| *other != host).map(|host| format!("{host}:3000")).collect();
            assert_eq!(server("GOSSIP_SEED"), Some(others.join(",").as_str()));
            assert_eq!(server("NODE_HOST_ADVERTISE_AS"), Some(host.as_str()));
            assert_eq!(server("REPLICATION_HOST_ADVERTISE_AS"), Some(host.as_str()));
            let names = variable(node, ContainerName::Certgen, "CERTGEN_DNS_NAMES");
            assert_eq!(names, Some(format!("{host},es.db.internal").as_str()));
            let sidecar = |name: &str| variable(node, ContainerName::Bootstrap, &format!("BOOTSTRAP_{name}"));
            assert_eq!(sidecar("NODE_NAME"), Some(node.name()));
            assert_eq!(sidecar("CLUSTER_SIZE"), Some(nodes.to_string().as_str()));
            assert_eq!(sidecar("PEERS"), Some(others.join(",").replace(":3000", "").as_str()));
        }
    }
}

/// Seeds would end a single node (contract §6), and it has nobody to replicate to.
#[test]
fn a_single_node_knows_nothing_of_others() {
    let deployment = deployment(1, "24.10");
    let [node] = deployment.nodes() else { panic!("one node") };
    let server = variables(node, ContainerName::EventStore);
    assert!(server.contains(&("EVENTSTORE_CLUSTER_SIZE", "1")));
    for (name, _) in server {
        assert!(!name.contains("GOSSIP") && !name.contains("DISCOVER"), "{name}");
    }
    let ports: Vec<_> = node.task().containers.iter().flat_map(|container| container.ports.clone()).collect();
    assert_eq!(ports, [3000]);
    assert_eq!(variable(node, ContainerName::Bootstrap, "BOOTSTRAP_PEERS"), None);
}

/// Without it the agent is refused, and nothing keeps a deployment from taking the quorum.
#[test]
fn only_the_tasks_of_a_cluster_may_protect_tasks_and_only_those_of_their_own() {
    for nodes in [1, 3] {
        let template = template(&deployment(nodes, "24.10"), "EventStore");
        for number in 1..=nodes {
            let role = &template["Resources"][format!("Node{number}TaskRole")]["Properties"];
            let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
            let protect: Vec<_> = statements.iter().filter(|statement| statement["Sid"] == "ProtectTask").collect();
            if nodes == 1 {
                assert!(protect.is_empty(), "{protect:?}");
                continue;
            }
            assert_eq!(protect.len(), 1);
            assert_eq!(protect[0]["Action"], json!(["ecs:UpdateTaskProtection"]));
            let [text, cluster] = protect[0]["Resource"]["Fn::Sub"].as_array().unwrap().as_slice() else { panic!() };
            assert!(text.as_str().unwrap().ends_with(":task/${Cluster}/*"), "{text}");
            assert_eq!(*cluster, json!({"Cluster": {"Ref": "Cluster"}}));
        }
    }
}

#[test]
fn an_authority_in_files_is_named_to_certgen_and_kept_nowhere() {
    for nodes in [1, 3] {
        let deployment = deployment(nodes, "24.10");
        for node in deployment.nodes() {
            let certgen = |name: &str| variable(node, ContainerName::Certgen, name);
            assert_eq!(certgen("CERTGEN_CA_SOURCE"), Some("files"));
            assert_eq!(certgen("CERTGEN_CA_CERTIFICATE"), Some("/ca/ca.crt"));
            assert_eq!(certgen("CERTGEN_CA_KEY"), Some("/ca/ca.key"));
            assert_eq!(certgen("CERTGEN_CA_STATE"), None);
        }
        let template = template(&deployment, "EventStore");
        for (id, task) in of_type(&template, "AWS::ECS::TaskDefinition") {
            assert!(!task.to_string().contains("ca-state"), "{id} has a volume that nobody uses");
        }
    }
}

/// Two servers on one directory are the end of the database (production-review row 5).
#[test]
fn every_node_has_its_own_of_everything_that_is_its_own() {
    let deployment = deployment(5, "24.10");
    let (stateful, service) = (template(&deployment, "StatefulResources"), template(&deployment, "EventStore"));
    let distinct = |values: Vec<String>| {
        let set: BTreeSet<_> = values.iter().cloned().collect();
        assert_eq!((values.len(), set.len()), (5, 5), "{values:?}");
    };
    let access_points = of_type(&stateful, "AWS::EFS::AccessPoint");
    distinct(access_points.iter().map(|(_, point)| point["RootDirectory"]["Path"].to_string()).collect());

    let tasks = of_type(&service, "AWS::ECS::TaskDefinition");
    let data = |task: &Value| {
        let volumes = task["Volumes"].as_array().unwrap().iter();
        volumes.filter(|volume| volume["Name"] == "data").map(Value::to_string).collect::<String>()
    };
    distinct(tasks.iter().map(|(_, task)| data(task)).collect());
    for property in ["Family", "TaskRoleArn", "ExecutionRoleArn"] {
        distinct(tasks.iter().map(|(_, task)| task[property].to_string()).collect());
    }
    for (number, (id, task)) in (1..).zip(&tasks) {
        let logs = task["ContainerDefinitions"].as_array().unwrap().iter();
        for group in logs.map(|container| &container["LogConfiguration"]["Options"]["awslogs-group"]["Ref"]) {
            assert!(group.as_str().unwrap().starts_with(&format!("Node{number}")), "{id} writes to {group}");
        }
        let role = &service["Resources"][format!("Node{number}TaskRole")]["Properties"]["Policies"][0];
        let mount = &role["PolicyDocument"]["Statement"][0]["Condition"];
        let own = format!("es:Node{number}DataAccessPointId");
        assert!(mount.to_string().contains(&own) && data(task).contains(&own), "{id}");
    }

    let services = of_type(&service, "AWS::ECS::Service");
    for property in ["TaskDefinition", "ServiceRegistries"] {
        distinct(services.iter().map(|(_, service)| service[property].to_string()).collect());
    }
    let names = of_type(&service, "AWS::ServiceDiscovery::Service");
    let names: BTreeSet<_> = names.iter().map(|(_, service)| service["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["es", "es-node-1", "es-node-2", "es-node-3", "es-node-4", "es-node-5"].into());
}

/// With more than one subnet ECS could put two of three nodes into one zone, and its loss would be the loss of the majority.
#[test]
fn every_node_stays_in_its_zone_and_no_zone_has_the_majority() {
    for nodes in [3, 5, 7] {
        let deployment = deployment(nodes, "24.10");
        let stateful = template(&deployment, "StatefulResources");
        let service = template(&deployment, "EventStore");
        let mut in_zone = [0; 3];
        for (id, properties) in of_type(&service, "AWS::ECS::Service") {
            let subnets = properties["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"].as_array().unwrap();
            let [subnet] = subnets.as_slice() else { panic!("{id} has {subnets:?}") };
            let export = subnet["Fn::ImportValue"].as_str().unwrap();
            let subnet = export.strip_prefix("es:").and_then(|name| name.strip_suffix("Id")).unwrap();
            let zone = &stateful["Resources"][subnet]["Properties"]["AvailabilityZone"]["Fn::Select"][0];
            in_zone[usize::try_from(zone.as_u64().unwrap()).unwrap()] += 1;
            let mounted = of_type(&stateful, "AWS::EFS::MountTarget");
            assert!(mounted.iter().any(|(_, target)| target["SubnetId"] == json!({"Ref": subnet})), "{subnet}");
        }
        assert_eq!(in_zone.iter().sum::<u8>(), nodes);
        assert!(in_zone.iter().all(|there| *there > 0 && *there <= nodes / 2), "{in_zone:?}");
    }
}

#[test]
fn subnets_lie_beside_each_other_in_the_range() {
    let blocks = |deployment: &Deployment| -> Vec<_> {
        let template = template(deployment, "StatefulResources");
        let subnets = of_type(&template, "AWS::EC2::Subnet").into_iter();
        subnets.map(|(id, subnet)| format!("{id} {}", subnet["CidrBlock"].as_str().unwrap())).collect()
    };
    let two_zones = Deployment::new(Config::parse("name = \"es\"\n[network]\nzones = 2").unwrap());
    assert_eq!(
        blocks(&two_zones),
        [
            "PrivateSubnet1 10.20.128.0/18",
            "PrivateSubnet2 10.20.192.0/18",
            "PublicSubnet1 10.20.0.0/18",
            "PublicSubnet2 10.20.64.0/18",
        ]
    );
    let three_nodes = deployment(3, "24.10");
    assert_eq!(
        blocks(&three_nodes),
        [
            "PrivateSubnet1 10.20.128.0/19",
            "PrivateSubnet2 10.20.160.0/19",
            "PrivateSubnet3 10.20.192.0/19",
            "PublicSubnet1 10.20.0.0/19",
            "PublicSubnet2 10.20.32.0/19",
            "PublicSubnet3 10.20.64.0/19",
        ]
    );
    assert_eq!(blocks(&deployment(1, "24.10")), blocks(&three_nodes), "one node can become three");
}

/// The port of clients for gossip, elections and forwarded requests, and the replication port; both ways, from node to node.
#[test]
fn nodes_reach_each_other_and_nobody_else_is_let_in() {
    let opened = |nodes: u8| -> BTreeSet<String> {
        let template = template(&deployment(nodes, "24.10"), "StatefulResources");
        let group = |value: &Value| value["Fn::GetAtt"][0].as_str().unwrap_or("the world").replace("SecurityGroup", "");
        let egress = of_type(&template, "AWS::EC2::SecurityGroupEgress").into_iter().map(|(_, rule)| {
            format!("{} to {} {}", group(&rule["GroupId"]), group(&rule["DestinationSecurityGroupId"]), rule["ToPort"])
        });
        let ingress = of_type(&template, "AWS::EC2::SecurityGroupIngress").into_iter().map(|(_, rule)| {
            assert_eq!(rule["FromPort"], rule["ToPort"]);
            format!("{} from {} {}", group(&rule["GroupId"]), group(&rule["SourceSecurityGroupId"]), rule["ToPort"])
        });
        egress.chain(ingress).collect()
    };
    let single: BTreeSet<_> =
        ["Node to FileSystem 2049", "FileSystem from Node 2049", "Node to the world 443"].map(str::to_owned).into();
    assert_eq!(opened(1), single);
    let between: BTreeSet<_> = opened(3).difference(&single).cloned().collect();
    let expected = ["Node to Node 3000", "Node from Node 3000", "Node to Node 1112", "Node from Node 1112"];
    assert_eq!(between, expected.map(str::to_owned).into());
    assert_eq!(opened(3).intersection(&single).count(), single.len());

    let template = template(&deployment(3, "24.10"), "EventStore");
    for (id, task) in of_type(&template, "AWS::ECS::TaskDefinition") {
        let ports = &task["ContainerDefinitions"][1]["PortMappings"];
        let expected = json!([{"ContainerPort": 3000, "Protocol": "tcp"}, {"ContainerPort": 1112, "Protocol": "tcp"}]);
        assert_eq!(*ports, expected, "{id}");
    }
}

/// So an update goes node by node. A new cluster comes up all the same, even if health is waited for, because its first nodes are
/// healthy while there cannot be one yet: `bootstrap` `health::tests::the_services_of_a_cluster_come_up_and_are_updated_one_after_the_other` plays it.
#[test]
fn every_service_waits_for_the_one_before() {
    for nodes in [1, 3, 5, 7] {
        let template = template(&deployment(nodes, "24.10"), "EventStore");
        assert!(template["Resources"]["Node1Service"]["DependsOn"].is_null(), "the first waits for none");
        for node in 2..=nodes {
            let service = &template["Resources"][format!("Node{node}Service")];
            assert_eq!(service["DependsOn"], json!([format!("Node{}Service", node - 1)]), "node {node} of {nodes}");
        }
    }
    let text = "name = \"es\"\ncluster.nodes = 3\ndeploy.update = \"all-at-once\"";
    let template = template(&Deployment::new(Config::parse(text).unwrap()), "EventStore");
    for id in ["Node1Service", "Node2Service", "Node3Service"] {
        assert!(template["Resources"][id]["DependsOn"].is_null(), "{id}");
    }
}

/// A renamed logical id replaces a live resource.
#[test]
fn what_holds_state_is_retained_for_every_node() {
    let deployment = deployment(3, "24.10");
    let retained = |stack: &str| -> Vec<String> {
        let template = template(&deployment, stack);
        let resources = template["Resources"].as_object().unwrap().iter();
        resources
            .filter(|(_, found)| found["DeletionPolicy"] == "RetainExceptOnCreate")
            .map(|(id, _)| id.clone())
            .collect()
    };
    assert_eq!(retained("EventStore"), ["Node1EventStoreLogs", "Node2EventStoreLogs", "Node3EventStoreLogs"]);
    assert_eq!(
        retained("StatefulResources"),
        [
            "AdminSecret",
            "BackupVault",
            "FileSystem",
            "Node1DataAccessPoint",
            "Node2DataAccessPoint",
            "Node3DataAccessPoint",
            "OpsSecret"
        ]
    );
}

/// Beyond it CloudFormation takes a template from a bucket only, so the account would have to be bootstrapped first; that is
/// asked of clusters alone.
#[test]
fn one_node_fits_into_a_template_that_needs_no_bucket() {
    let name = "n".repeat(32);
    let text = format!(
        "name = \"{name}\"\nbackup = {{ enabled = true, mode = \"stop\" }}\nalarms.emails = [\"a@example.com\"]"
    );
    let assembly = Assembly::new(&Deployment::new(Config::parse(&text).unwrap())).unwrap();
    for (file, content) in assembly.files() {
        assert!(content.len() <= 51_200, "{file} has {} bytes", content.len());
    }
}
