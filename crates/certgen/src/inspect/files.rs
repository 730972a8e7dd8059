//! Reads files and directories; the only place of `inspect` that touches the file system.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{collections::HashSet, fs::File as Open};

use zeroize::Zeroizing;

use super::contents::File;
use super::report::Unreadable;

/// No certificate or key is larger; a bundle of all roots of the web is a quarter of it.
const LARGEST: u64 = 1 << 20;

/// Deeper than any layout of certificates.
const DEEPEST: usize = 6;

/// What is there.
#[derive(Default)]
pub struct Found {
    /// The files that hold certificates or keys by their names, or were named themselves.
    pub files: Vec<File>,
    /// The directories that were looked into.
    pub directories: Vec<PathBuf>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Reads the named files, and in directories and those below all whose names end like those of certificates and keys. What
/// begins with a dot is left out: generations of certgen are seen through their links.
pub(super) fn read(paths: &[PathBuf]) -> Found {
    let mut reader = Reader { found: Found::default(), seen: HashSet::new() };
    for path in paths {
        reader.named(path);
    }
    reader.found
}

struct Reader {
    found: Found,
    /// By device and number: a file that has several names is read once.
    seen: HashSet<(u64, u64)>,
}

impl Reader {
    fn named(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                // Names in it need no `./` before them.
                let shown = if path == Path::new(".") { Path::new("") } else { path };
                self.directory(path, shown, &found, 0);
            }
            Ok(found) => self.file(path, path, &found, true),
            Err(error) => self.failed(path, &error),
        }
    }

    fn directory(&mut self, path: &Path, shown: &Path, found: &Metadata, depth: usize) {
        if depth > DEEPEST || !self.seen.insert((found.dev(), found.ino())) {
            return;
        }
        let mut names = match list(path) {
            Ok(names) => names,
            Err(error) => return self.failed(path, &error),
        };
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        self.found.directories.push(shown.to_owned());
        let mut below = Vec::new();
        for name in names {
            let (path, shown) = (path.join(&name), shown.join(&name));
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => below.push((path, shown, found)),
                Ok(found) if is_of_interest(&name) => self.file(&path, &shown, &found, false),
                Err(error) if is_of_interest(&name) => self.failed(&shown, &error),
                Ok(_) | Err(_) => {}
            }
        }
        for (path, shown, found) in below {
            self.directory(&path, &shown, &found, depth + 1);
        }
    }

    fn file(&mut self, path: &Path, shown: &Path, found: &Metadata, is_named: bool) {
        if !self.seen.insert((found.dev(), found.ino())) {
            return;
        }
        // Something that is no file may never end.
        let content = if found.is_file() { content(path) } else { Err(io::Error::other("it is not a file")) };
        match content {
            Ok(bytes) => {
                let mode = Some(found.mode() & 0o7777);
                self.found.files.push(File { path: shown.to_owned(), mode, bytes, is_named });
            }
            Err(error) => self.failed(shown, &error),
        }
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        let unreadable = Unreadable { file: path.display().to_string(), reason: error.to_string() };
        self.found.unreadable.push(unreadable);
    }
}

fn list(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    Open::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB, which no certificate or key is"));
    }
    Ok(bytes)
}

fn is_of_interest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().map(OsStr::to_ascii_lowercase);
    ["crt", "cert", "cer", "pem", "der", "key"].iter().any(|known| extension.as_deref() == Some(OsStr::new(known)))
}
