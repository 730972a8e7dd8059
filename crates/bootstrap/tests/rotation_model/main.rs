//! Model test of the rotation of passwords: sidecars that run the real code over a model of Secrets Manager and of a
//! cluster, in schedules in which every call may fail in every way and everybody may be killed at any moment.
//!
//! `ROTATION_SCHEDULES=n` plays that many, `ROTATION_SEED=n` plays one with a trace, `ROTATION_CHOICES=…` one that was
//! shrunk.
//!
//! `ROTATION_REPORT=1` shows the shrunk schedule by which a wrong decision is caught.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]
#![allow(clippy::print_stdout, reason = "how many schedules were played is what a reader wants to know")]

mod calls;
mod cluster;
mod executor;
mod explore;
mod faults;
mod log;
mod mutants;
mod outside;
mod schedule;
mod setup;
mod shrink;
mod store;
mod subject;
mod tape;
mod world;

use explore::{explore, report};
use schedule::{play, runtime};
use mutants::{Adapter, Backwards, CachesAreProof, DatabaseFirst, DetailsDiscard, OneRefusal, OwnNode, RandomToken};
use subject::{AsItIs, Subject};
use tape::{Choices, Tape};

/// Schedules of a plain `cargo test`.
const FEW: u64 = 4_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nobody_is_locked_out() {
    let choices = std::env::var("ROTATION_CHOICES").ok().map(|text| Tape::from_choices(Choices::parse(&text)));
    if let Some(tape) = choices.or_else(|| number("ROTATION_SEED").map(Tape::from_seed)) {
        let played = play(&runtime(), AsItIs, tape, true);
        println!("{}", played.trace.join("\n"));
        assert_eq!(played.violation, None);
        return;
    }
    let schedules = number("ROTATION_SCHEDULES").unwrap_or(FEW);
    if let Some(found) = explore(AsItIs, number("ROTATION_FIRST").unwrap_or(0), schedules) {
        panic!("{}", report(AsItIs, &found));
    }
}

/// Schedules within which a wrong decision must show.
const ENOUGH: u64 = 20_000;

/// The model notices, within a number of schedules that bootstrap as it is gets through.
fn is_caught(subject: impl Subject) {
    let found = explore(subject, 0, ENOUGH).expect("the model notices");
    println!("seed {}: {}", found.seed, found.violation);
    if std::env::var_os("ROTATION_REPORT").is_some() {
        println!("{}", report(subject, &found));
    }
    let played = play(&runtime(), AsItIs, Tape::from_seed(found.seed), false);
    assert_eq!(played.violation, None, "bootstrap as it is fails there too");
}

#[test]
fn the_database_before_the_secret_is_caught() {
    is_caught(DatabaseFirst);
}

#[test]
fn a_random_token_is_caught() {
    is_caught(RandomToken);
}

#[test]
fn change_password_is_caught() {
    is_caught(Adapter::ChangePassword);
}

#[test]
fn resolving_backwards_is_caught() {
    is_caught(Backwards);
}

#[test]
fn trusting_one_refusal_is_caught() {
    is_caught(OneRefusal);
}

#[test]
fn promoting_on_the_own_nodes_word_is_caught() {
    is_caught(OwnNode);
}

#[test]
fn details_that_discard_a_pending_password_are_caught() {
    is_caught(DetailsDiscard);
}

#[test]
fn promoting_beside_a_leader_that_sees_no_majority_is_caught() {
    is_caught(Adapter::NoMajority);
}

#[test]
fn taking_caches_for_proof_is_caught() {
    is_caught(CachesAreProof);
}
