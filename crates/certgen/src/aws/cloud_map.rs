//! AWS Cloud Map: what nodes have registered of their certificates.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_servicediscovery::Client;

use super::store_error;
use crate::ca::{NodeEvidence, StoreError};

/// The nodes that are registered in the service with this id (`srv-…`), by name.
///
/// # Errors
///
/// [`StoreError`] if the service cannot be read.
pub async fn registered_nodes(configuration: &SdkConfig, service: &str) -> Result<Vec<NodeEvidence>, StoreError> {
    let mut pages = Client::new(configuration).list_instances().service_id(service).into_paginator().send();
    let mut nodes = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            let mut error = store_error("ListInstances", &error);
            error.message = format!("`{service}`: {}", error.message);
            error
        })?;
        for instance in page.instances() {
            let attribute = |name: &str| instance.attributes().and_then(|all: &HashMap<_, _>| all.get(name)).cloned();
            nodes.push(NodeEvidence {
                name: instance.id().unwrap_or_default().to_owned(),
                roots_sha256: attribute("ROOTS_SHA256"),
                signer_sha256: attribute("SIGNER_SHA256"),
            });
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}
