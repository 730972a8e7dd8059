//! What images are built from: the files of a directory, known by what they hold.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use crate::model::Program;

/// A directory that `docker build` is given, in memory. Times, owners and the umask are no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildContext {
    /// Path below the directory, with slashes → file.
    files: BTreeMap<String, ContextFile>,
    hash: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct ContextFile {
    pub(super) is_executable: bool,
    pub(super) content: Vec<u8>,
}

/// Larger is somebody's home or build directory: our programs have a few MiB.
const MOST_BYTES: u64 = 512 * 1024 * 1024;
const PREFIX: &str = "asset.";
const HASH_DIGITS: usize = 64;

/// Why images cannot be built from a directory.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no such directory, or it cannot be read.
    #[error("could not read `{path}`")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It lacks what an image is built by.
    #[error("`{0}` is missing")]
    NoDockerfile(PathBuf),
    /// It holds something that cannot be copied everywhere.
    #[error("`{0}` is neither a file nor a directory with a name in UTF-8")]
    NotAFile(PathBuf),
    /// It holds too much.
    #[error("`{path}` holds more than {} MiB", MOST_BYTES / 1024 / 1024)]
    TooLarge {
        /// The directory.
        path: PathBuf,
    },
}

impl BuildContext {
    /// Reads a directory with `certgen.Dockerfile` and `bootstrap.Dockerfile`.
    ///
    /// # Errors
    ///
    /// [`ContextError`], all that there are: a directory that is missing is one, missing Dockerfiles are one each.
    pub fn read(directory: &Path) -> Result<Self, Vec<ContextError>> {
        let context = Self::read_any(directory).map_err(|error| vec![error])?;
        let dockerfiles = Program::ALL.map(Self::dockerfile);
        let missing = dockerfiles.iter().filter(|file| !context.files.contains_key(*file));
        let missing: Vec<_> = missing.map(|file| ContextError::NoDockerfile(directory.join(file))).collect();
        if missing.is_empty() { Ok(context) } else { Err(missing) }
    }

    /// Reads a directory, whatever is in it.
    pub(super) fn read_any(directory: &Path) -> Result<Self, ContextError> {
        let mut reading = Reading { root: directory, files: BTreeMap::new(), left: MOST_BYTES };
        reading.directory(directory, "")?;
        let hash = hash_of(&reading.files);
        Ok(Self { files: reading.files, hash })
    }

    /// The file that builds the image of a program.
    pub(super) fn dockerfile(program: Program) -> String {
        format!("{}.Dockerfile", program.as_str())
    }

    /// Where it is in an assembly.
    pub(super) fn directory(&self) -> String {
        format!("{PREFIX}{}", self.hash)
    }

    /// The tag of the image of a program: another one whenever anything in the directory is.
    pub(super) fn tag(&self, program: Program) -> String {
        let mut context = Context::new(&SHA256);
        add(&mut context, self.hash.as_bytes());
        add(&mut context, program.as_str().as_bytes());
        hex(context)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &ContextFile)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }
}

/// Only what it is known by: binaries are no reading.
impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext").field("files", &self.files.keys()).field("hash", &self.hash).finish()
    }
}

/// Whether a directory has the name of a build context.
pub(super) fn is_directory_name(name: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.strip_prefix(PREFIX).is_some_and(|hash| hash.len() == HASH_DIGITS && hash.bytes().all(hex))
}

fn hash_of(files: &BTreeMap<String, ContextFile>) -> String {
    let mut context = Context::new(&SHA256);
    for (path, file) in files {
        add(&mut context, path.as_bytes());
        context.update(&[u8::from(file.is_executable)]);
        add(&mut context, &file.content);
    }
    hex(context)
}

/// With its length, so that nothing can move from one part into the next.
fn add(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn hex(context: Context) -> String {
    let mut text = String::with_capacity(HASH_DIGITS);
    for byte in context.finish().as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

struct Reading<'a> {
    root: &'a Path,
    files: BTreeMap<String, ContextFile>,
    /// Bytes that there may still be.
    left: u64,
}

impl Reading<'_> {
    fn directory(&mut self, path: &Path, prefix: &str) -> Result<(), ContextError> {
        for entry in fs::read_dir(path).map_err(failed(path))? {
            let entry = entry.map_err(failed(path))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed(path))?);
            let name = entry.file_name().into_string().map_err(|_| ContextError::NotAFile(path.clone()))?;
            let name = format!("{prefix}{name}");
            if kind.is_dir() {
                self.directory(&path, &format!("{name}/"))?;
            } else if kind.is_file() {
                let file = self.file(&path)?;
                self.files.insert(name, file);
            } else {
                return Err(ContextError::NotAFile(path));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<ContextFile, ContextError> {
        let file = File::open(path).map_err(failed(path))?;
        let mode = file.metadata().map_err(failed(path))?.permissions().mode();
        let mut content = Vec::new();
        let read = file.take(self.left + 1).read_to_end(&mut content).map_err(failed(path))? as u64;
        let too_large = || ContextError::TooLarge { path: self.root.to_owned() };
        self.left = self.left.checked_sub(read).ok_or_else(too_large)?;
        Ok(ContextFile { is_executable: mode & 0o100 != 0, content })
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ContextError + use<> {
    let path = path.to_owned();
    move |source| ContextError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    const DOCKERFILES: [(&str, &str); 2] = [("certgen.Dockerfile", "FROM a"), ("bootstrap.Dockerfile", "FROM b")];

    #[test]
    fn a_context_is_known_by_what_it_holds() {
        let contexts: Vec<_> = [&[("bin/a", "1")][..], &[("bin/a", "2")], &[("bin", "a1")], &[("bin/a", "1")]]
            .into_iter()
            .map(|files| {
                let directory = tempfile::tempdir().unwrap();
                write(directory.path(), &DOCKERFILES);
                write(directory.path(), files);
                BuildContext::read(directory.path()).unwrap()
            })
            .collect();
        assert_eq!(contexts[0], contexts[3]);
        assert_ne!(contexts[0].hash, contexts[1].hash);
        assert_ne!(contexts[0].hash, contexts[2].hash);
        assert!(is_directory_name(&contexts[0].directory()));
        assert_ne!(contexts[0].tag(Program::Certgen), contexts[0].tag(Program::Bootstrap));
        assert_ne!(contexts[0].tag(Program::Certgen), contexts[1].tag(Program::Certgen));
    }

    #[test]
    fn what_may_be_executed_is_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &DOCKERFILES);
        write(directory.path(), &[("bin/a", "1")]);
        let before = BuildContext::read(directory.path()).unwrap();
        fs::set_permissions(directory.path().join("bin/a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(BuildContext::read(directory.path()).unwrap().hash, before.hash);
    }

    #[test]
    fn what_is_missing_or_cannot_be_copied_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let missing = BuildContext::read(&directory.path().join("none")).unwrap_err();
        assert!(matches!(missing.as_slice(), [ContextError::Io { .. }]), "{missing:?}");
        let missing = BuildContext::read(directory.path()).unwrap_err();
        assert_eq!(missing.len(), 2, "{missing:?}");
        write(directory.path(), &DOCKERFILES);
        std::os::unix::fs::symlink("certgen.Dockerfile", directory.path().join("link")).unwrap();
        let error = BuildContext::read(directory.path()).unwrap_err();
        assert!(matches!(error.as_slice(), [ContextError::NotAFile(_)]), "{error:?}");
    }
}
