//! Secrets Manager and Cloud Map as the workers use them, with a note in the [`Report`] of what was seen there. Those who
//! work know nothing of it.

use std::rc::Rc;

use super::document::{Area, Registered};
use super::report::Report;
use crate::ports::{AwsError, Entry, Instance, Labels, Registry, SecretId, SecretStore, Version, VersionId};
use crate::secret::SecretText;

/// One of them, and the report.
#[derive(Clone, Debug)]
pub(crate) struct Noting<T> {
    inner: T,
    report: Rc<Report>,
}

impl<T> Noting<T> {
    pub(crate) fn new(inner: T, report: &Rc<Report>) -> Self {
        Self { inner, report: Rc::clone(report) }
    }

    fn heard<R>(&self, area: Area, answer: Result<R, AwsError>) -> Result<R, AwsError> {
        answer.inspect_err(|error| self.report.aws_failed(area, error))
    }
}

impl<S: SecretStore> SecretStore for Noting<S> {
    async fn labels(&self, id: &SecretId) -> Result<Option<Labels>, AwsError> {
        let labels = self.heard(Area::Credentials, self.inner.labels(id).await)?;
        self.report.labels(id, labels.as_ref());
        Ok(labels)
    }

    async fn deprecated(&self, id: &SecretId) -> Result<Vec<VersionId>, AwsError> {
        self.heard(Area::Credentials, self.inner.deprecated(id).await)
    }

    async fn read(&self, id: &SecretId, version: &VersionId) -> Result<Option<Version>, AwsError> {
        let found = self.heard(Area::Credentials, self.inner.read(id, version).await)?;
        if let Some(found) = &found {
            self.report.version(id, version, found.created);
        }
        Ok(found)
    }

    async fn create(&self, id: &SecretId, text: &SecretText) -> Result<(), AwsError> {
        self.heard(Area::Credentials, self.inner.create(id, text).await)
    }

    async fn put_pending(&self, id: &SecretId, version: &VersionId, text: &SecretText) -> Result<(), AwsError> {
        self.heard(Area::Credentials, self.inner.put_pending(id, version, text).await)
    }

    async fn move_current(&self, id: &SecretId, from: &VersionId, to: &VersionId) -> Result<(), AwsError> {
        self.heard(Area::Credentials, self.inner.move_current(id, from, to).await)
    }

    async fn label_pending(&self, id: &SecretId, from: Option<&VersionId>, to: &VersionId) -> Result<(), AwsError> {
        self.heard(Area::Credentials, self.inner.label_pending(id, from, to).await)
    }

    async fn drop_pending(&self, id: &SecretId, from: &VersionId) -> Result<(), AwsError> {
        self.heard(Area::Credentials, self.inner.drop_pending(id, from).await)
    }
}

impl<R: Registry> Registry for Noting<R> {
    async fn register(&self, instance: &Instance) -> Result<(), AwsError> {
        self.heard(Area::Registration, self.inner.register(instance).await)?;
        self.report.registration(&instance.node, Registered::Yes);
        Ok(())
    }

    async fn entry(&self, node: &str) -> Result<Option<Entry>, AwsError> {
        let entry = self.heard(Area::Registration, self.inner.entry(node).await)?;
        self.report.entry(node, entry.as_ref());
        Ok(entry)
    }

    async fn entries(&self) -> Result<Vec<Entry>, AwsError> {
        self.heard(Area::Registration, self.inner.entries().await)
    }

    async fn withdraw(&self, node: &str) -> Result<(), AwsError> {
        self.heard(Area::Registration, self.inner.withdraw(node).await)?;
        self.report.registration(node, Registered::No);
        Ok(())
    }
}
