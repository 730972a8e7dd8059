//! The adapter to the node's own server; the only file that names reqwest.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::root_cause;
use crate::password::Password;
use crate::ports::{Login, NodeState, Server, ServerError};
use crate::trust::Trust;

/// The server has no time-outs of its own: a request it cannot finish is never answered (observed §3).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP API of one node over TLS.
#[derive(Clone, Debug)]
pub struct HttpServer {
    client: Client,
    base: String,
}

impl HttpServer {
    /// A client for the node at `address` that trusts nothing but `trust` and expects `name` in the certificate.
    ///
    /// # Errors
    ///
    /// [`ServerError::Certificate`] if the roots cannot be used.
    pub fn new(address: SocketAddr, name: &str, trust: &Trust) -> Result<Self, ServerError> {
        let tls = trust.client_config().map_err(|error| ServerError::Certificate(error.to_string()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .resolve(name, address)
            .no_proxy()
            .redirect(Policy::none())
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(|error| ServerError::Certificate(root_cause(&error)))?;
        Ok(Self { client, base: format!("https://{name}:{}", address.port()) })
    }

    async fn get(&self, path: &str) -> Result<Response, ServerError> {
        self.client.get(format!("{}{path}", self.base)).send().await.map_err(|error| failure(&error))
    }
}

#[derive(Deserialize)]
struct Info {
    state: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewPassword<'a> {
    new_password: &'a str,
}

/// The keys of a reply differ by server line; this one is in all of them.
#[derive(Deserialize)]
struct Reply {
    success: bool,
}

impl Server for HttpServer {
    async fn state(&self) -> Result<NodeState, ServerError> {
        // Without credentials: from 25.1 on a wrong login would be answered before the health check.
        let live = self.get("/health/live").await?.status().is_success();
        let info = self.get("/info").await?;
        if !info.status().is_success() {
            return Err(ServerError::Answer(format!("{} to GET /info", info.status())));
        }
        let info: Info = info.json().await.map_err(|error| failure(&error))?;
        Ok(NodeState { live, leader: info.state == "leader" })
    }

    async fn login(&self, user: &str, password: &Password) -> Login {
        let ping = self.client.get(format!("{}/ping", self.base)).basic_auth(user, Some(password.expose()));
        match ping.send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Login::Accepted,
            // There are other 401s; this one is about the password (contract §1.4).
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && challenges_login(&answer) => Login::Refused,
            _ => Login::Unclear,
        }
    }

    async fn reset_password(
        &self,
        (as_user, as_password): (&str, &Password),
        user: &str,
        new: &Password,
    ) -> Result<(), ServerError> {
        let body = serde_json::to_string(&NewPassword { new_password: new.expose() }).map(Zeroizing::new);
        let body = body.map_err(|error| ServerError::Answer(error.to_string()))?;
        let answer = self
            .client
            .post(format!("{}/users/{user}/command/reset-password", self.base))
            .basic_auth(as_user, Some(as_password.expose()))
            .header(CONTENT_TYPE, "application/json")
            // A body of known length: a chunked one is refused by a follower (observed §4).
            .body(body.as_bytes().to_vec())
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let status = answer.status();
        let reply = answer.json::<Reply>().await;
        // 200 with an empty body means that nothing was changed (observed §2).
        if status == StatusCode::OK && reply.is_ok_and(|reply| reply.success) {
            return Ok(());
        }
        Err(ServerError::Answer(format!("{status} to the password reset of `{user}`, without success")))
    }
}

fn challenges_login(answer: &Response) -> bool {
    header(answer, &WWW_AUTHENTICATE).is_some_and(|challenge| challenge.starts_with("X-Basic"))
}

fn header<'a>(answer: &'a Response, name: &HeaderName) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

fn failure(error: &reqwest::Error) -> ServerError {
    if let Some(certificate) = certificate_error(error) {
        return ServerError::Certificate(certificate);
    }
    if error.is_timeout() {
        return ServerError::Unreachable("no answer in time".to_owned());
    }
    ServerError::Unreachable(root_cause(error))
}

/// What rustls said, if it refused the server's certificate. An I/O error does not name what it carries as its source,
/// so it is opened.
fn certificate_error(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(refused)) = error.downcast_ref() {
            return Some(refused.to_string());
        }
        let carried = error.downcast_ref().and_then(io::Error::get_ref);
        cause = carried.map_or_else(|| error.source(), |carried| Some(carried));
    }
    None
}
