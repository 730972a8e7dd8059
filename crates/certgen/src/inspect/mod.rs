//! `certgen inspect`: what certificates and keys are there, who signed them, how long they are valid, and what a server of a
//! given line would refuse of them, alone and in a cluster.
//!
//! files → contents → chain → judge → report: what is there, what it says, who signed whom, what servers refuse (`rules.rs`
//! has every row with its lines and its source), and how that is told. Only `files.rs` touches the file system, and the clock
//! is an argument.
//!
//! What is taken for what:
//!
//! - The first certificate of a file tells what the file is: a root or an intermediate CA, a node, or a user (for clients
//!   only, without names of a host).
//! - The key of a node is the file of the same name beside it, else the one that fits, else the only one beside it.
//! - The roots of a server are in a directory that holds self-signed certificates and nothing else that a server reads; if
//!   there is none, in one that holds others too, which servers refuse. Files that are named themselves are roots if they are
//!   self-signed authorities.
//!
//! # Exit codes
//!
//! 0 nothing would be refused; 1 something would be; 2 the command line is wrong; 74 something could not be read.
//!
//! # `--json`
//!
//! One object, [`Report`]; its members and those below are never null unless it says so:
//!
//! | member | content |
//! |---|---|
//! | `schema` | 1; another number if a member changes its meaning or goes |
//! | `lines`, `cluster`, `hosts` | what was asked for |
//! | `certificates[]` | `file`, `position` (from 1), `kind` (`root`, `intermediate`, `node`, `user`), `subject`, `issuer`, `signedBy` (null or `file`, `position`, `isItself`, `isVerified`), `serial`, `key` (`name`, `bits` or null), `privateKey` (file or null), `dnsNames`, `ipAddresses`, `isCa`, `pathLength` (or null), `keyUsage`, `extendedKeyUsage` (lists, null without the extension), `notBefore`, `notAfter` (RFC 3339), `daysLeft`, `sha256`, `mode` |
//! | `keys[]` | `file`, `format`, `algorithm` (or null), `certificates` (files), `mode` |
//! | `findings[]` | `code`, `refusedBy` (lines), `effect` (`start`, `cluster`, `dial`, `login`), `files`, `message`, `sources` |
//! | `notes[]` | `code`, `file` (or null), `message` |
//! | `unreadable[]` | `file`, `reason` |
//! | `moreInCluster` | how many findings `--cluster` would add |

mod certificate;
mod chain;
mod cli;
mod contents;
mod files;
mod human;
mod judge;
mod key;
mod line;
mod report;
mod rules;

use time::OffsetDateTime;

pub use self::certificate::{Algorithm, Kind};
use self::chain::Trust;
pub(crate) use self::cli::command;
pub use self::cli::run;
use self::contents::Contents;
pub use self::contents::File;
pub use self::files::Found;
use self::judge::{Judge, days_left};
pub use self::key::Format;
pub use self::line::Line;
use self::report::SCHEMA;
pub use self::report::{CertificateReport, Finding, KeyReport, Note, Report, Signer, Unreadable};
pub use self::rules::Effect;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The lines to judge for; none is all.
    pub lines: Vec<Line>,
    /// Whether the nodes are of a cluster.
    pub cluster: bool,
    /// Names and addresses that somebody dials.
    pub hosts: Vec<String>,
}

/// Finds out what `found` is and what servers would refuse of it at the time `now`.
pub fn inspect(found: &Found, question: &Question, now: OffsetDateTime) -> Report {
    let contents = Contents::read(&found.files);
    let trust = Trust::find(&contents, &found.directories);
    let lines = Line::ALL.into_iter().filter(|line| question.lines.is_empty() || question.lines.contains(line));
    let mut report = Report {
        schema: SCHEMA,
        lines: lines.collect(),
        cluster: question.cluster,
        hosts: question.hosts.clone(),
        certificates: (0..contents.certificates.len()).map(|index| certificate(&contents, index, now)).collect(),
        keys: (0..contents.keys.len()).map(|index| key(&contents, index)).collect(),
        findings: Vec::new(),
        notes: Vec::new(),
        unreadable: found.unreadable.clone(),
        more_in_cluster: 0,
    };
    Judge { contents: &contents, trust: &trust, now, report: &mut report }.everything();
    report
}

fn certificate(contents: &Contents<'_>, index: usize, now: OffsetDateTime) -> CertificateReport {
    let facts = contents.facts(index);
    let position = |index: usize| contents.certificates[index].position + 1;
    let signed_by = chain::signer(contents, index).map(|(signer, signature)| Signer {
        file: contents.file_of(signer).shown(),
        position: position(signer),
        is_itself: contents.facts(signer).der == facts.der,
        is_verified: signature == certificate::Signature::Valid,
    });
    let private_key = (0..contents.keys.len()).find(|key| contents.matches(index, *key));
    CertificateReport {
        file: contents.file_of(index).shown(),
        position: position(index),
        kind: facts.kind,
        subject: facts.subject.clone(),
        issuer: facts.issuer.clone(),
        signed_by,
        serial: facts.serial.clone(),
        key: facts.algorithm.clone(),
        private_key: private_key.map(|key| contents.files[contents.keys[key].file].shown()),
        dns_names: facts.dns.clone(),
        ip_addresses: facts.addresses.clone(),
        is_ca: facts.is_ca,
        path_length: facts.path_length,
        key_usage: facts.key_usage.as_ref().map(|usage| usage.names.clone()),
        extended_key_usage: facts.extended.as_ref().map(|usage| usage.names.clone()),
        not_before: facts.not_before,
        not_after: facts.not_after,
        days_left: days_left(facts.not_after, now),
        sha256: facts.fingerprint.clone(),
        mode: octal(contents.file_of(index)),
    }
}

fn key(contents: &Contents<'_>, index: usize) -> KeyReport {
    let at = &contents.keys[index];
    let of_it = (0..contents.certificates.len()).filter(|certificate| contents.matches(*certificate, index));
    KeyReport {
        file: contents.files[at.file].shown(),
        format: at.key.format,
        algorithm: at.key.family.map(key::Family::describe),
        certificates: of_it.map(|certificate| contents.place(certificate)).collect(),
        mode: octal(&contents.files[at.file]),
    }
}

fn octal(file: &File) -> Option<String> {
    file.mode.map(|mode| format!("{mode:04o}"))
}
