//! guard with real processes.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Guard {
    child: Running,
    data: TempDir,
}

fn command(data: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
    // A shell cannot trap what is ignored when it starts, and whoever runs the tests in the background ignores some signals.
    command
        .args(["run", "--", "/usr/bin/env", "--default-signal", "/bin/sh", "-c", script])
        .env("GUARD_DATA_DIR", data)
        .stderr(Stdio::piped());
    command
}

impl Guard {
    /// A guard whose server is a shell script. The script writes to files in the data directory, `$DATA`.
    fn start(script: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let child = Running(command(data.path(), script).env("DATA", data.path()).spawn().unwrap());
        Self { child, data }
    }

    fn wait_for(&self, file: &str) -> String {
        wait_for(&self.data.path().join(file))
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn end(mut self) -> Output {
        let status = self.child.end();
        let mut stderr = Vec::new();
        self.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status, stdout: Vec::new(), stderr }
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
    guard.child.end();
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
    let mut second = command(&data, "echo second > $DATA/second; exec sleep 60");
    let mut second = Running(second.env("DATA", &data).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting for the lock on") && line.contains(&format!("pid {}", first.child.id())), "{line}");
    assert!(!data.join("second").exists());
    assert!(Path::new(&format!("/proc/{holder}")).exists());

    first.signal("TERM");
    wait_for(&data.join("second"));
    assert!(!Path::new(&format!("/proc/{holder}")).exists(), "both servers ran at once");
    signal(second.id(), "TERM");
    assert_eq!(second.end().code(), Some(143));
    assert_eq!(first.end().status.code(), Some(0));
}

#[test]
fn a_guard_that_waits_leaves_when_asked() {
    let first = Guard::start(SERVER);
    first.wait_for("pid");
    let data = first.data.path().to_owned();
    let mut second = Running(command(&data, "echo second > $DATA/second").env("DATA", &data).spawn().unwrap());
    let mut waiting = [0; 16];
    second.stderr.as_mut().unwrap().read_exact(&mut waiting).unwrap();
    signal(second.id(), "TERM");
    assert_eq!(second.end().code(), Some(0));
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
fn server_sees_first_passwords_and_no_task_credentials() {
    let data = tempfile::tempdir().unwrap();
    // Also once its files exist: users are created only after the first election.
    for existing in [None, Some("writer.chk")] {
        if let Some(name) = existing {
            fs::write(data.path().join(name), "").unwrap();
        }
        let output = command(data.path(), "env > $DATA/env; exit 3")
            .env("DATA", data.path())
            .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")
            .env("ECS_CONTAINER_METADATA_URI_V4", "http://127.0.0.1:1/v4/x")
            .env("EVENTSTORE_DEFAULT_ADMIN_PASSWORD", "secret")
            .env("EVENTSTORE_DB", "/db")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        let environment = fs::read_to_string(data.path().join("env")).unwrap();
        assert!(
            environment.contains("EVENTSTORE_DB=/db") && environment.contains("DEFAULT_ADMIN_PASSWORD"),
            "{environment}"
        );
        for withheld in ["AWS_CONTAINER", "ECS_CONTAINER", "GUARD_"] {
            assert!(!environment.contains(withheld), "{withheld}");
        }
    }
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

/// What the last holder wrote.
fn record(data: &Path) -> String {
    fs::read_to_string(data.join(".guard.lock")).unwrap()
}

fn counter(data: &Path) -> u64 {
    record(data).split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn after_a_kill_the_next_guard_waits_until_the_heartbeat_has_stood_still() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Running(quick(data.path(), SERVER).spawn().unwrap());
    wait_for(&data.path().join("pid"));
    signal(first.id(), "KILL");
    first.end();
    let killed = Instant::now();
    let status = data.path().join("status.json");
    let left = counter(data.path());
    let mut second = quick(data.path(), "echo second > $DATA/second; exec sleep 60");
    let mut second = Running(second.env("GUARD_STATUS_FILE", &status).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("did not sign off") && line.contains(&format!("pid {}", first.id())), "{line}");
    assert!(wait_for(&status).contains("\"state\":\"waiting-for-heartbeat\""));
    wait_for(&data.path().join("second"));
    assert!(killed.elapsed() >= Duration::from_millis(1500), "{:?}", killed.elapsed());
    assert!(counter(data.path()) > left, "whoever waits must see that somebody lives: {}", record(data.path()));
    signal(second.id(), "TERM");
    assert_eq!(second.end().code(), Some(143));
}

/// Somebody who is cut off goes on writing: as long as the counter moves, nobody takes over.
#[test]
fn a_heartbeat_that_moves_holds_the_next_guard_off() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Running(quick(data.path(), SERVER).spawn().unwrap());
    wait_for(&data.path().join("pid"));
    signal(first.id(), "KILL");
    first.end();
    let lock = data.path().join(".guard.lock");
    let record = record(data.path());
    let mut second = Running(quick(data.path(), "echo second > $DATA/second").spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(3);
    let mut counter = 1000;
    while Instant::now() < until {
        counter += 1;
        let mut parts: Vec<_> = record.split(' ').map(str::to_owned).collect();
        parts[2] = format!("{counter:020}");
        // In place, as a guard does: nobody ever reads an empty file.
        OpenOptions::new().write(true).open(&lock).unwrap().write_all_at(parts.join(" ").as_bytes(), 0).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!data.path().join("second").exists(), "it took over although the heartbeat moved");
    signal(second.id(), "TERM");
    assert_eq!(second.end().code(), Some(0), "SIGTERM ends this wait too");
}

#[test]
fn the_status_file_tells_guards_life() {
    let data = tempfile::tempdir().unwrap();
    let status = data.path().join("status.json");
    let script = "if [ -e $DATA/once ]; then exec sleep 60; fi; echo > $DATA/once; exit 0";
    let mut guard = Running(quick(data.path(), script).env("GUARD_STATUS_FILE", &status).spawn().unwrap());
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
    assert_eq!(guard.end().code(), Some(143));
    let ended = fs::read_to_string(&status).unwrap();
    assert!(ended.contains("\"state\":\"ended\"") && ended.contains("\"signal\":\"SIGTERM\""), "{ended}");
}

#[test]
fn orphans_of_the_server_are_reaped() {
    let guard = Guard::start(
        "(sh -c 'while [ ! -e $DATA/go ]; do sleep 0.02; done' & echo $! > $DATA/orphan); trap 'exit 0' TERM; \
         while :; do sleep 0.02; done",
    );
    let orphan = format!("/proc/{}", guard.wait_for("orphan").trim());
    let parent = format!("PPid:\t{}\n", guard.child.id());
    let deadline = Instant::now() + DEADLINE;
    while !fs::read_to_string(format!("{orphan}/status")).unwrap().contains(&parent) {
        assert!(Instant::now() < deadline, "it is not guard's");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(guard.data.path().join("go"), "").unwrap();
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
        let mut pause = Running(Command::new(env!("CARGO_BIN_EXE_guard")).arg("pause").spawn().unwrap());
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
        assert_eq!(pause.end().code(), Some(0));
    }
}

#[test]
fn mistakes_are_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_guard")).env_remove("GUARD_DATA_DIR").arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output).matches("error: ").count(), 2, "{}", stderr(&output));
}

/// The task metadata endpoint of ECS, version 4.
struct Metadata(TcpListener);

impl Metadata {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn variable(&self) -> (&'static str, String) {
        ("ECS_CONTAINER_METADATA_URI_V4", format!("http://{}/v4/id", self.0.local_addr().unwrap()))
    }

    /// The connection of a guard that has just started and waits for an answer.
    fn accept(&self) -> TcpStream {
        let (stream, _) = self.0.accept().unwrap();
        // To its end: what is not read when a connection is closed takes the answer with it.
        let lines: Vec<_> =
            BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "GET /v4/id/task HTTP/1.0");
        stream
    }
}

fn answer(mut stream: TcpStream, arn: &str) {
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{{\"TaskARN\":\"{arn}\"}}").unwrap();
}

#[test]
fn whoever_waits_names_the_task_that_holds_the_lock_and_since_when() {
    let (data, metadata, arn) = (tempfile::tempdir().unwrap(), Metadata::new(), "arn:aws:ecs:eu-west-1:1:task/es/1f");
    let (name, uri) = metadata.variable();
    let mut first = Running(command(data.path(), SERVER).env("DATA", data.path()).env(name, uri).spawn().unwrap());
    answer(metadata.accept(), arn);
    wait_for(&data.path().join("pid"));
    let since = record(data.path()).split(' ').nth(3).unwrap().to_owned();
    let shown = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("@{since}")]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();

    let mut second = Running(command(data.path(), "true").spawn().unwrap());
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.trim_end().ends_with(&format!(", held by {arn} since {}", shown.trim_end())), "{line}");
    for guard in [&mut second, &mut first] {
        signal(guard.id(), "TERM");
        assert_eq!(guard.end().code(), Some(0));
    }
}

/// The end is asked for while guard is starting, and the lock is free: a database is not opened only to be closed.
#[test]
fn a_signal_before_the_server_has_started_keeps_it_from_starting() {
    let (data, metadata) = (tempfile::tempdir().unwrap(), Metadata::new());
    let (name, uri) = metadata.variable();
    let mut guard = Running(quick(data.path(), "echo > $DATA/started").env(name, uri).spawn().unwrap());
    let stream = metadata.accept();
    signal(guard.id(), "TERM");
    answer(stream, "arn:aws:ecs:x:1:task/es/0");
    assert_eq!(guard.end().code(), Some(0));
    assert!(!data.path().join("started").exists());
    assert!(record(data.path()).starts_with("guard1 signed-off "), "nobody needs to wait: {}", record(data.path()));
}

/// Root may write anywhere, so guard runs as somebody else where this test runs as root; from a copy, because the build
/// directory may be closed to others.
#[test]
fn a_directory_of_somebody_else_is_refused_and_the_old_status_does_not_stand() {
    let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::set_permissions(data.path(), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(run.path(), Permissions::from_mode(0o777)).unwrap();
    let (guard, status) = (run.path().join("guard"), run.path().join("status.json"));
    // Not by this process: another test's fork would inherit the open file, and what is open for writing cannot be executed.
    let copied = Command::new("cp").args([env!("CARGO_BIN_EXE_guard").as_ref(), guard.as_os_str()]).status();
    assert!(copied.unwrap().success());
    fs::write(&status, "{\"schema\":1,\"state\":\"running\"}\n").unwrap();
    let mut command = Command::new(guard);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(1000);
    }
    command.args(["run", "--", "/bin/true"]).env("GUARD_DATA_DIR", data.path()).env("GUARD_STATUS_FILE", &status);
    let output = command.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.starts_with("error: could not lock `") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("hint: the directory must be writable for the uid"), "{said}");
    assert!(fs::read_to_string(&status).unwrap().contains("\"state\":\"ended\""));
}

#[test]
fn a_status_file_that_cannot_be_written_does_not_matter() {
    let data = tempfile::tempdir().unwrap();
    let output = quick(data.path(), "exit 7").env("GUARD_STATUS_FILE", "/nowhere/status.json").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("could not write `/nowhere/status.json`"), "{}", stderr(&output));
}

/// A server that inherited the descriptor would hold the lock for whatever it leaves behind.
#[test]
fn the_server_does_not_hold_the_lock() {
    let data = tempfile::tempdir().unwrap();
    let output = quick(data.path(), "ls -l /proc/self/fd > $DATA/descriptors; exit 3").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let descriptors = fs::read_to_string(data.path().join("descriptors")).unwrap();
    assert!(descriptors.contains(" 0 -> ") && !descriptors.contains(".guard.lock"), "{descriptors}");
}

/// As in a container: the kernel keeps signals without a handler from the first process of a namespace.
#[test]
fn as_first_process_guard_is_what_it_is_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let script = format!("(sleep 0.05 & echo $! > $DATA/orphan); {SERVER}");
    let mut namespace = Command::new("unshare");
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        namespace.args(["--user", "--map-root-user"]);
    }
    namespace.args(["--pid", "--mount-proc", "--fork", "--kill-child", env!("CARGO_BIN_EXE_guard"), "run"]);
    namespace.args(["--", "/bin/sh", "-c", &script]).env("GUARD_DATA_DIR", data.path()).env("DATA", data.path());
    let mut namespace = Running(namespace.stderr(Stdio::piped()).spawn().unwrap());
    let deadline = Instant::now() + DEADLINE;
    while !data.path().join("pid").exists() {
        if namespace.try_wait().unwrap().is_some() {
            let mut said = String::new();
            namespace.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.starts_with("unshare: "), "{said}");
            assert!(std::env::var_os("TESTKIT_REQUIRE_ALL").is_none(), "this machine gives no namespace: {said}");
            eprintln!("not run: this machine gives no namespace: {said}");
            return;
        }
        assert!(Instant::now() < deadline, "the server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let children = |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let guard: u32 = children(namespace.id()).trim().parse().unwrap();
    // The server and nobody else: the orphan has been reaped.
    while children(guard).split_whitespace().count() != 1 {
        assert!(Instant::now() < deadline, "a zombie is left: {}", children(guard));
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(guard, "TERM");
    assert_eq!(namespace.end().code(), Some(0));
    assert!(record(data.path()).starts_with("guard1 signed-off "), "{}", record(data.path()));
}

#[test]
fn guard_installs_itself_whatever_was_left_there() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guard");
    fs::write(directory.path().join("guard.new"), "left by a run that was killed").unwrap();
    for _ in 0..2 {
        let output = Command::new(env!("CARGO_BIN_EXE_guard")).arg("install").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o555);
        assert!(fs::read(&file).unwrap() == fs::read(env!("CARGO_BIN_EXE_guard")).unwrap(), "it is the program");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
    let nowhere = directory.path().join("none/guard");
    let output = Command::new(env!("CARGO_BIN_EXE_guard")).arg("install").arg(nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert_eq!(Command::new(env!("CARGO_BIN_EXE_guard")).arg("install").status().unwrap().code(), Some(2));
}

const RECOVERY_POINT: &str = "arn:aws:backup:eu-west-1:123456789012:recovery-point:0A";

/// A guard over a directory that was restored.
fn restored(data: &Path, script: &str) -> Command {
    let mut command = quick(data, script);
    command.env("GUARD_RESTORED", RECOVERY_POINT);
    command
}

/// The server truncates at its start and goes on from there; what it has written since must not be cut off by the next start.
#[test]
fn a_restored_database_is_truncated_once_before_its_server_starts() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("chaser.chk"), "old\n").unwrap();
    let script = "[ -z \"$GUARD_RESTORED\" ] || exit 9; cat $DATA/truncate.chk >> $DATA/seen; rm $DATA/truncate.chk; \
                  echo new > $DATA/chaser.chk; exit 3";
    for attempt in 1..=2 {
        let output = restored(data.path(), script).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert_eq!(stderr(&output).contains(RECOVERY_POINT), attempt == 1, "{}", stderr(&output));
        assert_eq!(fs::read_to_string(data.path().join("seen")).unwrap(), "old\n", "start {attempt}");
    }
    let other = restored(data.path(), script).env("GUARD_RESTORED", "another").output().unwrap();
    assert!(stderr(&other).contains("restored from another"), "{}", stderr(&other));
    assert_eq!(fs::read_to_string(data.path().join("seen")).unwrap(), "old\nnew\n");
}

#[test]
fn a_restored_directory_without_a_database_is_refused_and_the_next_guard_does_not_wait() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = restored(data.path(), "exit 0").output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(74), "{said}");
        assert!(said.contains("could not read `") && said.contains("chaser.chk`"), "{said}");
        assert!(said.lines().last().unwrap().starts_with("hint: there is no database"), "{said}");
        assert!(!said.contains("did not sign off"), "the first one signed off: {said}");
    }
    let untouched = Guard::start("exit 5");
    assert_eq!(untouched.end().status.code(), Some(5), "without the variable nothing is asked of a directory");
}

/// Killed at any moment, again and again, it ends as if it had never been killed.
#[test]
fn killed_preparation_is_finished_by_the_next_guard() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("chaser.chk"), "checkpoint\n").unwrap();
    let restored = |script: &str| {
        let mut restored = quick(data.path(), script);
        restored.env("GUARD_RESTORED", RECOVERY_POINT).env("GUARD_SERVER_VERSION", "26.0");
        restored
    };
    for delay in 0..12 {
        // What was killed did not sign off: the next one waits, and fences.
        restore_sign_off(data.path());
        let mut killed = Running(restored("exec sleep 60").spawn().unwrap());
        // Not a wait for anything: each one is killed a little later than the one before.
        std::thread::sleep(Duration::from_micros(delay * 500));
        killed.kill().unwrap();
        killed.end();
        for (name, whole) in [
            ("truncate.chk", "checkpoint\n".to_owned()),
            (".guard.restored", format!("{RECOVERY_POINT}\n")),
            (".guard.version", "guard1 last=26.0 newest=26.0\n".to_owned()),
        ] {
            let found = fs::read_to_string(data.path().join(name)).unwrap_or_default();
            assert!(found.is_empty() || found == whole, "{name} is torn after kill {delay}: {found}");
        }
    }
    let output = restored("cat $DATA/truncate.chk > $DATA/seen; exit 3").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(data.path().join("seen")).unwrap(), "checkpoint\n");
    assert_eq!(temporary_files(data.path()), 0);
}

/// As if the guard that was killed had signed off, so that the next one starts at once.
fn restore_sign_off(data: &Path) {
    let lock = data.join(".guard.lock");
    if let Ok(record) = fs::read_to_string(&lock) {
        fs::write(lock, record.replacen(" held ", " signed-off ", 1)).unwrap();
    }
}

fn temporary_files(data: &Path) -> usize {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
}

/// The lock file is not what it was when it was locked: nothing keeps another guard away any more.
#[test]
fn server_is_killed_when_its_lock_file_is_not_in_place() {
    let changes: [fn(&Path); 3] = [
        |lock| fs::remove_file(lock).unwrap(),
        |lock| fs::rename(lock, lock.with_file_name("moved")).unwrap(),
        |lock| {
            fs::write(lock.with_file_name("new"), "").unwrap();
            fs::rename(lock.with_file_name("new"), lock).unwrap();
        },
    ];
    for change in changes {
        let data = tempfile::tempdir().unwrap();
        let mut first = Running(quick(data.path(), SERVER).spawn().unwrap());
        let server = wait_for(&data.path().join("pid")).trim().to_owned();
        change(&data.path().join(".guard.lock"));
        let started = Instant::now();
        let script =
            format!("[ -e /proc/{server} ] && echo both > $DATA/overlap; echo second > $DATA/second; exec sleep 60");
        let mut second = Running(quick(data.path(), &script).spawn().unwrap());
        assert_eq!(first.end().code(), Some(74));
        let mut logged = String::new();
        first.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
        assert!(logged.contains("the lock on `") && logged.contains(".guard.lock` was "), "{logged}");
        wait_for(&data.path().join("second"));
        assert!(started.elapsed() >= Duration::from_millis(1500), "a new lock file beside data is not waited for");
        assert!(!data.path().join("overlap").exists(), "both servers ran at once");
        signal(second.id(), "TERM");
        assert_eq!(second.end().code(), Some(143));
    }
}

/// A guard that has waited for a file that was moved away must not lock that one.
#[test]
fn waiting_guard_locks_the_file_at_the_path() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Running(quick(data.path(), SERVER).spawn().unwrap());
    wait_for(&data.path().join("pid"));
    let mut second = Running(quick(data.path(), "echo second > $DATA/second; exec sleep 60").spawn().unwrap());
    let mut log = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("waiting for the lock"), "{line}");
    fs::rename(data.path().join(".guard.lock"), data.path().join("moved")).unwrap();
    assert_eq!(first.end().code(), Some(74));
    wait_for(&data.path().join("second"));
    assert!(record(data.path()).contains(&format!("pid {}", second.id())), "{}", record(data.path()));
    signal(second.id(), "TERM");
    assert_eq!(second.end().code(), Some(143));
}

#[test]
fn takeover_gives_files_new_inodes_and_removes_temporary_ones() {
    let data = tempfile::tempdir().unwrap();
    let script = "echo 1 > $DATA/writer.chk; echo 2 > $DATA/indexmap.x.tmp; exec 3<>$DATA/writer.chk; echo > $DATA/ready; exec sleep 60";
    let mut first = Running(quick(data.path(), script).spawn().unwrap());
    wait_for(&data.path().join("ready"));
    let inode = || fs::metadata(data.path().join("writer.chk")).unwrap().ino();
    let before = inode();
    signal(first.id(), "KILL");
    first.end();
    let output = quick(data.path(), "ls $DATA > $DATA/seen; exit 3").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_ne!(inode(), before);
    assert!(!fs::read_to_string(data.path().join("seen")).unwrap().contains(".tmp"));
    assert!(
        stderr(&output).contains("guard: replaced 2 files") && stderr(&output).contains("removed 1 temporary"),
        "{}",
        stderr(&output)
    );

    let after = inode();
    let output = quick(data.path(), "exit 3").output().unwrap();
    assert_eq!((output.status.code(), inode()), (Some(3), after), "a holder that signed off is not fenced");
}

/// The whole machine is paused, as a virtual machine can be: guard had no chance to write, and nobody took its lock.
#[test]
fn pause_of_guard_and_server_is_survived() {
    let data = tempfile::tempdir().unwrap();
    let mut guard = Running(quick(data.path(), SERVER).spawn().unwrap());
    let server: u32 = wait_for(&data.path().join("pid")).trim().parse().unwrap();
    for name in ["STOP", "CONT"] {
        signal(guard.id(), name);
        signal(server, name);
        std::thread::sleep(Duration::from_secs(2));
    }
    assert!(guard.try_wait().unwrap().is_none(), "guard gave up although it holds the lock");
    assert!(Path::new(&format!("/proc/{server}")).exists());
    signal(guard.id(), "TERM");
    assert_eq!(guard.end().code(), Some(0), "the server goes on and ends as it is told");
    let mut logged = String::new();
    guard.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
    assert!(logged.contains("guard did not run for") && logged.contains("the lock is still held"), "{logged}");
}

#[test]
fn paused_guard_whose_lock_was_taken_kills_its_server() {
    let data = tempfile::tempdir().unwrap();
    let mut guard = Running(quick(data.path(), SERVER).spawn().unwrap());
    let server: u32 = wait_for(&data.path().join("pid")).trim().parse().unwrap();
    signal(guard.id(), "STOP");
    signal(server, "STOP");
    std::thread::sleep(Duration::from_secs(2));
    fs::remove_file(data.path().join(".guard.lock")).unwrap();
    signal(guard.id(), "CONT");
    assert_eq!(guard.end().code(), Some(74));
    assert!(!Path::new(&format!("/proc/{server}")).exists());
}

fn versioned(data: &Path, version: &str, opens: &str) -> Output {
    let mut command = quick(data, "echo started >> $DATA/starts; exit 3");
    command.env("GUARD_SERVER_VERSION", version).env("GUARD_OPENS_DATA_OF", opens).output().unwrap()
}

#[test]
fn undeclared_server_version_is_refused_and_data_unchanged() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(versioned(data.path(), "24.10", "26.1").status.code(), Some(3));
    assert_eq!(versioned(data.path(), "26.1", "24.10").status.code(), Some(3));
    assert_eq!(versioned(data.path(), "24.10", "26.1").status.code(), Some(3), "declared both ways");
    let state = || {
        let files = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.map(|path| (fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap(), path)).collect();
        files.sort();
        files
    };
    let before = state();
    // Also without the wait for a holder that did not sign off, and without a fence.
    let output = versioned(data.path(), "22.10", "24.10");
    assert_eq!(output.status.code(), Some(76), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("server version 22.10 is not declared to open data of 26.1"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("hint: deploy a server of 26.1 again"), "{}", stderr(&output));
    let unknown = quick(data.path(), "exit 3").output().unwrap();
    assert_eq!(unknown.status.code(), Some(76), "{}", stderr(&unknown));
    assert_eq!(state(), before);
    assert_eq!(fs::read_to_string(data.path().join("starts")).unwrap().lines().count(), 3);
}

#[test]
fn refused_version_leaves_an_unfenced_directory_to_the_next() {
    let data = tempfile::tempdir().unwrap();
    let mut first = quick(data.path(), "echo > $DATA/writer.chk; echo > $DATA/ready; exec sleep 60");
    let mut first = Running(first.env("GUARD_SERVER_VERSION", "26.0").spawn().unwrap());
    wait_for(&data.path().join("ready"));
    signal(first.id(), "KILL");
    first.end();
    assert_eq!(versioned(data.path(), "24.10", "").status.code(), Some(76));
    let output = versioned(data.path(), "26.0", "");
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("guard: replaced "), "{}", stderr(&output));
}

#[test]
fn restore_resets_the_recorded_version() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("chaser.chk"), "checkpoint\n").unwrap();
    restored(data.path(), "exit 3").env("GUARD_SERVER_VERSION", "26.1").output().unwrap();
    let mut other = restored(data.path(), "exit 3");
    other.env("GUARD_SERVER_VERSION", "24.10").env("GUARD_RESTORED", "another");
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("was reset by the restore, it was 26.1"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(data.path().join(".guard.version")).unwrap(), "guard1 last=24.10 newest=24.10\n");
}

#[test]
fn exec_runs_a_program_once_under_the_lock() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("index")).unwrap();
    fs::write(data.path().join(".guard.lock"), "").unwrap();
    fs::write(data.path().join(".guard.version"), "guard1 last=26.0 newest=26.0\n").unwrap();
    let exec = |script: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guard"));
        command.arg("exec").args(QUICK).args(["--", "/bin/sh", "-c", script]).env("GUARD_DATA_DIR", data.path());
        command.env("DATA", data.path()).output().unwrap()
    };
    let output = exec("echo x >> $DATA/runs; mv $DATA/index $DATA/moved");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("the lock file is new and the directory is not"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(data.path().join("runs")).unwrap().lines().count(), 1);
    assert!(record(data.path()).starts_with("guard1 signed-off "), "{}", record(data.path()));
    assert_eq!(exec("exit 4").status.code(), Some(4));

    let mut server = Running(quick(data.path(), SERVER).env("GUARD_SERVER_VERSION", "26.0").spawn().unwrap());
    wait_for(&data.path().join("pid"));
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_guard"));
    waiting
        .arg("exec")
        .args(QUICK)
        .args(["--", "/bin/touch"])
        .arg(data.path().join("beside"))
        .env("GUARD_DATA_DIR", data.path());
    let mut waiting = Running(waiting.stderr(Stdio::null()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!data.path().join("beside").exists(), "files would be moved under a server");
    signal(server.id(), "TERM");
    assert_eq!(server.end().code(), Some(0));
    assert_eq!(waiting.end().code(), Some(0));
    assert!(data.path().join("beside").exists());
}

#[test]
fn healthcheck_follows_the_status_file() {
    let data = tempfile::tempdir().unwrap();
    let status = data.path().join("status.json");
    let check = || {
        let mut check = Command::new(env!("CARGO_BIN_EXE_guard"));
        check.arg("healthcheck").env("GUARD_STATUS_FILE", &status).output().unwrap()
    };
    assert_eq!(check().status.code(), Some(1));
    let mut first = Running(quick(data.path(), SERVER).env("GUARD_STATUS_FILE", &status).spawn().unwrap());
    wait_for(&data.path().join("pid"));
    assert_eq!(check().status.code(), Some(0));
    signal(first.id(), "TERM");
    first.end();
    let ended = check();
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("guard has ended"), "{}", stderr(&ended));
}
