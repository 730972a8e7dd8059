//! A node's way from start to leader or follower, and through the loss of either (observed §1, §5, contract §3.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::Resignation;
use super::links::Link;
use super::members::{Endpoint, State};
use super::node::{Ending, Inner, Node};
use super::options::Secret;
use super::peers::step_down;
use super::protocol::{Candidate, VOTE, Vote};
use super::users::{Event, Position, User};

/// How long a new node looks for a leader before it takes part in making one (observed §1).
const DISCOVERY: Duration = Duration::from_secs(3);
/// Formation takes longer than the election after a loss.
const FORMATION: Duration = Duration::from_millis(450);
/// Each node stands for leader this much later than the one that is next before it.
const STAGGER: Duration = Duration::from_millis(300);
/// Pause after an election that was not won.
const ELECTION_RETRY: Duration = Duration::from_millis(300);
/// After a resignation everything takes its time (observed §5: 1.6 s in all).
const RESIGNING: Duration = Duration::from_millis(300);
const UNHURRIED: Duration = Duration::from_millis(550);
/// A leader claims to be one more often than this.
const CLAIM: Duration = Duration::from_millis(1500);
const LEAST_CLAIM: Duration = Duration::from_millis(100);
/// From the users to the first 204.
const LEADER_TO_READY: Duration = Duration::from_millis(20);
/// How often the clock is looked at, besides at every change.
const TICK: Duration = Duration::from_millis(20);
const LEAST_TICK: Duration = Duration::from_millis(2);

/// What is to be done besides changing the node's state.
enum Step {
    Wait,
    Stand,
    Lead,
}

/// Lives until the node has to end by itself.
pub(super) async fn live(node: &Arc<Node>) -> Ending {
    if node.options.cluster_size <= 1 {
        lead_alone(node).await;
        return std::future::pending().await;
    }
    let tick = node.scaled(TICK).max(LEAST_TICK);
    let mut changes = node.changes();
    let mut next_election = Instant::now();
    loop {
        changes.mark_unchanged();
        let (step, before) = node.with(|inner| {
            let before = inner.state;
            (decide(node, inner), before)
        });
        if node.with(|inner| inner.state) != before {
            node.change(|_| ());
        }
        if let Some(ending) = node.with(|inner| inner.ending) {
            return ending;
        }
        match step {
            Step::Stand if Instant::now() >= next_election => {
                stand(node).await;
                next_election = Instant::now() + node.scaled(ELECTION_RETRY).max(LEAST_TICK * 5);
            }
            Step::Lead => {
                tokio::spawn(start_leading(Arc::clone(node)));
            }
            Step::Wait | Step::Stand => {}
        }
        let _ = tokio::time::timeout(tick, changes.changed()).await;
    }
}

fn decide(node: &Node, inner: &mut Inner) -> Step {
    let (size, timings) = (node.options.cluster_size, node.timings());
    let past = |time: Duration| inner.since.elapsed() >= node.scaled(time);
    let unhurried = inner.after_resignation;
    let leader_lives = inner.leader.as_ref().is_some_and(|leader| inner.members.is_alive(leader));
    match inner.state {
        State::DiscoverLeader if past(DISCOVERY) && inner.members.leader().is_none() => {
            inner.enter(State::Unknown);
        }
        State::Unknown if inner.has_majority(size) => {
            let base = if inner.live && unhurried {
                UNHURRIED
            } else if inner.live {
                timings.election
            } else {
                FORMATION
            };
            if past(base + STAGGER * rank(node, inner)) && inner.members.leader().is_none() {
                return Step::Stand;
            }
        }
        state if state.is_replica() && (!leader_lives || has_resigned(inner) || has_given_up(node, inner)) => {
            inner.after_resignation = has_resigned(inner);
            step_down(inner);
        }
        State::PreReplica if past(if unhurried { UNHURRIED } else { timings.pre_replica }) => {
            let is_ready = inner.is_in_step && node.catch_up.is_zero();
            inner.enter(if is_ready { State::Follower } else { State::CatchingUp });
        }
        State::CatchingUp if inner.is_in_step && past(node.catch_up) => inner.enter(State::Follower),
        State::PreReadOnlyReplica if inner.is_in_step && past(timings.pre_replica + node.catch_up) => {
            inner.enter(State::ReadOnlyReplica);
        }
        State::PreLeader if !inner.has_majority(size) => step_down(inner),
        State::PreLeader if past(if unhurried { UNHURRIED } else { timings.pre_leader }) => {
            let length = inner.users.end().length;
            if inner.stored_by_majority(size) == length && follower_has_nothing_to_ask(inner, size) {
                inner.users.apply_up_to(length);
                inner.enter(State::Leader);
                return Step::Lead;
            }
        }
        State::Leader if inner.has_majority(size) => inner.alone_since = None,
        State::Leader => {
            let since = *inner.alone_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= node.scaled(timings.lone_leader) {
                step_down(inner);
            }
        }
        State::ResigningLeader if past(RESIGNING) => match node.line().resignation() {
            Resignation::Undisturbed => inner.enter(State::Leader),
            Resignation::SameAgain | Resignation::Another => {
                inner.has_resigned = true;
                inner.after_resignation = true;
                step_down(inner);
            }
        },
        _ => {}
    }
    if matches!(inner.state, State::Follower | State::ReadOnlyReplica) && !inner.live {
        // Before the users exist, which only the leader creates (observed §1).
        inner.live = true;
    }
    if inner.state == State::Follower || inner.state == State::Leader {
        inner.after_resignation = false;
    }
    Step::Wait
}

/// A majority must have taken the new leader for one, also where there is nothing to store.
fn follower_has_nothing_to_ask(inner: &Inner, size: usize) -> bool {
    inner.members.alive_voters().filter(|member| member.stored.is_some()).count() + 1 > size / 2
}

/// A leader that has lost the majority leads no more, and does not say so to the few that still follow it.
fn has_given_up(node: &Node, inner: &Inner) -> bool {
    let leader = inner.leader.as_ref().and_then(|leader| inner.members.get(leader));
    let leads = leader
        .and_then(|leader| leader.info.as_ref())
        .is_none_or(|info| info.state.leads() || info.state == State::ResigningLeader);
    !leads && inner.claimed.elapsed() > node.scaled(CLAIM).max(LEAST_CLAIM)
}

fn has_resigned(inner: &Inner) -> bool {
    let leader = inner.leader.as_ref().and_then(|leader| inner.members.get(leader));
    leader.and_then(|leader| leader.info.as_ref()).is_some_and(|info| info.has_resigned)
}

/// How many others come before this node: those with more of the log, then those with a higher priority. Whoever has
/// resigned comes last, or first where it is to lead again.
fn rank(node: &Node, inner: &Inner) -> u32 {
    let again = node.line().resignation() == Resignation::SameAgain;
    let key = |stored: Position, has_resigned: bool, priority: i64, name: &Endpoint| {
        (std::cmp::Reverse(stored), has_resigned != again, std::cmp::Reverse(priority), name.clone())
    };
    let own = key(inner.users.end(), inner.has_resigned, node.options.priority, &node.options.own_name);
    let others = inner.members.alive_voters().filter_map(|member| member.info.as_ref());
    let before = others.filter(|info| key(info.stored, info.has_resigned, info.priority, &info.name) < own).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// Asks all members for their votes.
async fn stand(node: &Arc<Node>) {
    let size = node.options.cluster_size;
    let asked = node.change(|inner| {
        if inner.state != State::Unknown {
            return None;
        }
        let highest = inner.members.alive().filter_map(|member| member.info.as_ref()).map(|info| info.epoch).max();
        inner.raise_epoch(highest.unwrap_or_default().max(inner.epoch) + 1);
        let links: Vec<_> = inner.members.alive_voters().filter_map(|member| member.link.clone()).collect();
        Some((Candidate { epoch: inner.epoch, stored: inner.users.end() }, links))
    });
    let Some((candidate, links)) = asked else { return };
    let votes = votes(&candidate, links, size / 2).await;
    node.change(|inner| {
        if let Some(higher) = votes.iter().map(|vote| vote.epoch).max() {
            inner.raise_epoch(higher);
        }
        let granted = votes.iter().filter(|vote| vote.granted).count();
        if granted >= size / 2 && inner.epoch == candidate.epoch && inner.state == State::Unknown {
            for member in inner.members.iter_mut() {
                member.stored = None;
            }
            inner.leader = None;
            inner.has_resigned = false;
            inner.alone_since = None;
            inner.enter(State::PreLeader);
        }
    });
}

/// The votes of all that answer, or of as many as are needed.
async fn votes(candidate: &Candidate, links: Vec<Link>, needed: usize) -> Vec<Vote> {
    let mut calls = tokio::task::JoinSet::new();
    for link in links {
        let candidate = Candidate { ..*candidate };
        calls.spawn(async move { link.call::<Vote>(VOTE, &candidate).await });
    }
    let mut votes = Vec::new();
    while votes.iter().filter(|vote: &&Vote| vote.granted).count() < needed {
        match calls.join_next().await {
            Some(Ok(Ok(vote))) => votes.push(vote),
            Some(_) => {}
            None => break,
        }
    }
    // Those that are still asked may take their time.
    calls.detach_all();
    votes
}

/// What every new leader does: the first users come into being with it, and a deleted `ops` comes back (contract §2).
async fn start_leading(node: Arc<Node>) {
    if create_first_users(&node).await {
        node.pause(LEADER_TO_READY).await;
        node.change(|inner| inner.live |= inner.state == State::Leader);
    }
}

/// Whether both exist now.
async fn create_first_users(node: &Node) -> bool {
    if node.options.is_insecure {
        return true;
    }
    let [admin, ops] = node.line().first_full_names();
    let passwords = &node.options.first_passwords;
    let first = |login: &str, name: &str, group: &str, password: &Secret| {
        User::new(login, name, Some(vec![group.to_owned()]), &password.0)
    };
    for user in [first("admin", admin, "$admins", &passwords.admin), first("ops", ops, "$ops", &passwords.ops)] {
        let exists = node.with(|inner| inner.users.get(&user.login).is_some());
        if !exists && node.write(Event::User(user), None).await.is_err() {
            return false;
        }
    }
    true
}

/// A single node needs nobody. On data that exists the users are there from the first answer on (observed §1).
async fn lead_alone(node: &Arc<Node>) {
    let timings = node.timings();
    let is_new = node.with(|inner| inner.users.end().length == 0);
    let listening = Instant::now();
    let at = async |time: Duration| {
        let time = if is_new { time } else { time.saturating_sub(timings.alone_leader) };
        tokio::time::sleep_until((listening + node.scaled(time)).into()).await;
    };
    let leading = async {
        at(timings.alone_leader).await;
        node.change(|inner| {
            inner.raise_epoch(inner.epoch + 1);
            inner.enter(State::Leader);
        });
    };
    let users = async {
        at(timings.alone_users).await;
        // Whether they could be written shows when somebody logs in.
        let _ = create_first_users(node).await;
    };
    let ready = async {
        at(timings.alone_ready).await;
        node.change(|inner| inner.live = inner.state == State::Leader);
    };
    if timings.alone_ready < timings.alone_users {
        leading.await;
        ready.await;
        users.await;
    } else {
        leading.await;
        users.await;
        ready.await;
    }
}

/// `POST /admin/node/resign`: acts on a leader of others alone.
pub(super) fn resign(node: &Node) {
    node.change(|inner| {
        if inner.state == State::Leader && node.options.cluster_size > 1 {
            inner.enter(State::ResigningLeader);
        }
    });
}
