//! What a configuration says itself, and what it leaves to the defaults.

use crate::config::has_default;

/// The keys of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated(toml::Table);

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The file says it.
    Set,
    /// The default holds.
    Default,
    /// Nothing is said, and there is no default.
    NotSet,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Default => "default",
            Self::NotSet => "not set",
        }
    }
}

impl Stated {
    /// The keys in the text of an `eventstore.toml`; none if it is no TOML.
    pub fn in_text(text: &str) -> Self {
        Self(text.parse().unwrap_or_default())
    }

    /// Of a key with its sections: `server.port`, `containers[0].image`.
    pub(super) fn state(&self, key: &str) -> State {
        let mut steps = key.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let first = steps.next().and_then(|step| self.0.get(step));
        let found = steps.try_fold(first, |value, step| {
            let inner = match value? {
                toml::Value::Table(table) => table.get(step),
                toml::Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            inner.map(Some)
        });
        match found.flatten() {
            Some(_) => State::Set,
            None if has_default(key) => State::Default,
            None => State::NotSet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_told_from_what_holds_anyway() {
        let text = "name = \"a\"\n[server]\nport = 2113\noptions = { A = 1 }\n[[containers]]\nname = \"b\"\nenvironment = { L = 1 }";
        let stated = Stated::in_text(text);
        for (key, state) in [
            ("name", State::Set),
            ("server.port", State::Set),
            ("server.options.A", State::Set),
            ("containers[0].environment.L", State::Set),
            ("containers[0].user", State::NotSet),
            ("containers[0].essential", State::Default),
            ("containers[1].name", State::NotSet),
            ("server.line", State::Default),
            ("server.uid", State::NotSet),
            ("users", State::NotSet),
        ] {
            assert_eq!(stated.state(key), state, "{key}");
        }
    }
}
