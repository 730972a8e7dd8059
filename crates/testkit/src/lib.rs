//! What the tests and the demo stand on: a database stand-in, an AWS double, the ECS endpoints of a task, and a
//! harness that runs a task's containers as processes the way ECS would.
//!
//! Not published. Nothing in here is used by the programs that users run.
#![allow(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "a test tool that panics has done its work: the message is the finding"
)]

pub mod aws;
pub mod aws_cli;
pub mod cluster;
pub mod consumer;
pub mod contract;
pub mod database;
pub mod dns;
pub mod ecs;
pub mod local;
pub mod moto;
pub mod named_test;
pub mod net;
pub mod node;
pub mod programs;
pub mod proxy;
pub mod task;
pub mod tool;
