//! What a deployment consumes in a month: counts of the templates, times hours, times what is assumed.

use super::assume::Assumed;
use super::emitted::{Emitted, Tasks};
use super::exact::Exact;
use super::units::{self, Unit};
use crate::model::{Deployment, Encryption, FileSystem, FlowLogs, NewFileSystem, Throughput, Vpc};

/// Hours of a month, as AWS counts it in its own estimates (AWS Pricing Calculator).
pub(super) const HOURS: u32 = 730;
const HOURS_OF_DAY: u32 = 24;
/// KiB/s for each GiB in Standard storage that a file system with provisioned throughput has anyway (EFS User Guide, "Amazon EFS
/// performance").
const INCLUDED_KIBPS: u32 = 50;
/// Days for which the automatic backups of EFS are kept (EFS User Guide, "Automatic backups").
const AUTOMATIC_BACKUP_DAYS: u32 = 35;
/// How often bootstrap looks at credentials and certificates, in seconds: its `--poll-interval`, which infra leaves as it is. It
/// takes up to a quarter longer, so this is the most. A test holds it against bootstrap, whose own tests hold what it calls
/// (`bootstrap/tests/quiet.rs`).
pub(super) const POLL_SECONDS: u32 = 300;
/// What it asks of Secrets Manager each time for a user with nothing to do: `DescribeSecret` and `GetSecretValue`.
const CALLS_FOR_USER: u32 = 2;
/// Of these, what decrypts.
const DECRYPTIONS_FOR_USER: u32 = 1;
/// For the authority: `GetSecretValue`.
const CALLS_FOR_CA: u32 = 1;
/// Metrics of bootstrap for a node that votes (docs/status.md): `Registered`, `Errors`, `ServerRestarts`; and with certificates
/// `CertificateDaysLeft`. A replica has no `Registered`. For a user: `RotationAge`.
const NODE_METRICS: u32 = 3;
/// States that the machine of a backup enters besides its two loops: `FindTasks`, `Stop`, the last look at the task (six), `BackUp`,
/// `Start`, `Judge` and `Done`.
const STATES_ONCE: u32 = 12;
/// At most, for each look at a task that has not ended, and at the job.
const STATES_LOOK_AT_TASK: u32 = 8;
const STATES_LOOK_AT_JOB: u32 = 4;

/// How much of something is consumed in a month.
#[derive(Debug)]
pub(crate) struct Quantity {
    pub(super) unit: &'static Unit,
    pub(super) what: &'static str,
    pub(super) amount: Exact,
    /// How it comes about, with the keys of what is assumed.
    pub(super) how: String,
    /// What nodes and replicas have in it, where it is told apart.
    pub(super) parts: Vec<Part>,
}

/// What the tasks of one kind have in a quantity.
#[derive(Debug)]
pub(super) struct Part {
    /// `node` or `replica`.
    pub(super) of: &'static str,
    pub(super) count: u32,
    /// What each of them has.
    pub(super) each: Exact,
}

/// Everything, and what is not in it.
pub(super) struct Counted {
    pub(super) quantities: Vec<Quantity>,
    pub(super) notes: Vec<String>,
}

pub(super) fn count(deployment: &Deployment, assumed: &Assumed) -> Counted {
    let emitted = Emitted::new(deployment);
    let tasks = emitted.tasks();
    let running: u32 = tasks.iter().map(|tasks| tasks.count).sum();
    let mut counting =
        Counting { deployment, assumed, emitted, tasks, running, quantities: Vec::new(), notes: Vec::new() };
    counting.fargate();
    counting.file_system();
    counting.backup();
    counting.network();
    counting.secrets();
    counting.discovery();
    counting.logs();
    counting.numbers();
    counting.machine();
    counting.images();
    counting.notifications();
    counting.not_counted();
    Counted { quantities: counting.quantities, notes: counting.notes }
}

struct Counting<'a> {
    deployment: &'a Deployment,
    assumed: &'a Assumed,
    emitted: Emitted,
    tasks: Vec<Tasks>,
    /// Tasks that run.
    running: u32,
    quantities: Vec<Quantity>,
    notes: Vec<String>,
}

fn days() -> Exact {
    Exact::fraction(HOURS.into(), HOURS_OF_DAY.into())
}

fn whole(number: u32) -> Exact {
    Exact::from(number)
}

/// `1 task`, `3 tasks`.
fn plural(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

impl Counting<'_> {
    fn add(&mut self, unit: &'static Unit, what: &'static str, amount: Exact, how: String) {
        if !amount.is_zero() {
            self.quantities.push(Quantity { unit, what, amount, how, parts: Vec::new() });
        }
    }

    fn get(&self, key: &str) -> Exact {
        self.assumed.get(key)
    }

    /// What is assumed for each node, for all that run.
    fn of_nodes(&self, key: &str) -> Exact {
        self.get(key) * whole(self.running)
    }

    fn nodes(&self) -> String {
        plural(self.tasks.iter().map(|tasks| tasks.count as usize).sum(), "node")
    }

    /// Adds something that every task has: for nodes and replicas apart, and together.
    fn add_of_tasks(&mut self, unit: &'static Unit, what: &'static str, name: &str, each: impl Fn(&Tasks) -> Exact) {
        let (mut parts, mut how) = (Vec::new(), Vec::new());
        for (is_replica, kind) in [(false, "node"), (true, "replica")] {
            let of_kind: Vec<_> = self.tasks.iter().filter(|tasks| tasks.is_replica == is_replica).collect();
            let count: u32 = of_kind.iter().map(|tasks| tasks.count).sum();
            let (Some(first), 1..) = (of_kind.first(), count) else { continue };
            // All tasks of a deployment are of one size.
            let each = each(first);
            let part = Part { of: kind, count, each: each * whole(HOURS) };
            let (tasks, of_each) = (plural(count as usize, kind), part.each.to_text(3));
            how.push(format!("{tasks} × {} {name} × {HOURS} h, {of_each} each", each.to_text(3)));
            parts.push(part);
        }
        let amount: Exact = parts.iter().map(|part| part.each * whole(part.count)).sum();
        if !amount.is_zero() {
            self.quantities.push(Quantity { unit, what, amount, how: how.join("; "), parts });
        }
    }

    fn fargate(&mut self) {
        self.add_of_tasks(&units::VCPU, "vCPU", "vCPU", |tasks| Exact::fraction(tasks.cpu.into(), 1024));
        self.add_of_tasks(&units::MEMORY, "memory", "GiB", |tasks| Exact::fraction(tasks.memory_mib.into(), 1024));
        let more = |tasks: &Tasks| whole(tasks.more_ephemeral_gib);
        self.add_of_tasks(&units::EPHEMERAL, "ephemeral storage", "GiB above 20", more);
        let waiting = self.tasks.iter().filter(|tasks| tasks.count == 0).count();
        if waiting > 0 {
            self.notes.push(format!(
                "{} that will run when data.restored or cluster.grow_from is taken out",
                plural(waiting, "node")
            ));
        }
        if self.emitted.backup_machine().is_some() {
            self.notes.push("minutes in which a node is stopped for its backup are not taken off".to_owned());
        }
    }

    fn file_system(&mut self) {
        let nodes = self.nodes();
        let data = self.of_nodes("data_gib");
        let log_volume = self.deployment.config().server.log_volume;
        let logs = if log_volume { self.of_nodes("log_volume_gib") } else { Exact::ZERO };
        let emitted = self.emitted.of("AWS::EFS::FileSystem").first().map(|file_system| (*file_system).clone());
        let moves = emitted.as_ref().is_some_and(|file_system| file_system.get("LifecyclePolicies").is_some());
        let infrequent = if moves { data * self.get("infrequent_percent").percent() } else { Exact::ZERO };
        let standard = data.less(infrequent) + logs;
        let mut how = format!("{nodes} × data_gib");
        if moves {
            how += " × (100 − infrequent_percent) %";
        }
        if log_volume {
            how = format!("{how} + {nodes} × log_volume_gib");
        }
        self.add(&units::EFS_STANDARD, "Standard storage", standard, how);
        self.add(
            &units::EFS_INFREQUENT,
            "Infrequent Access storage",
            infrequent,
            format!("{nodes} × data_gib × infrequent_percent %"),
        );
        if moves {
            let read = self.of_nodes("infrequent_read_gib");
            self.add(
                &units::EFS_INFREQUENT_READ,
                "Infrequent Access, read",
                read,
                format!("{nodes} × infrequent_read_gib"),
            );
        }
        let FileSystem::New(NewFileSystem { throughput, replicate_to, .. }) =
            &self.deployment.config().data.file_system
        else {
            self.notes.push("throughput of data.file_system, which is not the deployment's".to_owned());
            return;
        };
        match throughput {
            Throughput::Elastic => {
                let (read, written) = (self.of_nodes("read_gib"), self.of_nodes("written_gib"));
                self.add(&units::EFS_READ, "elastic throughput, read", read, format!("{nodes} × read_gib"));
                self.add(&units::EFS_WRITTEN, "elastic throughput, written", written, format!("{nodes} × written_gib"));
            }
            Throughput::Bursting => {}
            Throughput::Provisioned(mibps) => {
                let included = standard * Exact::fraction(INCLUDED_KIBPS.into(), 1024);
                let amount = whole((*mibps).into()).less(included);
                let how = format!("{mibps} MiB/s, without {INCLUDED_KIBPS} KiB/s for each GiB in Standard storage");
                self.add(&units::EFS_PROVISIONED, "provisioned throughput", amount, how);
            }
        }
        if let Some(region) = replicate_to {
            let how = format!("the same, in {}", region.as_str());
            self.add(&units::EFS_REPLICA, "replica of the file system", standard + infrequent, how);
            let written = self.of_nodes("written_gib");
            self.add(&units::REGIONS, "changes to the replica", written, format!("{nodes} × written_gib"));
        }
    }

    fn backup(&mut self) {
        let config = self.deployment.config();
        let automatic =
            matches!(&config.data.file_system, FileSystem::New(NewFileSystem { automatic_backups: true, .. }));
        let kept = match &config.backup {
            Some(backup) => u32::from(backup.delete_after),
            None if automatic => AUTOMATIC_BACKUP_DAYS,
            None => return,
        };
        let copies = config.backup.as_ref().is_some_and(|backup| backup.copy_to.is_some());
        let nodes = self.nodes();
        let changed = self.of_nodes("backup_changed_gib");
        let amount = self.of_nodes("data_gib") + changed * whole(kept.saturating_sub(1));
        let how = format!("{nodes} × (data_gib + {} more days kept × backup_changed_gib)", kept.saturating_sub(1));
        self.add(&units::BACKUP, "backups", amount, how);
        if copies {
            self.add(&units::BACKUP_COPY, "copies of backups", amount, "as many, in backup.copy_to".to_owned());
            let how = format!("{nodes} × backup_changed_gib × {} days", days().to_text(2));
            self.add(&units::REGIONS, "changes to the copies", changed * days(), how);
        }
    }

    /// Starts of tasks: those that are assumed, and those after a stop for a backup.
    fn starts(&self) -> Exact {
        let after_backup = if self.emitted.backup_machine().is_some() { days() } else { Exact::ZERO };
        self.of_nodes("task_starts") + after_backup
    }

    fn starts_shown(&self) -> String {
        let after_backup = if self.emitted.backup_machine().is_some() { " + 1 a day after the backup" } else { "" };
        format!("({} × task_starts{after_backup})", self.nodes())
    }

    fn network(&mut self) {
        let nodes = self.nodes();
        let gateways = self.emitted.count("AWS::EC2::NatGateway");
        let hours = Exact::from(gateways) * whole(HOURS);
        self.add(&units::NAT_HOUR, "NAT gateways", hours, format!("{} × {HOURS} h", plural(gateways, "gateway")));
        if gateways > 0 {
            let through = self.of_nodes("log_gib") + self.starts() * self.get("image_gib");
            let how = format!("{nodes} × log_gib + {} × image_gib", self.starts_shown());
            self.add(&units::NAT_GIB, "through NAT gateways", through, how);
        }
        let (endpoints, in_zones) = self.emitted.endpoints();
        if endpoints > 0 {
            let how =
                format!("{} in {} × {HOURS} h", plural(endpoints, "endpoint"), plural(in_zones / endpoints, "zone"));
            self.add(&units::ENDPOINT_HOUR, "interface endpoints", Exact::from(in_zones) * whole(HOURS), how);
            let through = self.of_nodes("log_gib") + self.of_nodes("endpoint_gib");
            let how = format!("{nodes} × (log_gib + endpoint_gib); layers of images come through the endpoint of S3");
            self.add(&units::ENDPOINT_GIB, "through interface endpoints", through, how);
        }
        let gateways = self.emitted.count("AWS::EC2::EIP");
        let with_address: u32 = self.tasks.iter().filter(|tasks| tasks.has_public_ip).map(|tasks| tasks.count).sum();
        let addresses = gateways + with_address as usize;
        let how = format!("{} × {HOURS} h", plural(addresses, if with_address > 0 { "task" } else { "NAT gateway" }));
        self.add(&units::ADDRESS, "public IPv4 addresses", Exact::from(addresses) * whole(HOURS), how);
        let config = self.deployment.config();
        if config.nodes.is_cluster() && config.network.subnets() > 1 {
            let amount = self.of_nodes("between_zones_gib");
            self.add(&units::ZONES, "between zones", amount, format!("{nodes} × between_zones_gib"));
        }
        if let Vpc::Existing { .. } = config.network.vpc {
            self.notes
                .push("NAT gateways, endpoints and flow logs of network.vpc, which is not the deployment's".to_owned());
        }
    }

    fn secrets(&mut self) {
        let secrets = self.emitted.count("AWS::SecretsManager::Secret");
        self.add(&units::SECRET, "secrets", Exact::from(secrets), plural(secrets, "secret"));
        let keys = self.emitted.count("AWS::KMS::Key");
        let Some(secured) = self.deployment.secured() else { return self.keys(keys, None) };
        let users = u32::try_from(secured.secrets().count()).unwrap_or(u32::MAX);
        let authority = u32::from(self.deployment.ca_secret_name().is_some());
        let polls = Exact::fraction((HOURS * 3600).into(), POLL_SECONDS.into()) * whole(self.running);
        // Those that ECS hands to containers, and the authority that certgen reads.
        let read_at_start = self.tasks.iter().map(|tasks| tasks.secrets).max().unwrap_or(0) + CALLS_FOR_CA * authority;
        let at_start = self.starts() * whole(read_at_start);
        let calls = polls * whole(CALLS_FOR_USER * users + CALLS_FOR_CA * authority) + at_start;
        let of_authority = if authority > 0 { " + 1 for the authority" } else { "" };
        let how = format!(
            "{} × a poll every {} min × ({CALLS_FOR_USER} × {}{of_authority}); {read_at_start} at each start, {}",
            self.nodes(),
            POLL_SECONDS / 60,
            plural(users as usize, "user"),
            self.starts_shown(),
        );
        self.add(&units::SECRET_CALLS, "calls of bootstrap, certgen and ECS", calls, how);
        let decrypted = polls * whole(DECRYPTIONS_FOR_USER * users + CALLS_FOR_CA * authority) + at_start;
        self.keys(keys, (secured.encryption != Encryption::Aws).then_some(decrypted));
    }

    /// Keys of the deployment, and what is asked of these and of others that are not AWS's.
    fn keys(&mut self, keys: usize, decrypted: Option<Exact>) {
        self.add(&units::KEY, "keys", Exact::from(keys), plural(keys, "key"));
        if let Some(decrypted) = decrypted {
            let how = "of the calls of Secrets Manager, those that decrypt".to_owned();
            self.add(&units::KEY_REQUESTS, "requests of Secrets Manager", decrypted, how);
        }
        if self.deployment.encrypted_besides_secrets().any(|encryption| *encryption != Encryption::Aws) {
            let amount = self.get("kms_requests");
            self.add(&units::KEY_REQUESTS, "requests of other services", amount, "kms_requests".to_owned());
        }
    }

    fn discovery(&mut self) {
        let registered = |by: usize| self.tasks.iter().map(|tasks| tasks.count * tasks.registered[by]).sum::<u32>();
        let (by_ecs, by_bootstrap) = (registered(0), registered(1));
        let how = format!("{}, for clients", plural(by_bootstrap as usize, "node"));
        self.add(&units::INSTANCE, "entries that bootstrap registers", whole(by_bootstrap), how);
        let how = format!("{}, under their own names", self.nodes());
        self.add(&units::ECS_INSTANCE, "entries that ECS registers", whole(by_ecs), how);
        let zones = self.emitted.count("AWS::ServiceDiscovery::PrivateDnsNamespace");
        self.add(&units::ZONE, "private hosted zone", Exact::from(zones), plural(zones, "namespace"));
        let queries = self.get("dns_queries");
        self.add(&units::QUERIES, "DNS queries", queries, "dns_queries".to_owned());
        self.notes.push("calls of DiscoverInstances: none of our programs makes one".to_owned());
    }

    fn logs(&mut self) {
        let nodes = self.nodes();
        let kept = whole(self.deployment.config().logs.retention_days.into());
        let printed = self.of_nodes("log_gib");
        self.add(&units::INGESTED, "of the containers", printed, format!("{nodes} × log_gib"));
        if self.emitted.has_insights() {
            let insights = self.of_nodes("insights_log_gib");
            self.add(&units::INGESTED, "of Container Insights", insights, format!("{nodes} × insights_log_gib"));
        }
        let flows = match (self.emitted.count("AWS::EC2::FlowLog"), &self.deployment.config().network.vpc) {
            (1.., Vpc::New { flow_logs, .. }) if *flow_logs != FlowLogs::Off => self.get("flow_log_gib"),
            _ => Exact::ZERO,
        };
        self.add(&units::VENDED, "flow logs", flows, "flow_log_gib".to_owned());
        let months = kept * Exact::fraction(HOURS_OF_DAY.into(), HOURS.into());
        let stored = (printed + flows) * months * self.get("log_stored_percent").percent();
        let how = format!("containers and flow logs × log_stored_percent %, {} days kept", kept.to_text(0));
        self.add(&units::STORED, "stored", stored, how);
    }

    fn numbers(&mut self) {
        if self.emitted.has_insights() {
            let (cluster, node) = (self.get("insights_cluster_metrics"), self.of_nodes("insights_node_metrics"));
            let how = format!("insights_cluster_metrics + {} × insights_node_metrics", self.nodes());
            self.add(&units::METRIC, "of Container Insights", cluster + node, how);
        }
        let users = u32::try_from(self.deployment.logins().count()).unwrap_or(u32::MAX);
        let with_certificate = u32::from(self.deployment.secured().is_some());
        let of_nodes = self
            .tasks
            .iter()
            .map(|tasks| tasks.count * (NODE_METRICS + with_certificate).saturating_sub(u32::from(tasks.is_replica)));
        let amount = whole(of_nodes.sum::<u32>() + users);
        let how = format!("{} and {} (docs/status.md)", self.nodes(), plural(users as usize, "user"));
        self.add(&units::METRIC, "of bootstrap", amount, how);
        let metrics = self.emitted.metrics_in_alarms();
        let alarms = self.emitted.count("AWS::CloudWatch::Alarm");
        self.add(&units::ALARM_METRIC, "in alarms", Exact::from(metrics), plural(alarms, "alarm"));
    }

    /// The machine that stops a node for its backup, and what begins it.
    fn machine(&mut self) {
        let schedules = self.emitted.schedules();
        if let Some(definition) = self.emitted.backup_machine() {
            let states = &definition["States"];
            let looks = |wait: &str, minutes: &str| {
                let seconds = states[wait]["Seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
                let seconds = seconds.unwrap_or(1).max(1);
                (self.get(minutes) * Exact::fraction(60, seconds.into())).rounded_up()
            };
            let once = whole(STATES_ONCE + u32::from(states.get("Copy").is_some()));
            let looks = [
                looks("WaitForEnd", "stop_minutes") * whole(STATES_LOOK_AT_TASK),
                looks("WaitForJob", "backup_minutes") * whole(STATES_LOOK_AT_JOB),
            ];
            let amount = (once + looks[0] + looks[1]) * days();
            let how = format!(
                "a backup a day: {} states, {} while the task ends (stop_minutes), {} while the job runs (backup_minutes)",
                once.to_text(0),
                looks[0].to_text(0),
                looks[1].to_text(0)
            );
            self.add(&units::TRANSITIONS, "state transitions", amount, how);
        }
        let how = format!("{} a day", plural(schedules, "schedule"));
        self.add(&units::INVOCATIONS, "schedules", Exact::from(schedules) * days(), how);
    }

    fn images(&mut self) {
        if self.tasks.iter().any(|tasks| tasks.pulls_from_ecr) {
            let amount = self.get("ecr_gib");
            self.add(&units::IMAGES, "images", amount, "ecr_gib; deployments of one account share them".to_owned());
        }
    }

    fn notifications(&mut self) {
        if self.emitted.count("AWS::SNS::Topic") == 0 {
            return;
        }
        let (told, addresses) = (self.get("notifications"), self.emitted.count("AWS::SNS::Subscription"));
        self.add(&units::PUBLISHED, "to the topic", told, "notifications".to_owned());
        let how = format!("notifications × {addresses} addresses");
        self.add(&units::EMAILS, "mails", told * Exact::from(addresses), how);
    }

    fn not_counted(&mut self) {
        let config = self.deployment.config();
        for (kind, count) in self.emitted.unknown() {
            self.notes.push(format!("{count} × {kind}, of which nothing is known here"));
        }
        if !config.extra.volumes.is_empty() {
            self.notes.push("file systems of [[volumes]], and what [[containers]] use elsewhere".to_owned());
        }
        self.notes.push(
            "transfer out of AWS, restores, the server's licence, support, taxes; free tiers and discounts are not taken off"
                .to_owned(),
        );
    }
}
