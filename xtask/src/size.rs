//! Sizes of the static release binaries: what an image holds, and what a registry transfers.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::build;
use crate::{Failure, table};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds and prints.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let target = build::target(root).join("dist");
    let mut rows = vec![vec!["binary".to_owned(), "raw".to_owned(), "gzip -9".to_owned()]];
    // A panicking bootstrap restarts what panicked; the others have nothing to restart.
    for (package, profile) in
        [("certgen", "dist-abort"), ("guard", "dist-abort"), ("bootstrap", "dist"), ("infra", "dist")]
    {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--profile", profile, "--target", TARGET, "-p", package, "--bin", package]);
        cargo.arg("--target-dir").arg(&target).env("RUSTFLAGS", "-C target-feature=+crt-static");
        build::run(cargo.current_dir(root), "cargo build")?;
        let path = target.join(TARGET).join(profile).join(package);
        let bytes = fs::read(&path).map_err(Failure::io(&format!("read {}", path.display())))?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let compressed = gzip.write_all(&bytes).and_then(|()| gzip.finish()).map_err(Failure::io("compress"))?;
        rows.push(vec![package.to_owned(), mebibytes(bytes.len()), mebibytes(compressed.len())]);
    }
    eprint!("{}", table(&rows));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a few mebibytes, printed with two decimals")]
fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
