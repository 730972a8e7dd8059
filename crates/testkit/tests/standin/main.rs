//! The stand-in against what real servers were seen to do: `observed` is `eventstore-observed.md` (24.10.4), `lines`
//! `eventstore-observed-lines.md` (22.10.5, 23.10.6), `observed-25` `eventstore-observed-25.md` (25.0.1). What is said of
//! 21.10, 25.1 and 26.1 alone comes from the contract.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod certificates;
mod cluster;
mod discovery;
mod faults;
mod lines;
mod replies;
mod scavenges;
mod single;
mod wire;
