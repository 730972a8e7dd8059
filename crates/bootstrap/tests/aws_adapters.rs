//! The AWS adapters through the real SDK over HTTP, against the double and against moto.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use aws_config::Region;
use aws_sdk_secretsmanager::config::Credentials;
use bootstrap::SecretText;
use bootstrap::aws::{CloudMap, SecretsManager, loader};
use bootstrap::ports::{AwsError, AwsErrorKind, Instance, Registry as _, SecretId, SecretStore as _, VersionId};
use serde_json::json;
use testkit::aws::{Aws, Lag, Refusal};
use testkit::consumer;
use testkit::moto::Moto;
use testkit::proxy::{Fault, FaultProxy, Filter, Upstream, When};
use uuid::Uuid;

async fn configuration(endpoint: &str) -> aws_config::SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    loader().region(Region::new("eu-west-1")).endpoint_url(endpoint).credentials_provider(credentials).load().await
}

async fn stored(secrets: &SecretsManager, id: &SecretId, version: &VersionId) -> Result<Option<SecretText>, AwsError> {
    Ok(secrets.read(id, version).await?.map(|version| version.text))
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
    assert_eq!(stored(&secrets, &id, &first).await.unwrap(), Some(text("one")), "the first writer wins");
    assert_eq!(stored(&secrets, &id, &version()).await.unwrap(), None);

    let slot = version();
    secrets.put_pending(&id, &slot, &text("two")).await.unwrap();
    secrets.put_pending(&id, &slot, &text("three")).await.unwrap();
    assert_eq!(stored(&secrets, &id, &slot).await.unwrap(), Some(text("two")), "the first writer wins");
    assert_eq!(secrets.labels(&id).await.unwrap().unwrap().pending, Some(slot.clone()));

    let changed = secrets.move_current(&id, &slot, &slot).await.unwrap_err();
    assert_eq!(changed.kind, AwsErrorKind::Changed, "{changed}");
    secrets.move_current(&id, &first, &slot).await.unwrap();
    let created = secrets.read(&id, &slot).await.unwrap().unwrap().created.unwrap();
    assert!(created.elapsed().unwrap_or_default() < std::time::Duration::from_mins(5));
    secrets.drop_pending(&id, &slot).await.unwrap();
    let gone = secrets.drop_pending(&id, &slot).await.unwrap_err();
    assert_eq!(gone.kind, AwsErrorKind::Changed, "{gone}");

    // A slot that has lost its label gets it back, from nowhere or from whoever has it.
    let next = version();
    secrets.put_pending(&id, &next, &text("four")).await.unwrap();
    secrets.label_pending(&id, Some(&next), &first).await.unwrap();
    assert_eq!(secrets.labels(&id).await.unwrap().unwrap().pending, Some(first.clone()));
    secrets.drop_pending(&id, &first).await.unwrap();
    secrets.label_pending(&id, None, &next).await.unwrap();
    let elsewhere = secrets.label_pending(&id, None, &first).await.unwrap_err();
    assert_eq!(elsewhere.kind, AwsErrorKind::Changed, "{elsewhere}");
    secrets.drop_pending(&id, &next).await.unwrap();
    let labels = secrets.labels(&id).await.unwrap().unwrap();
    assert_eq!((labels.current, labels.pending, labels.others), (Some(slot), None, vec![first]));
}

fn instance(task: &str) -> Instance {
    Instance {
        node: "node-1".to_owned(),
        address: "10.0.0.7".parse().unwrap(),
        port: 2113,
        task_arn: task.to_owned(),
        certificate_sha256: Some("00".to_owned()),
        roots_sha256: Some("11".to_owned()),
        signer_sha256: Some("22".to_owned()),
        member: Some("es-node-1.db.internal:2113".to_owned()),
        since: 1,
    }
}

async fn owner(registry: &CloudMap) -> Option<String> {
    registry.entry("node-1").await.unwrap().map(|entry| entry.task_arn().to_owned())
}

async fn registry(endpoint: &str, service: &str) {
    let registry = CloudMap::new(&configuration(endpoint).await, service);
    assert_eq!(owner(&registry).await, None);
    registry.register(&instance("arn:one")).await.unwrap();
    let entry = registry.entry("node-1").await.unwrap().unwrap();
    assert!(entry.shows(&instance("arn:one")) && !entry.shows(&instance("arn:two")), "{entry:?}");
    assert_eq!((entry.since(), entry.member()), (1, Some("es-node-1.db.internal:2113")));
    assert_eq!(registry.entries().await.unwrap(), [entry]);
    registry.register(&instance("arn:two")).await.unwrap();
    assert_eq!(owner(&registry).await.as_deref(), Some("arn:two"), "registering again replaces");
    registry.withdraw("node-1").await.unwrap();
    assert_eq!(owner(&registry).await, None);
    assert_eq!(registry.withdraw("node-1").await.unwrap_err().kind, AwsErrorKind::Changed);
    assert_eq!(registry.entries().await.unwrap(), []);
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

/// What a caller does differently depends on the kind alone.
#[tokio::test]
async fn every_code_has_its_kind() {
    use AwsErrorKind::{Denied, Invalid, Unavailable};
    let kinds = [
        (Refusal::DENIED, Denied),
        (Refusal::EXPIRED, Denied),
        (Refusal { code: "UnrecognizedClientException", status: 400 }, Denied),
        (Refusal::DECRYPTION, Invalid),
        (Refusal::ENCRYPTION, Invalid),
        (Refusal::THROTTLED, Unavailable),
        (Refusal::REQUEST_LIMIT, Unavailable),
        (Refusal::FAULT, Unavailable),
        (Refusal { code: "ServiceUnavailable", status: 503 }, Unavailable),
    ];
    let mut rounds = tokio::task::JoinSet::new();
    for (refusal, kind) in kinds {
        rounds.spawn(async move {
            let double = Aws::start().await.unwrap();
            let secrets = SecretsManager::new(&configuration(&double.endpoint()).await);
            let id = SecretId(double.secrets(|secrets| secrets.create("test/x", Some("one"))));
            double.refuse("GetSecretValue", refusal, 100);
            let error = stored(&secrets, &id, &version()).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(refusal.code), "{error}");
        });
    }
    while let Some(round) = rounds.join_next().await {
        round.unwrap();
    }
}

#[tokio::test]
async fn an_operation_that_fails_says_why() {
    let double = Aws::start().await.unwrap();
    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    let registry = CloudMap::new(&configuration(&double.endpoint()).await, service);
    for (code, kind) in [("ACCESS_DENIED", AwsErrorKind::Denied), ("THROTTLED_REQUEST", AwsErrorKind::Unavailable)] {
        double.cloud_map(|cloud_map| cloud_map.fail_operations(code, 1));
        let error = registry.register(&instance("arn:one")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(owner(&registry).await, None);
    }
}

#[tokio::test]
async fn an_operation_of_somebody_else_is_waited_for() {
    let double = Aws::start().await.unwrap();
    double.set_operation_time(std::time::Duration::from_millis(300));
    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    let configuration = configuration(&double.endpoint()).await;
    let sdk = aws_sdk_servicediscovery::Client::new(&configuration);
    let first = sdk.register_instance().service_id(&service).instance_id("node-1");
    let first = first.attributes("AWS_INSTANCE_IPV4", "10.0.0.1").send().await.unwrap();
    let second = sdk.deregister_instance().service_id(&service).instance_id("node-1").send().await.unwrap_err();
    let aws_sdk_servicediscovery::operation::deregister_instance::DeregisterInstanceError::DuplicateRequest(busy) =
        second.into_service_error()
    else {
        panic!("only one operation at a time works on an instance");
    };
    assert_eq!(busy.duplicate_operation_id(), first.operation_id());

    let registry = CloudMap::new(&configuration, service);
    let refused = registry.register(&instance("arn:two")).await.unwrap_err();
    assert_eq!(refused.kind, AwsErrorKind::Changed, "the entry is to be looked at first: {refused}");
    assert_eq!(owner(&registry).await.as_deref(), Some(""), "the other operation has ended");
    registry.register(&instance("arn:two")).await.unwrap();
    assert_eq!(owner(&registry).await.as_deref(), Some("arn:two"));
}

/// The SDK sends a request again when its reply was lost; the token and the request id make that harmless.
#[tokio::test]
async fn lost_replies_have_one_effect() {
    let double = Aws::start().await.unwrap();
    let proxy = FaultProxy::start(Upstream::endpoint(&double.endpoint())).await.unwrap();
    let configuration = configuration(&proxy.endpoint()).await;
    let secrets = SecretsManager::new(&configuration);
    let id = SecretId("test/x".to_owned());
    let service = double.cloud_map(|cloud_map| cloud_map.create_service("db.internal", "es"));
    let registry = CloudMap::new(&configuration, service);
    for operation in ["CreateSecret", "PutSecretValue", "RegisterInstance", "DeregisterInstance"] {
        // The second is the SDK's repetition of the first.
        proxy.inject(Filter::operation(operation), When::Nth(1), Fault::After);
        proxy.inject(Filter::operation(operation), When::Nth(2), Fault::Twice);
    }
    secrets.create(&id, &text("one")).await.unwrap();
    let slot = version();
    secrets.put_pending(&id, &slot, &text("two")).await.unwrap();
    secrets.put_pending(&id, &slot, &text("three")).await.unwrap();
    assert_eq!(double.secrets(|secrets| secrets.versions("test/x")).len(), 2);
    assert_eq!(stored(&secrets, &id, &slot).await.unwrap(), Some(text("two")));
    registry.register(&instance("arn:one")).await.unwrap();
    assert_eq!(owner(&registry).await.as_deref(), Some("arn:one"));
    // The repetition has no token and meets the first operation, which is waited for.
    assert_eq!(registry.withdraw("node-1").await.unwrap_err().kind, AwsErrorKind::Changed);
    assert_eq!(owner(&registry).await, None);
    assert_eq!(proxy.calls().iter().filter(|call| call.fault.is_some()).count(), 8);
}

#[tokio::test]
async fn all_deprecated_versions_are_found_page_by_page() {
    let double = Aws::start().await.unwrap();
    let secrets = SecretsManager::new(&configuration(&double.endpoint()).await);
    double.secrets(|secrets| {
        secrets.set_version_quota(1000);
        secrets.create("test/x", Some("0"));
        for number in 1..=250 {
            secrets.put("test/x", &number.to_string());
        }
    });
    let found = secrets.deprecated(&SecretId("test/x".to_owned())).await.unwrap();
    let versions = double.secrets(|secrets| secrets.versions("test/x"));
    // All but the current and the previous one.
    let wanted: Vec<_> = versions.iter().take(249).rev().map(|version| VersionId(version.id.clone())).collect();
    assert_eq!(found, wanted);
}

/// After a write a reader may for a while be told that there is nothing, which is no error.
#[tokio::test]
async fn late_readers_see_nothing() {
    let double = Aws::start().await.unwrap();
    let secrets = SecretsManager::new(&configuration(&double.endpoint()).await);
    let id = SecretId(double.secrets(|secrets| secrets.create("test/x", Some("one"))));
    double.secrets(|secrets| secrets.set_read_lag(Lag::Reads(1)));
    let slot = version();
    secrets.put_pending(&id, &slot, &text("two")).await.unwrap();
    assert_eq!(stored(&secrets, &id, &slot).await.unwrap(), None);
    assert_eq!(stored(&secrets, &id, &slot).await.unwrap(), Some(text("two")));
}
