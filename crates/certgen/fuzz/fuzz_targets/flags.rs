//! See `certgen::fuzz::flags`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certgen::fuzz::flags(bytes));
