//! Passes a request on to the leader, as a replica does with everything about users (contract §1.6, observed §4).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue, RANGE, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;

use super::answers::{Reply, not_in_time, reason};
use super::links::connect;
use super::members::Endpoint;
use super::node::Node;

pub(super) const FORWARDED_HOST: &str = "x-forwarded-host";

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Relays the leader's answer. A request that the leader does not answer is one that this node does not answer, and
/// later requests to this node bring the 408 (lines §B).
pub(super) async fn forward(
    node: &Node,
    request: Request<Incoming>,
    leader: &Endpoint,
    base: &str,
    worker: u64,
) -> Reply {
    let (number, mut given_up) = node.hang(worker);
    let reply = tokio::select! {
        relayed = relay(node, request, leader, base) => {
            relayed.unwrap_or_else(|_| reason(StatusCode::INTERNAL_SERVER_ERROR, "Error while forwarding request"))
        }
        _ = &mut given_up => not_in_time(),
    };
    node.settle(number);
    reply
}

async fn relay(node: &Node, request: Request<Incoming>, leader: &Endpoint, base: &str) -> Result<Reply, Error> {
    let (mut head, body) = request.into_parts();
    let may_have_body = !matches!(head.method, http::Method::GET | http::Method::DELETE | http::Method::HEAD);
    let is_chunked = head.headers.contains_key(TRANSFER_ENCODING)
        || (may_have_body && !head.headers.contains_key(CONTENT_LENGTH) && !hyper::body::Body::is_end_stream(&body));
    if is_chunked {
        return Err("a body without Content-Length is not passed on".into());
    }
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // The caller's certificate stays behind: the leader does not know who a node was (contract §1.6).
    let config = Arc::clone(&node.identity()?.forwarding);
    let stream = connect(node, leader, config).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    for name in [CONNECTION, EXPECT, RANGE, HOST, CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let mut onward = Request::builder().method(head.method).uri(path).body(Full::new(body))?;
    *onward.headers_mut() = head.headers;
    onward.headers_mut().insert(HOST, HeaderValue::from_str(&leader.to_string())?);
    let own = base.trim_start_matches("https://");
    onward.headers_mut().insert(FORWARDED_HOST, HeaderValue::from_str(own)?);
    let connection = tokio::spawn(connection);
    let reply = async {
        let (head, body) = sender.send_request(onward).await?.into_parts();
        Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
    };
    let reply = reply.await;
    connection.abort();
    let (head, body) = reply?;
    Ok(relayed(head, body))
}

fn relayed(mut head: http::response::Parts, body: Bytes) -> Reply {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    if head.headers.contains_key(CONTENT_TYPE) {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    if let Some(phrase) = head.extensions.remove::<ReasonPhrase>() {
        reply.extensions_mut().insert(phrase);
    }
    reply
}
