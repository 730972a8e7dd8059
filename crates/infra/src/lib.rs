//! EventStoreDB on ECS Fargate: one config file in, CloudFormation stacks out.
//!
//! [`Config`] is what `eventstore.toml` says, [`Deployment`] what it means, [`Assembly`] the directory that
//! `cdk deploy --app` takes. Everything is pure until [`Assembly::write`].
//!
//! # Exit codes of the program
//!
//! | code | meaning |
//! |---|---|
//! | 0 | written |
//! | 2 | the command line is wrong |
//! | 70 | a bug: the templates do not hold together |
//! | 74 | a file could not be read or written |
//! | 77 | not permitted: a file or directory of somebody else is in the way |
//! | 78 | the configuration is wrong; every mistake is listed with its key |

mod assembly;
pub mod cfn;
pub mod cli;
mod config;
mod exports;
mod image;
mod lower;
mod model;
mod server;
mod values;

pub use assembly::{Assembly, AssemblyError, BuildContext, ContextError};
pub use config::{Config, ConfigErrors, Mistake, TEMPLATE, reference, schema};
pub use exports::Export;
pub use image::ImageReference;
pub use model::{
    ApplicationUser, Condition, Container, ContainerName, Deployment, HealthCheck, Image, Mount, Node, PASSWORD_LENGTH,
    Program, Task, Value, Volume,
};
pub use values::{BuiltInUser, Cidr, DeploymentName, FargateSize, Login, Namespace, ServerLine};
