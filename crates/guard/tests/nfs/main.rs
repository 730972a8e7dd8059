//! guard on a real NFSv4.1 file system: Linux's server and clients in a virtual machine without hardware support, one network namespace
//! for each client, mounted as ECS mounts EFS. `init.sh` plays the scenes and prints facts; this side says what they must be.
//!
//! The virtual machine has Debian's cloud kernel with its modules and the tools of this machine with their libraries. This test's own
//! program is in it too: as the server that guard runs (`server.rs`).
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]
#![allow(clippy::print_stderr, reason = "what was played is printed for whoever reads the log")]

mod initramfs;
mod server;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use self::initramfs::{Initramfs, find_program};

/// The scenes take about three minutes.
const WITHIN: Duration = Duration::from_mins(8);
const TIMEOUT: f64 = 12.0;
const TAKEOVER: f64 = 15.0;
/// What the program in the virtual machine is to do.
const SERVER_VARIABLE: &str = "NFS_TEST_SERVER";

/// Modules in an order in which they can be loaded.
const MODULES: [&str; 12] = [
    "net/sunrpc/sunrpc",
    "fs/nfs_common/grace",
    "fs/lockd/lockd",
    "fs/nfs_common/nfs_acl",
    "net/sunrpc/auth_gss/auth_rpcgss",
    "fs/nfsd/nfsd",
    "fs/netfs/netfs",
    "fs/fscache/fscache",
    "fs/nfs/nfs",
    "net/dns_resolver/dns_resolver",
    "fs/nfs/nfsv4",
    "drivers/net/veth",
];
const PROGRAM: &str = "ip";

/// In the virtual machine this program is the server that guard runs; elsewhere there is nothing to do.
#[test]
fn server_of_the_virtual_machine() {
    if let Ok(arguments) = std::env::var(SERVER_VARIABLE) {
        server::run(&arguments.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
}

/// What the machine must have, or what is missing.
fn tools() -> Result<(PathBuf, PathBuf), String> {
    for program in [PROGRAM, "qemu-system-x86_64", "busybox", "ldd"] {
        find_program(program).ok_or_else(|| format!("{program} is not installed"))?;
    }
    let kernels = std::fs::read_dir("/boot").map_err(|error| format!("/boot: {error}"))?;
    let kernel = kernels.map(|entry| entry.unwrap().path()).find(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("vmlinuz-") && name.ends_with("cloud-amd64")
    });
    let kernel = kernel.ok_or("the package linux-image-cloud-amd64 is not installed")?;
    let version = kernel.file_name().unwrap().to_string_lossy().trim_start_matches("vmlinuz-").to_owned();
    let modules = Path::new("/lib/modules").join(version).join("kernel");
    if modules.exists() { Ok((kernel, modules)) } else { Err(format!("{} does not exist", modules.display())) }
}

/// As `testkit::tool` has it, which is above this crate.
fn note_not_run(missing: &str) {
    let line = format!("guard::nfs::one_writer_on_nfs: needs a virtual machine: {missing}");
    assert!(std::env::var_os("TESTKIT_REQUIRE_ALL").is_none_or(|all| all != "1"), "{line}");
    eprintln!("not run: {line}");
    if let Some(list) = std::env::var_os("TESTKIT_NOT_RUN") {
        let list = std::fs::OpenOptions::new().create(true).append(true).open(list);
        writeln!(list.unwrap(), "{line}").unwrap();
    }
}

fn build(modules: &Path, directory: &Path) -> PathBuf {
    let mut image = Initramfs::default();
    image.add("/init", include_bytes!("init.sh").to_vec(), 0o755);
    let wrapper = format!(
        "#!/bin/busybox sh\nexport {SERVER_VARIABLE}=\"$*\"\nexec /nfs-test --exact server_of_the_virtual_machine --nocapture\n"
    );
    image.add("/server", wrapper.into_bytes(), 0o755);
    image.add_program("/nfs-test", &std::env::current_exe().unwrap());
    image.add_program("/usr/bin/guard", Path::new(env!("CARGO_BIN_EXE_guard")));
    image.add_program("/bin/busybox", &find_program("busybox").unwrap());
    image.add_program("/usr/sbin/ip", &find_program(PROGRAM).unwrap());
    let mut order = String::new();
    for module in MODULES {
        let name = format!("{}.ko", module.rsplit('/').next().unwrap());
        // What is built into the kernel is not a file.
        if let Ok(content) = std::fs::read(modules.join(format!("{module}.ko"))) {
            image.add(&format!("/modules/{name}"), content, 0o644);
            order.push_str(&name);
            order.push('\n');
        }
    }
    image.add("/modules/order", order.into_bytes(), 0o644);
    let path = directory.join("initramfs");
    std::fs::write(&path, image.into_bytes()).unwrap();
    path
}

/// A virtual machine that does not outlive its test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that the console showed, and the facts among it.
#[derive(Debug, Default)]
struct Played {
    console: Vec<String>,
    facts: BTreeMap<(String, String), String>,
}

impl Played {
    fn text(&self, scene: &str, name: &str) -> &str {
        let fact = self.facts.get(&(scene.to_owned(), name.to_owned()));
        fact.map_or_else(|| self.fail(&format!("{scene} has no fact {name}")), String::as_str)
    }

    fn number(&self, scene: &str, name: &str) -> f64 {
        let text = self.text(scene, name);
        text.parse().unwrap_or_else(|_| self.fail(&format!("{scene}: {name} is {text}")))
    }

    fn check(&self, scene: &str, holds: bool, what: &str) {
        if !holds {
            let facts: Vec<_> = self.facts.iter().filter(|((of, _), _)| of == scene).collect();
            self.fail(&format!("{scene}: {what}: {facts:?}"));
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.console.join("\n"));
    }
}

fn play(kernel: &Path, initramfs: &Path) -> Played {
    let mut machine = Command::new(find_program("qemu-system-x86_64").unwrap());
    machine.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "3072", "-nic", "none", "-display", "none"]);
    machine.args(["-serial", "stdio", "-monitor", "none", "-no-reboot", "-append", "console=ttyS0 quiet panic=-1"]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    let mut machine = Machine(machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let (lines, received) = mpsc::channel();
    let console = BufReader::new(machine.0.stdout.take().unwrap());
    thread::spawn(move || {
        for line in console.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let (mut played, deadline) = (Played::default(), Instant::now() + WITHIN);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = received.recv_timeout(left) else { played.fail("the virtual machine did not come to its end") };
        if let Some(fact) = line.strip_prefix("FACT ") {
            eprintln!("{fact}");
            let mut words = fact.splitn(3, ' ').map(str::to_owned);
            let (scene, name) = (words.next().unwrap(), words.next().unwrap());
            played.facts.insert((scene, name), words.next().unwrap_or_default());
        }
        let is_end = line == "END";
        played.console.push(line);
        if is_end {
            return played;
        }
    }
}

#[test]
fn one_writer_on_nfs() {
    let (kernel, modules) = match tools() {
        Ok(tools) => tools,
        Err(missing) => return note_not_run(&missing),
    };
    let directory = tempfile::tempdir().unwrap();
    let played = play(&kernel, &build(&modules, directory.path()));
    late_effects(&played);
    outages(&played);
    lost_lock_files(&played);
    frozen_holders(&played);

    played.check("no_space", played.text("no_space", "code") == "74", "the fence needs space");
    played.check(
        "no_space",
        played.text("no_space", "error").contains("2 MiB are needed"),
        "the error names the space",
    );
    played.check("no_space", played.text("no_space", "unchanged") == "yes", "the data is unchanged");
    played.check("no_space", played.text("no_space", "left") == "0", "no copy is left");

    played.check("handover", played.text("handover", "new_started_beside") == "none", "the second waits");
    let handover = played.number("handover", "new_started") - played.number("handover", "old_ended");
    played.check("handover", (0.0..TAKEOVER / 2.0).contains(&handover), "after a sign-off nobody waits");
    played.check("cost", played.text("cost", "fence").contains("256 MiB"), "the chunk is copied");
    played.check(
        "restart",
        played.text("restart", "old_end") == "none",
        "the server survives a restart of the file server",
    );
    played.check("restart", played.text("restart", "new_started") == "none", "and its lock is still held");
}

/// The reason for the fence, and that it works.
fn late_effects(played: &Played) {
    #[expect(clippy::cast_precision_loss, reason = "two thousand")]
    let synced = server::NEW_LINES as f64;
    let kept = played.number("late_write_unfenced", "kept");
    played.check("late_write_unfenced", kept < synced, "the late write destroys synced lines where nothing fences");
    played.check(
        "late_write_fenced",
        (played.number("late_write_fenced", "kept") - synced).abs() < 0.5,
        "no line is lost",
    );
    played.check("late_write_fenced", played.text("late_write_fenced", "old_lines") == "100", "nothing late arrives");
    played.check(
        "late_rename_unfenced",
        played.text("late_rename_unfenced", "indexmap") == "late",
        "the late rename lands",
    );
    played.check("late_rename_fenced", played.text("late_rename_fenced", "indexmap") == "new", "the late rename fails");
    for scene in ["late_write_fenced", "late_rename_fenced"] {
        let [cut, killed, started] = ["cut", "old_killed", "new_started"].map(|name| played.number(scene, name));
        // The time counts from the last heartbeat, which a busy machine may have sent well before the cut.
        played.check(scene, killed - cut >= TIMEOUT / 2.0, "the old server has its time");
        played.check(scene, killed < started, "the old server is killed before the new one starts");
        played.check(scene, played.text(scene, "old_code") == "74", "the old guard gives up");
    }
}

fn outages(played: &Played) {
    played.check("short_outage", played.text("short_outage", "old_end") == "none", "the server survives");
    played.check("short_outage", played.text("short_outage", "new_started") == "none", "nobody takes over");
    played.check("paused", played.text("paused", "old_code") == "74", "the paused guard has lost its lock");
    #[expect(clippy::cast_precision_loss, reason = "two thousand")]
    let synced = server::NEW_LINES as f64;
    played.check(
        "paused",
        (played.number("paused", "kept") - synced).abs() < 0.5,
        "what it writes then does not arrive",
    );
}

fn lost_lock_files(played: &Played) {
    for scene in ["moved", "removed"] {
        let [lost, killed, started] = ["lost", "old_killed", "new_started"].map(|name| played.number(scene, name));
        played.check(scene, killed - lost < 5.0, "it is noticed within a few heartbeats");
        played.check(scene, killed < started && started - lost >= TAKEOVER - 1.0, "a new lock file is waited for");
        played.check(scene, played.text(scene, "old_code") == "74", "the guard without its lock file gives up");
    }
}

fn frozen_holders(played: &Played) {
    for scene in ["frozen_guard", "frozen_group"] {
        for name in ["new_started_while_frozen", "old_end", "new_started"] {
            played.check(
                scene,
                played.text(scene, name) == "none",
                "the kernel keeps the lock of a process that stands still",
            );
        }
    }
}
