//! Starts a part of the sidecar again that a bug has ended: whatever panics, the others go on meanwhile, and the process does
//! not end. What one of them holds in memory may be lost, which is the same as a restart of the process.

use std::convert::Infallible;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::backoff::Backoff;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Has panics told in one line of the log that names the place in the source. What a panic carries is not shown: it may have
/// been made of anything, also of secrets.
pub fn hide_panic_payloads() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        error!("a bug: panicked at {place}");
    }));
}

/// Runs `work` and begins it anew after a pause whenever it panics.
pub(crate) async fn supervise<F: Future<Output = Infallible>>(name: &str, mut work: impl FnMut() -> F) -> Infallible {
    let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    loop {
        let started = Instant::now();
        // What the work shares with others is cells, which are whole between any two statements.
        match AssertUnwindSafe(async { work().await }).catch_unwind().await {
            Ok(never) => match never {},
            // Dropping what it carries might panic again.
            Err(payload) => std::mem::forget(payload),
        }
        if started.elapsed() > LONGEST_PAUSE {
            backoff.reset();
        }
        let pause = backoff.pause();
        warn!("{name} has ended by a bug and begins anew in {} ms", pause.as_millis());
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    /// Panics before and after it has waited, on the way to make its future as well, and then works.
    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_and_nothing_else_stops_meanwhile() {
        let (begun, looks, started) = (Cell::new(0), Cell::new(0), Instant::now());
        let begun_at = Cell::new(Duration::ZERO);
        let work = || {
            begun.set(begun.get() + 1);
            begun_at.set(started.elapsed());
            let number = begun.get();
            assert!(number != 1, "the first time it does not even begin");
            async move {
                assert!(number != 2, "at once");
                sleep(Duration::from_secs(1)).await;
                assert!(number > 4, "after a while");
                pending().await
            }
        };
        let other = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                looks.set(looks.get() + 1);
            }
        };
        let both = async {
            tokio::select! {
                never = supervise("a worker", work) => match never {},
                () = other => {}
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(100), both).await.is_err());
        assert_eq!(begun.get(), 5);
        // 1, 2, 4 and 8 s, with up to a quarter on top, and twice the second that it ran.
        assert!((17..=21).contains(&begun_at.get().as_secs()), "{:?}", begun_at.get());
        assert!(looks.get() >= 98, "{}", looks.get());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_run_for_long_is_not_kept_waiting() {
        let (begun, started) = (Cell::new(0), Instant::now());
        let work = || {
            begun.set(begun.get() + 1);
            async {
                sleep(Duration::from_hours(1)).await;
                panic!("once an hour");
            }
        };
        let _ = tokio::time::timeout(Duration::from_hours(10), supervise("a worker", work)).await;
        assert!(started.elapsed() >= Duration::from_hours(10));
        assert_eq!(begun.get(), 10, "the pauses together are seconds");
    }
}
