//! How nodes say which roots they trust and which of them signed their certificate.

use x509_parser::parse_x509_certificate;

/// The SHA-256 over some roots' DER in ascending order of their bytes, in hexadecimal: the same whoever lists them. A node
/// registers it as `ROOTS_SHA256`.
pub fn roots_fingerprint<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut all: Vec<_> = roots.into_iter().collect();
    all.sort_unstable();
    sha256(&all.concat())
}

/// The SHA-256 of the one of `roots` that signed `certificate`, in hexadecimal; all are DER. A node registers it as
/// `SIGNER_SHA256`.
pub fn signer_fingerprint<'a>(certificate: &[u8], roots: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let signed = |root: &&[u8]| {
        parse_x509_certificate(root).is_ok_and(|(_, root)| {
            root.subject().as_raw() == certificate.issuer().as_raw()
                && certificate.verify_signature(Some(root.public_key())).is_ok()
        })
    };
    roots.into_iter().find(signed).map(sha256)
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::plan::{Names, RsaBits, Validity};
    use crate::{Root, issue_authority, issue_node};

    #[test]
    fn the_signer_is_known_by_its_signature_and_the_order_of_roots_does_not_matter() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let authorities = [(); 2].map(|()| issue_authority(Validity::AUTHORITY, now).unwrap());
        let roots = authorities.each_ref().map(|authority| Root::from_pem(authority.certificate().as_bytes()).unwrap());
        let [one, two] = roots.each_ref().map(Root::der);
        let names = Names::with_loopback([], []);
        let node = issue_node(&authorities[1], &names, Validity::NODE, RsaBits::B2048, now).unwrap();
        let node = pem::parse(&node.certificate).unwrap().into_contents();
        assert_eq!(signer_fingerprint(&node, [one, two]), Some(sha256(two)));
        assert_eq!(signer_fingerprint(&node, [one]), None);
        assert_eq!(roots_fingerprint([one, two]), roots_fingerprint([two, one]));
        assert_ne!(roots_fingerprint([one, two]), roots_fingerprint([one]));
        assert_eq!(roots_fingerprint([one]), sha256(one), "as a node of one root has always registered it");
    }
}
