//! The fence: nothing that an earlier server wrote late reaches the files of the next one.
//!
//! A server that is cut off from NFS can be blocked in a write that outlives SIGKILL, and its client keeps dirty pages. When the link is
//! back, they are written, also over what the next server has synced meanwhile: NFS does not fence writes to files without a lock. A late
//! RENAME takes effect as well and replaces the file of the next server. Both were seen on Linux's client and server (NFSv4.1).
//!
//! So a guard that takes over from a holder that did not sign off, before it starts a server,
//!
//! 1. gives every file that a server may still write in place another inode (copy, sync, rename): a late write then ends with ESTALE;
//! 2. removes every temporary file: a late rename then ends with ENOENT. The server's temporary names carry a GUID, so none comes again.
//!
//! # Which files change in place
//!
//! Servers of 24.10.13 and 26.0.3 hold open for writing: the checkpoints (`*.chk`), the last chunk (and the one before it until that is
//! completed), the stream existence filter, the scavenge database, `*.scavenge.tmp`, and from 25.1 `DuckDB`'s `kurrent.ddb*`. A
//! file is therefore replaced unless its format says that it never changes again:
//!
//! - a completed chunk that is not the last: the first byte of its footer, which is its last 128 bytes, has bit 0 set (`ChunkFooter`,
//!   `IsCompleted`). The last chunk is always replaced: truncation makes a completed one writable again. When a chunk exists, all data
//!   of the chunks before it has been synced;
//! - in `index`, a `PTable` and its bloom filter (named by a GUID) and `indexmap`: they are written once, synced, and then named in an
//!   `indexmap` that is replaced by rename.
//!
//! Files that guard does not know are replaced: that costs time and never data.
//!
//! All copies are made and synced before the first file is replaced, and made again if a source has changed meanwhile. Guard killed at any
//! step leaves old and new files of the same content, and temporary files that the next fence removes.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::files::{TEMPORARY, create_temporary, sync_directory};

/// The size of a chunk's header and of its footer, in bytes.
const CHUNK_FOOTER: u64 = 128;
const CHUNK_HEADER: u64 = 128;
/// Set in the first byte of the footer of a completed chunk.
const IS_COMPLETED: u8 = 1;
const BLOCK: usize = 1 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// A late write can change a source while it is copied. Every process that could is killed or about to be.
const MAX_COPIES: usize = 10;

/// What the fence did.
#[derive(Debug, Default)]
pub(crate) struct Fenced {
    /// Files that have another inode now.
    pub(crate) replaced: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Temporary files that were removed.
    pub(crate) removed: usize,
}

/// Why the directory is not fenced.
#[derive(Debug)]
pub(crate) enum FenceError {
    /// A file could not be used.
    Io(&'static str, PathBuf, io::Error),
    /// The copies do not fit: their size in bytes.
    NoSpace(PathBuf, u64, io::Error),
    /// A file changed whenever it was copied.
    Changing(PathBuf),
    /// The caller wanted it to end.
    Interrupted,
}

impl FenceError {
    /// What an operator can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSpace(..) => Some(
                "free as much space or enlarge the file system; until then no server starts, and the data is unchanged",
            ),
            Self::Changing(_) => Some("another process writes to this directory: end it"),
            Self::Io(..) | Self::Interrupted => None,
        }
    }
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, path, source) => write!(f, "could not {what} `{}`: {source}", path.display()),
            Self::NoSpace(path, bytes, source) => write!(
                f,
                "could not copy `{}`: {source}. To replace the files that an earlier server may still write, {} MiB are needed",
                path.display(),
                mebibytes(*bytes)
            ),
            Self::Changing(path) => write!(f, "`{}` changed while it was copied, {MAX_COPIES} times", path.display()),
            Self::Interrupted => f.write_str("the fence was interrupted"),
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FenceError {
    let path = path.to_owned();
    move |source| FenceError::Io(what, path, source)
}

/// In MiB, rounded up.
pub(crate) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Fences a directory. Only with the lock held; no server may be started before it has succeeded. `is_interrupted` is asked between
/// blocks of 1 MiB.
///
/// # Errors
///
/// [`FenceError`]; no file of the server has changed, or some have another inode and the same content.
pub(crate) fn fence(data_dir: &Path, mut is_interrupted: impl FnMut() -> bool) -> Result<Fenced, FenceError> {
    let found = find(data_dir)?;
    // First for the space: half-made copies of a guard that was killed are temporary files.
    remove_temporary_files(&found.temporary)?;
    let removed = found.temporary.len();
    let files = found.mutable()?;
    let bytes = files.iter().map(|(_, metadata)| metadata.len()).sum();
    let mut progress = Progress::new(bytes, files.len());
    let mut copies = Vec::new();
    for (path, _) in &files {
        copies.push(Copy::make(path, &mut progress, &mut is_interrupted)?);
    }
    copy_changed_again(&mut copies, &mut progress, &mut is_interrupted)?;
    publish(&copies)?;
    let late = find(data_dir)?.temporary;
    remove_temporary_files(&late)?;
    Ok(Fenced { replaced: copies.len(), bytes, removed: removed + late.len() })
}

/// The files of a directory that matter here, with their metadata.
#[derive(Debug, Default)]
struct Found {
    /// Each with its position in the log.
    chunks: Vec<(u32, PathBuf, Metadata)>,
    others: Vec<(PathBuf, Metadata)>,
    temporary: Vec<PathBuf>,
}

/// Looks through the directory. Top-level names that begin with a dot are guard's or an operator's.
fn find(data_dir: &Path) -> Result<Found, FenceError> {
    let mut found = Found::default();
    let mut directories = vec![(data_dir.to_owned(), false)];
    while let Some((directory, is_temporary)) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
            let entry = entry.map_err(failed("list", &directory))?;
            let (path, name) = (entry.path(), entry.file_name());
            let is_temporary = is_temporary || name.to_string_lossy().ends_with(TEMPORARY);
            if directory == data_dir && name.to_string_lossy().starts_with('.') && !is_temporary {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("inspect", &path)(error)),
            };
            if metadata.is_dir() {
                directories.push((path, is_temporary));
            } else if is_temporary {
                found.temporary.push(path);
            } else if !metadata.is_file() || is_immutable_index_file(&path) {
            } else if let Some(number) = chunk_number(&name) {
                found.chunks.push((number, path, metadata));
            } else {
                found.others.push((path, metadata));
            }
        }
    }
    Ok(found)
}

impl Found {
    /// The files that a server may still write in place. Reads the footer of every chunk.
    fn mutable(self) -> Result<Vec<(PathBuf, Metadata)>, FenceError> {
        let mut mutable = self.others;
        let last = self.chunks.iter().map(|(number, ..)| *number).max();
        for (number, path, metadata) in self.chunks {
            if Some(number) == last || !is_completed(&path, &metadata)? {
                mutable.push((path, metadata));
            }
        }
        Ok(mutable)
    }
}

/// The first number of `chunk-000012.000003`: the position of the chunk in the log.
fn chunk_number(name: &OsStr) -> Option<u32> {
    let (number, version) = name.to_str()?.strip_prefix("chunk-")?.split_once('.')?;
    let is_number = |text: &str| text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(version)).then(|| number.parse().ok())?
}

fn is_completed(path: &Path, metadata: &Metadata) -> Result<bool, FenceError> {
    let Some(footer) = metadata.len().checked_sub(CHUNK_FOOTER).filter(|footer| *footer >= CHUNK_HEADER) else {
        return Ok(false);
    };
    let mut flags = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut flags, footer));
    read.map_err(failed("read", path))?;
    Ok(flags[0] & IS_COMPLETED != 0)
}

/// `index/indexmap`, `index/<guid>` and `index/<guid>.bloomfilter`.
fn is_immutable_index_file(path: &Path) -> bool {
    let (Some(directory), Some(name)) =
        (path.parent().and_then(Path::file_name), path.file_name().and_then(OsStr::to_str))
    else {
        return false;
    };
    directory == "index" && (name == "indexmap" || is_guid(name.strip_suffix(".bloomfilter").unwrap_or(name)))
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove_temporary_files(files: &[PathBuf]) -> Result<(), FenceError> {
    for path in files {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", path)(error)),
            _ => {}
        }
    }
    sync_directories(files.iter())
}

fn sync_directories<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), FenceError> {
    let mut directories: Vec<_> = paths.filter_map(|path| path.parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    directories.into_iter().try_for_each(|directory| sync_directory(directory).map_err(failed("sync", directory)))
}

/// What tells whether a file has changed: its inode, its size, and the times of its last changes in seconds and nanoseconds.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

/// By way of an open file: NFS then asks its server.
fn stamp(file: &File) -> io::Result<Stamp> {
    let found = file.metadata()?;
    Ok((found.ino(), found.len(), (found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())))
}

/// A copy beside its source. What was not published is removed when this is dropped.
#[derive(Debug)]
struct Copy {
    source: PathBuf,
    stamp: Stamp,
    temporary: PathBuf,
}

impl Copy {
    /// Copies a file and syncs the copy.
    fn make(
        source: &Path,
        progress: &mut Progress,
        is_interrupted: &mut impl FnMut() -> bool,
    ) -> Result<Self, FenceError> {
        let from = File::open(source).map_err(failed("read", source))?;
        let metadata = from.metadata().map_err(failed("inspect", source))?;
        let stamp = stamp(&from).map_err(failed("inspect", source))?;
        let needed = progress.total;
        let no_space = |error: io::Error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FenceError::NoSpace(source.to_owned(), needed, error),
            _ => failed("copy", source)(error),
        };
        let (temporary, mut to) = create_temporary(source, 0o600).map_err(no_space)?;
        let made = Self { source: source.to_owned(), stamp, temporary };
        // A file that grows would never end; the length is part of what is compared.
        let copied = copy(from.take(metadata.len()), &mut to, progress, is_interrupted);
        let synced = copied.and_then(|complete| {
            to.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))?;
            to.sync_all()?;
            Ok(complete)
        });
        if synced.map_err(no_space)? { Ok(made) } else { Err(FenceError::Interrupted) }
    }

    fn is_current(&self) -> Result<bool, FenceError> {
        let now = File::open(&self.source).and_then(|file| stamp(&file));
        Ok(now.map_err(failed("inspect", &self.source))? == self.stamp)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It was published, or the file system is gone: then the next fence removes it.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Copies again what has changed since it was copied, until nothing has.
fn copy_changed_again(
    copies: &mut [Copy],
    progress: &mut Progress,
    is_interrupted: &mut impl FnMut() -> bool,
) -> Result<(), FenceError> {
    let mut changed = None;
    for _ in 0..MAX_COPIES {
        changed = None;
        for copy in &mut *copies {
            if !copy.is_current()? {
                // First for the space.
                fs::remove_file(&copy.temporary).map_err(failed("remove", &copy.temporary))?;
                *copy = Copy::make(&copy.source, progress, is_interrupted)?;
                changed = Some(copy.source.clone());
            }
        }
        if changed.is_none() {
            return Ok(());
        }
    }
    changed.map_or(Ok(()), |source| Err(FenceError::Changing(source)))
}

/// Gives every file its new inode.
fn publish(copies: &[Copy]) -> Result<(), FenceError> {
    for copy in copies {
        fs::rename(&copy.temporary, &copy.source).map_err(failed("replace", &copy.source))?;
    }
    sync_directories(copies.iter().map(|copy| &copy.source))
}

/// Copies a file and leaves holes where it holds zeros. False if it was interrupted.
fn copy(
    mut from: impl Read,
    to: &mut File,
    progress: &mut Progress,
    is_interrupted: &mut impl FnMut() -> bool,
) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            to.set_len(length)?;
            return Ok(true);
        }
        if is_interrupted() {
            return Ok(false);
        }
        length += read as u64;
        if block[..read].iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Start(length))?;
        } else {
            to.write_all(&block[..read])?;
        }
        progress.add(read as u64);
    }
}

/// Log lines while much is copied.
#[derive(Debug)]
struct Progress {
    total: u64,
    done: u64,
    files: usize,
    logged: Instant,
}

impl Progress {
    fn new(total: u64, files: usize) -> Self {
        Self { total, done: 0, files, logged: Instant::now() }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.logged.elapsed() >= PROGRESS_INTERVAL {
            let (done, total, files) = (mebibytes(self.done), mebibytes(self.total), self.files);
            log!("guard: fence: copied {done} of {total} MiB in {files} files");
            self.logged = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GUID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    /// A chunk whose footer says whether it is completed.
    fn chunk(data: &[u8], is_completed: bool) -> Vec<u8> {
        let mut chunk = vec![0; 128];
        chunk.extend(data);
        let mut footer = [0; 128];
        footer[0] = 2 | u8::from(is_completed);
        chunk.extend(footer);
        chunk
    }

    fn write(data: &Path, name: &str, content: impl AsRef<[u8]>) {
        let path = data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Inode and content of every file, by its path in the directory.
    fn files(data: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
        let mut files = BTreeMap::new();
        let mut directories = vec![data.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(data).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, (fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap()));
                }
            }
        }
        files
    }

    /// What a 26.0 server leaves when it is killed during a scavenge.
    fn database(data: &Path) -> (Vec<&'static str>, Vec<String>, Vec<&'static str>) {
        let mutable = vec![
            "chaser.chk",
            "chunk-000002.000000",
            "chunk-000003.000000",
            "epoch.chk",
            "index/scavenging/scavenging.db",
            "index/scavenging/scavenging.db-shm",
            "index/stream-existence/streamExistenceFilter.chk",
            "index/stream-existence/streamExistenceFilter.dat",
            "kurrent.ddb",
            "kurrent.ddb.wal",
            "something-new",
            "writer.chk",
        ];
        for name in &mutable {
            write(data, name, format!("content of {name}"));
        }
        write(data, "chunk-000002.000000", chunk(b"being completed", false));
        write(data, "chunk-000003.000000", chunk(b"last", true));
        let mut immutable = vec![
            ".guard.lock".to_owned(),
            ".aside/writer.chk".to_owned(),
            "index/indexmap".to_owned(),
            format!("index/{GUID}"),
            format!("index/{GUID}.bloomfilter"),
        ];
        for name in &immutable {
            write(data, name, "written once");
        }
        for name in ["chunk-000000.000001", "chunk-000001.000000"] {
            write(data, name, chunk(b"completed", true));
            immutable.push(name.to_owned());
        }
        let temporary = vec![
            ".guard.version.1-1-1.guard.tmp",
            "0f8fad5b.scavenge.tmp",
            "chunk-000004.000000.0f8fad5b.tmp",
            "index/indexmap.0f8fad5b.indexmap.tmp",
            "kurrent.ddb.tmp/duckdb_temp_storage-0",
        ];
        for name in &temporary {
            write(data, name, "left behind");
        }
        (mutable, immutable, temporary)
    }

    #[test]
    fn mutable_files_get_new_inodes_and_keep_their_content() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let (mutable, immutable, temporary) = database(data);
        fs::set_permissions(data.join("writer.chk"), Permissions::from_mode(0o640)).unwrap();
        let before = files(data);
        let fenced = fence(data, || false).unwrap();
        let after = files(data);
        assert_eq!((fenced.replaced, fenced.removed), (mutable.len(), temporary.len()));
        for name in mutable {
            assert_eq!(after[name].1, before[name].1, "{name}");
            assert_ne!(after[name].0, before[name].0, "{name} can still be written by others");
        }
        for name in &immutable {
            assert_eq!(after[name], before[name]);
        }
        for name in &temporary {
            assert!(!after.contains_key(*name), "{name} is left");
        }
        assert_eq!(after.len(), fenced.replaced + immutable.len());
        assert_eq!(fs::metadata(data.join("writer.chk")).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn late_write_through_old_descriptor_is_not_seen() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        database(data);
        let path = data.join("writer.chk");
        let old = File::options().write(true).open(&path).unwrap();
        fence(data, || false).unwrap();
        old.write_all_at(b"late", 0).unwrap();
        assert!(fs::read_to_string(path).unwrap().starts_with("content"));
    }

    #[test]
    fn zeros_become_holes_of_the_same_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chunk-000000.000000");
        let mut content = vec![0; 3 * BLOCK + 5];
        content[BLOCK + 7] = 1;
        fs::write(&path, &content).unwrap();
        let fenced = fence(directory.path(), || false).unwrap();
        assert_eq!(fenced.bytes, content.len() as u64);
        assert!(fs::read(&path).unwrap() == content);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 2 * BLOCK as u64, "zeros were written");
    }

    /// A late write that arrives while the file is being copied.
    #[test]
    fn source_that_changes_is_copied_again() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        for name in ["a.chk", "b.chk", "c.chk"] {
            fs::write(data.join(name), "before").unwrap();
        }
        let mut asked = 0;
        let fenced = fence(data, || {
            asked += 1;
            if asked == 3 {
                for name in ["a.chk", "b.chk", "c.chk"] {
                    fs::write(data.join(name), "changed").unwrap();
                }
            }
            false
        });
        assert_eq!(fenced.unwrap().replaced, 3);
        let contents: Vec<_> = files(data).into_values().map(|(_, content)| content).collect();
        assert_eq!(contents, [b"changed", b"changed", b"changed"]);
    }

    #[test]
    fn file_that_always_changes_is_an_error_and_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("writer.chk");
        fs::write(&path, "0").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mut number = 0;
        let error = fence(directory.path(), || {
            number += 1;
            fs::write(&path, "x".repeat(number)).unwrap();
            false
        });
        assert!(matches!(&error, Err(FenceError::Changing(changing)) if *changing == path), "{error:?}");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(files(directory.path()).len(), 1, "no copy is left");
    }

    #[test]
    fn interrupted_fence_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let (mutable, ..) = database(data);
        let mut asked = 0;
        let error = fence(data, || {
            asked += 1;
            asked == mutable.len()
        });
        assert!(matches!(error, Err(FenceError::Interrupted)), "{error:?}");
        let interrupted = files(data);
        assert!(interrupted.keys().all(|name| !name.ends_with(TEMPORARY)), "{interrupted:?}");
        fence(data, || false).unwrap();
        let contents = |files: BTreeMap<String, (u64, Vec<u8>)>| {
            files.into_iter().map(|(name, (_, text))| (name, text)).collect::<Vec<_>>()
        };
        assert_eq!(contents(files(data)), contents(interrupted));
    }

    #[test]
    fn completed_chunk_is_known_by_its_footer() {
        let directory = tempfile::tempdir().unwrap();
        let complete = |content: &[u8]| {
            let path = directory.path().join("chunk");
            fs::write(&path, content).unwrap();
            is_completed(&path, &fs::metadata(&path).unwrap()).unwrap()
        };
        assert!(complete(&chunk(b"", true)));
        assert!(!complete(&chunk(b"", false)));
        for length in [0, 1, 128, 255] {
            assert!(!complete(&vec![0xff; length]), "{length} bytes hold no header and footer");
        }
        assert_eq!(chunk_number(OsStr::new("chunk-000012.000003")), Some(12));
        for name in ["chunk-12.3", "chunk-000012", "chunk-000012.000003.tmp", "chunk-00001a.000003", "x"] {
            assert_eq!(chunk_number(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn no_space_error_names_what_is_needed() {
        let error = FenceError::NoSpace("/data/a".into(), 3 << 20, ErrorKind::StorageFull.into());
        assert!(error.to_string().contains("3 MiB are needed"), "{error}");
        assert!(error.hint().unwrap().contains("space"));
    }
}
