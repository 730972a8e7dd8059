//! The world that all sidecars of a schedule share: AWS, the cluster, what is on its way, and what must hold at every
//! moment.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bootstrap::{Credentials, SecretText};
use tokio::time::Instant;

use crate::cluster::{Account, BUILT_IN, Cluster, Extent, FACTORY_DEFAULT, LOGINS, Phase};
use crate::faults::Rates;
use crate::store::{CURRENT, Held, PENDING, Refusal, Secret, Store, Stored};
use crate::tape::{Chooser, Tape};

/// The secrets, and the logins that each may hold.
pub(crate) const SECRETS: [(&str, &[usize]); 4] =
    [("es/admin", &[0]), ("es/ops", &[1]), ("es/app", &[2, 3]), ("es/solo", &[4])];

/// Members that gossip has shown for so long must have accepted a password before it is promoted. Longer than the
/// observation that proves it can take.
const SETTLED_MEMBER_MS: u64 = 60_000;

thread_local! {
    /// Start of the schedule on tokio's clock, and what days have been skipped since, in milliseconds.
    static CLOCK: Cell<(Option<Instant>, u64)> = const { Cell::new((None, 0)) };
}

/// The wall clock of the schedule that runs on this thread.
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms())
}

pub(crate) fn wall_ms() -> u64 {
    let (start, skipped) = CLOCK.get();
    let passed = start.map_or(Duration::ZERO, |start| start.elapsed());
    1_700_000_000_000 + skipped + u64::try_from(passed.as_millis()).expect("a schedule is short")
}

pub(crate) fn start_clock() {
    CLOCK.set((Some(Instant::now()), 0));
}

pub(crate) fn skip_days(days: u64) {
    let (start, skipped) = CLOCK.get();
    CLOCK.set((start, skipped + days * 24 * 3_600_000));
}

/// Passwords by number, so that comparing and naming them is easy. None of them is anybody's.
pub(crate) struct Words {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Words {
    fn new() -> Self {
        let first = "changeit".to_owned();
        Self { numbers: HashMap::from([(first.clone(), FACTORY_DEFAULT)]), texts: vec![first] }
    }

    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).expect("there are few passwords");
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// A password that somebody made by hand.
    pub(crate) fn invent(&mut self) -> u32 {
        self.number(&format!("made-by-hand-{}", self.texts.len()))
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// How a trace names a password.
pub(crate) fn word(number: u32) -> String {
    if number == FACTORY_DEFAULT { "changeit".to_owned() } else { format!("pw{number}") }
}

/// A value that a sidecar has sent to the database. It is unresolved until a node accepts it, or the server confirms one
/// that was sent later.
#[derive(Clone, Copy, Debug)]
struct Sent {
    login: usize,
    password: u32,
    call: u64,
}

/// Who last had a login accepted: by sidecar and node, the node's boot and the password.
type Witnesses = HashMap<(usize, usize, usize), (u32, u32)>;

type Deed = Box<dyn FnOnce(&mut Model)>;

pub(crate) struct Model {
    pub(crate) tape: Tape,
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) words: Words,
    pub(crate) rates: Rates,
    /// What a fresh database gives its two users.
    pub(crate) initial: [u32; BUILT_IN],
    /// The connection details that sidecars are started with.
    pub(crate) details: u16,
    /// No faults any more: everything works as on a good day.
    pub(crate) is_calm: bool,
    /// Writes that sidecars have begun.
    pub(crate) writes: u32,
    /// Secrets for which somebody runs `bootstrap rotate`.
    pub(crate) asked: Vec<usize>,
    /// Callers that are to be killed before they go on.
    pub(crate) killed: Vec<usize>,
    /// Nodes beside which there is a sidecar.
    pub(crate) sidecars: usize,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<Vec<String>>,
    start: Instant,
    queue: BTreeMap<(u64, u64), Deed>,
    number: u64,
    sent: Vec<Sent>,
    witnesses: Witnesses,
    /// Logins that somebody from outside has locked everybody out of.
    excused: [bool; LOGINS.len()],
    /// When somebody from outside has last touched a secret or the database.
    pub(crate) interfered: Option<u64>,
    /// Passwords that somebody has deleted with their secret.
    deleted: Vec<u32>,
}

impl Model {
    pub(crate) fn new(tape: Tape, is_traced: bool) -> Self {
        start_clock();
        Self {
            tape,
            store: Store::new(SECRETS.len()),
            cluster: Cluster::new(1, None),
            words: Words::new(),
            rates: Rates::default(),
            initial: [FACTORY_DEFAULT; BUILT_IN],
            details: 1,
            is_calm: false,
            writes: 0,
            asked: Vec::new(),
            killed: Vec::new(),
            sidecars: 1,
            violation: None,
            trace: is_traced.then(Vec::new),
            start: Instant::now(),
            queue: BTreeMap::new(),
            number: 0,
            sent: Vec::new(),
            witnesses: HashMap::new(),
            excused: [false; LOGINS.len()],
            interfered: None,
            deleted: Vec::new(),
        }
    }

    // Time.

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a schedule is short")
    }

    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Has something happen in so many milliseconds.
    pub(crate) fn after(&mut self, delay: u64, deed: impl FnOnce(&mut Self) + 'static) {
        let key = (self.now() + delay, self.number());
        self.queue.insert(key, Box::new(deed));
    }

    /// Does what is due. Gives when the next thing is.
    pub(crate) fn work(&mut self) -> Option<u64> {
        let now = self.now();
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let deed = entry.remove();
            deed(self);
            self.check();
        }
        None
    }

    pub(crate) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        let Some(mut trace) = self.trace.take() else { return };
        let now = self.now();
        trace.push(format!("{:>5}.{:03} s  {}", now / 1_000, now % 1_000, text(self)));
        self.trace = Some(trace);
    }

    /// Puts what the code under test has logged into the trace.
    pub(crate) fn take_log(&mut self) {
        if self.trace.is_some() {
            for line in crate::log::take() {
                self.note(|_| line);
            }
        }
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|_| format!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }

    // The cluster's own life.

    pub(crate) fn write_account(&mut self, login: usize, account: Option<Account>, extent: Extent) {
        self.note(|_| {
            let what = account.map_or("gone".to_owned(), |account| word(account.password));
            format!("database: {} is {what} ({extent:?})", LOGINS[login])
        });
        self.cluster.write(login, account, extent);
        for node in 0..self.cluster.nodes.len() {
            self.spread(node);
        }
    }

    /// The node gets what the leader has, and then looks at the notices, each when it does.
    fn spread(&mut self, node: usize) {
        if !self.cluster.nodes[node].is_connected() {
            return;
        }
        let lag = self.lag(&[1, 20, 200, 1_000]);
        let polls = self.lag(&[160, 250, 990, 1_500, 4_000, 21_000]);
        self.after(lag, move |model| {
            if model.cluster.nodes[node].is_connected() && model.cluster.leader.is_some() {
                model.cluster.replicate(node);
            }
        });
        self.after(lag + polls, move |model| model.look_at_notices(node));
    }

    fn lag(&mut self, options: &[u64]) -> u64 {
        if self.is_calm { options[0] } else { self.tape.pick(Chooser::Cluster, options) }
    }

    fn look_at_notices(&mut self, node: usize) {
        if self.cluster.nodes[node].phase == Phase::Down || !self.cluster.has_notices(node) {
            return;
        }
        let forgotten = self.cluster.poll_notices(node);
        for login in forgotten {
            // Once a node answered 401 to both for one poll of 20 ms (observed §4).
            let until = self.now() + self.lag(&[0, 0, 0, 40]);
            self.cluster.nodes[node].refuse_until(login, until);
        }
        if self.cluster.is_behind(node) {
            self.spread(node);
        }
    }

    pub(crate) fn fail_node(&mut self, node: usize, is_volume_lost: bool) {
        if self.cluster.nodes[node].phase == Phase::Down {
            return;
        }
        let is_volume_lost = is_volume_lost && self.cluster.nodes.len() > 1;
        self.note(|_| format!("node {node} is killed{}", if is_volume_lost { ", its volume is lost" } else { "" }));
        self.cluster.stop(node, self.now());
        if is_volume_lost {
            self.cluster.empty_volume(node);
        }
        let down = self.lag(&[2_000, 4_000, 10_000, 40_000]);
        self.start_node(node, down);
        self.call_election();
    }

    fn start_node(&mut self, node: usize, down: u64) {
        let boot = self.cluster.nodes[node].boot;
        let warm_up = self.lag(&[100, 500, 1_000, 5_000]);
        self.after(down, move |model| {
            if model.cluster.nodes[node].boot == boot {
                model.note(|_| format!("node {node} listens"));
                model.cluster.start(node, model.now());
                model.call_election();
                model.spread(node);
            }
        });
        self.after(down + warm_up, move |model| model.turn_live(node, boot));
    }

    fn turn_live(&mut self, node: usize, boot: u32) {
        if self.cluster.nodes[node].boot != boot {
            return;
        }
        if self.cluster.leader.is_none() {
            return self.after(500, move |model| model.turn_live(node, boot));
        }
        self.note(|_| format!("node {node} is live"));
        self.cluster.nodes[node].phase = Phase::Live;
    }

    /// All nodes start at once, at first or after all have been down.
    pub(crate) fn start_all(&mut self, down: u64) {
        for node in 0..self.cluster.nodes.len() {
            let later = self.lag(&[0, 0, 500, 2_000]);
            self.start_node(node, down + later);
        }
    }

    /// Without a leader there will be one, if there can be.
    pub(crate) fn call_election(&mut self) {
        if self.cluster.leader.is_some() {
            return;
        }
        let takes = self.lag(&[270, 230, 1_600, 5_000]);
        self.after(takes, Self::elect);
    }

    fn elect(&mut self) {
        let electable = self.cluster.electable();
        if self.cluster.leader.is_some() || electable.is_empty() {
            return;
        }
        let chosen = electable[self.tape.below(Chooser::Cluster, electable.len())];
        // Beside the leader there must be somebody who works, once it counts.
        let chosen = if self.is_calm && chosen >= self.sidecars { electable[0] } else { chosen };
        self.note(|_| format!("node {chosen} leads"));
        self.cluster.elect(chosen);
        for node in 0..self.cluster.nodes.len() {
            self.spread(node);
        }
        if self.cluster.committed()[..BUILT_IN].iter().any(Option::is_none) {
            let takes = self.lag(&[60, 20, 300, 2_000]);
            self.after(takes, Self::create_users);
        }
    }

    fn create_users(&mut self) {
        if self.cluster.leader.is_none() {
            return;
        }
        for login in 0..BUILT_IN {
            if self.cluster.committed()[login].is_none() {
                let account = Account { password: self.initial[login], is_in_right_groups: true };
                self.write_account(login, Some(account), Extent::Whole);
            }
        }
    }

    pub(crate) fn isolate(&mut self, node: usize, duration: u64) {
        if self.cluster.nodes.len() == 1 || !self.cluster.nodes[node].is_connected() {
            return;
        }
        self.note(|_| format!("node {node} is cut off for {duration} ms"));
        self.cluster.isolate(node, self.now());
        self.call_election();
        self.after(duration, move |model| model.heal(node));
    }

    pub(crate) fn heal(&mut self, node: usize) {
        if self.cluster.nodes[node].is_isolated {
            self.note(|_| format!("node {node} is no longer cut off"));
            self.cluster.heal(node, self.now());
            // A notice lives for an hour. Whoever was away for longer keeps the old password in its cache (contract §1.7).
            if !self.is_calm && self.tape.below(Chooser::Cluster, 4) == 1 {
                self.note(|_| format!("node {node} was away for so long that it has missed notices"));
                self.cluster.miss_notices(node);
            }
            self.call_election();
            self.spread(node);
        }
    }

    pub(crate) fn resign_leader(&mut self) {
        if self.cluster.leader.is_some() {
            self.note(|_| "the leader resigns".to_owned());
            self.cluster.resign();
            self.call_election();
        }
    }

    /// All volumes are lost, or replaced with what they held once.
    pub(crate) fn restore(&mut self, backup: Option<usize>) {
        let accounts = backup.map_or_else(Default::default, |number| self.cluster.backups[number]);
        self.note(|_| match backup {
            Some(_) => format!("a backup is restored: {}", accounts_in_words(&accounts)),
            None => "all volumes are empty".to_owned(),
        });
        for node in 0..self.cluster.nodes.len() {
            let now = self.now();
            self.cluster.stop(node, now);
            self.heal(node);
        }
        self.outside(|model| model.cluster.restore(accounts));
        let down = self.lag(&[2_000, 10_000]);
        self.start_all(down);
    }

    pub(crate) fn restart_all(&mut self) {
        self.note(|_| "all nodes are restarted".to_owned());
        for node in 0..self.cluster.nodes.len() {
            let now = self.now();
            self.cluster.stop(node, now);
        }
        self.start_all(2_000);
    }

    // What must hold at every moment.

    fn secret_of(login: usize) -> usize {
        SECRETS.iter().position(|(_, logins)| logins.contains(&login)).expect("every login has a secret")
    }

    /// Whether a stored password opens the database, by what the database has stored. A factory default does: it is
    /// always tried.
    fn opens(&self, login: usize) -> bool {
        let Some(account) = self.cluster.committed()[login] else { return true };
        (login < BUILT_IN && account.password == FACTORY_DEFAULT)
            || self.store.secret(Self::secret_of(login)).is_some_and(|secret| {
                let is_it = |held: Held| (held.login, held.password) == (login, account.password);
                secret.versions.iter().any(|version| version.held.is_some_and(is_it))
            })
    }

    fn is_deleted(&self, login: usize) -> bool {
        let password = self.cluster.committed()[login].map(|account| account.password);
        password.is_some_and(|password| self.deleted.contains(&password))
    }

    /// Somebody deletes a secret without recovery.
    pub(crate) fn delete_secret(&mut self, secret: usize) {
        let versions = self.store.secret(secret).map(|secret| secret.versions.clone()).unwrap_or_default();
        self.deleted.extend(versions.iter().filter_map(|version| Some(version.held?.password)));
        let now = self.now();
        self.outside(|model| model.store.delete(secret, now));
    }

    pub(crate) fn is_locked_out(&self, login: usize) -> bool {
        !self.opens(login)
    }

    fn check(&mut self) {
        for (login, name) in LOGINS.iter().enumerate() {
            match (self.opens(login), self.excused[login]) {
                (true, _) => self.excused[login] = false,
                (false, true) => {}
                // Somebody has deleted it while it was on its way.
                (false, false) if self.is_deleted(login) => self.excused[login] = true,
                (false, false) => {
                    let password = self.cluster.committed()[login].map_or(0, |account| account.password);
                    self.excused = [true; LOGINS.len()];
                    self.violate(format!("no stored password opens the database as {name}: it has {}", word(password)));
                }
            }
        }
    }

    /// Somebody from outside does something; what is lost by it is not our loss.
    pub(crate) fn outside(&mut self, deed: impl FnOnce(&mut Self)) {
        deed(self);
        self.interfered = Some(self.now());
        for login in 0..LOGINS.len() {
            self.excused[login] = !self.opens(login);
        }
    }

    /// A sidecar begins to send a password.
    pub(crate) fn sending(&mut self, login: usize, password: u32) -> u64 {
        let call = self.number();
        self.sent.push(Sent { login, password, call });
        call
    }

    /// The server's word has arrived that it has set what was sent in `call`: whatever was sent before is resolved.
    pub(crate) fn confirmed(&mut self, login: usize, call: u64) {
        self.sent.retain(|sent| sent.login != login || sent.call > call);
    }

    /// A caller's change of a secret. It may not lose a version that may have been sent, nor leave consumers with less
    /// than credentials.
    pub(crate) fn change_secret(
        &mut self,
        secret: usize,
        way: Way,
        change: impl FnOnce(&mut Store, u64) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let before = self.store.secret(secret).cloned();
        let now = self.now();
        change(&mut self.store, now)?;
        let after = self.store.secret(secret).cloned().expect("no caller deletes a secret");
        let current = |secret: &Rc<Secret>| secret.holder(CURRENT).map(|version| version.held.is_some());
        if before.as_ref().and_then(current) == Some(true) && current(&after) != Some(true) {
            self.violate(format!("consumers of {} find no credentials", SECRETS[secret].0));
        }
        let Some(before) = before else { return Ok(()) };
        self.check_slot(secret, &before, &after);
        // The other login of a pair, neither in use nor about to be, gets a new password at its turn, whatever it has.
        let login = |version: Option<&Stored>| version.and_then(|version| version.held).map(|held| held.login);
        let next = before.holder(PENDING).filter(|pending| *pending.id == *next_of(&before));
        let in_use = [login(after.holder(CURRENT)), login(next)];
        let lost = self.sent.iter().find(|sent| {
            in_use.contains(&Some(sent.login)) && is_kept(&before, sent, way) && !is_kept(&after, sent, way)
        });
        if let Some(sent) = lost.copied() {
            let (login, password) = (LOGINS[sent.login], word(sent.password));
            self.violate(format!("{password} may have been sent for {login} and is dropped unresolved"));
        }
        Ok(())
    }

    /// A change that waits in the slot of the current version is not passed over by another change of ours.
    fn check_slot(&mut self, secret: usize, before: &Secret, after: &Secret) {
        let (Some(from), Some(to)) = (before.holder(CURRENT), after.holder(CURRENT)) else { return };
        let slot = next_of(before);
        let is_passed_over = from.id != to.id && to.is_ours && *to.id != *slot && before.version(&slot).is_some();
        if is_passed_over && self.interfered.is_none() {
            self.violate(format!("what waits for {} is passed over", SECRETS[secret].0));
        }
    }

    pub(crate) fn witnessed(&mut self, caller: usize, node: usize, login: usize, password: u32) {
        let boot = self.cluster.nodes[node].boot;
        self.witnesses.insert((caller, node, login), (boot, password));
        // A node that accepts it knows it from the database.
        self.sent.retain(|sent| (sent.login, sent.password) != (login, password));
    }

    pub(crate) fn forget_witnesses(&mut self, caller: usize) {
        self.witnesses.retain(|(witness, ..), _| *witness != caller);
    }

    /// A caller begins to promote a version: every member that has been there for a while has accepted its password.
    pub(crate) fn promoting(&mut self, caller: usize, secret: usize, to: &str) {
        let held = self.store.secret(secret).and_then(|secret| secret.version(to)).and_then(|version| version.held);
        let Some(held) = held else { return };
        let now = self.now();
        let settled = self.cluster.nodes.iter().enumerate().filter(|(_, node)| {
            let is_old = node.joined.is_none_or(|joined| joined + SETTLED_MEMBER_MS < now);
            node.phase == Phase::Live && !node.is_isolated && is_old
        });
        let unproven = settled
            .map(|(number, node)| (number, node.boot))
            .find(|(node, boot)| self.witnesses.get(&(caller, *node, held.login)) != Some(&(*boot, held.password)));
        if let Some((node, _)) = unproven {
            let (login, password) = (LOGINS[held.login], word(held.password));
            self.violate(format!("{password} of {login} is promoted, and node {node} has not accepted it"));
        }
    }

    /// The sidecar beside `node` is satisfied with what it has seen since `begun`, and would register the node.
    pub(crate) fn satisfied(&mut self, node: usize, begun: u64) {
        let now = self.now();
        let found = &self.cluster.nodes[node];
        let default = (0..BUILT_IN).find(|login| found.would_accept(*login, FACTORY_DEFAULT, now));
        if let (Some(login), false) = (default, self.interfered.is_some_and(|at| at >= begun)) {
            self.violate(format!(
                "sidecar {node} is done, and its node accepts the factory default of {}",
                LOGINS[login]
            ));
        }
    }

    // Secrets.

    pub(crate) fn stored(&mut self, secret: usize, id: Rc<str>, text: Option<&str>, is_ours: bool) -> Stored {
        let logins: Vec<_> = SECRETS[secret].1.iter().map(|login| LOGINS[*login]).collect();
        let read = text.and_then(|text| Credentials::from_text(&SecretText::from(text.to_owned()), &logins).ok());
        let held = read.map(|read| Held {
            login: LOGINS.iter().position(|login| *login == read.username).expect("it was asked for"),
            password: self.words.number(read.password.expose()),
            details: read.details.and_then(|details| details.host.strip_prefix("es-")?.parse().ok()),
        });
        Stored { id, text: text.map(Rc::from), held, created: wall_ms(), labels: 0, is_ours }
    }

    /// What somebody writes by hand, or CloudFormation: no connection details.
    pub(crate) fn bare(&mut self, secret: usize, login: usize, password: u32) -> Stored {
        let text = format!(r#"{{"username":"{}","password":"{}"}}"#, LOGINS[login], self.words.text(password));
        let id = self.store.name();
        self.stored(secret, id, Some(&text), false)
    }

    pub(crate) fn current(&self, secret: usize) -> Option<Held> {
        self.store.secret(secret)?.holder(CURRENT)?.held
    }

    pub(crate) fn note_labels(&mut self, secret: usize) {
        self.note(|model| {
            let Some(found) = model.store.secret(secret) else { return format!("{} is gone", SECRETS[secret].0) };
            format!("{}: {}", SECRETS[secret].0, secret_in_words(found))
        });
    }
}

/// How a caller changes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It stores a version. That takes the label off another one, which AWS cannot prevent; a version in the slot of the
    /// current one gets it back.
    Put,
    /// It moves `AWSCURRENT`: what is in the slot of the current version is then in no slot any more.
    Promote,
    /// It moves `AWSPENDING` from where it has seen it.
    Label,
}

/// Whether AWS keeps some version of ours with this password, since it has a label.
fn is_kept(secret: &Secret, sent: &Sent, way: Way) -> bool {
    let holds = |version: &&Stored| {
        version.is_ours && version.held.is_some_and(|held| (held.login, held.password) == (sent.login, sent.password))
    };
    let mut holders = secret.versions.iter().filter(holds).peekable();
    if holders.peek().is_none() {
        return false;
    }
    holders.any(|version| version.labels != 0 || (way != Way::Label && *version.id == *next_of(secret)))
}

/// The id that may follow the current version.
fn next_of(secret: &Secret) -> String {
    let current = secret.holder(CURRENT).map(|version| bootstrap::ports::VersionId(version.id.to_string()));
    bootstrap::rotation::slot(&secret.arn, current.as_ref()).0
}

fn secret_in_words(secret: &Secret) -> String {
    let versions = secret.versions.iter().map(|version| {
        let held = version.held.map_or("no credentials".to_owned(), |held| {
            let details = held.details.map_or("-".to_owned(), |details| details.to_string());
            format!("{} {} details {details}", LOGINS[held.login], word(held.password))
        });
        let labels = [(1, " CURRENT"), (2, " PENDING"), (4, " PREVIOUS")];
        let labels: String =
            labels.iter().filter(|(bit, _)| version.labels & bit != 0).map(|(_, name)| *name).collect();
        format!("{}({held}){labels}", short(&version.id))
    });
    versions.collect::<Vec<_>>().join(", ")
}

/// The last characters of a version's id.
pub(crate) fn short(id: &str) -> &str {
    &id[id.len().saturating_sub(4)..]
}

fn accounts_in_words(accounts: &crate::cluster::Accounts) -> String {
    let found = accounts.iter().zip(LOGINS).filter_map(|(account, login)| Some((login, (*account)?)));
    found.map(|(login, account)| format!("{login} {}", word(account.password))).collect::<Vec<_>>().join(", ")
}
