//! What Cloud Map does in its own time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Attributes, CloudMap, Namespace};
use crate::aws::ApiError;

#[derive(Debug)]
pub(super) struct Operations {
    pub(super) time: Duration,
    /// The codes with which the next operations fail.
    pub(super) failures: VecDeque<&'static str>,
    by_id: BTreeMap<String, Operation>,
}

#[derive(Debug)]
pub(super) struct Operation {
    target: Target,
    creator_request_id: Option<String>,
    started: Instant,
    time: Duration,
    failure: Option<&'static str>,
    ended: bool,
}

/// What an operation works on, and what it does to it.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// `None` deregisters.
    Instance { service: String, instance: String, attributes: Option<Attributes> },
    /// `None` deletes.
    Namespace { id: String, create: Option<(String, u32)> },
}

impl Operations {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, failures: VecDeque::new(), by_id: BTreeMap::new() }
    }

    /// The operation that was started with this `CreatorRequestId`. A repeated request is not executed twice.
    pub(super) fn started_by(&self, creator_request_id: Option<&str>) -> Option<&str> {
        let creator_request_id = creator_request_id?;
        let same =
            |(_, operation): &(_, &Operation)| operation.creator_request_id.as_deref() == Some(creator_request_id);
        self.by_id.iter().find(same).map(|(id, _)| id.as_str())
    }

    /// Only one operation at a time may work on an instance.
    pub(super) fn refuse_second(&self, service: &str, instance: &str) -> Result<(), ApiError> {
        match self.by_id.iter().find(|(_, operation)| !operation.ended && operation.is_on(service, instance)) {
            None => Ok(()),
            Some((id, _)) => {
                let error = ApiError::new("DuplicateRequest", format!("an operation on {instance} is in progress"));
                Err(error.with("DuplicateOperationId", id))
            }
        }
    }

    /// Whether an instance of a service is still being worked on.
    pub(super) fn work_on(&self, of: &str) -> bool {
        let on = |target: &Target| matches!(target, Target::Instance { service, .. } if service == of);
        self.by_id.values().any(|operation| !operation.ended && on(&operation.target))
    }

    pub(super) fn start(&mut self, target: Target, creator_request_id: Option<&str>) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let operation = Operation {
            target,
            creator_request_id: creator_request_id.map(str::to_owned),
            started: Instant::now(),
            time: self.time,
            failure: self.failures.pop_front(),
            ended: false,
        };
        self.by_id.insert(id.clone(), operation);
        id
    }

    pub(super) fn describe(&self, id: &str) -> Result<Value, ApiError> {
        let found = self.by_id.get(id);
        let operation =
            found.ok_or_else(|| ApiError::new("OperationNotFound", format!("operation {id} does not exist")))?;
        let mut view = json!({
            "Id": id,
            "Type": operation.target.operation_type(),
            "Status": operation.status(),
            "Targets": operation.target.view(),
        });
        if let Some(code) = operation.failure.filter(|_| operation.ended) {
            view["ErrorCode"] = json!(code);
            view["ErrorMessage"] = json!("the test has it fail");
        }
        Ok(json!({"Operation": view}))
    }

    pub(super) fn list(&self) -> Vec<Value> {
        self.by_id.iter().map(|(id, operation)| json!({"Id": id, "Status": operation.status()})).collect()
    }

    /// The effects of the operations whose time has come.
    fn take_due(&mut self) -> Vec<Target> {
        let due = self.by_id.values_mut().filter(|operation| !operation.ended && operation.is_due());
        let effects = due.filter_map(|operation| {
            operation.ended = true;
            operation.failure.is_none().then(|| operation.target.clone())
        });
        effects.collect()
    }
}

impl Operation {
    fn is_on(&self, on_service: &str, on_instance: &str) -> bool {
        matches!(&self.target, Target::Instance { service, instance, .. } if service == on_service && instance == on_instance)
    }

    fn is_due(&self) -> bool {
        self.started.elapsed() >= self.time
    }

    fn status(&self) -> &'static str {
        match self.failure {
            _ if !self.ended && self.started.elapsed() < self.time / 2 => "SUBMITTED",
            _ if !self.ended => "PENDING",
            None => "SUCCESS",
            Some(_) => "FAIL",
        }
    }
}

impl Target {
    fn operation_type(&self) -> &'static str {
        match self {
            Target::Instance { attributes: Some(_), .. } => "REGISTER_INSTANCE",
            Target::Instance { attributes: None, .. } => "DEREGISTER_INSTANCE",
            Target::Namespace { create: Some(_), .. } => "CREATE_NAMESPACE",
            Target::Namespace { create: None, .. } => "DELETE_NAMESPACE",
        }
    }

    fn view(&self) -> Value {
        match self {
            Target::Instance { service, instance, .. } => json!({"SERVICE": service, "INSTANCE": instance}),
            Target::Namespace { id, .. } => json!({"NAMESPACE": id}),
        }
    }
}

impl CloudMap {
    /// Applies the operations whose time has come.
    pub(super) fn settle(&mut self) {
        for target in self.operations.take_due() {
            match target {
                Target::Instance { service, instance, attributes } => self.set(&service, &instance, attributes),
                Target::Namespace { id, create: Some((name, soa_ttl)) } => {
                    self.namespaces.insert(id, Namespace { name, soa_ttl });
                }
                Target::Namespace { id, create: None } => {
                    self.namespaces.remove(&id);
                }
            }
        }
    }
}
