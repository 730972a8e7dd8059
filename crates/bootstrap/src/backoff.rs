//! How long to wait until something that did not work is tried again.

use std::time::Duration;

/// Pauses that double, each with up to a quarter on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    shortest: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `shortest`, or `longest` if that is less, to `longest`.
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(longest);
        Self { next: shortest, shortest, longest }
    }

    /// The pause after one more try that did not work.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        jittered(pause)
    }

    /// Something has worked.
    pub(crate) fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// Up to a quarter longer than asked for, so that the sidecars of a cluster do not ask AWS in step.
pub(crate) fn jittered(time: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without random numbers they ask in step, which does no harm.
    let _ = aws_lc_rs::rand::fill(&mut random);
    time + time / 1024 * u32::from(random[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_success() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        for expected in [1, 2, 4, 5, 5].map(seconds) {
            let pause = backoff.pause();
            assert!((expected..=expected * 5 / 4).contains(&pause), "{pause:?} is not about {expected:?}");
        }
        backoff.reset();
        assert!(backoff.pause() < seconds(2));
        assert!(Backoff::new(seconds(9), seconds(1)).pause() < seconds(2), "never longer than the longest");
    }
}
