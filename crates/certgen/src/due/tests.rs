//! Each reason alone, and all of them at once: what was published is changed in memory, the rest is as it should be.

use pkcs8::der::Encode as _;
use time::Duration;

use super::*;
use crate::authority::{Authority, issue_authority};
use crate::issue::issue_node;
use crate::publish::{CURRENT, Generation, publish};

const ROOT: &str = "ca/ca.crt";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

struct Case {
    authority: Authority,
    wanted: Wanted,
    published: Published,
}

impl Case {
    fn new() -> Self {
        let authority = issue_authority(Validity::AUTHORITY, now()).unwrap();
        let validity: Validity = "90d".parse().unwrap();
        let wanted = Wanted {
            names: Names::with_loopback(["node-1.db".parse().unwrap()], ["10.0.0.7".parse().unwrap()]),
            validity,
            key_size: RsaBits::B2048,
            renew_before: RenewBefore::third_of(validity),
            server_line: None,
            owner: Owner::of_process(),
        };
        let node = issue_node(&authority, &wanted.names, validity, wanted.key_size, now()).unwrap();
        let volume = tempfile::tempdir().unwrap();
        let roots = [authority.certificate()];
        let generation = Generation { roots: &roots, certificate: &node.certificate, key: &node.key };
        publish(volume.path(), &generation, None).unwrap();
        let published = Published::read(volume.path()).unwrap();
        Self { authority, wanted, published }
    }

    fn due_at(&self, now: OffsetDateTime) -> Vec<String> {
        let certificate = self.authority.certificate();
        self.due_of(Signer::Known { certificate, roots: &[certificate] }, now)
    }

    fn due(&self) -> Vec<String> {
        self.due_at(now())
    }

    fn due_of(&self, signer: Signer<'_>, now: OffsetDateTime) -> Vec<String> {
        due(&self.published, &self.wanted, signer, now).iter().map(ToString::to_string).collect()
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.published.entries.iter_mut().find(|entry| entry.name == name).unwrap()
    }

    fn replace(&mut self, name: &str, content: &[u8]) {
        self.entry(name).content = Ok(content.to_vec().into());
    }
}

/// These reasons and no others, each told by a part.
#[track_caller]
fn told(reasons: &[String], parts: &[&str]) {
    assert_eq!(reasons.len(), parts.len(), "{reasons:#?}");
    for part in parts {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "no `{part}` in {reasons:#?}");
    }
}

#[test]
fn nothing_is_due_of_what_is_as_wanted_and_everything_of_nothing() {
    let case = Case::new();
    told(&case.due(), &[]);
    told(&case.due_of(Signer::Unkept(CaKeyAlgorithm::P256), now()), &[]);
    let nothing = due(&Published::default(), &case.wanted, Signer::Unkept(CaKeyAlgorithm::P256), now());
    assert_eq!(nothing, [Reason::Nothing]);
    assert_eq!(case.published.names().as_ref(), Some(&case.wanted.names));
    assert_eq!(case.published.validity(), Some(case.wanted.validity));
    assert_eq!(case.published.not_after(), Some(now() + Duration::days(90)));
}

#[test]
fn time_runs_out_at_the_time_to_renew_and_at_the_end() {
    let case = Case::new();
    told(&case.due_at(now() + Duration::days(60) - Duration::SECOND), &[]);
    let renewed = "is valid until 2027-04-15T08:00:00Z and replaced 30d before that";
    told(&case.due_at(now() + Duration::days(60)), &[renewed]);
    told(&case.due_at(now() + Duration::days(90)), &[renewed]);
    told(&case.due_at(now() + Duration::days(91)), &["node.crt: it has expired on 2027-04-15"]);
    told(&case.due_at(now() - Duration::HOUR), &[]);
    // Of a clock that was ahead when it was issued.
    told(
        &case.due_at(now() - Duration::HOUR - Duration::SECOND),
        &["node.crt: it is not valid before", "ca/ca.crt: it is not valid before"],
    );
}

#[test]
fn a_certificate_that_was_asked_for_otherwise_is_told_with_both_sides() {
    let mut case = Case::new();
    case.wanted.names = Names::with_loopback(["node-2.db".parse().unwrap()], ["10.0.0.8".parse().unwrap()]);
    told(&case.due(), &["the certificate lacks node-2.db, 10.0.0.8; has node-1.db, 10.0.0.7"]);
    case.wanted.names = Names::with_loopback(["NODE-1.db".parse().unwrap()], []);
    told(&case.due(), &["the names differ: has 10.0.0.7"]);

    let mut case = Case::new();
    case.wanted.key_size = RsaBits::B3072;
    told(&case.due(), &["the key has 2048 bits instead of 3072"]);

    let mut case = Case::new();
    case.wanted.validity = "100h".parse().unwrap();
    case.wanted.renew_before = RenewBefore::third_of(case.wanted.validity);
    told(&case.due(), &["issued for 90d instead of 100h"]);
}

#[test]
fn files_that_are_missing_unreadable_open_or_of_somebody_else_are_named() {
    for (missing, parts) in [
        ("node.key", &["node.key is missing"][..]),
        ("node.crt", &["node.crt is missing"]),
        (ROOT, &["not as wanted ca/ca.crt", "no root is in it", "none of the roots here signed it"]),
    ] {
        let mut case = Case::new();
        case.published.entries.retain(|entry| entry.name != missing);
        if missing != ROOT {
            case.published.missing.push(missing.to_owned());
        }
        told(&case.due(), parts);
    }
    let mut case = Case::new();
    case.entry("node.key").content = Err("Permission denied".to_owned());
    told(&case.due(), &["node.key cannot be read: Permission denied"]);

    let mut case = Case::new();
    (case.entry("node.key").mode, case.entry("ca").mode, case.entry(ROOT).user) = (0o440, 0o700, 12345);
    let wanted = Owner::of_process();
    case.entry(ROOT).group += 1;
    told(
        &case.due(),
        &[
            "node.key has the mode 0440 instead of 0400",
            "ca has the mode 0700 instead of 0755",
            &format!("ca/ca.crt belongs to 12345 instead of {wanted}"),
        ],
    );
    case.wanted.owner = Owner { user: 12345, group: None };
    let owners = case.due().iter().filter(|reason| reason.contains("belongs to")).count();
    assert_eq!(owners, case.published.entries.len() - 1, "all but the one that is theirs already");
    assert_eq!(case.entry(CURRENT).mode, 0o755);
}

#[test]
fn what_does_not_belong_together_is_told() {
    let (mut case, other) = (Case::new(), Case::new());
    let key = other.published.content(NODE_KEY).unwrap().to_vec();
    case.replace(NODE_KEY, &key);
    told(&case.due(), &["node.key` is the key of another certificate"]);
    case.replace(NODE_KEY, b"no key");
    told(&case.due(), &["node.key is not the key of node.crt"]);

    let mut case = Case::new();
    let root = case.published.content(ROOT).unwrap().to_vec();
    case.replace(NODE_CERTIFICATE, &root);
    told(&case.due(), &["node.crt is not the certificate of a node", "node.key is not the key of node.crt"]);
    case.replace(NODE_CERTIFICATE, b"");
    told(&case.due(), &["node.crt is not the certificate of a node", "node.key is not the key of node.crt"]);
}

#[test]
fn another_authority_and_other_roots_are_told() {
    let case = Case::new();
    let other = issue_authority(Validity::AUTHORITY, now()).unwrap();
    let (own, other) = (case.authority.certificate(), other.certificate());
    let due = |certificate, roots: &[&str]| case.due_of(Signer::Known { certificate, roots }, now());
    told(&due(other, &[other]), &["the trusted roots differ: not as wanted ca/ca.crt", "another authority signed"]);
    // As in the rotation of an authority: trust both, sign with the new one, drop the old one.
    let second = root_files(&[own, other]).nth(1).unwrap().0;
    told(&due(own, &[own, other]), &[&format!("not as wanted ca/{second}")]);
    let mut both = Case::new();
    let entry =
        Entry { name: format!("ca/{second}"), content: Ok(other.as_bytes().to_vec().into()), ..*both.entry(ROOT) };
    both.published.entries.push(entry);
    both.authority = case.authority;
    both.published.entries.iter_mut().filter(|entry| !entry.name.starts_with("ca/ca-")).for_each(|entry| {
        if let Some(found) = case.published.content(&entry.name).filter(|_| !entry.is_directory) {
            entry.content = Ok(found.to_vec().into());
        }
    });
    let own = both.authority.certificate();
    told(&both.due_of(Signer::Known { certificate: own, roots: &[own, other] }, now()), &[]);
    told(&both.due_of(Signer::Known { certificate: own, roots: &[own] }, now()), &[&format!("not wanted ca/{second}")]);
    told(&both.due_of(Signer::Unkept(CaKeyAlgorithm::P256), now()), &[&format!("not wanted ca/{second}")]);
    let elsewhere = Signer::ToBeMade { kept_in: Path::new("/ca-state") };
    told(&both.due_of(elsewhere, now()), &["not kept in /ca-state"]);
}

#[test]
fn an_authority_that_was_not_kept_is_right_if_it_fits() {
    let mut case = Case::new();
    told(&case.due_of(Signer::Unkept(CaKeyAlgorithm::Rsa2048), now()), &["with a rsa2048 key"]);
    let other = Case::new();
    let root = other.published.content(ROOT).unwrap().to_vec();
    case.replace(ROOT, &root);
    told(&case.due_of(Signer::Unkept(CaKeyAlgorithm::P256), now()), &["none of the roots here signed it"]);
}

#[test]
fn what_only_some_lines_refuse_depends_on_the_line() {
    let mut case = Case::new();
    let key = crate::authority::private_keys(case.published.content(NODE_KEY).unwrap()).unwrap().pop().unwrap();
    let pkcs8 = rcgen::KeyPair::try_from(key.contents()).unwrap().serialize_der();
    let info = pkcs8::PrivateKeyInfo::try_from(pkcs8.as_slice());
    // What was read from PKCS#1 is written as PKCS#1: wrap it (RFC 5208 §5).
    assert!(info.is_err(), "this library has changed");
    let algorithm = pkcs8::AlgorithmIdentifierRef {
        oid: pkcs8::ObjectIdentifier::new("1.2.840.113549.1.1.1").unwrap(),
        parameters: Some(pkcs8::der::asn1::AnyRef::NULL),
    };
    let mut wrapped = [0; 4096];
    let info = pkcs8::PrivateKeyInfo::new(algorithm, key.contents());
    let wrapped = info.encode_to_slice(&mut wrapped).unwrap().to_vec();
    case.replace(NODE_KEY, crate::issue::encode(&pem::Pem::new("PRIVATE KEY", wrapped)).as_bytes());
    told(&case.due(), &["servers refuse it (21.10, 22.10): node.key: it is PKCS#8"]);
    case.wanted.server_line = Some(Line::V22_10);
    told(&case.due(), &["servers refuse it (22.10): node.key: it is PKCS#8"]);
    case.wanted.server_line = Some(Line::V24_10);
    told(&case.due(), &[]);
}

#[test]
fn all_reasons_are_told_at_once() {
    let mut case = Case::new();
    case.wanted.names = Names::with_loopback([], []);
    case.wanted.key_size = RsaBits::B4096;
    case.wanted.validity = "80d".parse().unwrap();
    case.entry("node.key").mode = 0o644;
    case.published.missing.push("ca".to_owned());
    let other = issue_authority(Validity::AUTHORITY, now()).unwrap();
    let certificate = other.certificate();
    let reasons = case.due_of(Signer::Known { certificate, roots: &[certificate] }, now() + Duration::days(70));
    told(
        &reasons,
        &[
            "ca is missing",
            "0644",
            "replaced 30d before",
            "names differ",
            "4096",
            "80d",
            "roots differ",
            "another authority",
        ],
    );
}
