//! The certificates of es-gencert-cli (contract §7): subjects, string types, key identifiers, and every extension in its
//! order. No file is touched here, and the clock is an argument.
//!
//! rcgen has an order of extensions of its own, so it is given each extension as bytes and only signs.
//!
//! Better than the old tool, which a reader of a certificate can see: serial numbers are never 0 and always 16 bytes; an
//! intermediate carries what is left of its parent's path length, so that a chain too long to verify is refused when it is
//! made.

use std::net::IpAddr;

use pem::Pem;
use rcgen::string::PrintableString;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, PublicKeyData as _, SerialNumber};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::request::{Names, Subject};
use super::signer::Signer;
use crate::authority::parse;
use crate::issue::{IssueError, encode, random_serial};
use crate::keys::RsaKey;

/// How many intermediates may follow a root.
pub(crate) const ROOT_PATH_LENGTH: u32 = 2;

const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
const SUBJECT_KEY_IDENTIFIER: [u64; 4] = [2, 5, 29, 14];
const AUTHORITY_KEY_IDENTIFIER: [u64; 4] = [2, 5, 29, 35];
const SUBJECT_ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];

/// DER of OBJECT IDENTIFIER id-kp-serverAuth and id-kp-clientAuth.
const SERVER_AUTH: [u8; 10] = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: [u8; 10] = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];

/// What a certificate says besides the key and the signer.
pub(crate) struct Contents<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    /// Of an authority.
    pub(crate) path_length: Option<u32>,
}

/// A certificate.
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
}

impl Issued {
    /// As one PEM block.
    pub(crate) fn to_pem(&self) -> String {
        encode(&Pem::new("CERTIFICATE", self.der.as_slice()))
    }
}

/// Certifies `key`, signed by `signer` or, without one, by itself.
pub(crate) fn issue(contents: &Contents<'_>, key: &RsaKey, signer: Option<&Signer>) -> Result<Issued, IssueError> {
    let library = |source| IssueError::Library { what: "certificate", source };
    let serial = random_serial()?;
    let own = own_key_identifier(key)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = distinguished_name(contents.subject, &serial, signer.is_some());
    (params.not_before, params.not_after) = (contents.not_before, contents.not_after);
    params.custom_extensions = extensions(contents, &own, signer.map_or(&own, Signer::key_identifier));
    let certificate = match signer {
        Some(signer) => params.signed_by(key.pair(), signer.issuer()),
        None => params.self_signed(key.pair()),
    };
    let der = certificate.map_err(library)?.der().to_vec();
    // rcgen writes the signer's name anew; if a byte differs, nobody can follow the chain.
    let same_name = |signer: &Signer| parse(&der).is_ok_and(|made| made.issuer().as_raw() == signer.subject());
    if signer.is_some_and(|signer| !same_name(signer)) {
        return Err(IssueError::SignerName);
    }
    Ok(Issued { der })
}

fn distinguished_name(subject: &Subject, serial: &[u8], is_signed: bool) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let common_name = match subject {
        Subject::Authority => {
            name.push(DnType::CountryName, text("UK"));
            name.push(DnType::OrganizationName, text("Event Store Ltd"));
            let hex = serial.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            format!("EventStoreDB {}CA {hex}", if is_signed { "Intermediate " } else { "" })
        }
        Subject::Node { common_name, .. } => common_name.clone(),
        Subject::User { name } => name.clone(),
    };
    if !common_name.is_empty() {
        name.push(DnType::CommonName, text(&common_name));
    }
    name
}

/// `PrintableString` where the text allows it, as Go does; with a question mark rcgen could not write it.
fn text(text: &str) -> DnValue {
    if text.contains('?') {
        return DnValue::Utf8String(text.to_owned());
    }
    PrintableString::try_from(text).map_or_else(|_| DnValue::Utf8String(text.to_owned()), DnValue::PrintableString)
}

fn extensions(contents: &Contents<'_>, own: &[u8], signers: &[u8]) -> Vec<CustomExtension> {
    let extension = |id: [u64; 4], critical, content| {
        let mut extension = CustomExtension::from_oid_content(&id, content);
        extension.set_criticality(critical);
        extension
    };
    // Bits 5 and 6, keyCertSign and cRLSign; or bits 0 and 2, digitalSignature and keyEncipherment.
    let usage = if *contents.subject == Subject::Authority { [1, 0b0000_0110] } else { [5, 0b1010_0000] };
    let extended = match contents.subject {
        Subject::Authority => None,
        Subject::Node { .. } => Some([CLIENT_AUTH, SERVER_AUTH].concat()),
        Subject::User { .. } => Some(CLIENT_AUTH.to_vec()),
    };
    let constraints = match (contents.subject, contents.path_length) {
        (Subject::Authority, Some(length)) => [&[0x01, 1, 0xff][..], &small_integer(length)].concat(),
        (Subject::Authority, None) => vec![0x01, 1, 0xff],
        _ => Vec::new(),
    };
    let mut all = vec![extension(KEY_USAGE, true, tlv(0x03, &usage))];
    all.extend(extended.map(|purposes| extension(EXTENDED_KEY_USAGE, false, tlv(0x30, &purposes))));
    all.push(extension(BASIC_CONSTRAINTS, true, tlv(0x30, &constraints)));
    all.push(extension(SUBJECT_KEY_IDENTIFIER, false, tlv(0x04, own)));
    all.push(extension(AUTHORITY_KEY_IDENTIFIER, false, tlv(0x30, &tlv(0x80, signers))));
    if let Subject::Node { common_name, names } = contents.subject {
        // A certificate without subject is known by these names alone (RFC 5280 §4.2.1.6).
        all.push(extension(SUBJECT_ALTERNATIVE_NAME, common_name.is_empty(), tlv(0x30, &general_names(names))));
    }
    all
}

fn general_names(names: &Names) -> Vec<u8> {
    let dns = names.dns.iter().map(|name| tlv(0x82, name.as_bytes()));
    let addresses = names.addresses.iter().map(|address| match address {
        IpAddr::V4(address) => tlv(0x87, &address.octets()),
        IpAddr::V6(address) => tlv(0x87, &address.octets()),
    });
    dns.chain(addresses).flatten().collect()
}

/// DER of an INTEGER that is not negative.
fn small_integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let digits = bytes.iter().position(|byte| *byte != 0).map_or(&bytes[3..], |first| &bytes[first..]);
    let sign: &[u8] = if digits[0] & 0x80 == 0 { &[] } else { &[0] };
    tlv(0x02, &[sign, digits].concat())
}

/// DER: tag, length, content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = length.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &length[first..]);
    let mut der = vec![tag];
    match length {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        // At most eight bytes of length.
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

fn own_key_identifier(key: &RsaKey) -> Result<Vec<u8>, IssueError> {
    let der = key.pair().subject_public_key_info();
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| IssueError::PublicKey)?;
    Ok(key_identifier(&info))
}

/// The identifier that es-gencert-cli gives a key: SHA-256 of the modulus and the exponent in four bytes. RFC 5280 names
/// another way, and lets everybody have his own.
pub(crate) fn key_identifier(key: &SubjectPublicKeyInfo<'_>) -> Vec<u8> {
    let bytes = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let unsigned = |integer: &[u8]| integer.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
            let exponent = unsigned(rsa.exponent);
            let padding = vec![0; 4_usize.saturating_sub(exponent.len())];
            [unsigned(rsa.modulus), padding, exponent].concat()
        }
        _ => key.subject_public_key.data.to_vec(),
    };
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_integers_are_der() {
        assert_eq!(tlv(4, &[]), [4, 0]);
        assert_eq!(tlv(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(small_integer(0), [2, 1, 0]);
        assert_eq!(small_integer(2), [2, 1, 2]);
        assert_eq!(small_integer(128), [2, 2, 0, 128]);
    }
}
