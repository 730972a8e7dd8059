//! guard on a file system that fails on demand: when the heartbeat cannot be written, the server does not live on; when the
//! sign-off cannot, guard does not; and what cannot lock is not used.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod file_system;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fuser::BackgroundSession;
use nix::errno::Errno;

use self::file_system::{Disk, FailingFileSystem, Kill, LOCK_FILE, LockWrites};

const DEADLINE: Duration = Duration::from_secs(20);

/// The mounted file system with a guard whose server notes its process id.
struct Scene {
    guard: Child,
    server: u32,
    disk: Arc<Mutex<Disk>>,
    _mount: BackgroundSession,
    _directories: [tempfile::TempDir; 2],
}

const FAST: [&str; 3] = ["--heartbeat-interval=50ms", "--heartbeat-timeout=600ms", "--takeover-after=1s"];
/// So patient that the server is not killed for want of a heartbeat.
const PATIENT: [&str; 3] = ["--heartbeat-interval=50ms", "--heartbeat-timeout=60s", "--takeover-after=70s"];

fn scene(times: [&str; 3]) -> Option<Scene> {
    let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file_system = FailingFileSystem::default();
    let disk = Arc::clone(&file_system.disk);
    let mount = file_system.mount(data.path())?;
    let pid = run.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid.display());
    let guard = Command::new(env!("CARGO_BIN_EXE_guard"))
        .arg("run")
        .args(times)
        .arg("--data-dir")
        .arg(data.path())
        .args(["--", "/bin/sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    let server = loop {
        match fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse().ok()) {
            Some(server) => break server,
            None => assert!(Instant::now() < deadline, "the server did not start"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    Some(Scene { guard, server, disk, _mount: mount, _directories: [data, run] })
}

impl Scene {
    /// Waits until the server is gone. Gives how long that took.
    fn wait_for_the_servers_death(&self) -> Duration {
        let since = Instant::now();
        while Path::new(&format!("/proc/{}", self.server)).exists() {
            assert!(since.elapsed() < DEADLINE, "the server lives on without a heartbeat");
            thread::sleep(Duration::from_millis(5));
        }
        since.elapsed()
    }
}

impl Scene {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Waits until guard has begun a write that is not answered.
    fn wait_for_a_hanging_write(&self) {
        let since = Instant::now();
        while !self.disk().is_blocking() {
            assert!(since.elapsed() < DEADLINE, "nothing is written");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The file system works again, and answers what it has not.
    fn release(&self) {
        let mut disk = self.disk();
        disk.lock_writes = LockWrites::Succeed;
        disk.answer();
    }

    fn terminate_server(&self) {
        let sent = Command::new("/bin/kill").arg(self.server.to_string()).status();
        assert!(sent.unwrap().success());
        self.wait_for_the_servers_death();
    }

    /// The next line that guard says, and when it was said.
    fn line(&mut self) -> (String, Instant) {
        let stderr = self.guard.stderr.take().unwrap();
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            // Nobody listens any more if it came too late.
            let _ = said.send((line, Instant::now(), lines.into_inner()));
        });
        let (line, at, stderr) = heard.recv_timeout(DEADLINE).expect("guard says nothing");
        self.guard.stderr = Some(stderr);
        (line, at)
    }

    /// The code with which guard ends, and what it said.
    fn end(&mut self) -> (Option<i32>, String) {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.guard.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < DEADLINE, "guard does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        self.guard.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A process that waits for an answer cannot be killed before it has one.
        self.disk().give_up();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[test]
fn the_server_is_killed_when_the_heartbeat_fails() {
    let Some(mut scene) = scene(FAST) else { return };
    thread::sleep(Duration::from_millis(800));
    assert!(Path::new(&format!("/proc/{}", scene.server)).exists(), "a heartbeat that works keeps it alive");
    scene.disk().lock_writes = LockWrites::Fail;
    scene.wait_for_the_servers_death();
    let (code, said) = scene.end();
    assert_eq!(code, Some(74));
    assert!(said.contains("no server runs any more: the heartbeat cannot be written: Input/output error"), "{said}");
}

#[test]
fn the_server_is_killed_when_the_heartbeat_hangs() {
    let Some(scene) = scene(FAST) else { return };
    scene.disk().lock_writes = LockWrites::Block;
    let after = scene.wait_for_the_servers_death();
    assert!(after >= Duration::from_millis(400), "before the time was up: {after:?}");
}

/// The next guard may have seen a heartbeat long before its writer got the answer, so the time counts from before.
#[test]
fn a_late_answer_does_not_prolong_the_servers_life() {
    let times = ["--heartbeat-interval=50ms", "--heartbeat-timeout=3s", "--takeover-after=4s"];
    let Some(scene) = scene(times) else { return };
    scene.disk().lock_writes = LockWrites::Block;
    scene.wait_for_a_hanging_write();
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(2500));
    scene.disk().answer();
    scene.wait_for_the_servers_death();
    let after = begun.elapsed();
    assert!((Duration::from_millis(2500)..Duration::from_secs(5)).contains(&after), "{after:?}");
}

/// The server has ended by itself; a file system that is gone must not keep its task from ending too.
#[test]
fn guard_ends_although_the_sign_off_hangs() {
    let Some(mut scene) = scene(PATIENT) else { return };
    scene.disk().lock_writes = LockWrites::Block;
    scene.wait_for_a_hanging_write();
    scene.terminate_server();
    let ended = Instant::now();
    let (line, at) = scene.line();
    assert!(line.contains("could not sign off, the next guard will wait: timed out"), "{line}");
    assert!(at - ended >= Duration::from_secs(4), "it did not wait for the file system: {:?}", at - ended);
    // Unlike NFS, FUSE does not let go of a process that waits for an answer.
    scene.release();
    assert_eq!(scene.end().0, Some(143), "the server's end is told");
}

/// A heartbeat was on its way when the server ended: it does not come after the sign-off, and hides nothing.
#[test]
fn the_sign_off_comes_after_a_heartbeat_that_was_on_its_way() {
    let Some(mut scene) = scene(PATIENT) else { return };
    scene.disk().lock_writes = LockWrites::Block;
    scene.wait_for_a_hanging_write();
    scene.terminate_server();
    scene.release();
    let (code, said) = scene.end();
    assert_eq!(code, Some(143));
    assert!(!said.contains("could not sign off"), "{said}");
    let content = scene.disk().files()[LOCK_FILE].clone();
    assert!(content.starts_with(b"guard1 signed-off "), "{}", String::from_utf8_lossy(&content));
}

#[test]
fn a_file_system_that_cannot_lock_is_refused() {
    for (error, said) in [(Errno::ENOSYS, "not implemented"), (Errno::ENOLCK, "No locks available")] {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file_system = FailingFileSystem { lock_error: Some(error), ..FailingFileSystem::default() };
        let Some(_mount) = file_system.mount(data.path()) else { return };
        let started = run.path().join("started");
        let output = Command::new(env!("CARGO_BIN_EXE_guard"))
            .args(["run", "--data-dir"])
            .arg(data.path())
            .args(["--", "/bin/touch"])
            .arg(&started)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{stderr}");
        assert!(stderr.contains("error: could not lock") && stderr.contains(said), "{stderr}");
        assert!(stderr.contains("hint: this file system has no locks"), "{stderr}");
        assert!(!started.exists(), "a server was started without a lock");
    }
}

/// A warning comes long before anything is killed, in the log and in the status file.
#[test]
fn slow_heartbeat_is_reported_before_the_server_is_killed() {
    let Some(mut scene) = scene(PATIENT) else { return };
    scene.disk().lock_writes = LockWrites::Block;
    let (line, _) = scene.line();
    assert!(
        line.contains("guard: warning: the heartbeat is not answered for 0 s; at 60 s the server is killed"),
        "{line}"
    );
    scene.release();
    let (line, _) = scene.line();
    assert!(line.contains("guard: the heartbeat was answered after"), "{line}");
    scene.terminate_server();
    assert_eq!(scene.end().0, Some(143));
}

/// The record of a holder that was killed.
const HELD: &str = "guard1 held 00000000000000000007 1800000000 a killed task";
const RECOVERY_POINT: &str = "arn:aws:backup:eu-west-1:123456789012:recovery-point:0A";

/// What a holder that was killed left: a completed chunk, one that is written to, checkpoints and temporary files.
fn database(disk: &mut Disk) {
    let chunk = |is_completed: u8| {
        let mut chunk = vec![7; 400];
        chunk[400 - 128] = is_completed;
        chunk
    };
    disk.put(LOCK_FILE, format!("{HELD:511}\n"));
    disk.put("chunk-000000.000000", chunk(3));
    disk.put("chunk-000001.000000", chunk(0));
    for name in ["chaser.chk", "writer.chk"] {
        disk.put(name, name);
    }
    disk.put("chunk-000000.000001.scavenge.tmp", "scavenged");
    disk.put(".guard.version", "guard1 last=24.10 newest=24.10\n");
}

const EXPECTED: [&str; 8] = [
    ".guard.lock",
    ".guard.restored",
    ".guard.version",
    "chaser.chk",
    "chunk-000000.000000",
    "chunk-000001.000000",
    "truncate.chk",
    "writer.chk",
];

/// Runs guard to its end on a file system with that database.
fn take_over(at: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["run", "--heartbeat-interval=100ms", "--heartbeat-timeout=1s", "--takeover-after=1100ms", "--data-dir"])
        .arg(at)
        .args([
            "--server-version=26.0",
            "--opens-data-of=24.10",
            "--restored",
            RECOVERY_POINT,
            "--",
            "/bin/sh",
            "-c",
            "exit 3",
        ])
        .output()
        .unwrap()
}

fn is_temporary(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

/// False when guard made fewer changes than that.
fn is_killed_and_finished_by_the_next(kill: Kill) -> bool {
    let data = tempfile::tempdir().unwrap();
    let file_system = FailingFileSystem::default();
    let disk = Arc::clone(&file_system.disk);
    let contents = |disk: &Disk| {
        disk.files().into_iter().filter(|(name, _)| !name.starts_with(".guard")).collect::<BTreeMap<_, _>>()
    };
    let (before, inodes) = {
        let mut disk = disk.lock().unwrap();
        database(&mut disk);
        disk.kill = Some(kill);
        (contents(&disk), ["chunk-000001.000000", "writer.chk", "chunk-000000.000000"].map(|name| disk.inode(name)))
    };
    let Some(_mount) = file_system.mount(data.path()) else { return false };
    let killed = take_over(data.path());
    if killed.status.code() == Some(3) {
        return false;
    }
    assert_eq!(killed.status.code(), None, "{kill:?}: {}", String::from_utf8_lossy(&killed.stderr));
    {
        let mut disk = disk.lock().unwrap();
        disk.kill = None;
        for (name, content) in contents(&disk) {
            let whole = before.get(&name).or_else(|| before.get("chaser.chk")).unwrap();
            assert!(is_temporary(&name) || content == *whole, "{kill:?}: {name} is torn");
        }
        let version = &disk.files()[".guard.version"];
        let whole = ["24.10", "26.0"].map(|version| format!("guard1 last={version} newest={version}\n").into_bytes());
        assert!(whole.contains(version), "{kill:?}: {}", String::from_utf8_lossy(version));
    }
    let finished = take_over(data.path());
    assert_eq!(finished.status.code(), Some(3), "{kill:?}: {}", String::from_utf8_lossy(&finished.stderr));
    let disk = disk.lock().unwrap();
    let files = disk.files();
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), EXPECTED, "{kill:?}");
    for (name, content) in &before {
        assert!(is_temporary(name) || files[name] == *content, "{kill:?}: {name} has changed");
    }
    assert_eq!(files["truncate.chk"], b"chaser.chk");
    assert_eq!(files[".guard.version"], b"guard1 last=26.0 newest=26.0\n");
    let after = ["chunk-000001.000000", "writer.chk", "chunk-000000.000000"].map(|name| disk.inode(name));
    assert!(after[0] != inodes[0] && after[1] != inodes[1] && after[2] == inodes[2], "{kill:?}");
    true
}

/// Fence, truncation and version record: guard is killed at each of its changes, before and after it takes effect.
#[test]
fn guard_killed_at_any_change_is_finished_by_the_next() {
    const WORKERS: usize = 12;
    let kills = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    let steps = (worker..).step_by(WORKERS);
                    let kills =
                        steps.map(|step| if step % 2 == 0 { Kill::Before(step / 2) } else { Kill::After(step / 2) });
                    kills.take_while(|kill| is_killed_and_finished_by_the_next(*kill)).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    let may_mount = Path::new("/dev/fuse").exists();
    assert!(kills > 40 || !may_mount, "guard was killed only {kills} times");
}

#[test]
fn fence_without_space_names_what_it_needs_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let file_system = FailingFileSystem::default();
    let disk = Arc::clone(&file_system.disk);
    database(&mut disk.lock().unwrap());
    disk.lock().unwrap().free = Some(405);
    let Some(_mount) = file_system.mount(data.path()) else { return };
    let output = take_over(data.path());
    let logged = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{logged}");
    assert!(logged.contains("1 MiB are needed") && logged.contains("hint: free as much space"), "{logged}");
    let files = disk.lock().unwrap().files();
    assert!(files.keys().all(|name| !is_temporary(name)), "{:?}", files.keys());
    assert!(!files.contains_key("truncate.chk"), "the server would truncate a directory that is not fenced");
    assert!(files[LOCK_FILE].starts_with(b"guard1 held "), "the next guard fences");
    disk.lock().unwrap().free = None;
    assert_eq!(take_over(data.path()).status.code(), Some(3));
}
