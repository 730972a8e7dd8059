//! docs/commands.md is what the programs print for `--help`, and every option that is named in running text is in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use testkit::programs::Programs;

use crate::commands::{aws_fragments, says_of_a_fragment};
use crate::markdown::{pages, root};

const PAGE: &str = "docs/commands.md";
const INTRODUCTION: &str = "\
# Commands

What every program prints for `--help`, in 100 columns. A test holds this page against the programs
(`crates/testkit/tests/docs/usage.rs`; `UPDATE_GOLDEN=1` writes it anew).
";

/// Options of other programs that running text names: whose they are, and which.
const FOREIGN: [(&str, &[&str]); 9] = [
    ("docs/aws-acceptance/acceptance.py", &["--assembly", "--keep", "--steps", "--template-bucket"]),
    ("the program that `cargo xtask contract` builds", &["--i-consent-to-changing-users"]),
    (
        "cargo",
        &[
            "--features",
            "--locked",
            "--no-default-features",
            "--no-fail-fast",
            "--open",
            "--path",
            "--test",
            "--workspace",
        ],
    ),
    ("git", &["--all", "--message", "--sign"]),
    ("gpg and sha256sum", &["--armor", "--check", "--detach-sign", "--verify"]),
    ("docker compose", &["--env-file", "--volumes"]),
    ("aws cloudformation deploy", &["--s3-bucket"]),
    ("es-gencert-cli, read with one hyphen or two", &["--x"]),
    ("EventStoreDB", &["--insecure"]),
];

/// What a program prints when it is asked with `arguments`.
fn help(program: &Path, arguments: &[String]) -> String {
    let output =
        Command::new(program).args(arguments).arg("--help").env_clear().env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success(), "{} {arguments:?} --help: {output:?}", program.display());
    // guard tells everything on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8(text).unwrap()
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A long description goes on below, further to the right.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

fn section(text: &mut String, name: &str, program: &Path, path: &[String]) {
    let depth = "#".repeat(path.len() + 2);
    let help = help(program, path);
    let title = [&[name.to_owned()], path].concat().join(" ");
    let lines: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    writeln!(text, "\n{depth} {title}\n\n```text\n{}\n```", lines.join("\n")).unwrap();
    let is_certgen = name == "certgen" && path.is_empty();
    let below = if is_certgen {
        // Its help introduces them in words.
        certgen::cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    } else if name == "guard" {
        Vec::new()
    } else {
        commands(&help)
    };
    for command in below {
        section(text, name, program, &[path, &[command]].concat());
    }
}

/// The page as it should be.
fn page() -> String {
    let programs = Programs::beside_this_test();
    let all: [(&str, PathBuf); 5] = [
        ("certgen", programs.certgen()),
        ("bootstrap", programs.bootstrap()),
        ("guard", programs.guard()),
        ("infra", programs.infra()),
        ("cargo xtask", programs.xtask()),
    ];
    let mut text = INTRODUCTION.to_owned();
    for (name, program) in all {
        section(&mut text, name, &program, &[]);
    }
    text
}

/// Every `--option` of a text.
fn options(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'));
    let is_option = |word: &&str| {
        let name = word.strip_prefix("--").filter(|name| !name.ends_with('-'));
        name.is_some_and(|name| name.starts_with(|first: char| first.is_ascii_lowercase()))
    };
    words.filter(is_option)
}

#[test]
fn the_page_of_commands_is_what_the_programs_print() {
    let (text, path) = (page(), root().join(PAGE));
    if env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == text, "{PAGE}: UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn every_option_in_running_text_exists() {
    let page = page();
    let foreign = FOREIGN.iter().flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned()));
    // Help shows the flags of es-gencert-cli with one hyphen.
    let certgen = certgen::cli::command();
    let of_gencert = certgen.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long);
    let of_gencert = of_gencert.map(|name| format!("--{name}"));
    let known: BTreeSet<String> = options(&page).map(str::to_owned).chain(foreign).chain(of_gencert).collect();
    let (mut findings, mut aws) = (Vec::new(), Vec::new());
    for page in pages() {
        for span in page.spans() {
            let place = page.place(span.line);
            if span.what.split_whitespace().count() > 2 && span.what.starts_with("aws ") {
                aws.push((place, span.what));
                continue;
            }
            match says_of_a_fragment(&span.what) {
                Some(Err(mistake)) => findings.push(format!("{place}: `{}`: {mistake}", span.what)),
                Some(Ok(())) => {}
                None => {
                    let unknown = options(&span.what).filter(|option| !known.contains(*option));
                    findings.extend(unknown.map(|option| format!("{place}: no program has `{option}`")));
                }
            }
        }
    }
    findings.extend(aws_fragments(&aws, "every_option_in_running_text_exists"));
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn a_fragment_of_a_command_is_judged_as_far_as_it_goes() {
    for (text, expected) in [
        ("infra diff OLD NEW", Some(true)),
        ("infra synth", Some(true)),
        ("infra synths", Some(false)),
        ("bootstrap run --scavenge-at \"Sun 03:00\"", Some(true)),
        ("bootstrap run --scavenge \"Sun 03:00\"", Some(false)),
        ("certgen --ca-source secret", Some(true)),
        ("certgen --ca-sources secret", Some(false)),
        ("certgen create-node -days 3", Some(true)),
        ("certgen create-node -day 3", Some(false)),
        ("certgen ca rotate", Some(true)),
        ("bootstrap status [--json]", Some(true)),
        ("bootstrap = \"HEALTHY\"", None),
        ("infra", None),
        ("--renew-before", None),
    ] {
        assert_eq!(says_of_a_fragment(text).map(|said| said.is_ok()), expected, "{text}");
    }
    assert_eq!(options("a --b-c, --D --e=f ---g -h").collect::<Vec<_>>(), ["--b-c", "--e"]);
}
