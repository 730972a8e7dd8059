//! `certgen verify`: one TLS handshake with a live server, then a judgement of what it presents, as a client would give it
//! and as other nodes of its cluster would.
//!
//! The handshake itself accepts whatever is presented, so that what is wrong can be told. A client's judgement is that of
//! rustls: chain to the given roots, name, time. The judgement of nodes is that of [`crate::inspect`], with its rules.
//!
//! # Exit codes
//!
//! 0 clients and nodes take it; 1 somebody would refuse it; 2 the command line is wrong; 69 no handshake before the deadline;
//! 74 the roots could not be read.
//!
//! # `--json`
//!
//! One object, [`Verdict`]; `inspection` is what `certgen inspect --json` prints, with the server's address as the file of
//! what it presents.

mod cli;
mod handshake;
mod roots;

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use serde::Serialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

pub(crate) use self::cli::command;
pub use self::cli::run;
pub use self::handshake::{HandshakeError, Presented, Target, present};
pub use self::roots::{Roots, RootsError};
use crate::inspect::{self, File, Found, Line, Question, Report};
use crate::issue::encode;

/// The number of the shape; it changes when a member changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What clients and nodes would say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The version of this shape.
    pub schema: u32,
    /// The address and port that answered.
    pub address: String,
    /// The name that was dialled.
    pub host: String,
    /// The version of TLS.
    pub protocol: Option<&'static str>,
    /// Whole days until the node's certificate ends; negative after it; null if there is none that reads.
    pub days_left: Option<i64>,
    /// Whether it was judged as clients do: not without roots.
    pub is_judged_for_clients: bool,
    /// Why a client refuses it; null if it does not, or that was not judged.
    pub refused_by_clients: Option<String>,
    /// What nodes would refuse of it.
    pub inspection: Report,
}

impl Verdict {
    /// Whether clients and nodes take it.
    pub fn is_good(&self) -> bool {
        self.refused_by_clients.is_none() && self.inspection.findings.is_empty()
    }
}

/// Judges what `target` presented, with these `roots` and for nodes of these `lines`, at the time `now`.
pub fn judge(target: &Target, presented: &Presented, roots: &Roots, lines: Vec<Line>, now: OffsetDateTime) -> Verdict {
    let question = Question { lines, cluster: true, hosts: vec![target.host.clone()] };
    let chain: String = presented.chain.iter().map(|der| encode(&pem::Pem::new("CERTIFICATE", der.as_ref()))).collect();
    let name = presented.address.to_string();
    let mut found = Found::default();
    found.files.push(named(&name, &chain));
    found.files.extend(roots.iter().map(|(path, pem)| named(path, pem)));
    let mut inspection = inspect::inspect(&found, &question, now);
    // It is where it should be, in the server alone.
    inspection.notes.retain(|note| note.code != "no-key");
    let leaf = inspection.certificates.iter().find(|certificate| certificate.file == name);
    Verdict {
        schema: SCHEMA,
        address: name.clone(),
        host: target.host.clone(),
        protocol: presented.protocol,
        days_left: leaf.map(|leaf| leaf.days_left),
        is_judged_for_clients: !roots.is_empty(),
        refused_by_clients: refused_by_clients(&target.name, &presented.chain, roots, now),
        inspection,
    }
}

fn named(path: &str, pem: &str) -> File {
    File { path: path.into(), mode: None, bytes: Zeroizing::new(pem.as_bytes().to_vec()), is_named: true }
}

/// What rustls says, as every client does in its own words.
fn refused_by_clients(
    name: &ServerName<'_>,
    chain: &[CertificateDer<'_>],
    roots: &Roots,
    now: OffsetDateTime,
) -> Option<String> {
    let mut store = RootCertStore::empty();
    for root in roots.ders() {
        if let Err(error) = store.add(root) {
            return Some(format!("one of the roots cannot be used: {error}"));
        }
    }
    if store.is_empty() {
        return None;
    }
    let Some((leaf, intermediates)) = chain.split_first() else { return Some("it presents no certificate".to_owned()) };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build() {
        Ok(verifier) => verifier,
        Err(error) => return Some(format!("the roots cannot be used: {error}")),
    };
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, intermediates, name, &[], at) {
        Ok(_) => None,
        Err(rustls::Error::InvalidCertificate(error)) => Some(explain(&error)),
        Err(error) => Some(error.to_string()),
    }
}

fn explain(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the given roots signed it, or a certificate between is missing".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it, or its authority, has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it, or its authority, is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for this name".to_owned()
        }
        other => other.to_string(),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.map(|protocol| format!(" by {protocol}")).unwrap_or_default();
        writeln!(f, "{} at {} answered{protocol}.\n", self.host, self.address)?;
        write!(f, "{}", self.inspection)?;
        match &self.refused_by_clients {
            None if !self.is_judged_for_clients => {
                writeln!(f, "Whether clients trust it was not judged: --ca gives the roots.")
            }
            None => writeln!(f, "Clients take it for {}.", self.host),
            Some(reason) => writeln!(f, "Clients refuse it as {}: {reason}.", self.host),
        }
    }
}
