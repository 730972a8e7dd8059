//! `certgen inspect` as its users meet it: the layouts that certgen makes, exit codes, text, JSON, and that no key is shown.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;

use common::{Ran, Scene, is_root};
use serde_json::Value;

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// What the member `name` of each element is.
fn each<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|element| element[name].as_str().unwrap()).collect()
}

/// A volume of the init container, twice published, and where es-gencert-cli would leave its files.
fn scene() -> Scene {
    let scene = Scene::with_ca();
    for line in ["create-node -dns-names node-1.db -out node1", "create-user -username ann"] {
        assert_eq!(scene.run(line).code, Some(0));
    }
    fs::create_dir(scene.path("volume")).unwrap();
    for validity in ["30d", "365d"] {
        let line = format!("--out volume --dns-names node-1.db --validity {validity}");
        assert_eq!(scene.run(&line).code, Some(0));
    }
    scene
}

#[test]
fn a_volume_of_certgen_is_seen_through_its_links_once() {
    let scene = scene();
    let ran = scene.run("inspect volume --cluster --host node-1.db,localhost --json");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let report = json(&ran);
    assert_eq!(each(&report["certificates"], "file"), ["volume/node.crt", "volume/ca/ca.crt"]);
    assert_eq!(each(&report["certificates"], "kind"), ["node", "root"]);
    assert_eq!(report["certificates"][0]["signedBy"]["file"], "volume/ca/ca.crt");
    assert_eq!(report["certificates"][0]["signedBy"]["isVerified"], true);
    assert_eq!(report["certificates"][0]["privateKey"], "volume/node.key");
    assert_eq!(report["keys"][0]["format"], "PKCS#1");
    assert_eq!(report["keys"][0]["mode"], "0400");
    assert_eq!((&report["findings"], &report["notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let lines: Vec<_> = report["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines, ["21.10", "22.10", "23.10", "24.10", "25", "26"]);
}

#[test]
fn the_layout_of_es_gencert_cli_is_understood() {
    let scene = scene();
    fs::remove_dir_all(scene.path("volume")).unwrap();
    let ran = scene.run("inspect --cluster");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    for part in [
        "ca/ca.crt: root CA\n",
        "node1/node.crt: certificate of a node\n",
        "user-ann/user-ann.crt: certificate of a user\n",
        "(ca/ca.crt, verified)",
        " days left",
        "private key in node1/node.key",
        "ca/ca.key: the private key of the CA lies with the roots",
        "Nothing of this would be refused by a server in a cluster (21.10, 22.10, 23.10, 24.10, 25, 26).\n",
    ] {
        assert!(ran.stdout.contains(part), "no `{part}` in:\n{}", ran.stdout);
    }
}

#[test]
fn exit_codes_are_those_of_the_documentation() {
    let scene = scene();
    let ran = scene.run("inspect volume --host elsewhere.db --line 24.10,25");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let refusal = "Refused by 24.10, 25:\n  volume/node.crt: no subject alternative name stands for `elsewhere.db`\n    clients \
                   refuse the server [contract §4.3]\n";
    assert!(ran.stdout.contains(refusal), "{}", ran.stdout);
    for wrong in ["inspect --line 20.6", "inspect --lines 25", "inspect --host"] {
        let ran = scene.run(wrong);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    }
    let missing = scene.run("inspect nowhere volume");
    assert_eq!(missing.code, Some(74), "{missing:?}");
    assert!(
        missing.stderr.starts_with("error: could not read `nowhere`: ") && missing.stdout.contains("volume/node.crt: ")
    );
    let help = scene.run("inspect --help");
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    fs::create_dir(scene.path("empty")).unwrap();
    let nothing = scene.run("inspect empty");
    assert!(
        nothing.code == Some(1) && nothing.stdout.contains("no certificate and no private key is here"),
        "{nothing:?}"
    );
}

#[test]
fn what_is_no_readable_file_is_told_and_the_rest_too() {
    let scene = scene();
    fs::write(scene.path("volume/large.pem"), vec![b'a'; (1 << 20) + 1]).unwrap();
    symlink("nowhere", scene.path("volume/broken.crt")).unwrap();
    nix::unistd::mkfifo(&scene.path("volume/pipe.key"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ran = scene.run("inspect volume --json");
    assert_eq!(ran.code, Some(74), "{ran:?}");
    let report = json(&ran);
    assert_eq!(each(&report["unreadable"], "file"), ["volume/broken.crt", "volume/large.pem", "volume/pipe.key"]);
    assert_eq!(report["certificates"].as_array().unwrap().len(), 2);
}

#[test]
fn a_key_of_somebody_else_is_unreadable() {
    if !is_root() {
        return;
    }
    let scene = scene();
    let open = |path: &str, mode| fs::set_permissions(scene.path(path), Permissions::from_mode(mode)).unwrap();
    open("", 0o755);
    open("volume", 0o755);
    let mut command = scene.command();
    let ran = Ran::of(command.args(["inspect", "volume"]).uid(65_534).output().unwrap());
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.starts_with("error: could not read `volume/node.key`: Permission denied"), "{ran:?}");
}

#[test]
fn no_key_and_no_part_of_it_is_ever_printed() {
    let scene = scene();
    for path in ["ca/ca.key", "node1/node.key", "volume/node.key"] {
        let key = scene.read(path);
        for line in [format!("inspect {path}"), "inspect".to_owned(), "inspect --json".to_owned()] {
            let ran = scene.run(&line);
            for secret in key.lines().filter(|line| !line.starts_with('-')) {
                assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{line}: a line of {path}");
            }
        }
    }
}

/// Files are judged as they are given: the name of a directory means nothing then.
#[test]
fn single_files_are_a_chain() {
    let scene = scene();
    let ran = scene.run("inspect node1/node.crt ca/ca.crt node1/node.key");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = scene.run("inspect node1/node.crt volume/ca/ca.crt");
    assert!(ran.code == Some(1) && ran.stdout.contains("none of the roots here signed it"), "{ran:?}");
    let ran = scene.run("inspect node1/node.crt");
    assert!(ran.code == Some(0) && ran.stdout.contains("private key not among these files"), "{ran:?}");
}
