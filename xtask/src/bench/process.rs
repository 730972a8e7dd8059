//! The cost of one process, started by a process of its own, which may be kept on one core.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use clap::Args;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::mean::Mean;
use crate::Failure;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Run it on one core.
    #[arg(long)]
    one_core: bool,
    /// Look at its memory instead of its time.
    #[arg(long)]
    memory: bool,
    /// Program and arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// The largest resident size grows only, so that the last look before the end is nearly the peak.
const LOOK: Duration = Duration::from_micros(100);

/// What it took.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// From the start to the end.
    pub(crate) milliseconds: f64,
    /// The largest resident size that was seen; 0 if nobody looked. What the kernel accounts for a child that has ended
    /// includes the memory of whoever started it.
    pub(crate) peak_kib: u64,
}

/// How it is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Time on all cores.
    Time,
    /// Time on one core.
    TimeOnOneCore,
    /// Memory; looking at it takes time.
    Memory,
}

/// Runs the program and prints its cost.
#[expect(clippy::print_stdout, reason = "the cost is this program's data")]
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.one_core {
        pin().map_err(|error| Failure::new(format!("could not choose a core: {error}")))?;
    }
    let [program, arguments @ ..] = options.command.as_slice() else {
        return Err(Failure::new("no program to measure"));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().map_err(Failure::io("start the program to measure"))?;
    let (status, peak_kib) = if options.memory { watch(&mut child) } else { child.wait().map(|status| (status, 0)) }
        .map_err(Failure::io("wait for the program to measure"))?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    if !status.success() {
        return Err(Failure::new(format!("`{}` ended with {status}", program.display())));
    }
    let cost = Cost { milliseconds, peak_kib };
    println!("{}", serde_json::to_string(&cost).map_err(|error| Failure::new(error.to_string()))?);
    Ok(())
}

fn watch(child: &mut Child) -> io::Result<(ExitStatus, u64)> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // It may have ended between two looks.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        // Before it becomes the program it has the name of this one.
        if !text.starts_with("Name:\txtask") {
            peak = peak.max(seen.unwrap_or(0));
        }
        if let Some(status) = child.try_wait()? {
            return Ok((status, peak));
        }
        sleep(LOOK);
    }
}

/// To the first core that this process may use.
fn pin() -> nix::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let first = (0..CpuSet::count()).find(|core| allowed.is_set(*core).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.unwrap_or(0))?;
    sched_setaffinity(Pid::from_raw(0), &one)
}

/// Measures programs that are run one after the other in a directory: the time of all, and the largest of their peaks.
pub(crate) fn measure_all(directory: &Path, how: How, commands: &[Vec<OsString>]) -> Result<Cost, Failure> {
    let mut all = Cost { milliseconds: 0.0, peak_kib: 0 };
    for command in commands {
        let cost = measure(directory, how, command)?;
        all.milliseconds += cost.milliseconds;
        all.peak_kib = all.peak_kib.max(cost.peak_kib);
    }
    Ok(all)
}

/// The mean time.
pub(crate) fn mean(costs: &[Cost]) -> Mean {
    Mean::of(&costs.iter().map(|cost| cost.milliseconds).collect::<Vec<_>>())
}

/// Measures a program in a process of its own.
pub(crate) fn measure(directory: &Path, how: How, command: &[OsString]) -> Result<Cost, Failure> {
    let flag = match how {
        How::Time => None,
        How::TimeOnOneCore => Some("--one-core"),
        How::Memory => Some("--memory"),
    };
    let mut measuring = Command::new(std::env::current_exe().map_err(Failure::io("find this program"))?);
    measuring.args(["bench", "process"]).args(flag).arg("--").args(command);
    let output = measuring.current_dir(directory).output().map_err(Failure::io("measure a program"))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::new(format!("no cost was measured: {error}")))
}
