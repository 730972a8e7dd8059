//! The script of `docs/aws-acceptance.md`, as far as it can be tried on a machine: against moto, and of what moto cannot do every
//! call against boto3's models.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::consumer;
use testkit::moto::Moto;
use testkit::tool::{self, Tool};

const RUN: &str = "rehearsal";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn script() -> PathBuf {
    repository().join("docs/aws-acceptance/acceptance.py")
}

/// Runs the script; without an endpoint it can reach nothing.
fn run(python: &Path, endpoint: &str, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(python);
    command.arg("-B").arg(script()).args(arguments).current_dir(directory).env_clear();
    command.envs([("AWS_ENDPOINT_URL", endpoint), ("AWS_EC2_METADATA_DISABLED", "true"), ("PYTHONUTF8", "1")]);
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]).env("HOME", directory);
    command.output().unwrap()
}

fn assembly(scenario: &str) -> String {
    let golden = repository().join("crates/infra/tests/golden").join(scenario).join("cdk.out");
    golden.to_str().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

const NO_TASKS: &str = "moto starts no tasks";
const NO_STACKS: &str = "moto's CloudFormation needs further packages, and knows half of the resource types";

/// Every step, and why it cannot be rehearsed; nothing for those that are.
const STEPS: [(&str, &str); 15] = [
    ("account", ""),
    ("templates", "moto validates templates only with further packages"),
    ("deploy", NO_STACKS),
    ("start", NO_TASKS),
    ("owner", NO_TASKS),
    ("names", NO_TASKS),
    ("stop", NO_TASKS),
    ("overlap", NO_TASKS),
    ("grace", NO_TASKS),
    ("clean stop", NO_TASKS),
    ("partition", NO_TASKS),
    ("hard kill", NO_TASKS),
    ("protection", NO_TASKS),
    ("delete", NO_STACKS),
    ("rest", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_script_is_rehearsed_as_far_as_moto_goes() {
    let test = "the_script_is_rehearsed_as_far_as_moto_goes";
    let (Some(python), Some(moto)) = (tool::find(Tool::MotoPython, test), Moto::start(test)) else { return };
    // What deleted stacks leave: of this run, of another one, and of another deployment.
    for (name, of, deployment) in [("a", RUN, "orders"), ("b", "another", "orders"), ("c", RUN, "eventstore")] {
        let tags = [("eventstore-fargate:acceptance", of), ("eventstore-fargate:deployment", deployment)];
        let tags = tags.map(|(key, value)| json!({"Key": key, "Value": value}));
        let input = json!({"Name": name, "SecretString": "x", "Tags": tags, "ClientRequestToken": uuid::Uuid::new_v4().to_string()});
        consumer::aws(moto.endpoint(), "secretsmanager.CreateSecret", &input).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let mut called = BTreeSet::new();
    // Three nodes; and one, whose server is another user.
    for scenario in ["encrypted", "everything"] {
        let assembly = assembly(scenario);
        let arguments = ["rehearse", "--assembly", &assembly, "--run-id", RUN, "--report", "report.json"];
        let output = run(&python, moto.endpoint(), directory.path(), &arguments);
        assert!(output.status.success(), "{}", said(&output));
        let report: Value =
            serde_json::from_str(&fs::read_to_string(directory.path().join("report.json")).unwrap()).unwrap();
        let steps = report["steps"].as_array().unwrap();
        let said_of = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        let found: Vec<_> = steps.iter().map(|step| (said_of(step, "name"), said_of(step, "reason"))).collect();
        let expected: Vec<_> = STEPS.map(|(name, reason)| (name.to_owned(), reason.to_owned())).into();
        assert_eq!(found, expected, "{scenario}");
        for step in steps {
            let outcome = if step["reason"].is_null() { "as expected" } else { "not rehearsed" };
            assert_eq!(step["outcome"], outcome, "{scenario}: {step}");
            let calls = step["calls"].as_array().unwrap();
            assert!(!calls.is_empty(), "{scenario}: {step}");
            called.extend(calls.iter().map(|call| call.as_str().unwrap().to_owned()));
        }
        if scenario == "encrypted" {
            let removed = steps[14]["seen"]["removed"].as_array().unwrap();
            assert_eq!(removed.len(), 1, "{removed:?}");
            assert!(removed[0].as_str().unwrap().contains(":secret:a-"), "{removed:?}");
        }
    }
    called.extend(NOTHING_TO_REMOVE.map(str::to_owned));
    assert_eq!(called, calls_in_the_script(), "no call of the script is left untried");
}

/// What removes resources of which the rehearsal leaves none.
const NOTHING_TO_REMOVE: [&str; 4] =
    ["efs.DeleteAccessPoint", "efs.DeleteFileSystem", "kms.ScheduleKeyDeletion", "logs.DeleteLogGroup"];

/// `service.Operation` of every call, from `call("service", "operation", …)`.
fn calls_in_the_script() -> BTreeSet<String> {
    let script: String = fs::read_to_string(script()).unwrap().split_whitespace().collect();
    let calls = script.split("call(\"").skip(1).filter_map(|call| {
        let mut parts = call.split('"');
        let (service, operation) = (parts.next()?, parts.nth(1)?);
        let words = operation.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        Some(format!("{service}.{}", words.collect::<String>()))
    });
    calls.collect()
}

#[test]
fn the_script_refuses_to_cost_money_unasked_and_to_touch_another_account() {
    let test = "the_script_refuses_to_cost_money_unasked_and_to_touch_another_account";
    let (Some(python), Some(moto)) = (tool::find(Tool::MotoPython, test), Moto::start(test)) else { return };
    let directory = tempfile::tempdir().unwrap();
    let assembly = assembly("default");
    let begin = ["run", "--assembly", &assembly, "--region", "eu-west-1", "--account", "111111111111"];
    let consent = "--i-understand-this-costs-money";
    for (more, refusal) in [
        (&[][..], consent),
        (&[consent][..], "these are credentials of account 123456789012, and --account is 111111111111"),
    ] {
        let output = run(&python, moto.endpoint(), directory.path(), &[&begin, more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(refusal), "{}", said(&output));
    }
    // Nothing is rehearsed anywhere but on this machine.
    let output = run(&python, "https://aws.example", directory.path(), &["rehearse", "--assembly", &assembly]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// What it waits for in logs is what our programs print.
#[test]
fn the_script_knows_the_words_of_the_programs() {
    let script = fs::read_to_string(script()).unwrap();
    for (text, source, printed) in [
        ("leaving", "bootstrap/src/life.rs", "{signal}: leaving"),
        ("withdrawn", "bootstrap/src/registration.rs", "withdrawn"),
        ("the server is ready", "bootstrap/src/life.rs", "\"the server is ready\""),
        ("waiting for the lock on", "guard/src/takeover.rs", "guard: waiting for the lock on {}"),
        ("did not sign off", "guard/src/takeover.rs", "guard: the last holder did not sign off"),
        (
            "may be lost, no server runs any more",
            "guard/src/failure.rs",
            "may be lost, no server runs any more: {loss}",
        ),
    ] {
        assert!(script.contains(&format!("\"{text}\"")), "{text}");
        let source = fs::read_to_string(repository().join("crates").join(source)).unwrap();
        assert!(source.contains(printed), "{printed}");
    }
}

/// The page explains each step under its number.
#[test]
fn the_page_lists_the_steps() {
    let page = fs::read_to_string(repository().join("docs/aws-acceptance.md")).unwrap();
    for (number, (name, _)) in (1..).zip(STEPS) {
        assert!(page.contains(&format!("\n| {number} `{name}` | ")), "{number} {name}");
    }
}
