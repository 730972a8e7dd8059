//! What we rely on in AWS, asserted against the double and against moto; where moto is wrong, it is said here.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use serde_json::{Value, json};
use testkit::aws::{Aws, Refusal};
use testkit::consumer::aws;
use testkit::moto::Moto;
use uuid::Uuid;

/// Calls Secrets Manager; a refusal gives AWS's error code.
async fn call(endpoint: &str, operation: &str, input: Value) -> Result<Value, String> {
    let target = format!("secretsmanager.{operation}");
    aws(endpoint, &target, &input)
        .await
        .map_err(|error| error.to_string().rsplit(": ").next().unwrap_or_default().trim_matches('"').to_owned())
}

fn token() -> String {
    Uuid::new_v4().to_string()
}

async fn put(endpoint: &str, id: &str, token: &str, text: &str, labels: &[&str]) -> Result<Value, String> {
    let input = json!({"SecretId": id, "ClientRequestToken": token, "SecretString": text, "VersionStages": labels});
    call(endpoint, "PutSecretValue", input).await
}

async fn current(endpoint: &str, id: &str) -> String {
    let output = call(endpoint, "GetSecretValue", json!({"SecretId": id})).await.unwrap();
    output["SecretString"].as_str().unwrap().to_owned()
}

async fn create(endpoint: &str, text: &str) -> (String, String) {
    let (name, token) = (format!("test/{}", token()), token());
    let input = json!({"Name": name, "ClientRequestToken": token, "SecretString": text});
    call(endpoint, "CreateSecret", input).await.unwrap();
    (name, token)
}

/// The rules of aws-contract §2.1 on which the rotation protocol stands.
async fn secrets_behave(endpoint: &str) {
    let (name, first) = create(endpoint, "one").await;
    let again = |text: &str| json!({"Name": name, "ClientRequestToken": first, "SecretString": text});
    assert!(call(endpoint, "CreateSecret", again("one")).await.is_ok(), "the same creation again is no error");
    assert_eq!(call(endpoint, "CreateSecret", again("two")).await.unwrap_err(), "ResourceExistsException");

    // The canary: without the launcher moto lets the last writer win.
    let slot = token();
    put(endpoint, &name, &slot, "two", &["AWSPENDING"]).await.unwrap();
    assert!(put(endpoint, &name, &slot, "two", &["AWSPENDING"]).await.is_ok(), "the same bytes again are no error");
    let other = put(endpoint, &name, &slot, "three", &["AWSPENDING"]).await;
    assert_eq!(other.unwrap_err(), "ResourceExistsException", "a version never changes");
    assert_eq!(current(endpoint, &name).await, "one", "a pending version is not current");

    let wrong =
        json!({"SecretId": name, "VersionStage": "AWSCURRENT", "MoveToVersionId": slot, "RemoveFromVersionId": slot});
    assert_eq!(call(endpoint, "UpdateSecretVersionStage", wrong).await.unwrap_err(), "InvalidParameterException");
    let right =
        json!({"SecretId": name, "VersionStage": "AWSCURRENT", "MoveToVersionId": slot, "RemoveFromVersionId": first});
    call(endpoint, "UpdateSecretVersionStage", right.clone()).await.unwrap();
    assert_eq!(current(endpoint, &name).await, "two");
    assert!(call(endpoint, "UpdateSecretVersionStage", right).await.is_err(), "the label is not where it was any more");
    let labels = call(endpoint, "DescribeSecret", json!({"SecretId": name})).await.unwrap();
    assert_eq!(labels["VersionIdsToStages"][&first], json!(["AWSPREVIOUS"]));

    let drop = json!({"SecretId": name, "VersionStage": "AWSPENDING", "RemoveFromVersionId": slot});
    call(endpoint, "UpdateSecretVersionStage", drop).await.unwrap();
    let labels = call(endpoint, "DescribeSecret", json!({"SecretId": name})).await.unwrap();
    assert_eq!(labels["VersionIdsToStages"][&slot], json!(["AWSCURRENT"]));

    let missing = call(endpoint, "GetSecretValue", json!({"SecretId": "test/missing"})).await;
    assert_eq!(missing.unwrap_err(), "ResourceNotFoundException");
    call(endpoint, "DeleteSecret", json!({"SecretId": name})).await.unwrap();
    let deleted = call(endpoint, "GetSecretValue", json!({"SecretId": name})).await;
    assert_eq!(deleted.unwrap_err(), "InvalidRequestException");
}

/// An empty secret, as CloudFormation may leave one: the first value is current whatever labels were asked for.
async fn the_first_value_is_current(endpoint: &str) {
    let name = format!("test/{}", token());
    call(endpoint, "CreateSecret", json!({"Name": name, "ClientRequestToken": token()})).await.unwrap();
    let empty = call(endpoint, "GetSecretValue", json!({"SecretId": name})).await;
    assert_eq!(empty.unwrap_err(), "ResourceNotFoundException");
    put(endpoint, &name, &token(), "first", &["AWSPENDING"]).await.unwrap();
    assert_eq!(current(endpoint, &name).await, "first");
}

/// 16 writers, one token: one of them wins, and everybody reads what it wrote.
async fn one_writer_wins(endpoint: &str) {
    let (name, _) = create(endpoint, "old").await;
    let slot = token();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (endpoint, name, slot) = (endpoint.to_owned(), name.clone(), slot.clone());
            tokio::spawn(async move {
                let text = format!("by {writer}");
                put(&endpoint, &name, &slot, &text, &["AWSPENDING"]).await.map(|_| text)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(text) => winners.push(text),
            Err(code) => assert_eq!(code, "ResourceExistsException"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let output = call(endpoint, "GetSecretValue", json!({"SecretId": name, "VersionId": slot})).await.unwrap();
    assert_eq!(output["SecretString"], json!(winners[0]));
}

#[tokio::test]
async fn the_double_is_like_aws() {
    let double = Aws::start().await.unwrap();
    secrets_behave(&double.endpoint()).await;
    the_first_value_is_current(&double.endpoint()).await;
    one_writer_wins(&double.endpoint()).await;
}

#[tokio::test]
async fn moto_behind_the_launcher_is_like_aws() {
    let Some(moto) = Moto::start("moto_behind_the_launcher_is_like_aws") else { return };
    secrets_behave(moto.endpoint()).await;
    the_first_value_is_current(moto.endpoint()).await;
    one_writer_wins(moto.endpoint()).await;
}

/// What moto does not do, so that only the double shows it.
#[tokio::test]
async fn the_double_is_stricter_than_moto() {
    let double = Aws::start().await.unwrap();
    let endpoint = double.endpoint();
    let (name, first) = create(&endpoint, "one").await;
    // S9, S8: names and sizes are checked.
    let bad = json!({"Name": "a b", "ClientRequestToken": token(), "SecretString": "x"});
    assert_eq!(call(&endpoint, "CreateSecret", bad).await.unwrap_err(), "ValidationException");
    let large = "x".repeat(65_537);
    assert_eq!(put(&endpoint, &name, &token(), &large, &["AWSPENDING"]).await.unwrap_err(), "ValidationException");
    // S10: a version without a label is not described.
    put(&endpoint, &name, &token(), "two", &["AWSCURRENT"]).await.unwrap();
    put(&endpoint, &name, &token(), "three", &["AWSCURRENT"]).await.unwrap();
    let labels = call(&endpoint, "DescribeSecret", json!({"SecretId": name})).await.unwrap();
    assert_eq!(labels["VersionIdsToStages"].as_object().unwrap().len(), 2);
    assert!(labels["VersionIdsToStages"][&first].is_null());
    // S7: a name that is scheduled for deletion.
    call(&endpoint, "DeleteSecret", json!({"SecretId": name})).await.unwrap();
    let again = json!({"Name": name, "ClientRequestToken": token(), "SecretString": "x"});
    assert_eq!(call(&endpoint, "CreateSecret", again).await.unwrap_err(), "InvalidRequestException");
    // Nothing that is not implemented passes silently.
    let unknown = json!({"SecretId": name, "Filter": 1});
    assert_eq!(call(&endpoint, "GetSecretValue", unknown).await.unwrap_err(), "ValidationException");
    assert_eq!(call(&endpoint, "RotateSecret", json!({})).await.unwrap_err(), "InvalidRequestException");
    assert_eq!(call(&endpoint, "TagResource", json!({})).await.unwrap_err(), "UnknownOperationException");
}

#[tokio::test]
async fn refusals_come_before_effects_and_are_noted_without_values() {
    let double = Aws::start().await.unwrap();
    let endpoint = double.endpoint();
    double.refuse("CreateSecret", Refusal::THROTTLED, 1);
    let input = json!({"Name": "test/x", "ClientRequestToken": token(), "SecretString": "hunter2"});
    assert_eq!(call(&endpoint, "CreateSecret", input.clone()).await.unwrap_err(), "ThrottlingException");
    assert!(double.secrets(|secrets| secrets.versions("test/x").is_empty()));
    assert!(call(&endpoint, "CreateSecret", input).await.is_ok());
    let calls = double.calls();
    assert_eq!(calls.iter().map(|call| call.error).collect::<Vec<_>>(), [Some("ThrottlingException"), None]);
    assert!(!format!("{calls:?}").contains("hunter2"));
    assert!(!double.secrets(|secrets| format!("{secrets:?} {:?}", secrets.versions("test/x"))).contains("hunter2"));
}
