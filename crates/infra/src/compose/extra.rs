//! Containers and volumes of the user's own in the compose file. A secret is a variable of the same name of whoever calls compose,
//! and a file system of EFS a volume of each node.

use super::yaml::{Yaml, list, map, text};
use super::{from_ecs, hardened, health_check, literal, literals, seconds, service_name, volume_mount, volume_name};
use crate::model::{ExtraContainer, Node, Source, Task, Until};

/// The services.
pub(super) fn services(node: &Node, task: &Task) -> impl Iterator<Item = (String, Yaml)> {
    task.extra
        .containers
        .iter()
        .map(|container| (service_name(node, container.name.as_str()), service(node, task, container)))
}

/// The named volumes.
pub(super) fn volumes(node: &Node, task: &Task) -> impl Iterator<Item = (String, Yaml)> {
    task.extra.volumes.iter().map(|volume| (volume_name(node, volume.name.as_str()), Yaml::NOTHING))
}

/// Where the init container mounts them first.
pub(super) fn prepared(node: &Node, task: &Task) -> impl Iterator<Item = Yaml> {
    task.extra.prepared().map(|(volume, path)| volume_mount(volume_name(node, volume.as_str()), path, false))
}

fn service(node: &Node, task: &Task, container: &ExtraContainer) -> Yaml {
    let mut service = vec![("image", literal(container.image.as_str()))];
    if !container.entry_point.is_empty() {
        service.push(("entrypoint", literals(&container.entry_point)));
    }
    if !container.command.is_empty() {
        service.push(("command", literals(&container.command)));
    }
    if let Some(user) = container.user {
        service.push(("user", text(user.to_string())));
    }
    service.extend(hardened().into_iter().filter(|(key, _)| container.read_only_root || *key != "read_only"));
    if !container.capabilities.is_empty() {
        let added = container.capabilities.iter().map(|capability| text(capability.as_str()));
        service.push(("cap_add", list(added)));
    }
    let mounts = container.mounts.iter().map(|mount| {
        let (volume, read_only) = match &mount.source {
            Source::Ours(volume) => (volume.as_str(), true),
            Source::Theirs { volume, read_only } => (volume.as_str(), *read_only),
        };
        volume_mount(volume_name(node, volume), mount.path.as_str(), read_only)
    });
    let memory = container.memory.unwrap_or(task.size.memory_mib());
    service.extend([
        ("network_mode", text(format!("service:{}", node.name()))),
        ("depends_on", depends_on(node, container)),
        ("environment", environment(node, container)),
        ("volumes", list(mounts)),
        ("mem_limit", text(format!("{memory}m"))),
    ]);
    if let Some(kept) = container.memory_reservation {
        service.push(("mem_reservation", text(format!("{kept}m"))));
    }
    if let Some(units) = container.cpu {
        service.push(("cpu_shares", Yaml::Number(units)));
    }
    if let Some(check) = &container.health_check {
        service.push(("healthcheck", health_check(check)));
    }
    if let Some(timeout) = container.stop_timeout {
        service.push(("stop_grace_period", seconds(timeout)));
    }
    service.push(("restart", text(if container.essential { "unless-stopped" } else { "no" })));
    map(service)
}

fn depends_on(node: &Node, container: &ExtraContainer) -> Yaml {
    let peers = container.depends_on.iter().map(|(peer, until)| {
        let condition = match until {
            Until::Start => "service_started",
            // Compose knows no end but a good one.
            Until::Complete | Until::Success => "service_completed_successfully",
            Until::Healthy => "service_healthy",
        };
        (service_name(node, peer.as_str()), condition)
    });
    let needed = [(node.name().to_owned(), "service_started")].into_iter().chain(peers);
    Yaml::Map(needed.map(|(name, condition)| (name, map([("condition", text(condition))]))).collect())
}

fn environment(node: &Node, container: &ExtraContainer) -> Yaml {
    let literals = container.environment.iter().map(|(name, value)| (name.to_string(), literal(value)));
    let secrets = container.secrets.iter().map(|(name, _)| (name.to_string(), text(format!("${{{name}:-}}"))));
    Yaml::Map(literals.chain(secrets).chain(from_ecs(node)).collect())
}
