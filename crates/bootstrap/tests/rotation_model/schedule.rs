//! One schedule from its beginning to its end: disturbed at first, then left alone until everything must be in order.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::runtime::{Builder, Runtime};

use crate::cluster::{ADMIN, BUILT_IN, FACTORY_DEFAULT, LOGINS};
use crate::executor::{Executor, Reason};
use crate::log;
use crate::outside::{all_live, plan, repair};
use crate::setup::{Plan, ROTATE_EVERY_DAYS, prepare};
use crate::store::{CURRENT, PENDING, PREVIOUS};
use crate::subject::Subject;
use crate::tape::{Choices, Tape};
use crate::world::{Model, SECRETS, wall_clock};

/// After the last disturbance: nodes come back, calls that nobody waits for any more have their effect.
const SETTLES_MS: u64 = 100_000;
/// Within this everything must be in order then.
const CONVERGES_WITHIN_MS: u64 = 1_800_000;

/// What came of a schedule.
pub(crate) struct Played {
    pub(crate) violation: Option<String>,
    pub(crate) choices: Choices,
    pub(crate) trace: Vec<String>,
    pub(crate) polls: u64,
}

/// A runtime whose clock stands still unless everybody waits.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime needs nothing")
}

/// Plays one schedule.
pub(crate) fn play<S: Subject>(runtime: &Runtime, subject: S, tape: Tape, is_traced: bool) -> Played {
    let work = || runtime.block_on(tokio::task::unconstrained(whole(subject, tape, is_traced)));
    if is_traced { log::kept(work) } else { work() }
}

async fn whole<S: Subject>(subject: S, tape: Tape, is_traced: bool) -> Played {
    let mut model = Model::new(tape, is_traced);
    let prepared = prepare(&mut model);
    let disturbed = plan(&mut model);
    let model = Rc::new(RefCell::new(model));
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let mut executor = Executor::new(Rc::clone(&model), prepared, subject, &waker);
    executor.run_until(disturbed, |_| false).await;
    if let Err(violation) = in_order_at_last(&mut executor).await {
        model.borrow_mut().violate(violation);
    }
    let polls = executor.polls;
    drop(executor);
    let model = Rc::into_inner(model).expect("nobody else is left").into_inner();
    let (violation, trace) = (model.violation, model.trace.unwrap_or_default());
    Played { violation, choices: model.tape.into_choices(), trace, polls }
}

async fn in_order_at_last<S: Subject>(executor: &mut Executor<S>) -> Result<(), String> {
    let calm = {
        let model = &mut *executor.model.borrow_mut();
        model.note(|_| "from here on nothing is disturbed".to_owned());
        model.is_calm = true;
        repair(model);
        let said = executor.said.borrow();
        let outdated = said.iter().enumerate().filter(|(_, said)| said.details != model.details);
        model.killed.extend(outdated.map(|(sidecar, _)| sidecar));
        model.now()
    };
    executor.run_until(calm + SETTLES_MS, |_| false).await;
    let settled = executor.model.borrow().now();
    if executor.model.borrow().is_locked_out(ADMIN) && !executor.plan.policy.recover_with_node_certificate {
        return stops_loudly(executor, settled).await;
    }
    converges(executor, settled).await?;
    in_order(&executor.model.borrow(), &executor.plan)?;
    writes_nothing(executor).await?;

    executor.model.borrow_mut().restart_all();
    let restarted = executor.model.borrow().now();
    executor.run_until(restarted + 20_000, |_| false).await;
    converges(executor, restarted + 20_000).await?;
    in_order(&executor.model.borrow(), &executor.plan)?;
    writes_nothing(executor).await
}

/// Every sidecar succeeds with a run that it begins after `since`.
async fn converges<S: Subject>(executor: &mut Executor<S>, since: u64) -> Result<(), String> {
    let is_over = |executor: &Executor<S>| {
        executor.said.borrow().iter().all(|said| said.succeeded.is_some_and(|begun| begun >= since))
    };
    if executor.run_until(since + CONVERGES_WITHIN_MS, is_over).await || executor.model.borrow().violation.is_some() {
        return Ok(());
    }
    let said = executor.said.borrow();
    let last = said.iter().enumerate().filter(|(_, said)| said.succeeded.is_none_or(|begun| begun < since));
    let last = last.map(|(sidecar, said)| format!("sidecar {sidecar}: {:?}", said.failed));
    Err(format!("not in order in {} s: {}", CONVERGES_WITHIN_MS / 1_000, last.collect::<Vec<_>>().join("; ")))
}

/// Nobody can help, and the sidecar that would have to says so. Beside a replica that keeps an old password in its cache
/// all looks well.
async fn stops_loudly<S: Subject>(executor: &mut Executor<S>, since: u64) -> Result<(), String> {
    let leader = executor.model.borrow().cluster.leader;
    let is_over = |executor: &Executor<S>| {
        let said = executor.said.borrow();
        let failed = leader.and_then(|leader| said[leader].failed.as_ref());
        failed.is_some_and(|(begun, reason)| *begun >= since && *reason == Reason::LockedOut)
    };
    let is_over = executor.run_until(since + CONVERGES_WITHIN_MS, is_over).await;
    if is_over || executor.model.borrow().violation.is_some() {
        return Ok(());
    }
    Err(format!("locked out, and the leader's sidecar does not say so: {:?}", executor.said.borrow()))
}

async fn writes_nothing<S: Subject>(executor: &mut Executor<S>) -> Result<(), String> {
    let (before, now) = (executor.model.borrow().writes, executor.model.borrow().now());
    converges(executor, now).await?;
    match executor.model.borrow().writes - before {
        0 => Ok(()),
        more => Err(format!("a further run has written {more} times")),
    }
}

/// One current version and nothing pending; it is what every node accepts, and all that it accepts.
fn in_order(model: &Model, plan: &Plan) -> Result<(), String> {
    if model.violation.is_some() {
        return Ok(());
    }
    if !all_live(model) {
        return Err("the model's own nodes are not all live".to_owned());
    }
    let now = model.now();
    for (secret, (name, _)) in SECRETS.iter().enumerate() {
        let Some(user) = plan.user(secret) else { continue };
        let found = model.store.secret(secret).ok_or(format!("{name} is not there"))?;
        if found.holder(PENDING).is_some() {
            return Err(format!("{name} has a pending version"));
        }
        let current = found.holder(CURRENT).ok_or(format!("{name} has no current version"))?;
        let held = current.held.ok_or(format!("{name} holds no credentials"))?;
        if held.details != Some(model.details) {
            return Err(format!("{name} has the connection details {:?}, not {}", held.details, model.details));
        }
        let age = wall_clock().duration_since(std::time::SystemTime::UNIX_EPOCH).expect("it is later");
        let age = u64::try_from(age.as_millis()).expect("a schedule is short") - current.created;
        let turns = user.account.is_none() || user.alternate.is_some();
        if turns && plan.policy.rotate_every.is_some() && age >= ROTATE_EVERY_DAYS * 24 * 3_600_000 {
            return Err(format!("the password in {name} is too old"));
        }
        for (number, node) in model.cluster.nodes.iter().enumerate() {
            let login = LOGINS[held.login];
            if !node.would_accept(held.login, held.password, now) {
                return Err(format!("node {number} refuses the password of {login} in {name}"));
            }
            if held.login < BUILT_IN && node.would_accept(held.login, FACTORY_DEFAULT, now) {
                return Err(format!("node {number} accepts the factory default of {login}"));
            }
        }
        // Consumers that read their secret before the last turn still log in, unless somebody has interfered.
        let previous = found.holder(PREVIOUS).and_then(|version| version.held).filter(|_| model.interfered.is_none());
        if let Some(previous) = previous.filter(|previous| previous.login != held.login) {
            let account = model.cluster.committed()[previous.login];
            // One that never was is no loss.
            if account.is_some_and(|account| account.password != previous.password) {
                return Err(format!("the previous password of {} does not log in any more", LOGINS[previous.login]));
            }
        }
        let account = model.cluster.committed()[held.login];
        if !account.is_some_and(|account| account.is_in_right_groups) {
            return Err(format!("the account {} is not as configured: {account:?}", LOGINS[held.login]));
        }
    }
    Ok(())
}
