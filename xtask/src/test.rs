//! `cargo xtask test`: every check and every test, with where the time went.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::provision::{self, Tools};
use crate::{Failure, build, deny, images, packages, table};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Fail if a tool that a test needs is missing, as CI does.
    #[arg(long)]
    require_all: bool,
}

/// Provisions, then checks and tests.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let mut report = Report::default();
    let mut tools = None;
    report.step("provision tools", || {
        let provisioned = provision::all(root);
        let summary = format!("{} tools", provisioned.found.len());
        let missing = provisioned.missing.join("; ");
        let complete = provisioned.missing.is_empty() || !options.require_all;
        tools = Some(provisioned);
        if complete { Ok(summary) } else { Err(Failure::new(missing)) }
    });
    let tools = tools.unwrap_or(Tools { found: Vec::new(), missing: Vec::new() });
    report.not_run.extend(tools.missing.iter().cloned());

    report.step("licences, bans, sources", || deny::check(root));
    report.step("packages", || packages::check(root));
    report.step("format", || cargo(root, &["fmt", "--all", "--check"], &[]));
    report.step("build", || cargo(root, &["build", "--quiet", "--locked", "--workspace", "--all-targets"], &[]));
    // What needs them says so if there are none.
    if images::engine_answers() {
        report.step("images", || images::for_tests(root));
    }
    report.step("tests", || tests(root, &tools, options));
    report.step("rotation model", || rotation_model(root));
    report.step("clippy", || {
        cargo(root, &["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
    });
    report.step("documentation", || {
        let arguments = ["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--document-private-items"];
        cargo(root, &arguments, &[("RUSTDOCFLAGS", "-D warnings")])
    });
    report.step("demo", || {
        // By cargo, as a user would: this program's own file may have been replaced by the build.
        cargo(root, &["run", "--quiet", "--locked", "--package", "xtask", "--", "demo"], &[])
    });
    report.not_run.extend(noted(root));
    report.finish()
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).envs(environment.iter().copied()).current_dir(root);
    build::run(&mut cargo, &format!("cargo {}", arguments[0])).map(|()| String::new())
}

fn list_of_not_run(root: &Path) -> std::path::PathBuf {
    build::target(root).join("tests-not-run.txt")
}

fn noted(root: &Path) -> Vec<String> {
    fs::read_to_string(list_of_not_run(root)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What random tests draw from unless the environment says otherwise: a change is judged by what is in it and not by luck. Other
/// seeds are for whoever looks for what nobody knows yet.
const SEEDS: [(&str, &str); 2] = [("PROPTEST_RNG_SEED", "24"), ("CHAOS_SEED", "24")];

/// Runs `cargo test`, shows its output and counts what its summaries say.
fn tests(root: &Path, tools: &Tools, options: &Options) -> Result<String, Failure> {
    let list = list_of_not_run(root);
    if list.exists() {
        fs::remove_file(&list).map_err(Failure::io("remove the old list of tests not run"))?;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--workspace", "--no-fail-fast"]).current_dir(root);
    cargo.envs(tools.found.iter().map(|(tool, path)| (tool.variable(), path)));
    cargo.env("TESTKIT_NOT_RUN", &list);
    cargo.envs(SEEDS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).copied());
    if options.require_all {
        cargo.env("TESTKIT_REQUIRE_ALL", "1");
    }
    let (mut passed, mut failed) = (0, 0);
    let status = read_lines(&mut cargo, |line| {
        if let Some(summary) = line.strip_prefix("test result: ") {
            passed += count(summary, " passed");
            failed += count(summary, " failed");
        }
    })?;
    let summary = format!("{passed} passed, {failed} failed");
    if status.success() && failed == 0 && passed > 0 {
        Ok(summary)
    } else {
        Err(Failure::new(format!("{summary}; {status}")))
    }
}

/// Schedules of the model of password rotation that are played here; a plain `cargo test` plays few of them.
const SCHEDULES: &str = "100000";

/// Gives how many schedules were played in a second.
fn rotation_model(root: &Path) -> Result<String, Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--locked", "--workspace", "--test", "rotation_model", "--"]);
    cargo.args(["--exact", "--nocapture", "nobody_is_locked_out"]);
    cargo.env("ROTATION_SCHEDULES", SCHEDULES).current_dir(root);
    let mut summary = None;
    let status = read_lines(&mut cargo, |line| {
        if line.ends_with("schedules/s") {
            summary = Some(line.to_owned());
        }
    })?;
    match summary {
        Some(summary) if status.success() => Ok(summary),
        _ => Err(Failure::new(format!("cargo test ended with {status}"))),
    }
}

/// Runs `cargo`, shows what it prints and hands on every line of it.
fn read_lines(cargo: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus, Failure> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().map_err(Failure::io("run cargo test"))?;
    for line in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
        let line = line.map_err(Failure::io("read the output of cargo test"))?;
        eprintln!("{line}");
        each(&line);
    }
    child.wait().map_err(Failure::io("wait for cargo test"))
}

/// The number before `what` in a line like `ok. 12 passed; 0 failed; …`.
fn count(summary: &str, what: &str) -> u32 {
    let number = summary.split(what).next().and_then(|before| before.rsplit([' ', '.']).next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Report {
    rows: Vec<(String, Duration, Result<String, String>)>,
    not_run: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<String, Failure>) {
        eprintln!("\nxtask: {name}");
        let started = Instant::now();
        let result = work().map_err(|failure| failure.message);
        if let Err(message) = &result {
            eprintln!("xtask: {name} failed: {message}");
        }
        self.rows.push((name.to_owned(), started.elapsed(), result));
    }

    /// Prints the table, what did not run, and last the line that counts.
    fn finish(self) -> Result<(), Failure> {
        let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|(name, time, result)| {
                let outcome = match result {
                    Ok(detail) if detail.is_empty() => "ok".to_owned(),
                    Ok(detail) => format!("ok: {detail}"),
                    Err(_) => "FAILED".to_owned(),
                };
                vec![name.clone(), seconds(time), outcome]
            })
            .collect();
        let total = self.rows.iter().map(|(_, time, _)| *time).sum();
        rows.push(vec!["total".to_owned(), seconds(&total), String::new()]);
        eprintln!("\nwhere the time went\n{}", table(&rows));
        for line in &self.not_run {
            eprintln!("not run: {line}");
        }
        let tests = self.rows.iter().find(|(name, ..)| name == "tests").and_then(|(_, _, result)| result.as_ref().ok());
        let passed = tests.map_or(0, |summary| count(summary, " passed"));
        let checks =
            |good: bool| self.rows.iter().filter(|(name, _, result)| name != "tests" && result.is_ok() == good).count();
        let failed = self.rows.iter().filter(|(.., result)| result.is_err()).count();
        eprintln!("{passed} tests and {} checks without a finding", checks(true));
        println_last(&format!("{} passed, {failed} failed", passed as usize + checks(true)));
        if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} steps failed"))) }
    }
}

#[expect(clippy::print_stdout, reason = "the runner's closing line is this program's data")]
fn println_last(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted() {
        let line = "ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s";
        assert_eq!((count(line, " passed"), count(line, " failed")), (12, 3));
        assert_eq!(count("7 passed, 0 failed", " passed"), 7);
        assert_eq!(count("nothing", " passed"), 0);
    }
}
