//! Certificates that certgen would not make, for tests of what servers do with them.

use std::sync::OnceLock;

use pem::{EncodeConfig, LineEnding, Pem};
use pkcs8::PrivateKeyInfo;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::CertificateDer;

/// An RSA key; one is enough for all certificates of a test.
///
/// # Panics
///
/// If none can be made.
pub fn rsa_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("an RSA key"))
}

/// An authority.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// An authority with this key.
    ///
    /// # Panics
    ///
    /// If the certificate cannot be made.
    pub fn new(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a root");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// An authority with a P-256 key.
    ///
    /// # Panics
    ///
    /// If none can be made.
    pub fn p256(name: &str) -> Self {
        Self::new(name, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"))
    }

    /// Signs a good node certificate for `node-1.test` and `localhost`, after `change` has changed it.
    ///
    /// # Panics
    ///
    /// If the certificate cannot be made.
    pub fn sign(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names = vec!["node-1.test".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("DNS names");
        params.distinguished_name.push(DnType::CommonName, "eventstoredb-node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(key, &self.issuer).expect("a certificate")
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its own certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }
}

/// A change for [`Authority::sign`]: another common name.
pub fn call_it(name: &str) -> impl Fn(&mut CertificateParams) {
    move |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
    }
}

/// An RSA key as every line reads it.
///
/// # Panics
///
/// If the key is not PKCS#8.
pub fn pkcs1(key: &KeyPair) -> String {
    let der = key.serialize_der();
    let inner = PrivateKeyInfo::try_from(der.as_slice()).expect("PKCS#8").private_key.to_vec();
    unix(&Pem::new("RSA PRIVATE KEY", inner))
}

/// PEM with the line ends of Unix.
pub fn unix(block: &Pem) -> String {
    pem::encode_config(block, EncodeConfig::new().set_line_ending(LineEnding::LF))
}
