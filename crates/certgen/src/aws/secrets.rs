//! AWS Secrets Manager: the secret of the certificate authority, and what consumers find in those of users.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{is, store_error};
use crate::ca::{
    Current, Described, PublishedRoots, SecretText, Store, StoreError, StoreErrorKind, VersionId, roots_fingerprint,
};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// One secret.
#[derive(Clone, Debug)]
pub struct Secret {
    client: Client,
    id: String,
    deadline: Instant,
}

impl Secret {
    /// The secret with this name or ARN. Nobody waits for anything after `time`, but for the call that is under way then,
    /// which ends within 30 s.
    pub fn new(configuration: &SdkConfig, id: impl Into<String>, time: Duration) -> Self {
        Self { client: Client::new(configuration), id: id.into(), deadline: Instant::now() + time }
    }

    /// Whether the id is an ARN, which nobody can create a secret under.
    fn is_arn(&self) -> bool {
        self.id.starts_with("arn:")
    }

    async fn describe(&self) -> Result<Option<Described>, StoreError> {
        let described = match self.client.describe_secret().secret_id(&self.id).send().await {
            Ok(described) => described,
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => return Ok(None),
            Err(error) => return Err(store_error("DescribeSecret", &error)),
        };
        if described.deleted_date().is_some() {
            let message = "it is scheduled for deletion".to_owned();
            return Err(StoreError { operation: "DescribeSecret", message, kind: StoreErrorKind::Deleted });
        }
        let mut labels = described.version_ids_to_stages().into_iter().flat_map(|versions| versions.values().flatten());
        let has_current = labels.any(|label| label == CURRENT);
        Ok(Some(Described { arn: described.arn().unwrap_or(&self.id).to_owned(), has_current }))
    }

    /// AWS has one code for a secret that is scheduled for deletion and for other states: looking tells them apart.
    async fn explained<E>(&self, operation: &'static str, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let is_state = error.as_service_error().is_some_and(|error| error.code() == Some("InvalidRequestException"));
        if is_state && let Err(told) = self.describe().await {
            return told;
        }
        store_error(operation, &error)
    }
}

impl Store for Secret {
    async fn current(&self) -> Result<Option<Current>, StoreError> {
        match self.client.get_secret_value().secret_id(&self.id).version_stage(CURRENT).send().await {
            Ok(mut value) => {
                let Some(text) = value.secret_string.take() else {
                    // Whatever it is, it is not ours.
                    let message = "its value is binary, not text".to_owned();
                    return Err(StoreError { operation: "GetSecretValue", message, kind: StoreErrorKind::Refused });
                };
                Ok(Some(Current {
                    arn: value.arn().unwrap_or(&self.id).to_owned(),
                    version: VersionId(value.version_id().unwrap_or_default().to_owned()),
                    is_pending: value.version_stages().iter().any(|stage| stage == PENDING),
                    text: SecretText::from(text),
                }))
            }
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(self.explained("GetSecretValue", error).await),
        }
    }

    async fn described(&self) -> Result<Option<Described>, StoreError> {
        match self.describe().await? {
            None if self.is_arn() => {
                let message = "there is no secret with this ARN".to_owned();
                Err(StoreError { operation: "DescribeSecret", message, kind: StoreErrorKind::Missing })
            }
            found => Ok(found),
        }
    }

    async fn version(&self, version: &VersionId) -> Result<Option<SecretText>, StoreError> {
        match self.client.get_secret_value().secret_id(&self.id).version_id(&version.0).send().await {
            Ok(mut value) => Ok(value.secret_string.take().map(SecretText::from)),
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => Ok(None),
            Err(error) => Err(self.explained("GetSecretValue", error).await),
        }
    }

    async fn create(&self, text: &SecretText) -> Result<(), StoreError> {
        // The SDK repeats a call whose reply was lost with the same token, which then is the same creation.
        let call = self.client.create_secret().name(&self.id).client_request_token(Uuid::new_v4().to_string());
        let call = call.description("Certificate authority of EventStoreDB's nodes, kept by certgen");
        match call.secret_string(text.expose()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, |error| error.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(self.explained("CreateSecret", error).await),
        }
    }

    async fn put(&self, version: &VersionId, text: &SecretText) -> Result<(), StoreError> {
        let call = self.client.put_secret_value().secret_id(&self.id);
        let call = call.client_request_token(&version.0).version_stages(PENDING);
        match call.secret_string(text.expose()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is(&error, |error| error.is_resource_exists_exception()) => Ok(()),
            Err(error) => Err(self.explained("PutSecretValue", error).await),
        }
    }

    async fn promote(&self, from: Option<&VersionId>, to: &VersionId) -> Result<(), StoreError> {
        let call = self.client.update_secret_version_stage().secret_id(&self.id).version_stage(CURRENT);
        let from = from.map(|version| version.0.clone());
        match call.move_to_version_id(&to.0).set_remove_from_version_id(from).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explained("UpdateSecretVersionStage", error).await),
        }
    }

    async fn drop_pending(&self, from: &VersionId) -> Result<(), StoreError> {
        let call = self.client.update_secret_version_stage().secret_id(&self.id).version_stage(PENDING);
        match call.remove_from_version_id(&from.0).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explained("UpdateSecretVersionStage", error).await),
        }
    }

    async fn pause(&self, pause: Duration) -> bool {
        // Between half of it and all of it, so that tasks that started together do not ask in step.
        let mut random = [0_u8; 1];
        // Without random numbers they ask in step, which the SDK's own pauses set right.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let end = Instant::now() + pause / 2 + pause / 512 * u32::from(random[0]);
        if end >= self.deadline {
            return false;
        }
        sleep(end - Instant::now()).await;
        true
    }
}

/// What consumers find under `caCertificate` in the secrets of users.
///
/// # Errors
///
/// [`StoreError`] of the first secret that cannot be read.
pub async fn published_roots(configuration: &SdkConfig, secrets: &[String]) -> Result<Vec<PublishedRoots>, StoreError> {
    let client = Client::new(configuration);
    let mut published = Vec::new();
    for secret in secrets {
        let roots_sha256 = match client.get_secret_value().secret_id(secret).version_stage(CURRENT).send().await {
            Ok(mut value) => value.secret_string.take().and_then(|text| roots_of(&SecretText::from(text))),
            Err(error) if is(&error, |error| error.is_resource_not_found_exception()) => None,
            Err(error) => {
                let mut error = store_error("GetSecretValue", &error);
                error.message = format!("`{secret}`: {}", error.message);
                return Err(error);
            }
        };
        published.push(PublishedRoots { secret: secret.clone(), roots_sha256 });
    }
    Ok(published)
}

/// The fingerprint of the roots in the text of a user's secret.
fn roots_of(text: &SecretText) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct User {
        ca_certificate: String,
    }
    let User { ca_certificate } = serde_json::from_str(text.expose()).ok()?;
    let blocks = pem::parse_many(&ca_certificate).ok()?;
    let roots: Vec<_> = blocks.iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::contents).collect();
    (!roots.is_empty()).then(|| roots_fingerprint(roots))
}
