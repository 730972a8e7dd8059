//! Assembly → directory: beside what is there, then in its place. Nobody waits for the disk: what a machine that loses its
//! power leaves half is made again from the same configuration.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use super::context::{self, BuildContext};
use super::{Assembly, AssemblyError, DEPLOYMENT_TAG, MANIFEST};

impl Assembly {
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
                file.write_all(content.as_bytes())
            };
            write().map_err(failed("write", &path))?;
        }
        self.context.as_ref().map_or(Ok(()), |context| write_context(context, &directory.join(context.directory())))
    }
}

/// With the modes that images are to have, whatever they were where it was read.
fn write_context(context: &BuildContext, directory: &Path) -> Result<(), AssemblyError> {
    fs::create_dir(directory).map_err(failed("create", directory))?;
    for (name, file) in context.files() {
        let path = directory.join(name);
        let write = || {
            if let Some(parent) = path.parent() {
                DirBuilder::new().recursive(true).create(parent)?;
            }
            let mode = if file.is_executable { 0o755 } else { 0o644 };
            let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            // The umask is no part of an image.
            to.set_permissions(Permissions::from_mode(mode))?;
            to.write_all(&file.content)
        };
        write().map_err(failed("write", &path))?;
    }
    Ok(())
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
    let Some(ours) = files_of_ours(&manifest) else {
        return foreign(format!("its {MANIFEST} is of something else"));
    };
    let is_ours = |name: &String| ours.contains(name) || is_lock_of_cdk(name) || is_context_of_ours(out, name);
    match names.into_iter().find(|name| !is_ours(name)) {
        None => Ok(true),
        Some(name) => foreign(format!("it holds `{name}`, which is not its own or was changed")),
    }
}

/// The templates and lists of assets in a manifest, if every stack in it carries our tag.
fn files_of_ours(manifest: &str) -> Option<BTreeSet<String>> {
    let manifest: Value = serde_json::from_str(manifest).ok()?;
    let file = |artifact: &Value| {
        let properties = &artifact["properties"];
        if artifact["type"] == "cdk:asset-manifest" {
            return Some(properties["file"].as_str()?.to_owned());
        }
        properties["tags"][DEPLOYMENT_TAG].as_str()?;
        Some(properties["templateFile"].as_str()?.to_owned())
    };
    let artifacts = manifest["artifacts"].as_object()?;
    let is_stack = |artifact: &Value| artifact["type"] == "aws:cloudformation:stack";
    artifacts.values().any(is_stack).then(|| artifacts.values().map(file).collect())?
}

/// A build context that nobody has touched: its name says what it holds.
fn is_context_of_ours(out: &Path, name: &str) -> bool {
    context::is_directory_name(name)
        && BuildContext::read_any(&out.join(name)).is_ok_and(|context| context.directory() == name)
}

/// The CDK command line leaves `read.<pid>.<n>.lock` in a directory that it reads, when it is killed (cloud-assembly §1).
fn is_lock_of_cdk(name: &str) -> bool {
    name.starts_with("read.") && Path::new(name).extension().is_some_and(|extension| extension == "lock")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::model::Deployment;

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
