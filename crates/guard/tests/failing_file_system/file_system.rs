//! A directory in memory whose lock file fails or blocks on demand, and which kills its user at a chosen change.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NO_CACHE: Duration = Duration::ZERO;
const DIRECTORY: u64 = 1;
pub(crate) const LOCK_FILE: &str = ".guard.lock";

/// What writes to the lock file do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LockWrites {
    #[default]
    Succeed,
    /// EIO, as NFS has it when the lease is lost.
    Fail,
    /// No answer until [`Disk::answer`].
    Block,
}

/// Whether the process is killed before or after the change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    Before(usize),
    After(usize),
}

/// What the file system holds; the test looks at it from outside.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    next_inode: u64,
    pub(crate) lock_writes: LockWrites,
    unanswered: Vec<(ReplyWrite, Vec<u8>)>,
    /// At which change, counted from 0, the process that makes it is killed. Changes of the lock file do not count: when they come is not
    /// determined.
    pub(crate) kill: Option<Kill>,
    pub(crate) changes: usize,
    /// Bytes that the file system has left.
    pub(crate) free: Option<usize>,
}

impl Disk {
    pub(crate) fn put(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        let inode = self.create(name);
        self.contents.insert(inode, content.into());
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.names.iter().map(|(name, inode)| (name.clone(), self.contents[inode].clone())).collect()
    }

    pub(crate) fn inode(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    pub(crate) fn is_blocking(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Answers what is waited for.
    pub(crate) fn answer(&mut self) {
        for (reply, data) in std::mem::take(&mut self.unanswered) {
            reply.written(u32::try_from(data.len()).unwrap());
            let inode = self.names[LOCK_FILE];
            self.contents.insert(inode, data);
        }
    }

    /// Lets what waits fail.
    pub(crate) fn give_up(&mut self) {
        self.lock_writes = LockWrites::Fail;
        self.unanswered.clear();
    }

    fn create(&mut self, name: &str) -> u64 {
        self.next_inode += 1;
        let inode = DIRECTORY + self.next_inode;
        self.names.insert(name.to_owned(), inode);
        self.contents.insert(inode, Vec::new());
        inode
    }

    fn attributes(&self, inode: u64) -> FileAttr {
        let is_directory = inode == DIRECTORY;
        let links = self.names.values().filter(|linked| **linked == inode).count();
        FileAttr {
            ino: inode,
            size: self.contents.get(&inode).map_or(0, |content| content.len() as u64),
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_directory { FileType::Directory } else { FileType::RegularFile },
            perm: if is_directory { 0o755 } else { 0o644 },
            nlink: if is_directory { 2 } else { u32::try_from(links).unwrap() },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Makes a change, unless the process is killed before it; and kills it after it, if that was asked for.
    fn change(&mut self, request: &Request<'_>, inode: Option<u64>, change: impl FnOnce(&mut Self)) {
        if inode.is_some() && inode == self.inode(LOCK_FILE) {
            return change(self);
        }
        let number = self.changes;
        self.changes += 1;
        let kill = |expected| {
            if self.kill == Some(expected) {
                // The thread that asked; SIGKILL ends its process.
                kill(Pid::from_raw(i32::try_from(request.pid()).unwrap()), Signal::SIGKILL).unwrap();
            }
            self.kill == Some(expected)
        };
        if kill(Kill::Before(number)) {
            return;
        }
        let is_killed = kill(Kill::After(number));
        change(self);
        if is_killed {
            self.kill = None;
        }
    }
}

/// The mounted directory.
#[derive(Default)]
pub(crate) struct FailingFileSystem {
    pub(crate) disk: Arc<Mutex<Disk>>,
    /// The answer to whoever wants to lock; the kernel locks if there is none.
    pub(crate) lock_error: Option<Errno>,
}

impl FailingFileSystem {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// `None`, after saying so, where a test may not mount.
    pub(crate) fn mount(self, at: &Path) -> Option<BackgroundSession> {
        match fuser::spawn_mount2(self, at, &[MountOption::FSName("guard-test".to_owned())]) {
            Ok(mount) => Some(mount),
            Err(error) => {
                assert!(std::env::var_os("TESTKIT_REQUIRE_ALL").is_none(), "this machine cannot mount FUSE: {error}");
                eprintln!("not run: this machine cannot mount FUSE: {error}");
                None
            }
        }
    }
}

impl Filesystem for FailingFileSystem {
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
        let disk = self.disk();
        match disk.inode(name.to_str().unwrap()) {
            Some(inode) => reply.entry(&NO_CACHE, &disk.attributes(inode), 0),
            None => reply.error(Errno::ENOENT as i32),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&NO_CACHE, &self.disk().attributes(inode));
    }

    fn setattr(
        &mut self,
        request: &Request<'_>,
        inode: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
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
        let mut disk = self.disk();
        disk.change(request, Some(inode), |disk| {
            if let Some(size) = size {
                disk.contents.get_mut(&inode).unwrap().resize(usize::try_from(size).unwrap(), 0);
            }
        });
        reply.attr(&NO_CACHE, &disk.attributes(inode));
    }

    fn readdir(&mut self, _: &Request<'_>, _: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        for (index, (name, inode)) in disk.names.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            if reply.add(*inode, i64::try_from(index).unwrap() + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }

    fn create(&mut self, request: &Request<'_>, _: u64, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let (mut disk, name) = (self.disk(), name.to_str().unwrap());
        if name == LOCK_FILE {
            disk.create(name);
        } else {
            disk.change(request, None, |disk| {
                disk.create(name);
            });
        }
        match disk.inode(name) {
            Some(inode) => {
                reply.created(&NO_CACHE, &disk.attributes(inode), 0, 0, fuser::consts::FOPEN_DIRECT_IO);
            }
            None => reply.error(Errno::EIO as i32),
        }
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, fuser::consts::FOPEN_DIRECT_IO);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let disk = self.disk();
        let content = &disk.contents[&inode];
        let start = usize::try_from(offset).unwrap().min(content.len());
        reply.data(&content[start..content.len().min(start + size as usize)]);
    }

    fn write(
        &mut self,
        request: &Request<'_>,
        inode: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let mut disk = self.disk();
        let is_lock_file = disk.inode(LOCK_FILE) == Some(inode);
        match disk.lock_writes {
            LockWrites::Fail if is_lock_file => return reply.error(Errno::EIO as i32),
            LockWrites::Block if is_lock_file => return disk.unanswered.push((reply, data.to_vec())),
            _ => {}
        }
        if !is_lock_file && let Some(free) = disk.free {
            match free.checked_sub(data.len()) {
                Some(left) => disk.free = Some(left),
                None => return reply.error(Errno::ENOSPC as i32),
            }
        }
        disk.change(request, Some(inode), |disk| {
            let content = disk.contents.get_mut(&inode).unwrap();
            let start = usize::try_from(offset).unwrap();
            content.resize(content.len().max(start + data.len()), 0);
            content[start..start + data.len()].copy_from_slice(data);
        });
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn rename(&mut self, request: &Request<'_>, _: u64, from: &OsStr, _: u64, to: &OsStr, _: u32, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let Some(inode) = disk.inode(from.to_str().unwrap()) else { return reply.error(Errno::ENOENT as i32) };
        disk.change(request, Some(inode), |disk| {
            disk.names.remove(from.to_str().unwrap());
            disk.names.insert(to.to_str().unwrap().to_owned(), inode);
        });
        reply.ok();
    }

    fn unlink(&mut self, request: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let inode = disk.inode(name.to_str().unwrap());
        disk.change(request, inode, |disk| {
            disk.names.remove(name.to_str().unwrap());
        });
        reply.ok();
    }

    fn fsync(&mut self, request: &Request<'_>, inode: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.disk().change(request, Some(inode), |_| {});
        reply.ok();
    }

    fn fsyncdir(&mut self, request: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.disk().change(request, None, |_| {});
        reply.ok();
    }
}
