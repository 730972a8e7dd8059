//! What is on a volume after publishing, alone; `crash.rs` and `power.rs` end the process and the machine in between.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::symlink;

use super::*;

mod crash;
mod power;

/// A call before it has its effect.
enum Call<'a> {
    CreateDirectory(&'a Path),
    CreateFile(&'a Path),
    Write(&'a Path, &'a [u8]),
    SyncFile(&'a Path),
    SyncDirectory(&'a Path),
    Link(&'a Path, &'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    /// Modes and owners.
    Attributes,
}

/// What becomes of a call.
enum Verdict {
    Do,
    /// Nothing happens.
    Refuse,
    /// Nobody is there to see that it was done.
    DoAndRefuse,
    /// Of a write, half is done; else as before.
    DoHalf,
}

/// The file system, and somebody who decides before each call.
struct Disturbed<F: Fn(&Call<'_>) -> Verdict>(F);

impl<F: Fn(&Call<'_>) -> Verdict> Disturbed<F> {
    fn call<T>(&self, call: &Call<'_>, act: impl FnOnce(bool) -> io::Result<T>) -> io::Result<T> {
        let refused = || Err(io::Error::from(ErrorKind::StorageFull));
        match (self.0)(call) {
            Verdict::Do => act(false),
            Verdict::Refuse => refused(),
            Verdict::DoAndRefuse => act(false).and_then(|_| refused()),
            Verdict::DoHalf => act(true).and_then(|_| refused()),
        }
    }
}

impl<F: Fn(&Call<'_>) -> Verdict> Disk for Disturbed<F> {
    type File = (PathBuf, File);

    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.call(&Call::CreateDirectory(path), |_| System.create_directory(path, mode))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.call(&Call::Attributes, |_| System.set_mode(path, mode))
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.call(&Call::Attributes, |_| System.give(path, owner))
    }

    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Self::File> {
        self.call(&Call::CreateFile(path), |_| Ok((path.to_owned(), System.create_file(path, mode)?)))
    }

    fn write(&self, (path, file): &mut Self::File, content: &[u8]) -> io::Result<()> {
        self.call(&Call::Write(path, content), |is_half| {
            System.write(file, if is_half { &content[..content.len() / 2] } else { content })
        })
    }

    fn give_file(&self, (_, file): &Self::File, owner: Owner) -> io::Result<()> {
        self.call(&Call::Attributes, |_| System.give_file(file, owner))
    }

    fn set_file_mode(&self, (_, file): &Self::File, mode: u32) -> io::Result<()> {
        self.call(&Call::Attributes, |_| System.set_file_mode(file, mode))
    }

    fn sync_file(&self, (path, file): &Self::File) -> io::Result<()> {
        self.call(&Call::SyncFile(path), |_| System.sync_file(file))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(&Call::SyncDirectory(path), |_| System.sync_directory(path))
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.call(&Call::Link(target, path), |_| System.link(target, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(&Call::Rename(from, to), |_| System.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(&Call::Remove(path), |_| System.remove_file(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.call(&Call::Remove(path), |_| System.remove_directory(path))
    }
}

/// What one run is to publish, each file with the same mark.
struct Marked {
    root: String,
    certificate: String,
    key: String,
}

impl Marked {
    fn new(mark: &str) -> Self {
        let part = |name| format!("{name} {mark}\n");
        Self { root: part("root"), certificate: part("certificate"), key: part("key") }
    }

    /// As a run of the program does: if it is published already, only the rest is put in order.
    fn run<D: Disk>(&self, volume: &Volume<D>) -> Result<(), PublishError> {
        let is_kept = read(volume.path()).is_some_and(|key| key == self.key);
        let mut staged = volume.stage()?;
        staged.program("guard", b"program")?;
        if !is_kept {
            let roots = [self.root.as_str(), "second root\n"];
            staged.generation(&Generation { roots: &roots, certificate: &self.certificate, key: &self.key })?;
        }
        staged.commit()?;
        volume.settle()
    }

    fn run_in(&self, directory: &Path) {
        self.run(&Volume::open(directory, None).unwrap()).unwrap();
    }
}

/// The key, if there is one, after a check that what a reader sees at this instant belongs together.
#[track_caller]
fn read(directory: &Path) -> Option<String> {
    let file = |name: &str| fs::read_to_string(directory.join(name)).ok();
    judge([file("ca/ca.crt"), file("node.crt"), file("node.key")])
}

/// Of root, certificate and key.
#[track_caller]
fn judge(files: [Option<String>; 3]) -> Option<String> {
    let mark = |text: &Option<String>| text.as_ref().map(|text| text.split_once(' ').unwrap_or_default().1.to_owned());
    let marks = files.each_ref().map(mark);
    let is_whole = marks[0].as_ref().is_none_or(|mark| mark.ends_with('\n'));
    assert!(is_whole && marks.iter().all(|mark| *mark == marks[0]), "a reader sees {files:?}");
    let [_, _, key] = files;
    key
}

/// Everything on a volume; generations by what they are instead of by their random names.
fn state(directory: &Path) -> Vec<String> {
    let current = fs::read_link(directory.join(CURRENT)).unwrap_or_default();
    let mut state = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        let named = name.strip_prefix(current.to_str().unwrap()).filter(|_| current != Path::new(""));
        let shown = named.map_or(name.to_owned(), |rest| format!("<generation>{rest}"));
        let what = if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if found.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            if target == current { "-> <generation>".to_owned() } else { format!("-> {}", target.display()) }
        } else {
            format!("{:?}", fs::read_to_string(&path).unwrap())
        };
        if path != directory {
            state.push(format!("{shown} {:o} {what}", found.mode() & 0o7777));
        }
    }
    state.sort();
    state
}

/// A directory in memory, where there is one: some of these tests make very many files durable.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What a volume may hold before the run that is disturbed.
const BEFORE: [&[&str]; 3] = [&[], &["one"], &["one", "two"]];

fn volume_with(marks: &[&str]) -> tempfile::TempDir {
    let volume = directory();
    for mark in marks {
        Marked::new(mark).run_in(volume.path());
    }
    volume
}

/// What is there when the run was not disturbed, and another one had nothing to do.
fn undisturbed(before: &[&str], run: &Marked) -> Vec<String> {
    let volume = volume_with(before);
    run.run_in(volume.path());
    run.run_in(volume.path());
    state(volume.path())
}

/// The next run leaves nothing behind, and the one after it what an undisturbed one would have left.
#[track_caller]
fn recovers(directory: &Path, run: &Marked, wanted: &[String]) {
    run.run_in(directory);
    let names = names(directory);
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(count(TEMPORARY_PREFIX) == 0 && count(GENERATION_PREFIX) <= 2, "{names:?}");
    run.run_in(directory);
    assert_eq!(state(directory), wanted);
}

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
    publish(path, &generation("key\n"), None).unwrap();
    assert_eq!(fs::read_to_string(path.join("ca/ca.crt")).unwrap(), "root one\n");
    assert_eq!(names(&path.join("ca")), [format!("ca-{}.crt", short_digest("root two\n")), "ca.crt".to_owned()]);
    assert_eq!(fs::read_to_string(path.join("node.key")).unwrap(), "key\n");
    assert_eq!((mode(&path.join("node.key")), mode(&path.join("node.crt"))), (0o400, 0o444));
    assert_eq!((mode(&path.join("ca")), mode(&path.join("ca/ca.crt"))), (0o755, 0o444));
}

#[test]
fn the_next_generation_replaces_it_and_the_one_before_last_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    for key in ["1", "2", "3"] {
        publish(directory.path(), &generation(key), None).unwrap();
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
        let error = publish(directory.path(), &generation("key"), None).unwrap_err();
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
    publish(directory.path(), &generation("key"), None).unwrap();
    assert!(names(directory.path()).iter().all(|name| !name.ends_with("-dead")));
}

#[test]
fn a_program_is_installed_once() {
    let directory = tempfile::tempdir().unwrap();
    let volume = Volume::open(directory.path(), None).unwrap();
    let install = |content| {
        let mut staged = volume.stage().unwrap();
        staged.program("guard", content).unwrap();
        staged.commit().unwrap();
    };
    let path = directory.path().join("guard");
    install(b"one");
    assert_eq!(mode(&path), 0o555);
    let inode = fs::metadata(&path).unwrap().ino();
    install(b"one");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    install(b"two");
    assert_eq!(fs::read(&path).unwrap(), b"two");
}
