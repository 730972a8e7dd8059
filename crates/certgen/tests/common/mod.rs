//! Others than the library that made them judge certificates: OpenSSL, and a TLS handshake with rustls.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests that each use a part")]

pub(crate) mod judges;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;

/// Runs openssl in the directory; it must succeed. Gives what it printed.
pub(crate) fn openssl(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two nodes with the certificates in `directory`, where both sides present theirs and verify the other's. The second is
/// dialled by each name.
pub(crate) struct TwoNodes {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TwoNodes {
    /// The server has its certificates in one directory, the client in the other.
    pub(crate) fn of(server: &Path, client: &Path) -> Self {
        let chain = |of: &Path| vec![CertificateDer::from_pem_slice(&fs::read(of.join("node.crt")).unwrap()).unwrap()];
        let key = |of: &Path| PrivateKeyDer::from_pem_slice(&fs::read(of.join("node.key")).unwrap()).unwrap();
        let roots = |of: &Path| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&fs::read(of.join("ca/ca.crt")).unwrap()).unwrap()).unwrap();
            Arc::new(roots)
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(server), Arc::clone(&provider)).build().unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(server), key(server))
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(client))
            .with_client_auth_cert(chain(client), key(client))
            .unwrap();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Whether the client takes the server for `name`, and the server the client.
    pub(crate) fn shake_hands(&self, name: &str) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.client), name)?;
        let mut server = ServerConnection::new(Arc::clone(&self.server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }
}

/// A working directory in which certgen is used as es-gencert-cli is.
pub(crate) struct Scene {
    directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// It made what it was asked for and had nothing to say about it.
    #[track_caller]
    pub(crate) fn made(self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(0), stdout, ""));
    }

    /// It made what it was asked for and warned of `warning`, in one line.
    #[track_caller]
    pub(crate) fn made_and_warned(self, warning: &str) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(self.stderr.starts_with("warning: ") && self.stderr.contains(warning), "no `{warning}` in {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
    }

    /// It ended with 1 and exactly these errors, in their order, each told by a part.
    #[track_caller]
    pub(crate) fn refused(self, errors: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        let told: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(told.len(), errors.len(), "{self:?}");
        for (told, error) in told.iter().zip(errors) {
            assert!(told.contains(error), "no `{error}` in {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With a root CA under the default name.
    pub(crate) fn with_ca() -> Self {
        let scene = Self::new();
        scene.run("create-ca").made(&ca("./ca"));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certgen"));
        command.env_clear().current_dir(self.directory.path());
        command
    }

    /// Runs the words of a line.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_words(&self, words: &[&str]) -> Ran {
        Ran::of(self.command().args(words).output().unwrap())
    }

    /// Runs `create-certs` with this file.
    pub(crate) fn create_certs(&self, config: &str, flags: &str) -> Ran {
        fs::write(self.path("certs.yml"), config).unwrap();
        self.run(&format!("create-certs {flags}"))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    /// Every file below, and every directory with nothing in it; rooms and left-overs included.
    pub(crate) fn files(&self) -> Vec<String> {
        let root = self.directory.path();
        let mut files = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            let entries: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()).collect();
            if entries.is_empty() && directory != root {
                files.push(format!("{}/", directory.strip_prefix(root).unwrap().display()));
            }
            for entry in entries {
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                } else {
                    files.push(entry.path().strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        files
    }

    /// Every file below with mode, owner and content.
    pub(crate) fn state(&self) -> Vec<(String, u32, u32, Vec<u8>)> {
        let entries = self.files().into_iter().map(|name| {
            let found = fs::symlink_metadata(self.path(&name)).unwrap();
            let content = if found.is_file() { fs::read(self.path(&name)).unwrap() } else { Vec::new() };
            (name, found.mode(), found.uid(), content)
        });
        entries.collect()
    }

    /// A certificate as DER.
    pub(crate) fn der(&self, name: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.read(name).as_bytes()).unwrap().to_vec()
    }
}

pub(crate) fn ca(directory: &str) -> String {
    format!("A CA certificate & key file have been generated in the '{directory}' directory.\n")
}

pub(crate) fn node(directory: &str) -> String {
    format!("A node certificate & key file have been generated in the '{directory}' directory.\n")
}

pub(crate) fn user(directory: &str) -> String {
    format!("A user certificate & key file have been generated in the '{directory}' directory.\n")
}

/// Runs `check` with the parsed certificate.
pub(crate) fn with_parsed<T>(der: &[u8], check: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    assert!(rest.is_empty());
    check(&certificate)
}

/// Whether this test may write anywhere.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A file for `create-certs`: a CA and this many nodes.
pub(crate) fn list_of_nodes(count: usize) -> String {
    let mut text = "certificates:\n  ca-certs:\n  - {}\n  node-certs:\n".to_owned();
    for number in 0..count {
        writeln!(text, "  - {{out: n{number}, dns-names: n{number}.test}}").unwrap();
    }
    text
}
