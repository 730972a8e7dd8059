//! Keeps in touch with the other nodes: finds them, holds a connection to each, gossips, and as leader brings them the
//! log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::links::{Link, LinkError};
use super::members::{Endpoint, Info, Member, State};
use super::node::{Inner, Node};
use super::options::Discovery;
use super::protocol::{APPEND, Append, Appended, GOSSIP, Gossip, gossip_of, take_in};

/// Gossip is frequent at first (contract §6).
const FIRST_ROUNDS: u32 = 20;
const FIRST_GOSSIP: Duration = Duration::from_millis(100);
const GOSSIP_INTERVAL: Duration = Duration::from_secs(2);
/// A leader is heard of at least this often (contract §5.2).
const HEARTBEAT: Duration = Duration::from_millis(700);
/// Pause after a look-up of the cluster's name that failed (contract §6).
const DNS_RETRY: Duration = Duration::from_secs(1);
/// However fast time is: no node calls another more often than this in vain.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// Keeps in touch. Never ends.
pub(super) async fn keep_in_touch(node: Arc<Node>) {
    tokio::spawn(find(Arc::clone(&node)));
    let mut known = BTreeSet::new();
    loop {
        let name = node
            .wait_for(|inner| inner.members.iter().map(|(name, _)| name).find(|name| !known.contains(*name)).cloned())
            .await;
        known.insert(name.clone());
        tokio::spawn(keep_link(Arc::clone(&node), name));
    }
}

/// Calls those that it was told of, until each was reached once: from then on they are members under their own names.
async fn find(node: Arc<Node>) {
    match node.options.discovery.clone() {
        Discovery::Alone => {}
        // Seeds are members from the start; with names that do not resolve they are members that do not answer.
        Discovery::Seeds(seeds) => node.change(|inner| {
            for seed in seeds.iter().filter(|seed| **seed != node.options.own_name) {
                inner.members.entry(seed);
            }
        }),
        Discovery::Dns(name) => {
            let addresses = loop {
                match node.names.resolve(&name.host).await {
                    Ok(addresses) if !addresses.is_empty() => break addresses,
                    _ => node.say_once("Error while retrieving cluster members through DNS."),
                }
                node.pause(DNS_RETRY).await;
            };
            for address in addresses {
                let to = Endpoint { host: address.to_string(), port: name.port };
                tokio::spawn(introduce(Arc::clone(&node), to));
            }
        }
    }
}

/// Gossips with an address until it has answered once.
async fn introduce(node: Arc<Node>, to: Endpoint) {
    let mut rounds = 0;
    loop {
        let said = node.with(|inner| gossip_of(&node, inner));
        let answer = async {
            let (link, _work) = Link::open(&node, &to).await?;
            link.call::<Gossip>(GOSSIP, &said).await
        };
        match answer.await {
            Ok(gossip) => return node.change(|inner| take_in(&node, inner, gossip, false)),
            Err(error) => complain(&node, &to, &error),
        }
        rounds += 1;
        node.pause(interval(rounds)).await;
    }
}

fn interval(rounds: u32) -> Duration {
    if rounds < FIRST_ROUNDS { FIRST_GOSSIP } else { GOSSIP_INTERVAL }
}

fn complain(node: &Node, to: &Endpoint, error: &LinkError) {
    node.say_once(&format!("Gossip send failed to {to}: {error}"));
}

/// Holds a connection to a member. Never ends before the node does.
async fn keep_link(node: Arc<Node>, to: Endpoint) {
    let mut rounds = 0;
    while node.with(|inner| inner.state) != State::ShuttingDown {
        match Link::open(&node, &to).await {
            Err(error) => complain(&node, &to, &error),
            Ok((link, mut work)) => {
                let ended = tokio::select! {
                    error = use_link(&node, &to, &link, &mut rounds) => Some(error),
                    () = work.over() => None,
                };
                if let Some(error) = ended {
                    complain(&node, &to, &error);
                }
            }
        }
        node.change(|inner| {
            let member = inner.members.entry(&to);
            (member.link, member.heard, member.stored, member.missed) = (None, None, None, true);
        });
        rounds += 1;
        // If it calls, it is there again.
        let called = node.wait_for(|inner| inner.members.is_alive(&to).then_some(()));
        let _ = tokio::time::timeout(node.scaled(interval(rounds)).max(LEAST_PAUSE), called).await;
        tokio::time::sleep(LEAST_PAUSE).await;
    }
}

/// Gossips and replicates over a connection until it fails.
async fn use_link(node: &Node, to: &Endpoint, link: &Link, rounds: &mut u32) -> LinkError {
    let mut changes = node.changes();
    let mut said: Option<(Info, Instant)> = None;
    let mut replication = Replication::default();
    loop {
        changes.mark_unchanged();
        let gossip = node.with(|inner| gossip_of(node, inner));
        let is_due = said.as_ref().is_none_or(|(info, at)| {
            *info != gossip.from || at.elapsed() >= node.scaled(interval(*rounds)).max(LEAST_PAUSE)
        });
        if gossip.from.state == State::ShuttingDown {
            return LinkError::Unreachable("this node shuts down".to_owned());
        }
        if is_due {
            let info = gossip.from.clone();
            match link.call::<Gossip>(GOSSIP, &gossip).await {
                Ok(answer) => node.change(|inner| {
                    take_in(node, inner, answer, false);
                    let member = inner.members.entry(to);
                    if member.info.is_some() && member.link.is_none() {
                        member.link = Some(link.clone());
                    }
                }),
                Err(error) => return error,
            }
            said = Some((info, Instant::now()));
            *rounds += 1;
        }
        if let Err(error) = replication.bring(node, to, link).await {
            return error;
        }
        let pause = node.scaled(interval(*rounds).min(HEARTBEAT)).max(LEAST_PAUSE);
        let _ = tokio::time::timeout(pause, changes.changed()).await;
    }
}

/// How far a leader is with one follower.
#[derive(Debug, Default)]
struct Replication {
    epoch: u64,
    next: usize,
    /// What was said last: length, how many count, when.
    said: Option<(usize, usize, Instant)>,
}

impl Replication {
    /// Brings the follower all that it lacks, if this node leads.
    async fn bring(&mut self, node: &Node, to: &Endpoint, link: &Link) -> Result<(), LinkError> {
        while let Some(append) = node.with(|inner| self.next(node, inner, to)) {
            let (sent, surplus) = (append.after.length + append.records.len(), append.surplus);
            self.said = Some((append.length, append.counting, Instant::now()));
            let answer = link.call::<Appended>(APPEND, &append).await;
            if surplus {
                return Ok(());
            }
            let answer = answer?;
            node.change(|inner| {
                if answer.epoch > append.epoch {
                    inner.raise_epoch(answer.epoch);
                    step_down(inner);
                } else if answer.fitted {
                    self.next = sent;
                    inner.members.entry(to).stored = Some(sent);
                    inner.count_what_a_majority_has(node.options.cluster_size);
                } else {
                    self.next = answer.length.min(append.after.length.saturating_sub(1));
                    self.said = None;
                }
            });
        }
        Ok(())
    }

    fn next(&mut self, node: &Node, inner: &Inner, to: &Endpoint) -> Option<Append> {
        if !inner.state.leads() && inner.state != State::ResigningLeader {
            return None;
        }
        let end = inner.users.end().length;
        if self.epoch != inner.epoch {
            *self = Self { epoch: inner.epoch, next: end, said: None };
        }
        let counting = if inner.state == State::PreLeader { 0 } else { inner.users.applied() };
        let heartbeat = node.scaled(HEARTBEAT).max(LEAST_PAUSE);
        let is_said = self
            .said
            .is_some_and(|(length, counted, at)| (length, counted) == (end, counting) && at.elapsed() < heartbeat);
        if is_said && self.next == end {
            return None;
        }
        Some(Append {
            epoch: inner.epoch,
            leader: node.options.own_name.clone(),
            after: inner.users.position_at(self.next),
            records: inner.users.records_from(self.next).to_vec(),
            counting,
            length: end,
            surplus: is_surplus(node, inner, to),
        })
    }
}

/// Whether the cluster is complete without a member: those that already have the log come first (contract §6).
fn is_surplus(node: &Node, inner: &Inner, to: &Endpoint) -> bool {
    let is_known = |member: &Member| member.stored.is_some() || !member.has_vote();
    if node.options.allow_surplus_nodes || inner.members.get(to).is_some_and(is_known) {
        return false;
    }
    let others = inner.members.iter().filter(|(_, member)| member.is_alive() && member.has_vote());
    let before = others.filter(|(name, member)| member.stored.is_some() || *name < to);
    before.count() + 1 >= node.options.cluster_size
}

/// Stops leading; somebody else does, or nobody.
pub(super) fn step_down(inner: &mut Inner) {
    inner.leader = None;
    inner.alone_since = None;
    inner.enter(if inner.has_vote { State::Unknown } else { State::ReadOnlyLeaderless });
}
