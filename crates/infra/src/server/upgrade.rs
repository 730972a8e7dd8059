//! Which lines were seen to open each other's data, and go back again.

use crate::values::ServerLine;

use ServerLine::{V22_10, V23_10, V24_10, V25_0};

/// A change of the line that opens the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// None: both are the same line.
    None,
    /// Seen to work in both directions, so that ECS may roll a deployment back by itself.
    Seen,
    /// Never seen to work, or not in both directions.
    Unseen,
    /// Seen on the directory of a single node, but never in a cluster in which other nodes are still of the old line, which
    /// every update of a cluster is for a while.
    UnseenInClusters,
}

/// Pairs of lines that were run on one directory in turn, up and down: every event and every password was there in every stage
/// (observed-25 §G); and whether also node by node in a cluster of both (§H).
const SEEN: [(ServerLine, ServerLine, bool); 5] = [
    (V22_10, V24_10, false),
    (V22_10, V25_0, false),
    (V23_10, V24_10, true),
    (V23_10, V25_0, true),
    (V24_10, V25_0, true),
];

/// What is known of data that the line `from` opened last when `to` opens it, in a cluster or by a single node. The same in
/// both directions.
pub(crate) fn jump(from: ServerLine, to: ServerLine, cluster: bool) -> Jump {
    if from == to {
        return Jump::None;
    }
    let (older, newer) = (from.min(to), from.max(to));
    match SEEN.iter().find(|(one, other, _)| (*one, *other) == (older, newer)) {
        Some((_, _, mixed)) if *mixed || !cluster => Jump::Seen,
        Some(_) => Jump::UnseenInClusters,
        None => Jump::Unseen,
    }
}

impl Jump {
    /// Whether ECS may go back to the old line by itself.
    pub(crate) fn may_be_rolled_back(self) -> bool {
        matches!(self, Self::None | Self::Seen)
    }

    /// Why not; `None` if it may.
    pub(crate) fn risk(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Seen => None,
            Self::Unseen => Some("nobody has seen these two lines open each other's data, there and back"),
            Self::UnseenInClusters => Some(
                "22.10 was seen to share its data with the other line on a single node only, and the nodes of a cluster, which \
                 change their line one by one, were not",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_in_both_directions_may_be_rolled_back() {
        let mut seen = Vec::new();
        for from in ServerLine::ALL {
            for to in ServerLine::ALL {
                let [alone, together] = [false, true].map(|cluster| jump(from, to, cluster));
                assert_eq!(alone, jump(to, from, false));
                assert_eq!(together, jump(to, from, true));
                assert_eq!(alone == Jump::None, from == to);
                assert!(!together.may_be_rolled_back() || alone.may_be_rolled_back());
                assert_eq!(alone.risk().is_none(), alone.may_be_rolled_back());
                assert_eq!(together.risk().is_none(), together.may_be_rolled_back());
                if from < to && alone == Jump::Seen {
                    seen.push((from.as_str(), to.as_str(), together == Jump::Seen));
                }
            }
        }
        assert_eq!(
            seen,
            [
                ("22.10", "24.10", false),
                ("22.10", "25.0", false),
                ("23.10", "24.10", true),
                ("23.10", "25.0", true),
                ("24.10", "25.0", true),
            ]
        );
    }
}
