//! That certgen, bootstrap, guard and infra can be published: cheaply what their packages would hold, or, as `cargo xtask package`,
//! packed and built from what was packed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::deny::{cargo, packages_of};
use crate::{Failure, build};

/// In the order in which they are published: each needs those before it.
pub(crate) const PUBLISHED: [&str; 4] = ["certgen", "bootstrap", "guard", "infra"];

#[derive(Deserialize)]
struct Package {
    name: String,
    description: Option<String>,
    license: Option<String>,
    documentation: Option<String>,
    repository: Option<String>,
    readme: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
    /// No registry for what is not published.
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// Packs and builds all that is published, without publishing it.
pub(crate) fn verify(root: &Path) -> Result<(), Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--locked"]).args(PUBLISHED.iter().flat_map(|package| ["-p", package]));
    build::run(cargo.current_dir(root), "cargo package")
}

/// Looks at manifests and at what would be packed.
///
/// # Errors
///
/// Everything that is missing.
pub(crate) fn check(root: &Path) -> Result<String, Failure> {
    let mut findings = Vec::new();
    for package in &packages_of::<Package>(root, &["--no-deps"])? {
        let is_published = PUBLISHED.contains(&package.name.as_str());
        let mut of_package = if is_published { judge(package) } else { not_to_be_published(package) };
        if is_published {
            let listed = cargo(root, &["package", "--list", "--allow-dirty", "--locked", "-p", &package.name])?;
            of_package.extend(missing(&listed));
            of_package.extend(reaches_outside(package)?);
        }
        findings.extend(of_package.into_iter().map(|finding| format!("{}: {finding}", package.name)));
    }
    if findings.is_empty() {
        Ok(format!("{} packages", PUBLISHED.len()))
    } else {
        Err(Failure::new(findings.join("\n")))
    }
}

fn judge(package: &Package) -> Vec<String> {
    let is_empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    let mut findings: Vec<_> = [
        ("description", is_empty(&package.description)),
        ("license", is_empty(&package.license)),
        ("documentation", is_empty(&package.documentation)),
        ("repository", is_empty(&package.repository)),
        ("readme", is_empty(&package.readme)),
        ("keywords", package.keywords.is_empty()),
        ("categories", package.categories.is_empty()),
    ]
    .into_iter()
    .filter(|(_, is_missing)| *is_missing)
    .map(|(key, _)| format!("`{key}` is missing"))
    .collect();
    for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        let (is_for_tests, has_version) = (dependency.kind.as_deref() == Some("dev"), dependency.req != "*");
        if is_for_tests && has_version {
            findings.push(format!("{} is for tests alone: name it by path, without version", dependency.name));
        }
        if !is_for_tests && !has_version {
            findings.push(format!("{} needs a version beside its path", dependency.name));
        }
    }
    if package.publish.is_some() {
        findings.push("`publish` keeps it from being published".to_owned());
    }
    findings
}

fn not_to_be_published(package: &Package) -> Vec<String> {
    match &package.publish {
        Some(registries) if registries.is_empty() => Vec::new(),
        _ => vec!["`publish = false` is missing".to_owned()],
    }
}

fn missing(listed: &str) -> Vec<String> {
    let files: BTreeSet<_> = listed.lines().collect();
    let needed = ["Cargo.toml", "LICENSE", "README.md", "src/main.rs"];
    let mut findings: Vec<_> =
        needed.iter().filter(|name| !files.contains(*name)).map(|name| format!("{name} would not be packed")).collect();
    findings
        .extend(files.iter().filter(|name| name.starts_with("fuzz/")).map(|name| format!("{name} would be packed")));
    findings
}

/// Sources that include a file which the package has not: `include_str!` and its like with a way out of it.
fn reaches_outside(package: &Package) -> Result<Vec<String>, Failure> {
    let directory = package.manifest_path.parent().unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    for file in build::files_below(&directory.join("src"))? {
        let source = std::fs::read(&file).map_err(Failure::io(&format!("read {}", file.display())))?;
        for included in included(&String::from_utf8_lossy(&source)) {
            let path = file.parent().unwrap_or(directory).join(&included).canonicalize();
            if !path.is_ok_and(|path| path.starts_with(directory) && !path.starts_with(directory.join("tests"))) {
                findings.push(format!("{} includes {included}, which is not packed", file.display()));
            }
        }
    }
    Ok(findings)
}

fn included(source: &str) -> Vec<String> {
    let calls = ["include_str!(\"", "include_bytes!(\"", "include!(\""];
    let after = calls.iter().flat_map(|call| source.split(call).skip(1));
    after.filter_map(|rest| rest.split_once('"')).map(|(path, _)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_published_is_found() {
        let dependency = |name: &str, req: &str, kind: Option<&str>| Dependency {
            name: name.to_owned(),
            req: req.to_owned(),
            kind: kind.map(str::to_owned),
            path: Some("/a".into()),
        };
        let package = Package {
            name: "a".to_owned(),
            description: Some(String::new()),
            license: Some("MIT".to_owned()),
            documentation: None,
            repository: Some("https://example.com".to_owned()),
            readme: Some("README.md".to_owned()),
            keywords: Vec::new(),
            categories: vec!["database".to_owned()],
            publish: None,
            dependencies: vec![
                dependency("b", "*", None),
                dependency("c", "^1", Some("dev")),
                dependency("d", "^1", None),
                dependency("e", "*", Some("dev")),
            ],
            manifest_path: "/a/Cargo.toml".into(),
        };
        assert_eq!(
            judge(&package),
            [
                "`description` is missing",
                "`documentation` is missing",
                "`keywords` is missing",
                "b needs a version beside its path",
                "c is for tests alone: name it by path, without version",
            ]
        );
        assert_eq!(not_to_be_published(&package).len(), 1);
        assert_eq!(missing("Cargo.toml\nREADME.md\nsrc/main.rs\nfuzz/a.rs\n").len(), 2);
        assert_eq!(included("a(include_str!(\"../x\")); include!(\"y.rs\")"), ["../x", "y.rs"]);
    }
}
