//! What is put to the test: bootstrap as it is, or with one decision made wrongly.

use bootstrap::ports::{SecretStore, Server};
use bootstrap::rotation::{Forwards, Protocol};

use crate::calls::{Caller, ModelSecrets, ModelServer};

/// How a sidecar decides, and through what it calls.
pub(crate) trait Subject: Copy + Send + Sync + 'static {
    type Protocol: Protocol + 'static;
    type Secrets: SecretStore + 'static;
    type Server: Server + 'static;

    fn parts(&self, caller: &Caller, node: usize) -> (Self::Protocol, Self::Secrets, Self::Server);
}

/// bootstrap as it is.
#[derive(Clone, Copy)]
pub(crate) struct AsItIs;

impl Subject for AsItIs {
    type Protocol = Forwards;
    type Secrets = ModelSecrets;
    type Server = ModelServer;

    fn parts(&self, caller: &Caller, node: usize) -> (Forwards, ModelSecrets, ModelServer) {
        (Forwards, ModelSecrets(caller.clone()), ModelServer::new(caller.clone(), node))
    }
}
