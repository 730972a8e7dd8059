//! What the demo prints while it runs: when, who, what.

use std::time::{Duration, Instant};

use testkit::task::Event;
use tokio::sync::mpsc::UnboundedReceiver;

/// Prints one line for each thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    started: Instant,
}

impl Timeline {
    /// A timeline that starts now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line.
    pub(crate) fn line(&self, who: &str, what: &str) {
        eprintln!("{:>7.2} s  {who:<11} {what}", self.elapsed().as_secs_f64());
    }

    /// What containers do and say, until the last of them has ended.
    pub(crate) async fn follow(self, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Started(name, command) => self.line(name.as_str(), &format!("▶ {command}")),
                Event::Line(name, line) => self.line(name.as_str(), shorten(&line, name.as_str())),
                Event::Healthy(name) => self.line(name.as_str(), "✓ healthy"),
                Event::Stopping(name) => self.line(name.as_str(), "■ SIGTERM"),
                Event::Ended(name, status, after) => {
                    let ms = after.as_millis();
                    self.line(name.as_str(), &format!("ended after {ms} ms: {status}"));
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
