//! As in a task on Fargate: uid 1000 or 1001, no capability, nothing writable but volumes that belong to root and are open to
//! all (mode 1777, which is what an image's VOLUME makes of them). And a volume that is full.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ran, Scene};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use testkit::tool::{self, Tool};

const VOLUMES: [&str; 2] = ["certs", "ca-state"];

/// A container as ECS makes it.
struct Container {
    scene: Scene,
    unshare: PathBuf,
    setpriv: PathBuf,
}

impl Container {
    fn new(test: &str) -> Option<Self> {
        let container =
            Self { scene: Scene::new(), unshare: tool::find_as_root(test)?, setpriv: tool::find(Tool::SetPriv, test)? };
        let scene = &container.scene;
        let set_mode = |name: &str, mode| fs::set_permissions(scene.path(name), Permissions::from_mode(mode)).unwrap();
        set_mode("", 0o755);
        for volume in VOLUMES {
            fs::create_dir(scene.path(volume)).unwrap();
            set_mode(volume, 0o1777);
        }
        fs::copy(env!("CARGO_BIN_EXE_certgen"), scene.path("certgen")).unwrap();
        fs::write(scene.path("guard"), "program").unwrap();
        Some(container)
    }

    /// Runs a program of the scene, or of the system, in it.
    fn run(&self, uid: u32, words: &[&str]) -> Ran {
        let volumes = VOLUMES.map(|name| format!("mount --bind {name} {name} && ")).concat();
        let script = format!("{volumes} mount -o remount,bind,ro / && exec \"$@\"");
        let mut command = Command::new(&self.unshare);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(self.scene.path(""));
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", &script, "sh"]);
        command.arg(&self.setpriv).args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        command.args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]);
        Ran::of(command.args(words).output().unwrap())
    }

    fn certgen(&self, uid: u32, line: &str) -> Ran {
        let words: Vec<_> = ["./certgen"].into_iter().chain(line.split(' ')).collect();
        self.run(uid, &words)
    }
}

const LINE: &str = "--out certs --ca-state ca-state --guard guard --dns-names node-1.db";

#[test]
fn it_works_without_root_and_capabilities_in_volumes_that_are_open_to_all() {
    let test = "it_works_without_root_and_capabilities_in_volumes_that_are_open_to_all";
    for uid in [1000, 1001] {
        let Some(container) = Container::new(test) else { return };
        let status = container.run(uid, &["grep", "Cap", "/proc/self/status"]);
        assert_eq!(status.stdout.matches("0000000000000000").count(), 5, "{status:?}");
        let elsewhere = container.run(uid, &["sh", "-c", "echo > /tmp/certgen-probe || echo > certs/x"]);
        assert!(elsewhere.code == Some(0) && elsewhere.stderr.contains("Read-only"), "{elsewhere:?}");

        let first = container.certgen(uid, LINE);
        assert_eq!(first.code, Some(0), "{first:?}");
        let again = container.certgen(uid, &format!("{LINE} --owner {uid}"));
        assert!(again.code == Some(0) && again.stderr.starts_with("certgen: kept"), "{again:?}");
        let renewed = container.certgen(uid, &format!("{LINE} --validity 90d"));
        assert!(renewed.code == Some(0) && renewed.stderr.contains("365d instead of 90d"), "{renewed:?}");
        let scene = &container.scene;
        let found = |name: &str| {
            let found = fs::metadata(scene.path(name)).unwrap();
            (found.uid(), found.mode() & 0o7777)
        };
        assert_eq!((found("certs/node.key"), found("certs/guard")), ((uid, 0o400), (uid, 0o555)));
        assert_eq!((found("certs"), found("ca-state/ca.pem")), ((0, 0o1777), (uid, 0o400)));
        assert_eq!(scene.run("inspect certs --cluster --host node-1.db").code, Some(0));
    }
}

#[test]
fn another_uid_is_told_and_leaves_what_is_there() {
    let Some(container) = Container::new("another_uid_is_told_and_leaves_what_is_there") else { return };
    let line = "--out certs --dns-names node-1.db";
    assert_eq!(container.certgen(1000, line).code, Some(0));
    let before = container.scene.state();
    let ran = container.certgen(1001, line);
    assert_eq!(ran.code, Some(77), "{ran:?}");
    assert!(ran.stderr.contains("not permitted") && ran.stderr.contains("hint: the directory and what"), "{ran:?}");
    assert_eq!(container.scene.state(), before);
    let given = container.certgen(1001, &format!("{line} --owner 1000 --guard nowhere"));
    assert_eq!(given.code, Some(74), "{given:?}");
    for part in ["could not read `nowhere`", "error: --owner: `1000` is not who runs this, `1001:1001`"] {
        assert!(given.stderr.contains(part), "no `{part}` in {given:?}");
    }
}

/// A file system in memory of a few pages.
struct Tiny(PathBuf);

impl Tiny {
    fn new(path: PathBuf, pages: u64) -> Self {
        fs::create_dir(&path).unwrap();
        let size = format!("size={}", pages * 4096);
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        Self(path)
    }

    /// Leaves so many pages free.
    fn fill(&self, free: u64) {
        let _ = fs::remove_file(self.0.join("filler"));
        let found = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let filler = vec![0; ((found.blocks_available() - free) * 4096).try_into().unwrap()];
        fs::write(self.0.join("filler"), filler).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn read(volume: &Path) -> [Vec<u8>; 4] {
    ["ca/ca.crt", "node.crt", "node.key", "guard"].map(|name| fs::read(volume.join(name)).unwrap())
}

#[test]
fn a_full_volume_is_told_and_leaves_what_is_there() {
    if tool::find_as_root("a_full_volume_is_told_and_leaves_what_is_there").is_none() {
        return;
    }
    let scene = Scene::new();
    fs::create_dir(scene.path("state")).unwrap();
    fs::write(scene.path("one"), vec![b'1'; 8000]).unwrap();
    fs::write(scene.path("two"), vec![b'2'; 8000]).unwrap();
    let tiny = Tiny::new(scene.path("out"), 32);
    // The files of a generation and the program need five pages.
    for (line, wanted) in [
        ("--out out --ca-state state --guard one", None),
        ("--out out --ca-state state --guard two --validity 90d", Some(())),
    ] {
        let before = wanted.map(|()| (read(&tiny.0), tiny.files()));
        for free in 0..5 {
            tiny.fill(free);
            let ran = scene.run(line);
            assert_eq!(ran.code, Some(74), "{free} pages: {ran:?}");
            assert!(ran.stderr.contains("No space left on device") && ran.stderr.contains("hint: the volume is full"));
            assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:?}");
            match &before {
                Some((content, _)) => assert_eq!(read(&tiny.0), *content),
                None => assert_eq!(tiny.files(), ["filler"]),
            }
            assert_eq!(fs::read_dir(scene.path("state")).unwrap().count(), usize::from(before.is_some()));
        }
        tiny.fill(6);
        let ran = scene.run(line);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        fs::remove_file(tiny.0.join("filler")).unwrap();
        let is_link_or_file = |name: &String| !name.starts_with(".gen-");
        let names: Vec<_> = tiny.files().into_iter().filter(is_link_or_file).collect();
        assert_eq!(names, ["ca", "current", "guard", "node.crt", "node.key"]);
    }
}
