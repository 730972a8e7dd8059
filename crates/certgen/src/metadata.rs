//! The task's address, from the ECS task metadata endpoint (version 4, aws-contract §4.1).

use std::io::Read as _;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, one_line};
use crate::plan::MetadataUri;

/// The agent answers within milliseconds, and the server of this task waits for certgen.
const DEADLINE: Duration = Duration::from_secs(5);
/// A single answer; whole seconds are what the library knows.
const CALL_TIMEOUT: u64 = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// The description of a task with ten containers has 20 KiB.
const LARGEST: u64 = 1 << 20;

/// Of the description of a task, what tells its address.
#[derive(Debug, Deserialize)]
pub struct TaskNetwork {
    #[serde(rename = "Containers", default)]
    containers: Vec<Container>,
}

/// AWS adds fields and leaves fields out; nothing unknown is an error.
#[derive(Debug, Deserialize)]
struct Container {
    #[serde(rename = "Type", default)]
    kind: Option<String>,
    #[serde(rename = "Networks", default)]
    networks: Vec<Network>,
}

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(rename = "IPv4Addresses", default)]
    ipv4: Vec<IpAddr>,
}

impl TaskNetwork {
    /// The task's IPv4 address, if it is known already. All its containers share one network interface; a container of
    /// another type is ECS's own.
    pub fn address(&self) -> Option<IpAddr> {
        let normal = |container: &&Container| container.kind.as_deref().is_none_or(|kind| kind == "NORMAL");
        let networks = self.containers.iter().filter(normal).flat_map(|container| &container.networks);
        networks.flat_map(|network| &network.ipv4).copied().next()
    }
}

/// Asks until the address is told: early in a task's life its networks may be missing from the answer.
///
/// # Errors
///
/// [`Error::Metadata`] after 5 s, with the last reason.
pub(crate) fn task_address(uri: &MetadataUri) -> Result<IpAddr, Error> {
    let started = Instant::now();
    loop {
        let left = DEADLINE.saturating_sub(started.elapsed()).as_secs().clamp(1, CALL_TIMEOUT);
        let reason = match ask(uri, left) {
            Ok(task) => match task.address() {
                Some(address) => return Ok(address),
                None => "no container has an IPv4 address yet".to_owned(),
            },
            Err(reason) => reason,
        };
        // Another second must be left to ask once more.
        if started.elapsed() + PAUSE + Duration::from_secs(1) > DEADLINE {
            return Err(Error::Metadata { uri: uri.clone(), reason });
        }
        sleep(PAUSE);
    }
}

fn ask(uri: &MetadataUri, timeout: u64) -> Result<TaskNetwork, String> {
    let request = minreq::get(format!("{uri}/task")).with_timeout(timeout).with_follow_redirects(false);
    let response = request.send_lazy().map_err(|error| one_line(&error))?;
    if response.status_code != 200 {
        return Err(format!("it answered {}", response.status_code));
    }
    let mut body = Vec::new();
    response.take(LARGEST).read_to_end(&mut body).map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("its answer does not describe a task: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(json: &str) -> Option<IpAddr> {
        serde_json::from_str::<TaskNetwork>(json).unwrap().address()
    }

    #[test]
    fn the_first_address_of_a_normal_container_is_the_tasks() {
        let json = r#"{"TaskARN":"arn:t","New":1,"Containers":[
            {"Type":"CNI_PAUSE","Networks":[{"IPv4Addresses":["10.0.0.1"]}]},
            {"Type":"NORMAL"},
            {"Type":"NORMAL","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.0.7"]}]}]}"#;
        assert_eq!(address(json), Some("10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn networks_may_be_missing() {
        assert_eq!(address(r#"{"TaskARN":"arn:t"}"#), None);
        assert_eq!(address(r#"{"Containers":[{}]}"#), None);
    }
}
