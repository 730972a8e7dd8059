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
    remarks: Vec<Remark>,
}

/// What is to be known of a part of a resource, and is not in the template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remark {
    /// The part of the properties, as it stands there.
    pub(crate) on: Value,
    /// Something in that part; all of it otherwise.
    pub(crate) of: Option<&'static str>,
    pub(crate) says: String,
}

impl Resource {
    /// A resource of the given type that goes with its stack.
    pub fn new(kind: &'static str, properties: Value) -> Self {
        Self { kind, properties, depends_on: Vec::new(), retained: false, remarks: Vec::new() }
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

    /// Says something of a part of it.
    pub(crate) fn remark(mut self, remark: Remark) -> Self {
        self.remarks.push(remark);
        self
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn properties(&self) -> &Value {
        &self.properties
    }

    pub(crate) fn remarks(&self) -> &[Remark] {
        &self.remarks
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
    description: String,
    value: Value,
    export: String,
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
    /// No stack that is deployed before this one exports the name.
    #[error("`{from}` imports `{name}`, which no earlier stack exports")]
    NotExported {
        /// The resource or output that imports.
        from: String,
        /// The name of the export.
        name: String,
    },
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

    /// The resources with their ids.
    pub(crate) fn resources(&self) -> impl Iterator<Item = (&LogicalId, &Resource)> {
        self.resources.iter()
    }

    /// Adds an output that other stacks may import under `export`.
    ///
    /// # Panics
    ///
    /// If the id is taken; ids are written in our source.
    pub fn export(&mut self, id: &str, description: impl Into<String>, value: Value, export: impl Into<String>) {
        let output = Output { description: description.into(), value, export: export.into() };
        let replaced = self.outputs.insert(LogicalId::new(id), output);
        assert!(replaced.is_none(), "two outputs `{id}`");
    }

    /// The names under which other stacks may import what this one exports.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        self.outputs.values().map(|output| output.export.as_str())
    }

    /// The template as JSON, where `exported` are the names that stacks deployed before this one export.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a reference or an import leads nowhere or resources depend on each other in a circle.
    pub fn render(&self, exported: &BTreeSet<String>) -> Result<Value, TemplateError> {
        let mut needs = BTreeMap::new();
        for (id, resource) in &self.resources {
            let mut found = references(&resource.properties);
            found.ids.extend(resource.depends_on.iter().map(|id| id.0.clone()));
            needs.insert(id, self.existing(&id.0, found, exported)?);
        }
        for (id, output) in &self.outputs {
            self.existing(&id.0, references(&output.value), exported)?;
        }
        reject_cycles(&needs)?;
        let resources: Map<_, _> =
            self.resources.iter().map(|(id, resource)| (id.0.clone(), resource.render())).collect();
        let outputs: Map<_, _> = self
            .outputs
            .iter()
            .map(|(id, output)| {
                let export = json!({"Name": output.export});
                let rendered = json!({"Description": output.description, "Value": output.value, "Export": export});
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

    fn existing(
        &self,
        from: &str,
        found: References,
        exported: &BTreeSet<String>,
    ) -> Result<BTreeSet<LogicalId>, TemplateError> {
        if let Some(name) = found.imports.difference(exported).next() {
            return Err(TemplateError::NotExported { from: from.to_owned(), name: name.clone() });
        }
        let ids: BTreeSet<_> = found.ids.into_iter().map(LogicalId).collect();
        match ids.iter().find(|id| !self.resources.contains_key(id)) {
            None => Ok(ids),
            Some(missing) => Err(TemplateError::Dangling { from: from.to_owned(), to: missing.0.clone() }),
        }
    }
}

/// What a value refers to.
#[derive(Default)]
pub(crate) struct References {
    /// The logical ids in `Ref`, `Fn::GetAtt` and `Fn::Sub`, without CloudFormation's own names (`AWS::Region`).
    pub(crate) ids: BTreeSet<String>,
    /// The names in `Fn::ImportValue`.
    pub(crate) imports: BTreeSet<String>,
}

pub(crate) fn references(value: &Value) -> References {
    let mut found = References::default();
    collect(value, &mut found);
    found.ids.retain(|id| !id.contains(':'));
    found
}

fn collect(value: &Value, found: &mut References) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    ("Ref", Value::String(id)) => {
                        found.ids.insert(id.clone());
                    }
                    ("Fn::GetAtt", Value::Array(path)) => {
                        found.ids.extend(path.first().and_then(Value::as_str).map(str::to_owned));
                    }
                    ("Fn::ImportValue", Value::String(name)) => {
                        found.imports.insert(name.clone());
                    }
                    ("Fn::Sub", Value::String(text)) => found.ids.extend(placeholders(text)),
                    ("Fn::Sub", Value::Array(parts)) => {
                        let (text, variables) = (parts.first(), parts.get(1));
                        let own = |name: &str| variables.is_some_and(|variables| variables.get(name).is_some());
                        let text = text.and_then(Value::as_str).unwrap_or_default();
                        found.ids.extend(placeholders(text).filter(|name| !own(name)));
                        collect(variables.unwrap_or(&Value::Null), found);
                    }
                    (_, member) => collect(member, found),
                }
            }
        }
        _ => {}
    }
}

/// The names in `${Name}` and `${Name.Attribute}`; `${!Name}` stands for itself.
fn placeholders(text: &str) -> impl Iterator<Item = String> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .filter(|name| !name.starts_with('!'))
        .map(|name| name.split('.').next().unwrap_or(name).to_owned())
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

    fn render(template: &Template) -> Result<Value, TemplateError> {
        template.render(&BTreeSet::new())
    }

    #[test]
    fn a_reference_that_leads_nowhere_cannot_be_rendered() {
        for properties in [
            json!({"A": {"Ref": "Nobody"}}),
            json!({"A": [{"Fn::GetAtt": ["Nobody", "Arn"]}]}),
            json!({"A": {"B": sub("${AWS::Region}-${Nobody.Arn}")}}),
            json!({"Fn::Sub": ["${Own}-${Nobody}", {"Own": "a"}]}),
            json!({"Fn::Sub": ["${Own}", {"Own": {"Ref": "Nobody"}}]}),
        ] {
            let mut template = Template::new("test");
            template.add("Thing", resource(properties));
            let expected = TemplateError::Dangling { from: "Thing".to_owned(), to: "Nobody".to_owned() };
            assert_eq!(render(&template).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_output_that_leads_nowhere_cannot_be_rendered() {
        let mut template = Template::new("test");
        template.export("Out", "an output", json!({"Ref": "Nobody"}), "test:Out");
        assert!(matches!(render(&template).unwrap_err(), TemplateError::Dangling { .. }));
    }

    #[test]
    fn only_what_an_earlier_stack_exports_can_be_imported() {
        let mut producer = Template::new("test");
        producer.export("Out", "an output", json!("value"), "test:Out");
        let mut consumer = Template::new("test");
        consumer.add("Thing", resource(json!({"Fn::Sub": ["${Own}", {"Own": import("test:Out")}]})));
        let expected = TemplateError::NotExported { from: "Thing".to_owned(), name: "test:Out".to_owned() };
        assert_eq!(render(&consumer).unwrap_err(), expected);
        assert!(consumer.render(&producer.exports().map(str::to_owned).collect()).is_ok());
    }

    #[test]
    fn a_circle_cannot_be_rendered() {
        let mut template = Template::new("test");
        template.add("One", resource(json!({"Other": {"Ref": "Two"}})));
        template.add("Two", resource(json!({})).after(&LogicalId::new("One")));
        assert!(matches!(render(&template).unwrap_err(), TemplateError::Cycle(_)));
    }

    #[test]
    fn pseudo_parameters_and_order_are_fine() {
        let mut template = Template::new("test");
        let one = template
            .add("One", resource(json!({"Region": {"Ref": "AWS::Region"}, "Text": sub("${!Nobody}")})).retained());
        template.add("Two", resource(json!({"One": one.reference()})).after(&one));
        let rendered = render(&template).unwrap();
        assert_eq!(rendered["Resources"]["One"]["DeletionPolicy"], "RetainExceptOnCreate");
        assert_eq!(rendered["Resources"]["Two"]["DependsOn"], json!(["One"]));
    }
}
