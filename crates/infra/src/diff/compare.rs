//! Two assemblies, resource by resource. Pure, and knows nothing of what is dear: `judge` does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::known::known;
use super::snapshot::{Snapshot, Stack};
use crate::cfn;

/// What happens to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is made.
    Added,
    /// It goes, or stays behind if it is retained.
    Removed,
    /// It is changed in place.
    Updated,
    /// A new one is made in its place.
    Replaced,
    /// It is changed, and whether in place is not known of its type.
    PerhapsReplaced,
}

/// A resource that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The stack.
    pub stack: String,
    /// The logical id; the old one if it has changed.
    pub id: String,
    /// The type, for example `AWS::EFS::FileSystem`; the old one if it has changed.
    pub kind: String,
    /// What happens to it.
    pub what: What,
    /// What of it differs; empty if it is made or goes.
    pub properties: Vec<Property>,
    /// Whether CloudFormation leaves it when it goes.
    pub retained: bool,
}

/// A part of a resource that is not as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Where it is: names and, in brackets, what tells the items of a list apart.
    pub path: String,
    /// What it was.
    pub old: Option<Value>,
    /// What it will be.
    pub new: Option<Value>,
    /// Whether a new resource is made for it.
    pub replaces: bool,
    /// The resource that this refers to, if it is the same text and yet another resource.
    pub because: Option<String>,
}

/// A value that a stack exports and that is another one or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withdrawn {
    pub(super) stack: String,
    pub(super) name: String,
    /// The stacks that imported it.
    pub(super) importers: Vec<String>,
}

/// Resources that are new under the same id, by stack and id.
type Renewed = BTreeSet<(String, String)>;

/// All changes, in the order of deployment and then of ids. A stack that is no longer there is left as it is, and so is no change.
pub(super) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    let nothing = Map::new();
    for Stack { name, template } in &new.stacks {
        let before = old.template(name).and_then(|template| template["Resources"].as_object());
        let after = template["Resources"].as_object();
        stack(name, before.unwrap_or(&nothing), after.unwrap_or(&nothing), &mut changes);
    }
    renew(new, &mut changes);
    changes
}

fn stack(name: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    let ids: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut renamed = renamed(old, new);
    for id in ids {
        let change = |what, resource: &Value, properties| Change {
            stack: name.to_owned(),
            id: id.clone(),
            kind: text(&resource["Type"]),
            what,
            properties,
            retained: is_retained(resource),
        };
        let found = match (old.get(id), new.get(id)) {
            (Some(old), Some(new)) if old != new => {
                let properties = properties(old, new);
                let what = if properties.iter().any(|property| property.replaces) {
                    What::Replaced
                } else if known(&text(&old["Type"])).is_none() && old["Properties"] != new["Properties"] {
                    What::PerhapsReplaced
                } else {
                    What::Updated
                };
                change(what, old, properties)
            }
            (Some(old), None) => match renamed.remove(id.as_str()) {
                Some(new) => {
                    let path = "logical id".to_owned();
                    let (old_id, new_id) = (Some(Value::from(id.as_str())), Some(Value::from(new)));
                    let property = Property { path, old: old_id, new: new_id, replaces: true, because: None };
                    change(What::Replaced, old, vec![property])
                }
                None => change(What::Removed, old, Vec::new()),
            },
            (None, Some(new)) => change(What::Added, new, Vec::new()),
            _ => continue,
        };
        changes.push(found);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_retained(resource: &Value) -> bool {
    let keeps = |policy: &Value| policy.as_str().is_some_and(|policy| policy.starts_with("Retain"));
    keeps(&resource["DeletionPolicy"]) || keeps(&resource["UpdateReplacePolicy"])
}

/// Resources that are the same under another id, by the old id: for CloudFormation they are others.
fn renamed<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> BTreeMap<&'a str, &'a str> {
    let mut added: Vec<_> = new.iter().filter(|(id, _)| !old.contains_key(*id)).collect();
    let mut renamed = BTreeMap::new();
    for (id, resource) in old.iter().filter(|(id, _)| !new.contains_key(*id)) {
        let same = |other: &Value| other["Type"] == resource["Type"] && other["Properties"] == resource["Properties"];
        if let Some(at) = added.iter().position(|(_, other)| same(other)) {
            renamed.insert(id.as_str(), added.remove(at).0.as_str());
        }
    }
    renamed
}

fn properties(old: &Value, new: &Value) -> Vec<Property> {
    let mut found = Vec::new();
    for part in ["Type", "DeletionPolicy", "UpdateReplacePolicy", "DependsOn"] {
        differences(part, old.get(part), new.get(part), &mut found);
    }
    if let Some(of_type) = found.iter_mut().find(|property| property.path == "Type") {
        of_type.replaces = true;
    }
    let known = known(&text(&old["Type"]));
    let create_only = known.map_or(&[][..], |known| known.create_only);
    let differing = |path: &&&str| at(&old["Properties"], path) != at(&new["Properties"], path);
    let replacing: Vec<_> = create_only.iter().filter(differing).map(|path| path.replace('/', ".")).collect();
    let nothing = Map::new();
    let old = old["Properties"].as_object().unwrap_or(&nothing);
    let new = new["Properties"].as_object().unwrap_or(&nothing);
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let begin = found.len();
        differences(name, old.get(name), new.get(name), &mut found);
        for property in &mut found[begin..] {
            property.replaces = replacing.iter().any(|path| overlap(path, &property.path));
        }
    }
    found
}

fn at<'a>(properties: &'a Value, path: &str) -> Option<&'a Value> {
    properties.pointer(&format!("/{path}"))
}

/// Whether one of two paths is the other or leads into it.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The leaves in which two values differ.
fn differences(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Property>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) if !is_function(old) && !is_function(new) => {
            for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                differences(&format!("{path}.{key}"), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old_items)), Some(Value::Array(new_items))) => match (named(old_items), named(new_items)) {
            (Some(old), Some(new)) if old.keys().chain(new.keys()).all(|key| !key.is_empty()) => {
                let begin = found.len();
                for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                    differences(&format!("{path}[{key}]"), old.get(key).copied(), new.get(key).copied(), found);
                }
                if found.len() == begin {
                    // Only their order.
                    leaf(path, Some(&Value::from(old_items.clone())), Some(&Value::from(new_items.clone())), found);
                }
            }
            _ => leaf(path, old, new, found),
        },
        (None, None) => {}
        _ => leaf(path, old, new, found),
    }
}

fn leaf(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Property>) {
    let path = path.to_owned();
    found.push(Property { path, old: old.cloned(), new: new.cloned(), replaces: false, because: None });
}

/// `{"Ref": …}` and the like are one value.
fn is_function(members: &Map<String, Value>) -> bool {
    members.len() == 1 && members.keys().all(|key| key == "Ref" || key.starts_with("Fn::"))
}

/// The items of a list by what tells them apart, if there is such.
fn named(items: &[Value]) -> Option<BTreeMap<String, &Value>> {
    for key in ["Name", "Key", "Sid", "ContainerName", "SourceVolume", "PolicyName", "RuleName"] {
        let named: BTreeMap<_, _> =
            items.iter().filter_map(|item| Some((item[key].as_str()?.to_owned(), item))).collect();
        if named.len() == items.len() {
            return Some(named);
        }
    }
    None
}

/// A property of which another value makes a new resource, and that refers to a new resource, has another value, whatever its
/// text: what stands on a new file system is new, and so on through exports, until nothing more is.
fn renew(new: &Snapshot, changes: &mut Vec<Change>) {
    let mut renewed: Renewed = changes
        .iter()
        .filter(|change| change.what == What::Replaced)
        .map(|change| (change.stack.clone(), change.id.clone()))
        .collect();
    loop {
        let mut found = false;
        for stack in &new.stacks {
            for (id, resource) in stack.template["Resources"].as_object().into_iter().flatten() {
                let kind = text(&resource["Type"]);
                let key = (stack.name.clone(), id.clone());
                let Some(known) = known(&kind).filter(|_| !renewed.contains(&key)) else { continue };
                let is_this = |change: &Change| change.stack == stack.name && change.id == *id;
                let known_change = changes.iter().position(is_this);
                if known_change.is_some_and(|at| changes[at].what == What::Added) {
                    continue;
                }
                let because = known.create_only.iter().find_map(|path| {
                    let value = at(&resource["Properties"], path)?;
                    let because = leads_to(new, &stack.name, value, &renewed)?;
                    Some((path.replace('/', "."), value.clone(), because))
                });
                let Some((path, value, because)) = because else { continue };
                let property = Property {
                    path,
                    old: Some(value.clone()),
                    new: Some(value),
                    replaces: true,
                    because: Some(because),
                };
                match known_change {
                    Some(at) => {
                        changes[at].what = What::Replaced;
                        changes[at].properties.push(property);
                    }
                    None => changes.push(Change {
                        stack: stack.name.clone(),
                        id: id.clone(),
                        kind,
                        what: What::Replaced,
                        properties: vec![property],
                        retained: is_retained(resource),
                    }),
                }
                renewed.insert(key);
                found = true;
            }
        }
        if !found {
            break;
        }
    }
    let position = |stack: &str| new.stacks.iter().position(|known| known.name == stack);
    changes.sort_by(|one, other| {
        (position(&one.stack), &one.stack, &one.id).cmp(&(position(&other.stack), &other.stack, &other.id))
    });
}

/// The first new resource that a value refers to, by way of exports too.
fn leads_to(snapshot: &Snapshot, stack: &str, value: &Value, renewed: &Renewed) -> Option<String> {
    let references = cfn::references(value);
    let direct = references.ids.into_iter().find(|id| renewed.contains(&(stack.to_owned(), id.clone())));
    direct.or_else(|| {
        references.imports.iter().find_map(|name| {
            let (stack, value) = snapshot.exported(name)?;
            let ids = cfn::references(value).ids;
            ids.into_iter().find(|id| renewed.contains(&(stack.to_owned(), id.clone())))
        })
    })
}

/// Exports that are gone or of another value, and that other stacks import as they were deployed: CloudFormation refuses these.
pub(super) fn withdrawn(old: &Snapshot, new: &Snapshot, changes: &[Change]) -> Vec<Withdrawn> {
    let renewed: Renewed = changes
        .iter()
        .filter(|change| change.what == What::Replaced)
        .map(|change| (change.stack.clone(), change.id.clone()))
        .collect();
    let imports: Vec<_> = old
        .stacks
        .iter()
        .map(|stack| (stack.name.as_str(), cfn::references(&stack.template["Resources"]).imports))
        .collect();
    let mut found = Vec::new();
    for stack in old.stacks.iter().filter(|stack| new.template(&stack.name).is_some()) {
        for output in stack.template["Outputs"].as_object().into_iter().flatten().map(|(_, output)| output) {
            let Some(name) = output["Export"]["Name"].as_str() else { continue };
            let stays = new.exported(name).is_some_and(|(now, value)| {
                now == stack.name && *value == output["Value"] && leads_to(new, now, value, &renewed).is_none()
            });
            let importers = imports.iter().filter(|(other, names)| *other != stack.name && names.contains(name));
            let importers: Vec<_> = importers.map(|(other, _)| (*other).to_owned()).collect();
            if !stays && !importers.is_empty() {
                found.push(Withdrawn { stack: stack.name.clone(), name: name.to_owned(), importers });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(old: &Value, new: &Value) -> Vec<String> {
        let mut found = Vec::new();
        differences("P", Some(old), Some(new), &mut found);
        found.into_iter().map(|property| property.path).collect()
    }

    #[test]
    fn a_difference_is_told_by_the_smallest_part_that_has_a_name() {
        let old = json!({"A": [{"Name": "x", "Value": 1}, {"Name": "y", "Value": 2}], "B": {"Ref": "C"}, "D": [1, 2]});
        let new = json!({"A": [{"Name": "y", "Value": 3}, {"Name": "z"}], "B": {"Ref": "E"}, "D": [1, 3]});
        assert_eq!(paths(&old, &new), ["P.A[x]", "P.A[y].Value", "P.A[z]", "P.B", "P.D"]);
        let turned = json!([{"Name": "y"}, {"Name": "x"}]);
        assert_eq!(paths(&json!([{"Name": "x"}, {"Name": "y"}]), &turned), ["P"], "an order is something too");
        assert_eq!(paths(&json!({"Ref": "A"}), &json!({"Fn::GetAtt": ["A", "Arn"]})), ["P"]);
        assert!(paths(&old, &old).is_empty());
    }

    #[test]
    fn paths_overlap_at_whole_names_only() {
        assert!(overlap("Root.Path", "Root") && overlap("Root", "Root.Path") && overlap("Volumes", "Volumes[a].B"));
        assert!(!overlap("Name", "Names") && !overlap("Root.Path", "Root.Info"));
    }
}
