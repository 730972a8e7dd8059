//! Database stand-ins with certificates, one or a cluster, for tests of what runs beside them.

mod cluster;
pub mod pki;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;
use tempfile::TempDir;

pub use cluster::DatabaseCluster;

use crate::consumer;
use crate::database::Line;
use crate::net::own_loopback;
use crate::programs::Programs;

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A running stand-in in a directory of its own. Killed when dropped.
#[derive(Debug)]
pub struct DatabaseNode {
    programs: Programs,
    root: TempDir,
    address: SocketAddr,
    line: Line,
    arguments: Vec<String>,
    child: Child,
}

impl DatabaseNode {
    /// Issues certificates for localhost and `host`, and starts the stand-in with times stretched by `time_scale`.
    ///
    /// # Panics
    ///
    /// If certgen or the stand-in does not do its work.
    pub fn start(host: &str, time_scale: f64) -> Self {
        Self::start_with(host, time_scale, &[])
    }

    /// The same, with further arguments for the stand-in; `--line=` among them is the line to start.
    ///
    /// # Panics
    ///
    /// If certgen or the stand-in does not do its work.
    pub fn start_with(host: &str, time_scale: f64, arguments: &[&str]) -> Self {
        let named = |argument: &str| Line::from_str(argument.strip_prefix("--line=")?, false).ok();
        let line = arguments.iter().find_map(|argument| named(argument)).unwrap_or(Line::V24_10);
        let others: Vec<_> = arguments.iter().copied().filter(|argument| named(argument).is_none()).collect();
        Self::start_of(line, host, time_scale, &others)
    }

    /// The same of any line.
    ///
    /// # Panics
    ///
    /// If certgen or the stand-in does not do its work.
    pub fn start_of(line: Line, host: &str, time_scale: f64, arguments: &[&str]) -> Self {
        let programs = Programs::beside_this_test();
        let root = tempfile::tempdir().expect("a temporary directory");
        for name in ["certs", "data", "tmp"] {
            fs::create_dir(root.path().join(name)).expect("create a volume");
        }
        issue_certificates(&programs, root.path(), host);
        let address = own_loopback().expect("a free port");
        let scale = format!("--time-scale={time_scale}");
        let arguments: Vec<_> = [scale].into_iter().chain(arguments.iter().map(|&text| text.to_owned())).collect();
        let child = spawn(&programs, line, root.path(), address, &arguments);
        Self { programs, root, address, line, arguments, child }
    }

    /// A server in insecure mode: without TLS and users.
    ///
    /// # Panics
    ///
    /// If the stand-in cannot be started.
    pub fn start_insecure(time_scale: f64) -> Self {
        let programs = Programs::beside_this_test();
        let root = tempfile::tempdir().expect("a temporary directory");
        for name in ["data", "tmp"] {
            fs::create_dir(root.path().join(name)).expect("create a volume");
        }
        let (line, address) = (Line::V24_10, own_loopback().expect("a free port"));
        let arguments = vec![format!("--time-scale={time_scale}")];
        let child = spawn(&programs, line, root.path(), address, &arguments);
        Self { programs, root, address, line, arguments, child }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What certgen wrote.
    pub fn certs(&self) -> PathBuf {
        self.root.path().join("certs")
    }

    /// A file with a line of JSON for every request.
    pub fn journal(&self) -> PathBuf {
        self.root.path().join("journal.jsonl")
    }

    /// The trusted root, PEM.
    ///
    /// # Panics
    ///
    /// If certgen wrote none.
    pub fn ca(&self) -> String {
        fs::read_to_string(self.certs().join("ca/ca.crt")).expect("certgen wrote a root")
    }

    /// Kills the process and starts it again on the same data.
    ///
    /// # Panics
    ///
    /// If the process cannot be started.
    pub fn restart(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(&self.programs, self.line, self.root.path(), self.address, &self.arguments);
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    ///
    /// If it has not ended after half a minute.
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("look at the stand-in") {
                return status;
            }
            assert!(Instant::now() < deadline, "the stand-in did not end");
            thread::sleep(POLL);
        }
    }

    /// The status of a request, or `None` if the server does not answer.
    pub async fn status(&self, path: &str, login: Option<(&str, &str)>) -> Option<u16> {
        let answer = consumer::get(self.address, "localhost", &self.ca(), path, login).await;
        answer.ok().map(|(status, _)| status.as_u16())
    }

    /// Waits until `/health/live` answers 204.
    ///
    /// # Panics
    ///
    /// If it has not after half a minute.
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + START_DEADLINE;
        while self.status("/health/live", None).await != Some(204) {
            assert!(Instant::now() < deadline, "the stand-in was not ready");
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for DatabaseNode {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has certgen issue certificates for localhost and `host` into `<root>/certs`, which must exist.
///
/// # Panics
///
/// If certgen does not.
pub fn issue_certificates(programs: &Programs, root: &Path, host: &str) {
    let mut certgen = Command::new(programs.certgen());
    certgen.env_clear().arg("--out").arg(root.join("certs")).args(["--dns-names", host]).stderr(Stdio::null());
    assert!(certgen.status().expect("run certgen").success(), "certgen issues certificates");
}

/// The options of a 24.10 server at `address` with its data in `<root>/data` and its certificates in `<root>/certs`.
pub fn server_options(root: &Path, address: SocketAddr) -> Vec<(&'static str, OsString)> {
    options_of(Line::V24_10, root, address)
}

/// The same for any line; the oldest have other names for where a server listens (contract §5.2).
fn options_of(line: Line, root: &Path, address: SocketAddr) -> Vec<(&'static str, OsString)> {
    let (ip, port) = if line < Line::V23_10 {
        ("EVENTSTORE_EXT_IP", "EVENTSTORE_HTTP_PORT")
    } else {
        ("EVENTSTORE_NODE_IP", "EVENTSTORE_NODE_PORT")
    };
    [
        (ip, address.ip().to_string().into()),
        (port, address.port().to_string().into()),
        ("EVENTSTORE_DB", root.join("data").into()),
    ]
    .into_iter()
    .chain(files(root))
    .collect()
}

/// Without a directory for certificates there is no TLS.
fn files(root: &Path) -> Vec<(&'static str, OsString)> {
    if !root.join("certs").exists() {
        return vec![("EVENTSTORE_INSECURE", "true".into())];
    }
    vec![
        ("EVENTSTORE_CERTIFICATE_FILE", root.join("certs/node.crt").into()),
        ("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE", root.join("certs/node.key").into()),
        ("EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH", root.join("certs/ca").into()),
    ]
}

fn spawn(programs: &Programs, line: Line, root: &Path, address: SocketAddr, arguments: &[String]) -> Child {
    Command::new(programs.standin())
        .env_clear()
        .arg("--line")
        .arg(line.to_string())
        .args(arguments)
        .arg("--journal")
        .arg(root.join("journal.jsonl"))
        .arg("--tmp")
        .arg(root.join("tmp"))
        .envs(options_of(line, root, address))
        .stderr(Stdio::null())
        .spawn()
        .expect("start the stand-in")
}
