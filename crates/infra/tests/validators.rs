//! Judged by others: cfn-lint, checkov and boto3's models of the services.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::{SCENARIOS, templates, text_of};

/// Writes both templates of every scenario, as `<scenario>-<stack>.json`.
fn write_all(directory: &Path) -> Vec<(PathBuf, Value)> {
    let all = SCENARIOS.into_iter().flat_map(|scenario| {
        let named = ["StatefulResources", "EventStore"].map(|stack| format!("{scenario}-{stack}.json"));
        named.into_iter().zip(templates(&text_of(scenario)))
    });
    let repositories = ("repositories.json".to_owned(), support::repositories());
    all.chain([repositories])
        .map(|(name, template)| {
            let path = directory.join(name);
            fs::write(&path, template.to_string()).unwrap();
            (path, template)
        })
        .collect()
}

#[test]
fn cfn_lint_finds_nothing() {
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "cfn_lint_finds_nothing") else { return };
    let directory = tempfile::tempdir().unwrap();
    let paths = write_all(directory.path()).into_iter().map(|(path, _)| path);
    let output = Command::new(cfn_lint).arg("--").args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A key of one's own costs money and must be kept: who wants one says so with `kms_key`. Until then AWS's encrypt, and
/// checkov asks for more.
const NO_OWN_KEY: [(&str, &str, &str); 4] = [
    // Neither CloudWatch nor EventBridge may use the key that AWS keeps for SNS.
    ("CKV_AWS_26", "AWS::SNS::Topic", "KmsMasterKeyId"),
    ("CKV_AWS_149", "AWS::SecretsManager::Secret", "KmsKeyId"),
    ("CKV_AWS_158", "AWS::Logs::LogGroup", "KmsKeyId"),
    ("CKV_AWS_166", "AWS::Backup::BackupVault", "EncryptionKeyArn"),
];

/// `<check> <file> <type>.<id>` of every resource that has no key of its own, so that no reason outlives its finding.
fn expected(all: &[(PathBuf, Value)]) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for (path, template) in all {
        let file = path.file_name().unwrap().to_str().unwrap();
        for (check, kind, key) in NO_OWN_KEY {
            for (id, _) in
                support::of_type(template, kind).iter().filter(|(_, found)| found["Properties"][key].is_null())
            {
                expected.insert(format!("{check} {file} {kind}.{id}"));
            }
        }
    }
    expected
}

#[test]
fn checkov_finds_only_what_has_a_reason() {
    let Some(checkov) = tool::find(Tool::Checkov, "checkov_finds_only_what_has_a_reason") else { return };
    let directory = tempfile::tempdir().unwrap();
    let all = write_all(directory.path());
    let output = Command::new(checkov)
        .args(["--framework", "cloudformation", "--skip-download", "--quiet", "--output", "json", "--directory"])
        .arg(directory.path())
        .env("HOME", directory.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["summary"]["parsing_errors"], 0);
    assert!(report["summary"]["passed"].as_u64().unwrap() > 100, "{}", report["summary"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: BTreeSet<_> = report["results"]["failed_checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let (check, file, resource) = (&found["check_id"], text(&found["file_path"]), &found["resource"]);
            format!("{} {} {}", text(check), file.trim_start_matches('/'), text(resource))
        })
        .collect();
    assert_eq!(found, expected(&all));
}

/// A property of CloudFormation in the spelling of the service's API: `EFSVolumeConfiguration.FilesystemId` is
/// `efsVolumeConfiguration.fileSystemId` there (aws-contract §4.3).
fn api_name(name: &str) -> String {
    match name {
        "EFSVolumeConfiguration" => "efsVolumeConfiguration".to_owned(),
        "FilesystemId" => "fileSystemId".to_owned(),
        "IAM" => "iam".to_owned(),
        other => {
            let mut letters = other.chars();
            letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
        }
    }
}

/// Intrinsic functions become a text, as CloudFormation would make one of each. Keys of `Options` are names of settings.
fn api_value(value: &Value, rename: bool) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| api_value(item, rename)).collect(),
        Value::Object(members) if members.keys().any(|key| key == "Ref" || key.starts_with("Fn::")) => {
            json!("resolved")
        }
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| {
                let name = if rename { api_name(key) } else { key.clone() };
                (name, api_value(member, rename && key != "Options"))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// `RegisterTaskDefinition` as boto3 would send it; what the service's model does not know is refused before that.
const REGISTER: &str = r#"
import json, sys
import boto3
from botocore.validate import ParamValidator
shape = boto3.client("ecs", "eu-west-1").meta.service_model.operation_model("RegisterTaskDefinition").input_shape
for task in json.load(sys.stdin):
    report = ParamValidator().validate(task, shape)
    if report.has_errors():
        print(task["family"], report.generate_report())
"#;

fn register(python: &Path, tasks: &[Value]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (script, input) = (directory.path().join("register.py"), directory.path().join("tasks.json"));
    fs::write(&script, REGISTER).unwrap();
    fs::write(&input, Value::from(tasks.to_vec()).to_string()).unwrap();
    let output = Command::new(python).arg(script).stdin(fs::File::open(input).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn boto3_would_register_every_task() {
    let Some(python) = tool::find(Tool::MotoPython, "boto3_would_register_every_task") else { return };
    let mut tasks = Vec::new();
    for scenario in SCENARIOS {
        let [_, service] = templates(&text_of(scenario));
        let found = support::of_type(&service, "AWS::ECS::TaskDefinition").into_iter();
        tasks.extend(found.map(|(_, task)| api_value(&task["Properties"], true)));
    }
    assert!(tasks.len() >= SCENARIOS.len());
    assert_eq!(register(&python, &tasks), "");

    // It looks.
    let mut unknown = tasks[0].clone();
    unknown["containerDefinitions"][0]["stopTimeOut"] = json!(30);
    unknown["cpu"] = json!(1024);
    let found = register(&python, &[unknown]);
    assert!(found.contains("stopTimeOut") && found.contains("cpu"), "{found}");
}
