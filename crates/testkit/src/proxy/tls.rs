//! TLS on both sides of a proxy that passes for the server behind it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What the proxy shows to clients, and what it trusts. Read when the proxy starts.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, with its chain if it has one; PEM.
    pub certificate: PathBuf,
    /// Its key; PEM.
    pub key: PathBuf,
    /// The roots by which the server, and clients with a certificate, must be signed; PEM.
    pub roots: PathBuf,
    /// The name by which the proxy knows the server.
    pub server_name: String,
}

/// The proxy as a server and as a client.
#[derive(Clone)]
pub(super) struct Sides {
    acceptor: TlsAcceptor,
    as_nobody: TlsConnector,
    as_node: TlsConnector,
    name: ServerName<'static>,
}

impl Sides {
    pub(super) fn load(files: &TlsFiles) -> Self {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
            .expect("open the certificate")
            .collect::<Result<_, _>>()
            .expect("read the certificate");
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("read the key");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&files.roots).expect("open the roots") {
            roots.add(root.expect("read the roots")).expect("the roots are certificates");
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // As the server itself: a client may show a certificate.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("there are roots");
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .expect("the key is the certificate's");
        let client = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("the provider knows the default versions")
                .with_root_certificates(Arc::clone(&roots))
        };
        let as_node = client().with_client_auth_cert(chain, key).expect("the key is the certificate's");
        Self {
            acceptor: Arc::new(server).into(),
            as_nobody: Arc::new(client().with_no_client_auth()).into(),
            as_node: Arc::new(as_node).into(),
            name: ServerName::try_from(files.server_name.clone()).expect("the server's name is a name"),
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    pub(super) fn showed_certificate(stream: &server::TlsStream<TcpStream>) -> bool {
        stream.get_ref().1.peer_certificates().is_some()
    }

    /// `as_node` shows the server's own certificate, for a client that showed one to us.
    pub(super) async fn connect(&self, stream: TcpStream, as_node: bool) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = if as_node { &self.as_node } else { &self.as_nobody };
        connector.connect(self.name.clone(), stream).await
    }
}
