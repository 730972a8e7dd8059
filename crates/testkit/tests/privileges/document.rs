//! `docs/permissions.md`: the table of grants for people, and what the commands of operators need.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use infra::Role;

/// What operators' commands are about.
pub(crate) const USERS: &str = "the secrets of users";
pub(crate) const AUTHORITY: &str = "the secret of the certificate authority";
pub(crate) const SERVICE: &str = "`*`, with the client service as condition `servicediscovery:ServiceArn`";

/// What a command of an operator needs, with the credentials of whoever runs it.
pub(crate) struct OfOperator {
    command: &'static str,
    action: &'static str,
    on: &'static str,
    /// When, if it is not needed every time.
    pub(crate) rare: &'static str,
}

impl OfOperator {
    pub(crate) fn key(&self) -> (&'static str, &'static str, &'static str) {
        (self.command, self.action, self.on)
    }
}

const fn needs(command: &'static str, action: &'static str, on: &'static str) -> OfOperator {
    OfOperator { command, action, on, rare: "" }
}

const fn rarely(command: &'static str, action: &'static str, on: &'static str, rare: &'static str) -> OfOperator {
    OfOperator { command, action, on, rare }
}

const LOST_LABEL: &str = "a stored password has lost its label";
const TO_TELL: &str = "to tell why the secret cannot be read";

pub(crate) const OPERATORS: [OfOperator; 17] = [
    needs("bootstrap rotate", "secretsmanager:DescribeSecret", USERS),
    needs("bootstrap rotate", "secretsmanager:GetSecretValue", USERS),
    needs("bootstrap rotate", "secretsmanager:PutSecretValue", USERS),
    rarely("bootstrap rotate", "secretsmanager:UpdateSecretVersionStage", USERS, LOST_LABEL),
    needs("bootstrap status", "secretsmanager:DescribeSecret", USERS),
    needs("bootstrap status", "secretsmanager:ListSecretVersionIds", USERS),
    needs("bootstrap status", "servicediscovery:ListInstances", SERVICE),
    rarely("certgen ca rotate", "secretsmanager:DescribeSecret", AUTHORITY, TO_TELL),
    needs("certgen ca rotate", "secretsmanager:GetSecretValue", AUTHORITY),
    needs("certgen ca rotate", "secretsmanager:GetSecretValue", USERS),
    needs("certgen ca rotate", "secretsmanager:PutSecretValue", AUTHORITY),
    needs("certgen ca rotate", "secretsmanager:UpdateSecretVersionStage", AUTHORITY),
    needs("certgen ca rotate", "servicediscovery:ListInstances", SERVICE),
    rarely("certgen ca status", "secretsmanager:DescribeSecret", AUTHORITY, TO_TELL),
    needs("certgen ca status", "secretsmanager:GetSecretValue", AUTHORITY),
    needs("certgen ca status", "secretsmanager:GetSecretValue", USERS),
    needs("certgen ca status", "servicediscovery:ListInstances", SERVICE),
];

const INTRODUCTION: &str = "\
# Permissions

What the roles of a node may do, and who makes use of it. This page is made from the table in `crates/infra/src/lower/privileges.rs`,
from which the templates have their statements (`UPDATE_GOLDEN=1 cargo test -p testkit --test privileges`).

A test runs certgen, guard and bootstrap through all that they do, in a single node, a cluster and an insecure node, records every
call to AWS, and holds it against the roles of the same deployment's template: a call that is not granted fails it, and so does a
grant that is said to be certgen's or bootstrap's and that they do not use. What others ask for in the name of a role, that is ECS,
EFS, Cloud Map and Secrets Manager, nobody sees there; the tables say who does it and when.

Each node has roles of its own. The task role is one for all containers of the task: this is no wall between bootstrap and the
server. guard takes the way to the credentials out of the server's environment.

`infra policies` prints the same reasons beside the statements of one deployment, and those of all other policies in its templates: of
the roles for backups and flow logs, of keys, topics, endpoints and the file system.
";

const OF_OPERATORS: &str = "
## Commands of operators

They run with the credentials of whoever runs them, never with a role of a node. With a key of its own for secrets, reading needs
`kms:Decrypt` on it and writing `kms:GenerateDataKey` as well. `certgen ca rotate` and `status` look at the secrets of users and at the
service only if they are named to them; `bootstrap status` inside the task asks AWS for nothing.

| command | action | on | only |
|---|---|---|---|
";

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (role, title) in [(Role::Task, "Task role"), (Role::Execution, "Execution role")] {
        write!(text, "\n## {title}\n\n| statement | on | if | action | who asks | when |\n|---|---|---|---|---|---|\n")
            .unwrap();
        for privilege in infra::privileges().iter().filter(|privilege| privilege.role == role) {
            let mut first = format!("{} | {} | {}", privilege.sid, privilege.resource, privilege.only);
            for grant in privilege.grants {
                writeln!(text, "| {first} | `{}` | {} | {} |", grant.action, grant.caller, grant.reason).unwrap();
                " | | ".clone_into(&mut first);
            }
        }
    }
    text += OF_OPERATORS;
    for OfOperator { command, action, on, rare } in &OPERATORS {
        writeln!(text, "| `{command}` | `{action}` | {on} | {rare} |").unwrap();
    }
    text
}

#[test]
fn the_page_says_what_is_granted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/permissions.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, document()).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == document(), "UPDATE_GOLDEN=1 writes docs/permissions.md anew");
}
