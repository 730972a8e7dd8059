//! What servers refuse: one row for each way, with the lines that do it and the document that says so.
//!
//! observed = `eventstore-observed.md` (24.10), lines = `eventstore-observed-lines.md` (22.10, 23.10), observed-25 =
//! `eventstore-observed-25.md`, contract = `eventstore-contract.md` (by source, and all there is for 21.10 and 26).

use serde::Serialize;

use super::line::Line::{self, V21_10, V22_10, V23_10, V24_10, V25, V26};

/// How a refusal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The server ends itself with exit code 1.
    Start,
    /// Every node starts, and they never become a cluster.
    Cluster,
    /// The server starts, and who dials it by that name refuses its certificate.
    Dial,
    /// The server closes the connection of whoever shows this certificate.
    Login,
}

impl Effect {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Start => "the server ends itself at its start",
            Self::Cluster => "the nodes never form a cluster",
            Self::Dial => "clients refuse the server",
            Self::Login => "the server refuses the connection",
        }
    }
}

/// Which of the observations have the row. What one of the later two does not list is as on 24.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Each has a row of its own.
    InEach,
    /// The one on 24.10 alone.
    OnceForAll,
    /// None; it is in the source.
    Never,
}

/// One way of being refused.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its name, for programs; stable.
    pub(super) code: &'static str,
    pub(super) effect: Effect,
    lines: &'static [Line],
    seen: Seen,
    contract: &'static str,
}

const ALL: &[Line] = &Line::ALL;
const READS_PKCS1_ALONE: &[Line] = &[V21_10, V22_10];
const READS_PKCS8: &[Line] = &[V23_10, V24_10, V25, V26];
const CHECKS_USAGES: &[Line] = &[V24_10, V25, V26];

const fn start(code: &'static str, lines: &'static [Line], seen: Seen, contract: &'static str) -> Rule {
    Rule { code, effect: Effect::Start, lines, seen, contract }
}

const fn cluster(code: &'static str, lines: &'static [Line], seen: Seen, contract: &'static str) -> Rule {
    Rule { code, effect: Effect::Cluster, lines, seen, contract }
}

pub(super) static NOTHING_FOUND: Rule = start("nothing-found", ALL, Seen::Never, "contract §4.2");

pub(super) static KEY_NOT_RSA: Rule = start("key-not-rsa", ALL, Seen::InEach, "contract §4.1");
pub(super) static KEY_PKCS8: Rule = start("key-pkcs8", READS_PKCS1_ALONE, Seen::InEach, "contract §4.1");
pub(super) static KEY_ENCRYPTED: Rule = start("key-encrypted", READS_PKCS1_ALONE, Seen::InEach, "contract §4.1");
pub(super) static KEY_NEEDS_PASSWORD: Rule = start("key-needs-password", READS_PKCS8, Seen::InEach, "contract §4.1");
pub(super) static KEY_SHAPE: Rule = start("key-shape", ALL, Seen::InEach, "contract §4.1");
pub(super) static KEY_UNREADABLE: Rule = start("key-unreadable", ALL, Seen::Never, "contract §4.1");
pub(super) static KEY_MISMATCH: Rule = start("key-mismatch", ALL, Seen::InEach, "contract §4.2");

pub(super) static NOT_YET_VALID: Rule = start("not-yet-valid", ALL, Seen::OnceForAll, "contract §4.2");
pub(super) static EXPIRED: Rule = start("expired", ALL, Seen::OnceForAll, "contract §4.2");
pub(super) static UNKNOWN_ROOT: Rule = start("unknown-root", ALL, Seen::Never, "contract §4.2");
pub(super) static ROOT_NOT_READ: Rule = start("root-not-read", ALL, Seen::Never, "contract §4.1");
pub(super) static INTERMEDIATE_MISSING: Rule = start("intermediate-missing", ALL, Seen::Never, "contract §4.1");
pub(super) static INTERMEDIATE_SELF_SIGNED: Rule = start("intermediate-self-signed", ALL, Seen::Never, "contract §4.1");
pub(super) static LEAF_NOT_FIRST: Rule = start("leaf-not-first", ALL, Seen::Never, "contract §4.1");
pub(super) static SIGNER_NOT_CA: Rule = start("signer-not-ca", ALL, Seen::Never, "contract §4.2");
pub(super) static PATH_TOO_LONG: Rule = start("path-too-long", ALL, Seen::Never, "contract §4.2");

pub(super) static NO_USABLE_ROOT: Rule = start("no-usable-root", ALL, Seen::OnceForAll, "contract §4.1");
pub(super) static NOT_SELF_SIGNED_AMONG_ROOTS: Rule =
    start("not-self-signed-among-roots", ALL, Seen::OnceForAll, "contract §4.1");
pub(super) static ROOT_UNREADABLE: Rule = start("root-unreadable", ALL, Seen::Never, "contract §4.1");

pub(super) static OTHER_COMMON_NAME: Rule =
    cluster("other-common-name", READS_PKCS1_ALONE, Seen::InEach, "contract §4.3");
pub(super) static DIFFERENT_COMMON_NAMES: Rule = cluster("different-common-names", ALL, Seen::InEach, "contract §4.3");
pub(super) static NO_NAMES: Rule = cluster("no-names", ALL, Seen::Never, "contract §4.3");
pub(super) static HOST_MISSING_FOR_NODES: Rule = cluster("host-missing", ALL, Seen::InEach, "contract §4.3");
pub(super) static HOST_MISSING_FOR_CLIENTS: Rule =
    Rule { code: "host-missing", effect: Effect::Dial, lines: ALL, seen: Seen::Never, contract: "contract §4.3" };
pub(super) static KEY_USAGE: Rule = cluster("key-usage", CHECKS_USAGES, Seen::InEach, "contract §4.4");
pub(super) static EXTENDED_KEY_USAGE: Rule =
    cluster("extended-key-usage", CHECKS_USAGES, Seen::InEach, "contract §4.4");

pub(super) static USER_UNKNOWN_ROOT: Rule = Rule {
    code: "user-unknown-root",
    effect: Effect::Login,
    lines: ALL,
    seen: Seen::OnceForAll,
    contract: "contract §4.5",
};
pub(super) static USER_OUT_OF_DATE: Rule =
    Rule { code: "user-out-of-date", effect: Effect::Login, lines: ALL, seen: Seen::Never, contract: "contract §4.5" };

impl Rule {
    /// Which of the lines refuse.
    pub(super) fn among(&self, lines: &[Line]) -> Vec<Line> {
        lines.iter().copied().filter(|line| self.lines.contains(line)).collect()
    }

    /// Where it is written, for these lines, without repetition.
    pub(super) fn sources(&self, lines: &[Line]) -> Vec<&'static str> {
        let mut sources = Vec::new();
        for line in lines {
            let source = self.source(*line);
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources
    }

    fn source(&self, line: Line) -> &'static str {
        match (self.seen, line) {
            (Seen::Never, _) | (_, V21_10 | V26) => self.contract,
            (Seen::OnceForAll, _) | (Seen::InEach, V24_10) => "observed §7",
            (Seen::InEach, V22_10 | V23_10) => "lines §E",
            (Seen::InEach, V25) => "observed-25 §E",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_the_documents_of_the_lines_that_refuse() {
        let lines = KEY_USAGE.among(&Line::ALL);
        assert_eq!(lines, [V24_10, V25, V26]);
        assert_eq!(KEY_USAGE.sources(&lines), ["observed §7", "observed-25 §E", "contract §4.4"]);
        assert_eq!(KEY_PKCS8.sources(&KEY_PKCS8.among(&[V22_10])), ["lines §E"]);
        assert_eq!(EXPIRED.sources(&[V22_10, V25]), ["observed §7"]);
        assert!(KEY_PKCS8.among(&[V24_10]).is_empty());
    }
}
