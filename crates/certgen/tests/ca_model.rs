//! The certificate authority in a secret under every interleaving, death and late reader that chance brings.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod ca_world;

use std::cell::RefCell;
use std::rc::Rc;

use ca_world::{Fault, Secret, Task, User, World, alone, run};
use certgen::ca::{
    Begin, CaError, Document, Evidence, NodeEvidence, Outcome, Phase, PublishedRoots, SecretText, advance, obtain, read,
};
use certgen::{NewAuthority, Validity};
use time::{Duration, OffsetDateTime};

const SCHEDULES: u64 = 300;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn starts(world: &Rc<World>, count: usize) -> Vec<Task<Result<Document, CaError>>> {
    let one = |_| {
        let user = User::of(world);
        Box::pin(async move { obtain(&user, NewAuthority::default(), now()).await }) as Task<_>
    };
    (0..count).map(one).collect()
}

/// Whatever happens: one authority is ever current, everybody has it, and nothing was overwritten.
#[test]
fn any_number_of_tasks_agree_on_one_authority() {
    for seed in 0..SCHEDULES {
        let world = match seed % 4 {
            0 => World::absent(seed),
            1 | 2 => World::empty(seed),
            _ => World::holding("{}", seed),
        };
        world.lag.set([0, 3][world.below(2)]);
        world.failures.set([0, 10][world.below(2)]);
        let kills = [0, 40][world.below(2)];
        let tasks = starts(&world, [1, 2, 5][world.below(3)]);
        let mut seen: Vec<_> = run(&world, tasks, kills).into_iter().map(Result::unwrap).collect();
        // Whoever was killed comes again, and others later.
        seen.extend(run(&world, starts(&world, 2), 0).into_iter().map(Result::unwrap));
        assert_eq!(world.ever_current(), [seen[0].to_text()], "seed {seed}");
        assert!(seen.iter().all(|document| *document == seen[0]), "seed {seed}");
        world.assert_nothing_was_overwritten();
        world.failures.set(0);
        world.lag.set(0);
        let (before, calls) = (world.now(), world.calls.get());
        alone(obtain(&User::of(&world), NewAuthority::default(), now())).unwrap();
        assert_eq!((world.now(), world.calls.get()), (before, calls + 1), "a later task reads once and writes nothing");
    }
}

/// The same with every call failing once, in each way, and the caller dying of it.
#[test]
fn killed_at_any_call_the_next_run_ends_in_the_same_state() {
    for fresh in [World::absent, World::empty, |seed| World::holding("{}", seed)] {
        for fault in [Fault::Before, Fault::After, Fault::Twice] {
            for call in 1.. {
                let world = fresh(1);
                world.fault.set(Some((call, fault)));
                let calls_of_first = {
                    // Polled until the call is over, then dropped.
                    let mut task = starts(&world, 1);
                    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                    while world.calls.get() < call && task[0].as_mut().poll(&mut context).is_pending() {}
                    world.calls.get()
                };
                world.fault.set(None);
                let document = alone(obtain(&User::of(&world), NewAuthority::default(), now())).unwrap();
                assert_eq!(world.ever_current(), [document.to_text()]);
                world.assert_nothing_was_overwritten();
                if calls_of_first < call {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_somebody_else_stored_is_named_and_left() {
    let ours = Document::new(NewAuthority::default(), now()).unwrap();
    let text = ours.to_text();
    let text = text.expose();
    let another = Document::new(NewAuthority::default(), now()).unwrap();
    let key = |document: &Document| {
        let value: serde_json::Value = serde_json::from_str(document.to_text().expose()).unwrap();
        (value["signing"]["cert"].as_str().unwrap().to_owned(), value["signing"]["key"].as_str().unwrap().to_owned())
    };
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let ((cert, secret_key), (_, other_key)) = (key(&ours), key(&another));
    let newer = text.replacen("\"schema\":1", "\"schema\":2", 1);
    let extra = text.replacen("\"schema\":1", "\"schema\":1,\"hunter2\":1", 1);
    let phase = text.replacen("steady", "hunter2", 1);
    let two_roots = text.replacen("steady", "sign-new", 1);
    let wrong_key = text.replacen(&json(&secret_key), &json(&other_key), 1);
    let no_key = text.replacen(&json(&secret_key), "\"hunter2\"", 1);
    let no_root = text.replacen(&json(&cert), "\"hunter2\"", 1);
    let number_as_key = text.replacen(&json(&secret_key), "7", 1);
    for (value, reason) in [
        ("hunter2", "not JSON"),
        ("[\"hunter2\"]", "JSON of another shape"),
        ("\"hunter2\"", "JSON of another shape"),
        (r#"{"username":"admin","password":"hunter2"}"#, "the credentials of a user"),
        (r#"{"hunter2":1}"#, "without the member `schema`"),
        (r#"{"schema":0}"#, "without the member `schema`"),
        (r#"{"schema":"hunter2"}"#, "JSON of another shape"),
        (&newer, "schema 2, this certgen knows schema 1"),
        (r#"{"schema":1}"#, "damaged: it does not parse at line 1"),
        (&extra, "damaged: it does not parse at line 1"),
        (&phase, "damaged: it does not parse at line 1"),
        (&number_as_key, "damaged: it does not parse at line 1"),
        (&two_roots, "1 roots in the phase sign-new"),
        (&wrong_key, "`signing` cannot be used: the private key belongs to another certificate"),
        (&no_key, "`signing` cannot be used: it holds no private key"),
        (&no_root, "`roots` cannot be used: it holds no certificate"),
    ] {
        let world = World::holding(value, 1);
        let before = world.now();
        let errors = [
            alone(obtain(&User::of(&world), NewAuthority::default(), now())).unwrap_err(),
            alone(read(&User::of(&world))).unwrap_err(),
            alone(advance(&User::of(&world), &Evidence::default(), Begin::Yes(Validity::AUTHORITY), now()))
                .unwrap_err(),
        ];
        for error in errors {
            let told = chain(&error);
            assert!(told.contains(reason), "no `{reason}` in {told}");
            assert!(!told.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{told}");
            assert_eq!(error.exit_code(), 78);
            assert!(error.hint().is_some());
        }
        assert_eq!(world.now(), before, "{reason}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn no_key_is_shown() {
    let document =
        Document::new(NewAuthority::default(), now()).unwrap().trusting_a_new_root(Validity::AUTHORITY, now());
    let shown = format!("{:?}", document.unwrap());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

/// Nodes and consumers as a rotation sees them.
struct Deployment {
    world: Rc<World>,
    nodes: RefCell<Vec<Option<Document>>>,
    published: RefCell<Document>,
    /// The last document that was read, which takes long.
    known: RefCell<(SecretText, Document)>,
}

impl Deployment {
    fn steady(nodes: usize, seed: u64) -> Rc<Self> {
        let document = Document::new(NewAuthority::default(), now()).unwrap();
        let world = World::holding(document.to_text().expose(), seed);
        let nodes = RefCell::new(vec![Some(document.clone()); nodes]);
        let known = RefCell::new((document.to_text(), document.clone()));
        Rc::new(Self { world, nodes, published: RefCell::new(document), known })
    }

    fn document(&self) -> Document {
        let current = self.world.now().current_text().unwrap();
        if self.known.borrow().0 != current {
            let document = alone(read(&User::of(&World::holding(current.expose(), 0)))).unwrap();
            *self.known.borrow_mut() = (current, document);
        }
        self.known.borrow().1.clone()
    }

    fn evidence(&self) -> Evidence {
        let nodes = self.nodes.borrow();
        let show = |(index, node): (usize, &Option<Document>)| {
            let node = node.as_ref()?;
            Some(NodeEvidence {
                name: format!("node-{}", index + 1),
                roots_sha256: Some(node.roots_fingerprint()),
                signer_sha256: Some(node.signing_root().sha256.clone()),
            })
        };
        let published = PublishedRoots {
            secret: "es/admin".to_owned(),
            roots_sha256: Some(self.published.borrow().roots_fingerprint()),
        };
        Evidence {
            expected_nodes: Some(nodes.len()),
            nodes: Some(nodes.iter().enumerate().filter_map(show).collect()),
            published: Some(vec![published]),
        }
    }

    /// Every node takes every other one, and who trusts what is published takes every node.
    fn assert_everybody_trusts_everybody(&self, seed: u64) {
        let nodes = self.nodes.borrow();
        let running: Vec<_> = nodes.iter().flatten().collect();
        for node in &running {
            let signer = node.signing_root();
            for other in &running {
                assert!(other.roots().contains(signer), "seed {seed}: a node refuses another");
            }
            assert!(self.published.borrow().roots().contains(signer), "seed {seed}: a consumer refuses a node");
        }
    }
}

/// Two operators and a leader's sidecar push at once, die and read late, while nodes and consumers follow when they like,
/// restart and are away: at every moment everybody trusts everybody, and there is one authority at a time.
#[test]
fn a_rotation_never_splits_the_trust() {
    for seed in 0..SCHEDULES / 10 {
        let deployment = Deployment::steady(3, seed);
        let world = &deployment.world;
        world.failures.set([0, 5][world.below(2)]);
        let first_root = deployment.document().signing_root().clone();
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 400, "seed {seed}: the rotation does not end");
            for _ in 0..world.below(12) {
                let document = deployment.document();
                let node = world.below(3);
                match world.below(5) {
                    0 => *deployment.published.borrow_mut() = document,
                    1 => deployment.nodes.borrow_mut()[node] = None,
                    _ => deployment.nodes.borrow_mut()[node] = Some(document),
                }
                deployment.assert_everybody_trusts_everybody(seed);
            }
            let evidence = deployment.evidence();
            let begin = if rounds == 1 { Begin::Yes(Validity::AUTHORITY) } else { Begin::No };
            let one = |_| {
                let (user, evidence) = (User::of(world), evidence.clone());
                Box::pin(async move { advance(&user, &evidence, begin, now()).await }) as Task<Result<Outcome, CaError>>
            };
            // Sidecars may be late by what one of the others just did.
            world.lag.set(world.below(2) * 2);
            let ever = world.ever_current().len();
            for outcome in run(world, (0..3).map(one).collect(), [0, 40][world.below(2)]) {
                if let Outcome::Advanced { document, .. } = outcome.unwrap() {
                    // It was current when this began, or has become it since.
                    assert!(
                        world.ever_current()[ever - 1..].contains(&document.to_text()),
                        "seed {seed}: a late answer"
                    );
                }
            }
            assert!(world.ever_current().len() <= ever + 1, "seed {seed}: two phases in one go");
            world.lag.set(0);
            deployment.assert_everybody_trusts_everybody(seed);
            let document = deployment.document();
            if document.phase() == Phase::Steady && document.signing_root() != &first_root {
                break;
            }
            if document.phase() == Phase::Steady && rounds > 1 {
                // All who began died.
                rounds = 0;
            }
        }
        let phases: Vec<_> = world.ever_current().iter().map(phase_of).collect();
        assert_eq!(phases, ["steady", "trust-both", "sign-new", "drop-old", "steady"], "seed {seed}");
        world.assert_nothing_was_overwritten();
    }
}

fn phase_of(text: &SecretText) -> String {
    let value: serde_json::Value = serde_json::from_str(text.expose()).unwrap();
    value["phase"].as_str().unwrap().to_owned()
}

/// Each call of each step fails once in each way, and the caller dies of it; the next call finishes.
#[test]
fn killed_at_any_call_of_a_step_the_next_one_finishes_it() {
    for fault in [Fault::Before, Fault::After, Fault::Twice] {
        for call in 1.. {
            let deployment = Deployment::steady(1, 1);
            let world = &deployment.world;
            let mut hit = false;
            for _ in 0..4 {
                let from = deployment.document();
                let begin = if from.phase() == Phase::Steady { Begin::Yes(Validity::AUTHORITY) } else { Begin::No };
                let evidence = deployment.evidence();
                let first_call = world.calls.get();
                world.fault.set(Some((first_call + call, fault)));
                let user = User::of(world);
                {
                    let mut task = Box::pin(advance(&user, &evidence, begin, now()));
                    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                    while world.calls.get() < first_call + call && task.as_mut().poll(&mut context).is_pending() {}
                }
                hit |= world.calls.get() == first_call + call;
                world.fault.set(None);
                if deployment.document() == from {
                    let outcome = alone(advance(&User::of(world), &evidence, begin, now())).unwrap();
                    assert!(matches!(outcome, Outcome::Advanced { .. }), "{outcome:?}");
                }
                let document = deployment.document();
                assert_eq!(document.phase(), from.phase().next());
                *deployment.published.borrow_mut() = document.clone();
                deployment.nodes.borrow_mut()[0] = Some(document);
                deployment.assert_everybody_trusts_everybody(0);
            }
            let phases: Vec<_> = world.ever_current().iter().map(phase_of).collect();
            assert_eq!(phases, ["steady", "trust-both", "sign-new", "drop-old", "steady"]);
            world.assert_nothing_was_overwritten();
            if !hit {
                break;
            }
        }
    }
}

#[test]
fn every_blocker_is_told_by_name() {
    let deployment = Deployment::steady(2, 1);
    let push = |evidence: &Evidence, now| {
        alone(advance(&User::of(&deployment.world), evidence, Begin::Yes(Validity::AUTHORITY), now)).unwrap()
    };
    let told = |outcome: Outcome| -> Vec<_> {
        let Outcome::Blocked { by, .. } = outcome else { panic!("{outcome:?}") };
        by.iter().map(|blocker| (blocker.code(), blocker.to_string())).collect()
    };
    assert!(matches!(push(&Evidence::default(), now()), Outcome::Advanced { from: Phase::Steady, .. }));
    let codes = |outcome| told(outcome).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
    assert_eq!(codes(push(&Evidence::default(), now())), ["nodes-not-looked-at", "secrets-not-looked-at"]);
    let blocked = told(push(&deployment.evidence(), now()));
    let names: Vec<_> = blocked.iter().map(|(code, text)| (*code, text.split(' ').next().unwrap())).collect();
    assert_eq!(names, [("node-roots", "node-1"), ("node-roots", "node-2"), ("published-roots", "es/admin")]);

    let both = deployment.document();
    *deployment.nodes.borrow_mut() = vec![Some(both.clone()), None];
    *deployment.published.borrow_mut() = both.clone();
    assert_eq!(codes(push(&deployment.evidence(), now())), ["nodes-missing"]);
    *deployment.nodes.borrow_mut() = vec![Some(both.clone()), Some(both)];
    let late = now() + Duration::days(4000);
    assert_eq!(codes(push(&deployment.evidence(), late)), ["root-not-valid"]);
    assert!(matches!(push(&deployment.evidence(), now()), Outcome::Advanced { from: Phase::TrustBoth, .. }));
    assert_eq!(codes(push(&deployment.evidence(), now())), ["node-signer", "node-signer"]);
    let mut silent = deployment.evidence();
    silent.nodes.as_mut().unwrap().iter_mut().for_each(|node| node.signer_sha256 = None);
    assert!(told(push(&silent, now())).iter().all(|(_, text)| text.contains("does not say which root")));
}

/// Its nodes cannot be issued certificates any more, so that nothing would ever show the new root.
#[test]
fn an_authority_that_has_expired_can_still_be_rotated() {
    let deployment = Deployment::steady(2, 1);
    *deployment.nodes.borrow_mut() = vec![None, None];
    let late = now() + Duration::days(2000);
    let push = |begin| alone(advance(&User::of(&deployment.world), &deployment.evidence(), begin, late)).unwrap();
    assert!(matches!(push(Begin::Yes(Validity::AUTHORITY)), Outcome::Advanced { from: Phase::Steady, .. }));
    assert!(deployment.document().authority(late).is_err());
    assert!(matches!(push(Begin::No), Outcome::Advanced { from: Phase::TrustBoth, .. }));
    assert!(deployment.document().authority(late).is_ok());
    assert!(matches!(push(Begin::No), Outcome::Blocked { .. }));
}

#[test]
fn a_slot_that_somebody_else_has_filled_is_named_and_left() {
    let deployment = Deployment::steady(1, 1);
    let world = &deployment.world;
    let current = world.now().current.unwrap();
    let slot = certgen::ca::slot(ca_world::ARN, Some(&current));
    let foreign = Document::new(NewAuthority::default(), now()).unwrap();
    let mut secret: Secret = world.now();
    secret.versions.push((slot.clone(), foreign.to_text()));
    world.history.borrow_mut().push(secret.clone());
    let (user, evidence) = (User::of(world), Evidence::default());
    let error = alone(advance(&user, &evidence, Begin::Yes(Validity::AUTHORITY), now())).unwrap_err();
    assert!(matches!(&error, CaError::Slot { version, .. } if *version == slot.0), "{error}");
    assert_eq!(world.now(), secret);
    assert!(matches!(error.exit_code(), 78));
}
