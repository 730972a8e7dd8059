//! Replies with the headers that the server puts on them (observed §2, lines §A, contract §1.2, §1.3).

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, SERVER};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::line::Line;

pub(super) type Reply = Response<Full<Bytes>>;

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    with_header(reply, SERVER, "Kestrel")
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = with_header(empty(status), CONTENT_TYPE, "application/json; charset=utf-8");
    *reply.body_mut() = Full::new(body);
    reply
}

/// Plain text, as `/metrics` has it.
pub(super) fn text(body: String) -> Reply {
    let mut reply = with_header(empty(StatusCode::OK), CONTENT_TYPE, "text/plain; charset=utf-8; version=0.0.4");
    *reply.body_mut() = Full::new(body.into());
    reply
}

/// A sentence.
pub(super) fn plain(status: StatusCode, body: &'static str) -> Reply {
    let mut reply = with_header(empty(status), CONTENT_TYPE, "text/plain; charset=utf-8");
    *reply.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
    reply
}

/// Compresses a reply if exactly one coding is accepted (contract §1.2).
pub(super) fn compressed(reply: Reply, accepted: Option<&HeaderValue>) -> Reply {
    let coding = accepted.and_then(|coding| coding.to_str().ok()).unwrap_or_default();
    let (head, body) = reply.into_parts();
    let plain = body.into_inner().unwrap_or_default();
    let packed = match coding {
        _ if plain.is_empty() => None,
        "gzip" => pack(GzEncoder::new(Vec::new(), Compression::default()), &plain, GzEncoder::finish),
        "deflate" => pack(DeflateEncoder::new(Vec::new(), Compression::default()), &plain, DeflateEncoder::finish),
        _ => None,
    };
    match packed {
        None => Response::from_parts(head, Full::new(plain)),
        Some(packed) => with_header(Response::from_parts(head, Full::new(packed)), CONTENT_ENCODING, coding),
    }
}

fn pack<E: Write>(mut encoder: E, plain: &[u8], finish: impl FnOnce(E) -> io::Result<Vec<u8>>) -> Option<Bytes> {
    encoder.write_all(plain).ok()?;
    finish(encoder).ok().map(Bytes::from)
}

pub(super) fn reason(status: StatusCode, phrase: &'static str) -> Reply {
    let mut reply = empty(status);
    reply.extensions_mut().insert(ReasonPhrase::from_static(phrase.as_bytes()));
    reply
}

pub(super) fn redirect(to: &str) -> Reply {
    let mut reply = with_header(empty(StatusCode::FOUND), LOCATION, to);
    *reply.body_mut() = Full::new(Bytes::from_static(b"Moved"));
    reply
}

/// The late answer to a request that could not be finished (observed §3).
pub(super) fn not_in_time() -> Reply {
    reason(StatusCode::REQUEST_TIMEOUT, "Server was unable to handle request in time")
}

pub(super) fn with_header(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().append(name, value);
    }
    reply
}

/// The headers of a reply that a controller makes; `allowed` are the methods of its route.
pub(super) fn from_controller(line: Line, mut reply: Reply, allowed: &str) -> Reply {
    set(reply.headers_mut(), "access-control-allow-methods", allowed);
    cors(line, reply)
}

/// The headers of a reply that the API makes before there is a controller.
pub(super) fn from_bridge(line: Line, mut reply: Reply) -> Reply {
    if line.refuses_with_empty_methods() {
        set(reply.headers_mut(), "access-control-allow-methods", "");
    }
    cors(line, reply)
}

fn cors(line: Line, mut reply: Reply) -> Reply {
    let (send, read) = line.cors_lists();
    set(reply.headers_mut(), "access-control-allow-headers", send);
    set(reply.headers_mut(), "access-control-allow-origin", "*");
    set(reply.headers_mut(), "access-control-expose-headers", read);
    reply
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

pub(super) fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
