//! Answers `GET /metrics` and nothing else, over plain HTTP, to whoever may connect to the address that was given. One
//! request a connection, each with a deadline, and few at a time: nobody keeps the sidecar from its work by asking.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Sample, prometheus};
use crate::settings::RunSettings;
use crate::status::Report;

/// From the connection to its end.
const DEADLINE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 8;
const LARGEST_HEAD: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
/// After an address could not be listened on, or no connection be accepted.
const PAUSE: Duration = Duration::from_secs(10);

/// Listens as long as the sidecar lives, if it is to.
pub(crate) async fn serve(report: &Report, settings: &RunSettings) -> Infallible {
    let Some(address) = settings.metrics_address else { return std::future::pending().await };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut said = String::new();
    loop {
        let failed = match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                info!("metrics are at http://{address}/metrics");
                said.clear();
                accept(&listener, &room, || {
                    prometheus::text(&Sample::now(report, settings.guard_status_file.as_deref()))
                })
                .await
            }
            Err(error) => error,
        };
        tell(&mut said, address, &failed);
        sleep(PAUSE).await;
    }
}

fn tell(said: &mut String, address: SocketAddr, error: &io::Error) {
    let text = error.to_string();
    if *said != text {
        warn!("metrics cannot be had at {address} for now: {text}");
        *said = text;
    }
}

/// Ends when no connection can be accepted.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>, text: impl Fn() -> String) -> io::Error {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        // Who comes too many is not answered.
        let Ok(place) = Arc::clone(room).try_acquire_owned() else { continue };
        let text = text();
        tokio::spawn(async move {
            // Whoever asked may have gone, or be too slow.
            let _ = timeout(DEADLINE, answer(stream, &text)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, text: &str) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let reply = loop {
        if let Some(reply) = reply(&head, text) {
            break reply;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // What is still to be read would turn the end into a reset, and the reply be lost.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The reply to what was read so far; `None` if the request is not complete.
fn reply(head: &[u8], text: &str) -> Option<String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let is_complete = match request.parse(head) {
        Ok(status) => status.is_complete(),
        Err(_) => return Some(respond("400 Bad Request", "", "")),
    };
    if !is_complete {
        return (head.len() >= LARGEST_HEAD).then(|| respond("431 Request Header Fields Too Large", "", ""));
    }
    let path = request.path.unwrap_or_default();
    Some(match (request.method, path.split('?').next()) {
        (Some("GET"), Some("/metrics")) => {
            respond("200 OK", &format!("Content-Type: {}\r\n", prometheus::CONTENT_TYPE), text)
        }
        (_, Some("/metrics")) => respond("405 Method Not Allowed", "Allow: GET\r\n", ""),
        _ => respond("404 Not Found", "", ""),
    })
}

fn respond(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_get_metrics_has_a_text() {
        let status = |head: &str| reply(head.as_bytes(), "text\n").map(|reply| reply[9..12].to_owned());
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Some("200")),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Some("200")),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some("405")),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Some("405")),
            ("GET / HTTP/1.1\r\n\r\n", Some("404")),
            ("GET /metrics/../x HTTP/1.1\r\n\r\n", Some("404")),
            ("\u{16}\u{3}\u{1}", Some("400")),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(head).as_deref(), expected, "{head:?}");
        }
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(LARGEST_HEAD));
        assert_eq!(status(&endless).as_deref(), Some("431"));
        let whole = reply(b"GET /metrics HTTP/1.1\r\n\r\n", "text\n").unwrap();
        assert_eq!(
            whole,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntext\n"
        );
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        // One that is turned away sees the end, or a reset.
        let _ = stream.read_to_string(&mut reply).await;
        reply
    }

    /// Whoever says nothing holds a place until the deadline and no longer.
    #[tokio::test]
    async fn silent_connections_end_and_those_too_many_are_turned_away() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let watched = Arc::clone(&room);
        tokio::spawn(async move { accept(&listener, &room, || "text\n".to_owned()).await });
        assert!(ask(address).await.ends_with("\r\n\r\ntext\n"));
        let until = async |free: usize| {
            let deadline = Instant::now() + Duration::from_mins(1);
            while watched.available_permits() != free {
                assert!(Instant::now() < deadline, "{} places are free", watched.available_permits());
                sleep(Duration::from_millis(5)).await;
            }
        };
        until(CONNECTIONS).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        until(0).await;
        assert_eq!(ask(address).await, "");
        until(CONNECTIONS).await;
        assert!(ask(address).await.ends_with("\r\n\r\ntext\n"));
    }
}
