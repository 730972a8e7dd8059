//! `cargo xtask demo`: the real programs secure a node, in the order and with the command lines of the task that infra
//! models. The database and AWS are stand-ins; everything else is what runs on ECS.

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use http::StatusCode;
use infra::{BuiltInUser, Config, ContainerName, Deployment};
use serde_json::Value;
use testkit::aws::Aws;
use testkit::consumer;
use testkit::net::own_loopback;
use testkit::programs::Programs;
use testkit::task::{Deployed, Place, RunningTask};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::timeline::Timeline;
use crate::{Failure, build};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Print the password in the connection string.
    #[arg(long)]
    show_secrets: bool,
    /// Server line of the stand-in.
    #[arg(long, default_value = "24.10")]
    line: String,
    /// Run the programs in this directory instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

const HEALTHY_WITHIN: Duration = Duration::from_mins(1);
const REGISTERED_WITHIN: Duration = Duration::from_mins(1);
const INTERRUPTED: u8 = 130;

/// Builds, runs, proves.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let directory = if let Some(directory) = &options.programs {
        directory.clone()
    } else {
        eprintln!("building the programs");
        build::programs(root)?
    };
    let programs = Programs::in_directory(directory);
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::io("start the runtime"))?;
    runtime.block_on(async {
        tokio::select! {
            done = demo(&programs, options) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure { message: "interrupted; everything was stopped".to_owned(), code: INTERRUPTED }),
        }
    })
}

/// Names the step at which the demo failed.
fn failed<E: Display>(step: &str) -> impl Fn(E) -> Failure {
    move |error| Failure::new(format!("the demo failed at the step `{step}`: {error}"))
}

fn require(step: &str, holds: bool, finding: impl Display) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(failed(step)(finding)) }
}

async fn demo(programs: &Programs, options: &Options) -> Result<(), Failure> {
    let timeline = Timeline::new();
    let root = tempfile::tempdir().map_err(Failure::io("create a directory for the volumes"))?;
    let own = own_loopback().map_err(Failure::io("find a free port"))?;
    let deployment = deployment(options, own.port())?;
    let node = &deployment.nodes()[0];

    let aws = Aws::start().await.map_err(failed("start the stand-in for AWS"))?;
    let deployed = Deployed::create(&deployment, &aws);
    let names: Vec<_> = BuiltInUser::ALL.iter().map(|user| deployment.secret_name(*user)).collect();
    timeline.line("stacks", &format!("secrets {} and service {}", names.join(", "), deployment.client_host()));

    let (events, received) = unbounded_channel();
    let printing = tokio::spawn(timeline.follow(received));
    let journal = root.path().join("journal.jsonl");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let place = Place {
        root: root.path(),
        address: own.ip(),
        programs,
        deployed: &deployed,
        environment: vec![
            ("AWS_ENDPOINT_URL".to_owned(), aws.endpoint()),
            ("STANDIN_LINE".to_owned(), options.line.clone()),
            ("STANDIN_JOURNAL".to_owned(), text(&journal)),
            ("STANDIN_TMP".to_owned(), text(&root.path().join("tmp"))),
        ],
        events: events.clone(),
    };
    let mut task = RunningTask::start(node, &place).await.map_err(failed("start the task"))?;
    task.wait_until_healthy(HEALTHY_WITHIN).await.map_err(failed("wait until the task is healthy"))?;
    wait_until_registered(&mut task, &aws, &deployed).await?;
    let registered_after = timeline.elapsed();

    let (secret, address) = prove(&deployment, &aws, timeline).await?;
    let cost = Cost::measure(&task, &aws, &journal)?;
    stop(&mut task, &deployment, &aws, &deployed, &secret, address).await?;
    timeline.line("registry", "✓ the instance was gone before the database stopped; every process ended with 0");
    drop(task);
    drop(place);
    drop(events);
    printing.await.map_err(failed("print the timeline"))?;

    let connection = secret["connectionString"].as_str().unwrap_or_default();
    let password = secret["password"].as_str().unwrap_or_default();
    let shown = if options.show_secrets { connection.to_owned() } else { connection.replace(password, "********") };
    eprintln!(
        "\nregistered after {:.2} s, all proven after {:.2} s",
        registered_after.as_secs_f64(),
        timeline.elapsed().as_secs_f64()
    );
    eprintln!("{cost}");
    eprintln!("\nconnect with  {shown}");
    if !options.show_secrets {
        eprintln!("(--show-secrets shows the password)");
    }
    Ok(())
}

/// One node, as `infra init` would write it, but for its port.
fn deployment(options: &Options, port: u16) -> Result<Deployment, Failure> {
    let text = infra::TEMPLATE.replace("line = \"24.10\"", &format!("line = {:?}", options.line));
    let config = Config::parse(&text).map_err(failed("read the configuration"))?;
    Ok(Deployment::new(config.with_port(port)))
}

async fn wait_until_registered(task: &mut RunningTask, aws: &Aws, deployed: &Deployed) -> Result<(), Failure> {
    let step = "wait until the node is registered";
    let deadline = Instant::now() + REGISTERED_WITHIN;
    while aws.cloud_map(|cloud_map| cloud_map.instances(deployed.client_service())).is_empty() {
        task.check_essential().map_err(failed(step))?;
        require(step, Instant::now() < deadline, format!("not within {} s", REGISTERED_WITHIN.as_secs()))?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What an application would do, and what an intruder would try. Gives admin's secret and the node's address.
async fn prove(deployment: &Deployment, aws: &Aws, timeline: Timeline) -> Result<(Value, SocketAddr), Failure> {
    let (namespace, service) = (deployment.namespace().as_str(), deployment.name().as_str());
    let step = "find the registered node";
    let found = consumer::discover(&aws.endpoint(), namespace, service).await.map_err(failed(step))?;
    require(step, found.len() == 1, format!("{} addresses instead of one", found.len()))?;
    timeline.line("consumer", &format!("{} is at {}", deployment.client_host(), found[0]));

    let mut secrets = Vec::new();
    for user in BuiltInUser::ALL {
        let (name, login) = (deployment.secret_name(user), user.as_str());
        let secret = consumer::read_secret(&aws.endpoint(), &name).await.map_err(failed("read the secret"))?;
        let step = "log in with the password from the secret";
        let text =
            |key: &str| secret[key].as_str().ok_or_else(|| failed("read the secret")(format!("no `{key}` in {name}")));
        let (host, ca, password) = (text("host")?, text("caCertificate")?, text("password")?);
        require("read the secret", host == deployment.client_host(), format!("the host is {host}"))?;
        let answer = consumer::get(found[0], host, ca, "/ping", Some((login, password))).await.map_err(failed(step))?;
        require(step, answer.0 == StatusCode::OK, format!("{login}: {}", answer.0))?;
        let step = "be refused with the default password";
        let answer =
            consumer::get(found[0], host, ca, "/ping", Some((login, "changeit"))).await.map_err(failed(step))?;
        require(step, answer.0 == StatusCode::UNAUTHORIZED, format!("{login}: {}", answer.0))?;
        timeline.line("consumer", &format!("✓ {login} logs in with the password from {name}, and not with changeit"));
        secrets.push(secret);
    }
    Ok((secrets.swap_remove(0), found[0]))
}

/// SIGTERM in ECS's order. When the sidecar has ended, the instance is gone and the database still answers.
async fn stop(
    task: &mut RunningTask,
    deployment: &Deployment,
    aws: &Aws,
    deployed: &Deployed,
    secret: &Value,
    address: SocketAddr,
) -> Result<(), Failure> {
    let step = "withdraw the node";
    let status = task.stop(ContainerName::Bootstrap).await.map_err(failed(step))?;
    require(step, status.success(), format!("bootstrap ended with {status}"))?;
    let left = aws.cloud_map(|cloud_map| cloud_map.instances(deployed.client_service()));
    require(step, left.is_empty(), "the instance is still registered")?;
    let ca = secret["caCertificate"].as_str().unwrap_or_default();
    let answer = consumer::get(address, &deployment.client_host(), ca, "/info", None).await.map_err(failed(step))?;
    require(step, answer.0 == StatusCode::OK, format!("the database stopped first: {}", answer.0))?;

    let step = "stop the database";
    let status = task.stop(ContainerName::EventStore).await.map_err(failed(step))?;
    require(step, status.success(), format!("it ended with {status}"))
}

/// What the sidecar costs.
struct Cost {
    aws_calls: usize,
    database_calls: usize,
    resident_kib: u64,
    anonymous_kib: u64,
}

impl Cost {
    fn measure(task: &RunningTask, aws: &Aws, journal: &Path) -> Result<Self, Failure> {
        let step = "measure the sidecar";
        let id = task.process_id(ContainerName::Bootstrap).ok_or_else(|| failed(step)("bootstrap does not run"))?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(failed(step))?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let journal = fs::read_to_string(journal).map_err(failed(step))?;
        let entries = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // Up to the first answer that says the server is ready, bootstrap only waits; the consumer comes last.
        let entries: Vec<_> = entries.collect();
        let ready = entries.iter().position(|entry| entry["path"] == "/health/live" && entry["status"] == 204);
        let consumers = 2 * BuiltInUser::ALL.len();
        let bootstrap = entries.len().saturating_sub(ready.unwrap_or(0) + consumers);
        let of_bootstrap = |operation: &str| operation != "DiscoverInstances";
        let aws_calls =
            aws.calls().iter().filter(|call| of_bootstrap(&call.operation)).count() - BuiltInUser::ALL.len();
        Ok(Self { aws_calls, database_calls: bootstrap, resident_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:") })
    }
}

impl Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "from ready to registered: {} AWS calls, {} database calls; bootstrap at rest: {} KiB resident, {} KiB anonymous",
            self.aws_calls, self.database_calls, self.resident_kib, self.anonymous_kib
        )
    }
}
