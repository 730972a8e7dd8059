//! An origin that lies is worse than none: what it names changes the value, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{Explanation, Sourced, Stated};
use crate::config::{Config, is_key, leaves};
use crate::model::Deployment;
use crate::scenario::text_of;

const BASES: [&str; 6] = [
    "name = \"orders\"",
    "name = \"orders\"\nserver.insecure = true\ncluster.nodes = 3",
    "name = \"orders\"\nserver.insecure = true",
    "name = \"orders\"\n[certificates]\nca = \"ephemeral\"",
    "name = \"orders\"\n[certificates]\nca = \"files\"\nca_certificate = \"/ca/ca.crt\"\nca_key = \"/ca/ca.key\"",
    "name = \"orders\"\ncluster.nodes = 3\ncluster.read_only_replicas = 1\nserver.line = \"23.10\"\n[backup]\nenabled = false\n[scavenge]\nat = \"03:00\"\n[[users]]\nlogin = \"app\"\n[server.options]\nRUN_PROJECTIONS = \"System\"",
];
/// Besides, of those that are checked in.
const SCENARIOS: [&str; 6] = ["everything", "existing", "containers", "restore", "line-22.10", "line-26"];

fn bases() -> impl Iterator<Item = String> {
    BASES.map(str::to_owned).into_iter().chain(SCENARIOS.map(text_of))
}

const SECRET: &str = "\"arn:aws:secretsmanager:eu-west-1:123456789012:secret:other/a-AbCdEf\"";

/// Values that the table does not have, by key.
const MORE: [(&str, &str); 25] = [
    ("name", "\"bills\""),
    ("namespace", "\"other.internal\""),
    ("users", "[{ login = \"other\" }]"),
    ("users", SECRET_USER),
    ("credentials.rotate_every", "\"12d\""),
    ("credentials.admin_secret", SECRET),
    ("credentials.ops_secret", SECRET),
    ("certificates.ca_secret", SECRET),
    ("certificates.ca_certificate", "\"/other/ca.crt\""),
    ("certificates.ca_key", "\"/other/ca.key\""),
    ("scavenge.at", "\"Sun 12:00\""),
    ("scavenge.window", "\"1h\""),
    ("server.options", "{ RUN_PROJECTIONS = \"All\" }"),
    ("server.license_secret", SECRET),
    ("server.license_json_key", "\"other\""),
    ("server.memory", "8192"),
    ("containers", "[{ name = \"agent\", image = \"r/agent:1\" }]"),
    ("volumes", "[{ name = \"spool\" }]"),
    ("tags", "{ a = \"b\" }"),
    ("backup.daily_at", "\"04:00\""),
    ("data.root", "\"/other\""),
    ("network.cidr", "\"10.30.0.0/16\""),
    ("deploy.max_catch_up", "\"5h\""),
    ("logs.retention_days", "1"),
    ("images.server", "\"r/server:1\""),
];
const SECRET_USER: &str =
    "[{ login = \"app\", secret = \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:other/app-AbCdEf\" }]";

/// Keys that go with others only: what has to be said besides, or, without a value, not to be said. The first that is allowed
/// holds.
const WITH: [(&str, &str); 21] = [
    ("server.insecure", "certificates\nusers"),
    ("server.insecure", "certificates\nusers\ncredentials"),
    ("server.line", "server.external_tcp"),
    ("server.line", "server.external_tcp\nserver.options"),
    ("certificates.ca", "certificates.ca_certificate = \"/ca/ca.crt\"\ncertificates.ca_key = \"/ca/ca.key\""),
    ("certificates.ca", "certificates.ca_certificate\ncertificates.ca_key"),
    (
        "server.upgrade_from",
        "server.upgrade_recovery_point = \"arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3\"",
    ),
    ("server.upgrade_recovery_point", "server.upgrade_from = \"22.10\""),
    ("server.license_kms_key", LICENSE),
    ("server.license_json_key", LICENSE),
    ("server.insecure_exposed", "server.insecure = true\nnetwork.admin_cidr = \"198.51.100.0/24\""),
    ("server.external_tcp", "server.line = \"23.10\""),
    ("server.cpu", "server.memory = 30720"),
    ("network.vpc", "network.subnets = [\"subnet-01234567\"]\nnetwork.allow_fewer_zones = true"),
    ("network.subnets", "network.vpc = \"vpc-01234567\""),
    ("discovery.namespace_id", "discovery.hosted_zone_id = \"Z0123456789ABCDEFGHIJ\""),
    ("discovery.hosted_zone_id", "discovery.namespace_id = \"ns-0123456789abcdef\""),
    ("data.file_system", "data.security_group = \"sg-01234567\""),
    ("data.security_group", "data.file_system = \"fs-01234567\""),
    ("data.throughput", "data.provisioned_mibps = 64"),
    ("data.provisioned_mibps", "data.throughput = \"provisioned\""),
];
const LICENSE: &str =
    "server.license_secret = \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/license-AbCdEf\"";

/// Node, container, and the name of what is set there.
type Place = (String, String, String);
/// What it is, and the keys that it is said to come from.
type Setting = (String, BTreeSet<String>);

fn settings(text: &str) -> Option<BTreeMap<Place, Setting>> {
    let deployment = Deployment::new(Config::parse(text).ok()?);
    let stated = Stated::in_text(text);
    let mut found = BTreeMap::new();
    for node in deployment.members() {
        for container in Explanation::new(&deployment, node, &stated).containers {
            let mut set = |name: &str, is: String, from: BTreeSet<String>| {
                found.insert((node.name().to_owned(), container.name.clone(), name.to_owned()), (is, from));
            };
            set("(image)", container.image.is.to_string(), keys(&container.image));
            set("(user)", container.user.is.to_string(), keys(&container.user));
            let line = [container.entry_point.clone(), container.command.is.clone()];
            set("(command line)", format!("{line:?}"), keys(&container.command));
            for (name, value) in &container.variables {
                set(name, value.is.to_string(), keys(value));
            }
            for (name, value) in &container.secrets {
                set(name, value.is.to_string(), keys(value));
            }
        }
    }
    Some(found)
}

fn keys<T>(sourced: &Sourced<T>) -> BTreeSet<String> {
    assert!(!sourced.from.is_empty());
    sourced.from.iter().filter_map(|(influence, _)| influence.key()).map(str::to_owned).collect()
}

/// Sets the value of a key, or takes it out.
fn put(table: &mut Table, path: &str, value: Option<Value>) {
    let mut steps: Vec<_> = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).collect();
    let last = steps.pop().unwrap();
    let mut inner = table;
    let mut steps = steps.into_iter();
    while let Some(step) = steps.next() {
        inner = match inner.entry(step.to_owned()).or_insert_with(|| Table::new().into()) {
            Value::Table(inner) => inner,
            Value::Array(items) => {
                let index: usize = steps.next().unwrap().parse().unwrap();
                items[index].as_table_mut().unwrap()
            }
            other => panic!("{path}: {other}"),
        };
    }
    match value {
        Some(value) => drop(inner.insert(last.to_owned(), value)),
        None => drop(inner.remove(last)),
    }
}

fn value(text: &str) -> Value {
    format!("value = {text}").parse::<Table>().unwrap().remove("value").unwrap()
}

/// Every key with all that is tried.
fn tries(base: &str) -> Vec<(String, Vec<Option<Value>>)> {
    let mut all: Vec<_> = leaves()
        .into_iter()
        .map(|(key, values)| {
            let more = MORE.iter().filter(|(of, _)| *of == key).map(|(_, text)| value(text));
            let values: Vec<_> = [None].into_iter().chain(values.into_iter().chain(more).map(Some)).collect();
            (key, values)
        })
        .collect();
    // What stands in a container of the user's own is a key each.
    let mut inner = |containers: &Value| {
        for (index, container) in containers.as_array().unwrap().iter().enumerate() {
            for (key, other) in container.as_table().unwrap() {
                let path = format!("containers[{index}].{key}");
                match (key.as_str(), other) {
                    ("environment", Value::Table(names)) => {
                        all.extend(
                            names.keys().map(|name| (format!("{path}.{name}"), vec![None, Some(value("\"other\""))])),
                        );
                    }
                    ("secrets", Value::Table(names)) => {
                        all.extend(
                            names.keys().map(|name| (format!("{path}.{name}"), vec![None, Some(value(SECRET))])),
                        );
                    }
                    ("image", _) => all.push((path, vec![Some(value("\"r/other:1\""))])),
                    ("command" | "entry_point", _) => all.push((path, vec![None, Some(value("[\"other\"]"))])),
                    _ => {}
                }
            }
            for (key, other) in [("user", "\"7\""), ("entry_point", "[\"/other\"]"), ("command", "[\"other\"]")] {
                all.push((format!("containers[{index}].{key}"), vec![Some(value(other))]));
            }
        }
    };
    if let Some(containers) = base.parse::<Table>().unwrap().get("containers") {
        inner(containers);
    }
    all
}

#[test]
fn what_an_origin_names_changes_the_value_and_nothing_else_does() {
    // Whether what an origin names was seen to change the value: container, setting, key.
    let mut claims: BTreeMap<(String, String, String), bool> = BTreeMap::new();
    let mut varied = BTreeSet::new();
    for base in bases() {
        let base = base.as_str();
        let before = settings(base).unwrap_or_else(|| panic!("{base}"));
        for ((_, container, name), (_, keys)) in &before {
            for key in keys {
                claims.entry((container.clone(), name.clone(), key.clone())).or_insert(false);
            }
        }
        for (key, values) in tries(base) {
            for value in values {
                let (mut alone, mut changed) = (base.parse::<Table>().unwrap(), vec![key.clone()]);
                put(&mut alone, &key, value.clone());
                let mut after = settings(&toml::to_string(&alone).unwrap());
                for (_, besides) in WITH.iter().filter(|(of, _)| *of == key) {
                    if after.is_some() {
                        break;
                    }
                    let mut together = alone.clone();
                    changed.truncate(1);
                    for line in besides.lines() {
                        let (other, text) =
                            line.split_once(" = ").map_or((line, None), |(key, text)| (key, Some(text)));
                        put(&mut together, other, text.map(self::value));
                        changed.push(other.to_owned());
                    }
                    after = settings(&toml::to_string(&together).unwrap());
                }
                let Some(after) = after else { continue };
                if alone != base.parse::<Table>().unwrap() {
                    varied.insert(key.clone());
                }
                compare(&before, &after, &changed, &mut claims, &format!("{key} = {value:?} in\n{base}"));
            }
        }
    }
    let untried: Vec<_> = leaves().into_iter().map(|(key, _)| key).filter(|key| !varied.contains(key)).collect();
    assert_eq!(untried, [] as [String; 0], "no configuration has another value of them");
    let idle: Vec<_> = claims.into_iter().filter(|(_, seen)| !seen).map(|(claim, _)| claim).collect();
    assert_eq!(idle, [], "these keys are named and change nothing");
}

/// A key inside of what has changed, or that itself.
fn is_within(key: &str, changed: &str) -> bool {
    key.strip_prefix(changed).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn compare(
    before: &BTreeMap<Place, Setting>,
    after: &BTreeMap<Place, Setting>,
    changed: &[String],
    claims: &mut BTreeMap<(String, String, String), bool>,
    context: &str,
) {
    let containers = |settings: &BTreeMap<Place, Setting>| -> BTreeSet<_> {
        settings.keys().map(|(node, container, _)| (node.clone(), container.clone())).collect()
    };
    // A container that comes or goes is none of its variables' business.
    let both: BTreeSet<_> = containers(before).intersection(&containers(after)).cloned().collect();
    for place in before.keys().chain(after.keys()) {
        let (node, container, name) = place;
        if !both.contains(&(node.clone(), container.clone())) {
            continue;
        }
        let (old, new) = (before.get(place), after.get(place));
        if old.map(|(is, _)| is) == new.map(|(is, _)| is) {
            continue;
        }
        let named: BTreeSet<_> = [old, new].into_iter().flatten().flat_map(|(_, keys)| keys).collect();
        let guilty: Vec<_> = named.iter().filter(|key| changed.iter().any(|changed| is_within(key, changed))).collect();
        assert!(!guilty.is_empty(), "{node} {container} {name}: {old:?} became {new:?} by {context}");
        // Where a key does not go alone, what goes with it is a part of its change.
        for key in guilty.iter().filter(|key| is_within(key, &changed[0])) {
            if let Some(seen) = claims.get_mut(&(container.clone(), name.clone(), (**key).clone())) {
                *seen = true;
            }
        }
    }
}

#[test]
fn every_key_that_an_origin_names_is_one() {
    for base in bases() {
        for (place, (_, keys)) in settings(&base).unwrap() {
            for key in keys {
                let outer = key.rsplit_once('.').is_some_and(|(outer, _)| is_key(outer));
                assert!(is_key(&key) || outer, "{place:?}: {key}");
            }
        }
    }
}
