//! What `certgen inspect` found out: the shape of `--json`, documented in `mod.rs`, and what the text is made of.

use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;

use super::certificate::{Algorithm, Kind};
use super::key::Format;
use super::line::Line;
use super::rules::{Effect, Rule};

/// The number of the shape; it changes when a member changes its meaning or goes.
pub(super) const SCHEMA: u32 = 1;

/// Everything that was found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this shape.
    pub schema: u32,
    /// The lines that were asked about, oldest first.
    pub lines: Vec<Line>,
    /// Whether what only a cluster refuses was asked for.
    pub cluster: bool,
    /// The names that were asked for.
    pub hosts: Vec<String>,
    /// Every certificate, in the order of the files.
    pub certificates: Vec<CertificateReport>,
    /// Every private key, in the order of the files.
    pub keys: Vec<KeyReport>,
    /// What servers would refuse.
    pub findings: Vec<Finding>,
    /// What they would not refuse, but somebody should know.
    pub notes: Vec<Note>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// How many more findings there are in a cluster, if that was not asked for.
    pub more_in_cluster: usize,
}

/// A certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    /// The file it is in.
    pub file: String,
    /// Which one of the file it is, from 1.
    pub position: usize,
    /// What it is for.
    pub kind: Kind,
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// Who signed it, if the signer is among the certificates.
    pub signed_by: Option<Signer>,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The algorithm of the key.
    pub key: Algorithm,
    /// The file with the private key that belongs to it.
    pub private_key: Option<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether it is an authority.
    pub is_ca: bool,
    /// How many intermediate authorities may follow.
    pub path_length: Option<u32>,
    /// The key usage, or null if there is none.
    pub key_usage: Option<Vec<&'static str>>,
    /// The extended key usage, or null if there is none.
    pub extended_key_usage: Option<Vec<String>>,
    /// The first second of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// The last second of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Whole days until the end; negative after it.
    pub days_left: i64,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub sha256: String,
    /// The permission bits of the file, in octal.
    pub mode: Option<String>,
}

/// Who signed a certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signer {
    /// The file of the signer's certificate.
    pub file: String,
    /// Which one of the file it is, from 1.
    pub position: usize,
    /// Whether it is the certificate itself.
    pub is_itself: bool,
    /// Whether the signature was verified; else only the names agree, for certgen does not know the algorithm.
    pub is_verified: bool,
}

/// A private key; never the key itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReport {
    /// The file it is in.
    pub file: String,
    /// How it is written.
    pub format: Format,
    /// `RSA`, `EC P-256` and the like, if that can be told.
    pub algorithm: Option<&'static str>,
    /// The files of the certificates that belong to it.
    pub certificates: Vec<String>,
    /// The permission bits of the file, in octal.
    pub mode: Option<String>,
}

/// Something that servers refuse.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name; stable.
    pub code: &'static str,
    /// The lines that refuse it, of those that were asked about.
    pub refused_by: Vec<Line>,
    /// How that shows.
    pub effect: Effect,
    /// The files it is about.
    pub files: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// The sections that say so.
    pub sources: Vec<&'static str>,
}

/// Something that no server refuses.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Its name; stable.
    pub code: &'static str,
    /// The file it is about, if it is about one.
    pub file: Option<String>,
    /// What should be known.
    pub message: String,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// The path.
    pub file: String,
    /// What the system said.
    pub reason: String,
}

impl Report {
    /// Adds a finding for the lines that were asked about, once.
    pub(super) fn refuse(&mut self, rule: &Rule, files: Vec<String>, message: String) {
        let refused_by = rule.among(&self.lines);
        if refused_by.is_empty() {
            return;
        }
        let (code, effect, sources) = (rule.code, rule.effect, rule.sources(&refused_by));
        let finding = Finding { code, refused_by, effect, files, message, sources };
        if self.findings.contains(&finding) {
            return;
        }
        if effect == Effect::Cluster && !self.cluster {
            self.more_in_cluster += 1;
        } else {
            self.findings.push(finding);
        }
    }

    /// Adds a note, once.
    pub(super) fn note(&mut self, code: &'static str, file: Option<String>, message: String) {
        let note = Note { code, file, message };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
