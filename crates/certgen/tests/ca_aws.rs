//! The certificate authority in Secrets Manager through the real SDK over HTTP, against the double and against moto.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::config::Credentials;
use certgen::aws::{Secret, loader};
use certgen::ca::{
    Begin, CaError, Document, Evidence, NodeEvidence, Outcome, Phase, PublishedRoots, StoreErrorKind, advance, obtain,
    read,
};
use certgen::{NewAuthority, Validity};
use serde_json::{Value, json};
use testkit::aws::{Aws, Lag, Refusal};
use testkit::consumer;
use testkit::moto::Moto;
use time::OffsetDateTime;
use tokio::task::LocalSet;

const TIME: Duration = Duration::from_secs(30);

async fn configuration(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    loader().region(Region::new("eu-west-1")).endpoint_url(endpoint).credentials_provider(credentials).load().await
}

async fn start(endpoint: &str, id: &str) -> Result<Document, CaError> {
    start_within(endpoint, id, TIME).await
}

async fn start_within(endpoint: &str, id: &str, time: Duration) -> Result<Document, CaError> {
    start_with(&configuration(endpoint).await, id, time).await
}

async fn start_with(configuration: &SdkConfig, id: &str, time: Duration) -> Result<Document, CaError> {
    let secret = Secret::new(configuration, id, time);
    obtain(&secret, NewAuthority::default(), OffsetDateTime::now_utc()).await
}

/// All at once, each with a client of its own.
async fn all_start(endpoint: &str, id: &str, count: usize) -> Vec<Document> {
    let tasks = LocalSet::new();
    let configuration = configuration(endpoint).await;
    let started: Vec<_> = (0..count)
        .map(|_| {
            let (configuration, id) = (configuration.clone(), id.to_owned());
            tasks.spawn_local(async move { start_with(&configuration, &id, TIME).await.unwrap() })
        })
        .collect();
    tasks.await;
    let mut documents = Vec::new();
    for task in started {
        documents.push(task.await.unwrap());
    }
    documents
}

fn assert_one(documents: &[Document]) {
    assert!(documents.iter().all(|document| *document == documents[0]), "{documents:?}");
}

#[tokio::test]
async fn any_number_of_tasks_agree_on_one_authority() {
    for lag in [Lag::None, Lag::Reads(5), Lag::Time(Duration::from_millis(150))] {
        let counts: &[_] = if lag == Lag::None { &[1, 2, 16] } else { &[16] };
        for count in counts.iter().copied() {
            let double = Aws::start().await.unwrap();
            double.secrets(|secrets| {
                secrets.set_read_lag(lag);
                secrets.create("es/empty", None);
                secrets.create("es/object", Some("{}"));
            });
            for name in ["es/absent", "es/empty", "es/object"] {
                let documents = all_start(&double.endpoint(), name, count).await;
                assert_one(&documents);
                let current = double.secrets(|secrets| secrets.current(name)).unwrap();
                assert_eq!(current, documents[0].to_text().expose());
                let versions = double.secrets(|secrets| secrets.versions(name));
                let labelled = versions.iter().filter(|version| version.labels.contains(&"AWSCURRENT".to_owned()));
                assert_eq!(labelled.count(), 1, "{name}: {versions:?}");
                assert_eq!(versions.len(), if name == "es/object" { 2 } else { 1 }, "{name}: {versions:?}");
                let again = start(&double.endpoint(), name).await.unwrap();
                assert_eq!(again, documents[0]);
            }
        }
    }
}

#[tokio::test]
async fn the_label_of_the_first_version_is_tidied_and_a_later_start_is_one_call() {
    let double = Aws::start().await.unwrap();
    double.secrets(|secrets| secrets.create("es/ca", None));
    start(&double.endpoint(), "es/ca").await.unwrap();
    let versions = double.secrets(|secrets| secrets.versions("es/ca"));
    assert_eq!(versions[0].labels, ["AWSCURRENT"]);
    let before = double.calls().len();
    start(&double.endpoint(), "es/ca").await.unwrap();
    let calls: Vec<_> = double.calls()[before..].iter().map(|call| call.operation.clone()).collect();
    assert_eq!(calls, ["GetSecretValue"]);
}

fn failure(error: &CaError) -> (StoreErrorKind, &'static str, u8) {
    let CaError::Store { source, .. } = error else { panic!("{error:?}") };
    assert!(error.hint().is_some(), "{error:?}");
    (source.kind, source.operation, error.exit_code())
}

#[tokio::test]
async fn what_aws_refuses_is_told_apart_and_changes_nothing() {
    use StoreErrorKind::{Denied, Encryption, Unavailable};
    let operations = [
        ("es/absent", "GetSecretValue"),
        ("es/absent", "DescribeSecret"),
        ("es/absent", "CreateSecret"),
        ("es/empty", "PutSecretValue"),
        ("es/object", "UpdateSecretVersionStage"),
    ];
    let refusals = [
        (Refusal::DENIED, Denied, 77),
        (Refusal::EXPIRED, Denied, 77),
        (Refusal::DECRYPTION, Encryption, 78),
        (Refusal::THROTTLED, Unavailable, 69),
        (Refusal::FAULT, Unavailable, 69),
    ];
    let tasks = LocalSet::new();
    for (name, operation) in operations {
        for (refusal, kind, code) in refusals {
            tasks.spawn_local(async move {
                let double = Aws::start().await.unwrap();
                double.secrets(|secrets| {
                    secrets.create("es/empty", None);
                    secrets.create("es/object", Some("{}"));
                });
                double.refuse(operation, refusal, 1000);
                let error = start_within(&double.endpoint(), name, Duration::from_millis(300)).await.unwrap_err();
                assert_eq!(failure(&error), (kind, operation, code), "{error:?}");
                double.secrets(|secrets| {
                    assert!(secrets.versions("es/absent").is_empty() && secrets.versions("es/empty").is_empty());
                    assert_eq!(secrets.current("es/object").unwrap(), "{}");
                });
                double.allow_all();
                start(&double.endpoint(), name).await.unwrap();
            });
        }
    }
    tasks.await;
}

#[tokio::test]
async fn sixteen_tasks_get_through_a_limit_of_calls() {
    let double = Aws::start().await.unwrap();
    for operation in ["GetSecretValue", "DescribeSecret", "PutSecretValue"] {
        double.limit_rate(operation, 4, Duration::from_millis(200));
    }
    double.secrets(|secrets| secrets.create("es/ca", None));
    assert_one(&all_start(&double.endpoint(), "es/ca", 16).await);
    assert!(double.calls().iter().any(|call| call.error == Some("ThrottlingException")), "nobody was throttled");
}

async fn call(endpoint: &str, operation: &str, input: Value) -> Value {
    consumer::aws(endpoint, &format!("secretsmanager.{operation}"), &input).await.unwrap()
}

async fn deleted(endpoint: &str) {
    start(endpoint, "es/ca").await.unwrap();
    call(endpoint, "DeleteSecret", json!({"SecretId": "es/ca"})).await;
    let error = start(endpoint, "es/ca").await.unwrap_err();
    assert_eq!(failure(&error), (StoreErrorKind::Deleted, "DescribeSecret", 78));
    assert!(error.hint().unwrap().contains("restore-secret"));
    call(endpoint, "RestoreSecret", json!({"SecretId": "es/ca"})).await;
    start(endpoint, "es/ca").await.unwrap();
}

async fn unusable(endpoint: &str) {
    for (name, value) in [("es/text", "hunter2"), ("es/user", r#"{"username":"admin","password":"hunter2"}"#)] {
        let token = "11111111-1111-1111-1111-111111111111";
        call(endpoint, "CreateSecret", json!({"Name": name, "SecretString": value, "ClientRequestToken": token})).await;
        let error = start(endpoint, name).await.unwrap_err();
        assert!(matches!(error, CaError::Contents(_)), "{error:?}");
        let stored = call(endpoint, "GetSecretValue", json!({"SecretId": name})).await;
        assert_eq!(stored["SecretString"], value);
    }
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:es/none-AbCdEf";
    let error = start(endpoint, arn).await.unwrap_err();
    assert_eq!(failure(&error), (StoreErrorKind::Missing, "DescribeSecret", 78));
}

/// A whole rotation by two at once, with the name and with the ARN.
async fn rotation(endpoint: &str) {
    let first = start(endpoint, "es/rotated").await.unwrap();
    let described = call(endpoint, "DescribeSecret", json!({"SecretId": "es/rotated"})).await;
    let configuration = configuration(endpoint).await;
    let by_name = Secret::new(&configuration, "es/rotated", TIME);
    let by_arn = Secret::new(&configuration, described["ARN"].as_str().unwrap(), TIME);
    let now = OffsetDateTime::now_utc();
    let mut document = first.clone();
    for phase in [Phase::TrustBoth, Phase::SignNew, Phase::DropOld, Phase::Steady] {
        let node = NodeEvidence {
            name: "node-1".to_owned(),
            roots_sha256: Some(document.roots_fingerprint()),
            signer_sha256: Some(document.signing_root().sha256.clone()),
        };
        let secret = "es/admin".to_owned();
        let published = PublishedRoots { secret, roots_sha256: Some(document.roots_fingerprint()) };
        let evidence = Evidence { expected_nodes: Some(1), nodes: Some(vec![node]), published: Some(vec![published]) };
        let begin = if phase == Phase::TrustBoth { Begin::Yes(Validity::AUTHORITY) } else { Begin::No };
        let outcomes = tokio::join!(advance(&by_name, &evidence, begin, now), advance(&by_arn, &evidence, begin, now));
        for outcome in [outcomes.0, outcomes.1] {
            let Outcome::Advanced { document, .. } = outcome.unwrap() else { panic!("{phase} was not reached") };
            assert_eq!(document.phase(), phase);
        }
        document = read(&by_name).await.unwrap();
        assert_eq!(document, start(endpoint, "es/rotated").await.unwrap());
    }
    assert_ne!(document.signing_root(), first.signing_root());
    let versions = call(endpoint, "ListSecretVersionIds", json!({"SecretId": "es/rotated"})).await;
    let labels: Vec<_> = versions["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|version| {
            version["VersionStages"].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned())
        })
        .collect();
    assert!(!labels.contains(&"AWSPENDING".to_owned()), "{labels:?}");
}

#[tokio::test]
async fn against_the_double() {
    let double = Aws::start().await.unwrap();
    deleted(&double.endpoint()).await;
    unusable(&double.endpoint()).await;
    rotation(&double.endpoint()).await;
}

#[tokio::test]
async fn against_moto() {
    let Some(moto) = Moto::start("ca_aws::against_moto") else { return };
    for count in [1, 2, 16] {
        for (name, value) in [("absent", None), ("empty", Some(json!(null))), ("object", Some(json!("{}")))] {
            let name = format!("es/{name}-of-{count}");
            if let Some(value) = value {
                let token = "11111111-1111-1111-1111-111111111111";
                let mut input = json!({"Name": name, "ClientRequestToken": token});
                if value.is_string() {
                    input["SecretString"] = value;
                }
                call(moto.endpoint(), "CreateSecret", input).await;
            }
            let documents = all_start(moto.endpoint(), &name, count).await;
            assert_one(&documents);
            let stored =
                call(moto.endpoint(), "GetSecretValue", json!({"SecretId": name, "VersionStage": "AWSCURRENT"})).await;
            assert_eq!(stored["SecretString"], documents[0].to_text().expose());
        }
    }
    deleted(moto.endpoint()).await;
    unusable(moto.endpoint()).await;
    rotation(moto.endpoint()).await;
}
