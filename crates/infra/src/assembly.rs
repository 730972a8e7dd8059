//! The directory that `cdk deploy --app` takes: manifest and templates (cloud-assembly §3), written all or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, json};

use crate::cfn::TemplateError;
use crate::lower;
use crate::model::Deployment;

/// Read by every CDK command line since 2.150 (mid 2024); nothing newer is needed.
const SCHEMA_VERSION: &str = "36.0.0";
const MANIFEST: &str = "manifest.json";

/// A cloud assembly in memory: file name → content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    files: BTreeMap<String, String>,
}

/// Why an assembly was not written.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A bug: the templates do not hold together.
    #[error("the stack `{stack}` does not hold together")]
    Template {
        /// The stack.
        stack: String,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// The directory holds something else.
    #[error("`{path}` exists and is not a cloud assembly; not touching it")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused one step.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Assembly {
    /// The assembly of a deployment.
    ///
    /// # Errors
    ///
    /// [`AssemblyError::Template`] only if there is a bug in this crate.
    pub fn new(deployment: &Deployment) -> Result<Self, AssemblyError> {
        let mut files = BTreeMap::new();
        let mut artifacts = Map::new();
        let mut previous: Option<String> = None;
        for (stack, template) in lower::stacks(deployment) {
            let rendered =
                template.render().map_err(|source| AssemblyError::Template { stack: stack.clone(), source })?;
            let file = format!("{stack}.template.json");
            let stateful = previous.is_none();
            artifacts.insert(
                stack.clone(),
                json!({
                    "type": "aws:cloudformation:stack",
                    "environment": "aws://unknown-account/unknown-region",
                    "dependencies": previous.iter().collect::<Vec<_>>(),
                    "properties": {
                        "templateFile": file,
                        "stackName": stack,
                        "terminationProtection": stateful,
                        "tags": {"eventstore-fargate:deployment": deployment.name().as_str()},
                    },
                }),
            );
            // Compact: a template above 50 KiB could not be deployed without a bootstrapped account.
            files.insert(file, format!("{rendered}\n"));
            previous = Some(stack);
        }
        let manifest = json!({"version": SCHEMA_VERSION, "artifacts": artifacts});
        files.insert(MANIFEST.to_owned(), format!("{manifest:#}\n"));
        Ok(Self { files })
    }

    /// File names and contents, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, content)| (name.as_str(), content.as_str()))
    }

    /// Writes the assembly to `out`, replacing an assembly that is there.
    ///
    /// # Errors
    ///
    /// [`AssemblyError`]; `out` then is what it was.
    pub fn write(&self, out: &Path) -> Result<(), AssemblyError> {
        let exists = match fs::read_dir(out) {
            Ok(mut entries) => {
                if entries.next().is_some() && !out.join(MANIFEST).is_file() {
                    return Err(AssemblyError::Foreign { path: out.to_owned() });
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(AssemblyError::Io { action: "read", path: out.to_owned(), source }),
        };
        let name = out.file_name().map_or_else(|| "cdk.out".to_owned(), |name| name.to_string_lossy().into_owned());
        let new = out.with_file_name(format!(".{name}.new-{}", std::process::id()));
        let old = out.with_file_name(format!(".{name}.old-{}", std::process::id()));
        let written = self.write_new(&new).and_then(|()| {
            if exists {
                rename(out, &old)?;
            }
            rename(&new, out).inspect_err(|_| {
                if exists {
                    // Back to what it was; if even that fails, the old assembly still is beside it.
                    let _ = fs::rename(&old, out);
                }
            })
        });
        // Both are ours; what cannot be removed is only in the way of nobody.
        let _ = fs::remove_dir_all(&new);
        let _ = fs::remove_dir_all(&old);
        written
    }

    fn write_new(&self, directory: &Path) -> Result<(), AssemblyError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| AssemblyError::Io { action, path, source }
        };
        fs::create_dir(directory).map_err(failed("create", directory))?;
        for (name, content) in &self.files {
            let path = directory.join(name);
            fs::write(&path, content).map_err(failed("write", &path))?;
        }
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), AssemblyError> {
    fs::rename(from, to).map_err(|source| AssemblyError::Io { action: "put in place", path: to.to_owned(), source })
}
