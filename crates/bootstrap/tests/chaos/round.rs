//! One round: harm is done, everything is killed and loses its memory, and what holds then must hold.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use testkit::proxy::Injection;

use crate::plan::{Errand, Plan, Then};
use crate::process::{Process, was_killed};
use crate::stage::{Armed, DEADLINE, Injections, NODES, POLL, Stage, User};

/// Sidecars that have been running for long notice what is due at a poll, within this time.
const NOTICED: Duration = Duration::from_secs(1);

/// Faults that were not met for so long will not be.
const PATIENCE: Duration = Duration::from_secs(7);

/// What came of rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rounds: usize,
    /// Sidecars, and runs of `rotate`, killed at a call.
    pub(crate) kills: usize,
    /// Leaders that were killed, ended or resigned at a call.
    pub(crate) moves: usize,
    /// Other calls that went wrong.
    pub(crate) faults: usize,
    /// Faults that no call has met.
    pub(crate) unmet: usize,
    /// Passwords that a run of `rotate` stored.
    pub(crate) rotations: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.moves += other.moves;
        self.faults += other.faults;
        self.unmet += other.unmet;
        self.rotations += other.rotations;
    }

    fn count(&mut self, armed: &Armed) {
        for (strike, injections) in armed {
            let counter = match strike.then {
                _ if !is_met(injections) => &mut self.unmet,
                Then::Nothing => &mut self.faults,
                Then::KillCaller | Then::KillAll => &mut self.kills,
                Then::KillLeader(_) | Then::TerminateLeader | Then::Resign => &mut self.moves,
            };
            *counter += 1;
        }
    }
}

fn is_met(injections: &Injections) -> bool {
    injections.iter().any(Injection::was_met)
}

/// Plays one round after the other on one stage.
pub(crate) async fn play(stage: &mut Stage, plans: Vec<Plan>) -> Tally {
    let mut tally = Tally::default();
    for plan in plans {
        stage.eye.note("plan", &format!("{plan:?}"));
        harm(stage, &plan, &mut tally).await;
        stage.restart_all_servers().await;
        assert_nobody_is_locked_out(stage, &plan).await;
        converge(stage, &plan).await;
        assert_converged(stage, &plan).await;
        tally.rounds += 1;
    }
    assert_a_further_run_writes_nothing(stage).await;
    stage.check_health();
    // What it runs is answered by proxies, which need the threads of this test.
    tokio::task::block_in_place(|| stage.check_status());
    for node in 0..NODES {
        stage.stop_sidecar(node);
    }
    stage.show_servers();
    tally
}

async fn harm(stage: &mut Stage, plan: &Plan, tally: &mut Tally) {
    if let Errand::Details = plan.errand {
        stage.client_host = format!("{}-{}.db.internal", stage.name, plan.number);
    }
    if !plan.goes_on {
        (0..NODES).for_each(|node| drop(stage.stop_sidecar(node)));
    }
    if let Errand::OldPassword(user) = plan.errand {
        set_old_password(stage, user).await;
    }
    let armed = stage.arm(&plan.strikes, plan.lag);
    if matches!(plan.errand, Errand::Age) && stage.is_double() {
        stage.age();
    }
    let rotate = match plan.errand {
        Errand::Rotate(user) => Some(stage.rotate(user.and_then(|user| stage.users.get(user)))),
        // moto's versions cannot be made older.
        Errand::Age if !stage.is_double() => Some(stage.rotate(None)),
        _ => None,
    };
    if !plan.goes_on {
        (0..NODES).for_each(|node| stage.start_sidecar(node));
    }
    until_done(stage, plan, &armed, rotate, tally).await;
    for node in 0..NODES {
        stage.stop_sidecar(node);
    }
    tally.count(&armed);
    stage.heal();
}

/// Until the sidecars have done what they could, or the window after the faults is over. What was killed is started again
/// as ECS does.
async fn until_done(stage: &mut Stage, plan: &Plan, armed: &Armed, mut rotate: Option<Process>, tally: &mut Tally) {
    let started = Instant::now();
    let mut last_fault = None;
    while last_fault.map_or(started.elapsed() < PATIENCE, |at: Instant| at.elapsed() < plan.window) {
        if last_fault.is_none() && armed.iter().all(|(_, injections)| is_met(injections)) {
            last_fault = Some(Instant::now());
        }
        if let Some(status) = rotate.as_mut().and_then(Process::look) {
            let (_, log) = rotate.take().expect("it was looked at").end();
            // What it may end with is a refusal: of AWS, or because another change is under way.
            let codes = [Some(0), Some(69), Some(77)];
            assert!(was_killed(status) || codes.contains(&status.code()), "rotate ended with {status}: {log}");
            tally.rotations += log.matches("a new password is stored").count();
        }
        let wishes: Vec<_> = std::mem::take(&mut *stage.wishes.lock().unwrap());
        for (leader, then) in wishes {
            match then {
                Then::KillLeader(_) | Then::TerminateLeader => {
                    if then == Then::TerminateLeader {
                        tokio::time::sleep(Duration::from_millis(150)).await;
                    }
                    stage.restart_server(leader);
                }
                Then::Resign => resign(stage, leader).await,
                Then::Nothing | Then::KillCaller | Then::KillAll => {}
            }
        }
        for node in 0..NODES {
            let Some(sidecar) = stage.sidecars[node].as_mut() else { continue };
            if let Some(status) = sidecar.look() {
                let log = stage.stop_sidecar(node);
                assert!(was_killed(status), "round {}: a sidecar ended by itself with {status}: {log}", plan.number);
                stage.start_sidecar(node);
            }
        }
        let is_seen = !plan.goes_on || started.elapsed() > NOTICED;
        if rotate.is_none() && is_seen && all_is_done(stage).await {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn all_is_done(stage: &mut Stage) -> bool {
    let registered = |sidecar: &Option<Process>| sidecar.as_ref().is_some_and(|one| one.log.contains(" registered "));
    if !stage.sidecars.iter().all(registered) {
        return false;
    }
    for user in stage.users.clone() {
        let versions = stage.versions(&user).await;
        let newest_is_current = versions.last().is_some_and(|version| version.has("AWSCURRENT"));
        if versions.iter().any(|version| version.has("AWSPENDING")) || (stage.is_double() && !newest_is_current) {
            return false;
        }
    }
    true
}

/// `admin` and `ops` may let a leader resign.
async fn resign(stage: &mut Stage, leader: usize) {
    for version in stage.versions(&stage.users[0]).await {
        let login = ("admin", version.password.as_str());
        if stage.post(leader, "/admin/node/resign", login, &json!({})).await == Some(200) {
            return;
        }
    }
}

/// As an operator would who restores a backup of an old password's time.
async fn set_old_password(stage: &Stage, user: usize) {
    let user = &stage.users[user];
    let versions = stage.versions(user).await;
    let (Some(admin), Some(old)) = (stage.current(&stage.users[0]).await, versions.first()) else { return };
    let path = format!("/users/{}/command/reset-password", user.login);
    let body = json!({"newPassword": old.password});
    stage.post(stage.leader, &path, ("admin", &admin.password), &body).await;
}

/// All servers have just been restarted: what they accept is what is stored in the database.
async fn assert_nobody_is_locked_out(stage: &Stage, plan: &Plan) {
    for user in &stage.users {
        let opens = some_version_opens(stage, user).await;
        let is_untouched = async || stage.opens_by_default(stage.leader, user.login).await;
        // An account that no sidecar has made yet locks nobody out.
        let may_be_missing = !user.is_built_in && matches!(plan.errand, Errand::Adopt);
        let is_fine = opens || may_be_missing || (matches!(plan.errand, Errand::Adopt) && is_untouched().await);
        assert!(is_fine, "{}: `{}` is locked out after {plan:?}", stage.name, user.login);
    }
}

async fn some_version_opens(stage: &Stage, user: &User) -> bool {
    for version in stage.versions(user).await.into_iter().rev() {
        if stage.opens(stage.leader, &version.login, &version.password).await {
            return true;
        }
    }
    false
}

/// The second run: nothing is in its way.
async fn converge(stage: &mut Stage, plan: &Plan) {
    (0..NODES).for_each(|node| stage.start_sidecar(node));
    let deadline = Instant::now() + DEADLINE;
    loop {
        for node in 0..NODES {
            let sidecar = stage.sidecars[node].as_mut().expect("it was started");
            if let Some(status) = sidecar.look() {
                let log = stage.stop_sidecar(node);
                panic!("{}: ended with {status} after {plan:?}: {log}", stage.name);
            }
        }
        stage.cluster.tend();
        if all_is_done(stage).await {
            return;
        }
        if Instant::now() >= deadline {
            let logs: Vec<_> = (0..NODES).map(|node| stage.stop_sidecar(node)).collect();
            panic!("{}: no convergence after {plan:?}: {}", stage.name, logs.join("---\n"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn assert_converged(stage: &Stage, plan: &Plan) {
    let round = format!("{} after {plan:?}", stage.name);
    for user in &stage.users {
        let versions = stage.versions(user).await;
        let current: Vec<_> = versions.iter().filter(|version| version.has("AWSCURRENT")).collect();
        assert_eq!(current.len(), 1, "{round}: {}", user.login);
        assert!(!versions.iter().any(|version| version.has("AWSPENDING")), "{round}: {}", user.login);
        if stage.is_double() {
            // Versions are listed in the order in which they were stored.
            assert_eq!(versions.last().map(|last| &last.id), Some(&current[0].id), "{round}: one was dropped");
        }
        let current = current[0];
        for node in 0..NODES {
            assert!(
                stage.wait_until(true, node, &current.login, &current.password).await,
                "{round}: {} on {node}",
                user.login
            );
            assert!(
                !stage.opens_by_default(node, user.login).await,
                "{round}: {} has the default on {node}",
                user.login
            );
        }
        let others = versions.iter().filter(|other| other.login == current.login && other.password != current.password);
        // The last few: a long stage has many, and the older they are the more often they were looked at.
        for other in others.rev().take(3) {
            assert!(!stage.opens(stage.leader, &other.login, &other.password).await, "{round}: an old password works");
        }
    }
    assert_eq!(stage.registered().await, ["node-1", "node-2", "node-3"], "{round}");
}

async fn assert_a_further_run_writes_nothing(stage: &mut Stage) {
    let mut before = Vec::new();
    for user in &stage.users {
        before.push(labels(stage, user).await);
    }
    for node in 0..NODES {
        stage.prey.signal(node, Signal::SIGKILL);
    }
    for node in 0..NODES {
        stage.stop_sidecar(node);
    }
    let resets = stage.resets();
    (0..NODES).for_each(|node| stage.start_sidecar(node));
    let deadline = Instant::now() + DEADLINE;
    while !all_is_done(stage).await {
        assert!(Instant::now() < deadline, "{}: a further run does not end", stage.name);
        for node in 0..NODES {
            if let Some(status) = stage.sidecars[node].as_mut().and_then(Process::look) {
                let log = stage.stop_sidecar(node);
                panic!("{}: a further run ended with {status}: {log}", stage.name);
            }
        }
        tokio::time::sleep(POLL).await;
    }
    for (user, before) in stage.users.iter().zip(before) {
        assert_eq!(labels(stage, user).await, before, "{}: a further run moved `{}`", stage.name, user.login);
    }
    assert_eq!(stage.resets(), resets, "{}: a further run set a password", stage.name);
}

async fn labels(stage: &Stage, user: &User) -> Vec<(String, Vec<String>)> {
    stage.versions(user).await.into_iter().map(|version| (version.id, version.labels)).collect()
}
