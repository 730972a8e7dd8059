//! One attempt at one user: carries out the steps that [`crate::rotation`] decides on, and remembers what only the
//! present run can know. Nothing of this memory is needed to go on after a crash.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::converge::World;
use crate::error::Error;
use crate::observe::{Known, Seen};
use crate::password::Password;
use crate::ports::{AwsError, Login, Requester, SecretStore, Server, ServerError, VersionId};
use crate::rotation::{Accepted, Caller, Candidate, Observed, Protocol, Role, Step};
use crate::secret::{Credentials, SecretText};
use crate::user::User;

/// A node takes a new password within a second, 22.10 after a start within 21 s (observed §4, lines §C).
const PROOF_TIMEOUT: Duration = Duration::from_mins(1);
const PROOF_POLL: Duration = Duration::from_millis(200);

/// Why no step could be taken just now.
pub(crate) enum Obstacle {
    Aws(AwsError),
    Server(String),
    LockedOut,
    /// The sidecar beside the leader has work to do.
    Leader,
    /// The administrator's password, proven a moment ago, is refused.
    AdminChanged,
}

impl Obstacle {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Aws(error) => error.to_string(),
            Self::Server(reason) => reason.clone(),
            Self::LockedOut => "no known password logs in".to_owned(),
            Self::Leader => "this node does not lead, and the sidecar beside the leader is not done".to_owned(),
            Self::AdminChanged => "the administrator's password is refused".to_owned(),
        }
    }
}

pub(crate) enum Progress {
    Done(Password),
    Stepped,
    Blocked(Obstacle),
}

pub(crate) enum Failure {
    Fatal(Error),
    Aws(AwsError),
}

impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

/// The server's word for a password.
pub(crate) struct Confirmed {
    pub(crate) pending: VersionId,
    pub(crate) login: String,
    pub(crate) password: Password,
}

pub(crate) struct Attempt<'a, S, V, P> {
    pub(crate) world: &'a World<S, V, P>,
    pub(crate) user: &'a User,
    /// The proven password of the administrator, for every other user.
    pub(crate) admin: Option<&'a Password>,
    /// What opened the database during this run, by login: it must all be refused at the end, but for one.
    pub(crate) accepted_before: Vec<(String, Password)>,
    /// Since when every candidate has been refused.
    pub(crate) refused_since: Option<Instant>,
    /// What the server has confirmed to have set last, and which version was pending then.
    pub(crate) confirmed: Option<Confirmed>,
    pub(crate) last_resort: bool,
    /// The slot that this run has stored a version in, or found taken.
    filled: Option<VersionId>,
}

impl<'a, S: SecretStore, V: Server, P: Protocol> Attempt<'a, S, V, P> {
    pub(crate) fn new(world: &'a World<S, V, P>, user: &'a User, admin: Option<&'a Password>) -> Self {
        let (accepted_before, refused_since, confirmed, filled) = (Vec::new(), None, None, None);
        Self { world, user, admin, accepted_before, refused_since, confirmed, last_resort: false, filled }
    }

    pub(crate) fn is_last_resort(&self) -> bool {
        self.last_resort
    }

    pub(crate) fn allow_last_resort(&mut self) {
        self.last_resort = true;
    }

    pub(crate) async fn advance(&mut self) -> Result<Progress, Failure> {
        let role = match self.world.server.role().await {
            Ok(role) => role,
            // Waiting helps nothing: whoever called has to look at the published roots first.
            Err(source @ ServerError::Certificate(_)) => {
                let address = self.world.server.address().to_owned();
                return Err(Failure::Fatal(Error::Untrusted { address, source }));
            }
            Err(error) => return Ok(Progress::Blocked(Obstacle::Server(error.to_string()))),
        };
        let seen = self.observe(role).await?;
        let step = self.world.protocol.next(&seen.observed, role);
        let (secrets, id, user) = (&self.world.secrets, &self.user.secret, &self.user.login);
        match step {
            Step::Done => return Ok(Progress::Done(seen.credentials(Candidate::Current).password.clone())),
            Step::Wait => return Ok(Progress::Blocked(obstacle(seen, role))),
            Step::CreateSecret => {
                info!(user, secret = id.0, "creating the secret with a new password");
                secrets.create(id, &self.text(user, &fresh()?)).await?;
            }
            Step::StoreFirst => {
                info!(user, secret = id.0, "giving the empty secret its first value");
                let slot = self.world.protocol.slot(&seen.labels().arn, None);
                secrets.put_pending(id, &slot, &self.text(user, &fresh()?)).await?;
            }
            Step::StorePending { fresh } => self.store_pending(&seen, fresh).await?,
            Step::ReclaimPending => {
                let slot = self.world.protocol.slot(&seen.labels().arn, Some(seen.current()));
                warn!(user, secret = id.0, version = slot.0, "taking AWSPENDING back for a version that may be in use");
                secrets.label_pending(id, Some(seen.pending()), &slot).await?;
            }
            Step::CreateAccount(to) => return Ok(self.create_account(&seen, to).await),
            Step::SetGroups => return Ok(self.set_groups(&seen).await),
            Step::Reset { to, by } => return Ok(self.reset(&seen, to, by).await),
            Step::MoveCurrent => {
                let version = &seen.pending().0;
                info!(user, secret = id.0, version, "the pending version is proven: moving AWSCURRENT");
                secrets.move_current(id, seen.current(), seen.pending()).await?;
            }
            Step::DropPending => {
                info!(user, secret = id.0, version = seen.pending().0, "taking AWSPENDING off");
                secrets.drop_pending(id, seen.pending()).await?;
            }
        }
        Ok(Progress::Stepped)
    }

    /// Fills the slot, or labels what is in it: a value that is there without the label may have been sent.
    async fn store_pending(&mut self, seen: &Seen, fresh_password: bool) -> Result<(), Failure> {
        let (secrets, id, user) = (&self.world.secrets, &self.user.secret, &self.user.login);
        let slot = self.world.protocol.slot(&seen.labels().arn, Some(seen.current()));
        if self.filled.as_ref() == Some(&slot) {
            warn!(user, secret = id.0, version = slot.0, "the next version has lost AWSPENDING: giving it back");
            return Ok(secrets.label_pending(id, None, &slot).await?);
        }
        let current = seen.credentials(Candidate::Current);
        let text = if fresh_password {
            info!(user, secret = id.0, version = slot.0, "storing a new password as pending version");
            self.text(self.user.next_login(&current.login), &fresh()?)
        } else {
            info!(user, secret = id.0, version = slot.0, "storing the connection details as pending version");
            self.text(&current.login, &current.password)
        };
        secrets.put_pending(id, &slot, &text).await?;
        self.filled = Some(slot);
        Ok(())
    }

    async fn create_account(&self, seen: &Seen, to: Candidate) -> Progress {
        let credentials = seen.credentials(to);
        let (admin, record) = (self.proven_admin(), self.record(&credentials.login));
        info!(user = credentials.login, groups = ?record.groups, "creating the user in the database");
        progress(self.world.server.create_account(admin, &record, &credentials.password).await)
    }

    async fn set_groups(&self, seen: &Seen) -> Progress {
        let login = seen.outdated.as_deref().expect("groups are set of an account that was seen to differ");
        let (admin, record) = (self.proven_admin(), self.record(login));
        info!(user = login, groups = ?record.groups, "bringing the user's groups into step");
        progress(self.world.server.update_account(admin, &record).await)
    }

    fn proven_admin(&self) -> &Password {
        self.admin.expect("an account follows from a user that is not the administrator")
    }

    fn record(&self, login: &str) -> crate::ports::AccountRecord {
        self.user.record(login).expect("an account follows from a plan for it")
    }

    /// Sets the database to the password of `to` and waits until the nodes' caches follow. Whatever happens, the next
    /// observation decides; without a clear success the same value is sent again.
    async fn reset(&mut self, seen: &Seen, to: Candidate, by: Caller) -> Progress {
        let target = seen.credentials(to);
        let user = &target.login;
        info!(user, ?to, ?by, "setting the password in the database");
        let requester = match (by, self.admin) {
            (Caller::NodeCertificate, _) => Requester::NodeCertificate,
            (Caller::Admin(_), Some(admin)) => Requester::Admin(admin),
            (Caller::Admin(as_), None) => {
                let as_ = as_.expect("the administrator logs in with a candidate");
                Requester::Admin(&seen.credentials(as_).password)
            }
        };
        match self.world.server.reset_password(requester, user, &target.password).await {
            Ok(()) => self.confirmed = confirmed(seen, target),
            Err(ServerError::Refused(_)) if self.admin.is_some() => return Progress::Blocked(Obstacle::AdminChanged),
            Err(error) => {
                warn!(user, "the password may have been set or not, it will be set again: {error}");
                return Progress::Blocked(Obstacle::Server(error.to_string()));
            }
        }
        let deadline = Instant::now() + PROOF_TIMEOUT;
        while Instant::now() < deadline {
            let taken = self.world.server.login(user, &target.password).await == Login::Accepted;
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

    fn text(&self, login: &str, password: &Password) -> SecretText {
        Credentials::to_text(login, password, &self.world.details)
    }
}

/// Without a pending version there is nothing that the server's word decides.
fn confirmed(seen: &Seen, target: &Known) -> Option<Confirmed> {
    let pending = seen.labels().pending.clone()?;
    Some(Confirmed { pending, login: target.login.clone(), password: target.password.clone() })
}

fn fresh() -> Result<Password, Failure> {
    Password::generate().map_err(|error| Failure::Fatal(Error::NoRandomness(error)))
}

fn progress(outcome: Result<(), ServerError>) -> Progress {
    match outcome {
        Ok(()) => Progress::Stepped,
        Err(ServerError::Refused(_)) => Progress::Blocked(Obstacle::AdminChanged),
        Err(error) => Progress::Blocked(Obstacle::Server(error.to_string())),
    }
}

fn obstacle(seen: Seen, role: Role) -> Obstacle {
    match (seen.doubt, seen.observed, role) {
        (Some(doubt), ..) => doubt,
        // Before a replica has the users it refuses every password (observed §1).
        (None, _, Role::Replica) => Obstacle::Leader,
        (None, Observed::Stored { accepted: Accepted::Nothing, .. }, Role::Leader) => Obstacle::LockedOut,
        (None, _, Role::Leader) => Obstacle::Server("the next step is not clear".to_owned()),
    }
}
