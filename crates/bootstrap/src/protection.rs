//! The disruption budget of a cluster: while the nodes that are up to date could not do without this one, its task is
//! protected from being taken away by a deployment or a scale-in (ECS task scale-in protection). [`need`] and
//! [`Standing::step`] decide, [`protect`] does.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::ecs::{Agent, Unprotected};
use crate::server::Census;
use crate::status::{Area, Report};
use crate::watch::{LOOK, OwnServer};

/// As long as ECS keeps the protection when nobody asks again.
const EXPIRY_MINUTES: u16 = 10;
const EXPIRY: Duration = Duration::from_mins(EXPIRY_MINUTES as u64);
/// Well before the end, so that some tries may fail.
const RENEWAL: Duration = Duration::from_mins(5);

/// Whether the task must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Without it there would be no quorum.
    Protected,
    /// The others are enough, or there was no cluster yet.
    Free,
    /// The server did not say: protection that stands is left to expire.
    Unknown,
}

/// `formed` remembers that there was a cluster once: one that never was has nothing to lose.
fn need(census: Option<Census>, quorum: usize, formed: &mut bool) -> Need {
    let Some(Census { caught_up, own_among_them, has_leader }) = census else { return Need::Unknown };
    *formed |= has_leader && caught_up >= quorum;
    let others = caught_up - usize::from(own_among_them);
    if *formed && others < quorum { Need::Protected } else { Need::Free }
}

/// What ECS is known to have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Free,
    /// Protected since then.
    Protected(Instant),
    /// It was asked for then, and nobody knows whether it was granted.
    Unclear(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Protect,
    Release,
}

impl Standing {
    /// `expiry` and `renewal` are how long a protection lasts and after which time it is asked for again.
    fn step(self, need: Need, now: Instant, expiry: Duration, renewal: Duration) -> Step {
        let is_older = |since: Instant, time| now.duration_since(since) >= time;
        match (need, self) {
            (Need::Unknown, _) | (Need::Free, Self::Free) => Step::Nothing,
            (Need::Protected, Self::Protected(since)) if !is_older(since, renewal) => Step::Nothing,
            (Need::Protected, _) => Step::Protect,
            // It has ended by itself.
            (Need::Free, Self::Protected(since) | Self::Unclear(since)) if is_older(since, expiry) => Step::Nothing,
            (Need::Free, Self::Protected(_) | Self::Unclear(_)) => Step::Release,
        }
    }

    /// What is known after ECS was asked at `now`.
    fn after(self, step: Step, said: Result<(), &Unprotected>, now: Instant) -> Self {
        match (step, said) {
            (Step::Protect, Ok(())) => Self::Protected(now),
            (Step::Release, Ok(())) => Self::Free,
            // What was not answered may have been done; a protection that stood stands at least as long as before.
            (Step::Protect, Err(Unprotected::NoAnswer(_))) if self == Self::Free => Self::Unclear(now),
            (Step::Protect | Step::Release, Err(_)) | (Step::Nothing, _) => self,
        }
    }
}

/// Protects the task as long as the sidecar lives. Beside a single node or a read-only replica, or away from ECS, there is
/// nothing to do.
/// That it fails is told and never the end of anything.
pub(crate) async fn protect(server: &OwnServer, report: &Report) -> Infallible {
    let settings = server.settings();
    let has_vote = settings.cluster_size > 1 && !settings.is_read_only_replica;
    let Some(uri) = settings.agent_uri.as_deref().filter(|_| has_vote) else {
        return std::future::pending().await;
    };
    let agent = match Agent::new(uri) {
        Ok(agent) => agent,
        Err(error) => {
            warn!("the task will not be protected from scale-in: {error}");
            report.failed(Area::Protection, "no-agent");
            return std::future::pending().await;
        }
    };
    let (expiry, renewal) = (settings.scaled(EXPIRY), settings.scaled(RENEWAL));
    let (mut formed, mut standing, mut said_last) = (false, Standing::Free, None);
    let mut ticks = interval(settings.scaled(LOOK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let need = need(server.census().await, settings.quorum(), &mut formed);
        let step = standing.step(need, Instant::now(), expiry, renewal);
        if step == Step::Nothing {
            continue;
        }
        let outcome = agent.protect((step == Step::Protect).then_some(EXPIRY_MINUTES)).await;
        let before = standing;
        standing = standing.after(step, outcome.as_ref().copied(), Instant::now());
        match &outcome {
            Ok(()) => report.protected((step == Step::Protect).then_some(expiry.as_secs())),
            Err(Unprotected::Refused(_)) => report.failed(Area::Protection, "agent-refused"),
            Err(Unprotected::NoAnswer(_)) => report.failed(Area::Protection, "agent-silent"),
        }
        let said = outcome.err().map(|error| error.to_string());
        match &said {
            Some(error) if said != said_last => {
                warn!("the protection of the task from scale-in stays as it was: {error}");
            }
            None if step == Step::Release => info!("the task is not protected from scale-in any more"),
            None if !matches!(before, Standing::Protected(_)) || said_last.is_some() => {
                info!("the task is protected from scale-in: without its node there would be no quorum");
            }
            _ => {}
        }
        said_last = said;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(caught_up: usize, own_among_them: bool, has_leader: bool) -> Census {
        Census { caught_up, own_among_them, has_leader }
    }

    #[test]
    fn a_task_is_needed_if_the_others_are_no_quorum() {
        for (nodes, seen, expected) in [
            (3, census(3, true, true), Need::Free),
            (3, census(2, true, true), Need::Protected),
            // It comes back to two that do without it.
            (3, census(2, false, true), Need::Free),
            (3, census(1, false, false), Need::Protected),
            // The survivor of a lost quorum, which is no leader any more.
            (3, census(0, false, false), Need::Protected),
            (5, census(5, true, true), Need::Free),
            (5, census(4, true, true), Need::Free),
            (5, census(3, true, true), Need::Protected),
            (7, census(5, true, true), Need::Free),
            (7, census(4, true, true), Need::Protected),
        ] {
            assert_eq!(need(Some(seen), nodes / 2 + 1, &mut true), expected, "{seen:?} of {nodes}");
        }
        assert_eq!(need(None, 2, &mut true), Need::Unknown);
    }

    #[test]
    fn a_cluster_that_never_was_needs_nobody_and_one_that_was_is_remembered() {
        let mut formed = false;
        for seen in [census(0, false, false), census(1, true, true), census(2, true, false)] {
            assert_eq!(need(Some(seen), 2, &mut formed), Need::Free, "{seen:?}");
        }
        assert_eq!(need(Some(census(3, true, true)), 2, &mut formed), Need::Free);
        assert_eq!(need(Some(census(0, false, false)), 2, &mut formed), Need::Protected);
    }

    #[test]
    fn it_is_renewed_before_its_end_and_taken_off_once() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_mins(minutes);
        let (protected, unclear) = (Standing::Protected(start), Standing::Unclear(start));
        for (standing, need, minute, expected) in [
            (Standing::Free, Need::Free, 0, Step::Nothing),
            (Standing::Free, Need::Protected, 0, Step::Protect),
            (Standing::Free, Need::Unknown, 0, Step::Nothing),
            (protected, Need::Protected, 4, Step::Nothing),
            (protected, Need::Protected, 5, Step::Protect),
            (protected, Need::Protected, 11, Step::Protect),
            (protected, Need::Unknown, 6, Step::Nothing),
            (protected, Need::Free, 1, Step::Release),
            (protected, Need::Free, 10, Step::Nothing),
            (unclear, Need::Protected, 0, Step::Protect),
            (unclear, Need::Free, 9, Step::Release),
            (unclear, Need::Free, 10, Step::Nothing),
        ] {
            let step = standing.step(need, at(minute), EXPIRY, RENEWAL);
            assert_eq!(step, expected, "{standing:?}, {need:?}, minute {minute}");
        }
    }

    #[test]
    fn only_an_answer_changes_what_is_known() {
        let (start, now) = (Instant::now(), Instant::now() + Duration::from_mins(5));
        let (refused, silent) = (Unprotected::Refused(String::new()), Unprotected::NoAnswer(String::new()));
        let protected = Standing::Protected(start);
        for (before, step, said, after) in [
            (Standing::Free, Step::Protect, Ok(()), Standing::Protected(now)),
            (Standing::Free, Step::Protect, Err(&refused), Standing::Free),
            (Standing::Free, Step::Protect, Err(&silent), Standing::Unclear(now)),
            (protected, Step::Protect, Ok(()), Standing::Protected(now)),
            (protected, Step::Protect, Err(&silent), protected),
            (protected, Step::Release, Ok(()), Standing::Free),
            (protected, Step::Release, Err(&silent), protected),
            (protected, Step::Release, Err(&refused), protected),
        ] {
            assert_eq!(before.after(step, said, now), after, "{before:?}, {step:?}, {said:?}");
        }
    }
}
