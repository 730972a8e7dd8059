//! Everything that fuzzers found worth keeping, read again at every run. The keys in it are nobody's.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{count} files: the corpus is not there");
}

#[test]
fn flags() {
    replay("flags", certgen::fuzz::flags);
}

#[test]
fn config() {
    replay("config", certgen::fuzz::config);
}

#[test]
fn authority() {
    replay("authority", certgen::fuzz::authority);
}
