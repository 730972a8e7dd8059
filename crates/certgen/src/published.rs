//! What is published on a volume: read whole from one generation, changed never.

use std::fs::{self, File as Open};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::inspect::{self, CertificateReport, File, Found, Kind, Question, Report};
use crate::plan::{Names, Validity};
use crate::publish::{CURRENT, NODE_CERTIFICATE, NODE_KEY, PublishError, ROOTS, Volume};

/// No certificate or key is larger.
const LARGEST: u64 = 1 << 20;

/// Whoever publishes does it once, so that the second look finds what is there.
const LOOKS: usize = 16;

/// A file or directory of a generation.
pub(crate) struct Entry {
    /// Below the generation; `.` is the generation itself.
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) is_directory: bool,
    /// A file's content, or why it cannot be read. Of a directory it is empty.
    pub(crate) content: Result<Zeroizing<Vec<u8>>, String>,
}

/// What is published on a volume: key, certificate and roots of one generation, never of two.
#[derive(Default)]
pub struct Published {
    /// Whether a generation was ever published.
    pub(crate) is_there: bool,
    /// By their names.
    pub(crate) entries: Vec<Entry>,
    /// What should be there and is not.
    pub(crate) missing: Vec<String>,
}

impl Published {
    /// Reads what is published in the directory `volume`, which must exist. Somebody may publish meanwhile.
    ///
    /// # Errors
    ///
    /// [`PublishError::Missing`] and [`PublishError::NotADirectory`] if there is no such directory,
    /// [`PublishError::Foreign`] if a file of somebody else has a name that certgen writes, [`PublishError::Io`] if it cannot
    /// be read. A file that cannot be read, or is missing, is no error but a reason to publish anew
    /// ([`due`](fn@crate::due)).
    pub fn read(volume: &Path) -> Result<Self, PublishError> {
        Self::read_in(&Volume::open(volume, None)?)
    }

    pub(crate) fn read_in(volume: &Volume) -> Result<Self, PublishError> {
        let mut looks = 0;
        loop {
            let current = volume.current()?;
            let links = volume.missing_links()?;
            let Some(generation) = &current else { return Ok(Self::default()) };
            let mut published = Self { is_there: true, ..Self::default() };
            published.missing.extend(links.into_iter().map(str::to_owned));
            published.read_generation(&volume.path().join(generation))?;
            looks += 1;
            if volume.current()? == current || looks == LOOKS {
                return Ok(published);
            }
        }
    }

    fn read_generation(&mut self, generation: &Path) -> Result<(), PublishError> {
        if !self.read_entry(generation, "", CURRENT)? {
            return Ok(());
        }
        if self.read_entry(generation, ROOTS, ROOTS)? {
            let directory = generation.join(ROOTS);
            let mut names: Vec<_> = match fs::read_dir(&directory) {
                Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>(),
                Err(error) => Err(error),
            }
            .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) })
            .map_err(io_error("list", &directory))?;
            names.sort();
            for name in names {
                let name = format!("{ROOTS}/{}", name.to_string_lossy());
                self.read_entry(generation, &name, &name)?;
            }
        }
        for name in [NODE_CERTIFICATE, NODE_KEY] {
            self.read_entry(generation, name, name)?;
        }
        Ok(())
    }

    /// Whether it is there; `shown` is its name for people.
    fn read_entry(&mut self, generation: &Path, name: &str, shown: &str) -> Result<bool, PublishError> {
        let path = if name.is_empty() { generation.to_owned() } else { generation.join(name) };
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !self.missing.iter().any(|missing| missing == shown) {
                    self.missing.push(shown.to_owned());
                }
                return Ok(false);
            }
            Err(source) => return Err(PublishError::Io { action: "look at", path, source }),
        };
        let content = if found.is_dir() {
            Ok(Zeroizing::default())
        } else if found.is_file() {
            content(&path).map_err(|error| error.to_string())
        } else {
            Err("it is not a file".to_owned())
        };
        self.entries.push(Entry {
            name: shown.to_owned(),
            mode: found.mode() & 0o7777,
            user: found.uid(),
            group: found.gid(),
            is_directory: found.is_dir(),
            content,
        });
        Ok(true)
    }

    /// The names in the node's certificate, if there is one that certgen can read.
    pub fn names(&self) -> Option<Names> {
        let certificate = self.certificate()?;
        let dns: Result<Vec<_>, _> = certificate.dns_names.iter().map(|name| name.parse()).collect();
        Some(Names::with_loopback(dns.ok()?, certificate.ip_addresses))
    }

    /// The end of the node's certificate.
    pub fn not_after(&self) -> Option<OffsetDateTime> {
        self.certificate().map(|certificate| certificate.not_after)
    }

    /// How long the node's certificate was to be valid when it was issued, if certgen issued it.
    pub fn validity(&self) -> Option<Validity> {
        self.certificate()
            .and_then(|certificate| crate::issue::validity_of(certificate.not_before, certificate.not_after))
    }

    /// SHA-256 of the node's certificate in hexadecimal digits, as servers present it.
    pub fn fingerprint(&self) -> Option<String> {
        self.certificate().map(|certificate| certificate.sha256)
    }

    /// Only this file is read: to read a key takes a millisecond.
    fn certificate(&self) -> Option<CertificateReport> {
        let files = self.files().filter(|file| file.path == Path::new(NODE_CERTIFICATE)).collect();
        // What a certificate says does not depend on the time.
        let found = Found { files, ..Found::default() };
        let report = inspect::inspect(&found, &Question::default(), OffsetDateTime::UNIX_EPOCH);
        report.certificates.into_iter().find(is_of_the_node)
    }

    /// What is there and what servers would refuse of it.
    pub(crate) fn inspect(&self, question: &Question, now: OffsetDateTime) -> Report {
        let directories = vec![PathBuf::new(), PathBuf::from(ROOTS)];
        inspect::inspect(&Found { files: self.files().collect(), directories, unreadable: Vec::new() }, question, now)
    }

    fn files(&self) -> impl Iterator<Item = File> {
        let files = self.entries.iter().filter(|entry| !entry.is_directory);
        files.filter_map(|entry| {
            let bytes = entry.content.as_ref().ok()?.clone();
            Some(File { path: PathBuf::from(&entry.name), mode: Some(entry.mode), bytes, is_named: false })
        })
    }

    /// The content of a file, if it can be read.
    pub(crate) fn content(&self, name: &str) -> Option<&[u8]> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        entry.content.as_ref().ok().map(|content| content.as_slice())
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.entries.iter().map(|entry| &entry.name).collect();
        f.debug_struct("Published").field("entries", &names).field("missing", &self.missing).finish_non_exhaustive()
    }
}

/// The node's certificate in what was found out.
pub(crate) fn node_certificate(report: &Report) -> Option<&CertificateReport> {
    report.certificates.iter().find(|certificate| is_of_the_node(certificate))
}

fn is_of_the_node(certificate: &CertificateReport) -> bool {
    certificate.file == NODE_CERTIFICATE && certificate.position == 1 && certificate.kind == Kind::Node
}

fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    Open::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB, which no certificate or key is"));
    }
    Ok(bytes)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io { action, path, source }
}
