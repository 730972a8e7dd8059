//! What the stacks export is a stable interface: names and meaning are checked in, and what docs/consumers.md says and shows
//! is held against them.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use testkit::tool::{self, Tool};

use support::{SCENARIOS, golden, is_update, templates, text_of};

const PAGE: &str = include_str!("../../../docs/consumers.md");
const JUMP_TASK: &str = include_str!("../../../docs/jump-task.yaml");
const README: &str = include_str!("../../../README.md");

/// Everything that can be exported, in three deployments: subnets are of one kind or the other, and endpoints are there or not.
const CONFIGURATIONS: [(&str, &str); 3] = [
    (
        "a cluster in private subnets with a key, users, log files and the old protocol",
        "name = \"orders\"\ncluster.nodes = 3\n[server]\nline = \"23.10\"\nexternal_tcp = true\nlog_volume = true\n\
         [credentials]\nkms_key = \"own\"\n[[users]]\nlogin = \"order-service\"\n",
    ),
    (
        "a single node in public subnets, insecure",
        "name = \"es\"\nserver.insecure = true\nserver.insecure_exposed = true\nnetwork.egress = \"public-ip\"\n",
    ),
    (
        "a single node that reaches AWS through endpoints",
        "name = \"es\"\nnetwork.egress = \"endpoints\"\nnetwork.s3_prefix_list = \"pl-6da54004\"\n\
         images.server = \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/server:24.10\"\n",
    ),
];

/// Value, description and what it is, by the name of the export.
fn exports(text: &str) -> BTreeMap<String, (String, String, String)> {
    let all = templates(text).into_iter().flat_map(|template| {
        let outputs = template["Outputs"].as_object().unwrap().clone();
        outputs.into_iter().map(|(id, output)| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&output["Export"]["Name"]), (id, text(&output["Description"]), output["Value"].to_string()))
        })
    });
    all.collect()
}

#[test]
fn the_exports_are_a_stable_interface() {
    let mut listed = String::new();
    for (title, text) in CONFIGURATIONS {
        writeln!(listed, "# {title}").unwrap();
        for (name, (id, description, value)) in exports(text) {
            assert_eq!(name.split_once(':').unwrap().1, id, "an output is called like its export");
            writeln!(listed, "{name} | {description} | {value}").unwrap();
        }
    }
    let path = golden("exports.txt");
    if is_update() {
        fs::write(&path, &listed).unwrap();
    }
    assert_eq!(listed, fs::read_to_string(path).unwrap(), "consumers import these; UPDATE_GOLDEN=1 rewrites it");
}

/// The names and the meaning in each row of the page's table.
fn rows() -> Vec<(Vec<&'static str>, &'static str)> {
    let table = PAGE.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (cells[1].split(", ").map(|name| name.trim_matches('`')).collect(), cells[2])
    })
    .collect()
}

/// Whether `name` is `pattern` with something in the place of `<…>`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('<').and_then(|(start, rest)| Some((start, rest.split_once('>')?.1))) {
        None => pattern == name,
        Some((start, end)) => name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}

#[test]
fn the_page_lists_every_export_with_its_meaning() {
    let rows = rows();
    let mut used = BTreeSet::new();
    let configurations = CONFIGURATIONS.iter().map(|(_, text)| (*text).to_owned());
    for text in SCENARIOS.into_iter().map(text_of).chain(configurations) {
        for (name, (value, description, _)) in exports(&text) {
            let row = rows.iter().position(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, &value)));
            let row = row.unwrap_or_else(|| panic!("docs/consumers.md does not list {name}"));
            // "Secret with the credentials of" one and "Subnet of the nodes" are the beginning of what the page says.
            let said = description.split(" of ").next().unwrap();
            assert!(rows[row].1.starts_with(said), "{name}: `{description}` is `{}` on the page", rows[row].1);
            used.insert(row);
        }
    }
    assert_eq!(used.len(), rows.len(), "a row of the page is of nothing that is exported");
}

/// The code of an example of the page.
#[track_caller]
fn example(language: &str) -> &'static str {
    example_of(PAGE, language)
}

#[track_caller]
fn example_of(page: &'static str, language: &str) -> &'static str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The exports that an example imports.
fn imported(code: &str) -> BTreeSet<String> {
    code.split("eventstore:")
        .skip(1)
        .map(|rest| rest.split(|next: char| !next.is_ascii_alphanumeric()).next().unwrap())
        .map(|value| format!("eventstore:{value}"))
        .collect()
}

#[test]
fn examples_import_what_their_deployment_exports() {
    let exported: BTreeSet<_> = exports(example("toml")).into_keys().collect();
    for language in ["typescript", "yaml", "hcl"] {
        let imported = imported(example(language));
        assert!(imported.len() >= 8, "{language}: {imported:?}");
        let unknown: Vec<_> = imported.difference(&exported).collect();
        assert!(unknown.is_empty(), "{language} imports {unknown:?}");
    }
    let in_readme = imported(example_of(README, "typescript"));
    assert!(!in_readme.is_empty() && in_readme.is_subset(&exported), "{in_readme:?}");
    let of_jump_task: Vec<_> = JUMP_TASK.split("${Deployment}:").skip(1).collect();
    assert!(!of_jump_task.is_empty());
    for rest in of_jump_task {
        let name = format!("eventstore:{}", rest.split('"').next().unwrap());
        assert!(exported.contains(&name), "docs/jump-task.yaml imports {name}");
    }
    let count = |code: &str, what: &str| code.matches(what).count();
    assert_eq!(count(example("typescript"), "importValue("), count(example("typescript"), "importValue('eventstore:"));
    assert_eq!(count(example("yaml"), "!ImportValue "), count(example("yaml"), "!ImportValue eventstore:"));
}

#[test]
fn cfn_lint_finds_nothing_in_what_documents_show() {
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "cfn_lint_finds_nothing_in_what_documents_show") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders.template.yaml");
    fs::write(&path, example("yaml")).unwrap();
    let jump = directory.path().join("jump.template.yaml");
    fs::write(&jump, JUMP_TASK).unwrap();
    let output = Command::new(cfn_lint).arg("--").args([path, jump]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
