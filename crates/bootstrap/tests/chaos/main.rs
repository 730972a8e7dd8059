//! The real binary beside each of three stand-ins, with a proxy between any two that talk: sidecars are killed before
//! and after their calls to AWS and to the database, one or all at once; replies are lost, requests never answered,
//! leaders move. After each round all servers are restarted, which empties their caches, and some stored password opens
//! the database; the sidecars run again, and all is in order. Nothing that any process shows holds a password.
//!
//! `CHAOS_ROUNDS` sets how many rounds are played. A run prints its seed; `CHAOS_SEED` plays the same plans again, with
//! `CHAOS_STAGE` those of one cluster alone. How processes interleave is not up to the seed.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod eye;
mod plan;
mod process;
mod round;
mod stage;

use std::sync::Arc;
use std::time::Instant;

use testkit::moto::Moto;
use tokio::sync::Semaphore;

use crate::eye::Eye;
use crate::plan::{DEFAULT_ROUNDS, Plan, ROUNDS_OF_A_STAGE};
use crate::round::{Tally, play};
use crate::stage::{Account, Stage};

/// Clusters at a time for each core; they mostly wait.
const STAGES_OF_A_CORE: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_any_instant_in_a_cluster_nobody_is_locked_out() {
    let tally = chaos(rounds(DEFAULT_ROUNDS), 0, || Account::Double).await;
    assert!(tally.kills * 3 >= tally.rounds && tally.moves > 0 && tally.faults > 0, "does it still do harm? {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_any_instant_against_moto_nobody_is_locked_out() {
    let Some(moto) = Moto::start("killed_at_any_instant_against_moto_nobody_is_locked_out") else { return };
    let moto = Arc::new(moto);
    let rounds = rounds(DEFAULT_ROUNDS) / 9;
    let tally = chaos(rounds, 1_000_000, || Account::Moto(Arc::clone(&moto))).await;
    assert!(tally.kills * 3 >= tally.rounds, "does it still do harm? {tally:?}");
}

fn rounds(default: usize) -> usize {
    number("CHAOS_ROUNDS").map_or(default, |rounds| usize::try_from(rounds).unwrap())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is not a number")))
}

/// Plays the rounds on as many clusters as they need, and searches what was shown.
async fn chaos(rounds: usize, first_stage: usize, account: impl Fn() -> Account) -> Tally {
    let started = Instant::now();
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let only = number("CHAOS_STAGE").map(|stage| usize::try_from(stage).unwrap());
    eprintln!("chaos: {rounds} rounds; the same plans again: CHAOS_SEED={seed} CHAOS_ROUNDS={rounds}");
    let eye = Eye::open();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let room = Arc::new(Semaphore::new(cores * STAGES_OF_A_CORE));
    let numbers: Vec<_> = (0..rounds).collect();
    let stages: Vec<_> = numbers
        .chunks(ROUNDS_OF_A_STAGE)
        .enumerate()
        .filter(|(stage, _)| only.is_none_or(|only| only == *stage))
        .map(|(stage, numbers)| {
            let plans: Vec<_> = numbers.iter().map(|number| Plan::of(seed, *number)).collect();
            let (account, eye, room) = (account(), Arc::clone(&eye), Arc::clone(&room));
            let playing = tokio::spawn(async move {
                let _place = room.acquire_owned().await.unwrap();
                let mut stage = Stage::set(first_stage + stage, seed, account, &eye).await;
                play(&mut stage, plans).await
            });
            (stage, playing)
        })
        .collect();
    let mut tally = Tally::default();
    for (stage, playing) in stages {
        match playing.await {
            Ok(played) => tally.add(played),
            Err(error) => panic!("{error}\nCHAOS_SEED={seed} CHAOS_ROUNDS={rounds} CHAOS_STAGE={stage} plays it again"),
        }
    }
    let passwords = eye.passwords();
    eprintln!("chaos: {tally:?}; {passwords} passwords; {:.0} s", started.elapsed().as_secs_f64());
    assert_nothing_was_shown(&eye, tally.rounds);
    tally
}

fn assert_nothing_was_shown(eye: &Eye, rounds: usize) {
    let found = eye.find();
    assert!(found.is_empty(), "passwords were shown: {found:?}");
    assert!(eye.passwords() > rounds / 4, "there was little to find: {} passwords", eye.passwords());
    for by in [
        "bootstrap run",
        "/proc/PID/cmdline",
        "/proc/PID/environ",
        "health file",
        "bootstrap healthcheck",
        "status file",
        "bootstrap status",
        "metrics",
        "metrics for Prometheus",
        "server",
    ] {
        assert!(eye.seen(by) > 0, "nothing was seen of {by}");
    }
    // The same search finds a password that is there.
    eye.note("control", &format!("INFO user=\"admin\" {} is set", eye.any_password()));
    let found = eye.find();
    assert!(found.iter().map(|(by, _)| by.as_str()).eq(["control"]), "{found:?}");
}
