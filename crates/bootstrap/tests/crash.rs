//! Killed at every one of its AWS calls, before the call has an effect and after it, and run again: nobody is locked out,
//! and the second run ends where an undisturbed one does.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{HOST, Scene, password};
use serde_json::Value;
use testkit::aws::{Aws, Moment};
use testkit::node::DatabaseNode;

/// More calls than an undisturbed run makes.
const MOST_CALLS: usize = 60;

/// Whether the database opens with one of the stored passwords, after a restart that empties its cache.
async fn some_stored_password_opens(node: &mut DatabaseNode, aws: &Aws, user: &str) -> bool {
    node.restart();
    node.wait_until_ready().await;
    let versions = aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
    for version in versions {
        let secret: Value = serde_json::from_str(&version.text).unwrap();
        if node.status("/ping", Some((user, secret["password"].as_str().unwrap()))).await == Some(200) {
            return true;
        }
    }
    // Not touched yet, which is no loss.
    node.status("/ping", Some((user, "changeit"))).await == Some(200)
}

/// One round. False if the sidecar registered without having met the call at which it was to be killed.
async fn killed_at(call: usize, moment: Moment) -> bool {
    let mut scene = Scene::with(DatabaseNode::start(HOST, 0.05)).await;
    let victim = Arc::new(AtomicU32::new(0));
    let killer = Arc::clone(&victim);
    scene.aws.watch(move |number, now| {
        if (number, now) == (call, moment) {
            let id = killer.swap(0, Ordering::SeqCst).to_string();
            // 0 would be everybody: it stands for a sidecar that has been killed already.
            assert!(id == "0" || Command::new("/bin/kill").args(["-KILL", &id]).status().unwrap().success());
        }
    });
    let mut sidecar = scene.start(&[]);
    victim.store(sidecar.child.id(), Ordering::SeqCst);
    let met = tokio::task::block_in_place(|| sidecar.was_killed_before("registered"));
    drop(sidecar);
    // The second run is left alone, also at the call that the first one never made.
    victim.store(0, Ordering::SeqCst);
    let round = format!("killed at call {call} {moment:?}");

    for user in ["admin", "ops"] {
        assert!(some_stored_password_opens(&mut scene.node, &scene.aws, user).await, "{round}: {user} is locked out");
    }
    let mut second = scene.start(&[]);
    tokio::task::block_in_place(|| second.wait_for("registered"));
    for user in ["admin", "ops"] {
        let current = password(&scene.aws, user);
        assert_eq!(scene.node.status("/ping", Some((user, &current))).await, Some(200), "{round}: {user}");
        assert_eq!(scene.node.status("/ping", Some((user, "changeit"))).await, Some(401), "{round}: {user}");
        let versions = scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
        let pending =
            versions.iter().filter(|version| version.labels.iter().any(|label| label == "AWSPENDING")).count();
        assert_eq!((versions.len(), pending), (2, 0), "{round}: {user}");
    }
    assert_eq!(scene.aws.cloud_map(|cloud_map| cloud_map.instances(&scene.service)).len(), 1, "{round}");
    met
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn at_every_call_to_aws() {
    common::at_every_call(MOST_CALLS, 40, |call| {
        [Moment::BeforeEffect, Moment::AfterEffect].map(|moment| killed_at(call, moment)).into()
    })
    .await;
}
