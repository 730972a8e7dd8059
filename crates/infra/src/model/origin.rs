//! Where what a container is given comes from: said where it is made, so that nobody has to guess it from the value.

use std::borrow::Cow;

/// Everything that a value depends on. Whatever is not named here can change without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Vec<Influence>);

/// One thing that a value depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Influence {
    /// A key of `eventstore.toml` that says the value or a part of it: `server.port`.
    Key(Cow<'static, str>),
    /// A key that says whether there is such a value at all.
    Presence(&'static str),
    /// Which node it is: its own name, those of the others, or whether it votes.
    Place,
    /// What is known of the server line, `server.line`: its image, its directories.
    Line,
    /// The server line as well, but only how the variable is called, and whether the line knows it.
    Named,
    /// What CloudFormation alone knows; the text says what it is.
    CloudFormation(&'static str),
    /// infra, always in this way; the text says why.
    Fixed(&'static str),
}

impl Influence {
    /// The key of `eventstore.toml` that is behind it.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Presence(key) => Some(key),
            Self::Line | Self::Named => Some("server.line"),
            Self::Place | Self::CloudFormation(_) | Self::Fixed(_) => None,
        }
    }
}

impl Origin {
    /// What it depends on; never empty.
    pub fn influences(&self) -> &[Influence] {
        &self.0
    }

    pub(crate) fn key(key: impl Into<Cow<'static, str>>) -> Self {
        Self(vec![Influence::Key(key.into())])
    }

    pub(crate) fn keys(keys: &[&'static str]) -> Self {
        Self(keys.iter().map(|key| Influence::Key((*key).into())).collect())
    }

    pub(crate) fn fixed(why: &'static str) -> Self {
        Self(vec![Influence::Fixed(why)])
    }

    pub(crate) fn line() -> Self {
        Self(vec![Influence::Line])
    }

    pub(crate) fn place() -> Self {
        Self(vec![Influence::Place])
    }

    pub(crate) fn cloud_formation(what: &'static str) -> Self {
        Self(vec![Influence::CloudFormation(what)])
    }

    /// It depends on this as well.
    pub(crate) fn and(mut self, source: Influence) -> Self {
        if !self.0.contains(&source) {
            self.0.push(source);
        }
        self
    }

    /// It is only there by leave of this key.
    pub(crate) fn only_by(self, key: &'static str) -> Self {
        if self.0.contains(&Influence::Key(key.into())) { self } else { self.and(Influence::Presence(key)) }
    }
}
