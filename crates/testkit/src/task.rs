//! Runs the containers of a task as processes, the way ECS would: in the order of their dependencies, with the command
//! lines and variables of the model, health checks, and SIGTERM in reverse order.
//!
//! There are no containers here, so what a container would see of its own is translated: a path below a mount becomes a
//! path below the volume's directory, a program of an image becomes the program that cargo built, and the address of
//! the task's network namespace becomes the task's loopback address.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use infra::{BuiltInUser, Condition, Container, ContainerName, Deployment, Image, Node, Value, Volume};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

use crate::aws::{Aws, REGION};
use crate::ecs::{TaskEndpoints, TaskIdentity};
use crate::programs::Programs;

/// ECS asks every 10 s; here nobody wants to wait that long.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// What CloudFormation would have made before the first task starts.
#[derive(Clone, Debug)]
pub struct Deployed {
    secrets: BTreeMap<&'static str, String>,
    client_service: String,
}

impl Deployed {
    /// Creates in the double what the deployment's stacks declare and its tasks refer to.
    pub fn create(deployment: &Deployment, aws: &Aws) -> Self {
        let secret = |user: BuiltInUser| {
            let (template, key) = Deployment::secret_template(user);
            let name = deployment.secret_name(user);
            (user.as_str(), aws.secrets(|secrets| secrets.generate(&name, &template, key, infra::PASSWORD_LENGTH)))
        };
        let (namespace, name) = (deployment.namespace().as_str(), deployment.name().as_str());
        Self {
            secrets: BuiltInUser::ALL.into_iter().map(secret).collect(),
            client_service: aws.cloud_map(|cloud_map| cloud_map.create_service(namespace, name)),
        }
    }

    /// The id of the service that clients look up.
    pub fn client_service(&self) -> &str {
        &self.client_service
    }

    fn resolve(&self, value: &Value) -> String {
        match value {
            Value::Literal(text) => text.clone(),
            Value::Region => REGION.to_owned(),
            Value::Secret(user) => self.secrets[user.as_str()].clone(),
            Value::ClientService => self.client_service.clone(),
        }
    }
}

/// Something that happened to a container.
#[derive(Debug)]
pub enum Event {
    /// It was started with this command line.
    Started(ContainerName, String),
    /// It printed a line.
    Line(ContainerName, String),
    /// ECS calls it healthy.
    Healthy(ContainerName),
    /// It got SIGTERM.
    Stopping(ContainerName),
    /// It has ended.
    Ended(ContainerName, ExitStatus, Duration),
}

/// Why a task did not do what ECS expects of it.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The system refused something.
    #[error("could not {0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// A container that others wait for ended with another code than 0, or did not end.
    #[error("{0} was to end with 0: {1}")]
    Dependency(&'static str, String),
    /// An essential container ended by itself.
    #[error("{0} is essential and ended with {1}")]
    Essential(&'static str, ExitStatus),
    /// The task did not become healthy.
    #[error("{0} was not healthy within {1} s")]
    Unhealthy(&'static str, u64),
    /// A container had to be killed.
    #[error("{0} did not end within {1} s of SIGTERM")]
    Killed(&'static str, u64),
}

/// Where a task runs.
#[derive(Debug)]
pub struct Place<'a> {
    /// The directory for its volumes.
    pub root: &'a Path,
    /// Its address; tests use those of 127.0.0.0/8.
    pub address: IpAddr,
    /// The programs that its images hold.
    pub programs: &'a Programs,
    /// What its references stand for.
    pub deployed: &'a Deployed,
    /// The variables that are set in every container besides its own, for example the endpoint of AWS.
    pub environment: Vec<(String, String)>,
    /// Is told what happens.
    pub events: UnboundedSender<Event>,
}

/// A running task. What still runs when it is dropped is killed.
#[derive(Debug)]
pub struct RunningTask {
    containers: Vec<Running>,
    events: UnboundedSender<Event>,
    _endpoints: TaskEndpoints,
}

#[derive(Debug)]
struct Running {
    model: Container,
    child: Child,
    started: Instant,
    ended: Option<ExitStatus>,
    health_check: Option<Check>,
}

/// A health check as it is run on this machine.
#[derive(Clone, Debug)]
struct Check {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl RunningTask {
    /// Starts the containers one after the other, each when its dependencies are met.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if a dependency is not met; what was started is killed.
    pub async fn start(node: &Node, place: &Place<'_>) -> Result<Self, TaskError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let identity = TaskIdentity {
            task_arn: format!("arn:aws:ecs:{REGION}:{}:task/testkit/{id}", crate::aws::ACCOUNT),
            family: node.name().to_owned(),
            address: place.address,
        };
        let endpoints = TaskEndpoints::start(identity).await.map_err(|error| TaskError::Io("serve the task", error))?;
        let mut environment = place.environment.clone();
        environment.extend(endpoints.environment());
        let mut task = Self { containers: Vec::new(), events: place.events.clone(), _endpoints: endpoints };
        for container in &node.task().containers {
            for (dependency, condition) in &container.depends_on {
                if *condition == Condition::Success {
                    task.wait_for_success(*dependency).await?;
                }
            }
            let running = task.spawn(container, place, &environment)?;
            task.containers.push(running);
        }
        Ok(task)
    }

    /// Asks the health checks until each has succeeded once.
    ///
    /// # Errors
    ///
    /// [`TaskError::Unhealthy`] after `deadline`, [`TaskError::Essential`] as soon as an essential container has ended.
    pub async fn wait_until_healthy(&mut self, deadline: Duration) -> Result<(), TaskError> {
        let started = Instant::now();
        let checks: Vec<_> = self
            .containers
            .iter()
            .filter_map(|container| Some((container.model.name, container.health_check.clone()?)))
            .collect();
        for (name, check) in checks {
            loop {
                self.check_essential()?;
                let mut command = Command::new(&check.program);
                command
                    .args(&check.arguments)
                    .env_clear()
                    .envs(check.environment.iter().cloned())
                    .stderr(Stdio::null());
                let status = command.kill_on_drop(true).status().await;
                if status.map_err(|error| TaskError::Io("run a health check", error))?.success() {
                    self.tell(Event::Healthy(name));
                    break;
                }
                if started.elapsed() > deadline {
                    return Err(TaskError::Unhealthy(name.as_str(), deadline.as_secs()));
                }
                sleep(HEALTH_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Fails if an essential container has ended.
    ///
    /// # Errors
    ///
    /// [`TaskError::Essential`] with its name.
    pub fn check_essential(&mut self) -> Result<(), TaskError> {
        for container in self.containers.iter_mut().filter(|container| container.model.essential) {
            let ended = container.child.try_wait().map_err(|error| TaskError::Io("look at a process", error))?;
            if let Some(status) = ended {
                return Err(TaskError::Essential(container.model.name.as_str(), status));
            }
        }
        Ok(())
    }

    /// The process id of a container that runs.
    pub fn process_id(&self, name: ContainerName) -> Option<u32> {
        self.containers.iter().find(|container| container.model.name == name)?.child.id()
    }

    /// Ends one container as ECS does: SIGTERM, then SIGKILL when its stop timeout is over.
    ///
    /// # Errors
    ///
    /// [`TaskError::Killed`] if it had to be killed.
    pub async fn stop(&mut self, name: ContainerName) -> Result<ExitStatus, TaskError> {
        let events = self.events.clone();
        let found = self.containers.iter_mut().find(|container| container.model.name == name);
        let container = found.expect("only containers of the task are stopped");
        if let Some(status) = container.ended {
            return Ok(status);
        }
        let asked = Instant::now();
        // Whoever was told what happens may have gone.
        let _ = events.send(Event::Stopping(name));
        if let Some(id) = container.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may just have ended.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let seconds = u64::from(container.model.stop_timeout.unwrap_or(30));
        let Ok(status) = timeout(Duration::from_secs(seconds), container.child.wait()).await else {
            let _ = container.child.start_kill();
            return Err(TaskError::Killed(name.as_str(), seconds));
        };
        let status = status.map_err(|error| TaskError::Io("wait for a process", error))?;
        container.ended = Some(status);
        let _ = events.send(Event::Ended(name, status, asked.elapsed()));
        Ok(status)
    }

    async fn wait_for_success(&mut self, name: ContainerName) -> Result<(), TaskError> {
        let found = self.containers.iter_mut().find(|container| container.model.name == name);
        let container = found.expect("the model puts dependencies first");
        let seconds = u64::from(container.model.start_timeout.unwrap_or(120));
        let ended = timeout(Duration::from_secs(seconds), container.child.wait()).await;
        let failed = |reason: String| TaskError::Dependency(name.as_str(), reason);
        let status = ended.map_err(|_| failed(format!("it still runs after {seconds} s")))?;
        let status = status.map_err(|error| TaskError::Io("wait for a process", error))?;
        container.ended = Some(status);
        let event = Event::Ended(name, status, container.started.elapsed());
        self.tell(event);
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }

    fn spawn(&self, model: &Container, place: &Place<'_>, shared: &[(String, String)]) -> Result<Running, TaskError> {
        let view = View { model, place };
        for mount in &model.mounts {
            view.create_volume(mount.volume).map_err(|error| TaskError::Io("create a volume", error))?;
        }
        let mut command_line = match &model.entry_point {
            Some(entry_point) => entry_point.iter().map(|text| view.translate(text)).collect::<Vec<_>>(),
            None => vec![view.own_program().to_string_lossy().into_owned()],
        };
        command_line.extend(model.command.iter().map(|text| view.translate(text)));
        let own = model.environment.iter().map(|(name, value)| {
            let value = place.deployed.resolve(value);
            (name.clone(), value.split(',').map(|part| view.translate(part)).collect::<Vec<_>>().join(","))
        });
        let environment: Vec<_> = shared.iter().cloned().chain(own).collect();

        let mut command = Command::new(&command_line[0]);
        command.args(&command_line[1..]).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for whoever runs the task, who then stops it in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| TaskError::Io("start a program", error))?;
        let shown: Vec<_> = [view.shown_program()].into_iter().chain(model.command.iter().cloned()).collect();
        self.tell(Event::Started(model.name, shown.join(" ")));
        self.follow(model.name, child.stdout.take());
        self.follow(model.name, child.stderr.take());
        let health_check = model.health_check.as_ref().map(|check| Check {
            program: view.own_program(),
            arguments: check.command[1..].iter().map(|text| view.translate(text)).collect(),
            environment,
        });
        Ok(Running { model: model.clone(), child, started: Instant::now(), ended: None, health_check })
    }

    fn follow(&self, name: ContainerName, stream: Option<impl AsyncRead + Send + Unpin + 'static>) {
        let Some(stream) = stream else { return };
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if events.send(Event::Line(name, line)).is_err() {
                    break;
                }
            }
        });
    }

    fn tell(&self, event: Event) {
        // Whoever was told what happens may have gone.
        let _ = self.events.send(event);
    }
}

/// What a container sees, in terms of this machine.
struct View<'a> {
    model: &'a Container,
    place: &'a Place<'a>,
}

impl View<'_> {
    fn translate(&self, text: &str) -> String {
        let programs = self.place.programs;
        let program = match text {
            "/guard" => Some(programs.guard()),
            "/opt/eventstore/EventStore.ClusterNode" => Some(programs.standin()),
            _ => None,
        };
        if let Some(program) = program {
            return program.to_string_lossy().into_owned();
        }
        for mount in &self.model.mounts {
            if let Some(rest) = text.strip_prefix(mount.path).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                return format!("{}{rest}", self.volume(mount.volume).display());
            }
        }
        let own = self.place.address.to_string();
        match text.strip_prefix("127.0.0.1") {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => format!("{own}{rest}"),
            _ if text == "0.0.0.0" => own,
            _ => text.to_owned(),
        }
    }

    /// The entry point of the image.
    fn own_program(&self) -> PathBuf {
        match self.model.name {
            ContainerName::Certgen => self.place.programs.certgen(),
            ContainerName::EventStore => self.place.programs.standin(),
            ContainerName::Bootstrap => self.place.programs.bootstrap(),
        }
    }

    fn shown_program(&self) -> String {
        match (&self.model.entry_point, &self.model.image) {
            (Some(entry_point), _) => entry_point.join(" "),
            (None, Image::OwnRegistry(program)) => (*program).to_owned(),
            (None, Image::Reference(_)) => self.model.name.as_str().to_owned(),
        }
    }

    fn volume(&self, volume: Volume) -> PathBuf {
        self.place.root.join(volume.as_str())
    }

    /// The volumes of a task are open to all its containers; their images decide that on ECS.
    fn create_volume(&self, volume: Volume) -> io::Result<()> {
        let path = self.volume(volume);
        DirBuilder::new().recursive(true).create(&path)?;
        let mode = if volume == Volume::Data { 0o700 } else { 0o1777 };
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}
