//! Scavenges the own server on a schedule, if one was given: one member of a cluster at a time, and never its leader.
//! [`step`] decides and does nothing else.
//!
//! A server scavenges for itself (contract §4), and nobody coordinates the sidecars. So each keeps to what all of them see
//! alike: the window that the schedule opens, the members in the order of their names, and [`Turns`] of time that these take.
//! In its own turn a sidecar asks every member whether it scavenges, and begins only if all are there and none does.
//! That it has begun is written before the server is asked to: whatever happens then, it is not begun twice in a window.

mod keep;
mod schedule;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::password::Password;
use crate::ports::{Server as _, ServerError};
use crate::server::{HttpServer, Roster};
pub(crate) use keep::keep;
use schedule::Turns;
pub use schedule::{NotASchedule, Schedule};

/// How long a member may begin, of which it needs a few seconds.
const TURN: Duration = Duration::from_mins(5);
/// More than clocks differ by and a request takes.
const MARGIN: Duration = Duration::from_mins(1);

/// What is remembered of the last scavenge, also by the next process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// The start of the window, in seconds since 1970.
    pub window: u64,
    /// When it was begun, in seconds since 1970.
    pub at: u64,
    /// The server's id of it while it runs; absent once it is over, or if the server's answer was lost.
    pub id: Option<String>,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// There is nothing to do now.
    Nothing,
    /// It would be due, but for this.
    Waits(String),
    /// The server scavenges.
    Began,
    /// The node has become the leader: its scavenge was stopped.
    Stopped,
    /// It was begun and is not: this window goes without.
    Failed(String),
}

/// When and how nodes are scavenged.
#[derive(Clone, Copy, Debug)]
pub struct Scavenger {
    schedule: Schedule,
    /// How long after its moment a scavenge may begin.
    window: Duration,
    cluster_size: usize,
    turns: Turns,
}

/// What is known of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// How many nodes may vote.
    cluster_size: usize,
    /// How many of them are alive.
    voters_alive: usize,
    /// Whether a member is known that is not alive.
    someone_is_dead: bool,
    own_leads: bool,
    /// The own place in the order of names.
    own_place: usize,
    /// Whose turn it is.
    turn: Option<usize>,
    /// Whether another member scavenges; `None` if nobody was asked, or somebody did not say.
    others_scavenge: Option<bool>,
}

/// What became of a scavenge that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Runs,
    Over,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Another look may find something else.
    Wait(&'static str),
    /// Ask the other members whether they scavenge.
    Ask,
    Begin,
}

/// The one decision in a window in which this server has not begun yet.
fn step(seen: Seen, asked: bool) -> Step {
    let is_cluster = seen.cluster_size > 1;
    if seen.voters_alive < seen.cluster_size || seen.someone_is_dead {
        // Who is cut off may scavenge as well, and a cluster that has lost a node has enough to do.
        return Step::Wait("not all members of the cluster are alive");
    }
    if is_cluster && seen.own_leads {
        return Step::Wait("the node leads");
    }
    if seen.turn != Some(seen.own_place) {
        return Step::Wait("it is not this node's turn");
    }
    match seen.others_scavenge {
        None if !is_cluster => Step::Begin,
        None if !asked => Step::Ask,
        None => Step::Wait("a member does not say whether it scavenges"),
        Some(true) => Step::Wait("another member scavenges"),
        Some(false) => Step::Begin,
    }
}

impl Scavenger {
    /// For a cluster of `cluster_size` nodes that vote. `scale` stretches turns, for tests.
    pub fn new(schedule: Schedule, window: Duration, cluster_size: usize, scale: f64) -> Self {
        let turns = Turns { length: TURN.mul_f64(scale), margin: MARGIN.mul_f64(scale) };
        Self { schedule, window, cluster_size, turns }
    }

    /// The window that is open and in which nothing was begun yet. `now` is since 1970.
    fn due(&self, begun: Option<&Begun>, now: Duration) -> Option<u64> {
        self.schedule.window(now, self.window).filter(|window| begun.is_none_or(|begun| begun.window < *window))
    }

    /// Whether a look at the server can find anything to do: it is due, or one was begun and is watched.
    fn is_wanted(&self, begun: Option<&Begun>, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        begun.is_some_and(|begun| begun.id.is_some()) || self.due(begun, now).is_some()
    }

    /// Looks at the time, and if it is due at the cluster, and begins or stops the own server's scavenge.
    ///
    /// `begun` is what was remembered and is changed; `save` is called with it before the server is asked to begin.
    /// `password` gives that of the user `ops`, who may do this.
    pub async fn look(
        &self,
        server: &HttpServer,
        begun: &mut Option<Begun>,
        save: impl Fn(Option<&Begun>),
        password: impl AsyncFn() -> Result<Password, String>,
        now: SystemTime,
    ) -> Looked {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(Begun { id: Some(id), .. }) = begun {
            let watched = match self.watch(server, id, &password).await {
                Ok(Watched::Runs) => return Looked::Nothing,
                Ok(watched) => watched,
                Err(reason) => return Looked::Waits(reason),
            };
            // That there was one is still remembered, and that it needs no watching any more.
            if let Some(begun) = begun {
                begun.id = None;
            }
            save(begun.as_ref());
            if watched == Watched::Stopped {
                return Looked::Stopped;
            }
        }
        self.begin(server, begun, save, &password, now).await
    }

    /// A scavenge of ours runs, or did when somebody last looked.
    async fn watch(
        &self,
        server: &HttpServer,
        id: &str,
        password: &impl AsyncFn() -> Result<Password, String>,
    ) -> Result<Watched, String> {
        let said = |error: ServerError| error.to_string();
        let leads = self.cluster_size > 1 && server.roster().await.map_err(said)?.own_leads();
        let password = password().await?;
        match server.current_scavenge(&password).await.map_err(said)? {
            Some(current) if current == id && leads => {
                server.stop_scavenge(&password, id).await.map_err(said)?;
                Ok(Watched::Stopped)
            }
            Some(current) if current == id => Ok(Watched::Runs),
            _ => Ok(Watched::Over),
        }
    }

    async fn begin(
        &self,
        server: &HttpServer,
        begun: &mut Option<Begun>,
        save: impl Fn(Option<&Begun>),
        password: &impl AsyncFn() -> Result<Password, String>,
        now: Duration,
    ) -> Looked {
        let Some(window) = self.due(begun.as_ref(), now) else { return Looked::Nothing };
        let mut seen = match server.roster().await {
            Ok(roster) => self.seen(&roster, now.saturating_sub(Duration::from_secs(window))),
            Err(error) => return Looked::Waits(error.to_string()),
        };
        if let Step::Wait(reason) = step(seen, false) {
            return Looked::Waits(reason.to_owned());
        }
        let password = match password().await {
            Ok(password) => password,
            Err(reason) => return Looked::Waits(reason),
        };
        if step(seen, false) == Step::Ask {
            seen.others_scavenge = others_scavenge(server, &password, self.cluster_size).await;
        }
        if let Step::Wait(reason) = step(seen, true) {
            return Looked::Waits(reason.to_owned());
        }
        let before = begun.replace(Begun { window, at: now.as_secs(), id: None });
        save(begun.as_ref());
        match server.begin_scavenge(&password).await {
            Ok(id) => {
                if let Some(begun) = begun {
                    begun.id = Some(id);
                }
                save(begun.as_ref());
                Looked::Began
            }
            // It may have begun all the same.
            Err(ServerError::Unreachable(reason)) => Looked::Failed(reason),
            // It said no, and has begun nothing.
            Err(error) => {
                *begun = before;
                save(begun.as_ref());
                Looked::Waits(error.to_string())
            }
        }
    }

    fn seen(&self, roster: &Roster, since: Duration) -> Seen {
        let names = roster.names();
        let own_place = names.iter().position(|name| *name == roster.own).unwrap_or(names.len());
        Seen {
            cluster_size: self.cluster_size,
            voters_alive: roster.voters_alive(),
            someone_is_dead: roster.someone_is_dead(),
            own_leads: roster.own_leads(),
            own_place,
            turn: self.turns.whose(since, names.len()),
            others_scavenge: None,
        }
    }
}

/// Whether any other member scavenges; `None` if one does not say.
async fn others_scavenge(server: &HttpServer, password: &Password, cluster_size: usize) -> Option<bool> {
    let peers = server.peers().await.ok()?;
    if peers.len() + 1 < cluster_size {
        return None;
    }
    let answers = join_all(peers.iter().map(|peer| peer.current_scavenge(password))).await;
    let own = server.current_scavenge(password).await;
    let answers: Result<Vec<_>, _> = answers.into_iter().chain([own]).collect();
    Some(answers.ok()?.iter().any(Option::is_some))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOWER: Seen = Seen {
        cluster_size: 3,
        voters_alive: 3,
        someone_is_dead: false,
        own_leads: false,
        own_place: 1,
        turn: Some(1),
        others_scavenge: None,
    };

    #[test]
    fn a_follower_begins_in_its_turn_if_nobody_else_scavenges() {
        let waits = |seen, asked| matches!(step(seen, asked), Step::Wait(_));
        assert_eq!(step(FOLLOWER, false), Step::Ask);
        assert_eq!(step(Seen { others_scavenge: Some(false), ..FOLLOWER }, true), Step::Begin);
        for seen in [
            Seen { others_scavenge: Some(true), ..FOLLOWER },
            Seen { others_scavenge: None, ..FOLLOWER },
            Seen { others_scavenge: Some(false), own_leads: true, ..FOLLOWER },
            Seen { others_scavenge: Some(false), turn: Some(0), ..FOLLOWER },
            Seen { others_scavenge: Some(false), turn: None, ..FOLLOWER },
            Seen { others_scavenge: Some(false), voters_alive: 2, ..FOLLOWER },
            Seen { others_scavenge: Some(false), someone_is_dead: true, ..FOLLOWER },
        ] {
            assert!(waits(seen, true), "{seen:?}");
        }
        for seen in [
            Seen { own_leads: true, ..FOLLOWER },
            Seen { turn: Some(2), ..FOLLOWER },
            Seen { turn: None, ..FOLLOWER },
            Seen { voters_alive: 2, ..FOLLOWER },
            Seen { someone_is_dead: true, ..FOLLOWER },
        ] {
            assert!(waits(seen, false), "nobody is asked for nothing: {seen:?}");
        }
    }

    #[test]
    fn a_single_node_leads_and_is_scavenged() {
        let single =
            Seen { cluster_size: 1, voters_alive: 1, own_leads: true, own_place: 0, turn: Some(0), ..FOLLOWER };
        assert_eq!(step(single, false), Step::Begin);
        assert_eq!(
            step(Seen { voters_alive: 0, ..single }, false),
            Step::Wait("not all members of the cluster are alive")
        );
    }

    /// Whatever two members see, if they agree on the turn, they do not both begin; and no leader does.
    #[test]
    fn of_all_that_can_be_seen_nothing_lets_a_leader_or_two_members_begin() {
        for (bits, turn) in (0_u8..16).flat_map(|bits| [None, Some(0), Some(1), Some(2)].map(|turn| (bits, turn))) {
            let is = |bit: u8| bits & bit != 0;
            let seen = |own_place| Seen {
                own_leads: is(1),
                someone_is_dead: is(2),
                others_scavenge: [None, Some(true), Some(false), None][usize::from(bits >> 2)],
                own_place,
                turn,
                ..FOLLOWER
            };
            let beginning = (0..3).filter(|place| step(seen(*place), true) == Step::Begin).count();
            assert!(beginning <= 1 && !(is(1) && beginning > 0), "{bits} {turn:?}");
        }
    }
}
