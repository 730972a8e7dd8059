//! What ECS demands of a task on Fargate and cfn-lint does not look for (aws-contract §4.2 to §4.4, §5.3).

use std::collections::BTreeSet;

use serde_json::Value;

/// The rules that a template breaks.
pub(crate) fn broken(template: &Value) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    let mut shared = BTreeSet::new();
    for resource in template["Resources"].as_object().unwrap().values() {
        match resource["Type"].as_str().unwrap() {
            "AWS::ECS::TaskDefinition" => {
                task(&resource["Properties"], &mut broken);
                for volume in items(&resource["Properties"]["Volumes"]) {
                    let efs = &volume["EFSVolumeConfiguration"];
                    let ours = volume["Name"] == "data" || volume["Name"] == "logs";
                    if ours && efs.is_object() && !shared.insert(efs.to_string()) {
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

pub(crate) fn items(value: &Value) -> &[Value] {
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
        let access_point = !efs["AuthorizationConfig"]["AccessPointId"].is_null();
        rule("no root directory beside an access point", !access_point || efs["RootDirectory"].is_null());
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
        // Else the task is UNKNOWN, never HEALTHY (AWS, ECS API, `Task`: healthStatus). For a container of the user's own that is a
        // warning.
        let is_ours = container["Name"] == "eventstore" || container["Name"] == "bootstrap";
        rule("our essential containers have a health check", !is_ours || check.is_object());
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
    // None, while a restored cluster begins with its majority.
    rule("one task", matches!(service["DesiredCount"].as_u64(), Some(0 | 1)));
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
