//! The init container, run again: what is right is kept, what is not is replaced with every reason; ended at any moment, the
//! next run mends it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use certgen::{
    Authority, Generation, Names, Owner, Published, RenewBefore, RsaBits, Signer, Validity, Wanted, due,
    issue_authority, issue_node, publish,
};
use common::{Ran, Scene, is_root};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use time::{Duration, OffsetDateTime};

/// With these empty directories.
fn scene(directories: &[&str]) -> Scene {
    let scene = Scene::new();
    for name in directories {
        fs::create_dir(scene.path(name)).unwrap();
    }
    scene
}

/// Every file and directory below, with what changes when somebody touches it.
fn touched(directory: &Path) -> BTreeMap<String, (u64, i64, i64, u32)> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path.display().to_string(), (found.ino(), found.ctime(), found.ctime_nsec(), found.mode()));
    }
    all
}

/// It kept what was there, in one line.
#[track_caller]
fn kept(ran: &Ran) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stderr.starts_with("certgen: kept the certificate for localhost"), "{ran:?}");
    assert!(ran.stderr.contains("because nothing is due, valid until 20"), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

/// It replaced what was there for these reasons, each told by a part, and no others.
#[track_caller]
fn replaced(ran: &Ran, reasons: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix("certgen: due: ")).collect();
    assert_eq!(told.len(), reasons.len(), "{ran:?}");
    for reason in reasons {
        assert!(told.iter().any(|told| told.contains(reason)), "no `{reason}` in {ran:?}");
    }
    assert!(ran.stderr.lines().last().unwrap().starts_with("certgen: issued a certificate for "), "{ran:?}");
}

#[test]
fn what_is_right_is_not_touched_whoever_signed_it() {
    for source in [
        "",
        "--ca-key-algorithm rsa2048",
        "--ca-state state",
        "--ca-source files --ca-certificate ca/ca.crt --ca-key ca/ca.key",
    ] {
        let scene = scene(&["out", "state"]);
        scene.run("create-ca").made(&common::ca("./ca"));
        fs::write(scene.path("program"), "guard").unwrap();
        let line = format!("--out out --dns-names node-1.db --guard program {source}");
        assert_eq!(scene.run(&line).code, Some(0), "{source}");
        let before = (touched(&scene.path("out")), touched(&scene.path("state")));
        for _ in 0..2 {
            kept(&scene.run(&line));
            assert_eq!((touched(&scene.path("out")), touched(&scene.path("state"))), before, "{source}");
        }
        let rehearsed = scene.run(&format!("{line} --dry-run"));
        assert!(rehearsed.stderr.starts_with("certgen: would keep"), "{rehearsed:?}");
    }
}

#[test]
fn all_that_differs_is_told_and_replaced_once() {
    let scene = scene(&["out", "state"]);
    let line = "--out out --ca-state state --dns-names node-1.db";
    assert_eq!(scene.run(line).code, Some(0));
    let root = scene.read("out/ca/ca.crt");
    fs::set_permissions(scene.path("out/node.key"), Permissions::from_mode(0o644)).unwrap();
    let line = "--out out --ca-state state --dns-names node-2.db --key-size 3072 --validity 90d";
    let rehearsed = scene.run(&format!("{line} --dry-run"));
    let reasons = [
        "the certificate lacks node-2.db; has node-1.db",
        "2048 bits instead of 3072",
        "365d instead of 90d",
        "node.key has the mode 0644 instead of 0400",
    ];
    assert!(reasons.iter().all(|reason| rehearsed.stderr.contains(reason)), "{rehearsed:?}");
    replaced(&scene.run(line), &reasons);
    kept(&scene.run(line));
    assert_eq!(scene.read("out/ca/ca.crt"), root, "the authority is kept");
    assert_eq!(scene.mode("out/node.key"), 0o400);
    let generations = |scene: &Scene| {
        let names = fs::read_dir(scene.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".gen-")).count()
    };
    assert_eq!(generations(&scene), 1, "the one before is removed by the run after");
}

#[test]
fn what_is_missing_or_damaged_is_replaced() {
    let scene = scene(&["out"]);
    assert_eq!(scene.run("--out out").code, Some(0));
    for (damage, reasons) in [
        ((|scene| fs::remove_file(scene.path("out/node.crt")).unwrap()) as fn(&Scene), &["node.crt is missing"][..]),
        (
            |scene| {
                let generation = fs::canonicalize(scene.path("out/current")).unwrap();
                fs::remove_dir_all(generation).unwrap();
            },
            &["current is missing"],
        ),
        (
            |scene| {
                let key = fs::canonicalize(scene.path("out/node.key")).unwrap();
                fs::remove_file(&key).unwrap();
                fs::write(&key, "").unwrap();
                fs::set_permissions(key, Permissions::from_mode(0o400)).unwrap();
            },
            &["node.key is not the key of node.crt"],
        ),
        (
            |scene| fs::copy(scene.path("out/ca/ca.crt"), scene.path("out/ca/other.crt")).map(drop).unwrap(),
            &["the trusted roots differ: not wanted ca/other.crt"],
        ),
    ] {
        damage(&scene);
        replaced(&scene.run("--out out"), reasons);
        kept(&scene.run("--out out"));
    }
}

#[test]
fn another_authority_is_a_reason() {
    let scene = scene(&["out", "state"]);
    for directory in ["a", "b"] {
        assert_eq!(scene.run(&format!("create-ca -out {directory}")).code, Some(0));
    }
    let files = |directory| {
        format!("--out out --ca-source files --ca-certificate {directory}/ca.crt --ca-key {directory}/ca.key")
    };
    assert_eq!(scene.run(&files("a")).code, Some(0));
    replaced(&scene.run(&files("b")), &["the trusted roots differ", "another authority signed"]);
    replaced(&scene.run("--out out --ca-state state"), &["not kept in state"]);
    kept(&scene.run("--out out"));
    replaced(&scene.run(&files("a")), &["the trusted roots differ", "another authority signed"]);
    replaced(&scene.run("--out out"), &["not by an ephemeral authority"]);
    replaced(&scene.run("--out out --ca-key-algorithm rsa2048"), &["with a rsa2048 key"]);
}

/// The owner is whoever runs it, or with root's power somebody else.
#[test]
fn the_owner_is_kept_to() {
    let scene = scene(&["out"]);
    let (user, group) = {
        let found = fs::metadata(scene.path("out")).unwrap();
        (found.uid(), found.gid())
    };
    if !is_root() {
        let ran = scene.run("--out out --owner 1 --guard nowhere");
        assert_eq!(ran.code, Some(74), "{ran:?}");
        assert!(ran.stderr.contains("error: --owner: `1` is not who runs this"), "{ran:?}");
        assert_eq!(scene.run(&format!("--out out --owner {user}:{group}")).code, Some(0));
        return;
    }
    assert_eq!(scene.run("--out out").code, Some(0));
    let owners = |scene: &Scene| {
        let mut owners: Vec<_> = touched(&scene.path("out"))
            .into_keys()
            .filter(|path| !path.ends_with("/out"))
            .map(|path| fs::symlink_metadata(path).unwrap())
            .map(|found| (found.uid(), found.gid()))
            .collect();
        owners.dedup();
        owners
    };
    assert_eq!(owners(&scene), [(user, group)]);
    let ran = scene.run("--out out --owner 1000:1001");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr.matches("instead of 1000:1001").count(), 5, "{ran:?}");
    kept(&scene.run("--out out --owner 1000:1001"));
    kept(&scene.run("--out out --owner 1000"));
    let links =
        ["current", "ca", "node.key"].map(|name| fs::symlink_metadata(scene.path("out").join(name)).unwrap().uid());
    assert_eq!((links[0], fs::metadata(scene.path("out/node.key")).unwrap().uid()), (1000, 1000));
}

/// What bootstrap does: it looks, and when something is due it issues with the kept authority and publishes.
#[test]
fn the_library_renews_through_a_kept_authority_and_no_reader_sees_halves() {
    let scene = scene(&["out", "state"]);
    let line = "--out out --ca-state state --dns-names node-1.db --validity 90d";
    assert_eq!(scene.run(line).code, Some(0));
    let (out, state) = (scene.path("out"), scene.path("state"));
    let authority = certgen::kept_authority(&state).unwrap().unwrap();
    let root = authority.certificate();
    let signer = Signer::Known { certificate: root, roots: &[root] };

    let published = Published::read(&out).unwrap();
    let validity = published.validity().unwrap();
    let wanted = Wanted {
        names: published.names().unwrap(),
        validity,
        key_size: RsaBits::B2048,
        renew_before: RenewBefore::third_of(validity),
        server_line: None,
        owner: Owner::of_process(),
    };
    let now = OffsetDateTime::now_utc();
    assert_eq!(due(&published, &wanted, signer, now), []);
    let later = now + Duration::days(61);
    let reasons: Vec<_> = due(&published, &wanted, signer, later).iter().map(ToString::to_string).collect();
    assert!(reasons.len() == 1 && reasons[0].contains("replaced 30d before"), "{reasons:?}");

    let nodes: Vec<_> =
        (0..3).map(|_| issue_node(&authority, &wanted.names, validity, wanted.key_size, later).unwrap()).collect();
    let mut pairs: Vec<_> = nodes.iter().map(|node| (node.certificate.clone(), node.key.as_str().to_owned())).collect();
    pairs.push((scene.read("out/node.crt"), scene.read("out/node.key")));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (looks, reads) = std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let (mut looks, mut reads) = (0, 0);
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let names = [out.join("ca/ca.crt"), out.join("node.crt"), out.join("node.key")];
                let before = fs::read_link(out.join("current")).unwrap();
                let found = names.map(|name| fs::read_to_string(name).ok());
                if fs::read_link(out.join("current")).unwrap() == before {
                    let [Some(ca), Some(certificate), Some(key)] = found else { panic!("something is missing") };
                    assert_eq!(ca, root);
                    assert!(pairs.contains(&(certificate, key)), "of two generations");
                    looks += 1;
                }
                let published = Published::read(&out).unwrap();
                assert_eq!(published.names().as_ref(), Some(&wanted.names));
                reads += 1;
            }
            (looks, reads)
        });
        for turn in 0..200 {
            let node = &nodes[turn % nodes.len()];
            let generation = Generation { roots: &[root], certificate: &node.certificate, key: &node.key };
            publish(&out, &generation, None).unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(looks > 10 && reads > 10, "the reader looked {looks} and {reads} times");
    let published = Published::read(&out).unwrap();
    assert_eq!(due(&published, &wanted, signer, later), []);
    assert_eq!(published.not_after().map(OffsetDateTime::date), Some((later + Duration::days(90)).date()));
    assert_eq!(scene.read("out/node.crt"), nodes[199 % 3].certificate);
}

/// The program finds what the library left to expire, and renews it through the same authority.
#[test]
fn an_expiring_certificate_is_renewed() {
    let scene = scene(&["out", "state"]);
    let now = OffsetDateTime::now_utc();
    let validity: Validity = "90d".parse().unwrap();
    let long_ago = now - Duration::days(70);
    let authority = issue_authority(Validity::AUTHORITY, long_ago).unwrap();
    write_state(&scene, &authority);
    let names = Names::with_loopback([], []);
    let node = issue_node(&authority, &names, validity, RsaBits::B2048, long_ago).unwrap();
    let roots = [authority.certificate()];
    let generation = Generation { roots: &roots, certificate: &node.certificate, key: &node.key };
    publish(&scene.path("out"), &generation, None).unwrap();
    let line = "--out out --ca-state state --validity 90d";
    kept(&scene.run(&format!("{line} --renew-before 19d")));
    replaced(&scene.run(line), &["and replaced 30d before that"]);
    kept(&scene.run(line));
    assert_eq!(scene.read("out/ca/ca.crt"), authority.certificate());
    assert_ne!(scene.read("out/node.key"), node.key.as_str(), "the key is new");
}

fn write_state(scene: &Scene, authority: &Authority) {
    fs::write(scene.path("state/ca.pem"), authority.to_state().as_bytes()).unwrap();
}

/// Killed when the volume has changed for the n-th time.
#[test]
fn killed_at_any_change_of_the_volume_the_next_run_mends_it() {
    let scene = scene(&["out", "state"]);
    fs::write(scene.path("program"), vec![b'x'; 1 << 20]).unwrap();
    let line = |validity: &str| format!("--out out --ca-state state --guard program --validity {validity}");
    let (out, mut killed) = (scene.path("out"), 0);
    for (nth, validity) in (1..).zip(["90d", "91d"].into_iter().cycle()).take(14) {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_DELETE;
        watch.add_watch(&out, changes | AddWatchFlags::IN_CLOSE_WRITE).unwrap();
        let mut command = scene.command();
        command.args(line(validity).split(' ')).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut seen = 0;
        while seen < nth {
            // A first run makes more changes than are waited for, and the last of any is a rename.
            let events = watch.read_events().unwrap();
            seen += events.len();
            if events.iter().any(|event| event.name.as_deref() == Some("current".as_ref())) {
                break;
            }
        }
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        if out.join("current").exists() {
            let published = Published::read(&out).unwrap();
            assert!(published.not_after().is_some(), "what is there is whole");
            let inspected = scene.run("inspect out --cluster --host localhost");
            assert_eq!(inspected.code, Some(0), "{inspected:?}");
        } else {
            assert!(!out.join("node.key").exists() && !out.join("node.crt").exists());
        }
        assert_eq!(scene.run(&line(validity)).code, Some(0));
        kept(&scene.run(&line(validity)));
        let names = [&out, &scene.path("state")].map(|path| {
            let mut names: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        });
        assert!(names[0][0].starts_with(".gen-"), "{names:?}");
        assert_eq!(names[0][1..], ["ca", "current", "guard", "node.crt", "node.key"]);
        assert_eq!(names[1], ["ca.pem"]);
    }
    assert!(killed > 5, "only {killed} were killed in time");
}
