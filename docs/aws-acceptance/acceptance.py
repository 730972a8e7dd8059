#!/usr/bin/env python3
"""Settles in a real AWS account what no other test of eventstore-fargate can: docs/aws-acceptance.md.

    python3 acceptance.py steps
    python3 acceptance.py run --assembly cdk.out --account 123456789012 --region eu-west-1 --i-understand-this-costs-money
    python3 acceptance.py clean --assembly cdk.out --account 123456789012 --region eu-west-1
    python3 acceptance.py rehearse --assembly cdk.out

It deploys an assembly of `infra synth`, asks AWS and the logs of the tasks, writes a report in JSON, and removes what it made.
Needs Python 3.9 and boto3. It never reads a secret's value.

Exit codes: 0 every step that was run is as expected, 1 one is not, 2 it was refused before anything was done.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import sys
import time
import traceback
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

TAG = "eventstore-fargate:acceptance"
POLL = 5
MINUTE = 60
# Of a template in a request.
MOST_BYTES = 51200
STEPS = []
NEW_RUN = uuid.uuid4().hex[:12]
# The steps that remove what a run made.
CLEANING = ["delete", "rest"]
CONTAINERS = ["certgen", "eventstore", "bootstrap"]


class Account:
    """AWS, or whatever AWS_ENDPOINT_URL names."""

    def __init__(self, region):
        self.session = boto3.Session(region_name=region)
        self.clients = {}
        self.calls = []
        self.is_real = True

    def client(self, service):
        if service not in self.clients:
            config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
            self.clients[service] = self.session.client(service, config=config)
        return self.clients[service]

    def call(self, service, operation, /, **parameters):
        client = self.client(service)
        self.calls.append(f"{service}.{client.meta.method_to_api_mapping[operation]}")
        return getattr(client, operation)(**parameters)


class Checked(Account):
    """Sends nothing: parameters are held against the service's model, and the answer has every member that it can have."""

    def __init__(self, region):
        super().__init__(region)
        self.session = boto3.Session(region_name=region, aws_access_key_id="none", aws_secret_access_key="none")
        self.is_real = False

    def call(self, service, operation, /, **parameters):
        client = self.client(service)
        name = client.meta.method_to_api_mapping[operation]
        model = client.meta.service_model.operation_model(name)
        report = ParamValidator().validate(parameters, model.input_shape)
        if report.has_errors():
            raise TypeError(f"{service}.{name}: {report.generate_report()}")
        self.calls.append(f"{service}.{name}")
        return answer(model.output_shape) if model.output_shape else {}


def answer(shape, inside=()):
    """Something of a shape's type; what repeats in itself ends."""
    if shape.name in inside:
        return None
    inside = (*inside, shape.name)
    kind = shape.type_name
    if kind == "structure":
        return {name: answer(member, inside) for name, member in shape.members.items()}
    if kind == "list":
        return [answer(shape.member, inside)]
    if kind == "map":
        return {answer(shape.key, inside): answer(shape.value, inside)}
    if kind == "timestamp":
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    if kind == "string":
        # Long enough for ids of AWS: what one service gives, another takes.
        return shape.enum[0] if shape.enum else "x" * min(32, shape.metadata.get("max", 32))
    return {"boolean": True, "blob": b""}.get(kind, 1)


class Context:
    """A deployment in an account."""

    def __init__(self, account, assembly, options):
        self.account = account
        self.assembly = assembly
        self.options = options
        self.resources = {}

    def call(self, service, operation, /, **parameters):
        return self.account.call(service, operation, **parameters)

    def until(self, what, look, within):
        """Asks until there is something; gives it and the seconds, or (None, None) when the time is over."""
        begun = time.monotonic()
        while True:
            found = look()
            seconds = round(time.monotonic() - begun, 1)
            if found or not self.account.is_real:
                return found, seconds
            if seconds >= within:
                say(f"    not within {within} s: {what}")
                return None, None
            time.sleep(POLL)

    def id(self, logical):
        """The physical id of a resource of either stack."""
        if not self.account.is_real:
            return "x" * 32
        if not self.resources:
            for stack in self.assembly.stacks:
                found = self.call("cloudformation", "describe_stack_resources", StackName=stack.name)
                for resource in found["StackResources"]:
                    self.resources[resource["LogicalResourceId"]] = resource.get("PhysicalResourceId")
        return self.resources[logical]

    def service(self, node):
        services = [self.id(f"Node{node}Service")]
        found = self.call("ecs", "describe_services", cluster=self.id("Cluster"), services=services)
        return found["services"][0]

    def tasks(self, node, status="RUNNING"):
        """Tasks of a node's definition, of its service or started by hand."""
        cluster, family = self.id("Cluster"), f"{self.assembly.name}-node-{node}"
        arns = self.call("ecs", "list_tasks", cluster=cluster, family=family, desiredStatus=status)["taskArns"]
        return self.describe(arns) if arns else []

    def describe(self, arns):
        return self.call("ecs", "describe_tasks", cluster=self.id("Cluster"), tasks=arns)["tasks"]

    def scale(self, node, count):
        where = {"cluster": self.id("Cluster"), "service": self.id(f"Node{node}Service")}
        self.call("ecs", "update_service", **where, desiredCount=count)

    def wait_until_healthy(self, node, within=15 * MINUTE):
        def healthy():
            return [task for task in self.tasks(node) if task["healthStatus"] == "HEALTHY"]

        found, _ = self.until(f"node {node} is healthy", healthy, within)
        return found[0] if found else None

    def wait_until_stopped(self, arn, within=5 * MINUTE):
        def stopped():
            tasks = self.describe([arn])
            return tasks and tasks[0]["lastStatus"] == "STOPPED" and tasks[0]

        return self.until("the task is stopped", stopped, within)[0]

    def is_stopped(self, arn, status):
        """Whether a task is forgotten, or its `lastStatus` or `desiredStatus` says so."""
        tasks = self.describe([arn])
        return not tasks or tasks[0][status] == "STOPPED"

    def start(self, node, subnet=None, definition=None):
        """A task of a node beside its service, which is to have none. Gives its ARN."""
        service = self.service(node)
        network = service["networkConfiguration"]["awsvpcConfiguration"]
        network = {**network, "subnets": [subnet] if subnet else network["subnets"][:1]}
        tasks = self.call(
            "ecs",
            "run_task",
            cluster=self.id("Cluster"),
            taskDefinition=definition or service["taskDefinition"],
            launchType="FARGATE",
            platformVersion=service["platformVersion"],
            networkConfiguration={"awsvpcConfiguration": network},
            tags=[{"key": TAG, "value": self.options.run_id}],
        )
        return tasks["tasks"][0]["taskArn"]

    def stop(self, arn):
        self.call("ecs", "stop_task", cluster=self.id("Cluster"), task=arn, reason="acceptance")

    def logged(self, node, container, text, since, task=None):
        """The times (ms) of the lines with a text that a container has printed, in its task if one is given."""
        parameters = {"logGroupName": self.id(f"Node{node}{container}Logs"), "filterPattern": f'"{text}"'}
        times, token = [], None
        while True:
            page = self.call(
                "logs", "filter_log_events", startTime=since, **parameters, **({"nextToken": token} if token else {})
            )
            for event in page["events"]:
                if task is None or event["logStreamName"].endswith(task.rsplit("/", 1)[-1]):
                    times.append(event["timestamp"])
            token = page.get("nextToken")
            if not token or not self.account.is_real:
                return sorted(times)

    def wait_for_line(self, node, container, text, since, task=None, within=5 * MINUTE):
        found, _ = self.until(
            f"`{text}` in the log", lambda: self.logged(node, container, text, since, task), within
        )
        return found[0] if found else None

    def variant(self, node, change):
        """Another revision of a node's definition. Gives its ARN."""
        described = self.call("ecs", "describe_task_definition", taskDefinition=self.service(node)["taskDefinition"])
        definition = described["taskDefinition"]
        known = self.account.client("ecs").meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members
        copy = {key: value for key, value in definition.items() if key in known and value}
        if not self.account.is_real:
            copy["containerDefinitions"] = [{**copy["containerDefinitions"][0], "name": name} for name in CONTAINERS]
        change({container["name"]: container for container in copy["containerDefinitions"]})
        return self.call("ecs", "register_task_definition", **copy)["taskDefinition"]["taskDefinitionArn"]

    def records(self, name):
        """The A records of a name in the namespace's hosted zone."""
        zone = self.zone()
        found = self.call("route53", "list_resource_record_sets", HostedZoneId=zone, StartRecordName=name, MaxItems="10")
        return [s for s in found["ResourceRecordSets"] if s["Name"].rstrip(".") == name and s["Type"] == "A"]

    def stack(self, stack):
        """A stack as CloudFormation has it, or nothing."""
        try:
            return self.call("cloudformation", "describe_stacks", StackName=stack.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"].get("Message", ""):
                return None
            raise

    def is_ours(self, found):
        """Whether this run made a stack; what others made is left alone."""
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        return not self.account.is_real or tags.get(TAG) == self.options.run_id

    def is_protected(self, arn):
        found = self.call("ecs", "get_task_protection", cluster=self.id("Cluster"), tasks=[arn])["protectedTasks"]
        return bool(found) and found[0]["protectionEnabled"]

    def zone(self):
        namespace = self.call("servicediscovery", "get_namespace", Id=self.id("Namespace"))["Namespace"]
        return namespace["Properties"]["DnsProperties"]["HostedZoneId"]

    def entries(self, service=None):
        """The ids of the instances of a service, of the one for clients if none is given."""
        service = service or self.id("ClientService")
        found = self.call("servicediscovery", "list_instances", ServiceId=service)
        return [instance["Id"] for instance in found["Instances"]]


class Stack:
    def __init__(self, name, path, protected):
        self.name, self.protected = name, protected
        self.text = path.read_text()
        self.template = json.loads(self.text)


class Assembly:
    """What `infra synth` has written."""

    def __init__(self, directory):
        manifest = json.loads((directory / "manifest.json").read_text())
        self.stacks = []
        for name, artifact in manifest["artifacts"].items():
            if artifact["type"] == "aws:cloudformation:stack":
                properties = artifact["properties"]
                path = directory / properties["templateFile"]
                self.stacks.append(Stack(properties["stackName"], path, properties.get("terminationProtection", False)))
            else:
                raise Refused(f"{name}: images are to be in a registry already (images.build is for `cdk deploy`)")
        names = [stack.name for stack in self.stacks]
        if len(names) != 2 or not names[0].endswith("-StatefulResources"):
            raise Refused(f"{directory} holds {names}, not the two stacks of one deployment")
        self.name = names[0].removesuffix("-StatefulResources")
        self.resources = {**self.stacks[0].template["Resources"], **self.stacks[1].template["Resources"]}
        self.nodes = sum(1 for r in self.resources.values() if r["Type"] == "AWS::ECS::Service")

    def uid(self):
        """The user of the server, as the task definition has it."""
        containers = self.resources["Node1Task"]["Properties"]["ContainerDefinitions"]
        server = next(container for container in containers if container["Name"] == "eventstore")
        return int(server["User"].split(":")[0])


class Refused(Exception):
    """Nothing was done."""


def step(name, settles, expects, minutes, moto=None, needs=None):
    """A step; `moto` says why it cannot be rehearsed, `needs` why it cannot be run with this deployment."""

    def add(run):
        STEPS.append(
            {
                "number": len(STEPS) + 1,
                "name": name,
                "settles": settles,
                "expects": expects,
                "minutes": minutes,
                "moto": moto,
                "needs": needs or (lambda assembly: None),
                "run": run,
            }
        )
        return run

    return add


def three_nodes(assembly):
    return None if assembly.nodes >= 3 else "a deployment of one node has no quorum to protect; use three"


def other_user(assembly):
    return None if assembly.uid() != 1000 else "the server runs as 1000, whom its files belong to; set server.uid = 1001"


def now_ms():
    return int(time.time() * 1000)


def seconds(first, then):
    return None if first is None or then is None else round((then - first) / 1000, 1)


def ms(moment):
    return None if moment is None else int(moment.timestamp() * 1000)


def say(text):
    print(text, flush=True)


@contextlib.contextmanager
def handed_over(context, stack):
    """How CloudFormation gets a template: in the request, or from a bucket if it is longer than that (AWS, "CloudFormation quotas")."""
    size = len(stack.text.encode())
    if size <= MOST_BYTES:
        yield {"TemplateBody": stack.text}
        return
    bucket, region = context.options.template_bucket, context.options.region
    if not bucket:
        raise Refused(f"{stack.name} has {size} bytes, and {MOST_BYTES} go without a bucket; name one with --template-bucket")
    key = f"acceptance/{context.options.run_id}/{stack.name}.json"
    context.call("s3", "put_object", Bucket=bucket, Key=key, Body=stack.text.encode())
    try:
        yield {"TemplateURL": f"https://{bucket}.s3.{region}.amazonaws.com/{key}"}
    finally:
        # It is read when it is named, and not needed afterwards.
        context.call("s3", "delete_object", Bucket=bucket, Key=key)


NO_TASKS = "moto starts no tasks"
NO_STACKS = "moto's CloudFormation needs further packages, and knows half of the resource types"


@step("account", "that this is the right account", "the account that was named", 1)
def account(context):
    options = context.options
    who = context.call("sts", "get_caller_identity")
    if context.account.is_real and not options.is_rehearsal and who["Account"] != options.account:
        raise Refused(f"these are credentials of account {who['Account']}, and --account is {options.account}")
    return True, {"account": who["Account"], "region": options.region, "nodes": context.assembly.nodes}


@step(
    "templates",
    "that AWS takes the templates",
    "both are valid",
    1,
    moto="moto validates templates only with further packages",
)
def templates(context):
    for stack in context.assembly.stacks:
        with handed_over(context, stack) as template:
            context.call("cloudformation", "validate_template", **template)
    return True, {stack.name: len(stack.text.encode()) for stack in context.assembly.stacks}


@step(
    "deploy",
    "whether CloudFormation waits for a task's health with minimum 0 %, maximum 100 %",
    "a service is CREATE_COMPLETE when its task runs; not before its task is HEALTHY, if ECS counts that",
    25,
    moto=NO_STACKS,
)
def deploy(context):
    seen = {}
    for stack in context.assembly.stacks:
        if context.stack(stack) and context.account.is_real:
            raise Refused(f"there is a stack {stack.name} already; use another name in eventstore.toml")
    for stack in context.assembly.stacks:
        with handed_over(context, stack) as template:
            context.call(
                "cloudformation",
                "create_stack",
                StackName=stack.name,
                Capabilities=["CAPABILITY_IAM"],
                OnFailure="DO_NOTHING",
                Tags=[
                    {"Key": TAG, "Value": context.options.run_id},
                    {"Key": "eventstore-fargate:deployment", "Value": context.assembly.name},
                ],
                **template,
            )

        def status(stack=stack):
            found = context.stack(stack)["StackStatus"]
            if stack is context.assembly.stacks[1]:
                note_services(context, stack, seen)
            return found if not found.endswith("_IN_PROGRESS") else None

        ended, _ = context.until(f"{stack.name} is made", status, 60 * MINUTE)
        if context.account.is_real and ended != "CREATE_COMPLETE":
            return False, {"stack": stack.name, "status": ended}
    waited = [entry["health"] == "HEALTHY" for entry in seen.values()]
    return bool(waited), {"cloudformation_waits_for_health": all(waited), "at_create_complete": seen}


def note_services(context, stack, seen):
    """The state of each node at the moment at which CloudFormation is done with its service."""
    found = context.call("cloudformation", "describe_stack_resources", StackName=stack.name)["StackResources"]
    for resource in found:
        logical = resource["LogicalResourceId"]
        if not context.account.is_real:
            logical, resource["ResourceStatus"] = "Node1Service", "CREATE_COMPLETE"
        is_service = context.assembly.resources.get(logical, {}).get("Type") == "AWS::ECS::Service"
        if is_service and resource["ResourceStatus"] == "CREATE_COMPLETE" and logical not in seen:
            node = int(logical.removeprefix("Node").removesuffix("Service"))
            context.resources = {}
            rollout = context.service(node)["deployments"][0]["rolloutState"]
            tasks = context.tasks(node)
            task = tasks[0] if tasks else {"healthStatus": None, "lastStatus": None}
            seen[logical] = {"health": task["healthStatus"], "task": task["lastStatus"], "rollout": rollout}


@step(
    "start",
    "volumes of images on Fargate, users, injected secrets, permissions",
    "every node is healthy, certgen has ended with 0, nothing was denied, every secret has a current version",
    10,
    moto=NO_TASKS,
)
def start(context):
    seen, is_right = {}, True
    for node in range(1, context.assembly.nodes + 1):
        task = context.wait_until_healthy(node, 20 * MINUTE) or (context.tasks(node) or [{"containers": []}])[0]
        exits = {c["name"]: c.get("exitCode") for c in task["containers"]}
        denied = context.logged(node, "Bootstrap", "AccessDenied", 0)
        seen[f"node-{node}"] = {"health": task.get("healthStatus"), "exits": exits, "denied": len(denied)}
        is_right &= task.get("healthStatus") == "HEALTHY" and not denied and exits.get("certgen", 0) == 0
    labels = {}
    for logical, resource in context.assembly.resources.items():
        if resource["Type"] == "AWS::SecretsManager::Secret":
            described = context.call("secretsmanager", "describe_secret", SecretId=context.id(logical))
            stages = (described.get("VersionIdsToStages") or {}).values()
            labels[logical] = sorted(label for stage in stages for label in stage)
            is_right &= "AWSCURRENT" in labels[logical] and "AWSPENDING" not in labels[logical]
    return is_right, {"nodes": seen, "labels": labels}


@step(
    "owner",
    "whether an access point of uid 1000 serves a container of another uid",
    "the server is healthy, and writes as 1000",
    1,
    moto=NO_TASKS,
    needs=other_user,
)
def owner(context):
    found = context.call("efs", "describe_access_points", AccessPointId=context.id("Node1DataAccessPoint"))
    point = found["AccessPoints"][0]
    task = context.wait_until_healthy(1)
    facts = {"container": context.assembly.uid(), "access_point": point["PosixUser"]["Uid"]}
    return bool(task) and point["PosixUser"]["Uid"] == 1000, {**facts, "healthy": bool(task)}


@step(
    "names",
    "registration, and how long a resolver may remember that a name is missing",
    "all nodes are entries of the client service; the SOA record's TTL is 5 s",
    2,
    moto=NO_TASKS,
)
def names(context):
    entries = context.entries()
    sets = context.call("route53", "list_resource_record_sets", HostedZoneId=context.zone(), MaxItems="100")
    soa = [s for s in sets["ResourceRecordSets"] if s["Type"] == "SOA"]
    # Its last number is the minimum; a resolver takes the smaller one of that and the TTL (RFC 2308).
    minimum = soa[0]["ResourceRecords"][0]["Value"].split()[-1] if soa else None
    facts = {"entries": entries, "soa_ttl": soa[0]["TTL"] if soa else None, "soa_minimum": minimum}
    return len(entries) == context.assembly.nodes and bool(soa) and soa[0]["TTL"] == 5, facts


@step(
    "stop",
    "the order in which containers stop, and when names and entries go and come",
    "the sidecar has withdrawn the node before the task has stopped; entry and A record go, and come back with a task",
    15,
    moto=NO_TASKS,
)
def stop(context):
    since = now_ms()
    host = f"{context.assembly.name}-node-1"
    namespace = context.call("servicediscovery", "get_namespace", Id=context.id("Namespace"))["Namespace"]["Name"]
    running = context.tasks(1)
    if not running:
        return False, {"task": None}
    arn = running[0]["taskArn"]
    context.scale(1, 0)
    _, entry = context.until("the entry is gone", lambda: "node-1" not in context.entries(), 5 * MINUTE)
    _, record = context.until("the record is gone", lambda: not context.records(f"{host}.{namespace}"), 5 * MINUTE)
    task = context.wait_until_stopped(arn)
    left = context.wait_for_line(1, "Bootstrap", "leaving", since, arn)
    withdrawn = context.wait_for_line(1, "Bootstrap", "withdrawn", since, arn, 2 * MINUTE)
    stopped = task and ms(task.get("stoppedAt"))
    begun = now_ms()
    context.scale(1, 1)
    _, appeared = context.until("the record is there", lambda: context.records(f"{host}.{namespace}"), 10 * MINUTE)
    healthy = context.wait_until_healthy(1)
    _, registered = context.until("the entry is there", lambda: "node-1" in context.entries(), 10 * MINUTE)
    facts = {
        "entry_gone_after_s": entry,
        "record_gone_after_s": record,
        "sidecar_asked_after_s": seconds(since, left),
        "sidecar_withdrew_after_s": seconds(since, withdrawn),
        "task_stopped_after_s": seconds(since, stopped),
        "stop_code": task and task.get("stopCode"),
        "exits": {c["name"]: c.get("exitCode") for c in task["containers"]} if task else {},
        "record_there_after_s": appeared,
        "started_after_s": seconds(begun, healthy and ms(healthy.get("startedAt"))),
        "entry_there_after_s": registered,
    }
    return None not in (entry, record, withdrawn, stopped, appeared, registered) and withdrawn <= stopped, facts


@step(
    "overlap",
    "a deployment of a service with 0/100: do two tasks run at once, and does ECS wait for health",
    "the old task is stopped before the new one starts, or guard makes the new one wait",
    20,
    moto=NO_TASKS,
)
def overlap(context):
    since = now_ms()
    old = context.tasks(1)
    context.call(
        "ecs",
        "update_service",
        cluster=context.id("Cluster"),
        service=context.id("Node1Service"),
        forceNewDeployment=True,
    )

    def replaced():
        return [t for t in context.tasks(1) if t["taskArn"] not in [o["taskArn"] for o in old] and t.get("startedAt")]

    new, _ = context.until("another task has started", replaced, 15 * MINUTE)
    ended = context.wait_until_stopped(old[0]["taskArn"]) if old else None

    def done():
        deployment = context.service(1)["deployments"][0]
        return deployment["rolloutState"] if deployment["rolloutState"] != "IN_PROGRESS" else None

    rollout, after = context.until("the deployment has ended", done, 20 * MINUTE)
    health = (context.tasks(1) or [{"healthStatus": None}])[0]["healthStatus"]
    waited = context.logged(1, "EventStore", "waiting for the lock", since)
    gap = seconds(ms(ended.get("stoppedAt")), ms(new[0]["startedAt"])) if new and ended else None
    facts = {"gap_s": gap, "guard_waited": len(waited), "rollout": rollout, "rollout_after_s": after, "health_then": health}
    context.wait_until_healthy(1)
    return gap is not None and (gap >= 0 or bool(waited)), facts


@step(
    "grace",
    "whether the grace period covers the health of containers",
    "an unhealthy task stays for five minutes of its grace period, and is stopped when there is none",
    25,
    moto=NO_TASKS,
)
def grace(context):
    def unhealthy(containers):
        check = {"command": ["CMD", "/bootstrap", "healthcheck", "--health-file", "/nowhere"]}
        containers["bootstrap"]["healthCheck"] = {**check, "interval": 5, "timeout": 5, "retries": 1, "startPeriod": 0}

    service = context.service(1)
    where = {"cluster": context.id("Cluster"), "service": context.id("Node1Service")}
    before = {key: service[key] for key in ("taskDefinition", "healthCheckGracePeriodSeconds")}
    variant = context.variant(1, unhealthy)
    try:
        context.call("ecs", "update_service", **where, taskDefinition=variant)

        def is_unhealthy():
            return [t for t in context.tasks(1) if t["taskDefinitionArn"] == variant and t["healthStatus"] == "UNHEALTHY"]

        task, _ = context.until("the task is unhealthy", is_unhealthy, 15 * MINUTE)
        if not task:
            return False, {"unhealthy": False}

        def gone():
            return context.is_stopped(task[0]["taskArn"], "lastStatus")

        _, within = context.until("it is stopped (it is not to be)", gone, 5 * MINUTE)
        context.call("ecs", "update_service", **where, healthCheckGracePeriodSeconds=0)
        _, without = context.until("it is stopped", gone, 10 * MINUTE)
        return within is None and without is not None, {"stopped_within_grace_s": within, "stopped_without_s": without}
    finally:
        context.call("ecs", "update_service", **where, **before)
        context.call("ecs", "deregister_task_definition", taskDefinition=variant)
        context.wait_until_healthy(1)


def two_subnets(assembly):
    found = [r for r in assembly.resources.values() if r["Type"] == "AWS::EFS::MountTarget"]
    return None if len(found) > 1 else "the stacks have one mount target at most; use a new network with two zones"


def subnets(context):
    """Subnets with a mount target: that of the first node first, then another."""
    own = context.service(1)["networkConfiguration"]["awsvpcConfiguration"]["subnets"][0]
    targets = context.call("efs", "describe_mount_targets", FileSystemId=context.id("FileSystem"))["MountTargets"]
    here = next((target for target in targets if target["SubnetId"] == own), targets[0])
    there = next((target for target in targets if target["SubnetId"] != own), targets[-1])
    return here, there


class Alone:
    """The first node's service without a task, for as long as tasks are started by hand."""

    def __init__(self, context):
        self.context, self.tasks = context, []

    def __enter__(self):
        running = self.context.tasks(1)
        self.context.scale(1, 0)
        for task in running:
            self.context.wait_until_stopped(task["taskArn"])
        return self

    def start(self, subnet=None, definition=None):
        self.tasks.append(self.context.start(1, subnet, definition))
        return self.tasks[-1]

    def name(self, arn):
        """Gives a task the node's name, as ECS does for tasks of the service: its peers look for it there."""
        context = self.context

        def address():
            details = [d for t in context.describe([arn]) for a in t["attachments"] for d in a["details"]]
            return next((d["value"] for d in details if d["name"] == "privateIPv4Address"), None)

        found, _ = context.until("the task has an address", address, 5 * MINUTE)
        service, attributes = context.id("Node1Discovery"), {"AWS_INSTANCE_IPV4": found or "127.0.0.1"}
        context.call(
            "servicediscovery", "register_instance", ServiceId=service, InstanceId=NAMED, Attributes=attributes
        )

    def __exit__(self, *_):
        for arn in self.tasks:
            try:
                self.context.stop(arn)
                self.context.wait_until_stopped(arn)
            except ClientError as error:
                say(f"    {arn}: {error}")
        service = self.context.id("Node1Discovery")
        if NAMED in self.context.entries(service) or not self.context.account.is_real:
            self.context.call("servicediscovery", "deregister_instance", ServiceId=service, InstanceId=NAMED)
        self.context.scale(1, 1)
        self.context.wait_until_healthy(1)


NAMED = "acceptance"
HELD = "waiting for the lock on"


def two_guards(context, alone, here, there, definition=None):
    """One task that has the data and one that waits for it."""
    since = now_ms()
    holder = alone.start(here["SubnetId"], definition)
    alone.name(holder)
    context.wait_for_line(1, "Bootstrap", "the server is ready", since, holder, 15 * MINUTE)
    waiting = alone.start(there["SubnetId"])
    held = context.wait_for_line(1, "EventStore", HELD, since, waiting, 10 * MINUTE)
    return holder, waiting, held is not None


def server_started(context, alone, since, task):
    """When the sidecar of a task that takes over sees its server."""
    alone.name(task)
    return context.wait_for_line(1, "Bootstrap", "the server is ready", since, task, 15 * MINUTE)


@step(
    "clean stop",
    "two guards on one directory of EFS, and the first is stopped in order",
    "the second waits, and has the lock within seconds of the end of the first",
    20,
    moto=NO_TASKS,
    needs=two_subnets,
)
def clean_stop(context):
    here, there = subnets(context)
    with Alone(context) as alone:
        holder, waiting, held = two_guards(context, alone, here, there)
        since = now_ms()
        context.stop(holder)
        ended = context.wait_until_stopped(holder)
        silent = context.logged(1, "EventStore", "did not sign off", since, waiting)
        ready = server_started(context, alone, since, waiting)
        after = seconds(ended and ms(ended.get("stoppedAt")), ready)
        facts = {"second_waited": held, "second_ready_after_end_s": after, "waited_for_silence": len(silent)}
        return held and ready is not None and not silent, facts


@step(
    "partition",
    "the holder loses its mount target: does guard kill the server, and when does EFS give the lock to another",
    "the server is killed within 165 s of the cut, before the second has the lock",
    25,
    moto=NO_TASKS,
    needs=two_subnets,
)
def partition(context):
    here, there = subnets(context)
    with Alone(context) as alone:
        holder, waiting, held = two_guards(context, alone, here, there)
        with Cut(context, here) as cut:
            killed = context.wait_for_line(1, "EventStore", "may be lost, no server runs any more", cut.since, holder)
            ready = server_started(context, alone, cut.since, waiting)
        facts = {
            "second_waited": held,
            "killed_after_cut_s": seconds(cut.since, killed),
            "second_ready_after_cut_s": seconds(cut.since, ready),
        }
        is_right = held and killed is not None and ready is not None and killed < ready
        return is_right and facts["killed_after_cut_s"] <= 165, facts


@step(
    "hard kill",
    "the holder is killed and cannot sign off: how long EFS keeps its lock",
    "the second waits for the lease and 180 s without a heartbeat, then starts",
    25,
    moto=NO_TASKS,
    needs=two_subnets,
)
def hard_kill(context):
    def short(containers):
        # What cannot write cannot sign off either; SIGKILL follows SIGTERM at once.
        containers["eventstore"]["stopTimeout"] = 2

    here, there = subnets(context)
    definition = context.variant(1, short)
    try:
        with Alone(context) as alone:
            holder, waiting, held = two_guards(context, alone, here, there, definition)
            with Cut(context, here) as cut:
                context.stop(holder)
                ended = context.wait_until_stopped(holder, 10 * MINUTE)
                silent = context.wait_for_line(1, "EventStore", "did not sign off", cut.since, waiting, 10 * MINUTE)
                ready = server_started(context, alone, cut.since, waiting)
            stopped = ended and ms(ended.get("stoppedAt"))
            facts = {
                "second_waited": held,
                "lock_after_end_s": seconds(stopped, silent),
                "second_ready_after_end_s": seconds(stopped, ready),
            }
            return held and silent is not None and ready is not None, facts
    finally:
        context.call("ecs", "deregister_task_definition", taskDefinition=definition)


class Cut:
    """A mount target that lets nobody in, for a while."""

    def __init__(self, context, target):
        self.context, self.target = context, target

    def __enter__(self):
        context, target = self.context, self.target["MountTargetId"]
        self.groups = context.call("efs", "describe_mount_target_security_groups", MountTargetId=target)["SecurityGroups"]
        group = context.call(
            "ec2",
            "create_security_group",
            GroupName=f"acceptance-{context.options.run_id}-{uuid.uuid4().hex[:6]}",
            Description="lets nobody in",
            VpcId=self.target["VpcId"],
            TagSpecifications=[
                {"ResourceType": "security-group", "Tags": [{"Key": TAG, "Value": context.options.run_id}]}
            ],
        )
        self.group, self.since = group["GroupId"], now_ms()
        context.call("efs", "modify_mount_target_security_groups", MountTargetId=target, SecurityGroups=[self.group])
        return self

    def __exit__(self, *_):
        context, target = self.context, self.target["MountTargetId"]
        context.call("efs", "modify_mount_target_security_groups", MountTargetId=target, SecurityGroups=self.groups)
        context.call("ec2", "delete_security_group", GroupId=self.group)


@step(
    "protection",
    "whether a task that the quorum needs survives scale-in and a deployment",
    "with one node away the others are protected; scale-in to 0 and a deployment leave them running",
    25,
    moto=NO_TASKS,
    needs=three_nodes,
)
def protection(context):
    last = context.assembly.nodes
    cluster = context.id("Cluster")
    before = context.tasks(last)
    context.scale(last, 0)
    for task in before:
        context.wait_until_stopped(task["taskArn"])
    task = context.wait_until_healthy(1)
    if not task:
        return False, {"healthy": False}
    arn = task["taskArn"]
    _, protected = context.until("the task is protected", lambda: context.is_protected(arn), 5 * MINUTE)

    def stopped():
        return context.is_stopped(arn, "desiredStatus")

    where = {"cluster": cluster, "service": context.id("Node1Service")}
    context.scale(1, 0)
    _, scaled = context.until("it is stopped (it is not to be)", stopped, 3 * MINUTE)
    context.scale(1, 1)
    context.call("ecs", "update_service", **where, forceNewDeployment=True)
    _, deployed = context.until("it is stopped (it is not to be)", stopped, 3 * MINUTE)
    context.scale(last, 1)
    context.wait_until_healthy(last)
    _, released = context.until("it is replaced once it is not needed", stopped, 20 * MINUTE)
    context.wait_until_healthy(1)
    facts = {
        "protected_after_s": protected,
        "stopped_by_scale_in_s": scaled,
        "stopped_by_deployment_s": deployed,
        "replaced_after_release_s": released,
    }
    return protected is not None and scaled is None and deployed is None and released is not None, facts


@step(
    "delete",
    "whether stacks can be deleted while tasks are protected, and what stays",
    "both stacks are gone",
    30,
    moto=NO_STACKS,
)
def delete(context):
    seen, is_right = {"protected": protect_one(context)}, True
    for stack in reversed(context.assembly.stacks):
        found = context.stack(stack)
        if not found or not context.is_ours(found):
            seen[stack.name] = "not of this run" if found else "not there"
            continue
        if stack.protected:
            context.call(
                "cloudformation", "update_termination_protection", StackName=stack.name, EnableTerminationProtection=False
            )
        begun = time.monotonic()
        context.call("cloudformation", "delete_stack", StackName=stack.name)

        def gone(stack=stack):
            left = context.stack(stack)
            status = left["StackStatus"] if left else "DELETE_COMPLETE"
            return status if status in ("DELETE_COMPLETE", "DELETE_FAILED") else None

        ended, _ = context.until(f"{stack.name} is gone", gone, 60 * MINUTE)
        seen[stack.name] = f"{ended} after {round(time.monotonic() - begun)} s"
        is_right &= ended == "DELETE_COMPLETE"
    return is_right, seen


def protect_one(context):
    """Brings about that a task is protected, where there can be one; whether it is."""
    found = context.stack(context.assembly.stacks[1])
    is_there = found and context.is_ours(found) and found["StackStatus"] == "CREATE_COMPLETE"
    if context.account.is_real and (context.assembly.nodes < 3 or not is_there):
        return False
    tasks = context.tasks(1)
    context.scale(context.assembly.nodes, 0)

    def protected():
        return tasks and context.is_protected(tasks[0]["taskArn"])

    found, _ = context.until("a task is protected", protected, 5 * MINUTE)
    return bool(found)


@step(
    "rest",
    "what deleted stacks leave behind; what this run made of it is removed",
    "secrets, log groups and, with data.retain, the file system",
    2,
)
def rest(context):
    # No other run's, and no other deployment's.
    filters = [
        {"Key": TAG, "Values": [context.options.run_id]},
        {"Key": "eventstore-fargate:deployment", "Values": [context.assembly.name]},
    ]
    found = context.call("resourcegroupstaggingapi", "get_resources", TagFilters=filters)["ResourceTagMappingList"]
    removed, left = [], []
    # An access point goes before its file system.
    for arn in sorted(entry["ResourceARN"] for entry in found):
        kind = arn.split(":", 5)
        service, rest = (kind[2], kind[5]) if len(kind) == 6 else ("", arn)
        name = rest.rsplit("/", 1)[-1]
        try:
            if service == "secretsmanager":
                context.call("secretsmanager", "delete_secret", SecretId=arn, RecoveryWindowInDays=7)
            elif service == "logs":
                context.call("logs", "delete_log_group", logGroupName=rest.removeprefix("log-group:").removesuffix(":*"))
            elif service == "elasticfilesystem" and rest.startswith("access-point/"):
                context.call("efs", "delete_access_point", AccessPointId=name)
            elif service == "elasticfilesystem":
                context.call("efs", "delete_file_system", FileSystemId=name)
            elif service == "kms":
                context.call("kms", "schedule_key_deletion", KeyId=arn, PendingWindowInDays=7)
            else:
                left.append(arn)
                continue
            removed.append(arn)
        except ClientError as error:
            left.append(f"{arn}: {error.response['Error']['Code']}")
    return not left, {"removed": removed, "left": left}


def chosen(text):
    """`1,3-5` as numbers."""
    numbers = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    unknown = numbers - {step["number"] for step in STEPS}
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no step {min(unknown)}; there are 1 to {len(STEPS)}")
    return numbers


def run_step(step, context, outcome):
    say(f"{step['number']:2} {step['name']}: {step['settles']}\n    expected: {step['expects']}")
    context.account.calls = []
    entry = {key: step[key] for key in ("number", "name", "settles", "expects")}
    entry["began"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    try:
        is_right, facts = step["run"](context)
        entry["outcome"], entry["seen"] = outcome(is_right), facts
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001
        # Whatever it is: the other steps may still tell something, and what was made is to be removed.
        line = traceback.extract_tb(error.__traceback__)[1].lineno
        entry["outcome"], entry["seen"] = "failed", f"line {line}: {type(error).__name__}: {error}"
    entry["calls"] = sorted(set(context.account.calls))
    say(f"    {entry['outcome']}: {json.dumps(entry['seen'])}")
    return entry


def adopt(context):
    """Goes on with a deployment that a run has left. Nobody else's is disturbed, let alone removed."""
    for stack in context.assembly.stacks:
        found = context.stack(stack)
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])} if found else {}
        run = tags.get(TAG)
        if found and (run is None or context.options.run_id not in (None, run)):
            raise Refused(f"{stack.name} was not made by this run ({TAG} is {run or 'not set'}): it is left alone")
        context.options.run_id = run or context.options.run_id
    context.options.run_id = context.options.run_id or NEW_RUN


def verdict(is_right):
    return "as expected" if is_right else "otherwise"


def run(options):
    assembly = Assembly(options.assembly)
    context = Context(Account(options.region), assembly, options)
    if not any(step["name"] == "deploy" and step["number"] in options.steps for step in STEPS):
        adopt(context)
    report, made = {"run": options.run_id, "deployment": assembly.name, "nodes": assembly.nodes, "steps": []}, False
    try:
        for step in STEPS:
            if step["number"] not in options.steps or (step["name"] in CLEANING and options.keep):
                continue
            reason = step["needs"](assembly)
            if reason:
                entry = {"number": step["number"], "name": step["name"], "outcome": "not settled", "reason": reason}
                say(f"{step['number']:2} {step['name']}: not settled: {reason}")
            else:
                made |= step["name"] == "deploy"
                entry = run_step(step, context, verdict)
            report["steps"].append(entry)
            write(options.report, report)
            if step["name"] == "deploy" and entry["outcome"] != "as expected":
                say("    without a deployment there is nothing to look at: removing what was made")
                for step in STEPS:
                    if step["name"] in CLEANING and not options.keep:
                        report["steps"].append(run_step(step, context, verdict))
                break
    finally:
        write(options.report, report)
        if made:
            say(f"what was made has the tag {TAG}={options.run_id}; `clean --run-id {options.run_id}` removes it if it is still there")
    return 0 if all(entry["outcome"] in ("as expected", "not settled") for entry in report["steps"]) else 1


def rehearse(options):
    """What moto can do against moto; everything else without sending it, against the models of the services."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if not endpoint.startswith(("http://127.0.0.1:", "http://localhost:")):
        raise Refused("a rehearsal needs AWS_ENDPOINT_URL to name a moto on this machine")
    assembly = Assembly(options.assembly)
    report = {"run": options.run_id, "deployment": assembly.name, "nodes": assembly.nodes, "steps": []}
    for step in STEPS:
        account = Checked(options.region) if step["moto"] else Account(options.region)
        context = Context(account, assembly, options)
        entry = run_step(step, context, (lambda _: "not rehearsed") if step["moto"] else verdict)
        if step["moto"]:
            entry["reason"], entry["seen"] = step["moto"], None
        report["steps"].append(entry)
    write(options.report, report)
    return 0 if all(entry["outcome"] in ("as expected", "not rehearsed") for entry in report["steps"]) else 1


def write(path, report):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(report, indent=2, default=str) + "\n")
    new.replace(path)


def list_steps():
    for step in STEPS:
        say(f"{step['number']:2} {step['name']:<11} {step['minutes']:>3} min  {step['settles']}")
    total = sum(step["minutes"] for step in STEPS)
    say(f"at most about {total // 60} h {total % 60} min; with three nodes of 1 vCPU and a NAT gateway less than 5 USD an hour")
    return 0


def parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("steps", help="list the steps, and how long they take")
    for name, text in [("run", "deploy and look"), ("clean", "remove what a run made"), ("rehearse", "against a moto")]:
        command = commands.add_parser(name, help=text)
        command.add_argument("--assembly", type=pathlib.Path, required=True, metavar="DIR", help="what `infra synth` wrote")
        command.add_argument("--region", default="eu-west-1" if name == "rehearse" else None, required=name != "rehearse")
        command.add_argument("--report", type=pathlib.Path, default=pathlib.Path("acceptance.json"), metavar="FILE")
        command.add_argument("--run-id", default=None, required=name == "clean", help="the value of the tag")
        command.set_defaults(template_bucket="rehearsal" if name == "rehearse" else None)
        command.set_defaults(is_rehearsal=name == "rehearse", steps={step["number"] for step in STEPS}, keep=False)
        if name != "rehearse":
            command.add_argument("--account", required=True, help="id of the account, twelve digits")
        if name == "run":
            command.add_argument("--steps", type=chosen, help="for example 1,3-5; a deployment that --keep left can be looked at again")
            command.add_argument("--keep", action="store_true", help="remove nothing at the end")
            command.add_argument("--template-bucket", metavar="BUCKET", help="for templates of more than 51 200 bytes, in the region")
            command.add_argument("--i-understand-this-costs-money", dest="consent", action="store_true")
    return parser


def main(arguments):
    options = parser().parse_args(arguments)
    try:
        if options.command in ("run", "rehearse") and "deploy" in {s["name"] for s in STEPS if s["number"] in options.steps}:
            options.run_id = options.run_id or NEW_RUN
        if options.command == "steps":
            return list_steps()
        if options.command == "rehearse":
            return rehearse(options)
        if options.command == "run" and not options.consent:
            raise Refused("tasks, a NAT gateway and a file system cost money: --i-understand-this-costs-money")
        if options.command == "clean":
            options.steps = {step["number"] for step in STEPS if step["name"] in CLEANING}
        # The account is looked at whatever else is to be run.
        options.steps = options.steps | {1}
        return run(options)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
