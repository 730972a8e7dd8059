//! What the secret of a certificate authority holds: the trusted roots, the one that signs with its key, and how far a
//! rotation has come. Text in, text out.
//!
//! ```json
//! {"schema":1, "phase":"trust-both", "roots":["-----BEGIN CERTIFICATE-----…", "…"],
//!  "signing":{"cert":"-----BEGIN CERTIFICATE-----…", "key":"-----BEGIN PRIVATE KEY-----…"},
//!  "next":{"cert":"…", "key":"…"}}
//! ```
//!
//! `next` is there in the phase `trust-both` alone: its root is trusted already, so its key must be kept.

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::fingerprint::{roots_fingerprint, sha256};
use super::store::SecretText;
use crate::authority::{Authority, AuthorityError, Root, issue_new_authority, key_algorithm};
use crate::issue::IssueError;
use crate::plan::{CaKeyAlgorithm, NewAuthority, Validity};

/// The number of the shape; it changes when a member changes its meaning or is new.
const SCHEMA: u64 = 1;

/// How far a rotation of the authority has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// One root, which signs: no rotation is under way.
    Steady,
    /// A new root is trusted beside the old one, which still signs.
    TrustBoth,
    /// The new root signs, the old one is still trusted.
    SignNew,
    /// The old root is gone from the document, and not everybody may have noticed.
    DropOld,
}

impl Phase {
    /// The phase that follows.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Steady => Self::TrustBoth,
            Self::TrustBoth => Self::SignNew,
            Self::SignNew => Self::DropOld,
            Self::DropOld => Self::Steady,
        }
    }

    /// The name, as it stands in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::TrustBoth => "trust-both",
            Self::SignNew => "sign-new",
            Self::DropOld => "drop-old",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the value of a secret is not a certificate authority. Nothing of the value is ever part of the message.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// Somebody else's value.
    #[error("its value is {0}, not a certificate authority of certgen")]
    Foreign(&'static str),
    /// A value that a later certgen wrote.
    #[error("its value has schema {found}, this certgen knows schema {SCHEMA}")]
    Newer {
        /// The number found.
        found: u64,
    },
    /// It says that it is ours, and its members are not.
    #[error("its value is damaged: it does not parse at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// Members that contradict each other.
    #[error("its value is damaged: {0}")]
    Contradiction(String),
    /// A certificate or key that cannot be used.
    #[error("its value is damaged: `{member}` cannot be used")]
    Unusable {
        /// The member of the document.
        member: &'static str,
        /// What is wrong with it; "it" is the member.
        #[source]
        source: AuthorityError,
    },
}

impl ContentsError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Foreign(_) => {
                "name the secret of the certificate authority, or give an empty one; nothing was overwritten"
            }
            Self::Newer { .. } => "use the version of certgen that wrote it, or a newer one; nothing was overwritten",
            Self::Malformed { .. } | Self::Contradiction(_) | Self::Unusable { .. } => {
                "move AWSCURRENT back to the version before (AWSPREVIOUS) with `aws secretsmanager update-secret-version-stage`; \
                 nothing was overwritten"
            }
        }
    }
}

/// A root as the document has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRoot {
    /// The certificate as one PEM block.
    pub pem: String,
    /// The SHA-256 of the certificate's DER, in hexadecimal.
    pub sha256: String,
    /// The first second of its validity.
    pub not_before: OffsetDateTime,
    /// The last second of its validity.
    pub not_after: OffsetDateTime,
    der: Vec<u8>,
}

impl TrustedRoot {
    fn of(pem: &str) -> Result<Self, AuthorityError> {
        let root = Root::from_pem(pem.as_bytes())?;
        let (not_before, not_after) = (root.not_before(), root.not_after());
        Ok(Self { pem: root.pem(), sha256: sha256(root.der()), not_before, not_after, der: root.der().to_vec() })
    }

    /// The kind of its key, or what certgen makes that is nearest to it.
    pub fn key_algorithm(&self) -> CaKeyAlgorithm {
        key_algorithm(&self.der)
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A root and the key that signs for it. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signer {
    /// Which of the document's roots it is.
    root: usize,
    key: Zeroizing<String>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A certificate authority with its rotation, valid by construction: certificates and keys belong together, and there are
/// as many roots as the phase has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    phase: Phase,
    roots: Vec<TrustedRoot>,
    signing: Signer,
    next: Option<Signer>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Contents {
    /// Nothing that anybody would miss: CloudFormation cannot generate less than an object.
    Empty,
    Authority(Box<Document>),
}

impl Document {
    /// A new authority of one root, for an empty secret.
    ///
    /// # Errors
    ///
    /// Only if the cryptographic library fails.
    pub fn new(new: NewAuthority, now: OffsetDateTime) -> Result<Self, DocumentError> {
        let (root, signing) = new_root(new, now, 0)?;
        Ok(Self { phase: Phase::Steady, roots: vec![root], signing, next: None })
    }

    /// How far a rotation has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The roots that everybody must trust, oldest first; one or two.
    pub fn roots(&self) -> &[TrustedRoot] {
        &self.roots
    }

    /// The root that signs.
    pub fn signing_root(&self) -> &TrustedRoot {
        &self.roots[self.signing.root]
    }

    /// The root that will sign next, in the phase `trust-both`.
    pub fn next_root(&self) -> Option<&TrustedRoot> {
        self.next.as_ref().map(|next| &self.roots[next.root])
    }

    /// The authority that signs nodes.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NotYetValid`] or [`AuthorityError::Expired`].
    pub fn authority(&self, now: OffsetDateTime) -> Result<Authority, AuthorityError> {
        let Signer { root, key } = &self.signing;
        Root::from_pem(self.roots[*root].pem.as_bytes())?.valid_at(now)?.with_key(key.as_bytes())
    }

    /// All roots as one PEM text, as consumers read it in `caCertificate`.
    pub fn bundle(&self) -> String {
        self.roots.iter().map(|root| root.pem.as_str()).collect()
    }

    /// What a node registers of roots like these (`ROOTS_SHA256`).
    pub fn roots_fingerprint(&self) -> String {
        roots_fingerprint(self.roots.iter().map(TrustedRoot::der))
    }

    /// The document with which a rotation begins: a new root, with a key of the same kind, is trusted too.
    ///
    /// # Errors
    ///
    /// [`DocumentError::WrongPhase`] if one is under way.
    pub fn trusting_a_new_root(&self, validity: Validity, now: OffsetDateTime) -> Result<Self, DocumentError> {
        if self.phase != Phase::Steady {
            return Err(DocumentError::WrongPhase(self.phase));
        }
        let new = NewAuthority { key_algorithm: self.roots[self.signing.root].key_algorithm(), validity };
        let (root, next) = new_root(new, now, self.roots.len())?;
        let mut roots = self.roots.clone();
        roots.push(root);
        Ok(Self { phase: Phase::TrustBoth, roots, signing: self.signing.clone(), next: Some(next) })
    }

    /// The document of the next phase of a rotation that is under way. It makes nothing new, so whoever computes it gets the
    /// same; `None` if no rotation is under way.
    pub fn advanced(&self) -> Option<Self> {
        let phase = self.phase.next();
        let Self { roots, signing, next, .. } = self;
        match (self.phase, next) {
            (Phase::TrustBoth, Some(next)) => {
                Some(Self { phase, roots: roots.clone(), signing: next.clone(), next: None })
            }
            (Phase::SignNew, None) => {
                let (roots, signing) = (vec![roots[signing.root].clone()], Signer { root: 0, ..signing.clone() });
                Some(Self { phase, roots, signing, next: None })
            }
            (Phase::DropOld, None) => Some(Self { phase, ..self.clone() }),
            _ => None,
        }
    }

    /// Whether `other` may take the place of this document.
    pub(super) fn may_be_followed_by(&self, other: &Self) -> bool {
        match self.phase {
            Phase::Steady => {
                other.phase == Phase::TrustBoth
                    && other.signing == self.signing
                    && other.roots.starts_with(&self.roots)
                    && other.next.is_some()
            }
            _ => self.advanced().as_ref() == Some(other),
        }
    }

    /// The text to store.
    ///
    /// # Panics
    ///
    /// Never: strings and a number always serialise.
    pub fn to_text(&self) -> SecretText {
        let signer =
            |signer: &Signer| KeyPairText { cert: self.roots[signer.root].pem.clone(), key: signer.key.clone() };
        let text = Text {
            schema: SCHEMA,
            phase: self.phase,
            roots: self.roots.iter().map(|root| root.pem.clone()).collect(),
            signing: signer(&self.signing),
            next: self.next.as_ref().map(signer),
        };
        // Room for all of it from the start: a text that grows leaves copies of its keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        serde_json::to_writer(&mut *bytes, &text).expect("strings and a number always serialise");
        let text = std::str::from_utf8(&bytes).expect("JSON is UTF-8");
        SecretText::from(text.to_owned())
    }

    /// Reads the value of a secret; `None` if nobody has stored an authority in it.
    ///
    /// # Errors
    ///
    /// [`ContentsError`] if it holds something else, or is damaged.
    pub fn from_text(text: &SecretText) -> Result<Option<Self>, ContentsError> {
        match Self::read(text)? {
            Contents::Empty => Ok(None),
            Contents::Authority(document) => Ok(Some(*document)),
        }
    }

    pub(super) fn read(text: &SecretText) -> Result<Contents, ContentsError> {
        let text = text.expose();
        if text.trim().is_empty() {
            return Ok(Contents::Empty);
        }
        // First what anybody may have written; only what says that it is ours is taken apart.
        let head: Head = serde_json::from_str(text).map_err(|error| {
            ContentsError::Foreign(if error.is_data() { "JSON of another shape" } else { "not JSON" })
        })?;
        match head {
            Head { schema: Some(SCHEMA), .. } => {}
            Head { schema: Some(found), .. } if found > SCHEMA => return Err(ContentsError::Newer { found }),
            Head { password: Some(_), .. } => return Err(ContentsError::Foreign("the credentials of a user")),
            _ if serde_json::from_str::<NoMembers>(text).is_ok() => return Ok(Contents::Empty),
            _ => return Err(ContentsError::Foreign("JSON without the member `schema` of certgen")),
        }
        // serde's own message would show values.
        let text: Text = serde_json::from_str(text)
            .map_err(|error| ContentsError::Malformed { line: error.line(), column: error.column() })?;
        Self::of(text).map(|document| Contents::Authority(Box::new(document)))
    }

    fn of(text: Text) -> Result<Self, ContentsError> {
        let unusable = |member| move |source| ContentsError::Unusable { member, source };
        let contradiction = |text: &str| Err(ContentsError::Contradiction(text.to_owned()));
        let roots: Vec<_> =
            text.roots.iter().map(|root| TrustedRoot::of(root)).collect::<Result<_, _>>().map_err(unusable("roots"))?;
        let wanted = match text.phase {
            Phase::Steady | Phase::DropOld => 1,
            Phase::TrustBoth | Phase::SignNew => 2,
        };
        if roots.len() != wanted {
            let (phase, found) = (text.phase, roots.len());
            return contradiction(&format!("it has {found} roots in the phase {phase}, which has {wanted}"));
        }
        if roots.iter().enumerate().any(|(index, root)| roots[..index].contains(root)) {
            return contradiction("it has a root twice");
        }
        let signer = |member, KeyPairText { cert, key }: KeyPairText| {
            let root = Root::from_pem(cert.as_bytes()).map_err(unusable(member))?;
            let Some(index) = roots.iter().position(|trusted| trusted.der == root.der()) else {
                return Err(ContentsError::Contradiction(format!(
                    "the certificate of `{member}` is not among its roots"
                )));
            };
            root.with_key(key.as_bytes()).map_err(unusable(member))?;
            Ok(Signer { root: index, key })
        };
        let signing = signer("signing", text.signing)?;
        let next = text.next.map(|next| signer("next", next)).transpose()?;
        match (text.phase, &next) {
            (Phase::TrustBoth, Some(next)) if next.root == signing.root => {
                return contradiction("`next` is the root that signs already");
            }
            (Phase::TrustBoth, None) => return contradiction("`next` is missing in the phase trust-both"),
            (Phase::Steady | Phase::SignNew | Phase::DropOld, Some(_)) => {
                return contradiction(&format!("`next` is there in the phase {}", text.phase));
            }
            _ => {}
        }
        Ok(Self { phase: text.phase, roots, signing, next })
    }
}

/// Why a document could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The authority could not be made.
    #[error("a new certificate authority could not be made")]
    Issue(#[source] IssueError),
    /// What was just made does not read; not expected to happen.
    #[error("the new certificate authority cannot be used")]
    Unusable(#[source] AuthorityError),
    /// A rotation is under way already.
    #[error("a rotation is under way, in the phase {0}")]
    WrongPhase(Phase),
}

fn new_root(new: NewAuthority, now: OffsetDateTime, root: usize) -> Result<(TrustedRoot, Signer), DocumentError> {
    let authority = issue_new_authority(new, now).map_err(DocumentError::Issue)?;
    let certificate = TrustedRoot::of(authority.certificate()).map_err(DocumentError::Unusable)?;
    Ok((certificate, Signer { root, key: authority.key() }))
}

/// As much as tells whose value it is.
#[derive(Deserialize)]
struct Head {
    schema: Option<u64>,
    password: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoMembers {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: u64,
    phase: Phase,
    roots: Vec<String>,
    signing: KeyPairText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<KeyPairText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPairText {
    cert: String,
    key: Zeroizing<String>,
}
