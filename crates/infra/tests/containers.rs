//! Containers and volumes of the user's own, and the mistakes at a task that linters do not see (production-review, "Validators
//! nobody else has"): each is refused with the key that it stands under.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use infra::{Config, ContainerName, Node, Value as Setting, Volume};
use serde_json::{Value, json};

use support::tasks::items;
use support::{SCENARIOS, deployment, of_type, template, text_of};

/// That this one key is refused, with these words, and nothing else is.
#[track_caller]
fn refused(text: &str, key: &str, says: &[&str]) {
    let found = Config::parse(text).unwrap_err().0;
    let [mistake] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(mistake.key, key, "{mistake}");
    for words in says {
        assert!(mistake.message.contains(words), "`{words}` is not in `{mistake}`");
    }
}

/// A configuration with one container that says this.
fn agent(says: &str) -> String {
    format!("name = \"orders\"\n[[containers]]\nname = \"agent\"\nimage = \"registry.example.com/agent:1\"\n{says}\n")
}

/// And another one.
fn and(says: &str) -> String {
    format!("[[containers]]\nname = \"other\"\nimage = \"registry.example.com/other:1\"\n{says}\n")
}

#[test]
fn seeded_01_a_start_timeout_of_500_s() {
    refused(&agent("start_timeout = 500"), "containers[0].start_timeout", &["`500`", "2 to 120"]);
}

#[test]
fn seeded_02_a_stop_timeout_of_500_s() {
    refused(&agent("stop_timeout = 500"), "containers[0].stop_timeout", &["`500`", "2 to 120"]);
}

#[test]
fn seeded_03_a_mount_of_an_undeclared_volume() {
    let text = agent("mounts = [{ volume = \"spol\", path = \"/spool\" }]") + "[[volumes]]\nname = \"spool\"";
    refused(&text, "containers[0].mounts[0].volume", &["no volume `spol`", "[[volumes]]"]);
}

#[test]
fn seeded_04_a_dependency_on_an_undeclared_container() {
    let text = agent("depends_on = { eventstor = \"START\" }");
    refused(&text, "containers[0].depends_on.eventstor", &["no container `eventstor`", "did you mean `eventstore`?"]);
    // The init container of an insecure server is another one.
    let text = agent("depends_on = { guard = \"SUCCESS\" }");
    refused(&text, "containers[0].depends_on.guard", &["no container `guard`", "certgen"]);
}

#[test]
fn seeded_05_success_of_an_essential_container() {
    let text = agent("depends_on = { eventstore = \"SUCCESS\" }");
    refused(&text, "containers[0].depends_on.eventstore", &["`SUCCESS`", "essential", "allowed are START"]);
    let text = agent("depends_on = { other = \"COMPLETE\" }") + &and("essential = true");
    refused(&text, "containers[0].depends_on.other", &["`COMPLETE`", "essential"]);
}

const EFS: &str = "[[volumes]]\nname = \"archive\"\nfile_system = \"fs-01234567\"\nsecurity_group = \"sg-01234567\"\n";

#[test]
fn seeded_06_iam_without_encryption_in_transit() {
    let text = format!("name = \"orders\"\n{EFS}iam = true\ntransit_encryption = false");
    refused(&text, "volumes[0].transit_encryption", &["iam", "allowed is true"]);
}

#[test]
fn seeded_07_an_access_point_together_with_a_root_directory() {
    let text = format!("name = \"orders\"\n{EFS}access_point = \"fsap-01234567\"\nroot_directory = \"/archive\"");
    refused(&text, "volumes[0].root_directory", &["access_point", "take out one"]);
}

#[test]
fn seeded_08_health_of_a_container_without_a_check() {
    let text = agent("depends_on = { other = \"HEALTHY\" }") + &and("");
    refused(&text, "containers[0].depends_on.other", &["`HEALTHY`", "no health_check"]);
    let text = agent("depends_on = { eventstore = \"HEALTHY\" }");
    refused(&text, "containers[0].depends_on.eventstore", &["only the health check of bootstrap", "allowed is START"]);
}

#[test]
fn seeded_09_containers_that_wait_for_each_other() {
    let text = agent("depends_on = { other = \"START\" }") + &and("depends_on = { agent = \"START\" }");
    refused(&text, "containers[0].depends_on", &["agent, other, agent"]);
    refused(&agent("depends_on = { agent = \"START\" }"), "containers[0].depends_on", &["agent, agent"]);
}

#[test]
fn seeded_10_two_containers_of_one_name() {
    let twice = agent("") + "[[containers]]\nname = \"agent\"\nimage = \"registry.example.com/agent:2\"";
    refused(&twice, "containers[1].name", &["`agent`", "another container"]);
    for ours in ["certgen", "guard", "eventstore", "bootstrap"] {
        let text = agent("").replace("\"agent\"", &format!("\"{ours}\""));
        refused(&text, "containers[0].name", &[ours, "one of ours"]);
    }
}

#[test]
fn seeded_11_a_capability_that_fargate_has_not() {
    refused(
        &agent("capabilities_add = [\"NET_ADMIN\"]"),
        "containers[0].capabilities_add",
        &["`NET_ADMIN`", "allowed is SYS_PTRACE"],
    );
    refused(&agent("privileged = true"), "containers[0].privileged", &["Fargate"]);
}

#[test]
fn seeded_12_a_path_of_the_host() {
    for key in ["host_path", "source_path"] {
        let text = format!("name = \"orders\"\n[[volumes]]\nname = \"spool\"\n{key} = \"/var/spool\"");
        refused(&text, &format!("volumes[0].{key}"), &["Fargate", "no path of a host"]);
    }
}

const SECRET: &str =
    "secrets = { TOKEN = \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/token-AbCdEf\" }";

/// There is always an execution role; one of somebody else cannot be granted anything.
#[test]
fn seeded_13_secrets_that_nobody_may_read() {
    let role = "[deploy]\nexecution_role = \"arn:aws:iam::123456789012:role/ecs-execution\"\n";
    let text = agent(SECRET) + role;
    refused(&text, "containers[0].secrets", &["deploy.execution_role", "secretsmanager:GetSecretValue"]);
    assert!(Config::parse(&format!("{text}execution_role_reads_secrets = true")).is_ok());
    let said_in_vain = format!("{}{role}execution_role_reads_secrets = true", agent(""));
    refused(&said_in_vain, "deploy.execution_role_reads_secrets", &["says nothing"]);
}

#[test]
fn seeded_14_rebalancing_with_a_maximum_of_100_percent() {
    let text = "name = \"orders\"\n[deploy]\naz_rebalancing = \"ENABLED\"";
    refused(text, "deploy.az_rebalancing", &["always DISABLED", "100 %"]);
}

#[test]
fn seeded_15_a_health_check_every_second() {
    let text = agent("health_check = { command = [\"/check\"], interval = 1 }");
    refused(&text, "containers[0].health_check.interval", &["`1`", "5 to 300"]);
}

/// Rows of production-review whose wish has a key: it is known, and refused with the reason.
#[test]
fn what_would_put_two_servers_on_one_directory_is_refused_by_name() {
    for (row, section, says, key, words) in [
        (1, "deploy", "maximum_percent = 200", "deploy.maximum_percent", "two servers on one directory"),
        (1, "deploy", "minimum_healthy_percent = 50", "deploy.minimum_healthy_percent", "always 0"),
        (2, "deploy", "az_rebalancing = \"ENABLED\"", "deploy.az_rebalancing", "a second task first"),
        (3, "deploy", "desired_count = 0", "deploy.desired_count", "always 1"),
        (5, "deploy", "desired_count = 3", "deploy.desired_count", "set cluster.nodes"),
        (8, "deploy", "capacity_provider = \"FARGATE_SPOT\"", "deploy.capacity_provider", "Spot takes a task away"),
        (9, "data", "access_point = \"fsap-01234567\"", "data.access_point", "access points of its own"),
        (
            9,
            "server.options",
            "DB = \"/var/log/eventstore\"",
            "server.options.DB",
            "on the file system of the section data",
        ),
        (9, "server.options", "LOG = \"/var/lib/eventstore\"", "server.options.LOG", "infra sets it"),
        (18, "backup", "daily_at = \"03:00\"", "backup.daily_at", "without enabled = true"),
        (21, "server", "insecure = true\n[network]\negress = \"public-ip\"", "server.insecure", "a public address"),
        (35, "network", "admin_cidr = \"0.0.0.0/0\"", "network.admin_cidr", "`0.0.0.0/0`"),
        (40, "server", "cpu = 512\nmemory = 1024", "server.memory", "allowed are 2048"),
        (43, "deploy", "execute_command = true", "deploy.execute_command", "read-only"),
    ] {
        let text = format!("name = \"orders\"\n[{section}]\n{says}");
        let found = Config::parse(&text).unwrap_err().0;
        let [mistake] = found.as_slice() else { panic!("row {row}: {found:#?}") };
        assert!(mistake.key == key && mistake.message.contains(words), "row {row}: {mistake}");
    }
}

#[test]
fn a_secret_does_not_stand_among_variables_and_a_server_variable_not_in_another_container() {
    for name in ["DB_PASSWORD", "clientSecret", "API_TOKEN", "DD_API_KEY"] {
        let text = agent(&format!("environment = {{ {name} = \"hush\" }}"));
        refused(&text, &format!("containers[0].environment.{name}"), &["use secrets"]);
        assert!(!Config::parse(&text).unwrap_err().to_string().contains("hush"));
    }
    for name in ["EVENTSTORE_LOG", "KURRENTDB_LOG"] {
        let text = agent(&format!("environment = {{ {name} = \"/a\" }}"));
        refused(&text, &format!("containers[0].environment.{name}"), &["for the server alone"]);
    }
}

#[test]
fn our_volumes_are_read_only_or_not_there() {
    for (volume, read_only, key, says) in [
        ("data", true, "volume", "for our own containers alone"),
        ("ca-state", true, "volume", "for our own containers alone"),
        ("tmp", true, "volume", "for our own containers alone"),
        ("certs", false, "read_only", "others may only read"),
        ("run", false, "read_only", "others may only read"),
        ("logs", true, "volume", "server.log_volume"),
    ] {
        let text = agent(&format!("mounts = [{{ volume = \"{volume}\", path = \"/m\", read_only = {read_only} }}]"));
        refused(&text, &format!("containers[0].mounts[0].{key}"), &[volume, says]);
    }
    let text = "name = \"orders\"\n[[volumes]]\nname = \"data\"";
    refused(text, "volumes[0].name", &["one of ours"]);
    let database =
        format!("name = \"orders\"\n[data]\nfile_system = \"fs-01234567\"\nsecurity_group = \"sg-01234567\"\n{EFS}");
    refused(&database, "volumes[0].file_system", &["has the database on it"]);
}

#[test]
fn the_server_keeps_the_memory_it_needs() {
    refused(&agent("memory = 2560"), "containers", &["1536", "2048"]);
    assert!(Config::parse(&agent("memory = 2048")).is_ok());
    assert!(Config::parse(&agent("memory = 2560\nmemory_reservation = 64")).is_ok(), "it is kept 64 MiB");
}

/// All of them in one run, whatever else is wrong.
#[test]
fn all_mistakes_are_told_at_once() {
    let text = include_str!("golden/mistakes/containers.toml");
    let found: BTreeSet<_> = Config::parse(text).unwrap_err().0.into_iter().map(|mistake| mistake.key).collect();
    for key in [
        "containers[0].start_timeout",
        "containers[0].stop_timeout",
        "containers[0].mounts[0].volume",
        "containers[3].depends_on.shipper",
        "containers[3].depends_on.bootstrap",
        "volumes[3].transit_encryption",
        "volumes[3].root_directory",
        "containers[4].depends_on.one",
        "containers[3].depends_on",
        "containers[1].name",
        "containers[0].capabilities_add",
        "volumes[0].host_path",
        "containers[3].secrets",
        "deploy.az_rebalancing",
        "containers[0].health_check.interval",
    ] {
        assert!(found.contains(key), "{key}");
    }
}

fn scenario() -> Value {
    template(&text_of("containers"), "EventStore")
}

#[test]
fn a_container_of_the_users_own_can_do_little_and_the_server_does_not_wait_for_it() {
    let template = scenario();
    let task = &template["Resources"]["Node1Task"]["Properties"];
    let containers = items(&task["ContainerDefinitions"]);
    let names: Vec<_> = containers.iter().map(|container| container["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["certgen", "eventstore", "bootstrap", "prepare", "collector", "log-shipper"]);
    for container in &containers[3..] {
        let name = container["Name"].as_str().unwrap();
        assert_eq!(container["LinuxParameters"]["Capabilities"]["Drop"], json!(["ALL"]), "{name}");
        assert_eq!(container["ReadonlyRootFilesystem"], json!(name != "log-shipper"), "{name}");
        assert_eq!(container["Essential"], json!(name == "log-shipper"), "{name}");
        let group = container["LogConfiguration"]["Options"]["awslogs-group"]["Ref"].as_str().unwrap();
        assert_eq!(template["Resources"][group]["Properties"]["RetentionInDays"], 30, "{name}");
    }
    for container in &containers[..3] {
        for dependency in items(&container["DependsOn"]) {
            assert!(["certgen", "eventstore"].contains(&dependency["ContainerName"].as_str().unwrap()));
        }
    }
}

#[test]
fn ecs_may_read_exactly_these_secrets_and_pull_exactly_these_images() {
    let template = scenario();
    let statements = |role: &str| {
        let policy = &template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
        items(policy).to_vec()
    };
    let execution = statements("Node1ExecutionRole");
    let of = |sid: &str| execution.iter().find(|statement| statement["Sid"] == sid).unwrap();
    assert_eq!(
        of("ReadContainerSecrets")["Resource"],
        json!([
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/api-AbCdEf",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/token-AbCdEf",
        ])
    );
    let pulled = of("PullImages")["Resource"].to_string();
    assert!(pulled.contains("eu-west-1:123456789012:repository/platform/prepare"), "{pulled}");
    assert_eq!(items(&of("PullImages")["Resource"]).len(), 3, "certgen, bootstrap and theirs: {pulled}");
    assert!(of("UseKeyOfContainerSecrets")["Condition"]["StringEquals"]["kms:ViaService"].is_object());
    // With the task's role only what asks for it is mounted, behind its access point.
    let mounts: Vec<_> =
        statements("Node1TaskRole").into_iter().filter(|found| found["Sid"] == "Mountarchive").collect();
    assert!(mounts.is_empty(), "ids begin with a capital");
    let mounts: Vec<_> = statements("Node1TaskRole")
        .into_iter()
        .filter(|found| found["Sid"].as_str().unwrap().starts_with("Mount"))
        .map(|found| (found["Sid"].clone(), found["Condition"].to_string().contains("fsap-0123456789abcdef0")))
        .collect();
    assert_eq!(mounts, [(json!("MountOwnData"), false), (json!("MountArchive"), true)]);
    let network = template_of_network();
    let opened = of_type(&network, "AWS::EC2::SecurityGroupEgress").into_iter();
    let opened = opened.filter(|(_, rule)| rule["Properties"]["DestinationSecurityGroupId"] == "sg-0fedcba9876543210");
    assert_eq!(opened.count(), 1, "two volumes behind one group");
}

fn template_of_network() -> Value {
    template(&text_of("containers"), "StatefulResources")
}

/// The paths that certgen's image declares as a `VOLUME`, open to all (mode 1777).
fn declared_by_certgen() -> BTreeSet<String> {
    let dockerfile = include_str!("../../../docker/certgen.Dockerfile");
    let volumes = dockerfile.lines().find_map(|line| line.strip_prefix("VOLUME ")).unwrap();
    serde_json::from_str(volumes).unwrap()
}

/// A volume of a task is root's, 0755, unless the first container that mounts it has an image that declares a `VOLUME` at that
/// path (aws-contract §4.3); nobody of ours is root.
#[test]
fn every_volume_that_anybody_writes_to_is_mounted_first_where_an_image_declares_it() {
    for scenario in SCENARIOS {
        let template = template(&text_of(scenario), "EventStore");
        for (id, task) in of_type(&template, "AWS::ECS::TaskDefinition") {
            let task = &task["Properties"];
            let local = items(&task["Volumes"]).iter().filter(|volume| volume["EFSVolumeConfiguration"].is_null());
            for volume in local.map(|volume| volume["Name"].as_str().unwrap()) {
                let mounts = items(&task["ContainerDefinitions"]).iter().flat_map(|container| {
                    let mounts = items(&container["MountPoints"]).iter();
                    mounts.map(move |mount| (container["Name"].as_str().unwrap(), mount))
                });
                let mut mounts = mounts.filter(|(_, mount)| mount["SourceVolume"] == volume);
                let (first, mount) = mounts.next().unwrap();
                assert!(["certgen", "guard"].contains(&first), "{scenario}: {id}: {first} mounts {volume} first");
                let path = mount["ContainerPath"].as_str().unwrap();
                assert!(declared_by_certgen().contains(path), "{scenario}: {id}: {volume} at {path}");
                assert_eq!(mount["ReadOnly"], false, "{scenario}: {id}: {volume}");
            }
        }
    }
    let volumes: Vec<_> = (1..=9).map(|number| format!("[[volumes]]\nname = \"v{number}\"")).collect();
    refused(&format!("name = \"orders\"\n{}", volumes.join("\n")), "volumes", &["9", "at most 8"]);
}

/// A peer's name may not resolve before the own server runs: nothing that the server waits for may ask for one.
#[test]
fn nothing_that_ends_before_the_server_starts_needs_the_name_of_a_peer() {
    for scenario in SCENARIOS {
        let deployment = deployment(&text_of(scenario));
        for node in deployment.nodes() {
            let server = node.task().containers.iter().find(|found| found.name == ContainerName::EventStore).unwrap();
            let [(before, _)] = server.depends_on.as_slice() else { panic!("{scenario}: {:?}", server.depends_on) };
            assert!(matches!(before, ContainerName::Certgen | ContainerName::Guard), "{scenario}");
            let init = node.task().containers.iter().find(|found| found.name == *before).unwrap();
            assert!(init.depends_on.is_empty(), "{scenario}");
            let others: Vec<_> =
                deployment.nodes().iter().map(Node::host).filter(|host| *host != node.host()).collect();
            let literals = init.variables().filter_map(|(_, value)| match value {
                Setting::Literal(text) => Some(text),
                _ => None,
            });
            for text in literals.chain(&init.command).chain(init.entry_point.iter().flatten()) {
                assert!(!others.iter().any(|other| text.contains(other)), "{scenario}: {text}");
            }
            assert!(init.mounts.iter().all(|mount| !matches!(mount.volume, Volume::Data | Volume::Logs)), "{scenario}");
        }
    }
}

/// ECS registers a node's name when all of its containers have started: one that waited for the quorum would be waited for by it.
#[test]
fn nothing_that_the_start_of_a_task_waits_for_needs_a_quorum() {
    let waits = agent("depends_on = { bootstrap = \"HEALTHY\" }");
    assert!(Config::parse(&waits).is_ok(), "a single node needs nobody");
    let text = format!("{waits}[cluster]\nnodes = 3");
    refused(&text, "containers[0].depends_on.bootstrap", &["cluster", "allowed is START"]);
}

/// AWS, ECS API, `Task`: a task is UNKNOWN if one of its essential containers is.
#[test]
fn an_essential_container_without_a_health_check_is_a_warning() {
    let check = "health_check = { command = [\"/check\"] }\n";
    for (essential, check, warned) in [(true, "", true), (false, "", false), (true, check, false)] {
        let text = agent(&format!("essential = {essential}\n{check}"));
        let warnings = deployment(&text).warnings();
        let found = warnings.iter().any(|warning| warning.key == "containers[0].essential");
        assert_eq!(found, warned, "{text}{warnings:?}");
    }
}

/// What is wrong with a volume does not make its mounts wrong.
#[test]
fn a_volume_with_a_mistake_is_still_there() {
    let text = agent("mounts = [{ volume = \"archive\", path = \"/a\" }]") + EFS + "transit_encryption = false";
    refused(&text, "volumes[0].transit_encryption", &["allowed is true"]);
}

/// The same tasks on one machine; a secret is a variable of whoever calls compose.
#[test]
fn compose_has_them_too() {
    let text = infra::compose(&deployment(&text_of("containers")));
    let service =
        text.split("\n  node-1-collector:\n").nth(1).unwrap().split("\n  node-1-log-shipper:\n").next().unwrap();
    for line in [
        "API_KEY: \"${API_KEY:-}\"",
        "PRICE: \"$$5\"",
        "condition: service_healthy",
        "condition: service_completed_successfully",
        "read_only: true",
        "mem_limit: \"512m\"",
        "network_mode: \"service:node-1\"",
    ] {
        assert!(service.contains(line), "{line}\n{service}");
    }
    assert!(text.contains("target: /volumes/2"), "certgen mounts them first");
}

#[test]
fn what_a_container_could_take_with_it_is_told() {
    let warned = |text: &str| -> Vec<_> {
        deployment(text)
            .warnings()
            .into_iter()
            .map(|warning| warning.key)
            .filter(|key| key.starts_with("containers"))
            .collect()
    };
    assert_eq!(
        warned(&text_of("containers")),
        [
            "containers[0].depends_on.bootstrap",
            "containers[0].depends_on.prepare",
            "containers[2].depends_on.collector",
            "containers[2].essential",
            "containers[2].read_only_root",
        ]
    );
    let reads_key = agent("user = \"1000\"\nmounts = [{ volume = \"certs\", path = \"/certs\", read_only = true }]");
    assert_eq!(warned(&reads_key), ["containers[0].user"]);
    assert!(warned(&agent("")).is_empty());
}

/// AWS names `aws:SourceArn` for the role of a task and for no other that we make: a condition on a key that is not sent would let
/// nobody in.
#[test]
fn roles_are_assumed_on_behalf_of_this_account_alone() {
    for scenario in SCENARIOS {
        for template in support::templates(&text_of(scenario)) {
            for (id, role) in of_type(&template, "AWS::IAM::Role") {
                let trust = items(&role["Properties"]["AssumeRolePolicyDocument"]["Statement"]);
                let [statement] = trust else { panic!("{scenario}: {id}: {trust:?}") };
                let condition = &statement["Condition"];
                let account = json!({"Ref": "AWS::AccountId"});
                assert_eq!(condition["StringEquals"]["aws:SourceAccount"], account, "{scenario}: {id}");
                let ecs = json!({"Fn::Sub": "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:*"});
                let expected = if id.ends_with("TaskRole") { json!({"aws:SourceArn": ecs}) } else { Value::Null };
                assert_eq!(condition["ArnLike"], expected, "{scenario}: {id}");
            }
        }
    }
}

/// What runs is what was looked at, what it prints does not hold it up, and nobody opens a shell in it.
#[test]
fn every_container_says_what_ecs_would_otherwise_decide() {
    for scenario in SCENARIOS {
        let template = template(&text_of(scenario), "EventStore");
        for (id, task) in of_type(&template, "AWS::ECS::TaskDefinition") {
            for container in items(&task["Properties"]["ContainerDefinitions"]) {
                let place = format!("{scenario}: {id}: {}", container["Name"]);
                assert_eq!(container["VersionConsistency"], "enabled", "{place}");
                let options = &container["LogConfiguration"]["Options"];
                assert_eq!(options["mode"], "non-blocking", "{place}");
                assert_eq!(options["max-buffer-size"], "10m", "{place}");
                let files = &container["Ulimits"];
                let expected = json!([{"Name": "nofile", "SoftLimit": 65535, "HardLimit": 65535}]);
                assert_eq!(*files, if container["Name"] == "eventstore" { expected } else { Value::Null }, "{place}");
            }
        }
        for (id, service) in of_type(&template, "AWS::ECS::Service") {
            assert_eq!(service["Properties"]["EnableExecuteCommand"], false, "{scenario}: {id}");
        }
    }
}

/// The default says nothing: the vendor's image of a line is infra's choice.
#[test]
fn an_image_of_the_users_without_a_digest_is_a_warning() {
    let warned = |text: &str| deployment(text).warnings().iter().any(|warning| warning.key == "images.server");
    let digest = "5f0c2b1e7a3d4c6f8e9b0a1d2c3e4f506172839405b6c7d8e9f0011223344556";
    assert!(warned("name = \"a\"\n[images]\nserver = \"mirror/eventstore:24.10\""));
    assert!(!warned(&format!("name = \"a\"\n[images]\nserver = \"mirror/eventstore:24.10@sha256:{digest}\"")));
    assert!(!warned(infra::TEMPLATE));
}
