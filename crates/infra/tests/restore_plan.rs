//! `infra restore-plan`: what is printed, and that it would run. Its commands are given to a shell with an `aws` that only takes
//! notes, and what it noted is held against the models of the services.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use infra::{Config, Deployment};
use serde_json::Value;
use testkit::aws_cli;
use testkit::tool::{self, Tool};

use support::{golden, is_update};

const POINT: &str = "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45";

/// The plan, the configuration that it is for, and how many nodes are asked for.
const SCENARIOS: [(&str, &str, Option<&str>); 3] =
    [("single", "single", None), ("cluster", "cluster", None), ("grown", "single", Some("3"))];

fn infra(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().args(arguments).output().unwrap()
}

fn plan(config: &str, nodes: Option<&str>) -> String {
    let config = golden(&format!("restore-plan/{config}.toml"));
    let mut arguments = vec!["restore-plan", "--config", config.to_str().unwrap(), "--recovery-point", POINT];
    arguments.extend(nodes.into_iter().flat_map(|nodes| ["--nodes", nodes]));
    let output = infra(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_plan_is_the_checked_in_one_every_time() {
    for (scenario, config, nodes) in SCENARIOS {
        let text = plan(config, nodes);
        let path = golden(&format!("restore-plan/{scenario}.sh"));
        if is_update() {
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(path).unwrap() == text, "{scenario}: UPDATE_GOLDEN=1 rewrites it");
        assert_eq!(plan(config, nodes), text);
        assert!(!text.to_lowercase().contains("password=") && !text.contains("secretsmanager"), "{scenario}");
    }
}

/// A recovery point that was made before a single node became a cluster holds the directory of that node.
#[test]
fn the_directory_is_the_one_that_was_backed_up() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("grows.toml");
    fs::write(&config, "name = \"orders\"\n[cluster]\nnodes = 3\ngrow_from = 1\n").unwrap();
    let plan = |arguments: &[&str]| {
        let known = ["restore-plan", "--config", config.to_str().unwrap(), "--recovery-point", POINT];
        String::from_utf8(infra(&[&known[..], arguments].concat()).stdout).unwrap()
    };
    let moves =
        |plan: &str, from: &str, to: &str| plan.contains(&format!("aws-backup-restore_*/{from}/data /efs/{to}/data;"));
    assert!(moves(&plan(&[]), "node-1", "node-3"));
    assert!(plan(&[]).contains("\n[cluster]\nnodes = 3\n"), "without grow_from");
    assert!(moves(&plan(&["--backed-up-nodes", "5", "--nodes", "1"]), "node-5", "node-1"));
}

#[test]
fn what_is_no_recovery_point_of_a_file_system_is_a_usage_error() {
    let snapshot = "arn:aws:ec2:eu-west-1::snapshot/snap-0123456789abcdef0";
    let even = ["restore-plan", "--recovery-point", POINT, "--nodes", "2"];
    for arguments in [&["restore-plan"][..], &["restore-plan", "--recovery-point", snapshot], &even] {
        let output = infra(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    let missing = infra(&["restore-plan", "--config", "/nowhere.toml", "--recovery-point", POINT]);
    assert_eq!(missing.status.code(), Some(74));
}

/// Answers as AWS would when all goes well, and notes what it was asked: one line for each call, parts by a unit separator.
const AWS: &str = r#"#!/bin/sh
{ for part in "$@"; do printf '%s\037' "$part"; done; printf '\n'; } >> "$NOTES"
case "$*" in
  *"--query Status "*) echo COMPLETED ;;
  *CreatedResourceArn*) echo arn:aws:elasticfilesystem:eu-west-1:123456789012:file-system/fs-0fedcba9876543210 ;;
  *"length(MountTargets"*) echo 0 ;;
  *create-security-group*) echo sg-0fedcba9876543210 ;;
  *:VpcId*) echo vpc-0123456789abcdef0 ;;
  *Subnet1Id*) echo subnet-0123456789abcdef0 ;;
  *Subnet2Id*) echo subnet-0123456789abcdef1 ;;
  *Subnet3Id*) echo subnet-0123456789abcdef2 ;;
  *:NamespaceId*) echo ns-0123456789abcdef ;;
  *get-namespace*) echo Z0123456789ABCDEFGHIJ ;;
  *:FileSystemId*) echo fs-0123456789abcdef0 ;;
  *:KeyArn*) echo arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef ;;
  *) echo answer ;;
esac
"#;

/// Runs a plan in a directory of its own; gives what it printed.
fn run(plan: &str, directory: &Path) -> String {
    for (name, script) in [("aws", AWS), ("infra", "#!/bin/sh\n"), ("cdk", "#!/bin/sh\n")] {
        fs::write(directory.join(name), script).unwrap();
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(directory.join("plan.sh"), plan).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-eu", "plan.sh"])
        .current_dir(directory)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
        .env("NOTES", directory.join("notes"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What was noted, as calls.
fn noted(notes: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_terminator('\u{1f}').map(str::to_owned).collect();
    notes.lines().map(words).collect()
}

#[test]
fn a_plan_runs_and_its_configuration_is_valid() {
    let python = tool::find(Tool::MotoPython, "a_plan_runs_and_its_configuration_is_valid");
    for (scenario, config, nodes) in SCENARIOS {
        let directory = tempfile::tempdir().unwrap();
        let printed = run(&plan(config, nodes), directory.path());
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let json =
            |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (nodes, data, place) = match scenario {
            "cluster" => (3, "/node-3/data", "/node-3/data"),
            "grown" => (3, "/eventstore/orders/node-1/data", "/eventstore/orders/node-3/data"),
            _ => (1, "/eventstore/orders/node-1/data", "/eventstore/orders/node-1/data"),
        };

        let restore = json("restore.json");
        assert_eq!(restore["file-system-id"], "fs-0123456789abcdef0");
        assert_eq!(restore["newFileSystem"], "true", "the old one is not written to");
        let items: Vec<String> = serde_json::from_str(restore["itemsToRestore"].as_str().unwrap()).unwrap();
        assert_eq!(items, [data], "only what a backup promises to open");
        assert_eq!(restore["KmsKeyId"].is_string(), config == "single");
        let command = json("move.json")["containerDefinitions"][0]["command"][2].as_str().unwrap().to_owned();
        moves(&command, data, place);
        assert_eq!(json("policy.json")["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(json("trust.json")["Statement"][0]["Principal"]["Service"], "backup.amazonaws.com");

        let start = printed.find("name = ").unwrap();
        let lines = printed[start..].lines().take_while(|line| *line != "answer").collect::<Vec<_>>().join("\n");
        // A cluster's own file says so already; another number of nodes is among what is printed.
        let own = if scenario == "cluster" { "\n[cluster]\nnodes = 3\n" } else { "" };
        let text = format!("{lines}{own}");
        let config = Config::parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let restored = Deployment::new(config);
        assert_eq!(restored.nodes().len(), nodes);
        let value = text.parse::<toml::Table>().unwrap();
        assert_eq!(value["data"]["restored"].as_str(), Some(POINT));
        assert_eq!(value["data"]["file_system"].as_str(), Some("fs-0fedcba9876543210"));

        let Some(python) = &python else { continue };
        let mut calls = noted(&read("notes"));
        // What is registered is judged as well.
        for word in calls.iter_mut().filter(|call| call[0] == "ecs").flatten() {
            if let Some(file) = word.strip_prefix("file://") {
                *word = read(file);
            }
        }
        assert!(calls.len() > 20, "{calls:?}");
        let mistakes = aws_cli::judge(python, &calls);
        let shown: Vec<_> =
            mistakes.iter().map(|(index, said)| format!("aws {}: {said}", calls[*index].join(" "))).collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
    }
}

/// What the task does is done here, twice, below another directory: it finds what nobody knew the name of, and its own work.
fn moves(command: &str, data: &str, place: &str) {
    let root = tempfile::tempdir().unwrap();
    let restored = root.path().join(format!("aws-backup-restore_2026-11-26T02-31-07-123Z{data}"));
    fs::create_dir_all(&restored).unwrap();
    fs::write(restored.join("chaser.chk"), "checkpoint").unwrap();
    let here = root.path().to_str().unwrap();
    let uid = fs::metadata(&restored).map(|found| std::os::unix::fs::MetadataExt::uid(&found)).unwrap();
    let command = command.replace("/efs", here).replace("1000:1000", &uid.to_string());
    for attempt in 1..=2 {
        let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{attempt}: {}\n{command}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read_to_string(root.path().join(format!(".{place}/chaser.chk"))).unwrap(), "checkpoint");
    }
    fs::remove_dir_all(root.path().join(format!(".{place}"))).unwrap();
    let nothing = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
    assert!(!nothing.status.success(), "what is not there cannot be moved");
}
