//! Puts files on a volume so that whoever looks, at whatever instant, finds either all of them or none.
//!
//! ```text
//! /certs/.gen-5f0c…/ca/ca.crt, node.crt, node.key      one generation, complete before anything points at it
//! /certs/current  → .gen-5f0c…                         moved by one rename
//! /certs/ca, node.crt, node.key → current/…            the names that a server is configured with
//! ```
//!
//! This is the only file that writes. A server was seen to start on these links and to reload through them (observed §7).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The names a server is configured with; each is a link through `current`.
const STABLE_NAMES: [&str; 3] = ["ca", "node.crt", "node.key"];
const CURRENT: &str = "current";
const GENERATION_PREFIX: &str = ".gen-";
const TEMPORARY_PREFIX: &str = ".tmp-";

const DIRECTORY: u32 = 0o755;
const CERTIFICATE: u32 = 0o444;
const KEY: u32 = 0o400;
const PROGRAM: u32 = 0o555;

/// Why files were not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The directory is not there.
    #[error("the directory does not exist")]
    Missing,
    /// Something else has the directory's name.
    #[error("it is not a directory")]
    NotADirectory,
    /// A name that we write is taken by a file that we did not write.
    #[error("`{path}` was not made by certgen; not touching it")]
    Foreign {
        /// The file.
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
    /// The system gave no random numbers; not expected to happen.
    #[error("the system's random number generator failed")]
    Randomness,
}

impl PublishError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some(
                "mount the volume there or create the directory; certgen does not, because a directory outside a volume is lost with the container",
            ),
            Self::NotADirectory => Some("name a directory"),
            Self::Foreign { .. } => Some("use an empty directory, or move the file away"),
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::PermissionDenied => Some(
                    "the directory must belong to the uid this program runs as: let the image declare it as a VOLUME with mode 1777, or change its owner",
                ),
                ErrorKind::ReadOnlyFilesystem => Some("mount the volume without read-only in this container"),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("the volume is full; nothing was changed"),
                _ => None,
            },
            Self::Randomness => None,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Foreign { .. } => 77,
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => 77,
            Self::Missing | Self::NotADirectory | Self::Io { .. } => 74,
            Self::Randomness => 70,
        }
    }
}

/// One set of files that belong together.
pub struct Generation<'a> {
    /// The trusted roots, one PEM block each. The server reads only the first certificate of a file (observed §7), so
    /// each gets a file of its own.
    pub roots: &'a [&'a str],
    /// The node's certificate, PEM.
    pub certificate: &'a str,
    /// The node's key, PEM.
    pub key: &'a str,
}

/// A directory that is there and holds nothing of anybody else under the names we use.
#[derive(Debug)]
pub(crate) struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Looks at the directory and changes nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, PublishError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(PublishError::NotADirectory),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(PublishError::Missing),
            Err(source) => return Err(PublishError::Io { action: "look at", path: path.to_owned(), source }),
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Publishes `generation`: complete first, then visible by one rename. The generation before stays until the next
    /// run, for a reader that has just opened it.
    pub(crate) fn publish(&self, generation: &Generation<'_>) -> Result<(), PublishError> {
        let previous = self.current()?;
        let links = self.missing_links()?;
        self.remove_leftovers(previous.as_deref())?;

        let name = format!("{GENERATION_PREFIX}{}", random_id()?);
        let directory = self.path.join(&name);
        let written = write_generation(&directory, generation)
            .and_then(|()| links.iter().try_for_each(|link| self.link(link, &Path::new(CURRENT).join(link))))
            .and_then(|()| self.link(CURRENT, Path::new(&name)))
            .and_then(|()| sync(&self.path));
        if written.is_err() {
            // What was written so far is invisible; a failure to remove it is repaired by the next run.
            let _ = fs::remove_dir_all(&directory);
        }
        written
    }

    /// Installs `program` under `name`, or leaves it if the same bytes are there already.
    pub(crate) fn install(&self, name: &str, program: &[u8]) -> Result<(), PublishError> {
        self.write_once(name, program, PROGRAM)
    }

    /// Writes a file that only this user may read.
    pub(crate) fn store_secret(&self, name: &str, content: &[u8]) -> Result<(), PublishError> {
        self.write_once(name, content, KEY)
    }

    fn write_once(&self, name: &str, content: &[u8], mode: u32) -> Result<(), PublishError> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => return Err(PublishError::Foreign { path }),
            Ok(found) if found.mode() & 0o7777 == mode && fs::read(&path).is_ok_and(|old| old == content) => {
                return Ok(());
            }
            _ => {}
        }
        let temporary = self.path.join(format!("{TEMPORARY_PREFIX}{}", random_id()?));
        let written = write_file(&temporary, content, mode)
            .and_then(|()| fs::rename(&temporary, &path).map_err(io_error("put in place", &path)))
            .and_then(|()| sync(&self.path));
        if written.is_err() {
            // Invisible; a failure to remove it is repaired by the next run.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// The generation that `current` points at.
    fn current(&self) -> Result<Option<String>, PublishError> {
        let path = self.path.join(CURRENT);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PublishError::Io { action: "look at", path, source }),
            Ok(_) => match fs::read_link(&path).ok().and_then(|target| target.into_os_string().into_string().ok()) {
                Some(target) if target.starts_with(GENERATION_PREFIX) => Ok(Some(target)),
                _ => Err(PublishError::Foreign { path }),
            },
        }
    }

    /// The stable names that have no link yet.
    fn missing_links(&self) -> Result<Vec<&'static str>, PublishError> {
        let mut missing = Vec::new();
        for name in STABLE_NAMES {
            let path = self.path.join(name);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => missing.push(name),
                Err(source) => return Err(PublishError::Io { action: "look at", path, source }),
                Ok(_) => {
                    if fs::read_link(&path).ok() != Some(Path::new(CURRENT).join(name)) {
                        return Err(PublishError::Foreign { path });
                    }
                }
            }
        }
        Ok(missing)
    }

    /// Removes what an interrupted run or an older generation left behind. Nothing points at it.
    fn remove_leftovers(&self, current: Option<&str>) -> Result<(), PublishError> {
        let list = || io_error("list", &self.path);
        for entry in fs::read_dir(&self.path).map_err(list())? {
            let entry = entry.map_err(list())?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let removed = if name.starts_with(GENERATION_PREFIX) && Some(name) != current {
                fs::remove_dir_all(entry.path())
            } else if name.starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path())
            } else {
                continue;
            };
            removed.map_err(io_error("remove", &entry.path()))?;
        }
        Ok(())
    }

    /// Makes `name` a link to `target`, replacing the link that may be there, by one rename.
    fn link(&self, name: &str, target: &Path) -> Result<(), PublishError> {
        let temporary = self.path.join(format!("{TEMPORARY_PREFIX}{}", random_id()?));
        let path = self.path.join(name);
        symlink(target, &temporary).map_err(io_error("create", &temporary))?;
        fs::rename(&temporary, &path).map_err(|source| {
            // Invisible; a failure to remove it is repaired by the next run.
            let _ = fs::remove_file(&temporary);
            PublishError::Io { action: "put in place", path, source }
        })
    }
}

fn write_generation(directory: &Path, generation: &Generation<'_>) -> Result<(), PublishError> {
    create_directory(directory)?;
    let roots = directory.join("ca");
    create_directory(&roots)?;
    for (index, root) in generation.roots.iter().enumerate() {
        let name = if index == 0 { "ca.crt".to_owned() } else { format!("ca-{}.crt", short_digest(root)) };
        write_file(&roots.join(name), root.as_bytes(), CERTIFICATE)?;
    }
    sync(&roots)?;
    write_file(&directory.join("node.crt"), generation.certificate.as_bytes(), CERTIFICATE)?;
    write_file(&directory.join("node.key"), generation.key.as_bytes(), KEY)?;
    sync(directory)
}

fn create_directory(path: &Path) -> Result<(), PublishError> {
    DirBuilder::new().mode(DIRECTORY).create(path).map_err(io_error("create", path))?;
    // The umask may have taken bits away that the server needs.
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY)).map_err(io_error("set the mode of", path))
}

/// Writes a new file that is never open to more than `mode`, and makes it durable.
fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), PublishError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(io_error("create", path))?;
    file.write_all(content).map_err(io_error("write", path))?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))?;
    file.sync_all().map_err(io_error("write", path))
}

fn sync(directory: &Path) -> Result<(), PublishError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error("make durable", directory))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io { action, path, source }
}

pub(crate) fn random_id() -> Result<String, PublishError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PublishError::Randomness)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The first 8 hexadecimal digits of the SHA-256 of a certificate's text.
fn short_digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(4).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(key: &str) -> Generation<'_> {
        Generation { roots: &["root one\n", "root two\n"], certificate: "certificate\n", key }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_generation_appears_under_the_stable_names_with_its_modes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        Volume::open(path).unwrap().publish(&generation("key\n")).unwrap();
        assert_eq!(fs::read_to_string(path.join("ca/ca.crt")).unwrap(), "root one\n");
        assert_eq!(names(&path.join("ca")), [format!("ca-{}.crt", short_digest("root two\n")), "ca.crt".to_owned()]);
        assert_eq!(fs::read_to_string(path.join("node.key")).unwrap(), "key\n");
        assert_eq!((mode(&path.join("node.key")), mode(&path.join("node.crt"))), (0o400, 0o444));
        assert_eq!((mode(&path.join("ca")), mode(&path.join("ca/ca.crt"))), (0o755, 0o444));
    }

    #[test]
    fn the_next_generation_replaces_it_and_the_one_before_last_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path()).unwrap();
        for key in ["1", "2", "3"] {
            volume.publish(&generation(key)).unwrap();
            assert_eq!(fs::read_to_string(directory.path().join("node.key")).unwrap(), key);
        }
        let generations = names(directory.path()).iter().filter(|name| name.starts_with(GENERATION_PREFIX)).count();
        assert_eq!(generations, 2);
    }

    #[test]
    fn a_file_of_somebody_else_is_named_and_left() {
        for name in ["node.key", "ca", "current"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            File::create(&path).unwrap();
            let error = Volume::open(directory.path()).unwrap().publish(&generation("key")).unwrap_err();
            assert!(matches!(&error, PublishError::Foreign { path: named } if *named == path), "{error}");
            assert_eq!(names(directory.path()), [name]);
        }
    }

    #[test]
    fn leftovers_of_an_interrupted_run_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        DirBuilder::new().create(directory.path().join(".gen-dead")).unwrap();
        File::create(directory.path().join(".gen-dead/node.key")).unwrap();
        symlink("nowhere", directory.path().join(".tmp-dead")).unwrap();
        Volume::open(directory.path()).unwrap().publish(&generation("key")).unwrap();
        assert!(names(directory.path()).iter().all(|name| !name.ends_with("-dead")));
    }

    #[test]
    fn a_program_is_installed_once() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path()).unwrap();
        let path = directory.path().join("guard");
        volume.install("guard", b"one").unwrap();
        assert_eq!(mode(&path), 0o555);
        let inode = fs::metadata(&path).unwrap().ino();
        volume.install("guard", b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        volume.install("guard", b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
