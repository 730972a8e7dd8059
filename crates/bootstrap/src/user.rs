//! The users whose credentials are kept, and what their secrets and accounts have to do with each other.

use serde::Deserialize;

use crate::ports::{AccountRecord, SecretId};

/// The name of the user that may reset all others.
pub const ADMIN: &str = "admin";
/// The name of the other user that every database has from its start.
pub const OPS: &str = "ops";

/// One user of the database and the secret with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub login: String,
    /// The second login of a pair that takes turns: the one that is not in use gets the new password, so that whoever
    /// read the secret at its start goes on until the turn after.
    pub alternate: Option<String>,
    /// Where its credentials are.
    pub secret: SecretId,
    /// What its accounts are to be; `None` if it is built in.
    pub account: Option<AccountPlan>,
}

/// What an account is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPlan {
    /// Who it is, for people.
    pub full_name: String,
    /// What it may do.
    pub groups: Vec<String>,
}

impl User {
    /// A user that every database has from its start.
    pub fn built_in(login: &str, secret: SecretId) -> Self {
        Self { login: login.to_owned(), alternate: None, secret, account: None }
    }

    /// All login names that the secret may hold.
    pub(crate) fn logins(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.login.as_str()).chain(self.alternate.as_deref())
    }

    /// The login that gets the next new password while `login` is in use.
    pub(crate) fn next_login<'a>(&'a self, login: &'a str) -> &'a str {
        match &self.alternate {
            Some(alternate) if login != alternate => alternate,
            _ => &self.login,
        }
    }

    /// The account that `login` is to have.
    pub(crate) fn record(&self, login: &str) -> Option<AccountRecord> {
        let plan = self.account.as_ref()?;
        let (full_name, groups) = (plan.full_name.clone(), plan.groups.clone());
        Some(AccountRecord { login: login.to_owned(), full_name, groups })
    }

    /// Whether its age alone makes a new password due. A single application login is not: whoever read the secret at its
    /// start would be shut out.
    pub(crate) fn turns_with_age(&self) -> bool {
        self.account.is_none() || self.alternate.is_some()
    }
}

/// One element of `--users`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    login: String,
    secret: String,
    #[serde(default)]
    full_name: Option<String>,
    groups: Vec<String>,
    #[serde(default)]
    alternate: Option<String>,
}

/// Reads application users: a JSON array of objects with `login`, `secret`, `groups` and, if wanted, `fullName` and
/// `alternate`.
///
/// # Errors
///
/// Every mistake, in words.
pub(crate) fn parse_users(json: &str) -> Result<Vec<User>, Vec<String>> {
    let entries: Vec<Entry> = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
    let mut mistakes = Vec::new();
    let mut logins = vec![ADMIN.to_owned(), OPS.to_owned()];
    for entry in &entries {
        for login in std::iter::once(&entry.login).chain(&entry.alternate) {
            if !is_login(login) {
                mistakes.push(format!("`{login}` is not a login name of 1 to 64 letters, digits and `_.-`"));
            }
            if logins.contains(login) {
                mistakes
                    .push(format!("the login `{login}` is taken: each can be given once, and not `admin` or `ops`"));
            }
            logins.push(login.clone());
        }
        if entry.secret.is_empty() {
            mistakes.push(format!("the secret of `{}` is empty", entry.login));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(entries.into_iter().map(User::from).collect())
}

/// What needs no escaping in the path of a URL and in a connection string.
fn is_login(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(known) && !text.starts_with('.')
}

impl From<Entry> for User {
    fn from(entry: Entry) -> Self {
        let full_name = entry.full_name.unwrap_or_else(|| entry.login.clone());
        let account = Some(AccountPlan { full_name, groups: entry.groups });
        Self { login: entry.login, alternate: entry.alternate, secret: SecretId(entry.secret), account }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_users_are_read() {
        let users = parse_users(
            r#"[{"login":"orders","secret":"es/orders","groups":["$ops"],"alternate":"orders-b","fullName":"Orders"},
                {"login":"audit","secret":"es/audit","groups":[]}]"#,
        )
        .unwrap();
        assert_eq!(users[0].logins().collect::<Vec<_>>(), ["orders", "orders-b"]);
        assert_eq!(users[0].account.as_ref().unwrap().groups, ["$ops"]);
        assert_eq!(
            (users[1].account.as_ref().unwrap().full_name.as_str(), users[1].turns_with_age()),
            ("audit", false)
        );
    }

    #[test]
    fn a_pair_takes_turns_and_a_single_login_stays() {
        let users = parse_users(r#"[{"login":"a","secret":"s","groups":[],"alternate":"b"}]"#).unwrap();
        assert_eq!((users[0].next_login("a"), users[0].next_login("b")), ("b", "a"));
        assert_eq!(User::built_in(OPS, SecretId("s".to_owned())).next_login(OPS), OPS);
    }

    #[test]
    fn every_mistake_is_told() {
        let mistakes = parse_users(
            r#"[{"login":"admin","secret":"s","groups":[]},{"login":"a/b","secret":"","groups":[]},
                {"login":"c","secret":"s","groups":[],"alternate":"c"}]"#,
        )
        .unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        assert!(parse_users(r#"[{"login":"a","secret":"s","groups":[],"pasword":"x"}]"#).is_err());
    }
}
