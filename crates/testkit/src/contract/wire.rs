//! Exchanges over the wire, raw enough that reason phrases, absent headers, broken framing and silence can be seen.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A read looks this often whether the run was told to stop.
const SLICE: Duration = Duration::from_millis(100);

/// A check could not be carried through: what was done, and what came of it.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) what: String,
    pub(super) found: String,
}

impl Broken {
    pub(super) fn new(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { what: what.into(), found: found.to_string() }
    }
}

/// The number of the signal that told the run to stop; 0 if none did.
#[derive(Debug, Default)]
pub(super) struct Stop(AtomicI32);

impl Stop {
    pub(super) fn by_signal(&self, number: i32) {
        // The first signal counts.
        let _ = self.0.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::SeqCst)).filter(|number| *number != 0)
    }
}

/// A login name with its password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: String,
}

impl Login {
    pub(super) fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into() }
    }

    pub(super) fn with(&self, password: &str) -> Self {
        Self::new(&self.name, password)
    }

    pub(super) fn basic(&self) -> String {
        self.encoded(self.password.as_bytes())
    }

    /// The same with the password in other bytes than UTF-8.
    pub(super) fn encoded(&self, password: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode([self.name.as_bytes(), b":", password].concat()))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[redacted]", self.name)
    }
}

/// A request.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// Who asks, for messages.
    who: String,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    /// The header says chunks, the body has none.
    BrokenChunks(Vec<u8>),
}

impl Request {
    pub(super) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), who: "anonymous".to_owned(), headers: Vec::new(), body: Body::None }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    pub(super) fn by(mut self, login: &Login) -> Self {
        self.who.clone_from(&login.name);
        self.header("Authorization", &login.basic())
    }

    /// An `Authorization` header as it stands, told in messages as `who`.
    pub(super) fn authorization(mut self, who: &str, value: &str) -> Self {
        who.clone_into(&mut self.who);
        self.header("Authorization", value)
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with its length and no content type.
    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Sized(body.into());
        self
    }

    pub(super) fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("Content-Type", "application/json").body(body)
    }

    /// JSON in chunks, and no length.
    pub(super) fn chunks(mut self, chunks: &[&str]) -> Self {
        self.body = Body::Chunked(chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect());
        self.header("Content-Type", "application/json")
    }

    /// JSON that is announced in chunks and has none.
    pub(super) fn broken_chunks(mut self, body: &str) -> Self {
        self.body = Body::BrokenChunks(body.as_bytes().to_vec());
        self.header("Content-Type", "application/json")
    }

    /// Whether a server must not change anything because of it.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    pub(super) fn bytes(&self, authority: &str) -> Vec<u8> {
        let mut lines = vec![format!("{} {} HTTP/1.1", self.method, self.path), format!("Host: {authority}")];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        let mut body = Vec::new();
        match &self.body {
            Body::None if self.only_reads() => {}
            Body::None => lines.push("Content-Length: 0".to_owned()),
            Body::Sized(bytes) => {
                lines.push(format!("Content-Length: {}", bytes.len()));
                body.clone_from(bytes);
            }
            Body::Chunked(chunks) => {
                lines.push("Transfer-Encoding: chunked".to_owned());
                for chunk in chunks {
                    body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    body.extend(chunk);
                    body.extend(b"\r\n");
                }
                body.extend(b"0\r\n\r\n");
            }
            Body::BrokenChunks(bytes) => {
                lines.push("Transfer-Encoding: chunked".to_owned());
                body.clone_from(bytes);
            }
        }
        [lines.join("\r\n").as_bytes(), b"\r\n\r\n", &body].concat()
    }
}

/// Never a header: one of them holds a password. Never a body, for the same reason.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} as {}", self.method, self.path, self.who)
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// All values of a header, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    /// The connection ended without a reply.
    Closed {
        /// What came before it ended, if anything.
        bytes: usize,
    },
    /// Nothing until the deadline.
    Silent,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => write!(f, "{} {}", reply.status, reply.reason),
            Self::Closed { bytes } => write!(f, "the connection was closed after {bytes} bytes"),
            Self::Silent => f.write_str("no answer"),
        }
    }
}

/// A TLS connection to a server.
pub(super) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    authority: String,
    is_head: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    Tcp(io::Error),
    Tls(io::Error),
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(error) => write!(f, "no connection: {error}"),
            Self::Tls(error) => write!(f, "no TLS: {error}"),
        }
    }
}

impl Connection {
    pub(super) fn open(
        address: SocketAddr,
        name: &ServerName<'static>,
        authority: &str,
        tls: Arc<ClientConfig>,
        patience: Duration,
    ) -> Result<Self, NoConnection> {
        let mut socket = TcpStream::connect_timeout(&address, patience).map_err(NoConnection::Tcp)?;
        socket.set_nodelay(true).map_err(NoConnection::Tcp)?;
        socket.set_read_timeout(Some(patience)).map_err(NoConnection::Tcp)?;
        socket.set_write_timeout(Some(patience)).map_err(NoConnection::Tcp)?;
        let mut session =
            ClientConnection::new(tls, name.clone()).map_err(|error| NoConnection::Tls(io::Error::other(error)))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(NoConnection::Tls)?;
        }
        let stream = StreamOwned::new(session, socket);
        Ok(Self { stream, authority: authority.to_owned(), is_head: false })
    }

    pub(super) fn session(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// Sends a request. A server may close instead of reading it: that is seen when the answer is awaited.
    pub(super) fn send(&mut self, request: &Request) {
        self.is_head = request.method == "HEAD";
        let _ = self.stream.write_all(&request.bytes(&self.authority)).and_then(|()| self.stream.flush());
    }

    /// Waits for the answer to what was sent.
    pub(super) fn receive(&mut self, deadline: Instant, stop: &Stop) -> Result<Answer, Broken> {
        let mut buffer = Vec::new();
        loop {
            if let Some(reply) = parse(&buffer, self.is_head, false) {
                return Ok(Answer::Reply(reply));
            }
            let mut piece = [0; 16 * 1024];
            match read_slice(&mut self.stream, &mut piece, deadline, stop)? {
                Piece::Bytes(count) => buffer.extend_from_slice(&piece[..count]),
                Piece::End => {
                    let reply = parse(&buffer, self.is_head, true).map(Answer::Reply);
                    return Ok(reply.unwrap_or(Answer::Closed { bytes: buffer.len() }));
                }
                Piece::TooLate => return Ok(Answer::Silent),
            }
        }
    }
}

enum Piece {
    Bytes(usize),
    End,
    TooLate,
}

fn read_slice(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    piece: &mut [u8],
    deadline: Instant,
    stop: &Stop,
) -> Result<Piece, Broken> {
    loop {
        if stop.signal().is_some() {
            return Err(interrupted());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Piece::TooLate);
        }
        // A socket that does not take a time-out is one that has gone.
        let _ = stream.sock.set_read_timeout(Some(left.min(SLICE)));
        match stream.read(piece) {
            Ok(0) => return Ok(Piece::End),
            Ok(count) => return Ok(Piece::Bytes(count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            // An alert, a reset, an end without goodbye: the server has said all it will.
            Err(_) => return Ok(Piece::End),
        }
    }
}

pub(super) fn interrupted() -> Broken {
    Broken::new("the run", "was told to stop")
}

/// Sends bytes without TLS and gives how many came back until the server closed, or `None` if it did not close.
pub(super) fn plain(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Option<usize>> {
    let mut socket = TcpStream::connect_timeout(&address, patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(bytes)?;
    let mut count = 0;
    let mut piece = [0; 1024];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => return Ok(Some(count)),
            Ok(more) => count += more,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(_) => return Ok(Some(count)),
        }
    }
}

/// The reply in `bytes`, if it is complete.
fn parse(bytes: &[u8], is_head: bool, ended: bool) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let (status, reason) = status_line.split_once(' ').unwrap_or((status_line, ""));
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let mut reply = Reply {
        status: status.parse().ok()?,
        reason: reason.to_owned(),
        headers: lines.filter_map(header).collect(),
        body: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    let length = reply.all("Content-Length").first().and_then(|length| length.parse::<usize>().ok());
    let is_chunked = reply.all("Transfer-Encoding").contains(&"chunked");
    reply.body = if is_head || matches!(reply.status, 100..=199 | 204 | 304) {
        Vec::new()
    } else if is_chunked {
        unchunk(rest)?
    } else if let Some(length) = length {
        rest.get(..length)?.to_vec()
    } else if ended {
        rest.to_vec()
    } else {
        return None;
    };
    Some(reply)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let chunk = bytes.get(end + 2..end + 2 + size)?;
        bytes = bytes.get(end + 2 + size + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_when_it_is_complete_and_not_before() {
        let sized = b"HTTP/1.1 415 Invalid or missing Content-Type\r\nServer: Kestrel\r\nContent-Length: 2\r\n\r\nab";
        let reply = parse(sized, false, false).unwrap();
        assert_eq!((reply.status, reply.reason.as_str()), (415, "Invalid or missing Content-Type"));
        assert_eq!((reply.all("server"), reply.text().as_str()), (vec!["Kestrel"], "ab"));
        assert!(parse(&sized[..sized.len() - 1], false, true).is_none());

        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, false, false).unwrap().text(), "abc");
        assert!(parse(&chunked[..chunked.len() - 3], false, false).is_none());

        let until_end = b"HTTP/1.1 200 OK\r\n\r\nab";
        assert!(parse(until_end, false, false).is_none());
        assert_eq!(parse(until_end, false, true).unwrap().text(), "ab");
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n", false, false).unwrap().status, 204);
    }

    #[test]
    fn a_request_says_how_long_it_is_and_nothing_else() {
        let text = |request: Request| String::from_utf8(request.bytes("node-1:2113")).unwrap();
        assert_eq!(text(Request::get("/ping")), "GET /ping HTTP/1.1\r\nHost: node-1:2113\r\n\r\n");
        let empty = text(Request::post("/users/a/command/disable"));
        assert!(empty.ends_with("Content-Length: 0\r\n\r\n") && !empty.contains("Content-Type"), "{empty}");
        let chunked = text(Request::post("/users").chunks(&["{", "}"]));
        assert!(chunked.ends_with("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"), "{chunked}");
        let shown = Request::get("/ping").by(&Login::new("ops", "secret")).to_string();
        assert_eq!(shown, "GET /ping as ops");
    }
}
