//! CloudFormation templates as data. Knows JSON and nothing of our product.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

/// The logical id of a resource. Renaming one replaces a live resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogicalId(String);

impl LogicalId {
    /// An id of letters and digits.
    ///
    /// # Panics
    ///
    /// If CloudFormation would refuse the id; ids are written in our source.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let good = !id.is_empty() && id.len() <= 255 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(good, "`{id}` is not a logical id");
        Self(id)
    }

    /// `{"Ref": …}`.
    pub fn reference(&self) -> Value {
        json!({"Ref": self.0})
    }

    /// `{"Fn::GetAtt": […]}`.
    pub fn attribute(&self, attribute: &str) -> Value {
        json!({"Fn::GetAtt": [self.0, attribute]})
    }
}

impl fmt::Display for LogicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text with `${…}` in it.
pub fn sub(text: impl Into<String>) -> Value {
    json!({"Fn::Sub": text.into()})
}

/// A value exported by another stack.
pub fn import(name: impl Into<String>) -> Value {
    json!({"Fn::ImportValue": name.into()})
}

/// A resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    kind: &'static str,
    properties: Value,
    depends_on: Vec<LogicalId>,
    retained: bool,
}

impl Resource {
    /// A resource of the given type that goes with its stack.
    pub fn new(kind: &'static str, properties: Value) -> Self {
        Self { kind, properties, depends_on: Vec::new(), retained: false }
    }

    /// Keeps the physical resource when the stack or the resource in it goes, except when its creation failed.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { retained: true, ..self }
    }

    /// Made after `other`, where no reference says so already.
    #[must_use]
    pub fn after(mut self, other: &LogicalId) -> Self {
        self.depends_on.push(other.clone());
        self
    }

    fn render(&self) -> Value {
        let mut resource = json!({"Type": self.kind, "Properties": self.properties});
        if !self.depends_on.is_empty() {
            resource["DependsOn"] = self.depends_on.iter().map(|id| json!(id.0)).collect();
        }
        if self.retained {
            resource["DeletionPolicy"] = json!("RetainExceptOnCreate");
            resource["UpdateReplacePolicy"] = json!("Retain");
        }
        resource
    }
}

/// A template under construction.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    description: String,
    resources: BTreeMap<LogicalId, Resource>,
    outputs: BTreeMap<LogicalId, Output>,
}

#[derive(Clone, Debug, PartialEq)]
struct Output {
    description: &'static str,
    value: Value,
    export: Option<String>,
}

/// A reference that leads nowhere, or a circle of them; a bug in whoever built the template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// No resource has this id.
    #[error("`{from}` refers to `{to}`, which does not exist")]
    Dangling {
        /// The resource or output that refers.
        from: String,
        /// The missing id.
        to: String,
    },
    /// Resources that wait for each other.
    #[error("`{0}` depends on itself through other resources")]
    Cycle(LogicalId),
}

impl Template {
    /// An empty template.
    pub fn new(description: impl Into<String>) -> Self {
        Self { description: description.into(), resources: BTreeMap::new(), outputs: BTreeMap::new() }
    }

    /// Adds a resource and gives its id back for references.
    ///
    /// # Panics
    ///
    /// If the id is taken; ids are written in our source.
    pub fn add(&mut self, id: impl Into<String>, resource: Resource) -> LogicalId {
        let id = LogicalId::new(id);
        let replaced = self.resources.insert(id.clone(), resource);
        assert!(replaced.is_none(), "two resources `{id}`");
        id
    }

    /// Adds an output that other stacks may import under `export`.
    pub fn export(&mut self, id: &str, description: &'static str, value: Value, export: impl Into<String>) {
        let output = Output { description, value, export: Some(export.into()) };
        self.outputs.insert(LogicalId::new(id), output);
    }

    /// The template as JSON.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a reference leads nowhere or resources depend on each other in a circle.
    pub fn render(&self) -> Result<Value, TemplateError> {
        let mut needs = BTreeMap::new();
        for (id, resource) in &self.resources {
            let mut found = referenced(&resource.properties);
            found.extend(resource.depends_on.iter().map(|id| id.0.clone()));
            needs.insert(id, self.existing(&id.0, found)?);
        }
        for (id, output) in &self.outputs {
            self.existing(&id.0, referenced(&output.value))?;
        }
        reject_cycles(&needs)?;
        let resources: Map<_, _> =
            self.resources.iter().map(|(id, resource)| (id.0.clone(), resource.render())).collect();
        let outputs: Map<_, _> = self
            .outputs
            .iter()
            .map(|(id, output)| {
                let mut rendered = json!({"Description": output.description, "Value": output.value});
                if let Some(name) = &output.export {
                    rendered["Export"] = json!({"Name": name});
                }
                (id.0.clone(), rendered)
            })
            .collect();
        Ok(json!({
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": self.description,
            "Resources": resources,
            "Outputs": outputs,
        }))
    }

    fn existing(&self, from: &str, found: BTreeSet<String>) -> Result<BTreeSet<LogicalId>, TemplateError> {
        let ids: BTreeSet<_> = found.into_iter().map(LogicalId).collect();
        match ids.iter().find(|id| !self.resources.contains_key(id)) {
            None => Ok(ids),
            Some(missing) => Err(TemplateError::Dangling { from: from.to_owned(), to: missing.0.clone() }),
        }
    }
}

/// The logical ids in `Ref`, `Fn::GetAtt` and `Fn::Sub`. Names with a colon are CloudFormation's own (`AWS::Region`).
fn referenced(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match value {
        Value::Array(items) => items.iter().for_each(|item| found.extend(referenced(item))),
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    ("Ref", Value::String(id)) => {
                        found.insert(id.clone());
                    }
                    ("Fn::GetAtt", Value::Array(path)) => {
                        found.extend(path.first().and_then(Value::as_str).map(str::to_owned));
                    }
                    ("Fn::Sub", Value::String(text)) => {
                        let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
                        found.extend(names.map(|name| name.split('.').next().unwrap_or(name).to_owned()));
                    }
                    (_, member) => found.extend(referenced(member)),
                }
            }
        }
        _ => {}
    }
    found.retain(|id| !id.contains(':'));
    found
}

/// Takes away what needs nothing that is still there, until nothing is left.
fn reject_cycles(needs: &BTreeMap<&LogicalId, BTreeSet<LogicalId>>) -> Result<(), TemplateError> {
    let mut left = needs.clone();
    while !left.is_empty() {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, needs)| needs.iter().all(|need| !left.contains_key(need)))
            .map(|(id, _)| *id)
            .collect();
        if free.is_empty() {
            let stuck = left.keys().next().expect("it is not empty");
            return Err(TemplateError::Cycle((*stuck).clone()));
        }
        for id in free {
            left.remove(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(properties: Value) -> Resource {
        Resource::new("AWS::Test::Thing", properties)
    }

    #[test]
    fn a_reference_that_leads_nowhere_cannot_be_rendered() {
        for properties in [
            json!({"A": {"Ref": "Nobody"}}),
            json!({"A": [{"Fn::GetAtt": ["Nobody", "Arn"]}]}),
            json!({"A": {"B": sub("${AWS::Region}-${Nobody.Arn}")}}),
        ] {
            let mut template = Template::new("test");
            template.add("Thing", resource(properties));
            let expected = TemplateError::Dangling { from: "Thing".to_owned(), to: "Nobody".to_owned() };
            assert_eq!(template.render().unwrap_err(), expected);
        }
    }

    #[test]
    fn a_circle_cannot_be_rendered() {
        let mut template = Template::new("test");
        template.add("One", resource(json!({"Other": {"Ref": "Two"}})));
        template.add("Two", resource(json!({})).after(&LogicalId::new("One")));
        assert!(matches!(template.render().unwrap_err(), TemplateError::Cycle(_)));
    }

    #[test]
    fn pseudo_parameters_and_order_are_fine() {
        let mut template = Template::new("test");
        let one = template.add("One", resource(json!({"Region": {"Ref": "AWS::Region"}})).retained());
        template.add("Two", resource(json!({"One": one.reference()})).after(&one));
        let rendered = template.render().unwrap();
        assert_eq!(rendered["Resources"]["One"]["DeletionPolicy"], "RetainExceptOnCreate");
        assert_eq!(rendered["Resources"]["Two"]["DependsOn"], json!(["One"]));
    }
}
