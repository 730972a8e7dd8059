//! Eventual consistency on demand: readers go on seeing what was there before a change.

use std::time::{Duration, Instant};

/// How late readers see a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lag {
    /// At once.
    #[default]
    None,
    /// After so many reads of what was changed.
    Reads(usize),
    /// After this time.
    Time(Duration),
}

/// A value whose readers may be late. Whoever changes it is not.
#[derive(Debug)]
pub(super) struct Lagging<T> {
    truth: T,
    before: Option<(T, Until)>,
}

#[derive(Debug)]
enum Until {
    ReadsLeft(usize),
    Time(Instant),
}

impl<T> Lagging<T> {
    pub(super) fn new(truth: T) -> Self {
        Self { truth, before: None }
    }

    pub(super) fn truth(&self) -> &T {
        &self.truth
    }

    /// A reader who is late stays with the oldest value that it still sees.
    pub(super) fn set(&mut self, value: T, lag: Lag) {
        let truth = std::mem::replace(&mut self.truth, value);
        let until = match lag {
            Lag::None => {
                self.before = None;
                return;
            }
            Lag::Reads(count) => Until::ReadsLeft(count),
            Lag::Time(time) => Until::Time(Instant::now() + time),
        };
        let seen = self.before.take().filter(|(_, until)| until.is_open()).map_or(truth, |(seen, _)| seen);
        self.before = Some((seen, until));
    }

    pub(super) fn read(&mut self) -> &T {
        if let Some((_, until)) = &mut self.before
            && !until.passes_one_read()
        {
            self.before = None;
        }
        self.before.as_ref().map_or(&self.truth, |(before, _)| before)
    }
}

impl Until {
    fn is_open(&self) -> bool {
        match self {
            Until::ReadsLeft(count) => *count > 0,
            Until::Time(end) => Instant::now() < *end,
        }
    }

    /// Whether the next read is still late.
    fn passes_one_read(&mut self) -> bool {
        let late = self.is_open();
        if let Until::ReadsLeft(count) = self {
            *count = count.saturating_sub(1);
        }
        late
    }
}
