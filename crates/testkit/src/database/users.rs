//! Users as the server stores them: an append-only log of what happened, kept in the data directory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, derive, verify};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const FILE: &str = "standin-users.jsonl";
/// Left behind by two servers that wrote to one directory: the next start fails for good (observed §6).
const RUIN: &str = "standin-ruined";
/// The server's own hash: 1000 rounds, 16 bytes of salt, 20 bytes of output (contract §1.5).
const ROUNDS: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");

/// A password as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hash {
    salt: [u8; 16],
    hash: [u8; 20],
}

impl Hash {
    fn of(password: &str) -> Self {
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).expect("the system has random numbers");
        let mut hash = [0; 20];
        derive(PBKDF2_HMAC_SHA1, ROUNDS, &salt, password.as_bytes(), &mut hash);
        Self { salt, hash }
    }

    pub(super) fn matches(&self, password: &str) -> bool {
        verify(PBKDF2_HMAC_SHA1, ROUNDS, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) login: String,
    pub(super) full_name: String,
    pub(super) groups: Option<Vec<String>>,
    pub(super) disabled: bool,
    pub(super) updated: String,
    pub(super) password: Hash,
}

/// One line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    /// The user is now this.
    User(User),
    /// The user is gone.
    Deleted(String),
    /// Nodes forget what they know of the user's password.
    PasswordChanged(String),
}

/// The stored users with the log they are made from.
#[derive(Debug)]
pub(super) struct Users {
    directory: PathBuf,
    log: File,
    /// How long the log is if nobody else writes to it.
    length: u64,
    by_login: BTreeMap<String, (u64, User)>,
    /// Logins of `PasswordChanged`, in order; caches poll this.
    notices: Vec<String>,
    version: u64,
}

impl Users {
    /// Opens the log in the data directory.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        if data.join(RUIN).exists() {
            return Err(io::Error::other("Application startup exception: LogRecord is not SystemLogRecord"));
        }
        let path = data.join(FILE);
        let log = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let length = log.metadata()?.len();
        let directory = data.to_owned();
        let mut users = Self { directory, log, length, by_login: BTreeMap::new(), notices: Vec::new(), version: 0 };
        for line in BufReader::new(File::open(&path)?).lines() {
            users.apply(serde_json::from_str(&line?)?);
        }
        Ok(users)
    }

    /// Whether this database never had users.
    pub(super) fn is_new(&self) -> bool {
        self.version == 0
    }

    pub(super) fn get(&self, login: &str) -> Option<&User> {
        self.by_login.get(login).map(|(_, user)| user)
    }

    /// The version of a user: a write that expects another one is a conflict.
    pub(super) fn version(&self, login: &str) -> Option<u64> {
        self.by_login.get(login).map(|(version, _)| *version)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &User> {
        self.by_login.values().map(|(_, user)| user)
    }

    pub(super) fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(super) fn create(
        &mut self,
        login: &str,
        full_name: &str,
        groups: Option<Vec<String>>,
        password: &str,
    ) -> io::Result<()> {
        let (login, full_name) = (login.to_owned(), full_name.to_owned());
        let password = Hash::of(password);
        self.append(Event::User(User { login, full_name, groups, disabled: false, updated: now(), password }))
    }

    /// Changes a user; `announce` also tells the caches.
    pub(super) fn update(&mut self, login: &str, announce: bool, change: impl FnOnce(&mut User)) -> io::Result<()> {
        let Some(user) = self.get(login) else { return Ok(()) };
        let mut user = user.clone();
        change(&mut user);
        user.updated = now();
        self.append(Event::User(user))?;
        if announce { self.append(Event::PasswordChanged(login.to_owned())) } else { Ok(()) }
    }

    pub(super) fn delete(&mut self, login: &str) -> io::Result<()> {
        self.append(Event::Deleted(login.to_owned()))?;
        self.append(Event::PasswordChanged(login.to_owned()))
    }

    fn append(&mut self, event: Event) -> io::Result<()> {
        let line = serde_json::to_string(&event)? + "\n";
        if self.log.metadata()?.len() != self.length {
            // Somebody else is leader here too. Like the real one, this server notices nothing.
            File::create(self.directory.join(RUIN))?;
        }
        self.length += line.len() as u64;
        self.log.write_all(line.as_bytes())?;
        self.log.sync_data()?;
        self.apply(event);
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.version += 1;
        match event {
            Event::User(user) => {
                self.by_login.insert(user.login.clone(), (self.version, user));
            }
            Event::Deleted(login) => {
                self.by_login.remove(&login);
            }
            Event::PasswordChanged(login) => self.notices.push(login),
        }
    }
}

impl User {
    pub(super) fn set_password(&mut self, password: &str) {
        self.password = Hash::of(password);
    }
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default().replace('Z', "+00:00")
}
