//! A rotation that is broken at each of its calls in turn. Then everything is restarted, which empties the server's
//! cache, and the program runs again as its supervisor would have it. Does what consumers find open the database?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::consumer;
use testkit::net::own_loopback;
use testkit::proxy::{Fault, FaultProxy, Filter, Injection, TlsFiles, Upstream, When};
use tokio::task::JoinSet;

use super::scene::{Running, Scene, Subject, Subjects, USERS, Way};
use crate::{Failure, table};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The program is killed before the call has an effect.
    KilledBefore,
    /// The program is killed after the effect.
    KilledAfter,
    /// The call has its effect, and the connection is closed without a reply.
    ReplyLost,
}

const KINDS: [Kind; 3] = [Kind::KilledBefore, Kind::KilledAfter, Kind::ReplyLost];

/// More calls than either makes.
const MOST_CALLS: usize = 160;
/// Rounds at a time; they mostly wait.
const AT_ONCE: usize = 6;
const SCALE: f64 = 0.05;
/// A broken program gets so long for its first run, and for the second.
const PATIENCE: Duration = Duration::from_secs(25);

/// How one kind of fault ended for one program.
pub(super) struct Outcome {
    subject: Subject,
    kind: Kind,
    rounds: usize,
    /// The stored secret of a user does not open the database after the second run.
    locked_out: usize,
}

/// Breaks both at every call, in every way.
pub(super) async fn run(subjects: &Subjects) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::new();
    for subject in [Subject::Bootstrap, Subject::Script] {
        for kind in KINDS {
            let mut outcome = Outcome { subject, kind, rounds: 0, locked_out: 0 };
            for first in (1..=MOST_CALLS).step_by(AT_ONCE) {
                let mut batch = JoinSet::new();
                for call in first..first + AT_ONCE {
                    let subjects = subjects.clone();
                    batch.spawn(async move { round(&subjects, subject, kind, call).await });
                }
                let mut met = 0;
                while let Some(ended) = batch.join_next().await {
                    let ended = ended.map_err(|error| Failure::new(format!("a round failed: {error}")))??;
                    if let Some(is_locked_out) = ended {
                        met += 1;
                        outcome.locked_out += usize::from(is_locked_out);
                    }
                }
                outcome.rounds += met;
                if met == 0 {
                    break;
                }
            }
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// Whether consumers are locked out in the end; nothing if no call met the fault.
async fn round(subjects: &Subjects, subject: Subject, kind: Kind, call: usize) -> Result<Option<bool>, Failure> {
    let mut scene = Scene::start(subjects, 1, SCALE, &[]).await?;
    scene.cluster.wait_until_formed().await;
    adopt(&scene).await?;
    let certs = scene.certs(0);
    let files = TlsFiles {
        certificate: certs.join("node.crt"),
        key: certs.join("node.key"),
        roots: certs.join("ca/ca.crt"),
        server_name: "localhost".to_owned(),
    };
    let proxy = Failure::io("start a proxy");
    let aws = FaultProxy::start(Upstream::endpoint(&scene.aws.endpoint())).await.map_err(proxy)?;
    let listen = own_loopback().map_err(Failure::io("find a free port"))?;
    let upstream = Upstream::Tls(scene.cluster.address(0), files);
    let server = FaultProxy::start_on(listen, upstream).await.map_err(Failure::io("start a proxy"))?;
    let (aws_endpoint, address) = (aws.endpoint(), server.address().to_string());
    let way = Way { node: 0, aws: &aws_endpoint, server: &address };

    let victim = Arc::new(AtomicUsize::new(0));
    let injections = arm([&aws, &server], kind, call, &victim);
    let is_met = || injections.iter().any(Injection::was_met);
    first_run(&scene, subject, &way, &victim, is_met).await?;
    aws.heal();
    server.heal();
    if !is_met() {
        return Ok(None);
    }
    scene.cluster.restart(0);
    scene.cluster.wait_until_formed().await;
    second_run(&scene, subject, &way).await?;
    scene.cluster.restart(0);
    scene.cluster.wait_until_formed().await;
    for user in USERS {
        let stored = scene.stored(user).unwrap_or_default();
        if scene.cluster.status(0, "/ping", Some((user, &stored))).await != Some(200) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Both find a database that is in order.
async fn adopt(scene: &Scene) -> Result<(), Failure> {
    let (mut admin, ca) = ("changeit".to_owned(), scene.cluster.ca(0));
    for user in USERS {
        let password = scene.stored(user).unwrap_or_default();
        let path = format!("/users/{user}/command/reset-password");
        let body = json!({"newPassword": password});
        let address = scene.cluster.address(0);
        let answer = consumer::post(address, "localhost", &ca, &path, ("admin", &admin), &body).await;
        answer.map_err(|error| Failure::new(format!("could not set a first password: {error}")))?;
        scene.cluster.wait_for_status(0, "/ping", Some((user, &password)), 200).await;
        scene.publish(user, &password);
        if user == "admin" {
            admin = password;
        }
    }
    Ok(())
}

/// Calls to AWS and to the database are counted together.
fn arm(proxies: [&FaultProxy; 2], kind: Kind, call: usize, victim: &Arc<AtomicUsize>) -> [Injection; 2] {
    let seen = Arc::new(AtomicUsize::new(0));
    proxies.map(|proxy| {
        let (seen, victim) = (Arc::clone(&seen), Arc::clone(victim));
        let filter = Filter::by(move |_| seen.fetch_add(1, Ordering::SeqCst) + 1 == call);
        let fault = if kind == Kind::KilledBefore { Fault::Before } else { Fault::After };
        proxy.inject_with(filter, When::From(1), fault, move || {
            let id = i32::try_from(victim.load(Ordering::SeqCst)).unwrap_or(0);
            // 0 would be everybody.
            if kind != Kind::ReplyLost && id > 1 {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        })
    })
}

/// Asks for a rotation and lets it be done, until the fault has ended that, or it is done.
async fn first_run(
    scene: &Scene,
    subject: Subject,
    way: &Way<'_>,
    victim: &AtomicUsize,
    is_met: impl Fn() -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let start = |verb| {
        let running = scene.launch(subject, verb, way)?;
        victim.store(running.0.id() as usize, Ordering::SeqCst);
        Ok::<_, Failure>(running)
    };
    ended(start("rotate")?, deadline).await?;
    if subject == Subject::Bootstrap && !is_met() {
        let mut running = start("run")?;
        while scene.registered() == 0 && Instant::now() < deadline {
            if matches!(running.0.try_wait(), Ok(Some(_))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    victim.store(0, Ordering::SeqCst);
    Ok(())
}

/// As a supervisor does: once more, from the start, with nothing in the way.
async fn second_run(scene: &Scene, subject: Subject, way: &Way<'_>) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let verb = if subject == Subject::Bootstrap { "run" } else { "rotate" };
    let running = scene.launch(subject, verb, way)?;
    if subject == Subject::Script {
        return ended(running, deadline).await;
    }
    while !is_settled(scene) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Registered, and nothing is pending.
fn is_settled(scene: &Scene) -> bool {
    let pending = |user: &str| {
        let versions = scene.aws.secrets(|secrets| secrets.versions(&format!("es/{user}")));
        versions.iter().any(|version| version.labels.iter().any(|label| label == "AWSPENDING"))
    };
    scene.registered() > 0 && !USERS.into_iter().any(pending)
}

async fn ended(mut running: Running, deadline: Instant) -> Result<(), Failure> {
    while running.0.try_wait().map_err(Failure::io("wait for a program"))?.is_none() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl Outcome {
    fn names(&self) -> (&'static str, &'static str) {
        let subject = match self.subject {
            Subject::Bootstrap => "bootstrap",
            Subject::Script => "boto3 script",
        };
        let kind = match self.kind {
            Kind::KilledBefore => "killed before a call",
            Kind::KilledAfter => "killed after a call",
            Kind::ReplyLost => "reply lost",
        };
        (subject, kind)
    }
}

pub(super) fn as_table(outcomes: &[Outcome]) -> String {
    let title = ["", "fault", "rounds", "locked out"].map(str::to_owned).to_vec();
    let line = |outcome: &Outcome| {
        let (subject, kind) = outcome.names();
        vec![subject.to_owned(), kind.to_owned(), outcome.rounds.to_string(), outcome.locked_out.to_string()]
    };
    table(&[title].into_iter().chain(outcomes.iter().map(line)).collect::<Vec<_>>())
}

pub(super) fn as_json(outcomes: &[Outcome]) -> Value {
    let row = |outcome: &Outcome| {
        let (subject, kind) = outcome.names();
        json!({"what": subject, "fault": kind, "rounds": outcome.rounds, "locked_out": outcome.locked_out})
    };
    json!({"faults": outcomes.iter().map(row).collect::<Vec<_>>()})
}
