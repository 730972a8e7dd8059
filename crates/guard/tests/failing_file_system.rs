//! guard on a file system that fails on demand: when the heartbeat cannot be written, the server does not live on.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
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
struct OneFile {
    content: Option<Vec<u8>>,
    mode: Arc<AtomicU8>,
    /// Kept, so that whoever waits for an answer waits for ever.
    unanswered: Vec<ReplyWrite>,
}

impl OneFile {
    fn attributes(&self, inode: u64) -> FileAttr {
        let directory = inode == DIRECTORY;
        FileAttr {
            ino: inode,
            size: self.content.as_ref().filter(|_| !directory).map_or(0, |content| content.len() as u64),
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
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        if name == ".guard.lock" && self.content.is_some() {
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
        self.content = Some(Vec::new());
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
        let content = self.content.as_deref().unwrap_or_default();
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
                self.content = Some(data.to_vec());
                reply.written(u32::try_from(data.len()).unwrap());
            }
            FAILS => reply.error(Errno::EIO as i32),
            _ => self.unanswered.push(reply),
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
    _mount: BackgroundSession,
    _directories: [tempfile::TempDir; 2],
}

/// `None`, after saying so, where a test may not mount.
fn scene() -> Option<Scene> {
    let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mode = Arc::new(AtomicU8::new(WORKS));
    let file_system = OneFile { content: None, mode: Arc::clone(&mode), unanswered: Vec::new() };
    let mount = match fuser::spawn_mount2(file_system, data.path(), &[MountOption::FSName("guard-test".to_owned())]) {
        Ok(mount) => mount,
        Err(error) => {
            assert!(std::env::var_os("TESTKIT_REQUIRE_ALL").is_none(), "this machine cannot mount FUSE: {error}");
            eprintln!("not run: this machine cannot mount FUSE: {error}");
            return None;
        }
    };
    let pid = run.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid.display());
    let guard = Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["run", "--heartbeat-interval=50ms", "--heartbeat-timeout=600ms", "--takeover-after=1s", "--data-dir"])
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
    Some(Scene { guard, server, mode, _mount: mount, _directories: [data, run] })
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

impl Drop for Scene {
    fn drop(&mut self) {
        self.mode.store(FAILS, Ordering::SeqCst);
        let _ = self.guard.kill();
    }
}

#[test]
fn the_server_is_killed_when_the_heartbeat_fails() {
    let Some(mut scene) = scene() else { return };
    thread::sleep(Duration::from_millis(800));
    assert!(Path::new(&format!("/proc/{}", scene.server)).exists(), "a heartbeat that works keeps it alive");
    scene.mode.store(FAILS, Ordering::SeqCst);
    scene.wait_for_the_servers_death();
    assert_eq!(scene.guard.wait().unwrap().code(), Some(74));
    let mut said = String::new();
    scene.guard.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("the server was killed: the heartbeat cannot be written: Input/output error"), "{said}");
}

#[test]
fn the_server_is_killed_when_the_heartbeat_hangs() {
    let Some(scene) = scene() else { return };
    scene.mode.store(HANGS, Ordering::SeqCst);
    let after = scene.wait_for_the_servers_death();
    assert!(after >= Duration::from_millis(400), "before the time was up: {after:?}");
}
