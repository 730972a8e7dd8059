//! A Secrets Manager of a few lines with late readers and lost replies, and a scheduler that interleaves whoever uses it and
//! kills whoever it likes at any await.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by tests that each use a part")]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use certgen::ca::{Current, Described, SecretText, Store, StoreError, StoreErrorKind, VersionId};

pub(crate) const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:es/ca-AbCdEf";

/// The secret at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) exists: bool,
    pub(crate) versions: Vec<(VersionId, SecretText)>,
    pub(crate) current: Option<VersionId>,
    pub(crate) pending: Option<VersionId>,
}

impl Secret {
    fn text(&self, id: &VersionId) -> Option<SecretText> {
        self.versions.iter().find(|(version, _)| version == id).map(|(_, text)| text.clone())
    }

    pub(crate) fn current_text(&self) -> Option<SecretText> {
        self.current.as_ref().map(|id| self.text(id).unwrap())
    }

    fn call(&mut self, call: &Call) -> Result<(), StoreErrorKind> {
        match call {
            Call::Create(id, text) => {
                if !self.exists {
                    self.exists = true;
                    self.versions.push((id.clone(), text.clone()));
                    self.current = Some(id.clone());
                }
            }
            Call::Put(id, text) => {
                if !self.exists {
                    return Err(StoreErrorKind::Missing);
                }
                if self.text(id).is_some() {
                    return Ok(());
                }
                if self.versions.is_empty() {
                    self.current = Some(id.clone());
                }
                self.versions.push((id.clone(), text.clone()));
                self.pending = Some(id.clone());
            }
            Call::Promote(from, to) => {
                if self.current != *from || self.text(to).is_none() {
                    return Err(StoreErrorKind::Changed);
                }
                self.current = Some(to.clone());
            }
            Call::DropPending(from) => {
                if self.pending.as_ref() != Some(from) {
                    return Err(StoreErrorKind::Changed);
                }
                self.pending = None;
            }
        }
        Ok(())
    }
}

enum Call {
    Create(VersionId, SecretText),
    Put(VersionId, SecretText),
    Promote(Option<VersionId>, VersionId),
    DropPending(VersionId),
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has no effect, and the caller hears of a failure.
    Before,
    /// It has its effect, and the caller hears of a failure.
    After,
    /// It has its effect twice.
    Twice,
}

/// The secret with all that it ever was, the newest last.
pub(crate) struct World {
    pub(crate) history: RefCell<Vec<Secret>>,
    random: RefCell<fastrand::Rng>,
    /// How many moments a reader may be late.
    pub(crate) lag: Cell<usize>,
    /// The chance in percent that a call fails.
    pub(crate) failures: Cell<u8>,
    /// What happens to the call of this number, from 1.
    pub(crate) fault: Cell<Option<(usize, Fault)>>,
    pub(crate) calls: Cell<usize>,
    created: Cell<u32>,
}

impl World {
    pub(crate) fn new(secret: Secret, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            history: RefCell::new(vec![secret]),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            lag: Cell::new(0),
            failures: Cell::new(0),
            fault: Cell::new(None),
            calls: Cell::new(0),
            created: Cell::new(0),
        })
    }

    pub(crate) fn absent(seed: u64) -> Rc<Self> {
        Self::new(Secret::default(), seed)
    }

    /// Created by CloudFormation without a value.
    pub(crate) fn empty(seed: u64) -> Rc<Self> {
        Self::new(Secret { exists: true, ..Secret::default() }, seed)
    }

    /// With a value that somebody else wrote.
    pub(crate) fn holding(text: &str, seed: u64) -> Rc<Self> {
        let id = VersionId("of-somebody-else".to_owned());
        let versions = vec![(id.clone(), SecretText::from(text.to_owned()))];
        Self::new(Secret { exists: true, versions, current: Some(id), pending: None }, seed)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().usize(0..end)
    }

    pub(crate) fn now(&self) -> Secret {
        self.history.borrow().last().unwrap().clone()
    }

    /// All values that were current, each once in a row, but for `{}`.
    pub(crate) fn ever_current(&self) -> Vec<SecretText> {
        let mut texts: Vec<_> = self.history.borrow().iter().filter_map(Secret::current_text).collect();
        texts.dedup();
        texts.retain(|text| text.expose() != "{}");
        texts
    }

    /// No version has changed or gone.
    pub(crate) fn assert_nothing_was_overwritten(&self) {
        let history = self.history.borrow();
        for pair in history.windows(2) {
            assert!(pair[1].versions.starts_with(&pair[0].versions), "a version was overwritten");
        }
    }

    /// As a reader sees it.
    fn seen(&self) -> Secret {
        let late = self.below(self.lag.get() + 1);
        let history = self.history.borrow();
        history[history.len() - 1 - late.min(history.len() - 1)].clone()
    }

    fn change(&self, call: &Call) -> Result<(), StoreErrorKind> {
        let mut secret = self.now();
        let outcome = secret.call(call);
        if secret != self.now() {
            self.history.borrow_mut().push(secret);
        }
        outcome
    }

    fn failure(&self) -> Option<Fault> {
        self.calls.set(self.calls.get() + 1);
        if let Some((number, fault)) = self.fault.get()
            && number == self.calls.get()
        {
            return Some(fault);
        }
        if self.below(100) < usize::from(self.failures.get()) {
            return Some([Fault::Before, Fault::After, Fault::Twice][self.below(3)]);
        }
        None
    }
}

/// A user of the secret, with so many pauses left.
pub(crate) struct User {
    world: Rc<World>,
    pauses: Cell<usize>,
}

impl User {
    pub(crate) fn of(world: &Rc<World>) -> Self {
        Self { world: Rc::clone(world), pauses: Cell::new(400) }
    }

    async fn read<T>(&self, what: impl Fn(&Secret) -> T) -> Result<T, StoreError> {
        self.effect(|| Ok(what(&self.world.seen()))).await
    }

    async fn write(&self, call: Call) -> Result<(), StoreError> {
        self.effect(|| self.world.change(&call)).await
    }

    /// Two awaits: one may be killed before the effect, and after it.
    async fn effect<T>(&self, effect: impl Fn() -> Result<T, StoreErrorKind>) -> Result<T, StoreError> {
        let error = |kind| StoreError { operation: "Call", message: "by the test".to_owned(), kind };
        once().await;
        let fault = self.world.failure();
        if fault == Some(Fault::Before) {
            return Err(error(StoreErrorKind::Unavailable));
        }
        let mut outcome = effect();
        if fault == Some(Fault::Twice) {
            outcome = effect();
        }
        once().await;
        if fault == Some(Fault::After) {
            return Err(error(StoreErrorKind::Unavailable));
        }
        outcome.map_err(error)
    }
}

impl Store for User {
    async fn current(&self) -> Result<Option<Current>, StoreError> {
        self.read(|secret| {
            let (version, text) = (secret.current.clone()?, secret.current_text()?);
            let is_pending = secret.pending.as_ref() == Some(&version);
            Some(Current { arn: ARN.to_owned(), version, text, is_pending })
        })
        .await
    }

    async fn described(&self) -> Result<Option<Described>, StoreError> {
        let described = |secret: &Secret| Described { arn: ARN.to_owned(), has_current: secret.current.is_some() };
        self.read(|secret| secret.exists.then(|| described(secret))).await
    }

    async fn version(&self, version: &VersionId) -> Result<Option<SecretText>, StoreError> {
        self.read(|secret| secret.text(version)).await
    }

    async fn create(&self, text: &SecretText) -> Result<(), StoreError> {
        self.world.created.set(self.world.created.get() + 1);
        let id = VersionId(format!("created-{}", self.world.created.get()));
        self.write(Call::Create(id, text.clone())).await
    }

    async fn put(&self, version: &VersionId, text: &SecretText) -> Result<(), StoreError> {
        self.write(Call::Put(version.clone(), text.clone())).await
    }

    async fn promote(&self, from: Option<&VersionId>, to: &VersionId) -> Result<(), StoreError> {
        self.write(Call::Promote(from.cloned(), to.clone())).await
    }

    async fn drop_pending(&self, from: &VersionId) -> Result<(), StoreError> {
        self.write(Call::DropPending(from.clone())).await
    }

    async fn pause(&self, _: Duration) -> bool {
        once().await;
        let left = self.pauses.get();
        self.pauses.set(left.saturating_sub(1));
        left > 0
    }
}

/// Lets the others go on.
async fn once() {
    let mut is_first = true;
    poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Something that uses the secret.
pub(crate) type Task<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs all to their ends in a random order, and kills one at an await with the given chance in a thousand. Gives what the
/// others came to.
pub(crate) fn run<T>(world: &World, tasks: Vec<Task<T>>, kills: usize) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.into_iter().collect();
    let mut outcomes = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while !tasks.is_empty() {
        let index = world.below(tasks.len());
        if world.below(1000) < kills {
            drop(tasks.swap_remove(index));
        } else if let Poll::Ready(outcome) = tasks[index].as_mut().poll(&mut context) {
            drop(tasks.swap_remove(index));
            outcomes.push(outcome);
        }
    }
    outcomes
}

/// Runs one alone to its end.
pub(crate) fn alone<T>(task: impl Future<Output = T>) -> T {
    let mut task = Box::pin(task);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(outcome) = task.as_mut().poll(&mut context) {
            return outcome;
        }
    }
}
