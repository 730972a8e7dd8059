//! What the CDK command line takes without a word and does wrong (cloud-assembly §1 to §4).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use infra::Assembly;
use serde_json::Value;

/// A directory that the CDK command line is given.
#[derive(Clone)]
pub(crate) struct Directory {
    /// Artifacts in the order in which they stand in the manifest.
    order: Vec<String>,
    pub(crate) files: BTreeMap<String, Value>,
    directories: BTreeSet<String>,
}

impl Directory {
    fn read(path: &Path) -> Self {
        let mut directory = Self { order: Vec::new(), files: BTreeMap::new(), directories: BTreeSet::new() };
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                directory.directories.insert(name);
            } else {
                let text = fs::read_to_string(entry.path()).unwrap();
                if name == "manifest.json" {
                    // Names of artifacts are four spaces deep; the parser would sort them.
                    let names = text.lines().filter_map(|line| line.strip_prefix("    \"")?.strip_suffix("\": {"));
                    directory.order = names.map(str::to_owned).collect();
                }
                directory.files.insert(name, serde_json::from_str(&text).unwrap());
            }
        }
        directory
    }

    pub(crate) fn of(assembly: &Assembly) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        assembly.write(&out).unwrap();
        Self::read(&out)
    }

    fn artifacts(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.files["manifest.json"]["artifacts"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value))
    }
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

fn is_version(version: &Value) -> bool {
    let numbers = version.as_str().map(|text| text.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>());
    matches!(numbers, Some(Ok(numbers)) if matches!(numbers.as_slice(), [0..=36, _, _]))
}

pub(crate) fn here() -> String {
    std::env::current_dir().unwrap().to_string_lossy().into_owned()
}

/// The rules that a directory breaks.
pub(crate) fn broken(directory: &Directory) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    let mut rule = |name, kept: bool| {
        if !kept {
            broken.insert(name);
        }
    };
    let manifest = &directory.files["manifest.json"];
    rule("a version that old command lines read", is_version(&manifest["version"]));
    let position = |name: &str| directory.order.iter().position(|artifact| artifact == name);
    let stacks = directory.artifacts().filter(|(_, artifact)| artifact["type"] == "aws:cloudformation:stack");
    let stacks: Vec<_> = stacks.collect();
    rule("there are stacks", !stacks.is_empty());
    for (name, artifact) in directory.artifacts() {
        let known = ["aws:cloudformation:stack", "cdk:asset-manifest"].contains(&text(artifact, "/type"));
        rule("only artifacts of a type that old command lines know", known);
        for dependency in artifact["dependencies"].as_array().into_iter().flatten() {
            let dependency = dependency.as_str().unwrap();
            rule("depends on what is there", position(dependency).is_some());
            // In this order there is no circle either, which `cdk synth` would not see.
            rule("stands behind what it depends on", position(dependency) < position(name));
        }
    }
    for (name, stack) in stacks {
        let environment = text(stack, "/environment").strip_prefix("aws://").unwrap_or_default();
        rule("says where it belongs", environment.split('/').filter(|part| !part.is_empty()).count() == 2);
        rule("no parameters, which are ignored", stack["properties"]["parameters"].is_null());
        rule("no other name to select it by", stack["displayName"].is_null());
        let template = directory.files.get(text(stack, "/properties/templateFile"));
        rule("its template is there", template.is_some_and(|template| template["Resources"].is_object()));
        let template = template.map(Value::to_string).unwrap_or_default();
        rule("no check of the bootstrap stack in a template", !template.contains("BootstrapVersion"));
        let assets = format!("{name}.assets");
        let depends = stack["dependencies"].as_array().is_some_and(|all| all.iter().any(|one| *one == assets.as_str()));
        rule("a stack with images depends on them", depends || !template.contains("container-assets"));
    }
    for (_, assets) in directory.artifacts().filter(|(_, artifact)| artifact["type"] == "cdk:asset-manifest") {
        let Some(list) = directory.files.get(text(assets, "/properties/file")) else {
            rule("its list of images is there", false);
            continue;
        };
        rule("a version that old command lines read", is_version(&list["version"]));
        for image in list["dockerImages"].as_object().into_iter().flatten().map(|(_, image)| image) {
            rule("what it is built from is there", directory.directories.contains(text(image, "/source/directory")));
            let pushed = |pointer| !text(image, pointer).is_empty();
            let complete = pushed("/destinations/current/repositoryName") && pushed("/destinations/current/imageTag");
            rule("says where it is pushed to", complete);
        }
    }
    let mut all = Vec::new();
    directory.files.values().for_each(|file| texts(file, &mut all));
    let machine = here();
    rule("nothing of this machine", !all.iter().any(|text| text.contains(&machine)));
    let template_only = |name: &String| {
        [".template.json", ".assets.json"].iter().any(|end| name.ends_with(end)) || name == "manifest.json"
    };
    rule("no files that nobody reads", directory.files.keys().all(template_only));
    broken
}
