//! What the roles of a node may do: every action with who asks for it and when.
//!
//! No other place grants them an action, but for what a configuration asks for on top: a licence (`license`), images of
//! pull-through caches (`pull_through`), containers of the user's own (`extra`). `docs/permissions.md` is made of it, and a
//! test of testkit runs the programs and compares.

use serde_json::Value;

use super::Statement;

/// A role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// What ECS assumes to start the task.
    Execution,
    /// What the programs in the task have.
    Task,
}

/// A statement of a role's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// The role.
    pub role: Role,
    /// The statement's `Sid`.
    pub sid: &'static str,
    /// What it is granted on.
    pub resource: &'static str,
    /// When a deployment has the statement; empty for always.
    pub only: &'static str,
    /// The actions.
    pub grants: &'static [Grant],
}

/// An action that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name in IAM.
    pub action: &'static str,
    /// Who asks for it.
    pub caller: &'static str,
    /// When and what for.
    pub reason: &'static str,
}

const fn grant(action: &'static str, caller: &'static str, reason: &'static str) -> Grant {
    Grant { action, caller, reason }
}

const SECURED: &str = "secured";
const CA_SECRET: &str = "`certificates.ca = \"secret\"`";
const OWN_KEY: &str = "a key of its own for secrets";

pub(super) const WRITE_LOGS: Privilege = Privilege {
    role: Role::Execution,
    sid: "WriteLogs",
    resource: "the log groups of the node's containers",
    only: "",
    grants: &[
        grant("logs:CreateLogStream", "ECS", "a container starts"),
        grant("logs:PutLogEvents", "ECS", "a container writes a line"),
    ],
};
pub(super) const PULL_IMAGES: Privilege = Privilege {
    role: Role::Execution,
    sid: "PullImages",
    resource: "the repositories of the node's images",
    only: "an image comes from ECR",
    grants: &[
        grant("ecr:BatchCheckLayerAvailability", "ECS", "an image is pulled"),
        grant("ecr:BatchGetImage", "ECS", "an image is pulled"),
        grant("ecr:GetDownloadUrlForLayer", "ECS", "an image is pulled"),
    ],
};
pub(super) const LOG_IN_TO_REGISTRY: Privilege = Privilege {
    role: Role::Execution,
    sid: "LogInToRegistry",
    resource: "`*`: the action takes no resource",
    only: "an image comes from ECR",
    grants: &[grant("ecr:GetAuthorizationToken", "ECS", "an image is pulled")],
};
pub(super) const READ_FIRST_PASSWORDS: Privilege = Privilege {
    role: Role::Execution,
    sid: "ReadFirstPasswords",
    resource: "the secrets of `admin` and `ops`",
    only: "secured, and the server takes its first passwords from variables (23.10 and later)",
    grants: &[grant("secretsmanager:GetSecretValue", "ECS", "the server's container starts")],
};
pub(super) const DECRYPT_FIRST_PASSWORDS: Privilege = Privilege {
    role: Role::Execution,
    sid: "UseKeyOfSecrets",
    resource: "the key, by way of Secrets Manager alone",
    only: "as `ReadFirstPasswords`, with a key of its own for secrets",
    grants: &[grant("kms:Decrypt", "Secrets Manager", "a secret is read")],
};

pub(super) const MOUNT_OWN_DATA: Privilege = Privilege {
    role: Role::Task,
    sid: "MountOwnData",
    resource: "the file system, through the node's own access points alone",
    only: "",
    grants: &[
        grant("elasticfilesystem:ClientMount", "EFS", "the task starts: ECS mounts its volumes with this role"),
        grant("elasticfilesystem:ClientWrite", "EFS", "the server and guard write"),
    ],
};
/// What is granted to whoever looks at credentials.
const DESCRIBE: Grant =
    grant("secretsmanager:DescribeSecret", "bootstrap", "all the while: which version has which label");
const READ: Grant =
    grant("secretsmanager:GetSecretValue", "bootstrap", "a version that has not been read yet is to be tried");
const LIST: Grant = grant(
    "secretsmanager:ListSecretVersionIds",
    "bootstrap",
    "no version with a label opens the database, for example after a restore: those without are tried",
);
pub(super) const KEEP_CREDENTIALS: Privilege = Privilege {
    role: Role::Task,
    sid: "KeepCredentials",
    resource: "the secrets of users",
    only: SECURED,
    grants: &[
        DESCRIBE,
        READ,
        LIST,
        grant("secretsmanager:PutSecretValue", "bootstrap", "a new password or new connection details are stored"),
        grant("secretsmanager:UpdateSecretVersionStage", "bootstrap", "the database has the new password"),
    ],
};
pub(super) const LOOK_AT_CREDENTIALS: Privilege = Privilege {
    role: Role::Task,
    sid: "LookAtCredentials",
    resource: "the secrets of users",
    only: "a read-only replica, in place of `KeepCredentials`: only the leader's sidecar changes a password",
    grants: &[DESCRIBE, READ, LIST],
};
pub(super) const REGISTER_NODE: Privilege = Privilege {
    role: Role::Task,
    sid: "RegisterNode",
    resource: "the Cloud Map service that clients look up",
    only: "",
    grants: &[
        grant("servicediscovery:DeregisterInstance", "bootstrap", "the task stops, or another node is dead"),
        grant("servicediscovery:RegisterInstance", "bootstrap", "the node is ready, or what it says has changed"),
    ],
};
pub(super) const LOOK_AT_REGISTRATIONS: Privilege = Privilege {
    role: Role::Task,
    sid: "LookAtRegistrations",
    resource: "`*`, and the Cloud Map service that clients look up as condition `servicediscovery:ServiceArn`: the actions take no \
               resource",
    only: "",
    grants: &[
        grant("servicediscovery:GetInstance", "bootstrap", "all the while: is the node's entry as it should be"),
        grant(
            "servicediscovery:ListInstances",
            "bootstrap",
            "beside the leader: entries of dead nodes, and what all nodes show of a rotation of the authority",
        ),
    ],
};
pub(super) const FOLLOW_REGISTRATION: Privilege = Privilege {
    role: Role::Task,
    sid: "FollowRegistration",
    resource: "`*`: operations have no ARN",
    only: "",
    grants: &[grant("servicediscovery:GetOperation", "bootstrap", "an entry was written or removed: has it happened")],
};
pub(super) const WRITE_DNS_RECORDS: Privilege = Privilege {
    role: Role::Task,
    sid: "WriteDnsRecords",
    resource: "the hosted zone of the namespace",
    only: "",
    grants: &[
        grant(
            "route53:ChangeResourceRecordSets",
            "Cloud Map",
            "an entry is written or removed: with the caller's rights",
        ),
        grant("route53:GetHostedZone", "Cloud Map", "an entry is written or removed: with the caller's rights"),
    ],
};
pub(super) const FIND_HOSTED_ZONE: Privilege = Privilege {
    role: Role::Task,
    sid: "FindHostedZone",
    resource: "`*`: the action takes no resource",
    only: "",
    grants: &[grant(
        "route53:ListHostedZonesByName",
        "Cloud Map",
        "an entry is written or removed: with the caller's rights",
    )],
};
pub(super) const PROTECT_TASK: Privilege = Privilege {
    role: Role::Task,
    sid: "ProtectTask",
    resource: "the tasks of the cluster: a task's own ARN is known only once it runs",
    only: "more than one node",
    grants: &[grant(
        "ecs:UpdateTaskProtection",
        "the ECS agent, asked by bootstrap",
        "without the node there would be no quorum, or there is one again",
    )],
};
pub(super) const SHARE_AUTHORITY: Privilege = Privilege {
    role: Role::Task,
    sid: "ShareAuthority",
    resource: "the secret of the certificate authority",
    only: CA_SECRET,
    grants: &[
        grant("secretsmanager:DescribeSecret", "certgen", "the secret has no value yet"),
        grant(
            "secretsmanager:GetSecretValue",
            "certgen, bootstrap",
            "a certificate may be due; and every five minutes: is a rotation under way",
        ),
        grant("secretsmanager:PutSecretValue", "certgen, bootstrap", "the first task; the next phase of a rotation"),
        grant(
            "secretsmanager:UpdateSecretVersionStage",
            "certgen, bootstrap",
            "the first task; the next phase of a rotation",
        ),
    ],
};
pub(super) const USE_KEY_OF_SECRETS: Privilege = Privilege {
    role: Role::Task,
    sid: "UseKeyOfSecrets",
    resource: "the key, by way of Secrets Manager alone",
    only: OWN_KEY,
    grants: &[
        grant("kms:Decrypt", "Secrets Manager", "a secret is read or written"),
        grant("kms:GenerateDataKey", "Secrets Manager", "a secret is written"),
    ],
};

/// Every statement that the roles of a node can have.
///
/// A deployment has those of its kind. The role of a node's task is one for all its containers, so the server could do what
/// bootstrap does; guard takes the way to the credentials out of its environment.
pub fn privileges() -> &'static [Privilege] {
    const ALL: &[Privilege] = &[
        WRITE_LOGS,
        PULL_IMAGES,
        LOG_IN_TO_REGISTRY,
        READ_FIRST_PASSWORDS,
        DECRYPT_FIRST_PASSWORDS,
        MOUNT_OWN_DATA,
        KEEP_CREDENTIALS,
        LOOK_AT_CREDENTIALS,
        REGISTER_NODE,
        LOOK_AT_REGISTRATIONS,
        FOLLOW_REGISTRATION,
        WRITE_DNS_RECORDS,
        FIND_HOSTED_ZONE,
        PROTECT_TASK,
        SHARE_AUTHORITY,
        USE_KEY_OF_SECRETS,
    ];
    ALL
}

impl Privilege {
    /// The statement on the resources that it is about in a deployment.
    pub(super) fn on(&self, resource: &Value) -> Statement {
        Statement::grant(self.sid, self.grants, resource, format!("on {}", self.resource))
    }
}
