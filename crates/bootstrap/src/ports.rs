//! What bootstrap needs of the world: only the calls it makes, with only the outcomes it tells apart.

use std::future::Future;
use std::time::SystemTime;

pub use crate::instance::{Entry, Instance};
use crate::password::Password;
use crate::rotation::Role;
use crate::secret::SecretText;

/// The name or ARN of a secret, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretId(pub String);

/// The id of one version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionId(pub String);

/// The labels of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The secret's ARN.
    pub arn: String,
    /// The version labelled `AWSCURRENT`.
    pub current: Option<VersionId>,
    /// The version labelled `AWSPENDING`.
    pub pending: Option<VersionId>,
    /// All other versions that still exist, newest first, without labels ("deprecated") included.
    pub others: Vec<VersionId>,
}

impl Labels {
    /// The version that waits to become the current one: `AWSPENDING` on this says nothing.
    pub(crate) fn waiting(&self) -> Option<&VersionId> {
        self.pending.as_ref().filter(|pending| self.current.as_ref() != Some(*pending))
    }
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it holds.
    pub text: SecretText,
    /// When it was stored.
    pub created: Option<SystemTime>,
}

/// AWS Secrets Manager.
pub trait SecretStore {
    /// The labels of a secret, or `None` if there is no secret of this name.
    fn labels(&self, id: &SecretId) -> impl Future<Output = Result<Option<Labels>, AwsError>>;

    /// The ids of the versions without a label, newest first. Only asked for when nothing else logs in.
    fn deprecated(&self, id: &SecretId) -> impl Future<Output = Result<Vec<VersionId>, AwsError>>;

    /// One version, or `None` if it has no value, or is not there (any more).
    fn read(&self, id: &SecretId, version: &VersionId) -> impl Future<Output = Result<Option<Version>, AwsError>>;

    /// Creates the secret. Somebody else having been first is a success: what counts is read afterwards.
    fn create(&self, id: &SecretId, text: &SecretText) -> impl Future<Output = Result<(), AwsError>>;

    /// Stores a version under `version` with the label `AWSPENDING`; as first version of all it becomes `AWSCURRENT`.
    /// The id being taken is a success, and changes no label: what counts is read afterwards.
    fn put_pending(
        &self,
        id: &SecretId,
        version: &VersionId,
        text: &SecretText,
    ) -> impl Future<Output = Result<(), AwsError>>;

    /// Moves `AWSCURRENT` from one version to another; fails if it is not on `from`.
    fn move_current(
        &self,
        id: &SecretId,
        from: &VersionId,
        to: &VersionId,
    ) -> impl Future<Output = Result<(), AwsError>>;

    /// Puts `AWSPENDING` on a version that exists; fails if the label is neither nowhere nor on `from`.
    fn label_pending(
        &self,
        id: &SecretId,
        from: Option<&VersionId>,
        to: &VersionId,
    ) -> impl Future<Output = Result<(), AwsError>>;

    /// Takes `AWSPENDING` off a version; fails if it is not on `from`.
    fn drop_pending(&self, id: &SecretId, from: &VersionId) -> impl Future<Output = Result<(), AwsError>>;
}

/// AWS Cloud Map, one service of it. One operation at a time works on an entry (aws-contract §3.1).
pub trait Registry {
    /// Creates or replaces the entry and waits until the operation has ended. [`AwsErrorKind::Changed`] if somebody
    /// else's operation was under way: that has ended then, and nothing was written.
    fn register(&self, instance: &Instance) -> impl Future<Output = Result<(), AwsError>>;

    /// The entry of `node`, or `None` if there is none, or none to be seen yet: what was written a moment ago may not be
    /// known everywhere.
    fn entry(&self, node: &str) -> impl Future<Output = Result<Option<Entry>, AwsError>>;

    /// All entries.
    fn entries(&self) -> impl Future<Output = Result<Vec<Entry>, AwsError>>;

    /// Removes the entry and waits until the operation has ended. [`AwsErrorKind::Changed`] if there is none to be seen,
    /// or somebody else's operation was under way: the entry may be another's by now.
    fn withdraw(&self, node: &str) -> impl Future<Output = Result<(), AwsError>>;
}

/// What registration asks the node's own server.
pub trait Membership {
    /// Who is in the cluster, as the node's gossip has it. An error if the living are not the majority.
    fn members(&self) -> impl Future<Output = Result<Members, ServerError>>;
}

/// The members of a cluster, each as `host:port` that it advertises to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The member that was asked.
    pub own: String,
    /// Whether that is the leader.
    pub leads: bool,
    /// All that are alive, itself too.
    pub alive: Vec<String>,
}

/// Why an AWS call did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of `{subject}` failed: {message}")]
pub struct AwsError {
    /// The API operation.
    pub operation: &'static str,
    /// The secret, service or instance.
    pub subject: String,
    /// AWS's error code and message, or what the network said.
    pub message: String,
    /// What kind of failure it is.
    pub kind: AwsErrorKind,
}

impl AwsError {
    /// What whoever runs this can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            AwsErrorKind::Denied => Some("grant the operation to the task role"),
            AwsErrorKind::Unavailable => Some(
                "the task needs a way to the endpoints of Secrets Manager and Cloud Map: NAT gateway, VPC endpoint or AWS_ENDPOINT_URL",
            ),
            AwsErrorKind::Changed | AwsErrorKind::Invalid => None,
        }
    }

    /// The error with its hint, or what is done about it without one, on one line.
    pub(crate) fn with_hint(&self, otherwise: &str) -> String {
        format!("{self} ({})", self.hint().unwrap_or(otherwise))
    }
}

/// What a caller does differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsErrorKind {
    /// No answer, throttled or a fault of the service: again later.
    Unavailable,
    /// The role may not do this. New grants take a while to be known everywhere.
    Denied,
    /// A label or an entry changed between looking and acting: look again.
    Changed,
    /// It cannot work however often it is tried.
    Invalid,
}

/// What a server said to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// 200.
    Accepted,
    /// 401 because of the password.
    Refused,
    /// No answer, or one that says nothing about the password.
    Unclear,
}

/// In whose name a request is made.
#[derive(Clone, Copy, Debug)]
pub enum Requester<'a> {
    /// The administrator, with a password.
    Admin(&'a Password),
    /// The node, with the certificate that it shows to other members.
    NodeCertificate,
}

/// An account of a user that is not built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// The login name.
    pub login: String,
    /// Who it is, for people.
    pub full_name: String,
    /// What it may do.
    pub groups: Vec<String>,
}

/// One node of the database. The first one a sidecar knows is its own; the others it learns of from that.
pub trait Server: Sized {
    /// Whether the node has been ready since it started (`/health/live`); it stays so without a quorum.
    fn is_live(&self) -> impl Future<Output = Result<bool, ServerError>>;

    /// What the node says it is (`/info`).
    fn role(&self) -> impl Future<Output = Result<Role, ServerError>>;

    /// All other members that the node's gossip calls alive; none beside a single node. An error if these and itself are
    /// not the majority of the members: a node that is cut off sees nobody, and the others go on without it.
    fn peers(&self) -> impl Future<Output = Result<Vec<Self>, ServerError>>;

    /// Whether this node accepts the password.
    fn login(&self, user: &str, password: &Password) -> impl Future<Output = Login>;

    /// Sets `user`'s password. `Ok` only if the server said so in words (`success:true`); after any error it may have
    /// been set all the same.
    fn reset_password(
        &self,
        by: Requester<'_>,
        user: &str,
        new: &Password,
    ) -> impl Future<Output = Result<(), ServerError>>;

    /// The account with this login name, or `None` if there is none.
    fn account(
        &self,
        admin: &Password,
        login: &str,
    ) -> impl Future<Output = Result<Option<AccountRecord>, ServerError>>;

    /// Creates the account. One that exists with another password is an error; with the same, a success.
    fn create_account(
        &self,
        admin: &Password,
        account: &AccountRecord,
        password: &Password,
    ) -> impl Future<Output = Result<(), ServerError>>;

    /// Sets full name and groups of an account that exists.
    fn update_account(
        &self,
        admin: &Password,
        account: &AccountRecord,
    ) -> impl Future<Output = Result<(), ServerError>>;

    /// The node's address, for messages.
    fn address(&self) -> &str;
}

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing answered in time.
    #[error("{0}")]
    Unreachable(String),
    /// Its certificate is not signed by the roots, or not for the name.
    #[error("its certificate was refused: {0}")]
    Certificate(String),
    /// It does not know the requester, or not under this password.
    #[error("it refused the login of who asked for {0}")]
    Refused(String),
    /// It answered something else than success.
    #[error("it answered {0}")]
    Answer(String),
}
