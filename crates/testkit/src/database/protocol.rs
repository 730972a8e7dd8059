//! What nodes say to each other, and what a node does when another one calls.
//!
//! Gossip says who is there; a vote makes a leader of one epoch; an append brings the leader's records and with them its
//! claim to lead. A node votes once in an epoch, for nobody that has less than itself, and not while its leader is alive.

use std::time::Instant;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::members::{Endpoint, Info, State};
use super::node::{Ending, Inner, Node, stored};
use super::users::{Position, Record};

pub(super) const GOSSIP: &str = "/standin/gossip";
pub(super) const VOTE: &str = "/standin/vote";
pub(super) const APPEND: &str = "/standin/append";

/// A node and those that it knows; the answer is the same of the other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Gossip {
    pub(super) from: Info,
    pub(super) known: Vec<Endpoint>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) epoch: u64,
    pub(super) stored: Position,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Vote {
    pub(super) granted: bool,
    pub(super) epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Append {
    pub(super) epoch: u64,
    pub(super) leader: Endpoint,
    /// Where the records go.
    pub(super) after: Position,
    pub(super) records: Vec<Record>,
    /// How many records count.
    pub(super) counting: usize,
    /// How many records the leader has.
    pub(super) length: usize,
    /// The cluster is complete without the one that is called.
    pub(super) surplus: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Appended {
    pub(super) epoch: u64,
    /// Whether the records fitted.
    pub(super) fitted: bool,
    pub(super) length: usize,
}

/// Answers another node; `None` if there is nothing under that path, or nothing to be understood.
pub(super) fn answer(node: &Node, path: &str, body: &[u8]) -> Option<Bytes> {
    match path {
        GOSSIP => reply(body, |gossip| Some(node.change(|inner| on_gossip(node, inner, gossip)))),
        VOTE => reply(body, |candidate: Candidate| Some(node.change(|inner| on_candidate(inner, &candidate)))),
        APPEND => reply(body, |append: Append| node.change(|inner| on_append(inner, &append))),
        _ => None,
    }
}

fn reply<Q: DeserializeOwned, A: Serialize>(body: &[u8], work: impl FnOnce(Q) -> Option<A>) -> Option<Bytes> {
    let answer = work(serde_json::from_slice(body).ok()?)?;
    serde_json::to_vec(&answer).ok().map(Bytes::from)
}

/// What this node has to say.
pub(super) fn gossip_of(node: &Node, inner: &Inner) -> Gossip {
    Gossip { from: node.info(inner), known: inner.members.iter().map(|(name, _)| name.clone()).collect() }
}

fn on_gossip(node: &Node, inner: &mut Inner, gossip: Gossip) -> Gossip {
    take_in(node, inner, gossip, true);
    gossip_of(node, inner)
}

/// Learns from what another node said; `called` if it called, which proves that it lives.
pub(super) fn take_in(node: &Node, inner: &mut Inner, gossip: Gossip, called: bool) {
    let own = &node.options.own_name;
    if gossip.from.name == *own {
        return;
    }
    for name in gossip.known.iter().filter(|name| *name != own) {
        inner.members.entry(name);
    }
    let name = gossip.from.name.clone();
    inner.members.note(gossip.from);
    if called {
        inner.members.entry(&name).heard = Some(Instant::now());
    }
}

fn on_candidate(inner: &mut Inner, candidate: &Candidate) -> Vote {
    let leader_lives = inner.leader.as_ref().is_some_and(|leader| inner.members.is_alive(leader));
    let granted = inner.has_vote && deserves_vote(candidate, inner.state, leader_lives, inner.epoch, inner.users.end());
    if granted {
        inner.raise_epoch(candidate.epoch);
        inner.leader = None;
        inner.enter(State::Unknown);
        // Who has just voted does not stand itself.
        inner.since = Instant::now();
    }
    Vote { granted, epoch: inner.epoch }
}

/// A replica whose leader may have died a moment ago votes; one with a leader does not, nor whoever is still looking.
fn deserves_vote(candidate: &Candidate, state: State, leader_lives: bool, epoch: u64, stored: Position) -> bool {
    let may_vote = state == State::Unknown || (state.is_replica() && !leader_lives);
    may_vote && candidate.epoch > epoch && candidate.stored >= stored
}

fn on_append(inner: &mut Inner, append: &Append) -> Option<Appended> {
    let another_leads = append.epoch == inner.epoch
        && (inner.state.leads() || inner.leader.as_ref().is_some_and(|leader| *leader != append.leader));
    if append.epoch < inner.epoch || another_leads || inner.state == State::ShuttingDown || inner.ending.is_some() {
        return Some(Appended { epoch: inner.epoch, fitted: false, length: inner.users.end().length });
    }
    if append.surplus {
        inner.ending = Some(Ending::Surplus);
        return None;
    }
    inner.raise_epoch(append.epoch);
    if !inner.state.is_replica() || inner.leader.as_ref() != Some(&append.leader) {
        inner.enter(if inner.has_vote { State::PreReplica } else { State::PreReadOnlyReplica });
        inner.is_in_step = false;
        inner.has_resigned = false;
        inner.leader = Some(append.leader.clone());
    }
    inner.claimed = Instant::now();
    inner.members.entry(&append.leader).heard = Some(inner.claimed);
    let fitted = store(inner, append);
    let length = inner.users.end().length;
    if fitted {
        inner.users.apply_up_to(append.counting);
        inner.is_in_step = length == append.length;
    }
    Some(Appended { epoch: inner.epoch, fitted, length })
}

/// Stores the leader's records, if this node has what comes before them. A record of its own in their place was never
/// stored by a majority; the server cannot take it away while it runs.
fn store(inner: &mut Inner, append: &Append) -> bool {
    let own = inner.users.end().length;
    if append.after.length > own || inner.users.position_at(append.after.length) != append.after {
        return false;
    }
    for (index, record) in (append.after.length..).zip(&append.records) {
        let there = inner.users.records_from(index).first().map(|record| record.epoch);
        match there {
            None => {
                stored(inner.users.store(record.clone()));
            }
            Some(epoch) if epoch == record.epoch => {}
            Some(_) => return truncate(inner, index),
        }
    }
    if inner.users.end().length > append.length {
        return truncate(inner, append.length);
    }
    true
}

fn truncate(inner: &mut Inner, length: usize) -> bool {
    stored(inner.users.mark_for_truncation(length));
    inner.ending = Some(Ending::Truncation);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_given_once_and_to_nobody_with_less() {
        let at = |epoch, length| Position { epoch, length };
        for (state, leader_lives, candidate, stored, expected) in [
            (State::Unknown, false, 8, at(3, 5), true),
            (State::Unknown, false, 7, at(3, 5), false),
            (State::Unknown, false, 8, at(3, 4), false),
            (State::Unknown, false, 8, at(2, 9), false),
            (State::Unknown, false, 8, at(4, 1), true),
            (State::Follower, false, 8, at(3, 5), true),
            (State::Follower, true, 8, at(3, 5), false),
            (State::DiscoverLeader, false, 8, at(3, 5), false),
            (State::Leader, false, 8, at(3, 5), false),
            (State::PreLeader, false, 8, at(3, 5), false),
        ] {
            let candidate = Candidate { epoch: candidate, stored };
            let granted = deserves_vote(&candidate, state, leader_lives, 7, at(3, 5));
            assert_eq!(granted, expected, "{candidate:?} by a {state:?}, {leader_lives}");
        }
    }
}
