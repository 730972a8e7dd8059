//! The entry of the ready node in the registry: written, looked at again, put right, withdrawn; and beside the leader the
//! entries of the long dead.
//!
//! A predecessor and its successor never fight over the entry of their node. Only a sidecar whose server is ready writes,
//! and guard lets a successor's server start only when its predecessor's has ended; should both be ready all the same,
//! the younger wins ([`Instance::since`]). The same lock keeps a predecessor from removing its successor's entry on the
//! word of a read that is a moment old: it removes only while its own server is ready or has been a moment ago.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::backoff::{Backoff, jittered};
use crate::ports::{AwsError, AwsErrorKind, Entry, Instance, Members, Membership, Registry};

/// After something did not work; the longest pause is the interval.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// ECS kills the container 30 s after SIGTERM; the database is not stopped before this program has ended.
const WITHDRAWAL_BUDGET: Duration = Duration::from_secs(20);
const WITHDRAWAL_PAUSE: Duration = Duration::from_millis(500);

/// The own server is looked at this often, at least, between two looks at the registry.
pub(crate) const LOOKS: u32 = 6;

/// What this sidecar knows about its own entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// There is none of this task.
    Nothing,
    /// There may be one; it was not seen since it was written last.
    Unseen,
    /// It was seen.
    Seen,
}

/// How the own server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Ready,
    /// Not ready for so long that clients are better off without it.
    Gone,
    /// Neither.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Write,
    Withdraw,
    /// A younger task of this node has taken over.
    Yield,
}

/// What is to be done about the own entry.
fn next(wanted: &Instance, entry: Option<&Entry>, presence: Presence) -> Step {
    let is_own = entry.is_some_and(|entry| entry.task_arn() == wanted.task_arn);
    match (presence, entry) {
        (Presence::Ready, Some(entry)) if entry.shows(wanted) => Step::Nothing,
        (Presence::Ready, Some(entry)) if !is_own && entry.since() > wanted.since => Step::Yield,
        (Presence::Ready, _) => Step::Write,
        (Presence::Gone, Some(_)) if is_own => Step::Withdraw,
        (Presence::Gone | Presence::Unclear, _) => Step::Nothing,
    }
}

/// One node's registration.
#[derive(Debug)]
pub struct Registration<R> {
    registry: R,
    node: String,
    /// How often the entry is looked at. A server that is not ready for as long is gone; a member that gossip calls dead
    /// for twice as long is removed.
    interval: Duration,
    started: Instant,
    /// What the entry is to say; [`Instance::since`] is 0 until somebody has looked at the entry.
    wanted: RefCell<Option<Instance>>,
    /// Whether it has said so once, since the program started.
    is_registered: Cell<bool>,
    written: Cell<Written>,
    /// What was seen when it was written last, and late readers may see for a while.
    replaced: RefCell<Option<Entry>>,
    presence: Cell<Presence>,
    ready_at: Cell<Option<Instant>>,
    /// Whether the credentials were in order since the server came back last.
    secured: Cell<bool>,
    changed: Notify,
    returned: Notify,
}

impl<R: Registry> Registration<R> {
    /// Of the node with this name, nothing registered yet.
    pub fn new(registry: R, node: impl Into<String>, interval: Duration) -> Self {
        Self {
            registry,
            node: node.into(),
            interval,
            started: Instant::now(),
            wanted: RefCell::new(None),
            is_registered: Cell::new(false),
            written: Cell::new(Written::Nothing),
            replaced: RefCell::new(None),
            presence: Cell::new(Presence::Unclear),
            ready_at: Cell::new(None),
            secured: Cell::new(false),
            changed: Notify::new(),
            returned: Notify::new(),
        }
    }

    /// From now on the node, whose credentials have just been found in order, is to be registered: [`Self::keep`] does it at
    /// once. An entry that says all this is left; any other is replaced, whoever wrote it.
    pub fn register(&self, instance: Instance) {
        let known = self.wanted.take().filter(|known| known.task_arn == instance.task_arn);
        let since = known.map_or(0, |known| known.since);
        self.wanted.replace(Some(Instance { since, ..instance }));
        self.forget_return();
        self.secured.set(true);
        self.changed.notify_one();
    }

    async fn write(&self, instance: &Instance, instead_of: Option<Entry>) -> Result<(), AwsError> {
        self.written.set(Written::Unseen);
        *self.replaced.borrow_mut() = instead_of;
        self.registry.register(instance).await
    }

    /// Has the entry say something else from now on, for example after the certificate was renewed. [`Self::keep`] writes
    /// it at once, and again until it is seen.
    pub fn update(&self, change: impl FnOnce(&mut Instance)) {
        if let Some(wanted) = self.wanted.borrow_mut().as_mut() {
            change(wanted);
        }
        self.changed.notify_one();
    }

    /// Ends when the server has come back after it was gone: its credentials are then to be looked at before it is
    /// registered again.
    pub async fn returned(&self) {
        self.returned.notified().await;
    }

    /// The credentials are in order.
    pub fn secured(&self) {
        self.forget_return();
        if !self.secured.replace(true) {
            self.changed.notify_one();
        }
    }

    /// Whatever returned before is secured by now.
    fn forget_return(&self) {
        let _ = self.returned.notified().now_or_never();
    }

    /// Takes a look at the own server into account: whether it is ready, or `None` if nobody can tell. Somebody looks at
    /// least six times in an interval, whatever AWS takes its time for.
    pub fn observe(&self, is_ready: Option<bool>) {
        let presence = match is_ready {
            Some(true) => {
                self.ready_at.set(Some(Instant::now()));
                Presence::Ready
            }
            Some(false) if !self.was_ready_within(self.interval) => Presence::Gone,
            Some(false) | None => Presence::Unclear,
        };
        let before = self.presence.replace(presence);
        match presence {
            Presence::Ready if before == Presence::Ready => {}
            Presence::Ready if !self.secured.get() => self.returned.notify_one(),
            // It was to be written before, and could not be.
            Presence::Ready if self.written.get() == Written::Nothing => self.changed.notify_one(),
            Presence::Gone => {
                self.secured.set(false);
                if self.may_withdraw() {
                    self.changed.notify_one();
                }
            }
            Presence::Ready | Presence::Unclear => {}
        }
    }

    /// Registers the node, looks at its entry at every interval plus up to a quarter and puts it right; beside the leader,
    /// removes the entries of the long dead. Withdraws while the own server is gone. Never ends.
    pub async fn keep(&self, server: &impl Membership) -> Infallible {
        let mut dead = Dead::default();
        let mut last = String::new();
        let mut backoff = Backoff::new(SHORTEST_PAUSE, self.interval);
        let mut pause = jittered(self.interval);
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(pause) => {}
            }
            if self.wanted.borrow().is_none() {
                continue;
            }
            self.learn_member(server).await;
            let mut looked = self.look().await;
            if looked.is_ok() {
                looked = self.remove_the_dead(server, &mut dead).await;
            } else {
                dead.forget();
            }
            let said = match looked {
                Ok(()) => {
                    backoff.reset();
                    pause = jittered(self.interval);
                    String::new()
                }
                Err(error) => {
                    pause = backoff.pause();
                    error.with_hint("it is looked at again soon")
                }
            };
            if said != last && !said.is_empty() {
                warn!(node = self.node, "the registration is looked at again: {said}");
            }
            last = said;
        }
    }

    fn was_ready_within(&self, time: Duration) -> bool {
        self.ready_at.get().is_some_and(|at| at.elapsed() < time)
    }

    /// Whether an entry of ours may exist, and no successor's in its place that a late read does not show.
    fn may_withdraw(&self) -> bool {
        self.written.get() != Written::Nothing && self.was_ready_within(self.interval * 3 / 2)
    }

    /// Without a majority the server does not tell how others know it.
    async fn learn_member(&self, server: &impl Membership) {
        let is_unknown = self.wanted.borrow().as_ref().is_some_and(|wanted| wanted.member.is_none());
        if is_unknown
            && let Ok(members) = server.members().await
            && let Some(wanted) = self.wanted.borrow_mut().as_mut()
        {
            wanted.member = Some(members.own);
        }
    }

    async fn look(&self) -> Result<(), AwsError> {
        let Some(mut wanted) = self.wanted.borrow().clone() else { return Ok(()) };
        let entry = self.registry.entry(&self.node).await?;
        if wanted.since == 0 {
            wanted.since = since(&wanted.task_arn, entry.as_ref());
            if let Some(kept) = self.wanted.borrow_mut().as_mut() {
                kept.since = wanted.since;
            }
        }
        if entry.as_ref().is_some_and(|entry| entry.shows(&wanted)) {
            self.written.set(Written::Seen);
            self.tell_registered(&wanted);
        }
        match next(&wanted, entry.as_ref(), self.presence.get()) {
            Step::Write if !self.secured.get() => {}
            Step::Write if !self.is_registered.get() => {
                self.write(&wanted, entry).await?;
                self.tell_registered(&wanted);
            }
            Step::Write => {
                info!(node = self.node, "the entry is gone or differs: registering the node again");
                self.write(&wanted, entry).await?;
                info!(node = self.node, "registered again");
            }
            Step::Withdraw if !self.may_withdraw() => {}
            Step::Withdraw => {
                info!(node = self.node, "the server is gone: withdrawing the node until it is ready again");
                self.registry.withdraw(&self.node).await?;
                self.written.set(Written::Nothing);
            }
            Step::Yield => warn!(node = self.node, "a younger task of this node is registered, and stays so"),
            Step::Nothing => {}
        }
        Ok(())
    }

    fn tell_registered(&self, instance: &Instance) {
        if !self.is_registered.replace(true) {
            let after_ms = self.started.elapsed().as_millis();
            info!(node = self.node, address = %instance.address, after_ms, "registered");
        }
    }

    async fn remove_the_dead(&self, server: &impl Membership, dead: &mut Dead) -> Result<(), AwsError> {
        let Some(members) = led(server).await else {
            dead.forget();
            return Ok(());
        };
        let entries = self.registry.entries().await?;
        for entry in dead.due(&entries, &members, &self.node, self.interval * 2) {
            let now = self.registry.entry(&entry.node).await?;
            // The server is asked last: a successor registers some seconds after gossip has called it alive.
            let is_dead = led(server).await.is_some_and(|members| is_dead(&entry, &members));
            if !is_dead || now.as_ref().map(Entry::task_arn) != Some(entry.task_arn()) {
                continue;
            }
            info!(node = entry.node, task = entry.task_arn(), "gossip calls the node dead: removing its entry");
            self.registry.withdraw(&entry.node).await?;
        }
        Ok(())
    }

    /// Takes this task's entry out of the registry, and no other: a successor may have replaced it already. Takes 20 s at
    /// most.
    pub async fn withdraw(&self) {
        let Some(wanted) = self.wanted.take() else { return };
        let node = &self.node;
        if self.written.get() == Written::Nothing {
            return;
        }
        if !self.may_withdraw() {
            warn!(node, "the entry may remain: the server has been gone for long, a successor may have come");
            return;
        }
        let mut last = "it was not seen yet".to_owned();
        let withdrawal = async {
            loop {
                match self.withdraw_once(&wanted).await {
                    Ok(Some(outcome)) => return Ok(outcome),
                    Ok(None) => {}
                    Err(error) if matches!(error.kind, AwsErrorKind::Denied | AwsErrorKind::Invalid) => {
                        return Err(error);
                    }
                    Err(error) => last = error.to_string(),
                }
                sleep(WITHDRAWAL_PAUSE).await;
            }
        };
        match timeout(WITHDRAWAL_BUDGET, withdrawal).await {
            Ok(Ok(outcome)) => info!(node, "{outcome}"),
            Ok(Err(error)) => warn!(node, "the entry may remain: {error}"),
            Err(_) => {
                let seconds = WITHDRAWAL_BUDGET.as_secs();
                warn!(node, "the entry may remain: not withdrawn within {seconds} s: {last}");
            }
        }
    }

    /// `None`: what was written may still come to be seen.
    async fn withdraw_once(&self, wanted: &Instance) -> Result<Option<&'static str>, AwsError> {
        match self.registry.entry(&self.node).await? {
            Some(entry) if entry.task_arn() == wanted.task_arn => {
                self.registry.withdraw(&self.node).await?;
                Ok(Some("withdrawn"))
            }
            Some(entry) if self.written.get() == Written::Unseen && self.replaced.borrow().as_ref() == Some(&entry) => {
                Ok(None)
            }
            Some(_) => Ok(Some("the entry belongs to another task by now")),
            None if self.written.get() == Written::Unseen => Ok(None),
            None => Ok(Some("there was no entry")),
        }
    }
}

/// [`Instance::since`] of a task that finds `entry` when it is about to register first.
fn since(task_arn: &str, entry: Option<&Entry>) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    // A clock that stands at the beginning has a time all the same: 0 is none.
    let now = u64::try_from(now).unwrap_or(u64::MAX).max(1);
    match entry {
        Some(entry) if entry.task_arn() == task_arn && entry.since() > 0 => entry.since(),
        Some(entry) => now.max(entry.since().saturating_add(1)),
        None => now,
    }
}

/// The members, if the own node leads a living majority.
async fn led(server: &impl Membership) -> Option<Members> {
    server.members().await.ok().filter(|members| members.leads)
}

fn is_dead(entry: &Entry, members: &Members) -> bool {
    entry.member().is_some_and(|member| members.alive.iter().all(|alive| alive != member))
}

/// Since when the members behind which entries are called dead, at every look of this sidecar.
#[derive(Debug, Default)]
struct Dead(HashMap<(String, String), Instant>);

impl Dead {
    fn forget(&mut self) {
        self.0.clear();
    }

    /// The entries of other nodes that have been called dead for `long`, under the same task all the time.
    fn due(&mut self, entries: &[Entry], members: &Members, own: &str, long: Duration) -> Vec<Entry> {
        let dead = entries.iter().filter(|entry| entry.node != own && is_dead(entry, members));
        let key = |entry: &Entry| (entry.node.clone(), entry.task_arn().to_owned());
        let since = |entry| self.0.get(&key(entry)).copied().unwrap_or_else(Instant::now);
        let now: HashMap<_, _> = dead.clone().map(|entry| (key(entry), since(entry))).collect();
        self.0 = now;
        dead.filter(|entry| self.0[&key(entry)].elapsed() >= long).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(task: &str, since: u64) -> Instance {
        Instance {
            node: "node-1".to_owned(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 2113,
            task_arn: task.to_owned(),
            member: None,
            certificate_sha256: Some("00".to_owned()),
            roots_sha256: Some("11".to_owned()),
            signer_sha256: None,
            since,
        }
    }

    fn entry(instance: &Instance) -> Entry {
        Entry { node: instance.node.clone(), attributes: instance.attributes() }
    }

    #[test]
    fn only_a_ready_node_writes_and_only_its_own_entry_is_withdrawn() {
        use Presence::{Gone, Ready, Unclear};
        let wanted = instance("arn:own", 5);
        let right = entry(&wanted);
        let renewed = Entry { attributes: [("TASK_ARN".to_owned(), "arn:own".to_owned())].into(), ..right.clone() };
        let (older, younger) = (entry(&instance("arn:older", 4)), entry(&instance("arn:younger", 6)));
        let foreign = Entry { attributes: std::collections::BTreeMap::new(), ..right.clone() };
        for (entry, ready, gone) in [
            (None, Step::Write, Step::Nothing),
            (Some(&right), Step::Nothing, Step::Withdraw),
            (Some(&renewed), Step::Write, Step::Withdraw),
            (Some(&older), Step::Write, Step::Nothing),
            (Some(&younger), Step::Yield, Step::Nothing),
            (Some(&foreign), Step::Write, Step::Nothing),
        ] {
            assert_eq!(next(&wanted, entry, Ready), ready, "{entry:?}");
            assert_eq!(next(&wanted, entry, Gone), gone, "{entry:?}");
            assert_eq!(next(&wanted, entry, Unclear), Step::Nothing, "{entry:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_was_dead_at_every_look_under_one_task_is_removed() {
        let node = |name: &str, task| {
            let wanted = Instance { node: name.to_owned(), member: Some(name.to_owned()), ..instance(task, 0) };
            entry(&wanted)
        };
        let members = |alive: &[&str]| {
            let alive = alive.iter().map(|name| (*name).to_owned()).collect();
            Members { own: "node-1".to_owned(), leads: true, alive }
        };
        let long = Duration::from_mins(1);
        let entries = [node("node-1", "arn:a"), node("node-2", "arn:b")];
        let unnamed = entry(&Instance { node: "node-3".to_owned(), ..instance("arn:c", 0) });
        let all = [&entries[..], &[unnamed]].concat();
        let mut dead = Dead::default();
        let mut look = async |entries: &[Entry], alive: &[&str], after: u64| {
            sleep(Duration::from_secs(after)).await;
            dead.due(entries, &members(alive), "node-1", long)
        };
        assert_eq!(look(&all, &[], 0).await, []);
        assert_eq!(look(&all, &[], 59).await, []);
        assert_eq!(look(&all, &[], 1).await, entries[1..], "not the own, and not whom gossip cannot name");
        assert_eq!(look(&all, &["node-2"], 1).await, []);
        assert_eq!(look(&all, &[], 1).await, [], "it was alive in between");
        let successor = [node("node-2", "arn:d")];
        assert_eq!(look(&successor, &[], 70).await, [], "another task's entry");
    }
}
