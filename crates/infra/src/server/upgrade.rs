//! Which server versions were seen to open each other's data, up and back again.

use crate::values::ServerLine;

use ServerLine::{V21_10, V22_10, V23_10, V24_10, V25_0, V25_1, V26};

/// A change of the server version that opens the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jump {
    /// The version stays the same.
    None,
    /// The change was seen to work in both directions, so a rollback may start the old version on the data.
    Seen,
    /// The change was never seen to work, or not in both directions.
    Unseen,
    /// The change was seen on the directory of a single node. It was not seen in a cluster in which other nodes still run the
    /// old version, as in every update of a cluster.
    UnseenInClusters,
}

/// Pairs of versions that were run on one directory in turn, up and down: every event and every password was there in every stage.
/// The last field says whether a cluster of three was updated and taken back node by node as well.
///
/// Seen with 22.10.5, 23.10.6, 24.10.4, 24.10.13, 25.0.1 and 26.0.3, with little data. From 24.10 to 26.0 and back a client appended
/// all the time, and no acknowledged append was lost.
const SEEN: [(ServerLine, ServerLine, bool); 6] = [
    (V22_10, V24_10, false),
    (V22_10, V25_0, false),
    (V23_10, V24_10, true),
    (V23_10, V25_0, true),
    (V24_10, V25_0, true),
    (V24_10, V26, true),
];

/// The version that guard records in the data directory: year and month of the release. Patch levels share their data.
pub(crate) fn data_version(line: ServerLine) -> &'static str {
    match line {
        V21_10 => "21.10",
        V22_10 => "22.10",
        V23_10 => "23.10",
        V24_10 => "24.10",
        V25_0 => "25.0",
        V25_1 => "25.1",
        // The image is that of 26.0.3.
        V26 => "26.0",
    }
}

/// The other versions whose data a server of `line` is declared to open, oldest first: those that were seen to work in both
/// directions, and the one that an upgrade comes from.
///
/// This is also what an old task definition allows when a rollback starts it after the upgrade: the newer version is in its list
/// only if going back was seen to work.
pub(crate) fn opens_data_of(line: ServerLine, upgrade_from: Option<ServerLine>, cluster: bool) -> Vec<ServerLine> {
    let is_declared = |other: &ServerLine| jump(*other, line, cluster) == Jump::Seen || upgrade_from == Some(*other);
    ServerLine::ALL.into_iter().filter(|other| *other != line && is_declared(other)).collect()
}

/// What is known about a server of `to` that opens data which `from` opened last, in a cluster or on a single node. The result is
/// the same in both directions.
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
    /// Why a rollback must not start the old version; `None` if it may.
    pub(crate) fn risk(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Seen => None,
            Self::Unseen => {
                Some("these two server versions were not seen to open each other's data in both directions")
            }
            Self::UnseenInClusters => Some(
                "22.10 was seen to share its data with the other version on a single node only, not in a cluster whose nodes are \
                 updated one by one",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_seen_in_both_directions_may_be_rolled_back() {
        let mut seen = Vec::new();
        for from in ServerLine::ALL {
            for to in ServerLine::ALL {
                let [alone, together] = [false, true].map(|cluster| jump(from, to, cluster));
                assert_eq!(alone, jump(to, from, false));
                assert_eq!(together, jump(to, from, true));
                assert_eq!(alone == Jump::None, from == to);
                let is_safe = |jump: Jump| matches!(jump, Jump::None | Jump::Seen);
                assert!(!is_safe(together) || is_safe(alone));
                assert_eq!(alone.risk().is_none(), is_safe(alone));
                assert_eq!(together.risk().is_none(), is_safe(together));
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
                ("24.10", "26", true),
            ]
        );
    }
    /// guard takes two numbers, and compares them to find the newest version.
    #[test]
    fn data_versions_are_two_numbers_in_the_order_of_the_lines() {
        let numbers = |line| {
            let (major, minor) = data_version(line).split_once('.').unwrap();
            (major.parse::<u16>().unwrap(), minor.parse::<u16>().unwrap())
        };
        assert!(ServerLine::ALL.map(numbers).is_sorted_by(|one, next| one < next));
        for line in ServerLine::ALL {
            assert!(data_version(line).starts_with(line.as_str()), "{}", line.as_str());
        }
    }

    #[test]
    fn an_upgrade_declares_the_version_it_comes_from() {
        let names =
            |from, cluster| -> Vec<_> { opens_data_of(V25_1, from, cluster).into_iter().map(data_version).collect() };
        assert!(names(None, false).is_empty());
        assert_eq!(names(Some(V24_10), true), ["24.10"]);
        assert!(names(Some(V25_1), true).is_empty(), "its own version needs no declaration");
        assert_eq!(opens_data_of(V24_10, Some(V22_10), true), [V22_10, V23_10, V25_0, V26]);
        assert_eq!(opens_data_of(V24_10, None, true), [V23_10, V25_0, V26]);
        assert_eq!(opens_data_of(V24_10, None, false), [V22_10, V23_10, V25_0, V26]);
    }
}
