//! Others than the library that made them judge certificates: OpenSSL, and a TLS handshake with rustls.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests that each use a part")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// Runs openssl in the directory; it must succeed. Gives what it printed.
pub(crate) fn openssl(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two nodes with the certificates in `directory`, where both sides present theirs and verify the other's. The second is
/// dialled by each name.
pub(crate) struct TwoNodes {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TwoNodes {
    /// The server has its certificates in one directory, the client in the other.
    pub(crate) fn of(server: &Path, client: &Path) -> Self {
        let chain = |of: &Path| vec![CertificateDer::from_pem_slice(&fs::read(of.join("node.crt")).unwrap()).unwrap()];
        let key = |of: &Path| PrivateKeyDer::from_pem_slice(&fs::read(of.join("node.key")).unwrap()).unwrap();
        let roots = |of: &Path| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&fs::read(of.join("ca/ca.crt")).unwrap()).unwrap()).unwrap();
            Arc::new(roots)
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(server), Arc::clone(&provider)).build().unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(server), key(server))
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(client))
            .with_client_auth_cert(chain(client), key(client))
            .unwrap();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Whether the client takes the server for `name`, and the server the client.
    pub(crate) fn shake_hands(&self, name: &str) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name)?;
        let mut server = ServerConnection::new(Arc::clone(&self.server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }
}
