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
//! Once its command line is accepted, `bootstrap run` ends by a signal alone. Every wait has a deadline; when it is over, or
//! when something cannot work as it is, that is said with what was found and what helps, and after a pause it is tried again. No
//! node is registered meanwhile. What a bug ends begins anew.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | `run`: ended by SIGTERM or SIGINT; `healthcheck`: the task is healthy; `rotate`: asked for, or nothing to do; `status`: all is in order |
//! | 1 | `healthcheck`: the task is not healthy; `status`: something is not in order, or could not be looked at |
//! | 2 | the command line or a `BOOTSTRAP_*` variable is wrong; every mistake is listed |
//! | 69 | `rotate` only: AWS did not answer, or another change of a secret is under way |
//! | 70 | a bug, or a system without signals or random numbers |
//! | 77 | `rotate` only: AWS denies a call |
//! | 78 | `rotate` only: a secret is not there, or holds no credentials |
//!
//! # What it never does
//!
//! It shows no password in a log, an error or its arguments, overwrites no secret that holds something else than
//! credentials, registers no node on which a default password works, and removes no entry of another
//! task but, beside the leader, that of a dead one.

mod attempt;
pub mod aws;
mod backoff;
pub mod cli;
mod converge;
mod current;
mod ecs;
mod error;
mod expired;
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
mod scavenge;
mod secret;
mod server;
mod settings;
mod status;
mod supervise;
mod trust;
mod user;
mod watch;

pub use converge::{Policy, World};
pub use ecs::Task;
pub use error::Error;
pub use health::check as check_health;
pub use life::run;
pub use metrics::names as metric_names;
pub use password::{NoRandomness, Password};
pub use registration::Registration;
pub use resolver::Resolver;
pub use rotate::{Asked, ask, rotate};
pub use scavenge::{Begun, Looked, NotASchedule, Scavenger, Schedule};
pub use secret::{Credentials, Details, NotCredentials, Scheme, SecretText};
pub use server::HttpServer;
pub use status::{StatusPlace, StatusSettings, status};
pub use supervise::hide_panic_payloads;
pub use trust::{NodeIdentity, Trust, TrustError};
pub use user::{ADMIN, AccountPlan, OPS, User};
