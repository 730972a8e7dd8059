//! Makes the keys and signs the certificates of nodes. No file is touched here, and the clock is an argument.
//!
//! The profile of a node certificate, and who insists on it (observed = seen on a running server, by line):
//!
//! | property | who insists |
//! |---|---|
//! | RSA key, written as PKCS#1 | 22.10 and older read nothing else; no line reads an EC key |
//! | the same common name on all nodes, `eventstoredb-node` | 22.10 and older by default; others compare the nodes with each other |
//! | key usage digitalSignature and keyEncipherment | a 24.10 cluster without it never forms |
//! | extended key usage serverAuth **and** clientAuth | a 24.10 cluster with only one never forms |
//! | subject alternative names with every name that somebody dials | all: peers, proxies and clients compare them |
//! | valid from one hour ago | all: a server whose clock is behind refuses its own certificate and exits |

use std::fmt;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::authority::Authority;
use crate::keys::{RsaKey, RsaKeys};
use crate::plan::{Names, RsaBits, Validity};

/// The common name that every server line accepts without being told (`CERTIFICATE_RESERVED_NODE_COMMON_NAME`).
pub(crate) const NODE_COMMON_NAME: &str = "eventstoredb-node";

/// Clocks of two machines may differ: a certificate is valid from this long before it was made.
pub(crate) const BACKDATED: Duration = Duration::hours(1);

/// Why a key or certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The cryptographic library failed; not expected to happen.
    #[error("the {what} could not be made")]
    Library {
        /// What was being made.
        what: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// The system gave no random numbers; not expected to happen.
    #[error("the system's random number generator failed")]
    Randomness,
    /// A freshly made key has an unexpected encoding; not expected to happen.
    #[error("the new key is not in PKCS#8 form: {0}")]
    Encoding(pkcs8::Error),
    /// A freshly made key has an unexpected public half; not expected to happen.
    #[error("the public half of the new key does not parse")]
    PublicKey,
    /// The signer's subject has a form that would not be the same in the certificates it signs.
    #[error("the subject of the certificate authority cannot be repeated byte for byte in what it signs")]
    SignerName,
    /// The authority ends before the certificate would.
    #[error("the certificate authority is valid until {authority}, the node certificate would be until {node}")]
    OutlivesAuthority {
        /// The end of the authority's validity.
        authority: OffsetDateTime,
        /// The end of the node certificate's validity.
        node: OffsetDateTime,
    },
}

impl IssueError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OutlivesAuthority { .. } => Some(
                "give a shorter --validity, or renew the authority: `certgen ca rotate` does that to one in a secret, removing ca.pem to one in --ca-state",
            ),
            Self::Library { .. } | Self::Randomness | Self::Encoding(_) | Self::PublicKey | Self::SignerName => None,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutlivesAuthority { .. } | Self::SignerName => 78,
            Self::Library { .. } | Self::Randomness | Self::Encoding(_) | Self::PublicKey => 70,
        }
    }
}

/// The certificate of a node with its key.
pub struct NodeCertificate {
    /// The certificate as one PEM block.
    pub certificate: String,
    /// The RSA key as one PKCS#1 PEM block.
    pub key: Zeroizing<String>,
    /// The end of the certificate's validity.
    pub not_after: OffsetDateTime,
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// The end of a certificate that this authority can sign.
    pub(crate) fn covers(&self, validity: Validity, now: OffsetDateTime) -> Result<OffsetDateTime, IssueError> {
        let not_after = now + validity.duration();
        if not_after > self.not_after() {
            return Err(IssueError::OutlivesAuthority { authority: self.not_after(), node: not_after });
        }
        Ok(not_after)
    }
}

/// Makes a new RSA key and has `authority` sign it for `names`.
///
/// # Errors
///
/// [`IssueError::OutlivesAuthority`] if the certificate would still be valid when its authority no longer is; else only
/// if the cryptographic library fails.
pub fn issue_node(
    authority: &Authority,
    names: &Names,
    validity: Validity,
    bits: RsaBits,
    now: OffsetDateTime,
) -> Result<NodeCertificate, IssueError> {
    authority.covers(validity, now)?;
    let key = RsaKeys::search(bits, 1).take()?;
    issue_node_for(&key, authority, names, validity, now)
}

/// The same for a key that was found already.
pub(crate) fn issue_node_for(
    key: &RsaKey,
    authority: &Authority,
    names: &Names,
    validity: Validity,
    now: OffsetDateTime,
) -> Result<NodeCertificate, IssueError> {
    let not_after = authority.covers(validity, now)?;
    let params = node_params(key.pair(), names, now, not_after)?;
    let certificate = params
        .signed_by(key.pair(), authority.issuer())
        .map_err(|source| IssueError::Library { what: "node certificate", source })?;
    Ok(NodeCertificate {
        certificate: encode(&pem::Pem::new("CERTIFICATE", certificate.der().as_ref())),
        key: key.to_pkcs1()?,
        not_after,
    })
}

/// How long a certificate with these times was to be valid when it was issued here.
pub(crate) fn validity_of(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Option<Validity> {
    Validity::of(not_after - not_before - BACKDATED)
}

fn node_params(
    key: &KeyPair,
    names: &Names,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(NODE_COMMON_NAME);
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    (params.not_before, params.not_after) = (not_before - BACKDATED, not_after);
    for name in names.dns() {
        let name = Ia5String::try_from(name.as_str())
            .map_err(|source| IssueError::Library { what: "subject alternative name", source })?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.extend(names.addresses().iter().copied().map(SanType::IpAddress));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    // rcgen writes either no basic constraints or an explicit FALSE, which is not DER (X.690 §11.5: a default is left out).
    let mut no_ca = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0x00]);
    no_ca.set_criticality(true);
    let mut key_identifier = vec![0x04, 20];
    key_identifier.extend(params.key_identifier(key));
    params.custom_extensions = vec![no_ca, CustomExtension::from_oid_content(&[2, 5, 29, 14], key_identifier)];
    Ok(params)
}

/// The crate ends lines with CRLF unless told; the files are for Linux.
pub(crate) fn encode(block: &pem::Pem) -> String {
    pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

pub(crate) fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// 16 random bytes, positive and without a leading zero byte (RFC 5280 §4.1.2.2: at most 20 bytes, positive).
pub(crate) fn random_serial() -> Result<[u8; 16], IssueError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueError::Randomness)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::issue_authority;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn a_node_does_not_outlive_its_authority() {
        let authority = issue_authority("10d".parse().unwrap(), now()).unwrap();
        let names = Names::with_loopback([], []);
        let error = issue_node(&authority, &names, "11d".parse().unwrap(), RsaBits::B2048, now()).unwrap_err();
        assert!(matches!(error, IssueError::OutlivesAuthority { .. }), "{error}");
    }
}
