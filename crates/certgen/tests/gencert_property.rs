//! Whatever plan is accepted, rustls-webpki, OpenSSL, GnuTLS and Go accept its certificates, they say what was planned, and
//! `certgen inspect` reads it in them.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use common::judges::{Chain, Judge};
use common::{Scene, with_parsed};
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tempfile::TempDir;
use x509_parser::extensions::GeneralName;

/// A certificate of a plan below one of the authorities.
#[derive(Clone, Debug)]
struct Leaf {
    /// How many intermediates are between: 0, 1 or 2.
    depth: usize,
    days: Option<u16>,
    common_name: String,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let host = "[a-z][a-z0-9_-]{0,10}[a-z0-9](\\.[a-z]{2,8}){0,3}";
    let odd = "[!-+./-~]{1,20}";
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)).to_canonical()),
    ];
    let name = prop_oneof!["[a-zA-Z0-9 '()+,./:=?-]{1,40}", "[^\\p{C}\\p{Z}/]{1,30}", "[a-z]{64,90}"];
    (
        0_usize..=2,
        proptest::option::of(1_u16..=365),
        name.prop_filter("an empty text means the default", |name| !name.trim().is_empty()),
        vec(prop_oneof![4 => host, 1 => odd].prop_filter("an address", |name| name.parse::<IpAddr>().is_err()), 1..5),
        vec(address, 0..4),
    )
        .prop_map(|(depth, days, common_name, dns, addresses)| Leaf { depth, days, common_name, dns, addresses })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn config(nodes: &[Leaf], users: &[Leaf]) -> String {
    let signer = |depth: usize| format!("ca-certificate: ca{depth}/ca.crt, ca-key: ca{depth}/ca.key");
    let days = |leaf: &Leaf| leaf.days.map(|days| format!(", days: {days}")).unwrap_or_default();
    let mut text = "certificates:\n  node-certs:\n".to_owned();
    for (index, leaf) in nodes.iter().enumerate() {
        let addresses: Vec<_> = leaf.addresses.iter().map(ToString::to_string).collect();
        let (dns, name) = (quoted(&leaf.dns.join(",")), quoted(&leaf.common_name));
        let list =
            if addresses.is_empty() { String::new() } else { format!(", ip-addresses: '{}'", addresses.join(",")) };
        let (signer, days) = (signer(leaf.depth), days(leaf));
        writeln!(text, "  - {{out: n{index}, dns-names: {dns}{list}, common-name: {name}, {signer}{days}}}").unwrap();
    }
    text += "  user-certs:\n";
    for (index, leaf) in users.iter().enumerate() {
        let (signer, days, name) = (signer(leaf.depth), days(leaf), quoted(&leaf.common_name));
        writeln!(text, "  - {{out: u{index}, name: user, username: {name}, {signer}{days}}}").unwrap();
    }
    let below = |depth: usize| format!("  - {{out: ca{}, {}}}\n", depth + 1, signer(depth));
    text + "  ca-certs:\n" + &below(1) + &below(0) + "  - {out: ca0}\n"
}

/// The names of a leaf that every client finds: clients differ on a name that ends with a dot.
fn hosts(leaf: &Leaf) -> impl Iterator<Item = &String> {
    let is_host = |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let hosts = leaf.dns.iter().filter(is_host).filter(|name| !name.ends_with('.'));
    hosts.filter(|name| ServerName::try_from(name.as_str()).is_ok())
}

fn others_accept(scene: &Scene, directory: &str, file: &str, leaf: &Leaf, is_node: bool) {
    static JUDGES: LazyLock<(TempDir, Vec<Judge>)> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let judges = Judge::all("what_is_accepted_is_accepted_by_all_and_says_what_was_planned", directory.path());
        (directory, judges)
    });
    let intermediates: String = (1..=leaf.depth).rev().map(|depth| scene.read(&format!("ca{depth}/ca.crt"))).collect();
    fs::write(scene.path("chain.pem"), intermediates).unwrap();
    let names: Vec<_> = hosts(leaf).cloned().chain(leaf.addresses.iter().map(IpAddr::to_string)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let chain = Chain {
        root: "ca0/ca.crt",
        leaf: &format!("{directory}/{file}.crt"),
        intermediates: "chain.pem",
        is_server: is_node,
        names: if is_node { &names } else { &[] },
    };
    JUDGES.1.iter().for_each(|judge| judge.accepts(&scene.path("."), &chain));
}

/// What `certgen inspect` says of a certificate.
fn is_inspected(report: &Value, directory: &str, file: &str, leaf: &Leaf, is_node: bool) {
    let path = format!("{directory}/{file}.crt");
    let found: Vec<_> =
        report["certificates"].as_array().unwrap().iter().filter(|found| found["file"] == path).collect();
    let [found] = found[..] else { panic!("{path} in {report}") };
    assert_eq!(found["kind"], if is_node { "node" } else { "user" }, "{found}");
    assert_eq!(found["signedBy"]["file"], format!("ca{}/ca.crt", leaf.depth), "{found}");
    assert_eq!(found["signedBy"]["isVerified"], true, "{found}");
    assert_eq!(found["privateKey"], format!("{directory}/{file}.key"), "{found}");
    assert_eq!(found["key"], json!({"name": "RSA", "bits": 2048}), "{found}");
    assert_eq!(found["mode"], "0444", "{found}");
    assert_eq!(found["subject"], format!("CN={}", leaf.common_name), "{found}");
    let (dns, addresses) = if is_node { (json!(leaf.dns), json!(leaf.addresses)) } else { (json!([]), json!([])) };
    assert_eq!((&found["dnsNames"], &found["ipAddresses"]), (&dns, &addresses), "{found}");
    // A day that has begun does not count, but the second of making may still last. A default year may be a leap year.
    let left = found["daysLeft"].as_i64().unwrap();
    let expected = leaf.days.map_or(364..=366, |days| i64::from(days) - 1..=i64::from(days));
    assert!(expected.contains(&left), "{found}");
}

fn check(scene: &Scene, directory: &str, file: &str, leaf: &Leaf, is_node: bool) {
    let read = |name: &str| CertificateDer::from_pem_slice(scene.read(name).as_bytes()).unwrap();
    let end = read(&format!("{directory}/{file}.crt"));
    let chain: Vec<_> = (1..=leaf.depth).rev().map(|depth| read(&format!("ca{depth}/ca.crt"))).collect();
    let mut roots = RootCertStore::empty();
    roots.add(read("ca0/ca.crt")).unwrap();
    let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let key = PrivateKeyDer::from_pem_slice(scene.read(&format!("{directory}/{file}.key")).as_bytes()).unwrap();
    let signing = provider.key_provider.load_private_key(key).unwrap();
    rustls::sign::CertifiedKey::new(vec![end.clone()], signing).keys_match().unwrap();

    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build().unwrap();
    clients.verify_client_cert(&end, &chain, UnixTime::now()).unwrap();
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider).build().unwrap();
    let accepts = |name: ServerName<'_>| servers.verify_server_cert(&end, &chain, &name, &[], UnixTime::now());
    let mut dialled: Vec<ServerName<'_>> = leaf.addresses.iter().map(|address| ServerName::from(*address)).collect();
    dialled.extend(hosts(leaf).filter_map(|name| ServerName::try_from(name.as_str()).ok()));
    for name in dialled {
        assert_eq!(accepts(name.clone()).is_ok(), is_node, "{name:?}: {:?}", accepts(name.clone()));
    }

    with_parsed(&end, |certificate| {
        let subject: Vec<_> = certificate.subject().iter_common_name().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(subject, [leaf.common_name.as_str()]);
        let validity = certificate.validity();
        let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
        match leaf.days {
            Some(expected) => assert_eq!(days, i64::from(expected)),
            None => assert!((365..=366).contains(&days)),
        }
        let names = certificate.subject_alternative_name().unwrap();
        assert_eq!(names.is_some(), is_node);
        let mut found = names.iter().flat_map(|names| names.value.general_names.iter());
        let expected = if is_node { (leaf.dns.as_slice(), leaf.addresses.as_slice()) } else { (&[][..], &[][..]) };
        for dns in expected.0 {
            assert_eq!(found.next(), Some(&GeneralName::DNSName(dns)));
        }
        for address in expected.1 {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert_eq!(found.next(), Some(&GeneralName::IPAddress(&octets)));
        }
        assert_eq!(found.next(), None);
    });
}

proptest! {
    // Each case makes about six RSA keys.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_accepted_by_all_and_says_what_was_planned(
        nodes in vec(leaf(), 1..4),
        users in vec(leaf(), 0..2),
    ) {
        let scene = Scene::new();
        let ran = scene.create_certs(&config(&nodes, &users), "");
        prop_assert_eq!(ran.code, Some(0), "{:?}", ran);
        let inspected = scene.run("inspect --json");
        let report = serde_json::from_str(&inspected.stdout).unwrap();
        let nodes = nodes.iter().enumerate().map(|(index, leaf)| (format!("n{index}"), "node", leaf, true));
        let users = users.iter().enumerate().map(|(index, leaf)| (format!("u{index}"), "user", leaf, false));
        for (directory, file, leaf, is_node) in nodes.chain(users) {
            check(&scene, &directory, file, leaf, is_node);
            is_inspected(&report, &directory, file, leaf, is_node);
            others_accept(&scene, &directory, file, leaf, is_node);
        }
    }
}
