//! What came of the checks: data on stdout, one line each.

use std::io::{self, Write as _};

use serde::Serialize;

use super::check::{Backing, Check, Scope};
use super::found::Difference;

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is as documented.
    Ok,
    /// A real server of this line was seen to do otherwise.
    Failed,
    /// The contract, read from source or taken over from another line, is not what this server does.
    Refuted,
    NotRun,
}

/// One line of the result.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) source: &'static str,
    pub(super) contract_only: bool,
    pub(super) outcome: Outcome,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) differences: Vec<Difference>,
    pub(super) milliseconds: u128,
}

#[derive(Serialize)]
struct Listed {
    id: &'static str,
    what: &'static str,
    source: &'static str,
    needs: Vec<&'static str>,
}

/// Writes results as they come.
#[derive(Debug, Default)]
pub(super) struct Report {
    json: bool,
    counts: [usize; 4],
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.counts[record.outcome as usize] += 1;
        let text = if self.json { as_json(record) } else { for_people(record) };
        print(&text);
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.counts[outcome as usize]
    }

    pub(super) fn summary(&self) -> String {
        let [ok, failed, refuted, not_run] = self.counts;
        format!("{ok} ok, {failed} failed, {refuted} refuted (contract only), {not_run} not run")
    }
}

/// Lists checks instead of making them.
pub(super) fn list(checks: &[Check], json: bool) {
    for check in checks {
        let mut needs = Vec::new();
        if check.needs_consent {
            needs.push("consent");
        }
        if check.needs_node_certificate {
            needs.push("node certificate");
        }
        if matches!(check.scope, Scope::Cluster | Scope::EachFollower) {
            needs.push("cluster");
        }
        let (id, what, source) = (check.id, check.what, check.source);
        print(&if json {
            as_json(&Listed { id, what, source, needs })
        } else {
            let needs = if needs.is_empty() { String::new() } else { format!(" (needs {})", needs.join(", ")) };
            format!("{id:<28} {what} [{source}]{needs}\n")
        });
    }
}

fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers always serialise") + "\n"
}

fn for_people(record: &Record) -> String {
    let outcome = match record.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "FAILED",
        Outcome::Refuted => "REFUTED",
        Outcome::NotRun => "not run",
    };
    let backing = if record.contract_only { Backing::ContractOnly } else { Backing::Watched };
    let Record { id, what, source, .. } = record;
    let reason = record.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let line = format!("{outcome:<8} {id:<28} {what} [{source}; {backing}]{reason}\n");
    let difference = |Difference { of, expected, found }: &Difference| {
        format!("           {of}\n             expected: {expected}\n             found:    {found}\n")
    };
    line + &record.differences.iter().map(difference).collect::<Vec<_>>().concat()
}

/// A reader that went away does not keep the run from putting things back.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
