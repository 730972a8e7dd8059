//! The key of the vendor's licence.

use super::License;
use super::section::Section;
use crate::server;
use crate::values::{JsonKey, KeyArn, SecretArn, ServerLine};

/// Reads `server.license_secret` and what goes with it.
pub(super) fn read(section: &Section<'_>, line: Option<ServerLine>) -> Option<License> {
    let secret = section.text("license_secret", SecretArn::parse);
    let json_key = section.text("license_json_key", JsonKey::parse);
    let kms_key = section.text("license_kms_key", KeyArn::parse);
    if section.has("license_secret") {
        if let Some(line) = line.filter(|line| server::license_variable(*line).is_none()) {
            let line = line.as_str();
            section.mistake(
                "license_secret",
                format!("line {line} knows no licence and would not start; allowed are 24.10 and later lines, or take it out"),
            );
        }
    } else {
        for key in ["license_json_key", "license_kms_key"].into_iter().filter(|key| section.has(key)) {
            section.mistake(key, "it says nothing without license_secret; add that, or take it out");
        }
    }
    secret.map(|secret| License { secret, json_key, kms_key })
}
