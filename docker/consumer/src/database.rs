//! The database as the secret describes it.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use rustls::crypto::aws_lc_rs;
use serde::Deserialize;

use crate::secret::Credentials;

/// Trusts the roots of the secret and no others.
pub(crate) struct Database {
    client: Client,
    credentials: Credentials,
}

/// Why a piece of work was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the database refuses the password")]
    Refused,
    #[error("{0}")]
    Unreachable(String),
    #[error("the database answers {0}")]
    Answer(StatusCode),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CurrentUser {
    data: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    login_name: String,
}

impl Database {
    pub(crate) fn new(credentials: Credentials) -> Result<Self, DatabaseError> {
        // One provider for the process; a second call finds it there.
        let _ = aws_lc_rs::default_provider().install_default();
        let roots = Certificate::from_pem_bundle(credentials.ca_certificate.as_bytes()).map_err(unreachable)?;
        let client = Client::builder()
            .tls_certs_only(roots)
            .timeout(Duration::from_secs(5))
            .no_proxy()
            // So that the name is resolved each time.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(unreachable)?;
        Ok(Self { client, credentials })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.credentials.host, self.credentials.port)
    }

    /// What stands for the service's work: a request that needs a login.
    pub(crate) async fn who_am_i(&self) -> Result<String, DatabaseError> {
        let url = format!("{}/users/$current", self.url());
        let Credentials { username, password, .. } = &self.credentials;
        let request = self.client.get(url).basic_auth(username, Some(password.as_str()));
        let reply = request.header("accept", "application/json").send().await.map_err(unreachable)?;
        match reply.status() {
            StatusCode::OK => Ok(reply.json::<CurrentUser>().await.map_err(unreachable)?.data.login_name),
            StatusCode::UNAUTHORIZED => Err(DatabaseError::Refused),
            other => Err(DatabaseError::Answer(other)),
        }
    }
}

/// The innermost cause says most; none of them has the password.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unreachable(error: reqwest::Error) -> DatabaseError {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    DatabaseError::Unreachable(cause.to_string())
}
