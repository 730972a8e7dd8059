//! Tasks as infra makes them for every server line: the model's own variables, paths and program, with nothing struck. On
//! lines that have no first passwords the default ones are what bootstrap finds.

use infra::{Config, Deployment, ServerLine};
use testkit::aws::Aws;
use testkit::cluster::{Cluster, Ground};
use testkit::net::own_loopback;
use testkit::programs::Programs;
use testkit::proxy::{FaultProxy, Upstream};
use tokio::sync::mpsc::unbounded_channel;

use super::orchestrator::Orchestrator;
use super::proof::Proof;
use super::{CONVERGED_WITHIN, environment};

/// Deploys it and waits until all of what is promised holds.
async fn comes_up(text: &str) {
    let root = tempfile::tempdir().unwrap();
    let config = Config::parse(text).unwrap();
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
        environment_of: Vec::new(),
        events,
    };
    let cluster = Cluster::deploy(ground).await.unwrap();
    let proof = Proof::of(&deployment, &aws, &cluster);
    let mut ecs = Orchestrator::new(cluster, &proxy, received);
    ecs.converge(&proof, CONVERGED_WITHIN).await;
    ecs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_every_line_comes_up_and_loses_its_default_passwords() {
    for line in ServerLine::ALL {
        comes_up(&format!("name = \"es\"\n[server]\nline = \"{}\"\n", line.as_str())).await;
    }
}

/// With the old names, which have to find the others and the replica to find them.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_with_a_read_only_replica_come_up() {
    for line in ["22.10", "26"] {
        let cluster = "[cluster]\nnodes = 3\nread_only_replicas = 1\n";
        comes_up(&format!("name = \"es\"\n[server]\nline = \"{line}\"\n{cluster}")).await;
    }
}
