//! Writes all files of a request or none (contract §6.4 is what the old tool did instead).
//!
//! Everything is first written into a room of its own beside where it will be, `.certgen-<id>/` with mode 0700, and made
//! durable there. Only when all of it is there do the directories appear and the files get their names: a new one by a hard
//! link, which fails if somebody has taken the name in the meantime; one that is replaced by a rename, after its old content
//! was set aside. Whatever fails, what was done is undone, backwards.
//!
//! A process killed while it writes leaves a room, and nothing else; the next run beside it removes the room when it is an
//! hour old. One killed while it gives names, which takes a few milliseconds, leaves the first files of the request, each
//! complete, authorities first and a key before its certificate.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::publish::random_id;

const DIRECTORY: u32 = 0o755;
const ROOM: u32 = 0o700;
const ROOM_PREFIX: &str = ".certgen-";

/// No run takes that long, so that a room of this age belongs to one that was killed.
const ROOM_IS_LEFT_OVER: Duration = Duration::from_hours(1);

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagingError {
    #[error("could not {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` was made by somebody else in the meantime; not touching it")]
    Appeared { path: PathBuf },
    #[error("the system's random number generator failed")]
    Randomness,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where; with a link that was there followed.
    pub(crate) path: PathBuf,
    /// Who owns the file that is there and will be replaced.
    pub(crate) replaces: Option<Owner>,
}

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Owner {
    pub(crate) fn of(found: &fs::Metadata) -> Self {
        Self { user: found.uid(), group: found.gid() }
    }
}

/// What is done to the file system: narrow, so that tests can make each step fail.
pub(crate) trait Files {
    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// A new file that is never open to more than `mode`, durable.
    fn write_new(&self, path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()>;
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The file system itself. Modes are subject to the umask, as those of es-gencert-cli are.
pub(crate) struct System;

impl Files for System {
    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn write_new(&self, path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        if let Some(owner) = owner {
            give(&file, owner)?;
        }
        file.write_all(content)?;
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Whoever could read the old file must be able to read the new one: root often makes certificates for a server that is
/// not root. A group that cannot be given is left.
fn give(file: &File, owner: Owner) -> io::Result<()> {
    let made = Owner::of(&file.metadata()?);
    if made.group != owner.group {
        let given = fchown(file, None, Some(owner.group));
        if made.user != owner.user {
            given?;
        }
    }
    if made.user == owner.user { Ok(()) } else { fchown(file, Some(owner.user), None) }
}

/// Files that are written and have no name yet. Dropping it removes them.
pub(crate) struct Staging<F: Files> {
    files: F,
    name: String,
    now: SystemTime,
    /// Rooms, by the directory they are in.
    rooms: BTreeMap<PathBuf, PathBuf>,
    staged: Vec<Staged>,
}

struct Staged {
    room: PathBuf,
    temporary: PathBuf,
    target: Target,
}

/// What was done and how it is undone.
enum Done {
    Directory(PathBuf),
    New(PathBuf),
    Replaced { path: PathBuf, old: PathBuf },
}

impl<F: Files> Staging<F> {
    /// Rooms for all `targets`. That they can be made shows that their directories can be written.
    pub(crate) fn begin<'a>(
        files: F,
        now: SystemTime,
        targets: impl IntoIterator<Item = &'a Target>,
    ) -> Result<Self, StagingError> {
        let id = random_id().map_err(|_| StagingError::Randomness)?;
        let name = format!("{ROOM_PREFIX}{id}");
        let mut staging = Self { files, name, now, rooms: BTreeMap::new(), staged: Vec::new() };
        for target in targets {
            staging.room(&target.path)?;
        }
        Ok(staging)
    }

    /// Writes a file where nobody sees it.
    pub(crate) fn stage(&mut self, target: &Target, content: &[u8], mode: u32) -> Result<(), StagingError> {
        let room = self.room(&target.path)?;
        let temporary = room.join(self.staged.len().to_string());
        self.files.write_new(&temporary, content, mode, target.replaces).map_err(io_error("write", &target.path))?;
        self.staged.push(Staged { room, temporary, target: target.clone() });
        Ok(())
    }

    /// Gives every file its name, in the order in which they were staged, or none.
    pub(crate) fn publish(self) -> Result<(), StagingError> {
        let mut done = Vec::new();
        let published = self.name_all(&mut done);
        if published.is_err() {
            for step in done.into_iter().rev() {
                // Nothing better can be done about a step that cannot be undone than to undo the others.
                let _ = match step {
                    Done::Directory(path) => self.files.remove_directory(&path),
                    Done::New(path) => self.files.remove_file(&path),
                    Done::Replaced { path, old } => self.files.rename(&old, &path),
                };
            }
        }
        published
    }

    fn name_all(&self, done: &mut Vec<Done>) -> Result<(), StagingError> {
        for (index, staged) in self.staged.iter().enumerate() {
            self.make_directories(parent(&staged.target.path), done)?;
            let old = staged.room.join(format!("old-{index}"));
            if staged.target.replaces.is_none() || !self.set_aside(&staged.target.path, &old, done)? {
                self.name_new(staged, done)?;
            } else {
                let Staged { temporary, target, .. } = staged;
                self.files.rename(temporary, &target.path).map_err(io_error("replace", &target.path))?;
            }
        }
        let mut touched: Vec<_> = done
            .iter()
            .map(|(Done::Directory(path) | Done::New(path) | Done::Replaced { path, .. })| parent(path))
            .collect();
        touched.sort();
        touched.dedup();
        touched.into_iter().try_for_each(|path| self.files.sync_directory(path).map_err(io_error("make durable", path)))
    }

    /// Keeps what `path` is, for the case that a later step fails; `false` if it is gone.
    fn set_aside(&self, path: &Path, old: &Path, done: &mut Vec<Done>) -> Result<bool, StagingError> {
        let kept = match self.files.link(path, old) {
            Err(error) if has_no_links(&error) => self.files.rename(path, old),
            other => other,
        };
        match kept {
            Ok(()) => {
                done.push(Done::Replaced { path: path.to_owned(), old: old.to_owned() });
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StagingError::Io { action: "set aside", path: path.to_owned(), source }),
        }
    }

    fn name_new(&self, staged: &Staged, done: &mut Vec<Done>) -> Result<(), StagingError> {
        let path = &staged.target.path;
        let named = match self.files.link(&staged.temporary, path) {
            // A file system without links has no such exclusive step; looking first is the best there is.
            Err(error) if has_no_links(&error) => match fs::symlink_metadata(path) {
                Ok(_) => return Err(StagingError::Appeared { path: path.clone() }),
                Err(_) => self.files.rename(&staged.temporary, path),
            },
            other => other,
        };
        match named {
            Ok(()) => {
                done.push(Done::New(path.clone()));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(StagingError::Appeared { path: path.clone() })
            }
            Err(source) => Err(StagingError::Io { action: "create", path: path.clone(), source }),
        }
    }

    fn make_directories(&self, path: &Path, done: &mut Vec<Done>) -> Result<(), StagingError> {
        let missing: Vec<_> = path.ancestors().take_while(|path| !is_there(path)).collect();
        for directory in missing.into_iter().rev() {
            match self.files.create_directory(directory, DIRECTORY) {
                Ok(()) => done.push(Done::Directory(directory.to_owned())),
                // `a/../b` makes `a/..` look missing until `a` is there.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(StagingError::Io { action: "create", path: directory.to_owned(), source });
                }
            }
        }
        Ok(())
    }

    /// The room in the nearest directory that is there, so that a link can lead from it to the target.
    fn room(&mut self, target: &Path) -> Result<PathBuf, StagingError> {
        let beside = nearest_directory(target).to_owned();
        if let Some(room) = self.rooms.get(&beside) {
            return Ok(room.clone());
        }
        self.remove_left_overs(&beside);
        let room = beside.join(&self.name);
        self.files.create_directory(&room, ROOM).map_err(io_error("write in", &beside))?;
        self.rooms.insert(beside, room.clone());
        Ok(room)
    }

    /// What cannot be removed or looked at is somebody else's.
    fn remove_left_overs(&self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_old = |found: fs::Metadata| {
                let age = found.modified().ok().and_then(|made| self.now.duration_since(made).ok());
                found.is_dir() && age.is_some_and(|age| age >= ROOM_IS_LEFT_OVER)
            };
            if is_room(&entry.file_name()) && entry.metadata().is_ok_and(is_old) {
                let _ = self.files.remove_tree(&entry.path());
            }
        }
    }
}

impl<F: Files> Drop for Staging<F> {
    fn drop(&mut self) {
        for room in self.rooms.values() {
            // Nobody looks there; the next run removes what this one could not.
            let _ = self.files.remove_tree(room);
        }
    }
}

fn is_room(name: &OsStr) -> bool {
    let id = name.to_str().and_then(|name| name.strip_prefix(ROOM_PREFIX));
    id.is_some_and(|id| id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The directory of a file; of a bare name, the working directory.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The nearest directory above `path` that is there.
pub(crate) fn nearest_directory(path: &Path) -> &Path {
    parent(path).ancestors().find(|path| is_there(path) && !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || fs::metadata(path).is_ok()
}

/// FAT and some network file systems have no hard links.
fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::TooManyLinks)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    let path = path.to_owned();
    move |source| StagingError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How the file system is disturbed.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Disturbance {
        /// One step fails.
        Fails,
        /// From this step on nothing is done any more: the process was killed.
        Killed,
    }

    /// The file system, of which the n-th step is disturbed.
    struct Disturbed<'a> {
        steps: &'a Cell<usize>,
        at: usize,
        how: Disturbance,
        links: bool,
    }

    impl Disturbed<'_> {
        fn step(&self, action: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
            let step = self.steps.get();
            self.steps.set(step + 1);
            let disturbed = step == self.at || (step > self.at && self.how == Disturbance::Killed);
            if disturbed { Err(io::Error::from(ErrorKind::StorageFull)) } else { action() }
        }
    }

    impl Files for Disturbed<'_> {
        fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
            self.step(|| System.create_directory(path, mode))
        }
        fn write_new(&self, path: &Path, content: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
            self.step(|| System.write_new(path, content, mode, owner))
        }
        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step(|| {
                if self.links { System.link(from, to) } else { Err(io::Error::from(ErrorKind::PermissionDenied)) }
            })
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step(|| System.rename(from, to))
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.step(|| System.remove_file(path))
        }
        fn remove_directory(&self, path: &Path) -> io::Result<()> {
            self.step(|| System.remove_directory(path))
        }
        fn remove_tree(&self, path: &Path) -> io::Result<()> {
            self.step(|| System.remove_tree(path))
        }
        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.step(|| System.sync_directory(path))
        }
    }

    /// Every file and directory below, with mode and content.
    fn tree(directory: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut open = vec![directory.to_owned()];
        while let Some(path) = open.pop() {
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let below = path.strip_prefix(directory).unwrap();
            lines.push(format!("{} {:o} {content}", below.display(), found.mode() & 0o7777));
            if found.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        lines.sort();
        lines
    }

    /// A directory where one of three targets exists.
    fn scene() -> (tempfile::TempDir, Vec<(Target, &'static str, u32)>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("old")).unwrap();
        fs::write(path.join("old/node.key"), "before").unwrap();
        let replaces = Some(Owner::of(&fs::metadata(path.join("old/node.key")).unwrap()));
        let targets = vec![
            (Target { path: path.join("new/deep/ca.key"), replaces: None }, "ca", 0o400),
            (Target { path: path.join("old/node.key"), replaces }, "after", 0o400),
            (Target { path: path.join("old/node.crt"), replaces: None }, "crt", 0o444),
        ];
        (directory, targets)
    }

    fn write<F: Files>(files: F, targets: &[(Target, &str, u32)]) -> Result<(), StagingError> {
        let mut staging = Staging::begin(files, SystemTime::UNIX_EPOCH, targets.iter().map(|(target, ..)| target))?;
        for (target, content, mode) in targets {
            staging.stage(target, content.as_bytes(), *mode)?;
        }
        staging.publish()
    }

    const AFTER: [&str; 4] = ["new/deep/ca.key 400 ca", "old/node.crt 444 crt", "old/node.key 400 after", "old 755 "];

    #[test]
    fn all_files_appear_with_their_modes_and_nothing_else_stays() {
        let (directory, targets) = scene();
        write(System, &targets).unwrap();
        let tree = tree(directory.path());
        assert!(AFTER.iter().all(|line| tree.iter().any(|found| found == line)), "{tree:?}");
        assert_eq!(tree.len(), 7, "{tree:?}");
    }

    #[test]
    fn whatever_step_fails_the_directory_is_as_it_was() {
        for links in [true, false] {
            for at in 0.. {
                let (directory, targets) = scene();
                let before = tree(directory.path());
                let steps = Cell::new(0);
                let result = write(Disturbed { steps: &steps, at, how: Disturbance::Fails, links }, &targets);
                if result.is_ok() {
                    // Only the removal of rooms may fail without harm, and the file system without fault must come to its end.
                    assert!(at > 10, "step {at} failed unnoticed");
                    break;
                }
                assert_eq!(tree(directory.path()), before, "step {at}, links {links}");
            }
        }
    }

    #[test]
    fn killed_at_whatever_step_every_file_that_is_seen_is_complete() {
        for at in 0.. {
            let (directory, targets) = scene();
            let steps = Cell::new(0);
            let result = write(Disturbed { steps: &steps, at, how: Disturbance::Killed, links: true }, &targets);
            let visible: Vec<_> =
                tree(directory.path()).into_iter().filter(|line| !line.contains(ROOM_PREFIX)).collect();
            for line in &visible {
                let (name, rest) = line.split_once(' ').unwrap();
                let expected = match name {
                    "new/deep/ca.key" => &["400 ca"][..],
                    "old/node.key" => &["644 before", "400 after"],
                    "old/node.crt" => &["444 crt"],
                    _ => continue,
                };
                assert!(expected.contains(&rest), "step {at}: {line}");
            }
            let has = |line: &str| visible.iter().any(|found| found == line);
            assert!(!has("old/node.key 400 after") || has("new/deep/ca.key 400 ca"), "an order other than the given");
            assert!(!has("old/node.crt 444 crt") || has("old/node.key 400 after"), "a certificate before its key");
            if result.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn a_name_taken_in_the_meantime_is_left_to_whoever_took_it() {
        for links in [true, false] {
            let (directory, targets) = scene();
            let steps = Cell::new(0);
            let files = Disturbed { steps: &steps, at: usize::MAX, how: Disturbance::Fails, links };
            let mut staging =
                Staging::begin(files, SystemTime::UNIX_EPOCH, targets.iter().map(|(target, ..)| target)).unwrap();
            for (target, content, mode) in &targets {
                staging.stage(target, content.as_bytes(), *mode).unwrap();
            }
            let room = staging.name.clone();
            fs::write(directory.path().join("old/node.crt"), "theirs").unwrap();
            let before: Vec<_> = tree(directory.path()).into_iter().filter(|line| !line.contains(&room)).collect();
            let error = staging.publish().unwrap_err();
            assert!(matches!(&error, StagingError::Appeared { path } if path.ends_with("old/node.crt")), "{error}");
            assert_eq!(tree(directory.path()), before);
        }
    }

    #[test]
    fn rooms_of_killed_runs_are_removed_when_they_are_old() {
        let directory = tempfile::tempdir().unwrap();
        let room = |name: &str| directory.path().join(name);
        for name in [".certgen-0123456789abcdef", ".certgen-mine"] {
            fs::create_dir(room(name)).unwrap();
        }
        let target = Target { path: room("x"), replaces: None };
        let run = |now| drop(Staging::begin(System, now, [&target]).unwrap());
        let now = fs::metadata(room(".certgen-mine")).unwrap().modified().unwrap();
        run(now + ROOM_IS_LEFT_OVER / 2);
        assert!(room(".certgen-0123456789abcdef").exists(), "it may be another run's");
        run(now + ROOM_IS_LEFT_OVER * 2);
        assert!(!room(".certgen-0123456789abcdef").exists());
        assert!(room(".certgen-mine").exists(), "not a name of ours");
    }
}
