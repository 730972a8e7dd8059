//! AWS JSON 1.1 over HTTP/1.1: `POST /` with the operation in `X-Amz-Target`.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{ApiError, Call, Moment, Refusal, World};

pub(super) const SECRETS_MANAGER: &str = "secretsmanager.";
pub(super) const CLOUD_MAP: &str = "Route53AutoNaming_v20170314.";
/// Both services give at most so many items at once.
const LARGEST_PAGE: usize = 100;

pub(super) async fn serve(world: Arc<Mutex<World>>) -> io::Result<(u16, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&world), request));
                // A client that goes away in the middle is its own affair.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((port, server))
}

pub(super) async fn answer(
    world: Arc<Mutex<World>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let target = header("x-amz-target").unwrap_or_default().to_owned();
    let access_key = header("authorization").and_then(access_key);
    let Ok(body) = request.into_body().collect().await else {
        return Ok(reply(Err(ApiError::new("SerializationException", "the body could not be read"))));
    };
    let Ok(input) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return Ok(reply(Err(ApiError::new("SerializationException", "the body is not JSON"))));
    };
    let mut world = world.lock().expect("no call panics while it holds the world");
    Ok(reply(world.call(&target, access_key, &input)))
}

/// From `… Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn access_key(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').next().map(str::to_owned)
}

fn reply(outcome: Result<Value, ApiError>) -> Response<Full<Bytes>> {
    let builder = Response::builder()
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amzn-requestid", Uuid::new_v4().to_string());
    let (builder, body) = match outcome {
        Ok(output) => (builder.status(StatusCode::OK), output),
        Err(error) => (builder.status(error.status).header("x-amzn-errortype", error.code), error.body()),
    };
    builder.body(Full::new(Bytes::from(body.to_string()))).expect("fixed headers and a valid status make a response")
}

impl World {
    fn call(&mut self, target: &str, access_key: Option<String>, input: &Value) -> Result<Value, ApiError> {
        self.tell(Moment::BeforeEffect);
        let operation = target.rsplit('.').next().unwrap_or_default();
        let asked = self.asked(target, input);
        let outcome = match self.refusal(operation) {
            Some(refusal) => Err(refusal.into()),
            None if target.starts_with(SECRETS_MANAGER) => self.secrets.call(operation, input),
            None if target.starts_with(CLOUD_MAP) => self.cloud_map.call(operation, input),
            None => Err(ApiError::new("UnknownOperationException", format!("`{target}` is not implemented"))),
        };
        let subject =
            ["SecretId", "Name", "InstanceId", "OperationId", "ServiceId"].iter().find_map(|key| input[key].as_str());
        self.calls.push(Call {
            at: Instant::now(),
            operation: operation.to_owned(),
            subject: subject.unwrap_or_default().to_owned(),
            asked,
            access_key,
            error: outcome.as_ref().err().map(|error| error.code),
        });
        self.tell(Moment::AfterEffect);
        outcome
    }

    fn refusal(&mut self, operation: &str) -> Option<Refusal> {
        if let Some(next) = self.refusals.iter().position(|(refused, _)| refused == operation) {
            return self.refusals.remove(next).map(|(_, refusal)| refusal);
        }
        let room = self.rates.iter_mut().all(|rate| rate.lets_through(operation));
        (!room).then_some(Refusal::THROTTLED)
    }

    fn tell(&mut self, moment: Moment) {
        let number = self.calls.len() + usize::from(moment == Moment::BeforeEffect);
        if let Some(watcher) = &mut self.watcher {
            watcher(number, moment);
        }
    }
}

/// A page of a list, and the token with which the next one is asked for.
pub(super) fn page(
    key: &'static str,
    items: Vec<Value>,
    size: Option<u64>,
    next: Option<&str>,
) -> Result<Value, ApiError> {
    let start =
        next.map_or(Ok(0), |next| next.parse::<usize>().map_err(|_| ApiError::new("InvalidInput", "NextToken")))?;
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    let end = start + size;
    let mut output = Map::new();
    if end < items.len() {
        output.insert("NextToken".to_owned(), Value::String(end.to_string()));
    }
    output.insert(key.to_owned(), items.into_iter().skip(start).take(size).collect());
    Ok(Value::Object(output))
}

/// The members of a request, taken one by one, so that none that we do not know passes unnoticed.
pub(super) struct Members<'a> {
    input: &'a Value,
    known: Vec<&'static str>,
}

impl<'a> Members<'a> {
    pub(super) fn of(input: &'a Value) -> Self {
        Self { input, known: Vec::new() }
    }

    pub(super) fn value(&mut self, key: &'static str) -> &'a Value {
        self.known.push(key);
        &self.input[key]
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.value(key).as_str()
    }

    pub(super) fn required(&mut self, key: &'static str) -> Result<&'a str, ApiError> {
        self.text(key).ok_or_else(|| ApiError::new("ValidationException", format!("{key} is missing")))
    }

    pub(super) fn done(&self) -> Result<(), ApiError> {
        let given = self.input.as_object().into_iter().flatten();
        match given.map(|(key, _)| key).find(|key| !self.known.contains(&key.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                Err(ApiError::new("ValidationException", format!("the double does not implement {unknown}")))
            }
        }
    }
}
