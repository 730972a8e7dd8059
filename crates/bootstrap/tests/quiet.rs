//! What the sidecars of a cluster call while nothing is to be done.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Place, Sidecar, TASK, deploy};
use testkit::aws::{Aws, Call};
use testkit::database::Line;
use testkit::dns::DnsServer;
use testkit::ecs::{Endpoint, TaskEndpoints, TaskIdentity};
use testkit::node::DatabaseCluster;

/// Five minutes and 30 s, on a clock that runs faster. Each gets up to a quarter on top.
const POLL: Duration = Duration::from_millis(1500);
const INTERVAL: Duration = Duration::from_millis(400);

/// Between the ends of two calls that follow each other. The pause between two looks begins when the first has been answered,
/// so no machine is too slow for it to be seen.
fn pauses<'a>(calls: impl Iterator<Item = &'a Call>) -> Vec<Duration> {
    let times: Vec<_> = calls.map(|call| call.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_there_is_a_look_at_the_secrets_per_poll_and_one_at_the_entry_per_interval_and_nothing_else() {
    let aws = Aws::start().await.unwrap();
    let service = deploy(&aws);
    let mut cluster = DatabaseCluster::prepare(Line::V24_10, 3, 0.1);
    for node in 0..3 {
        aws.give_name(cluster.name(node), cluster.address(node).ip());
    }
    cluster.start_all();
    let dns = DnsServer::start(&aws).await.unwrap();
    let mut tasks = Vec::new();
    let mut sidecars = Vec::new();
    for node in 0..3 {
        let identity = TaskIdentity {
            task_arn: TASK.to_owned(),
            family: "node".to_owned(),
            address: "127.0.0.1".parse().unwrap(),
        };
        let task = TaskEndpoints::start(identity).await.unwrap();
        let given = task.environment();
        let (_, agent) = given.iter().find(|(name, _)| name == "ECS_AGENT_URI").unwrap();
        let certs = cluster.path_of(node).join("certs");
        let name = cluster.name(node).split_once('.').unwrap().0;
        let place = Place { name, server: cluster.address(node), certs: &certs };
        let arguments = [
            "--cluster-size=3".to_owned(),
            format!("--dns={}", dns.address()),
            format!("--poll-interval={}ms", POLL.as_millis()),
            format!("--registration-interval={}ms", INTERVAL.as_millis()),
            "--time-scale=0.05".to_owned(),
            format!("--agent-uri={agent}"),
        ];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let key = [("AWS_ACCESS_KEY_ID", name)];
        sidecars.push(Sidecar::start_with(&place, &aws.endpoint(), &service, &arguments, &key));
        tasks.push(task);
    }
    let leader = cluster.wait_until_formed().await;
    for sidecar in &mut sidecars {
        tokio::task::block_in_place(|| sidecar.wait_for("registered"));
    }

    let before = aws.calls().len();
    let of = |node: usize| {
        let name = cluster.name(node).split_once('.').unwrap().0.to_owned();
        let calls = aws.calls().split_off(before);
        calls.into_iter().filter(|call| call.access_key.as_ref() == Some(&name)).collect::<Vec<_>>()
    };
    let polls = |calls: &[Call]| {
        calls.iter().filter(|call| call.operation == "DescribeSecret" && call.subject == "es/ops").count()
    };
    let deadline = Instant::now() + DEADLINE;
    while (0..3).any(|node| polls(&of(node)) < 4) {
        assert!(Instant::now() < deadline, "the secrets are not looked at");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (node, task) in tasks.iter().enumerate() {
        let calls = of(node);
        let only = |operation: &'static str| calls.iter().filter(move |call| call.operation == operation);
        let (looks, lists) = (only("GetInstance").count(), only("ListInstances").count());
        // A look that began before the count may have listed after it.
        assert!(lists <= looks + 1 && (lists > 0 || node != leader), "{lists} of {looks} by {node}; {leader} leads");
        let known = ["DescribeSecret", "GetSecretValue", "GetInstance", "ListInstances"];
        let known: usize = known.into_iter().map(|operation| only(operation).count()).sum();
        assert_eq!(known, calls.len(), "{calls:?}");
        let assert_paused = |operation, subject: Option<&str>, least| {
            let pauses = pauses(only(operation).filter(|call| subject.is_none_or(|subject| call.subject == subject)));
            assert!(pauses.iter().all(|pause| *pause >= least), "{operation} by {node}: {pauses:?}");
        };
        for user in ["es/admin", "es/ops"] {
            assert_paused("DescribeSecret", Some(user), POLL);
            assert_paused("GetSecretValue", Some(user), POLL);
        }
        assert_paused("GetInstance", None, INTERVAL);
        assert_paused("ListInstances", None, INTERVAL);
        let asked = task.seen().iter().filter(|seen| seen.endpoint == Some(Endpoint::TaskProtection)).count();
        assert_eq!(asked, 0, "nobody needs protection");
    }
    for sidecar in &mut sidecars {
        assert_eq!(sidecar.terminate(), 0, "{}", sidecar.log);
    }
}
