//! `guard run`: take the directory over, then be the parent of its server. `guard exec`: the same for a program that runs once.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::child;
use crate::cli::{LockSettings, RunSettings};
use crate::failure::Failure;
use crate::heartbeat::{Heartbeat, Loss};
use crate::identity;
use crate::restarts::{LIMIT, Restarts, WINDOW};
use crate::restore;
use crate::signals::{Signals, requests_end};
use crate::status::{State, Status};
use crate::takeover;
use crate::version;

/// How often the heartbeat of a running server is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// ECS kills what has not ended 120 s after SIGTERM, and a server may take 31 s of them (seen on 22.10 with a request under way).
const SIGN_OFF_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last attempt may take that is made after guard itself was not running.
const LAST_ATTEMPT_PATIENCE: Duration = Duration::from_secs(10);

const ENDED_TOO_OFTEN: u8 = 75;
const NOT_STARTED: u8 = 126;

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
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
pub(crate) fn run(settings: &RunSettings) -> ExitCode {
    let mut status = Status::new(settings.status_file.as_deref());
    // What an earlier guard of this task left there is out of date.
    status.enter(State::WaitingForLock);
    let outcome = supervise(settings, &mut status);
    if outcome.is_err() {
        status.enter(State::Ended);
    }
    report(outcome)
}

/// Runs a program once, with the lock.
pub(crate) fn exec(settings: &LockSettings, program: &[OsString]) -> ExitCode {
    report(run_once(settings, program))
}

/// Waits for SIGTERM, and reaps what others leave behind.
pub(crate) fn pause() -> ExitCode {
    let wait = || {
        let signals = Signals::block()?;
        loop {
            match signals.next(None)? {
                Some(signal) if requests_end(signal) => return Ok(0),
                _ => {
                    reap(None)?;
                }
            }
        }
    };
    report(wait())
}

fn report(outcome: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(outcome.unwrap_or_else(|failure| {
        log!("error: {failure}");
        if let Some(hint) = failure.hint() {
            log!("hint: {hint}");
        }
        failure.exit_code()
    }))
}

/// Blocks signals, and makes this process the one that orphans of the server come to, also where it is not PID 1.
fn become_parent() -> Result<Signals, Failure> {
    let signals = Signals::block()?;
    prctl::set_child_subreaper(true).map_err(std::io::Error::from)?;
    Ok(signals)
}

fn holder_name() -> String {
    identity::name(std::env::var_os("ECS_CONTAINER_METADATA_URI_V4").as_deref())
}

fn supervise(settings: &RunSettings, status: &mut Status) -> Result<u8, Failure> {
    let signals = become_parent()?;
    let taken = takeover::take(&settings.lock, &holder_name(), &signals, status, |data_dir| admit(settings, data_dir))?;
    let Some(heartbeat) = taken else {
        log!("guard: signalled to end while waiting; no server was started");
        status.enter(State::Ended);
        return Ok(0);
    };
    if let Err(failure) = prepare(settings) {
        sign_off(&heartbeat);
        return Err(failure);
    }
    let mut restarts = Restarts::default();
    loop {
        if was_signalled(&signals)? {
            log!("guard: signalled to end before the server was started");
            sign_off(&heartbeat);
            status.enter(State::Ended);
            return Ok(0);
        }
        let server = match child::start(&settings.program) {
            Ok(server) => server,
            Err(error) => {
                log!("error: could not start the server: {error}");
                sign_off(&heartbeat);
                status.enter(State::Ended);
                return Ok(NOT_STARTED);
            }
        };
        status.enter(State::Running);
        let (end, is_requested) =
            Supervisor { server, signals: &signals, heartbeat: &heartbeat, settings: &settings.lock }.wait(status)?;
        let again = !is_requested && end == End::Code(0) && restarts.allow(Instant::now());
        status.server_ended(end, again);
        if again {
            log!("guard: the server ended itself with code 0; starting it again");
            continue;
        }
        sign_off(&heartbeat);
        status.enter(State::Ended);
        if !is_requested && end == End::Code(0) {
            let minutes = WINDOW.as_secs() / 60;
            log!("guard: the server ended itself with code 0 more than {LIMIT} times in {minutes} minutes; giving up");
            return Ok(ENDED_TOO_OFTEN);
        }
        if let End::Signal(signal) = end {
            log!("guard: the server was ended by {signal}");
        }
        return Ok(end.exit_code());
    }
}

fn run_once(settings: &LockSettings, program: &[OsString]) -> Result<u8, Failure> {
    let signals = become_parent()?;
    let mut status = Status::new(None);
    let Some(heartbeat) = takeover::take(settings, &holder_name(), &signals, &mut status, |_| Ok(()))? else {
        log!("guard: signalled to end while waiting; nothing was run");
        return Ok(0);
    };
    let outcome = match child::start(program) {
        Ok(server) => {
            let (end, _) =
                Supervisor { server, signals: &signals, heartbeat: &heartbeat, settings }.wait(&mut status)?;
            end.exit_code()
        }
        Err(error) => {
            log!("error: could not start the program: {error}");
            NOT_STARTED
        }
    };
    sign_off(&heartbeat);
    Ok(outcome)
}

/// Whether the server may open the directory. A directory that was restored since is taken for what its operator says it is.
fn admit(settings: &RunSettings, data_dir: &Path) -> Result<(), Failure> {
    if let Some(point) = &settings.restored
        && restore::is_due(data_dir, point)?
    {
        return Ok(());
    }
    Ok(version::check(data_dir, settings.server.as_ref())?)
}

/// What the directory needs before its server starts for the first time: the truncation of a restored one, and the record of the version.
fn prepare(settings: &RunSettings) -> Result<(), Failure> {
    let data_dir = &settings.lock.data_dir;
    if let Some(point) = &settings.restored
        && restore::is_due(data_dir, point)?
    {
        restore::begin(data_dir)?;
        let reset = version::reset(data_dir, settings.server.as_ref())?;
        restore::finish(data_dir, point)?;
        log!("guard: {} was restored from {point}: the server truncates it at chaser.chk", data_dir.display());
        if let Some(versions) = reset {
            log!("guard: the recorded server version was reset by the restore, it was {versions}");
        }
    }
    // Again, as it may have changed while guard waited.
    version::check(data_dir, settings.server.as_ref())?;
    match &settings.server {
        Some(server) => Ok(version::record(data_dir, server)?),
        None => Ok(()),
    }
}

/// Only when no server runs.
fn sign_off(heartbeat: &Heartbeat) {
    if let Err(error) = heartbeat.sign_off(SIGN_OFF_PATIENCE) {
        log!("guard: could not sign off, the next guard will wait: {error}");
    }
}

/// Whether SIGTERM came while no server ran. Orphans that ended meanwhile are reaped with the next one.
fn was_signalled(signals: &Signals) -> Result<bool, Failure> {
    while let Some(signal) = signals.next(Some(Duration::ZERO))? {
        if requests_end(signal) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A running server with its lock.
struct Supervisor<'a> {
    server: Pid,
    signals: &'a Signals,
    heartbeat: &'a Heartbeat,
    settings: &'a LockSettings,
}

impl Supervisor<'_> {
    /// Forwards signals and checks the heartbeat until the server has ended: how, and whether a signal had requested it.
    ///
    /// # Errors
    ///
    /// [`Failure::LockLost`] when the server was killed because the lock may be lost. That is not signed off: the next guard waits until
    /// the heartbeat has stopped, and fences.
    fn wait(&self, status: &mut Status) -> Result<(End, bool), Failure> {
        let mut is_requested = false;
        let mut slow = SlowHeartbeat::default();
        let mut checked = Instant::now();
        loop {
            let since_last_check = checked.elapsed();
            checked = Instant::now();
            if let Some(loss) = self.heartbeat.loss()
                && !self.survives(&loss, since_last_check)?
            {
                self.forward(Signal::SIGKILL)?;
                while reap(Some(self.server))?.is_none() {
                    self.signals.next(Some(CHECK_INTERVAL))?;
                }
                return Err(Failure::LockLost(self.settings.data_dir.clone(), loss));
            }
            slow.observe(self.heartbeat.unanswered_for(), self.settings, status);
            let until_next_check = self.settings.heartbeat_interval.min(CHECK_INTERVAL).min(self.heartbeat.time_left());
            match self.signals.next(Some(until_next_check))? {
                Some(Signal::SIGCHLD) => {
                    if let Some(end) = reap(Some(self.server))? {
                        return Ok((end, is_requested));
                    }
                }
                Some(signal) => {
                    if requests_end(signal) {
                        is_requested = true;
                        status.enter(State::Stopping);
                    }
                    self.forward(signal)?;
                }
                None => {}
            }
        }
    }

    /// Whether the time-out was guard's own: when it did not run for a large part of it, as when a virtual machine is paused, it had no
    /// chance to write. Then one last heartbeat is attempted while the server is stopped. If the lock was lost meanwhile, the attempt fails:
    /// Linux's NFS client gives EIO for what was locked under a lease that has ended.
    fn survives(&self, loss: &Loss, since_last_check: Duration) -> Result<bool, Failure> {
        if !matches!(loss, Loss::TimedOut(_)) || since_last_check < self.settings.heartbeat_timeout / 2 {
            return Ok(false);
        }
        log!("guard: guard did not run for {} s; stopping the server for a last heartbeat", since_last_check.as_secs());
        self.forward(Signal::SIGSTOP)?;
        let survives = self.heartbeat.attempt(LAST_ATTEMPT_PATIENCE.min(self.settings.heartbeat_timeout));
        if survives {
            log!("guard: the lock is still held; the server goes on");
            self.forward(Signal::SIGCONT)?;
        }
        Ok(survives)
    }

    fn forward(&self, signal: Signal) -> Result<(), Failure> {
        match kill(self.server, signal) {
            // The server has ended, and SIGCHLD is on its way.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}

/// A warning before anything is killed.
#[derive(Debug, Default)]
struct SlowHeartbeat(Option<Duration>);

impl SlowHeartbeat {
    /// Logs once that an attempt takes longer than an interval, and how long it took when it was answered.
    fn observe(&mut self, unanswered_for: Option<Duration>, settings: &LockSettings, status: &mut Status) {
        let limit = settings.heartbeat_interval;
        match (unanswered_for.filter(|time| *time >= limit), self.0) {
            (Some(time), None) => {
                log!(
                    "guard: warning: the heartbeat is not answered for {} s; at {} s the server is killed: check the file system",
                    time.as_secs(),
                    settings.heartbeat_timeout.as_secs()
                );
                status.heartbeat_is_slow(time);
                self.0 = Some(time);
            }
            (Some(time), Some(_)) => self.0 = Some(time),
            (None, Some(time)) => {
                log!("guard: the heartbeat was answered after {} s", time.as_secs());
                status.heartbeat_was_slow(time);
                self.0 = None;
            }
            (None, None) => {}
        }
    }
}

/// Reaps every child that has ended; guard inherits the orphans of the server. Gives how the server ended, if it did.
fn reap(server: Option<Pid>) -> Result<Option<End>, Failure> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == server => end = Some(End::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == server => end = Some(End::Signal(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(end),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}
