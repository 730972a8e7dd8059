//! The stand-in against what real servers were seen to do: `observed` is `eventstore-observed.md`, server 24.10.4.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use testkit::node::DatabaseNode;
use testkit::programs::Programs;

const DEFAULT: (&str, &str) = ("admin", "changeit");
const OPS: (&str, &str) = ("ops", "changeit");

fn client_config(node: &DatabaseNode, with_node_certificate: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(node.ca().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    if with_node_certificate {
        let chain = vec![CertificateDer::from_pem_file(node.certs().join("node.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(node.certs().join("node.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    }
}

/// Sends these bytes over TLS and gives all that comes back until the server closes.
fn exchange(node: &DatabaseNode, config: ClientConfig, request: &str) -> String {
    let mut socket = TcpStream::connect(node.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = Stream::new(&mut session, &mut socket);
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    // A server that closes without saying goodbye has said all it will.
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

/// A request as text; header lines are given without line ends.
fn request(method: &str, path: &str, login: Option<(&str, &str)>, headers: &[&str], body: Option<&str>) -> String {
    let mut lines =
        vec![format!("{method} {path} HTTP/1.1"), "Host: localhost".to_owned(), "Connection: close".to_owned()];
    lines.extend(
        login.map(|(user, password)| format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))),
    );
    lines.extend(headers.iter().map(|&header| header.to_owned()));
    lines.extend(body.map(|body| format!("Content-Length: {}", body.len())));
    lines.join("\r\n") + "\r\n\r\n" + body.unwrap_or_default()
}

struct Reply {
    status: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn ask(node: &DatabaseNode, text: &str) -> Reply {
    parse(&exchange(node, client_config(node, false), text))
}

fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP reply: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}

const JSON: &str = "Content-Type: application/json";

fn reset(node: &DatabaseNode, login: (&str, &str), user: &str, new: &str) -> Reply {
    let body = format!("{{\"newPassword\":\"{new}\"}}");
    ask(node, &request("POST", &format!("/users/{user}/command/reset-password"), Some(login), &[JSON], Some(&body)))
}

fn ready(time_scale: f64) -> DatabaseNode {
    let node = DatabaseNode::start("node-1.test", time_scale);
    tokio::runtime::Runtime::new().unwrap().block_on(node.wait_until_ready());
    node
}

/// observed §2, row by row.
#[test]
fn replies_byte_by_byte() {
    let node = ready(0.1);
    let get = |path: &str, login: Option<(&str, &str)>| ask(&node, &request("GET", path, login, &[], None));

    let info = get("/info", None);
    assert_eq!(info.status, "200 OK");
    assert_eq!(
        info.body,
        "{\n  \"esVersion\": \"24.10.4.0\",\n  \"state\": \"leader\",\n  \"features\": {\n    \"projections\": false,\n    \"userManagement\": true,\n    \"atomPub\": false\n  },\n  \"authentication\": {\n    \"type\": \"internal\",\n    \"properties\": []\n  }\n}"
    );
    assert_eq!(
        (info.header("Server"), info.header("Access-Control-Allow-Methods")),
        (Some("Kestrel"), Some("GET, OPTIONS"))
    );
    let ping = get("/ping", None);
    assert_eq!(ping.body, "{\n  \"text\": \"Ping request successfully handled\",\n  \"label\": \"Http\"\n}");
    let gossip = get("/gossip", None);
    assert_eq!(gossip.header("Cache-Control"), Some("max-age=0, no-cache, must-revalidate"));
    assert_eq!(gossip.header("Vary"), Some("Accept"));
    assert!(gossip.body.contains("\"state\": \"Leader\",\n      \"isAlive\": true"), "{}", gossip.body);

    for (path, login, status, challenge) in [
        ("/health/live", Some(("admin", "wrong")), "204 No Content", None),
        ("/health/live?liveCode=200", None, "200 OK", None),
        ("/stats", None, "401 Unauthorized", None),
        ("/metrics", None, "401 Unauthorized", None),
        ("/nowhere", None, "404 Not Found", None),
        ("/info", Some(("admin", "wrong")), "401 Unauthorized", Some("X-Basic realm=\"ESDB\"")),
        ("/info", Some(("nobody", "changeit")), "401 Unauthorized", Some("X-Basic realm=\"ESDB\"")),
        ("/users", None, "401 Unauthorized", None),
        ("/users", Some(OPS), "401 Unauthorized", None),
        ("/users/ops", Some(OPS), "401 Unauthorized", None),
    ] {
        let reply = get(path, login);
        assert_eq!((reply.status.as_str(), reply.body.as_str()), (status, ""), "{path} as {login:?}");
        assert_eq!(reply.header("WWW-Authenticate"), challenge, "{path} as {login:?}");
    }
    let root = get("/", None);
    assert_eq!((root.status.as_str(), root.body.as_str()), ("302 Found", "Moved"));
    assert!(root.header("Location").unwrap().ends_with("/web/index.html"));
    assert_eq!(ask(&node, &request("HEAD", "/ping", None, &[], None)).status, "405 Method Not Allowed");
    assert_eq!(ask(&node, &request("HEAD", "/health/live", None, &[], None)).status, "204 No Content");
    assert_eq!(ask(&node, &request("POST", "/health/live", None, &[], Some(""))).status, "405 Method Not Allowed");
    let wrong_method = get("/users/ops/command/reset-password", Some(DEFAULT));
    assert_eq!(
        (wrong_method.status.as_str(), wrong_method.header("Allow")),
        ("405 Method Not Allowed", Some("OPTIONS, POST"))
    );

    let current = get("/users/$current", Some(OPS));
    assert!(current.body.starts_with("{\n  \"data\": {\n    \"loginName\": \"ops\",\n    \"fullName\": \"Event Store Operations\",\n    \"groups\": [\n      \"$ops\"\n    ],\n    \"dateLastUpdated\": \"20"), "{}", current.body);
    assert!(current.body.ends_with("+00:00\",\n    \"disabled\": false\n  },\n  \"success\": true,\n  \"error\": \"Success\",\n  \"label\": \"Other\"\n}"));
    assert_eq!(current.header("Access-Control-Allow-Methods"), Some("GET, PUT, DELETE, GET, OPTIONS"));
    let nobody = get("/users/nobody", Some(DEFAULT));
    assert_eq!(nobody.status, "404 Not Found");
    assert_eq!(
        nobody.body,
        "{\n  \"data\": null,\n  \"success\": false,\n  \"error\": \"NotFound\",\n  \"label\": \"Other\"\n}"
    );
    assert!(get("/admin/login", Some(DEFAULT)).body.contains("\"fullName\": \"admin\""));
    let no_base64 = ask(&node, &request("GET", "/ping", None, &["Authorization: Basic ***"], None));
    assert_eq!(no_base64.status, "500 Internal Server Error");
}

#[test]
fn what_reset_password_answers() {
    let node = ready(0.1);
    let path = "/users/ops/command/reset-password";
    let forbidden = reset(&node, OPS, "ops", "two");
    assert_eq!((forbidden.status.as_str(), forbidden.header("WWW-Authenticate")), ("401 Unauthorized", None));
    let reply = reset(&node, DEFAULT, "ops", "one");
    assert_eq!(reply.status, "200 OK");
    assert_eq!(
        reply.body,
        "{\n  \"loginName\": \"ops\",\n  \"success\": true,\n  \"error\": \"Success\",\n  \"label\": \"Other\"\n}"
    );
    assert_eq!(reset(&node, DEFAULT, "ops", "one").status, "200 OK", "the same value again");
    let unknown = reset(&node, DEFAULT, "none", "one");
    assert_eq!(unknown.status, "404 Not Found");
    assert!(unknown.body.contains("\"success\": false"));

    // The trap: an answer that looks like success, and nothing is changed.
    for body in ["", "not json", "[]"] {
        let reply = ask(&node, &request("POST", path, Some(DEFAULT), &[JSON], Some(body)));
        assert_eq!(
            (reply.status.as_str(), reply.body.as_str(), reply.header("Content-Length")),
            ("200 OK", "", Some("0")),
            "{body}"
        );
    }
    for headers in [&[][..], &["Content-Type: application/xml"]] {
        let reply = ask(&node, &request("POST", path, Some(DEFAULT), headers, Some("{}")));
        assert_eq!(reply.status, "415 Invalid or missing Content-Type");
    }
    let reply = ask(&node, &request("POST", path, Some(DEFAULT), &[JSON, "Accept: image/png"], Some("{}")));
    assert_eq!(reply.status, "406 Requested URI is not available in requested format");

    let change = |current: &str| {
        let body = format!("{{\"currentPassword\":\"{current}\",\"newPassword\":\"three\"}}");
        ask(&node, &request("POST", "/users/admin/command/change-password", Some(DEFAULT), &[JSON], Some(&body)))
    };
    let wrong = change("wrong");
    assert_eq!(
        (wrong.status.as_str(), wrong.header("WWW-Authenticate")),
        ("401 Unauthorized", Some("BasicCustom realm=\"ES\""))
    );
    assert!(wrong.body.contains("\"error\": \"Unauthorized\""));
    assert_eq!(change("changeit").status, "200 OK");
}

/// observed §2: of twelve resets of one user at once, some succeed and some conflict.
#[test]
fn resets_at_the_same_time_conflict() {
    let node = ready(0.1);
    let codes: Vec<_> = std::thread::scope(|scope| {
        let resets: Vec<_> = (0..12)
            .map(|number| {
                let node = &node;
                scope.spawn(move || reset(node, DEFAULT, "ops", &number.to_string()).status)
            })
            .collect();
        resets.into_iter().map(|reset| reset.join().unwrap()).collect()
    });
    assert!(codes.iter().any(|code| code == "200 OK"), "{codes:?}");
    assert!(codes.iter().all(|code| code == "200 OK" || code == "409 Conflict"), "{codes:?}");
}

#[test]
fn users_come_and_go() {
    let node = ready(0.1);
    let create = |password: &str| {
        let body =
            format!("{{\"loginName\":\"app\",\"fullName\":\"App\",\"groups\":[\"g\"],\"password\":\"{password}\"}}");
        ask(&node, &request("POST", "/users/", Some(DEFAULT), &[JSON], Some(&body)))
    };
    let created = create("a:b");
    assert_eq!(created.status, "201 Created");
    assert!(created.header("Location").unwrap().ends_with("/users/app"));
    assert_eq!(create("a:b").status, "201 Created", "the same again");
    let conflict = create("other");
    assert_eq!(conflict.status, "409 Conflict");
    assert!(conflict.body.contains("\"error\": \"Conflict\""));
    let status = |login: (&str, &str)| ask(&node, &request("GET", "/ping", Some(login), &[], None)).status;
    assert_eq!(status(("app", "a:b")), "200 OK");
    let delete = || ask(&node, &request("DELETE", "/users/app", Some(DEFAULT), &[], None)).status;
    assert_eq!(delete(), "200 OK");
    assert_eq!(delete(), "404 Not Found");
    assert_eq!(create("new").status, "201 Created");
}

/// observed §4: the old password is accepted, and the new one refused, until the node has polled the notice.
#[test]
fn the_cache_flips_when_the_node_polls() {
    let node = ready(0.5);
    let status = |password: &str| ask(&node, &request("GET", "/ping", Some(("ops", password)), &[], None)).status;
    assert_eq!(status("changeit"), "200 OK", "the cache is warm");
    assert_eq!(reset(&node, DEFAULT, "ops", "new").status, "200 OK");
    let changed = Instant::now();
    assert_eq!(status("changeit"), "200 OK", "the cache does not know yet");
    assert_eq!(status("new"), "401 Unauthorized", "and looks at nothing else");
    while status("new") != "200 OK" {
        assert!(changed.elapsed() < Duration::from_secs(5), "the cache never flipped");
    }
    assert!(changed.elapsed() <= Duration::from_millis(1200), "it polls once in a (scaled) second");
    assert_eq!(status("changeit"), "401 Unauthorized");
}

#[test]
fn a_restart_keeps_passwords_and_forgets_caches() {
    let mut node = ready(0.1);
    let status = |node: &DatabaseNode, password: &str| {
        ask(node, &request("GET", "/ping", Some(("ops", password)), &[], None)).status
    };
    assert_eq!(status(&node, "changeit"), "200 OK");
    assert_eq!(reset(&node, DEFAULT, "ops", "new").status, "200 OK");
    node.restart();
    tokio::runtime::Runtime::new().unwrap().block_on(node.wait_until_ready());
    assert_eq!(status(&node, "new"), "200 OK");
    assert_eq!(status(&node, "changeit"), "401 Unauthorized");
    let stored = fs::read_to_string(node.certs().parent().unwrap().join("data/standin-users.jsonl")).unwrap();
    assert!(!stored.contains("changeit") && !stored.contains("\"new\""), "passwords are stored as hashes");
}

/// observed §3: no answer, for as long as nobody else calls; then a 408 after a few later requests.
#[test]
fn a_request_that_cannot_be_finished_is_not_answered() {
    let node = ready(0.1);
    let path = "/users/ops/command/reset-password";
    let text = request("POST", path, Some(DEFAULT), &[JSON], Some("{}"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&node, &text));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!waiting.is_finished(), "nothing comes although the (scaled) 10 s are over");
        let mut later = 0;
        while !waiting.is_finished() {
            later += 1;
            assert!(later < 40, "later requests did not bring the 408");
            ask(&node, &request("GET", "/ping", None, &[], None));
            std::thread::sleep(Duration::from_millis(20));
        }
        let reply = waiting.join().unwrap();
        assert_eq!(
            (reply.status.as_str(), reply.body.as_str()),
            ("408 Server was unable to handle request in time", "")
        );
    });
}

#[test]
fn a_node_certificate_is_system_and_an_unrelated_one_is_not_answered() {
    let node = ready(0.1);
    let as_node = |login: Option<(&str, &str)>, path: &str| {
        let text = request("GET", path, login, &[], None);
        parse(&exchange(&node, client_config(&node, true), &text))
    };
    assert_eq!(as_node(None, "/users").status, "200 OK");
    assert_eq!(as_node(None, "/users/$current").status, "404 Not Found");
    assert!(as_node(None, "/admin/login").body.contains("\"loginName\": \"system\""));
    assert_eq!(as_node(Some(("admin", "wrong")), "/users").status, "401 Unauthorized");

    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(vec!["stranger".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(node.ca().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![stranger.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    assert_eq!(exchange(&node, config, &request("GET", "/ping", None, &[], None)), "");
}

#[test]
fn plain_http_gets_no_byte() {
    let node = ready(0.1);
    let mut socket = TcpStream::connect(node.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(request("GET", "/ping", None, &[], None).as_bytes()).unwrap();
    let mut reply = Vec::new();
    let _ = socket.read_to_end(&mut reply);
    assert!(!String::from_utf8_lossy(&reply).contains("HTTP"), "{reply:?}");
}

#[tokio::test]
async fn http2_is_spoken() {
    let node = DatabaseNode::start("node-1.test", 0.1);
    node.wait_until_ready().await;
    let mut config = client_config(&node, false);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(node.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let url = format!("https://localhost:{}/ping", node.address().port());
    let reply = sender.send_request(http::Request::get(url).body(Full::new(Bytes::new())).unwrap()).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, http::Version::HTTP_2));
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\n  \"text\""));
}

/// observed §1: right after it listens, the right password is refused, because the user does not exist yet.
#[test]
fn a_new_database_refuses_the_default_password_at_first() {
    let node = DatabaseNode::start("node-1.test", 3.0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(node.address()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
    let early = ask(&node, &request("GET", "/ping", Some(DEFAULT), &[], None));
    assert_eq!(
        (early.status.as_str(), early.header("WWW-Authenticate")),
        ("401 Unauthorized", Some("X-Basic realm=\"ESDB\""))
    );
    tokio::runtime::Runtime::new().unwrap().block_on(node.wait_until_ready());
    assert_eq!(ask(&node, &request("GET", "/ping", Some(DEFAULT), &[], None)).status, "200 OK");
}

#[test]
fn sigterm_ends_it_cleanly() {
    let mut node = ready(0.1);
    assert!(Command::new("/bin/kill").arg(node.process_id().to_string()).status().unwrap().success());
    assert_eq!(node.wait_for_end().code(), Some(0));
}

/// observed §7: a server with files it cannot use exits with 1 and says why.
#[test]
fn unusable_certificates_end_it() {
    let node = ready(0.1);
    let certs = node.certs();
    let other = DatabaseNode::start("node-2.test", 0.1);
    let scratch = tempfile::tempdir().unwrap();
    let key = fs::read_to_string(certs.join("node.key")).unwrap();
    let blank_line = scratch.path().join("blank.key");
    fs::write(&blank_line, format!("{key}\n")).unwrap();
    let bag = scratch.path().join("bag.key");
    fs::write(&bag, format!("Bag Attributes\n{key}")).unwrap();
    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let leaf_as_root = scratch.path().join("leaf");
    fs::create_dir(&leaf_as_root).unwrap();
    fs::copy(certs.join("node.crt"), leaf_as_root.join("node.crt")).unwrap();
    let (good_key, good_roots) = (certs.join("node.key"), certs.join("ca"));
    for (key, roots, said) in [
        (&blank_line, &good_roots, "not a valid Base-64 string"),
        (&bag, &good_roots, "not a valid Base-64 string"),
        (&other.certs().join("node.key"), &good_roots, "does not match the public key"),
        (&good_key, &empty, "No trusted root certificate files were loaded"),
        (&good_key, &leaf_as_root, "not self-signed"),
    ] {
        let output = Command::new(Programs::beside_this_test().standin())
            .env_clear()
            .arg("--tmp")
            .arg(scratch.path())
            .env("EVENTSTORE_DB", scratch.path().join("data"))
            .env("EVENTSTORE_CERTIFICATE_FILE", certs.join("node.crt"))
            .env("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE", key)
            .env("EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH", roots)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("not EventStoreDB") && stderr.contains(said), "{stderr}");
    }
}
