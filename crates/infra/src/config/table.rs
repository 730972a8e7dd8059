//! Every key of `eventstore.toml` with its type, its default and what it means: the one table from which the parser, the
//! commented reference and the JSON Schema are made.

use crate::values::{CPU_UNITS, LEAST_MEMORY_MIB, MOST_MEMORY_MIB};

/// A section of the file, or the file.
pub(crate) struct Table {
    /// What it is for; lines of a comment. Empty if its keys say it.
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a section.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) given: Given,
    /// What it means and what is allowed; lines of a comment.
    pub(crate) doc: &'static str,
}

/// What a key holds.
pub(crate) enum Kind {
    Text(Text),
    Integer(Integers),
    Flag,
    /// A list of texts, in which none stands twice.
    Texts(Text),
    /// `[key]`.
    Section(&'static Table),
    /// `[[key]]`, any number of times.
    Sections(&'static Table),
    /// `[key]` whose keys are tags, each with a text, an integer or true or false.
    Tags,
    /// `[key]` whose keys are options of the server (`server::options`), each with a text, an integer or true or false.
    Options,
    /// A list of texts, in which one may stand twice.
    Arguments,
    /// `[key]` whose keys are names that this regular expression matches as a whole.
    Map(&'static str, Values),
    /// People look for it, and it is never allowed: what it means says why and what to do.
    Refused,
}

/// What a text may be.
pub(crate) enum Text {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// What this regular expression matches as a whole; the parser may ask for more.
    Like(&'static str),
}

/// What stands behind the names of a [`Kind::Map`].
pub(crate) enum Values {
    /// A text, an integer or true or false.
    Settings,
    Texts(Text),
}

/// What an integer may be.
pub(crate) enum Integers {
    OneOf(&'static [i64]),
    /// Both ends belong to it.
    Between(i64, i64),
}

/// Whether a key must be there, and what holds if it is not.
pub(crate) enum Given {
    /// It must; with what `infra init` writes.
    Always(Sample),
    /// This holds.
    Or(Sample),
    /// Nothing holds; with an example for the reference.
    Maybe(Sample),
    /// A section is always there, if only with its defaults.
    Nested,
}

/// A value as it stands in the file.
pub(crate) enum Sample {
    Text(&'static str),
    Integer(i64),
    Flag(bool),
    Texts(&'static [&'static str]),
    /// As it stands there: a list of tables, or a table.
    Toml(&'static str),
}

use Given::{Always, Maybe, Nested, Or};
use Kind::{Arguments, Flag, Integer, Map, Options, Refused, Section, Sections};
use Text::{Like, OneOf};

const fn key(name: &'static str, kind: Kind, given: Given, doc: &'static str) -> Key {
    Key { name, kind, given, doc }
}

const fn text(name: &'static str, text: Text, given: Given, doc: &'static str) -> Key {
    key(name, Kind::Text(text), given, doc)
}

const fn section(name: &'static str, table: &'static Table) -> Key {
    key(name, Section(table), Nested, "")
}

/// What a deployment is called that nobody has named.
pub(crate) const NAME: &str = "eventstore";

/// The server lines ([`crate::values::ServerLine`]).
const LINES: &[&str] = &["21.10", "22.10", "23.10", "24.10", "25.0", "25.1", "26"];
const fn refused(name: &'static str, why: &'static str) -> Key {
    key(name, Refused, Nested, why)
}

/// The retention periods that `AWS::Logs::LogGroup` knows, in days.
const RETENTION_DAYS: &[i64] =
    &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

const SECRET: Text =
    Like(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}");
const SECRET_EXAMPLE: Sample = Sample::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders/admin-AbCdEf");
const KMS_KEY: Text = Like(r"aws|own|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]{36,64}");
const IMAGE: Text = Like(r"\S{1,255}");
const FILE: Text = Like(r"/[^\u0000-\u001f\u007f]*[^/\u0000-\u001f\u007f]");
const REGION: Text = Like("[a-z0-9]+(-[a-z0-9]+){1,2}-[0-9]+");
const AWS: Given = Or(Sample::Text("aws"));

/// The file.
pub(crate) static ROOT: Table = Table {
    doc: "EventStoreDB on ECS Fargate. `infra synth` turns this file into CloudFormation stacks.\n\
          Every key is shown with its default, or in a comment with an example; only `name` is required.",
    keys: &[
        text(
            "name",
            Like("[a-z]([a-z0-9-]{0,30}[a-z0-9])?"),
            Always(Sample::Text(NAME)),
            "Prefix of everything: stacks (<name>-StatefulResources, <name>-EventStore), secrets (<name>/admin, <name>/ops),\n\
             DNS names (<name>.<namespace> for clients). 1 to 32 lower-case letters, digits and inner hyphens, starting with a\n\
             letter and not ending in -node-<number> or -replica-<number>.",
        ),
        text(
            "namespace",
            Like(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+"),
            Or(Sample::Text("db.internal")),
            "Private DNS namespace (AWS Cloud Map) in which the database is found.",
        ),
        section("server", &SERVER),
        section("cluster", &CLUSTER),
        section("certificates", &CERTIFICATES),
        section("credentials", &CREDENTIALS),
        key("users", Sections(&USER), Nested, ""),
        section("network", &NETWORK),
        section("discovery", &DISCOVERY),
        section("data", &DATA),
        section("backup", &BACKUP),
        section("scavenge", &SCAVENGE),
        section("images", &IMAGES),
        key("containers", Sections(&CONTAINER), Nested, ""),
        key("volumes", Sections(&VOLUME), Nested, ""),
        section("logs", &LOGS),
        section("deploy", &DEPLOY),
        key(
            "tags",
            Kind::Tags,
            Nested,
            "Tags of the stacks, at most 40. CloudFormation puts them on every resource that can have some, and ECS on the tasks.\n\
             cost_centre = \"4711\"",
        ),
        section("alarms", &ALARMS),
    ],
};

static SERVER: Table = Table {
    doc: "",
    keys: &[
        text(
            "line",
            OneOf(LINES),
            Or(Sample::Text("24.10")),
            "Server line: EventStoreDB \"21.10\", \"22.10\", \"23.10\", \"24.10\", or KurrentDB \"25.0\", \"25.1\", \"26\". Before 23.10 a new\n\
             database has its default passwords until bootstrap has replaced them.",
        ),
        text(
            "upgrade_from",
            OneOf(LINES),
            Maybe(Sample::Text("24.10")),
            "The server version that opened the data last, when `line` is changed. guard records the versions that opened a data directory,\n\
             and starts only a server that is declared to open data of those: by a pair that was seen to work in both directions (22.10\n\
             with 24.10 and 25.0, on a single node only; 23.10, 24.10 and 25.0 with each other; 24.10 with 26), or by this key.\n\
             If an update fails, ECS or CloudFormation starts the old server again. Between these pairs it opens the data. Between all\n\
             others guard refuses it: the node stays down, its data untouched. So they need `upgrade_recovery_point`, a recovery\n\
             point of AWS Backup that was made before, with `backup.mode = \"stop\"`. The same version as `line` has no effect.",
        ),
        text(
            "upgrade_recovery_point",
            Like(r"arn:aws[a-z-]*:backup:[a-z0-9-]+:[0-9]{12}:recovery-point:[A-Za-z0-9-]{1,64}"),
            Maybe(Sample::Text(
                "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45",
            )),
            "",
        ),
        key(
            "port",
            Integer(Integers::Between(1024, 65535)),
            Or(Sample::Integer(2113)),
            "Port for HTTP and gRPC, 1024 to 65535.",
        ),
        key(
            "cpu",
            Integer(Integers::OneOf(CPU_UNITS)),
            Or(Sample::Integer(1024)),
            "Fargate CPU units and memory in MiB: a pair that Fargate offers, at least 2048 MiB\n\
             (the server's chunk cache alone takes 512 MiB).",
        ),
        key("memory", Integer(Integers::Between(LEAST_MEMORY_MIB, MOST_MEMORY_MIB)), Or(Sample::Integer(4096)), ""),
        key(
            "uid",
            Integer(Integers::Between(1, 65534)),
            Maybe(Sample::Integer(1000)),
            "uid and gid that the containers run as. Default: that of the server in the vendor's image. The files of the database\n\
             belong to 1000 whatever is said here, because the file system's access points see to it; so root is not needed.",
        ),
        key(
            "external_tcp",
            Flag,
            Or(Sample::Flag(false)),
            "Listen on port 1113 for the old TCP protocol as well; line 23.10 is the last that knows it.",
        ),
        key(
            "log_volume",
            Flag,
            Or(Sample::Flag(false)),
            "Let the server write log files as well, to a directory of the node on the file system, /var/log/eventstore or, from 25.0,\n\
             /var/log/kurrentdb. They are up to 31 times 1 GiB; what the server prints goes to CloudWatch Logs anyway.",
        ),
        key(
            "insecure",
            Flag,
            Or(Sample::Flag(false)),
            "No TLS, no passwords, no certificates: whoever reaches the server may do everything. For experiments.",
        ),
        key(
            "insecure_exposed",
            Flag,
            Or(Sample::Flag(false)),
            "Allow `insecure` together with a public address or `network.admin_cidr`.",
        ),
        text(
            "license_secret",
            SECRET,
            Maybe(Sample::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/license-AbCdEf")),
            "A secret with the key of the vendor's licence, which ECS gives the server when it starts it; 24.10 and later lines. Its ARN,\n\
             with the six characters at its end; the name of the value, if the secret is JSON; and the ARN of the key that it is\n\
             encrypted with, if that is another than the account's own for Secrets Manager: who starts the task must be able to use it.",
        ),
        text("license_json_key", Like("[A-Za-z0-9_.-]{1,128}"), Maybe(Sample::Text("key")), ""),
        text(
            "license_kms_key",
            Like(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]{36,64}"),
            Maybe(Sample::Text("arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef")),
            "",
        ),
        key(
            "options",
            Options,
            Nested,
            "Further options of the server, named as in its documentation without EVENTSTORE_ or KURRENTDB_. What infra sets itself, what this\n\
             server line does not know and what would put passwords or data at risk is refused.\n\
             RUN_PROJECTIONS = \"System\"\n\
             START_STANDARD_PROJECTIONS = true",
        ),
    ],
};

static CLUSTER: Table = Table {
    doc: "",
    keys: &[
        key(
            "nodes",
            Integer(Integers::OneOf(&[1, 3, 5, 7])),
            Or(Sample::Integer(1)),
            "Number of nodes: 1, 3, 5 or 7. A cluster stands in three availability zones, so the region must have three, and accepts\n\
         writes while more than half of its nodes live. A single node can become a cluster (`grow_from`); between clusters the\n\
         number stays. Services are made and updated one after the other (`deploy.update`).\n\
         The template of a cluster is one that CloudFormation takes from a bucket only: run `cdk bootstrap` before.",
        ),
        key(
            "grow_from",
            Integer(Integers::OneOf(&[1])),
            Maybe(Sample::Integer(1)),
            "How many nodes held the data before `nodes` was raised: only 1. While the key is there, no more nodes run than their\n\
             majority, node-1 among them, so that none can be elected without its data, and no node is stopped for a backup. Take it\n\
             out once all that run are registered, and deploy again: the others start.",
        ),
        key(
            "read_only_replicas",
            Integer(Integers::Between(0, 8)),
            Or(Sample::Integer(0)),
            "Nodes of a cluster besides, 0 to 8, that copy the database for readers and have no vote: `replica-1`, … in one zone each in\n\
             turn. Clients do not find them under <name>.<namespace>, but through the cluster's gossip (nodePreference=readOnlyReplica) or\n\
             under their own names, <name>-replica-1.<namespace>.",
        ),
    ],
};

static CERTIFICATES: Table = Table {
    doc: "",
    keys: &[
        text(
            "ca",
            OneOf(&["secret", "ephemeral", "files"]),
            Or(Sample::Text("secret")),
            "Where the certificate authority (CA) that signs the nodes' certificates comes from: \"secret\" is one of the deployment, in\n\
             the secret <name>/ca, which the first task makes and `certgen ca rotate` replaces; \"ephemeral\" makes one in every new task,\n\
             for a single node whose clients read the CA from its secret; \"files\" are in the image of certgen.",
        ),
        text(
            "ca_secret",
            SECRET,
            Maybe(Sample::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/ca-AbCdEf")),
            "For \"secret\", one that is there already, empty or filled by certgen. Its ARN, with the six characters at its end.",
        ),
        text(
            "ca_certificate",
            FILE,
            Maybe(Sample::Text("/ca/ca.crt")),
            "For \"files\", where they are in the certgen container: certificate and unencrypted key, PEM. Whoever may pull the image\n\
             has the key.",
        ),
        text("ca_key", FILE, Maybe(Sample::Text("/ca/ca.key")), ""),
    ],
};

static CREDENTIALS: Table = Table {
    doc: "",
    keys: &[
        text(
            "rotate_every",
            Like("never|[0-9]{1,4}d"),
            Or(Sample::Text("90d")),
            "Age at which bootstrap replaces the passwords of admin, ops and of users that alternate: \"1d\" to \"3650d\", or \"never\" for\n\
             on demand alone (`bootstrap rotate`). Programs that log in as admin or ops must then read the secret anew.",
        ),
        key(
            "recover_with_node_certificate",
            Flag,
            Or(Sample::Flag(false)),
            "If no password that was ever in the secrets opens the database (a backup of a foreign one, a password that somebody\n\
             changed by hand), let bootstrap set admin's with the node's certificate. Whoever can read that certificate's key can do so\n\
             as well, whatever is said here.",
        ),
        text(
            "admin_secret",
            SECRET,
            Maybe(SECRET_EXAMPLE),
            "Secrets of admin and ops that are there already; they must hold {\"username\": …, \"password\": …}. By ARN, with the six\n\
             characters at its end. bootstrap writes new versions to them. Default: new ones, <name>/admin and <name>/ops.",
        ),
        text(
            "ops_secret",
            SECRET,
            Maybe(Sample::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders/ops-AbCdEf")),
            "",
        ),
        text(
            "kms_key",
            KMS_KEY,
            AWS,
            "Key that encrypts the secrets: \"aws\", the account's key for Secrets Manager; \"own\", a key of the deployment; or the ARN of\n\
             a key that is there. Of existing secrets it is the key that they are encrypted with.",
        ),
    ],
};

static USER: Table = Table {
    doc: "Users that applications log in as, at most 40. Each gets a secret <name>/<login>. They are created, kept in their groups and\n\
          never deleted.",
    keys: &[
        text(
            "login",
            Like(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,61}"),
            Always(Sample::Text("orders")),
            "1 to 62 letters, digits and `_.-`.",
        ),
        text(
            "full_name",
            Like(r"[^\u0000-\u001f\u007f-\u009f]{1,256}"),
            Maybe(Sample::Text("Orders")),
            "Default: the login.",
        ),
        key("groups", Kind::Texts(Like(r"[^\u0000-\u001f\u007f-\u009f]{1,64}")), Maybe(Sample::Texts(&["$ops"])), ""),
        key(
            "alternate",
            Flag,
            Or(Sample::Flag(true)),
            "Two logins take turns, orders and orders-b: the one that is not in use gets the new password, so that a program that read\n\
             the secret at its start goes on until the turn after. With false there is one login, replaced on demand alone.",
        ),
        text(
            "secret",
            SECRET,
            Maybe(Sample::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:shared/orders-AbCdEf")),
            "A secret that is there already. Default: a new one, <name>/<login>.",
        ),
    ],
};

static NETWORK: Table = Table {
    doc: "A new VPC, or with `vpc` and `subnets` one that is there.",
    keys: &[
        text(
            "cidr",
            Like(r"[0-9.]{7,15}/(1[6-9]|2[0-4])"),
            Or(Sample::Text("10.20.0.0/16")),
            "Address range of the new VPC: private (RFC 1918), /16 to /24.",
        ),
        key(
            "zones",
            Integer(Integers::Between(1, 3)),
            Or(Sample::Integer(3)),
            "Availability zones of the new VPC, 1 to 3, of which the region must have as many. Their number cannot be changed\n\
             afterwards: a single node in fewer than three can only become a cluster with `allow_fewer_zones`.",
        ),
        text(
            "egress",
            OneOf(&["one-nat", "nat-per-zone", "public-ip", "endpoints"]),
            Or(Sample::Text("one-nat")),
            "How tasks in the new VPC reach AWS and image registries: \"one-nat\", from private subnets through one NAT gateway for all\n\
             zones; \"nat-per-zone\", through one in each; \"public-ip\", from public subnets with a public address each and without\n\
             a NAT gateway; \"endpoints\", not at all: from private subnets to endpoints in the VPC, so that all images come from\n\
             the ECR of the region (docs/network.md). Endpoints in three zones cost more than a NAT gateway.",
        ),
        text(
            "flow_logs",
            OneOf(&["rejected", "all", "none"]),
            Or(Sample::Text("rejected")),
            "What is recorded of the traffic in the new VPC, in a log group with `logs.retention_days`: \"rejected\", what security groups\n\
             refused, which is little; \"all\", which CloudWatch Logs charges by the GB and grows with the clients; or \"none\".",
        ),
        text(
            "s3_prefix_list",
            Like("pl-([0-9a-f]{8}|[0-9a-f]{17})"),
            Maybe(Sample::Text("pl-6da54004")),
            "For \"endpoints\" and `endpoint_security_group`: AWS's list of the addresses of S3 in the region, by its id, which differs by\n\
             region. `aws ec2 describe-managed-prefix-lists` prints it, by the name com.amazonaws.REGION.s3.",
        ),
        key(
            "ecs_endpoints",
            Flag,
            Or(Sample::Flag(false)),
            "For \"endpoints\": those of ECS too, which Fargate needs in regions opened since 2023-12-23 and in no other.",
        ),
        text(
            "vpc",
            Like("vpc-[0-9a-f]{8,17}"),
            Maybe(Sample::Text("vpc-0123456789abcdef0")),
            "An existing VPC, with DNS support and DNS host names, whose subnets have a way to AWS and to image registries.",
        ),
        key(
            "subnets",
            Kind::Texts(Like("subnet-[0-9a-f]{8,17}")),
            Maybe(Sample::Texts(&["subnet-0123456789abcdef0", "subnet-0123456789abcdef1", "subnet-0123456789abcdef2"])),
            "Its subnets, each in a zone of its own. Node i of a cluster stands in the i-th, and begins anew behind the last. Do not\n\
             change their order afterwards: nodes and mount targets would move.",
        ),
        key(
            "public_ip",
            Flag,
            Or(Sample::Flag(false)),
            "Give tasks in the existing subnets, which then must be public, a public address.",
        ),
        text(
            "endpoint_security_group",
            Like("sg-[0-9a-f]{8,17}"),
            Maybe(Sample::Text("sg-0123456789abcdef0")),
            "Security group of the endpoints in the existing VPC (docs/network.md lists which), to which the way from the nodes is opened:\n\
             HTTPS of the nodes and consumers then goes to them and to `s3_prefix_list` alone, and all images come from ECR. Default:\n\
             it goes to every address, and routes decide.",
        ),
        key(
            "allow_fewer_zones",
            Flag,
            Or(Sample::Flag(false)),
            "Let a cluster stand in fewer than three zones: the loss of one may then be the loss of the majority.",
        ),
        text(
            "admin_cidr",
            Like(r"[0-9.]{7,15}/[0-9]{1,2}"),
            Maybe(Sample::Text("198.51.100.0/24")),
            "Range of addresses (an office, a VPN) from which people reach the server's port, and with it the admin UI. Default: nobody;\n\
             programs open the way in their own stacks.",
        ),
    ],
};

/// Names of containers and volumes.
const PART: Text = Like("[a-z]([a-z0-9-]{0,30}[a-z0-9])?");
const VARIABLE: &str = "[A-Za-z_][A-Za-z0-9_]{0,254}";
const DIRECTORY: Text = Like(r"(/[^/:\u0000-\u001f\u007f]+)+");

static CONTAINER: Table = Table {
    doc: "A container of your own in the task of every node: a log router, a collector of metrics. Its root file system is read-only, it\n\
          has no capabilities, and what it prints goes to a log group. It shares the network with the server, which is at 127.0.0.1, and\n\
          the task's role, with which it may do what bootstrap may: read and write the secrets of the deployment. Only run what you trust.\n\
          The server waits for none of them; none may be named certgen, guard, eventstore or bootstrap.",
    keys: &[
        text("name", PART, Always(Sample::Text("collector")), ""),
        text("image", IMAGE, Always(Sample::Text("public.ecr.aws/aws-observability/aws-otel-collector:v0.43.3")), ""),
        key(
            "essential",
            Flag,
            Or(Sample::Flag(false)),
            "With true the task, and so the server, ends with this container.",
        ),
        key("entry_point", Arguments, Maybe(Sample::Texts(&["/collector"])), "Default: the image's."),
        key("command", Arguments, Maybe(Sample::Texts(&["--config=/etc/collector.yaml"])), ""),
        text(
            "user",
            Like("[0-9]{1,5}(:[0-9]{1,5})?"),
            Maybe(Sample::Text("4317:4317")),
            "uid, or uid:gid. Default: the image's. With the server's uid it could read the node's private key in `certs`.",
        ),
        key(
            "environment",
            Map(VARIABLE, Values::Settings),
            Maybe(Sample::Toml(r#"{ LOG_LEVEL = "info", PORT = 4318 }"#)),
            "Variables. What must not be seen goes into `secrets`.",
        ),
        key(
            "secrets",
            Map(
                VARIABLE,
                Values::Texts(Like(
                    r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}(:[^:\s]*:[^:\s]*:[^:\s]*)?",
                )),
            ),
            Maybe(Sample::Toml(
                r#"{ API_KEY = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/api-AbCdEf:apiKey::" }"#,
            )),
            "Variables that ECS sets to a secret when it starts the task: its ARN, or `<ARN>:<key>::` for one value of a JSON secret.",
        ),
        text(
            "secrets_kms_key",
            Like(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]{36,64}"),
            Maybe(Sample::Text("arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef")),
            "Key that these secrets are encrypted with, if it is not the account's own for Secrets Manager.",
        ),
        key(
            "mounts",
            Sections(&MOUNT),
            Maybe(Sample::Toml(
                r#"[{ volume = "spool", path = "/var/spool/collector" }, { volume = "certs", path = "/certs", read_only = true }]"#,
            )),
            "Volumes of [[volumes]]; and of ours, read-only, `certs` (ca/ has the certificates of the authority), `run` (the status files\n\
             of guard and bootstrap) and, with server.log_volume, `logs`.",
        ),
        key(
            "depends_on",
            Map("[a-z]([a-z0-9-]{0,30}[a-z0-9])?", Values::Texts(OneOf(&["START", "COMPLETE", "SUCCESS", "HEALTHY"]))),
            Maybe(Sample::Toml(r#"{ eventstore = "START" }"#)),
            "Containers it waits for: \"START\", they run; \"COMPLETE\", they have ended; \"SUCCESS\", with exit code 0; \"HEALTHY\", their health\n\
             check says so. Until all containers have started the task has not, and if one that is waited for fails, ECS stops it as a whole.",
        ),
        key(
            "health_check",
            Section(&HEALTH_CHECK),
            Maybe(Sample::Toml(
                r#"{ command = ["/healthcheck"], interval = 30, timeout = 5, retries = 3, start_period = 60 }"#,
            )),
            "Program and arguments that ECS runs in the container, without a shell; seconds between two checks (5 to 300), for one (2 to\n\
             60), failures in a row that count (1 to 10), and seconds at the start in which they do not (0 to 300).",
        ),
        key(
            "start_timeout",
            Integer(Integers::Between(2, 120)),
            Maybe(Sample::Integer(60)),
            "Seconds until containers that wait for this one give up, and the whole task with them, 2 to 120.",
        ),
        key(
            "stop_timeout",
            Integer(Integers::Between(2, 120)),
            Maybe(Sample::Integer(30)),
            "Seconds between SIGTERM and SIGKILL, 2 to 120. Default: ECS's, 30.",
        ),
        key(
            "read_only_root",
            Flag,
            Or(Sample::Flag(true)),
            "With false the container may write to its root file system; better is a volume where the image writes.",
        ),
        key(
            "capabilities_add",
            Kind::Texts(OneOf(&["SYS_PTRACE"])),
            Maybe(Sample::Texts(&["SYS_PTRACE"])),
            "Fargate offers no other.",
        ),
        key(
            "cpu",
            Integer(Integers::Between(2, 16_384)),
            Maybe(Sample::Integer(128)),
            "CPU units of the task's that are its share, MiB that it may not exceed, and MiB that are kept for it. At least 2048 MiB must\n\
             remain for the server.",
        ),
        key("memory", Integer(Integers::Between(6, MOST_MEMORY_MIB)), Maybe(Sample::Integer(512)), ""),
        key("memory_reservation", Integer(Integers::Between(6, MOST_MEMORY_MIB)), Maybe(Sample::Integer(256)), ""),
        refused("privileged", "Fargate has no privileged containers; take it out"),
    ],
};

static MOUNT: Table = Table {
    doc: "",
    keys: &[
        text("volume", PART, Always(Sample::Text("spool")), ""),
        text("path", DIRECTORY, Always(Sample::Text("/var/spool/collector")), ""),
        key("read_only", Flag, Or(Sample::Flag(false)), ""),
    ],
};

static HEALTH_CHECK: Table = Table {
    doc: "",
    keys: &[
        key("command", Arguments, Always(Sample::Texts(&["/healthcheck"])), ""),
        key("interval", Integer(Integers::Between(5, 300)), Or(Sample::Integer(30)), ""),
        key("timeout", Integer(Integers::Between(2, 60)), Or(Sample::Integer(5)), ""),
        key("retries", Integer(Integers::Between(1, 10)), Or(Sample::Integer(3)), ""),
        key("start_period", Integer(Integers::Between(0, 300)), Or(Sample::Integer(0)), ""),
    ],
};

static VOLUME: Table = Table {
    doc: "A volume for these containers, at most 8 that live as long as the task and can be written by every uid. With `file_system`, a place\n\
          on a file system (EFS) of yours, which the tasks of all nodes share.",
    keys: &[
        text("name", PART, Always(Sample::Text("spool")), ""),
        text(
            "file_system",
            Like("fs-[0-9a-f]{8,17}"),
            Maybe(Sample::Text("fs-0fedcba9876543210")),
            "A file system with mount targets in the nodes' zones, not the database's; and the security group of these, to which the way\n\
             from the nodes is opened.",
        ),
        text("security_group", Like("sg-[0-9a-f]{8,17}"), Maybe(Sample::Text("sg-0fedcba9876543210")), ""),
        text(
            "access_point",
            Like("fsap-[0-9a-f]{8,17}"),
            Maybe(Sample::Text("fsap-0123456789abcdef0")),
            "An access point of it, or a directory (default: its root), not both.",
        ),
        text("root_directory", DIRECTORY, Maybe(Sample::Text("/collector")), ""),
        key("iam", Flag, Or(Sample::Flag(true)), "Mount it with the task's role, which is granted that."),
        key(
            "transit_encryption",
            Flag,
            Or(Sample::Flag(true)),
            "Only true: what is read and written goes over the network.",
        ),
        refused(
            "host_path",
            "tasks on Fargate see no path of a host; take it out, and the volume lives as long as the task",
        ),
        refused(
            "source_path",
            "tasks on Fargate see no path of a host; take it out, and the volume lives as long as the task",
        ),
    ],
};

static DISCOVERY: Table = Table {
    doc: "A namespace of Cloud Map that is there already, named in `namespace`: both keys, or neither for a new one. The negative TTL in\n\
          the SOA record of its hosted zone should be 5 s: for so long nodes and clients remember that a name was missing.",
    keys: &[
        text("namespace_id", Like("ns-[a-z0-9]{1,64}"), Maybe(Sample::Text("ns-0123456789abcdef")), ""),
        text("hosted_zone_id", Like("Z[A-Z0-9]{1,31}"), Maybe(Sample::Text("Z0123456789ABCDEFGHIJ")), ""),
    ],
};

static DATA: Table = Table {
    doc: "The file system (EFS) with the database. Every node has a directory of its own behind an access point.",
    keys: &[
        text(
            "file_system",
            Like("fs-[0-9a-f]{8,17}"),
            Maybe(Sample::Text("fs-0123456789abcdef0")),
            "A file system that is there already, with mount targets in all zones; and the security group of these, to which the way from\n\
             the nodes is opened. The keys from `name` to `kms_key` are for a new one only.",
        ),
        text("security_group", Like("sg-[0-9a-f]{8,17}"), Maybe(Sample::Text("sg-0123456789abcdef0")), ""),
        text(
            "root",
            Like(r"/|(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){1,2}"),
            Or(Sample::Text("/")),
            "Directory under which the nodes' directories are: <root>/node-1/data. Decide before the first deployment: with another one\n\
             afterwards the nodes begin with empty directories, and what they had stays where it was.",
        ),
        text(
            "name",
            Like(r"[A-Za-z0-9 +=._:/@-]{1,256}"),
            Maybe(Sample::Text("orders-data")),
            "Name of the file system. Default: <name>-data.",
        ),
        text(
            "performance_mode",
            OneOf(&["generalPurpose"]),
            Or(Sample::Text("generalPurpose")),
            "Only \"generalPurpose\": \"maxIO\" makes every single operation of the database slower.",
        ),
        text(
            "throughput",
            OneOf(&["elastic", "bursting", "provisioned"]),
            Or(Sample::Text("elastic")),
            "\"elastic\" takes what it needs and is paid by use; \"bursting\" grows with the size, 50 KiB/s per GiB, so that a young\n\
             database lives on credits; \"provisioned\" is paid by `provisioned_mibps`.",
        ),
        key(
            "provisioned_mibps",
            Integer(Integers::Between(1, 3414)),
            Maybe(Sample::Integer(16)),
            "For \"provisioned\": MiB/s, 1 to 3414.",
        ),
        text(
            "infrequent_access",
            OneOf(&["never", "1d", "7d", "14d", "30d", "60d", "90d", "180d", "270d", "365d"]),
            Or(Sample::Text("never")),
            "Days without access after which files move to the cheaper class with slower, paid reads; they come back with the first\n\
             access. Every new subscription, scavenge and rebuild of an index reads old chunks. \"never\", or \"1d\", \"7d\", \"14d\", \"30d\",\n\
             \"60d\", \"90d\", \"180d\", \"270d\", \"365d\".",
        ),
        key(
            "automatic_backups",
            Flag,
            Or(Sample::Flag(false)),
            "Backups that AWS makes every day into the vault aws/efs/automatic-backup-vault. Its recovery points cannot be deleted at\n\
             will, and they are copies of a running node. Not together with `backup`.",
        ),
        text(
            "kms_key",
            KMS_KEY,
            AWS,
            "Key that encrypts the file system: \"aws\", \"own\" or an ARN, as in `credentials`. It cannot be changed afterwards.",
        ),
        text(
            "replicate_to",
            REGION,
            Maybe(Sample::Text("eu-central-1")),
            "Another region, in which EFS keeps a read-only copy of the file system up to date, within minutes: a copy of running nodes\n\
             as of an online backup, with the same mistakes in it, and no replacement for one.",
        ),
        text(
            "restored",
            Like(r"arn:aws[a-z-]*:backup:[a-z0-9-]+:[0-9]{12}:recovery-point:[A-Za-z0-9-]{1,64}"),
            Maybe(Sample::Text(
                "arn:aws:backup:eu-west-1:123456789012:recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45",
            )),
            "The recovery point that `file_system` was restored from; `infra restore-plan` prints the whole way. With the directory in\n\
             `root` the last node begins where the backup ends, once; the others of a cluster begin empty and copy from it. While the\n\
             key is there, a cluster runs no more nodes than its majority, so that none can be elected without the restored one.",
        ),
        key(
            "retain",
            Flag,
            Or(Sample::Flag(true)),
            "Keep the file system and the access points when the stack is deleted. With false they go with it, and the data with them.",
        ),
        refused(
            "access_point",
            "every node has access points of its own, for a directory that two servers share is the end of the database; take it out, \
             and set `root` to say where they are",
        ),
    ],
};

static BACKUP: Table = Table {
    doc: "A daily backup of the file system by AWS Backup, which copies file after file. Of copies of a running node 3 of 8 opened.",
    keys: &[
        key(
            "enabled",
            Flag,
            Maybe(Sample::Flag(true)),
            "Default: true for a cluster (unless data.automatic_backups), false for a single node, for which `mode` must be decided.",
        ),
        text(
            "mode",
            OneOf(&["stop", "online"]),
            Maybe(Sample::Text("stop")),
            "\"stop\": one node, always the last, is stopped, and started again when the job has ended; only that node's directory is\n\
             promised to open. A cluster goes on meanwhile with one node less; if the node is needed for the majority, it is not\n\
             stopped and there is no backup that day. A single node is an outage until the job has ended. Whoever updates the stack\n\
             meanwhile starts the node in the middle of its backup.\n\
             \"online\": nothing stops, and nobody promises that a copy opens.\n\
             Default: \"stop\" for a cluster. A single node has none.",
        ),
        text(
            "vault",
            Like("[A-Za-z0-9_-]{2,50}"),
            Maybe(Sample::Text("Default")),
            "A vault that is there already. Default: a new one, <name>-backup, which is kept when the stack is deleted.",
        ),
        text("kms_key", KMS_KEY, AWS, "Key of the new vault: \"aws\", \"own\" or an ARN, as in `credentials`."),
        key(
            "vault_lock_days",
            Integer(Integers::Between(1, 36500)),
            Maybe(Sample::Integer(7)),
            "Lock the new vault: nobody may delete a recovery point before this age, at most delete_after_days, except those who may\n\
             take the lock off again (governance mode).",
        ),
        text(
            "copy_to",
            Like("arn:aws[a-z-]*:backup:[a-z0-9-]+:[0-9]{12}:backup-vault:[A-Za-z0-9_-]{2,50}"),
            Maybe(Sample::Text("arn:aws:backup:eu-central-1:123456789012:backup-vault:orders-copies")),
            "A vault in another region or account that every recovery point is copied to, for as many days.",
        ),
        text(
            "daily_at",
            Like("([01][0-9]|2[0-3]):[0-5][0-9]"),
            Or(Sample::Text("02:00")),
            "When, UTC: then the job may begin, or with \"stop\" the node is stopped, and the job begins as soon as it is down.",
        ),
        key(
            "start_window_minutes",
            Integer(Integers::Between(60, 1440)),
            Or(Sample::Integer(60)),
            "Minutes in which it must have begun, at least 60, and in which it must be complete, or it is given up.",
        ),
        key("completion_window_minutes", Integer(Integers::Between(61, 10080)), Or(Sample::Integer(120)), ""),
        key(
            "delete_after_days",
            Integer(Integers::Between(1, 36500)),
            Or(Sample::Integer(35)),
            "Days after which a recovery point is deleted.",
        ),
    ],
};

static SCAVENGE: Table = Table {
    doc: "The server gives up the space of what was deleted only when it scavenges.",
    keys: &[
        text(
            "at",
            Like("([A-Za-z]{3} )?([01][0-9]|2[0-3])(:[0-5][0-9]){1,2}"),
            Maybe(Sample::Text("Sun 03:00")),
            "When, UTC: a time of every day, \"03:00\", or of one day of the week, \"Sun 03:00\". In a cluster one node at a time begins, and\n\
             the leader not at all. Not while a node may be down for its backup. Default: never.",
        ),
        text(
            "window",
            Like("[0-9]{1,9}(ms|s|m|h)"),
            Or(Sample::Text("8h")),
            "How long after that time a node may still begin; then it waits for the next. Shorter than the time from one to the next.",
        ),
    ],
};

static IMAGES: Table = Table {
    doc: "Images with tag or digest. Those in a private registry of ECR are pulled with the rights of the task's execution role.",
    keys: &[
        text(
            "server",
            IMAGE,
            Maybe(Sample::Text("docker.eventstore.com/eventstore/eventstoredb-ee:24.10")),
            "Image of the server. Default: the vendor's image of the line.",
        ),
        text(
            "certgen",
            IMAGE,
            Maybe(Sample::Text("123456789012.dkr.ecr.eu-west-1.amazonaws.com/eventstore-fargate/certgen:0.1.0")),
            "Images of certgen (with guard inside) and bootstrap. Default: the repositories eventstore-fargate/certgen and\n\
             eventstore-fargate/bootstrap in the ECR of the account and region of the stack, tagged with this version of infra.",
        ),
        text(
            "bootstrap",
            IMAGE,
            Maybe(Sample::Text("123456789012.dkr.ecr.eu-west-1.amazonaws.com/eventstore-fargate/bootstrap:0.1.0")),
            "",
        ),
        text(
            "build",
            Like(r"[^\u0000-\u001f\u007f]{1,1024}"),
            Maybe(Sample::Text("docker")),
            "Instead of `certgen` and `bootstrap`, a directory with certgen.Dockerfile, bootstrap.Dockerfile and what they copy, seen from\n\
             this file: `cdk deploy` builds both and pushes them to the registry that `cdk bootstrap` made.",
        ),
        key(
            "pull_through",
            Kind::Texts(Like("[a-z0-9]+([._/-][a-z0-9]+)*")),
            Or(Sample::Texts(&["docker-hub", "ecr-public", "github", "kubernetes", "quay"])),
            "What repositories of ECR begin with that are pull-through caches. The tasks' execution role may then fill them. A first pull\n\
             needs a way to the internet, so with endpoints alone an image of such a repository is refused.",
        ),
    ],
};

static LOGS: Table = Table {
    doc: "",
    keys: &[
        key(
            "retention_days",
            Integer(Integers::OneOf(RETENTION_DAYS)),
            Or(Sample::Integer(30)),
            "Days after which CloudWatch Logs deletes log events.",
        ),
        text("kms_key", KMS_KEY, AWS, "Key that encrypts them: \"aws\", \"own\" or an ARN, as in `credentials`."),
    ],
};

static DEPLOY: Table = Table {
    doc: "",
    keys: &[
        text(
            "platform_version",
            OneOf(&["1.4.0", "LATEST"]),
            Or(Sample::Text("1.4.0")),
            "Platform version of Fargate: \"1.4.0\" or \"LATEST\".",
        ),
        text(
            "max_catch_up",
            Like("[0-9]{1,10}[smhd]"),
            Or(Sample::Text("3h")),
            "How long a node may take to open its database and to catch up before ECS judges its health: \"90m\", \"3h\", \"2d\". Shorter than\n\
             a large database needs, and its task is replaced again and again.",
        ),
        text(
            "execution_role",
            Like("arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+"),
            Maybe(Sample::Text("arn:aws:iam::123456789012:role/ecs-execution")),
            "A role that is there already, with which ECS starts the tasks: pulls images, writes logs, reads the first passwords.\n\
             Default: a new one for each node.",
        ),
        key(
            "execution_role_reads_secrets",
            Flag,
            Or(Sample::Flag(false)),
            "Say that `execution_role` may read the secrets of [[containers]]: infra grants nothing to a role of yours, and a task whose\n\
             secrets cannot be read does not start.",
        ),
        text(
            "update",
            OneOf(&["node-by-node", "all-at-once"]),
            Or(Sample::Text("node-by-node")),
            "How the services of a cluster are updated: \"node-by-node\", the next when the one before runs again, and its task is kept until\n\
             the others are a quorum; \"all-at-once\", for changes with which old and new nodes do not find or trust each other\n\
             (server.port, server.insecure, namespace), and to mend a cluster of which no node comes up. The cluster is then away\n\
             until its nodes are back.",
        ),
        text(
            "cdk_qualifier",
            Like("[a-z0-9]{1,10}"),
            Or(Sample::Text("hnb659fds")),
            "Qualifier that the account was bootstrapped with, for `images.build`.",
        ),
        refused(
            "desired_count",
            "it is always 1: a second task would be a second server on one directory, which destroys the database; take it out, and \
             for more nodes set cluster.nodes",
        ),
        refused(
            "maximum_percent",
            "it is always 100: with more ECS starts the new task beside the old one, and two servers on one directory destroy the \
             database; take it out",
        ),
        refused(
            "minimum_healthy_percent",
            "it is always 0: the old task must be able to end before the new one starts; take it out",
        ),
        refused(
            "az_rebalancing",
            "it is always DISABLED: to balance zones ECS starts a second task first, two servers on one directory, and it does not \
             go with a maximum of 100 %; take it out",
        ),
        refused(
            "capacity_provider",
            "it is always Fargate on demand: Spot takes a task away within two minutes, of several nodes at once; take it out",
        ),
        refused(
            "execute_command",
            "it is always off: our images have no shell and root file systems are read-only, which ECS Exec needs to write to; take \
             it out",
        ),
    ],
};

static ALARMS: Table = Table {
    doc: "Alarms of CloudWatch on nodes, passwords, certificates and the file system; docs/alarms.md lists them. Who is to hear of them is\n\
          told of failed backups and deployments too, and when AWS is about to retire tasks.",
    keys: &[
        key("enabled", Flag, Or(Sample::Flag(true)), ""),
        text(
            "topic",
            Like("arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}"),
            Maybe(Sample::Text("arn:aws:sns:eu-west-1:123456789012:operations")),
            "Who hears of them: a topic of SNS that is there, whose policy lets CloudWatch and EventBridge publish; or addresses, each of\n\
             which must confirm a mail of AWS's, behind a new topic. Default: nobody.",
        ),
        key(
            "emails",
            Kind::Texts(Like(r"[^\s@]{1,64}@[^\s@]{1,189}")),
            Maybe(Sample::Texts(&["operations@example.com"])),
            "",
        ),
        text(
            "kms_key",
            Like(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]{36,64}"),
            Maybe(Sample::Text("arn:aws:kms:eu-west-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef")),
            "Key that encrypts the new topic, whose policy lets CloudWatch and EventBridge use it; AWS's own key for SNS does not. Default:\n\
             none. What the topic carries is names of alarms and events, no data of the database.",
        ),
        key(
            "down_minutes",
            Integer(Integers::Between(1, 1440)),
            Or(Sample::Integer(15)),
            "Minutes for which ECS may fail to run a task that it should run. An update takes a few.",
        ),
        key(
            "unregistered_minutes",
            Integer(Integers::Between(5, 1440)),
            Or(Sample::Integer(60)),
            "Minutes for which clients may not find a node, because it starts, catches up, is not secured or is away on purpose.",
        ),
        key(
            "memory_percent",
            Integer(Integers::Between(1, 100)),
            Or(Sample::Integer(90)),
            "Share of the task's memory above which there is an alarm, after 15 minutes.",
        ),
        key(
            "certificate_days",
            Integer(Integers::Between(1, 120)),
            Or(Sample::Integer(30)),
            "Days that a node's certificate must still be valid. bootstrap renews it when a third of its year is left.",
        ),
        key(
            "file_system_percent",
            Integer(Integers::Between(1, 100)),
            Or(Sample::Integer(90)),
            "Share of what the file system can do above which there is an alarm, after 15 minutes: of its throughput, and unless that is\n\
             \"elastic\", of its operations.",
        ),
        key(
            "burst_credit_gib",
            Integer(Integers::Between(1, 2100)),
            Or(Sample::Integer(500)),
            "With throughput = \"bursting\", the credits in GiB that must be left. At full speed, 100 MiB/s, 352 go in an hour.",
        ),
    ],
};

impl Table {
    /// The key of this name.
    ///
    /// # Panics
    ///
    /// If there is none: the parser asks for keys of this table only.
    pub(crate) fn key(&self, name: &str) -> &'static Key {
        self.keys.iter().find(|key| key.name == name).unwrap_or_else(|| panic!("no key `{name}` in the table"))
    }
}

/// The key under a path of sections, if there is one.
pub(crate) fn at(path: &[&str]) -> Option<&'static Key> {
    let (name, sections) = path.split_last()?;
    let inner = sections.iter().try_fold(&ROOT, |table, section| {
        match table.keys.iter().find(|key| key.name == *section)?.kind {
            Section(inner) | Sections(inner) => Some(inner),
            _ => None,
        }
    });
    inner?.keys.iter().find(|key| key.name == *name)
}

/// The key of this name with its sections: `data.kms_key`, `containers[0].image`.
fn named(path: &str) -> Option<&'static Key> {
    let sections: Vec<_> = path.split('.').map(|name| name.split_once('[').map_or(name, |(name, _)| name)).collect();
    at(&sections)
}

/// Whether there is such a key.
#[cfg(test)]
pub(crate) fn is_key(path: &str) -> bool {
    named(path).is_some()
}

/// Whether something holds if the file says nothing of the key.
pub(crate) fn has_default(path: &str) -> bool {
    named(path).is_some_and(|key| matches!(key.given, Or(_)))
}

/// Every key that holds a value, with its sections and values that may be allowed; [[…]] as a whole.
#[cfg(test)]
pub(crate) fn leaves() -> Vec<(String, Vec<toml::Value>)> {
    fn walk(path: &str, table: &Table, found: &mut Vec<(String, Vec<toml::Value>)>) {
        for key in table.keys {
            let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            let mut values: Vec<toml::Value> = match &key.kind {
                Section(inner) => {
                    walk(&path, inner, found);
                    continue;
                }
                Refused => continue,
                Kind::Text(OneOf(words)) => words.iter().map(|word| (*word).into()).collect(),
                Integer(Integers::OneOf(numbers)) => numbers.iter().take(3).map(|number| (*number).into()).collect(),
                Integer(Integers::Between(least, most)) => vec![(*least).into(), (*most).into()],
                Flag => vec![true.into(), false.into()],
                Kind::Text(_) | Kind::Texts(_) | Sections(_) | Kind::Tags | Options | Arguments | Map(..) => Vec::new(),
            };
            if let Always(sample) | Or(sample) | Maybe(sample) = &key.given {
                values.push(sample.to_value());
            }
            found.push((path, values));
        }
    }
    let mut found = Vec::new();
    walk("", &ROOT, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ServerLine;

    /// The type decides; the table shows.
    #[test]
    fn the_lines_in_the_table_are_all_lines() {
        let Kind::Text(OneOf(lines)) = &SERVER.key("line").kind else { panic!("a closed list") };
        assert!(lines.iter().copied().eq(ServerLine::ALL.map(ServerLine::as_str)));
    }

    #[test]
    fn every_key_stands_there_once() {
        fn check(table: &Table) {
            for (index, key) in table.keys.iter().enumerate() {
                assert!(table.keys[..index].iter().all(|other| other.name != key.name), "{}", key.name);
                if let Section(inner) | Sections(inner) = &key.kind {
                    check(inner);
                }
            }
        }
        check(&ROOT);
    }
}
