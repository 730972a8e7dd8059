//! What a sidecar knows of its node, as it stands in the status file: ids, fingerprints and times, and nothing secret. All
//! times are seconds since 1970, as in guard's file.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::scavenge::Begun;

/// The version of the layout. It changes when a member goes or means something else; new ones may come at any time.
pub(crate) const SCHEMA: u32 = 1;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) schema: u32,
    /// The program that wrote it.
    pub(crate) version: String,
    pub(crate) node: String,
    /// The name under which clients find the database.
    pub(crate) deployment: String,
    /// When the sidecar began.
    pub(crate) started: u64,
    /// When this was written.
    pub(crate) written: u64,
    /// Whether the server has TLS and users.
    #[serde(rename = "secure")]
    pub(crate) is_secure: bool,
    pub(crate) users: Vec<UserState>,
    pub(crate) registration: RegistrationState,
    /// What is published on the volume; absent until it was looked at.
    pub(crate) certificate: Option<CertificateState>,
    /// The phase of the certificate authority's rotation, if the authority is in a secret.
    pub(crate) authority_phase: Option<String>,
    /// Until when ECS keeps the task from scale-in, as far as this sidecar has asked it to.
    pub(crate) protected_until: Option<u64>,
    /// How many errors there were since the sidecar began. One that is met again at the next try counts again.
    pub(crate) errors: u64,
    pub(crate) last_error: Option<ErrorState>,
    /// The last scavenge that was begun.
    #[serde(default)]
    pub(crate) scavenge: Option<Begun>,
}

/// One user's credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserState {
    pub(crate) login: String,
    pub(crate) secret: String,
    /// The version labelled `AWSCURRENT`.
    pub(crate) current: Option<VersionState>,
    /// The version labelled `AWSPENDING`, if that is another one.
    pub(crate) pending: Option<VersionState>,
    /// When the current password was last proven to open the database, and every other one known not to.
    pub(crate) proven: Option<u64>,
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionState {
    pub(crate) id: String,
    /// When it was stored; absent until the version was read.
    pub(crate) created: Option<u64>,
}

/// The node's entry in Cloud Map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegistrationState {
    pub(crate) state: Registered,
    pub(crate) instance_id: String,
    /// Since when the state is this one; absent while nobody has looked yet.
    pub(crate) since: Option<u64>,
    /// When the entry was last looked at, or written.
    pub(crate) seen: Option<u64>,
}

/// Whose entry there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Registered {
    /// It is not to be registered.
    NotWanted,
    /// Nobody has looked yet.
    Unknown,
    /// There is none.
    #[serde(rename = "not-registered")]
    No,
    /// This task's.
    #[serde(rename = "registered")]
    Yes,
    /// Another task's.
    AnotherTask,
}

/// The node's certificate and the roots beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateState {
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) sha256: String,
    /// When it expires.
    pub(crate) not_after: u64,
    /// For how long it is valid in all, in seconds, if certgen issued it.
    pub(crate) validity: Option<u64>,
    /// SHA-256 of all trusted roots, in hexadecimal.
    pub(crate) roots_sha256: String,
    /// Whether the server was seen to present it.
    pub(crate) served: bool,
}

/// An error that was told in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorState {
    pub(crate) area: Area,
    /// A word for what went wrong, for example `aws-denied`.
    pub(crate) kind: String,
    pub(crate) at: u64,
}

/// What an error got in the way of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Area {
    Credentials,
    Registration,
    Certificates,
    Protection,
    Server,
    Scavenging,
}

impl Area {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Registration => "registration",
            Self::Certificates => "certificates",
            Self::Protection => "protection",
            Self::Server => "server",
            Self::Scavenging => "scavenging",
        }
    }
}

impl Document {
    /// Of a sidecar that has just begun.
    pub(crate) fn new<'a>(
        node: &str,
        deployment: &str,
        users: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: u64,
    ) -> Self {
        let user = |(login, secret): (&str, &str)| UserState {
            login: login.to_owned(),
            secret: secret.to_owned(),
            current: None,
            pending: None,
            proven: None,
        };
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: node.to_owned(),
            deployment: deployment.to_owned(),
            started: now,
            written: now,
            is_secure: true,
            users: users.into_iter().map(user).collect(),
            registration: RegistrationState {
                state: Registered::Unknown,
                instance_id: node.to_owned(),
                since: None,
                seen: None,
            },
            certificate: None,
            authority_phase: None,
            protected_until: None,
            errors: 0,
            last_error: None,
            scavenge: None,
        }
    }
}

impl RegistrationState {
    /// After the entry was looked at, or written.
    pub(crate) fn turn(&mut self, state: Registered, now: u64) {
        if self.state != state {
            (self.state, self.since) = (state, Some(now));
        }
        self.seen = Some(now);
    }
}

/// Seconds since 1970; 0 of a clock that is set before.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
