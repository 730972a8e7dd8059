//! The command line becomes settings, or a list of all that is wrong with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::line::Line;
use super::wire::Login;

const ADMIN_VARIABLE: &str = "CONTRACT_ADMIN_PASSWORD";
const OPS_VARIABLE: &str = "CONTRACT_OPS_PASSWORD";
/// What the built-in users of a new database have (contract §2).
const DEFAULT_PASSWORD: &str = "changeit";

/// Asks running EventStoreDB or KurrentDB servers whether they do what the documents say.
///
/// Plain HTTP and TLS from one process. Give the servers of one cluster, or one single node. Without consent nothing but
/// GET, HEAD and OPTIONS is sent. With it, users called contract-suite-… come and go, and all of them are deleted at the
/// end; the built-in users are not changed. Results go to stdout, one line for each check; everything else to stderr.
///
/// Passwords are not arguments: `CONTRACT_ADMIN_PASSWORD` and `CONTRACT_OPS_PASSWORD`, or a file for each; else `changeit`.
///
/// Exit codes: 0 all that was asked holds; 1 something does not; 2 the command line or a password is wrong; 69 a server
/// was not reachable or not ready; 128 and the signal's number if a signal ended the run.
#[derive(Debug, Parser)]
#[command(name = "contract", version, max_term_width = 120)]
struct Cli {
    /// A server, by a name in its certificate; once for each node of a cluster.
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,

    /// The servers' line: 21.10, 22.10, 23.10, 24.10, 25.0, 25 (or 25.1), 26 (or 26.1).
    #[arg(long, value_name = "LINE")]
    line: Option<String>,

    /// Trusted roots, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// A node's certificate, PEM, to be shown as a client's.
    #[arg(long, value_name = "FILE")]
    node_certificate: Option<PathBuf>,

    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    node_key: Option<PathBuf>,

    /// File with the password of admin; one line end after it does not count.
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,

    /// File with the password of ops.
    #[arg(long, value_name = "FILE")]
    ops_password_file: Option<PathBuf>,

    /// The address of a server's name, where the system does not know it.
    #[arg(long = "resolve", value_name = "NAME=IP")]
    resolve: Vec<String>,

    /// Users may be created, changed and deleted on these servers.
    #[arg(long)]
    i_consent_to_changing_users: bool,

    /// Only checks whose id contains this.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,

    /// List the checks and ask nobody.
    #[arg(long)]
    list: bool,

    /// One JSON object for each check on stdout.
    #[arg(long)]
    json: bool,

    /// How long a server may take to answer what it must answer.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    call_timeout: String,
}

/// What the program is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// List the checks.
    List {
        filter: String,
        json: bool,
    },
    Run(Box<Settings>),
}

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Where it is, if the system need not be asked.
    pub(super) address: Option<IpAddr>,
}

/// A certificate chain with its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The settings of a run.
pub(super) struct Settings {
    pub(super) servers: Vec<Server>,
    pub(super) line: Line,
    pub(super) roots: RootCertStore,
    pub(super) identity: Option<Identity>,
    pub(super) admin: Login,
    pub(super) ops: Login,
    pub(super) consent: bool,
    pub(super) filter: String,
    pub(super) json: bool,
    pub(super) call_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("servers", &self.servers).field("line", &self.line).finish_non_exhaustive()
    }
}

/// Reads arguments and environment.
///
/// # Errors
///
/// What clap has to say, or all mistakes.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &BTreeMap<String, String>,
) -> Result<Command, Wrong> {
    let cli = Cli::try_parse_from(arguments).map_err(Wrong::Clap)?;
    if cli.list {
        return Ok(Command::List { filter: cli.filter, json: cli.json });
    }
    settings(cli, environment).map(|settings| Command::Run(Box::new(settings))).map_err(Wrong::Mistakes)
}

/// Why there are no settings.
#[derive(Debug)]
pub(super) enum Wrong {
    Clap(clap::Error),
    Mistakes(Vec<String>),
}

fn settings(cli: Cli, environment: &BTreeMap<String, String>) -> Result<Settings, Vec<String>> {
    let mut mistakes = Mistakes(Vec::new());
    let known = mistakes.resolutions(&cli.resolve);
    mistakes.check("--server", !cli.servers.is_empty(), "not given");
    let servers: Vec<_> = cli.servers.iter().filter_map(|url| mistakes.server(url, &known)).collect();
    for (index, server) in servers.iter().enumerate() {
        if servers[..index].contains(server) {
            mistakes.check("--server", false, &format!("{}:{} is given twice", server.host, server.port));
        }
    }
    let line = mistakes.line(cli.line.as_deref());
    let roots = mistakes.roots(cli.ca.as_deref());
    let identity = mistakes.identity(cli.node_certificate.as_deref(), cli.node_key.as_deref());
    let admin =
        mistakes.password("--admin-password-file", cli.admin_password_file.as_deref(), ADMIN_VARIABLE, environment);
    let ops = mistakes.password("--ops-password-file", cli.ops_password_file.as_deref(), OPS_VARIABLE, environment);
    let call_timeout = mistakes.duration("--call-timeout", &cli.call_timeout);
    match (line, roots, call_timeout) {
        (Some(line), Some(roots), Some(call_timeout)) if mistakes.0.is_empty() => Ok(Settings {
            servers,
            line,
            roots,
            identity,
            admin: Login::new("admin", admin),
            ops: Login::new("ops", ops),
            consent: cli.i_consent_to_changing_users,
            filter: cli.filter,
            json: cli.json,
            call_timeout,
        }),
        _ => Err(mistakes.0),
    }
}

/// All that is wrong, so that one run tells everything.
struct Mistakes(Vec<String>);

impl Mistakes {
    fn check(&mut self, flag: &str, holds: bool, mistake: &str) -> bool {
        if !holds {
            self.0.push(format!("{flag}: {mistake}"));
        }
        holds
    }

    fn mistake<T>(&mut self, flag: &str, mistake: &str) -> Option<T> {
        self.check(flag, false, mistake);
        None
    }

    fn resolutions(&mut self, given: &[String]) -> BTreeMap<String, IpAddr> {
        let mut known = BTreeMap::new();
        for text in given {
            let pair = text.split_once('=').and_then(|(name, ip)| Some((name.to_owned(), ip.parse().ok()?)));
            match pair {
                Some((name, ip)) if !name.is_empty() => drop(known.insert(name, ip)),
                _ => drop(self.mistake::<()>("--resolve", &format!("`{text}` is not a name, `=` and an IP address"))),
            }
        }
        known
    }

    fn server(&mut self, url: &str, known: &BTreeMap<String, IpAddr>) -> Option<Server> {
        let wrong = format!("`{url}` is not a URL like https://node-1:2113");
        let Some(authority) = url.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)) else {
            return self.mistake("--server", &wrong);
        };
        // An IPv6 address stands in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(443)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match port {
            Some(port) if ServerName::try_from(host).is_ok() => {
                let address = known.get(host).copied().or_else(|| IpAddr::from_str(host).ok());
                Some(Server { host: host.to_owned(), port, address })
            }
            _ => self.mistake("--server", &wrong),
        }
    }

    fn line(&mut self, text: Option<&str>) -> Option<Line> {
        match text.map(|text| text.parse().map_err(|()| text)) {
            Some(Ok(line)) => Some(line),
            Some(Err(text)) => self.mistake("--line", &format!("`{text}` is not one of {}", Line::ALLOWED)),
            None => self.mistake("--line", &format!("not given; one of {}", Line::ALLOWED)),
        }
    }

    fn roots(&mut self, file: Option<&Path>) -> Option<RootCertStore> {
        let Some(file) = file else { return self.mistake("--ca", "not given") };
        let chain = self.certificates("--ca", file)?;
        let mut roots = RootCertStore::empty();
        for root in chain {
            if let Err(error) = roots.add(root) {
                return self.mistake("--ca", &format!("{}: {error}", file.display()));
            }
        }
        Some(roots)
    }

    fn certificates(&mut self, flag: &str, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
        match CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) => self.mistake(flag, &format!("{}: there is no certificate in it", file.display())),
            Err(error) => self.mistake(flag, &format!("{}: {error}", file.display())),
        }
    }

    fn identity(&mut self, certificate: Option<&Path>, key: Option<&Path>) -> Option<Identity> {
        let (certificate, key) = match (certificate, key) {
            (None, None) => return None,
            (Some(_), None) => return self.mistake("--node-key", "not given, and there is a --node-certificate"),
            (None, Some(_)) => return self.mistake("--node-certificate", "not given, and there is a --node-key"),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let chain = self.certificates("--node-certificate", certificate);
        match PrivateKeyDer::from_pem_file(key) {
            Ok(key) => chain.map(|chain| (chain, key)),
            Err(error) => self.mistake("--node-key", &format!("{}: {error}", key.display())),
        }
    }

    fn password(
        &mut self,
        flag: &str,
        file: Option<&Path>,
        variable: &str,
        environment: &BTreeMap<String, String>,
    ) -> String {
        let given = environment.get(variable);
        let Some(file) = file else { return given.cloned().unwrap_or_else(|| DEFAULT_PASSWORD.to_owned()) };
        self.check(flag, given.is_none(), &format!("there is also {variable}; give one of them"));
        match fs::read_to_string(file) {
            Ok(text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
            Err(error) => self.mistake(flag, &format!("{}: {error}", file.display())).unwrap_or_default(),
        }
    }

    fn duration(&mut self, flag: &str, text: &str) -> Option<Duration> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_mins(1)),
            _ => None,
        };
        let value = digits.parse::<u32>().ok().zip(unit).and_then(|(count, unit)| unit.checked_mul(count));
        let value = value.filter(|value| !value.is_zero() && *value <= Duration::from_mins(10));
        self.check(flag, value.is_some(), &format!("`{text}` is not a time of 1ms to 10m, for example 500ms, 15s, 1m"));
        value
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let known = BTreeMap::from([("node-1".to_owned(), "127.0.0.9".parse().unwrap())]);
        let mut mistakes = Mistakes(Vec::new());
        for (url, host, port, address) in [
            ("https://node-1:2113", "node-1", 2113, Some("127.0.0.9")),
            ("https://node-2:2113/", "node-2", 2113, None),
            ("https://db.example", "db.example", 443, None),
            ("https://10.0.0.7:2113", "10.0.0.7", 2113, Some("10.0.0.7")),
            ("https://[::1]:2113", "::1", 2113, Some("::1")),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            let expected = Server { host: host.to_owned(), port, address };
            assert_eq!(mistakes.server(url, &known), Some(expected), "{url}");
        }
        for bad in ["http://node-1:2113", "node-1:2113", "https://", "https://a b:1", "https://node-1:x", "https://a/b"]
        {
            assert_eq!(mistakes.server(bad, &known), None, "{bad}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        let mut mistakes = Mistakes(Vec::new());
        assert_eq!(mistakes.duration("--call-timeout", "500ms"), Some(Duration::from_millis(500)));
        for bad in ["15", "0s", "11m", "1h", "s", "-1s", "4294967295m"] {
            assert_eq!(mistakes.duration("--call-timeout", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_password_comes_from_one_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "in the file \n").unwrap();
        let none = BTreeMap::new();
        let variable = BTreeMap::from([("V".to_owned(), "from the environment".to_owned())]);
        let mut mistakes = Mistakes(Vec::new());
        assert_eq!(mistakes.password("--f", None, "V", &none), "changeit");
        assert_eq!(mistakes.password("--f", None, "V", &variable), "from the environment");
        assert_eq!(mistakes.password("--f", Some(file.path()), "V", &none), "in the file ");
        assert!(mistakes.0.is_empty());
        mistakes.password("--f", Some(file.path()), "V", &variable);
        assert_eq!(mistakes.0, ["--f: there is also V; give one of them"]);
    }
}
