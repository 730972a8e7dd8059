//! What the server does not see of guard's environment.

/// Where the credentials of the task, its metadata and the ECS agent are, and guard's own settings. The server's first passwords
/// (`…_DEFAULT_ADMIN_PASSWORD`) are never withheld: the server creates its users with `changeit` when a start without them reaches its
/// first election, long after its files exist, and ignores them once it has users (seen on 24.10.13 and 26.0.3).
const WITHHELD: [&str; 4] = ["AWS_CONTAINER_CREDENTIALS_", "ECS_CONTAINER_METADATA_URI", "ECS_AGENT_URI", "GUARD_"];

/// Whether a variable is kept from the server.
pub(crate) fn is_withheld(name: &str) -> bool {
    WITHHELD.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_own_settings_are_withheld() {
        for name in [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "ECS_CONTAINER_METADATA_URI",
            "ECS_CONTAINER_METADATA_URI_V4",
            "ECS_AGENT_URI",
            "GUARD_DATA_DIR",
        ] {
            assert!(is_withheld(name), "{name}");
        }
        for name in ["EVENTSTORE_DB", "PATH", "AWS_REGION", "DOTNET_gcServer", "EVENTSTORE_DEFAULT_ADMIN_PASSWORD"] {
            assert!(!is_withheld(name), "{name}");
        }
    }
}
