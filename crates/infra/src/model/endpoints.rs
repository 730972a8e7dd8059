//! Where the nodes' HTTPS may go.

use crate::values::{PrefixListId, SecurityGroupId};

/// How far HTTPS from the nodes and from consumers is let out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WayOut {
    /// To every address; routes decide what is reached.
    Everywhere,
    /// To the VPC's endpoints for AWS and to S3, where ECR keeps the layers of images: to no registry but ECR.
    Endpoints {
        group: EndpointGroup,
        /// The addresses of S3 in the region; AWS keeps the list.
        s3: PrefixListId,
    },
}

/// The security group of the interface endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointGroup {
    /// Of the deployment, and so are the endpoints.
    New {
        /// Whether the endpoints that ECS itself needs in regions opened since 2023-12-23 are among them.
        ecs: bool,
    },
    /// Of somebody else, with all endpoints behind it.
    Existing(SecurityGroupId),
}
