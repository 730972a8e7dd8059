//! The adapters to AWS; the only file that names an `aws-sdk-*` crate.
#![expect(clippy::redundant_closure_for_method_calls, reason = "the full paths of the SDK's errors hide what is asked")]

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_servicediscovery::operation::deregister_instance::DeregisterInstanceError;
use aws_sdk_servicediscovery::operation::register_instance::RegisterInstanceError;
use aws_sdk_servicediscovery::types::OperationStatus;
pub use certgen::aws::loader;
use certgen::aws::{is, store_error};
use certgen::ca::{StoreError, StoreErrorKind};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ports::{
    AwsError, AwsErrorKind, Entry, Instance, Labels, Registry, SecretId, SecretStore, Version, VersionId,
};
use crate::secret::SecretText;

/// Cloud Map works asynchronously; an operation that takes longer than this is looked at as failed.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(1);
const OPERATION_POLL: Duration = Duration::from_millis(200);

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// Credentials, region and endpoints as the environment of an ECS task gives them.
pub async fn configuration() -> SdkConfig {
    loader().load().await
}

/// The region in which `configuration` acts, if the environment names one.
pub fn region(configuration: &SdkConfig) -> Option<&str> {
    configuration.region().map(Region::as_ref)
}

/// AWS Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManager(aws_sdk_secretsmanager::Client);

impl SecretsManager {
    /// A client for the given configuration.
    pub fn new(configuration: &SdkConfig) -> Self {
        Self(aws_sdk_secretsmanager::Client::new(configuration))
    }
}

impl SecretsManager {
    /// When the versions that have a label were stored. Nothing of their values is read.
    pub(crate) async fn dates(&self, id: &SecretId) -> Result<Vec<(VersionId, SystemTime)>, AwsError> {
        let mut pages = self.0.list_secret_version_ids().secret_id(&id.0).into_paginator().send();
        let mut dates = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| aws_error("ListSecretVersionIds", &id.0, &error))?;
            dates.extend(page.versions().iter().filter_map(|version| {
                let created = SystemTime::try_from(version.created_date().copied()?).ok()?;
                Some((VersionId(version.version_id()?.to_owned()), created))
            }));
        }
        Ok(dates)
    }
}

impl SecretStore for SecretsManager {
    async fn labels(&self, id: &SecretId) -> Result<Option<Labels>, AwsError> {
        let described = match self.0.describe_secret().secret_id(&id.0).send().await {
            Ok(described) => described,
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => return Ok(None),
            Err(error) => return Err(aws_error("DescribeSecret", &id.0, &error)),
        };
        if described.deleted_date().is_some() {
            return Err(AwsError {
                operation: "DescribeSecret",
                subject: id.0.clone(),
                message: "the secret is scheduled for deletion; restore it (aws secretsmanager restore-secret) or wait until it is gone".to_owned(),
                kind: AwsErrorKind::Invalid,
            });
        }
        let mut labels = Labels {
            arn: described.arn().unwrap_or(&id.0).to_owned(),
            current: None,
            pending: None,
            others: Vec::new(),
        };
        // AWS lists labelled versions only; moto also those that have lost their last label (aws-contract S10).
        let labelled = described.version_ids_to_stages().into_iter().flatten().filter(|(_, stages)| !stages.is_empty());
        for (version, stages) in labelled {
            let carries = |label: &str| stages.iter().any(|stage| stage == label);
            let version = VersionId(version.clone());
            if carries(PENDING) {
                labels.pending = Some(version.clone());
            }
            if carries(CURRENT) {
                labels.current = Some(version);
            } else if !carries(PENDING) {
                labels.others.push(version);
            }
        }
        Ok(Some(labels))
    }

    async fn deprecated(&self, id: &SecretId) -> Result<Vec<VersionId>, AwsError> {
        let mut pages =
            self.0.list_secret_version_ids().secret_id(&id.0).include_deprecated(true).into_paginator().send();
        let mut versions = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| aws_error("ListSecretVersionIds", &id.0, &error))?;
            let unlabelled = page.versions().iter().filter(|version| version.version_stages().is_empty());
            versions.extend(unlabelled.filter_map(|version| {
                Some((version.created_date().copied(), VersionId(version.version_id()?.to_owned())))
            }));
        }
        versions.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    async fn read(&self, id: &SecretId, version: &VersionId) -> Result<Option<Version>, AwsError> {
        match self.0.get_secret_value().secret_id(&id.0).version_id(&version.0).send().await {
            Ok(mut value) => {
                let created = value.created_date.and_then(|date| SystemTime::try_from(date).ok());
                let text = value.secret_string.take().map(SecretText::from);
                Ok(text.map(|text| Version { text, created }))
            }
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(aws_error("GetSecretValue", &id.0, &error)),
        }
    }

    async fn create(&self, id: &SecretId, text: &SecretText) -> Result<(), AwsError> {
        let call = self.0.create_secret().name(&id.0).client_request_token(Uuid::new_v4().to_string());
        match call.secret_string(text.expose()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, |error| error.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(aws_error("CreateSecret", &id.0, &error)),
        }
    }

    async fn put_pending(&self, id: &SecretId, version: &VersionId, text: &SecretText) -> Result<(), AwsError> {
        let call = self.0.put_secret_value().secret_id(&id.0).client_request_token(&version.0).version_stages(PENDING);
        match call.secret_string(text.expose()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, |error| error.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(aws_error("PutSecretValue", &id.0, &error)),
        }
    }

    async fn move_current(&self, id: &SecretId, from: &VersionId, to: &VersionId) -> Result<(), AwsError> {
        let call = self.0.update_secret_version_stage().secret_id(&id.0).version_stage(CURRENT);
        let moved = call.move_to_version_id(&to.0).remove_from_version_id(&from.0).send().await;
        moved.map(drop).map_err(|error| aws_error("UpdateSecretVersionStage", &id.0, &error))
    }

    async fn label_pending(&self, id: &SecretId, from: Option<&VersionId>, to: &VersionId) -> Result<(), AwsError> {
        let call = self.0.update_secret_version_stage().secret_id(&id.0).version_stage(PENDING);
        let from = from.map(|from| from.0.clone());
        let moved = call.move_to_version_id(&to.0).set_remove_from_version_id(from).send().await;
        moved.map(drop).map_err(|error| aws_error("UpdateSecretVersionStage", &id.0, &error))
    }

    async fn drop_pending(&self, id: &SecretId, from: &VersionId) -> Result<(), AwsError> {
        let call = self.0.update_secret_version_stage().secret_id(&id.0).version_stage(PENDING);
        let moved = call.remove_from_version_id(&from.0).send().await;
        moved.map(drop).map_err(|error| aws_error("UpdateSecretVersionStage", &id.0, &error))
    }
}

/// One service of AWS Cloud Map.
#[derive(Clone, Debug)]
pub struct CloudMap {
    client: aws_sdk_servicediscovery::Client,
    service: String,
}

impl CloudMap {
    /// A client for the service with the given id (`srv-…`).
    pub fn new(configuration: &SdkConfig, service: impl Into<String>) -> Self {
        Self { client: aws_sdk_servicediscovery::Client::new(configuration), service: service.into() }
    }

    /// Waits for the operation that `call` starts, or for the one that was under way instead.
    async fn complete<E>(
        &self,
        operation: &'static str,
        node: &str,
        call: impl Future<Output = Result<Option<String>, SdkError<E>>>,
        duplicate: impl Fn(&E) -> Option<String>,
    ) -> Result<(), AwsError>
    where
        E: ProvideErrorMetadata + fmt::Debug + std::error::Error + 'static,
    {
        let failed = |message: String, kind| AwsError { operation, subject: node.to_owned(), message, kind };
        let id = match call.await {
            Ok(Some(id)) => id,
            Ok(None) => return Err(failed("AWS gave no operation id".to_owned(), AwsErrorKind::Unavailable)),
            Err(error) => {
                let Some(other) = error.as_service_error().and_then(duplicate) else {
                    return Err(aws_error(operation, node, &error));
                };
                // How it ended is not our affair; that it ended is.
                let ended = self.follow(operation, node, &other).await.err();
                let ended = ended.map_or_else(|| "it has ended".to_owned(), |error| error.message);
                let message = format!("another operation on the entry was under way ({ended})");
                return Err(failed(message, AwsErrorKind::Changed));
            }
        };
        self.follow(operation, node, &id).await
    }

    async fn follow(&self, operation: &'static str, node: &str, id: &str) -> Result<(), AwsError> {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        let failed = |message: String, kind| AwsError { operation, subject: node.to_owned(), message, kind };
        loop {
            let answer = self.client.get_operation().operation_id(id).send().await;
            let answer = answer.map_err(|error| aws_error("GetOperation", id, &error))?;
            let Some(found) = answer.operation() else {
                return Err(failed(format!("operation {id} is not known"), AwsErrorKind::Unavailable));
            };
            match found.status() {
                Some(OperationStatus::Success) => return Ok(()),
                Some(OperationStatus::Fail) => {
                    let code = found.error_code().unwrap_or("no code");
                    let kind = if code == "ACCESS_DENIED" { AwsErrorKind::Denied } else { AwsErrorKind::Unavailable };
                    let message = found.error_message().unwrap_or_default();
                    return Err(failed(format!("operation {id} ended with {code} {message}"), kind));
                }
                _ if Instant::now() < deadline => sleep(OPERATION_POLL).await,
                _ => {
                    let waited = OPERATION_TIMEOUT.as_secs();
                    return Err(failed(
                        format!("operation {id} did not end within {waited} s"),
                        AwsErrorKind::Unavailable,
                    ));
                }
            }
        }
    }
}

impl Registry for CloudMap {
    async fn register(&self, instance: &Instance) -> Result<(), AwsError> {
        let call = async {
            let call = self.client.register_instance().service_id(&self.service).instance_id(&instance.node);
            let attributes = Some(instance.attributes().into_iter().collect());
            let call = call.creator_request_id(Uuid::new_v4().to_string()).set_attributes(attributes);
            Ok(call.send().await?.operation_id().map(str::to_owned))
        };
        let duplicate = |error: &RegisterInstanceError| match error {
            RegisterInstanceError::DuplicateRequest(busy) => busy.duplicate_operation_id().map(str::to_owned),
            _ => None,
        };
        self.complete("RegisterInstance", &instance.node, call, duplicate).await
    }

    async fn entry(&self, node: &str) -> Result<Option<Entry>, AwsError> {
        match self.client.get_instance().service_id(&self.service).instance_id(node).send().await {
            Ok(found) => Ok(found.instance().map(|found| entry(node, found.attributes()))),
            Err(error) if is(&error, |error| error.is_instance_not_found()) => Ok(None),
            Err(error) => Err(aws_error("GetInstance", node, &error)),
        }
    }

    async fn entries(&self) -> Result<Vec<Entry>, AwsError> {
        let mut pages = self.client.list_instances().service_id(&self.service).into_paginator().send();
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| aws_error("ListInstances", &self.service, &error))?;
            let found = page.instances().iter();
            entries.extend(found.filter_map(|found| Some(entry(found.id()?, found.attributes()))));
        }
        Ok(entries)
    }

    async fn withdraw(&self, node: &str) -> Result<(), AwsError> {
        let call = async {
            let answer = self.client.deregister_instance().service_id(&self.service).instance_id(node).send().await?;
            Ok(answer.operation_id().map(str::to_owned))
        };
        let duplicate = |error: &DeregisterInstanceError| match error {
            DeregisterInstanceError::DuplicateRequest(busy) => busy.duplicate_operation_id().map(str::to_owned),
            _ => None,
        };
        self.complete("DeregisterInstance", node, call, duplicate).await
    }
}

fn entry(node: &str, attributes: Option<&HashMap<String, String>>) -> Entry {
    let attributes = attributes.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Entry { node: node.to_owned(), attributes: attributes.collect() }
}

/// Error code and message of AWS's answer, or what went wrong on the way. Requests, which hold secrets, are never shown.
fn aws_error<E>(operation: &'static str, subject: &str, error: &SdkError<E>) -> AwsError
where
    E: ProvideErrorMetadata + fmt::Debug + std::error::Error + 'static,
{
    let StoreError { operation, message, kind } = store_error(operation, error);
    let kind = match kind {
        StoreErrorKind::Denied => AwsErrorKind::Denied,
        StoreErrorKind::Unavailable => AwsErrorKind::Unavailable,
        StoreErrorKind::Changed => AwsErrorKind::Changed,
        StoreErrorKind::Deleted | StoreErrorKind::Missing | StoreErrorKind::Encryption | StoreErrorKind::Refused => {
            AwsErrorKind::Invalid
        }
    };
    AwsError { operation, subject: subject.to_owned(), message, kind }
}
