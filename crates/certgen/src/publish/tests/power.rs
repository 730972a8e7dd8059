//! The machine ends at each call: what was not made durable may be there or not, in any combination. A file that was not is
//! empty or half there, and of the changes of a directory that was not any may be missing (what POSIX promises; most file
//! systems promise more).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A disk in memory that knows what is durable.
#[derive(Clone, Default)]
struct Model {
    nodes: Vec<Node>,
}

#[derive(Clone)]
enum Node {
    Directory {
        durable: BTreeMap<String, usize>,
        /// Changes since; each happens as a whole or not at all.
        pending: Vec<Change>,
    },
    File {
        durable: String,
        written: String,
    },
    Link(PathBuf),
}

/// Names and what they become; nothing is gone.
type Change = Vec<(String, Option<usize>)>;

/// What is there after the power came back: paths with what they are.
type Outcome = BTreeMap<PathBuf, Thing>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Directory,
    File(String),
    Link(PathBuf),
}

const ROOT: usize = 0;

impl Model {
    /// What lies in the directory, all durable.
    fn of(directory: &Path) -> Self {
        let mut model = Self::default();
        model.load(directory);
        model
    }

    fn load(&mut self, path: &Path) -> usize {
        let id = self.nodes.len();
        let found = fs::symlink_metadata(path).unwrap();
        if found.is_dir() {
            self.nodes.push(Node::Directory { durable: BTreeMap::new(), pending: Vec::new() });
            let names = names(path);
            let loaded = names.into_iter().map(|name| (name.clone(), self.load(&path.join(name)))).collect();
            self.nodes[id] = Node::Directory { durable: loaded, pending: Vec::new() };
        } else if found.is_symlink() {
            self.nodes.push(Node::Link(fs::read_link(path).unwrap()));
        } else {
            let text = fs::read_to_string(path).unwrap();
            self.nodes.push(Node::File { durable: text.clone(), written: text });
        }
        id
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The entries that a living process sees.
    fn entries(&self, directory: usize) -> BTreeMap<String, usize> {
        let Node::Directory { durable, pending } = &self.nodes[directory] else { panic!("no directory") };
        apply(durable.clone(), pending.iter())
    }

    fn find(&self, path: &Path) -> usize {
        path.iter().fold(ROOT, |at, name| self.entries(at)[name.to_str().unwrap()])
    }

    fn change(&mut self, path: &Path, change: Change) {
        let parent = self.find(path.parent().unwrap());
        let Node::Directory { pending, .. } = &mut self.nodes[parent] else { panic!("no directory") };
        pending.push(change);
    }

    fn create(&mut self, path: &Path, node: Node) {
        let id = self.add(node);
        self.change(path, vec![(name(path), Some(id))]);
    }

    /// Paths are below the volume.
    fn call(&mut self, volume: &Path, call: &Call<'_>) {
        let below = |path: &Path| path.strip_prefix(volume).unwrap().to_owned();
        match call {
            Call::CreateDirectory(path) => {
                self.create(&below(path), Node::Directory { durable: BTreeMap::new(), pending: Vec::new() });
            }
            Call::CreateFile(path) => {
                self.create(&below(path), Node::File { durable: String::new(), written: String::new() });
            }
            Call::Link(target, path) => self.create(&below(path), Node::Link((*target).to_owned())),
            Call::Write(path, content) => {
                let file = self.find(&below(path));
                let Node::File { written, .. } = &mut self.nodes[file] else { panic!("no file") };
                written.push_str(std::str::from_utf8(content).unwrap());
            }
            Call::SyncFile(path) => {
                let file = self.find(&below(path));
                let Node::File { durable, written } = &mut self.nodes[file] else { panic!("no file") };
                durable.clone_from(written);
            }
            Call::SyncDirectory(path) => {
                let directory = self.find(&below(path));
                let entries = self.entries(directory);
                self.nodes[directory] = Node::Directory { durable: entries, pending: Vec::new() };
            }
            Call::Rename(from, to) => {
                let (from, to) = (below(from), below(to));
                let moved = self.find(&from);
                self.change(&to, vec![(name(&from), None), (name(&to), Some(moved))]);
            }
            Call::Remove(path) => {
                let path = below(path);
                self.change(&path, vec![(name(&path), None)]);
            }
            Call::Attributes => {}
        }
    }

    /// Everything that may be there after the power came back.
    fn outcomes(&self) -> BTreeSet<Outcome> {
        let mut all = BTreeSet::new();
        for is_torn in [false, true] {
            all.extend(self.below(ROOT, &PathBuf::new(), is_torn));
        }
        all
    }

    fn below(&self, id: usize, path: &Path, is_torn: bool) -> Vec<Outcome> {
        let alone = |thing| vec![Outcome::from([(path.to_owned(), thing)])];
        match &self.nodes[id] {
            Node::Link(target) => alone(Thing::Link(target.clone())),
            Node::File { durable, written } if durable == written => alone(Thing::File(durable.clone())),
            Node::File { written, .. } if is_torn => alone(Thing::File(written[..written.len() / 2].to_owned())),
            Node::File { durable, .. } => alone(Thing::File(durable.clone())),
            Node::Directory { durable, pending } => {
                assert!(pending.len() < 12, "too many combinations");
                let mut outcomes = BTreeSet::new();
                for subset in 0..1_u32 << pending.len() {
                    let chosen = pending.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
                    let entries = apply(durable.clone(), chosen.map(|(_, change)| change));
                    let mut here = alone(Thing::Directory);
                    for (name, id) in entries {
                        let there = self.below(id, &path.join(name), is_torn);
                        here = here
                            .iter()
                            .flat_map(|one| {
                                there.iter().map(|other| one.clone().into_iter().chain(other.clone()).collect())
                            })
                            .collect();
                    }
                    outcomes.extend(here);
                }
                outcomes.into_iter().collect()
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn apply<'a>(
    mut entries: BTreeMap<String, usize>,
    changes: impl Iterator<Item = &'a Change>,
) -> BTreeMap<String, usize> {
    for (name, becomes) in changes.flatten() {
        match becomes {
            Some(id) => entries.insert(name.clone(), *id),
            None => entries.remove(name),
        };
    }
    entries
}

/// The key that a reader sees, after a check that it belongs to the rest.
fn read_outcome(outcome: &Outcome) -> Option<String> {
    let resolve = |path: &str| {
        let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
        let mut at = PathBuf::new();
        while !parts.is_empty() {
            let next = at.join(parts.remove(0));
            match outcome.get(&next)? {
                Thing::Link(target) => {
                    let target: Vec<_> = target.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                    parts = [target, parts].concat();
                }
                Thing::Directory => at = next,
                Thing::File(text) => return Some(text.clone()),
            }
        }
        None
    };
    judge([resolve("ca/ca.crt"), resolve("node.crt"), resolve("node.key")])
}

fn restore(outcome: &Outcome) -> tempfile::TempDir {
    let volume = directory();
    for (path, thing) in outcome.iter().filter(|(path, _)| **path != Path::new("")) {
        let path = volume.path().join(path);
        match thing {
            Thing::Directory => System.create_directory(&path, DIRECTORY).unwrap(),
            Thing::Link(target) => symlink(target, path).unwrap(),
            Thing::File(text) => {
                let mode = match name(&path).as_str() {
                    "guard" => PROGRAM,
                    NODE_KEY => KEY,
                    _ => CERTIFICATE,
                };
                let mut file = System.create_file(&path, mode).unwrap();
                System.write(&mut file, text.as_bytes()).unwrap();
            }
        }
    }
    volume
}

#[test]
fn after_a_power_failure_at_any_call_nothing_is_half_there_and_the_next_run_ends_in_the_same_state() {
    let run = Marked::new("new");
    let mut tried = 0;
    for before in BEFORE {
        let wanted = undisturbed(before, &run);
        let volume = volume_with(before);
        let path = volume.path();
        let model = RefCell::new(Model::of(path));
        let seen = RefCell::new(BTreeSet::new());
        let look = || {
            for outcome in model.borrow().outcomes() {
                if seen.borrow().contains(&outcome) {
                    continue;
                }
                let key = read_outcome(&outcome);
                assert!(key.is_some() || before.is_empty(), "what was there is gone: {outcome:#?}");
                recovers(restore(&outcome).path(), &run, &wanted);
                seen.borrow_mut().insert(outcome);
            }
        };
        let is_killed = Cell::new(false);
        let is_last = |call: &Call<'_>| matches!(call, Call::SyncDirectory(_)) && read(path).as_ref() == Some(&run.key);
        // The first run is killed when all names are given and nobody has made that durable; the second one finds it so.
        for may_end in [false, true] {
            is_killed.set(false);
            let disk = Disturbed(|call: &Call<'_>| {
                if is_killed.get() || (!may_end && is_last(call)) {
                    is_killed.set(true);
                    return Verdict::Refuse;
                }
                model.borrow_mut().call(path, call);
                look();
                Verdict::Do
            });
            let ended = run.run(&Volume::open_on(disk, path, None).unwrap());
            assert_eq!(ended.is_ok(), may_end);
            look();
        }
        tried += seen.borrow().len();
    }
    assert!(tried > 200, "only {tried}: are all calls still seen?");
}

/// The model must be able to find what it is for.
#[test]
fn the_model_loses_what_was_not_made_durable() {
    let volume = directory();
    let mut model = Model::of(volume.path());
    let at = |name: &str| volume.path().join(name);
    let mut call = |call: Call<'_>| {
        model.call(volume.path(), &call);
        model.outcomes().len()
    };
    assert_eq!(call(Call::CreateFile(&at("a"))), 2, "there or not");
    assert_eq!(call(Call::Write(&at("a"), b"text")), 3, "or half");
    assert_eq!(call(Call::SyncFile(&at("a"))), 2, "whole or not there");
    assert_eq!(call(Call::SyncDirectory(volume.path())), 1);
    assert_eq!(call(Call::Rename(&at("a"), &at("b"))), 2);
    assert_eq!(call(Call::Link(Path::new("b"), &at("c"))), 4);
    assert_eq!(call(Call::Remove(&at("b"))), 6, "a or b or nothing, with c and without");
}
