//! Runs of the real binary, with everything that they print.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::ops::RangeTo;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eye::Eye;

/// The processes that a fault may kill, by a key of the caller's. A process is taken out before it is waited for, so
/// that no other process is killed that got its id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prey(Arc<Mutex<BTreeMap<usize, u32>>>);

impl Prey {
    pub(crate) fn set(&self, key: usize, id: u32) {
        self.0.lock().unwrap().insert(key, id);
    }

    pub(crate) fn remove(&self, key: usize) {
        self.0.lock().unwrap().remove(&key);
    }

    /// Signals one of them, if it still runs.
    pub(crate) fn signal(&self, key: usize, signal: Signal) -> bool {
        self.0.lock().unwrap().get(&key).is_some_and(|id| send(*id, signal))
    }

    /// Kills all whose keys are in the range.
    pub(crate) fn kill_all(&self, keys: RangeTo<usize>) {
        for (_, id) in self.0.lock().unwrap().range(keys) {
            send(*id, Signal::SIGKILL);
        }
    }
}

fn send(id: u32, signal: Signal) -> bool {
    // 0 and 1 are not processes that a test started.
    assert!(id > 1);
    kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).is_ok()
}

/// A process of ours under test. Killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    printed: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// What it has printed so far, and was read.
    pub(crate) log: String,
    eye: Arc<Eye>,
}

impl Process {
    pub(crate) fn start(name: String, command: &mut Command, eye: &Arc<Eye>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It is the program by now: spawn returns after exec.
        eye.watch(child.id());
        let printed = Arc::default();
        let readers = vec![
            follow(child.stdout.take().unwrap(), Arc::clone(&printed)),
            follow(child.stderr.take().unwrap(), Arc::clone(&printed)),
        ];
        Self { name, child, printed, readers, log: String::new(), eye: Arc::clone(eye) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads what it has printed since, and tells how it ended, if it has.
    pub(crate) fn look(&mut self) -> Option<ExitStatus> {
        self.log.clone_from(&self.printed.lock().unwrap());
        self.child.try_wait().unwrap()
    }

    /// Kills it if it runs, reads the rest of what it printed and shows it to the eye. Gives how it ended.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        self.eye.forget(self.child.id());
        // It may have ended by itself.
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.log.clone_from(&self.printed.lock().unwrap());
        (status, self.log.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.eye.forget(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let printed = self.printed.lock().unwrap();
        self.eye.note(&self.name, &printed);
        for line in printed.lines().filter(|line| line.contains("CloudWatchMetrics")) {
            self.eye.note("metrics", line);
        }
    }
}

fn follow(stream: impl Read + Send + 'static, printed: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            *printed.lock().unwrap() += &(line + "\n");
        }
    })
}

/// Whether the process ended by a kill that a fault or the test sent.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}
