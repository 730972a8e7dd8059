//! Changes as text and as JSON, without what nobody may read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::compare::{Change, Property, What};
use super::{Diff, Refusal};

/// Longer values are cut: what differs has been taken apart before, as far as it goes.
const MOST_CHARACTERS: usize = 200;

/// Whether what stands under a name is a secret itself. Templates of infra hold none; those that others put beside may.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "secretstring" || ["password", "passphrase", "token", "privatekey"].iter().any(|end| name.ends_with(end))
}

/// A value without secrets in it.
fn open(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(open).collect(),
        Value::Object(members) => {
            let named = members.get("Name").and_then(Value::as_str).is_some_and(is_secret);
            let member = |(key, member): (&String, &Value)| {
                let hidden = is_secret(key) || (named && key == "Value");
                (key.clone(), if hidden { json!("…") } else { open(member) })
            };
            members.iter().map(member).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Of a property at this path.
fn open_at(path: &str, value: &Value) -> Value {
    let is_reference = path.ends_with(".ValueFrom");
    let hidden = path.split(['.', '[', ']']).any(is_secret) && !is_reference;
    if hidden { json!("…") } else { open(value) }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MOST_CHARACTERS {
        return text;
    }
    text.chars().take(MOST_CHARACTERS).chain(['…']).collect()
}

/// `KmsKeyId "old" → "new"`.
pub(super) fn shown(property: &Property) -> String {
    if let Some(because) = &property.because {
        return format!("{} is that of the new {because}", property.path);
    }
    let text =
        |side: &Option<Value>| side.as_ref().map_or("nothing".to_owned(), |found| cut(&open_at(&property.path, found)));
    format!("{} {} → {}", property.path, text(&property.old), text(&property.new))
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Updated => "updated",
            Self::Replaced => "replaced",
            Self::PerhapsReplaced => "perhaps replaced",
        }
    }
}

/// The changes, grouped by stack.
pub(super) fn text(diff: &Diff) -> String {
    let mut text = String::new();
    let mut stack = None;
    for change in &diff.changes {
        if stack != Some(&change.stack) {
            let gap = if stack.is_some() { "\n" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{gap}{}", change.stack);
            stack = Some(&change.stack);
        }
        let _ = writeln!(text, "  {} {} ({})", change.what.as_str(), change.id, change.kind);
        for property in &change.properties {
            let mark = if property.replaces { " (replaces)" } else { "" };
            let _ = writeln!(text, "    {}{mark}", shown(property));
        }
    }
    text
}

/// The same for machines, with what is refused and noted.
pub(super) fn json(diff: &Diff) -> Value {
    let property = |property: &Property| {
        let side = |side: &Option<Value>| side.as_ref().map(|value| open_at(&property.path, value));
        json!({
            "path": property.path,
            "old": side(&property.old),
            "new": side(&property.new),
            "replaces": property.replaces,
            "because": property.because,
        })
    };
    let change = |change: &Change| {
        json!({
            "stack": change.stack,
            "id": change.id,
            "type": change.kind,
            "change": change.what.as_str(),
            "retained": change.retained,
            "properties": change.properties.iter().map(property).collect::<Vec<_>>(),
        })
    };
    let refusal = |refusal: &Refusal| {
        json!({
            "name": refusal.name,
            "stack": refusal.stack,
            "what": refusal.what,
            "loss": refusal.loss,
            "instead": refusal.instead,
            "keys": refusal.keys,
        })
    };
    json!({
        "changes": diff.changes.iter().map(change).collect::<Vec<_>>(),
        "refused": diff.refused.iter().map(refusal).collect::<Vec<_>>(),
        "notes": diff.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_wherever_it_stands() {
        let secret = "hunter2";
        for (path, value) in [
            ("SecretString", json!(secret)),
            ("Environment[DB_PASSWORD].Value", json!(secret)),
            ("Environment[DB_PASSWORD]", json!({"Name": "DB_PASSWORD", "Value": secret})),
            ("Environment", json!([{"Name": "API_TOKEN", "Value": secret}])),
            ("Thing", json!({"Inner": [{"MasterUserPassword": secret, "SecretString": {"a": secret}}]})),
        ] {
            let (old, new) = (Some(value.clone()), Some(value));
            let property = Property { path: path.to_owned(), old, new, replaces: true, because: None };
            let change = Change {
                stack: "S".to_owned(),
                id: "A".to_owned(),
                kind: "T".to_owned(),
                what: What::Replaced,
                properties: vec![property.clone()],
                retained: true,
            };
            let diff = Diff { changes: vec![change], refused: Vec::new(), notes: Vec::new() };
            for shown in [text(&diff), json(&diff).to_string(), shown(&property)] {
                assert!(!shown.contains(secret), "{path}: {shown}");
            }
        }
    }

    #[test]
    fn what_makes_a_password_is_no_secret() {
        let path = "GenerateSecretString.PasswordLength".to_owned();
        let property = Property { path, old: Some(json!(40)), new: Some(json!(41)), replaces: false, because: None };
        assert_eq!(shown(&property), "GenerateSecretString.PasswordLength 40 → 41");
        let path = "ContainerDefinitions[a].Secrets[EVENTSTORE_DEFAULT_ADMIN_PASSWORD].ValueFrom".to_owned();
        let property = Property { path, old: None, new: Some(json!("arn")), replaces: false, because: None };
        assert!(shown(&property).ends_with("nothing → \"arn\""));
    }
}
