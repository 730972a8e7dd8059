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

/// Three members of which each has a certificate that is good but for one thing; `common_name` if it is not the default.
struct Members<'a> {
    line: Line,
    reserved: Option<&'a str>,
    common_name: &'a dyn Fn(usize) -> String,
    change: &'a dyn Fn(&mut CertificateParams),
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

const DENIED_BY_OLD: &str = "Failed authorization check for \"(anonymous)\"";

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
    for line in [V24_10, V25_1] {
        let denied = "was denied because it is not configured as a server certificate: Missing";
        let missing = |what: &str| format!("{denied} {what}");
        let client = missing("extended key usage: Client Authentication");
        Members { change: &no_client, ..good(line) }.never_forms(&client).await;
        Members { change: &no_usage, ..good(line) }.never_forms(&missing("key usage: Digital Signature")).await;
    }
    Members { change: &no_extended_usage, ..good(V24_10) }.forms().await;
    for change in [no_client as fn(&mut CertificateParams), no_usage, no_extended_usage] {
        Members { change: &change, ..good(V23_10) }.forms().await;
    }
    Members { change: &no_client, ..good(V22_10) }.forms().await;
}

#[tokio::test]
async fn host_names_of_members() {
    for line in [V22_10, V23_10, V24_10, V25_1] {
        Members { change: &no_name, ..good(line) }.never_forms("RemoteCertificateNameMismatch").await;
    }
}

#[tokio::test]
async fn common_names_of_members() {
    let reserved = "does not match with the reserved node CN: ";
    for line in [V24_10, V25_1] {
        Members { common_name: &own_name, ..good(line) }.never_forms(reserved).await;
    }
    Members { common_name: &other_name, ..good(V24_10) }.forms().await;
    Members { common_name: &own_name, ..good(V23_10) }.never_forms(DENIED_BY_OLD).await;
    Members { common_name: &other_name, ..good(V23_10) }.forms().await;
    Members { common_name: &own_name, reserved: Some("*.cluster.test"), ..good(V23_10) }.forms().await;
    Members { common_name: &other_name, ..good(V22_10) }.never_forms(DENIED_BY_OLD).await;
    Members { common_name: &other_name, reserved: Some("other-cn"), ..good(V22_10) }.forms().await;
}

#[tokio::test]
async fn authorities_of_members() {
    good(V24_10).forms().await;
    Members { two_authorities: true, ..good(V24_10) }.forms().await;
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
