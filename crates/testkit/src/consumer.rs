//! A client of the database as an application would be: it knows AWS's endpoint and the name of a secret, and nothing
//! that the programs under test know.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Calls AWS without the SDK; doubles do not check signatures.
pub async fn aws(endpoint: &str, target: &str, input: &Value) -> Result<Value, Error> {
    let address = endpoint.strip_prefix("http://").ok_or("the endpoint is not plain HTTP")?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    // Nobody checks the signature; moto looks at the scope to learn which service is meant.
    let service = if target.starts_with("secretsmanager") { "secretsmanager" } else { "servicediscovery" };
    let scope = format!("test/20260101/eu-west-1/{service}/aws4_request");
    let request = Request::post("/")
        .header("host", address)
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(input.to_string())))?;
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let body = reply.into_body().collect().await?.to_bytes();
    connection.abort();
    let output: Value = serde_json::from_slice(&body)?;
    if status.is_success() { Ok(output) } else { Err(format!("{target}: {}", output["__type"]).into()) }
}

/// The text of a secret's current version, as JSON.
pub async fn read_secret(endpoint: &str, name: &str) -> Result<Value, Error> {
    let output = aws(endpoint, "secretsmanager.GetSecretValue", &json!({"SecretId": name})).await?;
    Ok(serde_json::from_str(output["SecretString"].as_str().ok_or("the secret has no text")?)?)
}

/// The addresses under which a service is registered.
pub async fn discover(endpoint: &str, namespace: &str, service: &str) -> Result<Vec<SocketAddr>, Error> {
    let input = json!({"NamespaceName": namespace, "ServiceName": service});
    let output = aws(endpoint, "Route53AutoNaming_v20170314.DiscoverInstances", &input).await?;
    let instances = output["Instances"].as_array().ok_or("no list of instances")?;
    let address = |instance: &Value| {
        let attribute = |name: &str| instance["Attributes"][name].as_str().map(str::to_owned);
        let (ip, port) = (attribute("AWS_INSTANCE_IPV4")?, attribute("AWS_INSTANCE_PORT")?);
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    };
    instances.iter().map(|instance| address(instance).ok_or_else(|| "an instance without an address".into())).collect()
}

/// Asks for a path at `address`, where a server with a certificate for `host` by one of the roots in `ca` must be.
pub async fn get(
    address: SocketAddr,
    host: &str,
    ca: &str,
    path: &str,
    login: Option<(&str, &str)>,
) -> Result<(StatusCode, String), Error> {
    let mut request = Request::get(path).header("host", host);
    if let Some(login) = login {
        request = request.header("authorization", basic(login));
    }
    send(address, host, ca, request.body(Full::new(Bytes::new()))?).await
}

/// Posts JSON to a server as in [`get`].
pub async fn post(
    address: SocketAddr,
    host: &str,
    ca: &str,
    path: &str,
    login: (&str, &str),
    body: &Value,
) -> Result<StatusCode, Error> {
    let request = Request::post(path)
        .header("host", host)
        .header("authorization", basic(login))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    send(address, host, ca, request).await.map(|(status, _)| status)
}

/// Asks a server to delete something, as in [`get`].
pub async fn delete(
    address: SocketAddr,
    host: &str,
    ca: &str,
    path: &str,
    login: (&str, &str),
) -> Result<StatusCode, Error> {
    let request = Request::delete(path).header("host", host).header("authorization", basic(login));
    send(address, host, ca, request.body(Full::new(Bytes::new()))?).await.map(|(status, _)| status)
}

fn basic((user, password): (&str, &str)) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn send(
    address: SocketAddr,
    host: &str,
    ca: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, String), Error> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let body = reply.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
