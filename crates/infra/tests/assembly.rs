//! What is emitted: byte for byte as checked in, with what must hold beside it, and judged by others.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use infra::{Assembly, Config, Deployment};
use serde_json::{Value, json};

use support::{SCENARIOS, golden, is_update, text_of};

fn assembly_of(scenario: &str) -> Assembly {
    support::assembly(&text_of(scenario))
}

fn assembly() -> Assembly {
    assembly_of("default")
}

fn template(stack: &str) -> Value {
    template_of("default", stack)
}

fn template_of(scenario: &str, stack: &str) -> Value {
    support::template(&text_of(scenario), stack)
}

#[test]
fn scenarios_that_are_kept_elsewhere_are_the_same_here() {
    for scenario in ["default", "article"] {
        let path = golden(&format!("{scenario}/eventstore.toml"));
        if is_update() {
            fs::write(&path, text_of(scenario)).unwrap();
        }
        assert!(fs::read_to_string(path).unwrap() == text_of(scenario), "UPDATE_GOLDEN=1 rewrites it");
    }
}

#[test]
fn every_scenario_gives_the_checked_in_assembly() {
    for scenario in SCENARIOS {
        let assembly = assembly_of(scenario);
        let golden = golden(&format!("{scenario}/cdk.out"));
        if is_update() {
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
            assert!(text == &checked_in[name], "{scenario}: {name} differs; UPDATE_GOLDEN=1 rewrites it");
        }
    }
}

/// Every mistake with its key, what was found, what is allowed and what to change, in one run.
#[test]
fn mistakes_give_the_checked_in_messages() {
    let files = fs::read_dir(golden("mistakes")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let found = Config::parse(&fs::read_to_string(&file).unwrap()).unwrap_err();
        let messages = format!("{found}\n");
        let path = file.with_extension("txt");
        if is_update() {
            fs::write(&path, &messages).unwrap();
        }
        assert_eq!(messages, fs::read_to_string(path).unwrap(), "{}", file.display());
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
    let built_in = ["AdminSecret", "CaSecret", "FileSystem", "Node1DataAccessPoint", "OpsSecret"];
    let of_three = ["Node1DataAccessPoint", "Node2DataAccessPoint", "Node3DataAccessPoint"];
    let own_key = ["AdminSecret", "BackupVault", "CaSecret", "FileSystem", "Key"];
    for (scenario, stateful) in [
        ("default", built_in.to_vec()),
        // With `data.retain = false` the file system goes with its stack.
        ("everything", vec!["AdminSecret", "OpsSecret", "UserSecretZ5AoeZ2Ev2Z5Fx", "UserSecretorderZ2Dservice"]),
        ("cluster", [&["AdminSecret", "BackupVault", "FileSystem"], &of_three[..], &["OpsSecret"]].concat()),
        (
            "backup-stop",
            [&["AdminSecret", "BackupVault", "CaSecret", "FileSystem"], &of_three[..], &["OpsSecret"]].concat(),
        ),
        (
            "backup-everything",
            vec!["AdminSecret", "BackupVault", "CaSecret", "FileSystem", "Key", "Node1DataAccessPoint", "OpsSecret"],
        ),
        ("restore", [&["AdminSecret", "BackupVault", "CaSecret"], &of_three[..], &["OpsSecret"]].concat()),
        ("existing", of_three.to_vec()),
        ("encrypted", [&own_key[..], &of_three, &["OpsSecret"]].concat()),
        ("alarms", [&built_in[..1], &["BackupVault"], &built_in[1..]].concat()),
        (
            "endpoints",
            [&["AdminSecret", "BackupVault", "CaSecret", "FileSystem"], &of_three[..], &["OpsSecret"]].concat(),
        ),
        (
            "article",
            vec![
                "AdminSecret",
                "BackupVault",
                "CaSecret",
                "FileSystem",
                "Node1DataAccessPoint",
                "Node1LogsAccessPoint",
                "OpsSecret",
                "UserSecretconsumer",
            ],
        ),
    ] {
        let template = template_of(scenario, "StatefulResources");
        assert_eq!(retained(&template), stateful, "{scenario}");
        let service = template_of(scenario, "EventStore");
        let logs = retained(&service);
        assert!(logs.iter().all(|id| id.ends_with("EventStoreLogs")) && !logs.is_empty(), "{scenario}: {logs:?}");
        if scenario == "everything" {
            continue;
        }
        for kind in ["AWS::EFS::FileSystem", "AWS::EFS::AccessPoint", "AWS::SecretsManager::Secret", "AWS::KMS::Key"] {
            for (id, _) in resources(&template).filter(|(_, resource)| resource["Type"] == kind) {
                assert!(stateful.contains(&id), "{scenario}: {id} holds state");
            }
        }
    }
}

/// The ids of what is kept when its stack goes.
fn retained(template: &Value) -> Vec<&str> {
    let retained = resources(template).filter(|(_, resource)| resource["DeletionPolicy"] == "RetainExceptOnCreate");
    let ids = retained.map(|(id, resource)| {
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{id}");
        id
    });
    ids.collect()
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

/// A secret that changed its logical id would be made anew, with another password.
#[test]
fn every_user_of_an_application_has_a_secret_of_its_own() {
    let template = template_of("everything", "StatefulResources");
    for (id, login) in [("UserSecretorderZ2Dservice", "order-service"), ("UserSecretZ5AoeZ2Ev2Z5Fx", "Zoe.v2_x")] {
        let secret = &template["Resources"][id];
        assert_eq!(secret["DeletionPolicy"], "RetainExceptOnCreate", "{id}");
        assert_eq!(secret["Properties"]["Name"], format!("orders-2/{login}"));
        let text = &secret["Properties"]["GenerateSecretString"]["SecretStringTemplate"];
        assert_eq!(text, &format!("{{\"username\":\"{login}\"}}"));
        assert_eq!(template["Outputs"][format!("{id}Arn")]["Export"]["Name"], format!("orders-2:{id}Arn"));
    }
}

/// What the server is born with is read by ECS; nobody sees it in the task definition.
#[test]
fn the_first_passwords_are_read_by_ecs_from_the_secrets_of_the_built_in_users() {
    let template = template("EventStore");
    let containers = &template["Resources"]["Node1Task"]["Properties"]["ContainerDefinitions"];
    let password =
        |id: &str| json!({"Fn::Join": ["", [{"Fn::ImportValue": format!("eventstore:{id}Arn")}, ":password::"]]});
    let expected = json!([
        {"Name": "EVENTSTORE_DEFAULT_ADMIN_PASSWORD", "ValueFrom": password("AdminSecret")},
        {"Name": "EVENTSTORE_DEFAULT_OPS_PASSWORD", "ValueFrom": password("OpsSecret")},
    ]);
    assert_eq!(containers[1]["Secrets"], expected);
    assert!(containers[0]["Secrets"].is_null() && containers[2]["Secrets"].is_null());
    let role = &template["Resources"]["Node1ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"];
    let statements = role["Statement"].as_array().unwrap();
    let read = statements.iter().find(|statement| statement["Sid"] == "ReadFirstPasswords").unwrap();
    assert_eq!(read["Action"], json!(["secretsmanager:GetSecretValue"]));
    let arn = |id: &str| json!({"Fn::ImportValue": format!("eventstore:{id}Arn")});
    assert_eq!(read["Resource"], json!([arn("AdminSecret"), arn("OpsSecret")]));
}

/// The variables of a container that are texts.
fn texts(scenario: &str, container: usize) -> BTreeMap<String, String> {
    let template = template_of(scenario, "EventStore");
    let container = &template["Resources"]["Node1Task"]["Properties"]["ContainerDefinitions"][container];
    let variables = container["Environment"].as_array().unwrap().iter();
    variables.filter_map(|set| Some((set["Name"].as_str()?.to_owned(), set["Value"].as_str()?.to_owned()))).collect()
}

#[test]
fn bootstrap_is_told_what_is_wanted_of_credentials() {
    let default = texts("default", 2);
    assert_eq!(default.get("BOOTSTRAP_ROTATE_EVERY").map(String::as_str), Some("90d"));
    assert!(!default.contains_key("BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE"));
    assert!(!default.contains_key("BOOTSTRAP_USERS"));
    let everything = texts("everything", 2);
    assert_eq!(everything["BOOTSTRAP_ROTATE_EVERY"], "30d");
    assert_eq!(everything["BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE"], "true");
    let users: Value = serde_json::from_str(&everything["BOOTSTRAP_USERS"]).unwrap();
    let expected = json!([
        {
            "login": "order-service", "secret": "orders-2/order-service", "groups": ["$ops", "orders"],
            "fullName": "Order \"service\"", "alternate": "order-service-b",
        },
        {"login": "Zoe.v2_x", "secret": "orders-2/Zoe.v2_x", "groups": [], "fullName": "Zoe.v2_x"},
    ]);
    assert_eq!(users, expected);
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
    assert_eq!(eventstore["HealthCheck"]["Command"], json!(["CMD", "/certs/guard", "healthcheck"]));
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
    let data = task["Volumes"].as_array().unwrap().iter().find(|volume| volume["Name"] == "data").unwrap();
    let data = &data["EFSVolumeConfiguration"];
    assert_eq!(data["TransitEncryption"], "ENABLED");
    assert_eq!(data["AuthorizationConfig"]["IAM"], "ENABLED");
    assert!(data["RootDirectory"].is_null(), "not allowed together with an access point");
}

/// A role's statements: name, actions, and whether they are for every resource.
fn statements(template: &Value, role: &str) -> Vec<(String, Vec<String>, bool)> {
    let statements = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"].as_array();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let statement = |statement: &Value| {
        let actions = statement["Action"].as_array().unwrap().iter().map(text).collect();
        (text(&statement["Sid"]), actions, statement["Resource"] == "*")
    };
    statements.unwrap().iter().map(statement).collect()
}

/// What the programs really call is held against it in `testkit/tests/privileges`. For every resource only what takes none.
#[test]
fn the_task_role_allows_what_the_programs_call() {
    let template = template("EventStore");
    let granted = statements(&template, "Node1TaskRole");
    let granted: Vec<_> = granted.iter().map(|(sid, actions, all)| (sid.as_str(), actions.join(" "), *all)).collect();
    let expected = [
        ("MountOwnData", "elasticfilesystem:ClientMount elasticfilesystem:ClientWrite", false),
        (
            "KeepCredentials",
            "secretsmanager:DescribeSecret secretsmanager:GetSecretValue secretsmanager:ListSecretVersionIds \
             secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage",
            false,
        ),
        ("RegisterNode", "servicediscovery:DeregisterInstance servicediscovery:RegisterInstance", false),
        // The condition names the service.
        ("LookAtRegistrations", "servicediscovery:GetInstance servicediscovery:ListInstances", true),
        ("FollowRegistration", "servicediscovery:GetOperation", true),
        ("WriteDnsRecords", "route53:ChangeResourceRecordSets route53:GetHostedZone", false),
        ("FindHostedZone", "route53:ListHostedZonesByName", true),
        (
            "ShareAuthority",
            "secretsmanager:DescribeSecret secretsmanager:GetSecretValue secretsmanager:PutSecretValue \
             secretsmanager:UpdateSecretVersionStage",
            false,
        ),
    ]
    .map(|(sid, actions, all)| (sid, actions.to_owned(), all));
    assert_eq!(granted, expected);
    let role = &template["Resources"]["Node1TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
    assert!(role[0]["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"].is_object());
    assert!(role[3]["Condition"]["StringEquals"]["servicediscovery:ServiceArn"].is_object());
}

#[test]
fn only_ecs_for_this_account_assumes_the_roles() {
    let template = template("EventStore");
    for (id, role) in resources(&template).filter(|(_, resource)| resource["Type"] == "AWS::IAM::Role") {
        let trust = &role["Properties"]["AssumeRolePolicyDocument"]["Statement"];
        assert_eq!(trust.as_array().unwrap().len(), 1, "{id}");
        assert_eq!(trust[0]["Principal"], json!({"Service": "ecs-tasks.amazonaws.com"}), "{id}");
        let account = json!({"aws:SourceAccount": {"Ref": "AWS::AccountId"}});
        assert_eq!(trust[0]["Condition"]["StringEquals"], account, "{id}");
    }
}

/// An image in a registry of ECR that the execution role may not read would never start.
#[test]
fn the_execution_role_may_pull_the_images_of_the_task_and_no_others() {
    let pulled = |scenario: &str| -> Vec<String> {
        let template = template_of(scenario, "EventStore");
        let role = &template["Resources"]["Node1ExecutionRole"]["Properties"];
        let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
        let pull = statements.iter().find(|statement| statement["Sid"] == "PullImages").unwrap();
        let arns = pull["Resource"].as_array().unwrap().iter();
        arns.map(|arn| arn["Fn::Sub"].as_str().unwrap().rsplit_once(":ecr:").unwrap().1.to_owned()).collect()
    };
    let own = "${AWS::Region}:${AWS::AccountId}:repository/eventstore-fargate";
    assert_eq!(pulled("default"), [format!("{own}/certgen"), format!("{own}/bootstrap")]);
    assert_eq!(
        pulled("everything"),
        ["eu-west-1:123456789012:repository/platform/certgen", "eu-west-1:123456789012:repository/mirror/eventstoredb"]
    );

    let elsewhere = "name = \"es\"\n[images]\nserver = \"r/s:1\"\ncertgen = \"r/c:1\"\nbootstrap = \"r/b:1\"";
    let assembly = Assembly::new(&Deployment::new(Config::parse(elsewhere).unwrap())).unwrap();
    let (_, template) = assembly.files().find(|(name, _)| *name == "es-EventStore.template.json").unwrap();
    assert!(!template.contains("ecr:"), "no image is in ECR");
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
fn every_line_and_every_image_can_be_rendered() {
    for line in ["23.10", "24.10"] {
        let text = format!(
            "name = \"es\"\n[server]\nline = \"{line}\"\n[images]\nserver = \"r/s:1\"\ncertgen = \"r/c:1\"\nbootstrap = \"r/b:2\""
        );
        let deployment = Deployment::new(Config::parse(&text).unwrap());
        let assembly = Assembly::new(&deployment).unwrap();
        let (_, template) = assembly.files().find(|(name, _)| *name == "es-EventStore.template.json").unwrap();
        for image in ["r/s:1", "r/c:1", "r/b:2"] {
            assert!(template.contains(&format!("\"Image\":\"{image}\"")), "{image}");
        }
    }
}
