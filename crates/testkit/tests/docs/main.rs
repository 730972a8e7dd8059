//! Documents that cannot rot: every command in them is one, every option exists, every link leads somewhere, every error with a
//! remedy is among those to look up.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod commands;
mod links;
mod markdown;
mod operations;
mod shell;
mod sources;
mod troubleshooting;
mod usage;
