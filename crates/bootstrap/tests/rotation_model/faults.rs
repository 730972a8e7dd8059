//! What can become of a call, and how often.

use crate::tape::{Chooser, Tape};

/// What becomes of a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFault {
    None,
    /// It does not get there.
    Before,
    /// It is done, and the reply is lost.
    After,
    /// The password is stored, the notice is not, and the reply is lost.
    Unannounced,
    /// Somebody on the way sends it again; the second reply arrives.
    Twice,
    /// No answer ever; nothing is done.
    Silent,
    /// No answer ever; it is done.
    SilentDone,
    /// No answer ever; it is done after the caller has given up.
    Late,
    /// The same, and the notice is never written.
    LateUnannounced,
    /// Throttled, or 503.
    Busy,
    /// AWS does not know the grant yet, or 409.
    Denied,
    /// The caller is killed before it has sent it.
    KilledBefore,
    /// The caller is killed while it waits for the reply.
    KilledAfter,
    /// The leader dies of it; nothing is stored.
    LeaderDies,
    /// The leader dies when it is stored and not announced.
    LeaderDiesUnannounced,
    /// The leader dies before it replies.
    LeaderDiesDone,
}

const WRITE_FAULTS: [WriteFault; 16] = [
    WriteFault::None,
    WriteFault::Before,
    WriteFault::After,
    WriteFault::Unannounced,
    WriteFault::Twice,
    WriteFault::Silent,
    WriteFault::SilentDone,
    WriteFault::Late,
    WriteFault::LateUnannounced,
    WriteFault::Busy,
    WriteFault::Denied,
    WriteFault::KilledBefore,
    WriteFault::KilledAfter,
    WriteFault::LeaderDies,
    WriteFault::LeaderDiesUnannounced,
    WriteFault::LeaderDiesDone,
];

/// What becomes of a call that only asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFault {
    None,
    /// Refused connection, lost reply, throttled, 503.
    Failed,
    /// No answer ever.
    Silent,
    /// AWS: an older state. The server: 401 although the password is right.
    Wrong,
    /// The caller is killed.
    Killed,
}

const READ_FAULTS: [ReadFault; 5] =
    [ReadFault::None, ReadFault::Failed, ReadFault::Silent, ReadFault::Wrong, ReadFault::Killed];

const LATENCIES_MS: [u64; 6] = [1, 3, 10, 50, 300, 3_000];

/// How often what happens in one schedule, in ten thousandths. Every schedule has a climate of its own: some faults are
/// absent in it and some frequent, since a world in which everything always fails never gets anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    write: [u32; WRITE_FAULTS.len()],
    read: [u32; READ_FAULTS.len()],
    latency: [u32; LATENCIES_MS.len()],
}

impl Default for Rates {
    fn default() -> Self {
        let (mut write, mut read) = ([0; WRITE_FAULTS.len()], [0; READ_FAULTS.len()]);
        (write[0], read[0]) = (10_000, 10_000);
        Self { write, read, latency: [1, 0, 0, 0, 0, 0] }
    }
}

impl Rates {
    pub(crate) fn choose(tape: &mut Tape) -> Self {
        let mut rates = Self::default();
        for rate in &mut rates.write[1..] {
            *rate = tape.pick(Chooser::Setup, &[0, 0, 20, 150, 900]);
        }
        for rate in &mut rates.read[1..] {
            *rate = tape.pick(Chooser::Setup, &[0, 0, 0, 10, 100]);
        }
        // To be killed at one of many questions is enough now and then.
        rates.read[4] /= 5;
        rates.latency = tape.pick(Chooser::Setup, &[[1, 0, 0, 0, 0, 0], [8, 4, 2, 1, 0, 0], [80, 40, 40, 20, 10, 1]]);
        rates
    }

    pub(crate) fn write(&self, tape: &mut Tape, caller: usize) -> WriteFault {
        WRITE_FAULTS[tape.weighted(Chooser::Caller(caller), &self.write)]
    }

    pub(crate) fn read(&self, tape: &mut Tape, caller: usize) -> ReadFault {
        READ_FAULTS[tape.weighted(Chooser::Caller(caller), &self.read)]
    }

    pub(crate) fn latency(&self, tape: &mut Tape, caller: usize) -> u64 {
        LATENCIES_MS[tape.weighted(Chooser::Caller(caller), &self.latency)]
    }
}
