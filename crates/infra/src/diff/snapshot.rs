//! The stacks of an assembly, in memory or on disk, as data.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::assembly::{Assembly, DEPLOYMENT_TAG, MANIFEST};
use crate::model::Deployment;

/// The templates of an assembly.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The name of the deployment.
    pub(super) deployment: String,
    /// In the order in which they are deployed.
    pub(super) stacks: Vec<Stack>,
    /// The server line, if the stacks or a configuration say it.
    pub(super) line: Option<String>,
    /// The line that a configuration says to have opened the data last; no template says it.
    pub(super) upgrade_from: Option<String>,
    /// Whether a configuration says that a single node becomes this cluster; no template says it.
    pub(super) grows: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stack {
    pub(super) name: String,
    pub(super) template: Value,
}

/// Why a directory could not be read as an assembly.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system refused.
    #[error("could not read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not what infra writes.
    #[error("`{path}` is not of a cloud assembly of infra ({found})")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What says so.
        found: String,
    },
}

impl Snapshot {
    /// That of an assembly in memory.
    ///
    /// # Panics
    ///
    /// Never: an assembly holds the templates that its manifest names.
    pub fn of(assembly: &Assembly) -> Self {
        let files: BTreeMap<_, _> = assembly.files().collect();
        let read = |name: &str| files.get(name).map(|text| (*text).to_owned()).ok_or(io::ErrorKind::NotFound.into());
        Self::from(Path::new(""), read).expect("an assembly of ours is one")
    }

    /// The same with what the templates do not say of the deployment.
    pub fn of_deployment(deployment: &Deployment, assembly: &Assembly) -> Self {
        let upgrade = deployment.config().server.upgrade.as_ref();
        Self {
            line: Some(deployment.line().as_str().to_owned()),
            upgrade_from: upgrade.map(|upgrade| upgrade.from.as_str().to_owned()),
            grows: deployment.config().grows,
            ..Self::of(assembly)
        }
    }

    /// That of a directory that `infra synth` or [`Assembly::write`] wrote.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if it is none, or cannot be read.
    pub fn read(directory: &Path) -> Result<Self, SnapshotError> {
        Self::from(directory, |name| fs::read_to_string(directory.join(name)))
    }

    fn from(directory: &Path, read: impl Fn(&str) -> io::Result<String>) -> Result<Self, SnapshotError> {
        let foreign = |name: &str, found: String| SnapshotError::Foreign { path: directory.join(name), found };
        let json = |name: &str| -> Result<Value, SnapshotError> {
            let text = read(name).map_err(|source| SnapshotError::Io { path: directory.join(name), source })?;
            serde_json::from_str(&text).map_err(|error| foreign(name, error.to_string()))
        };
        let manifest = json(MANIFEST)?;
        let artifacts = manifest["artifacts"].as_object().into_iter().flatten();
        let mut left: Vec<_> =
            artifacts.filter(|(_, artifact)| artifact["type"] == "aws:cloudformation:stack").collect();
        let mut deployment = None;
        let mut stacks = Vec::new();
        while !left.is_empty() {
            // JSON keeps no order; what depends on nothing that is left comes first.
            let waits = |artifact: &Value| {
                let needs = artifact["dependencies"].as_array().into_iter().flatten();
                needs.into_iter().any(|need| left.iter().any(|(id, _)| *need == id.as_str()))
            };
            let next = left.iter().position(|(_, artifact)| !waits(artifact)).unwrap_or(0);
            let (id, artifact) = left.remove(next);
            let properties = &artifact["properties"];
            let named = properties["tags"][DEPLOYMENT_TAG].as_str();
            let (Some(named), Some(file)) = (named, properties["templateFile"].as_str()) else {
                return Err(foreign(MANIFEST, format!("the stack `{id}` has no tag {DEPLOYMENT_TAG}")));
            };
            deployment.get_or_insert_with(|| named.to_owned());
            let template = json(file)?;
            if !template["Resources"].is_object() {
                return Err(foreign(file, "it has no resources".to_owned()));
            }
            stacks.push(Stack { name: properties["stackName"].as_str().unwrap_or(id).to_owned(), template });
        }
        let deployment = deployment.ok_or_else(|| foreign(MANIFEST, "it has no stacks".to_owned()))?;
        let mut snapshot = Self { deployment, stacks, line: None, upgrade_from: None, grows: false };
        snapshot.line = snapshot.line_of_tasks();
        Ok(snapshot)
    }

    /// The definitions of the nodes' tasks: lists of containers.
    fn tasks(&self) -> impl Iterator<Item = &Vec<Value>> {
        let resources = self.stacks.iter().filter_map(|stack| stack.template["Resources"].as_object());
        let containers = resources
            .flat_map(|resources| resources.values())
            .filter_map(|resource| resource["Properties"]["ContainerDefinitions"].as_array());
        containers.filter(|containers| containers.iter().any(|container| container["Name"] == "eventstore"))
    }

    /// As a task tells certgen.
    fn line_of_tasks(&self) -> Option<String> {
        self.tasks().flatten().find_map(|container| {
            let variables = container["Environment"].as_array()?;
            let line = variables.iter().find(|variable| variable["Name"] == "CERTGEN_SERVER_LINE")?;
            Some(line["Value"].as_str()?.to_owned())
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.tasks().count() > 1
    }

    /// How many nodes vote, by the services' logical ids.
    pub(super) fn voters(&self) -> usize {
        self.services().count()
    }

    /// Whether the service of a node that votes is to have no task.
    pub(super) fn has_waiting_node(&self) -> bool {
        self.services().any(|service| service["Properties"]["DesiredCount"] == 0)
    }

    fn services(&self) -> impl Iterator<Item = &Value> {
        let resources = self.stacks.iter().filter_map(|stack| stack.template["Resources"].as_object()).flatten();
        let is_service =
            |id: &str| id.strip_prefix("Node").and_then(|id| id.strip_suffix("Service")).is_some_and(is_number);
        resources.filter(move |(id, _)| is_service(id)).map(|(_, service)| service)
    }

    pub(super) fn template(&self, stack: &str) -> Option<&Value> {
        self.stacks.iter().find(|found| found.name == stack).map(|found| &found.template)
    }

    /// The value under the name of an export, with the stack that exports it.
    pub(super) fn exported(&self, name: &str) -> Option<(&str, &Value)> {
        self.stacks.iter().find_map(|stack| {
            let outputs = stack.template["Outputs"].as_object()?;
            let output = outputs.values().find(|output| output["Export"]["Name"] == name)?;
            Some((stack.name.as_str(), &output["Value"]))
        })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
