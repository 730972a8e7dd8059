//! Certificates judged by others than the library that made them: OpenSSL, and a TLS handshake with rustls.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::process::Command;

use common::{TwoNodes, openssl};
use tempfile::TempDir;
use testkit::tool::{self, Tool};

fn issued() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certgen"))
        .env_clear()
        .args(["--dns-names", "node-1.test,db.test", "--ip-addresses", "10.0.0.7", "--out"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory
}

#[test]
fn openssl_accepts_the_chain_for_every_purpose_and_name() {
    let Some(program) = tool::find(Tool::OpenSsl, "openssl_accepts_the_chain_for_every_purpose_and_name") else {
        return;
    };
    let directory = issued();
    let run = |arguments: &[&str]| openssl(&program, directory.path(), arguments);
    for check in [
        &["-purpose", "sslserver"][..],
        &["-purpose", "sslclient"],
        &["-verify_hostname", "node-1.test"],
        &["-verify_hostname", "localhost"],
        &["-verify_ip", "127.0.0.1"],
        &["-verify_ip", "10.0.0.7"],
        &["-verify_ip", "::1"],
    ] {
        run(&[&["verify", "-x509_strict", "-CAfile", "ca/ca.crt"], check, &["node.crt"]].concat());
    }
    run(&["rsa", "-in", "node.key", "-check", "-noout"]);
    run(&["verify", "-x509_strict", "-CAfile", "ca/ca.crt", "ca/ca.crt"]);
}

#[test]
fn openssl_reads_the_properties_that_servers_insist_on() {
    let Some(program) = tool::find(Tool::OpenSsl, "openssl_reads_the_properties_that_servers_insist_on") else {
        return;
    };
    let directory = issued();
    let text = openssl(&program, directory.path(), &["x509", "-in", "node.crt", "-noout", "-text"]);
    for property in [
        "Subject: CN = eventstoredb-node",
        "Public-Key: (2048 bit)",
        "Digital Signature, Key Encipherment",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:localhost, DNS:node-1.test, DNS:db.test, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:10.0.0.7",
        "CA:FALSE",
        "Subject Key Identifier",
        "Authority Key Identifier",
    ] {
        assert!(text.contains(property), "no `{property}` in {text}");
    }
    let authority = openssl(&program, directory.path(), &["x509", "-in", "ca/ca.crt", "-noout", "-text"]);
    for property in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "prime256v1"] {
        assert!(authority.contains(property), "no `{property}` in {authority}");
    }
    // Valid for an hour already: a server whose clock is behind must still accept its own certificate.
    let now = openssl(&program, directory.path(), &["x509", "-in", "node.crt", "-noout", "-checkend", "31449600"]);
    assert!(now.contains("will not expire"), "{now}");
}

#[test]
fn the_key_is_one_pkcs1_block_and_nothing_else() {
    let directory = issued();
    let key = std::fs::read_to_string(directory.path().join("node.key")).unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(key.ends_with("-----END RSA PRIVATE KEY-----\n"), "a blank line after the block stops the server");
    assert_eq!(key.matches("-----").count(), 4);
    assert!(!key.contains('\r'));
}

/// As two nodes of a cluster do.
#[test]
fn two_nodes_shake_hands_with_rustls() {
    let directory = issued();
    let nodes = TwoNodes::of(directory.path(), directory.path());
    for name in ["localhost", "node-1.test", "db.test", "127.0.0.1", "10.0.0.7", "::1"] {
        nodes.shake_hands(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(nodes.shake_hands("other.test").is_err(), "a name that is not in the certificate is refused");
}

/// Why `*.db` is refused as a name and `*.x.db` is not.
#[test]
fn openssl_wants_two_labels_after_a_wildcard() {
    let Some(program) = tool::find(Tool::OpenSsl, "openssl_wants_two_labels_after_a_wildcard") else { return };
    let directory = tempfile::tempdir().unwrap();
    let request = "req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -subj /CN=x -addext";
    let request: Vec<_> = request.split(' ').chain(["subjectAltName=DNS:*.db,DNS:*.x.db"]).collect();
    openssl(&program, directory.path(), &request);
    let check = |name| {
        let mut verify = Command::new(&program);
        verify.current_dir(directory.path()).args(["verify", "-CAfile", "certificate", "-verify_hostname", name]);
        verify.arg("certificate").output().unwrap().status.success()
    };
    assert!(check("node-1.x.db") && !check("node-1.db"));
}
