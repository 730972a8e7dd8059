//! The server lines, and what differs between them in more than one place.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A line of server versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    /// `EventStoreDB` 21.10. Known by its source only.
    V21_10,
    /// `EventStoreDB` 22.10.
    V22_10,
    /// `EventStoreDB` 23.10.
    V23_10,
    /// `EventStoreDB` 24.10.
    V24_10,
    /// `KurrentDB` 25.0.
    V25_0,
    /// `KurrentDB` 25.1. Known by its source only.
    V25_1,
    /// `KurrentDB` 26.1. Known by its source only.
    V26_1,
}

/// The lines of which a real server was watched: `eventstore-observed.md`, `-lines.md`, `-25.md`.
pub(super) const WATCHED: &[Line] = &[Line::V22_10, Line::V23_10, Line::V24_10, Line::V25_0];

impl Line {
    /// What `--line` takes.
    pub(super) const ALLOWED: &str = "21.10, 22.10, 23.10, 24.10, 25.0, 25 (or 25.1), 26 (or 26.1)";

    /// What `esVersion` starts with.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::V21_10 => "21.10.",
            Self::V22_10 => "22.10.",
            Self::V23_10 => "23.10.",
            Self::V24_10 => "24.10.",
            Self::V25_0 => "25.0.",
            Self::V25_1 => "25.1.",
            Self::V26_1 => "26.1.",
        }
    }

    /// A reply of the users API: these members, then `msgTypeId` (arbitrary, up to 23.10) and `label` (from 23.10 on), in
    /// this order (lines §A).
    pub(super) fn reply(self, members: &str) -> String {
        let further = match self {
            Self::V21_10 | Self::V22_10 => r#","msgTypeId":<number>"#,
            Self::V23_10 => r#","msgTypeId":<number>,"label":"Other""#,
            _ => r#","label":"Other""#,
        };
        format!("{{{members}{further}}}")
    }

    /// The reply to create, update, delete, enable, disable, reset and change (observed §2).
    pub(super) fn update(self, login: &str, error: &str) -> String {
        let success = error == "Success";
        self.reply(&format!(r#""loginName":"{login}","success":{success},"error":"{error}""#))
    }

    /// The reply when there is no such user to read (observed §2).
    pub(super) fn no_such_user(self) -> String {
        self.reply(r#""data":null,"success":false,"error":"NotFound""#)
    }

    /// How long a node may go on with the old password after a reset. It polls once a second (observed §4); 22.10 can
    /// lose its first poll, and every node had flipped 27 s after its process started (lines §C).
    pub(super) fn flip_bound(self) -> Duration {
        if self <= Self::V22_10 { Duration::from_secs(30) } else { Duration::from_secs(5) }
    }

    /// Whether Basic credentials are read as UTF-8; before, they are ASCII (contract §0).
    pub(super) fn reads_utf8(self) -> bool {
        self >= Self::V23_10
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version().trim_end_matches('.'))
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "21.10" => Self::V21_10,
            "22.10" => Self::V22_10,
            "23.10" => Self::V23_10,
            "24.10" => Self::V24_10,
            "25.0" => Self::V25_0,
            "25" | "25.1" => Self::V25_1,
            "26" | "26.1" => Self::V26_1,
            _ => return Err(()),
        })
    }
}
