//! The commented `eventstore.toml`, made from the table of keys.

use std::fmt::Write as _;

use super::table::{Given, Key, Kind, ROOT, Sample, Table};

/// A valid configuration with every key: those with a default as they hold, the others in a comment with an example.
pub fn reference() -> String {
    let mut text = String::new();
    comment(&mut text, "", ROOT.doc);
    let (own, nested): (Vec<_>, Vec<_>) =
        ROOT.keys.iter().partition(|key| !matches!(key.kind, Kind::Section(_) | Kind::Sections(_) | Kind::Tags));
    for key in own {
        text.push('\n');
        line(&mut text, "", key);
    }
    for key in nested {
        match &key.kind {
            Kind::Section(table) => section(&mut text, key.name, table),
            Kind::Sections(table) => sections(&mut text, key.name, table),
            Kind::Tags => free(&mut text, key.name, key),
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

fn line(text: &mut String, prefix: &str, key: &Key) {
    if matches!(key.kind, Kind::Refused) {
        return;
    }
    comment(text, prefix, key.doc);
    let (prefix, sample) = match &key.given {
        Given::Always(sample) | Given::Or(sample) => (prefix.to_owned(), sample),
        Given::Maybe(sample) => (if prefix.is_empty() { "# ".to_owned() } else { prefix.to_owned() }, sample),
        Given::Nested => return,
    };
    let _ = writeln!(text, "{prefix}{} = {sample}", key.name);
}

fn section(text: &mut String, name: &str, table: &Table) {
    text.push('\n');
    comment(text, "", table.doc);
    let _ = writeln!(text, "[{name}]");
    let (own, options): (Vec<_>, Vec<_>) = table.keys.iter().partition(|key| !matches!(key.kind, Kind::Options));
    for key in own {
        line(text, "", key);
    }
    for key in options {
        free(text, &format!("{name}.{}", key.name), key);
    }
}

/// A section whose keys are not in the table, with examples from its comment.
fn free(text: &mut String, path: &str, key: &Key) {
    let (doc, examples): (Vec<_>, Vec<_>) = key.doc.lines().partition(|line| !line.contains(" = "));
    text.push('\n');
    comment(text, "", &doc.join("\n"));
    let _ = writeln!(text, "[{path}]");
    comment(text, "", &examples.join("\n"));
}

/// As an example, in a comment as a whole.
fn sections(text: &mut String, name: &str, table: &Table) {
    text.push('\n');
    comment(text, "", table.doc);
    let _ = writeln!(text, "# [[{name}]]");
    for key in table.keys {
        line(text, "# ", key);
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
