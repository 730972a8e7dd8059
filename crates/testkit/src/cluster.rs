//! The tasks of a whole deployment, with what CloudFormation and ECS do around them: secrets and services, one task a
//! node, its address in the node's own service, and another task under another address when one is lost.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certgen::{Validity, issue_authority};
use infra::{ContainerName, Deployment, Node, Value};
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedSender;

use crate::aws::{ACCOUNT, Aws, REGION};
use crate::dns::DnsServer;
use crate::ecs::TaskIdentity;
use crate::net::loopback_with;
use crate::programs::Programs;
use crate::task::{Deployed, Event, Place, RunningTask, TaskError};

/// What a deployment is put on.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The deployment; its port must be free on loopback addresses.
    pub deployment: &'a Deployment,
    /// The account.
    pub aws: &'a Aws,
    /// The programs that images hold.
    pub programs: &'a Programs,
    /// The directory for all volumes.
    pub root: &'a Path,
    /// Variables that are set in every container besides its own.
    pub environment: Vec<(String, String)>,
    /// Those of single containers, which win over the model's.
    pub environment_of: Vec<(ContainerName, String, String)>,
    /// Is told what happens in the tasks.
    pub events: UnboundedSender<Event>,
}

/// A deployment. What still runs when it is dropped is killed.
#[derive(Debug)]
pub struct Cluster<'a> {
    ground: Ground<'a>,
    deployed: Deployed,
    dns: DnsServer,
    image_files: Vec<(String, PathBuf)>,
    nodes: Vec<Slot<'a>>,
}

/// A node and the task that runs it, if one does.
#[derive(Debug)]
struct Slot<'a> {
    node: &'a Node,
    /// Variables of this node's containers alone.
    environment: Vec<(String, String)>,
    tasks_so_far: usize,
    running: Option<(TaskIdentity, RunningTask)>,
}

impl<'a> Cluster<'a> {
    /// Creates what the stacks declare; no task is started yet.
    ///
    /// # Errors
    ///
    /// If a directory, a file or a socket cannot be made.
    pub async fn deploy(ground: Ground<'a>) -> io::Result<Self> {
        let deployed = Deployed::create(ground.deployment, ground.aws);
        let dns = DnsServer::start(ground.aws).await?;
        let slot = |node| Slot { node, environment: Vec::new(), tasks_so_far: 0, running: None };
        let wanted = ground.deployment.members().filter(|node| ground.deployment.desired_count(node) > 0);
        let nodes: Vec<_> = wanted.map(slot).collect();
        let image_files = authority_files(&nodes[0], ground.root)?;
        Ok(Self { ground, deployed, dns, image_files, nodes })
    }

    /// What the stacks made.
    pub fn deployed(&self) -> &Deployed {
        &self.deployed
    }

    /// The name server of the deployment's network.
    pub fn dns(&self) -> &DnsServer {
        &self.dns
    }

    /// The names of the nodes that are to have a task, in their order.
    pub fn names(&self) -> Vec<&'a str> {
        self.nodes.iter().map(|slot| slot.node.name()).collect()
    }

    /// Sets a variable in all containers of one node from its next task on.
    pub fn set(&mut self, node: &str, name: &str, value: &str) {
        self.slot(node).environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts a task for a node, under an address that it has not had before.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if the task does not start.
    pub async fn start(&mut self, node: &str) -> Result<(), TaskError> {
        let address = loopback_with(self.ground.deployment.port());
        let address = address.map_err(|error| TaskError::Io("find a free address", error))?.ip();
        let (ground, dns) = (&self.ground, self.dns.address());
        let found = self.nodes.iter_mut().find(|slot| slot.node.name() == node);
        let slot = found.expect("only nodes of the deployment are named");
        slot.tasks_so_far += 1;
        let identity = identity(slot.node, address);
        let volumes = ground.root.join(node);
        let mut environment = ground.environment.clone();
        let line = ground.deployment.line().as_str();
        let known =
            [("BOOTSTRAP_DNS", dns.to_string()), ("STANDIN_DNS", dns.to_string()), ("STANDIN_LINE", line.into())];
        environment.extend(known.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(slot.environment.iter().cloned());
        let place = Place {
            root: &volumes.join(format!("task-{}", slot.tasks_so_far)),
            data: &volumes.join("data"),
            image_files: &self.image_files,
            identity: &identity,
            programs: ground.programs,
            deployed: &self.deployed,
            aws: ground.aws,
            environment,
            environment_of: ground.environment_of.clone(),
            events: ground.events.clone(),
        };
        // ECS registers a task before it is RUNNING.
        let service = self.deployed.node_service(node);
        ground.aws.cloud_map(|cloud_map| cloud_map.register_task(service, &identity));
        let task = RunningTask::start(slot.node, &place).await?;
        slot.running = Some((identity, task));
        Ok(())
    }

    /// The task of a node.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn task(&self, node: &str) -> &RunningTask {
        let (_, task) = self.running(node);
        task
    }

    /// Where a node's server listens.
    ///
    /// # Panics
    ///
    /// If it has no task.
    pub fn address(&self, node: &str) -> SocketAddr {
        let (identity, _) = self.running(node);
        SocketAddr::new(identity.address, self.ground.deployment.port())
    }

    /// Waits until the tasks of all nodes are healthy.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if one is not within `deadline`, or an essential container ends.
    pub async fn wait_until_healthy(&mut self, deadline: Duration) -> Result<(), TaskError> {
        for (_, task) in self.nodes.iter_mut().filter_map(|slot| slot.running.as_mut()) {
            task.wait_until_healthy(deadline).await?;
        }
        Ok(())
    }

    /// Fails if an essential container of any task has ended.
    ///
    /// # Errors
    ///
    /// [`TaskError::Essential`] with its name.
    pub fn check_essential(&mut self) -> Result<(), TaskError> {
        self.nodes.iter_mut().filter_map(|slot| slot.running.as_mut()).try_for_each(|(_, task)| task.check_essential())
    }

    /// Whether a node has a task.
    pub fn has_task(&self, node: &str) -> bool {
        self.nodes.iter().any(|slot| slot.node.name() == node && slot.running.is_some())
    }

    /// Fails if an essential container of a node's task has ended.
    ///
    /// # Errors
    ///
    /// [`TaskError::Essential`] with its name.
    ///
    /// # Panics
    ///
    /// If the node has no task.
    pub fn check_task(&mut self, node: &str) -> Result<(), TaskError> {
        let running = self.slot(node).running.as_mut();
        running.expect("only nodes with a task are asked for it").1.check_essential()
    }

    /// Takes a node's task away without notice. ECS notices and removes its address.
    ///
    /// # Errors
    ///
    /// [`TaskError::Io`] if a process cannot be waited for.
    ///
    /// # Panics
    ///
    /// If the node has no task.
    pub async fn kill(&mut self, node: &str) -> Result<(), TaskError> {
        let (identity, task) = self.slot(node).running.take().expect("only a running task is killed");
        task.kill().await?;
        self.forget(node, &identity);
        Ok(())
    }

    /// Ends one container of a node's task as ECS does when it stops the task. With the last one, the database, the
    /// address goes.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if it had to be killed.
    pub async fn stop(&mut self, node: &str, container: ContainerName) -> Result<std::process::ExitStatus, TaskError> {
        let (identity, task) = self.slot(node).running.as_mut().expect("only a running task is stopped");
        let identity = identity.clone();
        let status = task.stop(container).await?;
        if container == ContainerName::EventStore {
            self.slot(node).running = None;
            self.forget(node, &identity);
        }
        Ok(status)
    }

    fn forget(&self, node: &str, identity: &TaskIdentity) {
        let service = self.deployed.node_service(node);
        self.ground.aws.cloud_map(|cloud_map| cloud_map.deregister_task(service, identity));
    }

    fn slot(&mut self, node: &str) -> &mut Slot<'a> {
        let found = self.nodes.iter_mut().find(|slot| slot.node.name() == node);
        found.expect("only nodes of the deployment are named")
    }

    fn running(&self, node: &str) -> &(TaskIdentity, RunningTask) {
        let slot = self.nodes.iter().find(|slot| slot.node.name() == node);
        slot.and_then(|slot| slot.running.as_ref()).expect("only nodes with a task are asked for it")
    }
}

fn identity(node: &Node, address: IpAddr) -> TaskIdentity {
    let id = uuid::Uuid::new_v4().simple().to_string();
    TaskIdentity {
        task_arn: format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/testkit/{id}"),
        family: node.name().to_owned(),
        address,
    }
}

/// Where the certgen image of a deployment with a CA of its own has certificate and key: made here, as its operator would.
fn authority_files(slot: &Slot<'_>, root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let certgen = &slot.node.task().containers[0];
    let path = |variable: &str| {
        certgen.variables().find_map(|(name, value)| match value {
            Value::Literal(path) if name == variable => Some(path.clone()),
            _ => None,
        })
    };
    let (Some(certificate), Some(key)) = (path("CERTGEN_CA_CERTIFICATE"), path("CERTGEN_CA_KEY")) else {
        return Ok(Vec::new());
    };
    let directory = root.join("authority");
    fs::create_dir(&directory)?;
    let files = [directory.join("ca.crt"), directory.join("ca.key")];
    write_authority(&files[0], &files[1])?;
    let [certificate_file, key_file] = files;
    Ok(vec![(certificate, certificate_file), (key, key_file)])
}

/// Makes a certificate authority and writes its certificate and, readable by its owner alone, its key.
///
/// # Errors
///
/// If a file cannot be written or exists.
pub fn write_authority(certificate: &Path, key: &Path) -> io::Result<()> {
    let authority = issue_authority(Validity::AUTHORITY, OffsetDateTime::now_utc()).map_err(io::Error::other)?;
    let state = authority.to_state();
    let (certificate_pem, key_pem) = state.split_at(authority.certificate().len());
    for (path, text, mode) in [(certificate, certificate_pem, 0o444), (key, key_pem, 0o400)] {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())?;
    }
    Ok(())
}
