//! docs/OPERATIONS.md: every block of commands says how far it was tried, and that is true.
//!
//! The first line of a block is one of
//! - `# tested`: the block is run here by `sh -eu`, with our programs first on `PATH` and the repository at `$REPO`. All such blocks
//!   of the document share one directory, in their order, as one person would go through them; each has a shell of its own.
//! - `# tested by FILE::TEST`, several separated by commas: tests that do the same, files seen from `crates/`.
//! - `# on AWS: not tried there yet`: only held against the models, with all other commands (`commands.rs`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use testkit::named_test;
use testkit::programs::Programs;

use crate::commands::is_shell;
use crate::markdown::{At, Block, Page, root};
use crate::shell;

/// What a tested block may use: all machines have it, and it reaches nobody.
const HARMLESS: [&str; 27] = [
    "[", "basename", "cat", "cd", "certgen", "chmod", "cmp", "cp", "cut", "diff", "dirname", "echo", "export", "grep",
    "head", "infra", "ls", "mkdir", "mv", "printf", "rm", "sed", "set", "sort", "tail", "test", "wc",
];
/// For one block, in seconds: far more than any needs.
const PATIENCE: &str = "60";

enum Tried {
    Here,
    Elsewhere,
    NotYet,
}

/// How far a block was tried, by its first line.
fn tried(block: &Block) -> Result<Tried, String> {
    let first = block.text.lines().next().unwrap_or_default();
    if let Some(tests) = first.strip_prefix("# tested by ") {
        for test in tests.split(", ") {
            named_test::look_up(test)?;
        }
        return Ok(Tried::Elsewhere);
    }
    match first {
        "# tested" => Ok(Tried::Here),
        "# on AWS: not tried there yet" => Ok(Tried::NotYet),
        _ => Err(format!(
            "a block begins with `# tested`, `# tested by FILE::TEST` or `# on AWS: not tried there yet`, not with `{first}`"
        )),
    }
}

/// Everything wrong with the blocks of a page, after running those that say so.
fn findings(page: &Page) -> Vec<String> {
    let mut findings = Vec::new();
    let directory = tempfile::tempdir().unwrap();
    let bin = tempfile::tempdir().unwrap();
    let programs = Programs::beside_this_test();
    for (name, path) in [("certgen", programs.certgen()), ("infra", programs.infra())] {
        symlink(path, bin.path().join(name)).unwrap();
    }
    for block in page.blocks().iter().filter(|block| is_shell(&block.what.language)) {
        let said = match tried(&block.what) {
            Err(mistake) => Err(mistake),
            Ok(Tried::Here) => foreign(block).and_then(|()| run(&block.what.text, directory.path(), bin.path())),
            Ok(Tried::Elsewhere | Tried::NotYet) => Ok(()),
        };
        findings.extend(said.err().map(|mistake| format!("{}: {mistake}", page.place(block.line))));
    }
    findings
}

fn foreign(block: &At<Block>) -> Result<(), String> {
    let commands = shell::read(&block.what.text, block.line).map_err(|(_, mistake)| mistake)?;
    let programs = commands.iter().filter_map(|command| command.words.first());
    let foreign: Vec<_> =
        programs.map(|word| word.text.as_str()).filter(|program| !HARMLESS.contains(program)).collect();
    if foreign.is_empty() { Ok(()) } else { Err(format!("a tested block cannot use {}", foreign.join(", "))) }
}

fn run(text: &str, directory: &Path, bin: &Path) -> Result<(), String> {
    let script = bin.join("block.sh");
    fs::write(&script, text).unwrap();
    let output = Command::new("timeout")
        .args([PATIENCE, "sh", "-eu"])
        .arg(&script)
        .current_dir(directory)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("HOME", directory)
        .env("REPO", root())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("it ends with {}: {said}", output.status))
}

#[test]
fn every_block_of_the_operations_page_was_tried_as_far_as_it_says() {
    let page = Page::read("docs/OPERATIONS.md");
    let is_tested = |block: &At<Block>| block.what.text.starts_with("# tested\n");
    assert!(page.blocks().iter().any(is_tested), "nothing of the page is run");
    let found = findings(&page);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_block_that_does_not_do_what_it_says_is_found() {
    let cases = [
        ("# tested\ninfra init --name here", ""),
        // What the block before wrote is there.
        ("# tested\ngrep -q 'name = \"here\"' eventstore.toml\ntest -f \"$REPO/Cargo.toml\"", ""),
        ("# tested\ninfra init --name here", "exists"),
        ("# tested\necho \"$NOT_SET\"", "NOT_SET"),
        ("# tested\nfalse_friend | cat", "cannot use false_friend"),
        ("# tested\necho $(aws sts get-caller-identity)", "cannot use aws"),
        ("# tested\ncat nowhere\necho", "nowhere"),
        ("# tested by infra/tests/restore_plan.rs::a_plan_runs_and_its_configuration_is_valid", ""),
        ("# tested by infra/tests/restore_plan.rs::a_plan_flies", "is no test"),
        ("# tested by infra/tests/nothing.rs::a", "nothing.rs"),
        ("# on AWS: not tried there yet\naws sts get-caller-identity", ""),
        ("aws sts get-caller-identity", "a block begins with"),
        ("# tested, more or less\necho", "a block begins with"),
    ];
    for (text, expected) in &cases {
        let before = "```sh\n# tested\ninfra init --name here\n```\n";
        let is_first = *text == cases[0].0 && expected.is_empty();
        let text = format!("{}```sh\n{text}\n```\n", if is_first { "" } else { before });
        let found = findings(&Page { path: "x.md".to_owned(), text: text.clone() });
        match *expected {
            "" => assert!(found.is_empty(), "{text}: {found:?}"),
            words => assert!(found.len() == 1 && found[0].contains(words), "{text}: {found:?}"),
        }
    }
}
