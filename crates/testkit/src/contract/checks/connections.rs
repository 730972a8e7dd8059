//! The TLS port: versions, protocols, and what is closed without a word.

use super::super::check::Check;
use super::super::found::Found;
use super::super::suite::{Node, Suite};
use super::super::wire::{Broken, Request, plain};

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("tls.versions", "TLS 1.2 and TLS 1.3 are both spoken", "observed §2", versions),
        Check::new("tls.alpn", "ALPN agrees on h2 and on http/1.1", "observed §2", alpn),
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
