//! The commented `eventstore.toml`, made from the table of keys.

use std::fmt::Write as _;

use toml::Value;

use super::table::{Given, Key, Kind, ROOT, Sample, Table};

/// A valid configuration with every key: those with a default as they hold, the others in a comment with an example.
pub fn reference() -> String {
    with_values(&toml::Table::new())
}

/// The same, in which these keys have these values, each in its place. Sections of a list stand behind their example.
pub(crate) fn with_values(values: &toml::Table) -> String {
    let mut text = String::new();
    comment(&mut text, "", ROOT.doc);
    let (own, nested): (Vec<_>, Vec<_>) =
        ROOT.keys.iter().partition(|key| !matches!(key.kind, Kind::Section(_) | Kind::Sections(_) | Kind::Tags));
    for key in own {
        text.push('\n');
        line(&mut text, "", key, values.get(key.name));
    }
    let none = toml::Table::new();
    for key in nested {
        let value = values.get(key.name);
        let inner = value.and_then(Value::as_table).unwrap_or(&none);
        match &key.kind {
            Kind::Section(table) => section(&mut text, key.name, table, inner),
            Kind::Sections(table) => {
                sections(&mut text, key.name, table);
                let items = value.and_then(Value::as_array).into_iter().flatten();
                items.filter_map(Value::as_table).for_each(|item| one_section(&mut text, key.name, table, item));
            }
            Kind::Tags => free(&mut text, key.name, key, inner),
            _ => {}
        }
    }
    text
}

/// Lines of a comment, each after `prefix`.
fn comment(text: &mut String, prefix: &str, doc: &str) {
    for line in doc.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{prefix}# {line}");
    }
}

fn line(text: &mut String, prefix: &str, key: &Key, value: Option<&Value>) {
    if matches!(key.kind, Kind::Refused) {
        return;
    }
    comment(text, prefix, key.doc);
    if let Some(value) = value {
        assignment(text, key.name, value);
        return;
    }
    let (prefix, sample) = match &key.given {
        Given::Always(sample) | Given::Or(sample) => (prefix.to_owned(), sample),
        Given::Maybe(sample) => (if prefix.is_empty() { "# ".to_owned() } else { prefix.to_owned() }, sample),
        Given::Nested => return,
    };
    let _ = writeln!(text, "{prefix}{} = {sample}", key.name);
}

/// `key = value` on one line: also lists of tables, and keys that must be quoted.
fn assignment(text: &mut String, key: &str, value: &Value) {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    // A JSON string is a basic string of TOML, but for the one character that JSON leaves as it is.
    let quoted = || serde_json::Value::from(key).to_string().replace('\u{7f}', "\\u007f");
    let key = if bare { key.to_owned() } else { quoted() };
    let _ = writeln!(text, "{key} = {value}");
}

fn section(text: &mut String, name: &str, table: &Table, values: &toml::Table) {
    text.push('\n');
    comment(text, "", table.doc);
    let _ = writeln!(text, "[{name}]");
    let (own, options): (Vec<_>, Vec<_>) = table.keys.iter().partition(|key| !matches!(key.kind, Kind::Options));
    for key in own {
        line(text, "", key, values.get(key.name));
    }
    let none = toml::Table::new();
    for key in options {
        let inner = values.get(key.name).and_then(Value::as_table).unwrap_or(&none);
        free(text, &format!("{name}.{}", key.name), key, inner);
    }
}

/// A section whose keys are not in the table, with examples from its comment.
fn free(text: &mut String, path: &str, key: &Key, values: &toml::Table) {
    let (doc, examples): (Vec<_>, Vec<_>) = key.doc.lines().partition(|line| !line.contains(" = "));
    text.push('\n');
    comment(text, "", &doc.join("\n"));
    let _ = writeln!(text, "[{path}]");
    comment(text, "", &examples.join("\n"));
    for (name, value) in values {
        assignment(text, name, value);
    }
}

/// As an example, in a comment as a whole.
fn sections(text: &mut String, name: &str, table: &Table) {
    text.push('\n');
    comment(text, "", table.doc);
    let _ = writeln!(text, "# [[{name}]]");
    for key in table.keys {
        line(text, "# ", key, None);
    }
}

/// One of a list; what its keys mean is said in the example before it.
fn one_section(text: &mut String, name: &str, table: &Table, values: &toml::Table) {
    let _ = writeln!(text, "\n[[{name}]]");
    for key in table.keys {
        if let Some(value) = values.get(key.name) {
            assignment(text, key.name, value);
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Toml(text) => f.write_str(text),
            other => other.to_value().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_reference_is_the_one_that_the_table_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/eventstore.toml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == reference(), "UPDATE_GOLDEN=1 rewrites it");
    }

    #[test]
    fn lines_are_not_too_long_to_read() {
        for line in reference().lines().filter(|line| line.starts_with("# ") && !line.contains('=')) {
            assert!(line.chars().count() <= 135, "{line}");
        }
    }
}
