//! What becomes of a server with good and bad certificates, as processes (observed §7).

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use testkit::database::Line;
use testkit::node::pki::{Authority, call_it, pkcs1, rsa_key};
use testkit::node::{DatabaseCluster, DatabaseNode};
use testkit::programs::Programs;

use super::wire::ready_of;

use Line::{V22_10, V23_10, V24_10, V25_1};

type Change = dyn Fn(&mut CertificateParams);

/// Three members of which each has a certificate that is good but for one thing; `common_name` if it is not the default.
struct Members<'a> {
    line: Line,
    reserved: Option<&'a str>,
    common_name: &'a dyn Fn(usize) -> String,
    change: &'a Change,
    /// Certificates of two authorities, both of which are trusted.
    two_authorities: bool,
}

fn usual(_: usize) -> String {
    "eventstoredb-node".to_owned()
}

fn good(line: Line) -> Members<'static> {
    Members { line, reserved: None, common_name: &usual, change: &|_| (), two_authorities: false }
}

impl Members<'_> {
    fn start(&self) -> DatabaseCluster {
        let mut cluster = DatabaseCluster::prepare(self.line, 3, 0.05);
        let authorities = [Authority::p256("One"), Authority::p256("Two")];
        for node in 0..3 {
            let authority = &authorities[if self.two_authorities { node % 2 } else { 0 }];
            let certificate = authority.sign(rsa_key(), |params| {
                call_it(&(self.common_name)(node))(params);
                params.subject_alt_names = [cluster.name(node), "localhost"]
                    .map(|name| SanType::DnsName(Ia5String::try_from(name).unwrap()))
                    .to_vec();
                (self.change)(params);
            });
            cluster.give_files(node, &certificate.pem(), &pkcs1(rsa_key()), &authorities[0].pem());
            if self.two_authorities {
                fs::write(cluster.path_of(node).join("certs/ca/ca-2.crt"), authorities[1].pem()).unwrap();
            }
        }
        if let Some(reserved) = self.reserved {
            cluster.option("EVENTSTORE_CERTIFICATE_RESERVED_NODE_COMMON_NAME", reserved);
        }
        cluster.start_all();
        cluster
    }

    async fn forms(&self) {
        self.start().wait_until_formed().await;
    }

    /// Every member says why it refuses another or is refused, and none becomes more than a node without a leader, in
    /// three times as long as good ones take.
    async fn never_forms(&self, said: &str) {
        let cluster = self.start();
        let deadline = Instant::now() + Duration::from_secs(20);
        for node in 0..3 {
            while !cluster.log(node).contains(said) {
                assert!(Instant::now() < deadline, "{said:?} is not in {}", cluster.log(node));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            cluster.wait_for_state(node, "unknown").await;
        }
        let end = Instant::now() + Duration::from_millis(600);
        while Instant::now() < end {
            assert_eq!(cluster.states().await, ["unknown"; 3]);
        }
    }
}

fn no_client(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

fn no_usage(params: &mut CertificateParams) {
    params.key_usages.clear();
}

fn no_extended_usage(params: &mut CertificateParams) {
    params.extended_key_usages.clear();
}

fn no_name(params: &mut CertificateParams) {
    params.subject_alt_names.remove(0);
}

fn own_name(node: usize) -> String {
    format!("node-{node}.cluster.test")
}

fn other_name(_: usize) -> String {
    "other-cn".to_owned()
}

#[tokio::test]
async fn usages_of_members() {
    let denied = "was denied because it is not configured as a server certificate: Missing";
    let client = format!("{denied} extended key usage: Client Authentication");
    let signature = format!("{denied} key usage: Digital Signature");
    let refused =
        |change: &'static Change, line, said| async move { Members { change, ..good(line) }.never_forms(said).await };
    tokio::join!(
        refused(&no_client, V24_10, &client),
        refused(&no_client, V25_1, &client),
        refused(&no_usage, V24_10, &signature),
        refused(&no_usage, V25_1, &signature),
    );
    let accepted = |change: &'static Change, line| async move { Members { change, ..good(line) }.forms().await };
    tokio::join!(
        accepted(&no_extended_usage, V24_10),
        accepted(&no_extended_usage, V23_10),
        accepted(&no_client, V23_10),
        accepted(&no_usage, V23_10),
        accepted(&no_client, V22_10),
    );
}

#[tokio::test]
async fn host_names_of_members() {
    let refused = |line| async move {
        Members { change: &no_name, ..good(line) }.never_forms("RemoteCertificateNameMismatch").await;
    };
    tokio::join!(refused(V22_10), refused(V23_10), refused(V24_10), refused(V25_1));
}

#[tokio::test]
async fn common_names_of_members() {
    let own = |line, reserved| Members { common_name: &own_name, reserved, ..good(line) };
    let other = |line, reserved| Members { common_name: &other_name, reserved, ..good(line) };
    let said = "does not match with the reserved node CN: ";
    let (a, b, c, d) = (own(V24_10, None), own(V25_1, None), own(V23_10, None), other(V22_10, None));
    let old = "Failed authorization check for \"(anonymous)\"";
    tokio::join!(a.never_forms(said), b.never_forms(said), c.never_forms(old), d.never_forms(old));
    let (a, b) = (other(V24_10, None), other(V23_10, None));
    let (c, d) = (own(V23_10, Some("*.cluster.test")), other(V22_10, Some("other-cn")));
    tokio::join!(a.forms(), b.forms(), c.forms(), d.forms());
}

#[tokio::test]
async fn authorities_of_members() {
    let (one, two) = (good(V24_10), Members { two_authorities: true, ..good(V24_10) });
    tokio::join!(one.forms(), two.forms());
}

/// observed §7: a server with files it cannot use exits with 1 and says why.
#[test]
fn unusable_certificates_end_it() {
    let node = ready_of(V24_10, &[]);
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
