//! The fault proxy in front of the AWS double, of moto and of a database stand-in.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use testkit::aws::Aws;
use testkit::consumer;
use testkit::moto::Moto;
use testkit::node::DatabaseNode;
use testkit::proxy::{Answer, Fault, FaultProxy, Filter, TlsFiles, Upstream, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// Longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is never answered is not answered in this time either.
const A_WHILE: Duration = Duration::from_millis(200);

struct Front {
    aws: Aws,
    proxy: FaultProxy,
}

impl Front {
    async fn start() -> Self {
        let aws = Aws::start().await.unwrap();
        let proxy = FaultProxy::start(Upstream::endpoint(&aws.endpoint())).await.unwrap();
        Self { aws, proxy }
    }

    async fn create(&self, name: &str) -> Result<Value, String> {
        create(&self.proxy.endpoint(), name).await
    }

    fn exists(&self, name: &str) -> bool {
        self.aws.secrets(|secrets| secrets.current(name).is_some())
    }

    /// How often the double was asked to create a secret.
    fn effects(&self) -> usize {
        self.aws.calls().len()
    }
}

async fn create(endpoint: &str, name: &str) -> Result<Value, String> {
    let input = json!({"Name": name, "ClientRequestToken": Uuid::new_v4().to_string(), "SecretString": "hunter2"});
    consumer::aws(endpoint, "secretsmanager.CreateSecret", &input).await.map_err(|error| error.to_string())
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn creations() -> Filter {
    Filter::operation("CreateSecret")
}

#[tokio::test]
async fn without_a_fault_it_is_not_there() {
    let front = Front::start().await;
    front.create("a").await.unwrap();
    assert!(front.exists("a"));
    let calls = front.proxy.calls();
    let seen = (calls[0].operation.as_deref(), calls[0].subject.as_deref(), calls[0].effects);
    assert_eq!(seen, (Some("CreateSecret"), Some("a"), 1));
    assert_eq!(calls[0].answered.map(|status| status.as_u16()), Some(200));
    assert!(!format!("{calls:?} {:?}", front.proxy).contains("hunter2"));
}

#[tokio::test]
async fn before_and_after_differ_in_the_effect_only() {
    let front = Front::start().await;
    let before = front.proxy.inject(creations(), When::Nth(1), Fault::Before);
    let after = front.proxy.inject(creations(), When::Nth(2), Fault::After);
    assert!(front.create("a").await.is_err());
    assert!(before.was_met() && !after.was_met());
    assert!(!front.exists("a"), "it never got there");
    assert!(front.create("b").await.is_err());
    assert!(after.was_met());
    assert!(front.exists("b"), "only the reply was lost");
    front.create("c").await.unwrap();
    let faults: Vec<_> = front.proxy.calls().into_iter().map(|call| (call.fault, call.effects)).collect();
    assert_eq!(faults, [(Some(Fault::Before), 0), (Some(Fault::After), 1), (None, 1)]);
}

#[tokio::test]
async fn twice_answers_with_the_second_reply() {
    let front = Front::start().await;
    let (name, first) = ("a", Uuid::new_v4().to_string());
    let input = json!({"Name": name, "ClientRequestToken": first});
    front.proxy.inject(creations(), When::Nth(1), Fault::Twice);
    let second = consumer::aws(&front.proxy.endpoint(), "secretsmanager.CreateSecret", &input).await;
    assert!(
        second.unwrap_err().to_string().contains("ResourceExistsException"),
        "an empty secret exists the second time"
    );
    assert_eq!(front.effects(), 2);
}

#[tokio::test]
async fn what_is_not_answered_may_have_had_its_effect() {
    let front = Front::start().await;
    front.proxy.inject(creations(), When::Nth(1), Fault::BlackHole);
    front.proxy.inject(creations(), When::Nth(2), Fault::Unanswered);
    assert!(timeout(A_WHILE, front.create("a")).await.is_err());
    assert!(!front.exists("a"));
    assert!(timeout(A_WHILE, front.create("b")).await.is_err());
    eventually("its effect", || front.exists("b")).await;
}

#[tokio::test]
async fn a_late_request_arrives_although_its_client_has_gone() {
    let front = Front::start().await;
    let delay = A_WHILE * 6;
    front.proxy.inject(creations(), When::Nth(1), Fault::Delay(delay));
    let started = Instant::now();
    assert!(timeout(A_WHILE, front.create("a")).await.is_err());
    assert!(!front.exists("a"));
    front.create("b").await.unwrap();
    assert!(started.elapsed() < delay, "other calls do not wait for it");
    eventually("the late request", || front.exists("a")).await;
}

#[tokio::test]
async fn it_answers_by_itself() {
    let front = Front::start().await;
    let throttled = Fault::Answer(Answer::aws("ThrottlingException", 400));
    front.proxy.inject(Filter::any(), When::From(2), throttled);
    front.create("a").await.unwrap();
    for name in ["b", "c"] {
        assert!(front.create(name).await.unwrap_err().contains("ThrottlingException"));
    }
    front.proxy.heal();
    front.create("d").await.unwrap();
    assert_eq!(front.effects(), 2);
}

#[tokio::test]
async fn a_loop_meets_every_call_once_and_ends() {
    let mut rounds = 0;
    for n in 1.. {
        let front = Front::start().await;
        let injection = front.proxy.inject(creations(), When::Nth(n), Fault::Before);
        let mut failed = 0;
        for name in ["a", "b", "c"] {
            failed += usize::from(front.create(name).await.is_err());
        }
        assert_eq!(failed, usize::from(injection.was_met()));
        if !injection.was_met() {
            break;
        }
        rounds += 1;
    }
    assert_eq!(rounds, 3);
}

#[tokio::test]
async fn hooks_run_before_the_effect_or_after_it() {
    let front = Front::start().await;
    let aws = Arc::new(front.aws);
    for (nth, fault, effects) in [(1, Fault::Before, 0), (2, Fault::After, 1), (3, Fault::Unanswered, 2)] {
        let seen = Arc::new(AtomicUsize::new(usize::MAX));
        let (note, aws) = (Arc::clone(&seen), Arc::clone(&aws));
        let look = move || note.store(aws.calls().len(), Ordering::SeqCst);
        front.proxy.inject_with(creations(), When::Nth(1), fault.clone(), look);
        let _ = timeout(A_WHILE, create(&front.proxy.endpoint(), &format!("test/{nth}"))).await;
        eventually("the hook", || seen.load(Ordering::SeqCst) != usize::MAX).await;
        assert_eq!(seen.load(Ordering::SeqCst), effects, "{fault:?}");
        front.proxy.heal();
    }
}

#[tokio::test]
async fn concurrent_calls_are_counted_one_by_one() {
    let front = Front::start().await;
    let injection = front.proxy.inject(creations(), When::Nth(7), Fault::Before);
    let endpoint = front.proxy.endpoint();
    let calls: Vec<_> = (0..12)
        .map(|number| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { create(&endpoint, &format!("test/{number}")).await.is_ok() })
        })
        .collect();
    let mut succeeded = 0;
    for call in calls {
        succeeded += usize::from(call.await.unwrap());
    }
    assert!(injection.was_met());
    assert_eq!((succeeded, front.effects()), (11, 11));
    let calls = front.proxy.calls();
    let met: Vec<_> = calls.iter().filter(|call| call.fault.is_some()).map(|call| call.number).collect();
    assert_eq!(met, [7]);
}

#[tokio::test]
async fn moto_stands_behind_it_as_well() {
    let Some(moto) = Moto::start("moto_stands_behind_it_as_well") else { return };
    let proxy = FaultProxy::start(Upstream::endpoint(moto.endpoint())).await.unwrap();
    proxy.inject(creations(), When::Nth(1), Fault::After);
    assert!(create(&proxy.endpoint(), "test/a").await.is_err());
    let again = create(&proxy.endpoint(), "test/a").await.unwrap_err();
    assert!(again.contains("ResourceExistsException"), "the first had its effect: {again}");
}

async fn in_front_of(node: &DatabaseNode) -> FaultProxy {
    let files = TlsFiles {
        certificate: node.certs().join("node.crt"),
        key: node.certs().join("node.key"),
        roots: node.certs().join("ca/ca.crt"),
        server_name: "localhost".to_owned(),
    };
    FaultProxy::start(Upstream::Tls(node.address(), files)).await.unwrap()
}

async fn ping(node: &DatabaseNode, address: SocketAddr, login: (&str, &str)) -> Option<u16> {
    let answer = consumer::get(address, "localhost", &node.ca(), "/ping", Some(login)).await;
    answer.ok().map(|(status, _)| status.as_u16())
}

/// The trap of design §6, made by the proxy: the reply is lost, and the password is the new one.
#[tokio::test]
async fn a_database_behind_it_loses_the_reply_to_a_reset() {
    let node = DatabaseNode::start("node-1.db.internal", 0.05);
    node.wait_until_ready().await;
    let proxy = in_front_of(&node).await;
    let path = "/users/ops/command/reset-password";
    let injection = proxy.inject(Filter::request(Method::POST, path), When::Nth(1), Fault::After);
    let default = ("admin", "changeit");
    assert_eq!(ping(&node, proxy.address(), default).await, Some(200));
    let body = json!({"newPassword": "hunter2"});
    let reset = consumer::post(proxy.address(), "localhost", &node.ca(), path, default, &body).await;
    assert!(reset.is_err() && injection.was_met());
    assert_eq!(ping(&node, proxy.address(), ("ops", "hunter2")).await, Some(200));
    let paths: Vec<_> = proxy.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/ping", path, "/ping"]);
}

/// A client that shows the node's certificate is to the server the node, as without the proxy.
#[tokio::test]
async fn a_node_certificate_is_shown_on() {
    let node = DatabaseNode::start("node-1.db.internal", 0.05);
    node.wait_until_ready().await;
    let proxy = in_front_of(&node).await;
    for (with_certificate, expected) in [(true, "HTTP/1.1 200"), (false, "HTTP/1.1 401")] {
        let answer = users(&node, proxy.address(), with_certificate).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
}

/// Asks for the users without a login.
async fn users(node: &DatabaseNode, address: SocketAddr, with_certificate: bool) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(node.ca().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = if with_certificate {
        let chain = vec![CertificateDer::from_pem_file(node.certs().join("node.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(node.certs().join("node.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET /users HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without saying goodbye has said all it will.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// One raw exchange: what the upstream got and what the client got.
async fn raw(request: &'static str, reply: &'static str) -> (String, String) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(Upstream::Plain(upstream.local_addr().unwrap())).await.unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut got = String::new();
        let mut buffer = [0; 4096];
        while !got.ends_with("body") && !got.ends_with("0\r\n\r\n") {
            let length = stream.read(&mut buffer).await.unwrap();
            got.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        stream.write_all(reply.as_bytes()).await.unwrap();
        got
    });
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    (timeout(PATIENCE, server).await.unwrap().unwrap(), answer)
}

#[tokio::test]
async fn bodies_keep_their_framing() {
    let (got, answer) = raw(
        "POST /a HTTP/1.1\r\nhost: db\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-own: 1\r\n\r\nbody",
    )
    .await;
    assert!(got.contains("transfer-encoding: chunked\r\n") && got.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{got}");
    assert!(!got.contains("content-length") && got.contains("host: db\r\n"), "{got}");
    assert!(answer.contains("content-length: 4\r\n") && answer.ends_with("\r\n\r\nbody"), "{answer}");
    assert!(answer.contains("x-own: 1\r\n") && !answer.contains("transfer-encoding"), "{answer}");

    let (got, answer) = raw(
        "POST /a?b HTTP/1.1\r\nhost: db\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    )
    .await;
    assert!(got.starts_with("POST /a?b HTTP/1.1\r\n") && got.ends_with("\r\n\r\nbody"), "{got}");
    assert!(got.contains("content-length: 4\r\n") && !got.contains("transfer-encoding"), "{got}");
    assert!(answer.contains("transfer-encoding: chunked\r\n") && answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(answer.contains("body") && !answer.contains("content-length"), "{answer}");

    let (got, answer) = raw(
        "POST /a HTTP/1.1\r\nhost: db\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    for text in [got, answer] {
        assert!(text.contains("transfer-encoding: chunked\r\n") && text.ends_with("\r\n\r\n0\r\n\r\n"), "{text}");
    }
}
