//! `bootstrap rotate`: asks for new passwords by filling the slots of the next versions. It touches no database; the
//! sidecar beside the leader finishes what it finds pending.

use tracing::info;

use crate::aws::{self, SecretsManager};
use crate::error::Error;
use crate::password::Password;
use crate::ports::{AwsError, SecretStore};
use crate::rotation::slot;
use crate::secret::{Credentials, NotCredentials};
use crate::user::User;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A new password waits for the leader's sidecar.
    Stored,
    /// One had been waiting already, so nothing was stored.
    WasWaiting,
    /// Another change is under way: details, or something that somebody else stored.
    Busy,
    /// No sidecar has adopted the secret yet; when one does, it sets a password that nobody knew before.
    NotAdopted,
}

/// Asks for a new password of every user.
///
/// # Errors
///
/// [`Error`] for the first user whose secret cannot be read or written, or has another change under way; the users
/// before it have been asked for.
pub async fn rotate(users: &[User]) -> Result<(), Error> {
    let secrets = SecretsManager::new(&aws::configuration().await);
    for user in users {
        let (login, secret) = (&user.login, &user.secret.0);
        match ask(&secrets, user).await? {
            Asked::Stored => {
                info!(user = login, secret, "a new password is stored; the leader's sidecar sets it at its next poll");
            }
            Asked::WasWaiting => info!(user = login, secret, "nothing to do: a new password is waiting already"),
            Asked::NotAdopted => info!(user = login, secret, "nothing to do: no sidecar has used this secret yet"),
            Asked::Busy => return Err(Error::Busy { user: login.clone(), secret: secret.clone() }),
        }
    }
    Ok(())
}

/// Fills the user's slot, unless something is under way.
///
/// # Errors
///
/// [`Error::Aws`], [`Error::NoSecret`] or [`Error::NotCredentials`].
pub async fn ask<S: SecretStore>(secrets: &S, user: &User) -> Result<Asked, Error> {
    let id = &user.secret;
    let aws = |source: AwsError| Error::Aws { action: "ask for a new password", source };
    let Some(labels) = secrets.labels(id).await.map_err(aws)? else {
        return Err(Error::NoSecret { user: user.login.clone(), secret: id.0.clone() });
    };
    let Some(current) = &labels.current else { return Ok(Asked::NotAdopted) };
    let read = async |version| {
        let found = secrets.read(id, version).await.map_err(aws)?;
        let logins: Vec<_> = user.logins().collect();
        let found = found.map(|found| Credentials::from_text(&found.text, &logins)).transpose();
        found.map_err(|source: NotCredentials| Error::NotCredentials {
            secret: id.0.clone(),
            user: user.login.clone(),
            source,
        })
    };
    let Some(stored) = read(current).await? else { return Ok(Asked::Busy) };
    let Some(details) = &stored.details else { return Ok(Asked::NotAdopted) };
    let slot = slot(&labels.arn, Some(current));
    let is_foreign = labels.pending.as_ref().is_some_and(|pending| *pending != slot && pending != current);
    if is_foreign {
        return Ok(Asked::Busy);
    }
    let was_there = read(&slot).await?;
    if was_there.is_none() {
        let password = Password::generate().map_err(Error::NoRandomness)?;
        let text = Credentials::to_text(user.next_login(&stored.username), &password, details);
        secrets.put_pending(id, &slot, &text).await.map_err(aws)?;
    } else if labels.pending.is_none() {
        // It has lost its label on the way.
        secrets.label_pending(id, None, &slot).await.map_err(aws)?;
    }
    // Who was first is known only from what is there.
    let waiting = match was_there {
        Some(waiting) => waiting,
        None => match read(&slot).await? {
            Some(waiting) if waiting.password != stored.password => return Ok(Asked::Stored),
            Some(waiting) => waiting,
            None => return Ok(Asked::Stored),
        },
    };
    Ok(if waiting.password == stored.password { Asked::Busy } else { Asked::WasWaiting })
}
