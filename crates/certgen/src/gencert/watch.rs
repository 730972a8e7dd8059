//! What a person at a terminal sees and does meanwhile: a progress bar, and Ctrl-C.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};

/// Fewer are made before anybody looks.
const WORTH_A_BAR: usize = 4;

/// A bar for `count` certificates, on stderr and only if that is a terminal.
pub(crate) fn progress(count: usize) -> ProgressBar {
    if count < WORTH_A_BAR || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{pos} of {len} certificates {wide_bar} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Turns the first SIGINT, SIGTERM or SIGHUP into a request to stop, so that nothing stays half done. The second one kills.
///
/// To be called before other threads begin: they inherit what is blocked.
pub(crate) fn stop_on_signals() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    if signals.thread_block().is_err() {
        return stop;
    }
    let told = Arc::clone(&stop);
    let listener = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.wait().is_ok() {
            told.store(true, Ordering::Relaxed);
        }
        let _ = signals.thread_unblock();
        // Threads that end cannot be killed by a signal: this one stays until the process ends.
        loop {
            thread::park();
        }
    });
    if listener.is_err() {
        let _ = signals.thread_unblock();
    }
    stop
}
