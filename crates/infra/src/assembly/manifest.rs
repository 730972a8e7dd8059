//! What the CDK command line reads first: `manifest.json` and the list of images to build.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use super::context::BuildContext;
use super::{DEPLOYMENT_TAG, SCHEMA_VERSION};
use crate::lower::built_repository;
use crate::model::{Deployment, Program};
use crate::values::Qualifier;

/// The first that has a registry for images (AWS, "Bootstrapping: template versions").
const BOOTSTRAP_VERSION: u32 = 6;

pub(super) fn template_file(stack: &str) -> String {
    format!("{stack}.template.json")
}

pub(super) fn assets_file(stack: &str) -> String {
    format!("{stack}.assets.json")
}

/// In the place of a deployment's name, in the tag of what all share; no deployment can have it.
const SHARED: &str = "@all";

/// Artifacts in the order in which they are deployed, in which `cdk ls` shows them; an object of JSON has none.
struct Artifacts(Vec<(String, Value)>);

impl Serialize for Artifacts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, artifact) in &self.0 {
            map.serialize_entry(name, artifact)?;
        }
        map.end()
    }
}

/// What the CDK command line reads first.
#[derive(serde::Serialize)]
struct Manifest {
    version: &'static str,
    artifacts: Artifacts,
}

/// The manifest of stacks in the order in which they are deployed. The first holds state; `with_images` is the one for which
/// images are built.
pub(super) fn manifest(deployment: &Deployment, stacks: &[String], with_images: Option<&String>) -> String {
    let mut artifacts = Vec::new();
    let mut previous: Vec<String> = Vec::new();
    for (index, stack) in stacks.iter().enumerate() {
        let is_first = index == 0;
        let mut dependencies = previous.clone();
        if with_images == Some(stack) {
            let assets = format!("{stack}.assets");
            artifacts.push((assets.clone(), asset_manifest(&deployment.config().deploy.cdk_qualifier, stack)));
            // Without it the stack is deployed and no image is built (cloud-assembly §1).
            dependencies.push(assets);
        }
        let mut artifact = stack_artifact(stack, &dependencies, is_first, deployment.name().as_str());
        for (key, value) in &deployment.config().tags {
            artifact["properties"]["tags"][key] = json!(value);
        }
        let warnings = deployment.warnings();
        if is_first && !warnings.is_empty() {
            let shown = warnings.iter().map(|warning| json!({"type": "aws:cdk:warning", "data": warning.to_string()}));
            artifact["metadata"] = json!({format!("/{stack}"): shown.collect::<Vec<_>>()});
        }
        artifacts.push((stack.clone(), artifact));
        previous = vec![stack.clone()];
    }
    render(artifacts)
}

/// The manifest of one stack that belongs to no deployment and holds state.
pub(super) fn shared(stack: &str) -> String {
    render(vec![(stack.to_owned(), stack_artifact(stack, &[], true, SHARED))])
}

fn stack_artifact(stack: &str, dependencies: &[String], is_protected: bool, deployment: &str) -> Value {
    json!({
        "type": "aws:cloudformation:stack",
        "environment": "aws://unknown-account/unknown-region",
        "dependencies": dependencies,
        "properties": {
            "templateFile": template_file(stack),
            "stackName": stack,
            "terminationProtection": is_protected,
            "tags": {DEPLOYMENT_TAG: deployment},
        },
    })
}

fn render(artifacts: Vec<(String, Value)>) -> String {
    let manifest = Manifest { version: SCHEMA_VERSION, artifacts: Artifacts(artifacts) };
    serde_json::to_string_pretty(&manifest).expect("texts are its only keys")
}

fn asset_manifest(qualifier: &Qualifier, stack: &str) -> Value {
    json!({
        "type": "cdk:asset-manifest",
        "properties": {
            "file": assets_file(stack),
            "requiresBootstrapStackVersion": BOOTSTRAP_VERSION,
            "bootstrapStackVersionSsmParameter": format!("/cdk-bootstrap/{qualifier}/version"),
        },
    })
}

/// The images that `cdk deploy` builds and pushes. The placeholders are its own, not CloudFormation's.
pub(super) fn assets(qualifier: &Qualifier, context: &BuildContext) -> Value {
    let role = format!(
        "arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/cdk-{qualifier}-image-publishing-role-${{AWS::AccountId}}-${{AWS::Region}}"
    );
    let images: Map<_, _> = Program::ALL
        .into_iter()
        .map(|program| {
            let tag = context.tag(program);
            let image = json!({
                "displayName": program.as_str(),
                "source": {
                    "directory": context.directory(),
                    "dockerFile": BuildContext::dockerfile(program),
                    // The task's, whatever machine builds it.
                    "platform": "linux/amd64",
                },
                "destinations": {
                    "current": {
                        "repositoryName": built_repository(qualifier),
                        "imageTag": tag,
                        "assumeRoleArn": role,
                    },
                },
            });
            (tag, image)
        })
        .collect();
    json!({"version": SCHEMA_VERSION, "dockerImages": images})
}
