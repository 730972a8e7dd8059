//! Statements of IAM policies. There is none without its reason, which stands beside the template and never in it.

use serde_json::{Value, json};

use super::privileges::Grant;
use crate::cfn::{Remark, Resource};

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    json: Value,
    reasons: Vec<(Option<&'static str>, String)>,
}

impl Statement {
    /// Actions that a role may do.
    pub(super) fn allow(sid: &str, actions: &[&str], resource: &Value, reason: impl Into<String>) -> Self {
        let json = json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource});
        Self::from_json(json, reason)
    }

    /// Actions that a role may do, each with its own reason; `on` says what the resource is.
    pub(super) fn grant(sid: &str, grants: &[Grant], resource: &Value, on: String) -> Self {
        let actions: Vec<_> = grants.iter().map(|grant| grant.action).collect();
        let reason = |grant: &Grant| (Some(grant.action), format!("{}: {}", grant.caller, grant.reason));
        let reasons = grants.iter().map(reason).chain([(None, on)]).collect();
        Self { reasons, ..Self::allow(sid, &actions, resource, "") }
    }

    /// Who may assume a role: one AWS service, on behalf of this account alone.
    pub(super) fn trust(service: &str, reason: &str) -> Self {
        let json = json!({
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            },
        });
        Self::from_json(json, reason)
    }

    /// Any other.
    pub(super) fn from_json(json: Value, reason: impl Into<String>) -> Self {
        Self { json, reasons: vec![(None, reason.into())] }
    }

    /// Adds a condition.
    pub(super) fn on_condition(mut self, operator: &str, key: &str, is: &Value) -> Self {
        self.json["Condition"][operator][key] = is.clone();
        self
    }

    /// Adds a condition that is met when a key is one of the values.
    pub(super) fn when(self, key: &str, is: &Value) -> Self {
        self.on_condition("StringEquals", key, is)
    }

    fn remarks(&self) -> impl Iterator<Item = Remark> {
        let remark =
            |(of, says): &(Option<&'static str>, String)| Remark { on: self.json.clone(), of: *of, says: says.clone() };
        self.reasons.iter().map(remark)
    }
}

/// A policy of such statements.
pub(super) fn document(statements: &[Statement]) -> Value {
    let statements: Vec<_> = statements.iter().map(|statement| &statement.json).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// A policy inside of a role.
pub(super) fn policy(name: &str, statements: &[Statement]) -> Value {
    json!({"PolicyName": name, "PolicyDocument": document(statements)})
}

/// The resource with the reasons of statements in it.
pub(super) fn because<'a>(resource: Resource, statements: impl IntoIterator<Item = &'a Statement>) -> Resource {
    statements.into_iter().flat_map(Statement::remarks).fold(resource, Resource::remark)
}
