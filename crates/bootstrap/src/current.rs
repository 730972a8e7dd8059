//! A user's current password, which the server accepts whenever it is there.

use crate::password::Password;
use crate::ports::SecretStore;
use crate::secret::Credentials;
use crate::user::User;

/// The password in the current version of the user's secret.
///
/// # Errors
///
/// Why there is none, in words.
pub(crate) async fn current_password(secrets: &impl SecretStore, user: &User) -> Result<Password, String> {
    let secret = &user.secret;
    let labels = secrets.labels(secret).await.map_err(|error| error.to_string())?;
    let current = labels.and_then(|labels| labels.current);
    let current = current.ok_or_else(|| format!("the secret `{}` has no current version", secret.0))?;
    let version = secrets.read(secret, &current).await.map_err(|error| error.to_string())?;
    let version = version.ok_or_else(|| format!("the current version of `{}` is gone", secret.0))?;
    let logins: Vec<_> = user.logins().collect();
    let credentials = Credentials::from_text(&version.text, &logins).map_err(|error| error.to_string())?;
    Ok(credentials.password)
}
