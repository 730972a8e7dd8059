//! Issues the TLS certificate of an EventStoreDB node and publishes it on a volume, or refuses with a reason.
//!
//! `certgen --out DIR` is the init container of an ECS task: it makes a key, has it signed by a certificate authority,
//! and leaves `node.crt`, `node.key` and the trusted roots in `DIR`, readable by the server and complete at any instant
//! at which somebody looks (`publish.rs` says how).
//!
//! What a server accepts is written down in `issue.rs`, with the server lines that insist on it. Who signs is up to
//! `--ca-source`: `ephemeral` makes an authority, `files` takes the root and the key that `--ca-certificate` and `--ca-key`
//! name (`authority.rs` says which), `secret` takes the one of AWS Secrets Manager that all tasks share ([`ca`]). Only roots
//! are published, never an authority's key.
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
//! # Exit codes
//!
//! Of the init container; the commands of es-gencert-cli end with 0 or 1, and a missing or unknown command with 127;
//! `inspect` with 0, 1, 2 or 74, `verify` with 0, 1, 2, 69 or 74, `ca` as below, and with 1 if the next phase is blocked.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | the certificates are in place |
//! | 2 | the command line or a `CERTGEN_*` variable is wrong; every mistake is listed |
//! | 69 | AWS did not answer before the deadline, or limits its callers |
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
mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod gencert;
pub mod inspect;
mod issue;
mod keys;
mod plan;
mod publish;
mod run;
#[cfg(feature = "verify")]
pub mod verify;

pub use authority::{Authority, AuthorityError, Root, issue_authority};
pub use error::{CaFile, Error};
pub use issue::{IssueError, NodeCertificate, issue_node};
pub use plan::{CaSource, DnsName, Names, Plan, RsaBits, Validity};
pub use publish::{Generation, PublishError};
pub use run::{Report, run};
