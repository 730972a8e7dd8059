//! `certgen verify` against live servers: what it tells, with which exit code, and that it never waits for ever.
#![cfg(feature = "verify")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use tempfile::TempDir;
use testkit::node::DatabaseNode;
use testkit::node::pki::{Authority, call_it, pkcs1, rsa_key};
use time::{Duration as Days, OffsetDateTime};

/// Answers every connection with these certificates.
fn serve(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // What becomes of a connection is the client's to tell.
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    address
}

/// A server of an authority's certificate for `node-1.test` and `localhost`, after a change; and the authority's root.
struct Server {
    address: SocketAddr,
    directory: TempDir,
}

impl Server {
    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let authority = Authority::p256("CA");
        let certificate = authority.sign(rsa_key(), |params| {
            let now = OffsetDateTime::now_utc();
            (params.not_before, params.not_after) = (now - Days::hours(1), now + Days::hours(2401));
            change(params);
        });
        let key = PrivateKeyDer::from_pem_slice(pkcs1(rsa_key()).as_bytes()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ca")).unwrap();
        fs::write(directory.path().join("ca/ca.crt"), authority.pem()).unwrap();
        Self { address: serve(vec![certificate.der().clone()], key), directory }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca")
    }

    fn verify(&self, host: &str, more: &[&str]) -> Ran {
        verify(self.address, host, Some(&self.ca()), more)
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn verify(address: SocketAddr, host: &str, ca: Option<&Path>, more: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
    command.env_clear().args(["verify", "--host", host, "--port", &address.port().to_string()]);
    command.args(["--connect", &address.ip().to_string()]).args(more);
    if let Some(ca) = ca {
        command.arg("--ca").arg(ca);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_good_server_is_taken_by_clients_and_nodes() {
    let server = Server::with(|_| ());
    for host in ["node-1.test", "localhost"] {
        let ran = server.verify(host, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert!(ran.stdout.contains("by TLS 1.3") && ran.stdout.contains(&format!("Clients take it for {host}.")));
    }
    let bundle = server.ca().join("ca.crt");
    assert_eq!(verify(server.address, "node-1.test", Some(&bundle), &[]).code, Some(0));
    let json: Value = serde_json::from_str(&server.verify("node-1.test", &["--json"]).stdout).unwrap();
    assert_eq!((&json["refusedByClients"], &json["daysLeft"]), (&Value::Null, &Value::from(100)));
    assert_eq!(json["inspection"]["findings"], serde_json::json!([]));
    assert_eq!(json["inspection"]["certificates"][0]["file"], server.address.to_string());
    assert_eq!(json["isJudgedForClients"], true);
}

#[test]
fn what_clients_or_nodes_refuse_is_told() {
    type Change = fn(&mut CertificateParams);
    let expired: Change = |params| {
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Days::days(9), now - Days::days(2));
    };
    let early: Change = |params| params.not_before = OffsetDateTime::now_utc() + Days::days(1);
    let one_usage: Change = |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let only_client: Change = |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let no_usage: Change = |params| params.key_usages = Vec::new();
    let other_name: Change = |params| call_it("somebody")(params);
    for (change, host, by_clients, code) in [
        (expired, "node-1.test", Some("has expired"), "expired"),
        (early, "node-1.test", Some("is not valid yet"), "not-yet-valid"),
        (|_| (), "other.test", Some("not for this name"), "host-missing"),
        (one_usage, "node-1.test", None, "extended-key-usage"),
        (only_client, "node-1.test", Some("server authentication"), "extended-key-usage"),
        (no_usage, "node-1.test", None, "key-usage"),
        (other_name, "node-1.test", None, "other-common-name"),
    ] as [(Change, _, _, _); 7]
    {
        let ran = Server::with(change).verify(host, &["--json"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        let told = json["refusedByClients"].as_str();
        assert!(
            told.map(str::to_lowercase).as_deref().zip(by_clients).is_some_and(|(told, wanted)| told.contains(wanted))
                || told == by_clients,
            "{told:?} instead of {by_clients:?}"
        );
        let codes: Vec<_> = json["inspection"]["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["code"].as_str().unwrap())
            .collect();
        assert!(codes.contains(&code), "no {code} in {codes:?}");
    }
}

#[test]
fn a_line_that_does_not_mind_is_asked_alone() {
    let server = Server::with(|params| params.key_usages = Vec::new());
    assert_eq!(server.verify("node-1.test", &["--server-line", "23.10"]).code, Some(0));
    assert_eq!(server.verify("node-1.test", &["--server-line", "23.10,24.10"]).code, Some(1));
}

#[test]
fn another_root_is_no_root_and_none_is_not_judged() {
    let (server, other) = (Server::with(|_| ()), Server::with(|_| ()));
    let ran = verify(server.address, "node-1.test", Some(&other.ca()), &[]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.contains("Clients refuse it as node-1.test: none of the given roots signed it"),
        "{}",
        ran.stdout
    );
    let ran = verify(server.address, "node-1.test", None, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("was not judged: --ca gives the roots"), "{}", ran.stdout);
}

#[test]
fn no_handshake_before_the_deadline_is_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let ran = verify(silent.local_addr().unwrap(), "node-1.test", None, &["--timeout", "300ms"]);
    assert_eq!(ran.code, Some(69));
    assert!(ran.stderr.contains("took longer than 0.3 s") && ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_secs(10));

    let nobody = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let ran = verify(nobody, "node-1.test", None, &[]);
    assert!(ran.code == Some(69) && ran.stderr.contains("could not connect to 127.0.0.1:"), "{ran:?}");

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    thread::spawn(move || plain.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let ran = verify(address, "node-1.test", None, &[]);
    assert!(ran.code == Some(69) && ran.stderr.contains("did not shake hands"), "{ran:?}");
}

#[test]
fn a_wrong_command_line_and_roots_that_are_none_are_told() {
    let server = Server::with(|_| ());
    for arguments in [&["--timeout", "10"][..], &["--server-line", "20.6"]] {
        assert_eq!(server.verify("node-1.test", arguments).code, Some(2));
    }
    assert_eq!(server.verify("a b", &[]).code, Some(2));
    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path().to_owned(), empty.path().join("absent")] {
        let ran = verify(server.address, "node-1.test", Some(&path), &[]);
        assert_eq!(ran.code, Some(74));
        assert!(ran.stderr.contains(path.to_str().unwrap()) && ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_database_is_taken() {
    let node = DatabaseNode::start("db.test", 0.05);
    node.wait_until_ready().await;
    let ran = verify(node.address(), "db.test", Some(&node.certs().join("ca")), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
