//! The directory that `cdk deploy --app` takes: manifest, templates and what images are built from (cloud-assembly §3, §4),
//! written all or nothing.

mod context;
mod manifest;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

pub use self::context::{BuildContext, ContextError};
use crate::cfn::TemplateError;
use crate::lower::{self, BuiltImages};
use crate::model::{Deployment, Encryption, Program};
use crate::stacks::Stacks;
use crate::values::ValueError;

/// Read by every CDK command line since 2.150 (mid 2024); nothing newer is needed.
const SCHEMA_VERSION: &str = "36.0.0";
pub(crate) const MANIFEST: &str = "manifest.json";
/// The tag of every stack of ours, by which an assembly of ours is known again.
pub(crate) const DEPLOYMENT_TAG: &str = "eventstore-fargate:deployment";

/// A cloud assembly in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    /// File name → content.
    files: BTreeMap<String, String>,
    /// What images are built from, if whoever deploys builds them.
    context: Option<BuildContext>,
}

/// Why an assembly was not made or not written.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A reference that leads nowhere, or a circle: in what was put beside or after the deployment, or a bug of this crate.
    #[error("the stack `{stack}` does not hold together")]
    Template {
        /// The stack.
        stack: String,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// The configuration wants images built, and nobody said from what.
    #[error("images are to be built from `{0}`; read it as a build context")]
    NoContext(String),
    /// What is there was not written by this program.
    #[error("`{path}` exists and is not a cloud assembly of infra ({found}); not touching it")]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// What says so.
        found: String,
    },
    /// The system refused one step.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Assembly {
    /// The assembly of a deployment whose images are pulled.
    ///
    /// # Errors
    ///
    /// [`AssemblyError::NoContext`] if images are to be built, [`AssemblyError::Template`] only if there is a bug in this
    /// crate.
    pub fn new(deployment: &Deployment) -> Result<Self, AssemblyError> {
        Stacks::new(deployment).assembly()
    }

    /// The assembly of a deployment whose images whoever deploys builds from `context`; what that holds is part of it.
    ///
    /// # Errors
    ///
    /// [`AssemblyError::Template`] only if there is a bug in this crate.
    pub fn with_context(deployment: &Deployment, context: BuildContext) -> Result<Self, AssemblyError> {
        Stacks::new(deployment).assembly_with_context(context)
    }

    /// The assembly of the repositories of certgen and bootstrap, which all deployments of an account and region share, encrypted
    /// with the account's key for ECR or with that of an ARN.
    ///
    /// # Errors
    ///
    /// What is allowed, if `kms_key` is neither `aws` nor the ARN of a key.
    ///
    /// # Panics
    ///
    /// Never: the template is of our source.
    pub fn repositories(kms_key: &str) -> Result<Self, ValueError> {
        let encryption = match Encryption::parse(kms_key).map_err(ValueError::new)? {
            Encryption::Own => {
                let message =
                    "`own` is a key of a deployment, and repositories belong to none; allowed are aws and an ARN";
                return Err(ValueError::new(message.to_owned()));
            }
            encryption => encryption,
        };
        let stack = lower::repositories_stack();
        let template = lower::repositories(&encryption).render(&BTreeSet::new()).expect("it refers to itself alone");
        let files = BTreeMap::from([
            (manifest::template_file(&stack), format!("{template}\n")),
            (MANIFEST.to_owned(), format!("{}\n", manifest::shared(&stack))),
        ]);
        Ok(Self { files, context: None })
    }

    /// The assembly of a deployment's stacks, with what is beside and after them.
    pub(crate) fn of_stacks(stacks: &Stacks<'_>, context: Option<BuildContext>) -> Result<Self, AssemblyError> {
        let deployment = stacks.deployment;
        let context = match (deployment.build_directory(), context) {
            (Some(directory), None) => return Err(AssemblyError::NoContext(directory.to_owned())),
            (Some(_), context) => context,
            (None, _) => None,
        };
        let built: BuiltImages = match &context {
            Some(context) => Program::ALL.into_iter().map(|program| (program, context.tag(program))).collect(),
            None => BuiltImages::new(),
        };
        let mut files = BTreeMap::new();
        let mut names = Vec::new();
        let mut exported = BTreeSet::new();
        let mut own = lower::stacks(deployment, &built);
        for (template, beside) in own.iter_mut().zip(&stacks.beside) {
            beside.put_into(template);
        }
        let own = lower::stack_names(deployment).into_iter().zip(&own);
        let after = stacks.after.iter().map(|stack| (stack.name.clone(), &stack.template));
        for (stack, template) in own.chain(after) {
            let rendered = template
                .render(&exported)
                .map_err(|source| AssemblyError::Template { stack: stack.clone(), source })?;
            exported.extend(template.exports().map(str::to_owned));
            // Compact: a template above 50 KiB could not be deployed without a bootstrapped account.
            files.insert(manifest::template_file(&stack), format!("{rendered}\n"));
            names.push(stack);
        }
        let [_, with_images] = lower::stack_names(deployment);
        if let Some(context) = &context {
            let assets = manifest::assets(&deployment.config().deploy.cdk_qualifier, context);
            files.insert(manifest::assets_file(&with_images), format!("{assets:#}\n"));
        }
        let manifest = manifest::manifest(deployment, &names, context.is_some().then_some(&with_images));
        files.insert(MANIFEST.to_owned(), format!("{manifest}\n"));
        Ok(Self { files, context })
    }

    /// File names and contents, sorted by name; not those of a build context.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, content)| (name.as_str(), content.as_str()))
    }
}
