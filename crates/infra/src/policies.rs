//! Every statement of every policy in a deployment's templates, with its reason.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::cfn::{Remark, Resource};
use crate::lower;
use crate::model::{Deployment, Program};

/// The policies of a deployment. Displayed they are a text for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    resources: Vec<Holder>,
}

/// A resource with policies.
#[derive(Clone, Debug, PartialEq)]
struct Holder {
    stack: String,
    id: String,
    kind: &'static str,
    description: Option<String>,
    parts: Vec<Part>,
}

/// A statement, or a policy of AWS's.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Where it stands: the name of a policy in a role, otherwise the property.
    policy: String,
    json: Value,
    /// Each of an action, or of all of it. Empty only if there is a bug in this crate.
    reasons: Vec<(Option<&'static str>, String)>,
}

impl Policies {
    /// The policies in the templates of a deployment.
    pub fn new(deployment: &Deployment) -> Self {
        // The tags of images are in no policy.
        let built = Program::ALL.into_iter().map(|program| (program, String::new())).collect();
        let stacks = lower::stack_names(deployment).into_iter().zip(lower::stacks(deployment, &built));
        let mut resources = Vec::new();
        for (stack, template) in stacks {
            for (id, resource) in template.resources() {
                let parts = parts(resource);
                if !parts.is_empty() {
                    let description = resource.properties()["Description"].as_str().map(str::to_owned);
                    let (stack, id, kind) = (stack.clone(), id.to_string(), resource.kind());
                    resources.push(Holder { stack, id, kind, description, parts });
                }
            }
        }
        Self { resources }
    }

    /// For programs: a list with an entry for each statement, values as they stand in the template.
    pub fn to_json(&self) -> Value {
        let entries = self.resources.iter().flat_map(|holder| {
            holder.parts.iter().map(|part| {
                let reasons = part.reasons.iter().map(|(action, reason)| json!({"action": action, "reason": reason}));
                json!({
                    "stack": holder.stack,
                    "resource": holder.id,
                    "type": holder.kind,
                    "policy": part.policy,
                    "statement": part.json,
                    "reasons": reasons.collect::<Vec<_>>(),
                })
            })
        });
        entries.collect()
    }
}

fn parts(resource: &Resource) -> Vec<Part> {
    let mut found = Vec::new();
    let Value::Object(properties) = resource.properties() else { return found };
    for (name, property) in properties {
        match (name.as_str(), property) {
            ("Policies", Value::Array(policies)) => {
                for policy in policies {
                    collect(&mut found, policy["PolicyName"].as_str().unwrap_or_default(), policy, resource);
                }
            }
            ("ManagedPolicyArns", Value::Array(arns)) => {
                found.extend(arns.iter().map(|arn| Part::new("managed", arn, resource.remarks())));
            }
            (name, property) => collect(&mut found, name, property, resource),
        }
    }
    // Who may have it comes first.
    found.sort_by_key(|part| part.policy != TRUST);
    found
}

const TRUST: &str = "AssumeRolePolicyDocument";

/// Finds what says `Effect`, however deep.
fn collect(found: &mut Vec<Part>, policy: &str, value: &Value, resource: &Resource) {
    match value {
        Value::Object(members) if members.contains_key("Effect") => {
            found.push(Part::new(policy, value, resource.remarks()));
        }
        Value::Object(members) => members.values().for_each(|member| collect(found, policy, member, resource)),
        Value::Array(items) => items.iter().for_each(|item| collect(found, policy, item, resource)),
        _ => {}
    }
}

impl Part {
    fn new(policy: &str, json: &Value, remarks: &[Remark]) -> Self {
        let own = remarks.iter().filter(|remark| remark.on == *json);
        let reasons = own.map(|remark| (remark.of, remark.says.clone())).collect();
        Self { policy: policy.to_owned(), json: json.clone(), reasons }
    }

    fn show(&self, text: &mut String) {
        let statement = &self.json;
        if statement["Effect"].is_null() {
            let _ = writeln!(text, "  Policy of AWS's  {}", shown(statement));
        } else {
            let effect = statement["Effect"].as_str().unwrap_or_default();
            let name = match (self.policy.as_str(), statement["Sid"].as_str()) {
                (TRUST, _) => "to assume the role",
                (_, sid) => sid.unwrap_or_default(),
            };
            let _ = writeln!(text, "  {effect} {name}");
        }
        let mut rows: Vec<(&str, String)> = Vec::new();
        rows.extend(list(&statement["Principal"]).into_iter().map(|who| ("who", who)));
        let actions = list(&statement["Action"]);
        let width = actions.iter().map(|action| action.chars().count()).max().unwrap_or(0);
        rows.extend(actions.into_iter().map(|action| {
            let reason = self.reasons.iter().find(|(of, _)| *of == Some(action.as_str())).map(|(_, reason)| reason);
            ("may", reason.map_or_else(|| action.clone(), |reason| format!("{action:width$}  {reason}")))
        }));
        if statement["Effect"] == "Deny" {
            rows.iter_mut().filter(|(label, _)| *label == "may").for_each(|(label, _)| *label = "not");
        }
        rows.extend(list(&statement["Resource"]).into_iter().map(|resource| ("on", resource)));
        rows.extend(conditions(&statement["Condition"]).into_iter().map(|condition| ("if", condition)));
        rows.extend(self.reasons.iter().filter(|(of, _)| of.is_none()).map(|(_, reason)| ("why", reason.clone())));
        let mut before = "";
        for (label, value) in rows {
            let _ = writeln!(text, "     {:4} {value}", if label == before { "" } else { label });
            before = label;
        }
    }
}

/// One or several values as texts; of principals those of every kind.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Object(kinds) if !kinds.keys().any(|key| key == "Ref" || key.starts_with("Fn::")) => {
            kinds.values().flat_map(list).collect()
        }
        value => vec![shown(value)],
    }
}

fn conditions(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (operator, keys) in value.as_object().into_iter().flatten() {
        let keys = keys.as_object().into_iter().flatten();
        found.extend(keys.map(|(key, is)| format!("{key} {operator} {}", list(is).join(", "))));
    }
    found
}

/// A value of a template as a text; what CloudFormation puts in is in angle brackets.
fn shown(value: &Value) -> String {
    let function = value.as_object().and_then(|members| members.iter().next());
    match (value, function.map(|(name, argument)| (name.as_str(), argument))) {
        (Value::String(text), _) => text.clone(),
        (_, Some(("Ref" | "Fn::ImportValue", Value::String(name)))) => format!("<{name}>"),
        (_, Some(("Fn::GetAtt", Value::Array(path)))) => {
            format!("<{}>", path.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("."))
        }
        (_, Some(("Fn::Sub", Value::String(text)))) => substituted(text, &Value::Null),
        (_, Some(("Fn::Sub", Value::Array(parts)))) => match parts.as_slice() {
            [Value::String(text), variables] => substituted(text, variables),
            _ => value.to_string(),
        },
        (value, _) => value.to_string(),
    }
}

fn substituted(text: &str, variables: &Value) -> String {
    let mut parts = text.split("${");
    let mut shown_text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let value = variables.get(name).map_or_else(|| format!("<{name}>"), shown);
        let _ = write!(shown_text, "{value}{rest}");
    }
    shown_text
}

impl Holder {
    fn show(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            part.show(&mut text);
        }
        text
    }

    /// The node that it belongs to, as its id begins.
    fn node(&self) -> Option<&str> {
        let digits = self.id.strip_prefix("Node").or_else(|| self.id.strip_prefix("Replica"))?;
        let number = digits.chars().take_while(char::is_ascii_digit).count();
        (number > 0).then(|| &self.id[..self.id.len() - digits.len() + number])
    }
}

impl fmt::Display for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nodes differ in what is their own: what says the same of several is shown once.
        let mut shown: Vec<(&Holder, Vec<&str>, String)> = Vec::new();
        let mut by_text: BTreeMap<(String, String), usize> = BTreeMap::new();
        for holder in &self.resources {
            let text = holder.show();
            let alike = match holder.node() {
                Some(node) => (holder.id.replacen(node, "{node}", 1), text.replace(node, "{node}")),
                None => (holder.id.clone(), text.clone()),
            };
            if let Some(index) = by_text.get(&alike) {
                shown[*index].1.push(&holder.id);
            } else {
                by_text.insert(alike, shown.len());
                shown.push((holder, Vec::new(), text));
            }
        }
        let mut stack = "";
        for (holder, others, text) in shown {
            if holder.stack != stack {
                writeln!(f, "{}{}", if stack.is_empty() { "" } else { "\n" }, holder.stack)?;
                stack = &holder.stack;
            }
            write!(f, "\n{}  {}", holder.id, holder.kind)?;
            if let Some(description) = &holder.description {
                write!(f, "  {description}")?;
            }
            writeln!(f)?;
            if !others.is_empty() {
                writeln!(f, "  and the same, each with what is its own: {}", others.join(", "))?;
            }
            f.write_str(&text)?;
        }
        Ok(())
    }
}
