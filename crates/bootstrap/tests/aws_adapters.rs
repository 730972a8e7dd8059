//! The AWS adapters through the real SDK over HTTP, against the double and against moto.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use aws_config::Region;
use aws_sdk_secretsmanager::config::Credentials;
use bootstrap::SecretText;
use bootstrap::aws::{CloudMap, SecretsManager, loader};
use bootstrap::ports::{AwsErrorKind, Instance, Registry as _, SecretId, SecretStore as _, VersionId};
use serde_json::json;
use testkit::aws::{Aws, Refusal};
use testkit::consumer;
use testkit::moto::Moto;
use uuid::Uuid;

async fn configuration(endpoint: &str) -> aws_config::SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    loader().region(Region::new("eu-west-1")).endpoint_url(endpoint).credentials_provider(credentials).load().await
}

fn version() -> VersionId {
    VersionId(Uuid::new_v4().to_string())
}

fn text(text: &str) -> SecretText {
    SecretText::from(text.to_owned())
}

async fn secrets(endpoint: &str) {
    let secrets = SecretsManager::new(&configuration(endpoint).await);
    let id = SecretId(format!("test/{}", Uuid::new_v4()));
    assert_eq!(secrets.labels(&id).await.unwrap(), None);
    secrets.create(&id, &text("one")).await.unwrap();
    secrets.create(&id, &text("late")).await.unwrap();
    let labels = secrets.labels(&id).await.unwrap().unwrap();
    let first = labels.current.unwrap();
    assert_eq!(secrets.read(&id, &first).await.unwrap(), Some(text("one")), "the first writer wins");
    assert_eq!(secrets.read(&id, &version()).await.unwrap(), None);

    let slot = version();
    secrets.put_pending(&id, &slot, &text("two")).await.unwrap();
    secrets.put_pending(&id, &slot, &text("three")).await.unwrap();
    assert_eq!(secrets.read(&id, &slot).await.unwrap(), Some(text("two")), "the first writer wins");
    assert_eq!(secrets.labels(&id).await.unwrap().unwrap().pending, Some(slot.clone()));

    let changed = secrets.move_current(&id, &slot, &slot).await.unwrap_err();
    assert_eq!(changed.kind, AwsErrorKind::Changed, "{changed}");
    secrets.move_current(&id, &first, &slot).await.unwrap();
    secrets.drop_pending(&id, &slot).await.unwrap();
    let labels = secrets.labels(&id).await.unwrap().unwrap();
    assert_eq!((labels.current, labels.pending, labels.others), (Some(slot), None, vec![first]));
}

fn instance(task: &str) -> Instance {
    Instance {
        node: "node-1".to_owned(),
        address: "10.0.0.7".parse().unwrap(),
        port: 2113,
        task_arn: task.to_owned(),
        certificate_sha256: "00".to_owned(),
        roots_sha256: "11".to_owned(),
    }
}

async fn registry(endpoint: &str, service: &str) {
    let registry = CloudMap::new(&configuration(endpoint).await, service);
    assert_eq!(registry.owner("node-1").await.unwrap(), None);
    registry.register(&instance("arn:one")).await.unwrap();
    assert_eq!(registry.owner("node-1").await.unwrap().as_deref(), Some("arn:one"));
    registry.register(&instance("arn:two")).await.unwrap();
    assert_eq!(registry.owner("node-1").await.unwrap().as_deref(), Some("arn:two"), "registering again replaces");
    registry.withdraw("node-1").await.unwrap();
    assert_eq!(registry.owner("node-1").await.unwrap(), None);
    registry.withdraw("node-1").await.unwrap();
}

#[tokio::test]
async fn against_the_double() {
    let double = Aws::start().await.unwrap();
    secrets(&double.endpoint()).await;
    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    registry(&double.endpoint(), &service).await;
}

#[tokio::test]
async fn against_moto() {
    let Some(moto) = Moto::start("against_moto") else { return };
    secrets(moto.endpoint()).await;
    let endpoint = moto.endpoint();
    let call = |operation: &str, input| {
        let target = format!("Route53AutoNaming_v20170314.{operation}");
        async move { consumer::aws(endpoint, &target, &input).await.unwrap() }
    };
    call("CreatePrivateDnsNamespace", json!({"Name": "db.internal", "Vpc": "vpc-1"})).await;
    let namespaces = call("ListNamespaces", json!({})).await;
    let namespace = namespaces["Namespaces"][0]["Id"].as_str().unwrap();
    let records = json!([{"Type": "A", "TTL": 10}]);
    let service = json!({"Name": "es", "NamespaceId": namespace, "DnsConfig": {"DnsRecords": records}});
    let service = call("CreateService", service).await;
    registry(moto.endpoint(), service["Service"]["Id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn what_aws_refuses_is_told_apart() {
    let double = Aws::start().await.unwrap();
    let secrets = SecretsManager::new(&configuration(&double.endpoint()).await);
    let id = SecretId(double.secrets(|secrets| secrets.create("test/x", Some("hunter2"))));
    double.refuse("DescribeSecret", Refusal::DENIED, 1);
    let denied = secrets.labels(&id).await.unwrap_err();
    assert_eq!(denied.kind, AwsErrorKind::Denied);
    assert!(denied.to_string().contains("DescribeSecret") && denied.to_string().contains("AccessDenied"), "{denied}");

    // One throttling is the SDK's affair; it repeats the call by itself.
    double.refuse("DescribeSecret", Refusal::THROTTLED, 1);
    assert!(secrets.labels(&id).await.is_ok());

    double.secrets(|secrets| secrets.create("test/empty", None));
    let empty = secrets.labels(&SecretId("test/empty".to_owned())).await.unwrap().unwrap();
    assert_eq!((empty.current, empty.pending), (None, None));

    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    let registry = CloudMap::new(&configuration(&double.endpoint()).await, service);
    let bad = Instance { node: "not an id".to_owned(), ..instance("arn:one") };
    assert_eq!(registry.register(&bad).await.unwrap_err().kind, AwsErrorKind::Invalid);
}
