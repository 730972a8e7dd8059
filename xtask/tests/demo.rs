//! The demo as a user runs it: side by side with another, interrupted, and with something broken.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::programs::Programs;

const DEADLINE: Duration = Duration::from_mins(2);

fn demo(programs: &Path, arguments: &[&str]) -> Child {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"));
    demo.args(["demo", "--programs"]).arg(programs).args(arguments).stderr(Stdio::piped()).spawn().unwrap()
}

fn programs() -> std::path::PathBuf {
    Programs::beside_this_test().certgen().parent().unwrap().to_owned()
}

fn end(mut demo: Child) -> (i32, String) {
    let mut said = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (demo.wait().unwrap().code().unwrap(), said)
}

#[test]
fn two_demos_run_side_by_side_and_hide_the_password() {
    let (one, two) = (demo(&programs(), &["--ca", "files"]), demo(&programs(), &["--show-secrets"]));
    let (code, hidden) = end(one);
    assert_eq!(code, 0, "{hidden}");
    let (code, shown) = end(two);
    assert_eq!(code, 0, "{shown}");
    assert!(hidden.contains("connect with  esdb://admin:********@eventstore.db.internal:"), "{hidden}");
    let password = shown.split("esdb://admin:").nth(1).and_then(|rest| rest.split('@').next()).unwrap();
    assert_eq!(password.len(), 40);
    assert!(shown.contains("✓ no entry is left, and each was gone before its database stopped; all ended with 0"));
}

#[test]
fn a_cluster_loses_its_leader_and_gets_it_back_under_another_address() {
    let (code, said) = end(demo(&programs(), &["--nodes", "3"]));
    assert_eq!(code, 0, "{said}");
    // Once for each of the two exits of its first boot.
    assert_eq!(said.matches("node-3 eventstore guard: the server ended itself with code 0").count(), 2, "{said}");
    let resets = said.matches("setting the password in the database").count();
    assert!(resets >= 2, "{said}");
    for proof in [
        "✓ admin logs in on every node with the password from eventstore/admin, and not with changeit",
        "✓ the stored passwords open the nodes that are left, and changeit does not",
        "is registered again",
        "connect with  esdb+discover://admin:********@eventstore.db.internal:",
    ] {
        assert!(said.contains(proof), "no `{proof}` in {said}");
    }
}

#[test]
fn what_does_not_hold_is_named_and_ends_the_demo() {
    let broken = tempfile::tempdir().unwrap();
    for name in ["guard", "bootstrap", "standin"] {
        symlink(programs().join(name), broken.path().join(name)).unwrap();
    }
    let certgen = broken.path().join("certgen");
    fs::write(&certgen, "#!/bin/sh\nexit 74\n").unwrap();
    fs::set_permissions(&certgen, Permissions::from_mode(0o755)).unwrap();
    let (code, said) = end(demo(broken.path(), &[]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the demo failed at the step `start the tasks`: certgen was to end with 0"), "{said}");
}

#[test]
fn an_interrupt_stops_everything() {
    let mut demo = demo(&programs(), &[]);
    let mut lines = BufReader::new(demo.stderr.take().unwrap());
    let volume = wait_for_line(&mut lines, "DB: ").split("DB: ").nth(1).unwrap().trim().to_owned();
    assert!(Command::new("/bin/kill").args(["-INT", &demo.id().to_string()]).status().unwrap().success());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    let deadline = Instant::now() + DEADLINE;
    while processes_with(&volume) > 0 {
        assert!(Instant::now() < deadline, "processes of the demo live on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!Path::new(&volume).exists(), "{volume} is left behind");
}

fn wait_for_line(lines: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no `{text}` in {all}");
        if line.contains(text) {
            return line;
        }
        all += &line;
    }
}

/// Processes in whose environment the demo's directory is named.
fn processes_with(text: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| fs::read(process.path().join("environ")).ok());
    environments.filter(|environment| String::from_utf8_lossy(environment).contains(text)).count()
}
