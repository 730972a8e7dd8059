//! Who this guard is: the ARN of its ECS task, or host and process id.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The endpoint is on the same machine; a name is not worth waiting longer.
const TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: u64 = 1 << 20;

/// The name under which the lock is held.
pub(crate) fn name(metadata_uri: Option<&OsStr>) -> String {
    metadata_uri.and_then(OsStr::to_str).and_then(task_arn).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("host {} pid {}", host.trim(), std::process::id())
    })
}

/// Asks the task metadata endpoint, version 4: plain HTTP on a link-local address.
fn task_arn(uri: &str) -> Option<String> {
    let (host, path) = uri.strip_prefix("http://")?.split_once('/')?;
    // Always an address: a resolver would be most of this program.
    let address = host.parse().or_else(|_| host.parse().map(|host| SocketAddr::new(host, 80))).ok()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(format!("GET /{path}/task HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer).ok()?;
    find_task_arn(&answer)
}

/// The first `TaskARN` of a JSON text. An ARN has no character that JSON would escape.
fn find_task_arn(json: &str) -> Option<String> {
    let (_, rest) = json.split_once("\"TaskARN\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (arn, _) = value.split_once('"')?;
    arn.starts_with("arn:").then(|| arn.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_is_found_in_what_ecs_answers() {
        let found = find_task_arn(
            "HTTP/1.0 200 OK\r\n\r\n{\"Cluster\":\"c\", \"TaskARN\" : \"arn:aws:ecs:x:1:task/c/0\",\"Family\":\"f\"}",
        );
        assert_eq!(found.as_deref(), Some("arn:aws:ecs:x:1:task/c/0"));
        for other in ["", "{}", "{\"TaskARN\":null}", "{\"TaskARN\":\"x\"}", "{\"TaskARN\":\"arn:"] {
            assert_eq!(find_task_arn(other), None, "{other}");
        }
    }

    #[test]
    fn without_an_endpoint_it_is_host_and_process() {
        for uri in [None, Some("ftp://x"), Some("http://127.0.0.1:1/v4/x")] {
            assert!(name(uri.map(OsStr::new)).ends_with(&format!("pid {}", std::process::id())));
        }
    }
}
