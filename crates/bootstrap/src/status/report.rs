//! The room in which the workers of a running sidecar leave what they found, for `bootstrap status` and for metrics. It is
//! written to the status file whenever it changes. A file that cannot be written is told once and is the end of nothing.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use certgen::Published;
use certgen::ca::{CaError, StoreErrorKind};
use tokio::sync::Notify;
use tracing::warn;

use super::document::{Area, CertificateState, Document, ErrorState, Registered, VersionState, seconds};
use super::guard::read;
use crate::error::Error;
use crate::ports::{AwsError, AwsErrorKind, Entry, Labels, SecretId, VersionId};
use crate::scavenge::Begun;
use crate::settings::{RunSettings, Users};
use crate::trust::Trust;
use crate::user::User;

/// What is known, and where it is written.
#[derive(Debug)]
pub(crate) struct Report {
    path: Option<PathBuf>,
    document: RefCell<Document>,
    /// The task whose entry is ours, once it is known.
    task_arn: RefCell<Option<String>>,
    /// Whether the last try to write failed.
    is_unwritten: Cell<bool>,
    registered_changed: Notify,
}

impl Report {
    /// Of a sidecar that begins. Replaces what its predecessor has left, but for what it has begun.
    pub(crate) fn new(settings: &RunSettings) -> Self {
        let users =
            settings.users.iter().flat_map(Users::all).map(|user| (user.login.as_str(), user.secret.0.as_str()));
        let mut document = Document::new(&settings.node_name, &settings.client_host, users, now());
        document.is_secure = settings.users.is_some();
        if settings.cloud_map_service.is_none() {
            document.registration.state = Registered::NotWanted;
        }
        let before = settings.status_file.as_deref().and_then(|file| read::<Document>(file).ok());
        document.scavenge = before.filter(|before| before.node == document.node).and_then(|before| before.scavenge);
        Self::with(settings.status_file.clone(), document)
    }

    pub(super) fn with(path: Option<PathBuf>, document: Document) -> Self {
        let report = Self {
            path,
            document: RefCell::new(document),
            task_arn: RefCell::new(None),
            is_unwritten: Cell::new(false),
            registered_changed: Notify::new(),
        };
        report.write();
        report
    }

    /// Looks at what is known.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Document) -> T) -> T {
        look(&self.document.borrow())
    }

    /// Ends when the node has been registered, or is so no more.
    pub(crate) async fn registered_changed(&self) {
        self.registered_changed.notified().await;
    }

    /// Takes something into account. What changes nothing is not written.
    fn change(&self, work: impl FnOnce(&mut Document)) {
        let before = self.document.borrow().clone();
        work(&mut self.document.borrow_mut());
        if *self.document.borrow() == before {
            return;
        }
        self.document.borrow_mut().written = now();
        self.write();
        let is_registered = |document: &Document| document.registration.state == Registered::Yes;
        if is_registered(&before) != is_registered(&self.document.borrow()) {
            self.registered_changed.notify_one();
        }
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        let done = || -> io::Result<()> {
            let text = serde_json::to_string(&*self.document.borrow())?;
            let temporary = path.with_extension("tmp");
            fs::write(&temporary, text + "\n")?;
            fs::rename(&temporary, path)
        };
        match done() {
            Ok(()) => self.is_unwritten.set(false),
            Err(error) if !self.is_unwritten.replace(true) => {
                warn!("could not write `{}`: {error}", path.display());
            }
            Err(_) => {}
        }
    }

    /// The labels of a user's secret were read.
    pub(super) fn labels(&self, secret: &SecretId, labels: Option<&Labels>) {
        self.change(|document| {
            let Some(user) = document.users.iter_mut().find(|user| user.secret == secret.0) else { return };
            let current = labels.and_then(|labels| labels.current.as_ref());
            let pending = labels.and_then(Labels::waiting);
            let known = [user.current.take(), user.pending.take()];
            let state = |version: &VersionId| {
                let known = known.iter().flatten().find(|known| known.id == version.0);
                VersionState { id: version.0.clone(), created: known.and_then(|known| known.created) }
            };
            let is_other = current.map(|version| &version.0) != known[0].as_ref().map(|known| &known.id);
            (user.current, user.pending) = (current.map(state), pending.map(state));
            if is_other {
                user.proven = None;
            }
        });
    }

    /// A version of a user's secret was read.
    pub(super) fn version(&self, secret: &SecretId, version: &VersionId, created: Option<SystemTime>) {
        self.change(|document| {
            let Some(user) = document.users.iter_mut().find(|user| user.secret == secret.0) else { return };
            for state in [&mut user.current, &mut user.pending].into_iter().flatten() {
                if state.id == version.0 {
                    state.created = created.map(seconds);
                }
            }
        });
    }

    /// A user was looked at from end to end.
    pub(crate) fn converged(&self, user: &User, outcome: Result<(), &Error>) {
        match outcome {
            Ok(()) => self.change(|document| {
                if let Some(found) = document.users.iter_mut().find(|found| found.login == user.login) {
                    found.proven = Some(now());
                }
            }),
            // What AWS said was noted when it said so.
            Err(Error::Aws { .. }) => {}
            Err(error) => self.failed(Area::Credentials, kind(error)),
        }
    }

    /// The sidecar came no further. What a user is in the way of was told with the user.
    pub(crate) fn stopped_by(&self, error: &Error) {
        let area = match error {
            Error::Trust { .. } | Error::Untrusted { .. } => Area::Certificates,
            Error::NotReady { .. } => Area::Server,
            Error::Metadata { .. } => Area::Registration,
            _ => return,
        };
        self.failed(area, kind(error));
    }

    /// This task's ARN is known.
    pub(crate) fn is_task(&self, arn: &str) {
        self.task_arn.replace(Some(arn.to_owned()));
    }

    /// An entry of the registry was read. Of other nodes' entries nothing is noted.
    pub(super) fn entry(&self, node: &str, entry: Option<&Entry>) {
        let state = match (entry, &*self.task_arn.borrow()) {
            (None, _) => Registered::No,
            (Some(entry), Some(own)) if entry.task_arn() == own => Registered::Yes,
            (Some(_), _) => Registered::AnotherTask,
        };
        self.registration(node, state);
    }

    /// The same after an entry was written or removed.
    pub(super) fn registration(&self, node: &str, state: Registered) {
        self.change(|document| {
            if document.registration.instance_id == node {
                document.registration.turn(state, now());
            }
        });
    }

    /// Reads what is published on the volume. `served`: the SHA-256 of the certificate that the server was seen to present.
    pub(crate) fn certificates(&self, settings: &RunSettings, trust: &Trust, served: &str) {
        let Ok(published) = Published::read(&settings.certs) else { return };
        let Some((sha256, not_after)) = published.fingerprint().zip(published.not_after()) else { return };
        let whole = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let state = CertificateState {
            served: sha256 == served,
            sha256,
            not_after: whole(not_after.unix_timestamp()),
            validity: published.validity().map(|validity| whole(validity.duration().whole_seconds())),
            roots_sha256: trust.fingerprint(),
        };
        self.change(|document| document.certificate = Some(state));
    }

    /// The phase of the certificate authority's rotation was read.
    pub(crate) fn authority(&self, phase: &str) {
        self.change(|document| document.authority_phase = Some(phase.to_owned()));
    }

    /// ECS keeps the task for so many seconds from now, or not at all.
    pub(crate) fn protected(&self, for_seconds: Option<u64>) {
        self.change(|document| document.protected_until = for_seconds.map(|seconds| now() + seconds));
    }

    /// A scavenge was begun, or is over.
    pub(crate) fn scavenge(&self, begun: Option<&Begun>) {
        self.change(|document| document.scavenge = begun.cloned());
    }

    /// Something that was told in the log.
    pub(crate) fn failed(&self, area: Area, kind: &str) {
        self.change(|document| {
            document.errors += 1;
            document.last_error = Some(ErrorState { area, kind: kind.to_owned(), at: now() });
        });
    }

    /// What AWS said to a call.
    pub(super) fn aws_failed(&self, area: Area, error: &AwsError) {
        // Others work on the same things; that is looked at again at once.
        if error.kind != AwsErrorKind::Changed {
            self.failed(area, aws_kind(error.kind));
        }
    }
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

fn aws_kind(kind: AwsErrorKind) -> &'static str {
    match kind {
        AwsErrorKind::Unavailable => "aws-unavailable",
        AwsErrorKind::Denied => "aws-denied",
        AwsErrorKind::Changed => "aws-changed",
        AwsErrorKind::Invalid => "aws-invalid",
    }
}

/// A word for an error of the certificate authority's secret.
pub(crate) fn authority_kind(error: &CaError) -> &'static str {
    match error {
        CaError::Store { source, .. } => aws_kind(match source.kind {
            StoreErrorKind::Denied => AwsErrorKind::Denied,
            StoreErrorKind::Unavailable => AwsErrorKind::Unavailable,
            StoreErrorKind::Changed => AwsErrorKind::Changed,
            _ => AwsErrorKind::Invalid,
        }),
        _ => "authority-unusable",
    }
}

/// A word for an error.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Trust { .. } => "certificates-unusable",
        Error::NotReady { .. } => "server-not-ready",
        Error::Untrusted { .. } => "server-not-trusted",
        Error::NotCredentials { .. } => "not-credentials",
        Error::NoSecret { .. } => "no-secret",
        Error::LockedOut { .. } => "locked-out",
        Error::NotConverged { .. } => "not-converged",
        Error::Aws { source, .. } => aws_kind(source.kind),
        Error::Metadata { .. } => "no-metadata",
        Error::Busy { .. } | Error::System { .. } | Error::NoRandomness(_) => "system",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ports::Instance;

    fn report(path: Option<&Path>) -> Report {
        let users = [("admin", "es/admin"), ("ops", "es/ops")];
        Report::with(path.map(Path::to_owned), Document::new("node-1", "es.db.internal", users, 7))
    }

    fn labels(current: &str, pending: Option<&str>) -> Labels {
        let version = |id: &str| VersionId(id.to_owned());
        Labels { arn: "arn".to_owned(), current: Some(version(current)), pending: pending.map(version), others: vec![] }
    }

    fn entry(task: &str) -> Entry {
        let instance = Instance {
            node: "node-1".to_owned(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 2113,
            task_arn: task.to_owned(),
            member: None,
            certificate_sha256: None,
            roots_sha256: None,
            signer_sha256: None,
            since: 0,
        };
        Entry { node: instance.node.clone(), attributes: instance.attributes() }
    }

    #[test]
    fn a_version_keeps_its_date_through_its_labels_and_proof_goes_with_the_version() {
        let report = report(None);
        let (id, admin) = (SecretId("es/admin".to_owned()), User::built_in("admin", SecretId("es/admin".to_owned())));
        let created = |seconds| Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        report.labels(&id, Some(&labels("v1", Some("v1"))));
        assert_eq!(report.read(|document| document.users[0].pending.clone()), None, "a label that was left behind");
        report.version(&id, &VersionId("v1".to_owned()), created(100));
        report.labels(&id, Some(&labels("v1", Some("v2"))));
        report.version(&id, &VersionId("v2".to_owned()), created(200));
        report.converged(&admin, Ok(()));
        let admin = || report.read(|document| document.users[0].clone());
        let version = |id: &str, created| Some(VersionState { id: id.to_owned(), created });
        assert_eq!((admin().current, admin().pending), (version("v1", Some(100)), version("v2", Some(200))));
        assert!(admin().proven.is_some());
        report.labels(&id, Some(&labels("v2", None)));
        assert_eq!((admin().current, admin().pending, admin().proven), (version("v2", Some(200)), None, None));
        report.labels(&id, None);
        assert_eq!(admin().current, None);
        assert_eq!(report.read(|document| document.users[1].current.clone()), None, "another user's");
    }

    #[test]
    fn only_an_entry_of_this_task_counts_as_registered() {
        let report = report(None);
        let state = || report.read(|document| document.registration.state);
        assert_eq!(state(), Registered::Unknown);
        report.entry("node-1", Some(&entry("arn:own")));
        assert_eq!(state(), Registered::AnotherTask, "nobody has said yet which task is the own one");
        report.is_task("arn:own");
        for (node, task, expected) in [
            ("node-1", Some("arn:own"), Registered::Yes),
            ("node-2", Some("arn:other"), Registered::Yes),
            ("node-1", Some("arn:other"), Registered::AnotherTask),
            ("node-1", None, Registered::No),
        ] {
            report.entry(node, task.map(entry).as_ref());
            assert_eq!(state(), expected, "{node} {task:?}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_registration_is_told_of_both_turns() {
        let report = report(None);
        for state in [Registered::Yes, Registered::No] {
            report.registration("node-1", state);
            tokio::time::timeout(std::time::Duration::from_mins(1), report.registered_changed()).await.unwrap();
        }
        report.registration("node-1", Registered::AnotherTask);
        let told = tokio::time::timeout(std::time::Duration::ZERO, report.registered_changed()).await;
        assert!(told.is_err(), "it was not registered before either");
    }

    #[test]
    fn the_file_follows_what_changes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.json");
        let report = report(Some(&path));
        let read = || serde_json::from_str::<Document>(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read(), report.read(Clone::clone));
        report.failed(Area::Registration, "aws-denied");
        assert_eq!(read(), report.read(Clone::clone));
        assert_eq!((read().errors, read().last_error.unwrap().kind), (1, "aws-denied".to_owned()));
        report.authority("steady");
        fs::remove_file(&path).unwrap();
        report.authority("steady");
        assert!(!path.exists(), "nothing changed");
        report.protected(Some(600));
        assert_eq!(read(), report.read(Clone::clone));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_the_end_of_nothing() {
        let report = report(Some(Path::new("/nowhere/status.json")));
        report.authority("steady");
        assert_eq!(report.read(|document| document.authority_phase.clone()).as_deref(), Some("steady"));
    }
}
