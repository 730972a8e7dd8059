//! An initramfs: a cpio archive in the format "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of the archive, by their paths.
#[derive(Default)]
pub(crate) struct Initramfs {
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

impl Initramfs {
    pub(crate) fn add(&mut self, path: &str, content: Vec<u8>, mode: u32) {
        for (index, _) in path.match_indices('/').skip(1) {
            self.files.entry(path[..index].to_owned()).or_insert_with(|| (DIRECTORY, Vec::new()));
        }
        self.files.insert(path.to_owned(), (REGULAR | mode, content));
    }

    /// A program with the shared libraries that it needs.
    pub(crate) fn add_program(&mut self, path: &str, program: &Path) {
        self.add(path, fs::read(program).unwrap(), 0o755);
        // A static program has none, and ldd fails for it.
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            self.add(library, fs::read(library).unwrap(), 0o755);
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (number, (path, (mode, content))) in self.files.iter().enumerate() {
            entry(&mut archive, number + 1, path.trim_start_matches('/'), *mode, content);
        }
        entry(&mut archive, 0, "TRAILER!!!", 0, &[]);
        archive
    }
}

fn entry(archive: &mut Vec<u8>, inode: usize, name: &str, mode: u32, content: &[u8]) {
    let links = if mode == DIRECTORY { 2 } else { 1 };
    let fields = [inode, mode as usize, 0, 0, links, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0]
        .map(|field| format!("{field:08x}"));
    archive.extend(b"070701");
    archive.extend(fields.concat().as_bytes());
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// A program on the path, or where Debian keeps those of root.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}
