//! Ways out, and what is made in a VPC of somebody else: nothing more than is needed.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use infra::cfn::import;
use infra::{Config, FargateService, FargateSize, Stack, Stacks};
use serde_json::{Value, json};

use support::{deployment, of_type, only, template, templates, text_of};

const SERVER: &str = "[images]\nserver = \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/server:24.10\"\n";
const CLOSED: &str = "[network]\negress = \"endpoints\"\ns3_prefix_list = \"pl-6da54004\"\n";
const EXISTING: &str = "[network]\nvpc = \"vpc-01234567\"\nsubnets = [\"subnet-01234567\", \"subnet-01234568\"]\n";

fn named(rest: &str) -> String {
    format!("name = \"es\"\n{rest}")
}

/// Every rule of a kind, as port and far end, of the group with this id.
fn rules(template: &Value, kind: &str, group: &Value) -> BTreeSet<(u64, String)> {
    let rules = of_type(template, kind).into_iter().map(|(_, rule)| &rule["Properties"]);
    let own = rules.filter(|rule| rule["GroupId"] == *group);
    own.map(|rule| {
        assert_eq!((&rule["FromPort"], &rule["IpProtocol"]), (&rule["ToPort"], &json!("tcp")));
        let ends = ["CidrIp", "SecurityGroupId", "PrefixListId"];
        let far = rule.as_object().unwrap().iter().find(|(key, _)| ends.iter().any(|end| key.ends_with(end)));
        (rule["FromPort"].as_u64().unwrap(), far.unwrap().1.to_string())
    })
    .collect()
}

fn group(id: &str) -> Value {
    json!({"Fn::GetAtt": [format!("{id}SecurityGroup"), "GroupId"]})
}

/// The services that the endpoints of a template lead to.
fn endpoints(template: &Value) -> BTreeSet<String> {
    let all = of_type(template, "AWS::EC2::VPCEndpoint").into_iter();
    all.map(|(_, endpoint)| {
        let service = endpoint["Properties"]["ServiceName"]["Fn::Sub"].as_str().unwrap();
        service.strip_prefix("com.amazonaws.${AWS::Region}.").unwrap().to_owned()
    })
    .collect()
}

#[test]
fn with_endpoints_alone_there_is_no_way_to_the_internet() {
    let text = named(&format!("{CLOSED}{SERVER}"));
    let template = template(&text, "StatefulResources");
    for kind in ["InternetGateway", "VPCGatewayAttachment", "NatGateway", "EIP", "Route"] {
        assert!(of_type(&template, &format!("AWS::EC2::{kind}")).is_empty(), "{kind}");
    }
    let subnets: Vec<_> = of_type(&template, "AWS::EC2::Subnet").into_iter().map(|(id, _)| id).collect();
    assert_eq!(subnets, ["PrivateSubnet1", "PrivateSubnet2", "PrivateSubnet3"]);
    assert!(!template.to_string().contains("0.0.0.0/0"));
    let node = group("Node");
    let out = [
        (443, group("Endpoint").to_string()),
        (443, json!("pl-6da54004").to_string()),
        (2049, group("FileSystem").to_string()),
    ];
    assert_eq!(rules(&template, "AWS::EC2::SecurityGroupEgress", &node), out.into());
    let into = rules(&template, "AWS::EC2::SecurityGroupIngress", &group("Endpoint"));
    assert_eq!(into, [(443, node.to_string())].into());
    assert!(rules(&template, "AWS::EC2::SecurityGroupEgress", &group("Endpoint")).is_empty());
}

/// By name, because one that is missing keeps every task from starting, and one too many costs money in every zone.
#[test]
fn the_endpoints_are_those_that_tasks_need() {
    let needed = ["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager", "servicediscovery"];
    let ecs = ["ecs", "ecs-agent", "ecs-telemetry"];
    for (ecs_endpoints, expected) in [(false, needed.to_vec()), (true, [&needed[..], &ecs].concat())] {
        let text = named(&format!("{CLOSED}ecs_endpoints = {ecs_endpoints}\n{SERVER}"));
        let template = template(&text, "StatefulResources");
        assert_eq!(endpoints(&template), expected.into_iter().map(str::to_owned).collect());
        for (id, endpoint) in of_type(&template, "AWS::EC2::VPCEndpoint") {
            let endpoint = &endpoint["Properties"];
            if endpoint["VpcEndpointType"] == "Gateway" {
                assert_eq!(endpoint["RouteTableIds"], json!([{"Ref": "PrivateRouteTable"}]));
                continue;
            }
            assert_eq!(endpoint["PrivateDnsEnabled"], true, "{id}: the programs know the usual names only");
            let subnets = ["PrivateSubnet1", "PrivateSubnet2", "PrivateSubnet3"].map(|subnet| json!({"Ref": subnet}));
            assert_eq!(endpoint["SubnetIds"], json!(subnets), "{id}");
            assert_eq!(endpoint["SecurityGroupIds"], json!([group("Endpoint")]), "{id}");
        }
    }
}

#[test]
fn through_endpoints_only_the_own_account_is_served_and_layers_are_read() {
    let template = template(&text_of("endpoints"), "StatefulResources");
    let own = json!({"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}});
    let mut open = Vec::new();
    for (id, endpoint) in of_type(&template, "AWS::EC2::VPCEndpoint") {
        let statements = &endpoint["Properties"]["PolicyDocument"]["Statement"];
        let Some(statements) = statements.as_array() else {
            open.push(id);
            continue;
        };
        for statement in statements.iter().filter(|statement| statement["Condition"] != own) {
            assert_eq!((id, &statement["Action"]), ("S3Endpoint", &json!("s3:GetObject")));
            let bucket = "arn:${AWS::Partition}:s3:::prod-${AWS::Region}-starport-layer-bucket/*";
            assert_eq!(statement["Resource"], json!({"Fn::Sub": bucket}), "ECR signs for it, not this account");
        }
    }
    let without = ["EcsAgentEndpoint", "EcsEndpoint", "EcsTelemetryEndpoint", "ServiceDiscoveryEndpoint"];
    assert_eq!(open, without, "a policy that the service does not understand fails the deployment");
}

/// A change between them replaces no subnet, and so no node and no mount target.
#[test]
fn subnets_stay_when_a_nat_gateway_makes_room_for_endpoints() {
    let subnets = |text: &str| {
        let template = template(text, "StatefulResources");
        let all: Vec<_> =
            of_type(&template, "AWS::EC2::Subnet").into_iter().map(|(id, it)| (id.to_owned(), it.clone())).collect();
        all.into_iter().filter(|(id, _)| id.starts_with("Private")).collect::<Vec<_>>()
    };
    assert_eq!(subnets(&named("")), subnets(&named(&format!("{CLOSED}{SERVER}"))));
}

#[test]
fn behind_nat_https_goes_everywhere_and_nothing_else_does() {
    for egress in ["one-nat", "nat-per-zone", "public-ip"] {
        let template = template(&named(&format!("[network]\negress = \"{egress}\"\n")), "StatefulResources");
        let out = [(443, json!("0.0.0.0/0").to_string()), (2049, group("FileSystem").to_string())];
        assert_eq!(rules(&template, "AWS::EC2::SecurityGroupEgress", &group("Node")), out.into(), "{egress}");
        assert!(of_type(&template, "AWS::EC2::VPCEndpoint").is_empty());
    }
}

#[test]
fn in_a_vpc_of_somebody_else_only_groups_rules_and_mount_targets_are_made() {
    let closed = "endpoint_security_group = \"sg-0123456789abcdef0\"\ns3_prefix_list = \"pl-6da54004\"\n";
    for (text, exact) in [(named(EXISTING), false), (named(&format!("{EXISTING}{closed}{SERVER}")), true)] {
        for (template, first) in templates(&text).into_iter().zip([true, false]) {
            let kinds: BTreeSet<_> =
                template["Resources"].as_object().unwrap().values().map(|it| it["Type"].as_str().unwrap()).collect();
            let network: Vec<_> = kinds.iter().filter(|kind| kind.starts_with("AWS::EC2::")).copied().collect();
            let made = ["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupEgress", "AWS::EC2::SecurityGroupIngress"];
            assert_eq!(network, if first { made.to_vec() } else { Vec::new() });
            if !first {
                continue;
            }
            assert_eq!(of_type(&template, "AWS::EFS::MountTarget").len(), 2);
            let everywhere = (443, json!("0.0.0.0/0").to_string());
            let endpoints = json!("sg-0123456789abcdef0");
            let file_system = (2049, group("FileSystem").to_string());
            let out = rules(&template, "AWS::EC2::SecurityGroupEgress", &group("Node"));
            if exact {
                let s3 = (443, json!("pl-6da54004").to_string());
                assert_eq!(out, [(443, endpoints.to_string()), s3, file_system].into());
                let into = rules(&template, "AWS::EC2::SecurityGroupIngress", &endpoints);
                assert_eq!(into, [(443, group("Node").to_string())].into());
            } else {
                assert_eq!(out, [everywhere, file_system].into());
            }
        }
        let warnings = deployment(&text).warnings();
        let warning = warnings.iter().find(|warning| warning.key == "network.vpc").unwrap();
        let says = if exact { "interface endpoints with private DNS" } else { "registries of all images" };
        assert!(warning.message.contains(says), "{warning}");
    }
    assert!(deployment(&named("")).warnings().iter().all(|warning| warning.key != "network.vpc"));
}

fn shop(text: &str, image: &str) -> Value {
    let deployment = deployment(text);
    let size = FargateSize::offered(256, 512).unwrap();
    let mut stack = Stack::new("shop", "test");
    stack.add_service(&FargateService::new(&deployment, "Shop", image.parse().unwrap(), size));
    let mut stacks = Stacks::new(&deployment);
    stacks.add(stack);
    let assembly = stacks.assembly().unwrap();
    let (_, text) = assembly.files().find(|(file, _)| *file == "shop.template.json").unwrap();
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_consumer_goes_where_the_nodes_go() {
    let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:1";
    let ends = |template: &Value| -> Vec<Value> {
        let rules = template["Resources"]["ShopSecurityGroup"]["Properties"]["SecurityGroupEgress"].as_array().unwrap();
        let keys = ["CidrIp", "DestinationSecurityGroupId", "DestinationPrefixListId"];
        rules
            .iter()
            .map(|rule| keys.iter().map(|key| &rule[*key]).find(|end| !end.is_null()).unwrap().clone())
            .collect()
    };
    let open = shop(&named(""), image);
    assert_eq!(ends(&open), [json!("0.0.0.0/0")]);
    let closed = shop(&named(&format!("{CLOSED}{SERVER}")), image);
    assert_eq!(ends(&closed), [import("es:EndpointSecurityGroupId"), import("es:S3PrefixListId")]);
    let into = rules(&closed, "AWS::EC2::SecurityGroupIngress", &import("es:EndpointSecurityGroupId"));
    assert_eq!(into, [(443, group("Shop").to_string())].into());
    assert_eq!(closed["Resources"]["ShopService"]["DependsOn"], json!(["ShopIntoEndpoints"]));
}

/// The statement with which ECS may fill a pull-through cache.
fn fills(role: &Value) -> Option<(Value, Value)> {
    let statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    let found = statements.iter().find(|statement| statement["Sid"] == "FillPullThroughCache")?;
    Some((found["Action"].clone(), found["Resource"].clone()))
}

#[test]
fn a_pull_through_cache_may_be_filled_where_its_first_pull_works_and_is_refused_elsewhere() {
    let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/quay/org/server:1";
    let arn = "arn:${AWS::Partition}:ecr:eu-west-1:123456789012:repository/quay/org/server";
    let expected = (json!(["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"]), json!([{"Fn::Sub": arn}]));
    for (prefixes, is_cache) in [("", true), ("pull_through = []\n", false), ("pull_through = [\"quay/org\"]\n", true)]
    {
        let images = format!("[images]\nserver = \"{image}\"\n{prefixes}");
        let service = template(&named(&images), "EventStore");
        let found = fills(&service["Resources"]["Node1ExecutionRole"]);
        assert_eq!(found, is_cache.then(|| expected.clone()), "{prefixes}");
        let shop = shop(&named(&images), image);
        assert_eq!(fills(&shop["Resources"]["ShopExecutionRole"]), is_cache.then(|| expected.clone()), "{prefixes}");

        let closed = Config::parse(&named(&format!("{CLOSED}{images}")));
        match closed {
            Ok(_) => assert!(!is_cache, "{prefixes}"),
            Err(errors) => {
                assert!(is_cache && errors.0.len() == 1 && errors.0[0].key == "images.server", "{prefixes}: {errors}");
                assert!(errors.0[0].message.contains("first pull needs a way to the internet"), "{errors}");
            }
        }
    }
}

/// Discovery follows a moved task, and nobody remembers for long that a name was missing.
#[test]
fn names_resolve_in_a_private_range_and_are_soon_forgotten() {
    for egress in ["one-nat", "public-ip", "endpoints"] {
        let prefix_list = if egress == "endpoints" { "s3_prefix_list = \"pl-6da54004\"\n" } else { "" };
        let text = named(&format!("[network]\negress = \"{egress}\"\n{prefix_list}{SERVER}"));
        let [stateful, service] = templates(&text);
        let vpc = only(&stateful, "AWS::EC2::VPC");
        assert_eq!((&vpc["EnableDnsSupport"], &vpc["EnableDnsHostnames"]), (&json!(true), &json!(true)));
        assert_eq!(vpc["CidrBlock"], "10.20.0.0/16");
        for (id, subnet) in of_type(&stateful, "AWS::EC2::Subnet") {
            assert!(subnet["Properties"]["MapPublicIpOnLaunch"].is_null(), "{id}");
        }
        for (id, group) in of_type(&stateful, "AWS::EC2::SecurityGroup") {
            assert!(group["Properties"]["SecurityGroupIngress"].is_null(), "{id}: rules are resources of their own");
        }
        let public =
            only(&service, "AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"]
                .clone();
        assert_eq!(public, if egress == "public-ip" { "ENABLED" } else { "DISABLED" });
        let namespace = only(&service, "AWS::ServiceDiscovery::PrivateDnsNamespace");
        assert_eq!(namespace["Properties"]["DnsProperties"]["SOA"]["TTL"], 5);
        for (id, discovery) in of_type(&service, "AWS::ServiceDiscovery::Service") {
            let dns = &discovery["Properties"]["DnsConfig"];
            assert_eq!(
                (&dns["DnsRecords"][0]["TTL"], &dns["RoutingPolicy"]),
                (&json!(10), &json!("MULTIVALUE")),
                "{id}"
            );
            assert!(discovery["Properties"]["HealthCheckCustomConfig"].is_null(), "{id}");
        }
    }
}
