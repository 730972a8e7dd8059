//! Reference model of Secrets Manager: versions, labels and tokens as aws-contract §2.1 has them, and reads that may be
//! older than the last write.

use std::rc::Rc;

use bootstrap::ports::{Labels, VersionId};

/// For how long a read may show what was before a write. AWS promises no bound; the model takes this one.
pub(crate) const STALE_FOR_MS: u64 = 30_000;

pub(crate) const CURRENT: u8 = 1;
pub(crate) const PENDING: u8 = 2;
pub(crate) const PREVIOUS: u8 = 4;

/// A login and a password, both as numbers of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) login: usize,
    pub(crate) password: u32,
    /// Which connection details are beside them.
    pub(crate) details: Option<u16>,
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: Rc<str>,
    pub(crate) text: Option<Rc<str>>,
    /// `None` if it holds no credentials.
    pub(crate) held: Option<Held>,
    /// Milliseconds of the model's wall clock.
    pub(crate) created: u64,
    pub(crate) labels: u8,
    /// Stored by a sidecar or by `bootstrap rotate`.
    pub(crate) is_ours: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) arn: Rc<str>,
    /// In the order in which they were stored.
    pub(crate) versions: Vec<Stored>,
}

impl Secret {
    pub(crate) fn holder(&self, label: u8) -> Option<&Stored> {
        self.versions.iter().find(|version| version.labels & label != 0)
    }

    pub(crate) fn version(&self, id: &str) -> Option<&Stored> {
        self.versions.iter().find(|version| &*version.id == id)
    }

    fn take_off(&mut self, label: u8) {
        self.versions.iter_mut().for_each(|version| version.labels &= !label);
    }

    fn put_on(&mut self, label: u8, id: &str) {
        self.take_off(label);
        self.versions.iter_mut().filter(|version| &*version.id == id).for_each(|version| version.labels |= label);
    }

    pub(crate) fn labels(&self) -> Labels {
        let id = |stored: &Stored| VersionId(stored.id.to_string());
        let others = self.versions.iter().rev().filter(|version| version.labels == PREVIOUS);
        Labels {
            arn: self.arn.to_string(),
            current: self.holder(CURRENT).map(id),
            pending: self.holder(PENDING).map(id),
            others: others.map(id).collect(),
        }
    }

    pub(crate) fn deprecated(&self) -> Vec<VersionId> {
        let unlabelled = self.versions.iter().rev().filter(|version| version.labels == 0);
        unlabelled.map(|version| VersionId(version.id.to_string())).collect()
    }

    fn move_current(&mut self, id: &str) {
        if let Some(from) = self.holder(CURRENT).map(|version| Rc::clone(&version.id)) {
            self.put_on(PREVIOUS, &from);
            self.versions.iter_mut().filter(|version| &*version.id == id).for_each(|to| to.labels &= !PREVIOUS);
        }
        self.put_on(CURRENT, id);
    }
}

/// Why AWS did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `InvalidParameterException`: a label is not where the caller thinks.
    Mismatch,
    /// `ResourceNotFoundException`.
    NotFound,
}

/// All secrets, each with what it was a while ago.
pub(crate) struct Store {
    secrets: Vec<Vec<(u64, Option<Rc<Secret>>)>>,
    names: u32,
}

impl Store {
    pub(crate) fn new(count: usize) -> Self {
        Self { secrets: vec![vec![(0, None)]; count], names: 0 }
    }

    /// An id or a suffix that nobody has used yet.
    pub(crate) fn name(&mut self) -> Rc<str> {
        self.names += 1;
        format!("00000000-0000-4000-8000-{:012}", self.names).into()
    }

    pub(crate) fn secret(&self, secret: usize) -> Option<&Rc<Secret>> {
        self.secrets[secret].last().and_then(|(_, secret)| secret.as_ref())
    }

    /// How many older states a read could still show.
    pub(crate) fn depth(&self, secret: usize, now: u64) -> usize {
        let history = &self.secrets[secret];
        // A state may be shown until so long after it was replaced.
        history.windows(2).rev().take_while(|pair| pair[1].0 + STALE_FOR_MS >= now).count()
    }

    /// The state that many writes ago.
    pub(crate) fn older(&self, secret: usize, back: usize) -> Option<&Rc<Secret>> {
        let history = &self.secrets[secret];
        history[history.len() - 1 - back.min(history.len() - 1)].1.as_ref()
    }

    fn change(&mut self, secret: usize, now: u64, changed: Option<Secret>) {
        self.secrets[secret].push((now, changed.map(Rc::new)));
    }

    fn copy(&self, secret: usize) -> Result<Secret, Refusal> {
        self.secret(secret).map(|secret| (**secret).clone()).ok_or(Refusal::NotFound)
    }

    /// `CreateSecret`; false if there is one.
    pub(crate) fn create(&mut self, secret: usize, now: u64, first: Option<Stored>) -> bool {
        if self.secret(secret).is_some() {
            return false;
        }
        let arn = format!("arn:{secret}:{}", self.name()).into();
        let versions = first.into_iter().map(|version| Stored { labels: CURRENT, ..version }).collect();
        self.change(secret, now, Some(Secret { arn, versions }));
        true
    }

    /// `PutSecretValue` with one label: a known token changes nothing, whatever the bytes are.
    pub(crate) fn put(&mut self, secret: usize, now: u64, label: u8, version: Stored) -> Result<(), Refusal> {
        let mut changed = self.copy(secret)?;
        if changed.version(&version.id).is_some() {
            return Ok(());
        }
        let (id, is_first) = (Rc::clone(&version.id), changed.versions.is_empty());
        changed.versions.push(Stored { labels: 0, ..version });
        if label == CURRENT {
            changed.move_current(&id);
        } else {
            changed.put_on(label, &id);
        }
        if is_first {
            changed.put_on(CURRENT, &id);
        }
        self.change(secret, now, Some(changed));
        Ok(())
    }

    /// `UpdateSecretVersionStage`.
    pub(crate) fn stage(
        &mut self,
        secret: usize,
        now: u64,
        label: u8,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Refusal> {
        let mut changed = self.copy(secret)?;
        if to.is_some_and(|to| changed.version(to).is_none()) {
            return Err(Refusal::NotFound);
        }
        let holder = changed.holder(label).map(|version| Rc::clone(&version.id));
        if from.is_some() && holder.as_deref() != from {
            return Err(Refusal::Mismatch);
        }
        if from.is_none() && holder.is_some() && holder.as_deref() != to {
            return Err(Refusal::Mismatch);
        }
        match to {
            Some(to) if holder.as_deref() == Some(to) => return Ok(()),
            Some(to) if label == CURRENT => changed.move_current(to),
            Some(to) => changed.put_on(label, to),
            None => changed.take_off(label),
        }
        self.change(secret, now, Some(changed));
        Ok(())
    }

    /// AWS removes versions without a label that are older than a day.
    pub(crate) fn prune(&mut self, secret: usize, now: u64, wall: u64) {
        const DAY_MS: u64 = 24 * 3_600_000;
        if let Ok(mut changed) = self.copy(secret) {
            changed.versions.retain(|version| version.labels != 0 || version.created + DAY_MS > wall);
            self.change(secret, now, Some(changed));
        }
    }

    /// Deleted without recovery.
    pub(crate) fn delete(&mut self, secret: usize, now: u64) {
        self.change(secret, now, None);
    }
}
