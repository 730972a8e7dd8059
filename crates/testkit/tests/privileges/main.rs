//! What certgen and bootstrap ask of AWS in all that they do, against what the roles of the templates grant: nothing that is
//! not granted is asked for, and nothing is granted that nobody asks for.
//!
//! The deployments are of each kind, the templates those that are deployed, and the programs the real ones. What others ask for
//! in the name of a task, or ECS itself, no call can show here; `infra::privileges` tells who that is.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod document;
mod policy;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra::{Grant, Role};
use testkit::aws::{Asked, Aws};
use testkit::programs::Programs;

use self::document::{AUTHORITY, OPERATORS, OfOperator, SERVICE, USERS};
use self::policy::{Statement, statements};
use self::scene::{Scene, Shown, deployment};

/// Secured, with everything that a single node can have.
const SINGLE: &str = r#"
name = "es"
[credentials]
kms_key = "own"
rotate_every = "30d"
[[users]]
login = "orders"
"#;
const CLUSTER: &str = "name = \"es\"\ncluster.nodes = 3\n";
const REPLICAS: &str = "name = \"es\"\n[cluster]\nnodes = 3\nread_only_replicas = 1\n";
const INSECURE: &str = "name = \"es\"\nserver.insecure = true\n";
const INSECURE_CLUSTER: &str = "name = \"es\"\nserver.insecure = true\ncluster.nodes = 3\n";

/// A time of day that has just been.
fn just_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 60;
    format!("{:02}:{:02}", now / 3600 % 24, now / 60 % 60)
}

/// One node with passwords: what happens to credentials, certificates and the authority.
async fn single(programs: &Programs) -> Shown {
    let (deployment, aws, root) = (deployment(SINGLE), Aws::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut scene = Scene::set(&deployment, &aws, programs, root.path(), Some(&just_now())).await;
    // The authority is made, passwords are taken over, the user of an application is created.
    scene.start_all().await;
    // What the init container issued is due.
    scene.until_printed("the server serves the new certificate").await;
    scene.until_printed("the server scavenges").await;

    let secrets = ["admin", "ops", "orders"].map(|login| deployment.secret_name(login));
    let authority = deployment.ca_secret_name().unwrap();
    let service = scene.cluster.deployed().client_service().to_owned();
    let users = format!(r#"[{{"login":"orders","secret":"{}","groups":[],"alternate":"orders-b"}}]"#, secrets[2]);
    let of_authority =
        ["--secret", &authority, "--service", &service, "--nodes=1", "--user-secrets", &secrets.join(",")];
    let of_users = ["--admin-secret", &secrets[0], "--ops-secret", &secrets[1], "--users", &users];
    let (certgen, bootstrap) = (programs.certgen(), programs.bootstrap());

    let first = scene.current(&authority);
    scene.operate("certgen ca rotate", &certgen, &[&["ca", "rotate"][..], &of_authority].concat()).await;
    scene.settle().await;
    assert_ne!(scene.current(&authority), first, "there is another authority");
    scene.operate("certgen ca status", &certgen, &[&["ca", "status"][..], &of_authority].concat()).await;

    let before = secrets.each_ref().map(|secret| scene.password(secret));
    scene.operate("bootstrap rotate", &bootstrap, &[&["rotate"][..], &of_users].concat()).await;
    scene
        .until("all have another password", |scene| {
            secrets.iter().zip(&before).all(|(secret, before)| scene.password(secret) != *before)
        })
        .await;
    scene.settle().await;
    let of_service = ["status", "--cloud-map-service", &service];
    scene.operate("bootstrap status", &bootstrap, &[&of_service[..], &of_users].concat()).await;

    // The schedule: all of them become older than they may.
    let before = secrets.each_ref().map(|secret| scene.password(secret));
    for secret in &secrets {
        aws.secrets(|all| all.age(secret, Duration::from_hours(31 * 24)));
    }
    scene
        .until("all have another password", |scene| {
            secrets.iter().zip(&before).all(|(secret, before)| scene.password(secret) != *before)
        })
        .await;
    scene.settle().await;

    // Somebody else begins a rotation and leaves it.
    aws.secrets(|all| all.begin_rotation(&secrets[1]));
    scene.settle().await;

    // Somebody replaces a secret, twice: the password that opens the database has no label any more.
    for password in ["first-from-outside-first-from-outside-01", "then-from-outside-then-from-outside-0002"] {
        aws.secrets(|all| all.put(&secrets[0], &format!(r#"{{"username":"admin","password":"{password}"}}"#)));
    }
    scene.until("the versions without a label are looked at", |scene| scene.was_asked("ListSecretVersionIds")).await;
    scene.settle().await;

    // Somebody removes the node's entry.
    aws.cloud_map(|cloud_map| cloud_map.deregister(&service, "node-1"));
    scene.settle().await;

    // The second start, beside an authority and passwords that are there.
    scene.stop("node-1").await;
    scene.until("the node is withdrawn", |scene| scene.registered().is_empty()).await;
    scene.start_all().await;
    scene.end().await
}

/// Three nodes, one of which is lost and comes back.
async fn cluster(programs: &Programs) -> Shown {
    let (deployment, aws, root) = (deployment(CLUSTER), Aws::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut scene = Scene::set(&deployment, &aws, programs, root.path(), None).await;
    scene.start_all().await;
    scene.lose("node-3").await;
    scene.settle().await;
    scene.until("the nodes that are left are protected", |scene| scene.protection_was_asked_for("node-1")).await;
    scene.start("node-3").await;
    scene.settle().await;
    scene.end().await
}

/// No certificates, no passwords: registration only.
async fn insecure(programs: &Programs) -> Shown {
    let (deployment, aws, root) = (deployment(INSECURE), Aws::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut scene = Scene::set(&deployment, &aws, programs, root.path(), None).await;
    scene.start_all().await;
    aws.cloud_map(|cloud_map| cloud_map.deregister(scene.cluster.deployed().client_service(), "node-1"));
    scene.settle().await;
    scene.end().await
}

/// What a read-only replica is granted in place of what the others are: held to what it asks for by a test of its own, because
/// its role is another one.
const OF_REPLICAS: &str = "LookAtCredentials";

/// Only the leader's sidecar changes a password, and a replica never leads: it looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_asks_for_what_it_is_granted_and_changes_nothing() {
    let programs = Programs::beside_this_test();
    let (deployment, aws, root) = (deployment(REPLICAS), Aws::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut scene = Scene::set(&deployment, &aws, &programs, root.path(), None).await;
    scene.start_all().await;
    let looks = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"];
    let has_looked = |scene: &Scene<'_>| {
        let (asked, role) = scene.replica();
        let grants = |one: &&Statement, asked: &Asked| one.sid == OF_REPLICAS && one.allows(asked);
        let used =
            |action| asked.iter().any(|asked| asked.action == action && role.iter().any(|one| grants(&one, asked)));
        looks.into_iter().all(used)
    };
    scene.until("the replica looks at the credentials", has_looked).await;
    let (asked, role) = scene.replica();
    for asked in asked {
        assert!(role.iter().any(|statement| statement.allows(&asked)), "a read-only replica: {asked:?} is not granted");
    }
    assert!(role.iter().all(|statement| statement.sid != "KeepCredentials" && statement.sid != "RegisterNode"));
    scene.end().await;
}

/// What is asked for and not granted by every node's role, in words.
fn not_granted(kind: &str, shown: &Shown) -> Vec<String> {
    let allows = |asked| shown.task_roles.iter().all(|role| role.iter().any(|statement| statement.allows(asked)));
    let refused = shown.tasks.iter().filter(|(_, asked)| !allows(asked));
    let words = refused.map(|(caller, Asked { action, resource, context })| {
        format!("{kind}: {caller} calls {action} on {resource} {context:?}, which infra's lower/privileges.rs does not grant")
    });
    words.collect()
}

/// Whose calls the harness sees.
const SEEN: [&str; 3] = ["certgen", "bootstrap", "agent"];

/// Those of them who are said to use a grant.
fn callers(grant: &Grant) -> BTreeSet<&'static str> {
    let said: Vec<_> = grant.caller.split(", ").collect();
    let is_said = |seen: &&str| said.contains(seen) || (*seen == "agent" && grant.caller == AGENT);
    SEEN.into_iter().filter(is_said).collect()
}

const AGENT: &str = "the ECS agent, asked by bootstrap";

/// By statement and action: who used it.
fn used(shown: &Shown) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut used: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (caller, asked) in &shown.tasks {
        for statement in shown.task_roles.iter().flatten().filter(|statement| statement.allows(asked)) {
            used.entry((statement.sid.as_str(), asked.action.as_str())).or_default().insert(caller.as_str());
        }
    }
    used
}

/// By statement and action.
fn granted(roles: &[Vec<Statement>]) -> BTreeSet<(&str, &str)> {
    let statements = roles.iter().flatten();
    statements.flat_map(|one| one.actions.iter().map(|action| (one.sid.as_str(), action.as_str()))).collect()
}

/// What the table of grants says of a role.
fn table(role: Role) -> BTreeMap<(&'static str, &'static str), &'static Grant> {
    let privileges = infra::privileges().iter().filter(|privilege| privilege.role == role);
    privileges.flat_map(|one| one.grants.iter().map(|grant| ((one.sid, grant.action), grant))).collect()
}

/// What a kind of deployment is granted and its scene need not show: another scene does, with the same code.
const SHOWN_ELSEWHERE: [(&str, &str); 1] = [("a cluster", "secretsmanager:ListSecretVersionIds")];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_programs_ask_for_is_granted_and_what_is_granted_is_asked_for() {
    let programs = Programs::beside_this_test();
    let (single, cluster, insecure) = tokio::join!(single(&programs), cluster(&programs), insecure(&programs));
    let kinds = [("a single node", single), ("a cluster", cluster), ("an insecure node", insecure)];

    let missing: Vec<_> = kinds.iter().flat_map(|(kind, shown)| not_granted(kind, shown)).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));

    let table_of_tasks = table(Role::Task);
    let mut users: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (kind, shown) in &kinds {
        let used = used(shown);
        for (sid, action) in granted(&shown.task_roles) {
            let by = used.get(&(sid, action)).cloned().unwrap_or_default();
            let grant = table_of_tasks[&(sid, action)];
            // Others ask in the name of the task, whom nobody sees here: the table tells who and when.
            let is_seen = !callers(grant).is_empty();
            if !SHOWN_ELSEWHERE.contains(&(kind, action)) {
                assert_eq!(!by.is_empty(), is_seen, "{kind}: {action} by {sid} was asked for by {by:?}: {grant:?}");
            }
            users.entry((sid, action)).or_default().extend(by);
        }
    }
    let told = table_of_tasks.iter().filter(|((sid, _), _)| *sid != OF_REPLICAS);
    let claimed: BTreeMap<_, _> = told.map(|(what, grant)| (*what, callers(grant))).collect();
    assert_eq!(
        users, claimed,
        "who asks for what, and what the table says; every statement of it is in one of the kinds"
    );

    // ECS asks with the execution role before a container runs.
    let all = kinds.iter().flat_map(|(_, shown)| granted(&shown.execution_roles)).collect::<BTreeSet<_>>();
    let table_of_execution = table(Role::Execution);
    assert_eq!(all, table_of_execution.keys().copied().collect());
    assert!(table_of_execution.values().all(|grant| callers(grant).is_empty()));

    let mut operators = BTreeSet::new();
    for (command, asked) in kinds.iter().flat_map(|(_, shown)| &shown.operators) {
        let of = if asked.resource.contains(":secret:es/ca-") {
            AUTHORITY
        } else if asked.resource == "*" {
            SERVICE
        } else {
            USERS
        };
        operators.insert((command.as_str(), asked.action.as_str(), of));
    }
    let is_usual = |needs: &&OfOperator| needs.rare.is_empty();
    let all: BTreeSet<_> = OPERATORS.iter().map(OfOperator::key).collect();
    let usual: BTreeSet<_> = OPERATORS.iter().filter(is_usual).map(OfOperator::key).collect();
    assert!(operators.is_subset(&all), "no command of operators asks for more: {:?}", operators.difference(&all));
    assert!(usual.is_subset(&operators), "nobody asks for {:?}", usual.difference(&operators));
}

/// The stand-in does not run insecure clusters; nothing is in their roles that is not in one of the others'.
#[test]
fn an_insecure_cluster_is_granted_no_more_than_an_insecure_node_and_protection() {
    let [node, cluster] = [INSECURE, INSECURE_CLUSTER].map(|text| {
        let template = scene::template(&deployment(text));
        statements(&template["Resources"]["Node1TaskRole"], &|name| format!("<{name}>"))
    });
    let (node, cluster) = ([node], [cluster]);
    let mut expected = granted(&node);
    expected.insert(("ProtectTask", "ecs:UpdateTaskProtection"));
    assert_eq!(granted(&cluster), expected);
}
