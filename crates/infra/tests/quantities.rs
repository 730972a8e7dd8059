//! `infra quantities`: what it says against an own count of the emitted templates, and as people see it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use infra::{Container, ContainerName};
use serde_json::Value;

use support::{SCENARIOS, deployment, golden, is_update, of_type, templates, text_of};

const HOURS: usize = 730;

fn infra(arguments: &[&str]) -> Output {
    let directory = golden("quantities");
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().current_dir(directory).args(arguments).output().unwrap()
}

/// What is told of a configuration.
fn told(text: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("eventstore.toml");
    fs::write(&config, text).unwrap();
    let output = infra(&["quantities", "--json", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The amounts of all that has this price, in hundredths.
fn hundredths(told: &Value, price_key: &str) -> usize {
    let all = told["quantities"].as_array().unwrap().iter().filter(|quantity| quantity["price_key"] == price_key);
    all.map(|quantity| {
        let (whole, decimals) =
            quantity["amount"].as_str().unwrap().split_once('.').unwrap_or((quantity["amount"].as_str().unwrap(), ""));
        assert!(decimals.len() <= 2, "{quantity}");
        whole.parse::<usize>().unwrap() * 100 + format!("{decimals:0<2}").parse::<usize>().unwrap()
    })
    .sum()
}

/// Counted by types and properties, in both templates.
struct Count {
    templates: [Value; 2],
}

impl Count {
    fn of(&self, kind: &str) -> Vec<&Value> {
        let all = self.templates.iter().flat_map(|template| of_type(template, kind));
        all.map(|(_, resource)| &resource["Properties"]).collect()
    }

    fn number(&self, kind: &str) -> usize {
        self.of(kind).len()
    }

    /// Each task that runs, with its definition.
    fn tasks(&self) -> Vec<(&Value, &Value)> {
        let running = |service: &&&Value| service["DesiredCount"] == 1;
        let services = self.of("AWS::ECS::Service");
        let definition = |service: &Value| {
            &self.templates[1]["Resources"][service["TaskDefinition"]["Ref"].as_str().unwrap()]["Properties"]
        };
        services.iter().filter(running).map(|service| (*service, definition(service))).collect()
    }
}

#[test]
fn counts_are_those_of_the_templates() {
    for scenario in SCENARIOS {
        let text = text_of(scenario);
        let (told, count) = (told(&text), Count { templates: templates(&text) });
        let is = |key: &str, expected: usize| assert_eq!(hundredths(&told, key), expected * 100, "{scenario}: {key}");
        let tasks = count.tasks();
        let size = |key: &str| {
            let sizes = tasks.iter().map(|(_, task)| task[key].as_str().unwrap().parse::<usize>().unwrap());
            sizes.sum::<usize>() * HOURS * 100 / 1024
        };
        assert_eq!(hundredths(&told, "fargate.vcpu_hour"), size("Cpu"), "{scenario}");
        assert_eq!(hundredths(&told, "fargate.gib_hour"), size("Memory"), "{scenario}");
        assert!(tasks.iter().all(|(_, task)| task.get("EphemeralStorage").is_none()), "{scenario}");
        is("fargate.ephemeral_gib_hour", 0);
        is("vpc.nat_gateway_hour", count.number("AWS::EC2::NatGateway") * HOURS);
        let in_zones =
            count.of("AWS::EC2::VPCEndpoint").into_iter().filter_map(|endpoint| endpoint["SubnetIds"].as_array());
        is("vpc.endpoint_hour", in_zones.map(Vec::len).sum::<usize>() * HOURS);
        let assigned = |(service, _): &&(&Value, &Value)| {
            service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "ENABLED"
        };
        let addresses = count.number("AWS::EC2::EIP") + tasks.iter().filter(assigned).count();
        is("vpc.public_ipv4_hour", addresses * HOURS);
        is("secrets_manager.secret_month", count.number("AWS::SecretsManager::Secret"));
        is("kms.key_month", count.number("AWS::KMS::Key"));
        is("route53.hosted_zone_month", count.number("AWS::ServiceDiscovery::PrivateDnsNamespace"));
        is("cloud_map.ecs_instance_month", tasks.len());
        let mut metrics = 0;
        for alarm in count.of("AWS::CloudWatch::Alarm") {
            let terms = alarm["Metrics"]
                .as_array()
                .map(|terms| terms.iter().filter(|term| !term["MetricStat"].is_null()).count());
            metrics += terms.unwrap_or(1);
            let periods = format!("{alarm}").matches("\"Period\":10,").count();
            assert_eq!(periods, 0, "an alarm of high resolution has another price");
        }
        is("cloudwatch.alarm_metric_month", metrics);
        let is_there = |key: &str, kind: &str| {
            assert_eq!(hundredths(&told, key) > 0, count.number(kind) > 0, "{scenario}: {key}");
        };
        is_there("logs.vended_gib", "AWS::EC2::FlowLog");
        is_there("sns.requests_million", "AWS::SNS::Topic");
        is_there("sns.emails_100000", "AWS::SNS::Subscription");
        is(
            "efs.elastic_read_gib",
            if count.of("AWS::EFS::FileSystem").iter().any(|one| one["ThroughputMode"] == "elastic") {
                tasks.len() * 50
            } else {
                0
            },
        );
        let is_backed_up = count.number("AWS::StepFunctions::StateMachine") + count.number("AWS::Backup::BackupPlan")
            > 0
            || count.of("AWS::EFS::FileSystem").iter().any(|one| one["BackupPolicy"]["Status"] == "ENABLED");
        assert_eq!(hundredths(&told, "backup.gib_month") > 0, is_backed_up, "{scenario}");
        let machines = told["quantities"].as_array().unwrap().iter();
        let machines = machines.filter(|one| one["price_key"] == "step_functions.transitions_1000").count();
        let begin = count.of("AWS::Scheduler::Schedule").into_iter().filter(|one| one["State"] != "DISABLED").count();
        assert_eq!(
            machines,
            if begin > 0 { count.number("AWS::StepFunctions::StateMachine") } else { 0 },
            "{scenario}"
        );
        let told_schedules = told["quantities"].as_array().unwrap().iter();
        let told_schedules = told_schedules.filter(|one| one["price_key"] == "scheduler.invocations_million").count();
        assert_eq!(told_schedules, begin.min(1), "{scenario}");
        assert!(
            !told["not_counted"].to_string().contains("of which nothing is known"),
            "{scenario}: {}",
            told["not_counted"]
        );
    }
}

/// bootstrap's own interval; infra leaves it as it is.
#[test]
fn bootstrap_polls_as_often_as_is_said() {
    let deployment = deployment(infra::TEMPLATE);
    let container: &Container =
        deployment.nodes()[0].task().containers.iter().find(|one| one.name == ContainerName::Bootstrap).unwrap();
    assert!(container.environment.iter().all(|variable| variable.name != "BOOTSTRAP_POLL_INTERVAL"));
    let arguments = [
        "bootstrap",
        "run",
        "--insecure",
        "--node-name=node-1",
        "--server=127.0.0.1:2113",
        "--client-host=es.db.internal",
        "--cloud-map-service=srv-0123456789abcdef",
        "--health-file=/run/task/bootstrap.json",
        "--address=10.20.0.7",
        "--task-arn=arn:aws:ecs:eu-west-1:123456789012:task/es/0a",
    ];
    let Ok(bootstrap::cli::Command::Run(settings)) = bootstrap::cli::parse(arguments.map(Into::into)) else {
        panic!("it is not understood");
    };
    let minutes = settings.poll_interval.as_secs() / 60;
    let told = told(infra::TEMPLATE);
    let all = told["quantities"].as_array().unwrap();
    let calls = all.iter().find(|one| one["price_key"] == "secrets_manager.calls_10000").unwrap();
    assert!(calls["how"].as_str().unwrap().contains(&format!("a poll every {minutes} min ")), "{calls}");
}

/// Byte for byte, as people see it.
#[track_caller]
fn same(file: &str, arguments: &[&str]) {
    let output = infra(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = golden("quantities").join(file);
    if is_update() {
        fs::write(&path, &output.stdout).unwrap();
    }
    assert!(output.stdout == fs::read(path).unwrap(), "{file} differs; UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn what_is_printed_is_checked_in() {
    let invented = "invented-prices.toml";
    same("prices-template.toml", &["quantities", "--prices-template"]);
    same("one-node.txt", &["quantities", "--config", "one-node.toml", "--assume", "data_gib=20"]);
    same("one-node-prices.txt", &["quantities", "--config", "one-node.toml", "--prices", invented]);
    let endpoints = "../endpoints/eventstore.toml";
    same("endpoints.txt", &["quantities", "--config", endpoints]);
    same("endpoints.json", &["quantities", "--config", endpoints, "--prices", invented, "--json"]);
}

#[test]
fn everything_wrong_is_told_in_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = write("eventstore.toml", "name = \"A\"");
    let prices = write("prices.toml", "fargate.vcpu_hours = 1\nkms.key_month = \"much\"");
    let output = infra(&["quantities", "--config", &config, "--assume", "dat_gib=1", "--prices", &prices]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0), "{said}");
    for expected in [
        "eventstore.toml: name: `A` is not allowed",
        "error: --assume dat_gib=1: it is not known; did you mean `data_gib`?",
        "prices.toml: fargate.vcpu_hours: it is not a known key; did you mean `vcpu_hour`?",
        "prices.toml: kms.key_month: `much` is not allowed",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert!(
        said.ends_with("hint: `infra quantities --prices-template` prints an empty price file with every key\n"),
        "{said}"
    );
    let missing = Path::new("nowhere/prices.toml").to_str().unwrap();
    let output = infra(&["quantities", "--config", "one-node.toml", "--prices", missing]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(74) && said.starts_with("error: could not read the prices"), "{said}");
    let output = infra(&["quantities", "--config", "one-node.toml", "--assume", "notifications=1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: --assume notifications: nothing of this deployment depends on it\n"), "{said}");
}

/// The page shows what is printed.
#[test]
fn the_example_of_the_page_is_what_is_printed() {
    let page = include_str!("../../../docs/quantities.md");
    let example = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let printed = fs::read_to_string(golden("quantities/one-node-prices.txt")).unwrap();
    assert!(printed.starts_with(example), "the page shows something else");
    let prices = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let invented = fs::read_to_string(golden("quantities/invented-prices.toml")).unwrap();
    for line in prices.lines().filter(|line| !line.is_empty()) {
        assert!(invented.lines().any(|known| known == line), "{line}");
    }
}
