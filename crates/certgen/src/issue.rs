//! Makes keys and signs certificates. No file is touched here, and the clock is an argument.
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
//!
//! The authority is P-256: a real cluster accepts it, and it saves the second RSA key.

use std::fmt;
use std::sync::mpsc;
use std::thread;

use pkcs8::PrivateKeyInfo;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;
use zeroize::{Zeroize as _, Zeroizing};

use crate::plan::{Names, RsaBits, Validity};

/// The common name that every server line accepts without being told (`CERTIFICATE_RESERVED_NODE_COMMON_NAME`).
const NODE_COMMON_NAME: &str = "eventstoredb-node";

/// Clocks of two machines may differ: a certificate is valid from this long before it was made.
const BACKDATED: Duration = Duration::hours(1);

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
    /// The stored authority cannot be read.
    #[error("the stored certificate authority is damaged: {reason}")]
    DamagedAuthority {
        /// What is wrong with it.
        reason: String,
    },
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
            Self::DamagedAuthority { .. } => {
                Some("remove ca.pem from the --ca-state directory: a new authority is made, which nobody trusts yet")
            }
            Self::OutlivesAuthority { .. } => {
                Some("give a shorter --validity, or remove ca.pem from the --ca-state directory")
            }
            Self::Library { .. } | Self::Randomness | Self::Encoding(_) => None,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::DamagedAuthority { .. } | Self::OutlivesAuthority { .. } => 78,
            Self::Library { .. } | Self::Randomness | Self::Encoding(_) => 70,
        }
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

    /// Certificate and key in one text, so that no reader can ever find one without the other.
    pub fn to_state(&self) -> Zeroizing<String> {
        let mut key = self.issuer.key().serialize_pem();
        let state = Zeroizing::new(format!("{}{key}", self.certificate));
        key.zeroize();
        state
    }

    /// Reads what [`Authority::to_state`] wrote.
    ///
    /// # Errors
    ///
    /// [`IssueError::DamagedAuthority`] if the text is not a certificate and its key, or the two do not belong together.
    pub fn from_state(state: &str) -> Result<Self, IssueError> {
        let damaged = |reason: String| IssueError::DamagedAuthority { reason };
        let end = state
            .find("-----BEGIN PRIVATE KEY-----")
            .ok_or_else(|| damaged("no private key after the certificate".to_owned()))?;
        let (certificate, key) = state.split_at(end);
        let key =
            KeyPair::from_pem(key).map_err(|error| damaged(format!("the private key does not parse: {error}")))?;
        let (_, block) =
            parse_x509_pem(certificate.as_bytes()).map_err(|error| damaged(format!("no certificate: {error}")))?;
        if block.label != "CERTIFICATE" {
            return Err(damaged(format!("it starts with a {}, not with a certificate", block.label)));
        }
        let parsed = block.parse_x509().map_err(|error| damaged(format!("the certificate does not parse: {error}")))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(damaged("the key belongs to another certificate".to_owned()));
        }
        let not_after = parsed.validity().not_after.to_datetime();
        let issuer =
            Issuer::from_ca_cert_pem(certificate, key).map_err(|error| damaged(format!("it cannot sign: {error}")))?;
        Ok(Self { certificate: certificate.to_owned(), issuer, not_after })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
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

/// Makes a new self-signed authority with a P-256 key.
///
/// # Errors
///
/// Only if the cryptographic library fails.
pub fn issue_authority(validity: Validity, now: OffsetDateTime) -> Result<Authority, IssueError> {
    let library = |source| IssueError::Library { what: "certificate authority", source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library)?;
    let serial = random_serial()?;
    let mut params = CertificateParams::default();
    let [a, b, c, d, ..] = serial;
    params.distinguished_name = common_name(&format!("eventstore-fargate CA {a:02x}{b:02x}{c:02x}{d:02x}"));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (now - BACKDATED, now + validity.duration());
    // It signs nodes and nothing that signs further.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(library)?;
    Ok(Authority {
        certificate: unix(certificate.pem()),
        not_after: params.not_after,
        issuer: Issuer::new(params, key),
    })
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
    let not_after = now + validity.duration();
    if not_after > authority.not_after {
        return Err(IssueError::OutlivesAuthority { authority: authority.not_after, node: not_after });
    }
    let key = generate_rsa(bits)?;
    let params = node_params(&key, names, now, not_after)?;
    let certificate = params
        .signed_by(&key, &authority.issuer)
        .map_err(|source| IssueError::Library { what: "node certificate", source })?;
    Ok(NodeCertificate { certificate: unix(certificate.pem()), key: pkcs1(&key)?, not_after })
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

/// The time to find an RSA key varies by more than half, so every core looks for one and the first found is taken.
fn generate_rsa(bits: RsaBits) -> Result<KeyPair, IssueError> {
    let size = match bits {
        RsaBits::B2048 => RsaKeySize::_2048,
        RsaBits::B3072 => RsaKeySize::_3072,
        RsaBits::B4096 => RsaKeySize::_4096,
    };
    let generate = move || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let (found, first) = mpsc::sync_channel(cores);
    for _ in 1..cores {
        let found = found.clone();
        // Nobody waits for the losers: they end with their key, or with the process. If no thread can be had, this
        // one still looks.
        let _ = thread::Builder::new().name("rsa".to_owned()).spawn(move || found.send(generate()));
    }
    let own = thread::Builder::new().name("rsa".to_owned()).spawn(move || found.send(generate()));
    let key = match own {
        Ok(_) => first.recv().map_err(|_| IssueError::Randomness)?,
        Err(_) => generate(),
    };
    key.map_err(|source| IssueError::Library { what: "RSA key", source })
}

/// The key in the one form that every server line reads (contract §4.1): 22.10 and older take PKCS#1 only.
fn pkcs1(key: &KeyPair) -> Result<Zeroizing<String>, IssueError> {
    let mut pkcs8 = key.serialize_der();
    let block = PrivateKeyInfo::try_from(pkcs8.as_slice())
        .map(|info| pem::Pem::new("RSA PRIVATE KEY", info.private_key))
        .map_err(IssueError::Encoding);
    pkcs8.zeroize();
    Ok(Zeroizing::new(encode(&block?)))
}

fn encode(block: &pem::Pem) -> String {
    pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// rcgen ends lines as the platform does; the files are for Linux.
fn unix(pem: String) -> String {
    if pem.contains('\r') { pem.replace('\r', "") } else { pem }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// 16 random bytes, positive and without a leading zero byte (RFC 5280 §4.1.2.2: at most 20 bytes, positive).
fn random_serial() -> Result<[u8; 16], IssueError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueError::Randomness)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn an_authority_survives_its_state() {
        let made = issue_authority(Validity::AUTHORITY, now()).unwrap();
        let read = Authority::from_state(&made.to_state()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.not_after(), made.not_after());
    }

    #[test]
    fn a_damaged_authority_is_refused_by_reason() {
        let one = issue_authority(Validity::AUTHORITY, now()).unwrap();
        let two = issue_authority(Validity::AUTHORITY, now()).unwrap();
        let state = one.to_state();
        let swapped = two.to_state().replace(two.certificate(), one.certificate());
        for (state, reason) in [
            (&state[..state.len() / 3], "no private key"),
            (&state.replace("CERTIFICATE", "SOMETHING"), "not with a certificate"),
            (&swapped, "another certificate"),
        ] {
            let error = Authority::from_state(state).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_node_does_not_outlive_its_authority() {
        let authority = issue_authority("10d".parse().unwrap(), now()).unwrap();
        let names = Names::with_loopback([], []);
        let error = issue_node(&authority, &names, "11d".parse().unwrap(), RsaBits::B2048, now()).unwrap_err();
        assert!(matches!(error, IssueError::OutlivesAuthority { .. }), "{error}");
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        let authority = issue_authority(Validity::AUTHORITY, now()).unwrap();
        assert!(!format!("{authority:?}").contains("BEGIN"));
    }
}
