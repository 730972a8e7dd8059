//! What people are told of, and who.

use crate::values::{EmailAddress, KeyArn, TopicArn};

/// Alarms, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alarms {
    Off,
    On(Watch),
}

impl Alarms {
    /// Whether there are alarms of which nobody hears.
    pub(crate) fn unheard(&self) -> bool {
        matches!(self, Self::On(Watch { notify: Notify::Nobody, .. }))
    }
}

/// When there is an alarm, and who hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) notify: Notify,
    /// Minutes for which ECS may fail to run a task.
    pub(crate) down_minutes: u16,
    /// Minutes for which clients may not find a node.
    pub(crate) unregistered_minutes: u16,
    /// Of the task's memory.
    pub(crate) memory_percent: u8,
    /// For which a certificate must still be valid.
    pub(crate) certificate_days: u16,
    /// Of what the file system can do.
    pub(crate) file_system_percent: u8,
    /// GiB that must be left of a file system that lives on credits.
    pub(crate) burst_credit_gib: u16,
}

/// Who hears of alarms and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    Nobody,
    /// Whoever subscribed to a topic of somebody else.
    Topic(TopicArn),
    /// Addresses behind a topic of the deployment, which may have a key of somebody else.
    Emails {
        addresses: Vec<EmailAddress>,
        key: Option<KeyArn>,
    },
}
