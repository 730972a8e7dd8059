//! What a deployment is struck with.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use infra::ContainerName;
use nix::sys::signal::Signal;
use testkit::dns::Disturbance;
use testkit::proxy::{Answer, Fault, Filter, When};

use crate::orchestrator::{Orchestrator, Victim};
use crate::proof::Proof;

pub(crate) const NODES: usize = 3;
/// What is struck in a round, one after the other.
const MOST_STRIKES: usize = 3;

/// One strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// A process of a task is killed.
    Kill(Victim, usize),
    /// A server does nothing for a while.
    Freeze(usize, Duration),
    /// A whole task is lost.
    Lose(usize),
    /// A task is stopped in order, as ECS does to retire it.
    Retire(usize),
    /// Calls to AWS end in this until the round is over.
    Aws(Fault),
    /// Questions for names end in this until the round is over.
    Dns(Disturbance),
    /// Somebody wants new passwords.
    RotatePasswords,
    /// Somebody wants a new certificate authority.
    RotateAuthority,
}

impl Strike {
    /// Strikes with the pauses before them. The first of each round goes through all kinds in turn.
    pub(crate) fn of_a_round(random: &mut Rng, round: usize) -> Vec<(Duration, Self)> {
        let more = random.usize(..MOST_STRIKES);
        let kinds: Vec<_> = std::iter::once(round - 1).chain((0..more).map(|_| random.usize(..KINDS))).collect();
        kinds.into_iter().map(|kind| (Duration::from_millis(random.u64(..1500)), Self::of_kind(kind, random))).collect()
    }

    fn of_kind(kind: usize, random: &mut Rng) -> Self {
        let node = random.usize(..NODES);
        match kind % KINDS {
            0 => Self::Kill(Victim::Sidecar, node),
            1 => Self::Aws(Fault::BlackHole),
            2 => Self::Kill(Victim::Server, node),
            3 => Self::RotateAuthority,
            4 => Self::Lose(node),
            5 => Self::Dns([Disturbance::Silence, Disturbance::ServFail, Disturbance::NxDomain][random.usize(..3)]),
            6 => Self::Freeze(node, Duration::from_millis(random.u64(500..4000))),
            7 => Self::RotatePasswords,
            8 => Self::Retire(node),
            9 => Self::Aws(Fault::Answer(Answer::aws("ThrottlingException", 400))),
            _ => Self::Kill(Victim::Guard, node),
        }
    }

    pub(crate) async fn apply(&self, ecs: &mut Orchestrator<'_>, proof: &Proof<'_>) {
        match self {
            Self::Kill(victim, node) => ecs.signal(*victim, *node, Signal::SIGKILL),
            Self::Freeze(node, time) => ecs.freeze(*node, *time),
            Self::Lose(node) => ecs.lose(*node).await,
            Self::Retire(node) => ecs.retire(*node).await,
            Self::Aws(fault) => drop(ecs.aws.inject(Filter::any(), When::From(1), fault.clone())),
            Self::Dns(disturbance) => ecs.cluster.dns().disturb_all(*disturbance),
            Self::RotatePasswords => proof.rotate_passwords().await,
            Self::RotateAuthority => proof.rotate_authority().await,
        }
    }
}

const KINDS: usize = 11;

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim, node) => write!(f, "{victim:?} {} killed", node + 1),
            Self::Freeze(node, time) => write!(f, "Server {} frozen for {} ms", node + 1, time.as_millis()),
            Self::Lose(node) => write!(f, "task {} lost", node + 1),
            Self::Retire(node) => write!(f, "task {} retired", node + 1),
            Self::Aws(Fault::BlackHole) => f.write_str("AWS silent"),
            Self::Aws(_) => f.write_str("AWS throttles"),
            Self::Dns(disturbance) => write!(f, "DNS {disturbance:?}"),
            Self::RotatePasswords => f.write_str("passwords rotated"),
            Self::RotateAuthority => f.write_str("CA rotated"),
        }
    }
}

/// The container of a victim.
impl Victim {
    pub(crate) fn container(self) -> ContainerName {
        match self {
            Self::Sidecar => ContainerName::Bootstrap,
            Self::Guard | Self::Server => ContainerName::EventStore,
        }
    }
}
