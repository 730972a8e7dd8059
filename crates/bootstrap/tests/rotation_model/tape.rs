//! What a schedule is made of: choices, drawn from a seed or played back. The first option of every choice is the
//! harmless one, and a tape that has come to its end goes on with that, so a shorter tape is a simpler schedule.

use std::fmt;

/// Who chooses. Each has a tape of its own, so that one choice less on one of them leaves the others in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// How everything is at the start, and what happens from outside.
    Setup,
    /// Who goes next.
    Executor,
    /// The cluster: elections, replication, when a node looks at the notices.
    Cluster,
    /// Rotators that are not ours.
    Foreigner,
    /// What becomes of the calls of one sidecar or of one `bootstrap rotate`.
    Caller(usize),
}

/// Callers that have a tape: more than there are at any time.
pub(crate) const CALLERS: usize = 8;
const STREAMS: usize = 4 + CALLERS;

impl Chooser {
    fn stream(self) -> usize {
        match self {
            Self::Setup => 0,
            Self::Executor => 1,
            Self::Cluster => 2,
            Self::Foreigner => 3,
            Self::Caller(number) => 4 + number % CALLERS,
        }
    }
}

/// All choices of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choices(pub(crate) [Vec<u16>; STREAMS]);

impl Choices {
    /// Choices that are not the harmless one.
    pub(crate) fn weight(&self) -> usize {
        self.0.iter().flatten().filter(|choice| **choice != 0).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Without the harmless choices at the end, which are made anyway.
    pub(crate) fn trim(&mut self) {
        for stream in &mut self.0 {
            let used = stream.iter().rposition(|choice| *choice != 0).map_or(0, |last| last + 1);
            stream.truncate(used);
        }
    }

    /// The form in which [`fmt::Display`] writes them: streams with `/` between, choices with `.`, `n*` for n harmless
    /// ones.
    pub(crate) fn parse(text: &str) -> Self {
        let mut choices = Self::default();
        for (stream, text) in choices.0.iter_mut().zip(text.split('/')) {
            for item in text.split('.').filter(|item| !item.is_empty()) {
                match item.strip_suffix('*') {
                    Some(count) => stream.extend(std::iter::repeat_n(0, count.parse().unwrap())),
                    None => stream.push(item.parse().unwrap()),
                }
            }
        }
        choices
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self.0.iter().map(|stream| {
            let items = stream.chunk_by(|a, b| *a == 0 && *b == 0).map(|run| match run {
                [0, 0, ..] => format!("{}*", run.len()),
                _ => run.iter().map(u16::to_string).collect::<Vec<_>>().join("."),
            });
            items.collect::<Vec<_>>().join(".")
        });
        f.write_str(streams.collect::<Vec<_>>().join("/").trim_end_matches('/'))
    }
}

/// The choices of the schedule that is being played.
pub(crate) struct Tape {
    made: Choices,
    played: Option<([usize; STREAMS], Choices)>,
    random: fastrand::Rng,
}

impl Tape {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { made: Choices::default(), played: None, random: fastrand::Rng::with_seed(seed) }
    }

    pub(crate) fn from_choices(choices: Choices) -> Self {
        Self { made: Choices::default(), played: Some(([0; STREAMS], choices)), random: fastrand::Rng::with_seed(0) }
    }

    /// One of as many options as there are weights.
    pub(crate) fn weighted(&mut self, chooser: Chooser, weights: &[u32]) -> usize {
        if self.played.is_some() {
            return self.below(chooser, weights.len());
        }
        let mut left = self.random.u32(..weights.iter().sum::<u32>());
        let chosen = weights.iter().position(|weight| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        self.note(chooser, chosen.unwrap_or(0))
    }

    /// One of `count` options, all equally likely.
    pub(crate) fn below(&mut self, chooser: Chooser, count: usize) -> usize {
        let chosen = match &mut self.played {
            Some((next, choices)) => {
                let stream = chooser.stream();
                let chosen = choices.0[stream].get(next[stream]).copied().unwrap_or(0);
                next[stream] += 1;
                usize::from(chosen) % count
            }
            None => self.random.usize(..count),
        };
        self.note(chooser, chosen)
    }

    pub(crate) fn pick<T: Copy>(&mut self, chooser: Chooser, options: &[T]) -> T {
        options[self.below(chooser, options.len())]
    }

    fn note(&mut self, chooser: Chooser, chosen: usize) -> usize {
        self.made.0[chooser.stream()].push(u16::try_from(chosen).expect("there are few options"));
        chosen
    }

    pub(crate) fn into_choices(self) -> Choices {
        self.made
    }
}
