//! The server's options, from its environment and its configuration file. A name that the line does not know ends the
//! server (observed §8, lines §F, observed-25 §C).

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::line::{Line, MissingConfig};
use super::members::Endpoint;

use Line::{V21_10, V22_10, V23_10, V24_10, V25_0, V26_1};

/// Options with the first and the last line that knows them (contract §5.2; `CHUNK_SIZE`: observed-25 §G). The order is
/// that of the server's own hints.
const KNOWN: &[(Line, Line, &str)] = &[
    (V21_10, V26_1, "HELP CONFIG VERSION WHAT_IF LOG LOG_LEVEL LOG_CONSOLE_FORMAT LOG_FILE_SIZE LOG_FILE_INTERVAL
        LOG_FILE_RETENTION_COUNT DISABLE_LOG_FILE LOG_HTTP_REQUESTS LOG_FAILED_AUTHENTICATION_ATTEMPTS STATS_PERIOD_SEC
        WORKER_THREADS ENABLE_TRUSTED_AUTH ALLOW_UNKNOWN_OPTIONS INSECURE DEV REMOVE_DEV_CERTS"),
    (V21_10, V25_0, "DISABLE_FIRST_LEVEL_HTTP_AUTHORIZATION"),
    (V23_10, V26_1, "TELEMETRY_OPTOUT ALLOW_ANONYMOUS_ENDPOINT_ACCESS ALLOW_ANONYMOUS_STREAM_ACCESS
        OVERRIDE_ANONYMOUS_ENDPOINT_ACCESS_FOR_GOSSIP DEFAULT_ADMIN_PASSWORD DEFAULT_OPS_PASSWORD ENABLE_UNIX_SOCKET
        CERTIFICATE_PRIVATE_KEY_PASSWORD"),
    (V21_10, V26_1, "CERTIFICATE_FILE CERTIFICATE_PRIVATE_KEY_FILE CERTIFICATE_PASSWORD TRUSTED_ROOT_CERTIFICATES_PATH
        CERTIFICATE_RESERVED_NODE_COMMON_NAME CERTIFICATE_STORE_LOCATION CERTIFICATE_STORE_NAME CERTIFICATE_SUBJECT_NAME
        CERTIFICATE_THUMBPRINT TRUSTED_ROOT_CERTIFICATE_STORE_LOCATION TRUSTED_ROOT_CERTIFICATE_STORE_NAME
        TRUSTED_ROOT_CERTIFICATE_SUBJECT_NAME TRUSTED_ROOT_CERTIFICATE_THUMBPRINT"),
    // Since 24.10.12 and 26.0.2, and on no 25 (contract §4.4); this 24.10 is 24.10.4.
    (V26_1, V26_1, "DISABLE_CLIENT_AUTH_EKU_VALIDATION"),
    (V21_10, V26_1, "CLUSTER_SIZE NODE_PRIORITY DISCOVER_VIA_DNS CLUSTER_DNS CLUSTER_GOSSIP_PORT GOSSIP_SEED
        GOSSIP_INTERVAL_MS GOSSIP_ALLOWED_DIFFERENCE_MS GOSSIP_TIMEOUT_MS READ_ONLY_REPLICA UNSAFE_ALLOW_SURPLUS_NODES
        DEAD_MEMBER_REMOVAL_PERIOD_SEC LEADER_ELECTION_TIMEOUT_MS PREPARE_TIMEOUT_MS COMMIT_TIMEOUT_MS WRITE_TIMEOUT_MS"),
    (V21_10, V22_10, "PREPARE_COUNT COMMIT_COUNT"),
    (V21_10, V26_1, "DB INDEX MEM_DB SKIP_DB_VERIFY SKIP_INDEX_VERIFY CHUNK_SIZE CHUNKS_CACHE_SIZE CACHED_CHUNKS
        MIN_FLUSH_DELAY_MS MAX_TRUNCATION INITIALIZATION_THREADS READER_THREADS_COUNT STREAM_EXISTENCE_FILTER_SIZE
        STREAM_INFO_CACHE_CAPACITY UNSAFE_DISABLE_FLUSH_TO_DISK WRITE_THROUGH UNBUFFERED CHUNK_INITIAL_READER_COUNT
        REDUCE_FILE_CACHE_PRESSURE"),
    (V21_10, V24_10, "OPTIMIZE_INDEX_MERGE ALWAYS_KEEP_SCAVENGED"),
    (V23_10, V26_1, "REPLICATION_IP NODE_IP REPLICATION_PORT NODE_PORT NODE_HOST_ADVERTISE_AS
        REPLICATION_HOST_ADVERTISE_AS NODE_PORT_ADVERTISE_AS REPLICATION_TCP_PORT_ADVERTISE_AS
        ADVERTISE_NODE_PORT_TO_CLIENT_AS REPLICATION_HEARTBEAT_INTERVAL REPLICATION_HEARTBEAT_TIMEOUT"),
    (V21_10, V26_1, "ADVERTISE_HOST_TO_CLIENT_AS ENABLE_ATOM_PUB_OVER_HTTP DISABLE_ADMIN_UI DISABLE_STATS_ON_HTTP
        DISABLE_GOSSIP_ON_HTTP RUN_PROJECTIONS START_STANDARD_PROJECTIONS"),
    (V21_10, V24_10, "EXT_IP INT_IP HTTP_PORT INT_TCP_PORT INT_HOST_ADVERTISE_AS HTTP_PORT_ADVERTISE_AS
        INT_TCP_PORT_ADVERTISE_AS ADVERTISE_HTTP_PORT_TO_CLIENT_AS DISABLE_INTERNAL_TCP_TLS GOSSIP_ON_SINGLE_NODE
        INT_TCP_HEARTBEAT_INTERVAL INT_TCP_HEARTBEAT_TIMEOUT"),
    (V21_10, V23_10, "EXT_HOST_ADVERTISE_AS ENABLE_EXTERNAL_TCP EXT_TCP_PORT EXT_TCP_PORT_ADVERTISE_AS
        ADVERTISE_TCP_PORT_TO_CLIENT_AS EXT_TCP_HEARTBEAT_INTERVAL EXT_TCP_HEARTBEAT_TIMEOUT DISABLE_EXTERNAL_TCP_TLS"),
    (V23_10, V23_10, "NODE_TCP_PORT NODE_HEARTBEAT_INTERVAL NODE_HEARTBEAT_TIMEOUT"),
];

/// What the stand-in does something with; the other options are accepted and have no effect.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are options that are true or false")]
pub(super) struct Options {
    pub(super) line: Line,
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    /// Where other nodes find this one, which is also its name among them.
    pub(super) own_name: Endpoint,
    /// Whether the host above was given, and is not a guess.
    pub(super) advertises: bool,
    /// Where clients are told to find it.
    pub(super) for_clients: Endpoint,
    pub(super) replication: Endpoint,
    pub(super) cluster_size: usize,
    pub(super) discovery: Discovery,
    pub(super) priority: i64,
    pub(super) allow_surplus_nodes: bool,
    pub(super) what_if: bool,
    /// Without TLS, authentication and authorization; everybody is `system` (contract §4.5; not observed).
    pub(super) is_insecure: bool,
    /// Follows and has no vote (contract §3.2, §6; not observed).
    pub(super) is_read_only_replica: bool,
    pub(super) db: PathBuf,
    /// This and the other files are empty names in insecure mode.
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    pub(super) private_key_password: Option<Secret>,
    pub(super) roots: PathBuf,
    pub(super) reserved_common_name: Option<String>,
    pub(super) ignores_client_usage: bool,
    pub(super) first_passwords: FirstPasswords,
    /// Names and values as they were given, without secrets.
    pub(super) shown: Vec<(String, String)>,
    /// What the server says about its options and goes on.
    pub(super) warnings: Vec<String>,
}

/// How a node finds others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    Alone,
    /// All addresses of this name; resolved until it works once, and never again (contract §6).
    Dns(Endpoint),
    Seeds(Vec<Endpoint>),
}

/// A value that is not shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The passwords of a new database.
#[derive(Clone, Debug)]
pub(super) struct FirstPasswords {
    pub(super) admin: Secret,
    pub(super) ops: Secret,
}

/// Why a server does not start, with what it prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Exit code 1.
    Exit(Vec<String>),
    /// SIGABRT.
    Abort(Vec<String>),
}

impl Refusal {
    pub(super) fn exit(line: impl Into<String>) -> Self {
        Self::Exit(vec![line.into()])
    }
}

/// An option as it was given.
struct Given {
    value: String,
    from_environment: bool,
}

impl Options {
    /// Reads the environment and the configuration file. `root` is where the default places are, `/` on a server.
    ///
    /// # Errors
    ///
    /// How the server ends.
    pub(super) fn read(
        line: Line,
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Refusal> {
        let known = known_to(line);
        let mut warnings = Vec::new();
        let environment = own_variables(line, environment, &mut warnings);
        let mut given: BTreeMap<String, Given> = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut take_in = |name: &str, value: String, from_environment: bool| {
            let key = normal(name);
            if known.iter().any(|known| normal(known) == key) {
                // Whoever comes first wins.
                given.entry(key).or_insert(Given { value, from_environment });
            } else if !(name.contains("__") && line.reads_prefix_in_any_case()) {
                unknown.push(not_known(line, name, &known));
            }
        };
        let mut config = None;
        for (name, value) in environment {
            if normal(&name) == "config" {
                config.get_or_insert_with(|| PathBuf::from(&value));
            }
            take_in(&name, value, true);
        }
        for (name, value) in config_file(line, root, config.as_deref(), &mut warnings)? {
            take_in(&name, value, false);
        }
        let shown = known
            .iter()
            .filter_map(|name| Some((pascal_case(name), given.get(&normal(name))?.value.clone())))
            .map(|(name, value)| if name.contains("Password") { (name, "********".to_owned()) } else { (name, value) })
            .collect();
        let mut taken = Taken(given);
        if !unknown.is_empty() && !taken.is_true("allowunknownoptions") {
            unknown.push("Found unknown options. To continue anyway, set AllowUnknownOptions to true.".to_owned());
            return Err(Refusal::Exit(unknown));
        }
        warnings.extend(unknown);
        taken.build(line, root, shown, warnings)
    }
}

/// Whether a server of the line would start with these variables, as far as its options decide; what it warns of, for
/// example that a name is an old one. The places that they name need not exist.
///
/// # Errors
///
/// What the server would print before it ends.
pub fn check_options(
    line: Line,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<String>, Vec<String>> {
    match Options::read(line, Path::new("/nowhere"), environment) {
        Ok(options) => Ok(options.warnings),
        Err(Refusal::Exit(said) | Refusal::Abort(said)) => Err(said),
    }
}

/// The variables with the line's prefix, without it; those that win come first.
fn own_variables(
    line: Line,
    environment: impl IntoIterator<Item = (String, String)>,
    warnings: &mut Vec<String>,
) -> Vec<(String, String)> {
    let stripped = |name: &str, prefix: &str| {
        let (head, tail) = name.split_at_checked(prefix.len())?;
        let fits = if line.reads_prefix_in_any_case() { head.eq_ignore_ascii_case(prefix) } else { head == prefix };
        fits.then(|| tail.to_owned())
    };
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for (name, value) in environment {
        if let Some(name) = stripped(&name, "KURRENTDB_").filter(|_| line.is_kurrent()) {
            new.push((name, value));
        } else if let Some(name) = stripped(&name, "EVENTSTORE_") {
            old.push((name, value));
        }
    }
    if line.is_kurrent() && !old.is_empty() {
        warnings.push("The \"EventStore\" configuration root has been deprecated and renamed to \"KurrentDB\". The following settings will still be used, but will stop working in a future release:".to_owned());
        warnings.extend(old.iter().map(|(name, _)| format!("EventStore:{}", pascal_case(name))));
    }
    new.extend(old);
    new
}

/// Names and values of the configuration file: `Name: value`, one a line. That is all the YAML which options need.
fn config_file(
    line: Line,
    root: &Path,
    named: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, String)>, Refusal> {
    let text = if let Some(path) = named {
        match (fs::read_to_string(path), line.without_config_file()) {
            (Ok(text), _) => text,
            (Err(_), None) => String::new(),
            (Err(_), Some(how)) => {
                let said = format!("The configuration file '{}' was not found and is not optional.", path.display());
                return Err(match how {
                    MissingConfig::Exit => Refusal::exit(said),
                    MissingConfig::Abort => Refusal::Abort(vec![said]),
                });
            }
        }
    } else {
        let places = line.default_places();
        let found =
            places.iter().find_map(|places| fs::read_to_string(root.join(places.config)).ok().zip(Some(places)));
        match found {
            None => String::new(),
            Some((text, used)) => {
                if used.config != places[0].config {
                    warnings.push(format!("The legacy default configuration file \"/{}\" is used.", used.config));
                }
                text
            }
        }
    };
    let pairs = text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
    let pairs = pairs.filter(|line| !line.is_empty() && !line.starts_with('#') && *line != "---");
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
    };
    pairs
        .map(|line| pair(line).ok_or_else(|| Refusal::exit(format!("The configuration file has the line {line}."))))
        .collect()
}

/// Options that were given, by their normal names; each is taken once.
struct Taken(BTreeMap<String, Given>);

impl Taken {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|given| given.value)
    }

    fn first_of(&mut self, names: &[&str]) -> Option<String> {
        let mut found = names.iter().map(|name| self.take(name)).collect::<Vec<_>>();
        found.iter_mut().find_map(Option::take)
    }

    fn is_true(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number<T: std::str::FromStr>(&mut self, names: &[&str], default: T) -> Result<T, Refusal> {
        let Some(value) = self.first_of(names) else { return Ok(default) };
        value.parse().map_err(|_| Refusal::exit(format!("{value} is not a value for {}.", names[0])))
    }

    /// Passwords come from the environment alone (contract §2).
    fn first_password(&mut self, name: &str, shown: &str) -> Result<Secret, Refusal> {
        match self.0.remove(name) {
            Some(given) if !given.from_environment => Err(Refusal::exit(format!(
                "Invalid Option \"{shown}\" Provided by: Configuration File. The password can only be set using Environment Variables"
            ))),
            given => Ok(Secret(given.map_or_else(|| "changeit".to_owned(), |given| given.value))),
        }
    }

    fn build(
        mut self,
        line: Line,
        root: &Path,
        shown: Vec<(String, String)>,
        mut warnings: Vec<String>,
    ) -> Result<Options, Refusal> {
        let (is_insecure, is_read_only_replica) = (self.is_true("insecure"), self.is_true("readonlyreplica"));
        let cluster_size = self.number(&["clustersize"], 1)?;
        if is_insecure && cluster_size > 1 {
            return Err(Refusal::exit("the stand-in runs insecure alone, and not in a cluster"));
        }
        if is_read_only_replica && cluster_size <= 1 {
            return Err(Refusal::exit(
                "This node cannot be configured as a Read Only Replica as these node types are only supported in a clustered configuration.",
            ));
        }
        let ip: IpAddr = self.number(&["nodeip", "extip"], IpAddr::from([127, 0, 0, 1]))?;
        let port = self.number(&["nodeport", "httpport"], 2113)?;
        let given_host = self.first_of(&["nodehostadvertiseas", "exthostadvertiseas"]);
        let advertises = given_host.is_some();
        let host = given_host.unwrap_or_else(|| default_host(ip, cluster_size));
        let own_name = Endpoint { host, port: self.number(&["nodeportadvertiseas", "httpportadvertiseas"], port)? };
        let client_host = self.take("advertisehosttoclientas").unwrap_or_else(|| own_name.host.clone());
        let client_port =
            self.number(&["advertisenodeporttoclientas", "advertisehttpporttoclientas"], own_name.port)?;
        let replication_host = self.first_of(&["replicationhostadvertiseas", "inthostadvertiseas"]);
        let replication = Endpoint {
            host: replication_host.unwrap_or_else(|| own_name.host.clone()),
            port: self.number(&["replicationport", "inttcpport"], 1112)?,
        };
        let discovery = self.discovery(line, cluster_size)?;
        let needed = |given: Option<String>, missing: &str| match given {
            None if !is_insecure => Err(Refusal::exit(missing)),
            given => Ok(PathBuf::from(given.unwrap_or_default())),
        };
        let no_certificate = "A certificate is required unless insecure mode (--insecure) is set.";
        let no_roots = "TrustedRootCertificatesPath must be specified unless insecure mode (--insecure) is set.";
        let first_passwords = FirstPasswords {
            admin: self.first_password("defaultadminpassword", "DefaultAdminPassword")?,
            ops: self.first_password("defaultopspassword", "DefaultOpsPassword")?,
        };
        for (name, password) in [("admin", &first_passwords.admin), ("ops", &first_passwords.ops)] {
            if is_insecure && password.0 != "changeit" {
                return Err(Refusal::exit(format!(
                    "Cannot set default {name} password when not using the internal authentication."
                )));
            }
        }
        let roots = self.take("trustedrootcertificatespath").or_else(|| {
            line.default_roots().map(|path| root.join(path.trim_start_matches('/')).to_string_lossy().into_owned())
        });
        Ok(Options {
            line,
            ip,
            port,
            own_name,
            advertises,
            for_clients: Endpoint { host: client_host, port: client_port },
            replication,
            cluster_size,
            discovery,
            priority: self.number(&["nodepriority"], 0)?,
            allow_surplus_nodes: self.is_true("unsafeallowsurplusnodes"),
            what_if: self.is_true("whatif"),
            db: data_directory(line, root, self.take("db"), &mut warnings),
            is_insecure,
            is_read_only_replica,
            certificate: needed(self.take("certificatefile"), no_certificate)?,
            private_key: needed(self.take("certificateprivatekeyfile"), no_certificate)?,
            private_key_password: self.take("certificateprivatekeypassword").map(Secret),
            roots: needed(roots, no_roots)?,
            reserved_common_name: self
                .take("certificatereservednodecommonname")
                .filter(|name| !name.is_empty())
                .or_else(|| line.reserved_common_name().map(str::to_owned)),
            ignores_client_usage: self.is_true("disableclientauthekuvalidation"),
            first_passwords,
            shown,
            warnings,
        })
    }

    fn discovery(&mut self, line: Line, cluster_size: usize) -> Result<Discovery, Refusal> {
        let via_dns = self.take("discoverviadns").is_none_or(|value| value.eq_ignore_ascii_case("true"));
        let dns = Endpoint {
            host: self.take("clusterdns").unwrap_or_else(|| "fake.dns".to_owned()),
            port: self.number(&["clustergossipport"], 2113)?,
        };
        let seeds = self.take("gossipseed").unwrap_or_default();
        let seeds = seeds.split(',').map(str::trim).filter(|seed| !seed.is_empty());
        let seeds: Option<Vec<_>> = seeds.map(Endpoint::parse).collect();
        let seeds = seeds.ok_or_else(|| Refusal::exit("You must specify the ports in the gossip seed"))?;
        if cluster_size <= 1 {
            // contract §6.
            return if seeds.len() > 1 && line >= V24_10 {
                Err(Refusal::exit("A single node cannot have more than one gossip seed."))
            } else {
                Ok(Discovery::Alone)
            };
        }
        match (via_dns, seeds.is_empty()) {
            (true, _) => Ok(Discovery::Dns(dns)),
            (false, false) => Ok(Discovery::Seeds(seeds)),
            (false, true) => Err(Refusal::exit(
                "DNS discovery is disabled, but no gossip seed endpoints have been specified. Specify gossip seeds using the `GossipSeed` option.",
            )),
        }
    }
}

/// The place that was named; else the first default place, or that of an older line if only it exists. The warning comes
/// also when the place was named (observed-25 §C).
fn data_directory(line: Line, root: &Path, named: Option<String>, warnings: &mut Vec<String>) -> PathBuf {
    let places = line.default_places();
    let own = root.join(places[0].data);
    let legacy = places.get(1).map(|places| root.join(places.data)).filter(|legacy| legacy.exists() && !own.exists());
    if let Some(legacy) = &legacy {
        warnings.push(format!(
            "\"KurrentDB:Db\": The default location \"{}\" was not found, using the legacy default location \"{}\".",
            own.display(),
            legacy.display()
        ));
    }
    named.map_or_else(|| legacy.unwrap_or(own), PathBuf::from)
}

/// Bound to all addresses, a single node advertises the loopback address, and a member the first other address of its
/// machine (contract §6); here that from which packets would leave.
fn default_host(ip: IpAddr, cluster_size: usize) -> String {
    let first_other = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        // Nothing is sent; the address is one for documentation.
        socket.connect(("192.0.2.1", 9)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    match (ip.is_unspecified(), cluster_size) {
        (false, _) => ip.to_string(),
        (true, 0 | 1) => "127.0.0.1".to_owned(),
        (true, _) => first_other().unwrap_or_else(|| "127.0.0.1".to_owned()),
    }
}

fn known_to(line: Line) -> Vec<&'static str> {
    let of_line = KNOWN.iter().filter(|(first, last, _)| (*first..=*last).contains(&line));
    of_line.flat_map(|(_, _, names)| names.split_whitespace()).collect()
}

/// Names are compared without underscores and case.
fn normal(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_ascii_lowercase()
}

fn not_known(line: Line, name: &str, known: &[&str]) -> String {
    let shown = pascal_case(name);
    let hint = if line.hints_at_options() {
        let known = known.iter().map(|known| pascal_case(known));
        known.min_by_key(|known| distance(&shown, known)).map(|hint| format!(" Did you mean {hint}?"))
    } else {
        None
    };
    let quoted = if line == V23_10 { format!("\"{shown}\"") } else { shown };
    format!("The option {quoted} is not a known option.{}", hint.unwrap_or_default())
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<_> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

/// A name in a file is written in this form already.
fn pascal_case(option: &str) -> String {
    if !option.contains('_')
        && option.chars().any(|c| c.is_ascii_lowercase())
        && !option.starts_with(char::is_lowercase)
    {
        return option.to_owned();
    }
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + &letters.as_str().to_ascii_lowercase()
        })
    };
    option.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    fn read_in(root: &Path, line: Line, given: &[(&str, &str)]) -> Result<Options, Refusal> {
        let prefix = if line.is_kurrent() { "KURRENTDB_" } else { "EVENTSTORE_" };
        let needed =
            [("CERTIFICATE_FILE", "c"), ("CERTIFICATE_PRIVATE_KEY_FILE", "k"), ("TRUSTED_ROOT_CERTIFICATES_PATH", "r")];
        let needed = needed.map(|(name, value)| (format!("{prefix}{name}"), value.to_owned()));
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Options::read(line, root, given.chain(needed))
    }

    fn read(line: Line, given: &[(&str, &str)]) -> Result<Options, Refusal> {
        read_in(Path::new("/nowhere"), line, given)
    }

    /// lines §F, observed §8, observed-25 §C; the columns of 21.10, 25.1 and 26.1: contract §5.2. One letter a line, 21.10
    /// first: accepted, fatal, or ignored.
    const TABLE: &[(&str, &str)] = &[
        ("EVENTSTORE_EXT_IP", "aaaafff"),
        ("EVENTSTORE_INT_IP", "aaaafff"),
        ("EVENTSTORE_HTTP_PORT", "aaaafff"),
        ("EVENTSTORE_INT_TCP_PORT", "aaaafff"),
        ("EVENTSTORE_NODE_IP", "ffaaaaa"),
        ("EVENTSTORE_NODE_PORT", "ffaaaaa"),
        ("EVENTSTORE_REPLICATION_IP", "ffaaaaa"),
        ("EVENTSTORE_REPLICATION_PORT", "ffaaaaa"),
        ("EVENTSTORE_NODE_HOST_ADVERTISE_AS", "ffaaaaa"),
        ("EVENTSTORE_REPLICATION_HOST_ADVERTISE_AS", "ffaaaaa"),
        ("EVENTSTORE_EXT_HOST_ADVERTISE_AS", "aaaffff"),
        ("EVENTSTORE_INT_HOST_ADVERTISE_AS", "aaaafff"),
        ("EVENTSTORE_ADVERTISE_HOST_TO_CLIENT_AS", "aaaaaaa"),
        ("EVENTSTORE_ENABLE_EXTERNAL_TCP", "aaaffff"),
        ("EVENTSTORE_PREPARE_COUNT", "aafffff"),
        ("EVENTSTORE_COMMIT_COUNT", "aafffff"),
        ("EVENTSTORE_DEFAULT_ADMIN_PASSWORD", "ffaaaaa"),
        ("EVENTSTORE_TELEMETRY_OPTOUT", "ffaaaaa"),
        ("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_PASSWORD", "ffaaaaa"),
        ("EVENTSTORE_GOSSIP_ON_SINGLE_NODE", "aaaafff"),
        ("EVENTSTORE_MY_THING", "fffffff"),
        ("EVENTSTORE_MY__THING", "fffaaaa"),
        ("eventstore_bogus", "iiiffff"),
        ("KURRENTDB_MY_THING", "iiiifff"),
        ("KURRENTDB_MY__THING", "iiiiaaa"),
        ("kurrentdb_bogus", "iiiifff"),
        ("EVENTSTORE_UNSAFE_ALLOW_SURPLUS_NODES", "aaaaaaa"),
        ("EVENTSTORE_STREAM_EXISTENCE_FILTER_SIZE", "aaaaaaa"),
        ("EVENTSTORE_ENABLE_ATOM_PUB_OVER_HTTP", "aaaaaaa"),
        ("EVENTSTORE_MEM_DB", "aaaaaaa"),
        ("EVENTSTORE_DISABLE_CLIENT_AUTH_EKU_VALIDATION", "ffffffa"),
        ("PATH", "iiiiiii"),
    ];

    #[test]
    fn each_line_knows_its_options() {
        for (name, by_line) in TABLE {
            let value = match *name {
                name if name.ends_with("_IP") => "127.0.0.1",
                name if name.ends_with("_PORT") => "2114",
                _ => "x",
            };
            for (line, expected) in Line::value_variants().iter().zip(by_line.chars()) {
                let read = read(*line, &[(name, value)]);
                assert_eq!(read.is_err(), expected == 'f', "{name} on {line:?}: {read:?}");
                if let Err(Refusal::Exit(said)) = read {
                    assert!(said[1].starts_with("Found unknown options."), "{said:?}");
                }
            }
        }
    }

    #[test]
    fn an_insecure_server_needs_no_certificate_and_has_no_first_passwords() {
        let alone = |more: &[(&str, &str)]| {
            let given = [&[("EVENTSTORE_INSECURE", "true")], more].concat();
            let given = given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            Options::read(V24_10, Path::new("/nowhere"), given)
        };
        assert!(alone(&[]).unwrap().is_insecure);
        assert!(alone(&[("EVENTSTORE_DEFAULT_OPS_PASSWORD", "x")]).is_err());
        assert!(Options::read(V24_10, Path::new("/nowhere"), []).is_err(), "a secure one needs it");
        assert!(read(V24_10, &[("EVENTSTORE_READ_ONLY_REPLICA", "true")]).is_err(), "a replica of nobody");
    }

    #[test]
    fn hints_are_those_of_the_server() {
        for (name, said) in [
            ("KURRENTDB_MY_THING", "The option MyThing is not a known option. Did you mean Config?"),
            ("EVENTSTORE_EXT_IP", "The option ExtIp is not a known option. Did you mean Help?"),
            ("EVENTSTORE_HTTP_PORT", "The option HttpPort is not a known option. Did you mean NodePort?"),
            (
                "EVENTSTORE_EXT_HOST_ADVERTISE_AS",
                "The option ExtHostAdvertiseAs is not a known option. Did you mean NodeHostAdvertiseAs?",
            ),
        ] {
            let Err(Refusal::Exit(lines)) = read(Line::V25_1, &[(name, "1")]) else { panic!("{name} was accepted") };
            assert_eq!(lines[0], said);
        }
        let Err(Refusal::Exit(lines)) = read(V23_10, &[("EVENTSTORE_MY__THING", "1")]) else { panic!("accepted") };
        assert!(lines[0].starts_with("The option \"MyThing\" is not a known option"), "{lines:?}");
    }

    #[test]
    fn names_are_read_without_underscores_and_may_be_unknown_on_request() {
        assert_eq!(read(V24_10, &[("EVENTSTORE_NODEPORT", "2114")]).unwrap().port, 2114);
        assert!(read(V24_10, &[("EVENTSTORE_ALLOW_UNKNOWN_OPTIONS", "true"), ("EVENTSTORE_X", "1")]).is_ok());
    }

    #[test]
    fn the_new_prefix_wins() {
        let both = [("EVENTSTORE_NODE_PORT", "2913"), ("KURRENTDB_NODE_PORT", "2813")];
        let read = read(Line::V25_1, &both).unwrap();
        assert_eq!(read.port, 2813);
        assert!(read.warnings[0].contains("has been deprecated and renamed"), "{:?}", read.warnings);
    }

    #[test]
    fn a_cluster_needs_to_know_where_the_others_are() {
        let size = ("EVENTSTORE_CLUSTER_SIZE", "3");
        let no_dns = ("EVENTSTORE_DISCOVER_VIA_DNS", "false");
        assert!(read(V24_10, &[size, no_dns]).is_err());
        let seeds = ("EVENTSTORE_GOSSIP_SEED", "a:1,b:2");
        let found = read(V24_10, &[size, no_dns, seeds]).unwrap().discovery;
        assert!(matches!(found, Discovery::Seeds(seeds) if seeds.len() == 2));
        let found = read(V24_10, &[size, seeds]).unwrap().discovery;
        assert!(matches!(found, Discovery::Dns(name) if name.host == "fake.dns"), "seeds are ignored");
        assert!(read(V24_10, &[size, no_dns, ("EVENTSTORE_GOSSIP_SEED", "a")]).is_err(), "a seed has a port");
    }

    #[test]
    fn a_missing_configuration_file_ends_it_as_the_line_does() {
        let named = [("EVENTSTORE_CONFIG", "/nowhere/at.all")];
        assert!(read(V22_10, &named).is_ok());
        assert!(matches!(read(V23_10, &named), Err(Refusal::Exit(_))));
        for line in [V24_10, V25_0, V26_1] {
            assert!(matches!(read(line, &named), Err(Refusal::Abort(_))));
        }
    }

    #[test]
    fn a_configuration_file_is_read_and_the_environment_wins() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("server.conf");
        fs::write(&path, "---\n# comment\nNodePort: 2200\nClusterDns: \"a.b\"\n").unwrap();
        let named = ("EVENTSTORE_CONFIG", path.to_str().unwrap());
        assert_eq!(read(V24_10, &[named]).unwrap().port, 2200);
        assert_eq!(read(V24_10, &[named, ("EVENTSTORE_NODE_PORT", "2300")]).unwrap().port, 2300);
        fs::write(&path, "NodeBogus: 1\n").unwrap();
        assert!(read(V24_10, &[named]).is_err());
        fs::write(&path, "DefaultAdminPassword: x\n").unwrap();
        assert!(read(V24_10, &[named]).is_err(), "a password in a file");
    }

    /// observed-25 §C, the rows about `/var/lib`.
    #[test]
    fn the_legacy_directory_is_used_if_only_it_exists() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join("var/lib").join(name);
        assert_eq!(read_in(root.path(), V25_0, &[]).unwrap().db, at("kurrentdb"));
        fs::create_dir_all(at("eventstore")).unwrap();
        let legacy = read_in(root.path(), V25_0, &[]).unwrap();
        assert_eq!(legacy.db, at("eventstore"));
        assert!(legacy.warnings[0].contains("using the legacy default location"));
        let named = read_in(root.path(), V25_0, &[("KURRENTDB_DB", "/named")]).unwrap();
        assert_eq!((named.db.as_path(), named.warnings.len()), (Path::new("/named"), 1), "and says so all the same");
        fs::create_dir_all(at("kurrentdb")).unwrap();
        let empty = read_in(root.path(), V25_0, &[]).unwrap();
        assert_eq!((empty.db, empty.warnings.len()), (at("kurrentdb"), 0), "the old database is silently ignored");
        assert_eq!(read_in(root.path(), V24_10, &[]).unwrap().db, at("eventstore"));
    }
}
