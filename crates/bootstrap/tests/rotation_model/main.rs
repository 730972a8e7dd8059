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
use mutants::{
    Adapter, Backwards, CachesAreProof, DatabaseFirst, DetailsDiscard, OneRefusal, OwnNode, RandomToken, ReclaimAtOnce,
};
use schedule::{play, runtime};
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

/// A mistake that bootstrap once made shows in this schedule, and bootstrap as it is gets through it. After a change of
/// the model the choices may have to be found anew: with [`is_caught`] and `ROTATION_REPORT=1`.
fn is_caught_in(subject: impl Subject, choices: &str) {
    let (runtime, tape) = (runtime(), || Tape::from_choices(Choices::parse(choices)));
    let violation = play(&runtime, subject, tape(), false).violation.expect("the model notices");
    println!("{violation}");
    assert_eq!(play(&runtime, AsItIs, tape(), false).violation, None, "bootstrap as it is fails there too");
}

/// A leader was cut off between a reset and its proof. It saw no other member alive, so its sidecar took the word of the
/// own node for that of all, while the others still refused the password.
#[test]
fn a_leader_that_is_cut_off_promotes_nothing() {
    is_caught_in(Adapter::NoMajority, "20*.1.5.6*.2.5*.33.5//0.4");
}

/// Somebody else had made a password pending and set it. The sidecar set the current one again and got no reply; the next
/// leader's found the foreign one accepted everywhere and moved the labels on, and the one that might be stored lost its.
#[test]
fn labels_do_not_move_on_the_word_of_caches() {
    is_caught_in(
        CachesAreProof,
        "20*.1.1.2*.2.2.2.1.1.3*.133.18//2.11*.1.6*.3.2*.2.4*.2.0.2.3*.4.4*.1.2.12*.1.0.2.3*.1.3.11*.1.5*.1.19*.5/1.3//\
         156*.1.1.1.5*.3.17*.2.5*.3.0.1.4.33*.3.0.1.13*.3.0.1.116*.3.76*.13",
    );
}

/// Somebody had moved `AWSCURRENT` back. The pending version, which a sidecar had sent, was then no longer in the slot of the
/// current one, and what was in it got the label.
#[test]
fn a_label_is_not_taken_back_from_what_may_have_been_sent() {
    is_caught_in(
        ReclaimAtOnce,
        "20*.8.3.3*.4.1.7*.131.7.0.158.1.0.195.12//7*.3.12*.3.36*.1.0.1.0.1.0.2.16*.5//69*.2///\
         81*.3.43*.3.9*.3.2*.14.42*.1",
    );
}
