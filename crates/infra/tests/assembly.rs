//! What is emitted: byte for byte as checked in, with what must hold beside it, and judged by others.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use infra::{Assembly, Config, Deployment};
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/default")
}

fn assembly() -> Assembly {
    Assembly::new(&Deployment::new(Config::parse(infra::TEMPLATE).unwrap())).unwrap()
}

fn template(stack: &str) -> Value {
    let name = format!("eventstore-{stack}.template.json");
    let assembly = assembly();
    let (_, text) = assembly.files().find(|(file, _)| *file == name).unwrap();
    serde_json::from_str(text).unwrap()
}

/// `UPDATE_GOLDEN=1` rewrites the files; a reviewer reads the difference.
#[test]
fn the_default_deployment_is_the_checked_in_one() {
    let assembly = assembly();
    let golden = golden();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::remove_dir_all(&golden).unwrap();
        assembly.write(&golden).unwrap();
    }
    let checked_in: BTreeMap<_, _> = fs::read_dir(&golden)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    let emitted: BTreeMap<_, _> = assembly.files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert_eq!(emitted.keys().collect::<Vec<_>>(), checked_in.keys().collect::<Vec<_>>());
    for (name, text) in &emitted {
        assert!(text == &checked_in[name], "{name} differs; UPDATE_GOLDEN=1 rewrites it");
    }
}

#[test]
fn the_same_configuration_gives_the_same_bytes() {
    assert_eq!(assembly(), assembly());
}

fn resources(template: &Value) -> impl Iterator<Item = (&str, &Value)> {
    template["Resources"].as_object().unwrap().iter().map(|(id, resource)| (id.as_str(), resource))
}

/// A renamed logical id replaces a live resource: file systems and secrets would be left behind and made anew.
#[test]
fn what_holds_state_is_retained_under_ids_that_never_change() {
    let template = template("StatefulResources");
    let retained: Vec<_> = resources(&template)
        .filter(|(_, resource)| resource["DeletionPolicy"] == "RetainExceptOnCreate")
        .map(|(id, resource)| {
            assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{id}");
            id
        })
        .collect();
    assert_eq!(retained, ["AdminSecret", "FileSystem", "Node1DataAccessPoint", "OpsSecret"]);
    for kind in ["AWS::EFS::FileSystem", "AWS::EFS::AccessPoint", "AWS::SecretsManager::Secret"] {
        for (id, _) in resources(&template).filter(|(_, resource)| resource["Type"] == kind) {
            assert!(retained.contains(&id), "{id} holds state");
        }
    }
}

/// CloudFormation generates a new password whenever this text changes.
#[test]
fn the_text_of_a_generated_secret_is_frozen() {
    let template = template("StatefulResources");
    for (id, user) in [("AdminSecret", "admin"), ("OpsSecret", "ops")] {
        assert_eq!(
            template["Resources"][id]["Properties"]["GenerateSecretString"],
            json!({
                "SecretStringTemplate": format!("{{\"username\":\"{user}\"}}"),
                "GenerateStringKey": "password",
                "PasswordLength": 40,
                "ExcludePunctuation": true,
                "IncludeSpace": false,
            })
        );
    }
}

#[test]
fn one_writer_at_a_time() {
    let template = template("EventStore");
    let service = &template["Resources"]["Node1Service"]["Properties"];
    let deployment = &service["DeploymentConfiguration"];
    assert_eq!((&deployment["MinimumHealthyPercent"], &deployment["MaximumPercent"]), (&json!(0), &json!(100)));
    assert_eq!(service["AvailabilityZoneRebalancing"], "DISABLED");
    assert_eq!(service["DesiredCount"], 1);
    assert_eq!(service["LaunchType"], "FARGATE");
    assert_eq!(service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"], "DISABLED");
}

#[test]
fn the_task_is_the_one_of_the_design() {
    let template = template("EventStore");
    let task = &template["Resources"]["Node1Task"]["Properties"];
    let containers = task["ContainerDefinitions"].as_array().unwrap();
    let names: Vec<_> = containers.iter().map(|container| container["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["certgen", "eventstore", "bootstrap"]);
    let [certgen, eventstore, bootstrap] = containers.as_slice() else { panic!("three containers") };
    assert_eq!(certgen["Essential"], false);
    assert_eq!(eventstore["DependsOn"], json!([{"ContainerName": "certgen", "Condition": "SUCCESS"}]));
    assert_eq!(bootstrap["DependsOn"], json!([{"ContainerName": "eventstore", "Condition": "START"}]));
    assert_eq!(bootstrap["HealthCheck"]["Command"], json!(["CMD", "/bootstrap", "healthcheck"]));
    let volumes: Vec<_> = task["Volumes"].as_array().unwrap().iter().map(|volume| volume["Name"].clone()).collect();
    for container in containers {
        let name = &container["Name"];
        assert_eq!(container["ReadonlyRootFilesystem"], true, "{name}");
        assert_eq!(container["LinuxParameters"]["Capabilities"]["Drop"], json!(["ALL"]), "{name}");
        assert_ne!(container["User"], "0:0", "{name}");
        for mount in container["MountPoints"].as_array().unwrap() {
            assert!(volumes.contains(&mount["SourceVolume"]), "{name} mounts an undeclared volume");
        }
        for variable in container["Environment"].as_array().unwrap() {
            let name = variable["Name"].as_str().unwrap();
            assert!(!name.contains("PASSWORD"), "{name} would be readable in the console");
        }
        for seconds in [&container["StartTimeout"], &container["StopTimeout"]].into_iter().filter_map(Value::as_u64) {
            assert!((2..=120).contains(&seconds), "{name}: Fargate allows 2 to 120 s");
        }
    }
    let data = &task["Volumes"].as_array().unwrap()[4]["EFSVolumeConfiguration"];
    assert_eq!(data["TransitEncryption"], "ENABLED");
    assert_eq!(data["AuthorizationConfig"]["IAM"], "ENABLED");
    assert!(data["RootDirectory"].is_null(), "not allowed together with an access point");
}

/// Everything the sidecar calls, and nothing else, on nothing else.
#[test]
fn the_task_role_allows_what_the_programs_call() {
    let template = template("EventStore");
    let statements =
        &template["Resources"]["Node1TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
    let granted: Vec<_> = statements
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| (statement["Sid"].as_str().unwrap(), statement["Resource"] == "*"))
        .collect();
    assert_eq!(
        granted,
        [
            ("MountOwnData", false),
            ("KeepCredentials", false),
            ("RegisterNode", false),
            ("FollowRegistration", true),
            ("WriteDnsRecords", false),
            ("FindHostedZone", true),
        ]
    );
    assert!(!statements.to_string().contains("ClientRootAccess"));
}

#[test]
fn nothing_listens_to_the_world() {
    for stack in ["StatefulResources", "EventStore"] {
        let template = template(stack);
        for (id, resource) in
            resources(&template).filter(|(_, resource)| resource["Type"] == "AWS::EC2::SecurityGroupIngress")
        {
            assert!(resource["Properties"]["CidrIp"].is_null(), "{id} opens a port to addresses instead of a group");
        }
    }
}

#[test]
fn the_exports_are_a_stable_interface() {
    let exports = |stack: &str| -> Vec<String> {
        let template = template(stack);
        let outputs = template["Outputs"].as_object().unwrap();
        outputs.values().map(|output| output["Export"]["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(exports("EventStore"), ["eventstore:Host", "eventstore:NamespaceId", "eventstore:Port"]);
    assert_eq!(
        exports("StatefulResources"),
        [
            "eventstore:AdminSecretArn",
            "eventstore:FileSystemId",
            "eventstore:Node1DataAccessPointId",
            "eventstore:NodeSecurityGroupId",
            "eventstore:OpsSecretArn",
            "eventstore:PrivateSubnet1Id",
            "eventstore:PrivateSubnet2Id",
            "eventstore:VpcId",
        ]
    );
}

#[test]
fn every_line_and_every_image_can_be_rendered() {
    for line in ["23.10", "24.10"] {
        let text = format!(
            "name = \"es\"\n[server]\nline = \"{line}\"\nimage = \"r/s:1\"\n[images]\ncertgen = \"r/c:1\"\nbootstrap = \"r/b@sha256:0\""
        );
        let deployment = Deployment::new(Config::parse(&text).unwrap());
        let assembly = Assembly::new(&deployment).unwrap();
        let (_, template) = assembly.files().find(|(name, _)| *name == "es-EventStore.template.json").unwrap();
        for image in ["r/s:1", "r/c:1", "r/b@sha256:0"] {
            assert!(template.contains(&format!("\"Image\":\"{image}\"")), "{image}");
        }
    }
}

#[test]
fn cfn_lint_finds_nothing() {
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "cfn_lint_finds_nothing") else { return };
    let output = Command::new(cfn_lint)
        .arg("--")
        .args(
            ["StatefulResources", "EventStore"].map(|stack| golden().join(format!("eventstore-{stack}.template.json"))),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_cdk_command_line_lists_both_stacks() {
    let Some(cdk) = tool::find(Tool::Cdk, "the_cdk_command_line_lists_both_stacks") else { return };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("cdk.out");
    assembly().write(&out).unwrap();
    let output = Command::new(cdk)
        .args(["ls", "--app", "cdk.out", "--no-notices"])
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("CI", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut stacks: Vec<_> = said.lines().collect();
    stacks.sort_unstable();
    assert_eq!(stacks, ["eventstore-EventStore", "eventstore-StatefulResources"]);
}
