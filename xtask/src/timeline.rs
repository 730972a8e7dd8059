//! What the demo prints while it runs: when, who, what.

use std::time::{Duration, Instant};

use testkit::task::{Event, What};
use tokio::sync::mpsc::UnboundedReceiver;

/// Prints one line for each thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    started: Instant,
    /// Whether it must be said of which node a container is.
    several_nodes: bool,
}

impl Timeline {
    /// A timeline that starts now.
    pub(crate) fn new(several_nodes: bool) -> Self {
        Self { started: Instant::now(), several_nodes }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line.
    pub(crate) fn line(&self, who: &str, what: &str) {
        let width = if self.several_nodes { 17 } else { 11 };
        eprintln!("{:>7.2} s  {who:<width$} {what}", self.elapsed().as_secs_f64());
    }

    /// What containers do and say, until the last of them has ended.
    pub(crate) async fn follow(self, mut events: UnboundedReceiver<Event>) {
        while let Some(Event { node, container, what }) = events.recv().await {
            let name = container.as_str();
            let who = if self.several_nodes { format!("{node} {name}") } else { name.to_owned() };
            match what {
                What::Started(command) => self.line(&who, &format!("▶ {command}")),
                // Metrics are for CloudWatch.
                What::Line(line) if line.contains("\"CloudWatchMetrics\":") => {}
                What::Line(line) => self.line(&who, shorten(&line, name)),
                What::Healthy => self.line(&who, "✓ healthy"),
                What::Stopping => self.line(&who, "■ SIGTERM"),
                What::Killed => self.line(&who, "■ SIGKILL"),
                What::Ended(status, after) => {
                    self.line(&who, &format!("ended after {} ms: {status}", after.as_millis()));
                }
            }
        }
    }
}

/// A log line without its own time, level and program, which stand in the columns already.
fn shorten<'a>(line: &'a str, name: &str) -> &'a str {
    let message = line.split_once(" INFO ").or_else(|| line.split_once(" WARN ")).map_or(line, |(_, message)| message);
    message.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_columns_say_is_not_said_again() {
        assert_eq!(shorten("2026-01-01T00:00:00.1Z  INFO the server is ready", "bootstrap"), "the server is ready");
        assert_eq!(shorten("certgen: issued", "certgen"), "issued");
        assert_eq!(shorten("guard: waiting", "eventstore"), "guard: waiting");
    }
}
