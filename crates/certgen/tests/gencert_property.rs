//! Whatever plan is accepted, rustls-webpki accepts its certificates, and they say what was planned.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use common::{Scene, with_parsed};
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
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
    let hosts =
        leaf.dns.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)));
    dialled.extend(hosts.filter_map(|name| ServerName::try_from(name.as_str()).ok()));
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
    fn what_is_accepted_is_accepted_by_webpki_and_says_what_was_planned(
        nodes in vec(leaf(), 1..4),
        users in vec(leaf(), 0..2),
    ) {
        let scene = Scene::new();
        let ran = scene.create_certs(&config(&nodes, &users), "");
        prop_assert_eq!(ran.code, Some(0), "{:?}", ran);
        for (index, leaf) in nodes.iter().enumerate() {
            check(&scene, &format!("n{index}"), "node", leaf, true);
        }
        for (index, leaf) in users.iter().enumerate() {
            check(&scene, &format!("u{index}"), "user", leaf, false);
        }
    }
}
