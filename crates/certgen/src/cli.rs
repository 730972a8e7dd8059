//! The command line and its `CERTGEN_*` twins become a [`Plan`], or a list of all that is wrong with them.

use std::env;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory as _, Parser, ValueEnum};

use crate::console;
use crate::inspect::Line;
use crate::plan::{CaKeyAlgorithm, CaSource, DnsName, MetadataUri, Names, Owner, Plan, RenewBefore, RsaBits, Validity};

/// TLS certificates for an EventStoreDB node.
///
/// Writes node.crt, node.key and the trusted roots to a directory that a server can start on at any instant. Run again, it
/// keeps what is there, or says why something is due and replaces it. Every option has a CERTGEN_* variable; the command
/// line wins.
#[derive(Debug, Parser)]
#[command(name = "certgen", version, max_term_width = 120, after_help = commands())]
struct Cli {
    /// Directory for the certificates; it must exist and be writable.
    #[arg(long, env = "CERTGEN_OUT", value_name = "DIR")]
    out: PathBuf,

    /// Program to install as DIR/guard with mode 0555; not given, nothing is installed.
    #[arg(long, env = "CERTGEN_GUARD", value_name = "FILE")]
    guard: Option<PathBuf>,

    /// Whom the files belong to; not given, whoever runs this. Only root can give them to somebody else.
    #[arg(long, env = "CERTGEN_OWNER", value_name = "UID[:GID]")]
    owner: Option<String>,

    /// Line of the server: what it would refuse of what is there is replaced; not given, what any line would refuse.
    #[arg(long, env = "CERTGEN_SERVER_LINE", value_name = "21.10|22.10|23.10|24.10|25|26")]
    server_line: Option<String>,

    /// Say what would be issued and where, and write nothing.
    #[arg(long, env = "CERTGEN_DRY_RUN")]
    dry_run: bool,

    /// DNS names of the node, separated by commas, besides localhost.
    #[arg(long, env = "CERTGEN_DNS_NAMES", value_name = "NAMES", help_heading = "Certificate")]
    dns_names: Option<String>,

    /// IP addresses of the node, separated by commas, besides those of loopback.
    #[arg(long, env = "CERTGEN_IP_ADDRESSES", value_name = "ADDRESSES", help_heading = "Certificate")]
    ip_addresses: Option<String>,

    /// Whether the task's address is among the names too: auto asks the ECS metadata endpoint where there is one, off does not.
    #[arg(
        long,
        env = "CERTGEN_TASK_ADDRESS",
        value_name = "auto|off",
        default_value = "auto",
        help_heading = "Certificate"
    )]
    task_address: String,

    /// The ECS metadata endpoint of this container; ECS sets the variable.
    #[arg(long, env = "ECS_CONTAINER_METADATA_URI_V4", value_name = "URI", help_heading = "Certificate")]
    metadata_uri: Option<String>,

    /// Validity of the node certificate in days (365d) or hours (36h).
    #[arg(long, env = "CERTGEN_VALIDITY", value_name = "TIME", default_value = "365d", help_heading = "Certificate")]
    validity: String,

    /// How long before its end a certificate is replaced (30d, 12h); not given, a third of the validity.
    #[arg(long, env = "CERTGEN_RENEW_BEFORE", value_name = "TIME", help_heading = "Certificate")]
    renew_before: Option<String>,

    /// Size of the node's RSA key in bits.
    #[arg(long, env = "CERTGEN_KEY_SIZE", value_name = "BITS", default_value = "2048", help_heading = "Certificate")]
    key_size: String,

    /// Where the certificate authority comes from: ephemeral makes one for this task, files are given, secret is one of AWS
    /// Secrets Manager that all tasks share.
    #[arg(
        long,
        env = "CERTGEN_CA_SOURCE",
        value_name = "SOURCE",
        default_value = "ephemeral",
        help_heading = "Certificate authority"
    )]
    ca_source: String,

    /// Key of an authority that is made here; p256 if not given.
    #[arg(
        long,
        env = "CERTGEN_CA_KEY_ALGORITHM",
        value_name = "p256|rsa2048|rsa3072|rsa4096",
        help_heading = "Certificate authority"
    )]
    ca_key_algorithm: Option<String>,

    /// Directory in which an ephemeral authority is kept; not given, every certificate gets a new one.
    #[arg(long, env = "CERTGEN_CA_STATE", value_name = "DIR", help_heading = "Certificate authority")]
    ca_state: Option<PathBuf>,

    /// File with the root certificate of the authority, PEM; for --ca-source files.
    #[arg(long, env = "CERTGEN_CA_CERTIFICATE", value_name = "FILE", help_heading = "Certificate authority")]
    ca_certificate: Option<PathBuf>,

    /// File with the private key of the authority, PEM without password; for --ca-source files.
    #[arg(long, env = "CERTGEN_CA_KEY", value_name = "FILE", help_heading = "Certificate authority")]
    ca_key: Option<PathBuf>,

    /// Name or ARN of the secret with the authority; for --ca-source secret. If it is absent or empty, one is made.
    #[arg(long, env = "CERTGEN_CA_SECRET", value_name = "ID", help_heading = "Certificate authority")]
    ca_secret: Option<String>,

    /// Let AWS be asked over plain HTTP where an endpoint variable of AWS says so; for tests and local clusters.
    #[arg(long, env = ALLOW_HTTP_ENDPOINT, help_heading = "Certificate authority")]
    allow_http_endpoint: bool,
}

/// Lets AWS be asked over plain HTTP. It configures no node.
pub(crate) const ALLOW_HTTP_ENDPOINT: &str = "CERTGEN_ALLOW_HTTP_ENDPOINT";

fn commands() -> String {
    format!(
        "`certgen inspect` tells what is in a directory and what servers would refuse of it.\n\
         `certgen verify` tells whether clients and nodes would take what a live server presents.\n\
         `certgen ca` rotates a certificate authority that is kept in AWS Secrets Manager.\n\n{}",
        crate::gencert::commands()
    )
}

/// The whole command line of this program as data, for manuals and completions: the init container's with all commands below it.
pub fn command() -> clap::Command {
    let command =
        Cli::command().after_help(Resettable::Reset).subcommand_negates_reqs(true).disable_help_subcommand(true);
    let command = command.subcommand(crate::inspect::command());
    #[cfg(feature = "verify")]
    let command = command.subcommand(crate::verify::command());
    command.subcommand(crate::ca::command()).subcommands(crate::gencert::command_lines())
}

/// Whether a long option of this name exists, for telling our command lines from those of es-gencert-cli.
pub fn is_option(name: &str) -> bool {
    Cli::command().get_arguments().any(|argument| argument.get_long() == Some(name))
}

/// Whether the environment configures a node: then a command line without any command is for that node.
pub fn is_configured(mut environment: impl Iterator<Item = (OsString, OsString)>) -> bool {
    let is_of_node = |name: &str| name.starts_with("CERTGEN_") && name != ALLOW_HTTP_ENDPOINT;
    environment.any(|(name, _)| name.to_str().is_some_and(is_of_node))
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// The exit code of a program that has already said everything: 0 after `--help` and `--version`, 2 after a mistake.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Plan, ExitCode> {
    let cli: Cli = console::parse(args)?;
    let is_http_allowed = cli.allow_http_endpoint;
    plan(cli).and_then(|plan| with_safe_endpoints(plan, is_http_allowed)).map_err(|mistakes| {
        for mistake in mistakes {
            eprintln!("error: {mistake}");
        }
        ExitCode::from(2)
    })
}

#[cfg(not(feature = "aws"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
fn with_safe_endpoints(plan: Plan, _: bool) -> Result<Plan, Vec<String>> {
    Ok(plan)
}

/// The plan, unless it would ask AWS where secrets could be read on the way.
#[cfg(feature = "aws")]
fn with_safe_endpoints(plan: Plan, is_http_allowed: bool) -> Result<Plan, Vec<String>> {
    let mistakes = match &plan.ca {
        CaSource::Secret { .. } => crate::aws::endpoint_mistakes(env::vars_os(), is_http_allowed, ALLOW_HTTP_ENDPOINT),
        CaSource::Ephemeral { .. } | CaSource::Files { .. } => Vec::new(),
    };
    if mistakes.is_empty() { Ok(plan) } else { Err(mistakes) }
}

/// What the `CERTGEN_*` variables of this process ask for in the directory `out`, for a program that renews what certgen
/// published there; `None` if there is no such variable. It installs no program and does not only look. Where AWS is asked is
/// the caller's affair.
///
/// # Errors
///
/// Every mistake, in words.
pub fn from_environment(out: &Path) -> Result<Option<Plan>, Vec<String>> {
    if !is_configured(env::vars_os()) {
        return Ok(None);
    }
    let arguments = [OsString::from("certgen"), "--out".into(), out.into()];
    let cli = Cli::try_parse_from(arguments).map_err(|error| vec![error.to_string()])?;
    plan(cli).map(|plan| Some(Plan { guard: None, dry_run: false, ..plan }))
}

fn plan(cli: Cli) -> Result<Plan, Vec<String>> {
    let mut mistakes = Mistakes(Vec::new());
    let dns = mistakes.list::<DnsName>("--dns-names", cli.dns_names.as_deref(), |_, reason| reason);
    let addresses = mistakes.list::<Dialled>("--ip-addresses", cli.ip_addresses.as_deref(), |_, reason| reason);
    let owner = mistakes.optional("--owner", cli.owner.as_deref(), str::parse::<Owner>);
    let server_line = mistakes.optional("--server-line", cli.server_line.as_deref(), server_line);
    let task_metadata = task_metadata(&mut mistakes, &cli.task_address, cli.metadata_uri.as_deref());
    let validity = mistakes.one("--validity", cli.validity.parse::<Validity>());
    let renew_before = validity.and_then(|validity| match &cli.renew_before {
        None => Some(RenewBefore::third_of(validity)),
        Some(text) => mistakes.one("--renew-before", RenewBefore::parse(text, validity)),
    });
    let key_size = mistakes.one(
        "--key-size",
        RsaBits::from_str(&cli.key_size, false)
            .map_err(|_| format!("`{}` is not a supported size; allowed are 2048, 3072 and 4096", cli.key_size)),
    );
    let ca_key_algorithm = mistakes.optional("--ca-key-algorithm", cli.ca_key_algorithm.as_deref(), ca_key_algorithm);
    let is_algorithm_given = cli.ca_key_algorithm.is_some_and(|text| !text.is_empty());
    let given = GivenSource {
        is_algorithm_given,
        state: cli.ca_state,
        certificate: cli.ca_certificate,
        key: cli.ca_key,
        // Empty is not given: that is what an unset variable of a template becomes.
        secret: cli.ca_secret.filter(|id| !id.is_empty()),
    };
    let ca = ca_source(&mut mistakes, &cli.ca_source, given);
    if let (Some(validity), Some(CaSource::Ephemeral { .. } | CaSource::Secret { .. })) = (validity, &ca)
        && validity.duration() > Validity::AUTHORITY.duration()
    {
        let reason = format!("`{validity}` is longer than an authority made here is valid, {}", Validity::AUTHORITY);
        mistakes.one::<()>("--validity", Err(reason));
    }
    match (validity, renew_before, key_size, ca) {
        (Some(validity), Some(renew_before), Some(key_size), Some(ca)) if mistakes.0.is_empty() => Ok(Plan {
            out: cli.out,
            guard: cli.guard,
            ca,
            names: Names::with_loopback(dns, addresses.into_iter().map(|Dialled(address)| address)),
            validity,
            key_size,
            renew_before,
            server_line,
            owner,
            ca_key_algorithm: ca_key_algorithm.unwrap_or_default(),
            task_metadata,
            dry_run: cli.dry_run,
        }),
        _ => Err(mistakes.0),
    }
}

/// An address that somebody can dial.
struct Dialled(IpAddr);

impl std::str::FromStr for Dialled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                Err(format!("`{text}` is an address that nobody can dial; give those of the node"))
            }
            Ok(address) => Ok(Self(address)),
            Err(_) => Err(format!(
                "`{text}` is not an IP address; allowed are IPv4 and IPv6 addresses without port, zone or prefix length"
            )),
        }
    }
}

fn server_line(text: &str) -> Result<Line, String> {
    Line::from_str(text, true).map_err(|_| {
        let lines: Vec<_> = Line::ALL.iter().map(ToString::to_string).collect();
        format!("`{text}` is not a server line; allowed are {}", lines.join(", "))
    })
}

fn ca_key_algorithm(text: &str) -> Result<CaKeyAlgorithm, String> {
    CaKeyAlgorithm::from_str(text, true)
        .map_err(|_| format!("`{text}` is not a supported key; allowed are p256, rsa2048, rsa3072 and rsa4096"))
}

/// Whom to ask for the task's address, if anybody.
fn task_metadata(mistakes: &mut Mistakes, mode: &str, uri: Option<&str>) -> Option<MetadataUri> {
    match mode {
        "auto" => mistakes.optional("ECS_CONTAINER_METADATA_URI_V4", uri, str::parse::<MetadataUri>),
        "off" => None,
        other => mistakes.one("--task-address", Err(format!("`{other}` is not known; allowed are auto and off"))),
    }
}

/// What was given besides the name of the source.
struct GivenSource {
    is_algorithm_given: bool,
    state: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    secret: Option<String>,
}

/// A source with all that belongs to it and nothing else.
fn ca_source(mistakes: &mut Mistakes, source: &str, given: GivenSource) -> Option<CaSource> {
    let mut refuse = |flag: &str, reason: &str| mistakes.one::<CaSource>(flag, Err(reason.to_owned()));
    let GivenSource { is_algorithm_given, state, certificate, key, secret } = given;
    let files = [("--ca-certificate", &certificate), ("--ca-key", &key)];
    if secret.is_some() && source != "secret" {
        refuse("--ca-secret", "it belongs to --ca-source secret");
    }
    match source {
        "secret" if cfg!(not(feature = "aws")) => {
            refuse("--ca-source", "`secret` needs a certgen that was built with the feature `aws`; this one was not")
        }
        "secret" => {
            for (flag, _) in files.into_iter().filter(|(_, file)| file.is_some()) {
                refuse(flag, "it belongs to --ca-source files");
            }
            if state.is_some() {
                refuse("--ca-state", "it keeps an ephemeral authority and does not go with --ca-source secret");
            }
            if secret.is_none() {
                refuse("--ca-secret", "it is missing; --ca-source secret needs it");
            }
            Some(CaSource::Secret { id: secret? })
        }
        "ephemeral" => {
            for (flag, _) in files.into_iter().filter(|(_, file)| file.is_some()) {
                refuse(flag, "it belongs to --ca-source files");
            }
            Some(CaSource::Ephemeral { state })
        }
        "files" => {
            for (flag, _) in files.into_iter().filter(|(_, file)| file.is_none()) {
                refuse(flag, "it is missing; --ca-source files needs it");
            }
            if state.is_some() {
                refuse("--ca-state", "it keeps an ephemeral authority and does not go with --ca-source files");
            }
            if is_algorithm_given {
                refuse(
                    "--ca-key-algorithm",
                    "it is for an authority that is made and does not go with --ca-source files",
                );
            }
            Some(CaSource::Files { certificate: certificate?, key: key? })
        }
        other => refuse(
            "--ca-source",
            &format!("`{other}` is not a source of a certificate authority; allowed are ephemeral, files and secret"),
        ),
    }
}

/// All that is wrong, so that one run tells everything.
struct Mistakes(Vec<String>);

impl Mistakes {
    fn one<T>(&mut self, flag: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|reason| self.0.push(format!("{flag}: {reason}"))).ok()
    }

    /// A value that may be left out. An empty one is left out: that is what an unset variable of a template becomes.
    fn optional<T>(
        &mut self,
        flag: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        self.one(flag, parse(text))
    }

    /// A list separated by commas. An empty value is an empty list.
    fn list<T: std::str::FromStr>(
        &mut self,
        flag: &str,
        text: Option<&str>,
        explain: impl Fn(&str, T::Err) -> String,
    ) -> Vec<T> {
        let items = text.filter(|text| !text.is_empty()).into_iter().flat_map(|text| text.split(','));
        items
            .filter_map(|item| self.one(flag, item.trim().parse().map_err(|error| explain(item.trim(), error))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Plan, Vec<String>> {
        plan(Cli::try_parse_from([&["certgen", "--out", "/certs"], args].concat()).unwrap())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn every_variable_is_named_after_its_option() {
        for argument in Cli::command().get_arguments() {
            let (Some(name), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
            let twin = format!("CERTGEN_{}", name.to_ascii_uppercase().replace('-', "_"));
            assert!(variable == twin.as_str() || name == "metadata-uri", "--{name} and {}", variable.display());
        }
    }

    #[test]
    fn told_nothing_it_makes_an_ephemeral_authority_and_loopback_names() {
        let plan = parse(&[]).unwrap();
        assert_eq!(plan.ca, CaSource::Ephemeral { state: None });
        assert_eq!(plan.names.to_string(), "localhost, 127.0.0.1, ::1");
        assert_eq!(plan.validity, Validity::NODE);
    }

    #[test]
    fn an_authority_in_files_has_both_and_no_state() {
        let plan = parse(&["--ca-source", "files", "--ca-certificate", "/ca.crt", "--ca-key", "/ca.key"]).unwrap();
        assert_eq!(plan.ca, CaSource::Files { certificate: "/ca.crt".into(), key: "/ca.key".into() });
        let flags = |args: &[&str]| -> Vec<_> {
            let mistakes = parse(args).unwrap_err();
            mistakes.iter().map(|mistake| mistake.split(':').next().unwrap().to_owned()).collect()
        };
        assert_eq!(flags(&["--ca-source", "files"]), ["--ca-certificate", "--ca-key"]);
        let mixed = ["--ca-source", "files", "--ca-key", "/k", "--ca-state", "/s", "--validity", "1"];
        assert_eq!(flags(&mixed), ["--validity", "--ca-certificate", "--ca-state"]);
        let made = ["--ca-source=files", "--ca-certificate=/c", "--ca-key=/k", "--ca-key-algorithm=p256"];
        assert_eq!(flags(&made), ["--ca-key-algorithm"]);
        assert_eq!(flags(&["--ca-certificate", "/c", "--ca-key", "/k"]), ["--ca-certificate", "--ca-key"]);
    }

    #[cfg(feature = "aws")]
    #[test]
    fn an_authority_in_a_secret_has_its_id_and_nothing_else() {
        let plan = parse(&["--ca-source", "secret", "--ca-secret", "es/ca"]).unwrap();
        assert_eq!(plan.ca, CaSource::Secret { id: "es/ca".to_owned() });
        for (args, flag) in [
            (&["--ca-source", "secret"][..], "--ca-secret"),
            (&["--ca-source", "secret", "--ca-secret", ""], "--ca-secret"),
            (&["--ca-secret", "es/ca"], "--ca-secret"),
            (&["--ca-source", "secret", "--ca-secret", "es/ca", "--ca-state", "/s"], "--ca-state"),
            (&["--ca-source", "secret", "--ca-secret", "es/ca", "--ca-key", "/k"], "--ca-key"),
        ] {
            let mistakes = parse(args).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(flag), "{mistakes:?}");
        }
        assert!(parse(&["--ca-secret", ""]).is_ok());
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn without_aws_an_authority_in_a_secret_is_refused_by_name() {
        let mistakes = parse(&["--ca-source", "secret", "--ca-secret", "es/ca"]).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("--ca-source: `secret` needs"), "{mistakes:?}");
    }

    #[test]
    fn spaces_around_commas_and_an_empty_list_are_fine() {
        let plan = parse(&["--dns-names", "a, b", "--ip-addresses", ""]).unwrap();
        assert_eq!(plan.names.to_string(), "localhost, a, b, 127.0.0.1, ::1");
    }

    #[test]
    fn what_is_left_out_has_a_default_and_empty_is_left_out() {
        let plan =
            parse(&["--owner", "", "--server-line", "", "--metadata-uri", "", "--ca-key-algorithm", ""]).unwrap();
        assert_eq!((plan.owner, plan.server_line, plan.task_metadata), (None, None, None));
        assert_eq!(plan.ca_key_algorithm, CaKeyAlgorithm::P256);
        assert_eq!(plan.renew_before, RenewBefore::third_of(Validity::NODE));
        let plan = parse(&["--server-line", "25.1", "--renew-before", "1h", "--ca-key-algorithm", "rsa3072"]).unwrap();
        assert_eq!((plan.server_line, plan.renew_before.to_string().as_str()), (Some(Line::V25), "1h"));
        assert_eq!(plan.ca_key_algorithm, CaKeyAlgorithm::Rsa3072);
    }

    #[test]
    fn the_endpoint_of_ecs_is_asked_unless_told_otherwise() {
        let uri = ["--metadata-uri", "http://169.254.170.2/v4/a"];
        assert!(parse(&uri).unwrap().task_metadata.is_some());
        assert!(parse(&[&uri[..], &["--task-address", "off"]].concat()).unwrap().task_metadata.is_none());
        assert!(parse(&["--metadata-uri", "junk", "--task-address", "off"]).unwrap().task_metadata.is_none());
    }

    #[test]
    fn every_mistake_is_told_in_one_run() {
        let mistakes = parse(&[
            "--dns-names",
            "a_b,c,c,10.0.0.1,*.internal",
            "--ip-addresses",
            "10.0.0.1/8,::,10.0.0.1,10.0.0.1",
            "--owner",
            "es",
            "--server-line",
            "20.6",
            "--metadata-uri",
            "junk",
            "--renew-before",
            "365d",
            "--key-size",
            "1024",
            "--ca-key-algorithm",
            "ed25519",
            "--ca-source",
            "vault",
        ])
        .unwrap_err();
        let flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
        assert_eq!(
            flags,
            [
                "--dns-names",
                "--dns-names",
                "--dns-names",
                "--ip-addresses",
                "--ip-addresses",
                "--owner",
                "--server-line",
                "ECS_CONTAINER_METADATA_URI_V4",
                "--renew-before",
                "--key-size",
                "--ca-key-algorithm",
                "--ca-source"
            ]
        );
    }
}
