//! Users as the server stores them: a log of what happened, kept in the data directory and the same on all nodes.
//!
//! A record is stored first and applied when it counts: on a single node at once, in a cluster when a majority has it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, derive, verify};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const FILE: &str = "standin-users.jsonl";
/// How many records are to be left at the next start: what a deposed leader writes before it ends (contract §6).
const TRUNCATE: &str = "truncate.chk";
/// The highest epoch that this node has seen or voted for.
const EPOCH: &str = "epoch.chk";
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
    pub(super) fn of(password: &str) -> Self {
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

impl User {
    pub(super) fn new(login: &str, full_name: &str, groups: Option<Vec<String>>, password: &str) -> Self {
        let (login, full_name) = (login.to_owned(), full_name.to_owned());
        Self { login, full_name, groups, disabled: false, updated: now(), password: Hash::of(password) }
    }

    pub(super) fn set_password(&mut self, password: &str) {
        self.password = Hash::of(password);
    }

    /// The same user as it is from now on.
    pub(super) fn changed(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self.updated = now();
        self
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// The user is now this.
    User(User),
    /// The user is gone.
    Deleted(String),
    /// Nodes forget what they know of the user's password.
    PasswordChanged(String),
}

impl Event {
    fn user(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(&user.login),
            Self::Deleted(login) => Some(login),
            Self::PasswordChanged(_) => None,
        }
    }
}

/// One line of the log, with the epoch of the leader that wrote it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) epoch: u64,
    pub(super) event: Event,
}

/// The end of a log: of two logs, the one with the later epoch is ahead, then the longer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) epoch: u64,
    pub(super) length: usize,
}

/// The log, and the users that it has made so far.
#[derive(Debug)]
pub(super) struct Users {
    directory: PathBuf,
    log: File,
    /// How long the file is if nobody else writes to it.
    bytes: u64,
    records: Vec<Record>,
    applied: usize,
    by_login: BTreeMap<String, User>,
    /// The last record of each user, also one that does not count yet.
    versions: BTreeMap<String, usize>,
    /// Logins of `PasswordChanged`, in order; caches poll this.
    notices: Vec<String>,
}

impl Users {
    /// Opens the log in the data directory. All that is in it counts, as on a real server that starts.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        fs::create_dir_all(data)?;
        // A database directory holds these from the first start on (contract §7.1).
        for name in ["writer.chk", "chaser.chk", EPOCH] {
            OpenOptions::new().create(true).append(true).open(data.join(name))?;
        }
        if data.join(RUIN).exists() {
            return Err(io::Error::other("Application startup exception: LogRecord is not SystemLogRecord"));
        }
        let path = data.join(FILE);
        let log = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let bytes = log.metadata()?.len();
        let mut users = Self {
            directory: data.to_owned(),
            log,
            bytes,
            records: Vec::new(),
            applied: 0,
            by_login: BTreeMap::new(),
            versions: BTreeMap::new(),
            notices: Vec::new(),
        };
        for line in BufReader::new(File::open(&path)?).lines() {
            users.take_in(serde_json::from_str(&line?)?);
        }
        users.apply_up_to(users.records.len());
        Ok(users)
    }

    pub(super) fn get(&self, login: &str) -> Option<&User> {
        self.by_login.get(login)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &User> {
        self.by_login.values()
    }

    pub(super) fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The version of a user: a write that expects another one is a conflict.
    pub(super) fn version(&self, login: &str) -> Option<usize> {
        self.versions.get(login).copied()
    }

    pub(super) fn end(&self) -> Position {
        self.position_at(self.records.len())
    }

    pub(super) fn position_at(&self, length: usize) -> Position {
        let epoch = length.checked_sub(1).and_then(|last| self.records.get(last)).map_or(0, |record| record.epoch);
        Position { epoch, length }
    }

    pub(super) fn records_from(&self, start: usize) -> &[Record] {
        self.records.get(start..).unwrap_or_default()
    }

    pub(super) fn applied(&self) -> usize {
        self.applied
    }

    /// The length of the log in bytes, which is what servers call a position.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stores a record, which does not count before it is applied.
    pub(super) fn store(&mut self, record: Record) -> io::Result<usize> {
        let line = serde_json::to_string(&record)? + "\n";
        if self.log.metadata()?.len() != self.bytes {
            // Somebody else is leader here too. Like the real one, this server notices nothing.
            File::create(self.directory.join(RUIN))?;
        }
        self.bytes += line.len() as u64;
        self.log.write_all(line.as_bytes())?;
        self.log.sync_data()?;
        self.take_in(record);
        Ok(self.records.len())
    }

    fn take_in(&mut self, record: Record) {
        if let Some(login) = record.event.user() {
            self.versions.insert(login.to_owned(), self.records.len());
        }
        self.records.push(record);
    }

    /// Makes the first so many records count.
    pub(super) fn apply_up_to(&mut self, length: usize) {
        let length = length.min(self.records.len());
        for record in self.records.get(self.applied..length).unwrap_or_default() {
            match &record.event {
                Event::User(user) => {
                    self.by_login.insert(user.login.clone(), user.clone());
                }
                Event::Deleted(login) => {
                    self.by_login.remove(login);
                }
                Event::PasswordChanged(login) => self.notices.push(login.clone()),
            }
        }
        self.applied = self.applied.max(length);
    }

    pub(super) fn epoch(&self) -> io::Result<u64> {
        Ok(fs::read_to_string(self.directory.join(EPOCH))?.trim().parse().unwrap_or_default())
    }

    /// Remembers an epoch for good: nobody votes twice in one.
    pub(super) fn keep_epoch(&self, epoch: u64) -> io::Result<()> {
        replace(&self.directory.join(EPOCH), &epoch.to_string())
    }

    /// Notes that only so many records may be left; done at the next start.
    pub(super) fn mark_for_truncation(&self, length: usize) -> io::Result<()> {
        replace(&self.directory.join(TRUNCATE), &length.to_string())
    }
}

/// The logins in a data directory that ever had this password, also one that was reset since.
///
/// # Errors
///
/// If the log of users cannot be read.
pub fn logins_with_password(data: &Path, password: &str) -> io::Result<Vec<String>> {
    let mut logins = Vec::new();
    for line in BufReader::new(File::open(data.join(FILE))?).lines() {
        if let Event::User(user) = serde_json::from_str::<Record>(&line?)?.event
            && user.password.matches(password)
        {
            logins.push(user.login);
        }
    }
    Ok(logins)
}

/// Does what [`Users::mark_for_truncation`] noted; whether there was something to do.
pub(super) fn truncate(data: &Path) -> io::Result<bool> {
    let mark = data.join(TRUNCATE);
    let Ok(text) = fs::read_to_string(&mark) else { return Ok(false) };
    let length: usize = text.trim().parse().map_err(io::Error::other)?;
    let log = data.join(FILE);
    let kept: String = fs::read_to_string(&log)?.split_inclusive('\n').take(length).collect();
    replace(&log, &kept)?;
    fs::remove_file(mark)?;
    Ok(true)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default().replace('Z', "+00:00")
}
