//! Manuals and completions against what the programs themselves say.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::programs::Programs;

/// What `cargo xtask manuals` writes below a directory.
fn written(out: &Path) -> BTreeMap<String, String> {
    let mut manuals = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let status = manuals.args(["manuals", "--out"]).arg(out).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let mut files = BTreeMap::new();
    let mut directories = vec![out.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(out).unwrap().display().to_string();
                files.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    files
}

/// What a program answers to `--help` after the words of a page's name.
fn help(page: &str) -> String {
    let words: Vec<_> = match page.split_once('-') {
        None => vec![page],
        // Its commands have none below them.
        Some(("infra", command)) => vec!["infra", command],
        Some((program, command)) if command.starts_with("create-") => vec![program, command],
        Some((program, commands)) => [program].into_iter().chain(commands.split('-')).collect(),
    };
    let directory = Programs::beside_this_test().certgen().parent().unwrap().to_owned();
    let output = Command::new(directory.join(words[0])).args(&words[1..]).arg("--help").output().unwrap();
    assert!(output.status.success(), "{page}: {output:?}");
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// The flags that begin a line, with two hyphens or, as es-gencert-cli has them, with one.
fn flags(help: &str) -> BTreeSet<String> {
    let words = help.lines().filter_map(|line| line.split_whitespace().find(|word| word.len() > 3));
    let flags = words.filter(|word| word.starts_with('-')).map(|word| word.trim_start_matches('-'));
    flags.map(|flag| flag.trim_end_matches(|other: char| !other.is_ascii_lowercase()).to_owned()).collect()
}

/// The commands that help lists, which are two spaces from the margin.
fn commands(help: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands")).skip(1);
    let words = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    words.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_page_with_every_flag_of_its_help() {
    let out = tempfile::tempdir().unwrap();
    let files = written(out.path());
    let pages = files.keys().filter_map(|name| name.strip_prefix("man/man1/")?.strip_suffix(".1"));
    let pages: BTreeSet<_> = pages.map(str::to_owned).collect();
    let mut flags_seen = 0;
    for page in &pages {
        let (help, text) = (help(page), files[&format!("man/man1/{page}.1")].replace("\\-", "-"));
        for flag in flags(&help) {
            flags_seen += 1;
            assert!(text.contains(&format!("--{flag}")), "{page}.1 lacks --{flag}\n{text}");
        }
        for command in commands(&help) {
            assert!(pages.contains(&format!("{page}-{command}")), "there is no page for `{page} {command}`");
        }
        for variable in help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next()) {
            assert!(text.contains(variable), "{page}.1 lacks {variable}");
        }
        assert!(text.contains("\n.SH \"EXIT STATUS\"\n"), "{page}.1 tells no exit codes\n{text}");
    }
    for page in
        ["certgen", "certgen-inspect", "certgen-verify", "certgen-ca-rotate", "certgen-create-node", "bootstrap-run"]
    {
        assert!(pages.contains(page), "{pages:?}");
    }
    assert!(flags_seen > 100, "{flags_seen}");
}

/// What troff would stumble over: a line that begins like a request and is none, and characters beyond ASCII, which an old one
/// shows as others.
#[test]
fn pages_are_troff() {
    let out = tempfile::tempdir().unwrap();
    let known = ["TH", "SH", "TP", "PP", "RS", "RE", "br", "ie", "el", "IP"];
    for (name, text) in written(out.path()).iter().filter(|(name, _)| name.starts_with("man/")) {
        for line in text.lines() {
            let request = line.strip_prefix(['.', '\'']).map(|request| request.split_whitespace().next().unwrap_or(""));
            assert!(request.is_none_or(|request| known.contains(&request)), "{name}: {line}");
        }
        assert!(text.is_ascii(), "{name}");
        assert_eq!(text.matches("\n.TH ").count() + usize::from(text.starts_with(".TH ")), 1, "{name}");
    }
}

#[test]
fn completions_are_read_by_bash_and_know_every_command() {
    let out = tempfile::tempdir().unwrap();
    let files = written(out.path());
    for program in ["certgen", "bootstrap", "infra"] {
        let script = out.path().join("completions/bash").join(program);
        let checked = Command::new("bash").arg("-n").arg(&script).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        for name in [format!("bash/{program}"), format!("zsh/_{program}"), format!("fish/{program}.fish")] {
            let text = &files[&format!("completions/{name}")];
            for command in commands(&help(program)) {
                assert!(text.contains(&command), "{name} lacks {command}");
            }
        }
        // What it offers after the program's name.
        let mut bash = Command::new("bash");
        bash.args([
            "--norc",
            "--noprofile",
            "-c",
            "source \"$1\"; COMP_WORDS=(\"$2\" ''); COMP_CWORD=1; \"_$2\" \"$2\" '' \"$2\"; echo \"${COMPREPLY[*]}\"",
            "bash",
        ]);
        let offered = bash.arg(&script).arg(program).output().unwrap();
        let offered = String::from_utf8(offered.stdout).unwrap();
        for command in commands(&help(program)) {
            assert!(offered.split_whitespace().any(|word| word == command), "{program}: {command} is not in {offered}");
        }
    }
    let certgen = &files["completions/bash/certgen"];
    assert!(certgen.contains("create-node") && certgen.contains("--ip-addresses"), "{certgen}");
}
