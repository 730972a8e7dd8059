//! What AWS charges for, unit by unit: what prices are given by. No price is known here.

/// Something that has a price.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Section and key of its price.
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    /// How many of them have the price, as AWS publishes it.
    pub(crate) per: u32,
    /// As amounts are named.
    pub(crate) name: &'static str,
    /// What it is, for whoever looks for the price.
    pub(crate) doc: &'static str,
}

/// The sections of a price file, each with its title and where AWS publishes the prices.
pub(super) const SECTIONS: [(&str, &str, &str); 15] = [
    ("fargate", "Fargate", "https://aws.amazon.com/fargate/pricing/"),
    ("efs", "EFS", "https://aws.amazon.com/efs/pricing/"),
    ("backup", "AWS Backup", "https://aws.amazon.com/backup/pricing/"),
    (
        "vpc",
        "NAT gateways, endpoints, addresses",
        "https://aws.amazon.com/vpc/pricing/ and https://aws.amazon.com/privatelink/pricing/",
    ),
    ("transfer", "Data transfer", "https://aws.amazon.com/ec2/pricing/on-demand/, \"Data Transfer\""),
    ("secrets_manager", "Secrets Manager", "https://aws.amazon.com/secrets-manager/pricing/"),
    ("kms", "KMS", "https://aws.amazon.com/kms/pricing/"),
    ("cloud_map", "Cloud Map", "https://aws.amazon.com/cloud-map/pricing/"),
    ("route53", "Route 53", "https://aws.amazon.com/route53/pricing/"),
    ("logs", "CloudWatch Logs", "https://aws.amazon.com/cloudwatch/pricing/, \"Logs\""),
    ("cloudwatch", "CloudWatch", "https://aws.amazon.com/cloudwatch/pricing/, \"Metrics\" and \"Alarms\""),
    ("step_functions", "Step Functions", "https://aws.amazon.com/step-functions/pricing/"),
    ("scheduler", "EventBridge Scheduler", "https://aws.amazon.com/eventbridge/pricing/"),
    ("ecr", "ECR", "https://aws.amazon.com/ecr/pricing/"),
    ("sns", "SNS", "https://aws.amazon.com/sns/pricing/"),
];

const fn unit(section: &'static str, key: &'static str, per: u32, name: &'static str, doc: &'static str) -> Unit {
    Unit { section, key, per, name, doc }
}

macro_rules! units {
    ($($constant:ident = $section:literal, $key:literal, $per:literal, $name:literal, $doc:literal;)*) => {
        $(pub(super) static $constant: Unit = unit($section, $key, $per, $name, $doc);)*
        /// All of them, in the order of their sections.
        pub(super) static UNITS: &[&Unit] = &[$(&$constant),*];
    };
}

units! {
    VCPU = "fargate", "vcpu_hour", 1, "vCPU hours", "An hour of a vCPU, Linux on x86.";
    MEMORY = "fargate", "gib_hour", 1, "GiB hours", "An hour of a GiB of memory, Linux on x86.";
    EPHEMERAL = "fargate", "ephemeral_gib_hour", 1, "GiB hours", "An hour of a GiB of ephemeral storage above the 20 GiB that belong to a task.";
    EFS_STANDARD = "efs", "standard_gib_month", 1, "GiB months", "A month of a GiB in Standard storage, Regional.";
    EFS_INFREQUENT = "efs", "infrequent_gib_month", 1, "GiB months", "A month of a GiB in Infrequent Access storage, Regional.";
    EFS_INFREQUENT_READ = "efs", "infrequent_read_gib", 1, "GiB", "A GiB read in Infrequent Access, besides what elastic throughput costs.";
    EFS_READ = "efs", "elastic_read_gib", 1, "GiB", "A GiB read with elastic throughput.";
    EFS_WRITTEN = "efs", "elastic_write_gib", 1, "GiB", "A GiB written with elastic throughput.";
    EFS_PROVISIONED = "efs", "provisioned_mibps_month", 1, "MiB/s months", "A month of a provisioned MiB/s above what the size in Standard storage includes.";
    EFS_REPLICA = "efs", "replica_gib_month", 1, "GiB months", "A month of a GiB of the replica, in Standard storage in the region of data.replicate_to.";
    BACKUP = "backup", "gib_month", 1, "GiB months", "A month of a GiB of EFS backups in warm storage.";
    BACKUP_COPY = "backup", "copy_gib_month", 1, "GiB months", "The same where backup.copy_to is.";
    NAT_HOUR = "vpc", "nat_gateway_hour", 1, "hours", "An hour of a NAT gateway.";
    NAT_GIB = "vpc", "nat_gateway_gib", 1, "GiB", "A GiB that a NAT gateway processes.";
    ENDPOINT_HOUR = "vpc", "endpoint_hour", 1, "hours", "An hour of an interface endpoint in one zone.";
    ENDPOINT_GIB = "vpc", "endpoint_gib", 1, "GiB", "A GiB that interface endpoints process.";
    ADDRESS = "vpc", "public_ipv4_hour", 1, "hours", "An hour of a public IPv4 address.";
    ZONES = "transfer", "between_zones_gib", 1, "GiB", "A GiB from one zone to another; AWS charges it on both sides: give the sum.";
    REGIONS = "transfer", "between_regions_gib", 1, "GiB", "A GiB to another region, for data.replicate_to and backup.copy_to.";
    SECRET = "secrets_manager", "secret_month", 1, "secret months", "A month of a secret.";
    SECRET_CALLS = "secrets_manager", "calls_10000", 10_000, "API calls", "10 000 API calls.";
    KEY = "kms", "key_month", 1, "key months", "A month of a key of the account's own; one that was rotated may cost more.";
    KEY_REQUESTS = "kms", "requests_10000", 10_000, "requests", "10 000 requests with symmetric keys.";
    INSTANCE = "cloud_map", "instance_month", 1, "instance months", "A month of an instance that a program registers.";
    ECS_INSTANCE = "cloud_map", "ecs_instance_month", 1, "instance months", "A month of an instance that ECS registers for its services; look whether AWS charges for it, and give 0 if not.";
    ZONE = "route53", "hosted_zone_month", 1, "zone months", "A month of a hosted zone, here the private one of the namespace.";
    QUERIES = "route53", "queries_million", 1_000_000, "DNS queries", "A million DNS queries for names in a private hosted zone; give 0 if AWS does not charge for them.";
    INGESTED = "logs", "ingested_gib", 1, "GiB", "A GiB ingested, Standard class.";
    VENDED = "logs", "vended_gib", 1, "GiB", "A GiB of flow logs delivered to CloudWatch Logs (vended logs), first tier.";
    STORED = "logs", "stored_gib_month", 1, "GiB months", "A month of a GiB stored.";
    METRIC = "cloudwatch", "metric_month", 1, "metric months", "A month of a custom metric; those of Container Insights are such. First tier.";
    ALARM_METRIC = "cloudwatch", "alarm_metric_month", 1, "metric months", "A month of a metric in an alarm of standard resolution.";
    TRANSITIONS = "step_functions", "transitions_1000", 1_000, "transitions", "1000 state transitions of Standard workflows.";
    INVOCATIONS = "scheduler", "invocations_million", 1_000_000, "invocations", "A million invocations of schedules.";
    IMAGES = "ecr", "gib_month", 1, "GiB months", "A month of a GiB in a private repository.";
    PUBLISHED = "sns", "requests_million", 1_000_000, "requests", "A million requests to a standard topic.";
    EMAILS = "sns", "emails_100000", 100_000, "mails", "100 000 deliveries to mail addresses.";
}

impl Unit {
    /// `fargate.vcpu_hour`.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}
