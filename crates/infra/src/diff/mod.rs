//! What deploying one assembly after another would change, and what of that must not happen by accident: nothing that holds
//! state is replaced or taken away, no password is generated anew, no node moves.

mod cause;
mod compare;
mod judge;
mod known;
mod show;
mod snapshot;

use std::fmt;

use serde_json::Value;

pub use self::compare::{Change, Property, What};
pub use self::judge::Refusal;
pub use self::known::create_only;
pub use self::snapshot::{Snapshot, SnapshotError};
use crate::config::Config;

/// The differences of two assemblies. It is shown as text without what nobody may read, grouped by stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// In the order of deployment, and then of logical ids.
    pub changes: Vec<Change>,
    /// What a person has to accept by name.
    pub refused: Vec<Refusal>,
    /// What is allowed and yet should be known.
    pub notes: Vec<String>,
}

impl Diff {
    /// What deploying `new` over `old` does.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let changes = compare::changes(old, new);
        let refused = judge::refusals(old, new, &changes);
        let notes = judge::notes(old, new, &changes);
        Self { changes, refused, notes }
    }

    /// Names in every refusal the keys that cause it, found by taking back one change of the configuration after another.
    /// `synth` makes the assembly of a configuration; `old` is that of the first text.
    pub(crate) fn explain(&mut self, texts: (&str, &str), old: &Snapshot, synth: impl Fn(Config) -> Option<Snapshot>) {
        if !self.refused.is_empty() {
            cause::find(self, texts, old, synth);
        }
    }

    /// Accepts refusals by name: a logical id, `<stack>/<logical id>`, or the key that the refusal is named by. Gives the names
    /// that no refusal has.
    pub fn allow(&mut self, names: &[String]) -> Vec<String> {
        let means = |name: &str, refusal: &Refusal| {
            name == refusal.name || name == format!("{}/{}", refusal.stack, refusal.name)
        };
        let unused = names.iter().filter(|name| !self.refused.iter().any(|refusal| means(name, refusal)));
        let unused = unused.cloned().collect();
        self.refused.retain(|refusal| !names.iter().any(|name| means(name, refusal)));
        unused
    }

    /// The same for machines: `changes`, `refused` and `notes`.
    pub fn to_json(&self) -> Value {
        show::json(self)
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show::text(self))
    }
}
