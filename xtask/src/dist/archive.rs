//! Tar archives that are the same bytes whoever makes them, when and where: sorted, of root, without times.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};

/// A file to pack.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_program: bool,
}

/// What is to be packed, by path.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// A tar archive of them, with the directories that they are in.
pub(crate) fn tar(entries: &Entries) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut last: Vec<&str> = Vec::new();
    for (path, entry) in entries {
        let components: Vec<_> = path.split('/').collect();
        let directories = &components[..components.len() - 1];
        // Sorted by path, what is in one directory stands together.
        let known = last.iter().zip(directories).take_while(|(one, other)| one == other).count();
        for depth in known..directories.len() {
            let directory = directories[..=depth].join("/") + "/";
            tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), directory, io::empty())?;
        }
        last = directories.to_vec();
        let mode = if entry.is_program { 0o755 } else { 0o644 };
        let size = entry.bytes.len() as u64;
        tar.append_data(&mut header(tar::EntryType::Regular, mode, size), path, entry.bytes.as_slice())?;
    }
    tar.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Compressed, with a header that tells neither time nor system.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_tell_nothing_but_names_modes_and_bytes() {
        let file = |bytes: &[u8], is_program| Entry { bytes: bytes.to_vec(), is_program };
        let entries = Entries::from([
            ("a/bin/x".to_owned(), file(b"program", true)),
            ("a/b".to_owned(), file(b"text", false)),
            ("a/bin/y/z".to_owned(), file(b"", false)),
        ]);
        let bytes = tar(&entries).unwrap();
        assert_eq!(bytes, tar(&entries.clone()).unwrap());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let header = entry.unwrap().header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            found.push(format!("{:o} {}", header.mode().unwrap(), header.path().unwrap().display()));
        }
        assert_eq!(found, ["755 a/", "644 a/b", "755 a/bin/", "755 a/bin/x", "755 a/bin/y/", "644 a/bin/y/z"]);
        let compressed = gzip(&bytes).unwrap();
        // RFC 1952: magic, deflate, no flags, no time, best, unknown system.
        assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }
}
