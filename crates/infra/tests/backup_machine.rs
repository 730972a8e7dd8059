//! The state machine that stops a node for its backup is run over a small model of ECS and AWS Backup, with every call failing in
//! every way. Whatever happens the node is wanted again at the end, and nothing is copied while a task of it is left.
//!
//! The few `JSONata` expressions are known here by their text, each with what it means: one that changes must be thought over.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::{only, template, text_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing happened.
    Before,
    /// It happened, and the reply was lost.
    After,
}

/// One node of a cluster, its backup, and seconds since the schedule.
struct World {
    now: u64,
    desired: u64,
    /// When the task that was told to end has ended; until then it writes.
    task: Task,
    takes_to_end: u64,
    job_takes: u64,
    job_ends_as: &'static str,
    job: Option<u64>,
    copied_while_written: bool,
    started_while_copied: bool,
    copies: u32,
    calls: Vec<String>,
    /// States that were entered.
    entered: u32,
    /// The number of a call, from 1, that goes wrong.
    fault: Option<(usize, Fault)>,
    /// An action that always goes wrong.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Runs,
    EndsAt(u64),
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            desired: 1,
            task: Task::Runs,
            takes_to_end: 40,
            job_takes: 1800,
            job_ends_as: "COMPLETED",
            job: None,
            copied_while_written: false,
            started_while_copied: false,
            copies: 0,
            calls: Vec::new(),
            entered: 0,
            fault: None,
            broken: None,
        }
    }

    fn is_written(&self) -> bool {
        match self.task {
            Task::Runs => true,
            Task::EndsAt(end) => self.now < end,
        }
    }

    fn call(&mut self, action: &str, arguments: &Value) -> Result<Value, ()> {
        self.calls.push(action.to_owned());
        self.now += 1;
        let fault = self.fault.filter(|(number, _)| *number == self.calls.len()).map(|(_, fault)| fault);
        if self.broken == Some(action) || fault == Some(Fault::Before) {
            return Err(());
        }
        let reply = self.act(action, arguments);
        if fault == Some(Fault::After) { Err(()) } else { Ok(reply) }
    }

    fn act(&mut self, action: &str, arguments: &Value) -> Value {
        match action {
            "ecs:updateService" => {
                self.desired = arguments["DesiredCount"].as_u64().unwrap();
                self.started_while_copied |= self.desired == 1 && self.job.is_some_and(|end| self.now < end);
                match (self.desired, self.task) {
                    (0, Task::Runs) => self.task = Task::EndsAt(self.now + self.takes_to_end),
                    (1, Task::EndsAt(_)) => self.task = Task::Runs,
                    _ => {}
                }
                json!({})
            }
            // A task that is still ending is counted as gone, and is not one of those that run.
            "ecs:describeServices" => {
                json!({"Services": [{"RunningCount": u8::from(self.task == Task::Runs), "PendingCount": 0}]})
            }
            "ecs:listTasks" => {
                let wants_ended = arguments["DesiredStatus"] == "STOPPED";
                let arns = if wants_ended == (self.task != Task::Runs) { json!(["task"]) } else { json!([]) };
                json!({"TaskArns": arns})
            }
            "ecs:describeTasks" => {
                let state = if self.is_written() { "DEPROVISIONING" } else { "STOPPED" };
                json!({"Tasks": [{"LastStatus": state}]})
            }
            "backup:startBackupJob" => {
                self.copied_while_written |= self.is_written();
                // With the same token there is one job.
                self.job.get_or_insert(self.now + self.job_takes);
                json!({"BackupJobId": "job"})
            }
            "backup:describeBackupJob" if self.now < self.job.unwrap() => json!({"State": "RUNNING"}),
            "backup:describeBackupJob" => {
                json!({"State": self.job_ends_as, "StatusMessage": "why", "RecoveryPointArn": "point"})
            }
            "backup:startCopyJob" => {
                assert_eq!(arguments["RecoveryPointArn"], "point");
                self.copies += 1;
                json!({"CopyJobId": "copy"})
            }
            other => panic!("nobody may call {other}"),
        }
    }
}

/// What an expression means. `result` is what a call gave; `elapsed` milliseconds since the start.
fn meaning(text: &str, variables: &BTreeMap<String, Value>, result: &Value, elapsed: u64) -> Value {
    let variable = |name: &str| variables.get(name).unwrap_or_else(|| panic!("{name} is not assigned for {text}"));
    match text {
        "[$states.result.TaskArns]" => result["TaskArns"].clone(),
        "[$distinct($append($before, $states.result.TaskArns))[[0..99]]]" => {
            let all = [variable("before"), &result["TaskArns"]].map(|arns| arns.as_array().unwrap().clone()).concat();
            all.first().map_or(json!([]), |arn| json!([arn]))
        }
        "$sum($states.result.Services.(RunningCount + PendingCount))" => result["Services"][0]["RunningCount"].clone(),
        "$count($states.result.Tasks[LastStatus != 'STOPPED'])" => {
            let left = result["Tasks"].as_array().unwrap().iter().filter(|task| task["LastStatus"] != "STOPPED");
            json!(left.count())
        }
        "$left = 0" => json!(*variable("left") == 0),
        "$count($tasks) > 0" => json!(!variable("tasks").as_array().unwrap().is_empty()),
        "$states.result.BackupJobId" => result["BackupJobId"].clone(),
        "$states.result.CopyJobId" => result["CopyJobId"].clone(),
        "$states.result.State" => result["State"].clone(),
        "$states.context.Execution.Name" => json!("execution"),
        "$exists($states.result.RecoveryPointArn) ? $states.result.RecoveryPointArn : ''" => {
            result["RecoveryPointArn"].as_str().unwrap_or_default().into()
        }
        "$jobState in ['COMPLETED', 'FAILED', 'ABORTED', 'EXPIRED', 'PARTIAL']" => {
            json!(*variable("jobState") != "RUNNING")
        }
        "$mistake = ''" => json!(*variable("mistake") == ""),
        "$tasks" | "$job" | "$mistake" | "$recoveryPoint" => variable(&text[1..]).clone(),
        text if text.starts_with("$states.result.State = 'COMPLETED' ? '' : ") => {
            json!(if result["State"] == "COMPLETED" { "" } else { "the job" })
        }
        text if text.starts_with('\'') && text.contains("$states.errorOutput.Cause") => json!(text),
        text => {
            let since =
                "$toMillis($states.context.State.EnteredTime) - $toMillis($states.context.Execution.StartTime) < ";
            let limit = text.strip_prefix(since).unwrap_or_else(|| panic!("nobody has thought over {text}"));
            json!(elapsed < limit.parse::<u64>().unwrap())
        }
    }
}

/// A value with what its expressions mean.
fn evaluated(value: &Value, variables: &BTreeMap<String, Value>, result: &Value, elapsed: u64) -> Value {
    match value {
        Value::Object(members) => {
            let members =
                members.iter().map(|(key, value)| (key.clone(), evaluated(value, variables, result, elapsed)));
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(|item| evaluated(item, variables, result, elapsed)).collect(),
        Value::String(text) => match text.strip_prefix("{% ").and_then(|text| text.strip_suffix(" %}")) {
            Some(expression) => meaning(expression, variables, result, elapsed),
            None => value.clone(),
        },
        other => other.clone(),
    }
}

/// Runs an execution to its end; true if it succeeded.
fn run(machine: &Value, world: &mut World) -> bool {
    let mut variables = BTreeMap::new();
    let mut name = machine["StartAt"].as_str().unwrap().to_owned();
    loop {
        assert!(world.now < machine["TimeoutSeconds"].as_u64().unwrap(), "the execution times out in {name}");
        world.entered += 1;
        let state = &machine["States"][&name];
        let value = |value: &Value, variables: &BTreeMap<String, Value>, result: &Value, now: u64| {
            evaluated(value, variables, result, now * 1000)
        };
        let assign = |variables: &mut BTreeMap<String, Value>, assign: &Value, result: &Value, now: u64| {
            let assigned = value(assign, variables, result, now);
            variables.extend(assigned.as_object().unwrap().clone());
        };
        let mut next = &state["Next"];
        match state["Type"].as_str().unwrap() {
            "Succeed" => return true,
            "Fail" => {
                assert!(
                    value(&state["Cause"], &variables, &Value::Null, world.now)
                        .as_str()
                        .is_some_and(|cause| !cause.is_empty())
                );
                return false;
            }
            "Wait" => world.now += state["Seconds"].as_u64().unwrap(),
            "Pass" => assign(&mut variables, &state["Assign"], &Value::Null, world.now),
            "Choice" => {
                let choice = &state["Choices"][0];
                let so = value(&choice["Condition"], &variables, &Value::Null, world.now) == true;
                next = if so { &choice["Next"] } else { &state["Default"] };
            }
            "Task" => {
                let action = state["Resource"]["Fn::Sub"].as_str().unwrap().rsplit_once("aws-sdk:").unwrap().1;
                let arguments = value(&state["Arguments"], &variables, &Value::Null, world.now);
                let mut reply = world.call(action, &arguments);
                for retry in 0..state["Retry"][0]["MaxAttempts"].as_u64().unwrap() {
                    if reply.is_ok() {
                        break;
                    }
                    let pause = state["Retry"][0]["IntervalSeconds"].as_u64().unwrap() << retry;
                    world.now += pause.min(state["Retry"][0]["MaxDelaySeconds"].as_u64().unwrap_or(u64::MAX));
                    reply = world.call(action, &arguments);
                }
                if let Ok(reply) = reply {
                    assign(&mut variables, &state["Assign"], &reply, world.now);
                } else {
                    let caught = &state["Catch"][0];
                    assign(&mut variables, &caught["Assign"], &Value::Null, world.now);
                    next = &caught["Next"];
                }
            }
            other => panic!("{name} is of type {other}"),
        }
        name = next.as_str().unwrap().to_owned();
    }
}

/// Of the cluster that nothing is said of, and of the single node with everything.
fn machines() -> [Value; 2] {
    ["backup-stop", "backup-everything"].map(|scenario| {
        let template = template(&text_of(scenario), "EventStore");
        only(&template, "AWS::StepFunctions::StateMachine")["Definition"].clone()
    })
}

#[track_caller]
fn started_again(world: &World, what: &str) {
    assert_eq!((world.desired, world.task), (1, Task::Runs), "{what}: the node is down");
    assert!(!world.copied_while_written, "{what}: a running node was copied");
}

#[test]
fn a_node_is_down_while_it_is_copied_and_no_longer() {
    for (machine, copies) in machines().iter().zip([0, 1]) {
        for takes_to_end in [0, 40, 119, 500] {
            let mut world = World { takes_to_end, ..World::new() };
            assert!(run(machine, &mut world), "{takes_to_end} s");
            started_again(&world, "all goes well");
            assert!(!world.started_while_copied);
            assert_eq!(world.copies, copies);
            assert!(world.now < takes_to_end + world.job_takes + 120, "{} s", world.now);
        }
    }
}

/// A cluster that needs the node protects its task; then there is no backup, and somebody hears of it.
#[test]
fn a_node_that_does_not_end_is_not_copied() {
    for machine in machines() {
        let mut world = World { takes_to_end: 3600, ..World::new() };
        assert!(!run(&machine, &mut world));
        started_again(&world, "protected");
        assert!(world.job.is_none(), "no job was begun");
    }
}

#[test]
fn a_job_that_fails_or_never_ends_fails_the_execution_and_the_node_comes_back() {
    for machine in machines() {
        for job_ends_as in ["FAILED", "ABORTED", "EXPIRED", "PARTIAL"] {
            let mut world = World { job_ends_as, ..World::new() };
            assert!(!run(&machine, &mut world), "{job_ends_as}");
            started_again(&world, job_ends_as);
            assert_eq!(world.copies, 0, "{job_ends_as}");
        }
        let mut world = World { job_takes: 1_000_000, ..World::new() };
        assert!(!run(&machine, &mut world));
        started_again(&world, "a job without end");
    }
}

#[test]
fn one_call_that_fails_or_whose_reply_is_lost_changes_nothing() {
    for machine in machines() {
        let mut undisturbed = World::new();
        assert!(run(&machine, &mut undisturbed));
        for number in 1..=undisturbed.calls.len() {
            for fault in [Fault::Before, Fault::After] {
                let mut world = World { fault: Some((number, fault)), ..World::new() };
                assert!(run(&machine, &mut world), "{fault:?} call {number}");
                started_again(&world, &format!("{fault:?} call {number}"));
                assert!(!world.started_while_copied, "{fault:?} call {number}");
            }
        }
    }
}

#[test]
fn whatever_always_fails_the_node_is_wanted_again() {
    for machine in machines() {
        for broken in [
            "ecs:listTasks",
            "ecs:describeServices",
            "ecs:describeTasks",
            "backup:startBackupJob",
            "backup:describeBackupJob",
        ] {
            let mut world = World { broken: Some(broken), ..World::new() };
            assert!(!run(&machine, &mut world), "{broken}");
            started_again(&world, broken);
        }
        // Then it was never stopped; or, should that begin later, the fallback is what is left.
        let mut world = World { broken: Some("ecs:updateService"), ..World::new() };
        assert!(!run(&machine, &mut world));
        started_again(&world, "nothing can be changed");
    }
}

/// Transitions are paid for.
#[test]
fn quantities_say_how_many_states_are_entered() {
    for (machine, scenario) in machines().iter().zip(["backup-stop", "backup-everything"]) {
        let config = support::golden(&format!("{scenario}/eventstore.toml"));
        for (stop, job) in [(1_u32, 1_u32), (2, 30), (5, 100)] {
            let mut world = World { takes_to_end: (stop * 60).into(), job_takes: (job * 60).into(), ..World::new() };
            assert!(run(machine, &mut world));
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_infra"))
                .env_clear()
                .args(["quantities", "--json", "--config", config.to_str().unwrap()])
                .args(["--assume", &format!("stop_minutes={stop}"), "--assume", &format!("backup_minutes={job}")])
                .output()
                .unwrap();
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            let all = told["quantities"].as_array().unwrap();
            let transitions = all.iter().find(|one| one["price_key"] == "step_functions.transitions_1000").unwrap();
            let month: f64 = transitions["amount"].as_str().unwrap().parse().unwrap();
            let day = month / 730.0 * 24.0;
            let (least, most) = (f64::from(world.entered), f64::from(world.entered) * 1.1 + 8.0);
            assert!((least..=most).contains(&day), "{scenario}: {day} of a day, and {least} were entered");
        }
    }
}
