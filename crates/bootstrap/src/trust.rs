//! The task's trusted roots and the node's certificate, as certgen published them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use certgen::ca::{roots_fingerprint, signer_fingerprint};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use zeroize::Zeroizing;

use crate::expired::OwnMayHaveExpired;

/// The roots that signed the task's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    roots: Vec<CertificateDer<'static>>,
}

/// Why the published certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file or directory could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not a certificate.
    #[error("`{path}` does not start with a PEM certificate")]
    NotACertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file is not a private key.
    #[error("`{path}` does not hold a PEM private key")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// There is no root at all.
    #[error("`{path}` has no file that ends in .crt")]
    NoRoots {
        /// The directory.
        path: PathBuf,
    },
    /// A certificate, or the key to one, is nothing for rustls.
    #[error("a certificate cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl Trust {
    /// Reads `<certs>/ca/*.crt`, of each file the first certificate, as the server does (observed §7).
    ///
    /// # Errors
    ///
    /// [`TrustError`] names the file or directory and what is wrong with it.
    pub fn read(certs: &Path) -> Result<Self, TrustError> {
        let directory = certs.join("ca");
        let read = |source| TrustError::Read { path: directory.clone(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&directory).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(TrustError::NoRoots { path: directory });
        }
        paths.sort();
        let roots = paths.iter().map(|path| first_certificate(path)).collect::<Result<_, _>>()?;
        Ok(Self { roots })
    }

    /// These roots, and after them those of `other` that are not among them.
    #[must_use]
    pub(crate) fn with(&self, other: &Self) -> Self {
        let further = other.roots.iter().filter(|root| !self.roots.contains(root));
        Self { roots: self.roots.iter().chain(further).cloned().collect() }
    }

    /// All roots as one PEM text, for consumers.
    pub fn bundle(&self) -> String {
        let blocks: Vec<_> = self.roots.iter().map(|root| pem::Pem::new("CERTIFICATE", root.as_ref())).collect();
        pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
    }

    /// The SHA-256 of all roots together, in whatever order, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        roots_fingerprint(self.roots.iter().map(AsRef::as_ref))
    }

    /// The SHA-256 of the root that signed the node's certificate on the volume, in hexadecimal; `None` if no root did it
    /// itself.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if there is no certificate.
    pub(crate) fn signer_of_node(&self, certs: &Path) -> Result<Option<String>, TrustError> {
        let certificate = first_certificate(&certs.join("node.crt"))?;
        Ok(signer_fingerprint(&certificate, self.roots.iter().map(AsRef::as_ref)))
    }

    /// A TLS configuration that trusts these roots and nothing else. What the own node shows under `own_name` may have expired:
    /// somebody has to have it reload its certificates.
    ///
    /// # Errors
    ///
    /// [`TrustError::Unusable`] if a root is not one.
    pub(crate) fn client_config(&self, own_name: &str) -> Result<ClientConfig, TrustError> {
        Ok(self.verifying(own_name)?.with_no_client_auth())
    }

    /// The same, showing `identity` to a server that asks for it.
    ///
    /// # Errors
    ///
    /// [`TrustError::Unusable`] if the key does not belong to the certificate.
    pub(crate) fn client_config_of(&self, identity: NodeIdentity, own_name: &str) -> Result<ClientConfig, TrustError> {
        let NodeIdentity { chain, key } = identity;
        self.verifying(own_name)?.with_client_auth_cert(chain, key).map_err(TrustError::Unusable)
    }

    fn verifying(&self, own_name: &str) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TrustError> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone()).map_err(TrustError::Unusable)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = OwnMayHaveExpired::new(store, &provider, own_name).map_err(TrustError::Unusable)?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(TrustError::Unusable)?.dangerous();
        Ok(builder.with_custom_certificate_verifier(Arc::new(verifier)))
    }
}

/// A TLS configuration for endpoints that speak plain HTTP alone.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(TrustError::Unusable)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The node's certificate with its key: what the server takes for one of its own.
#[derive(Debug)]
pub struct NodeIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl NodeIdentity {
    /// Reads `<certs>/node.crt` and `<certs>/node.key`.
    ///
    /// # Errors
    ///
    /// [`TrustError`] names the file and what is wrong with it.
    pub fn read(certs: &Path) -> Result<Self, TrustError> {
        let chain = vec![first_certificate(&certs.join("node.crt"))?];
        let path = certs.join("node.key");
        let text = fs::read(&path).map(Zeroizing::new);
        let text = text.map_err(|source| TrustError::Read { path: path.clone(), source })?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TrustError::NotAKey { path })?;
        Ok(Self { chain, key })
    }
}

/// The SHA-256 of the node's certificate on the volume, in hexadecimal.
///
/// # Errors
///
/// [`TrustError`] if there is none.
pub(crate) fn node_certificate_fingerprint(certs: &Path) -> Result<String, TrustError> {
    first_certificate(&certs.join("node.crt")).map(|certificate| sha256(&certificate))
}

fn first_certificate(path: &Path) -> Result<CertificateDer<'static>, TrustError> {
    let text = fs::read(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })?;
    CertificateDer::from_pem_slice(&text).map_err(|_| TrustError::NotACertificate { path: path.to_owned() })
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"))
}
