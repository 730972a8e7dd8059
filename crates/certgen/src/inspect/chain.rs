//! The directory of roots among the given ones, and the way from a certificate to a root that a server would read in it.

use std::path::{Path, PathBuf};

use super::certificate::{Kind, Signature};
use super::contents::Contents;

/// More links than this are no chain that anybody makes.
const LONGEST: usize = 8;

/// A directory as the server's directory of roots (contract §4.1).
#[derive(Debug, Default)]
pub(super) struct RootsDirectory {
    pub(super) path: PathBuf,
    /// What the server trusts: the first certificate of each file, if it is self-signed.
    pub(super) roots: Vec<usize>,
    /// First certificates that are not self-signed.
    pub(super) others: Vec<usize>,
    /// Files that the server reads and finds no certificate in.
    pub(super) unreadable: Vec<usize>,
    /// Self-signed ones that the server does not read: for the name of their file, or because others come first.
    pub(super) not_read: Vec<usize>,
}

impl RootsDirectory {
    fn of(contents: &Contents<'_>, path: &Path) -> Self {
        let mut directory = Self { path: path.to_owned(), ..Self::default() };
        for (index, file) in contents.files.iter().enumerate() {
            if file.is_named || file.directory() != path {
                continue;
            }
            let mut has_first = false;
            for (at, certificate) in contents.certificates.iter().enumerate().filter(|(_, at)| at.file == index) {
                let (is_first, is_root) = (certificate.position == 0, certificate.facts.is_self_issued());
                has_first |= is_first;
                match (is_first && file.is_read_as_root(), is_root) {
                    (true, true) => directory.roots.push(at),
                    (true, false) => directory.others.push(at),
                    (false, true) => directory.not_read.push(at),
                    (false, false) => {}
                }
            }
            if file.is_read_as_root() && !has_first {
                directory.unreadable.push(index);
            }
        }
        directory
    }

    /// Whether a server starts on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.roots.is_empty() && self.others.is_empty() && self.unreadable.is_empty()
    }

    /// Whether it looks as if somebody meant it to be one, although there is no root in it.
    fn is_meant(&self, contents: &Contents<'_>) -> bool {
        let is_leaf = |index: &usize| !contents.facts(*index).is_ca;
        let is_named = self.path.file_name().is_some_and(|name| name == "ca" || name == "roots");
        !self.others.iter().any(is_leaf) && (is_named || !self.not_read.is_empty() || !self.others.is_empty())
    }
}

/// Where the roots are.
pub(super) struct Trust {
    /// The directories that hold them, best first choice only; or the one that was meant to.
    pub(super) directories: Vec<RootsDirectory>,
    /// The roots that a server would read.
    pub(super) roots: Vec<usize>,
}

impl Trust {
    /// Directories a server starts on; if there are none, those that hold roots beside what does not belong there; if there
    /// are none, those that were meant to hold some. Roots in files that were named themselves are trusted as they are.
    pub(super) fn find(contents: &Contents<'_>, directories: &[PathBuf]) -> Self {
        let all = || directories.iter().map(|path| RootsDirectory::of(contents, path));
        let mut found: Vec<_> = all().filter(RootsDirectory::is_usable).collect();
        if found.is_empty() {
            found = all().filter(|directory| !directory.roots.is_empty()).collect();
        }
        let named = contents.certificates.iter().enumerate().filter(|(_, at)| {
            contents.files[at.file].is_named && at.position == 0 && at.facts.is_self_issued() && at.facts.is_ca
        });
        let mut roots: Vec<_> = named.map(|(index, _)| index).collect();
        if found.is_empty() && roots.is_empty() {
            found = all().filter(|directory| directory.is_meant(contents)).collect();
        }
        roots.extend(found.iter().flat_map(|directory| &directory.roots));
        Self { directories: found, roots }
    }

    pub(super) fn way(&self, contents: &Contents<'_>, leaf: usize) -> Way {
        let mut links = vec![leaf];
        let mut is_verified = true;
        while links.len() <= LONGEST {
            let last = links[links.len() - 1];
            if self.trusts(contents, last) {
                return Way::Complete { links, is_verified };
            }
            let follows = |others: &mut dyn Iterator<Item = usize>| {
                let mut unverified = None;
                for other in others {
                    match contents.facts(last).signed_by(contents.facts(other)) {
                        Signature::Valid => return Some((other, true)),
                        Signature::Unverifiable => unverified = unverified.or(Some((other, false))),
                        Signature::SameNameOnly | Signature::No => {}
                    }
                }
                unverified
            };
            let next = follows(&mut self.roots.iter().copied())
                .or_else(|| follows(&mut contents.following(leaf).filter(|other| !links.contains(other))));
            match next {
                Some((next, verified)) => {
                    is_verified &= verified;
                    links.push(next);
                }
                None => return broken(contents, last),
            }
        }
        Way::Unknown
    }

    fn trusts(&self, contents: &Contents<'_>, certificate: usize) -> bool {
        let der = &contents.facts(certificate).der;
        self.roots.iter().any(|root| contents.facts(*root).der == *der)
    }
}

/// The way from a certificate to a root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the certificate to the root, both included.
    Complete { links: Vec<usize>, is_verified: bool },
    /// It leads to a self-signed certificate that no server would read as a root.
    RootNotRead(usize),
    /// The next link is not in the certificate's own file.
    IntermediateElsewhere { below: usize, signer: usize },
    /// Somebody with the issuer's name and another key is there.
    OtherKey(usize),
    /// Nobody here signed it.
    Unknown,
}

/// Why nothing follows `last`.
fn broken(contents: &Contents<'_>, last: usize) -> Way {
    let all = 0..contents.certificates.len();
    let signature = |other: &usize| contents.facts(last).signed_by(contents.facts(*other));
    let signer = all.clone().find(|other| *other != last && signature(other) == Signature::Valid);
    let own = (signature(&last) == Signature::Valid).then_some(last);
    match signer.or(own) {
        Some(signer) if contents.facts(signer).is_self_issued() => Way::RootNotRead(signer),
        Some(signer) => Way::IntermediateElsewhere { below: last, signer },
        None => match all.clone().find(|other| signature(other) == Signature::SameNameOnly) {
            Some(namesake) => Way::OtherKey(namesake),
            None => Way::Unknown,
        },
    }
}

/// Who signed a certificate, among all that are given.
pub(super) fn signer(contents: &Contents<'_>, certificate: usize) -> Option<(usize, Signature)> {
    let mut best = None;
    for other in 0..contents.certificates.len() {
        match contents.facts(certificate).signed_by(contents.facts(other)) {
            Signature::Valid => return Some((other, Signature::Valid)),
            Signature::Unverifiable => best = best.or(Some((other, Signature::Unverifiable))),
            Signature::SameNameOnly | Signature::No => {}
        }
    }
    best
}

/// Whether a chain through `links` is too long for one of its authorities; gives the one that forbids it.
pub(super) fn too_long_for(contents: &Contents<'_>, links: &[usize]) -> Option<usize> {
    links.iter().enumerate().skip(1).find_map(|(index, authority)| {
        let below = links[1..index].iter().filter(|link| contents.facts(**link).kind == Kind::Intermediate).count();
        let allowed = contents.facts(*authority).path_length?;
        (below > allowed as usize).then_some(*authority)
    })
}
