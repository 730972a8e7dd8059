//! What there is of one user: labels and versions in Secrets Manager, logins and accounts on the members.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::attempt::{Attempt, Failure, Obstacle};
use crate::error::Error;
use crate::password::Password;
use crate::ports::{Labels, Login, SecretStore, Server, ServerError, VersionId};
use crate::rotation::{Accepted, Account, Candidate, Due, Help, Observed, Ours, Pending, Protocol, Role, Witnesses};
use crate::secret::Credentials;

/// All candidates must have been refused for this long before the administrator sets the stored password: 401 may be one
/// node at one moment, and what was read of the secret may be a moment old.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// A login and a password that may go together.
pub(crate) struct Known {
    pub(crate) candidate: Candidate,
    pub(crate) login: String,
    pub(crate) password: Password,
}

/// What an observation found, with the passwords that the pure step must not see.
pub(crate) struct Seen {
    pub(crate) observed: Observed,
    pub(crate) candidates: Vec<Known>,
    /// An account in the wrong groups.
    pub(crate) outdated: Option<String>,
    /// Why nothing could be concluded, if so.
    pub(crate) doubt: Option<Obstacle>,
    labels: Option<Labels>,
}

impl Seen {
    fn without_logins(observed: Observed, labels: Option<Labels>) -> Self {
        Self { observed, candidates: Vec::new(), outdated: None, doubt: None, labels }
    }

    pub(crate) fn credentials(&self, wanted: Candidate) -> &Known {
        let found = self.candidates.iter().find(|known| known.candidate == wanted);
        found.expect("a step names only candidates that were observed")
    }

    pub(crate) fn labels(&self) -> &Labels {
        self.labels.as_ref().expect("a step that moves labels follows from a secret that has some")
    }

    pub(crate) fn current(&self) -> &VersionId {
        self.labels().current.as_ref().expect("a stored secret has a current version")
    }

    pub(crate) fn pending(&self) -> &VersionId {
        self.labels().pending.as_ref().expect("a pending step follows from a pending version")
    }
}

/// What the members said to the candidates, and why that is unclear, if it is.
pub(crate) struct Verdict {
    pub(crate) accepted: Accepted,
    doubt: Option<String>,
}

impl Verdict {
    fn of(accepted: Accepted) -> Self {
        Self { accepted, doubt: None }
    }

    fn unclear(doubt: impl Into<String>) -> Self {
        Self { accepted: Accepted::Unclear, doubt: Some(doubt.into()) }
    }
}

/// One login that is tried; the candidate it stands for, if any.
#[derive(Clone, Copy)]
struct Trial<'a> {
    candidate: Option<Candidate>,
    login: &'a str,
    password: &'a Password,
}

/// What the accounts in the database are, and which differs.
struct Accounts {
    account: Account,
    outdated: Option<String>,
    doubt: Option<Obstacle>,
}

impl<S: SecretStore, V: Server, P: Protocol> Attempt<'_, S, V, P> {
    pub(crate) async fn observe(&mut self, role: Role) -> Result<Seen, Failure> {
        let Some(labels) = self.world.secrets.labels(&self.user.secret).await? else {
            return Ok(Seen::without_logins(Observed::NoSecret, None));
        };
        let Some(current) = labels.current.clone() else {
            return Ok(Seen::without_logins(Observed::NoValue, Some(labels)));
        };
        let pending = self.pending(&labels, &current).await?;
        let stored = self.credentials(&current).await?;
        let due = stored.as_ref().map_or(Due::Nothing, |(stored, created)| self.due(stored, *created));

        let mut candidates = Vec::new();
        if let (Pending::Waiting | Pending::Foreign(_), Some(version)) = (pending, &labels.pending) {
            match self.credentials(version).await {
                Ok(found) => candidates.extend(found.map(|(found, _)| known(Candidate::Pending, found))),
                // What somebody else put there need not be credentials; it is then not the database's password.
                Err(Failure::Fatal(_)) if matches!(pending, Pending::Foreign(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let is_incomplete = stored.is_none() || (pending == Pending::Waiting && candidates.is_empty());
        candidates.extend(stored.map(|(stored, _)| known(Candidate::Current, stored)));
        if self.user.account.is_none() {
            let (login, password) = (self.user.login.clone(), Password::factory_default());
            candidates.push(Known { candidate: Candidate::FactoryDefault, login, password });
        }

        let verdict = if is_incomplete {
            // AWS does not promise that a version can be read at once.
            Verdict::unclear("a version of the secret cannot be read yet")
        } else {
            self.verdict(&labels, &mut candidates, role).await?
        };
        self.remember(&candidates, verdict.accepted);
        let target = if pending == Pending::Waiting { Candidate::Pending } else { Candidate::Current };
        let target = candidates.iter().find(|known| known.candidate == target).map(|known| known.login.clone());
        let accounts = match target {
            Some(login) if role == Role::Leader && !is_incomplete => self.accounts(&login).await,
            _ => Accounts { account: Account::Given, outdated: None, doubt: None },
        };
        let Accounts { account, outdated, doubt } = accounts;
        let confirmed = self.confirmed(&labels, &candidates);
        let accepted = if doubt.is_some() { Accepted::Unclear } else { verdict.accepted };
        let doubt = doubt.or(verdict.doubt.map(Obstacle::Server));
        let observed = Observed::Stored { pending, accepted, confirmed, account, due, help: self.help() };
        Ok(Seen { observed, candidates, outdated, doubt, labels: Some(labels) })
    }

    async fn pending(&self, labels: &Labels, current: &VersionId) -> Result<Pending, Failure> {
        let Some(version) = &labels.pending else { return Ok(Pending::Absent) };
        if version == current {
            return Ok(Pending::LeftBehind);
        }
        if self.world.protocol.is_ours(&labels.arn, current, version) {
            return Ok(Pending::Waiting);
        }
        let slot = self.world.protocol.slot(&labels.arn, Some(current));
        Ok(Pending::Foreign(match self.world.secrets.read(&self.user.secret, &slot).await? {
            Some(_) => Ours::Robbed,
            None => Ours::Absent,
        }))
    }

    /// The first candidate that the server has confirmed while the same version was pending: two with one password count
    /// as the first of them here as well.
    fn confirmed(&self, labels: &Labels, candidates: &[Known]) -> Option<Candidate> {
        let word = self.confirmed.as_ref().filter(|word| labels.pending.as_ref() == Some(&word.pending))?;
        let is_it = |known: &&Known| known.login == word.login && known.password == word.password;
        candidates.iter().find(is_it).map(|known| known.candidate)
    }

    /// The credentials in a version and when they were stored, or `None` if it cannot be read yet.
    async fn credentials(&self, version: &VersionId) -> Result<Option<(Credentials, Option<SystemTime>)>, Failure> {
        let Some(found) = self.world.secrets.read(&self.user.secret, version).await? else { return Ok(None) };
        let logins: Vec<_> = self.user.logins().collect();
        let credentials = Credentials::from_text(&found.text, &logins).map_err(|source| {
            let (secret, user) = (self.user.secret.0.clone(), self.user.login.clone());
            Failure::Fatal(Error::NotCredentials { secret, user, source })
        })?;
        Ok(Some((credentials, found.created)))
    }

    fn due(&self, stored: &Credentials, created: Option<SystemTime>) -> Due {
        let policy = &self.world.policy;
        let age = created.and_then(|created| (policy.now)().duration_since(created).ok());
        let is_old = age.zip(policy.rotate_every).is_some_and(|(age, limit)| age >= limit);
        if stored.password == Password::factory_default() || (is_old && self.user.turns_with_age()) {
            Due::Password
        } else if stored.details.as_ref() != Some(&self.world.details) {
            Due::Details
        } else {
            Due::Nothing
        }
    }

    async fn verdict(&self, labels: &Labels, candidates: &mut Vec<Known>, role: Role) -> Result<Verdict, Failure> {
        let verdict = self.try_logins(candidates, role).await;
        // Whoever has the administrator's help needs no older password.
        if verdict.accepted != Accepted::Nothing || self.admin.is_some() {
            return Ok(verdict);
        }
        self.add_older(labels, candidates).await?;
        Ok(self.try_logins(candidates, role).await)
    }

    /// Adds every older version that still holds credentials, in the order in which they are tried: before the default.
    async fn add_older(&self, labels: &Labels, candidates: &mut Vec<Known>) -> Result<(), Failure> {
        let mut versions = labels.others.clone();
        versions.extend(self.world.secrets.deprecated(&self.user.secret).await?);
        let default = candidates.pop_if(|known| known.candidate == Candidate::FactoryDefault);
        for (number, version) in versions.iter().enumerate() {
            match self.credentials(version).await {
                Ok(Some((found, _))) => candidates.push(known(Candidate::Older(number), found)),
                Ok(None) | Err(Failure::Fatal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        candidates.extend(default);
        Ok(())
    }

    fn remember(&mut self, candidates: &[Known], accepted: Accepted) {
        match accepted {
            Accepted::Only(winner) | Accepted::Proven(winner) => {
                self.refused_since = None;
                let won = candidates.iter().find(|known| known.candidate == winner);
                let won = won.map(|known| (known.login.clone(), known.password.clone()));
                self.accepted_before.extend(won.filter(|won| !self.accepted_before.contains(won)));
            }
            Accepted::Nothing => self.refused_since = self.refused_since.or_else(|| Some(Instant::now())),
            Accepted::Unclear => {}
        }
    }

    fn help(&self) -> Help {
        let is_certain = self.refused_since.is_some_and(|since| since.elapsed() >= SECOND_LOOK);
        match self.admin {
            Some(_) if is_certain => Help::Admin,
            None if self.last_resort => Help::NodeCertificate,
            _ => Help::Nobody,
        }
    }

    /// Tries every candidate once, and what opened the database earlier in this run. Two candidates with one password
    /// count as the first of them; other logins have no bearing on the one that wins. Beside the leader the verdict is
    /// that of all live members.
    pub(crate) async fn try_logins(&self, candidates: &[Known], role: Role) -> Verdict {
        let named = candidates.iter().map(|known| (Some(known.candidate), &known.login, &known.password));
        let earlier = self.accepted_before.iter().map(|(login, password)| (None, login, password));
        let mut trials: Vec<Trial<'_>> = Vec::new();
        for (candidate, login, password) in named.chain(earlier) {
            if trials.iter().all(|trial| (trial.login, trial.password) != (login.as_str(), password)) {
                trials.push(Trial { candidate, login, password });
            }
        }
        let own = match ask(&self.world.server, &trials).await {
            Ok(accepted) => accepted,
            Err(doubt) => return Verdict::unclear(doubt),
        };
        let winner = trials.iter().zip(&own).find_map(|(trial, accepted)| {
            let candidate = trial.candidate.filter(|_| *accepted)?;
            Some((candidate, trial.login))
        });
        let Some((winner, login)) = winner else { return Verdict::of(Accepted::Nothing) };
        let of_login: Vec<_> = trials.into_iter().zip(own).filter(|(trial, _)| trial.login == login).collect();
        if of_login.iter().filter(|(_, accepted)| *accepted).count() > 1 {
            return Verdict::of(Accepted::Only(winner));
        }
        if role == Role::Replica || self.world.protocol.witnesses() == Witnesses::OwnNode {
            return Verdict::of(Accepted::Proven(winner));
        }
        let (trials, expected): (Vec<_>, Vec<_>) = of_login.into_iter().unzip();
        self.ask_peers(winner, &trials, &expected).await
    }

    /// Whether the other live members say the same. One that is not ready yet is proven by its own sidecar before that
    /// registers it.
    async fn ask_peers(&self, winner: Candidate, trials: &[Trial<'_>], expected: &[bool]) -> Verdict {
        let peers = match self.world.server.peers().await {
            Ok(peers) => peers,
            Err(error) => return Verdict::unclear(format!("the members are not known: {error}")),
        };
        let answers = join_all(peers.iter().map(|peer| async move {
            match peer.is_live().await {
                Ok(true) => ask(peer, trials).await.map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(format!("{}: {error}", peer.address())),
            }
        }))
        .await;
        // A member that differs says more than one that says nothing.
        if answers.iter().flatten().flatten().any(|accepted| accepted != expected) {
            return Verdict::of(Accepted::Only(winner));
        }
        match answers.into_iter().find_map(Result::err) {
            Some(doubt) => Verdict::unclear(doubt),
            None => Verdict::of(Accepted::Proven(winner)),
        }
    }

    /// The accounts that the user's logins have: `login`, which is to hold, must exist; whatever exists must be in step.
    async fn accounts(&self, login: &str) -> Accounts {
        let mut accounts = Accounts { account: Account::Given, outdated: None, doubt: None };
        let Some(admin) = self.admin.filter(|_| self.user.account.is_some()) else { return accounts };
        accounts.account = Account::InOrder;
        for name in self.user.logins() {
            match self.world.server.account(admin, name).await {
                Ok(None) if name == login => accounts.account = Account::Missing,
                Ok(None) => {}
                Ok(found) if found == self.user.record(name) => {}
                Ok(Some(_)) => accounts.outdated = Some(name.to_owned()),
                Err(ServerError::Refused(_)) => accounts.doubt = Some(Obstacle::AdminChanged),
                Err(error) => accounts.doubt = Some(Obstacle::Server(error.to_string())),
            }
        }
        if accounts.account == Account::InOrder && accounts.outdated.is_some() {
            accounts.account = Account::Outdated;
        }
        accounts
    }
}

fn known(candidate: Candidate, credentials: Credentials) -> Known {
    Known { candidate, login: credentials.username, password: credentials.password }
}

/// Which of the trials a node accepts, or why it does not say.
async fn ask<V: Server>(server: &V, trials: &[Trial<'_>]) -> Result<Vec<bool>, String> {
    let mut accepted = Vec::with_capacity(trials.len());
    for trial in trials {
        match server.login(trial.login, trial.password).await {
            Login::Accepted => accepted.push(true),
            Login::Refused => accepted.push(false),
            Login::Unclear => return Err(format!("{} gives no verdict on logins", server.address())),
        }
    }
    Ok(accepted)
}
