//! Reads certificates as strictly as the server does (observed §7, contract §4.1).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::options::Options;

/// The listener's TLS configuration.
///
/// # Errors
///
/// What the server prints before it exits with 1.
pub(super) fn load(options: &Options) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let text = read(&options.certificate)?;
    let leaf = CertificateDer::from_pem_slice(&text).map_err(|_| "The certificate file is not PEM.".to_owned())?;
    check_time(&leaf)?;
    let key = read_key(&options.private_key)?;
    let signing = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    let pair = CertifiedKey::new(vec![leaf.clone()], signing);
    pair.keys_match().map_err(|_| "The provided key does not match the public key for this certificate.".to_owned())?;

    let mut store = RootCertStore::empty();
    for root in read_roots(&options.roots)? {
        store.add(root).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| error.to_string())?;
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The common name of a certificate.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The server's own parser takes the first line for the header and the last for the footer, whatever stands there.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8(read(path)?).map_err(|_| "The private key file is not text.".to_owned())?;
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let lines: Vec<_> = body.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    let label = lines.first().and_then(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let closed = label.is_some_and(|label| lines.last() == Some(&format!("-----END {label}-----").as_str()));
    match label {
        Some("RSA PRIVATE KEY" | "PRIVATE KEY") if closed => {
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "not a valid Base-64 string".to_owned())
        }
        Some("ENCRYPTED PRIVATE KEY") => {
            Err("A password is required to read the certificate's private key file.".to_owned())
        }
        Some(label) if closed => Err(format!("Unsupported private key file format: BEGIN {label}")),
        _ => Err("The private key file is not a valid Base-64 string.".to_owned()),
    }
}

/// Files with these endings, in lower case, and of each the first certificate; every one must be self-signed.
fn read_roots(directory: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut roots = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("crt" | "cert" | "cer" | "pem" | "der")) {
            continue;
        }
        let bytes = read(&path)?;
        let root =
            CertificateDer::from_pem_slice(&bytes).map_err(|_| format!("{} is not a certificate", path.display()))?;
        let self_signed = X509Certificate::from_der(&root).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer());
        if !self_signed {
            let name = path.display();
            return Err(format!("{name} does not appear to be a valid root certificate since it is not self-signed."));
        }
        roots.push(root);
    }
    if roots.is_empty() {
        return Err("No trusted root certificate files were loaded from the specified path.".to_owned());
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
