//! Whatever a valid configuration says, the templates hold together: no reference leads nowhere, nothing depends on itself,
//! and every validator is content. The configurations are the same in every run.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use infra::diff::{Diff, Snapshot};
use infra::{Assembly, Config, Deployment};
use proptest::collection::vec;
use proptest::num::u8::ANY;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::Value;
use testkit::tool::{self, Tool};

use support::directory::{self, Directory};
use support::{of_type, tasks};

/// Decisions, taken one by one. Smaller bytes are earlier words, which are the defaults, so that what fails gets simple.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.0.next().copied().unwrap_or(0)) * all.len() / 256]
    }

    fn flag(&mut self) -> bool {
        self.of(&[false, true])
    }

    /// `key = value`, one time out of two.
    fn maybe(&mut self, text: &mut String, key: &str, values: &[&str]) {
        if self.flag() {
            let value = self.of(values);
            let _ = writeln!(text, "{key} = {value}");
        }
    }
}

const ARN: &str = "\"arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/a-AbCdEf\"";
const RECOVERY_POINT: &str = "\"arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7\"";
const KEYS: [&str; 3] =
    ["\"aws\"", "\"own\"", "\"arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef\""];
const ECR_IMAGE: &str = "\"123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:1\"";
const PREFIX_LIST: &str = "s3_prefix_list = \"pl-6da54004\"\n";
const FLAGS: [&str; 2] = ["false", "true"];

fn configuration(bytes: &[u8]) -> String {
    let mut choices = Choices(bytes.iter());
    let name = choices.of(&["a", "orders-2", "a23456789012345678901234567890zz"]);
    let mut text = format!("name = \"{name}\"\n");
    choices.maybe(&mut text, "namespace", &["\"db.internal\"", "\"prod.db.internal\""]);
    let nodes = choices.of(&[1, 1, 3, 5, 7]);
    let _ = writeln!(text, "[cluster]\nnodes = {nodes}");
    let grows = nodes > 1 && choices.of(&[false, false, true]);
    if grows {
        text.push_str("grow_from = 1\n");
    }
    if nodes > 1 {
        choices.maybe(&mut text, "read_only_replicas", &["0", "1", "8"]);
    }
    let insecure = choices.of(&[false, false, false, true]);
    let (reached, closed) = network(&mut choices, &mut text, nodes > 1);
    server(&mut choices, &mut text, insecure, reached);
    if !insecure {
        access(&mut choices, &mut text, nodes > 1);
    }
    if choices.flag() {
        text.push_str(
            "[discovery]\nnamespace_id = \"ns-0123456789abcdef\"\nhosted_zone_id = \"Z0123456789ABCDEFGHIJ\"\n",
        );
    }
    storage(&mut choices, &mut text, nodes > 1, grows);
    if !insecure && choices.flag() {
        // Away from the hours of every backup below.
        let at = choices.of(&["12:00", "Sun 12:00", "mon 12:00:30"]);
        let _ = writeln!(text, "[scavenge]\nat = \"{at}\"");
        choices.maybe(&mut text, "window", &["\"30m\"", "\"2h\""]);
    }
    let reads_secrets = containers(&mut choices, &mut text, closed);
    text.push_str("[logs]\n");
    choices.maybe(&mut text, "retention_days", &["1", "30", "3653"]);
    choices.maybe(&mut text, "kms_key", &KEYS);
    text.push_str("[deploy]\n");
    choices.maybe(&mut text, "platform_version", &["\"1.4.0\"", "\"LATEST\""]);
    choices.maybe(&mut text, "max_catch_up", &["\"3h\"", "\"90m\"", "\"24855d\""]);
    choices.maybe(&mut text, "update", &["\"node-by-node\"", "\"all-at-once\""]);
    if choices.flag() {
        let _ = writeln!(
            text,
            "execution_role = \"arn:aws:iam::123456789012:role/ecs-execution\"\nexecution_role_reads_secrets = {reads_secrets}"
        );
    }
    text.push_str("[tags]\n");
    choices.maybe(&mut text, "cost_centre", &["4711", "\"a b\"", "true"]);
    alarms(&mut choices, &mut text);
    text.push_str("[images]\n");
    let (ecr, cache) = (ECR_IMAGE, "\"123456789012.dkr.ecr.eu-west-1.amazonaws.com/quay/b:1\"");
    let images: &[&str] = if closed { &[ecr] } else { &["\"r/a:1\"", ecr, cache] };
    if closed {
        let _ = writeln!(text, "server = {ecr}");
    } else {
        choices.maybe(&mut text, "server", images);
    }
    for image in ["certgen", "bootstrap"] {
        choices.maybe(&mut text, image, images);
    }
    choices.maybe(&mut text, "pull_through", &["[]", "[\"quay\", \"mirror/vendor\"]"]);
    text
}

/// Whether others than the nodes reach the server, or its tasks have a public address; and whether HTTPS goes to endpoints alone.
fn network(choices: &mut Choices<'_>, text: &mut String, cluster: bool) -> (bool, bool) {
    text.push_str("[network]\n");
    let mut public = false;
    let closed = if choices.flag() {
        text.push_str("vpc = \"vpc-01234567\"\n");
        let most = choices.of(&[3, 4, 7]);
        let least = choices.of(&[3, 1]);
        let fewer = cluster && least < 3;
        let subnets: Vec<_> =
            (0..if least < 3 { least } else { most }).map(|n| format!("\"subnet-0123456{n}\"")).collect();
        let _ = writeln!(text, "subnets = [{}]\nallow_fewer_zones = {fewer}", subnets.join(", "));
        public = choices.flag();
        let _ = writeln!(text, "public_ip = {public}");
        let closed = !public && choices.flag();
        if closed {
            text.push_str("endpoint_security_group = \"sg-01234567\"\n");
        }
        closed
    } else {
        choices.maybe(text, "cidr", &["\"10.20.0.0/16\"", "\"192.168.4.0/24\"", "\"172.16.0.0/20\""]);
        if choices.flag() {
            let zones = choices.of(&[3, 2, 1]);
            let _ = writeln!(text, "zones = {zones}\nallow_fewer_zones = true");
        }
        let egress = choices.of(&["one-nat", "nat-per-zone", "public-ip", "endpoints"]);
        let _ = writeln!(text, "egress = \"{egress}\"");
        public |= egress == "public-ip";
        choices.maybe(text, "flow_logs", &["\"rejected\"", "\"all\"", "\"none\""]);
        if egress == "endpoints" {
            choices.maybe(text, "ecs_endpoints", &FLAGS);
        }
        egress == "endpoints"
    };
    if closed {
        text.push_str(PREFIX_LIST);
    }
    let admin = choices.flag();
    if admin {
        text.push_str("admin_cidr = \"198.51.100.0/24\"\n");
    }
    (public || admin, closed)
}

fn server(choices: &mut Choices<'_>, text: &mut String, insecure: bool, reached: bool) {
    let line = choices.of(&["24.10", "21.10", "22.10", "23.10", "25.0", "25.1", "26"]);
    let _ = writeln!(
        text,
        "[server]\nline = \"{line}\"\ninsecure = {insecure}\ninsecure_exposed = {}",
        insecure && reached
    );
    if choices.flag() {
        let from = choices.of(&["24.10", "21.10", "22.10", "23.10", "25.0", "25.1", "26"]);
        let _ = writeln!(text, "upgrade_from = \"{from}\"\nupgrade_recovery_point = {RECOVERY_POINT}");
    }
    choices.maybe(text, "port", &["2113", "1024", "65535"]);
    let (cpu, memory) = choices.of(&[(1024, 4096), (256, 2048), (8192, 61_440), (16_384, 122_880)]);
    let _ = writeln!(text, "cpu = {cpu}\nmemory = {memory}");
    choices.maybe(text, "uid", &["1000", "65534"]);
    choices.maybe(text, "log_volume", &FLAGS);
    if line >= "24.10" && choices.flag() {
        let _ = writeln!(text, "license_secret = {ARN}");
        choices.maybe(text, "license_json_key", &["\"key\""]);
        choices.maybe(text, "license_kms_key", &KEYS[2..]);
    }
    if line < "24.10" {
        choices.maybe(text, "external_tcp", &FLAGS);
    }
    text.push_str("[server.options]\n");
    choices.maybe(text, "RUN_PROJECTIONS", &["\"None\"", "\"All\""]);
    choices.maybe(text, "MAX_TRUNCATION", &["-1", "\"268435456\""]);
}

fn access(choices: &mut Choices<'_>, text: &mut String, cluster: bool) {
    text.push_str("[certificates]\n");
    match choices.of(&["secret", "existing", "files", "ephemeral"]) {
        "existing" => drop(writeln!(text, "ca_secret = {ARN}")),
        "files" => text.push_str("ca = \"files\"\nca_certificate = \"/ca/ca.crt\"\nca_key = \"/ca/ca.key\"\n"),
        "ephemeral" if !cluster => text.push_str("ca = \"ephemeral\"\n"),
        _ => {}
    }
    text.push_str("[credentials]\n");
    choices.maybe(text, "rotate_every", &["\"90d\"", "\"never\""]);
    choices.maybe(text, "recover_with_node_certificate", &FLAGS);
    choices.maybe(text, "admin_secret", &[ARN]);
    choices.maybe(text, "ops_secret", &[ARN]);
    choices.maybe(text, "kms_key", &KEYS);
    let users = choices.of(&[0, 1, 3]);
    for user in 0..users {
        let _ = writeln!(text, "[[users]]\nlogin = \"user.{user}\"");
        choices.maybe(text, "groups", &["[]", "[\"$ops\", \"orders\"]"]);
        choices.maybe(text, "alternate", &FLAGS);
        choices.maybe(text, "secret", &[ARN]);
    }
}

fn storage(choices: &mut Choices<'_>, text: &mut String, cluster: bool, grows: bool) {
    text.push_str("[data]\n");
    let mut automatic = false;
    if choices.flag() {
        text.push_str("file_system = \"fs-01234567\"\nsecurity_group = \"sg-01234567\"\n");
        let point = "\"arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45\"";
        if !grows {
            choices.maybe(text, "restored", &[point]);
        }
    } else {
        match choices.of(&["elastic", "bursting", "provisioned"]) {
            "provisioned" => text.push_str("throughput = \"provisioned\"\nprovisioned_mibps = 64\n"),
            other => drop(writeln!(text, "throughput = \"{other}\"")),
        }
        choices.maybe(text, "infrequent_access", &["\"never\"", "\"1d\"", "\"365d\""]);
        choices.maybe(text, "kms_key", &KEYS);
        choices.maybe(text, "name", &["\"Orders\""]);
        choices.maybe(text, "replicate_to", &["\"eu-central-1\"", "\"us-gov-west-1\""]);
        automatic = choices.flag();
        let _ = writeln!(text, "automatic_backups = {automatic}");
    }
    choices.maybe(text, "root", &["\"/\"", "\"/a/b\""]);
    choices.maybe(text, "retain", &["true", "false"]);
    let says = !automatic && choices.flag();
    if !says {
        return;
    }
    text.push_str("[backup]\n");
    if cluster {
        choices.maybe(text, "enabled", &["true"]);
        choices.maybe(text, "mode", &["\"stop\"", "\"online\""]);
    } else {
        let mode = choices.of(&["online", "stop"]);
        let _ = writeln!(text, "enabled = true\nmode = \"{mode}\"");
    }
    if choices.flag() {
        text.push_str("vault = \"Default\"\n");
    } else {
        choices.maybe(text, "kms_key", &KEYS);
        choices.maybe(text, "vault_lock_days", &["1", "35"]);
    }
    choices.maybe(text, "copy_to", &["\"arn:aws:backup:eu-central-1:123456789012:backup-vault:copies\""]);
    choices.maybe(text, "daily_at", &["\"02:00\"", "\"23:59\""]);
    choices.maybe(text, "completion_window_minutes", &["120", "480"]);
}

fn alarms(choices: &mut Choices<'_>, text: &mut String) {
    text.push_str("[alarms]\n");
    match choices.of(&["nobody", "topic", "emails", "off"]) {
        "topic" => text.push_str("topic = \"arn:aws:sns:eu-west-1:123456789012:operations\"\n"),
        "emails" => {
            text.push_str("emails = [\"a@example.com\", \"A@example.com\"]\n");
            choices.maybe(text, "kms_key", &KEYS[2..]);
        }
        "off" => text.push_str("enabled = false\n"),
        _ => {}
    }
    choices.maybe(text, "down_minutes", &["1", "1440"]);
    choices.maybe(text, "unregistered_minutes", &["5", "7", "1440"]);
    choices.maybe(text, "memory_percent", &["1", "100"]);
    choices.maybe(text, "certificate_days", &["1", "120"]);
    choices.maybe(text, "file_system_percent", &["1", "100"]);
}

/// Containers and volumes of the user's own, each waiting for one before it. Whether any of them has a secret.
fn containers(choices: &mut Choices<'_>, text: &mut String, closed: bool) -> bool {
    let volumes = choices.of(&[0, 0, 1, 8]);
    for number in 0..volumes {
        let _ = writeln!(text, "[[volumes]]\nname = \"v-{number}\"");
    }
    let on_efs = choices.of(&[false, false, true]);
    if on_efs {
        text.push_str(
            "[[volumes]]\nname = \"efs\"\nfile_system = \"fs-0123456789abcdef0\"\nsecurity_group = \"sg-01234567\"\n",
        );
        choices.maybe(text, "iam", &FLAGS);
        choices.maybe(text, "access_point", &["\"fsap-01234567\""]);
    }
    let mut secrets = false;
    let containers = choices.of(&[0, 0, 1, 3]);
    for number in 0..containers {
        let _ = writeln!(text, "[[containers]]\nname = \"agent{number}\"");
        let images: &[&str] = &["123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/agent:1", "r/agent:1"];
        let image = choices.of(if closed { &images[..1] } else { images });
        let _ = writeln!(text, "image = \"{image}\"");
        choices.maybe(text, "essential", &FLAGS);
        choices.maybe(text, "user", &["\"0\"", "\"4317:1\""]);
        choices.maybe(text, "command", &["[]", "[\"a\", \"a\"]"]);
        choices.maybe(text, "environment", &["{}", "{ LEVEL = \"$info\", PORT = 1 }"]);
        if choices.flag() {
            secrets = true;
            let _ = writeln!(text, "secrets = {{ TOKEN = {ARN} }}");
        }
        let volume = choices.of(&["run", "v-0", "efs"]);
        if volume == "run" || (volume == "v-0" && volumes > 0) || (volume == "efs" && on_efs) {
            let _ = writeln!(text, "mounts = [{{ volume = \"{volume}\", path = \"/m\", read_only = true }}]");
        }
        text.push_str("health_check = { command = [\"/check\"] }\n");
        let peer = if number == 0 { "bootstrap".to_owned() } else { format!("agent{}", number - 1) };
        let until = if number == 0 { "START" } else { choices.of(&["START", "HEALTHY"]) };
        let _ = writeln!(text, "depends_on = {{ {peer} = \"{until}\" }}");
        choices.maybe(text, "start_timeout", &["2", "120"]);
        choices.maybe(text, "stop_timeout", &["2", "120"]);
        choices.maybe(text, "read_only_root", &FLAGS);
        choices.maybe(text, "capabilities_add", &["[]", "[\"SYS_PTRACE\"]"]);
        choices.maybe(text, "cpu", &["2"]);
    }
    secrets
}

/// A fixed number of configurations, the same in every run; of those that fail the simplest is told.
fn configurations(count: u32, each: impl Fn(&str)) {
    let config = ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let found = runner.run(&vec(ANY, 192), |bytes| {
        each(&configuration(&bytes));
        Ok(())
    });
    if let Err(TestError::Fail(reason, bytes)) = &found {
        panic!("{reason}\n{}", configuration(bytes));
    }
    found.unwrap();
}

/// Names that AWS wants to be one in an account or in a namespace are in no template twice.
fn named_twice(template: &Value) -> Vec<String> {
    let named = [
        ("AWS::SecretsManager::Secret", "Name"),
        ("AWS::ServiceDiscovery::Service", "Name"),
        ("AWS::ECS::TaskDefinition", "Family"),
        ("AWS::Backup::BackupVault", "BackupVaultName"),
    ];
    let mut seen = BTreeSet::new();
    let all = named.iter().flat_map(|(kind, key)| {
        of_type(template, kind).into_iter().map(move |(_, resource)| format!("{kind} {}", resource["Properties"][*key]))
    });
    all.filter(|name| !seen.insert(name.clone())).collect()
}

#[test]
fn any_valid_configuration_gives_templates_that_hold_together() {
    let schema = jsonschema::validator_for(&infra::schema()).unwrap();
    let clusters = Cell::new(0);
    configurations(160, |text| {
        let config = Config::parse(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let instance = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        assert!(schema.is_valid(&instance), "{text}");
        let deployment = Deployment::new(config.clone());
        clusters.set(clusters.get() + u32::from(deployment.nodes().len() > 1));
        let assembly = Assembly::new(&deployment).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(Assembly::new(&Deployment::new(config)).unwrap(), assembly, "{text}");
        for (name, content) in assembly.files().filter(|(name, _)| name.ends_with(".template.json")) {
            let template: Value = serde_json::from_str(content).unwrap();
            assert_eq!(tasks::broken(&template), BTreeSet::new(), "{name} of\n{text}");
            assert_eq!(named_twice(&template), [] as [&str; 0], "{name} of\n{text}");
            let limits = [("Resources", 500), ("Outputs", 200)];
            for (part, most) in limits {
                assert!(
                    template[part].as_object().unwrap().len() <= most,
                    "CloudFormation takes {most} {part}\n{text}"
                );
            }
        }
    });
    assert!((40..120).contains(&clusters.get()), "both kinds are among them: {clusters:?}");
}

/// Ids that are taken and arrows to nowhere end the program.
#[test]
fn any_valid_configuration_can_be_drawn_and_explained() {
    configurations(48, |text| {
        let deployment = support::deployment(text);
        assert!(infra::diagram(&deployment).contains("consumers -->"), "{text}");
        for node in deployment.members() {
            let explained = infra::Explanation::new(&deployment, node, &infra::Stated::in_text(text)).to_string();
            assert!(explained.contains("EVENTSTORE_DB") || explained.contains("KURRENTDB_DB"), "{text}\n{explained}");
        }
    });
}

#[test]
fn nothing_is_allowed_without_a_reason() {
    configurations(48, |text| {
        let policies = infra::Policies::new(&support::deployment(text)).to_json();
        for entry in policies.as_array().unwrap() {
            assert!(!entry["reasons"].as_array().unwrap().is_empty(), "{entry} of\n{text}");
        }
    });
}

#[test]
fn any_valid_configuration_gives_an_assembly_that_the_cdk_understands() {
    configurations(48, |text| {
        let broken = directory::broken(&Directory::of(&support::assembly(text)));
        assert_eq!(broken, BTreeSet::new(), "{text}");
    });
}

/// Not all of them: it takes a second for each.
#[test]
fn cfn_lint_finds_nothing_in_any_of_them() {
    let Some(cfn_lint) = tool::find(Tool::CfnLint, "cfn_lint_finds_nothing_in_any_of_them") else { return };
    let directory = tempfile::tempdir().unwrap();
    let texts = RefCell::new(Vec::new());
    configurations(6, |text| texts.borrow_mut().push(text.to_owned()));
    let texts = texts.into_inner();
    let mut paths = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        for (stack, template) in ["StatefulResources", "EventStore"].iter().zip(support::templates(text)) {
            let path = directory.path().join(format!("{number}-{stack}.json"));
            fs::write(&path, template.to_string()).unwrap();
            paths.push(path);
        }
    }
    let output = Command::new(cfn_lint).arg("--").args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{}", texts.join("\n---\n"));
}

/// Properties that are no names of what is made: a service of AWS's, a zone, a bus that is there.
const NOT_OWN_NAMES: [&str; 3] = ["ServiceName", "AvailabilityZoneName", "EventBusName"];

/// Everything of a deployment that AWS wants to be one in an account and region: names of stacks, exports and resources, and
/// directories on a file system.
fn physical_names(assembly: &Assembly) -> BTreeSet<String> {
    let create_only: BTreeMap<_, _> = infra::diff::create_only().map(|(kind, paths, _)| (kind, paths)).collect();
    let mut names = BTreeSet::new();
    for (file, content) in assembly.files().filter(|(file, _)| file.ends_with(".template.json")) {
        names.insert(format!("stack {file}"));
        let template: Value = serde_json::from_str(content).unwrap();
        let outputs = template["Outputs"].as_object().unwrap().values();
        names.extend(outputs.map(|output| format!("export {}", output["Export"]["Name"])));
        for resource in template["Resources"].as_object().unwrap().values() {
            let (kind, properties) = (resource["Type"].as_str().unwrap(), &resource["Properties"]);
            let is_name =
                |path: &&&str| (path.ends_with("Name") || **path == "Family") && !NOT_OWN_NAMES.contains(*path);
            for path in create_only.get(kind).into_iter().flat_map(|paths| paths.iter().filter(is_name)) {
                // A reference names what the template names elsewhere.
                let value = &properties[*path];
                if value.is_string() || value["Fn::Sub"].is_string() {
                    names.insert(format!("{kind} {path} {value}"));
                }
            }
            if kind == "AWS::Backup::BackupPlan" {
                names.insert(format!("{kind} {}", properties["BackupPlan"]["BackupPlanName"]));
            }
            if kind == "AWS::EFS::AccessPoint" && properties["FileSystemId"].is_string() {
                names.insert(format!("{} {}", properties["FileSystemId"], properties["RootDirectory"]["Path"]));
            }
            if kind == "AWS::ServiceDiscovery::PrivateDnsNamespace" {
                // One in a VPC, not in the account.
                names.remove(&format!("{kind} Name {}", properties["Name"]));
                names.insert(format!("{kind} {} in {}", properties["Name"], properties["Vpc"]));
            }
        }
    }
    names
}

#[test]
fn two_deployments_have_no_name_in_common() {
    // The more alike, the sooner one is the beginning of the other.
    let longest = "a".repeat(32);
    let names = ["a", "a-b", "a-node", "b", "orders", "orders-2", "orders-node-1x", longest.as_str()];
    let texts = RefCell::new(Vec::new());
    configurations(64, |text| texts.borrow_mut().push(text.to_owned()));
    let texts = texts.into_inner();
    let with_name = |text: &str, name: &str| {
        let (_, rest) = text.split_once('\n').unwrap();
        support::deployment(&format!("name = \"{name}\"\n{rest}"))
    };
    let (mut apart, mut found) = (0, BTreeSet::new());
    for (index, pair) in texts.windows(2).enumerate() {
        let (one, two) = (names[index % names.len()], names[(index / names.len() + index + 1) % names.len()]);
        if one == two {
            continue;
        }
        let both = [with_name(&pair[0], one), with_name(&pair[1], two)];
        let [left, right] = [&both[0], &both[1]].map(|deployment| physical_names(&Assembly::new(deployment).unwrap()));
        assert!(left.len() > 10 && right.len() > 10, "{left:?}");
        let common: Vec<_> = left.intersection(&right).collect();
        let collisions = infra::collisions(&both);
        if collisions.is_empty() {
            assert!(common.is_empty(), "{common:?} of\n{}\n{}", pair[0], pair[1]);
            apart += 1;
        }
        // What AWS would refuse, or not see, is found beforehand.
        let directories = common.iter().any(|name| name.starts_with("\"fs-"));
        assert_eq!(directories, collisions.iter().any(|collision| collision.key == "data.root"), "{common:?}");
        found.extend(collisions.into_iter().map(|collision| collision.key));
    }
    assert!(apart >= 8, "too few of the pairs could stand beside each other: {apart}");
    assert!(found.contains("data.root"), "those that cannot stand beside each other are among them: {found:?}");
}

/// Two clusters in one VPC, one namespace and one file system, each in a directory of its own.
#[test]
fn two_deployments_share_what_is_there() {
    let first = support::text_of("existing");
    let second = first
        .replace("name = \"orders\"", "name = \"bills\"")
        .replace("/eventstore/orders", "/eventstore/bills")
        .replace("secret:shared/", "secret:bills/");
    let both = [support::deployment(&first), support::deployment(&second)];
    assert_eq!(infra::collisions(&both), []);
    let [one, two] = [&both[0], &both[1]].map(|deployment| physical_names(&Assembly::new(deployment).unwrap()));
    assert_eq!(one.intersection(&two).collect::<Vec<_>>(), [] as [&String; 0]);
    for directory in ["orders", "bills"] {
        let of_node = format!("\"fs-0123456789abcdef0\" \"/eventstore/{directory}/node-3/data\"");
        assert!(one.contains(&of_node) || two.contains(&of_node), "{one:?} {two:?}");
    }
}

/// Most characters of what is named after a deployment (AWS, the API references of the services).
const MOST_CHARACTERS: [(&str, &str, usize); 11] = [
    ("AWS::SecretsManager::Secret", "/Name", 512),
    ("AWS::ServiceDiscovery::Service", "/Name", 63),
    ("AWS::ECS::TaskDefinition", "/Family", 255),
    ("AWS::Backup::BackupVault", "/BackupVaultName", 50),
    ("AWS::Backup::BackupPlan", "/BackupPlan/BackupPlanName", 50),
    ("AWS::Backup::BackupSelection", "/BackupSelection/SelectionName", 50),
    ("AWS::CloudWatch::Alarm", "/AlarmName", 255),
    ("AWS::SNS::Topic", "/TopicName", 256),
    ("AWS::Scheduler::Schedule", "/Name", 64),
    ("AWS::Events::Rule", "/Name", 64),
    ("AWS::StepFunctions::StateMachine", "/StateMachineName", 80),
];

#[test]
fn the_longest_name_is_not_too_long_for_anything() {
    let longest = "a".repeat(32);
    configurations(48, |text| {
        let (_, rest) = text.split_once('\n').unwrap();
        let text = format!("name = \"{longest}\"\n{rest}");
        for stack in ["StatefulResources", "EventStore"] {
            assert!(format!("{longest}-{stack}").len() <= 128);
            let template = support::template(&text, stack);
            for output in template["Outputs"].as_object().unwrap().values() {
                assert!(output["Export"]["Name"].as_str().unwrap().len() <= 255);
            }
            for (kind, path, most) in MOST_CHARACTERS {
                for (id, resource) in of_type(&template, kind) {
                    let name = resource["Properties"].pointer(path).and_then(Value::as_str).unwrap_or_default();
                    assert!(name.len() <= most, "{id}: `{name}` is longer than {most}\n{text}");
                }
            }
        }
    });
}

/// What is compared with itself has not changed, and no comparison comes to nothing.
#[test]
fn any_two_configurations_can_be_compared() {
    let texts = RefCell::new(Vec::new());
    configurations(48, |text| texts.borrow_mut().push(text.to_owned()));
    let snapshots: Vec<_> = texts.into_inner().iter().map(|text| Snapshot::of(&support::assembly(text))).collect();
    for pair in snapshots.windows(2) {
        let same = Diff::between(&pair[0], &pair[0]);
        assert!(same.changes.is_empty() && same.refused.is_empty() && same.notes.is_empty(), "{same:?}");
        let diff = Diff::between(&pair[0], &pair[1]);
        assert_eq!(pair[0] == pair[1], diff.changes.is_empty());
        let again = Diff::between(&pair[0], &pair[1]);
        assert_eq!((diff.to_string(), diff.to_json()), (again.to_string(), again.to_json()));
    }
}
