//! The verdict that ECS asks for with `bootstrap healthcheck`: a file that the running sidecar keeps fresh.
//!
//! ECS stops a task that is not healthy, so the verdict is a gate and then a latch. The gate opens once the server has
//! answered `/health/live` with 2xx, or while there cannot be a cluster yet: whoever starts the nodes one after the other
//! and waits for each would otherwise wait for ever for the first. From then on the task is healthy until nothing has
//! listened on the server's port for two minutes: neither a lost quorum nor AWS or DNS being away may make an
//! orchestrator stop a database. [`State::next`] decides and does nothing else.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{error, info, warn};

/// A server that guard starts again, or that truncates its log (observed §1), is back long before.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// The verdict is written after every look at the server, and the slowest look takes 25 s.
const STALE: Duration = Duration::from_mins(1);
const HINT: &str = "the directory must exist and belong to the uid this program runs as";

/// What one look at the task's own server found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// Nobody accepts connections on its port.
    Absent,
    /// Somebody does, whatever is answered, or nothing.
    Present,
    /// Somebody does whose answers cannot be believed: its certificate was refused, or the roots cannot be read.
    Untrusted,
    /// It runs (`/info` answers) and is not ready; so many other nodes may be there: their names have an address, or
    /// nobody could say that they have none.
    Waiting { peers: usize },
    /// It has been ready since it started (`/health/live`).
    Ready,
}

impl Observation {
    /// Whether the server is ready, if that can be told.
    pub(crate) fn is_ready(self) -> Option<bool> {
        match self {
            Self::Ready => Some(true),
            Self::Absent | Self::Present | Self::Waiting { .. } => Some(false),
            Self::Untrusted => None,
        }
    }
}

/// What the verdict depends on besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How many nodes a cluster needs to form; 1 beside a single node.
    pub(crate) quorum: usize,
    /// Whether the node is one of them; a read-only replica is not.
    pub(crate) has_vote: bool,
    /// How long the server may be away.
    pub(crate) patience: Duration,
}

/// What is remembered from look to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The gate was not passed yet.
    Closed,
    /// The gate was passed.
    Open {
        /// Why.
        by: Opened,
        /// Since when nobody listens, without a break.
        absent_since: Option<Instant>,
    },
    /// It was passed, and then the server was away for too long. What starts now passes it anew.
    Gone,
}

/// How the gate was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The server was ready.
    Ready,
    /// There could be no cluster yet.
    NoClusterYet,
}

impl State {
    /// The state after a look.
    pub(crate) fn next(self, seen: Observation, rules: Rules, now: Instant) -> Self {
        let open = |by| Self::Open { by, absent_since: None };
        match (self, seen) {
            (_, Observation::Ready) => open(Opened::Ready),
            (Self::Open { by, absent_since }, Observation::Absent) => {
                let since = absent_since.unwrap_or(now);
                if now.duration_since(since) >= rules.patience {
                    return Self::Gone;
                }
                Self::Open { by, absent_since: Some(since) }
            }
            (Self::Open { by, .. }, _) => open(by),
            // As soon as enough nodes may be there the gate is as for all others; but whoever passed it stays.
            (_, Observation::Waiting { peers }) if usize::from(rules.has_vote) + peers < rules.quorum => {
                open(Opened::NoClusterYet)
            }
            (Self::Closed | Self::Gone, _) => self,
        }
    }

    fn is_healthy(self) -> bool {
        matches!(self, Self::Open { .. })
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Closed => "the server is not ready yet",
            Self::Open { absent_since: Some(_), .. } => "nothing listens on the server's port for a moment",
            Self::Open { by: Opened::Ready, .. } => "the server has been ready",
            Self::Open { by: Opened::NoClusterYet, .. } => {
                "the server runs and waits for nodes that have no address yet"
            }
            Self::Gone => "nothing has listened on the server's port for too long",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Verdict {
    healthy: bool,
    reason: String,
}

/// The running sidecar's side.
#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    rules: Rules,
    state: Cell<State>,
    /// Whether the file could be written the last time.
    is_written: Cell<bool>,
}

impl Health {
    /// Writes the first verdict: not ready yet.
    pub(crate) fn new(path: PathBuf, rules: Rules) -> Self {
        let health = Self { path, rules, state: Cell::new(State::Closed), is_written: Cell::new(true) };
        health.keep_fresh();
        health
    }

    /// Takes a look into account and keeps the verdict fresh.
    pub(crate) fn observe(&self, seen: Observation) {
        let before = self.state.get();
        let state = before.next(seen, self.rules, Instant::now());
        self.state.set(state);
        match (before.is_healthy(), state.is_healthy()) {
            (false, true) => info!("the task is healthy: {}", state.reason()),
            (true, false) => warn!("the task is not healthy any more: {}", state.reason()),
            _ => {}
        }
        self.keep_fresh();
    }

    /// A verdict that is not written is one that ECS does not get: the task is then unhealthy to it. That is said once.
    fn keep_fresh(&self) {
        let written = self.write();
        if let (Err(error), true) = (&written, self.is_written.get()) {
            let path = self.path.display();
            error!("could not write `{path}`, so the task counts as unhealthy: {error} ({HINT})");
        }
        self.is_written.set(written.is_ok());
    }

    fn write(&self) -> io::Result<()> {
        let state = self.state.get();
        let verdict = Verdict { healthy: state.is_healthy(), reason: state.reason().to_owned() };
        let text = serde_json::to_string(&verdict)?;
        let temporary = self.path.with_extension("tmp");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &self.path)
    }
}

/// What `bootstrap healthcheck` reports: `Ok` and `Err` both carry the reason.
///
/// # Errors
///
/// The task is not healthy, or nobody keeps the file fresh.
pub fn check(path: &Path, now: SystemTime) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("could not read `{}`: {error}", path.display());
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let written = fs::metadata(path).and_then(|found| found.modified()).map_err(unreadable)?;
    let age = now.duration_since(written).unwrap_or_default();
    if age > STALE {
        return Err(format!("`{}` is {} s old: bootstrap does not run any more", path.display(), age.as_secs()));
    }
    let verdict: Verdict =
        serde_json::from_str(&text).map_err(|error| format!("`{}` is damaged: {error}", path.display()))?;
    if verdict.healthy { Ok(verdict.reason) } else { Err(verdict.reason) }
}

#[cfg(test)]
mod tests {
    use super::Observation::{Absent, Present, Ready, Untrusted, Waiting};
    use super::*;

    /// Plays looks at their seconds; the verdicts after each, `+` for healthy.
    fn verdicts(nodes: usize, looks: &[(u64, Observation)]) -> String {
        let (rules, start) = (Rules { quorum: nodes / 2 + 1, has_vote: true, patience: PATIENCE }, Instant::now());
        let mut state = State::Closed;
        let look = |&(second, seen): &(u64, Observation)| {
            state = state.next(seen, rules, start + Duration::from_secs(second));
            if state.is_healthy() { '+' } else { '-' }
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn the_gate_opens_when_the_server_is_ready() {
        for nodes in [1, 3, 5, 7] {
            let looks = [(0, Absent), (5, Present), (10, Untrusted), (10_000, Present), (10_005, Ready)];
            assert_eq!(verdicts(nodes, &looks), "----+");
        }
    }

    #[test]
    fn the_gate_opens_while_there_cannot_be_a_cluster() {
        for (nodes, peers, verdict) in [
            (1, 0, "-"),
            (3, 0, "+"),
            (3, 1, "-"),
            (3, 2, "-"),
            (5, 0, "+"),
            (5, 1, "+"),
            (5, 2, "-"),
            (7, 2, "+"),
            (7, 3, "-"),
            (7, 6, "-"),
        ] {
            assert_eq!(verdicts(nodes, &[(0, Waiting { peers })]), verdict, "{peers} peers of {nodes} nodes");
        }
    }

    #[test]
    fn a_read_only_replica_is_none_of_the_nodes_that_a_cluster_needs() {
        let rules = Rules { quorum: 2, has_vote: false, patience: PATIENCE };
        for (peers, is_healthy) in [(0, true), (1, true), (2, false), (3, false)] {
            let state = State::Closed.next(Waiting { peers }, rules, Instant::now());
            assert_eq!(state.is_healthy(), is_healthy, "{peers} of 3");
        }
    }

    /// CloudFormation makes and updates the services of a cluster one after the other and waits for the health of each. A node's
    /// name resolves as soon as it has a task; its server is ready once as many run as a cluster needs.
    fn chain(nodes: usize, quorum: usize) -> Result<(), String> {
        let rules = Rules { quorum, has_vote: true, patience: PATIENCE };
        let (needed, start) = (nodes / 2 + 1, Instant::now());
        let mut states: Vec<State> = Vec::new();
        let seen = |running: usize| if running >= needed { Ready } else { Waiting { peers: running - 1 } };
        for node in 1..=nodes {
            states.push(State::Closed);
            for state in &mut states {
                *state = state.next(seen(node), rules, start);
            }
            if !states.iter().all(|state| state.is_healthy()) {
                return Err(format!("the deployment waits for node {node} of {nodes} for ever"));
            }
        }
        for (node, state) in (1..).zip(&mut states) {
            *state = State::Closed;
            for catching_up in [Absent, Present, Waiting { peers: nodes - 1 }] {
                *state = state.next(catching_up, rules, start);
                if state.is_healthy() {
                    return Err(format!("node {node} of {nodes} is passed over while it catches up"));
                }
            }
            *state = state.next(Ready, rules, start);
        }
        let all = states.iter().all(|state| state.is_healthy());
        all.then_some(()).ok_or_else(|| "not all are healthy in the end".to_owned())
    }

    #[test]
    fn the_services_of_a_cluster_come_up_and_are_updated_one_after_the_other() {
        for nodes in [1, 3, 5, 7] {
            assert_eq!(chain(nodes, nodes / 2 + 1), Ok(()));
        }
        for nodes in [3, 5, 7] {
            let without_the_gate = chain(nodes, 0).unwrap_err();
            assert_eq!(without_the_gate, format!("the deployment waits for node 1 of {nodes} for ever"));
            let always_open = chain(nodes, usize::MAX).unwrap_err();
            assert_eq!(always_open, format!("node 1 of {nodes} is passed over while it catches up"));
        }
    }

    /// Its peer gets an address before it runs, and may take hours to do so.
    #[test]
    fn whoever_waited_for_peers_stays_when_they_come() {
        let looks =
            [(0, Waiting { peers: 0 }), (5, Waiting { peers: 1 }), (9_000, Waiting { peers: 1 }), (9_005, Ready)];
        assert_eq!(verdicts(3, &looks), "++++");
    }

    #[test]
    fn only_the_absence_of_a_listener_for_two_minutes_without_a_break_shuts_it() {
        for first in [Ready, Waiting { peers: 0 }] {
            let looks = [(0, first), (10, Absent), (129, Absent), (130, Absent), (135, Absent)];
            assert_eq!(verdicts(3, &looks), "+++--", "{first:?}");
            let looks = [(0, first), (10, Absent), (129, Absent), (130, Present), (131, Absent), (250, Absent)];
            assert_eq!(verdicts(3, &looks), "++++++", "{first:?}: a server that guard starts again");
            let looks = [(0, first), (10, Present), (90_000, Present), (90_005, Waiting { peers: 2 })];
            assert_eq!(verdicts(3, &looks), "++++", "{first:?}: a server that answers badly is there");
        }
    }

    #[test]
    fn what_comes_back_too_late_passes_the_gate_anew() {
        let away = [(0, Ready), (5, Absent), (125, Absent)];
        let then = |looks: &[(u64, Observation)]| verdicts(3, &[&away[..], looks].concat());
        assert_eq!(then(&[(130, Present), (135, Waiting { peers: 2 })]), "++---");
        assert_eq!(then(&[(130, Ready)]), "++-+");
        assert_eq!(then(&[(130, Waiting { peers: 0 })]), "++-+");
    }

    /// Whatever is seen, a task that was healthy and whose server listens is healthy.
    #[test]
    fn a_task_whose_server_listens_never_becomes_unhealthy() {
        let rules = Rules { quorum: 2, has_vote: true, patience: PATIENCE };
        let all = [Absent, Present, Untrusted, Waiting { peers: 0 }, Waiting { peers: 2 }, Ready];
        for seed in 0..200 {
            let (mut random, mut now, mut state) = (fastrand::Rng::with_seed(seed), Instant::now(), State::Closed);
            for _ in 0..200 {
                let (before, seen) = (state, all[random.usize(..all.len())]);
                now += Duration::from_secs(random.u64(1..60));
                state = state.next(seen, rules, now);
                let became_unhealthy = before.is_healthy() && !state.is_healthy();
                assert!(!became_unhealthy || seen == Absent, "seed {seed}: {before:?}, {seen:?}");
            }
        }
    }

    fn health(path: &Path) -> Health {
        Health::new(path.to_owned(), Rules { quorum: 1, has_vote: true, patience: PATIENCE })
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_tells_the_verdict_and_only_while_it_is_fresh() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health.json");
        assert!(check(&path, SystemTime::now()).unwrap_err().contains("could not read"));
        let health = health(&path);
        assert_eq!(check(&path, SystemTime::now()).unwrap_err(), "the server is not ready yet");
        health.observe(Ready);
        assert_eq!(check(&path, SystemTime::now()).unwrap(), "the server has been ready");
        let later = SystemTime::now() + STALE + Duration::from_secs(2);
        assert!(check(&path, later).unwrap_err().contains("does not run any more"));
        health.observe(Absent);
        assert!(check(&path, SystemTime::now()).is_ok());
        tokio::time::advance(PATIENCE).await;
        health.observe(Absent);
        assert_eq!(
            check(&path, SystemTime::now()).unwrap_err(),
            "nothing has listened on the server's port for too long"
        );
    }

    #[test]
    fn a_clock_that_went_back_is_not_staleness() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health.json");
        health(&path).observe(Ready);
        assert!(check(&path, SystemTime::now() - Duration::from_hours(1)).is_ok());
    }
}
