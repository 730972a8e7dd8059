//! The configurations whose stacks are checked in, for tests of what is inside. They are read when they are needed: a package has none.

use std::fs;
use std::path::Path;

/// The configuration of a scenario below `tests/golden`.
pub(crate) fn text_of(scenario: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(scenario).join("eventstore.toml");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
