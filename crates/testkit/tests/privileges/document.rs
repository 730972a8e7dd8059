//! `docs/permissions.md`: the table of grants for people, and what the commands of operators need.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use infra::Role;

/// What operators' commands are about.
pub(crate) const USERS: &str = "the secrets of users";
pub(crate) const AUTHORITY: &str = "the secret of the certificate authority";
pub(crate) const SERVICE: &str = "`*`, with the client service as condition `servicediscovery:ServiceArn`";

/// Command, action and what it is on: with the credentials of whoever runs it.
pub(crate) const OPERATORS: [(&str, &str, &str); 14] = [
    ("bootstrap rotate", "secretsmanager:DescribeSecret", USERS),
    ("bootstrap rotate", "secretsmanager:GetSecretValue", USERS),
    ("bootstrap rotate", "secretsmanager:PutSecretValue", USERS),
    ("bootstrap status", "secretsmanager:DescribeSecret", USERS),
    ("bootstrap status", "secretsmanager:ListSecretVersionIds", USERS),
    ("bootstrap status", "servicediscovery:ListInstances", SERVICE),
    ("certgen ca rotate", "secretsmanager:GetSecretValue", AUTHORITY),
    ("certgen ca rotate", "secretsmanager:GetSecretValue", USERS),
    ("certgen ca rotate", "secretsmanager:PutSecretValue", AUTHORITY),
    ("certgen ca rotate", "secretsmanager:UpdateSecretVersionStage", AUTHORITY),
    ("certgen ca rotate", "servicediscovery:ListInstances", SERVICE),
    ("certgen ca status", "secretsmanager:GetSecretValue", AUTHORITY),
    ("certgen ca status", "secretsmanager:GetSecretValue", USERS),
    ("certgen ca status", "servicediscovery:ListInstances", SERVICE),
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
";

const OF_OPERATORS: &str = "
## Commands of operators

They run with the credentials of whoever runs them, never with a role of a node. With a key of its own for secrets, reading needs
`kms:Decrypt` on it and writing `kms:GenerateDataKey` as well. `certgen ca rotate` and `status` look at the secrets of users and at the
service only if they are named to them; `bootstrap status` inside the task asks AWS for nothing.

| command | action | on |
|---|---|---|
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
                first = " | | ".to_owned();
            }
        }
    }
    text += OF_OPERATORS;
    for (command, action, on) in OPERATORS {
        writeln!(text, "| `{command}` | `{action}` | {on} |").unwrap();
    }
    text
}

#[test]
fn the_page_says_what_is_granted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/permissions.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, document()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), document(), "UPDATE_GOLDEN=1 writes docs/permissions.md anew");
}
