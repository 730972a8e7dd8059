//! The licences of what is linked into the programs, with the texts that their packages have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::deny::packages_of;
use crate::{Failure, build, sbom};

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

/// Not from a registry, and linked all the same.
const SYSTEM: &str = "\
This file is what the licences of others demand of whoever passes the programs on. They are linked statically; the sources of
eventstore-fargate, with Cargo.lock and `cargo xtask dist`, are what is needed to link them again with other versions.

Besides the packages below the programs hold:

- the standard library of Rust (https://github.com/rust-lang/rust), MIT OR Apache-2.0; LICENSE has the text of Apache-2.0;
- the GNU C Library (https://www.gnu.org/software/libc/), LGPL-2.1-or-later; the text is at the end of this file.
";

const LGPL: &str = include_str!("LGPL-2.1.txt");

/// The text for programs of these packages.
pub(super) fn of(root: &Path, packages: &[&str]) -> Result<String, Failure> {
    let linked = sbom::linked(root, packages)?;
    let known: Vec<Package> = packages_of(root, &["--filter-platform", build::TARGET])?;
    let foreign = known.iter().filter(|package| package.source.is_some());
    let foreign: BTreeMap<_, _> =
        foreign.map(|package| (format!("{} {}", package.name, package.version), package)).collect();
    let mut text = SYSTEM.to_owned();
    // The same text is printed once, after all that have it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, package) in linked.keys().filter_map(|name| foreign.get_key_value(name)) {
        let licence = package.license.as_deref().unwrap_or("see the text");
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{name}: {licence}");
        if let Some(repository) = &package.repository {
            let _ = write!(text, ", {repository}");
        }
        let found = texts_of(package)?;
        if found.is_empty() {
            text += ", holds no text";
        }
        for licence in found {
            texts.entry(licence).or_default().push(name.clone());
        }
    }
    text.push('\n');
    let mut ordered: Vec<_> = texts.into_iter().collect();
    ordered.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (licence, names) in ordered {
        let _ = write!(text, "\n{}\n{}\n\n{licence}\n", "=".repeat(80), names.join(", "));
    }
    let _ = write!(text, "\n{}\nGNU C Library\n\n{LGPL}", "=".repeat(80));
    Ok(text)
}

/// What lies beside a manifest and is named like a licence.
fn texts_of(package: &Package) -> Result<Vec<String>, Failure> {
    let directory = package.manifest_path.parent().unwrap_or(Path::new("."));
    let failed = || format!("read the licences in {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(Failure::io(&failed()))? {
        let entry = entry.map_err(Failure::io(&failed()))?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_text = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if is_text.iter().any(|beginning| name.starts_with(beginning)) && entry.path().is_file() {
            names.push(entry.path());
        }
    }
    names.sort();
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned())
    };
    names.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_linked_is_named_and_has_the_text() {
        let text = of(&crate::workspace(), &["guard"]).map_err(|failure| failure.message).unwrap();
        for part in
            ["\nnix 0.", ": MIT, https://github.com/nix-rust/nix", "\nlibc 0.2.", "GNU LESSER GENERAL PUBLIC LICENSE"]
        {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert!(text.contains("Permission is hereby granted, free of charge"));
        assert!(!text.contains("\nguard ") && !text.contains("tokio"));
    }
}
