//! Tests that documents name: `infra/tests/cluster.rs::a_name`, the file seen from `crates/`.

use std::fs;
use std::path::Path;

/// Whether the test that is named `file::name` exists.
///
/// # Errors
///
/// What is wrong with the name, in words.
pub fn look_up(named: &str) -> Result<(), String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (file, name) = named.rsplit_once("::").ok_or_else(|| format!("`{named}` is not `FILE::TEST`"))?;
    let text = fs::read_to_string(crates.join(file)).map_err(|error| format!("crates/{file}: {error}"))?;
    let before = text.split_once(&format!("fn {name}(")).map(|(before, _)| before.trim_end());
    let line =
        before.and_then(|text| text.lines().rev().map(str::trim).find(|line| *line != "async" && !line.is_empty()));
    // An attribute, a comment above which it stands, or both on the line of an `async fn`.
    let is_marked =
        line.is_some_and(|line| line.starts_with("#[") || line.starts_with("///") || line.ends_with("async"));
    if is_marked { Ok(()) } else { Err(format!("`{named}` is no test")) }
}
