//! What is asked for meets what is there: places for the files, who signs whom, and everything that would go wrong, before
//! a key is made. Files are read and looked at here, and none is written.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::flags::with_suffix;
use super::profile::ROOT_PATH_LENGTH;
use super::request::{BaseName, Directory, Request, SignerFiles, Subject};
use super::signer::{Signer, SignerCertificate};
use super::staging::{Owner, Target, nearest_directory};
use crate::authority::AuthorityError;
use crate::error::one_line;
use crate::issue::BACKDATED;

/// es-gencert-cli stops at node100; a file may list more.
const MOST_NODES: usize = 9999;

/// A request, and where it was made if that needs saying.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) place: Option<String>,
    pub(crate) request: Request,
}

/// Something that keeps a request from being carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) text: String,
    pub(crate) hint: Option<&'static str>,
}

impl Mistake {
    pub(crate) fn new(text: String) -> Self {
        Self { text, hint: None }
    }
}

/// Everything that is known about a certificate before its key is made.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) subject: Subject,
    pub(crate) signed_by: SignedBy,
    /// Whether another certificate of the same run needs its key.
    pub(crate) signs: bool,
    pub(crate) path_length: Option<u32>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    /// As it was given, for the success line.
    pub(crate) directory: PathBuf,
    pub(crate) certificate: Target,
    pub(crate) key: Target,
}

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignedBy {
    Itself,
    /// One of [`Work::given`].
    Given(usize),
    /// One of [`Work::items`].
    Made(usize),
}

/// What one run makes.
pub(crate) struct Work {
    /// In the order in which they are listed.
    pub(crate) items: Vec<Item>,
    /// The order in which they are made: who signs comes first, then authorities before others.
    pub(crate) order: Vec<usize>,
    pub(crate) given: Vec<Signer>,
}

/// Work that can be done as far as anybody can see, or every mistake; and warnings.
pub(crate) struct Resolved {
    pub(crate) work: Result<Work, Vec<Mistake>>,
    pub(crate) warnings: Vec<String>,
}

/// Resolves what is asked for in the working directory.
pub(crate) fn resolve(asked: &[Asked], force: bool, now: OffsetDateTime) -> Resolved {
    let mut resolver = Resolver { asked, force, now, mistakes: Vec::new(), warnings: Vec::new() };
    let work = resolver.work();
    let Resolver { mistakes, warnings, .. } = resolver;
    Resolved { work: if mistakes.is_empty() { Ok(work) } else { Err(mistakes) }, warnings }
}

struct Resolver<'a> {
    asked: &'a [Asked],
    force: bool,
    now: OffsetDateTime,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

/// Where the files of a certificate go.
struct Place {
    directory: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// What whoever is signed needs to know of whoever signs.
#[derive(Clone, Copy)]
struct Limits {
    not_after: OffsetDateTime,
    /// When the first of its chain ends, as far as the chain is known.
    accepted_until: OffsetDateTime,
    path_length: Option<u32>,
}

impl Resolver<'_> {
    /// To be used only if there is no mistake.
    fn work(&mut self) -> Work {
        let places = self.places();
        let (signed_by, given) = self.signers(&places);
        let order = self.order(&signed_by);
        let mut limits: Vec<Option<Limits>> = vec![None; self.asked.len()];
        for &index in &order {
            let signer = match signed_by[index] {
                Some(SignedBy::Given(given_index)) => given[given_index].as_ref().map(|signer| Limits {
                    not_after: signer.not_after(),
                    accepted_until: signer.not_after(),
                    path_length: signer.path_length(),
                }),
                Some(SignedBy::Made(parent)) => limits[parent],
                Some(SignedBy::Itself) | None => None,
            };
            limits[index] = self.limits(index, signer);
        }
        let targets: Vec<_> = places.iter().enumerate().map(|(index, place)| self.targets(index, place)).collect();
        let items = self.items(places, targets, &signed_by, &limits);
        Work { items, order, given: given.into_iter().flatten().collect() }
    }

    fn items(
        &self,
        places: Vec<Place>,
        targets: Vec<Option<(Target, Target)>>,
        signed_by: &[Option<SignedBy>],
        limits: &[Option<Limits>],
    ) -> Vec<Item> {
        let signs: HashSet<usize> = signed_by
            .iter()
            .filter_map(|by| if let Some(SignedBy::Made(parent)) = by { Some(*parent) } else { None })
            .collect();
        let known = places.into_iter().zip(targets).zip(signed_by.iter().zip(limits)).enumerate();
        known
            .filter_map(|(index, ((place, targets), (signed_by, limits)))| {
                let (certificate, key) = targets?;
                let Limits { not_after, path_length, .. } = (*limits)?;
                Some(Item {
                    subject: self.asked[index].request.subject.clone(),
                    signed_by: (*signed_by)?,
                    signs: signs.contains(&index),
                    path_length,
                    not_before: self.now - BACKDATED,
                    not_after,
                    directory: place.directory,
                    certificate,
                    key,
                })
            })
            .collect()
    }

    fn mistake(&mut self, index: usize, text: &str, hint: Option<&'static str>) {
        let text = self.placed(index, text);
        self.mistakes.push(Mistake { text, hint });
    }

    fn warn(&mut self, index: usize, text: &str) {
        let text = self.placed(index, text);
        self.warnings.push(text);
    }

    fn placed(&self, index: usize, text: &str) -> String {
        match &self.asked[index].place {
            Some(place) => format!("{place}: {text}"),
            None => text.to_owned(),
        }
    }

    fn places(&mut self) -> Vec<Place> {
        let mut places = Vec::new();
        // Also what earlier entries will make counts as taken, for es-gencert-cli makes one after the other.
        let mut taken = HashSet::new();
        let mut next_node = 1;
        for (index, Asked { request, .. }) in self.asked.iter().enumerate() {
            let directory = match &request.directory {
                Directory::Given(directory) => directory.clone(),
                Directory::FreeNode => free_node(&mut next_node, &taken).unwrap_or_else(|| {
                    let text = format!("no directory is free for the node: node1 to node{MOST_NODES} exist");
                    self.mistake(index, &text, Some("give -out"));
                    format!("node-of-{index}").into()
                }),
            };
            let base = match &request.name {
                // Go joins paths where Rust would start anew at the root.
                BaseName::Given(name) => {
                    let bytes = name.as_bytes();
                    let slashes = bytes.iter().take_while(|byte| **byte == b'/').count();
                    OsStr::from_bytes(&bytes[slashes..]).to_owned()
                }
                BaseName::OfDirectory => directory.file_name().map_or_else(
                    || {
                        let text =
                            format!("`{}` has no name after which the files could be called", directory.display());
                        self.mistake(index, &text, Some("give -name"));
                        "node".into()
                    },
                    OsStr::to_owned,
                ),
            };
            let certificate = directory.join(with_suffix(&base, ".crt"));
            let key = directory.join(with_suffix(&base, ".key"));
            taken.extend(identity(&certificate).ancestors().map(Path::to_owned));
            places.push(Place { directory, certificate, key });
        }
        places
    }

    /// Who signs each, where that is clear, and the authorities that are read, where they can be.
    fn signers(&mut self, places: &[Place]) -> (Vec<Option<SignedBy>>, Vec<Option<Signer>>) {
        let mut certificates = HashMap::new();
        let mut keys = HashMap::new();
        for (index, place) in places.iter().enumerate() {
            if let Some(first) = certificates.insert(identity(&place.certificate), index) {
                let other = self.asked[first].place.clone().unwrap_or_default();
                let text = format!("`{}` is also written by {other}", place.certificate.display());
                self.mistake(index, &text, Some("give one of them another out or name"));
            }
            keys.insert(identity(&place.key), index);
        }
        let mut given = Vec::new();
        let mut read: HashMap<SignerFiles, usize> = HashMap::new();
        let mut signed_by = Vec::new();
        for (index, asked) in self.asked.iter().enumerate() {
            let Some(files) = &asked.request.signer else {
                signed_by.push(Some(SignedBy::Itself));
                continue;
            };
            let made = (certificates.get(&identity(&files.certificate)), keys.get(&identity(&files.key)));
            signed_by.push(match made {
                (None, None) => {
                    let slot = read.get(files).copied().unwrap_or_else(|| {
                        given.push(self.read_signer(index, files));
                        read.insert(files.clone(), given.len() - 1);
                        given.len() - 1
                    });
                    Some(SignedBy::Given(slot))
                }
                (Some(certificate), Some(key)) if certificate == key => self.made_signer(index, *certificate, files),
                _ => {
                    let text = format!(
                        "`{}` and `{}` do not belong together: one of them is made by this request, the other not with it",
                        files.certificate.display(),
                        files.key.display()
                    );
                    self.mistake(index, &text, None);
                    None
                }
            });
        }
        (signed_by, given)
    }

    fn made_signer(&mut self, index: usize, signer: usize, files: &SignerFiles) -> Option<SignedBy> {
        let path = files.certificate.display();
        if index == signer {
            let text = format!("the intermediate CA would take the place of its own parent, `{path}`");
            self.mistake(index, &text, Some("give another -out or -name"));
            return None;
        }
        if self.asked[signer].request.subject != Subject::Authority {
            self.mistake(index, &format!("`{path}`, which is made by this request, is not a CA"), None);
            return None;
        }
        Some(SignedBy::Made(signer))
    }

    fn read_signer(&mut self, index: usize, SignerFiles { certificate, key }: &SignerFiles) -> Option<Signer> {
        let found = self.read(index, certificate, "certificate");
        let found_key = self.read(index, key, "key");
        let parsed = found.and_then(|text| self.parsed(index, certificate, SignerCertificate::from_pem(&text)));
        let signer = match (parsed, found_key) {
            (Some(parsed), Some(text)) => self.parsed(index, key, parsed.with_key_from_pem(&text))?,
            _ => return None,
        };
        if self.now >= signer.not_after() {
            let text = format!("the CA in `{}` has expired at {}", certificate.display(), when(signer.not_after()));
            self.mistake(index, &text, Some("make a new CA, or look at this machine's clock"));
            return None;
        }
        if self.now < signer.not_before() {
            let from = when(signer.not_before());
            self.warn(index, &format!("the CA in `{}` is not valid before {from}", certificate.display()));
        }
        Some(signer)
    }

    fn read(&mut self, index: usize, path: &Path, what: &str) -> Option<Zeroizing<Vec<u8>>> {
        match fs::read(path) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                let hint = match error.kind() {
                    ErrorKind::NotFound => {
                        "make the CA first with create-ca, or name it with -ca-certificate and -ca-key"
                    }
                    _ => "let the user that this program runs as read the file",
                };
                let text = format!("could not read `{}`, the {what} of the CA: {error}", path.display());
                self.mistake(index, &text, Some(hint));
                None
            }
        }
    }

    fn parsed<T>(&mut self, index: usize, path: &Path, parsed: Result<T, AuthorityError>) -> Option<T> {
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let text = format!("`{}` cannot be used as a CA: {}", path.display(), one_line(&error));
                self.mistake(index, &text, error.hint());
                None
            }
        }
    }

    /// Authorities in their order, each after the one that signs it, then the others.
    fn order(&mut self, signed_by: &[Option<SignedBy>]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut ordered = vec![false; signed_by.len()];
        let (authorities, others): (Vec<_>, Vec<_>) =
            (0..signed_by.len()).partition(|index| self.asked[*index].request.subject == Subject::Authority);
        for index in authorities.into_iter().chain(others) {
            // From here up to who is ordered already, or signs itself, or is read.
            let mut chain = Vec::new();
            let mut next = Some(index);
            while let Some(link) = next.filter(|link| !ordered[*link]) {
                ordered[link] = true;
                chain.push(link);
                next = match signed_by[link] {
                    Some(SignedBy::Made(parent)) if chain.contains(&parent) => {
                        self.mistake(index, "it would be signed by itself, through the CAs that it signs", None);
                        None
                    }
                    Some(SignedBy::Made(parent)) => Some(parent),
                    _ => None,
                };
            }
            order.extend(chain.into_iter().rev());
        }
        order
    }

    fn limits(&mut self, index: usize, signer: Option<Limits>) -> Option<Limits> {
        let request = &self.asked[index].request;
        let is_authority = request.subject == Subject::Authority;
        let Some(not_after) = request.lifetime.end(self.now) else {
            self.mistake(index, "-days: the certificate would end after the year 9999, which none can say", None);
            return None;
        };
        let accepted_until = signer.map_or(not_after, |signer| signer.accepted_until.min(not_after));
        // A CA and an intermediate with the default period end seconds apart.
        if not_after - accepted_until >= time::Duration::DAY {
            let (end, until) = (when(not_after), when(accepted_until));
            self.warn(
                index,
                &format!("it ends at {end}, but its CA already at {until}: from then on nobody accepts it"),
            );
        }
        let path_length = match (is_authority, request.signer.is_some(), signer.and_then(|signer| signer.path_length)) {
            (false, ..) => None,
            (true, false, _) => Some(ROOT_PATH_LENGTH),
            (true, true, Some(0)) => {
                self.mistake(
                    index,
                    "its parent allows no further CA below it (path length 0): nothing signed by this one would be accepted",
                    Some("sign with a CA that is nearer to the root; below a root of create-ca there are at most two"),
                );
                None
            }
            (true, true, length) => length.map(|length| length - 1),
        };
        Some(Limits { not_after, accepted_until, path_length })
    }

    fn targets(&mut self, index: usize, place: &Place) -> Option<(Target, Target)> {
        let mut there = Vec::new();
        let certificate = self.target(index, &place.certificate, &mut there);
        let key = self.target(index, &place.key, &mut there);
        if there.is_empty() {
            return Some((certificate?, key?));
        }
        let verb = if there.len() == 1 { "exists" } else { "exist" };
        let text = format!("{} {verb}; nothing was made", there.join(" and "));
        self.mistake(
            index,
            &text,
            Some("give -force to replace it with a new key, which for a CA means that what it signed is no longer trusted"),
        );
        None
    }

    /// Where a file goes, or a mistake, or one more that is there.
    fn target(&mut self, index: usize, path: &Path, there: &mut Vec<String>) -> Option<Target> {
        let shown = path.display();
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return if nearest_is_directory(path) {
                    Some(Target { path: path.to_owned(), replaces: None })
                } else {
                    self.mistake(index, &format!("`{shown}` cannot be made: above it is no directory"), None);
                    None
                };
            }
            Err(error) => {
                self.mistake(index, &format!("could not look at `{shown}`: {error}"), None);
                return None;
            }
        };
        if found.is_dir() {
            self.mistake(index, &format!("`{shown}` is a directory"), Some("give another -out or -name"));
            return None;
        }
        if !self.force {
            there.push(format!("`{shown}`"));
            return None;
        }
        // A link stays and its file is replaced, as in es-gencert-cli; one that leads nowhere is itself replaced.
        let path = fs::canonicalize(path).ok().filter(|_| found.is_symlink()).unwrap_or_else(|| path.to_owned());
        let owner = fs::metadata(&path).map_or_else(|_| Owner::of(&found), |file| Owner::of(&file));
        Some(Target { path, replaces: Some(owner) })
    }
}

fn free_node(next: &mut usize, taken: &HashSet<PathBuf>) -> Option<PathBuf> {
    let free = (*next..=MOST_NODES).find(|number| {
        let name = format!("node{number}");
        let is_missing = fs::symlink_metadata(&name).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        is_missing && !taken.contains(&identity(Path::new(&name)))
    })?;
    *next = free + 1;
    Some(format!("node{free}").into())
}

/// A name by which two paths to one file are seen to be the same: links in what is there are followed, and `.` and `..` are
/// taken out of what is not.
fn identity(path: &Path) -> PathBuf {
    let near = nearest_directory(path);
    let mut identity = fs::canonicalize(near).unwrap_or_else(|_| near.to_owned());
    let rest = path.strip_prefix(near).unwrap_or(path);
    for component in rest.components() {
        match component {
            Component::ParentDir => {
                identity.pop();
            }
            Component::Normal(name) => identity.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    identity
}

fn nearest_is_directory(path: &Path) -> bool {
    fs::metadata(nearest_directory(path)).is_ok_and(|found| found.is_dir())
}

fn when(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
