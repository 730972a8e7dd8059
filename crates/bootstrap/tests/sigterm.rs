//! SIGTERM at every moment of a sidecar's life: it ends with 0 and leaves no entry, and a second signal changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{DEADLINE, HOST, Place, Scene, Sidecar, TASK};
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::aws::Moment;
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity, Trouble};
use testkit::node::DatabaseNode;
use testkit::proxy::{Fault, FaultProxy, Filter, Injection, TlsFiles, Upstream, When};
use tokio::task::block_in_place;

/// ECS kills a container this long after SIGTERM.
const BUDGET: Duration = Duration::from_secs(30);
/// More calls than an undisturbed run makes.
const MOST_CALLS: usize = 80;

fn terminate(id: u32) {
    // 0 and 1 are not processes that a test started.
    assert!(id > 1);
    kill(Pid::from_raw(i32::try_from(id).unwrap()), Signal::SIGTERM).unwrap();
}

/// Sends SIGTERM, and again while it leaves; it ends as if there had been one.
#[track_caller]
fn assert_leaves(sidecar: &mut Sidecar) {
    terminate(sidecar.child.id());
    sidecar.wait_for("SIGTERM: leaving");
    // It may have ended by now, and is not waited for: the id is still its own.
    terminate(sidecar.child.id());
    assert_ends(sidecar, Instant::now());
}

#[track_caller]
fn assert_ends(sidecar: &mut Sidecar, asked: Instant) {
    assert_eq!(sidecar.wait_for_end(), 0, "{}", sidecar.log);
    assert!(asked.elapsed() < BUDGET, "after {:?}: {}", asked.elapsed(), sidecar.log);
    assert_eq!(sidecar.log.matches("SIGTERM: leaving").count(), 1, "{}", sidecar.log);
}

#[track_caller]
fn assert_nothing_is_left(scene: &Scene, sidecar: &Sidecar) {
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)), [], "{}", sidecar.log);
}

/// Waits until a fault that never answers was met: the sidecar waits for a reply then.
async fn until_met(injection: &Injection) {
    let deadline = Instant::now() + DEADLINE;
    while !injection.was_met() {
        assert!(Instant::now() < deadline, "nobody makes this call");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One round. False if the sidecar has withdrawn its node without a call of that number.
async fn terminated_at(call: usize, moment: Moment) -> bool {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.05)).await;
    // Long enough that an operation is asked for several times.
    scene.aws.set_operation_time(Duration::from_millis(500));
    let victim = Arc::new(AtomicU32::new(0));
    let killer = Arc::clone(&victim);
    scene.aws.watch(move |number, now| {
        if (number, now) == (call, moment) {
            let id = killer.swap(0, Ordering::SeqCst);
            // 0 stands for a sidecar that is on its way out.
            if id != 0 {
                terminate(id);
            }
        }
    });
    let mut sidecar = scene.start(&[]);
    victim.store(sidecar.child.id(), Ordering::SeqCst);
    let registered = block_in_place(|| sidecar.wait_for_any(&["registered", "SIGTERM: leaving"])) == "registered";
    // What calls there are after that are those of the withdrawal.
    let had_met = victim.load(Ordering::SeqCst) == 0;
    if registered && !had_met {
        terminate(sidecar.child.id());
    }
    block_in_place(|| assert_ends(&mut sidecar, Instant::now()));
    assert_nothing_is_left(&scene, &sidecar);
    victim.swap(0, Ordering::SeqCst) == 0
}

/// While it waits for this reply, and when the call has had its effect and the reply is on its way; those of the withdrawal
/// get a second signal.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn at_every_call_to_aws() {
    common::at_every_call(MOST_CALLS, 20, |call| {
        let moment = if call % 2 == 0 { Moment::BeforeEffect } else { Moment::AfterEffect };
        vec![terminated_at(call, moment)]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_there_is_a_server_or_a_certificate() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    kill(Pid::from_raw(i32::try_from(scene.node.process_id()).unwrap()), Signal::SIGTERM).unwrap();
    scene.node.wait_for_end();
    for (arguments, moment) in [
        (&["--certs=/nowhere"][..], "bootstrap "),
        (&["--certs=/nowhere"], "certgen writes them"),
        (&[], "waiting for the server"),
    ] {
        let mut sidecar = scene.start(arguments);
        block_in_place(|| sidecar.wait_for(moment));
        block_in_place(|| assert_leaves(&mut sidecar));
        assert_nothing_is_left(&scene, &sidecar);
    }
    // It accepts and never answers.
    let silent = TcpListener::bind(scene.node.address()).unwrap();
    let mut sidecar = scene.start(&[]);
    let connection = block_in_place(|| silent.accept().unwrap());
    block_in_place(|| assert_leaves(&mut sidecar));
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_aws_does_not_answer() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let proxy = FaultProxy::start(Upstream::endpoint(&scene.endpoint)).await.unwrap();
    scene.endpoint = proxy.endpoint();
    for (operation, fault) in [
        ("DescribeSecret", Fault::BlackHole),
        ("UpdateSecretVersionStage", Fault::Unanswered),
        ("RegisterInstance", Fault::Unanswered),
        ("GetOperation", Fault::BlackHole),
    ] {
        let unanswered = proxy.inject(Filter::operation(operation), When::Nth(1), fault);
        let mut sidecar = scene.start(&[]);
        until_met(&unanswered).await;
        block_in_place(|| assert_leaves(&mut sidecar));
        assert_nothing_is_left(&scene, &sidecar);
        proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_or_the_task_does_not_answer() {
    let scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    scene.node.wait_until_ready().await;
    let certs = scene.node.certs();
    let files = TlsFiles {
        certificate: certs.join("node.crt"),
        key: certs.join("node.key"),
        roots: certs.join("ca/ca.crt"),
        server_name: "localhost".to_owned(),
    };
    let proxy = FaultProxy::start(Upstream::Tls(scene.node.address(), files)).await.unwrap();
    let reset = "/users/admin/command/reset-password";
    for (method, path) in [(Method::GET, "/health/live"), (Method::GET, "/info"), (Method::POST, reset)] {
        let unanswered = proxy.inject(Filter::request(method, path), When::Nth(1), Fault::Unanswered);
        let place = Place { name: "node-1", server: proxy.address(), certs: &certs };
        let mut sidecar = Sidecar::start_beside(&place, &scene.endpoint, &scene.service, &[]);
        until_met(&unanswered).await;
        block_in_place(|| assert_leaves(&mut sidecar));
        assert_nothing_is_left(&scene, &sidecar);
        proxy.heal();
    }

    let (task_arn, family) = (TASK.to_owned(), "node".to_owned());
    let identity = TaskIdentity { task_arn, family, address: "127.0.0.1".parse().unwrap() };
    let endpoints = TaskEndpoints::start(identity).await.unwrap();
    endpoints.disturb(Endpoint::Metadata, Trouble::Hang);
    let given = endpoints.environment();
    let mut variables: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.extend(["BOOTSTRAP_ADDRESS", "BOOTSTRAP_TASK_ARN"].map(|name| (name, "")));
    let place = Place { name: "node-1", server: scene.node.address(), certs: &certs };
    let mut sidecar = Sidecar::start_with(&place, &scene.endpoint, &scene.service, &[], &variables);
    block_in_place(|| sidecar.wait_for("the passwords in Secrets Manager"));
    block_in_place(|| assert_leaves(&mut sidecar));
    assert_nothing_is_left(&scene, &sidecar);
}

/// Standing; and then while it withdraws, with a reply that takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn twice_is_the_same_as_once() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let proxy = FaultProxy::start(Upstream::endpoint(&scene.endpoint)).await.unwrap();
    scene.endpoint = proxy.endpoint();
    let mut sidecar = scene.start(&[]);
    block_in_place(|| sidecar.wait_for("registered"));
    let slow =
        proxy.inject(Filter::operation("DeregisterInstance"), When::Nth(1), Fault::Delay(Duration::from_millis(700)));
    let asked = Instant::now();
    terminate(sidecar.child.id());
    until_met(&slow).await;
    for _ in 0..3 {
        terminate(sidecar.child.id());
    }
    block_in_place(|| assert_ends(&mut sidecar, asked));
    assert!(sidecar.log.contains("withdrawn"), "{}", sidecar.log);
    assert_nothing_is_left(&scene, &sidecar);
}

/// What cannot be withdrawn is said, and does not keep the database from being stopped.
#[tokio::test(flavor = "multi_thread")]
async fn without_cloud_map_it_ends_within_the_budget_and_says_what_remains() {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.1)).await;
    let proxy = FaultProxy::start(Upstream::endpoint(&scene.endpoint)).await.unwrap();
    scene.endpoint = proxy.endpoint();
    let mut sidecar = scene.start(&[]);
    block_in_place(|| sidecar.wait_for("registered"));
    proxy.inject(Filter::any(), When::From(1), Fault::BlackHole);
    block_in_place(|| assert_leaves(&mut sidecar));
    assert!(sidecar.log.contains("the entry may remain: not withdrawn within 20 s"), "{}", sidecar.log);
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)).len(), 1);
}
