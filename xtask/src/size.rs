//! Sizes of the static release binaries: what an image holds, and what a registry transfers.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::build;
use crate::{Failure, table};

/// What builds certgen without AWS and without `certgen verify`.
pub(crate) const WITHOUT_FEATURES: &[&str] = &["--no-default-features"];

/// Builds and prints.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let mut rows = vec![vec!["binary".to_owned(), "raw".to_owned(), "gzip -9".to_owned()]];
    // A panicking bootstrap restarts what panicked; the others have nothing to restart.
    for (name, package, profile, arguments) in [
        ("certgen without features", "certgen", "dist-abort", WITHOUT_FEATURES),
        ("certgen", "certgen", "dist-abort", &[]),
        ("guard", "guard", "dist-abort", &[]),
        ("bootstrap", "bootstrap", "dist", &[]),
        ("infra", "infra", "dist", &[]),
    ] {
        let path = build::static_binary_with(root, package, package, profile, arguments)?;
        let (raw, compressed) = of(&path)?;
        rows.push(vec![name.to_owned(), mebibytes(raw), mebibytes(compressed)]);
    }
    eprint!("{}", table(&rows));
    Ok(())
}

/// Bytes of a file, raw and compressed.
pub(crate) fn of(path: &Path) -> Result<(usize, usize), Failure> {
    let bytes = fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = gzip.write_all(&bytes).and_then(|()| gzip.finish()).map_err(Failure::io("compress"))?;
    Ok((bytes.len(), compressed.len()))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of a few mebibytes, printed with two decimals")]
pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
