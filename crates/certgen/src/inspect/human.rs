//! The report for people.

use std::fmt::{self, Write as _};

use time::OffsetDateTime;

use super::certificate::{Algorithm, Kind};
use super::line::Line;
use super::report::{CertificateReport, Finding, KeyReport, Note, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for certificate in &self.certificates {
            describe_certificate(&mut text, certificate)?;
        }
        for key in &self.keys {
            describe_key(&mut text, key)?;
        }
        refusals(&mut text, self)?;
        if !self.notes.is_empty() {
            text.push_str("Worth knowing:\n");
            for Note { file, message, .. } in &self.notes {
                match file {
                    Some(file) => writeln!(text, "  {file}: {message}")?,
                    None => writeln!(text, "  {message}")?,
                }
            }
            text.push('\n');
        }
        verdict(&mut text, self)?;
        f.write_str(&harmless(&text))
    }
}

fn describe_certificate(text: &mut String, certificate: &CertificateReport) -> fmt::Result {
    let CertificateReport { file, position, kind, subject, issuer, serial, key, .. } = certificate;
    let kind = match kind {
        Kind::Root => "root CA",
        Kind::Intermediate => "intermediate CA",
        Kind::Node => "certificate of a node",
        Kind::User => "certificate of a user",
    };
    let which = if *position == 1 { String::new() } else { format!(", certificate {position}") };
    writeln!(text, "{file}{which}: {kind}")?;
    let mut row = |name: &str, value: &str| writeln!(text, "  {name:<12} {value}");
    row("subject", subject)?;
    row("issuer", &format!("{issuer} ({})", signed_by(certificate)))?;
    row("valid", &validity(certificate))?;
    row("key", &format!("{}; {}", algorithm(key), private_key(certificate)))?;
    let names: Vec<_> =
        certificate.dns_names.iter().cloned().chain(certificate.ip_addresses.iter().map(ToString::to_string)).collect();
    if !names.is_empty() || matches!(certificate.kind, Kind::Node) {
        row("names", &list_or_none(&names))?;
    }
    if !certificate.is_ca && matches!(certificate.kind, Kind::Root) {
        row("constraints", "not CA:TRUE")?;
    }
    if certificate.is_ca {
        let length = certificate.path_length.map(|length| format!(", at most {length} intermediates below"));
        row("constraints", &format!("CA:TRUE{}", length.unwrap_or_default()))?;
    }
    row("key usage", &certificate.key_usage.as_deref().map_or("none".to_owned(), list_or_none))?;
    if !certificate.is_ca || certificate.extended_key_usage.is_some() {
        row("extended", &certificate.extended_key_usage.as_deref().map_or("none".to_owned(), list_or_none))?;
    }
    row("serial", serial)?;
    row("SHA-256", &certificate.sha256)?;
    if let Some(mode) = &certificate.mode {
        row("mode", mode)?;
    }
    text.push('\n');
    Ok(())
}

fn signed_by(certificate: &CertificateReport) -> String {
    match &certificate.signed_by {
        None => "not among these files".to_owned(),
        Some(signer) if !signer.is_verified => format!("{} by its name; the signature was not verified", signer.file),
        Some(signer) if signer.is_itself => "itself, verified".to_owned(),
        Some(signer) if signer.position == 1 => format!("{}, verified", signer.file),
        Some(signer) => format!("{}, certificate {}, verified", signer.file, signer.position),
    }
}

fn validity(certificate: &CertificateReport) -> String {
    let CertificateReport { not_before, not_after, days_left, .. } = certificate;
    let left = match days_left {
        0 => "less than a day left".to_owned(),
        1 => "1 day left".to_owned(),
        days if *days > 0 => format!("{days} days left"),
        _ => "expired".to_owned(),
    };
    format!("{} to {}, {left}", minute(*not_before), minute(*not_after))
}

fn minute(time: OffsetDateTime) -> String {
    format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute())
}

fn algorithm(Algorithm { name, bits }: &Algorithm) -> String {
    match bits {
        Some(bits) if name == "RSA" => format!("RSA {bits}"),
        _ => name.clone(),
    }
}

fn private_key(certificate: &CertificateReport) -> String {
    match &certificate.private_key {
        Some(file) => format!("private key in {file}"),
        None => "private key not among these files".to_owned(),
    }
}

fn list_or_none<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

fn describe_key(text: &mut String, key: &KeyReport) -> fmt::Result {
    let KeyReport { file, format, algorithm, certificates, mode } = key;
    writeln!(text, "{file}: private key")?;
    writeln!(text, "  {:<12} {}, {}", "form", algorithm.unwrap_or("algorithm not known"), format.describe())?;
    let of = if certificates.is_empty() { "none of these files".to_owned() } else { certificates.join(", ") };
    writeln!(text, "  {:<12} {of}", "certificate")?;
    if let Some(mode) = mode {
        writeln!(text, "  {:<12} {mode}", "mode")?;
    }
    text.push('\n');
    Ok(())
}

/// Findings of the same lines stand together.
fn refusals(text: &mut String, report: &Report) -> fmt::Result {
    let mut groups: Vec<(&[Line], Vec<&Finding>)> = Vec::new();
    for finding in &report.findings {
        match groups.iter_mut().find(|(lines, _)| *lines == finding.refused_by) {
            Some((_, findings)) => findings.push(finding),
            None => groups.push((&finding.refused_by, vec![finding])),
        }
    }
    for (lines, findings) in groups {
        writeln!(text, "Refused by {}:", list_or_none(&lines.iter().map(|line| line.as_str()).collect::<Vec<_>>()))?;
        for Finding { files, message, effect, sources, .. } in findings {
            let files = if files.is_empty() { String::new() } else { format!("{}: ", files.join(", ")) };
            writeln!(text, "  {files}{message}")?;
            writeln!(text, "    {} [{}]", effect.describe(), sources.join(", "))?;
        }
        text.push('\n');
    }
    Ok(())
}

fn verdict(text: &mut String, report: &Report) -> fmt::Result {
    for unreadable in &report.unreadable {
        writeln!(text, "Not read: {}: {}", unreadable.file, unreadable.reason)?;
    }
    let lines = list_or_none(&report.lines.iter().map(|line| line.as_str()).collect::<Vec<_>>());
    let place = if report.cluster { "in a cluster" } else { "alone" };
    if report.findings.is_empty() {
        writeln!(text, "Nothing of this would be refused by a server {place} ({lines}).")?;
    } else {
        let refusing: Vec<_> = (report.lines.iter())
            .filter(|line| report.findings.iter().any(|finding| finding.refused_by.contains(line)))
            .map(|line| line.as_str())
            .collect();
        writeln!(text, "A server {place} would refuse something of this: {}.", list_or_none(&refusing))?;
    }
    if report.more_in_cluster > 0 {
        writeln!(text, "A cluster would refuse more ({}): --cluster tells what.", report.more_in_cluster)?;
    }
    Ok(())
}

/// Names come from files of anybody: what could move a cursor is shown as an escape.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter != '\n' && letter.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}", letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\nc");
    }
}
