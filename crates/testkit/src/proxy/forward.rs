//! From a client to the upstream and back.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::tls::Sides;
use super::{Answer, Call, Fault, Hook, Shared, Upstream};

/// How a call gets to the upstream.
#[derive(Clone)]
pub(super) struct Route {
    upstream: SocketAddr,
    tls: Option<Sides>,
}

/// A request on its way.
struct Passage {
    route: Route,
    as_node: bool,
    head: Parts,
    body: Bytes,
    shared: Arc<Shared>,
    number: usize,
}

/// Why the client gets no reply; its connection is closed.
type Lost = Box<dyn std::error::Error + Send + Sync>;

impl Route {
    pub(super) fn to(upstream: &Upstream) -> Self {
        match upstream {
            Upstream::Plain(address) => Self { upstream: *address, tls: None },
            Upstream::Tls(address, files) => Self { upstream: *address, tls: Some(Sides::load(files)) },
        }
    }
}

pub(super) async fn serve(listener: TcpListener, route: Route, shared: Arc<Shared>) {
    // They end with the proxy.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, route.clone(), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, route: Route, shared: Arc<Shared>) {
    // A reply must not wait for a further one.
    let _ = stream.set_nodelay(true);
    match &route.tls {
        None => requests(stream, route, false, shared).await,
        // A client that goes away in the handshake, or does not trust us, is its own affair.
        Some(sides) => {
            if let Ok(stream) = sides.accept(stream).await {
                let as_node = Sides::showed_certificate(&stream);
                requests(stream, route, as_node, shared).await;
            }
        }
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    route: Route,
    as_node: bool,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request| answer(request, route.clone(), as_node, Arc::clone(&shared)));
    // The error is a reply that was lost on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    route: Route,
    as_node: bool,
    shared: Arc<Shared>,
) -> Result<Response<AsItCame>, Lost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (number, met) = shared.arrive(call(&head, &body));
    let passage = Passage { route, as_node, head, body, shared: Arc::clone(&shared), number };
    let reply = match met {
        None => passage.effects(Duration::ZERO, 1).await,
        Some((fault, hook)) => disturbed(passage, fault, &hook).await,
    }?;
    shared.note(number, |call| call.answered = Some(reply.status()));
    Ok(reply)
}

async fn disturbed(passage: Passage, fault: Fault, hook: &Hook) -> Result<Response<AsItCame>, Lost> {
    let told = || hook.lock().expect("no hook panics")();
    match fault {
        Fault::Before => {
            told();
            Err("the request was lost".into())
        }
        Fault::BlackHole => {
            told();
            pending().await
        }
        Fault::Answer(answer) => {
            told();
            Ok(own(&answer))
        }
        Fault::Delay(time) => {
            told();
            passage.effects(time, 1).await
        }
        Fault::Twice => {
            let reply = passage.effects(Duration::ZERO, 2).await;
            told();
            reply
        }
        Fault::After => {
            // Whatever the reply would have been.
            let _ = passage.effects(Duration::ZERO, 1).await;
            told();
            Err("the reply was lost".into())
        }
        Fault::Unanswered => {
            let _ = passage.effects(Duration::ZERO, 1).await;
            told();
            pending().await
        }
    }
}

fn call(head: &Parts, body: &Bytes) -> Call {
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let input: Option<Value> = target.and_then(|_| serde_json::from_slice(body).ok());
    let subject = input.as_ref().and_then(|input| {
        ["SecretId", "Name", "InstanceId", "OperationId", "ServiceId"].iter().find_map(|key| input[key].as_str())
    });
    Call {
        number: 0,
        at: Instant::now(),
        method: head.method.clone(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        operation: target.and_then(|target| target.rsplit('.').next()).map(str::to_owned),
        subject: subject.map(str::to_owned),
        fault: None,
        effects: 0,
        answered: None,
    }
}

impl Passage {
    /// Forwards the request `times` times. Gives the last reply.
    async fn effects(self, delay: Duration, times: usize) -> Result<Response<AsItCame>, Lost> {
        // Goes on when the client has given up: what it has sent has been sent.
        let effects = tokio::spawn(async move {
            sleep(delay).await;
            let mut reply = Err(io::Error::other("it was not forwarded"));
            for _ in 0..times {
                reply = self.forward().await;
                if reply.is_ok() {
                    self.shared.note(self.number, |call| call.effects += 1);
                }
            }
            reply
        });
        Ok(effects.await??)
    }

    async fn forward(&self) -> io::Result<Response<AsItCame>> {
        let stream = TcpStream::connect(self.route.upstream).await?;
        stream.set_nodelay(true)?;
        let (head, body) = (self.head.clone(), self.body.clone());
        match &self.route.tls {
            None => exchange(stream, head, body).await,
            Some(sides) => exchange(sides.connect(stream, self.as_node).await?, head, body).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    head: Parts,
    body: Bytes,
) -> io::Result<Response<AsItCame>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let body = AsItCame::new(&head.headers, body);
    let reply = sender.send_request(Request::from_parts(head, body)).await.map_err(io::Error::other)?;
    let (head, body) = reply.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    let body = AsItCame::new(&head.headers, body);
    Ok(Response::from_parts(head, body))
}

fn own(answer: &Answer) -> Response<AsItCame> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(*name, value);
    }
    let body = AsItCame { data: Some(Bytes::from(answer.body.clone())), chunked: false };
    builder.body(body).expect("a test answers with headers that are valid")
}

/// A body in the framing that it had: with a length, or in chunks.
struct AsItCame {
    data: Option<Bytes>,
    chunked: bool,
}

impl AsItCame {
    fn new(headers: &HeaderMap, data: Bytes) -> Self {
        Self { data: Some(data), chunked: headers.contains_key(TRANSFER_ENCODING) }
    }

    fn left(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }
}

impl Body for AsItCame {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().filter(|data| !data.is_empty()).map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        !self.chunked && self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked { SizeHint::default() } else { SizeHint::with_exact(self.left() as u64) }
    }
}
