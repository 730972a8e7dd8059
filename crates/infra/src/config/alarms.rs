//! Alarms, and who hears of them.

use super::section::Section;
use crate::model::{Alarms, FileSystem, NewFileSystem, Notify, Throughput, Watch};
use crate::values::{EmailAddress, KeyArn, TopicArn};

/// Reads the section `alarms`.
pub(super) fn read(section: &Section<'_>, file_system: Option<&FileSystem>) -> Option<Alarms> {
    let enabled = section.flag("enabled");
    let notify = notify(section);
    let (down_minutes, unregistered_minutes) = (section.number("down_minutes"), section.number("unregistered_minutes"));
    let (memory_percent, certificate_days) = (section.number("memory_percent"), section.number("certificate_days"));
    let file_system_percent = section.number("file_system_percent");
    let burst_credit_gib = section.number("burst_credit_gib");
    if !enabled? {
        for key in ["topic", "emails", "kms_key"].into_iter().filter(|key| section.has(key)) {
            section.mistake(key, "it says nothing with enabled = false; set that to true, or take it out");
        }
        return Some(Alarms::Off);
    }
    let bursting = |file_system: &FileSystem| {
        matches!(file_system, FileSystem::New(NewFileSystem { throughput: Throughput::Bursting, .. }))
    };
    if section.says("burst_credit_gib") && file_system.is_some_and(|file_system| !bursting(file_system)) {
        section.mistake(
            "burst_credit_gib",
            "it is for a new file system with data.throughput = \"bursting\"; no other lives on credits that are watched",
        );
    }
    Some(Alarms::On(Watch {
        notify: notify?,
        down_minutes: down_minutes?,
        unregistered_minutes: unregistered_minutes?,
        memory_percent: memory_percent?,
        certificate_days: certificate_days?,
        file_system_percent: file_system_percent?,
        burst_credit_gib: burst_credit_gib?,
    }))
}

fn notify(section: &Section<'_>) -> Option<Notify> {
    let topic = section.text("topic", TopicArn::parse);
    let addresses = section.texts("emails", EmailAddress::parse);
    let key = section.text("kms_key", KeyArn::parse);
    if section.has("topic") && section.has("emails") {
        section
            .mistake("emails", "it does not go with `topic`, to which addresses can subscribe; take out one of both");
    }
    if section.has("kms_key") && !section.has("emails") {
        section.mistake("kms_key", "it is for the new topic of `emails`; add that, or take it out");
    }
    if section.has("topic") {
        return Some(Notify::Topic(topic?));
    }
    let addresses = addresses?;
    if addresses.is_empty() {
        return Some(Notify::Nobody);
    }
    let key = if section.has("kms_key") { Some(key?) } else { None };
    Some(Notify::Emails { addresses, key })
}
