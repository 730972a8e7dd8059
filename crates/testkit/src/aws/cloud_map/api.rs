//! Cloud Map's operations over the wire. What our programs and templates do not use is refused.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::operations::Target;
use super::{Attributes, CloudMap, SOA_TTL, Service, new_id};
use crate::aws::ApiError;
use crate::aws::wire::{Members, page};

impl CloudMap {
    pub(in crate::aws) fn call(&mut self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        self.settle();
        let members = Members::of(input);
        match operation {
            "RegisterInstance" => self.register_instance(members),
            "DeregisterInstance" => self.deregister_instance(members),
            "GetInstance" => self.get_instance(members),
            "ListInstances" => self.list_instances(members),
            "DiscoverInstances" => self.discover_instances(members),
            "GetOperation" => self.get_operation(members),
            "ListOperations" => self.list_operations(members),
            "CreatePrivateDnsNamespace" => self.create_private_dns_namespace(members),
            "DeleteNamespace" => self.delete_namespace(members),
            "CreateService" => self.create_service_over_the_wire(members),
            "DeleteService" => self.delete_service(members),
            _ => Err(ApiError::new("UnknownOperationException", format!("`{operation}` is not implemented"))),
        }
    }

    fn register_instance(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
        let creator = members.text("CreatorRequestId");
        let attributes = attributes(members.value("Attributes"))?;
        members.done()?;
        check_creator(creator)?;
        check_instance(instance, &attributes)?;
        self.service(service)?;
        if let Some(id) = self.operations.started_by(creator) {
            return Ok(json!({"OperationId": id}));
        }
        self.change_instance(service, instance, Some(attributes), creator)
    }

    fn deregister_instance(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
        members.done()?;
        self.operations.refuse_second(service, instance)?;
        self.instance(service, instance)?;
        self.change_instance(service, instance, None, None)
    }

    fn change_instance(
        &mut self,
        service: &str,
        instance: &str,
        attributes: Option<Attributes>,
        creator: Option<&str>,
    ) -> Result<Value, ApiError> {
        self.operations.refuse_second(service, instance)?;
        let target = Target::Instance { service: service.to_owned(), instance: instance.to_owned(), attributes };
        Ok(json!({"OperationId": self.operations.start(target, creator)}))
    }

    fn get_instance(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (service, instance) = (members.required("ServiceId")?, members.required("InstanceId")?);
        members.done()?;
        let attributes = self.instance(service, instance)?;
        Ok(json!({"Instance": {"Id": instance, "Attributes": attributes}}))
    }

    fn list_instances(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let service = members.required("ServiceId")?;
        let (size, next) = (members.value("MaxResults").as_u64(), members.text("NextToken"));
        members.done()?;
        let view = |(id, attributes)| json!({"Id": id, "Attributes": attributes});
        let instances = self.service(service)?.seen().map(view).collect();
        page("Instances", instances, size, next)
    }

    fn discover_instances(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (namespace, name) = (members.required("NamespaceName")?, members.required("ServiceName")?);
        members.value("MaxResults");
        members.done()?;
        let found = self.namespaces.iter().find(|(_, known)| known.name == namespace);
        let (id, _) = found.ok_or_else(|| ApiError::new("NamespaceNotFound", format!("{namespace} does not exist")))?;
        let found = self.services.values_mut().find(|service| service.namespace == *id && service.name == name);
        let service = found.ok_or_else(|| ApiError::new("ServiceNotFound", format!("{name}.{namespace}")))?;
        let view = |(id, attributes)| json!({"InstanceId": id, "NamespaceName": namespace, "ServiceName": name, "HealthStatus": "HEALTHY", "Attributes": attributes});
        Ok(json!({"Instances": service.seen().map(view).collect::<Vec<_>>()}))
    }

    fn get_operation(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("OperationId")?;
        members.done()?;
        self.operations.describe(id)
    }

    fn list_operations(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (size, next) = (members.value("MaxResults").as_u64(), members.text("NextToken"));
        members.done()?;
        page("Operations", self.operations.list(), size, next)
    }

    fn create_private_dns_namespace(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let name = members.required("Name")?;
        members.required("Vpc")?;
        let creator = members.text("CreatorRequestId");
        let soa_ttl = members.value("Properties")["DnsProperties"]["SOA"]["TTL"].as_u64();
        members.value("Description");
        members.done()?;
        check_creator(creator)?;
        if let Some(id) = self.operations.started_by(creator) {
            return Ok(json!({"OperationId": id}));
        }
        if self.namespaces.values().any(|known| known.name == name) {
            return Err(ApiError::new("NamespaceAlreadyExists", format!("namespace {name} exists already")));
        }
        let soa_ttl = soa_ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(SOA_TTL);
        let target = Target::Namespace { id: new_id("ns"), create: Some((name.to_owned(), soa_ttl)) };
        Ok(json!({"OperationId": self.operations.start(target, creator)}))
    }

    fn delete_namespace(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("Id")?;
        members.done()?;
        if !self.namespaces.contains_key(id) {
            return Err(ApiError::new("NamespaceNotFound", format!("namespace {id} does not exist")));
        }
        if self.services.values().any(|service| service.namespace == id) {
            return Err(ApiError::new("ResourceInUse", "the namespace still has services"));
        }
        let target = Target::Namespace { id: id.to_owned(), create: None };
        Ok(json!({"OperationId": self.operations.start(target, None)}))
    }

    fn create_service_over_the_wire(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let (name, namespace) = (members.required("Name")?, members.required("NamespaceId")?);
        let ttl = record_ttl(members.value("DnsConfig"))?;
        check_creator(members.text("CreatorRequestId"))?;
        members.value("Description");
        members.done()?;
        let id = self.add_service(namespace, name, ttl)?;
        Ok(json!({"Service": {"Id": id, "Name": name, "NamespaceId": namespace}}))
    }

    fn delete_service(&mut self, mut members: Members<'_>) -> Result<Value, ApiError> {
        let id = members.required("Id")?;
        members.done()?;
        if !self.service(id)?.is_empty() || self.operations.work_on(id) {
            return Err(ApiError::new("ResourceInUse", "the service still has instances"));
        }
        self.services.remove(id);
        Ok(json!({}))
    }

    fn service(&mut self, id: &str) -> Result<&mut Service, ApiError> {
        let found = self.services.get_mut(id);
        found.ok_or_else(|| ApiError::new("ServiceNotFound", format!("service {id} does not exist")))
    }

    /// As readers see it.
    fn instance(&mut self, service: &str, id: &str) -> Result<&Attributes, ApiError> {
        let seen = self.service(service)?.instances.get_mut(id).and_then(|instance| instance.read().as_ref());
        seen.ok_or_else(|| ApiError::new("InstanceNotFound", format!("instance {id} does not exist")))
    }
}

impl Service {
    /// The instances as readers see them.
    fn seen(&mut self) -> impl Iterator<Item = (&String, &Attributes)> {
        self.instances.iter_mut().filter_map(|(id, instance)| Some((id, instance.read().as_ref()?)))
    }
}

fn attributes(value: &Value) -> Result<Attributes, ApiError> {
    serde_json::from_value(value.clone()).map_err(|_| ApiError::new("InvalidInput", "Attributes must map text to text"))
}

/// Our services have A records and nothing else; what a service has cannot change later.
fn record_ttl(config: &Value) -> Result<u32, ApiError> {
    let ttl = match config["DnsRecords"].as_array().map(Vec::as_slice) {
        Some([record]) if record["Type"] == "A" => record["TTL"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()),
        _ => None,
    };
    ttl.ok_or_else(|| {
        ApiError::new("InvalidInput", "the double knows DnsRecords with one record, of type A, with a TTL")
    })
}

fn check_creator(creator: Option<&str>) -> Result<(), ApiError> {
    if creator.is_none_or(|creator| creator.len() <= 64) {
        return Ok(());
    }
    Err(ApiError::new("InvalidInput", "CreatorRequestId has more than 64 characters"))
}

/// AWS's limits: id up to 64 of its characters; 30 custom attributes, keys of 255, values of 1024, 5000 in all; and
/// the address that an A record needs.
fn check_instance(id: &str, attributes: &Attributes) -> Result<(), ApiError> {
    let invalid = |message: &str| Err(ApiError::new("InvalidInput", message.to_owned()));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_/:.@-".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return invalid("InstanceId must have 1 to 64 characters of 0-9a-zA-Z_/:.@-");
    }
    let is = |key: &str, valid: fn(&str) -> bool| attributes.get(key).map(|text| valid(text));
    if is("AWS_INSTANCE_IPV4", |text| text.parse::<Ipv4Addr>().is_ok()) != Some(true) {
        return invalid("AWS_INSTANCE_IPV4 is required by a service with A records");
    }
    if is("AWS_INSTANCE_PORT", |text| text.parse::<u16>().is_ok()) == Some(false) {
        return invalid("AWS_INSTANCE_PORT must be a port");
    }
    let custom = attributes.keys().filter(|key| !key.starts_with("AWS_")).count();
    let size: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    let long = attributes.iter().any(|(key, value)| key.len() > 255 || value.len() > 1024);
    if custom > 30 || long || size > 5000 {
        return invalid("at most 30 custom attributes with keys of 255 and values of 1024 characters, 5000 in all");
    }
    Ok(())
}
