//! `create-ca`, `create-node` and `create-user` as users of es-gencert-cli meet them (contract §1–§4 and §6).
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use common::{Ran, Scene, ca, list_of_nodes, node, user, with_parsed};

#[test]
fn a_ca_a_node_and_a_user_are_made_where_1_3_0_made_them() {
    let scene = Scene::new();
    scene.run("create-ca").made(&ca("./ca"));
    scene.run("create-node -ip-addresses 127.0.0.1").made(&node("node1"));
    scene.run("create-node --dns-names=localhost").made(&node("node2"));
    scene.run("create-node -dns-names a -out n/m/").made(&node("n/m/"));
    scene.run("create-user -username ann").made(&user("user-ann"));
    scene.run("create-user -username=bob -out u").made(&user("u"));
    let expected = "ca/ca.crt ca/ca.key n/m/node.crt n/m/node.key node1/node1.crt node1/node1.key node2/node2.crt \
                    node2/node2.key u/user-bob.crt u/user-bob.key user-ann/user-ann.crt user-ann/user-ann.key";
    assert_eq!(scene.files().join(" "), expected);
    for name in scene.files() {
        assert_eq!(scene.mode(&name), if name.ends_with("key") { 0o400 } else { 0o444 }, "{name}");
    }
    assert_eq!(scene.mode("n/m"), 0o755);
}

#[test]
fn the_umask_closes_what_is_made() {
    let scene = Scene::new();
    let line = format!("umask 077; exec {} create-ca", env!("CARGO_BIN_EXE_certgen"));
    let status = Command::new("/bin/sh").current_dir(scene.path(".")).args(["-c", &line]).status().unwrap();
    assert!(status.success());
    assert_eq!((scene.mode("ca"), scene.mode("ca/ca.crt"), scene.mode("ca/ca.key")), (0o700, 0o400, 0o400));
}

#[test]
fn files_have_one_block_each() {
    let scene = Scene::with_ca();
    for (name, label) in [("ca/ca.crt", "CERTIFICATE"), ("ca/ca.key", "RSA PRIVATE KEY")] {
        let text = scene.read(name);
        assert!(text.starts_with(&format!("-----BEGIN {label}-----\n")), "{text}");
        assert!(text.ends_with(&format!("-----END {label}-----\n")), "{name}");
        assert_eq!(text.matches("-----").count(), 4, "{name}");
        assert!(text.lines().filter(|line| !line.starts_with('-')).all(|line| line.len() <= 64), "{name}");
        assert!(!text.contains('\r'));
    }
}

#[test]
fn names_and_directories_are_as_given() {
    for (line, directory, base) in [
        ("create-ca -out o", "o", "o/ca"),
        ("create-ca -out o/", "o/", "o/ca"),
        ("create-ca -out a/b/c", "a/b/c", "a/b/c/ca"),
        ("create-ca -out=", "", "ca"),
        ("create-ca -name root", "./ca", "ca/root"),
        ("create-ca -name sub/x", "./ca", "ca/sub/x"),
        ("create-ca -name /x", "./ca", "ca/x"),
        ("create-ca -name foo.crt", "./ca", "ca/foo.crt"),
        ("create-ca -out -force", "-force", "-force/ca"),
        ("create-ca -out=x -out y", "y", "y/ca"),
        ("--  create-ca -out o", "o", "o/ca"),
    ] {
        let scene = Scene::new();
        scene.run(line).made(&ca(directory));
        assert_eq!(scene.files(), [format!("{base}.crt"), format!("{base}.key")], "{line}");
    }
    let scene = Scene::with_ca();
    for (line, directory, base) in [
        ("-out n -name", "n", "n/n"),
        ("-out n/m -name", "n/m", "n/m/m"),
        ("-out n -name=x", "n", "n/x"),
        ("-name=y", "node1", "node1/y"),
    ] {
        let line = format!("create-node -dns-names a {line}");
        let mut words: Vec<_> = line.split(' ').collect();
        if line.ends_with("-name") {
            words.push("");
        }
        scene.run_words(&words).made(&node(directory));
        assert!(scene.path(&format!("{base}.crt")).is_file() && scene.path(&format!("{base}.key")).is_file(), "{line}");
    }
    scene.run("create-user -username a/b -out x -name y").made(&user("x"));
    scene.run_words(&["create-user", "-username", "Ann Ü"]).made(&user("user-Ann Ü"));
    assert!(scene.path("x/y.key").is_file() && scene.path("user-Ann Ü/user-Ann Ü.crt").is_file());
    let (working_directory, name) = (["create-node", "-dns-names", "a", "-out", ".", "-name", ""], "has no name");
    scene.run_words(&working_directory).refused(&[name]);
}

#[test]
fn the_automatic_directory_is_the_first_that_is_free() {
    let scene = Scene::with_ca();
    File::create(scene.path("node1")).unwrap();
    symlink("nowhere", scene.path("node3")).unwrap();
    let line = "create-node -ip-addresses ::1";
    scene.run(line).made(&node("node2"));
    scene.run(line).made(&node("node4"));
    for number in 5..=9999 {
        File::create(scene.path(&format!("node{number}"))).unwrap();
    }
    scene.run(line).refused(&["no directory is free for the node: node1 to node9999 exist"]);
    fs::remove_file(scene.path("node101")).unwrap();
    scene.run(line).made(&node("node101"));
}

/// Validity, refusals: everything is told at once, and nothing is made.
#[test]
fn a_wrong_command_line_is_refused_whole() {
    let scene = Scene::with_ca();
    let before = scene.state();
    for (line, errors) in [
        ("create-ca -foo", &["-foo: create-ca has no such flag; its flags are -ca-certificate, "][..]),
        ("create-ca -foo bar", &["-foo"]),
        ("create-ca --version", &["-version"]),
        ("create-ca -config-file x", &["-config-file"]),
        ("create-ca -days", &["-days: its value is missing"]),
        ("create-ca -days abc", &["-days: `abc` is not a whole number of days"]),
        ("create-ca -days=", &["-days: `` is not a whole"]),
        ("create-ca -days 1.5 -force=maybe", &["-days: `1.5`", "-force: `maybe` is not true or false"]),
        ("create-ca -days 99999999999999999999", &["-days: `99999999999999999999` is not a number of days that can"]),
        ("create-ca -days -1", &["-days: `-1` is negative"]),
        ("create-ca -days 3000000 -out o", &["-days: the certificate would end after the year 9999"]),
        ("create-ca -days 9223372036854775807 -out o", &["after the year 9999"]),
        ("create-ca -ca-certificate c -out o", &["-ca-key: it is missing"]),
        ("create-ca -ca-key k -days=-3", &["-ca-certificate: it is missing", "-days: `-3`"]),
        ("create-ca ---out x", &["`---out` is not a flag"]),
        ("create-node", &["-ip-addresses or -dns-names: at least one IP address or DNS name is needed"]),
        (
            "create-node -ca-certificate= -ca-key= -dns-names a",
            &["-ca-certificate: it is empty", "-ca-key: it is empty"],
        ),
        (
            "create-node -ip-addresses 127.0.0.1,,x",
            &["-ip-addresses: `` is not an IP", "-ip-addresses: `x` is not an IP"],
        ),
        ("create-node -ip-addresses 10.0.0.0/8", &["-ip-addresses: `10.0.0.0/8`"]),
        ("create-node -dns-names müller.de", &["-dns-names: \"müller.de\" is not ASCII"]),
        ("create-user", &["-username: it is missing"]),
        ("create-user -username ../../x", &["-username: `../../x` contains `/`"]),
        ("create-user -username a -ca-key= -days=-1", &["-ca-key: it is empty", "-days: `-1`"]),
        ("- create-ca", &["a hyphen alone stands before the command"]),
    ] {
        println!("{line}");
        scene.run(line).refused(errors);
        assert_eq!(scene.state(), before, "{line}");
    }
}

#[test]
fn what_is_accepted_but_odd_is_said_and_done() {
    for (line, warning, made) in [
        (
            "create-ca foo -out o",
            "ignored, as es-gencert-cli does from the first word that is no flag: foo -out o",
            "ca/ca.crt",
        ),
        ("create-ca -force false -out o", "ignored, as es-gencert-cli does", "ca/ca.crt"),
        ("create-ca -days 010", "-days: `010` is octal because of its leading 0, and 8 in decimal", "ca/ca.crt"),
        ("-foo create-ca", "-foo is ignored, as by es-gencert-cli: it stands before the command", "ca/ca.crt"),
        ("--foo create-ca -out o", "--foo is ignored", "o/ca.crt"),
    ] {
        let scene = Scene::new();
        scene.run(line).made_and_warned(warning);
        assert!(scene.path(made).is_file(), "{line}");
    }
    let scene = Scene::with_ca();
    for (names, warning) in [
        ("a,", "-dns-names: an empty name is left out"),
        ("https://x:2113", "-dns-names: `https://x:2113` is not a host name"),
        ("10.0.0.1", "-dns-names: `10.0.0.1` is an IP address and is treated as one"),
    ] {
        scene.run(&format!("create-node -dns-names {names}")).made_and_warned(warning);
    }
    scene.run("create-node -dns-names a -days 2000").made_and_warned("but its CA already at");
}

#[test]
fn days_and_years_are_those_of_the_calendar() {
    let scene = Scene::with_ca();
    let days = |name: &str| {
        with_parsed(&scene.der(name), |certificate| {
            let validity = certificate.validity();
            let (start, end) = (validity.not_before.timestamp() + 3600, validity.not_after.timestamp());
            assert_eq!((end - start) % 86_400, 0, "{name}: from an hour ago, for whole days");
            (end - start) / 86_400
        })
    };
    assert!((1826..=1827).contains(&days("ca/ca.crt")));
    for (flag, expected) in [("", 365..=366), ("-days 0", 365..=366), ("-days 10", 10..=10), ("-days 0x10", 16..=16)] {
        scene.run(&format!("create-node -dns-names a -out n -force {flag}"));
        assert!(expected.contains(&days("n/node.crt")), "{flag}");
    }
}

#[test]
fn existing_files_are_left_unless_forced() {
    let scene = Scene::with_ca();
    let before = scene.state();
    scene.run("create-ca").refused(&["`./ca/ca.crt` and `./ca/ca.key` exist; nothing was made"]);
    scene.run("create-ca -force=false").refused(&["exist"]);
    assert_eq!(scene.state(), before);
    fs::remove_file(scene.path("ca/ca.crt")).unwrap();
    scene.run("create-ca").refused(&["`./ca/ca.key` exists"]);
    scene.run("create-ca -force").made(&ca("./ca"));
    let first = scene.read("ca/ca.key");
    assert_ne!(first.as_bytes(), before[1].3, "a new key is made");
    // The old tool left 0644 and 0600 behind.
    fs::set_permissions(scene.path("ca/ca.key"), Permissions::from_mode(0o644)).unwrap();
    scene.run("create-ca --force=true").made(&ca("./ca"));
    assert_ne!(scene.read("ca/ca.key"), first);
    assert_eq!((scene.mode("ca/ca.crt"), scene.mode("ca/ca.key")), (0o444, 0o400));
    assert_eq!(scene.files(), ["ca/ca.crt", "ca/ca.key"]);
}

#[test]
fn a_forced_write_keeps_links_and_owners() {
    let scene = Scene::with_ca();
    fs::create_dir(scene.path("n")).unwrap();
    fs::create_dir(scene.path("store")).unwrap();
    fs::write(scene.path("store/key"), "old").unwrap();
    symlink("../store/key", scene.path("n/node.key")).unwrap();
    symlink("nowhere", scene.path("n/node.crt")).unwrap();
    let is_root = common::is_root();
    if is_root {
        std::os::unix::fs::chown(scene.path("store/key"), Some(1000), Some(1000)).unwrap();
    }
    let line = "create-node -dns-names a -out n";
    scene.run(line).refused(&["`n/node.crt` and `n/node.key` exist"]);
    scene.run(&format!("{line} -force")).made(&node("n"));
    assert!(fs::symlink_metadata(scene.path("n/node.key")).unwrap().is_symlink(), "the link stays");
    assert!(scene.read("store/key").contains("RSA PRIVATE KEY"));
    assert!(fs::symlink_metadata(scene.path("n/node.crt")).unwrap().is_file(), "a link to nowhere is replaced");
    assert_eq!(scene.mode("store/key"), 0o400);
    if is_root {
        let found = fs::metadata(scene.path("store/key")).unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 1000), "the server that read the old key must read the new one");
    }
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_changes() {
    let scene = Scene::with_ca();
    fs::create_dir(scene.path("d")).unwrap();
    fs::create_dir(scene.path("d/node.key")).unwrap();
    File::create(scene.path("file")).unwrap();
    let before = scene.state();
    for (line, error) in [
        ("create-node -dns-names a -out d -force", "`d/node.key` is a directory"),
        ("create-node -dns-names a -out d", "`d/node.key` is a directory"),
        ("create-ca -out file -force", "`file/ca.crt`"),
        ("create-ca -out file/deep", "`file/deep/ca.crt`"),
    ] {
        let ran = scene.run(line);
        assert_eq!(ran.code, Some(1), "{line}: {ran:?}");
        assert!(ran.stderr.contains(error), "{line}: {ran:?}");
        assert_eq!(scene.state(), before, "{line}");
    }
}

/// Root may write anywhere, so the program runs as somebody else where this test runs as root; from a copy, because the
/// build directory may be closed to others.
#[test]
fn what_may_not_be_written_is_named_and_nothing_changes() {
    let scene = Scene::with_ca();
    fs::copy(env!("CARGO_BIN_EXE_certgen"), scene.path("certgen")).unwrap();
    fs::create_dir(scene.path("closed")).unwrap();
    fs::create_dir(scene.path("secret")).unwrap();
    for (name, mode) in [(".", 0o555), ("closed", 0o555), ("secret", 0o000), ("certgen", 0o555), ("ca/ca.key", 0o444)] {
        fs::set_permissions(scene.path(name), Permissions::from_mode(mode)).unwrap();
    }
    let run = |line: &str| {
        let mut command = Command::new(scene.path("certgen"));
        if common::is_root() {
            command.uid(1000).gid(1000);
        }
        let command = command.env_clear().current_dir(scene.path(".")).args(line.split(' '));
        Ran::of(command.output().unwrap())
    };
    for line in ["create-node -dns-names a", "create-ca -out closed", "create-ca -out closed/deep"] {
        run(line).refused(&["nothing was made: could not write in `"]);
    }
    run("create-ca -out secret").refused(&["could not look at `secret/ca.crt`: Permission denied", "`secret/ca.key`"]);
    if common::is_root() {
        // The file is somebody else's: the old tool could not make it writable.
        fs::set_permissions(scene.path("."), Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(scene.path("ca"), Permissions::from_mode(0o777)).unwrap();
        let before = scene.read("ca/ca.crt");
        run("create-ca -force").refused(&["could not write `./ca/ca.key`: Operation not permitted"]);
        assert_eq!(scene.read("ca/ca.crt"), before);
        assert_eq!(scene.files().len(), 5, "{:?}", scene.files());
    }
    fs::set_permissions(scene.path("secret"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_dir(scene.path("secret")).unwrap().count(), 0);
}

#[test]
fn a_full_or_closed_stdout_is_not_an_error() {
    let scene = Scene::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = scene.command().args(["create-ca"]).stdout(full).status().unwrap();
    assert!(status.success());
    let mut child = scene.command().args(["create-ca", "-force"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let closed = format!("exec {} create-ca -out closed >&- 2>&-", env!("CARGO_BIN_EXE_certgen"));
    let status = Command::new("/bin/sh").current_dir(scene.path(".")).args(["-c", &closed]).status().unwrap();
    assert!(status.success() && scene.path("closed/ca.key").is_file());
}

#[test]
fn no_command_or_an_unknown_one_is_127_with_the_usage() {
    let scene = Scene::new();
    for (line, unknown) in [
        ("", None),
        ("create", Some("create")),
        ("help", Some("help")),
        ("version", Some("version")),
        ("create-ca-x -out o", Some("create-ca-x")),
        ("-days 3 create-ca", Some("3")),
        ("--v", None),
        ("-foo", None),
        ("--", None),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(127), ""), "{line}: {ran:?}");
        assert!(
            ran.stderr.contains("usage: certgen COMMAND") && ran.stderr.contains("create-certs"),
            "{line}: {ran:?}"
        );
        let said = unknown.map(|unknown| format!("error: `{unknown}` is not a command\n"));
        assert_eq!(ran.stderr.starts_with("error"), said.is_some(), "{line}");
        assert!(said.is_none_or(|said| ran.stderr.starts_with(&said)), "{line}: {ran:?}");
    }
    assert_eq!(scene.files(), Vec::<String>::new());
}

#[test]
fn help_and_version_are_on_stdout() {
    let scene = Scene::new();
    for (line, parts) in [
        ("-h", &["--out", "create-node"][..]),
        ("-help", &["--out", "create-node"]),
        ("--help", &["--out", "create-node"]),
        ("create-ca -h", &["-ca-certificate", "[default: ./ca]"]),
        ("-help create-node", &["-dns-names", "[default: eventstoredb-node]"]),
        ("create-user -days x --help", &["-username"]),
        ("create-certs -config-file -h", &["[default: ./certs.yml]"]),
        ("-v", &["certgen "]),
        ("-version", &["certgen "]),
        ("--version", &["certgen "]),
        ("-version create-ca", &["certgen "]),
        ("-h -v", &["certgen "]),
    ] {
        let ran = scene.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{line}: {ran:?}");
        assert!(parts.iter().all(|part| ran.stdout.contains(part)), "{line}: {ran:?}");
    }
    assert_eq!(scene.files(), Vec::<String>::new());
}

#[test]
fn under_the_old_name_it_is_the_same_program() {
    let scene = Scene::new();
    symlink(env!("CARGO_BIN_EXE_certgen"), scene.path("es-gencert-cli")).unwrap();
    let output = Command::new("./es-gencert-cli").current_dir(scene.path(".")).env_clear().arg("create-ca").output();
    Ran::of(output.unwrap()).made(&ca("./ca"));
}

#[test]
fn the_init_container_and_the_commands_do_not_mix() {
    let scene = Scene::new();
    let ran = scene.run("--out create-ca");
    assert!(
        ran.code == Some(74) && ran.stderr.contains("create-ca"),
        "a directory of that name is looked for: {ran:?}"
    );
    let configured = scene.command().env("CERTGEN_OUT", "x").args(["create-ca"]).output().unwrap();
    Ran::of(configured).made(&ca("./ca"));
    assert_eq!(scene.run("--validty 3d --out x").code, Some(2), "a misspelt option of the init container");
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let scene = Scene::new();
    fs::write(scene.path("certs.yml"), list_of_nodes(400)).unwrap();
    let mut child = scene.command().arg("create-certs").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Until keys are written somewhere.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while scene.files().len() < 4 {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    Ran::of(child.wait_with_output().unwrap()).refused(&["interrupted; nothing was made"]);
    assert_eq!(scene.files(), ["certs.yml"]);
}
