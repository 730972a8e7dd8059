//! What runs in the task of a node, and where each setting comes from.

mod show;
mod stated;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::config::{License, OwnImages};
use crate::model::{
    Condition, Container, Deployment, ExtraContainer, HealthCheck, Image, Influence, Node, Origin, PASSWORD_KEY,
    Source, Value,
};
use crate::values::{SecretReference, ServerLine};

use self::stated::State;
pub use self::stated::Stated;

/// The task of one node with the origin of everything in it. Displayed it is a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    deployment: String,
    node: String,
    host: String,
    is_read_only_replica: bool,
    /// How many nodes vote.
    voters: usize,
    line: ServerLine,
    cpu: u32,
    memory_mib: u32,
    containers: Vec<Explained>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Explained {
    name: String,
    is_own: bool,
    image: Sourced<Text>,
    user: Sourced<Text>,
    essential: bool,
    /// Name and condition.
    waits_for: Vec<(String, &'static str)>,
    /// That of the image if empty.
    entry_point: Vec<String>,
    command: Sourced<Vec<String>>,
    mounts: Vec<Mounted>,
    health_check: Option<HealthCheck>,
    start_timeout: Option<u16>,
    stop_timeout: Option<u16>,
    variables: Vec<(String, Sourced<Text>)>,
    secrets: Vec<(String, Sourced<FromSecret>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    volume: String,
    path: String,
    read_only: bool,
}

/// A value and what it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sourced<T> {
    is: T,
    /// Each with what the file says of its key, if it has one.
    from: Vec<(Influence, Option<State>)>,
}

/// A text, or what is known of one that CloudFormation puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Literal(String),
    Reference(String),
    /// What the image says.
    OfImage,
}

/// Where ECS reads a value: a secret's name or ARN, and a key in it, or all of it. Nobody here knows the value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FromSecret {
    secret: String,
    key: Option<String>,
}

impl Explanation {
    /// Explains the task of a node; `stated` is what the file says that the deployment was read from.
    pub fn new(deployment: &Deployment, node: &Node, stated: &Stated) -> Self {
        let (task, explain) = (node.task(), Explain { deployment, stated });
        let mut containers: Vec<_> = task.containers.iter().map(|container| explain.own(container)).collect();
        // The init container is the first to mount the volumes of others.
        if let Some(init) = containers.first_mut() {
            let prepared = task.extra.prepared();
            let mounted = |(volume, path): (_, &str)| Mounted {
                volume: ToString::to_string(volume),
                path: path.to_owned(),
                read_only: false,
            };
            init.mounts.extend(prepared.map(mounted));
        }
        containers.extend(task.extra.containers.iter().map(|container| explain.theirs(container)));
        Self {
            deployment: deployment.name().to_string(),
            node: node.name().to_owned(),
            host: node.host().to_owned(),
            is_read_only_replica: node.is_read_only_replica(),
            voters: deployment.nodes().len(),
            line: deployment.line(),
            cpu: task.size.cpu(),
            memory_mib: task.size.memory_mib(),
            containers,
        }
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        show::json(self)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show::text(self))
    }
}

struct Explain<'a> {
    deployment: &'a Deployment,
    stated: &'a Stated,
}

impl Explain<'_> {
    fn sourced<T>(&self, is: T, origin: &Origin) -> Sourced<T> {
        let state = |influence: &Influence| influence.key().map(|key| self.stated.state(key));
        Sourced { is, from: origin.influences().iter().map(|one| (one.clone(), state(one))).collect() }
    }

    fn own(&self, container: &Container) -> Explained {
        let condition = |condition: &Condition| match condition {
            Condition::Start => "START",
            Condition::Success => "SUCCESS",
        };
        let waits_for = container.depends_on.iter().map(|(name, until)| (name.as_str().to_owned(), condition(until)));
        let mounts = container.mounts.iter().map(|mount| Mounted {
            volume: mount.volume.as_str().to_owned(),
            path: mount.path.to_owned(),
            read_only: mount.read_only,
        });
        let variables = container.environment.iter().map(|variable| {
            let value = self.sourced(self.value(&variable.value), &variable.origin);
            (variable.name.clone(), value)
        });
        let passwords = container.passwords.iter().map(|password| {
            let secret = self.deployment.secret_name(password.user.as_str());
            let from = FromSecret { secret, key: Some(PASSWORD_KEY.to_owned()) };
            (password.name.clone(), self.sourced(from, &password.origin))
        });
        let license = container.license.as_ref().map(|key| {
            let License { secret, json_key, .. } = &key.license;
            let json_key = json_key.as_ref().map(|key| key.as_str().to_owned());
            let from = FromSecret { secret: secret.to_string(), key: json_key };
            (key.name.clone(), self.sourced(from, &key.origin))
        });
        let origins = &container.origins;
        Explained {
            name: container.name.as_str().to_owned(),
            is_own: true,
            image: self.sourced(self.image(&container.image), &origins.image),
            user: self.sourced(Text::Literal(format!("{0}:{0}", container.user)), &origins.user),
            essential: container.essential,
            waits_for: waits_for.collect(),
            entry_point: container.entry_point.clone().unwrap_or_default(),
            command: self.sourced(container.command.clone(), &origins.command),
            mounts: mounts.collect(),
            health_check: container.health_check.clone(),
            start_timeout: container.start_timeout,
            stop_timeout: container.stop_timeout,
            variables: variables.collect(),
            secrets: passwords.chain(license).collect(),
        }
    }

    fn theirs(&self, container: &ExtraContainer) -> Explained {
        let key = |name: &str| Origin::key(format!("containers[{}].{name}", container.place));
        let text = |text: &dyn ToString, name: &str| self.sourced(Text::Literal(text.to_string()), &key(name));
        let variables = container.environment.iter().map(|(name, value)| {
            let value = text(value, &format!("environment.{name}"));
            (name.to_string(), value)
        });
        let secrets = container.secrets.iter().map(|(name, secret)| {
            let from = self.sourced(FromSecret::of(secret), &key(&format!("secrets.{name}")));
            (name.to_string(), from)
        });
        let mounts = container.mounts.iter().map(|mount| {
            let (volume, read_only) = match &mount.source {
                Source::Ours(volume) => (volume.as_str(), true),
                Source::Theirs { volume, read_only } => (volume.as_str(), *read_only),
            };
            Mounted { volume: volume.to_owned(), path: mount.path.as_str().to_owned(), read_only }
        });
        let command = key("entry_point").and(Influence::Key(format!("containers[{}].command", container.place).into()));
        let waits_for = container.depends_on.iter().map(|(peer, until)| (peer.as_str().to_owned(), until.as_str()));
        Explained {
            name: container.name.as_str().to_owned(),
            is_own: false,
            image: text(&container.image, "image"),
            user: match container.user {
                Some(user) => text(&user, "user"),
                None => self.sourced(Text::OfImage, &key("user")),
            },
            essential: container.essential,
            waits_for: waits_for.collect(),
            entry_point: container.entry_point.clone(),
            command: self.sourced(container.command.clone(), &command),
            mounts: mounts.collect(),
            health_check: container.health_check.clone(),
            start_timeout: container.start_timeout,
            stop_timeout: container.stop_timeout,
            variables: variables.collect(),
            secrets: secrets.collect(),
        }
    }

    fn value(&self, value: &Value) -> Text {
        // Of one that is there already the configuration has the ARN.
        let secret = |name: String| {
            if name.starts_with("arn:") {
                Text::Literal(name)
            } else {
                Text::Reference(format!("ARN of the secret {name}"))
            }
        };
        match value {
            Value::Literal(text) => Text::Literal(text.clone()),
            Value::Region => Text::Reference("AWS::Region".to_owned()),
            Value::Secret(user) => secret(self.deployment.secret_name(user.as_str())),
            Value::CaSecret => secret(self.deployment.ca_secret_name().unwrap_or_default()),
            Value::ClientService => Text::Reference("id of the Cloud Map service".to_owned()),
        }
    }

    fn image(&self, image: &Image) -> Text {
        match image {
            Image::Reference(image) => Text::Literal(image.to_string()),
            Image::OwnRegistry(program) => {
                let (repository, tag) = (crate::lower::OWN_REPOSITORIES, crate::VERSION);
                Text::Reference(format!("the account's ECR: {repository}/{}:{tag}", program.as_str()))
            }
            Image::Built(program) => {
                let OwnImages::Built(directory) = &self.deployment.config().images.own else {
                    return Text::Reference("built by cdk deploy".to_owned());
                };
                Text::Reference(format!("built from {}/{}.Dockerfile", directory.as_str(), program.as_str()))
            }
        }
    }
}

impl FromSecret {
    /// What stands behind the ARN is `:key:stage:version`.
    fn of(reference: &SecretReference) -> Self {
        let arn = reference.arn().to_string();
        let rest = reference.as_str().strip_prefix(&arn).unwrap_or_default();
        let key = rest.split(':').nth(1).filter(|key| !key.is_empty());
        Self { key: key.map(str::to_owned), secret: arn }
    }
}
