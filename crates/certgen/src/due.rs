//! Whether what is published is to be replaced, and why. Pure: what was found, what is wanted, who signs, the time.

use std::fmt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authority::{MADE_HERE, blocks, parse};
use crate::inspect::{CertificateReport, KeyReport, Line, Question, Report};
use crate::issue::{BACKDATED, validity_of};
use crate::plan::{CaKeyAlgorithm, Names, Owner, RenewBefore, RsaBits, Validity};
use crate::publish::{CERTIFICATE, DIRECTORY, FIRST_ROOT, KEY, NODE_CERTIFICATE, NODE_KEY, ROOTS, root_files};
use crate::published::{Entry, Published, node_certificate};

/// What a volume should hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The names of the node.
    pub names: Names,
    /// How long its certificate is valid from when it is issued.
    pub validity: Validity,
    /// The size of its key.
    pub key_size: RsaBits,
    /// How long before its end a certificate is replaced.
    pub renew_before: RenewBefore,
    /// The server line that reads it; none is all of them.
    pub server_line: Option<Line>,
    /// Whom the files belong to.
    pub owner: Owner,
}

/// Who should have signed.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// An authority that is there to sign again.
    Known {
        /// Its certificate, one PEM block.
        certificate: &'a str,
        /// The roots that servers shall trust, one PEM block each, the signer's among them. What is published has the same
        /// text.
        roots: &'a [&'a str],
    },
    /// One that was made for a certificate and not kept. Any that fits is right: a new one would only be less trusted.
    Unkept(CaKeyAlgorithm),
    /// One will be made and kept in this directory, where none is.
    ToBeMade {
        /// The directory.
        kept_in: &'a Path,
    },
}

/// Why what is published is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was published yet.
    Nothing,
    /// A name is not there.
    Missing(String),
    /// Something is there and cannot be read.
    Unreadable {
        /// Below the volume.
        file: String,
        /// What the system said.
        why: String,
    },
    /// The permission bits differ.
    Mode {
        /// Below the volume.
        file: String,
        /// What they are.
        found: u32,
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to somebody else.
    Owner {
        /// Below the volume.
        file: String,
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        wanted: Owner,
    },
    /// A server of these lines would refuse it.
    Refused {
        /// The lines.
        lines: Vec<Line>,
        /// Files and what is wrong with them.
        message: String,
    },
    /// There is no certificate of a node where it should be.
    NotANode,
    /// What lies in the key's place is not the key of the certificate.
    OtherKey,
    /// Its end is near.
    Expiring {
        /// Its end.
        not_after: OffsetDateTime,
        /// How long before that it is replaced.
        renew_before: RenewBefore,
    },
    /// The names differ.
    Names {
        /// Names that are wanted and not there.
        missing: Vec<String>,
        /// Names that are there and not wanted.
        unwanted: Vec<String>,
    },
    /// The size of the key differs.
    KeySize {
        /// In bits, if that can be told.
        found: Option<usize>,
        /// What is wanted.
        wanted: RsaBits,
    },
    /// It was issued for another time.
    Validity {
        /// For how long, in whole hours.
        found_hours: i64,
        /// What is wanted.
        wanted: Validity,
    },
    /// The trusted roots differ.
    Roots {
        /// Files that are wanted and not there, or have another content.
        changed: Vec<String>,
        /// Files that are there and not wanted.
        unwanted: Vec<String>,
    },
    /// Somebody else signed it.
    Issuer {
        /// Who, by name.
        found: String,
    },
    /// The authority that signed it is not where it should be kept.
    AuthorityMissing {
        /// The directory.
        kept_in: PathBuf,
    },
    /// An authority that was not kept has another key than is wanted, or is not of certgen.
    UnkeptAuthority {
        /// Its name and key.
        found: String,
        /// The key that is wanted.
        wanted: CaKeyAlgorithm,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing was published yet"),
            Self::Missing(file) => write!(f, "{file} is missing"),
            Self::Unreadable { file, why } => write!(f, "{file} cannot be read: {why}"),
            Self::Mode { file, found, wanted } => write!(f, "{file} has the mode {found:04o} instead of {wanted:04o}"),
            Self::Owner { file, found, wanted } => write!(f, "{file} belongs to {found} instead of {wanted}"),
            Self::Refused { lines, message } => {
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                write!(f, "servers refuse it ({}): {message}", lines.join(", "))
            }
            Self::NotANode => write!(f, "{NODE_CERTIFICATE} is not the certificate of a node"),
            Self::OtherKey => write!(f, "{NODE_KEY} is not the key of {NODE_CERTIFICATE}"),
            Self::AuthorityMissing { kept_in } => {
                write!(f, "the authority that signed the certificate is not kept in {}", kept_in.display())
            }
            Self::Expiring { not_after, renew_before } => {
                let until = not_after.format(&Rfc3339).map_err(|_| fmt::Error)?;
                write!(f, "the certificate is valid until {until} and replaced {renew_before} before that")
            }
            Self::Names { missing, unwanted } => {
                f.write_str("the names differ: ")?;
                both(f, "the certificate lacks", missing, "has", unwanted)
            }
            Self::KeySize { found, wanted } => {
                let found = found.map_or_else(|| "no size that can be told".to_owned(), |bits| format!("{bits} bits"));
                write!(f, "the key has {found} instead of {}", wanted.bits())
            }
            Self::Validity { found_hours, wanted } => {
                let found =
                    if found_hours % 24 == 0 { format!("{}d", found_hours / 24) } else { format!("{found_hours}h") };
                write!(f, "the certificate was issued for {found} instead of {wanted}")
            }
            Self::Roots { changed, unwanted } => {
                f.write_str("the trusted roots differ: ")?;
                both(f, "not as wanted", changed, "not wanted", unwanted)
            }
            Self::Issuer { found } => write!(f, "another authority signed the certificate, `{found}`"),
            Self::UnkeptAuthority { found, wanted } => {
                write!(f, "the certificate was signed by {found}, not by an ephemeral authority with a {wanted} key")
            }
        }
    }
}

fn both(f: &mut fmt::Formatter<'_>, one: &str, first: &[String], other: &str, second: &[String]) -> fmt::Result {
    let part = |name: &str, list: &[String]| (!list.is_empty()).then(|| format!("{name} {}", list.join(", ")));
    let parts: Vec<_> = [part(one, first), part(other, second)].into_iter().flatten().collect();
    f.write_str(&parts.join("; "))
}

/// Every reason to replace what is published; none, if it is to be kept.
pub fn due(published: &Published, wanted: &Wanted, signer: Signer<'_>, now: OffsetDateTime) -> Vec<Reason> {
    if !published.is_there {
        return vec![Reason::Nothing];
    }
    let mut reasons: Vec<_> = published.missing.iter().cloned().map(Reason::Missing).collect();
    if published.entries.is_empty() {
        return reasons;
    }
    reasons.extend(published.entries.iter().flat_map(|entry| as_it_lies(entry, wanted.owner)));
    // A single node does not look at what a cluster refuses, but nobody tells certgen how many there are.
    let question = Question { lines: wanted.server_line.into_iter().collect(), cluster: true, hosts: Vec::new() };
    let report = published.inspect(&question, now);
    reasons.extend(refusals(&report));
    match node_certificate(&report) {
        Some(certificate) => reasons.extend(drift(certificate, wanted, now)),
        None if published.content(NODE_CERTIFICATE).is_some() => reasons.push(Reason::NotANode),
        None => {}
    }
    let is_there = |name| published.content(name).is_some();
    if is_there(NODE_KEY) && is_there(NODE_CERTIFICATE) && !has_its_key(&report) {
        reasons.push(Reason::OtherKey);
    }
    reasons.extend(authority(published, &report, signer));
    reasons
}

/// Whether the key belongs to the certificate; what servers say about the key has been said.
fn has_its_key(report: &Report) -> bool {
    let is_key = |file: &str| file == NODE_KEY;
    let fits = |key: &KeyReport| is_key(&key.file) && key.certificates.iter().any(|file| file == NODE_CERTIFICATE);
    let is_said = report.findings.iter().any(|finding| finding.files.iter().any(|file| is_key(file)));
    is_said || report.keys.iter().any(fits)
}

/// Whether it can be read, by those who should and nobody else.
fn as_it_lies(entry: &Entry, owner: Owner) -> Vec<Reason> {
    let file = || entry.name.clone();
    let wanted = match (entry.is_directory, entry.name.as_str()) {
        (true, _) => DIRECTORY,
        (false, NODE_KEY) => KEY,
        (false, _) => CERTIFICATE,
    };
    let mut reasons = Vec::new();
    if entry.mode != wanted {
        reasons.push(Reason::Mode { file: file(), found: entry.mode, wanted });
    }
    if !owner.has(entry.user, entry.group) {
        let found = Owner { user: entry.user, group: owner.group.map(|_| entry.group) };
        reasons.push(Reason::Owner { file: file(), found, wanted: owner });
    }
    if let Err(why) = &entry.content {
        reasons.push(Reason::Unreadable { file: file(), why: why.clone() });
    }
    reasons
}

fn refusals(report: &Report) -> impl Iterator<Item = Reason> {
    report.findings.iter().map(|finding| Reason::Refused {
        lines: finding.refused_by.clone(),
        message: if finding.files.is_empty() {
            finding.message.clone()
        } else {
            format!("{}: {}", finding.files.join(", "), finding.message)
        },
    })
}

/// Where the certificate is not what would be issued now.
fn drift(certificate: &CertificateReport, wanted: &Wanted, now: OffsetDateTime) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let CertificateReport { not_before, not_after, key, .. } = certificate;
    let renew_before = wanted.renew_before;
    // One that has expired already is refused by servers, which is said.
    if now >= *not_after - renew_before.duration() && now <= *not_after {
        reasons.push(Reason::Expiring { not_after: *not_after, renew_before });
    }
    let addresses = |addresses: &[std::net::IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = [certificate.dns_names.clone(), addresses(&certificate.ip_addresses)].concat();
    let dns = wanted.names.dns().iter().map(ToString::to_string).collect();
    let names = [dns, addresses(wanted.names.addresses())].concat();
    let without = |one: &[String], other: &[String]| -> Vec<_> {
        one.iter().filter(|name| !other.iter().any(|known| known.eq_ignore_ascii_case(name))).cloned().collect()
    };
    let (missing, unwanted) = (without(&names, &found), without(&found, &names));
    if !missing.is_empty() || !unwanted.is_empty() {
        reasons.push(Reason::Names { missing, unwanted });
    }
    if key.name == "RSA" && key.bits != Some(wanted.key_size.bits()) {
        reasons.push(Reason::KeySize { found: key.bits, wanted: wanted.key_size });
    }
    if validity_of(*not_before, *not_after) != Some(wanted.validity) {
        let found_hours = (*not_after - *not_before - BACKDATED).whole_hours();
        reasons.push(Reason::Validity { found_hours, wanted: wanted.validity });
    }
    reasons
}

fn authority(published: &Published, report: &Report, signer: Signer<'_>) -> Vec<Reason> {
    match signer {
        Signer::Known { certificate, roots } => {
            let mut reasons = Vec::new();
            reasons.extend(other_roots(published, roots));
            if let Some(node) = node_certificate(report)
                && !is_signed_by(published.content(NODE_CERTIFICATE).unwrap_or_default(), certificate.as_bytes())
            {
                reasons.push(Reason::Issuer { found: node.issuer.clone() });
            }
            reasons
        }
        Signer::Unkept(algorithm) => unkept(published, report, algorithm),
        Signer::ToBeMade { kept_in } => vec![Reason::AuthorityMissing { kept_in: kept_in.to_owned() }],
    }
}

fn other_roots(published: &Published, roots: &[&str]) -> Option<Reason> {
    let wanted: Vec<_> = root_files(roots).map(|(name, root)| (format!("{ROOTS}/{name}"), root)).collect();
    let is_as_wanted = |name: &str, root: &str| published.content(name) == Some(root.as_bytes());
    let changed: Vec<_> =
        wanted.iter().filter(|(name, root)| !is_as_wanted(name, root)).map(|(name, _)| name.clone()).collect();
    let is_wanted = |name: &String| wanted.iter().any(|(wanted, _)| wanted == name);
    let unwanted: Vec<_> = found_roots(published).filter(|name| !is_wanted(name)).collect();
    (!changed.is_empty() || !unwanted.is_empty()).then_some(Reason::Roots { changed, unwanted })
}

fn found_roots(published: &Published) -> impl Iterator<Item = String> {
    let names = published.entries.iter().map(|entry| &entry.name);
    names.filter(|name| name.starts_with(ROOTS) && *name != ROOTS).cloned()
}

/// That the one root signed the certificate is judged as servers do; here, that it is one that certgen would make.
fn unkept(published: &Published, report: &Report, algorithm: CaKeyAlgorithm) -> Vec<Reason> {
    let first = format!("{ROOTS}/{FIRST_ROOT}");
    let mut reasons = Vec::new();
    let unwanted: Vec<_> = found_roots(published).filter(|name| *name != first).collect();
    if !unwanted.is_empty() || published.content(&first).is_none() {
        let changed = if published.content(&first).is_none() { vec![first.clone()] } else { Vec::new() };
        reasons.push(Reason::Roots { changed, unwanted });
    }
    let key = match algorithm.rsa() {
        None => ("EC P-256", Some(256)),
        Some(size) => ("RSA", Some(size.bits())),
    };
    if let Some(root) = report.certificates.iter().find(|certificate| certificate.file == first)
        && ((root.key.name.as_str(), root.key.bits) != key || !root.subject.starts_with(&format!("CN={MADE_HERE}")))
    {
        let found = format!("`{}`, {}", root.subject, root.key.name);
        reasons.push(Reason::UnkeptAuthority { found, wanted: algorithm });
    }
    reasons
}

/// Whether the first certificate of one PEM text was signed with the key of the first of another.
fn is_signed_by(certificate: &[u8], authority: &[u8]) -> bool {
    let first = |text: &[u8]| {
        let mut found = blocks(text, |tag| tag == "CERTIFICATE").ok()?.into_iter();
        found.next().map(pem::Pem::into_contents)
    };
    let (Some(certificate), Some(authority)) = (first(certificate), first(authority)) else { return false };
    let (Ok(certificate), Ok(authority)) = (parse(&certificate), parse(&authority)) else { return false };
    certificate.issuer().as_raw() == authority.subject().as_raw()
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

#[cfg(test)]
mod tests;
