//! `[tags]`: what the stacks, and by way of them the resources, are tagged with.

use std::collections::BTreeMap;

use super::section::Section;

/// AWS takes 50; ECS, Backup and the deployment add some of their own.
pub(super) const MOST_TAGS: usize = 40;

/// The tags by their keys.
pub(super) fn read(root: &Section<'_>) -> Option<BTreeMap<String, String>> {
    let tags = root.options("tags", |key, value| {
        let known = |text: &str| {
            text.chars().all(|letter| letter.is_alphanumeric() || " +-=._:/@".contains(letter)) && text.trim() == text
        };
        if !(1..=128).contains(&key.chars().count()) || !known(key) {
            return Err("it is not the key of a tag; allowed are 1 to 128 letters, digits, inner spaces and `+-=._:/@`".to_owned());
        }
        let lower = key.to_lowercase();
        if lower == "name" || lower.starts_with("aws:") || lower.starts_with("eventstore-fargate:") {
            return Err("it is somebody else's: `Name` tells resources apart, `aws:` is AWS's and `eventstore-fargate:` is infra's; \
                        allowed is any other key"
                .to_owned());
        }
        if value.chars().count() > 256 || !known(&value) {
            return Err(format!(
                "`{value}` is not the value of a tag; allowed are at most 256 letters, digits, inner spaces and `+-=._:/@`"
            ));
        }
        Ok((key.to_owned(), value))
    })?;
    if tags.len() > MOST_TAGS {
        root.mistake("tags", format!("there are {}; allowed are at most {MOST_TAGS}", tags.len()));
        return None;
    }
    Some(tags.into_iter().collect())
}
