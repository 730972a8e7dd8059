//! EventStoreDB on ECS Fargate: one config file in, CloudFormation stacks out.
//!
//! # From a configuration to stacks
//!
//! | step | what it is |
//! |---|---|
//! | [`Config::parse`] | the text of `eventstore.toml`, or every mistake in it with its key |
//! | [`Deployment::new`] | what it means: nodes, each with the task that runs it, names, secrets |
//! | [`Assembly::new`] | templates and manifest, in memory; the same bytes every time |
//! | [`Assembly::write`] | the directory that `cdk deploy --app` takes; all of it or nothing |
//!
//! Everything before the last step is pure: no account, no network, no clock.
//!
//! ```
//! use infra::{Assembly, Config, Deployment};
//!
//! let deployment = Deployment::new(Config::parse("name = \"orders\"\ncluster.nodes = 3")?);
//! assert_eq!(deployment.client_host(), "orders.db.internal");
//! let assembly = Assembly::new(&deployment)?;
//! let files: Vec<_> = assembly.files().map(|(name, _)| name).collect();
//! assert_eq!(
//!     files,
//!     ["manifest.json", "orders-EventStore.template.json", "orders-StatefulResources.template.json"]
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same [`Deployment`] can be run without AWS: [`compose()`] is its tasks for docker compose, and a [`Task`] is its containers with
//! command lines, variables, volumes and dependencies, in an order in which they can be started.
//!
//! # Consumers, and resources beside ours
//!
//! [`Stacks`] are those of a deployment with what is around them. A consumer is a [`FargateService`] in a [`Stack`] of its own, to
//! which the rules belong that [`Connections::allow_to`] makes. What it needs is an [`Export`]; the names are stable, so that stacks
//! that are not written in Rust import the same. Resources of any type go beside those of the deployment under ids of their own
//! ([`OwnResources`]).
//!
//! What does not hold together cannot be made: a reference or an import that leads nowhere, resources that wait for each
//! other, a port on which nothing listens. This is `examples/consumer.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/consumer.rs")]
//! ```
//!
//! # What an update would do
//!
//! [`diff::Diff`] compares two assemblies resource by resource, and refuses what would lose data, passwords or names.
//!
//! # Exit codes of the program
//!
//! | code | meaning |
//! |---|---|
//! | 0 | written, printed, or compared and nothing refused |
//! | 1 | `infra diff` refuses a change, every one is listed; or `infra validate --strict` has warnings |
//! | 2 | the command line is wrong |
//! | 70 | a bug: the templates do not hold together |
//! | 74 | a file could not be read or written |
//! | 77 | not permitted: a file or directory of somebody else is in the way |
//! | 78 | the configuration is wrong; every mistake is listed with its key |

mod assembly;
pub mod cfn;
pub mod cli;
mod compose;
mod config;
mod consumer;
mod diagram;
pub mod diff;
mod explain;
mod exports;
mod image;
mod init;
mod lower;
mod model;
mod policies;
mod quantities;
mod restore_plan;
#[cfg(test)]
mod scenario;
mod server;
mod several;
mod stacks;
mod validate;
mod values;

pub use assembly::{Assembly, AssemblyError, BuildContext, ContextError};
pub use compose::compose;
pub use config::{Config, ConfigErrors, Mistake, TEMPLATE, reference, schema};
pub use consumer::{Connections, ConsumerError, Destination, FargateService, Port, SecretField};
pub use diagram::diagram;
pub use explain::{Explanation, Stated};
pub use exports::Export;
pub use image::ImageReference;
pub use lower::{Grant, Privilege, Role, privileges};
pub use model::{
    ApplicationUser, Condition, Container, ContainerName, Deployment, Extra, HealthCheck, Image, Influence, LicenseKey,
    Mount, Node, Origin, Origins, PASSWORD_LENGTH, Password, Program, Task, Value, Variable, Volume,
};
pub use policies::Policies;
pub use several::{Collision, collisions};
pub use stacks::{OwnResources, Stack, Stacks};
pub use values::{BuiltInUser, DeploymentName, FargateSize, Login, Namespace, ServerLine, ValueError};

/// The version of infra, with which the images of our programs are tagged that it looks for.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
