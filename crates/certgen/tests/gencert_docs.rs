//! What `docs/es-gencert-cli.md` tells people to do is done here.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;

use common::{Scene, ca, node};

const DOCS: &str = include_str!("../../../docs/es-gencert-cli.md");

/// The n-th block of YAML.
fn block(index: usize) -> &'static str {
    DOCS.split("```yaml\n").nth(index + 1).unwrap().split("```").next().unwrap()
}

/// The files that the shell line of the old service made, read by the user that made them.
#[test]
fn the_replacement_for_a_shell_line_makes_the_same_files() {
    let [old, new, config] = [0, 1, 2].map(block);
    assert!(old.contains("bash") && new.contains("command: [") && config.starts_with("certificates:"));
    let command = new.lines().find_map(|line| line.trim().strip_prefix("command: ")).unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();

    let scene = Scene::new();
    fs::write(scene.path("certs.yml"), config).unwrap();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    scene.run_words(&words).made(&[ca("./ca"), node("./node1"), node("./node2")].concat());
    let made = scene.files();

    // The old line, one command after the other, as certgen understands it.
    let line_by_line = Scene::new();
    let commands = old.split("es-gencert-cli create-").skip(1).map(|rest| rest.split(['&', '"']).next().unwrap());
    for rest in commands {
        assert_eq!(line_by_line.run(&format!("create-{}", rest.trim())).code, Some(0), "{rest}");
    }
    let mut expected = line_by_line.files();
    expected.push("certs.yml".to_owned());
    expected.sort();
    assert_eq!(made, expected);

    for name in made.iter().filter(|name| name.ends_with("key")) {
        assert_eq!(scene.mode(name), 0o400, "{name}");
    }
    assert_eq!(scene.run_words(&words).code, Some(1), "a second `up` leaves the files");
}
