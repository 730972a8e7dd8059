//! See `certgen::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certgen::fuzz::config(bytes));
