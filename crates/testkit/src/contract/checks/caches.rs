//! What a node goes on believing after a password was reset: until it polls the notice, once a second by its own clock,
//! a cached login is compared with the cache alone (observed §4).

use std::thread;
use std::time::{Duration, Instant};

use super::super::check::{Check, Scope};
use super::super::found::Found;
use super::super::suite::{Node, POLL, Suite, await_state, pause, random_password};
use super::super::wire::{Broken, Login};

/// A round whose reset falls just before a poll sees nothing of the lag; the next one starts right after a poll.
const ROUNDS: usize = 4;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "cache.flip",
            "after a 200 the old password is accepted and the new one refused, until both flip at once",
            "observed §4, lines §C, observed-25 §D",
            flip,
        )
        .scope(Scope::Leader)
        .consent(),
        Check::new(
            "cache.flip-cluster",
            "every node flips by its own clock, after a reset on the leader",
            "observed §4, lines §C, observed-25 §D",
            flip_in_cluster,
        )
        .scope(Scope::Cluster)
        .consent(),
        Check::new(
            "cache.flip-follower",
            "the same after a reset through a follower",
            "observed §4, observed-25 §D",
            flip_through_follower,
        )
        .scope(Scope::EachFollower)
        .consent(),
    ]
}

fn flip(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    rounds(suite, node, &[node], found)
}

fn flip_in_cluster(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    rounds(suite, node, &suite.nodes.iter().collect::<Vec<_>>(), found)
}

fn flip_through_follower(suite: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    rounds(suite, node, &suite.nodes.iter().collect::<Vec<_>>(), found)
}

fn rounds(suite: &Suite, through: &Node, watched: &[&Node], found: &mut Found) -> Result<(), Broken> {
    let mut user = suite.scratch(through)?;
    let mut has_lagged = false;
    for _ in 0..ROUNDS {
        for node in watched {
            // A follower may not have the user yet.
            let warm = await_state(node, suite.line.flip_bound(), || node.accepts(&user))?;
            found.holds(&format!("{}: a login before", node.authority), warm, "accepted", "refused");
        }
        let new = user.with(&random_password());
        let reply = through.ask(&suite.reset(&user.name, &new.password))?;
        found.reply("reset", &reply).status(200);
        for (node, flip) in watched.iter().zip(watch_all(watched, &user, &new, suite.line.flip_bound())?) {
            flip.judge(&node.authority, suite.line.flip_bound(), found);
            has_lagged |= flip.has_lagged;
        }
        user = new;
        if has_lagged {
            break;
        }
    }
    found.holds("right after the 200", has_lagged, "old accepted and new refused, in one of four rounds", "never");
    Ok(())
}

/// What was seen of one node after a reset.
struct Flip {
    has_lagged: bool,
    /// How often both passwords were judged alike. Once is what a flip between the two questions looks like.
    alike: usize,
    after: Option<Duration>,
    went_back: bool,
}

impl Flip {
    fn judge(&self, node: &str, bound: Duration, found: &mut Found) {
        let shown = self.after.map_or_else(|| "not".to_owned(), |after| format!("after {after:?}"));
        found.holds(&format!("{node}: the flip"), self.after.is_some(), format!("within {bound:?}"), shown);
        let times = format!("{} times", self.alike);
        found.holds(&format!("{node}: both passwords judged alike"), self.alike <= 1, "at most once", times);
        found.holds(
            &format!("{node}: after the flip"),
            !self.went_back,
            "new accepted, old refused",
            "not so any more",
        );
    }
}

/// Every node is watched by itself, so that one's flip is not seen late because of another.
fn watch_all(nodes: &[&Node], old: &Login, new: &Login, bound: Duration) -> Result<Vec<Flip>, Broken> {
    thread::scope(|scope| {
        let watching: Vec<_> = nodes.iter().map(|node| scope.spawn(move || watch(node, old, new, bound))).collect();
        watching.into_iter().map(|thread| thread.join().expect("it only asks")).collect()
    })
}

fn watch(node: &Node, old: &Login, new: &Login, bound: Duration) -> Result<Flip, Broken> {
    let start = Instant::now();
    let mut flip = Flip { has_lagged: false, alike: 0, after: None, went_back: false };
    while flip.after.is_none() && start.elapsed() < bound {
        match (node.accepts(new)?, node.accepts(old)?) {
            (false, true) => flip.has_lagged = true,
            (true, false) => flip.after = Some(start.elapsed()),
            (true, true) | (false, false) => flip.alike += 1,
        }
        pause(node, POLL)?;
    }
    if flip.after.is_some() {
        for _ in 0..3 {
            flip.went_back |= !node.accepts(new)? || node.accepts(old)?;
        }
    }
    Ok(flip)
}
