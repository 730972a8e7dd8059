//! `infra init`, `infra synth`, `infra compose`, `infra restore-plan` and `infra schema`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::assembly::{Assembly, AssemblyError, BuildContext, ContextError};
use crate::compose::compose;
use crate::config::{Config, ConfigErrors, Mistake, TEMPLATE, schema};
use crate::model::Deployment;
use crate::restore_plan::restore_plan;
use crate::values::RecoveryPointArn;

/// EventStoreDB on ECS Fargate from one config file.
///
/// No AWS account, network or Node.js is needed: the output is a cloud assembly for `cdk deploy --app cdk.out`, whose
/// templates are plain CloudFormation.
#[derive(Debug, Parser)]
#[command(name = "infra", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented eventstore.toml; an existing file is not overwritten.
    Init {
        /// The file to write.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
        /// Name of the deployment.
        #[arg(long, env = "INFRA_NAME", value_name = "NAME", default_value = "eventstore")]
        name: String,
    },
    /// Write the stacks of the configuration as a cloud assembly.
    Synth {
        /// The configuration.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
        /// The directory to write; an assembly that is there is replaced.
        #[arg(long, env = "INFRA_OUT", value_name = "DIR", default_value = "./cdk.out")]
        out: PathBuf,
    },
    /// Print the same tasks as a docker compose file, with a double of AWS, for a cluster on one machine.
    Compose {
        /// The configuration.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
    },
    /// Print the commands that restore a recovery point of this deployment, in order and with their reasons. Runs none.
    RestorePlan {
        /// The configuration of the deployment that was backed up.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
        /// The recovery point, for example from `aws backup list-recovery-points-by-resource`.
        #[arg(long, env = "INFRA_RECOVERY_POINT", value_name = "ARN", value_parser = RecoveryPointArn::parse)]
        recovery_point: RecoveryPointArn,
    },
    /// Print the JSON Schema (2020-12) of eventstore.toml, for editors.
    Schema,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("could not read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` exists; not overwriting it")]
    Exists { path: PathBuf },
    #[error("could not write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}", lines(.path, .source))]
    Config { path: PathBuf, source: ConfigErrors },
    #[error("could not write the assembly to `{out}`")]
    Assembly {
        out: PathBuf,
        #[source]
        source: AssemblyError,
    },
}

/// Every mistake on a line of its own.
fn lines(path: &Path, errors: &ConfigErrors) -> String {
    let lines: Vec<_> = errors.0.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
    lines.join("\nerror: ")
}

impl Error {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`infra init` writes a commented configuration to start from")
            }
            Self::Exists { .. } => Some("name another file with --config, or move this one away"),
            Self::Assembly { source: AssemblyError::Foreign { .. }, .. } => Some("name another directory with --out"),
            Self::Config { .. } => {
                Some("`infra init --config FILE` writes every key with its default and what is allowed")
            }
            Self::Read { .. } | Self::Write { .. } | Self::Assembly { .. } => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } => 78,
            Self::Assembly { source: AssemblyError::Template { .. }, .. } => 70,
            Self::Exists { .. } | Self::Assembly { source: AssemblyError::Foreign { .. }, .. } => 77,
            Self::Read { .. } | Self::Write { .. } | Self::Assembly { .. } => 74,
        }
    }
}

/// Runs the program and gives its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody left to tell if this cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match &cli.command {
        Command::Init { config, name } => init(config, name),
        Command::Synth { config, out } => synth(config, out),
        Command::Compose { config } => read(config).map(|deployment| {
            print(&compose(&deployment));
            format!("the tasks of {} for docker compose", deployment.name())
        }),
        Command::RestorePlan { config, recovery_point } => read(config).map(|deployment| {
            print(&restore_plan(&deployment, recovery_point));
            format!("how to restore {}; nothing was done", deployment.name())
        }),
        Command::Schema => {
            print(&format!("{:#}\n", schema()));
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(report) => {
            eprintln!("infra: {report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is the program's data")]
fn print(text: &str) {
    print!("{text}");
}

/// The error and its causes on one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    // A configuration's mistakes are the message already.
    let mut cause = std::error::Error::source(error).filter(|_| !matches!(error, Error::Config { .. }));
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn init(path: &Path, name: &str) -> Result<String, Error> {
    let text = TEMPLATE.replacen("name = \"eventstore\"", &format!("name = {}", toml::Value::from(name)), 1);
    Config::parse(&text).map_err(|source| Error::Config { path: path.to_owned(), source })?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => Error::Write { path: path.to_owned(), source },
        })?;
    file.write_all(text.as_bytes()).map_err(|source| Error::Write { path: path.to_owned(), source })?;
    Ok(format!("wrote {}; next: infra synth", path.display()))
}

/// The deployment that a file describes; warnings are told.
fn read(path: &Path) -> Result<Deployment, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let config = Config::parse(&text).map_err(|source| Error::Config { path: path.to_owned(), source })?;
    let deployment = Deployment::new(config);
    for warning in deployment.warnings() {
        eprintln!("warning: {}: {warning}", path.display());
    }
    Ok(deployment)
}

fn synth(path: &Path, out: &Path) -> Result<String, Error> {
    let deployment = read(path)?;
    let failed = |source| Error::Assembly { out: out.to_owned(), source };
    let assembly = match deployment.build_directory() {
        None => Assembly::new(&deployment),
        Some(directory) => Assembly::with_context(&deployment, context(path, directory, out)?),
    };
    assembly.map_err(failed)?.write(out).map_err(failed)?;
    let (name, shown) = (deployment.name(), out.display());
    Ok(format!("wrote {name}-StatefulResources and {name}-EventStore to {shown}; next: cdk deploy --app {shown} --all"))
}

/// What images are built from; `directory` is seen from the configuration.
fn context(path: &Path, directory: &str, out: &Path) -> Result<BuildContext, Error> {
    let place = path.parent().unwrap_or(Path::new("")).join(directory);
    let wrong = |messages: Vec<String>| {
        let mistake = |message| Mistake { key: "images.build".to_owned(), message };
        let source = ConfigErrors(messages.into_iter().map(mistake).collect());
        Error::Config { path: path.to_owned(), source }
    };
    // An assembly in what it is made from would never be the same twice.
    let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let (Ok(place), Ok(beside)) = (fs::canonicalize(&place), fs::canonicalize(beside))
        && beside.starts_with(&place)
    {
        let message =
            format!("`{directory}` holds the assembly, `{}`; choose another directory for one of both", out.display());
        return Err(wrong(vec![message]));
    }
    BuildContext::read(&place).map_err(|errors| {
        let message = |error: &ContextError| {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!(
                "{error}{cause}; allowed is a directory of at most 512 MiB with certgen.Dockerfile, bootstrap.Dockerfile and what \
                 they copy"
            )
        };
        wrong(errors.iter().map(message).collect())
    })
}
