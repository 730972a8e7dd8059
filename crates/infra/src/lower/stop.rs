//! A node stands still while its files are copied (production-review row 19): a state machine stops it, waits until its task
//! is gone, has AWS Backup copy, and starts it again whatever happened. Should the state machine itself die, a schedule that
//! knows nothing of it starts the node (docs/adr/0003).

use serde_json::{Map, Value, json};

use super::backup::{lifecycle, vault_name};
use super::service::Shared;
use super::{Statement, file_system_arn, roles, sub};
use crate::cfn::{LogicalId, Resource, Template};
use crate::exports::Export;
use crate::model::{Backup, BackupPause, LATE, STOP_DEADLINE};

/// Seconds between two looks at a task that ends, and at a job that runs. A day of the latter is less than half of the
/// 25 000 events that an execution may have (AWS, "Step Functions service quotas").
const LOOK_AT_TASK: u32 = 15;
const LOOK_AT_JOB: u32 = 60;
/// The logical id of the state machine.
pub(super) const MACHINE: &str = "BackupMachine";
/// Who begins it every day.
const SCHEDULER: &str = "scheduler.amazonaws.com";
/// Seconds for one call.
const CALL: u32 = 60;

pub(super) fn lower(template: &mut Template, shared: &Shared<'_>) {
    let (Some(backup), Some(pause)) = (&shared.deployment.config().backup, shared.deployment.backup_pause()) else {
        return;
    };
    let stop = Stop { shared, backup, pause, service: LogicalId::new(format!("Node{}Service", pause.node)) };
    let machine = stop.machine(template);
    stop.schedule(template, &machine);
    stop.fallback(template);
}

struct Stop<'a> {
    shared: &'a Shared<'a>,
    backup: &'a Backup,
    pause: BackupPause,
    service: LogicalId,
}

impl Stop<'_> {
    fn machine(&self, template: &mut Template) -> LogicalId {
        let deployment = self.shared.deployment;
        let role = self.machine_role(template).attribute("Arn");
        let vault = vault_name(deployment, &self.backup.vault);
        let properties = json!({
            "Definition": definition(self.backup, self.pause.minutes),
            "DefinitionSubstitutions": {
                "Cluster": self.shared.cluster.reference(),
                "Service": self.service.reference(),
                "Vault": vault,
                "FileSystem": file_system_arn(&deployment.import(&Export::FileSystemId)),
                "BackupRole": deployment.import(&Export::BackupRoleArn),
            },
            "RoleArn": role,
        });
        template.add(MACHINE, Resource::new("AWS::StepFunctions::StateMachine", properties))
    }

    fn machine_role(&self, template: &mut Template) -> LogicalId {
        let cluster = &self.shared.cluster;
        // Neither this service's tasks nor a look at a job can be named (Service Authorization Reference, ECS and AWS Backup).
        let reason = "the machine: which tasks the node has, before it is stopped and on their way out";
        let find = Statement::allow("FindTasks", &["ecs:ListTasks"], &json!("*"), reason).on_condition(
            "ArnEquals",
            "ecs:cluster",
            &cluster.attribute("Arn"),
        );
        let backup_role = self.shared.deployment.import(&Export::BackupRoleArn);
        let reason = "the machine: the job and the copy run with the role for backups";
        let pass = Statement::allow("PassBackupRole", &["iam:PassRole"], &backup_role, reason)
            .when("iam:PassedToService", &json!("backup.amazonaws.com"));
        let vault = vault_name(self.shared.deployment, &self.backup.vault);
        let vault =
            sub(format!("arn:${{AWS::Partition}}:backup:${{AWS::Region}}:${{AWS::AccountId}}:backup-vault:{vault}"));
        let mut statements = vec![
            Statement::allow(
                "StopAndStart",
                &["ecs:DescribeServices", "ecs:UpdateService"],
                &self.service.reference(),
                "the machine: the node is stopped, and started again whatever happened",
            ),
            find,
            Statement::allow(
                "LookAtTasks",
                &["ecs:DescribeTasks"],
                &self.shared.tasks(),
                "the machine: have the node's tasks ended; no copy is begun before",
            ),
            Statement::allow("BackUp", &["backup:StartBackupJob"], &vault, "the machine: the node is down"),
            Statement::allow(
                "LookAtJob",
                &["backup:DescribeBackupJob"],
                &json!("*"),
                "the machine: has the job ended; a job cannot be named in a policy",
            ),
            pass,
        ];
        if self.backup.copy_to.is_some() {
            let points = sub("arn:${AWS::Partition}:backup:${AWS::Region}:${AWS::AccountId}:recovery-point:*");
            let reason = "the machine: the job has ended, and backup.copy_to names another vault";
            statements.push(Statement::allow("Copy", &["backup:StartCopyJob"], &points, reason));
        }
        let trust = Statement::trust("states.amazonaws.com", "Step Functions runs the machine");
        self.role(template, "BackupMachineRole", "backs up a node that is stopped", &trust, &statements)
    }

    fn role(
        &self,
        template: &mut Template,
        id: &str,
        purpose: &str,
        trust: &Statement,
        statements: &[Statement],
    ) -> LogicalId {
        roles::role(self.shared, template, id, purpose, ("backup", trust), statements)
    }

    fn schedule(&self, template: &mut Template, machine: &LogicalId) {
        let reason = "EventBridge Scheduler: every day at backup.daily_at";
        let statements = [Statement::allow("Begin", &["states:StartExecution"], &machine.reference(), reason)];
        let purpose = "begins the daily backup";
        let trust = Statement::trust(SCHEDULER, "EventBridge Scheduler begins the machine");
        let role = self.role(template, "BackupScheduleRole", purpose, &trust, &statements);
        let node = self.pause.node;
        let properties = json!({
            "Description": format!("{}: node-{node} is stopped and backed up", self.shared.deployment.name()),
            "ScheduleExpression": self.pause.from.daily(),
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": machine.reference(),
                "RoleArn": role.attribute("Arn"),
                // Later it would meet the fallback, which starts the node in the middle of its backup.
                "RetryPolicy": {"MaximumEventAgeInSeconds": u32::from(LATE) * 60, "MaximumRetryAttempts": 10},
            },
        });
        template.add("BackupSchedule", Resource::new("AWS::Scheduler::Schedule", properties));
    }

    /// Every day, also when there was nothing to do: to want one task of a service that has one changes nothing.
    fn fallback(&self, template: &mut Template) {
        let reason = "EventBridge Scheduler: the node is started, should the machine have left it stopped";
        let statements = [Statement::allow("Start", &["ecs:UpdateService"], &self.service.reference(), reason)];
        let purpose = "starts a node that its backup has left stopped";
        let trust = Statement::trust(SCHEDULER, "EventBridge Scheduler starts the node, should nobody else have");
        let role = self.role(template, "BackupFallbackRole", purpose, &trust, &statements);
        let input = format!(
            r#"{{"Cluster":"${{{}}}","Service":"${{{}}}","DesiredCount":1}}"#,
            self.shared.cluster, self.service
        );
        let properties = json!({
            "Description":
                format!("{}: node-{} is started, should its backup have left it stopped", self.shared.deployment.name(), self.pause.node),
            "ScheduleExpression": self.pause.from.after(self.pause.minutes).daily(),
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                // EventBridge Scheduler User Guide, "Using universal targets".
                "Arn": sub("arn:${AWS::Partition}:scheduler:::aws-sdk:ecs:updateService"),
                "RoleArn": role.attribute("Arn"),
                "Input": sub(input),
                "RetryPolicy": {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 185},
            },
        });
        template.add("BackupFallback", Resource::new("AWS::Scheduler::Schedule", properties));
    }
}

/// Milliseconds since the execution began are less than these minutes.
fn within(minutes: u32) -> String {
    format!(
        "{{% $toMillis($states.context.State.EnteredTime) - $toMillis($states.context.Execution.StartTime) < {} %}}",
        u64::from(minutes) * 60_000
    )
}

/// A call of an AWS API. Whatever goes wrong for good, the node is started next.
fn call(name: &str, action: &str, arguments: &Value, assign: &Value, next: &str) -> (String, Value) {
    let mistake = format!("{{% '{name}: ' & $states.errorOutput.Error & ': ' & $states.errorOutput.Cause %}}");
    let state = json!({
        "Type": "Task",
        "Resource": sub(format!("arn:${{AWS::Partition}}:states:::aws-sdk:{action}")),
        "Arguments": arguments,
        "Assign": assign,
        "TimeoutSeconds": CALL,
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "BackoffRate": 2, "MaxAttempts": 4}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Assign": {"mistake": mistake}, "Next": "Start"}],
        "Next": next,
    });
    (name.to_owned(), state)
}

/// Goes one way if it is so, and otherwise the other.
fn choice(name: &str, condition: impl Into<String>, then: &str, otherwise: &str) -> (String, Value) {
    let choices = json!([{"Condition": condition.into(), "Next": then}]);
    (name.to_owned(), json!({"Type": "Choice", "Choices": choices, "Default": otherwise}))
}

fn wait(name: &str, seconds: u32, next: &str) -> (String, Value) {
    (name.to_owned(), json!({"Type": "Wait", "Seconds": seconds, "Next": next}))
}

fn give_up(name: &str, why: &str) -> (String, Value) {
    (name.to_owned(), json!({"Type": "Pass", "Assign": {"mistake": why}, "Next": "Start"}))
}

fn fail(name: &str, error: &str, cause: impl Into<String>) -> (String, Value) {
    (name.to_owned(), json!({"Type": "Fail", "Error": error, "Cause": cause.into()}))
}

/// In Amazon States Language with `JSONata`. Variables: `mistake`, empty if all went well; `job`, the id of the job.
fn definition(backup: &Backup, minutes: u32) -> Value {
    let mut states: Map<String, Value> = down().into_iter().chain(copied(backup)).collect();
    let mut start = call("Start", "ecs:updateService", &desired(1), &json!({"started": true}), "Judge").1;
    // Longer than for all others, and with nothing to fall back to but the schedule.
    start["Retry"] = json!([{
        "ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "BackoffRate": 2, "MaxAttempts": 10, "MaxDelaySeconds": 60,
    }]);
    let cause = "{% 'the node could not be started: ' & $states.errorOutput.Cause %}";
    start["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Assign": {"mistake": cause}, "Next": "Failed"}]);
    states.insert("Start".to_owned(), start);
    let after = if backup.copy_to.is_some() { "Copy" } else { "Done" };
    states.extend([
        choice("Judge", "{% $mistake = '' %}", after, "Failed"),
        fail("Failed", "BackupFailed", "{% $mistake %}"),
        ("Done".to_owned(), json!({"Type": "Succeed"})),
    ]);
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "FindTasks",
        "TimeoutSeconds": minutes * 60,
        "States": states,
    })
}

fn desired(count: u8) -> Value {
    json!({"Cluster": "${Cluster}", "Service": "${Service}", "DesiredCount": count})
}

/// Until no task of the service is left. ECS counts a task that is still ending as gone (amazon-ecs-agent#2486), and its
/// server still writes: so the tasks themselves are looked at, those from before and those that are on their way out.
fn down() -> [(String, Value); 11] {
    let tasks = |more: Value| {
        let mut arguments = json!({"Cluster": "${Cluster}"});
        if let (Some(arguments), Value::Object(more)) = (arguments.as_object_mut(), more) {
            arguments.extend(more);
        }
        arguments
    };
    [
        call(
            "FindTasks",
            "ecs:listTasks",
            &tasks(json!({"ServiceName": "${Service}"})),
            &json!({"mistake": "", "before": "{% [$states.result.TaskArns] %}"}),
            "Stop",
        ),
        call("Stop", "ecs:updateService", &desired(0), &json!({"left": 1}), "LookAtService"),
        call(
            "LookAtService",
            "ecs:describeServices",
            &tasks(json!({"Services": ["${Service}"]})),
            &json!({"left": "{% $sum($states.result.Services.(RunningCount + PendingCount)) %}"}),
            "IsServiceDown",
        ),
        choice("IsServiceDown", "{% $left = 0 %}", "FindEnding", "MayItTakeLonger"),
        call(
            "FindEnding",
            "ecs:listTasks",
            &tasks(json!({"ServiceName": "${Service}", "DesiredStatus": "STOPPED"})),
            // ECS describes a hundred tasks at once.
            &json!({"tasks": "{% [$distinct($append($before, $states.result.TaskArns))[[0..99]]] %}"}),
            "IsThereATask",
        ),
        choice("IsThereATask", "{% $count($tasks) > 0 %}", "LookAtTasks", "BackUp"),
        call(
            "LookAtTasks",
            "ecs:describeTasks",
            &tasks(json!({"Tasks": "{% $tasks %}"})),
            &json!({"left": "{% $count($states.result.Tasks[LastStatus != 'STOPPED']) %}"}),
            "AreTasksGone",
        ),
        choice("AreTasksGone", "{% $left = 0 %}", "BackUp", "MayItTakeLonger"),
        choice("MayItTakeLonger", within(u32::from(STOP_DEADLINE)), "WaitForEnd", "NotDown"),
        wait("WaitForEnd", LOOK_AT_TASK, "LookAtService"),
        give_up(
            "NotDown",
            "the node's task did not end in time, maybe because the cluster needs it for its majority: no backup was begun",
        ),
    ]
}

/// Until the job has ended.
fn copied(backup: &Backup) -> Vec<(String, Value)> {
    let ended = "{% $jobState in ['COMPLETED', 'FAILED', 'ABORTED', 'EXPIRED', 'PARTIAL'] %}";
    let mut states = vec![
        call(
            "BackUp",
            "backup:startBackupJob",
            &json!({
                "BackupVaultName": "${Vault}",
                "ResourceArn": "${FileSystem}",
                "IamRoleArn": "${BackupRole}",
                // Of two calls, because the reply to the first was lost, one job comes.
                "IdempotencyToken": "{% $states.context.Execution.Name %}",
                "StartWindowMinutes": backup.start_window,
                "CompleteWindowMinutes": backup.completion_window,
                "Lifecycle": lifecycle(backup),
            }),
            &json!({"job": "{% $states.result.BackupJobId %}"}),
            "WaitForJob",
        ),
        wait("WaitForJob", LOOK_AT_JOB, "LookAtJob"),
        call(
            "LookAtJob",
            "backup:describeBackupJob",
            &json!({"BackupJobId": "{% $job %}"}),
            &json!({
                "jobState": "{% $states.result.State %}",
                // What is not there yet may not be assigned.
                "recoveryPoint": "{% $exists($states.result.RecoveryPointArn) ? $states.result.RecoveryPointArn : '' %}",
                "mistake": "{% $states.result.State = 'COMPLETED' ? '' : 'the job ' & $job & ' is ' & $states.result.State & ' ' & \
                            $states.result.StatusMessage %}",
            }),
            "HasJobEnded",
        ),
        choice("HasJobEnded", ended, "Start", "MayJobTakeLonger"),
        choice(
            "MayJobTakeLonger",
            // AWS Backup gives up by itself before that.
            within(u32::from(backup.completion_window + STOP_DEADLINE) + 2),
            "WaitForJob",
            "JobTakesTooLong",
        ),
        give_up("JobTakesTooLong", "the job has not ended in its completion window: the recovery point may not open"),
    ];
    if let Some(copies) = &backup.copy_to {
        // After the node was started: copying needs it no more. Its own events tell how the copy ends.
        let (name, mut copy) = call(
            "Copy",
            "backup:startCopyJob",
            &json!({
                "RecoveryPointArn": "{% $recoveryPoint %}",
                "SourceBackupVaultName": "${Vault}",
                "DestinationBackupVaultArn": copies.as_str(),
                "IamRoleArn": "${BackupRole}",
                "IdempotencyToken": "{% $states.context.Execution.Name %}",
                "Lifecycle": lifecycle(backup),
            }),
            &json!({"copy": "{% $states.result.CopyJobId %}"}),
            "Done",
        );
        copy["Catch"][0]["Next"] = json!("Failed");
        states.push((name, copy));
    }
    states
}
