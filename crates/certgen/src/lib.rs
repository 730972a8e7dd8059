//! Issues the TLS certificate of an EventStoreDB node and publishes it on a volume, or refuses with a reason.
//!
//! `certgen --out DIR` is the init container of an ECS task: it makes a key, has it signed by a certificate authority,
//! and leaves `node.crt`, `node.key` and the trusted roots in `DIR`, readable by the server and complete at any instant
//! at which somebody looks (`publish/` says how).
//!
//! It can be run again at any moment. What is in `DIR` is kept as it is unless something is due: it is not there, not whole,
//! about to expire (`--renew-before`), not what is asked for now (names, key size, validity, owner, modes, authority, roots),
//! or something that a server of `--server-line` would refuse. Every reason is told, and everything is replaced together
//! (`due.rs`). A run that is killed, or whose machine is, leaves what was there before or the new set, and nothing that the
//! next run does not remove.
//!
//! What a server accepts is written down in `issue.rs`, with the server lines that insist on it. Who signs is up to
//! `--ca-source`: `ephemeral` makes an authority, `files` takes the root and the key that `--ca-certificate` and `--ca-key`
//! name (`authority.rs` says which), `secret` takes the one of AWS Secrets Manager that all tasks share ([`ca`]). Only roots
//! are published, never an authority's key. An ephemeral authority that is not kept (`--ca-state`) is lost with the run: a
//! certificate that it signed is kept as long as nothing is due, and the next one has another authority.
//!
//! On ECS the task's address is among the names (`--task-address`).
//!
//! `certgen create-ca`, `create-node`, `create-user` and `create-certs` do what the commands of es-gencert-cli do, with its
//! flags, files and exit codes (`gencert/`, and `docs/es-gencert-cli.md` for every difference).
//!
//! `certgen inspect` tells what is there and what a server of a given line would refuse of it (`inspect/`), `certgen verify`
//! what clients and nodes would refuse of a live server (`verify/`). `certgen ca` rotates an authority in a secret (`ca/`).
//!
//! # Features
//!
//! `aws`: the authority in Secrets Manager, with the AWS SDK and tokio. `verify`: `certgen verify`, with rustls. Both are on
//! unless switched off.
//!
//! # As a library
//!
//! A sidecar that is given the variables of the init container reads them with [`cli::from_environment`] and calls
//! [`renew`], as bootstrap does. Whoever has settings of another kind looks at what is published ([`Published::read`]), asks
//! whether and why it is [`due`](fn@due), has the kept authority sign a new key ([`issue_node`]) and replaces all at once
//! ([`publish`](fn@publish)):
//!
//! ```
//! use certgen::{Generation, Names, Owner, Published, Reason, RenewBefore, RsaBits, Signer, Validity, Wanted};
//! use time::{Duration, OffsetDateTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let volume = tempfile::tempdir()?;
//! # let (certs, now) = (volume.path(), OffsetDateTime::now_utc());
//! // certgen keeps it in `--ca-state`: `certgen::kept_authority(directory)?`.
//! let authority = certgen::issue_authority(Validity::AUTHORITY, now)?;
//! let root = authority.certificate();
//! let signer = Signer::Known { certificate: root, roots: &[root] };
//! let wanted = Wanted {
//!     names: Names::with_loopback(["node-1.db.internal".parse()?], []),
//!     validity: Validity::NODE,
//!     key_size: RsaBits::B2048,
//!     renew_before: RenewBefore::third_of(Validity::NODE),
//!     server_line: None,
//!     owner: Owner::of_process(),
//! };
//! let renew = |now| -> Result<Vec<Reason>, Box<dyn std::error::Error>> {
//!     let reasons = certgen::due(&Published::read(certs)?, &wanted, signer, now);
//!     if !reasons.is_empty() {
//!         let node = certgen::issue_node(&authority, &wanted.names, wanted.validity, wanted.key_size, now)?;
//!         let generation = Generation { roots: &[root], certificate: &node.certificate, key: &node.key };
//!         certgen::publish(certs, &generation, None)?;
//!     }
//!     Ok(reasons)
//! };
//! assert_eq!(renew(now)?, [Reason::Nothing]);
//! assert_eq!(renew(now)?, []);
//! let late = now + Duration::days(300);
//! assert!(matches!(renew(late)?[..], [Reason::Expiring { .. }]));
//! assert_eq!(renew(late)?, []);
//! # Ok(())
//! # }
//! ```
//!
//! # Exit codes
//!
//! Of the init container; the commands of es-gencert-cli end with 0 or 1, and a missing or unknown command with 127;
//! `inspect` with 0, 1, 2 or 74, `verify` with 0, 1, 2, 69 or 74, `ca` as below, and with 1 if the next phase is blocked. If
//! several things are in the way of the init container, all are told, and the code is that of the first.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | the certificates are in place: kept or issued |
//! | 2 | the command line or a `CERTGEN_*` variable is wrong; every mistake is listed |
//! | 69 | ECS did not tell the task's address within 5 s; AWS did not answer before the deadline, or limits its callers |
//! | 70 | a bug: certgen could not do what it should always be able to do |
//! | 74 | a file or directory could not be read or written |
//! | 77 | not permitted: the directory or file belongs to somebody else, or AWS denies a call |
//! | 78 | what was found contradicts what was asked for: an authority that cannot sign this certificate, a secret that holds something else |
//!
//! # What it never does
//!
//! It prints no key, overwrites no file that it did not write, and leaves no half-written file under a name that a
//! server reads.

mod authority;
#[cfg(feature = "aws")]
pub mod aws;
pub mod ca;
pub mod cli;
mod console;
mod due;
mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod gencert;
pub mod inspect;
mod issue;
mod keys;
mod metadata;
mod plan;
mod publish;
mod published;
mod run;
#[cfg(feature = "verify")]
pub mod verify;

pub use authority::{Authority, AuthorityError, Root, issue_authority};
pub use due::{Reason, Signer, Wanted, due};
pub use error::{CaFile, Error, Errors, one_line, root_cause};
pub use issue::{IssueError, NodeCertificate, issue_node};
pub use metadata::TaskNetwork;
pub use plan::{
    CaKeyAlgorithm, CaSource, DnsName, MetadataUri, Names, NewAuthority, Owner, Plan, RenewBefore, RsaBits, Validity,
};
pub use publish::{Generation, PublishError, publish};
pub use published::Published;
pub use run::{Report, kept_authority, renew, run};
