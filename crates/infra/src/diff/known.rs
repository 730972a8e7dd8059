//! What CloudFormation replaces instead of changing it, by type of resource, and what would be lost with it.

/// A type of resource.
pub(super) struct Known {
    pub(super) kind: &'static str,
    /// What must not go by accident; none if a new resource is as good as the old one.
    pub(super) guarded: Option<Guarded>,
    /// Properties of which another value makes a new resource, as paths with slashes: `createOnlyProperties` and
    /// `conditionalCreateOnlyProperties` in the schemas of the CloudFormation registry. A test compares them with those that
    /// cfn-lint brings.
    pub(super) create_only: &'static [&'static str],
}

/// A resource of which a new one is not as good as the old one.
#[derive(Clone, Copy)]
pub(super) struct Guarded {
    /// Whether it may not be taken away either.
    pub(super) stays: bool,
    /// What happens without it, or with a new one in its place.
    pub(super) loss: &'static str,
    /// What to do instead.
    pub(super) instead: &'static str,
}

const DATA: Guarded = Guarded {
    stays: true,
    loss: "the nodes begin with an empty database, and the data stays behind on the old file system",
    instead: "set it back; data gets to another file system by a backup and `data.file_system`",
};
const DIRECTORY: Guarded = Guarded {
    stays: true,
    loss: "the node begins in the directory of the new access point, or has none; what it had stays where it was",
    instead: "set it back; take a node away only after its data is on the others, and then accept it",
};
const SECRET: Guarded = Guarded {
    stays: true,
    loss: "a new secret holds another password, or an empty authority, which the database and its clients do not know",
    instead: "set it back, or name the secret that is there by its ARN",
};
const KEY: Guarded = Guarded {
    stays: true,
    loss: "what is encrypted with the key can be read with that key alone",
    instead: "set it back, or name the key that is there by its ARN",
};
const VAULT: Guarded = Guarded {
    stays: true,
    loss: "the recovery points stay behind in the old vault, under a name that is then taken",
    instead: "set it back, or name the vault that is there with `backup.vault`",
};
const NAMESPACE: Guarded = Guarded {
    stays: true,
    loss: "every name of the database is resolved anew or not at all, and CloudFormation does not remove a namespace with services",
    instead: "set it back; another namespace is for another deployment",
};
const NAME: Guarded = Guarded {
    stays: false,
    loss: "the name is not resolved until the nodes are registered anew, and Cloud Map refuses a second service of one name",
    instead: "set it back",
};
const NETWORK: Guarded = Guarded {
    stays: true,
    loss: "subnets, mount targets, namespace and nodes move, and the stacks that import it keep CloudFormation from it",
    instead: "set it back; another network is for another deployment",
};
const SUBNET: Guarded = Guarded {
    stays: true,
    loss: "the nodes in it move, and its mount target with them",
    instead: "set it back; decide on network and size of the cluster before the first deployment",
};
const MOUNT_TARGET: Guarded = Guarded {
    stays: true,
    loss: "the nodes in its zone are without the file system, and EFS refuses a second mount target in one zone",
    instead: "set it back; list subnets in the order in which they stood",
};
const SERVICE: Guarded = Guarded {
    stays: false,
    loss: "CloudFormation starts the new service before it ends the old one, so that two tasks want the node's directory and the new \
           one waits for the old",
    instead: "set it back",
};
const REPOSITORY: Guarded = Guarded {
    stays: true,
    loss: "a new repository is empty, and no task can be started from it",
    instead: "set it back",
};

const fn of(kind: &'static str, guarded: Option<Guarded>, create_only: &'static [&'static str]) -> Known {
    Known { kind, guarded, create_only }
}

/// Every type that infra makes, and some that others put beside it.
const TYPES: &[Known] = &[
    of("AWS::Backup::BackupPlan", None, &[]),
    of("AWS::Backup::BackupSelection", None, &["BackupPlanId", "BackupSelection"]),
    of("AWS::Backup::BackupVault", Some(VAULT), &["BackupVaultName", "EncryptionKeyArn"]),
    of("AWS::Backup::RestoreTestingPlan", None, &["RestoreTestingPlanName"]),
    of(
        "AWS::Backup::RestoreTestingSelection",
        None,
        &["ProtectedResourceType", "RestoreTestingPlanName", "RestoreTestingSelectionName"],
    ),
    of("AWS::CloudWatch::Alarm", None, &["AlarmName"]),
    of("AWS::CloudWatch::CompositeAlarm", None, &["AlarmName"]),
    of("AWS::EC2::EIP", None, &["Address", "IpamPoolId", "NetworkBorderGroup", "TransferAddress"]),
    of(
        "AWS::EC2::FlowLog",
        None,
        &[
            "DeliverCrossAccountRole",
            "DeliverLogsPermissionArn",
            "DestinationOptions",
            "LogDestination",
            "LogDestinationType",
            "LogFormat",
            "LogGroupName",
            "MaxAggregationInterval",
            "ResourceId",
            "ResourceType",
            "TagFieldSpecifications",
            "TrafficType",
        ],
    ),
    of("AWS::EC2::InternetGateway", None, &[]),
    of(
        "AWS::EC2::NatGateway",
        None,
        &["AllocationId", "AvailabilityMode", "ConnectivityType", "PrivateIpAddress", "SubnetId", "VpcId"],
    ),
    of(
        "AWS::EC2::Route",
        None,
        &["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId", "RouteTableId"],
    ),
    of("AWS::EC2::RouteTable", None, &["VpcId"]),
    of("AWS::EC2::SecurityGroup", None, &["GroupDescription", "GroupName", "VpcId"]),
    of(
        "AWS::EC2::SecurityGroupEgress",
        None,
        &[
            "CidrIp",
            "CidrIpv6",
            "DestinationPrefixListId",
            "DestinationSecurityGroupId",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "ToPort",
        ],
    ),
    of(
        "AWS::EC2::SecurityGroupIngress",
        None,
        &[
            "CidrIp",
            "CidrIpv6",
            "FromPort",
            "GroupId",
            "GroupName",
            "IpProtocol",
            "SourcePrefixListId",
            "SourceSecurityGroupId",
            "SourceSecurityGroupName",
            "SourceSecurityGroupOwnerId",
            "ToPort",
        ],
    ),
    of(
        "AWS::EC2::Subnet",
        Some(SUBNET),
        &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "Ipv4IpamPoolId",
            "Ipv4NetmaskLength",
            "Ipv6CidrBlock",
            "Ipv6IpamPoolId",
            "Ipv6Native",
            "Ipv6NetmaskLength",
            "OutpostArn",
            "VpcId",
        ],
    ),
    of("AWS::EC2::SubnetRouteTableAssociation", None, &["RouteTableId", "SubnetId"]),
    of(
        "AWS::EC2::VPC",
        Some(NETWORK),
        &["CidrBlock", "InstanceTenancy", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "VpcEncryptionControl"],
    ),
    of(
        "AWS::EC2::VPCEndpoint",
        None,
        &[
            "DnsOptions/PrivateDnsPreference",
            "DnsOptions/PrivateDnsSpecifiedDomains",
            "ResourceConfigurationArn",
            "ServiceName",
            "ServiceNetworkArn",
            "ServiceRegion",
            "VpcEndpointType",
            "VpcId",
        ],
    ),
    of("AWS::EC2::VPCGatewayAttachment", None, &["VpcId"]),
    of(
        "AWS::ECR::PullThroughCacheRule",
        None,
        &[
            "CredentialArn",
            "CustomRoleArn",
            "EcrRepositoryPrefix",
            "UpstreamRegistry",
            "UpstreamRegistryUrl",
            "UpstreamRepositoryPrefix",
        ],
    ),
    of(
        "AWS::ECR::Repository",
        Some(REPOSITORY),
        &[
            "EncryptionConfiguration",
            "EncryptionConfiguration/EncryptionType",
            "EncryptionConfiguration/KmsKey",
            "RepositoryName",
        ],
    ),
    of("AWS::ECR::RepositoryCreationTemplate", None, &["Prefix"]),
    of("AWS::ECS::Cluster", None, &["ClusterName"]),
    of("AWS::ECS::Service", Some(SERVICE), &["Cluster", "LaunchType", "Role", "SchedulingStrategy", "ServiceName"]),
    of(
        "AWS::ECS::TaskDefinition",
        None,
        &[
            "ContainerDefinitions",
            "Cpu",
            "EnableFaultInjection",
            "EphemeralStorage",
            "ExecutionRoleArn",
            "Family",
            "InferenceAccelerators",
            "IpcMode",
            "Memory",
            "NetworkMode",
            "PidMode",
            "PlacementConstraints",
            "ProxyConfiguration",
            "RequiresCompatibilities",
            "RuntimePlatform",
            "TaskRoleArn",
            "Volumes",
        ],
    ),
    of(
        "AWS::EFS::AccessPoint",
        Some(DIRECTORY),
        &[
            "ClientToken",
            "FileSystemId",
            "PosixUser",
            "PosixUser/Gid",
            "PosixUser/SecondaryGids",
            "PosixUser/Uid",
            "RootDirectory",
            "RootDirectory/CreationInfo",
            "RootDirectory/CreationInfo/OwnerGid",
            "RootDirectory/CreationInfo/OwnerUid",
            "RootDirectory/CreationInfo/Permissions",
            "RootDirectory/Path",
        ],
    ),
    of("AWS::EFS::FileSystem", Some(DATA), &["AvailabilityZoneName", "Encrypted", "KmsKeyId", "PerformanceMode"]),
    of(
        "AWS::EFS::MountTarget",
        Some(MOUNT_TARGET),
        &["FileSystemId", "IpAddress", "IpAddressType", "Ipv6Address", "SubnetId"],
    ),
    of("AWS::Events::Rule", None, &["EventBusName", "Name"]),
    of("AWS::IAM::ManagedPolicy", None, &["Description", "ManagedPolicyName", "Path"]),
    of("AWS::IAM::Policy", None, &[]),
    of("AWS::IAM::Role", None, &["Path", "RoleName"]),
    of("AWS::KMS::Alias", None, &["AliasName"]),
    of("AWS::KMS::Key", Some(KEY), &[]),
    of("AWS::Logs::LogGroup", None, &["LogGroupName"]),
    of("AWS::Logs::MetricFilter", None, &["FilterName", "LogGroupName"]),
    of("AWS::Logs::ResourcePolicy", None, &["PolicyName"]),
    of("AWS::SNS::Subscription", None, &["Endpoint", "Protocol", "Region", "TopicArn"]),
    of("AWS::SNS::Topic", None, &["FifoTopic", "TopicName"]),
    of("AWS::SNS::TopicPolicy", None, &[]),
    of("AWS::SSM::Parameter", None, &["Name"]),
    of("AWS::Scheduler::Schedule", None, &["Name"]),
    of("AWS::Scheduler::ScheduleGroup", None, &["Name"]),
    of("AWS::SecretsManager::ResourcePolicy", None, &["SecretId"]),
    of("AWS::SecretsManager::Secret", Some(SECRET), &["Name"]),
    of("AWS::ServiceDiscovery::PrivateDnsNamespace", Some(NAMESPACE), &["Name", "Vpc"]),
    of("AWS::ServiceDiscovery::Service", Some(NAME), &["HealthCheckCustomConfig", "Name", "NamespaceId", "Type"]),
    of("AWS::StepFunctions::StateMachine", None, &["StateMachineName", "StateMachineType"]),
];

/// What is known of a type.
pub(super) fn known(kind: &str) -> Option<&'static Known> {
    TYPES.iter().find(|known| known.kind == kind)
}

/// Every type that is known with what makes a new resource of it, as paths with slashes, for whoever compares it with the
/// schemas of CloudFormation; and whether its resources are guarded.
pub fn create_only() -> impl Iterator<Item = (&'static str, &'static [&'static str], bool)> {
    TYPES.iter().map(|known| (known.kind, known.create_only, known.guarded.is_some()))
}
