//! docs/TROUBLESHOOTING.md: whatever the programs give a remedy for can be looked up, and nothing can that they do not say.
//!
//! A row stands for a message if a span of its first column has the message's own words in their order, at least five of them or
//! all; `…` is whatever is filled in, or left out.

use std::collections::BTreeSet;

use crate::commands::says_of_a_fragment;
use crate::markdown::Page;
use crate::sources::{self, Message, Sources};

const PAGE: &str = "docs/TROUBLESHOOTING.md";
/// The sections of the page.
const PROGRAMS: [&str; 4] = ["certgen", "guard", "bootstrap", "infra"];
/// Messages that have no words of their own, where they are, and the span under which each is looked up.
const WITHOUT_WORDS: [(&str, &str); 9] = [
    ("infra/cli.rs: Error::Init", "--nodes: cluster.nodes: …"),
    ("infra/cli.rs: Error::Assumptions", "--assume …: …"),
    ("infra/cli.rs: Error::Prices", "<prices>: <key>: …"),
    ("infra/cli.rs: Error::Config", "eventstore.toml: <key>: …"),
    ("infra/cli.rs: Error::Colliding", "… and …: <key>: …"),
    ("infra/cli.rs: Error::Refused", "<stack>: … would be replaced …, because of <key>: …; …"),
    // Each says what its error does, and that has a row of its own.
    ("bootstrap/converge.rs: warn!", "the credentials of … were not in order within …"),
    ("bootstrap/life.rs: error!", "the node is not in order: …"),
    ("bootstrap/scavenge/keep.rs: warn!", "no scavenge in this window: …"),
];
/// What systems and AWS say, in a span of its own.
const FOREIGN: [&str; 7] = [
    "AccessDenied",
    "DEPLOYMENT_BLOCKED",
    "No space left on device",
    "Operation not permitted",
    "Permission denied",
    "Read-only file system",
    "TASK_NOT_VALID",
];

/// A row: its line, its section, the spans of its message.
struct Row {
    line: usize,
    section: String,
    spans: Vec<String>,
}

fn rows(page: &Page) -> Vec<Row> {
    let section = |line: usize| {
        let before: Vec<_> = page.text.lines().take(line).collect();
        let heading = before.iter().rev().find_map(|line| line.strip_prefix("## "));
        heading.unwrap_or_default().to_owned()
    };
    let spans = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let row = |(line, cells): (usize, Vec<String>)| Row { line, section: section(line), spans: spans(&cells[0]) };
    page.rows().into_iter().map(|row| (row.line, row.what)).map(row).collect()
}

/// A text as runs of words between what is filled in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Words(Vec<Vec<String>>);

impl Words {
    fn of(text: &str) -> Self {
        let is_of_word = |character: char| character.is_alphanumeric() || "-_'.".contains(character);
        let words = |piece: &str| {
            let parts =
                piece.split(|character: char| !is_of_word(character)).map(|part| part.trim_matches(['.', '\'']));
            parts.filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        Self(text.split('…').map(words).filter(|piece| !piece.is_empty()).collect())
    }

    fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// How many words this has, if all of them are in `text` in their order; else none.
    fn matched(&self, text: &Self) -> usize {
        let mut at = (0, 0);
        for piece in &self.0 {
            let found = (at.0..text.0.len()).find_map(|index| {
                let start = if index == at.0 { at.1 } else { 0 };
                let rest = text.0[index].get(start..).unwrap_or_default();
                let place = rest.windows(piece.len()).position(|window| window == piece)?;
                Some((index, start + place + piece.len()))
            });
            let Some(next) = found else { return 0 };
            at = next;
        }
        self.count()
    }
}

/// Parts of a span that come from several places: an error and its cause, an option and what is wrong with it.
fn links(span: &str) -> impl Iterator<Item = &str> {
    let is_level = |link: &&str| !["error", "warning"].contains(link);
    span.split(": ").map(str::trim).filter(|link| Words::of(link).count() > 0).filter(is_level)
}

fn stands_for(span: &str, text: &Words) -> bool {
    let is_enough = |part: &str| text.count() > 0 && Words::of(part).matched(text) >= text.count().min(5);
    is_enough(span) || links(span).any(is_enough)
}

/// Whether somebody says this: a program, the system, AWS; or it is the command that says what follows.
fn is_said(link: &str, texts: &BTreeSet<Words>) -> bool {
    let words = Words::of(link);
    FOREIGN.contains(&link.trim_matches(['…', ' ']))
        || texts.iter().any(|text| words.matched(text) > 0)
        || says_of_a_fragment(link).is_some_and(|said| said.is_ok())
}

/// The rows that stand for a message, by their index.
fn standing_for(message: &Message, rows: &[Row], program: &str) -> Vec<usize> {
    let named = WITHOUT_WORDS.iter().find(|(place, _)| *place == message.place);
    let words = Words::of(&message.text);
    let stands = |span: &String| match named {
        Some((_, wanted)) if words.count() == 0 => span == wanted,
        _ => stands_for(span, &words),
    };
    let is_standing = |row: &&Row| row.section == program && row.spans.iter().any(stands);
    (0..rows.len()).filter(|index| is_standing(&&rows[*index])).collect()
}

/// What is missing from the page, and what is there of which the programs know nothing.
fn findings(page: &Page, programs: &[(&str, Sources)]) -> Vec<String> {
    let rows = rows(page);
    let mut findings = Vec::new();
    for (program, sources) in programs {
        findings.extend(sources.findings.iter().cloned());
        for message in &sources.messages {
            if standing_for(message, &rows, program).is_empty() {
                findings.push(format!("{} has no row in section {program}: `{}`", message.place, message.text));
            }
        }
    }
    let texts = programs.iter().flat_map(|(_, sources)| &sources.texts).map(|text| Words::of(text)).collect();
    for row in rows {
        let place = page.place(row.line);
        if row.spans.is_empty() {
            findings.push(format!("{place}: a row without a message"));
        }
        for span in row.spans {
            let is_known = WITHOUT_WORDS.iter().any(|(_, known)| *known == span) || is_said(&span, &texts);
            let unsaid = links(&span).filter(|link| !is_known && !is_said(link, &texts));
            findings.extend(unsaid.map(|link| format!("{place}: no program says `{link}` in `{span}`")));
        }
    }
    findings
}

fn programs() -> Vec<(&'static str, Sources)> {
    PROGRAMS.into_iter().map(|program| (program, sources::read(program))).collect()
}

#[test]
fn everything_with_a_remedy_can_be_looked_up() {
    let programs = programs();
    for (program, sources) in &programs {
        assert!(sources.messages.len() > 1, "{program}");
    }
    let found = findings(&Page::read(PAGE), &programs);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_missing_and_a_stale_row_are_found() {
    let source = r#"
        enum Wrong {
            #[error("could not read `{path}`, the list of things")]
            Read { path: PathBuf },
            #[error("no")]
            No,
        }
        impl Wrong {
            fn hint(&self) -> Option<&'static str> {
                match self {
                    Self::Read { .. } => Some("name it"),
                    Self::No => Some("yes"),
                }
            }
        }
        fn f() { say("--list: it is too long; take something off"); }
    "#;
    let sources = || vec![("certgen", sources::of([("a.rs".to_owned(), source.to_owned())].into_iter(), false))];
    let judge = |rows: &[&str]| {
        let rows: Vec<_> = rows.iter().map(|row| format!("| {row} | b |")).collect();
        let text = format!("## certgen\n\n| message | meaning |\n|---|---|\n{}\n", rows.join("\n"));
        findings(&Page { path: "x.md".to_owned(), text }, &sources())
    };
    let good = ["`could not read …, the list of …`", "`no`", "`--list: … too long; take …`, `…: Permission denied`"];
    assert_eq!(judge(&good), Vec::<String>::new());
    assert_eq!(judge(&["`no`"]).len(), 1);
    // What every error could be is no entry for one of them.
    assert_eq!(judge(&["`could not read …`", "`no`"]).len(), 1);
    assert_eq!(judge(&["`… : …`", "`no`"]).len(), 1);
    assert_eq!(judge(&[&good[..], &["`--list: it is too short`"]].concat()).len(), 1);
    assert_eq!(judge(&[&good[..], &["words"]].concat()).len(), 1);
    let elsewhere = Page { path: "x.md".to_owned(), text: "## guard\n\n| message |\n|---|\n| `no` |\n".to_owned() };
    assert_eq!(findings(&elsewhere, &sources()).len(), 2);
}

/// Most rows are the only one for something.
#[test]
fn rows_that_are_taken_out_are_missed() {
    let rows = rows(&Page::read(PAGE));
    let mut missed = BTreeSet::new();
    for (program, sources) in programs() {
        for message in &sources.messages {
            if let [only] = standing_for(message, &rows, program)[..] {
                missed.insert(only);
            }
        }
    }
    assert!(missed.len() > 60, "{} of {}", missed.len(), rows.len());
}
