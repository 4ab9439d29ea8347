//! The services of `zenith.proto`: each method turns its message into a call of the controller, and the answer into a message.

mod node;
mod scheduler;
mod status;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Status};
use zenith_proto::v1::node_agent_service_server::NodeAgentServiceServer;
use zenith_proto::v1::scheduler_service_server::SchedulerServiceServer;

use super::Api;
use super::auth::Peer;
use crate::controller::ops::Caller;
use crate::refusal::Refusal;

pub use self::status::status_of;

/// Largest message that is taken.
const MAX_MESSAGE: usize = 8 << 20;

/// Messages that wait for a reader before whoever makes them waits too.
const AHEAD: usize = 4;

/// An end that does not answer for so long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What the methods are methods of.
#[derive(Clone, Debug)]
struct Service {
    api: Api,
}

/// Messages that somebody makes while somebody reads.
type Messages<T> = ReceiverStream<Result<T, Status>>;

/// Both services, to be served.
pub(super) fn router(api: Api) -> Router {
    let service = Service { api };
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(SchedulerServiceServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(NodeAgentServiceServer::new(service).max_decoding_message_size(MAX_MESSAGE))
}

impl Service {
    fn person<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        let (peer, authorization) = credentials(request)?;
        self.api.auth.person(peer, authorization)
    }

    fn agent<T>(&self, request: &Request<T>) -> Result<(), Refusal> {
        let (peer, authorization) = credentials(request)?;
        self.api.auth.agent(peer, authorization)
    }

    /// Sends messages until there are no more, nobody reads them, or the doors close.
    fn send<T, F>(&self, make: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F) -> Messages<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (making, api) = (make(sender.clone()), self.api.clone());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = making => outcome,
                refusal = api.closing() => Err(refusal),
                () = sender.closed() => return,
            };
            if let Err(refusal) = outcome {
                // A reader that has gone away wants no reason.
                let _ = sender.send(Err(status_of(&refusal))).await;
            }
        });
        ReceiverStream::new(receiver)
    }
}

fn credentials<T>(request: &Request<T>) -> Result<(&Peer, Option<&str>), Refusal> {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.ok_or(Refusal::Unauthenticated("it is not known where the call comes from"))?;
    let authorization = request.metadata().get("authorization").map(|value| {
        value.to_str().map_err(|_| Refusal::Unauthenticated("the authorization is no bearer token"))
    });
    Ok((peer, authorization.transpose()?))
}

/// Somebody reads on.
fn is_read<T>(sent: &Result<(), mpsc::error::SendError<T>>) -> bool {
    sent.is_ok()
}
