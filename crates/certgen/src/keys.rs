//! RSA keys, found by every core at once.
//!
//! How long it takes to find one varies by more than half, so that nobody is given a key to find: each core looks for keys
//! until enough are taken, and the first found are taken. The keys that were not needed are wiped.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use pem::Pem;
use pkcs8::PrivateKeyInfo;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::issue::{IssueError, encode};
use crate::plan::RsaBits;

/// For one key more cores are not worth their heat.
const CORES_FOR_ONE: usize = 4;

/// A new key, wiped when it is dropped.
pub(crate) struct RsaKey(KeyPair);

impl RsaKey {
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// The key in the one form that every server line reads (contract §4.1): 22.10 and older take PKCS#1 only.
    pub(crate) fn to_pkcs1(&self) -> Result<Zeroizing<String>, IssueError> {
        let pkcs8 = Zeroizing::new(self.0.serialize_der());
        let info = PrivateKeyInfo::try_from(pkcs8.as_slice()).map_err(IssueError::Encoding)?;
        let block = Pem::new("RSA PRIVATE KEY", info.private_key);
        let text = Zeroizing::new(encode(&block));
        block.into_contents().zeroize();
        Ok(text)
    }

    /// The same key for somebody who signs with it.
    pub(crate) fn to_signer(&self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::try_from(Zeroizing::new(self.0.serialize_der()).as_slice())
    }

    fn generate(bits: RsaBits) -> Result<Self, rcgen::Error> {
        let size = match bits {
            RsaBits::B2048 => RsaKeySize::_2048,
            RsaBits::B3072 => RsaKeySize::_3072,
            RsaBits::B4096 => RsaKeySize::_4096,
        };
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).map(Self)
    }
}

impl Drop for RsaKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Keys as they are found. Dropping it ends the search: a core ends with the key it is looking for, or with the process.
pub(crate) struct RsaKeys {
    bits: RsaBits,
    found: Receiver<Result<RsaKey, rcgen::Error>>,
}

impl RsaKeys {
    /// Begins to look for `count` keys.
    pub(crate) fn search(bits: RsaBits, count: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from).min(count.max(CORES_FOR_ONE));
        // Room for one finished key of each core: whoever takes them writes files in between.
        let (finder, found) = mpsc::sync_channel(cores);
        for _ in 0..cores {
            let finder = finder.clone();
            // If no thread can be had, whoever takes the keys looks for them.
            let _ = thread::Builder::new()
                .name("rsa".to_owned())
                .spawn(move || while finder.send(RsaKey::generate(bits)).is_ok() {});
        }
        Self { bits, found }
    }

    /// The next key that is found.
    pub(crate) fn take(&self) -> Result<RsaKey, IssueError> {
        let key = self.found.recv().unwrap_or_else(|_| RsaKey::generate(self.bits));
        key.map_err(|source| IssueError::Library { what: "RSA key", source })
    }
}
