//! What ECS demands of a task on Fargate and cfn-lint does not look for (aws-contract §4.2 to §4.4, §5.3): the emitted
//! templates keep every rule, and every rule is shown a template that breaks it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use support::tasks::{broken, items};
use support::{SCENARIOS, text_of};

fn template_of(configuration: &str) -> Value {
    support::template(configuration, "EventStore")
}

fn template() -> Value {
    template_of(infra::TEMPLATE)
}

#[test]
fn the_emitted_tasks_keep_every_rule() {
    for scenario in SCENARIOS {
        assert_eq!(broken(&template_of(&text_of(scenario))), BTreeSet::new(), "{scenario}");
    }
}

#[test]
fn two_tasks_in_one_place_are_seen() {
    let mut template = template_of(&text_of("cluster"));
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
            depends_on("certgen", "HEALTHY"),
            "waits for the health only of what is checked",
        ),
        (container(eventstore, "HealthCheck"), Value::Null, "our essential containers have a health check"),
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
    for scenario in SCENARIOS {
        for template in support::templates(&text_of(scenario)) {
            collect(&template, &template, &mut found);
        }
    }
    // "Return values" of each type in the CloudFormation template reference.
    let known = [
        "AWS::EC2::EIP.AllocationId",
        "AWS::EC2::SecurityGroup.GroupId",
        "AWS::ECS::Service.Name",
        "AWS::ECS::Cluster.Arn",
        "AWS::IAM::Role.Arn",
        "AWS::KMS::Key.Arn",
        "AWS::Logs::LogGroup.Arn",
        "AWS::ServiceDiscovery::PrivateDnsNamespace.HostedZoneId",
        "AWS::ServiceDiscovery::PrivateDnsNamespace.Id",
        "AWS::ServiceDiscovery::Service.Arn",
        "AWS::ServiceDiscovery::Service.Id",
    ];
    assert_eq!(found, known.map(str::to_owned).into());
}
