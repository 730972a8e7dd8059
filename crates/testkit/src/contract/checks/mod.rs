//! The assertions, by topic. They are the documentation: what a document says of a server, as something to ask one.

use super::check::Check;

mod administration;
mod caches;
mod changes;
mod cluster;
mod connections;
mod identity;
mod logins;
mod monitoring;
mod public;
mod refusals;
mod resets;
mod routing;
mod silence;
mod users;

/// All checks, in the order in which they are made: first what only reads, last what takes long.
pub(super) fn all() -> Vec<Check> {
    [
        connections::checks(),
        public::checks(),
        monitoring::checks(),
        routing::checks(),
        refusals::checks(),
        logins::checks(),
        identity::checks(),
        users::checks(),
        resets::checks(),
        changes::checks(),
        caches::checks(),
        cluster::checks(),
        administration::checks(),
        silence::checks(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_an_id_of_its_own_and_a_source() {
        let checks = super::all();
        let ids: BTreeSet<_> = checks.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), checks.len());
        for check in &checks {
            assert!(check.source.contains('§'), "{}", check.id);
            assert!(check.id.contains('.') && !check.id.contains(' '), "{}", check.id);
        }
    }
}
