//! Reads a private key as strictly as the server's own parser does (observed §7, lines §E, contract §4.1).

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, AES_CBC_IV_LEN, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512, derive};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::pkcs5::EncryptionScheme as Scheme;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Pbkdf2Prf};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};

use super::line::Line;

/// The object identifier of RSA keys.
const RSA: &str = "1.2.840.113549.1.1.1";

/// Reads the text of a key file.
///
/// # Errors
///
/// What the server prints before it exits with 1.
pub(super) fn read(line: Line, text: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let (label, der) = only_block(text)?;
    if line.reads_pkcs1_alone() {
        // The header is not looked at; what is not PKCS#1 does not decode.
        return match label {
            "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
            _ => Err("error:0407800B: private key decode error".to_owned()),
        };
    }
    match label {
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        "PRIVATE KEY" => rsa(der),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.filter(|password| !password.is_empty());
            let password = password.ok_or("A password is required to read the certificate's private key file.")?;
            rsa(decrypt(&der, password).ok_or("The private key could not be decrypted with the password.")?)
        }
        _ => Err(format!("Unsupported private key file format: BEGIN {label}")),
    }
}

/// The first line must be a header and the last its footer; all between is joined and decoded. A blank line at the end,
/// text before the header or a second block break that.
fn only_block(text: &str) -> Result<(&str, Vec<u8>), String> {
    let invalid = || "The input is not a valid Base-64 string.".to_owned();
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<_> = body.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    let [first, between @ .., last] = lines.as_slice() else { return Err(invalid()) };
    let label = first.strip_prefix("-----BEGIN ").and_then(|line| line.strip_suffix("-----")).ok_or_else(invalid)?;
    if *last != format!("-----END {label}-----") {
        return Err(invalid());
    }
    Ok((label, STANDARD.decode(between.concat()).map_err(|_| invalid())?))
}

/// Every key is imported as RSA: others never work.
fn rsa(der: Vec<u8>) -> Result<PrivateKeyDer<'static>, String> {
    let algorithm = PrivateKeyInfo::try_from(der.as_slice()).map(|key| key.algorithm.oid.to_string());
    match algorithm.as_deref() {
        Ok(RSA) => Ok(PrivatePkcs8KeyDer::from(der).into()),
        _ => Err("ASN1 corrupted data: the private key is not an RSA key.".to_owned()),
    }
}

/// PBES2 with PBKDF2 and AES-CBC, which is what OpenSSL writes.
fn decrypt(der: &[u8], password: &str) -> Option<Vec<u8>> {
    let sealed = EncryptedPrivateKeyInfo::try_from(der).ok()?;
    let Scheme::Pbes2(Parameters { kdf: Kdf::Pbkdf2(kdf), encryption }) = sealed.encryption_algorithm else {
        return None;
    };
    let (algorithm, length, iv): (_, _, &[u8; AES_CBC_IV_LEN]) = match encryption {
        EncryptionScheme::Aes128Cbc { iv } => (&AES_128, 16, iv),
        EncryptionScheme::Aes192Cbc { iv } => (&AES_192, 24, iv),
        EncryptionScheme::Aes256Cbc { iv } => (&AES_256, 32, iv),
        _ => return None,
    };
    let hash = match kdf.prf {
        Pbkdf2Prf::HmacWithSha1 => PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha512 => PBKDF2_HMAC_SHA512,
        _ => return None,
    };
    let mut key = vec![0; length];
    derive(hash, kdf.iteration_count.try_into().ok()?, kdf.salt, password.as_bytes(), &mut key);
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, &key).ok()?).ok()?;
    let mut data = sealed.encrypted_data.to_vec();
    let plain = key.decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from(iv))).ok()?;
    Some(plain.to_vec())
}
