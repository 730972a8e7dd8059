//! The server as a child: guard starts itself with a hidden command, ties the new process to its parent's life, and lets it
//! become the server. Without this step the tie would need code between fork and exec, which is unsafe in Rust.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid};

use crate::cli::BECOME;
use crate::environment::is_withheld;

/// Starts a server with guard's own standard streams.
pub(crate) fn start(program: &[OsString]) -> io::Result<Pid> {
    let withheld = std::env::vars_os().map(|(name, _)| name).filter(|name| is_withheld(&name.to_string_lossy()));
    // The binary may be replaced on its volume while it runs; this is the one that runs.
    let mut command = Command::new("/proc/self/exe");
    command.arg(BECOME).arg(getpid().to_string()).args(program);
    for name in withheld {
        command.env_remove(name);
    }
    let child = command.spawn()?;
    // Reaped with all other children in one place, so the handle is not kept.
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

/// Becomes the server; returns only if that fails.
pub(crate) fn execute(parent: i32, program: &[OsString]) -> ExitCode {
    let Some((name, arguments)) = program.split_first() else {
        log!("error: `{BECOME}` is internal; use `guard run`");
        return ExitCode::from(2);
    };
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        log!("error: could not tie the server to guard's life: {error}");
        return ExitCode::from(126);
    }
    // The parent may have died before the tie was made.
    if getppid() != Pid::from_raw(parent) {
        return ExitCode::from(126);
    }
    // guard blocks signals to wait for them, and a mask is inherited.
    if let Err(error) = SigSet::all().thread_unblock() {
        log!("error: could not unblock the server's signals: {error}");
        return ExitCode::from(126);
    }
    let error = Command::new(name).args(arguments).exec();
    log!("error: could not execute `{}`: {error}", name.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}
