//! A cluster of three stand-ins goes through a whole rotation, phase by phase as its evidence allows, while clients that
//! trust what is published and the nodes among each other shake hands without a pause: not one handshake fails.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aws_config::Region;
use aws_sdk_secretsmanager::config::Credentials;
use certgen::aws::{Secret, loader};
use certgen::ca::{
    Begin, Document, Evidence, NodeEvidence, Outcome, Phase, PublishedRoots, advance, obtain, roots_fingerprint,
    signer_fingerprint,
};
use certgen::{Names, NewAuthority, NodeCertificate, RsaBits, Validity, issue_node};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use testkit::aws::Aws;
use testkit::consumer;
use testkit::database::Line;
use testkit::node::DatabaseCluster;
use time::OffsetDateTime;

const NODES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a node has, as it was last told to load it.
#[derive(Clone)]
struct Held {
    roots: String,
    certificate: String,
    key: String,
}

/// One handshake, with a request after it: only the answer shows that the server took the client's certificate. Gives the
/// certificate that was served.
fn ask(
    address: SocketAddr,
    name: &str,
    roots: &str,
    identity: Option<&Held>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store);
    let config = match identity {
        Some(Held { certificate, key, .. }) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    let mut stream = StreamOwned::new(connection, stream);
    write!(stream, "GET /info HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head != *b"HTTP/1.1 200" {
        return Err(format!("answered {}", String::from_utf8_lossy(&head)).into());
    }
    Ok(stream.conn.peer_certificates().ok_or("no certificate")?[0].to_vec())
}

/// What everybody sees of the deployment.
struct Seen {
    addresses: Vec<(SocketAddr, String)>,
    published: Mutex<String>,
    held: Mutex<Vec<Held>>,
    stop: AtomicBool,
    handshakes: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    /// Clients, and every node as a client of every other, until it is told to stop.
    fn keep_asking(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let asker = |work: fn(&Self)| {
            let seen = Arc::clone(self);
            thread::spawn(move || {
                while !seen.stop.load(Ordering::Relaxed) {
                    work(&seen);
                }
            })
        };
        vec![asker(Self::as_client), asker(Self::as_nodes)]
    }

    fn as_client(&self) {
        for (address, name) in &self.addresses {
            let roots = self.published.lock().unwrap().clone();
            self.note("a client", name, ask(*address, name, &roots, None));
        }
    }

    fn as_nodes(&self) {
        for from in 0..NODES {
            for (address, name) in &self.addresses {
                let held = self.held.lock().unwrap()[from].clone();
                self.note(&format!("node {}", from + 1), name, ask(*address, name, &held.roots, Some(&held)));
            }
        }
    }

    fn note(&self, who: &str, whom: &str, outcome: Result<Vec<u8>, Box<dyn std::error::Error>>) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = outcome {
            self.failures.lock().unwrap().push(format!("{who} and {whom}: {error}"));
        }
    }
}

fn issue(document: &Document, name: &str) -> NodeCertificate {
    let now = OffsetDateTime::now_utc();
    let names = Names::with_loopback([name.parse().unwrap()], []);
    let authority = document.authority(now).unwrap();
    issue_node(&authority, &names, "30d".parse().unwrap(), RsaBits::B2048, now).unwrap()
}

/// Writes all that a node of this document has: each root into a file of its own, as servers read them.
fn give(cluster: &DatabaseCluster, node: usize, document: &Document) -> Held {
    let issued = issue(document, cluster.name(node));
    let directory = cluster.path_of(node).join("certs/ca");
    // It is there from the second time on.
    let _ = fs::remove_dir_all(&directory);
    cluster.give_files(node, &issued.certificate, &issued.key, &document.roots()[0].pem);
    for (index, root) in document.roots().iter().enumerate().skip(1) {
        fs::write(directory.join(format!("ca-{index}.crt")), &root.pem).unwrap();
    }
    Held { roots: document.bundle(), certificate: issued.certificate, key: issued.key.to_string() }
}

/// Has a node load what it was given. The answer says nothing, only a new handshake does: certificate and roots are loaded
/// together or not at all, so that the new certificate proves the new roots too.
async fn reload(cluster: &DatabaseCluster, node: usize, seen: &Seen, held: &Held) {
    let (address, name) = &seen.addresses[node];
    let trusted = seen.published.lock().unwrap().clone();
    let post = consumer::post(*address, name, &trusted, "/admin/reloadconfig", ("admin", "changeit"), &Value::Null);
    assert_eq!(post.await.unwrap().as_u16(), 200);
    let wanted = CertificateDer::from_pem_slice(held.certificate.as_bytes()).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while ask(*address, name, &trusted, None).unwrap() != wanted.as_ref() {
        assert!(Instant::now() < deadline, "{name} keeps its certificate: {}", cluster.log(node));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.held.lock().unwrap()[node] = held.clone();
}

fn ders(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// From what nodes serve and secrets publish, and from nothing that the test knows otherwise.
fn evidence(seen: &Seen) -> Evidence {
    let published = seen.published.lock().unwrap().clone();
    let node = |(held, (address, name)): (&Held, &(SocketAddr, String))| {
        let roots = ders(&held.roots);
        let served = ask(*address, name, &published, None).unwrap();
        NodeEvidence {
            name: name.clone(),
            roots_sha256: Some(roots_fingerprint(roots.iter().map(AsRef::as_ref))),
            signer_sha256: signer_fingerprint(&served, roots.iter().map(AsRef::as_ref)),
        }
    };
    let held = seen.held.lock().unwrap().clone();
    let roots = ders(&published);
    let roots_sha256 = Some(roots_fingerprint(roots.iter().map(AsRef::as_ref)));
    Evidence {
        expected_nodes: Some(NODES),
        nodes: Some(held.iter().zip(&seen.addresses).map(node).collect()),
        published: Some(vec![PublishedRoots { secret: "es/admin".to_owned(), roots_sha256 }]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_through_a_rotation_without_a_failed_handshake() {
    let double = Aws::start().await.unwrap();
    double.secrets(|secrets| secrets.create("es/ca", None));
    let credentials = Credentials::new("test", "test", None, None, "test");
    let configuration = loader().region(Region::new("eu-west-1")).endpoint_url(double.endpoint());
    let configuration = configuration.credentials_provider(credentials).load().await;
    let secret = Secret::new(&configuration, "es/ca", Duration::from_mins(2));
    let first = obtain(&secret, NewAuthority::default(), OffsetDateTime::now_utc()).await.unwrap();

    let mut cluster = DatabaseCluster::prepare(Line::V24_10, NODES, 0.05);
    let held: Vec<_> = (0..NODES).map(|node| give(&cluster, node, &first)).collect();
    cluster.start_all();
    cluster.wait_until_formed().await;
    let seen = Arc::new(Seen {
        addresses: (0..NODES).map(|node| (cluster.address(node), cluster.name(node).to_owned())).collect(),
        published: Mutex::new(first.bundle()),
        held: Mutex::new(held),
        stop: AtomicBool::new(false),
        handshakes: AtomicUsize::new(0),
        failures: Mutex::new(Vec::new()),
    });
    let askers = seen.keep_asking();

    let mut phases = vec![first.phase()];
    let mut begin = Begin::Yes(Validity::AUTHORITY);
    let last = loop {
        let outcome = advance(&secret, &evidence(&seen), begin, OffsetDateTime::now_utc()).await.unwrap();
        let Outcome::Advanced { document, .. } = outcome else { panic!("{outcome:?}") };
        phases.push(document.phase());
        if document.phase() == Phase::Steady {
            break document;
        }
        begin = Begin::No;
        for node in 0..NODES {
            // As long as one node is behind, the phase is not over.
            let outcome = advance(&secret, &evidence(&seen), begin, OffsetDateTime::now_utc()).await.unwrap();
            assert!(matches!(outcome, Outcome::Blocked { .. }), "{outcome:?}");
            let held = give(&cluster, node, &document);
            reload(&cluster, node, &seen, &held).await;
        }
        *seen.published.lock().unwrap() = document.bundle();
    };
    seen.stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.join().unwrap();
    }
    assert_eq!(phases, [Phase::Steady, Phase::TrustBoth, Phase::SignNew, Phase::DropOld, Phase::Steady]);
    assert_eq!(*seen.failures.lock().unwrap(), [""; 0]);
    let handshakes = seen.handshakes.load(Ordering::Relaxed);
    assert!(handshakes > 30, "only {handshakes} handshakes");
    eprintln!("{handshakes} handshakes, none failed");

    // The old root is worth nothing any more, and the cluster is still one.
    assert_ne!(last.signing_root(), first.signing_root());
    for (address, name) in &seen.addresses {
        ask(*address, name, &last.bundle(), None).unwrap();
        assert!(ask(*address, name, &first.bundle(), None).is_err());
    }
    cluster.wait_until_formed().await;
    for node in 0..NODES {
        assert!(!cluster.log(node).contains("denied"), "{}", cluster.log(node));
    }
}
