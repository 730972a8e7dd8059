//! What the database's secret says.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use serde::Deserialize;
use zeroize::Zeroizing;

/// The members that a consumer needs. bootstrap adds those besides login and password when the database has been secured.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
    /// Roots to trust, PEM, one after the other.
    pub(crate) ca_certificate: String,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("AWS: {0}")]
    Aws(String),
    #[error("the database has not been secured yet")]
    NotYet,
}

/// The secret in Secrets Manager.
pub(crate) struct Secrets {
    client: Client,
    name: String,
}

impl Secrets {
    pub(crate) async fn new(name: &str) -> Self {
        let mut roots = TrustStore::empty();
        // The image has no files with roots.
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            roots.add_pem_certificate(pem::encode(&pem::Pem::new("CERTIFICATE", root.as_ref())));
        }
        let context =
            TlsContext::builder().with_trust_store(roots).build().expect("the compiled-in roots are certificates");
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build_https();
        // The SDK has none of its own.
        let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(10)).build();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts);
        Self { client: Client::new(&config.load().await), name: name.to_owned() }
    }

    pub(crate) async fn read(&self) -> Result<Credentials, SecretError> {
        let read = self.client.get_secret_value().secret_id(&self.name).version_stage("AWSCURRENT").send().await;
        // A code is enough, and nothing of the request is shown.
        let read = read.map_err(|error| SecretError::Aws(error.code().unwrap_or("no answer").to_owned()))?;
        let text = Zeroizing::new(read.secret_string.unwrap_or_default());
        // The error would show parts of the text.
        serde_json::from_str(&text).map_err(|_| SecretError::NotYet)
    }
}
