//! One run: read what is there, compute all that can fail, then write.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use nix::unistd::{AccessFlags, access};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::authority::{Authority, Root, issue_authority};
use crate::ca::{self, CaError, Phase};
use crate::error::{CaFile, Error};
use crate::issue::issue_node;
use crate::plan::{CaSource, Names, Plan, Validity};
use crate::publish::{Generation, PublishError, Volume};

/// The file in the state directory that holds an ephemeral authority, certificate and key together.
const STATE_FILE: &str = "ca.pem";

/// What a run did.
#[derive(Debug)]
pub struct Report {
    dry_run: bool,
    names: Names,
    not_after: OffsetDateTime,
    authority: Origin,
    out: PathBuf,
}

/// Where the authority that signed came from.
#[derive(Debug)]
enum Origin {
    New { kept_in: Option<PathBuf> },
    Kept { directory: PathBuf },
    Given { certificate: PathBuf },
    Secret { id: String, phase: Phase },
}

impl Origin {
    /// Where a new authority will be kept.
    fn kept_in(&self) -> Option<&Path> {
        match self {
            Self::New { kept_in } => kept_in.as_deref(),
            Self::Kept { .. } | Self::Given { .. } | Self::Secret { .. } => None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until =
            self.not_after.replace_nanosecond(0).unwrap_or(self.not_after).format(&Rfc3339).map_err(|_| fmt::Error)?;
        let issued = if self.dry_run { "would issue" } else { "issued" };
        write!(f, "{issued} a certificate for {}, valid until {until}, in {}", self.names, self.out.display())?;
        match &self.authority {
            Origin::New { kept_in: None } => f.write_str("; signed by an ephemeral CA: the next run makes another"),
            Origin::New { kept_in: Some(path) } => {
                write!(f, "; signed by a new ephemeral CA, kept in {}", path.display())
            }
            Origin::Kept { directory } => write!(f, "; signed by the ephemeral CA kept in {}", directory.display()),
            Origin::Given { certificate } => write!(f, "; signed by the CA in {}", certificate.display()),
            Origin::Secret { id, phase: Phase::Steady } => write!(f, "; signed by the CA in the secret {id}"),
            Origin::Secret { id, phase } => {
                write!(f, "; signed by the CA in the secret {id}, rotation in phase {phase}")
            }
        }
    }
}

/// Issues and publishes what `plan` asks for, or with [`Plan::dry_run`] looks at everything that can be looked at without
/// writing. `now` is the time at which certificates start to be valid.
///
/// # Errors
///
/// [`Error`] names the first thing that could not be done. What is on the volume is then what was there before, or a
/// complete new set.
pub fn run(plan: &Plan, now: OffsetDateTime) -> Result<Report, Error> {
    let guard = plan.guard.as_deref().map(read_guard).transpose()?;
    let volume = open(&plan.out)?;
    let (authority, roots, origin) = trusted(plan, now)?;
    let report = |not_after, authority| Report {
        dry_run: plan.dry_run,
        names: plan.names.clone(),
        not_after,
        authority,
        out: plan.out.clone(),
    };
    if plan.dry_run {
        let written = [Some(plan.out.as_path()), origin.kept_in()];
        written.into_iter().flatten().try_for_each(writable)?;
        return authority.covers(plan.validity, now).map(|not_after| report(not_after, origin)).map_err(Error::Issue);
    }
    let node = issue_node(&authority, &plan.names, plan.validity, plan.key_size, now).map_err(Error::Issue)?;

    if let Some(state) = origin.kept_in() {
        let kept = open(state)?.store_secret(STATE_FILE, authority.to_state().as_bytes());
        kept.map_err(|source| Error::Publish { out: state.to_owned(), source })?;
    }
    let publish = |source| Error::Publish { out: plan.out.clone(), source };
    if let Some(guard) = guard {
        volume.install("guard", &guard).map_err(publish)?;
    }
    let roots: Vec<_> = roots.iter().map(String::as_str).collect();
    let generation = Generation { roots: &roots, certificate: &node.certificate, key: &node.key };
    volume.publish(&generation).map_err(publish)?;
    Ok(report(node.not_after, origin))
}

/// Fails as writing would, as far as permissions tell.
fn writable(directory: &Path) -> Result<(), Error> {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
        let (action, path, source) = ("write to", directory.to_owned(), error.into());
        Error::Publish { out: directory.to_owned(), source: PublishError::Io { action, path, source } }
    })
}

fn read_guard(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::ReadGuard { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<Volume, Error> {
    Volume::open(path).map_err(|source| Error::Publish { out: path.to_owned(), source })
}

/// Who signs, and all roots to trust.
fn trusted(plan: &Plan, now: OffsetDateTime) -> Result<(Authority, Vec<String>, Origin), Error> {
    let (authority, origin) = match &plan.ca {
        CaSource::Ephemeral { state } => ephemeral(state.as_deref(), now)?,
        CaSource::Files { certificate, key } => {
            (given(certificate, key, now)?, Origin::Given { certificate: certificate.clone() })
        }
        CaSource::Secret { id } => return in_secret(id, plan.dry_run, now),
    };
    let roots = vec![authority.certificate().to_owned()];
    Ok((authority, roots, origin))
}

fn in_secret(id: &str, dry_run: bool, now: OffsetDateTime) -> Result<(Authority, Vec<String>, Origin), Error> {
    let document = if dry_run { ca::look_into_secret(id, now) } else { ca::obtain_from_secret(id, now) };
    let signing = document.and_then(|document| {
        let authority = document.authority(now).map_err(CaError::Authority)?;
        Ok((authority, document))
    });
    let (authority, document) = signing.map_err(|source| Error::SecretAuthority { id: id.to_owned(), source })?;
    let roots = document.roots().iter().map(|root| root.pem.clone()).collect();
    Ok((authority, roots, Origin::Secret { id: id.to_owned(), phase: document.phase() }))
}

fn given(certificate: &Path, key: &Path, now: OffsetDateTime) -> Result<Authority, Error> {
    let read = |file, path: &Path| {
        let failed = |source: io::Error| Error::ReadAuthority { file, path: path.to_owned(), source };
        fs::read(path).map(Zeroizing::new).map_err(failed)
    };
    let wrong = |file, path: &Path| {
        let path = path.to_owned();
        move |source| Error::GivenAuthority { file, path, source }
    };
    let root = Root::from_pem(&read(CaFile::Certificate, certificate)?).and_then(|root| root.valid_at(now));
    let root = root.map_err(wrong(CaFile::Certificate, certificate))?;
    root.with_key(&read(CaFile::Key, key)?).map_err(wrong(CaFile::Key, key))
}

fn ephemeral(state: Option<&Path>, now: OffsetDateTime) -> Result<(Authority, Origin), Error> {
    if let Some(directory) = state {
        open(directory)?;
        if let Some(kept) = read_state(directory)? {
            let authority = Authority::from_state(&kept).map_err(Error::KeptAuthority)?;
            return Ok((authority, Origin::Kept { directory: directory.to_owned() }));
        }
    }
    let authority = issue_authority(Validity::AUTHORITY, now).map_err(Error::Issue)?;
    Ok((authority, Origin::New { kept_in: state.map(Path::to_owned) }))
}

fn read_state(directory: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let path = directory.join(STATE_FILE);
    match fs::read(&path) {
        Ok(state) => Ok(Some(Zeroizing::new(state))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => {
            Err(Error::Publish { out: directory.to_owned(), source: PublishError::Io { action: "read", path, source } })
        }
    }
}
