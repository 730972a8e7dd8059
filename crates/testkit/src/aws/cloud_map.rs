//! AWS Cloud Map: registration is an upsert, and every change is an operation that takes time (aws-contract §3.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::ApiError;
use super::wire::Members;

/// All namespaces and services of the account.
#[derive(Debug)]
pub struct CloudMap {
    pub(super) operation_time: Duration,
    services: BTreeMap<String, Service>,
    operations: BTreeMap<String, Operation>,
}

#[derive(Debug)]
struct Service {
    name: String,
    namespace: String,
    instances: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug)]
struct Operation {
    service: String,
    instance: String,
    change: Change,
    started: Instant,
    time: Duration,
    applied: bool,
}

#[derive(Debug)]
enum Change {
    Register(BTreeMap<String, String>),
    Deregister,
}

/// One instance as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredInstance {
    /// The instance id.
    pub id: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Default for CloudMap {
    fn default() -> Self {
        Self { operation_time: Duration::from_millis(30), services: BTreeMap::new(), operations: BTreeMap::new() }
    }
}

impl CloudMap {
    /// Creates a service in a DNS namespace. Gives its id.
    pub fn create_service(&mut self, namespace: &str, name: &str) -> String {
        let id = format!("srv-{}", &Uuid::new_v4().simple().to_string()[..16]);
        let service = Service { name: name.to_owned(), namespace: namespace.to_owned(), instances: BTreeMap::new() };
        self.services.insert(id.clone(), service);
        id
    }

    /// The instances of a service whose registration has ended.
    pub fn instances(&mut self, service: &str) -> Vec<RegisteredInstance> {
        self.settle();
        let instances = self.services.get(service).into_iter().flat_map(|service| &service.instances);
        instances
            .map(|(id, attributes)| RegisteredInstance { id: id.clone(), attributes: attributes.clone() })
            .collect()
    }

    pub(super) fn call(&mut self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        self.settle();
        let mut members = Members::of(input);
        match operation {
            "RegisterInstance" => {
                let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
                members.text("CreatorRequestId");
                let attributes = attributes(members.value("Attributes"))?;
                members.done()?;
                check_instance(instance, &attributes)?;
                self.start(service, instance, Change::Register(attributes))
            }
            "DeregisterInstance" => {
                let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
                members.done()?;
                self.instance(service, instance)?;
                self.start(service, instance, Change::Deregister)
            }
            "GetInstance" => {
                let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
                members.done()?;
                let attributes = self.instance(service, instance)?;
                Ok(json!({"Instance": {"Id": instance, "Attributes": attributes}}))
            }
            "ListInstances" => {
                let service = members.required("ServiceId")?;
                members.value("MaxResults");
                members.done()?;
                let instances = &self.service(service)?.instances;
                let view = |(id, attributes)| json!({"Id": id, "Attributes": attributes});
                Ok(json!({"Instances": instances.iter().map(view).collect::<Vec<_>>()}))
            }
            "DiscoverInstances" => {
                let (namespace, name) = (members.required("NamespaceName")?, members.required("ServiceName")?);
                members.value("MaxResults");
                members.done()?;
                let found =
                    self.services.values().find(|service| service.namespace == namespace && service.name == name);
                let service = found.ok_or_else(|| ApiError::new("ServiceNotFound", format!("{name}.{namespace}")))?;
                let view = |(id, attributes)| json!({"InstanceId": id, "NamespaceName": namespace, "ServiceName": name, "HealthStatus": "HEALTHY", "Attributes": attributes});
                Ok(json!({"Instances": service.instances.iter().map(view).collect::<Vec<_>>()}))
            }
            "GetOperation" => {
                let id = members.required("OperationId")?;
                members.done()?;
                let found = self.operations.get(id);
                let found = found.ok_or_else(|| ApiError::new("OperationNotFound", format!("operation {id}")))?;
                let kind = match found.change {
                    Change::Register(_) => "REGISTER_INSTANCE",
                    Change::Deregister => "DEREGISTER_INSTANCE",
                };
                Ok(json!({"Operation": {"Id": id, "Type": kind, "Status": found.status()}}))
            }
            _ => Err(ApiError::new("UnknownOperationException", format!("`{operation}` is not implemented"))),
        }
    }

    /// Only one operation at a time may work on an instance.
    fn start(&mut self, service: &str, instance: &str, change: Change) -> Result<Value, ApiError> {
        self.service(service)?;
        let busy = |operation: &&Operation| {
            !operation.applied && operation.service == service && operation.instance == instance
        };
        if self.operations.values().find(busy).is_some() {
            return Err(ApiError::new("DuplicateRequest", format!("an operation on {instance} is in progress")));
        }
        let id = Uuid::new_v4().simple().to_string();
        let operation = Operation {
            service: service.to_owned(),
            instance: instance.to_owned(),
            change,
            started: Instant::now(),
            time: self.operation_time,
            applied: false,
        };
        self.operations.insert(id.clone(), operation);
        Ok(json!({"OperationId": id}))
    }

    /// Applies the operations whose time has come.
    fn settle(&mut self) {
        for operation in self.operations.values_mut().filter(|operation| !operation.applied) {
            if operation.started.elapsed() < operation.time {
                continue;
            }
            operation.applied = true;
            let service = self.services.get_mut(&operation.service).expect("services are never deleted");
            match &operation.change {
                Change::Register(attributes) => {
                    service.instances.insert(operation.instance.clone(), attributes.clone());
                }
                Change::Deregister => {
                    service.instances.remove(&operation.instance);
                }
            }
        }
    }

    fn service(&self, id: &str) -> Result<&Service, ApiError> {
        self.services.get(id).ok_or_else(|| ApiError::new("ServiceNotFound", format!("service {id} does not exist")))
    }

    fn instance(&self, service: &str, id: &str) -> Result<&BTreeMap<String, String>, ApiError> {
        let instances = &self.service(service)?.instances;
        instances.get(id).ok_or_else(|| ApiError::new("InstanceNotFound", format!("instance {id} does not exist")))
    }
}

impl Operation {
    fn status(&self) -> &'static str {
        if self.applied {
            "SUCCESS"
        } else if self.started.elapsed() < self.time / 2 {
            "SUBMITTED"
        } else {
            "PENDING"
        }
    }
}

fn attributes(value: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    serde_json::from_value(value.clone()).map_err(|_| ApiError::new("InvalidInput", "Attributes must map text to text"))
}

/// AWS's limits: id up to 64 of its characters; 30 custom attributes, keys of 255, values of 1024, 5000 in all.
fn check_instance(id: &str, attributes: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let invalid = |message: &str| Err(ApiError::new("InvalidInput", message.to_owned()));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_/:.@-".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return invalid("InstanceId must have 1 to 64 characters of 0-9a-zA-Z_/:.@-");
    }
    if !attributes.contains_key("AWS_INSTANCE_IPV4") {
        return invalid("AWS_INSTANCE_IPV4 is required by a service with A records");
    }
    let custom = attributes.keys().filter(|key| !key.starts_with("AWS_")).count();
    let size: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    let long = attributes.iter().any(|(key, value)| key.len() > 255 || value.len() > 1024);
    if custom > 30 || long || size > 5000 {
        return invalid("at most 30 custom attributes with keys of 255 and values of 1024 characters, 5000 in all");
    }
    Ok(())
}
