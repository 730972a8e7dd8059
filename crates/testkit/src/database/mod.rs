//! Stand-in for an EventStoreDB or `KurrentDB` server of several lines, alone or with others in a cluster: its HTTP API over
//! TLS, its users, their caches, its certificates and options, its elections, and its silences.
//!
//! Every behaviour was seen on a real server (`observed` = `eventstore-observed.md`, `lines` =
//! `eventstore-observed-lines.md`, `observed-25` = `eventstore-observed-25.md`) unless it is marked with a section of the
//! contract. It stores users and nothing else; there are no streams and there is no gRPC.
//!
//! Start with `line.rs` for what differs between lines, `http_api.rs` for what a client sees, `life.rs` for what a node
//! goes through.

mod answers;
mod certificates;
mod forward;
mod http_api;
mod journal;
mod life;
mod line;
mod links;
mod members;
mod names;
mod node;
mod options;
mod peers;
mod private_key;
mod protocol;
mod replies;
mod routes;
mod scavenges;
mod server;
mod users;
mod writes;

pub use line::Line;
pub use names::NameSources;
pub use options::check_options;
pub use server::{Settings, run};
pub use users::logins_with_password;
