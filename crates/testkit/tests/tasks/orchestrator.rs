//! What ECS does: replace a task with an essential container that ended, and one that its health check has given up.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use infra::ContainerName;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::cluster::Cluster;
use testkit::proxy::FaultProxy;
use testkit::task::{Event, TaskError, What};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::proof::Proof;

const LOOK: Duration = Duration::from_millis(200);
/// As infra sets `retries`.
const RETRIES: usize = 10;
/// ECS waits before it tries again to start a task that did not start.
const START_PAUSE: Duration = Duration::from_secs(1);
/// Until then a process may not have come so far as to listen for signals.
const BEGUN_AFTER: Duration = Duration::from_secs(1);
/// The last lines of all containers that a failure shows.
const KEPT_LINES: usize = 1000;

/// A process of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Sidecar,
    Guard,
    /// The child of guard.
    Server,
}

/// What the orchestrator knows of a node.
#[derive(Debug, Default)]
struct Slot {
    /// Whether something of its task was struck since it was started.
    is_struck: bool,
    was_healthy: bool,
    failed_checks: usize,
    started: Option<Instant>,
    not_before: Option<Instant>,
}

pub(crate) struct Orchestrator<'a> {
    pub(crate) cluster: Cluster<'a>,
    pub(crate) aws: &'a FaultProxy,
    names: Vec<&'a str>,
    slots: Vec<Slot>,
    events: UnboundedReceiver<Event>,
    lines: VecDeque<String>,
    frozen: Vec<(Pid, Instant)>,
    tally: Tally,
}

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    tasks: usize,
    failed_starts: usize,
    pub(crate) renewals: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, failed_starts, renewals } = self;
        write!(
            f,
            "{tasks} tasks, {failed_starts} starts that failed, {renewals} certificates renewed under a running server"
        )
    }
}

impl<'a> Orchestrator<'a> {
    /// Starts nothing yet.
    pub(crate) fn new(cluster: Cluster<'a>, aws: &'a FaultProxy, events: UnboundedReceiver<Event>) -> Self {
        let names = cluster.names();
        let slots = names.iter().map(|_| Slot::default()).collect();
        let (lines, frozen, tally) = (VecDeque::new(), Vec::new(), Tally::default());
        Self { cluster, aws, names, slots, events, lines, frozen, tally }
    }

    /// Looks after the tasks for a while.
    pub(crate) async fn go_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            self.look().await;
            if Instant::now() >= end {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Looks after the tasks until all is in order.
    pub(crate) async fn converge(&mut self, proof: &Proof<'_>, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            self.look().await;
            let missing = match self.slots.iter().position(|slot| !slot.was_healthy) {
                Some(index) => format!("{} is not healthy", self.names[index]),
                None => match proof.finding(&self.cluster).await {
                    None => return,
                    Some(finding) => finding,
                },
            };
            if Instant::now() >= deadline {
                self.fail(&format!("after {} s: {missing}", within.as_secs()));
            }
            sleep(LOOK).await;
        }
    }

    /// Takes everything back that a strike holds up.
    pub(crate) fn calm_down(&mut self) {
        self.aws.heal();
        self.cluster.dns().heal_all();
    }

    async fn look(&mut self) {
        self.thaw();
        self.listen();
        for index in 0..self.names.len() {
            let node = self.names[index];
            if !self.cluster.has_task(node) {
                self.start(index).await;
            } else if let Err(error) = self.cluster.check_task(node) {
                if !self.slots[index].is_struck {
                    self.fail(&format!("{node}, of which nothing was struck: {error}"));
                }
                self.retire(index).await;
            } else if self.cluster.task(node).is_healthy().await.unwrap() {
                self.slots[index].was_healthy = true;
                self.slots[index].failed_checks = 0;
            } else if self.slots[index].was_healthy {
                self.slots[index].failed_checks += 1;
                // A sidecar that was just killed is no verdict: the task is replaced for it.
                if self.slots[index].failed_checks >= RETRIES && !self.slots[index].is_struck {
                    self.fail(&format!("{node} was healthy and is not"));
                }
            }
        }
    }

    async fn start(&mut self, index: usize) {
        if self.slots[index].not_before.is_some_and(|then| Instant::now() < then) {
            return;
        }
        self.slots[index] = Slot::default();
        match self.cluster.start(self.names[index]).await {
            Ok(()) => {
                self.tally.tasks += 1;
                self.slots[index].started = Some(Instant::now());
            }
            // The init container had its deadlines, and AWS was away.
            Err(TaskError::Dependency("certgen", _)) => {
                self.tally.failed_starts += 1;
                self.slots[index].not_before = Some(Instant::now() + START_PAUSE);
            }
            Err(error) => self.fail(&format!("{} does not start: {error}", self.names[index])),
        }
    }

    /// Sends a signal to a process of a task, if it has one.
    pub(crate) fn signal(&mut self, victim: Victim, index: usize, signal: Signal) {
        let Some(process) = self.process(victim, index) else { return };
        self.slots[index].is_struck = true;
        // It may just have ended.
        let _ = kill(process, signal);
    }

    /// Stops a server for a while.
    pub(crate) fn freeze(&mut self, index: usize, time: Duration) {
        let Some(process) = self.process(Victim::Server, index) else { return };
        if kill(process, Signal::SIGSTOP).is_ok() {
            self.frozen.push((process, Instant::now() + time));
        }
    }

    fn thaw(&mut self) {
        self.frozen.retain(|(process, until)| {
            let is_over = Instant::now() >= *until;
            if is_over {
                // It may have been killed.
                let _ = kill(*process, Signal::SIGCONT);
            }
            !is_over
        });
    }

    fn process(&self, victim: Victim, index: usize) -> Option<Pid> {
        let node = self.names[index];
        if !self.cluster.has_task(node) {
            return None;
        }
        let process = self.cluster.task(node).process_id(victim.container())?;
        if victim != Victim::Server {
            return Some(Pid::from_raw(i32::try_from(process).unwrap()));
        }
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
        children.split_whitespace().next().map(|child| Pid::from_raw(child.parse().unwrap()))
    }

    /// Takes the task away without notice.
    pub(crate) async fn lose(&mut self, index: usize) {
        if self.cluster.has_task(self.names[index]) {
            self.cluster.kill(self.names[index]).await.unwrap();
        }
    }

    /// Stops the task: the sidecar first, which withdraws the node.
    pub(crate) async fn retire(&mut self, index: usize) {
        let node = self.names[index];
        if !self.cluster.has_task(node) {
            return;
        }
        // What is frozen cannot end in order.
        self.frozen.iter_mut().for_each(|(_, until)| *until = Instant::now());
        self.thaw();
        let sidecar = self.cluster.stop(node, ContainerName::Bootstrap).await;
        let Slot { is_struck, started, .. } = self.slots[index];
        let has_begun = started.is_some_and(|then| then.elapsed() > BEGUN_AFTER);
        match sidecar {
            Ok(status) if status.success() || is_struck => {}
            Ok(status) if status.signal() == Some(Signal::SIGTERM as i32) && !has_begun => {}
            other => self.fail(&format!("the sidecar of {node} was to end with 0: {other:?}")),
        }
        if let Err(error) = self.cluster.stop(node, ContainerName::EventStore).await {
            self.fail(&format!("{node}: {error}"));
        }
    }

    fn listen(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            let Event { node, container, what } = event;
            let line = match what {
                What::Line(line) => line,
                other => format!("{other:?}"),
            };
            if container == ContainerName::Bootstrap && line.contains("the server serves the new certificate") {
                self.tally.renewals += 1;
            }
            if self.lines.len() == KEPT_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{node} {}: {line}", container.as_str()));
        }
    }

    fn fail(&mut self, finding: &str) -> ! {
        self.listen();
        let lines: Vec<_> = self.lines.iter().map(String::as_str).collect();
        panic!("{finding}\n{}", lines.join("\n"));
    }

    /// Stops all tasks in order.
    pub(crate) async fn finish(mut self) -> Tally {
        for index in 0..self.names.len() {
            self.retire(index).await;
        }
        self.listen();
        self.tally
    }
}
