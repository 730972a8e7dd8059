//! Runs the containers of a task as processes, the way ECS would: in the order of their dependencies, with the command
//! lines and variables of the model, health checks, and SIGTERM in reverse order.
//!
//! There are no containers here, so what a container would see of its own is translated: a path below a mount becomes a
//! path below the volume's directory, a program of an image becomes the program that cargo built, and the address of
//! the task's network namespace becomes the task's loopback address.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
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
    /// Name and ARN of each user's secret.
    secrets: BTreeMap<String, (String, String)>,
    /// ARN of the secret of the certificate authority.
    ca_secret: Option<String>,
    client_service: String,
    node_services: BTreeMap<String, String>,
}

impl Deployed {
    /// Creates in the double what the deployment's stacks declare and its tasks refer to, unless it is there.
    pub fn create(deployment: &Deployment, aws: &Aws) -> Self {
        let secret = |login: &str| {
            let (template, key) = Deployment::secret_template(login);
            let name = deployment.secret_name(login);
            let arn = aws.secrets(|secrets| {
                if secrets.has(&name) {
                    return secrets.arn(&name);
                }
                secrets.generate(&name, &template, key, infra::PASSWORD_LENGTH)
            });
            (login.to_owned(), (name, arn))
        };
        let namespace = deployment.namespace().as_str();
        let service = |name: &str| aws.cloud_map(|cloud_map| cloud_map.create_service(namespace, name));
        let node_service =
            |node: &Node| (node.name().to_owned(), service(&format!("{}-{}", deployment.name(), node.name())));
        Self {
            secrets: deployment.logins().map(secret).collect(),
            ca_secret: deployment.ca_secret_name().map(|name| {
                aws.secrets(|secrets| if secrets.has(&name) { secrets.arn(&name) } else { secrets.create(&name, None) })
            }),
            client_service: service(deployment.name().as_str()),
            node_services: deployment.members().map(node_service).collect(),
        }
    }

    /// The id of the service that clients look up.
    pub fn client_service(&self) -> &str {
        &self.client_service
    }

    /// The id of the service in which ECS keeps the address of a node's task.
    ///
    /// # Panics
    ///
    /// If the deployment has no such node.
    pub fn node_service(&self, node: &str) -> &str {
        &self.node_services[node]
    }

    /// The ARN of a user's secret.
    ///
    /// # Panics
    ///
    /// If the deployment has no such user.
    pub fn secret_arn(&self, login: &str) -> &str {
        &self.secrets[login].1
    }

    /// The ARN of the secret of the certificate authority, if there is one.
    pub fn ca_secret_arn(&self) -> Option<&str> {
        self.ca_secret.as_deref()
    }

    fn resolve(&self, value: &Value) -> String {
        match value {
            Value::Literal(text) => text.clone(),
            Value::Region => REGION.to_owned(),
            Value::Secret(user) => self.secrets[user.as_str()].1.clone(),
            Value::CaSecret => self.ca_secret.clone().expect("a model that names the secret has it"),
            Value::ClientService => self.client_service.clone(),
        }
    }

    /// The password that ECS reads in a user's secret when it starts a task.
    fn password(&self, user: BuiltInUser, aws: &Aws) -> Result<String, TaskError> {
        let name = &self.secrets[user.as_str()].0;
        let text = aws.secrets(|secrets| secrets.current(name));
        let secret = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let password = secret.and_then(|secret| Some(secret["password"].as_str()?.to_owned()));
        // AWS: ResourceInitializationError, the task does not start.
        password.ok_or_else(|| TaskError::Initialization(name.clone()))
    }
}

/// Something that happened to a container.
#[derive(Debug)]
pub struct Event {
    /// The node whose task it belongs to.
    pub node: String,
    /// The container.
    pub container: ContainerName,
    /// What happened.
    pub what: What,
}

/// What can happen to a container.
#[derive(Debug)]
pub enum What {
    /// It was started with this command line.
    Started(String),
    /// It printed a line.
    Line(String),
    /// ECS calls it healthy.
    Healthy,
    /// It got SIGTERM.
    Stopping,
    /// It was killed without notice.
    Killed,
    /// It has ended.
    Ended(ExitStatus, Duration),
}

/// Why a task did not do what ECS expects of it.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The system refused something.
    #[error("could not {0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// A secret that a variable is to be set from is not there or has no password.
    #[error("the secret {0} holds no password to set a variable to")]
    Initialization(String),
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
    /// The directory for the volumes that live and die with it.
    pub root: &'a Path,
    /// The node's directory on the file system, which outlives it.
    pub data: &'a Path,
    /// What an image holds besides its program, as paths in the container and on this machine.
    pub image_files: &'a [(String, PathBuf)],
    /// The task's identity, with its address; tests use those of 127.0.0.0/8.
    pub identity: &'a TaskIdentity,
    /// The programs that its images hold.
    pub programs: &'a Programs,
    /// What its references stand for.
    pub deployed: &'a Deployed,
    /// The account with its secrets.
    pub aws: &'a Aws,
    /// The variables that are set in every container besides its own, for example the endpoint of AWS.
    pub environment: Vec<(String, String)>,
    /// Those of single containers.
    pub environment_of: Vec<(ContainerName, String, String)>,
    /// Is told what happens.
    pub events: UnboundedSender<Event>,
}

/// A running task. What still runs when it is dropped is killed.
#[derive(Debug)]
pub struct RunningTask {
    node: String,
    containers: Vec<Running>,
    events: UnboundedSender<Event>,
    endpoints: TaskEndpoints,
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

impl Check {
    async fn succeeds(&self) -> Result<bool, TaskError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned()).stderr(Stdio::null());
        let status = command.kill_on_drop(true).status().await;
        Ok(status.map_err(|error| TaskError::Io("run a health check", error))?.success())
    }
}

impl RunningTask {
    /// Starts the containers one after the other, each when its dependencies are met.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if a dependency is not met; what was started is killed.
    pub async fn start(node: &Node, place: &Place<'_>) -> Result<Self, TaskError> {
        let endpoints = TaskEndpoints::start(place.identity.clone()).await;
        let endpoints = endpoints.map_err(|error| TaskError::Io("serve the task", error))?;
        let mut environment = place.environment.clone();
        environment.extend(endpoints.environment());
        let (node_name, events) = (node.name().to_owned(), place.events.clone());
        let mut task = Self { node: node_name, containers: Vec::new(), events, endpoints };
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

    /// What ECS gives the task.
    pub fn endpoints(&self) -> &TaskEndpoints {
        &self.endpoints
    }

    /// Asks the health checks until each has succeeded once.
    ///
    /// # Errors
    ///
    /// [`TaskError::Unhealthy`] after `deadline`, [`TaskError::Essential`] as soon as an essential container has ended.
    pub async fn wait_until_healthy(&mut self, deadline: Duration) -> Result<(), TaskError> {
        let started = Instant::now();
        for (name, check) in self.checks() {
            loop {
                self.check_essential()?;
                if check.succeeds().await? {
                    self.tell(name, What::Healthy);
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

    /// Asks all health checks once.
    ///
    /// # Errors
    ///
    /// [`TaskError::Io`] if one cannot be run.
    pub async fn is_healthy(&self) -> Result<bool, TaskError> {
        for (_, check) in self.checks() {
            if !check.succeeds().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn checks(&self) -> Vec<(ContainerName, Check)> {
        let checks = self.containers.iter();
        checks.filter_map(|container| Some((container.model.name, container.health_check.clone()?))).collect()
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
        if let Some(status) = self.running(name).ended {
            return Ok(status);
        }
        let asked = Instant::now();
        self.tell(name, What::Stopping);
        let container = self.running(name);
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
        self.tell(name, What::Ended(status, asked.elapsed()));
        Ok(status)
    }

    /// Ends all containers at once and without notice, as a lost host does.
    ///
    /// # Errors
    ///
    /// [`TaskError::Io`] if a process cannot be waited for.
    pub async fn kill(mut self) -> Result<(), TaskError> {
        let events = (self.node.clone(), self.events.clone());
        for container in self.containers.iter_mut().filter(|container| container.ended.is_none()) {
            container.child.kill().await.map_err(|error| TaskError::Io("kill a process", error))?;
            tell(&events.1, &events.0, container.model.name, What::Killed);
        }
        Ok(())
    }

    fn running(&mut self, name: ContainerName) -> &mut Running {
        let found = self.containers.iter_mut().find(|container| container.model.name == name);
        found.expect("only containers of the task are named")
    }

    async fn wait_for_success(&mut self, name: ContainerName) -> Result<(), TaskError> {
        let container = self.running(name);
        let seconds = u64::from(container.model.start_timeout.unwrap_or(120));
        let ended = timeout(Duration::from_secs(seconds), container.child.wait()).await;
        let failed = |reason: String| TaskError::Dependency(name.as_str(), reason);
        let status = ended.map_err(|_| failed(format!("it still runs after {seconds} s")))?;
        let status = status.map_err(|error| TaskError::Io("wait for a process", error))?;
        container.ended = Some(status);
        let after = container.started.elapsed();
        self.tell(name, What::Ended(status, after));
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
        let own = model.variables().map(|(name, value)| {
            let value = place.deployed.resolve(value);
            (name.to_owned(), value.split(',').map(|part| view.translate(part)).collect::<Vec<_>>().join(","))
        });
        let here = place.environment_of.iter().filter(|(container, ..)| *container == model.name);
        let here = here.map(|(_, name, value)| (name.clone(), value.clone()));
        let mut environment: Vec<_> = shared.iter().cloned().chain(own).chain(here).collect();
        for given in &model.passwords {
            environment.push((given.name.clone(), place.deployed.password(given.user, place.aws)?));
        }

        let mut command = Command::new(&command_line[0]);
        command.args(&command_line[1..]).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for whoever runs the task, who then stops it in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| TaskError::Io("start a program", error))?;
        let shown: Vec<_> = [view.shown_program()].into_iter().chain(model.command.iter().cloned()).collect();
        self.tell(model.name, What::Started(shown.join(" ")));
        self.follow(model.name, child.stdout.take());
        self.follow(model.name, child.stderr.take());
        // The program need not be that of the container: guard checks the server's.
        let health_check = model.health_check.as_ref().map(|check| {
            let mut command = check.command.iter().map(|text| view.translate(text));
            Check { program: command.next().unwrap_or_default().into(), arguments: command.collect(), environment }
        });
        Ok(Running { model: model.clone(), child, started: Instant::now(), ended: None, health_check })
    }

    fn follow(&self, name: ContainerName, stream: Option<impl AsyncRead + Send + Unpin + 'static>) {
        let Some(stream) = stream else { return };
        let (events, node) = (self.events.clone(), self.node.clone());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tell(&events, &node, name, What::Line(line));
            }
        });
    }

    fn tell(&self, container: ContainerName, what: What) {
        tell(&self.events, &self.node, container, what);
    }
}

fn tell(events: &UnboundedSender<Event>, node: &str, container: ContainerName, what: What) {
    // Whoever was told what happens may have gone.
    let _ = events.send(Event { node: node.to_owned(), container, what });
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
            "/bootstrap" => Some(programs.bootstrap()),
            "/opt/eventstore/EventStore.ClusterNode" | "/opt/kurrentdb/KurrentDB" => Some(programs.standin()),
            _ => None,
        };
        if let Some(program) = program {
            return program.to_string_lossy().into_owned();
        }
        let mounts = self.model.mounts.iter().map(|mount| (mount.path, self.volume(mount.volume)));
        let image = self.place.image_files.iter().map(|(path, file)| (path.as_str(), file.clone()));
        for (path, here) in mounts.chain(image) {
            if let Some(rest) = text.strip_prefix(path).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                return format!("{}{rest}", here.display());
            }
        }
        let own = self.place.identity.address.to_string();
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
            ContainerName::Guard => self.place.programs.guard(),
            ContainerName::EventStore => self.place.programs.standin(),
            ContainerName::Bootstrap => self.place.programs.bootstrap(),
        }
    }

    fn shown_program(&self) -> String {
        match (&self.model.entry_point, &self.model.image) {
            (Some(entry_point), _) => entry_point.join(" "),
            (None, Image::OwnRegistry(program) | Image::Built(program)) => program.as_str().to_owned(),
            (None, Image::Reference(_)) => self.model.name.as_str().to_owned(),
        }
    }

    fn volume(&self, volume: Volume) -> PathBuf {
        match volume {
            Volume::Data => self.place.data.to_owned(),
            local => self.place.root.join(local.as_str()),
        }
    }

    /// The volumes of a task are open to all its containers; their images decide that on ECS.
    fn create_volume(&self, volume: Volume) -> io::Result<()> {
        let path = self.volume(volume);
        DirBuilder::new().recursive(true).create(&path)?;
        let mode = if volume == Volume::Data { 0o700 } else { 0o1777 };
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}
