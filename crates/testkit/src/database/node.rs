//! One node: its state, what it knows of users, passwords and other nodes, and the requests that it does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::certificates::Identity;
use super::line::{Line, Timings};
use super::members::{Endpoint, Info, Members, State};
use super::names::Names;
use super::options::Options;
use super::scavenges::Scavenge;
use super::server::Settings;
use super::users::{Event, Hash, Record, Users};

/// The server looks at the notices once in this time, each process on its own clock (observed §4).
const POLL: Duration = Duration::from_secs(1);
/// How long a poll of the notices takes that gets lost, and how long the server then waits (lines §C).
const LOST_POLL: Duration = Duration::from_secs(10);
/// A request that was not answered for this long may get a 408, when other requests come (observed §3).
const UNANSWERED: Duration = Duration::from_secs(10);
/// Requests are spread over workers, and only a later one on the same worker clears an old one: two to six are needed.
const WORKERS: u64 = 4;

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

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// Somebody else has written the same user in between.
    Conflict,
    /// There is no leader with a majority, and nobody will say so (observed §3).
    Never,
}

/// Why a process ends by itself, with code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// There are enough members without it (observed §5).
    Surplus,
    /// It has records that the leader does not have (observed §1, contract §6).
    Truncation,
}

/// The node.
#[derive(Debug)]
pub(super) struct Node {
    inner: Mutex<Inner>,
    /// Something has changed, for whoever waits for it.
    changed: watch::Sender<()>,
    pub(super) options: Options,
    /// `None` in insecure mode.
    pub(super) identity: watch::Sender<Option<Arc<Identity>>>,
    pub(super) names: Names,
    pub(super) instance_id: String,
    /// How long it takes to catch up, at the least.
    pub(super) catch_up: Duration,
    /// How long a scavenge takes, in seconds before they are stretched.
    pub(super) scavenge_seconds: u64,
    scale: f64,
}

/// What changes.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is true or false by itself")]
pub(super) struct Inner {
    pub(super) state: State,
    /// Whether it takes part in elections and counts for a majority.
    pub(super) has_vote: bool,
    /// Since when it is in this state.
    pub(super) since: Instant,
    /// Whether `/health/live` is 204: from the first leader or follower on, until it shuts down (contract §3.1).
    pub(super) live: bool,
    pub(super) users: Users,
    pub(super) members: Members,
    /// The highest epoch that this node has followed or voted for.
    pub(super) epoch: u64,
    /// Whom it follows, and when that one last claimed to lead.
    pub(super) leader: Option<Endpoint>,
    pub(super) claimed: Instant,
    /// Whether it has all that the leader had when it last heard of it.
    pub(super) is_in_step: bool,
    /// A leader that resigns makes everybody take more time over the election (observed §5).
    pub(super) after_resignation: bool,
    /// This node was the one that resigned.
    pub(super) has_resigned: bool,
    /// Since when a leader has had no majority.
    pub(super) alone_since: Option<Instant>,
    pub(super) ending: Option<Ending>,
    /// What this process knows of passwords; filled by successful logins alone, without expiry.
    cache: BTreeMap<String, Hash>,
    /// The last scavenge of this process.
    pub(super) scavenge: Option<Scavenge>,
    notices_seen: usize,
    unanswered: Vec<Unanswered>,
    hung: u64,
    requests: u64,
    in_flight: usize,
    said: BTreeSet<String>,
}

#[derive(Debug)]
struct Unanswered {
    number: u64,
    since: Instant,
    worker: u64,
    give_up: oneshot::Sender<()>,
}

impl Inner {
    pub(super) fn enter(&mut self, state: State) {
        if self.state != State::ShuttingDown && self.state != state {
            self.state = state;
            self.since = Instant::now();
        }
    }

    /// Stores a record of this leader.
    fn append(&mut self, event: Event) -> usize {
        let record = Record { epoch: self.epoch, event };
        stored(self.users.store(record))
    }

    /// Remembers a higher epoch, for good.
    pub(super) fn raise_epoch(&mut self, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            stored(self.users.keep_epoch(epoch));
        }
    }

    pub(super) fn has_majority(&self, cluster_size: usize) -> bool {
        self.members.alive_voters().count() + 1 > cluster_size / 2
    }

    /// How many records a majority has stored.
    pub(super) fn stored_by_majority(&self, cluster_size: usize) -> usize {
        let mut lengths: Vec<_> = self.members.alive_voters().filter_map(|member| member.stored).collect();
        lengths.push(self.users.end().length);
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.get(cluster_size / 2).copied().unwrap_or_default()
    }

    /// What a majority has counts, if this node leads.
    pub(super) fn count_what_a_majority_has(&mut self, cluster_size: usize) {
        if self.state == State::Leader {
            let length = self.stored_by_majority(cluster_size);
            self.users.apply_up_to(length);
        }
    }
}

/// A real server ends when its storage fails, and so does this one.
pub(super) fn stored<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("Unexpected error in StorageWriterService. Terminating the process... {error}");
        std::process::exit(1);
    })
}

impl Node {
    /// A node on the given users. Of the settings it takes the times, and how they are stretched.
    pub(super) fn new(
        options: Options,
        identity: Option<Identity>,
        names: Names,
        users: Users,
        settings: &Settings,
    ) -> io::Result<Self> {
        let state = match (options.cluster_size, options.is_read_only_replica) {
            (..=1, _) => State::PreLeader,
            (_, false) => State::DiscoverLeader,
            (_, true) => State::ReadOnlyLeaderless,
        };
        let inner = Inner {
            state,
            has_vote: !options.is_read_only_replica,
            since: Instant::now(),
            live: false,
            members: Members::default(),
            epoch: users.epoch()?,
            leader: None,
            claimed: Instant::now(),
            is_in_step: false,
            after_resignation: false,
            has_resigned: false,
            alone_since: None,
            ending: None,
            cache: BTreeMap::new(),
            scavenge: None,
            // Old notices were for the process before.
            notices_seen: users.notices().len(),
            users,
            unanswered: Vec::new(),
            hung: 0,
            requests: 0,
            in_flight: 0,
            said: BTreeSet::new(),
        };
        Ok(Self {
            inner: Mutex::new(inner),
            changed: watch::Sender::default(),
            options,
            identity: watch::Sender::new(identity.map(Arc::new)),
            names,
            instance_id: uuid::Uuid::new_v4().to_string(),
            catch_up: settings.catch_up,
            scavenge_seconds: settings.scavenge_seconds,
            scale: settings.time_scale,
        })
    }

    pub(super) fn line(&self) -> Line {
        self.options.line
    }

    /// What it shows and believes now.
    ///
    /// # Errors
    ///
    /// In insecure mode there is nothing of the kind.
    pub(super) fn identity(&self) -> Result<Arc<Identity>, &'static str> {
        self.identity.borrow().clone().ok_or("it runs without TLS")
    }

    pub(super) fn timings(&self) -> Timings {
        self.options.line.timings()
    }

    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    pub(super) async fn pause(&self, time: Duration) {
        tokio::time::sleep(self.scaled(time)).await;
    }

    /// Looks at the node.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().expect("nobody panics while holding the node"))
    }

    /// Changes the node, and wakes whoever waits for a change.
    pub(super) fn change<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let done = self.with(work);
        self.changed.send_replace(());
        done
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until there is something to see.
    pub(super) async fn wait_for<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let mut changes = self.changes();
        loop {
            if let Some(seen) = self.with(&mut look) {
                return seen;
            }
            // The sender lives as long as the node.
            let _ = changes.changed().await;
        }
    }

    /// Prints what was not printed before.
    pub(super) fn say_once(&self, line: &str) {
        if self.with(|inner| inner.said.insert(line.to_owned())) {
            eprintln!("{line}");
        }
    }

    /// What the node tells others about itself.
    pub(super) fn info(&self, inner: &Inner) -> Info {
        Info {
            name: self.options.own_name.clone(),
            for_clients: self.options.for_clients.clone(),
            replication: self.options.replication.clone(),
            instance_id: self.instance_id.clone(),
            version: self.line().version().to_owned(),
            state: inner.state,
            epoch: inner.epoch,
            stored: inner.users.end(),
            bytes: inner.users.bytes(),
            priority: self.options.priority,
            has_vote: inner.has_vote,
            has_resigned: inner.has_resigned,
        }
    }

    /// Follows the notices, with a phase of its own. Never ends. `lose_first` is what 22.10 was seen to do after a start:
    /// the first poll gets lost, and for 20 s no password changes.
    pub(super) async fn poll_notices(&self, lose_first: bool) {
        let [phase, ..] = uuid::Uuid::new_v4().into_bytes();
        self.pause(POLL.mul_f64(f64::from(phase) / 256.0)).await;
        if lose_first {
            self.pause(LOST_POLL).await;
            eprintln!("Timeout reading stream: \"$users-password-notifications\". Trying again in 10 seconds.");
            self.pause(LOST_POLL).await;
        }
        loop {
            self.with(|inner| {
                let changed = inner.users.notices()[inner.notices_seen..].to_vec();
                inner.notices_seen += changed.len();
                for login in changed {
                    inner.cache.remove(&login);
                }
            });
            self.pause(POLL).await;
        }
    }

    pub(super) fn shut_down(&self) {
        self.change(|inner| {
            inner.enter(State::ShuttingDown);
            inner.live = false;
        });
    }

    /// Judges a password. A login that is in the cache is compared with the cache alone.
    pub(super) fn log_in(&self, login: &str, password: &str) -> Verdict {
        let refused_before_leader = self.line().refuses_logins_before_leader();
        self.with(|inner| {
            let cached = inner.cache.get(login).cloned();
            let cannot_read =
                inner.state == State::ShuttingDown || (inner.state == State::PreLeader && refused_before_leader);
            if cached.is_none() && cannot_read {
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

    /// Writes an event and waits until it counts; `expected` is the version that its user must still have.
    pub(super) async fn write(&self, event: Event, expected: Option<(&str, Option<usize>)>) -> Result<(), Unwritten> {
        let size = self.options.cluster_size;
        let (length, epoch) = self.change(|inner| {
            if inner.state != State::Leader || !inner.has_majority(size) {
                return Err(Unwritten::Never);
            }
            if expected.is_some_and(|(login, version)| inner.users.version(login) != version) {
                return Err(Unwritten::Conflict);
            }
            let length = inner.append(event);
            inner.count_what_a_majority_has(size);
            Ok((length, inner.epoch))
        })?;
        self.wait_for(|inner| {
            if inner.epoch != epoch || !matches!(inner.state, State::Leader | State::ResigningLeader) {
                Some(Err(Unwritten::Never))
            } else {
                (inner.users.applied() >= length).then_some(Ok(()))
            }
        })
        .await
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

    /// Waits as a request does that the server cannot finish: until a 408 is due, which may be never. The server goes on
    /// waiting when the client has gone (observed-25 §D).
    pub(super) async fn never_answer(&self, worker: u64) {
        let (_, over) = self.hang(worker);
        let _ = over.await;
    }

    /// Notes that a request hangs; what comes back tells when it is to be given up.
    pub(super) fn hang(&self, worker: u64) -> (u64, oneshot::Receiver<()>) {
        let (give_up, over) = oneshot::channel();
        self.with(|inner| {
            inner.hung += 1;
            let number = inner.hung;
            inner.unanswered.push(Unanswered { number, since: Instant::now(), worker, give_up });
            (number, over)
        })
    }

    /// Notes that a request was answered after all.
    pub(super) fn settle(&self, number: u64) {
        self.with(|inner| inner.unanswered.retain(|request| request.number != number));
    }

    pub(super) fn enter_request(&self) {
        self.with(|inner| inner.in_flight += 1);
    }

    pub(super) fn leave_request(&self) {
        self.with(|inner| inner.in_flight -= 1);
    }

    /// Whether a request is still not answered, or never was before its client gave up.
    pub(super) fn is_busy(&self) -> bool {
        self.with(|inner| inner.in_flight > 0 || !inner.unanswered.is_empty())
    }
}
