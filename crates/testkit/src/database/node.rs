//! One node: its state over time, what it knows of passwords, and the requests that it does not answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::options::FirstPasswords;
use super::users::{Hash, Users};

/// From listening to leader with users on empty data, and from there to the first 204 (observed §1).
const LISTENING_TO_LEADER: Duration = Duration::from_millis(60);
const LEADER_TO_READY: Duration = Duration::from_millis(20);
/// The server looks at the notices once in this time, each process on its own clock (observed §4).
const POLL: Duration = Duration::from_secs(1);
/// A request that was not answered for this long may get a 408, when other requests come (observed §3).
const UNANSWERED: Duration = Duration::from_secs(10);
/// Requests are spread over workers, and only a later one on the same worker clears an old one: two to six are needed.
const WORKERS: u64 = 4;

/// Where in its life the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    PreLeader,
    Leader,
    ShuttingDown,
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Anonymous,
    User {
        login: String,
        groups: Vec<String>,
    },
    /// Node certificate: user `system`, groups `system` and `$admins`.
    System,
}

impl Caller {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::User { login, .. } => login,
            Self::System => "system",
        }
    }

    fn is_in(&self, group: &str) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User { groups, .. } => groups.iter().any(|found| found == group),
            Self::System => true,
        }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.is_in("$admins")
    }

    pub(super) fn is_operator(&self) -> bool {
        self.is_admin() || self.is_in("$ops")
    }
}

/// What a login attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted(Caller),
    Refused,
    /// The node cannot read users just now.
    NotReady,
}

/// The node.
#[derive(Debug)]
pub(super) struct Node {
    inner: Mutex<Inner>,
    scale: f64,
}

#[derive(Debug)]
struct Inner {
    state: State,
    live: bool,
    users: Users,
    /// What this process knows of passwords; filled by successful logins alone, without expiry.
    cache: BTreeMap<String, Hash>,
    notices_seen: usize,
    unanswered: Vec<Unanswered>,
    requests: u64,
    in_flight: usize,
}

#[derive(Debug)]
struct Unanswered {
    since: Instant,
    worker: u64,
    give_up: oneshot::Sender<()>,
}

impl Node {
    /// A node on the given users. `scale` stretches every time that the server has of its own.
    pub(super) fn new(users: Users, scale: f64) -> Self {
        let inner = Inner {
            state: State::PreLeader,
            live: false,
            // Old notices were for the process before.
            notices_seen: users.notices().len(),
            users,
            cache: BTreeMap::new(),
            unanswered: Vec::new(),
            requests: 0,
            in_flight: 0,
        };
        Self { inner: Mutex::new(inner), scale }
    }

    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    /// From listening to ready. On empty data the users come into being with the leader.
    pub(super) async fn become_ready(&self, first: &FirstPasswords) -> io::Result<()> {
        tokio::time::sleep(self.scaled(LISTENING_TO_LEADER)).await;
        self.with(|inner| {
            if inner.users.is_new() {
                let groups = |group: &str| Some(vec![group.to_owned()]);
                inner.users.create("admin", "Event Store Administrator", groups("$admins"), &first.admin)?;
                inner.users.create("ops", "Event Store Operations", groups("$ops"), &first.ops)?;
            }
            inner.state = inner.state.max(State::Leader);
            Ok::<_, io::Error>(())
        })?;
        tokio::time::sleep(self.scaled(LEADER_TO_READY)).await;
        self.with(|inner| inner.live = inner.state == State::Leader);
        Ok(())
    }

    /// Follows the notices. Never ends.
    pub(super) async fn poll_notices(&self) {
        loop {
            tokio::time::sleep(self.scaled(POLL)).await;
            self.with(|inner| {
                let changed = inner.users.notices()[inner.notices_seen..].to_vec();
                inner.notices_seen += changed.len();
                for login in changed {
                    inner.cache.remove(&login);
                }
            });
        }
    }

    pub(super) fn state(&self) -> (State, bool) {
        self.with(|inner| (inner.state, inner.live))
    }

    pub(super) fn shut_down(&self) {
        self.with(|inner| {
            inner.state = State::ShuttingDown;
            inner.live = false;
        });
    }

    /// Judges a password. A login that is in the cache is compared with the cache alone.
    pub(super) fn log_in(&self, login: &str, password: &str) -> Verdict {
        self.with(|inner| {
            let cached = inner.cache.get(login).cloned();
            if cached.is_none() && inner.state == State::ShuttingDown {
                return Verdict::NotReady;
            }
            let Some(user) = inner.users.get(login).cloned() else { return Verdict::Refused };
            let known = cached.as_ref().unwrap_or(&user.password);
            if !known.matches(password) || (cached.is_none() && user.disabled) {
                return Verdict::Refused;
            }
            let known = known.clone();
            inner.cache.insert(login.to_owned(), known);
            Verdict::Accepted(Caller::User { login: user.login, groups: user.groups.unwrap_or_default() })
        })
    }

    pub(super) fn users<T>(&self, work: impl FnOnce(&mut Users) -> T) -> T {
        self.with(|inner| work(&mut inner.users))
    }

    /// Counts an API request that has arrived; those that wait for long on the same worker are given up now.
    pub(super) fn arrived(&self) -> u64 {
        let patience = self.scaled(UNANSWERED);
        self.with(|inner| {
            inner.requests += 1;
            // A fixed scramble of the number spreads requests as unevenly as a thread pool does, and repeatably.
            let worker = (inner.requests.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % WORKERS;
            let (late, waiting) = std::mem::take(&mut inner.unanswered)
                .into_iter()
                .partition(|request: &Unanswered| request.worker == worker && request.since.elapsed() >= patience);
            inner.unanswered = waiting;
            for request in late {
                // Whoever asked may have gone.
                let _ = request.give_up.send(());
            }
            worker
        })
    }

    /// Waits as a request does that the server cannot finish: until a 408 is due, which may be never.
    pub(super) async fn never_answer(&self, worker: u64) {
        let (give_up, over) = oneshot::channel();
        self.with(|inner| inner.unanswered.push(Unanswered { since: Instant::now(), worker, give_up }));
        let _ = over.await;
    }

    pub(super) fn enter(&self) {
        self.with(|inner| inner.in_flight += 1);
    }

    pub(super) fn leave(&self) {
        self.with(|inner| inner.in_flight -= 1);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.with(|inner| inner.in_flight)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().expect("nobody panics while holding the node"))
    }
}
