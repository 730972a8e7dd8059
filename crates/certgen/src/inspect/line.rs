//! Server lines, and where it is written what they do.

use std::fmt;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// A line of the server. Lines that are not long-term supported behave like the next older one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Line {
    /// EventStoreDB 21.10; known by its source alone.
    #[value(name = "21.10")]
    V21_10,
    /// EventStoreDB 22.10.
    #[value(name = "22.10")]
    V22_10,
    /// EventStoreDB 23.10.
    #[value(name = "23.10")]
    V23_10,
    /// EventStoreDB 24.10.
    #[value(name = "24.10")]
    V24_10,
    /// KurrentDB 25.0 and 25.1.
    #[value(name = "25", aliases = ["25.0", "25.1"])]
    V25,
    /// KurrentDB 26; 26.1 is known by its source alone.
    #[value(name = "26", aliases = ["26.0", "26.1"])]
    V26,
}

impl Line {
    /// All lines, oldest first.
    pub const ALL: [Self; 6] = [Self::V21_10, Self::V22_10, Self::V23_10, Self::V24_10, Self::V25, Self::V26];

    /// The name as it is given on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V21_10 => "21.10",
            Self::V22_10 => "22.10",
            Self::V23_10 => "23.10",
            Self::V24_10 => "24.10",
            Self::V25 => "25",
            Self::V26 => "26",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
