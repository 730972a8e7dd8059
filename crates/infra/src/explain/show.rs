//! An explanation as a text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Explained, Explanation, FromSecret, HealthCheck, Influence, Sourced, State, Text};

/// Columns of values; what is longer has its origin on the line below.
const WIDEST: usize = 44;
/// Seconds between SIGTERM and SIGKILL if nothing is said (AWS, `ContainerDefinition`: stopTimeout).
const STOP_TIMEOUT: u16 = 30;

/// A line: what, what it is, and where that comes from.
struct Row(String, String, String);

impl Row {
    fn plain(name: &str, value: impl Into<String>) -> Self {
        Self(name.to_owned(), value.into(), String::new())
    }

    fn sourced<T>(name: &str, value: String, sourced: &Sourced<T>) -> Self {
        Self(name.to_owned(), value, sourced.from())
    }
}

pub(super) fn text(explanation: &Explanation) -> String {
    let Explanation { deployment, node, host, voters, line, .. } = explanation;
    let kind = match (explanation.is_read_only_replica, voters) {
        (true, voters) => format!("a read-only replica of {voters} nodes"),
        (false, 1) => "the only node".to_owned(),
        (false, voters) => format!("one of {voters} nodes"),
    };
    let mut text = format!(
        "{deployment}  {node}, {kind}  {host}  line {}\nFargate: {} CPU units, {} MiB\n",
        line.as_str(),
        explanation.cpu,
        explanation.memory_mib
    );
    for (number, container) in (1..).zip(&explanation.containers) {
        let owner = if container.is_own { "" } else { "  ([[containers]])" };
        let _ = writeln!(text, "\n{number}. {}{owner}", container.name);
        write_rows(&mut text, 3, &container.properties());
        let mut variables: Vec<_> =
            container.variables.iter().map(|(name, value)| Row::sourced(name, value.is.to_string(), value)).collect();
        variables.extend(container.secrets.iter().map(|(name, from)| Row::sourced(name, from.is.to_string(), from)));
        if variables.is_empty() {
            text.push_str("   no variables\n");
        } else {
            text.push_str(if container.is_named_by_line() {
                "   variables, those of the server named as server.line has it\n"
            } else {
                "   variables\n"
            });
            write_rows(&mut text, 5, &variables);
        }
    }
    text
}

fn write_rows(text: &mut String, indent: usize, rows: &[Row]) {
    let width = |column: &dyn Fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let names = width(&|row| row.0.chars().count());
    let values = width(&|row| Some(row.1.chars().count()).filter(|width| *width <= WIDEST).unwrap_or(0));
    for Row(name, value, origin) in rows {
        let _ = write!(text, "{:indent$}{name:names$}  {value}", "");
        let long = value.chars().count();
        if !origin.is_empty() && long > values {
            let _ = write!(text, "\n{:1$}{origin}", "", indent + names + values + 4);
        } else if !origin.is_empty() {
            let _ = write!(text, "{:1$}  {origin}", "", values - long);
        }
        text.push('\n');
    }
}

impl Explained {
    fn properties(&self) -> Vec<Row> {
        let mut rows = vec![
            Row::sourced("image", self.image.is.to_string(), &self.image),
            Row::sourced("user", self.user.is.to_string(), &self.user),
            Row::plain("essential", if self.essential { "yes: the task ends with it" } else { "no" }),
        ];
        let waits: Vec<_> = self.waits_for.iter().map(|(name, until)| format!("{name} {until}")).collect();
        rows.push(Row::plain("waits for", if waits.is_empty() { "nobody".to_owned() } else { waits.join(", ") }));
        let or_image = |words: &[String]| if words.is_empty() { "the image's".to_owned() } else { command_line(words) };
        rows.push(Row::sourced("entry point", or_image(&self.entry_point), &self.command));
        if !self.command.is.is_empty() {
            rows.push(Row::plain("command", command_line(&self.command.is)));
        } else if self.entry_point.is_empty() {
            rows.push(Row::plain("command", "the image's"));
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            let mode = if mount.read_only { " (ro)" } else { "" };
            let label = if index == 0 { "mounts" } else { "" };
            rows.push(Row::plain(label, format!("{} at {}{mode}", mount.volume, mount.path)));
        }
        rows.push(Row::plain("health check", self.health_check.as_ref().map_or("none".to_owned(), check)));
        if let Some(seconds) = self.start_timeout {
            rows.push(Row::plain("start timeout", format!("{seconds} s")));
        }
        let stop = self
            .stop_timeout
            .map_or_else(|| format!("{STOP_TIMEOUT} s, ECS's default"), |seconds| format!("{seconds} s"));
        rows.push(Row::plain("stop timeout", stop));
        rows
    }

    fn is_named_by_line(&self) -> bool {
        self.variables.iter().any(|(_, value)| value.from.iter().any(|(influence, _)| *influence == Influence::Named))
    }
}

fn check(check: &HealthCheck) -> String {
    let HealthCheck { command, interval, timeout, retries, start_period } = check;
    format!(
        "{}, every {interval} s, {timeout} s each, unhealthy after {retries}; {start_period} s at first do not count",
        command_line(command)
    )
}

/// As it would be typed, where that is without doubt.
fn command_line(words: &[String]) -> String {
    let plain =
        |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c));
    let shown = |word: &String| if plain(word) { word.clone() } else { json!(word).to_string() };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// Without what would move the cursor.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(text) if text.is_empty() => f.write_str("\"\""),
            Self::Literal(text) => f.write_str(&printable(text)),
            Self::Reference(text) => write!(f, "<{}>", printable(text)),
            Self::OfImage => f.write_str("the image's"),
        }
    }
}

impl std::fmt::Display for FromSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "<{key} in the secret {}>", self.secret),
            None => write!(f, "<the secret {}>", self.secret),
        }
    }
}

impl<T> Sourced<T> {
    /// The origin in words.
    fn from(&self) -> String {
        let mut words = Vec::new();
        let mut there_by = Vec::new();
        for (influence, state) in &self.from {
            let key = || {
                let state = state.map(|state| format!(" ({})", state.as_str())).unwrap_or_default();
                format!("{}{state}", influence.key().unwrap_or_default())
            };
            match influence {
                Influence::Key(_) => words.push(key()),
                Influence::Presence(_) => there_by.push(key()),
                Influence::Place => words.push("place in the cluster".to_owned()),
                Influence::Line => words.push(format!("table of {}", key())),
                // Said once for all of them.
                Influence::Named => {}
                Influence::CloudFormation(what) => words.push(format!("CloudFormation: {what}")),
                Influence::Fixed(why) => words.push(format!("fixed: {why}")),
            }
        }
        let mut text = words.join(", ");
        if !there_by.is_empty() {
            let _ = write!(text, "; there by {}", there_by.join(" and "));
        }
        text
    }

    fn origin(&self) -> Value {
        let one = |(influence, state): &(Influence, Option<State>)| {
            let key = |kind: &str| json!({"kind": kind, "key": influence.key(), "state": state.map(State::as_str)});
            match influence {
                Influence::Key(_) => key("key"),
                Influence::Presence(_) => key("presence"),
                Influence::Place => json!({"kind": "place"}),
                Influence::Line => key("line"),
                Influence::Named => key("name"),
                Influence::CloudFormation(what) => json!({"kind": "cloudformation", "what": what}),
                Influence::Fixed(why) => json!({"kind": "fixed", "why": why}),
            }
        };
        self.from.iter().map(one).collect()
    }
}

impl Sourced<Text> {
    fn to_json(&self) -> Value {
        match &self.is {
            Text::Literal(text) => json!({"value": text, "from": self.origin()}),
            Text::Reference(text) => json!({"reference": text, "from": self.origin()}),
            Text::OfImage => json!({"value": null, "from": self.origin()}),
        }
    }
}

/// The same with a name in front.
fn named(name: &str, mut value: Value) -> Value {
    value["name"] = json!(name);
    value
}

pub(super) fn json(explanation: &Explanation) -> Value {
    json!({
        "deployment": explanation.deployment,
        "node": explanation.node,
        "host": explanation.host,
        "read_only_replica": explanation.is_read_only_replica,
        "voters": explanation.voters,
        "line": explanation.line.as_str(),
        "cpu": explanation.cpu,
        "memory_mib": explanation.memory_mib,
        "containers": explanation.containers.iter().map(container).collect::<Vec<_>>(),
    })
}

fn container(container: &Explained) -> Value {
    let waits_for = container.waits_for.iter().map(|(name, until)| json!({"container": name, "condition": until}));
    let mounts = container
        .mounts
        .iter()
        .map(|mount| json!({"volume": mount.volume, "path": mount.path, "read_only": mount.read_only}));
    let health_check = container.health_check.as_ref().map(|check| {
        json!({
            "command": check.command,
            "interval": check.interval,
            "timeout": check.timeout,
            "retries": check.retries,
            "start_period": check.start_period,
        })
    });
    let variables = container.variables.iter().map(|(name, value)| named(name, value.to_json()));
    let secrets = container
        .secrets
        .iter()
        .map(|(name, from)| named(name, json!({"secret": from.is.secret, "key": from.is.key, "from": from.origin()})));
    json!({
        "name": container.name,
        "own": container.is_own,
        "image": container.image.to_json(),
        "user": container.user.to_json(),
        "essential": container.essential,
        "waits_for": waits_for.collect::<Vec<_>>(),
        "entry_point": container.entry_point,
        "command": container.command.is,
        "command_from": container.command.origin(),
        "mounts": mounts.collect::<Vec<_>>(),
        "health_check": health_check,
        "start_timeout": container.start_timeout,
        "stop_timeout": container.stop_timeout,
        "environment": variables.collect::<Vec<_>>(),
        "secrets": secrets.collect::<Vec<_>>(),
    })
}
