//! Three whole tasks, each of certgen, guard with a server, and bootstrap, while everything that can be away is away at
//! times: killed, stopped and frozen processes, lost tasks, an AWS and a name server that do not answer or refuse, and
//! rotations of passwords and of the certificate authority in between. Every task begins with a certificate that is due.
//!
//! After each round of strikes the deployment must come back by itself to all of what is promised. No container may end that
//! was not struck, and no task may turn unhealthy that was healthy.
//!
//! `TASKS_ROUNDS` sets how many rounds are played. A run prints its seed; `CHAOS_SEED` plays the same strikes again. How
//! processes interleave is not up to the seed.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]
#![allow(clippy::print_stderr, reason = "the seed, and what happened, are printed for whoever plays it again")]

mod account;
mod first_boot;
mod growth;
mod lines;
mod orchestrator;
mod proof;
mod strike;

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use infra::{Config, ContainerName, Deployment};
use testkit::aws::Aws;
use testkit::cluster::{Cluster, Ground};
use testkit::net::own_loopback;
use testkit::programs::Programs;
use testkit::proxy::{FaultProxy, Upstream};
use tokio::sync::mpsc::unbounded_channel;

use self::orchestrator::Orchestrator;
use self::proof::Proof;
use self::strike::Strike;

/// Every kind of strike begins one of them.
const DEFAULT_ROUNDS: usize = 11;
/// From the last strike until all is in order: what was held back must be given up first, and a machine may be slow.
const CONVERGED_WITHIN: Duration = Duration::from_mins(4);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Times of real tasks, shortened alike as far as they can be.
fn environment(root: &Path, endpoint: String) -> Vec<(String, String)> {
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut environment: Vec<_> = [
        ("BOOTSTRAP_POLL_INTERVAL", "1s"),
        ("BOOTSTRAP_REGISTRATION_INTERVAL", "1s"),
        ("BOOTSTRAP_TIME_SCALE", "0.1"),
        ("GUARD_HEARTBEAT_INTERVAL", "500ms"),
        ("GUARD_HEARTBEAT_TIMEOUT", "10s"),
        ("GUARD_TAKEOVER_AFTER", "11s"),
        ("STANDIN_TIME_SCALE", "0.2"),
    ]
    .map(text)
    .into();
    environment.push(("AWS_ENDPOINT_URL".to_owned(), endpoint));
    for program in ["BOOTSTRAP", "CERTGEN"] {
        environment.push((format!("{program}_ALLOW_HTTP_ENDPOINT"), "true".to_owned()));
    }
    environment.push(("STANDIN_TMP".to_owned(), root.join("tmp").to_string_lossy().into_owned()));
    environment
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_struck_the_deployment_comes_back_by_itself() {
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("TASKS_ROUNDS").map_or(DEFAULT_ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    eprintln!("tasks: {rounds} rounds; the same strikes again: CHAOS_SEED={seed} TASKS_ROUNDS={rounds}");

    let root = tempfile::tempdir().unwrap();
    let config = Config::parse("name = \"es\"\ncluster.nodes = 3\n[[users]]\nlogin = \"orders\"\n").unwrap();
    let deployment = Deployment::new(config.with_port(own_loopback().unwrap().port()));
    let (aws, programs) = (Aws::start().await.unwrap(), Programs::beside_this_test());
    let proxy = FaultProxy::start(Upstream::endpoint(&aws.endpoint())).await.unwrap();
    let (events, received) = unbounded_channel();
    let ground = Ground {
        deployment: &deployment,
        aws: &aws,
        programs: &programs,
        root: root.path(),
        environment: environment(root.path(), proxy.endpoint()),
        // bootstrap wants the model's validity, so that what the init container issued is due at once.
        environment_of: vec![(ContainerName::Certgen, "CERTGEN_VALIDITY".to_owned(), "1h".to_owned())],
        events,
    };
    let cluster = Cluster::deploy(ground).await.unwrap();
    let proof = Proof::of(&deployment, &aws, &cluster);
    let mut ecs = Orchestrator::new(cluster, &proxy, received);
    let mut random = Rng::with_seed(seed);

    ecs.converge(&proof, CONVERGED_WITHIN).await;
    for round in 1..=rounds {
        let begun = Instant::now();
        let strikes = Strike::of_a_round(&mut random, round);
        for (pause, strike) in &strikes {
            ecs.go_on(*pause).await;
            strike.apply(&mut ecs, &proof).await;
        }
        ecs.go_on(Duration::from_millis(random.u64(..3000))).await;
        ecs.calm_down();
        let (struck, calm) = (begun.elapsed().as_secs_f64(), Instant::now());
        ecs.converge(&proof, CONVERGED_WITHIN).await;
        let named: Vec<_> = strikes.iter().map(|(_, strike)| strike.to_string()).collect();
        let after = calm.elapsed().as_secs_f64();
        eprintln!("round {round}: {} in {struck:.1} s; in order {after:.1} s later", named.join(", "));
    }
    let tally = ecs.finish().await;
    eprintln!("{tally}");
    assert!(tally.renewals >= 3, "every task began with a certificate that was due: {tally}");
}
