//! The model's side of bootstrap's ports: each call waits on its way there and back, and what its fault says happens.

use std::cell::RefCell;
use std::rc::Rc;

use bootstrap::ports::{
    AccountRecord, AwsError, AwsErrorKind, Labels, Login, Requester, SecretId, SecretStore, Server, ServerError,
    Version, VersionId,
};
use bootstrap::rotation::Role;
use bootstrap::{Password, SecretText};
use std::time::{Duration, SystemTime};
use tokio::time::sleep_until;

use crate::cluster::{ADMIN, Account, Extent, LOGINS, Phase};
use crate::faults::{ReadFault, WriteFault};
use crate::store::{CURRENT, PENDING, Refusal, Secret};
use crate::tape::Chooser;
use crate::world::{Model, SECRETS, Way, short, word};

/// The limits of bootstrap's adapters.
const AWS_TIMEOUT_MS: u64 = 30_000;
const SERVER_TIMEOUT_MS: u64 = 10_000;

pub(crate) type Shared = Rc<RefCell<Model>>;

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) model: Shared,
    pub(crate) number: usize,
}

/// Why a call gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoConnection,
    ReplyLost,
    NoAnswer,
    Busy,
    Denied,
}

impl Caller {
    /// A call that asks. `answer` gives `None` if there is never going to be an answer.
    async fn ask<R>(
        &self,
        timeout: u64,
        what: impl FnOnce() -> String,
        answer: impl FnOnce(&mut Model, bool) -> Option<R>,
    ) -> Result<R, Why> {
        let (fault, begun, arrives) = {
            let model = &mut *self.model.borrow_mut();
            let (fault, latency) = if model.is_calm {
                (ReadFault::None, 1)
            } else {
                let Model { rates, tape, .. } = model;
                (rates.read(tape, self.number), rates.latency(tape, self.number))
            };
            if fault == ReadFault::Killed {
                model.note(|_| format!("caller {} is killed", self.number));
                model.killed.push(self.number);
            }
            (fault, model.now(), model.instant(model.now() + latency))
        };
        let gives_up = self.model.borrow().instant(begun + timeout);
        match fault {
            ReadFault::Killed => std::future::pending().await,
            ReadFault::Silent => {
                sleep_until(gives_up).await;
                self.said(what, "no answer");
                return Err(Why::NoAnswer);
            }
            ReadFault::None | ReadFault::Failed | ReadFault::Wrong => sleep_until(arrives).await,
        }
        if fault == ReadFault::Failed {
            self.said(what, "failed");
            return Err(Why::NoConnection);
        }
        let answer = answer(&mut self.model.borrow_mut(), fault == ReadFault::Wrong);
        if let Some(answer) = answer {
            return Ok(answer);
        }
        sleep_until(gives_up).await;
        self.said(what, "no answer");
        Err(Why::NoAnswer)
    }

    fn said(&self, what: impl FnOnce() -> String, outcome: &str) {
        self.model.borrow_mut().note(|_| format!("caller {}: {}: {outcome}", self.number, what()));
    }

    /// A call that changes something, on its own way once it was sent. `effect` gives `None` if there is never going to
    /// be an answer.
    async fn change<R: 'static>(
        &self,
        timeout: u64,
        what: String,
        effect: impl FnMut(&mut Model, Extent) -> Option<R> + 'static,
    ) -> Result<R, Why> {
        let reply = Rc::new(RefCell::new(None));
        let (begun, plan) = {
            let model = &mut *self.model.borrow_mut();
            model.writes += 1;
            let now = model.now();
            (now, self.send(model, now + timeout, timeout, &what, effect, &reply))
        };
        let Plan { fault, back_at, why } = plan;
        if matches!(fault, WriteFault::KilledBefore | WriteFault::KilledAfter) {
            std::future::pending::<()>().await;
        }
        let until = |at| self.model.borrow().instant(at);
        sleep_until(until(back_at)).await;
        let result = if let Some(why) = why {
            Err(why)
        } else {
            let answer = reply.take();
            if answer.is_none() {
                sleep_until(until(begun + timeout)).await;
            }
            answer.ok_or(Why::NoAnswer)
        };
        self.model.borrow_mut().note(|_| {
            let outcome = result.as_ref().map_or_else(|why| format!("{why:?}"), |_| "answered".to_owned());
            format!("caller {}: {what}: {outcome}", self.number)
        });
        result
    }

    /// Puts the effects of a change into the world's queue.
    fn send<R: 'static>(
        &self,
        model: &mut Model,
        gives_up_at: u64,
        timeout: u64,
        what: &str,
        effect: impl FnMut(&mut Model, Extent) -> Option<R> + 'static,
        reply: &Rc<RefCell<Option<R>>>,
    ) -> Plan {
        let (fault, there, back) = if model.is_calm {
            (WriteFault::None, 1, 1)
        } else {
            let Model { rates, tape, .. } = model;
            let fault = rates.write(tape, self.number);
            (fault, rates.latency(tape, self.number), rates.latency(tape, self.number))
        };
        model.note(|_| format!("caller {} sends: {what} ({fault:?})", self.number));
        let effect = Rc::new(RefCell::new(effect));
        let happen = |model: &mut Model, delay, extent| {
            let (effect, reply) = (Rc::clone(&effect), Rc::clone(reply));
            model.after(delay, move |model| {
                let said = (effect.borrow_mut())(model, extent);
                reply.replace(said);
            });
        };
        let now = model.now();
        let (arrives, back_at) = (there, now + there + back);
        let mut plan = Plan { fault, back_at, why: None };
        match fault {
            WriteFault::None => happen(model, arrives, Extent::Whole),
            WriteFault::Before => plan.why = Some(Why::NoConnection),
            WriteFault::Busy => plan.why = Some(Why::Busy),
            WriteFault::Denied => plan.why = Some(Why::Denied),
            WriteFault::After => {
                happen(model, arrives, Extent::Whole);
                plan.why = Some(Why::ReplyLost);
            }
            WriteFault::Unannounced => {
                happen(model, arrives, Extent::Unannounced);
                plan.why = Some(Why::ReplyLost);
            }
            WriteFault::Twice => {
                happen(model, arrives, Extent::Whole);
                happen(model, arrives + back, Extent::Whole);
            }
            WriteFault::Silent => (plan.back_at, plan.why) = (gives_up_at, Some(Why::NoAnswer)),
            WriteFault::SilentDone => {
                happen(model, arrives, Extent::Whole);
                (plan.back_at, plan.why) = (gives_up_at, Some(Why::NoAnswer));
            }
            WriteFault::Late | WriteFault::LateUnannounced => {
                let later = model.tape.pick(Chooser::Caller(self.number), &[1, 400, 3_000, 20_000]);
                let is_whole = fault == WriteFault::Late;
                happen(model, timeout + later, if is_whole { Extent::Whole } else { Extent::Unannounced });
                (plan.back_at, plan.why) = (gives_up_at, Some(Why::NoAnswer));
            }
            WriteFault::KilledBefore => model.killed.push(self.number),
            WriteFault::KilledAfter => {
                happen(model, arrives, Extent::Whole);
                model.killed.push(self.number);
            }
            WriteFault::LeaderDies | WriteFault::LeaderDiesUnannounced | WriteFault::LeaderDiesDone => {
                match fault {
                    WriteFault::LeaderDiesDone => happen(model, arrives, Extent::Whole),
                    WriteFault::LeaderDiesUnannounced => happen(model, arrives, Extent::Unannounced),
                    _ => {}
                }
                model.after(arrives, |model| {
                    if let Some(leader) = model.cluster.leader {
                        model.fail_node(leader, false);
                    }
                });
                plan.why = Some(Why::ReplyLost);
            }
        }
        plan
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.model.borrow_mut().note(|_| format!("caller {}: {}", self.number, text()));
    }
}

struct Plan {
    fault: WriteFault,
    /// When the caller hears of it.
    back_at: u64,
    /// What it hears instead of the reply.
    why: Option<Why>,
}

/// Secrets Manager as one caller finds it.
#[derive(Clone)]
pub(crate) struct ModelSecrets(pub(crate) Caller);

pub(crate) fn secret_number(id: &SecretId) -> usize {
    SECRETS.iter().position(|(name, _)| *name == id.0).expect("the model knows every secret")
}

fn aws_error(operation: &'static str, id: &SecretId, why: Why) -> AwsError {
    let kind = if why == Why::Denied { AwsErrorKind::Denied } else { AwsErrorKind::Unavailable };
    AwsError { operation, subject: id.0.clone(), message: format!("{why:?}"), kind }
}

fn refusal(operation: &'static str, id: &SecretId, refusal: Refusal) -> AwsError {
    let kind = match refusal {
        Refusal::Mismatch => AwsErrorKind::Changed,
        Refusal::NotFound => AwsErrorKind::Invalid,
    };
    AwsError { operation, subject: id.0.clone(), message: format!("{refusal:?}"), kind }
}

impl ModelSecrets {
    /// Looks at the secret, perhaps at what it was a while ago.
    async fn look<R>(
        &self,
        operation: &'static str,
        id: &SecretId,
        seen: impl FnOnce(&mut Model, Option<Rc<Secret>>) -> R,
    ) -> Result<R, AwsError> {
        let secret = secret_number(id);
        let number = self.0.number;
        let answer = |model: &mut Model, is_stale: bool| {
            let depth = model.store.depth(secret, model.now());
            let back = if is_stale { 1 + model.tape.below(Chooser::Caller(number), depth.max(1)) } else { 0 };
            let back = back.min(depth);
            if back > 0 {
                model.note(|_| format!("caller {number}: {operation} shows a state {back} writes old"));
            }
            let found = model.store.older(secret, back).cloned();
            Some(seen(model, found))
        };
        let asked = self.0.ask(AWS_TIMEOUT_MS, || operation.to_owned(), answer).await;
        asked.map_err(|why| aws_error(operation, id, why))
    }

    async fn write(
        &self,
        operation: &'static str,
        id: &SecretId,
        what: String,
        mut change: impl FnMut(&mut Model, usize) -> Result<(), Refusal> + 'static,
    ) -> Result<(), AwsError> {
        let secret = secret_number(id);
        let effect = move |model: &mut Model, _: Extent| {
            let done = change(model, secret);
            model.note_labels(secret);
            Some(done)
        };
        let what = format!("{operation} {} {what}", id.0);
        match self.0.change(AWS_TIMEOUT_MS, what, effect).await {
            Ok(done) => done.map_err(|refused| refusal(operation, id, refused)),
            Err(why) => Err(aws_error(operation, id, why)),
        }
    }

    async fn stage(
        &self,
        id: &SecretId,
        label: u8,
        from: Option<&VersionId>,
        to: Option<&VersionId>,
    ) -> Result<(), AwsError> {
        let (from, to) = (from.map(|from| from.0.clone()), to.map(|to| to.0.clone()));
        let name = |id: &Option<String>| id.as_deref().map_or("nowhere".to_owned(), |id| short(id).to_owned());
        let (label_name, way) =
            if label == CURRENT { ("AWSCURRENT", Way::Promote) } else { ("AWSPENDING", Way::Label) };
        let what = format!("{label_name} from {} to {}", name(&from), name(&to));
        self.write("UpdateSecretVersionStage", id, what, move |model, secret| {
            model.change_secret(secret, way, |store, now| {
                store.stage(secret, now, label, from.as_deref(), to.as_deref())
            })
        })
        .await
    }
}

impl SecretStore for ModelSecrets {
    async fn labels(&self, id: &SecretId) -> Result<Option<Labels>, AwsError> {
        self.look("DescribeSecret", id, |_, found| found.map(|secret| secret.labels())).await
    }

    async fn deprecated(&self, id: &SecretId) -> Result<Vec<VersionId>, AwsError> {
        self.look("ListSecretVersionIds", id, |_, found| found.map_or_else(Vec::new, |secret| secret.deprecated()))
            .await
    }

    async fn read(&self, id: &SecretId, version: &VersionId) -> Result<Option<Version>, AwsError> {
        self.look("GetSecretValue", id, |_, found| {
            let secret = found?;
            let version = secret.version(&version.0)?;
            let text = SecretText::from(version.text.as_deref()?.to_owned());
            let created = SystemTime::UNIX_EPOCH + Duration::from_millis(version.created);
            Some(Version { text, created: Some(created) })
        })
        .await
    }

    async fn create(&self, id: &SecretId, text: &SecretText) -> Result<(), AwsError> {
        let (text, token) = (text.clone(), self.0.model.borrow_mut().store.name());
        self.write("CreateSecret", id, String::new(), move |model, secret| {
            let first = model.stored(secret, Rc::clone(&token), Some(text.expose()), true);
            model.change_secret(secret, Way::Put, |store, now| {
                store.create(secret, now, Some(first));
                Ok(())
            })
        })
        .await
    }

    async fn put_pending(&self, id: &SecretId, version: &VersionId, text: &SecretText) -> Result<(), AwsError> {
        let (text, token) = (text.clone(), Rc::<str>::from(version.0.as_str()));
        let what = format!("{} as AWSPENDING", short(&version.0));
        self.write("PutSecretValue", id, what, move |model, secret| {
            let stored = model.stored(secret, Rc::clone(&token), Some(text.expose()), true);
            model.change_secret(secret, Way::Put, |store, now| store.put(secret, now, PENDING, stored))
        })
        .await
    }

    async fn move_current(&self, id: &SecretId, from: &VersionId, to: &VersionId) -> Result<(), AwsError> {
        self.0.model.borrow_mut().promoting(self.0.number, secret_number(id), &to.0);
        self.stage(id, CURRENT, Some(from), Some(to)).await
    }

    async fn label_pending(&self, id: &SecretId, from: Option<&VersionId>, to: &VersionId) -> Result<(), AwsError> {
        self.stage(id, PENDING, from, Some(to)).await
    }

    async fn drop_pending(&self, id: &SecretId, from: &VersionId) -> Result<(), AwsError> {
        self.stage(id, PENDING, Some(from), None).await
    }
}

/// One node as one caller finds it.
#[derive(Clone)]
pub(crate) struct ModelServer {
    pub(crate) caller: Caller,
    pub(crate) node: usize,
    address: String,
}

/// What a server says to a request about users.
enum Said {
    /// 200 and `success:true`.
    Done,
    /// 401 with the challenge that means the login.
    Refused,
    /// Anything else.
    Other(&'static str),
    Nobody,
}

impl ModelServer {
    pub(crate) fn new(caller: Caller, node: usize) -> Self {
        Self { caller, node, address: format!("node {node}") }
    }

    async fn question<R>(
        &self,
        what: impl FnOnce() -> String,
        answer: impl FnOnce(&mut Model, bool) -> Option<Option<R>>,
    ) -> Result<R, ServerError> {
        let node = self.node;
        let answer = |model: &mut Model, is_wrong: bool| match model.cluster.nodes[node].phase {
            Phase::Down => Some(None),
            Phase::Starting | Phase::Live => answer(model, is_wrong),
        };
        match self.caller.ask(SERVER_TIMEOUT_MS, what, answer).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(ServerError::Unreachable("connection refused".to_owned())),
            Err(why) => Err(ServerError::Unreachable(format!("{why:?}"))),
        }
    }

    /// A change of a user as its requester.
    async fn command(
        &self,
        what: String,
        by: By,
        mut apply: impl FnMut(&mut Model, Extent) -> Said + 'static,
    ) -> Result<(), ServerError> {
        let node = self.node;
        let effect = move |model: &mut Model, extent: Extent| {
            if model.cluster.nodes[node].phase == Phase::Down {
                return Some(Said::Other("connection refused"));
            }
            match authenticate(model, node, by) {
                Some(Said::Done) => Some(apply(model, extent)),
                other => other,
            }
        };
        answered(&self.caller.change(SERVER_TIMEOUT_MS, what, effect).await)
    }

    /// The administrator's `change-password`, which bootstrap never uses: it compares the old password with what is stored,
    /// whatever the cache says (observed §4).
    pub(crate) async fn change_password(&self, old: &Password, new: &Password) -> Result<(), ServerError> {
        let (old, password) = (self.number(old), self.number(new));
        let call = self.caller.model.borrow_mut().sending(ADMIN, password);
        let what = format!("node {}: change admin from {} to {}", self.node, word(old), word(password));
        let apply = move |model: &mut Model, extent| match model.cluster.committed()[ADMIN] {
            Some(account) if account.password == old => {
                model.write_account(ADMIN, Some(Account { password, ..account }), extent);
                Said::Done
            }
            _ => Said::Other("401: the old password is another one"),
        };
        let done = self.command(what, By::Admin(old), apply).await;
        if done.is_ok() {
            self.caller.model.borrow_mut().confirmed(ADMIN, call);
        }
        done
    }

    fn number(&self, password: &Password) -> u32 {
        self.caller.model.borrow_mut().words.number(password.expose())
    }
}

fn answered(said: &Result<Said, Why>) -> Result<(), ServerError> {
    match said {
        Ok(Said::Done) => Ok(()),
        Ok(Said::Refused) => Err(ServerError::Refused("401, X-Basic".to_owned())),
        Ok(Said::Other(what)) => Err(ServerError::Answer((*what).to_owned())),
        Ok(Said::Nobody) => Err(ServerError::Answer("404".to_owned())),
        Err(Why::Busy) => Err(ServerError::Answer("503".to_owned())),
        Err(Why::Denied) => Err(ServerError::Answer("409".to_owned())),
        Err(why) => Err(ServerError::Unreachable(format!("{why:?}"))),
    }
}

#[derive(Clone, Copy)]
pub(crate) enum By {
    Admin(u32),
    NodeCertificate,
}

/// The node judges the requester, and so does the leader that the request is handed on to (observed §4). `None` without
/// a leader: it is never answered (observed §3).
fn authenticate(model: &mut Model, node: usize, by: By) -> Option<Said> {
    let now = model.now();
    let leader = model.cluster.writer(node);
    match by {
        By::Admin(password) => {
            if !model.cluster.nodes[node].judge(ADMIN, password, now) {
                return Some(Said::Refused);
            }
            let leader = leader?;
            if model.cluster.nodes[leader].judge(ADMIN, password, now) { Some(Said::Done) } else { Some(Said::Refused) }
        }
        By::NodeCertificate if leader? == node => Some(Said::Done),
        By::NodeCertificate => Some(Said::Other("401: the certificate is not handed on")),
    }
}

fn login_number(login: &str) -> usize {
    LOGINS.iter().position(|known| *known == login).expect("the model knows every login")
}

pub(crate) const GROUPS: &str = "$ops";

/// The person behind a login; both of a pair have one.
pub(crate) fn full_name(login: usize) -> &'static str {
    SECRETS.iter().find(|(_, logins)| logins.contains(&login)).map(|(_, logins)| LOGINS[logins[0]]).expect("it has one")
}

impl Server for ModelServer {
    async fn is_live(&self) -> Result<bool, ServerError> {
        let node = self.node;
        let answer = |model: &mut Model, _| Some(Some(model.cluster.nodes[node].phase == Phase::Live));
        self.question(|| format!("node {node} live?"), answer).await
    }

    async fn role(&self) -> Result<Role, ServerError> {
        let node = self.node;
        let answer = |model: &mut Model, _| {
            let is_leader = model.cluster.says_leader(node, model.now());
            Some(Some(if is_leader { Role::Leader } else { Role::Replica }))
        };
        self.question(|| format!("node {node} leader?"), answer).await
    }

    async fn peers(&self) -> Result<Vec<Self>, ServerError> {
        let node = self.node;
        let answer = |model: &mut Model, _| Some(Some(model.cluster.peers(node)));
        let found = self.question(|| format!("node {node} peers?"), answer).await?;
        let found = found.ok_or_else(|| ServerError::Answer("that there is no majority".to_owned()))?;
        Ok(found.into_iter().map(|peer| Self::new(self.caller.clone(), peer)).collect())
    }

    async fn login(&self, user: &str, password: &Password) -> Login {
        let (node, login, password) = (self.node, login_number(user), self.number(password));
        let caller = self.caller.number;
        let answer = |model: &mut Model, is_wrong: bool| {
            let now = model.now();
            if is_wrong {
                model.cluster.nodes[node].refuse_until(login, now + 1);
            }
            let accepted = model.cluster.nodes[node].judge(login, password, now);
            if accepted {
                model.witnessed(caller, node, login, password);
            }
            Some(Some(accepted))
        };
        let what = || format!("node {node}: login {user} {}", word(password));
        match self.question(what, answer).await {
            Ok(accepted) => {
                self.caller.note(|| {
                    let verdict = if accepted { "accepted" } else { "refused" };
                    format!("node {node}: login {user} {}: {verdict}", word(password))
                });
                if accepted { Login::Accepted } else { Login::Refused }
            }
            Err(_) => Login::Unclear,
        }
    }

    async fn reset_password(&self, by: Requester<'_>, user: &str, new: &Password) -> Result<(), ServerError> {
        let (login, password) = (login_number(user), self.number(new));
        let by = match by {
            Requester::Admin(password) => By::Admin(self.number(password)),
            Requester::NodeCertificate => By::NodeCertificate,
        };
        let call = self.caller.model.borrow_mut().sending(login, password);
        let what = format!("node {}: reset {user} to {}", self.node, word(password));
        let apply = move |model: &mut Model, extent| match model.cluster.committed()[login] {
            Some(account) => {
                model.write_account(login, Some(Account { password, ..account }), extent);
                Said::Done
            }
            None => Said::Nobody,
        };
        let done = self.command(what, by, apply).await;
        if done.is_ok() {
            self.caller.model.borrow_mut().confirmed(login, call);
        }
        done
    }

    async fn account(&self, admin: &Password, login: &str) -> Result<Option<AccountRecord>, ServerError> {
        let (node, number, admin) = (self.node, login_number(login), self.number(admin));
        let answer = |model: &mut Model, _| match authenticate(model, node, By::Admin(admin))? {
            Said::Done => {
                let leader = model.cluster.writer(node)?;
                Some(Some(Ok(model.cluster.nodes[leader].accounts()[number])))
            }
            refused => Some(Some(Err(refused))),
        };
        let found = match self.question(|| format!("node {node}: account {login}"), answer).await? {
            Ok(found) => found,
            Err(said) => return answered(&Ok(said)).map(|()| None),
        };
        Ok(found.map(|account| AccountRecord {
            login: login.to_owned(),
            full_name: full_name(number).to_owned(),
            groups: if account.is_in_right_groups { vec![GROUPS.to_owned()] } else { Vec::new() },
        }))
    }

    async fn create_account(
        &self,
        admin: &Password,
        account: &AccountRecord,
        password: &Password,
    ) -> Result<(), ServerError> {
        let (login, password, by) = (login_number(&account.login), self.number(password), self.number(admin));
        let call = self.caller.model.borrow_mut().sending(login, password);
        let what = format!("node {}: create {} with {}", self.node, account.login, word(password));
        let apply = move |model: &mut Model, extent| match model.cluster.committed()[login] {
            None => {
                model.write_account(login, Some(Account { password, is_in_right_groups: true }), extent);
                Said::Done
            }
            // The groups stay what they are (observed §2).
            Some(found) if found.password == password => Said::Done,
            Some(_) => Said::Other("409"),
        };
        let done = self.command(what, By::Admin(by), apply).await;
        if done.is_ok() {
            self.caller.model.borrow_mut().confirmed(login, call);
        }
        done
    }

    async fn update_account(&self, admin: &Password, account: &AccountRecord) -> Result<(), ServerError> {
        let (login, by) = (login_number(&account.login), self.number(admin));
        let what = format!("node {}: set groups of {}", self.node, account.login);
        let apply = move |model: &mut Model, extent| match model.cluster.committed()[login] {
            Some(found) => {
                model.write_account(login, Some(Account { is_in_right_groups: true, ..found }), extent);
                Said::Done
            }
            None => Said::Nobody,
        };
        self.command(what, By::Admin(by), apply).await
    }

    fn address(&self) -> &str {
        &self.address
    }
}
