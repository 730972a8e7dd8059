//! What a role of a template allows, once its references have become values.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::aws::Asked;

/// A statement with values instead of references.
pub(crate) struct Statement {
    pub(crate) sid: String,
    pub(crate) actions: Vec<String>,
    resources: Vec<String>,
    /// The values one of which a condition key must have.
    conditions: BTreeMap<String, Vec<String>>,
}

impl Statement {
    /// Whether it allows what is asked. A condition on what the call does not set is not met, as in IAM.
    pub(crate) fn allows(&self, asked: &Asked) -> bool {
        let is_met = |(key, values): (&String, &Vec<String>)| {
            asked.context.iter().any(|(set, value)| set == key && values.contains(value))
        };
        self.actions.contains(&asked.action)
            && self.resources.iter().any(|resource| matches(resource, &asked.resource))
            && self.conditions.iter().all(is_met)
    }
}

/// The statements of a role's policies.
///
/// # Panics
///
/// If they use anything of IAM that is not known here: another effect, another operator, `NotAction` and the like.
pub(crate) fn statements(role: &Value, values: &dyn Fn(&str) -> String) -> Vec<Statement> {
    let policies = role["Properties"]["Policies"].as_array().expect("a role has policies of its own");
    assert!(role["Properties"]["ManagedPolicyArns"].is_null(), "no policy of somebody else");
    let statements = policies.iter().flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
    statements.map(|statement| read(statement, values)).collect()
}

fn read(statement: &Value, values: &dyn Fn(&str) -> String) -> Statement {
    let members = statement.as_object().unwrap();
    let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
    assert!(members.keys().all(|key| known.contains(&key.as_str())), "{statement}");
    assert_eq!(statement["Effect"], "Allow", "{statement}");
    let mut conditions = BTreeMap::new();
    for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
        assert_eq!(operator, "StringEquals", "{statement}");
        conditions.extend(keys.as_object().unwrap().iter().map(|(key, value)| (key.clone(), texts(value, values))));
    }
    let actions = texts(&statement["Action"], values);
    assert!(actions.iter().all(|action| !action.contains('*')), "an action is named in full: {statement}");
    let sid = statement["Sid"].as_str().expect("a statement has a name").to_owned();
    Statement { sid, actions, resources: texts(&statement["Resource"], values), conditions }
}

fn texts(value: &Value, values: &dyn Fn(&str) -> String) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| text(item, values)).collect(),
        other => vec![text(other, values)],
    }
}

/// A text of CloudFormation. `values` knows references as `Id`, attributes as `Id.Attribute` and imports by their names.
fn text(value: &Value, values: &dyn Fn(&str) -> String) -> String {
    if let Value::String(text) = value {
        return text.clone();
    }
    let (function, argument) = value.as_object().and_then(|members| members.iter().next()).expect("a function");
    match (function.as_str(), argument) {
        ("Ref", Value::String(id)) => values(id),
        ("Fn::ImportValue", name) => values(&text(name, values)),
        ("Fn::GetAtt", Value::Array(parts)) => {
            values(&parts.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join("."))
        }
        ("Fn::Sub", Value::String(pattern)) => substitute(pattern, values),
        ("Fn::Sub", Value::Array(parts)) => {
            let own = |name: &str| match &parts[1][name] {
                Value::Null => values(name),
                value => text(value, values),
            };
            substitute(parts[0].as_str().unwrap(), &own)
        }
        _ => panic!("{value}"),
    }
}

fn substitute(pattern: &str, values: &dyn Fn(&str) -> String) -> String {
    let mut parts = pattern.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("a variable ends");
        text += &(values(name) + rest);
    }
    text
}

/// IAM's wildcards: `*` is any text, `?` one character.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches(&pattern[1..], text)
                || text.chars().next().is_some_and(|first| matches(pattern, &text[first.len_utf8()..]))
        }
        (Some('?'), Some(second)) => matches(&pattern[1..], &text[second.len_utf8()..]),
        (Some(first), Some(second)) if first == second => {
            matches(&pattern[first.len_utf8()..], &text[second.len_utf8()..])
        }
        _ => false,
    }
}

#[test]
fn statements_allow_what_iam_would() {
    let role = serde_json::json!({"Properties": {"Policies": [{"PolicyDocument": {"Statement": [
        {"Sid": "A", "Effect": "Allow", "Action": ["s:Get"], "Resource": [{"Fn::ImportValue": "es:Arn"}, "arn:x-??"]},
        {"Sid": "B", "Effect": "Allow", "Action": "s:List", "Resource": "*", "Condition": {"StringEquals": {"s:Arn": "y"}}},
        {"Sid": "C", "Effect": "Allow", "Action": "s:Put",
         "Resource": {"Fn::Sub": ["arn:${AWS::Partition}:task/${Cluster}/*", {"Cluster": {"Ref": "Cluster"}}]}},
    ]}}]}});
    let values = |name: &str| format!("<{name}>");
    let statements = statements(&role, &values);
    let allowed = |action: &str, resource: &str, context: &[(&'static str, &str)]| {
        let context = context.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let asked = Asked { action: action.to_owned(), resource: resource.to_owned(), context };
        statements.iter().any(|statement| statement.allows(&asked))
    };
    assert!(allowed("s:Get", "<es:Arn>", &[]));
    assert!(allowed("s:Get", "arn:x-ab", &[]));
    assert!(!allowed("s:Get", "arn:x-abc", &[]), "one character is one character");
    assert!(!allowed("s:Get", "*", &[]), "an action without resources is not granted by one on a resource");
    assert!(!allowed("s:Put", "<es:Arn>", &[]));
    assert!(allowed("s:List", "*", &[("s:Arn", "y")]));
    assert!(!allowed("s:List", "*", &[("s:Arn", "z")]));
    assert!(!allowed("s:List", "*", &[]));
    assert!(allowed("s:Put", "arn:<AWS::Partition>:task/<Cluster>/123", &[]));
    assert!(!allowed("s:Put", "arn:<AWS::Partition>:task/other/123", &[]));
}
