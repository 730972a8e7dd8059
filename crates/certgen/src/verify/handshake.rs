//! One handshake with a server, whoever it is, before a deadline.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme};

/// Whom to shake hands with.
#[derive(Debug)]
pub struct Target {
    /// The name that clients dial, as it was given.
    pub host: String,
    /// The same for TLS.
    pub name: ServerName<'static>,
    /// The port.
    pub port: u16,
    /// Where to connect to, if that is not what the name resolves to.
    pub connect: Option<IpAddr>,
}

/// What a server presented.
#[derive(Debug)]
pub struct Presented {
    /// Where it is.
    pub address: SocketAddr,
    /// Its certificate and those between it and a root, in its order.
    pub chain: Vec<CertificateDer<'static>>,
    /// The version of TLS.
    pub protocol: Option<&'static str>,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The name does not resolve.
    #[error("`{host}` does not resolve")]
    Resolve {
        /// The name.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody listens there, or the network does not lead there.
    #[error("could not connect to {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {address} broke in the handshake")]
    Broken {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not TLS, or nothing that both sides speak.
    #[error("{address} did not shake hands")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What was wrong.
        #[source]
        source: rustls::Error,
    },
    /// The time was over.
    #[error("{what} took longer than {} s", .time.as_secs_f32())]
    Deadline {
        /// What took so long.
        what: String,
        /// How long it may take.
        time: Duration,
    },
}

impl HandshakeError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "give --connect with the address of the server",
            Self::Connect { .. } | Self::Deadline { .. } => {
                "look at whether the server runs and listens there, and at security groups on the way"
            }
            Self::Broken { .. } | Self::Tls { .. } => {
                "look at whether the server speaks TLS on this port, and is not told to be insecure"
            }
        }
    }
}

/// Shakes hands and hangs up.
///
/// # Errors
///
/// [`HandshakeError`]; the first address that takes a connection is the one that counts.
pub fn present(target: &Target, time: Duration) -> Result<Presented, HandshakeError> {
    let deadline = Instant::now() + time;
    let mut failed = None;
    for address in addresses(target, time)? {
        let left = left(deadline, time, || format!("connecting to {address}"))?;
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return shake_hands(target, address, &stream, deadline, time),
            Err(source) => failed = Some(HandshakeError::Connect { address, source }),
        }
    }
    let nothing = || io::Error::from(io::ErrorKind::NotFound);
    Err(failed.unwrap_or_else(|| HandshakeError::Resolve { host: target.host.clone(), source: nothing() }))
}

/// The system resolves without a deadline, so that it does it in a thread of its own.
fn addresses(target: &Target, time: Duration) -> Result<Vec<SocketAddr>, HandshakeError> {
    if let Some(address) = target.connect {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let (host, port) = (target.host.clone(), target.port);
    let (done, resolved) = mpsc::channel();
    thread::spawn(move || {
        // Whoever asked may have given up.
        let _ = done.send((host.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    });
    match resolved.recv_timeout(time) {
        Ok(addresses) => addresses.map_err(|source| HandshakeError::Resolve { host: target.host.clone(), source }),
        Err(_) => Err(HandshakeError::Deadline { what: format!("resolving `{}`", target.host), time }),
    }
}

fn left(deadline: Instant, time: Duration, what: impl Fn() -> String) -> Result<Duration, HandshakeError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(HandshakeError::Deadline { what: what(), time }) } else { Ok(left) }
}

fn shake_hands(
    target: &Target,
    address: SocketAddr,
    mut stream: &TcpStream,
    deadline: Instant,
    time: Duration,
) -> Result<Presented, HandshakeError> {
    let tls = |source| HandshakeError::Tls { address, source };
    let what = || format!("the handshake with {address}");
    let broken = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HandshakeError::Deadline { what: what(), time },
        _ => HandshakeError::Broken { address, source },
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), target.name.clone()).map_err(tls)?;
    while connection.is_handshaking() {
        let left = left(deadline, time, what)?;
        stream.set_write_timeout(Some(left)).map_err(broken)?;
        stream.set_read_timeout(Some(left)).map_err(broken)?;
        while connection.wants_write() {
            connection.write_tls(&mut stream).map_err(broken)?;
        }
        if connection.is_handshaking() {
            if connection.read_tls(&mut stream).map_err(broken)? == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            connection.process_new_packets().map_err(tls)?;
        }
    }
    let presented = Presented {
        address,
        chain: connection.peer_certificates().into_iter().flatten().cloned().map(CertificateDer::into_owned).collect(),
        protocol: connection.protocol_version().and_then(|version| match version {
            ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
            ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
            _ => None,
        }),
    };
    connection.send_close_notify();
    // What was presented is known; whether the goodbye arrives does not matter.
    let _ = connection.write_tls(&mut stream);
    Ok(presented)
}

/// Takes every certificate, whose owner must prove to have its key: it is judged afterwards.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
