//! The repositories of our own images.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use infra::Assembly;
use serde_json::{Value, json};

use support::directory::{self, Directory};
use support::{golden, is_update, of_type};

const TEMPLATE: &str = "eventstore-fargate-Repositories.template.json";

fn infra(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().current_dir(directory).args(arguments).output().unwrap()
}

#[test]
fn the_program_writes_the_checked_in_stack() {
    let golden = golden("repositories/cdk.out");
    if is_update() {
        Assembly::repositories("aws").unwrap().write(&golden).unwrap();
    }
    let read = |directory: &Path| -> BTreeMap<_, _> {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        files.map(|file| (file.file_name(), fs::read_to_string(file.path()).unwrap())).collect()
    };
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = infra(directory.path(), &["repositories"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(read(&directory.path().join("repositories.out")) == read(&golden), "UPDATE_GOLDEN=1 rewrites it");
    let broken = directory::broken(&Directory::of(&Assembly::repositories("aws").unwrap()));
    assert_eq!(broken, BTreeSet::new());
    let manifest: Value = serde_json::from_str(&read(&golden)[Path::new("manifest.json").as_os_str()]).unwrap();
    let stack = &manifest["artifacts"]["eventstore-fargate-Repositories"]["properties"];
    assert_eq!(stack["terminationProtection"], true);
}

/// What a task runs is what was reviewed, and is there tomorrow.
#[test]
fn repositories_are_hardened_and_kept() {
    let template = support::repositories();
    let all = of_type(&template, "AWS::ECR::Repository");
    assert_eq!(all.len(), 2);
    for (id, repository) in all {
        let properties = &repository["Properties"];
        assert_eq!(repository["DeletionPolicy"], "RetainExceptOnCreate", "{id}");
        assert_eq!(repository["UpdateReplacePolicy"], "Retain", "{id}");
        assert_eq!(properties["ImageTagMutability"], "IMMUTABLE", "{id}");
        assert_eq!(properties["ImageScanningConfiguration"], json!({"ScanOnPush": true}), "{id}");
        assert_eq!(properties["EncryptionConfiguration"], json!({"EncryptionType": "KMS"}), "{id}");
        let policy = properties["LifecyclePolicy"]["LifecyclePolicyText"].as_str().unwrap();
        let policy: Value = serde_json::from_str(policy).unwrap();
        for rule in policy["rules"].as_array().unwrap() {
            assert_eq!(rule["selection"]["tagStatus"], "untagged", "{id}: a tagged image may be needed tomorrow");
        }
    }
}

/// By the same names as in a task.
#[test]
fn tasks_pull_from_these_repositories() {
    let template = support::repositories();
    let repositories: BTreeSet<_> = of_type(&template, "AWS::ECR::Repository")
        .into_iter()
        .map(|(_, repository)| repository["Properties"]["RepositoryName"].as_str().unwrap().to_owned())
        .collect();
    let [_, service] = support::templates("name = \"orders\"");
    let task = support::only(&service, "AWS::ECS::TaskDefinition");
    let images = task["ContainerDefinitions"].as_array().unwrap().iter().filter_map(|container| {
        let image = container["Image"]["Fn::Sub"].as_str()?;
        Some(image.split_once('/')?.1.rsplit_once(':')?.0.to_owned())
    });
    assert_eq!(images.collect::<BTreeSet<_>>(), repositories);
}

#[test]
fn a_key_is_one_that_is_there() {
    let key = "arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";
    let directory = tempfile::tempdir().unwrap();
    assert!(infra(directory.path(), &["repositories", "--kms-key", key]).status.success());
    let text = fs::read_to_string(directory.path().join("repositories.out").join(TEMPLATE)).unwrap();
    assert_eq!(text.matches(&format!("\"KmsKey\":\"{key}\"")).count(), 2, "{text}");
    for wrong in ["own", "alias/a"] {
        let output = infra(directory.path(), &["repositories", "--kms-key", wrong, "--out", "other"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("error: --kms-key: `{wrong}` is")), "{said}");
        assert!(!directory.path().join("other").exists());
    }
}
