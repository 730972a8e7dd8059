//! How the server is secured, or that it is not.

use super::encryption::Encryption;
use crate::values::{BuiltInUser, ContainerPath, FullName, GroupName, Login, RotationPeriod, SecretArn};

/// Whether there are certificates and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// TLS, and every user has a password.
    Secured(Secured),
    /// Neither: whoever reaches the server may do everything.
    Insecure,
}

/// Certificates and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secured {
    pub(crate) ca: CaSource,
    pub(crate) rotate_every: RotationPeriod,
    pub(crate) recover_with_node_certificate: bool,
    pub(crate) admin: Secret,
    pub(crate) ops: Secret,
    pub(crate) users: Vec<ApplicationUser>,
    /// What the secrets are encrypted with.
    pub(crate) encryption: Encryption,
}

/// A secret of Secrets Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Of the deployment.
    New,
    /// Of somebody else.
    Existing(SecretArn),
}

/// Where the certificate authority comes from that signs the nodes' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaSource {
    /// All tasks share one, in a secret.
    Secret(Secret),
    /// Every task makes its own.
    Ephemeral,
    /// Files in the certgen container.
    Files { certificate: ContainerPath, key: ContainerPath },
}

/// A user of the database that an application logs in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationUser {
    pub(crate) login: Login,
    pub(crate) full_name: FullName,
    pub(crate) groups: Vec<GroupName>,
    pub(crate) alternates: bool,
    pub(crate) secret: Secret,
}

impl ApplicationUser {
    /// The login name; that of the secret as well.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The logins in the database.
    pub(crate) fn logins(&self) -> impl Iterator<Item = Login> {
        std::iter::once(self.login.clone()).chain(self.alternates.then(|| self.login.alternate()))
    }
}

impl Secured {
    /// The secret of a user that every server is born with.
    pub(crate) fn built_in(&self, user: BuiltInUser) -> &Secret {
        match user {
            BuiltInUser::Admin => &self.admin,
            BuiltInUser::Ops => &self.ops,
        }
    }

    /// Every login name with its secret.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&str, &Secret)> {
        let built_in = BuiltInUser::ALL.into_iter().map(|user| (user.as_str(), self.built_in(user)));
        built_in.chain(self.users.iter().map(|user| (user.login.as_str(), &user.secret)))
    }
}
