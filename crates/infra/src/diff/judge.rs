//! What of the changes must not happen by accident. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::cause;
use super::compare::{self, Change, Property, What};
use super::known::{Guarded, known};
use super::show::shown;
use super::snapshot::Snapshot;
use crate::server::{Jump, jump};
use crate::values::ServerLine;

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
        let what = format!("the deployment would be another one, {} → {}", old.deployment, new.deployment);
        refusals.push(of_key("name", what, RENAMED.loss, RENAMED.instead));
    }
    refusals.extend(line(old, new));
    refusals.extend(voters(old, new));
    let grows = old.voters() == 1 && new.grows;
    refusals.extend(changes.iter().filter_map(|change| refusal(change, grows)));
    refusals
}

/// What is about the deployment as a whole, by the key that says it.
fn of_key(key: &str, what: String, loss: &str, instead: impl Into<String>) -> Refusal {
    Refusal {
        name: key.to_owned(),
        stack: String::new(),
        what,
        loss: loss.to_owned(),
        instead: instead.into(),
        keys: vec![key.to_owned()],
    }
}

/// Another number of nodes that vote. A single node may become a cluster, if the configuration says that it is to begin with
/// the majority that has its data.
fn voters(old: &Snapshot, new: &Snapshot) -> Option<Refusal> {
    let (from, to) = (old.voters(), new.voters());
    if from > 1 && new.grows && !old.has_waiting_node() {
        let what = format!("a cluster of {from} nodes would begin as if one had the data");
        let loss = "nodes that hold acknowledged writes would be stopped";
        return Some(of_key("cluster.grow_from", what, loss, "take `cluster.grow_from` out"));
    }
    let another_deployment =
        "set it back; another number of nodes is another deployment (`infra restore-plan --nodes`)";
    let (loss, instead) = match (from, to) {
        (from, to) if from == to || from == 0 || to == 0 => return None,
        (1, _) if new.grows => return None,
        (1, _) => (
            "new nodes with empty directories that find each other first are a majority, and node-1 throws away what they do not \
             have",
            "say `cluster.grow_from = 1`, which is read from a configuration only",
        ),
        (from, to) if from < to => (
            "new nodes with empty directories and one that lags can be a majority, without what was acknowledged last",
            another_deployment,
        ),
        _ => ("the nodes that stay may lack what was acknowledged last", another_deployment),
    };
    Some(of_key("cluster.nodes", format!("the number of nodes would change, {from} → {to}"), loss, instead))
}

/// The server lines, if they differ.
fn lines<'a>(old: &'a Snapshot, new: &'a Snapshot) -> Option<(&'a str, &'a str)> {
    let (from, to) = (old.line.as_deref()?, new.line.as_deref()?);
    (from != to).then_some((from, to))
}

/// Another server line is a decision (production-review row 56): said in the configuration, and between lines that were seen to
/// open each other's data.
fn line(old: &Snapshot, new: &Snapshot) -> Option<Refusal> {
    let (from, to) = lines(old, new)?;
    let jump = match (ServerLine::parse(from), ServerLine::parse(to)) {
        (Ok(from), Ok(to)) => jump(from, to, old.is_cluster() || new.is_cluster()),
        _ => Jump::Unseen,
    };
    let (loss, instead) = match jump.risk() {
        Some(risk) => (
            risk,
            "set `line` back; or make a recovery point with `backup.mode = \"stop\"`, name it in \
             `server.upgrade_recovery_point`, and then accept this"
                .to_owned(),
        ),
        None if new.upgrade_from.as_deref() == Some(from) => return None,
        None => (
            "it opens the data, and nothing says that this is meant",
            format!(
                "set `line` back, or say `server.upgrade_from = \"{from}\"`, which is read from a configuration only"
            ),
        ),
    };
    Some(of_key("server.line", format!("the server line would change, {from} → {to}"), loss, instead))
}

fn refusal(change: &Change, grows: bool) -> Option<Refusal> {
    let guarded = known(&change.kind).and_then(|known| known.guarded).or(change.retained.then_some(RETAINED));
    let is_of_type = |path: &str| change.properties.iter().any(|property| property.path == path);
    let (guarded, verb, about): (_, _, Vec<&Property>) = match change.what {
        What::Removed => {
            let guarded = guarded.filter(|guarded| guarded.stays || change.retained)?;
            (guarded, "would be taken away", Vec::new())
        }
        What::Replaced => {
            let guarded = if is_of_type("Type") { OTHER_TYPE } else { guarded.or_else(|| moved(change, grows))? };
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
                (moved(change, grows)?, "would run elsewhere", subnets.collect())
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

/// Whether a service loses a subnet in which its task may be. A single node that becomes a cluster keeps one of those that it had:
/// all of them have a mount target, and no other node is in it.
fn moved(change: &Change, grows: bool) -> Option<Guarded> {
    let property = change.properties.iter().find(|property| is_subnets(property))?;
    let is_service = change.kind == "AWS::ECS::Service";
    let (old, new) = (subnets(property.old.as_ref()), subnets(property.new.as_ref()));
    let keeps_one = grows && !new.is_empty() && new.is_subset(&old);
    (is_service && !old.is_subset(&new) && !keeps_one).then_some(MOVED)
}

fn subnets(value: Option<&Value>) -> BTreeSet<String> {
    value.into_iter().flat_map(|value| value.as_array().into_iter().flatten()).map(ToString::to_string).collect()
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
    if old.has_waiting_node() && !new.has_waiting_node() && old.voters() == new.voters() {
        notes.push(
            "nodes start that did not run: deploy this only if the one before is what runs, and all nodes that it has are registered"
                .to_owned(),
        );
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
    if let Some((from, to)) = lines(old, new)
        && line(old, new).is_none()
    {
        notes.push(format!(
            "another line opens the data, {from} → {to}, which was seen to work in both directions; make a recovery point before"
        ));
    }
    notes
}
