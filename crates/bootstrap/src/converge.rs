//! Brings the users' passwords in the database and their secrets together: observe, do one step, observe again.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::attempt::{Attempt, Failure, Obstacle, Progress};
use crate::error::Error;
use crate::password::Password;
use crate::ports::{AwsError, AwsErrorKind, SecretStore, Server};
use crate::rotation::Protocol;
use crate::secret::Details;
use crate::user::User;

const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What convergence works on.
#[derive(Debug)]
pub struct World<S, V, P> {
    /// Secrets Manager.
    pub secrets: S,
    /// The node's own server.
    pub server: V,
    /// What is decided; [`crate::rotation::Forwards`] but in tests of these tests.
    pub protocol: P,
    /// What consumers shall find in every secret besides the credentials.
    pub details: Details,
    /// What the operator wants.
    pub policy: Policy,
}

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long one user may take.
    pub timeout: Duration,
    /// How old a password may become, if that matters.
    pub rotate_every: Option<Duration>,
    /// Whether the node's certificate may set the administrator's password after `timeout` if no password logs in.
    pub recover_with_node_certificate: bool,
    /// The clock that tells how old a password is.
    pub now: fn() -> SystemTime,
}

/// Why a user did not converge.
enum Stopped {
    Failed(Error),
    /// The administrator's password is another one by now.
    AdminChanged,
}

impl<S: SecretStore, V: Server, P: Protocol> World<S, V, P> {
    /// Works until every user's current version opens the database, nothing older does, and the details are published;
    /// beside a replica, waits until that is so on its node.
    ///
    /// The administrator comes first: its proven password sets all others. That one of these fails does not keep the
    /// rest from being tried.
    ///
    /// # Errors
    ///
    /// After the time-out of a user, with what stood in the way; at once if it can never work. The database and the
    /// secrets are then in a state from which another run goes on.
    pub async fn secure(&self, admin: &User, others: &[User]) -> Result<(), Error> {
        self.secure_telling(admin, others, |_, _| ()).await
    }

    /// The same, and tells how it went with each user.
    pub(crate) async fn secure_telling(
        &self,
        admin: &User,
        others: &[User],
        tell: impl Fn(&User, Result<(), &Error>),
    ) -> Result<(), Error> {
        let password = self.converge_admin(admin).await;
        tell(admin, password.as_ref().map(drop));
        let mut password = password?;
        let mut first_failure = Ok(());
        for user in others {
            let outcome = self.converge_other(user, admin, &mut password).await;
            tell(user, outcome.as_ref().copied());
            if let Err(error) = outcome {
                warn!(user = user.login, "{}", error.one_line());
                first_failure = first_failure.and(Err(error));
            }
        }
        first_failure
    }

    async fn converge_admin(&self, admin: &User) -> Result<Password, Error> {
        self.converge(admin, None).await.map_err(|stopped| match stopped {
            Stopped::Failed(error) => error,
            Stopped::AdminChanged => unreachable!("the administrator logs in as itself"),
        })
    }

    /// Another sidecar may move the administrator on at any time; its password is then proven anew.
    async fn converge_other(&self, user: &User, admin: &User, password: &mut Password) -> Result<(), Error> {
        let deadline = Instant::now() + self.policy.timeout;
        loop {
            match self.converge(user, Some(password)).await {
                Ok(_) => return Ok(()),
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::AdminChanged) if Instant::now() >= deadline => {
                    let last = "the administrator's password kept changing".to_owned();
                    return Err(Error::NotConverged {
                        user: user.login.clone(),
                        seconds: self.policy.timeout.as_secs(),
                        last,
                    });
                }
                Err(Stopped::AdminChanged) => {
                    info!(user = user.login, "the administrator's password has changed: looking at it again");
                    sleep(PAUSE).await;
                    *password = self.converge_admin(admin).await?;
                }
            }
        }
    }

    async fn converge(&self, user: &User, admin: Option<&Password>) -> Result<Password, Stopped> {
        let mut deadline = Instant::now() + self.policy.timeout;
        let mut attempt = Attempt::new(self, user, admin);
        let mut pause = PAUSE;
        loop {
            let obstacle = match attempt.advance().await {
                Ok(Progress::Done(password)) => return Ok(password),
                Ok(Progress::Stepped) if Instant::now() < deadline => {
                    pause = PAUSE;
                    continue;
                }
                // Somebody else changes what we change.
                Ok(Progress::Stepped) => Obstacle::Server("every step was followed by another".to_owned()),
                Ok(Progress::Blocked(Obstacle::AdminChanged)) => return Err(Stopped::AdminChanged),
                Ok(Progress::Blocked(obstacle)) => obstacle,
                Err(Failure::Fatal(error)) => return Err(Stopped::Failed(error)),
                Err(Failure::Aws(source)) => match source.kind {
                    AwsErrorKind::Invalid => return Err(Stopped::Failed(aws(source))),
                    AwsErrorKind::Changed | AwsErrorKind::Unavailable | AwsErrorKind::Denied => Obstacle::Aws(source),
                },
            };
            if Instant::now() >= deadline {
                if !self.policy.recover_with_node_certificate
                    || !matches!(obstacle, Obstacle::LockedOut)
                    || attempt.is_last_resort()
                {
                    return Err(Stopped::Failed(self.given_up(user, obstacle)));
                }
                warn!(user = user.login, "no known password logs in: setting it with the node's certificate");
                attempt.allow_last_resort();
                deadline = Instant::now() + self.policy.timeout;
            }
            info!(user = user.login, "waiting: {}", obstacle.describe());
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn given_up(&self, user: &User, obstacle: Obstacle) -> Error {
        let (name, seconds) = (user.login.clone(), self.policy.timeout.as_secs());
        match obstacle {
            Obstacle::Aws(source) => aws(source),
            Obstacle::LockedOut => {
                let address = self.server.address().to_owned();
                Error::LockedOut { secret: user.secret.0.clone(), user: name, address, seconds }
            }
            Obstacle::Server(_) | Obstacle::Leader | Obstacle::AdminChanged => {
                Error::NotConverged { user: name, seconds, last: obstacle.describe() }
            }
        }
    }
}

fn aws(source: AwsError) -> Error {
    Error::Aws { action: "keep the credentials in Secrets Manager", source }
}
