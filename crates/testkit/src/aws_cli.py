"""Reads calls of the AWS CLI, a JSON list of lists of words, and writes what is wrong: a JSON list of [index, words]."""
import json
import sys

import botocore.session
from botocore import xform_name
from botocore.validate import ParamValidator

SESSION = botocore.session.get_session()
# Options of every command ("aws help", and "Using AWS CLI pagination options" of the user guide).
GLOBAL = {
    "ca-bundle", "cli-auto-prompt", "cli-binary-format", "cli-connect-timeout", "cli-read-timeout", "color", "debug",
    "endpoint-url", "no-cli-auto-prompt", "no-cli-pager", "no-paginate", "no-sign-request", "no-verify-ssl", "output", "profile",
    "query", "region", "cli-input-json", "cli-input-yaml", "generate-cli-skeleton", "max-items", "page-size", "starting-token",
}
# The CLI's names for services that botocore calls otherwise.
SERVICES = {"s3api": "s3", "configservice": "config", "deploy": "codedeploy"}
# Options that the CLI adds to an operation.
EXTRA = {
    ("ec2", "authorize-security-group-ingress"): {"protocol", "port", "source-group", "cidr", "group-owner"},
    ("ec2", "revoke-security-group-ingress"): {"protocol", "port", "source-group", "cidr", "group-owner"},
    ("ec2", "authorize-security-group-egress"): {"protocol", "port", "source-group", "cidr"},
    ("ec2", "revoke-security-group-egress"): {"protocol", "port", "source-group", "cidr"},
}
# Commands that are no operation: what must be given, and what else may be.
CUSTOM = {
    ("cloudformation", "deploy"): ({"template-file", "stack-name"}, {
        "s3-bucket", "s3-prefix", "kms-key-id", "force-upload", "parameter-overrides", "capabilities", "no-execute-changeset",
        "role-arn", "notification-arns", "fail-on-empty-changeset", "no-fail-on-empty-changeset", "tags", "disable-rollback",
        "no-disable-rollback"}),
    ("ecr", "get-login-password"): (set(), set()),
    ("logs", "tail"): (set(), {
        "since", "follow", "format", "filter-pattern", "log-stream-names", "log-stream-name-prefix"}),
    ("s3", "cp"): (set(), {"recursive", "sse", "acl", "dryrun", "quiet", "exclude", "include", "content-type"}),
    ("s3", "sync"): (set(), {"delete", "sse", "acl", "dryrun", "quiet", "exclude", "include"}),
    ("s3", "ls"): (set(), {"recursive", "human-readable", "summarize"}),
    ("s3", "mb"): (set(), set()),
    ("s3", "rm"): (set(), {"recursive", "dryrun", "quiet", "exclude", "include"}),
    ("s3", "rb"): (set(), {"force"}),
    ("configure", "sso"): (set(), set()),
    ("sso", "login"): (set(), {"sso-session", "no-browser"}),
}
LOADED = {}


def model_of(service):
    if service not in LOADED:
        LOADED[service] = SESSION.get_service_model(SERVICES.get(service, service))
    return LOADED[service]


def options_of(words):
    """Every option with the words after it."""
    options = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options[name] = [value] if value else []
        elif name is not None:
            options[name].append(word)
    return options


def wrong_values(shape, values):
    """Values that an enumeration does not have."""
    if shape.type_name == "list":
        shape = shape.member
    allowed = getattr(shape, "enum", None) if shape.type_name == "string" else None
    return [value for value in values if allowed and "$" not in value and value not in allowed]


def judge(words):
    if len(words) < 2:
        return ["`aws` needs a service and an operation"]
    service, operation, rest = words[0], words[1], words[2:]
    options = options_of(rest)
    if (service, operation) in CUSTOM:
        required, allowed = CUSTOM[service, operation]
        mistakes = ["no option --%s" % name for name in options if name not in required | allowed | GLOBAL]
        return mistakes + ["--%s is missing" % name for name in sorted(required - set(options))]
    try:
        model = model_of(service)
    except Exception:
        return ["no service `%s`" % service]
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    extra = EXTRA.get((service, operation), set())
    if operation == "wait":
        waiters = SESSION.get_component("data_loader").load_service_model(
            SERVICES.get(service, service), "waiters-2")["waiters"]
        waiters = {xform_name(name, "-"): waiter["operation"] for name, waiter in waiters.items()}
        waiter = rest[0] if rest else ""
        if waiter not in waiters:
            return ["no waiter `%s`" % waiter]
        name = waiters[waiter]
    elif operation in operations:
        name = operations[operation]
    else:
        return ["no operation `%s`" % operation]
    shape = model.operation_model(name).input_shape
    members = {xform_name(name, "-"): (name, member) for name, member in shape.members.items()} if shape else {}
    flags = {"no-" + name for name, (_, member) in members.items() if member.type_name == "boolean"}
    mistakes = ["no option --%s" % name for name in options if name not in set(members) | flags | extra | GLOBAL]
    for name, values in options.items():
        if name in members:
            mistakes += ["--%s: no value `%s`" % (name, value) for value in wrong_values(members[name][1], values)]
    for text in options.get("cli-input-json", []):
        if text.startswith("{"):
            report = ParamValidator().validate(json.loads(text), shape)
            mistakes += [report.generate_report()] if report.has_errors() else []
    if not {"cli-input-json", "cli-input-yaml", "generate-cli-skeleton"} & set(options):
        given = set(options)
        for name, (member, of) in members.items():
            is_required = member in shape.required_members and not of.metadata.get("idempotencyToken")
            if is_required and name not in given and "no-" + name not in given:
                mistakes.append("--%s is missing" % name)
    return mistakes


calls = json.load(sys.stdin)
print(json.dumps([[index, mistake] for index, words in enumerate(calls) for mistake in judge(words)]))
