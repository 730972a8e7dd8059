//! Two servers on one data directory: what a real one does (observed §6), and that guard prevents it.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use testkit::consumer;
use testkit::net::own_loopback;
use testkit::node::{issue_certificates, server_options};
use testkit::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(30);

/// A server process, or a guard with one. Killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    ca: String,
}

/// A data directory and certificates for whoever wants to be its server.
struct Scene {
    programs: Programs,
    root: TempDir,
}

impl Scene {
    fn new() -> Self {
        let programs = Programs::beside_this_test();
        let root = tempfile::tempdir().unwrap();
        for name in ["certs", "data"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        issue_certificates(&programs, root.path(), "node-1.test");
        Self { programs, root }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    /// A server in a container of its own: with its own `/tmp`, and under a guard if `guarded`.
    fn start(&self, container: &str, guarded: bool) -> Server {
        self.start_with(container, guarded, &[])
    }

    /// The same with more variables.
    fn start_with(&self, container: &str, guarded: bool, environment: &[(&str, &str)]) -> Server {
        let tmp = self.path(container);
        fs::create_dir_all(&tmp).unwrap();
        let address = own_loopback().unwrap();
        let mut command = if guarded {
            let mut guard = Command::new(self.programs.guard());
            guard.args([
                "run",
                "--heartbeat-interval=100ms",
                "--heartbeat-timeout=1s",
                "--takeover-after=1500ms",
                "--data-dir",
            ]);
            guard.arg(self.path("data")).arg("--").arg(self.programs.standin());
            guard
        } else {
            Command::new(self.programs.standin())
        };
        let child = command
            .env_clear()
            .env("STANDIN_TIME_SCALE", "0.05")
            .env("STANDIN_TMP", &tmp)
            .envs(server_options(self.root.path(), address))
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server { child, address, ca: fs::read_to_string(self.path("certs/ca/ca.crt")).unwrap() }
    }
}

impl Server {
    async fn is_ready(&self) -> bool {
        let answer = consumer::get(self.address, "localhost", &self.ca, "/health/live", None).await;
        answer.is_ok_and(|(status, _)| status == 204)
    }

    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.is_ready().await {
            assert!(Instant::now() < deadline, "the server was not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The status of the creation of a user.
    async fn create(&self, login: &str) -> u16 {
        let user = json!({"loginName": login, "fullName": login, "groups": [], "password": "p"});
        let posted = consumer::post(self.address, "localhost", &self.ca, "/users/", ("admin", "changeit"), &user).await;
        posted.unwrap().as_u16()
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn terminate(mut self) {
        assert!(Command::new("/bin/kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert_eq!(self.wait_for_end().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn with_one_tmp_the_second_server_exits() {
    let scene = Scene::new();
    let first = scene.start("one", false);
    first.wait_until_ready().await;
    assert_eq!(scene.start("one", false).wait_for_end().code(), Some(1));
    assert!(first.is_ready().await);
}

#[tokio::test]
async fn with_a_tmp_each_both_lead_and_ruin_the_database() {
    let scene = Scene::new();
    let first = scene.start("one", false);
    first.wait_until_ready().await;
    let second = scene.start("two", false);
    second.wait_until_ready().await;
    for number in 0..3 {
        assert_eq!(first.create(&format!("a{number}")).await, 201);
        assert_eq!(second.create(&format!("b{number}")).await, 201, "nobody notices anything");
    }
    first.terminate();
    second.terminate();
    assert_eq!(scene.start("three", false).wait_for_end().code(), Some(1), "the database never opens again");
}

#[tokio::test]
async fn under_guards_there_is_one_writer_at_a_time() {
    let scene = Scene::new();
    let first = scene.start("one", true);
    first.wait_until_ready().await;
    let second = scene.start("two", true);
    for number in 0..10 {
        assert_eq!(first.create(&format!("a{number}")).await, 201);
        assert!(!second.is_ready().await, "two servers on one directory");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.terminate();
    second.wait_until_ready().await;
    assert_eq!(second.create("b").await, 201);
    assert_eq!(second.create("a0").await, 201, "the same user again: what the first wrote is there");
    second.terminate();
    let third = scene.start("three", true);
    third.wait_until_ready().await;
    assert!(!Path::new(&scene.path("data/standin-ruined")).exists());
    third.terminate();
}

/// What a CloudFormation rollback, an old configuration or a hand-made update does: it starts the old version on the new data.
#[tokio::test]
async fn old_server_version_does_not_open_newer_data() {
    let scene = Scene::new();
    let start = |version: &str, opens: &str| {
        let container = format!("{version}-{opens}");
        let line = if version == "26.0" { "26" } else { version };
        let versions = [("STANDIN_LINE", line), ("GUARD_SERVER_VERSION", version), ("GUARD_OPENS_DATA_OF", opens)];
        scene.start_with(&container, true, &versions)
    };
    for (number, (version, opens)) in [("24.10", ""), ("26.0", "24.10")].into_iter().enumerate() {
        let server = start(version, opens);
        server.wait_until_ready().await;
        assert_eq!(server.create(&format!("user{number}")).await, 201);
        server.terminate();
    }
    let log = fs::read(scene.path("data/standin-users.jsonl")).unwrap();
    assert_eq!(start("24.10", "").wait_for_end().code(), Some(76), "not declared to open data of 26.0");
    assert_eq!(
        start("22.10", "24.10").wait_for_end().code(),
        Some(76),
        "the data was opened by a newer one in between"
    );
    assert_eq!(fs::read(scene.path("data/standin-users.jsonl")).unwrap(), log, "the data is unchanged");

    for (version, opens) in [("24.10", "26.0"), ("26.0", "24.10")] {
        let server = start(version, opens);
        server.wait_until_ready().await;
        assert_eq!(server.create("user0").await, 201, "the same user again: what was written is there");
        server.terminate();
    }
}
