//! `cargo xtask demo`: the real programs secure a node or a cluster, in the order and with the command lines of the tasks
//! that infra models. The database and AWS are stand-ins; everything else is what runs on ECS.

mod cost;
mod proof;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use infra::{Config, ContainerName, Deployment};
use testkit::aws::Aws;
use testkit::cluster::{Cluster, Ground};
use testkit::net::own_loopback;
use testkit::programs::Programs;
use tokio::sync::mpsc::unbounded_channel;

use self::cost::Cost;
use self::proof::Client;
use crate::timeline::Timeline;
use crate::{Failure, build};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Number of nodes: 1, 3, 5 or 7. Of a cluster the leader's task is killed, and comes back under another address.
    #[arg(long, default_value = "1")]
    nodes: usize,
    /// Print the password in the connection string.
    #[arg(long)]
    show_secrets: bool,
    /// Server line of the stand-in.
    #[arg(long, default_value = "24.10")]
    line: String,
    /// Source of the certificate authority: secret, files, or for a single node ephemeral.
    #[arg(long, default_value = "secret")]
    ca: String,
    /// Run the programs in this directory instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

const HEALTHY_WITHIN: Duration = Duration::from_mins(1);
const INTERRUPTED: u8 = 130;
/// guard lets a successor wait until the heartbeat of a lost holder has stopped for three minutes. Nobody watches a demo for so long, so
/// all its times are shortened alike.
const GUARD_TIMES: [(&str, &str); 3] =
    [("GUARD_HEARTBEAT_INTERVAL", "500ms"), ("GUARD_HEARTBEAT_TIMEOUT", "3s"), ("GUARD_TAKEOVER_AFTER", "3500ms")];

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
    let root = tempfile::tempdir().map_err(Failure::io("create a directory for the volumes"))?;
    let own = own_loopback().map_err(Failure::io("find a free port"))?;
    let deployment = deployment(options, own.port())?;
    let timeline = Timeline::new(options.nodes > 1);

    let aws = Aws::start().await.map_err(failed("start the stand-in for AWS"))?;
    let (events, received) = unbounded_channel();
    let printing = tokio::spawn(timeline.follow(received));
    let journal = root.path().join("journal.jsonl");
    let ground = Ground {
        deployment: &deployment,
        aws: &aws,
        programs,
        root: root.path(),
        environment: environment(options, &aws, root.path(), &journal),
        environment_of: Vec::new(),
        events,
    };
    let mut cluster = Cluster::deploy(ground).await.map_err(failed("create what the stacks declare"))?;
    let names: Vec<_> = deployment.logins().map(|login| deployment.secret_name(login)).collect();
    timeline.line("stacks", &format!("secrets {} and service {}", names.join(", "), deployment.client_host()));

    let service = cluster.deployed().client_service().to_owned();
    let client = Client { deployment: &deployment, aws: &aws, service, timeline };
    start(&mut cluster, timeline).await?;
    client.wait_until_registered(&mut cluster).await?;
    let registered_after = timeline.elapsed();
    let cost = Cost::measure(&cluster, &aws, &journal)?;
    let nodes = deployment.nodes().len();
    let secret = client.prove(nodes).await?;
    if nodes > 1 {
        lose_the_leader(&mut cluster, &client).await?;
    }
    stop(&mut cluster, &client).await?;
    drop(cluster);
    printing.await.map_err(failed("print the timeline"))?;
    timeline.line("registry", "✓ no entry is left, and each was gone before its database stopped; all ended with 0");

    eprintln!(
        "\nregistered after {:.2} s, all proven after {:.2} s",
        registered_after.as_secs_f64(),
        timeline.elapsed().as_secs_f64()
    );
    eprintln!("{cost}");
    eprintln!("\nconnect with  {}", secret.connection(options.show_secrets));
    if !options.show_secrets {
        eprintln!("(--show-secrets shows the password)");
    }
    Ok(())
}

/// As `infra init` would write it, but for its port and with a user of an application.
fn deployment(options: &Options, port: u16) -> Result<Deployment, Failure> {
    let mut text = infra::TEMPLATE.replace("line = \"24.10\"", &format!("line = {:?}", options.line));
    text = text.replace("ca = \"secret\"", &format!("ca = {:?}", options.ca));
    if options.ca == "files" {
        text = text.replace("# ca_certificate", "ca_certificate").replace("# ca_key", "ca_key");
    }
    if options.nodes != 1 {
        text = text.replace("nodes = 1", &format!("nodes = {}", options.nodes));
    }
    text.push_str("\n[[users]]\nlogin = \"orders\"\nfull_name = \"Orders\"\ngroups = [\"$ops\"]\n");
    let config = Config::parse(&text).map_err(failed("read the configuration"))?;
    Ok(Deployment::new(config.with_port(port)))
}

/// The variables that are not the model's.
fn environment(options: &Options, aws: &Aws, root: &Path, journal: &Path) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = vec![
        ("AWS_ENDPOINT_URL".to_owned(), aws.endpoint()),
        ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT".to_owned(), "true".to_owned()),
        ("CERTGEN_ALLOW_HTTP_ENDPOINT".to_owned(), "true".to_owned()),
        ("STANDIN_LINE".to_owned(), options.line.clone()),
        ("STANDIN_JOURNAL".to_owned(), text(journal)),
        ("STANDIN_TMP".to_owned(), text(&root.join("tmp"))),
    ];
    if options.nodes > 1 {
        environment.extend(GUARD_TIMES.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    environment
}

/// Starts every node's task. In a cluster the last node's server exits 0 twice on its first boot, as real ones were seen
/// to do (observed §1): guard starts it again in place.
async fn start(cluster: &mut Cluster<'_>, timeline: Timeline) -> Result<(), Failure> {
    let names = cluster.names();
    if let [_, .., last] = names.as_slice() {
        cluster.set(last, "STANDIN_FIRST_BOOT_EXITS", "2");
        timeline.line("demo", &format!("{last} will exit twice on its first boot; guard's times are shortened"));
    }
    for name in names {
        cluster.start(name).await.map_err(failed("start the tasks"))?;
    }
    cluster.wait_until_healthy(HEALTHY_WITHIN).await.map_err(failed("wait until the tasks are healthy"))
}

/// Kills the leader's task. The others go on; its successor, under another address, is a member and registered again.
async fn lose_the_leader(cluster: &mut Cluster<'_>, client: &Client<'_>) -> Result<(), Failure> {
    let timeline = client.timeline;
    let mut places: Vec<_> = cluster.names().into_iter().map(|name| (name, cluster.address(name))).collect();
    let leader = client.wait_for_leader(&places).await?;
    let before = cluster.address(leader);
    cluster.kill(leader).await.map_err(failed("kill the leader's task"))?;
    let killed = Instant::now();
    timeline.line("demo", &format!("the task of {leader}, the leader, was killed"));

    places.retain(|(name, _)| *name != leader);
    let successor = client.wait_for_leader(&places).await?;
    timeline.line("demo", &format!("✓ {successor} leads {:.2} s later", killed.elapsed().as_secs_f64()));
    for (_, address) in &places {
        client.prove_at(*address).await?;
    }
    timeline.line("consumer", "✓ the stored passwords open the nodes that are left, and changeit does not");
    cluster.check_essential().map_err(failed("keep the other tasks"))?;

    cluster.start(leader).await.map_err(failed("start the task again"))?;
    client.wait_until_registered(cluster).await?;
    let (back, after) = (killed.elapsed().as_secs_f64(), cluster.address(leader));
    timeline.line(
        "demo",
        &format!("✓ {leader} is registered again {back:.2} s later, at {} instead of {}", after.ip(), before.ip()),
    );
    cluster.wait_until_healthy(HEALTHY_WITHIN).await.map_err(failed("wait until the tasks are healthy"))?;
    client.prove(cluster.names().len()).await.map(drop)
}

/// SIGTERM in ECS's order, node by node. When a sidecar has ended, its instance is gone and its database still answers.
async fn stop(cluster: &mut Cluster<'_>, client: &Client<'_>) -> Result<(), Failure> {
    for name in cluster.names() {
        let step = "withdraw the node";
        let status = cluster.stop(name, ContainerName::Bootstrap).await.map_err(failed(step))?;
        require(step, status.success(), format!("bootstrap ended with {status}"))?;
        let address = cluster.address(name);
        require(step, !client.is_registered(name, address), "the instance is still registered")?;
        require(step, client.answers(address).await?, "the database stopped first")?;

        let step = "stop the database";
        let status = cluster.stop(name, ContainerName::EventStore).await.map_err(failed(step))?;
        require(step, status.success(), format!("it ended with {status}"))?;
    }
    Ok(())
}
