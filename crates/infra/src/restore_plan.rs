//! What a person does to restore a recovery point: commands, in order, with their reasons. Nothing of it is run here, and
//! CloudFormation could not do it: AWS Backup restores into a directory of its own making.
//!
//! The way that is printed never writes to the file system that was backed up, and leaves the deployment running that it is
//! of: a restored one is deployed beside it, in its network, under another name.

use std::fmt::Write as _;

use crate::exports::Export;
use crate::model::{DATA_UID, Data, Deployment, Discovery, Encryption, FileSystem, Vpc};
use crate::values::{ClusterSize, DeploymentName, RecoveryPointArn};

/// The commands that restore a recovery point, as the text of a shell script that is meant to be read.
///
/// `nodes` is how many the restored deployment has; not given, as many as this one. `backed_up` is how many there were when the
/// recovery point was made; not given, as many as now, and one while a single node becomes a cluster. The same arguments give
/// the same text; there is no secret in it.
pub(crate) fn restore_plan(
    deployment: &Deployment,
    recovery_point: &RecoveryPointArn,
    nodes: Option<ClusterSize>,
    backed_up: Option<ClusterSize>,
) -> String {
    let now = deployment.nodes().len();
    let nodes = nodes.map_or(now, ClusterSize::count);
    let before = if deployment.config().grows { 1 } else { now };
    let old_nodes = backed_up.map_or(before, ClusterSize::count);
    Plan { deployment, recovery_point, nodes, old_nodes, text: String::new(), steps: 0 }.write()
}

struct Plan<'a> {
    deployment: &'a Deployment,
    recovery_point: &'a RecoveryPointArn,
    /// How many the restored deployment has.
    nodes: usize,
    /// How many there were when the recovery point was made: the last of them was stopped.
    old_nodes: usize,
    text: String,
    steps: usize,
}

impl Plan<'_> {
    fn write(mut self) -> String {
        self.introduction();
        self.places();
        self.role();
        self.restore();
        self.mount_targets();
        self.put_in_place();
        self.close();
        self.configuration();
        self.deploy();
        self.afterwards();
        self.text
    }

    fn line(&mut self, line: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", line.as_ref());
    }

    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(line);
        }
    }

    fn step(&mut self, title: &str) {
        self.steps += 1;
        let number = self.steps;
        self.line(format!("\n# {number}. {title}"));
    }

    /// The parts of the recovery point's ARN: partition, region, account.
    fn origin(&self) -> [&str; 3] {
        let mut parts = self.recovery_point.as_str().split(':');
        [1, 1, 0].map(|skip| parts.nth(skip).unwrap_or_default())
    }

    fn name(&self) -> &str {
        self.deployment.name().as_str()
    }

    /// What the restored deployment is called.
    fn new_name(&self) -> String {
        let name = format!("{}-restored", self.name());
        DeploymentName::parse(&name).map_or_else(|_| "restored".to_owned(), |name| name.to_string())
    }

    /// The directory that is restored, from the root of the file system: the one of the node that was stopped.
    fn directory(&self) -> String {
        self.directory_of(self.old_nodes)
    }

    /// Where it is put: the last of the nodes begins with it.
    fn place(&self) -> String {
        self.directory_of(self.nodes)
    }

    fn directory_of(&self, node: usize) -> String {
        self.data().root.join(&format!("node-{node}/data"))
    }

    fn data(&self) -> &Data {
        &self.deployment.config().data
    }

    fn export(&self, export: &Export) -> String {
        format!("$(exported {})", export.name(self.deployment.name()))
    }

    fn introduction(&mut self) {
        let (name, nodes, point) = (self.name(), self.old_nodes, self.recovery_point);
        let title = format!("# Restores {point}\n# of {name} ({nodes} node{})", if nodes == 1 { "" } else { "s" });
        let directory = self.directory();
        self.line(title + " on a file system of its own.");
        self.line("#");
        self.lines(&[
            "# Nothing of this was run. Read each step before you give it to a POSIX shell, one after the other in the same one, with the",
            "# AWS CLI and the rights of who deploys. What is there already is not changed: the old deployment goes on until step 10.",
            "# What was written to it after the backup is in the old one alone.",
            "#",
        ]);
        self.line(format!("# Of all directories {directory} is restored: its node was stopped while it was copied"));
        self.line("# (backup.mode = \"stop\"). Of a recovery point that was made online it may not open; then take another one.");
        if self.nodes > 1 {
            self.lines(&[
                "# The other nodes begin with empty directories and copy from it. Until they have, no more nodes run than a majority, so",
                "# that none of the empty ones can be elected without it.",
            ]);
        }
    }

    fn places(&mut self) {
        let [_, region, _] = self.origin();
        let region = format!("export AWS_REGION={region} AWS_DEFAULT_REGION={region}");
        self.step("Where things are. If the stacks of the old deployment are gone, put in the ids by hand.");
        self.line("# In another region or account they are those of what you made there; without a namespace leave out [discovery] below.");
        self.line(region);
        self.line(
            "exported() { aws cloudformation list-exports --query \"Exports[?Name=='$1'].Value\" --output text; }",
        );
        let config = self.deployment.config();
        let (vpc, subnets) = match &config.network.vpc {
            Vpc::New { .. } => {
                let public = config.network.public_ip();
                let of = |zone| if public { Export::PublicSubnetId(zone) } else { Export::PrivateSubnetId(zone) };
                let subnets: Vec<_> = (1..=config.network.subnets()).map(|zone| self.export(&of(zone))).collect();
                (self.export(&Export::VpcId), subnets)
            }
            Vpc::Existing { id, subnets, .. } => {
                (id.as_str().to_owned(), subnets.iter().map(|subnet| subnet.as_str().to_owned()).collect())
            }
        };
        let file_system = match &self.data().file_system {
            FileSystem::New(_) => self.export(&Export::FileSystemId),
            FileSystem::Existing { id, .. } => id.as_str().to_owned(),
        };
        let cluster = self.export(&Export::ClusterName);
        let (namespace, zone) = match &config.discovery {
            Discovery::New => (
                self.export(&Export::NamespaceId),
                "$(aws servicediscovery get-namespace --id \"$namespace\" --output text \\\n  \
                 --query Namespace.Properties.DnsProperties.HostedZoneId)"
                    .to_owned(),
            ),
            Discovery::Existing { namespace, hosted_zone } => {
                (namespace.as_str().to_owned(), hosted_zone.as_str().to_owned())
            }
        };
        self.line(format!("file_system={file_system}"));
        self.line(format!("vpc={vpc}"));
        self.line(format!("subnets=\"{}\"", subnets.join(" ")));
        self.line(format!("cluster={cluster}"));
        self.line(format!("namespace={namespace}"));
        self.line(format!("hosted_zone={zone}"));
        let key = match &self.data().file_system {
            FileSystem::New(new) => match &new.encryption {
                Encryption::Aws => None,
                Encryption::Own => Some(self.export(&Export::KeyArn)),
                Encryption::Existing(arn) => Some(arn.as_str().to_owned()),
            },
            FileSystem::Existing { .. } => None,
        };
        if let Some(key) = key {
            self.line(format!("key={key}"));
        }
    }

    /// Whether the file system is encrypted with a key that is not AWS's.
    fn has_key(&self) -> bool {
        matches!(&self.data().file_system, FileSystem::New(new) if new.encryption != Encryption::Aws)
    }

    fn role(&mut self) {
        let [partition, _, account] = self.origin().map(str::to_owned);
        let name = self.new_name();
        self.step("A role with which AWS Backup may restore.");
        self.line("cat > trust.json <<'END'");
        self.line(format!(
            "{{\"Version\": \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\",\n  \
             \"Principal\": {{\"Service\": \"backup.amazonaws.com\"}},\n  \
             \"Condition\": {{\"StringEquals\": {{\"aws:SourceAccount\": \"{account}\"}}}}}}]}}"
        ));
        self.line("END");
        self.line(format!(
            "aws iam create-role --role-name {name}-backup --assume-role-policy-document file://trust.json"
        ));
        self.line(format!(
            "aws iam attach-role-policy --role-name {name}-backup \\\n  \
             --policy-arn arn:{partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores"
        ));
    }

    fn restore(&mut self) {
        let [partition, _, account] = self.origin().map(str::to_owned);
        let (name, directory, point) = (self.new_name(), self.directory(), self.recovery_point);
        let key = if self.has_key() { "\n \"KmsKeyId\": \"$key\"," } else { "" };
        let token = point.as_str().rsplit(':').next().unwrap_or_default().to_owned();
        self.step("Restore that directory to a new file system, and wait for it: minutes to hours, by its size.");
        self.line("cat > restore.json <<END");
        self.line(format!(
            "{{\"file-system-id\": \"$file_system\", \"newFileSystem\": \"true\", \"CreationToken\": \"{token}\",\n \
             \"Encrypted\": \"true\",{key} \"PerformanceMode\": \"generalPurpose\",\n \
             \"itemsToRestore\": \"[\\\"{directory}\\\"]\"}}"
        ));
        self.line("END");
        self.line(format!(
            "job=$(aws backup start-restore-job --resource-type EFS --idempotency-token {token} \\\n  \
             --recovery-point-arn {point} \\\n  \
             --iam-role-arn arn:{partition}:iam::{account}:role/{name}-backup \\\n  \
             --metadata file://restore.json --query RestoreJobId --output text)"
        ));
        self.lines(&[
            "job_is() { aws backup describe-restore-job --restore-job-id \"$job\" --query \"$1\" --output text; }",
            "for minute in $(seq 1440); do",
            "  status=$(job_is Status)",
            "  case \"$status\" in COMPLETED|FAILED|ABORTED) break ;; esac",
            "  sleep 60",
            "done",
            "echo \"$status: $(job_is StatusMessage)\"  # go on only if it is COMPLETED",
            "restored=$(job_is CreatedResourceArn)",
            "restored=${restored##*/}",
        ]);
    }

    fn mount_targets(&mut self) {
        let name = self.new_name();
        self.step("Mount targets where the nodes will be, and the security group that infra opens to them.");
        self.line(format!(
            "group=$(aws ec2 create-security-group --group-name {name}-data --vpc-id \"$vpc\" \\\n  \
             --description \"Mount targets of a restored file system\" --query GroupId --output text)"
        ));
        self.lines(&[
            "# For the task of the next step alone.",
            "aws ec2 authorize-security-group-ingress --group-id \"$group\" --protocol tcp --port 2049 --source-group \"$group\"",
            "for subnet in $subnets; do",
            "  aws efs create-mount-target --file-system-id \"$restored\" --subnet-id \"$subnet\" --security-groups \"$group\"",
            "done",
            "targets() { aws efs describe-mount-targets --file-system-id \"$restored\" --output text \\",
            "  --query \"length(MountTargets[?LifeCycleState!='available'])\"; }",
            "for attempt in $(seq 60); do [ \"$(targets)\" = 0 ] && break; sleep 10; done",
            "# A restored file system has the throughput of a new one, which grows with the size; elastic is what infra gives.",
            "aws efs update-file-system --file-system-id \"$restored\" --throughput-mode elastic",
        ]);
    }

    fn put_in_place(&mut self) {
        let (name, directory, place) = (self.new_name(), self.directory(), self.place());
        let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        let public = if self.deployment.config().network.public_ip() { "ENABLED" } else { "DISABLED" };
        self.step("Put the directory in its place. AWS Backup restores to /aws-backup-restore_<time>/, which nobody knows before.");
        self.lines(&[
            "# A task that runs once and moves it on the same file system, which copies nothing. Run again, it finds its work done.",
            "# It needs no lock of guard: the file system is new, and no service can have a task on it yet. The .guard.* files of the old",
            "# node are restored with the rest; guard resets the recorded server versions when it prepares the directory.",
            "cat > move.json <<END",
        ]);
        let command = format!(
            "set -e; mkdir -p /efs{parent}; [ -d /efs{place} ] || mv /efs/aws-backup-restore_*{directory} /efs{place}; \
             chown -R {DATA_UID}:{DATA_UID} /efs{place}; ls /efs{place}/chaser.chk"
        );
        self.line(format!(
            "{{\"family\": \"{name}-move\", \"networkMode\": \"awsvpc\", \"requiresCompatibilities\": [\"FARGATE\"],\n \
             \"cpu\": \"256\", \"memory\": \"512\",\n \
             \"volumes\": [{{\"name\": \"data\",\n  \
             \"efsVolumeConfiguration\": {{\"fileSystemId\": \"$restored\", \"transitEncryption\": \"ENABLED\"}}}}],\n \
             \"containerDefinitions\": [{{\"name\": \"move\", \"image\": \"public.ecr.aws/docker/library/busybox:1.37\",\n  \
             \"command\": [\"sh\", \"-c\",\n   \"{command}\"],\n  \
             \"mountPoints\": [{{\"sourceVolume\": \"data\", \"containerPath\": \"/efs\"}}]}}]}}"
        ));
        self.lines(&[
            "END",
            "aws ecs register-task-definition --cli-input-json file://move.json --query taskDefinition.family",
        ]);
        self.line(format!(
            "task=$(aws ecs run-task --cluster \"$cluster\" --launch-type FARGATE --task-definition {name}-move \\\n  \
             --network-configuration \"awsvpcConfiguration={{subnets=[${{subnets%% *}}],securityGroups=[$group],\
             assignPublicIp={public}}}\" \\\n  --query 'tasks[0].taskArn' --output text)"
        ));
        self.lines(&[
            "aws ecs wait tasks-stopped --cluster \"$cluster\" --tasks \"$task\"",
            "# It must say 0. Anything else: the directory is not there, or the task did not start, and the reason is beside it.",
            "aws ecs describe-tasks --cluster \"$cluster\" --tasks \"$task\" --output text \\",
            "  --query 'tasks[0].[containers[0].exitCode, stoppedReason]'",
        ]);
    }

    fn close(&mut self) {
        self.step("Close the file system: so far whoever reaches a mount target may read it, and without TLS.");
        self.lines(&[
            "aws ec2 revoke-security-group-ingress --group-id \"$group\" --protocol tcp --port 2049 --source-group \"$group\"",
            "cat > policy.json <<'END'",
            "{\"Version\": \"2012-10-17\", \"Statement\": [",
            " {\"Sid\": \"DenyWithoutTls\", \"Effect\": \"Deny\", \"Principal\": {\"AWS\": \"*\"}, \"Action\": \"*\",",
            "  \"Condition\": {\"Bool\": {\"aws:SecureTransport\": \"false\"}}},",
            " {\"Sid\": \"DenyRoot\", \"Effect\": \"Deny\", \"Principal\": {\"AWS\": \"*\"},",
            "  \"Action\": \"elasticfilesystem:ClientRootAccess\"}]}",
            "END",
            "aws efs put-file-system-policy --file-system-id \"$restored\" --policy file://policy.json",
        ]);
    }

    fn configuration(&mut self) {
        let name = self.new_name();
        let (namespace, root) = (self.deployment.namespace().to_string(), self.data().root.join(""));
        let root = if root == "/" { root } else { root.trim_end_matches('/').to_owned() };
        let public = self.deployment.config().network.public_ip();
        let point = self.recovery_point;
        self.step("The configuration: a copy of the old one, restored.toml, with these lines and sections instead of its own.");
        self.lines(&[
            "# server.line must be the version that ran when the recovery point was made: guard cannot tell from a restored directory.",
            "# Leave out server.upgrade_from and server.upgrade_recovery_point.",
            "# From [network] cidr, zones and egress go; from [data] what is for a new file system. Secrets are new ones, unless the file",
            "# names them: bootstrap sets admin's password with the node's certificate, if none that is known opens the database.",
            "cat <<END",
        ]);
        self.line(format!("name = \"{name}\"\nnamespace = \"{namespace}\"\n\n[network]\nvpc = \"$vpc\""));
        self.line("subnets = [$(printf '\"%s\", ' $subnets | sed 's/, $//')]");
        if public {
            self.line("public_ip = true");
        }
        self.line("\n[discovery]\nnamespace_id = \"$namespace\"\nhosted_zone_id = \"$hosted_zone\"");
        self.line("\n[data]\nfile_system = \"$restored\"\nsecurity_group = \"$group\"");
        self.line(format!("root = \"{root}\"\nrestored = \"{point}\""));
        let config = self.deployment.config();
        if self.nodes != config.nodes.count() || config.grows {
            self.line(format!("\n[cluster]\nnodes = {}", self.nodes));
        }
        self.line("END");
    }

    fn deploy(&mut self) {
        let (name, nodes) = (self.new_name(), self.nodes);
        self.step("Deploy it.");
        self.lines(&["infra synth --config restored.toml --out restored.out", "cdk deploy --app restored.out --all"]);
        let majority = nodes / 2 + 1;
        let running: Vec<_> = (1..majority).chain([nodes]).map(|number| format!("{name}-node-{number}")).collect();
        self.step("Look at it, and go on only when all of it is so.");
        if nodes > 1 {
            self.line(format!(
                "# - The services of {} have one healthy task each; the others want none.",
                running.join(" and ")
            ));
            self.line(format!("# - node-{nodes} leads, or did first, and the others that run have caught up: the admin UI, or `bootstrap status`."));
        } else {
            self.line(format!("# - The service of {} has one healthy task.", running.join("")));
        }
        self.lines(&[
            "# - The log of its server's container begins with guard's line: \"was restored from\".",
            "# - `bootstrap status` (docs/status.md) finds nothing wrong: passwords are proven, the node is registered.",
            "# - A stream that you know ends with the event that you expect.",
            "# Then take `restored` out of restored.toml and deploy once more:",
        ]);
        if nodes > 1 {
            self.line("# the other nodes start, empty, and copy from a majority that has everything;");
        }
        self.line("# bootstrap may no longer set a password with a certificate. guard remembers that the directory was prepared.");
    }

    fn afterwards(&mut self) {
        let (old, new) = (self.name().to_owned(), self.new_name());
        self.step("Move the clients, then put the old deployment to rest.");
        self.line(format!(
            "# Their stacks import {old}:…; let them import {new}:…, whose host is {new}.{}.",
            self.deployment.namespace()
        ));
        self.lines(&[
            "# The old stacks hold the network and the namespace that the new one is in: keep them, and let no node of them run. With",
            "# backup.enabled = false in the old configuration, deployed first, or its backup starts a node again every day:",
        ]);
        let services: Vec<_> = self.deployment.members().map(|node| format!("{}Service", node.id())).collect();
        self.lines(&[
            "# Only these: services of others may run in the same ECS cluster.",
            "moved=no  # yes, once no client uses the old one",
            "if [ \"$moved\" = yes ]; then",
        ]);
        self.line(format!("  for id in {}; do", services.join(" ")));
        self.line(format!(
            "    service=$(aws cloudformation describe-stack-resource --stack-name {old}-EventStore --logical-resource-id \"$id\" \\\n      \
             --query StackResourceDetail.PhysicalResourceId --output text)\n    \
             aws ecs update-service --cluster \"$cluster\" --service \"$service\" --desired-count 0\n  done\nfi"
        ));
        self.line(format!(
            "aws iam detach-role-policy --role-name {new}-backup \\\n  --policy-arn arn:{}:iam::aws:policy/service-role/\
             AWSBackupServiceRolePolicyForRestores\naws iam delete-role --role-name {new}-backup",
            self.origin()[0]
        ));
    }
}
