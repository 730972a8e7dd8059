//! What the commands make, judged by others: OpenSSL, GnuTLS, Go's verifier, and a TLS handshake with rustls; and the profile
//! of es-gencert-cli, field by field (contract §7).
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;

use common::judges::{Chain, Judge};
use common::{Scene, TwoNodes, openssl, with_parsed};
use testkit::tool::{self, Tool};
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::ASN1Time;
use x509_parser::public_key::PublicKey;

const CONFIG: &str = "
certificates:
  ca-certs:
    - {}
    - {out: one, ca-certificate: ca/ca.crt, ca-key: ca/ca.key}
    - {out: two, ca-certificate: one/ca.crt, ca-key: one/ca.key}
  node-certs:
    - {out: n, dns-names: 'node-1.test,*.db.test', ip-addresses: '10.0.0.7,::1'}
    - {out: below, dns-names: 'node-1.test,*.db.test', ip-addresses: '10.0.0.7,::1', ca-certificate: two/ca.crt, ca-key: two/ca.key}
  user-certs:
    - {username: ann, out: u}
    - {username: bob, out: u, ca-certificate: two/ca.crt, ca-key: two/ca.key}
";

/// Root, two intermediates, and a node and a user of each end of the chain; `none.pem` and `chain.pem` with what is between.
fn made() -> Scene {
    let scene = Scene::new();
    assert_eq!(scene.create_certs(CONFIG, "").code, Some(0));
    fs::write(scene.path("none.pem"), "").unwrap();
    fs::write(scene.path("chain.pem"), scene.read("two/ca.crt") + &scene.read("one/ca.crt")).unwrap();
    scene
}

const NAMES: &[&str] = &["node-1.test", "x.db.test", "10.0.0.7", "::1"];

const CHAINS: [Chain<'_>; 4] = [
    Chain { root: "ca/ca.crt", leaf: "n/node.crt", intermediates: "none.pem", is_server: true, names: NAMES },
    Chain { root: "ca/ca.crt", leaf: "below/node.crt", intermediates: "chain.pem", is_server: true, names: NAMES },
    Chain { root: "ca/ca.crt", leaf: "u/user-ann.crt", intermediates: "none.pem", is_server: false, names: &[] },
    Chain { root: "ca/ca.crt", leaf: "u/user-bob.crt", intermediates: "chain.pem", is_server: false, names: &[] },
];

#[test]
fn openssl_accepts_every_chain_and_name() {
    let Some(judge) = Judge::openssl("openssl_accepts_every_chain_and_name") else { return };
    let scene = made();
    for chain in &CHAINS {
        judge.accepts(&scene.path("."), chain);
    }
}

#[test]
fn openssl_finds_every_key_sound() {
    let Some(program) = tool::find(Tool::OpenSsl, "openssl_finds_every_key_sound") else { return };
    let scene = made();
    for chain in CHAINS {
        openssl(&program, &scene.path("."), &["rsa", "-check", "-noout", "-in", &chain.leaf.replace(".crt", ".key")]);
    }
}

#[test]
fn gnutls_accepts_every_chain_and_name() {
    let Some(judge) = Judge::certtool("gnutls_accepts_every_chain_and_name") else { return };
    let scene = made();
    for chain in &CHAINS {
        judge.accepts(&scene.path("."), chain);
    }
}

#[test]
fn go_accepts_every_chain_and_name() {
    let scene = made();
    let Some(judge) = Judge::go("go_accepts_every_chain_and_name", &scene.path(".")) else { return };
    for chain in &CHAINS {
        judge.accepts(&scene.path("."), chain);
    }
}

/// As two nodes of a cluster do.
#[test]
fn two_nodes_shake_hands_with_rustls() {
    let scene = made();
    let n = scene.path("n");
    fs::create_dir(n.join("ca")).unwrap();
    fs::copy(scene.path("ca/ca.crt"), n.join("ca/ca.crt")).unwrap();
    let nodes = TwoNodes::of(&n, &n);
    for name in ["node-1.test", "x.db.test", "10.0.0.7", "::1"] {
        nodes.shake_hands(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(nodes.shake_hands("other.test").is_err());
}

/// What a test expects of a certificate.
struct Profile {
    file: &'static str,
    issuer: &'static str,
    /// OIDs of extensions with their criticality, in order.
    extensions: &'static [(&'static str, bool)],
    path_length: Option<u32>,
    years: i32,
}

const AUTHORITY: &[(&str, bool)] =
    &[("2.5.29.15", true), ("2.5.29.19", true), ("2.5.29.14", false), ("2.5.29.35", false)];
const USER: &[(&str, bool)] =
    &[("2.5.29.15", true), ("2.5.29.37", false), ("2.5.29.19", true), ("2.5.29.14", false), ("2.5.29.35", false)];
const NODE: &[(&str, bool)] = &[
    ("2.5.29.15", true),
    ("2.5.29.37", false),
    ("2.5.29.19", true),
    ("2.5.29.14", false),
    ("2.5.29.35", false),
    ("2.5.29.17", false),
];

#[test]
fn the_profile_is_that_of_the_old_tool() {
    let scene = made();
    for Profile { file, issuer, extensions, path_length, years } in [
        Profile { file: "ca/ca.crt", issuer: "ca/ca.crt", extensions: AUTHORITY, path_length: Some(2), years: 5 },
        // Better than the old tool, which leaves it out: what is left of the parent's.
        Profile { file: "one/ca.crt", issuer: "ca/ca.crt", extensions: AUTHORITY, path_length: Some(1), years: 5 },
        Profile { file: "two/ca.crt", issuer: "one/ca.crt", extensions: AUTHORITY, path_length: Some(0), years: 5 },
        Profile { file: "n/node.crt", issuer: "ca/ca.crt", extensions: NODE, path_length: None, years: 1 },
        Profile { file: "u/user-ann.crt", issuer: "ca/ca.crt", extensions: USER, path_length: None, years: 1 },
    ] {
        let (name, signers) = with_parsed(&scene.der(issuer), |issuer| {
            (issuer.subject().as_raw().to_vec(), key_identifier(issuer.public_key().parsed().unwrap()))
        });
        with_parsed(&scene.der(file), |certificate| {
            assert_eq!(certificate.version().0, 2, "{file}");
            assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), "1.2.840.113549.1.1.11", "{file}");
            assert_eq!(certificate.issuer().as_raw(), name, "{file}");
            assert_eq!(certificate.raw_serial().len(), 16, "{file}");
            let found: Vec<_> =
                certificate.extensions().iter().map(|found| (found.oid.to_id_string(), found.critical)).collect();
            let expected: Vec<_> = extensions.iter().map(|(oid, critical)| ((*oid).to_owned(), *critical)).collect();
            assert_eq!(found, expected, "{file}");
            let is_authority = file.ends_with("ca.crt");
            let constraints = certificate.basic_constraints().unwrap().unwrap().value;
            assert_eq!((constraints.ca, constraints.path_len_constraint), (is_authority, path_length), "{file}");
            // The default is left out, as DER wants it.
            let raw = certificate.extensions().iter().find(|found| found.oid.to_id_string() == "2.5.29.19").unwrap();
            assert!(is_authority || raw.value == [0x30, 0], "{file}");
            let usage = certificate.key_usage().unwrap().unwrap().value.flags;
            assert_eq!(usage, if is_authority { 0b110_0000 } else { 0b101 }, "{file}");
            let PublicKey::RSA(rsa) = certificate.public_key().parsed().unwrap() else { panic!("{file}: RSA") };
            assert_eq!((rsa.key_size(), rsa.try_exponent().unwrap()), (2048, 65_537), "{file}");
            let own = key_identifier(certificate.public_key().parsed().unwrap());
            for extension in certificate.extensions() {
                match extension.parsed_extension() {
                    ParsedExtension::SubjectKeyIdentifier(found) => assert_eq!(found.0, own, "{file}"),
                    ParsedExtension::AuthorityKeyIdentifier(found) => {
                        assert_eq!(found.key_identifier.as_ref().unwrap().0, signers, "{file}");
                        assert!(found.authority_cert_issuer.is_none() && found.authority_cert_serial.is_none());
                    }
                    ParsedExtension::ExtendedKeyUsage(found) => {
                        assert!(found.client_auth && found.other.is_empty(), "{file}");
                        assert_eq!(found.server_auth, file.ends_with("node.crt"), "{file}");
                        let client_first =
                            extension.value.windows(8).position(|oid| oid.ends_with(&[7, 3, 2])).unwrap();
                        assert!(client_first < 12, "{file}: clientAuth comes first");
                    }
                    _ => {}
                }
            }
            let validity = certificate.validity();
            let [from, until] = [&validity.not_before, &validity.not_after].map(ASN1Time::to_datetime);
            let made = from + time::Duration::HOUR;
            assert_eq!(until, made.replace_year(made.year() + years).unwrap(), "{file}");
        });
    }
}

fn key_identifier(key: PublicKey<'_>) -> Vec<u8> {
    let PublicKey::RSA(rsa) = key else { panic!("RSA") };
    let modulus = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
    let bytes = [modulus, &[0, 1, 0, 1]].concat();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().to_vec()
}

#[test]
fn subjects_have_the_string_types_of_go() {
    let scene = Scene::with_ca();
    let line = "create-ca -out below -ca-certificate ca/ca.crt -ca-key ca/ca.key";
    assert_eq!(scene.run(line).code, Some(0));
    for (file, kind) in [("ca/ca.crt", ""), ("below/ca.crt", "Intermediate ")] {
        with_parsed(&scene.der(file), |certificate| {
            let serial = certificate.raw_serial().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            let expected = format!("C=UK, O=Event Store Ltd, CN=EventStoreDB {kind}CA {serial}");
            assert_eq!(certificate.subject().to_string(), expected);
            assert!(
                certificate.subject().iter_attributes().all(|part| part.attr_value().tag() == Tag::PrintableString)
            );
        });
    }
    let long = "x".repeat(100);
    for (name, tag) in [
        ("eventstoredb-node", Tag::PrintableString),
        ("(a) 'b' c+d,e-f./:=", Tag::PrintableString),
        // Go writes a PrintableString; rcgen cannot.
        ("who?", Tag::Utf8String),
        (&long, Tag::PrintableString),
        ("a@b*", Tag::Utf8String),
        ("a&b", Tag::Utf8String),
        ("ünode", Tag::Utf8String),
    ] {
        let words = ["create-node", "-dns-names", "a", "-out", "n", "-force", "-common-name", name];
        assert_eq!(scene.run_words(&words).code, Some(0), "{name}");
        with_parsed(&scene.der("n/node.crt"), |certificate| {
            let parts: Vec<_> = certificate.subject().iter_attributes().collect();
            assert_eq!(parts.len(), 1);
            assert_eq!((parts[0].as_str().unwrap(), parts[0].attr_value().tag()), (name, tag));
        });
    }
    assert_eq!(scene.run_words(&["create-node", "-dns-names", "a", "-out", "e", "-common-name="]).code, Some(0));
    with_parsed(&scene.der("e/node.crt"), |certificate| {
        assert_eq!(certificate.subject().iter_attributes().count(), 0);
        assert!(certificate.subject_alternative_name().unwrap().unwrap().critical);
    });
}
