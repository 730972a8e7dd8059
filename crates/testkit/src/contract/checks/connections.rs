//! The TLS port: versions, protocols, and what is closed without a word.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::check::Check;
use super::super::found::Found;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Request, plain};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("tls.versions", "TLS 1.2 and TLS 1.3 are both spoken", "observed §2", versions),
        Check::new("tls.alpn", "ALPN agrees on h2 and on http/1.1", "observed §2", alpn),
        Check::new("tls.http2", "HTTP/2 is spoken where it was agreed on: GET /ping 200", "contract §1.2", http2)
            .contract_only(),
        Check::new("tls.plain", "plain HTTP on the TLS port: closed, no HTTP comes back", "observed §2", plain_http),
        Check::new(
            "tls.unrelated-certificate",
            "an unrelated client certificate: closed without a response",
            "observed §2, lines §B",
            unrelated_certificate,
        ),
    ]
}

fn versions(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (name, version) in [("TLS 1.2", &rustls::version::TLS12), ("TLS 1.3", &rustls::version::TLS13)] {
        let tls = node.shared.trust.version(version)?;
        match node.ask_over(&tls, &Request::get("/ping")) {
            Ok(reply) => drop(found.reply(format!("GET /ping over {name}"), &reply).status(200)),
            Err(broken) => found.difference(name, "spoken", broken.found),
        }
    }
    Ok(())
}

fn alpn(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    for (offered, agreed) in [(&["h2"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let connection = node.open(&node.shared.trust.alpn(offered))?;
        let chosen = connection.session().alpn_protocol().map(|chosen| String::from_utf8_lossy(chosen).into_owned());
        let holds = chosen.as_deref() == Some(agreed);
        found.holds(&format!("offering {offered:?}"), holds, agreed, chosen.unwrap_or_else(|| "nothing".to_owned()));
    }
    Ok(())
}

fn http2(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let of = "GET /ping over HTTP/2";
    let broken = |error: &dyn std::fmt::Display| Broken::new(of, error);
    let connector = TlsConnector::from(node.shared.trust.alpn(&["h2"]));
    let asked = async {
        let stream = TcpStream::connect(node.address).await.map_err(|error| broken(&error))?;
        let stream = connector.connect(node.name.clone(), stream).await.map_err(|error| broken(&error))?;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let url = format!("https://{}/ping", node.authority);
        let request = http::Request::get(url).body(Empty::<Bytes>::new()).map_err(|error| broken(&error))?;
        sender.send_request(request).await.map(|reply| reply.status().as_u16()).map_err(|error| broken(&error))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
    let answer = runtime.block_on(async { tokio::time::timeout(node.shared.call_timeout, asked).await });
    let status = answer.map_err(|_| broken(&"no answer"))??;
    found.holds(of, status == 200, "200", status.to_string());
    Ok(())
}

fn plain_http(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let request = Request::get("/ping").bytes(&node.authority);
    let came =
        plain(node.address, &request, node.shared.call_timeout).map_err(|error| Broken::new("plain HTTP", error))?;
    let shown = came.map_or_else(|| "not closed".to_owned(), |bytes| format!("closed after {bytes} bytes"));
    found.holds("GET /ping without TLS", came == Some(0), "closed after 0 bytes", shown);
    Ok(())
}

fn unrelated_certificate(_: &Suite, node: &Node, found: &mut Found) -> Result<(), Broken> {
    let tls = node.shared.trust.unrelated()?;
    let of = "GET /ping with an unrelated client certificate";
    // With TLS 1.3 a client has finished its handshake before the server looks at the certificate; then the end comes
    // with the first read. With TLS 1.2 it comes in the handshake.
    match node.answer_over(&tls, &Request::get("/ping"), node.shared.call_timeout) {
        Ok(answer) => found.closed(of, &answer),
        Err(broken) => found.holds(of, broken.found.starts_with("no TLS"), "closed without a response", broken.found),
    }
    Ok(())
}
