//! Makes the keys, signs the certificates and writes both as they come, so that memory does not grow with their number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use time::OffsetDateTime;

use super::profile::{Contents, issue};
use super::resolve::{Item, SignedBy, Work};
use super::signer::{Signer, SignerCertificate};
use super::staging::{Files, Staging, StagingError};
use crate::authority::AuthorityError;
use crate::issue::IssueError;
use crate::keys::{RsaKey, RsaKeys};
use crate::plan::RsaBits;

const CERTIFICATE: u32 = 0o444;
const KEY: u32 = 0o400;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("could not make `{path}`")]
    Issue {
        path: String,
        #[source]
        source: IssueError,
    },
    #[error("could not sign with the new CA `{path}`")]
    NewSigner {
        path: String,
        #[source]
        source: AuthorityError,
    },
    #[error("nothing was made")]
    Write(#[source] StagingError),
    #[error("interrupted; nothing was made")]
    Interrupted,
}

impl MakeError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        use std::io::ErrorKind;
        match self {
            Self::Write(StagingError::Io { source, .. }) => match source.kind() {
                ErrorKind::PermissionDenied => Some(
                    "the user that this program runs as must be able to write there, and a file that is replaced must be its own",
                ),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("the disk is full"),
                ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only: name another directory with -out"),
                _ => None,
            },
            Self::Write(StagingError::Appeared { .. }) => Some("is another run writing there? run again"),
            Self::Issue { source, .. } => source.hint(),
            Self::NewSigner { .. } | Self::Write(StagingError::Randomness) | Self::Interrupted => None,
        }
    }
}

/// Makes everything or nothing. `made` is called after each certificate, and `stop` is looked at before each.
pub(crate) fn make(
    work: &Work,
    files: impl Files,
    now: OffsetDateTime,
    stop: &AtomicBool,
    mut made: impl FnMut(),
) -> Result<(), MakeError> {
    let targets = work.items.iter().flat_map(|item| [&item.certificate, &item.key]);
    let mut staging = Staging::begin(files, SystemTime::from(now), targets).map_err(MakeError::Write)?;
    let keys = RsaKeys::search(RsaBits::B2048, work.items.len());
    let mut signers: Vec<Option<Signer>> = work.items.iter().map(|_| None).collect();
    for &index in &work.order {
        let item = &work.items[index];
        let key = keys.take().map_err(|source| MakeError::Issue { path: shown(item), source })?;
        if stop.load(Ordering::Relaxed) {
            return Err(MakeError::Interrupted);
        }
        let signer = match item.signed_by {
            SignedBy::Itself => None,
            SignedBy::Given(given) => work.given.get(given),
            SignedBy::Made(parent) => signers[parent].as_ref(),
        };
        let (certificate, new_signer) = one(item, &key, signer)?;
        signers[index] = new_signer;
        let pkcs1 = key.to_pkcs1().map_err(|source| MakeError::Issue { path: shown(item), source })?;
        staging.stage(&item.key, pkcs1.as_bytes(), KEY).map_err(MakeError::Write)?;
        staging.stage(&item.certificate, certificate.as_bytes(), CERTIFICATE).map_err(MakeError::Write)?;
        made();
    }
    staging.publish().map_err(MakeError::Write)
}

/// The certificate, and the authority if others need it.
fn one(item: &Item, key: &RsaKey, signer: Option<&Signer>) -> Result<(String, Option<Signer>), MakeError> {
    let contents = Contents {
        subject: &item.subject,
        not_before: item.not_before,
        not_after: item.not_after,
        path_length: item.path_length,
    };
    let issued = issue(&contents, key, signer).map_err(|source| MakeError::Issue { path: shown(item), source })?;
    let pem = issued.to_pem();
    if !item.signs {
        return Ok((pem, None));
    }
    let new_signer = key
        .to_signer()
        .map_err(AuthorityError::Library)
        .and_then(|key| SignerCertificate::from_der(issued.der)?.with_key(key))
        .map_err(|source| MakeError::NewSigner { path: shown(item), source })?;
    Ok((pem, Some(new_signer)))
}

fn shown(item: &Item) -> String {
    item.certificate.path.display().to_string()
}
