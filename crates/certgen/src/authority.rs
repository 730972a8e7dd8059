//! The certificate authority that signs nodes: made here, kept for the next run, or given. No file is touched here, and the
//! clock is an argument.
//!
//! What is given may be PEM of OpenSSL or of es-gencert-cli: a key in PKCS#8, PKCS#1 (RSA) or SEC1 (EC), text around the
//! blocks, certificate and key in one file. It is published anew from its bytes, because a server ends itself when it finds
//! text around a certificate, and one whose roots are not all self-signed (observed §7).

use std::collections::BTreeSet;
use std::fmt;

use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

use crate::issue::{BACKDATED, IssueError, common_name, encode, random_serial};
use crate::keys::{RsaKey, RsaKeys};
use crate::plan::{CaKeyAlgorithm, NewAuthority, Validity};

/// What the common name of an authority that is made here begins with.
pub(crate) const MADE_HERE: &str = "eventstore-fargate CA ";

/// Why a certificate and a key are no authority that can sign for nodes. "It" is the file, which whoever read it names.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Something between BEGIN and END is not PEM.
    #[error("it is not PEM")]
    NotPem(#[source] pem::PemError),
    /// No certificate is there.
    #[error("it holds no certificate")]
    NoCertificate,
    /// Which of them is the root?
    #[error("it holds {0} certificates; allowed is one, the root")]
    SeveralCertificates(usize),
    /// The bytes are not a certificate.
    #[error("the certificate does not parse: {0}")]
    Unreadable(String),
    /// A server does not trust it as a root, and ends itself.
    #[error("the certificate is not self-signed; allowed is a root, not an intermediate authority")]
    NotARoot,
    /// Basic constraints do not say that it is an authority.
    #[error("the certificate is not one of an authority: its basic constraints do not say CA:TRUE")]
    NotAnAuthority,
    /// Its key usage does not let it sign certificates.
    #[error("the certificate may not sign others: its key usage lacks keyCertSign")]
    MayNotSign,
    /// The subject cannot be written into other certificates as it is.
    #[error("the certificate's subject has {0}, which certgen cannot repeat in the certificates of nodes")]
    Subject(&'static str),
    /// Its time has not come.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(OffsetDateTime),
    /// Its time is over.
    #[error("the certificate has expired at {0}")]
    Expired(OffsetDateTime),
    /// No key is there.
    #[error("it holds no private key")]
    NoKey,
    /// Which of them signs?
    #[error("it holds {0} private keys; allowed is one")]
    SeveralKeys(usize),
    /// Nobody is there to be asked for a password.
    #[error("the private key is encrypted")]
    EncryptedKey,
    /// It does not parse, or is of a kind that servers were not seen to accept.
    #[error("the private key cannot be used; allowed are RSA of 2048 to 8192 bits and EC on P-256 or P-384")]
    UnsupportedKey,
    /// Certificate and key do not belong together.
    #[error("the private key belongs to another certificate")]
    AnotherKey,
    /// The library does not take the two; not expected to happen.
    #[error("it cannot sign")]
    Library(#[source] rcgen::Error),
}

impl AuthorityError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotPem(_) | Self::NoCertificate | Self::Unreadable(_) => {
                Some("give the certificate as PEM; `openssl x509 -inform DER -in FILE -out NEW` makes it of DER")
            }
            Self::SeveralCertificates(_) | Self::NotARoot => Some(
                "give a root and its key: the server trusts the first certificate of a file, and no intermediate one",
            ),
            Self::NotAnAuthority | Self::MayNotSign | Self::Subject(_) => Some(
                "make an authority for this database, for example with `openssl req -x509 -newkey rsa:2048 -nodes`",
            ),
            Self::NotYetValid(_) => Some("wait, or look at this machine's clock"),
            Self::Expired(_) => Some("renew the authority, or look at this machine's clock"),
            Self::EncryptedKey => Some("`openssl pkey -in FILE -out NEW` writes the key without its password"),
            Self::NoKey | Self::SeveralKeys(_) | Self::UnsupportedKey | Self::AnotherKey => {
                Some("give the key that signed the certificate of the authority, as PEM")
            }
            Self::Library(_) => None,
        }
    }
}

/// The certificate of an authority that can be the only one a server trusts.
pub struct Root {
    der: Vec<u8>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Root {
    /// The one certificate of a PEM text. Whether it is valid now is not looked at.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if there is not exactly one, or a server or certgen could not use it as a root.
    pub fn from_pem(text: &[u8]) -> Result<Self, AuthorityError> {
        let mut found = blocks(text, |tag| tag == "CERTIFICATE")?;
        let der = match (found.pop(), found.len()) {
            (None, _) => return Err(AuthorityError::NoCertificate),
            (Some(certificate), 0) => certificate.into_contents(),
            (Some(_), others) => return Err(AuthorityError::SeveralCertificates(others + 1)),
        };
        let (not_before, not_after) = {
            let certificate = parse(&der)?;
            check_signs(&certificate)?;
            if certificate.issuer().as_raw() != certificate.subject().as_raw() {
                return Err(AuthorityError::NotARoot);
            }
            let validity = certificate.validity();
            (validity.not_before.to_datetime(), validity.not_after.to_datetime())
        };
        Ok(Self { der, not_before, not_after })
    }

    /// The root itself, if it is valid at the time `now`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NotYetValid`] or [`AuthorityError::Expired`].
    pub fn valid_at(self, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        if now < self.not_before {
            return Err(AuthorityError::NotYetValid(self.not_before));
        }
        if now >= self.not_after {
            return Err(AuthorityError::Expired(self.not_after));
        }
        Ok(self)
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn pem(&self) -> String {
        encode(&Pem::new("CERTIFICATE", self.der.as_slice()))
    }

    pub(crate) fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The authority of this root and the one private key of a PEM text.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if there is not exactly one key, or it cannot sign, or belongs to another certificate.
    pub fn with_key(self, text: &[u8]) -> Result<Authority, AuthorityError> {
        let key = private_key(text)?;
        if parse(&self.der)?.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(AuthorityError::AnotherKey);
        }
        let certificate = self.pem();
        let issuer = Issuer::from_ca_cert_der(&self.der.into(), key).map_err(AuthorityError::Library)?;
        Ok(Authority { certificate, issuer, not_after: self.not_after })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { der: _, not_before, not_after } = self;
        f.debug_struct("Root").field("not_before", not_before).field("not_after", not_after).finish_non_exhaustive()
    }
}

/// A certificate authority: its certificate and the key that signs.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

impl Authority {
    /// The certificate as one PEM block.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The end of the authority's own validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Certificate and key in one text, so that no reader can ever find one without the other.
    pub fn to_state(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", self.certificate, *self.key()))
    }

    /// The private key as one PEM block.
    pub(crate) fn key(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Reads what [`Authority::to_state`] wrote.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] if the text is not a certificate and its key.
    pub fn from_state(state: &[u8]) -> Result<Self, AuthorityError> {
        Root::from_pem(state)?.with_key(state)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Makes a new self-signed authority with a P-256 key: a real cluster accepts it, and it saves the second RSA key.
///
/// # Errors
///
/// Only if the cryptographic library fails.
pub fn issue_authority(validity: Validity, now: OffsetDateTime) -> Result<Authority, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library)?;
    issue_authority_for(key, validity, now)
}

fn library(source: rcgen::Error) -> IssueError {
    IssueError::Library { what: "certificate authority", source }
}

/// Makes a new self-signed authority with an RSA key that was found already.
pub(crate) fn issue_rsa_authority(
    key: &RsaKey,
    validity: Validity,
    now: OffsetDateTime,
) -> Result<Authority, IssueError> {
    issue_authority_for(key.to_signer().map_err(library)?, validity, now)
}

/// Makes what is asked for, looking for an RSA key with all cores if it is to have one.
pub(crate) fn issue_new_authority(new: NewAuthority, now: OffsetDateTime) -> Result<Authority, IssueError> {
    match new.key_algorithm.rsa() {
        None => issue_authority(new.validity, now),
        Some(size) => issue_rsa_authority(&RsaKeys::search(size, 1).take()?, new.validity, now),
    }
}

fn issue_authority_for(key: KeyPair, validity: Validity, now: OffsetDateTime) -> Result<Authority, IssueError> {
    let serial = random_serial()?;
    let mut params = CertificateParams::default();
    let [a, b, c, d, ..] = serial;
    params.distinguished_name = common_name(&format!("{MADE_HERE}{a:02x}{b:02x}{c:02x}{d:02x}"));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (now - BACKDATED, now + validity.duration());
    // It signs nodes and nothing that signs further.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(library)?;
    Ok(Authority {
        certificate: encode(&Pem::new("CERTIFICATE", certificate.der().as_ref())),
        not_after: params.not_after,
        issuer: Issuer::new(params, key),
    })
}

/// The kind of key of a certificate, or what certgen makes that is nearest to it.
pub(crate) fn key_algorithm(der: &[u8]) -> CaKeyAlgorithm {
    let key = parse(der).ok().and_then(|certificate| match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(CaKeyAlgorithm::of_rsa(key.key_size())),
        _ => None,
    });
    key.unwrap_or_default()
}

/// Whether it is an authority that may sign certificates, and whose name they can repeat.
pub(crate) fn check_signs(certificate: &X509Certificate<'_>) -> Result<(), AuthorityError> {
    let unreadable = |error: x509_parser::error::X509Error| AuthorityError::Unreadable(error.to_string());
    let constraints = certificate.basic_constraints().map_err(unreadable)?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(AuthorityError::NotAnAuthority);
    }
    // OpenSSL makes authorities without any key usage; then every use is allowed (RFC 5280 §4.2.1.3).
    let usage = certificate.key_usage().map_err(unreadable)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(AuthorityError::MayNotSign);
    }
    // rcgen keeps one value for each kind of attribute; a node's issuer would silently differ from this subject.
    let mut kinds = BTreeSet::new();
    for group in certificate.subject().iter() {
        let [attribute] = group.iter().collect::<Vec<_>>()[..] else {
            return Err(AuthorityError::Subject("a group of attributes"));
        };
        // rcgen panics when it writes this one (yasna 0.5 does not count it among the allowed characters).
        if attribute.attr_value().tag() == Tag::PrintableString && attribute.attr_value().data.contains(&b'?') {
            return Err(AuthorityError::Subject("a question mark in a PrintableString"));
        }
        if !kinds.insert(attribute.attr_type().to_id_string()) {
            return Err(AuthorityError::Subject("an attribute twice"));
        }
    }
    Ok(())
}

fn private_key(text: &[u8]) -> Result<KeyPair, AuthorityError> {
    let mut found = private_keys(text)?;
    match (found.pop(), found.len()) {
        (None, _) => Err(AuthorityError::NoKey),
        (Some(key), 0) => signing_key(key),
        (Some(_), others) => Err(AuthorityError::SeveralKeys(others + 1)),
    }
}

/// The blocks with private keys. OpenSSL puts EC PARAMETERS before an EC key; the key names its curve itself.
pub(crate) fn private_keys(text: &[u8]) -> Result<Vec<Pem>, AuthorityError> {
    blocks(text, |tag| tag.ends_with("PRIVATE KEY"))
}

/// The key of a block, if it can sign as an authority.
pub(crate) fn signing_key(key: Pem) -> Result<KeyPair, AuthorityError> {
    // PKCS#8 says it in its name, the older forms in a header (RFC 1421).
    let encrypted = key.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
    if encrypted || key.tag() == "ENCRYPTED PRIVATE KEY" {
        return Err(AuthorityError::EncryptedKey);
    }
    let der = Zeroizing::new(key.into_contents());
    let key = KeyPair::try_from(der.as_slice()).map_err(|_| AuthorityError::UnsupportedKey)?;
    let supported = [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384];
    if supported.contains(&key.algorithm()) { Ok(key) } else { Err(AuthorityError::UnsupportedKey) }
}

pub(crate) fn blocks(text: &[u8], is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Pem>, AuthorityError> {
    let all = pem::parse_many(text).map_err(AuthorityError::NotPem)?;
    Ok(all.into_iter().filter(|block| is_wanted(block.tag())).collect())
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, AuthorityError> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(AuthorityError::Unreadable("something follows it".to_owned())),
        Err(error) => Err(AuthorityError::Unreadable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn made() -> Authority {
        issue_authority(Validity::AUTHORITY, now()).unwrap()
    }

    #[test]
    fn an_authority_survives_its_state() {
        let made = made();
        let read = Authority::from_state(made.to_state().as_bytes()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.not_after(), made.not_after());
    }

    #[test]
    fn a_damaged_authority_is_refused_by_reason() {
        let (one, two) = (made(), made());
        let state = one.to_state();
        let swapped = two.to_state().replace(two.certificate(), one.certificate());
        let twice = format!("{}{}", one.certificate(), *state);
        for (state, reason) in [
            (&state[..state.len() / 3], "no certificate"),
            (one.certificate(), "no private key"),
            (&state.replace("CERTIFICATE", "SOMETHING"), "no certificate"),
            (&swapped, "another certificate"),
            (&twice, "2 certificates"),
            (&format!("{}{}", *state, state.replace(one.certificate(), "")), "2 private keys"),
            (&state.replacen("\nMII", "\n!!!", 1), "not PEM"),
            (&state.replacen("\nMII", "\nMIA", 1), "does not parse"),
        ] {
            let error = Authority::from_state(state.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error} instead of {reason}");
        }
    }

    #[test]
    fn a_root_is_valid_from_its_first_to_before_its_last_second() {
        let at = |now| Root::from_pem(made().certificate().as_bytes()).unwrap().valid_at(now).map(|_| ());
        let (first, last) = (now() - BACKDATED, now() + Validity::AUTHORITY.duration());
        let second = time::Duration::SECOND;
        assert!(matches!(at(first - second), Err(AuthorityError::NotYetValid(from)) if from == first));
        assert!(at(first).is_ok() && at(last - second).is_ok());
        assert!(matches!(at(last), Err(AuthorityError::Expired(until)) if until == last));
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        assert!(!format!("{:?}", made()).contains("BEGIN"));
    }
}
