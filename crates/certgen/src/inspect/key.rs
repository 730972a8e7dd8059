//! One private key: its form and its public half. The key itself is wiped as soon as both are known.

use pem::Pem;
use pkcs8::PrivateKeyInfo;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
};
use serde::Serialize;
use zeroize::{Zeroize as _, Zeroizing};

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Format {
    /// `RSA PRIVATE KEY`.
    #[serde(rename = "PKCS#1")]
    Pkcs1,
    /// `PRIVATE KEY`.
    #[serde(rename = "PKCS#8")]
    Pkcs8,
    /// `EC PRIVATE KEY`.
    #[serde(rename = "SEC1")]
    Sec1,
    /// `ENCRYPTED PRIVATE KEY`.
    #[serde(rename = "encrypted PKCS#8")]
    EncryptedPkcs8,
    /// One of the older forms with a header that says it is encrypted (RFC 1421).
    #[serde(rename = "encrypted traditional")]
    EncryptedTraditional,
    /// Bytes without PEM around them.
    #[serde(rename = "DER")]
    Der,
    /// Another header that ends in `PRIVATE KEY`.
    #[serde(rename = "other")]
    Other,
}

impl Format {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Pkcs1 => "PKCS#1",
            Self::Pkcs8 => "PKCS#8",
            Self::Sec1 => "SEC1",
            Self::EncryptedPkcs8 => "encrypted PKCS#8",
            Self::EncryptedTraditional => "encrypted in the traditional way",
            Self::Der => "DER",
            Self::Other => "an unknown form",
        }
    }

    pub(super) fn is_encrypted(self) -> bool {
        matches!(self, Self::EncryptedPkcs8 | Self::EncryptedTraditional)
    }
}

/// The kind of a key, where that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    /// With the name for people.
    Other(&'static str),
}

impl Family {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Other(name) => name,
        }
    }
}

/// What is known about a private key without showing it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) format: Format,
    pub(super) family: Option<Family>,
    /// The public half, as it stands in certificates. An encrypted or broken key has none.
    pub(super) public_half: Option<Vec<u8>>,
}

impl Key {
    /// The key of a PEM block.
    pub(super) fn of_block(block: Pem) -> Self {
        let is_encrypted = block.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
        let (format, by_name) = match block.tag() {
            "RSA PRIVATE KEY" => (Format::Pkcs1, Some(Family::Rsa)),
            "EC PRIVATE KEY" => (Format::Sec1, Some(Family::Other("EC"))),
            "PRIVATE KEY" => (Format::Pkcs8, None),
            "ENCRYPTED PRIVATE KEY" => (Format::EncryptedPkcs8, None),
            _ => (Format::Other, None),
        };
        let format = if is_encrypted { Format::EncryptedTraditional } else { format };
        let der = Zeroizing::new(block.into_contents());
        if format.is_encrypted() {
            return Self { format, family: by_name, public_half: None };
        }
        let family = if format == Format::Pkcs8 { family_of_pkcs8(&der) } else { by_name };
        let (read, public_half) = public_half(&der);
        Self { format, family: read.or(family), public_half }
    }

    /// The key in bytes without PEM, if they are one.
    pub(super) fn of_der(der: &[u8]) -> Option<Self> {
        match public_half(der) {
            (family, Some(half)) => Some(Self { format: Format::Der, family, public_half: Some(half) }),
            _ => None,
        }
    }
}

fn public_half(der: &[u8]) -> (Option<Family>, Option<Vec<u8>>) {
    let Ok(mut pair) = KeyPair::try_from(der) else { return (None, None) };
    let known = [
        (&PKCS_RSA_SHA256, Family::Rsa),
        (&PKCS_ECDSA_P256_SHA256, Family::Other("EC P-256")),
        (&PKCS_ECDSA_P384_SHA384, Family::Other("EC P-384")),
        (&PKCS_ECDSA_P521_SHA512, Family::Other("EC P-521")),
        (&PKCS_ED25519, Family::Other("Ed25519")),
    ];
    let family = known.into_iter().find(|(algorithm, _)| pair.algorithm() == *algorithm).map(|(_, family)| family);
    let public_key = pair.public_key_raw().to_vec();
    pair.zeroize();
    (family, Some(public_key))
}

fn family_of_pkcs8(der: &[u8]) -> Option<Family> {
    let info = PrivateKeyInfo::try_from(der).ok()?;
    match info.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => Some(Family::Rsa),
        "1.2.840.113549.1.1.10" => Some(Family::Other("RSA-PSS")),
        "1.2.840.10045.2.1" => Some(Family::Other("EC")),
        "1.3.101.112" => Some(Family::Other("Ed25519")),
        "1.3.101.113" => Some(Family::Other("Ed448")),
        _ => None,
    }
}

/// Why the server's own parser does not get at the key of a file, if so: the first line must be a header and the last its
/// footer, all between is joined and decoded (contract §4.1). `decodes` says whether a text is base64.
pub(super) fn broken_shape(text: &[u8], decodes: impl Fn(&str) -> bool) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(text) else { return Some("it is not text") };
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<_> = body.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    let label = lines[0].strip_prefix("-----BEGIN ").and_then(|line| line.strip_suffix("-----"));
    let Some(label) = label else { return Some("something stands before BEGIN") };
    let footer = format!("-----END {label}-----");
    let [_, between @ .., last] = lines.as_slice() else { return Some("END is missing") };
    if *last != footer {
        let has_footer = between.iter().any(|line| *line == footer);
        return Some(if has_footer { "something stands after END, if only a blank line" } else { "END is missing" });
    }
    if between.iter().any(|line| line.starts_with("-----")) {
        return Some("it holds more than one block");
    }
    if between.iter().any(|line| line.contains(':')) {
        return Some("it has header lines between BEGIN and END");
    }
    if decodes(&between.concat()) { None } else { Some("what stands between BEGIN and END is not base64") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_begins_with_its_header_and_ends_with_its_footer() {
        let shape = |text: &str| broken_shape(text.as_bytes(), |text| !text.contains('!'));
        let good = "-----BEGIN X-----\nAA\nAA\n-----END X-----";
        for good in [good.to_owned(), format!("{good}\n"), format!("{good}\n").replace('\n', "\r\n")] {
            assert_eq!(shape(&good), None, "{good:?}");
        }
        for (bad, reason) in [
            (format!("{good}\n\n"), "after END"),
            (format!("{good}\n{good}"), "more than one"),
            (format!("Bag Attributes\n{good}"), "before BEGIN"),
            (format!(" {good}"), "before BEGIN"),
            (good.replace("AA\nAA", "Proc-Type: 4,ENCRYPTED\n\nAA"), "header lines"),
            (good.replace("AA\nAA", "A!"), "not base64"),
            ("-----BEGIN X-----\nAA\n".to_owned(), "END is missing"),
            ("-----BEGIN X-----".to_owned(), "END is missing"),
            (String::new(), "before BEGIN"),
        ] {
            assert!(shape(&bad).is_some_and(|told| told.contains(reason)), "{bad:?}: {:?}", shape(&bad));
        }
        assert_eq!(broken_shape(&[0xff], |_| true), Some("it is not text"));
    }
}
