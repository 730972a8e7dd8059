//! Brings one user's password in the database and its secret together: observe, do one step, observe again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use uuid::Uuid;

use crate::error::Error;
use crate::password::Password;
use crate::ports::{AwsError, AwsErrorKind, Labels, Login, SecretId, SecretStore, Server, VersionId};
use crate::rotation::{Accepted, Candidate, Observed, Pending, Role, Step, next};
use crate::secret::{Credentials, Details, SecretText};

/// The name of the user that may reset all others.
pub const ADMIN: &str = "admin";

/// A node takes a new password within a second, 22.10 after a start within 21 s (observed §4, lines §C).
const PROOF_TIMEOUT: Duration = Duration::from_mins(1);
const PROOF_POLL: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a replica's sidecar looks whether the leader's is done.
const LEADER_POLL: Duration = Duration::from_secs(1);

/// Namespace of the version ids that we derive; any fixed value will do, but it must never change.
const SLOTS: Uuid = Uuid::from_u128(0x5e0c_7d1b_6f0a_4b52_9a4e_1d9c_3f6e_8a27);

/// One user of the database and the secret with its credentials.
#[derive(Clone, Debug)]
pub struct User {
    /// The login name.
    pub name: &'static str,
    /// Where its credentials are.
    pub secret: SecretId,
}

/// What convergence works on.
#[derive(Debug)]
pub struct World<S, V> {
    /// Secrets Manager.
    pub secrets: S,
    /// The node's own server.
    pub server: V,
    /// What consumers shall find in every secret besides the credentials.
    pub details: Details,
    /// How long one user may take.
    pub timeout: Duration,
}

impl<S: SecretStore, V: Server> World<S, V> {
    /// Works until the user's current version opens the database, nothing older does, and the details are published;
    /// beside a replica, waits until that is so on its node. Gives the password, which is then proven.
    ///
    /// `admin` is the proven password of [`ADMIN`], for every other user.
    ///
    /// # Errors
    ///
    /// After `timeout`, with what stood in the way; at once if it can never work. The database and the secret are then
    /// in a state from which another run goes on.
    pub async fn converge(&self, user: &User, admin: Option<&Password>) -> Result<Password, Error> {
        let started = Instant::now();
        let mut attempt = Attempt { world: self, user, admin, accepted_before: Vec::new() };
        let mut pause = PAUSE;
        loop {
            let obstacle = match attempt.advance().await {
                Ok(Progress::Done(password)) => return Ok(password),
                Ok(Progress::Stepped) if started.elapsed() < self.timeout => {
                    pause = PAUSE;
                    continue;
                }
                // Somebody else changes what we change.
                Ok(Progress::Stepped) => Obstacle::Server("every step was followed by another".to_owned()),
                Ok(Progress::Blocked(obstacle)) => obstacle,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Aws(source)) => match source.kind {
                    AwsErrorKind::Invalid => return Err(aws(source)),
                    AwsErrorKind::Changed | AwsErrorKind::Unavailable | AwsErrorKind::Denied => Obstacle::Aws(source),
                },
            };
            if started.elapsed() >= self.timeout {
                return Err(self.given_up(user, obstacle));
            }
            info!(user = user.name, "waiting: {}", obstacle.describe());
            if matches!(obstacle, Obstacle::Leader) {
                sleep(LEADER_POLL).await;
                continue;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn given_up(&self, user: &User, obstacle: Obstacle) -> Error {
        let (name, seconds) = (user.name.to_owned(), self.timeout.as_secs());
        match obstacle {
            Obstacle::Aws(source) => aws(source),
            Obstacle::LockedOut => {
                let address = self.server.address().to_owned();
                Error::LockedOut { secret: user.secret.0.clone(), user: name, address, seconds }
            }
            Obstacle::Server(_) | Obstacle::Leader => {
                Error::NotConverged { user: name, seconds, last: obstacle.describe() }
            }
        }
    }
}

fn aws(source: AwsError) -> Error {
    Error::Aws { action: "keep the credentials in Secrets Manager", source }
}

/// Why no step could be taken just now.
enum Obstacle {
    Aws(AwsError),
    Server(String),
    LockedOut,
    /// The sidecar beside the leader has work to do.
    Leader,
}

impl Obstacle {
    fn describe(&self) -> String {
        match self {
            Self::Aws(error) => error.to_string(),
            Self::Server(reason) => reason.clone(),
            Self::LockedOut => "no known password logs in".to_owned(),
            Self::Leader => "this node is a replica, and the sidecar beside the leader is not done".to_owned(),
        }
    }
}

enum Progress {
    Done(Password),
    Stepped,
    Blocked(Obstacle),
}

enum Failure {
    Fatal(Error),
    Aws(AwsError),
}

impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

/// What an observation found, with the passwords that the pure step must not see.
struct Seen {
    observed: Observed,
    labels: Option<Labels>,
    candidates: Vec<(Candidate, Password)>,
    /// Why nothing could be concluded, if so.
    doubt: Option<String>,
}

impl Seen {
    fn without_logins(observed: Observed, labels: Option<Labels>) -> Self {
        Self { observed, labels, candidates: Vec::new(), doubt: None }
    }

    fn password(&self, wanted: Candidate) -> &Password {
        let found = self.candidates.iter().find(|(candidate, _)| *candidate == wanted);
        &found.expect("a step names only candidates that were observed").1
    }

    fn labels(&self) -> &Labels {
        self.labels.as_ref().expect("a step that moves labels follows from a secret that has some")
    }

    fn current(&self) -> &VersionId {
        self.labels().current.as_ref().expect("a stored secret has a current version")
    }

    fn pending(&self) -> &VersionId {
        self.labels().pending.as_ref().expect("a pending step follows from a pending version")
    }
}

struct Attempt<'a, S, V> {
    world: &'a World<S, V>,
    user: &'a User,
    admin: Option<&'a Password>,
    /// Passwords that opened the database during this run: they must all be refused at the end, but for one.
    accepted_before: Vec<Password>,
}

impl<S: SecretStore, V: Server> Attempt<'_, S, V> {
    async fn advance(&mut self) -> Result<Progress, Failure> {
        let role = match self.world.server.role().await {
            Ok(role) => role,
            Err(error) => return Ok(Progress::Blocked(Obstacle::Server(error.to_string()))),
        };
        let seen = self.observe(role).await?;
        let step = next(&seen.observed, role);
        let (secrets, id, user) = (&self.world.secrets, &self.user.secret, self.user.name);
        match step {
            Step::Done => return Ok(Progress::Done(seen.password(Candidate::Current).clone())),
            Step::Wait => return Ok(Progress::Blocked(obstacle(&seen, role))),
            Step::CreateSecret => {
                info!(user, secret = id.0, "creating the secret with a new password");
                secrets.create(id, &self.text(&fresh()?)).await?;
            }
            Step::StoreFirst => {
                info!(user, secret = id.0, "giving the empty secret its first value");
                let slot = slot(&seen.labels().arn, None);
                secrets.put_pending(id, &slot, &self.text(&fresh()?)).await?;
            }
            Step::StorePendingDetails => {
                info!(user, secret = id.0, "storing the connection details as pending version");
                let slot = slot(&seen.labels().arn, Some(seen.current()));
                secrets.put_pending(id, &slot, &self.text(seen.password(Candidate::Current))).await?;
            }
            Step::Reset { to, as_ } => return Ok(self.reset(&seen, to, as_).await),
            Step::MoveCurrent => {
                info!(
                    user,
                    secret = id.0,
                    version = seen.pending().0,
                    "the pending version is proven: moving AWSCURRENT"
                );
                secrets.move_current(id, seen.current(), seen.pending()).await?;
            }
            Step::DropPending => {
                info!(user, secret = id.0, version = seen.pending().0, "taking AWSPENDING off");
                secrets.drop_pending(id, seen.pending()).await?;
            }
        }
        Ok(Progress::Stepped)
    }

    async fn observe(&mut self, role: Role) -> Result<Seen, Failure> {
        let (secrets, id) = (&self.world.secrets, &self.user.secret);
        let Some(labels) = secrets.labels(id).await? else {
            return Ok(Seen::without_logins(Observed::NoSecret, None));
        };
        let Some(current) = labels.current.clone() else {
            return Ok(Seen::without_logins(Observed::NoValue, Some(labels)));
        };
        let pending = match &labels.pending {
            None => Pending::Absent,
            Some(version) if *version == current => Pending::LeftBehind,
            Some(version) if *version == slot(&labels.arn, Some(&current)) => Pending::Waiting,
            Some(_) => Pending::Foreign,
        };

        let stored = self.credentials(&current).await?;
        let details_outdated =
            stored.as_ref().is_some_and(|stored| stored.details.as_ref() != Some(&self.world.details));
        let mut candidates = Vec::new();
        if let (Pending::Waiting | Pending::Foreign, Some(version)) = (pending, &labels.pending) {
            match self.credentials(version).await {
                Ok(found) => candidates.extend(found.map(|found| (Candidate::Pending, found.password))),
                // What somebody else put there need not be credentials; it is then not the database's password.
                Err(Failure::Fatal(_)) if pending == Pending::Foreign => {}
                Err(error) => return Err(error),
            }
        }
        let incomplete = stored.is_none() || (pending == Pending::Waiting && candidates.is_empty());
        candidates.extend(stored.map(|stored| (Candidate::Current, stored.password)));
        candidates.push((Candidate::FactoryDefault, Password::factory_default()));

        let Verdict { accepted, doubt } = if incomplete {
            // AWS does not promise that a version can be read at once.
            Verdict::unclear("a version of the secret cannot be read yet".to_owned())
        } else {
            match self.try_logins(&candidates, role).await {
                Verdict { accepted: Accepted::Nothing, .. } => {
                    self.add_older(&labels, &mut candidates).await?;
                    self.try_logins(&candidates, role).await
                }
                verdict => verdict,
            }
        };
        if let Accepted::Only(candidate) | Accepted::Proven(candidate) = accepted {
            let found = candidates.iter().find(|(tried, _)| *tried == candidate).map(|(_, password)| password.clone());
            self.accepted_before.extend(found.filter(|password| !self.accepted_before.contains(password)));
        }
        Ok(Seen {
            observed: Observed::Stored { pending, accepted, details_outdated },
            labels: Some(labels),
            candidates,
            doubt,
        })
    }

    /// The credentials in a version, or `None` if it cannot be read yet.
    async fn credentials(&self, version: &VersionId) -> Result<Option<Credentials>, Failure> {
        let Some(text) = self.world.secrets.read(&self.user.secret, version).await? else { return Ok(None) };
        Credentials::from_text(&text, self.user.name).map(Some).map_err(|source| {
            let (secret, user) = (self.user.secret.0.clone(), self.user.name.to_owned());
            Failure::Fatal(Error::NotCredentials { secret, user, source })
        })
    }

    /// Adds every older version that still holds credentials, in the order in which they are tried: before the default.
    async fn add_older(&self, labels: &Labels, candidates: &mut Vec<(Candidate, Password)>) -> Result<(), Failure> {
        let mut versions = labels.others.clone();
        versions.extend(self.world.secrets.deprecated(&self.user.secret).await?);
        let default = candidates.pop();
        for version in versions {
            match self.credentials(&version).await {
                Ok(Some(found)) => candidates.push((Candidate::Older(candidates.len()), found.password)),
                Ok(None) | Err(Failure::Fatal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        candidates.extend(default);
        Ok(())
    }

    /// Tries every candidate once, and what opened the database earlier in this run. Two candidates with one password
    /// count as the first of them. Beside the leader the verdict is that of all live members.
    async fn try_logins(&self, candidates: &[(Candidate, Password)], role: Role) -> Verdict {
        let mut tried: Vec<(Option<Candidate>, &Password)> = Vec::new();
        let earlier = self.accepted_before.iter().map(|password| (None, password));
        for attempt in candidates.iter().map(|(candidate, password)| (Some(*candidate), password)).chain(earlier) {
            if tried.iter().all(|(_, password)| *password != attempt.1) {
                tried.push(attempt);
            }
        }
        let passwords: Vec<_> = tried.iter().map(|(_, password)| *password).collect();
        let own = match self.ask(&self.world.server, &passwords).await {
            Ok(accepted) => accepted,
            Err(doubt) => return Verdict::unclear(doubt),
        };
        let winner = tried.iter().zip(&own).find_map(|((candidate, _), accepted)| candidate.filter(|_| *accepted));
        match winner {
            None => Verdict::of(Accepted::Nothing),
            Some(candidate) if own.iter().filter(|accepted| **accepted).count() > 1 => {
                Verdict::of(Accepted::Only(candidate))
            }
            Some(candidate) if role == Role::Leader => self.ask_peers(candidate, &passwords, &own).await,
            Some(candidate) => Verdict::of(Accepted::Proven(candidate)),
        }
    }

    /// Whether the other live members say the same. One that is not ready yet is proven by its own sidecar before that
    /// registers it.
    async fn ask_peers(&self, winner: Candidate, passwords: &[&Password], expected: &[bool]) -> Verdict {
        let peers = match self.world.server.peers().await {
            Ok(peers) => peers,
            Err(error) => return Verdict::unclear(format!("the members are not known: {error}")),
        };
        for peer in peers {
            let said = match peer.is_live().await {
                Ok(true) => self.ask(&peer, passwords).await,
                Ok(false) => continue,
                Err(error) => Err(format!("{}: {error}", peer.address())),
            };
            match said {
                Ok(accepted) if accepted == expected => {}
                Ok(_) => return Verdict::of(Accepted::Only(winner)),
                Err(doubt) => return Verdict::unclear(doubt),
            }
        }
        Verdict::of(Accepted::Proven(winner))
    }

    /// Which of the passwords a node accepts, or why it does not say.
    async fn ask(&self, server: &V, passwords: &[&Password]) -> Result<Vec<bool>, String> {
        let mut accepted = Vec::with_capacity(passwords.len());
        for password in passwords {
            match server.login(self.user.name, password).await {
                Login::Accepted => accepted.push(true),
                Login::Refused => accepted.push(false),
                Login::Unclear => return Err(format!("{} gives no verdict on logins", server.address())),
            }
        }
        Ok(accepted)
    }

    /// Sets the database to the password of `to` and waits until the nodes' caches follow. Whatever happens, the next
    /// observation decides; without a clear success the same value is sent again.
    async fn reset(&self, seen: &Seen, to: Candidate, as_: Candidate) -> Progress {
        let user = self.user.name;
        info!(user, ?to, ?as_, "setting the password in the database");
        let caller = match self.admin {
            Some(admin) => (ADMIN, admin),
            None => (ADMIN, seen.password(as_)),
        };
        if let Err(error) = self.world.server.reset_password(caller, user, seen.password(to)).await {
            warn!(user, "the password may have been set or not, it will be set again: {error}");
            return Progress::Blocked(Obstacle::Server(error.to_string()));
        }
        let deadline = Instant::now() + PROOF_TIMEOUT;
        while Instant::now() < deadline {
            let taken = self.world.server.login(user, seen.password(to)).await == Login::Accepted;
            let verdict = if taken { Some(self.try_logins(&seen.candidates, Role::Leader).await) } else { None };
            if verdict.is_some_and(|verdict| verdict.accepted == Accepted::Proven(to)) {
                return Progress::Stepped;
            }
            sleep(PROOF_POLL).await;
        }
        let seconds = PROOF_TIMEOUT.as_secs();
        let reason = format!("the new password was not the only accepted one on every live node within {seconds} s");
        Progress::Blocked(Obstacle::Server(reason))
    }

    fn text(&self, password: &Password) -> SecretText {
        Credentials::to_text(self.user.name, password, &self.world.details)
    }
}

fn fresh() -> Result<Password, Failure> {
    Password::generate().map_err(|error| Failure::Fatal(Error::NoRandomness(error)))
}

/// What the members said to the candidates, and why that is unclear, if it is.
struct Verdict {
    accepted: Accepted,
    doubt: Option<String>,
}

impl Verdict {
    fn of(accepted: Accepted) -> Self {
        Self { accepted, doubt: None }
    }

    fn unclear(doubt: String) -> Self {
        Self { accepted: Accepted::Unclear, doubt: Some(doubt) }
    }
}

fn obstacle(seen: &Seen, role: Role) -> Obstacle {
    match (&seen.doubt, &seen.observed, role) {
        (Some(doubt), ..) => Obstacle::Server(doubt.clone()),
        // Before a replica has the users it refuses every password (observed §1).
        (None, _, Role::Replica) => Obstacle::Leader,
        (None, Observed::Stored { accepted: Accepted::Nothing, .. }, Role::Leader) => Obstacle::LockedOut,
        (None, _, Role::Leader) => Obstacle::Server("the next step is not clear".to_owned()),
    }
}

/// The one version id that may follow `current`: whoever wants to change the secret derives the same, so the first
/// writer wins and everybody reads what was written (aws-contract §2.2).
fn slot(arn: &str, current: Option<&VersionId>) -> VersionId {
    let current = current.map_or("", |version| &version.0);
    VersionId(Uuid::new_v5(&SLOTS, format!("{arn}\u{1f}{current}").as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_depends_on_the_secret_and_its_current_version_alone() {
        let version = |id: &str| VersionId(id.to_owned());
        let one = slot("arn:a", Some(&version("1")));
        assert_eq!(one, slot("arn:a", Some(&version("1"))));
        assert_ne!(one, slot("arn:a", Some(&version("2"))));
        assert_ne!(one, slot("arn:b", Some(&version("1"))));
        // Frozen: another derivation would open a second slot beside one that is in use during an upgrade.
        assert_eq!(one.0, "71080fb9-373b-56c5-8f05-b71c122ef184");
    }
}
