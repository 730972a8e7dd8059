//! guard on a file system that fails on demand: when the heartbeat cannot be written, the server does not live on; when the
//! sign-off cannot, guard does not; and what cannot lock is not used.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};
use nix::errno::Errno;

const DEADLINE: Duration = Duration::from_secs(20);
const NO_CACHE: Duration = Duration::ZERO;
const DIRECTORY: u64 = 1;
const FILE: u64 = 2;

const WORKS: u8 = 0;
const FAILS: u8 = 1;
const HANGS: u8 = 2;

/// A directory that can hold one file, `.guard.lock`.
#[derive(Default)]
struct OneFile {
    file: Arc<Mutex<LockFile>>,
    mode: Arc<AtomicU8>,
    /// What is answered to whoever wants to lock; the kernel does it if this is nothing.
    lock_error: Option<Errno>,
}

#[derive(Default)]
struct LockFile {
    content: Option<Vec<u8>>,
    /// Whoever waits for an answer waits until it is given.
    unanswered: Vec<(ReplyWrite, Vec<u8>)>,
}

impl OneFile {
    fn attributes(&self, inode: u64) -> FileAttr {
        let directory = inode == DIRECTORY;
        FileAttr {
            ino: inode,
            size: self
                .file
                .lock()
                .unwrap()
                .content
                .as_ref()
                .filter(|_| !directory)
                .map_or(0, |content| content.len() as u64),
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for OneFile {
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), i32> {
        // In the version of the protocol that is spoken here this stands for flock too.
        let given = self.lock_error.map_or(Ok(()), |_| config.add_capabilities(fuser::consts::FUSE_POSIX_LOCKS));
        given.map_err(|_| Errno::ENOSYS as i32)
    }

    fn setlk(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(self.lock_error.unwrap_or(Errno::ENOSYS) as i32);
    }

    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        if name == ".guard.lock" && self.file.lock().unwrap().content.is_some() {
            reply.entry(&NO_CACHE, &self.attributes(FILE), 0);
        } else {
            reply.error(Errno::ENOENT as i32);
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&NO_CACHE, &self.attributes(inode));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<u64>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        reply.attr(&NO_CACHE, &self.attributes(inode));
    }

    fn create(&mut self, _: &Request<'_>, _: u64, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        self.file.lock().unwrap().content = Some(Vec::new());
        reply.created(&NO_CACHE, &self.attributes(FILE), 0, 0, fuser::consts::FOPEN_DIRECT_IO);
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, fuser::consts::FOPEN_DIRECT_IO);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let content = self.file.lock().unwrap().content.clone().unwrap_or_default();
        let start = usize::try_from(offset).unwrap().min(content.len());
        reply.data(&content[start..content.len().min(start + size as usize)]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        _: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.mode.load(Ordering::SeqCst) {
            WORKS => {
                self.file.lock().unwrap().content = Some(data.to_vec());
                reply.written(u32::try_from(data.len()).unwrap());
            }
            FAILS => reply.error(Errno::EIO as i32),
            _ => self.file.lock().unwrap().unanswered.push((reply, data.to_vec())),
        }
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// The mounted file system with a guard whose server notes its process id.
struct Scene {
    guard: Child,
    server: u32,
    mode: Arc<AtomicU8>,
    file: Arc<Mutex<LockFile>>,
    _mount: BackgroundSession,
    _directories: [tempfile::TempDir; 2],
}

/// `None`, after saying so, where a test may not mount.
fn mount(file_system: OneFile, at: &Path) -> Option<BackgroundSession> {
    match fuser::spawn_mount2(file_system, at, &[MountOption::FSName("guard-test".to_owned())]) {
        Ok(mount) => Some(mount),
        Err(error) => {
            assert!(std::env::var_os("TESTKIT_REQUIRE_ALL").is_none(), "this machine cannot mount FUSE: {error}");
            eprintln!("not run: this machine cannot mount FUSE: {error}");
            None
        }
    }
}

const FAST: [&str; 3] = ["--heartbeat-interval=50ms", "--heartbeat-timeout=600ms", "--takeover-after=1s"];
/// So patient that the server is not killed for want of a heartbeat.
const PATIENT: [&str; 3] = ["--heartbeat-interval=50ms", "--heartbeat-timeout=60s", "--takeover-after=70s"];

fn scene(times: [&str; 3]) -> Option<Scene> {
    let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file_system = OneFile::default();
    let (mode, file) = (Arc::clone(&file_system.mode), Arc::clone(&file_system.file));
    let mount = mount(file_system, data.path())?;
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
    Some(Scene { guard, server, mode, file, _mount: mount, _directories: [data, run] })
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
    /// Waits until guard has begun a write that is not answered.
    fn wait_for_a_hanging_write(&self) {
        let since = Instant::now();
        while self.file.lock().unwrap().unanswered.is_empty() {
            assert!(since.elapsed() < DEADLINE, "nothing is written");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The file system is well again, and answers what it has not.
    fn release(&self) {
        self.mode.store(WORKS, Ordering::SeqCst);
        self.answer();
    }

    /// Answers what is waited for.
    fn answer(&self) {
        let mut file = self.file.lock().unwrap();
        let unanswered: Vec<_> = file.unanswered.drain(..).collect();
        for (reply, data) in unanswered {
            reply.written(u32::try_from(data.len()).unwrap());
            file.content = Some(data);
        }
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
        self.mode.store(FAILS, Ordering::SeqCst);
        // A process that waits for an answer cannot be killed before it has one.
        self.file.lock().unwrap().unanswered.clear();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[test]
fn the_server_is_killed_when_the_heartbeat_fails() {
    let Some(mut scene) = scene(FAST) else { return };
    thread::sleep(Duration::from_millis(800));
    assert!(Path::new(&format!("/proc/{}", scene.server)).exists(), "a heartbeat that works keeps it alive");
    scene.mode.store(FAILS, Ordering::SeqCst);
    scene.wait_for_the_servers_death();
    let (code, said) = scene.end();
    assert_eq!(code, Some(74));
    assert!(said.contains("the server was killed: the heartbeat cannot be written: Input/output error"), "{said}");
}

#[test]
fn the_server_is_killed_when_the_heartbeat_hangs() {
    let Some(scene) = scene(FAST) else { return };
    scene.mode.store(HANGS, Ordering::SeqCst);
    let after = scene.wait_for_the_servers_death();
    assert!(after >= Duration::from_millis(400), "before the time was up: {after:?}");
}

/// The next guard may have seen a heartbeat long before its writer got the answer, so the time counts from before.
#[test]
fn a_late_answer_does_not_prolong_the_servers_life() {
    let times = ["--heartbeat-interval=50ms", "--heartbeat-timeout=3s", "--takeover-after=4s"];
    let Some(scene) = scene(times) else { return };
    scene.mode.store(HANGS, Ordering::SeqCst);
    scene.wait_for_a_hanging_write();
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(2500));
    scene.answer();
    scene.wait_for_the_servers_death();
    let after = begun.elapsed();
    assert!((Duration::from_millis(2500)..Duration::from_secs(5)).contains(&after), "{after:?}");
}

/// The server has ended by itself; a file system that is gone must not keep its task from ending too.
#[test]
fn guard_ends_although_the_sign_off_hangs() {
    let Some(mut scene) = scene(PATIENT) else { return };
    scene.mode.store(HANGS, Ordering::SeqCst);
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
    scene.mode.store(HANGS, Ordering::SeqCst);
    scene.wait_for_a_hanging_write();
    scene.terminate_server();
    scene.release();
    let (code, said) = scene.end();
    assert_eq!(code, Some(143));
    assert!(!said.contains("could not sign off"), "{said}");
    let content = scene.file.lock().unwrap().content.clone().unwrap();
    assert!(content.starts_with(b"guard1 signed-off "), "{}", String::from_utf8_lossy(&content));
}

#[test]
fn a_file_system_that_cannot_lock_is_refused() {
    for (error, said) in [(Errno::ENOSYS, "not implemented"), (Errno::ENOLCK, "No locks available")] {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file_system = OneFile { lock_error: Some(error), ..OneFile::default() };
        let Some(_mount) = mount(file_system, data.path()) else { return };
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
        assert!(stderr.contains("hint: this file system cannot lock"), "{stderr}");
        assert!(!started.exists(), "a server was started without a lock");
    }
}
