//! Runs sidecars one poll at a time in virtual time: whoever could go on is chosen by the tape, so every await is a place
//! at which others may come first, and at which a caller can be killed.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bootstrap::{Error, User, World, ask};
use tokio::time::{sleep, sleep_until};

use crate::calls::{Caller, ModelSecrets, ModelServer, Shared};
use crate::setup::{Plan, details};
use crate::subject::Subject;
use crate::tape::Chooser;
use bootstrap::ports::Server as _;

/// How often a sidecar looks again once its node is secured.
const POLL: Duration = Duration::from_secs(30);

/// What a sidecar has said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// When the last run that succeeded had begun.
    pub(crate) succeeded: Option<u64>,
    /// When the last run that failed had begun, and why it failed.
    pub(crate) failed: Option<(u64, Reason)>,
    /// The connection details that it was started with.
    pub(crate) details: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    LockedOut,
    Other(String),
}

type Board = Rc<RefCell<Vec<Said>>>;

struct Ready {
    is_set: AtomicBool,
    executor: Waker,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::Relaxed);
        self.executor.wake_by_ref();
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    ready: Arc<Ready>,
    /// When it is started again, if it is.
    again_at: Option<u64>,
}

pub(crate) struct Executor<S> {
    pub(crate) model: Shared,
    pub(crate) said: Board,
    pub(crate) plan: Rc<Plan>,
    subject: S,
    tasks: Vec<Task>,
    pub(crate) polls: u64,
}

impl<S: Subject> Executor<S> {
    /// Must be called on the runtime's own waker, which `executor` is.
    pub(crate) fn new(model: Shared, plan: Plan, subject: S, executor: &Waker) -> Self {
        let sidecars = model.borrow().sidecars;
        let ready = |_| Arc::new(Ready { is_set: AtomicBool::new(false), executor: executor.clone() });
        let tasks = (0..crate::tape::CALLERS).map(ready).map(|ready| Task { future: None, ready, again_at: None });
        let mut tasks: Vec<_> = tasks.collect();
        tasks.iter_mut().take(sidecars).for_each(|task| task.again_at = Some(0));
        let said = Rc::new(RefCell::new(vec![Said::default(); sidecars]));
        Self { model, said, plan: Rc::new(plan), subject, tasks, polls: 0 }
    }

    /// Goes on until `is_over`, or until `deadline`. Gives whether it was over; never after a violation.
    pub(crate) async fn run_until(&mut self, deadline: u64, mut is_over: impl FnMut(&Self) -> bool) -> bool {
        loop {
            let due = self.model.borrow_mut().work();
            self.kill();
            self.start();
            if self.model.borrow().violation.is_some() {
                return false;
            }
            if is_over(self) {
                return true;
            }
            let now = self.model.borrow().now();
            if now >= deadline {
                return false;
            }
            if self.poll_one() {
                continue;
            }
            let starts = self.tasks.iter().filter_map(|task| task.again_at);
            let next = starts.chain(due).fold(deadline, u64::min);
            let next = self.model.borrow().instant(next);
            let mut timer = pin!(sleep_until(next));
            poll_fn(|context| if self.is_anybody_ready() { Poll::Ready(()) } else { timer.as_mut().poll(context) })
                .await;
        }
    }

    fn is_anybody_ready(&self) -> bool {
        self.tasks.iter().any(|task| task.future.is_some() && task.ready.is_set.load(Ordering::Relaxed))
    }

    fn kill(&mut self) {
        let model = &mut *self.model.borrow_mut();
        for caller in std::mem::take(&mut model.killed) {
            self.tasks[caller].future = None;
            model.forget_witnesses(caller);
            if caller < model.sidecars {
                let pause = if model.is_calm { 1_000 } else { model.tape.pick(Chooser::Executor, &PAUSES_MS) };
                self.tasks[caller].again_at = Some(model.now() + pause);
                model.note(|_| format!("sidecar {caller} is down for {pause} ms"));
            }
        }
    }

    fn start(&mut self) {
        let now = self.model.borrow().now();
        let sidecars = self.said.borrow().len();
        for caller in 0..sidecars {
            if self.tasks[caller].again_at.is_some_and(|at| at <= now) {
                self.tasks[caller].again_at = None;
                self.tasks[caller].future = Some(self.sidecar(caller));
                self.tasks[caller].ready.is_set.store(true, Ordering::Relaxed);
            }
        }
        let asked = std::mem::take(&mut self.model.borrow_mut().asked);
        for secret in asked {
            let idle = (sidecars..self.tasks.len()).find(|number| self.tasks[*number].future.is_none());
            let user = self.plan.user(secret).cloned();
            if let (Some(caller), Some(user)) = (idle, user) {
                self.tasks[caller].future = Some(self.request(caller, user));
                self.tasks[caller].ready.is_set.store(true, Ordering::Relaxed);
            }
        }
    }

    /// False if nobody can go on.
    fn poll_one(&mut self) -> bool {
        let ready = self.tasks.iter().enumerate();
        let ready = ready.filter(|(_, task)| task.future.is_some() && task.ready.is_set.load(Ordering::Relaxed));
        let mut numbers = [0; crate::tape::CALLERS];
        let mut count = 0;
        for (number, _) in ready {
            numbers[count] = number;
            count += 1;
        }
        let chosen = match count {
            0 => return false,
            1 => 0,
            _ => self.model.borrow_mut().tape.below(Chooser::Executor, count),
        };
        let number = numbers[chosen];
        let task = &mut self.tasks[number];
        task.ready.is_set.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.ready));
        let future = task.future.as_mut().expect("only tasks with a future are ready");
        self.polls += 1;
        crate::log::speaker(number);
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        if polled.as_ref().is_ok_and(Poll::is_pending) {
            self.model.borrow_mut().take_log();
            return true;
        }
        task.future = None;
        {
            let model = &mut *self.model.borrow_mut();
            if polled.is_err() {
                model.violate(format!("caller {number} panics"));
            }
            if number < model.sidecars {
                // ECS starts another.
                task.again_at = Some(model.now() + 5_000);
            }
        }
        self.model.borrow_mut().take_log();
        true
    }

    /// The part of a sidecar's life that has to do with passwords.
    fn sidecar(&self, number: usize) -> Pin<Box<dyn Future<Output = ()>>> {
        let (caller, said, plan) =
            (Caller { model: Rc::clone(&self.model), number }, Rc::clone(&self.said), Rc::clone(&self.plan));
        let carried = self.model.borrow().details;
        self.model.borrow_mut().note(|_| format!("sidecar {number} starts, with details {carried}"));
        said.borrow_mut()[number].details = carried;
        let (protocol, secrets, server) = self.subject.parts(&caller, number);
        let world = World { secrets, server, protocol, details: details(carried), policy: plan.policy.clone() };
        Box::pin(async move {
            while !matches!(ModelServer::new(caller.clone(), number).is_live().await, Ok(true)) {
                sleep(Duration::from_secs(1)).await;
            }
            let mut is_secured = false;
            loop {
                let begun = caller.model.borrow().now();
                let (admin, others) = plan.users.split_first().expect("there is an administrator");
                let done = world.secure(admin, others).await;
                caller.model.borrow_mut().note(|_| match &done {
                    Ok(()) => format!("sidecar {number} is done"),
                    Err(error) => format!("sidecar {number} gives up: {}", error.one_line()),
                });
                if done.is_ok() {
                    caller.model.borrow_mut().satisfied(number, begun);
                }
                is_secured |= done.is_ok();
                note_end(&mut said.borrow_mut()[number], begun, done);
                if !is_secured {
                    return;
                }
                sleep(POLL).await;
            }
        })
    }

    /// `bootstrap rotate`.
    fn request(&self, number: usize, user: User) -> Pin<Box<dyn Future<Output = ()>>> {
        let caller = Caller { model: Rc::clone(&self.model), number };
        let secrets = ModelSecrets(caller.clone());
        Box::pin(async move {
            let asked = ask(&secrets, &user).await;
            caller.model.borrow_mut().note(|_| match asked {
                Ok(asked) => format!("rotate {}: {asked:?}", user.login),
                Err(error) => format!("rotate {}: {}", user.login, error.one_line()),
            });
        })
    }
}

fn note_end(said: &mut Said, begun: u64, done: Result<(), Error>) {
    match done {
        Ok(()) => said.succeeded = Some(begun),
        Err(Error::LockedOut { .. }) => said.failed = Some((begun, Reason::LockedOut)),
        Err(other) => said.failed = Some((begun, Reason::Other(other.one_line()))),
    }
}

const PAUSES_MS: [u64; 4] = [1_000, 50, 10_000, 60_000];
