//! The task's address in the certificate, from testkit's ECS endpoints: there, changed, late, silent, broken.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use common::{Ran, Scene};
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};
use tokio::runtime::Runtime;

struct Task {
    runtime: Runtime,
    endpoints: TaskEndpoints,
    scene: Scene,
}

fn endpoints(runtime: &Runtime, address: &str) -> TaskEndpoints {
    let identity = TaskIdentity {
        task_arn: "arn:aws:ecs:eu-west-1:123456789012:task/es/1".to_owned(),
        family: "es".to_owned(),
        address: address.parse().unwrap(),
    };
    runtime.block_on(TaskEndpoints::start(identity)).unwrap()
}

impl Task {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoints = endpoints(&runtime, "10.0.0.7");
        let scene = Scene::new();
        fs::create_dir(scene.path("out")).unwrap();
        Self { runtime, endpoints, scene }
    }

    fn run(&self, line: &str) -> Ran {
        let mut command = self.scene.command();
        command.envs(self.endpoints.environment_of("certgen")).args(line.split(' '));
        Ran::of(command.output().unwrap())
    }
}

#[test]
fn it_is_among_the_names_and_a_reason_when_it_changes() {
    let mut task = Task::new();
    task.endpoints.hide_networks(3);
    let ran = task.run("--out out");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("for localhost, 127.0.0.1, ::1, 10.0.0.7, valid"), "{ran:?}");
    assert!(task.endpoints.seen().len() > 3, "it asked until the networks were there");
    assert!(task.run("--out out").stderr.starts_with("certgen: kept"));
    task.endpoints = endpoints(&task.runtime, "10.0.0.8");
    let ran = task.run("--out out --ip-addresses 10.0.0.8");
    assert!(ran.stderr.contains("due: the names differ: the certificate lacks 10.0.0.8; has 10.0.0.7"), "{ran:?}");
}

#[test]
fn nobody_is_asked_who_need_not_be() {
    let task = Task::new();
    task.endpoints.disturb(Endpoint::Metadata, Trouble::Hang);
    let ran = task.run("--out out --task-address off");
    assert!(ran.code == Some(0) && ran.stderr.contains("for localhost, 127.0.0.1, ::1, valid"), "{ran:?}");
    assert!(task.endpoints.seen().is_empty());
}

/// Refused within the deadline, with everything else that is wrong, and nothing is written.
#[track_caller]
fn refused(task: &Task, reason: &str) {
    let begun = Instant::now();
    let ran = task.run("--out out --ca-state nowhere --guard nothing");
    assert!(begun.elapsed() < Duration::from_secs(7), "it took {:?}", begun.elapsed());
    assert_eq!(ran.code, Some(74), "{ran:?}");
    for part in ["could not read `nothing`", "publish in `nowhere`", "could not learn the task's address from", reason]
    {
        assert!(ran.stderr.contains(part), "no `{part}` in {ran:?}");
    }
    assert_eq!(ran.stderr.matches("error: ").count(), 3, "{ran:?}");
    assert!(ran.stderr.lines().last().unwrap().contains("--task-address off"), "{ran:?}");
    assert_eq!(fs::read_dir(task.scene.path("out")).unwrap().count(), 0);
}

#[test]
fn an_endpoint_that_hangs_is_told() {
    let task = Task::new();
    task.endpoints.disturb(Endpoint::Metadata, Trouble::Hang);
    refused(&task, "within 5 s");
}

#[test]
fn an_endpoint_that_refuses_is_told() {
    let task = Task::new();
    task.endpoints.disturb(Endpoint::Metadata, Trouble::Status(503));
    refused(&task, "it answered 503");
}

#[test]
fn networks_that_never_come_are_told() {
    let task = Task::new();
    task.endpoints.hide_networks(usize::MAX);
    refused(&task, "no container has an IPv4 address yet");
}

/// One that accepts, begins to answer, and goes on without end, a byte at a time.
#[test]
fn an_endpoint_that_drips_is_told() {
    let scene = Scene::new();
    fs::create_dir(scene.path("out")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/v4/a", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
                let mut answer = head.iter().chain(std::iter::repeat(&b' '));
                // Until whoever asked goes away.
                while stream.write_all(&[*answer.next().unwrap()]).is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    let begun = Instant::now();
    let ran =
        Ran::of(scene.command().env("ECS_CONTAINER_METADATA_URI_V4", uri).args(["--out", "out"]).output().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(7), "it took {:?}", begun.elapsed());
    assert!(ran.code == Some(69) && ran.stderr.contains("within 5 s"), "{ran:?}");
}
