//! docs/OPERATIONS.md: every block of commands says how far it was tried, and that is true.
//!
//! The first line of a block is one of
//! - `# tested`: the block is run here by `sh -eu`, with our programs first on `PATH` and the repository at `$REPO`. All such blocks
//!   of the document share one directory, in their order, as one person would go through them; each has a shell of its own.
//! - `# tested by FILE::TEST`, several separated by commas: tests that do the same, files seen from `crates/`.
//! - `# on AWS: not tried there yet`: only held against the models, with all other commands (`commands.rs`).

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::programs::Programs;
use testkit::tool::{self, Tool};
use testkit::{aws_cli, named_test};

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

/// The task definition of the runbook that moves files aside: its block is run with an `aws` that always prints one word.
fn aside_task() -> Value {
    let page = Page::read("docs/OPERATIONS.md");
    let blocks = page.blocks();
    let block = blocks.iter().find(|block| block.what.text.contains("cat > aside.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("aws"), "#!/bin/sh\necho answer\n").unwrap();
    fs::set_permissions(path.join("aws"), Permissions::from_mode(0o755)).unwrap();
    let functions = "exported() { aws; }\nresource() { aws; }\ncluster=orders AWS_REGION=eu-west-1\n";
    let output = Command::new("sh")
        .args(["-eu", "-c", &format!("{functions}{}", block.what.text)])
        .current_dir(path)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", path.display()))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&fs::read(path.join("aside.json")).unwrap()).unwrap()
}

#[test]
fn task_that_moves_files_aside_is_one_that_ecs_takes() {
    let task = aside_task();
    let [guard, aside] = task["containerDefinitions"].as_array().unwrap().as_slice() else { panic!("{task}") };
    assert_eq!((&guard["essential"], &guard["entryPoint"]), (&json!(false), &json!(["/guard"])));
    assert_eq!(aside["dependsOn"], json!([{"containerName": guard["name"], "condition": "SUCCESS"}]));
    let Some(python) = tool::find(Tool::MotoPython, "task_that_moves_files_aside_is_one_that_ecs_takes") else {
        return;
    };
    let register = |task: &Value| {
        let words = ["ecs", "register-task-definition", "--cli-input-json", &task.to_string()];
        aws_cli::judge(&python, &[words.map(str::to_owned).to_vec()])
    };
    assert_eq!(register(&task), []);
    let mut wrong = task.clone();
    wrong["containerDefinitions"][1]["dependsOn"] = json!([{"name": "guard"}]);
    assert!(!register(&wrong).is_empty(), "an unknown member is found");
}

/// A program under guard's lock on a directory, with times for a test.
fn locked(arguments: &[String]) -> Child {
    Command::new(Programs::beside_this_test().guard())
        .args(arguments)
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("GUARD_HEARTBEAT_INTERVAL", "100ms")])
        .envs([("GUARD_HEARTBEAT_TIMEOUT", "5s"), ("GUARD_TAKEOVER_AFTER", "6s")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Needs guard's `exec`. The runbook's own command, with the paths of a task replaced by those of a test.
#[test]
fn files_are_moved_aside_under_the_lock() {
    let data = tempfile::tempdir().unwrap();
    let here = data.path();
    let task = aside_task();
    let command: Vec<_> = task["containerDefinitions"][1]["command"].as_array().unwrap().iter().skip(1).collect();
    let command: Vec<_> =
        command.iter().map(|word| word.as_str().unwrap().replace("/data", here.to_str().unwrap())).collect();
    let fill = |content: &str| {
        fs::create_dir(here.join("index")).unwrap();
        for file in ["chaser.chk", "chunk-000000.000000", "index/indexmap", ".guard.version", ".odd"] {
            fs::write(here.join(file), content).unwrap();
        }
    };
    let aside = || {
        let output = locked(&command).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let content = |file: &str| fs::read_to_string(here.join(file)).unwrap();

    // While another guard runs a server, nothing is moved.
    let server = ["run", "--data-dir", here.to_str().unwrap(), "--", "sleep", "600"].map(str::to_owned);
    let mut holder = locked(&server);
    while !here.join(".guard.lock").exists() {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(300));
    fill("first");
    let mut waiting = locked(&command);
    sleep(Duration::from_secs(1));
    assert!(waiting.try_wait().unwrap().is_none() && here.join("chaser.chk").exists(), "it waits for the lock");
    let lock = fs::metadata(here.join(".guard.lock")).unwrap().ino();
    kill(Pid::from_raw(holder.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    holder.wait().unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let moved = || names(&here.join(".aside"));
    let expected = ["chaser.chk", "chunk-000000.000000", "index", ".guard.version", ".odd"].map(str::to_owned);
    assert_eq!(moved(), expected.clone().into());
    let left = || names(here).into_iter().filter(|name| !name.starts_with(".aside")).collect::<Vec<_>>();
    assert_eq!(left(), [".guard.lock"]);
    assert_eq!(fs::metadata(here.join(".guard.lock")).unwrap().ino(), lock, "the lock stays in its place");

    // Run again, it has nothing to do.
    aside();
    assert_eq!((moved(), left()), (expected.clone().into(), vec![".guard.lock".to_owned()]));
    assert_eq!(names(here).len(), 2);

    // The files of a second replacement are kept apart from those of the first.
    fill("second");
    aside();
    assert_eq!((moved(), names(&here.join(".aside-2"))), (expected.clone().into(), expected.into()));
    assert_eq!(
        (content(".aside/index/indexmap").as_str(), content(".aside-2/index/indexmap").as_str()),
        ("first", "second")
    );
    assert_eq!(left(), [".guard.lock"]);

    // What an interrupted run has begun is finished.
    fill("third");
    fs::create_dir(here.join(".aside-part")).unwrap();
    fs::rename(here.join("chaser.chk"), here.join(".aside-part/chaser.chk")).unwrap();
    aside();
    assert_eq!(names(&here.join(".aside-3")).len(), 5);
    assert_eq!(content(".aside-3/chaser.chk"), "third");
}
