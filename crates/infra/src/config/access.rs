//! Certificates, passwords and users, or none of them.

use std::collections::BTreeSet;

use super::section::{Choice, Section};
use super::server::Insecure;
use crate::model::{Access, ApplicationUser, CaSource, Encryption, Secret, Secured};
use crate::values::{ClusterSize, ContainerPath, FullName, GroupName, Login, RotationPeriod, SecretArn};

/// Each has a secret, which the task role's policy names; it may have 10 240 characters (AWS, "IAM and STS quotas").
const MOST_USERS: usize = 40;
const CA_FILES: [&str; 2] = ["ca_certificate", "ca_key"];

#[derive(Clone, Copy)]
enum Source {
    Secret,
    Ephemeral,
    Files,
}

impl Choice for Source {
    const WORDS: &'static [(&'static str, Self)] =
        &[("secret", Self::Secret), ("ephemeral", Self::Ephemeral), ("files", Self::Files)];
}

/// Reads the sections `certificates`, `credentials` and `users`, of which an insecure server has none.
pub(super) fn read(root: &Section<'_>, insecure: Option<Insecure>, nodes: Option<ClusterSize>) -> Option<Access> {
    let wanted = insecure.is_some_and(|insecure| insecure.wanted);
    let ca = root.section("certificates", |section| {
        if wanted {
            section.refuse_all("an insecure server has no certificate; take it out, or server.insecure");
        }
        ca_source(section, nodes)
    });
    let credentials = root.section("credentials", |section| {
        if wanted {
            section.refuse_all("an insecure server has no passwords; take it out, or server.insecure");
        }
        let rotate_every = section.text("rotate_every", RotationPeriod::parse);
        let recover = section.flag("recover_with_node_certificate");
        let [admin, ops] = ["admin_secret", "ops_secret"].map(|key| secret(section, key));
        let encryption = section.text("kms_key", Encryption::parse);
        Some((rotate_every?, recover?, admin?, ops?, encryption?))
    });
    let users = root.sections("users", user);
    if users.len() > MOST_USERS {
        root.mistake("users", format!("there are {}; allowed are at most {MOST_USERS}", users.len()));
    }
    taken_logins(root, &users);

    if insecure?.wanted {
        if root.says("users") {
            root.mistake("users", "an insecure server has none; take them out, or server.insecure");
        }
        return Some(Access::Insecure);
    }
    let (rotate_every, recover_with_node_certificate, admin, ops, encryption) = credentials?;
    let users = users.into_iter().collect::<Option<_>>()?;
    let ca = ca?;
    Some(Access::Secured(Secured { ca, rotate_every, recover_with_node_certificate, admin, ops, users, encryption }))
}

/// `None` if the ARN is wrong.
fn secret(section: &Section<'_>, key: &str) -> Option<Secret> {
    let arn = section.text(key, SecretArn::parse);
    if section.has(key) { arn.map(Secret::Existing) } else { Some(Secret::New) }
}

fn user(section: &Section<'_>) -> Option<ApplicationUser> {
    let login = section.text("login", Login::parse);
    let full_name = section.text("full_name", FullName::parse);
    let groups = section.texts("groups", GroupName::parse);
    let alternates = section.flag("alternate");
    let secret = secret(section, "secret");
    let login = login?;
    let full_name = full_name.unwrap_or_else(|| FullName::of(&login));
    // With a mistake in one of these nothing comes of it, but its logins are still compared with the others.
    Some(ApplicationUser {
        login,
        full_name,
        groups: groups.unwrap_or_default(),
        alternates: alternates.unwrap_or_default(),
        secret: secret.unwrap_or(Secret::New),
    })
}

/// Every login is one user's, and none is built in.
fn taken_logins(root: &Section<'_>, users: &[Option<ApplicationUser>]) {
    // `<name>/ca` is the secret of the certificate authority.
    let mut taken: BTreeSet<String> = ["admin", "ops", "ca"].map(str::to_owned).into();
    for (index, user) in users.iter().enumerate().filter_map(|(index, user)| Some((index, user.as_ref()?))) {
        for login in user.logins() {
            if !taken.insert(login.to_string()) {
                let message = format!(
                    "`{login}` is taken; allowed is each login once, besides admin, ops and ca, and `<login>-b` belongs to a \
                     login that alternates"
                );
                root.mistake(&format!("users[{index}].login"), message);
            }
        }
    }
}

/// A source that fits the number of nodes and has all that belongs to it and nothing else.
fn ca_source(section: &Section<'_>, nodes: Option<ClusterSize>) -> Option<CaSource> {
    let source = section.choice("ca");
    let [certificate, key] = CA_FILES.map(|file| section.text(file, ContainerPath::parse));
    let secret = secret(section, "ca_secret");
    let source = source?;
    for file in CA_FILES {
        match (source, section.has(file)) {
            (Source::Files, false) => section.mistake(file, "it is missing; ca = \"files\" needs it"),
            (Source::Secret | Source::Ephemeral, true) => section.mistake(file, "it belongs to ca = \"files\" only"),
            _ => {}
        }
    }
    if !matches!(source, Source::Secret) && section.has("ca_secret") {
        section.mistake("ca_secret", "it belongs to ca = \"secret\" only");
    }
    if let (Source::Ephemeral, Some(nodes)) = (source, nodes.filter(|nodes| nodes.is_cluster())) {
        section.mistake(
            "ca",
            format!(
                "`ephemeral` does not go with {nodes} nodes: each task would make a certificate authority of its own, and no \
                 node would trust another; allowed are secret, and files with ca_certificate and ca_key"
            ),
        );
    }
    Some(match source {
        Source::Secret => CaSource::Secret(secret?),
        Source::Ephemeral => CaSource::Ephemeral,
        Source::Files => CaSource::Files { certificate: certificate?, key: key? },
    })
}
