//! Connections between nodes: mutual TLS with the node certificates on the port that clients use too, where a real server
//! has gRPC for elections and gossip and a second port for replication (contract §4.5). What is said there is the
//! stand-in's own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::members::Endpoint;
use super::node::Node;

/// A peer that does not connect or answer for so long is dead. Not scaled: this is for the machine that tests run on.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Why a call to another node failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Unreachable(String),
    /// The certificate is not one for the host that was dialled.
    #[error("RemoteCertificateNameMismatch")]
    NameMismatch,
    /// It does not take this node for one.
    #[error("the peer answered {0}")]
    Refused(StatusCode),
}

fn unreachable(error: impl std::fmt::Display) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

/// Opens a TLS connection to a host, trying its addresses one by one.
pub(super) async fn connect(
    node: &Node,
    to: &Endpoint,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let name = ServerName::try_from(to.host.clone()).map_err(unreachable)?;
    let attempt = async {
        let mut last = LinkError::Unreachable("the name has no address".to_owned());
        for address in node.names.resolve(&to.host).await.map_err(unreachable)? {
            match TcpStream::connect((address, to.port)).await {
                Err(error) => last = unreachable(error),
                Ok(stream) => {
                    // Small messages, and each waits for its answer.
                    let _ = stream.set_nodelay(true);
                    let connected = TlsConnector::from(config).connect(name, stream).await;
                    return connected.map_err(|error| handshake_error(&error));
                }
            }
        }
        Err(last)
    };
    tokio::time::timeout(PATIENCE, attempt).await.map_err(unreachable)?
}

fn handshake_error(error: &std::io::Error) -> LinkError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => LinkError::NameMismatch,
        _ => unreachable(error),
    }
}

/// A connection to another node. It can be used by several at the same time.
#[derive(Clone, Debug)]
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

/// The connection's own work; when it is over, so is the connection.
pub(super) struct Work(JoinHandle<()>);

impl Work {
    pub(super) async fn over(&mut self) {
        // However it ended.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects to another node with this node's certificate.
    pub(super) async fn open(node: &Node, to: &Endpoint) -> Result<(Self, Work), LinkError> {
        let config = Arc::clone(&node.identity().map_err(unreachable)?.to_nodes);
        let stream = connect(node, to, config).await?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(unreachable)?;
        let work = Work(tokio::spawn(async move {
            // However it ended.
            let _ = connection.await;
        }));
        Ok((Self { sender, authority: to.to_string() }, work))
    }

    /// Says something and gets the answer.
    pub(super) async fn call<A: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> Result<A, LinkError> {
        let body = serde_json::to_vec(message).map_err(unreachable)?;
        let request = Request::post(format!("https://{}{path}", self.authority))
            .body(Full::new(Bytes::from(body)))
            .map_err(unreachable)?;
        let exchange = async {
            let reply = self.sender.clone().send_request(request).await.map_err(unreachable)?;
            if reply.status() != StatusCode::OK {
                return Err(LinkError::Refused(reply.status()));
            }
            let body = reply.into_body().collect().await.map_err(unreachable)?.to_bytes();
            serde_json::from_slice(&body).map_err(unreachable)
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(unreachable)?
    }
}
