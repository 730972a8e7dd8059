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
    let before = text.split_once(&format!("fn {name}(")).map_or("", |(before, _)| before);
    // The attributes and comments that stand above it.
    let above = before.lines().rev().skip(usize::from(!before.ends_with('\n'))).map(str::trim);
    let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//") || line.ends_with(")]"));
    let is_test = above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    if is_test { Ok(()) } else { Err(format!("`{named}` is no test")) }
}
