//! When a phase of a rotation is over: a pure function of the document and of what nodes and consumers show.
//!
//! | phase | is over when |
//! |---|---|
//! | steady | somebody asks for a rotation |
//! | trust-both | every node shows both roots, and so does every published `caCertificate`; at once if the old root has expired |
//! | sign-new | every node serves a certificate that the new root signed, and still shows both roots |
//! | drop-old | every node and every published `caCertificate` shows the new root alone |

use std::fmt;

use time::OffsetDateTime;

use super::document::{Document, Phase};

/// What a live node shows of its certificates; bootstrap registers it in Cloud Map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvidence {
    /// The node's name.
    pub name: String,
    /// The fingerprint of its trusted roots ([`super::roots_fingerprint`]), if it says.
    pub roots_sha256: Option<String>,
    /// The SHA-256 of the root that signed the certificate it serves, if it says.
    pub signer_sha256: Option<String>,
}

/// The roots that consumers find in a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRoots {
    /// The secret's name or ARN.
    pub secret: String,
    /// The fingerprint of its `caCertificate`; `None` if it has none that reads.
    pub roots_sha256: Option<String>,
}

/// What was seen of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How many nodes there must be; `None` if nobody said.
    pub expected_nodes: Option<usize>,
    /// Every live node; `None` if nobody looked.
    pub nodes: Option<Vec<NodeEvidence>>,
    /// The secret of every user; `None` if nobody looked.
    pub published: Option<Vec<PublishedRoots>>,
}

/// One reason why a phase is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// Nobody looked at the nodes, or said how many there are.
    NodesNotLookedAt,
    /// Nobody looked at the secrets of users.
    SecretsNotLookedAt,
    /// Fewer nodes are registered than there are: the others may come back with what they had.
    NodesMissing {
        /// How many are registered.
        registered: usize,
        /// How many there are.
        expected: usize,
    },
    /// A node shows other roots.
    NodeRoots {
        /// The node.
        node: String,
    },
    /// A node serves a certificate of another root, or does not say of which.
    NodeSigner {
        /// The node.
        node: String,
        /// The root's fingerprint.
        signer: Option<String>,
    },
    /// Consumers find other roots in a secret.
    Published {
        /// The secret.
        secret: String,
    },
    /// A root that is to sign cannot.
    RootNotValid {
        /// Its fingerprint.
        sha256: String,
        /// The first second of its validity.
        not_before: OffsetDateTime,
        /// The last second of its validity.
        not_after: OffsetDateTime,
    },
}

impl Blocker {
    /// Its kind, for programs; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NodesNotLookedAt => "nodes-not-looked-at",
            Self::SecretsNotLookedAt => "secrets-not-looked-at",
            Self::NodesMissing { .. } => "nodes-missing",
            Self::NodeRoots { .. } => "node-roots",
            Self::NodeSigner { .. } => "node-signer",
            Self::Published { .. } => "published-roots",
            Self::RootNotValid { .. } => "root-not-valid",
        }
    }

    /// The node, secret or root that it is about.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::NodeRoots { node } | Self::NodeSigner { node, .. } => Some(node),
            Self::Published { secret } => Some(secret),
            Self::RootNotValid { sha256, .. } => Some(sha256),
            Self::NodesNotLookedAt | Self::SecretsNotLookedAt | Self::NodesMissing { .. } => None,
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodesNotLookedAt => f.write_str("the nodes were not looked at: give --service and --nodes"),
            Self::SecretsNotLookedAt => {
                f.write_str("the secrets that consumers read were not looked at: give --user-secrets")
            }
            Self::NodesMissing { registered, expected } => {
                write!(
                    f,
                    "{registered} of {expected} nodes are registered; one that is away may come back with what it had"
                )
            }
            Self::NodeRoots { node } => write!(f, "{node} does not show the roots of this phase yet"),
            Self::NodeSigner { node, signer: Some(signer) } => {
                write!(
                    f,
                    "{node} serves a certificate that the root {} signed, not the one of this phase",
                    short(signer)
                )
            }
            Self::NodeSigner { node, signer: None } => {
                write!(f, "{node} does not say which root signed the certificate it serves")
            }
            Self::Published { secret } => write!(f, "{secret} does not publish the roots of this phase yet"),
            Self::RootNotValid { sha256, not_before, not_after } => {
                let (from, until) = (not_before.date(), not_after.date());
                write!(f, "the root {} is valid from {from} until {until}, and not now", short(sha256))
            }
        }
    }
}

/// Enough of a fingerprint for people to tell two apart.
fn short(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// No rotation is under way; one may begin.
    MayBegin,
    /// The phase is over, and this is the document of the next.
    Advance(Box<Document>),
    /// The phase is not over.
    Blocked(Vec<Blocker>),
}

/// What comes next for `document` when `evidence` was seen at the time `now`.
pub fn next(document: &Document, evidence: &Evidence, now: OffsetDateTime) -> Next {
    let Some(following) = document.advanced() else { return Next::MayBegin };
    let mut blockers = Vec::new();
    // The root that signs after this phase.
    let signer = document.next_root().unwrap_or_else(|| document.signing_root());
    if now < signer.not_before || now > signer.not_after {
        let (sha256, not_before, not_after) = (signer.sha256.clone(), signer.not_before, signer.not_after);
        blockers.push(Blocker::RootNotValid { sha256, not_before, not_after });
    }
    // Under a root that has expired no node can show anything, and there is no trust left to be lost.
    if document.phase() != Phase::TrustBoth || now <= document.signing_root().not_after {
        blockers.extend(unseen(document, evidence));
    }
    if blockers.is_empty() { Next::Advance(Box::new(following)) } else { Next::Blocked(blockers) }
}

/// Who does not show the phase yet.
fn unseen(document: &Document, evidence: &Evidence) -> Vec<Blocker> {
    let roots = document.roots_fingerprint();
    let mut blockers = Vec::new();
    match (&evidence.nodes, evidence.expected_nodes) {
        (Some(nodes), Some(expected)) => {
            if nodes.len() < expected {
                blockers.push(Blocker::NodesMissing { registered: nodes.len(), expected });
            }
            for node in nodes {
                if node.roots_sha256.as_ref() != Some(&roots) {
                    blockers.push(Blocker::NodeRoots { node: node.name.clone() });
                }
                let signing = &document.signing_root().sha256;
                if document.phase() == Phase::SignNew && node.signer_sha256.as_ref() != Some(signing) {
                    blockers.push(Blocker::NodeSigner { node: node.name.clone(), signer: node.signer_sha256.clone() });
                }
            }
        }
        _ => blockers.push(Blocker::NodesNotLookedAt),
    }
    match &evidence.published {
        Some(published) => blockers.extend(
            published
                .iter()
                .filter(|found| found.roots_sha256.as_ref() != Some(&roots))
                .map(|found| Blocker::Published { secret: found.secret.clone() }),
        ),
        None => blockers.push(Blocker::SecretsNotLookedAt),
    }
    blockers
}
