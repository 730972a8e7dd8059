//! What a single node does over time: caches, silences, start and stop.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use testkit::database::Line;
use testkit::node::DatabaseNode;
use testkit::programs::Programs;

use super::wire::{DEFAULT, JSON, Target, builder, ready_of, request, reset_request, wait_until_ready};

/// observed §2: of twelve resets of one user at once, some succeed and some conflict.
#[test]
fn resets_at_the_same_time_conflict() {
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let codes: Vec<_> = std::thread::scope(|scope| {
        let resets: Vec<_> = (0..12)
            .map(|number| {
                let at = &at;
                scope.spawn(move || at.reset(DEFAULT, "ops", &number.to_string()).status)
            })
            .collect();
        resets.into_iter().map(|reset| reset.join().unwrap()).collect()
    });
    assert!(codes.iter().any(|code| code == "200 OK"), "{codes:?}");
    assert!(codes.iter().all(|code| code == "200 OK" || code == "409 Conflict"), "{codes:?}");
}

/// observed §4: the old password is accepted, and the new one refused, until the node has polled the notice. How long that
/// takes is a matter of luck, so it is tried until it takes long enough to be seen.
#[test]
fn the_cache_flips_when_the_node_polls() {
    let node = DatabaseNode::start("node-1.test", 0.5);
    wait_until_ready(&node);
    let at = Target::of(&node);
    let status = |password: &str| at.get("/ping", Some(("ops", password))).code();
    let passwords = ["changeit", "one", "two", "three", "four"];
    let mut stale = 0;
    for pair in passwords.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        assert_eq!(status(old), 200, "the cache is warm");
        assert_eq!(at.reset(DEFAULT, "ops", new).status, "200 OK");
        let changed = Instant::now();
        while status(new) != 200 {
            stale += usize::from(status(old) == 200);
            assert!(changed.elapsed() <= Duration::from_millis(1200), "it polls once in a (scaled) second");
        }
        assert_eq!(status(old), 401);
    }
    assert!(stale > 0, "the cache never lagged");
}

#[test]
fn a_restart_keeps_passwords_and_forgets_caches() {
    let mut node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let status = |password: &str| at.get("/ping", Some(("ops", password))).code();
    assert_eq!(status("changeit"), 200);
    assert_eq!(at.reset(DEFAULT, "ops", "new").status, "200 OK");
    node.restart();
    wait_until_ready(&node);
    assert_eq!((status("new"), status("changeit")), (200, 401));
    let stored = fs::read_to_string(node.certs().parent().unwrap().join("data/standin-users.jsonl")).unwrap();
    assert!(!stored.contains("changeit") && !stored.contains("\"new\""), "passwords are stored as hashes");
}

/// observed §3: no answer, for as long as nobody else calls; then a 408 after a few later requests.
#[test]
fn a_request_that_cannot_be_finished_is_not_answered() {
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let path = "/users/ops/command/reset-password";
    let text = request("POST", path, Some(DEFAULT), &[JSON], Some("{}"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| at.ask(&text));
        std::thread::sleep(Duration::from_millis(800));
        assert!(!waiting.is_finished(), "nothing comes although the (scaled) 10 s are over");
        let mut later = 0;
        while !waiting.is_finished() {
            later += 1;
            assert!(later < 40, "later requests did not bring the 408");
            at.ask(&request("GET", "/ping", None, &[], None));
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
    let node = ready_of(Line::V24_10, &[]);
    let at = Target::of(&node);
    let as_node = |login: Option<(&str, &str)>, path: &str| at.as_node(&request("GET", path, login, &[], None));
    assert_eq!(as_node(None, "/users").status, "200 OK");
    assert_eq!(as_node(None, "/users/$current").status, "404 Not Found");
    assert!(as_node(None, "/admin/login").body.contains("\"loginName\": \"system\""));
    assert_eq!(as_node(Some(("admin", "wrong")), "/users").status, "401 Unauthorized");
    assert_eq!(at.get("/standin/gossip", Some(DEFAULT)).status, "404 Not Found", "not for clients");

    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(vec!["stranger".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder(at.roots()).with_client_auth_cert(vec![stranger.der().clone()], key).unwrap();
    assert_eq!(at.exchange(config, &request("GET", "/ping", None, &[], None)), "");
}

#[test]
fn plain_http_gets_no_byte() {
    let node = ready_of(Line::V24_10, &[]);
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
    let mut config = Target::of(&node).client();
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

/// The statuses of a login, one after another, from listening until it is accepted.
fn first_answers(line: Line, scale: f64) -> Vec<u16> {
    let node = DatabaseNode::start_of(line, "node-1.test", scale, &[]);
    let at = Target::of(&node);
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(node.address()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        let login = at.get("/ping", Some(DEFAULT)).code();
        if seen.last() != Some(&login) {
            seen.push(login);
        }
        assert!(Instant::now() < deadline, "it is not ready: {seen:?}");
    }
    seen
}

/// observed §1: right after it listens, the right password is refused, because the user does not exist yet.
#[test]
fn a_new_database_refuses_the_default_password_at_first() {
    assert_eq!(first_answers(Line::V24_10, 2.0), [401, 200]);
}

/// lines §A, §D.
#[test]
fn on_22_10_logins_are_unavailable_at_first() {
    assert_eq!(first_answers(Line::V22_10, 3.0), [503, 401, 200]);
}

/// observed §5, lines §A, observed-25 §D: how long SIGTERM takes with a request that was never answered. The client
/// does not get an answer, and it does not matter whether it still waits.
#[test]
fn sigterm_takes_its_time_with_an_unanswered_request() {
    let rows =
        [(Line::V22_10, 31.2, true), (Line::V23_10, 6.1, false), (Line::V24_10, 6.1, true), (Line::V25_1, 8.2, false)];
    std::thread::scope(|scope| {
        for (line, seconds, client_waits) in rows {
            scope.spawn(move || stops_late(line, seconds, client_waits));
        }
    });
}

fn stops_late(line: Line, seconds: f64, client_waits: bool) {
    let scale = 0.05;
    let mut node = DatabaseNode::start_of(line, "node-1.test", scale, &[]);
    wait_until_ready(&node);
    let at = Target::of(&node);
    at.wait_for_users();
    let body = request("POST", "/users/ops/command/reset-password", Some(DEFAULT), &[JSON], Some("{}"));
    let client = unanswered(&at, &body);
    let client = client_waits.then_some(client);
    let asked = Instant::now();
    terminate(&node);
    assert_eq!(node.wait_for_end().code(), Some(0));
    let took = asked.elapsed().as_secs_f64() / scale;
    assert!(took >= seconds && took < seconds + 15.0, "{line}: {took} s");
    if let Some(mut client) = client {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert!(!answer.windows(4).any(|bytes| bytes == b"HTTP"), "it gets no answer");
    }
}

/// A connection on which a request waits in vain.
fn unanswered(at: &Target, text: &str) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let socket = TcpStream::connect(at.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(at.client()), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(text.as_bytes()).unwrap();
    let waited = stream.read(&mut [0; 16]).unwrap_err();
    assert!(matches!(waited.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{waited}");
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn terminate(node: &DatabaseNode) {
    kill(Pid::from_raw(i32::try_from(node.process_id()).unwrap()), Signal::SIGTERM).unwrap();
}

#[test]
fn sigterm_ends_it_cleanly() {
    let mut node = ready_of(Line::V24_10, &[]);
    let asked = Instant::now();
    terminate(&node);
    assert_eq!(node.wait_for_end().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
}

/// lines §C: the first poll of the notices is lost, and for 20 s the old password is accepted and the new one is not.
#[test]
fn a_lost_first_poll_delays_all_changes() {
    let node = DatabaseNode::start_of(Line::V22_10, "node-1.test", 0.05, &["--lose-first-poll"]);
    wait_until_ready(&node);
    let started = Instant::now();
    let at = Target::of(&node);
    let status = |password: &str| at.get("/ping", Some(("ops", password))).code();
    at.wait_for_users();
    assert_eq!(status("changeit"), 200);
    assert_eq!(at.reset(DEFAULT, "ops", "new").code(), 200);
    while status("new") != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "the cache never flipped");
    }
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
}

/// observed §1: exit 0 twice on a new directory, never again; whoever starts it again gets it running.
#[test]
fn first_boots_may_end_by_themselves() {
    let mut node = DatabaseNode::start_of(Line::V24_10, "node-1.test", 0.05, &["--first-boot-exits=2"]);
    for _ in 0..2 {
        assert_eq!(node.wait_for_end().code(), Some(0));
        node.restart();
    }
    wait_until_ready(&node);
    node.restart();
    wait_until_ready(&node);
}

/// observed §4, the trap: stored and not announced, and the reply is lost.
#[test]
fn a_lost_reply_leaves_the_cache_on_the_old_password() {
    let mut node = ready_of(Line::V24_10, &["--lose-reset-replies=1"]);
    let at = Target::of(&node);
    let status = |password: &str| at.get("/ping", Some(("ops", password))).code();
    assert_eq!(status("changeit"), 200);
    assert_eq!(at.exchange(at.client(), &reset_request(DEFAULT, "ops", "new")), "", "no reply");
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!((status("changeit"), status("new")), (200, 401), "five polls later");
    node.restart();
    wait_until_ready(&node);
    assert_eq!((status("changeit"), status("new")), (401, 200));
}

/// observed §8, lines §F: the end of a server whose configuration file is missing; and it says what it is before that.
#[test]
fn a_missing_configuration_file() {
    use std::os::unix::process::ExitStatusExt as _;
    for (line, code, signal) in
        [("23.10", Some(1), None), ("24.10", None, Some(6)), ("25", None, Some(6)), ("26", None, Some(6))]
    {
        let output = Command::new(Programs::beside_this_test().standin())
            .env_clear()
            .env("STANDIN_LINE", line)
            .env("EVENTSTORE_CONFIG", "/nowhere/at.all")
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{line}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("stand-in for ") && said.contains("was not found and is not optional"), "{said}");
    }
}

/// observed §6: a server without a writable `/tmp` does not start.
#[test]
fn it_needs_a_writable_tmp() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    let node = ready_of(Line::V24_10, &[]);
    let output = Command::new(Programs::beside_this_test().standin())
        .env_clear()
        .arg("--tmp")
        .arg(scratch.path().join("file"))
        .envs(testkit::node::server_options(node.certs().parent().unwrap(), node.address()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("mkdtemp"));
}

/// contract §4.5; not observed. One port, without TLS; everybody may do everything, and there is nobody who answers for users.
#[test]
fn an_insecure_server_speaks_plain_http_and_has_no_users() {
    let node = DatabaseNode::start_insecure(0.1);
    let get = |path: &str| {
        let mut socket = TcpStream::connect(node.address()).ok()?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).ok()?;
        Some(reply)
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while !get("/health/live").is_some_and(|reply| reply.starts_with("HTTP/1.1 204")) {
        assert!(Instant::now() < deadline, "it is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    let info = get("/info").unwrap();
    assert!(info.contains("\"type\": \"insecure\"") && info.contains("\"state\": \"leader\""), "{info}");
    assert!(get("/stats").unwrap().starts_with("HTTP/1.1 200"), "everybody is system");
    assert!(get("/users/admin").unwrap().starts_with("HTTP/1.1 404"));
    let gossip = get("/gossip").unwrap();
    assert!(gossip.contains("\"internalSecureTcpPort\": 0"), "{gossip}");
}
