//! Reads a table of the file by its entry in the table of keys, so that no key passes unnoticed and no key is read that
//! nobody knows.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::Value;

use super::Mistake;
use super::table::{Given, Integers, Key, Kind, Sample, Table, Text};

/// A closed list of words.
pub(super) trait Choice: Copy + 'static {
    /// Every word with its meaning, in the order of the table.
    const WORDS: &'static [(&'static str, Self)];
}

/// All that is wrong so far.
pub(super) type Mistakes = RefCell<Vec<Mistake>>;

/// A table of the file.
pub(super) struct Section<'a> {
    path: String,
    table: &'static Table,
    values: toml::Table,
    read: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'static Table, values: toml::Table, mistakes: &'a Mistakes) -> Self {
        Self { path: String::new(), table, values, read: RefCell::default(), mistakes }
    }

    /// Where mistakes are told that are not one section's.
    pub(super) fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    fn inner(&self, path: String, table: &'static Table, values: toml::Table) -> Section<'a> {
        Section { path, table, values, read: RefCell::default(), mistakes: self.mistakes }
    }

    pub(super) fn mistake(&self, key: &str, message: impl Into<String>) {
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.mistakes.borrow_mut().push(Mistake { key, message: message.into() });
    }

    fn check<T>(&self, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.mistake(key, message)).ok()
    }

    /// Whether the file says something about this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.key(key);
        self.values.contains_key(key)
    }

    /// Whether the file says something about this key that would not hold anyway.
    pub(super) fn says(&self, key: &str) -> bool {
        let entry = self.table.key(key);
        let default = if let Given::Or(default) = &entry.given { Some(default.to_value()) } else { None };
        self.values.get(key).is_some_and(|value| default.as_ref() != Some(value))
    }

    /// Whether the file gives this word to this key.
    pub(super) fn is(&self, key: &str, word: &str) -> bool {
        self.has(key) && self.values.get(key).and_then(Value::as_str) == Some(word)
    }

    /// Refuses every key of this section with which the file says something.
    pub(super) fn refuse_all(&self, message: &str) {
        self.refuse_all_but("", message);
    }

    /// The same, but for one key.
    pub(super) fn refuse_all_but(&self, but: &str, message: &str) {
        for key in self.table.keys.iter().filter(|key| key.name != but && self.says(key.name)) {
            self.mistake(key.name, message);
        }
    }

    fn entry(&self, name: &str) -> &'static Key {
        let key = self.table.key(name);
        self.read.borrow_mut().insert(key.name);
        key
    }

    /// The value that the file gives, or the default; `None` if there is neither.
    fn value(&self, name: &str) -> Option<Value> {
        let key = self.entry(name);
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        match &key.given {
            Given::Or(default) => Some(default.to_value()),
            Given::Always(_) => {
                self.mistake(name, "it is missing; there is no default");
                None
            }
            Given::Maybe(_) | Given::Nested => None,
        }
    }

    /// A text, read by `parse`; `None` if it is wrong or, where there is no default, not given.
    pub(super) fn text<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.value(name)?;
        let text = match text {
            Value::String(text) => Ok(text),
            other => Err(format!("it is of type {}; allowed is a string", other.type_str())),
        };
        self.check(name, text.and_then(|text| parse(&text)))
    }

    /// One word of a closed list.
    pub(super) fn choice<T: Choice>(&self, name: &str) -> Option<T> {
        debug_assert!(
            matches!(&self.table.key(name).kind, Kind::Text(Text::OneOf(words))
                if words.iter().eq(T::WORDS.iter().map(|(word, _)| word))),
            "the table has other words for {name}"
        );
        self.text(name, |text| {
            let found = T::WORDS.iter().find(|(word, _)| *word == text);
            found.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
                format!(
                    "`{text}` is not allowed; allowed {} {}",
                    if words.len() == 1 { "is" } else { "are" },
                    list(&words)
                )
            })
        })
    }

    /// An integer that the table allows, read by `parse`.
    pub(super) fn integer<T>(&self, name: &str, parse: impl Fn(i64) -> Result<T, String>) -> Option<T> {
        let number = match self.value(name)? {
            Value::Integer(number) => Ok(number),
            other => Err(format!("it is of type {}; allowed is an integer", other.type_str())),
        };
        self.check(name, number.and_then(parse))
    }

    /// An integer for which the table says all that is allowed.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let Kind::Integer(integers) = &self.table.key(name).kind else { panic!("`{name}` is no integer in the table") };
        self.integer(name, |number| {
            let good = match integers {
                Integers::OneOf(allowed) => allowed.contains(&number),
                Integers::Between(least, most) => (*least..=*most).contains(&number),
            };
            let number = T::try_from(number).ok().filter(|_| good).ok_or(number);
            number.map_err(|number| format!("`{number}` is not allowed; {}", integers.allowed()))
        })
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let flag = match self.value(name)? {
            Value::Boolean(flag) => Ok(flag),
            other => Err(format!("it is of type {}; allowed are true and false", other.type_str())),
        };
        self.check(name, flag)
    }

    /// A list of texts, none of them twice; empty if it is not given.
    pub(super) fn texts<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let items = match self.value(name) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.mistake(name, format!("it is of type {}; allowed is a list of strings", other.type_str()));
                return None;
            }
        };
        let mut seen = BTreeSet::new();
        let mut read = |item: &Value| match item {
            Value::String(text) if !seen.insert(text.clone()) => {
                Err(format!("`{text}` stands there twice; allowed is once"))
            }
            Value::String(text) => parse(text),
            other => Err(format!("it holds something of type {}; allowed are strings", other.type_str())),
        };
        // All of them, for each may have a mistake of its own.
        let items: Vec<_> = items.iter().map(|item| self.check(name, read(item))).collect();
        items.into_iter().collect()
    }

    /// `[name]`; with its defaults if it is not there.
    pub(super) fn section<T>(&self, name: &str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let Kind::Section(table) = self.entry(name).kind else { panic!("`{name}` is no section in the table") };
        let section = self.inner(self.path_of(name), table, self.nested(name));
        let value = read(&section);
        section.finish();
        value
    }

    /// `[name]`, if it is there.
    pub(super) fn optional_section<T>(&self, name: &str, read: impl FnOnce(&Section<'_>) -> T) -> Option<T> {
        self.entry(name);
        self.has(name).then(|| self.section(name, read))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn nested(&self, name: &str) -> toml::Table {
        match self.values.get(name) {
            None => toml::Table::new(),
            Some(Value::Table(table)) => table.clone(),
            Some(other) => {
                let path = self.path_of(name);
                self.mistake(name, format!("it is of type {}; allowed is a section [{path}]", other.type_str()));
                toml::Table::new()
            }
        }
    }

    /// `[[name]]`; none if it is not there.
    pub(super) fn sections<T>(&self, name: &str, read: impl Fn(&Section<'_>) -> T) -> Vec<T> {
        let Kind::Sections(table) = self.entry(name).kind else {
            panic!("`{name}` is no list of sections in the table")
        };
        let items = match self.values.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.clone(),
            Some(other) => vec![other.clone()],
        };
        let mut values = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let Value::Table(item) = item else {
                self.mistake(name, format!("it is of type {}; allowed are sections [[{name}]]", item.type_str()));
                continue;
            };
            let section = self.inner(format!("{}[{index}]", self.path_of(name)), table, item);
            values.push(read(&section));
            section.finish();
        }
        values
    }

    /// A list of texts, in which one may stand twice; empty if it is not given.
    pub(super) fn arguments(&self, name: &str) -> Option<Vec<String>> {
        let items = match self.value(name) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.mistake(name, format!("it is of type {}; allowed is a list of strings", other.type_str()));
                return None;
            }
        };
        let read = |item: &Value| match item {
            Value::String(text) if !text.contains('\0') => Ok(text.clone()),
            Value::String(_) => Err("it holds a null character".to_owned()),
            other => Err(format!("it holds something of type {}; allowed are strings", other.type_str())),
        };
        let items: Vec<_> = items.iter().map(|item| self.check(name, read(item))).collect();
        items.into_iter().collect()
    }

    /// `[name]` whose keys are not in the table: each that `parse` takes, with its value as a text.
    pub(super) fn options<T>(&self, name: &str, parse: impl Fn(&str, String) -> Result<T, String>) -> Option<Vec<T>> {
        debug_assert!(
            matches!(self.entry(name).kind, Kind::Options | Kind::Tags | Kind::Map(..)),
            "`{name}` holds names with values in the table"
        );
        self.entry(name);
        let read = |(option, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) => Ok(text.clone()),
                Value::Integer(number) => Ok(number.to_string()),
                Value::Boolean(flag) => Ok(flag.to_string()),
                other => {
                    let kind = other.type_str();
                    Err(format!("it is of type {kind}; allowed are a string, an integer, true and false"))
                }
            };
            self.check(&format!("{name}.{option}"), value.and_then(|value| parse(option, value)))
        };
        let options: Vec<_> = self.nested(name).iter().map(read).collect();
        options.into_iter().collect()
    }

    /// Refuses what the table does not know.
    ///
    /// # Panics
    ///
    /// If a key of the table was not read: it would mean nothing.
    pub(super) fn finish(&self) {
        let (refused, known): (Vec<_>, Vec<_>) =
            self.table.keys.iter().partition(|key| matches!(key.kind, Kind::Refused));
        for key in refused.iter().filter(|key| self.values.contains_key(key.name)) {
            self.mistake(key.name, key.doc);
        }
        let known: Vec<_> = known.iter().map(|key| key.name).collect();
        let read = self.read.borrow();
        let forgotten: Vec<_> = known.iter().filter(|key| !read.contains(**key)).collect();
        assert!(forgotten.is_empty(), "nobody reads {forgotten:?} of [{}]", self.path);
        let is_refused = |name: &str| refused.iter().any(|key| key.name == name);
        for key in self.values.keys().filter(|key| !known.contains(&key.as_str()) && !is_refused(key)) {
            self.mistake(key, format!("it is not a known key; {}", nearest(key, &known)));
        }
    }
}

/// What somebody may have meant, and all that there is.
pub(crate) fn nearest(word: &str, known: &[&str]) -> String {
    let mut sorted = known.to_vec();
    sorted.sort_unstable();
    // A word that shares less than two thirds of its letters is another word.
    let likeness = |known: &&&str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let nearest = sorted.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let allowed = list(&sorted);
    match nearest.filter(|nearest| likeness(nearest) > 0.65) {
        Some(nearest) => format!("did you mean `{nearest}`? allowed here are {allowed}"),
        None => format!("allowed here are {allowed}"),
    }
}

/// `a, b and c`.
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} and {last}", words.join(", ")),
    }
}

impl Integers {
    fn allowed(&self) -> String {
        match self {
            Self::OneOf(allowed) => {
                let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
                format!("allowed are {}", list(&allowed.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            Self::Between(least, most) => format!("allowed are {least} to {most}"),
        }
    }
}

impl Sample {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(*text),
            Self::Integer(number) => Value::from(*number),
            Self::Flag(flag) => Value::from(*flag),
            Self::Texts(texts) => Value::Array(texts.iter().map(|text| Value::from(*text)).collect()),
            Self::Toml(text) => {
                let table = format!("value = {text}").parse::<toml::Table>();
                table.ok().and_then(|mut table| table.remove("value")).expect("the table holds TOML")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["cpu", "memory", "rotate_every"];
        assert_eq!(nearest("memroy", &known), "did you mean `memory`? allowed here are cpu, memory and rotate_every");
        assert_eq!(
            nearest("Rotate_evry", &known),
            "did you mean `rotate_every`? allowed here are cpu, memory and rotate_every"
        );
        assert_eq!(nearest("colour", &known), "allowed here are cpu, memory and rotate_every");
    }
}
