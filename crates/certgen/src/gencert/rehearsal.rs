//! What a run would make, for `-dry-run`.

use std::fmt::Write as _;

use time::format_description::well_known::Rfc3339;

use super::request::Subject;
use super::resolve::{Item, SignedBy, Work};
use super::what;

/// One paragraph for each certificate, in the order in which they are listed.
pub(super) fn of(work: &Work) -> String {
    let mut text = String::new();
    for item in &work.items {
        // Writing to a String cannot fail.
        let _ = write!(text, "would make a {} certificate & key", what(item));
        let _ = writeln!(text, "{}", subject(&item.subject));
        for target in [&item.certificate, &item.key] {
            let replaced = if target.replaces.is_some() { ", which is replaced" } else { "" };
            let _ = writeln!(text, "  {}{replaced}", target.path.display());
        }
        // The year 10000 was refused.
        let until = item.not_after.format(&Rfc3339).unwrap_or_default();
        let _ = writeln!(text, "  valid until {until}, signed by {}", signer(work, item));
    }
    text
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Authority => String::new(),
        Subject::Node { common_name, names } => {
            let addresses = names.addresses.iter().map(ToString::to_string);
            let names: Vec<_> = names.dns.iter().cloned().chain(addresses).collect();
            format!(" of {common_name} for {}", names.join(", "))
        }
        Subject::User { name } => format!(" of {name}"),
    }
}

fn signer(work: &Work, item: &Item) -> String {
    match item.signed_by {
        SignedBy::Itself => "itself".to_owned(),
        SignedBy::Given(_) => "the given CA".to_owned(),
        SignedBy::Made(parent) => work.items[parent].certificate.path.display().to_string(),
    }
}
