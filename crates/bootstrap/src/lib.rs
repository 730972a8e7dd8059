//! Sidecar of an EventStoreDB node on ECS.
//!
//! `bootstrap run` waits for the server beside it, moves the built-in users `admin` and `ops` off their default
//! passwords into AWS Secrets Manager, registers the ready node in AWS Cloud Map, keeps its entry right, and withdraws the
//! node on SIGTERM. Meanwhile it renews the node's certificate, and follows a rotation of the certificate authority, if it is
//! given the `CERTGEN_*` variables of the init container: both must want the same, else each would replace what the other has
//! published. `bootstrap healthcheck` tells ECS whether the task is healthy: whether its server is there, whatever becomes of
//! AWS, DNS and the other nodes. A task that its cluster cannot do without is protected from scale-in.
//!
//! Killed at any instant and run again it goes on where it was: a password is stored before the database gets it, and
//! what may have been sent is sent again until the server confirms it ([`rotation`]).
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | ended by SIGTERM or SIGINT; `healthcheck`: the task is healthy; `status`: all is in order |
//! | 1 | `healthcheck`: the task is not healthy; `status`: something is not in order, or could not be looked at |
//! | 2 | the command line or a `BOOTSTRAP_*` variable is wrong; every mistake is listed |
//! | 69 | the server, AWS or the metadata endpoint was not there before the deadline |
//! | 70 | a bug, or a system without signals or random numbers |
//! | 74 | the certificates could not be read or the health file not written |
//! | 77 | not permitted: AWS denies a call, or no known password opens the database |
//! | 78 | what was found contradicts the configuration: a secret that holds no credentials, a server that is not trusted |
//!
//! # What it never does
//!
//! It shows no password in a log, an error or its arguments, overwrites no secret that holds something else than
//! credentials, registers no node on which a default password works, and removes no entry of another
//! task but, beside the leader, that of a dead one.

mod attempt;
pub mod aws;
pub mod cli;
mod converge;
mod ecs;
mod error;
mod health;
mod instance;
mod life;
mod metrics;
mod observe;
mod password;
pub mod ports;
mod protection;
mod registration;
mod renewal;
mod resolver;
mod rotate;
pub mod rotation;
mod secret;
mod server;
mod status;
mod trust;
mod user;
mod watch;

pub use converge::{Policy, World};
pub use ecs::Task;
pub use error::Error;
pub use health::check as check_health;
pub use life::run;
pub use password::{NoRandomness, Password};
pub use registration::Registration;
pub use resolver::Resolver;
pub use rotate::{Asked, ask, rotate};
pub use secret::{Credentials, Details, NotCredentials, Scheme, SecretText};
pub use server::HttpServer;
pub use status::{StatusPlace, StatusSettings, status};
pub use trust::{NodeIdentity, Trust, TrustError};
pub use user::{ADMIN, AccountPlan, OPS, User};
