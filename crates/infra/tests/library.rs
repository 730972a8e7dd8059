//! The library as its users meet it: consumers' stacks, and resources beside those of the deployment.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

#[path = "../examples/consumer.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod consumer;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use infra::cfn::{LogicalId, Resource, import};
use infra::{
    Assembly, AssemblyError, BuildContext, ConsumerError, Deployment, Export, FargateService, FargateSize, Port,
    SecretField, Stack, Stacks,
};
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::{SCENARIOS, deployment, golden, is_update, of_type, only, text_of};

const EVERYTHING: &str = "name = \"orders\"\ncluster.nodes = 3\n[server]\nline = \"23.10\"\nexternal_tcp = true\n\
                          [credentials]\nkms_key = \"own\"\n[logs]\nkms_key = \"own\"\n[network]\negress = \"public-ip\"\n\
                          [[users]]\nlogin = \"shop\"\n";

fn template(assembly: &Assembly, stack: &str) -> Value {
    let (_, text) = assembly.files().find(|(name, _)| *name == format!("{stack}.template.json")).unwrap();
    serde_json::from_str(text).unwrap()
}

fn size() -> FargateSize {
    FargateSize::offered(256, 512).unwrap()
}

fn shop(deployment: &Deployment) -> FargateService<'_> {
    FargateService::new(deployment, "Shop", "registry.example.com/shop:1".parse().unwrap(), size())
}

/// A stack `shop` with a service and nothing else.
fn with(deployment: &Deployment, service: &FargateService<'_>) -> Result<Assembly, AssemblyError> {
    let mut stack = Stack::new("shop", "test");
    stack.add_service(service);
    let mut stacks = Stacks::new(deployment);
    stacks.add(stack);
    stacks.assembly()
}

#[test]
fn the_example_gives_the_checked_in_assembly() {
    let assembly = consumer::assembly().unwrap();
    let golden = golden("consumer/cdk.out");
    if is_update() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        assembly.write(&golden).unwrap();
    }
    let checked_in: BTreeMap<_, _> = fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    let emitted: BTreeMap<_, _> = assembly.files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    assert!(emitted == checked_in, "UPDATE_GOLDEN=1 rewrites it");
}

/// The deployment's stacks do not know of their consumers, or none could be deployed without the other.
#[test]
fn a_consumer_changes_nothing_of_the_deployment() {
    let deployment = deployment(EVERYTHING);
    let alone = Assembly::new(&deployment).unwrap();
    let mut shop = shop(&deployment);
    shop.connections().allow_to(&deployment.connections(), Port::tcp(1113)).unwrap();
    let together = with(&deployment, &shop).unwrap();
    for stack in ["orders-StatefulResources", "orders-EventStore"] {
        assert_eq!(template(&alone, stack), template(&together, stack));
    }
}

#[test]
fn the_rule_is_in_the_stack_of_the_consumer() {
    let deployment = deployment(EVERYTHING);
    let mut shop = shop(&deployment);
    for port in [2113, 1113, 2113] {
        shop.connections().allow_to(&deployment.connections(), Port::tcp(port)).unwrap();
    }
    let template = template(&with(&deployment, &shop).unwrap(), "shop");
    let (nodes, own) = (import("orders:NodeSecurityGroupId"), LogicalId::new("ShopSecurityGroup").attribute("GroupId"));
    let rules = |kind, port: &str, far: &str| -> Vec<(u64, Value, Value)> {
        let rules = of_type(&template, kind);
        let rule = |rule: &Value| (rule[port].as_u64().unwrap(), rule["GroupId"].clone(), rule[far].clone());
        rules.iter().map(|(_, resource)| rule(&resource["Properties"])).collect()
    };
    assert_eq!(
        rules("AWS::EC2::SecurityGroupIngress", "FromPort", "SourceSecurityGroupId"),
        [1113, 2113].map(|port| (port, nodes.clone(), own.clone()))
    );
    assert_eq!(
        rules("AWS::EC2::SecurityGroupEgress", "ToPort", "DestinationSecurityGroupId"),
        [1113, 2113].map(|port| (port, own.clone(), nodes.clone()))
    );
    let service = &template["Resources"]["ShopService"];
    assert_eq!(
        service["DependsOn"],
        json!(["ShopToNode1113", "ShopIntoNode1113", "ShopToNode2113", "ShopIntoNode2113"])
    );
    let network = &service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"];
    let subnets = ["PublicSubnet1Id", "PublicSubnet2Id", "PublicSubnet3Id"];
    assert_eq!(network["Subnets"], json!(subnets.map(|subnet| import(format!("orders:{subnet}")))));
    assert_eq!(network["AssignPublicIp"], "ENABLED", "it would reach neither AWS nor a registry");
}

#[test]
fn credentials_come_from_the_exported_secret_alone() {
    let deployment = deployment(EVERYTHING);
    let mut shop = shop(&deployment);
    shop.secret("PASSWORD", "shop", SecretField::Password).unwrap();
    shop.secret("USERNAME", "shop", SecretField::Username).unwrap();
    shop.variable("MODE", "test").desired_count(2);
    let template = template(&with(&deployment, &shop).unwrap(), "shop");
    let arn = import("orders:UserSecretshopArn");
    let container = &only(&template, "AWS::ECS::TaskDefinition")["ContainerDefinitions"][0];
    let from = |key: &str| json!({"Fn::Join": ["", [arn, format!(":{key}::")]]});
    let expected = json!([
        {"Name": "PASSWORD", "ValueFrom": from("password")},
        {"Name": "USERNAME", "ValueFrom": from("username")},
    ]);
    assert_eq!(container["Secrets"], expected);
    assert_eq!(container["Environment"], json!([{"Name": "MODE", "Value": "test"}]));
    let role = only(&template, "AWS::IAM::Role");
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    let resource = |sid: &str| &statements.iter().find(|statement| statement["Sid"] == sid).unwrap()["Resource"];
    assert_eq!(*resource("ReadSecrets"), json!([arn]));
    assert_eq!(*resource("UseKeyOfSecrets"), import("orders:KeyArn"));
    assert_eq!(only(&template, "AWS::Logs::LogGroup")["KmsKeyId"], import("orders:KeyArn"));
    assert_eq!(only(&template, "AWS::ECS::Service")["DesiredCount"], 2);
}

#[test]
fn images_of_ecr_may_be_pulled_and_others_need_no_right() {
    let deployment = deployment(EVERYTHING);
    let sids = |image: &str| {
        let service = FargateService::new(&deployment, "Shop", image.parse().unwrap(), size());
        let template = template(&with(&deployment, &service).unwrap(), "shop");
        let role = only(&template, "AWS::IAM::Role");
        let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
        statements.iter().map(|statement| statement["Sid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sids("registry.example.com/shop:1"), ["WriteLogs"]);
    assert_eq!(
        sids("123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:1"),
        ["WriteLogs", "PullImages", "LogInToRegistry"]
    );
    assert!("shop".parse::<infra::ImageReference>().is_err(), "without a tag it would be another one tomorrow");
}

#[test]
fn what_the_deployment_does_not_have_is_refused_with_what_it_has() {
    let single = deployment("name = \"es\"\n[[users]]\nlogin = \"shop\"");
    let cluster = deployment(EVERYTHING);
    let mut shop = shop(&single);
    let error = shop.connections().allow_to(&single.connections(), Port::tcp(1113)).unwrap_err();
    assert!(error.to_string().contains("port 1113; allowed are 2113 "), "{error}");
    let error = shop.connections().allow_to(&cluster.connections(), Port::tcp(2113)).unwrap_err();
    assert!(matches!(error, ConsumerError::OtherDeployment { .. }), "{error}");
    let error = shop.secret("PASSWORD", "shop-b", SecretField::Password).unwrap_err();
    assert!(error.to_string().ends_with("there are admin, ops, shop"), "{error}");
    // Nothing of it has remained.
    let template = template(&with(&single, &shop).unwrap(), "shop");
    assert!(of_type(&template, "AWS::EC2::SecurityGroupIngress").is_empty());
    assert!(FargateSize::offered(256, 4096).is_err() && FargateSize::offered(300, 512).is_err());
}

/// The deployment must export it, and no stack that comes later.
#[test]
fn what_nobody_exports_cannot_be_imported() {
    let deployment = deployment("name = \"es\"");
    let mut shop = shop(&deployment);
    shop.import("PORT", &Export::ExternalTcpPort);
    let error = with(&deployment, &shop).unwrap_err();
    assert!(matches!(&error, AssemblyError::Template { stack, .. } if stack == "shop"), "{error}");

    let mut early = Stacks::new(&deployment);
    let host = json!({"Type": "String", "Value": deployment.import(&Export::Host)});
    early.stateful_resources().add("Host", Resource::new("AWS::SSM::Parameter", host));
    let error = early.assembly().unwrap_err();
    assert!(matches!(&error, AssemblyError::Template { stack, .. } if stack == "es-StatefulResources"), "{error}");
}

#[test]
fn a_stack_may_import_what_one_before_it_exports() {
    let deployment = deployment("name = \"es\"");
    let queue = || {
        let mut stack = Stack::new("queue", "test");
        let queue = stack.template().add("Queue", Resource::new("AWS::SQS::Queue", json!({})));
        stack.template().export("QueueArn", "a queue", queue.attribute("Arn"), "queue:Arn");
        stack
    };
    let reader = || {
        let mut stack = Stack::new("reader", "test");
        let parameter = json!({"Type": "String", "Value": import("queue:Arn")});
        stack.template().add("Parameter", Resource::new("AWS::SSM::Parameter", parameter));
        stack
    };
    let assembly = |order: [Stack; 2]| {
        let mut stacks = Stacks::new(&deployment);
        for stack in order {
            stacks.add(stack);
        }
        stacks.assembly()
    };
    assert!(assembly([reader(), queue()]).is_err());
    let assembly = assembly([queue(), reader()]).unwrap();
    let (_, manifest) = assembly.files().find(|(name, _)| *name == "manifest.json").unwrap();
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    assert_eq!(manifest["artifacts"]["queue"]["dependencies"], json!(["es-EventStore"]));
    assert_eq!(manifest["artifacts"]["reader"]["dependencies"], json!(["queue"]));
    assert_eq!(manifest["artifacts"]["reader"]["properties"]["terminationProtection"], false);
}

#[test]
fn references_of_own_resources_must_lead_somewhere_and_not_in_a_circle() {
    let deployment = deployment("name = \"es\"");
    let with = |references: &[(&str, &str)]| {
        let mut stacks = Stacks::new(&deployment);
        for (id, to) in references {
            let properties = json!({"Type": "String", "Value": LogicalId::new(*to).reference()});
            stacks.stateful_resources().add(id, Resource::new("AWS::SSM::Parameter", properties));
        }
        stacks.assembly()
    };
    let assembly = with(&[("One", "FileSystem"), ("Two", "OwnOne")]).unwrap();
    let template = template(&assembly, "es-StatefulResources");
    assert_eq!(template["Resources"]["OwnTwo"]["Properties"]["Value"], json!({"Ref": "OwnOne"}));
    assert!(with(&[("One", "Nowhere")]).is_err());
    assert!(with(&[("One", "OwnTwo"), ("Two", "OwnOne")]).is_err());
}

/// A new version of ours may bring resources; none of them may take the id of one that is beside them.
#[test]
fn no_resource_of_ours_has_an_id_for_others() {
    for scenario in SCENARIOS {
        for template in support::templates(&text_of(scenario)) {
            let ids = template["Resources"].as_object().unwrap().keys();
            let taken: Vec<_> = ids.filter(|id| id.starts_with("Own")).collect();
            assert!(taken.is_empty(), "{scenario}: {taken:?}");
        }
    }
}

#[test]
fn two_of_a_name_cannot_be_made() {
    let deployment = deployment("name = \"es\"");
    let panics = |attempt: &dyn Fn()| {
        let attempt = std::panic::AssertUnwindSafe(attempt);
        assert!(std::panic::catch_unwind(attempt).is_err());
    };
    let resource = || Resource::new("AWS::SQS::Queue", json!({}));
    panics(&|| {
        let mut stacks = Stacks::new(&deployment);
        stacks.event_store().add("Queue", resource());
        stacks.event_store().add("Queue", resource());
    });
    panics(&|| Stacks::new(&deployment).add(Stack::new("es-EventStore", "test")));
    panics(&|| {
        let mut stack = Stack::new("shop", "test");
        stack.add_service(&shop(&deployment));
        stack.add_service(&shop(&deployment));
    });
    for name in ["", "1st", "a_b", "a/b", &"a".repeat(129)] {
        panics(&|| drop(Stack::new(name, "test")));
    }
}

/// Images belong to the stack with the nodes, whatever comes after it.
#[test]
fn a_consumer_is_after_images_that_are_built() {
    let deployment = deployment(&fs::read_to_string(golden("build/eventstore.toml")).unwrap());
    let mut stacks = Stacks::new(&deployment);
    stacks.add(Stack::new("shop", "test"));
    assert!(matches!(stacks.assembly().unwrap_err(), AssemblyError::NoContext(_)));
    let context = BuildContext::read(&golden("build/docker")).unwrap();
    let assembly = stacks.assembly_with_context(context).unwrap();
    let (_, manifest) = assembly.files().find(|(name, _)| *name == "manifest.json").unwrap();
    let manifest: Value = serde_json::from_str(manifest).unwrap();
    let dependencies = |stack: &str| &manifest["artifacts"][stack]["dependencies"];
    assert_eq!(*dependencies("orders-EventStore"), json!(["orders-StatefulResources", "orders-EventStore.assets"]));
    assert_eq!(*dependencies("shop"), json!(["orders-EventStore"]));
}

#[test]
fn cfn_lint_finds_nothing_in_stacks_of_consumers() {
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "cfn_lint_finds_nothing_in_stacks_of_consumers") else { return };
    let directory = tempfile::tempdir().unwrap();
    consumer::assembly().unwrap().write(&directory.path().join("example")).unwrap();
    let deployment = deployment(EVERYTHING);
    let mut shop = shop(&deployment);
    shop.connections().allow_to(&deployment.connections(), Port::tcp(1113)).unwrap();
    shop.secret("PASSWORD", "shop", SecretField::Password).unwrap();
    with(&deployment, &shop).unwrap().write(&directory.path().join("everything")).unwrap();
    let templates = ["example", "everything"].into_iter().flat_map(|out| {
        let paths = fs::read_dir(directory.path().join(out)).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().ends_with(".template.json")).collect::<Vec<_>>()
    });
    let output = Command::new(cfn_lint).arg("--").args(templates).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
