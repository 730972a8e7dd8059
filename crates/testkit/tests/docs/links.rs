//! Links of documents lead somewhere, and files and tests that are named exist. Nothing is fetched.

use std::path::{Path, PathBuf};

use http::Uri;
use testkit::named_test;

use crate::markdown::{Page, files, pages, root};

/// The directories that a path in running text begins with.
const TOP: [&str; 9] = ["bootstrap", "certgen", "crates", "docker", "docs", "guard", "infra", "testkit", "xtask"];

/// What is wrong with the place that a link of `page` leads to.
fn link(page: &Page, to: &str) -> Option<String> {
    if to.contains("://") {
        let is_fine = to.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("https")
                && uri.host().is_some_and(|host| host.contains('.') && !host.ends_with('.'))
        });
        return (!is_fine).then(|| format!("`{to}` is not an https address"));
    }
    let (path, anchor) = to.split_once('#').map_or((to, None), |(path, anchor)| (path, Some(anchor)));
    let path = Path::new(&page.path).parent().unwrap().join(path);
    if !root().join(&path).exists() {
        return Some(format!("`{to}` leads to no file"));
    }
    let anchor = anchor?;
    let anchors = match root().join(&path) {
        _ if to.starts_with('#') => page.anchors(),
        found if found.is_file() => Page::read(path.to_str().unwrap()).anchors(),
        _ => Vec::new(),
    };
    (!anchors.iter().any(|known| known == anchor)).then(|| format!("`{to}` leads to no heading"))
}

/// Every name that braces stand for: `a/{b,c}.rs`.
fn spelled_out(name: &str) -> Vec<String> {
    let braces = name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match braces {
        Some((before, (parts, after))) => parts.split(',').map(|part| format!("{before}{part}{after}")).collect(),
        None => vec![name.to_owned()],
    }
}

/// What is wrong with a path or a test in running text; nothing if it is neither. `sources` are the files of all crates.
fn named(page: &Page, name: &str, sources: &[String]) -> Option<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-:{},*".contains(character);
    if !name.chars().all(is_plain) {
        return None;
    }
    if let Some((file, test)) = name.split_once(".rs::") {
        // `tests/a.rs` is one of the crate that the row is about.
        let file = format!("{file}.rs");
        let known = sources.iter().filter(|source| **source == file || source.ends_with(&format!("/{file}")));
        let looked: Vec<_> = known.map(|source| named_test::look_up(&format!("{source}::{test}"))).collect();
        return (!looked.iter().any(Result::is_ok)).then(|| format!("there is no test `{name}`"));
    }
    let top = name.split('/').next().unwrap_or_default();
    if name.contains('/') && TOP.contains(&top) {
        let beside = Path::new(&page.path).parent().unwrap().to_owned();
        let places = [PathBuf::new(), PathBuf::from("crates"), beside];
        let is_there = |path: &String| places.iter().any(|place| exists(&root().join(place), path));
        let missing = spelled_out(name).into_iter().find(|path| !is_there(path));
        return missing.map(|path| format!("there is no `{path}`"));
    }
    // A source file of one of the crates.
    let is_source = Path::new(name).extension().is_some_and(|extension| extension == "rs") && !name.starts_with("*.");
    let missing = spelled_out(name)
        .into_iter()
        .find(|path| is_source && !sources.iter().any(|source| source.ends_with(&format!("/{path}"))));
    missing.map(|path| format!("there is no source file `{path}`"))
}

/// Whether there is such a path; `*` is any one directory.
fn exists(directory: &Path, path: &str) -> bool {
    match path.split_once("*/") {
        Some((before, after)) => std::fs::read_dir(directory.join(before))
            .is_ok_and(|mut entries| entries.any(|entry| exists(&entry.unwrap().path(), after))),
        None => directory.join(path).exists(),
    }
}

/// All Rust files, seen from `crates/`; those of other directories from the root.
fn sources() -> Vec<String> {
    let root = root();
    let seen = |path: PathBuf| {
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        path.strip_prefix("crates/").map(str::to_owned).unwrap_or(path)
    };
    files(&root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(seen)
        .collect()
}

fn findings(pages: &[Page]) -> Vec<String> {
    let sources = sources();
    let mut findings = Vec::new();
    for page in pages {
        let links = page.links().into_iter().map(|at| (at.line, link(page, &at.what)));
        let names = page.spans().into_iter().map(|at| (at.line, named(page, &at.what, &sources)));
        let mistakes =
            links.chain(names).filter_map(|(line, mistake)| Some(format!("{}: {}", page.place(line), mistake?)));
        findings.extend(mistakes);
    }
    findings
}

/// The rows of the code map: what a row is about, and the files that it names within.
fn code_map() -> Vec<(usize, String, Vec<String>)> {
    let page = Page::read("ARCHITECTURE.md");
    let spans = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let row = |(line, cells): (usize, Vec<String>)| (line, spans(&cells[0]).remove(0), spans(&cells[2]));
    page.rows().into_iter().map(|at| (at.line, at.what)).map(row).collect()
}

#[test]
fn every_link_and_every_file_that_is_named_is_there() {
    let found = findings(&pages());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_code_map_names_what_is_there() {
    let map = code_map();
    let mut findings = Vec::new();
    for (line, directory, names) in &map {
        let place = root().join(directory);
        for name in names {
            if !place.join(name).exists() && !place.join("src").join(name).exists() {
                findings.push(format!("ARCHITECTURE.md:{line}: there is no `{name}` in {directory}"));
            }
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    let of_map: Vec<_> = map.iter().map(|(_, directory, _)| directory.as_str()).collect();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let name = format!("crates/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(of_map.contains(&name.as_str()), "the code map of ARCHITECTURE.md does not have {name}");
    }
}

#[test]
fn what_leads_nowhere_is_found() {
    let cases = [
        ("[a](SEMANTICS.md)", ""),
        ("[a](SEMANTIC.md)", "no file"),
        ("[a](../README.md#two-commands)", ""),
        ("[a](../README.md#try-this)", "no heading"),
        ("[a](#title)", ""),
        ("[a](#titel)", "no heading"),
        ("[a](https://docs.aws.amazon.com/x?y=z#top)", ""),
        ("[a](http://docs.aws.amazon.com/)", "https"),
        ("[a](https://localhost)", "https"),
        ("`docker/compose.yaml` `crates/testkit/tests/docs` `testkit/tests/tasks` `crates/*/tests` `cluster/x`", ""),
        ("`docker/compose.yml`", "there is no"),
        ("`testkit/tests/tasc`", "there is no"),
        ("`crates/*/nothing`", "there is no"),
        ("`certgen/src/{authority,issue}.rs` `publish/disk.rs`", ""),
        ("`certgen/src/{authority,issues}.rs`", "issues.rs"),
        ("`publish/disc.rs`", "no source file"),
        ("`infra/tests/restore_plan.rs::a_plan_runs_and_its_configuration_is_valid`", ""),
        ("`tests/restore_plan.rs::a_plan_runs_and_its_configuration_is_valid`", ""),
        ("`tests/restore_plan.rs::a_plan_flies`", "no test"),
    ];
    for (text, expected) in cases {
        let found = findings(&[Page { path: "docs/x.md".to_owned(), text: format!("# Title\n\n{text}\n") }]);
        match expected {
            "" => assert!(found.is_empty(), "{text}: {found:?}"),
            words => assert!(
                found.len() == 1 && found[0].starts_with("docs/x.md:3: ") && found[0].contains(words),
                "{text}: {found:?}"
            ),
        }
    }
}
