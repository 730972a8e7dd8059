//! The text format of Prometheus, version 0.0.4 (prometheus.io, "Exposition formats").

use std::fmt::{Display, Write as _};

use super::Sample;

/// What `Content-Type` says of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(sample: &Sample) -> String {
    let mut text = Text { sample, written: String::new() };
    if let Some(registered) = sample.registered {
        text.family("registered", "gauge", "Whether the node's entry in Cloud Map is this task's.");
        text.value("registered", &[], u8::from(registered));
    }
    if let Some(days) = sample.certificate_days_left {
        text.family("certificate_days_left", "gauge", "Days until the published certificate expires.");
        text.value("certificate_days_left", &[], days);
    }
    if !sample.rotation_ages.is_empty() {
        text.family("rotation_age_seconds", "gauge", "Age of the current password.");
    }
    for (login, age) in &sample.rotation_ages {
        text.value("rotation_age_seconds", &[("user", login)], age);
    }
    if let Some(restarts) = sample.server_restarts {
        text.family("server_restarts_total", "counter", "How often guard has started the server again.");
        text.value("server_restarts_total", &[], restarts);
    }
    text.family("errors_total", "counter", "Errors since the sidecar began.");
    text.value("errors_total", &[], sample.errors);
    if let Some(error) = &sample.last_error {
        text.family("last_error_timestamp_seconds", "gauge", "When the last error was met, and which.");
        let labels = [("area", error.area.as_str()), ("kind", &error.kind)];
        text.value("last_error_timestamp_seconds", &labels, error.at);
    }
    text.written
}

struct Text<'a> {
    sample: &'a Sample,
    written: String,
}

impl Text<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = write!(self.written, "# HELP bootstrap_{name} {help}\n# TYPE bootstrap_{name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let own = [("deployment", self.sample.deployment.as_str()), ("node", self.sample.node.as_str())];
        let labels: Vec<_> =
            own.iter().chain(labels).map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let _ = writeln!(self.written, "bootstrap_{name}{{{}}} {value}", labels.join(","));
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{first_sample, sample};
    use super::*;

    type Labels = BTreeMap<String, String>;

    fn is_name(text: &str) -> bool {
        let mut letters = text.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    }

    /// Reads `name="value",…}` and gives what follows the brace.
    fn labels(mut rest: &str) -> (Labels, &str) {
        let mut found = Labels::new();
        loop {
            let (name, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(name), "{name}");
            let (mut value, mut letters) = (String::new(), after.char_indices());
            let end = loop {
                match letters.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match letters.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('"' | '\\') => escaped,
                        other => panic!("\\{other}"),
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            assert!(found.insert(name.to_owned(), value).is_none(), "{name} twice");
            match &after[end + 1..] {
                more if more.starts_with(',') => rest = &more[1..],
                more => return (found, more.strip_prefix('}').unwrap()),
            }
        }
    }

    /// Reads the format as it is described; every family is announced once, before its values, which stand together.
    fn parse(text: &str) -> Vec<(String, Labels, f64)> {
        assert!(text.ends_with('\n'));
        let (mut helped, mut family, mut kinds, mut values) = (None, None, BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(is_name(name) && !help.is_empty());
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge"].contains(&kind) && helped.as_deref() == Some(name), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
                family = Some(name.to_owned());
            } else {
                let (name, rest) = line.split_once('{').unwrap();
                assert_eq!(family.as_deref(), Some(name));
                let (labels, rest) = labels(rest);
                let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
                values.push((name.to_owned(), labels, value));
            }
        }
        values
    }

    #[test]
    fn the_text_is_what_a_prometheus_reads() {
        let values = parse(&text(&sample()));
        let value = |name: &str, label: Option<(&str, &str)>| {
            let mut found = values.iter().filter(|(found, labels, _)| {
                assert_eq!((&labels["deployment"][..], &labels["node"][..]), ("es.db.internal", "node-1"));
                found == name && label.is_none_or(|(name, value)| labels[name] == value)
            });
            let value = found.next().unwrap().2;
            assert!(found.next().is_none(), "{name} twice");
            value
        };
        for (name, label, expected) in [
            ("bootstrap_registered", None, 1.0),
            ("bootstrap_certificate_days_left", None, 1.5),
            ("bootstrap_rotation_age_seconds", Some(("user", "admin")), 10.0),
            ("bootstrap_rotation_age_seconds", Some(("user", "ops")), 20.0),
            ("bootstrap_server_restarts_total", None, 2.0),
            ("bootstrap_errors_total", None, 5.0),
            ("bootstrap_last_error_timestamp_seconds", Some(("kind", "aws-denied")), 1_795_651_197.0),
        ] {
            let found = value(name, label);
            assert!((found - expected).abs() < 1e-9, "{name}: {found}");
        }
        assert_eq!(values.len(), 7);
        assert_eq!(parse(&text(&first_sample())).len(), 2);
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let mut odd = sample();
        odd.deployment = "a\"b\\c\nd".to_owned();
        assert_eq!(parse(&text(&odd))[0].1["deployment"], odd.deployment);
    }
}
