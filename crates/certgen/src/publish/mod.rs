//! Puts files on a volume so that whoever looks, at whatever instant, finds either all of them or none.
//!
//! ```text
//! /certs/.gen-5f0c…/ca/ca.crt, node.crt, node.key      one generation, complete before anything points at it
//! /certs/current  → .gen-5f0c…                         moved by one rename
//! /certs/ca, node.crt, node.key → current/…            the names that a server is configured with
//! ```
//!
//! Everything is first written and made durable under names that nobody reads, then gets its name by renames, `current` last.
//! A process that ends in between, and a machine that does, leave the generation before or the new one, and names that the
//! next run removes. Whoever reads key and certificate one after the other looks at `current` before and after: only if it
//! did not move are they of one generation ([`crate::Published::read`] does that). A server reads at its start and when it
//! is told to reload, which is after a publication.
//!
//! Nothing but this module writes. A server was seen to start on these links and to reload through them (observed §7).

mod disk;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use self::disk::{Disk, System};
use crate::plan::Owner;

/// The names a server is configured with; each is a link through `current`.
const STABLE_NAMES: [&str; 3] = [ROOTS, NODE_CERTIFICATE, NODE_KEY];
pub(crate) const ROOTS: &str = "ca";
pub(crate) const FIRST_ROOT: &str = "ca.crt";
pub(crate) const NODE_CERTIFICATE: &str = "node.crt";
pub(crate) const NODE_KEY: &str = "node.key";
pub(crate) const CURRENT: &str = "current";
const GENERATION_PREFIX: &str = ".gen-";
const TEMPORARY_PREFIX: &str = ".tmp-";

pub(crate) const DIRECTORY: u32 = 0o755;
pub(crate) const CERTIFICATE: u32 = 0o444;
pub(crate) const KEY: u32 = 0o400;
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
                    "the directory and what certgen wrote there must belong to the uid this program runs as: let the image declare it as a VOLUME with mode 1777, or change the owner",
                ),
                ErrorKind::ReadOnlyFilesystem => Some("mount the volume without read-only in this container"),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Some("the volume is full, what was there before is untouched; make room or a larger volume")
                }
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

/// Publishes `generation` in the directory `volume`, which must exist: complete first, then visible by one rename. The
/// files belong to `owner`, or to whoever runs this. The generation before stays until the next publication, for a reader
/// that has just opened it. One publisher at a time on a volume.
///
/// # Errors
///
/// [`PublishError`]; what was published before is then still there, complete.
pub fn publish(volume: &Path, generation: &Generation<'_>, owner: Option<Owner>) -> Result<(), PublishError> {
    let volume = Volume::open(volume, owner)?;
    let mut staged = volume.stage()?;
    staged.generation(generation)?;
    staged.commit()
}

/// A directory that is there.
#[derive(Debug)]
pub(crate) struct Volume<D: Disk = System> {
    path: PathBuf,
    owner: Option<Owner>,
    disk: D,
}

impl Volume {
    /// Looks at the directory and changes nothing.
    pub(crate) fn open(path: &Path, owner: Option<Owner>) -> Result<Self, PublishError> {
        Self::open_on(System, path, owner)
    }
}

impl<D: Disk> Volume<D> {
    fn open_on(disk: D, path: &Path, owner: Option<Owner>) -> Result<Self, PublishError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self { path: path.to_owned(), owner, disk }),
            Ok(_) => Err(PublishError::NotADirectory),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(PublishError::Missing),
            Err(source) => Err(PublishError::Io { action: "look at", path: path.to_owned(), source }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what earlier runs left, and begins to write what nobody sees yet.
    pub(crate) fn stage(&self) -> Result<Staged<'_, D>, PublishError> {
        self.remove_leftovers(self.current()?.as_deref())?;
        Ok(Staged { volume: self, renames: Vec::new(), generation: None })
    }

    /// Makes durable what is there: a run that was killed after its last rename had that left to do.
    pub(crate) fn settle(&self) -> Result<(), PublishError> {
        self.sync(&self.path)
    }

    /// The generation that `current` points at.
    pub(crate) fn current(&self) -> Result<Option<String>, PublishError> {
        let path = self.path.join(CURRENT);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PublishError::Io { action: "look at", path, source }),
            Ok(_) => match fs::read_link(&path).ok().and_then(|target| target.into_os_string().into_string().ok()) {
                Some(target) if target.starts_with(GENERATION_PREFIX) && !target.contains('/') => Ok(Some(target)),
                _ => Err(PublishError::Foreign { path }),
            },
        }
    }

    /// The stable names that have no link yet.
    pub(crate) fn missing_links(&self) -> Result<Vec<&'static str>, PublishError> {
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

    /// Removes what an interrupted run or an older generation left behind. Nothing points at it, and before it goes that is
    /// made durable: else a power failure could bring a link back to what is half removed.
    fn remove_leftovers(&self, current: Option<&str>) -> Result<(), PublishError> {
        let mut leftovers = Vec::new();
        for entry in list(&self.path)? {
            let Some(name) = entry.to_str() else { continue };
            let is_older = name.starts_with(GENERATION_PREFIX) && Some(name) != current;
            if is_older || name.starts_with(TEMPORARY_PREFIX) {
                leftovers.push(self.path.join(name));
            }
        }
        if leftovers.is_empty() {
            return Ok(());
        }
        self.sync(&self.path)?;
        leftovers.iter().try_for_each(|path| self.remove(path))
    }

    /// Removes a file, a link, or a directory with all below.
    fn remove(&self, path: &Path) -> Result<(), PublishError> {
        if fs::symlink_metadata(path).map_err(io_error("look at", path))?.is_dir() {
            list(path)?.iter().try_for_each(|name| self.remove(&path.join(name)))?;
            return self.disk.remove_directory(path).map_err(io_error("remove", path));
        }
        self.disk.remove_file(path).map_err(io_error("remove", path))
    }

    fn create_directory(&self, path: &Path) -> Result<(), PublishError> {
        self.disk.create_directory(path, DIRECTORY).map_err(io_error("create", path))?;
        self.give(path)?;
        // The umask may have taken bits away that the server needs.
        self.disk.set_mode(path, DIRECTORY).map_err(io_error("set the mode of", path))
    }

    fn give(&self, path: &Path) -> Result<(), PublishError> {
        match self.owner {
            Some(owner) => self.disk.give(path, owner).map_err(io_error("change the owner of", path)),
            None => Ok(()),
        }
    }

    /// Writes a new file that is never open to more than `mode`, and makes it durable.
    fn write_file(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), PublishError> {
        let mut file = self.disk.create_file(path, mode).map_err(io_error("create", path))?;
        self.disk.write(&mut file, content).map_err(io_error("write", path))?;
        if let Some(owner) = self.owner {
            self.disk.give_file(&file, owner).map_err(io_error("change the owner of", path))?;
        }
        self.disk.set_file_mode(&file, mode).map_err(io_error("set the mode of", path))?;
        self.disk.sync_file(&file).map_err(io_error("write", path))
    }

    fn sync(&self, directory: &Path) -> Result<(), PublishError> {
        self.disk.sync_directory(directory).map_err(io_error("make durable", directory))
    }
}

/// What is written already and seen by nobody. Dropped without [`Staged::commit`], it is removed.
pub(crate) struct Staged<'a, D: Disk = System> {
    volume: &'a Volume<D>,
    /// Temporary names and the names they will get, in this order.
    renames: Vec<(PathBuf, PathBuf)>,
    generation: Option<PathBuf>,
}

impl<D: Disk> Staged<'_, D> {
    /// The files of a generation, and the links to them that are missing.
    pub(crate) fn generation(&mut self, generation: &Generation<'_>) -> Result<(), PublishError> {
        let volume = self.volume;
        let links = volume.missing_links()?;
        let name = format!("{GENERATION_PREFIX}{}", random_id()?);
        let directory = volume.path.join(&name);
        self.generation = Some(directory.clone());
        volume.create_directory(&directory)?;
        let roots = directory.join(ROOTS);
        volume.create_directory(&roots)?;
        for (name, root) in root_files(generation.roots) {
            volume.write_file(&roots.join(name), root.as_bytes(), CERTIFICATE)?;
        }
        volume.sync(&roots)?;
        volume.write_file(&directory.join(NODE_CERTIFICATE), generation.certificate.as_bytes(), CERTIFICATE)?;
        volume.write_file(&directory.join(NODE_KEY), generation.key.as_bytes(), KEY)?;
        volume.sync(&directory)?;
        for link in links {
            self.link(link, &Path::new(CURRENT).join(link))?;
        }
        self.link(CURRENT, Path::new(&name))
    }

    /// An executable, unless the same is there already.
    pub(crate) fn program(&mut self, name: &str, content: &[u8]) -> Result<(), PublishError> {
        self.file(name, content, PROGRAM)
    }

    /// A file that only its owner may read, unless the same is there already.
    pub(crate) fn secret(&mut self, name: &str, content: &[u8]) -> Result<(), PublishError> {
        self.file(name, content, KEY)
    }

    fn file(&mut self, name: &str, content: &[u8], mode: u32) -> Result<(), PublishError> {
        let path = self.volume.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => return Err(PublishError::Foreign { path }),
            Ok(found) => {
                let is_owners = self.volume.owner.is_none_or(|owner| owner.has(found.uid(), found.gid()));
                let is_as_wanted = found.mode() & 0o7777 == mode && is_owners;
                if is_as_wanted && fs::read(&path).is_ok_and(|old| old == content) {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
        let temporary = self.temporary(path)?;
        self.volume.write_file(&temporary, content, mode)
    }

    fn link(&mut self, name: &str, target: &Path) -> Result<(), PublishError> {
        let temporary = self.temporary(self.volume.path.join(name))?;
        self.volume.disk.link(target, &temporary).map_err(io_error("create", &temporary))?;
        // In a directory that is open to all, a link is followed only by its owner (fs.protected_symlinks).
        self.volume.give(&temporary)
    }

    /// Another name, which will become `path`.
    fn temporary(&mut self, path: PathBuf) -> Result<PathBuf, PublishError> {
        let temporary = self.volume.path.join(format!("{TEMPORARY_PREFIX}{}", random_id()?));
        self.renames.push((temporary.clone(), path));
        Ok(temporary)
    }

    /// Gives everything its name, in the order in which it was written, and makes that durable.
    pub(crate) fn commit(mut self) -> Result<(), PublishError> {
        if self.renames.is_empty() {
            return Ok(());
        }
        let volume = self.volume;
        // What a name will lead to must not be lost while the name is not: neither the generation, nor, behind `current`, one
        // of the links through it.
        volume.sync(&volume.path)?;
        for (index, (temporary, path)) in self.renames.iter().enumerate() {
            if index > 0 && *path == volume.path.join(CURRENT) {
                volume.sync(&volume.path)?;
            }
            volume.disk.rename(temporary, path).map_err(io_error("put in place", path))?;
        }
        // From here on somebody may be reading it.
        self.renames.clear();
        self.generation = None;
        volume.sync(&volume.path)
    }
}

impl<D: Disk> Drop for Staged<'_, D> {
    fn drop(&mut self) {
        let temporary = self.renames.iter().map(|(temporary, _)| temporary);
        for path in temporary.chain(&self.generation) {
            // Invisible; what cannot be removed is removed by the next run.
            let _ = self.volume.remove(path);
        }
    }
}

/// The names and contents of the files that hold these roots, below `ca/`.
pub(crate) fn root_files<'a>(roots: &'a [&'a str]) -> impl Iterator<Item = (String, &'a str)> {
    roots.iter().enumerate().map(|(index, root)| {
        let name = if index == 0 { FIRST_ROOT.to_owned() } else { format!("ca-{}.crt", short_digest(root)) };
        (name, *root)
    })
}

fn list(directory: &Path) -> Result<Vec<std::ffi::OsString>, PublishError> {
    let entries = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>());
    entries.map_err(io_error("list", directory))
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
