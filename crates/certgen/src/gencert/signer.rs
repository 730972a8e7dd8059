//! Who signs: an authority of es-gencert-cli, OpenSSL or this run; a root or an intermediate. No file is touched here.
//!
//! As in es-gencert-cli the first certificate and the first key of a text count, so that bundles can be given (contract §6.1).

use pem::Pem;
use rcgen::{Issuer, KeyPair};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;

use super::profile::key_identifier;
use crate::authority::{AuthorityError, blocks, check_signs, parse, private_keys, signing_key};

/// The certificate of an authority, still without its key.
pub(crate) struct SignerCertificate {
    der: Vec<u8>,
    facts: Facts,
}

/// What the certificates it signs depend on.
#[derive(Clone, Debug)]
struct Facts {
    subject: Vec<u8>,
    key_identifier: Vec<u8>,
    path_length: Option<u32>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl SignerCertificate {
    /// The first certificate of a PEM text.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, AuthorityError> {
        let first = blocks(text, |tag| tag.ends_with("CERTIFICATE"))?.into_iter().next();
        Self::from_der(first.map(Pem::into_contents).ok_or(AuthorityError::NoCertificate)?)
    }

    /// The same from the bytes of a certificate.
    pub(crate) fn from_der(der: Vec<u8>) -> Result<Self, AuthorityError> {
        let facts = {
            let certificate = parse(&der)?;
            check_signs(&certificate)?;
            let constraints =
                certificate.basic_constraints().map_err(|error| AuthorityError::Unreadable(error.to_string()))?;
            let own = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            });
            Facts {
                subject: certificate.subject().as_raw().to_vec(),
                key_identifier: own.unwrap_or_else(|| key_identifier(certificate.public_key())),
                path_length: constraints.and_then(|constraints| constraints.value.path_len_constraint),
                not_before: certificate.validity().not_before.to_datetime(),
                not_after: certificate.validity().not_after.to_datetime(),
            }
        };
        Ok(Self { der, facts })
    }

    /// With the first private key of a PEM text.
    pub(crate) fn with_key_from_pem(self, text: &[u8]) -> Result<Signer, AuthorityError> {
        let first = private_keys(text)?.into_iter().next().ok_or(AuthorityError::NoKey)?;
        self.with_key(signing_key(first)?)
    }

    /// With its key.
    pub(crate) fn with_key(self, key: KeyPair) -> Result<Signer, AuthorityError> {
        if parse(&self.der)?.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(AuthorityError::AnotherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&self.der.into(), key).map_err(AuthorityError::Library)?;
        Ok(Signer { issuer, facts: self.facts })
    }
}

/// An authority that can sign.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    facts: Facts,
}

impl Signer {
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its name as it must stand in what it signs.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.facts.subject
    }

    pub(crate) fn key_identifier(&self) -> &[u8] {
        &self.facts.key_identifier
    }

    /// How many intermediates may follow it.
    pub(crate) fn path_length(&self) -> Option<u32> {
        self.facts.path_length
    }

    pub(crate) fn not_before(&self) -> OffsetDateTime {
        self.facts.not_before
    }

    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.facts.not_after
    }
}
