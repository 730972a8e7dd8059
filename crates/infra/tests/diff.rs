//! What `infra diff` tells and refuses: by every property that makes a new resource, and by every key that causes it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use infra::Assembly;
use infra::diff::{Diff, Refusal, Snapshot, What, create_only};
use serde_json::{Value, json};
use testkit::tool::{self, Tool};

use support::{SCENARIOS, text_of};

/// All that infra makes.
fn all() -> impl Iterator<Item = &'static str> {
    SCENARIOS.into_iter().chain(["repositories"])
}

fn assembly_of(scenario: &str) -> Assembly {
    match scenario {
        "repositories" => Assembly::repositories("aws").unwrap(),
        other => support::assembly(&text_of(other)),
    }
}

/// Every template of a scenario by its file.
fn templates(scenario: &str) -> BTreeMap<String, Value> {
    let assembly = assembly_of(scenario);
    let files = assembly.files().filter(|(name, _)| name.ends_with(".template.json"));
    files.map(|(name, text)| (name.to_owned(), serde_json::from_str(text).unwrap())).collect()
}

/// Resources by stack and id.
fn resources(templates: &BTreeMap<String, Value>) -> Vec<(&str, &str, &Value)> {
    let all = templates.iter().flat_map(|(file, template)| {
        let resources = template["Resources"].as_object().unwrap().iter();
        resources.map(|(id, resource)| (file.as_str(), id.as_str(), resource))
    });
    all.collect()
}

/// An assembly on disk, of which one file at a time is another one.
struct Changed {
    directory: tempfile::TempDir,
    before: Snapshot,
    templates: BTreeMap<String, Value>,
}

impl Changed {
    fn of(scenario: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("cdk.out");
        assembly_of(scenario).write(&out).unwrap();
        Self { before: Snapshot::read(&out).unwrap(), directory, templates: templates(scenario) }
    }

    /// The difference that a change of one template makes.
    fn by(&self, file: &str, change: impl FnOnce(&mut Value)) -> Diff {
        let path = self.directory.path().join("cdk.out").join(file);
        let mut template = self.templates[file].clone();
        change(&mut template);
        fs::write(&path, template.to_string()).unwrap();
        let after = Snapshot::read(&self.directory.path().join("cdk.out")).unwrap();
        fs::write(&path, self.templates[file].to_string()).unwrap();
        Diff::between(&self.before, &after)
    }
}

/// What the table says of a type: the properties that make a new resource, and whether it is guarded.
#[track_caller]
fn known(kind: &str) -> (&'static str, &'static [&'static str], bool) {
    let found = create_only().find(|(known, ..)| *known == kind);
    found.unwrap_or_else(|| panic!("put {kind} into the table of src/diff/known.rs"))
}

/// Another value at a path with slashes, which may not be there yet.
fn alter(properties: &mut Value, path: &str) {
    let mut place = properties;
    for name in path.split('/') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = match place {
        Value::String(_) | Value::Null | Value::Object(_) | Value::Array(_) => json!("another"),
        Value::Bool(flag) => json!(!*flag),
        Value::Number(_) => json!(4711),
    };
}

fn named<'a>(diff: &'a Diff, id: &str) -> Option<&'a Refusal> {
    diff.refused.iter().find(|refusal| refusal.name == id)
}

fn is_retained(resource: &Value) -> bool {
    resource["DeletionPolicy"] == "RetainExceptOnCreate"
}

/// One case for each property that makes a new resource, of each resource that holds state, in the first scenario that has it.
#[test]
fn every_replacement_of_what_holds_state_is_refused_by_name() {
    let mut seen = BTreeSet::new();
    let mut tried = BTreeSet::new();
    for scenario in all() {
        let changed = Changed::of(scenario);
        let found = resources(&changed.templates).into_iter();
        let found: Vec<_> =
            found.map(|(file, id, resource)| (file.to_owned(), id.to_owned(), resource.clone())).collect();
        for (file, id, resource) in found {
            let kind = resource["Type"].as_str().unwrap();
            let (_, properties, guarded) = known(kind);
            if !guarded && !is_retained(&resource) || !tried.insert((id.clone(), is_retained(&resource))) {
                continue;
            }
            for property in properties {
                let diff = changed.by(&file, |template| alter(&mut template["Resources"][&id]["Properties"], property));
                let case = format!("{scenario}: {id} ({kind}) {property}\n{diff}");
                let refused = named(&diff, &id).unwrap_or_else(|| panic!("{case}"));
                let shown = property.split('/').next().unwrap();
                assert!(
                    refused.what.contains("would be replaced") && refused.what.contains(shown),
                    "{refused}\n{case}"
                );
                assert!(
                    refused.stack.len() + ".template.json".len() == file.len() && refused.what.contains(kind),
                    "{refused}"
                );
                assert!(!refused.loss.is_empty() && !refused.instead.is_empty(), "{case}");
                let change = diff.changes.iter().find(|change| change.id == id).unwrap();
                assert_eq!(change.what, What::Replaced, "{case}");
                seen.insert((kind.to_owned(), *property));
            }
        }
    }
    for (kind, properties, guarded) in create_only() {
        for property in properties.iter().filter(|_| guarded) {
            assert!(
                seen.contains(&(kind.to_owned(), *property)),
                "no scenario has a {kind}, so {property} was not tried"
            );
        }
    }
}

#[test]
fn what_holds_state_is_neither_taken_away_nor_renamed() {
    let mut tried = BTreeSet::new();
    for scenario in all() {
        let changed = Changed::of(scenario);
        for (file, id, resource) in resources(&changed.templates) {
            let kind = resource["Type"].as_str().unwrap();
            let (.., guarded) = known(kind);
            if !tried.insert((id.to_owned(), is_retained(resource))) {
                continue;
            }
            let take = |template: &mut Value| template["Resources"].as_object_mut().unwrap().remove(id).unwrap();
            let removed = changed.by(file, |template| drop(take(template)));
            let renamed = changed.by(file, |template| {
                let resource = take(template);
                template["Resources"]["Another"] = resource;
            });
            // These go with their node.
            let goes = ["AWS::ServiceDiscovery::Service", "AWS::ECS::Service"].contains(&kind);
            let stays = (guarded && !goes) || is_retained(resource);
            assert_eq!(named(&removed, id).is_some(), stays, "{scenario}: {id}\n{removed}");
            let is_guarded = guarded || is_retained(resource);
            assert_eq!(named(&renamed, id).is_some(), is_guarded, "{scenario}: {id}\n{renamed}");
            if is_guarded {
                assert!(named(&renamed, id).unwrap().what.contains("\"Another\""), "{renamed}");
            }
        }
    }
}

/// CloudFormation generates anew on any change of this text, in place and without a word.
#[test]
fn no_change_makes_a_new_password() {
    let changed = Changed::of("everything");
    let file = "orders-2-StatefulResources.template.json";
    let mut secrets = 0;
    for (file, id, resource) in resources(&changed.templates) {
        let Some(members) = resource["Properties"]["GenerateSecretString"].as_object() else { continue };
        secrets += 1;
        for member in members.keys().cloned().chain(["ExcludeLowercase".to_owned()]) {
            let path = format!("GenerateSecretString/{member}");
            let diff = changed.by(file, |template| alter(&mut template["Resources"][id]["Properties"], &path));
            let refused = named(&diff, id).unwrap();
            assert!(refused.what.contains(&format!("GenerateSecretString.{member} ")), "{refused}");
            assert!(refused.loss.contains("generates a new password"), "{refused}");
        }
        let diff = changed.by(file, |template| {
            template["Resources"][id]["Properties"].as_object_mut().unwrap().remove("GenerateSecretString");
        });
        assert!(named(&diff, id).is_some(), "{diff}");
    }
    assert!(secrets >= 4, "{secrets}");
    let diff =
        changed.by(file, |template| template["Resources"]["AdminSecret"]["Properties"]["Description"] = json!("x"));
    assert!(diff.refused.is_empty() && diff.changes.len() == 1, "{diff}");
}

/// Of what is not known, a retained one is not touched; of the others it is said.
#[test]
fn what_is_not_known_is_taken_for_the_worst() {
    let changed = Changed::of("default");
    let file = "eventstore-StatefulResources.template.json";
    let with = |retained: bool, value: u8| {
        let changed = changed.templates[file].clone();
        let mut template = changed;
        template["Resources"]["Thing"] = json!({"Type": "AWS::Test::Thing", "Properties": {"Size": value}});
        if retained {
            template["Resources"]["Thing"]["DeletionPolicy"] = json!("Retain");
        }
        template
    };
    for retained in [false, true] {
        let out = changed.directory.path().join("cdk.out");
        let snapshot = |value: u8| {
            fs::write(out.join(file), with(retained, value).to_string()).unwrap();
            Snapshot::read(&out).unwrap()
        };
        let diff = Diff::between(&snapshot(1), &snapshot(2));
        assert_eq!(diff.changes.len(), 1, "{diff}");
        assert_eq!(diff.changes[0].what, What::PerhapsReplaced);
        assert_eq!(named(&diff, "Thing").is_some(), retained, "{diff}");
        assert_eq!(diff.notes.iter().any(|note| note.contains("Thing")), !retained, "{:?}", diff.notes);
    }
}

/// The table cannot rot: it says what the schemas of the CloudFormation registry say that cfn-lint brings, and knows whatever
/// infra makes.
#[test]
fn the_table_says_what_the_schemas_of_cloudformation_say() {
    let table: BTreeMap<_, _> = create_only().map(|(kind, properties, _)| (kind, properties)).collect();
    for scenario in all() {
        for (.., resource) in resources(&templates(scenario)) {
            known(resource["Type"].as_str().unwrap());
        }
    }
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "the_table_says_what_the_schemas_of_cloudformation_say") else {
        return;
    };
    let program = "import json, sys\n\
        from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER as schemas\n\
        for kind in sys.argv[1:]:\n\
        \x20   schema = schemas.get_resource_schema('us-east-1', kind).schema\n\
        \x20   paths = schema.get('createOnlyProperties', []) + schema.get('conditionalCreateOnlyProperties', [])\n\
        \x20   print(json.dumps([kind, sorted({path.removeprefix('/properties/') for path in paths})]))\n";
    let output =
        Command::new(cfn_lint.with_file_name("python")).args(["-c", program]).args(table.keys()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for line in said.lines() {
        let (kind, properties): (String, Vec<String>) = serde_json::from_str(line).unwrap();
        assert_eq!(table[kind.as_str()], properties.as_slice(), "{kind}");
        compared += 1;
    }
    assert_eq!(compared, table.len());
}

fn infra(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_infra")).env_clear().current_dir(directory).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// `infra diff` of two configurations.
fn compared(old: &str, new: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old.toml"), old).unwrap();
    fs::write(directory.path().join("new.toml"), new).unwrap();
    said(&infra(directory.path(), &[&["diff", "old.toml", "new.toml"], more].concat()))
}

const IMPORTED: &str =
    "vpc = \"vpc-01234567\"\nsubnets = [\"subnet-01234567\", \"subnet-01234568\", \"subnet-01234569\"]";
const OWN: &str = "arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";

/// Every key that replaces or takes away something that holds state: what is refused, by what id, and which key is named.
#[test]
fn every_key_that_replaces_state_is_refused_and_named() {
    let turned = IMPORTED.replace("67\", \"subnet-01234568", "68\", \"subnet-01234567");
    let network = |network: &str| format!("cluster.nodes = 3\n[network]\n{network}");
    let fewer = IMPORTED.replace(", \"subnet-01234569\"", "");
    let found = "[discovery]\nnamespace_id = \"ns-0123456789abcdef\"\nhosted_zone_id = \"Z0123456789ABCDEFGHIJ\"";
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/a-AbCdEf";
    let cases: [(String, String, &[&str], &str); 22] = [
        (String::new(), "[data]\nkms_key = \"own\"".into(), &["FileSystem", "Node1DataAccessPoint"], "data.kms_key"),
        ("[data]\nkms_key = \"own\"".into(), String::new(), &["FileSystem", "Key"], "data.kms_key"),
        (
            "[data]\nkms_key = \"own\"".into(),
            format!("[data]\nkms_key = \"{OWN}\""),
            &["FileSystem", "Key"],
            "data.kms_key",
        ),
        (String::new(), "[data]\nroot = \"/a\"".into(), &["Node1DataAccessPoint"], "data.root"),
        (
            String::new(),
            "[data]\nfile_system = \"fs-01234567\"\nsecurity_group = \"sg-01234567\"".into(),
            &["FileSystem", "MountTarget1", "Node1DataAccessPoint"],
            "data.file_system",
        ),
        (String::new(), "namespace = \"b.internal\"".into(), &["Namespace", "ClientService"], "namespace"),
        (String::new(), found.into(), &["Namespace", "ClientService"], "discovery.namespace_id"),
        (
            String::new(),
            "[network]\ncidr = \"10.30.0.0/16\"".into(),
            &["Vpc", "PrivateSubnet1", "MountTarget1", "Namespace"],
            "network.cidr",
        ),
        ("[network]\nzones = 2".into(), String::new(), &["PrivateSubnet1", "MountTarget2"], "network.zones"),
        (
            String::new(),
            "[network]\nzones = 1".into(),
            &["PrivateSubnet2", "MountTarget2", "Node1Service"],
            "network.zones",
        ),
        (
            String::new(),
            "[network]\negress = \"public-ip\"".into(),
            &["PrivateSubnet1", "MountTarget1"],
            "network.egress",
        ),
        (String::new(), format!("[network]\n{IMPORTED}"), &["Vpc", "MountTarget1", "PrivateSubnet1"], "network.vpc"),
        (
            network(IMPORTED),
            network(&turned),
            &["MountTarget1", "MountTarget2", "Node1Service", "Node2Service"],
            "network.subnets",
        ),
        (
            format!("[network]\n{IMPORTED}"),
            format!("[network]\n{fewer}"),
            &["MountTarget3", "Node1Service"],
            "network.subnets",
        ),
        ("cluster.nodes = 3".into(), String::new(), &["Node2DataAccessPoint", "Node3EventStoreLogs"], "cluster.nodes"),
        ("server.log_volume = true".into(), String::new(), &["Node1LogsAccessPoint"], "server.log_volume"),
        (String::new(), "server.insecure = true".into(), &["AdminSecret", "OpsSecret", "CaSecret"], "server.insecure"),
        (
            String::new(),
            format!("credentials.admin_secret = \"{secret}\""),
            &["AdminSecret"],
            "credentials.admin_secret",
        ),
        (String::new(), "certificates.ca = \"ephemeral\"".into(), &["CaSecret"], "certificates.ca"),
        ("[[users]]\nlogin = \"app\"".into(), String::new(), &["UserSecretapp"], "users"),
        ("[backup]\nenabled = true\nmode = \"online\"".into(), String::new(), &["BackupVault"], "backup.enabled"),
        (
            "[backup]\nenabled = true\nmode = \"online\"".into(),
            "[backup]\nenabled = true\nmode = \"online\"\nkms_key = \"own\"".into(),
            &["BackupVault"],
            "backup.kms_key",
        ),
    ];
    for (old, new, ids, key) in cases {
        let config = |rest: &str| format!("name = \"orders\"\n{rest}\n");
        let (code, shown, errors) = compared(&config(&old), &config(&new), &[]);
        let case = format!("{old}\n→ {new}\n{shown}\n{errors}");
        assert_eq!(code, Some(1), "{case}");
        for id in ids {
            let line = errors
                .lines()
                .find(|line| line.contains(&format!(": {id} (")))
                .unwrap_or_else(|| panic!("{id} of {case}"));
            let because = line.split(", because of ").nth(1).unwrap_or_else(|| panic!("{line}"));
            let keys: Vec<_> = because.split(':').next().unwrap().split(", ").collect();
            assert!(keys.contains(&key), "{line}");
        }
        assert!(errors.lines().last().unwrap().starts_with("hint: "), "{errors}");
        // One at a time, each by its name.
        let accepted: Vec<_> = ids.iter().flat_map(|id| ["--allow", id]).collect();
        let (_, _, left) = compared(&config(&old), &config(&new), &accepted);
        for id in ids {
            assert!(!left.contains(&format!(": {id} (")), "{left}");
        }
    }
}

/// Of many keys those are named that have to be set back, and no others.
#[test]
fn only_what_causes_a_refusal_is_named() {
    let new = "name = \"orders\"\nserver.port = 2114\n[network]\nzones = 2\n[data]\nkms_key = \"own\"\nthroughput = \"bursting\"\n";
    let (_, _, errors) = compared("name = \"orders\"", new, &[]);
    for (id, keys) in [
        ("FileSystem", "data.kms_key"),
        ("PrivateSubnet1", "network.zones"),
        ("MountTarget1", "data.kms_key, network.zones"),
    ] {
        let line = errors.lines().find(|line| line.contains(&format!(": {id} ("))).unwrap();
        assert!(line.contains(&format!(", because of {keys}: ")), "{line}");
    }
}

#[test]
fn another_name_is_another_deployment() {
    let (code, shown, errors) = compared("name = \"orders\"", "name = \"bills\"", &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("error: the deployment would be another one, orders → bills, because of name: "),
        "{errors}"
    );
    assert_eq!(errors.matches("error: ").count(), 1, "the old stacks stay as they are: {errors}");
    assert!(errors.contains("note: orders-StatefulResources is no longer among the stacks"), "{errors}");
    assert!(shown.contains("added FileSystem"), "{shown}");
    let (code, ..) = compared("name = \"orders\"", "name = \"bills\"", &["--allow", "name"]);
    assert_eq!(code, Some(0));
}

/// Another line opens the data: refused unless it is said and was seen to work, and where nobody has seen it refused anyway.
#[test]
fn another_server_line_is_a_decision() {
    let arn = "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45";
    let config = |line: &str, more: &str| format!("name = \"orders\"\nserver.line = \"{line}\"\n{more}\n");
    let point = format!("server.upgrade_recovery_point = \"{arn}\"\nserver.insecure = true");
    for (from, to, said, refused) in [
        ("24.10", "24.10", "", None),
        ("23.10", "24.10", "server.upgrade_from = \"23.10\"", None),
        ("24.10", "23.10", "server.upgrade_from = \"24.10\"", None),
        ("23.10", "24.10", "", Some("say `server.upgrade_from = \"23.10\"`")),
        ("23.10", "25.0", "server.upgrade_from = \"24.10\"", Some("say `server.upgrade_from = \"23.10\"`")),
        (
            "24.10",
            "25.1",
            &format!("server.upgrade_from = \"24.10\"\n{point}"),
            Some("not seen to open each other's data"),
        ),
    ] {
        // Without certificates no task says its line.
        let old = config(from, if said.contains("insecure") { "server.insecure = true" } else { "" });
        let new = config(to, said);
        let (code, _, errors) = compared(&old, &new, &[]);
        let change = format!("the server line would change, {from} → {to}, because of server.line: ");
        assert_eq!(code, Some(i32::from(refused.is_some())), "{new}{errors}");
        assert_eq!(errors.contains(&change), refused.is_some(), "{new}{errors}");
        assert!(errors.contains(refused.unwrap_or_default()), "{new}{errors}");
        let noted = errors.contains(&format!("note: another line opens the data, {from} → {to}"));
        assert_eq!(noted, refused.is_none() && from != to, "{new}{errors}");
        assert_eq!(compared(&old, &new, &["--allow", "server.line"]).0, Some(0), "{new}");
    }
    // In a cluster some pairs were not seen that a single node was.
    let nodes = "cluster.nodes = 3";
    let new = config(
        "24.10",
        &format!("{nodes}\nserver.upgrade_from = \"22.10\"\nserver.upgrade_recovery_point = \"{arn}\""),
    );
    let (code, _, errors) = compared(&config("22.10", nodes), &new, &[]);
    assert!(code == Some(1) && errors.contains("on a single node only"), "{errors}");

    // Of directories the tasks tell it.
    let directory = tempfile::tempdir().unwrap();
    for (name, line) in [("old", "23.10"), ("new", "24.10")] {
        fs::write(directory.path().join(format!("{name}.toml")), config(line, "")).unwrap();
        let file = format!("{name}.toml");
        assert!(infra(directory.path(), &["synth", "--config", &file, "--out", name]).status.success());
    }
    let (code, _, errors) = said(&infra(directory.path(), &["diff", "old", "new"]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("error: the server line would change, 23.10 → 24.10"), "{errors}");
}

/// A majority of nodes that lack what was written would be one too.
#[test]
fn another_number_of_nodes_is_a_decision() {
    let config = |cluster: &str| format!("name = \"orders\"\n[cluster]\n{cluster}\n");
    for (from, to, instead) in [
        (1, "nodes = 3", "say `cluster.grow_from = 1`"),
        (3, "nodes = 5", "`infra restore-plan --nodes`"),
        (5, "nodes = 3", "`infra restore-plan --nodes`"),
        (3, "nodes = 1", "`infra restore-plan --nodes`"),
    ] {
        let (code, _, errors) = compared(&config(&format!("nodes = {from}")), &config(to), &[]);
        assert_eq!(code, Some(1), "{errors}");
        let refused =
            errors.lines().find(|line| line.starts_with("error: the number of nodes would change, ")).unwrap();
        assert!(refused.contains(&format!(", {from} → ")) && refused.contains(instead), "{refused}");
    }
    let (_, _, errors) = compared(&config("nodes = 3"), &config("nodes = 5"), &["--allow", "cluster.nodes"]);
    assert!(!errors.contains("the number of nodes"), "{errors}");
    // In fewer zones the single node has fewer subnets than a cluster.
    let two = "name = \"orders\"\nnetwork.zones = 2\n";
    let in_two_zones = format!("{two}network.allow_fewer_zones = true\n[cluster]\nnodes = 3\ngrow_from = 1\n");
    assert_eq!(compared(two, &in_two_zones, &[]).0, Some(0));
    // A cluster that stands does not begin again, and who takes the key out is told when.
    let cluster = "name = \"orders\"\n[cluster]\nnodes = 3\n";
    let grows = format!("{cluster}grow_from = 1\n");
    let (code, _, errors) = compared(cluster, &grows, &[]);
    assert!(code == Some(1) && errors.contains("error: a cluster of 3 nodes would begin as if"), "{errors}");
    assert_eq!(compared(&grows, &format!("{grows}[logs]\nretention_days = 60\n"), &[]).0, Some(0));
    let (code, _, errors) = compared(&grows, cluster, &[]);
    assert!(code == Some(0) && errors.contains("note: nodes start that did not run: "), "{errors}");
    // What else would happen to its service is refused all the same.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("grows.toml"), &grows).unwrap();
    fs::write(directory.path().join("one.toml"), "name = \"orders\"").unwrap();
    assert!(infra(directory.path(), &["synth", "--config", "one.toml"]).status.success());
    let template = directory.path().join("cdk.out/orders-EventStore.template.json");
    let other =
        fs::read_to_string(&template).unwrap().replace("\"LaunchType\": \"FARGATE\"", "\"LaunchType\": \"EC2\"");
    let other = other.replace("\"LaunchType\":\"FARGATE\"", "\"LaunchType\":\"EC2\"");
    fs::write(&template, other).unwrap();
    let (code, _, errors) = said(&infra(directory.path(), &["diff", "cdk.out", "grows.toml"]));
    assert!(code == Some(1) && errors.contains("Node1Service (AWS::ECS::Service) would be replaced"), "{errors}");
    // Only in the subnets that it had.
    let subnets = |list: &str, cluster: &str| {
        format!("name = \"orders\"\n[network]\nvpc = \"vpc-01234567\"\nsubnets = [{list}]\n[cluster]\n{cluster}\n")
    };
    let (old, new) = ("\"subnet-00000001\"", "\"subnet-00000002\", \"subnet-00000001\", \"subnet-00000003\"");
    let (_, _, errors) = compared(&subnets(old, ""), &subnets(new, "nodes = 3\ngrow_from = 1"), &[]);
    assert!(errors.contains("Node1Service (AWS::ECS::Service) would run elsewhere"), "{errors}");
}

/// What is changed in place passes, and what is added.
#[test]
fn what_loses_nothing_passes() {
    for (old, new, shown) in [
        ("", "", ""),
        ("", "data.throughput = \"bursting\"", "    ThroughputMode \"elastic\" → \"bursting\"\n"),
        ("", "credentials.kms_key = \"own\"", "added Key"),
        ("", "logs.kms_key = \"own\"", "updated Node1EventStoreLogs"),
        ("", "logs.retention_days = 60", "RetentionInDays 30 → 60"),
        ("", "[backup]\nenabled = true\nmode = \"online\"", "added BackupVault"),
        ("", "server.port = 2114", "replaced Node1Task"),
        ("", "server.log_volume = true", "added Node1LogsAccessPoint"),
        ("", "[cluster]\nnodes = 3\ngrow_from = 1", "added Node3Service"),
        ("[cluster]\nnodes = 3\ngrow_from = 1", "cluster.nodes = 3", "    DesiredCount 0 → 1\n"),
        ("", "data.retain = false", "    DeletionPolicy \"RetainExceptOnCreate\" → nothing\n"),
    ] {
        let (old, new) = (format!("name = \"orders\"\n{old}\n"), format!("name = \"orders\"\n{new}\n"));
        let (code, text, errors) = compared(&old, &new, &[]);
        assert_eq!(code, Some(0), "{new}{errors}");
        assert!(text.contains(shown), "{new}{text}");
        assert_eq!(errors.contains("nothing changes"), old == new, "{errors}");
    }
    let (_, _, errors) = compared("name = \"orders\"", "name = \"orders\"\ndata.retain = false", &[]);
    assert!(
        errors.contains("note: orders-StatefulResources: FileSystem (AWS::EFS::FileSystem) is no longer kept"),
        "{errors}"
    );
}

/// An import keeps CloudFormation from taking an export away, so the order is told.
#[test]
fn an_export_that_is_still_imported_is_told() {
    let (_, _, errors) = compared("name = \"a\"\nserver.log_volume = true", "name = \"a\"", &[]);
    let expected = "note: a-StatefulResources: CloudFormation does not change or take away the export \
                    a:Node1LogsAccessPointId while a-EventStore imports it";
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn a_directory_is_as_good_as_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let diff = |arguments: &[&str]| said(&infra(directory.path(), &[&["diff"], arguments].concat()));
    write("old.toml", "name = \"orders\"");
    write("new.toml", "name = \"orders\"\n[data]\nroot = \"/a\"\nthroughput = \"bursting\"\n");
    assert!(infra(directory.path(), &["synth", "--config", "old.toml"]).status.success());
    let (code, shown, errors) = diff(&["cdk.out", "new.toml"]);
    let of_configurations = diff(&["old.toml", "new.toml"]);
    assert_eq!((code, &shown), (Some(1), &of_configurations.1));
    assert!(errors.contains("because of data.root"), "the likely key is told: {errors}");
    assert_eq!(errors, of_configurations.2);
    assert_eq!(diff(&["cdk.out", "old.toml"]).0, Some(0));
    let expected = "orders-StatefulResources\n  \
        updated FileSystem (AWS::EFS::FileSystem)\n    \
        ThroughputMode \"elastic\" → \"bursting\"\n  \
        replaced Node1DataAccessPoint (AWS::EFS::AccessPoint)\n    \
        RootDirectory.Path \"/node-1/data\" → \"/a/node-1/data\" (replaces)\n";
    assert!(shown.starts_with(expected), "{shown}");

    let (code, shown, _) =
        diff(&["cdk.out", "new.toml", "--json", "--allow", "orders-StatefulResources/Node1DataAccessPoint"]);
    assert_eq!(code, Some(0));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["changes"][0]["properties"][0]["new"], "bursting");
    assert_eq!(shown["refused"], json!([]));

    let (code, _, errors) = diff(&["cdk.out", "old.toml", "--allow", "FileSystem"]);
    assert_eq!(code, Some(0));
    assert!(errors.contains("warning: --allow FileSystem: nothing of this name is refused"), "{errors}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("good.toml", "name = \"orders\"");
    write("bad.toml", "name = \"A\"\nport = 1\n");
    fs::create_dir_all(directory.path().join("foreign")).unwrap();
    fs::create_dir_all(directory.path().join("empty")).unwrap();
    let stack =
        r#"{"artifacts": {"A": {"type": "aws:cloudformation:stack", "properties": {"templateFile": "a.json"}}}}"#;
    write("foreign/manifest.json", stack);
    let (_, _, errors) = said(&infra(directory.path(), &["diff", "bad.toml", "missing.toml"]));
    assert!(
        errors.contains("bad.toml: name: `A`") && errors.contains("read `missing.toml`"),
        "both are told: {errors}"
    );
    for (other, code, message) in [
        ("missing.toml", 74, "could not read `missing.toml`"),
        ("bad.toml", 78, "bad.toml: name: `A`"),
        ("empty", 74, "could not read the assembly `empty`: could not read `empty/manifest.json`"),
        ("foreign", 74, "`foreign/manifest.json` is not of a cloud assembly of infra (the stack `A` has no tag"),
    ] {
        for arguments in [["diff", "good.toml", other], ["diff", other, "good.toml"]] {
            let (found, shown, errors) = said(&infra(directory.path(), &arguments));
            assert_eq!(found, Some(code), "{errors}");
            assert!(errors.contains(message), "{errors}");
            assert!(shown.is_empty(), "{shown}");
        }
    }
}
