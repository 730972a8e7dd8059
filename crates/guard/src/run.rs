//! `guard run`: wait for the lock, then be the server's parent. `guard pause`: wait for the end.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::child;
use crate::cli::Settings;
use crate::identity;
use crate::lock::{Heartbeat, LockError, LockFile};
use crate::record::Record;
use crate::restarts::{LIMIT, Restarts, WINDOW};
use crate::restore::{self, RestoreError};
use crate::signals::{Signals, asks_for_the_end};
use crate::status::{State, Status, now};
use crate::utc::Utc;

const LOCK_RETRY: Duration = Duration::from_secs(1);
const LOCK_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// ECS kills what has not ended 120 s after SIGTERM, and the server may take 31 s of them (lines §D).
const SIGN_OFF_PATIENCE: Duration = Duration::from_secs(5);

const CANNOT_USE: u8 = 74;
const ENDED_TOO_OFTEN: u8 = 75;
const NOT_STARTED: u8 = 126;

/// How the server ended.
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
pub(crate) fn run(settings: &Settings) -> ExitCode {
    let mut status = Status::new(settings.status_file.as_deref());
    // What an earlier guard of this task left there is over.
    status.enter(State::WaitingForLock);
    let outcome = supervise(settings, &mut status);
    if outcome.is_err() {
        status.enter(State::Ended);
    }
    report(outcome)
}

/// Waits until somebody asks for the end, and reaps what others leave behind.
pub(crate) fn pause() -> ExitCode {
    report(Signals::block().and_then(|signals| {
        loop {
            match signals.next(None)? {
                Some(signal) if asks_for_the_end(signal) => return Ok(0),
                _ => {
                    reap(None)?;
                }
            }
        }
    }))
}

fn report(outcome: io::Result<u8>) -> ExitCode {
    ExitCode::from(outcome.unwrap_or_else(|error| {
        say!("error: {error}");
        let cause = error.get_ref();
        let hint = cause.and_then(|error| error.downcast_ref::<LockError>()?.hint());
        if let Some(hint) = hint.or_else(|| cause.and_then(|error| error.downcast_ref::<RestoreError>()?.hint())) {
            say!("hint: {hint}");
        }
        CANNOT_USE
    }))
}

fn supervise(settings: &Settings, status: &mut Status) -> io::Result<u8> {
    let signals = Signals::block()?;
    // Orphans of the server come to guard even where it is not PID 1.
    prctl::set_child_subreaper(true)?;
    let name = identity::name(std::env::var_os("ECS_CONTAINER_METADATA_URI_V4").as_deref());
    let Some(heartbeat) = take_lock(settings, &name, &signals, status)? else {
        say!("guard: asked to end while waiting; nothing was started");
        status.enter(State::Ended);
        return Ok(0);
    };
    if let Err(error) = prepare(settings) {
        sign_off(&heartbeat);
        return Err(error);
    }
    let mut restarts = Restarts::default();
    loop {
        if asked_already(&signals)? {
            say!("guard: asked to end before the server was started");
            sign_off(&heartbeat);
            status.enter(State::Ended);
            return Ok(0);
        }
        let server = match child::start(settings) {
            Ok(server) => server,
            Err(error) => {
                say!("error: could not start the server: {error}");
                sign_off(&heartbeat);
                status.enter(State::Ended);
                return Ok(NOT_STARTED);
            }
        };
        status.enter(State::Running);
        let (end, asked) = match stay(server, &signals, &heartbeat, settings, status)? {
            Stay::Ended { end, asked } => (end, asked),
            Stay::LockLost(reason) => {
                // Not signed off: whoever comes next waits until the heartbeat has stood still.
                say!("error: the lock on {} may be lost, the server was killed: {reason}", settings.data_dir.display());
                status.enter(State::Ended);
                return Ok(CANNOT_USE);
            }
        };
        let again = !asked && end == End::Code(0) && restarts.allow(Instant::now());
        status.server_ended(end, again);
        if again {
            say!("guard: the server ended itself with code 0; starting it again");
            continue;
        }
        sign_off(&heartbeat);
        status.enter(State::Ended);
        if !asked && end == End::Code(0) {
            let minutes = WINDOW.as_secs() / 60;
            say!("guard: the server ended itself with code 0 more than {LIMIT} times in {minutes} minutes; giving up");
            return Ok(ENDED_TOO_OFTEN);
        }
        if let End::Signal(signal) = end {
            say!("guard: the server died of {signal}");
        }
        return Ok(end.exit_code());
    }
}

/// What a restored directory needs, before its server starts for the first time.
fn prepare(settings: &Settings) -> io::Result<()> {
    let Some(recovery_point) = &settings.restored else { return Ok(()) };
    if restore::prepare(&settings.data_dir, recovery_point).map_err(io::Error::other)? {
        let directory = settings.data_dir.display();
        say!("guard: {directory} was restored from {recovery_point}: the server begins where chaser.chk ends");
    }
    Ok(())
}

/// Only when no server runs.
fn sign_off(heartbeat: &Heartbeat) {
    if let Err(error) = heartbeat.sign_off(SIGN_OFF_PATIENCE) {
        say!("guard: could not sign off, the next guard will wait: {error}");
    }
}

/// Whether somebody has asked for the end while no server ran. Orphans that end meanwhile are reaped with the next one.
fn asked_already(signals: &Signals) -> io::Result<bool> {
    while let Some(signal) = signals.next(Some(Duration::ZERO))? {
        if asks_for_the_end(signal) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits for the lock without end, then for the silence of a holder that did not sign off. `None` if somebody asked for
/// the end first.
fn take_lock(settings: &Settings, name: &str, signals: &Signals, status: &mut Status) -> io::Result<Option<Heartbeat>> {
    let file = LockFile::open(&settings.data_dir).map_err(io::Error::other)?;
    let mut log = Throttled::default();
    while !file.try_lock().map_err(io::Error::other)? {
        let holder = describe(&file.read().map_err(io::Error::other)?);
        status.waiting(State::WaitingForLock, &holder);
        log.line(Instant::now(), || {
            say!("guard: waiting for the lock on {}, held by {holder}", settings.data_dir.display());
        });
        if signals.next(Some(LOCK_RETRY))?.is_some_and(asks_for_the_end) {
            return Ok(None);
        }
    }
    if !wait_for_silence(&file, settings, signals, status)? {
        return Ok(None);
    }
    let last = Record::decode(&file.read().map_err(io::Error::other)?);
    let counter = last.map_or(1, |record| record.counter.wrapping_add(1));
    let record = Record { signed_off: false, counter, since: now(), holder: name.to_owned() };
    status.locked(record.since, name);
    let started = Heartbeat::start(file, record, settings.heartbeat_interval, settings.heartbeat_timeout);
    started.map(Some).map_err(io::Error::other)
}

/// A holder that was cut off may run its server until its own time-out; it is over when nothing has been written for
/// longer. False if somebody asked for the end.
fn wait_for_silence(file: &LockFile, settings: &Settings, signals: &Signals, status: &mut Status) -> io::Result<bool> {
    let mut log = Throttled::default();
    let mut last = file.read().map_err(io::Error::other)?;
    if last.is_empty() {
        // Made by this guard, or by one that never wrote a record and so never started a server.
        return Ok(true);
    }
    let mut silent_since = Instant::now();
    loop {
        let signed_off = Record::decode(&last).is_some_and(|record| record.signed_off);
        if signed_off || silent_since.elapsed() >= settings.takeover_after {
            return Ok(true);
        }
        let (holder, seconds) = (describe(&last), settings.takeover_after.as_secs());
        status.waiting(State::WaitingForHeartbeat, &holder);
        log.line(Instant::now(), || {
            say!("guard: the last holder did not sign off, waiting until it is silent for {seconds} s: {holder}");
        });
        let left = settings.takeover_after.saturating_sub(silent_since.elapsed());
        if signals.next(Some(LOCK_RETRY.min(left)))?.is_some_and(asks_for_the_end) {
            return Ok(false);
        }
        let found = file.read().map_err(io::Error::other)?;
        if found != last {
            (last, silent_since) = (found, Instant::now());
        }
    }
}

fn describe(record: &[u8]) -> String {
    Record::decode(record).map_or_else(
        || "somebody who has not written a name yet".to_owned(),
        |record| format!("{} since {}", record.holder, Utc(record.since)),
    )
}

/// A line now and then.
#[derive(Debug, Default)]
struct Throttled(Option<Instant>);

impl Throttled {
    fn line(&mut self, now: Instant, print: impl FnOnce()) {
        if self.0.is_none_or(|at| now.duration_since(at) >= LOCK_LOG_INTERVAL) {
            print();
            self.0 = Some(now);
        }
    }
}

/// How guard's life with one server came to its end.
enum Stay {
    Ended { end: End, asked: bool },
    LockLost(String),
}

/// Forwards signals and watches the heartbeat until the server has ended.
fn stay(
    server: Pid,
    signals: &Signals,
    heartbeat: &Heartbeat,
    settings: &Settings,
    status: &mut Status,
) -> io::Result<Stay> {
    let mut asked = false;
    loop {
        if let Some(reason) = heartbeat.loss() {
            forward(server, Signal::SIGKILL)?;
            while reap(Some(server))?.is_none() {
                signals.next(Some(LOCK_RETRY))?;
            }
            return Ok(Stay::LockLost(reason));
        }
        let until_next_look = settings.heartbeat_interval.min(LOCK_RETRY).min(heartbeat.time_left());
        match signals.next(Some(until_next_look))? {
            Some(Signal::SIGCHLD) => {
                if let Some(end) = reap(Some(server))? {
                    return Ok(Stay::Ended { end, asked });
                }
            }
            Some(signal) => {
                if asks_for_the_end(signal) {
                    asked = true;
                    status.enter(State::Stopping);
                }
                forward(server, signal)?;
            }
            None => {}
        }
    }
}

fn forward(server: Pid, signal: Signal) -> io::Result<()> {
    match kill(server, signal) {
        // It has ended, and SIGCHLD is on its way.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reaps every child that has ended; guard inherits the orphans of the server. Tells how the server ended, if it did.
fn reap(server: Option<Pid>) -> io::Result<Option<End>> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == server => end = Some(End::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == server => end = Some(End::Signal(signal)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(end),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_at_once_and_then_every_ten_seconds() {
        let start = Instant::now();
        let mut log = Throttled::default();
        let mut told = Vec::new();
        for second in 0..=25 {
            log.line(start + Duration::from_secs(second), || told.push(second));
        }
        assert_eq!(told, [0, 10, 20]);
    }
}
