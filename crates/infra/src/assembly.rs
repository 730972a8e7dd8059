//! The directory that `cdk deploy --app` takes: manifest and templates (cloud-assembly §3), written all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cfn::TemplateError;
use crate::lower;
use crate::model::Deployment;

/// Read by every CDK command line since 2.150 (mid 2024); nothing newer is needed.
const SCHEMA_VERSION: &str = "36.0.0";
const MANIFEST: &str = "manifest.json";
/// The tag of every stack of ours, by which an assembly of ours is known again.
const DEPLOYMENT_TAG: &str = "eventstore-fargate:deployment";

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
    /// What is there was not written by this program.
    #[error("`{path}` exists and is not a cloud assembly of infra ({found}); not touching it")]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// What says so.
        found: String,
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
        let mut exported = BTreeSet::new();
        for (stack, template) in lower::stacks(deployment, &BTreeMap::new()) {
            let rendered = template
                .render(&exported)
                .map_err(|source| AssemblyError::Template { stack: stack.clone(), source })?;
            exported.extend(template.exports().map(str::to_owned));
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
                        "tags": {DEPLOYMENT_TAG: deployment.name().as_str()},
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

    /// Writes the assembly to `out`, replacing an assembly of ours that is there.
    ///
    /// # Errors
    ///
    /// [`AssemblyError`]; `out` then is what it was.
    pub fn write(&self, out: &Path) -> Result<(), AssemblyError> {
        let exists = is_replaceable(out)?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Beside `out`, so that renaming stays on one file system; it goes with everything in it.
        let work = tempfile::Builder::new()
            .prefix(".infra-")
            .tempdir_in(parent)
            .map_err(failed("create a directory in", parent))?;
        let (new, old) = (work.path().join("new"), work.path().join("old"));
        self.write_new(&new)?;
        let put_in_place = |from: &Path, to: &Path| fs::rename(from, to).map_err(failed("put in place", out));
        if exists {
            put_in_place(out, &old)?;
        }
        put_in_place(&new, out).inspect_err(|_| {
            if exists && fs::rename(&old, out).is_err() {
                // The old assembly could not be put back: at least it is not deleted.
                let _ = work.keep();
            }
        })
    }

    fn write_new(&self, directory: &Path) -> Result<(), AssemblyError> {
        fs::create_dir(directory).map_err(failed("create", directory))?;
        for (name, content) in &self.files {
            let path = directory.join(name);
            let write = || {
                let mut file = File::create_new(&path)?;
                file.write_all(content.as_bytes())?;
                file.sync_all()
            };
            write().map_err(failed("write", &path))?;
        }
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AssemblyError + use<> {
    let path = path.to_owned();
    move |source| AssemblyError::Io { action, path, source }
}

/// Whether there is something at `out` to replace; it must be empty or hold an assembly of ours and nothing besides.
fn is_replaceable(out: &Path) -> Result<bool, AssemblyError> {
    let foreign = |found: String| Err(AssemblyError::Foreign { path: out.to_owned(), found });
    let mut names = BTreeSet::new();
    match fs::read_dir(out) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(failed("read", out))?;
                names.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return foreign("it is a file".to_owned()),
        Err(source) => return Err(failed("read", out)(source)),
    }
    if names.is_empty() {
        return Ok(true);
    }
    if !names.remove(MANIFEST) {
        return foreign(format!("it has no {MANIFEST}"));
    }
    let path = out.join(MANIFEST);
    let manifest = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let Some(ours) = templates_of_ours(&manifest) else {
        return foreign(format!("its {MANIFEST} is of something else"));
    };
    match names.into_iter().find(|name| !ours.contains(name) && !is_lock_of_cdk(name)) {
        None => Ok(true),
        Some(name) => foreign(format!("it holds `{name}`")),
    }
}

/// The template files of a manifest, if every stack in it carries our tag.
fn templates_of_ours(manifest: &str) -> Option<BTreeSet<String>> {
    let manifest: Value = serde_json::from_str(manifest).ok()?;
    let template = |stack: &Value| {
        let properties = &stack["properties"];
        properties["tags"][DEPLOYMENT_TAG].as_str()?;
        Some(properties["templateFile"].as_str()?.to_owned())
    };
    let artifacts = manifest["artifacts"].as_object().filter(|artifacts| !artifacts.is_empty())?;
    artifacts.values().map(template).collect()
}

/// The CDK command line leaves `read.<pid>.<n>.lock` in a directory that it reads, when it is killed (cloud-assembly §1).
fn is_lock_of_cdk(name: &str) -> bool {
    name.starts_with("read.") && Path::new(name).extension().is_some_and(|extension| extension == "lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn assembly(name: &str) -> Assembly {
        Assembly::new(&Deployment::new(Config::parse(&format!("name = \"{name}\"")).unwrap())).unwrap()
    }

    /// Everything in a directory.
    fn content(directory: &Path) -> BTreeMap<String, String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect()
    }

    #[test]
    fn an_assembly_of_ours_is_replaced_whatever_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        assembly("one").write(&out).unwrap();
        assert_eq!(content(&out), assembly("one").files);
        fs::write(out.join("read.17.1.lock"), "").unwrap();
        assembly("two").write(&out).unwrap();
        assert_eq!(content(&out), assembly("two").files);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_empty_directory_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        fs::create_dir(&out).unwrap();
        assembly("one").write(&out).unwrap();
        assert_eq!(content(&out), assembly("one").files);
    }

    /// A `manifest.json` alone says nothing: web applications and browser extensions have one.
    #[test]
    fn what_is_not_ours_stays_as_it_was() {
        let foreign_stack = r#"{"version": "36.0.0", "artifacts": {"A": {"properties": {"templateFile": "A.json"}}}}"#;
        for (name, text) in [
            ("thesis.txt", "mine"),
            (MANIFEST, ""),
            (MANIFEST, r#"{"name": "web application"}"#),
            (MANIFEST, r#"{"artifacts": {}}"#),
            (MANIFEST, foreign_stack),
        ] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(name), text).unwrap();
            let before = content(directory.path());
            let error = assembly("one").write(directory.path()).unwrap_err();
            assert!(matches!(error, AssemblyError::Foreign { .. }), "{error}");
            assert_eq!(content(directory.path()), before);
        }
    }

    #[test]
    fn a_file_that_somebody_put_into_an_assembly_of_ours_is_not_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        assembly("one").write(&out).unwrap();
        fs::write(out.join("notes.txt"), "mine").unwrap();
        let error = assembly("one").write(&out).unwrap_err();
        assert!(error.to_string().contains("it holds `notes.txt`"), "{error}");
        assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
    }

    #[test]
    fn a_file_in_the_way_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        fs::write(&out, "mine").unwrap();
        assert!(matches!(assembly("one").write(&out).unwrap_err(), AssemblyError::Foreign { .. }));
        assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    }

    /// The CDK command line would need a bootstrapped account for more (cloud-assembly §3).
    #[test]
    fn templates_are_small_enough_to_be_sent_inline() {
        let longest = "a".repeat(32);
        for (name, text) in assembly(&longest).files() {
            assert!(text.len() < 50 * 1024, "{name} has {} bytes", text.len());
        }
    }
}
