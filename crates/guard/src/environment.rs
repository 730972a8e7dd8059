//! What the server does not get to see of guard's environment.

use std::path::Path;

/// Taken away always: where credentials of the task, its metadata and the ECS agent are, and what is meant for guard.
const PREFIXES: [&str; 4] = ["AWS_CONTAINER_CREDENTIALS_", "ECS_CONTAINER_METADATA_URI", "ECS_AGENT_URI", "GUARD_"];

/// Passwords that a server reads only while it creates its database; later they would lie around for nothing.
const FIRST_PASSWORDS: [&str; 4] = [
    "EVENTSTORE_DEFAULT_ADMIN_PASSWORD",
    "EVENTSTORE_DEFAULT_OPS_PASSWORD",
    "KURRENTDB_DEFAULT_ADMIN_PASSWORD",
    "KURRENTDB_DEFAULT_OPS_PASSWORD",
];

/// Whether a variable is kept from the server.
pub(crate) fn is_withheld(name: &str, database_exists: bool) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || (database_exists && FIRST_PASSWORDS.contains(&name))
}

/// A database that was created once has this file (contract §7.1).
pub(crate) fn database_exists(data_dir: &Path) -> bool {
    data_dir.join("writer.chk").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_our_own_settings_are_withheld() {
        for name in [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "ECS_CONTAINER_METADATA_URI",
            "ECS_CONTAINER_METADATA_URI_V4",
            "ECS_AGENT_URI",
            "GUARD_DATA_DIR",
        ] {
            assert!(is_withheld(name, false), "{name}");
        }
        for name in ["EVENTSTORE_DB", "PATH", "AWS_REGION", "DOTNET_gcServer"] {
            assert!(!is_withheld(name, true), "{name}");
        }
    }

    #[test]
    fn first_passwords_are_for_a_new_database_alone() {
        for name in FIRST_PASSWORDS {
            assert!(!is_withheld(name, false), "{name}");
            assert!(is_withheld(name, true), "{name}");
        }
    }
}
