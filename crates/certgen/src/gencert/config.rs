//! The file of `create-certs`: a list of certificates in YAML (contract §5.1), read whole, so that one run tells every mistake.
//!
//! What es-gencert-cli ignores in silence is ignored too, and said: a file that is in use today must go on working.

use std::ffi::OsString;

use super::flags::{Command, Fields, Takes, integer, is_octal_by_surprise, octal_warning};
use super::yaml::{self, Node, Value};

/// The sections, in the order in which their certificates are listed, and what can be given for each certificate.
const SECTIONS: [(&str, Command); 3] =
    [("ca-certs", Command::Ca), ("node-certs", Command::Node), ("user-certs", Command::User)];

/// One certificate that a file asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) command: Command,
    /// Where it stands, for messages.
    pub(crate) place: String,
    pub(crate) fields: Fields,
}

/// What a file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) entries: Vec<Entry>,
    pub(crate) warnings: Vec<String>,
    pub(crate) mistakes: Vec<String>,
}

/// Reads the text of a file.
pub(crate) fn read(bytes: &[u8]) -> Config {
    let mut config = Config::default();
    let root = match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse(text).map_err(|error| error.to_string()),
        Err(_) => Err("it is not UTF-8 text".to_owned()),
    };
    match root {
        Ok(Some(root)) => config.document(&root),
        Ok(None) => {}
        Err(reason) => config.mistakes.push(reason),
    }
    config
}

impl Config {
    fn document(&mut self, root: &Node) {
        let Some(pairs) = self.mapping(root, "the document") else { return };
        for (key, value) in pairs {
            match key.as_str() {
                "certificates" => self.certificates(value),
                // The place for anchors that other tools agree on.
                name if name.starts_with("x-") => {}
                name => self.unknown(value.line, name, &["certificates"]),
            }
        }
    }

    fn certificates(&mut self, node: &Node) {
        let Some(pairs) = self.mapping(node, "certificates") else { return };
        for (key, value) in &pairs {
            if SECTIONS.iter().all(|(name, _)| name != key) {
                self.unknown(value.line, key, &SECTIONS.map(|(name, _)| name));
            }
        }
        for (section, command) in SECTIONS {
            let Some((_, value)) = pairs.iter().find(|(key, _)| key == section) else { continue };
            match &value.value {
                _ if value.is_null() => {}
                Value::List(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.entry(&format!("line {}, {section}[{index}]", item.line), command, item);
                    }
                }
                _ => self.mistakes.push(format!(
                    "line {}: {section} is {}; allowed is a list, each item after a hyphen",
                    value.line,
                    value.kind()
                )),
            }
        }
    }

    fn entry(&mut self, place: &str, command: Command, node: &Node) {
        // `- ` and nothing after it.
        if node.is_null() {
            return;
        }
        let Some(pairs) = self.mapping(node, place) else { return };
        let mut entry = Entry { command, place: place.to_owned(), fields: Fields::default() };
        for (key, value) in &pairs {
            let Some(flag) = command.flags().iter().find(|flag| flag.name == key) else {
                let known: Vec<_> = command.flags().iter().map(|flag| flag.name).collect();
                self.unknown(value.line, key, &known);
                continue;
            };
            match flag.takes {
                _ if value.is_null() => {}
                Takes::Text => self.text(&mut entry, flag.name, value),
                Takes::Days => self.days(&mut entry, value),
                Takes::Nothing => self.force(place, value),
            }
        }
        self.entries.push(entry);
    }

    /// Any single value is a text as it is written. An empty one counts as not given.
    fn text(&mut self, entry: &mut Entry, name: &'static str, node: &Node) {
        match &node.value {
            Value::Scalar { text, .. } if text.is_empty() => {}
            Value::Scalar { text, .. } => {
                entry.fields.text.insert(name, OsString::from(text));
            }
            _ => self.mistakes.push(format!(
                "{}: {name} is {}; allowed is one text, a list as `a,b`",
                entry.place,
                node.kind()
            )),
        }
    }

    fn days(&mut self, entry: &mut Entry, node: &Node) {
        match &node.value {
            Value::Scalar { text, plain: true } => match number(text) {
                Some(days) => {
                    entry.fields.days = days;
                    if is_octal_by_surprise(text) {
                        self.warnings.push(octal_warning(&format!("{}: days", entry.place), text, days));
                    }
                }
                None => self.mistakes.push(format!("{}: days: `{text}` is not a number of days", entry.place)),
            },
            Value::Scalar { text, plain: false } => self
                .mistakes
                .push(format!("{}: days is the text {text:?}; allowed is a number, without quotes", entry.place)),
            _ => self.mistakes.push(format!("{}: days is {}; allowed is a number", entry.place, node.kind())),
        }
    }

    fn force(&mut self, place: &str, node: &Node) {
        match &node.value {
            Value::Scalar { text, plain: true } if is_boolean(text) => self.warnings.push(format!(
                "{place}: force in a file has no effect, as in es-gencert-cli; give -force to the command"
            )),
            _ => self.mistakes.push(format!("{place}: force is not a boolean; allowed are true and false")),
        }
    }

    fn mapping<'a>(&mut self, node: &'a Node, what: &str) -> Option<Vec<(String, &'a Node)>> {
        match &node.value {
            _ if node.is_null() => None,
            Value::Map(pairs) => {
                let named = pairs.iter().filter_map(|(key, value)| match &key.value {
                    Value::Scalar { text, .. } => Some((text.clone(), value.as_ref())),
                    _ => None,
                });
                Some(named.collect())
            }
            _ => {
                let line = node.line;
                self.mistakes.push(format!("line {line}: {what} is {}; allowed is a mapping", node.kind()));
                None
            }
        }
    }

    fn unknown(&mut self, line: usize, name: &str, known: &[&str]) {
        let known = known.join(", ");
        self.warnings.push(format!("line {line}: `{name}` is ignored: it is not known here; known are {known}"));
    }
}

/// A number as Go's YAML library reads it where an integer is wanted: with `_` anywhere, and cut if it has a fraction.
fn number(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    if let Ok(integer) = integer(&text) {
        return Some(integer);
    }
    let is_decimal = text.chars().all(|sign| sign.is_ascii_digit() || matches!(sign, '.' | '-' | '+' | 'e' | 'E'));
    let float = text.parse::<f64>().ok().filter(|float| is_decimal && float.abs() < 1e18)?;
    #[expect(clippy::cast_possible_truncation, reason = "cutting the fraction is what is wanted; the size was checked")]
    Some(float as i64)
}

fn is_boolean(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    matches!(lower.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        super::read(text.as_bytes())
    }

    #[test]
    fn sections_come_in_a_fixed_order_and_values_keep_their_text() {
        let config = read(
            "certificates:\n  user-certs:\n  - username: a b\n  node-certs:\n  - {out: 007, dns-names: 'a, b', days: 3}\n  - {}\n  -\n  ca-certs:\n  - name: true\n    out: ''\n    ca-key: ~\n",
        );
        assert_eq!((config.mistakes, config.warnings), (vec![], vec![]));
        let shown: Vec<_> = config
            .entries
            .iter()
            .map(|entry| {
                let text: Vec<_> =
                    entry.fields.text.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
                format!("{} {} {} {}", entry.place, entry.command.name(), text.join(" "), entry.fields.days)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "line 9, ca-certs[0] create-ca name=true 0",
                "line 5, node-certs[0] create-node dns-names=a, b out=007 3",
                "line 6, node-certs[1] create-node  0",
                "line 3, user-certs[0] create-user username=a b 0",
            ]
        );
    }

    #[test]
    fn days_are_read_as_by_the_old_tool() {
        for (text, days) in [
            ("10", 10),
            ("+10", 10),
            ("10.0", 10),
            ("10.9", 10),
            ("1e2", 100),
            ("0x10", 16),
            ("010", 8),
            ("0o17", 15),
            ("0b11", 3),
            ("1_0", 10),
            ("1__0", 10),
            ("08", 8),
            ("-1", -1),
            (".5", 0),
            ("!!int \"10\"", 10),
            ("", 0),
            ("null", 0),
        ] {
            let config = read(&format!("certificates: {{ca-certs: [{{days: {text}}}]}}"));
            assert_eq!((config.mistakes.as_slice(), config.entries[0].fields.days), (&[][..], days), "{text}");
            assert_eq!(config.warnings.len(), usize::from(text == "010"), "{text}");
        }
        for text in ["abc", "'10'", "[1]", "{}", "10d", ".inf", ".nan", "inf", "1e30", "!!str 1"] {
            let config = read(&format!("certificates: {{ca-certs: [{{days: {text}}}]}}"));
            assert_eq!(config.mistakes.len(), 1, "{text}: {:?}", config.mistakes);
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let config = read(
            "certificates:\n  ca-certs: {out: x}\n  node-certs:\n  - days: x\n    ip-addresses: [1, 2]\n  - just text\n  user-certs:\n  - force: \"true\"\n    username: {}\n",
        );
        let mistakes = config.mistakes.join("\n");
        for part in [
            "line 2: ca-certs is a mapping; allowed is a list",
            "line 4, node-certs[0]: days: `x` is not a number",
            "line 4, node-certs[0]: ip-addresses is a list; allowed is one text, a list as `a,b`",
            "line 6, node-certs[1] is a single value",
            "line 8, user-certs[0]: force is not a boolean",
            "line 8, user-certs[0]: username is a mapping",
        ] {
            assert!(mistakes.contains(part), "no `{part}` in:\n{mistakes}");
        }
        assert_eq!(config.mistakes.len(), 6, "{mistakes}");
        for text in ["just text", "- a", "certificates: [a]", "certificates: x", "a: 1\na: 2", "a: [", "\t- a"] {
            assert_eq!(read(text).mistakes.len(), 1, "{text}");
        }
        assert_eq!(super::read(b"\xff\xfe").mistakes.len(), 1);
    }

    #[test]
    fn what_is_ignored_is_said() {
        for (text, part) in [
            ("Certificates: {}", "line 1: `Certificates` is ignored"),
            (
                "certificates: {cacerts: [{}]}",
                "`cacerts` is ignored: it is not known here; known are ca-certs, node-certs",
            ),
            ("certificates: {ca-certs: [{day: 3}]}", "`day` is ignored"),
            ("certificates: {ca-certs: [{username: x}]}", "`username` is ignored"),
            ("certificates: {node-certs: [{force: yes}]}", "force in a file has no effect"),
        ] {
            let config = read(text);
            assert!(config.mistakes.is_empty() && config.warnings.len() == 1, "{text}: {config:?}");
            assert!(config.warnings[0].contains(part), "{text}: {:?}", config.warnings);
        }
    }

    #[test]
    fn nothing_is_asked_for_by_an_empty_file() {
        for text in ["", "certificates:", "certificates: {}", "certificates: {ca-certs: }", "~", "x-a: &a {out: b}"] {
            assert_eq!(read(text), Config::default(), "{text}");
        }
    }
}
