//! What a check found that is not as the documents say.

use serde::Serialize;

use super::line::Line;
use super::shape;
use super::wire::{Answer, Broken, Reply};

/// One thing that is not as expected. Holds no password: replies have none, and requests are told without headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) of: String,
    pub(super) expected: String,
    pub(super) found: String,
}

/// The differences of one check.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) line: Line,
    /// The server that is looked at, if the check is made for each.
    pub(super) at: Option<String>,
    pub(super) differences: Vec<Difference>,
}

impl Found {
    pub(super) fn new(line: Line) -> Self {
        Self { line, at: None, differences: Vec::new() }
    }

    pub(super) fn difference(&mut self, of: &str, expected: impl Into<String>, found: impl Into<String>) {
        let of = self.at.as_ref().map_or_else(|| of.to_owned(), |at| format!("{at}: {of}"));
        self.differences.push(Difference { of, expected: expected.into(), found: found.into() });
    }

    pub(super) fn broken(&mut self, broken: &Broken) {
        self.difference(&broken.what, "a check that can be carried through", &broken.found);
    }

    pub(super) fn holds(&mut self, of: &str, holds: bool, expected: impl Into<String>, found: impl Into<String>) {
        if !holds {
            self.difference(of, expected, found);
        }
    }

    /// Judges a reply. `of` says what was asked.
    pub(super) fn reply<'a>(&'a mut self, of: impl Into<String>, reply: &'a Reply) -> Judge<'a> {
        Judge { found: self, of: of.into(), reply }
    }

    /// An answer must be an end of the connection without a byte.
    pub(super) fn closed(&mut self, of: &str, answer: &Answer) {
        let closed = matches!(answer, Answer::Closed { bytes: 0 });
        self.holds(of, closed, "the connection is closed without a response", answer.to_string());
    }
}

/// A reply under judgement.
pub(super) struct Judge<'a> {
    found: &'a mut Found,
    of: String,
    reply: &'a Reply,
}

impl Judge<'_> {
    fn holds(self, what: &str, holds: bool, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let of = format!("{}: {what}", self.of);
        self.found.holds(&of, holds, expected, found);
        self
    }

    pub(super) fn status(self, expected: u16) -> Self {
        self.status_in(&[expected])
    }

    pub(super) fn status_in(self, expected: &[u16]) -> Self {
        let found = format!("{} {}", self.reply.status, self.reply.reason);
        let wanted = expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let holds = expected.contains(&self.reply.status);
        self.holds("status", holds, wanted, found)
    }

    pub(super) fn reason(self, expected: &str) -> Self {
        let found = self.reply.reason.clone();
        let holds = found == expected;
        self.holds("reason phrase", holds, expected, found)
    }

    pub(super) fn empty(self) -> Self {
        let found = excerpt(&self.reply.text());
        let holds = found.is_empty();
        self.holds("body", holds, "no body", found)
    }

    pub(super) fn text(self, expected: &str) -> Self {
        let found = self.reply.text();
        let holds = found == expected;
        self.holds("body", holds, expected, excerpt(&found))
    }

    /// The body byte by byte, with holes (`shape.rs`).
    pub(super) fn json(self, shape: &str) -> Self {
        match shape::compare(shape, &self.reply.text()) {
            Ok(()) => self,
            Err((expected, found)) => self.holds("body", false, expected, found),
        }
    }

    /// A reply of the users API to a change (observed §2).
    pub(super) fn update(self, login: &str, error: &str) -> Self {
        let shape = self.found.line.update(login, error);
        self.json(&shape)
    }

    /// A header with exactly this one value.
    pub(super) fn header(self, name: &str, expected: &str) -> Self {
        self.headers(name, &[expected])
    }

    /// A header with these values, in this order.
    pub(super) fn headers(self, name: &str, expected: &[&str]) -> Self {
        let found = self.reply.all(name);
        let (holds, found) = (found == expected, list(&found));
        self.holds(name, holds, list(expected), found)
    }

    pub(super) fn header_is(self, name: &str, expected: &str, holds: impl Fn(&str) -> bool) -> Self {
        let found = self.reply.all(name);
        let (holds, found) = (found.len() == 1 && holds(found[0]), list(&found));
        self.holds(name, holds, expected, found)
    }

    pub(super) fn without(self, name: &str) -> Self {
        self.headers(name, &[])
    }

    /// Success as it looks when nothing was done: malformed bodies (observed §2).
    pub(super) fn hollow(self) -> Self {
        self.status(200).header("Content-Length", "0").empty()
    }

    /// The login was judged, and refused (observed §2).
    pub(super) fn bad_login(self) -> Self {
        self.status(401).empty().header("WWW-Authenticate", r#"X-Basic realm="ESDB""#)
    }

    /// Not authorised: anonymous, or without the right (observed §2). There is no 403.
    pub(super) fn not_authorised(self) -> Self {
        self.status(401).empty().without("WWW-Authenticate")
    }

    /// Not among the media types of the API (observed §2).
    pub(super) fn unsupported(self) -> Self {
        self.status(415).reason("Invalid or missing Content-Type").empty()
    }
}

fn list(values: &[&str]) -> String {
    if values.is_empty() {
        return "no such header".to_owned();
    }
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" and ")
}

/// The beginning of a text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
