//! Others than the library that made them judge chains of certificates: OpenSSL, GnuTLS and Go's verifier, which was also
//! es-gencert-cli's.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::tool::{self, Tool};

/// One of the judges.
pub(crate) enum Judge {
    OpenSsl(PathBuf),
    Certtool(PathBuf),
    /// Go's verifier, built from `tests/verify.go`.
    Go(PathBuf),
}

/// An end certificate and how it is to be judged. Files are relative to the directory it is judged in.
pub(crate) struct Chain<'a> {
    pub(crate) root: &'a str,
    pub(crate) leaf: &'a str,
    /// A file with the intermediates, from the leaf upwards; it may be empty.
    pub(crate) intermediates: &'a str,
    /// Whether it is a server's that clients dial by `names`; else it is a client's.
    pub(crate) is_server: bool,
    pub(crate) names: &'a [&'a str],
}

impl Judge {
    pub(crate) fn openssl(test: &str) -> Option<Self> {
        tool::find(Tool::OpenSsl, test).map(Self::OpenSsl)
    }

    pub(crate) fn certtool(test: &str) -> Option<Self> {
        tool::find(Tool::Certtool, test).map(Self::Certtool)
    }

    /// Builds the verifier in `directory`.
    pub(crate) fn go(test: &str, directory: &Path) -> Option<Self> {
        let program = tool::find(Tool::Go, test)?;
        let mut go = Command::new(program);
        go.current_dir(directory).env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("CGO_ENABLED", "0");
        // Kept between runs: the first has to compile Go's library.
        go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
        go.args(["build", "-o", "verify"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify.go"));
        succeeds(&mut go);
        Some(Self::Go(directory.join("verify")))
    }

    /// All that are on this machine; each that is missing is noted.
    pub(crate) fn all(test: &str, directory: &Path) -> Vec<Self> {
        [Self::openssl(test), Self::certtool(test), Self::go(test, directory)].into_iter().flatten().collect()
    }

    /// Accepts the chain, and dials each of its names.
    #[track_caller]
    pub(crate) fn accepts(&self, directory: &Path, chain: &Chain<'_>) {
        match self {
            Self::OpenSsl(program) => {
                // A node is also the client of other nodes. Only one name of each kind is taken, so that each has a run.
                let mut runs = vec![vec!["-purpose", "sslclient"]];
                if chain.is_server {
                    runs.push(vec!["-purpose", "sslserver"]);
                }
                for name in chain.names {
                    let kind = if name.parse::<IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
                    runs.push(vec!["-purpose", "sslserver", kind, name]);
                }
                let has_intermediates = fs::metadata(directory.join(chain.intermediates)).unwrap().len() > 0;
                for run in runs {
                    let mut openssl = Command::new(program);
                    openssl.current_dir(directory).args(["verify", "-x509_strict", "-CAfile", chain.root]).args(run);
                    if has_intermediates {
                        openssl.args(["-untrusted", chain.intermediates]);
                    }
                    succeeds(openssl.arg(chain.leaf));
                }
            }
            Self::Certtool(program) => {
                let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
                fs::write(directory.join("presented.pem"), read(chain.leaf) + &read(chain.intermediates)).unwrap();
                let purpose = if chain.is_server { "1.3.6.1.5.5.7.3.1" } else { "1.3.6.1.5.5.7.3.2" };
                let mut runs: Vec<_> = chain.names.iter().map(|name| vec!["--verify-hostname", name]).collect();
                runs.push(Vec::new());
                for name in runs {
                    let mut certtool = Command::new(program);
                    certtool.current_dir(directory).args(["--verify", "--load-ca-certificate", chain.root]);
                    certtool.args(["--infile", "presented.pem", "--verify-profile", "medium"]);
                    let said = succeeds(certtool.args(["--verify-purpose", purpose]).args(name));
                    assert!(said.contains("Verified. The certificate is trusted."), "{said}");
                }
            }
            Self::Go(program) => {
                let usage = if chain.is_server { "server" } else { "client" };
                let mut go = Command::new(program);
                go.current_dir(directory).args([chain.root, chain.leaf, chain.intermediates, usage]).args(chain.names);
                succeeds(&mut go);
            }
        }
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
