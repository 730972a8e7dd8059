//! The command line and its `CERTGEN_*` twins become a [`Plan`], or a list of all that is wrong with them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, ValueEnum};

use crate::plan::{CaSource, DnsName, Names, Plan, RsaBits, Validity};

/// TLS certificates for an EventStoreDB node.
///
/// Writes node.crt, node.key and the trusted roots to a directory that a server can start on at any instant. Every
/// option has a CERTGEN_* variable; the command line wins.
#[derive(Debug, Parser)]
#[command(name = "certgen", version, max_term_width = 120, after_help = commands())]
struct Cli {
    /// Directory for the certificates; it must exist and be writable.
    #[arg(long, env = "CERTGEN_OUT", value_name = "DIR")]
    out: PathBuf,

    /// Program to install as DIR/guard with mode 0555; not given, nothing is installed.
    #[arg(long, env = "CERTGEN_GUARD", value_name = "FILE")]
    guard: Option<PathBuf>,

    /// Say what would be issued and where, and write nothing.
    #[arg(long, env = "CERTGEN_DRY_RUN")]
    dry_run: bool,

    /// DNS names of the node, separated by commas, besides localhost.
    #[arg(long, env = "CERTGEN_DNS_NAMES", value_name = "NAMES", help_heading = "Certificate")]
    dns_names: Option<String>,

    /// IP addresses of the node, separated by commas, besides those of loopback.
    #[arg(long, env = "CERTGEN_IP_ADDRESSES", value_name = "ADDRESSES", help_heading = "Certificate")]
    ip_addresses: Option<String>,

    /// Validity of the node certificate in days (365d) or hours (36h).
    #[arg(long, env = "CERTGEN_VALIDITY", value_name = "TIME", default_value = "365d", help_heading = "Certificate")]
    validity: String,

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

    /// Directory in which an ephemeral authority is kept for the next run; not given, every run makes a new one.
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
}

fn commands() -> String {
    format!(
        "`certgen inspect` tells what is in a directory and what servers would refuse of it.\n\
         `certgen verify` tells whether clients and nodes would take what a live server presents.\n\
         `certgen ca` rotates a certificate authority that is kept in AWS Secrets Manager.\n\n{}",
        crate::gencert::commands()
    )
}

/// Whether a long option of this name exists, for telling our command lines from those of es-gencert-cli.
pub fn is_option(name: &str) -> bool {
    Cli::command().get_arguments().any(|argument| argument.get_long() == Some(name))
}

/// Whether the environment configures a node: then a command line without any command is for that node.
pub fn is_configured(mut environment: impl Iterator<Item = (OsString, OsString)>) -> bool {
    environment.any(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("CERTGEN_")))
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// The exit code of a program that has already said everything: 0 after `--help` and `--version`, 2 after a mistake.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Plan, ExitCode> {
    let cli = Cli::try_parse_from(args).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        // There is nobody left to tell if this cannot be printed.
        let _ = error.print();
        ExitCode::from(code)
    })?;
    plan(cli).map_err(|mistakes| {
        for mistake in mistakes {
            eprintln!("error: {mistake}");
        }
        ExitCode::from(2)
    })
}

fn plan(cli: Cli) -> Result<Plan, Vec<String>> {
    let mut mistakes = Mistakes(Vec::new());
    let dns = mistakes.list::<DnsName>("--dns-names", cli.dns_names.as_deref(), |_, reason| reason);
    let addresses = mistakes.list::<IpAddr>("--ip-addresses", cli.ip_addresses.as_deref(), |item, _| {
        format!(
            "`{item}` is not an IP address; allowed are IPv4 and IPv6 addresses without port, zone or prefix length"
        )
    });
    let validity = mistakes.one("--validity", cli.validity.parse::<Validity>());
    let key_size = mistakes.one(
        "--key-size",
        RsaBits::from_str(&cli.key_size, false)
            .map_err(|_| format!("`{}` is not a supported size; allowed are 2048, 3072 and 4096", cli.key_size)),
    );
    let ca = ca_source(&mut mistakes, &cli.ca_source, cli.ca_state, cli.ca_certificate, cli.ca_key, cli.ca_secret);
    match (validity, key_size, ca) {
        (Some(validity), Some(key_size), Some(ca)) if mistakes.0.is_empty() => Ok(Plan {
            out: cli.out,
            guard: cli.guard,
            ca,
            names: Names::with_loopback(dns, addresses),
            validity,
            key_size,
            dry_run: cli.dry_run,
        }),
        _ => Err(mistakes.0),
    }
}

/// A source with all that belongs to it and nothing else.
fn ca_source(
    mistakes: &mut Mistakes,
    source: &str,
    state: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    secret: Option<String>,
) -> Option<CaSource> {
    let mut refuse = |flag: &str, reason: &str| mistakes.one::<CaSource>(flag, Err(reason.to_owned()));
    let files = [("--ca-certificate", &certificate), ("--ca-key", &key)];
    // Empty is not given: that is what an unset variable of a template becomes.
    let secret = secret.filter(|id| !id.is_empty());
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

    /// A list separated by commas. An empty value is an empty list: that is what an unset variable of a template becomes.
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
    fn every_mistake_is_told_in_one_run() {
        let mistakes = parse(&[
            "--dns-names",
            "a_b,c",
            "--ip-addresses",
            "10.0.0.1/8,x",
            "--validity",
            "90",
            "--key-size",
            "1024",
            "--ca-source",
            "vault",
        ])
        .unwrap_err();
        let flags: Vec<_> = mistakes.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
        assert_eq!(
            flags,
            ["--dns-names", "--ip-addresses", "--ip-addresses", "--validity", "--key-size", "--ca-source"]
        );
    }
}
