//! The text of a secret: what consumers read, in the JSON shape that AWS uses for database credentials.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize as _;

pub use certgen::ca::SecretText;

use crate::password::Password;

/// How consumers reach the database and whom they trust; the same for every user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// How clients find a node under `host`.
    pub scheme: Scheme,
    /// The name clients connect to; it is in every node's certificate.
    pub host: String,
    /// The port for HTTP and gRPC.
    pub port: u16,
    /// The trusted roots, PEM.
    pub ca_certificate: String,
}

/// The schemes of connection strings (contract §9). The older names are used: every client knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `esdb`: the host is the node.
    Direct,
    /// `esdb+discover`: a node under the host is asked for the members, and one of these is connected to.
    Discover,
}

impl Scheme {
    const ALL: [Self; 2] = [Self::Direct, Self::Discover];

    fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "esdb",
            Self::Discover => "esdb+discover",
        }
    }

    fn of(connection_string: &str) -> Option<Self> {
        let (scheme, _) = connection_string.split_once("://")?;
        Self::ALL.into_iter().find(|known| known.as_str() == scheme)
    }
}

/// A user's credentials as they stand in a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login name.
    pub username: String,
    /// The password.
    pub password: Password,
    /// What a version written by CloudFormation does not have yet.
    pub details: Option<Details>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The keys of the JSON object. `engine` to `password` are those of AWS's own database secrets.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    engine: &'a str,
    host: &'a str,
    port: u16,
    username: &'a str,
    password: &'a str,
    connection_string: String,
    ca_certificate: &'a str,
}

const ENGINE: &str = "eventstoredb";

impl Credentials {
    /// The text to store.
    ///
    /// # Panics
    ///
    /// Never: strings and a number always serialise.
    pub fn to_text(username: &str, password: &Password, details: &Details) -> SecretText {
        let (host, port) = (details.host.as_str(), details.port);
        let mut document = Document {
            engine: ENGINE,
            host,
            port,
            username,
            password: password.expose(),
            connection_string: format!(
                "{}://{username}:{}@{host}:{port}?tls=true",
                details.scheme.as_str(),
                password.expose()
            ),
            ca_certificate: &details.ca_certificate,
        };
        let text = serde_json::to_string(&document).expect("strings and a number always serialise");
        document.connection_string.zeroize();
        text.into()
    }

    /// Reads a stored text. Keys that we do not know are left to whoever put them there.
    ///
    /// # Errors
    ///
    /// [`NotCredentials`] if it is not a JSON object, has no `password`, or belongs to another user than those with the
    /// given `logins`. Without a name it belongs to the first of these.
    ///
    /// # Panics
    ///
    /// If `logins` is empty.
    pub fn from_text(text: &SecretText, logins: &[&str]) -> Result<Self, NotCredentials> {
        let mut document: Value = serde_json::from_str(text.expose()).map_err(|_| NotCredentials::NotJson)?;
        let object = document.as_object_mut().ok_or(NotCredentials::NotJson)?;
        let password = match object.remove("password") {
            Some(Value::String(password)) if !password.is_empty() => Password::from(password),
            _ => return Err(NotCredentials::NoPassword),
        };
        let mut scheme = None;
        if let Some(Value::String(connection)) = object.get_mut("connectionString") {
            scheme = Scheme::of(connection);
            connection.zeroize();
        }
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let username = match text("username") {
            Some(found) if logins.contains(&found.as_str()) => found,
            Some(found) => return Err(NotCredentials::OtherUser { found, expected: logins.join("` or `") }),
            None => logins[0].to_owned(),
        };
        let port = object.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let details = match (scheme, text("host"), port, text("caCertificate")) {
            (Some(scheme), Some(host), Some(port), Some(ca_certificate)) => {
                Some(Details { scheme, host, port, ca_certificate })
            }
            _ => None,
        };
        Ok(Self { username, password, details })
    }
}

/// Why a secret's text is not a user's credentials. The text itself is never part of the message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotCredentials {
    /// Not a JSON object.
    #[error("its value is not a JSON object")]
    NotJson,
    /// No usable `password`.
    #[error("its value has no non-empty string under the key `password`")]
    NoPassword,
    /// The secret of somebody else.
    #[error("its `username` is `{found}`, not `{expected}`")]
    OtherUser {
        /// The user named in the secret.
        found: String,
        /// The user the secret was given for.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        let (host, ca_certificate) = ("eventstore.db.internal".to_owned(), "-----BEGIN\n".to_owned());
        Details { scheme: Scheme::Direct, host, port: 2113, ca_certificate }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for scheme in Scheme::ALL {
            let details = Details { scheme, ..details() };
            let password = Password::generate().unwrap();
            let text = Credentials::to_text("admin", &password, &details);
            let read = Credentials::from_text(&text, &["admin"]).unwrap();
            assert_eq!(read, Credentials { username: "admin".to_owned(), password, details: Some(details) });
        }
    }

    #[test]
    fn consumers_find_the_keys_they_know_from_aws() {
        let text = Credentials::to_text("ops", &Password::from("pw".to_owned()), &details());
        assert_eq!(
            text.expose(),
            r#"{"engine":"eventstoredb","host":"eventstore.db.internal","port":2113,"username":"ops","password":"pw","connectionString":"esdb://ops:pw@eventstore.db.internal:2113?tls=true","caCertificate":"-----BEGIN\n"}"#
        );
    }

    #[test]
    fn a_generated_secret_of_cloudformation_has_a_password_and_no_details() {
        let read =
            Credentials::from_text(&r#"{"username":"admin","password":"x"}"#.to_owned().into(), &["admin"]).unwrap();
        assert_eq!((read.password.expose(), read.details), ("x", None));
    }

    #[test]
    fn other_contents_are_refused_without_being_shown() {
        for (text, reason) in [
            ("hunter2", NotCredentials::NotJson),
            ("[\"hunter2\"]", NotCredentials::NotJson),
            (r#"{"password":""}"#, NotCredentials::NoPassword),
            (r#"{"pass":"hunter2"}"#, NotCredentials::NoPassword),
        ] {
            let error = Credentials::from_text(&text.to_owned().into(), &["admin"]).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
            assert_eq!(error, reason);
        }
        let other = r#"{"username":"ops","password":"x"}"#.to_owned().into();
        assert!(matches!(Credentials::from_text(&other, &["admin"]), Err(NotCredentials::OtherUser { .. })));
    }
}
