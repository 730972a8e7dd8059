//! What happens from outside: the cluster's misfortunes, people with a console, rotators that are not ours.

use crate::cluster::{ADMIN, Account, BUILT_IN, Extent, LOGINS, Phase};
use crate::setup::ROTATE_EVERY_DAYS;
use crate::store::{CURRENT, PENDING, PREVIOUS};
use crate::tape::Chooser;
use crate::world::{Model, SECRETS, skip_days, wall_ms, word};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    KillSidecar,
    KillNode,
    KillLeader,
    LoseVolume,
    Resign,
    Isolate,
    RestartAll,
    Rotate,
    Days,
    NewDetails,
    /// From here on somebody interferes.
    SecretByHand,
    RollBackByHand,
    DropPendingByHand,
    PromotePendingByHand,
    DatabaseByHand,
    DatabaseToOlder,
    BothByHand,
    Foreigner,
    ForeignPlaceholder,
    DeleteSecret,
    SpoilSecret,
    Prune,
    RestoreBackup,
    FreshVolumes,
    WrongGroups,
    DeleteAccount,
}

const EVENTS: [Event; 26] = [
    Event::KillSidecar,
    Event::KillNode,
    Event::KillLeader,
    Event::LoseVolume,
    Event::Resign,
    Event::Isolate,
    Event::RestartAll,
    Event::Rotate,
    Event::Rotate,
    Event::Days,
    Event::NewDetails,
    Event::SecretByHand,
    Event::RollBackByHand,
    Event::DropPendingByHand,
    Event::PromotePendingByHand,
    Event::DatabaseByHand,
    Event::DatabaseToOlder,
    Event::BothByHand,
    Event::Foreigner,
    Event::ForeignPlaceholder,
    Event::DeleteSecret,
    Event::SpoilSecret,
    Event::Prune,
    Event::RestoreBackup,
    Event::WrongGroups,
    Event::DeleteAccount,
];

/// How many of the events need nobody who interferes.
const ORDINARY: usize = 11;

/// Chooses what happens when. Gives when the last of it is over.
pub(crate) fn plan(model: &mut Model) -> u64 {
    let count = model.tape.pick(Chooser::Setup, &[0, 1, 2, 3, 5, 8]);
    let kinds = model.tape.pick(Chooser::Setup, &[ORDINARY, EVENTS.len(), ORDINARY, EVENTS.len() + 1]);
    let span = model.tape.pick(Chooser::Setup, &[30, 90, 240]);
    for _ in 0..count {
        let at = 100 * u64::try_from(model.tape.below(Chooser::Setup, 10 * span)).expect("a schedule is short");
        let kind = model.tape.below(Chooser::Setup, kinds);
        let event = EVENTS.get(kind).copied().unwrap_or(Event::FreshVolumes);
        let which = model.tape.below(Chooser::Setup, 60);
        model.after(at, move |model| happen(model, event, which));
    }
    u64::try_from(span).expect("a schedule is short") * 1_000
}

fn happen(model: &mut Model, event: Event, which: usize) {
    if model.is_calm {
        return;
    }
    model.note(|_| format!("from outside: {event:?}"));
    let node = which % model.cluster.nodes.len();
    let secret = which % SECRETS.len();
    let login = which % LOGINS.len();
    match event {
        Event::KillSidecar => model.killed.push(which % model.sidecars),
        Event::KillNode => model.fail_node(node, false),
        Event::LoseVolume => model.fail_node(node, true),
        Event::KillLeader => {
            if let Some(leader) = model.cluster.leader {
                model.fail_node(leader, false);
            }
        }
        Event::Resign => model.resign_leader(),
        Event::Isolate => model.isolate(node, [2_000, 10_000, 60_000][which % 3]),
        Event::RestartAll => model.restart_all(),
        Event::Rotate => model.asked.push(secret),
        Event::Days => skip_days(ROTATE_EVERY_DAYS + 1),
        Event::NewDetails => {
            model.details += 1;
            for sidecar in 0..model.sidecars {
                let later = [1_000, 20_000, 40_000, 41_000, 60_000][sidecar];
                model.after(later, move |model| model.killed.push(sidecar));
            }
        }
        Event::SecretByHand => {
            let password = model.words.invent();
            put_by_hand(model, secret, CURRENT, Some(password));
        }
        Event::RollBackByHand => label_by_hand(model, secret, CURRENT, PREVIOUS),
        Event::PromotePendingByHand => label_by_hand(model, secret, CURRENT, PENDING),
        Event::DropPendingByHand => {
            let now = model.now();
            let found =
                model.store.secret(secret).and_then(|secret| secret.holder(PENDING)).map(|found| found.id.clone());
            if let Some(id) = found {
                model.outside(|model| model.store.stage(secret, now, PENDING, Some(&id), None).expect("it is there"));
            }
        }
        Event::DatabaseByHand => {
            let password = model.words.invent();
            set_by_hand(model, login, password);
        }
        Event::DatabaseToOlder => {
            let found = model.store.secret(secret).and_then(|secret| {
                let held: Vec<_> = secret.versions.iter().filter_map(|version| version.held).collect();
                held.get(which % held.len().max(1)).copied()
            });
            if let Some(held) = found {
                set_by_hand(model, held.login, held.password);
            }
        }
        Event::BothByHand => {
            let (password, login) = (model.words.invent(), SECRETS[secret].1[0]);
            set_by_hand(model, login, password);
            put_by_hand(model, secret, CURRENT, Some(password));
        }
        Event::Foreigner => foreigner(model, secret),
        Event::ForeignPlaceholder => put_by_hand(model, secret, PENDING, None),
        Event::DeleteSecret => model.delete_secret(secret),
        Event::Prune => {
            // AWS does so beyond a hundred versions only; here it does at once.
            let (now, wall) = (model.now(), wall_ms());
            for secret in 0..SECRETS.len() {
                model.outside(|model| model.store.prune(secret, now, wall));
            }
        }
        Event::SpoilSecret => put_by_hand(model, secret, CURRENT, None),
        Event::RestoreBackup => {
            let backup = which % model.cluster.backups.len();
            model.restore(Some(backup));
        }
        Event::FreshVolumes => model.restore(None),
        Event::WrongGroups => {
            if let Some(account) = model.cluster.committed()[login].filter(|_| login >= BUILT_IN) {
                let account = Account { is_in_right_groups: false, ..account };
                write_by_hand(model, login, Some(account), Extent::Whole);
            }
        }
        Event::DeleteAccount => {
            if login >= BUILT_IN {
                write_by_hand(model, login, None, Extent::Whole);
            }
        }
    }
    model.note_labels(secret);
}

fn write_by_hand(model: &mut Model, login: usize, account: Option<Account>, extent: Extent) {
    if model.cluster.leader.is_some() {
        model.outside(|model| model.write_account(login, account, extent));
        if extent == Extent::Whole {
            let call = model.number();
            model.confirmed(login, call);
        }
    }
}

fn set_by_hand(model: &mut Model, login: usize, password: u32) {
    if let Some(account) = model.cluster.committed()[login] {
        write_by_hand(model, login, Some(Account { password, ..account }), Extent::Whole);
    }
}

/// Stores credentials, or something else, under a random id.
fn put_by_hand(model: &mut Model, secret: usize, label: u8, password: Option<u32>) {
    let login = model.current(secret).map_or(SECRETS[secret].1[0], |held| held.login);
    let version = if let Some(password) = password {
        model.bare(secret, login, password)
    } else {
        let id = model.store.name();
        let text = if label == PENDING { None } else { Some("not credentials") };
        model.stored(secret, id, text, false)
    };
    let now = model.now();
    // Without a secret there is nothing to put a value into.
    model.outside(|model| {
        let _ = model.store.put(secret, now, label, version);
    });
}

/// Moves one label to where another is.
fn label_by_hand(model: &mut Model, secret: usize, label: u8, to: u8) {
    let now = model.now();
    let Some(found) = model.store.secret(secret) else { return };
    let id = |label| found.holder(label).map(|version| version.id.clone());
    if let (Some(from), Some(to)) = (id(label), id(to)) {
        model.outside(|model| {
            let _ = model.store.stage(secret, now, label, Some(&from), Some(&to));
        });
    }
}

/// A rotation as AWS's template makes it: random token, set, test, move. It may stop anywhere.
fn foreigner(model: &mut Model, secret: usize) {
    let (password, now) = (model.words.invent(), model.now());
    let Some(current) = model.current(secret) else { return };
    let version = model.bare(secret, current.login, password);
    let id = version.id.clone();
    model.outside(|model| {
        let _ = model.store.put(secret, now, PENDING, version);
    });
    let steps = model.tape.below(Chooser::Foreigner, 5);
    let login = current.login;
    let mut at = 0;
    let mut pause = |model: &mut Model| {
        at += model.tape.pick(Chooser::Foreigner, &[10, 300, 2_000, 15_000]);
        at
    };
    let (set, test) = (pause(model), pause(model) + 1_100);
    let extent = model.tape.pick(Chooser::Foreigner, &[Extent::Whole, Extent::Whole, Extent::Unannounced]);
    if steps > 0 {
        model.after(set, move |model| foreigner_sets(model, login, password, extent));
    }
    if steps > 1 {
        model.after(test, move |model| foreigner_moves(model, secret, &id, login, password, steps > 2));
    }
}

fn foreigner_sets(model: &mut Model, login: usize, password: u32, extent: Extent) {
    let now = model.now();
    let (Some(leader), Some(admin)) = (model.cluster.leader, model.current(ADMIN)) else { return };
    let is_known = model.cluster.nodes[leader].judge(ADMIN, admin.password, now);
    if let (true, Some(account)) = (is_known, model.cluster.committed()[login]) {
        model.note(|_| format!("a foreigner sets {} to {}", LOGINS[login], word(password)));
        write_by_hand(model, login, Some(Account { password, ..account }), extent);
    }
}

fn foreigner_moves(model: &mut Model, secret: usize, id: &str, login: usize, password: u32, drops: bool) {
    let now = model.now();
    let is_set = model.cluster.leader.is_some_and(|leader| model.cluster.nodes[leader].judge(login, password, now));
    let Some(found) = model.store.secret(secret).filter(|_| is_set) else { return };
    let current = found.holder(CURRENT).map(|version| version.id.clone());
    model.outside(|model| {
        let moved = model.store.stage(secret, now, CURRENT, current.as_deref(), Some(id));
        if moved.is_ok() && drops {
            let _ = model.store.stage(secret, now, PENDING, Some(id), None);
        }
    });
    model.note_labels(secret);
}

/// People put right what they have spoilt, and what is cut off comes back.
pub(crate) fn repair(model: &mut Model) {
    for node in 0..model.cluster.nodes.len() {
        model.heal(node);
    }
    for secret in 0..SECRETS.len() {
        let is_spoilt = model
            .store
            .secret(secret)
            .and_then(|secret| secret.holder(CURRENT))
            .is_some_and(|version| version.held.is_none());
        if is_spoilt {
            let password = model.words.invent();
            put_by_hand(model, secret, CURRENT, Some(password));
            model.note_labels(secret);
        }
    }
    settle(model);
    model.after(60_000, settle);
}

/// Somebody leads who has a sidecar.
fn settle(model: &mut Model) {
    match model.cluster.leader {
        Some(leader) if leader >= model.sidecars => model.resign_leader(),
        Some(_) => {}
        None => model.call_election(),
    }
}

pub(crate) fn all_live(model: &Model) -> bool {
    model.cluster.nodes.iter().all(|node| node.phase == Phase::Live && !node.is_isolated)
}
