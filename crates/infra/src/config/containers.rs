//! Containers and volumes of the user's own: what each says, and whether it goes with the whole task.

use std::collections::{BTreeMap, BTreeSet};

use super::section::{Choice, Section};
use super::{Deploy, Mistake, Server};
use crate::image::ImageReference;
use crate::model::{
    Capability, ContainerName, Data, Efs, Extra, ExtraContainer, ExtraMount, ExtraVolume, FileSystem, HealthCheck,
    PREPARED, Peer, Place, Readable, Source, Until, Volume,
};
use crate::values::{
    AccessPointId, FileSystemId, KeyArn, LEAST_MEMORY_MIB, MountPath, PartName, SecretReference, SecurityGroupId,
    UserId, VariableName, has_password_in_url,
};

impl Choice for Until {
    const WORDS: &'static [(&'static str, Self)] =
        &[("START", Self::Start), ("COMPLETE", Self::Complete), ("SUCCESS", Self::Success), ("HEALTHY", Self::Healthy)];
}

/// What of the rest these must go with; `None` where that is not known for mistakes of its own.
pub(super) struct Surroundings<'a> {
    pub(super) server: Option<&'a Server>,
    pub(super) insecure: bool,
    pub(super) is_cluster: bool,
    pub(super) data: Option<&'a Data>,
    pub(super) deploy: Option<&'a Deploy>,
}

/// A container with what can only be judged beside the others.
struct Draft {
    /// `None` if it has a mistake that was told.
    container: Option<ExtraContainer>,
    name: Option<PartName>,
    essential: bool,
    is_checked: bool,
    mounts: Vec<MountDraft>,
    depends_on: Vec<(String, Until)>,
    has_secrets: bool,
}

struct MountDraft {
    volume: Option<PartName>,
    path: Option<MountPath>,
    read_only: bool,
}

/// Reads the lists `containers` and `volumes`.
pub(super) fn read(root: &Section<'_>, around: &Surroundings<'_>) -> Option<Extra> {
    let volumes = root.sections("volumes", |section| volume(section, around.data));
    let drafts = root.sections("containers", container);
    let (names, volumes): (Vec<_>, Vec<_>) = volumes.into_iter().unzip();
    let names = volume_names(root, &names);
    let local = volumes.iter().flatten().filter(|volume| volume.efs.is_none()).count();
    if local > PREPARED.len() {
        root.mistake("volumes", format!("{local} live as long as the task; allowed are at most {}", PREPARED.len()));
    }
    container_names(root, &drafts);
    let judge = Judge { root, around, drafts: &drafts, volumes: &names };
    let judged: Vec<_> = (0..).zip(&drafts).map(|(index, draft)| judge.container(index, draft)).collect();
    judge.sizes();
    judge.secrets();
    let order = judge.order();
    let containers = judged.into_iter().collect::<Option<Vec<_>>>()?;
    let volumes = volumes.into_iter().collect::<Option<Vec<_>>>()?;
    let containers = order?.into_iter().map(|index| containers[index].clone()).collect();
    Some(Extra { containers, volumes })
}

/// What is allowed and yet should be known.
pub(super) fn warnings(extra: &Extra, server: &Server) -> Vec<Mistake> {
    let mut warnings = Vec::new();
    for container in &extra.containers {
        let mut warn = |key: &str, message: String| {
            warnings.push(Mistake { key: format!("containers[{}].{key}", container.place), message });
        };
        // The init containers have ended before the server starts.
        let waits = container.depends_on.iter().filter(|(peer, until)| {
            *until != Until::Start && !matches!(peer, Peer::Ours(ContainerName::Certgen | ContainerName::Guard))
        });
        for (peer, until) in waits {
            let message = format!(
                "until {} is {} the task has not started for ECS, which gives it up in the end, and the server with it",
                peer.as_str(),
                until.as_str()
            );
            warn(&format!("depends_on.{}", peer.as_str()), message);
        }
        let reads_certs = container.mounts.iter().any(|mount| mount.source == Source::Ours(Readable::Certs));
        if reads_certs && container.user.is_some_and(|user| u32::from(user.uid()) == server.uid) {
            let message = format!("with the server's uid {} it can read the node's private key in `certs`", server.uid);
            warn("user", message);
        }
        if container.essential && container.health_check.is_none() {
            let message = "ECS reports a task as UNKNOWN, never HEALTHY, while an essential container has no health check; add \
                           health_check";
            warn("essential", message.to_owned());
        }
        if !container.read_only_root {
            warn("read_only_root", "whoever gets into the container can change its programs".to_owned());
        }
    }
    warnings
}

/// Its name, and all of it; what has a mistake is still a volume that can be mounted.
fn volume(section: &Section<'_>, data: Option<&Data>) -> (Option<PartName>, Option<ExtraVolume>) {
    let name = section.text("name", PartName::parse);
    let efs = efs(section, data);
    let is_right = efs.is_some() || !section.has("file_system");
    (name.clone(), name.filter(|_| is_right).map(|name| ExtraVolume { name, efs }))
}

/// Where on which file system it is; `None` if it is on none, or if that has a mistake.
fn efs(section: &Section<'_>, data: Option<&Data>) -> Option<Efs> {
    let file_system = section.text("file_system", FileSystemId::parse);
    let security_group = section.text("security_group", SecurityGroupId::parse);
    let access_point = section.text("access_point", AccessPointId::parse);
    let directory = section.text("root_directory", MountPath::parse);
    let iam = section.flag("iam");
    let encrypted = section.flag("transit_encryption");
    if !section.has("file_system") {
        for key in ["security_group", "access_point", "root_directory", "iam", "transit_encryption"] {
            if section.says(key) {
                section.mistake(key, "it belongs to a volume on a file system; add file_system, or take it out");
            }
        }
        return None;
    }
    if !section.has("security_group") {
        section.mistake("security_group", "it is missing; file_system needs it");
    }
    if encrypted == Some(false) {
        section.mistake(
            "transit_encryption",
            "`false` does not go with iam or access_point, and what is read and written would cross the network in clear; allowed \
             is true",
        );
    }
    if section.has("access_point") && section.has("root_directory") {
        section.mistake(
            "root_directory",
            "it does not go with access_point, which has a directory of its own; take out one of both",
        );
    }
    if let (Some(FileSystem::Existing { id, .. }), Some(own)) = (data.map(|data| &data.file_system), &file_system)
        && id == own
    {
        section.mistake(
            "file_system",
            format!("`{own}` has the database on it (data.file_system), which nobody else may write to; allowed is another one"),
        );
    }
    let at = if section.has("access_point") {
        Place::AccessPoint(access_point?)
    } else if section.has("root_directory") {
        Place::Directory(Some(directory?))
    } else {
        Place::Directory(None)
    };
    encrypted.filter(|encrypted| *encrypted)?;
    Some(Efs { file_system: file_system?, security_group: security_group?, at, iam: iam? })
}

/// The volumes by their names, of which each is one's own.
fn volume_names(root: &Section<'_>, volumes: &[Option<PartName>]) -> BTreeSet<PartName> {
    let mut names = BTreeSet::new();
    for (index, name) in (0..).zip(volumes).filter_map(|(index, name)| Some((index, name.as_ref()?))) {
        let ours = Volume::ALL.iter().any(|ours| ours.as_str() == name.as_str());
        if ours || !names.insert(name.clone()) {
            let taken = if ours { "it is one of ours" } else { "another volume has it" };
            root.mistake(&format!("volumes[{index}].name"), format!("`{name}` is taken: {taken}; choose another"));
        }
    }
    names
}

fn container_names(root: &Section<'_>, drafts: &[Draft]) {
    let mut names = BTreeSet::new();
    for (index, name) in (0..).zip(drafts).filter_map(|(index, draft)| Some((index, draft.name.as_ref()?))) {
        let ours = ContainerName::ALL.iter().any(|ours| ours.as_str() == name.as_str());
        if ours || !names.insert(name) {
            let taken = if ours { "it is one of ours" } else { "another container has it" };
            root.mistake(&format!("containers[{index}].name"), format!("`{name}` is taken: {taken}; choose another"));
        }
    }
}

fn container(section: &Section<'_>) -> Draft {
    let name = section.text("name", PartName::parse);
    let image = section.text("image", ImageReference::parse);
    let essential = section.flag("essential");
    let entry_point = section.arguments("entry_point");
    let command = section.arguments("command");
    let user = section.text("user", UserId::parse);
    let environment = section.options("environment", |name, value| {
        let name = VariableName::parse(name)?;
        if name.is_of_a_secret() {
            return Err(
                "by its name it is a secret, which everybody who sees the task would read; use secrets".to_owned()
            );
        }
        if has_password_in_url(&value) {
            return Err(
                "there is a password in its URL, which everybody who sees the task would read; use secrets".to_owned()
            );
        }
        Ok((name, value))
    });
    let secrets =
        section.options("secrets", |name, value| Ok((VariableName::parse(name)?, SecretReference::parse(&value)?)));
    for (name, _) in secrets.iter().flatten() {
        if environment.iter().flatten().any(|(other, _)| other == name) {
            section.mistake(&format!("secrets.{name}"), "it is in environment as well; take out one of both");
        }
    }
    let secrets_key = section.text("secrets_kms_key", KeyArn::parse);
    if section.has("secrets_kms_key") && secrets.as_ref().is_some_and(Vec::is_empty) {
        section.mistake("secrets_kms_key", "it says nothing without secrets; take it out");
    }
    let mounts = section.sections("mounts", |mount| MountDraft {
        volume: mount.text("volume", PartName::parse),
        path: mount.text("path", MountPath::parse),
        read_only: mount.flag("read_only").unwrap_or(true),
    });
    let depends_on = section.options("depends_on", |name, value| {
        let found = Until::WORDS.iter().find(|(word, _)| *word == value);
        let until = found.map(|(_, until)| *until);
        Ok((name.to_owned(), until.ok_or(value)))
    });
    // One that is wrong does not hide what is wrong with the others.
    let depends_on = depends_on.unwrap_or_default();
    for (name, value) in depends_on.iter().filter_map(|(name, until)| Some((name, until.as_ref().err()?))) {
        let message = format!("`{value}` is not allowed; allowed are START, COMPLETE, SUCCESS and HEALTHY");
        section.mistake(&format!("depends_on.{name}"), message);
    }
    let depends_on = depends_on.into_iter().filter_map(|(name, until)| Some((name, until.ok()?)));
    let is_checked = section.has("health_check");
    let health_check = section.optional_section("health_check", health_check);
    let [start_timeout, stop_timeout] = ["start_timeout", "stop_timeout"].map(|key| section.number::<u16>(key));
    let read_only_root = section.flag("read_only_root");
    let capabilities = section.texts("capabilities_add", |capability| match capability {
        "SYS_PTRACE" => Ok(Capability::SysPtrace),
        other => Err(format!("`{other}` is not offered by Fargate; allowed is SYS_PTRACE")),
    });
    let [cpu, memory, memory_reservation] =
        ["cpu", "memory", "memory_reservation"].map(|key| section.number::<u32>(key));
    if let (Some(most), Some(kept)) = (memory, memory_reservation)
        && kept > most
    {
        section.mistake(
            "memory_reservation",
            format!("`{kept}` is more than the {most} of memory; allowed is at most that"),
        );
    }
    let health_is_right = health_check.as_ref().is_none_or(Option::is_some);
    let build = |name: PartName| {
        Some(ExtraContainer {
            place: 0,
            name,
            image: image?,
            essential: essential?,
            user,
            entry_point: entry_point?,
            command: command?,
            environment: environment?,
            secrets: secrets?,
            secrets_key,
            mounts: Vec::new(),
            depends_on: Vec::new(),
            health_check: health_check.flatten(),
            start_timeout,
            stop_timeout,
            read_only_root: read_only_root?,
            capabilities: capabilities?,
            cpu,
            memory,
            memory_reservation,
        })
    };
    Draft {
        container: name.clone().and_then(build).filter(|_| health_is_right),
        name,
        essential: essential.unwrap_or(false),
        is_checked,
        mounts,
        depends_on: depends_on.collect(),
        has_secrets: section.has("secrets"),
    }
}

fn health_check(section: &Section<'_>) -> Option<HealthCheck> {
    let command = section.arguments("command");
    if section.has("command") && command.as_ref().is_some_and(Vec::is_empty) {
        section.mistake("command", "it is empty; allowed is a program with its arguments");
    }
    let [interval, timeout, retries, start_period] =
        ["interval", "timeout", "retries", "start_period"].map(|key| section.number::<u16>(key));
    Some(HealthCheck {
        command: command?,
        interval: interval?,
        timeout: timeout?,
        retries: retries?,
        start_period: start_period?,
    })
}

/// Judges the containers beside each other and beside ours.
struct Judge<'a, 'b> {
    root: &'a Section<'b>,
    around: &'a Surroundings<'a>,
    drafts: &'a [Draft],
    volumes: &'a BTreeSet<PartName>,
}

impl Judge<'_, '_> {
    fn container(&self, index: usize, draft: &Draft) -> Option<ExtraContainer> {
        let mounts: Vec<_> = (0..)
            .zip(&draft.mounts)
            .map(|(number, mount)| self.mount(&format!("containers[{index}].mounts[{number}]"), mount))
            .collect();
        let mut paths = BTreeSet::new();
        for (number, path) in
            (0..).zip(&draft.mounts).filter_map(|(number, mount)| Some((number, mount.path.as_ref()?)))
        {
            if !paths.insert(path) {
                let key = format!("containers[{index}].mounts[{number}].path");
                self.root.mistake(&key, format!("`{path}` is another mount's as well; allowed is each path once"));
            }
        }
        let depends_on: Vec<_> = draft
            .depends_on
            .iter()
            .map(|(name, until)| self.dependency(&format!("containers[{index}].depends_on.{name}"), name, *until))
            .collect();
        let container = draft.container.clone()?;
        let mounts = mounts.into_iter().collect::<Option<_>>()?;
        let depends_on = depends_on.into_iter().collect::<Option<_>>()?;
        Some(ExtraContainer { place: index, mounts, depends_on, ..container })
    }

    fn mount(&self, key: &str, mount: &MountDraft) -> Option<ExtraMount> {
        let (volume, path) = (mount.volume.as_ref()?, mount.path.clone());
        let wrong = |message: String| {
            self.root.mistake(&format!("{key}.volume"), message);
            None
        };
        let source = if self.volumes.contains(volume) {
            Source::Theirs { volume: volume.clone(), read_only: mount.read_only }
        } else if let Some(readable) = Readable::ALL.into_iter().find(|ours| ours.as_str() == volume.as_str()) {
            if !mount.read_only {
                let key = format!("{key}.read_only");
                self.root
                    .mistake(&key, format!("`{volume}` is one of ours, which others may only read; set it to true"));
                return None;
            }
            let there = match readable {
                Readable::Certs => !self.around.insecure,
                Readable::Run => true,
                Readable::Logs => self.around.server.is_none_or(|server| server.log_volume),
            };
            if !there {
                let needs = if readable == Readable::Logs { "server.log_volume = true" } else { "a server with TLS" };
                return wrong(format!("`{volume}` is there only with {needs}; take it out, or change that"));
            }
            Source::Ours(readable)
        } else if Volume::ALL.iter().any(|ours| ours.as_str() == volume.as_str()) {
            return wrong(format!(
                "`{volume}` is for our own containers alone; allowed of ours are certs, run and logs"
            ));
        } else {
            return wrong(format!(
                "there is no volume `{volume}`; declare it with [[volumes]], or mount certs, run or logs read-only"
            ));
        };
        Some(ExtraMount { source, path: path? })
    }

    /// Whether ours are there, essential, and have a health check that says whether the node is ready. That of the server says
    /// that guard runs.
    fn ours(&self, name: &str) -> Option<(ContainerName, bool, bool)> {
        let init = if self.around.insecure { ContainerName::Guard } else { ContainerName::Certgen };
        let all =
            [(init, false, false), (ContainerName::EventStore, true, false), (ContainerName::Bootstrap, true, true)];
        all.into_iter().find(|(ours, ..)| ours.as_str() == name)
    }

    fn dependency(&self, key: &str, name: &str, until: Until) -> Option<(Peer, Until)> {
        let theirs = self.drafts.iter().find(|draft| draft.name.as_ref().is_some_and(|found| found.as_str() == name));
        let (peer, essential, is_checked) = match (self.ours(name), theirs) {
            (Some((ours, essential, is_checked)), _) => (Peer::Ours(ours), essential, is_checked),
            (None, Some(draft)) => (Peer::Theirs(draft.name.clone()?), draft.essential, draft.is_checked),
            (None, None) => {
                let known: Vec<_> = self.drafts.iter().filter_map(|draft| draft.name.as_ref()).collect();
                let mut known: Vec<_> = known.iter().map(|name| name.as_str()).collect();
                known.extend(
                    ContainerName::ALL.map(ContainerName::as_str).iter().filter(|name| self.ours(name).is_some()),
                );
                known.sort_unstable();
                known.dedup();
                self.root.mistake(key, format!("the task has no container `{name}`; {}", super::nearest(name, &known)));
                return None;
            }
        };
        if matches!(until, Until::Success | Until::Complete) && essential {
            let message = format!(
                "`{}` does not go with {name}, which is essential: the task ends with it; allowed are START and HEALTHY",
                until.as_str()
            );
            self.root.mistake(key, message);
        }
        if until == Until::Healthy && !is_checked {
            let message = match peer {
                Peer::Ours(_) => format!(
                    "`HEALTHY` does not go with {name}: only the health check of bootstrap says whether the node is ready; allowed is \
                     START"
                ),
                Peer::Theirs(_) => format!(
                    "`HEALTHY` does not go with {name}, which has no health_check (one in its image does not count); give it one, or \
                     wait for START"
                ),
            };
            self.root.mistake(key, message);
        }
        if until == Until::Healthy && self.around.is_cluster && peer == Peer::Ours(ContainerName::Bootstrap) {
            // ECS registers the node's name only when all containers have started (aws-contract §3.3: ACTIVATING).
            let message = "`HEALTHY` does not go with a cluster: the node is healthy when it has found the others, and ECS gives nodes \
                           their names when all of their containers have started, so none would ever be found; allowed is START";
            self.root.mistake(key, message);
        }
        Some((peer, until))
    }

    /// The server keeps what it needs (production-review row 40).
    fn sizes(&self) {
        let Some(size) = self.around.server.map(|server| server.size) else { return };
        let containers = || self.drafts.iter().filter_map(|draft| draft.container.as_ref());
        let left = i64::from(size.memory_mib()) - containers().map(|one| i64::from(one.reserved_mib())).sum::<i64>();
        if left < LEAST_MEMORY_MIB {
            let message = format!(
                "of {} MiB (server.memory) they leave {left} to the server, which needs {LEAST_MEMORY_MIB}; reserve less, or give \
                 the task more",
                size.memory_mib()
            );
            self.root.mistake("containers", message);
        }
        let units: u32 = containers().filter_map(|container| container.cpu).sum();
        if units >= size.cpu() {
            let message = format!(
                "they take {units} of the task's {} CPU units (server.cpu) and leave none to the server; give them less",
                size.cpu()
            );
            self.root.mistake("containers", message);
        }
    }

    /// Without leave to read them no task starts.
    fn secrets(&self) {
        let Some(deploy) = self.around.deploy else { return };
        let mut with_secrets = (0..).zip(self.drafts).filter(|(_, draft)| draft.has_secrets);
        match (&deploy.execution_role, deploy.execution_role_reads_secrets) {
            (Some(_), false) => {
                for (index, _) in with_secrets {
                    let message = "deploy.execution_role is a role of yours, which infra grants nothing, and a task whose secrets \
                                   it may not read does not start; grant it secretsmanager:GetSecretValue on these and say so \
                                   with deploy.execution_role_reads_secrets = true, or take the role out";
                    self.root.mistake(&format!("containers[{index}].secrets"), message);
                }
            }
            (None, true) => {
                let message = "`true` says nothing without execution_role; take it out";
                self.root.mistake("deploy.execution_role_reads_secrets", message);
            }
            (Some(_), true) if with_secrets.next().is_none() => {
                let message = "`true` says nothing without containers that have secrets; take it out";
                self.root.mistake("deploy.execution_role_reads_secrets", message);
            }
            _ => {}
        }
    }

    /// The containers in an order in which they can be started; `None` if there is no such order.
    fn order(&self) -> Option<Vec<usize>> {
        let names: BTreeMap<_, _> =
            (0..).zip(self.drafts).filter_map(|(index, draft)| Some((draft.name.as_ref()?.as_str(), index))).collect();
        let mut waiting: Vec<usize> = (0..self.drafts.len()).collect();
        let mut order = Vec::new();
        loop {
            let is_ready = |index: usize| {
                let needed = self.drafts[index].depends_on.iter().filter_map(|(name, _)| names.get(name.as_str()));
                needed.into_iter().all(|needed| order.contains(needed))
            };
            let Some(at) = waiting.iter().position(|index| is_ready(*index)) else { break };
            let ready = waiting.remove(at);
            order.push(ready);
        }
        for (index, name) in waiting.iter().filter_map(|&index| Some((index, self.circle_of(index, &names)?))) {
            let message = format!("they wait for each other and would never start: {name}; take one of these out");
            self.root.mistake(&format!("containers[{index}].depends_on"), message);
        }
        waiting.is_empty().then_some(order)
    }

    /// `a, b, a`, if whoever follows the dependencies of this one comes back to it. It is told once, of its first container.
    fn circle_of(&self, start: usize, names: &BTreeMap<&str, usize>) -> Option<String> {
        let mut paths = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop() {
            let last = *path.last()?;
            for next in self.drafts[last].depends_on.iter().filter_map(|(name, _)| names.get(name.as_str()).copied()) {
                if next == start {
                    let name = |index: &usize| self.drafts[*index].name.as_ref().map_or("", PartName::as_str);
                    let circle: Vec<_> = path.iter().chain([&start]).map(name).collect();
                    return (path.iter().min() == Some(&start)).then(|| circle.join(", "));
                }
                if seen.insert(next) {
                    paths.push([&path[..], &[next]].concat());
                }
            }
        }
        None
    }
}
