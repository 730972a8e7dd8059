//! What the code under test logs, for the trace of a schedule that is played again.

use std::cell::{Cell, RefCell};
use std::io;

use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static SAID: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SPEAKER: Cell<usize> = const { Cell::new(0) };
}

/// Whose code runs next.
pub(crate) fn speaker(number: usize) {
    SPEAKER.set(number);
}

/// Takes the lines that were logged on this thread since the last call.
pub(crate) fn take() -> Vec<String> {
    let said = SAID.take();
    let speaker = SPEAKER.get();
    String::from_utf8_lossy(&said).lines().map(|line| format!("caller {speaker} says {}", line.trim_start())).collect()
}

/// Runs `work` with the log of this thread kept.
pub(crate) fn kept<R>(work: impl FnOnce() -> R) -> R {
    let subscriber =
        tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).with_writer(ToThread).finish();
    tracing::subscriber::with_default(subscriber, work)
}

struct ToThread;

impl io::Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.with_borrow_mut(|said| said.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ToThread {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
