//! What happens in a round: a pure function of the seed and the round's number.

use std::time::Duration;

use fastrand::Rng;
use testkit::proxy::{Answer, Fault};

/// Rounds that are played on one cluster, one after the other. The first is its adoption.
pub(crate) const ROUNDS_OF_A_STAGE: usize = 12;

/// What fits into the time that CI has for it.
pub(crate) const DEFAULT_ROUNDS: usize = 108;

/// The calls of a run, without its last polls. Rounds that are to kill later ones meet nothing.
const AWS_CALLS: usize = 24;
const DATABASE_CALLS: usize = 70;
const RESETS: usize = 2;

/// What is to be done about the credentials.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    /// The first sidecars of a new cluster.
    Adopt,
    /// `bootstrap rotate`, of one user by its place in the list, or of all.
    Rotate(Option<usize>),
    /// Another name for clients.
    Details,
    /// All passwords have become too old.
    Age,
    /// An operator sets a user's password in the database back to that of an older version.
    OldPassword(usize),
    /// Nothing is due.
    Nothing,
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// To AWS, of the sidecar beside the leader.
    Aws,
    /// To AWS, of whoever runs `bootstrap rotate`.
    AwsOfRotate,
    /// To any node of the database.
    Database,
    /// Password resets, at any node.
    Resets,
}

/// What else happens when the fault is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// The sidecar beside the leader, or whoever else called AWS, is killed and started again.
    KillCaller,
    /// All sidecars are killed.
    KillAll,
    /// The server that led when the round began is killed, and with some luck between two records of a reset.
    KillLeader(Duration),
    /// That server is told to end.
    TerminateLeader,
    /// That server gives the leadership up and goes on.
    Resign,
}

/// One fault.
#[derive(Clone, Debug)]
pub(crate) struct Strike {
    pub(crate) calls: Calls,
    /// Of the calls counted, from 1 on.
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
    pub(crate) then: Then,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) number: usize,
    pub(crate) errand: Errand,
    pub(crate) strikes: Vec<Strike>,
    /// Sidecars that have run since the round before are struck, not new ones.
    pub(crate) goes_on: bool,
    /// How late Secrets Manager's readers are.
    pub(crate) lag: Duration,
    /// How long after the last fault what still runs is killed, if it is not done before.
    pub(crate) window: Duration,
}

impl Plan {
    pub(crate) fn of(seed: u64, number: usize) -> Self {
        let mut rng = Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let is_adoption = number.is_multiple_of(ROUNDS_OF_A_STAGE);
        let errand = if is_adoption { Errand::Adopt } else { errand(&mut rng) };
        // Two of three rounds kill at one call, so that no other fault covers what that does.
        let strikes = if number % 3 == 2 {
            (0..rng.usize(1..=3)).map(|_| strike(&mut rng)).collect()
        } else {
            vec![kill(&mut rng, seed, number - number / 3)]
        };
        let lag = if rng.u8(..4) == 0 { Duration::from_millis(rng.u64(1..400)) } else { Duration::ZERO };
        // Now and then longer than a call to the database may take, so that it is seen to be given up.
        let window = if rng.u8(..16) == 0 { Duration::from_secs(12) } else { Duration::from_millis(rng.u64(..1500)) };
        let goes_on = !matches!(errand, Errand::Adopt | Errand::Details) && rng.bool();
        Self { number, errand, strikes, goes_on, lag, window }
    }
}

fn errand(rng: &mut Rng) -> Errand {
    match rng.u8(..10) {
        0..=2 => Errand::Rotate(None),
        3..=4 => Errand::Rotate(Some(rng.usize(..4))),
        5..=6 => Errand::Age,
        7 => Errand::Details,
        8 => Errand::OldPassword(rng.usize(..2)),
        _ => Errand::Nothing,
    }
}

/// The calls at which a run can be killed, before and after each. Of ten kills one is at a reset and seven at calls to
/// AWS; they come in another order with every seed.
fn kill(rng: &mut Rng, seed: u64, turn: usize) -> Strike {
    let of = |calls, count| {
        let faults = [Fault::Before, Fault::After];
        (1..=count).flat_map(move |nth| faults.clone().map(move |fault| (calls, nth, fault)))
    };
    let mut aws: Vec<_> = of(Calls::Aws, AWS_CALLS).collect();
    let mut database: Vec<_> = of(Calls::Database, DATABASE_CALLS).collect();
    let mut resets: Vec<_> = of(Calls::Resets, RESETS).collect();
    let mut order = Rng::with_seed(seed);
    for points in [&mut aws, &mut database, &mut resets] {
        order.shuffle(points);
    }
    // Each kind goes through its points in turn.
    let (points, nth_of_kind) = match turn % 10 {
        0 => (resets, turn / 10),
        place @ 1..=7 => (aws, turn / 10 * 7 + place - 1),
        place => (database, turn / 10 * 2 + place - 8),
    };
    let (calls, nth, fault) = points[nth_of_kind % points.len()].clone();
    let then = if rng.bool() { Then::KillAll } else { Then::KillCaller };
    Strike { calls, nth, fault, then }
}

fn strike(rng: &mut Rng) -> Strike {
    let calls = match rng.u8(..8) {
        0..=1 => Calls::Aws,
        2 => Calls::AwsOfRotate,
        3..=4 => Calls::Database,
        _ => Calls::Resets,
    };
    let nth = match calls {
        Calls::Aws => rng.usize(1..=AWS_CALLS),
        Calls::AwsOfRotate => rng.usize(1..=10),
        Calls::Database => rng.usize(1..=DATABASE_CALLS),
        Calls::Resets => rng.usize(1..=RESETS),
    };
    let refusal = match calls {
        Calls::Aws | Calls::AwsOfRotate => [
            Answer::aws("ThrottlingException", 400),
            Answer::aws("InternalServiceError", 500),
            Answer::aws("AccessDeniedException", 400),
        ],
        Calls::Database | Calls::Resets => [503, 408, 500].map(Answer::status),
    };
    let fault = match rng.u8(..10) {
        0..=3 => Fault::After,
        4 => Fault::Before,
        5 => Fault::Twice,
        6 => Fault::Delay(Duration::from_millis(rng.u64(1..1500))),
        7 => Fault::BlackHole,
        8 => Fault::Unanswered,
        _ => Fault::Answer(refusal[rng.usize(..3)].clone()),
    };
    let then = match rng.u8(..8) {
        0 => Then::KillCaller,
        1 => Then::KillAll,
        2..=3 => Then::KillLeader(Duration::from_micros(rng.u64(..4000))),
        4 => Then::TerminateLeader,
        5 => Then::Resign,
        _ => Then::Nothing,
    };
    Strike { calls, nth, fault, then }
}

#[test]
fn a_seed_gives_the_same_plans_again_and_enough_of_them_kill() {
    let plans = |seed| (0..DEFAULT_ROUNDS).map(|number| Plan::of(seed, number)).collect::<Vec<_>>();
    assert_eq!(format!("{:?}", plans(7)), format!("{:?}", plans(7)));
    assert_ne!(format!("{:?}", plans(7)), format!("{:?}", plans(8)));
    let kills = |strike: &Strike| matches!(strike.then, Then::KillAll | Then::KillCaller);
    for seed in 0..20 {
        let plans = plans(seed);
        let at: Vec<_> = plans.iter().flat_map(|plan| &plan.strikes).filter(|strike| kills(strike)).collect();
        let met = |calls, nth, fault: &Fault| {
            at.iter().any(|strike| (strike.calls, strike.nth, &strike.fault) == (calls, nth, fault))
        };
        for fault in [Fault::Before, Fault::After] {
            assert!((1..=AWS_CALLS).all(|nth| met(Calls::Aws, nth, &fault)), "seed {seed}: not every call to AWS");
            assert!((1..=RESETS).all(|nth| met(Calls::Resets, nth, &fault)), "seed {seed}: not every reset");
        }
    }
}
