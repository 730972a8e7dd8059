//! The real registration over a model of Cloud Map and of three nodes, on a clock that stands still while somebody works:
//! whatever happens, the registry converges to the ready nodes, and nobody removes a successor's entry.
//!
//! What the model takes for granted of the world: a successor's server is ready only after its predecessor's has ended
//! (guard's lock), 60 s after if it was cut off and not ended; gossip is 2 s old; a call takes up to 1.9 s, an
//! operation up to 3 s; reads are up to 8 s old.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use bootstrap::Registration;
use bootstrap::ports::{AwsError, AwsErrorKind, Entry, Instance, Members, Membership, Registry, ServerError};
use fastrand::Rng;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

const NODES: usize = 3;
const LONGEST_LAG: u64 = 8_000;
const GOSSIP_AGE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(30);
/// Guard's next holder waits 70 s after the last heartbeat of one that did not sign off; the server is killed before.
const TAKEOVER: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
struct Change {
    entry: Option<BTreeMap<String, String>>,
    visible_at: Instant,
}

/// One node: which of its tasks is the current one, and since when its server is or is not ready.
#[derive(Clone, Debug)]
struct Node {
    task: usize,
    is_ready: bool,
    changed: Instant,
}

struct World {
    random: Rng,
    /// By instance id, oldest first.
    history: BTreeMap<String, Vec<Change>>,
    /// The entry that is being worked on.
    busy: BTreeMap<String, Instant>,
    nodes: Vec<Node>,
    leader: usize,
    is_calm: bool,
    is_away: bool,
    /// Removals of another task's entry, by whom.
    wrong: Vec<String>,
    removed_dead: usize,
}

type Shared = Rc<RefCell<World>>;

fn arn(node: usize, task: usize) -> String {
    format!("arn:node-{node}:task-{task}")
}

fn member(node: usize) -> String {
    format!("es-node-{node}.db.internal:2113")
}

fn instance(node: usize, task: usize) -> Instance {
    let address = Ipv4Addr::new(10, 0, u8::try_from(node).unwrap(), u8::try_from(task).unwrap());
    Instance {
        node: format!("node-{node}"),
        address: IpAddr::V4(address),
        port: 2113,
        task_arn: arn(node, task),
        member: Some(member(node)),
        certificate_sha256: Some("00".to_owned()),
        roots_sha256: Some("11".to_owned()),
        signer_sha256: None,
        since: 0,
    }
}

impl World {
    fn truth(&self, node: &str) -> Option<&BTreeMap<String, String>> {
        self.history.get(node)?.last()?.entry.as_ref()
    }

    /// What some reader sees: the truth, or something older that it may still see.
    fn seen(&self, node: &str) -> Option<Entry> {
        let changes = self.history.get(node)?;
        let now = Instant::now();
        let seen = changes.iter().rev().find(|change| change.visible_at <= now)?;
        Some(Entry { node: node.to_owned(), attributes: seen.entry.clone()? })
    }

    fn set(&mut self, node: &str, entry: Option<BTreeMap<String, String>>) {
        let lag = if self.is_calm { 0 } else { self.random.u64(0..=LONGEST_LAG) };
        let change = Change { entry, visible_at: Instant::now() + Duration::from_millis(lag) };
        self.history.entry(node.to_owned()).or_default().push(change);
    }

    fn error(&mut self, operation: &'static str) -> Option<AwsError> {
        let fails = self.is_away || (!self.is_calm && self.random.u8(0..10) == 0);
        fails.then(|| failure(operation, AwsErrorKind::Unavailable))
    }
}

fn failure(operation: &'static str, kind: AwsErrorKind) -> AwsError {
    AwsError { operation, subject: "model".to_owned(), message: "the model has it so".to_owned(), kind }
}

/// Cloud Map as the sidecar of one task sees it.
struct CloudMap {
    world: Shared,
    node: usize,
    task: usize,
}

impl CloudMap {
    async fn call(&self, operation: &'static str) -> Result<(), AwsError> {
        let time = self.world.borrow_mut().random.u64(1..1_900);
        sleep(Duration::from_millis(time)).await;
        self.world.borrow_mut().error(operation).map_or(Ok(()), Err)
    }

    /// Only one operation at a time; one that has begun takes effect even if who began it is killed.
    async fn change(
        &self,
        operation: &'static str,
        node: &str,
        entry: Option<BTreeMap<String, String>>,
    ) -> Result<(), AwsError> {
        self.call(operation).await?;
        let busy = self.world.borrow().busy.get(node).copied().filter(|until| *until > Instant::now());
        if let Some(until) = busy {
            sleep_until(until).await;
            return Err(failure(operation, AwsErrorKind::Changed));
        }
        if entry.is_none() {
            if self.world.borrow().seen(node).is_none() {
                return Err(failure(operation, AwsErrorKind::Changed));
            }
            self.judge(node);
        }
        let (time, fails) = {
            let mut world = self.world.borrow_mut();
            (Duration::from_millis(world.random.u64(10..3_000)), !world.is_calm && world.random.u8(0..8) == 0)
        };
        self.world.borrow_mut().busy.insert(node.to_owned(), Instant::now() + time);
        let (world, name) = (Rc::clone(&self.world), node.to_owned());
        let effect = spawn_local(async move {
            sleep(time).await;
            if !fails {
                world.borrow_mut().set(&name, entry);
            }
        });
        effect.await.unwrap();
        if fails { Err(failure(operation, AwsErrorKind::Unavailable)) } else { Ok(()) }
    }

    /// A removal is wrong if the entry is a ready task's, whoever removes it, but for the task itself.
    fn judge(&self, node: &str) {
        let mut world = self.world.borrow_mut();
        let Some(entry) = world.truth(node) else { return };
        let entry = Entry { node: node.to_owned(), attributes: entry.clone() };
        let own = arn(self.node, self.task);
        if entry.task_arn() == own {
            return;
        }
        let is_ready = (0..NODES)
            .any(|other| world.nodes[other].is_ready && entry.task_arn() == arn(other, world.nodes[other].task));
        if is_ready || node == format!("node-{}", self.node) {
            world.wrong.push(format!("{own} removes the entry of {}", entry.task_arn()));
        } else {
            world.removed_dead += 1;
        }
    }
}

impl Registry for CloudMap {
    async fn register(&self, instance: &Instance) -> Result<(), AwsError> {
        self.change("RegisterInstance", &instance.node, Some(instance.attributes())).await
    }

    async fn entry(&self, node: &str) -> Result<Option<Entry>, AwsError> {
        self.call("GetInstance").await?;
        Ok(self.world.borrow().seen(node))
    }

    async fn entries(&self) -> Result<Vec<Entry>, AwsError> {
        self.call("ListInstances").await?;
        let world = self.world.borrow();
        Ok(world.history.keys().filter_map(|node| world.seen(node)).collect())
    }

    async fn withdraw(&self, node: &str) -> Result<(), AwsError> {
        self.change("DeregisterInstance", node, None).await
    }
}

/// The server of one task.
struct Server {
    world: Shared,
    node: usize,
    task: usize,
}

impl Server {
    fn is_ready(&self) -> bool {
        let world = self.world.borrow();
        let node = &world.nodes[self.node];
        node.task == self.task && node.is_ready
    }
}

impl Membership for Server {
    async fn members(&self) -> Result<Members, ServerError> {
        if !self.is_ready() {
            return Err(ServerError::Unreachable("it does not run".to_owned()));
        }
        let world = self.world.borrow();
        let alive = |node: &Node| node.is_ready == (node.changed.elapsed() >= GOSSIP_AGE);
        let alive: Vec<_> =
            (0..NODES).filter(|other| *other == self.node || alive(&world.nodes[*other])).map(member).collect();
        if alive.len() * 2 <= NODES {
            return Err(ServerError::Answer("no majority".to_owned()));
        }
        Ok(Members { own: member(self.node), leads: world.leader == self.node, alive })
    }
}

/// A running sidecar.
struct Sidecar {
    registration: Rc<Registration<CloudMap>>,
    work: JoinHandle<()>,
}

fn start(world: &Shared, node: usize, task: usize) -> Sidecar {
    let cloud_map = CloudMap { world: Rc::clone(world), node, task };
    let registration = Rc::new(Registration::new(cloud_map, format!("node-{node}"), INTERVAL));
    let server = Server { world: Rc::clone(world), node, task };
    let own = Rc::clone(&registration);
    let work = spawn_local(async move {
        // Ready, and then secured, which takes some seconds.
        while !server.is_ready() {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(4)).await;
        own.register(instance(node, task));
        let watch = async {
            loop {
                own.observe(Some(server.is_ready()));
                sleep(INTERVAL / 6).await;
            }
        };
        let secure = async {
            loop {
                own.returned().await;
                sleep(Duration::from_secs(3)).await;
                own.secured();
            }
        };
        tokio::select! {
            _ = own.keep(&server) => {}
            () = watch => {}
            () = secure => {}
        }
    });
    Sidecar { registration, work }
}

fn set_ready(world: &Shared, node: usize, is_ready: bool) {
    let mut world = world.borrow_mut();
    world.nodes[node].is_ready = is_ready;
    world.nodes[node].changed = Instant::now();
    if world.leader == node && !is_ready {
        let next = (0..NODES).find(|other| world.nodes[*other].is_ready);
        world.leader = next.unwrap_or(node);
    }
}

/// The next task of a node, with its server ready.
fn come(world: &Shared, node: usize) -> Sidecar {
    world.borrow_mut().nodes[node].task += 1;
    set_ready(world, node, true);
    let task = world.borrow().nodes[node].task;
    start(world, node, task)
}

/// What is not as it should be when all has been quiet for long; how many dead were removed.
fn judge_end(world: &mut World) -> (Vec<String>, usize) {
    let mut wrong = std::mem::take(&mut world.wrong);
    let ready = world.nodes.iter().filter(|node| node.is_ready).count();
    for (number, node) in world.nodes.iter().enumerate() {
        let owner = world.truth(&format!("node-{number}")).and_then(|entry| entry.get("TASK_ARN"));
        let found = owner.map(String::as_str);
        if node.is_ready && found != Some(&arn(number, node.task)) {
            wrong.push(format!("node-{number} is ready as {}, registered is {found:?}", node.task));
        }
        // Without a leader nobody removes what the dead have left.
        if !node.is_ready && found.is_some() && ready * 2 > NODES {
            wrong.push(format!("node-{number} is not ready, registered is {found:?}"));
        }
    }
    (wrong, world.removed_dead)
}

/// Plays one history and gives what went wrong.
async fn play(seed: u64) -> (Vec<String>, usize) {
    let now = Instant::now();
    let nodes = (0..NODES).map(|_| Node { task: 0, is_ready: true, changed: now }).collect();
    let world: Shared = Rc::new(RefCell::new(World {
        random: Rng::with_seed(seed),
        history: BTreeMap::new(),
        busy: BTreeMap::new(),
        nodes,
        leader: 0,
        is_calm: false,
        is_away: false,
        wrong: Vec::new(),
        removed_dead: 0,
    }));
    let mut sidecars: Vec<_> = (0..NODES).map(|node| Some(start(&world, node, 0))).collect();
    // Predecessors that were cut off, each with a sidecar that still reaches AWS.
    let mut cut_off: Vec<Sidecar> = Vec::new();
    let mut random = Rng::with_seed(seed ^ 0x5eed);
    for _ in 0..random.usize(4..16) {
        sleep(Duration::from_millis(random.u64(0..90_000))).await;
        let node = random.usize(0..NODES);
        let is_ready = world.borrow().nodes[node].is_ready;
        match random.u8(0..9) {
            // The task is killed.
            0 => {
                if let Some(sidecar) = sidecars[node].take() {
                    sidecar.work.abort();
                    set_ready(&world, node, false);
                    if random.bool() {
                        // Its successor is ready about when the leader removes its entry.
                        sleep(Duration::from_millis(random.u64(60_000..120_000))).await;
                        sidecars[node] = Some(come(&world, node));
                    }
                }
            }
            // The task is stopped: the server ends after the sidecar.
            1 => {
                if let Some(sidecar) = sidecars[node].take() {
                    sidecar.work.abort();
                    let _ = sidecar.work.await;
                    sidecar.registration.withdraw().await;
                    set_ready(&world, node, false);
                }
            }
            // The server ends, and its task stays; or comes back in it.
            2 if sidecars[node].is_some() => set_ready(&world, node, !is_ready),
            // The task is cut off from its files, and perhaps from AWS: its server ends, its sidecar lives. After a while a
            // successor comes, and about when that registers the sidecar is stopped.
            3 => {
                if let Some(sidecar) = sidecars[node].take() {
                    set_ready(&world, node, false);
                    let is_away = world.borrow().is_away;
                    world.borrow_mut().is_away = random.bool();
                    sleep(TAKEOVER).await;
                    world.borrow_mut().is_away = is_away;
                    sidecars[node] = Some(come(&world, node));
                    if random.bool() {
                        sleep(Duration::from_millis(random.u64(4_000..20_000))).await;
                        sidecar.work.abort();
                        sidecar.registration.withdraw().await;
                    } else {
                        cut_off.push(sidecar);
                    }
                }
            }
            // A cut-off task is stopped.
            4 => {
                if let Some(sidecar) = cut_off.pop() {
                    sidecar.work.abort();
                    sidecar.registration.withdraw().await;
                }
            }
            // Somebody removes an entry by hand.
            5 => world.borrow_mut().set(&format!("node-{node}"), None),
            6 if is_ready => world.borrow_mut().leader = node,
            7 => {
                let is_away = random.u8(0..3) == 0;
                world.borrow_mut().is_away = is_away;
            }
            // A task comes, or the certificate is renewed.
            _ => match &sidecars[node] {
                None => {
                    sidecars[node] = Some(come(&world, node));
                }
                Some(sidecar) => sidecar.registration.update(|instance| {
                    instance.certificate_sha256 = instance.certificate_sha256.take().map(|sum| sum + "0");
                }),
            },
        }
    }
    {
        let mut world = world.borrow_mut();
        (world.is_calm, world.is_away) = (true, false);
        if let Some(leader) = (0..NODES).find(|node| world.nodes[*node].is_ready) {
            world.leader = leader;
        }
    }
    sleep(Duration::from_mins(5)).await;
    for sidecar in sidecars.into_iter().flatten().chain(cut_off) {
        sidecar.work.abort();
    }
    let mut world = world.borrow_mut();
    judge_end(&mut world)
}

fn run(seed: u64) -> (Vec<String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, play(seed))
}

#[test]
fn the_registry_converges_to_the_ready_nodes_and_no_successor_is_removed() {
    let only = std::env::var("REGISTRATION_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let count = std::env::var("REGISTRATION_SEEDS").map_or(1_000, |count| count.parse().unwrap());
    let seeds = only.map_or(0..count, |seed| seed..seed + 1);
    let mut removed = 0;
    for seed in seeds {
        let (wrong, dead) = run(seed);
        assert!(wrong.is_empty(), "REGISTRATION_SEED={seed}: {wrong:#?}");
        removed += dead;
    }
    assert!(only.is_some() || removed > 20, "the model lets somebody die: {removed}");
}
