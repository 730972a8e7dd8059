//! One certificate: what it says, and who signed it. Bytes in, facts out.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::authority::parse;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An authority whose issuer is itself, or something that can be nothing else.
    Root,
    /// An authority that another one signed.
    Intermediate,
    /// A server.
    Node,
    /// A user of the database: for clients only, and without names of a host.
    User,
}

/// An algorithm of a key, and its size if that can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Algorithm {
    /// `RSA`, `EC P-256`, `Ed25519` and the like, or an object identifier.
    pub name: String,
    /// The size in bits.
    pub bits: Option<usize>,
}

/// What a certificate says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) der: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) subject: String,
    pub(super) issuer: String,
    subject_bytes: Vec<u8>,
    issuer_bytes: Vec<u8>,
    pub(super) common_name: Option<String>,
    pub(super) serial: String,
    pub(super) algorithm: Algorithm,
    pub(super) public_key: Vec<u8>,
    pub(super) dns: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) other_names: usize,
    pub(super) is_ca: bool,
    pub(super) path_length: Option<u32>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended: Option<ExtendedKeyUsage>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) fingerprint: String,
}

/// The key usage, as far as somebody asks.
#[derive(Clone, Debug)]
pub(super) struct KeyUsage {
    pub(super) names: Vec<&'static str>,
    pub(super) digital_signature: bool,
    pub(super) key_exchange: bool,
    pub(super) key_cert_sign: bool,
}

/// The extended key usage.
#[derive(Clone, Debug)]
pub(super) struct ExtendedKeyUsage {
    pub(super) names: Vec<String>,
    pub(super) server: bool,
    pub(super) client: bool,
}

/// Whether one certificate signed another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// The signature was verified.
    Valid,
    /// The issuer's name, but not the issuer's key.
    SameNameOnly,
    /// The issuer's name; the algorithm is not one that certgen verifies.
    Unverifiable,
    /// Another name.
    No,
}

impl Facts {
    /// Reads the bytes of a certificate, or says why they are none.
    pub(super) fn read(der: Vec<u8>) -> Result<Self, String> {
        let facts = {
            let certificate = parse(&der).map_err(|error| error.to_string())?;
            Self::of(&certificate)
        };
        Ok(Self { fingerprint: fingerprint(&der), der, ..facts })
    }

    fn of(certificate: &X509Certificate<'_>) -> Self {
        let constraints = certificate.basic_constraints().ok().flatten().map(|constraints| constraints.value);
        let is_ca = constraints.is_some_and(|constraints| constraints.ca);
        let (dns, addresses, other_names) = names(certificate);
        let extended = extended_key_usage(certificate);
        let is_self_issued = certificate.subject().as_raw() == certificate.issuer().as_raw();
        let is_for_clients = extended.as_ref().is_some_and(|usage| usage.client && !usage.server);
        let has_names = !dns.is_empty() || !addresses.is_empty();
        let kind = match (is_ca, is_self_issued) {
            (true, true) => Kind::Root,
            (true, false) => Kind::Intermediate,
            // Nobody could dial it: whoever made it forgot what makes it an authority.
            (false, true) if !has_names && extended.is_none() => Kind::Root,
            // A user of es-gencert-cli has no names; a node with the wrong usage has some.
            _ if is_for_clients && !has_names => Kind::User,
            _ => Kind::Node,
        };
        Self {
            der: Vec::new(),
            kind,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            subject_bytes: certificate.subject().as_raw().to_vec(),
            issuer_bytes: certificate.issuer().as_raw().to_vec(),
            common_name: certificate
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            serial: hex(certificate.raw_serial()),
            algorithm: algorithm(certificate.public_key()),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            dns,
            addresses,
            other_names,
            is_ca,
            path_length: constraints.and_then(|constraints| constraints.path_len_constraint),
            key_usage: key_usage(certificate),
            extended,
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            fingerprint: String::new(),
        }
    }

    /// What the server calls self-signed: it looks at the names alone (contract §4.1).
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject_bytes == self.issuer_bytes
    }

    /// Whether `parent` signed it.
    pub(super) fn signed_by(&self, parent: &Self) -> Signature {
        if self.issuer_bytes != parent.subject_bytes {
            return Signature::No;
        }
        let (Ok(child), Ok(parent)) = (parse(&self.der), parse(&parent.der)) else { return Signature::No };
        match child.verify_signature(Some(parent.public_key())) {
            Ok(()) => Signature::Valid,
            Err(X509Error::SignatureUnsupportedAlgorithm) => Signature::Unverifiable,
            Err(_) => Signature::SameNameOnly,
        }
    }

    /// Whether somebody who dials `host` accepts it. As in .NET the common name counts if there is no other (contract §4.3).
    pub(super) fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address.to_canonical());
        }
        if self.dns.is_empty() && self.addresses.is_empty() && self.other_names == 0 {
            return self.common_name.as_deref().is_some_and(|name| stands_for(name, host));
        }
        self.dns.iter().any(|name| stands_for(name, host))
    }

    pub(super) fn has_names(&self) -> bool {
        !self.dns.is_empty() || !self.addresses.is_empty()
    }
}

/// `*.a.b` stands for one label before `.a.b` (RFC 6125 §6.4.3).
fn stands_for(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => !label.is_empty() && domain.eq_ignore_ascii_case(rest),
        _ => false,
    }
}

fn names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>, usize) {
    let (mut dns, mut addresses, mut others) = (Vec::new(), Vec::new(), 0);
    let extension = certificate.subject_alternative_name().ok().flatten();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => addresses.push(address),
                None => others += 1,
            },
            _ => others += 1,
        }
    }
    (dns, addresses, others)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

fn key_usage(certificate: &X509Certificate<'_>) -> Option<KeyUsage> {
    let usage = certificate.key_usage().ok().flatten()?.value;
    let all = [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    Some(KeyUsage {
        names: all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect(),
        digital_signature: usage.digital_signature(),
        key_exchange: usage.key_encipherment() || usage.key_agreement(),
        key_cert_sign: usage.key_cert_sign(),
    })
}

fn extended_key_usage(certificate: &X509Certificate<'_>) -> Option<ExtendedKeyUsage> {
    let usage = certificate.extended_key_usage().ok().flatten()?.value;
    let known = [
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.any, "anyExtendedKeyUsage"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
    let names = known.chain(usage.other.iter().map(ToString::to_string)).collect();
    Some(ExtendedKeyUsage { names, server: usage.server_auth, client: usage.client_auth })
}

fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Algorithm {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus: &[u8] = rsa.modulus;
            let bits = modulus.iter().position(|byte| *byte != 0).map_or(0, |first| {
                let digits = &modulus[first..];
                digits.len() * 8 - digits[0].leading_zeros() as usize
            });
            Algorithm { name: "RSA".to_owned(), bits: Some(bits) }
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            let named =
                [(OID_EC_P256, "P-256", 256), (OID_NIST_EC_P384, "P-384", 384), (OID_NIST_EC_P521, "P-521", 521)];
            let known = curve.as_ref().and_then(|curve| named.into_iter().find(|(oid, ..)| oid == curve));
            match (known, curve) {
                (Some((_, name, bits)), _) => Algorithm { name: format!("EC {name}"), bits: Some(bits) },
                (None, Some(curve)) => Algorithm { name: format!("EC {curve}"), bits: None },
                (None, None) => Algorithm { name: "EC".to_owned(), bits: None },
            }
        }
        _ if key.algorithm.algorithm == OID_SIG_ED25519 => Algorithm { name: "Ed25519".to_owned(), bits: Some(256) },
        _ => Algorithm { name: key.algorithm.algorithm.to_string(), bits: None },
    }
}

fn fingerprint(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, host, covered) in [
            ("node-1.db", "node-1.db", true),
            ("Node-1.DB", "node-1.db.", true),
            ("*.db", "node-1.db", true),
            ("*.db", "a.node-1.db", false),
            ("*.db", "db", false),
            ("*.db", ".db", false),
            ("node-1.db", "node-2.db", false),
        ] {
            assert_eq!(stands_for(pattern, host), covered, "{pattern} {host}");
        }
    }
}
