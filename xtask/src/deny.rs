//! Licences, bans and sources of everything we depend on, by the rules of `deny.toml`.
//!
//! The same file serves cargo-deny where it is installed. Advisories need a database that is fetched from the network;
//! they are not looked at here.

use std::collections::BTreeSet;
use std::fs;
use std::iter::Peekable;
use std::path::Path;
use std::process::Command;
use std::str::SplitWhitespace;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Failure;

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Metadata<P> {
    packages: Vec<P>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// Checks the dependency graph of the workspace in `root`.
///
/// # Errors
///
/// Every package that breaks a rule, with the rule.
pub(crate) fn check(root: &Path) -> Result<String, Failure> {
    let rules: Rules =
        toml::from_str(&fs::read_to_string(root.join("deny.toml")).map_err(Failure::io("read deny.toml"))?)
            .map_err(|error| Failure::new(format!("deny.toml: {error}")))?;
    let mut findings = Vec::new();
    let mut packages = 0;
    for target in &rules.graph.targets {
        let (listed, used) = (packages_of::<Package>(root, &["--filter-platform", target])?, used(root, target)?);
        let is_used = |package: &&Package| used.contains(&format!("{} v{}", package.name, package.version));
        for package in listed.iter().filter(is_used) {
            packages += 1;
            findings.extend(
                judge(package, &rules)
                    .into_iter()
                    .map(|finding| format!("{} {}: {finding}", package.name, package.version)),
            );
        }
    }
    if findings.is_empty() { Ok(format!("{packages} packages")) } else { Err(Failure::new(findings.join("\n"))) }
}

/// What cargo knows of packages, as much of it as `P` wants to know.
pub(crate) fn packages_of<P: DeserializeOwned>(root: &Path, more: &[&str]) -> Result<Vec<P>, Failure> {
    let output = cargo(root, &[&["metadata", "--format-version", "1", "--locked"], more].concat())?;
    let metadata: Metadata<P> =
        serde_json::from_str(&output).map_err(|error| Failure::new(format!("cargo metadata: {error}")))?;
    Ok(metadata.packages)
}

/// `name vVERSION` of everything that is compiled. The metadata alone also lists what a feature that nobody asked for
/// would bring.
fn used(root: &Path, target: &str) -> Result<BTreeSet<String>, Failure> {
    let arguments = ["tree", "--workspace", "--locked", "--target", target, "--edges", "all", "--prefix", "none"];
    let output = cargo(root, &[&arguments[..], &["--format", "{p}"]].concat())?;
    let package = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(output.lines().map(package).collect())
}

/// What cargo prints.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root).output();
    let output = output.map_err(Failure::io("run cargo"))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| Failure::new(format!("cargo {}: {error}", arguments[0])))
}

fn judge(package: &Package, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == package.name) {
        findings.push(format!("banned: {}", ban.reason));
    }
    if package
        .source
        .as_deref()
        .is_some_and(|source| !source.starts_with("registry+https://github.com/rust-lang/crates.io-index"))
    {
        findings.push("does not come from crates.io".to_owned());
    }
    match &package.license {
        None => findings.push("names no licence".to_owned()),
        Some(expression) if !allowed(expression, &rules.licenses.allow) => {
            findings.push(format!("licence `{expression}` is not in the allow list"));
        }
        Some(_) => {}
    }
    findings
}

/// Whether an SPDX expression can be satisfied with allowed licences: `OR` needs one side, `AND` both, and `AND` binds
/// tighter. An exception (`WITH`) only gives further rights.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    any_of(&mut spaced.split_whitespace().peekable(), allow)
}

type Tokens<'a, 'b> = &'a mut Peekable<SplitWhitespace<'b>>;

fn any_of(tokens: Tokens<'_, '_>, allow: &BTreeSet<String>) -> bool {
    let mut any = all_of(tokens, allow);
    while tokens.next_if_eq(&"OR").is_some() {
        any |= all_of(tokens, allow);
    }
    any
}

fn all_of(tokens: Tokens<'_, '_>, allow: &BTreeSet<String>) -> bool {
    let mut all = one(tokens, allow);
    while tokens.next_if_eq(&"AND").is_some() {
        all &= one(tokens, allow);
    }
    all
}

fn one(tokens: Tokens<'_, '_>, allow: &BTreeSet<String>) -> bool {
    let Some(token) = tokens.next() else { return false };
    if token == "(" {
        let inner = any_of(tokens, allow);
        return tokens.next_if_eq(&")").is_some() && inner;
    }
    if tokens.next_if_eq(&"WITH").is_some() {
        tokens.next();
    }
    allow.contains(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_what_they_demand() {
        let allow = ["MIT", "Apache-2.0", "ISC"].map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "ISC AND (Apache-2.0 OR GPL-3.0)",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(allowed(good, &allow), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-2.0 OR GPL-3.0)", "(MIT"] {
            assert!(!allowed(bad, &allow), "{bad}");
        }
    }

    #[test]
    fn a_package_is_judged_by_name_source_and_licence() {
        let rules = Rules {
            graph: Graph { targets: Vec::new() },
            licenses: Licenses { allow: ["MIT".to_owned()].into() },
            bans: Bans { deny: vec![Ban { name: "ring".to_owned(), reason: "one provider".to_owned() }] },
        };
        let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
        let findings = |name: &str, license: Option<&str>, source: &str| {
            let package = Package {
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                license: license.map(str::to_owned),
                source: Some(source.to_owned()),
            };
            judge(&package, &rules).len()
        };
        assert_eq!(findings("serde", Some("MIT OR Apache-2.0"), crates_io), 0);
        assert_eq!(findings("ring", Some("MIT"), crates_io), 1);
        assert_eq!(findings("serde", None, "git+https://example.com/serde"), 2);
        assert_eq!(findings("serde", Some("GPL-3.0"), crates_io), 1);
    }
}
