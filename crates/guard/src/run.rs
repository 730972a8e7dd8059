//! `guard run`: wait for the lock, then be the server's parent.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::child;
use crate::cli::Settings;
use crate::lock::LockFile;
use crate::restarts::{LIMIT, Restarts, WINDOW};
use crate::signals::{Signals, asks_for_the_end};

const LOCK_RETRY: Duration = Duration::from_secs(1);
const LOCK_LOG_INTERVAL: Duration = Duration::from_secs(10);

const CANNOT_LOCK: u8 = 74;
const ENDED_TOO_OFTEN: u8 = 75;

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(Signal),
}

impl End {
    fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            Self::Signal(signal) => u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
        }
    }
}

/// Runs until the server has ended for good.
pub(crate) fn run(settings: &Settings) -> ExitCode {
    match supervise(settings) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say!("error: {error}");
            ExitCode::from(CANNOT_LOCK)
        }
    }
}

fn supervise(settings: &Settings) -> io::Result<u8> {
    let signals = Signals::block()?;
    let Some(_lock) = lock(settings, &signals)? else { return Ok(0) };
    let mut restarts = Restarts::default();
    loop {
        let server = child::start(settings)?;
        let (end, asked) = stay(server, &signals)?;
        if asked || end != End::Code(0) {
            if let End::Signal(signal) = end {
                say!("guard: the server died of {signal}");
            }
            return Ok(end.exit_code());
        }
        if !restarts.allow(Instant::now()) {
            let minutes = WINDOW.as_secs() / 60;
            say!("guard: the server ended itself with code 0 more than {LIMIT} times in {minutes} minutes; giving up");
            return Ok(ENDED_TOO_OFTEN);
        }
        say!("guard: the server ended itself with code 0; starting it again");
    }
}

/// Waits for the lock without end; `None` if somebody asked for the end first.
fn lock(settings: &Settings, signals: &Signals) -> io::Result<Option<LockFile>> {
    let mut file = LockFile::open(&settings.data_dir).map_err(io::Error::other)?;
    let mut last_line: Option<Instant> = None;
    loop {
        let holder = match file.try_lock().map_err(io::Error::other)? {
            Ok(()) => return Ok(Some(file)),
            Err(holder) => holder,
        };
        if last_line.is_none_or(|at| at.elapsed() >= LOCK_LOG_INTERVAL) {
            say!("guard: waiting for the lock on {}, held by {holder}", settings.data_dir.display());
            last_line = Some(Instant::now());
        }
        if signals.next(Some(LOCK_RETRY))?.is_some_and(asks_for_the_end) {
            say!("guard: asked to end while waiting for the lock; nothing was started");
            return Ok(None);
        }
    }
}

/// Forwards signals until the server has ended. Tells how, and whether its end was asked for.
fn stay(server: Pid, signals: &Signals) -> io::Result<(End, bool)> {
    let mut asked = false;
    loop {
        match signals.next(None)? {
            Some(Signal::SIGCHLD) => {
                if let Some(end) = reap(server)? {
                    return Ok((end, asked));
                }
            }
            Some(signal) => {
                asked |= asks_for_the_end(signal);
                match kill(server, signal) {
                    // It has ended, and SIGCHLD is on its way.
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            None => {}
        }
    }
}

/// Reaps every child that has ended; as PID 1 of a container guard inherits the orphans of others.
fn reap(server: Pid) -> io::Result<Option<End>> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == server => end = Some(End::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == server => end = Some(End::Signal(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(end),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
