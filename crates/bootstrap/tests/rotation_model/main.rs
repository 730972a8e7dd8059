//! Model test of the rotation of passwords: sidecars that run the real code over a model of Secrets Manager and of a
//! cluster, in schedules in which every call may fail in every way and everybody may be killed at any moment.
//!
//! `ROTATION_SCHEDULES=n` plays that many, `ROTATION_SEED=n` plays one with a trace, `ROTATION_CHOICES=…` one that was
//! shrunk.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod calls;
mod cluster;
mod executor;
mod explore;
mod faults;
mod log;
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
use subject::AsItIs;
use tape::{Choices, Tape};

/// Schedules of a plain `cargo test`.
const FEW: u64 = 2_000;

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
