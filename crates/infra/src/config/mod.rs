//! `eventstore.toml`: read as a whole, with every mistake in one run.

mod access;
mod alarms;
mod backup;
mod containers;
mod endpoints;
mod license;
mod network;
mod reference;
mod schema;
mod section;
mod server;
mod storage;
pub(crate) mod table;
mod tags;
mod upgrade;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use self::section::{Choice, Mistakes, Section};
use crate::image::ImageReference;
use crate::model::{
    Access, Alarms, Backup, Data, Discovery, Encryption, Extra, FileSystem, InfrequentAccess, Network, Scavenge,
};
use crate::server::{self as servers, ServerOption};
use crate::values::{
    BuildDirectory, CatchUp, ClusterSize, DeploymentName, FargateSize, JsonKey, KeyArn, Namespace, Qualifier,
    RecoveryPointArn, RepositoryPrefix, RoleArn, SecretArn, ServerLine,
};

pub use self::reference::reference;
pub(crate) use self::reference::with_values;
pub use self::schema::schema;
pub(crate) use self::section::nearest;
pub(crate) use self::table::has_default;
#[cfg(test)]
pub(crate) use self::table::{is_key, leaves};

/// The file that `infra init` writes: every key with its default and what it means. [`reference()`] makes it.
pub const TEMPLATE: &str = include_str!("../eventstore.toml");

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) name: DeploymentName,
    pub(crate) namespace: Namespace,
    pub(crate) server: Server,
    pub(crate) nodes: ClusterSize,
    pub(crate) read_only_replicas: u8,
    /// Whether only the first of the nodes holds the data.
    pub(crate) grows: bool,
    pub(crate) access: Access,
    pub(crate) network: Network,
    pub(crate) discovery: Discovery,
    pub(crate) data: Data,
    pub(crate) backup: Option<Backup>,
    pub(crate) scavenge: Option<Scavenge>,
    pub(crate) images: Images,
    pub(crate) extra: Extra,
    pub(crate) logs: Logs,
    pub(crate) deploy: Deploy,
    /// Of the stacks, by key.
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) alarms: Alarms,
}

/// The server and its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) line: ServerLine,
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) port: u16,
    pub(crate) size: FargateSize,
    /// uid and gid of the containers.
    pub(crate) uid: u32,
    pub(crate) external_tcp: bool,
    pub(crate) log_volume: bool,
    pub(crate) license: Option<License>,
    pub(crate) options: Vec<ServerOption>,
}

/// Where the key of the vendor's licence is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct License {
    pub(crate) secret: SecretArn,
    /// Otherwise the secret is the key.
    pub(crate) json_key: Option<JsonKey>,
    /// What the secret is encrypted with; otherwise it is the account's own key for Secrets Manager.
    pub(crate) kms_key: Option<KeyArn>,
}

/// That the data may have been opened by another line before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) from: ServerLine,
    /// A backup that was made before.
    pub(crate) recovery_point: Option<RecoveryPointArn>,
}

/// What containers are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Images {
    /// Otherwise the vendor's.
    pub(crate) server: Option<ImageReference>,
    pub(crate) own: OwnImages,
    /// What repositories of ECR begin with that fetch an image from elsewhere when it is first pulled.
    pub(crate) pull_through: Vec<RepositoryPrefix>,
}

/// Where the images of our programs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnImages {
    /// From where they are said to be, otherwise from the account's own registry.
    Pulled { certgen: Option<ImageReference>, bootstrap: Option<ImageReference> },
    /// Whoever deploys builds them.
    Built(BuildDirectory),
}

/// What the containers print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) retention_days: u16,
    pub(crate) encryption: Encryption,
}

/// How ECS runs the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deploy {
    pub(crate) platform_version: PlatformVersion,
    /// How long a node may take before its health counts.
    pub(crate) max_catch_up: CatchUp,
    /// Otherwise a new one for each node.
    pub(crate) execution_role: Option<RoleArn>,
    /// Whether it may read the secrets of the user's own containers.
    pub(crate) execution_role_reads_secrets: bool,
    pub(crate) update: Update,
    pub(crate) cdk_qualifier: Qualifier,
}

/// In which order the services of a cluster are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// Each when the one before is healthy.
    NodeByNode,
    /// None waits for another.
    AllAtOnce,
}

impl Choice for Update {
    const WORDS: &'static [(&'static str, Self)] =
        &[("node-by-node", Self::NodeByNode), ("all-at-once", Self::AllAtOnce)];
}

/// A platform version of Fargate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlatformVersion {
    V1_4_0,
    Latest,
}

impl PlatformVersion {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V1_4_0 => "1.4.0",
            Self::Latest => "LATEST",
        }
    }
}

impl Choice for PlatformVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.4.0", Self::V1_4_0), ("LATEST", Self::Latest)];
}

/// One mistake: where, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with its section: `server.port`.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<Mistake>);

impl Config {
    /// Reads the text of an `eventstore.toml`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every mistake: text that is not TOML, unknown or missing keys, values out of range, and values
    /// that do not go together.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let values = text.parse::<toml::Table>().map_err(|error| {
            ConfigErrors(vec![Mistake {
                key: String::new(),
                message: format!("not TOML: {}", error.to_string().trim()),
            }])
        })?;
        let mistakes = Mistakes::default();
        let config = read(&Section::root(&table::ROOT, values, &mistakes));
        let mistakes = RefCell::into_inner(mistakes);
        config.filter(|_| mistakes.is_empty()).ok_or(ConfigErrors(mistakes))
    }

    /// The same configuration with the server on another port, for a task that shares its machine with others.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { server: Server { port, ..self.server }, ..self }
    }

    /// Whether ECS may start the old tasks again when new ones do not become healthy.
    ///
    /// CloudFormation does so even if ECS may not: a failed service makes it roll the stack back. The old server is then refused by
    /// guard, unless its own template declares the new version.
    pub(crate) fn may_be_rolled_back(&self) -> bool {
        self.upgrade_risk().is_none()
    }

    /// Why the old server must not open the data again after `server.upgrade_from`; `None` if it may.
    fn upgrade_risk(&self) -> Option<&'static str> {
        let upgrade = self.server.upgrade.as_ref()?;
        servers::jump(upgrade.from, self.server.line, self.nodes.is_cluster()).risk()
    }

    /// What is allowed and yet should be known, each with its key.
    pub fn warnings(&self) -> Vec<Mistake> {
        let mut warnings = Vec::new();
        let mut warn = |key: &str, message: &str| {
            warnings.push(Mistake { key: key.to_owned(), message: message.to_owned() });
        };
        if self.access == Access::Insecure {
            warn("server.insecure", "whoever reaches the server's port may read, write and delete everything");
        }
        if matches!(self.access, Access::Secured(_)) && !servers::has_first_passwords(self.server.line) {
            warn(
                "server.line",
                "a new database of this line has its default passwords until bootstrap has replaced them, seconds after the \
                 server is ready: whoever reaches the port may be faster",
            );
        }
        if let Some(Upgrade { from, recovery_point: Some(point) }) = &self.server.upgrade
            && let Some(risk) = self.upgrade_risk()
        {
            let (from, to) = (from.as_str(), self.server.line.as_str());
            warn(
                "server.upgrade_from",
                &format!(
                    "{risk}. If the upgrade fails, CloudFormation rolls the stack back to {from}, and guard refuses {from} on every node \
                     whose data {to} has opened: these nodes stay down, their data untouched. Deploy {to} again, or restore {}, which \
                     must be one that opens: made with backup.mode = \"stop\" (docs/OPERATIONS.md, \"When an upgrade fails\")",
                    point.as_str()
                ),
            );
        }
        if self.server.license.is_some() && self.deploy.execution_role.is_some() {
            warn(
                "server.license_secret",
                "the role in deploy.execution_role must be allowed to read it, and to use the key that it is encrypted with",
            );
        }
        if !servers::was_watched(self.server.line) {
            warn("server.line", "how this line behaves is known from its source alone");
        }
        if let FileSystem::New(file_system) = &self.data.file_system {
            if file_system.automatic_backups {
                warn(
                    "data.automatic_backups",
                    "recovery points in the automatic vault cannot be deleted at will: AWS keeps each for 35 days, and they are \
                     paid for; they are copies of a running node, of which not every one can be opened",
                );
            }
            if file_system.infrequent_access != InfrequentAccess::Never {
                warn(
                    "data.infrequent_access",
                    "old chunks are read by every new subscription, scavenge and rebuild of an index, and then each read is slow \
                     and paid",
                );
            }
        }
        if self.alarms.unheard() {
            warn(
                "alarms.topic",
                "alarms are made and nobody hears of them; name a topic, or addresses in alarms.emails",
            );
        }
        if !self.data.retain {
            warn("data.retain", "whoever deletes the stack deletes the database");
        }
        backup::warnings(self, &mut warn);
        if self.data.restored.is_some() {
            warn(
                "data.restored",
                "take it out once `bootstrap status` is content and deploy again: while it is there bootstrap may set admin's \
                 password with the node's certificate, and a cluster runs no more nodes than its majority",
            );
        }
        if self.grows {
            warn(
                "cluster.grow_from",
                "take it out once all nodes that run are registered, and deploy again: while it is there no more nodes run than \
                 the majority, the loss of one is an outage, and no node is stopped for a backup",
            );
        }
        if let Some(message) = self.network.unseen() {
            warn("network.vpc", message);
        }
        if matches!(self.discovery, Discovery::Existing { .. }) {
            warn(
                "discovery.namespace_id",
                "look at the SOA record of its hosted zone: for as long as its negative TTL says, a node that comes back is \
                 still missing; 5 s are enough",
            );
        }
        if let Some(image) = self.images.server.as_ref().filter(|image| !image.has_digest()) {
            warnings.push(Mistake {
                key: "images.server".to_owned(),
                message: format!(
                    "`{image}` has no digest: after a change of what is behind the tag, nodes that are deployed again run another \
                     image; name:tag@sha256:… is always the same"
                ),
            });
        }
        warnings.extend(containers::warnings(&self.extra, &self.server));
        warnings
    }
}

fn read(root: &Section<'_>) -> Option<Config> {
    let name = root.text("name", DeploymentName::parse);
    let namespace = root.text("namespace", Namespace::parse);
    let (server, insecure) = root.section("server", server::read);
    let (nodes, read_only_replicas, grows) = root.section("cluster", cluster);
    upgrade::check(root, server.as_ref(), nodes);
    let access = access::read(root, insecure, nodes);
    let (network, closed) =
        root.section("network", |section| (network::read(section, nodes), endpoints::wanted(section)));
    network::exposed(root, insecure, network.as_ref());
    let discovery = root.section("discovery", network::discovery);
    let storage = storage::read(root, nodes);
    if grows && storage.as_ref().is_some_and(|(data, _)| data.restored.is_some()) {
        root.mistake(
            "cluster.grow_from",
            "`1` does not go with data.restored, which says that the last node holds the data; take out one of both",
        );
    }
    let scavenge = root.section("scavenge", |section| backup::scavenge(section, insecure));
    let planned = storage.as_ref().and_then(|(_, backup)| backup.as_ref());
    backup::overlap(root.mistakes(), planned, scavenge.as_ref());
    let file_system = storage.as_ref().map(|(data, _)| &data.file_system);
    let alarms = root.section("alarms", |section| alarms::read(section, file_system));
    let images = root.section("images", |section| images(section, closed));
    let logs = root.section("logs", |logs| {
        let retention_days = logs.number("retention_days");
        let encryption = logs.text("kms_key", Encryption::parse);
        Some(Logs { retention_days: retention_days?, encryption: encryption? })
    });
    let deploy = root.section("deploy", |deploy| {
        let platform_version = deploy.choice("platform_version");
        let max_catch_up = deploy.text("max_catch_up", CatchUp::parse);
        let execution_role = deploy.text("execution_role", RoleArn::parse);
        let execution_role_reads_secrets = deploy.flag("execution_role_reads_secrets");
        let update = deploy.choice("update");
        let cdk_qualifier = deploy.text("cdk_qualifier", Qualifier::parse);
        Some(Deploy {
            platform_version: platform_version?,
            max_catch_up: max_catch_up?,
            execution_role,
            execution_role_reads_secrets: execution_role_reads_secrets?,
            update: update?,
            cdk_qualifier: cdk_qualifier?,
        })
    });
    let surroundings = containers::Surroundings {
        server: server.as_ref(),
        insecure: insecure.is_some_and(|insecure| insecure.wanted),
        is_cluster: nodes.is_some_and(ClusterSize::is_cluster),
        data: storage.as_ref().map(|(data, _)| data),
        deploy: deploy.as_ref(),
    };
    let extra = containers::read(root, &surroundings);
    if closed && let Some(extra) = &extra {
        endpoints::extra(root, &images, extra);
    }
    let tags = tags::read(root);
    root.finish();
    let (data, backup) = storage?;
    Some(Config {
        name: name?,
        namespace: namespace?,
        server: server?,
        nodes: nodes?,
        read_only_replicas: read_only_replicas?,
        grows,
        access: access?,
        network: network?,
        discovery: discovery?,
        data,
        backup,
        scavenge,
        images,
        extra: extra?,
        logs: logs?,
        deploy: deploy?,
        tags: tags?,
        alarms: alarms?,
    })
}

/// Nodes, read-only replicas, and whether one node becomes a cluster.
fn cluster(section: &Section<'_>) -> (Option<ClusterSize>, Option<u8>, bool) {
    let nodes = section.integer("nodes", ClusterSize::new);
    let replicas = section.number("read_only_replicas");
    if let (Some(nodes), Some(replicas @ 1..)) = (nodes, replicas)
        && !nodes.is_cluster()
    {
        section.mistake(
            "read_only_replicas",
            format!(
                "`{replicas}` does not go with a single node, which nobody can replicate; allowed is 0, or more nodes"
            ),
        );
    }
    let grows = section.number::<u8>("grow_from").is_some();
    if grows && nodes.is_some_and(|nodes| !nodes.is_cluster()) {
        section.mistake("grow_from", "`1` says nothing of a single node; raise `nodes`, or take it out");
    }
    (nodes, replicas, grows)
}

fn images(section: &Section<'_>, closed: bool) -> Images {
    let [server, certgen, bootstrap] =
        ["server", "certgen", "bootstrap"].map(|image| section.text(image, ImageReference::parse));
    let build = section.text("build", BuildDirectory::parse);
    for image in ["certgen", "bootstrap"].into_iter().filter(|image| section.has("build") && section.has(image)) {
        section.mistake(image, "it does not go with `build`, which builds this image; take out one of both");
    }
    let own = match build {
        Some(directory) => OwnImages::Built(directory),
        None => OwnImages::Pulled { certgen, bootstrap },
    };
    let pull_through = section.texts("pull_through", RepositoryPrefix::parse).unwrap_or_default();
    let images = Images { server, own, pull_through };
    if closed {
        endpoints::images(section, &images);
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        Config::parse(text).unwrap_err().0.into_iter().map(|mistake| mistake.key).collect()
    }

    #[test]
    fn the_written_template_is_valid_and_says_the_defaults() {
        assert_eq!(Config::parse(TEMPLATE).unwrap(), Config::parse("name = \"eventstore\"").unwrap());
    }

    #[test]
    fn all_mistakes_are_told_with_their_keys() {
        let text = r#"
            name = "Event_Store"
            namespace = "internal"
            colour = "blue"
            [server]
            line = "20.6"
            port = 80
            cpu = 1000
            memory = 1000
            imagee = "x:1"
            [images]
            server = "x"
            [network]
            cidr = "20.0.0.0/16"
            [logs]
            retention_days = 31
            [serverr]
        "#;
        let mut expected = [
            "name",
            "namespace",
            "server.line",
            "server.port",
            "server.cpu",
            "server.imagee",
            "images.server",
            "network.cidr",
            "logs.retention_days",
            "colour",
            "serverr",
        ];
        let mut found = keys(text);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn types_are_checked_and_a_missing_name_is_named() {
        assert_eq!(keys("server = 1"), ["name", "server"]);
        assert_eq!(keys("name = 1\n[server]\nport = \"2113\""), ["name", "server.port"]);
        assert_eq!(keys("name = "), [""]);
        assert_eq!(keys("name = \"a\"\n[server]\ncpu = 256\nmemory = 4096"), ["server.memory"]);
    }

    #[test]
    fn a_cluster_needs_one_authority_for_all_nodes() {
        let config = |cluster: &str, certificates: &str| {
            format!("name = \"a\"\n[cluster]\n{cluster}\n[certificates]\n{certificates}")
        };
        let files = "ca = \"files\"\nca_certificate = \"/ca/ca.crt\"\nca_key = \"/ca/ca.key\"";
        for nodes in ["", "nodes = 1", "nodes = 3", "nodes = 5", "nodes = 7"] {
            assert!(Config::parse(&config(nodes, files)).is_ok(), "{nodes}");
        }
        assert!(Config::parse(&config("nodes = 3", "")).is_ok(), "by default all share the one in a secret");
        assert_eq!(keys(&config("nodes = 3", "ca = \"ephemeral\"")), ["certificates.ca"]);
        assert_eq!(keys(&config("nodes = 4", "ca = \"vault\"")), ["cluster.nodes", "certificates.ca"]);
        let unknown = keys(&config("nodes = 4", "ca = \"ephemeral\""));
        assert_eq!(unknown, ["cluster.nodes"], "whether it is a cluster is not known");
    }

    #[test]
    fn the_files_of_an_authority_come_together_and_with_their_source() {
        let keys = |certificates: &str| keys(&format!("name = \"a\"\n[certificates]\n{certificates}"));
        assert_eq!(keys("ca = \"files\""), ["certificates.ca_certificate", "certificates.ca_key"]);
        assert_eq!(keys("ca = \"files\"\nca_key = \"/k\""), ["certificates.ca_certificate"]);
        assert_eq!(keys("ca_key = \"/k\""), ["certificates.ca_key"]);
        let relative = "ca = \"files\"\nca_certificate = \"ca.crt\"\nca_key = \"/ca/\"";
        assert_eq!(keys(relative), ["certificates.ca_certificate", "certificates.ca_key"]);
    }

    #[test]
    fn messages_say_what_is_allowed() {
        let message = |text: &str| Config::parse(text).unwrap_err().to_string();
        assert!(message("name = \"a\"\n[server]\nline = \"20.6\"").contains("allowed are 21.10, 22.10"));
        assert!(message("name = \"a\"\n[server]\ncpu = 1000").contains("256, 512, 1024"));
        assert!(message("name = \"a\"\n[server]\ncpu = 256\nmemory = 4096").contains("2048"));
        assert!(message("name = \"a\"\n[network]\ncidr = \"10.20.1.0/16\"").contains("first address"));
    }
}
