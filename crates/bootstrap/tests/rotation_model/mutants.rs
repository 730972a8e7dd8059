//! bootstrap with one decision made wrongly, each a mistake that somebody could make. The model must notice.

use std::cell::Cell;

use bootstrap::ports::{
    AccountRecord, AwsError, Labels, Login, Requester, SecretId, SecretStore, Server, ServerError, Version, VersionId,
};
use bootstrap::rotation::{
    Accepted, Candidate, Due, Forwards, Observed, Ours, Pending, Protocol, Role, Step, Witnesses, next, slot,
};
use bootstrap::{ADMIN, Credentials, Password, SecretText};

use crate::calls::{Caller, ModelSecrets, ModelServer};
use crate::subject::Subject;
use crate::world::SECRETS;

/// A subject that differs in its protocol alone.
macro_rules! mutant {
    ($(#[$doc:meta])* $subject:ident, $protocol:ty, $make:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $subject;

        impl Subject for $subject {
            type Protocol = $protocol;
            type Secrets = ModelSecrets;
            type Server = ModelServer;

            fn parts(&self, caller: &Caller, node: usize) -> ($protocol, ModelSecrets, ModelServer) {
                let make: fn(&Caller) -> $protocol = $make;
                (make(caller), ModelSecrets(caller.clone()), ModelServer::new(caller.clone(), node))
            }
        }
    };
}

mutant!(
    /// A new random version id for every change.
    RandomToken, RandomTokenProtocol, |caller| RandomTokenProtocol(caller.clone())
);

pub(crate) struct RandomTokenProtocol(Caller);

impl Protocol for RandomTokenProtocol {
    fn slot(&self, _: &str, _: Option<&VersionId>) -> VersionId {
        VersionId(format!("random-{}", self.0.model.borrow_mut().store.name()))
    }

    fn is_ours(&self, _: &str, _: &VersionId, pending: &VersionId) -> bool {
        pending.0.starts_with("random-")
    }
}

mutant!(
    /// After a reset without a reply: the old password still logs in, so the change did not happen.
    Backwards, BackwardsProtocol, |_| BackwardsProtocol::default()
);

#[derive(Default)]
pub(crate) struct BackwardsProtocol {
    has_sent: Cell<bool>,
}

impl Protocol for BackwardsProtocol {
    fn next(&self, seen: &Observed, role: Role) -> Step {
        let step = next(seen, role);
        let is_old = matches!(
            seen,
            Observed::Stored {
                pending: Pending::Waiting,
                accepted: Accepted::Only(Candidate::Current) | Accepted::Proven(Candidate::Current),
                ..
            }
        );
        let has_sent = self.has_sent.replace(matches!(step, Step::Reset { to: Candidate::Pending, .. }));
        if role == Role::Leader && has_sent && is_old { Step::DropPending } else { step }
    }
}

mutant!(
    /// The current password was refused once, so the pending one must have been set.
    OneRefusal, OneRefusalProtocol, |_| OneRefusalProtocol
);

pub(crate) struct OneRefusalProtocol;

impl Protocol for OneRefusalProtocol {
    fn next(&self, seen: &Observed, role: Role) -> Step {
        match seen {
            Observed::Stored { pending: Pending::Waiting, accepted: Accepted::Nothing, .. } if role == Role::Leader => {
                Step::MoveCurrent
            }
            _ => next(seen, role),
        }
    }
}

mutant!(
    /// The own node accepts it, so everybody does.
    OwnNode, OwnNodeProtocol, |_| OwnNodeProtocol
);

pub(crate) struct OwnNodeProtocol;

impl Protocol for OwnNodeProtocol {
    fn witnesses(&self) -> Witnesses {
        Witnesses::OwnNode
    }
}

mutant!(
    /// All nodes accept the pending password, so the server need not be asked for its word.
    CachesAreProof, CachesAreProofProtocol, |_| CachesAreProofProtocol
);

pub(crate) struct CachesAreProofProtocol;

impl Protocol for CachesAreProofProtocol {
    fn next(&self, seen: &Observed, role: Role) -> Step {
        match *seen {
            Observed::Stored { pending, accepted: Accepted::Proven(as_), account, due, help, .. } => {
                let (accepted, confirmed) = (Accepted::Proven(as_), Some(as_));
                next(&Observed::Stored { pending, accepted, confirmed, account, due, help }, role)
            }
            _ => next(seen, role),
        }
    }
}

mutant!(
    /// A version of ours that has lost its label gets it back at once, whoever has it.
    ReclaimAtOnce, ReclaimAtOnceProtocol, |_| ReclaimAtOnceProtocol
);

pub(crate) struct ReclaimAtOnceProtocol;

impl Protocol for ReclaimAtOnceProtocol {
    fn next(&self, seen: &Observed, role: Role) -> Step {
        let is_robbed = matches!(
            seen,
            Observed::Stored {
                pending: Pending::Foreign(Ours::Robbed),
                accepted: Accepted::Only(as_) | Accepted::Proven(as_),
                ..
            } if *as_ != Candidate::Pending
        );
        if role == Role::Leader && is_robbed { Step::ReclaimPending } else { next(seen, role) }
    }
}

mutant!(
    /// Connection details have a slot of their own, which takes the label from a pending password.
    DetailsDiscard, DetailsDiscardProtocol, |_| DetailsDiscardProtocol::default()
);

#[derive(Default)]
pub(crate) struct DetailsDiscardProtocol {
    stores_details: Cell<bool>,
    details_wait: Cell<bool>,
}

fn details_slot(arn: &str, current: Option<&VersionId>) -> VersionId {
    slot(&format!("{arn}/details"), current)
}

impl Protocol for DetailsDiscardProtocol {
    fn next(&self, seen: &Observed, role: Role) -> Step {
        let discards = role == Role::Leader
            && !self.details_wait.get()
            && matches!(
                seen,
                Observed::Stored {
                    pending: Pending::Waiting,
                    accepted: Accepted::Only(_) | Accepted::Proven(_),
                    due: Due::Details,
                    ..
                }
            );
        let step = if discards { Step::StorePending { fresh: false } } else { next(seen, role) };
        self.stores_details.set(step == Step::StorePending { fresh: false });
        step
    }

    fn slot(&self, arn: &str, current: Option<&VersionId>) -> VersionId {
        if self.stores_details.get() { details_slot(arn, current) } else { slot(arn, current) }
    }

    fn is_ours(&self, arn: &str, current: &VersionId, pending: &VersionId) -> bool {
        let is_details = *pending == details_slot(arn, Some(current));
        self.details_wait.set(is_details);
        is_details || *pending == slot(arn, Some(current))
    }
}

/// The database gets a new password, and then Secrets Manager.
#[derive(Clone, Copy)]
pub(crate) struct DatabaseFirst;

impl Subject for DatabaseFirst {
    type Protocol = Forwards;
    type Secrets = DatabaseFirstSecrets;
    type Server = ModelServer;

    fn parts(&self, caller: &Caller, node: usize) -> (Forwards, DatabaseFirstSecrets, ModelServer) {
        let server = ModelServer::new(caller.clone(), node);
        let secrets = DatabaseFirstSecrets { secrets: ModelSecrets(caller.clone()), server: server.clone() };
        (Forwards, secrets, server)
    }
}

pub(crate) struct DatabaseFirstSecrets {
    secrets: ModelSecrets,
    server: ModelServer,
}

impl DatabaseFirstSecrets {
    async fn admin(&self) -> Option<Password> {
        let id = SecretId(SECRETS[0].0.to_owned());
        let current = self.secrets.labels(&id).await.ok()??.current?;
        let version = self.secrets.read(&id, &current).await.ok()??;
        Some(Credentials::from_text(&version.text, &[ADMIN]).ok()?.password)
    }
}

impl SecretStore for DatabaseFirstSecrets {
    async fn labels(&self, id: &SecretId) -> Result<Option<Labels>, AwsError> {
        self.secrets.labels(id).await
    }

    async fn deprecated(&self, id: &SecretId) -> Result<Vec<VersionId>, AwsError> {
        self.secrets.deprecated(id).await
    }

    async fn read(&self, id: &SecretId, version: &VersionId) -> Result<Option<Version>, AwsError> {
        self.secrets.read(id, version).await
    }

    async fn create(&self, id: &SecretId, text: &SecretText) -> Result<(), AwsError> {
        self.secrets.create(id, text).await
    }

    async fn put_pending(&self, id: &SecretId, version: &VersionId, text: &SecretText) -> Result<(), AwsError> {
        let user =
            if id.0 == SECRETS[0].0 { Some(ADMIN) } else { id.0.strip_prefix("es/").filter(|user| *user == "ops") };
        if let (Some(user), Some(admin)) = (user, self.admin().await) {
            let new = Credentials::from_text(text, &[user]).expect("it was just made").password;
            // Whatever comes of it, the secret follows.
            let _ = self.server.reset_password(Requester::Admin(&admin), user, &new).await;
        }
        self.secrets.put_pending(id, version, text).await
    }

    async fn move_current(&self, id: &SecretId, from: &VersionId, to: &VersionId) -> Result<(), AwsError> {
        self.secrets.move_current(id, from, to).await
    }

    async fn label_pending(&self, id: &SecretId, from: Option<&VersionId>, to: &VersionId) -> Result<(), AwsError> {
        self.secrets.label_pending(id, from, to).await
    }

    async fn drop_pending(&self, id: &SecretId, from: &VersionId) -> Result<(), AwsError> {
        self.secrets.drop_pending(id, from).await
    }
}

/// What a wrong server adapter does differently.
#[derive(Clone, Copy)]
pub(crate) enum Adapter {
    /// `change-password` where the administrator changes its own: it compares with what is stored, not with the cache.
    ChangePassword,
    /// A node that is cut off and sees nobody has no peers.
    NoMajority,
}

impl Subject for Adapter {
    type Protocol = Forwards;
    type Secrets = ModelSecrets;
    type Server = AdaptedServer;

    fn parts(&self, caller: &Caller, node: usize) -> (Forwards, ModelSecrets, AdaptedServer) {
        let server = AdaptedServer { server: ModelServer::new(caller.clone(), node), adapter: *self };
        (Forwards, ModelSecrets(caller.clone()), server)
    }
}

pub(crate) struct AdaptedServer {
    server: ModelServer,
    adapter: Adapter,
}

impl Server for AdaptedServer {
    async fn is_live(&self) -> Result<bool, ServerError> {
        self.server.is_live().await
    }

    async fn role(&self) -> Result<Role, ServerError> {
        self.server.role().await
    }

    async fn peers(&self) -> Result<Vec<Self>, ServerError> {
        let found = match (self.server.peers().await, self.adapter) {
            (Err(ServerError::Answer(_)), Adapter::NoMajority) => Vec::new(),
            (found, _) => found?,
        };
        Ok(found.into_iter().map(|server| Self { server, adapter: self.adapter }).collect())
    }

    async fn login(&self, user: &str, password: &Password) -> Login {
        self.server.login(user, password).await
    }

    async fn reset_password(&self, by: Requester<'_>, user: &str, new: &Password) -> Result<(), ServerError> {
        match (self.adapter, by, user) {
            (Adapter::ChangePassword, Requester::Admin(old), ADMIN) => self.server.change_password(old, new).await,
            _ => self.server.reset_password(by, user, new).await,
        }
    }

    async fn account(&self, admin: &Password, login: &str) -> Result<Option<AccountRecord>, ServerError> {
        self.server.account(admin, login).await
    }

    async fn create_account(
        &self,
        admin: &Password,
        account: &AccountRecord,
        password: &Password,
    ) -> Result<(), ServerError> {
        self.server.create_account(admin, account, password).await
    }

    async fn update_account(&self, admin: &Password, account: &AccountRecord) -> Result<(), ServerError> {
        self.server.update_account(admin, account).await
    }

    fn address(&self) -> &str {
        self.server.address()
    }
}
