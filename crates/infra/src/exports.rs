//! What the stacks of a deployment export to others: a stable interface, by name and meaning.

use std::fmt;

use serde_json::Value;

use crate::cfn;
use crate::model::{Deployment, NodeId, Volume};
use crate::values::{DeploymentName, Login};

/// A value that a stack of a deployment exports, as `<name of the deployment>:<value>`.
///
/// Other stacks of the same account and region import it with `Fn::ImportValue`; CloudFormation then refuses to change or
/// remove it. Not every deployment has every value: what is missing cannot be imported by a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Export {
    /// `Host`: the DNS name that clients connect to. It has the addresses of nodes that are ready and secured.
    Host,
    /// `Port`: where the nodes serve HTTP and gRPC, as a text.
    Port,
    /// `ExternalTcpPort`: where they serve the old TCP protocol, as a text; only with `server.external_tcp`.
    ExternalTcpPort,
    /// `NodeSecurityGroupId`: the security group of the nodes, which consumers add their rules to.
    NodeSecurityGroupId,
    /// `EndpointSecurityGroupId`: the security group of the endpoints for AWS, where HTTPS goes to them alone.
    EndpointSecurityGroupId,
    /// `S3PrefixListId`: the addresses of S3 in the region, to which HTTPS goes then as well.
    S3PrefixListId,
    /// `VpcId`: the VPC.
    VpcId,
    /// `PrivateSubnet<n>Id`: a private subnet that nodes are in, from 1; only in a new VPC that has such.
    PrivateSubnetId(usize),
    /// `PublicSubnet<n>Id`: a subnet that nodes are in with public addresses of their own, from 1.
    PublicSubnetId(usize),
    /// `ClusterName`: the ECS cluster.
    ClusterName,
    /// `NamespaceId`: the Cloud Map namespace.
    NamespaceId,
    /// `ClientServiceId`: the Cloud Map service behind `Host`.
    ClientServiceId,
    /// `ClientServiceArn`: the same as an ARN, for policies.
    ClientServiceArn,
    /// `AdminSecretArn`, `OpsSecretArn`, `UserSecret<login>Arn`: the secret with a user's credentials and the certificates
    /// to trust; [`Deployment::secret`] knows whether there is one. Characters of the login that a logical id may not hold,
    /// and `Z`, are `Z` and two hexadecimal digits.
    SecretArn(Login),
    /// `CaSecretArn`: the secret with the certificate authority and its private key, for `certgen ca`. What clients are to
    /// trust is in their own secret.
    CaSecretArn,
    /// `BackupRoleArn`: the role that AWS Backup copies the file system with, if a node is stopped for it; for the deployment's
    /// own second stack.
    BackupRoleArn,
    /// `KeyArn`: the deployment's own key, if anything is encrypted with it.
    KeyArn,
    /// `FileSystemId`: the file system with the database.
    FileSystemId,
    /// `Node<n>DataAccessPointId`: where the data of a node is on it, from 1; for the deployment's own second stack.
    DataAccessPointId(usize),
    /// `Node<n>LogsAccessPointId`: the same for the server's log files.
    LogsAccessPointId(usize),
    /// `Replica<n>DataAccessPointId`: where the data of a read-only replica is, from 1.
    ReplicaDataAccessPointId(usize),
    /// `Replica<n>LogsAccessPointId`: the same for its log files.
    ReplicaLogsAccessPointId(usize),
}

impl Export {
    /// The access point of one of a node's volumes.
    pub(crate) fn access_point_id(node: NodeId, volume: Volume) -> Self {
        match (node, volume) {
            (NodeId::Voter(_), Volume::Logs) => Self::LogsAccessPointId(node.number()),
            (NodeId::Voter(_), _) => Self::DataAccessPointId(node.number()),
            (NodeId::Replica(_), Volume::Logs) => Self::ReplicaLogsAccessPointId(node.number()),
            (NodeId::Replica(_), _) => Self::ReplicaDataAccessPointId(node.number()),
        }
    }

    /// The name of the export.
    pub fn name(&self, deployment: &DeploymentName) -> String {
        format!("{deployment}:{self}")
    }

    /// What it is, in the template as well.
    pub(crate) fn description(&self) -> String {
        let text = match self {
            Self::Host => "Name that clients connect to",
            Self::Port => "Port for HTTP and gRPC",
            Self::ExternalTcpPort => "Port for the old TCP protocol",
            Self::NodeSecurityGroupId => "Security group of the nodes",
            Self::EndpointSecurityGroupId => "Security group of the endpoints for AWS",
            Self::S3PrefixListId => "Addresses of S3 in the region",
            Self::VpcId => "VPC of the deployment",
            Self::PrivateSubnetId(_) | Self::PublicSubnetId(_) => "Subnet of the nodes",
            Self::ClusterName => "ECS cluster",
            Self::NamespaceId => "Cloud Map namespace",
            Self::ClientServiceId => "Cloud Map service that clients look up",
            Self::ClientServiceArn => "ARN of the Cloud Map service that clients look up",
            Self::SecretArn(login) => return format!("Secret with the credentials of {login}"),
            Self::CaSecretArn => "Secret with the certificate authority",
            Self::BackupRoleArn => "Role that AWS Backup copies the file system with",
            Self::KeyArn => "Key of the deployment",
            Self::FileSystemId => "File system with the database",
            Self::DataAccessPointId(_) | Self::ReplicaDataAccessPointId(_) => "Access point of the node's data",
            Self::LogsAccessPointId(_) | Self::ReplicaLogsAccessPointId(_) => "Access point of the node's logs",
        };
        text.to_owned()
    }
}

/// The value's part of the name; the id of the output too.
impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Host => "Host",
            Self::Port => "Port",
            Self::ExternalTcpPort => "ExternalTcpPort",
            Self::NodeSecurityGroupId => "NodeSecurityGroupId",
            Self::EndpointSecurityGroupId => "EndpointSecurityGroupId",
            Self::S3PrefixListId => "S3PrefixListId",
            Self::VpcId => "VpcId",
            Self::ClusterName => "ClusterName",
            Self::NamespaceId => "NamespaceId",
            Self::ClientServiceId => "ClientServiceId",
            Self::ClientServiceArn => "ClientServiceArn",
            Self::CaSecretArn => "CaSecretArn",
            Self::BackupRoleArn => "BackupRoleArn",
            Self::KeyArn => "KeyArn",
            Self::FileSystemId => "FileSystemId",
            Self::PrivateSubnetId(number) => return write!(f, "PrivateSubnet{number}Id"),
            Self::PublicSubnetId(number) => return write!(f, "PublicSubnet{number}Id"),
            Self::SecretArn(login) => return write!(f, "{}Arn", secret_id(login.as_str())),
            Self::DataAccessPointId(node) => return write!(f, "Node{node}DataAccessPointId"),
            Self::LogsAccessPointId(node) => return write!(f, "Node{node}LogsAccessPointId"),
            Self::ReplicaDataAccessPointId(node) => return write!(f, "Replica{node}DataAccessPointId"),
            Self::ReplicaLogsAccessPointId(node) => return write!(f, "Replica{node}LogsAccessPointId"),
        };
        f.write_str(text)
    }
}

/// The logical id of a user's secret: the same for a login as long as it is there, or its password would be generated anew.
/// What an id may not hold is `Z` and two hexadecimal digits, and so is `Z` itself.
pub(crate) fn secret_id(login: &str) -> String {
    match login {
        "admin" => return "AdminSecret".to_owned(),
        "ops" => return "OpsSecret".to_owned(),
        _ => {}
    }
    let escaped = login.bytes().map(|byte| match byte {
        b'Z' => "Z5A".to_owned(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("Z{byte:02X}"),
    });
    format!("UserSecret{}", escaped.collect::<String>())
}

impl Deployment {
    /// The export of a user's secret, if that user has one.
    pub fn secret(&self, login: &str) -> Option<Export> {
        self.logins().find(|known| *known == login).map(|known| Export::SecretArn(Login::known(known)))
    }

    /// What a stack of somebody else writes to have a value: `{"Fn::ImportValue": …}`.
    pub fn import(&self, export: &Export) -> Value {
        cfn::import(export.name(self.name()))
    }
}
