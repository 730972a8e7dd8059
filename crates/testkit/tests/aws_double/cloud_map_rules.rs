//! What we rely on in Cloud Map (aws-contract §3.1; numbers of §3.4).

use serde_json::{Value, json};

use super::client::{Check, Client, attributes, refused, same, token};

/// D1: a successor overwrites its predecessor's entry.
pub(crate) async fn registering_again_replaces(aws: Client) -> Check {
    let service = aws.service().await;
    aws.registered(&service, "node-1", "arn:one").await;
    aws.registered(&service, "node-1", "arn:two").await;
    same("the entry", &aws.owner(&service, "node-1").await?, &"arn:two")?;
    same("entries", &aws.instances(&service).await.len(), &1)?;
    let output = aws.deregister(&service, "node-1").await?;
    aws.ended(&output).await;
    same("entries afterwards", &aws.instances(&service).await.len(), &0)
}

/// D2.
pub(crate) async fn a_registration_takes_its_time(aws: Client) -> Check {
    let service = aws.service().await;
    let output = aws.register(&service, "node-1", &attributes("arn:one")).await?;
    let status = aws.operation(&output).await["Status"].clone();
    same("at first", &(status == "SUBMITTED" || status == "PENDING"), &true)?;
    refused("the entry", aws.owner(&service, "node-1").await.map(Value::from), "InstanceNotFound")?;
    let second = aws.register(&service, "node-1", &attributes("arn:two")).await;
    refused("a second one", second, "DuplicateRequest")?;
    refused("a withdrawal", aws.deregister(&service, "node-1").await, "DuplicateRequest")?;
    let operation = aws.ended(&output).await;
    same("in the end", &operation["Status"], &"SUCCESS")?;
    same("of type", &operation["Type"], &"REGISTER_INSTANCE")?;
    same("the entry", &aws.owner(&service, "node-1").await?, &"arn:one")
}

/// D3.
pub(crate) async fn operations_are_kept(aws: Client) -> Check {
    let service = aws.service().await;
    let output = aws.register(&service, "node-1", &attributes("arn:one")).await?;
    aws.ended(&output).await;
    aws.cloud_map("ListOperations", json!({})).await?;
    let found = aws.cloud_map("GetOperation", json!({"OperationId": output["OperationId"]})).await;
    same("afterwards", &found.map(|found| found["Operation"]["Status"].clone()), &Ok(json!("SUCCESS")))
}

/// D4.
pub(crate) async fn instances_are_checked(aws: Client) -> Check {
    let service = aws.service().await;
    let mut many = attributes("arn:one");
    for number in 0..30 {
        many[format!("KEY{number}")] = json!("x");
    }
    let mut long = attributes("arn:one");
    long["KEY"] = json!("x".repeat(1025));
    let wrong = [
        ("an id", "not an id", attributes("arn:one")),
        ("no address", "node-1", json!({"AWS_INSTANCE_PORT": "2113"})),
        ("31 attributes", "node-1", many),
        ("1025 characters", "node-1", long),
    ];
    for (what, id, attributes) in wrong {
        refused(what, aws.register(&service, id, &attributes).await, "InvalidInput")?;
    }
    Ok(())
}

/// D6.
pub(crate) async fn services_are_checked(aws: Client) -> Check {
    let namespace = aws.namespace().await;
    aws.service_in(&namespace, "es").await?;
    let again = aws.service_in(&namespace, "es").await.map(Value::from);
    refused("the same name", again, "ServiceAlreadyExists")?;
    let nowhere = aws.service_in("ns-missing", "es").await.map(Value::from);
    refused("no namespace", nowhere, "NamespaceNotFound")
}

/// D7.
pub(crate) async fn a_network_has_several_namespaces(aws: Client) -> Check {
    let (vpc, name) = (format!("vpc-{}", token()), format!("{}.internal", token()));
    aws.namespace_in(&vpc, &name).await?;
    let other = aws.namespace_in(&vpc, &format!("{}.internal", token())).await;
    same("another name", &other.map(|_| ()), &Ok(()))?;
    let again = aws.namespace_in(&vpc, &name).await.map(Value::from);
    refused("the same name", again, "NamespaceAlreadyExists")
}

/// D8: an entry that was left behind stands in the way of deleting the stack.
pub(crate) async fn what_is_in_use_is_not_deleted(aws: Client) -> Check {
    let namespace = aws.namespace().await;
    let service = aws.service_in(&namespace, "es").await.unwrap();
    aws.registered(&service, "node-1", "arn:one").await;
    refused("a service", aws.cloud_map("DeleteService", json!({"Id": service})).await, "ResourceInUse")?;
    refused("a namespace", aws.cloud_map("DeleteNamespace", json!({"Id": namespace})).await, "ResourceInUse")?;
    let output = aws.deregister(&service, "node-1").await?;
    aws.ended(&output).await;
    aws.cloud_map("DeleteService", json!({"Id": service})).await?;
    let output = aws.cloud_map("DeleteNamespace", json!({"Id": namespace})).await?;
    same("in the end", &aws.ended(&output).await["Status"], &"SUCCESS")
}

pub(crate) async fn what_is_not_there_is_not_found(aws: Client) -> Check {
    let service = aws.service().await;
    refused("an entry", aws.owner(&service, "node-1").await.map(Value::from), "InstanceNotFound")?;
    refused("a withdrawal", aws.deregister(&service, "node-1").await, "InstanceNotFound")?;
    let nowhere = aws.register("srv-missing", "node-1", &attributes("arn:one")).await;
    refused("a service", nowhere, "ServiceNotFound")?;
    let operation = aws.cloud_map("GetOperation", json!({"OperationId": token()})).await;
    refused("an operation", operation, "OperationNotFound")
}

/// D13: a request whose reply was lost is sent again.
pub(crate) async fn a_repeated_request_is_not_executed_twice(aws: Client) -> Check {
    let service = aws.service().await;
    let input = json!({
        "ServiceId": service, "InstanceId": "node-1", "Attributes": attributes("arn:one"), "CreatorRequestId": token(),
    });
    let first = aws.cloud_map("RegisterInstance", input.clone()).await?;
    let second = aws.cloud_map("RegisterInstance", input).await?;
    same("the operation", &(first["OperationId"] == second["OperationId"]), &true)
}

pub(crate) async fn all_entries_are_listed_with_their_attributes(aws: Client) -> Check {
    let service = aws.service().await;
    for node in ["node-1", "node-2"] {
        aws.registered(&service, node, node).await;
    }
    let mut listed: Vec<_> = aws
        .instances(&service)
        .await
        .iter()
        .map(|instance| (instance["Id"].clone(), instance["Attributes"].clone()))
        .collect();
    listed.sort_by_key(|(id, _)| id.to_string());
    same("entries", &listed, &["node-1", "node-2"].map(|node| (json!(node), attributes(node))))
}
