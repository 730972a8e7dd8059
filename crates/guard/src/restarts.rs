//! How often a server may end itself. A cluster's first boot can cost a node two exits with code 0 (observed §1), and so
//! can a deposed leader; more than that is a fault that a restart does not mend.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts that are allowed within [`WINDOW`].
pub(crate) const LIMIT: usize = 5;
/// The time in which restarts count.
pub(crate) const WINDOW: Duration = Duration::from_mins(10);

/// The restarts of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Notes a restart, or says that there were too many.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            self.0.pop_front();
        }
        let allowed = self.0.len() < LIMIT;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_ten_minutes_and_not_six() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut restarts = Restarts::default();
        for seconds in 0..5 {
            assert!(restarts.allow(at(seconds)));
        }
        assert!(!restarts.allow(at(599)));
        assert!(restarts.allow(at(600)), "the first one does not count any more");
        assert!(!restarts.allow(at(600)));
    }
}
