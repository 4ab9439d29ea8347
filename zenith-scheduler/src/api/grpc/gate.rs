//! Who is let in, and stays in: asked before anything of a call is read but its headers, and again while an answer goes on, since
//! tokens are taken away.

use std::sync::Arc;
use std::time::Duration;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::api::auth::{Auth, Peer};
use crate::controller::ops::Caller;
use crate::refusal::Refusal;

/// How often it is asked whether whoever reads or speaks is still known.
const AGAIN: Duration = Duration::from_secs(2);

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    People,
    Agents,
}

/// A door, at which everybody shows who they are.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    auth: Arc<Auth>,
    whom: For,
}

/// What somebody showed who was let in.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    gate: Gate,
    peer: Peer,
    authorization: Option<String>,
    /// None for agents.
    caller: Option<Caller>,
}

impl Gate {
    pub(super) fn new(auth: Arc<Auth>, whom: For) -> Self {
        Self { auth, whom }
    }

    fn look(&self, peer: &Peer, authorization: Option<&str>) -> Result<Option<Caller>, Refusal> {
        match self.whom {
            For::People => self.auth.person(peer, authorization).map(Some),
            For::Agents => self.auth.agent(peer, authorization).map(|()| None),
        }
    }

    fn admit(&self, request: &Request<()>) -> Result<Pass, Refusal> {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or(Refusal::Unauthenticated("it is not known where the call comes from"))?;
        let authorization = request.metadata().get("authorization").map(|value| {
            value.to_str().map_err(|_| Refusal::Unauthenticated("the authorization is no bearer token"))
        });
        let authorization = authorization.transpose()?;
        let caller = self.look(peer, authorization)?;
        let (peer, authorization) = (peer.clone(), authorization.map(str::to_owned));
        Ok(Pass { gate: self.clone(), peer, authorization, caller })
    }
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let pass = self.admit(&request)?;
        request.extensions_mut().insert(pass);
        Ok(request)
    }
}

impl Pass {
    /// What whoever calls has shown.
    pub(super) fn of<T>(request: &Request<T>) -> Result<&Self, Refusal> {
        request.extensions().get().ok_or(Refusal::Unauthenticated("nobody has looked who calls"))
    }

    /// The person who calls.
    pub(super) fn caller(&self) -> Result<Caller, Refusal> {
        self.caller.clone().ok_or(Refusal::NotAdmin { what: "calling with an agent's token" })
    }

    /// Returns when whoever has it is not known any more, or not as the same.
    pub(super) async fn taken_away(&self) -> Refusal {
        loop {
            tokio::time::sleep(AGAIN).await;
            match self.gate.look(&self.peer, self.authorization.as_deref()) {
                Ok(caller) if caller == self.caller => {}
                Ok(_) => return Refusal::Unauthenticated("the token is somebody else's by now"),
                Err(refusal) => return refusal,
            }
        }
    }
}
