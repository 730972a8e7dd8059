//! What to do next about one user's password: a pure function of what was seen.
//!
//! The thing to understand (observed §4): when the reply to a password reset is lost, a server can go on accepting *only
//! the old* password from its cache, without limit, while the stored one is already the new. That the old one still logs
//! in proves nothing. So a password that may have been sent is resolved forwards: reset to the *same* value again until
//! the server says success, which also heals the caches, and only then the labels move.

/// One of the passwords that may open the database, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The version labelled `AWSPENDING`.
    Pending,
    /// The version labelled `AWSCURRENT`.
    Current,
    /// A version without either label, counted from the newest.
    Older(usize),
    /// What a new database starts with.
    FactoryDefault,
}

/// What the server said to the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// At least one attempt got no verdict, so nothing can be concluded.
    Unclear,
    /// Every candidate was refused.
    Nothing,
    /// This one logs in, and so does another or not every node agrees: not proven.
    Only(Candidate),
    /// On every live node this one logs in and all others were refused, in the same round.
    Proven(Candidate),
}

/// Which version carries `AWSPENDING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// No version.
    Absent,
    /// The one in the slot that belongs to the current version: its id is derived from it, so it is ours.
    Waiting,
    /// Another version, put there by somebody else.
    Foreign,
    /// The current version itself: the label was left behind after a move.
    LeftBehind,
}

/// What was seen of one user, in Secrets Manager and on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// There is no secret of this name.
    NoSecret,
    /// There is a secret, without a value.
    NoValue,
    /// There is a current version.
    Stored {
        /// Where `AWSPENDING` is.
        pending: Pending,
        /// What the server said.
        accepted: Accepted,
        /// Whether the current version carries other connection details than it should.
        details_outdated: bool,
    },
}

/// What the node's own server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides about users, and this sidecar about their passwords.
    Leader,
    /// Anything else. Several sidecars run at once, and the one beside the leader does the work.
    Replica,
}

/// The next thing to do. After each, everything is observed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the secret with a new password; whoever comes second reads the first one's.
    CreateSecret,
    /// Give the empty secret its first value; whoever comes second reads the first one's.
    StoreFirst,
    /// Put the current password with the right details into the slot of the next version.
    StorePendingDetails,
    /// Set the database to the password of the candidate `to`, logged in as `as_`.
    Reset {
        /// The password to set.
        to: Candidate,
        /// The password that logs in.
        as_: Candidate,
    },
    /// Move `AWSCURRENT` to the pending version.
    MoveCurrent,
    /// Take `AWSPENDING` off the version that carries it.
    DropPending,
    /// Look again later.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// The next step of the sidecar beside a node in `role`. A replica's finds its own node proven, or waits for the leader's.
pub fn next(seen: &Observed, role: Role) -> Step {
    match (leaders_next(seen), role) {
        (step @ (Step::Done | Step::Wait), _) | (step, Role::Leader) => step,
        (_, Role::Replica) => Step::Wait,
    }
}

fn leaders_next(seen: &Observed) -> Step {
    use Accepted::{Nothing, Only, Proven, Unclear};
    let (pending, accepted, details_outdated) = match *seen {
        Observed::NoSecret => return Step::CreateSecret,
        Observed::NoValue => return Step::StoreFirst,
        Observed::Stored { pending, accepted, details_outdated } => (pending, accepted, details_outdated),
    };
    match (pending, accepted) {
        // A label that was left behind has no bearing on the database.
        (Pending::LeftBehind, _) => Step::DropPending,
        // One node's verdict at one moment: it may be starting, or without a quorum.
        (_, Unclear | Nothing) => Step::Wait,
        (Pending::Waiting | Pending::Foreign, Proven(Candidate::Pending)) => Step::MoveCurrent,
        (Pending::Waiting, Only(as_) | Proven(as_)) => Step::Reset { to: Candidate::Pending, as_ },
        (Pending::Foreign, Only(Candidate::Pending)) => Step::Reset { to: Candidate::Pending, as_: Candidate::Pending },
        // We did not send it and it does not open the database: the version stays, without the label.
        (Pending::Foreign, _) => Step::DropPending,
        (Pending::Absent, Proven(Candidate::Current)) if details_outdated => Step::StorePendingDetails,
        (Pending::Absent, Proven(Candidate::Current)) => Step::Done,
        // A new volume, a restored backup or a secret replaced from outside: the secret is right, the database follows.
        (Pending::Absent, Only(as_) | Proven(as_)) => Step::Reset { to: Candidate::Current, as_ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Candidate::{Current, FactoryDefault, Older};

    fn stored(pending: Pending, accepted: Accepted, details_outdated: bool) -> Step {
        next(&Observed::Stored { pending, accepted, details_outdated }, Role::Leader)
    }

    #[test]
    fn a_secret_that_is_missing_or_empty_gets_its_first_value() {
        assert_eq!(next(&Observed::NoSecret, Role::Leader), Step::CreateSecret);
        assert_eq!(next(&Observed::NoValue, Role::Leader), Step::StoreFirst);
    }

    #[test]
    fn without_a_pending_version_the_database_follows_the_current_one() {
        for as_ in [FactoryDefault, Older(0), Older(7)] {
            for accepted in [Accepted::Only(as_), Accepted::Proven(as_)] {
                let step = stored(Pending::Absent, accepted, true);
                assert_eq!(step, Step::Reset { to: Current, as_ });
            }
        }
        // It logs in, and so does another: repeating the same reset heals the caches.
        let step = stored(Pending::Absent, Accepted::Only(Current), false);
        assert_eq!(step, Step::Reset { to: Current, as_: Current });
    }

    #[test]
    fn a_pending_version_is_resolved_forwards_whoever_logs_in() {
        for as_ in [Candidate::Pending, Current, Older(0), FactoryDefault] {
            let step = stored(Pending::Waiting, Accepted::Only(as_), false);
            assert_eq!(step, Step::Reset { to: Candidate::Pending, as_ });
        }
        let step = stored(Pending::Waiting, Accepted::Proven(Current), false);
        assert_eq!(step, Step::Reset { to: Candidate::Pending, as_: Current });
    }

    #[test]
    fn a_foreign_pending_version_counts_only_if_it_opens_the_database() {
        assert_eq!(stored(Pending::Foreign, Accepted::Proven(Candidate::Pending), false), Step::MoveCurrent);
        assert_eq!(stored(Pending::Foreign, Accepted::Proven(Current), true), Step::DropPending);
        assert_eq!(stored(Pending::Foreign, Accepted::Unclear, false), Step::Wait);
    }

    #[test]
    fn labels_move_only_after_proof() {
        let step = stored(Pending::Waiting, Accepted::Proven(Candidate::Pending), false);
        assert_eq!(step, Step::MoveCurrent);
        assert_eq!(stored(Pending::LeftBehind, Accepted::Proven(Current), false), Step::DropPending);
    }

    #[test]
    fn details_are_published_only_once_the_password_is_proven() {
        assert_eq!(stored(Pending::Absent, Accepted::Proven(Current), true), Step::StorePendingDetails);
        assert_eq!(stored(Pending::Absent, Accepted::Proven(Current), false), Step::Done);
    }

    #[test]
    fn without_a_verdict_nothing_is_written() {
        for accepted in [Accepted::Unclear, Accepted::Nothing] {
            for pending in [Pending::Absent, Pending::Waiting, Pending::Foreign] {
                assert_eq!(stored(pending, accepted, true), Step::Wait);
            }
        }
    }

    #[test]
    fn a_replica_changes_nothing_and_is_done_only_when_its_own_node_is_proven() {
        let mut seen = vec![Observed::NoSecret, Observed::NoValue];
        for pending in [Pending::Absent, Pending::Waiting, Pending::Foreign, Pending::LeftBehind] {
            for candidate in [Candidate::Pending, Current, Older(0), FactoryDefault] {
                for accepted in
                    [Accepted::Unclear, Accepted::Nothing, Accepted::Only(candidate), Accepted::Proven(candidate)]
                {
                    for details_outdated in [false, true] {
                        seen.push(Observed::Stored { pending, accepted, details_outdated });
                    }
                }
            }
        }
        let done =
            Observed::Stored { pending: Pending::Absent, accepted: Accepted::Proven(Current), details_outdated: false };
        for observed in seen {
            let expected = if observed == done { Step::Done } else { Step::Wait };
            assert_eq!(next(&observed, Role::Replica), expected, "{observed:?}");
        }
    }
}
