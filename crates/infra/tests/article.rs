//! The set-up that everybody knows, row by row: what `examples/article.toml` asks for is in the templates.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use serde_json::{Value, json};

use support::{container, of_type, only, variable};

const ARTICLE: &str = include_str!("../examples/article.toml");

fn stateful() -> Value {
    support::template(ARTICLE, "StatefulResources")
}

fn service() -> Value {
    support::template(ARTICLE, "EventStore")
}

/// The example with one of its lines changed, as its comments say.
#[track_caller]
fn with(line: &str, instead: &str) -> String {
    assert_eq!(ARTICLE.matches(line).count(), 1, "{line}");
    ARTICLE.replace(line, instead)
}

fn import(value: &str) -> Value {
    json!({"Fn::ImportValue": format!("article:{value}")})
}

/// What leaves and enters a group: `from`, or an address, with the port.
fn rules(template: &Value, kind: &str, other: &str) -> Vec<String> {
    let end = |rule: &Value| match (rule["CidrIp"].as_str(), rule[other]["Fn::GetAtt"][0].as_str()) {
        (Some(cidr), None) => cidr.to_owned(),
        (None, Some(group)) => group.to_owned(),
        found => panic!("{found:?}"),
    };
    let rules = of_type(template, kind).into_iter().map(|(_, rule)| &rule["Properties"]);
    let shown = rules.map(|rule| {
        assert_eq!(rule["FromPort"], rule["ToPort"]);
        let group = rule["GroupId"]["Fn::GetAtt"][0].as_str().unwrap();
        format!("{group} {} {}", end(rule), rule["ToPort"])
    });
    shown.collect()
}

fn ingress(template: &Value) -> Vec<String> {
    rules(template, "AWS::EC2::SecurityGroupIngress", "SourceSecurityGroupId")
}

#[test]
fn row_vpc() {
    let template = stateful();
    let vpc = only(&template, "AWS::EC2::VPC");
    assert_eq!(vpc["CidrBlock"], "10.42.0.0/16");
    assert_eq!((&vpc["EnableDnsSupport"], &vpc["EnableDnsHostnames"]), (&json!(true), &json!(true)));
    let subnets: Vec<_> = of_type(&template, "AWS::EC2::Subnet").into_iter().map(|(id, _)| id).collect();
    assert_eq!(subnets, ["PrivateSubnet1", "PrivateSubnet2", "PublicSubnet1", "PublicSubnet2"]);
    let nat = only(&template, "AWS::EC2::NatGateway");
    assert_eq!(nat["SubnetId"], json!({"Ref": "PublicSubnet1"}));
    let routes = of_type(&template, "AWS::EC2::Route");
    let via: Vec<_> = routes.iter().map(|(id, route)| (*id, &route["Properties"])).collect();
    assert_eq!(via[0].0, "PrivateDefaultRoute");
    assert_eq!(via[0].1["NatGatewayId"], json!({"Ref": "NatGateway"}));
    assert_eq!(via[1].1["GatewayId"], json!({"Ref": "InternetGateway"}));
}

#[test]
fn row_file_system() {
    let template = stateful();
    let [(id, resource)] = of_type(&template, "AWS::EFS::FileSystem")[..] else { panic!("one file system") };
    let file_system = &resource["Properties"];
    assert_eq!(id, "FileSystem");
    assert_eq!(file_system["PerformanceMode"], "generalPurpose");
    assert_eq!(file_system["ThroughputMode"], "bursting");
    assert_eq!(file_system["Encrypted"], true);
    assert_eq!(
        file_system["LifecyclePolicies"],
        json!([{"TransitionToIA": "AFTER_14_DAYS"}, {"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"}])
    );
    assert_eq!(file_system["FileSystemTags"], json!([{"Key": "Name", "Value": "eventstore"}]));
    assert_eq!(
        (&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]),
        (&json!("RetainExceptOnCreate"), &json!("Retain"))
    );

    let elastic =
        support::template(&with("throughput = \"bursting\"", "throughput = \"elastic\""), "StatefulResources");
    assert_eq!(only(&elastic, "AWS::EFS::FileSystem")["ThroughputMode"], "elastic");
    let destroyed = support::template(&with("retain = true", "retain = false"), "StatefulResources");
    for kind in ["AWS::EFS::FileSystem", "AWS::EFS::AccessPoint"] {
        for (id, resource) in of_type(&destroyed, kind) {
            assert!(resource["DeletionPolicy"].is_null() && resource["UpdateReplacePolicy"].is_null(), "{id}");
        }
    }
}

/// Off in the example, because there is a plan of its own; on they come with a warning.
#[test]
fn row_automatic_backups() {
    assert_eq!(only(&stateful(), "AWS::EFS::FileSystem")["BackupPolicy"], json!({"Status": "DISABLED"}));
    let on = with("automatic_backups = false", "automatic_backups = true").replace("enabled = true", "enabled = false");
    let on = on.lines().filter(|line| !line.starts_with("mode = ")).collect::<Vec<_>>().join("\n");
    let template = support::template(&on, "StatefulResources");
    assert_eq!(only(&template, "AWS::EFS::FileSystem")["BackupPolicy"], json!({"Status": "ENABLED"}));
    assert!(of_type(&template, "AWS::Backup::BackupPlan").is_empty());
    let warnings = support::deployment(&on).warnings();
    let warning = warnings.iter().find(|warning| warning.key == "data.automatic_backups").unwrap();
    assert!(warning.message.contains("cannot be deleted at will"), "{warning}");
    assert!(!support::deployment(ARTICLE).warnings().iter().any(|warning| warning.key == "data.automatic_backups"));
    let errors = infra::Config::parse(&with("automatic_backups = false", "automatic_backups = true")).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
}

#[test]
fn row_backup_vault_plan_and_rule() {
    let template = stateful();
    let [(_, vault)] = of_type(&template, "AWS::Backup::BackupVault")[..] else { panic!("one vault") };
    assert_eq!(vault["Properties"]["BackupVaultName"], "article-backup");
    assert_eq!(vault["DeletionPolicy"], "RetainExceptOnCreate");
    let plan = &only(&template, "AWS::Backup::BackupPlan")["BackupPlan"];
    assert_eq!(
        plan["BackupPlanRule"],
        json!([{
            "RuleName": "daily",
            "TargetBackupVault": {"Ref": "BackupVault"},
            "ScheduleExpression": "cron(0 2 * * ? *)",
            "StartWindowMinutes": 60,
            "CompletionWindowMinutes": 120,
            "Lifecycle": {"DeleteAfterDays": 35},
        }])
    );
}

/// Without it nothing is ever backed up.
#[test]
fn row_backup_selection() {
    let template = stateful();
    let selection = only(&template, "AWS::Backup::BackupSelection");
    assert_eq!(selection["BackupPlanId"], json!({"Ref": "BackupPlan"}));
    let [arn] = selection["BackupSelection"]["Resources"].as_array().unwrap().as_slice() else { panic!() };
    let [text, names] = arn["Fn::Sub"].as_array().unwrap().as_slice() else { panic!() };
    assert!(text.as_str().unwrap().ends_with(":file-system/${Id}"), "{text}");
    assert_eq!(*names, json!({"Id": {"Ref": "FileSystem"}}));
    let role = &template["Resources"]["BackupRole"]["Properties"];
    assert_eq!(selection["BackupSelection"]["IamRoleArn"], json!({"Fn::GetAtt": ["BackupRole", "Arn"]}));
    let trusted = &role["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(trusted["Principal"], json!({"Service": "backup.amazonaws.com"}));
}

#[test]
fn row_cluster() {
    let template = service();
    let cluster = only(&template, "AWS::ECS::Cluster");
    assert_eq!(cluster["ClusterSettings"], json!([{"Name": "containerInsights", "Value": "enabled"}]));
    assert_eq!(only(&template, "AWS::ECS::Service")["Cluster"], json!({"Ref": "Cluster"}));
}

#[test]
fn row_task_definition() {
    let template = service();
    let task = only(&template, "AWS::ECS::TaskDefinition");
    assert_eq!((&task["Cpu"], &task["Memory"]), (&json!("1024"), &json!("4096")));
    assert_eq!(task["RequiresCompatibilities"], json!(["FARGATE"]));
    assert_eq!(task["NetworkMode"], "awsvpc");
}

/// Each purpose has a directory of its own: with one for all, chunks and log files would lie beside each other.
#[test]
fn row_volumes() {
    let (stateful, service) = (stateful(), service());
    let volumes = only(&service, "AWS::ECS::TaskDefinition")["Volumes"].as_array().unwrap();
    for (name, access_point, path) in
        [("data", "Node1DataAccessPoint", "/node-1/data"), ("logs", "Node1LogsAccessPoint", "/node-1/logs")]
    {
        let volume = volumes.iter().find(|volume| volume["Name"] == name).unwrap();
        let efs = &volume["EFSVolumeConfiguration"];
        assert_eq!(efs["FilesystemId"], import("FileSystemId"), "{name}");
        assert_eq!(efs["TransitEncryption"], "ENABLED", "{name}");
        let authorization = json!({"AccessPointId": import(&format!("{access_point}Id")), "IAM": "ENABLED"});
        assert_eq!(efs["AuthorizationConfig"], authorization, "{name}");
        let access_point = &stateful["Resources"][access_point];
        assert_eq!(access_point["Properties"]["RootDirectory"]["Path"], path);
        assert_eq!(access_point["DeletionPolicy"], "RetainExceptOnCreate");
    }
    let role = &service["Resources"]["Node1TaskRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0];
    let allowed = &role["Condition"]["StringEquals"]["elasticfilesystem:AccessPointArn"];
    assert_eq!(allowed.as_array().unwrap().len(), 2, "the task may mount both: {allowed}");
}

#[test]
fn row_database_container() {
    let template = service();
    let database = container(&template, "eventstore");
    assert_eq!(database["Image"], "eventstore/eventstore:23.10.6-bookworm-slim");
    assert_eq!(database["User"], "1000:1000");
    let ports = json!([{"ContainerPort": 2113, "Protocol": "tcp"}, {"ContainerPort": 1113, "Protocol": "tcp"}]);
    assert_eq!(database["PortMappings"], ports);
    for (name, value) in [
        ("CLUSTER_SIZE", "1"),
        ("RUN_PROJECTIONS", "All"),
        ("START_STANDARD_PROJECTIONS", "true"),
        ("ENABLE_ATOM_PUB_OVER_HTTP", "true"),
        ("ENABLE_EXTERNAL_TCP", "true"),
        ("NODE_PORT", "2113"),
        ("DB", "/var/lib/eventstore"),
        ("LOG", "/var/log/eventstore"),
        ("DISABLE_LOG_FILE", "false"),
    ] {
        assert_eq!(variable(database, &format!("EVENTSTORE_{name}")), Some(value), "{name}");
    }
    let errors = infra::Config::parse(&with("line = \"23.10\"", "line = \"24.10\"")).unwrap_err();
    assert_eq!(errors.0[0].key, "server.external_tcp", "{errors}");
}

/// The log volume is here only.
#[test]
fn row_mount_points() {
    let paths = |template: &Value| -> Vec<String> {
        let mounts = container(template, "eventstore")["MountPoints"].as_array().unwrap().iter();
        let efs = mounts.filter(|mount| mount["SourceVolume"] == "data" || mount["SourceVolume"] == "logs");
        efs.map(|mount| format!("{} {}", mount["ContainerPath"].as_str().unwrap(), mount["ReadOnly"])).collect()
    };
    assert_eq!(paths(&service()), ["/var/lib/eventstore false", "/var/log/eventstore false"]);
    let default = support::template(infra::TEMPLATE, "EventStore");
    assert_eq!(paths(&default), ["/var/lib/eventstore false"]);
}

#[test]
fn row_fargate_service() {
    let template = service();
    let service = only(&template, "AWS::ECS::Service");
    assert_eq!((&service["LaunchType"], &service["PlatformVersion"]), (&json!("FARGATE"), &json!("1.4.0")));
    let network = &service["NetworkConfiguration"]["AwsvpcConfiguration"];
    assert_eq!(network["Subnets"], json!([import("PrivateSubnet1Id"), import("PrivateSubnet2Id")]));
    assert_eq!(network["SecurityGroups"], json!([import("NodeSecurityGroupId")]));
    assert_eq!(network["AssignPublicIp"], "DISABLED");
}

#[test]
fn row_public_address() {
    let public = with("egress = \"one-nat\"", "egress = \"public-ip\"");
    let [stateful, service] = support::templates(&public);
    let network = &only(&service, "AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"];
    assert_eq!(network["AssignPublicIp"], "ENABLED");
    assert_eq!(network["Subnets"], json!([import("PublicSubnet1Id"), import("PublicSubnet2Id")]));
    assert!(of_type(&stateful, "AWS::EC2::NatGateway").is_empty(), "nobody would use it");
    let mounted = of_type(&stateful, "AWS::EFS::MountTarget").into_iter();
    let mounted: Vec<_> = mounted.map(|(_, target)| &target["Properties"]["SubnetId"]).collect();
    assert_eq!(mounted, [&json!({"Ref": "PublicSubnet1"}), &json!({"Ref": "PublicSubnet2"})]);
    assert_eq!(
        ingress(&stateful),
        ["FileSystemSecurityGroup NodeSecurityGroup 2049"],
        "a public address opens nothing"
    );
}

#[test]
fn row_nfs_to_the_file_system() {
    let template = stateful();
    assert_eq!(ingress(&template), ["FileSystemSecurityGroup NodeSecurityGroup 2049"]);
    let egress = rules(&template, "AWS::EC2::SecurityGroupEgress", "DestinationSecurityGroupId");
    assert_eq!(egress, ["NodeSecurityGroup 0.0.0.0/0 443", "NodeSecurityGroup FileSystemSecurityGroup 2049"]);
    for (id, target) in of_type(&template, "AWS::EFS::MountTarget") {
        let groups = json!([{"Fn::GetAtt": ["FileSystemSecurityGroup", "GroupId"]}]);
        assert_eq!(target["Properties"]["SecurityGroups"], groups, "{id}");
    }
}

/// On explicit demand, and twice where others reach it.
#[test]
fn row_insecure() {
    let secure = service();
    assert_eq!(variable(container(&secure, "eventstore"), "EVENTSTORE_INSECURE"), None);

    let sections = [
        "[certificates]",
        "ca = \"secret\"",
        "[credentials]",
        "rotate_every = \"90d\"",
        "[[users]]",
        "login = \"consumer\"",
    ];
    let lines = ARTICLE.lines().filter(|line| !sections.iter().any(|section| line.starts_with(section)));
    let insecure = lines.collect::<Vec<_>>().join("\n").replace("# insecure = true", "insecure = true #");
    let [stateful, service] = support::templates(&insecure);
    let names: Vec<_> = service["Resources"]["Node1Task"]["Properties"]["ContainerDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["Name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["guard", "eventstore", "bootstrap"], "no certificates, but still one writer");
    let database = container(&service, "eventstore");
    assert_eq!(variable(database, "EVENTSTORE_INSECURE"), Some("true"));
    assert_eq!(variable(database, "EVENTSTORE_CERTIFICATE_FILE"), None);
    assert!(database["Secrets"].is_null(), "a server without passwords ends itself over them");
    assert_eq!(database["DependsOn"], json!([{"ContainerName": "guard", "Condition": "SUCCESS"}]));
    let sidecar = container(&service, "bootstrap");
    assert_eq!(variable(sidecar, "BOOTSTRAP_INSECURE"), Some("true"));
    assert!(!sidecar["Environment"].to_string().contains("SECRET"), "it registers and nothing else");
    assert!(of_type(&stateful, "AWS::SecretsManager::Secret").is_empty());
    assert!(!service["Resources"]["Node1TaskRole"].to_string().contains("secretsmanager"));
    let warnings = support::deployment(&insecure).warnings();
    assert!(warnings.iter().any(|warning| warning.key == "server.insecure"), "{warnings:?}");

    let exposed = insecure.replace("egress = \"one-nat\"", "egress = \"public-ip\"");
    let errors = infra::Config::parse(&exposed).unwrap_err();
    assert_eq!(errors.0[0].key, "server.insecure", "{errors}");
    let twice = exposed.replace("insecure = true", "insecure = true\ninsecure_exposed = true");
    assert!(infra::Config::parse(&twice).is_ok());
}

#[test]
fn row_tls_by_the_init_container() {
    let template = service();
    let certgen = container(&template, "certgen");
    assert_eq!(certgen["Command"], json!(["--out", "/certs", "--guard", "/guard"]));
    assert_eq!((&certgen["Essential"], &certgen["StartTimeout"]), (&json!(false), &json!(120)));
    let mount = |container: &Value| {
        let mounts = container["MountPoints"].as_array().unwrap();
        mounts.iter().find(|mount| mount["SourceVolume"] == "certs").unwrap().clone()
    };
    assert_eq!(mount(certgen), json!({"SourceVolume": "certs", "ContainerPath": "/certs", "ReadOnly": false}));
    let database = container(&template, "eventstore");
    assert_eq!(mount(database), json!({"SourceVolume": "certs", "ContainerPath": "/certs", "ReadOnly": true}));
    assert_eq!(database["DependsOn"], json!([{"ContainerName": "certgen", "Condition": "SUCCESS"}]));
    assert_eq!(variable(database, "EVENTSTORE_CERTIFICATE_FILE"), Some("/certs/node.crt"));
    assert_eq!(variable(database, "EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH"), Some("/certs/ca"));
}

#[test]
fn row_stacks_in_order() {
    let assembly = support::assembly(ARTICLE);
    let (_, manifest) = assembly.files().find(|(name, _)| *name == "manifest.json").unwrap();
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    assert_eq!(manifest["artifacts"]["article-EventStore"]["dependencies"], json!(["article-StatefulResources"]));
    let stateful = &manifest["artifacts"]["article-StatefulResources"];
    assert_eq!(stateful["dependencies"], json!([]));
    assert_eq!(stateful["properties"]["terminationProtection"], true);
    for (id, resource) in self::stateful()["Resources"].as_object().unwrap() {
        assert!(
            !resource.to_string().contains("Fn::ImportValue"),
            "{id}: state depends on nothing that comes and goes"
        );
    }
}

/// A consumer in a stack of its own needs nothing but these.
#[test]
fn row_ways_for_consumers() {
    let exports = |template: &Value| -> Vec<String> {
        let outputs = template["Outputs"].as_object().unwrap().values();
        outputs.map(|output| output["Export"]["Name"].as_str().unwrap().to_owned()).collect()
    };
    let all = [exports(&stateful()), exports(&service())].concat();
    for value in
        ["NodeSecurityGroupId", "VpcId", "Host", "Port", "ExternalTcpPort", "UserSecretconsumerArn", "NamespaceId"]
    {
        assert!(all.contains(&format!("article:{value}")), "{value}");
    }
    assert_eq!(service()["Outputs"]["ExternalTcpPort"]["Value"], "1113");
}

#[test]
fn row_admin_ui() {
    assert!(!stateful().to_string().contains("NodeFromAdmin"), "nobody by default");
    let open = with("# admin_cidr = \"198.51.100.0/24\"", "admin_cidr = \"198.51.100.0/24\" #");
    let template = support::template(&open, "StatefulResources");
    assert_eq!(
        ingress(&template),
        ["FileSystemSecurityGroup NodeSecurityGroup 2049", "NodeSecurityGroup 198.51.100.0/24 2113"]
    );
    let everybody = open.replace("198.51.100.0/24", "0.0.0.0/0");
    assert_eq!(infra::Config::parse(&everybody).unwrap_err().0[0].key, "network.admin_cidr");
}

#[test]
fn row_logging() {
    let template = service();
    let groups = of_type(&template, "AWS::Logs::LogGroup");
    assert_eq!(groups.len(), 3, "one per container");
    for (id, group) in &groups {
        assert_eq!(group["Properties"]["RetentionInDays"], 30, "{id}");
    }
    for name in ["certgen", "eventstore", "bootstrap"] {
        let logging = &container(&template, name)["LogConfiguration"];
        assert_eq!(logging["LogDriver"], "awslogs");
        let group = logging["Options"]["awslogs-group"]["Ref"].as_str().unwrap();
        assert!(groups.iter().any(|(id, _)| *id == group), "{name}");
    }
}

#[test]
fn row_cloud_map() {
    let template = service();
    let namespace = only(&template, "AWS::ServiceDiscovery::PrivateDnsNamespace");
    assert_eq!(namespace["Name"], "eventstore.internal");
    assert_eq!(namespace["Vpc"], import("VpcId"));
    let services = of_type(&template, "AWS::ServiceDiscovery::Service");
    let names: Vec<_> = services.iter().map(|(_, service)| &service["Properties"]["Name"]).collect();
    assert_eq!(names, ["article", "article-node-1"]);
    let registries = &only(&template, "AWS::ECS::Service")["ServiceRegistries"];
    assert_eq!(*registries, json!([{"RegistryArn": {"Fn::GetAtt": ["Node1Discovery", "Arn"]}}]));
}

#[test]
fn row_credentials() {
    let template = stateful();
    let secrets = of_type(&template, "AWS::SecretsManager::Secret");
    let names: Vec<_> = secrets.iter().map(|(_, secret)| secret["Properties"]["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["article/admin", "article/ca", "article/ops", "article/consumer"]);
    for (id, secret) in secrets {
        assert_eq!(secret["DeletionPolicy"], "RetainExceptOnCreate", "{id}");
    }
    let service = service();
    let sidecar = container(&service, "bootstrap");
    assert_eq!(variable(sidecar, "BOOTSTRAP_ROTATE_EVERY"), Some("90d"));
    let users: Value = serde_json::from_str(variable(sidecar, "BOOTSTRAP_USERS").unwrap()).unwrap();
    assert_eq!(users[0]["secret"], "article/consumer");
}
