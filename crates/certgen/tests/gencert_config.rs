//! `create-certs`: many certificates from one file, all of them or none (contract §5).
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::{Scene, ca, list_of_nodes, node, user, with_parsed};

/// As in es-gencert-cli's documentation, with every field somewhere.
const ALL: &str = r#"
certificates:
  user-certs:
    - username: "ann smith"
      ca-certificate: ./deep/ca.crt
      ca-key: deep/./ca.key
      out: "my users"
  node-certs:
    - out: node-a
      dns-names: "localhost, node-a.test"
      ip-addresses: "127.0.0.1, 10.0.0.1"
      common-name: "my node"
      days: 3
    - name: second
      dns-names: localhost
    - dns-names: localhost
  ca-certs:
    - out: deep
      ca-certificate: ./middle/ca.crt
      ca-key: ./middle/ca.key
    - out: ./middle
      name:
      ca-certificate: ca/ca.crt
      ca-key: ca/ca.key
      days: 10.5
    -
    - {}
"#;

#[test]
fn everything_in_the_file_is_made_whatever_its_order() {
    let scene = Scene::new();
    let expected =
        [ca("deep"), ca("./middle"), ca("./ca"), node("node-a"), node("node1"), node("node2"), user("my users")];
    let ran = scene.create_certs(ALL, "");
    assert_eq!((ran.code, ran.stdout), (Some(0), expected.concat()), "{}", ran.stderr);
    // The intermediate ends before what it signs, which is worth saying.
    let warnings: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|line| line.starts_with("warning: ./certs.yml: line ")), "{warnings:?}");
    let made = "ca/ca.crt ca/ca.key certs.yml deep/ca.crt deep/ca.key middle/ca.crt middle/ca.key my users/user-ann smith.crt \
                my users/user-ann smith.key node-a/node.crt node-a/node.key node1/second.crt node1/second.key \
                node2/node2.crt node2/node2.key";
    assert_eq!(scene.files().join(" "), made);
    let subject = |name: &str| with_parsed(&scene.der(name), |certificate| certificate.subject().to_string());
    let issuer = |name: &str| with_parsed(&scene.der(name), |certificate| certificate.issuer().to_string());
    assert_eq!(subject("node-a/node.crt"), "CN=my node");
    assert_eq!(subject("my users/user-ann smith.crt"), "CN=ann smith");
    for (child, parent) in [
        ("middle/ca.crt", "ca/ca.crt"),
        ("deep/ca.crt", "middle/ca.crt"),
        ("my users/user-ann smith.crt", "deep/ca.crt"),
        ("node2/node2.crt", "ca/ca.crt"),
    ] {
        assert_eq!(issuer(child), subject(parent), "{child}");
    }
    let names = with_parsed(&scene.der("node-a/node.crt"), |certificate| {
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        names.map(ToString::to_string).collect::<Vec<_>>()
    });
    assert_eq!(names.len(), 4, "no field after a space is lost: {names:?}");
}

#[test]
fn a_second_run_refuses_before_it_makes_anything() {
    let scene = Scene::new();
    let config = "certificates: {ca-certs: [{}], node-certs: [{out: n, dns-names: a}], user-certs: [{username: u}]}";
    assert_eq!(scene.create_certs(config, "").code, Some(0));
    let before = scene.state();
    scene.create_certs(config, "").refused(&["`./ca/ca.crt` and", "`n/node.crt` and", "`user-u/user-u.crt` and"]);
    // A CA more does not help: the old tool made it, then failed.
    let more = config.replace("[{}]", "[{out: new}, {}]");
    scene.create_certs(&more, "").refused(&["`./ca/ca.crt`", "`n/node.crt`", "`user-u/user-u.crt`"]);
    fs::write(scene.path("certs.yml"), config).unwrap();
    assert_eq!(scene.state(), before);
    assert_eq!(scene.create_certs(config, "-force").code, Some(0));
    assert_ne!(scene.state(), before);
    assert_eq!(scene.files().len(), before.len());
}

/// An authority that exists may sign what a file lists (1.3.0 wanted -force for that).
#[test]
fn an_existing_ca_signs() {
    let scene = Scene::with_ca();
    scene.create_certs("certificates: {node-certs: [{dns-names: a}, {dns-names: b}]}", "").made(&format!(
        "{}{}",
        node("node1"),
        node("node2")
    ));
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_run_with_its_place() {
    let scene = Scene::new();
    let config = "certificates:\n  ca-certs:\n  - days: -1\n  - {ca-key: k}\n  node-certs:\n  - ip-addresses: 10.0.0.1,x\n    days: '10'\n  - out: [a]\n  user-certs:\n  - {}\n";
    scene.create_certs(config, "").refused(&[
        "./certs.yml: line 6, node-certs[0]: days is the text \"10\"; allowed is a number, without quotes",
        "./certs.yml: line 8, node-certs[1]: out is a list",
        "./certs.yml: line 3, ca-certs[0]: days: `-1` is negative",
        "./certs.yml: line 4, ca-certs[1]: ca-certificate: it is missing",
        "./certs.yml: line 6, node-certs[0]: ip-addresses: `x` is not an IP address",
        "./certs.yml: line 8, node-certs[1]: ip-addresses or -dns-names: at least one",
        "./certs.yml: line 10, user-certs[0]: username: it is missing",
    ]);
    assert_eq!(scene.files(), ["certs.yml"]);
    // What can be known only by looking is told together, too.
    let config = "certificates:\n  ca-certs:\n  - {out: a}\n  - {out: ./a/../a}\n  - {out: b, ca-certificate: b/ca.crt, ca-key: b/ca.key}\n  - {out: c, ca-certificate: d/ca.crt, ca-key: d/ca.key}\n  - {out: d, ca-certificate: c/ca.crt, ca-key: c/ca.key}\n  node-certs:\n  - {dns-names: x, out: n}\n  - {dns-names: x, ca-certificate: a/ca.crt, ca-key: other.key}\n  - {dns-names: x, ca-certificate: n/node.crt, ca-key: n/node.key}\n";
    scene.create_certs(config, "").refused(&[
        "line 4, ca-certs[1]: `./a/../a/ca.crt` is also written by ./certs.yml: line 3, ca-certs[0]",
        "line 5, ca-certs[2]: the intermediate CA would take the place of its own parent, `b/ca.crt`",
        "line 9, node-certs[0]: could not read `./ca/ca.crt`, the certificate of the CA: No such file",
        "line 9, node-certs[0]: could not read `./ca/ca.key`, the key of the CA: No such file",
        "line 10, node-certs[1]: `a/ca.crt` and `other.key` do not belong together",
        "line 11, node-certs[2]: `n/node.crt`, which is made by this request, is not a CA",
        "line 6, ca-certs[3]: it would be signed by itself",
    ]);
    assert_eq!(scene.files(), ["certs.yml"]);
}

/// Where the old tool crashed with 2 (contract §5.5).
#[test]
fn what_is_no_list_of_certificates_is_refused() {
    let scene = Scene::new();
    for (config, error) in [
        ("certificates:\n  ca-certs:\n - out: x\n", "line "),
        ("certificates:\n\tca-certs: []\n", "line "),
        ("just text", "line 1: the document is a single value; allowed is a mapping"),
        ("- a\n- b\n", "the document is a list"),
        ("certificates: {ca-certs: {out: x}}", "ca-certs is a mapping; allowed is a list"),
        ("certificates: {ca-certs: [{days: \"10\"}]}", "days is the text"),
        ("certificates: {ca-certs: [{days: abc}]}", "days: `abc` is not a number of days"),
        ("certificates: {node-certs: [{dns-names: a, ip-addresses: [::1]}]}", "ip-addresses is a list"),
        ("certificates: {ca-certs: [{out: a, out: b}]}", "`out` is there twice"),
        ("certificates: {}\ncertificates: {}", "`certificates` is there twice"),
        ("certificates: {ca-certs: [{force: \"true\"}]}", "force is not a boolean"),
        ("certificates: {ca-certs: [*nothing]}", "line 1"),
    ] {
        scene.create_certs(config, "").refused(&[error]);
        assert_eq!(scene.files(), ["certs.yml"], "{config}");
    }
    fs::write(scene.path("certs.yml"), b"\xff\xfea\0").unwrap();
    scene.run("create-certs").refused(&["./certs.yml: it is not UTF-8 text"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let scene = Scene::new();
    scene.run("create-certs").refused(&["could not read `./certs.yml`, the list of certificates: No such file"]);
    scene.run("create-certs -config-file .").refused(&["could not read `.`, the list of certificates: Is a directory"]);
    scene.run("create-certs -config-file=").refused(&["could not read ``"]);
    scene
        .run("create-certs -out x")
        .refused(&["-out: create-certs has no such flag; its flags are -config-file, -dry-run, -force"]);
}

#[test]
fn what_is_ignored_is_said_and_the_rest_is_made() {
    for (config, warning, files) in [
        ("", "lists no certificate: there is nothing to do", 1),
        ("certificates:\n", "lists no certificate", 1),
        ("certificates: {ca-certs: [{force: true, out: o}]}", "force in a file has no effect", 3),
        ("certificates: {ca-certs: [{out: o, colour: red}]}", "`colour` is ignored", 3),
        ("certificates: {ca-certs: [{out: o, days: 010}]}", "`010` is octal", 3),
        ("certificates: {ca-certs: [{out: o}]}\nother: 1\n", "`other` is ignored", 3),
    ] {
        let scene = Scene::new();
        scene.create_certs(config, "").made_and_warned(warning);
        assert_eq!(scene.files().len(), files, "{config}");
    }
    let ran = Scene::new().create_certs("certificates: {cacerts: [{}]}", "");
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 2), "{ran:?}");
    assert!(ran.stderr.contains("`cacerts` is ignored: it is not known here; known are ca-certs"), "{ran:?}");
}

#[test]
fn anchors_numbers_as_text_and_a_second_document_work() {
    let scene = Scene::new();
    let config = "x-common: &common\n  days: 7\ncertificates:\n  ca-certs:\n  - <<: *common\n    out: 123\n    name: 007\n---\nnot: [read\n";
    scene.create_certs(config, "").made(&ca("123"));
    assert_eq!(scene.files(), ["123/007.crt", "123/007.key", "certs.yml"]);
    fs::create_dir(scene.path("elsewhere")).unwrap();
    fs::write(scene.path("elsewhere/x.yml"), "{\"certificates\": {\"ca-certs\": [{\"out\": \"json\"}]}}").unwrap();
    scene.run("create-certs --config-file=elsewhere/x.yml").made(&ca("json"));
    assert!(scene.path("json/ca.crt").is_file(), "paths are relative to the working directory");
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let scene = Scene::new();
    fs::create_dir(scene.path("closed")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_certgen"), scene.path("certgen")).unwrap();
    for (name, mode) in [(".", 0o777), ("closed", 0o555), ("certgen", 0o555)] {
        fs::set_permissions(scene.path(name), Permissions::from_mode(mode)).unwrap();
    }
    let config = "certificates: {ca-certs: [{}], node-certs: [{out: a, dns-names: a}, {out: closed, dns-names: a}]}";
    fs::write(scene.path("certs.yml"), config).unwrap();
    let before = scene.state();
    // As somebody who is not root.
    let mut command = Command::new(scene.path("certgen"));
    if common::is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 1000);
    }
    let output = command.env_clear().current_dir(scene.path(".")).arg("create-certs").output().unwrap();
    common::Ran::of(output).refused(&["nothing was made: could not write in `closed`: Permission denied"]);
    assert_eq!(scene.state(), before);
}

/// A tiny file system that fills up while the files are written: only root can make one.
#[test]
fn a_full_disk_leaves_nothing() {
    if !common::is_root() {
        return;
    }
    let scene = Scene::new();
    let nodes: Vec<_> = (0..12).map(|number| format!("{{out: tiny/n{number}, dns-names: a}}")).collect();
    let config = format!("certificates: {{ca-certs: [{{out: o}}], node-certs: [{}]}}", nodes.join(", "));
    let config = config.replace("dns-names: a", "dns-names: a, ca-certificate: o/ca.crt, ca-key: o/ca.key");
    fs::create_dir(scene.path("tiny")).unwrap();
    fs::write(scene.path("certs.yml"), config).unwrap();
    let line = format!(
        "mount -t tmpfs -o size=40k none tiny && {{ {} create-certs; code=$?; ls -A tiny; exit $code; }}",
        env!("CARGO_BIN_EXE_certgen")
    );
    let mut unshare = Command::new("unshare");
    let output = unshare.current_dir(scene.path(".")).args(["--mount", "/bin/sh", "-c", &line]).output().unwrap();
    let ran = common::Ran::of(output);
    if ran.code != Some(1) && ran.stderr.contains("ermi") {
        // A container without the right to mount.
        return;
    }
    ran.refused(&["No space left on device"]);
    assert_eq!(scene.files(), ["certs.yml", "tiny/"]);
}

/// Keys are written as they come: whether a file lists few or many is not seen in memory.
#[test]
fn memory_does_not_grow_with_the_number_of_certificates() {
    let peak = |count: usize| {
        let scene = Scene::new();
        fs::write(scene.path("certs.yml"), list_of_nodes(count)).unwrap();
        let mut child = scene.command().arg("create-certs").stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
            peak = peak.max(kilobytes.unwrap_or(0));
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(scene.files().len(), 2 * count + 3);
        peak
    };
    let (few, many) = (peak(6), peak(60));
    assert!(few > 1000 && many < few + 1500, "{few} kB for 6, {many} kB for 60");
}

/// On a terminal a bar is drawn, and wiped before the success lines.
#[test]
fn a_person_who_watches_sees_the_progress() {
    use std::io::Read as _;

    let scene = Scene::new();
    fs::write(scene.path("certs.yml"), list_of_nodes(6)).unwrap();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = scene.command();
    command.env("TERM", "xterm").arg("create-certs").stdout(std::process::Stdio::piped()).stderr(terminal.slave);
    let child = command.spawn().unwrap();
    // The last end of the terminal closes with the child.
    drop(command);
    let mut seen = Vec::new();
    // A terminal whose other end is closed gives an error, not an end.
    let _ = fs::File::from(terminal.master).read_to_end(&mut seen);
    let output = child.wait_with_output().unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("of 7 certificates"), "{seen:?}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("of 7 certificates"));
}
