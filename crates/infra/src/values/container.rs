//! What a container of the user's own may say of itself.

use std::fmt;

use super::SecretArn;

macro_rules! shown {
    ($($type:ty),*) => {$(
        impl $type {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

shown!(PartName, MountPath, VariableName, AccessPointId);

/// The name of a container or a volume in the task; a DNS label, so that compose can have it too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartName(String);

impl PartName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=32).contains(&text.len())
            && text.bytes().all(known)
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-');
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!(
                "`{text}` is not allowed; allowed are 1 to 32 lower-case letters, digits and inner hyphens, starting with a letter"
            )
        })
    }

    /// As part of a logical id: what that may not hold is `Z` and two hexadecimal digits, as in the ids of secrets.
    pub(crate) fn logical(&self) -> String {
        let mut id = self.0.replace('-', "Z2D");
        id[..1].make_ascii_uppercase();
        id
    }
}

/// Where a volume is in a container: a directory that is not the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MountPath(String);

impl MountPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let components = || text.split('/').skip(1);
        let good = text.len() <= 255
            && text.starts_with('/')
            && components().all(|name| !["", ".", ".."].contains(&name))
            && !text.contains(|found: char| found.is_control() || found == ':');
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is not a directory in a container; allowed is for example /var/spool/agent")
        })
    }
}

/// The name of an environment variable that is the user's to set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VariableName(String);

impl VariableName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = (1..=255).contains(&text.len())
            && text.bytes().all(known)
            && !text.starts_with(|first: char| first.is_ascii_digit());
        if !good {
            return Err(format!(
                "`{text}` is not the name of a variable; allowed are letters, digits and _, not starting with a digit"
            ));
        }
        if let Some(prefix) = ["EVENTSTORE_", "KURRENTDB_"].iter().find(|prefix| text.starts_with(**prefix)) {
            return Err(format!(
                "names that begin with {prefix} are for the server alone; set server.options, or call it something else"
            ));
        }
        if ["ECS_CONTAINER_METADATA_URI", "ECS_AGENT_URI", "AWS_CONTAINER_"].iter().any(|own| text.starts_with(own)) {
            return Err("ECS sets it in every container; take it out".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the name says that the value is a secret itself, and not where one is.
    pub(crate) fn is_of_a_secret(&self) -> bool {
        let name = self.0.to_ascii_uppercase();
        let points_to_one = ["_FILE", "_PATH", "_DIR", "_ARN", "_NAME"].iter().any(|end| name.ends_with(end));
        let words = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL"];
        let is_key = |word: &str| ["KEY", "KEYS", "APIKEY", "ACCESSKEY", "PRIVATEKEY", "LICENSEKEY"].contains(&word);
        !points_to_one && (words.iter().any(|word| name.contains(word)) || name.split('_').any(is_key))
    }
}

/// Whether a text has a password in it where a URL has one: `scheme://user:password@host`.
pub(crate) fn has_password_in_url(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// uid, and gid if it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserId {
    uid: u16,
    gid: u16,
}

impl UserId {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Option<u16> {
            let number = text.parse::<u16>().ok().filter(|number| *number < u16::MAX)?;
            (text == number.to_string()).then_some(number)
        };
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        number(uid).zip(number(gid)).map(|(uid, gid)| Self { uid, gid }).ok_or_else(|| {
            format!("`{text}` is not a user; allowed are numbers, 0 to 65534: a uid, or uid:gid, for example 1000:1000")
        })
    }

    pub(crate) fn uid(self) -> u16 {
        self.uid
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// A secret, or one value of a secret that is JSON, as ECS understands it: `<arn>` or `<arn>:<key>:<stage>:<version>`, of which
/// each may be empty (AWS, "Pass Secrets Manager secrets through environment variables").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretReference {
    arn: SecretArn,
    text: String,
}

impl SecretReference {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let at = text.match_indices(':').nth(6).map(|(at, _)| at);
        let (arn, rest) = text.split_at(at.unwrap_or(text.len()));
        let rest_is_whole = rest.is_empty()
            || (rest.matches(':').count() == 3 && !rest.contains(|found: char| found.is_control() || found == ' '));
        match SecretArn::parse(arn) {
            Ok(arn) if rest_is_whole => Ok(Self { arn, text: text.to_owned() }),
            _ => Err(format!(
                "`{text}` is not the whole ARN of a secret, which one of its keys may follow; allowed is for example \
                 arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/api-AbCdEf:apiKey::"
            )),
        }
    }

    /// The secret, which ECS must be allowed to read.
    pub(crate) fn arn(&self) -> &SecretArn {
        &self.arn
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// An access point of EFS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessPointId(String);

impl AccessPointId {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let good = text.strip_prefix("fsap-").is_some_and(|id| [8, 17].contains(&id.len()) && id.bytes().all(hex));
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("`{text}` is not the id of an access point of EFS; allowed is for example fsap-0123456789abcdef0")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_their_ids_differ_where_they_do() {
        for good in ["a", "log-router", "adot2", &"a".repeat(32)] {
            assert!(PartName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Agent", "2a", "a-", "a_b", "a.b", "ä", &"a".repeat(33)] {
            assert!(PartName::parse(bad).is_err(), "{bad}");
        }
        let ids: std::collections::BTreeSet<_> =
            ["a-1", "a1", "a-b", "ab"].iter().map(|name| PartName::parse(name).unwrap().logical()).collect();
        assert_eq!(ids.len(), 4, "{ids:?}");
    }

    #[test]
    fn a_variable_is_the_users_own_and_a_secret_is_seen_by_its_name() {
        let secret = |name: &str| VariableName::parse(name).unwrap().is_of_a_secret();
        for name in
            ["PASSWORD", "db_password", "API_TOKEN", "DD_API_KEY", "clientSecret", "APIKEY", "AWS_ACCESS_KEY_ID"]
        {
            assert!(secret(name), "{name}");
        }
        for name in ["PATH", "MONKEY", "KEYSPACE", "TOKEN_FILE", "SECRET_ARN", "DB_SECRET_NAME", "LOG_LEVEL"] {
            assert!(!secret(name), "{name}");
        }
        for bad in [
            "",
            "1A",
            "A-B",
            "EVENTSTORE_DB",
            "KURRENTDB_LICENSE",
            "ECS_AGENT_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ] {
            assert!(VariableName::parse(bad).is_err(), "{bad}");
        }
        assert!(has_password_in_url("a mongodb://user:pass@host/db"));
        for good in ["https://host:8125/a:b@c", "https://user@host", "user:pass@host", ""] {
            assert!(!has_password_in_url(good), "{good}");
        }
    }

    #[test]
    fn a_user_is_a_number() {
        for (text, shown) in [("0", "0:0"), ("1000", "1000:1000"), ("1:2", "1:2"), ("65534:0", "65534:0")] {
            assert_eq!(UserId::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "root", "1:", ":1", "65535", "01", "-1", "1:2:3"] {
            assert!(UserId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_may_be_followed_by_one_of_its_keys() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:agent/api-AbCdEf";
        for good in [arn.to_owned(), format!("{arn}:apiKey::"), format!("{arn}::AWSPREVIOUS:"), format!("{arn}:a:b:c")]
        {
            let secret = SecretReference::parse(&good).unwrap();
            assert_eq!((secret.arn().as_str(), secret.as_str()), (arn, good.as_str()));
        }
        for bad in [format!("{arn}:apiKey"), format!("{arn}:apiKey:::"), "agent/api".to_owned(), format!("{arn}:a b::")]
        {
            assert!(SecretReference::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_in_a_container_is_a_whole_path() {
        for good in ["/a", "/var/log/agent.d"] {
            assert!(MountPath::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "/a/", "//a", "/a/../b", "/a:b", "/a\n"] {
            assert!(MountPath::parse(bad).is_err(), "{bad}");
        }
    }
}
