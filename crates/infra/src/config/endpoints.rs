//! Endpoints in the VPC instead of a way to the internet, and what cannot be had without that way.

use super::section::Section;
use super::{Images, OwnImages};
use crate::image::ImageReference;
use crate::model::{EndpointGroup, Extra, WayOut};
use crate::values::{PrefixListId, SecurityGroupId};

/// What prints the id of the list.
const PREFIX_LIST_COMMAND: &str = "aws ec2 describe-managed-prefix-lists --region REGION --filters \
                                   Name=prefix-list-name,Values=com.amazonaws.REGION.s3 --query \
                                   'PrefixLists[0].PrefixListId' --output text";

/// Whether the section `network` asks for endpoints alone, be it right or not.
pub(super) fn wanted(section: &Section<'_>) -> bool {
    if section.has("vpc") { section.has("endpoint_security_group") } else { section.is("egress", "endpoints") }
}

/// Reads `s3_prefix_list`, `endpoint_security_group` and `ecs_endpoints` of the section `network`.
pub(super) fn read(section: &Section<'_>) -> Option<WayOut> {
    let s3 = section.text("s3_prefix_list", PrefixListId::parse);
    let group = section.text("endpoint_security_group", SecurityGroupId::parse);
    let ecs = section.flag("ecs_endpoints");
    let existing = section.has("vpc");
    if !wanted(section) {
        if section.has("s3_prefix_list") {
            let with = if existing { "endpoint_security_group" } else { "egress = \"endpoints\"" };
            section.mistake("s3_prefix_list", format!("it says nothing without {with}; add that, or take it out"));
        }
        if !existing && section.says("ecs_endpoints") {
            section
                .mistake("ecs_endpoints", "it says nothing without egress = \"endpoints\"; add that, or take it out");
        }
        return Some(WayOut::Everywhere);
    }
    if !section.has("s3_prefix_list") {
        section.mistake(
            "s3_prefix_list",
            format!(
                "it is missing; images come from S3, to whose addresses the nodes are let out. For the region of the \
                 stack it is printed by: {PREFIX_LIST_COMMAND}"
            ),
        );
    }
    if existing && section.says("public_ip") {
        section.mistake(
            "public_ip",
            "`true` does not go with endpoint_security_group, which lets tasks out to endpoints alone; take out one of both",
        );
    }
    let group = if existing { EndpointGroup::Existing(group?) } else { EndpointGroup::New { ecs: ecs? } };
    Some(WayOut::Endpoints { group, s3: s3? })
}

/// Refuses images of the section `images` that tasks could not pull through endpoints alone.
pub(super) fn images(section: &Section<'_>, images: &Images) {
    if !section.has("server") {
        section.mistake(
            "server",
            "it is missing, and the vendor's registry is not reached through endpoints; copy the image of the line to a \
             repository of ECR in the region of the stack and name that",
        );
    }
    let (certgen, bootstrap) = match &images.own {
        OwnImages::Pulled { certgen, bootstrap } => (certgen.as_ref(), bootstrap.as_ref()),
        OwnImages::Built(_) => (None, None),
    };
    let given = [("server", images.server.as_ref()), ("certgen", certgen), ("bootstrap", bootstrap)];
    let mut region = None;
    for (key, image) in given.into_iter().filter_map(|(key, image)| Some((key, image?))) {
        if let Some(message) = not_pulled(image, images) {
            section.mistake(key, message);
        }
        let Some(repository) = image.ecr_repository() else { continue };
        let (first, of) = *region.get_or_insert((key, repository.region));
        if of != repository.region {
            section.mistake(
                key,
                format!(
                    "`{}` is another region than `{of}` of images.{first}; endpoints lead to the registry of the stack's region \
                     alone",
                    repository.region
                ),
            );
        }
    }
}

/// Refuses images of the user's own containers that could not be pulled either, each with its key.
pub(super) fn extra(root: &Section<'_>, images: &Images, extra: &Extra) {
    for container in &extra.containers {
        if let Some(message) = not_pulled(&container.image, images) {
            root.mistake(&format!("containers[{}].image", container.place), message);
        }
    }
}

/// Why an image cannot be pulled, if it cannot.
fn not_pulled(image: &ImageReference, images: &Images) -> Option<String> {
    if image.ecr_repository().is_none() {
        return Some(format!(
            "`{image}` is not in a private registry of ECR, and no other is reached through endpoints; allowed is for example \
             123456789012.dkr.ecr.eu-west-1.amazonaws.com/name:1.2.3, in the region of the stack"
        ));
    }
    let prefix = image.pulled_through(&images.pull_through)?;
    Some(format!(
        "`{image}` is of a pull-through cache (`{prefix}` in images.pull_through), whose first pull needs a way to the internet; \
         copy the image to a repository of its own and name that"
    ))
}
