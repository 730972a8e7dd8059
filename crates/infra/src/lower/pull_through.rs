//! Images from pull-through caches of ECR.

use serde_json::json;

use super::{Statement, task};
use crate::image::ImageReference;
use crate::model::Deployment;

/// What ECS needs so that a first pull can make the repository and fetch the image into it (AWS, "IAM permissions required to
/// sync an upstream registry with an Amazon ECR private registry"); nothing if no image is of a cache.
pub(super) fn fill<'a>(
    deployment: &Deployment,
    images: impl IntoIterator<Item = &'a ImageReference>,
) -> Option<Statement> {
    let prefixes = &deployment.config().images.pull_through;
    let mut repositories: Vec<_> = images
        .into_iter()
        .filter(|image| image.pulled_through(prefixes).is_some())
        .filter_map(task::reference_arn)
        .collect();
    repositories.dedup();
    let actions = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"];
    let reason =
        "ECS: the first pull of an image through a cache, images.pull_through, makes its repository and fills it";
    (!repositories.is_empty()).then(|| Statement::allow("FillPullThroughCache", &actions, &json!(repositories), reason))
}
