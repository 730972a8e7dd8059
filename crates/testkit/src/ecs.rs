//! The endpoints that ECS gives a task: metadata (version 4) and credentials (aws-contract §1.5, §4.1).

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Who the task is.
#[derive(Clone, Debug)]
pub struct TaskIdentity {
    /// The task's ARN.
    pub task_arn: String,
    /// The family of its definition.
    pub family: String,
    /// Its address.
    pub address: IpAddr,
}

impl TaskIdentity {
    /// The last part of the ARN.
    pub fn id(&self) -> &str {
        self.task_arn.rsplit('/').next().unwrap_or_default()
    }
}

/// Running endpoints. End when dropped.
#[derive(Debug)]
pub struct TaskEndpoints {
    port: u16,
    server: JoinHandle<()>,
}

impl TaskEndpoints {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(identity: TaskIdentity) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let identity = Arc::new(identity);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let identity = Arc::clone(&identity);
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let reply = answer(&identity, request.uri().path());
                        async move { Ok::<_, Infallible>(reply) }
                    });
                    // A client that goes away in the middle is its own affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { port, server })
    }

    /// The variables that ECS sets in every container of the task.
    pub fn environment(&self) -> Vec<(String, String)> {
        let base = format!("http://127.0.0.1:{}", self.port);
        vec![
            ("ECS_CONTAINER_METADATA_URI_V4".to_owned(), format!("{base}/v4/task")),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), format!("{base}/credentials")),
        ]
    }
}

impl Drop for TaskEndpoints {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(identity: &TaskIdentity, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/v4/task" => (StatusCode::OK, container(identity)),
        "/v4/task/task" => (
            StatusCode::OK,
            json!({
                "Cluster": "testkit",
                "TaskARN": identity.task_arn,
                "Family": identity.family,
                "Revision": "1",
                "DesiredStatus": "RUNNING",
                "KnownStatus": "RUNNING",
                "LaunchType": "FARGATE",
                "Containers": [container(identity)],
            }),
        ),
        "/credentials" => (
            StatusCode::OK,
            json!({
                "RoleArn": "arn:aws:iam::123456789012:role/testkit",
                "AccessKeyId": "ASIATESTKIT",
                "SecretAccessKey": "not-a-secret",
                "Token": "not-a-token",
                "Expiration": "2099-01-01T00:00:00Z",
            }),
        ),
        _ => (StatusCode::NOT_FOUND, Value::Null),
    };
    let reply = Response::builder().status(status).header("content-type", "application/json");
    reply.body(Full::new(Bytes::from(body.to_string()))).expect("a fixed header and a valid status make a response")
}

fn container(identity: &TaskIdentity) -> Value {
    json!({
        "Name": "bootstrap",
        "Type": "NORMAL",
        "KnownStatus": "RUNNING",
        "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [identity.address.to_string()]}],
    })
}
