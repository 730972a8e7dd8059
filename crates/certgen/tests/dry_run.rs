//! `--dry-run`: what would be made is said, what would be refused is refused, and nothing is written.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use common::{Ran, Scene};

/// A user that is not root, to whom the permissions of a directory matter.
const NOBODY: u32 = 65534;

#[test]
fn the_commands_say_what_they_would_make_and_write_nothing() {
    let scene = Scene::with_ca();
    let before = scene.state();
    for (line, said) in [
        (
            "create-ca -dry-run -out other",
            &["would make a CA certificate & key\n", "other/ca.crt", "signed by itself"][..],
        ),
        (
            "create-node -dry-run -dns-names a,b -ip-addresses 10.0.0.1",
            &["key of eventstoredb-node for a, b, 10.0.0.1\n", "node1/node1.key", "signed by the given CA"],
        ),
        ("create-user --dry-run -username ann -days 10", &["key of ann\n", "user-ann/user-ann.crt"]),
        ("create-ca -force -dry-run=true", &["ca/ca.key, which is replaced"]),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{line}");
        for text in said {
            assert!(ran.stdout.contains(text), "no `{text}` in {}", ran.stdout);
        }
        assert_eq!(scene.state(), before, "{line}");
    }
    scene.run("create-ca -dry-run").refused(&["nothing was made"]);
    scene.run("create-node -dry-run -out n").refused(&["at least one"]);
}

#[test]
fn a_file_is_rehearsed_with_who_signs_whom() {
    let scene = Scene::new();
    let config = "certificates:\n  node-certs:\n    - { out: n, dns-names: a, ca-certificate: r/ca.crt, ca-key: r/ca.key }\n  \
                  ca-certs:\n    - { out: r }\n";
    let ran = scene.create_certs(config, "-dry-run");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.stdout.matches("would make a").count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("signed by r/ca.crt"), "{}", ran.stdout);
    assert_eq!(scene.files(), ["certs.yml"]);
}

#[test]
fn the_init_container_looks_at_everything_that_it_would_use() {
    let scene = Scene::with_ca();
    for name in ["out", "state"] {
        fs::create_dir(scene.path(name)).unwrap();
    }
    let before = scene.state();
    let ran = |arguments: &str| scene.run(&format!("--out out --dry-run {arguments}"));
    let rehearsed = |ran: Ran, text: &str| {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("would issue a certificate for localhost") && ran.stderr.contains(text),
            "{}",
            ran.stderr
        );
    };
    rehearsed(ran("--ca-state state"), "signed by a new ephemeral CA, kept in state");
    rehearsed(ran("--ca-source files --ca-certificate ca/ca.crt --ca-key ca/ca.key"), "signed by the CA in ca/ca.crt");
    for (arguments, code, error) in [
        ("--ca-source files --ca-certificate ca/ca.crt --ca-key ca/ca.crt", 78, "it holds no private key"),
        ("--ca-source files --ca-certificate ca/ca.crt --ca-key ca/ca.key --validity 3650d", 78, "is valid until"),
        ("--ca-state nowhere", 74, "does not exist"),
    ] {
        let ran = ran(arguments);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(error), "{}", ran.stderr);
    }
    assert_eq!(scene.state(), before);
}

#[test]
fn a_directory_that_could_not_be_written_is_refused() {
    let scene = Scene::new();
    fs::create_dir(scene.path("out")).unwrap();
    fs::set_permissions(scene.path("out"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(scene.path("."), Permissions::from_mode(0o755)).unwrap();
    let mut command = scene.command();
    let is_root = fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let ran = Ran::of(command.args(["--out", "out", "--dry-run"]).output().unwrap());
    assert_eq!(ran.code, Some(77), "{}", ran.stderr);
    assert!(ran.stderr.contains("could not write to `out`"), "{}", ran.stderr);
}
