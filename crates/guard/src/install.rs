//! Puts guard where the server's container finds it: the image of an insecure server's init container holds it, and
//! there is no certgen that would.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Anybody may run it, nobody change it.
const MODE: u32 = 0o555;

/// Copies the program that runs to `file`: complete and durable, or not at all.
pub(crate) fn install(file: &Path) -> io::Result<()> {
    let new = staged(file)?;
    let installed = copy(&new).and_then(|()| fs::rename(&new, file));
    if installed.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&new);
    }
    installed?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn staged(file: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
    let mut new = name.to_owned();
    new.push(".new");
    Ok(file.with_file_name(new))
}

fn copy(new: &Path) -> io::Result<()> {
    // Left by a run that was killed.
    if new.symlink_metadata().is_ok() {
        fs::remove_file(new)?;
    }
    let mut from = File::open("/proc/self/exe")?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o700).open(new)?;
    io::copy(&mut from, &mut to)?;
    to.flush()?;
    to.set_permissions(fs::Permissions::from_mode(MODE))?;
    to.sync_all()
}
