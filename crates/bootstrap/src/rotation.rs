//! What to do next about one user's password: a pure function of what was seen.
//!
//! The thing to understand (observed §4): when the reply to a password reset is lost, a server can go on accepting *only
//! the old* password from its cache, without limit, while the stored one is already the new. That the old one still logs
//! in proves nothing. So a password that may have been sent is resolved forwards: reset to the *same* value again until
//! the server says success, which also heals the caches, and only then the labels move.

use uuid::Uuid;

use crate::ports::VersionId;

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
    Foreign(Ours),
    /// The current version itself: the label was left behind after a move.
    LeftBehind,
}

/// What becomes of our side when somebody else's version carries `AWSPENDING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    /// The slot holds a version, which may have been sent: the label was taken from it.
    Robbed,
    /// The slot is empty.
    Absent,
}

/// The user's account in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// It is built in, or this node was not asked.
    Given,
    /// There is none under the login name in question.
    Missing,
    /// It is in other groups than it should be.
    Outdated,
    /// As it should be.
    InOrder,
}

/// Why the current version does not do any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It does.
    Nothing,
    /// It carries other connection details than it should.
    Details,
    /// Its password is too old, or it is the factory default.
    Password,
}

/// Who may help when no candidate logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Nobody: this is the administrator.
    Nobody,
    /// The administrator, whose password is proven.
    Admin,
    /// The node itself: the deadline has passed, and recovery with its certificate was asked for.
    NodeCertificate,
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
        /// The candidate that the server has confirmed to have set, during this run and since it saw the pending version.
        /// Whatever else may have been sent before, by whomever, a restart does not bring out any more.
        confirmed: Option<Candidate>,
        /// The account that the password is for.
        account: Account,
        /// What is to change even if all is well.
        due: Due,
        /// Who else may set the password.
        help: Help,
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

/// Who asks the server to set a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The administrator: as itself with the candidate that logs in, for any other user with its proven password.
    Admin(Option<Candidate>),
    /// The node, with its certificate.
    NodeCertificate,
}

/// The next thing to do. After each, everything is observed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the secret with a new password; whoever comes second reads the first one's.
    CreateSecret,
    /// Give the empty secret its first value; whoever comes second reads the first one's.
    StoreFirst,
    /// Put the right details into the slot of the next version, with the current password or a `fresh` one.
    StorePending {
        /// Whether the password is a new one.
        fresh: bool,
    },
    /// Take `AWSPENDING` back for the version in the slot.
    ReclaimPending,
    /// Create the account with the password of the candidate.
    CreateAccount(Candidate),
    /// Bring the account's groups into step.
    SetGroups,
    /// Set the database to the password of the candidate `to`.
    Reset {
        /// The password to set.
        to: Candidate,
        /// Who asks for it.
        by: Caller,
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

/// Whom a proof takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witnesses {
    /// Every live member.
    EveryNode,
    /// The own node: nothing is known of the others' caches then.
    OwnNode,
}

/// The decisions of the protocol, apart from the machinery that carries them out. [`Forwards`] are the right ones; tests
/// hand in wrong ones to show that the model of the world notices.
pub trait Protocol {
    /// The next step of the sidecar beside a node in `role`.
    fn next(&self, seen: &Observed, role: Role) -> Step {
        next(seen, role)
    }

    /// The version id that may follow `current`.
    fn slot(&self, arn: &str, current: Option<&VersionId>) -> VersionId {
        slot(arn, current)
    }

    /// Whether the version labelled `AWSPENDING` is one of ours.
    fn is_ours(&self, arn: &str, current: &VersionId, pending: &VersionId) -> bool {
        *pending == self.slot(arn, Some(current))
    }

    /// Who must accept a password before it counts as proven.
    fn witnesses(&self) -> Witnesses {
        Witnesses::EveryNode
    }
}

/// What may have been sent is resolved forwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwards;

impl Protocol for Forwards {}

/// The next step of the sidecar beside a node in `role`. A replica's finds its own node proven, or waits for the leader's.
pub fn next(seen: &Observed, role: Role) -> Step {
    match (leaders_next(seen), role) {
        (step @ (Step::Done | Step::Wait), _) | (step, Role::Leader) => step,
        // Its node is proven, and the leader's sidecar may never find its details to be due: while a certificate authority is
        // rotated, a task that has just started can know other roots than the others.
        (Step::StorePending { fresh: false }, Role::Replica) => Step::Done,
        (_, Role::Replica) => Step::Wait,
    }
}

fn leaders_next(seen: &Observed) -> Step {
    let (pending, accepted, confirmed, account, due, help) = match *seen {
        Observed::NoSecret => return Step::CreateSecret,
        Observed::NoValue => return Step::StoreFirst,
        Observed::Stored { pending, accepted, confirmed, account, due, help } => {
            (pending, accepted, confirmed, account, due, help)
        }
    };
    let target = if pending == Pending::Waiting { Candidate::Pending } else { Candidate::Current };
    match (pending, accepted, account) {
        // A label that was left behind has no bearing on the database.
        (Pending::LeftBehind, ..) => Step::DropPending,
        // One node's verdict at one moment: it may be starting, or without a quorum.
        (_, Accepted::Unclear, _) => Step::Wait,
        (.., Account::Missing) => Step::CreateAccount(target),
        (.., Account::Outdated) => Step::SetGroups,
        // Where nobody can help, 401 to everything is such a verdict too. With a helper the stored value is set again.
        (_, Accepted::Nothing, _) => match help {
            Help::Nobody => Step::Wait,
            Help::Admin => Step::Reset { to: target, by: Caller::Admin(None) },
            Help::NodeCertificate => Step::Reset { to: target, by: Caller::NodeCertificate },
        },
        (pending, Accepted::Only(as_), _) => unproven(pending, as_),
        (pending, Accepted::Proven(as_), _) => proven(pending, as_, confirmed == Some(as_), due),
    }
}

/// Caches prove only what clients may log in with. A version loses its label only on the server's word for another one.
fn proven(pending: Pending, as_: Candidate, is_confirmed: bool, due: Due) -> Step {
    match (pending, as_) {
        (Pending::Waiting | Pending::Foreign(_), Candidate::Pending) if is_confirmed => Step::MoveCurrent,
        // We did not send it and it does not open the database: the version stays, without the label.
        (Pending::Foreign(Ours::Absent), Candidate::Current) if is_confirmed => Step::DropPending,
        (Pending::Foreign(Ours::Robbed), Candidate::Current) if is_confirmed => Step::ReclaimPending,
        (Pending::Absent, Candidate::Current) => match due {
            Due::Nothing => Step::Done,
            Due::Details => Step::StorePending { fresh: false },
            Due::Password => Step::StorePending { fresh: true },
        },
        _ => unproven(pending, as_),
    }
}

fn unproven(pending: Pending, as_: Candidate) -> Step {
    let by = Caller::Admin(Some(as_));
    match (pending, as_) {
        (Pending::Waiting, _) | (Pending::Foreign(_), Candidate::Pending) => Step::Reset { to: Candidate::Pending, by },
        // A new volume, a restored backup or a secret replaced from outside: the secret is right, the database follows.
        _ => Step::Reset { to: Candidate::Current, by },
    }
}

/// Namespace of the version ids that we derive; any fixed value will do, but it must never change.
const SLOTS: Uuid = Uuid::from_u128(0x5e0c_7d1b_6f0a_4b52_9a4e_1d9c_3f6e_8a27);

/// The one version id that may follow `current`: whoever wants to change the secret derives the same, so the first
/// writer wins and everybody reads what was written (aws-contract §2.2).
pub fn slot(arn: &str, current: Option<&VersionId>) -> VersionId {
    let current = current.map_or("", |version| &version.0);
    VersionId(Uuid::new_v5(&SLOTS, format!("{arn}\u{1f}{current}").as_bytes()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Candidate::{Current, FactoryDefault, Older};

    const FOREIGN: [Pending; 2] = [Pending::Foreign(Ours::Robbed), Pending::Foreign(Ours::Absent)];

    fn step(pending: Pending, accepted: Accepted) -> Step {
        step_after(None, pending, accepted)
    }

    /// The step once the server has confirmed a candidate.
    fn step_after(confirmed: Option<Candidate>, pending: Pending, accepted: Accepted) -> Step {
        let (account, due, help) = (Account::Given, Due::Nothing, Help::Nobody);
        next(&Observed::Stored { pending, accepted, confirmed, account, due, help }, Role::Leader)
    }

    fn due(due: Due, accepted: Accepted) -> Step {
        let (pending, confirmed, account, help) = (Pending::Absent, None, Account::Given, Help::Nobody);
        next(&Observed::Stored { pending, accepted, confirmed, account, due, help }, Role::Leader)
    }

    fn helped(pending: Pending, help: Help) -> Step {
        let (accepted, confirmed, account, due) = (Accepted::Nothing, None, Account::Given, Due::Nothing);
        next(&Observed::Stored { pending, accepted, confirmed, account, due, help }, Role::Leader)
    }

    fn reset(to: Candidate, as_: Candidate) -> Step {
        Step::Reset { to, by: Caller::Admin(Some(as_)) }
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
                assert_eq!(due(Due::Details, accepted), reset(Current, as_));
            }
        }
        // It logs in, and so does another: repeating the same reset heals the caches.
        assert_eq!(step(Pending::Absent, Accepted::Only(Current)), reset(Current, Current));
    }

    #[test]
    fn a_pending_version_is_resolved_forwards_whoever_logs_in() {
        for as_ in [Candidate::Pending, Current, Older(0), FactoryDefault] {
            assert_eq!(step(Pending::Waiting, Accepted::Only(as_)), reset(Candidate::Pending, as_));
        }
        assert_eq!(step(Pending::Waiting, Accepted::Proven(Current)), reset(Candidate::Pending, Current));
    }

    #[test]
    fn a_foreign_pending_version_counts_only_if_it_opens_the_database() {
        for pending in FOREIGN {
            let (only, proven) = (Accepted::Only(Candidate::Pending), Accepted::Proven(Candidate::Pending));
            assert_eq!(step(pending, only), reset(Candidate::Pending, Candidate::Pending));
            assert_eq!(step_after(Some(Candidate::Pending), pending, proven), Step::MoveCurrent);
            assert_eq!(step(pending, Accepted::Unclear), Step::Wait);
        }
        let foreign = Pending::Foreign(Ours::Absent);
        assert_eq!(step_after(Some(Current), foreign, Accepted::Proven(Current)), Step::DropPending);
    }

    #[test]
    fn the_label_goes_back_to_a_version_of_ours_on_the_servers_word_for_the_current_password() {
        let robbed = Pending::Foreign(Ours::Robbed);
        assert_eq!(step_after(Some(Current), robbed, Accepted::Proven(Current)), Step::ReclaimPending);
        // The version that has the label may be ours too: somebody has moved AWSCURRENT back, and it may have been sent.
        for as_ in [Current, Older(1)] {
            assert_eq!(step(robbed, Accepted::Proven(as_)), reset(Current, as_));
            assert_eq!(step(robbed, Accepted::Only(as_)), reset(Current, as_));
        }
    }

    #[test]
    fn before_a_foreign_label_is_taken_the_server_confirms_the_current_password() {
        let foreign = Pending::Foreign(Ours::Absent);
        for accepted in [Accepted::Only(Current), Accepted::Proven(Current)] {
            assert_eq!(step(foreign, accepted), reset(Current, Current));
        }
        assert_eq!(step_after(Some(Current), foreign, Accepted::Only(Current)), reset(Current, Current));
    }

    #[test]
    fn before_a_version_is_promoted_the_server_confirms_its_password() {
        for pending in [Pending::Waiting].into_iter().chain(FOREIGN) {
            for confirmed in [None, Some(Current)] {
                let step = step_after(confirmed, pending, Accepted::Proven(Candidate::Pending));
                assert_eq!(step, reset(Candidate::Pending, Candidate::Pending));
            }
        }
    }

    #[test]
    fn labels_move_only_after_proof() {
        let pending = Candidate::Pending;
        assert_eq!(step_after(Some(pending), Pending::Waiting, Accepted::Proven(pending)), Step::MoveCurrent);
        assert_eq!(step_after(Some(pending), Pending::Waiting, Accepted::Only(pending)), reset(pending, pending));
        assert_eq!(step(Pending::LeftBehind, Accepted::Proven(Current)), Step::DropPending);
    }

    #[test]
    fn what_is_due_waits_until_the_password_is_proven() {
        let proven = Accepted::Proven(Current);
        assert_eq!(due(Due::Details, proven), Step::StorePending { fresh: false });
        assert_eq!(due(Due::Password, proven), Step::StorePending { fresh: true });
        assert_eq!(due(Due::Nothing, proven), Step::Done);
    }

    #[test]
    fn without_a_verdict_nothing_is_written() {
        for pending in [Pending::Absent, Pending::Waiting].into_iter().chain(FOREIGN) {
            assert_eq!(step(pending, Accepted::Unclear), Step::Wait);
            assert_eq!(step(pending, Accepted::Nothing), Step::Wait);
        }
    }

    #[test]
    fn whoever_may_help_sets_the_stored_password() {
        for (help, by) in [(Help::Admin, Caller::Admin(None)), (Help::NodeCertificate, Caller::NodeCertificate)] {
            assert_eq!(helped(Pending::Absent, help), Step::Reset { to: Current, by });
            assert_eq!(helped(Pending::Waiting, help), Step::Reset { to: Candidate::Pending, by });
        }
    }

    #[test]
    fn an_account_is_made_with_the_password_that_is_to_hold() {
        let account = |pending, account| {
            let (accepted, confirmed, due, help) = (Accepted::Nothing, None, Due::Nothing, Help::Admin);
            next(&Observed::Stored { pending, accepted, confirmed, account, due, help }, Role::Leader)
        };
        assert_eq!(account(Pending::Absent, Account::Missing), Step::CreateAccount(Current));
        assert_eq!(account(Pending::Waiting, Account::Missing), Step::CreateAccount(Candidate::Pending));
        assert_eq!(account(Pending::Absent, Account::Outdated), Step::SetGroups);
    }

    #[test]
    fn a_replica_changes_nothing_and_is_done_only_when_its_own_node_is_proven() {
        let mut all = vec![Observed::NoSecret, Observed::NoValue];
        for pending in [Pending::Absent, Pending::Waiting, Pending::LeftBehind].into_iter().chain(FOREIGN) {
            for candidate in [Candidate::Pending, Current, Older(0), FactoryDefault] {
                for accepted in
                    [Accepted::Unclear, Accepted::Nothing, Accepted::Only(candidate), Accepted::Proven(candidate)]
                {
                    for due in [Due::Nothing, Due::Details, Due::Password] {
                        for help in [Help::Nobody, Help::Admin, Help::NodeCertificate] {
                            for confirmed in [None, Some(candidate)] {
                                let account = Account::Given;
                                all.push(Observed::Stored { pending, accepted, confirmed, account, due, help });
                            }
                        }
                    }
                }
            }
        }
        for observed in all {
            let is_done = matches!(
                observed,
                Observed::Stored {
                    pending: Pending::Absent,
                    accepted: Accepted::Proven(Current),
                    due: Due::Nothing | Due::Details,
                    ..
                }
            );
            let expected = if is_done { Step::Done } else { Step::Wait };
            assert_eq!(next(&observed, Role::Replica), expected, "{observed:?}");
        }
    }

    #[test]
    fn a_slot_depends_on_the_secret_and_its_current_version_alone() {
        let version = |id: &str| VersionId(id.to_owned());
        let one = slot("arn:a", Some(&version("1")));
        assert_eq!(one, slot("arn:a", Some(&version("1"))));
        assert_ne!(one, slot("arn:a", Some(&version("2"))));
        assert_ne!(one, slot("arn:b", Some(&version("1"))));
        // Frozen: another derivation would open a second slot beside one that is in use during an upgrade.
        assert_eq!(one.0, "71080fb9-373b-56c5-8f05-b71c122ef184");
    }
}
