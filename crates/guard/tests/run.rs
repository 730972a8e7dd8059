//! guard with real processes.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

struct Guard {
    child: Child,
    data: TempDir,
}

fn command(data: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.args(["run", "--", "/bin/sh", "-c", script]).env("GUARD_DATA_DIR", data).stderr(Stdio::piped());
    command
}

impl Guard {
    /// A guard whose server is a shell script. The script writes to files in the data directory, `$DATA`.
    fn start(script: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let child = command(data.path(), script).env("DATA", data.path()).spawn().unwrap();
        Self { child, data }
    }

    fn wait_for(&self, file: &str) -> String {
        wait_for(&self.data.path().join(file))
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "guard did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> Output {
        self.wait();
        let mut stderr = Vec::new();
        self.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status: self.child.wait().unwrap(), stdout: Vec::new(), stderr }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(path: &Path) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < deadline, "{} did not appear", path.display()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("/bin/kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that notes that it runs and ends with 0 when it is told to.
const SERVER: &str = "trap 'exit 0' TERM; echo $$ > $DATA/pid; while :; do sleep 0.02; done";

#[test]
fn codes_and_signals_of_the_server_are_passed_on() {
    assert_eq!(Guard::start("exit 7").end().status.code(), Some(7));
    assert_eq!(Guard::start("kill -9 $$").end().status.code(), Some(137));
    let data = tempfile::tempdir().unwrap();
    let missing = Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["run", "--data-dir"])
        .arg(data.path())
        .args(["--", "/nowhere/server"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert!(stderr(&missing).contains("`/nowhere/server`"), "{}", stderr(&missing));
}

#[test]
fn signals_reach_the_server_and_its_clean_end_is_guards() {
    let script = "for s in HUP USR1 USR2 QUIT INT; do trap \"echo $s >> $DATA/signals\" $s; done; trap 'exit 0' TERM; \
                  echo ready > $DATA/ready; while :; do sleep 0.02; done";
    let guard = Guard::start(script);
    guard.wait_for("ready");
    let mut expected = String::new();
    for name in ["HUP", "USR1", "USR2", "QUIT", "INT"] {
        guard.signal(name);
        expected.push_str(name);
        expected.push('\n');
        let deadline = Instant::now() + DEADLINE;
        while fs::read_to_string(guard.data.path().join("signals")).unwrap_or_default() != expected {
            assert!(Instant::now() < deadline, "{name} did not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    guard.signal("TERM");
    assert_eq!(guard.end().status.code(), Some(0));
}

#[test]
fn a_server_that_ends_itself_is_started_again_and_given_up_at_the_sixth_time() {
    let mut guard = Guard::start("echo start >> $DATA/starts; exit 0");
    guard.wait();
    assert_eq!(fs::read_to_string(guard.data.path().join("starts")).unwrap().lines().count(), 6);
    let output = guard.end();
    assert_eq!(output.status.code(), Some(75));
    assert!(stderr(&output).contains("more than 5 times in 10 minutes"), "{}", stderr(&output));
}

#[test]
fn a_second_guard_waits_says_for_whom_and_takes_over() {
    let first = Guard::start(SERVER);
    let holder: u32 = first.wait_for("pid").trim().parse().unwrap();
    let data = first.data.path().to_owned();
    let mut second = command(&data, "echo second > $DATA/second; exec sleep 60").env("DATA", &data).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting for the lock on") && line.contains(&format!("pid {}", first.child.id())), "{line}");
    assert!(!data.join("second").exists());
    assert!(Path::new(&format!("/proc/{holder}")).exists());

    first.signal("TERM");
    wait_for(&data.join("second"));
    assert!(!Path::new(&format!("/proc/{holder}")).exists(), "both servers ran at once");
    signal(second.id(), "TERM");
    assert_eq!(second.wait().unwrap().code(), Some(143));
    assert_eq!(first.end().status.code(), Some(0));
}

#[test]
fn a_guard_that_waits_leaves_when_asked() {
    let first = Guard::start(SERVER);
    first.wait_for("pid");
    let data = first.data.path().to_owned();
    let mut second = command(&data, "echo second > $DATA/second").env("DATA", &data).spawn().unwrap();
    let mut waiting = [0; 16];
    second.stderr.as_mut().unwrap().read_exact(&mut waiting).unwrap();
    signal(second.id(), "TERM");
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert!(!data.join("second").exists());
}

#[test]
fn the_server_does_not_outlive_guard() {
    let guard = Guard::start(SERVER);
    let server = format!("/proc/{}", guard.wait_for("pid").trim());
    assert!(Path::new(&server).exists());
    guard.signal("KILL");
    let deadline = Instant::now() + DEADLINE;
    // Whoever inherits it may not have reaped it yet: a zombie has no memory map.
    while fs::read(format!("{server}/maps")).is_ok_and(|maps| !maps.is_empty()) {
        assert!(Instant::now() < deadline, "the server lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_server_does_not_see_what_is_not_for_it() {
    let data = tempfile::tempdir().unwrap();
    let environment = |data: &Path| {
        let output = command(data, "env > $DATA/env; exit 3")
            .env("DATA", data)
            .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")
            .env("ECS_CONTAINER_METADATA_URI_V4", "http://127.0.0.1:1/v4/x")
            .env("EVENTSTORE_DEFAULT_ADMIN_PASSWORD", "secret")
            .env("EVENTSTORE_DB", "/db")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        fs::read_to_string(data.join("env")).unwrap()
    };
    let new = environment(data.path());
    assert!(new.contains("EVENTSTORE_DB=/db") && new.contains("DEFAULT_ADMIN_PASSWORD"), "{new}");
    for withheld in ["AWS_CONTAINER", "ECS_CONTAINER", "GUARD_"] {
        assert!(!new.contains(withheld), "{withheld}");
    }
    fs::write(data.path().join("writer.chk"), "").unwrap();
    assert!(!environment(data.path()).contains("DEFAULT_ADMIN_PASSWORD"));
}

#[test]
fn a_directory_that_cannot_be_locked_is_refused() {
    let output = command(Path::new("/nowhere"), "true").output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert!(stderr(&output).contains("could not lock `/nowhere/.guard.lock`"), "{}", stderr(&output));
}

/// Times at a fiftieth of the real ones.
const QUICK: [&str; 3] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=1s", "--takeover-after=1500ms"];

fn quick(data: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    command.arg("run").args(QUICK).args(["--", "/bin/sh", "-c", script]);
    command.env("GUARD_DATA_DIR", data).env("DATA", data).stderr(Stdio::piped());
    command
}

#[test]
fn after_a_kill_the_next_guard_waits_until_the_heartbeat_has_stood_still() {
    let data = tempfile::tempdir().unwrap();
    let mut first = quick(data.path(), SERVER).spawn().unwrap();
    wait_for(&data.path().join("pid"));
    signal(first.id(), "KILL");
    first.wait().unwrap();
    let killed = Instant::now();
    let status = data.path().join("status.json");
    let mut second = quick(data.path(), "echo second > $DATA/second; exec sleep 60");
    let mut second = second.env("GUARD_STATUS_FILE", &status).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("did not sign off") && line.contains(&format!("pid {}", first.id())), "{line}");
    assert!(wait_for(&status).contains("\"state\":\"waiting-for-heartbeat\""));
    wait_for(&data.path().join("second"));
    assert!(killed.elapsed() >= Duration::from_millis(1500), "{:?}", killed.elapsed());
    signal(second.id(), "TERM");
    assert_eq!(second.wait().unwrap().code(), Some(143));
}

/// Somebody who is cut off goes on writing: as long as the counter moves, nobody takes over.
#[test]
fn a_heartbeat_that_moves_holds_the_next_guard_off() {
    let data = tempfile::tempdir().unwrap();
    let mut first = quick(data.path(), SERVER).spawn().unwrap();
    wait_for(&data.path().join("pid"));
    signal(first.id(), "KILL");
    first.wait().unwrap();
    let lock = data.path().join(".guard.lock");
    let record = fs::read_to_string(&lock).unwrap();
    let mut second = quick(data.path(), "echo second > $DATA/second").spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    let mut counter = 1000;
    while Instant::now() < until {
        counter += 1;
        let mut parts: Vec<_> = record.split(' ').map(str::to_owned).collect();
        parts[2] = format!("{counter:020}");
        fs::write(&lock, parts.join(" ")).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!data.path().join("second").exists(), "it took over although the heartbeat moved");
    signal(second.id(), "TERM");
    assert_eq!(second.wait().unwrap().code(), Some(0), "SIGTERM ends this wait too");
}

#[test]
fn the_status_file_tells_guards_life() {
    let data = tempfile::tempdir().unwrap();
    let status = data.path().join("status.json");
    let script = "if [ -e $DATA/once ]; then exec sleep 60; fi; echo > $DATA/once; exit 0";
    let mut guard = quick(data.path(), script).env("GUARD_STATUS_FILE", &status).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let running = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if text.contains("\"restarts\":1") && text.contains("\"state\":\"running\"") {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
    };
    assert!(running.contains("\"lastExit\":{\"code\":0,\"at\":"), "{running}");
    assert!(running.contains(&format!("pid {}", guard.id())), "{running}");
    signal(guard.id(), "TERM");
    assert_eq!(guard.wait().unwrap().code(), Some(143));
    let ended = fs::read_to_string(&status).unwrap();
    assert!(ended.contains("\"state\":\"ended\"") && ended.contains("\"signal\":\"SIGTERM\""), "{ended}");
}

#[test]
fn orphans_of_the_server_are_reaped() {
    let guard = Guard::start("(sleep 0.05 & echo $! > $DATA/orphan); trap 'exit 0' TERM; while :; do sleep 0.02; done");
    let orphan = format!("/proc/{}", guard.wait_for("orphan").trim());
    let deadline = Instant::now() + DEADLINE;
    while Path::new(&orphan).exists() {
        assert!(Instant::now() < deadline, "a zombie is left");
        std::thread::sleep(Duration::from_millis(5));
    }
    guard.signal("TERM");
    assert_eq!(guard.end().status.code(), Some(0));
}

#[test]
fn pause_waits_for_the_end() {
    for name in ["TERM", "INT"] {
        let mut pause = Command::new(env!("CARGO_BIN_EXE_guard")).arg("pause").spawn().unwrap();
        let blocked = || {
            let status = fs::read_to_string(format!("/proc/{}/status", pause.id())).unwrap_or_default();
            status.lines().any(|line| line.starts_with("SigBlk:") && !line.ends_with("0000000000000000"))
        };
        let deadline = Instant::now() + DEADLINE;
        while !blocked() {
            assert!(Instant::now() < deadline, "it never waited for signals");
        }
        assert!(pause.try_wait().unwrap().is_none());
        signal(pause.id(), name);
        assert_eq!(pause.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn mistakes_are_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_guard")).env_remove("GUARD_DATA_DIR").arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output).matches("error: ").count(), 2, "{}", stderr(&output));
}
