//! `eventstore.toml`: read as a whole, with every mistake in one run.

use std::collections::BTreeSet;
use std::fmt;

use crate::image::ImageReference;
use crate::values::{
    Cidr, ClusterSize, ContainerPath, DeploymentName, FargateCpu, FargateSize, Login, Namespace, RotationPeriod,
    ServerLine,
};

/// The file that `infra init` writes: every key with its default and what it means.
pub const TEMPLATE: &str = include_str!("eventstore.toml");

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) name: DeploymentName,
    pub(crate) namespace: Namespace,
    pub(crate) line: ServerLine,
    pub(crate) port: u16,
    pub(crate) size: FargateSize,
    pub(crate) nodes: ClusterSize,
    pub(crate) ca: CaSource,
    pub(crate) rotate_every: RotationPeriod,
    pub(crate) recover_with_node_certificate: bool,
    pub(crate) users: Vec<ApplicationUser>,
    pub(crate) cidr: Cidr,
    pub(crate) server_image: Option<ImageReference>,
    pub(crate) certgen_image: Option<ImageReference>,
    pub(crate) bootstrap_image: Option<ImageReference>,
    pub(crate) log_retention_days: u16,
}

/// A user of the database that an application logs in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationUser {
    pub(crate) login: Login,
    pub(crate) full_name: String,
    pub(crate) groups: Vec<String>,
    pub(crate) alternates: bool,
}

impl ApplicationUser {
    /// The login name; that of the secret as well.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// The logins in the database.
    fn logins(&self) -> impl Iterator<Item = Login> {
        std::iter::once(self.login.clone()).chain(self.alternates.then(|| self.login.alternate()))
    }
}

/// Where the certificate authority comes from that signs the nodes' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaSource {
    /// All tasks share one, in a secret of the deployment.
    Secret,
    /// Every task makes its own.
    Ephemeral,
    /// Files in the certgen container.
    Files { certificate: ContainerPath, key: ContainerPath },
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

/// The retention periods that `AWS::Logs::LogGroup` knows, in days.
const RETENTION_DAYS: [u16; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

impl Config {
    /// Reads the text of an `eventstore.toml`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every mistake: text that is not TOML, unknown or missing keys, values out of range.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let table = text.parse::<toml::Table>().map_err(|error| {
            ConfigErrors(vec![Mistake {
                key: String::new(),
                message: format!("not TOML: {}", error.to_string().trim()),
            }])
        })?;
        let mut mistakes = Vec::new();
        let mut root = Section { path: String::new(), table, known: BTreeSet::new(), mistakes: &mut mistakes };

        let name = root.required("name", DeploymentName::parse);
        let namespace = root.text("namespace", "db.internal", Namespace::parse);
        let server = root.section("server", |server| {
            let line = server.text("line", "24.10", ServerLine::parse);
            let port = server.integer("port", 2113, |port| match u16::try_from(port) {
                Ok(port @ 1024..) if port != 1112 => Ok(port),
                _ => Err(format!(
                    "`{port}` is not allowed; allowed are 1024 to 65535, except 1112, the replication port"
                )),
            });
            let cpu = server.integer("cpu", 1024, FargateCpu::new);
            let memory = server.integer("memory", 4096, Ok);
            let size = cpu.zip(memory).and_then(|(cpu, memory)| server.check("memory", FargateSize::new(cpu, memory)));
            (line, port, size)
        });
        let nodes = root.section("cluster", |cluster| cluster.integer("nodes", 1, ClusterSize::new));
        let ca = root.section("certificates", |certificates| ca_source(certificates, nodes));
        let (rotate_every, recover_with_node_certificate) = root.section("credentials", |credentials| {
            let rotate_every = credentials.text("rotate_every", "90d", RotationPeriod::parse);
            (rotate_every, credentials.flag("recover_with_node_certificate", false))
        });
        let users = root.sections("users", user);
        if users.len() > MOST_USERS {
            root.mistake("users", format!("there are {}; allowed are at most {MOST_USERS}", users.len()));
        }
        taken_logins(&mut root, &users);
        let cidr = root.section("network", |network| network.text("cidr", "10.20.0.0/16", Cidr::parse));
        let [server_image, certgen_image, bootstrap_image] = root.section("images", |images| {
            ["server", "certgen", "bootstrap"].map(|image| images.optional(image, ImageReference::parse))
        });
        let retention = root.section("logs", |logs| {
            logs.integer("retention_days", 30, |days| {
                let known = u16::try_from(days).ok().filter(|days| RETENTION_DAYS.contains(days));
                known.ok_or_else(|| {
                    let allowed: Vec<_> = RETENTION_DAYS.iter().map(ToString::to_string).collect();
                    format!("`{days}` is not a period of CloudWatch Logs; allowed are {}", allowed.join(", "))
                })
            })
        });
        root.reject_unknown();

        let (line, port, size) = server;
        let valid = || {
            Some(Self {
                name: name?,
                namespace: namespace?,
                line: line?,
                port: port?,
                size: size?,
                nodes: nodes?,
                ca: ca?,
                rotate_every: rotate_every?,
                recover_with_node_certificate: recover_with_node_certificate?,
                users: users.into_iter().collect::<Option<_>>()?,
                cidr: cidr?,
                server_image,
                certgen_image,
                bootstrap_image,
                log_retention_days: retention?,
            })
        };
        valid().filter(|_| mistakes.is_empty()).ok_or(ConfigErrors(mistakes))
    }

    /// The same configuration with the server on another port, for a task that shares its machine with others.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

/// Each has a secret, which the task role's policy names; it may have 10 240 characters (AWS, "IAM and STS quotas").
const MOST_USERS: usize = 40;

fn user(section: &mut Section<'_>) -> Option<ApplicationUser> {
    let login = section.required("login", Login::parse);
    let full_name = section.optional("full_name", |name| {
        let good = (1..=256).contains(&name.len()) && !name.contains(char::is_control);
        good.then(|| name.to_owned())
            .ok_or_else(|| format!("`{name}` is not a name; allowed are 1 to 256 bytes without control characters"))
    });
    let groups = section.texts("groups", |group| {
        let good = !group.is_empty() && group.len() <= 64 && !group.contains(|letter: char| letter.is_control());
        good.then(|| group.to_owned()).ok_or_else(|| {
            format!("`{group}` is not the name of a group; allowed are 1 to 64 bytes, for example $admins")
        })
    });
    let alternates = section.flag("alternate", true);
    let login = login?;
    let full_name = full_name.unwrap_or_else(|| login.to_string());
    // With a mistake in one of these nothing comes of it, but its logins are still compared with the others.
    Some(ApplicationUser {
        login,
        full_name,
        groups: groups.unwrap_or_default(),
        alternates: alternates.unwrap_or_default(),
    })
}

/// Every login is one user's, and none is built in.
fn taken_logins(root: &mut Section<'_>, users: &[Option<ApplicationUser>]) {
    // `<name>/ca` is the secret of the certificate authority.
    let mut taken: BTreeSet<String> = ["admin", "ops", "ca"].map(str::to_owned).into();
    for (index, user) in users.iter().enumerate().filter_map(|(index, user)| Some((index, user.as_ref()?))) {
        for login in user.logins() {
            if !taken.insert(login.to_string()) {
                let message = format!(
                    "`{login}` is taken; allowed is each login once, besides admin, ops and ca, and `<login>-b` belongs to a \
                     login that alternates"
                );
                root.mistake(&format!("users[{index}].login"), message);
            }
        }
    }
}

const CA_FILES: [&str; 2] = ["ca_certificate", "ca_key"];

/// A source that fits the number of nodes and has all that belongs to it and nothing else.
fn ca_source(section: &mut Section<'_>, nodes: Option<ClusterSize>) -> Option<CaSource> {
    enum Source {
        Secret,
        Ephemeral,
        Files,
    }
    let source = section.text("ca", "secret", |source| match source {
        "secret" => Ok(Source::Secret),
        "ephemeral" => Ok(Source::Ephemeral),
        "files" => Ok(Source::Files),
        other => Err(format!(
            "`{other}` is not a source of a certificate authority; allowed are secret, ephemeral and files"
        )),
    });
    let [certificate, key] = CA_FILES.map(|file| section.optional(file, ContainerPath::parse));
    let source = source?;
    for file in CA_FILES {
        match (&source, section.table.contains_key(file)) {
            (Source::Files, false) => section.mistake(file, "it is missing; ca = \"files\" needs it".to_owned()),
            (Source::Secret | Source::Ephemeral, true) => {
                section.mistake(file, "it belongs to ca = \"files\" only".to_owned());
            }
            _ => {}
        }
    }
    if let (Source::Ephemeral, Some(nodes)) = (&source, nodes.filter(|nodes| nodes.is_cluster())) {
        section.mistake(
            "ca",
            format!(
                "`ephemeral` does not go with {nodes} nodes: each task would make a certificate authority of its own, and no \
                 node would trust another; allowed are secret, and files with ca_certificate and ca_key"
            ),
        );
    }
    Some(match source {
        Source::Secret => CaSource::Secret,
        Source::Ephemeral => CaSource::Ephemeral,
        Source::Files => CaSource::Files { certificate: certificate?, key: key? },
    })
}

/// A table of the file, whose keys are taken one by one so that none passes unnoticed.
struct Section<'a> {
    path: String,
    table: toml::Table,
    known: BTreeSet<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Section<'_> {
    fn mistake(&mut self, key: &str, message: String) {
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.mistakes.push(Mistake { key, message });
    }

    fn check<T>(&mut self, key: &'static str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.mistake(key, message)).ok()
    }

    fn string(&mut self, key: &'static str) -> Option<Result<String, String>> {
        self.known.insert(key);
        self.table.get(key).map(|value| match value {
            toml::Value::String(text) => Ok(text.clone()),
            other => Err(format!("it is of type {}; allowed is a string", other.type_str())),
        })
    }

    fn required<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.string(key).unwrap_or_else(|| Err("it is missing; there is no default".to_owned()));
        self.check(key, given.and_then(|text| parse(&text)))
    }

    fn text<T>(&mut self, key: &'static str, default: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.string(key).unwrap_or_else(|| Ok(default.to_owned()));
        self.check(key, given.and_then(|text| parse(&text)))
    }

    fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.string(key)?;
        self.check(key, given.and_then(|text| parse(&text)))
    }

    fn integer<T>(&mut self, key: &'static str, default: i64, parse: impl Fn(i64) -> Result<T, String>) -> Option<T> {
        self.known.insert(key);
        let given = match self.table.get(key) {
            None => Ok(default),
            Some(toml::Value::Integer(number)) => Ok(*number),
            Some(other) => Err(format!("it is of type {}; allowed is an integer", other.type_str())),
        };
        self.check(key, given.and_then(parse))
    }

    fn flag(&mut self, key: &'static str, default: bool) -> Option<bool> {
        self.known.insert(key);
        let given = match self.table.get(key) {
            None => Ok(default),
            Some(toml::Value::Boolean(flag)) => Ok(*flag),
            Some(other) => Err(format!("it is of type {}; allowed are true and false", other.type_str())),
        };
        self.check(key, given)
    }

    /// A list of texts, empty if it is not given.
    fn texts<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        self.known.insert(key);
        let items = match self.table.get(key) {
            None => Ok(Vec::new()),
            Some(toml::Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    toml::Value::String(text) => parse(text),
                    other => Err(format!("it holds something of type {}; allowed are strings", other.type_str())),
                })
                .collect(),
            Some(other) => Err(format!("it is of type {}; allowed is a list of strings", other.type_str())),
        };
        self.check(key, items)
    }

    /// A list of tables, `[[key]]`, empty if it is not given.
    fn sections<T>(&mut self, key: &'static str, read: impl Fn(&mut Section<'_>) -> T) -> Vec<T> {
        self.known.insert(key);
        let items = match self.table.get(key) {
            None => Vec::new(),
            Some(toml::Value::Array(items)) => items.clone(),
            Some(other) => vec![other.clone()],
        };
        let mut values = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let toml::Value::Table(table) = item else {
                self.mistake(key, format!("it is of type {}; allowed are sections [[{key}]]", item.type_str()));
                continue;
            };
            let path = format!("{key}[{index}]");
            let mut section = Section { path, table, known: BTreeSet::new(), mistakes: self.mistakes };
            values.push(read(&mut section));
            section.reject_unknown();
        }
        values
    }

    fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        self.known.insert(key);
        let table = match self.table.get(key) {
            None => toml::Table::new(),
            Some(toml::Value::Table(table)) => table.clone(),
            Some(other) => {
                let message = format!("it is of type {}; allowed is a section [{key}]", other.type_str());
                self.mistake(key, message);
                toml::Table::new()
            }
        };
        let mut section = Section { path: key.to_owned(), table, known: BTreeSet::new(), mistakes: self.mistakes };
        let value = read(&mut section);
        section.reject_unknown();
        value
    }

    fn reject_unknown(&mut self) {
        let known: Vec<_> = self.known.iter().copied().collect();
        let unknown: Vec<_> = self.table.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
        for key in unknown {
            self.mistake(&key, format!("it is not a known key; allowed here are {}", known.join(", ")));
        }
    }
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
        assert!(message("name = \"a\"\n[server]\nline = \"20.6\"").contains("allowed are 23.10, 24.10"));
        assert!(message("name = \"a\"\n[server]\ncpu = 1000").contains("256, 512, 1024"));
        assert!(message("name = \"a\"\n[server]\ncpu = 256\nmemory = 4096").contains("2048"));
        assert!(message("name = \"a\"\n[network]\ncidr = \"10.20.1.0/16\"").contains("first address"));
    }
}
