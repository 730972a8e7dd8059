//! The roots that somebody trusts: a directory as servers and bootstrap read it, or a bundle.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rustls::pki_types::CertificateDer;

use crate::authority::Root;

/// Trusted roots with the files they are in.
#[derive(Debug, Default)]
pub struct Roots(Vec<(String, Vec<u8>, String)>);

/// Why there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file or directory could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing in it is a root.
    #[error("`{path}` holds no root certificate")]
    None {
        /// The path.
        path: PathBuf,
    },
}

impl RootsError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::None { .. } => {
                "give a directory with a file for each root, or a file with one or more, as PEM"
            }
        }
    }
}

impl Roots {
    /// Of a directory the first certificate of each file that servers read, of a file every certificate; in both the roots
    /// alone.
    ///
    /// # Errors
    ///
    /// [`RootsError`] names the path.
    pub fn read(path: &Path) -> Result<Self, RootsError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RootsError::Read { path, source }
        };
        let mut roots = Self::default();
        if path.is_dir() {
            let mut files = Vec::new();
            for entry in fs::read_dir(path).map_err(failed(path))? {
                files.push(entry.map_err(failed(path))?.path());
            }
            files.sort();
            let is_read = |file: &PathBuf| {
                let extension = file.extension().and_then(|extension| extension.to_str());
                matches!(extension, Some("crt" | "cert" | "cer" | "pem" | "der"))
            };
            for file in files.iter().filter(|file| is_read(file)) {
                roots.add(file, &fs::read(file).map_err(failed(file))?, 1);
            }
        } else {
            roots.add(path, &fs::read(path).map_err(failed(path))?, usize::MAX);
        }
        if roots.0.is_empty() { Err(RootsError::None { path: path.to_owned() }) } else { Ok(roots) }
    }

    /// The first `count` certificates, if they are roots.
    fn add(&mut self, path: &Path, bytes: &[u8], count: usize) {
        let blocks = if bytes.first() == Some(&0x30) {
            vec![pem::Pem::new("CERTIFICATE", bytes)]
        } else {
            pem::parse_many(bytes).unwrap_or_default()
        };
        let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").take(count);
        for certificate in certificates {
            if let Ok(root) = Root::from_pem(pem::encode(&certificate).as_bytes()) {
                self.0.push((path.display().to_string(), root.der().to_vec(), root.pem()));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, _, pem)| (path.as_str(), pem.as_str()))
    }

    pub(super) fn ders(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.0.iter().map(|(_, der, _)| CertificateDer::from(der.clone()))
    }
}
