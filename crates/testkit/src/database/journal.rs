//! A line of JSON for every request, for tests that count or order them. Never a password, never a body.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

/// The journal, if one was asked for.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<Mutex<File>>);

impl Journal {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
        Ok(Self(file.map(Mutex::new)))
    }

    pub(super) fn note(&self, method: &str, path: &str, user: &str, status: u16) {
        let Some(file) = &self.0 else { return };
        let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        let line = json!({"ms": ms, "method": method, "path": path, "user": user, "status": status}).to_string() + "\n";
        // A journal that cannot be written is noticed by the test that reads it.
        let _ = file.lock().expect("nobody panics while writing").write_all(line.as_bytes());
    }
}
