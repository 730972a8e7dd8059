//! What ECS demands of a task on Fargate and cfn-lint does not look for (aws-contract §4.2 to §4.4, §5.3): the emitted
//! templates keep every rule, and every rule is shown a template that breaks it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeSet;

use infra::{Assembly, Config, Deployment};
use serde_json::{Value, json};

/// As `infra init` writes it, and a cluster.
fn configurations() -> [&'static str; 2] {
    [infra::TEMPLATE, include_str!("golden/cluster/eventstore.toml")]
}

fn template_of(configuration: &str) -> Value {
    let assembly = Assembly::new(&Deployment::new(Config::parse(configuration).unwrap())).unwrap();
    let (_, text) = assembly.files().find(|(name, _)| name.ends_with("-EventStore.template.json")).unwrap();
    serde_json::from_str(text).unwrap()
}

fn template() -> Value {
    template_of(infra::TEMPLATE)
}

/// The rules that a template breaks.
fn broken(template: &Value) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    let mut shared = BTreeSet::new();
    for resource in template["Resources"].as_object().unwrap().values() {
        match resource["Type"].as_str().unwrap() {
            "AWS::ECS::TaskDefinition" => {
                task(&resource["Properties"], &mut broken);
                for volume in items(&resource["Properties"]["Volumes"]) {
                    let efs = &volume["EFSVolumeConfiguration"];
                    if efs.is_object() && !shared.insert(efs.to_string()) {
                        broken.insert("one task per place on the file system");
                    }
                }
            }
            "AWS::ECS::Service" => service(&resource["Properties"], template, &mut broken),
            _ => {}
        }
    }
    broken
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn within(value: &Value, least: u64, most: u64) -> bool {
    value.is_null() || value.as_u64().is_some_and(|number| (least..=most).contains(&number))
}

fn task(task: &Value, broken: &mut BTreeSet<&'static str>) {
    let mut rule = |name, kept: bool| {
        if !kept {
            broken.insert(name);
        }
    };
    let containers = items(&task["ContainerDefinitions"]);
    let volumes = items(&task["Volumes"]);
    let find = |list: &[Value], name: &Value| list.iter().find(|item| item["Name"] == *name).cloned();
    let essential = |container: &Value| container["Essential"].as_bool().unwrap_or(true);

    let names: BTreeSet<_> = containers.iter().map(|container| container["Name"].as_str().unwrap()).collect();
    rule("containers have names of their own", names.len() == containers.len());
    rule("one container is essential", containers.iter().any(essential));
    for volume in volumes {
        rule("no path of the host", volume["Host"].is_null());
        let efs = &volume["EFSVolumeConfiguration"];
        let authorized = efs["AuthorizationConfig"].is_object();
        rule("authorized means encrypted", !authorized || efs["TransitEncryption"] == "ENABLED");
        rule("no root directory beside an access point", !authorized || efs["RootDirectory"].is_null());
    }
    for (index, container) in containers.iter().enumerate() {
        rule("start timeout 2 to 120 s", within(&container["StartTimeout"], 2, 120));
        rule("stop timeout 2 to 120 s", within(&container["StopTimeout"], 2, 120));
        let check = &container["HealthCheck"];
        let in_range = within(&check["Interval"], 5, 300)
            && within(&check["Timeout"], 2, 60)
            && within(&check["Retries"], 1, 10)
            && within(&check["StartPeriod"], 0, 300);
        rule("health check in range", in_range);
        for mount in items(&container["MountPoints"]) {
            rule("mounts a declared volume", find(volumes, &mount["SourceVolume"]).is_some());
        }
        let is_plain = |variable: &Value| {
            let name = variable["Name"].as_str().unwrap();
            name.starts_with("AWS_ENDPOINT_URL") || name.ends_with("ALLOW_HTTP_ENDPOINT")
        };
        rule("asks AWS where AWS is, over TLS", !items(&container["Environment"]).iter().any(is_plain));
        let added = items(&container["LinuxParameters"]["Capabilities"]["Add"]);
        rule("adds no capability but SYS_PTRACE", added.iter().all(|capability| capability == "SYS_PTRACE"));
        rule("secrets need an execution role", container["Secrets"].is_null() || !task["ExecutionRoleArn"].is_null());
        for dependency in items(&container["DependsOn"]) {
            let Some(target) = find(containers, &dependency["ContainerName"]) else {
                rule("depends on a container of the task", false);
                continue;
            };
            // Emitted in an order in which they can be started, so a circle cannot be either.
            rule("depends on an earlier container", containers[..index].contains(&target));
            let condition = dependency["Condition"].as_str().unwrap();
            rule(
                "waits for the end only of what may end",
                !["SUCCESS", "COMPLETE"].contains(&condition) || !essential(&target),
            );
            rule(
                "waits for the health only of what is checked",
                condition != "HEALTHY" || !target["HealthCheck"].is_null(),
            );
        }
    }
}

fn service(service: &Value, template: &Value, broken: &mut BTreeSet<&'static str>) {
    let mut rule = |name, kept: bool| {
        if !kept {
            broken.insert(name);
        }
    };
    let deployment = &service["DeploymentConfiguration"];
    rule("one task", service["DesiredCount"] == 1);
    let stop_first = deployment["MinimumHealthyPercent"] == 0 && deployment["MaximumPercent"] == 100;
    rule("the old task ends first", stop_first);
    rule("no rebalancing", service["AvailabilityZoneRebalancing"] == "DISABLED");
    let spot = |strategy: &Value| strategy["CapacityProvider"] == "FARGATE_SPOT";
    rule("no spot", !items(&service["CapacityProviderStrategy"]).iter().any(spot));
    for registry in items(&service["ServiceRegistries"]) {
        let id = registry["RegistryArn"]["Fn::GetAtt"][0].as_str().unwrap();
        let discovery = &template["Resources"][id]["Properties"];
        let records = items(&discovery["DnsConfig"]["DnsRecords"]);
        let port = !registry["Port"].is_null() || !registry["ContainerPort"].is_null();
        rule("a port with SRV and only with SRV", port == records.iter().any(|record| record["Type"] == "SRV"));
        // ECS registers before RUNNING and never withholds for health: with it, nodes could not find each other.
        rule("node names resolve before nodes are healthy", discovery["HealthCheckCustomConfig"].is_null());
    }
}

#[test]
fn the_emitted_tasks_keep_every_rule() {
    for configuration in configurations() {
        assert_eq!(broken(&template_of(configuration)), BTreeSet::new());
    }
}

#[test]
fn two_tasks_in_one_place_are_seen() {
    let mut template = template_of(configurations()[1]);
    let volumes = template.pointer("/Resources/Node1Task/Properties/Volumes").unwrap().clone();
    *template.pointer_mut("/Resources/Node2Task/Properties/Volumes").unwrap() = volumes;
    assert_eq!(broken(&template), ["one task per place on the file system"].into());
}

#[test]
fn every_rule_is_seen_to_be_broken() {
    let task = "/Resources/Node1Task/Properties";
    let container = |index: usize, key: &str| format!("{task}/ContainerDefinitions/{index}/{key}");
    let service = |key: &str| format!("/Resources/Node1Service/Properties/{key}");
    let (certgen, eventstore, bootstrap) = (0, 1, 2);
    let depends_on = |name: &str, condition: &str| json!([{"ContainerName": name, "Condition": condition}]);

    let seeded = [
        (container(bootstrap, "Name"), json!("eventstore"), "containers have names of their own"),
        (container(eventstore, "StartTimeout"), json!(500), "start timeout 2 to 120 s"),
        (container(eventstore, "StopTimeout"), json!(500), "stop timeout 2 to 120 s"),
        (container(bootstrap, "HealthCheck/Interval"), json!(1), "health check in range"),
        (container(bootstrap, "HealthCheck/StartPeriod"), json!(301), "health check in range"),
        (container(bootstrap, "MountPoints/0/SourceVolume"), json!("none"), "mounts a declared volume"),
        (
            container(certgen, "LinuxParameters/Capabilities/Add"),
            json!(["NET_ADMIN"]),
            "adds no capability but SYS_PTRACE",
        ),
        (
            container(bootstrap, "Environment/0"),
            json!({"Name": "BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "Value": "true"}),
            "asks AWS where AWS is, over TLS",
        ),
        (
            container(certgen, "Environment/0"),
            json!({"Name": "AWS_ENDPOINT_URL", "Value": "http://localhost"}),
            "asks AWS where AWS is, over TLS",
        ),
        (container(bootstrap, "DependsOn"), depends_on("none", "START"), "depends on a container of the task"),
        (container(certgen, "DependsOn"), depends_on("bootstrap", "START"), "depends on an earlier container"),
        (
            container(bootstrap, "DependsOn"),
            depends_on("eventstore", "SUCCESS"),
            "waits for the end only of what may end",
        ),
        (
            container(bootstrap, "DependsOn"),
            depends_on("eventstore", "HEALTHY"),
            "waits for the health only of what is checked",
        ),
        (format!("{task}/Volumes/0/Host"), json!({"SourcePath": "/etc"}), "no path of the host"),
        (
            format!("{task}/Volumes/3/EFSVolumeConfiguration/TransitEncryption"),
            json!("DISABLED"),
            "authorized means encrypted",
        ),
        (
            format!("{task}/Volumes/3/EFSVolumeConfiguration/RootDirectory"),
            json!("/data"),
            "no root directory beside an access point",
        ),
        (service("DesiredCount"), json!(2), "one task"),
        (service("DeploymentConfiguration/MaximumPercent"), json!(200), "the old task ends first"),
        (service("AvailabilityZoneRebalancing"), json!("ENABLED"), "no rebalancing"),
        (service("CapacityProviderStrategy"), json!([{"CapacityProvider": "FARGATE_SPOT"}]), "no spot"),
        (service("ServiceRegistries/0/Port"), json!(2113), "a port with SRV and only with SRV"),
        (
            "/Resources/Node1Discovery/Properties/HealthCheckCustomConfig".to_owned(),
            json!({}),
            "node names resolve before nodes are healthy",
        ),
    ];
    for (path, value, rule) in seeded {
        let mut template = template();
        let (parent, key) = path.rsplit_once('/').unwrap();
        match template.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => other[key] = value,
        }
        assert!(broken(&template).contains(rule), "{path}: {:?}", broken(&template));
    }

    let mut template = template();
    for container in template.pointer_mut(&format!("{task}/ContainerDefinitions")).unwrap().as_array_mut().unwrap() {
        container["Essential"] = json!(false);
        container["Secrets"] = json!([{"Name": "A", "ValueFrom": "arn"}]);
    }
    template.pointer_mut(task).unwrap().as_object_mut().unwrap().remove("ExecutionRoleArn");
    assert!(broken(&template).is_superset(&["one container is essential", "secrets need an execution role"].into()));
}

/// A resource's attributes are few; a name that is not one fails only when it is deployed (moto and goldens take any).
#[test]
fn only_known_attributes_are_read() {
    fn collect(value: &Value, template: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, template, found)),
            Value::Object(members) => {
                if let Some([id, attribute]) = members.get("Fn::GetAtt").map(items) {
                    let kind = &template["Resources"][id.as_str().unwrap()]["Type"];
                    found.insert(format!("{}.{}", kind.as_str().unwrap(), attribute.as_str().unwrap()));
                }
                members.values().for_each(|member| collect(member, template, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for configuration in configurations() {
        let assembly = Assembly::new(&Deployment::new(Config::parse(configuration).unwrap())).unwrap();
        for (_, text) in assembly.files().filter(|(name, _)| name.ends_with(".template.json")) {
            let template: Value = serde_json::from_str(text).unwrap();
            collect(&template, &template, &mut found);
        }
    }
    // "Return values" of each type in the CloudFormation template reference.
    let known = [
        "AWS::EC2::EIP.AllocationId",
        "AWS::EC2::SecurityGroup.GroupId",
        "AWS::IAM::Role.Arn",
        "AWS::Logs::LogGroup.Arn",
        "AWS::ServiceDiscovery::PrivateDnsNamespace.HostedZoneId",
        "AWS::ServiceDiscovery::PrivateDnsNamespace.Id",
        "AWS::ServiceDiscovery::Service.Arn",
        "AWS::ServiceDiscovery::Service.Id",
    ];
    assert_eq!(found, known.map(str::to_owned).into());
}
