//! A picture of a deployment: who talks to whom, what is inside of what, and what is there already.

mod mermaid;

use self::mermaid::{Chart, Id, Look};
use crate::lower;
use crate::model::{
    Alarms, BackupMode, CaSource, Condition, Deployment, Discovery, Egress, FileSystem, Node, NodeId, Notify, Secret,
    Vault, Volume, Vpc,
};
use crate::values::EmailAddress;

/// The deployment as a Mermaid `flowchart`; the same text every time.
pub fn diagram(deployment: &Deployment) -> String {
    Picture { deployment, chart: Chart::new(deployment.name().as_str()) }.draw()
}

struct Picture<'a> {
    deployment: &'a Deployment,
    chart: Chart,
}

impl Picture<'_> {
    fn draw(mut self) -> String {
        let names = self.names();
        let nodes = self.network();
        let file_system = self.file_system(&nodes);
        self.ways(&names, &nodes);
        self.secrets();
        self.volumes();
        self.backup(&file_system);
        self.alarms();
        self.chart.write()
    }

    /// The names in DNS; gives that of clients, and after it those of nodes.
    fn names(&mut self) -> Vec<Id> {
        let namespace = self.deployment.namespace().as_str();
        let look = match &self.deployment.config().discovery {
            Discovery::New => Look::New,
            Discovery::Existing { .. } => Look::There,
        };
        self.chart.begin("names", &format!("Cloud Map namespace {namespace}"), look);
        let mut names = vec![self.chart.add("client", &[&self.deployment.client_host(), "for clients"], Look::New)];
        for node in self.deployment.members() {
            names.push(self.chart.add(&format!("name_{}", short(node)), &[node.host()], Look::New));
        }
        self.chart.end();
        names
    }

    /// VPC, subnets, and in them the nodes; gives these.
    fn network(&mut self) -> Vec<Id> {
        let network = &self.deployment.config().network;
        let (title, look) = match &network.vpc {
            Vpc::New { cidr, egress, .. } => (format!("VPC {cidr}, {}", egress_of(*egress)), Look::New),
            Vpc::Existing { id, .. } => (format!("VPC {id}"), Look::There),
        };
        self.chart.begin("vpc", &title, look);
        let members: Vec<_> = self.deployment.members().collect();
        let mut nodes = vec![None; members.len()];
        let mut places: Vec<Vec<usize>> = Vec::new();
        for node in &members {
            let place: Vec<_> = self.deployment.subnets_of(node.id()).collect();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        for (number, place) in (1..).zip(&places) {
            let title = self.place(place);
            self.chart.begin(&format!("place_{number}"), &title, look);
            for (index, node) in members.iter().enumerate() {
                if self.deployment.subnets_of(node.id()).eq(place.iter().copied()) {
                    nodes[index] = Some(self.node(node));
                }
            }
            self.chart.end();
        }
        self.chart.end();
        nodes.into_iter().flatten().collect()
    }

    /// One subnet, or several of which any will do.
    fn place(&self, subnets: &[usize]) -> String {
        let vpc = &self.deployment.config().network.vpc;
        let names: Vec<_> = subnets
            .iter()
            .map(|index| match vpc {
                Vpc::New { .. } => format!("zone {}", index + 1),
                Vpc::Existing { subnets, .. } => subnets[*index].to_string(),
            })
            .collect();
        if names.len() == 1 { names.concat() } else { format!("one of {}", names.join(", ")) }
    }

    /// A service with its task: containers, and which waits for which.
    fn node(&mut self, node: &Node) -> Id {
        let (id, task) = (short(node), node.task());
        let role = if node.is_read_only_replica() { "read-only replica" } else { "ECS service" };
        let title = format!("{role} {}-{}, {}", self.deployment.name(), node.name(), self.deployment.line().as_str());
        let group = self.chart.begin(&id, &title, Look::New);
        let mut boxes = Vec::new();
        let mut waits = Vec::new();
        for container in &task.containers {
            let name = container.name.as_str();
            boxes.push((name.to_owned(), self.chart.add(&format!("{id}_{name}"), &[name], Look::New)));
            let until = |condition: &Condition| match condition {
                Condition::Start => "START",
                Condition::Success => "SUCCESS",
            };
            waits.extend(container.depends_on.iter().map(|(on, condition)| (on.as_str(), until(condition), name)));
        }
        for (number, container) in (1..).zip(&task.extra.containers) {
            let name = container.name.as_str();
            boxes.push((
                name.to_owned(),
                self.chart.add(&format!("{id}_own_{number}"), &[name, "of [[containers]]"], Look::Users),
            ));
            waits.extend(container.depends_on.iter().map(|(peer, until)| (peer.as_str(), until.as_str(), name)));
        }
        let found = |name: &str| boxes.iter().find(|(of, _)| of == name).map(|(_, id)| id);
        for (on, until, name) in waits {
            if let (Some(from), Some(to)) = (found(on), found(name)) {
                self.chart.arrow(from, to, until);
            }
        }
        self.chart.end();
        group
    }

    /// The file system, with a directory for each node and purpose.
    fn file_system(&mut self, nodes: &[Id]) -> Id {
        let data = &self.deployment.config().data;
        let (title, look) = match &data.file_system {
            FileSystem::New(new) => {
                let name =
                    new.name.as_ref().map_or_else(|| format!("{}-data", self.deployment.name()), ToString::to_string);
                (name, Look::New)
            }
            FileSystem::Existing { id, .. } => (id.to_string(), Look::There),
        };
        let group = self.chart.begin("efs", &format!("EFS file system {title}"), look);
        let mut points = Vec::new();
        for (node, of) in self.deployment.members().zip(nodes) {
            let volumes: &[_] = if self.deployment.config().server.log_volume {
                &[Volume::Data, Volume::Logs]
            } else {
                &[Volume::Data]
            };
            for volume in volumes {
                let directory = data.root.join(&format!("{}/{}", node.name(), volume.as_str()));
                let id = format!("point_{}_{}", short(node), volume.as_str());
                points.push((of, self.chart.add(&id, &["access point", &directory], Look::New)));
            }
        }
        self.chart.end();
        for (node, point) in points {
            self.chart.arrow(node, &point, "NFS");
        }
        group
    }

    /// How the nodes are found.
    fn ways(&mut self, names: &[Id], nodes: &[Id]) {
        let entry = format!("{}:{}", self.deployment.client_host(), self.deployment.port());
        let consumers = self.chart.add("consumers", &["consumers"], Look::Outside);
        self.chart.arrow(&consumers, &names[0], &entry);
        for ((node, id), name) in self.deployment.members().zip(nodes).zip(&names[1..]) {
            if !node.is_read_only_replica() {
                self.chart.dotted(&names[0], id, "");
            }
            self.chart.dotted(name, id, "");
        }
        if let Some(admin) = &self.deployment.config().network.admin {
            let people = self.chart.add("people", &["people", &admin.to_string()], Look::Outside);
            let port = self.deployment.port().to_string();
            self.chart.arrow(&people, &Id::of("vpc"), &port);
        }
    }

    fn secrets(&mut self) {
        let mut boxes = Vec::new();
        if let Some(secured) = self.deployment.secured() {
            for (login, secret) in secured.secrets() {
                boxes.push((self.deployment.secret_name(login), look_of(secret)));
            }
            if let (CaSource::Secret(secret), Some(name)) = (&secured.ca, self.deployment.ca_secret_name()) {
                boxes.push((name, look_of(secret)));
            }
        }
        if let Some(license) = &self.deployment.config().server.license {
            boxes.push((license.secret.to_string(), Look::There));
        }
        boxes.extend(self.deployment.config().extra.secrets().into_iter().map(|arn| (arn.to_string(), Look::There)));
        if boxes.is_empty() {
            return;
        }
        let group = self.chart.begin("secrets", "Secrets Manager", Look::New);
        self.chart.stack();
        for (number, (name, look)) in (1..).zip(&boxes) {
            // Of an ARN the end is the name.
            let name = name.rsplit_once(":secret:").map_or(name.as_str(), |(_, name)| name);
            self.chart.add(&format!("secret_{number}"), &[name], *look);
        }
        self.chart.end();
        // One for all nodes: each reads the same.
        self.chart.arrow(&Id::of("vpc"), &group, "");
    }

    /// File systems that hold volumes of the user's own.
    fn volumes(&mut self) {
        let mut drawn = Vec::new();
        for efs in self.deployment.config().extra.volumes.iter().filter_map(|volume| volume.efs.as_ref()) {
            if drawn.contains(&&efs.file_system) {
                continue;
            }
            drawn.push(&efs.file_system);
            let id = format!("volume_{}", drawn.len());
            let there =
                self.chart.add(&id, &["EFS file system", efs.file_system.as_str(), "of [[volumes]]"], Look::There);
            self.chart.arrow(&Id::of("vpc"), &there, "NFS");
        }
    }

    fn backup(&mut self, file_system: &Id) {
        let Some(backup) = &self.deployment.config().backup else { return };
        let name = lower::vault_name(self.deployment, &backup.vault);
        let look = if let Vault::Existing(_) = backup.vault { Look::There } else { Look::New };
        let how = match (backup.mode, self.deployment.backup_pause()) {
            (BackupMode::Stop, Some(pause)) => format!("daily {}, node-{} is stopped", backup.daily_at, pause.node),
            _ => format!("daily {}", backup.daily_at),
        };
        let vault = self.chart.add("vault", &["backup vault", &name, &how], look);
        self.chart.arrow(file_system, &vault, "");
        if let Some(copies) = &backup.copy_to {
            let arn = copies.as_str();
            let (place, name) = arn.rsplit_once(":backup-vault:").unwrap_or(("", arn));
            let region = place.split(':').nth(3).unwrap_or_default();
            let copies = self.chart.add("copies", &["backup vault", &format!("{name} in {region}")], Look::There);
            self.chart.arrow(&vault, &copies, "copies");
        }
    }

    fn alarms(&mut self) {
        let Alarms::On(watch) = &self.deployment.config().alarms else { return };
        let alarms = self.chart.add("alarms", &["CloudWatch alarms"], Look::New);
        self.chart.dotted(&Id::of("vpc"), &alarms, "");
        match &watch.notify {
            Notify::Nobody => {}
            Notify::Topic(arn) => {
                let name = arn.as_str().rsplit(':').next().unwrap_or_default();
                let topic = self.chart.add("topic", &["SNS topic", name], Look::There);
                self.chart.arrow(&alarms, &topic, "");
            }
            Notify::Emails { addresses, .. } => {
                let topic = self.chart.add("topic", &["SNS topic"], Look::New);
                self.chart.arrow(&alarms, &topic, "");
                let addresses: Vec<_> = addresses.iter().map(EmailAddress::as_str).collect();
                let people = self.chart.add("emails", &addresses, Look::Outside);
                self.chart.arrow(&topic, &people, "mail");
            }
        }
    }
}

fn look_of(secret: &Secret) -> Look {
    match secret {
        Secret::New => Look::New,
        Secret::Existing(_) => Look::There,
    }
}

fn egress_of(egress: Egress) -> &'static str {
    match egress {
        Egress::OneNat => "one NAT gateway",
        Egress::NatPerZone => "a NAT gateway in each zone",
        Egress::PublicIp => "public addresses",
        Egress::Endpoints => "endpoints of AWS alone",
    }
}

/// What ids of a node begin with.
fn short(node: &Node) -> String {
    match node.id() {
        NodeId::Voter(number) => format!("node_{number}"),
        NodeId::Replica(number) => format!("replica_{number}"),
    }
}
