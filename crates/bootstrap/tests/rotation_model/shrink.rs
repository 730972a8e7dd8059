//! Makes a failing schedule simpler for as long as it still fails.

use tokio::runtime::Runtime;

use crate::schedule::{Played, play};
use crate::subject::Subject;
use crate::tape::{Choices, Tape};

/// How often a schedule is played again at most.
const MOST_TRIALS: usize = 4_000;

/// The simplest schedule found that fails, in whatever way.
pub(crate) fn shrink<S: Subject>(runtime: &Runtime, subject: S, choices: Choices) -> Choices {
    let mut shrinker = Shrinker { runtime, subject, best: choices, trials: 0 };
    shrinker.best.trim();
    loop {
        let before = shrinker.best.clone();
        shrinker.pass();
        if shrinker.best == before || shrinker.trials >= MOST_TRIALS {
            return shrinker.best;
        }
    }
}

struct Shrinker<'a, S> {
    runtime: &'a Runtime,
    subject: S,
    best: Choices,
    trials: usize,
}

impl<S: Subject> Shrinker<'_, S> {
    /// Tries to make whole pieces harmless or to take them out, from large pieces to single choices.
    fn pass(&mut self) {
        for stream in 0..self.best.0.len() {
            self.attempt(|choices| choices.0[stream].clear());
            let mut size = self.best.0[stream].len().next_power_of_two();
            while size > 0 {
                let mut start = 0;
                while start < self.best.0[stream].len() {
                    let end = (start + size).min(self.best.0[stream].len());
                    let is_harmless = self.best.0[stream][start..end].iter().all(|choice| *choice == 0);
                    let is_flat = is_harmless || self.attempt(|choices| choices.0[stream][start..end].fill(0));
                    // Every success may have made the tape shorter.
                    let end = end.min(self.best.0[stream].len());
                    let is_gone = start < end && self.attempt(|choices| drop(choices.0[stream].drain(start..end)));
                    if !is_flat && !is_gone && size == 1 {
                        self.attempt(|choices| choices.0[stream][start] = 1);
                        self.attempt(|choices| choices.0[stream][start] -= 1);
                    }
                    if !is_gone {
                        start = end;
                    }
                    if self.trials >= MOST_TRIALS {
                        return;
                    }
                }
                size /= 2;
            }
        }
    }

    fn attempt(&mut self, change: impl FnOnce(&mut Choices)) -> bool {
        let mut changed = self.best.clone();
        change(&mut changed);
        changed.trim();
        let measure = |choices: &Choices| (choices.weight(), choices.len());
        let sum = |choices: &Choices| choices.0.iter().flatten().map(|choice| u32::from(*choice)).sum::<u32>();
        if (measure(&changed), sum(&changed)) >= (measure(&self.best), sum(&self.best)) {
            return false;
        }
        self.trials += 1;
        let Played { violation, .. } = play(self.runtime, self.subject, Tape::from_choices(changed.clone()), false);
        if violation.is_some() {
            self.best = changed;
        }
        violation.is_some()
    }
}
