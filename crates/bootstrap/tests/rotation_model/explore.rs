//! Plays many schedules on all cores, and shows the first that fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::schedule::{play, runtime};
use crate::shrink::shrink;
use crate::subject::Subject;
use crate::tape::{Choices, Tape};

/// The seed that failed and what came of it.
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) violation: String,
    choices: Choices,
}

/// Plays the seeds `first..first + count`. Gives the lowest seed that fails of those that were played.
pub(crate) fn explore<S: Subject>(subject: S, first: u64, count: u64) -> Option<Found> {
    let (next, is_over, found) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(None::<Found>));
    let polls = AtomicU64::new(0);
    let started = Instant::now();
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let runtime = runtime();
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let played = play(&runtime, subject, Tape::from_seed(seed), false);
                    polls.fetch_add(played.polls, Ordering::Relaxed);
                    if let Some(violation) = played.violation {
                        is_over.store(true, Ordering::Relaxed);
                        let mut found = found.lock().expect("nobody panics with it");
                        if found.as_ref().is_none_or(|other| seed < other.seed) {
                            *found = Some(Found { seed, violation, choices: played.choices });
                        }
                    }
                }
            });
        }
    });
    let played = next.load(Ordering::Relaxed).min(first + count) - first;
    let (milliseconds, polls) = (started.elapsed().as_millis().max(1), polls.into_inner());
    let speed = u128::from(played) * 1_000 / milliseconds;
    println!("{played} schedules, {polls} polls in {} s: {speed} schedules/s", milliseconds / 1_000);
    found.into_inner().expect("nobody panics with it")
}

/// What a person needs to see of a failure: the simplest schedule that shows it, and how to play it again.
pub(crate) fn report<S: Subject>(subject: S, found: &Found) -> String {
    let runtime = runtime();
    let shrunk = shrink(&runtime, subject, found.choices.clone());
    let played = play(&runtime, subject, Tape::from_choices(shrunk.clone()), true);
    format!(
        "seed {}: {}\nshrunk from {} choices to {}: {}\n{}\nthe same schedule: ROTATION_CHOICES='{shrunk}'\nall of the seed: ROTATION_SEED={}",
        found.seed,
        found.violation,
        found.choices.weight(),
        shrunk.weight(),
        played.violation.unwrap_or_default(),
        abridged(&played.trace),
        found.seed,
    )
}

/// A schedule that does not end well often ends with the same lines over and over.
fn abridged(trace: &[String]) -> String {
    const START: usize = 250;
    const END: usize = 30;
    if trace.len() <= START + END {
        return trace.join("\n");
    }
    let (start, end) = (trace[..START].join("\n"), trace[trace.len() - END..].join("\n"));
    format!("{start}\n… {} lines …\n{end}", trace.len() - START - END)
}
