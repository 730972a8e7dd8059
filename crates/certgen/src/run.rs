//! One run: read what is there, compute all that can fail, then write.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use nix::unistd::{AccessFlags, access, getegid, geteuid};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::authority::{Authority, Root, issue_new_authority, issue_rsa_authority};
use crate::ca::{self, CaError, Document, Phase};
use crate::due::{Reason, Signer, Wanted, due};
use crate::error::{CaFile, Error, Errors};
use crate::issue::{IssueError, issue_node_for};
use crate::keys::RsaKeys;
use crate::metadata::task_address;
use crate::plan::{CaSource, Names, NewAuthority, Owner, Plan, RsaBits, Validity};
use crate::publish::{Generation, PublishError, Staged, Volume};
use crate::published::Published;

/// The file in the state directory that holds an ephemeral authority, certificate and key together.
const STATE_FILE: &str = "ca.pem";
const GUARD: &str = "guard";

/// What a run did.
#[derive(Debug)]
pub struct Report {
    dry_run: bool,
    reasons: Vec<Reason>,
    names: Names,
    not_after: OffsetDateTime,
    signer: Origin,
    out: PathBuf,
}

impl Report {
    /// Why what was there was replaced: empty if it was kept, or if nothing was there.
    pub fn reasons(&self) -> &[Reason] {
        if self.reasons == [Reason::Nothing] { &[] } else { &self.reasons }
    }

    /// Whether what was there is still there.
    pub fn is_kept(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Where the authority that signed came from.
#[derive(Clone, Debug)]
enum Origin {
    New { kept_in: Option<PathBuf> },
    Kept { directory: PathBuf },
    Given { certificate: PathBuf },
    Secret { id: String, phase: Phase },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until =
            self.not_after.replace_nanosecond(0).unwrap_or(self.not_after).format(&Rfc3339).map_err(|_| fmt::Error)?;
        let (names, out) = (&self.names, self.out.display());
        if self.is_kept() {
            let kept = if self.dry_run { "would keep" } else { "kept" };
            write!(f, "{kept} the certificate for {names} in {out} because nothing is due, valid until {until}")?;
        } else {
            let issued = if self.dry_run { "would issue" } else { "issued" };
            write!(f, "{issued} a certificate for {names}, valid until {until}, in {out}")?;
        }
        match &self.signer {
            Origin::New { kept_in: None } => {
                f.write_str("; signed by an ephemeral CA: the next certificate gets another")
            }
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

/// Publishes what `plan` asks for unless it is there already, or with [`Plan::dry_run`] looks at everything that can be looked
/// at without writing. `now` is the time at which certificates start to be valid.
///
/// # Errors
///
/// [`Errors`] names everything that is in the way. What is on the volume is then what was there before, or a complete new
/// set.
pub fn run(plan: &Plan, now: OffsetDateTime) -> Result<Report, Errors> {
    publish_what_is_due(plan, Shared::Obtained, now)
}

/// [`run`] beside a server that is running already, for whoever has read the authority in a secret: `document` is what it
/// holds, and is not asked for if another source is planned. One that is gone is not made anew, for nobody would trust it.
///
/// # Errors
///
/// As [`run`]; [`CaError::NoAuthority`] in it if the plan names a secret and there is no `document`.
pub fn renew(plan: &Plan, document: Option<&Document>, now: OffsetDateTime) -> Result<Report, Errors> {
    publish_what_is_due(plan, Shared::Read(document), now)
}

/// Where the authority of a secret is taken from.
#[derive(Clone, Copy)]
enum Shared<'a> {
    /// From the secret, which gets one if it has none.
    Obtained,
    /// From whoever has read it.
    Read(Option<&'a Document>),
}

fn publish_what_is_due(plan: &Plan, shared: Shared<'_>, now: OffsetDateTime) -> Result<Report, Errors> {
    let seen = look(plan, shared, now)?;
    let wanted = Wanted {
        names: seen.names.clone(),
        validity: plan.validity,
        key_size: plan.key_size,
        renew_before: plan.renew_before,
        server_line: plan.server_line,
        owner: plan.owner.unwrap_or_else(Owner::of_process),
    };
    let reasons = seen.signing.with_signer(plan, |signer| due(&seen.published, &wanted, signer, now));
    let report = |reasons, not_after| Report {
        dry_run: plan.dry_run,
        reasons,
        names: wanted.names.clone(),
        not_after,
        signer: seen.signing.origin(),
        out: plan.out.clone(),
    };
    if let (true, Some(not_after)) = (reasons.is_empty(), seen.published.not_after()) {
        if !plan.dry_run {
            keep(&seen)?;
        }
        return Ok(report(reasons, not_after));
    }
    let mut errors = Vec::new();
    in_the_way(plan, Some(&seen.signing), now, &mut errors);
    Errors::check(errors)?;
    if plan.dry_run {
        return Ok(report(reasons, now + plan.validity.duration()));
    }
    let not_after = issue_and_publish(plan, &seen, now)?;
    Ok(report(reasons, not_after))
}

/// What was read, and nothing written.
struct Seen {
    guard: Option<Vec<u8>>,
    volume: Volume,
    /// The directory in which an ephemeral authority is kept.
    state: Option<Volume>,
    published: Published,
    signing: Signing,
    names: Names,
}

/// Who will sign.
enum Signing {
    /// An authority that is there.
    With(Box<Known>),
    /// One that is made if it is needed.
    New { kept_in: Option<PathBuf> },
}

/// An authority that is there.
struct Known {
    authority: Authority,
    /// The roots to trust, one PEM block each, its own among them.
    roots: Vec<String>,
    origin: Origin,
}

impl Signing {
    /// An authority whose root is the only one to trust.
    fn alone(authority: Authority, origin: Origin) -> Self {
        let roots = vec![authority.certificate().to_owned()];
        Self::With(Box::new(Known { authority, roots, origin }))
    }

    fn origin(&self) -> Origin {
        match self {
            Self::With(known) => known.origin.clone(),
            Self::New { kept_in } => Origin::New { kept_in: kept_in.clone() },
        }
    }

    /// The size of the RSA key that an authority has to be made with, if so.
    fn makes_rsa(&self, plan: &Plan) -> Option<RsaBits> {
        match self {
            Self::With(_) => None,
            Self::New { .. } => plan.ca_key_algorithm.rsa(),
        }
    }

    fn with_signer<T>(&self, plan: &Plan, ask: impl FnOnce(Signer<'_>) -> T) -> T {
        match self {
            Self::With(known) => {
                let roots: Vec<_> = known.roots.iter().map(String::as_str).collect();
                ask(Signer::Known { certificate: known.authority.certificate(), roots: &roots })
            }
            Self::New { kept_in: Some(directory) } => ask(Signer::ToBeMade { kept_in: directory }),
            Self::New { kept_in: None } => ask(Signer::Unkept(plan.ca_key_algorithm)),
        }
    }
}

/// Reads all that a run needs, and tells everything that cannot be had.
fn look(plan: &Plan, shared: Shared<'_>, now: OffsetDateTime) -> Result<Seen, Errors> {
    let mut errors = Vec::new();
    let guard = plan.guard.as_deref().map(|path| noted(read_guard(path), &mut errors));
    noted(check_owner(plan.owner), &mut errors);
    let volume = noted(open(&plan.out, plan.owner), &mut errors);
    let read = |volume| Published::read_in(volume).map_err(|source| Error::Publish { out: plan.out.clone(), source });
    let published = volume.as_ref().and_then(|volume| noted(read(volume), &mut errors));
    let state = state_directory(&plan.ca).map(|path| noted(open(path, plan.owner), &mut errors));
    let signing = match &state {
        // That there is no such directory is said.
        Some(None) => None,
        _ => noted(signing(plan, shared, now), &mut errors),
    };
    let address = plan.task_metadata.as_ref().map(|uri| noted(task_address(uri), &mut errors));
    match (volume, published, signing) {
        (Some(volume), Some(published), Some(signing)) if errors.is_empty() => {
            let names = plan.names.clone();
            Ok(Seen {
                guard: guard.flatten(),
                volume,
                state: state.flatten(),
                published,
                signing,
                names: address.flatten().into_iter().fold(names, Names::with_address),
            })
        }
        (_, published, signing) => {
            // A first run writes in any case.
            if published.is_some_and(|published| !published.is_there) {
                in_the_way(plan, signing.as_ref(), now, &mut errors);
            }
            Err(Errors(errors))
        }
    }
}

/// The value, or none after the error was noted.
fn noted<T>(result: Result<T, Error>, errors: &mut Vec<Error>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// What would make writing fail, as far as that can be told before.
fn in_the_way(plan: &Plan, signing: Option<&Signing>, now: OffsetDateTime, errors: &mut Vec<Error>) {
    noted(writable(&plan.out), errors);
    match signing {
        Some(Signing::With(known)) => {
            noted(known.authority.covers(plan.validity, now).map_err(Error::Issue), errors);
        }
        Some(Signing::New { kept_in: Some(state) }) => {
            noted(writable(state), errors);
        }
        Some(Signing::New { kept_in: None }) | None => {}
    }
}

fn check_owner(owner: Option<Owner>) -> Result<(), Error> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    match owner {
        Some(owner) if user != 0 && !owner.has(user, group) => {
            Err(Error::Owner { owner, process: Owner { user, group: Some(group) } })
        }
        _ => Ok(()),
    }
}

/// Keeps key, certificate and roots, and does what else there is to do.
fn keep(seen: &Seen) -> Result<(), Error> {
    let mut out = stage(&seen.volume)?;
    // Its only work here is to remove what a run that was killed left behind.
    seen.state.as_ref().map(stage).transpose()?;
    if let Some(guard) = &seen.guard {
        at(&seen.volume, out.program(GUARD, guard))?;
    }
    at(&seen.volume, out.commit())?;
    at(&seen.volume, seen.volume.settle())
}

/// Makes what is needed, then writes it all, and only then gives it its names: the authority first, for a certificate of one
/// that is lost cannot be renewed.
fn issue_and_publish(plan: &Plan, seen: &Seen, now: OffsetDateTime) -> Result<OffsetDateTime, Error> {
    let keys = RsaKeys::search(plan.key_size, 1 + usize::from(seen.signing.makes_rsa(plan) == Some(plan.key_size)));
    let made;
    let (authority, roots) = match &seen.signing {
        Signing::With(known) => (&known.authority, known.roots.iter().map(String::as_str).collect()),
        Signing::New { .. } => {
            made = new_authority(plan, &keys, now).map_err(Error::Issue)?;
            (&made, vec![made.certificate()])
        }
    };
    let key = keys.take().map_err(Error::Issue)?;
    let node = issue_node_for(&key, authority, &seen.names, plan.validity, now).map_err(Error::Issue)?;

    let mut out = stage(&seen.volume)?;
    let mut state = seen.state.as_ref().map(stage).transpose()?;
    if let (Signing::New { .. }, Some(volume), Some(state)) = (&seen.signing, &seen.state, &mut state) {
        at(volume, state.secret(STATE_FILE, authority.to_state().as_bytes()))?;
    }
    if let Some(guard) = &seen.guard {
        at(&seen.volume, out.program(GUARD, guard))?;
    }
    let generation = Generation { roots: &roots, certificate: &node.certificate, key: &node.key };
    at(&seen.volume, out.generation(&generation))?;
    if let (Some(volume), Some(state)) = (&seen.state, state) {
        at(volume, state.commit())?;
    }
    at(&seen.volume, out.commit())?;
    Ok(node.not_after)
}

/// All RSA keys of a run are looked for at once.
fn new_authority(plan: &Plan, keys: &RsaKeys, now: OffsetDateTime) -> Result<Authority, IssueError> {
    let new = NewAuthority { key_algorithm: plan.ca_key_algorithm, validity: Validity::AUTHORITY };
    if new.key_algorithm.rsa() == Some(plan.key_size) {
        return issue_rsa_authority(&keys.take()?, new.validity, now);
    }
    issue_new_authority(new, now)
}

fn stage(volume: &Volume) -> Result<Staged<'_>, Error> {
    at(volume, volume.stage())
}

fn at<T>(volume: &Volume, result: Result<T, PublishError>) -> Result<T, Error> {
    result.map_err(|source| Error::Publish { out: volume.path().to_owned(), source })
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

fn open(path: &Path, owner: Option<Owner>) -> Result<Volume, Error> {
    Volume::open(path, owner).map_err(|source| Error::Publish { out: path.to_owned(), source })
}

fn state_directory(source: &CaSource) -> Option<&Path> {
    match source {
        CaSource::Ephemeral { state } => state.as_deref(),
        CaSource::Files { .. } | CaSource::Secret { .. } => None,
    }
}

/// Finds the authority. The one in a secret is made there if it is absent: all tasks must agree on it before one of them signs.
fn signing(plan: &Plan, shared: Shared<'_>, now: OffsetDateTime) -> Result<Signing, Error> {
    match &plan.ca {
        CaSource::Ephemeral { state: None } => Ok(Signing::New { kept_in: None }),
        CaSource::Ephemeral { state: Some(directory) } => Ok(match kept_authority(directory)? {
            Some(authority) => {
                let root = Root::from_pem(authority.certificate().as_bytes()).and_then(|root| root.valid_at(now));
                root.map_err(Error::KeptAuthorityTime)?;
                Signing::alone(authority, Origin::Kept { directory: directory.clone() })
            }
            None => Signing::New { kept_in: Some(directory.clone()) },
        }),
        CaSource::Files { certificate, key } => {
            let origin = Origin::Given { certificate: certificate.clone() };
            given(certificate, key, now).map(|authority| Signing::alone(authority, origin))
        }
        CaSource::Secret { id } => in_secret(id, plan, shared, now)
            .map(|known| Signing::With(Box::new(known)))
            .map_err(|source| Error::SecretAuthority { id: id.clone(), source }),
    }
}

fn in_secret(id: &str, plan: &Plan, shared: Shared<'_>, now: OffsetDateTime) -> Result<Known, CaError> {
    let new = NewAuthority { key_algorithm: plan.ca_key_algorithm, validity: Validity::AUTHORITY };
    let obtained;
    let document = match shared {
        Shared::Read(document) => document.ok_or(CaError::NoAuthority)?,
        Shared::Obtained => {
            obtained =
                if plan.dry_run { ca::look_into_secret(id, new, now)? } else { ca::obtain_from_secret(id, new, now)? };
            &obtained
        }
    };
    Ok(Known {
        authority: document.authority(now).map_err(CaError::Authority)?,
        roots: document.roots().iter().map(|root| root.pem.clone()).collect(),
        origin: Origin::Secret { id: id.to_owned(), phase: document.phase() },
    })
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

/// The authority that `--ca-state` keeps in this directory, if one was made already.
///
/// # Errors
///
/// [`Error::KeptAuthority`] if what is there is damaged, [`Error::Publish`] if it cannot be read.
pub fn kept_authority(directory: &Path) -> Result<Option<Authority>, Error> {
    let path = directory.join(STATE_FILE);
    match fs::read(&path) {
        Ok(state) => {
            let state = Zeroizing::new(state);
            Authority::from_state(&state).map(Some).map_err(Error::KeptAuthority)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => {
            Err(Error::Publish { out: directory.to_owned(), source: PublishError::Io { action: "read", path, source } })
        }
    }
}
