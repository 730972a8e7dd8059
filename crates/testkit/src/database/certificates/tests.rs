//! The table of observed §7, lines §E and observed-25 §E, as far as one node decides it: what a server starts with, and
//! whom it takes for a node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum as _;
use pem::Pem;
use pkcs8::PrivateKeyInfo;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose as Extended, KeyPair, KeyUsagePurpose as Usage, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::Identity;
use crate::database::line::Line;
use crate::database::options::Options;
use crate::node::pki::{Authority, call_it, pkcs1, rsa_key, unix};
use crate::tool::{Tool, find};

/// A directory with what a server reads.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(certificate: &str, key: &str, roots: &[(&str, &str)]) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(files.path("ca")).unwrap();
        fs::write(files.path("node.crt"), certificate).unwrap();
        fs::write(files.path("node.key"), key).unwrap();
        for (name, text) in roots {
            fs::write(files.path("ca").join(name), text).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, line: Line, more: &[(&str, &str)]) -> Result<Identity, String> {
        let file = |name: &str, value: &str| (format!("EVENTSTORE_{name}"), value.to_owned());
        let at = |name: &str, path: &str| file(name, self.path(path).to_str().unwrap());
        let environment = [
            at("CERTIFICATE_FILE", "node.crt"),
            at("CERTIFICATE_PRIVATE_KEY_FILE", "node.key"),
            at("TRUSTED_ROOT_CERTIFICATES_PATH", "ca"),
        ];
        let more = more.iter().map(|(name, value)| file(name, value));
        let options = Options::read(line, Path::new("/nowhere"), environment.into_iter().chain(more));
        Identity::load(&options.map_err(|refusal| format!("{refusal:?}"))?)
    }

    /// One letter a line, 21.10 first: `s` if it starts, `x` if it does not.
    fn check(&self, what: &str, more: &[(&str, &str)], by_line: &str) {
        for (line, expected) in Line::value_variants().iter().zip(by_line.chars()) {
            let loaded = self.load(*line, more);
            assert_eq!(loaded.is_ok(), expected == 's', "{what} on {line}: {:?}", loaded.err());
        }
    }
}

const ALWAYS: &str = "sssssss";
const NEVER: &str = "xxxxxxx";
const SINCE_23_10: &str = "xxsssss";

#[test]
fn forms_of_the_private_key() {
    let authority = Authority::p256("CA");
    let certificate = authority.sign(rsa_key(), |_| ()).pem();
    let root = authority.pem();
    let with_key = |key: &str| Files::new(&certificate, key, &[("ca.crt", &root)]);
    let key = pkcs1(rsa_key());
    let pkcs8 = rsa_key().serialize_pem().replace("\r\n", "\n");
    for (what, text, by_line) in [
        ("PKCS#1", key.clone(), ALWAYS),
        ("CRLF", key.replace('\n', "\r\n"), ALWAYS),
        ("no final newline", key.trim_end().to_owned(), ALWAYS),
        ("PKCS#8", pkcs8, SINCE_23_10),
        ("a blank last line", format!("{key}\n"), NEVER),
        ("text before BEGIN", format!("Bag Attributes\n{key}"), NEVER),
        ("two blocks", format!("{key}{key}"), NEVER),
        ("another key", pkcs1(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()), NEVER),
    ] {
        with_key(&text).check(what, &[], by_line);
    }
}

/// EC and Ed25519 keys with certificates of their own, as PKCS#8 and as SEC1.
#[test]
fn node_keys_are_rsa() {
    let authority = Authority::p256("CA");
    let root = authority.pem();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = authority.sign(&key, |_| ()).pem();
        let der = key.serialize_der();
        let inner = PrivateKeyInfo::try_from(der.as_slice()).unwrap().private_key.to_vec();
        for text in [key.serialize_pem().replace("\r\n", "\n"), unix(&Pem::new("EC PRIVATE KEY", inner))] {
            Files::new(&certificate, &text, &[("ca.crt", &root)]).check("no RSA", &[], NEVER);
        }
    }
}

#[test]
fn encrypted_private_keys() {
    let Some(openssl) = find(Tool::OpenSsl, "encrypted_private_keys") else { return };
    let authority = Authority::p256("CA");
    let certificate = authority.sign(rsa_key(), |_| ()).pem();
    let files = Files::new(&certificate, &pkcs1(rsa_key()), &[("ca.crt", &authority.pem())]);
    let plain = files.path("plain.key");
    fs::copy(files.path("node.key"), &plain).unwrap();
    for cipher in ["aes-128-cbc", "aes-256-cbc"] {
        let made = Command::new(&openssl)
            .args(["pkcs8", "-topk8", "-v2", cipher, "-passout", "pass:secret", "-in"])
            .arg(&plain)
            .arg("-out")
            .arg(files.path("node.key"))
            .status();
        assert!(made.unwrap().success());
        files.check("encrypted without password", &[], NEVER);
        files.check("encrypted", &[("CERTIFICATE_PRIVATE_KEY_PASSWORD", "secret")], SINCE_23_10);
        files.check("wrong password", &[("CERTIFICATE_PRIVATE_KEY_PASSWORD", "wrong")], NEVER);
    }
}

#[test]
fn what_stands_in_the_certificate() {
    let rsa = Authority::new("RSA", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    for (what, authority) in [("EC authority", Authority::p256("CA")), ("RSA authority", rsa)] {
        let now = OffsetDateTime::now_utc();
        let root = authority.pem();
        let check = |what: &str, change: &dyn Fn(&mut CertificateParams), more: &[(&str, &str)], by_line: &str| {
            let certificate = authority.sign(rsa_key(), change).pem();
            Files::new(&certificate, &pkcs1(rsa_key()), &[("ca.crt", &root)]).check(what, more, by_line);
        };
        let reserved = [("CERTIFICATE_RESERVED_NODE_COMMON_NAME", "eventstoredb-node")];
        check(what, &|_| (), &[], ALWAYS);
        check("no SAN", &|params| params.subject_alt_names.clear(), &[], ALWAYS);
        check("other CN", &call_it("other-cn"), &[], ALWAYS);
        check("other CN than is reserved", &call_it("other-cn"), &reserved, "ssxxxxx");
        check("no usages", &|params| params.key_usages.clear(), &[], ALWAYS);
        check("no client", &|params| params.extended_key_usages = vec![Extended::ServerAuth], &[], ALWAYS);
        check("not yet", &|params| params.not_before = now + Duration::hours(1), &[], NEVER);
        check("no more", &|params| params.not_after = now - Duration::hours(1), &[], NEVER);
    }
}

#[test]
fn the_directory_of_roots() {
    let (authority, other) = (Authority::p256("CA"), Authority::p256("Other"));
    let certificate = authority.sign(rsa_key(), |_| ()).pem();
    let (root, foreign) = (authority.pem(), other.pem());
    let (first, last) = (format!("{root}{foreign}"), format!("{foreign}{root}"));
    let key = pkcs1(rsa_key());
    for (what, roots, by_line) in [
        ("nothing", &[][..], NEVER),
        ("upper case", &[("ca.CRT", root.as_str())], NEVER),
        ("two roots", &[("a.crt", &root), ("b.pem", &foreign)], ALWAYS),
        ("only the first of a file counts", &[("ca.crt", &first)], ALWAYS),
        ("a second one does not", &[("ca.crt", &last)], NEVER),
        ("another authority", &[("ca.crt", &foreign)], NEVER),
        ("the node's own certificate beside", &[("ca.crt", &root), ("node.crt", &certificate)], NEVER),
        ("a key beside", &[("ca.crt", &root), ("ca.key", &key)], ALWAYS),
    ] {
        Files::new(&certificate, &key, roots).check(what, &[], by_line);
    }
    let files = Files::new(&certificate, &key, &[("ca.der", "")]);
    fs::write(files.path("ca/ca.der"), authority.der()).unwrap();
    files.check("DER", &[], ALWAYS);
    fs::remove_dir_all(files.path("ca")).unwrap();
    files.check("no directory", &[], NEVER);
    // One symlink for all, as certgen lays it out.
    let linked = Files::new("", "", &[]);
    let good = Files::new(&certificate, &key, &[("ca.crt", &root)]);
    for name in ["node.crt", "node.key"] {
        fs::remove_file(linked.path(name)).unwrap();
    }
    fs::remove_dir(linked.path("ca")).unwrap();
    std::os::unix::fs::symlink(good.directory.path(), linked.path("current")).unwrap();
    for name in ["node.crt", "node.key", "ca"] {
        std::os::unix::fs::symlink(Path::new("current").join(name), linked.path(name)).unwrap();
    }
    linked.check("symlinks", &[], ALWAYS);
}

/// lines §E: a root is needed, but only 22.10 says so; later lines look where the system's are.
#[test]
fn without_the_option_for_roots() {
    let authority = Authority::p256("CA");
    let certificate = authority.sign(rsa_key(), |_| ()).pem();
    let files = Files::new(&certificate, &pkcs1(rsa_key()), &[]);
    for line in Line::value_variants() {
        let at = |name: &str, path: &str| (format!("EVENTSTORE_{name}"), files.path(path).to_str().unwrap().to_owned());
        let environment = [at("CERTIFICATE_FILE", "node.crt"), at("CERTIFICATE_PRIVATE_KEY_FILE", "node.key")];
        let options = Options::read(*line, files.directory.path(), environment);
        assert_eq!(options.is_err(), *line <= Line::V22_10, "{line}");
        if let Ok(options) = options {
            assert!(Identity::load(&options).is_err(), "{line}");
        }
    }
}

type Change = &'static dyn Fn(&mut CertificateParams);

/// Who connects with what is taken for a node: `y`, or `n`; one letter a line, 21.10 first. Own name `eventstoredb-node`.
#[test]
fn whom_a_node_takes_for_a_node() {
    let authority = Authority::p256("CA");
    let root = authority.pem();
    let own = Files::new(&authority.sign(rsa_key(), |_| ()).pem(), &pkcs1(rsa_key()), &[("ca.crt", &root)]);
    let rows: [(&str, Change, &str); 8] = [
        ("a good certificate", &|_| (), "yyyyyyy"),
        ("no client usage", &|params| params.extended_key_usages = vec![Extended::ServerAuth], "yyynnnn"),
        ("no server usage", &|params| params.extended_key_usages = vec![Extended::ClientAuth], "yyynnnn"),
        ("no extended usages at all", &|params| params.extended_key_usages.clear(), "yyyyyyy"),
        ("no usages", &|params| params.key_usages.clear(), "yyynnnn"),
        ("only signatures", &|params| params.key_usages = vec![Usage::DigitalSignature], "yyynnnn"),
        ("no names", &|params| params.subject_alt_names.clear(), "nnnnnnn"),
        ("another CN", &|params| call_it("other-cn")(params), "nnnnnnn"),
    ];
    for (what, change, by_line) in rows {
        let certificate = authority.sign(rsa_key(), change);
        for (line, expected) in Line::value_variants().iter().zip(by_line.chars()) {
            let judged = own.load(*line, &[]).unwrap().judge_node(&CertificateDer::from(certificate.der().to_vec()));
            assert_eq!(judged.is_ok(), expected == 'y', "{what} on {line}: {judged:?}");
        }
    }
    let no_client = authority.sign(rsa_key(), |params| params.extended_key_usages = vec![Extended::ServerAuth]);
    let tolerant = own.load(Line::V26_1, &[("DISABLE_CLIENT_AUTH_EKU_VALIDATION", "true")]).unwrap();
    assert_eq!(tolerant.judge_node(no_client.der()), Ok(()));
}

/// lines §E, contract §4.3: an own name that is not the default, and patterns.
#[test]
fn reserved_names() {
    let authority = Authority::p256("CA");
    let root = authority.pem();
    for (own, reserved, other, by_line) in [
        ("other-cn", None, "other-cn", "nnyyyyy"),
        ("other-cn", Some("other-cn"), "other-cn", "yyyyyyy"),
        ("node-1.a.b", Some("*.a.b"), "node-2.a.b", "nnyyyyy"),
        ("node-1.a.b", Some("*.a.b"), "node-2.c.a.b", "nnnnnnn"),
        ("node-1.a.b", Some("*.a.b"), "a.b", "nnnnnnn"),
    ] {
        let files = Files::new(&authority.sign(rsa_key(), call_it(own)).pem(), &pkcs1(rsa_key()), &[("ca.crt", &root)]);
        let option = reserved.map(|name| ("CERTIFICATE_RESERVED_NODE_COMMON_NAME", name));
        let peer = authority.sign(rsa_key(), call_it(other));
        for (line, expected) in Line::value_variants().iter().zip(by_line.chars()) {
            let identity = files.load(*line, option.as_slice()).unwrap();
            let judged = identity.judge_node(peer.der());
            assert_eq!(judged.is_ok(), expected == 'y', "{own}, {reserved:?}, {other} on {line}: {judged:?}");
        }
    }
    let files =
        Files::new(&authority.sign(rsa_key(), call_it("node-1")).pem(), &pkcs1(rsa_key()), &[("ca.crt", &root)]);
    files.check("`node-*` is no pattern", &[("CERTIFICATE_RESERVED_NODE_COMMON_NAME", "node-*")], "ssxxxxx");
}
