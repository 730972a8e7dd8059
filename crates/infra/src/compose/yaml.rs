//! As much YAML as a compose file needs: block style, and every text in double quotes that another parser, of YAML 1.1 or
//! 1.2, could take for something else.

use std::fmt::{self, Write as _};

/// A value; keys stand in the order in which they are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    Text(String),
    Number(u32),
    Bool(bool),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// A map without members.
    pub(super) const NOTHING: Self = Self::Map(Vec::new());
}

pub(super) fn text(text: impl Into<String>) -> Yaml {
    Yaml::Text(text.into())
}

pub(super) fn list(items: impl IntoIterator<Item = Yaml>) -> Yaml {
    Yaml::List(items.into_iter().collect())
}

pub(super) fn map<K: Into<String>>(members: impl IntoIterator<Item = (K, Yaml)>) -> Yaml {
    Yaml::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(members) if !members.is_empty() => block(f, self, 0),
            Self::List(items) if !items.is_empty() => block(f, self, 0),
            scalar => {
                inline(f, scalar)?;
                f.write_char('\n')
            }
        }
    }
}

/// Lines of a map or a list that is not empty; the first stands where the cursor is, the others `indent` deep.
fn block(f: &mut fmt::Formatter<'_>, value: &Yaml, indent: usize) -> fmt::Result {
    let line = |f: &mut fmt::Formatter<'_>, first: bool| {
        if first { Ok(()) } else { write!(f, "{:indent$}", "") }
    };
    match value {
        Yaml::Map(members) => {
            for (index, (key, member)) in members.iter().enumerate() {
                line(f, index == 0)?;
                write_text(f, key)?;
                f.write_char(':')?;
                if is_block(member) {
                    write!(f, "\n{:1$}", "", indent + 2)?;
                    block(f, member, indent + 2)?;
                } else {
                    f.write_char(' ')?;
                    inline(f, member)?;
                    f.write_char('\n')?;
                }
            }
        }
        Yaml::List(items) => {
            for (index, item) in items.iter().enumerate() {
                line(f, index == 0)?;
                f.write_str("- ")?;
                if is_block(item) {
                    block(f, item, indent + 2)?;
                } else {
                    inline(f, item)?;
                    f.write_char('\n')?;
                }
            }
        }
        scalar => inline(f, scalar)?,
    }
    Ok(())
}

fn is_block(value: &Yaml) -> bool {
    match value {
        Yaml::Map(members) => !members.is_empty(),
        Yaml::List(items) => !items.is_empty(),
        Yaml::Text(_) | Yaml::Number(_) | Yaml::Bool(_) => false,
    }
}

fn inline(f: &mut fmt::Formatter<'_>, value: &Yaml) -> fmt::Result {
    match value {
        Yaml::Text(text) => write_text(f, text),
        Yaml::Number(number) => write!(f, "{number}"),
        Yaml::Bool(flag) => write!(f, "{flag}"),
        Yaml::List(_) => f.write_str("[]"),
        Yaml::Map(_) => f.write_str("{}"),
    }
}

/// What YAML 1.1 takes for something else than a text, in any case (yaml.org, "Boolean" and "Null" of YAML 1.1).
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];

/// Whether every parser reads the text as what it is without quotes.
fn is_plain(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(known)
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// A text, in double quotes if need be (YAML 1.2 §5.7, §7.3.1).
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if is_plain(text) {
        return f.write_str(text);
    }
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            '\n' => f.write_str("\\n")?,
            // Not printable, or a line break for some (YAML 1.2 §5.1).
            letter
                if letter.is_control()
                    || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                write!(f, "\\u{:04x}", u32::from(letter))?;
            }
            letter => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser, ScalarStyle};

    use super::*;

    /// What a parser that is not ours reads.
    fn read(source: &str) -> Yaml {
        let mut events = Parser::new_from_str(source).map(|event| event.unwrap().0);
        assert!(matches!(events.next(), Some(Event::StreamStart)));
        assert!(matches!(events.next(), Some(Event::DocumentStart(_))));
        let event = events.next().unwrap();
        let value = node(event, &mut events);
        assert!(matches!(events.next(), Some(Event::DocumentEnd)));
        value
    }

    fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Yaml {
        match event {
            Event::Scalar(value, ScalarStyle::Plain, ..) => match value.as_ref() {
                "true" => Yaml::Bool(true),
                "false" => Yaml::Bool(false),
                value => value.parse().map_or_else(|_| text(value), Yaml::Number),
            },
            Event::Scalar(value, ..) => text(value),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match events.next().unwrap() {
                        Event::SequenceEnd => return Yaml::List(items),
                        event => items.push(node(event, events)),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut members = Vec::new();
                loop {
                    match events.next().unwrap() {
                        Event::MappingEnd => return Yaml::Map(members),
                        key => {
                            let Yaml::Text(key) = node(key, events) else { panic!("a key that is no text") };
                            let event = events.next().unwrap();
                            members.push((key, node(event, events)));
                        }
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Texts that mean something else to some parser, and any others.
    fn any_text() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "",
            " ",
            "~",
            "no",
            "NULL",
            "True",
            "on",
            "y",
            "1",
            "1_000",
            "0o17",
            "0x1f",
            "1e3",
            ".inf",
            "12:30:45",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "'",
            "\"",
            "%",
            "@",
            "`",
            "{",
            "[",
            "?",
            ":",
            "---",
            "...",
            "=",
            "<<",
            "2001-01-01",
            "/a",
            "a/b",
            "\t",
            "a\nb",
            "\r",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{7f}",
            "\0",
            "ä",
            "😀",
        ]);
        prop_oneof![words.prop_map(str::to_owned), any::<String>(), "[a-z/][a-z0-9./_-]{0,12}"]
    }

    fn any_yaml() -> impl Strategy<Value = Yaml> {
        let scalar = prop_oneof![
            any_text().prop_map(Yaml::Text),
            any::<u32>().prop_map(Yaml::Number),
            any::<bool>().prop_map(Yaml::Bool)
        ];
        scalar.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Yaml::List),
                prop::collection::vec((any_text(), inner), 0..6).prop_map(Yaml::Map),
            ]
        })
    }

    fn reads_back(value: &Yaml) {
        let written = value.to_string();
        assert_eq!(read(&written), *value, "{written}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        // The same cases in every run.
        let config = ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() };
        let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng);
        runner
            .run(&any_yaml(), |value| {
                reads_back(&value);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn only_what_nobody_misreads_stands_without_quotes() {
        for plain in ["a", "/certs", "service_started", "node-1-certs", "eu-west-1", "net.ipv4.x"] {
            assert_eq!(text(plain).to_string(), format!("{plain}\n"));
        }
        for quoted in
            ["", "no", "Yes", "NULL", "1", "-", "2113:2113", "a b", "a,b", "a#", "[", "~", "1.5", "ALL:", "$a"]
        {
            assert_eq!(text(quoted).to_string(), format!("\"{quoted}\"\n"));
        }
    }
}
