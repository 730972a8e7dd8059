//! Passwords: made, compared, handed on, and never shown.

use std::fmt;

use zeroize::Zeroizing;

/// What every server knows both built-in users by until somebody changes it (observed §1).
const FACTORY_DEFAULT: &str = "changeit";

/// 40 of 62 characters are 238 bits. Letters and digits survive connection strings, URLs, shells and the ASCII
/// decoding of server lines up to 22.10.
const LENGTH: usize = 40;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A password. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A new random password from the system's generator.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if the generator fails; not expected to happen.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut password = Zeroizing::new(String::with_capacity(LENGTH));
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while password.len() < LENGTH {
            aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
            // Six bits choose one of 64; the two that have no character are thrown away, so all are equally likely.
            let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x3f)));
            let missing = LENGTH - password.len();
            password.extend(characters.take(missing).copied().map(char::from));
        }
        Ok(Self(password))
    }

    /// The password of a server that nobody has secured yet.
    pub fn factory_default() -> Self {
        Self::from(FACTORY_DEFAULT.to_owned())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The system's random number generator failed.
#[derive(Debug, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_has_forty_letters_and_digits_and_does_not_repeat() {
        let one = Password::generate().unwrap();
        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, Password::generate().unwrap());
    }

    #[test]
    fn every_character_is_used_about_equally() {
        let mut counts = [0_u32; 128];
        for _ in 0..500 {
            for byte in Password::generate().unwrap().expose().bytes() {
                counts[usize::from(byte)] += 1;
            }
        }
        // 20 000 characters, 322 expected of each; the bounds are ten standard deviations wide.
        assert!(ALPHABET.iter().all(|&byte| (140..=500).contains(&counts[usize::from(byte)])), "{counts:?}");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::factory_default()), "[redacted]");
    }
}
