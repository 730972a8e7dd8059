//! What of the changes must not happen by accident. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::cause;
use super::compare::{self, Change, Property, What};
use super::known::{Guarded, known};
use super::show::{shown, value};
use super::snapshot::Snapshot;

/// A change that a person has to accept by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The logical id, or the key of the configuration, by which it is accepted.
    pub name: String,
    /// The stack, if it is about a resource.
    pub stack: String,
    /// What would happen to what, from which value to which.
    pub what: String,
    /// What would be lost.
    pub loss: String,
    /// What to do instead.
    pub instead: String,
    /// The keys of the configuration that cause it, the likely ones if they are not known; empty if not even these are.
    pub keys: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.stack.is_empty() {
            write!(f, "{}: ", self.stack)?;
        }
        write!(f, "{}", self.what)?;
        if !self.keys.is_empty() {
            write!(f, ", because of {}", self.keys.join(", "))?;
        }
        write!(f, ": {}; {}", self.loss, self.instead)
    }
}

const RETAINED: Guarded = Guarded {
    stays: true,
    loss: "it is kept for what is in it, and a new one has nothing of that",
    instead: "set it back",
};
const OTHER_TYPE: Guarded = Guarded {
    stays: true,
    loss: "CloudFormation refuses another type under one logical id",
    instead: "give the new resource an id of its own",
};
const PASSWORD: Guarded = Guarded {
    stays: true,
    loss: "CloudFormation generates a new password on any change of this text, and the database keeps the old one",
    instead: "set it back; passwords are replaced by bootstrap",
};
const MOVED: Guarded = Guarded {
    stays: true,
    loss: "the node's task moves to another zone, where its file system may have no mount target and another node may be",
    instead: "set it back; list subnets in the order in which they stood, and new ones behind them",
};
const RENAMED: Guarded = Guarded {
    stays: true,
    loss: "the stacks of the old name stay as they are, and those of the new one begin with an empty database and other secrets",
    instead: "set `name` back; a second deployment is a configuration of its own",
};

/// All that is refused, in the order of the changes.
pub(super) fn refusals(old: &Snapshot, new: &Snapshot, changes: &[Change]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if old.deployment != new.deployment {
        refusals.push(Refusal {
            name: "name".to_owned(),
            stack: String::new(),
            what: format!("the deployment would be another one, {} → {}", old.deployment, new.deployment),
            loss: RENAMED.loss.to_owned(),
            instead: RENAMED.instead.to_owned(),
            keys: vec!["name".to_owned()],
        });
    }
    refusals.extend(changes.iter().filter_map(refusal));
    refusals
}

fn refusal(change: &Change) -> Option<Refusal> {
    let guarded = known(&change.kind).and_then(|known| known.guarded).or(change.retained.then_some(RETAINED));
    let is_of_type = |path: &str| change.properties.iter().any(|property| property.path == path);
    let (guarded, verb, about): (_, _, Vec<&Property>) = match change.what {
        What::Removed => {
            let guarded = guarded.filter(|guarded| guarded.stays || change.retained)?;
            (guarded, "would be taken away", Vec::new())
        }
        What::Replaced => {
            let guarded = if is_of_type("Type") { OTHER_TYPE } else { guarded.or_else(|| moved(change))? };
            let about = change.properties.iter().filter(|property| property.replaces);
            (guarded, "would be replaced", about.collect())
        }
        What::PerhapsReplaced => {
            let guarded = guarded.filter(|_| change.retained)?;
            (guarded, "would be changed, and perhaps replaced", change.properties.iter().collect())
        }
        What::Updated => {
            let generated = |property: &&Property| property.path.starts_with("GenerateSecretString");
            let generated: Vec<_> = change.properties.iter().filter(generated).collect();
            if change.kind == "AWS::SecretsManager::Secret" && !generated.is_empty() {
                (PASSWORD, "would get another value", generated)
            } else {
                let subnets = change.properties.iter().filter(|property| is_subnets(property));
                (moved(change)?, "would run elsewhere", subnets.collect())
            }
        }
        What::Added => return None,
    };
    let about: Vec<_> = [verb.to_owned()].into_iter().chain(about.into_iter().map(shown)).collect();
    Some(Refusal {
        name: change.id.clone(),
        stack: change.stack.clone(),
        what: format!("{} ({}) {}", change.id, change.kind, about.join(", ")),
        loss: guarded.loss.to_owned(),
        instead: guarded.instead.to_owned(),
        keys: cause::likely(change),
    })
}

fn is_subnets(property: &Property) -> bool {
    property.path == "NetworkConfiguration.AwsvpcConfiguration.Subnets"
}

/// Whether a service loses a subnet in which its task may be.
fn moved(change: &Change) -> Option<Guarded> {
    let property = change.properties.iter().find(|property| is_subnets(property))?;
    let set = |value: &Option<Value>| -> BTreeSet<String> {
        value.iter().flat_map(|value| value.as_array().into_iter().flatten()).map(value_text).collect()
    };
    let is_service = change.kind == "AWS::ECS::Service";
    (is_service && !set(&property.old).is_subset(&set(&property.new))).then_some(MOVED)
}

fn value_text(item: &Value) -> String {
    item.to_string()
}

/// What is allowed and yet should be known.
pub(super) fn notes(old: &Snapshot, new: &Snapshot, changes: &[Change]) -> Vec<String> {
    let mut notes = Vec::new();
    for stack in old.stacks.iter().filter(|stack| new.template(&stack.name).is_none()) {
        notes.push(format!(
            "{} is no longer among the stacks; CloudFormation leaves it, with everything in it, until somebody deletes it",
            stack.name
        ));
    }
    for change in changes {
        let (stack, id, kind) = (&change.stack, &change.id, &change.kind);
        if change.what == What::PerhapsReplaced && !change.retained {
            notes.push(format!("{stack}: whether {id} ({kind}) is replaced is not known"));
        }
        let policy = change.properties.iter().find(|property| property.path == "DeletionPolicy");
        if change.retained && policy.is_some_and(|policy| policy.new.is_none()) {
            notes.push(format!("{stack}: {id} ({kind}) is no longer kept when its stack is deleted"));
        }
    }
    for withdrawn in compare::withdrawn(old, new, changes) {
        notes.push(format!(
            "{}: CloudFormation does not change or take away the export {} while {} imports it; deploy that first, or replace \
             the import there by its value",
            withdrawn.stack,
            withdrawn.name,
            withdrawn.importers.join(" and ")
        ));
    }
    if let (Some(from), Some(to)) = (line(old), line(new))
        && from != to
    {
        notes.push(format!("the server line changes, {from} → {to}: make a recovery point before"));
    }
    notes
}

/// The server line, as the first task tells certgen.
pub(super) fn line(snapshot: &Snapshot) -> Option<String> {
    let resources = snapshot.stacks.iter().filter_map(|stack| stack.template["Resources"].as_object());
    let mut containers = resources
        .flat_map(|resources| resources.values())
        .flat_map(|resource| resource["Properties"]["ContainerDefinitions"].as_array().into_iter().flatten());
    containers.find_map(|container| {
        let variables = container["Environment"].as_array()?;
        let line = variables.iter().find(|variable| variable["Name"] == "CERTGEN_SERVER_LINE")?;
        Some(value(&line["Value"]).trim_matches('"').to_owned())
    })
}
