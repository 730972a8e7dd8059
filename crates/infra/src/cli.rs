//! `infra init`, `infra synth`, `infra diff`, `infra check`, `infra repositories`, `infra compose`, `infra restore-plan` and
//! `infra schema`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::assembly::{Assembly, AssemblyError, BuildContext, ContextError};
use crate::compose::compose;
use crate::config::{Config, ConfigErrors, Mistake, TEMPLATE, schema};
use crate::diff::{Diff, Refusal, Snapshot, SnapshotError};
use crate::model::Deployment;
use crate::restore_plan::restore_plan;
use crate::several::{Collision, collisions};
use crate::values::{RecoveryPointArn, ValueError};

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
    /// Show what deploying NEW over OLD would change, and refuse what would lose data, passwords or names.
    ///
    /// Each of both is a configuration, or a directory that `infra synth` wrote. Nobody asks AWS: OLD must be what is deployed.
    Diff {
        /// What is deployed.
        old: PathBuf,
        /// What is to be deployed.
        new: PathBuf,
        /// Accept one refused change, by the logical id or key that the refusal begins with; may be given again.
        #[arg(long, value_name = "NAME")]
        allow: Vec<String>,
        /// Print JSON: `changes`, `refused`, `notes`.
        #[arg(long)]
        json: bool,
    },
    /// Look at configurations, and whether their deployments can stand beside each other in one account and region.
    Check {
        /// The configurations.
        #[arg(required = true, value_name = "FILE")]
        configs: Vec<PathBuf>,
    },
    /// Write the stack of the repositories of certgen and bootstrap, one pair for all deployments of an account and region.
    Repositories {
        /// The directory to write; an assembly that is there is replaced.
        #[arg(long, env = "INFRA_REPOSITORIES_OUT", value_name = "DIR", default_value = "./repositories.out")]
        out: PathBuf,
        /// The key that encrypts the images: aws, the account's key for ECR, or the ARN of one that is there.
        #[arg(long, env = "INFRA_REPOSITORIES_KMS_KEY", value_name = "KEY", default_value = "aws")]
        kms_key: String,
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
    #[error("{}", colliding(.0, .1))]
    Colliding(Vec<PathBuf>, Vec<Collision>),
    #[error("--kms-key: {0}")]
    Key(#[source] ValueError),
    #[error("could not read the assembly `{path}`")]
    Snapshot {
        path: PathBuf,
        #[source]
        source: SnapshotError,
    },
    #[error("{}", refused(.0))]
    Refused(Vec<Refusal>),
}

/// Every collision on a line of its own.
fn colliding(paths: &[PathBuf], collisions: &[Collision]) -> String {
    let line = |collision: &Collision| {
        let [one, two] = collision.between.map(|index| paths[index].display());
        format!("{one} and {two}: {collision}")
    };
    collisions.iter().map(line).collect::<Vec<_>>().join("\nerror: ")
}

/// Every refusal on a line of its own.
fn refused(refusals: &[Refusal]) -> String {
    let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    lines.join("\nerror: ")
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
            Self::Colliding(..) => Some("what deployments can share and how is in docs/several-deployments.md"),
            Self::Refused(_) => Some("nothing of this should happen by accident; --allow NAME accepts one of them"),
            Self::Snapshot { .. } => Some("name a configuration, or a directory that `infra synth` wrote"),
            Self::Read { .. } | Self::Write { .. } | Self::Assembly { .. } | Self::Key(_) => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Key(_) => 2,
            Self::Config { .. } | Self::Colliding(..) => 78,
            Self::Assembly { source: AssemblyError::Template { .. }, .. } => 70,
            Self::Exists { .. } | Self::Assembly { source: AssemblyError::Foreign { .. }, .. } => 77,
            Self::Read { .. } | Self::Write { .. } | Self::Assembly { .. } | Self::Snapshot { .. } => 74,
        }
    }
}

/// The command line as it is read, for what is made of it.
pub fn command() -> clap::Command {
    Cli::command()
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
        Command::Check { configs } => check(configs),
        Command::Repositories { out, kms_key } => repositories(out, kms_key),
        Command::Diff { old, new, allow, json } => diff(old, new, allow, *json),
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
    let mut cause = std::error::Error::source(error).filter(|_| !matches!(error, Error::Config { .. } | Error::Key(_)));
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

/// The deployment that a file describes, and its text.
fn read_quietly(path: &Path) -> Result<(Deployment, String), Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let config = Config::parse(&text).map_err(|source| Error::Config { path: path.to_owned(), source })?;
    Ok((Deployment::new(config), text))
}

/// The deployment that a file describes; warnings are told.
fn read(path: &Path) -> Result<Deployment, Error> {
    let (deployment, _) = read_quietly(path)?;
    for warning in deployment.warnings() {
        eprintln!("warning: {}: {warning}", path.display());
    }
    Ok(deployment)
}

/// What a template may have that is no object in a bucket (AWS, "CloudFormation quotas").
const INLINE_BYTES: usize = 51_200;

fn synth(path: &Path, out: &Path) -> Result<String, Error> {
    let deployment = read(path)?;
    let failed = |source| Error::Assembly { out: out.to_owned(), source };
    let assembly = assembly(&deployment, build_context(path, &deployment, Some(out))?).map_err(failed)?;
    assembly.write(out).map_err(failed)?;
    let (name, shown) = (deployment.name(), out.display());
    let bootstrap = if assembly.files().any(|(_, text)| text.len() > INLINE_BYTES) {
        "cdk bootstrap, once for account and region, for a template is larger than CloudFormation takes without a bucket; then "
    } else {
        ""
    };
    Ok(format!(
        "wrote {name}-StatefulResources and {name}-EventStore to {shown}; next: {bootstrap}cdk deploy --app {shown} --all"
    ))
}

fn assembly(deployment: &Deployment, context: Option<BuildContext>) -> Result<Assembly, AssemblyError> {
    match context {
        None => Assembly::new(deployment),
        Some(context) => Assembly::with_context(deployment, context),
    }
}

/// One side of a comparison, with its text and what its images are built from, if it is a configuration.
struct Side {
    snapshot: Snapshot,
    text: Option<String>,
    context: Option<BuildContext>,
}

impl Side {
    fn read(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            let snapshot = Snapshot::read(path).map_err(|source| Error::Snapshot { path: path.to_owned(), source })?;
            return Ok(Self { snapshot, text: None, context: None });
        }
        let (deployment, text) = read_quietly(path)?;
        let context = build_context(path, &deployment, None)?;
        let assembly = assembly(&deployment, context.clone())
            .map_err(|source| Error::Assembly { out: path.to_owned(), source })?;
        Ok(Self { snapshot: Snapshot::of_deployment(&deployment, &assembly), text: Some(text), context })
    }
}

fn diff(old: &Path, new: &Path, allow: &[String], json: bool) -> Result<String, Error> {
    let (old, new) = match (Side::read(old), Side::read(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(one), Err(other)) => {
            eprintln!("error: {}", chain(&one));
            return Err(other);
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error),
    };
    let mut diff = Diff::between(&old.snapshot, &new.snapshot);
    if let (Some(before), Some(after)) = (&old.text, &new.text) {
        diff.explain((before, after), &old.snapshot, |config| {
            let deployment = Deployment::new(config);
            let context = new.context.clone().or_else(|| old.context.clone());
            assembly(&deployment, context).ok().map(|assembly| Snapshot::of_deployment(&deployment, &assembly))
        });
    }
    let unused = diff.allow(allow);
    print(&if json { format!("{:#}\n", diff.to_json()) } else { diff.to_string() });
    for name in unused {
        eprintln!("warning: --allow {name}: nothing of this name is refused; take it out");
    }
    for note in &diff.notes {
        eprintln!("note: {note}");
    }
    let changes = match diff.changes.len() {
        0 => "nothing changes".to_owned(),
        1 => "1 resource changes".to_owned(),
        count => format!("{count} resources change"),
    };
    if diff.refused.is_empty() { Ok(changes) } else { Err(Error::Refused(diff.refused)) }
}

fn repositories(out: &Path, kms_key: &str) -> Result<String, Error> {
    let assembly = Assembly::repositories(kms_key).map_err(Error::Key)?;
    assembly.write(out).map_err(|source| Error::Assembly { out: out.to_owned(), source })?;
    let shown = out.display();
    Ok(format!(
        "wrote eventstore-fargate-Repositories to {shown}; next: cdk deploy --app {shown} --all, and push the images"
    ))
}

fn check(paths: &[PathBuf]) -> Result<String, Error> {
    let mut deployments = Vec::new();
    let mut wrong = Vec::new();
    for path in paths {
        match read(path) {
            Ok(deployment) => deployments.push(deployment),
            Err(error) => wrong.push(error),
        }
    }
    if let Some(last) = wrong.pop() {
        // All of them, though the exit code is that of one.
        for error in &wrong {
            eprintln!("error: {}", chain(error));
        }
        return Err(last);
    }
    let collisions = collisions(&deployments);
    if !collisions.is_empty() {
        return Err(Error::Colliding(paths.to_vec(), collisions));
    }
    Ok(match deployments.as_slice() {
        [deployment] => format!("{} is a valid configuration", deployment.name()),
        all => format!("{} deployments can stand beside each other", all.len()),
    })
}

/// What images are built from, if whoever deploys builds them.
fn build_context(path: &Path, deployment: &Deployment, out: Option<&Path>) -> Result<Option<BuildContext>, Error> {
    deployment.build_directory().map(|directory| context(path, directory, out)).transpose()
}

/// What images are built from; `directory` is seen from the configuration.
fn context(path: &Path, directory: &str, out: Option<&Path>) -> Result<BuildContext, Error> {
    let place = path.parent().unwrap_or(Path::new("")).join(directory);
    let wrong = |messages: Vec<String>| {
        let mistake = |message| Mistake { key: "images.build".to_owned(), message };
        let source = ConfigErrors(messages.into_iter().map(mistake).collect());
        Error::Config { path: path.to_owned(), source }
    };
    // An assembly in what it is made from would never be the same twice.
    if let Some(out) = out
        && let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
        && let (Ok(place), Ok(beside)) = (fs::canonicalize(&place), fs::canonicalize(beside))
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
