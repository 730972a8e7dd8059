//! AWS Cloud Map: registration is an upsert, and every change is an operation that takes time (aws-contract §3.1).

mod api;
mod operations;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::operations::Operations;
use super::ApiError;
use super::lag::{Lag, Lagging};
use crate::ecs::TaskIdentity;

/// The most addresses in an answer of a service with the routing policy MULTIVALUE.
const MOST_ANSWERS: usize = 8;
/// What infra sets for records and for the SOA of its namespaces.
const RECORD_TTL: u32 = 10;
const SOA_TTL: u32 = 5;

type Attributes = BTreeMap<String, String>;

/// All namespaces and services of the account.
#[derive(Debug)]
pub struct CloudMap {
    namespaces: BTreeMap<String, Namespace>,
    services: BTreeMap<String, Service>,
    operations: Operations,
    read_lag: Lag,
}

/// What there is, without operations that are under way.
#[derive(Serialize, Deserialize)]
struct Kept {
    namespaces: BTreeMap<String, Namespace>,
    services: Vec<KeptService>,
}

#[derive(Serialize, Deserialize)]
struct KeptService {
    id: String,
    name: String,
    namespace: String,
    ttl: u32,
    instances: BTreeMap<String, Attributes>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Namespace {
    name: String,
    soa_ttl: u32,
}

#[derive(Debug)]
struct Service {
    name: String,
    /// The id of its namespace.
    namespace: String,
    /// How long resolvers keep its A records.
    ttl: u32,
    instances: BTreeMap<String, Lagging<Option<Attributes>>>,
}

/// One instance as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredInstance {
    /// The instance id.
    pub id: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

/// What Route 53 answers for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// A service with instances; the TTL is that of its records.
    Addresses { addresses: Vec<Ipv4Addr>, ttl: u32, zone: String, soa_ttl: u32 },
    /// A namespace of ours, asked for its own name: it has no address.
    NoData { zone: String, soa_ttl: u32 },
    /// A name in a namespace of ours that no instance stands for.
    NoSuchName { zone: String, soa_ttl: u32 },
    /// In no namespace of ours.
    Foreign,
}

impl Default for CloudMap {
    fn default() -> Self {
        Self {
            namespaces: BTreeMap::new(),
            services: BTreeMap::new(),
            operations: Operations::new(Duration::from_millis(30)),
            read_lag: Lag::None,
        }
    }
}

impl CloudMap {
    /// Creates a DNS namespace. Gives its id.
    pub fn create_namespace(&mut self, name: &str) -> String {
        let id = new_id("ns");
        self.namespaces.insert(id.clone(), Namespace { name: name.to_owned(), soa_ttl: SOA_TTL });
        id
    }

    /// Creates a service with A records, and its namespace, unless they are there: a stack may be deployed again. Gives
    /// the service's id.
    pub fn create_service(&mut self, namespace: &str, name: &str) -> String {
        let found = self.namespaces.iter().find(|(_, known)| known.name == namespace).map(|(id, _)| id.clone());
        let namespace = found.unwrap_or_else(|| self.create_namespace(namespace));
        if let Some(id) = self.find_service(&namespace, name) {
            return id.to_owned();
        }
        self.add_service(&namespace, name, RECORD_TTL).expect("the namespace exists, and the name is free")
    }

    /// Creates a service under an id that others were told already, unless it is there.
    pub fn create_service_as(&mut self, id: &str, namespace: &str, name: &str) {
        if self.services.contains_key(id) {
            return;
        }
        let made = self.create_service(namespace, name);
        let service = self.services.remove(&made).expect("it was made just now");
        self.services.insert(id.to_owned(), service);
    }

    /// Everything, for a double that outlives its process.
    pub(in crate::aws) fn kept(&mut self) -> Value {
        self.settle();
        let services = self.services.iter().map(|(id, service)| KeptService {
            id: id.clone(),
            name: service.name.clone(),
            namespace: service.namespace.clone(),
            ttl: service.ttl,
            instances: service
                .instances
                .iter()
                .filter_map(|(id, instance)| Some((id.clone(), instance.truth().clone()?)))
                .collect(),
        });
        let kept = Kept { namespaces: self.namespaces.clone(), services: services.collect() };
        serde_json::to_value(kept).expect("services hold texts and numbers")
    }

    /// What [`Self::kept`] gave.
    pub(in crate::aws) fn restore(&mut self, kept: Value) -> serde_json::Result<()> {
        let Kept { namespaces, services } = serde_json::from_value(kept)?;
        self.namespaces = namespaces;
        let service = |kept: KeptService| {
            let instances = kept.instances.into_iter();
            let instances = instances.map(|(id, attributes)| (id, Lagging::new(Some(attributes)))).collect();
            (kept.id, Service { name: kept.name, namespace: kept.namespace, ttl: kept.ttl, instances })
        };
        self.services = services.into_iter().map(service).collect();
        Ok(())
    }

    /// Registers a task as ECS does for a service with `serviceRegistries`: before it is RUNNING, under its task id.
    ///
    /// There is no operation to wait for, because the harness is who would wait.
    pub fn register_task(&mut self, service: &str, task: &TaskIdentity) {
        let address = task.address.to_string();
        let attributes = [
            ("AWS_INSTANCE_IPV4", address.as_str()),
            ("AVAILABILITY_ZONE", "eu-west-1a"),
            ("REGION", super::REGION),
            ("ECS_SERVICE_NAME", &task.family),
            ("ECS_CLUSTER_NAME", "testkit"),
            ("ECS_TASK_DEFINITION_FAMILY", &task.family),
        ];
        self.register(service, task.id(), &attributes);
    }

    /// Removes a task's entry as ECS does when the task stops.
    pub fn deregister_task(&mut self, service: &str, task: &TaskIdentity) {
        self.deregister(service, task.id());
    }

    /// Registers an instance without an operation, as somebody else did before the test began.
    pub fn register(&mut self, service: &str, instance: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.set(service, instance, Some(attributes));
    }

    /// Removes an instance without an operation; it need not exist.
    pub fn deregister(&mut self, service: &str, instance: &str) {
        self.set(service, instance, None);
    }

    /// The instances of a service whose registration has ended, whatever readers see.
    pub fn instances(&mut self, service: &str) -> Vec<RegisteredInstance> {
        self.settle();
        let instances = self.services.get(service).into_iter().flat_map(|service| &service.instances);
        let view = |(id, attributes): (&String, &Lagging<Option<Attributes>>)| {
            Some(RegisteredInstance { id: id.clone(), attributes: attributes.truth().clone()? })
        };
        instances.filter_map(view).collect()
    }

    /// How late readers, DNS among them, see from now on that an instance has come, changed or gone. Until then a new
    /// one is answered with `InstanceNotFound`, to `DeregisterInstance` too (aws-contract §3.1).
    pub fn set_read_lag(&mut self, lag: Lag) {
        self.read_lag = lag;
    }

    /// How long operations take from now on. In the first half of it they are SUBMITTED, then PENDING.
    pub fn set_operation_time(&mut self, time: Duration) {
        self.operations.time = time;
    }

    /// The next `times` operations end with status FAIL and this code, for example `ACCESS_DENIED`, without an effect.
    pub fn fail_operations(&mut self, code: &'static str, times: usize) {
        self.operations.failures.extend(std::iter::repeat_n(code, times));
    }

    /// Answers as Route 53 would for the namespaces' hosted zones.
    pub(crate) fn resolve(&mut self, name: &str) -> Resolution {
        self.settle();
        let in_zone = |zone: &str| name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
        let zones = self.namespaces.iter().filter(|(_, namespace)| in_zone(&namespace.name));
        let Some((id, namespace)) = zones.max_by_key(|(_, namespace)| namespace.name.len()) else {
            return Resolution::Foreign;
        };
        let (zone, soa_ttl) = (namespace.name.clone(), namespace.soa_ttl);
        if name == zone {
            return Resolution::NoData { zone, soa_ttl };
        }
        let found = self.services.values_mut().find(|service| {
            service.namespace == *id
                && name.strip_suffix(&zone).and_then(|rest| rest.strip_suffix('.')) == Some(&service.name)
        });
        // Without an instance there is no record set, and so no such name.
        let (addresses, ttl) = found.map_or((Vec::new(), 0), Service::addresses);
        if addresses.is_empty() {
            return Resolution::NoSuchName { zone, soa_ttl };
        }
        Resolution::Addresses { addresses, ttl, zone, soa_ttl }
    }

    fn add_service(&mut self, namespace: &str, name: &str, ttl: u32) -> Result<String, ApiError> {
        if !self.namespaces.contains_key(namespace) {
            return Err(ApiError::new("NamespaceNotFound", format!("namespace {namespace} does not exist")));
        }
        if self.find_service(namespace, name).is_some() {
            return Err(ApiError::new("ServiceAlreadyExists", format!("service {name} exists already")));
        }
        let id = new_id("srv");
        let service =
            Service { name: name.to_owned(), namespace: namespace.to_owned(), ttl, instances: BTreeMap::new() };
        self.services.insert(id.clone(), service);
        Ok(id)
    }

    fn find_service(&self, namespace: &str, name: &str) -> Option<&str> {
        let same = |(_, service): &(&String, &Service)| service.namespace == namespace && service.name == name;
        self.services.iter().find(same).map(|(id, _)| id.as_str())
    }

    fn set(&mut self, service: &str, instance: &str, attributes: Option<Attributes>) {
        let service = self.services.get_mut(service).expect("the service exists: one that is worked on is not deleted");
        let entry = service.instances.entry(instance.to_owned()).or_insert_with(|| Lagging::new(None));
        entry.set(attributes, self.read_lag);
    }
}

impl Service {
    fn addresses(&mut self) -> (Vec<Ipv4Addr>, u32) {
        let seen = self.instances.values_mut().filter_map(|instance| instance.read().as_ref());
        let addresses = seen.filter_map(|attributes| attributes.get("AWS_INSTANCE_IPV4")?.parse().ok());
        (addresses.take(MOST_ANSWERS).collect(), self.ttl)
    }

    /// Whether an instance exists, whoever sees it.
    fn is_empty(&self) -> bool {
        self.instances.values().all(|instance| instance.truth().is_none())
    }
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}-{}", &Uuid::new_v4().simple().to_string()[..16])
}
