//! `infra diagram`: Mermaid that holds together, with everything in it that a deployment has.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use infra::diagram;

use support::{SCENARIOS, deployment, golden, is_update, of_type, templates, text_of};

/// A chart as it stands in the text.
#[derive(Default)]
struct Chart<'a> {
    /// Label and group by id.
    declared: BTreeMap<&'a str, (&'a str, Option<&'a str>)>,
    arrows: Vec<(&'a str, &'a str, &'a str)>,
    classes: BTreeMap<&'a str, Vec<&'a str>>,
}

/// What is between the quotes, which no label has inside.
#[track_caller]
fn label(text: &str) -> &str {
    let label = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_else(|| panic!("{text}"));
    let rest = label.replace("<br>", "");
    assert!(!rest.contains(['"', '<', '>', '`', '&', '\\']), "{label}");
    assert!(rest.split('#').skip(1).all(|code| code.contains(';')), "{label}");
    // "1. a" would be a list.
    assert!(!label.starts_with(|c: char| c.is_ascii_digit()) || !label.contains(". "), "{label}");
    label
}

impl<'a> Chart<'a> {
    #[track_caller]
    fn parse(text: &'a str) -> Self {
        let mut chart = Self::default();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("---"));
        assert!(lines.next().unwrap().starts_with("title: "));
        assert_eq!((lines.next(), lines.next()), (Some("---"), Some("flowchart LR")));
        let mut open = Vec::new();
        for line in lines.map(str::trim) {
            let mut words = line.split(' ');
            match (words.next().unwrap(), words.next()) {
                ("end", None) => drop(open.pop().expect("it was begun")),
                ("direction", Some("LR")) => assert!(!open.is_empty()),
                ("classDef", Some(class)) => drop(chart.classes.entry(class).or_default()),
                ("class", Some(ids)) => {
                    let class = chart.classes.get_mut(words.next().unwrap()).expect("it is defined before");
                    class.extend(ids.split(','));
                }
                (from, Some(arrow)) if arrow.starts_with("-->") || arrow.starts_with("-.->") => {
                    let arrow_end = line.find('>').unwrap() + 1;
                    let (says, to) = line[arrow_end..].rsplit_once(' ').unwrap();
                    let says = says.strip_prefix('|').and_then(|says| says.strip_suffix('|'));
                    chart.arrows.push((from, says.map_or("", label), to));
                }
                ("subgraph", Some(_)) => {
                    let (id, title) = line["subgraph ".len()..].split_once('[').unwrap();
                    chart.declare(id, label(title.strip_suffix(']').unwrap()), open.last().copied());
                    open.push(id);
                }
                _ => {
                    let (id, shape) = line.split_at(line.find(['[', '(']).unwrap());
                    let text = match shape.strip_prefix("([") {
                        Some(shape) => shape.strip_suffix("])"),
                        None => shape.strip_prefix('[').and_then(|shape| shape.strip_suffix(']')),
                    };
                    chart.declare(id, label(text.unwrap_or_else(|| panic!("{line}"))), open.last().copied());
                }
            }
        }
        assert_eq!(open, [] as [&str; 0], "every group ends");
        for (from, _, to) in &chart.arrows {
            assert!(chart.declared.contains_key(from) && chart.declared.contains_key(to) && from != to, "{from} {to}");
        }
        for id in chart.classes.values().flatten() {
            assert!(chart.declared.contains_key(id), "{id}");
        }
        chart
    }

    #[track_caller]
    fn declare(&mut self, id: &'a str, label: &'a str, group: Option<&'a str>) {
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && id != "end", "{id}");
        assert!(self.declared.insert(id, (label, group)).is_none(), "{id} is declared twice");
    }

    fn has_label(&self, part: &str) -> bool {
        self.declared.values().any(|(label, _)| label.contains(part))
    }

    fn is_there_already(&self, part: &str) -> bool {
        let there = self.classes.get("there").map_or(&[] as &[&str], Vec::as_slice);
        there.iter().any(|id| self.declared[id].0.contains(part))
    }
}

#[test]
fn the_picture_is_the_checked_in_one_every_time() {
    for scenario in ["default", "replicas", "existing", "containers", "everything", "alarms", "backup-everything"] {
        let text = diagram(&deployment(&text_of(scenario)));
        let path = golden(&format!("diagram/{scenario}.mmd"));
        if is_update() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == text, "{}: UPDATE_GOLDEN=1 rewrites it", path.display());
    }
}

/// GitHub and GitLab show it there.
#[test]
fn the_page_shows_the_picture() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explain.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("```mermaid\n").unwrap();
    let (_, after) = rest.split_once("```\n").unwrap();
    let wanted = format!("{before}```mermaid\n{}```\n{after}", diagram(&deployment(&text_of("replicas"))));
    if is_update() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(page == wanted || is_update(), "UPDATE_GOLDEN=1 writes docs/explain.md anew");
}

#[test]
fn arrows_have_two_ends_and_ids_are_unique() {
    for scenario in SCENARIOS {
        let text = diagram(&deployment(&text_of(scenario)));
        let chart = Chart::parse(&text);
        assert!(chart.arrows.len() >= 5, "{scenario}: {text}");
        let linked: BTreeSet<_> = chart.arrows.iter().flat_map(|(from, _, to)| [*from, *to]).collect();
        let is_linked = |id: &str| linked.contains(id) || chart.declared[id].1.is_some() || id == "legend";
        let lonely: Vec<_> = chart.declared.keys().filter(|id| !is_linked(id)).collect();
        assert!(lonely.iter().all(|id| chart.declared.values().any(|(_, group)| *group == Some(**id))), "{lonely:?}");
    }
}

#[test]
fn what_the_templates_have_is_in_the_picture() {
    for scenario in SCENARIOS {
        let config = text_of(scenario);
        let deployment = deployment(&config);
        let text = diagram(&deployment);
        let chart = Chart::parse(&text);
        let [stateful, stack] = templates(&config);
        let services = of_type(&stack, "AWS::ECS::Service").len();
        let groups: Vec<_> = chart
            .declared
            .iter()
            .filter(|(id, _)| {
                let number = id.strip_prefix("node_").or_else(|| id.strip_prefix("replica_"));
                number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            })
            .collect();
        assert_eq!(groups.len(), services, "{scenario}");
        assert_eq!(
            chart.declared.keys().filter(|id| id.starts_with("point_")).count(),
            of_type(&stateful, "AWS::EFS::AccessPoint").len()
        );
        for (_, point) in of_type(&stateful, "AWS::EFS::AccessPoint") {
            let path = point["Properties"]["RootDirectory"]["Path"].as_str().unwrap().replace('_', "#95;");
            assert!(chart.has_label(&path), "{scenario} {path}");
        }
        for (_, service) in of_type(&stack, "AWS::ServiceDiscovery::Service") {
            let name = service["Properties"]["Name"].as_str().unwrap();
            assert!(chart.has_label(&format!("{name}.{}", deployment.namespace())), "{scenario} {name}");
        }
        for (_, secret) in of_type(&stateful, "AWS::SecretsManager::Secret") {
            let name = secret["Properties"]["Name"].as_str().unwrap().replace('_', "#95;");
            assert!(chart.has_label(&name) && !chart.is_there_already(&name), "{scenario} {name}");
        }
        for (_, task) in of_type(&stack, "AWS::ECS::TaskDefinition") {
            for container in task["Properties"]["ContainerDefinitions"].as_array().unwrap() {
                assert!(chart.has_label(container["Name"].as_str().unwrap()), "{scenario}: {container}");
            }
        }
        for (kind, label) in
            [("AWS::Backup::BackupVault", "backup vault"), ("AWS::SNS::Topic", "SNS topic"), ("AWS::EC2::VPC", "VPC ")]
        {
            let own = of_type(&stateful, kind).len() + of_type(&stack, kind).len();
            assert!(own == 0 || chart.has_label(label), "{scenario} {label}");
        }
        let entry = format!("{}:{}", deployment.client_host(), deployment.port());
        assert!(chart.arrows.contains(&("consumers", entry.as_str(), "client")), "{scenario}");
    }
}

#[test]
fn what_is_there_already_is_drawn_in_another_way() {
    let text = diagram(&deployment(&text_of("existing")));
    let chart = Chart::parse(&text);
    for part in ["VPC vpc-", "fs-0123456789abcdef0", "Cloud Map namespace", "subnet-", "shared/"] {
        assert!(chart.is_there_already(part), "{part}: {text}");
    }
    let text = diagram(&deployment(&text_of("default")));
    assert!(!text.contains("classDef") && !text.contains("already"), "{text}");
}

/// Names that people may give, and that mean something to Mermaid.
#[test]
fn nothing_in_a_configuration_leaves_its_label() {
    let config =
        "name = \"end\"\n[data]\nname = \"a_b = c: 1. d\"\n[alarms]\nemails = ['\"]-->b;<i>&`c`#d;@example.com']";
    let text = diagram(&deployment(config));
    let chart = Chart::parse(&text);
    assert!(chart.has_label("a#95;b = c: 1. d"), "{text}");
    assert!(chart.has_label("#quot;]--#62;b#59;#60;i#62;#38;#96;c#96;#35;d#59;@example.com"), "{text}");
}

#[test]
fn arrows_between_containers_say_what_is_waited_for() {
    let text = diagram(&deployment(&text_of("containers")));
    let chart = Chart::parse(&text);
    let of = |name: &str| {
        let found =
            chart.declared.iter().find(|(_, (label, group))| label.starts_with(name) && *group == Some("node_1"));
        *found.unwrap_or_else(|| panic!("{name}: {text}")).0
    };
    for (from, until, to) in [
        ("certgen", "SUCCESS", "eventstore"),
        ("eventstore", "START", "bootstrap"),
        ("bootstrap", "HEALTHY", "collector"),
        ("prepare", "SUCCESS", "collector"),
        ("collector", "HEALTHY", "log-shipper"),
    ] {
        assert!(chart.arrows.contains(&(of(from), until, of(to))), "{from} {until} {to}: {text}");
    }
    assert_eq!(chart.classes["users"].len(), 3);
    assert!(chart.is_there_already("fs-0fedcba9876543210") && chart.is_there_already("fs-0fedcba9876543211"), "{text}");
}
