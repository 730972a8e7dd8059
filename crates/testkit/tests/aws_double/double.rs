//! What the double does on demand, which neither AWS nor moto does when it is asked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::aws::{Aws, Lag, Refusal};
use tokio::time::sleep;

use super::client::{Client, attributes, token};

async fn start() -> (Aws, Client) {
    let double = Aws::start().await.unwrap();
    let client = Client::new(double.endpoint());
    (double, client)
}

async fn read(client: &Client, version: &str) -> Result<Value, String> {
    let output = client.secrets("GetSecretValue", json!({"SecretId": "a", "VersionId": version})).await?;
    Ok(output["SecretString"].clone())
}

#[tokio::test]
async fn refusals_come_before_effects_and_are_noted_without_values() {
    let (double, client) = start().await;
    double.refuse("CreateSecret", Refusal::THROTTLED, 1);
    let input = json!({"Name": "test/x", "ClientRequestToken": token(), "SecretString": "hunter2"});
    assert_eq!(client.secrets("CreateSecret", input.clone()).await.unwrap_err(), "ThrottlingException");
    assert!(double.secrets(|secrets| secrets.versions("test/x").is_empty()));
    assert!(client.secrets("CreateSecret", input).await.is_ok());
    let calls = double.calls();
    assert_eq!(calls.iter().map(|call| call.error).collect::<Vec<_>>(), [Some("ThrottlingException"), None]);
    assert_eq!(calls[1].access_key.as_deref(), Some("test"));
    assert!(!format!("{calls:?}").contains("hunter2"));
    assert!(!double.secrets(|secrets| format!("{secrets:?} {:?}", secrets.versions("test/x"))).contains("hunter2"));
}

#[tokio::test]
async fn what_is_not_implemented_does_not_pass() {
    let (double, client) = start().await;
    double.secrets(|secrets| secrets.create("a", Some("one")));
    let unknown = json!({"SecretId": "a", "Filter": 1});
    assert_eq!(client.secrets("GetSecretValue", unknown).await.unwrap_err(), "ValidationException");
    assert_eq!(client.secrets("TagResource", json!({})).await.unwrap_err(), "UnknownOperationException");
    assert_eq!(client.cloud_map("ListNamespaces", json!({})).await.unwrap_err(), "UnknownOperationException");
}

#[tokio::test]
async fn rates_are_limited_and_recover() {
    let (double, client) = start().await;
    double.secrets(|secrets| secrets.create("a", Some("one")));
    let time = Duration::from_secs(1);
    double.limit_rate("DescribeSecret", 2, time);
    let describe = || client.secrets("DescribeSecret", json!({"SecretId": "a"}));
    let started = Instant::now();
    assert!(describe().await.is_ok() && describe().await.is_ok());
    assert_eq!(describe().await.unwrap_err(), "ThrottlingException");
    assert!(client.current("a").await.is_ok(), "another operation has its own rate");
    while describe().await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= time);
    double.allow_all();
    for _ in 0..5 {
        describe().await.unwrap();
    }
}

#[tokio::test]
async fn readers_of_a_secret_may_be_late() {
    let (double, client) = start().await;
    double.secrets(|secrets| secrets.set_read_lag(Lag::Reads(2)));
    client.secrets("CreateSecret", json!({"Name": "a", "ClientRequestToken": token()})).await.unwrap();
    for _ in 0..2 {
        let early = client.secrets("DescribeSecret", json!({"SecretId": "a"})).await;
        assert_eq!(early.unwrap_err(), "ResourceNotFoundException", "it is created and not yet seen");
    }
    client.secrets("DescribeSecret", json!({"SecretId": "a"})).await.unwrap();

    let (first, slot) = (token(), token());
    client.put("a", &first, "one", &["AWSCURRENT"]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(read(&client, &first).await.unwrap_err(), "ResourceNotFoundException");
    }
    assert_eq!(read(&client, &first).await.unwrap(), "one");

    client.put("a", &slot, "two", &["AWSPENDING"]).await.unwrap();
    let other = client.put("a", &slot, "three", &["AWSPENDING"]).await;
    assert_eq!(other.unwrap_err(), "ResourceExistsException", "writers are never late");
    assert_eq!(read(&client, &slot).await.unwrap_err(), "ResourceNotFoundException");
    client.move_label("a", "AWSCURRENT", Some(&slot), Some(&first)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.current("a").await.unwrap(), "one", "the label is seen where it was");
    }
    assert_eq!(client.current("a").await.unwrap(), "two");
    assert_eq!(double.secrets(|secrets| secrets.current("a")).as_deref(), Some("two"));
}

#[tokio::test]
async fn lateness_may_be_a_matter_of_time() {
    let (double, client) = start().await;
    let time = Duration::from_millis(300);
    double.secrets(|secrets| secrets.create("a", Some("one")));
    double.secrets(|secrets| secrets.set_read_lag(Lag::Time(time)));
    let started = Instant::now();
    client.put("a", &token(), "two", &["AWSCURRENT"]).await.unwrap();
    while client.current("a").await.unwrap() == "one" {
        assert!(started.elapsed() < Duration::from_secs(10), "it stayed late");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() >= time);
}

#[tokio::test]
async fn readers_of_the_registry_may_be_late() {
    let (double, client) = start().await;
    let service = client.service().await;
    double.cloud_map(|cloud_map| cloud_map.set_read_lag(Lag::Reads(3)));
    client.registered(&service, "node-1", "arn:one").await;
    assert_eq!(client.owner(&service, "node-1").await.unwrap_err(), "InstanceNotFound");
    assert_eq!(client.deregister(&service, "node-1").await.unwrap_err(), "InstanceNotFound");
    assert!(client.instances(&service).await.is_empty());
    assert_eq!(client.owner(&service, "node-1").await.unwrap(), "arn:one");
    assert_eq!(double.cloud_map(|cloud_map| cloud_map.instances(&service)).len(), 1);
}

#[tokio::test]
async fn operations_fail_with_a_code_and_without_an_effect() {
    let (double, client) = start().await;
    let service = client.service().await;
    for code in ["ACCESS_DENIED", "HOSTED_ZONE_NOT_FOUND", "THROTTLED_REQUEST", "INTERNAL_FAILURE"] {
        double.cloud_map(|cloud_map| cloud_map.fail_operations(code, 1));
        let output = client.register(&service, "node-1", &attributes("arn:one")).await.unwrap();
        let operation = client.ended(&output).await;
        assert_eq!((&operation["Status"], &operation["ErrorCode"]), (&json!("FAIL"), &json!(code)));
        assert_eq!(client.owner(&service, "node-1").await.unwrap_err(), "InstanceNotFound");
    }
    client.registered(&service, "node-1", "arn:one").await;
    double.cloud_map(|cloud_map| cloud_map.fail_operations("THROTTLED_REQUEST", 1));
    let output = client.deregister(&service, "node-1").await.unwrap();
    assert_eq!(client.ended(&output).await["Status"], "FAIL");
    assert_eq!(client.owner(&service, "node-1").await.unwrap(), "arn:one");
}

/// Whoever uses a `CreatorRequestId` again gets the operation of then: what is asked for now does not happen.
#[tokio::test]
async fn a_used_request_id_does_nothing() {
    let (_double, client) = start().await;
    let service = client.service().await;
    let creator = token();
    let input = |task: &str| json!({"ServiceId": service, "InstanceId": "node-1", "Attributes": attributes(task), "CreatorRequestId": creator});
    let first = client.cloud_map("RegisterInstance", input("arn:one")).await.unwrap();
    client.ended(&first).await;
    assert_eq!(client.cloud_map("RegisterInstance", input("arn:two")).await.unwrap(), first);
    assert_eq!(client.owner(&service, "node-1").await.unwrap(), "arn:one");
}

#[tokio::test]
async fn old_versions_make_room_and_young_ones_do_not() {
    let (double, client) = start().await;
    let (first, second) = (token(), token());
    let input = json!({"Name": "a", "ClientRequestToken": first, "SecretString": "one"});
    client.secrets("CreateSecret", input).await.unwrap();
    client.put("a", &second, "two", &["AWSCURRENT"]).await.unwrap();
    client.put("a", &token(), "three", &["AWSCURRENT"]).await.unwrap();
    double.secrets(|secrets| secrets.set_version_quota(3));
    let young = client.put("a", &token(), "four", &["AWSPENDING"]).await;
    assert_eq!(young.unwrap_err(), "LimitExceededException");
    assert!(client.put("a", &second, "two", &["AWSPENDING"]).await.is_ok(), "nothing new needs no room");

    double.secrets(|secrets| secrets.age("a", Duration::from_hours(25)));
    client.put("a", &token(), "four", &["AWSPENDING"]).await.unwrap();
    assert_eq!(read(&client, &first).await.unwrap_err(), "ResourceNotFoundException", "only it has no label");
    assert_eq!(read(&client, &second).await.unwrap(), "two");
    double.secrets(|secrets| secrets.set_version_quota(100));
    assert!(client.put("a", &first, "other", &["AWSPENDING"]).await.is_ok(), "an ancient token is new again");
}

/// What a rotation by Lambda leaves when its function fails: a label on a version without a value.
#[tokio::test]
async fn a_rotation_of_others_holds_a_place() {
    let (double, client) = start().await;
    double.secrets(|secrets| secrets.create("a", Some("one")));
    let slot = double.secrets(|secrets| secrets.begin_rotation("a"));
    assert_eq!(client.labels("a", &slot).await.unwrap(), ["AWSPENDING"]);
    assert_eq!(read(&client, &slot).await.unwrap_err(), "ResourceNotFoundException");
    client.put("a", &slot, "two", &["AWSPENDING"]).await.unwrap();
    assert_eq!(read(&client, &slot).await.unwrap(), "two");
    let other = client.put("a", &slot, "three", &["AWSPENDING"]).await;
    assert_eq!(other.unwrap_err(), "ResourceExistsException");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let (double, client) = start().await;
    let service = client.service().await;
    for number in 0..5 {
        let attributes = [("AWS_INSTANCE_IPV4", "127.0.0.2")];
        double.cloud_map(|cloud_map| cloud_map.register(&service, &format!("node-{number}"), &attributes));
    }
    double.secrets(|secrets| secrets.create("a", Some("1")));
    for number in 2..=5 {
        client.put("a", &token(), &number.to_string(), &["AWSCURRENT"]).await.unwrap();
    }
    let mut sizes = Vec::new();
    for (call, key) in [("ListInstances", "Instances"), ("ListSecretVersionIds", "Versions")] {
        let mut next = Value::Null;
        loop {
            let mut input = if key == "Instances" {
                json!({"ServiceId": service, "MaxResults": 2})
            } else {
                json!({"SecretId": "a", "MaxResults": 2, "IncludeDeprecated": true})
            };
            if next.is_string() {
                input["NextToken"] = next;
            }
            let output = match key {
                "Instances" => client.cloud_map(call, input).await.unwrap(),
                _ => client.secrets(call, input).await.unwrap(),
            };
            sizes.push(output[key].as_array().unwrap().len());
            next = output["NextToken"].clone();
            if next.is_null() {
                break;
            }
        }
    }
    assert_eq!(sizes, [2, 2, 1, 2, 2, 1]);
}
