//! What differs between the images of the server's lines, and how their variables begin.

use crate::values::ServerLine;

/// The image of a line (contract §0, §7.2; observed-25 §A).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The vendor's, in the release that was read or watched.
    pub(crate) reference: &'static str,
    /// What the names of its variables begin with.
    pub(crate) prefix: &'static str,
    /// The server's program.
    pub(crate) program: &'static str,
    /// Where the database is: a VOLUME of the image, so that a volume of Docker's belongs to the server.
    pub(crate) data: &'static str,
    /// Where it writes log files, if it writes any: a VOLUME as well.
    pub(crate) logs: &'static str,
    /// The server's uid and gid.
    pub(crate) uid: u32,
}

/// An image with the product's old name.
const fn eventstore(reference: &'static str) -> Image {
    Image {
        reference,
        prefix: "EVENTSTORE_",
        program: "/opt/eventstore/EventStore.ClusterNode",
        data: "/var/lib/eventstore",
        logs: "/var/log/eventstore",
        uid: 1000,
    }
}

/// One with its new name.
const fn kurrentdb(reference: &'static str, uid: u32) -> Image {
    Image {
        reference,
        prefix: "KURRENTDB_",
        program: "/opt/kurrentdb/KurrentDB",
        data: "/var/lib/kurrentdb",
        logs: "/var/log/kurrentdb",
        uid,
    }
}

static V21_10: Image = eventstore("eventstore/eventstore:21.10.9-buster-slim");
static V22_10: Image = eventstore("eventstore/eventstore:22.10.5-jammy");
static V23_10: Image = eventstore("eventstore/eventstore:23.10.6-bookworm-slim");
static V24_10: Image = eventstore("docker.eventstore.com/eventstore/eventstoredb-ee:24.10");
static V25_0: Image = kurrentdb("docker.kurrent.io/kurrent-latest/kurrentdb:25.0.1", 1000);
static V25_1: Image = kurrentdb("docker.kurrent.io/kurrent-latest/kurrentdb:25.1.4", 1000);
static V26: Image = kurrentdb("docker.kurrent.io/kurrent-lts/kurrentdb:26.0.3", 1001);

/// The image of a line.
pub(crate) fn image(line: ServerLine) -> &'static Image {
    match line {
        ServerLine::V21_10 => &V21_10,
        ServerLine::V22_10 => &V22_10,
        ServerLine::V23_10 => &V23_10,
        ServerLine::V24_10 => &V24_10,
        ServerLine::V25_0 => &V25_0,
        ServerLine::V25_1 => &V25_1,
        ServerLine::V26 => &V26,
    }
}

/// Whether a server of the line was run, and not only its source read. Of 26 that is 26.0.3: single node, clusters, random
/// faults and compose.
pub(crate) fn was_watched(line: ServerLine) -> bool {
    matches!(line, ServerLine::V22_10 | ServerLine::V23_10 | ServerLine::V24_10 | ServerLine::V25_0 | ServerLine::V26)
}
