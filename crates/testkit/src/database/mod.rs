//! Stand-in for one EventStoreDB 24.10 server: its HTTP API over TLS, its users, their caches, and its silences.
//!
//! Every behaviour was seen on a real server (`observed` = `eventstore-observed.md`) unless it is marked with a section
//! of the contract. It stores users and nothing else; there are no streams, no gRPC and no cluster.

mod certificates;
mod http_api;
mod journal;
mod node;
mod options;
mod replies;
mod server;
mod users;

pub use server::{Settings, run};
