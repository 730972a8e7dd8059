//! Passwords, keys and credentials pass through our programs: no other process of their user may look into them, and no
//! core of them is written. The server, which is not ours, stays as it is.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testkit::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;

/// Processes of a user who is not root, in a directory of its own. They may write a core if they can.
struct Scene {
    directory: TempDir,
    user: u32,
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let own = fs::metadata("/proc/self").unwrap().uid();
        Self { directory, user: if own == 0 { NOBODY } else { own } }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A copy that the user can start, wherever the workspace is.
    fn copy(&self, program: &Path) -> PathBuf {
        let copy = self.path().join(program.file_name().unwrap());
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        copy
    }

    /// Root that becomes another user needs to; everybody else is the user already.
    fn as_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.user == NOBODY { command.uid(NOBODY).gid(NOBODY) } else { command }
    }

    fn start(&self, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"]).arg(program).args(arguments);
        command.env_clear().envs(environment.iter().copied()).env("MARK", "readable").current_dir(self.path());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Running(self.as_user(&mut command).spawn().unwrap())
    }

    /// The environment of a process as another process of the user reads it, unless that is refused.
    fn read(&self, id: u32) -> Option<String> {
        let mut reader = Command::new("/bin/cat");
        reader.arg(format!("/proc/{id}/environ")).stderr(Stdio::null());
        let output = self.as_user(&mut reader).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn can_read(&self, id: u32) -> bool {
        self.read(id).is_some_and(|environment| environment.contains("MARK=readable"))
    }

    /// Waits until the process is the program and has had the time to hide.
    fn assert_hides(&self, running: &mut Running, program: &str) {
        let deadline = Instant::now() + DEADLINE;
        let id = running.0.id();
        let is_program = || fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == program);
        while !is_program() || self.read(id).is_some() {
            assert!(running.0.try_wait().unwrap().is_none(), "{program} ended");
            assert!(Instant::now() < deadline, "another process reads the environment of {program}");
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.user == NOBODY {
            assert_eq!(fs::metadata(format!("/proc/{id}/environ")).unwrap().uid(), 0, "{program}: only root may look");
        }
    }

    /// Whether it leaves a core when it dies of a signal that asks for one.
    fn leaves_core(running: &mut Running) -> bool {
        kill(Pid::from_raw(i32::try_from(running.0.id()).unwrap()), Signal::SIGQUIT).unwrap();
        running.0.wait().unwrap().core_dumped()
    }
}

#[test]
fn other_programs_can_be_read_and_ours_cannot() {
    let scene = Scene::new();
    let mut sleep = scene.start(Path::new("/bin/sleep"), &["60"], &[]);
    let deadline = Instant::now() + DEADLINE;
    while !scene.can_read(sleep.0.id()) {
        assert!(Instant::now() < deadline, "this user can read no process at all, so that the test shows nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let others_leave_cores = Scene::leaves_core(&mut sleep);

    let programs = Programs::beside_this_test();
    // It accepts connections and never answers.
    let silence = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silence.local_addr().unwrap());
    let aws = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("BOOTSTRAP_ALLOW_HTTP_ENDPOINT", "true"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let arguments = ["rotate", "--admin-secret=a", "--ops-secret=o"];
    let mut bootstrap = scene.start(&scene.copy(&programs.bootstrap()), &arguments, &aws);
    scene.assert_hides(&mut bootstrap, "bootstrap");
    assert!(!Scene::leaves_core(&mut bootstrap), "others leave cores: {others_leave_cores}");
}

#[test]
fn certgen_cannot_be_read_while_it_holds_keys() {
    let scene = Scene::new();
    let programs = Programs::beside_this_test();
    let fifo = scene.path().join("ca.key");
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&fifo).status().unwrap().success());
    // Nobody writes to the pipe: certgen waits there for the key.
    let key = format!("--ca-key={}", fifo.display());
    let certificate = format!("--ca-certificate={}", fifo.display());
    let arguments = ["--out=out", "--ca-source=files", &certificate, &key, "--dns-names=node-1.test"];
    fs::create_dir(scene.path().join("out")).unwrap();
    let mut certgen = scene.start(&scene.copy(&programs.certgen()), &arguments, &[]);
    scene.assert_hides(&mut certgen, "certgen");
    assert!(!Scene::leaves_core(&mut certgen));
}

/// What guard takes out of the server's environment stands in guard's own.
#[test]
fn guard_cannot_be_read_and_its_server_can() {
    let scene = Scene::new();
    let programs = Programs::beside_this_test();
    let data = scene.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let data_dir = format!("--data-dir={}", data.display());
    let arguments = ["run", &data_dir, "--", "/bin/sleep", "60"];
    let mut guard =
        scene.start(&scene.copy(&programs.guard()), &arguments, &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")]);
    scene.assert_hides(&mut guard, "guard");
    let id = guard.0.id();
    let deadline = Instant::now() + DEADLINE;
    let server = || fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.trim().parse::<u32>().ok();
    while !server().is_some_and(|server| scene.can_read(server)) {
        assert!(Instant::now() < deadline, "the server cannot be read, or does not run");
        std::thread::sleep(Duration::from_millis(5));
    }
}
