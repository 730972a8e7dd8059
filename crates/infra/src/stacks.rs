//! The stacks of a deployment with what others put beside them: resources of their own in ours, and stacks after ours.

use crate::assembly::{Assembly, AssemblyError, BuildContext};
use crate::cfn::{LogicalId, Resource, Template};
use crate::consumer::FargateService;
use crate::lower;
use crate::model::Deployment;

/// Before the logical ids of resources that are not the deployment's own. None of ours begins with it, in no version.
pub(crate) const OWN: &str = "Own";

/// Resources of somebody else in a stack of the deployment.
///
/// They refer to the deployment's resources by their logical ids, which stay as they are where state is behind them; a reference
/// that leads nowhere, or a circle, is refused when the assembly is made.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OwnResources {
    resources: Vec<(LogicalId, Resource)>,
}

impl OwnResources {
    /// Adds a resource, under the logical id `Own<id>`: it can never be that of a resource of the deployment. Gives the id for
    /// references.
    ///
    /// # Panics
    ///
    /// If the id is not of letters and digits or taken; ids are written in the source.
    pub fn add(&mut self, id: &str, resource: Resource) -> LogicalId {
        let id = LogicalId::new(format!("{OWN}{id}"));
        assert!(self.resources.iter().all(|(taken, _)| *taken != id), "two resources `{id}`");
        self.resources.push((id.clone(), resource));
        id
    }

    pub(crate) fn put_into(&self, template: &mut Template) {
        for (id, resource) in &self.resources {
            template.add(id.to_string(), resource.clone());
        }
    }
}

/// A stack of somebody else, deployed after those of the deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    pub(crate) name: String,
    pub(crate) template: Template,
}

impl Stack {
    /// An empty stack.
    ///
    /// # Panics
    ///
    /// If CloudFormation would refuse the name: allowed are letters, digits and hyphens, a letter first, at most 128 (AWS,
    /// "Stack name").
    pub fn new(name: &str, description: &str) -> Self {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let good = name.len() <= 128 && name.starts_with(|first: char| first.is_ascii_alphabetic());
        assert!(good && name.bytes().all(known), "`{name}` is not the name of a stack");
        Self { name: name.to_owned(), template: Template::new(description) }
    }

    /// Adds a service that uses the database.
    ///
    /// # Panics
    ///
    /// If one of its logical ids is taken; ids are written in the source.
    pub fn add_service(&mut self, service: &FargateService<'_>) {
        lower::consumer(&mut self.template, &self.name, service);
    }

    /// The template, for resources and exports of the stack's own. It may import what the deployment and stacks before it export.
    pub fn template(&mut self) -> &mut Template {
        &mut self.template
    }
}

/// The stacks of a deployment, and what is beside and after them.
#[derive(Clone, Debug)]
pub struct Stacks<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) beside: [OwnResources; 2],
    pub(crate) after: Vec<Stack>,
}

impl<'a> Stacks<'a> {
    /// Those of the deployment and nothing else.
    pub fn new(deployment: &'a Deployment) -> Self {
        Self { deployment, beside: Default::default(), after: Vec::new() }
    }

    /// Resources beside the network, the file system and the secrets, in `<name>-StatefulResources`.
    pub fn stateful_resources(&mut self) -> &mut OwnResources {
        &mut self.beside[0]
    }

    /// Resources beside the services, in `<name>-EventStore`.
    pub fn event_store(&mut self) -> &mut OwnResources {
        &mut self.beside[1]
    }

    /// Adds a stack, deployed after all that are there.
    ///
    /// # Panics
    ///
    /// If a stack has that name; names are written in the source.
    pub fn add(&mut self, stack: Stack) {
        let own = lower::stack_names(self.deployment);
        let taken = own.iter().chain(self.after.iter().map(|stack| &stack.name)).any(|name| *name == stack.name);
        assert!(!taken, "two stacks `{}`", stack.name);
        self.after.push(stack);
    }

    /// The assembly of all stacks, for a deployment whose images are pulled.
    ///
    /// # Errors
    ///
    /// [`AssemblyError::NoContext`] if images are to be built, [`AssemblyError::Template`] for a reference that leads nowhere, an
    /// import that no earlier stack exports, or resources that wait for each other.
    pub fn assembly(&self) -> Result<Assembly, AssemblyError> {
        Assembly::of_stacks(self, None)
    }

    /// The same for one whose images whoever deploys builds from `context`.
    ///
    /// # Errors
    ///
    /// [`AssemblyError::Template`], as [`Self::assembly`].
    pub fn assembly_with_context(&self, context: BuildContext) -> Result<Assembly, AssemblyError> {
        Assembly::of_stacks(self, Some(context))
    }
}
