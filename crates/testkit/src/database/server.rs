//! The process: start, listener, reload, shutdown.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::http_api::{Api, Order, answer};
use super::journal::Journal;
use super::node::Node;
use super::options::Options;
use super::{certificates, users::Users};

/// Until it listens (observed §1).
const START: Duration = Duration::from_millis(2500);
/// How long it waits for another server on the same directory (contract §7.1).
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// Until an idle process has ended, and one with a request in flight, which never gets its answer (observed §5).
const STOP_IDLE: Duration = Duration::from_millis(200);
const STOP_BUSY: Duration = Duration::from_millis(6100);

/// What the stand-in is told besides the server's own options.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stretches every time that the server has of its own; 1 is real.
    pub time_scale: f64,
    /// Where requests are noted.
    pub journal: Option<PathBuf>,
    /// The server's `/tmp`.
    pub tmp: PathBuf,
    /// The first so many password resets are stored, not announced to the cache, and not answered (observed §4).
    pub lose_reset_replies: usize,
}

/// Runs until it is told to end. `environment` holds the server's options.
pub fn run(settings: &Settings, environment: impl IntoIterator<Item = (String, String)>) -> ExitCode {
    let options = match Options::read(environment) {
        Ok(options) => options,
        Err(lines) => return refuse(&lines),
    };
    eprintln!(
        "stand-in for EventStoreDB 24.10 (not EventStoreDB): pid {}, {}:{}, data in {}",
        std::process::id(),
        options.ip,
        options.port,
        options.db.display()
    );
    let mutexes = settings.tmp.join(".dotnet/shm");
    if let Err(error) = fs::create_dir_all(&mutexes) {
        return refuse(&[format!("mkdtemp(\"{}/.dotnet\"): {error}", settings.tmp.display())]);
    }
    let _lock = match lock(&mutexes, &options.db, LOCK_PATIENCE.mul_f64(settings.time_scale)) {
        Ok(lock) => lock,
        Err(line) => return refuse(&[line]),
    };
    let tls = match certificates::load(&options) {
        Ok(tls) => tls,
        Err(line) => return refuse(&[line]),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let started = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(serve(settings, options, tls)).map_err(|error| error.to_string()));
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => refuse(&[line]),
    }
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

fn refuse(lines: &[String]) -> ExitCode {
    for line in lines {
        eprintln!("{line}");
    }
    ExitCode::from(1)
}

async fn serve(settings: &Settings, options: Options, tls: Arc<ServerConfig>) -> std::io::Result<()> {
    let scaled = |time: Duration| time.mul_f64(settings.time_scale);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        () = tokio::time::sleep(scaled(START)) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    let users = open_database(&options.db)?;
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let api = Arc::new(Api {
        node: Node::new(users, settings.time_scale),
        journal: Journal::open(settings.journal.as_deref())?,
        resets_to_lose: AtomicUsize::new(settings.lose_reset_replies),
        instance_id: Uuid::new_v4().to_string(),
        host: options.advertise_as.clone(),
        port: options.port,
        orders,
    });
    let address: SocketAddr = format!("{}:{}", options.ip, options.port).parse().map_err(std::io::Error::other)?;
    let listener = TcpListener::bind(address).await?;
    let (reloaded, current) = watch::channel(tls);
    let accepting = tokio::spawn(accept(listener, current, Arc::clone(&api), options.clone()));
    let polling = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.node.poll_notices().await }
    });
    api.node.become_ready(&options.first_passwords).await?;

    loop {
        let order = tokio::select! {
            _ = terminate.recv() => Order::ShutDown,
            _ = interrupt.recv() => Order::ShutDown,
            _ = hang_up.recv() => Order::Reload,
            Some(order) = ordered.recv() => order,
        };
        match order {
            Order::ShutDown => break,
            // The answer was 200 already, whatever comes out of it.
            Order::Reload => match certificates::load(&options) {
                Ok(tls) => {
                    reloaded.send_replace(tls);
                    eprintln!("The node's configuration was successfully reloaded");
                }
                Err(line) => eprintln!("An error has occurred while reloading the configuration: {line}"),
            },
        }
    }
    api.node.shut_down();
    tokio::time::sleep(scaled(if api.node.in_flight() > 0 { STOP_BUSY } else { STOP_IDLE })).await;
    accepting.abort();
    polling.abort();
    Ok(())
}

/// A database directory holds these files from the first start on (contract §7.1).
fn open_database(path: &Path) -> std::io::Result<Users> {
    fs::create_dir_all(path)?;
    for name in ["writer.chk", "chaser.chk", "epoch.chk"] {
        fs::OpenOptions::new().create(true).append(true).open(path.join(name))?;
    }
    Users::open(path)
}

async fn accept(listener: TcpListener, tls: watch::Receiver<Arc<ServerConfig>>, api: Arc<Api>, options: Options) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (api, certificate) = (Arc::clone(&api), options.certificate.clone());
        tokio::spawn(async move { connection(stream, acceptor, api, &certificate).await });
    }
}

/// A failed handshake (plain HTTP, an unrelated client certificate) ends without a byte of HTTP.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, api: Arc<Api>, certificate: &Path) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let (_, session) = stream.get_ref();
    // Node to node: the same common name as one's own makes a caller `system`.
    let peer = session.peer_certificates().and_then(|chain| chain.first()).and_then(certificates::common_name);
    let system = peer.is_some() && peer == own_common_name(certificate);
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        answer(api, request, system)
    });
    let io = TokioIo::new(stream);
    // A client that goes away in the middle is its own affair.
    let _ = if is_h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        hyper::server::conn::http1::Builder::new().title_case_headers(true).serve_connection(io, service).await
    };
}

fn own_common_name(certificate: &Path) -> Option<String> {
    use rustls::pki_types::pem::PemObject as _;
    let own = rustls::pki_types::CertificateDer::from_pem_file(certificate).ok()?;
    certificates::common_name(&own)
}
