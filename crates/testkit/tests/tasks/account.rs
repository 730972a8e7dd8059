//! An account and its volumes, in which deployments follow each other.

use std::path::PathBuf;

use infra::{Config, Deployment};
use tempfile::TempDir;
use testkit::aws::Aws;
use testkit::cluster::{Cluster, Ground};
use testkit::net::own_loopback;
use testkit::programs::Programs;
use testkit::proxy::{FaultProxy, Upstream};
use tokio::sync::mpsc::unbounded_channel;

use super::orchestrator::Orchestrator;
use super::proof::Proof;
use super::{CONVERGED_WITHIN, environment};

pub(crate) struct Account {
    root: TempDir,
    aws: Aws,
    port: u16,
}

impl Account {
    pub(crate) async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root, aws: Aws::start().await.unwrap(), port: own_loopback().unwrap().port() }
    }

    /// Deploys a configuration, with the data that is there, waits until all of what is promised holds, looks, and stops all
    /// tasks in order.
    pub(crate) async fn comes_up(&self, text: &str, look: impl AsyncFnOnce(&Proof<'_>, &Cluster<'_>)) {
        self.comes_up_after(text, async |_| {}, look).await;
    }

    /// The same after something has happened to the deployment, none of whose tasks was started yet.
    pub(crate) async fn comes_up_after(
        &self,
        text: &str,
        happen: impl AsyncFnOnce(&mut Cluster<'_>),
        look: impl AsyncFnOnce(&Proof<'_>, &Cluster<'_>),
    ) {
        let Self { root, aws, port } = self;
        let deployment = Deployment::new(Config::parse(text).unwrap().with_port(*port));
        let programs = Programs::beside_this_test();
        let proxy = FaultProxy::start(Upstream::endpoint(&aws.endpoint())).await.unwrap();
        let (events, received) = unbounded_channel();
        let ground = Ground {
            deployment: &deployment,
            aws,
            programs: &programs,
            root: root.path(),
            environment: environment(root.path(), proxy.endpoint()),
            environment_of: Vec::new(),
            events,
        };
        let mut cluster = Cluster::deploy(ground).await.unwrap();
        happen(&mut cluster).await;
        let proof = Proof::of(&deployment, aws, &cluster);
        let mut ecs = Orchestrator::new(cluster, &proxy, received);
        ecs.converge(&proof, CONVERGED_WITHIN).await;
        look(&proof, &ecs.cluster).await;
        ecs.finish().await;
    }

    /// The data directory of a node.
    pub(crate) fn data_dir(&self, node: &str) -> PathBuf {
        self.root.path().join(node).join("data")
    }
}
