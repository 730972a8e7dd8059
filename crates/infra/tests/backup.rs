//! Backups, restored file systems and scavenges: what is said, what comes of it, what is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeSet;

use infra::{Config, ContainerName};
use serde_json::{Value, json};

use support::{of_type, only, template, text_of};

const CLUSTER: &str = "name = \"orders\"\ncluster.nodes = 3\n";

fn mistakes(text: &str) -> Vec<(String, String)> {
    let errors = Config::parse(text).unwrap_err();
    errors.0.into_iter().map(|mistake| (mistake.key, mistake.message)).collect()
}

fn keys(text: &str) -> Vec<String> {
    mistakes(text).into_iter().map(|(key, _)| key).collect()
}

fn warns(text: &str, key: &str) -> bool {
    support::deployment(text).warnings().iter().any(|warning| warning.key == key)
}

/// The states of the machine that stops a node.
fn machine(text: &str) -> Value {
    only(&template(text, "EventStore"), "AWS::StepFunctions::StateMachine")["Definition"].clone()
}

#[test]
fn a_cluster_is_backed_up_by_default_and_a_single_node_must_decide() {
    assert_eq!(of_type(&template(CLUSTER, "EventStore"), "AWS::StepFunctions::StateMachine").len(), 1);
    assert!(!warns(CLUSTER, "backup.enabled"));
    let single = "name = \"orders\"";
    let nothing = template(single, "StatefulResources").to_string();
    assert!(
        !nothing.contains("AWS::Backup::") && warns(single, "backup.enabled"),
        "nothing is backed up, and it says so"
    );
    assert!(warns(&format!("{CLUSTER}[backup]\nenabled = false"), "backup.enabled"));

    let [(key, message)] = mistakes("name = \"orders\"\n[backup]\nenabled = true").try_into().unwrap();
    assert_eq!(key, "backup.mode");
    for word in ["\"stop\"", "\"online\"", "away every day", "3 of 8"] {
        assert!(message.contains(word), "both choices, and what each costs: {message}");
    }
    for mode in ["stop", "online"] {
        let decided = format!("name = \"orders\"\n[backup]\nenabled = true\nmode = \"{mode}\"");
        assert!(warns(&decided, "backup.mode") && !warns(&decided, "backup.enabled"), "{mode}");
    }
    // AWS's own backups are asked for instead.
    let automatic = format!("{CLUSTER}[data]\nautomatic_backups = true\n");
    assert!(!template(&automatic, "StatefulResources").to_string().contains("AWS::Backup::"));
    assert!(!warns(&automatic, "backup.enabled"));
    assert_eq!(keys(&format!("{automatic}[backup]\nenabled = true")), ["data.automatic_backups"]);
}

/// A plan without a selection, or a machine that copies something else, would back up nothing (production-review row 18).
#[test]
fn whatever_the_mode_it_is_the_file_system_that_is_backed_up() {
    let online = format!("{CLUSTER}[backup]\nmode = \"online\"");
    let stateful = template(&online, "StatefulResources");
    let selection = &only(&stateful, "AWS::Backup::BackupSelection")["BackupSelection"];
    assert_eq!(selection["Resources"][0]["Fn::Sub"][1], json!({"Id": {"Ref": "FileSystem"}}));
    assert!(of_type(&template(&online, "EventStore"), "AWS::StepFunctions::StateMachine").is_empty());

    let stateful = template(CLUSTER, "StatefulResources");
    assert!(of_type(&stateful, "AWS::Backup::BackupPlan").is_empty(), "a second backup, of a running node");
    let service = template(CLUSTER, "EventStore");
    let given = &only(&service, "AWS::StepFunctions::StateMachine")["DefinitionSubstitutions"];
    assert_eq!(given["FileSystem"]["Fn::Sub"][1], json!({"Id": {"Fn::ImportValue": "orders:FileSystemId"}}));
    assert_eq!(given["BackupRole"], json!({"Fn::ImportValue": "orders:BackupRoleArn"}));
    assert_eq!(given["Vault"], "orders-backup");
    let job = &machine(CLUSTER)["States"]["BackUp"]["Arguments"];
    assert_eq!((&job["ResourceArn"], &job["Lifecycle"]), (&json!("${FileSystem}"), &json!({"DeleteAfterDays": 35})));
}

/// Where an execution can go from a state.
fn next(state: &Value) -> BTreeSet<String> {
    let choices = state["Choices"].as_array().into_iter().flatten();
    let catches = state["Catch"].as_array().into_iter().flatten();
    let ways = choices.chain(catches).map(|way| &way["Next"]).chain([&state["Next"], &state["Default"]]);
    ways.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What can be reached from a state without passing another.
fn reachable(states: &Value, from: &str, without: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([from.to_owned()]);
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for to in next(&states[&name]).into_iter().filter(|to| to != without) {
            assert!(states[&to].is_object(), "{name} leads to {to}, which is nothing");
            if found.insert(to.clone()) {
                open.push(to);
            }
        }
    }
    found
}

#[test]
fn a_stopped_node_is_started_again_whatever_happens() {
    for text in [CLUSTER.to_owned(), text_of("backup-everything")] {
        let machine = machine(&text);
        let states = &machine["States"];
        let ends = |found: &BTreeSet<String>| {
            let end = |name: &&String| matches!(states[*name]["Type"].as_str(), Some("Fail" | "Succeed"));
            found.iter().filter(end).cloned().collect::<Vec<_>>()
        };
        assert_eq!(ends(&reachable(states, "Stop", "Start")), [] as [&str; 0], "every way out leads past Start");
        assert_eq!(ends(&reachable(states, "Stop", "")), ["Done", "Failed"]);
        let all = reachable(states, machine["StartAt"].as_str().unwrap(), "");
        let known: BTreeSet<_> = states.as_object().unwrap().keys().cloned().collect();
        assert_eq!(all, known, "no state is left over");
        for (name, state) in states.as_object().unwrap().iter().filter(|(_, state)| state["Type"] == "Task") {
            assert_eq!(state["Catch"][0]["ErrorEquals"], json!(["States.ALL"]), "{name}");
            assert_eq!(state["TimeoutSeconds"], 60, "{name}");
        }
        assert_eq!(states["Stop"]["Arguments"]["DesiredCount"], 0);
        assert_eq!(states["Start"]["Arguments"]["DesiredCount"], 1);
    }
}

/// ECS counts a task that is still ending as gone, and its server still writes.
#[test]
fn nothing_is_copied_before_every_task_has_ended() {
    let machine = machine(CLUSTER);
    let states = &machine["States"];
    let into_backup: Vec<_> = states
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, state)| next(state).contains("BackUp"))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(into_backup, ["AreTasksGone", "IsThereATask"]);
    // What is asked, and where a no leads: to another look, never on.
    for (question, condition, yes, no) in [
        ("IsServiceDown", "{% $left = 0 %}", "FindEnding", "MayItTakeLonger"),
        ("IsThereATask", "{% $count($tasks) > 0 %}", "LookAtTasks", "BackUp"),
        ("AreTasksGone", "{% $left = 0 %}", "BackUp", "MayItTakeLonger"),
    ] {
        assert_eq!(states[question]["Choices"], json!([{"Condition": condition, "Next": yes}]), "{question}");
        assert_eq!(states[question]["Default"], no, "{question}");
    }
    let tasks = &states["FindEnding"]["Assign"]["tasks"];
    assert_eq!(tasks, "{% [$distinct($append($before, $states.result.TaskArns))[[0..99]]] %}");
    assert_eq!(states["FindEnding"]["Arguments"]["DesiredStatus"], "STOPPED", "those that are still ending");
    let left = &states["LookAtTasks"]["Assign"]["left"];
    assert_eq!(left, "{% $count($states.result.Tasks[LastStatus != 'STOPPED']) %}");
    let looked = reachable(states, "Stop", "LookAtService");
    assert!(!looked.contains("BackUp"), "the service is looked at first");
    // Every loop has an end.
    for (question, then) in [("MayItTakeLonger", "NotDown"), ("MayJobTakeLonger", "JobTakesTooLong")] {
        assert_eq!(states[question]["Default"], then);
        assert!(states[question]["Choices"][0]["Condition"].as_str().unwrap().contains("Execution.StartTime"));
    }
    let waits = states.as_object().unwrap().iter().filter(|(_, state)| state["Type"] == "Wait");
    for (wait, _) in waits {
        let question = if wait == "WaitForEnd" { "MayItTakeLonger" } else { "MayJobTakeLonger" };
        let mut without = states.clone();
        without[question] = json!({"Type": "Fail"});
        let again =
            next(&without[wait]).into_iter().flat_map(|to| reachable(&without, &to, "")).collect::<BTreeSet<_>>();
        assert!(!again.contains(wait), "{wait} comes again without asking {question}");
    }
}

#[test]
fn one_node_alone_is_ever_stopped_and_the_fallback_needs_no_machine() {
    let service = template(&text_of("backup-stop"), "EventStore");
    let schedules = of_type(&service, "AWS::Scheduler::Schedule");
    let [("BackupFallback", fallback), ("BackupSchedule", begins)] = schedules.as_slice() else {
        panic!("{schedules:?}")
    };
    let target = &fallback["Properties"]["Target"];
    assert_eq!(
        target["Input"],
        json!({"Fn::Sub": "{\"Cluster\":\"${Cluster}\",\"Service\":\"${Node3Service}\",\"DesiredCount\":1}"})
    );
    assert!(!fallback.to_string().contains("BackupMachine"), "it works when the machine does not");
    // 10 minutes to stop, 120 to copy and 10 of slack.
    assert_eq!(fallback["Properties"]["ScheduleExpression"], "cron(20 4 * * ? *)");
    assert_eq!(begins["Properties"]["ScheduleExpression"], "cron(0 2 * * ? *)");
    assert_eq!(begins["Properties"]["Target"]["Arn"], json!({"Ref": "BackupMachine"}));
    let machine = only(&service, "AWS::StepFunctions::StateMachine");
    assert_eq!(machine["DefinitionSubstitutions"]["Service"], json!({"Ref": "Node3Service"}));
    assert_eq!(machine["Definition"]["TimeoutSeconds"], 140 * 60);
    let rights =
        service["Resources"]["BackupMachineRole"].to_string() + &service["Resources"]["BackupFallbackRole"].to_string();
    assert!(!rights.contains("Node1Service") && !rights.contains("Node2Service"), "{rights}");

    // Over midnight.
    let single = template(&text_of("backup-everything"), "EventStore");
    let fallback = &single["Resources"]["BackupFallback"]["Properties"];
    assert_eq!(fallback["ScheduleExpression"], "cron(50 3 * * ? *)");
}

/// What the machine and the schedules call, and nothing else.
#[test]
fn roles_are_granted_what_is_called() {
    for (text, copies) in [(CLUSTER.to_owned(), false), (text_of("backup-everything"), true)] {
        let service = template(&text, "EventStore");
        let granted = |role: &str| -> BTreeSet<String> {
            let statements = &service["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
            let actions =
                statements.as_array().unwrap().iter().flat_map(|statement| statement["Action"].as_array().unwrap());
            actions.map(|action| action.as_str().unwrap().to_lowercase()).collect()
        };
        let states = &machine(&text)["States"];
        let resources = states.as_object().unwrap().values().filter_map(|state| state["Resource"]["Fn::Sub"].as_str());
        let mut called: BTreeSet<_> =
            resources.map(|resource| resource.rsplit_once("aws-sdk:").unwrap().1.to_lowercase()).collect();
        assert_eq!(called.contains("backup:startcopyjob"), copies);
        called.insert("iam:passrole".to_owned());
        assert_eq!(granted("BackupMachineRole"), called);
        assert_eq!(granted("BackupFallbackRole"), BTreeSet::from(["ecs:updateservice".to_owned()]));
        assert_eq!(granted("BackupScheduleRole"), BTreeSet::from(["states:startexecution".to_owned()]));
        for role in ["BackupMachineRole", "BackupFallbackRole", "BackupScheduleRole"] {
            let trusted = &service["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0];
            assert_eq!(trusted["Condition"]["StringEquals"]["aws:SourceAccount"], json!({"Ref": "AWS::AccountId"}));
        }
    }
}

#[test]
fn vault_lock_copies_and_replication_are_asked_for() {
    let everything = template(&text_of("backup-everything"), "StatefulResources");
    let vault = only(&everything, "AWS::Backup::BackupVault");
    assert_eq!(vault["LockConfiguration"], json!({"MinRetentionDays": 14}), "nobody is locked out for ever");
    let file_system = only(&everything, "AWS::EFS::FileSystem");
    assert_eq!(file_system["ReplicationConfiguration"], json!({"Destinations": [{"Region": "eu-central-1"}]}));
    let copies = "arn:aws:backup:eu-central-1:123456789012:backup-vault:orders-copies";
    let copy = machine(&text_of("backup-everything"))["States"]["Copy"].clone();
    assert_eq!(copy["Arguments"]["DestinationBackupVaultArn"], copies);
    assert_eq!(copy["Arguments"]["Lifecycle"], json!({"DeleteAfterDays": 90}));

    let online = format!("{CLUSTER}[backup]\nmode = \"online\"\ncopy_to = \"{copies}\"");
    let stateful = template(&online, "StatefulResources");
    let plan = &only(&stateful, "AWS::Backup::BackupPlan")["BackupPlan"];
    let expected = json!([{"DestinationBackupVaultArn": copies, "Lifecycle": {"DeleteAfterDays": 35}}]);
    assert_eq!(plan["BackupPlanRule"][0]["CopyActions"], expected);

    let refused = |backup: &str| keys(&format!("{CLUSTER}[backup]\n{backup}"));
    assert_eq!(refused("vault_lock_days = 36"), ["backup.vault_lock_days"], "no job would be taken");
    assert_eq!(refused("vault = \"Default\"\nvault_lock_days = 7"), ["backup.vault_lock_days"]);
    assert_eq!(refused("copy_to = \"orders-copies\""), ["backup.copy_to"]);
    assert_eq!(refused("completion_window_minutes = 1425"), ["backup.completion_window_minutes"]);
    assert!(Config::parse(&format!("{CLUSTER}[backup]\nmode = \"online\"\ncompletion_window_minutes = 1425")).is_ok());
    assert_eq!(
        refused("enabled = false\nmode = \"stop\"\ncopy_to = \"x\""),
        ["backup.copy_to", "backup.mode", "backup.copy_to"]
    );
    assert_eq!(keys(&format!("{CLUSTER}[data]\nreplicate_to = \"Frankfurt\"")), ["data.replicate_to"]);
}

/// The variables of a container of a node, by their names.
fn variable<'a>(service: &'a Value, node: usize, container: &str, name: &str) -> Option<&'a str> {
    let containers = &service["Resources"][format!("Node{node}Task")]["Properties"]["ContainerDefinitions"];
    let found = containers.as_array().unwrap().iter().find(|found| found["Name"] == container).unwrap();
    support::variable(found, name)
}

/// Two nodes with empty directories that found each other first would elect one of them, and the restored one would throw away
/// what they do not have.
#[test]
fn a_restored_cluster_begins_with_no_more_nodes_than_its_majority() {
    let text = text_of("restore");
    for (nodes, expected) in
        [(1, vec![1]), (3, vec![1, 0, 1]), (5, vec![1, 1, 0, 0, 1]), (7, vec![1, 1, 1, 0, 0, 0, 1])]
    {
        let text = text.replace("nodes = 3", &format!("nodes = {nodes}"));
        let service = template(&text, "EventStore");
        let count =
            |number: usize| service["Resources"][format!("Node{number}Service")]["Properties"]["DesiredCount"].clone();
        assert_eq!((1..=nodes).map(count).collect::<Vec<_>>(), expected, "{nodes} nodes");
        for node in 1..=nodes {
            let restored = variable(&service, node, "eventstore", "GUARD_RESTORED");
            assert_eq!(restored.is_some(), node == nodes, "only one directory was restored");
            assert_eq!(variable(&service, node, "bootstrap", "BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE"), Some("true"));
        }
        let without = text.lines().filter(|line| !line.starts_with("restored")).collect::<Vec<_>>().join("\n");
        let service = template(&without, "EventStore");
        for node in 1..=nodes {
            assert_eq!(service["Resources"][format!("Node{node}Service")]["Properties"]["DesiredCount"], 1);
            assert_eq!(variable(&service, node, "bootstrap", "BOOTSTRAP_RECOVER_WITH_NODE_CERTIFICATE"), None);
        }
    }
    assert!(warns(&text, "data.restored"));
}

/// For the same reason. Nothing stops a node for a backup meanwhile, by schedule or by hand: to end it a node would be started that
/// does not run yet.
#[test]
fn a_single_node_that_becomes_a_cluster_is_in_every_majority_of_what_runs() {
    for (nodes, expected) in [(3, vec![1, 1, 0]), (5, vec![1, 1, 1, 0, 0]), (7, vec![1, 1, 1, 1, 0, 0, 0])] {
        let text = format!("name = \"orders\"\n[cluster]\nnodes = {nodes}\n");
        let (grows, after) = (template(&format!("{text}grow_from = 1\n"), "EventStore"), template(&text, "EventStore"));
        let count = |template: &Value, number: usize| {
            template["Resources"][format!("Node{number}Service")]["Properties"]["DesiredCount"].clone()
        };
        assert_eq!((1..=nodes).map(|number| count(&grows, number)).collect::<Vec<_>>(), expected, "{nodes} nodes");
        assert!((1..=nodes).all(|number| count(&after, number) == 1));
        for id in ["BackupMachine", "BackupMachineAlarm", "BackupSchedule", "BackupFallback"] {
            assert!(grows["Resources"][id].is_null() && after["Resources"][id].is_object(), "{id}");
        }
    }
    let said = |text: &str| mistakes(&format!("name = \"orders\"\n{text}"));
    let [(key, message)] = said("cluster.grow_from = 1").try_into().unwrap();
    assert!(key == "cluster.grow_from" && message.contains("raise `nodes`"), "{message}");
    let restored = text_of("restore").replace("nodes = 3", "nodes = 3\ngrow_from = 1");
    assert_eq!(keys(&restored), ["cluster.grow_from"]);
    assert_eq!(keys("name = \"orders\"\n[cluster]\nnodes = 3\ngrow_from = 3"), ["cluster.grow_from"]);
    assert!(warns("name = \"orders\"\n[cluster]\nnodes = 3\ngrow_from = 1", "cluster.grow_from"));
}

#[test]
fn a_new_file_system_was_not_restored_from_anything() {
    let restored = "restored = \"arn:aws:backup:eu-west-1:123456789012:recovery-point:0A\"";
    let [(key, message)] = mistakes(&format!("{CLUSTER}[data]\n{restored}")).try_into().unwrap();
    assert_eq!(key, "data.restored");
    assert!(message.contains("`file_system`"), "{message}");
    let existing = "file_system = \"fs-01234567\"\nsecurity_group = \"sg-01234567\"";
    assert!(Config::parse(&format!("{CLUSTER}[data]\n{existing}\n{restored}")).is_ok());
    assert_eq!(keys(&format!("{CLUSTER}[data]\n{existing}\nrestored = \"yesterday\"")), ["data.restored"]);
}

/// A directory that AWS Backup restored to is one that the nodes' directories can be under.
#[test]
fn a_restored_directory_is_a_root() {
    let stateful = template(&text_of("restore"), "StatefulResources");
    let path = &stateful["Resources"]["Node3DataAccessPoint"]["Properties"]["RootDirectory"]["Path"];
    assert_eq!(path, "/aws-backup-restore_2026-11-26T02-31-07-123Z/node-3/data");
}

#[test]
fn a_scavenge_does_not_meet_the_backup_and_an_insecure_server_has_none() {
    let scavenge = |text: &str, scavenge: &str| keys(&format!("{text}[scavenge]\n{scavenge}"));
    let fine = |text: &str, scavenge: &str| Config::parse(&format!("{text}[scavenge]\n{scavenge}")).is_ok();
    // The node may be down from 02:00 to 04:20.
    assert_eq!(scavenge(CLUSTER, "at = \"Sun 03:00\""), ["scavenge.at"]);
    assert_eq!(scavenge(CLUSTER, "at = \"20:00\""), ["scavenge.at"], "for eight hours");
    assert!(fine(CLUSTER, "at = \"20:00\"\nwindow = \"6h\"") && fine(CLUSTER, "at = \"04:20\""));
    assert!(fine(&format!("{CLUSTER}[backup]\nmode = \"online\"\n"), "at = \"02:00\""), "nothing stops");
    assert_eq!(scavenge(CLUSTER, "at = \"Sunday\""), ["scavenge.at"]);
    assert_eq!(scavenge(CLUSTER, "at = \"05:00\"\nwindow = \"24h\""), ["scavenge.window"]);
    assert_eq!(scavenge(CLUSTER, "at = \"05:00\"\nwindow = \"8\""), ["scavenge.window"]);
    assert_eq!(scavenge(CLUSTER, "window = \"2h\""), ["scavenge.window"]);
    assert_eq!(scavenge("name = \"a\"\n[server]\ninsecure = true\n", "at = \"05:00\""), ["scavenge.at"]);
    assert!(
        Config::parse("name = \"a\"\n[server]\ninsecure = true\n[scavenge]\nwindow = \"8h\"").is_ok(),
        "the default says nothing"
    );
}

/// bootstrap's parser and ours are of one opinion; what theirs is told is in `programs.rs`.
#[test]
fn what_is_said_of_scavenges_reaches_bootstrap() {
    let deployment = support::deployment(&text_of("backup-stop"));
    for node in deployment.nodes() {
        let bootstrap =
            node.task().containers.iter().find(|container| container.name == ContainerName::Bootstrap).unwrap();
        for (name, expected) in [("BOOTSTRAP_SCAVENGE_AT", "Sun 05:00"), ("BOOTSTRAP_SCAVENGE_WINDOW", "20h")] {
            let (_, value) = bootstrap.variables().find(|(found, _)| *found == name).unwrap();
            assert_eq!(*value, infra::Value::Literal(expected.to_owned()));
        }
    }
}
