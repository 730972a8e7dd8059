//! What is in order and what is not, and the two ways of saying it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::document::{Area, VersionState};
use super::super::guard::LastExit;
use super::*;

type Change = fn(&mut Document);

/// 2026-11-26T00:00:00Z.
const NOW: u64 = 1_795_651_200;

fn document() -> Document {
    let users = [("admin", "es/admin"), ("ops", "es/ops")];
    let mut document = Document::new("node-1", "es.db.internal", users, NOW - DAY);
    "1.2.3".clone_into(&mut document.version);
    document.written = NOW - 40;
    for (user, id) in document.users.iter_mut().zip(["5b9f3a52-0001", "5b9f3a52-0002"]) {
        user.current = Some(VersionState { id: id.to_owned(), created: Some(NOW - 24 * DAY) });
        user.proven = Some(NOW - 150);
    }
    document.registration.turn(Registered::Yes, NOW - DAY);
    document.certificate = Some(CertificateState {
        sha256: "ab".repeat(32),
        not_after: NOW + 300 * DAY,
        validity: Some(365 * DAY),
        roots_sha256: "cd".repeat(32),
        served: true,
    });
    document.authority_phase = Some("steady".to_owned());
    document.protected_until = Some(NOW + 400);
    document.errors = 3;
    document.scavenge = Some(Begun { window: NOW - 21 * HOUR, at: NOW - 20 * HOUR, id: None });
    document.last_error =
        Some(ErrorState { area: Area::Registration, kind: "aws-unavailable".to_owned(), at: NOW - 3 * HOUR });
    document
}

fn guard() -> GuardState {
    let last_exit = Some(LastExit { code: Some(0), signal: None, at: NOW - DAY });
    GuardState {
        state: "running".to_owned(),
        restarts: 2,
        last_exit,
        lock_since: Some(NOW - DAY),
        holder: "a".to_owned(),
        slow_heartbeats: 0,
        last_slow_heartbeat: None,
    }
}

fn healthy() -> Health {
    Health { healthy: true, reason: "the server has been ready".to_owned() }
}

fn in_task(document: Document) -> Status {
    Status::in_task(InTask { document: Ok(document), health: Some(healthy()), guard: Some(Ok(guard())) }, NOW)
}

fn entry(node: &str) -> Entry {
    let attributes = [
        ("AWS_INSTANCE_IPV4", "10.0.0.7"),
        ("AWS_INSTANCE_PORT", "2113"),
        ("TASK_ARN", "arn:aws:ecs:eu-west-1:1:task/x"),
        ("STATE", "READY"),
        ("SINCE_MS", "1795564800123"),
        ("CERTIFICATE_SHA256", "ab"),
        ("ROOTS_SHA256", "cd"),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Entry { node: node.to_owned(), attributes: attributes.into() }
}

fn outside(change: impl FnOnce(&mut OutsideTask)) -> Status {
    let users = document().users.into_iter().map(|user| Ok(UserState { proven: None, ..user })).collect();
    let mut seen = OutsideTask { users, entries: Some(Ok(vec![entry("node-1")])), nodes: None };
    change(&mut seen);
    Status::outside(seen, NOW)
}

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

#[test]
fn the_layout_is_the_documented_one() {
    let (task, aws) = (in_task(document()), outside(|_| ()));
    assert_golden("status-task.json", &task.to_json());
    assert_golden("status-task.txt", &task.to_text(NOW));
    assert_golden("status-aws.json", &aws.to_json());
    assert_golden("status-aws.txt", &aws.to_text(NOW));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/status.md");
    let page = fs::read_to_string(page).unwrap();
    for text in [&task.to_json(), &task.to_text(NOW), &aws.to_text(NOW)] {
        assert!(page.contains(text.as_str()), "docs/status.md does not show\n{text}");
    }
}

#[test]
fn whatever_is_not_in_order_is_found_in_a_task() {
    assert!(in_task(document()).is_in_order(), "{:?}", in_task(document()).findings);
    let cases: [(&str, Change); 11] = [
        ("the secret `es/admin` of `admin` has no current version", |found| found.users[0].current = None),
        ("the password of `ops` is being changed: a version is pending", |found| {
            found.users[1].pending = Some(VersionState { id: "next".to_owned(), created: None });
        }),
        ("the current password of `admin` is not proven yet", |found| found.users[0].proven = None),
        ("the node is not registered", |found| found.registration.turn(Registered::No, NOW)),
        ("the node is not registered", |found| found.registration.state = Registered::Unknown),
        ("another task is registered in the name of the node", |found| {
            found.registration.turn(Registered::AnotherTask, NOW);
        }),
        ("the certificate has expired", |found| found.certificate.as_mut().unwrap().not_after = NOW),
        ("the certificate expires in 47 h and was not renewed", |found| {
            found.certificate.as_mut().unwrap().not_after = NOW + 47 * HOUR;
        }),
        ("the certificate expires in 90 s and was not renewed", |found| {
            let certificate = found.certificate.as_mut().unwrap();
            (certificate.not_after, certificate.validity) = (NOW + 90, Some(HOUR));
        }),
        ("the server presents another certificate than the published one", |found| {
            found.certificate.as_mut().unwrap().served = false;
        }),
        ("no certificate was seen on the volume yet", |found| found.certificate = None),
    ];
    for (finding, change) in cases {
        let mut changed = document();
        change(&mut changed);
        assert_eq!(in_task(changed).findings, [finding]);
    }
    let mut replica = document();
    replica.registration.state = Registered::NotWanted;
    assert_eq!(in_task(replica).findings, [""; 0]);
    let mut insecure = document();
    (insecure.is_secure, insecure.certificate) = (false, None);
    insecure.users.clear();
    assert_eq!(in_task(insecure).findings, [""; 0]);
    let mut young = document();
    let certificate = young.certificate.as_mut().unwrap();
    (certificate.not_after, certificate.validity) = (NOW + 10 * MINUTE, Some(HOUR));
    assert_eq!(in_task(young).findings, [""; 0], "of an hour a twelfth is enough");
}

#[test]
fn files_that_are_missing_or_bad_are_findings() {
    let seen = InTask { document: Err("no status".to_owned()), health: None, guard: Some(Err("no guard".to_owned())) };
    let status = Status::in_task(seen, NOW);
    assert_eq!(status.findings, ["no status", "no guard"]);
    assert_eq!(status.missing, ["the health of the task: give --health-file"]);
    let health = Health { healthy: false, reason: "gone".to_owned() };
    let stopped = GuardState { state: "stopping".to_owned(), ..guard() };
    let seen = InTask { document: Ok(document()), health: Some(health), guard: Some(Ok(stopped)) };
    let status = Status::in_task(seen, NOW);
    assert_eq!(status.findings, ["the task is not healthy: gone", "guard is in the state `stopping`"]);
}

#[test]
fn outside_what_only_the_task_knows_is_missing_and_no_finding() {
    let status = outside(|_| ());
    assert!(status.is_in_order(), "{:?}", status.findings);
    assert_eq!(status.missing.len(), 3);
    assert_eq!(outside(|seen| seen.nodes = Some(3)).findings, ["1 of 3 nodes are registered"]);
    assert_eq!(outside(|seen| seen.entries = Some(Ok(Vec::new()))).findings, ["0 of 1 nodes are registered"]);
    assert_eq!(outside(|seen| seen.entries = Some(Err("denied".to_owned()))).findings, ["denied"]);
    assert_eq!(outside(|seen| seen.users[0] = Err("denied".to_owned())).findings, ["denied"]);
    let without = outside(|seen| seen.entries = None);
    assert!(without.is_in_order() && without.missing.len() == 4);
}

#[test]
fn what_others_wrote_moves_no_cursor() {
    let foreign = Entry {
        node: "x\u{1b}[2J".to_owned(),
        attributes: BTreeMap::from([("STATE".to_owned(), "a\nfinding  none\u{9b}".to_owned())]),
    };
    let text = outside(|seen| seen.entries = Some(Ok(vec![foreign]))).to_text(NOW);
    assert!(!text.chars().any(|letter| letter != '\n' && letter.is_control()), "{text:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("finding")).count(), 0);
}

#[test]
fn lengths_of_time_are_told_in_whole_units() {
    for (seconds, text) in
        [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (2 * DAY, "2 d"), (90 * DAY, "90 d")]
    {
        assert_eq!(Span(seconds).to_string(), text);
    }
}
