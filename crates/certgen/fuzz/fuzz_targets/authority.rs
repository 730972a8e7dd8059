//! See `certgen::fuzz::authority`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certgen::fuzz::authority(bytes));
