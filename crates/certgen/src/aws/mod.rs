//! The adapters to AWS, behind the feature `aws`; the only files of certgen that name an `aws-sdk-*` crate.
#![expect(clippy::redundant_closure_for_method_calls, reason = "the full paths of the SDK's errors hide what is asked")]

mod cloud_map;
mod endpoints;
mod secrets;

use std::fmt;
use std::io;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_secretsmanager::config::ProvideCredentials as _;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

pub use self::cloud_map::registered_nodes;
pub use self::endpoints::endpoint_mistakes;
pub use self::secrets::{Secret, published_roots};
use crate::ca::{StoreError, StoreErrorKind};
use crate::error::root_cause;

/// The SDK has no limits of its own for a peer that accepts and stays silent.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Our limits of time and trust, for whatever credentials and region: the web's roots are compiled in, because an image
/// without a distribution has none.
///
/// # Panics
///
/// Never: the compiled-in roots are known to be certificates.
pub fn loader() -> ConfigLoader {
    let mut roots = TrustStore::empty();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        roots.add_pem_certificate(pem::encode(&pem::Pem::new("CERTIFICATE", root.as_ref())));
    }
    let tls = TlsContext::builder().with_trust_store(roots).build().expect("the compiled-in roots are certificates");
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts)
}

/// Credentials, region and endpoints as the environment gives them.
///
/// # Errors
///
/// [`StoreError`] if there is no region, or no credentials: the calls themselves would fail less clearly.
pub async fn configuration() -> Result<SdkConfig, StoreError> {
    let configuration = loader().load().await;
    let failed = |message, kind| Err(StoreError { operation: "configuration of the AWS SDK", message, kind });
    if configuration.region().is_none() {
        return failed("no region is set; set AWS_REGION".to_owned(), StoreErrorKind::Refused);
    }
    let Some(provider) = configuration.credentials_provider() else {
        return failed("no source of credentials is set".to_owned(), StoreErrorKind::Denied);
    };
    if let Err(error) = provider.provide_credentials().await {
        let message = format!("no credentials: {}; a task has them by its task role", root_cause(&error));
        return failed(message, StoreErrorKind::Denied);
    }
    Ok(configuration)
}

/// Runs calls to their end on this thread.
///
/// # Errors
///
/// Only if the system does not let it wait for sockets.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Whether AWS answered with an error that passes `test`.
pub fn is<E>(error: &SdkError<E>, test: impl Fn(&E) -> bool) -> bool {
    error.as_service_error().is_some_and(test)
}

/// Error code and message of AWS's answer, or what went wrong on the way. Requests, which hold secrets, are never shown.
pub fn store_error<E>(operation: &'static str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + fmt::Debug + std::error::Error + 'static,
{
    let (message, kind) = match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or("no code");
            let message = format!("{code}: {}", answer.err().message().unwrap_or("no message"));
            (message, kind_of(operation, code, answer.raw().status().as_u16()))
        }
        SdkError::TimeoutError(_) => ("no answer in time".to_owned(), StoreErrorKind::Unavailable),
        SdkError::ConstructionFailure(_) => (root_cause(error), StoreErrorKind::Refused),
        _ => (root_cause(error), StoreErrorKind::Unavailable),
    };
    StoreError { operation, message, kind }
}

fn kind_of(operation: &'static str, code: &str, status: u16) -> StoreErrorKind {
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnrecognizedClientException" | "ExpiredTokenException" => {
            StoreErrorKind::Denied
        }
        "InternalServiceError" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => {
            StoreErrorKind::Unavailable
        }
        "EncryptionFailure" | "DecryptionFailure" => StoreErrorKind::Encryption,
        "ResourceNotFoundException" | "ServiceNotFound" => StoreErrorKind::Missing,
        // The label or the entry is not where it was when we looked.
        "InvalidParameterException" if operation == "UpdateSecretVersionStage" => StoreErrorKind::Changed,
        "InstanceNotFound" => StoreErrorKind::Changed,
        _ if status >= 500 => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Refused,
    }
}
