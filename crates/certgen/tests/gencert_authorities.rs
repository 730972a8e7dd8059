//! Who may sign: authorities of OpenSSL in every form in use, and every refusal (contract §6.1).
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Scene, ca, node, openssl, with_parsed};
use testkit::tool::{self, Tool};

const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const AUTHORITY: &str =
    "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash";
const NODE: &str = "create-node -dns-names a -out n -force";

/// A working directory with OpenSSL at hand.
struct Others {
    openssl: PathBuf,
    scene: Scene,
}

impl Others {
    /// `None` after noting that `test` cannot run without OpenSSL.
    fn new(test: &str) -> Option<Self> {
        Some(Self { openssl: tool::find(Tool::OpenSsl, test)?, scene: Scene::new() })
    }

    fn openssl(&self, line: &str) -> String {
        openssl(&self.openssl, &self.scene.path("."), &line.split_whitespace().collect::<Vec<_>>())
    }

    /// A self-signed `<name>.crt` with `<name>.key` in PKCS#8.
    fn make(&self, name: &str, key: &str, extensions: &str, validity: &str) {
        self.openssl(&format!("genpkey {key} -out {name}.key"));
        let config = format!("[req]\ndistinguished_name = dn\nstring_mask = default\n[dn]\n[ext]\n{extensions}\n");
        fs::write(self.scene.path(&format!("{name}.cnf")), config).unwrap();
        self.openssl(&format!("req -new -config {name}.cnf -key {name}.key -subj /O=Ours/CN={name} -out {name}.csr"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -signkey {name}.key -extfile {name}.cnf -extensions ext {validity} -out {name}.crt"
        ));
    }

    /// A self-signed `<name>.crt` with `<name>.key` that is valid between two times.
    fn make_dated(&self, name: &str, from: &str, until: &str) {
        self.openssl(&format!("genpkey {P256} -out {name}.key"));
        let config = format!(
            "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n\
             policy = p\nunique_subject = no\n[p]\ncommonName = supplied\n[req]\ndistinguished_name = dn\n[dn]\n[ext]\n{AUTHORITY}\n"
        );
        for (file, content) in [("dated.cnf", config.as_str()), ("index", ""), ("serial", "01")] {
            fs::write(self.scene.path(file), content).unwrap();
        }
        self.openssl(&format!("req -new -config dated.cnf -key {name}.key -subj /CN={name} -out {name}.csr"));
        self.openssl(&format!(
            "ca -batch -config dated.cnf -selfsign -in {name}.csr -keyfile {name}.key -extensions ext -startdate {from} -enddate {until} -out {name}.crt"
        ));
    }

    /// The node is signed by the first certificate of the file, and OpenSSL agrees.
    #[track_caller]
    fn signs(&self, certificate: &str, key: &str, root: &str) {
        self.scene.run(&format!("{NODE} -ca-certificate {certificate} -ca-key {key}")).made(&node("n"));
        self.openssl(&format!("verify -x509_strict -CAfile {root} n/node.crt"));
    }

    #[track_caller]
    fn refused(&self, certificate: &str, key: &str, errors: &[&str]) {
        let before = self.scene.state();
        self.scene.run(&format!("{NODE} -ca-certificate {certificate} -ca-key {key}")).refused(errors);
        assert_eq!(self.scene.state(), before);
    }

    fn write(&self, name: &str, parts: &[&str]) {
        fs::write(self.scene.path(name), parts.concat()).unwrap();
    }
}

#[test]
fn authorities_of_openssl_sign_in_every_form() {
    let Some(others) = Others::new("authorities_of_openssl_sign_in_every_form") else { return };
    others.make("rsa", RSA, AUTHORITY, "-days 3650");
    others.make("ec", P256, AUTHORITY, "-days 3650");
    others.openssl("rsa -traditional -in rsa.key -out pkcs1.key");
    others.openssl("ec -in ec.key -out sec1.key");
    let parameters = others.openssl("ecparam -name prime256v1");
    let [rsa, ec] = ["rsa", "ec"].map(|name| others.scene.read(&format!("{name}.crt")));
    let (rsa_key, sec1) = (others.scene.read("rsa.key"), others.scene.read("sec1.key"));
    others.write("parameters.key", &[&parameters, &sec1]);
    others.write("crlf.crt", &[&rsa.replace('\n', "\r\n")]);
    others.write("text.crt", &["Certificate:\n  of somebody\n", &rsa]);
    others.write("bundle.crt", &[&rsa, &ec]);
    others.write("both.pem", &[&rsa, &rsa_key]);
    for (certificate, key) in [
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "pkcs1.key"),
        ("ec.crt", "ec.key"),
        ("ec.crt", "sec1.key"),
        ("ec.crt", "parameters.key"),
        ("crlf.crt", "rsa.key"),
        ("text.crt", "rsa.key"),
        ("bundle.crt", "rsa.key"),
        ("both.pem", "both.pem"),
    ] {
        println!("{certificate} {key}");
        others.signs(certificate, key, if certificate.starts_with("ec") { "ec.crt" } else { "rsa.crt" });
    }
    // The authority key identifier is the subject key identifier of whoever signs, 20 bytes here.
    let identifier = |name: &str, label: &str| {
        let text = others.openssl(&format!("x509 -in {name} -noout -text"));
        text.split(label).nth(1).unwrap().lines().nth(1).unwrap().trim().to_owned()
    };
    assert_eq!(identifier("n/node.crt", "Authority Key Identifier:"), identifier("rsa.crt", "Subject Key Identifier:"));
}

/// As es-gencert-cli: a signer without an identifier is given the one it would have given itself.
#[test]
fn an_authority_without_key_identifier_signs() {
    let Some(others) = Others::new("an_authority_without_key_identifier_signs") else { return };
    others.make("bare", RSA, "basicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = none", "-days 30");
    others.scene.run(&format!("{NODE} -days 3 -ca-certificate bare.crt -ca-key bare.key")).made(&node("n"));
    others.openssl("verify -CAfile bare.crt n/node.crt");
    let length = with_parsed(&others.scene.der("n/node.crt"), |certificate| {
        let extension = certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(identifier) => Some(identifier),
                _ => None,
            })
            .unwrap();
        extension.key_identifier.as_ref().unwrap().0.len()
    });
    assert_eq!(length, 32);
}

#[test]
fn what_cannot_sign_is_refused_by_its_reason() {
    let Some(others) = Others::new("what_cannot_sign_is_refused_by_its_reason") else { return };
    others.make("ca", P256, AUTHORITY, "-days 3650");
    others.make("other", P256, AUTHORITY, "-days 3650");
    others.make("leaf", P256, "basicConstraints = CA:FALSE", "-days 3650");
    others.make("signless", P256, "basicConstraints = critical, CA:TRUE\nkeyUsage = digitalSignature", "-days 3650");
    others.make("small", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024", AUTHORITY, "-days 3650");
    others.make("odd", P256, AUTHORITY, "-days 3650");
    others.openssl("req -new -config odd.cnf -key odd.key -subj /CN=who? -out odd.csr");
    others.openssl("x509 -req -in odd.csr -signkey odd.key -extfile odd.cnf -extensions ext -days 3650 -out odd.crt");
    others.make_dated("past", "20200101000000Z", "20210101000000Z");
    others.openssl("x509 -in ca.crt -outform DER -out der.crt");
    others.openssl("pkey -in ca.key -outform DER -out der.key");
    others.openssl("pkcs8 -topk8 -in ca.key -passout pass:secret -out encrypted8.key");
    others.make("rsa", RSA, AUTHORITY, "-days 3650");
    others.openssl("rsa -traditional -aes256 -in rsa.key -passout pass:secret -out encrypted1.key");
    others.write("empty.crt", &[]);
    others.write("broken.crt", &[&others.scene.read("ca.crt").replacen("\nMII", "\nMIA", 1)]);
    for (certificate, key, errors) in [
        (
            "no.crt",
            "no.key",
            &["could not read `no.crt`, the certificate of the CA", "could not read `no.key`, the key"][..],
        ),
        (".", "ca.key", &["could not read `.`, the certificate of the CA: Is a directory"]),
        ("empty.crt", "ca.key", &["`empty.crt` cannot be used as a CA: it holds no certificate"]),
        ("broken.crt", "ca.key", &["`broken.crt` cannot be used as a CA: the certificate does not parse"]),
        ("der.crt", "ca.key", &["`der.crt` cannot be used as a CA: it "]),
        ("ca.crt", "der.key", &["`der.key` cannot be used as a CA: it "]),
        ("ca.crt", "ca.crt", &["`ca.crt` cannot be used as a CA: it holds no private key"]),
        ("ca.crt", "encrypted8.key", &["`encrypted8.key` cannot be used as a CA: the private key is encrypted"]),
        ("rsa.crt", "encrypted1.key", &["`encrypted1.key` cannot be used as a CA: the private key is encrypted"]),
        (
            "ca.crt",
            "other.key",
            &["`other.key` cannot be used as a CA: the private key belongs to another certificate"],
        ),
        ("leaf.crt", "leaf.key", &["`leaf.crt` cannot be used as a CA: the certificate is not one of an authority"]),
        (
            "signless.crt",
            "signless.key",
            &["`signless.crt` cannot be used as a CA: the certificate may not sign others"],
        ),
        (
            "small.crt",
            "small.key",
            &["`small.key` cannot be used as a CA: the private key cannot be used; allowed are RSA of 2048"],
        ),
        ("odd.crt", "odd.key", &["`odd.crt` cannot be used as a CA: the certificate's subject has a question mark"]),
        ("past.crt", "past.key", &["the CA in `past.crt` has expired at 2021-01-01T00:00:00Z"]),
    ] {
        println!("{certificate} {key}");
        others.refused(certificate, key, errors);
    }
}

#[test]
fn an_authority_whose_time_will_come_signs_with_a_warning() {
    let Some(others) = Others::new("an_authority_whose_time_will_come_signs_with_a_warning") else { return };
    others.make_dated("future", "20900101000000Z", "21000101000000Z");
    others
        .scene
        .run(&format!("{NODE} -ca-certificate future.crt -ca-key future.key"))
        .made_and_warned("the CA in `future.crt` is not valid before 2090-01-01T00:00:00Z");
}

/// The old tool made chains that nobody accepts.
#[test]
fn a_chain_too_long_to_verify_is_refused_when_it_is_made() {
    let scene = Scene::with_ca();
    let below = |parent: &str, out: &str| {
        scene.run(&format!("create-ca -out {out} -ca-certificate {parent}/ca.crt -ca-key {parent}/ca.key"))
    };
    below("ca", "one").made(&ca("one"));
    below("one", "two").made(&ca("two"));
    below("two", "three").refused(&["its parent allows no further CA below it (path length 0)"]);
    scene.run("create-node -dns-names a -ca-certificate two/ca.crt -ca-key two/ca.key").made(&node("node1"));
    if let Some(program) = tool::find(Tool::OpenSsl, "a_chain_too_long_to_verify_is_refused_when_it_is_made") {
        let line = ["verify", "-x509_strict", "-CAfile", "ca/ca.crt", "-untrusted", "one/ca.crt", "-untrusted"];
        openssl(&program, &scene.path("."), &[&line[..], &["two/ca.crt", "node1/node1.crt"]].concat());
    }
    // The same in one file.
    let entry =
        |out: &str, parent: &str| format!("{{out: {out}, ca-certificate: {parent}/ca.crt, ca-key: {parent}/ca.key}}");
    let entries = [entry("c", "b"), entry("b", "a"), entry("a", "r"), "{out: r}".to_owned()].join(", ");
    let files = scene.files().len() + 1;
    scene
        .create_certs(&format!("certificates: {{ca-certs: [{entries}]}}"), "")
        .refused(&["ca-certs[0]: its parent allows"]);
    assert_eq!(scene.files().len(), files);
}

/// With -force the old tool replaced the root, and its key, by the intermediate.
#[test]
fn an_intermediate_does_not_take_the_place_of_its_parent() {
    let scene = Scene::with_ca();
    let before = scene.state();
    let line = "create-ca -ca-certificate ./ca/ca.crt -ca-key ca/../ca/ca.key";
    for force in ["", " -force"] {
        let ran = scene.run(&format!("{line}{force}"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("would take the place of its own parent, `./ca/ca.crt`"), "{ran:?}");
        assert_eq!(scene.state(), before);
    }
    scene.run(&format!("{line} -name intermediate")).made(&ca("./ca"));
}
