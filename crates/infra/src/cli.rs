//! The commands of `infra`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::assembly::{Assembly, AssemblyError, BuildContext, ContextError};
use crate::compose::compose;
use crate::config::{Config, ConfigErrors, Mistake, nearest, schema};
use crate::diagram::diagram;
use crate::diff::{Diff, Refusal, Snapshot, SnapshotError};
use crate::explain::{Explanation, Stated};
use crate::init;
use crate::model::{Deployment, Node};
use crate::policies::Policies;
use crate::quantities::{self, Quantities};
use crate::restore_plan::restore_plan;
use crate::validate::{self, Verdict};
use crate::values::{ClusterSize, RecoveryPointArn, ValueError};

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
    Init(init::Flags),
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
    Validate(validate::Flags),
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
        /// How many nodes the restored deployment is to have; not given, as many.
        #[arg(long, env = "INFRA_RESTORED_NODES", value_name = "COUNT", value_parser = cluster_size)]
        nodes: Option<ClusterSize>,
        /// How many nodes there were when the recovery point was made: the directory of the last is restored. Not given, as many as
        /// now, and 1 with `cluster.grow_from`.
        #[arg(long, env = "INFRA_BACKED_UP_NODES", value_name = "COUNT", value_parser = cluster_size)]
        backed_up_nodes: Option<ClusterSize>,
    },
    /// Print what a deployment consumes in a month, from its templates and from what is assumed; with prices of yours, what it costs.
    Quantities(quantities::Flags),
    /// Show what runs in a node's task, every setting of it, and which key, default or reason that comes from.
    ///
    /// Containers stand in the order in which ECS starts them. Of secrets it shows the names, for it knows no values.
    Explain {
        /// The node: node-1, or a read-only replica, replica-1. Without it the first node.
        #[arg(env = "INFRA_NODE")]
        node: Option<String>,
        /// The configuration.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
        /// Print JSON: `containers`, each with `environment` and `secrets`.
        #[arg(long)]
        json: bool,
    },
    /// Show every statement of every policy that the stacks have, of roles, keys, topics, endpoints and the file system, and why.
    Policies {
        /// The configuration.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
        /// Print JSON: a list with `resource`, `policy`, `statement` and `reasons` of each.
        #[arg(long)]
        json: bool,
    },
    /// Print a picture of the deployment as a Mermaid flowchart, which GitHub, GitLab and editors show.
    Diagram {
        /// The configuration.
        #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
        config: PathBuf,
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
    #[error("{}", joined(.0))]
    Init(Vec<init::Wrong>),
    #[error("{}", lines(.path, &.source.0))]
    Config { path: PathBuf, source: ConfigErrors },
    #[error("could not write the assembly to `{out}`")]
    Assembly {
        out: PathBuf,
        #[source]
        source: AssemblyError,
    },
    #[error("--kms-key: {0}")]
    Key(#[source] ValueError),
    #[error("{}", joined(.0))]
    Assumptions(Vec<Mistake>),
    #[error("could not read the prices `{path}`")]
    ReadPrices {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}", lines(.path, .mistakes))]
    Prices { path: PathBuf, mistakes: Vec<Mistake> },
    #[error("could not read the assembly `{path}`")]
    Snapshot {
        path: PathBuf,
        #[source]
        source: SnapshotError,
    },
    #[error("`{node}` is no node of {deployment}; {there}")]
    Node { node: String, deployment: String, there: String },
    #[error("{}", joined(.0))]
    Refused(Vec<Refusal>),
}

/// Every one on a line of its own.
fn joined(errors: &[impl ToString]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
}

/// Every mistake on a line of its own.
fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
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
            Self::Init(_) => Some("`infra init --stdout` shows every key with its default and what is allowed"),
            Self::Assumptions(_) => Some("`infra quantities` prints what it assumes, each with its key"),
            Self::ReadPrices { .. } | Self::Prices { .. } => {
                Some("`infra quantities --prices-template` prints an empty price file with every key")
            }
            Self::Refused(_) => Some("nothing of this should happen by accident; --allow NAME accepts one of them"),
            Self::Snapshot { .. } => Some("name a configuration, or a directory that `infra synth` wrote"),
            Self::Read { .. } | Self::Write { .. } | Self::Assembly { .. } | Self::Key(_) | Self::Node { .. } => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Key(_) | Self::Assumptions(_) | Self::Node { .. } => 2,
            Self::Init(_) | Self::Config { .. } | Self::Prices { .. } => 78,
            Self::Assembly { source: AssemblyError::Template { .. }, .. } => 70,
            Self::Exists { .. } | Self::Assembly { source: AssemblyError::Foreign { .. }, .. } => 77,
            Self::Read { .. }
            | Self::ReadPrices { .. }
            | Self::Write { .. }
            | Self::Assembly { .. }
            | Self::Snapshot { .. } => 74,
        }
    }
}

/// The command line as data, for manuals and completions.
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
        Command::Init(flags) => init(flags),
        Command::Synth { config, out } => synth(config, out),
        Command::Validate(flags) => return validated(flags),
        Command::Repositories { out, kms_key } => repositories(out, kms_key),
        Command::Diff { old, new, allow, json } => diff(old, new, allow, *json),
        Command::Compose { config } => read(config).map(|deployment| {
            print(&compose(&deployment));
            format!("the tasks of {} for docker compose", deployment.name())
        }),
        Command::RestorePlan { config, recovery_point, nodes, backed_up_nodes } => read(config).map(|deployment| {
            print(&restore_plan(&deployment, recovery_point, *nodes, *backed_up_nodes));
            format!("how to restore {}; nothing was done", deployment.name())
        }),
        Command::Policies { config, json } => read_quietly(config).map(|(deployment, _)| {
            let policies = Policies::new(&deployment);
            print(&if *json { format!("{:#}\n", policies.to_json()) } else { policies.to_string() });
            format!("what the stacks of {} allow and refuse", deployment.name())
        }),
        Command::Diagram { config } => read_quietly(config).map(|(deployment, _)| {
            print(&diagram(&deployment));
            format!("a picture of {}", deployment.name())
        }),
        Command::Explain { node, config, json } => explain(config, node.as_deref(), *json),
        Command::Quantities(flags) => quantities(flags),
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

/// Prints what the program is for. Whoever reads it may have seen enough of it (`| head`).
fn print(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("could not print: {error}"),
        _ => {}
    }
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

fn init(flags: &init::Flags) -> Result<String, Error> {
    let text = init::configuration(flags).map_err(Error::Init)?;
    if flags.stdout {
        print(&text);
        return Ok("a configuration; nothing was written".to_owned());
    }
    let path = &flags.config;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::Write { path: path.clone(), source },
        })?;
    file.write_all(text.as_bytes()).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(format!("wrote {}; next: infra synth", path.display()))
}

fn cluster_size(text: &str) -> Result<ClusterSize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number")).and_then(ClusterSize::new)
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
        "cdk bootstrap aws://ACCOUNT/REGION, once, for a template is larger than CloudFormation takes without a bucket; then "
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

fn explain(path: &Path, name: Option<&str>, json: bool) -> Result<String, Error> {
    let (deployment, text) = read_quietly(path)?;
    let there: Vec<_> = deployment.members().map(Node::name).collect();
    let name = name.unwrap_or(there[0]);
    let node = deployment.members().find(|node| node.name() == name).ok_or_else(|| Error::Node {
        node: name.to_owned(),
        deployment: deployment.name().to_string(),
        there: nearest(name, &there),
    })?;
    let explanation = Explanation::new(&deployment, node, &Stated::in_text(&text));
    print(&if json { format!("{:#}\n", explanation.to_json()) } else { explanation.to_string() });
    Ok(format!("the task of {name} in {}", deployment.name()))
}

/// Every mistake is told: in the configuration, of assumptions and in the price file.
fn quantities(flags: &quantities::Flags) -> Result<String, Error> {
    if flags.prices_template {
        print(&quantities::prices_template());
        return Ok("an empty price file; fill it in, and give it to infra quantities --prices FILE".to_owned());
    }
    let mut errors = Vec::new();
    let deployment = read_quietly(&flags.config).map_err(|error| errors.push(error)).ok();
    let prices = flags.prices.as_ref().and_then(|path| {
        let text = fs::read_to_string(path);
        text.map_err(|source| errors.push(Error::ReadPrices { path: path.clone(), source })).ok()
    });
    let [assumptions, mistakes] = quantities::mistakes(flags, prices.as_deref());
    if !assumptions.is_empty() {
        errors.push(Error::Assumptions(assumptions));
    }
    if let Some(path) = flags.prices.as_ref().filter(|_| !mistakes.is_empty()) {
        errors.push(Error::Prices { path: path.clone(), mistakes });
    }
    if let Some(last) = errors.pop() {
        for error in &errors {
            eprintln!("error: {}", chain(error));
        }
        return Err(last);
    }
    let found = deployment.and_then(|(deployment, _)| Quantities::new(&deployment, flags, prices.as_deref()));
    let found = found.expect("every mistake was told");
    for key in found.unused() {
        eprintln!("warning: --assume {key}: nothing of this deployment depends on it");
    }
    print(&if flags.json { format!("{:#}\n", found.to_json()) } else { found.to_string() });
    Ok(match found.missing().len() {
        0 => "an estimate by what is assumed; nothing was asked of AWS".to_owned(),
        missing => {
            format!("an estimate by what is assumed, and {missing} prices are missing; nothing was asked of AWS")
        }
    })
}

/// What was found is told, and so is the exit code.
fn validated(flags: &validate::Flags) -> ExitCode {
    let report = validate::validate(flags);
    if flags.json {
        print(&format!("{:#}\n", report.to_json()));
    } else {
        eprint!("{report}");
    }
    let (code, hint) = match report.verdict() {
        Verdict::Good => return ExitCode::SUCCESS,
        Verdict::Warned => (1, "warnings are failures, because of --strict"),
        Verdict::Unread => {
            (74, "name files that are there; `infra init` writes a commented configuration to start from")
        }
        Verdict::Mistakes => (78, "`infra init --stdout` shows every key with its default and what is allowed"),
        Verdict::Collisions => (78, "what deployments can share and how is in docs/several-deployments.md"),
    };
    eprintln!("hint: {hint}");
    ExitCode::from(code)
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
