//! Loads certificates as strictly as the server does, and judges those of other nodes (observed §7, lines §E, contract §4).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::options::{Discovery, Options};
use super::private_key;

/// The name that other nodes' certificates must have, and what else is asked of them.
#[derive(Clone, Debug)]
struct NodeRules {
    reserved: String,
    wildcards: bool,
    usages: bool,
    client_usage: bool,
}

/// What a node shows and believes; replaced as a whole when it is reloaded.
#[derive(Debug)]
pub(super) struct Identity {
    /// For the listener.
    pub(super) listener: Arc<ServerConfig>,
    /// For calls to other nodes, with the node's own certificate.
    pub(super) to_nodes: Arc<ClientConfig>,
    /// For requests that are passed on: whose they are is not passed on (contract §1.6).
    pub(super) forwarding: Arc<ClientConfig>,
    rules: NodeRules,
}

impl Identity {
    /// Reads the files that the options name.
    ///
    /// # Errors
    ///
    /// What the server prints before it exits with 1, or goes on with what it has.
    pub(super) fn load(options: &Options) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = read_chain(&options.certificate)?;
        let leaf = &chain[0];
        check_time(leaf)?;
        let text = String::from_utf8(read(&options.private_key)?).map_err(|_| "The private key file is not text.")?;
        let password = options.private_key_password.as_ref().map(|password| password.0.as_str());
        let key = private_key::read(options.line, &text, password)?;
        let signing = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
        if signing.algorithm() != SignatureAlgorithm::RSA {
            return Err("The private key is not an RSA key.".to_owned());
        }
        let pair = CertifiedKey::new(chain.clone(), signing);
        pair.keys_match().map_err(|_| "The provided key does not match the public key for this certificate.")?;
        let rules = NodeRules::of(options, leaf)?;
        let roots = read_roots(&options.roots)?;
        let verifier = Arc::new(AnyUsage::new(&roots, &provider)?);
        verifier
            .verify(leaf, &chain[1..], UnixTime::now())
            .map_err(|error| format!("Failed to build the certificate chain: {}", chain_error(&error)))?;
        Self::assemble(&provider, options, pair, &roots, verifier, rules).map_err(|error| error.to_string())
    }

    fn assemble(
        provider: &Arc<CryptoProvider>,
        options: &Options,
        pair: CertifiedKey,
        roots: &RootCertStore,
        verifier: Arc<AnyUsage>,
        rules: NodeRules,
    ) -> Result<Self, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(pair));
        let mut listener = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&resolver) as Arc<_>);
        listener.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // With a session that is resumed, a reload would be seen late.
        listener.send_tls13_tickets = 0;
        listener.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let peer = Arc::new(PeerName::new(roots, provider, options)?);
        let client = || {
            let builder =
                ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
            Ok::<_, rustls::Error>(builder.dangerous().with_custom_certificate_verifier(Arc::clone(&peer) as Arc<_>))
        };
        let mut to_nodes = client()?.with_client_cert_resolver(resolver);
        to_nodes.alpn_protocols = vec![b"h2".to_vec()];
        let mut forwarding = client()?.with_no_client_auth();
        forwarding.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { listener: Arc::new(listener), to_nodes: Arc::new(to_nodes), forwarding: Arc::new(forwarding), rules })
    }

    /// Whether a client certificate, whose chain was checked in the handshake, makes its owner a node, and else why not.
    pub(super) fn judge_node(&self, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        self.rules.judge(&parsed)
    }
}

impl NodeRules {
    fn of(options: &Options, own: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(own).map_err(|error| error.to_string())?;
        let common_name = common_name(&parsed).to_owned();
        let reserved = options.reserved_common_name.clone().unwrap_or_else(|| common_name.clone());
        let line = options.line;
        let rules = Self {
            reserved,
            wildcards: line.checks_own_common_name(),
            usages: line.checks_usages(),
            client_usage: !options.ignores_client_usage,
        };
        if line.checks_own_common_name() && !rules.is_reserved(&common_name) {
            return Err(format!(
                "Certificate CN: \"{common_name}\" does not match with the CertificateReservedNodeCommonName configuration setting: \"{}\"",
                rules.reserved
            ));
        }
        Ok(rules)
    }

    fn judge(&self, certificate: &X509Certificate<'_>) -> Result<(), String> {
        let common_name = common_name(certificate);
        if !self.is_reserved(common_name) {
            return Err(format!("its CN: {common_name} does not match with the reserved node CN: {}", self.reserved));
        }
        // At least one DNS name or address (contract §4.3).
        let names = certificate.subject_alternative_name().ok().flatten();
        let is_name = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
        if !names.is_some_and(|names| names.value.general_names.iter().any(is_name)) {
            return Err("it does not have any subject alternative names".to_owned());
        }
        if !self.usages {
            return Ok(());
        }
        let missing = |what: &str| Err(format!("it is not configured as a server certificate: Missing {what}"));
        let usage = certificate.key_usage().ok().flatten().map(|usage| *usage.value);
        if !usage.is_some_and(|usage| usage.digital_signature()) {
            return missing("key usage: Digital Signature");
        }
        if !usage.is_some_and(|usage| usage.key_encipherment() || usage.key_agreement()) {
            return missing("key usage: Key Encipherment");
        }
        // No extended usages at all are fine (observed-25 §E).
        if let Ok(Some(extended)) = certificate.extended_key_usage() {
            if !extended.value.server_auth {
                return missing("extended key usage: Server Authentication");
            }
            if !extended.value.client_auth && self.client_usage {
                return missing("extended key usage: Client Authentication");
            }
        }
        Ok(())
    }

    /// `*.a.b` stands for one label before `.a.b`, and for itself (contract §4.3).
    fn is_reserved(&self, common_name: &str) -> bool {
        if common_name == self.reserved {
            return true;
        }
        let Some(domain) = self.reserved.strip_prefix("*.").filter(|_| self.wildcards) else { return false };
        let label = common_name.split_once('.').filter(|(_, rest)| *rest == domain).map(|(label, _)| label);
        label.is_some_and(|label| !label.is_empty() && label != "*") && domain.contains('.')
    }
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> &'a str {
    certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The leaf, then intermediates; or one certificate as DER. PKCS#12 is not read.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    if is_der(&bytes) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or("The certificate file is not PEM.")?;
    if chain[1..].iter().any(is_self_signed) {
        return Err("An intermediate certificate is self-signed.".to_owned());
    }
    Ok(chain)
}

/// DER begins with a sequence, whose tag is not a letter that text begins with.
fn is_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

/// Files with these endings, in lower case, and of each the first certificate; every one must be self-signed.
fn read_roots(directory: &Path) -> Result<RootCertStore, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut roots = RootCertStore::empty();
    for entry in entries.flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("crt" | "cert" | "cer" | "pem" | "der")) {
            continue;
        }
        let bytes = read(&path)?;
        let name = path.display();
        let root = if is_der(&bytes) {
            CertificateDer::from(bytes)
        } else {
            CertificateDer::from_pem_slice(&bytes).map_err(|_| format!("{name} is not a certificate"))?
        };
        if !is_self_signed(&root) {
            return Err(format!("{name} does not appear to be a valid root certificate since it is not self-signed."));
        }
        // A chain through a root that is out of date does not build (contract §4.2).
        if check_time(&root).is_ok() {
            roots.add(root).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    if roots.is_empty() {
        let path = directory.display();
        return Err(format!("No trusted root certificate files were loaded from the specified path: {path}"));
    }
    Ok(roots)
}

fn check_time(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let (validity, now) = (parsed.validity(), OffsetDateTime::now_utc());
    if now < validity.not_before.to_datetime() {
        return Err("certificate is not yet valid".to_owned());
    }
    if now > validity.not_after.to_datetime() {
        return Err("certificate has expired".to_owned());
    }
    Ok(())
}

fn chain_error(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "unable to get local issuer certificate".to_owned()
        }
        error => error.to_string(),
    }
}

/// Checks chains as .NET does that builds them itself: the purpose of the leaf does not matter (contract §4.4). What a
/// certificate may be used for is judged later, by [`NodeRules`].
#[derive(Debug)]
struct AnyUsage {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    for_clients: Arc<dyn ClientCertVerifier>,
}

impl AnyUsage {
    fn new(roots: &RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let for_clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { roots: roots.clone(), provider: Arc::clone(provider), for_clients })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if self.for_clients.verify_client_cert(leaf, intermediates, now).is_ok() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)
    }
}

impl ClientCertVerifier for AnyUsage {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.for_clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.for_clients.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.for_clients.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.for_clients.supported_verify_schemes()
    }
}

/// The host that is dialled must be in the peer's certificate. An address that was found by DNS may instead be in it as
/// the name that was asked for (contract §4.3).
#[derive(Debug)]
struct PeerName {
    inner: Arc<WebPkiServerVerifier>,
    cluster_dns: Option<ServerName<'static>>,
}

impl PeerName {
    fn new(roots: &RootCertStore, provider: &Arc<CryptoProvider>, options: &Options) -> Result<Self, rustls::Error> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider)).build();
        let cluster_dns = match &options.discovery {
            Discovery::Dns(name) => ServerName::try_from(name.host.clone()).ok(),
            Discovery::Alone | Discovery::Seeds(_) => None,
        };
        Ok(Self { inner: inner.map_err(|error| rustls::Error::General(error.to_string()))?, cluster_dns })
    }
}

impl ServerCertVerifier for PeerName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now);
        match (&verified, name, &self.cluster_dns) {
            (Err(_), ServerName::IpAddress(_), Some(asked)) => {
                self.inner.verify_server_cert(leaf, intermediates, asked, ocsp, now)
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
