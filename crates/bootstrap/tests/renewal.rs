//! Certificates that are renewed while the server runs, and a rotation of the authority that the sidecars of a cluster carry
//! out, while clients shake hands without a pause.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::config::Credentials;
use bootstrap::aws::loader;
use certgen::ca::{self, Begin, Document, Evidence, Outcome, Phase};
use certgen::{
    CaKeyAlgorithm, CaSource, DnsName, Names, NewAuthority, Plan, Published, RenewBefore, RsaBits, Validity,
};
use common::{DEADLINE, HOST, Place, Scene, Sidecar, deploy};
use serde_json::Value;
use tempfile::TempDir;
use testkit::aws::Aws;
use testkit::consumer;
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::node::{DatabaseCluster, DatabaseNode};
use time::OffsetDateTime;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::sleep;

const POLL: &str = "--poll-interval=500ms";
const SOON: Duration = Duration::from_millis(20);

/// Publishes in `certs` as the init container does.
fn publish(certs: &Path, name: &str, ca: CaSource, validity: &str, document: Option<&Document>) {
    let validity: Validity = validity.parse().unwrap();
    let plan = Plan {
        out: certs.to_owned(),
        guard: None,
        ca,
        names: Names::with_loopback([name.parse::<DnsName>().unwrap()], []),
        validity,
        key_size: RsaBits::B2048,
        renew_before: RenewBefore::third_of(validity),
        server_line: None,
        owner: None,
        ca_key_algorithm: CaKeyAlgorithm::P256,
        task_metadata: None,
        dry_run: false,
    };
    certgen::renew(&plan, document, OffsetDateTime::now_utc()).unwrap();
}

/// A client that opens one connection after the other, each time with the roots that it is given.
struct Client {
    is_over: Arc<AtomicBool>,
    handshakes: JoinHandle<Result<usize, String>>,
}

impl Client {
    fn start<F: Future<Output = String> + Send>(
        address: SocketAddr,
        host: &'static str,
        roots: impl Fn() -> F + Send + 'static,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let handshakes = tokio::spawn(async move {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = consumer::get(address, host, &roots().await, "/info", None).await;
                answer.map_err(|error| format!("after {count} handshakes with {address}: {error}"))?;
                count += 1;
            }
            Ok(count)
        });
        Self { is_over, handshakes }
    }

    async fn finish(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.handshakes.await.unwrap().unwrap()
    }
}

/// A sidecar beside the node of `scene` that wants a certificate for its name for 24 h.
fn sidecar(scene: &Scene, variables: &[(&str, &str)]) -> Sidecar {
    let certs = scene.node.certs();
    let place = Place { name: "node-1", server: scene.node.address(), certs: &certs };
    let wanted = [("CERTGEN_DNS_NAMES", HOST), ("CERTGEN_VALIDITY", "24h")];
    let variables = [&wanted, variables].concat();
    Sidecar::start_with(&place, &scene.endpoint, &scene.service, &[POLL], &variables)
}

/// A node whose certificate is of an authority that its task keeps, and was issued for another time.
async fn scene_that_is_due(arguments: &[&str]) -> (Scene, TempDir, Sidecar) {
    let mut scene = Scene::with(DatabaseNode::start_with(HOST, 0.1, arguments)).await;
    let state = tempfile::tempdir().unwrap();
    let source = CaSource::Ephemeral { state: Some(state.path().to_owned()) };
    publish(&scene.node.certs(), HOST, source, "48h", None);
    scene.node.restart();
    scene.node.wait_until_ready().await;
    let sidecar = sidecar(&scene, &[("CERTGEN_CA_STATE", state.path().to_str().unwrap())]);
    (scene, state, sidecar)
}

fn attribute(aws: &Aws, service: &str, name: &str) -> Vec<String> {
    let instances = aws.cloud_map(|cloud_map| cloud_map.instances(service));
    instances.iter().map(|instance| instance.attributes[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_due_is_replaced_while_clients_connect() {
    let (scene, _state, mut sidecar) = scene_that_is_due(&[]).await;
    let (certs, root) = (scene.node.certs(), scene.node.ca());
    let before = Published::read(&certs).unwrap();
    let key = fs::read(certs.join("node.key")).unwrap();
    let trusted = root.clone();
    let client = Client::start(scene.node.address(), HOST, move || std::future::ready(trusted.clone()));

    block_in_place(|| sidecar.wait_for("registered again"));
    assert!(client.finish().await > 0);
    let after = Published::read(&certs).unwrap();
    assert_eq!(after.names(), before.names());
    assert_ne!(after.fingerprint(), before.fingerprint());
    assert_ne!(fs::read(certs.join("node.key")).unwrap(), key, "a new key");
    assert_eq!(scene.node.ca(), root, "the task keeps its authority");
    assert_eq!(attribute(&scene.aws, &scene.service, "CERTIFICATE_SHA256"), [after.fingerprint().unwrap()]);

    // Two more polls find nothing due.
    let polls = scene.aws.calls().len();
    let deadline = Instant::now() + DEADLINE;
    while scene.aws.calls().len() < polls + 8 {
        assert!(Instant::now() < deadline, "it does not poll");
        sleep(SOON).await;
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(sidecar.log.matches("; due: ").count(), 1, "{}", sidecar.log);
    assert_eq!(Published::read(&certs).unwrap().fingerprint(), after.fingerprint());
}

/// observed §7: the answer is 200 all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_its_old_certificate_is_reported_and_told_again() {
    let (scene, _state, mut sidecar) = scene_that_is_due(&["--fail-reloads=6"]).await;
    let old = Published::read(&scene.node.certs()).unwrap().fingerprint().unwrap();
    block_in_place(|| sidecar.wait_for("ERROR the server keeps its old certificate"));
    assert_eq!(attribute(&scene.aws, &scene.service, "CERTIFICATE_SHA256"), [old], "only what is proven is registered");
    assert_eq!(sidecar.healthcheck(), 0);
    block_in_place(|| sidecar.wait_for("the server serves the new certificate"));
    block_in_place(|| sidecar.wait_for("registered again"));
    let new = Published::read(&scene.node.certs()).unwrap().fingerprint().unwrap();
    assert_eq!(attribute(&scene.aws, &scene.service, "CERTIFICATE_SHA256"), [new]);
}

/// Somebody publishes certificates of another authority, and has the server use them; this sidecar was not told to renew any.
#[tokio::test(flavor = "multi_thread")]
async fn roots_that_others_replace_are_followed_without_being_asked_to_renew() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let mut sidecar = scene.start(&[POLL, "--registration-interval=1s"]);
    block_in_place(|| sidecar.wait_for("registered"));
    let before = (scene.node.ca(), attribute(&scene.aws, &scene.service, "ROOTS_SHA256"));
    publish(&scene.node.certs(), HOST, CaSource::Ephemeral { state: None }, "48h", None);
    let root = scene.node.ca();
    assert_ne!(root, before.0);
    scene.node.restart();
    scene.node.wait_until_ready().await;
    let deadline = Instant::now() + DEADLINE;
    let follows = async || {
        let secret = consumer::read_secret(&scene.endpoint, "es/admin").await.unwrap();
        let registered = attribute(&scene.aws, &scene.service, "ROOTS_SHA256");
        secret["caCertificate"] == root && registered.len() == 1 && registered != before.1
    };
    while !follows().await {
        assert!(Instant::now() < deadline, "the secret or the entry shows the old root");
        sleep(SOON).await;
    }
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
}

/// The new root is in the secrets before the server shows a certificate of it, and the old one until then.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_know_another_authority_before_the_server_shows_it() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let before = scene.node.ca();
    let mut sidecar = sidecar(&scene, &[("CERTGEN_CA_SOURCE", "ephemeral")]);
    block_in_place(|| sidecar.wait_for("registered"));
    let endpoint = scene.endpoint.clone();
    let roots = move || {
        let endpoint = endpoint.clone();
        async move { ca_certificate(&endpoint, "admin").await }
    };
    let client = Client::start(scene.node.address(), HOST, roots);
    block_in_place(|| sidecar.wait_for("another root signed the new certificate"));
    block_in_place(|| sidecar.wait_for("registered again"));
    let after = scene.node.ca();
    assert_ne!(after, before);
    let deadline = Instant::now() + DEADLINE;
    while ca_certificate(&scene.endpoint, "admin").await != after {
        assert!(Instant::now() < deadline, "the old root stays in the secret");
        sleep(SOON).await;
    }
    assert!(client.finish().await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_gone_is_not_made_anew() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let before = Published::read(&scene.node.certs()).unwrap().fingerprint();
    let mut sidecar = sidecar(&scene, &[("CERTGEN_CA_SOURCE", "secret"), ("CERTGEN_CA_SECRET", "es/ca")]);
    block_in_place(|| sidecar.wait_for("the certificate authority cannot be read"));
    assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    assert_eq!(scene.aws.secrets(|secrets| secrets.current("es/ca")), None);
    assert_eq!(Published::read(&scene.node.certs()).unwrap().fingerprint(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_variables_of_the_init_container_are_told_with_all_others() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let variables = [("CERTGEN_VALIDITY", "soon"), ("CERTGEN_CA_SOURCE", "secret"), ("BOOTSTRAP_CLIENT_PORT", "0")];
    let mut sidecar = sidecar(&scene, &variables);
    assert_eq!(sidecar.wait_for_end(), 2, "{}", sidecar.log);
    for mistake in ["CERTGEN_*: --validity: `soon`", "CERTGEN_*: --ca-secret: it is missing", "--client-port: `0`"] {
        assert!(sidecar.log.contains(mistake), "{}", sidecar.log);
    }
}

async fn configuration(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    loader().region(Region::new("eu-west-1")).endpoint_url(endpoint).credentials_provider(credentials).load().await
}

fn authority(configuration: &SdkConfig) -> certgen::aws::Secret {
    certgen::aws::Secret::new(configuration, "es/ca", Duration::from_secs(10))
}

async fn ca_certificate(endpoint: &str, user: &str) -> String {
    let secret: Value = consumer::read_secret(endpoint, &format!("es/{user}")).await.unwrap();
    secret["caCertificate"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_sidecars_carry_out_a_rotation_of_the_authority_without_a_failed_handshake() {
    let aws = Aws::start().await.unwrap();
    let (service, endpoint) = (deploy(&aws), aws.endpoint());
    let configuration = configuration(&endpoint).await;
    let new = NewAuthority { key_algorithm: CaKeyAlgorithm::P256, validity: Validity::AUTHORITY };
    let first = ca::obtain(&authority(&configuration), new, OffsetDateTime::now_utc()).await.unwrap();
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, 0.1);
    for node in 0..cluster.size() {
        aws.give_name(cluster.name(node), cluster.address(node).ip());
        let certs = cluster.path_of(node).join("certs");
        fs::create_dir_all(&certs).unwrap();
        publish(&certs, cluster.name(node), CaSource::Secret { id: "es/ca".to_owned() }, "24h", Some(&first));
    }
    cluster.start_all();
    let dns = DnsServer::start(&aws).await.unwrap();
    let dns = format!("--dns={}", dns.address());
    let members: Vec<_> = (0..3)
        .map(|node| (cluster.name(node).to_owned(), cluster.address(node), cluster.path_of(node).join("certs")))
        .collect();
    let start = |node: usize| {
        let (host, server, certs) = &members[node];
        let place = Place { name: host.split_once('.').unwrap().0, server: *server, certs };
        let variables = [
            ("CERTGEN_CA_SOURCE", "secret"),
            ("CERTGEN_CA_SECRET", "es/ca"),
            ("CERTGEN_DNS_NAMES", host),
            ("CERTGEN_VALIDITY", "24h"),
        ];
        Sidecar::start_with(&place, &endpoint, &service, &["--cluster-size=3", &dns, POLL], &variables)
    };
    let mut sidecars: Vec<_> = (0..3).map(start).collect();
    let leader = cluster.wait_until_formed().await;
    for sidecar in &mut sidecars {
        block_in_place(|| sidecar.wait_for("registered"));
    }
    let clients: Vec<_> = (0..3)
        .map(|node| {
            let endpoint = endpoint.clone();
            // As a consumer that reads its secret before it connects.
            let roots = move || {
                let endpoint = endpoint.clone();
                async move { ca_certificate(&endpoint, "admin").await }
            };
            Client::start(cluster.address(node), "localhost", roots)
        })
        .collect();

    let begun = Begin::Yes(Validity::AUTHORITY);
    let begun = ca::advance(&authority(&configuration), &Evidence::default(), begun, OffsetDateTime::now_utc()).await;
    assert!(matches!(begun.unwrap(), Outcome::Advanced { from: Phase::Steady, .. }));
    let deadline = Instant::now() + DEADLINE;
    // In each phase another sidecar is killed once and started again, the leader's first.
    let mut to_kill =
        vec![(Phase::DropOld, (leader + 2) % 3), (Phase::SignNew, (leader + 1) % 3), (Phase::TrustBoth, leader)];
    let last = loop {
        let document = ca::read(&authority(&configuration)).await.unwrap();
        if document.phase() == Phase::Steady {
            break document;
        }
        if let Some((_, node)) = to_kill.pop_if(|(phase, _)| *phase == document.phase()) {
            sidecars[node].kill();
            sidecars[node] = start(node);
        }
        if Instant::now() > deadline {
            for sidecar in &mut sidecars {
                sidecar.terminate();
                eprintln!("{}", sidecar.log);
            }
            panic!("the rotation stays in {}", document.phase());
        }
        sleep(SOON).await;
    };
    for client in clients {
        assert!(client.finish().await > 0);
    }
    let root = &last.roots()[0].sha256;
    assert_eq!((last.roots().len(), to_kill.len()), (1, 0));
    assert_ne!(*root, first.roots()[0].sha256);
    for user in ["admin", "ops"] {
        assert_eq!(ca_certificate(&endpoint, user).await, last.bundle(), "{user}");
    }
    let all = |name| attribute(&aws, &service, name).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(all("ROOTS_SHA256"), BTreeSet::from([last.roots_fingerprint()]));
    assert_eq!(all("SIGNER_SHA256"), BTreeSet::from([root.clone()]));
    assert_eq!(all("CERTIFICATE_SHA256").len(), 3);
    for mut sidecar in sidecars {
        assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
        assert!(!sidecar.log.contains("ERROR"), "{}", sidecar.log);
    }
}
