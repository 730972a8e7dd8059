//! Deployment → docker compose file: the same tasks on one machine, with doubles of AWS and of ECS's endpoints.
//!
//! A task is a `guard pause` container that owns network and name; the task's containers join it, so that each of them can be
//! restarted. What ECS gives a container comes from where ECS has it, 169.254.170.2: who the task is, credentials, protection.

mod extra;
mod yaml;

use self::yaml::{Yaml, list, map, text};
use crate::model::{
    Condition, Container, ContainerName, Deployment, HealthCheck, Image, Node, PREPARED, Program, RESTORED, Task,
    Value, Volume,
};
use crate::server;

/// Where ECS's endpoints are for a container (aws-contract §4.1), and AWS here.
const ENDPOINTS: &str = "169.254.170.2";
/// What Docker gives addresses from for them. There is one such network on a machine, so one cluster at a time.
const ENDPOINTS_SUBNET: &str = "169.254.170.0/24";
/// The part of it that Docker gives addresses from, so that nobody has [`ENDPOINTS`] before the double does.
const ENDPOINTS_OTHERS: &str = "169.254.170.128/25";
/// How often bootstrap looks at secrets.
const POLL_INTERVAL: &str = "20s";
/// guard's times. A lock on a disk of this machine is released when its holder ends, so a killed node need not wait three minutes. On
/// a network file system these times would be too short.
const GUARD_TIMES: [(&str, &str); 3] =
    [("GUARD_HEARTBEAT_INTERVAL", "1s"), ("GUARD_HEARTBEAT_TIMEOUT", "10s"), ("GUARD_TAKEOVER_AFTER", "12s")];
/// Any will do: nothing leaves the machine.
const REGION: &str = "eu-west-1";
/// What the double of AWS is called.
const AWS: &str = "aws";
/// The network that the nodes find each other in.
const CLUSTER: &str = "cluster";
/// The network with [`ENDPOINTS`].
const ECS: &str = "ecs";

const HEADER: &str = "\
# Written by `infra compose`; change the configuration instead.
#
# The tasks of the deployment on one machine, for docker compose v2 and v1.29. Images are variables: IMAGE_SERVER, IMAGE_CERTGEN,
# IMAGE_BOOTSTRAP and IMAGE_AWS, a double of AWS that keeps its state in a volume. It listens on 169.254.170.2, where ECS has
# its endpoints, so there can be one such cluster on a machine at a time. The server of node-<n> is at https://localhost:$PORT_NODE_<n>
# as well. No secret is in this file: the server starts with its default passwords, and bootstrap replaces them.
#
# A task is the container `<node>`, which owns network and name. Any other can be restarted by itself; if that one is, all of its
# task are to be: `docker compose up --detach --force-recreate <node> <node>-eventstore <node>-bootstrap`.
#
# GUARD_HEARTBEAT_* and GUARD_TAKEOVER_AFTER are for volumes on a disk of this machine. Remove them for volumes on a network file
# system: guard's defaults are for those.
";

/// The docker compose file of a deployment (Compose Specification, as far as docker compose v1.29 knows it).
///
/// It has the tasks' command lines, variables, volumes, dependencies, health checks and limits. What only compose has is where AWS
/// is, leave to ask it over plain HTTP, and guard's times for a local disk; what it has not are first passwords, which ECS reads
/// from a secret.
pub fn compose(deployment: &Deployment) -> String {
    let mut services = vec![(AWS.to_owned(), aws(deployment))];
    let mut volumes = vec![(format!("{AWS}-state"), Yaml::NOTHING)];
    // Volumes begin empty, whatever a file system was restored from; but that of a single node may be there.
    let waits = |node: &Node| deployment.config().grows && deployment.desired_count(node) == 0;
    let running = deployment.members().filter(|node| !waits(node));
    for (number, node) in (0..).zip(running) {
        services.push((node.name().to_owned(), pause(deployment, node, number)));
        let task = node.task();
        services.extend(task.containers.iter().map(|container| {
            (service_name(node, container.name.as_str()), self::container(deployment, node, task, container))
        }));
        services.extend(extra::services(node, task));
        volumes.extend(mounted(task).map(|volume| (volume_name(node, volume.as_str()), Yaml::NOTHING)));
        volumes.extend(extra::volumes(node, task));
    }
    let file = map([
        ("services", Yaml::Map(services)),
        (
            "networks",
            map([
                (CLUSTER, Yaml::NOTHING),
                (
                    ECS,
                    map([(
                        "ipam",
                        map([(
                            "config",
                            list([map([("subnet", text(ENDPOINTS_SUBNET)), ("ip_range", text(ENDPOINTS_OTHERS))])]),
                        )]),
                    )]),
                ),
            ]),
        ),
        ("volumes", Yaml::Map(volumes)),
    ]);
    format!("{HEADER}{file}")
}

/// A text in which compose is to replace nothing.
fn literal(value: &str) -> Yaml {
    text(value.replace('$', "$$"))
}

fn literals<'a>(values: impl IntoIterator<Item = &'a String>) -> Yaml {
    list(values.into_iter().map(|value| literal(value)))
}

/// An image that a variable replaces.
fn image(variable: &str, default: &str) -> Yaml {
    text(format!("${{IMAGE_{variable}:-{default}}}"))
}

/// An image of ours as it is called on the machine that made it.
fn own_image(program: &str) -> String {
    format!("eventstore-fargate/{program}:{}", env!("CARGO_PKG_VERSION"))
}

fn task_image(container: &Container) -> Yaml {
    let variable = match container.name {
        ContainerName::Certgen | ContainerName::Guard => "CERTGEN",
        ContainerName::EventStore => "SERVER",
        ContainerName::Bootstrap => "BOOTSTRAP",
    };
    match &container.image {
        Image::Reference(reference) => image(variable, reference.as_str()),
        Image::OwnRegistry(program) | Image::Built(program) => image(variable, &own_image(program.as_str())),
    }
}

fn service_name(node: &Node, container: &str) -> String {
    format!("{}-{container}", node.name())
}

fn volume_name(node: &Node, volume: &str) -> String {
    format!("{}-{volume}", node.name())
}

/// The volumes that any container of the task mounts.
fn mounted(task: &Task) -> impl Iterator<Item = Volume> {
    Volume::ALL.into_iter().filter(|volume| {
        task.containers.iter().flat_map(|container| &container.mounts).any(|mount| mount.volume == *volume)
    })
}

/// What every container may not do.
fn hardened() -> [(&'static str, Yaml); 3] {
    [
        ("read_only", Yaml::Bool(true)),
        ("cap_drop", list([text("ALL")])),
        ("security_opt", list([text("no-new-privileges:true")])),
    ]
}

fn volume_mount(source: String, target: &str, read_only: bool) -> Yaml {
    let mut mount = vec![("type", text("volume")), ("source", text(source)), ("target", text(target))];
    if read_only {
        mount.push(("read_only", Yaml::Bool(true)));
    }
    map(mount)
}

/// The double of AWS. It is told what CloudFormation would have made: the service that clients look up, secrets with a generated
/// password and one without a value; and of every task its name and where it is, for what ECS serves it: `/v4/<task>` (metadata),
/// `/v2/credentials/<task>` and `/api/<task>` (the agent's).
fn aws(deployment: &Deployment) -> Yaml {
    let mut command = vec![
        "--listen=0.0.0.0:80".to_owned(),
        "--state=/state".to_owned(),
        format!("--region={REGION}"),
        format!("--service={}={}", client_service(deployment), deployment.client_host()),
    ];
    command.extend(deployment.logins().map(|login| format!("--secret={login}={}", deployment.secret_name(login))));
    command.extend(deployment.ca_secret_name().map(|name| format!("--empty-secret={name}")));
    command.extend(deployment.members().map(|node| format!("--task={}={}", node.name(), node.host())));
    let mut service = vec![("image", image("AWS", &own_image("aws-double"))), ("command", literals(&command))];
    service.extend(hardened());
    service.extend([
        // Port 80 is where a container asks for credentials.
        ("sysctls", map([("net.ipv4.ip_unprivileged_port_start", text("0"))])),
        ("networks", map([(CLUSTER, Yaml::NOTHING), (ECS, map([("ipv4_address", text(ENDPOINTS))]))])),
        ("volumes", list([volume_mount(format!("{AWS}-state"), "/state", false)])),
        ("restart", text("unless-stopped")),
    ]);
    map(service)
}

/// The id of the Cloud Map service that clients look up.
fn client_service(deployment: &Deployment) -> String {
    format!("srv-{}", deployment.name())
}

/// What the containers of a task join: its network with the node's name, and the clients' on every node, ready or not.
fn pause(deployment: &Deployment, node: &Node, number: u16) -> Yaml {
    let certgen = node
        .task()
        .containers
        .iter()
        .find(|container| matches!(container.name, ContainerName::Certgen | ContainerName::Guard));
    let guard_image = certgen.map_or_else(|| image("CERTGEN", &own_image(Program::Certgen.as_str())), task_image);
    let port = deployment.port();
    let mut aliases = vec![text(node.host())];
    if !node.is_read_only_replica() {
        aliases.push(text(deployment.client_host()));
    }
    let aliases = list(aliases);
    let published = format!(
        "127.0.0.1:${{PORT_{}:-{}}}:{port}",
        node.name().to_uppercase().replace('-', "_"),
        port.checked_add(number).unwrap_or(port - number)
    );
    let mut service = vec![
        ("image", guard_image),
        ("entrypoint", list([text("/guard")])),
        ("command", list([text("pause")])),
        ("user", user(deployment.uid())),
    ];
    service.extend(hardened());
    service.extend([
        ("tmpfs", list(declared(deployment, ContainerName::Certgen).map(text))),
        ("networks", map([(CLUSTER, map([("aliases", aliases)])), (ECS, Yaml::NOTHING)])),
        ("ports", list([text(published)])),
        ("restart", text("unless-stopped")),
    ]);
    map(service)
}

/// The paths that the image of a container declares as a `VOLUME`. Docker makes a volume without a name for each that nothing is
/// mounted at, and leaves it behind.
fn declared(deployment: &Deployment, name: ContainerName) -> impl Iterator<Item = &'static str> {
    let (ours, servers): (&[&str], Option<[&str; 2]>) = match name {
        ContainerName::Certgen | ContainerName::Guard => (&["/certs", "/tmp", "/run/task", "/ca-state"], None),
        ContainerName::EventStore => {
            let image = server::image(deployment.line());
            (&[], Some([image.data, image.logs]))
        }
        ContainerName::Bootstrap => (&[], None),
    };
    let prepared = if ours.is_empty() { &[] } else { &PREPARED[..] };
    ours.iter().chain(prepared).copied().chain(servers.into_iter().flatten())
}

fn user(uid: u32) -> Yaml {
    text(format!("{uid}:{uid}"))
}

fn container(deployment: &Deployment, node: &Node, task: &Task, container: &Container) -> Yaml {
    let mut service = vec![("image", task_image(container))];
    if let Some(entry_point) = &container.entry_point {
        service.push(("entrypoint", literals(entry_point)));
    }
    if !container.command.is_empty() {
        service.push(("command", literals(&container.command)));
    }
    service.push(("user", user(container.user)));
    service.extend(hardened());
    let own_mounts = container.mounts.iter();
    let own_mounts =
        own_mounts.map(|mount| volume_mount(volume_name(node, mount.volume.as_str()), mount.path, mount.read_only));
    let is_init = matches!(container.name, ContainerName::Certgen | ContainerName::Guard);
    let mounts = own_mounts.chain(extra::prepared(node, task).filter(|_| is_init));
    let at: Vec<_> = container.mounts.iter().map(|mount| mount.path).collect();
    let prepared: Vec<_> = task.extra.prepared().filter(|_| is_init).map(|(_, path)| path).collect();
    let unmounted = declared(deployment, container.name).filter(|path| !at.contains(path) && !prepared.contains(path));
    let unmounted: Vec<_> = unmounted.map(text).collect();
    service.extend([
        ("network_mode", text(format!("service:{}", node.name()))),
        ("depends_on", depends_on(node, container)),
        ("environment", environment(deployment, node, container)),
        ("volumes", list(mounts)),
        // Fargate limits the task alone; no container of it can have more. How many files may be open Docker decides: its own limit
        // is rarely lower, and not every engine may raise it.
        ("mem_limit", text(format!("{}m", task.size.memory_mib()))),
    ]);
    if !unmounted.is_empty() {
        service.push(("tmpfs", list(unmounted)));
    }
    if let Some(check) = &container.health_check {
        service.push(("healthcheck", health_check(check)));
    }
    if let Some(timeout) = container.stop_timeout {
        service.push(("stop_grace_period", seconds(timeout)));
    }
    // ECS would replace the task that an essential container leaves.
    service.push(("restart", text(if container.essential { "unless-stopped" } else { "no" })));
    map(service)
}

fn health_check(check: &HealthCheck) -> Yaml {
    let test = ["CMD".to_owned()].into_iter().chain(check.command.iter().cloned()).collect::<Vec<_>>();
    map([
        ("test", literals(&test)),
        ("interval", seconds(check.interval)),
        ("timeout", seconds(check.timeout)),
        ("retries", Yaml::Number(check.retries.into())),
        ("start_period", seconds(check.start_period)),
    ])
}

fn seconds(seconds: u16) -> Yaml {
    text(format!("{seconds}s"))
}

/// The task's network first, AWS where it is asked, and what the task says.
fn depends_on(node: &Node, container: &Container) -> Yaml {
    let started = "service_started";
    let mut needed = vec![(node.name().to_owned(), started)];
    if asks_aws(container) {
        needed.push((AWS.to_owned(), started));
    }
    needed.extend(container.depends_on.iter().map(|(name, condition)| {
        let condition = match condition {
            Condition::Start => started,
            Condition::Success => "service_completed_successfully",
        };
        (service_name(node, name.as_str()), condition)
    }));
    Yaml::Map(needed.into_iter().map(|(name, condition)| (name, map([("condition", text(condition))]))).collect())
}

/// Whether a container calls services of AWS: those are told the region.
fn asks_aws(container: &Container) -> bool {
    container.variables().any(|(_, value)| *value == Value::Region)
}

fn environment(deployment: &Deployment, node: &Node, container: &Container) -> Yaml {
    let setting = |value: &Value| match value {
        Value::Literal(text) => text.clone(),
        Value::Region => REGION.to_owned(),
        Value::Secret(user) => deployment.secret_name(user.as_str()),
        Value::CaSecret => deployment.ca_secret_name().expect("a model that names the secret has it"),
        Value::ClientService => client_service(deployment),
    };
    // Its volumes begin empty, whatever a file system was restored from.
    let own = container.variables().filter(|(name, _)| *name != RESTORED);
    let mut environment: Vec<_> = own.map(|(name, value)| (name.to_owned(), literal(&setting(value)))).collect();
    environment.extend(from_ecs(node));
    let mut set = |name: &str, value: String| environment.push((name.to_owned(), text(value)));
    if container.name == ContainerName::EventStore {
        for (name, value) in GUARD_TIMES {
            set(name, value.to_owned());
        }
    }
    if asks_aws(container) {
        set("AWS_ENDPOINT_URL", format!("http://{ENDPOINTS}"));
        let allow = if container.name == ContainerName::Bootstrap { "BOOTSTRAP" } else { "CERTGEN" };
        set(&format!("{allow}_ALLOW_HTTP_ENDPOINT"), "true".to_owned());
    }
    if container.name == ContainerName::Bootstrap && asks_aws(container) {
        // Calls to a double are not paid, and nobody waits five minutes for a rotation on their own machine.
        set("BOOTSTRAP_POLL_INTERVAL", POLL_INTERVAL.to_owned());
    }
    Yaml::Map(environment)
}

/// As ECS gives them to every container of a task.
fn from_ecs(node: &Node) -> impl Iterator<Item = (String, Yaml)> {
    let task = node.name();
    let variables = [
        ("ECS_CONTAINER_METADATA_URI_V4", format!("http://{ENDPOINTS}/v4/{task}")),
        ("ECS_AGENT_URI", format!("http://{ENDPOINTS}/api/{task}")),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("/v2/credentials/{task}")),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), text(value)))
}
