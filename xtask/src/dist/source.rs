//! What a release is made from: a commit and a section of the changelog.

use std::path::Path;
use std::process::Command;

use crate::{Failure, build};

/// The commit that is checked out, or `None` if there is more than a commit in the tree and that is allowed.
///
/// # Errors
///
/// What was changed, unless that is allowed.
pub(super) fn commit(root: &Path, is_dirty_allowed: bool) -> Result<Option<String>, Failure> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let changes = git(&["status", "--porcelain"]);
    match (changes.as_deref(), git(&["rev-parse", "HEAD"])) {
        (Some(""), Some(commit)) => Ok(Some(commit)),
        _ if is_dirty_allowed => Ok(None),
        (Some(changes), Some(_)) => Err(Failure::new(format!(
            "the tree is not that of its commit; commit or stash, or try it with --allow-dirty:\n{changes}"
        ))),
        _ => Err(Failure::new("this is no checkout of git; try it with --allow-dirty")),
    }
}

/// The files below `docs`, as git knows them: what an editor or Python leaves beside them is no document. Without git, all of them.
///
/// # Errors
///
/// If the directory cannot be read.
pub(super) fn documents(root: &Path) -> Result<Vec<String>, Failure> {
    let listed = Command::new("git").args(["ls-files", "-z", "docs"]).current_dir(root).output();
    if let Some(listed) = listed.ok().filter(|listed| listed.status.success() && !listed.stdout.is_empty()) {
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        return Ok(listed.split_terminator('\0').map(str::to_owned).collect());
    }
    let files = build::files_below(&root.join("docs"))?;
    Ok(files.iter().map(|file| file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned()).collect())
}

/// The notes of a version: its section of the changelog. Those of a pre-release (`1.2.0-rc.1`) are what is not released yet.
///
/// # Errors
///
/// There is no such section, or nothing in it.
pub(super) fn notes(changelog: &str, version: &str, is_unreleased_allowed: bool) -> Result<String, Failure> {
    let section = |name: &str| {
        let heading = format!("## [{name}]");
        let after = changelog.lines().skip_while(|line| !line.starts_with(&heading)).skip(1);
        let lines: Vec<_> = after.take_while(|line| !line.starts_with("## ") && !line.starts_with('[')).collect();
        Some(lines.join("\n").trim().to_owned()).filter(|text| !text.is_empty())
    };
    let unreleased = || section("Unreleased").filter(|_| is_unreleased_allowed || version.contains('-'));
    let notes = section(version).or_else(unreleased).ok_or_else(|| {
        Failure::new(format!(
            "CHANGELOG.md says nothing under `## [{version}]`; make that section of what is under `## [Unreleased]`, or try it with \
             --allow-unreleased"
        ))
    })?;
    Ok(format!("# eventstore-fargate {version}\n\n{notes}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- New.\n\n## [0.2.0] - 2026-01-01\n\n- Old.\n\n\
                             ## [0.1.0]\n\n[0.2.0]: https://example.com\n";

    #[test]
    fn notes_are_the_section_of_the_version() {
        let notes = |version, allowed| notes(CHANGELOG, version, allowed).map_err(|failure| failure.message);
        assert_eq!(notes("0.2.0", false).unwrap(), "# eventstore-fargate 0.2.0\n\n- Old.\n");
        assert_eq!(notes("0.3.0-rc.1", false).unwrap(), "# eventstore-fargate 0.3.0-rc.1\n\n### Added\n\n- New.\n");
        assert_eq!(notes("0.3.0", true).unwrap(), "# eventstore-fargate 0.3.0\n\n### Added\n\n- New.\n");
        for version in ["0.3.0", "0.1.0"] {
            assert!(notes(version, false).unwrap_err().contains(&format!("nothing under `## [{version}]`")));
        }
    }

    #[test]
    fn only_a_commit_is_released() {
        let tree = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]);
            let output =
                git.args(arguments).current_dir(tree.path()).env("GIT_CEILING_DIRECTORIES", "/").output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        git(&["init", "--quiet"]);
        std::fs::write(tree.path().join("a"), "1").unwrap();
        assert!(commit(tree.path(), false).is_err());
        git(&["add", "a"]);
        git(&["commit", "--quiet", "--message", "a"]);
        assert_eq!(commit(tree.path(), false).unwrap().unwrap().len(), 40);
        std::fs::write(tree.path().join("b"), "2").unwrap();
        assert!(commit(tree.path(), false).unwrap_err().message.contains("?? b"));
        assert_eq!(commit(tree.path(), true).unwrap(), None);
    }
}
