//! The identities with which a server can be approached.

use std::fmt;
use std::sync::{Arc, OnceLock};

use certgen::{Names, RsaBits, Validity, issue_authority, issue_node};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use time::OffsetDateTime;

use super::wire::Broken;

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The trusted roots, and what a client can show.
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// No client certificate.
    pub(super) anonymous: Arc<ClientConfig>,
    /// With the node certificate, if one was given.
    pub(super) node: Option<Arc<ClientConfig>>,
    unrelated: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("node", &self.node.is_some()).finish_non_exhaustive()
    }
}

impl Trust {
    pub(super) fn new(roots: RootCertStore, node: Option<Identity>) -> Result<Self, rustls::Error> {
        let roots = Arc::new(roots);
        let anonymous = Arc::new(config(&roots, rustls::DEFAULT_VERSIONS, None)?);
        let node = node.map(|node| config(&roots, rustls::DEFAULT_VERSIONS, Some(node))).transpose()?.map(Arc::new);
        Ok(Self { roots, anonymous, node, unrelated: OnceLock::new() })
    }

    /// One version of TLS alone.
    pub(super) fn version(&self, version: &'static SupportedProtocolVersion) -> Result<Arc<ClientConfig>, Broken> {
        config(&self.roots, &[version], None).map(Arc::new).map_err(|error| Broken::new("TLS", error))
    }

    /// Offers these protocols.
    pub(super) fn alpn(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.anonymous);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// With a node certificate that looks as it should, signed by nobody the server knows.
    pub(super) fn unrelated(&self) -> Result<Arc<ClientConfig>, Broken> {
        if let Some(config) = self.unrelated.get() {
            return Ok(Arc::clone(config));
        }
        let broken = |error: &dyn fmt::Display| Broken::new("making an unrelated certificate", error);
        let now = OffsetDateTime::now_utc();
        let authority = issue_authority(Validity::AUTHORITY, now).map_err(|error| broken(&error))?;
        let names = Names::with_loopback([], []);
        let pair =
            issue_node(&authority, &names, Validity::NODE, RsaBits::B2048, now).map_err(|error| broken(&error))?;
        let chain = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).map_err(|error| broken(&error))?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|error| broken(&error))?;
        let config = config(&self.roots, rustls::DEFAULT_VERSIONS, Some((vec![chain], key)));
        let config = Arc::new(config.map_err(|error| broken(&error))?);
        Ok(Arc::clone(self.unrelated.get_or_init(|| config)))
    }
}

fn config(
    roots: &Arc<RootCertStore>,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(Arc::clone(roots));
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    // Each exchange is a handshake of its own, so that each sees the certificate that is served now.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
