//! How a rotation stands, for people and as JSON.

use std::fmt;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::document::{Document, Phase, TrustedRoot};
use super::rotation::{Blocker, Evidence, Next, next};

/// The number of the shape; it changes when a member changes its meaning or goes.
const SCHEMA: u32 = 1;

/// How a rotation stands; `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The version of this shape.
    pub schema: u32,
    /// The secret, as it was named.
    pub secret: String,
    /// The phase that was left just now, if one was.
    pub advanced_from: Option<Phase>,
    /// The phase.
    pub phase: Phase,
    /// The phase that comes next.
    pub next: Phase,
    /// The trusted roots, oldest first.
    pub roots: Vec<RootStatus>,
    /// The fingerprint that a node registers of these roots.
    pub roots_sha256: String,
    /// Why the next phase cannot begin yet; empty if it can.
    pub blocked_by: Vec<Blocker>,
}

/// One of the roots.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootStatus {
    /// The SHA-256 of the certificate in hexadecimal digits.
    pub sha256: String,
    /// Whether nodes are signed with it.
    pub signs: bool,
    /// Whether nodes will be signed with it in the next phase.
    pub signs_next: bool,
    /// The first second of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// The last second of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Whole days until the end; negative after it.
    pub days_left: i64,
}

impl Serialize for Blocker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            code: &'a str,
            subject: Option<&'a str>,
            message: String,
        }
        Shape { code: self.code(), subject: self.subject(), message: self.to_string() }.serialize(serializer)
    }
}

impl Status {
    /// How `document` stands when `evidence` was seen at the time `now`.
    pub fn of(secret: &str, document: &Document, evidence: &Evidence, now: OffsetDateTime) -> Self {
        let root = |root: &TrustedRoot| RootStatus {
            sha256: root.sha256.clone(),
            signs: root == document.signing_root(),
            signs_next: Some(root) == document.next_root(),
            not_before: root.not_before,
            not_after: root.not_after,
            days_left: (root.not_after.unix_timestamp() - now.unix_timestamp()).div_euclid(86_400),
        };
        Self {
            schema: SCHEMA,
            secret: secret.to_owned(),
            advanced_from: None,
            phase: document.phase(),
            next: document.phase().next(),
            roots: document.roots().iter().map(root).collect(),
            roots_sha256: document.roots_fingerprint(),
            blocked_by: match next(document, evidence, now) {
                Next::Blocked(blockers) => blockers,
                Next::MayBegin | Next::Advance(_) => Vec::new(),
            },
        }
    }
}

impl Phase {
    fn describe(self) -> &'static str {
        match self {
            Self::Steady => "no rotation is under way",
            Self::TrustBoth => "a new root is trusted beside the old one, which still signs",
            Self::SignNew => "the new root signs, the old one is still trusted",
            Self::DropOld => "the new root alone is trusted, which not everybody may have noticed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "secret   {}", self.secret)?;
        writeln!(f, "phase    {}: {}", self.phase, self.phase.describe())?;
        for root in &self.roots {
            let role = match (root.signs, root.signs_next) {
                (true, _) => "signs",
                (false, true) => "signs next",
                (false, false) => "is trusted still",
            };
            let (from, until, left) = (root.not_before.date(), root.not_after.date(), root.days_left);
            writeln!(f, "root     {} {role}, valid {from} to {until}, {left} days left", root.sha256)?;
        }
        match (self.phase, self.blocked_by.as_slice()) {
            (Phase::Steady, _) => writeln!(f, "next     `certgen ca rotate` begins a rotation"),
            (_, []) => writeln!(f, "next     {}, which nothing blocks", self.next),
            (_, blockers) => {
                writeln!(f, "next     {}, blocked:", self.next)?;
                blockers.iter().try_for_each(|blocker| writeln!(f, "  - {blocker}"))
            }
        }
    }
}
