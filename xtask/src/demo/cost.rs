//! What a sidecar costs: calls until it is done, memory at rest.

use std::fmt;
use std::fs;
use std::path::Path;

use infra::ContainerName;
use serde_json::Value;
use testkit::aws::Aws;
use testkit::cluster::Cluster;

use super::failed;
use crate::Failure;

/// The calls of all sidecars together, and the memory of the first node's.
pub(crate) struct Cost {
    sidecars: usize,
    aws_calls: usize,
    database_calls: usize,
    resident_kib: u64,
    anonymous_kib: u64,
}

impl Cost {
    /// Looks right after registration, when nobody but the sidecars has called yet.
    pub(crate) fn measure(cluster: &Cluster<'_>, aws: &Aws, journal: &Path) -> Result<Self, Failure> {
        let step = "measure the sidecar";
        let names = cluster.names();
        let id = cluster.task(names[0]).process_id(ContainerName::Bootstrap);
        let id = id.ok_or_else(|| failed(step)("bootstrap does not run"))?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(failed(step))?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let journal = fs::read_to_string(journal).map_err(failed(step))?;
        let entries = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // Before a server is ready a sidecar only waits; what members tell each other is theirs.
        let counted = entries.filter(|entry| {
            let path = entry["path"].as_str().unwrap_or_default();
            let waiting = path == "/health/live" && entry["status"] != 204;
            !waiting && !path.starts_with("/standin/")
        });
        Ok(Self {
            sidecars: names.len(),
            aws_calls: aws.calls().len(),
            database_calls: counted.count(),
            resident_kib: kib("VmRSS:"),
            anonymous_kib: kib("RssAnon:"),
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "from ready to registered, {} sidecar(s): {} AWS calls, {} database calls; bootstrap at rest: {} KiB resident, {} KiB anonymous",
            self.sidecars, self.aws_calls, self.database_calls, self.resident_kib, self.anonymous_kib
        )
    }
}
