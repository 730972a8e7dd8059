//! What a panic carries is shown nowhere; where it happened is. Alone in its process, because a hook is for all threads.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn a_panic_is_one_line_that_names_its_place_and_not_its_payload() {
    let log = Log::default();
    let lines = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(lines, || {
        bootstrap::hide_panic_payloads();
        let panicked = catch_unwind(|| panic!("{}", ["hunter2"].concat()));
        drop(std::panic::take_hook());
        assert!(panicked.is_err());
    });
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("ERROR") && said.contains("a bug: panicked at "), "{said}");
    assert!(said.contains("tests/panics.rs:"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
