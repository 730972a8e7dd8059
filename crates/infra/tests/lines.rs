//! What each server line is given: its own names, places, user and image, and nothing that it does not know. Two tables
//! written apart from each other must agree: infra's, and that of the database stand-in.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fmt::Write as _;

use infra::{BuiltInUser, Config, Container, ContainerName, Deployment, Image, Node, ServerLine, Value};
use testkit::database::{Line, check_options};

use support::deployment;

/// The line as the stand-in has it; 26 is there as 26.1.
fn stand_in(line: ServerLine) -> Line {
    match line {
        ServerLine::V21_10 => Line::V21_10,
        ServerLine::V22_10 => Line::V22_10,
        ServerLine::V23_10 => Line::V23_10,
        ServerLine::V24_10 => Line::V24_10,
        ServerLine::V25_0 => Line::V25_0,
        ServerLine::V25_1 => Line::V25_1,
        ServerLine::V26 => Line::V26_1,
    }
}

fn server(node: &Node) -> &Container {
    node.task().containers.iter().find(|container| container.name == ContainerName::EventStore).unwrap()
}

/// What the server sees of its environment: guard takes away what is its own.
fn environment(container: &Container) -> Vec<(String, String)> {
    let texts = container.variables().map(|(name, value)| match value {
        Value::Literal(text) => (name.to_owned(), text.clone()),
        other => panic!("{name} is {other:?}"),
    });
    let passwords = container.passwords.iter().map(|given| (given.name.clone(), given.user.as_str().to_owned()));
    texts.filter(|(name, _)| !name.starts_with("GUARD_")).chain(passwords).collect()
}

/// Everything that decides what a server is given.
fn configurations(line: ServerLine) -> Vec<String> {
    let mut all = Vec::new();
    for (nodes, replicas) in [(1, 0), (3, 1)] {
        for flags in 0..8_u8 {
            let [insecure, log_volume, external_tcp] = [1, 2, 4].map(|flag| flags & flag != 0);
            if external_tcp && line > ServerLine::V23_10 {
                continue;
            }
            let line = line.as_str();
            let cluster = format!("nodes = {nodes}\nread_only_replicas = {replicas}");
            let mut text = format!("name = \"es\"\n[cluster]\n{cluster}\n[server]\nline = \"{line}\"\n");
            let _ = writeln!(text, "insecure = {insecure}\nlog_volume = {log_volume}\nexternal_tcp = {external_tcp}");
            all.push(text);
        }
    }
    all
}

#[test]
fn no_line_is_given_an_option_that_the_stand_in_does_not_know() {
    for line in ServerLine::ALL {
        for text in configurations(line) {
            let deployment = deployment(&text);
            for node in deployment.members() {
                let given = check_options(stand_in(line), environment(server(node)));
                let insecure_cluster = text.contains("insecure = true") && text.contains("nodes = 3");
                if insecure_cluster {
                    // Said after the names of the options were found good.
                    assert_eq!(given, Err(vec!["the stand-in runs insecure alone, and not in a cluster".to_owned()]));
                } else {
                    assert_eq!(given, Ok(Vec::new()), "{} of\n{text}", node.name());
                }
            }
        }
    }
}

/// What infra offers for `server.options` as well.
#[test]
fn no_line_is_offered_an_option_that_the_stand_in_does_not_know() {
    let schema = infra::schema();
    let offered = schema["properties"]["server"]["properties"]["options"]["properties"].as_object().unwrap();
    assert!(offered.len() > 30, "{offered:?}");
    let mut taken = 0;
    for (option, values) in offered {
        let value = match (&values["enum"][0], &values["pattern"]) {
            (serde_json::Value::String(word), _) => format!("\"{word}\""),
            (serde_json::Value::Bool(flag), _) => flag.to_string(),
            _ => "1".to_owned(),
        };
        for line in ServerLine::ALL {
            let text =
                format!("name = \"es\"\n[server]\nline = \"{0}\"\n[server.options]\n{option} = {value}", line.as_str());
            match Config::parse(&text) {
                Ok(config) => {
                    let deployment = Deployment::new(config);
                    let given = check_options(stand_in(line), environment(server(&deployment.nodes()[0])));
                    assert_eq!(given, Ok(Vec::new()), "{option} on {}", line.as_str());
                    taken += 1;
                }
                Err(mistakes) => {
                    let message = mistakes.to_string();
                    assert!(message.contains(&format!("{} does not know it", line.as_str())), "{option}: {message}");
                    let prefix = if line < ServerLine::V25_0 { "EVENTSTORE_" } else { "KURRENTDB_" };
                    let base = deployment(&format!("name = \"es\"\n[server]\nline = \"{}\"", line.as_str()));
                    let mut forced = environment(server(&base.nodes()[0]));
                    forced.push((format!("{prefix}{option}"), value.trim_matches('"').to_owned()));
                    assert!(check_options(stand_in(line), forced).is_err(), "{option} is kept from {}", line.as_str());
                }
            }
        }
    }
    assert!(taken > 200, "{taken}");
}

/// What a line's image holds (contract §7.2) and what its variables are called (contract §0).
struct Expected {
    line: ServerLine,
    prefix: &'static str,
    program: &'static str,
    data: &'static str,
    logs: &'static str,
    uid: u32,
    image: &'static str,
    addresses: [&'static str; 5],
    passwords: bool,
}

const OLD: [&str; 5] = ["EXT_IP", "INT_IP", "HTTP_PORT", "EXT_HOST_ADVERTISE_AS", "INT_HOST_ADVERTISE_AS"];
const NEW: [&str; 5] =
    ["NODE_IP", "REPLICATION_IP", "NODE_PORT", "NODE_HOST_ADVERTISE_AS", "REPLICATION_HOST_ADVERTISE_AS"];

fn event_store(line: ServerLine, image: &'static str, addresses: [&'static str; 5], passwords: bool) -> Expected {
    Expected {
        line,
        prefix: "EVENTSTORE_",
        program: "/opt/eventstore/EventStore.ClusterNode",
        data: "/var/lib/eventstore",
        logs: "/var/log/eventstore",
        uid: 1000,
        image,
        addresses,
        passwords,
    }
}

fn kurrent(line: ServerLine, image: &'static str, uid: u32) -> Expected {
    Expected {
        line,
        prefix: "KURRENTDB_",
        program: "/opt/kurrentdb/KurrentDB",
        data: "/var/lib/kurrentdb",
        logs: "/var/log/kurrentdb",
        uid,
        image,
        addresses: NEW,
        passwords: true,
    }
}

#[test]
fn each_line_gets_its_own_names_places_user_and_image() {
    let all = [
        event_store(ServerLine::V21_10, "eventstore/eventstore:21.10.9-buster-slim", OLD, false),
        event_store(ServerLine::V22_10, "eventstore/eventstore:22.10.5-jammy", OLD, false),
        event_store(ServerLine::V23_10, "eventstore/eventstore:23.10.6-bookworm-slim", NEW, true),
        event_store(ServerLine::V24_10, "docker.eventstore.com/eventstore/eventstoredb-ee:24.10", NEW, true),
        kurrent(ServerLine::V25_0, "docker.kurrent.io/kurrent-latest/kurrentdb:25.0.1", 1000),
        kurrent(ServerLine::V25_1, "docker.kurrent.io/kurrent-latest/kurrentdb:25.1.4", 1000),
        kurrent(ServerLine::V26, "docker.kurrent.io/kurrent-lts/kurrentdb:26.0.3", 1001),
    ];
    assert_eq!(all.each_ref().map(|expected| expected.line), ServerLine::ALL);
    for Expected { line, prefix, program, data, logs, uid, image, addresses, passwords } in all {
        let deployment =
            deployment(&format!("name = \"es\"\n[server]\nline = \"{}\"\nlog_volume = true", line.as_str()));
        let task = deployment.nodes()[0].task();
        for container in &task.containers {
            assert_eq!(container.user, uid, "{} of {}", container.name.as_str(), line.as_str());
        }
        let server = server(&deployment.nodes()[0]);
        assert!(matches!(&server.image, Image::Reference(found) if found.as_str() == image), "{:?}", server.image);
        assert_eq!(server.entry_point.as_ref().unwrap().last().unwrap(), program);
        let mounted: Vec<_> = server.mounts.iter().map(|mount| mount.path).collect();
        assert_eq!(mounted[..2], [data, logs]);
        let variable = |name: &str| {
            let found = server.variables().find(|(found, _)| **found == *name);
            found.map(|(_, value)| if let Value::Literal(text) = value { text.as_str() } else { panic!("{name}") })
        };
        assert_eq!(variable("GUARD_DATA_DIR"), Some(data));
        let option = |name: &str| variable(&format!("{prefix}{name}"));
        let index = format!("{data}/index");
        assert_eq!((option("DB"), option("INDEX"), option("LOG")), (Some(data), Some(index.as_str()), Some(logs)));
        let host = "es-node-1.db.internal";
        let expected = ["0.0.0.0", "0.0.0.0", "2113", host, host].map(Some);
        assert_eq!(addresses.map(option), expected, "{}", line.as_str());
        for name in OLD.into_iter().chain(NEW).filter(|name| !addresses.contains(name)) {
            assert_eq!(option(name), None, "{name} on {}", line.as_str());
        }
        assert_eq!(option("TELEMETRY_OPTOUT"), passwords.then_some("true"), "{}", line.as_str());
        let first: Vec<_> = server.passwords.iter().map(|given| (given.name.clone(), given.user)).collect();
        let known = [("ADMIN", BuiltInUser::Admin), ("OPS", BuiltInUser::Ops)];
        let known = known.map(|(name, user)| (format!("{prefix}DEFAULT_{name}_PASSWORD"), user));
        assert_eq!(first, if passwords { known.to_vec() } else { Vec::new() }, "{}", line.as_str());
        let certgen = task.containers.iter().find(|container| container.name == ContainerName::Certgen).unwrap();
        let told = certgen.variables().find(|(name, _)| *name == "CERTGEN_SERVER_LINE");
        assert_eq!(*told.unwrap().1, Value::Literal(line.as_str().to_owned()));
    }
}

/// EFS enforces the owner; it cannot be changed, so it does not follow the image (production-review row 10).
#[test]
fn the_owner_of_the_data_is_the_same_for_every_line() {
    for line in ServerLine::ALL {
        let text = format!("name = \"es\"\n[server]\nline = \"{}\"", line.as_str());
        let template = support::template(&text, "StatefulResources");
        let point = support::only(&template, "AWS::EFS::AccessPoint");
        assert_eq!(point["PosixUser"], serde_json::json!({"Uid": "1000", "Gid": "1000"}));
        assert_eq!(point["RootDirectory"]["Path"], "/node-1/data");
    }
}

/// Without first passwords the execution role has none to read, and somebody must know what that means.
#[test]
fn lines_without_first_passwords_are_warned_of_and_grant_nothing() {
    for line in ServerLine::ALL {
        let text = format!("name = \"es\"\n[server]\nline = \"{}\"", line.as_str());
        let old = line < ServerLine::V23_10;
        let warned = deployment(&text)
            .warnings()
            .into_iter()
            .any(|warning| warning.key == "server.line" && warning.message.contains("default passwords"));
        assert_eq!(warned, old, "{}", line.as_str());
        let template = support::template(&text, "EventStore");
        let role = template["Resources"]["Node1ExecutionRole"].to_string();
        assert_eq!(role.contains("secretsmanager:GetSecretValue"), !old, "{}", line.as_str());
    }
}

const RECOVERY_POINT: &str =
    "upgrade_recovery_point = \"arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A\"\n";

/// Pairs of versions that were seen to open each other's data in both directions, and whether in a cluster too.
const SEEN: [(&str, &str, bool); 6] = [
    ("22.10", "24.10", false),
    ("22.10", "25.0", false),
    ("23.10", "24.10", true),
    ("23.10", "25.0", true),
    ("24.10", "25.0", true),
    ("24.10", "26", true),
];

fn was_seen(from: &str, to: &str, nodes: usize) -> bool {
    SEEN.iter().any(|(one, other, mixed)| {
        ((*one, *other) == (from, to) || (*one, *other) == (to, from)) && (nodes == 1 || *mixed)
    })
}

/// Seen to work in both directions, and for 22.10 not in a mixed cluster.
#[test]
fn ecs_rolls_back_only_between_versions_seen_to_share_data() {
    for from in ServerLine::ALL.map(ServerLine::as_str) {
        for to in ServerLine::ALL.map(ServerLine::as_str) {
            for nodes in [1, 3] {
                let safe = from == to || was_seen(from, to, nodes);
                let text = format!(
                    "name = \"es\"\ncluster.nodes = {nodes}\n[server]\nline = \"{to}\"\nupgrade_from = \"{from}\"\n"
                );
                let mistakes = Config::parse(&text).map_or_else(|mistakes| mistakes.0, |_| Vec::new());
                let keys: Vec<_> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
                assert_eq!(keys, if safe { vec![] } else { vec!["server.upgrade_recovery_point"] }, "{text}");
                let text = text + RECOVERY_POINT;
                let template = support::template(&text, "EventStore");
                for (id, service) in support::of_type(&template, "AWS::ECS::Service") {
                    let breaker = &service["Properties"]["DeploymentConfiguration"]["DeploymentCircuitBreaker"];
                    assert_eq!(*breaker, serde_json::json!({"Enable": true, "Rollback": safe}), "{id} of\n{text}");
                }
                let warned = deployment(&text).warnings().iter().any(|warning| warning.key == "server.upgrade_from");
                assert_eq!(warned, !safe, "{text}");
            }
        }
    }
}

/// What guard is told in a server's container of the template: its version, and those whose data it may open.
fn versions(container: &serde_json::Value) -> (String, Vec<String>) {
    let version = support::variable(container, "GUARD_SERVER_VERSION").unwrap();
    let opens = support::variable(container, "GUARD_OPENS_DATA_OF");
    let opens = opens.into_iter().flat_map(|list| list.split(',')).map(str::to_owned);
    (version.to_owned(), opens.collect())
}

/// The server's container of each task in a template.
fn servers(template: &serde_json::Value) -> Vec<&serde_json::Value> {
    let tasks = support::of_type(template, "AWS::ECS::TaskDefinition").into_iter();
    let containers = tasks.flat_map(|(_, task)| task["Properties"]["ContainerDefinitions"].as_array().unwrap());
    containers.filter(|container| container["Name"] == "eventstore").collect()
}

/// A failed update makes CloudFormation start the old task definition on data that the new server has opened. guard refuses the old
/// server unless its own template declares the new version.
#[test]
fn old_template_opens_newer_data_only_where_that_was_seen() {
    let version = |line: &str| if line == "26" { "26.0".to_owned() } else { line.to_owned() };
    let mut allowed = 0;
    for from in ServerLine::ALL.map(ServerLine::as_str) {
        for to in ServerLine::ALL.map(ServerLine::as_str) {
            for (nodes, replicas) in [(1, 0), (3, 1)] {
                let text = |line: &str, more: &str| {
                    format!(
                        "name = \"es\"\n[cluster]\nnodes = {nodes}\nread_only_replicas = {replicas}\n[server]\nline = \"{line}\"\n{more}"
                    )
                };
                let old = support::template(&text(from, ""), "EventStore");
                let upgrade = format!("upgrade_from = \"{from}\"\n{RECOVERY_POINT}");
                let new = support::template(&text(to, &upgrade), "EventStore");
                assert_eq!(servers(&new).len(), nodes + replicas);
                for server in servers(&new) {
                    let (own, opens) = versions(server);
                    assert_eq!(own, version(to));
                    assert_eq!(opens.contains(&version(from)), from != to, "{from} to {to} on {nodes}: {opens:?}");
                }
                for server in servers(&old) {
                    let (own, opens) = versions(server);
                    assert_eq!(own, version(from));
                    let may = opens.contains(&version(to));
                    assert_eq!(may, was_seen(from, to, nodes), "{to} back to {from} on {nodes}: {opens:?}");
                    allowed += usize::from(may);
                }
            }
        }
    }
    assert!(allowed > 20, "{allowed}");
}

const LICENSE: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/license-AbCdEf";
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";

#[test]
fn a_licence_reaches_the_server_by_reference_where_the_line_knows_one() {
    for line in ServerLine::ALL {
        let text = format!("name = \"es\"\n[server]\nline = \"{}\"\nlicense_secret = \"{LICENSE}\"\n", line.as_str());
        if line < ServerLine::V24_10 {
            let mistakes = Config::parse(&text).unwrap_err().0;
            assert_eq!(
                mistakes.iter().map(|mistake| mistake.key.as_str()).collect::<Vec<_>>(),
                ["server.license_secret"]
            );
            continue;
        }
        let prefix = if line < ServerLine::V25_0 { "EVENTSTORE_" } else { "KURRENTDB_" };
        let name = format!("{prefix}LICENSING__LICENSE_KEY");
        let mut given = environment(server(&deployment(&text).nodes()[0]));
        given.push((name.clone(), "x".to_owned()));
        assert_eq!(check_options(stand_in(line), given), Ok(Vec::new()));
        let in_json = format!("{text}license_json_key = \"key\"\nlicense_kms_key = \"{KEY}\"\n");
        for (text, from, key) in [(text, LICENSE.to_owned(), None), (in_json, format!("{LICENSE}:key::"), Some(KEY))] {
            let template = support::template(&text, "EventStore");
            for container in
                template["Resources"]["Node1Task"]["Properties"]["ContainerDefinitions"].as_array().unwrap()
            {
                let secrets = container["Secrets"].as_array().into_iter().flatten();
                let licenses: Vec<_> = secrets.filter(|secret| secret["Name"] == name.as_str()).collect();
                let expected =
                    (container["Name"] == "eventstore").then(|| serde_json::json!({"Name": name, "ValueFrom": from}));
                assert_eq!(licenses, expected.iter().collect::<Vec<_>>());
                assert!(!container["Environment"].to_string().contains("LICENSING"));
            }
            let statements = |role: &str| {
                let policy = &template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"];
                policy["Statement"].as_array().unwrap().clone()
            };
            let of = |resource: &str| -> Vec<_> {
                let all = statements("Node1ExecutionRole").into_iter();
                all.filter(|statement| statement["Resource"] == resource).map(|one| one["Action"].clone()).collect()
            };
            assert_eq!(of(LICENSE), [serde_json::json!(["secretsmanager:GetSecretValue"])]);
            assert_eq!(of(KEY), key.map(|_| serde_json::json!(["kms:Decrypt"])).into_iter().collect::<Vec<_>>());
            assert!(statements("Node1TaskRole").iter().all(|statement| !statement.to_string().contains("license")));
        }
    }
}
