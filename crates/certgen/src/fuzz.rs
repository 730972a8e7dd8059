//! What fuzzers and the replay of their corpus call. Each function reads bytes as one part of the program reads what people
//! give it, and panics if something does not hold that always should.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use crate::authority::Authority;
use crate::gencert;

/// The arguments of a command line, separated by zero bytes: reading them never fails, and what was understood means the
/// same when it is written in the one canonical way.
///
/// # Panics
///
/// If that does not hold.
pub fn flags(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned());
    let arguments: Vec<OsString> = [OsString::from("certgen")].into_iter().chain(words).collect();
    for is_configured in [false, true] {
        let _ = gencert::recognise(&arguments, crate::cli::is_option, is_configured);
    }
    gencert::check_flags(&arguments[1..]);
}

/// The file of `create-certs`: reading it never fails, and what is in it is either understood or told.
///
/// # Panics
///
/// If that does not hold.
pub fn config(bytes: &[u8]) {
    gencert::check_config(bytes);
}

/// Certificate and key of an authority: whatever can be used is written back as something that can be used.
///
/// # Panics
///
/// If that does not hold.
pub fn authority(bytes: &[u8]) {
    let Ok(authority) = Authority::from_state(bytes) else { return };
    let again = Authority::from_state(authority.to_state().as_bytes()).expect("what was written can be read");
    assert_eq!(authority.certificate(), again.certificate(), "the certificate is the same");
    assert_eq!(authority.not_after(), again.not_after(), "its end is the same");
}
