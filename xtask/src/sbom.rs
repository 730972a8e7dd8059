//! What is in an image or an archive, as a `CycloneDX` 1.5 bill of materials: the packages that its programs are compiled from, with their
//! licences and the checksums that `Cargo.lock` has of them. The same sources give the same text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::deny::cargo;
use crate::{Failure, build, workspace_version};

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of something of this kind, `container` or `application`, with programs of these packages.
pub(crate) fn of(root: &Path, kind: &str, name: &str, packages: &[&str]) -> Result<String, Failure> {
    let components = linked(root, packages)?;
    let version = workspace_version(root)?;
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": kind, "name": name, "version": version}},
        "components": components.into_values().collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&bill).map(|text| text + "\n").map_err(|error| Failure::new(error.to_string()))
}

/// What is linked into the programs of these packages: its component by `name version`.
pub(crate) fn linked(root: &Path, packages: &[&str]) -> Result<BTreeMap<String, Value>, Failure> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(Failure::io("read Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).map_err(|error| Failure::new(format!("Cargo.lock: {error}")))?;
    let mut linked = BTreeMap::new();
    for package in packages {
        // Neither build scripts nor macros, nor what only other systems need.
        let arguments =
            ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--package", package];
        let listed = cargo(root, &[&arguments[..], &["--target", build::TARGET, "--format", "{p}\t{l}"]].concat())?;
        linked.extend(listed.lines().filter_map(|line| component(line, &lock)));
    }
    Ok(linked)
}

/// From a line `name vVERSION (path)<tab>licence`; what was listed before has ` (*)`.
fn component(line: &str, lock: &Lock) -> Option<(String, Value)> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('\t')?;
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let mut component = json!({
        "type": "library",
        "bom-ref": format!("{name}@{version}"),
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
    });
    if !licence.is_empty() {
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    let locked = lock.package.iter().find(|locked| locked.name == name && locked.version == version);
    if let Some(checksum) = locked.and_then(|locked| locked.checksum.as_ref()) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    Some((format!("{name} {version}"), component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_name_version_licence_and_checksum() {
        let lock = Lock {
            package: vec![Locked {
                name: "a".to_owned(),
                version: "1.0.0".to_owned(),
                checksum: Some("0f".to_owned()),
            }],
        };
        let (_, found) = component("a v1.0.0\tMIT/Apache-2.0 (*)", &lock).unwrap_or_default();
        assert_eq!(found["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(found["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(found["hashes"][0]["content"], "0f");
        let (_, own) = component("b v0.1.0 (/home/b)\tApache-2.0", &lock).unwrap_or_default();
        assert_eq!((own["name"].as_str(), own["hashes"].is_null()), (Some("b"), true));
        assert_eq!(component("", &lock), None);
    }
}
