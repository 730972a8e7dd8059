//! What a set of files holds: certificates, keys, and which belong together. Bytes in, no file system.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::certificate::{Facts, Kind};
use super::key::Key;

/// A file that was read.
pub struct File {
    /// As it is shown.
    pub path: PathBuf,
    /// The permission bits, if they are known.
    pub mode: Option<u32>,
    /// Its content.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether it was named itself, and not found in a directory. The server reads a directory of roots as a whole, so that
    /// only files that were found in one are judged as its contents.
    pub is_named: bool,
}

impl File {
    /// Whether the server reads a file of this name in its directory of roots (contract §4.1).
    pub(super) fn is_read_as_root(&self) -> bool {
        matches!(self.extension(), Some("crt" | "cert" | "cer" | "pem" | "der"))
    }

    fn extension(&self) -> Option<&str> {
        self.path.extension().and_then(OsStr::to_str)
    }

    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// A certificate and where it stands.
pub(super) struct CertificateAt {
    pub(super) file: usize,
    /// 0 is the first in its file.
    pub(super) position: usize,
    pub(super) facts: Facts,
}

/// A private key and where it stands.
pub(super) struct KeyAt {
    pub(super) file: usize,
    pub(super) key: Key,
}

/// Everything that was found.
pub(super) struct Contents<'a> {
    pub(super) files: &'a [File],
    pub(super) certificates: Vec<CertificateAt>,
    pub(super) keys: Vec<KeyAt>,
    /// Files, or blocks of files, that are neither.
    pub(super) problems: Vec<(usize, String)>,
}

/// How a key came to belong to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    /// The two halves are of one key.
    Matches(usize),
    /// It lies where the key should be, and is of another certificate.
    Differs(usize),
    /// It lies where the key should be, and its public half cannot be told.
    Unknown(usize),
    /// There is none.
    Missing,
}

impl Pair {
    pub(super) fn key(self) -> Option<usize> {
        match self {
            Self::Matches(key) | Self::Differs(key) | Self::Unknown(key) => Some(key),
            Self::Missing => None,
        }
    }
}

impl<'a> Contents<'a> {
    pub(super) fn read(files: &'a [File]) -> Self {
        let mut contents = Self { files, certificates: Vec::new(), keys: Vec::new(), problems: Vec::new() };
        for (index, file) in files.iter().enumerate() {
            contents.read_file(index, &file.bytes);
        }
        contents
    }

    fn read_file(&mut self, file: usize, bytes: &[u8]) {
        // DER begins with a sequence, whose tag is a digit that no PEM text of ours begins with.
        if bytes.first() == Some(&0x30) {
            match Facts::read(bytes.to_vec()) {
                Ok(facts) => self.certificates.push(CertificateAt { file, position: 0, facts }),
                Err(reason) => match Key::of_der(bytes) {
                    Some(key) => self.keys.push(KeyAt { file, key }),
                    None => self.problems.push((file, format!("it is neither a certificate nor a key: {reason}"))),
                },
            }
            return;
        }
        let blocks = match pem::parse_many(bytes) {
            Ok(blocks) => blocks,
            Err(error) => return self.problems.push((file, format!("it is not PEM: {error}"))),
        };
        let (mut position, keys_before) = (0, self.keys.len());
        for block in blocks {
            if block.tag() == "CERTIFICATE" {
                match Facts::read(block.into_contents()) {
                    Ok(facts) => self.certificates.push(CertificateAt { file, position, facts }),
                    Err(reason) => self.problems.push((file, format!("certificate {}: {reason}", position + 1))),
                }
                position += 1;
            } else if block.tag().ends_with("PRIVATE KEY") {
                self.keys.push(KeyAt { file, key: Key::of_block(block) });
            }
        }
        if position == 0 && self.keys.len() == keys_before {
            self.problems.push((file, "it holds no certificate and no private key".to_owned()));
        }
    }

    /// The file of a certificate, and which one it is if that is not the first.
    pub(super) fn place(&self, certificate: usize) -> String {
        let CertificateAt { file, position, .. } = self.certificates[certificate];
        let shown = self.files[file].shown();
        if position == 0 { shown } else { format!("{shown}, certificate {}", position + 1) }
    }

    pub(super) fn file_of(&self, certificate: usize) -> &File {
        &self.files[self.certificates[certificate].file]
    }

    pub(super) fn facts(&self, certificate: usize) -> &Facts {
        &self.certificates[certificate].facts
    }

    /// The certificates of the same file that follow it.
    pub(super) fn following(&self, certificate: usize) -> impl Iterator<Item = usize> {
        let CertificateAt { file, position, .. } = self.certificates[certificate];
        let follows = move |other: &CertificateAt| other.file == file && other.position > position;
        (0..self.certificates.len()).filter(move |other| follows(&self.certificates[*other]))
    }

    /// The first certificates of files that are of this kind.
    pub(super) fn first_of_kind(&self, kind: Kind) -> Vec<usize> {
        let wanted = |index: &usize| self.certificates[*index].position == 0 && self.facts(*index).kind == kind;
        (0..self.certificates.len()).filter(wanted).collect()
    }

    pub(super) fn matches(&self, certificate: usize, key: usize) -> bool {
        self.keys[key].key.public_half.as_ref() == Some(&self.facts(certificate).public_key)
    }

    /// The key that a server would be given with this certificate: of the same name, else of the same key, else the only
    /// one beside it.
    pub(super) fn pair(&self, certificate: usize) -> Pair {
        let file = self.file_of(certificate);
        let beside =
            |key: &usize| self.files[self.keys[*key].file].directory() == file.directory() || self.keys.len() == 1;
        let of_same_name = |key: &usize| {
            let other = &self.files[self.keys[*key].file];
            other.directory() == file.directory() && other.path.file_stem() == file.path.file_stem()
        };
        let keys = || 0..self.keys.len();
        if let Some(key) = keys().find(|key| of_same_name(key) && self.matches(certificate, *key)) {
            return Pair::Matches(key);
        }
        if let Some(key) = keys().find(of_same_name) {
            return self.judge_pair(certificate, key);
        }
        let matching = |key: &usize| self.matches(certificate, *key);
        if let Some(key) = keys().find(|key| beside(key) && matching(key)).or_else(|| keys().find(matching)) {
            return Pair::Matches(key);
        }
        // A key that belongs to another certificate is where it should be.
        let has_other = |key: &usize| (0..self.certificates.len()).any(|other| self.matches(other, *key));
        let mut left = keys().filter(|key| beside(key) && !has_other(key));
        let others = self.first_of_kind(self.facts(certificate).kind);
        let is_alone = others.iter().filter(|other| self.file_of(**other).directory() == file.directory()).count() == 1;
        match (left.next(), left.next(), is_alone) {
            (Some(key), None, true) => self.judge_pair(certificate, key),
            _ => Pair::Missing,
        }
    }

    fn judge_pair(&self, certificate: usize, key: usize) -> Pair {
        match (self.keys[key].key.public_half.is_some(), self.matches(certificate, key)) {
            (true, true) => Pair::Matches(key),
            (true, false) => Pair::Differs(key),
            (false, _) => Pair::Unknown(key),
        }
    }
}
