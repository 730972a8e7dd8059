# Restores arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45
# of orders (1 node) on a file system of its own.
#
# Nothing of this was run. Read each step before you give it to a POSIX shell, one after the other in the same one, with the
# AWS CLI and the rights of who deploys. What is there already is not changed: the old deployment goes on until step 10.
# What was written to it after the backup is in the old one alone.
#
# Of all directories /eventstore/orders/node-1/data is restored: its node was stopped while it was copied
# (backup.mode = "stop"). Of a recovery point that was made online it may not open; then take another one.

# 1. Where things are. If the stacks of the old deployment are gone, put in the ids by hand.
# In another region or account they are those of what you made there; without a namespace leave out [discovery] below.
export AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1
exported() { aws cloudformation list-exports --query "Exports[?Name=='$1'].Value" --output text; }
file_system=$(exported orders:FileSystemId)
vpc=$(exported orders:VpcId)
subnets="$(exported orders:PublicSubnet1Id) $(exported orders:PublicSubnet2Id) $(exported orders:PublicSubnet3Id)"
cluster=$(exported orders:ClusterName)
namespace=$(exported orders:NamespaceId)
hosted_zone=$(aws servicediscovery get-namespace --id "$namespace" --output text \
  --query Namespace.Properties.DnsProperties.HostedZoneId)
key=$(exported orders:KeyArn)

# 2. A role with which AWS Backup may restore.
cat > trust.json <<'END'
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
  "Principal": {"Service": "backup.amazonaws.com"},
  "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}}]}
END
aws iam create-role --role-name orders-restored-backup --assume-role-policy-document file://trust.json
aws iam attach-role-policy --role-name orders-restored-backup \
  --policy-arn arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores

# 3. Restore that directory to a new file system, and wait for it: minutes to hours, by its size.
cat > restore.json <<END
{"file-system-id": "$file_system", "newFileSystem": "true", "CreationToken": "1EB3B5E7-9EB0-435A-A80B-108B488B0D45",
 "Encrypted": "true",
 "KmsKeyId": "$key", "PerformanceMode": "generalPurpose",
 "itemsToRestore": "[\"/eventstore/orders/node-1/data\"]"}
END
job=$(aws backup start-restore-job --resource-type EFS --idempotency-token 1EB3B5E7-9EB0-435A-A80B-108B488B0D45 \
  --recovery-point-arn arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45 \
  --iam-role-arn arn:aws:iam::123456789012:role/orders-restored-backup \
  --metadata file://restore.json --query RestoreJobId --output text)
job_is() { aws backup describe-restore-job --restore-job-id "$job" --query "$1" --output text; }
for minute in $(seq 1440); do
  status=$(job_is Status)
  case "$status" in COMPLETED|FAILED|ABORTED) break ;; esac
  sleep 60
done
echo "$status: $(job_is StatusMessage)"  # go on only if it is COMPLETED
restored=$(job_is CreatedResourceArn)
restored=${restored##*/}

# 4. Mount targets where the nodes will be, and the security group that infra opens to them.
group=$(aws ec2 create-security-group --group-name orders-restored-data --vpc-id "$vpc" \
  --description "Mount targets of a restored file system" --query GroupId --output text)
# For the task of the next step alone.
aws ec2 authorize-security-group-ingress --group-id "$group" --protocol tcp --port 2049 --source-group "$group"
for subnet in $subnets; do
  aws efs create-mount-target --file-system-id "$restored" --subnet-id "$subnet" --security-groups "$group"
done
targets() { aws efs describe-mount-targets --file-system-id "$restored" --output text \
  --query "length(MountTargets[?LifeCycleState!='available'])"; }
for attempt in $(seq 60); do [ "$(targets)" = 0 ] && break; sleep 10; done
# A restored file system has the throughput of a new one, which grows with the size; elastic is what infra gives.
aws efs update-file-system --file-system-id "$restored" --throughput-mode elastic

# 5. Put the directory in its place. AWS Backup restores to /aws-backup-restore_<time>/, which nobody knows before.
# A task that runs once and moves it on the same file system, which copies nothing. Run again, it finds its work done.
# It needs no lock of guard: the file system is new, and no service can have a task on it yet. The .guard.* files of the old
# node are restored with the rest; guard resets the recorded server versions when it prepares the directory.
cat > move.json <<END
{"family": "orders-restored-move", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
 "cpu": "256", "memory": "512",
 "volumes": [{"name": "data",
  "efsVolumeConfiguration": {"fileSystemId": "$restored", "transitEncryption": "ENABLED"}}],
 "containerDefinitions": [{"name": "move", "image": "public.ecr.aws/docker/library/busybox:1.37",
  "command": ["sh", "-c",
   "set -e; mkdir -p /efs/eventstore/orders/node-1; [ -d /efs/eventstore/orders/node-1/data ] || mv /efs/aws-backup-restore_*/eventstore/orders/node-1/data /efs/eventstore/orders/node-1/data; chown -R 1000:1000 /efs/eventstore/orders/node-1/data; ls /efs/eventstore/orders/node-1/data/chaser.chk"],
  "mountPoints": [{"sourceVolume": "data", "containerPath": "/efs"}]}]}
END
aws ecs register-task-definition --cli-input-json file://move.json --query taskDefinition.family
task=$(aws ecs run-task --cluster "$cluster" --launch-type FARGATE --task-definition orders-restored-move \
  --network-configuration "awsvpcConfiguration={subnets=[${subnets%% *}],securityGroups=[$group],assignPublicIp=ENABLED}" \
  --query 'tasks[0].taskArn' --output text)
aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$task"
# It must say 0. Anything else: the directory is not there, or the task did not start, and the reason is beside it.
aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --output text \
  --query 'tasks[0].[containers[0].exitCode, stoppedReason]'

# 6. Close the file system: so far whoever reaches a mount target may read it, and without TLS.
aws ec2 revoke-security-group-ingress --group-id "$group" --protocol tcp --port 2049 --source-group "$group"
cat > policy.json <<'END'
{"Version": "2012-10-17", "Statement": [
 {"Sid": "DenyWithoutTls", "Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "*",
  "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
 {"Sid": "DenyRoot", "Effect": "Deny", "Principal": {"AWS": "*"},
  "Action": "elasticfilesystem:ClientRootAccess"}]}
END
aws efs put-file-system-policy --file-system-id "$restored" --policy file://policy.json

# 7. The configuration: a copy of the old one, restored.toml, with these lines and sections instead of its own.
# server.line must be the version that ran when the recovery point was made: guard cannot tell from a restored directory.
# Leave out server.upgrade_from and server.upgrade_recovery_point.
# From [network] cidr, zones and egress go; from [data] what is for a new file system. Secrets are new ones, unless the file
# names them: bootstrap sets admin's password with the node's certificate, if none that is known opens the database.
cat <<END
name = "orders-restored"
namespace = "db.internal"

[network]
vpc = "$vpc"
subnets = [$(printf '"%s", ' $subnets | sed 's/, $//')]
public_ip = true

[discovery]
namespace_id = "$namespace"
hosted_zone_id = "$hosted_zone"

[data]
file_system = "$restored"
security_group = "$group"
root = "/eventstore/orders"
restored = "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45"
END

# 8. Deploy it.
infra synth --config restored.toml --out restored.out
cdk deploy --app restored.out --all

# 9. Look at it, and go on only when all of it is so.
# - The service of orders-restored-node-1 has one healthy task.
# - The log of its server's container begins with guard's line: "was restored from".
# - `bootstrap status` (docs/status.md) finds nothing wrong: passwords are proven, the node is registered.
# - A stream that you know ends with the event that you expect.
# Then take `restored` out of restored.toml and deploy once more:
# bootstrap may no longer set a password with a certificate. guard remembers that the directory was prepared.

# 10. Move the clients, then put the old deployment to rest.
# Their stacks import orders:…; let them import orders-restored:…, whose host is orders-restored.db.internal.
# The old stacks hold the network and the namespace that the new one is in: keep them, and let no node of them run. With
# backup.enabled = false in the old configuration, deployed first, or its backup starts a node again every day:
# Only these: services of others may run in the same ECS cluster.
moved=no  # yes, once no client uses the old one
if [ "$moved" = yes ]; then
  for id in Node1Service; do
    service=$(aws cloudformation describe-stack-resource --stack-name orders-EventStore --logical-resource-id "$id" \
      --query StackResourceDetail.PhysicalResourceId --output text)
    aws ecs update-service --cluster "$cluster" --service "$service" --desired-count 0
  done
fi
aws iam detach-role-policy --role-name orders-restored-backup \
  --policy-arn arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores
aws iam delete-role --role-name orders-restored-backup
