//! The process: start, listener, reload, shutdown.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::certificates::Identity;
use super::http_api::{Api, Order, Peer, answer};
use super::journal::Journal;
use super::life;
use super::line::Line;
use super::names::{NameSources, Names};
use super::node::{Ending, Node};
use super::options::{Options, Refusal};
use super::peers;
use super::users::{self, Users};

/// How long it waits for another server on the same directory (contract §7.1).
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// From SIGTERM until nobody can connect any more, and until an idle process has ended (observed §5).
const STOP_LISTENING: Duration = Duration::from_millis(50);
const STOP_IDLE: Duration = Duration::from_millis(200);
/// Until a member of a new cluster finds that it has to end (observed §1: after it has looked for a leader).
const FIRST_BOOT_END: Duration = Duration::from_secs(3);
/// Notes how often a server ended by itself on a new data directory.
const FIRST_BOOT_FILE: &str = "standin-first-boot";

/// What the stand-in is told besides the server's own options.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The line to behave like.
    pub line: Line,
    /// Stretches every time that the server has of its own; 1 is real.
    pub time_scale: f64,
    /// Where requests are noted.
    pub journal: Option<PathBuf>,
    /// The server's `/tmp`.
    pub tmp: PathBuf,
    /// Where the server's default places are; `/` on a real one.
    pub root: PathBuf,
    /// Where the names of other nodes are looked up.
    pub names: NameSources,
    /// The first so many password resets are stored, not announced to the caches, and not answered (observed §4).
    pub lose_reset_replies: usize,
    /// The first so many reloads keep the old certificates, which the answer does not tell (observed §7).
    pub fail_reloads: usize,
    /// The first poll of the password notices is lost: for 20 s no change is noticed (lines §C, 22.10).
    pub lose_first_poll: bool,
    /// How long a node that follows takes to catch up, at the least.
    pub catch_up: Duration,
    /// How long a scavenge takes, in seconds before [`Self::time_scale`].
    pub scavenge_seconds: u64,
    /// So often a server on a new data directory ends with code 0 before it stays (observed §1).
    pub first_boot_exits: u32,
}

/// How the process is to end.
enum End {
    Done,
    Refused(Refusal),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Refused(Refusal::exit(error.to_string()))
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Runs until it is told to end. `environment` holds the server's options.
pub fn run(settings: &Settings, environment: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let product = settings.line.product();
    let (name, _) = product.split_once(' ').unwrap_or((product, ""));
    eprintln!("stand-in for {product} (not {name}): pid {}", std::process::id());
    match start(settings, environment) {
        Ok(()) | Err(End::Done) => ExitCode::SUCCESS,
        Err(End::Refused(Refusal::Exit(lines))) => {
            print(&lines);
            ExitCode::from(1)
        }
        Err(End::Refused(Refusal::Abort(lines))) => {
            print(&lines);
            std::process::abort()
        }
    }
}

fn print(lines: &[String]) {
    for line in lines {
        eprintln!("{line}");
    }
}

fn start(settings: &Settings, environment: impl IntoIterator<Item = (String, String)>) -> Result<(), End> {
    let options = Options::read(settings.line, &settings.root, environment)?;
    print(&options.warnings);
    eprintln!("{} is {}:{}, DB: {}", options.own_name, options.ip, options.port, options.db.display());
    if options.what_if {
        return Err(End::Done);
    }
    let mutexes = settings.tmp.join(".dotnet/shm");
    fs::create_dir_all(&mutexes)
        .map_err(|error| Refusal::exit(format!("mkdtemp(\"{}/.dotnet\"): {error}", settings.tmp.display())))?;
    let _lock = lock(&mutexes, &options.db, LOCK_PATIENCE.mul_f64(settings.time_scale)).map_err(Refusal::exit)?;
    let identity = (!options.is_insecure).then(|| Identity::load(&options)).transpose().map_err(|why| {
        let aborting =
            options.line.is_kurrent().then(|| "Aborting certificate loading due to verification errors.".to_owned());
        Refusal::Exit([why].into_iter().chain(aborting).collect())
    })?;
    if users::truncate(&options.db)? && options.line.ends_after_truncation() {
        eprintln!("Truncation successful. Shutting down.");
        return Err(End::Done);
    }
    let is_to_end = first_boot(&options.db, settings.first_boot_exits)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(settings, options, identity, is_to_end));
    // Connections end with the process.
    runtime.shutdown_background();
    Ok(served?)
}

/// The server's own lock: a mutex named after the data directory, in its `/tmp`. Two servers with a `/tmp` each, as two
/// containers have, do not see each other (observed §6).
fn lock(mutexes: &Path, db: &Path, patience: Duration) -> Result<File, String> {
    let name: String = db.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let deadline = Instant::now() + patience;
    let mutex = File::create(mutexes.join(name)).map_err(|error| error.to_string())?;
    while mutex.try_lock().is_err() {
        if Instant::now() >= deadline {
            return Err(format!("Couldn't acquire exclusive lock on DB at '{}'.", db.display()));
        }
        std::thread::sleep(LOCK_RETRY);
    }
    Ok(mutex)
}

/// Whether this is the start of a new data directory that ends by itself. The starts after it only say that they have
/// truncated, and end too, until there were `exits` of them; once per directory.
fn first_boot(db: &Path, exits: u32) -> Result<bool, End> {
    let file = db.join(FIRST_BOOT_FILE);
    let is_new = !db.join("writer.chk").exists();
    let made: Option<u32> = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
    let made = match (made, is_new) {
        (Some(made), _) => made,
        (None, true) => 0,
        (None, false) => return Ok(false),
    };
    if made >= exits {
        return Ok(false);
    }
    fs::create_dir_all(db)?;
    fs::write(file, (made + 1).to_string())?;
    if made == 0 {
        return Ok(true);
    }
    eprintln!("Truncation successful. Shutting down.");
    Err(End::Done)
}

async fn serve(settings: &Settings, options: Options, identity: Option<Identity>, is_to_end: bool) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let in_cluster = options.cluster_size > 1;
    let timings = options.line.timings();
    let start = if in_cluster { timings.start_in_cluster } else { timings.start_alone };
    tokio::select! {
        () = tokio::time::sleep(start.mul_f64(settings.time_scale)) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    let users = Users::open(&options.db)?;
    let address = SocketAddr::new(options.ip, options.port);
    let names = Names::new(settings.names.clone())?;
    let node = Arc::new(Node::new(options, identity, names, users, settings)?);
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let api = Arc::new(Api {
        node: Arc::clone(&node),
        journal: Journal::open(settings.journal.as_deref())?,
        resets_to_lose: AtomicUsize::new(settings.lose_reset_replies),
        orders,
    });
    let listener = TcpListener::bind(address).await?;
    let closing = watch::Sender::new(false);
    let accepting = tokio::spawn(accept(listener, Arc::clone(&api), closing.subscribe()));
    tokio::spawn({
        let (node, lose_first) = (Arc::clone(&node), settings.lose_first_poll);
        async move { node.poll_notices(lose_first).await }
    });
    if in_cluster {
        tokio::spawn(peers::keep_in_touch(Arc::clone(&node)));
    }
    let first_boot_end = async {
        if !is_to_end {
            return std::future::pending().await;
        }
        node.pause(if in_cluster { FIRST_BOOT_END } else { Duration::ZERO }).await;
    };
    let living = life::live(&node);
    tokio::pin!(living, first_boot_end);
    let mut reloads_to_fail = settings.fail_reloads;
    loop {
        let order = tokio::select! {
            _ = terminate.recv() => Order::ShutDown,
            _ = interrupt.recv() => Order::ShutDown,
            _ = hang_up.recv() => Order::Reload,
            Some(order) = ordered.recv() => order,
            ending = &mut living => return end_by_itself(ending),
            () = &mut first_boot_end => return end_by_itself(Ending::Truncation),
        };
        match order {
            Order::ShutDown => break,
            Order::Reload if reloads_to_fail > 0 => {
                reloads_to_fail -= 1;
                eprintln!("An error has occurred while reloading the configuration: it was to fail");
            }
            Order::Reload => reload(&node),
        }
    }
    node.shut_down();
    node.pause(STOP_LISTENING).await;
    accepting.abort();
    closing.send_replace(true);
    node.pause(STOP_IDLE.saturating_sub(STOP_LISTENING)).await;
    if node.is_busy() {
        // The answer never comes (observed §5).
        node.pause(timings.stop_busy.saturating_sub(STOP_IDLE)).await;
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "it is the end of `serve`")]
fn end_by_itself(ending: Ending) -> io::Result<()> {
    eprintln!(
        "{}",
        match ending {
            Ending::Surplus => "SURPLUS OF NODES IN THE CLUSTER, SHUTTING DOWN",
            Ending::Truncation => {
                "ONLINE TRUNCATION IS NEEDED. NOT IMPLEMENTED. OFFLINE TRUNCATION WILL BE PERFORMED. SHUTTING DOWN NODE."
            }
        }
    );
    Ok(())
}

/// The answer was 200 already, whatever comes out of it.
fn reload(node: &Node) {
    if node.options.is_insecure {
        return;
    }
    match Identity::load(&node.options) {
        Ok(identity) => {
            node.identity.send_replace(Some(Arc::new(identity)));
            eprintln!("The node's configuration was successfully reloaded");
        }
        Err(line) => eprintln!("An error has occurred while reloading the configuration: {line}"),
    }
}

async fn accept(listener: TcpListener, api: Arc<Api>, closing: watch::Receiver<bool>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (api, closing) = (Arc::clone(&api), closing.clone());
        tokio::spawn(async move { connection(stream, api, closing).await });
    }
}

/// A failed handshake (plain HTTP, an unrelated client certificate) ends without a byte of HTTP. Connections of other nodes
/// are closed when this one stops; those of clients end with the process.
async fn connection(stream: TcpStream, api: Arc<Api>, closing: watch::Receiver<bool>) {
    // Small messages, and each is waited for.
    let _ = stream.set_nodelay(true);
    let Ok(identity) = api.node.identity() else {
        // HTTP/1.1 and HTTP/2 with prior knowledge, which begins with `PRI` (contract §4.5; not observed).
        let mut first = [0; 3];
        let is_h2 = matches!(stream.peek(&mut first).await, Ok(3) if first == *b"PRI");
        return serve_http(stream, is_h2, Peer::Anybody, api, closing).await;
    };
    // The start of a handshake; whatever else comes is not answered, not even by an alert (observed §2).
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1) if first == [0x16]) {
        return;
    }
    let Ok(stream) = TlsAcceptor::from(Arc::clone(&identity.listener)).accept(stream).await else { return };
    let (_, session) = stream.get_ref();
    let peer = match session.peer_certificates().and_then(|chain| chain.first()) {
        None => Peer::Anybody,
        Some(certificate) => identity.judge_node(certificate).map_or_else(Peer::NoNode, |()| Peer::Node),
    };
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    serve_http(stream, is_h2, peer, api, closing).await;
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_h2: bool,
    peer: Peer,
    api: Arc<Api>,
    mut closing: watch::Receiver<bool>,
) {
    let is_of_node = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let is_of_node = Arc::clone(&is_of_node);
        move |request: http::Request<hyper::body::Incoming>| {
            if peer == Peer::Node && request.uri().path().starts_with("/standin/") {
                is_of_node.store(true, Ordering::Relaxed);
            }
            answer(Arc::clone(&api), request, peer.clone())
        }
    });
    let io = TokioIo::new(stream);
    let serving = async {
        // A client that goes away in the middle is its own affair.
        let _ = if is_h2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        } else {
            hyper::server::conn::http1::Builder::new().title_case_headers(true).serve_connection(io, service).await
        };
    };
    let closed = async {
        // The sender is dropped at the end of the process alone.
        let _ = closing.wait_for(|closing| *closing && is_of_node.load(Ordering::Relaxed)).await;
    };
    tokio::select! {
        () = serving => {}
        () = closed => {}
    }
}
