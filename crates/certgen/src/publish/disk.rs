//! The calls that change a volume: narrow, so that tests can end the process before and after each, or lose what was not
//! made durable.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown, symlink};
use std::path::Path;

use crate::plan::Owner;

/// What is done to a volume, call by call.
pub(crate) trait Disk {
    /// A file that is open for writing.
    type File;

    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Of a directory.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Of a directory or a link itself.
    fn give(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// A new file that is never open to more than `mode`.
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Self::File>;
    fn write(&self, file: &mut Self::File, content: &[u8]) -> io::Result<()>;
    fn give_file(&self, file: &Self::File, owner: Owner) -> io::Result<()>;
    fn set_file_mode(&self, file: &Self::File, mode: u32) -> io::Result<()>;
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    fn link(&self, target: &Path, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
}

/// The file system itself.
#[derive(Debug)]
pub(crate) struct System;

impl Disk for System {
    type File = File;

    fn create_directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        lchown(path, Some(owner.user), owner.group)
    }

    fn create_file(&self, path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    fn give_file(&self, file: &File, owner: Owner) -> io::Result<()> {
        fchown(file, Some(owner.user), owner.group)
    }

    fn set_file_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode))
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        symlink(target, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}
