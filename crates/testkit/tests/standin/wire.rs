//! A client that sends what it is told to, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use testkit::database::Line;
use testkit::node::{DatabaseCluster, DatabaseNode};

pub(crate) const DEFAULT: (&str, &str) = ("admin", "changeit");
pub(crate) const OPS: (&str, &str) = ("ops", "changeit");
pub(crate) const JSON: &str = "Content-Type: application/json";

/// A server to talk to.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    ca: String,
    certs: PathBuf,
}

impl Target {
    pub(crate) fn of(node: &DatabaseNode) -> Self {
        Self { address: node.address(), ca: node.ca(), certs: node.certs() }
    }

    pub(crate) fn member(cluster: &DatabaseCluster, node: usize) -> Self {
        Self { address: cluster.address(node), ca: cluster.ca(node), certs: cluster.path_of(node).join("certs") }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        roots
    }

    pub(crate) fn client(&self) -> ClientConfig {
        builder(self.roots()).with_no_client_auth()
    }

    /// A client with the node's own certificate.
    pub(crate) fn node(&self) -> ClientConfig {
        let chain = vec![CertificateDer::from_pem_file(self.certs.join("node.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.certs.join("node.key")).unwrap();
        builder(self.roots()).with_client_auth_cert(chain, key).unwrap()
    }

    /// Sends these bytes over TLS and gives all that comes back until the server closes; nothing if there is no server.
    pub(crate) fn exchange(&self, config: ClientConfig, request: &str) -> String {
        let Ok(mut socket) = TcpStream::connect(self.address) else { return String::new() };
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut stream = Stream::new(&mut session, &mut socket);
        let mut reply = Vec::new();
        // A server that closes without saying goodbye has said all it will.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    pub(crate) fn ask(&self, request: &str) -> Reply {
        parse(&self.exchange(self.client(), request))
    }

    pub(crate) fn get(&self, path: &str, login: Option<(&str, &str)>) -> Reply {
        self.ask(&request("GET", path, login, &[], None))
    }

    /// Waits until a login is accepted; on the older lines the first 204 comes a little before the users (lines §D).
    pub(crate) fn wait_for_users(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.get("/ping", Some(DEFAULT)).code() != 200 {
            assert!(Instant::now() < deadline, "there are no users");
        }
    }

    pub(crate) fn as_node(&self, text: &str) -> Reply {
        parse(&self.exchange(self.node(), text))
    }

    pub(crate) fn reset(&self, login: (&str, &str), user: &str, new: &str) -> Reply {
        self.ask(&reset_request(login, user, new))
    }
}

pub(crate) fn builder(roots: RootCertStore) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

pub(crate) fn reset_request(login: (&str, &str), user: &str, new: &str) -> String {
    let body = format!("{{\"newPassword\":\"{new}\"}}");
    request("POST", &format!("/users/{user}/command/reset-password"), Some(login), &[JSON], Some(&body))
}

/// A request as text; header lines are given without line ends.
pub(crate) fn request(
    method: &str,
    path: &str,
    login: Option<(&str, &str)>,
    headers: &[&str],
    body: Option<&str>,
) -> String {
    let mut lines =
        vec![format!("{method} {path} HTTP/1.1"), "Host: localhost".to_owned(), "Connection: close".to_owned()];
    lines.extend(
        login.map(|(user, password)| format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))),
    );
    lines.extend(headers.iter().map(|&header| header.to_owned()));
    lines.extend(body.map(|body| format!("Content-Length: {}", body.len())));
    lines.join("\r\n") + "\r\n\r\n" + body.unwrap_or_default()
}

pub(crate) struct Reply {
    pub(crate) status: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn code(&self) -> u16 {
        self.status[..3].parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The names in a JSON body in their order, of the outermost object.
    pub(crate) fn keys(&self) -> Vec<String> {
        keys_at(&self.body, 2)
    }
}

/// The names in indented JSON that stand behind so many spaces, without repetition.
pub(crate) fn keys_at(body: &str, indent: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for line in body.lines() {
        let Some(name) = line.strip_prefix(&format!("{}\"", " ".repeat(indent))) else { continue };
        let name = name.split('"').next().unwrap().to_owned();
        if !keys.contains(&name) {
            keys.push(name);
        }
    }
    keys
}

pub(crate) fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP reply: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned();
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}

/// A stand-in of a line that is ready.
pub(crate) fn ready_of(line: Line, arguments: &[&str]) -> DatabaseNode {
    let node = DatabaseNode::start_of(line, "node-1.test", 0.05, arguments);
    wait_until_ready(&node);
    node
}

pub(crate) fn wait_until_ready(node: &DatabaseNode) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(node.wait_until_ready());
}
