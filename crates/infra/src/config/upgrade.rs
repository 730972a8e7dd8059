//! What the configuration must have before another server version opens the data.

use super::section::Section;
use super::{Server, Upgrade};
use crate::server::jump;
use crate::values::{ClusterSize, RecoveryPointArn, ServerLine};

/// Reads `server.upgrade_from` and `server.upgrade_recovery_point`.
pub(super) fn read(section: &Section<'_>) -> Option<Upgrade> {
    let from = section.text("upgrade_from", ServerLine::parse);
    let recovery_point = section.text("upgrade_recovery_point", RecoveryPointArn::parse);
    if section.has("upgrade_recovery_point") && !section.has("upgrade_from") {
        section.mistake(
            "upgrade_recovery_point",
            "it says nothing without upgrade_from, the line that opened the data last; add that, or take it out",
        );
    }
    from.map(|from| Upgrade { from, recovery_point })
}

/// Refuses an upgrade that was not seen to work in both directions, unless a recovery point is named.
pub(super) fn check(root: &Section<'_>, server: Option<&Server>, nodes: Option<ClusterSize>) {
    let (Some(server), Some(nodes)) = (server, nodes) else { return };
    let Some(Upgrade { from, recovery_point: None }) = &server.upgrade else { return };
    if let Some(risk) = jump(*from, server.line, nodes.is_cluster()).risk() {
        let (from, to) = (from.as_str(), server.line.as_str());
        root.mistake(
            "server.upgrade_recovery_point",
            format!(
                "it is required for the upgrade from {from} to {to}: {risk}. A rollback does not bring {from} back, because guard refuses \
                 it on data that {to} has opened; the only way back is a recovery point of AWS Backup that was made before; name it"
            ),
        );
    }
}
